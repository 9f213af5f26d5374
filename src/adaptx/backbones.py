"""Builds pretrained encoders and their tokenizers: the only place that does.

A foreign `config.json` is data: its known fields are read against an allow-list, nothing in it names code that runs
(CVE-2026-4372), and weights come from safetensors by name. Knows nothing of tasks, methods or the store.
"""

import hashlib
import json
import logging
import os
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from adaptx import atomic, libraries, trimmed
from adaptx.config import Settings
from adaptx.errors import AdaptxError
from adaptx.recipe import BackboneRef
from adaptx.registry import BackboneSpec

if TYPE_CHECKING:
    import torch
    from tokenizers import Tokenizer
    from transformers import PretrainedConfig, PreTrainedModel

LINEARS = (
    *(f"attention.self.{part}" for part in ("query", "key", "value")),
    "attention.output.dense",
    "intermediate.dense",
    "output.dense",
)  # of a layer
UNUSED = ("scipy", "sklearn")  # transformers imports them for detecting objects and for assisted generation
FILES = ("config.json", "model.safetensors", "tokenizer.json")
# model type -> (weight prefix in checkpoints with heads, first position id minus the padding id; None: counts from 0)
MODEL_TYPES = {"bert": ("bert.", None), "roberta": ("roberta.", 1), "xlm-roberta": ("roberta.", 1)}
CONFIG_FIELDS: dict[str, type | tuple[type, ...]] = {
    "vocab_size": int,
    "hidden_size": int,
    "num_hidden_layers": int,
    "num_attention_heads": int,
    "intermediate_size": int,
    "max_position_embeddings": int,
    "type_vocab_size": int,
    "pad_token_id": int,
    "layer_norm_eps": (int, float),
    "initializer_range": (int, float),
    "hidden_act": str,
}
SIZES = [k for k, kind in CONFIG_FIELDS.items() if kind is int and k != "pad_token_id"]
ACTIVATIONS = ("gelu", "gelu_new", "relu", "silu")
ROBERTA_HEAD = {
    "dense.weight": "lm_head.dense.weight",
    "dense.bias": "lm_head.dense.bias",
    "norm.weight": "lm_head.layer_norm.weight",
    "norm.bias": "lm_head.layer_norm.bias",
    "bias": "lm_head.bias",
}
BERT_HEAD = {
    "dense.weight": "cls.predictions.transform.dense.weight",
    "dense.bias": "cls.predictions.transform.dense.bias",
    "norm.weight": "cls.predictions.transform.LayerNorm.weight",
    "norm.bias": "cls.predictions.transform.LayerNorm.bias",
    "bias": "cls.predictions.bias",
}
MASKED_HEAD = {"bert": BERT_HEAD, "roberta": ROBERTA_HEAD, "xlm-roberta": ROBERTA_HEAD}
SPECIAL = {"start": ("<s>", "[CLS]"), "end": ("</s>", "[SEP]"), "pad": ("<pad>", "[PAD]"), "mask": ("<mask>", "[MASK]")}


@dataclass(frozen=True)
class BackboneFiles:
    """A backbone on disk: `name` as users write it, `folder` with the three files, sha256 of the weights."""

    name: str
    id: str
    revision: str
    licence: str
    folder: Path
    weights_sha256: str
    reading_sha256: str = ""  # of config.json and tokenizer.json: how texts become what the weights see
    full_sha256: str = (
        ""  # of a trimmed backbone: the weights it was made from, and the hash of what it shares with them
    )
    body_sha256: str = ""

    @property
    def reference(self) -> BackboneRef:
        """What recipes say about this backbone."""
        return BackboneRef(
            name=self.name,
            id=self.id,
            revision=self.revision,
            weights_sha256=self.weights_sha256,
            reading_sha256=self.reading_sha256,
            full_sha256=self.full_sha256,
            body_sha256=self.body_sha256,
        )


@dataclass
class Backbone:
    """A pretrained encoder's weights with what is needed to run and feed it.

    `state`: float32 tensors by name. Positions count from `first_position`; at most `max_tokens` tokens a sequence,
    special tokens included. `special`: ids of the start, end, pad and mask tokens.
    """

    files: BackboneFiles
    config: "PretrainedConfig"
    state: "dict[str, torch.Tensor]"
    tokenizer: "Tokenizer"
    first_position: int
    max_tokens: int
    special: dict[str, int]
    masked_head: "dict[str, torch.Tensor]"  # the checkpoint's own masked-LM head by our names, empty where it has none

    @property
    def hidden_size(self) -> int:
        """Width of a hidden state."""
        return int(self.config.hidden_size)

    def weights(self, precision: str) -> "dict[str, torch.Tensor]":
        """The state in float32 for the precision "fp32", else in bf16, converted once and shared by all encoders."""
        import torch

        if precision == "fp32":
            return self.state
        if not self._half:
            self._half.update({k: v.to(torch.bfloat16) for k, v in self.state.items()})
        return self._half

    def __post_init__(self) -> None:
        self._half: dict[str, torch.Tensor] = {}

    def encoder(self, precision: str = "fp32", device: str = "cpu", private: bool = False) -> "PreTrainedModel":
        """A new encoder module over the shared frozen weights, [batch, length] ids -> [batch, length, H] states.

        Frozen weights kept in bf16 are not cast again by autocast in every step. `private`: float32 copies that may
        be trained.
        """
        import torch

        with torch.device("meta"):
            encoder = _model_types()[self.config.model_type](self.config, add_pooling_layer=False)
        state = {k: v.clone() for k, v in self.state.items()} if private else self.weights(precision)
        encoder.load_state_dict(state, assign=True)
        length = self.config.max_position_embeddings
        buffers = {"position_ids": torch.arange(length)[None], "token_type_ids": torch.zeros(1, length).long()}
        for name, value in buffers.items():
            encoder.embeddings.register_buffer(name, value, persistent=False)
        encoder.requires_grad_(False)
        return encoder.eval().to(device)


def locate(settings: Settings, name: str | None = None) -> BackboneFiles:
    """The files of backbone `name` (default: the settings' one), fetched or converted where needed.

    Raises AX004 for a name that is nothing, AX030 where files are missing or unreachable, AX033 for the package.
    """
    name = name or settings.backbone
    spec = settings.registry.backbones().get(name)
    if spec is None and Path(name).is_dir():
        spec = BackboneSpec(source="folder", id=name)
    elif spec is None and name.count("/") == 1 and not name.startswith((".", "/", "~")):
        spec = BackboneSpec(source="hub", id=name)
    if spec is None:
        from adaptx.errors import unknown_name

        raise unknown_name("AX004", name, settings.registry.backbones())
    if spec.source == "bundled":
        folder, revision = _converted(spec, settings.cache)
    elif spec.source == "hub":
        folder, revision = _downloaded(spec, settings.cache)
    else:
        folder, revision = Path(spec.id).resolve(), ""
        name = folder.name
    for file in FILES:
        if not (folder / file).is_file():
            raise AdaptxError("AX030", name, f"{file} is missing. A backbone needs {', '.join(FILES)}.")
    sha = hash_file(folder / "model.safetensors", settings.cache)
    shown = name if spec.source == "folder" else spec.base_model or spec.id
    reading = hash_reading(folder)
    trim = trimmed.read(folder, sha, reading)
    if trim:
        full = trim.full
        return BackboneFiles(
            trim.name, full.id, sha[:16], trim.licence, folder, sha, reading, full.weights_sha256, trim.body_sha256
        )
    return BackboneFiles(name, shown, revision or sha[:16], spec.licence, folder, sha, reading)


def hash_file(path: Path, cache: Path) -> str:
    """sha256 of a large file, remembered in `cache` by real path, size and modification time."""
    stat = path.resolve().stat()
    key = hashlib.sha256(f"{path.resolve()}\0{stat.st_size}\0{stat.st_mtime_ns}".encode()).hexdigest()[:32]
    note = cache / "hashes" / key
    if note.is_file():
        return note.read_text()
    digest = atomic.sha256(path)
    atomic.write_bytes(note, digest.encode())
    return digest


def hash_reading(folder: Path) -> str:
    """sha256 of the two files that say how texts become what the weights see."""
    return hashlib.sha256((folder / "config.json").read_bytes() + (folder / "tokenizer.json").read_bytes()).hexdigest()


def _converted(spec: BackboneSpec, cache: Path) -> tuple[Path, str]:
    """The bundled model as a folder in the cache, converted once."""
    from adaptx import bundled

    source = bundled.find(spec.id, spec.file or "")
    revision = hash_file(source, cache)[:16]
    folder = cache / "backbones" / f"{spec.id}-{revision}"
    if not folder.is_dir():
        from safetensors.numpy import save_file

        model = bundled.read(source)
        with atomic.staged_folder(folder) as stage:
            save_file(model.state, stage / "model.safetensors", {"format": "pt"})
            (stage / "config.json").write_text(json.dumps(model.config, indent=2))
            model.tokenizer.save(str(stage / "tokenizer.json"))
    return folder, revision


def _downloaded(spec: BackboneSpec, cache: Path) -> tuple[Path, str]:
    """The three files of a Hub repository at the pinned (or newest) revision, which is returned as 40 hex digits."""
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import (
        HfHubHTTPError,
        HFValidationError,
        LocalEntryNotFoundError,
        OfflineModeIsEnabled,
    )

    paths = []
    revision = spec.revision
    try:
        for file in FILES:
            path = Path(hf_hub_download(spec.id, file, revision=revision, cache_dir=cache / "hub"))
            revision = path.parent.name  # the cache names snapshots by commit: all files come from one
            paths.append(path)
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OfflineModeIsEnabled, OSError) as error:
        raise AdaptxError(
            "AX030", spec.id, f"its files are not in the cache and the Hub did not give them ({type(error).__name__})."
        ) from error
    return paths[0].parent, revision or ""


def read_config(path: Path) -> "PretrainedConfig":
    """The model configuration in `path`, built from allow-listed fields of the right type. Raises AX031."""
    with libraries.importing(*UNUSED):
        from transformers import BertConfig, RobertaConfig, XLMRobertaConfig

    try:
        raw = json.loads(path.read_text("utf-8"))
    except (ValueError, OSError) as error:
        raise AdaptxError("AX031", path.name, f"not readable as JSON ({error}).") from None
    model_type = raw.get("model_type") if isinstance(raw, dict) else None
    if not isinstance(model_type, str) or model_type not in MODEL_TYPES:
        raise AdaptxError("AX031", f"model type {model_type!r}", f"expected one of {', '.join(MODEL_TYPES)}.")
    fields: dict[str, Any] = {}
    for name, kind in CONFIG_FIELDS.items():
        if name in raw:
            if not isinstance(raw[name], kind) or isinstance(raw[name], bool):
                raise AdaptxError("AX031", f"{name} = {raw[name]!r}", "config.json holds a value of the wrong type.")
            fields[name] = raw[name]
    small = [k for k in SIZES if fields.get(k, 1) < 1]
    if small:
        raise AdaptxError("AX031", f"{small[0]} = {fields[small[0]]}", "config.json holds a size below one.")
    if fields.get("hidden_size", 768) % fields.get("num_attention_heads", 12):
        raise AdaptxError("AX031", "num_attention_heads", "config.json's heads do not divide the hidden size.")
    if not 0 <= fields.get("pad_token_id", 0) < fields.get("vocab_size", 30522):
        raise AdaptxError("AX031", "pad_token_id", "config.json's padding id is outside the vocabulary.")
    if fields.get("hidden_act", "gelu") not in ACTIVATIONS:
        raise AdaptxError("AX031", fields["hidden_act"], f"activation not among {', '.join(ACTIVATIONS)}.")
    if raw.get("position_embedding_type", "absolute") != "absolute":
        raise AdaptxError("AX031", raw["position_embedding_type"], "only absolute positions are supported.")
    kinds = {"bert": BertConfig, "roberta": RobertaConfig, "xlm-roberta": XLMRobertaConfig}
    # Dropout inside the backbone is the recipe's business; attention dropout does not exist on the packed path.
    return kinds[model_type](**fields, attention_probs_dropout_prob=0.0, attn_implementation="sdpa")


@lru_cache(maxsize=1)
def _model_types() -> "dict[str, type[PreTrainedModel]]":
    with libraries.importing(*UNUSED):
        from transformers import BertModel, RobertaModel, XLMRobertaModel

    return {"bert": BertModel, "roberta": RobertaModel, "xlm-roberta": XLMRobertaModel}


@lru_cache(maxsize=2)
def load(files: BackboneFiles) -> Backbone:
    """The weights and the tokenizer in `files`, kept for the next caller. Raises AX031, AX032."""
    import torch
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    config = read_config(files.folder / "config.json")
    prefix, offset = MODEL_TYPES[config.model_type]
    kind = _model_types()[config.model_type]
    try:
        found = load_file(files.folder / "model.safetensors")
    except (SafetensorError, OSError) as error:
        raise AdaptxError("AX032", files.name, f"model.safetensors cannot be read ({error}).") from None
    found = {_modern(k.removeprefix(prefix)): v for k, v in found.items()}
    with torch.device("meta"):
        wanted = {k: v.shape for k, v in kind(config, add_pooling_layer=False).state_dict().items()}
    wrong = [k for k, shape in wanted.items() if k not in found or found[k].shape != shape]
    if wrong:
        raise AdaptxError("AX032", files.name, f"{len(wrong)} tensors missing or of another shape, first {wrong[0]}.")
    first = 0 if offset is None else config.pad_token_id + offset
    tokenizer, special = read_tokenizer(files, config.vocab_size)
    state = {k: found[k].float() for k in wanted}
    head_names = MASKED_HEAD[config.model_type]
    has_head = found.keys() >= set(head_names.values())
    masked_head = {k: found[v].float() for k, v in head_names.items()} if has_head else {}
    limit = config.max_position_embeddings - first
    return Backbone(files, config, state, tokenizer, first, limit, special, masked_head)


def read_tokenizer(files: BackboneFiles, rows: int) -> "tuple[Tokenizer, dict[str, int]]":
    """The tokenizer for an embedding of so many rows, without padding and truncation, and its special tokens' ids by
    role. Raises AX031, AX032."""
    from tokenizers import Tokenizer

    try:
        tokenizer = Tokenizer.from_file(str(files.folder / "tokenizer.json"))
    except Exception as error:  # the library raises bare Exception
        raise AdaptxError("AX032", files.name, f"tokenizer.json cannot be read ({error}).") from None
    if tokenizer.get_vocab_size() > rows:
        raise AdaptxError("AX032", files.name, "its tokenizer has more pieces than the embedding has rows.")
    tokenizer.no_padding()
    tokenizer.no_truncation()
    special = {}
    for role, names in SPECIAL.items():
        ids = [i for i in map(tokenizer.token_to_id, names) if i is not None]
        if not ids:
            raise AdaptxError("AX031", files.name, f"its tokenizer has none of {', '.join(names)}.")
        special[role] = ids[0]
    return tokenizer, special


def attention_modules(encoder: "PreTrainedModel") -> "list[torch.nn.Module]":
    """The self-attention of every layer, bottom up."""
    return [layer.attention.self for layer in encoder.encoder.layer]


def linears(encoder: "PreTrainedModel") -> "Iterator[torch.nn.Linear]":
    """The encoder's own linear layers, bottom up; inside what `peft` wraps around them, and none of an adapter's."""
    from torch import nn

    for layer in encoder.encoder.layer:
        for name, module in layer.named_modules():
            if name.removesuffix(".base_layer") in LINEARS and isinstance(module, nn.Linear):
                yield module


def token_wise(encoder: "PreTrainedModel") -> "list[torch.nn.Module]":
    """The modules of each layer, from the bottom, that treat every token alone: what follows self-attention, three a
    layer; the first takes what was attended, and the layer's input."""
    return [m for layer in encoder.encoder.layer for m in (layer.attention.output, layer.intermediate, layer.output)]


def above_attention(encoder: "PreTrainedModel") -> "torch.nn.Module":
    """The first module of the top layer that treats every token alone."""
    return token_wise(encoder)[-3]


def _modern(name: str) -> str:
    """Checkpoints of 2018 call LayerNorm's tensors gamma and beta."""
    return name.replace("LayerNorm.gamma", "LayerNorm.weight").replace("LayerNorm.beta", "LayerNorm.bias")


def pick_device(wanted: str) -> str:
    """`wanted`, or for "auto" cuda where there is one, else cpu. Raises AX071."""
    import torch

    if wanted == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if wanted != "cpu" and not (wanted.startswith("cuda") and torch.cuda.is_available()):
        raise AdaptxError("AX071", wanted, "no such device here.")
    return wanted


def quiet() -> None:
    """Keep third-party start-up chatter off the terminal: results and errors are ours to print."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    for name in ("adapters", "bitsandbytes", "peft", "kernels"):
        logging.getLogger(name).setLevel(logging.ERROR)
