"""A first study file for a language: what there is to choose from here, and the file with comments. Runs nothing."""

from collections.abc import Sequence
from dataclasses import dataclass

import yaml

from adaptx.config import Settings
from adaptx.data import sources
from adaptx.errors import AdaptxError
from adaptx.registry import Task
from adaptx.study.plan import ENGLISH

MOST_SOURCES, MOST_TASKS = 4, 2  # of what a draft proposes: a grid grows with the product

CURE = "Name your data with --data-root, add sources with --registry DIR, or use --profile paper."


@dataclass(frozen=True)
class Choices:
    """What a study of one language can be made of here. `trained`: source language -> intermediate tasks."""

    language: str
    trained: dict[str, tuple[str, ...]]
    targets: tuple[str, ...]

    @property
    def tasks(self) -> tuple[str, ...]:
        """Intermediate tasks, those with training data in most languages first."""
        found = sorted({t for tasks in self.trained.values() for t in tasks})
        return tuple(sorted(found, key=lambda t: -sum(t in tasks for tasks in self.trained.values())))

    def proposal(self, tasks: Sequence[str] | None = None) -> "Draft":
        """English and the sources with data for most of the `tasks`, or of the two tasks that most sources have."""
        chosen = tuple(tasks) if tasks else self.tasks[:MOST_TASKS]

        def rank(lang: str) -> tuple[bool, int, int, str]:
            return lang != ENGLISH, -len({*chosen} & {*self.trained[lang]}), -len(self.trained[lang]), lang

        order = sorted(self.trained, key=rank)
        able = [x for x in order if {*chosen} & {*self.trained[x]} and x != self.language]
        return Draft(self.language, tuple(able[:MOST_SOURCES]), chosen, self.targets)


@dataclass(frozen=True)
class Draft:
    """The answers that make a study file; `seeds` is how many."""

    language: str
    sources: tuple[str, ...]
    tasks: tuple[str, ...]
    targets: tuple[str, ...]
    methods: tuple[str, ...] = ("pfeiffer",)
    seeds: int = 3


def choices(settings: Settings, language: str) -> Choices:
    """What has data here. Raises AX001 for an unknown language, AX014 where nothing can be scored or trained."""
    registry = settings.registry
    registry.check_language(language)

    def has(task: Task, lang: str, split: sources.Split) -> bool:
        return lang in task.languages(settings.sources) and sources.available(settings, task, lang, split)

    intermediate = registry.tasks("intermediate")
    trained: dict[str, tuple[str, ...]] = {}
    for lang in registry.languages():
        found = tuple(t.id for t in intermediate if has(t, lang, "train"))
        if found:
            trained[lang] = found
    targets = tuple(
        t.id
        for t in registry.tasks("target")
        if has(t, language, "test") and (t.kind == "retrieval" or has(t, ENGLISH, "train"))
    )
    if not targets:
        raise AdaptxError("AX014", language, "no target task has test data in this language here.", CURE)
    if not trained:
        raise AdaptxError("AX014", "intermediate tasks", "none has training data in any language here.", CURE)
    return Choices(language, trained, targets)


def render(draft: Draft, have: Choices, settings: Settings, name: str) -> str:
    """The study file called `name`: every field with a comment, and what else could stand there."""
    names = settings.registry.languages()
    others = {
        "sources": [x for x in have.trained if x not in draft.sources and x != draft.language],
        "tasks": [t for t in have.tasks if t not in draft.tasks],
        "targets": [t for t in have.targets if t not in draft.targets],
        "methods": [m for m in settings.registry.methods() if m not in draft.methods and m != "full"],
    }

    def row(field: str, values: Sequence[object]) -> str:
        more = f" # also here: {' '.join(others[field])}" if others.get(field) else ""
        return f"{field}: {_flow(values)}{more}"

    title = f"What to train on before zero-shot transfer to {names[draft.language]}"
    return f"""# adaptx study run {name}
#
# Before: adaptx study plan {name} --measure    what it consists of, and how long it takes here
# After:  adaptx study report {name} --out report.html
# Interrupted? The same command goes on. What has no data here becomes a gap in the report, not an error.

title: {_flow(title)}

# The language to do well on without training data of its own.
language: {_flow(draft.language)}

# The languages that intermediate adapters are trained in. English is always run beside them (baselines).
{row("sources", draft.sources)}

# What they are trained on first. "anli+qqp" trains two tasks into one adapter.
{row("tasks", draft.tasks)}

# How the backbone is adapted; `adaptx ls methods` describes each.
{row("methods", draft.methods)}

# What is scored, zero-shot: target adapters are trained on English and tested on the language.
{row("targets", draft.targets)}

# Every run once per seed. Differences between sources mean little without the variance over seeds.
{row("seeds", range(draft.seeds))}

# none: no intermediate task. english: the same tasks in English. full: every weight fine-tuned, the costly baseline.
baselines: [none, english]

# language_adapters: on the language's adapter, on the source's, on none. no_last_layer: MAD-X 2.0.
ablations: []

# The same number of rows everywhere, so that sources differ in language and not in size. Also for each stage:
# epochs, max_steps, batch_tokens, lr. What is left out is the task's default.
intermediate: {{limit: 10000}}
target: {{}}
"""


def _flow(value: object) -> str:
    """A value as YAML on one line; what YAML would misread (no, y) is quoted."""
    plain = list(value) if isinstance(value, tuple | range) else value
    text = yaml.safe_dump(plain, default_flow_style=True, allow_unicode=True, width=10_000)
    return text.removesuffix("\n").removesuffix("\n...")
