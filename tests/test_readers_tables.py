"""Readers of tables (TSV, CSV, JSONL) and of SQuAD's JSON: maps read right, every fault names its place."""

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from adaptx.data.examples import ChoiceExample, SpanExample, TextExample, WordsExample
from adaptx.data.readers import read
from adaptx.errors import AdaptxError

Put = Callable[..., Path]
NLI = {"text": "premise", "pair": "hypo", "label": "label"}
PARIS = "Paris is the capital of France. Paris is old."


@pytest.fixture
def put(tmp_path: Path) -> Put:
    """Writes text, bytes, or an object as JSON to a file, gzipped where the name says so."""

    def write(content: Any, name: str = "data.txt") -> Path:
        text = content if isinstance(content, str | bytes) else json.dumps(content)
        raw = text.encode() if isinstance(text, str) else text
        path = tmp_path / name
        path.write_bytes(gzip.compress(raw) if name.endswith(".gz") else raw)
        return path

    return write


def fault(format: str, path: Path, **options: object) -> AdaptxError:
    """The one error that reading raises."""
    with pytest.raises(AdaptxError) as caught:
        read(format, [path], options)
    return caught.value


def test_tables_map_columns_and_labels(put: Put) -> None:
    rows, by_index = "x\t1\tp\nq\t-1\tr\n", {"text": 0, "pair": 2, "label": 1}
    options = {"columns": by_index, "header": False, "labels": {1: "yes"}, "drop_labels": [-1]}
    assert read("tsv", [put(rows)], options) == [TextExample("data.txt:0", "x", "p", "yes")]
    assert "found '-1'" in fault("tsv", put(rows), columns=by_index, header=False, labels={1: "yes"}).why


def test_rows_left_out_do_not_renumber_the_others(put: Put) -> None:
    path = put("t\tl\na\tx\n \tx\nb\tx\n")
    columns = {"text": "t", "label": "l"}
    assert [e.id for e in read("tsv", [path], {"columns": columns, "skip_blank": True})] == ["data.txt:0", "data.txt:2"]
    assert fault("tsv", path, columns=columns).given == f"{path}:3"


def test_quotes_are_text_in_tsv_and_quotes_in_csv_unless_told(put: Put) -> None:
    def texts(format: str, content: str, **options: object) -> list[str]:
        found = read(format, [put(content)], {"columns": {"text": 0}, "header": False, **options})
        return [e.text for e in found if isinstance(e, TextExample)]

    assert texts("tsv", '"a ""b"""\tx\n') == ['"a ""b"""']
    assert texts("tsv", '"a ""b"""\tx\n', quoting=True) == ['a "b"']
    assert texts("csv", '"a,\n\nb",x\nc,y\n') == ["a,\n\nb", "c"]
    assert texts("csv", '"a,b"\n', quoting=False) == ['"a']
    assert "RFC 4180" in fault("csv", put('a\n"b" c\n'), columns={"text": "a"}).why
    assert fault("csv", put('a\nb\n"c\nd'), columns={"text": "a"}).given.endswith(":3")


def test_a_threshold_grades_numeric_labels(put: Put) -> None:
    options: dict[str, Any] = {"columns": {"text": "t", "label": "l"}, "threshold": 4}
    found = read("tsv", [put("t\tl\na\t3.9\nb\t4.000\n")], options)
    assert [e.label for e in found if isinstance(e, TextExample)] == ["0", "1"]
    assert "expected a number" in fault("tsv", put("t\tl\na\thigh\n"), **options).why


def test_undecodable_bytes_are_replaced_only_when_asked(put: Put) -> None:
    path = put(b"t\na\xe2\x80b\n")
    assert fault("tsv", path, columns={"text": "t"}).given == f"{path}:2"
    (row,) = read("tsv", [path], {"columns": {"text": "t"}, "undecodable": "replace"})
    assert isinstance(row, TextExample) and row.text == "a\ufffdb"


@pytest.mark.parametrize(
    ("format", "content", "line", "expected"),
    [
        ("tsv", "premise\thypo\tlabel\na\tb\n", 2, "expected 3 columns as in the first line, found 2"),
        ("tsv", "premise\thypo\n", 1, "'label'"),
        ("tsv", "premise\thypo\tlabel\tlabel\n", 1, "twice"),
        ("tsv", "premise\thypo\tlabel\n\na\tb\tc\n", 2, "empty line"),
        ("csv", "premise,hypo,label\na,,c\n", 2, "blank"),
        ("csv", 'premise,hypo,label\n"a\nb",b,c\na,,c\n', 4, "blank"),
        ("csv", "premise,hypo,label\na,b,\n", 2, "a label, found a blank"),
        ("jsonl", '{"premise": "a", "label": "b"}\n', 1, "no 'hypo'"),
        ("jsonl", '{"premise": "a", "hypo": 3, "label": 1}\n', 1, "found a number"),
        ("jsonl", '{"premise": "a", "hypo": "b", "label": []}\n', 1, "found a list"),
        ("jsonl", "{}\n{", 1, "no 'label'"),
        ("jsonl", '{"premise": "a", "hypo": "b", "label": 0}\n{\n', 2, "expected JSON"),
        ("jsonl", "[]\n", 1, "JSON object"),
    ],
)
def test_malformed_tables_name_the_line(put: Put, format: str, content: str, line: int, expected: str) -> None:
    path = put(content)
    error = fault(format, path, columns=NLI)
    assert (error.code, error.given) == ("AX012", f"{path}:{line}") and expected in error.why


CHOICES: dict[str, Any] = {"context": "c", "choices": ["x", "y"], "label": "l"}


@pytest.mark.parametrize(("label", "index"), [("0", 0), ("1", 1), ("A", 0), ("B", 1)])
def test_choice_labels_are_indices_or_letters(put: Put, label: str, index: int) -> None:
    path = put(f"c,x,y,l\nit,is,was,{label}\n")
    expected = ChoiceExample("data.txt:0", "it", "", ("is", "was"), index)
    assert read("csv", [path], {"example": "choice", "columns": CHOICES}) == [expected]


@pytest.mark.parametrize("label", ["2", "C", "-1", "x"])
def test_choice_labels_that_point_nowhere_are_errors(put: Put, label: str) -> None:
    error = fault("csv", put(f"c,x,y,l\nit,is,was,{label}\n"), example="choice", columns=CHOICES)
    assert error.code == "AX012" and f"found '{label}'" in error.why


def test_choices_in_json_are_texts_or_objects_with_labels_of_their_own(put: Put) -> None:
    paths = {"context": "q.stem", "choices": "q.ends", "label": "key"}
    plain = put(json.dumps({"q": {"stem": "s", "ends": ["a", "b"]}, "key": 1}))
    assert read("jsonl", [plain], {"example": "choice", "columns": paths}) == [
        ChoiceExample("data.txt:0", "s", "", ("a", "b"), 1)
    ]
    ends = [{"label": "P", "text": "a"}, {"label": "A", "text": "b"}]
    named = put(json.dumps({"q": {"stem": "s", "ends": ends}, "key": "A"}), "named.jsonl")
    keys = paths | {"choice_text": "text", "choice_label": "label"}
    (example,) = read("jsonl", [named], {"example": "choice", "columns": keys})
    assert isinstance(example, ChoiceExample) and (example.choices, example.label) == (("a", "b"), 1)
    assert "list of texts" in fault("jsonl", named, example="choice", columns=paths).why
    assert "list of objects" in fault("jsonl", plain, example="choice", columns=keys).why


def test_questions_are_kept_or_mapped(put: Put) -> None:
    path = put({"p": "It rained.", "q": "cause", "x": "a", "y": "b", "l": 0})
    columns = {"context": "p", "question": "q", "choices": ["x", "y"], "label": "l"}
    for mapping, question in ((None, "cause"), ({"cause": "Why?"}, "Why?")):
        (example,) = read("jsonl", [path], {"example": "choice", "columns": columns, "question_map": mapping})
        assert isinstance(example, ChoiceExample) and example.question == question
    assert (
        "found 'cause'" in fault("jsonl", path, example="choice", columns=columns, question_map={"effect": "So?"}).why
    )


def test_tables_hold_tagged_words_too(put: Put) -> None:
    options: dict[str, Any] = {"example": "words", "columns": {"words": "w", "tags": "t"}, "labels": {0: "O", 1: "B-X"}}
    found = [WordsExample("data.txt:0", ("a", "b"), ("O", "B-X"))]
    assert read("jsonl", [put({"w": ["a", "b"], "t": [0, 1]})], options) == found
    assert read("tsv", [put("w\tt\na b\t0 1\n")], options) == found
    assert "expected 2 tags" in fault("tsv", put("w\tt\na b\t0\n"), **options).why


def nested(*qas: dict[str, object], context: str = PARIS) -> dict[str, object]:
    return {"data": [{"paragraphs": [{"context": context, "qas": [qa]}]} for qa in qas]}


def question(*answers: tuple[str, int], id: str = "q", **more: object) -> dict[str, object]:
    return {"id": id, "question": "?", "answers": [{"text": t, "answer_start": s} for t, s in answers], **more}


def test_nested_and_flat_squad_read_alike_and_repeated_answers_once(put: Put) -> None:
    answers = [("Paris", 0), ("capital", 13), ("Paris", 0), ("Paris", 32)]
    expected = [SpanExample("q", "?", PARIS, (("Paris", 0), ("capital", 13), ("Paris", 32)))]
    flat = {"text": [t for t, _ in answers], "answer_start": [s for _, s in answers]}
    path = put({"data": [{"id": "q", "question": "?", "context": PARIS, "answers": flat}]}, "flat.json.gz")
    assert read("squad", [path], {}) == read("squad", [put(nested(question(*answers)))], {}) == expected
    assert fault("squad", path, articles=[0, 1]).code == "AX010"


def test_misaligned_answers_are_errors_searched_or_dropped(put: Put) -> None:
    def spans(path: Path, mode: str) -> list[object]:
        return [e.answers for e in read("squad", [path], {"on_misaligned": mode}) if isinstance(e, SpanExample)]

    path = put(nested(question(("Paris", 25), ("old", 41)), question(("Paris", 3), id="r")))
    error = fault("squad", path)
    assert error.code == "AX012" and error.given == f"{path}:data[0].paragraphs[0].qas[0]" and "'rance'" in error.why
    assert spans(path, "search") == [(("Paris", 32), ("old", 41)), (("Paris", 0),)]
    assert spans(path, "drop") == [(("old", 41),)]  # r would turn unanswerable: it goes
    nowhere = put(nested(question(("Rome", 0))))
    assert "elsewhere" in fault("squad", nowhere, on_misaligned="search").why
    assert fault("squad", nowhere, on_misaligned="drop").code == "AX016"


def test_unanswerable_questions_stay_unless_told_and_articles_are_a_range(put: Put) -> None:
    path = put(nested(question(id="a", is_impossible=True), question(("old", 41), id="b", is_impossible=False)))
    assert [e.id for e in read("squad", [path], {})] == ["a", "b"]
    assert [e.id for e in read("squad", [path], {"answerable_only": True})] == ["b"]
    assert [e.id for e in read("squad", [path], {"articles": [0, 1]})] == ["a"]
    assert fault("squad", path, articles=[2, 4]).code == "AX016"


@pytest.mark.parametrize(
    ("content", "place", "expected"),
    [
        ("{\n oops", "2", "expected JSON"),
        ("[]", "1", "JSON object"),
        ({"date": []}, "", "a list under 'data'"),
        (nested({"id": "q", "question": "?"}), "data[0].paragraphs[0].qas[0]", "a list under 'answers'"),
        (nested(question(id=" ")), "data[0].paragraphs[0].qas[0]", "a blank"),
        (nested(question(), context=""), "data[0].paragraphs[0]", "a blank"),
        (nested(question(is_impossible=False)), "data[0].paragraphs[0].qas[0]", "without answers"),
        (nested(question(("old", 41), is_impossible=True)), "data[0].paragraphs[0].qas[0]", "with answers"),
        (nested(question(("old", True))), "data[0].paragraphs[0].qas[0].answers[0]", "a whole number"),
        (
            {"data": [question() | {"context": PARIS, "answers": {"text": ["a"], "answer_start": []}}]},
            "data[0].answers",
            "1 and 0",
        ),
    ],
)
def test_malformed_squad_names_the_place(put: Put, content: object, place: str, expected: str) -> None:
    path = put(content)
    error = fault("squad", path)
    assert (error.code, error.given) == ("AX012", f"{path}:{place}") and expected in error.why
