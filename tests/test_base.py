"""The bottom layer: errors with codes, references, writes that are whole or absent, numbers with units."""

import ast
import os
import pickle
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import toy
from adaptx import atomic, units
from adaptx.errors import CODES, AdaptxError, unknown_name
from adaptx.refs import Ref, parse_ref, parse_refs

SOURCES = sorted((toy.TESTS.parent / "src" / "adaptx").rglob("*.py"))


def test_codes_are_well_formed_and_say_three_different_things() -> None:
    assert all(re.fullmatch(r"AX[0-9]{3}", code) for code in CODES)
    titles = [c.title for c in CODES.values()]
    assert len(set(titles)) == len(titles)
    for code in CODES.values():
        assert code.title == code.title.rstrip(".")
        assert code.cause.endswith(".")
        assert code.cure.endswith((".", "`"))
        assert len({code.title, code.cause, code.cure}) == 3


def codes_in(file: Path) -> set[str]:
    """The codes that a module names in its code, docstrings excepted."""
    tree = ast.parse(file.read_text("utf-8"))
    docs = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef)
        and node.body
        and isinstance(node.body[0], ast.Expr)
    }
    texts = [n.value for n in ast.walk(tree) if isinstance(n, ast.Constant) and id(n) not in docs]
    return {t for t in texts if isinstance(t, str) and re.fullmatch(r"AX[0-9]{3}", t)}


def test_every_code_that_is_raised_is_in_the_table() -> None:
    raised = {code: file.name for file in SOURCES if file.name != "errors.py" for code in codes_in(file)}
    assert {code: file for code, file in raised.items() if code not in CODES} == {}
    assert len(raised) > 20


def test_every_code_in_the_table_is_raised_somewhere() -> None:
    raised = {code for file in SOURCES if file.name != "errors.py" for code in codes_in(file)}
    assert set(CODES) - raised == set()


def test_an_error_says_its_code_what_was_given_why_and_what_to_do() -> None:
    error = AdaptxError("AX011", Path("a/b"), "it is not there.")
    assert str(error) == f"AX011 no such file: a/b: it is not there. {CODES['AX011'].cure}"
    assert error.title == "no such file"
    assert AdaptxError("AX011", "x", "y.", "Do that.").fix == "Do that."
    assert "Do that." in str(AdaptxError("AX011", "x", "y.", "Do that."))
    with pytest.raises(KeyError):
        AdaptxError("AX000", "x", "no such code")


def test_an_error_survives_the_way_between_processes() -> None:
    error = AdaptxError("AX012", "file:3", "expected 10 columns.", "Fix line 3.")
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is AdaptxError
    assert (again.code, again.given, again.why, again.fix) == (error.code, error.given, error.why, error.fix)
    assert str(again) == str(error)


def test_unknown_names_get_near_misses_or_the_whole_list() -> None:
    near = unknown_name("AX003", "pfeifer", ["lora", "pfeiffer", "full"])
    assert (near.code, near.given) == ("AX003", "pfeifer")
    assert "Did you mean pfeiffer?" in near.why
    assert "lora" not in near.why
    assert "Known: full, lora, pfeiffer." in unknown_name("AX003", "xyz", ["lora", "pfeiffer", "full"]).why
    assert unknown_name("AX003", "squad", ["squad_v1", "squad_v2"]).why.count(" or ") == 1


GOOD = {
    "sv/anli": Ref("sv", "anli"),
    "sv/anli:lora": Ref("sv", "anli", "lora"),
    "sv/anli:lora@3fa9c1": Ref("sv", "anli", "lora", "3fa9c1"),
    "sv/anli@3fa9": Ref("sv", "anli", None, "3fa9"),
    "krl/squad_v1@" + "0" * 64: Ref("krl", "squad_v1", None, "0" * 64),
    "en/anli+mnli:pfeiffer": Ref("en", "anli+mnli", "pfeiffer"),
    "en+sv/mlm": Ref("en+sv", "mlm"),
    "fi/mlm-2_b": Ref("fi", "mlm-2_b"),
}
BAD = [
    *("", "sv", "sv/", "/anli", "sv/anli:", "sv/anli@", "sv/anli@3f", "sv/anli@xyz1", "sv/anli@" + "0" * 65),
    *("SV/anli", "sv/Anli", "s/anli", "swed/anli", "sv/anli/x", "../../etc/passwd", "sv/../x", "sv/anli:lo ra"),
    *("sv/-anli", "sv/anli ", " sv/anli", "sv/anli\n", "sv\\anli", "sv/anli@3FA9C1", "sv/" + "a" * 65, "sv/änli"),
    *("sv/anli:lora:full", "sv/anli@3fa9:lora", "sv/anli+", "+sv/anli", "sv/anli++mnli"),
]


@pytest.mark.parametrize(("text", "ref"), GOOD.items(), ids=[t[:40] for t in GOOD])
def test_a_reference_is_read_and_written_the_same(text: str, ref: Ref) -> None:
    assert parse_ref(text) == ref
    assert str(ref) == text


@pytest.mark.parametrize("text", BAD)
def test_what_is_no_reference_is_refused(text: str) -> None:
    with pytest.raises(AdaptxError) as caught:
        parse_ref(text)
    assert (caught.value.code, caught.value.given) == ("AX005", text)


def test_lists_of_references_keep_their_order() -> None:
    assert parse_refs("sv/anli, fi/mlm:lora,en/udpos") == (
        Ref("sv", "anli"),
        Ref("fi", "mlm", "lora"),
        Ref("en", "udpos"),
    )
    for text in ("", "sv/anli,", ",sv/anli", "sv/anli;fi/mlm"):
        with pytest.raises(AdaptxError) as caught:
            parse_refs(text)
        assert caught.value.code == "AX005"


def test_a_file_is_replaced_whole_and_readable(tmp_path: Path) -> None:
    path = tmp_path / "new" / "folder" / "file.json"
    atomic.write_json(path, {"b": 1, "a": "ä"})
    assert path.read_text("utf-8") == '{\n  "b": 1,\n  "a": "ä"\n}\n'
    assert path.stat().st_mode & 0o777 == 0o644
    atomic.write_bytes(path, b"second")
    assert path.read_bytes() == b"second"
    assert os.listdir(path.parent) == ["file.json"], "nothing temporary is left"


def test_a_write_that_fails_leaves_the_old_content_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file"
    atomic.write_bytes(path, b"old")

    def fail(*_: object) -> None:
        raise OSError("no space left")

    for step in ("fsync", "replace"):
        with monkeypatch.context() as patch:
            patch.setattr(os, step, fail)
            with pytest.raises(OSError, match="no space"):
                atomic.write_bytes(path, b"new")
        assert path.read_bytes() == b"old"
        assert os.listdir(tmp_path) == ["file"]
    with pytest.raises(TypeError):
        atomic.write_json(path, {"x": object()})
    assert path.read_bytes() == b"old"


def test_a_staged_folder_appears_when_the_block_ends_well(tmp_path: Path) -> None:
    target = tmp_path / "deep" / "target"
    with atomic.staged_folder(target) as stage:
        (stage / "sub").mkdir()
        (stage / "sub" / "file").write_text("one")
        assert not target.exists()
        assert stage.parent == target.parent, "the rename stays on one file system"
    assert (target / "sub" / "file").read_text() == "one"
    assert target.stat().st_mode & 0o777 == 0o755
    with atomic.staged_folder(target) as stage:
        (stage / "other").write_text("two")
        assert (target / "sub" / "file").read_text() == "one", "the old one stays until the new one is whole"
    assert os.listdir(target) == ["other"]
    assert os.listdir(target.parent) == ["target"]


@pytest.mark.parametrize("fault", [RuntimeError, KeyboardInterrupt, SystemExit])
def test_a_staged_folder_vanishes_when_the_block_fails(fault: type[BaseException], tmp_path: Path) -> None:
    target = tmp_path / "target"
    for before in (False, True):
        if before:
            target.mkdir()
            (target / "old").write_text("old")
        with pytest.raises(fault), atomic.staged_folder(target) as stage:
            (stage / "half").write_text("x")
            raise fault
        assert os.listdir(tmp_path) == (["target"] if before else [])
    assert os.listdir(target) == ["old"]


HOLD = """
import sys, time
from pathlib import Path
from adaptx import atomic
with atomic.lock(Path(sys.argv[1])) as mine:
    print(mine, flush=True)
    time.sleep(60)
"""


def test_a_lock_has_one_holder_and_goes_with_its_process(tmp_path: Path) -> None:
    path = tmp_path / "runs" / "a.lock"
    environment = {**os.environ, "PYTHONPATH": str(toy.TESTS.parent / "src")}
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(path)], stdout=subprocess.PIPE, text=True, env=environment
    )
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "True\n"
        with atomic.lock(path) as mine:
            assert not mine
        with atomic.lock(tmp_path / "runs" / "b.lock") as other:
            assert other
        holder.send_signal(signal.SIGKILL)
        holder.wait()
        with atomic.lock(path) as mine:
            assert mine
    finally:
        holder.kill()
        holder.communicate()


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0.0 s"),
        (8.24, "8.2 s"),
        (59.94, "59.9 s"),
        (60, "1 min 00 s"),
        (185, "3 min 05 s"),
        (3599.4, "59 min 59 s"),
        (3600, "1 h 00 min"),
        (7800, "2 h 10 min"),
        (90000, "25 h 00 min"),
    ],
)
def test_durations_read_as_people_write_them(seconds: float, text: str) -> None:
    assert units.duration(seconds) == text


@pytest.mark.parametrize("seconds", [59.96, 3599.6])
def test_durations_next_to_a_border_are_rounded_across_it(seconds: float) -> None:
    assert units.duration(seconds) in ("1 min 00 s", "1 h 00 min")


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (930, "930"),
        (9999, "9999"),
        (12_500, "12.5 k"),
        (1.177e8, "117.7 M"),
        (1.2e9, "1.2 G"),
        (-2e6, "-2.0 M"),
    ],
)
def test_counts_are_short(value: float, text: str) -> None:
    assert units.count(value) == text


@pytest.mark.parametrize(
    ("value", "text"), [(0, "0 B"), (1023, "1023 B"), (1024, "1.0 KiB"), (3 * 2**20, "3.0 MiB"), (2**34, "16.0 GiB")]
)
def test_sizes_use_binary_units(value: float, text: str) -> None:
    assert units.size(value) == text
