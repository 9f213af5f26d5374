"""From a hub's address to the backend that speaks to it. Knows no adapter."""

from pathlib import Path
from urllib.parse import unquote, urlsplit

from adaptx.errors import AdaptxError
from adaptx.hub.backend import Backend


def pinned(address: str, cache: Path, revision: str | None) -> tuple[Backend, str | None]:
    """The hub at `address`, read at the commit `revision`, or the version that `revision` names there.

    40 hex digits are a commit where the hub has commits (hf://), else the start of a version's hash. Raises AX070 for
    anything that is neither, and what `open_hub` raises.
    """
    if revision and len(revision) == 40 and urlsplit(address).scheme == "hf":
        return open_hub(address, cache, revision), None
    return open_hub(address, cache), revision and version_of(revision, "--revision")


def version_of(text: str, flag: str) -> str:
    """`text` where it can be the start of a version's hash. Raises AX070."""
    if not 4 <= len(text) <= 64 or set(text) - set("0123456789abcdef"):
        raise AdaptxError("AX070", f"{flag} {text}", "expected the start of a version's hash, 4 hex digits or more.")
    return text


def open_hub(address: str, cache: Path, revision: str | None = None, private: bool = True) -> Backend:
    """The hub at `address`: a folder, file:///PATH, s3://BUCKET/PREFIX or hf://ORG/NAME.

    `cache`: for downloads; `revision`: of an hf:// repository, newest where None; `private`: for one created now.
    Raises AX080 for any other form, AX033 where a package is missing.
    """
    parts = urlsplit(address)
    if parts.scheme == "hf":
        from adaptx.hub.hf import HuggingFace

        return HuggingFace.of(parts.netloc, parts.path, cache, revision, private)
    if parts.scheme == "s3":
        from adaptx.hub.s3 import Bucket

        return Bucket.of(parts.netloc, parts.path)
    if parts.scheme not in ("", "file") or parts.netloc not in ("", "localhost") or not parts.path or "\0" in address:
        raise AdaptxError("AX080", address, "not an address of that form.")
    from adaptx.hub.folder import Folder

    return Folder(Path(unquote(parts.path) if parts.scheme else address).expanduser())
