"""Takes a version off a hub: its entry first, so that no reader finds half of it, then content that nothing names."""

from pathlib import Path

from adaptx.errors import AdaptxError
from adaptx.hub import catalogue
from adaptx.hub.address import open_hub
from adaptx.hub.entry import Entry
from adaptx.refs import Ref

SPARED_SECONDS = 3600.0


def remove(
    hub: str, ref: Ref, cache: Path, version: str | None = None, purge: bool = False
) -> tuple[tuple[Entry, ...], int]:
    """Remove every version of the run that `ref` names, or the one `version`; those, and how many other files went.

    Content younger than an hour stays for pushes under way, unless `purge`; the next removal takes it. A Hub
    repository's history keeps what it had. Raises AX007 where several runs match, AX081 where none does.
    """
    backend = open_hub(hub, cache)
    found = catalogue.find(backend, ref, version, everything=True)
    refs = sorted({e.ref for e in found})
    if len({e.manifest.run for e in found}) > 1:
        raise AdaptxError("AX007", ref, f"it names {len(refs)} runs: {', '.join(refs)}.")
    blobs = {e.version: {backend.blob(e.place, f.path, f.sha256) for f in e.files} for e in found}
    own = [b for e in found for b in sorted(blobs[e.version]) if b.startswith(f"{e.place}/")]
    backend.delete([*(e.path for e in found), *own], f"Remove {', '.join(refs)}")
    left = catalogue.read_all(open_hub(hub, cache))
    if left.faults:  # an entry that this version cannot read may name any content
        return found, 0
    keep = {backend.blob(e.place, f.path, f.sha256) for e in left.entries for f in e.files}
    return found, backend.sweep(keep, 0.0 if purge else SPARED_SECONDS)
