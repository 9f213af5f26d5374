"""`adaptx export`."""

from pathlib import Path
from typing import Annotated

import typer

from adaptx.cli import options as o


def export(
    ref: Annotated[str, typer.Argument(help=f"{o.REF}.")],
    merged: Annotated[Path, typer.Option("--merged", help="New folder for a plain transformers checkpoint.")],
    profile: o.Profile = None,
    store: o.Store = None,
    cache: o.Cache = None,
    registry: o.RegistryDir = None,
    backbone: o.BackboneName = None,
    allow_mismatch: o.AllowMismatch = False,
    as_json: o.AsJson = False,
    debug: o.Debug = False,
) -> None:
    """Write a plain transformers checkpoint: backbone, adapter and head in one (lora, dora, ia3, full)."""
    from adaptx import backbones
    from adaptx.cli.screen import print_json, say
    from adaptx.hub.export import export_merged
    from adaptx.refs import parse_ref

    backbones.quiet()
    settings = o.Places(profile, store, None, cache, registry, backbone).settings()
    say(settings.describe())
    out = export_merged(settings, parse_ref(ref), merged, allow_mismatch)
    if as_json:
        print_json({"ref": ref, "path": str(out.resolve())})
    else:
        print(out)
