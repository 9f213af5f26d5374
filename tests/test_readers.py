"""File readers: what holds for every format (gzip, CRLF, BOM, options, ids), and CoNLL-U, columns and plain text."""

import gzip
from collections.abc import Callable
from pathlib import Path

import pytest

from adaptx.data.examples import DocumentExample, ParallelExample, WordsExample
from adaptx.data.readers import READERS, check, read
from adaptx.errors import AdaptxError

Put = Callable[..., Path]
NLI = {"text": "premise", "pair": "hypo", "label": "label"}


@pytest.fixture
def put(tmp_path: Path) -> Put:
    """Writes text or bytes to a file, gzipped where the name says so."""

    def write(content: str | bytes, name: str = "data.txt") -> Path:
        raw = content.encode() if isinstance(content, str) else content
        path = tmp_path / name
        path.write_bytes(gzip.compress(raw) if name.endswith(".gz") else raw)
        return path

    return write


def fault(format: str, paths: Path | list[Path], **options: object) -> AdaptxError:
    """The one error that reading raises."""
    with pytest.raises(AdaptxError) as caught:
        read(format, paths if isinstance(paths, list) else [paths], options)
    return caught.value


def conllu(*rows: str) -> str:
    """CoNLL-U lines from "id form upos head" or "id form upos head deps"; other columns are _."""
    lines = []
    for row in rows:
        number, form, upos, head, *deps = row.split()
        lines.append(
            "\t".join([number, form, "_", upos, upos.lower(), "_", head, "dep", deps[0] if deps else "_", "_"])
        )
    return "\n".join(lines) + "\n"


DOG = "# sent_id = s1\n# text = dogs bark\n" + conllu("1 dogs NOUN 2", "2 bark VERB 0")
SAMPLES: list[tuple[str, dict[str, object], str]] = [
    ("conllu", {}, DOG + "\n" + DOG.replace("s1", "s2")),
    ("columns", {}, "Anna\tB-PER\nsings\tO\n\nBo\tB-PER\n"),
    ("tsv", {"columns": NLI}, "premise\thypo\tlabel\na\tb\tc\n"),
    ("csv", {"columns": NLI}, 'premise,hypo,label\n"a, b",b,c\n'),
    ("jsonl", {"columns": NLI}, '{"premise": "a", "hypo": "b", "label": 1}\n'),
    ("text", {}, "one\ntwo\n"),
    ("conllu_text", {}, DOG),
]


@pytest.mark.parametrize(("format", "options", "content"), SAMPLES)
def test_gzip_crlf_bom_and_a_missing_last_newline_change_nothing(
    put: Put, format: str, options: dict[str, object], content: str
) -> None:
    plain = read(format, [put(content)], options)
    assert plain and plain == read(format, [put(content, "data.txt.gz")], options)
    variants = [content.replace("\n", "\r\n"), "\ufeff" + content, content.rstrip("\n")]
    assert all(read(format, [put(variant)], options) == plain for variant in variants)


@pytest.mark.parametrize(("format", "options", "content"), SAMPLES)
def test_bytes_that_are_not_utf8_are_named_with_file_and_line(
    put: Put, format: str, options: dict[str, object], content: str
) -> None:
    first, rest = content.encode().split(b"\n", 1)
    path = put(first + b"\n\xff" + rest)
    error = fault(format, path, **options)
    assert (error.code, error.given) == ("AX012", f"{path}:2") and "ff" in error.why


@pytest.mark.parametrize("name", ["gone.txt", "gone.txt.gz", "."])
def test_a_file_that_is_not_there_is_ax011(tmp_path: Path, name: str) -> None:
    assert fault("text", tmp_path / name).code == "AX011"


def test_a_damaged_gzip_file_is_one_error(put: Put) -> None:
    whole = put("one\ntwo\n" * 500, "a.txt.gz")
    whole.write_bytes(whole.read_bytes()[:-12])
    plain = put("one\n", "plain.txt").rename(whole.with_name("b.txt.gz"))
    assert {fault("text", path).code for path in (whole, plain)} == {"AX012"}


@pytest.mark.parametrize(("format", "options", "content"), SAMPLES)
def test_a_file_without_examples_is_ax016(put: Put, format: str, options: dict[str, object], content: str) -> None:
    full, empty = put(content), put("", "empty.txt")
    error = fault(format, [full, empty], **options)
    assert (error.code, error.given) == ("AX016", str(empty))


def test_separators_other_than_line_feeds_stay_inside_the_line(put: Put) -> None:
    text = "a\u2028b\x0cc\x85d"
    assert read("text", [put(text + "\n")], {}) == [DocumentExample("data.txt:0", text)]


def test_an_unknown_format_lists_near_misses() -> None:
    with pytest.raises(AdaptxError, match="conllu") as caught:
        check("conlu", {})
    assert caught.value.code == "AX010"


def test_all_faulty_options_are_named_at_once_with_the_known_ones(put: Put) -> None:
    error = fault("tsv", put("a\tb\n"), colums={}, header="yes", threshold=True)
    assert error.code == "AX010" and all(
        f"'{name}'" in error.why for name in ("colums", "header", "threshold", "columns")
    )
    assert "did you mean columns" in error.why and "drop_labels" in error.fix


@pytest.mark.parametrize(
    ("format", "options"),
    [
        ("conllu", {"column": "lemma"}),
        ("conllu", {"precedence": ["VERB", "NOMEN"]}),
        ("conllu", {"precedence": "VERB"}),
        ("conllu_text", {"sentences": 0}),
        ("columns", {"repair": True, "scheme": "none"}),
        ("columns", {"tag": 1.5}),
        ("tsv", {"columns": {"text": "a", "question": "b"}}),
        ("tsv", {"columns": {"text": "a"}, "header": False}),
        ("tsv", {"columns": {"text": "a"}, "labels": {"a": "b"}}),
        ("tsv", {"columns": {"choices": "a", "context": "b"}, "example": "choice"}),
        ("csv", {"columns": {"choices": ["a", "b"]}, "example": "choice"}),
        ("csv", {"columns": {"text": ["a"]}}),
        ("jsonl", {"columns": {"text": 0}}),
        ("squad", {"articles": [3, 3]}),
        ("text", {"column": 1, "unit": "paragraph"}),
    ],
)
def test_options_that_do_not_fit_are_ax010_before_any_file_is_read(format: str, options: dict[str, object]) -> None:
    with pytest.raises(AdaptxError) as caught:
        check(format, options)
    assert caught.value.code == "AX010"


@pytest.mark.parametrize(("format", "options", "content"), SAMPLES)
def test_options_that_fit_pass_the_check(format: str, options: dict[str, object], content: str) -> None:
    check(format, options)
    assert format in READERS


def test_ids_are_unique_across_files_and_within_one(put: Put) -> None:
    files = [put("one\ntwo\n", "a.txt"), put("one\n", "b.txt.gz")]
    assert [e.id for e in read("text", files, {})] == ["a.txt:0", "a.txt:1", "b.txt:0"]
    ids = {"columns": {"text": "t", "id": "i"}}
    path = put("t\ti\nx\t7\ny\t7\nz\t7#2\nw\t7\n")
    assert [e.id for e in read("tsv", [path], ids)] == ["7", "7#3", "7#2", "7#4"]
    assert [e.id for e in read("tsv", [path, path], ids)][:2] == ["data.txt:7", "data.txt:7#3"]


def test_conllu_reads_the_column_asked_for_and_the_sentence_id(put: Put) -> None:
    path = put(DOG)
    assert read("conllu", [path], {}) == [WordsExample("s1", ("dogs", "bark"), ("NOUN", "VERB"))]
    assert read("conllu", [path], {"column": "xpos"}) == [WordsExample("s1", ("dogs", "bark"), ("noun", "verb"))]
    assert read("conllu", [put(conllu("1 a DET 0"))], {})[0].id == "data.txt:0"


ETTEI = conllu("1 sano VERB 0", "2-3 ettei _ _", "2 että SCONJ 4", "3 ei AUX 4", "3.1 _ VERB _", "4 tule VERB 1")


@pytest.mark.parametrize(
    ("options", "words", "tags"),
    [
        ({}, "sano ettei tule", "VERB AUX VERB"),
        ({"precedence": ["SCONJ", "AUX"]}, "sano ettei tule", "VERB SCONJ VERB"),
        ({"precedence": ["VERB"]}, "sano ettei tule", "VERB SCONJ VERB"),
        ({"multiword": "split"}, "sano että ei tule", "VERB SCONJ AUX VERB"),
    ],
)
def test_a_multiword_token_is_one_word_with_the_strongest_tag(
    put: Put, options: dict[str, object], words: str, tags: str
) -> None:
    (sentence,) = read("conllu", [put(ETTEI)], options)
    assert isinstance(sentence, WordsExample)
    assert (" ".join(sentence.words), " ".join(sentence.tags or ())) == (words, tags)


@pytest.mark.parametrize(
    ("lines", "tag"),
    [
        (("1-2 vater's _ _", "1 vater PROPN 0", "2 s VERB 1"), "PROPN"),  # VERB is stronger, but hangs from PROPN
        (("1-2 vater's _ _", "1 vater PROPN 2", "2 s VERB 0"), "VERB"),
        (("1-2 x _ _", "1 a AUX 3", "2 b ADJ 3", "3 c VERB 0"), "ADJ"),
        (("1-2 x _ _", "1 a AUX 3", "2 b ADJ 3 3:dep|4:dep", "3 c VERB 0", "4 d NOUN 3"), "AUX"),  # DEPS count too
        (("1-2 x _ _", "1 a AUX _", "2 b ADJ _"), "ADJ"),
    ],
)
def test_the_sub_token_nearest_to_the_root_names_the_fused_word(put: Put, lines: tuple[str, ...], tag: str) -> None:
    (sentence,) = read("conllu", [put(conllu(*lines))], {})
    assert isinstance(sentence, WordsExample) and sentence.tags and sentence.tags[0] == tag


def test_spaces_inside_forms_go_unless_kept(put: Put) -> None:
    path = put(conllu("1 100_000 NUM 0", "2 _ PUNCT 1").replace("100_000", "100 000"))
    forms = [read("conllu", [path], {"join_spaces": join})[0] for join in (True, False)]
    assert [e.words for e in forms if isinstance(e, WordsExample)] == [("100000", "_"), ("100 000", "_")]


@pytest.mark.parametrize(
    ("content", "line", "expected"),
    [
        (DOG + "3\tnow\n", 5, "expected 10 tab-separated columns, found 2"),
        (conllu("1 a DET 0", "3 b NOUN 1"), 2, "word id 2"),
        (conllu("1 a DET 0", "1 b NOUN 1"), 2, "word id 2"),
        (conllu("x a DET 0"), 1, "expected an id"),
        (conllu("1 a DET 0", "2-3 bc _ _", "2 b NOUN 1"), 1, "words up to 3"),
        (conllu("1-2 ab _ _", "1 a DET 0", "2-3 bc _ _", "2 b DET 1", "3 c DET 1"), 3, "range that starts at 3"),
        (conllu("2-3 ab _ _", "1 a DET 0"), 1, "range that starts at 1"),
        (conllu("1 a DET 0", "2 b NOMEN 1"), 2, "'NOMEN'"),
        (conllu("1 a _ 0"), 1, "UPOS"),
        (conllu("1 a DET 0").replace("\ta\t", "\t\t"), 1, "column 2 empty"),
        (conllu("1 a DET 0", "2 b NOUN 1").replace("\tb\t", "\t \t"), 2, "column 2 empty"),
        (conllu("1-2 ab _ _") + "\n" + DOG, 1, "words up to 2"),
        (conllu("1 _ DET 0", "2 _ NOUN 1"), 1, "without its text"),
    ],
)
def test_malformed_conllu_names_the_line(put: Put, content: str, line: int, expected: str) -> None:
    path = put(content)
    error = fault("conllu", path)
    assert (error.code, error.given) == ("AX012", f"{path}:{line}") and expected in error.why


def test_a_missing_upos_is_no_fault_where_another_column_is_read(put: Put) -> None:
    assert read("conllu", [put(conllu("1 a _ 0"))], {"column": "deprel"})[0] == WordsExample(
        "data.txt:0", ("a",), ("dep",)
    )


def test_conllu_text_joins_sentences_up_to_the_number_or_a_new_document(put: Put) -> None:
    bodies = [f"# text = t{i}\n" + conllu("1 a DET 0") for i in range(5)]
    bodies[1] = "# newdoc id = x\n" + bodies[1]
    texts = [
        e.text
        for e in read("conllu_text", [put("\n".join(bodies))], {"sentences": 3})
        if isinstance(e, DocumentExample)
    ]
    assert texts == ["t0", "t1 t2 t3", "t4"]
    assert "# text" in fault("conllu_text", put(conllu("1 a DET 0"))).why


def words(put: Put, content: str, **options: object) -> list[tuple[str, str]]:
    found = read("columns", [put(content)], options)
    return [(" ".join(e.words), " ".join(e.tags or ())) for e in found if isinstance(e, WordsExample)]


def test_columns_reads_other_layouts(put: Put) -> None:
    assert words(put, "1 Anna NNP B-PER\n2  sings VB O\n", word=1, separator="space") == [("Anna sings", "B-PER O")]
    assert words(put, "fi:a:b\tO\n", strip_prefix=True) == [("a:b", "O")]
    assert words(put, "a\tB-PRO\nb\tI-PRO\n", tag_map={"B-PRO": "O", "I-PRO": "O"}) == [("a b", "O O")]
    assert words(put, "a\ts/np\tx\n", tag=1, scheme="none") == [("a", "s/np")]


def test_docstart_sentences_are_left_out_unless_kept(put: Put) -> None:
    content = "-DOCSTART-\tO\n\na\tO\n"
    assert words(put, content) == [("a", "O")]
    assert words(put, content, skip_docstart=False) == [("-DOCSTART-", "O"), ("a", "O")]


def test_comment_lines_are_skipped_but_hash_words_are_kept(put: Put) -> None:
    content = "### made by\n# sent_id = s7\n# tok:gold\ttok:gold\n#\tO\n#tag\tO\n"
    (sentence,) = read("columns", [put(content)], {"comments": "#"})
    assert sentence == WordsExample("s7", ("#", "#tag"), ("O", "O"))
    assert fault("columns", put(content)).code == "AX012"


def test_a_stray_inside_tag_is_an_error_or_repaired(put: Put) -> None:
    content = "a\tI-PER\nb\tI-PER\nc\tI-ORG\n"
    assert fault("columns", put(content)).given.endswith(":1")
    assert words(put, content, repair=True) == [("a b c", "B-PER I-PER B-ORG")]
    assert words(put, "a\tB-PER\nb\tI-PER\n", repair=True) == [("a b", "B-PER I-PER")]


@pytest.mark.parametrize(
    ("content", "options", "line", "expected"),
    [
        ("a\tO\nb\n", {}, 2, "expected 2 tab-separated columns, found 1"),
        ("a\tO\nb\tx\tO\n", {}, 2, "expected 2 tab-separated columns, found 3"),
        ("a\tO\n\nb\tx\tO\n", {}, 3, "expected 2 tab-separated columns, found 3"),
        ("a O\n", {}, 1, "at least 2"),
        ("a\tO\n", {"tag": 4}, 1, "at least 5"),
        ("a\tO\n\tO\n", {}, 2, "empty word"),
        ("a\t\n", {}, 1, "empty tag"),
        ("a\tPER\n", {}, 1, "'PER'"),
        ("Helsinki\tO\n", {"strip_prefix": True}, 1, "language prefix"),
    ],
)
def test_malformed_columns_name_the_line(
    put: Put, content: str, options: dict[str, object], line: int, expected: str
) -> None:
    path = put(content)
    error = fault("columns", path, **options)
    assert (error.code, error.given) == ("AX012", f"{path}:{line}") and expected in error.why


def test_text_reads_lines_columns_or_paragraphs(put: Put) -> None:
    path = put("A\tone\nB\ttwo\n\nC\t \nD\tfour\n")

    def texts(**options: object) -> list[str]:
        return [e.text for e in read("text", [path], options) if isinstance(e, DocumentExample)]

    assert texts() == ["A\tone", "B\ttwo", "C\t ", "D\tfour"]
    assert texts(column=1) == ["one", "two", "four"]
    assert texts(unit="paragraph") == ["A\tone B\ttwo", "C\t  D\tfour"]
    error = fault("text", path, column=2)
    assert error.given == f"{path}:1" and "at least 3" in error.why


def test_aligned_pairs_line_by_line_and_names_both_counts_where_they_differ(put: Put) -> None:
    finnish, english = put("yksi\nkaksi\n", "x.fi"), put("one\r\ntwo\r\n\r\n", "x.en.gz")
    assert read("aligned", [finnish, english], {})[1] == ParallelExample("x.fi:1", "kaksi", "two")
    error = fault("aligned", [finnish, put("one\n", "y.en")])
    assert error.code == "AX012" and "1; found 2" in error.why and "y.en" in error.why
    assert fault("aligned", [finnish, put("one\n \n", "z.en")]).given.endswith("z.en:2")
    assert fault("aligned", [finnish]).code == "AX010"
