"""`adaptx ls`: what there is to choose from."""

from enum import StrEnum
from typing import Annotated, Any

import typer

from adaptx.cli import options as o
from adaptx.cli.screen import scores_in_words


class What(StrEnum):
    """What can be listed."""

    tasks = "tasks"
    languages = "languages"
    backbones = "backbones"
    methods = "methods"
    adapters = "adapters"


def ls(
    what: Annotated[What, typer.Argument(help="What to list.")],
    profile: o.Profile = None,
    store: o.Store = None,
    data_root: o.DataRoot = None,
    cache: o.Cache = None,
    registry: o.RegistryDir = None,
    backbone: o.BackboneName = None,
    as_json: o.AsJson = False,
    debug: o.Debug = False,
) -> None:
    """List tasks, languages, backbones, methods, or the adapters in the store."""
    from adaptx.cli.screen import print_json

    settings = o.Places(profile, store, data_root, cache, registry, backbone).settings()
    rows = {
        What.tasks: _tasks,
        What.languages: _languages,
        What.backbones: _backbones,
        What.methods: _methods,
        What.adapters: _adapters,
    }[what](settings)
    if as_json:
        print_json(rows)
    elif not rows:
        print(f"no {what.value} yet" + (f" in {settings.store}" if what is What.adapters else ""))
    else:
        _print(rows)


def _print(rows: list[dict[str, Any]]) -> None:
    from rich.console import Console
    from rich.table import Table

    view = Table(box=None, pad_edge=False)
    for name in rows[0]:
        view.add_column(name, overflow="fold")
    for row in rows:
        view.add_row(*("" if v is None else str(v) for v in row.values()))
    Console(width=None if Console().is_terminal else 160).print(view, highlight=False)


def _tasks(settings: Any) -> list[dict[str, Any]]:
    return [
        {
            "task": t.id,
            "kind": t.kind,
            "roles": ", ".join(t.roles),
            "metric": t.metrics[0],
            "languages here": " ".join(t.languages(settings.sources)),
            "on the Hub": len(t.languages(("hub",))),
            "title": t.title,
        }
        for t in settings.registry.tasks()
    ]


def _languages(settings: Any) -> list[dict[str, Any]]:
    tasks = settings.registry.tasks()
    return [
        {
            "code": code,
            "language": name,
            "tasks here": " ".join(t.id for t in tasks if code in t.languages(settings.sources)),
        }
        for code, name in settings.registry.languages().items()
    ]


def _backbones(settings: Any) -> list[dict[str, Any]]:
    return [
        {"backbone": name, "source": b.source, "id": b.id, "licence": b.licence, "title": b.title}
        for name, b in settings.registry.backbones().items()
    ]


def _methods(settings: Any) -> list[dict[str, Any]]:
    return [
        {"method": name, "family": m.family, "lr": m.lr, "title": m.title, "reference": m.reference}
        for name, m in settings.registry.methods().items()
    ]


def _adapters(settings: Any) -> list[dict[str, Any]]:
    from adaptx import store
    from adaptx.cli.screen import say

    found, unreadable = store.contents(settings.store)
    for error in unreadable:
        say(f"left out: {error.code} {error.title}: {error.given}: {error.why}")
    return [
        {
            "ref": s.ref,
            "role": s.recipe.role,
            "backbone": s.recipe.backbone.name,
            "from": ", ".join(p.ref for p in s.recipe.parents) or None,
            "scores": "  ".join(scores_in_words(s.manifest.metrics)),
            "seconds": round(sum(s.manifest.cost.get("seconds", {}).values())),
            "created": s.manifest.created,
        }
        for s in found
    ]
