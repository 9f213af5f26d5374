"""What readers, the Hub and the sample corpus give, and what task kinds take: plain examples with gold labels.

This file knows no format, no tokenizer and no model. Every `id` is unique within its data set.
"""

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class TextExample:
    """One text, or an ordered pair of texts, with a label (None where unknown)."""

    id: str
    text: str
    pair: str | None = None
    label: str | None = None


@dataclass(frozen=True, slots=True)
class WordsExample:
    """A sentence split into words with one tag each (`tags` is None where unknown)."""

    id: str
    words: tuple[str, ...]
    tags: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class SpanExample:
    """A question about a context. `answers` holds (text, start in characters of `context`); empty: unanswerable."""

    id: str
    question: str
    context: str
    answers: tuple[tuple[str, int], ...] = ()


@dataclass(frozen=True, slots=True)
class ChoiceExample:
    """A context and an optional question with several continuations; `label` indexes `choices`."""

    id: str
    context: str
    question: str
    choices: tuple[str, ...]
    label: int | None = None


@dataclass(frozen=True, slots=True)
class ParallelExample:
    """A sentence and its translation; `text` is in the language evaluated, `english` in English."""

    id: str
    text: str
    english: str


@dataclass(frozen=True, slots=True)
class DocumentExample:
    """Running text for masked language modelling."""

    id: str
    text: str


Example = TextExample | WordsExample | SpanExample | ChoiceExample | ParallelExample | DocumentExample


@dataclass(frozen=True)
class DataTable:
    """One line of a manifest's data table: where rows came from and under which terms.

    `source`: "local", "hub" or "sample". `id`: path below the data root, Hub id, or sample name. `revision`: file
    sha256, commit, or generator version. `licence`: SPDX id or the owner's words. `rows`: examples used.
    """

    source: str
    id: str
    revision: str
    licence: str
    rows: int


@dataclass(frozen=True)
class Dataset:
    """Examples of one split with their origin; `note` says where it is not the set the score is defined on."""

    examples: tuple[Example, ...]
    tables: tuple[DataTable, ...] = ()
    note: str = ""
    extra: dict[str, str] = field(default_factory=dict)
