"""What an analysis finds about a study, as values: what a report, an export and a sentence are made from.

Computes nothing; `analysis` fills these in.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from adaptx.study.plan import MAIN, NONE, Gap, Study
from adaptx.study.statistics.crossed import Difference
from adaptx.study.statistics.seeds import Summary
from adaptx.study.statistics.variance import Decomposition, shares

if TYPE_CHECKING:
    import pandas as pd

ALPHA = 0.05


@dataclass(frozen=True, order=True)
class System:
    """What is compared: everything about a cell but its seed."""

    target: str
    source: str
    task: str
    method: str
    variant: str

    @property
    def origin(self) -> str:
        """Where it starts from."""
        return "no intermediate task" if self.source == NONE else f"{self.source}/{self.task}"

    @property
    def name(self) -> str:
        """For people."""
        return f"{self.origin} ({self.method}{'' if self.variant == MAIN else f', {self.variant}'})"


@dataclass(frozen=True)
class Row:
    """A system over its seeds that worked; `lost` seeds collapsed or failed. `seconds`: of training the whole chain,
    mean over seeds; `parameters`: trained at most at a time; `n`: test items."""

    system: System
    metric: str
    summary: Summary | None
    lost: int
    n: int
    seconds: float
    parameters: int


@dataclass(frozen=True)
class Lost:
    """A cell that is in no mean: `status` is collapsed or failed; `score` and `chance` where there are any."""

    system: System
    seed: int
    status: str
    score: float | None
    chance: float | None
    why: str


@dataclass(frozen=True)
class Delta:
    """A system against another; `adjusted`: Holm's p over all differences of the same kind and target."""

    system: System
    against: str  # "English", "none" or "full"
    result: Difference
    adjusted: float

    @property
    def significant(self) -> bool:
        """Whether the difference holds at 5 % after Holm's correction."""
        return self.adjusted < ALPHA


@dataclass(frozen=True)
class Variance:
    """The decomposition of one target and method.

    `components`: restricted maximum likelihood on all scores. `moments`: analysis of variance on the largest full part
    of the grid, as a check; `intervals`: of the shares, from there. Both None where no part is full.
    """

    target: str
    method: str
    metric: str
    components: dict[str, float]
    moments: Decomposition | None
    intervals: dict[str, tuple[float, float]] | None
    levels: dict[str, int]

    @property
    def shares(self) -> dict[str, float]:
        """Components as shares of their sum."""
        return shares(self.components)


@dataclass(frozen=True)
class Choice:
    """Choosing a system by English dev scores, against the best on the target: means over `seeds` of `systems`."""

    target: str
    method: str
    score: float
    best: float
    seeds: int
    systems: int
    agreed: int  # seeds in which both choices are the same


@dataclass(frozen=True)
class Stability:
    """Kendall's tau between seeds: mean, least, greatest, over `systems` systems."""

    target: str
    method: str
    taus: tuple[float, float, float]
    systems: int


@dataclass(frozen=True)
class Regret:
    """Mean over intermediate tasks of what is lost with the first k sources of an ordering."""

    target: str
    method: str
    ordering: str
    sources: tuple[str, ...]  # the ordering itself, best first; empty for a random one
    at: dict[int, float]


@dataclass(frozen=True)
class Analysis:
    """All that a report says about a study."""

    id: str
    study: Study
    gaps: tuple[Gap, ...]
    table: "pd.DataFrame"
    rows: tuple[Row, ...]
    lost: tuple[Lost, ...]
    deltas: tuple[Delta, ...]
    variances: tuple[Variance, ...]
    choices: tuple[Choice, ...]
    stabilities: tuple[Stability, ...]
    regrets: tuple[Regret, ...]
