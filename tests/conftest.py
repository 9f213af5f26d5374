"""Fixtures that all tests share: no network, one thread, no settings from the caller's environment, the toy world."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

# Before any test module imports these libraries: they read the environment once.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import pytest

import toy
from adaptx.config import Settings


@pytest.fixture(scope="session", autouse=True)
def _own_environment() -> Iterator[None]:
    """Settings come from the tests, not from ADAPTX_* variables around them."""
    with pytest.MonkeyPatch.context() as patch:
        for name in [n for n in os.environ if n.startswith("ADAPTX_")]:
            patch.delenv(name)
        yield


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> toy.World:
    """Tiny backbones, toy data and the registry overlay that names them; read-only."""
    return toy.build(tmp_path_factory.mktemp("world"))


@pytest.fixture
def settings(world: toy.World, tmp_path: Path) -> Settings:
    """Settings over the toy world with an empty store and the BERT backbone."""
    return toy.settings(world, tmp_path / "store")


@pytest.fixture(scope="module")
def settings_on(world: toy.World, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Settings]:
    """Settings over a backbone of the toy world, with one store for the whole module."""
    store = tmp_path_factory.mktemp("module") / "store"
    return lambda backbone: toy.settings(world, store, backbone)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What is marked `gpu` skips where there is none."""
    if any(item.get_closest_marker("gpu") for item in items):
        import torch

        if not torch.cuda.is_available():
            for item in items:
                if item.get_closest_marker("gpu"):
                    item.add_marker(pytest.mark.skip(reason="no CUDA device"))
