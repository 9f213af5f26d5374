"""A command imports less than its libraries would; a program that uses adaptx finds everything as it was."""

import gc
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

import shop as shops
import toy
from adaptx import libraries
from shop import TRAIN

LEFT_OUT = ("bitsandbytes", "scipy", "sklearn")
REPORT = f"""
import gc, importlib, json, sys
from transformers.utils import is_sklearn_available
there = [m for m in {LEFT_OUT} if m in sys.modules]
later = [importlib.import_module(m).__name__ for m in {LEFT_OUT}]
print(json.dumps([there, is_sklearn_available(), list(gc.get_threshold()), later]))
"""
COMMANDS = f"""
import contextlib, io, json, sys
from adaptx.cli import main
for line in json.loads(sys.argv[1]):
    sys.argv[1:] = line
    with contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(SystemExit):
        main()
{REPORT}
"""
PROGRAM = f"""
import gc, sys
gc.set_threshold(1234, 5, 6)
import adaptx
adaptx.train("en", "toynli", method=sys.argv[1], max_steps=1)
{REPORT}
"""


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    usual, thresholds = libraries._usual, gc.get_threshold()
    libraries._usual = None
    yield
    libraries._usual = usual
    gc.set_threshold(*thresholds)


@pytest.fixture(scope="module")
def shop(world: toy.World, tmp_path_factory: pytest.TempPathFactory) -> shops.Shop:
    return shops.build(world, tmp_path_factory.mktemp("libraries"))


def test_a_command_trains_without_what_it_never_calls_and_gives_it_back(shop: shops.Shop, tmp_path: Path) -> None:
    place = ("--max-steps", "1", "--store", str(tmp_path))
    there, sklearn, thresholds, later = json.loads(toy.python(COMMANDS, json.dumps([[*TRAIN, *place]]), **shop.twins))
    assert there == []
    assert not sklearn
    assert thresholds == json.loads(toy.python("import gc; print(list(gc.get_threshold()))"))
    assert later == list(LEFT_OUT)


def test_weights_in_four_bits_still_find_their_library(shop: shops.Shop, tmp_path: Path) -> None:
    place = ("--max-steps", "1", "--store", str(tmp_path))
    lines = [[*TRAIN, *place], [*TRAIN, *place, "--method", "qlora"]]
    there, *_ = json.loads(toy.python(COMMANDS, json.dumps(lines), **shop.twins))
    assert there == ["bitsandbytes"]


def test_a_program_that_calls_adaptx_has_its_libraries_as_they_are(shop: shops.Shop, tmp_path: Path) -> None:
    places = {**shop.twins, "ADAPTX_STORE": str(tmp_path)}
    there, sklearn, thresholds, _ = json.loads(toy.python(PROGRAM, "pfeiffer", **places))
    assert set(there) == set(LEFT_OUT)
    assert sklearn
    assert thresholds == [1234, 5, 6]


def test_nothing_is_hidden_where_the_process_is_not_ours() -> None:
    before = gc.get_threshold()
    with libraries.importing("an_absent_one"):
        assert "an_absent_one" not in sys.modules
        assert gc.get_threshold() == before


def test_hidden_names_are_found_again_also_after_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    before, loaded = gc.get_threshold(), ModuleType("a_loaded_one")
    monkeypatch.setitem(sys.modules, "a_loaded_one", loaded)
    libraries.ours()
    libraries.ours()
    with pytest.raises(ImportError), libraries.importing("wave", "a_loaded_one"):
        assert sys.modules["a_loaded_one"] is loaded, "what is there already stays"
        assert gc.get_threshold() == libraries.RARE
        import wave
    import wave

    assert wave.open
    assert gc.get_threshold() == before
