"""Readers on the real files of MANIFEST.tsv: each read with its options gives the rows that the manifest counts."""

import csv
import os
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from adaptx.data.examples import TextExample, WordsExample
from adaptx.data.readers import read
from adaptx.errors import AdaptxError

ROOT = Path(os.environ.get("ADAPTX_DATA") or Path(__file__).resolve().parents[2] / "shared" / "data")
MANIFEST = ROOT / "MANIFEST.tsv"
NLI_LABELS = {"entailment": "entailment", "neutral": "neutral", "contradictory": "contradiction"}
SUPERLIM_NLI = {"id": "id", "text": "premise", "pair": "hypothesis", "label": "label"}
QUOTED = ("da", "et", "fi", "sv")  # the machine translations of MultiNLI that were written with csv quoting
BLANK_DOCUMENTS = {"swecore.dev.tsv.gz": 1, "swecore.test.tsv.gz": 2}

pytestmark = [pytest.mark.real, pytest.mark.skipif(not MANIFEST.is_file(), reason="no real data here")]


def manifest() -> list[dict[str, str]]:
    if not MANIFEST.is_file():
        return []
    with MANIFEST.open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    return [row for row in rows if not row["path"].endswith(".eng")]


def layout(path: str) -> tuple[str, dict[str, Any]]:
    """The format and options that read the file at `path` below the data root."""
    folder, lang, name = path.split("/")
    if path.startswith("mnli") and name.startswith("multinli"):
        columns = {"text": "premise", "pair": "hypo", "label": "label"}
        return "tsv", {"columns": columns, "labels": NLI_LABELS, "quoting": lang in QUOTED}
    if path.startswith("mnli"):
        return (
            ("jsonl", {"columns": SUPERLIM_NLI})
            if "jsonl" in name
            else ("tsv", {"columns": SUPERLIM_NLI, "quoting": True})
        )
    if path.startswith("qqp/en"):
        columns_by_index = {"label": 0, "text": 1, "pair": 2, "id": 3}
        return "tsv", {"columns": columns_by_index, "header": False, "quoting": True, "undecodable": "replace"}
    if path.startswith("panx/fi"):
        return "columns", {"tag_map": {f"{x}-{y}": "O" for x in "BI" for y in ("PRO", "EVENT", "DATE")}}
    formats: dict[str, tuple[str, dict[str, Any]]] = {
        "anli": (
            "csv",
            {
                "columns": {"text": "context", "pair": "statement", "label": "gold_label"},
                "labels": {"e": "entailment", "n": "neutral", "c": "contradiction"},
            },
        ),
        "ccg": ("columns", {"tag": 4, "comments": "#", "scheme": "none"}),
        "commonsenseqa": (
            "jsonl",
            {
                "example": "choice",
                "columns": {
                    "id": "id",
                    "question": "question.stem",
                    "choices": "question.choices",
                    "choice_text": "text",
                    "choice_label": "label",
                    "label": "answerKey",
                },
            },
        ),
        "cosmosqa": (
            "csv",
            {
                "example": "choice",
                "columns": {
                    "id": "id",
                    "context": "context",
                    "question": "question",
                    "choices": [f"answer{i}" for i in range(4)],
                    "label": "label",
                },
            },
        ),
        "hellaswag": (
            "jsonl",
            {"example": "choice", "columns": {"context": "ctx", "choices": "endings", "label": "label"}},
        ),
        "mlm": ("text", {"column": 1}),
        "ner": ("columns", {"word": 1, "tag": 2, "comments": "#", "repair": lang == "da"}),
        "panx": ("columns", {"strip_prefix": True}),
        "qqp": (
            "tsv",
            {
                "columns": {"text": "sentence_1", "pair": "sentence_2", "label": "label"},
                "threshold": 4,
                "quoting": True,
            },
        ),
        "squad_v1": ("squad", {}),
        "squad_v2": ("squad", {}),
        "tatoeba": ("aligned", {}),
        "tydiqa": ("squad", {}),
        "udpos": ("conllu", {}),
        "xcopa": (
            "jsonl",
            {
                "example": "choice",
                "columns": {
                    "context": "premise",
                    "question": "question",
                    "choices": ["choice1", "choice2"],
                    "label": "label",
                },
                "question_map": {"cause": "Miks?", "effect": "Mis juhtus?"},
            },
        ),
    }
    return formats[folder]


@pytest.mark.parametrize("row", manifest(), ids=lambda row: row["path"])
def test_a_real_file_has_the_rows_of_the_manifest(row: dict[str, str]) -> None:
    path = ROOT / row["path"]
    format, options = layout(row["path"])
    paths = [path, path.with_suffix(".eng")] if format == "aligned" else [path]
    examples = read(format, paths, options)
    docstarts = 0
    if row["path"].startswith("panx/fi"):  # the manifest counts the -DOCSTART- lines as sentences
        kept = read(format, paths, options | {"skip_docstart": False})
        docstarts = sum(isinstance(e, WordsExample) and e.words == ("-DOCSTART-",) for e in kept)
        assert docstarts > 0
    assert len(examples) + docstarts + BLANK_DOCUMENTS.get(path.name, 0) == int(row["rows"])
    assert len({example.id for example in examples}) == len(examples)


def test_mnli_rows_carry_the_same_label_in_every_language() -> None:
    paths = [row["path"] for row in manifest() if row["path"].startswith("mnli") and "multinli" in row["path"]]
    labels = set()
    for path in paths:
        examples = [e for e in read(layout(path)[0], [ROOT / path], layout(path)[1]) if isinstance(e, TextExample)]
        labels.add(tuple(e.label for e in examples))
        assert [int(e.id.rpartition(":")[2]) for e in examples] == list(range(len(examples)))
    assert len(paths) == 7 and len(labels) == 1


@pytest.mark.parametrize("lang", [*QUOTED, "en", "de", "fr"])
def test_mnli_quoting_is_right_for_each_language(lang: str) -> None:
    path = f"mnli/{lang}/multinli.train.{lang}.tsv.gz"
    options = layout(path)[1]
    if lang not in QUOTED:
        with pytest.raises(AdaptxError, match="RFC 4180"):
            read("tsv", [ROOT / path], options | {"quoting": True})
        return
    found, raw = (read("tsv", [ROOT / path], options | {"quoting": quoting}) for quoting in (True, False))
    texts, raw_texts = ([e.text for e in read_as if isinstance(e, TextExample)] for read_as in (found, raw))
    pairs = list(zip(texts, raw_texts, strict=True))
    assert any(a != b for a, b in pairs)
    assert all(a == b or b == '"' + a.replace('"', '""') + '"' for a, b in pairs)


def test_the_three_finnish_pos_test_sets_are_xtremes_sentences() -> None:
    files = [ROOT / f"udpos/fi/fi_{name}-ud-test.conllu.gz" for name in ("tdt", "ftb", "pud")]
    examples = [e for e in read("conllu", files, {}) if isinstance(e, WordsExample)]
    assert Counter(e.id.partition(":")[0][3:6] for e in examples) == {"tdt": 1555, "ftb": 1867, "pud": 1000}
    split = [e for e in read("conllu", files, {"multiword": "split"}) if isinstance(e, WordsExample)]
    assert sum(len(e.words) for e in split) - sum(len(e.words) for e in examples) == 27 + 25 + 6  # one range each
    assert not any(" " in word for e in examples for word in e.words)


def test_treebanks_read_as_running_text_too() -> None:
    (document, *others) = read("conllu_text", [ROOT / "udpos/et/et_edt-ud-dev.conllu.gz"], {"sentences": 4})
    assert others and document != others[0]
