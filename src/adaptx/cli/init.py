"""`adaptx init`: a commented study file for the user's language, by five questions or by flags."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from adaptx.cli import options as o

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from adaptx.config import Settings
    from adaptx.study.draft import Choices, Draft

T = TypeVar("T")
NAMES = "separated by commas"


def init(
    file: Annotated[Path | None, typer.Argument(help="File to write (default study-LANG.yaml).")] = None,
    lang: Annotated[str | None, typer.Option("--lang", help="Language to do well on, e.g. fi.")] = None,
    sources: Annotated[str | None, typer.Option("--sources", help=f"Source languages, {NAMES}.")] = None,
    tasks: Annotated[str | None, typer.Option("--tasks", help=f"Intermediate tasks, {NAMES}.")] = None,
    targets: Annotated[str | None, typer.Option("--targets", help=f"Target tasks, {NAMES}.")] = None,
    methods: Annotated[str | None, typer.Option("--methods", help=f"Methods, {NAMES}.")] = None,
    seeds: Annotated[int | None, typer.Option("--seeds", min=1, help="How many seeds (default 3).")] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace a file that is there.")] = False,
    profile: o.Profile = None,
    data_root: o.DataRoot = None,
    registry: o.RegistryDir = None,
    as_json: o.AsJson = False,
    debug: o.Debug = False,
) -> None:
    """Write a commented study file for your language.

    On a terminal it asks for what no flag says; elsewhere it proposes what the data here allows and asks nothing.
    """
    from dataclasses import replace

    import yaml

    from adaptx import atomic
    from adaptx.cli.screen import print_json, say
    from adaptx.errors import AdaptxError
    from adaptx.study import draft, plan

    settings = o.Places(profile, None, data_root, None, registry).settings()
    say(settings.describe())
    asking = on_terminal() and not as_json
    if lang is None and not asking:
        raise AdaptxError("AX070", "--lang", "expected the language to do well on, e.g. --lang fi.")
    have = draft.choices(settings, lang) if lang is not None else _language(settings)
    path = file or Path(f"study-{have.language}.yaml")
    if path.exists() and not force:
        raise AdaptxError("AX072", path, "it is there already.", "Name another file, or replace it with --force.")
    given: dict[str, Any] = {
        name: _split(text)
        for name, text in {"sources": sources, "tasks": tasks, "targets": targets, "methods": methods}.items()
        if text is not None
    }
    chosen = replace(have.proposal(given.get("tasks")), **given)
    chosen = chosen if seeds is None else replace(chosen, seeds=seeds)
    if asking:
        chosen = _ask(settings, have, chosen, {*given, *(["seeds"] if seeds is not None else [])})
    text = draft.render(chosen, have, settings, path.as_posix())
    study = plan.checked(yaml.safe_load(text), path, settings)
    planned = plan.expand(study, settings, path.stem)
    atomic.write_bytes(path, text.encode())
    if as_json:
        print_json({"file": path.as_posix(), "runs": len(planned.steps), "scores": len(planned.cells)})
        return
    print(f"{path}: {len(planned.steps)} runs, {len(planned.cells)} scores")
    for gap in planned.gaps:
        print(f"  gap: {gap.what}: {gap.why}")
    print(f"next: adaptx study plan {path} --measure, then adaptx study run {path}")


def on_terminal() -> bool:
    """Whether a person can answer."""
    return sys.stdin.isatty() and sys.stderr.isatty()


def _split(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())


def _language(settings: "Settings") -> "Choices":
    """The first question, asked until the answer is a language with test data."""
    from adaptx.study import draft

    def check(answer: str) -> "Choices":
        return draft.choices(settings, answer.strip())

    return _until("1/5 Which language should it work for? (a code; `adaptx ls languages`)", "", check)


def _ask(settings: "Settings", have: "Choices", chosen: "Draft", known: set[str]) -> "Draft":
    """The other four questions, without those that a flag has answered."""
    from dataclasses import replace

    from adaptx.errors import unknown_name

    def names(code: str, allowed: "Sequence[str]") -> "Callable[[str], tuple[str, ...]]":
        def check(answer: str) -> tuple[str, ...]:
            found = _split(answer)
            for name in found:
                if name not in allowed:
                    raise unknown_name(code, name, allowed)
            return found

        return check

    if "tasks" not in known:
        text = f"2/5 Which intermediate tasks? (here: {' '.join(have.tasks)})"
        tasks = _until(text, ",".join(chosen.tasks), names("AX002", have.tasks))
        proposed = have.proposal(tasks)
        chosen = replace(chosen, tasks=tasks, sources=chosen.sources if "sources" in known else proposed.sources)
    if "sources" not in known:
        able = [x for x in have.trained if {*chosen.tasks} & {*have.trained[x]}]
        text = f"3/5 Which source languages? (with data for these tasks: {' '.join(able)})"
        chosen = replace(chosen, sources=_until(text, ",".join(chosen.sources), names("AX001", able)))
    if "methods" not in known:
        methods = tuple(settings.registry.methods())
        text = f"4/5 Which methods? ({' '.join(methods)})"
        chosen = replace(chosen, methods=_until(text, ",".join(chosen.methods), names("AX003", methods)))
    if "seeds" not in known:
        chosen = replace(chosen, seeds=_until("5/5 How many seeds?", str(chosen.seeds), _count))
    return chosen


def _count(answer: str) -> int:
    from adaptx.errors import AdaptxError

    if not answer.isdigit() or int(answer) < 1:
        raise AdaptxError("AX070", answer, "expected a number from 1.")
    return int(answer)


def _until(question: str, default: str, check: "Callable[[str], T]") -> T:
    """The answer once `check` takes it; what it refuses is said and asked again."""
    from adaptx.cli.screen import say
    from adaptx.errors import AdaptxError

    while True:
        try:
            answer = typer.prompt(question, default=default or None, err=True)
        except typer.Abort:  # what Ctrl-C becomes at a prompt
            raise KeyboardInterrupt from None
        try:
            return check(str(answer))
        except AdaptxError as error:
            say(f"{error.given}: {error.why}")
