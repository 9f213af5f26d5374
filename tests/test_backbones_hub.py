"""Backbones from the Hub, fetched by the unmodified client from a stand-in: what is fetched, from where, and when not."""

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

import hub_server
import toy
from adaptx import backbones
from adaptx.config import Settings
from test_backbones import load, states  # noqa: F401

# The client tries five times, and waits between: the waiting is left out.
LOCATE = """
import json, sys, time
from pathlib import Path
time.sleep = lambda _: None
import toy
from adaptx import backbones
from adaptx.errors import AdaptxError
settings = toy.settings(toy.World(Path(sys.argv[1])), Path(sys.argv[2]) / "store", cache=Path(sys.argv[2]) / "cache")
try:
    files = backbones.locate(settings, sys.argv[3])
    print(json.dumps({"folder": str(files.folder), "revision": files.revision, "id": files.id, "name": files.name}))
except AdaptxError as error:
    print(json.dumps({"code": error.code, "given": error.given}))
"""


@pytest.fixture
def hub(world: toy.World) -> Iterator[hub_server.HubServer]:
    """A Hub that holds a repository with one commit and more files than anybody should fetch."""
    with hub_server.serve() as server:
        files = hub_server.folder_files(world.backbone("bert"))
        extra = {"pytorch_model.bin": b"pickle", "modeling.py": b"raise SystemExit", "README.md": b"hello"}
        server.repositories["toys/bert"] = hub_server.Repository()
        server.repositories["toys/bert"].commit({**files, **extra})
        yield server


Locate = Callable[..., dict[str, Any]]


@pytest.fixture
def locate(world: toy.World, tmp_path: Path, hub: hub_server.HubServer) -> Locate:
    """Locates a backbone in a process whose huggingface_hub talks to the stand-in; one cache a test."""

    def run(name: str = "toys/bert", **environment: str) -> dict[str, Any]:
        given = {"HF_ENDPOINT": hub.url, "HF_HUB_OFFLINE": "0", "HF_HOME": str(tmp_path / "hf"), **environment}
        found: dict[str, Any] = json.loads(toy.python(LOCATE, world.root, tmp_path, name, **given))
        return found

    return run


def test_a_hub_repository_gives_its_three_files_and_nothing_else(
    hub: hub_server.HubServer, locate: Locate, world: toy.World, settings: Settings
) -> None:
    found = locate()
    assert hub.files_asked() == set(backbones.FILES)
    assert found["revision"] == hub.repositories["toys/bert"].branches["main"]
    assert found["name"] == found["id"] == "toys/bert"
    assert sorted(p.name for p in Path(found["folder"]).iterdir()) == sorted(backbones.FILES)
    fetched, local = (
        backbones.load(backbones.locate(settings, name)) for name in (found["folder"], str(world.backbone("bert")))
    )
    assert fetched.files.weights_sha256 == local.files.weights_sha256
    assert fetched.state.keys() == local.state.keys()
    assert all(torch.equal(v, local.state[k]) for k, v in fetched.state.items())


def test_a_second_look_downloads_nothing_and_works_without_the_hub(hub: hub_server.HubServer, locate: Locate) -> None:
    first = locate()
    hub.asked.clear()
    assert locate() == first
    assert not [line for line in hub.asked if line.startswith("GET")]
    assert locate(HF_HUB_OFFLINE="1") == first
    hub.failing = True
    assert locate() == first
    assert locate(HF_ENDPOINT="http://127.0.0.1:9") == first


def test_without_cache_and_network_the_error_says_so(hub: hub_server.HubServer, locate: Locate) -> None:
    expected = {"code": "AX030", "given": "toys/bert"}
    assert locate(HF_HUB_OFFLINE="1") == expected
    assert locate(HF_ENDPOINT="http://127.0.0.1:9") == expected
    hub.failing = True
    assert locate() == expected
    assert hub.asked


def test_all_files_come_from_one_commit_even_when_the_branch_moves_between_them(
    hub: hub_server.HubServer, locate: Locate, world: toy.World
) -> None:
    repository = hub.repositories["toys/bert"]
    first = repository.branches["main"]
    repository.commit(hub_server.folder_files(world.backbone("other")), "next")
    hub.advance = 1
    found = locate()
    assert repository.branches["main"] != first, "it did move"
    assert found["revision"] == first
    for file in backbones.FILES:
        assert (Path(found["folder"]) / file).read_bytes() == repository.commits[first][file]


@pytest.mark.parametrize("missing", backbones.FILES)
def test_a_repository_without_one_of_the_files_is_not_a_backbone(
    missing: str, hub: hub_server.HubServer, locate: Locate
) -> None:
    repository = hub.repositories["toys/bert"]
    content = repository.commits[repository.branches["main"]]
    repository.commit({k: v for k, v in content.items() if k != missing})
    assert locate()["code"] == "AX030"
    assert "pytorch_model.bin" not in hub.files_asked()


@pytest.mark.parametrize("name", ["toys/nothing", "toys/ber t", "toys/..", "toys/-x-"])
def test_repositories_that_do_not_exist_or_cannot_are_refused(name: str, locate: Locate) -> None:
    assert locate(name)["code"] in ("AX004", "AX030")


def test_a_registered_revision_is_the_one_that_is_fetched(
    hub: hub_server.HubServer, world: toy.World, tmp_path: Path
) -> None:
    repository = hub.repositories["toys/bert"]
    pinned = repository.branches["main"]
    newer = repository.commit(hub_server.folder_files(world.backbone("other")))
    registry = Path(shutil.copytree(world.registry, tmp_path / "registry"))
    entry = "pinned: {source: hub, id: toys/bert, revision: %s, licence: MIT}\nopen: {source: hub, id: toys/bert}\n"
    (registry / "backbones.yaml").write_text(entry % pinned)
    code = LOCATE.replace('"cache")', '"cache", registry=Path(sys.argv[2]) / "registry")')
    given = {"HF_ENDPOINT": hub.url, "HF_HUB_OFFLINE": "0", "HF_HOME": str(tmp_path / "hf")}
    for name, revision in (("pinned", pinned), ("open", newer)):
        found = json.loads(toy.python(code, world.root, tmp_path, name, **given))
        assert (found["revision"], found["name"], found["id"]) == (revision, name, "toys/bert")
