"""A process that uses a hub as a user would: performs a list of steps and prints what each gave, or its error code."""

import json
import sys
from pathlib import Path
from typing import Any

import toy
from adaptx import hub, store
from adaptx.config import resolve
from adaptx.errors import AdaptxError
from adaptx.refs import parse_ref


def perform(world: str, step: dict[str, Any]) -> Any:
    """One step: `verb`, the `store` it works in, the `hub`, and the verb's own fields."""
    cache = Path(step["store"]) / "cache"
    if step.get("real"):
        settings = resolve(store=Path(step["store"]), cache=Path(step["real"]))
    else:
        settings = toy.settings(toy.World(Path(world)), Path(step["store"]), cache=cache)
    verb, place = step["verb"], step["hub"]
    if verb == "push":
        found = store.find(settings.store, parse_ref(step["ref"]))
        pushed = hub.push(settings, found, place, private=step.get("private", True))
        return [{"ref": p.entry.ref, "new": p.new, "revision": p.revision, "version": p.entry.version} for p in pushed]
    if verb == "pull":
        got = hub.pull(settings, parse_ref(step["ref"]), place, step.get("revision"))
        return [{"ref": p.stored.ref, "new": p.new, "revision": p.revision} for p in got]
    if verb == "search":
        return [r["ref"] for r in hub.search(place, step["query"], settings.cache, {})]
    if verb == "list":
        return [r["ref"] for r in hub.listing(place, settings.cache, step.get("revision"))]
    if verb == "info":
        return hub.info(place, parse_ref(step["ref"]), settings.cache)
    if verb == "verify":
        return [v.ok for v in hub.verify(place, settings.cache)]
    return len(hub.remove(place, parse_ref(step["ref"]), settings.cache, purge=step.get("purge", False))[0])


def main(world: str, steps: str) -> None:
    out: list[Any] = []
    for step in json.loads(steps):
        try:
            out.append(perform(world, step))
        except AdaptxError as error:
            out.append(error.code)
    print(json.dumps(out))


if __name__ == "__main__":
    main(*sys.argv[1:])
