"""Every hostile adapter is refused with a code, without running anything and without a trace in the store."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

import hostile
import hub_toy
import toy
from adaptx import hub
from adaptx.config import Settings
from adaptx.errors import CODES, AdaptxError
from adaptx.hub import checks, tensors

REFUSALS = ("AX020", "AX021", "AX022", "AX023")


@pytest.fixture(scope="module")
def found(world: toy.World, tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """What pulling each case gave, in a process with an audit hook."""
    root = tmp_path_factory.mktemp("hostile")
    code = "import hostile, sys; from pathlib import Path; hostile.main(Path(sys.argv[1]), Path(sys.argv[2]))"
    result: dict[str, dict[str, Any]] = json.loads(toy.python(code, root, world.root).splitlines()[-1])
    return result


@pytest.mark.parametrize("name", hostile.CASES)
def test_a_hostile_adapter_is_refused_and_nothing_happens(found: dict[str, dict[str, Any]], name: str) -> None:
    assert found[name]["code"] in REFUSALS and found[name]["code"] in CODES
    assert found[name]["events"] == []
    assert found[name]["left"] == []


def test_the_audit_hook_sees_what_it_should(tmp_path: Path) -> None:
    """The corpus proves nothing if the exploit does not work or the hook is deaf."""
    import pickle

    seen = toy.python(
        "import pickle, sys, json, os\nimport hostile\nevents = []\n"
        "sys.addaudithook(lambda event, arguments: events.append(event))\n"
        f"os.chdir({str(tmp_path)!r})\npickle.loads(hostile.PICKLED)\nprint(json.dumps(events))"
    )
    assert {"pickle.find_class", "os.system"} <= set(json.loads(seen.splitlines()[-1]))
    assert (tmp_path / "executed.txt").read_text() == "executed\n"
    assert pickle.loads(pickle.dumps(1)) == 1


@pytest.mark.parametrize("method", ["pfeiffer", "full"])
def test_the_same_folder_unharmed_is_accepted(settings: Settings, tmp_path: Path, method: str) -> None:
    """What `plant` puts on a hub is refused for its content alone."""
    stored = hub_toy.small(settings, method=method)
    hub_toy.plant(tmp_path / "hub", hub_toy.copied(stored, tmp_path / "copy", hub_toy.redescribed))
    other = toy.settings(toy.World(settings.cache.parent), tmp_path / "other")
    assert hub.pull(other, hub_toy.ref_of(stored), str(tmp_path / "hub"))[0].new


@pytest.mark.parametrize("target", ["head.safetensors", "adapter"])
def test_a_link_in_a_folder_is_refused(settings: Settings, tmp_path: Path, target: str) -> None:
    stored = hub_toy.small(settings)
    folder = hub_toy.copied(stored, tmp_path / "copy")
    (folder / target).rename(tmp_path / "moved")
    (folder / target).symlink_to(tmp_path / "moved")
    with pytest.raises(AdaptxError) as caught:
        checks.check_folder(folder)
    assert caught.value.code in ("AX020", "AX021")


def write(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


Floats = dict[str, tuple[str, bytes]]
LAST: Floats = {
    "F64": ("F64", b"\0" * 6 + b"\xf0\x7f"),
    "F32": ("F32", b"\x01\0\x80\x7f"),
    "F16": ("F16", b"\0\xfc"),
    "BF16": ("BF16", b"\x80\xff"),
}


@pytest.mark.parametrize("dtype", LAST)
def test_weights_that_are_not_finite_are_found_in_every_float_type(tmp_path: Path, dtype: str) -> None:
    bad = LAST[dtype][1]
    good = b"\0" * len(bad)

    def file(parts: bytes) -> Path:
        table = {"a": hostile.tensor(0, len(parts), (len(parts) // len(bad),), dtype)}
        return write(tmp_path / "x.safetensors", hostile.safetensors(table, parts))

    tensors.check_finite(file(good * 9), "x")
    with pytest.raises(AdaptxError) as caught:
        tensors.check_finite(file(good * 9 + bad), "x")
    assert caught.value.code == "AX020"


def test_the_largest_finite_weights_are_fine(tmp_path: Path) -> None:
    import numpy as np
    from safetensors.numpy import save_file

    for kind in (np.float16, np.float32, np.float64):
        top = np.finfo(kind)
        save_file({"a": np.array([top.max, top.min, top.tiny, 0, -0.0], kind)}, tmp_path / "x.safetensors")
        tensors.check_finite(tmp_path / "x.safetensors", "x")


def test_our_reader_of_headers_agrees_with_the_library(tmp_path: Path) -> None:
    import numpy as np
    from safetensors import safe_open
    from safetensors.numpy import save_file

    rng = np.random.default_rng(0)
    state = {f"t{i}": rng.normal(size=shape).astype(np.float32) for i, shape in enumerate([(), (0, 3), (2, 3), (5,)])}
    save_file(state, tmp_path / "x.safetensors", {"format": "pt"})
    begin, spans = tensors.header(tmp_path / "x.safetensors", "x")
    with safe_open(tmp_path / "x.safetensors", "np") as file:
        assert {s.name: s.shape for s in spans} == {n: tuple(file.get_slice(n).get_shape()) for n in file.keys()}  # noqa: SIM118
    raw = (tmp_path / "x.safetensors").read_bytes()
    for span in spans:
        assert raw[begin + span.begin : begin + span.end] == state[span.name].tobytes()


def test_random_bytes_never_raise_anything_but_a_refusal(settings: Settings, tmp_path: Path) -> None:
    """Mutations of a good file: each is read as before or refused, in words."""
    import numpy as np

    stored = hub_toy.small(settings)
    good = (stored.folder / hostile.WEIGHTS).read_bytes()
    rng = np.random.default_rng(0)
    refused = 0
    for _ in range(400):
        data = bytearray(good)
        for _ in range(rng.integers(1, 4)):
            data[rng.integers(0, min(len(data), 300))] = rng.integers(0, 256)
        try:
            tensors.check_finite(write(tmp_path / "x", bytes(data[: rng.integers(1, len(data) + 1)])), "x")
        except AdaptxError as error:
            assert error.code in ("AX020", "AX021")
            refused += 1
    assert refused > 300


def test_a_hub_with_a_link_in_its_entries_shows_nothing_of_the_victim(settings: Settings, tmp_path: Path) -> None:
    place = tmp_path / "hub"
    stored = hub_toy.small(settings)
    path = hub_toy.plant(place, hub_toy.copied(stored, tmp_path / "copy"))
    os.rename(path, tmp_path / "secret.json")
    path.symlink_to(tmp_path / "secret.json")
    assert hub.listing(str(place), settings.cache) == []
    assert [v.code for v in hub.verify(str(place), settings.cache)] == ["AX021"]
