"""Token-budget batches without padding. Knows sequences and selected positions, not tasks and not models.

A batch concatenates whole sequences to one row of T tokens; `cu_seqlens` marks the borders, position ids are
explicit, and `select` says which tokens a head reads. T: tokens, n: sequences, S: selected tokens.
"""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

IntArray = npt.NDArray[np.integer]


@dataclass(frozen=True)
class Features:
    """Encoded examples as flat arrays: cheap to slice, to hash and to map from disk.

    ids, types: [N] token and segment ids of all sequences in a row; offsets: [n + 1] their borders.
    select: [S] positions inside each sequence that the head reads; select_offsets: [n + 1].
    targets: [S] what the head should say there. example: [n] the example a sequence belongs to; sequences of one
    `unit` [n] (equal, adjacent numbers) always share a batch: the choices of one question.
    extra: [S] arrays that only the task kind's decoding reads.
    """

    ids: IntArray
    types: IntArray
    offsets: IntArray
    select: IntArray
    select_offsets: IntArray
    targets: IntArray
    example: IntArray
    unit: IntArray
    extra: dict[str, IntArray] = field(default_factory=dict)

    @property
    def sequences(self) -> int:
        """How many sequences there are."""
        return len(self.offsets) - 1

    @property
    def tokens(self) -> int:
        """How many tokens there are, without padding."""
        return int(self.offsets[-1])


@dataclass
class Encoded:
    """One sequence on its way into `Features`."""

    ids: Sequence[int]
    select: Sequence[int]
    targets: Sequence[int]
    example: int
    unit: int
    types: Sequence[int] | None = None


def _flat(rows: Sequence[Sequence[int]], kind: type[np.integer]) -> IntArray:
    return np.fromiter((v for row in rows for v in row), kind)


def _borders(counts: Sequence[int]) -> IntArray:
    return np.concatenate([[0], np.cumsum(counts, dtype=np.int64)])


def collect(sequences: Sequence[Encoded]) -> Features:
    """Flatten `sequences`, keeping their order."""
    lengths = [len(s.ids) for s in sequences]
    types = np.zeros(sum(lengths), np.int8)
    at = 0
    for s in sequences:
        if s.types is not None:
            types[at : at + len(s.ids)] = s.types
        at += len(s.ids)
    return Features(
        _flat([s.ids for s in sequences], np.int32),
        types,
        _borders(lengths),
        _flat([s.select for s in sequences], np.int32),
        _borders([len(s.select) for s in sequences]),
        _flat([s.targets for s in sequences], np.int64),
        np.array([s.example for s in sequences], np.int64),
        np.array([s.unit for s in sequences], np.int64),
    )


@dataclass
class Bucket:
    """Sequences of nearly equal length that attend together on a CPU.

    first, last: its tokens in the batch.
    rows: [b * longest] token index of every slot (slots beyond a sequence's end repeat its last token).
    valid: [tokens of the bucket] the real slots, in packed order; None when there are no others.
    mask: [b, 1, longest] 0 or -inf-like per slot; None when there are no others.
    """

    first: int
    last: int
    rows: torch.Tensor
    valid: torch.Tensor | None
    mask: torch.Tensor | None
    shape: tuple[int, int]


@dataclass
class Packed:
    """One batch. Sequences are sorted by length (within a unit nothing is promised about order)."""

    input_ids: torch.Tensor  # [1, T]
    position_ids: torch.Tensor  # [1, T]
    token_type_ids: torch.Tensor  # [1, T]
    cu_seqlens: torch.Tensor  # [n + 1] int32
    longest: int
    select: torch.Tensor  # [S] token index
    targets: torch.Tensor  # [S]
    owner: torch.Tensor  # [S] sequence (0..n-1) that each selected token belongs to
    unit: torch.Tensor  # [n] unit number of each sequence, renumbered from 0
    rows: IntArray  # [n] index of each sequence in its Features
    selected: IntArray  # [S] index of each selected position in its Features
    buckets: list[Bucket]
    key: bytes = b""  # hash of the sequences in their order: equal batches have equal ones
    among: tuple[int, torch.Tensor] | None = None  # of a part: how many selected its batch has, and which [S] are here
    masks: int | None = None  # what the masks of heads are drawn from

    @property
    def tokens(self) -> int:
        """How many tokens there are, without padding."""
        return self.input_ids.shape[1]

    def to(self, device: torch.device) -> "Packed":
        """The batch with its tensors on `device` (asynchronous copies from pinned memory on CUDA)."""
        if device.type == "cpu":
            return self

        def move(x: torch.Tensor) -> torch.Tensor:
            return x.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else x.to(device)

        moved: dict[str, Any] = {k: move(v) for k, v in vars(self).items() if isinstance(v, torch.Tensor)}
        if self.among is not None:
            moved["among"] = (self.among[0], move(self.among[1]))
        return Packed(**{**vars(self), **moved})


def _buckets(lengths: IntArray, slack: float = 1.12, spare: int = 2) -> list[Bucket]:
    """Group ascending `lengths` so that a bucket wastes at most the share `slack` or `spare` slots a sequence."""
    starts = np.concatenate([[0], np.cumsum(lengths)])
    out, i = [], 0
    while i < len(lengths):
        j = int(np.searchsorted(lengths, max(lengths[i] * slack, lengths[i] + spare), "right"))
        longest = int(lengths[j - 1])
        slots = np.arange(longest)
        rows = starts[i:j, None] + np.minimum(slots, lengths[i:j, None] - 1)
        valid = mask = None
        if lengths[i] != longest:
            real = slots < lengths[i:j, None]
            valid = torch.from_numpy(np.flatnonzero(real))
            mask = torch.where(torch.from_numpy(real), 0.0, -1e4)[:, None, :]
        out.append(
            Bucket(int(starts[i]), int(starts[j]), torch.from_numpy(rows.reshape(-1)), valid, mask, (j - i, longest))
        )
        i = j
    return out


def pack(features: Features, rows: IntArray, first_position: int, buckets: bool = True) -> Packed:
    """One batch of the sequences `rows`; positions count from `first_position` (RoBERTa starts at padding + 1)."""
    rows = _by_length(features, rows)
    lengths = features.offsets[rows + 1] - features.offsets[rows]
    cu = np.concatenate([[0], np.cumsum(lengths)])
    inside = np.arange(cu[-1]) - np.repeat(cu[:-1], lengths)
    source = np.repeat(features.offsets[rows], lengths) + inside
    ids, types = features.ids[source], features.types[source]
    selected, owner = _selected(features, rows)
    return Packed(
        _tensor(ids)[None],
        _tensor(inside + first_position)[None],
        _tensor(types)[None],
        torch.from_numpy(cu.astype(np.int32)),
        int(lengths.max()),
        _tensor(features.select[selected] + cu[:-1][owner]),
        _tensor(features.targets[selected]),
        _tensor(owner),
        _tensor(np.unique(features.unit[rows], return_inverse=True)[1]),
        rows,
        selected,
        _buckets(lengths) if buckets else [],
        hashlib.blake2b(b"".join(x.tobytes() for x in (ids, types, cu)), digest_size=16).digest(),
    )


def part(features: Features, rows: IntArray, whole: IntArray, first_position: int, buckets: bool = True) -> Packed:
    """One batch of the sequences `rows`, all or some of a `whole` batch that was divided."""
    packed = pack(features, rows, first_position, buckets)
    if len(rows) < len(whole):
        selected, _ = _selected(features, _by_length(features, whole))
        order = np.argsort(selected)
        mine = order[np.searchsorted(selected, packed.selected, sorter=order)]
        packed.among = (len(selected), _tensor(mine))
    return packed


def _by_length(features: Features, rows: IntArray) -> IntArray:
    lengths = features.offsets[rows + 1] - features.offsets[rows]
    return rows[np.argsort(lengths, kind="stable")]


def _selected(features: Features, rows: IntArray) -> tuple[IntArray, IntArray]:
    """[S] indices of the selected positions of `rows`, in that order, and [S] which of the rows each belongs to."""
    counts = features.select_offsets[rows + 1] - features.select_offsets[rows]
    owner = np.repeat(np.arange(len(rows)), counts)
    first = np.cumsum(counts) - counts
    return np.repeat(features.select_offsets[rows] - first, counts) + np.arange(len(owner)), owner


def _tensor(values: IntArray) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(values, dtype=np.int64))


def plan(features: Features, budget: int, order: IntArray | None = None) -> list[IntArray]:
    """Batches as lists of sequence rows: units in `order` (sorted by length where None), at most `budget` tokens each.

    A unit longer than the budget makes a batch of its own.
    """
    first = np.flatnonzero(np.concatenate([[True], features.unit[1:] != features.unit[:-1]]))
    last = np.concatenate([first[1:], [features.sequences]])
    tokens = features.offsets[last] - features.offsets[first]
    if order is None:
        order = np.argsort(tokens, kind="stable")
    out: list[IntArray] = []
    batch: list[IntArray] = []
    used = 0
    for u in order:
        if batch and used + tokens[u] > budget:
            out.append(np.concatenate(batch))
            batch, used = [], 0
        batch.append(np.arange(first[u], last[u]))
        used += int(tokens[u])
    if batch:
        out.append(np.concatenate(batch))
    return out


def pieces_of(features: Features, rows: IntArray, pieces: int) -> list[IntArray]:
    """The sequences `rows` in at most `pieces` parts of about as many units; a unit is never divided."""
    if pieces == 1:
        return [rows]
    numbers = features.unit[rows]
    order = np.unique(numbers)
    return [rows[np.isin(numbers, part)] for part in np.array_split(order, min(pieces, len(order)))]


def units(features: Features) -> int:
    """How many units (things that stay together) there are."""
    return int(1 + np.count_nonzero(features.unit[1:] != features.unit[:-1])) if features.sequences else 0


def epoch_plan(features: Features, budget: int, seed: int, epoch: int) -> list[IntArray]:
    """The batches of one training epoch: a permutation that depends on `seed` and `epoch` alone."""
    return plan(features, budget, np.random.default_rng([seed, epoch]).permutation(units(features)))


def fixed_plan(features: Features, budget: int, seed: int, epoch: int) -> list[IntArray]:
    """Like `epoch_plan`, but every epoch has the batches of the first one, in an order of its own."""
    found = epoch_plan(features, budget, seed, 0)
    return [found[i] for i in np.random.default_rng([seed, epoch, 2]).permutation(len(found))]


def batches(features: Features, budget: int, first_position: int, buckets: bool) -> Iterator[Packed]:
    """All sequences once, similar lengths together: for evaluation."""
    for rows in plan(features, budget):
        yield pack(features, rows, first_position, buckets)
