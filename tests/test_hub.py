"""A folder hub: what is pushed is found and pulled byte for byte, versions add up, damage is refused."""

import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

import hub_toy
import toy
import toy_files
from adaptx import hub, store
from adaptx.config import Settings
from adaptx.errors import CODES, AdaptxError
from adaptx.hub import catalogue, leaks, names
from adaptx.hub.address import open_hub
from adaptx.recipe import Parent
from adaptx.refs import Ref, parse_ref

SV = Ref("sv", "anli")


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return tmp_path / "hub"


@pytest.fixture
def elsewhere(settings: Settings, tmp_path: Path) -> Settings:
    """The same world with another, empty store."""
    return replace(settings, store=tmp_path / "elsewhere")


def code_of(action: Callable[[], object]) -> str:
    with pytest.raises(AdaptxError) as caught:
        action()
    assert caught.value.code in CODES
    return caught.value.code


def flip(path: Path, at: int = -7) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(bytes(data))


@pytest.mark.parametrize("method", ["pfeiffer", "lora", "full", "probe"])
def test_what_is_pushed_is_pulled_byte_for_byte(
    settings: Settings, elsewhere: Settings, place: Path, method: str
) -> None:
    stored = hub_toy.small(settings, method=method)
    (pushed,) = hub.push(settings, stored, place.as_uri())
    (pulled,) = hub.pull(elsewhere, SV, place.as_uri())
    assert pushed.new and pulled.new
    assert pulled.stored.folder == store.folder_of(elsewhere.store, stored.recipe)
    assert hub_toy.bytes_of(pulled.stored.folder) == hub_toy.bytes_of(stored.folder)
    assert pulled.stored.adapter.is_dir()
    assert store.find(elsewhere.store, SV).manifest == stored.manifest


def test_a_plain_path_and_a_file_address_name_the_same_hub(
    settings: Settings, elsewhere: Settings, place: Path
) -> None:
    hub.push(settings, hub_toy.small(settings), str(place))
    assert hub.pull(elsewhere, SV, place.as_uri())[0].new
    assert [r["ref"] for r in hub.listing(str(place), settings.cache)] == [
        r["ref"] for r in hub.listing(place.as_uri(), settings.cache)
    ]


def test_pushing_or_pulling_twice_changes_nothing(settings: Settings, elsewhere: Settings, place: Path) -> None:
    stored = hub_toy.small(settings)
    first = hub.push(settings, stored, str(place))[0]
    before = hub_toy.bytes_of(place)
    second = hub.push(settings, stored, str(place))[0]
    assert not second.new and second.entry.version == first.entry.version
    assert hub_toy.bytes_of(place) == before
    assert hub.pull(elsewhere, SV, str(place))[0].new
    assert not hub.pull(elsewhere, SV, str(place))[0].new


def test_two_runs_under_one_name_are_two_versions_and_the_newest_push_is_pulled(
    settings: Settings, elsewhere: Settings, place: Path
) -> None:
    one, two = hub_toy.small(settings, seed=1), hub_toy.small(settings, seed=2)
    for stored in (one, two):
        hub.push(settings, stored, str(place))
    assert {r["run"] for r in hub.listing(str(place), settings.cache)} == {one.manifest.run, two.manifest.run}
    assert hub.pull(elsewhere, SV, str(place))[0].stored.manifest.run == two.manifest.run
    assert hub.pull(elsewhere, hub_toy.ref_of(one), str(place))[0].stored.manifest.run == one.manifest.run


def test_other_bytes_of_one_run_are_another_version_and_neither_is_lost(
    settings: Settings, elsewhere: Settings, place: Path
) -> None:
    first = hub.push(settings, hub_toy.small(settings), str(place))[0].entry
    second = hub.push(settings, hub_toy.small(settings, noise=1), str(place))[0].entry
    assert first.manifest.run == second.manifest.run and first.version != second.version
    assert len(hub.info(str(place), SV, settings.cache)["versions"]) == 2
    (old,) = hub.pull(elsewhere, SV, str(place), first.version[:8])
    assert old.version == first.version
    assert code_of(lambda: hub.pull(elsewhere, SV, str(place))) == "AX084"
    assert store.find(elsewhere.store, SV).manifest == first.manifest
    (new,) = hub.pull(elsewhere, SV, str(place), replace=True)
    assert new.stored.manifest == second.manifest


def test_an_interrupted_push_is_invisible_and_the_next_one_completes_it(
    settings: Settings, elsewhere: Settings, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from adaptx.hub.folder import Folder

    stored, write, written = hub_toy.small(settings), Folder._write, []

    def failing(self: Folder, item: object) -> None:
        if len(written) == 3:
            raise KeyboardInterrupt
        written.append(item)
        write(self, item)  # type: ignore[arg-type]

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Folder, "_write", failing)
        hub.push(settings, stored, str(place))
    assert hub_toy.bytes_of(place) and hub.listing(str(place), settings.cache) == []
    assert code_of(lambda: hub.pull(elsewhere, SV, str(place))) == "AX081"
    kept = {p: p.stat().st_ino for p in place.rglob("*") if p.is_file()}
    hub.push(settings, stored, str(place))
    assert all(p.stat().st_ino == inode for p, inode in kept.items()), "finished files are not written again"
    assert hub.pull(elsewhere, SV, str(place))[0].new


def test_a_flipped_bit_in_any_file_is_refused_and_leaves_the_store_empty(
    settings: Settings, elsewhere: Settings, place: Path
) -> None:
    hub.push(settings, hub_toy.small(settings), str(place))
    for path in [p for p in sorted(place.rglob("*")) if p.is_file()]:
        whole = path.read_bytes()
        flip(path, at=-7 if path.is_relative_to(place / "blobs") else 400)
        assert code_of(lambda: hub.pull(elsewhere, SV, str(place))) in ("AX020", "AX021", "AX023"), path.name
        path.write_bytes(whole)
    assert not [p for p in elsewhere.store.rglob("*") if p.is_file()]
    assert hub.pull(elsewhere, SV, str(place))[0].new


def test_pushing_again_repairs_a_damaged_hub(settings: Settings, elsewhere: Settings, place: Path) -> None:
    stored = hub_toy.small(settings)
    hub.push(settings, stored, str(place))
    for path in [p for p in sorted(place.rglob("*")) if p.is_file()]:
        flip(path, at=-7 if path.is_relative_to(place / "blobs") else 400)
    assert not any(v.ok for v in hub.verify(str(place), settings.cache))
    assert hub.push(settings, stored, str(place))[0].new
    assert [v.ok for v in hub.verify(str(place), settings.cache)] == [True]
    assert hub.pull(elsewhere, SV, str(place))[0].new


def test_one_damaged_entry_does_not_hide_the_others(settings: Settings, elsewhere: Settings, place: Path) -> None:
    hub.push(settings, hub_toy.small(settings), str(place))
    hub.push(settings, hub_toy.small(settings, lang="de"), str(place))
    flip(next(place.glob("entries/*/de/*/*/*.json")), at=400)
    (place / "entries" / "stray.json").write_text("{}")
    assert [r["lang"] for r in hub.listing(str(place), settings.cache)] == ["sv"]
    assert hub.pull(elsewhere, SV, str(place))[0].new
    assert sorted(v.ok for v in hub.verify(str(place), settings.cache)) == [False, False, True]


def test_a_damaged_adapter_is_not_pushed(settings: Settings, place: Path) -> None:
    stored = hub_toy.small(settings)
    flip(stored.folder / "adapter" / "adapter.safetensors")
    assert code_of(lambda: hub.push(settings, stored, str(place))) == "AX020"
    assert not place.exists()


@pytest.mark.parametrize(
    ("query", "found"),
    [("sv", ["sv/anli"]), ("anli", ["de/anli", "sv/anli"]), ("sv/anli", ["sv/anli"]), ("swedish lora", []),
     ("german lora", ["de/anli"]), ("a", []), ("nothing", []), ("", ["de/anli", "sv/anli"])],
)  # fmt: skip
def test_search_finds_every_word_in_what_an_entry_says(
    settings: Settings, place: Path, query: str, found: list[str]
) -> None:
    hub.push(settings, hub_toy.small(settings), str(place))
    hub.push(settings, hub_toy.small(settings, lang="de", method="lora"), str(place))
    rows = hub.search(str(place), query, settings.cache, {"sv": "Swedish", "de": "German"})
    assert sorted(r["ref"].split(":")[0] for r in rows) == found


def test_several_methods_or_backbones_ask_for_one_and_an_unknown_name_hears_what_there_is(
    settings: Settings, elsewhere: Settings, place: Path, world: toy.World
) -> None:
    hub.push(settings, hub_toy.small(settings), str(place))
    hub.push(settings, hub_toy.small(settings, method="lora"), str(place))
    assert code_of(lambda: hub.pull(elsewhere, SV, str(place))) == "AX007"
    assert hub.pull(elsewhere, parse_ref("sv/anli:lora"), str(place))[0].new
    with pytest.raises(AdaptxError, match="sv/anli:lora") as caught:
        hub.pull(elsewhere, Ref("sv", "mnli"), str(place))
    assert caught.value.code == "AX081"
    other = toy.settings(world, settings.store, "other")
    hub.push(other, hub_toy.small(other, method="lora"), str(place))
    assert hub.pull(elsewhere, parse_ref("sv/anli:lora"), str(place))[0].stored.recipe.backbone.name == "bert"


def test_an_adapter_for_another_backbone_is_refused_unless_that_is_said_to_be_meant(
    settings: Settings, elsewhere: Settings, place: Path, world: toy.World, tmp_path: Path
) -> None:
    hub.push(settings, hub_toy.small(settings), str(place))
    named = replace(elsewhere, backbone=str(world.backbone("xlm-roberta")))
    assert code_of(lambda: hub.pull(named, SV, str(place))) == "AX022"
    toy_files.write_backbone(tmp_path / "b" / "bert", "bert", seed=9)  # the name is the same, the weights are not
    same_name = replace(elsewhere, backbone=str(tmp_path / "b" / "bert"))
    assert code_of(lambda: hub.pull(same_name, SV, str(place))) == "AX022"
    assert hub.pull(same_name, SV, str(place), allow_mismatch=True)[0].new


def test_what_an_adapter_stands_on_travels_with_it(settings: Settings, elsewhere: Settings, place: Path) -> None:
    under = hub_toy.small(settings, lang="sv", task="mlm")
    parent = Parent(how="stack", ref=under.ref, run=under.manifest.run)
    above = hub_toy.small(settings, parents=(parent,))
    assert [p.entry.ref for p in hub.push(settings, above, str(place))] == [under.ref, above.ref]
    pulled = hub.pull(elsewhere, SV, str(place))
    assert [p.stored.ref for p in pulled] == [under.ref, above.ref]
    assert [p.stored.ref for p in hub.pull(elsewhere, SV, str(place))] == [above.ref]
    shutil.rmtree(under.folder)
    assert code_of(lambda: hub.push(settings, above, str(place))) == "AX006"
    (parent_row,) = hub.info(str(place), SV, settings.cache)["provenance"]
    assert parent_row["on_hub"] and (parent_row["of"], parent_row["ref"]) == (above.ref, under.ref)
    hub.remove(str(place), Ref("sv", "mlm"), settings.cache)
    assert not hub.info(str(place), SV, settings.cache)["provenance"][0]["on_hub"]
    shutil.rmtree(elsewhere.store)
    (alone,) = hub.pull(elsewhere, SV, str(place))
    assert under.ref in alone.notes[0]
    (verdict,) = hub.verify(str(place), settings.cache, SV)
    assert verdict.ok and verdict.parents_missing == (under.ref,)


def test_provenance_is_followed_to_the_end(settings: Settings, place: Path) -> None:
    first = hub_toy.small(settings, task="mlm")
    second = hub_toy.small(settings, parents=(Parent(how="init_from", ref=first.ref, run=first.manifest.run),))
    third = hub_toy.small(
        settings, "en", "udpos", parents=(Parent(how="init_from", ref=second.ref, run=second.manifest.run),)
    )
    for stored in (first, second, third):
        hub.push(settings, stored, str(place))
    chain = hub.info(str(place), Ref("en", "udpos"), settings.cache)["provenance"]
    assert [(c["of"], c["ref"]) for c in chain] == [(third.ref, second.ref), (second.ref, first.ref)]


def test_what_a_killed_pull_left_behind_is_removed_a_day_later(
    settings: Settings, elsewhere: Settings, place: Path
) -> None:
    stored = hub_toy.small(settings)
    hub.push(settings, stored, str(place))
    target = store.folder_of(elsewhere.store, stored.recipe)
    old, young = (target.parent / f".{target.name[:40]}.{name}" for name in ("old", "young"))
    for left in (old, young):
        (left / "adapter").mkdir(parents=True)
    os.utime(old, (0, 0))
    hub.pull(elsewhere, SV, str(place))
    assert not old.exists() and young.exists() and [s.ref for s in store.listing(elsewhere.store)] == [stored.ref]


def test_removal_takes_one_run_and_keeps_what_others_share(
    settings: Settings, elsewhere: Settings, place: Path
) -> None:
    one, two = hub_toy.small(settings, seed=1), hub_toy.small(settings, seed=2)
    for stored in (one, two):
        hub.push(settings, stored, str(place))
    assert code_of(lambda: hub.remove(str(place), SV, settings.cache)) == "AX007"
    assert hub.remove(str(place), hub_toy.ref_of(one), settings.cache)[1] == 0, "young content is spared"
    assert code_of(lambda: hub.pull(elsewhere, hub_toy.ref_of(one), str(place))) == "AX081"
    hub.push(settings, one, str(place))
    blobs = len(list(place.rglob("*.safetensors")))
    gone = hub.remove(str(place), hub_toy.ref_of(one), settings.cache, purge=True)
    assert gone[1] and len(list(place.rglob("*.safetensors"))) == blobs - 2
    assert [v.ok for v in hub.verify(str(place), settings.cache)] == [True]
    assert hub.pull(elsewhere, SV, str(place))[0].stored.manifest.run == two.manifest.run


def test_nothing_is_swept_while_an_entry_cannot_be_read(settings: Settings, place: Path) -> None:
    one, two = hub_toy.small(settings, seed=1), hub_toy.small(settings, seed=2)
    for stored in (one, two):
        hub.push(settings, stored, str(place))
    path = next(place.glob(f"entries/*/*/*/*/{two.manifest.run}.*.json"))
    path.write_text(path.read_text().replace('"schema_version": 1', '"schema_version": 2', 1))
    blobs = len(list(place.rglob("*.safetensors")))
    assert hub.remove(str(place), hub_toy.ref_of(one), settings.cache, purge=True)[1] == 0
    assert len(list(place.rglob("*.safetensors"))) == blobs


def test_verify_reads_one_adapter_folder_too(settings: Settings) -> None:
    stored = hub_toy.small(settings)
    (verdict,) = hub.verify(str(stored.folder), settings.cache)
    assert verdict.ok and verdict.ref == stored.ref and verdict.bytes > 2000
    flip(stored.folder / "head.safetensors")
    (verdict,) = hub.verify(str(stored.folder), settings.cache)
    assert not verdict.ok and verdict.code == "AX020" and "head.safetensors" in verdict.problem


def test_an_address_that_is_no_hub_is_said_to_be_none(settings: Settings, tmp_path: Path) -> None:
    for address in ("ftp://host/path", "", "file://elsewhere/path", "hf://only-one-part", "hf://a/b/c"):
        assert code_of(lambda at=address: open_hub(at, settings.cache)) == "AX080", address
    assert code_of(lambda: hub.listing(str(tmp_path / "nowhere"), settings.cache)) == "AX080"
    assert code_of(lambda: hub.pull(settings, SV, str(tmp_path), "not-hex")) == "AX070"


def test_a_commit_names_nothing_on_a_hub_without_commits_and_a_version_narrows_every_command(
    settings: Settings, elsewhere: Settings, place: Path
) -> None:
    first = hub.push(settings, hub_toy.small(settings), str(place))[0].entry
    hub.push(settings, hub_toy.small(settings, noise=1), str(place))
    assert code_of(lambda: hub.pull(elsewhere, SV, str(place), "a" * 40)) == "AX081"
    assert hub.listing(str(place), settings.cache, "a" * 40) == []
    for start in (first.version[:6], first.version[:40], first.version):
        assert [r["version"] for r in hub.listing(str(place), settings.cache, start)] == [first.version[:16]]
        assert [v.version for v in hub.verify(str(place), settings.cache, None, start)] == [first.version[:16]]
        assert hub.info(str(place), SV, settings.cache, start)["version"] == first.version[:16]
        assert hub.site(str(place), place / "index.html", settings.cache, {}, start)[1] == 1
    assert hub.pull(elsewhere, SV, str(place), first.version[:40])[0].version == first.version


def test_a_hub_that_cannot_be_written_says_so(settings: Settings, place: Path) -> None:
    place.write_text("a file where a folder should be")
    assert code_of(lambda: hub.push(settings, hub_toy.small(settings), str(place))) == "AX080"


@pytest.mark.parametrize(
    ("text", "leaks_it"),
    [("see /home/ada/data", True), ('{"id": "/tmp/x.tsv"}', True), ("C:\\Users\\ada", True), ("file:///x", True),
     ("hf_" + "a" * 30, True), ("-----BEGIN PRIVATE KEY-----", True), ("~/data", True), ("udpos/train.conllu", False),
     ("https://example.org/home/x", False), ("and/or", False), ("sv/anli", False), ("a hf_hub_download call", False)],
)  # fmt: skip
def test_paths_tokens_and_keys_do_not_leave_the_machine(text: str, leaks_it: bool) -> None:
    if leaks_it:
        assert code_of(lambda: leaks.check(text, "x")) == "AX083"
    else:
        leaks.check(text, "x")


def test_an_adapter_that_names_a_path_is_not_pushed(settings: Settings, place: Path) -> None:
    stored = hub_toy.small(settings, limit=3)
    data = stored.recipe.data[0].model_copy(update={"id": "/home/ada/secret.tsv"})
    assert code_of(lambda: hub.push(settings, hub_toy.small(settings, data=(data,)), str(place))) == "AX083"
    assert not place.exists()


@pytest.mark.parametrize(
    "path",
    ["../x.json", "/etc/passwd", "adapter/../../x.json", "adapter\\x.json", "adapter/x\0.json", "adapter//x.json", "",
     ".", "adapter/.hidden.json", "adapter/x.py", "adapter/a/b/c/d.json", "other/x.json", "x.safetensors",
     "adapter/con.json", "adapter/ж.json", "adapter/x.json ", "adapter/" + "x" * 200 + ".json", "C:/x.json", "adapter"],
)  # fmt: skip
def test_names_that_mean_something_else_somewhere_are_refused(path: str) -> None:
    assert code_of(lambda: names.check_path(path)) == "AX021"


def test_names_that_collide_on_some_disks_are_refused() -> None:
    names.check_paths(["adapter/a.json", "adapter/b.json", "manifest.json"])
    assert code_of(lambda: names.check_paths(["adapter/a.json", "adapter/A.json"])) == "AX021"
    assert code_of(lambda: names.check_paths(["adapter/a.json", "adapter/a.json/b.json"])) == "AX021"


def test_the_hub_imports_neither_torch_nor_transformers() -> None:
    toy.python("import adaptx.hub, sys; assert not {'torch', 'transformers', 'peft', 'adapters'} & set(sys.modules)")


def test_find_prefers_the_backbone_in_use(settings: Settings, place: Path, world: toy.World) -> None:
    hub.push(settings, hub_toy.small(settings), str(place))
    other = toy.settings(world, settings.store, "other")
    hub.push(other, hub_toy.small(other), str(place))
    backend = open_hub(str(place), settings.cache)
    assert catalogue.find(backend, SV, backbone="other")[0].recipe.backbone.name == "other"
    assert code_of(lambda: catalogue.find(backend, SV)) == "AX007"
