"""One version of one adapter on a hub: what its entry says and where its files lie. Knows no transport.

A hub holds `entries/<backbone>/<lang>/<task>/<method>/<run id>.<version>.json`, each written once and never changed.
`version` is the hash of the entry's own content, so two writers of one path write the same bytes, the same adapter
pushed twice is one version, and other bytes under the same reference are another version.
"""

import json
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from pydantic import ValidationError

from adaptx import licences
from adaptx.cards import Score
from adaptx.errors import AdaptxError
from adaptx.hub import checks, names, tensors
from adaptx.manifest import FileEntry, Manifest
from adaptx.recipe import Recipe, digest_of
from adaptx.refs import Ref

FOLDER = "entries"
SCHEMA = 1
MAX_BYTES = 1 << 25
MAX_FILE = 1 << 36
PATH = re.compile(
    rf"{FOLDER}/(?P<backbone>[A-Za-z0-9][A-Za-z0-9_.-]{{0,191}})/(?P<lang>[a-z+]{{2,63}})/(?P<task>[a-z0-9_+-]{{1,191}})/"
    r"(?P<method>[a-z0-9_-]{1,64})/(?P<run>[0-9a-f]{64})\.(?P<version>[0-9a-f]{16})\.json"
)


@dataclass(frozen=True)
class Entry:
    """`files`: everything in the folder, manifest and card included. `version`: 64 hex digits, the content's hash."""

    manifest: Manifest
    files: tuple[FileEntry, ...]
    scores: tuple[Score, ...]
    pushed: str
    version: str

    @property
    def recipe(self) -> Recipe:
        """What was trained, from its manifest."""
        return self.manifest.recipe

    @property
    def ref(self) -> str:
        """`LANG/TASK:METHOD@RUN`."""
        return self.manifest.ref

    @property
    def bytes(self) -> int:
        """Size of the whole adapter folder."""
        return sum(f.bytes for f in self.files)

    @property
    def place(self) -> str:
        """Where in a hub this version lies, without `entries/` and the ending."""
        r = self.recipe
        backbone = r.backbone.name.replace("/", "--")
        return f"{backbone}/{r.lang}/{r.task}/{r.method}/{self.manifest.run}.{self.version[:16]}"

    @property
    def path(self) -> str:
        """The entry's own path in a hub."""
        return f"{FOLDER}/{self.place}.json"


def build(manifest: Manifest, files: tuple[FileEntry, ...], scores: tuple[Score, ...]) -> tuple[Entry, bytes]:
    """The entry of an adapter folder and its bytes, pushed now."""
    content = {
        "schema_version": SCHEMA,
        "manifest": manifest.model_dump(mode="json"),
        "files": [f.model_dump(mode="json") for f in files],
        "scores": [s.model_dump(mode="json") for s in scores],
    }
    now = datetime.now(UTC).isoformat(timespec="microseconds")
    version = digest_of(content)
    data = json.dumps({**content, "pushed": now}, indent=1, ensure_ascii=False).encode()
    return Entry(manifest, files, scores, now, version), data


def parse(data: bytes, path: str) -> Entry:
    """The entry in `data`, which was found at `path`. Raises AX020, AX021, AX023 where it is not what it must be."""
    raw = tensors.loads(data, path)
    names.check_text(raw, path)
    if not isinstance(raw, dict) or not isinstance(raw.get("pushed"), str) or raw.get("schema_version") != SCHEMA:
        raise AdaptxError("AX023", path, f"not a hub entry of schema version {SCHEMA}.")
    pushed = raw.pop("pushed")
    version = digest_of(raw)
    try:
        entry = Entry(
            Manifest.model_validate(raw["manifest"]),
            tuple(FileEntry.model_validate(f) for f in raw["files"]),
            tuple(Score.model_validate(s) for s in raw["scores"]),
            pushed,
            version,
        )
    except (KeyError, TypeError, ValidationError) as error:
        raise AdaptxError("AX023", path, f"the entry cannot be read: {' '.join(str(error).split())[:200]}.") from None
    checks.check_manifest(entry.manifest)
    check_files(entry)
    if entry.path != path:
        raise AdaptxError("AX020", path, "the entry's content is not what its path says.")
    return entry


def check_files(entry: Entry) -> None:
    """Raise AX020/AX021 where the file table is not that of an adapter folder."""
    names.check_paths(f.path for f in entry.files)
    promised = {f.path: f for f in entry.files}
    if len(promised) != len(entry.files) or not {"manifest.json", "README.md"} <= promised.keys():
        raise AdaptxError("AX020", entry.ref, "the entry does not list manifest.json and README.md, each file once.")
    for file in entry.files:
        if not names.SHA256.fullmatch(file.sha256) or not 0 <= file.bytes <= MAX_FILE:
            raise names.refuse(file.path, "not a size and a sha256.")
    if any(promised.get(f.path) != f for f in entry.manifest.files):
        raise AdaptxError("AX020", entry.ref, "the entry and its manifest list different files.")


def may_match(path: str, ref: Ref | None) -> bool:
    """Whether the entry at `path` can be one that `ref` names, by its path alone."""
    found = PATH.fullmatch(path)
    if found is None or ref is None:
        return found is not None
    return (
        found["lang"] == ref.lang
        and found["task"] == ref.task
        and (ref.method is None or found["method"] == ref.method)
        and (ref.run is None or found["run"].startswith(ref.run))
    )


def as_row(entry: Entry) -> dict[str, Any]:
    """What listings and the catalogue show of an entry; sizes in bytes, scores as fractions of one.

    `own`: the leading score on its own test set, on its dev set where that is all there is.
    """
    m, r = entry.manifest, entry.recipe
    split = max((s for s in m.metrics if m.metrics[s]), key=lambda s: (s.endswith("test"), s), default="")
    metric, value = next(iter(m.metrics[split].items())) if split else ("", None)
    return {
        "ref": entry.ref,
        "lang": r.lang,
        "task": r.task,
        "method": r.method,
        "role": r.role,
        "backbone": r.backbone.name,
        "run": m.run,
        "version": entry.version[:16],
        "licence": licences.strictest(m.licences),
        "non_commercial": any(licences.non_commercial(x) for x in m.licences),
        "bytes": entry.bytes,
        "seconds": round(sum(m.cost.get("seconds", {}).values()), 1),
        "device": str(m.hardware.get("gpu") or m.hardware.get("cpu", "")),
        "trainable": m.cost.get("trainable_parameters"),
        "metrics": m.metrics,
        "own": {"split": split, "metric": metric, "value": value},
        "zero_shot": [s.model_dump() for s in entry.scores],
        "parents": [p.ref for p in r.parents],
        "signed": any(f.path == "signature.json" for f in entry.files),
        "created": m.created,
        "pushed": entry.pushed,
    }
