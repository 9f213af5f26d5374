"""The Python interface: stable names, what they give, and that they do what the commands do."""

import dataclasses
import html
import inspect
import json
import subprocess
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import pytest

import adaptx
import shop as shops
import toy
from adaptx import store
from adaptx.config import RunOptions, resolve
from adaptx.errors import AdaptxError
from adaptx.jobs import Job
from adaptx.store import Stored
from shop import Shop, call
from test_cli import RECIPE_TWINS, VERBS

NAMES = {
    "Adapter",
    "AdaptxError",
    "Prediction",
    "Predictor",
    "Scores",
    "Study",
    "__version__",
    "adapters",
    "evaluate",
    "load",
    "settings",
    "train",
}
STUDY = """
title: A toy <study>
language: qaa
sources: [qaa]
tasks: [toynli, toypos]
targets: [toypos, toypairs]
seeds: [0]
precision: fp32
intermediate: {max_steps: 2, batch_tokens: 128}
target: {max_steps: 2, batch_tokens: 128}
"""


@pytest.fixture(scope="module")
def shop(world: toy.World, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    built = shops.build(world, tmp_path_factory.mktemp("shop"))
    with shops.surroundings(built.twins):
        yield built


def refused(code: str) -> "pytest.RaisesExc[AdaptxError]":
    return pytest.raises(AdaptxError, match=code)


def test_the_stable_names_are_these_and_come_from_one_place() -> None:
    from adaptx import api

    assert set(adaptx.__all__) == NAMES
    assert set(adaptx.__all__) - {"__version__"} == set(api.__all__) - {"Places", "Training"}
    assert set(dir(adaptx)) >= NAMES
    for name in NAMES - {"__version__"}:
        assert getattr(adaptx, name) is getattr(api, name)
    with pytest.raises(AttributeError, match="nosuch"):
        _ = adaptx.nosuch


def test_names_of_the_interface_are_no_modules_whatever_was_imported_before() -> None:
    code = """
import pkgutil, adaptx
from adaptx import api, cli, jobs, scoring, table, training
from adaptx.study import run
print(*[n for n in adaptx.__all__ if n in {m.name for m in pkgutil.iter_modules(adaptx.__path__)}])
print(callable(adaptx.train), callable(adaptx.evaluate))
"""
    assert toy.python(code).splitlines() == ["", "True True"]


def test_the_interface_loads_no_model_library_before_it_is_asked_for_one() -> None:
    code = """
import sys, adaptx
adaptx.train, adaptx.load, adaptx.Study, adaptx.settings()
print(*[m for m in ("torch", "transformers", "adapters", "peft", "pandas", "typer") if m in sys.modules])
"""
    assert toy.python(code).strip() == ""


@pytest.mark.slow
def test_type_checkers_see_the_interface(tmp_path: Path) -> None:
    good = 'import adaptx\nscore: float = adaptx.train("sv", "anli", seed=1).metrics["dev"]["accuracy"]\n'
    bad = 'import adaptx\nadaptx.train("sv", "anli", max_step=1)\n'
    files = [toy.put(tmp_path / name, text) for name, text in (("good.py", good), ("bad.py", bad))]
    command = [sys.executable, "-m", "mypy", "--strict", "--config-file", toy.TESTS.parent / "pyproject.toml", *files]
    done = subprocess.run(command, cwd=toy.TESTS.parent, capture_output=True, text=True, timeout=300)
    assert "good.py" not in done.stdout
    assert 'bad.py:2: error: Unexpected keyword argument "max_step"' in done.stdout, done.stdout + done.stderr


def test_training_gives_the_adapter_that_the_command_gives(shop: Shop) -> None:
    mine = adaptx.train("en", "toynli", seed=5, max_steps=1, progress=False)
    theirs = call("train-adapter", "--lang", "en", "--task", "toynli", "--seed", 5, "--max-steps", 1, "--json").json
    assert (mine.ref, mine.metrics, mine.cost) == (theirs["ref"], theirs["metrics"], theirs["cost"])
    assert mine.folder.resolve() == Path(theirs["path"])
    assert mine.card == (mine.folder / "README.md").read_text("utf-8")
    assert mine in adaptx.adapters()
    assert {a.ref for a in adaptx.adapters()} == {a["ref"] for a in call("ls", "adapters", "--json").json}


def test_progress_is_told_on_stderr_unless_it_is_not_wanted(shop: Shop, capsys: pytest.CaptureFixture[str]) -> None:
    adaptx.train("en", "toynli", seed=6, max_steps=1, progress=False)
    assert capsys.readouterr() == ("", "")
    adaptx.train("en", "toynli", seed=6, max_steps=1)
    out, err = capsys.readouterr()
    assert (out, err.startswith("found en/toynli")) == ("", True)


def test_an_adapter_stands_on_others_and_starts_from_another(shop: Shop) -> None:
    made = adaptx.train(
        "en", "toypos", max_steps=1, stack="en/toytext", init_from="en/toynli:pfeiffer", progress=False
    )
    found = [(p.how, p.ref.partition("@")[0]) for p in made.stored.recipe.parents]
    assert found == [("stack", "en/toytext:pfeiffer"), ("init_from", "en/toynli:pfeiffer")]
    assert [s.ref for s in adaptx.load(made.ref).stack] == [made.stored.recipe.parents[0].ref, made.ref]
    assert [s.ref for s in adaptx.load("en/toytext", made.ref).stack] == [made.stored.recipe.parents[0].ref, made.ref]


def test_scores_are_those_of_the_command_in_every_form(shop: Shop) -> None:
    scores = adaptx.evaluate("qaa", tasks="toypos,toypairs", may_train=False, progress=False)
    document = call("eval", "qaa", "--no-train", "--tasks", "toypos,toypairs", "--json").json
    assert scores.as_dict() == document
    assert scores.language == "qaa"
    frame = scores.frame()
    by_hand = [
        (s["adapter"], task, metric, cell[metric])
        for s in document["systems"]
        for task, cell in s["tasks"].items()
        for metric in cell["intervals"]
    ]
    assert list(zip(frame.adapter, frame.task, frame.metric, frame.score, strict=True)) == by_hand
    leading = frame[frame.leading & ~frame.adapter.str.startswith("none:")]
    assert leading.delta.notna().all()
    assert (leading.delta_low <= leading.delta).all()
    assert frame[~frame.leading].delta.isna().all()
    text = repr(scores)
    for _, _, _, score in by_hand:
        assert f"{100 * score:.1f}" in text
        assert f"{100 * score:.1f}" in scores._repr_html_()
    for note in (*scores.notes, *scores.table.missing):
        assert note in text


def test_one_stack_is_scored_as_it_is_given(shop: Shop) -> None:
    mine = adaptx.evaluate(
        "qaa", stack=["en/toytext", "en/toypos"], tasks=["toypos"], precision="fp32", progress=False
    )
    theirs = call("eval", "qaa", "--stack", "en/toytext,en/toypos", "--tasks", "toypos", "--json").json
    assert mine.as_dict() == theirs


def test_predictions_keep_the_order_of_texts_and_show_themselves(shop: Shop) -> None:
    model = adaptx.load("en/toypos")
    texts = ["tusa pame", "ropi"]
    found = model.predict(texts)
    rows = call("predict", "en/toypos", *texts, "--json").json
    assert [(p.text, list(p.words), list(p.value)) for p in found] == [
        (r["text"], r["words"], r["prediction"]) for r in rows
    ]
    assert "\n".join(map(str, found)) + "\n" == call("predict", "en/toypos", *texts).out
    assert model.predict("ropi") == found[1:]
    label = adaptx.load("en/toynli:pfeiffer").predict(["tusa ||| pame"])[0]
    assert label.value in toy.LABELS
    assert str(label) + "\n" == call("predict", "en/toynli:pfeiffer", "tusa ||| pame").out
    [made] = [a for a in adaptx.adapters() if a.stored == model.stack[-1]]
    assert made.predict(texts) == found


def test_a_study_runs_goes_on_and_is_read(shop: Shop, tmp_path: Path) -> None:
    study = adaptx.Study.from_file(toy.put(tmp_path / "toy.yaml", STUDY), store=tmp_path / "store")
    with refused("AX092"):
        study.results()
    assert len(study.forecast().left) == len(study.plan.steps)
    first = study.run(progress=False)
    assert (first.failed, first.scored) == ({}, len(study.plan.cells))
    again = study.run(progress=False)
    assert (again.trained, again.found) == (0, first.trained + first.found)
    assert study.status().open == ()
    assert set(study.results().target) == {"toypos", "toypairs"}
    assert {r.system.target for r in study.analysis().rows} == {"toypos", "toypairs"}
    page = study.report(tmp_path / "report.html")
    assert "toypairs" in page.read_text("utf-8")
    command = call("study", "status", tmp_path / "toy.yaml", "--store", tmp_path / "store", "--json").json
    assert command["study"] == study.id
    assert command["done"] == len(study.status().done)


class Balanced(HTMLParser):
    """Collects text; every tag that opens must close in order."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.text: list[str] = []

    def handle_starttag(self, tag: str, attrs: object) -> None:
        if tag != "br":
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def test_results_show_themselves_in_a_notebook_with_their_text_escaped(shop: Shop, tmp_path: Path) -> None:
    study = adaptx.Study.from_file(toy.put(tmp_path / "toy.yaml", STUDY), store=tmp_path / "store")
    [made, *_] = adaptx.adapters()
    for value, title in ((made, made.ref), (study, "A toy <study>")):
        page = Balanced()
        page.feed(value._repr_html_())
        assert page.open == []
        assert title in page.text
        assert html.escape(title) in value._repr_html_()
        assert title in str(value)
    assert repr(made) == f"Adapter({made.ref})"
    assert study.id in repr(study)
    assert f"{made.cost['trainable_parameters']:,}" in str(made)


def test_wrong_names_and_values_are_refused_as_on_the_command_line(shop: Shop, tmp_path: Path) -> None:
    with refused("AX002"):
        adaptx.train("en", "toynlo")
    with refused("AX070"):
        adaptx.train("en", "toynli", limit=0)
    with refused("AX070"):
        adaptx.load()
    with refused("AX006"):
        adaptx.load("qaa/toypos")
    with refused("AX013"):
        adaptx.settings(data_root=tmp_path / "nowhere")
    with pytest.raises(TypeError, match="did you mean max_steps"):
        adaptx.train("en", "toynli", max_step=3)  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="known: profile, store"):
        adaptx.settings(weather="fine")  # type: ignore[call-arg]


def test_places_come_from_what_is_passed_then_from_the_environment(
    shop: Shop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert adaptx.settings().store == shop.settings.store
    assert adaptx.settings(store=str(tmp_path)).store == tmp_path
    monkeypatch.setenv("ADAPTX_DEVICE", "cuda:7")
    assert adaptx.settings().device == "cuda:7"
    assert adaptx.settings(device="cpu").device == "cpu"


WORDS = ("method", "precision", "optimiser")


@pytest.mark.parametrize("twin", RECIPE_TWINS)
def test_training_options_come_from_what_is_passed_then_from_the_environment(
    twin: str, shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    flag, by_twin, by_value, read = RECIPE_TWINS[twin]
    name = flag.removeprefix("--").replace("-", "_")
    value: object = by_value if name in WORDS else float(by_value) if "." in by_value else int(by_value)
    found: list[object] = []

    def keep(job: Job, report: object) -> Stored:
        found.append(read(job.recipe))
        [any_, *_] = store.listing(shop.settings.store)
        return any_

    monkeypatch.setattr("adaptx.training.run", keep)
    monkeypatch.setenv(twin, by_twin)
    adaptx.train("en", "toynli", progress=False)
    adaptx.train("en", "toynli", progress=False, **{name: value})  # type: ignore[arg-type]
    assert [str(x) for x in found] == [by_twin, by_value]
    if name not in WORDS:
        monkeypatch.setenv(twin, "many")
        with refused("AX070"):
            adaptx.train("en", "toynli", progress=False)


@pytest.mark.parametrize("name", ["gradient_checkpointing", "compile"])
def test_a_switch_can_be_set_in_the_environment(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from adaptx.api.options import resolve as options

    twin = f"ADAPTX_{name.upper()}"
    for text, value in (("1", True), ("True", True), ("off", False), ("", False)):
        monkeypatch.setenv(twin, text)
        assert getattr(options({}, None)[1], name) is value
    monkeypatch.setenv(twin, "perhaps")
    with refused("AX070"):
        options({}, None)


def test_every_option_of_the_command_line_is_an_option_in_python() -> None:
    from adaptx.api import Places, Training

    fields = {f.name for f in dataclasses.fields(RunOptions)}
    assert {*Training.__annotations__, "method"} == fields
    assert set(Places.__annotations__) == set(inspect.signature(resolve).parameters)
    twins = {p.envvar for p in VERBS["train-adapter"].params if p.envvar}
    ours = {f"ADAPTX_{name.upper()}" for name in (*Training.__annotations__, *Places.__annotations__, "method")}
    assert twins - {"ADAPTX_DATA"} <= ours


def test_every_name_and_every_method_of_the_interface_says_what_it_does() -> None:
    for name in NAMES - {"__version__"}:
        value = getattr(adaptx, name)
        assert inspect.getdoc(value), name
        for member, found in vars(value).items() if inspect.isclass(value) else ():
            if not member.startswith("_") and (callable(found) or isinstance(found, property | classmethod)):
                assert inspect.getdoc(getattr(value, member)), f"{name}.{member}"


def test_the_document_of_scores_is_json(shop: Shop) -> None:
    scores = adaptx.evaluate("qaa", tasks=["toypairs"], may_train=False, progress=False)
    assert json.loads(json.dumps(scores.as_dict())) == scores.as_dict()
