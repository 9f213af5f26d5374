"""The wheel holds everything that the checkout has, and works without it."""

import importlib.util
import json
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import toy

ROOT = toy.TESTS.parent
BUILDERS = {
    "build": ["-m", "build", "--wheel", "--no-isolation", "--outdir"],
    "pip": ["-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir"],
}
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(importlib.util.find_spec("hatchling") is None, reason="hatchling is not installed"),
]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built without a network."""
    folder = tmp_path_factory.mktemp("wheel")
    name = next((n for n in BUILDERS if importlib.util.find_spec(n)), None)
    if name is None:
        pytest.skip("neither build nor pip is installed")
    extra = [str(folder)] if name == "build" else [str(folder), "--no-index"]
    command = [sys.executable, *BUILDERS[name], *extra, str(ROOT)]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
    [found] = folder.glob("*.whl")
    return found


@pytest.fixture(scope="module")
def unpacked(wheel: Path) -> Path:
    folder = wheel.parent / "unpacked"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder)
    return folder


def in_checkout(folder: Path, place: str) -> set[str]:
    """Files below a folder of the checkout, by their place in the wheel."""
    found = (p for p in folder.rglob("*") if p.is_file() and "__pycache__" not in p.parts)
    return {f"{place}/{p.relative_to(folder).as_posix()}" for p in found}


def test_the_wheel_holds_the_package_and_the_configurations_and_nothing_else(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = {n for n in archive.namelist() if ".dist-info/" not in n}
    expected = in_checkout(ROOT / "src" / "adaptx", "adaptx") | in_checkout(ROOT / "configs", "adaptx/configs")
    assert names == expected
    assert {
        "adaptx/configs/tasks/udpos.yaml",
        "adaptx/configs/methods.yaml",
        "adaptx/data/sample/concepts.yaml",
    } <= names
    assert {f"adaptx/data/sample/lexicon/{lang}.yaml" for lang in ("en", "sv", "et", "de", "fi")} <= names


def test_the_wheel_brings_the_command_and_its_licence(unpacked: Path) -> None:
    [info] = unpacked.glob("*.dist-info")
    assert "adaptx = adaptx.cli:main" in (info / "entry_points.txt").read_text()
    assert list(info.rglob("LICENSE"))
    metadata = (info / "METADATA").read_text()
    assert "\nLicense-Expression: MIT\n" in metadata
    assert "\nProvides-Extra: local\n" in metadata


def test_an_unpacked_wheel_works_without_the_checkout(unpacked: Path, tmp_path: Path) -> None:
    code = """
import json, sys, adaptx
from adaptx.registry import configs_folder
from adaptx.data import sample
from adaptx.cli import main
print(json.dumps([adaptx.__file__, str(configs_folder()), len(sample.generate("nli", "fi", "test"))]))
sys.argv = ["adaptx", "ls", "tasks", "--json"]
main()
"""
    # an editable install of the checkout must not help out: -S leaves its path file unread
    places = [str(unpacked), *(p for p in sys.path if p.endswith("site-packages"))]
    environment = {"PYTHONPATH": ":".join(places), "PATH": "/usr/bin:/bin", "HOME": str(tmp_path)}
    command = [sys.executable, "-S", "-c", code]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    first, _, rest = done.stdout.partition("\n")
    package, configs, rows = json.loads(first)
    assert Path(package) == unpacked / "adaptx" / "__init__.py"
    assert Path(configs) == unpacked / "adaptx" / "configs"
    assert rows > 0
    shipped = {p.stem for p in (ROOT / "configs" / "tasks").glob("*.yaml")}
    assert {t["task"] for t in json.loads(rest)} == shipped


@pytest.fixture(scope="module")
def clean(wheel: Path) -> Path:
    """An environment into which the wheel was installed by pip; its dependencies are those of this one, but no more.

    A plain path in a .pth file makes packages importable without reading that folder's own .pth files, so an editable
    install of the checkout stays out of sight.
    """
    folder = wheel.parent / "clean"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True, timeout=120)
    python = folder / "bin" / "python"
    install = [sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet", "--no-deps", "--no-index"]
    done = subprocess.run([*install, str(wheel)], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    [site] = (folder / "lib").glob("python*/site-packages")
    (site / "dependencies.pth").write_text("".join(f"{p}\n" for p in sys.path if p.endswith("site-packages")))
    return folder


def test_an_installed_wheel_runs_the_two_commands_outside_the_checkout(
    clean: Path, world: toy.World, tmp_path: Path
) -> None:
    environment = {
        **{"PATH": f"{clean / 'bin'}:/usr/bin:/bin", "HOME": str(tmp_path), "NO_COLOR": "1", "OMP_NUM_THREADS": "1"},
        **{"HF_HUB_OFFLINE": "1", "ADAPTX_BACKBONE": str(world.backbone("bert")), "ADAPTX_DEVICE": "cpu"},
        **{"ADAPTX_LIMIT": "24", "ADAPTX_MAX_STEPS": "2", "ADAPTX_PRECISION": "fp32"},
    }

    def typed(line: str) -> str:
        command = [str(clean / "bin" / "adaptx"), *line.split()]
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr
        return done.stdout

    where = "import adaptx, adaptx.registry as r; print(adaptx.__file__, r.configs_folder())"
    python = [str(clean / "bin" / "python"), "-c", where]
    places = subprocess.run(python, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True).stdout
    assert all(p.startswith(str(clean)) for p in places.split())
    assert typed("--version").startswith("adaptx ")
    assert typed("train-adapter --lang sv --task anli").startswith("sv/anli:pfeiffer@")
    table = typed("eval fi --tasks udpos,tatoeba")
    assert "Zero-shot on fi" in table
    assert all(task in table for task in ("udpos", "tatoeba"))
    assert "sv/anli" in table
