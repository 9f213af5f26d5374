"""Gates: what others build on does not change by accident, and what we promise about the source holds."""

import ast
import builtins
import importlib.metadata
import json
import os
import re
import tomllib
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

import adaptx
import toy
from adaptx.errors import CODES
from adaptx.registry import Registry

ROOT = toy.TESTS.parent
SOURCE = ROOT / "src" / "adaptx"
SNAPSHOT = toy.TESTS / "snapshots" / "registry.json"
UPDATE = os.environ.get("ADAPTX_UPDATE_SNAPSHOTS") == "1"  # read before the fixtures clear the environment
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
TREES = {p.relative_to(SOURCE).as_posix(): ast.parse(p.read_text("utf-8")) for p in sorted(SOURCE.rglob("*.py"))}
Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


def shipped() -> dict[str, Any]:
    """What of the registry makes a score comparable or a run findable: ids, labels, metrics, data, defaults."""
    registry = Registry()
    tasks = {}
    for task in registry.tasks():
        sources = [
            {
                "kind": s.kind,
                "languages": " ".join(s.languages),
                "id": s.id,
                "revision": s.revision,
                "licence": s.licence,
                "splits": {k: [p.expect for p in parts] for k, parts in s.splits.items()},
            }
            for s in task.sources
        ]
        labels = None if task.labels is None else " ".join(task.labels)
        values = {"kind": task.kind, "roles": list(task.roles), "labels": labels, "metrics": list(task.metrics)}
        tasks[task.id] = {**values, "train": task.train.model_dump(), "hyper": task.hyper, "sources": sources}
    return {
        "profiles": {n: [p.backbone, *p.sources] for n, p in registry.profiles().items()},
        "backbones": {
            n: {"id": b.id, "revision": b.revision, "retrieval_layer": b.retrieval_layer}
            for n, b in registry.backbones().items()
        },
        "methods": {n: m.model_dump(exclude={"title", "reference"}) for n, m in registry.methods().items()},
        "languages": " ".join(registry.languages()),
        "tasks": tasks,
    }


def written(value: Any, indent: str = "") -> str:
    """JSON in which only what does not fit into a line is broken into several: a change shows as the line it is in."""
    line = json.dumps(value, ensure_ascii=False)
    if len(line) + len(indent) < 120 or not isinstance(value, dict | list):
        return line
    inner = indent + " "
    if isinstance(value, dict):
        parts = [f"{json.dumps(k)}: {written(v, inner)}" for k, v in value.items()]
    else:
        parts = [written(v, inner) for v in value]
    left, right = "{}" if isinstance(value, dict) else "[]"
    return f"{left}\n{inner}" + f",\n{inner}".join(parts) + f"\n{indent}{right}"


def test_the_shipped_registry_is_the_frozen_one() -> None:
    """After an intended change: ADAPTX_UPDATE_SNAPSHOTS=1 pytest tests/test_gates.py, and tell the users."""
    if UPDATE:
        SNAPSHOT.write_text(written(shipped()) + "\n", "utf-8")
    frozen = json.loads(SNAPSHOT.read_text("utf-8"))
    now = json.loads(json.dumps(shipped()))
    for part in ("profiles", "backbones", "methods", "languages"):
        assert now[part] == frozen[part]
    assert now["tasks"].keys() == frozen["tasks"].keys()
    for task, value in now["tasks"].items():
        assert value == frozen["tasks"][task], task


def definitions(body: list[ast.stmt], inside: ast.ClassDef | None = None) -> Iterator[tuple[Definition, str]]:
    """Public functions, classes and methods, with the name of the class they are in."""
    for node in body:
        if isinstance(node, Definition) and not node.name.startswith("_"):
            yield node, inside.name if inside else ""
            if isinstance(node, ast.ClassDef):
                yield from definitions(node.body, node)


def promised() -> set[str]:
    """Methods that a protocol of ours documents: what implements them need not say it again."""
    return {
        method.name
        for tree in TREES.values()
        for node in tree.body
        if isinstance(node, ast.ClassDef) and any(isinstance(b, ast.Name) and b.id == "Protocol" for b in node.bases)
        for method in node.body
        if isinstance(method, ast.FunctionDef) and ast.get_docstring(method)
    }


def test_every_public_name_has_a_docstring() -> None:
    """But the methods of a documented protocol, and `forward`, which torch documents."""
    known = promised() | {"forward"}
    bare = [
        f"{file}: {owner + '.' if owner else ''}{node.name}"
        for file, tree in TREES.items()
        for node, owner in definitions(tree.body)
        if not ast.get_docstring(node) and not (owner and node.name in known)
    ]
    assert bare == []


def test_the_codes_are_those_that_are_raised() -> None:
    """Every code that is raised is in the table, and every code of the table is raised somewhere."""
    used = {
        node.value
        for file, tree in TREES.items()
        if file != "errors.py"
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and re.fullmatch(r"AX\d{3}", node.value)
    }
    printed = {"AX099"}  # the command line's last resort
    assert used - set(CODES) == set()
    assert set(CODES) - used - printed == set()


def test_codes_keep_their_form_and_say_cause_and_cure() -> None:
    for code, meaning in CODES.items():
        assert re.fullmatch(r"AX\d{3}", code)
        assert meaning.title
        assert meaning.cause.endswith(".")
        assert meaning.cure.endswith(".")
    assert len({m.title for m in CODES.values()}) == len(CODES)


@pytest.mark.parametrize("kind", [DeprecationWarning, PendingDeprecationWarning, FutureWarning])
def test_what_our_code_calls_and_will_go_fails_the_suite_and_other_peoples_does_not(kind: type[Warning]) -> None:
    with warnings.catch_warnings():
        for rule in PROJECT["tool"]["pytest"]["ini_options"]["filterwarnings"]:
            action, _, category, module = rule.split(":")
            warnings.filterwarnings(action, category=vars(builtins)[category], module=module)
        for module in ("adaptx", "adaptx.engine.loop"):
            with pytest.raises(kind):
                warnings.warn_explicit("old", kind, "file.py", 1, module)
        with pytest.warns(kind):
            warnings.warn_explicit("old", kind, "file.py", 1, "adapters.models")


def test_the_version_is_the_same_everywhere() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text("utf-8"))
    assert citation["version"] == adaptx.__version__
    assert citation["license"] == PROJECT["project"]["license"]
    log = (ROOT / "CHANGELOG.md").read_text("utf-8")
    assert "## Unreleased" in log or f"## {adaptx.__version__}" in log


def requirements() -> dict[str, set[str]]:
    """Packages that pyproject names, by extra ("" for none), as they are normalised."""
    project = PROJECT["project"]
    lists = {"": project["dependencies"], **project["optional-dependencies"]}
    return {extra: {re.split(r"[\[<>=~! ]", r)[0].lower().replace("_", "-") for r in found} for extra, found in lists.items()}


def test_every_package_that_make_install_installs_is_pinned_once() -> None:
    pins = re.findall(r"^([\w.-]+)==", (ROOT / "constraints.txt").read_text("utf-8"), re.M)
    pinned = {p.lower().replace("_", "-") for p in pins}
    assert len(pinned) == len(pins), "something is pinned twice"
    found = re.search(r"-e '\.\[([\w,]+)\]'", (ROOT / "Makefile").read_text("utf-8"))
    assert found
    wanted = requirements()
    assert {extra: wanted[extra] - pinned for extra in ("", *found[1].split(",")) if wanted[extra] - pinned} == {}


def test_every_requirement_has_a_lower_bound() -> None:
    project = PROJECT["project"]
    every = [*project["dependencies"], *(r for rs in project["optional-dependencies"].values() for r in rs)]
    free = [r for r in every if not re.search(r"(>=|~=|==)", r)]
    assert free == ["types-PyYAML"], "stubs follow what they describe"


def test_the_installed_packages_are_the_pinned_ones() -> None:
    """A test run says something about the pins only where they are what runs."""
    pins = dict(re.findall(r"^([\w.-]+)==(\S+)$", (ROOT / "constraints.txt").read_text("utf-8"), re.M))
    other = {}
    for name in ("torch", "transformers", "adapters", "peft", "tokenizers", "safetensors", "pydantic", "typer"):
        found = importlib.metadata.version(name).partition("+")[0]
        if found != pins[name]:
            other[name] = (found, pins[name])
    if other:
        pytest.skip(f"not the pinned environment: {other}")


def test_the_readmes_promises_about_make_are_kept() -> None:
    text = (ROOT / "Makefile").read_text("utf-8")
    for target in ("install", "demo", "test", "check", "docs", "minimum", "lint"):
        assert re.search(rf"^{target}:", text, re.M), target
        assert re.search(rf"^\.PHONY:.*\b{target}\b", text, re.M), target
    ci = (ROOT / ".ci" / "run").read_text("utf-8")
    assert re.search(r"^make test$", ci, re.M)


def test_no_file_of_the_checkout_names_a_place_of_a_machine() -> None:
    skipped = {".git", ".venv", "site", "store", "__pycache__", "dist", "build"}
    for path in (p for folder in (SOURCE, ROOT / "configs", ROOT / "docs") for p in folder.rglob("*")):
        if path.is_file() and not skipped & set(path.parts) and path.suffix in (".py", ".md", ".yaml", ".html", ".ipynb"):
            found = re.search(r"(?<![\w.])/(?:home|root|work|Users)/\w+", path.read_text("utf-8"))
            assert not found, f"{path}: {found and found[0]}"


def test_the_package_tells_type_checkers_that_it_is_typed() -> None:
    assert (SOURCE / "py.typed").is_file()
    assert Path(adaptx.__file__).parent == SOURCE
