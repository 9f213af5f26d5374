"""The Hub's data sets, read by unmodified `datasets`: from folders on disk and from a stand-in server.

The server's client is a process of its own, because the libraries look at HF_ENDPOINT once, when imported.
"""

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import dataset_server
from adaptx.data import hub, readers
from adaptx.data.examples import (
    ChoiceExample,
    DocumentExample,
    Example,
    ParallelExample,
    SpanExample,
    TextExample,
    WordsExample,
)
from adaptx.errors import AdaptxError
from adaptx.registry import Part, Source

ROWS = [
    {"premise": "Koira nukkuu.", "hypothesis": "Eläin nukkuu.", "label": 0},
    {"premise": "Koira nukkuu.", "hypothesis": "Koira juoksee.", "label": 2},
    {"premise": "Koira nukkuu.", "hypothesis": "On yö.", "label": 1},
]
NLI = {
    "columns": {"text": "premise", "pair": "hypothesis", "label": "label"},
    "labels": {"0": "entailment", "1": "neutral", "2": "contradiction"},
}
SPAN = {"example": "span", "columns": {"id": "id", "question": "question", "context": "context", "answers": "answers"}}


def write(folder: Path, rows: Sequence[Mapping[str, Any]], split: str = "train") -> Path:
    """A data set folder with one parquet file."""
    folder.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(list(rows)), folder / f"{split}-00000-of-00001.parquet")
    return folder


def read(folder: Path, cache: Path, options: Mapping[str, Any], split: str = "train", **source: Any) -> list[Example]:
    whole = Source(kind="hub", languages=("fi",), licence="CC0-1.0", id=str(folder), options=dict(options), **source)
    return hub.read(whole, Part(split=split), cache)[0]


def fault(code: str, folder: Path, cache: Path, options: Mapping[str, Any], split: str = "train", **source: Any) -> str:
    with pytest.raises(AdaptxError) as raised:
        read(folder, cache, options, split, **source)
    assert raised.value.code == code
    return str(raised.value)


def test_labels_are_mapped_and_ids_count_the_rows(tmp_path: Path) -> None:
    folder = write(tmp_path / "nli", ROWS)
    assert read(folder, tmp_path / "cache", NLI) == [
        TextExample("nli:train:0", "Koira nukkuu.", "Eläin nukkuu.", "entailment"),
        TextExample("nli:train:1", "Koira nukkuu.", "Koira juoksee.", "contradiction"),
        TextExample("nli:train:2", "Koira nukkuu.", "On yö.", "neutral"),
    ]


def test_slices_of_a_split_share_no_row(tmp_path: Path) -> None:
    folder = write(tmp_path / "nli", ROWS)
    parts = [read(folder, tmp_path / "cache", NLI, split) for split in ("train[:1]", "train[1:]", "train[-1:]")]
    assert [[e.label for e in part if isinstance(e, TextExample)] for part in parts] == [
        ["entailment"],
        ["contradiction", "neutral"],
        ["neutral"],
    ]
    assert len({e.id for part in parts[:2] for e in part}) == 3


@pytest.mark.parametrize("nested", [True, False], ids=["a list of answers", "parallel lists"])
def test_flat_squad_records_become_questions(tmp_path: Path, nested: bool) -> None:
    context = "Ähtäri 😀 on Suomessa."
    answer = {"text": "Suomessa", "answer_start": 12}
    answers: Any = [answer, answer] if nested else {"text": ["Suomessa"] * 2, "answer_start": [12, 12]}
    empty: Any = [] if nested else {"text": [], "answer_start": []}
    rows = [
        {"id": "a", "question": "Missä?", "context": context, "answers": answers},
        {"id": "b", "question": "Kuka?", "context": context, "answers": empty},
    ]
    assert read(write(tmp_path / "qa", rows), tmp_path / "cache", SPAN) == [
        SpanExample("a", "Missä?", context, (("Suomessa", 12),)),
        SpanExample("b", "Kuka?", context, ()),
    ]


def test_misaligned_answers_are_an_error_or_searched_for_or_dropped(tmp_path: Path) -> None:
    rows = [
        {"id": "a", "question": "?", "context": "yksi kaksi", "answers": {"text": ["kaksi"], "answer_start": [4]}},
        {"id": "b", "question": "?", "context": "yksi kaksi", "answers": {"text": ["yksi"], "answer_start": [0]}},
    ]
    folder, cache = write(tmp_path / "qa", rows), tmp_path / "cache"
    assert "qa:train:0" in fault("AX012", folder, cache, SPAN)
    found = read(folder, cache, {**SPAN, "on_misaligned": "search"})
    assert isinstance(found[0], SpanExample) and found[0].answers == (("kaksi", 5),)
    assert [e.id for e in read(folder, cache, {**SPAN, "on_misaligned": "drop"})] == ["b"]


def test_choices_may_be_columns_or_lists_with_letters_as_labels(tmp_path: Path) -> None:
    flat = {"ctx": "Hän", "a0": "nukkuu", "a1": "juoksee", "label": 1}
    options = {"example": "choice", "columns": {"context": "ctx", "choices": ["a0", "a1"], "label": "label"}}
    assert read(write(tmp_path / "a", [flat]), tmp_path / "cache", options) == [
        ChoiceExample("a:train:0", "Hän", "", ("nukkuu", "juoksee"), 1)
    ]
    listed = {"q": "Mikä?", "choices": {"label": ["A", "B"], "text": ["tämä", "tuo"]}, "answerKey": "B"}
    options = {"example": "choice", "columns": {"question": "q", "choices": "choices.text", "label": "answerKey"}}
    assert read(write(tmp_path / "b", [listed]), tmp_path / "cache", options) == [
        ChoiceExample("b:train:0", "", "Mikä?", ("tämä", "tuo"), 1)
    ]


def test_pairs_and_documents_are_read_without_blanks_around_them(tmp_path: Path) -> None:
    pairs = [{"source_sentence": "Hei!\n", "target_sentence": "Hello!\n"}]
    options = {"example": "parallel", "columns": {"text": "source_sentence", "english": "target_sentence"}}
    assert read(write(tmp_path / "pairs", pairs), tmp_path / "cache", options) == [
        ParallelExample("pairs:train:0", "Hei!", "Hello!")
    ]
    folder = write(tmp_path / "docs", [{"text": "Eka."}, {"text": "\n"}])
    options = {"example": "document", "columns": {"text": "text"}}
    assert "blank" in fault("AX012", folder, tmp_path / "cache", options)
    assert read(folder, tmp_path / "cache", {**options, "skip_blank": True}) == [
        DocumentExample("docs:train:0", "Eka.")
    ]


def test_records_of_other_languages_are_left_out(tmp_path: Path) -> None:
    rows = [{"id": f"{lang}-{i}", "text": "x"} for i, lang in enumerate(["finnish", "english", "finnish"])]
    options = {"example": "document", "columns": {"id": "id", "text": "text"}, "only": {"id": "finnish-"}}
    found = read(write(tmp_path / "docs", rows), tmp_path / "cache", options)
    assert [e.id for e in found] == ["finnish-0", "finnish-2"]


def test_files_on_disk_are_read_by_the_same_rules(tmp_path: Path) -> None:
    record = {"id": "a", "question": "?", "context": "yksi", "answers": {"text": ["yksi"], "answer_start": [0]}}
    (tmp_path / "qa.jsonl").write_text(json.dumps(record) + "\n", "utf-8")
    assert readers.read("jsonl", [tmp_path / "qa.jsonl"], SPAN) == [SpanExample("a", "?", "yksi", (("yksi", 0),))]
    (tmp_path / "pairs.tsv").write_text("fi\ten\nHei!\tHello!\n", "utf-8")
    options = {"example": "parallel", "columns": {"text": "fi", "english": "en"}}
    assert readers.read("tsv", [tmp_path / "pairs.tsv"], options) == [ParallelExample("pairs.tsv:0", "Hei!", "Hello!")]
    with pytest.raises(AdaptxError, match="AX010.*jsonl or squad"):
        readers.check("tsv", SPAN)
    with pytest.raises(AdaptxError, match="AX010.*on_misaligned"):
        readers.check("jsonl", {**NLI, "on_misaligned": "drop"})


def tagged(folder: Path) -> Path:
    """A folder whose tags are numbers that the data set itself names."""
    import datasets

    names = datasets.ClassLabel(names=["O", "B-PER", "I-PER"])
    features = datasets.Features({"tokens": datasets.List(datasets.Value("string")), "ner_tags": datasets.List(names)})
    rows = {"tokens": [["Aino", "Ek", "tuli"]], "ner_tags": [[1, 2, 0]]}
    folder.mkdir()
    datasets.Dataset.from_dict(rows, features=features).to_parquet(folder / "train.parquet")
    return folder


def test_numbers_that_the_data_set_names_otherwise_are_refused(tmp_path: Path) -> None:
    folder, cache = tagged(tmp_path / "ner"), tmp_path / "cache"
    options = {"example": "words", "columns": {"words": "tokens", "tags": "ner_tags"}}
    right = {**options, "labels": {"0": "O", "1": "B-PER", "2": "I-PER"}}
    assert read(folder, cache, right) == [WordsExample("ner:train:0", ("Aino", "Ek", "tuli"), ("B-PER", "I-PER", "O"))]
    swapped = {**options, "labels": {"0": "O", "1": "I-PER", "2": "B-PER"}}
    assert "1 is B-PER there and I-PER here" in fault("AX010", folder, cache, swapped)


def test_a_folder_is_known_by_its_content(tmp_path: Path) -> None:
    source = Source(kind="hub", languages=("fi",), licence="CC0-1.0", id=str(tmp_path / "nli"), options=NLI)

    def revision() -> str:
        ((name, found),) = hub.read(source, Part(split="train"), tmp_path / "cache")[1]
        assert name == "nli/train"
        return found

    write(tmp_path / "nli", ROWS)
    first = revision()
    assert revision() == first and len(first) == 64
    write(tmp_path / "nli", ROWS[:2])
    assert revision() != first
    assert len(read(tmp_path / "nli", tmp_path / "cache", NLI)) == 2


def test_faults_of_a_folder_name_what_is_wrong(tmp_path: Path) -> None:
    folder, cache = write(tmp_path / "nli", ROWS), tmp_path / "cache"
    assert "'dev'" in fault("AX014", folder, cache, NLI, "dev").replace('"', "'")
    assert "other" in fault("AX014", folder, cache, NLI, config="other")
    fault("AX011", tmp_path / "nothing", cache, NLI)
    fault("AX010", folder, cache, NLI, "")
    message = fault("AX010", folder, cache, {**NLI, "colums": {}})
    assert "colums" in message and "columns" in message
    assert "no 'text'" in fault("AX012", folder, cache, {"columns": {"text": "text"}})
    (tmp_path / "empty").mkdir()
    fault("AX014", tmp_path / "empty", cache, NLI)
    (folder / "train-00000-of-00001.parquet").write_bytes(b"PAR1 not a table PAR1")
    assert "could not be read" in fault("AX012", folder, cache, NLI)


MAIN, CONVERTED, MOVED = "a" * 40, "b" * 40, "c" * 40
READ = """
import json, sys
from pathlib import Path
from adaptx.data import hub, readers
from adaptx.errors import AdaptxError
from adaptx.registry import Part, Source

for line in sys.stdin:
    cache, split, request = json.loads(line)
    source = Source(kind="hub", languages=("fi",), licence="CC0-1.0", **request)
    try:
        examples, tables = hub.read(source, Part(split=split), Path(cache))
        answer = [[e.text for e in examples], tables]
    except AdaptxError as error:
        answer = [error.code, str(error)]
    print(json.dumps(answer), flush=True)
"""


@dataclass
class Client:
    """A process that reads data sets from the stand-in server."""

    server: dataset_server.Hub
    process: "subprocess.Popen[str]"

    def ask(self, cache: Path, split: str = "train", **request: Any) -> Any:
        """Texts and tables, or code and message."""
        assert self.process.stdin and self.process.stdout
        whole = {"id": "org/nli", "options": NLI, "config": "plain", **request}
        self.process.stdin.write(json.dumps([str(cache), split, whole]) + "\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    """org/nli with a configuration at main and a folder at refs/convert/parquet, and org/script that is a script.

    The process runs beside a folder org/nli, which must not stand in for the Hub's.
    """
    here = tmp_path_factory.mktemp("hub")
    top = here / "served" / "org" / "nli"
    card = {"configs": [{"config_name": "plain", "data_files": [{"split": "train", "path": "plain/train-*"}]}]}
    for commit, rows in ((MAIN, ROWS), (MOVED, ROWS[:2])):
        write(top / commit / "plain", rows)
        (top / commit / "README.md").write_text(f"---\n{json.dumps(card)}\n---\n# nli\n")
    write(top / CONVERTED / "plain" / "train", ROWS[:1])
    script = here / "served" / "org" / "script" / MAIN
    script.mkdir(parents=True)
    (script / "script.py").write_text("raise SystemExit('code of a data set was run')\n")
    write(here / "org" / "nli", [{"premise": "WRONG", "hypothesis": "WRONG", "label": 0}])
    branches = {("org/nli", "main"): MAIN, ("org/nli", "refs/convert/parquet"): CONVERTED, ("org/script", "main"): MAIN}
    environment = {k: v for k, v in os.environ.items() if k != "HF_HUB_OFFLINE"}
    environment |= {"HF_HOME": str(here / "hf"), "PYTHONPATH": os.pathsep.join(sys.path)}
    with (
        dataset_server.serve(here / "served", branches) as server,
        subprocess.Popen(
            [sys.executable, "-c", READ],
            env={**environment, "HF_ENDPOINT": server.url},
            cwd=here,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        ) as process,
    ):
        yield Client(server, process)
        assert process.stdin
        process.stdin.close()


def test_the_hub_gives_records_and_the_commit_they_come_from(client: Client, tmp_path: Path) -> None:
    texts = [r["premise"] for r in ROWS]
    assert client.ask(tmp_path) == [texts, [["org/nli/plain/train", MAIN]]]
    assert client.ask(tmp_path, "train[1:]") == [texts[1:], [["org/nli/plain/train[1:]", MAIN]]]
    assert client.ask(tmp_path, revision=MOVED) == [texts[:2], [["org/nli/plain/train", MOVED]]]


def test_a_folder_of_a_branch_is_read_where_the_repository_is_a_script(client: Client, tmp_path: Path) -> None:
    found = client.ask(tmp_path, config="plain/", revision="refs/convert/parquet")
    assert found == [["Koira nukkuu."], [["org/nli/plain/train", CONVERTED]]]
    code, message = client.ask(tmp_path, id="org/script", config=None)
    assert code == "AX014" and "refs/convert/parquet" in message


def test_what_was_read_once_is_read_again_without_the_hub(client: Client, tmp_path: Path) -> None:
    first = client.ask(tmp_path)
    client.server.asked.clear()
    assert client.ask(tmp_path) == first
    assert client.server.asked == ["/api/datasets/org/nli"]  # which commit main is at, and nothing else
    client.server.failing = True
    try:
        assert client.ask(tmp_path) == client.ask(tmp_path, revision=MAIN) == first
    finally:
        client.server.failing = False


def test_a_branch_that_moved_gives_the_new_rows_and_a_pinned_commit_the_old_ones(
    client: Client, tmp_path: Path
) -> None:
    first = client.ask(tmp_path)
    client.server.branches["org/nli", "main"] = MOVED
    try:
        assert client.ask(tmp_path) == [["Koira nukkuu."] * 2, [["org/nli/plain/train", MOVED]]]
        assert client.ask(tmp_path, revision=MAIN) == first
    finally:
        client.server.branches["org/nli", "main"] = MAIN


@pytest.mark.parametrize(
    ("split", "request_"),
    [
        ("train", {"id": "org/nothing"}),
        ("dev", {}),
        ("train", {"config": "other"}),
        ("train", {"config": "other/"}),
        ("train", {"revision": "nobranch"}),
        ("train", {"revision": "d" * 40}),
        ("train", {"id": "not an id"}),
    ],
    ids=["id", "split", "config", "folder", "branch", "commit", "no id at all"],
)
def test_what_the_hub_does_not_have_is_no_network_fault(
    client: Client, tmp_path: Path, split: str, request_: dict[str, str]
) -> None:
    code, message = client.ask(tmp_path, split, **request_)
    assert code == "AX014" and request_.get("id", "org/nli") in message and "--registry" in message


def test_a_hub_that_fails_is_a_network_fault(client: Client, tmp_path: Path) -> None:
    client.server.failing = True
    try:
        code, message = client.ask(tmp_path)
    finally:
        client.server.failing = False
    assert code == "AX060" and "org/nli" in message and "HF_ENDPOINT" in message


def test_a_process_that_may_not_use_the_network_says_so(tmp_path: Path) -> None:
    for revision in (None, MAIN):
        whole = Source(kind="hub", languages=("fi",), licence="CC0-1.0", id="org/nli", options=NLI, revision=revision)
        with pytest.raises(AdaptxError) as raised:
            hub.read(whole, Part(split="train"), tmp_path)
        assert raised.value.code == "AX060" and "HF_HUB_OFFLINE" in str(raised.value)
