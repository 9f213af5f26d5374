"""Writes the files of the toy world: tiny random backbones, data in made-up languages, the registry that names them.

Pure functions of a folder and fixed seeds; knows no settings, no store and no training.
"""

import json
import random
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from tokenizers import Tokenizer

MODEL_TYPES = ("bert", "xlm-roberta")
SPECIAL = ("<s>", "<pad>", "</s>", "<unk>")
CONSONANTS, VOWELS = "bdfghjklmnprstv", "aeiou"
LABELS = ("entailment", "neutral", "contradiction")
TAGS = ("ADJ", "NOUN", "PUNCT", "VERB")
WORDS = {
    "en": {
        "NOUN": ("bado", "lemi", "tusa", "ropi", "kelaju", "mitoge", "sabu", "dafihore"),
        "VERB": ("nugi", "pame", "vilo", "hajute"),
        "ADJ": ("gotu", "sefi", "labemi"),
        "NOT": ("zenu",),
    },
    "qaa": {
        "NOUN": ("falu", "diko", "rute", "jogisa", "behuni", "tomale", "visa", "hupefado"),
        "VERB": ("sanu", "kolo", "mujahe", "rigo"),
        "ADJ": ("pulo", "gedami", "tobu"),
        "NOT": ("zako",),
    },
}
SIZES = {"train": 40, "dev": 12, "test": 16}


def config_of(model_type: str, **changes: Any) -> dict[str, Any]:
    """The config.json of a tiny encoder that takes 64 tokens."""
    roberta = model_type != "bert"
    return {
        "model_type": model_type,
        "vocab_size": 200,
        "hidden_size": 64,  # a multiple of 64: 4-bit weights come in blocks
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "intermediate_size": 128,
        "max_position_embeddings": 66 if roberta else 64,
        "type_vocab_size": 1 if roberta else 2,
        "pad_token_id": 1,
        "layer_norm_eps": 1e-5 if roberta else 1e-12,
        "hidden_act": "gelu",
        **changes,
    }


def weights_of(config: dict[str, Any], seed: int = 0) -> dict[str, np.ndarray[Any, Any]]:
    """Random weights by Hugging Face name, wide enough (std 0.2) that a wrong computation shows."""
    h, f = config["hidden_size"], config["intermediate_size"]
    shapes: dict[str, tuple[int, ...]] = {
        "embeddings.word_embeddings.weight": (config["vocab_size"], h),
        "embeddings.position_embeddings.weight": (config["max_position_embeddings"], h),
        "embeddings.token_type_embeddings.weight": (config["type_vocab_size"], h),
        **_affine("embeddings.LayerNorm", (h,)),
    }
    for i in range(config["num_hidden_layers"]):
        layer = f"encoder.layer.{i}"
        for name in ("query", "key", "value"):
            shapes |= _affine(f"{layer}.attention.self.{name}", (h, h))
        shapes |= _affine(f"{layer}.attention.output.dense", (h, h))
        shapes |= _affine(f"{layer}.attention.output.LayerNorm", (h,))
        shapes |= _affine(f"{layer}.intermediate.dense", (f, h)) | _affine(f"{layer}.output.dense", (h, f))
        shapes |= _affine(f"{layer}.output.LayerNorm", (h,))
    rng = np.random.default_rng(seed)
    state = {name: rng.normal(0, 0.2, shape).astype(np.float32) for name, shape in shapes.items()}
    return {k: v + np.float32(1) if k.endswith("LayerNorm.weight") else v for k, v in state.items()}


def _affine(name: str, shape: tuple[int, ...]) -> dict[str, tuple[int, ...]]:
    return {f"{name}.weight": shape, f"{name}.bias": shape[:1]}


def masked_head(config: dict[str, Any]) -> dict[str, np.ndarray[Any, Any]]:
    """A RoBERTa checkpoint's head for masked language modelling."""
    h = config["hidden_size"]
    shapes = {**_affine("dense", (h, h)), **_affine("layer_norm", (h,)), "bias": (config["vocab_size"],)}
    rng = np.random.default_rng(9)
    return {f"lm_head.{name}": rng.normal(0, 0.2, shape).astype(np.float32) for name, shape in shapes.items()}


def write_backbone(folder: Path, model_type: str, seed: int = 0, **changes: Any) -> Path:
    """Write config.json, model.safetensors and tokenizer.json; `changes` go into the config.

    As checkpoints on the Hub do, the RoBERTa one names its tensors `roberta.*` and brings its masked-language head.
    """
    from safetensors.numpy import save_file

    folder.mkdir(parents=True)
    config = config_of(model_type, **changes)
    state = weights_of(config, seed)
    if model_type != "bert":
        state = {f"roberta.{k}": v for k, v in state.items()} | masked_head(config)
    (folder / "config.json").write_text(json.dumps(config, indent=2))
    save_file(state, folder / "model.safetensors", {"format": "pt"})
    tokenizer(model_type).save(str(folder / "tokenizer.json"))
    return folder


def tokenizer(model_type: str) -> "Tokenizer":
    """A unigram tokenizer of 200 pieces over syllables; most words have several, foreign letters are unknown."""
    from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, processors

    letters = [*"abcdefghijklmnopqrstuvwxyz", ".", "?", ",", "▁"]
    syllables = [c + v for c in CONSONANTS for v in VOWELS]
    whole = [f"▁{c}{v}" for c in CONSONANTS for v in VOWELS]
    pieces = [*SPECIAL, *letters, *syllables, *whole][:199]
    scores = [0.0] * 4 + [-6.0] * len(letters) + [-4.0] * 200
    out = Tokenizer(models.Unigram([*zip(pieces, scores, strict=False), ("<mask>", 0.0)], unk_id=3))
    out.normalizer = normalizers.Sequence([normalizers.Nmt(), normalizers.Replace(Regex(" {2,}"), " ")])
    out.pre_tokenizer = pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="always")
    pair = "<s>:0 $A:0 </s>:0 $B:1 </s>:1" if model_type == "bert" else "<s> $A </s> </s> $B </s>"
    out.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", pair=pair, special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    out.add_special_tokens([*SPECIAL, "<mask>"])
    return out


def sentence(rng: random.Random, lang: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Words and tags of "(adjective) noun verb (adjective) noun .", 4 to 6 words."""
    tags = ["NOUN", "VERB", "NOUN"]
    for at in (2, 0):
        if rng.random() < 0.5:
            tags.insert(at, "ADJ")
    words = [rng.choice(WORDS[lang][tag]) for tag in tags]
    return (*words, "."), (*tags, "PUNCT")


def inference(rng: random.Random, lang: str) -> tuple[str, str, str]:
    """Premise, hypothesis and label."""
    premise, label = sentence(rng, lang)[0], rng.choice(LABELS)
    other = sentence(rng, lang)[0]
    hypothesis = {
        "entailment": premise,
        "neutral": other,
        "contradiction": (WORDS[lang]["NOT"][0], *premise),
    }[label]
    return " ".join(premise), " ".join(hypothesis), label


def write_data(root: Path) -> Path:
    """toynli (TSV), toypos (CoNLL-U) and toytext (plain) in both toy languages, toypairs (aligned) between them."""
    for lang in WORDS:
        for split, size in SIZES.items():
            rng = random.Random(f"{lang} {split}")
            rows = ["\t".join(inference(rng, lang)) for _ in range(size)]
            put(root / "toynli" / lang / f"{split}.tsv", "premise\thypothesis\tlabel\n" + "\n".join(rows) + "\n")
            put(root / "toypos" / lang / f"{split}.conllu", "".join(conllu(rng, lang, i) for i in range(size)))
            lines = [" ".join(w for _ in range(4) for w in sentence(rng, lang)[0]) for _ in range(size)]
            put(root / "toytext" / lang / f"{split}.txt", "\n\n".join(lines) + "\n")
    rng = random.Random("pairs")
    pairs = [(sentence(rng, "qaa")[0], sentence(rng, "en")[0]) for _ in range(20)]
    put(root / "toypairs" / "qaa" / "text.qaa", "".join(" ".join(a) + "\n" for a, _ in pairs))
    put(root / "toypairs" / "qaa" / "text.en", "".join(" ".join(b) + "\n" for _, b in pairs))
    return root


def conllu(rng: random.Random, lang: str, number: int) -> str:
    """One sentence as CoNLL-U."""
    words, tags = sentence(rng, lang)
    head = [0, *([1] * (len(words) - 1))]
    rows = enumerate(zip(words, tags, head, strict=True), 1)
    lines = [f"{i}\t{word}\t_\t{tag}\t_\t_\t{above}\tdep\t_\t_" for i, (word, tag, above) in rows]
    return "\n".join([f"# sent_id = {lang}-{number}", f"# text = {' '.join(words)}", *lines]) + "\n\n"


def put(path: Path, text: str) -> Path:
    """Write `text`, making folders as needed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, "utf-8")
    return path


LANGUAGES_YAML = "qaa: Toyish\n"
TOYNLI_YAML = """
kind: classification
title: toy inference
roles: [intermediate]
labels: [entailment, neutral, contradiction]
metrics: [accuracy]
train: {epochs: 2, batch_tokens: 128, max_tokens: 48}
sources:
  - kind: local
    languages: [en, qaa]
    licence: CC0-1.0
    format: tsv
    options: {columns: {text: premise, pair: hypothesis, label: label}}
    splits:
      train: [{files: ["toynli/{lang}/train.tsv"]}]
      dev: [{files: ["toynli/{lang}/dev.tsv"]}]
      test: [{files: ["toynli/{lang}/test.tsv"], expect: 16}]
"""
TOYPOS_YAML = """
kind: tagging
title: toy tags
roles: [target]
labels: [ADJ, NOUN, PUNCT, VERB]
metrics: [seqeval_f1, tag_accuracy]
train: {epochs: 2, batch_tokens: 128, max_tokens: 48}
sources:
  - kind: local
    languages: [en, qaa]
    licence: CC-BY-NC-4.0
    note: made up
    format: conllu
    splits:
      train: [{files: ["toypos/{lang}/train.conllu"]}]
      dev: [{files: ["toypos/{lang}/dev.conllu"]}]
      test: [{files: ["toypos/{lang}/test.conllu"]}]
"""
TOYPAIRS_YAML = """
kind: retrieval
title: toy translations
roles: [target]
metrics: [retrieval_accuracy]
sources:
  - kind: local
    languages: [qaa]
    licence: CC0-1.0
    format: aligned
    splits: {test: [{files: ["toypairs/{lang}/text.{lang}", "toypairs/{lang}/text.en"], expect: 20}]}
"""
TOYTEXT_YAML = """
kind: mlm
title: toy text
roles: [language]
metrics: [perplexity]
train: {epochs: 2, batch_tokens: 128, max_tokens: 48}
sources:
  - kind: local
    languages: [en, qaa]
    licence: CC0-1.0
    format: text
    splits:
      train: [{files: ["toytext/{lang}/train.txt"]}]
      dev: [{files: ["toytext/{lang}/dev.txt"]}]
"""
TASKS = {"toynli": TOYNLI_YAML, "toypos": TOYPOS_YAML, "toypairs": TOYPAIRS_YAML, "toytext": TOYTEXT_YAML}


def write_registry(folder: Path) -> Path:
    """The overlay: the language qaa and the toy tasks."""
    put(folder / "languages.yaml", LANGUAGES_YAML)
    for name, text in TASKS.items():
        put(folder / "tasks" / f"{name}.yaml", text)
    return folder
