"""The hub's commands: each prints a sentence for people or one JSON document, and fails with a code."""

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import hub_toy
import toy
from adaptx import cli
from adaptx.cli import hub as commands
from adaptx.config import Settings
from adaptx.errors import AdaptxError


@pytest.fixture
def place(tmp_path: Path) -> str:
    return (tmp_path / "hub").as_uri()


@pytest.fixture
def twins(settings: Settings, world: toy.World, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """The toy world in the environment, as a user would name it."""
    for name, value in {
        "STORE": settings.store,
        "CACHE": settings.cache,
        "REGISTRY": world.registry,
        "BACKBONE": settings.backbone,
        "DATA": world.data,
    }.items():
        monkeypatch.setenv(f"ADAPTX_{name}", str(value))
    return settings


def call(*words: object) -> Any:
    return CliRunner().invoke(commands.app, [str(w) for w in words], env={"COLUMNS": "200", "NO_COLOR": "1"})


def done(*words: object) -> str:
    result = call(*words)
    assert result.exit_code == 0, (result.output, result.exception)
    return result.stdout


def json_of(*words: object) -> Any:
    return json.loads(done(*words, "--json"))


def code_of(*words: object) -> str:
    result = call(*words)
    assert isinstance(result.exception, AdaptxError), (result.output, result.exception)
    return result.exception.code


def test_a_round_trip_through_a_hub_and_a_flipped_bit(
    twins: Settings, place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stored = hub_toy.small(twins)
    assert stored.ref in done("push", "sv/anli", place)
    assert "sv/anli" in done("search", "sv", "--hub", place)
    monkeypatch.setenv("ADAPTX_STORE", str(tmp_path / "s2"))
    assert stored.ref in done("pull", "sv/anli", "--hub", place)
    path = next(p for p in sorted((tmp_path / "hub").rglob("*.safetensors")) if p.stat().st_size > 1024)
    data = bytearray(path.read_bytes())
    data[-7] ^= 1
    path.write_bytes(bytes(data))
    monkeypatch.setenv("ADAPTX_STORE", str(tmp_path / "s3"))
    assert code_of("pull", "sv/anli", "--hub", place) == "AX020"
    assert call("verify", place).exit_code == 1 and "FAULT" in call("verify", place).stdout


def test_every_command_speaks_json(
    twins: Settings, place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stored = hub_toy.small(twins)
    pushed = json_of("push", "sv/anli", place)
    assert pushed["ref"] == stored.ref and pushed["new"] and pushed["below"] == []
    monkeypatch.setenv("ADAPTX_HUB", place)
    (row,) = json_of("list")
    assert json_of("search", "anli") == [row] and row["version"] == pushed["version"][:16]
    about = json_of("info", "sv/anli")
    assert about["versions"][0]["version"] == row["version"] and about["data"][0]["licence"] == "MIT"
    assert json_of("verify", place)[0]["ok"]
    site = json_of("site", tmp_path / "site")
    assert Path(site["path"]).is_file() and site["versions"] == 1
    monkeypatch.setenv("ADAPTX_STORE", str(tmp_path / "other"))
    pulled = json_of("pull", "sv/anli", "--revision", row["version"])
    assert Path(pulled["path"]).is_dir() and pulled["version"] == pushed["version"]
    gone = json_of("remove", "sv/anli", "--purge")
    assert gone["removed"][0]["ref"] == stored.ref and gone["files"] > 0
    assert json_of("list") == []


def test_what_people_read_names_what_was_done(twins: Settings, place: str) -> None:
    hub_toy.small(twins)
    assert "pushed sv/anli" in call("push", "sv/anli", place).stderr
    assert "already there" in call("push", "sv/anli", place).stderr
    assert "already in the store" in call("pull", "sv/anli", "--hub", place).stderr
    assert done("list", "--hub", place).splitlines()[0].split()[:3] == ["ref", "backbone", "licence"]
    assert "train org/set  7 rows  MIT" in done("info", "sv/anli", "--hub", place)
    assert done("verify", place).startswith("ok    sv/anli")
    assert "nothing for finnish" in done("search", "finnish", "--hub", place)
    assert done("remove", "sv/anli", "--hub", place).startswith("removed sv/anli")


def test_an_entry_that_cannot_be_read_is_mentioned(twins: Settings, place: str, tmp_path: Path) -> None:
    hub_toy.small(twins)
    done("push", "sv/anli", place)
    next((tmp_path / "hub" / "entries").rglob("*.json")).write_text("{}")
    assert "left out entries/" in call("list", "--hub", place).stderr


@pytest.mark.parametrize(
    "verb", ["hub push", "hub pull", "hub info", "hub remove", "export", "show", "predict", "eval"]
)
def test_help_shows_the_whole_form_of_a_reference(verb: str) -> None:
    shown = CliRunner().invoke(cli.app, [*verb.split(), "--help"], env={"COLUMNS": "200", "NO_COLOR": "1"})
    assert "LANG/TASK[:METHOD][@RUN]" in shown.stdout


def test_faults_have_codes(twins: Settings, place: str, tmp_path: Path) -> None:
    hub_toy.small(twins)
    assert code_of("push", "sv/mnli", place) == "AX006"
    assert code_of("push", "sv/anli", "ftp://x") == "AX080"
    assert code_of("push", "sv/anli", place, "--sign", tmp_path / "none.pem") == "AX011"
    done("push", "sv/anli", place)
    assert code_of("pull", "sv/mnli", "--hub", place) == "AX081"
    assert code_of("pull", "sv/anli", "--hub", place, "--revision", "zz") == "AX070"
    assert call("pull", "sv/anli").exit_code == 2, "which hub?"
    assert code_of("import", tmp_path / "none", "--lang", "en", "--task", "toynli") == "AX011"
