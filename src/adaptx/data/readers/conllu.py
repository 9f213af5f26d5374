"""CoNLL-U treebanks as tagged sentences or as running text.

Multi-word tokens become one word as in XTREME's UDPOS data. Knows no task and no label set but UD's 17 UPOS tags.
Format: universaldependencies.org/format.html.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from adaptx.data.examples import DocumentExample, WordsExample
from adaptx.data.readers.files import malformed, numbered_lines, row_id
from adaptx.data.readers.options import invalid

# fmt: off
UPOS = frozenset((
    "ADJ", "ADP", "ADV", "AUX", "CCONJ", "DET", "INTJ", "NOUN", "NUM", "PART", "PRON", "PROPN", "PUNCT", "SCONJ", "SYM",
    "VERB", "X",
))
PRECEDENCE = (
    "VERB", "NOUN", "PROPN", "PRON", "ADJ", "NUM", "ADV", "INTJ", "AUX", "ADP", "DET", "PART", "CCONJ", "SCONJ", "X",
    "PUNCT",
)
# fmt: on
COLUMNS = {"upos": 3, "xpos": 4, "deprel": 7}
WORD_ID = re.compile(r"[1-9][0-9]*")
RANGE_ID = re.compile(r"([1-9][0-9]*)-([1-9][0-9]*)")
EMPTY_NODE_ID = re.compile(r"[0-9]+\.[1-9][0-9]*")


@dataclass
class _Sentence:
    line: int
    comments: dict[str, str] = field(default_factory=dict)
    words: list[list[str]] = field(default_factory=list)
    ranges: list[tuple[int, int, str]] = field(default_factory=list)


def conllu(
    path: Path,
    *,
    column: Literal["upos", "xpos", "deprel"] = "upos",
    multiword: Literal["fuse", "split"] = "fuse",
    precedence: Sequence[str] = PRECEDENCE,
    join_spaces: bool = True,
) -> Iterator[WordsExample]:
    """Read a treebank as one tagged sentence after the other; ids are `# sent_id`.

    `column`: what the tags are. `multiword`: "fuse" makes one word of a ranged line and its sub-tokens, "split" keeps
    the sub-tokens. `precedence`: UPOS tags, strongest first, for fused words. `join_spaces`: drop spaces and zero-width
    non-joiners inside word forms, as XTREME's UDPOS files have them ("100 000" is the word "100000").

    A fused word takes the column of the sub-token with the fewest ancestors in the dependency graph (HEAD and DEPS
    together); among equals the UPOS earliest in `precedence` decides. Empty nodes are left out. Raises AX012 for
    anything but 10 columns, ids 1, 2, 3, ..., ranges over them and UD's UPOS tags.
    Source: XTREME, utils_preprocess.py and ud-conversion-tools with --replace_subtokens_with_fused_forms, language
    "default"; there es, fr and it have precedence lists of their own.
    """
    unknown = [tag for tag in precedence if tag not in UPOS]
    if unknown:
        raise invalid("conllu", [f"'precedence' lists {', '.join(unknown)}."], f"UPOS tags are {_listed(UPOS)}.")
    return _tagged(path, COLUMNS[column], multiword == "fuse", tuple(precedence), join_spaces)


def conllu_text(path: Path, *, sentences: int = 8) -> Iterator[DocumentExample]:
    """Read the `# text` comments of a treebank as running text.

    `sentences`: how many consecutive sentences make one document; `# newdoc` also ends one. Raises AX012 for a sentence
    without `# text`.
    """
    if sentences < 1:
        raise invalid("conllu_text", [f"'sentences' must be at least 1, not {sentences}."])
    return _documents(path, sentences)


def _tagged(path: Path, column: int, fuse: bool, precedence: tuple[str, ...], join: bool) -> Iterator[WordsExample]:
    for row, sentence in enumerate(_sentences(path, untagged=column != COLUMNS["upos"])):
        ranges = sentence.ranges if fuse else []
        covered = {number for first, last, _ in ranges for number in range(first, last + 1)}
        units = [(n, cells[1], cells[column]) for n, cells in enumerate(sentence.words, 1) if n not in covered]
        for first, last, form in ranges:
            head = _head(sentence.words, range(first, last + 1), precedence)
            units.append((first, form, sentence.words[head - 1][column]))
        units.sort()
        words = tuple(form.replace(" ", "").replace("\u200c", "") if join else form for _, form, _ in units)
        if len(words) > 1 and set(words) == {"_"}:
            raise malformed(
                path,
                sentence.line,
                "expected words, found only _ in column 2: this treebank is distributed without its text.",
                "Merge the text in as the treebank's own README describes.",
            )
        yield WordsExample(sentence.comments.get("sent_id") or row_id(path, row), words, tuple(t for _, _, t in units))


def _documents(path: Path, sentences: int) -> Iterator[DocumentExample]:
    gathered: list[str] = []
    row = 0
    for sentence in _sentences(path, untagged=True):
        text = sentence.comments.get("text", "")
        if not text:
            raise malformed(path, sentence.line, "expected a comment '# text = ...' before the sentence, found none.")
        if gathered and (len(gathered) == sentences or "newdoc" in sentence.comments):
            yield DocumentExample(row_id(path, row), " ".join(gathered))
            gathered, row = [], row + 1
        gathered.append(text)
    if gathered:
        yield DocumentExample(row_id(path, row), " ".join(gathered))


def _sentences(path: Path, untagged: bool) -> Iterator[_Sentence]:
    sentence = _Sentence(0)
    for line, text in numbered_lines(path):
        if not text.strip():
            if sentence.words or sentence.ranges:
                yield _complete(path, sentence)
                sentence = _Sentence(0)
        elif text.startswith("#"):
            key, _, value = text[1:].partition("=")
            name = key.split()[0] if key.split() else ""  # "# newdoc id = x" and "# newdoc" are both newdoc
            sentence.comments[name] = value.strip()
        else:
            sentence.line = sentence.line or line
            _add_line(path, line, text, sentence, UPOS | {"_"} if untagged else UPOS)
    if sentence.words or sentence.ranges:
        yield _complete(path, sentence)


def _add_line(path: Path, line: int, text: str, sentence: _Sentence, upos: frozenset[str]) -> None:
    cells = text.split("\t")
    if len(cells) != 10:
        raise malformed(path, line, f"expected 10 tab-separated columns, found {len(cells)}.")
    if "" in cells or not cells[1].strip(" \u200c"):
        raise malformed(path, line, f"expected _ where nothing is said, found column {_first_blank(cells)} empty.")
    number, previous = cells[0], len(sentence.words)
    if WORD_ID.fullmatch(number):
        if int(number) != previous + 1:
            raise malformed(path, line, f"expected the word id {previous + 1} in column 1, found {number}.")
        if cells[3] not in upos:
            raise malformed(path, line, f"expected one of UD's 17 UPOS tags in column 4, found {cells[3]!r}.")
        sentence.words.append(cells)
    elif span := RANGE_ID.fullmatch(number):
        first, last = int(span[1]), int(span[2])
        taken = sentence.ranges[-1][1] if sentence.ranges else 0
        if first != previous + 1 or last <= first or first <= taken:
            raise malformed(
                path, line, f"expected a range that starts at {max(previous, taken) + 1}, found {number} in column 1."
            )
        sentence.ranges.append((first, last, cells[1]))
    elif not EMPTY_NODE_ID.fullmatch(number):
        raise malformed(path, line, f"expected an id like 3, 3-4 or 3.1 in column 1, found {number!r}.")


def _complete(path: Path, sentence: _Sentence) -> _Sentence:
    words, last = len(sentence.words), sentence.ranges[-1][1] if sentence.ranges else 0
    if last > words:
        raise malformed(path, sentence.line, f"expected words up to {last}, a range's end; the sentence has {words}.")
    return sentence


def _head(words: Sequence[Sequence[str]], span: range, precedence: tuple[str, ...]) -> int:
    """The number of the sub-token that stands for `span`: fewest ancestors, then earliest UPOS in `precedence`."""
    return min(span, key=lambda n: (len(_ancestors(words, n)), _rank(words[n - 1][3], precedence), n))


def _ancestors(words: Sequence[Sequence[str]], number: int) -> set[int]:
    found: set[int] = set()
    waiting = [number]
    while waiting:
        cells = words[waiting.pop() - 1]
        heads = [cells[6], *(edge.partition(":")[0] for edge in cells[8].split("|"))]
        for head in (int(h) for h in heads if h.isdecimal() and int(h) <= len(words)):
            if head not in found:
                found.add(head)
                if head:
                    waiting.append(head)
    return found - {number}


def _first_blank(cells: Sequence[str]) -> int:
    return cells.index("") + 1 if "" in cells else 2


def _rank(upos: str, precedence: tuple[str, ...]) -> int:
    return precedence.index(upos) if upos in precedence else len(precedence)


def _listed(names: frozenset[str]) -> str:
    return ", ".join(sorted(names))
