"""From a hub's address to the backend that speaks to it. Knows no adapter."""

from pathlib import Path
from urllib.parse import unquote, urlsplit

from adaptx.errors import AdaptxError
from adaptx.hub.backend import Backend


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
        raise AdaptxError("AX080", address, "a hub is a folder, file:///PATH, s3://BUCKET/PREFIX or hf://ORG/NAME.")
    from adaptx.hub.folder import Folder

    return Folder(Path(unquote(parts.path) if parts.scheme else address).expanduser())
