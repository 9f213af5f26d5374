"""How much memory a process holds, as the kernel counts it.

The peak is not `ru_maxrss`: on Linux that of a new process starts at what its parent held when it was started, so that
the same run would cost more memory when a larger program starts it.
"""

import resource
import sys


def resident(process: int | str = "self") -> tuple[int, int]:
    """Resident set of a process in bytes: now, and its peak since it started (or since the kernel was told to forget).

    Source: proc_pid_status(5), VmRSS and VmHWM. Where there is no such file, the peak of this process by getrusage(2)
    twice. Raises OSError when another process has ended.
    """
    try:
        with open(f"/proc/{process}/status", encoding="utf-8", errors="replace") as file:
            found = dict(line.split(":", 1) for line in file if line.startswith(("VmRSS", "VmHWM")))
        return 1024 * int(found["VmRSS"].split()[0]), 1024 * int(found["VmHWM"].split()[0])
    except FileNotFoundError:
        if process != "self":
            raise
        unit = 1 if sys.platform == "darwin" else 1024
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
        return peak, peak
    except KeyError:  # a process that has ended and is not yet waited for has no memory
        raise ProcessLookupError(process) from None
