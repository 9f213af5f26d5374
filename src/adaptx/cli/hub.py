"""`adaptx hub`: push, pull and import; the verbs that look at a hub are in `hub_browse`."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from adaptx.cli import hub_browse
from adaptx.cli import hub_options as h
from adaptx.cli import options as o

app = typer.Typer(
    no_args_is_help=True,
    help="Share adapters: a folder or network share, an S3 bucket, the Hugging Face Hub.",
    epilog="Example: adaptx hub push sv/anli file:///srv/adapters",
)


class Role(StrEnum):
    """What an imported adapter is for."""

    language = "language"
    intermediate = "intermediate"
    target = "target"
    diagnostic = "diagnostic"


@app.command(epilog="Example: adaptx hub push sv/anli hf://my-org/my-adapters")
def push(
    ref: h.Reference,
    target: Annotated[str, typer.Argument(help=h.ADDRESS)],
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
    ref: h.Reference,
    hub: h.Hub,
    revision: h.Revision = None,
    trust: h.TrustedKeys = None,
    require_signature: h.RequireSignature = False,
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
        trust=h.trusted(trust, require_signature),
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
        if trust and not p.signed_by:
            say("note: nobody has signed it; --require-signature refuses such adapters")
    print(f"{rows[-1]['ref']}  {done[-1].stored.folder}")


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
        str | None, typer.Option("--revision", help="Commit of the Hub repository.", rich_help_panel=h.HUB_PANEL)
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


app.command("search", epilog="Example: adaptx hub search 'swedish lora' --hub file:///srv/adapters")(hub_browse.search)
app.command("list", epilog="Example: adaptx hub list --hub file:///srv/adapters")(hub_browse.list_)
app.command("info", epilog="Example: adaptx hub info sv/anli --hub file:///srv/adapters")(hub_browse.info)
app.command("verify", epilog="Example: adaptx hub verify file:///srv/adapters")(hub_browse.verify)
app.command("remove", epilog="Example: adaptx hub remove sv/anli:lora@3fa9c1 --hub file:///srv/adapters")(
    hub_browse.remove
)
app.command("site", epilog="Example: adaptx hub site public --hub file:///srv/adapters")(hub_browse.site)
