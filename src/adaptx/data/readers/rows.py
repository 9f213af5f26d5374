"""From one record of a table (a TSV, CSV or JSONL row, or the Hub's) to one example, by a map from roles to columns.

This file knows neither files nor delimiters: a record is its place (for messages), its id and a way to get a column.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import isnan
from typing import Literal

from adaptx.data.examples import (
    ChoiceExample,
    DocumentExample,
    Example,
    ParallelExample,
    SpanExample,
    TextExample,
    WordsExample,
)
from adaptx.data.readers.options import invalid
from adaptx.errors import AdaptxError

Kind = Literal["text", "choice", "words", "span", "parallel", "document"]
Misaligned = Literal["error", "search", "drop"]
Column = str | int
Columns = Mapping[str, Column | Sequence[Column]]
Labels = Mapping[str | int, str | int]

ROLES: dict[Kind, tuple[tuple[str, ...], tuple[str, ...]]] = {  # kind -> required roles, optional roles
    "text": (("text",), ("pair", "label", "id")),
    "choice": (("choices",), ("context", "question", "label", "id", "choice_text", "choice_label")),
    "words": (("words",), ("tags", "id")),
    "span": (("question", "context", "answers"), ("id",)),
    "parallel": (("text", "english"), ("id",)),
    "document": (("text",), ("id",)),
}
INSIDE_A_CHOICE = ("choice_text", "choice_label")  # these name keys of a choice, not columns of the record


@dataclass(frozen=True)
class Record:
    """One row: `place` is "file:line", `id` what it is called if no column says so, `get` gives a column's value."""

    place: str
    id: str
    get: Callable[[Column], object]

    def fault(self, why: str, fix: str = "") -> AdaptxError:
        """The AX012 about this record, with its place."""
        return AdaptxError("AX012", self.place, why, fix)


@dataclass(frozen=True)
class Rules:
    """How records become examples of `kind`; see `adaptx.data.readers.tables` for the options."""

    kind: Kind
    columns: Columns
    labels: Mapping[str, str] | None
    threshold: float | None
    drop_labels: frozenset[str]
    question_map: Mapping[str, str] | None
    skip_blank: bool
    on_misaligned: Misaligned
    only: Mapping[str, str]

    def named(self) -> list[Column]:
        """Every column that the roles need."""
        values = [value for role, value in self.columns.items() if role not in INSIDE_A_CHOICE]
        return [c for value in (*values, *self.only) for c in ([value] if isinstance(value, str | int) else value)]


def checked_rules(
    format: str,
    columns: Columns,
    example: Kind = "text",
    labels: Labels | None = None,
    threshold: float | None = None,
    drop_labels: Sequence[str | int] = (),
    question_map: Mapping[str, str] | None = None,
    skip_blank: bool = False,
    on_misaligned: Misaligned = "error",
    only: Mapping[str, str] | None = None,
) -> Rules:
    """The checked rules; one AX010 lists every role and option that does not fit the kind of example."""
    required, optional = ROLES[example]
    faults = [f"'columns' lacks the role {role}." for role in required if role not in columns]
    faults += [
        f"'columns' has {role}, which is no role of the example {example} (those are {', '.join(required + optional)})."
        for role in columns
        if role not in required + optional
    ]
    lists = [role for role, value in columns.items() if not isinstance(value, str | int) and role != "choices"]
    faults += [f"'columns' gives {role} a list; only choices takes one." for role in lists]
    if example == "choice" and "context" not in columns and "question" not in columns:
        faults.append("'columns' lacks the role context or question.")
    if "choice_label" in columns and "choice_text" not in columns:
        faults.append("'columns' has choice_label without choice_text.")
    needs: list[tuple[str, object, str]] = [
        ("labels", labels, "tags" if example == "words" else "label"),
        ("threshold", threshold, "label"),
        ("drop_labels", drop_labels, "label"),
        ("question_map", question_map, "question"),
    ]
    faults += [f"'{name}' needs the role {role}." for name, value, role in needs if value and role not in columns]
    if on_misaligned != "error" and example != "span":
        faults.append("'on_misaligned' needs the example span.")
    if threshold is not None and example != "text":
        faults.append("'threshold' needs the example text.")
    if faults:
        raise invalid(format, faults)
    return Rules(
        example,
        columns,
        None if labels is None else {str(raw): str(ours) for raw, ours in labels.items()},
        threshold,
        frozenset(map(str, drop_labels)),
        question_map,
        skip_blank,
        on_misaligned,
        only or {},
    )


def build(rules: Rules, record: Record) -> Example | None:
    """The example of `record`, or None where it is not among the `only` ones, its label or all its answers are dropped,
    or a text is blank and may be skipped.

    Raises AX012 for blank or non-text fields, unmapped labels, labels that point at no choice and misaligned answers.
    """
    if any(not str(record.get(column)).startswith(start) for column, start in rules.only.items()):
        return None
    if "label" in rules.columns and _raw_label(rules, record) in rules.drop_labels:
        return None
    example = BUILDERS[rules.kind](rules, record)
    if isinstance(example, str):
        if rules.skip_blank:
            return None
        raise record.fault(f"expected text as {example}, found a blank.", "Fix it, or set skip_blank: true.")
    return example


def _text_example(rules: Rules, record: Record) -> TextExample | str:
    text, pair = _text(rules, record, "text"), _text(rules, record, "pair")
    for role, value in (("text", text), ("pair", pair)):
        if value is not None and not value.strip():
            return role
    label = None
    if "label" in rules.columns:
        label = _mapped(rules, record, _graded(rules, record, _raw_label(rules, record)))
    return TextExample(_id(rules, record), text or "", pair, label)


def _words_example(rules: Rules, record: Record) -> WordsExample | str:
    words = _list(record, "words", rules.columns["words"])
    if not words or not all(word.strip() for word in words):
        return "words"
    if "tags" not in rules.columns:
        return WordsExample(_id(rules, record), words)
    tags = tuple(_mapped(rules, record, tag) for tag in _list(record, "tags", rules.columns["tags"]))
    if len(tags) != len(words):
        raise record.fault(f"expected {len(words)} tags for {len(words)} words, found {len(tags)}.")
    return WordsExample(_id(rules, record), words, tags)


def _choice_example(rules: Rules, record: Record) -> ChoiceExample | str:
    context, question = _text(rules, record, "context"), _text(rules, record, "question")
    names, choices = _choices(rules, record)
    for role, value in (("context", context), ("question", question), *(("choices", choice) for choice in choices)):
        if value is not None and not value.strip():
            return role
    if rules.question_map and question is not None:
        if question not in rules.question_map:
            raise record.fault(f"expected as question one of {_listed(rules.question_map)}, found {question!r}.")
        question = rules.question_map[question]
    label = None
    if "label" in rules.columns:
        raw = _mapped(rules, record, _raw_label(rules, record))
        if raw not in names:
            raise record.fault(f"expected as label one of {', '.join(names)}, found {raw!r}.")
        label = names[raw]
    return ChoiceExample(_id(rules, record), context or "", question or "", choices, label)


def _span_example(rules: Rules, record: Record) -> SpanExample | str | None:
    question, context = _text(rules, record, "question") or "", _text(rules, record, "context") or ""
    for role, value in (("question", question), ("context", context)):
        if not value.strip():
            return role
    given = _answers(rules, record)
    answers = tuple(dict.fromkeys(a for a in (_aligned(rules, record, context, *pair) for pair in given) if a))
    return SpanExample(_id(rules, record), question, context, answers) if bool(answers) == bool(given) else None


def _answers(rules: Rules, record: Record) -> list[tuple[str, int]]:
    """Texts and starts as the record has them: two parallel lists, or a list of objects."""
    place = rules.columns["answers"]
    value = record.get(place) if isinstance(place, str | int) else None
    if isinstance(value, dict):
        texts, starts = value.get("text"), value.get("answer_start")
        if isinstance(texts, list) and isinstance(starts, list) and len(texts) == len(starts):
            value = [{"text": text, "answer_start": start} for text, start in zip(texts, starts, strict=True)]
    out: list[tuple[str, int]] = []
    for item in value if isinstance(value, list) else [None]:
        text, start = (item.get("text"), item.get("answer_start")) if isinstance(item, dict) else (None, None)
        if not isinstance(text, str) or not text.strip() or not isinstance(start, int) or isinstance(start, bool):
            raise record.fault("expected as answers the texts and, as whole numbers, their answer_start.")
        out.append((text, start))
    return out


def _aligned(rules: Rules, record: Record, context: str, text: str, start: int) -> tuple[str, int] | None:
    if start >= 0 and context.startswith(text, start):
        return text, start
    if rules.on_misaligned == "drop":
        return None
    places = [i for i in range(len(context) - len(text) + 1) if context.startswith(text, i)]
    if rules.on_misaligned == "search" and places:
        return text, min(places, key=lambda i: abs(i - start))
    found = context[max(start, 0) : max(start, 0) + len(text)]
    raise record.fault(
        f"expected the answer {text!r} at character {start} of the context, found {found!r}.",
        f"Fix it, or set on_misaligned: drop{', or search' if places else ''}.",
    )


def _parallel_example(rules: Rules, record: Record) -> ParallelExample | str:
    text, english = _text(rules, record, "text") or "", _text(rules, record, "english") or ""
    for role, value in (("text", text), ("english", english)):
        if not value.strip():
            return role
    return ParallelExample(_id(rules, record), text.strip(), english.strip())


def _document_example(rules: Rules, record: Record) -> DocumentExample | str:
    text = _text(rules, record, "text") or ""
    return DocumentExample(_id(rules, record), text) if text.strip() else "text"


BUILDERS: dict[Kind, Callable[[Rules, Record], Example | str | None]] = {
    "text": _text_example,
    "choice": _choice_example,
    "words": _words_example,
    "span": _span_example,
    "parallel": _parallel_example,
    "document": _document_example,
}


def _choices(rules: Rules, record: Record) -> tuple[dict[str, int], tuple[str, ...]]:
    """What labels may say, with the index they mean, and the texts of the choices."""
    place = rules.columns["choices"]
    if "choice_text" in rules.columns:
        items = record.get(place) if isinstance(place, str | int) else None
        keys = [str(rules.columns[role]) for role in INSIDE_A_CHOICE if role in rules.columns]
        if not isinstance(items, list) or not all(
            isinstance(item, dict) and all(isinstance(item.get(key), str) for key in keys) for item in items
        ):
            raise record.fault(f"expected as choices a list of objects with the texts {' and '.join(keys)}.")
        texts = tuple(str(item[keys[0]]) for item in items)
        names = {str(item[keys[-1]]): index for index, item in enumerate(items)} if len(keys) == 2 else _indices(texts)
        if len(names) != len(texts):
            raise record.fault(f"expected {len(texts)} choices with labels of their own, found {', '.join(names)}.")
    else:
        texts = _list(record, "choices", place)
        names = _indices(texts)
    if len(texts) < 2:
        raise record.fault(f"expected at least 2 choices, found {len(texts)}.")
    return names, texts


def _indices(texts: tuple[str, ...]) -> dict[str, int]:
    numbers = {str(index): index for index in range(len(texts))}
    return numbers | {chr(ord("A") + index): index for index in range(min(len(texts), 26))}


def _text(rules: Rules, record: Record, role: str) -> str | None:
    place = rules.columns.get(role)
    if not isinstance(place, str | int):
        return None
    value = record.get(place)
    if not isinstance(value, str):
        raise record.fault(f"expected text as {role}, found {_kind(value)}.")
    return value


def _list(record: Record, role: str, place: Column | Sequence[Column]) -> tuple[str, ...]:
    value = record.get(place) if isinstance(place, str | int) else [record.get(column) for column in place]
    if isinstance(value, str) and role != "choices":
        return tuple(item for item in value.split(" ") if item)
    allowed = str | int if role == "tags" else str
    if not isinstance(value, list) or not all(isinstance(item, allowed) for item in value):
        found = "a list with other values" if isinstance(value, list) else _kind(value)
        raise record.fault(f"expected a list of texts as {role}, found {found}.")
    return tuple(map(str, value))


def _raw_label(rules: Rules, record: Record) -> str:
    place = rules.columns["label"]
    value = record.get(place) if isinstance(place, str | int) else None
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if not isinstance(value, str | int | float):
        raise record.fault(f"expected text or a number as label, found {_kind(value)}.")
    return str(value)


def _graded(rules: Rules, record: Record, raw: str) -> str:
    if rules.threshold is None:
        return raw
    try:
        grade = float(raw)
    except ValueError:
        grade = float("nan")
    if isnan(grade):
        raise record.fault(f"expected a number as label, to compare with {rules.threshold:g}, found {raw!r}.")
    return "1" if grade >= rules.threshold else "0"


def _mapped(rules: Rules, record: Record, raw: str) -> str:
    if not raw.strip():
        raise record.fault("expected a label, found a blank.")
    if rules.labels is None:
        return raw
    if raw not in rules.labels:
        raise record.fault(f"expected a label among {_listed(rules.labels)}, found {raw!r}.")
    return rules.labels[raw]


def _id(rules: Rules, record: Record) -> str:
    place = rules.columns.get("id")
    if not isinstance(place, str | int):
        return record.id
    value = record.get(place)
    if isinstance(value, bool) or not isinstance(value, str | int) or not str(value).strip():
        raise record.fault(f"expected text or a number as id, found {_kind(value)}.")
    return str(value)


def _kind(value: object) -> str:
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, str):
        return "a blank" if not value.strip() else "text"
    return "a number" if isinstance(value, int | float) else "a list" if isinstance(value, list) else "an object"


def _listed(names: Mapping[str, str]) -> str:
    return ", ".join(sorted(names))
