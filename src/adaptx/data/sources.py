"""From (task, language, split) to examples: picks the source that the settings allow, reads it and says what it is.

Knows readers, the Hub and the sample corpus; knows no tokenizer and no training.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import numpy as np

from adaptx.backbones import hash_file
from adaptx.config import Settings
from adaptx.data.examples import Dataset, DataTable, Example, TextExample, WordsExample
from adaptx.errors import AdaptxError
from adaptx.recipe import digest_of
from adaptx.registry import Part, Source, Task

Split = Literal["train", "dev", "test"]
HELD_OUT: tuple[Split, ...] = ("dev", "test")


def pick(settings: Settings, task: Task, lang: str) -> Source:
    """The first source of the task that the settings allow and that has `lang`. Raises AX001, AX014."""
    settings.registry.check_language(lang)
    for kind in settings.sources:
        for source in task.sources:
            if source.kind == kind and lang in source.languages:
                return source.at(lang)
    have = {k: ", ".join(task.languages((k,))) for k in ("local", "hub", "sample") if task.languages((k,))}
    known = "; ".join(f"{kind}: {languages}" for kind, languages in have.items())
    raise AdaptxError(
        "AX014", f"{lang}/{task.id}", f"no {' or '.join(settings.sources)} source has it. It has {known}."
    )


def available(settings: Settings, task: Task, lang: str, split: Split) -> bool:
    """Whether `load` could give this split (files are looked for, not read)."""
    try:
        source = pick(settings, task, lang)
        return split in source.splits and all(
            files_of(settings.data_root, p)
            for p in source.splits[split]
            if settings.data_root and source.kind == "local"
        )
    except AdaptxError as error:
        if error.code in ("AX014", "AX011"):
            return False
        raise


def fingerprint(source: Source, splits: Sequence[Split]) -> str:
    """sha256 of everything in the source that changes which examples come out, notes and licence excepted."""
    value = source.model_dump(mode="json", exclude={"languages", "licence", "note", "verified", "train"})
    value["splits"] = {k: v for k, v in value["splits"].items() if k in splits}
    return digest_of(value)


def load(settings: Settings, task: Task, lang: str, split: Split, limit: int | None = None) -> Dataset:
    """The examples of a split, at most `limit` of them (the same rows for every language), with their origin.

    Raises AX014 where the source lacks the split, AX015 where a promised row count does not hold.
    """
    source = pick(settings, task, lang)
    if split not in source.splits:
        raise AdaptxError("AX014", f"{lang}/{task.id}", f"its {source.kind} source has no {split} split.")
    examples: list[Example] = []
    tables: list[DataTable] = []
    for part in source.splits[split]:
        rows, found = READ[source.kind](settings, source, part, lang, split)
        if part.rows is not None:
            rows = rows[slice(*part.rows)]
        if part.every is not None:
            rows = [r for i, r in enumerate(rows) if i % part.every[0] == part.every[1]]
        if part.expect is not None and len(rows) != part.expect:
            raise AdaptxError("AX015", f"{lang}/{task.id} {split}", f"expected {part.expect} rows, found {len(rows)}.")
        _known_labels(task, rows)
        examples += rows
        tables += [DataTable(source.kind, name, revision, source.licence, len(rows)) for name, revision in found]
    if not examples:
        raise AdaptxError("AX016", f"{lang}/{task.id} {split}", "the source gave no rows.")
    if limit is not None and limit < len(examples):
        keep = np.sort(np.random.default_rng(0).permutation(len(examples))[:limit])
        examples = [examples[i] for i in keep]
    return Dataset(tuple(examples), tuple(tables), source.note)


def _known_labels(task: Task, examples: Sequence[Example]) -> None:
    """Raise AX012 for the first example with a label that the task does not have: it would train on nothing."""
    for example in examples if task.labels else ():
        if isinstance(example, TextExample):
            found = {example.label} - {None}
        elif isinstance(example, WordsExample):
            found = set(example.tags or ())
        else:
            continue
        if not found <= set(task.labels or ()):
            unknown = ", ".join(sorted(str(x) for x in found - set(task.labels or ())))
            raise AdaptxError(
                "AX012",
                f"{task.id} {example.id}",
                f"expected labels among {', '.join(task.labels or ())}, found {unknown}.",
            )


Rows = tuple[Sequence[Example], list[tuple[str, str]]]


def files_of(root: Path, part: Part) -> list[Path]:
    """Files below the data root that the part's globs name, each glob at least one. Raises AX011."""
    out: list[Path] = []
    for pattern in part.files:
        found = sorted(p for p in root.glob(pattern) if p.is_file())
        if not found:
            raise AdaptxError(
                "AX011",
                pattern,
                "no file below the data root matches.",
                f"Put the file there, or name another place in a registry overlay. Data root: {root}",
            )
        out += found
    return out


def _local(settings: Settings, source: Source, part: Part, lang: str, split: str) -> Rows:
    root = settings.data_root
    assert root is not None
    paths = files_of(root, part)
    hashes = tuple(hash_file(p, settings.cache) for p in paths)
    options = {**source.options, **part.options}
    rows = _read(_Reading(part.format or source.format or "", tuple(paths), hashes, repr(options), options))
    return rows, list(zip((p.relative_to(root).as_posix() for p in paths), hashes, strict=True))


@dataclass(frozen=True)
class _Reading:
    """What decides the examples of a file or several; `options` is `key` in the form that readers take."""

    format: str
    paths: tuple[Path, ...]
    hashes: tuple[str, ...]
    key: str
    options: dict[str, Any] = field(compare=False)


@lru_cache(maxsize=4)
def _read(reading: _Reading) -> tuple[Example, ...]:
    """Files of which several splits take rows are read once."""
    from adaptx.data.readers import read

    return tuple(read(reading.format, reading.paths, reading.options))


def _sample(settings: Settings, source: Source, part: Part, lang: str, split: str) -> Rows:
    from adaptx.data import sample

    rows = list(_generated(source.id or "", lang, split))
    return rows, [(f"sample/{source.id}/{lang}/{split}", sample.VERSION)]


@lru_cache(maxsize=128)
def _generated(kind: str, lang: str, split: str) -> tuple[Example, ...]:
    """A split of the sample corpus, generated once by a process."""
    from adaptx.data import sample

    return tuple(sample.generate(kind, lang, split))


def _hub(settings: Settings, source: Source, part: Part, lang: str, split: str) -> Rows:
    from adaptx.data import hub

    return hub.read(source, part, settings.cache)


READ: dict[str, Callable[[Settings, Source, Part, str, str], Rows]] = {"local": _local, "hub": _hub, "sample": _sample}
