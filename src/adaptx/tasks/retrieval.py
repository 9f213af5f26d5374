"""Translation retrieval (Tatoeba): nearest neighbours of sentence vectors. Nothing is trained; knows no language.

Hu et al. 2020 (XTREME, section 3.2, appendix B): mean over a layer's token states, special tokens included, cosine
similarity. adaptx ranks candidates by one matrix product.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from adaptx.data.tokenize import Text
from adaptx.engine.packing import Encoded, Features, collect

Vectors = npt.NDArray[np.float32]


def features(sentences: Sequence[str], text: Text) -> Features:
    """One sequence a sentence; nothing is selected, the whole sequence is pooled."""
    return collect([Encoded(x.ids, [], [], i, i, text.types(x)) for i, x in enumerate(text.encode(list(sentences)))])


def nearest(queries: Vectors, candidates: Vectors) -> npt.NDArray[np.int64]:
    """The index of the candidate with the largest cosine to each query. [n, H], [m, H] -> [n]."""
    unit = [x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-9) for x in (queries, candidates)]
    return np.asarray((unit[0] @ unit[1].T).argmax(1), np.int64)
