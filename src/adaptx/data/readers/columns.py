"""CoNLL-style columns: one word a line with its tag in another column, a blank line between sentences.

Reads named entities in IOB2 (WikiANN, Turku NER, Universal NER) and supertags (Parallel Meaning Bank). Knows no label
set.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from adaptx.data.examples import WordsExample
from adaptx.data.readers.files import malformed, numbered_lines, row_id
from adaptx.data.readers.options import invalid

LANGUAGE_PREFIX = re.compile(r"[a-z]{2,}(?:-[a-z]+)*:")
IOB2_TAG = re.compile(r"O|[BI]-.+")
SPACES = re.compile(r"[ \t]+")
DOCSTART = "-DOCSTART-"
Token = tuple[int, str, str]  # line number, word, tag


@dataclass(frozen=True)
class _Layout:
    word: int
    tag: int
    space: bool
    strip_prefix: bool
    tag_map: Mapping[str, str]
    skip_docstart: bool
    comments: str | None

    def cells(self, line: str) -> list[str]:
        return SPACES.split(line.strip(" \t")) if self.space else line.split("\t")

    def is_comment(self, line: str) -> bool:
        """A "#" may also be a word: then its line has columns, and no space inside the first one."""
        if self.comments is None or not line.startswith(self.comments):
            return False
        cells = self.cells(line)
        return len(cells) < 2 or (not self.space and cells[0].startswith(self.comments + " "))


def columns(
    path: Path,
    *,
    word: int = 0,
    tag: int = -1,
    separator: Literal["tab", "space"] = "tab",
    strip_prefix: bool = False,
    tag_map: Mapping[str, str] | None = None,
    skip_docstart: bool = True,
    comments: str | None = None,
    scheme: Literal["iob2", "none"] = "iob2",
    repair: bool = False,
) -> Iterator[WordsExample]:
    """Read one tagged sentence after the other; ids are `# sent_id` comments where `comments` is "#".

    `word`, `tag`: column indices from 0, negative ones from the end. `separator`: "tab", or "space" for any run of
    spaces and tabs. `strip_prefix`: "fi:Helsinki" becomes "Helsinki" (WikiANN). `tag_map`: whole tags to others; tags
    it does not name stay. `skip_docstart`: leave out sentences that are only -DOCSTART-. `comments`: what comment lines
    start with; a line counts as one only if it has a single column or, between tabs, the mark and a space open its
    first column. `scheme`: "iob2" demands O, B-X, and I-X only after B-X or I-X; "none" takes any tag. `repair`: make
    an I-X that continues nothing B-X instead of an error. Both are judged after `tag_map`.

    Raises AX012 for a line with another number of columns than the first, an empty word or tag, a missing prefix and
    tags outside the scheme.
    """
    if repair and scheme != "iob2":
        raise invalid("columns", ["'repair' needs the scheme 'iob2'."])
    if comments == "":
        raise invalid("columns", ["'comments' must be null or the mark that comment lines start with."])
    layout = _Layout(word, tag, separator == "space", strip_prefix, tag_map or {}, skip_docstart, comments)
    return _examples(path, layout, scheme == "iob2", repair)


def _examples(path: Path, layout: _Layout, iob2: bool, repair: bool) -> Iterator[WordsExample]:
    row = width = 0
    for sent_id, lines in _blocks(path, layout):
        rows = [(number, layout.cells(line)) for number, line in lines]
        if layout.skip_docstart and len(rows) == 1 and DOCSTART in rows[0][1]:
            continue
        width = width or len(rows[0][1])
        tokens = [_token(path, number, cells, width, layout) for number, cells in rows]
        tags = _iob2(path, tokens, repair) if iob2 else tuple(tag for _, _, tag in tokens)
        yield WordsExample(sent_id or row_id(path, row), tuple(word for _, word, _ in tokens), tags)
        row += 1


def _blocks(path: Path, layout: _Layout) -> Iterator[tuple[str, list[tuple[int, str]]]]:
    lines: list[tuple[int, str]] = []
    sent_id = ""
    for number, line in numbered_lines(path):
        if not line.strip():
            if lines:
                yield sent_id, lines
                lines, sent_id = [], ""
        elif layout.is_comment(line):
            name, _, value = line[len(layout.comments or "") :].partition("=")
            sent_id = value.strip() if name.strip() == "sent_id" else sent_id
        else:
            lines.append((number, line))
    if lines:
        yield sent_id, lines


def _token(path: Path, number: int, cells: list[str], width: int, layout: _Layout) -> Token:
    between = "space" if layout.space else "tab"
    needed = max(i + 1 if i >= 0 else -i for i in (layout.word, layout.tag))
    if len(cells) != width:
        raise malformed(path, number, f"expected {width} {between}-separated columns, found {len(cells)}.")
    if width < max(needed, 2):
        raise malformed(path, number, f"expected at least {max(needed, 2)} {between}-separated columns, found {width}.")
    word, tag = cells[layout.word], cells[layout.tag]
    if layout.strip_prefix:
        prefix = LANGUAGE_PREFIX.match(word)
        if not prefix:
            raise malformed(path, number, f"expected a word with a language prefix like fi:Helsinki, found {word!r}.")
        word = word[prefix.end() :]
    if not word or not tag:
        raise malformed(path, number, f"expected a word and a tag, found an empty {'tag' if word else 'word'}.")
    return number, word, layout.tag_map.get(tag, tag)


def _iob2(path: Path, tokens: list[Token], repair: bool) -> tuple[str, ...]:
    tags: list[str] = []
    for number, _, tag in tokens:
        if not IOB2_TAG.fullmatch(tag):
            raise malformed(path, number, f"expected an IOB2 tag (O, B-X or I-X), found {tag!r}.")
        before = tags[-1] if tags else "O"
        if tag[0] == "I" and before[2:] != tag[2:]:
            if not repair:
                why = f"expected {tag} after B{tag[1:]} or {tag}, found it after {before if tags else 'nothing'}."
                raise malformed(path, number, why, f"Fix the line, or set repair: true to read it as B{tag[1:]}.")
            tag = "B" + tag[1:]
        tags.append(tag)
    return tuple(tags)
