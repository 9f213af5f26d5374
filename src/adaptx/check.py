"""Is a registry file right? Everything that can be known without training. Knows no command line."""

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from adaptx.bench import prices, shapes
from adaptx.data import readers, sources
from adaptx.errors import AdaptxError
from adaptx.metrics import METRICS
from adaptx.refs import ID
from adaptx.registry import Registry, Source, Task, parse, read_yaml

TABLES = {
    "languages.yaml": "languages",
    "backbones.yaml": "backbones",
    "methods.yaml": "methods",
    "profiles.yaml": "profiles",
    "typology.yaml": "typology",
}


def check_file(file: Path, data_root: Path | None = None) -> str:
    """What the file describes, when it has no fault; with `data_root` every local file it names is looked for.

    Raises AX010 with all faults of the file, AX011 for missing files.
    """
    content = read_yaml(file)
    if file.name in (*TABLES, prices.FILE, shapes.FILE):
        with tempfile.TemporaryDirectory() as folder:
            (Path(folder) / file.name).write_text(file.read_text("utf-8"))
            return _table(Path(folder), file.name)
    if not ID.fullmatch(file.stem):
        raise AdaptxError("AX010", file, "a task's file name is its id: lower case, digits, - and _.")
    shipped = Registry()
    if file.stem in shipped.task_ids():
        overlay = file.parent.parent if file.parent.name == "tasks" else None
        task = (
            Registry(overlay).task(file.stem)
            if overlay
            else parse(Task, {"id": file.stem, **shipped.task(file.stem).model_dump(), **content}, file)
        )
    else:
        task = parse(Task, {"id": file.stem, **content}, file)
    faults = _faults(task, Registry(file.parent.parent if file.parent.name == "tasks" else None))
    if faults:
        raise AdaptxError("AX010", file, " ".join(faults))
    if data_root is not None:
        own = content.get("sources", [])  # of a shipped task, the file's own sources come first
        _look_for_files(task.sources[: len(own)], data_root)
    return f"task {task.id} ({task.kind}), {len(task.sources)} sources, {len(task.languages())} languages"


def _table(folder: Path, name: str) -> str:
    if name == prices.FILE:
        return f"prices, {len(prices.load(folder).table)} in place of the shipped ones"
    if name == shapes.FILE:
        return f"shapes, {len(shapes.known(folder))} with the shipped ones"
    found: dict[str, Any] = getattr(Registry(folder), TABLES[name])()
    return f"{TABLES[name]}, {len(found)} with the shipped ones"


def _faults(task: Task, registry: Registry) -> list[str]:
    known = registry.languages()
    faults = [f"metric {m}: not among {', '.join(METRICS)}." for m in task.metrics if m not in METRICS]
    for i, source in enumerate(task.sources):
        where = f"sources.{i}"
        if source.kind == "local":
            for split, parts in source.splits.items():
                for part in parts:
                    try:
                        readers.check(part.format or source.format or "", {**source.options, **part.options})
                    except AdaptxError as error:
                        faults.append(f"{where}.{split}: {error.given}: {error.why}")
        elif source.id is None:
            faults.append(f"{where}: a {source.kind} source needs an id.")
        unknown = [x for x in source.languages if x not in known]
        if unknown:
            faults.append(f"{where}: languages {', '.join(unknown)} are not in languages.yaml; add them there.")
    return faults


def _look_for_files(found: Sequence[Source], data_root: Path) -> None:
    if not data_root.is_dir():
        raise AdaptxError("AX013", data_root, "this folder does not exist.")
    for source in found:
        if source.kind == "local":
            for lang in source.languages:
                for parts in source.at(lang).splits.values():
                    for part in parts:
                        sources.files_of(data_root, part)
