"""Span QA: what windows and targets say, what is decoded from scores, what the loss is."""

import itertools
import time
from typing import Any

import numpy as np
import pytest
import torch
from tokenizers import Regex, Tokenizer, models, pre_tokenizers, processors

from adaptx.data.examples import SpanExample
from adaptx.data.tokenize import Text
from adaptx.engine.packing import Features, batches
from adaptx.metrics import METRICS
from adaptx.registry import Task
from adaptx.tasks import span_qa

XLMR, BERT = "<s> $A </s> </s> $B </s>", "<s> $A:0 </s>:0 $B:1 </s>:1"
LONG = "Äiti sanoi: “Jörg 😀 meni Tåssjöön”, ja 他去了北京。 Sen jälkeen  söi é."


def text(max_tokens: int = 40, pair: str = XLMR, segments: int = 1) -> Text:
    """Every character is a token, blanks too."""
    tokenizer = Tokenizer(models.WordLevel({"<s>": 0, "<pad>": 1, "</s>": 2, "<unk>": 3}, "<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex("."), "isolated")
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", pair=pair, special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    return Text(tokenizer, {"start": 0, "end": 2, "pad": 1, "mask": 3}, max_tokens, segments)


def task(**options: Any) -> Task:
    return Task(
        id="qa", kind="span_qa", title="", roles=("target",), metrics=("squad_f1",), options=options, sources=()
    )


def question(context: str, answer: str | None, name: str = "q") -> SpanExample:
    answers = () if answer is None else ((answer, context.index(answer)),)
    return SpanExample(name, "mikä?", context, answers)


def encode(*examples: SpanExample, max_tokens: int = 40, **options: Any) -> Features:
    return span_qa.features(examples, text(max_tokens), (), task(**options))


def windows(features: Features) -> list[np.ndarray[Any, Any]]:
    """Indices of the selected positions of each window."""
    return [np.arange(a, b) for a, b in itertools.pairwise(features.select_offsets)]


def test_a_window_selects_its_first_token_and_every_context_token_that_is_not_blank() -> None:
    features = encode(question("ei se", "ei"))
    at = 1 + len("mikä?") + 2
    assert features.select.tolist() == [0, at, at + 1, at + 3, at + 4]
    assert list(zip(features.extra["start"].tolist(), features.extra["end"].tolist(), strict=True)) == [
        *[(0, 0), (0, 1), (1, 2)],
        *[(3, 4), (4, 5)],
    ]


@pytest.mark.parametrize("answer", ["Jörg 😀", "他去了北京", "Ä", "é.", "Tåssjöön”", LONG.split("。")[1].strip()[:9]])
def test_targets_point_at_exactly_the_characters_of_the_answer(answer: str) -> None:
    features = encode(question(LONG, answer), doc_stride=12)
    held = 0
    for window in windows(features):
        bits = features.targets[window]
        (first,), (last,) = np.flatnonzero(bits & span_qa.START), np.flatnonzero(bits & span_qa.END)
        if first == 0:
            assert last == 0
            continue
        held += 1
        assert LONG[features.extra["start"][window[first]] : features.extra["end"][window[last]]] == answer
    assert held


def test_a_window_without_the_whole_answer_points_both_bits_at_its_first_token() -> None:
    features = encode(question(LONG, "Jörg 😀 meni"), doc_stride=4)
    spans = [(features.extra["start"][w[1]], features.extra["end"][w[-1]]) for w in windows(features)]
    begin = LONG.index("Jörg")
    holds = [bool(a <= begin and begin + len("Jörg 😀 meni") <= b) for a, b in spans]
    assert True in holds and False in holds
    for window, held in zip(windows(features), holds, strict=True):
        bits = features.targets[window]
        assert (bits[0] == span_qa.START | span_qa.END) is not held
        assert bits.sum() == span_qa.START + span_qa.END


def test_a_question_without_answer_points_at_the_first_token_of_every_window() -> None:
    features = encode(question(LONG, None))
    assert [features.targets[w].tolist() for w in windows(features)] == [
        [3] + [0] * (len(w) - 1) for w in windows(features)
    ]


def test_an_answer_of_one_token_starts_and_ends_there() -> None:
    features = encode(question("a b c", "b"))
    assert features.targets.tolist() == [0, 0, 3, 0]


def test_blanks_around_a_gold_answer_do_not_matter() -> None:
    example = SpanExample("q", "mikä?", "yksi kaksi kolme", ((" kaksi ", 4),))
    assert encode(example).targets.tolist() == encode(question("yksi kaksi kolme", "kaksi")).targets.tolist()


def test_only_the_first_of_several_answers_is_trained_on() -> None:
    both = SpanExample("q", "mikä?", "yksi kaksi", (("kaksi", 5), ("yksi", 0)))
    assert encode(both).targets.tolist() == encode(question("yksi kaksi", "kaksi")).targets.tolist()


@pytest.mark.parametrize("stride", [0, 5, 12, 500])
def test_windows_cover_the_context_without_a_gap_and_are_units_of_their_own(stride: int) -> None:
    features = encode(question(LONG, "é"), question("lyhyt", "lyhyt", "r"), doc_stride=stride)
    last = features.sequences - 1
    assert features.example.tolist() == [0] * last + [1] and last > 1
    assert features.unit.tolist() == list(range(features.sequences))
    seen = {int(c) for w in windows(features)[:last] for c in features.extra["start"][w[1:]]}
    assert seen == {i for i, c in enumerate(LONG) if not c.isspace()}
    assert np.diff(features.offsets).max() <= 40


@pytest.mark.parametrize("max_tokens", [10, 11, 17, 20, 24, 25, 31])
def test_the_longest_question_leaves_room_for_the_context_in_the_smallest_windows(max_tokens: int) -> None:
    example = SpanExample("q", "mikä ihme? " * 9, "abcdefghij" * 5)
    features = encode(example, max_tokens=max_tokens)
    assert {int(c) for w in windows(features) for c in features.extra["start"][w[1:]]} == set(range(50))
    assert np.diff(features.offsets).max() <= max_tokens


def test_neighbouring_windows_share_as_many_tokens_as_the_option_says() -> None:
    context = "abcdefghij" * 8
    for stride in (0, 6):
        first, second = windows(encode(question(context, "a"), doc_stride=stride))[:2]
        assert len(first) == len(second) == 1 + 40 - len("mikä?") - 4
        features = encode(question(context, "a"), doc_stride=stride)
        shared = set(features.extra["start"][first[1:]]) & set(features.extra["start"][second[1:]])
        assert len(shared) == stride


@pytest.mark.parametrize(("pair", "expected"), [(XLMR, 0), (BERT, 1)])
def test_all_windows_of_a_pair_have_the_segment_ids_of_the_first(pair: str, expected: int) -> None:
    features = span_qa.features([question(LONG, "é")], text(40, pair, segments=2), (), task())
    inside = features.offsets[:-1] + np.array([features.select[w[1]] for w in windows(features)])
    assert features.sequences > 1
    assert features.types[inside].tolist() == [expected] * features.sequences


def scored(features: Features, **best: tuple[int, int, float]) -> np.ndarray[Any, Any]:
    """Zero scores but for the named (start character, end character, score) in every window that has both."""
    scores = np.zeros((len(features.select), 2), np.float32)
    for start, end, score in best.values():
        for window in windows(features):
            a = window[1:][features.extra["start"][window[1:]] == start]
            b = window[1:][features.extra["end"][window[1:]] == end]
            if len(a) and len(b):
                scores[a, 0], scores[b, 1] = score, score
    return scores


def decode(features: Features, examples: list[SpanExample], scores: np.ndarray[Any, Any], **options: Any) -> list[Any]:
    return span_qa.decode(scores, features, examples, (), task(**options))


def test_decoding_gives_the_characters_of_the_original_context() -> None:
    for answer in ("Jörg 😀 meni", "他去了北京。", "Äiti", "é."):
        examples = [question(LONG, answer)]
        features = encode(*examples)
        start = LONG.index(answer)
        scores = scored(features, best=(start, start + len(answer), 5.0))
        assert decode(features, examples, scores) == [answer]


def brute_force(features: Features, scores: np.ndarray[Any, Any], context: str, longest: int) -> str:
    best, answer = -np.inf, ""
    for window in windows(features):
        for i, j in itertools.combinations_with_replacement(window[1:], 2):
            score = scores[i, 0] + scores[j, 1]
            if j - i < longest and score > best:
                best, answer = score, context[features.extra["start"][i] : features.extra["end"][j]].strip()
    return answer


@pytest.mark.parametrize("longest", [1, 4, 30])
def test_decoding_finds_what_comparing_every_span_of_every_window_finds(longest: int) -> None:
    examples = [question(LONG[i:], None, str(i)) for i in range(0, len(LONG), 7)]
    features = encode(*examples)
    for seed in range(5):
        scores = np.random.default_rng(seed).normal(size=(len(features.select), 2)).astype(np.float32)
        got = decode(features, examples, scores, max_answer_tokens=longest)
        for i, example in enumerate(examples):
            alone = encode(example)
            own = np.repeat(features.example, np.diff(features.select_offsets)) == i
            assert got[i] == brute_force(alone, scores[own], example.context, longest)


def test_a_span_never_ends_before_it_starts_nor_in_another_window() -> None:
    examples = [question(LONG, None)]
    features = encode(*examples, doc_stride=0)
    first, second = windows(features)[:2]
    scores = np.zeros((len(features.select), 2), np.float32)
    scores[first[-1], 0], scores[second[1], 1] = 9, 9  # neighbours, but a window apart
    assert len(decode(features, examples, scores)[0]) == 1
    scores = np.zeros((len(features.select), 2), np.float32)
    scores[first[5], 0], scores[first[3], 1] = 9, 8
    start, end = features.extra["start"], features.extra["end"]
    assert decode(features, examples, scores) == [LONG[start[first[5]] : end[first[5]]]]


def test_the_best_window_wins_whichever_comes_first() -> None:
    examples = [question(LONG, None)]
    features = encode(*examples, doc_stride=0)
    early, late = LONG.index("sanoi"), LONG.index("söi")
    for first, second, expected in ((5.0, 4.0, "sanoi"), (4.0, 5.0, "söi")):
        scores = scored(features, a=(early, early + 5, first), b=(late, late + 3, second))
        assert decode(features, examples, scores) == [expected]


def test_no_answer_is_predicted_only_where_the_task_allows_it_and_its_score_is_larger() -> None:
    examples = [question("yksi kaksi", None)]
    features = encode(*examples)
    scores = scored(features, best=(5, 10, 2.0))
    for null, expected in ((3.9, "kaksi"), (4.0, "kaksi"), (4.1, "")):
        scores[0] = [null - 1, 1]
        assert decode(features, examples, scores, unanswerable=True) == [expected]
        assert decode(features, examples, scores) == ["kaksi"]


def test_the_window_that_is_surest_of_an_answer_decides_whether_there_is_one() -> None:
    examples = [question(LONG, None)]
    features = encode(*examples)
    start = LONG.index("Äiti")
    scores = scored(features, best=(start, start + 4, 2.0))
    nulls = features.select_offsets[:-1]
    scores[nulls] = 5.0
    assert decode(features, examples, scores, unanswerable=True) == [""]
    scores[nulls[0]] = 1.0
    assert decode(features, examples, scores, unanswerable=True) == ["Äiti"]


def test_a_context_without_anything_to_select_gives_no_answer() -> None:
    examples = [SpanExample("q", "mikä?", " ", ()), question("sana", None, "r")]
    features = encode(*examples)
    scores = np.zeros((len(features.select), 2), np.float32)
    assert decode(features, examples, scores)[0] == ""
    assert decode(features, examples, scores, unanswerable=True)[0] == ""


def test_the_loss_is_the_mean_cross_entropy_of_start_and_end_over_windows() -> None:
    examples = [question(LONG, "Jörg"), question("yksi kaksi", "kaksi", "b"), question("ei mitään", None, "c")]
    features = encode(*examples)
    torch.manual_seed(0)
    scores = torch.randn(len(features.select), 2)
    expected = []
    for window in windows(features):
        logits, bits = scores[window], features.targets[window]
        for column, bit in ((0, span_qa.START), (1, span_qa.END)):
            gold = torch.tensor(np.flatnonzero(bits & bit))
            expected.append(torch.nn.functional.cross_entropy(logits[None, :, column], gold))
    for budget in (10_000, 80):
        total, count = torch.zeros(()), 0
        for batch in batches(features, budget, 0, False):
            n = len(batch.cu_seqlens) - 1
            total, count = total + n * span_qa.loss(scores[batch.selected], batch), count + n
        assert count == features.sequences
        assert torch.allclose(total / count, torch.stack(expected).mean(), atol=1e-6)


def test_the_loss_falls_when_the_gold_positions_score_higher() -> None:
    features = encode(question("yksi kaksi", "kaksi"))
    (batch,) = batches(features, 1000, 0, False)
    scores = torch.zeros(len(features.select), 2, requires_grad=True)
    loss = span_qa.loss(scores, batch)
    assert torch.allclose(loss, torch.log(torch.tensor(10.0)))  # first token and nine letters, all alike
    loss.backward()
    gradient = scores.grad
    assert gradient is not None
    assert gradient[5, 0] < 0 and gradient[9, 1] < 0 and (gradient[:5] > 0).all()


def test_references_are_what_the_squad_metrics_take() -> None:
    examples = [SpanExample("a", "?", "yksi kaksi", (("yksi", 0), ("kaksi", 5))), question("yksi", None, "b")]
    references = span_qa.references(examples)
    assert references == [("yksi", "kaksi"), ()]
    assert METRICS["squad_em"].score(["kaksi", ""], references) == 1.0
    assert METRICS["squad_em"].score(["kaksi", "yksi"], references) == 0.5


def test_five_thousand_questions_are_decoded_in_a_few_seconds() -> None:
    n, length = 5000, 200
    borders = np.arange(n + 1) * length
    inside = np.tile(np.arange(length), n)
    features = Features(
        *(np.zeros(0, np.int32), np.zeros(0, np.int8), np.zeros(n + 1, np.int64), inside, borders),
        *(np.zeros(n * length, np.int64), np.arange(n), np.arange(n)),
        {"start": inside, "end": inside + 1},
    )
    examples = [SpanExample(str(i), "?", "x" * length) for i in range(n)]
    scores = np.random.default_rng(0).normal(size=(n * length, 2)).astype(np.float32)
    began = time.process_time()
    assert len(decode(features, examples, scores, unanswerable=True)) == n
    assert time.process_time() - began < 5
