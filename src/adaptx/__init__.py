"""adaptx: which source language and which intermediate task to train on before zero-shot transfer, and at what cost.

The names in `__all__` are the Python interface and stay; they are loaded when first used, so that `import adaptx` costs
nothing. Everything else is an implementation that may change.
"""

__version__ = "0.1.0"
__all__ = [
    "Adapter",
    "AdaptxError",
    "Prediction",
    "Predictor",
    "Scores",
    "Study",
    "__version__",
    "adapters",
    "evaluate",
    "load",
    "settings",
    "train",
]

TYPE_CHECKING = False  # what type checkers take for true; importing it from typing would load typing
if TYPE_CHECKING:
    from adaptx.api import (
        Adapter,
        AdaptxError,
        Prediction,
        Predictor,
        Scores,
        Study,
        adapters,
        evaluate,
        load,
        settings,
        train,
    )


def __getattr__(name: str) -> object:
    """A name of `__all__`, from `adaptx.api` (PEP 562)."""
    if name not in __all__:
        raise AttributeError(f"module 'adaptx' has no attribute '{name}'")
    from importlib import import_module

    value = globals()[name] = getattr(import_module("adaptx.api"), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
