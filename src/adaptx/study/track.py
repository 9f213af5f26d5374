"""Experiment trackers behind one name: what a study trains and scores, once, in TensorBoard, MLflow or Trackio.

Each unit becomes one run of the tracker: its parameters, its scores, and for training its loss curve. Knows outcomes
and the trackers' clients; decides nothing about a study.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from adaptx.errors import AdaptxError
from adaptx.study.plan import Cell, Step
from adaptx.study.work import Outcome, Unit


class Tracker(Protocol):
    """Told of every unit that was newly done."""

    def log(self, unit: Unit, outcome: Outcome) -> None:
        """Record a unit that worked."""

    def close(self) -> None:
        """Write out what is held back."""


def parameters(unit: Unit) -> dict[str, str | int]:
    """What a unit is, by the names of the results table."""
    if isinstance(unit, Cell):
        names: tuple[str, ...] = ("source", "task", "method", "variant", "seed", "target")
    else:
        names = ("stage", "lang", "task", "method", "seed")
    return {name: getattr(unit, name) for name in names}


def metrics(unit: Unit, outcome: Outcome) -> dict[str, float]:
    """The numbers of an outcome: scores by name, and for training what it cost."""
    values = outcome.values
    scores: Mapping[str, float] = values.get("scores" if isinstance(unit, Step) else "metrics") or {}
    costs = ("seconds", "tokens", "steps", "trainable_parameters", "peak_memory_bytes")
    known = {k: values[k] for k in costs if isinstance(unit, Step) and values.get(k) is not None}
    return {**{f"score/{k}": float(v) for k, v in scores.items()}, **{f"cost/{k}": float(v) for k, v in known.items()}}


class TensorBoard:
    """Event files below `<study>/tensorboard/`, one folder a unit: `tensorboard --logdir STORE/studies/ID`."""

    def __init__(self, folder: Path, study: str) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:
            raise missing("tensorboard") from None
        self._writer: Any = SummaryWriter
        self._folder = folder / "tensorboard"

    def log(self, unit: Unit, outcome: Outcome) -> None:
        with self._writer(str(self._folder / name_of(unit))) as writer:
            for step, loss in outcome.curve:
                writer.add_scalar("train/loss", loss, step)
            last = outcome.curve[-1][0] if outcome.curve else 0
            for name, value in metrics(unit, outcome).items():
                writer.add_scalar(name, value, last)
            writer.add_text("parameters", "\n".join(f"- {k}: {v}" for k, v in parameters(unit).items()))

    def close(self) -> None:
        """Every unit has closed its own files."""


class MLflow:
    """Runs of the experiment named after the study; at MLFLOW_TRACKING_URI, or in `<study>/mlflow.db`."""

    def __init__(self, folder: Path, study: str) -> None:
        try:
            import mlflow
        except ImportError:
            raise missing("mlflow") from None
        import os

        folder.mkdir(parents=True, exist_ok=True)
        if not os.environ.get("MLFLOW_TRACKING_URI"):
            mlflow.set_tracking_uri(f"sqlite:///{folder / 'mlflow.db'}")
        mlflow.set_experiment(study)
        self._mlflow: Any = mlflow

    def log(self, unit: Unit, outcome: Outcome) -> None:
        with self._mlflow.start_run(run_name=unit.label):
            self._mlflow.log_params(parameters(unit))
            for step, loss in outcome.curve:
                self._mlflow.log_metric("train/loss", loss, step=step)
            self._mlflow.log_metrics(metrics(unit, outcome))

    def close(self) -> None:
        """Every unit has ended its own run."""


class Trackio:
    """Runs of the Trackio project named after the study, in Trackio's own folder: `trackio show --project ID`."""

    def __init__(self, folder: Path, study: str) -> None:
        try:
            import trackio
        except ImportError:
            raise missing("trackio") from None
        self._trackio: Any = trackio
        self._study = study

    def log(self, unit: Unit, outcome: Outcome) -> None:
        self._trackio.init(project=self._study, name=name_of(unit), config=parameters(unit), embed=False)
        for step, loss in outcome.curve:
            self._trackio.log({"train/loss": loss}, step=step)
        self._trackio.log(metrics(unit, outcome))
        self._trackio.finish()

    def close(self) -> None:
        """Every unit has finished its own run."""


TRACKERS: dict[str, type[TensorBoard] | type[MLflow] | type[Trackio]] = {
    "tensorboard": TensorBoard,
    "mlflow": MLflow,
    "trackio": Trackio,
}


def name_of(unit: Unit) -> str:
    """The unit's label as a file name."""
    return "".join(c if c.isalnum() or c in "-_." else "-" for c in unit.label)


def missing(package: str) -> AdaptxError:
    """The error for a tracker that is not installed."""
    fix = f"pip install 'adaptx[{'track' if package == 'tensorboard' else package}]'"
    return AdaptxError("AX033", f"--track {package}", f"{package} is not installed.", fix)
