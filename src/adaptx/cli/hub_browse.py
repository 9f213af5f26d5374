"""`adaptx hub search`, `list`, `info`, `verify`, `remove` and `site`: what is on a hub, and is it whole?"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from adaptx.cli import hub_options as h
from adaptx.cli import options as o

if TYPE_CHECKING:
    from adaptx.errors import AdaptxError


def search(
    query: Annotated[str, typer.Argument(help="Words that must all fit: language, task, method, backbone, licence.")],
    hub: h.Hub,
    profile: o.Profile = None,
    cache: o.Cache = None,
    registry: o.RegistryDir = None,
    as_json: o.AsJson = False,
    debug: o.Debug = False,
) -> None:
    """Find adapters by words."""
    from adaptx.hub import search as find

    settings = o.Places(profile, None, None, cache, registry).settings()
    _rows(find(hub, query, settings.cache, settings.registry.languages(), None, _warn), as_json, f"nothing for {query}")


def list_(
    hub: h.Hub,
    revision: h.Revision = None,
    profile: o.Profile = None,
    cache: o.Cache = None,
    as_json: o.AsJson = False,
    debug: o.Debug = False,
) -> None:
    """List everything on a hub, newest first."""
    from adaptx.hub import listing

    settings = o.Places(profile, None, None, cache).settings()
    _rows(listing(hub, settings.cache, revision, _warn), as_json, "nothing on the hub yet")


def info(
    ref: h.Reference,
    hub: h.Hub,
    revision: h.Revision = None,
    profile: o.Profile = None,
    cache: o.Cache = None,
    as_json: o.AsJson = False,
    debug: o.Debug = False,
) -> None:
    """Show an adapter's versions, files, data and what it builds on."""
    from adaptx import hub as hubs
    from adaptx.cli.screen import print_json
    from adaptx.refs import parse_ref
    from adaptx.units import size

    found = hubs.info(hub, parse_ref(ref), o.Places(profile, None, None, cache).settings().cache, revision)
    if as_json:
        print_json(found)
        return
    print(f"{found['ref']}  {found['backbone']}  {size(found['bytes'])}  licence {found['licence']}")
    for version in found["versions"]:
        print(f"  version {version['version']}  pushed {version['pushed'][:19]}  {version['ref']}")
    for score in found["zero_shot"]:
        value = f"{100 * score['value']:.1f} [{100 * score['low']:.1f}, {100 * score['high']:.1f}]"
        print(f"  {score['task']} {score['lang']} {score['metric']} {value}  n {score['n']}  by {score['system']}")
    for parent in found["provenance"]:
        print(f"  {parent['how']} {parent['ref']}{'' if parent['on_hub'] else ' (not on this hub)'}")
    for file in found["files"]:
        print(f"  file {file['path']}  {size(file['bytes'])}  sha256 {file['sha256'][:16]}")
    for data in found["data"]:
        print(f"  {data['split']} {data['id']}  {data['rows']} rows  {data['licence']}")


def verify(
    address: Annotated[str, typer.Argument(help=f"{h.ADDRESS} Or one adapter folder.")],
    ref: Annotated[str | None, typer.Option("--ref", help="Only this reference.")] = None,
    revision: h.Revision = None,
    trust: h.TrustedKeys = None,
    require_signature: h.RequireSignature = False,
    profile: o.Profile = None,
    cache: o.Cache = None,
    as_json: o.AsJson = False,
    debug: o.Debug = False,
) -> None:
    """Recompute everything about every version; the exit status is 1 where something does not hold."""
    from adaptx import hub
    from adaptx.cli.screen import print_json
    from adaptx.errors import AdaptxError
    from adaptx.refs import parse_ref

    settings = o.Places(profile, None, None, cache).settings()
    only = parse_ref(ref) if ref else None
    verdicts = hub.verify(address, settings.cache, only, revision, h.trusted(trust, require_signature))
    if as_json:
        print_json([vars(v) | {"parents_missing": list(v.parents_missing)} for v in verdicts])
    if not verdicts:
        raise AdaptxError("AX081", address, "it holds no such adapter, so there is nothing to verify.")
    for v in verdicts if not as_json else ():
        signed = f"  signed by {v.signed_by}" if v.signed_by else ""
        away = f"  builds on {', '.join(v.parents_missing)}, not here" if v.parents_missing else ""
        print(f"ok    {v.ref}  {v.version}{signed}{away}" if v.ok else f"FAULT {v.ref}  {v.code} {v.problem}")
    if not all(v.ok for v in verdicts):
        raise typer.Exit(1)


def remove(
    ref: h.Reference,
    hub: h.Hub,
    version: Annotated[str | None, typer.Option("--version", help="Only this version: the start of its hash.")] = None,
    purge: Annotated[
        bool, typer.Option("--purge", help="Delete young content too; only while nobody is pushing.")
    ] = False,
    profile: o.Profile = None,
    cache: o.Cache = None,
    as_json: o.AsJson = False,
    debug: o.Debug = False,
) -> None:
    """Take one run off a hub. Content of the last hour goes with a later removal, or with --purge."""
    from adaptx import hub as hubs
    from adaptx.cli.screen import print_json
    from adaptx.hub.address import version_of
    from adaptx.refs import parse_ref

    settings = o.Places(profile, None, None, cache).settings()
    gone, files = hubs.remove(hub, parse_ref(ref), settings.cache, version and version_of(version, "--version"), purge)
    if as_json:
        print_json({"removed": [{"ref": e.ref, "version": e.version} for e in gone], "files": files})
        return
    for entry in gone:
        print(f"removed {entry.ref}  version {entry.version[:16]}")


def site(
    out: Annotated[Path, typer.Argument(help="Folder for index.html, or an .html file.")],
    hub: h.Hub,
    revision: h.Revision = None,
    profile: o.Profile = None,
    cache: o.Cache = None,
    registry: o.RegistryDir = None,
    as_json: o.AsJson = False,
    debug: o.Debug = False,
) -> None:
    """Write a catalogue of the hub: one HTML page with search and filters that needs no server."""
    from adaptx import hub as hubs
    from adaptx.cli.screen import print_json

    settings = o.Places(profile, None, None, cache, registry).settings()
    path, count = hubs.site(hub, out, settings.cache, settings.registry.languages(), revision)
    if as_json:
        print_json({"path": str(path.resolve()), "versions": count})
    else:
        print(f"{path}  {count} versions")


def _warn(path: str, error: "AdaptxError") -> None:
    from adaptx.cli.screen import say

    say(f"left out {path}: {error.code} {error.why}")


def _rows(rows: list[dict[str, Any]], as_json: bool, nothing: str) -> None:
    from adaptx.cli.screen import print_json
    from adaptx.units import duration, score, size

    if as_json:
        print_json(rows)
    elif not rows:
        print(nothing)
    else:
        from rich.console import Console
        from rich.table import Table

        view = Table(box=None, pad_edge=False)
        for name in ("ref", "backbone", "licence", "size", "cost", "own", "zero-shot", "pushed", "version"):
            view.add_column(name, overflow="fold", justify="right" if name in ("size", "cost", "own") else "left")
        for r in rows:
            cells = (
                *(r["ref"], r["backbone"], r["licence"], size(r["bytes"])),
                duration(r["seconds"]) if r["seconds"] else "",
                "" if r["own"]["value"] is None else score(r["own"]["metric"], r["own"]["value"]),
                *(_zero_shot(r["zero_shot"]), r["pushed"][:10], r["version"]),
            )
            view.add_row(*(cell.replace("[", "\\[") for cell in cells))
        Console(width=None if Console().is_terminal else 160).print(view, highlight=False)


def _zero_shot(scores: list[dict[str, Any]]) -> str:
    """The best system's leading score, in percent, for each language and task."""
    leading = {(s["lang"], s["task"], s["system"]): s["value"] for s in reversed(scores)}  # the first metric leads
    best: dict[tuple[str, str], float] = {}
    for (lang, task, _), value in leading.items():
        best[lang, task] = max(value, best.get((lang, task), 0.0))
    return ", ".join(f"{lang} {task} {100 * value:.1f}" for (lang, task), value in sorted(best.items()))
