"""Studies in Python: a study file resolved here, run, and read."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Unpack

from adaptx.api.options import Places, progress_shown, settings
from adaptx.config import Settings
from adaptx.notebook import Grid

if TYPE_CHECKING:
    import pandas as pd

    from adaptx.study.analysis import Analysis
    from adaptx.study.forecast import Forecast
    from adaptx.study.plan import Plan
    from adaptx.study.run import Status, Summary

SHOWN = 12  # gaps listed in a study's own table


@dataclass(frozen=True, repr=False)
class Study:
    """A study file resolved against the registry and the data here."""

    plan: "Plan"
    settings: Settings

    @classmethod
    def from_file(cls, file: Path | str, **places: Unpack[Places]) -> "Study":
        """The study in `file`. Raises AX010 with all its faults at once, AX011, AX014 where no cell has data."""
        from adaptx.study import plan

        path, here = Path(file), settings(**places)
        here = replace(
            here,
            store=here.store.resolve(),
            cache=here.cache.resolve(),
            data_root=here.data_root.resolve() if here.data_root else None,
        )
        return cls(plan.expand(plan.read(path, here), here, path.stem), here)

    @property
    def id(self) -> str:
        """Its name in the store."""
        return self.plan.id

    def forecast(self, measure: bool = False) -> "Forecast":
        """What is done, what is left and how long that takes; `measure` trains a few steps of each task for rates."""
        from adaptx.study.forecast import forecast

        return forecast(self.plan, self.settings, measure)

    def run(
        self,
        executor: Literal["inprocess", "pool", "ray", "slurm"] = "inprocess",
        *,
        workers: int = 2,
        threads: int | None = None,
        ray_address: str | None = None,
        slurm: Mapping[str, str | int] | None = None,
        track: Literal["tensorboard", "mlflow", "trackio"] | None = None,
        progress: bool = True,
    ) -> "Summary":
        """Train and score what the store lacks. The same call goes on after any interruption.

        What fails is recorded in the summary and passed by. Raises AX033 where an executor's or tracker's package is
        not installed.
        """
        from adaptx.study import pick
        from adaptx.study.run import run

        with progress_shown(progress) as report:

            def tell(event: str, values: dict[str, Any]) -> None:
                if event not in ("unit", "found"):
                    report(event, values)

            tracker = pick.tracker(track, self.plan, self.settings)
            made = pick.executor(
                executor,
                self.plan,
                self.settings,
                tell,
                workers=workers,
                threads=threads,
                ray_address=ray_address,
                slurm=slurm,
            )
            return run(self.plan, self.settings, made, tell, tracker)

    def status(self) -> "Status":
        """How far it has come and what failed."""
        from adaptx.study.run import status

        return status(self.plan, self.settings.store)

    def results(self) -> "pd.DataFrame":
        """A row per cell and metric. Raises AX092 before the first run."""
        from adaptx.study.results import read

        return read(self.plan, self.settings.store)

    def analysis(self) -> "Analysis":
        """Summaries over seeds, differences, variance, rankings, regret. Raises AX092 before the first run."""
        from adaptx.study.analysis import analyse

        return analyse(self.id, self.plan.study, self.plan.gaps, self.results(), self.settings.store)

    def report(self, out: Path | str | None = None) -> Path:
        """Write the report, one HTML file that works offline, and say where. Raises AX092 before the first run."""
        from adaptx import atomic
        from adaptx.study.report import render

        path = Path(out) if out is not None else self.plan.folder(self.settings.store) / "report.html"
        atomic.write_bytes(path, render(self.analysis()).encode())
        return path

    def _grid(self) -> Grid:
        study, status = self.plan.study, self.status()
        rows = (
            ("language", study.language),
            ("sources", ", ".join(study.sources)),
            ("intermediate tasks", ", ".join(study.tasks)),
            ("methods", ", ".join(study.methods)),
            ("targets", ", ".join(study.targets)),
            ("seeds", ", ".join(map(str, study.seeds))),
            ("runs and scores", f"{len(self.plan.steps)} and {len(self.plan.cells)}"),
            ("done", f"{len(status.done)} of {status.steps + status.cells}"),
            ("failed", str(len(status.failed))),
        )
        gaps = [f"gap: {g.what}: {g.why}" for g in self.plan.gaps]
        more = [f"and {len(gaps) - SHOWN} more gaps"] if len(gaps) > SHOWN else []
        return Grid(study.title or self.id, ("study", self.id), rows, (*gaps[:SHOWN], *more))

    def __repr__(self) -> str:
        return f"Study({self.id}, {len(self.plan.steps)} runs, {len(self.plan.cells)} scores)"

    def __str__(self) -> str:
        return self._grid().text()

    def _repr_html_(self) -> str:
        return self._grid().html()
