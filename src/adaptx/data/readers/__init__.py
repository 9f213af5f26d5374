"""File readers: from files that people have on disk to plain examples.

`READERS` is the single list of formats; a reader's keyword-only parameters are its options. Knows no task, no split and
no registry: which file is read how, and which rows of it, is said elsewhere.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from adaptx.data.examples import Example
from adaptx.data.readers import columns, conllu, lines, squad, tables
from adaptx.data.readers.files import base_name
from adaptx.data.readers.options import check_options, files_taken
from adaptx.errors import AdaptxError, unknown_name

READERS: dict[str, Callable[..., Iterator[Example]]] = {
    "conllu": conllu.conllu,
    "columns": columns.columns,
    "tsv": tables.tsv,
    "csv": tables.csv,
    "jsonl": tables.jsonl,
    "squad": squad.squad,
    "aligned": lines.aligned,
    "text": lines.text,
    "conllu_text": conllu.conllu_text,
}


def check(format: str, options: Mapping[str, object]) -> None:
    """Raise AX010 if `format` is unknown or `options` do not fit it; touches no file."""
    if format not in READERS:
        raise unknown_name("AX010", format, READERS)
    reader = READERS[format]
    check_options(format, reader, options)
    reader(*[Path("unread")] * files_taken(reader), **options)


def read(format: str, paths: Sequence[Path], options: Mapping[str, object]) -> list[Example]:
    """Read `paths`, each a source of its own ("aligned": the text file and its English side), into one list.

    Ids are the files' own, or "<file name>:<row>". With several sources all get the file name in front; an id that
    still occurs twice gets "#2", "#3", ... . Raises AX010 (format, options), AX011 (no such file), AX012 (malformed,
    naming file, line and what was expected) and AX016 (a file without examples).
    """
    check(format, options)
    reader = READERS[format]
    per_source = files_taken(reader)
    if not paths or (per_source > 1 and len(paths) != per_source):
        raise AdaptxError("AX010", f"the format {format}", f"takes {per_source} file(s), not {len(paths)}.")
    missing = [str(path) for path in paths if not path.exists()]
    if missing:
        raise AdaptxError("AX011", ", ".join(missing), "does not exist.")
    sources = [tuple(paths)] if per_source > 1 else [(path,) for path in paths]
    examples: list[Example] = []
    for source in sources:
        found = list(reader(*source, **options))
        if not found:
            raise AdaptxError("AX016", source[0], f"holds no example in the format {format} with these options.")
        examples += [_prefixed(example, base_name(source[0])) for example in found] if len(sources) > 1 else found
    return _with_unique_ids(examples)


def _prefixed(example: Example, name: str) -> Example:
    return example if example.id.startswith(name + ":") else replace(example, id=f"{name}:{example.id}")


def _with_unique_ids(examples: list[Example]) -> list[Example]:
    taken = {example.id for example in examples}
    times: Counter[str] = Counter()
    unique: list[Example] = []
    for example in examples:
        times[example.id] += 1
        if times[example.id] == 1:
            unique.append(example)
            continue
        while (fresh := f"{example.id}#{times[example.id]}") in taken:
            times[example.id] += 1
        taken.add(fresh)
        unique.append(replace(example, id=fresh))
    return unique
