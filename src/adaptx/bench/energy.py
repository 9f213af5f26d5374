"""Energy of a GPU from its own counter, through the driver's library. Knows no torch.

Source: NVML reference, nvmlDeviceGetTotalEnergyConsumption (millijoules since the driver was loaded, Volta and newer)
and nvmlDeviceGetMemoryInfo (what nvidia-smi prints).
"""

import ctypes
import time
from collections.abc import Callable
from typing import Any

Joules = Callable[[], float]
IDLE_SECONDS = 1.0


class _Memory(ctypes.Structure):
    _fields_ = [("total", ctypes.c_ulonglong), ("free", ctypes.c_ulonglong), ("used", ctypes.c_ulonglong)]


class Gpu:
    """One GPU by its UUID. Raises OSError where the library, the GPU or the counter is not there."""

    def __init__(self, uuid: str) -> None:
        self._library = ctypes.CDLL("libnvidia-ml.so.1")
        self._check(self._library.nvmlInit_v2())
        self._handle = ctypes.c_void_p()
        name = (uuid if uuid.startswith(("GPU-", "MIG-")) else f"GPU-{uuid}").encode()
        self._check(self._library.nvmlDeviceGetHandleByUUID(ctypes.c_char_p(name), ctypes.byref(self._handle)))

    @staticmethod
    def _check(status: int) -> None:
        if status:
            raise OSError(f"NVML answers with status {status}")

    def joules(self) -> float:
        """Energy used since the driver was loaded."""
        value = ctypes.c_ulonglong()
        self._check(self._library.nvmlDeviceGetTotalEnergyConsumption(self._handle, ctypes.byref(value)))
        return value.value / 1000

    def used_bytes(self) -> int:
        """Memory in use on the whole device, by all processes and the driver."""
        value = _Memory()
        self._check(self._library.nvmlDeviceGetMemoryInfo(self._handle, ctypes.byref(value)))
        return int(value.used)


def gpu(device: str) -> tuple[Gpu | None, str]:
    """The device's counters, or None with the reason."""
    if not device.startswith("cuda"):
        return None, "energy is read from NVIDIA GPUs only"
    import torch

    try:
        found = Gpu(str(torch.cuda.get_device_properties(torch.device(device)).uuid))
        found.joules()
    except (OSError, AttributeError) as error:
        return None, f"no energy counter ({error})"
    return found, ""


class Meter:
    """Joules between `start` and `stop`, with the idle power measured once before."""

    def __init__(self, joules: Joules, idle_seconds: float = IDLE_SECONDS) -> None:
        self._joules = joules
        self.idle_watts = self._power(idle_seconds)
        self._began = self._at = 0.0

    def _power(self, seconds: float) -> float:
        began, at = time.monotonic(), self._joules()
        time.sleep(seconds)
        return (self._joules() - at) / (time.monotonic() - began)

    def start(self) -> None:
        """Begin the window; call with the device idle and its queue empty."""
        self._began, self._at = time.monotonic(), self._joules()

    def stop(self) -> dict[str, Any]:
        """The window: joules in all and above idle, watts, seconds."""
        seconds, joules = time.monotonic() - self._began, self._joules() - self._at
        return {
            "joules": joules,
            "joules_above_idle": joules - self.idle_watts * seconds,
            "idle_watts": self.idle_watts,
            "mean_watts": joules / seconds,
            "window_seconds": seconds,
        }
