"""Adapters on disk: written whole, verified before use, found again by recipe and reference, equal after reloading."""

import json
import os
import pickle
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import toy
from adaptx import manifest, scoring, store
from adaptx.config import RunOptions, Settings
from adaptx.errors import AdaptxError
from adaptx.refs import Ref, parse_ref
from adaptx.registry import Registry
from adaptx.stack import Stack
from adaptx.store import Stored
from adaptx.training import prepare, run

PFEIFFER = replace(toy.OPTIONS, method="pfeiffer", max_steps=2)


@pytest.fixture(scope="module")
def original(settings_on: Callable[[str], Settings]) -> Stored:
    """A finished adapter that no test changes."""
    return toy.made(settings_on("bert"), "pfeiffer")


@pytest.fixture
def copy(original: Stored, tmp_path: Path) -> Stored:
    """The same adapter in a store of the test's own."""
    place = store.folder_of(tmp_path / "store", original.recipe)
    shutil.copytree(original.folder, place)
    return store.verified(place)


def code_of(action: Callable[[], object]) -> str:
    with pytest.raises(AdaptxError) as caught:
        action()
    return caught.value.code


def test_a_finished_folder_holds_what_the_layout_promises_and_verifies(original: Stored) -> None:
    r, folder = original.recipe, original.folder
    assert folder.parts[-5:] == ("bert", "en", "toynli", "pfeiffer", r.run_id)
    assert sorted(p.name for p in folder.iterdir()) == ["README.md", "adapter", "head.safetensors", "manifest.json"]
    assert {f.path for f in original.manifest.files} == {
        "adapter/adapter.safetensors",
        "adapter/adapter_config.json",
        "head.safetensors",
    }
    table = {f"{t.file}:{t.name}": t for t in original.manifest.tensors}
    values = toy.tensors(folder)
    assert table.keys() == values.keys()
    assert all(t.shape == tuple(values[name].shape) for name, t in table.items())
    assert original.manifest.ref == r.ref == f"en/toynli:pfeiffer@{r.run_id[:8]}"
    assert store.verified(folder) == original
    assert store.get(folder.parents[4], r) == original
    assert store.listing(folder.parents[4]) == [original]


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-5] ^= 1
    path.write_bytes(bytes(data))


def link(path: Path, folder: Path) -> None:
    target = folder.parent / "elsewhere"
    path.rename(target)
    path.symlink_to(target)


def edit(change: Callable[[dict[str, Any]], object]) -> Callable[[Path], None]:
    def apply(folder: Path) -> None:
        path = folder / manifest.FILE
        value = json.loads(path.read_text())
        change(value)
        path.write_text(json.dumps(value))

    return apply


def swap_tensor(folder: Path) -> None:
    """Other weights of the same size, with the file's hash in the manifest made to fit."""
    flip(folder / "head.safetensors")
    entry = store.inventory(folder)[0]
    edit(lambda m: m.update(files=[f.model_dump(mode="json") for f in entry]))(folder)


WEIGHTS = "adapter/adapter.safetensors"
DAMAGE: dict[str, tuple[str, Callable[[Path], object]]] = {
    "a truncated weights file": ("AX020", lambda f: os.truncate(f / WEIGHTS, 500)),
    "an empty weights file": ("AX020", lambda f: os.truncate(f / WEIGHTS, 0)),
    "a flipped bit in the adapter": ("AX020", lambda f: flip(f / WEIGHTS)),
    "a flipped bit in the head": ("AX020", lambda f: flip(f / "head.safetensors")),
    "an altered adapter config": ("AX020", lambda f: flip(f / "adapter/adapter_config.json")),
    "an extra file": ("AX020", lambda f: (f / "adapter/notes.txt").write_text("x")),
    "extra weights": ("AX020", lambda f: shutil.copy(f / WEIGHTS, f / "adapter/more.safetensors")),
    "a missing weights file": ("AX020", lambda f: (f / WEIGHTS).unlink()),
    "a missing head": ("AX020", lambda f: (f / "head.safetensors").unlink()),
    "weights exchanged with their hash": ("AX020", swap_tensor),
    "a symlink for a file": ("AX021", lambda f: link(f / "head.safetensors", f)),
    "a symlink for a folder": ("AX021", lambda f: link(f / "adapter", f)),
    "a dangling symlink": ("AX021", lambda f: (f / "extra").symlink_to("nowhere")),
    "a named pipe": ("AX021", lambda f: os.mkfifo(f / "pipe")),
    "a pickle": ("AX021", lambda f: (f / "adapter/pytorch_adapter.bin").write_bytes(pickle.dumps({}))),
    "a pickle in upper case": ("AX021", lambda f: (f / "WEIGHTS.PT").write_bytes(pickle.dumps({}))),
    "a pickle beside the predictions": ("AX021", lambda f: toy.put(f / "predictions/x.pkl", "")),
    "no manifest": ("AX023", lambda f: (f / manifest.FILE).unlink()),
    "a manifest that is not JSON": ("AX023", lambda f: os.truncate(f / manifest.FILE, 300)),
    "a manifest that is a list": ("AX023", lambda f: (f / manifest.FILE).write_text("[]")),
    "a manifest with an unknown field": ("AX023", edit(lambda m: m.update(trust=True))),
    "a manifest without files": ("AX023", edit(lambda m: m.pop("files"))),
    "a manifest of a later schema": ("AX023", edit(lambda m: m.update(schema_version=2))),
    "a manifest with another recipe": ("AX023", edit(lambda m: m["recipe"].update(seed=9))),
    "a manifest with another run id": ("AX023", edit(lambda m: m.update(run="0" * 64))),
    "a manifest with another reference": ("AX023", edit(lambda m: m.update(ref="fi/udpos:lora@00000000"))),
    "a manifest that hides a file": ("AX020", edit(lambda m: m["files"].pop())),
    "a manifest that promises a file": ("AX020", edit(lambda m: m["files"].append({**m["files"][0], "path": "more"}))),
    "a manifest that names a file outside": ("AX020", edit(lambda m: m["files"][0].update(path="../../x"))),
    "a manifest with another file hash": ("AX020", edit(lambda m: m["files"][0].update(sha256="0" * 64))),
    "a manifest with another shape": ("AX020", edit(lambda m: m["tensors"][0].update(shape=[1, 1]))),
    "a manifest with another dtype": ("AX020", edit(lambda m: m["tensors"][0].update(dtype="F16"))),
    "a manifest with another tensor hash": ("AX020", edit(lambda m: m["tensors"][0].update(sha256="0" * 64))),
    "a manifest that renames a tensor": ("AX020", edit(lambda m: m["tensors"][0].update(name="other"))),
    "a manifest that hides a tensor": ("AX020", edit(lambda m: m["tensors"].pop())),
    "a manifest without tensors": ("AX020", edit(lambda m: m["tensors"].clear())),
    "a manifest that promises a tensor": (
        "AX020",
        edit(lambda m: m["tensors"].append({**m["tensors"][0], "name": "not.there"})),
    ),
}


@pytest.mark.parametrize(("code", "damage"), DAMAGE.values(), ids=DAMAGE.keys())
def test_a_folder_is_refused_for(code: str, damage: Callable[[Path], object], copy: Stored) -> None:
    damage(copy.folder)
    assert code_of(lambda: store.verified(copy.folder)) == code
    assert store.get(copy.folder.parents[4], copy.recipe) is None


def test_a_folder_that_does_not_read_is_left_out_of_the_listing_and_named(copy: Stored) -> None:
    place = copy.folder.parents[4]
    assert store.contents(place) == ([copy], [])
    edit(lambda m: m.update(schema_version=2))(copy.folder)
    assert store.listing(place) == []
    found, [error] = store.contents(place)
    assert found == []
    assert (error.code, copy.recipe.run_id[:8] in str(error.given)) == ("AX023", True)
    with pytest.raises(AdaptxError, match="1 of its folders cannot be read"):
        store.find(place, Ref("en", "toynli"))


@pytest.mark.parametrize(
    "change",
    [
        lambda f: (f / "README.md").write_text("my own words"),
        lambda f: (f / "README.md").unlink(),
        lambda f: toy.put(f / "predictions/fi.json", "{}"),
    ],
    ids=["an edited card", "no card", "predictions beside it"],
)
def test_a_folder_still_verifies_with(change: Callable[[Path], object], copy: Stored) -> None:
    change(copy.folder)
    assert store.verified(copy.folder) == copy


def test_writing_is_all_or_nothing(original: Stored, tmp_path: Path) -> None:
    place = tmp_path / "store"

    def half(stage: Path) -> None:
        (stage / "adapter").mkdir()
        (stage / "adapter" / "half.safetensors").write_bytes(b"x")
        raise RuntimeError("disk full")

    with pytest.raises(RuntimeError, match="disk full"):
        store.write(place, original.recipe, half, lambda *_: original.manifest, lambda _: "")
    assert [p for p in place.rglob("*") if p.is_file()] == []
    assert store.listing(place) == []


def test_a_failed_second_write_leaves_the_first(copy: Stored) -> None:
    def fail(stage: Path) -> None:
        (stage / "head.safetensors").write_bytes(b"")
        raise KeyboardInterrupt

    place = copy.folder.parents[4]
    with pytest.raises(KeyboardInterrupt):
        store.write(place, copy.recipe, fail, lambda *_: copy.manifest, lambda _: "")
    assert store.get(place, copy.recipe) == copy
    assert [p.name for p in copy.folder.parent.iterdir()] == [copy.folder.name]


def test_the_same_recipe_is_found_and_not_trained_again(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    job = prepare(settings, "en", "toynli", PFEIFFER)
    assert job.done is None
    first = run(job)
    assert job.done == first
    events: list[str] = []
    with monkeypatch.context() as patch:
        patch.setattr("adaptx.engine.loop.train", lambda *_: pytest.fail("trained again"))
        again = run(prepare(settings, "en", "toynli", PFEIFFER), lambda event, _: events.append(event))
    assert again == first
    assert events == ["found"]
    flip(first.folder / "head.safetensors")
    assert job.done is None
    repaired = run(prepare(settings, "en", "toynli", PFEIFFER))
    assert repaired.manifest.files == first.manifest.files, "a damaged adapter is trained again, to the same bits"


def run_id(settings: Settings, options: RunOptions = PFEIFFER) -> str:
    return prepare(settings, "en", "toynli", options).recipe.run_id


def fresh(settings: Settings, **changes: Any) -> Settings:
    """Settings that have read nothing yet."""
    return replace(settings, registry=Registry(settings.registry.overlay), **changes)


def test_every_cause_changes_the_run_id(world: toy.World, tmp_path: Path) -> None:
    settings = toy.settings(world, tmp_path / "store")
    options = [
        PFEIFFER,
        *(
            replace(PFEIFFER, **change)
            for change in (
                {"seed": 1},
                {"lr": 5e-4},
                {"limit": 20},
                {"epochs": 1.0},
                {"max_steps": 3},
                {"batch_tokens": 64},
                {"method": "lora"},
                {"precision": "bf16"},
                {"hyper": {"reduction_factor": 4}},
            )
        ),
    ]
    ids = [run_id(settings, o) for o in options]
    ids.append(run_id(toy.settings(world, tmp_path / "store", "other")))
    ids.append(prepare(settings, "qaa", "toynli", PFEIFFER).recipe.run_id)
    ids.append(prepare(settings, "en", "toypos", PFEIFFER).recipe.run_id)
    assert len(set(ids)) == len(ids)
    assert run_id(fresh(settings)) == ids[0]
    assert all(len(i) == 64 and int(i, 16) >= 0 for i in ids)


def copied_data(world: toy.World, root: Path) -> Path:
    return Path(shutil.copytree(world.data, root / "data"))


@pytest.mark.parametrize(
    ("file", "counts"),
    [("toynli/en/train.tsv", True), ("toynli/en/dev.tsv", True), ("toynli/en/test.tsv", False)],
    ids=["training data do", "dev data do, they select checkpoints", "test data do not"],
)
def test_changed_data_change_the_run_id(file: str, counts: bool, world: toy.World, tmp_path: Path) -> None:
    data = copied_data(world, tmp_path)
    settings = toy.settings(world, tmp_path / "store", data_root=data)
    before = run_id(settings)
    assert before == run_id(toy.settings(world, tmp_path / "store")), "where the data lies does not matter"
    path = data / file
    path.write_text(path.read_text().replace("bado", "lemi", 1))
    assert (run_id(fresh(settings)) != before) is counts


@pytest.mark.parametrize("file", ["model.safetensors", "tokenizer.json", "config.json"])
def test_every_file_of_the_backbone_changes_the_run_id(file: str, world: toy.World, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(world.backbone("bert"), tmp_path / "bert"))
    before = run_id(toy.settings(world, tmp_path / "store", backbone=str(folder)))
    assert before == run_id(toy.settings(world, tmp_path / "store")), "where the backbone lies does not matter"
    changed = {
        "model.safetensors": lambda data: data[:-5] + bytes([data[-5] ^ 1]) + data[-4:],
        "tokenizer.json": lambda data: data.replace("▁ba".encode(), "▁zz".encode()),
        "config.json": lambda data: data.replace(b'"gelu"', b'"relu"'),
    }[file]((folder / file).read_bytes())
    assert changed != (folder / file).read_bytes()
    (folder / file).write_bytes(changed)
    assert run_id(toy.settings(world, tmp_path / "store", backbone=str(folder))) != before


def overlaid(world: toy.World, root: Path, old: str, new: str) -> Settings:
    registry = Path(shutil.copytree(world.registry, root / "registry"))
    assert old in toy.TOYNLI_YAML
    (registry / "tasks" / "toynli.yaml").write_text(toy.TOYNLI_YAML.replace(old, new))
    return toy.settings(world, root / "store", registry=registry)


@pytest.mark.parametrize(
    ("old", "new", "counts"),
    [
        ("licence: CC0-1.0", "licence: of another owner", False),
        ("licence: CC0-1.0", "licence: CC0-1.0\n    note: shown beside every score", False),
        ("title: toy inference", "title: another title", False),
        ("text: premise, pair: hypothesis", "text: hypothesis, pair: premise", True),
        ("max_tokens: 48", "max_tokens: 47", True),
        ('train: [{files: ["toynli', 'train: [{rows: [0, 39], files: ["toynli', True),
        ("[entailment, neutral, contradiction]", "[neutral, entailment, contradiction]", True),
    ],
    ids=["licence", "note", "title", "columns", "length bound", "row range", "order of labels"],
)  # fmt: skip
def test_a_change_of_the_task_counts_where_it_can_change_a_result(
    old: str, new: str, counts: bool, world: toy.World, tmp_path: Path
) -> None:
    plain = run_id(toy.settings(world, tmp_path / "store"))
    assert (run_id(overlaid(world, tmp_path, old, new)) != plain) is counts


def test_licences_travel_into_manifest_and_card(settings: Settings) -> None:
    found = toy.made(settings, "pfeiffer", name="toypos")
    assert found.manifest.licences == ("CC-BY-NC-4.0",)
    card = (found.folder / "README.md").read_text()
    assert "CC-BY-NC-4.0" in card
    assert "non-commercial" in card.lower()
    assert "made up" in card, "the source's note"
    assert "non-commercial" not in (toy.made(settings, "pfeiffer").folder / "README.md").read_text().lower()


def stamp(stored: Stored, created: str) -> None:
    edit(lambda m: m.update(created=created))(stored.folder)


def test_references_find_the_adapter_they_name_and_nothing_else(settings: Settings) -> None:
    place = settings.store
    old, new = toy.made(settings, "pfeiffer", seed=0), toy.made(settings, "pfeiffer", seed=1)
    stamp(old, "2020-01-01T00:00:00+00:00")
    stamp(new, "2021-01-01T00:00:00+00:00")
    other = toy.made(settings, "pfeiffer", lang="qaa")

    def found(text: str, backbone: str | None = None) -> str:
        return store.find(place, parse_ref(text), backbone).manifest.run

    assert found("en/toynli") == new.manifest.run, "the newest of one method"
    assert found("qaa/toynli") == other.manifest.run
    assert found(f"en/toynli@{old.manifest.run[:6]}") == old.manifest.run
    assert found(f"en/toynli:pfeiffer@{old.manifest.run}", "bert") == old.manifest.run
    assert code_of(lambda: found("en/toynli", "other")) == "AX006"
    assert code_of(lambda: found("en/toynli:lora")) == "AX006"
    assert code_of(lambda: found("en/toypos")) == "AX006"
    assert code_of(lambda: found(f"qaa/toynli@{old.manifest.run[:6]}")) == "AX006"
    lora = toy.made(settings, "lora")
    assert code_of(lambda: found("en/toynli")) == "AX007"
    assert found("en/toynli:pfeiffer") == new.manifest.run
    assert found("en/toynli:lora") == found(f"en/toynli@{lora.manifest.run[:6]}") == lora.manifest.run
    stamps = [s.manifest.created for s in store.match(place, parse_ref("en/toynli:pfeiffer"))]
    assert stamps == sorted(stamps)
    assert len(stamps) == 2


def test_a_reference_that_finds_nothing_is_told_what_there_is(copy: Stored) -> None:
    with pytest.raises(AdaptxError) as caught:
        store.find(copy.folder.parents[4], parse_ref("en/toypos"))
    assert caught.value.code == "AX006"
    assert copy.ref in caught.value.why


def test_a_damaged_adapter_is_not_found_silently(copy: Stored) -> None:
    flip(copy.folder / "head.safetensors")
    assert code_of(lambda: store.find(copy.folder.parents[4], parse_ref("en/toynli"))) == "AX020"


def test_unfinished_folders_are_not_listed(copy: Stored) -> None:
    place = copy.folder.parents[4]
    shutil.copytree(copy.folder, copy.folder.with_name(".stage"))
    no_manifest = copy.folder.with_name("0" * 64)
    shutil.copytree(copy.folder, no_manifest)
    (no_manifest / manifest.FILE).unlink()
    assert store.listing(place) == [copy]


def test_an_adapter_runs_on_its_own_backbone_only_unless_that_is_overridden(
    world: toy.World, settings: Settings
) -> None:
    made = toy.made(settings, "pfeiffer")
    elsewhere = toy.settings(world, settings.store, "other")
    stack, task = Stack((made,)), settings.registry.task("toynli")

    def score(place: Settings, allow: bool) -> scoring.Cell:
        return scoring.cell(place, stack, task, "qaa", "fp32", allow_mismatch=allow)

    right = score(settings, False)
    assert code_of(lambda: score(elsewhere, False)) == "AX022"
    overridden = score(elsewhere, True)
    assert overridden.n == right.n == 16
    assert overridden.path != right.path
    assert code_of(lambda: score(elsewhere, False)) == "AX022", "an override is not remembered"
    assert score(settings, False).path == right.path


def test_training_from_an_adapter_of_another_backbone_is_refused(world: toy.World, settings: Settings) -> None:
    foreign = toy.made(toy.settings(world, settings.store, "other"), "pfeiffer")
    own = toy.made(settings, "pfeiffer")
    started = toy.made(settings, "pfeiffer", name="toypos", init_from=own)
    assert [p.run for p in started.recipe.parent("init_from")] == [own.manifest.run]
    assert code_of(lambda: toy.made(settings, "pfeiffer", name="toypos", init_from=foreign)) == "AX022"
    assert code_of(lambda: toy.made(settings, "pfeiffer", name="toypos", stack=Stack((foreign,)))) == "AX022"
