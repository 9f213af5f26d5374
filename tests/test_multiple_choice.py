"""Multiple choice: an example's choices stay together, compete with each other only, and the best one is the answer."""

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from adaptx.data.examples import ChoiceExample
from adaptx.data.tokenize import Text
from adaptx.engine.packing import Features, batches, epoch_plan, pack
from adaptx.metrics import METRICS
from adaptx.registry import Task
from adaptx.tasks import multiple_choice

TASK = Task(id="mc", kind="multiple_choice", title="", roles=("target",), metrics=("choice_accuracy",), sources=())
WORDS = ["<s>", "<pad>", "</s>", "<unk>", "premise", "why", "because", "a", "b", "c", "d", "e"]


def text(max_tokens: int = 64) -> Text:
    tokenizer = Tokenizer(models.WordLevel({w: i for i, w in enumerate(WORDS)}, "<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", pair="<s> $A </s> </s> $B </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    return Text(tokenizer, {"start": 0, "end": 2, "pad": 1, "mask": 3}, max_tokens, 1)


def example(
    choices: Sequence[str], label: int | None, context: str = "premise", question: str = "why"
) -> ChoiceExample:
    return ChoiceExample(f"{choices}{label}", context, question, tuple(choices), label)


# numbers of choices and their lengths differ, so that sorting by length tears examples apart
EXAMPLES = [
    example(["a", "b b b b b b", "c"], 1),
    example(["a a a", "b"], 0),
    example(["a", "b", "c", "d d d d d d d d d", "e"], 4, question=""),
    example(["b b", "c"], None, context=""),
    example(["a a a a a a a", "b", "c c c c"], 2),
]


def encode(examples: Sequence[ChoiceExample] = EXAMPLES) -> Features:
    return multiple_choice.features(examples, text(), (), TASK)


def words(features: Features, sequence: int) -> str:
    return " ".join(WORDS[i] for i in features.ids[features.offsets[sequence] : features.offsets[sequence + 1]])


def test_every_choice_is_read_behind_context_and_question() -> None:
    features = encode()
    assert words(features, 0) == "<s> premise why </s> </s> a </s>"
    assert words(features, 5) == "<s> premise </s> </s> a </s>"  # no question
    assert words(features, 10) == "<s> why </s> </s> b b </s>"  # no context
    assert features.select.tolist() == [0] * 15
    assert features.unit.tolist() == features.example.tolist() == [0] * 3 + [1] * 2 + [2] * 5 + [3] * 2 + [4] * 3


def test_the_right_choice_alone_has_target_one() -> None:
    assert encode().targets.tolist() == [0, 1, 0, 1, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1]


@pytest.mark.parametrize("budget", [1, 30, 60, 10_000])
def test_the_choices_of_an_example_share_a_batch(budget: int) -> None:
    features = encode()
    for rows in epoch_plan(features, budget, 0, 0):
        batch = pack(features, rows, 0)
        for unit in batch.unit.unique():
            together = batch.rows[(batch.unit == unit).numpy()]
            (of,) = {int(features.example[r]) for r in together}
            assert sorted(together) == np.flatnonzero(features.example == of).tolist()


@pytest.mark.parametrize("budget", [1, 30, 60, 10_000])
def test_the_loss_is_the_mean_cross_entropy_over_each_examples_choices(budget: int) -> None:
    features = encode()
    torch.manual_seed(0)
    scores = torch.randn(len(features.select), 1) * 3
    own = [scores[torch.tensor(features.example == i), 0] for i in range(len(EXAMPLES))]
    by_hand = {
        i: torch.nn.functional.cross_entropy(own[i][None], torch.tensor([e.label]))
        for i, e in enumerate(EXAMPLES)
        if e.label is not None
    }
    seen = 0
    for batch in batches(features, budget, 0, False):
        here = [by_hand[i] for i in sorted({int(features.example[r]) for r in batch.rows}) if i in by_hand]
        expected = torch.stack(here).mean() if here else torch.zeros(())
        assert torch.allclose(multiple_choice.loss(scores[batch.selected], batch), expected, atol=1e-6)
        seen += len(here)
    assert seen == len(by_hand)


def test_an_example_without_label_has_no_loss_and_no_gradient() -> None:
    (batch,) = batches(encode([EXAMPLES[3]]), 1000, 0, False)
    scores = torch.randn(2, 1, requires_grad=True)
    loss = multiple_choice.loss(scores, batch)
    loss.backward()
    assert loss.item() == 0.0 and scores.grad is not None and not scores.grad.any()


def test_adding_the_same_to_all_choices_of_an_example_changes_nothing_but_to_one_does() -> None:
    features = encode()
    (batch,) = batches(features, 10_000, 0, False)
    torch.manual_seed(0)
    scores = torch.randn(len(features.select), 1)
    before = multiple_choice.loss(scores[batch.selected], batch)
    shifted = scores + torch.tensor(features.example, dtype=torch.float32)[:, None]
    assert torch.allclose(multiple_choice.loss(shifted[batch.selected], batch), before, atol=1e-6)
    scores[0] += 1
    assert not torch.allclose(multiple_choice.loss(scores[batch.selected], batch), before, atol=1e-3)


def test_decoding_gives_the_best_choice_of_each_example_in_order() -> None:
    features = encode()
    scores = np.zeros((len(features.select), 1), np.float32)
    for sequence in (2, 3, 9, 11, 12):
        scores[sequence] = 1
    predictions = multiple_choice.decode(scores, features, EXAMPLES, (), TASK)
    assert predictions == [2, 0, 4, 1, 0]
    scores[4] = 2
    assert multiple_choice.decode(scores, features, EXAMPLES, (), TASK) == [2, 1, 4, 1, 0]


def test_predictions_and_references_are_what_the_metric_takes() -> None:
    examples = [e for e in EXAMPLES if e.label is not None]
    references = multiple_choice.references(examples)
    assert references == [1, 0, 4, 2]
    assert METRICS["choice_accuracy"].score([1, 0, 3, 0], references) == 0.5
