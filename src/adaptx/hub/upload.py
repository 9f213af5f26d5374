"""Puts a finished adapter of the store on a hub, with the adapters that it stands on. Changes nothing but its card."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

from adaptx import atomic, cards, store
from adaptx.cards import Score
from adaptx.config import Settings
from adaptx.errors import AdaptxError
from adaptx.hub import catalogue, checks, leaks, signing
from adaptx.hub.address import open_hub
from adaptx.hub.backend import Backend, Item
from adaptx.hub.entry import MAX_BYTES, Entry, build, parse
from adaptx.hub.results import zero_shot
from adaptx.manifest import FileEntry
from adaptx.store import Stored


@dataclass(frozen=True)
class Pushed:
    """A version on a hub; `new`: it was not there before; `revision`: the commit where the hub has history."""

    entry: Entry
    hub: str
    new: bool
    revision: str
    signed_by: str


def push(
    settings: Settings, stored: Stored, target: str, *, sign_with: Path | None = None, private: bool = True
) -> tuple[Pushed, ...]:
    """Put `stored`, after the adapters it stands on, on the hub `target`; the adapter itself comes last.

    The card is written anew first, with the zero-shot scores that the store has. Interrupted, the same call goes on;
    done twice, it changes nothing. `private`: of a repository that is created. Raises AX006 where an adapter below is
    missing, AX020-AX023 for a damaged or unsafe one, AX080, AX083.
    """
    out = []
    for one in (*below(settings.store, stored), stored):
        hub = open_hub(target, settings.cache, private=private)
        out.append(_push(settings, one, hub, sign_with))
    return tuple(out)


def below(root: Path, stored: Stored) -> list[Stored]:
    """The adapters that `stored` was trained on top of, bottom up. Raises AX006 where one is gone."""
    parents = stored.recipe.parent("stack")
    held = {s.manifest.run: s for s in store.listing(root)} if parents else {}
    for parent in parents:
        if parent.run not in held:
            raise AdaptxError("AX006", parent.ref, f"{stored.ref} stands on it, and the store does not have it.")
    return [held[p.run] for p in parents]


def _push(settings: Settings, stored: Stored, hub: Backend, sign_with: Path | None) -> Pushed:
    stored = checks.check_folder(stored.folder)
    scores = zero_shot(settings, stored)
    _renew_card(stored, scores)
    signed_by = signing.sign(stored.folder, sign_with) if sign_with else ""
    contents = contents_of(stored.folder)
    for path, content in contents.items():
        if isinstance(content, bytes):
            leaks.check(content.decode("utf-8"), f"{stored.ref} {path}")
    files = tuple(_file_entry(path, content) for path, content in contents.items())
    entry, data = build(stored.manifest, files, scores)
    items = [Item(hub.blob(entry.place, f.path, f.sha256), contents[f.path], f.sha256) for f in files]
    if _listed(hub, entry) and hub.holds(items):
        return Pushed(entry, hub.url, False, hub.revision, signed_by)
    front = [_front_page(hub, entry)] if hub.front_page else []
    revision = hub.put([*items, *front, Item(entry.path, data, "")], f"Add {entry.ref}")
    return Pushed(entry, hub.url, True, revision, signed_by)


def contents_of(folder: Path) -> dict[str, bytes | Path]:
    """The folder's files in order of name: texts as bytes, read once; weights by path."""
    found = {p.relative_to(folder).as_posix(): p for p in sorted(folder.rglob("*")) if p.is_file()}
    return {
        shown: path if path.suffix == ".safetensors" else path.read_bytes()
        for shown, path in found.items()
        if not shown.startswith("predictions/")
    }


def _file_entry(path: str, content: bytes | Path) -> FileEntry:
    if isinstance(content, bytes):
        return FileEntry(path=path, bytes=len(content), sha256=hashlib.sha256(content).hexdigest())
    return FileEntry(path=path, bytes=content.stat().st_size, sha256=atomic.sha256(content))


def _renew_card(stored: Stored, scores: tuple[Score, ...]) -> None:
    card = cards.render(stored.manifest, scores).encode()
    path = stored.folder / "README.md"
    if not path.is_file() or path.read_bytes() != card:
        atomic.write_bytes(path, card)


def _listed(hub: Backend, entry: Entry) -> bool:
    """Whether the hub has the version's entry; one that cannot be read is removed, to be written again."""
    try:
        return parse(hub.read(entry.path, MAX_BYTES), entry.path).version == entry.version
    except AdaptxError as error:
        if error.code == "AX081" or (error.code == "AX080" and not hub.revision):
            return False
        if error.code in ("AX020", "AX021", "AX023"):
            hub.delete([entry.path], f"Remove a damaged entry of {entry.ref}")
            return False
        raise


def _front_page(hub: Backend, new: Entry) -> Item:
    """The repository's README: every version on it, the new one included."""
    there = catalogue.read_all(hub).entries if hub.revision else ()
    versions = {e.version: e for e in (*there, new)}
    page = cards.front_page(hub.url.removeprefix("hf://"), [(e.manifest, e.place) for e in versions.values()])
    return Item("README.md", page.encode(), "")
