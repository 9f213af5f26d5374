"""Predictions and labels as XTREME's own `evaluate.py` reads them, so that anyone can check our numbers with theirs.

    DIR/labels/<task>/test-<lang>.{tsv,json}
    DIR/predictions/<task>/test-<lang>.{tsv,json}     of a table with one row; with more: DIR/<row>/predictions/...

One label a line (a class, the index of a choice or of the sentence found); tags: one a line, a blank line after each
sentence; questions: SQuAD 1.1's nested JSON as labels, id -> answer as predictions. The script reads the tasks that it
knows, of each all languages; its function `evaluate_one_task` scores a single file. Knows finished scores, no model.
Source: Hu et al. 2020 (XTREME), `evaluate.py` of its repository.
"""

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

from adaptx import atomic
from adaptx.config import Settings
from adaptx.data.examples import Example, SpanExample
from adaptx.errors import AdaptxError
from adaptx.jobs import loaded
from adaptx.scoring import Cell
from adaptx.table import System, Table


def check_target(folder: Path) -> None:
    """Raise AX070 where nothing can be exported to `folder`: asked before hours of training, not after."""
    if folder.exists() and not folder.is_dir():
        raise AdaptxError("AX070", folder, "--export-xtreme names a file; it must be a folder.")


def write(settings: Settings, table: Table, folder: Path) -> list[Path]:
    """Write every scored cell; returns the prediction folders, one a row, in the table's order.

    Files of other languages and tasks in `folder` stay: XTREME's script wants all languages of a task side by side.
    Raises AX020 for a score file that cannot be read, AX050 where it is not about today's test set.
    """
    rows = [s for s in table.systems if s.tasks]
    out = []
    for row in rows:
        predictions = (folder if len(rows) == 1 else folder / folder_name(row)) / "predictions"
        for task, entry in row.tasks.items():
            kind = settings.registry.task(task).kind
            examples = loaded(settings, task, table.language, "test").examples
            kept = _kept(entry.cell, examples)
            place = f"{task}/test-{table.language}.{'json' if kind == 'span_qa' else 'tsv'}"
            for where, text in ((folder / "labels", _labels(kind, examples)), (predictions, _predictions(kind, kept))):
                atomic.write_bytes(where / place, text.encode())
        out.append(predictions)
    return out


def folder_name(row: System) -> str:
    """A row's name as a folder: `sv/anli:lora@3fa9c1e2 (on fi/mlm)` is sv-anli-lora-3fa9c1e2-on-fi-mlm."""
    return re.sub(r"[^a-z0-9_+]+", "-", row.name).strip("-")


def _kept(cell: Cell, examples: Sequence[Example]) -> list[tuple[str, Any]]:
    """The predictions of a score file by the ids of the test set's examples, in order."""
    try:
        kept = [(str(name), prediction) for name, prediction in json.loads(cell.path.read_text("utf-8"))["predictions"]]
    except (ValueError, KeyError, TypeError) as error:
        raise AdaptxError("AX020", cell.path.name, f"its predictions cannot be read ({error}).") from None
    ids = [e.id for e in examples]
    if [name for name, _ in kept] != ids or len(set(ids)) != len(ids):
        raise AdaptxError(
            "AX050", f"{cell.task}/{cell.lang}", f"{cell.path.name} was predicted on other examples than are here now."
        )
    return kept


def _predictions(kind: str, kept: Sequence[tuple[str, Any]]) -> str:
    return _json(dict(kept)) if kind == "span_qa" else _lines(kind, [prediction for _, prediction in kept])


def _labels(kind: str, examples: Sequence[Example]) -> str:
    if kind == "retrieval":
        return _lines(kind, range(len(examples)))  # sentence i is the translation of sentence i
    if kind == "span_qa":
        return _json({"version": "1.1", "data": _articles(cast(Sequence[SpanExample], examples))})
    field = "tags" if kind == "tagging" else "label"
    return _lines(kind, [getattr(e, field) for e in examples])


def _lines(kind: str, values: Sequence[Any]) -> str:
    if kind == "tagging":
        return "".join("".join(f"{tag}\n" for tag in tags) + "\n" for tags in values)
    return "".join(f"{value}\n" for value in values)


def _articles(examples: Sequence[SpanExample]) -> list[dict[str, Any]]:
    """One article a context, in the order of their first questions."""
    contexts: dict[str, list[dict[str, Any]]] = {}
    for e in examples:
        answers = [{"text": text, "answer_start": start} for text, start in e.answers]
        contexts.setdefault(e.context, []).append({"id": e.id, "question": e.question, "answers": answers})
    return [{"title": "", "paragraphs": [{"context": c, "qas": questions}]} for c, questions in contexts.items()]


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, indent=1) + "\n"
