"""Tables: TSV, CSV, JSONL and records in memory, with a map from roles to columns.

Cuts files into records; `rows` makes examples of them. Knows no task.
"""

import csv as csv_format
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from adaptx.data.examples import Example
from adaptx.data.readers.files import Undecodable, malformed, numbered_lines, parsed, records, row_id
from adaptx.data.readers.options import check_options, invalid
from adaptx.data.readers.rows import Column, Columns, Kind, Labels, Misaligned, Record, Rules, build, checked_rules
from adaptx.errors import AdaptxError

Row = tuple[int, list[str]]  # number of the row's first line, cells


def tsv(
    path: Path,
    *,
    columns: Columns,
    example: Kind = "text",
    header: bool = True,
    quoting: bool = False,
    labels: Labels | None = None,
    threshold: float | None = None,
    drop_labels: Sequence[str | int] = (),
    question_map: Mapping[str, str] | None = None,
    skip_blank: bool = False,
    undecodable: Undecodable = "error",
) -> Iterator[Example]:
    """Read a tab-separated table, one example a row; ids are the column `id`, or "<file>:<row>" with rows from 0.

    `columns`: role -> column name, or index from 0. Roles of `example` "text": text, pair, label, id; of "choice":
    context and/or question, choices (a list of columns), label (0-based index or letter A, B, ...), id; of "words":
    words, tags (separated by spaces), id; of "parallel": text, english, id; of "document": text, id. `header`: the
    first line names the columns. `quoting`: fields may be quoted as in RFC 4180; False takes quotation marks as text.
    `labels`: raw label -> our label; any other is an error. None: labels stay as they are. `threshold`: numeric labels
    become "1" from here on and "0" below, before `labels`. `drop_labels`: leave rows with these raw labels out.
    `question_map`: raw question -> text (XCOPA: cause, effect). `skip_blank`: leave rows with a blank text out instead
    of failing. `undecodable`: "replace" puts U+FFFD for bytes that are not UTF-8. Rows left out keep their number in
    the ids, so that files parallel by row stay so.

    Raises AX012 for rows with another number of columns, for blanks and for unknown labels.
    """
    chosen = checked_rules("tsv", columns, example, labels, threshold, drop_labels, question_map, skip_blank)
    return _delimited("tsv", path, "\t", quoting, header, chosen, undecodable)


def csv(
    path: Path,
    *,
    columns: Columns,
    example: Kind = "text",
    header: bool = True,
    quoting: bool = True,
    labels: Labels | None = None,
    threshold: float | None = None,
    drop_labels: Sequence[str | int] = (),
    question_map: Mapping[str, str] | None = None,
    skip_blank: bool = False,
    undecodable: Undecodable = "error",
) -> Iterator[Example]:
    """Read a comma-separated table; the options are those of `tsv`, but quoting is on unless switched off."""
    chosen = checked_rules("csv", columns, example, labels, threshold, drop_labels, question_map, skip_blank)
    return _delimited("csv", path, ",", quoting, header, chosen, undecodable)


def jsonl(
    path: Path,
    *,
    columns: Columns,
    example: Kind = "text",
    labels: Labels | None = None,
    threshold: float | None = None,
    drop_labels: Sequence[str | int] = (),
    question_map: Mapping[str, str] | None = None,
    skip_blank: bool = False,
    on_misaligned: Misaligned = "error",
    only: Mapping[str, str] | None = None,
    undecodable: Undecodable = "error",
) -> Iterator[Example]:
    """Read one JSON object a line; the options are those of `tsv`, with dotted paths such as question.stem as columns.

    Role choices: a list of paths, or one path to a list of texts, or one to a list of objects, of which `choice_text`
    names the text and `choice_label`, if given, what labels say. Roles words and tags: lists of texts. Roles of
    `example` "span": question, context, answers (parallel lists text and answer_start, or a list of objects with both),
    id; `on_misaligned` as in the format squad. `only`: path -> how its value starts in the records to read; others are
    left out.
    """
    chosen = checked_rules(
        "jsonl", columns, example, labels, threshold, drop_labels, question_map, skip_blank, on_misaligned, only
    )
    return _objects(path, _with_paths(chosen), undecodable)


def from_records(records: Iterable[Mapping[str, object]], origin: str, options: Mapping[str, Any]) -> list[Example]:
    """Examples of objects that are in memory already, by the options of `jsonl`.

    Ids are the column `id`, or "<origin>:<row>" with rows from 0; `origin` also names the place in messages. Raises
    AX010 for options that do not fit, AX012 for records that do not.
    """
    check_options("jsonl", jsonl, options)
    given = {name: value for name, value in options.items() if name != "undecodable"}
    rules = _with_paths(checked_rules("jsonl", **given))
    rows = (Record(f"{origin}:{i}", f"{origin}:{i}", _walker(f"{origin}:{i}", r)) for i, r in enumerate(records))
    return [example for row in rows if (example := build(rules, row)) is not None]


def _with_paths(rules: Rules) -> Rules:
    numbers = [str(column) for column in rules.named() if isinstance(column, int)]
    if numbers:
        raise invalid("jsonl", [f"'columns' must hold paths like question.stem, not {', '.join(numbers)}."])
    return rules


def _delimited(
    format: str, path: Path, delimiter: str, quoting: bool, header: bool, rules: Rules, undecodable: Undecodable
) -> Iterator[Example]:
    names = [column for column in rules.named() if isinstance(column, str)]
    if names and not header:
        raise invalid(format, [f"'columns' must hold indices without a header, not {', '.join(names)}."])
    if "choice_text" in rules.columns or isinstance(rules.columns.get("choices", []), str | int):
        raise invalid(format, ["'columns' must give choices a list of columns."])
    if rules.kind == "span":
        raise invalid(format, ["'example' span needs the format jsonl or squad."])
    lines = numbered_lines(path, undecodable)
    rows = _quoted(path, lines, delimiter) if quoting else ((n, line.split(delimiter)) for n, line in lines)
    return _examples(path, records(rows, path), header, rules)


def _examples(path: Path, rows: Iterator[Row], header: bool, rules: Rules) -> Iterator[Example]:
    places: dict[Column, int] = {}
    width = 0
    for row, (line, cells) in enumerate(rows, -1 if header else 0):
        if not width:
            width = len(cells)
            places = _places(path, line, cells, header, rules)
            if header:
                continue
        if len(cells) != width:
            raise malformed(path, line, f"expected {width} columns as in the first line, found {len(cells)}.")
        example = build(rules, Record(f"{path}:{line}", row_id(path, row), _getter(cells, places)))
        if example is not None:
            yield example


def _places(path: Path, line: int, cells: list[str], header: bool, rules: Rules) -> dict[Column, int]:
    places: dict[Column, int] = {}
    for column in rules.named():
        if isinstance(column, str):
            if cells.count(column) != 1:
                found = "twice" if column in cells else f"only {', '.join(cells)}"
                raise malformed(path, line, f"expected a column named {column!r} in the header, found {found}.")
            places[column] = cells.index(column)
        elif not 0 <= column < len(cells):
            raise malformed(path, line, f"expected a column {column} (from 0), found {len(cells)} columns.")
        else:
            places[column] = column
    return places


def _getter(cells: list[str], places: dict[Column, int]) -> Callable[[Column], object]:
    return lambda column: cells[places[column]]


def _quoted(path: Path, lines: Iterator[tuple[int, str]], delimiter: str) -> Iterator[Row]:
    taken = [0]  # the line that csv read last: a quoted field may span several

    def feed() -> Iterator[str]:
        for number, line in lines:
            taken[0] = number
            yield line + "\n"

    reader = csv_format.reader(feed(), delimiter=delimiter, strict=True)
    first = 1
    try:
        for cells in reader:
            yield first, cells
            first = taken[0] + 1
    except csv_format.Error as fault:
        why = f"expected fields quoted as in RFC 4180, found a fault: {fault}."
        raise malformed(path, first, why, "Fix it, or set quoting: false.") from fault


def _objects(path: Path, rules: Rules, undecodable: Undecodable) -> Iterator[Example]:
    for row, (number, line) in enumerate(records(numbered_lines(path, undecodable), path)):
        value = parsed(path, number, line)
        if not isinstance(value, dict):
            raise malformed(path, number, "expected a JSON object, found another JSON value.")
        example = build(rules, Record(f"{path}:{number}", row_id(path, row), _walker(f"{path}:{number}", value)))
        if example is not None:
            yield example


def _walker(place: str, record: Mapping[str, object]) -> Callable[[Column], object]:
    def walk(column: Column) -> object:
        value: object = record
        for key in str(column).split("."):
            if isinstance(value, dict) and key in value:
                value = value[key]
            elif isinstance(value, list) and key.isdecimal() and int(key) < len(value):
                value = value[int(key)]
            else:
                raise AdaptxError("AX012", place, f"expected the field {column}, found no {key!r}.")
        return value

    return walk
