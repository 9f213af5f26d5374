"""`adaptx doctor`: what is installed, which device, what is reachable, what is missing and how to get it."""

from typing import Annotated

import typer

from adaptx.cli import options as o


def doctor(
    hub: Annotated[bool, typer.Option("--hub", help="Also ask the Hub about every registered data source.")] = False,
    profile: o.Profile = None,
    store: o.Store = None,
    data_root: o.DataRoot = None,
    cache: o.Cache = None,
    registry: o.RegistryDir = None,
    backbone: o.BackboneName = None,
    as_json: o.AsJson = False,
    debug: o.Debug = False,
) -> None:
    """Say what works here and what does not, each with its cure."""
    from adaptx import health
    from adaptx.cli.screen import print_json

    findings = health.examine(o.Places(profile, store, data_root, cache, registry, backbone).settings(), hub)
    if as_json:
        print_json([vars(f) for f in findings])
        return
    for f in findings:
        print(f"{'ok  ' if f.ok else 'MISS'}  {f.what}: {f.found}{'' if f.ok or not f.cure else f' -> {f.cure}'}")
