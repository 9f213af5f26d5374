"""Statistics of extracted answers: SQuAD's exact match and F1.

The definition is SQuAD v1.1's (Rajpurkar et al. 2016, official `evaluate-v1.1.py`), which XTREME also uses for
TyDiQA-GoldP: lower case, no ASCII punctuation, no English articles, whitespace collapsed, best of the gold answers.
A question without gold answers is unanswerable and follows SQuAD v2.0 (Rajpurkar et al. 2018): 1.0 for a prediction
that is empty after normalisation, else 0.0. MLQA normalises by language (articles, CJK characters): its scores are
not these. This file knows no contexts and no spans, only strings.
"""

import re
import string
from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np

from adaptx.metrics.align import require_pairs
from adaptx.metrics.metric import Stats

ARTICLES = re.compile(r"\b(a|an|the)\b")
WITHOUT_PUNCTUATION = str.maketrans("", "", string.punctuation)


def normalise_answer(text: str) -> str:
    """The form in which SQuAD compares answers."""
    bare = text.lower().translate(WITHOUT_PUNCTUATION)
    return " ".join(ARTICLES.sub(" ", bare).split())


def exact_match_stats(predictions: Sequence[str], references: Sequence[Sequence[str]]) -> Stats:
    """Answers and gold answers per question -> [n, 2]: exact match (0 or 1), and 1. AX050 where lengths differ."""
    return _best_of_gold(_exact_match, predictions, references)


def answer_f1_stats(predictions: Sequence[str], references: Sequence[Sequence[str]]) -> Stats:
    """Answers and gold answers per question -> [n, 2]: F1 over words (0..1), and 1. AX050 where lengths differ."""
    return _best_of_gold(_word_f1, predictions, references)


def _best_of_gold(
    compare: Callable[[str, str], float], predictions: Sequence[str], references: Sequence[Sequence[str]]
) -> Stats:
    require_pairs(predictions, references)
    best = [
        max(compare(predicted, gold) for gold in golds) if len(golds) else _exact_match(predicted, "")
        for predicted, golds in zip(predictions, references, strict=True)
    ]
    return np.column_stack([np.array(best, dtype=np.float64), np.ones(len(best))])


def _exact_match(predicted: str, gold: str) -> float:
    return float(normalise_answer(predicted) == normalise_answer(gold))


def _word_f1(predicted: str, gold: str) -> float:
    predicted_words, gold_words = normalise_answer(predicted).split(), normalise_answer(gold).split()
    common = sum((Counter(predicted_words) & Counter(gold_words)).values())
    return 2.0 * common / (len(predicted_words) + len(gold_words)) if common else 0.0
