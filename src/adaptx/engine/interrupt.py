"""Ctrl-C between steps, not inside one: so that an interrupted run can keep its state. Knows no training."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any


@contextmanager
def held_back() -> Iterator[threading.Event]:
    """Within the block the first SIGINT sets the event that is yielded; a second one interrupts at once.

    Outside the main thread signals are not ours to handle, and the event is never set.
    """
    asked = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield asked
        return

    def note(number: int, frame: FrameType | None) -> None:
        if asked.is_set():
            raise KeyboardInterrupt
        asked.set()

    before: Any = signal.signal(signal.SIGINT, note)
    try:
        yield asked
    finally:
        signal.signal(signal.SIGINT, before)
