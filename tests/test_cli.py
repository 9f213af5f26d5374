"""The command line: its frozen surface, help, JSON, environment twins, what each verb says, and interruption."""

import io
import json
import os
import re
import shlex
import signal
import statistics
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
import typer
from typer.testing import CliRunner

import shop as shops
import toy
from adaptx import cli, jobs, learner, store
from adaptx.config import RunOptions
from adaptx.errors import CODES
from adaptx.recipe import Recipe
from adaptx.refs import parse_ref
from adaptx.registry import configs_folder
from shop import TRAIN, Shop, call

SNAPSHOT = Path(__file__).parent / "snapshots" / "cli.json"
UPDATE = os.environ.get("ADAPTX_UPDATE_SNAPSHOTS") == "1"  # read before the fixtures clear the environment
HEAVY = ("torch", "transformers", "adapters", "peft", "datasets", "numpy", "tokenizers", "bitsandbytes")
COLOUR = re.compile(r"\x1b\[[0-9;]*(?:3[0-7]|9[0-7])[0-9;]*m")


@pytest.fixture(scope="module")
def shop(world: toy.World, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    built = shops.build(world, tmp_path_factory.mktemp("shop"))
    with shops.surroundings(built.twins):
        yield built


def commands(command: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Every verb with its command, verbs of groups as "GROUP VERB"; the root is ""."""
    yield path, command
    for name, child in getattr(command, "commands", {}).items():
        yield from commands(child, f"{path} {name}".strip())


VERBS = dict(commands(typer.main.get_command(cli.app)))


def surface() -> dict[str, dict[str, str]]:
    """Verb -> parameter -> whether it is required, its default and its environment twin."""
    out: dict[str, dict[str, str]] = {}
    for verb, command in sorted(VERBS.items()):
        out[verb or "adaptx"] = shown = {}
        for p in command.params:
            name = " ".join(p.opts) if p.param_type_name == "option" else p.name.upper()
            default = "required" if p.required else f"default {getattr(p.default, 'value', p.default)}"
            shown[name] = default + (f", {p.envvar}" if p.envvar else "")
    return out


def test_commands_and_their_options_are_the_frozen_ones() -> None:
    """After an intended change: ADAPTX_UPDATE_SNAPSHOTS=1 pytest tests/test_cli.py, and tell the users."""
    if UPDATE:
        SNAPSHOT.parent.mkdir(exist_ok=True)
        SNAPSHOT.write_text(json.dumps(surface(), indent=2) + "\n", "utf-8")
    assert surface() == json.loads(SNAPSHOT.read_text("utf-8"))


@pytest.mark.parametrize("verb", VERBS, ids=lambda v: v or "adaptx")
def test_help_ends_with_an_example_of_verbs_and_options_that_exist(verb: str) -> None:
    done = CliRunner().invoke(cli.app, [*verb.split(), "--help"], prog_name="adaptx", env={"COLUMNS": "200"})
    assert done.exit_code == 0
    last = done.output.rstrip().splitlines()[-1].strip()
    assert last.startswith("Example: adaptx ")
    for line in last.removeprefix("Example: ").split("&&"):
        words = shlex.split(line)[1:]
        named = max((v for v in VERBS if words[: len(v.split())] == v.split()), key=len)
        assert named, f"{line} names no verb"
        assert verb in ("", named) or named.startswith(f"{verb} ")
        known = {o for p in VERBS[named].params for o in p.opts}
        assert {w for w in words if w.startswith("--")} <= known


@pytest.mark.slow
def test_help_answers_at_once_and_imports_nothing_heavy() -> None:
    code = f"""
import contextlib, io, json, resource, sys
from adaptx import cli
seen = {{}}
for line in json.loads(sys.argv[1]):
    sys.argv = ["adaptx", *line.split(), "--help"]
    with contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(SystemExit):
        cli.main()
    seen[line] = [m for m in {HEAVY} if m in sys.modules]
    if not line:
        usage = resource.getrusage(resource.RUSAGE_SELF)
        seconds = usage.ru_utime + usage.ru_stime
print(json.dumps([seen, seconds]))
"""
    walls, used = [], []
    for _ in range(5):
        began = time.perf_counter()
        subprocess.run([sys.executable, "-c", "from adaptx.cli import main; main()", "--help"], **CHILD, check=True)
        walls.append(time.perf_counter() - began)
        seen, seconds = json.loads(toy.python(code, json.dumps(list(VERBS))))
        used.append(seconds)
    assert {line: found for line, found in seen.items() if found} == {}
    assert min(used) < 0.3, "seconds of processor time"
    if os.getloadavg()[0] < 1:  # otherwise the clock measures the neighbours
        assert statistics.median(walls) < 0.3


CHILD: dict[str, Any] = {
    "env": {**os.environ, "PYTHONPATH": str(toy.TESTS.parent / "src"), "OMP_NUM_THREADS": "1"},
    "stdout": subprocess.PIPE,
    "stderr": subprocess.PIPE,
    "text": True,
}


def test_exit_status_is_zero_for_what_works_and_one_for_what_fails() -> None:
    assert call("--version").code == 0
    assert call("explain", "AX012").code == 0
    assert call("explain", "AX0").code == 1


JSON = {
    **{f"ls {what}": ["ls", what] for what in ("tasks", "languages", "backbones", "methods", "adapters")},
    "show": ["show", "en/toytext"],
    "validate": ["validate", str(configs_folder() / "methods.yaml")],
    "doctor": ["doctor"],
    "predict": ["predict", "en/toypos", "tusa pame"],
    "eval": ["eval", "qaa", "--no-train"],
    "train-adapter": [*TRAIN, "--max-steps", "1"],
    "train-full": ["train-full", "--lang", "en", "--task", "toynli", "--max-steps", "1"],
}


@pytest.mark.parametrize("verb", JSON)
def test_json_is_one_document_on_stdout(verb: str, shop: Shop) -> None:
    done = call(*JSON[verb], "--json")
    assert done.code == 0, done.err
    assert done.json
    assert done.out == json.dumps(done.json, ensure_ascii=False, indent=2) + "\n"


def dev_labels(shop: Shop) -> list[str]:
    """Gold labels of the dev split that `TRAIN` selects by."""
    from adaptx.data import sources

    settings = shop.settings
    task = settings.registry.task("toynli")
    return [str(getattr(e, "label", "")) for e in sources.load(settings, task, "en", "dev").examples]


def test_training_reports_reference_path_metrics_and_cost_and_is_found_the_second_time(shop: Shop) -> None:
    first, second = (call(*TRAIN, "--seed", "3", "--max-steps", "1", "--json") for _ in range(2))
    assert first.json.keys() >= {"ref", "path", "metrics", "cost"}
    assert first.json == second.json
    level = max(Counter(labels := dev_labels(shop)).values()) / len(labels)
    assert first.json["baseline"] == {"dev": {"accuracy": pytest.approx(level)}}, "of the most frequent label"
    assert f"(baseline {100 * level:.1f})" in first.err
    assert "finished" in first.err
    assert "finished" not in second.err
    assert "found" in second.err
    assert store.verified(Path(first.json["path"])).ref == first.json["ref"]
    assert 0 <= first.json["metrics"]["dev"]["accuracy"] <= 1
    assert first.json["cost"]["trainable_parameters"] > 0
    plain = call(*TRAIN, "--seed", "3", "--max-steps", "1")
    assert first.json["ref"] in plain.out
    assert plain.err.startswith(shop.settings.describe()), "every command says what it uses"


def test_evaluation_has_the_shape_that_other_tools_read(shop: Shop) -> None:
    result = call("eval", "qaa", "--no-train", "--json").json
    assert (result["language"], result["backbone"]) == ("qaa", "bert")
    assert {s["adapter"].partition("@")[0] for s in result["systems"]} >= {"none:pfeiffer", "en/toynli:pfeiffer"}
    scored = [(name, cell) for s in result["systems"] for name, cell in s["tasks"].items()]
    sizes = {"toypos": 16, "toypairs": 20, "toynli": 16}
    assert {name for name, _ in scored} == sizes.keys()
    for name, cell in scored:
        low, high = cell["ci95"]
        assert 0 <= low <= cell[cell["leading"]] <= high <= 1
        assert cell["n"] == sizes[name]
    assert all({"f1", "accuracy"} <= cell.keys() for name, cell in scored if name == "toypos")


def resolved(*arguments: str) -> Recipe:
    """The recipe that a training command would run."""
    found: list[Recipe] = []

    def stop(job: Any, *_: object) -> None:
        found.append(job.recipe)
        raise SystemExit(0)

    with patch("adaptx.training.run", stop):
        done = call(*TRAIN, *arguments)
    assert found, done.err
    return found[0]


# environment twin -> (flag, value by environment, value by flag, what it becomes)
RECIPE_TWINS: dict[str, tuple[str, str, str, Callable[[Recipe], object]]] = {
    "ADAPTX_SEED": ("--seed", "7", "8", lambda r: r.seed),
    "ADAPTX_METHOD": ("--method", "lora", "ia3", lambda r: r.method),
    "ADAPTX_LIMIT": ("--limit", "9", "11", lambda r: r.limit),
    "ADAPTX_EPOCHS": ("--epochs", "5.0", "6.0", lambda r: r.optimiser.epochs),
    "ADAPTX_MAX_STEPS": ("--max-steps", "3", "4", lambda r: r.optimiser.max_steps),
    "ADAPTX_BATCH_TOKENS": ("--batch-tokens", "64", "96", lambda r: r.optimiser.batch_tokens),
    "ADAPTX_LR": ("--lr", "0.5", "0.25", lambda r: r.optimiser.lr),
    "ADAPTX_PRECISION": ("--precision", "bf16", "fp32", lambda r: r.precision),
    "ADAPTX_OPTIMISER": ("--optimiser", "adamw8bit", "adamw", lambda r: r.optimiser.name),
}


@pytest.mark.parametrize("twin", RECIPE_TWINS)
def test_training_flags_have_environment_twins_and_win_over_them(
    twin: str, shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    flag, by_twin, by_flag, read = RECIPE_TWINS[twin]
    monkeypatch.setenv(twin, by_twin)
    assert str(read(resolved())) == by_twin
    assert str(read(resolved(flag, by_flag))) == by_flag


def test_places_have_environment_twins_and_flags_win_over_them(
    shop: Shop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert call("ls", "adapters", "--json").json
    assert call("ls", "adapters", "--json", "--store", tmp_path).json == []
    for twin, flag in (("ADAPTX_DATA", "--data-root"), ("ADAPTX_REGISTRY", "--registry")):
        with monkeypatch.context() as environment:
            environment.setenv(twin, str(tmp_path / "nowhere"))
            assert call("ls", "tasks").code == 1
            assert call("ls", "tasks", flag, shop.twins[twin]).code == 0
    place = {c: call("doctor", "--json", *c).json for c in ((), ("--cache", str(tmp_path)))}
    found = {c: {f["what"]: f["found"] for f in findings} for c, findings in place.items()}
    assert found[()]["cache"].startswith(f"{shop.settings.cache},")
    assert found[("--cache", str(tmp_path))]["cache"].startswith(f"{tmp_path},")
    assert str(shop.data) in found[()]["data"]
    monkeypatch.setenv("ADAPTX_PROFILE", "paper")
    assert "profile paper" in call("eval", "xx").err
    assert "profile local" in call("eval", "xx", "--profile", "local").err
    monkeypatch.delenv("ADAPTX_PROFILE")
    monkeypatch.setenv("ADAPTX_DEVICE", "abacus")
    assert call(*TRAIN).err.count("AX071") == 1
    assert resolved("--device", "cpu")
    monkeypatch.setenv("ADAPTX_DEVICE", "cpu")
    monkeypatch.setenv("ADAPTX_BACKBONE", "none")
    assert call(*TRAIN).err.count("AX004") == 1
    assert resolved("--backbone", shop.settings.backbone).backbone.name == "bert"


def test_no_environment_twin_goes_untested() -> None:
    named = {p.envvar for c in VERBS.values() for p in c.params if p.envvar}
    places = {f"ADAPTX_{n}" for n in ("STORE", "CACHE", "DATA", "REGISTRY", "BACKBONE", "DEVICE", "PROFILE")}
    assert named >= {*places, *RECIPE_TWINS}
    assert {n for n in named if not n.startswith("ADAPTX_HUB")} == {
        *places,
        *RECIPE_TWINS,
        "ADAPTX_GRADIENT_CHECKPOINTING",  # no recipe knows it: tests/test_api.py
        "ADAPTX_COMPILE",  # a switch: below
    }


@pytest.mark.parametrize("verb", [("train-adapter",), ("train-full",)])
def test_compiling_can_be_asked_for_by_a_switch_and_by_its_twin(
    verb: tuple[str], shop: Shop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where there is no compiler both are refused; without them the run goes on to its end."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CXX", raising=False)
    command = (*verb, "--lang", "en", "--task", "toynli", "--max-steps", 1, "--device", "cpu", "--seed", 3)
    assert call(*command, "--compile").err.count("AX033") == 1
    monkeypatch.setenv("ADAPTX_COMPILE", "1")
    assert call(*command).err.count("AX033") == 1
    monkeypatch.delenv("ADAPTX_COMPILE")
    done = call(*command)
    assert done.code == 0, done.err


PREDICTIONS: dict[str, tuple[str, str, Callable[[Any], bool]]] = {
    "classification": ("en/toynli:pfeiffer", "tusa pame ||| tusa", lambda p: p in toy.LABELS),
    "tagging": ("en/toypos", "tusa pame ropi .", lambda p: len(p) == 4 and set(p) <= set(toy.TAGS)),
    "span_qa": ("en/toyspan", "tusa ||| tusa pame ropi .", lambda p: p in "tusa pame ropi ."),
    "multiple_choice": ("en/toychoice", "tusa ||| bado ||| lemi", lambda p: p in ("bado", "lemi")),
}


@pytest.mark.parametrize("kind", PREDICTIONS)
def test_predictions_of_every_kind_come_in_the_order_of_the_texts(kind: str, shop: Shop, tmp_path: Path) -> None:
    ref, text, fits = PREDICTIONS[kind]
    lines = toy.put(tmp_path / "lines", f"{text} tusa\n\n{text}\n")
    done = call("predict", ref, text, "--file", lines, "--json")
    assert [row["text"] for row in done.json] == [text, f"{text} tusa", text]
    assert done.json[0] == done.json[2]
    found = done.json[0]["prediction"]
    assert fits(found)
    with patch.object(sys, "stdin", io.StringIO(f"{text}\n")):
        plain = call("predict", ref, "--file", "-").out
    if kind == "tagging":
        assert plain == " ".join(f"{w}/{t}" for w, t in zip(text.split(), found, strict=True)) + "\n"
    else:
        assert plain == f"{found}\t{text}\n"


def test_every_code_is_explained_in_any_case_of_letters() -> None:
    for code, meaning in CODES.items():
        text = f"{code} {meaning.title}\n  cause: {meaning.cause}\n  cure:  {meaning.cure}\n"
        assert call("explain", code.lower()).out == text


def test_lists_hold_what_the_registry_and_the_store_have(shop: Shop) -> None:
    registry = shop.settings.registry
    wanted: dict[str, Iterable[str]] = {
        "languages": registry.languages(),
        "methods": registry.methods(),
        "backbones": registry.backbones(),
    }
    for what, names in {**wanted, "tasks": registry.task_ids()}.items():
        assert [next(iter(row.values())) for row in call("ls", what, "--json").json] == list(names)
        shown = call("ls", what).out
        assert all(name in shown for name in names)
    rows = call("ls", "adapters", "--json").json
    assert {r["ref"] for r in rows} == {s.ref for s in store.listing(shop.settings.store)}
    assert {r["role"] for r in rows} >= {"language", "intermediate", "target"}


def test_show_prints_the_card_or_the_manifest(shop: Shop) -> None:
    found = store.find(shop.settings.store, parse_ref("en/toytext"))
    assert call("show", "en/toytext").out == (found.folder / "README.md").read_text() + "\n"
    assert call("show", "en/toytext", "--json").json == json.loads(found.manifest.model_dump_json())


def test_doctor_says_what_is_there_and_what_is_missing(shop: Shop) -> None:
    found = {f["what"]: f for f in call("doctor", "--json", "--backbone", "none").json}
    assert found["package torch"]["ok"]
    assert not found["backbone"]["ok"]
    assert found["backbone"]["found"].startswith("AX004")
    assert found["backbone"]["cure"]
    lines = call("doctor", "--backbone", "none").out.splitlines()
    assert sum(x.startswith("MISS  backbone: AX004") for x in lines) == 1
    assert {x[:4] for x in lines} == {"ok  ", "MISS"}
    assert any(x.startswith("ok    backbone: bert") for x in call("doctor").out.splitlines())


SHIPPED = sorted(p.relative_to(configs_folder()).as_posix() for p in configs_folder().glob("**/*.yaml"))


@pytest.mark.parametrize("file", [f for f in SHIPPED if f.count("/") == 0 or f.startswith("tasks/")])
def test_every_shipped_configuration_is_valid_and_opens_with_a_command(
    file: str, shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("ADAPTX_DATA")
    done = call("validate", configs_folder() / file)
    assert done.code == 0, done.err
    assert "no faults" in done.out
    first = (configs_folder() / file).read_text("utf-8").splitlines()[0]
    assert first.startswith("# adaptx ")


def test_no_color_takes_the_colours_away() -> None:
    code = "import sys; sys.argv = ['adaptx', '--help']; from adaptx.cli import main; main()"
    assert COLOUR.search(toy.python(code, FORCE_COLOR="1"))
    assert not COLOUR.search(toy.python(code, FORCE_COLOR="1", NO_COLOR="1"))
    assert "\x1b" not in toy.python(code, NO_COLOR="1")


LONG = ["train-adapter", "--lang", "en", "--task", "toypos", "--batch-tokens", "64"]


def steps_of(*arguments: str, stop_after: int | None = None) -> tuple[int, str, list[int]]:
    """Exit status, stderr and the steps of a training command; Ctrl-C after `stop_after` steps."""
    from adaptx.cli.screen import Reporter

    steps: list[int] = []

    def tell(_: Reporter, event: str, values: dict[str, Any]) -> None:
        if event == "step":
            steps.append(values["step"])
            if len(steps) == stop_after:
                signal.raise_signal(signal.SIGINT)

    with patch.object(Reporter, "__call__", tell):
        done = call(*LONG, *arguments)
    return done.code, done.err, steps


def test_an_interrupted_run_says_how_to_go_on_and_the_same_command_does(shop: Shop, tmp_path: Path) -> None:
    place = ("--epochs", "2", "--store", str(tmp_path))
    code, err, steps = steps_of(*place, stop_after=14)
    assert (code, steps[-1]) == (130, 14)
    assert "same command goes on" in err
    assert "Traceback" not in err
    assert store.listing(tmp_path) == []
    code, err, rest = steps_of(*place)
    assert (code, rest) == (0, list(range(15, 21))), "it goes on where it was interrupted"
    assert len(store.listing(tmp_path)) == 1


@pytest.mark.slow
def test_ctrl_c_ends_a_process_with_130_and_the_same_command_finishes(shop: Shop, tmp_path: Path) -> None:
    place = ("--epochs", "100", "--store", str(tmp_path))
    code = "import sys; from adaptx.cli import main; main()"
    environment = {**CHILD["env"], **shop.twins}
    child = subprocess.Popen([sys.executable, "-c", code, *LONG, *place], **{**CHILD, "env": environment})
    deadline = time.monotonic() + 300
    while not list(tmp_path.glob(".runs/*/checkpoint/state.json")):
        assert child.poll() is None, child.communicate()[1]
        assert time.monotonic() < deadline
        time.sleep(0.02)
    child.send_signal(signal.SIGINT)
    out, err = child.communicate(timeout=120)
    assert (child.returncode, out) == (130, "")
    assert "same command goes on" in err
    assert "Traceback" not in err
    assert store.listing(tmp_path) == []
    code_, _, steps = steps_of(*place)
    assert code_ == 0
    assert steps[0] > 1
    options = RunOptions(epochs=100, batch_tokens=64)
    plan = learner.build(jobs.prepare(shop.settings, "en", "toypos", options)).plan
    assert steps[-1] == sum(len(plan(epoch)) for epoch in range(100))
    assert len(store.listing(tmp_path)) == 1
