"""What people see: messages and progress on stderr, results on stdout. Knows no training and no scores."""

import json
import sys
import time
from typing import TYPE_CHECKING, Any

from adaptx.units import count, duration, score

if TYPE_CHECKING:
    from rich.progress import Progress


def say(text: str) -> None:
    """A line for people, on stderr."""
    print(text, file=sys.stderr, flush=True)


def print_json(value: Any) -> None:
    """One JSON document on stdout."""
    print(json.dumps(value, ensure_ascii=False, indent=2))


def scores_in_words(
    metrics: dict[str, dict[str, float]], baseline: dict[str, dict[str, float]] | None = None
) -> list[str]:
    """"dev accuracy 65.5 (baseline 34.1)", and so on."""
    out = []
    for split, values in metrics.items():
        for name, value in values.items():
            beside = (baseline or {}).get(split, {}).get(name)
            words = f"{split} {name} {score(name, value)}"
            out.append(words if beside is None else f"{words} (baseline {score(name, beside)})")
    return out


class Reporter:
    """Receives a run's events: a progress bar on a terminal, a line now and then elsewhere."""

    def __init__(self, every_seconds: float = 10.0) -> None:
        self.every = every_seconds
        self._said = 0.0
        self._bar: Progress | None = None

    def __call__(self, event: str, values: dict[str, Any]) -> None:
        if event == "start":
            say(
                f"training {values['ref']}: {values['examples']} examples, {count(values['tokens'])} tokens, "
                f"{values['epochs']:g} epochs, {count(values['trainable'])} trainable weights, {values['precision']} "
                f"on {values['device']}"
            )
            if values["constant_layers"]:
                say(
                    f"the lower {values['constant_layers']} of {values['layers']} layers have nothing to train: they "
                    "run once a batch, and batches stay the same in every epoch"
                )
            self._said = time.monotonic()
        elif event == "baseline":
            say(f"first the weights as they are, on {count(values['tokens'])} tokens of dev data")
        elif event == "step":
            self._step(values)
        elif event == "done":
            self.close()
            scores = ", ".join(scores_in_words(values["metrics"], values["baseline"]))
            say(f"finished {values['ref']} in {duration(sum(values['cost']['seconds'].values()))}: {scores}")
        elif event == "split":
            say(f"out of device memory: batches are taken in {values['pieces']} pieces from here on")
        elif event == "found":
            say(f"found {values['ref']} in the store")
        elif event == "score":
            say(f"scoring {values['system']} on {values['task']}")

    def _step(self, values: dict[str, Any]) -> None:
        left = (values["steps"] - values["step"]) * values["seconds_a_step"]
        if sys.stderr.isatty():
            self._draw(values, left)
        elif time.monotonic() - self._said >= self.every:
            self._said = time.monotonic()
            say(
                f"  step {values['step']}/{values['steps']} · loss {values['loss']:.3f} · "
                f"{values['tokens_per_s']:.0f} tokens/s · {duration(left)} left"
            )

    def _draw(self, values: dict[str, Any], left: float) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn

        if self._bar is None:
            self._bar = Progress(
                TextColumn("  {task.description}"),
                BarColumn(),
                TextColumn("{task.completed}/{task.total}"),
                console=Console(stderr=True),
                transient=True,
            )
            self._bar.start()
            self._bar.add_task("", total=values["steps"])
        self._bar.update(
            self._bar.task_ids[0],
            completed=values["step"],
            description=f"loss {values['loss']:.3f} · {values['tokens_per_s']:.0f} tokens/s · {duration(left)} left",
        )

    def close(self) -> None:
        """Take the bar off the screen."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None
