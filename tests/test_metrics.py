"""The metrics against hand-computed cases and other libraries, their intervals against simulations."""

import json
import os
import random
import subprocess
import sys
import tracemalloc
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import adaptx.metrics
from adaptx.errors import AdaptxError
from adaptx.metrics import METRICS, align, bootstrap_interval, macro_f1, paired_bootstrap
from adaptx.metrics.bootstrap import WEIGHTS_BYTES
from adaptx.metrics.squad import normalise_answer

IOB2 = ["O", "B-PER", "I-PER", "B-LOC", "I-LOC", "B-ORG", "I-ORG"]
UPOS = "ADJ ADP ADV AUX CCONJ DET INTJ NOUN NUM PART PRON PROPN PUNCT SCONJ SYM VERB X".split()
SOURCE_ROOT = str(Path(adaptx.metrics.__file__).parents[2])

Tags = list[list[str]]


def random_tags(rng: random.Random, tag_set: Sequence[str], sentences: int = 12) -> tuple[Tags, Tags]:
    """Gold tags in short runs (some sentences empty) and predictions that copy about half of them."""
    gold = [[rng.choice(tag_set) for _ in range(rng.randrange(9))] for _ in range(sentences)]
    predicted = [[tag if rng.random() < 0.6 else rng.choice(tag_set) for tag in tags] for tags in gold]
    return predicted, gold


def seqeval_scores(predicted: Tags, gold: Tags) -> dict[str, float]:
    import seqeval.metrics  # type: ignore[import-untyped, unused-ignore]

    with warnings.catch_warnings(action="ignore"):
        names = ("f1", "precision", "recall")
        return {name: float(getattr(seqeval.metrics, f"{name}_score")(gold, predicted)) for name in names}


# Predictions and references of every metric, and the score derived by hand: seqeval finds 1 of 2 entities where 2 are
# predicted; "the big house" has word precision 1/2 and recall 1 (2/3), the empty answers 1 and 0; exp(6 / 6).
CASES: dict[str, tuple[list[Any], list[Any], float]] = {
    "accuracy": (["a", "b", "a", "c"], ["a", "a", "a", "c"], 3 / 4),
    "choice_accuracy": ([0, 1, 2], [0, 1, 3], 2 / 3),
    "retrieval_accuracy": ([0, 2, 2, 3], [0, 1, 2, 3], 3 / 4),
    "tag_accuracy": ([["NOUN", "VERB"], ["X"]], [["NOUN", "NOUN"], ["X"]], 2 / 3),
    "seqeval_f1": ([["B-PER", "I-PER", "O"], ["B-LOC"]], [["B-PER", "I-PER", "B-LOC"], ["O"]], 1 / 2),
    "seqeval_precision": ([["B-PER", "B-LOC"]], [["B-PER", "O"]], 1 / 2),
    "seqeval_recall": ([["B-PER", "O"]], [["B-PER", "B-LOC"]], 1 / 2),
    "squad_f1": (["the big house", "", "x"], [["house", "barn"], [], []], 5 / 9),
    "squad_em": (["the House!", "", "x"], [["house"], [], []], 2 / 3),
    "binary_f1": (["1", "1", "0", "0"], ["1", "0", "1", "0"], 1 / 2),
    "perplexity": ([2.0, 4.0], [3, 3], float(np.e)),
}


@pytest.mark.parametrize("key", METRICS)
def test_a_metric_gives_the_score_derived_by_hand(key: str) -> None:
    predictions, references, expected = CASES[key]
    assert METRICS[key].score(predictions, references) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("key", METRICS)
def test_statistics_are_one_float64_row_per_example_and_none_score_zero(key: str) -> None:
    predictions, references, _ = CASES[key]
    stats = METRICS[key].stats(predictions, references)
    assert stats.dtype == np.float64 and stats.ndim == 2 and len(stats) == len(references)
    with warnings.catch_warnings(action="error"):
        assert METRICS[key].stats([], []).shape == (0, stats.shape[1]) and METRICS[key].score([], []) == 0.0


@pytest.mark.parametrize("key", METRICS)
def test_resampled_statistics_reduce_to_the_metric_of_the_resampled_examples(key: str) -> None:
    metric, (predictions, references, _) = METRICS[key], CASES[key]
    stats, rng = metric.stats(predictions, references), random.Random(0)
    for _ in range(20):
        chosen = [rng.randrange(len(references)) for _ in references]
        again = metric.score([predictions[i] for i in chosen], [references[i] for i in chosen])
        assert float(metric.reduce(stats[chosen].sum(axis=0))) == pytest.approx(again, abs=1e-12)


@pytest.mark.parametrize("key", METRICS)
def test_a_reduction_of_many_sums_equals_the_reduction_of_each(key: str) -> None:
    metric = METRICS[key]
    stats = metric.stats(*CASES[key][:2])
    sums = np.random.default_rng(0).multinomial(3, [1 / len(stats)] * len(stats), size=(2, 5)) @ stats
    scores = metric.reduce(sums)
    assert scores.shape == (2, 5)
    assert all(scores[i, j] == metric.reduce(sums[i, j]) for i in range(2) for j in range(5))


def test_perplexity_alone_is_better_when_lower_and_is_finite_for_a_diverged_model() -> None:
    assert [key for key, metric in METRICS.items() if not metric.higher_is_better] == ["perplexity"]
    assert 1e300 < METRICS["perplexity"].score([1e9], [1]) < float("inf")


@pytest.mark.parametrize("key", METRICS)
def test_one_right_answer_out_of_four_is_an_error_and_not_a_perfect_score(key: str) -> None:
    predictions, references, _ = CASES[key]
    with pytest.raises(AdaptxError) as fault:
        METRICS[key].score(predictions[:1], references[:1] * 4)
    assert fault.value.code == "AX050"
    assert "1 predictions, 4 references" in str(fault.value) and "Example 1 has no prediction" in str(fault.value)
    with pytest.raises(AdaptxError, match="Example 1 has no reference") as fault:
        METRICS[key].score(predictions[:1] * 4, references[:1])
    assert fault.value.code == "AX050"


@pytest.mark.parametrize("key", ["tag_accuracy", "seqeval_f1", "seqeval_precision", "seqeval_recall"])
@pytest.mark.parametrize("tags", [["NOUN"], ["NOUN", "VERB", "VERB"]])
def test_a_sentence_with_too_few_or_too_many_tags_is_named(key: str, tags: list[str]) -> None:
    with pytest.raises(AdaptxError) as fault:
        METRICS[key].stats([["X"], tags], [["X"], ["NOUN", "VERB"]])
    assert fault.value.code == "AX050"
    assert "example 1" in str(fault.value) and f"{len(tags)} predicted tags and 2 gold tags" in str(fault.value)


def test_align_pairs_by_id_in_the_order_of_the_references() -> None:
    assert align({"b": 2, "a": 1}, {"a": "x", "b": "y"}) == ([1, 2], ["x", "y"])
    assert align({}, {}) == ([], [])


def test_align_names_up_to_three_missing_and_extra_ids() -> None:
    references = {key: 0 for key in "abcde"}
    with pytest.raises(AdaptxError, match="'b', 'c', 'd' and 1 more without a prediction and 'z' without a") as fault:
        align({"a": 0, "z": 0}, references)
    assert fault.value.code == "AX050"
    with pytest.raises(AdaptxError, match="'z' without a reference"):
        align({**references, "z": 0}, references)


@pytest.mark.parametrize("tag_set", [IOB2, UPOS, ["X", "SCONJ", "CCONJ"], ["X", "O"], ["B", "I", "E", "S", "O", "."]])
def test_entity_counts_reduce_to_exactly_the_scores_of_seqeval(tag_set: list[str]) -> None:
    rng = random.Random(0)
    for _ in range(30):
        predicted, gold = random_tags(rng, tag_set)
        ours = {name: METRICS[f"seqeval_{name}"].score(predicted, gold) for name in ("f1", "precision", "recall")}
        assert ours == seqeval_scores(predicted, gold)


def test_x_at_the_start_of_a_sentence_depends_on_the_sentence_before_as_in_seqeval() -> None:
    predicted, gold = [["NOUN", "NOUN"], ["X", "NOUN"]], [["NOUN", "VERB"], ["X", "NOUN"]]
    metric = METRICS["seqeval_f1"]
    # The X begins where the last entity of the first sentence began: at 0 in the prediction, at 1 in the gold tags.
    assert metric.stats(predicted, gold).tolist() == [[0, 1, 2], [1, 2, 2]]
    assert metric.stats(predicted[1:], gold[1:]).tolist() == [[2, 2, 2]]
    assert metric.score(predicted, gold) == seqeval_scores(predicted, gold)["f1"] == pytest.approx(2 / 7)


def test_an_entity_is_counted_in_its_own_sentence_and_bare_tags_give_no_warning() -> None:
    stats = METRICS["seqeval_f1"].stats([["O"], ["B-PER", "I-PER"], [], ["B-LOC"]], [["O"], ["O", "O"], [], ["B-LOC"]])
    assert stats.tolist() == [[0, 0, 0], [0, 1, 0], [0, 0, 0], [1, 1, 1]]
    with warnings.catch_warnings(action="error"):
        assert METRICS["seqeval_f1"].stats([["NOUN", "VERB"]], [("NOUN", "VERB")]).tolist() == [[2, 2, 2]]


def test_macro_f1_equals_scikit_learn() -> None:
    from sklearn.metrics import f1_score  # type: ignore[import-untyped, unused-ignore]

    labels, rng = ["a", "b", "c", "never"], random.Random(0)
    for _ in range(20):
        gold = [rng.choice(["a", "b", "c", "outside"]) for _ in range(15)]
        predicted = [g if rng.random() < 0.5 else rng.choice(["a", "b", "outside"]) for g in gold]
        expected = f1_score(gold, predicted, labels=labels, average="macro", zero_division=0)
        assert macro_f1(labels).score(predicted, gold) == pytest.approx(expected, abs=1e-12)
    assert macro_f1(labels).stats(["a"], ["b"]).tolist() == [[0, 1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0]]
    assert macro_f1(labels).stats([], []).shape == (0, 12) and macro_f1(labels).score([], []) == 0.0


@pytest.mark.parametrize("labels", [[], ["a", "a"]])
def test_macro_f1_needs_distinct_labels(labels: list[str]) -> None:
    with pytest.raises(AdaptxError) as fault:
        macro_f1(labels)
    assert fault.value.code == "AX010"


def test_binary_f1_takes_texts_and_numbers_and_ignores_true_negatives() -> None:
    metric = METRICS["binary_f1"]
    assert metric.score([1, 1, 0], [1, 0, 1]) == metric.score(["1", "1", "0"], ["1", "0", "1"]) == 0.5
    assert metric.score([1, 1, 0, 0, 0], [1, 0, 1, 0, 0]) == 0.5 and metric.score(["0"], ["0"]) == 0.0


def test_answers_are_compared_without_case_punctuation_and_articles() -> None:
    assert normalise_answer("  The  Quick, brown\tfox! ") == "quick brown fox"
    assert normalise_answer("A.B.C.") == "abc"
    assert normalise_answer("theatre another Ananas") == "theatre another ananas"
    assert normalise_answer("Äiti — öljy") == "äiti — öljy"


@pytest.mark.parametrize(
    ("predicted", "golds", "exact", "f1"),
    [
        ("The Nile.", ["nile"], 1.0, 1.0),
        ("river Nile", ["Nile", "the river"], 0.0, 2 / 3),
        ("a b b c", ["b b d"], 0.0, 2 * 2 / (3 + 3)),
        ("in 1912", ["1912", "in the year 1912"], 0.0, 0.8),
        ("Oulu", ["Turku"], 0.0, 0.0),
        ("", ["Turku"], 0.0, 0.0),
        ("the", ["a"], 1.0, 0.0),
        ("", [], 1.0, 1.0),
        ("the", [], 1.0, 1.0),
        ("Turku", [], 0.0, 0.0),
    ],
)
def test_answers_score_as_in_squad(predicted: str, golds: list[str], exact: float, f1: float) -> None:
    assert METRICS["squad_em"].score([predicted], [golds]) == exact
    assert METRICS["squad_f1"].score([predicted], [golds]) == pytest.approx(f1)


def coin(rng: np.random.Generator, n: int, p: float) -> np.ndarray:
    """Statistics of an accuracy whose true value is `p`."""
    return np.column_stack([(rng.random(n) < p).astype(np.float64), np.ones(n)])


MEAN = METRICS["accuracy"].reduce


@pytest.mark.parametrize(("level", "least", "most"), [(0.95, 0.90, 0.98), (0.5, 0.42, 0.58)])
def test_the_interval_covers_the_truth_about_as_often_as_it_says(level: float, least: float, most: float) -> None:
    rng, hits = np.random.default_rng(0), 0
    for seed in range(400):
        low, high = bootstrap_interval(coin(rng, 120, 0.7), MEAN, resamples=300, level=level, seed=seed)
        hits += low <= 0.7 <= high
    assert least < hits / 400 < most


def test_the_interval_of_a_proportion_has_the_width_of_theory() -> None:
    stats = coin(np.random.default_rng(1), 2000, 0.7)
    score = float(MEAN(stats.sum(axis=0)))
    low, high = bootstrap_interval(stats, MEAN, resamples=4000)
    assert low < score < high
    assert high - low == pytest.approx(2 * 1.96 * np.sqrt(score * (1 - score) / 2000), rel=0.08)


def test_an_interval_depends_on_the_seed_and_not_on_the_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    stats = np.column_stack([np.random.default_rng(2).random(200), np.ones(200)])
    whole = bootstrap_interval(stats, MEAN, seed=3)
    assert bootstrap_interval(stats, MEAN, seed=3) == whole != bootstrap_interval(stats, MEAN, seed=4)
    monkeypatch.setattr("adaptx.metrics.bootstrap.WEIGHTS_BYTES", 16 * 200 * 7)
    assert bootstrap_interval(stats, MEAN, seed=3) == whole


def test_degenerate_intervals_have_no_width() -> None:
    assert bootstrap_interval(np.empty((0, 2)), MEAN) == (0.0, 0.0)
    assert bootstrap_interval(np.array([[1.0, 1.0]]), MEAN) == (1.0, 1.0)
    assert bootstrap_interval(np.zeros((5, 3)), METRICS["seqeval_f1"].reduce) == (0.0, 0.0)
    assert bootstrap_interval(np.array([[0.0, 1.0], [1.0, 1.0]]), MEAN, resamples=200) == (0.0, 1.0)


def test_a_bootstrap_of_ten_thousand_examples_stays_within_its_memory() -> None:
    stats = coin(np.random.default_rng(3), 10_000, 0.5)
    tracemalloc.start()
    bootstrap_interval(stats, MEAN, resamples=700)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < WEIGHTS_BYTES + 2_000_000 <= 50_000_000


@pytest.mark.parametrize("option", [{"resamples": 0}, {"level": 0.0}, {"level": 1.0}, {"level": 95}])
def test_options_out_of_range_are_refused(option: dict[str, Any]) -> None:
    stats = coin(np.random.default_rng(0), 10, 0.5)
    tests: list[Callable[..., object]] = [bootstrap_interval, lambda s, r, **o: paired_bootstrap(s, s, r, **o)]
    for test in tests:
        with pytest.raises(AdaptxError) as fault:
            test(stats, MEAN, **option)
        assert fault.value.code == "AX070"


def test_a_clear_difference_has_the_smallest_p_value_and_no_difference_the_largest() -> None:
    rng = np.random.default_rng(5)
    better, worse = coin(rng, 500, 0.9), coin(rng, 500, 0.5)
    itself = paired_bootstrap(worse, worse, MEAN)
    assert (itself.delta, itself.low, itself.high, itself.p_value) == (0.0, 0.0, 0.0, 1.0)
    result = paired_bootstrap(better, worse, MEAN, resamples=999)
    assert result.p_value == 2 / 1000 and 0.3 < result.low < result.delta < result.high < 0.5
    mirrored = paired_bootstrap(worse, better, MEAN, resamples=999)
    assert mirrored.delta == -result.delta and mirrored.p_value == result.p_value
    assert (mirrored.low, mirrored.high) == pytest.approx((-result.high, -result.low))


def test_equal_systems_are_called_different_about_as_often_as_the_level_allows() -> None:
    rng, called = np.random.default_rng(6), 0
    for seed in range(400):
        result = paired_bootstrap(coin(rng, 120, 0.7), coin(rng, 120, 0.7), MEAN, resamples=300, seed=seed)
        called += result.p_value < 0.05
    assert 0.01 < called / 400 < 0.09


def test_pairing_finds_a_small_difference_that_intervals_of_each_system_hide() -> None:
    worse = coin(np.random.default_rng(7), 400, 0.6)
    better = worse.copy()
    better[np.flatnonzero(worse[:, 0] == 0)[:10], 0] = 1.0
    assert paired_bootstrap(better, worse, MEAN).p_value < 0.01
    assert bootstrap_interval(better, MEAN)[0] < bootstrap_interval(worse, MEAN)[1]


def test_systems_on_different_numbers_of_examples_are_not_compared() -> None:
    with pytest.raises(AdaptxError, match="3 examples of one system, 2 of the other") as fault:
        paired_bootstrap(np.ones((3, 2)), np.ones((2, 2)), MEAN)
    assert fault.value.code == "AX050"


def run_python(code: str, argument: object, environment: dict[str, str]) -> Any:
    """The JSON that `code` prints as its last line in a fresh interpreter, given `argument` as JSON on stdin."""
    process = subprocess.run(
        [sys.executable, "-c", code],
        input=json.dumps(argument),
        env={**os.environ, **environment, "PYTHONPATH": SOURCE_ROOT},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert process.returncode == 0, process.stderr
    return json.loads(process.stdout.splitlines()[-1])


def test_importing_the_metrics_loads_no_heavy_library() -> None:
    code = "import sys, json, adaptx.metrics; print(json.dumps(sorted({name.split('.')[0] for name in sys.modules})))"
    loaded = set(run_python(code, None, {}))
    assert "numpy" in loaded
    assert not loaded & {"seqeval", "sklearn", "scipy", "evaluate", "datasets", "transformers", "torch", "pandas"}


EVALUATE_RUN = """
import json, os, socket, sys, tempfile
import evaluate, datasets, seqeval.metrics
from adaptx.errors import AdaptxError
from adaptx.metrics import as_evaluate_metric

refused, written, watching = [], [], True

def watch(event, arguments):
    if watching and event in ("socket.connect", "socket.getaddrinfo"):
        refused.append(event)
        raise OSError("no network in this test")
    opened = event == "open" and (set("wax+") & set(str(arguments[1])) or (arguments[2] or 0) & 3)
    if watching and (event == "os.mkdir" or opened):
        written.append(os.fsdecode(arguments[0]))

before = set(os.listdir(tempfile.gettempdir()))
sys.addaudithook(watch)
cases, scores, faults = json.load(sys.stdin), {}, {}
for key, (predictions, references, _) in cases.items():
    metric = as_evaluate_metric(key)
    scores[key] = metric.compute(predictions=predictions, references=references)
    for prediction, reference in zip(predictions, references):
        metric.add(prediction=prediction, reference=reference)
    scores[key + " added"] = metric.compute()
    try:
        metric.compute(predictions=predictions[:1], references=references[:1] * 4)
    except AdaptxError as fault:
        faults[key] = fault.code
combined = evaluate.combine([as_evaluate_metric("squad_em"), as_evaluate_metric("squad_f1")])
scores["combined"] = combined.compute(predictions=cases["squad_em"][0], references=cases["squad_em"][1])
scores["labels as numbers"] = as_evaluate_metric("accuracy").compute(predictions=[0, 1], references=[0, 0])
watching = False
assert isinstance(metric, evaluate.Metric)
left = sorted(set(os.listdir(tempfile.gettempdir())) - before)
print(json.dumps(dict(scores=scores, faults=faults, refused=refused, written=written, left=left)))
"""


@pytest.fixture(scope="module")
def evaluate_run(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """One fresh interpreter, offline, that runs every case through `evaluate` and watches its files and sockets."""
    home, temporary = tmp_path_factory.mktemp("home"), tmp_path_factory.mktemp("temporary")
    places = {"HOME": str(home), "HF_HOME": str(home / "hf"), "TMPDIR": str(temporary), "PYTHONDONTWRITEBYTECODE": "1"}
    run = run_python(EVALUATE_RUN, CASES, {**places, "HF_HUB_OFFLINE": "1", "HF_EVALUATE_OFFLINE": "1"})
    return {**run, "temporary": temporary}


def test_evaluate_gives_the_same_scores(evaluate_run: dict[str, Any]) -> None:
    for key, case in CASES.items():
        expected = {METRICS[key].name: METRICS[key].score(*case[:2])}
        assert evaluate_run["scores"][key] == evaluate_run["scores"][f"{key} added"] == expected
    both = {METRICS[key].name: METRICS[key].score(*CASES["squad_em"][:2]) for key in ("squad_em", "squad_f1")}
    assert evaluate_run["scores"]["combined"] == both
    assert evaluate_run["scores"]["labels as numbers"] == {"accuracy": 0.5}


def test_evaluate_refuses_lengths_that_differ(evaluate_run: dict[str, Any]) -> None:
    assert evaluate_run["faults"] == dict.fromkeys(METRICS, "AX050")


def test_evaluate_needs_no_network_and_leaves_no_files(evaluate_run: dict[str, Any]) -> None:
    assert evaluate_run["refused"] == [] and evaluate_run["left"] == []
    assert evaluate_run["written"], "the watch saw nothing, not even evaluate's cache folder"
    outside = [path for path in evaluate_run["written"] if evaluate_run["temporary"] not in Path(path).parents]
    assert set(outside) <= {os.devnull}


def test_an_unknown_metric_is_named_with_near_misses() -> None:
    with pytest.raises(AdaptxError, match="squad_f1") as fault:
        adaptx.metrics.as_evaluate_metric("squad_f")
    assert fault.value.code == "AX010"
