"""A span of the context answers a question (SQuAD, TyDiQA-GoldP). Knows no language and no method.

A context longer than the encoder allows is read in overlapping windows. The head scores every context token as the
start and as the end of the answer, and the first token as "no answer in this window" (Devlin et al. 2019, section 4.3).
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, cast

import numpy as np
import torch
from torch import nn

from adaptx.backbones import Backbone
from adaptx.data.examples import Example, SpanExample
from adaptx.data.tokenize import Text
from adaptx.engine.packing import Encoded, Features, Packed, collect
from adaptx.registry import Task
from adaptx.tasks.heads import Tagger, log_partition

DOC_STRIDE = 128  # option doc_stride: tokens of context that neighbouring windows share
MAX_ANSWER_TOKENS = 30  # option max_answer_tokens: longer spans are not considered
START, END = 1, 2  # bits of a target


def labels(task: Task, examples: Sequence[Example]) -> tuple[str, ...]:
    """None: an answer is a piece of text."""
    return ()


def features(examples: Sequence[Example], text: Text, labels: tuple[str, ...], task: Task) -> Features:
    """One sequence a window, read at its first token and at every context token that is not blank.

    A target is 1 where the answer (the first of several) starts, 2 where it ends, 3 where it does both; a window
    without the whole answer has it at the first token. `extra` "start" and "end" [S] are characters of the context.
    Windows share at most a third of their tokens.
    """
    rows = cast(Sequence[SpanExample], examples)
    # the question may take half a window, special tokens four more, and a window must go on by at least one token
    shared = min(text.max_tokens // 3, text.max_tokens // 2 - 5)
    stride = min(int(task.options.get("doc_stride", DOC_STRIDE)), shared)
    out: list[Encoded] = []
    starts: list[int] = []
    ends: list[int] = []
    for i, (row, windows) in enumerate(
        zip(rows, text.windows([(e.question, e.context) for e in rows], stride), strict=True)
    ):
        # tokenizers gives the later windows of a pair segment ids even where the first has none
        segmented = text.types(windows[0]) is not None
        for k, window in enumerate(windows):
            select, pieces = _context(window, row.context)
            low = 0 if k == 0 or not pieces else pieces[0][0]
            high = len(row.context) if k == len(windows) - 1 or not pieces else pieces[-1][1]
            first, last = _answer(row, pieces, low, high)
            targets = [0] * (len(pieces) + 1)
            targets[first] |= START
            targets[last] |= END
            types = text.types(window) if segmented else None
            out.append(Encoded(window.ids, [0, *select], targets, i, len(out), types))
            starts += [0, *(a for a, _ in pieces)]
            ends += [0, *(b for _, b in pieces)]
    return replace(collect(out), extra={"start": np.array(starts, np.int32), "end": np.array(ends, np.int32)})


def _context(window: Any, context: str) -> tuple[list[int], list[tuple[int, int]]]:
    """Positions in the window of the context tokens that are not blank, and their characters."""
    inside = [s == 1 for s in window.sequence_ids]
    kept = [(p, at) for p, at in enumerate(window.offsets) if inside[p] and context[at[0] : at[1]].strip()]
    return [p for p, _ in kept], [at for _, at in kept]


def _answer(example: SpanExample, pieces: list[tuple[int, int]], low: int, high: int) -> tuple[int, int]:
    """The selected positions of the answer's first and last token; 0 and 0 unless characters [low, high) hold it."""
    if not example.answers:
        return 0, 0
    answer, start = example.answers[0]
    end = start + len(answer.rstrip())
    start = end - len(answer.strip())
    inside = [k for k, (a, b) in enumerate(pieces, 1) if a < end and b > start]
    return (inside[0], inside[-1]) if inside and low <= start and end <= high else (0, 0)


def refresh(features: Features, text: Text, seed: int, epoch: int) -> Features:
    """The same in every epoch."""
    return features


def head(backbone: Backbone, labels: tuple[str, ...], task: Task) -> nn.Module:
    """Linear over every selected token: a start score and an end score."""
    return Tagger(backbone.hidden_size, 2)


def loss(logits: torch.Tensor, batch: Packed) -> torch.Tensor:
    """Cross entropy of start and of end over a window's selected tokens, in nats, mean over both and over windows."""
    windows = len(batch.cu_seqlens) - 1
    gold = torch.stack([batch.targets & START, (batch.targets & END) // END], -1)
    partition = [log_partition(logits[:, i], batch.owner, windows).sum() for i in (0, 1)]
    return (partition[0] + partition[1] - (logits * gold).sum()) / (2 * windows)


def items(batch: Packed) -> int:
    """Windows."""
    return len(batch.cu_seqlens) - 1


def summary(logits: torch.Tensor, batch: Packed) -> torch.Tensor:
    """Start and end scores [S, 2]."""
    return logits


def decode(
    summary: np.ndarray[Any, Any],
    features: Features,
    examples: Sequence[Example],
    labels: tuple[str, ...],
    task: Task,
) -> list[Any]:
    """The answer with the largest start + end score among all spans of all windows of each example.

    With option `unanswerable` it is "" where the first token's score, in the window that is surest of an answer, is
    larger still (Devlin et al. 2019, section 4.3, threshold 0).
    """
    rows = cast(Sequence[SpanExample], examples)
    best, width = _best_spans(
        summary, features.select_offsets, int(task.options.get("max_answer_tokens", MAX_ANSWER_TOKENS))
    )
    nulls = summary.sum(1)[features.select_offsets[:-1]]
    windows = np.searchsorted(features.example, np.arange(len(rows) + 1))
    out = []
    for row, a, b in zip(rows, windows[:-1], windows[1:], strict=True):
        first, last = features.select_offsets[[a, b]]
        i = int(first + best[first:last].argmax())
        refused = bool(task.options.get("unanswerable")) and nulls[a:b].min() > best[i]
        start, end = features.extra["start"][i], features.extra["end"][i + width[i]]
        out.append("" if refused else row.context[start:end].strip())
    return out


def _best_spans(
    scores: np.ndarray[Any, Any], borders: np.ndarray[Any, Any], longest: int
) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """For every token [S] the score of the best span that starts there, and how many tokens further it ends.

    The first token of a window starts none: its score is -inf.
    """
    starts, ends = np.ascontiguousarray(scores.T)
    window = np.repeat(np.arange(len(borders) - 1), np.diff(borders))
    best = np.full(len(scores), -np.inf, np.float32)
    width = np.zeros(len(scores), np.int64)
    for more in range(min(longest, len(scores))):
        fits = len(scores) - more
        score = starts[:fits] + ends[more:]
        better = np.flatnonzero((window[:fits] == window[more:]) & (score > best[:fits]))
        best[better], width[better] = score[better], more
    best[borders[:-1]] = -np.inf
    width[borders[:-1]] = 0
    return best, width


def references(examples: Sequence[Example]) -> list[Any]:
    """The gold answers' texts; none for an unanswerable question."""
    return [tuple(answer for answer, _ in e.answers) for e in cast(Sequence[SpanExample], examples)]
