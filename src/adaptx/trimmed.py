"""What a trimmed backbone says about itself, and when it counts as the backbone that it was made from.

`trim.json` beside the weights is written by `adaptx trim` while both are at hand. It holds as long as the files beside
it have the hashes that it names. Two backbones are alike where one was made from the other, or both from a third, and
every tensor outside the vocabulary is the same, by the hash of what is in the file. Knows no tokenizer and no text.
"""

import hashlib
import json
from functools import lru_cache
from pathlib import Path
from typing import Literal

from pydantic import ValidationError

from adaptx.errors import AdaptxError
from adaptx.recipe import BackboneRef, DataRef
from adaptx.registry import Model

FILE = "trim.json"
INFIX = ".trim-"  # between the full backbone's name and what it was trimmed to
BLOCK = 1 << 24  # bytes read at a time
# tensors with a row for every token: embeddings and, in checkpoints with a masked-LM head, its output
VOCABULARY = (
    "word_embeddings.weight",
    "lm_head.bias",
    "lm_head.decoder.weight",
    "lm_head.decoder.bias",
    "cls.predictions.bias",
    "cls.predictions.decoder.weight",
    "cls.predictions.decoder.bias",
)


class Trim(Model):
    """`full`: the backbone that was trimmed. `kept`: its token id for every row that is left, in order.

    `weights_sha256`, `reading_sha256`: of the files beside, as in `BackboneFiles`. `body_sha256`: of all tensors but
    the vocabulary's, which are the full backbone's.
    """

    schema_version: Literal[1] = 1
    name: str
    full: BackboneRef
    licence: str
    weights_sha256: str
    reading_sha256: str
    body_sha256: str
    languages: tuple[str, ...]
    data: tuple[DataRef, ...]
    kept: tuple[int, ...]


def full_name(backbone: str) -> str:
    """The name of the backbone that one called `backbone` was trimmed from; `backbone` where it was not trimmed."""
    return backbone.partition(INFIX)[0]


def read(folder: Path, weights_sha256: str, reading_sha256: str) -> Trim | None:
    """The folder's trim.json, None where it has none. Raises AX032 unless it is about the files with these hashes."""
    path = folder / FILE
    if not path.is_file():
        return None
    try:
        found = Trim.model_validate(json.loads(path.read_text("utf-8")))
    except (ValueError, ValidationError) as error:
        raise AdaptxError("AX032", path, f"not readable as adaptx writes it ({str(error).splitlines()[0]}).") from None
    if (found.weights_sha256, found.reading_sha256) != (weights_sha256, reading_sha256):
        raise AdaptxError(
            "AX032",
            path,
            "the files beside it are not those that it was written for.",
            f"Trim the backbone again, or remove {FILE}: then the folder counts as a backbone of its own.",
        )
    return found


def alike(one: BackboneRef, other: BackboneRef, weights: Path) -> bool:
    """Whether two backbones differ in their vocabulary at most; `weights`: the safetensors file of `other`."""
    fulls = {b.full_sha256 or b.weights_sha256 for b in (one, other)}
    promised = {b.body_sha256 for b in (one, other)} - {""}
    return len(fulls) == 1 and len(promised) == 1 and body_sha256(weights) in promised


def body_sha256(weights: Path) -> str:
    """sha256 over names, types, shapes and bytes of all tensors outside the vocabulary. Raises AX032."""
    stat = weights.stat()
    return _body_sha256(weights.resolve(), stat.st_size, stat.st_mtime_ns)


@lru_cache(maxsize=8)
def _body_sha256(path: Path, size: int, changed: int) -> str:
    """`size` and `changed` are there to be remembered by. The file's own header says where tensors are."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        try:
            length = int.from_bytes(file.read(8), "little")
            header = json.loads(file.read(length))
            header.pop("__metadata__", None)
            for name in sorted(n for n in header if not n.endswith(VOCABULARY)):
                start, end = header[name]["data_offsets"]
                digest.update(json.dumps([name, header[name]["dtype"], header[name]["shape"]]).encode())
                file.seek(8 + length + start)
                for at in range(start, end, BLOCK):
                    digest.update(file.read(min(BLOCK, end - at)))
        except (ValueError, KeyError, TypeError, AttributeError, OverflowError, MemoryError) as error:
            raise AdaptxError("AX032", path.name, f"not a readable safetensors file ({error}).") from None
    return digest.hexdigest()
