"""Brings a version from a hub into the store: downloaded beside its place, checked whole, then renamed into it.

Nothing of it is loaded or executed on the way; what fails a check is deleted.
"""

import contextlib
import errno
import os
import shutil
import tempfile
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from adaptx import atomic, manifest, store
from adaptx.config import Settings
from adaptx.errors import AdaptxError
from adaptx.hub import catalogue, checks, signing, tensors
from adaptx.hub.address import pinned
from adaptx.hub.backend import Backend
from adaptx.hub.entry import Entry
from adaptx.hub.signing import BELIEVE, Trust
from adaptx.manifest import FileEntry
from adaptx.refs import Ref
from adaptx.store import Stored

ABANDONED_SECONDS = 86400.0


@dataclass(frozen=True)
class Pulled:
    """An adapter now in the store; `new`: it was not before; `revision`: the hub's commit, empty without history."""

    stored: Stored
    hub: str
    version: str
    revision: str
    new: bool
    signed_by: str
    notes: tuple[str, ...] = ()


def pull(
    settings: Settings,
    ref: Ref,
    hub: str,
    revision: str | None = None,
    *,
    trust: Trust = BELIEVE,
    replace: bool = False,
    allow_mismatch: bool = False,
) -> tuple[Pulled, ...]:
    """The newest version of `ref` on `hub`, after the adapters it stands on; the adapter itself comes last.

    `revision`: a commit (40 hex digits) of a Hub repository, or a version's hash or a prefix of it. `replace`: put it
    in the place of other content of the same run. Raises AX007, AX081 (not there), AX020-AX023 (damaged, unsafe, for
    other weights), AX082 (signature), AX084 (the store holds other content).
    """
    backend, version = pinned(hub, settings.cache, revision)
    mine = backbone_here(settings)
    name = mine[0] if mine else None
    (wanted,) = catalogue.find(backend, ref, version, name)
    check_method(wanted, settings)
    if not allow_mismatch:
        check_backbone(wanted, mine)
    notes: list[str] = []
    queue: list[Entry] = []
    for parent in wanted.recipe.parent("stack"):
        if any(s.manifest.run == parent.run for s in store.listing(settings.store)):
            continue
        try:
            lang, task = parent.ref.split(":")[0].split("/")
            queue += catalogue.find(backend, Ref(lang, task, None, parent.run))
        except (AdaptxError, ValueError):
            notes.append(f"it stands on {parent.ref}, which is neither in the store nor on {backend.url}")
    out = [_pull(settings.store, backend, entry, trust, replace, ()) for entry in queue]
    return (*out, _pull(settings.store, backend, wanted, trust, replace, tuple(notes)))


def backbone_here(settings: Settings) -> tuple[str, str] | None:
    """Name and weights hash of the settings' backbone; the hash is empty where the weights would have to be fetched."""
    from adaptx import backbones

    spec = settings.registry.backbones().get(settings.backbone)
    folder = Path(settings.backbone).is_dir()
    if not folder and (spec is None or spec.source == "hub"):
        return settings.backbone, ""
    try:
        files = backbones.locate(settings)
    except AdaptxError:
        return settings.backbone, ""
    return files.name, files.weights_sha256


def check_method(entry: Entry, settings: Settings) -> None:
    """Raise AX020 where a version's method is known here as one of another family, which another library loads."""
    spec = settings.registry.methods().get(entry.recipe.method)
    if spec is not None and spec.family != entry.recipe.family:
        raise AdaptxError(
            "AX020", entry.ref, f"it says that {entry.recipe.method} is of the family {entry.recipe.family}."
        )


def check_backbone(entry: Entry, mine: tuple[str, str] | None) -> None:
    """Raise AX022 where the version was trained on another backbone than the one in use."""
    theirs = entry.recipe.backbone
    if mine and (theirs.name != mine[0] or (mine[1] and theirs.weights_sha256 != mine[1])):
        ours = f"{mine[0]} ({mine[1][:8]})" if mine[1] else mine[0]
        raise AdaptxError(
            "AX022",
            entry.ref,
            f"it was trained on {theirs.name} ({theirs.weights_sha256[:8]}), the backbone here is {ours}.",
            f"Name its backbone with --backbone {theirs.name}, or pull it all the same with --allow-backbone-mismatch.",
        )


def _pull(root: Path, hub: Backend, entry: Entry, trust: Trust, replace: bool, notes: tuple[str, ...]) -> Pulled:
    target = store.folder_of(root, entry.recipe)
    signed_by, new = "", False
    if not _same(target, entry):
        if target.exists() and not replace:
            raise AdaptxError("AX084", entry.ref, f"{hub.url} has version {entry.version[:16]} of it, which differs.")
        target.parent.mkdir(parents=True, exist_ok=True)
        _clean_up(target)
        stage = Path(tempfile.mkdtemp(prefix=f".{target.name[:40]}.", dir=target.parent))
        try:
            download(hub, entry, stage)
            signed_by, new = signing.check(stage, trust, entry.ref), True
            _settle(stage, target, entry, replace)
        finally:
            shutil.rmtree(stage, ignore_errors=True)
    else:
        signed_by = _signed(hub, entry, target, trust)
    stored = store.verified(target)
    record = {
        "hub": hub.url,
        "revision": hub.revision,
        "version": entry.version,
        "signed_by": signed_by,
        "pulled": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    if new:
        atomic.write_json(root / ".pulled" / f"{entry.manifest.run}.json", record)
    return Pulled(stored, hub.url, entry.version, hub.revision, new, signed_by, notes)


def _signed(hub: Backend, entry: Entry, target: Path, trust: Trust) -> str:
    """Who signed what the store holds; a signature that only the hub has is checked and taken over."""
    theirs = next((f for f in entry.files if f.path == signing.FILE), None)
    if theirs is None or (target / signing.FILE).exists():
        return signing.check(target, trust, entry.ref)
    with tempfile.TemporaryDirectory(prefix=f".{target.name[:40]}.", dir=target.parent) as temporary:
        stage = Path(temporary)
        shutil.copyfile(target / manifest.FILE, stage / manifest.FILE)
        _fetch(hub, entry, theirs, stage / signing.FILE)
        who = signing.check(stage, trust, entry.ref)
        atomic.write_bytes(target / signing.FILE, (stage / signing.FILE).read_bytes())
    return who


def download(hub: Backend, entry: Entry, folder: Path) -> Stored:
    """Fetch an entry's files into the empty `folder` and check everything about them. Raises AX020-AX023, AX081."""
    (folder / "adapter").mkdir()
    for file in entry.files:
        _fetch(hub, entry, file, folder / file.path)
    os.chmod(folder, 0o755)
    raw = tensors.loads((folder / manifest.FILE).read_bytes(), manifest.FILE)
    if raw != entry.manifest.model_dump(mode="json") and manifest.read(folder) != entry.manifest:
        raise AdaptxError("AX020", entry.ref, "the manifest is not the one that the entry shows.")
    return checks.check_folder(folder)


def _fetch(hub: Backend, entry: Entry, file: FileEntry, to: Path) -> None:
    to.parent.mkdir(parents=True, exist_ok=True)
    try:
        hub.fetch(hub.blob(entry.place, file.path, file.sha256), to, file.bytes)
    except AdaptxError as error:
        if error.code == "AX081":
            raise AdaptxError("AX020", f"{entry.ref} {file.path}", f"{hub.url} does not have the file.") from None
        raise
    size = to.stat().st_size
    if size != file.bytes:
        raise AdaptxError(
            "AX020",
            f"{entry.ref} {file.path}",
            f"{'more' if size > file.bytes else 'fewer'} bytes than {file.bytes:,}.",
        )
    if atomic.sha256(to) != file.sha256:
        raise AdaptxError(
            "AX020",
            f"{entry.ref} {file.path}",
            f"what {hub.url} has is not what was pushed: the content's hash differs.",
            "Push the adapter again from where it is whole, or pull another version.",
        )


def _clean_up(target: Path) -> None:
    """Remove what downloads of the same run left behind that were killed more than a day ago."""
    for left in target.parent.glob(f".{target.name[:40]}.*"):
        with contextlib.suppress(FileNotFoundError):
            if time.time() - left.stat().st_mtime > ABANDONED_SECONDS:
                shutil.rmtree(left, ignore_errors=True)


def _same(target: Path, entry: Entry) -> bool:
    """Whether the store holds the same weights and manifest, whole; the card may differ."""
    promised = next(f.sha256 for f in entry.files if f.path == manifest.FILE)
    try:
        return atomic.sha256(target / manifest.FILE) == promised and bool(store.verified(target))
    except (AdaptxError, FileNotFoundError):
        return False


def _settle(stage: Path, target: Path, entry: Entry, replace: bool) -> None:
    """Rename the checked folder into its place; another process may have been faster."""
    for path in sorted(stage.rglob("*")):
        if path.is_file():
            with open(path, "rb") as file:
                os.fsync(file.fileno())
    if replace and target.exists():
        with atomic.staged_folder(target) as fresh:
            shutil.copytree(stage, fresh, dirs_exist_ok=True)
        return
    try:
        os.rename(stage, target)
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
            raise
        if not _same(target, entry):
            raise AdaptxError("AX084", entry.ref, "another process has just put other content there.") from None
