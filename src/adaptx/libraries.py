"""How a process of our own imports the large libraries: without what adaptx never calls of them, two seconds sooner.

In a process that somebody else's program began, a notebook or a script, nothing is changed. Knows no library by name:
whoever imports one says what it can do without.
"""

import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager

RARE = (20_000, 50, 100)  # what imports make is kept anyway: the collector of cyclic garbage goes through it in vain

_usual: tuple[int, int, int] | None = None  # in a process of our own: the collector's thresholds after the imports


def ours() -> None:
    """Say that this process is a command of adaptx, or was started by one."""
    global _usual
    if _usual is None:
        _usual = gc.get_threshold()
        gc.set_threshold(*RARE)


@contextmanager
def importing(*unused: str) -> Iterator[None]:
    """Within the block packages called `unused` are not to be found, and the collector rests; afterwards both are as
    usual. Libraries look for packages they can do without when they are imported themselves."""
    if _usual is None:
        yield
        return
    hidden = [name for name in unused if name not in sys.modules]
    sys.modules.update(dict.fromkeys(hidden))  # type: ignore[arg-type]  # None: "not there", see importlib
    gc.set_threshold(*RARE)
    try:
        yield
    finally:
        for name in hidden:
            del sys.modules[name]
        gc.set_threshold(*_usual)
