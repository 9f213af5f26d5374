"""The resume law: N steps == k steps + a kill + N - k steps, to the bit; and what a checkpoint may not be."""

import json
import os
import signal
import sys
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch

import toy
from adaptx import atomic, store
from adaptx.config import RunOptions, Settings
from adaptx.engine import checkpoint
from adaptx.engine.loop import learning_rate
from adaptx.errors import AdaptxError
from adaptx.jobs import Job
from adaptx.store import Stored
from adaptx.training import prepare, run

BATCHES = 10  # an epoch of toypos at 64 tokens a batch
STEPS = 2 * BATCHES
# (what the process is doing when it dies, how often it has done it): a report comes after its step and before the
# step's checkpoint; a dev evaluation follows the checkpoint of an epoch's last step.
KILLS = {
    "in the middle of an epoch": ("step", 14),
    "in the last step of an epoch": ("step", BATCHES),
    "while the first epoch is scored": ("score", 1),
    "in the first step of an epoch": ("step", BATCHES + 1),
    "while the last epoch is scored": ("score", 2),
}
RESUMED_AT = {
    "in the middle of an epoch": 14,
    "in the last step of an epoch": BATCHES,
    "while the first epoch is scored": BATCHES + 1,
    "in the first step of an epoch": BATCHES + 1,
    "while the last epoch is scored": None,
}
VARIANTS = {
    "full": RunOptions(method="full"),
    "pfeiffer": RunOptions(method="pfeiffer"),
    "lora": RunOptions(method="lora"),
    "pfeiffer in bf16": RunOptions(method="pfeiffer", precision="bf16"),
    "pfeiffer averaged": RunOptions(method="pfeiffer", average_last=2),
    "full with moments in 8 bits": RunOptions(method="full", optimiser="adamw8bit"),
}
# Every kill for one method, the two hardest for the others.
CASES = [
    (v, k)
    for v in VARIANTS
    for k in KILLS
    if v in ("pfeiffer", "pfeiffer averaged") or k in list(KILLS)[:1] + list(KILLS)[2:3]
]


def options_of(variant: str) -> RunOptions:
    chosen = VARIANTS[variant]
    precision = "fp32" if chosen.precision == "auto" else chosen.precision
    lr = 2e-3 if chosen.method == "full" else 1e-2  # the second epoch scores better than the first
    return replace(
        toy.OPTIONS,
        method=chosen.method,
        precision=precision,
        lr=lr,
        batch_tokens=64,
        optimiser=chosen.optimiser,
        average_last=chosen.average_last,
    )


def store_of(root: Path, variant: str, kill: str) -> Path:
    return root / f"{variant} killed {kill}".replace(" ", "-")


def train_and_die(world: toy.World, root: Path) -> None:
    """For every case a child process that trains and kills itself; prints how each of them ended.

    Runs in a process of its own, which never trains: forking is safe there, and the libraries are imported once.
    """
    import adapters  # noqa: F401
    import peft  # noqa: F401

    import adaptx.learner  # noqa: F401

    torch.set_num_threads(1)
    ends = {}
    for variant, kill in CASES:
        child = os.fork()
        if child == 0:
            _train_until(world, store_of(root, variant, kill), options_of(variant), *KILLS[kill])
        ends[f"{variant}, {kill}"] = os.WTERMSIG(os.waitpid(child, 0)[1])
    sys.stdout.write(json.dumps(ends))


def _train_until(world: toy.World, place: Path, options: RunOptions, what: str, times: int) -> None:
    from adaptx.learner import Learner

    done = {"step": 0, "score": 0}
    score = Learner.dev_score

    def count(event: str) -> None:
        done[event] = done.get(event, 0) + 1
        if event == what and done[event] == times:
            os.kill(os.getpid(), signal.SIGKILL)

    def dev_score(self: Learner) -> float:
        count("score")
        return score(self)

    Learner.dev_score = dev_score  # type: ignore[method-assign]
    run(prepared(toy.settings(world, place), options), lambda event, _: count(event), checkpoint_seconds=0)
    os._exit(0)


def prepared(settings: Settings, options: RunOptions) -> Job:
    return prepare(settings, "en", "toypos", options)


@pytest.fixture(scope="module")
def killed(world: toy.World, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The stores in which every case's process was killed."""
    root = tmp_path_factory.mktemp("killed")
    code = "import sys, test_resume, toy; from pathlib import Path; test_resume.train_and_die(*map({}))"
    call = "lambda f, x: f(Path(x)), (toy.World, Path), sys.argv[1:]"
    ends = json.loads(toy.python(code.format(call), world.root, root))
    assert ends == {f"{v}, {k}": signal.SIGKILL for v, k in CASES}
    return root


@pytest.fixture(scope="module")
def uninterrupted(world: toy.World, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Stored]:
    """The finished run of a variant that nobody disturbed, trained once."""
    root, found = tmp_path_factory.mktemp("uninterrupted"), dict[str, Stored]()

    def result(variant: str) -> Stored:
        if variant not in found:
            torch.set_num_threads(1)
            found[variant] = run(prepared(toy.settings(world, root / "store"), options_of(variant)))
        return found[variant]

    return result


@pytest.mark.parametrize(("variant", "kill"), CASES)
def test_a_killed_run_goes_on_to_the_same_bits(
    variant: str, kill: str, killed: Path, world: toy.World, uninterrupted: Callable[[str], Stored]
) -> None:
    torch.set_num_threads(1)
    job = prepared(toy.settings(world, store_of(killed, variant, kill)), options_of(variant))
    scratch = store.scratch(job.settings.store, job.recipe.run_id)
    assert job.done is None
    assert checkpoint.exists(scratch / "checkpoint")
    steps: list[int] = []
    resumed = run(job, lambda event, values: steps.append(values["step"]) if event == "step" else None)
    whole = uninterrupted(variant)
    assert steps[:1] == [x for x in [RESUMED_AT[kill]] if x], "it went on where it stood"
    assert resumed.manifest.run == whole.manifest.run
    assert resumed.manifest.cost["steps"] == whole.manifest.cost["steps"] == STEPS
    assert resumed.manifest.cost["tokens"] == whole.manifest.cost["tokens"]
    assert resumed.manifest.cost["best_step"] == whole.manifest.cost["best_step"]
    assert resumed.manifest.metrics == whole.manifest.metrics
    ours, theirs = toy.tensors(resumed.folder), toy.tensors(whole.folder)
    assert ours.keys() == theirs.keys()
    assert [name for name in ours if not torch.equal(ours[name], theirs[name])] == []
    assert not scratch.exists()
    assert not scratch.with_suffix(".lock").exists()


def test_equal_bits_mean_something_because_another_seed_gives_others(
    settings: Settings, uninterrupted: Callable[[str], Stored]
) -> None:
    other = toy.tensors(run(prepared(settings, replace(options_of("pfeiffer"), seed=1))).folder)
    whole = toy.tensors(uninterrupted("pfeiffer").folder)
    assert other.keys() == whole.keys()
    assert not any(torch.equal(other[name], whole[name]) for name in whole)


def checkpoint_of(settings: Settings, options: RunOptions) -> Path:
    """The checkpoint that an unfinished run of `options` leaves."""
    job = prepared(settings, options)

    def stop(event: str, values: dict[str, Any]) -> None:
        if event == "step" and values["step"] == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(job, stop, checkpoint_seconds=0)
    folder = store.scratch(settings.store, job.recipe.run_id) / "checkpoint"
    assert checkpoint.exists(folder)
    return folder


@pytest.mark.parametrize(
    "other",
    [
        {"method": "lora"},
        {"hyper": {"reduction_factor": 4}},
        {"seed": 1},
        {"lr": 1e-4},
    ],
    ids=["of another method", "of another size", "of another seed", "of another learning rate"],
)
def test_a_checkpoint_of_another_recipe_is_refused(other: dict[str, Any], settings: Settings) -> None:
    options = options_of("pfeiffer")
    foreign = checkpoint_of(settings, replace(options, **other))
    job = prepared(settings, options)
    place = store.scratch(settings.store, job.recipe.run_id) / "checkpoint"
    place.parent.mkdir(parents=True)
    foreign.rename(place)
    with pytest.raises(AdaptxError) as caught:
        run(job)
    assert caught.value.code == "AX041"
    assert str(place) in caught.value.given
    assert job.done is None


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(bytes(data))


DAMAGE: dict[str, Callable[[Path], object]] = {
    "a flipped bit": lambda f: flip(f / "tensors.safetensors"),
    "truncated tensors": lambda f: os.truncate(f / "tensors.safetensors", 1000),
    "no tensors": lambda f: (f / "tensors.safetensors").unlink(),
    "a truncated state": lambda f: os.truncate(f / "state.json", 40),
    "a state that is no mapping": lambda f: (f / "state.json").write_text("[]"),
    "a state without its sums": lambda f: (f / "state.json").write_text("{}"),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_checkpoint_is_refused_and_the_folder_named(damage: str, settings: Settings) -> None:
    folder = checkpoint_of(settings, options_of("pfeiffer"))
    DAMAGE[damage](folder)
    with pytest.raises(AdaptxError) as caught:
        run(prepared(settings, options_of("pfeiffer")))
    assert caught.value.code == "AX041"
    assert str(folder) in caught.value.given


def test_without_its_checkpoint_a_run_starts_again_and_gives_the_same_bits(
    settings: Settings, uninterrupted: Callable[[str], Stored]
) -> None:
    torch.set_num_threads(1)
    (checkpoint_of(settings, options_of("pfeiffer")) / "state.json").unlink()
    again = toy.tensors(run(prepared(settings, options_of("pfeiffer"))).folder)
    whole = toy.tensors(uninterrupted("pfeiffer").folder)
    assert all(torch.equal(again[name], whole[name]) for name in whole)


def test_a_recipe_that_another_process_trains_is_left_alone(settings: Settings) -> None:
    job = prepared(settings, options_of("pfeiffer"))
    lock = store.scratch(settings.store, job.recipe.run_id).with_suffix(".lock")
    with atomic.lock(lock) as mine:
        assert mine
        with pytest.raises(AdaptxError) as caught:
            run(job)
    assert caught.value.code == "AX024"
    assert run(job).manifest.run == job.recipe.run_id, "the lock went with its holder"


def test_max_steps_and_fractions_of_epochs_bound_the_steps(settings: Settings) -> None:
    options = options_of("pfeiffer")
    bounded = (replace(options, max_steps=3), replace(options, epochs=0.5), replace(options, epochs=1.5))
    steps = [run(prepared(settings, o)).manifest.cost["steps"] for o in bounded]
    assert steps == [3, BATCHES // 2, BATCHES * 3 // 2]


def test_training_that_diverges_says_so_and_stores_nothing(settings: Settings) -> None:
    job = prepared(settings, replace(options_of("full"), lr=1e30))
    with pytest.raises(AdaptxError) as caught:
        run(job)
    assert caught.value.code == "AX040"
    assert job.done is None
    assert store.listing(settings.store) == []


def test_the_learning_rate_rises_to_its_peak_and_falls_towards_zero() -> None:
    rates = [learning_rate(step, 100, 1.0, 0.06) for step in range(100)]
    assert rates[:6] == pytest.approx([1 / 6, 2 / 6, 3 / 6, 4 / 6, 5 / 6, 1])
    assert max(rates) == 1.0
    assert all(a > b > 0 for a, b in pairwise(rates[6:]))
    assert rates[-1] < 0.02
    assert [learning_rate(s, 1, 1.0, 0.06) for s in range(1)] == [1.0]


def test_what_a_kill_after_the_end_left_behind_is_cleared_when_the_run_is_found(settings: Settings) -> None:
    job = prepare(settings, "en", "toynli", toy.OPTIONS)
    stored = run(job)
    scratch = store.scratch(settings.store, job.recipe.run_id)
    (scratch / "checkpoint").mkdir(parents=True)
    lock = scratch.with_suffix(".lock")
    with atomic.lock(lock):
        run(job)
        assert scratch.exists(), "a process that still holds it clears up itself"
    lock.touch()
    assert run(job).folder == stored.folder
    assert list(scratch.parent.iterdir()) == []
