"""What a hub holds: its entries, found by reference or by words. Reads entries only, never weights."""

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from adaptx.errors import AdaptxError
from adaptx.hub import entry as entries
from adaptx.hub.address import pinned
from adaptx.hub.backend import Backend
from adaptx.hub.entry import Entry, as_row
from adaptx.refs import Ref

READERS = 8
WHOLE_WORDS = 3  # a query word of at most this many letters is a language or method, not a part of a longer word


@dataclass(frozen=True)
class Catalogue:
    """The readable entries of a hub, oldest first, and what was wrong with the others (path, error)."""

    entries: tuple[Entry, ...]
    faults: tuple[tuple[str, AdaptxError], ...]


def read_all(hub: Backend, ref: Ref | None = None, version: str | None = None) -> Catalogue:
    """Every entry, or those that `ref` and the start of a hash may name; a damaged one does not hide the others."""
    paths = [p for p in hub.paths(entries.FOLDER) if entries.may_match(p, ref)]

    def read(path: str) -> Entry | AdaptxError | None:
        try:
            return entries.parse(hub.read(path, entries.MAX_BYTES), path)
        except AdaptxError as error:
            return None if error.code == "AX081" else error  # removed since it was listed

    with ThreadPoolExecutor(READERS) as pool:
        found = list(pool.map(read, paths))
    return Catalogue(
        tuple(
            sorted(
                (f for f in found if isinstance(f, Entry) and f.version.startswith(version or "")),
                key=lambda e: (e.pushed, e.version),
            )
        ),
        tuple((p, f) for p, f in zip(paths, found, strict=True) if isinstance(f, AdaptxError)),
    )


def find(
    hub: Backend, ref: Ref, version: str | None = None, backbone: str | None = None, everything: bool = False
) -> tuple[Entry, ...]:
    """The newest version that `ref` names, or with `everything` all of them; `version`: a prefix of its hash.

    Where entries for several backbones match, `backbone` decides. Raises AX081 where nothing matches, AX007 where
    several methods do, and what is wrong with an entry that is the only match.
    """
    known = read_all(hub, ref, version)
    found = list(known.entries)
    if not found:
        if known.faults:
            raise known.faults[-1][1]
        at = f" with a version {version}" if version else ""
        raise AdaptxError("AX081", ref, f"{hub.url} has no such adapter{at}.{_near(hub, ref)}")
    if backbone and any(e.recipe.backbone.name == backbone for e in found):
        found = [e for e in found if e.recipe.backbone.name == backbone]
    if everything:
        return tuple(found)
    for what, values in (
        ("backbones", {e.recipe.backbone.name for e in found}),
        ("methods", {e.recipe.method for e in found}),
        ("runs", {e.manifest.run for e in found} if ref.run else set()),
    ):
        if len(values) > 1:
            raise AdaptxError("AX007", ref, f"{what} on the hub that match: {', '.join(sorted(values))}.")
    return (found[-1],)


def _near(hub: Backend, ref: Ref) -> str:
    close = [p.split("/") for p in hub.paths(entries.FOLDER) if entries.may_match(p, None)]
    names = sorted({f"{p[2]}/{p[3]}:{p[4]}" for p in close if p[2] == ref.lang or p[3] == ref.task})
    return f" It has {', '.join(names[:4])}." if names else ""


def matches(entry: Entry, words: Iterable[str], languages: dict[str, str]) -> bool:
    """Whether every word occurs in what the entry says of itself; short words must be whole ones."""
    r = entry.recipe
    text = " ".join(
        [
            *(r.lang, languages.get(r.lang, ""), r.task, r.method, r.role, r.backbone.name, entry.ref, r.backbone.id),
            *entry.manifest.licences,
            *(f"{s.lang} {languages.get(s.lang, '')} {s.task}" for s in entry.scores),
        ]
    ).lower()
    whole = set(text.replace("/", " ").replace(":", " ").split())
    return all(w in whole or (len(w) > WHOLE_WORDS and w in text) for w in words)


Warn = Callable[[str, AdaptxError], None]


def silent(path: str, error: AdaptxError) -> None:
    """A listener that does nothing about an entry that cannot be read."""


def listing(hub: str, cache: Path, revision: str | None = None, warn: Warn = silent) -> list[dict[str, Any]]:
    """One row a version, newest first; `warn` hears of entries that cannot be read. Raises AX080, AX060."""
    return search(hub, "", cache, {}, revision, warn)


def search(
    hub: str, query: str, cache: Path, languages: dict[str, str], revision: str | None = None, warn: Warn = silent
) -> list[dict[str, Any]]:
    """The rows that every word of `query` fits, newest first. `languages`: names by code, which can be searched too."""
    words = query.lower().replace("/", " ").replace(":", " ").split()
    backend, version = pinned(hub, cache, revision)
    known = read_all(backend, version=version)
    for path, error in known.faults:
        warn(path, error)
    return [as_row(e) for e in reversed(known.entries) if matches(e, words, languages)]


def info(hub: str, ref: Ref, cache: Path, revision: str | None = None) -> dict[str, Any]:
    """All versions that `ref` names, newest first, and for the newest its files, data and provenance."""
    backend, version = pinned(hub, cache, revision)
    found = find(backend, ref, version, everything=True)
    newest = found[-1]
    held = {e.manifest.run: e for e in read_all(backend).entries}
    return {
        **as_row(newest),
        "hub": backend.url,
        "revision": backend.revision,
        "versions": [{"ref": e.ref, "version": e.version[:16], "pushed": e.pushed} for e in reversed(found)],
        "files": [f.model_dump() for f in newest.files],
        "data": [d.model_dump() for d in newest.recipe.data],
        "provenance": provenance(newest, held),
        "notes": list(newest.manifest.notes),
    }


def provenance(entry: Entry, held: dict[str, Entry]) -> list[dict[str, Any]]:
    """What the adapter builds on and what that builds on, nearest first; `of`: the reference that names the parent."""
    out: list[dict[str, Any]] = []
    queue, seen = [entry], set()
    while queue:
        child = queue.pop(0)
        for p in child.recipe.parents:
            out.append({"of": child.ref, "how": p.how, "ref": p.ref, "run": p.run, "on_hub": p.run in held})
            if p.run in held and p.run not in seen:
                seen.add(p.run)
                queue.append(held[p.run])
    return out
