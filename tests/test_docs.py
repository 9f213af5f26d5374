"""The manual: what its pages say to type works, links lead somewhere, every public name and error code is explained."""

import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from types import ModuleType
from urllib.parse import unquote, urlsplit

import pytest
import yaml

import adaptx
import pages
import toy
from adaptx.errors import CODES
from adaptx.registry import Registry

PAGES = {pages.name(p): p for p in pages.pages()}
# README is followed in test_readme.py
TYPED = [
    n for n, p in PAGES.items() if n != "README.md" and any(b.language in ("bash", "python") for b in pages.blocks(p))
]
CONFIG = (pages.ROOT / "mkdocs.yml").read_text("utf-8")


@pytest.fixture(scope="module")
def hooks() -> ModuleType:
    spec = importlib.util.spec_from_file_location("manual_hooks", pages.DOCS / "hooks.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.slow
@pytest.mark.parametrize("name", TYPED)
def test_a_reader_who_types_what_a_page_says_gets_no_error(
    name: str, world: toy.World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if any(tool in PAGES[name].read_text("utf-8") for tool in pages.TOOLS) and not shutil.which("openssl"):
        pytest.skip("openssl is not installed")
    monkeypatch.chdir(tmp_path)
    assert pages.Reader(world, tmp_path).follow(PAGES[name]) or all(b.why for b in pages.blocks(PAGES[name]))


def test_what_is_not_run_says_why_and_is_the_exception() -> None:
    found = [b for p in PAGES.values() for b in pages.blocks(p) if b.language in ("bash", "python")]
    whys = {b.why for b in found if b.why}
    assert whys
    assert all(w.startswith(("needs ", "changes ", "makes ", "takes ")) for w in whys), whys
    elsewhere = [b for n, p in PAGES.items() if n != "docs/tutorials/gpu.md" for b in pages.blocks(p)]
    assert sum(bool(b.why) for b in elsewhere) < 0.25 * sum(b.language in ("bash", "python") for b in elsewhere)
    for page in PAGES.values():
        text = page.read_text("utf-8")
        assert text.count("<!-- not run") == sum(bool(b.why) for b in pages.blocks(page)), page


def test_every_page_is_in_the_navigation_and_every_tutorial_is_typed() -> None:
    listed = set(re.findall(r"[\w/-]+\.md", CONFIG))
    written = {p.relative_to(pages.DOCS).as_posix() for p in pages.DOCS.rglob("*.md")}
    generated = {f"reference/{n}.md" for n in ("cli", "errors", "environment", "registry", "modules")}
    assert listed == written | generated
    tutorials = {n for n in PAGES if n.startswith("docs/tutorials/")} - {"docs/tutorials/notebook.md"}
    assert tutorials <= set(TYPED)


def test_every_public_name_is_documented() -> None:
    text = (pages.DOCS / "reference" / "python.md").read_text("utf-8")
    named = set(re.findall(r"^::: adaptx\.(?:api\.)?(\w+)$", text, re.M))
    assert named == {*adaptx.__all__, "Places", "Training"} - {"__version__"}


def test_every_error_code_has_its_cause_and_its_cure_in_the_manual(hooks: ModuleType) -> None:
    page = hooks.errors()
    for code, meaning in CODES.items():
        assert f"## {code} {meaning.title} {{ #{code.lower()} }}" in page
        assert f"**Cause.** {hooks._plain(meaning.cause)}" in page
        assert f"**Cure.** {hooks._plain(meaning.cure)}" in page
    assert page.count("\n## ") == len(CODES)


def test_every_verb_option_and_variable_is_in_the_manual(hooks: ModuleType) -> None:
    page, variables = hooks.cli(), hooks.environment()
    for verb, command in pages.verbs().items():
        if not verb:
            continue
        section = re.split(r"^##+ ", page, flags=re.M)
        [mine] = [s for s in section if s.partition("\n")[0] == verb]
        for p in command.params:
            if p.param_type_name == "option" and p.name != "help":
                assert f"`{p.opts[0]}`" in mine, f"{verb} {p.opts[0]}"
            if p.envvar:
                assert f"`{p.envvar}`" in mine
                assert f"| `{p.envvar}` |" in variables


def test_everything_that_is_shipped_is_in_the_manual(hooks: ModuleType) -> None:
    page, shipped = hooks.registry(), Registry()
    for names in (shipped.task_ids(), shipped.methods(), shipped.backbones(), shipped.profiles(), shipped.languages()):
        assert [n for n in names if f"`{n}`" not in page] == []


def test_codes_named_in_pages_exist_and_links_to_them_are_right() -> None:
    for page in PAGES.values():
        text = page.read_text("utf-8")
        assert set(re.findall(r"AX\d{3}", text)) <= set(CODES), page
        for shown, anchor in re.findall(r"\[(AX\d{3})\]\([^)]*errors\.md#(\w+)\)", text):
            assert shown.lower() == anchor


def test_pages_and_notebook_hold_no_place_of_a_machine() -> None:
    for path in [*PAGES.values(), *pages.DOCS.rglob("*.ipynb"), pages.ROOT / "mkdocs.yml"]:
        assert not re.search(r"/(home|root|work|tmp|Users)/\w", path.read_text("utf-8")), path


class Links(HTMLParser):
    """Addresses and anchors of a built page, and every address that it would load by itself."""

    def __init__(self) -> None:
        super().__init__()
        self.links: set[str] = set()
        self.anchors: set[str] = set()
        self.loaded: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {k: v for k, v in attrs if v}
        self.anchors |= {values[k] for k in ("id", "name") if k in values}
        if tag == "a" and "href" in values:
            self.links.add(values["href"])
        if tag in ("script", "img", "source", "iframe") and "src" in values:
            self.loaded.add(values["src"])
        if tag == "link" and "stylesheet" in values.get("rel", ""):
            self.loaded.add(values["href"])


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The manual, built in strict mode: a warning is an error."""
    pytest.importorskip("mkdocs")
    folder = tmp_path_factory.mktemp("manual") / "site"
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(folder)]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1", "PYTHONPATH": str(pages.ROOT / "src")}
    done = subprocess.run(command, cwd=pages.ROOT, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert "WARNING" not in done.stderr
    return folder


@pytest.mark.slow
def test_the_manual_builds_without_a_warning_and_every_link_inside_it_leads_somewhere(site: Path) -> None:
    built: dict[Path, Links] = {}
    for page in site.rglob("*.html"):
        built[page] = Links()
        built[page].feed(page.read_text("utf-8"))
    assert len(built) > len(PAGES)
    dead = []
    for page, found in built.items():
        if page.name == "404.html":
            continue
        for link in (*found.links, *found.loaded):
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            target = (page.parent / unquote(parts.path)).resolve() if parts.path else page
            target = target / "index.html" if target.is_dir() else target
            known = built[target].anchors if target in built else set()
            if not target.is_file() or (parts.fragment and target in built and unquote(parts.fragment) not in known):
                dead.append(f"{page.relative_to(site)}: {link}")
    assert dead == []


@pytest.mark.slow
def test_the_built_manual_loads_nothing_from_elsewhere(site: Path) -> None:
    for page in site.rglob("*.html"):
        found = Links()
        found.feed(page.read_text("utf-8"))
        assert {x for x in found.loaded if urlsplit(x).netloc} == set(), page


@pytest.mark.slow
def test_the_built_manual_has_every_name_and_every_code(site: Path) -> None:
    python = (site / "reference" / "python" / "index.html").read_text("utf-8")
    for name in set(adaptx.__all__) - {"__version__"}:
        assert re.search(rf'id="adaptx\.[\w.]*{name}"', python), name
    for member in ("predict", "frame", "from_file", "as_dict", "run", "report"):
        assert re.search(rf'id="adaptx\.[\w.]+\.{member}"', python), member
    errors = (site / "reference" / "errors" / "index.html").read_text("utf-8")
    assert set(re.findall(r'id="(ax\d{3})"', errors)) == {c.lower() for c in CODES}


NOTEBOOK = pages.DOCS / "tutorials" / "finnish.ipynb"


def test_the_notebook_is_stored_without_results() -> None:
    cells = json.loads(NOTEBOOK.read_text("utf-8"))["cells"]
    assert [c for c in cells if c.get("outputs") or c.get("execution_count")] == []


@pytest.mark.slow
def test_the_notebook_runs_and_its_results_are_tables(world: toy.World, tmp_path: Path) -> None:
    nbclient = pytest.importorskip("nbclient")
    nbformat = pytest.importorskip("nbformat")
    pytest.importorskip("ipykernel")
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    reader = pages.Reader(world, tmp_path)
    environment = {**os.environ, **reader.variables, "PYTHONPATH": str(pages.ROOT / "src"), "OMP_NUM_THREADS": "1"}
    environment["JUPYTER_PLATFORM_DIRS"] = "1"
    client = nbclient.NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(tmp_path)}})
    client.execute(env=environment)
    outputs = [o for c in notebook.cells if c.cell_type == "code" for o in c.outputs]
    assert [o for o in outputs if o.output_type == "error" or o.get("name") == "stderr"] == []
    tables = [o.data["text/html"] for o in outputs if "text/html" in o.get("data", {})]
    assert len(tables) == 3
    assert "sv/ccg" in tables[0]
    assert "Zero-shot on fi" in tables[1]


def test_the_configuration_of_the_manual_opens_with_the_command_that_builds_it() -> None:
    assert CONFIG.startswith("# make docs\n")
    assert yaml.safe_load(CONFIG)["strict"] is True
