"""With what and on what a result was made: versions and hardware. Knows no user, host name or path."""

import hashlib
import os
import platform
import sys
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

PACKAGES = (
    "adaptx",
    "torch",
    "transformers",
    "adapters",
    "peft",
    "datasets",
    "evaluate",
    "tokenizers",
    "safetensors",
    "bitsandbytes",
    "huggingface_hub",
    "numpy",
)


def versions() -> dict[str, str]:
    """Python and package versions, those that are installed."""
    out = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            out[package] = version(package)
        except PackageNotFoundError:
            continue
    return out


def processor() -> str:
    """The CPU's model name where the system tells it."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            for line in file:
                if line.startswith("model name"):
                    return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def memory_bytes() -> int:
    """Physical memory."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def hardware(device: str) -> dict[str, Any]:
    """What the run could use: cores of this process, memory, and the GPU where `device` is one."""
    out: dict[str, Any] = {
        "device": device,
        "cpu": processor(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_bytes": memory_bytes(),
        "system": f"{sys.platform} {platform.machine()}",
    }
    if device.startswith("cuda"):
        import torch

        properties = torch.cuda.get_device_properties(torch.device(device))
        out |= {"gpu": properties.name, "gpu_memory_bytes": properties.total_memory, "cuda": torch.version.cuda}
    return out


@lru_cache(maxsize=1)
def code_digest() -> str:
    """sha256 over the package's own source files by name: the same code gives the same digest, with or without git."""
    root = Path(__file__).parent
    digest = hashlib.sha256()
    for path in sorted(root.rglob("*.py")):
        digest.update(path.relative_to(root).as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()
