"""Token-budget batches and the features in them: nothing lost, nothing twice, nothing truncated in tagging."""

from collections import Counter
from itertools import pairwise

import numpy as np
import pytest
import torch

import toy
from adaptx import backbones
from adaptx.config import Settings
from adaptx.data.examples import TextExample, WordsExample
from adaptx.data.tokenize import Text
from adaptx.engine.packing import Encoded, Features, batches, collect, epoch_plan, pack, plan, units
from adaptx.tasks import classification, tagging

SEEDS = range(5)


@pytest.fixture
def text(settings: Settings) -> Text:
    """The toy tokenizer, at most 16 tokens a sequence."""
    return Text.of(backbones.load(backbones.locate(settings)), 16)


def random_features(seed: int, n: int = 40) -> Features:
    """Sequences of 1 to 30 tokens in units of 1 to 4; each selects up to three tokens, targets are distinct."""
    rng = np.random.default_rng(seed)
    out: list[Encoded] = []
    unit = 0
    while len(out) < n:
        for _ in range(rng.integers(1, 5)):
            length, i = int(rng.integers(1, 31)), len(out)
            select = sorted(rng.choice(length, min(length, int(rng.integers(0, 4))), replace=False).tolist())
            ids = rng.integers(4, 180, length).tolist()
            out.append(Encoded(ids, select, [1000 * i + s for s in select], unit, unit, [i % 2] * length))
        unit += 1
    return collect(out)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("budget", [16, 64, 200])
def test_an_epoch_holds_every_sequence_once_in_whole_units_within_the_budget(seed: int, budget: int) -> None:
    features = random_features(seed)
    lengths = np.diff(features.offsets)
    tokens_of_unit = np.bincount(features.unit, lengths)
    epoch = epoch_plan(features, budget, seed, 0)
    assert Counter(np.concatenate(epoch).tolist()) == Counter(range(features.sequences))
    for rows in epoch:
        in_batch = Counter(features.unit[rows].tolist())
        assert all(count == np.count_nonzero(features.unit == unit) for unit, count in in_batch.items())
        assert lengths[rows].sum() <= budget or len(in_batch) == 1
    if budget == 16:
        assert tokens_of_unit.max() > budget, "a unit over the budget is part of this test"


@pytest.mark.parametrize("seed", SEEDS)
def test_batches_are_filled_until_the_next_unit_does_not_fit(seed: int) -> None:
    features = random_features(seed)
    lengths, budget = np.diff(features.offsets), 100
    epoch = epoch_plan(features, budget, seed, 0)
    for batch, following in pairwise(epoch):
        next_unit = np.flatnonzero(features.unit == features.unit[following[0]])
        assert lengths[batch].sum() + lengths[next_unit].sum() > budget


def test_the_order_of_an_epoch_depends_on_seed_and_epoch_and_on_nothing_else() -> None:
    features = random_features(0)

    def order(seed: int, epoch: int) -> list[list[int]]:
        return [rows.tolist() for rows in epoch_plan(features, 64, seed, epoch)]

    np.random.seed(1)
    torch.manual_seed(1)
    first = order(3, 2)
    np.random.seed(2)
    torch.manual_seed(2)
    assert order(3, 2) == first
    assert order(3, 1) != first
    assert order(2, 2) != first
    assert order(2, 3) != first, "seed and epoch do not stand for each other"
    assert np.random.randint(1 << 30) == np.random.RandomState(2).randint(1 << 30), "no global random state was used"


def test_units_are_counted_as_runs_of_equal_numbers() -> None:
    features = random_features(1)
    assert units(features) == len(set(features.unit.tolist()))
    assert units(collect([])) == 0


def test_without_an_order_similar_lengths_come_together() -> None:
    features = collect([Encoded([5] * n, [], [], i, i) for i, n in enumerate([9, 1, 8, 2, 7, 3])])
    assert [rows.tolist() for rows in plan(features, 17)] == [[1, 3, 5, 4], [2, 0]]


@pytest.mark.parametrize("seed", SEEDS)
def test_a_packed_batch_maps_tokens_targets_and_rows_back_to_its_features(seed: int) -> None:
    features = random_features(seed)
    rows = np.random.default_rng(seed).permutation(features.sequences)[:15]
    batch = pack(features, rows, first_position=2)
    cu = batch.cu_seqlens.tolist()
    assert sorted(batch.rows.tolist()) == sorted(rows.tolist())
    assert cu[-1] == batch.tokens == batch.input_ids.numel()
    for i, row in enumerate(batch.rows):
        a, b = features.offsets[row], features.offsets[row + 1]
        here = slice(cu[i], cu[i + 1])
        assert batch.input_ids[0, here].tolist() == features.ids[a:b].tolist()
        assert batch.token_type_ids[0, here].tolist() == features.types[a:b].tolist()
        assert batch.position_ids[0, here].tolist() == list(range(2, 2 + b - a))
    lengths = np.diff(cu)
    assert (np.diff(lengths) >= 0).all()
    assert batch.longest == lengths.max()
    expected = {int(k) for r in rows for k in range(features.select_offsets[r], features.select_offsets[r + 1])}
    assert {int(k) for k in batch.selected} == expected
    for s, (token, target, owner) in enumerate(zip(batch.select, batch.targets, batch.owner, strict=True)):
        assert target == features.targets[batch.selected[s]]
        assert int(target) == 1000 * int(batch.rows[owner]) + int(token) - cu[int(owner)]
    numbers: dict[int, int] = {}
    for number, row in zip(batch.unit.tolist(), batch.rows, strict=True):
        assert numbers.setdefault(int(features.unit[row]), number) == number
    assert sorted(numbers.values()) == list(range(len(numbers)))


@pytest.mark.parametrize("seed", SEEDS)
def test_buckets_cover_every_token_once_and_waste_little(seed: int) -> None:
    features = random_features(seed)
    batch = pack(features, np.arange(features.sequences), 0)
    assert [b.first for b in batch.buckets] == [0, *(b.last for b in batch.buckets[:-1])]
    assert batch.buckets[-1].last == batch.tokens
    for bucket in batch.buckets:
        n, longest = bucket.shape
        real = bucket.rows if bucket.valid is None else bucket.rows[bucket.valid]
        assert real.tolist() == list(range(bucket.first, bucket.last))
        shortest = int(np.diff(batch.cu_seqlens.tolist())[batch.cu_seqlens.tolist().index(bucket.first)])
        assert longest <= max(1.12 * shortest, shortest + 2)
        assert len(bucket.rows) == n * longest
        assert (bucket.mask is None) == (n * longest == bucket.last - bucket.first)


def test_evaluation_batches_hold_every_sequence_once() -> None:
    features = random_features(2)
    found = [int(r) for b in batches(features, 64, 0, True) for r in b.rows]
    assert sorted(found) == list(range(features.sequences))


def sentences(*lengths: int) -> list[WordsExample]:
    words = [w for part in toy.WORDS["en"].values() for w in part]

    def one(i: int, n: int) -> WordsExample:
        chosen = tuple(words[(i + k) % len(words)] for k in range(n))
        return WordsExample(f"s{i}", chosen, tuple(toy.TAGS[k % 4] for k in range(n)))

    return [one(i, n) for i, n in enumerate(lengths)]


def test_long_sentences_are_split_at_word_borders_with_nothing_truncated(text: Text) -> None:
    rows = sentences(3, 30, 1, 11, 64)
    features = tagging.features(rows, text, toy.TAGS, toy.task("tagging"))
    pieces = text.words([e.words for e in rows])
    assert np.diff(features.offsets).max() <= 16
    assert features.sequences > len(rows)
    for i, row in enumerate(rows):
        mine = np.flatnonzero(features.example == i)
        tokens: list[int] = []
        firsts: list[int] = []
        targets: list[int] = []
        for s in mine:
            ids = features.ids[features.offsets[s] : features.offsets[s + 1]].tolist()
            assert (ids[0], ids[-1]) == (text.special["start"], text.special["end"])
            a, b = features.select_offsets[s], features.select_offsets[s + 1]
            firsts += [ids[p] for p in features.select[a:b]]
            targets += features.targets[a:b].tolist()
            tokens += ids[1:-1]
        assert tokens == [t for word in pieces[i] for t in word]
        assert firsts == [word[0] for word in pieces[i]]
        assert targets == [toy.TAGS.index(t) for t in row.tags or ()]


@pytest.mark.parametrize("room", [3, 4, 7, 16, 64])
def test_every_word_gets_exactly_one_tag_whatever_the_length_bound(room: int, settings: Settings) -> None:
    text = Text.of(backbones.load(backbones.locate(settings)), room)
    rows = sentences(1, 13, 40)
    features = tagging.features(rows, text, toy.TAGS, toy.task("tagging"))
    assert np.diff(features.offsets).max() <= room
    assert len(features.select) == 54
    summary = features.targets[:, None].astype(np.float32)
    assert tagging.decode(summary, features, rows, toy.TAGS, toy.task("tagging")) == [e.tags for e in rows]


def test_a_word_without_pieces_still_gets_a_tag(text: Text) -> None:
    rows = [WordsExample("s", ("bado", "\x07", "", "nugi"), ("NOUN", "ADJ", "PUNCT", "VERB"))]
    assert len(text.tokenizer.encode("\x07", add_special_tokens=False).ids) == 0, "nothing is left of this word"
    features = tagging.features(rows, text, toy.TAGS, toy.task("tagging"))
    assert len(features.select) == 4
    assert len(set(features.select.tolist())) == 4
    summary = features.targets[:, None].astype(np.float32)
    assert tagging.decode(summary, features, rows, toy.TAGS, toy.task("tagging")) == [("NOUN", "ADJ", "PUNCT", "VERB")]


def test_sentences_without_words_or_tags_are_read_without_losing_their_place(text: Text) -> None:
    rows = [*sentences(2), WordsExample("none", ()), WordsExample("untagged", ("bado", "nugi")), *sentences(3)]
    features = tagging.features(rows, text, toy.TAGS, toy.task("tagging"))
    assert features.targets.tolist() == [0, 1, -100, -100, 0, 1, 2]
    found = tagging.decode(np.zeros((7, 1), np.float32), features, rows, toy.TAGS, toy.task("tagging"))
    assert [len(tags) for tags in found] == [2, 0, 2, 3]


def test_too_long_pairs_lose_tokens_from_the_longer_side_only(text: Text) -> None:
    long, short = " ".join(toy.WORDS["en"]["NOUN"] * 3), "zenu"
    for pair in ((long, short), (short, long)):
        example = TextExample("x", pair[0], pair[1], "neutral")
        features = classification.features([example], text, toy.LABELS, toy.task("classification"))
        encoded = text.tokenizer.encode(short, add_special_tokens=False).ids
        ids = features.ids.tolist()
        assert len(ids) == 16
        assert any(ids[i : i + len(encoded)] == encoded for i in range(16)), "the short side is whole"
        assert features.select.tolist() == [0]


def test_unknown_gold_labels_are_targets_that_no_loss_counts(text: Text) -> None:
    rows = [TextExample("a", "bado", None, "neutral"), TextExample("b", "nugi"), TextExample("c", "nugi", None, "else")]
    features = classification.features(rows, text, toy.LABELS, toy.task("classification"))
    assert features.targets.tolist() == [toy.LABELS.index("neutral"), -100, -100]
    batch = pack(features, np.arange(3), 0)
    known = torch.nn.functional.one_hot(batch.targets.clamp(min=0), 3) * 20.0
    assert float(classification.loss(known, batch)) < 1e-3
    assert float(classification.loss(-known, batch)) > 10
