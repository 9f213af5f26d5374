"""Recomputes everything about every version on a hub, or about one adapter folder. Repairs and removes nothing."""

import tempfile
from dataclasses import dataclass
from pathlib import Path

from adaptx import manifest
from adaptx.errors import AdaptxError
from adaptx.hub import catalogue, checks, signing
from adaptx.hub import entry as entries
from adaptx.hub.address import pinned
from adaptx.hub.backend import Backend
from adaptx.hub.download import download
from adaptx.hub.entry import Entry
from adaptx.hub.signing import BELIEVE, Trust
from adaptx.recipe import Recipe
from adaptx.refs import Ref


@dataclass(frozen=True)
class Verdict:
    """About one version: whether all of it holds, else the error's code and sentence.

    `parents_missing`: references of parents that are neither on the hub nor, for a folder, beside it in the store.
    """

    ref: str
    version: str
    ok: bool
    bytes: int = 0
    code: str = ""
    problem: str = ""
    signed_by: str = ""
    parents_missing: tuple[str, ...] = ()


def verify(
    address: str, cache: Path, ref: Ref | None = None, revision: str | None = None, trust: Trust = BELIEVE
) -> tuple[Verdict, ...]:
    """A verdict on every version (that `ref` names) of the hub at `address`, or on the one adapter folder there.

    Raises AX080, AX060 where there is neither.
    """
    folder = Path(address.removeprefix("file://")).expanduser()
    if "://" not in address.removeprefix("file://") and (folder / manifest.FILE).is_file():
        return (_folder(folder, trust),)
    hub, version = pinned(address, cache, revision)
    known = catalogue.read_all(hub, ref, version)
    runs = {e.manifest.run for e in (catalogue.read_all(hub) if ref or version else known).entries}
    strangers = [p for p in hub.paths(entries.FOLDER) if not entries.may_match(p, None)] if ref is None else []
    return (
        *(_entry(hub, e, trust, runs) for e in known.entries),
        *(Verdict(p, "", False, code=error.code, problem=error.why) for p, error in known.faults),
        *(Verdict(p, "", False, code="AX021", problem="not the path of an entry.") for p in strangers),
    )


def _entry(hub: Backend, entry: Entry, trust: Trust, runs: set[str]) -> Verdict:
    with tempfile.TemporaryDirectory() as temporary:
        try:
            download(hub, entry, Path(temporary))
            signed_by = signing.check(Path(temporary), trust, entry.ref)
        except AdaptxError as error:
            return Verdict(entry.ref, entry.version[:16], False, entry.bytes, error.code, f"{error.given}: {error.why}")
    missing = _missing(entry.recipe, runs)
    return Verdict(entry.ref, entry.version[:16], True, entry.bytes, signed_by=signed_by, parents_missing=missing)


def _folder(folder: Path, trust: Trust) -> Verdict:
    try:
        stored = checks.check_folder(folder)
        signed_by = signing.check(folder, trust, stored.ref)
    except AdaptxError as error:
        return Verdict(folder.name, "", False, 0, error.code, f"{error.given}: {error.why}")
    above = folder.resolve().parents
    held = {p.parent.name for p in above[4].glob(f"*/*/*/*/*/{manifest.FILE}")} if len(above) > 4 else set()
    size = sum(f.bytes for f in stored.manifest.files)
    return Verdict(stored.ref, "", True, size, signed_by=signed_by, parents_missing=_missing(stored.recipe, held))


def _missing(recipe: Recipe, runs: set[str]) -> tuple[str, ...]:
    return tuple(p.ref for p in recipe.parents if p.run not in runs)
