"""A made-up world for a model's shape: random weights, a word tokenizer, text of exact lengths, a task over it.

All of it lies in the cache as ordinary files, so that a shape goes through the same doors as a real backbone: nothing
in training or measuring knows that it is made up.
"""

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from adaptx import atomic
from adaptx.bench.spec import Spec
from adaptx.config import Settings
from adaptx.errors import AdaptxError, unknown_name
from adaptx.registry import Registry, configs_folder, read_yaml

if TYPE_CHECKING:
    from tokenizers import Tokenizer

FILE = "shapes.yaml"
SPECIAL = ("<s>", "<pad>", "</s>", "<unk>")
LABELS = ("a", "b", "c")
HELD_OUT = 200  # dev rows
# Lengths of premise and hypothesis together, special tokens included, as XLM-R's pieces: mean 39, longest 105.
NLI = {"mean": 39.0, "spread": 0.45, "shortest": 8, "longest": 105}
TASK = """# Made-up text of given lengths with random labels, for measuring cost.
kind: classification
title: made-up text
roles: [intermediate]
labels: [a, b, c]
metrics: [accuracy]
train: {epochs: 1, batch_tokens: 4096, max_tokens: 512}
sources:
  - kind: local
    languages: [en]
    licence: CC0-1.0
    format: tsv
    options: {columns: {text: text, label: label}}
    splits:
      train: [{files: [train.tsv]}]
      dev: [{files: [dev.tsv]}]
"""


def known(overlay: Path | None = None) -> dict[str, dict[str, Any]]:
    """Shapes by name, a user's own ones last. Raises AX010."""
    out: dict[str, dict[str, Any]] = {}
    for folder in (configs_folder(), overlay):
        if folder is not None and (folder / FILE).is_file():
            out |= read_yaml(folder / FILE)
    return out


def world(settings: Settings, spec: Spec) -> Settings:
    """Settings over the shape's own backbone and text, written into the cache where they are missing.

    Raises AX004 for an unknown shape, AX070 for lengths that are neither "nli" nor a number.
    """
    shapes = known(settings.registry.overlay)
    if spec.shape not in shapes:
        raise unknown_name("AX004", str(spec.shape), shapes)
    root = settings.cache / "shapes"
    config = {**shapes[spec.shape], "pad_token_id": 1, "hidden_act": "gelu"}
    backbone = _backbone(root / f"{spec.shape}-random", config)
    rows = spec.limit or 2000
    text = _text(root / "text" / f"{spec.lengths}-{rows}-{config['vocab_size']}", spec, rows, int(config["vocab_size"]))
    registry = root / "registry"
    task = registry / "tasks" / "synthetic.yaml"
    if not task.is_file() or task.read_text("utf-8") != TASK:
        atomic.write_bytes(task, TASK.encode())
    return replace(settings, backbone=str(backbone), data_root=text, registry=Registry(registry))


def _backbone(folder: Path, config: dict[str, Any]) -> Path:
    from safetensors.numpy import save_file

    text = json.dumps(config, indent=2, sort_keys=True)
    if not (folder / "config.json").is_file() or (folder / "config.json").read_text("utf-8") != text:
        with atomic.staged_folder(folder) as stage:
            (stage / "config.json").write_text(text, "utf-8")
            save_file(weights(config), stage / "model.safetensors", {"format": "pt"})
            tokenizer(int(config["vocab_size"])).save(str(stage / "tokenizer.json"))
    return folder


def weights(config: dict[str, Any], seed: int = 0) -> dict[str, np.ndarray[Any, Any]]:
    """A fresh model's weights by Hugging Face name: normal with standard deviation 0.02, LayerNorms neutral."""
    h, f, random = int(config["hidden_size"]), int(config["intermediate_size"]), np.random.default_rng(seed)

    def normal(*shape: int) -> np.ndarray[Any, Any]:
        return random.standard_normal(shape, np.float32) * np.float32(0.02)

    def norm(name: str) -> dict[str, np.ndarray[Any, Any]]:
        return {f"{name}.weight": np.ones(h, np.float32), f"{name}.bias": np.zeros(h, np.float32)}

    def linear(name: str, inputs: int, outputs: int) -> dict[str, np.ndarray[Any, Any]]:
        return {f"{name}.weight": normal(outputs, inputs), f"{name}.bias": np.zeros(outputs, np.float32)}

    sizes = {"word": "vocab_size", "position": "max_position_embeddings", "token_type": "type_vocab_size"}
    out = {f"embeddings.{k}_embeddings.weight": normal(int(config[v]), h) for k, v in sizes.items()}
    out |= norm("embeddings.LayerNorm")
    for i in range(int(config["num_hidden_layers"])):
        at = f"encoder.layer.{i}"
        for name in ("query", "key", "value"):
            out |= linear(f"{at}.attention.self.{name}", h, h)
        out |= linear(f"{at}.attention.output.dense", h, h) | norm(f"{at}.attention.output.LayerNorm")
        out |= linear(f"{at}.intermediate.dense", h, f) | linear(f"{at}.output.dense", f, h)
        out |= norm(f"{at}.output.LayerNorm")
    return out


def tokenizer(vocabulary: int) -> "Tokenizer":
    """One token a word: "w17" is token 17; the special tokens stand where XLM-R has them."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    pieces = [*SPECIAL, *(f"w{i}" for i in range(len(SPECIAL), vocabulary - 1)), "<mask>"]
    out = Tokenizer(models.WordLevel({p: i for i, p in enumerate(pieces)}, unk_token="<unk>"))
    out.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    out.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", pair="<s> $A </s> </s> $B </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    out.add_special_tokens([*SPECIAL, "<mask>"])
    return out


def lengths(kind: str | None, rows: int, seed: int = 0) -> np.ndarray[Any, Any]:
    """Tokens of each of `rows` sequences, special ones included: all alike, or spread as in NLI. Raises AX070."""
    if kind in (None, "nli"):
        draw = np.random.default_rng(seed).lognormal(np.log(NLI["mean"]) - NLI["spread"] ** 2 / 2, NLI["spread"], rows)
        return np.clip(np.round(draw), NLI["shortest"], NLI["longest"]).astype(int)
    if not str(kind).isdigit() or not 3 <= int(str(kind)) <= 512:
        raise AdaptxError("AX070", f"--lengths {kind}", "expected nli, or a number of tokens from 3 to 512.")
    return np.full(rows, int(str(kind)))


def _text(folder: Path, spec: Spec, rows: int, vocabulary: int) -> Path:
    if not (folder / "dev.tsv").is_file():
        with atomic.staged_folder(folder) as stage:
            for split, n, seed in (("train", rows, 0), ("dev", HELD_OUT, 1)):
                table = ["text\tlabel", *_rows(lengths(spec.lengths, n, seed), vocabulary, seed)]
                (stage / f"{split}.tsv").write_text("\n".join(table) + "\n", "utf-8")
    return folder


def _rows(wanted: np.ndarray[Any, Any], vocabulary: int, seed: int) -> list[str]:
    """Lines of words and a label. Words are as frequent as Zipf's law has it: the logarithm of the rank is uniform."""
    random = np.random.default_rng([seed, 1])
    first, count = len(SPECIAL), vocabulary - 1 - len(SPECIAL)
    out = []
    for n in wanted:
        ranks = np.exp(random.random(n - 2) * np.log(count)).astype(int) - 1
        out.append(" ".join(f"w{first + r}" for r in ranks) + "\t" + LABELS[random.integers(len(LABELS))])
    return out
