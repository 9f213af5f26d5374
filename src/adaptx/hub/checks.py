"""Everything that is checked before an adapter folder from elsewhere is trusted or loaded. Knows no hub and no network.

Order: names, manifest, sizes and hashes, headers, configs, finite weights; only then may a library open a file.
"""

import json
import os
import stat
from pathlib import Path
from typing import Any

from adaptx import atomic, manifest, store
from adaptx.errors import AdaptxError
from adaptx.hub import configs, names, tensors
from adaptx.manifest import Manifest
from adaptx.store import Stored

MAX_MANIFEST, MAX_TEXT = 1 << 25, 1 << 20
PICKLE = tuple(b"\x80" + bytes([n]) for n in range(2, 6))
ZIP = b"PK\x03\x04"
SAFE_NAMES = {"pytorch_adapter.bin": "adapter.safetensors", "pytorch_model_head.bin": "model_head.safetensors"}


def pickled(shown: str) -> AdaptxError:
    """AX021 with the way to convert the file: `weights_only` runs no code, `clone` parts tensors that share memory."""
    name = shown.rsplit("/", 1)[-1]
    new = SAFE_NAMES.get(name, f"{name.rsplit('.', 1)[0]}.safetensors")
    return AdaptxError(
        "AX021",
        shown,
        "pickled weights can run code and are never loaded.",
        "Convert them where they are: python -c 'import torch, safetensors.torch as s; s.save_file({k: "
        f'v.contiguous().clone() for k, v in torch.load("{name}", weights_only=True).items()}}, "{new}")\'',
    )


def files_in(folder: Path) -> dict[str, Path]:
    """Every file below `folder` by relative name. Raises AX021 for links, devices, pickles and names not allowed."""
    out = {}
    for root, folders, files in os.walk(folder):
        for name in [*folders, *files]:
            path = Path(root) / name
            shown = path.relative_to(folder).as_posix()
            if not stat.S_ISDIR(os.lstat(path).st_mode):
                check_plain(path, shown)
                out[shown] = path
    names.check_paths(out)
    return out


def check_plain(path: Path, shown: str) -> None:
    """Raise AX021 unless `path` is a regular file itself, and no pickle."""
    if not stat.S_ISREG(os.lstat(path).st_mode):
        raise names.refuse(shown, "links and special files are not part of an adapter.")
    check_no_pickle(path, shown)


def check_no_pickle(path: Path, shown: str) -> None:
    """Raise AX021 where a file is a pickle by its name or by its first bytes."""
    with open(path, "rb") as file:
        start = file.read(4)
    if path.suffix.lower() in store.PICKLES or start.startswith((*PICKLE, ZIP)):
        raise pickled(shown)


def bounded(path: Path, limit: int, shown: str) -> bytes:
    """The content of a small file. Raises AX021 where it is not small."""
    if path.stat().st_size > limit:
        raise names.refuse(shown, f"{path.stat().st_size:,} bytes; at most {limit:,} are read.")
    return path.read_bytes()


def check_manifest(value: Manifest) -> None:
    """Raise AX021/AX023 where a manifest's own words do not fit together: ids, texts, reference, run id, file names."""
    raw = value.model_dump(mode="json")
    names.check_text(raw, "manifest.json")
    names.check_recipe(value.recipe)
    names.check_paths(f.path for f in value.files)
    if value.run != value.recipe.run_id or value.ref != value.recipe.ref:
        raise AdaptxError("AX023", value.run[:16], "run id or reference are not those of the recipe.")


def check_folder(folder: Path) -> Stored:
    """The adapter in `folder` once everything about it holds. Raises AX020, AX021, AX023; nothing in it is executed."""
    files = files_in(folder)
    if manifest.FILE not in files:
        raise AdaptxError("AX023", folder.name[:24], f"it has no {manifest.FILE}.")
    raw = tensors.loads(bounded(files[manifest.FILE], MAX_MANIFEST, manifest.FILE), manifest.FILE)
    names.check_text(raw, manifest.FILE)
    known = manifest.read(folder)
    check_manifest(known)
    _check_hashes(files, known)
    family = configs.FILES.get(known.recipe.family, ())
    for name in family:
        if f"adapter/{name}" not in files:
            raise AdaptxError("AX020", f"{known.ref} adapter/{name}", "the file is missing.")
    for shown, path in files.items():
        if shown.endswith(".safetensors"):
            _check_tensors(path, shown, known)
        elif shown.startswith("adapter/"):
            if path.name not in configs.NAMED:
                raise names.refuse(shown, "no such file belongs to an adapter.")
            check_config(tensors.loads(bounded(path, MAX_TEXT, shown), shown), shown, known.recipe.family)
        else:
            _check_words(path, shown)
    return store.verified(folder)


def _check_hashes(files: dict[str, Path], known: Manifest) -> None:
    promised = {f.path: f for f in known.files}
    held = {f for f in files if f not in (manifest.FILE, "README.md", "signature.json")}
    for shown in sorted(promised.keys() ^ held):
        what = "the file is missing." if shown in promised else "the manifest does not know this file."
        raise AdaptxError("AX020", f"{known.ref} {shown}", what)
    for shown, entry in promised.items():
        if files[shown].stat().st_size != entry.bytes or atomic.sha256(files[shown]) != entry.sha256:
            raise AdaptxError("AX020", f"{known.ref} {shown}", "its content is not what was written.")


def _check_tensors(path: Path, shown: str, known: Manifest) -> None:
    found = {(s.name, s.shape, s.dtype) for s in tensors.header(path, shown)[1]}
    promised = {(t.name, t.shape, t.dtype) for t in known.tensors if t.file == shown}
    if found != promised:
        name = sorted(n for n, _, _ in found ^ promised)[0]
        raise AdaptxError("AX020", f"{known.ref} {shown} {name}", "the manifest describes other tensors.")
    tensors.check_finite(path, shown)


def check_config(value: Any, shown: str, family: str) -> None:
    """Raise AX021 for a config that names code, AX020 for one that is not of the method's family."""
    configs.check(value, shown)
    fits = {"lora": value.get("peft_type") in ("LORA", "IA3"), "bottleneck": isinstance(value.get("config"), dict)}
    fits["fusion"] = fits["bottleneck"]
    if not fits.get(family, True):
        raise AdaptxError("AX020", shown, f"not the configuration of a {family} adapter.")


def _check_words(path: Path, shown: str) -> None:
    data = bounded(path, MAX_MANIFEST, shown)
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        raise names.refuse(shown, "not UTF-8 text.") from None
    names.check_text(json.loads(text) if shown.endswith(".json") else text, shown)
