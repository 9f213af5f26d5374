"""Examples from the Hugging Face Hub, or from a folder on disk that is laid out like one of its data sets.

A data set is named by id, configuration, split and commit; its records are read by the rules of the format jsonl.
Nothing in it is executed: `datasets` 5 loads no scripts. Where a repository is a script, its branch
`refs/convert/parquet` has the same data as files, one folder a configuration. Knows no task and no split of ours.
"""

import errno
import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, cast
from urllib.parse import quote

from adaptx import atomic
from adaptx.backbones import hash_file
from adaptx.data.examples import Example
from adaptx.data.readers.tables import from_records
from adaptx.errors import AdaptxError
from adaptx.registry import Part, Source

COMMIT = re.compile("[0-9a-f]{40}")
TIMEOUT = 10.0  # seconds
HTTP_CLIENTS = ("requests", "urllib3", "httpx", "aiohttp")
HERE = (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EROFS)  # this machine's fault, not the source's


def read(source: Source, part: Part, cache: Path) -> tuple[list[Example], list[tuple[str, str]]]:
    """The examples of one split, and its name with the commit (of a folder: a hash of its files) they come from.

    `source.id` is ORG/NAME or an absolute path. `source.config` with a slash at its end is a folder of the repository.
    What was read is kept in `cache` and read from there again, without a network if need be. Raises AX010 where the
    options do not fit, AX012 for records that they do not fit, AX014 where the Hub has no such data set, configuration
    or split, AX060 where the Hub does not answer.
    """
    if not source.id or not part.split:
        raise AdaptxError("AX010", f"hub source {source.id}", "it needs an `id`, and each of its parts a `split`.")
    folder = Path(source.id) if Path(source.id).is_absolute() else None
    name = folder.name if folder else source.id
    revision = _content(folder, cache) if folder else _commit(source.id, source.revision, cache)
    place = _place(cache, name) / revision / quote(source.config or "default", "")
    records = _records(source, part.split, None if folder else revision, place)
    options = {**source.options, **part.options}
    examples = from_records(records, f"{name}:{part.split}", options)
    _check_label_names(name, getattr(records, "features", {}), options)
    label = "/".join([name, *([source.config.rstrip("/")] if source.config else []), part.split])
    return examples, [(label, revision)]


def _place(cache: Path, name: str) -> Path:
    """The folder of the cache where a data set's commits are."""
    return cache / "datasets" / name.replace("/", "--")


def _content(folder: Path, cache: Path) -> str:
    """sha256 over the names and contents of a folder's files. Raises AX011."""
    if not folder.is_dir():
        raise AdaptxError("AX011", folder, "this folder does not exist.")
    files = sorted(p for p in folder.rglob("*") if p.is_file())
    lines = [f"{p.relative_to(folder).as_posix()} {hash_file(p, cache)}\n" for p in files]
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def _commit(name: str, revision: str | None, cache: Path) -> str:
    """The commit that `revision` (None: the main branch) names now, or named last where the Hub does not answer."""
    if revision and COMMIT.fullmatch(revision):
        return revision
    from huggingface_hub import HfApi

    known = _place(cache, name) / f"{quote(revision or 'main', '')}.commit"
    try:
        commit = HfApi().dataset_info(name, revision=revision, timeout=TIMEOUT).sha
    except (OSError, ValueError) as error:
        fault = _fault(error, f"{name} at {revision}" if revision else name)
        if fault.code == "AX060" and known.is_file():
            return known.read_text("utf-8")
        raise fault from error
    if commit is None or not COMMIT.fullmatch(commit):
        raise AdaptxError("AX060", name, "the Hub's answer names no commit.")
    atomic.write_bytes(known, commit.encode())
    return commit


def _records(source: Source, split: str, revision: str | None, place: Path) -> Iterable[Mapping[str, object]]:
    """The split's records, from `place` if they are there: a commit's never change.

    `datasets` downloads to `place` too, because where the Hub does not answer it takes whatever commit its cache has.
    """
    import datasets
    from datasets.exceptions import DatasetsError

    kept = place / f"{quote(split, '')}.records"
    if kept.is_dir():
        return cast(Iterable[Mapping[str, object]], datasets.load_from_disk(kept))
    config = source.config or ""
    wanted = {"data_dir": config[:-1]} if config.endswith("/") else {"name": config or None}
    # the prefix keeps a folder of the same name in the working directory from being taken for the data set
    path = source.id if revision is None else f"hf://datasets/{source.id}"
    try:
        found = datasets.load_dataset(path, **wanted, split=split, revision=revision, cache_dir=str(place))
    except (OSError, ValueError, RuntimeError, DatasetsError) as error:
        if isinstance(error, OSError) and error.errno in HERE:
            raise
        raise _fault(error, " ".join(filter(None, [source.id, config, split]))) from error
    with atomic.staged_folder(kept) as stage:
        found.save_to_disk(stage)
    return cast(Iterable[Mapping[str, object]], found)


def _check_label_names(name: str, features: Mapping[str, Any], options: Mapping[str, Any]) -> None:
    """Raise AX010 where the data set itself names a label number otherwise than the option `labels` does."""
    column = options["columns"].get("tags" if options.get("example") == "words" else "label")
    feature = features.get(column)
    theirs = getattr(getattr(feature, "feature", feature), "names", None) or []
    ours = {str(raw): str(label) for raw, label in (options.get("labels") or {}).items()}
    named = [(str(i), label) for i, label in enumerate(theirs) if label in ours.values()]
    wrong = [f"{i} is {label} there and {ours.get(i)} here" for i, label in named if ours.get(i) != label]
    if wrong:
        raise AdaptxError(
            "AX010", f"{name} labels", f"{'; '.join(wrong)}.", "Correct `labels` in a YAML overlay (--registry DIR)."
        )


def _fault(error: BaseException, what: str) -> AdaptxError:
    """What went wrong with `what`, in the user's terms."""
    from datasets.exceptions import DatasetGenerationError

    said = " ".join(str(error).split())[:300] or type(error).__name__
    if any(_unreachable(e) for e in _chain(error)):
        return AdaptxError(
            "AX060",
            what,
            f"the Hugging Face Hub did not answer ({said}).",
            "Check the connection, HF_ENDPOINT and HF_HUB_OFFLINE; --profile local and --data-root need no network.",
        )
    if any(isinstance(e, DatasetGenerationError) or _package(e) == "pyarrow" for e in _chain(error)):
        causes = [" ".join(str(e).split())[:300] for e in _chain(error)]
        return AdaptxError("AX012", what, f"its files could not be read ({'; '.join(causes[:2])}).")
    return AdaptxError(
        "AX014",
        what,
        f"the Hub gives no such data ({said}).",
        "Check id, config, split and revision; log in with `hf auth login` if the data set is gated; one that is a "
        "script may have files at revision refs/convert/parquet, config FOLDER/. Correct the source in a YAML overlay "
        "(--registry DIR).",
    )


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """The error, and what it was raised from or while handling."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _unreachable(error: BaseException) -> bool:
    """Whether the network failed, as opposed to the Hub answering that there is no such thing."""
    from huggingface_hub.errors import LocalEntryNotFoundError

    status = getattr(getattr(error, "response", None), "status_code", None)
    if status is not None:
        return bool(status == 429 or status >= 500)
    if isinstance(error, ConnectionError | TimeoutError | LocalEntryNotFoundError):
        return True
    return _package(error) in HTTP_CLIENTS


def _package(error: BaseException) -> str:
    """Who raised it."""
    return type(error).__module__.partition(".")[0]
