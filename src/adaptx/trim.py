"""Vocabulary trimming: a backbone with only the embedding rows that the texts of some languages use.

46 % of XLM-R Large, and 82 % of its bundled small relative, are embeddings of languages that a run never sees. What
differs from the full backbone afterwards: texts whose pieces all stay give identical states; a text that needs another
piece is read in smaller ones, down to single characters, and characters that the texts do not have are unknown.
Adapters cross over in both directions (`trimmed`); fully fine-tuned models and masked-LM heads, which have a row for
every token, do not. Source: Abdaoui et al. 2020 ("Load What You Need").
"""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from adaptx import atomic, backbones, trimmed, vocabulary
from adaptx.backbones import BackboneFiles
from adaptx.config import Settings
from adaptx.data import sources
from adaptx.data.readers.files import numbered_lines
from adaptx.errors import AdaptxError
from adaptx.jobs import loaded, strings
from adaptx.recipe import DataRef
from adaptx.trimmed import Trim

if TYPE_CHECKING:
    from tokenizers import Tokenizer

Read = list[tuple[str, np.ndarray[Any, Any]]]  # texts with their token ids, no special tokens
LANGUAGE_TASK = "mlm"
SPLITS: tuple[sources.Split, ...] = ("train", "dev")  # what a run may see; test sets are not looked at
TEXTS_AT_ONCE = 4096
NAMED_LANGUAGES = 8  # a backbone's name lists as many


@dataclass(frozen=True)
class Trimmed:
    """What was written: `rows` of `rows_full` embedding rows, `bytes` of `bytes_full` of weights, by `tokens` tokens of
    so many distinct `texts`."""

    name: str
    folder: Path
    rows: int
    rows_full: int
    bytes: int
    bytes_full: int
    texts: int
    tokens: int


def trim(settings: Settings, langs: Iterable[str], out: Path | None = None, source: Path | None = None) -> Trimmed:
    """Write the settings' backbone, trimmed to the texts of `langs`, to the new folder `out` (default: its name).

    Texts: train and dev rows of every task that has the language here, of the Hub only running text; or the lines of
    `source`, a text file or a folder of them. Raises AX011, AX014 without text, AX051 for a backbone that is trimmed
    already or that cannot be, AX070 where `out` is not empty.
    """
    names = sorted({settings.registry.check_language(lang) for lang in langs})
    files = backbones.locate(settings)
    if files.full_sha256:
        raise AdaptxError("AX051", files.name, "it is trimmed already.", "Trim the backbone that it was made from.")
    shown = "-".join(names) if len(names) <= NAMED_LANGUAGES else f"{len(names)}-languages"
    name = f"{files.name}{trimmed.INFIX}{shown}"
    out = out or Path(name.replace("/", "--"))
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise AdaptxError("AX070", out, "the target exists and is not an empty folder.")
    config = backbones.read_config(files.folder / "config.json")
    tokenizer, special = backbones.read_tokenizer(files, config.vocab_size)
    texts, data = _lines(settings, source) if source else _rows(settings, names)
    read = _read(tokenizer, texts)
    value = json.loads((files.folder / "tokenizer.json").read_text("utf-8"))
    used = {int(i) for i in np.unique(np.concatenate([ids for _, ids in read]))} if read else set()
    normalise = tokenizer.normalizer.normalize_str if tokenizer.normalizer else str
    characters = set().union(*(normalise(text) for text, _ in read))
    kept = sorted(used | set(special.values()) | vocabulary.indispensable(value, characters))
    new = {old: i for i, old in enumerate(kept)}
    if backbones.MODEL_TYPES[config.model_type][1] is not None and new[special["pad"]] != special["pad"]:
        raise AdaptxError("AX051", files.name, "its positions count from the padding id, which trimming would move.")
    with atomic.staged_folder(out) as stage:
        (stage / "tokenizer.json").write_text(json.dumps(vocabulary.cut(value, kept), ensure_ascii=False), "utf-8")
        _check(stage, read, np.array(kept), value["model"].get("unk_token"))
        _write_config(files, stage, len(kept), new[special["pad"]])
        _write_weights(files, stage, kept, config.vocab_size)
        sha = backbones.hash_file(stage / "model.safetensors", settings.cache)
        entry = Trim(
            name=name,
            full=files.reference,
            licence=files.licence,
            weights_sha256=sha,
            reading_sha256=backbones.hash_reading(stage),
            body_sha256=trimmed.body_sha256(files.folder / "model.safetensors"),
            languages=tuple(names),
            data=data,
            kept=tuple(kept),
        )
        (stage / trimmed.FILE).write_text(entry.model_dump_json() + "\n", "utf-8")
    small, full = ((folder / "model.safetensors").stat().st_size for folder in (out, files.folder))
    return Trimmed(name, out, len(kept), config.vocab_size, small, full, len(read), sum(len(ids) for _, ids in read))


def _rows(settings: Settings, langs: list[str]) -> tuple[Iterator[str], tuple[DataRef, ...]]:
    """All strings in the languages' train and dev rows."""
    found = []
    for lang in langs:
        here = [
            (task, split, loaded(settings, task.id, lang, split))
            for task in settings.registry.tasks()
            for split in SPLITS
            if sources.available(settings, task, lang, split)
            and (task.id == LANGUAGE_TASK or sources.pick(settings, task, lang).kind != "hub")
        ]
        if not here:
            raise AdaptxError("AX014", lang, "no text of this language is here.", "Name text files with --from.")
        found += here
    data = [
        DataRef(
            task=task.id, split=split, **{k: getattr(t, k) for k in ("source", "id", "revision", "licence", "rows")}
        )
        for task, split, dataset in found
        for t in dataset.tables
    ]
    return (text for _, _, dataset in found for e in dataset.examples for text in strings(e)), tuple(data)


def _lines(settings: Settings, source: Path) -> tuple[Iterator[str], tuple[DataRef, ...]]:
    """The lines of a text file, or of every .txt and .txt.gz below a folder. Raises AX011, AX012."""
    paths = (
        [source] if source.is_file() else sorted(p for p in source.rglob("*") if p.name.endswith((".txt", ".txt.gz")))
    )
    if not paths:
        raise AdaptxError("AX011", source, "neither a text file nor a folder with .txt or .txt.gz files.")
    lines = {path: [line for _, line in numbered_lines(path)] for path in paths}
    data = [
        DataRef(
            task=LANGUAGE_TASK,
            split="train",
            source="local",
            id=path.name,
            revision=backbones.hash_file(path, settings.cache),
            licence="unknown",
            rows=len(lines[path]),
        )
        for path in paths
    ]
    return (line for path in paths for line in lines[path]), tuple(data)


def _read(tokenizer: "Tokenizer", texts: Iterable[str]) -> Read:
    """Every distinct text with its ids."""
    distinct = list(dict.fromkeys(texts))
    out: Read = []
    for at in range(0, len(distinct), TEXTS_AT_ONCE):
        part = distinct[at : at + TEXTS_AT_ONCE]
        encoded = tokenizer.encode_batch(part, add_special_tokens=False)
        out += [(text, np.array(e.ids, np.int32)) for text, e in zip(part, encoded, strict=True)]
    return out


def _check(folder: Path, read: Read, kept: np.ndarray[Any, Any], unknown: str | None) -> None:
    """Raise AX051 unless the new tokenizer reads every text as the full one did. `unknown`: WordPiece's token for words
    that it cannot read; these may be read now (`vocabulary`)."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    mark = kept[tokenizer.token_to_id(unknown)] if unknown else None
    for (text, before), (_, after) in zip(read, _read(tokenizer, [text for text, _ in read]), strict=True):
        same = len(before) == len(after) and bool((kept[after] == before).all())
        if not same and (mark is None or mark not in before):
            raise AdaptxError("AX051", text[:60], "the trimmed tokenizer would read this text differently.")


def _write_config(files: BackboneFiles, stage: Path, rows: int, padding: int) -> None:
    """The fields that are read here, nothing else of a foreign file."""
    raw = json.loads((files.folder / "config.json").read_text("utf-8"))
    known = {k: raw[k] for k in ("model_type", *backbones.CONFIG_FIELDS) if k in raw}
    (stage / "config.json").write_text(json.dumps({**known, "vocab_size": rows, "pad_token_id": padding}, indent=2))


def _write_weights(files: BackboneFiles, stage: Path, kept: list[int], rows: int) -> None:
    """Every tensor as it is, of those with a row for every token the kept rows."""
    import torch
    from safetensors.torch import load_file, save_file

    chosen = torch.tensor(kept)
    state = load_file(files.folder / "model.safetensors")
    for name in [n for n in state if n.endswith(trimmed.VOCABULARY)]:
        if state[name].shape[0] != rows:
            raise AdaptxError("AX032", files.name, f"{name} has {state[name].shape[0]} rows for {rows} tokens.")
        state[name] = state[name][chosen].contiguous()
    save_file(state, stage / "model.safetensors", {"format": "pt"})
