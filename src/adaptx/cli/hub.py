"""`adaptx hub`: push, pull, search, list, info, verify, remove, site, import."""

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from adaptx.cli import options as o

if TYPE_CHECKING:
    from adaptx.errors import AdaptxError
    from adaptx.hub import Trust

HUB_PANEL = "The hub"
ADDRESS = "A folder, file:///PATH, s3://BUCKET/PREFIX or hf://ORG/NAME."
app = typer.Typer(
    no_args_is_help=True,
    help="Share adapters: a folder or network share, an S3 bucket, the Hugging Face Hub.",
    epilog="Example: adaptx hub push sv/anli file:///srv/adapters",
)
Reference = Annotated[str, typer.Argument(help="LANG/TASK[:METHOD][@RUN].")]
Hub = Annotated[str, typer.Option("--hub", envvar="ADAPTX_HUB", help=ADDRESS, rich_help_panel=HUB_PANEL)]
Revision = Annotated[
    str | None,
    typer.Option(
        "--revision",
        help="A commit of a Hub repository (40 hex digits), or a version's hash or the start of one.",
        rich_help_panel=HUB_PANEL,
    ),
]
TrustedKeys = Annotated[
    list[Path] | None,
    typer.Option("--trust", help="PEM file with a public Ed25519 key to believe; may be given several times."),
]
RequireSignature = Annotated[
    bool, typer.Option("--require-signature", help="Refuse what no trusted key has signed.", rich_help_panel=HUB_PANEL)
]


class Role(StrEnum):
    """What an imported adapter is for."""

    language = "language"
    intermediate = "intermediate"
    target = "target"
    diagnostic = "diagnostic"


@app.command(epilog="Example: adaptx hub push sv/anli hf://my-org/my-adapters")
def push(
    ref: Reference,
    target: Annotated[str, typer.Argument(help=ADDRESS)],
    sign: Annotated[
        Path | None, typer.Option("--sign", help="PEM file with a private Ed25519 key to sign with.")
    ] = None,
    public: Annotated[
        bool, typer.Option("--public", help="Make a Hub repository that does not exist yet a public one.")
    ] = False,
    profile: o.Profile = None,
    store: o.Store = None,
    cache: o.Cache = None,
    registry: o.RegistryDir = None,
    as_json: o.AsJson = False,
    debug: o.Debug = False,
) -> None:
    """Put an adapter of the store on a hub, with the adapters that it stands on; nothing there is overwritten."""
    from adaptx import hub
    from adaptx.cli.screen import print_json, say
    from adaptx.refs import parse_ref
    from adaptx.store import find
    from adaptx.units import size

    settings = o.Places(profile, store, None, cache, registry).settings()
    done = hub.push(settings, find(settings.store, parse_ref(ref)), target, sign_with=sign, private=not public)
    rows = [
        {
            "ref": p.entry.ref,
            "hub": p.hub,
            "version": p.entry.version,
            "revision": p.revision,
            "bytes": p.entry.bytes,
            "new": p.new,
            "signed_by": p.signed_by,
        }
        for p in done
    ]
    if as_json:
        print_json({**rows[-1], "below": rows[:-1]})
        return
    for p in done:
        say(f"{'pushed' if p.new else 'already there:'} {p.entry.ref}, {size(p.entry.bytes)}")
    print(f"{rows[-1]['ref']}  version {str(rows[-1]['version'])[:16]}  {rows[-1]['hub']}")


@app.command(epilog="Example: adaptx hub pull sv/anli --hub file:///srv/adapters")
def pull(
    ref: Reference,
    hub: Hub,
    revision: Revision = None,
    trust: TrustedKeys = None,
    require_signature: RequireSignature = False,
    replace: Annotated[
        bool, typer.Option("--replace", help="Put it in the place of other content of the same run in the store.")
    ] = False,
    profile: o.Profile = None,
    store: o.Store = None,
    cache: o.Cache = None,
    registry: o.RegistryDir = None,
    backbone: o.BackboneName = None,
    allow_mismatch: o.AllowMismatch = False,
    as_json: o.AsJson = False,
    debug: o.Debug = False,
) -> None:
    """Bring an adapter into the store; nothing of it is loaded before everything about it was checked."""
    from adaptx import hub as hubs
    from adaptx.cli.screen import print_json, say
    from adaptx.refs import parse_ref

    settings = o.Places(profile, store, None, cache, registry, backbone).settings()
    done = hubs.pull(
        settings,
        parse_ref(ref),
        hub,
        revision,
        trust=_trust(trust, require_signature),
        replace=replace,
        allow_mismatch=allow_mismatch,
    )
    rows: list[dict[str, Any]] = [
        {
            "ref": p.stored.ref,
            "path": str(p.stored.folder.resolve()),
            "hub": p.hub,
            "version": p.version,
            "revision": p.revision,
            "new": p.new,
            "signed_by": p.signed_by,
            "notes": list(p.notes),
        }
        for p in done
    ]
    if as_json:
        print_json({**rows[-1], "below": rows[:-1]})
        return
    for p in done:
        files = len(p.stored.manifest.files)
        say(f"{'pulled and verified' if p.new else 'already in the store:'} {p.stored.ref}, {files} files")
        for note in p.notes:
            say(f"note: {note}")
    print(f"{rows[-1]['ref']}  {done[-1].stored.folder}")


@app.command(epilog="Example: adaptx hub search 'swedish lora' --hub file:///srv/adapters")
def search(
    query: Annotated[str, typer.Argument(help="Words that must all fit: language, task, method, backbone, licence.")],
    hub: Hub,
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


@app.command("list", epilog="Example: adaptx hub list --hub file:///srv/adapters")
def list_(
    hub: Hub,
    revision: Revision = None,
    profile: o.Profile = None,
    cache: o.Cache = None,
    as_json: o.AsJson = False,
    debug: o.Debug = False,
) -> None:
    """List everything on a hub, newest first."""
    from adaptx.hub import listing

    settings = o.Places(profile, None, None, cache).settings()
    _rows(listing(hub, settings.cache, revision, _warn), as_json, "nothing on the hub yet")


@app.command(epilog="Example: adaptx hub info sv/anli --hub file:///srv/adapters")
def info(
    ref: Reference,
    hub: Hub,
    revision: Revision = None,
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
    for data in found["data"]:
        print(f"  {data['split']} {data['id']}  {data['rows']} rows  {data['licence']}")


@app.command(epilog="Example: adaptx hub verify file:///srv/adapters")
def verify(
    address: Annotated[str, typer.Argument(help=f"{ADDRESS} Or one adapter folder.")],
    ref: Annotated[str | None, typer.Option("--ref", help="Only this reference.")] = None,
    revision: Revision = None,
    trust: TrustedKeys = None,
    require_signature: RequireSignature = False,
    profile: o.Profile = None,
    cache: o.Cache = None,
    as_json: o.AsJson = False,
    debug: o.Debug = False,
) -> None:
    """Recompute everything about every version; the exit status is 1 where something does not hold."""
    from adaptx import hub
    from adaptx.cli.screen import print_json
    from adaptx.refs import parse_ref

    settings = o.Places(profile, None, None, cache).settings()
    only = parse_ref(ref) if ref else None
    verdicts = hub.verify(address, settings.cache, only, revision, _trust(trust, require_signature))
    if as_json:
        print_json([vars(v) | {"parents_missing": list(v.parents_missing)} for v in verdicts])
    for v in verdicts if not as_json else ():
        signed = f"  signed by {v.signed_by}" if v.signed_by else ""
        away = f"  builds on {', '.join(v.parents_missing)}, not here" if v.parents_missing else ""
        print(f"ok    {v.ref}  {v.version}{signed}{away}" if v.ok else f"FAULT {v.ref}  {v.code} {v.problem}")
    if not all(v.ok for v in verdicts):
        raise typer.Exit(1)


@app.command(epilog="Example: adaptx hub remove sv/anli:lora@3fa9c1 --hub file:///srv/adapters")
def remove(
    ref: Reference,
    hub: Hub,
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
    from adaptx.hub.catalogue import version_of
    from adaptx.refs import parse_ref

    settings = o.Places(profile, None, None, cache).settings()
    gone, files = hubs.remove(hub, parse_ref(ref), settings.cache, version_of(version), purge)
    if as_json:
        print_json({"removed": [{"ref": e.ref, "version": e.version} for e in gone], "files": files})
        return
    for entry in gone:
        print(f"removed {entry.ref}  version {entry.version[:16]}")


@app.command(epilog="Example: adaptx hub site public --hub file:///srv/adapters")
def site(
    out: Annotated[Path, typer.Argument(help="Folder for index.html, or an .html file.")],
    hub: Hub,
    revision: Revision = None,
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


@app.command("import", epilog="Example: adaptx hub import my-lora --lang sv --task anli")
def import_(
    source: Annotated[str, typer.Argument(help="Folder that adapters or peft saved, or a Hub id ORG/NAME.")],
    lang: Annotated[str, typer.Option("--lang", help="Language it was trained on.")],
    task: Annotated[str, typer.Option("--task", help="Task it was trained on; see `adaptx ls tasks`.")],
    role: Annotated[
        Role | None, typer.Option("--role", help="What it is for (default: the task's first role).")
    ] = None,
    labels: Annotated[
        str | None, typer.Option("--labels", help="Labels of its head in the order of its outputs, with commas.")
    ] = None,
    revision: Annotated[
        str | None, typer.Option("--revision", help="Commit of the Hub repository.", rich_help_panel=HUB_PANEL)
    ] = None,
    profile: o.Profile = None,
    store: o.Store = None,
    cache: o.Cache = None,
    registry: o.RegistryDir = None,
    backbone: o.BackboneName = None,
    as_json: o.AsJson = False,
    debug: o.Debug = False,
) -> None:
    """Take in an adapter made by AdapterHub's or PEFT's own tools, once it was checked and fits the backbone."""
    from adaptx import backbones
    from adaptx.cli.screen import print_json, say
    from adaptx.hub.foreign import import_foreign

    backbones.quiet()
    settings = o.Places(profile, store, None, cache, registry, backbone).settings()
    say(settings.describe())
    named = tuple(part.strip() for part in labels.split(",")) if labels else ()
    stored = import_foreign(
        settings, source, lang, task, role=role.value if role else None, labels=named, revision=revision
    )
    m = stored.manifest
    for note in m.notes:
        say(f"note: {note}")
    if as_json:
        path = str(stored.folder.resolve())
        print_json({"ref": stored.ref, "path": path, "origin": m.origin, "notes": list(m.notes)})
    else:
        print(f"{stored.ref}  {stored.folder}")


def _trust(keys: list[Path] | None, required: bool) -> "Trust":
    from adaptx.hub import Trust

    return Trust(tuple(keys or ()), required)


def _warn(path: str, error: "AdaptxError") -> None:
    from adaptx.cli.screen import say

    say(f"left out {path}: {error.code} {error.why}")


def _rows(rows: list[dict[str, Any]], as_json: bool, nothing: str) -> None:
    from adaptx.cli.screen import print_json
    from adaptx.units import size

    if as_json:
        print_json(rows)
    elif not rows:
        print(nothing)
    else:
        from rich.console import Console
        from rich.table import Table

        view = Table(box=None, pad_edge=False)
        for name in ("ref", "backbone", "licence", "size", "zero-shot", "pushed", "version"):
            view.add_column(name, overflow="fold")
        for r in rows:
            best = max(r["zero_shot"], key=lambda s: s["value"], default=None)
            shown = f"{best['task']} {best['lang']} {100 * best['value']:.1f}" if best else ""
            cells = (r["ref"], r["backbone"], r["licence"], size(r["bytes"]), shown, r["pushed"][:10], r["version"])
            view.add_row(*(cell.replace("[", "\\[") for cell in cells))
        Console(width=None if Console().is_terminal else 160).print(view, highlight=False)
