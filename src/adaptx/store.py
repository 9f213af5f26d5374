"""The local folder of finished adapters: written whole, verified before anything is loaded. Knows no training.

<store>/<backbone>/<lang>/<task>/<method>/<run id>/{adapter/, head.safetensors, manifest.json, README.md}
"""

import hashlib
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from adaptx import atomic, manifest, trimmed
from adaptx.errors import AdaptxError
from adaptx.manifest import FileEntry, Manifest, TensorEntry
from adaptx.recipe import Recipe
from adaptx.refs import Ref

PICKLES = (".bin", ".pt", ".pth", ".pkl", ".pickle", ".ckpt")
UNHASHED = (manifest.FILE, "README.md", "signature.json", "predictions")


@dataclass(frozen=True)
class Stored:
    """A finished adapter: its folder and what its manifest says."""

    folder: Path
    manifest: Manifest

    @property
    def recipe(self) -> Recipe:
        """What was trained."""
        return self.manifest.recipe

    @property
    def ref(self) -> str:
        """`LANG/TASK:METHOD@RUN`."""
        return self.manifest.ref

    @property
    def adapter(self) -> Path:
        """The part that other tools read."""
        return self.folder / "adapter"


def folder_of(store: Path, recipe: Recipe) -> Path:
    """Where a recipe's result lives."""
    backbone = recipe.backbone.name.replace("/", "--")
    return store / backbone / recipe.lang / recipe.task / recipe.method / recipe.run_id


def scratch(store: Path, run: str) -> Path:
    """Where an unfinished run keeps its checkpoint and lock."""
    return store / ".runs" / run


def contents(store: Path) -> tuple[list[Stored], list[AdaptxError]]:
    """All finished adapters by reference, and an AX023 for each folder whose manifest does not read."""
    found, unreadable = [], []
    for path in sorted(store.glob(f"*/*/*/*/*/{manifest.FILE}")):
        if path.parent.name.startswith("."):
            continue
        try:
            found.append(Stored(path.parent, manifest.read(path.parent)))
        except AdaptxError as error:
            if error.code != "AX023":
                raise
            unreadable.append(error)
    return sorted(found, key=lambda s: (s.recipe.lang, s.recipe.task, s.recipe.method, s.manifest.created)), unreadable


def listing(store: Path) -> list[Stored]:
    """All finished adapters by reference; folders without a readable manifest are left out."""
    return contents(store)[0]


def get(store: Path, recipe: Recipe) -> Stored | None:
    """The finished run of exactly this recipe; None where there is none or it does not verify."""
    folder = folder_of(store, recipe)
    if not (folder / manifest.FILE).is_file():
        return None
    try:
        return verified(folder)
    except AdaptxError:
        return None


def match(store: Path, ref: Ref, backbone: str | None = None) -> list[Stored]:
    """Finished adapters that a reference names, oldest first."""
    return [
        s
        for s in listing(store)
        if s.recipe.lang == ref.lang
        and s.recipe.task == ref.task
        and (ref.method is None or s.recipe.method == ref.method)
        and (ref.run is None or s.manifest.run.startswith(ref.run))
        and (backbone is None or s.recipe.backbone.name == backbone)
    ]


def find(store: Path, ref: Ref, backbone: str | None = None) -> Stored:
    """The one adapter that `ref` names; without @RUN the newest. Raises AX006, AX007, and what `verified` raises.

    Where none was trained on `backbone`, one that was trained on it untrimmed, or trimmed in another way, counts.
    """
    found = match(store, ref, backbone)
    if not found and backbone:
        full = trimmed.full_name(backbone)
        found = [s for s in match(store, ref) if trimmed.full_name(s.recipe.backbone.name) == full]
    if not found:
        held, unreadable = contents(store)
        near = [s.ref for s in held if s.recipe.lang == ref.lang or s.recipe.task == ref.task]
        hint = f" The store has {', '.join(near[:4])}." if near else ""
        if unreadable:
            hint += f" {len(unreadable)} of its folders cannot be read: `adaptx ls adapters` names them."
        raise AdaptxError("AX006", ref, f"the store has no such adapter{f' for {backbone}' if backbone else ''}.{hint}")
    methods = sorted({s.recipe.method for s in found})
    if len(methods) > 1 or (ref.run and len(found) > 1):
        raise AdaptxError("AX007", ref, f"it names {len(found)} adapters: {', '.join(s.ref for s in found)}.")
    newest = max(found, key=lambda s: s.manifest.created)
    return verified(newest.folder)


def tensor_table(path: Path, shown: str) -> list[TensorEntry]:
    """Name, shape, dtype and hash of every tensor in a safetensors file. Raises AX020 where it is not one."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "np") as file:
            names = sorted(file.keys())
            out = []
            for name in names:
                part = file.get_slice(name)
                value = file.get_tensor(name)
                out.append(
                    TensorEntry(
                        file=shown,
                        name=name,
                        shape=tuple(part.get_shape()),
                        dtype=part.get_dtype(),
                        sha256=hashlib.sha256(value.tobytes()).hexdigest(),
                    )
                )
            return out
    except (SafetensorError, OSError, ValueError) as error:
        raise AdaptxError("AX020", shown, f"not a readable safetensors file ({error}).") from None


def _content(folder: Path) -> Iterator[tuple[str, Path]]:
    """Relative name and path of every file that counts. Raises AX021 for links, pickles and strange names."""
    for root, folders, files in os.walk(folder):
        for name in [*folders, *files]:
            path = Path(root) / name
            shown = path.relative_to(folder).as_posix()
            if path.is_symlink() or not (path.is_file() or path.is_dir()):
                raise AdaptxError("AX021", shown, "links and special files are not part of an adapter.")
            if path.suffix.lower() in PICKLES:
                raise AdaptxError("AX021", shown, "pickled weights can run code and are never loaded.")
        for name in files:
            shown = (Path(root) / name).relative_to(folder).as_posix()
            if shown.split("/")[0] not in UNHASHED:
                yield shown, Path(root) / name


def inventory(folder: Path) -> tuple[tuple[FileEntry, ...], tuple[TensorEntry, ...]]:
    """The file and tensor tables of an adapter folder."""
    files, tensors = [], []
    for shown, path in sorted(_content(folder)):
        files.append(FileEntry(path=shown, bytes=path.stat().st_size, sha256=atomic.sha256(path)))
        if path.suffix == ".safetensors":
            tensors += tensor_table(path, shown)
    return tuple(files), tuple(tensors)


def verified(folder: Path) -> Stored:
    """The adapter in `folder` once every file is what the manifest says: names, sizes, hashes, tensors.

    Raises AX020 (missing, truncated, altered, unknown), AX021 (unsafe), AX023 (manifest).
    """
    stored = Stored(folder, manifest.read(folder))
    promised = {f.path: f for f in stored.manifest.files}
    found = dict(_content(folder))
    for path in sorted(promised.keys() | found.keys()):
        if path not in found:
            raise AdaptxError("AX020", f"{stored.ref} {path}", "the file is missing.")
        if path not in promised:
            raise AdaptxError("AX020", f"{stored.ref} {path}", "the manifest does not know this file.")
        size = found[path].stat().st_size
        if size != promised[path].bytes:
            raise AdaptxError("AX020", f"{stored.ref} {path}", f"{size} bytes instead of {promised[path].bytes}.")
        if atomic.sha256(found[path]) != promised[path].sha256:
            raise AdaptxError("AX020", f"{stored.ref} {path}", "its content is not what was written.")
    found_tensors = [
        t for shown in sorted(found) if shown.endswith(".safetensors") for t in tensor_table(found[shown], shown)
    ]
    if sorted(found_tensors, key=_tensor_key) != sorted(stored.manifest.tensors, key=_tensor_key):
        raise AdaptxError("AX020", stored.ref, "the manifest describes other tensors than the files hold.")
    return stored


def _tensor_key(entry: TensorEntry) -> tuple[str, str]:
    return entry.file, entry.name


def write(
    store: Path,
    recipe: Recipe,
    fill: Callable[[Path], None],
    describe: Callable[[tuple[FileEntry, ...], tuple[TensorEntry, ...]], Manifest],
    card: Callable[[Manifest], str],
) -> Stored:
    """Write a finished run atomically: `fill` writes adapter and head into a staging folder, then manifest and card."""
    folder = folder_of(store, recipe)
    with atomic.staged_folder(folder) as stage:
        fill(stage)
        value = describe(*inventory(stage))
        (stage / "README.md").write_text(card(value), "utf-8")
        (stage / manifest.FILE).write_text(value.model_dump_json(indent=2) + "\n", "utf-8")
    return verified(folder)
