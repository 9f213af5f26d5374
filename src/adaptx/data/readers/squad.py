"""Extractive question answering in SQuAD's JSON: v1.1 and v2.0, nested or flat.

Nested: data > paragraphs > qas. Flat: data is a list of questions with their contexts, answers as parallel lists
(`text`, `answer_start`), as Hugging Face's copy and EstQA have it. Knows no metric.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeVar

from adaptx.data.examples import SpanExample
from adaptx.data.readers.files import json_tree, malformed
from adaptx.data.readers.options import invalid

Answers = tuple[tuple[str, int], ...]
T = TypeVar("T")


@dataclass(frozen=True)
class _Node:
    """A JSON object of the file with the way that leads to it, so that a fault can name its place."""

    path: Path
    place: str
    fields: dict[str, object]

    def get(self, key: str, kind: type[T], what: str) -> T:
        value = self.fields.get(key)
        if not isinstance(value, kind) or isinstance(value, bool) is not (kind is bool):
            found = f"{type(value).__name__} there" if key in self.fields else "nothing there"
            raise malformed(self.path, self.place, f"expected {what} under {key!r}, found {found}.")
        return value

    def text(self, key: str) -> str:
        value = self.get(key, str, "text")
        if not value.strip():
            raise malformed(self.path, self.place, f"expected text under {key!r}, found a blank.")
        return value

    def children(self, key: str) -> list["_Node"]:
        return [
            _node(self.path, f"{self.place}.{key}[{i}]".lstrip("."), child)
            for i, child in enumerate(self.get(key, list, "a list"))
        ]


def squad(
    path: Path,
    *,
    on_misaligned: Literal["error", "search", "drop"] = "error",
    articles: Sequence[int] | None = None,
    answerable_only: bool = False,
) -> Iterator[SpanExample]:
    """Read one question after the other; ids are the file's. An answer given twice at the same place is kept once.

    `on_misaligned`: what to do where the context does not have the answer at `answer_start` (an offset in characters):
    "search" takes the nearest place that has it, "drop" leaves the answer out, and the question too if no answer stays.
    `articles`: [start, stop], the articles to read, counted from 0, stop left out; for splits that share no article.
    `answerable_only`: leave unanswerable questions out.

    Raises AX012, naming the place in the JSON tree, for missing fields, blanks, misaligned answers (with "search": ones
    that occur nowhere in the context), and where `is_impossible` and `answers` contradict each other.
    """
    if articles is not None and not (len(articles) == 2 and 0 <= articles[0] < articles[1]):
        raise invalid("squad", [f"'articles' must be [start, stop] with 0 <= start < stop, not {list(articles)}."])
    return _examples(path, on_misaligned, slice(*articles) if articles else None, answerable_only)


def _examples(path: Path, on_misaligned: str, articles: slice | None, answerable_only: bool) -> Iterator[SpanExample]:
    for question, context in _questions(path, articles):
        given = _given(question)
        if not given and answerable_only:
            continue
        kept = [_aligned(question, context, text, start, on_misaligned) for text, start in given]
        answers = tuple(dict.fromkeys(answer for answer in kept if answer))
        if bool(answers) == bool(given):
            yield SpanExample(question.text("id"), question.text("question"), context, answers)


def _questions(path: Path, articles: slice | None) -> Iterator[tuple[_Node, str]]:
    for entry in _node(path, "", json_tree(path)).children("data")[articles or slice(None)]:
        if "paragraphs" not in entry.fields:
            if articles:
                raise invalid("squad", [f"'articles' needs the nested format; {path} is flat."])
            yield entry, entry.text("context")
            continue
        for paragraph in entry.children("paragraphs"):
            for question in paragraph.children("qas"):
                yield question, paragraph.text("context")


def _node(path: Path, place: str, value: object) -> _Node:
    if not isinstance(value, dict):
        raise malformed(path, place or 1, f"expected a JSON object, found {type(value).__name__}.")
    return _Node(path, place, value)


def _given(question: _Node) -> list[tuple[str, int]]:
    """The answers as the file has them; none for a question marked or left unanswerable."""
    flat = question.fields.get("answers")
    if isinstance(flat, dict):
        node = _Node(question.path, f"{question.place}.answers", flat)
        texts, starts = node.get("text", list, "a list"), node.get("answer_start", list, "a list")
        if len(texts) != len(starts):
            raise malformed(
                node.path, node.place, f"expected as many texts as starts, found {len(texts)} and {len(starts)}."
            )
        pairs = [{"text": text, "answer_start": start} for text, start in zip(texts, starts, strict=True)]
        nodes = [_Node(node.path, f"{node.place}[{i}]", dict(pair)) for i, pair in enumerate(pairs)]
    else:
        nodes = question.children("answers")
    if "is_impossible" in question.fields and question.get("is_impossible", bool, "true or false") is bool(nodes):
        found = f"is_impossible {'with' if nodes else 'false without'} answers"
        raise malformed(question.path, question.place, f"expected answers or is_impossible, found {found}.")
    return [(node.text("text"), node.get("answer_start", int, "a whole number")) for node in nodes]


def _aligned(question: _Node, context: str, text: str, start: int, on_misaligned: str) -> tuple[str, int] | None:
    if start >= 0 and context.startswith(text, start):
        return text, start
    if on_misaligned == "drop":
        return None
    places = [i for i in range(len(context) - len(text) + 1) if context.startswith(text, i)]
    if on_misaligned == "search" and places:
        return text, min(places, key=lambda i: abs(i - start))
    found = context[max(start, 0) : max(start, 0) + len(text)]
    also = "" if places else ", nor does the text occur elsewhere in the context"
    raise malformed(
        question.path,
        question.place,
        f"expected the answer {text!r} at character {start} of the context, found {found!r}{also}.",
        "Fix it, or set on_misaligned: drop" + (", or search." if places else "."),
    )
