"""Which names and texts a shared adapter may carry. Pure rules on strings; knows no files and no hub.

Everything is ASCII by construction, so names that only look alike (Cyrillic а, full-width letters, zero-width and
right-to-left marks) do not exist here.
"""

import re
import unicodedata
from collections.abc import Iterable

from adaptx.errors import AdaptxError
from adaptx.recipe import Recipe
from adaptx.refs import ID, LANGUAGE

SEGMENT = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+-]{0,127}")
BACKBONE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,95}(/[A-Za-z0-9][A-Za-z0-9_.-]{0,95})?")
TASKS = re.compile(rf"{ID.pattern}(\+{ID.pattern})*")
SHA256 = re.compile(r"[0-9a-f]{64}")
TOP_LEVEL = ("head.safetensors", "manifest.json", "README.md", "signature.json")
SUFFIXES = (".safetensors", ".json")
DEVICES = re.compile(r"(con|prn|aux|nul|com[0-9]|lpt[0-9])(\..*)?", re.IGNORECASE)  # not file names on Windows
MAX_FILES, MAX_DEPTH = 200, 4


def refuse(given: object, why: str) -> AdaptxError:
    """AX021 with control characters of `given` made visible."""
    return AdaptxError("AX021", repr(str(given)[:120])[1:-1], why)


def check_path(path: str) -> None:
    """Raise AX021 unless `path` is a plain relative name of a file that an adapter folder may hold."""
    parts = path.split("/")
    if not 1 <= len(parts) <= MAX_DEPTH or not all(SEGMENT.fullmatch(p) for p in parts):
        raise refuse(path, "file names are relative, made of A-Z a-z 0-9 _ . + - and at most four folders deep.")
    if any(".." in p or p.endswith(".") or DEVICES.fullmatch(p) for p in parts):
        raise refuse(path, "the name means something else on another system.")
    if path not in TOP_LEVEL and (parts[0] != "adapter" or len(parts) == 1 or not path.endswith(SUFFIXES)):
        raise refuse(path, f"an adapter folder holds {', '.join(TOP_LEVEL)} and adapter/*{' or *'.join(SUFFIXES)}.")


def check_paths(paths: Iterable[str]) -> None:
    """Raise AX021 unless every path is fine and no two are one file on a case-insensitive disk."""
    seen: dict[str, str] = {}
    for path in paths:
        check_path(path)
        other = seen.setdefault(path.lower(), path)
        if other != path or len(seen) > MAX_FILES:
            raise refuse(path, f"{other} is the same name on some disks." if other != path else "too many files.")
    for path in seen:
        for cut in range(path.count("/")):
            if path.rsplit("/", cut + 1)[0] in seen:
                raise refuse(path, "a name is a file and a folder at once.")


def check_recipe(recipe: Recipe) -> None:
    """Raise AX021 unless the names that become folders are plain ids."""
    for value, rule in (
        (recipe.lang, LANGUAGE),
        (recipe.task, TASKS),
        (recipe.method, ID),
        (recipe.backbone.name, BACKBONE),
        (recipe.backbone.weights_sha256, SHA256),
    ):
        if not rule.fullmatch(value) or ".." in value:
            raise refuse(value, "not an id: lower-case ASCII letters, digits, - and _ (backbones also . and capitals).")


def check_text(value: object, where: str) -> None:
    """Raise AX021 where a string inside a JSON value carries control or direction-changing characters."""
    if isinstance(value, str):
        bad = next((c for c in value if unicodedata.category(c) in ("Cc", "Cf", "Cs", "Co") and c not in "\n\t"), None)
        if bad is not None:
            raise refuse(where, f"it holds the invisible character U+{ord(bad):04X}.")
    elif isinstance(value, dict):
        for key, item in value.items():
            check_text(key, where)
            check_text(item, where)
    elif isinstance(value, list | tuple):
        for item in value:
            check_text(item, where)
