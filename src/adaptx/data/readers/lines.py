"""Plain text: sentences aligned line by line with English, and running text.

Knows no task. Raw lines come from `files`.
"""

from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path
from typing import Literal

from adaptx.data.examples import DocumentExample, ParallelExample
from adaptx.data.readers.files import malformed, numbered_lines, records, row_id
from adaptx.data.readers.options import invalid


def aligned(path: Path, english: Path) -> Iterator[ParallelExample]:
    """Read two files whose line n is the same sentence, `path` in the language evaluated and `english` in English.

    Raises AX012 where a line is blank or the files differ in length.
    """
    texts, translations = (list(records(numbered_lines(file), file)) for file in (path, english))
    if len(texts) != len(translations):
        raise malformed(
            path,
            min(len(texts), len(translations)) + 1,
            f"expected as many lines as {english} has, {len(translations)}; found {len(texts)}.",
        )
    for row, ((number, text), (_, translation)) in enumerate(zip(texts, translations, strict=True)):
        for file, line in ((path, text), (english, translation)):
            if not line.strip():
                raise malformed(file, number, "expected a sentence, found a blank line.")
        yield ParallelExample(row_id(path, row), text, translation)


def text(
    path: Path, *, column: int | None = None, unit: Literal["line", "paragraph"] = "line"
) -> Iterator[DocumentExample]:
    """Read one document after the other; blank ones are left out.

    `column`: the tab-separated column, from 0, that holds the text; null takes the whole line. `unit`: "line" makes
    every line a document, "paragraph" every run of lines between blank lines. Raises AX012 where the column is missing.
    """
    if column is not None and (column < 0 or unit == "paragraph"):
        raise invalid("text", ["'column' must be at least 0 and needs the unit 'line'."])
    return _documents(path, column, unit == "paragraph")


def _documents(path: Path, column: int | None, paragraphs: bool) -> Iterator[DocumentExample]:
    lines = numbered_lines(path)
    if column is not None:
        texts: Iterable[str] = _cells(path, lines, column)
    elif paragraphs:
        texts = _paragraphs(line for _, line in lines)
    else:
        texts = (line for _, line in lines)
    for row, document in enumerate(texts):
        if document.strip():
            yield DocumentExample(row_id(path, row), document)


def _cells(path: Path, lines: Iterator[tuple[int, str]], column: int) -> Iterator[str]:
    for number, line in lines:
        cells = line.split("\t")
        if line and len(cells) <= column:
            raise malformed(path, number, f"expected at least {column + 1} tab-separated columns, found {len(cells)}.")
        yield cells[column] if line else ""


def _paragraphs(lines: Iterable[str]) -> Iterator[str]:
    gathered: list[str] = []
    for line in chain(lines, [""]):
        if line.strip():
            gathered.append(line)
        elif gathered:
            yield " ".join(gathered)
            gathered = []
