"""Cards say what the Hub indexes and what people must know; licences bind as strictly as the strictest; signatures."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

import hub_toy
from adaptx import atomic, cards, hub, licences
from adaptx.cards import Score
from adaptx.config import Settings
from adaptx.errors import AdaptxError
from adaptx.hub import Trust, leaks, signing
from adaptx.recipe import DataRef
from adaptx.refs import Ref
from adaptx.store import Stored

ZERO_SHOT = Score(
    lang="fi", task="udpos", kind="tagging", metric="f1", value=0.8221, low=0.81, high=0.83, n=4422, system="en/udpos"
)


def front(card: str) -> dict[str, Any]:
    value: dict[str, Any] = yaml.safe_load(card.split("---\n")[1])
    return value


def data(licence: str, source: str = "hub", name: str = "org/set") -> DataRef:
    return DataRef(task="anli", split="train", source=source, id=name, revision="a" * 40, licence=licence, rows=1234)  # type: ignore[arg-type]


def code_of(action: Callable[[], object]) -> str:
    with pytest.raises(AdaptxError) as caught:
        action()
    return caught.value.code


def test_the_front_matter_holds_what_the_hub_indexes(settings: Settings) -> None:
    stored = hub_toy.small(settings, data=(data("MIT"), data("CC-BY-SA-4.0", "local", "x.tsv")))
    card = cards.render(stored.manifest, [ZERO_SHOT])
    value = front(card)
    assert value["library_name"] == "adapters" and value["language"] == ["sv"] and value["license"] == "cc-by-sa-4.0"
    assert value["datasets"] == ["org/set"], "a file of one's own is no data set on the Hub"
    assert value["metrics"] == ["accuracy", "f1"] and {"adaptx", "anli", "pfeiffer"} <= set(value["tags"])
    own, fi = value["model-index"][0]["results"]
    assert own["task"]["type"] == "text-classification" and own["metrics"][0]["value"] == 0.5
    assert fi["dataset"]["name"] == "udpos (fi)" and fi["metrics"][0]["value"] == 0.8221
    assert fi["task"]["type"] == "token-classification"
    from huggingface_hub import ModelCard

    ModelCard(card)  # the library's own reader takes it


@pytest.mark.parametrize(("method", "relation"), [("pfeiffer", "adapter"), ("lora", "adapter"), ("full", "finetune")])
def test_the_front_matter_names_the_base_model_where_the_hub_has_it(
    settings: Settings, method: str, relation: str
) -> None:
    local = hub_toy.small(settings, method=method)
    assert not {"base_model", "base_model_relation"} & front(cards.render(local.manifest)).keys()
    known = local.recipe.backbone.model_copy(update={"id": "org/bert"})
    value = front(cards.render(hub_toy.small(settings, method=method, backbone=known).manifest))
    assert (value["base_model"], value["base_model_relation"]) == ("org/bert", relation)


def test_the_card_says_scores_cost_terms_and_how_to_load_and_cite(settings: Settings) -> None:
    stored = hub_toy.small(settings, data=(data("CC-BY-NC-4.0"),))
    card = cards.render(stored.manifest, [ZERO_SHOT])
    for part in ("| fi | udpos | f1 | 82.2 | 81.0 to 83.0 | 4,422 |", "**Non-commercial use only**", "adaptx predict",
                 "load_adapter(", "@misc{", stored.manifest.run, "1,234", "2.0 s"):  # fmt: skip
        assert part in card, part
    assert "non-commercial" in front(card)["tags"]
    leaks.check(card, "card")


@pytest.mark.parametrize(
    ("method", "says", "not_says"),
    [("lora", "PeftModel.from_pretrained", "load_adapter("), ("lora", "--merged", "bottlenecks do not merge"),
     ("lora", 'pipeline("text-classification", "DIR")', "load_adapter("),
     ("full", 'AutoModel.from_pretrained("path/to/this/folder/adapter")', "--merged"),
     ("probe", "No other tool is needed", "from_pretrained"), ("pfeiffer", "bottlenecks do not merge", "--merged")],
)  # fmt: skip
def test_the_card_shows_the_tools_that_can_read_the_method(
    settings: Settings, method: str, says: str, not_says: str
) -> None:
    card = cards.render(hub_toy.small(settings, method=method).manifest)
    assert says in card and not_says not in card


@pytest.mark.parametrize(
    ("found", "binds"),
    [(("MIT",), "MIT"), (("MIT", "CC-BY-4.0"), "CC-BY-4.0"), (("CC-BY-4.0", "CC-BY-SA-4.0"), "CC-BY-SA-4.0"),
     (("CC-BY-SA-4.0", "CC-BY-NC-4.0", "MIT"), "CC-BY-NC-4.0"), (("CC-BY-NC-4.0", "CC-BY-NC-SA-4.0"), "CC-BY-NC-SA-4.0"),
     (("CC0-1.0", "MIT"), "MIT"), (("CC-BY-NC-4.0", "other"), "other"), ((), "unknown"),
     (("Apache-2.0", "GPL-3.0"), "GPL-3.0")],
)  # fmt: skip
def test_the_strictest_licence_binds(found: tuple[str, ...], binds: str) -> None:
    assert licences.strictest(found) == licences.strictest(found[::-1]) == binds


@pytest.mark.parametrize(
    ("name", "restricted"),
    [("CC-BY-NC-4.0", True), ("cc-by-nc-sa-3.0", True), ("research only", True), ("non-commercial", True),
     ("CC-BY-4.0", False), ("MIT", False), ("NCSA", False)],
)  # fmt: skip
def test_licences_that_exclude_commerce_are_known_by_name(name: str, restricted: bool) -> None:
    assert licences.non_commercial(name) is restricted


def test_a_licence_that_the_hub_does_not_index_is_named() -> None:
    assert licences.front_matter(("MIT",)) == {"license": "mit"}
    assert licences.front_matter(("TDT terms", "MIT")) == {"license": "other", "license_name": "MIT; TDT terms"}


def test_what_a_store_knows_of_other_languages_reaches_card_entry_and_search(
    settings: Settings, tmp_path: Path
) -> None:
    stored = hub_toy.small(settings)
    raw = {
        "key": {"stack": [stored.manifest.run], "lang": "qaa", "task": "toypos"},
        "system": stored.ref,
        "n": 16,
        "metrics": {"f1": 0.25, "accuracy": 0.5},
        "intervals": {"f1": [0.2, 0.3], "accuracy": [0.4, 0.6]},
    }
    scores = settings.store / "scores" / "bert" / "qaa" / "toypos"
    atomic.write_json(scores / "a.json", raw)
    atomic.write_json(scores / "b.json", {**raw, "key": {**raw["key"], "stack": ["f" * 64]}})  # type: ignore[dict-item]
    (scores / "c.json").write_text("{")
    first = hub.push(settings, stored, str(tmp_path / "hub"))[0].entry
    assert [(s.lang, s.metric, s.value, s.kind) for s in first.scores] == [
        ("qaa", "f1", 0.25, "tagging"),
        ("qaa", "accuracy", 0.5, "tagging"),
    ], "the leading metric first, as the evaluation gives them"
    assert "| qaa | toypos | f1 | 25.0 | 20.0 to 30.0 |" in (stored.folder / "README.md").read_text()
    (row,) = hub.search(str(tmp_path / "hub"), "toyish", settings.cache, {"qaa": "Toyish"})
    assert row["zero_shot"][0]["value"] == 0.25


KEYS = ("theirs", "mine")


@pytest.fixture
def keys(tmp_path: Path) -> dict[str, tuple[Path, Path]]:
    """Private and public PEM files by owner."""
    pytest.importorskip("cryptography")
    from cryptography.hazmat.primitives import serialization as s
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    out = {}
    for name in KEYS:
        key = Ed25519PrivateKey.generate()
        private, public = tmp_path / f"{name}.pem", tmp_path / f"{name}.pub.pem"
        private.write_bytes(key.private_bytes(s.Encoding.PEM, s.PrivateFormat.PKCS8, s.NoEncryption()))
        public.write_bytes(key.public_key().public_bytes(s.Encoding.PEM, s.PublicFormat.SubjectPublicKeyInfo))
        out[name] = private, public
    return out


@pytest.fixture
def signed(settings: Settings, keys: dict[str, tuple[Path, Path]], tmp_path: Path) -> Stored:
    """An adapter on the hub `tmp_path / "hub"`, signed with the key "theirs"."""
    stored = hub_toy.small(settings)
    assert hub.push(settings, stored, str(tmp_path / "hub"), sign_with=keys["theirs"][0])[0].signed_by
    return stored


def test_a_signed_adapter_is_pulled_by_whoever_trusts_the_signer(
    settings: Settings, signed: Stored, keys: dict[str, tuple[Path, Path]], tmp_path: Path
) -> None:
    place, elsewhere = str(tmp_path / "hub"), replace(settings, store=tmp_path / "elsewhere")
    theirs, mine = keys["theirs"][1], keys["mine"][1]

    def pull(trust: Trust) -> str:
        shutil.rmtree(elsewhere.store, ignore_errors=True)
        return hub.pull(elsewhere, Ref("sv", "anli"), place, trust=trust)[0].signed_by

    known = pull(Trust((theirs,), required=True))
    assert len(known) == 16 and pull(Trust()) == pull(Trust((mine, theirs))) == known
    assert code_of(lambda: pull(Trust((mine,), required=True))) == "AX082"
    assert code_of(lambda: pull(Trust((), required=True))) == "AX082", "any key would do"
    assert not list(elsewhere.store.rglob("manifest.json"))
    (verdict,) = hub.verify(place, settings.cache, trust=Trust((theirs,), required=True))
    assert verdict.ok and verdict.signed_by == known


def test_an_unsigned_adapter_is_refused_only_where_a_signature_is_required(
    settings: Settings, keys: dict[str, tuple[Path, Path]], tmp_path: Path
) -> None:
    place, elsewhere = str(tmp_path / "hub"), replace(settings, store=tmp_path / "elsewhere")
    hub.push(settings, hub_toy.small(settings), place)
    trust = Trust((keys["theirs"][1],), required=True)
    assert code_of(lambda: hub.pull(elsewhere, Ref("sv", "anli"), place, trust=trust)) == "AX082"
    assert hub.pull(elsewhere, Ref("sv", "anli"), place)[0].signed_by == ""


def test_a_signature_that_came_later_reaches_a_store_that_has_the_adapter(
    settings: Settings, keys: dict[str, tuple[Path, Path]], tmp_path: Path
) -> None:
    place, elsewhere = str(tmp_path / "hub"), replace(settings, store=tmp_path / "elsewhere")
    stored = hub_toy.small(settings)
    hub.push(settings, stored, place)
    hub.pull(elsewhere, Ref("sv", "anli"), place)
    hub.push(settings, stored, place, sign_with=keys["theirs"][0])

    def pull(key: Path) -> hub.Pulled:
        return hub.pull(elsewhere, Ref("sv", "anli"), place, trust=Trust((key,), required=True))[0]

    assert code_of(lambda: pull(keys["mine"][1])) == "AX082"
    assert not list(elsewhere.store.rglob("signature.json"))
    again = pull(keys["theirs"][1])
    assert not again.new and again.signed_by
    assert (again.stored.folder / "signature.json").read_bytes() == (stored.folder / "signature.json").read_bytes()


def test_a_refusal_over_a_signature_names_the_adapter(signed: Stored, keys: dict[str, tuple[Path, Path]]) -> None:
    with pytest.raises(AdaptxError, match=signed.ref):
        signing.check(signed.folder, Trust((keys["mine"][1],)), signed.ref)
    (signed.folder / "signature.json").unlink()
    with pytest.raises(AdaptxError, match=signed.ref):
        signing.check(signed.folder, Trust((keys["mine"][1],), required=True), signed.ref)


def test_a_signature_is_about_the_manifest_s_content_and_nothing_else(signed: Stored) -> None:
    path = signed.folder / "manifest.json"
    raw = json.loads(path.read_text())
    known = signing.check(signed.folder, Trust(), signed.ref)
    path.write_text(json.dumps(raw))
    assert signing.check(signed.folder, Trust(), signed.ref) == known, "white space is no content"
    path.write_text(json.dumps({**raw, "notes": ["better than it is"]}))
    assert code_of(lambda: signing.check(signed.folder, Trust(), signed.ref)) == "AX082"


@pytest.mark.parametrize(
    "change",
    [{"algorithm": "none"}, {"signature": "AAAA"}, {"signature": "%"}, {"public_key": ""}, {"key_id": "0" * 16}, {"key_id": 3},
     {"public_key": 7}],
)  # fmt: skip
def test_a_malformed_signature_is_no_signature(signed: Stored, change: dict[str, Any]) -> None:
    path = signed.folder / "signature.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    assert code_of(lambda: signing.check(signed.folder, Trust(), signed.ref)) == "AX082"


def test_a_key_file_that_is_none_is_said_to_be_none(settings: Settings, tmp_path: Path) -> None:
    pytest.importorskip("cryptography")
    stored = hub_toy.small(settings)
    (tmp_path / "key.pem").write_text("not a key")
    assert code_of(lambda: signing.sign(stored.folder, tmp_path / "key.pem")) == "AX082"
    assert code_of(lambda: signing.sign(stored.folder, tmp_path / "missing.pem")) == "AX011"
    assert code_of(lambda: signing.public_key(tmp_path / "key.pem")) == "AX082"


def test_signing_twice_changes_nothing(
    settings: Settings, signed: Stored, keys: dict[str, tuple[Path, Path]], tmp_path: Path
) -> None:
    again = hub.push(settings, signed, str(tmp_path / "hub"), sign_with=keys["theirs"][0])[0]
    assert not again.new
