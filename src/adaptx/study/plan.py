"""What a study file says and the grid it expands to: training steps, and the cells that are scored.

Knows which step needs which; resolves no data, no recipe and no run. A step is a value: two cells that need the same
training share one step.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any, Literal

from adaptx import __version__
from adaptx.config import RunOptions, Settings
from adaptx.data import sources
from adaptx.errors import AdaptxError
from adaptx.recipe import PrecisionChoice, digest_of
from adaptx.registry import Id, Lang, Model, parse, read_yaml

ENGLISH, NONE, FULL, LANGUAGE_TASK = "en", "none", "full", "mlm"
Stage = Literal["language", "intermediate", "target"]
Baseline = Literal["none", "english", "full"]
Ablation = Literal["no_last_layer", "language_adapters"]
MAIN = "main"
OWN, KEPT, REMOVED = "language adapter: target", "language adapter: source kept", "language adapter: removed"


class StageOptions(Model):
    """What a study changes about the runs of a stage; None means the task's or method's default."""

    limit: int | None = None
    epochs: float | None = None
    max_steps: int | None = None
    batch_tokens: int | None = None
    lr: float | None = None


class Study(Model):
    """A study file. Languages and tasks without data become gaps, not errors."""

    title: str = ""
    language: Lang
    sources: tuple[Lang, ...]
    tasks: tuple[str, ...]
    methods: tuple[Id, ...] = ("pfeiffer",)
    targets: tuple[Id, ...]
    seeds: tuple[int, ...] = (0, 1, 2)
    baselines: tuple[Baseline, ...] = ("none", "english")
    ablations: tuple[Ablation, ...] = ()
    precision: PrecisionChoice = "auto"
    intermediate: StageOptions = StageOptions()
    target: StageOptions = StageOptions()
    language_adapter: StageOptions = StageOptions()
    orderings: dict[str, tuple[Lang, ...]] = {}  # name -> sources from best to worst by some prior belief

    def options(self, step: "Step") -> RunOptions:
        """The training options of a step. Raises AX070."""
        stage = {"language": self.language_adapter, "intermediate": self.intermediate, "target": self.target}
        chosen = stage[step.stage].model_dump()
        return RunOptions(step.method, step.seed, precision=self.precision, no_last_layer=step.no_last_layer, **chosen)


@dataclass(frozen=True)
class Step:
    """A training run to be: what it starts from and what it stands on are steps themselves."""

    stage: Stage
    lang: str
    task: str
    method: str
    seed: int
    init_from: "Step | None" = None
    beneath: tuple["Step", ...] = ()
    no_last_layer: bool = False

    @cached_property
    def needs(self) -> tuple["Step", ...]:
        """Steps that must be finished first."""
        return (*self.beneath, *((self.init_from,) if self.init_from else ()))

    @cached_property
    def label(self) -> str:
        """A name that tells the steps of a study apart."""
        name = f"{self.lang}/{self.task}:{self.method} seed {self.seed}"
        name += " without last layer" if self.no_last_layer else ""
        name += f" on {', '.join(f'{b.lang}/{b.task}' for b in self.beneath)}" if self.beneath else ""
        return f"{name} from {self.init_from.lang}/{self.init_from.task}" if self.init_from else name


@dataclass(frozen=True)
class Cell:
    """One system on one target task: `stack` is what is scored, bottom up."""

    source: str
    task: str
    method: str
    seed: int
    variant: str
    target: str
    stack: tuple[Step, ...]
    intermediate: Step | None

    @property
    def needs(self) -> tuple[Step, ...]:
        """Steps that must be finished first."""
        return self.stack

    @property
    def trained(self) -> Step | None:
        """The target adapter; None for retrieval."""
        return next((s for s in self.stack if s.stage == "target"), None)

    @cached_property
    def label(self) -> str:
        """A name that tells the cells of a study apart."""
        return f"{self.system} on {self.target}"

    @property
    def system(self) -> str:
        """What is scored, without on what."""
        variant = "" if self.variant == MAIN else f" ({self.variant})"
        return f"{self.source}/{self.task}:{self.method} seed {self.seed}{variant}"


@dataclass(frozen=True)
class Gap:
    """A part of the grid that cannot exist here, and why."""

    what: str
    why: str


@dataclass(frozen=True)
class Plan:
    """A study resolved against the registry: `steps` in an order in which each comes after what it needs."""

    id: str
    study: Study
    steps: tuple[Step, ...]
    cells: tuple[Cell, ...]
    gaps: tuple[Gap, ...]

    def folder(self, store: Path) -> Path:
        """Where the study keeps its journal and results."""
        return store / "studies" / self.id

    def provenance(self, settings: Settings) -> dict[str, Any]:
        """What was asked for, of which backbone and data, by which version."""
        return {
            "study": self.id,
            "adaptx": __version__,
            "profile": settings.profile.id,
            "backbone": settings.backbone,
            "data": list(settings.sources),
            "content": self.study.model_dump(mode="json"),
        }


def read(path: Path, settings: Settings) -> Study:
    """The study file. Raises AX011, and AX010 with every unknown or unusable name at once."""
    return checked(read_yaml(path), path, settings)


def checked(content: dict[str, Any], path: Path, settings: Settings) -> Study:
    """A study from the `content` of the file `path`. Raises AX010 with every unknown or unusable name at once."""
    study = parse(Study, content, path)
    registry = settings.registry
    faults: list[str] = []
    for name in ("sources", "tasks", "methods", "targets", "seeds"):
        values = getattr(study, name)
        if not values:
            faults.append(f"{name}: empty")
        if len(set(values)) < len(values):
            faults.append(f"{name}: something is there twice")
    faults += _fault("language", partial(registry.check_language, study.language))
    for lang in study.sources:
        faults += _fault("sources", partial(registry.check_language, lang))
    for name in ("tasks", "targets"):
        for task in [part for t in getattr(study, name) for part in t.split("+")]:
            faults += _fault(name, partial(registry.task, task))
    for method in study.methods:
        faults += _fault("methods", partial(registry.method, method))
    known = set(registry.task_ids())
    faults += [f"tasks: {t} is not trained" for t in study.tasks if t in known and registry.task(t).kind == "retrieval"]
    faults += [f"targets: {t} is not a target task" for t in study.targets if t in known and not _scored(settings, t)]
    for name, order in study.orderings.items():
        if set(order) != {*study.sources, *((ENGLISH,) if "english" in study.baselines else ())}:
            faults.append(f"orderings.{name}: it must name every source once")
    stages: tuple[Stage, ...] = ("intermediate", "target", "language")
    for stage in stages:
        where = "language_adapter" if stage == "language" else stage
        faults += _fault(where, partial(study.options, Step(stage, ENGLISH, "", "pfeiffer", 0)))
    for seed in study.seeds:
        faults += _fault("seeds", partial(RunOptions, seed=seed))
    if faults:
        raise AdaptxError("AX010", path, f"{'; '.join(dict.fromkeys(faults))}.")
    return study


def _fault(where: str, check: Callable[[], object]) -> list[str]:
    try:
        check()
    except AdaptxError as error:
        return [f"{where}: {error.given}: {error.why.rstrip('.')}"]
    return []


def _scored(settings: Settings, task: str) -> bool:
    return "target" in settings.registry.task(task).roles


def identity(study: Study, settings: Settings, stem: str) -> str:
    """The study's name in the store: what it asks for and from which backbone and data, in eight hex digits.

    Its title and its beliefs about sources change what is said of its results, not the results.
    """
    value = [
        study.model_dump(mode="json", exclude={"title", "orderings"}),
        settings.profile.id,
        settings.backbone,
        list(settings.sources),
    ]
    return f"{stem}-{digest_of(value)[:8]}"


def expand(study: Study, settings: Settings, stem: str = "study") -> Plan:
    """The grid, seed by seed so that an interrupted study has whole seeds first. Raises AX014 where nothing is left."""
    gaps: list[Gap] = []
    cells = [c for seed in study.seeds for c in _of_seed(study, settings, seed, gaps)]
    if not cells:
        why = "; ".join(f"{g.what}: {g.why}" for g in dict.fromkeys(gaps))
        raise AdaptxError("AX014", stem, f"no cell of the study has data here ({why}).")
    steps: dict[Step, None] = {}
    for cell in cells:
        for step in cell.stack:
            _visit(step, steps)
    return Plan(identity(study, settings, stem), study, tuple(steps), tuple(cells), tuple(dict.fromkeys(gaps)))


def _visit(step: Step, seen: dict[Step, None]) -> None:
    for parent in step.needs:
        _visit(parent, seen)
    seen[step] = None


def _of_seed(study: Study, settings: Settings, seed: int, gaps: list[Gap]) -> Iterator[Cell]:
    langs = list(study.sources)
    if "english" in study.baselines and ENGLISH not in langs:
        langs.insert(0, ENGLISH)
    grid: list[tuple[str, str]] = [(NONE, NONE)] if "none" in study.baselines else []
    for lang in langs:
        for task in study.tasks:
            missing = [t for t in task.split("+") if not _has(settings, t, lang, "train")]
            if missing:
                gaps.append(Gap(f"{lang}/{task}", f"no training data for {', '.join(missing)} in this language here"))
            else:
                grid.append((lang, task))
    targets = [t for t in study.targets if _usable_target(study, settings, t, gaps)]
    for method in study.methods:
        for lang, task in grid:
            for variant in _variants(study, settings, method, lang, gaps):
                for target in targets:
                    yield from _cell(study, settings, (lang, task, method, seed), variant, target)
    if "full" in study.baselines and FULL not in study.methods:
        for target in targets:
            if settings.registry.task(target).kind != "retrieval":
                yield from _cell(study, settings, (NONE, NONE, FULL, seed), MAIN, target)


def _has(settings: Settings, task: str, lang: str, split: sources.Split) -> bool:
    return sources.available(settings, settings.registry.task(task), lang, split)


def _usable_target(study: Study, settings: Settings, target: str, gaps: list[Gap]) -> bool:
    if not _has(settings, target, study.language, "test"):
        gaps.append(Gap(f"{study.language}/{target}", "no test data in the target language here"))
        return False
    if settings.registry.task(target).kind != "retrieval" and not _has(settings, target, ENGLISH, "train"):
        gaps.append(Gap(f"{ENGLISH}/{target}", "no English training data for this target task here"))
        return False
    return True


def _variants(study: Study, settings: Settings, method: str, lang: str, gaps: list[Gap]) -> Iterator[str]:
    yield MAIN
    family = settings.registry.method(method).family
    if "no_last_layer" in study.ablations:
        if family in ("bottleneck", "lora"):
            yield "no last layer"
        else:
            gaps.append(Gap(f"{method} without last layer", "this method has no layers to leave out"))
    if "language_adapters" in study.ablations:
        wanted = {study.language, ENGLISH, *((lang,) if lang != NONE else ())}
        without = sorted(x for x in wanted if not _has(settings, LANGUAGE_TASK, x, "train"))
        if family not in ("bottleneck", "lora"):
            gaps.append(Gap(f"{method} on language adapters", "this method does not stack"))
        elif without:
            gaps.append(Gap(f"{lang} on language adapters", f"no running text for {', '.join(without)} here"))
        else:
            yield from (OWN, KEPT, REMOVED)


def _cell(study: Study, settings: Settings, at: tuple[str, str, str, int], variant: str, target: str) -> Iterator[Cell]:
    lang, task, method, seed = at
    stacked, shorter = variant in (OWN, KEPT, REMOVED), variant == "no last layer"

    def language(code: str) -> tuple[Step, ...]:
        return (Step("language", code, LANGUAGE_TASK, method, seed),) if stacked else ()

    middle = None
    if lang != NONE:
        middle = Step("intermediate", lang, task, method, seed, None, language(lang), shorter)
    if settings.registry.task(target).kind == "retrieval":
        if shorter and middle is None:
            return  # nothing is trained: the same bare encoder as in the main row
        trained, own = middle, language(lang) if middle else ()
    else:
        trained = Step("target", ENGLISH, target, method, seed, middle, language(ENGLISH), shorter)
        own = language(ENGLISH)
    under = {OWN: language(study.language), KEPT: own}.get(variant, ())
    if stacked and trained is None and variant != OWN:
        return  # nothing to keep or to remove under a bare encoder
    yield Cell(lang, task, method, seed, variant, target, (*under, *((trained,) if trained else ())), middle)


def without_parents(step: Step) -> Step:
    """The step as if it started from the bare backbone: the same data and length, for estimates."""
    return replace(step, init_from=None, beneath=())
