"""The training loop, to be read from top to bottom. Knows features, a loss and a score; no task, language or store.

Every step is a pure function of (weights, optimiser, random state, data position): a checkpoint holds these four, so
N steps and k steps + a kill + N - k steps give the same bits on a CPU.
"""

import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np
import torch

from adaptx.engine import checkpoint, optimisers
from adaptx.engine.interrupt import held_back
from adaptx.engine.model import Model
from adaptx.engine.packing import Features, IntArray, Packed, part, pieces_of
from adaptx.engine.parallel import ALONE, Ranks
from adaptx.errors import AdaptxError
from adaptx.methods import trainable


@dataclass(frozen=True)
class LoopOptions:
    """`epochs` may be fractional. `max_steps` bounds the optimiser steps. `lr` is the peak: linear warm-up over the
    share `warmup` of all steps, then linear decay to zero. `clip` bounds the gradient norm. `patience` counts
    evaluations without a better score. `checkpoint_seconds`: at least this long between checkpoints. `optimiser`: one
    of `optimisers.KINDS`. `average_last`: in the end the weights are the mean over the ends of so many last epochs, not
    those of the best dev score (Schmidt et al. 2023, "Free Lunch", section 3); 0: the best score's."""

    epochs: float
    batch_tokens: int
    lr: float
    seed: int
    max_steps: int | None = None
    warmup: float = 0.06
    weight_decay: float = 0.0
    clip: float = 1.0
    patience: int | None = None
    checkpoint_seconds: float = 60.0
    optimiser: str = "adamw"
    average_last: int = 0


@dataclass
class Progress:
    """Where training is; also what a checkpoint keeps beside tensors. Seconds are wall time, summed over restarts."""

    step: int = 0
    epoch: int = 0
    batch: int = 0  # batches of the epoch already done
    tokens: int = 0
    train_seconds: float = 0.0
    evaluate_seconds: float = 0.0
    best: float | None = None
    best_step: int = 0
    stale: int = 0  # evaluations since the best one
    averaged: int = 0  # epochs in the mean of the last ones
    averaged_step: int = 0  # the step that the last of them ended with
    losses: list[float] = field(default_factory=list)  # mean loss of every step
    scores: list[tuple[int, float]] = field(default_factory=list)  # (step, dev score)


@dataclass(frozen=True)
class Work:
    """One batch to come: sequences `rows` of a task's features."""

    task: str
    features: Features
    rows: IntArray


@dataclass(frozen=True)
class Hooks:
    """`plan(epoch)` gives the batches of an epoch, `loss(task, batch)` the mean loss of one, `evaluate()` a dev score
    (higher is better), `report(progress, steps, rate)` is called after each step with planned steps and tokens/s.
    `items(task, batch)`: how many things the loss is the mean of. `split(pieces)` is told when a batch did not fit into
    the device's memory and is from now on taken in so many pieces, whose gradients add up to the whole batch's."""

    plan: Callable[[int], list[Work]]
    loss: Callable[[str, Packed], torch.Tensor]
    evaluate: Callable[[], float] | None
    report: Callable[[Progress, int, float], None]
    items: Callable[[str, Packed], int] = lambda _, batch: len(batch.targets)
    split: Callable[[int], None] = lambda _: None


def learning_rate(step: int, steps: int, peak: float, warmup: float) -> float:
    """The rate of step 0 <= `step` < `steps`: linear up to `peak`, then linear down to zero."""
    rise = max(1, math.ceil(warmup * steps))
    return peak * (step + 1) / rise if step < rise else peak * (steps - step) / max(1, steps - rise)


def _masks(seed: int, step: int) -> int:
    """The same in every process, and after a restart."""
    return int(np.random.default_rng([seed, step, 3]).integers(2**63))


def parameters(model: Model) -> dict[str, torch.nn.Parameter]:
    """Everything that trains, encoder and head, by a stable name."""
    return {
        **{f"encoder.{k}": v for k, v in trainable(model.encoder).items()},
        **{f"head.{k}": v for k, v in trainable(model.heads).items()},
    }


def train(
    model: Model, hooks: Hooks, options: LoopOptions, folder: Path | None = None, ranks: Ranks = ALONE
) -> Progress:
    """Train to the end, going on from a checkpoint in `folder` where there is one.

    Ends with the weights of the best dev score loaded, or with the mean of the last epochs'. Of several processes the
    first one evaluates, reports and saves.

    Raises AX040 when the loss is not finite, AX041 for a checkpoint that does not fit, AX042 out of device memory.
    """
    weights = parameters(model)
    decayed = [p for n, p in weights.items() if p.dim() > 1 and "embeddings" not in n]
    plain = [p for n, p in weights.items() if not (p.dim() > 1 and "embeddings" not in n)]
    groups = [{"params": decayed, "weight_decay": options.weight_decay}, {"params": plain, "weight_decay": 0.0}]
    optimiser = optimisers.build(options.optimiser, groups, options.lr, model.device)
    torch.manual_seed(options.seed)
    now, best = Progress(), {k: p.detach().clone() for k, p in weights.items()}
    mean = {k: torch.zeros_like(p) for k, p in weights.items()} if options.average_last else {}
    if folder and checkpoint.exists(folder):
        now, best, mean = _restore(folder, weights, optimiser, options)
    if not ranks.first:
        torch.manual_seed(options.seed + ranks.rank)  # dropout of its own
        folder = None

    plans = [len(hooks.plan(e)) for e in range(math.ceil(options.epochs))]
    steps = math.ceil(sum(plans) * options.epochs / len(plans))
    steps = min(steps, options.max_steps or steps)
    final_epoch = sum(end < steps for end in accumulate(plans))  # the one that the last step falls in
    stepper = Stepper(model, hooks, optimiser, list(weights.values()), options.clip, ranks)
    with held_back() as interrupted:
        saved_at = time.monotonic()
        while now.step < steps and not (options.patience is not None and now.stale > options.patience):
            plan = hooks.plan(now.epoch)
            while now.batch < len(plan) and now.step < steps:
                began = time.monotonic()
                for group in optimiser.param_groups:
                    group["lr"] = learning_rate(now.step, steps, options.lr, options.warmup)
                tokens = stepper.step(plan[now.batch], _masks(options.seed, now.step))
                now.step, now.batch, now.tokens = now.step + 1, now.batch + 1, now.tokens + tokens
                last = now.batch == len(plan) or now.step == steps
                if stepper.waiting >= stepper.most or last or not now.losses:
                    now.losses += stepper.losses()
                now.train_seconds += time.monotonic() - began
                hooks.report(now, steps, now.tokens / now.train_seconds)
                due = time.monotonic() - saved_at >= options.checkpoint_seconds
                stop = ranks.any(interrupted.is_set(), model.device)
                if folder and (due or stop):
                    now.losses += stepper.losses()
                    _save(folder, weights, best, mean, optimiser, now, options)
                    saved_at = time.monotonic()
                if stop:
                    raise KeyboardInterrupt
            if options.average_last and now.epoch > final_epoch - options.average_last:
                _average(weights, mean, now)
            if now.batch >= len(plan):
                now.epoch, now.batch = now.epoch + 1, 0
            if hooks.evaluate is not None:
                _judge(hooks.evaluate, weights, best, now, ranks)
                if folder:
                    _save(folder, weights, best, mean, optimiser, now, options)
                    saved_at = time.monotonic()
    if options.average_last:
        if now.averaged_step != now.step:
            _average(weights, mean, now)  # killed after the last step
        _put(mean, weights)
        now.best, now.best_step = _score(hooks.evaluate, ranks) if hooks.evaluate else None, now.step
        return now
    if hooks.evaluate is not None and (not now.scores or now.scores[-1][0] != now.step):
        _judge(hooks.evaluate, weights, best, now, ranks)  # killed after the last step, before it was scored
    if now.best is not None:
        _put(best, weights)
    return now


def _put(values: dict[str, torch.Tensor], weights: dict[str, torch.nn.Parameter]) -> None:
    with torch.no_grad():
        for name, parameter in weights.items():
            parameter.copy_(values[name])


def _average(weights: dict[str, torch.nn.Parameter], mean: dict[str, torch.Tensor], now: Progress) -> None:
    """Take the weights into the running mean."""
    now.averaged, now.averaged_step = now.averaged + 1, now.step
    for name, parameter in weights.items():
        mean[name] += (parameter.detach() - mean[name]) / now.averaged


class Stepper:
    """Optimiser steps, one `Work` each. A batch that does not fit into the device's memory is taken in pieces."""

    def __init__(
        self,
        model: Model,
        hooks: Hooks,
        optimiser: torch.optim.Optimizer,
        weights: list[torch.nn.Parameter],
        clip: float,
        ranks: Ranks = ALONE,
    ) -> None:
        self.model, self.hooks, self.optimiser, self.weights, self.clip = model, hooks, optimiser, weights, clip
        self.ranks = ranks
        self.pieces = 1
        # Reading a loss waits for the GPU: there they are read a few at a time. On a CPU nothing is gained by waiting.
        self.most = 16 if model.device.type == "cuda" else 1
        self._unread: list[torch.Tensor] = []

    @property
    def waiting(self) -> int:
        """How many losses have not been read."""
        return len(self._unread)

    def losses(self) -> list[float]:
        """The mean losses of the steps since the last call. Raises AX040 where one is not finite."""
        values: list[float] = torch.stack(self._unread).tolist() if self._unread else []
        self._unread.clear()
        for value in values:
            if not math.isfinite(value):
                raise AdaptxError("AX040", f"loss {value}", "the loss is no longer a number.")
        return values

    def step(self, work: Work, masks: int | None = None) -> int:
        """One optimiser step; returns its tokens. `masks`: what the heads' dropout is drawn from.

        Raises AX042 where not even one unit fits into memory."""
        self.model.train(True)
        while True:
            try:
                loss, tokens = self._gradients(work, masks)
                break
            except torch.OutOfMemoryError:
                pass
            self.optimiser.zero_grad(set_to_none=True)
            if self.ranks.world > 1:
                raise AdaptxError("AX042", work.task, "a process's share of the batch does not fit into its device.")
            if len(pieces_of(work.features, work.rows, self.pieces)) < self.pieces:
                raise AdaptxError("AX042", work.task, "not even its longest example fits into the device's memory.")
            self.pieces *= 2
            self.hooks.split(self.pieces)
        torch.nn.utils.clip_grad_norm_(self.weights, self.clip)
        self._unread.append(loss)
        if self.most == 1 and not torch.isfinite(loss):
            self.losses()  # raises before the weights are spoilt
        self.optimiser.step()
        self.optimiser.zero_grad(set_to_none=True)
        return tokens

    def _gradients(self, work: Work, masks: int | None = None) -> tuple[torch.Tensor, int]:
        """Forward and backward of one batch: its mean loss, and its tokens; of all processes together."""
        share = self.ranks.share(work.features, work.rows)
        parts = [
            part(work.features, rows, work.rows, self.model.first_position, self.model.buckets)
            for rows in (pieces_of(work.features, share, self.pieces) if len(share) else [])
        ]
        items = [self.hooks.items(work.task, p) for p in parts]
        everything, tokens = self.ranks.sums([sum(items), sum(p.tokens for p in parts)], self.model.device)
        total = torch.zeros((), device=self.model.device)
        for batch, n in zip(parts, items, strict=True):
            if n == 0:
                continue  # nothing here has a known label, or no token was masked
            batch.masks = masks
            loss = self.hooks.loss(work.task, batch.to(self.model.device)) * (n / max(1, everything))
            loss.backward()  # type: ignore[no-untyped-call]
            total += loss.detach().float()
        self._add_up(total)
        return total, int(tokens)

    def _add_up(self, total: torch.Tensor) -> None:
        """Sum losses and gradients over the processes. What no process has a gradient for is left without one."""
        if self.ranks.world == 1:
            return
        met = self.ranks.sums([w.grad is not None for w in self.weights], self.model.device)
        trained = [w for w, n in zip(self.weights, met, strict=True) if n]
        for weight in trained:
            if weight.grad is None:
                weight.grad = torch.zeros_like(weight)
        self.ranks.add([total, *(w.grad for w in trained if w.grad is not None)])


def _score(evaluate: Callable[[], float], ranks: Ranks) -> float:
    return ranks.told(evaluate() if ranks.first else None)


def _judge(
    evaluate: Callable[[], float],
    weights: dict[str, torch.nn.Parameter],
    best: dict[str, torch.Tensor],
    now: Progress,
    ranks: Ranks,
) -> None:
    """Score on dev data; keep a copy of the weights where the score is the best so far."""
    began = time.monotonic()
    score = _score(evaluate, ranks)
    now.evaluate_seconds += time.monotonic() - began
    now.scores.append((now.step, score))
    if now.best is None or score > now.best:
        now.best, now.best_step, now.stale = score, now.step, 0
        best.update({k: p.detach().clone() for k, p in weights.items()})
    else:
        now.stale += 1


def _save(
    folder: Path,
    weights: dict[str, torch.nn.Parameter],
    best: dict[str, torch.Tensor],
    mean: dict[str, torch.Tensor],
    optimiser: torch.optim.Optimizer,
    now: Progress,
    options: LoopOptions,
) -> None:
    names = {id(p): n for n, p in weights.items()}
    moments = {
        f"{names[id(p)]}|{key}": optimisers.kept(key, value)
        for p, state in optimiser.state.items()
        for key, value in state.items()
    }
    random: dict[str, Any] = {"cpu": torch.get_rng_state()}
    if torch.cuda.is_available():
        random["cuda"] = torch.cuda.get_rng_state()
    groups: dict[str, dict[str, torch.Tensor]] = {
        "weights": dict(weights),
        "best": best,
        "mean": mean,
        "moments": moments,
        "random": random,
    }
    checkpoint.save(folder, groups, {"options": _identity(options), "progress": asdict(now)})


def _identity(options: LoopOptions) -> dict[str, Any]:
    """The options that the next step depends on."""
    return {k: v for k, v in asdict(options).items() if k != "checkpoint_seconds"}


def _restore(
    folder: Path, weights: dict[str, torch.nn.Parameter], optimiser: torch.optim.Optimizer, options: LoopOptions
) -> tuple[Progress, dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    groups, state = checkpoint.load(folder)
    shapes = {k: v.shape for k, v in groups.get("weights", {}).items()}
    if shapes != {k: v.shape for k, v in weights.items()}:
        raise AdaptxError("AX041", folder, "it holds other tensors than this recipe trains.")
    if state.get("options") != _identity(options):
        raise AdaptxError("AX041", folder, "it was written under other training options.")
    state = state["progress"]
    _put(groups["weights"], weights)
    for name, value in groups.get("moments", {}).items():
        owner, _, key = name.rpartition("|")
        optimiser.state[weights[owner]][key] = optimisers.restored(optimiser, key, value, weights[owner].device)
    torch.set_rng_state(groups["random"]["cpu"])
    if "cuda" in groups["random"] and torch.cuda.is_available():
        torch.cuda.set_rng_state(groups["random"]["cuda"])
    best, mean = ({k: v.to(weights[k].device) for k, v in groups.get(g, {}).items()} for g in ("best", "mean"))
    return Progress(**{**state, "scores": [(int(a), float(b)) for a, b in state["scores"]]}), best, mean
