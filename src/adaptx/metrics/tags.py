"""Statistics of tag sequences: token accuracy, and entity counts exactly as seqeval counts them.

This file knows no tag set and does not read chunks itself: seqeval's `get_entities` decides what an entity is.
"""

import warnings
from collections.abc import Iterable, Sequence

import numpy as np

from adaptx.metrics.align import require_equal_tags
from adaptx.metrics.metric import Stats

Entity = tuple[str, int, int]


def tag_accuracy_stats(predictions: Sequence[Sequence[str]], references: Sequence[Sequence[str]]) -> Stats:
    """Tags per sentence -> [n, 2]: right tags, tags. AX050 where the numbers of sentences or tags differ."""
    require_equal_tags(predictions, references)
    right = [sum(p == r for p, r in zip(ps, rs, strict=True)) for ps, rs in zip(predictions, references, strict=True)]
    return np.column_stack([np.array(right, dtype=np.float64), _lengths(references)])


def entity_stats(predictions: Sequence[Sequence[str]], references: Sequence[Sequence[str]]) -> Stats:
    """Tags per sentence -> [n, 3]: true positives, predicted, gold entities; AX050 as above.

    Reduced with `f1`, the sums equal `seqeval.metrics.f1_score(references, predictions)` (seqeval 1.2.2, micro
    average, default mode) for any tags, also for bare UPOS, which XTREME scores so. seqeval cuts a bare tag into a
    prefix of one letter and a type: CCONJ and SCONJ are both of type CONJ, runs of equal tags are one entity, and a
    sentence that begins with the tag X keeps the start of an entity of an earlier sentence. Because of the last,
    entities are read from all sentences at once, as seqeval does, and each is counted in the sentence it ends in.
    """
    require_equal_tags(predictions, references)
    predicted, gold = _entities(predictions), _entities(references)
    # seqeval puts one separator after each sentence, so sentence i ends before offset ends[i].
    ends = np.cumsum(_lengths(references) + 1)
    return np.column_stack([_per_sentence(entities, ends) for entities in (predicted & gold, predicted, gold)])


def _entities(sentences: Sequence[Sequence[str]]) -> set[Entity]:
    from seqeval.metrics.sequence_labeling import get_entities  # type: ignore[import-untyped, unused-ignore]

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*seems not to be NE tag")
        return set(get_entities([list(tags) for tags in sentences]))


def _per_sentence(entities: Iterable[Entity], ends: Stats) -> Stats:
    sentences = np.searchsorted(ends, [end for _, _, end in entities], side="right")
    return np.bincount(sentences, minlength=len(ends)).astype(np.float64)


def _lengths(sentences: Sequence[Sequence[str]]) -> Stats:
    return np.array([len(tags) for tags in sentences], dtype=np.float64)
