"""Texts in, labels out, with a finished adapter and its head. Knows no test set and no score."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from adaptx import backbones, store
from adaptx.config import Settings
from adaptx.data.examples import ChoiceExample, Example, SpanExample, TextExample, WordsExample
from adaptx.errors import AdaptxError
from adaptx.jobs import precision_for
from adaptx.refs import Ref
from adaptx.scoring import predict as predict_examples
from adaptx.stack import Stack
from adaptx.table import below

SEPARATOR = " ||| "
FORMS = {
    "classification": "a text, or two texts with ' ||| ' between",
    "tagging": "words separated by spaces",
    "span_qa": "question ||| context",
    "multiple_choice": "context ||| choice ||| choice ...",
}


def read_lines(file: Path) -> list[str]:
    """The lines of a text file that are not blank; '-' reads stdin. Raises AX011, AX012."""
    if str(file) == "-":
        lines = sys.stdin.read().splitlines()
    else:
        try:
            lines = file.read_text("utf-8").splitlines()
        except (FileNotFoundError, IsADirectoryError):
            raise AdaptxError("AX011", file, "no such text file.") from None
        except UnicodeDecodeError as error:
            raise AdaptxError("AX012", file, f"expected UTF-8 text ({error.reason} at byte {error.start}).") from None
    return [line for line in lines if line.strip()]


def example_of(kind: str, text: str, name: str) -> Example:
    """What a task kind takes, from one line of text in the form that `FORMS` gives. Raises AX051, AX070."""
    if kind not in FORMS:
        raise AdaptxError("AX051", kind, f"predictions exist for {', '.join(FORMS)}.")
    parts = [p.strip() for p in text.split(SEPARATOR.strip())]
    fits = {
        "classification": len(parts) <= 2,
        "tagging": bool(text.split()),
        "span_qa": len(parts) == 2,
        "multiple_choice": len(parts) >= 3,
    }[kind]
    if not fits or not all(parts):
        raise AdaptxError("AX070", text, f"expected {FORMS[kind]}.")
    if kind == "classification":
        return TextExample(name, parts[0], parts[1] if len(parts) == 2 else None)
    if kind == "tagging":
        return WordsExample(name, tuple(text.split()))
    if kind == "span_qa":
        return SpanExample(name, parts[0], parts[1])
    return ChoiceExample(name, parts[0], "", tuple(parts[1:]))


def predict(
    settings: Settings, ref: Ref, texts: Sequence[str], precision: str = "auto", allow_mismatch: bool = False
) -> list[dict[str, Any]]:
    """`predict_with` the adapter that `ref` names, on what it was trained on top of. Raises AX006 as well."""
    name = None if allow_mismatch else backbones.locate(settings).name
    found = store.find(settings.store, ref, name)
    return predict_with(settings, Stack((*below(settings, found), found)), texts, precision, allow_mismatch)


def predict_with(
    settings: Settings, stack: Stack, texts: Sequence[str], precision: str = "auto", allow_mismatch: bool = False
) -> list[dict[str, Any]]:
    """One mapping a text: `text`, `prediction` (label, tags or span) and for tags the `words`.

    The stack's last adapter brings the head. Raises AX022 for another backbone, AX051 for a head that predicts no
    text, AX070 for texts of the wrong form.
    """
    top = stack.adapters[-1].recipe
    if not top.tasks:
        raise AdaptxError(
            "AX051", stack.adapters[-1].ref, "it has no head, so it predicts nothing.", "Train a head on top of it."
        )
    if not texts:
        raise AdaptxError("AX070", "no text", f"expected at least one: {FORMS.get(top.tasks[0].kind, 'a text')}.")
    task = settings.registry.task(top.tasks[0].id)
    examples = [example_of(task.kind, text, str(i)) for i, text in enumerate(texts)]
    predictions = predict_examples(
        settings,
        backbones.load(backbones.locate(settings)),
        stack,
        task,
        examples,
        precision_for(precision, backbones.pick_device(settings.device)),
        allow_mismatch,
    )
    out = []
    for text, example, prediction in zip(texts, examples, predictions, strict=True):
        row: dict[str, Any] = {"text": text, "prediction": prediction}
        if isinstance(example, WordsExample):
            row |= {"words": list(example.words), "prediction": list(prediction)}
        if isinstance(example, ChoiceExample):
            row["prediction"] = example.choices[prediction]
        out.append(row)
    return out
