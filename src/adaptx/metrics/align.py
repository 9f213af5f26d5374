"""Whether predictions and references describe the same examples; a mismatch is an error, never a shorter score.

This file knows no metric. XTREME's own `evaluate.py` pairs labels with `zip` and divides by the number of
predictions, so that one right answer out of four scores 100; everything here exists so that we cannot.
"""

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from adaptx.errors import AdaptxError

P = TypeVar("P")
R = TypeVar("R")
NAMED = 3


def require_pairs(predictions: Sequence[Any], references: Sequence[Any]) -> None:
    """Raise AX050 unless there is one prediction for each reference."""
    n, m = len(predictions), len(references)
    if n != m:
        what = "prediction" if n < m else "reference"
        raise AdaptxError("AX050", f"{n} predictions, {m} references", f"Example {min(n, m)} has no {what}.")


def require_equal_tags(predictions: Sequence[Sequence[str]], references: Sequence[Sequence[str]]) -> None:
    """Raise AX050 unless every sentence has one predicted tag for each gold tag."""
    require_pairs(predictions, references)
    for i, (predicted, gold) in enumerate(zip(predictions, references, strict=True)):
        if len(predicted) != len(gold):
            why = f"It has {len(predicted)} predicted tags and {len(gold)} gold tags."
            raise AdaptxError("AX050", f"example {i}", why)


def align(predictions: Mapping[str, P], references: Mapping[str, R]) -> tuple[list[P], list[R]]:
    """Predictions and references paired by id, in the order of the references; AX050 for missing or extra ids."""
    missing = [key for key in references if key not in predictions]
    extra = [key for key in predictions if key not in references]
    if missing or extra:
        faults = [f"{_named(missing)} without a prediction"] if missing else []
        faults += [f"{_named(extra)} without a reference"] if extra else []
        given = f"{len(predictions)} predictions, {len(references)} references"
        raise AdaptxError("AX050", given, f"There is {' and '.join(faults)}.")
    return [predictions[key] for key in references], list(references.values())


def _named(ids: Sequence[str]) -> str:
    shown = ", ".join(f"'{key}'" for key in ids[:NAMED])
    return shown if len(ids) <= NAMED else f"{shown} and {len(ids) - NAMED} more"
