"""Which systems are compared on a language, and the table of their scores: `adaptx eval`.

Rows: no intermediate task, then every intermediate adapter. A row's target adapters are trained on English data,
starting from the row's intermediate adapter, and scored zero-shot. Knows no model and no file format.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from adaptx import backbones, store, training
from adaptx.config import RunOptions, Settings
from adaptx.data import sources
from adaptx.errors import AdaptxError
from adaptx.jobs import Job, planned_tokens, precision_for, prepare
from adaptx.metrics import METRICS
from adaptx.metrics.bootstrap import paired_bootstrap
from adaptx.refs import Ref
from adaptx.registry import Task
from adaptx.scoring import Cell, cell
from adaptx.stack import Stack
from adaptx.store import Stored
from adaptx.training import Report, silent

TARGET_TRAINING_LANGUAGE = "en"
LANGUAGE_TASK = "mlm"


@dataclass(frozen=True)
class Entry:
    """A scored cell, the target adapter behind it, and its difference to the row without intermediate task."""

    cell: Cell
    target: str | None
    delta: float | None = None
    delta_ci95: tuple[float, float] | None = None
    p_value: float | None = None

    def as_json(self) -> dict[str, Any]:
        """The entry as `adaptx eval --json` gives it; `ci95` is the leading metric's."""
        c = self.cell
        out: dict[str, Any] = {
            **c.metrics,
            "n": c.n,
            "ci95": list(c.intervals[c.leading]),
            "leading": c.leading,
            "intervals": {k: list(v) for k, v in c.intervals.items()},
            **c.extra,
        }
        if self.target:
            out["target"] = self.target
        if self.delta is not None:
            out |= {"delta": self.delta, "delta_ci95": list(self.delta_ci95 or ()), "p_value": self.p_value}
        return out | ({"note": c.note} if c.note else {}) | {"predictions": c.path.as_posix()}


@dataclass
class System:
    """A row: an intermediate adapter (None: none) and the method of its target adapters."""

    method: str
    adapter: Stored | None = None
    own_task_only: bool = False  # a target adapter named by the user: scored as it is
    beneath: tuple[Stored, ...] = ()  # language adapters that the scored stack stands on
    trained_on: tuple[Stored, ...] = ()  # language adapters that its target adapters are trained on
    label: str = ""  # which of several rows of one adapter this is
    tasks: dict[str, Entry] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The row's reference, with its label where an adapter has several rows."""
        name = self.adapter.ref if self.adapter else f"none:{self.method}"
        return f"{name} ({self.label})" if self.label else name


@dataclass(frozen=True)
class Table:
    """The result of an evaluation."""

    language: str
    backbone: str
    systems: tuple[System, ...]
    notes: tuple[str, ...]
    missing: tuple[str, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """One JSON document; scores are fractions of one."""
        return {
            "language": self.language,
            "backbone": self.backbone,
            "systems": [
                {"adapter": s.name, "method": s.method, "tasks": {t: e.as_json() for t, e in s.tasks.items()}}
                for s in self.systems
            ],
            "notes": list(self.notes),
            "missing": list(self.missing),
        }


def systems(settings: Settings, backbone: str, wanted: Sequence[Ref], method: str) -> list[System]:
    """The rows: those named by `wanted`, else all intermediate adapters of the store; before them `none` per method."""
    if wanted:
        chosen = [store.find(settings.store, ref, backbone) for ref in wanted]
        rows = [System(s.recipe.method, s, s.recipe.role != "intermediate") for s in chosen]
    else:
        held = [s for s in store.listing(settings.store) if s.recipe.backbone.name == backbone]
        rows = [System(s.recipe.method, store.verified(s.folder)) for s in held if s.recipe.role == "intermediate"]
        plain = {s.recipe.method for s in held if s.recipe.role == "target" and not s.recipe.parents}
        if plain and not rows:
            return [System(m) for m in sorted(plain)]
    methods = sorted({r.method for r in rows if not r.own_task_only}) or ([] if rows else [method])
    return [*(System(m) for m in methods), *rows]


def language_adapter(settings: Settings, backbone: str, lang: str, method: str) -> Stored:
    """The newest language adapter of `lang` trained by `method`. Raises AX006."""
    return store.find(settings.store, Ref(lang, LANGUAGE_TASK, method), backbone)


def on_language_adapters(
    settings: Settings, backbone: str, lang: str, rows: list[System], ablate: bool
) -> list[System]:
    """Put language adapters under the rows that need them.

    A row whose adapter was trained on a source language's adapter is scored on the target language's instead (MAD-X).
    With `ablate` every row is shown three times over one set of target adapters, which stand on the English language
    adapter: with the target language's adapter, with none, and with the English one kept. Raises AX006.
    """
    out: list[System] = []
    stacked_methods = {r.method for r in rows if _stands(r) and not r.own_task_only}
    for row in rows:
        compared = row.adapter is None and row.method in stacked_methods  # the none row that stacked rows compare with
        if not ablate and not _stands(row):
            out.append(row)
            if not compared:
                continue
        own = language_adapter(settings, backbone, lang, row.method)
        if row.own_task_only and row.adapter:
            base: tuple[Stored, ...] = tuple(below(settings, row.adapter))
        else:
            base = (language_adapter(settings, backbone, TARGET_TRAINING_LANGUAGE, row.method),)
        out.append(replace(row, beneath=(own,), trained_on=base, label=f"on {_short(own)}", tasks={}))
        if ablate:
            kept = f"{', '.join(_short(s) for s in base) or 'nothing'} kept"
            out.append(replace(row, beneath=(), trained_on=base, label="no language adapter", tasks={}))
            out.append(replace(row, beneath=base, trained_on=base, label=kept, tasks={}))
    return out


def _stands(row: System) -> bool:
    """Whether the row's adapter was trained on top of another one."""
    return row.adapter is not None and bool(row.adapter.recipe.parent("stack"))


def _short(stored: Stored) -> str:
    return f"{stored.recipe.lang}/{stored.recipe.task}"


def below(settings: Settings, stored: Stored) -> list[Stored]:
    """The adapters that `stored` was trained on top of, bottom up. Raises AX006 where one is gone."""
    parents = stored.recipe.parent("stack")
    by_run = {s.manifest.run: s for s in store.listing(settings.store)} if parents else {}
    for parent in parents:
        if parent.run not in by_run:
            raise AdaptxError("AX006", parent.ref, f"{stored.ref} stands on it, and the store does not have it.")
    return [store.verified(by_run[p.run].folder) for p in parents]


def target_tasks(settings: Settings, lang: str, names: Sequence[str] | None) -> list[Task]:
    """The tasks scored on `lang`: those named, else every target task with a test set. Raises AX002, AX014."""
    if names is not None:
        tasks = [settings.registry.task(n) for n in names]
        for task in tasks:
            if "test" not in sources.pick(settings, task, lang).splits:
                raise AdaptxError("AX014", f"{lang}/{task.id}", "its source has no test split.")
        return tasks
    found = [t for t in settings.registry.tasks("target") if sources.available(settings, t, lang, "test")]
    if not found:
        known = elsewhere(settings, lang)
        there = f" {'; '.join(known)}." if known else ""
        raise AdaptxError("AX014", lang, f"no target task has a test set for this language here.{there}")
    return found


ELSEWHERE = {"local": "its files are not below a data root", "hub": "the Hub has one (--profile paper)"}


def elsewhere(settings: Settings, lang: str) -> list[str]:
    """Which target tasks have a test set in `lang` by the registry and none by these settings, one line a place."""
    found: dict[str, list[str]] = {}
    for task in settings.registry.tasks("target"):
        kinds = {s.kind for s in task.sources if lang in s.languages and "test" in s.splits}
        place = next((k for k in ELSEWHERE if k in kinds), None)
        if place and not sources.available(settings, task, lang, "test"):
            found.setdefault(place, []).append(task.id)
    return [f"{', '.join(tasks)}: no {lang} test set here; {ELSEWHERE[place]}" for place, tasks in found.items()]


@dataclass(frozen=True)
class Plan:
    """What an evaluation will do: `jobs` are the target adapters still to be trained, by (row, task)."""

    systems: list[System]
    tasks: list[Task]
    targets: dict[tuple[int, str], Stored]
    jobs: dict[tuple[int, str], Job]
    missing: list[str]
    asked: bool = False  # the tasks were named: nothing else is shown


def stacked(settings: Settings, lang: str, refs: Sequence[Ref], tasks: Sequence[str] | None) -> Plan:
    """The plan that scores one explicit stack, bottom up, on its last adapter's tasks or on `tasks`. Raises AX006."""
    backbone = backbones.locate(settings).name
    adapters = tuple(store.find(settings.store, ref, backbone) for ref in refs)
    top = adapters[-1]
    row = System(top.recipe.method, top, own_task_only=True, beneath=adapters[:-1])
    row.label = f"on {', '.join(_short(s) for s in row.beneath)}" if row.beneath else ""
    own = [t.id for t in top.recipe.tasks]
    columns = target_tasks(settings, lang, own if tasks is None else tasks)
    return Plan([row], columns, {}, {}, [], asked=tasks is not None)


def plan(
    settings: Settings,
    lang: str,
    options: RunOptions,
    *,
    tasks: Sequence[str] | None = None,
    adapters: Sequence[Ref] = (),
    may_train: bool = True,
    ablate: bool = False,
) -> Plan:
    """Resolve an evaluation without training or scoring. Raises AX001, AX002, AX006, AX014."""
    settings.registry.check_language(lang)
    files = backbones.locate(settings)
    rows = on_language_adapters(
        settings, files.name, lang, systems(settings, files.name, adapters, options.method), ablate
    )
    columns = target_tasks(settings, lang, tasks)
    missing = elsewhere(settings, lang) if tasks is None else []
    out = Plan(rows, columns, {}, {}, missing, asked=tasks is not None)
    for i, row in enumerate(rows):
        for task in columns:
            if row.own_task_only or task.kind == "retrieval" or "target" not in task.roles:
                continue
            if may_train:
                job = prepare(
                    settings,
                    TARGET_TRAINING_LANGUAGE,
                    task.id,
                    replace(options, method=row.method),
                    init_from=row.adapter,
                    stack=Stack(row.trained_on),
                )
                done = job.done
                if done is None:
                    out.jobs[i, task.id] = job
            else:
                done = _held(settings, files.name, task, row)
                if done is None:
                    out.missing.append(f"{row.name} on {task.id}: no target adapter in the store")
            if done is not None:
                out.targets[i, task.id] = done
    return out


def _held(settings: Settings, backbone: str, task: Task, row: System) -> Stored | None:
    """The newest target adapter in the store that starts where the row says; a sum of several starts nowhere."""
    origin = row.adapter.manifest.run if row.adapter else None
    beneath = [s.manifest.run for s in row.trained_on]
    ref = Ref(TARGET_TRAINING_LANGUAGE, task.id, row.method)
    found = [
        s
        for s in store.match(settings.store, ref, backbone)
        if not s.recipe.parent("combine")
        and [p.run for p in s.recipe.parent("stack")] == beneath
        and next((p.run for p in s.recipe.parent("init_from")), None) == origin
    ]
    return store.verified(max(found, key=lambda s: s.manifest.created).folder) if found else None


def run(
    settings: Settings,
    lang: str,
    options: RunOptions,
    planned: Plan,
    report: Report = silent,
    allow_mismatch: bool = False,
) -> Table:
    """Train what the plan says is missing, score every cell, compare with the row without intermediate task."""
    precision = precision_for(options.precision, backbones.pick_device(settings.device))
    for at, job in planned.jobs.items():
        planned.targets[at] = training.run(job, report)  # a second row with the same recipe finds it finished
    for i, row in enumerate(planned.systems):
        for task, stack, target in _cells(settings, lang, planned, i):
            report("score", {"system": row.name, "task": task.id})
            scored = cell(settings, stack, task, lang, precision, allow_mismatch)
            base = next(
                (
                    s.tasks.get(task.id)
                    for s in planned.systems
                    if s.adapter is None and (s.method, s.label) == (row.method, row.label)
                ),
                None,
            )
            row.tasks[task.id] = _compared(Entry(scored, target), base, task) if row.adapter else Entry(scored, target)
    if not any(s.tasks for s in planned.systems):
        raise AdaptxError("AX006", f"eval {lang}", f"nothing to score: {'; '.join(planned.missing)}.")
    notes = {f"{t}/{lang}: {e.cell.note}" for s in planned.systems for t, e in s.tasks.items() if e.cell.note}
    return Table(
        lang, backbones.locate(settings).name, tuple(planned.systems), tuple(sorted(notes)), tuple(planned.missing)
    )


def _cells(settings: Settings, lang: str, planned: Plan, i: int) -> list[tuple[Task, Stack, str | None]]:
    """The stacks to score for row `i`: targets, retrieval, and the row's own task as a diagnostic where it can be."""
    row = planned.systems[i]
    own = (row.adapter,) if row.adapter else ()
    out: list[tuple[Task, Stack, str | None]] = []
    for task in planned.tasks:
        if task.kind == "retrieval":
            out.append((task, Stack((*row.beneath, *own)), None))
        elif (i, task.id) in planned.targets:
            target = planned.targets[i, task.id]
            out.append((task, Stack((*row.beneath, target)), target.ref))
        elif row.own_task_only and row.adapter and row.adapter.recipe.spec(task.id) is None:
            out.append((task, Stack((*row.beneath, *own)), None))  # refused by the cell, which names the head
    for spec in row.adapter.recipe.tasks if row.adapter else ():
        task = settings.registry.task(spec.id)
        named = task.id in {t.id for t in planned.tasks} or (row.own_task_only and not planned.asked)
        diagnostic = "intermediate" in task.roles and sources.available(settings, task, lang, "test")
        if named or (diagnostic and not planned.asked):
            out.append((task, Stack((*row.beneath, *own)), None))
    return out


def _compared(entry: Entry, base: Entry | None, task: Task) -> Entry:
    """The entry with its paired difference to `base` on the same test items."""
    if base is None:
        return entry
    result = paired_bootstrap(entry.cell.stats, base.cell.stats, METRICS[task.metrics[0]].reduce)
    return replace(entry, delta=result.delta, delta_ci95=(result.low, result.high), p_value=result.p_value)


def estimate(settings: Settings, jobs: Sequence[Job]) -> float | None:
    """Seconds that the jobs will take, by the rate of finished runs in the store; None without any to go by."""
    held = store.listing(settings.store)
    total = 0.0
    for job in jobs:
        same = [
            s
            for s in held
            if s.recipe.method == job.recipe.method
            and s.recipe.backbone == job.recipe.backbone
            and s.manifest.cost["steps"] >= 20
        ]
        if not same:
            return None
        rate = max(same, key=lambda s: s.manifest.created).manifest.cost["tokens_per_s"]
        total += planned_tokens(job) / rate
    return total
