"""`adaptx trim`."""

from pathlib import Path
from typing import Annotated

import typer

from adaptx.cli import options as o


def trim(
    langs: Annotated[str, typer.Option("--langs", help="Languages whose text decides, separated by commas.")],
    source: Annotated[
        Path | None,
        typer.Option(
            "--from",
            metavar="PATH",
            help="A text file or a folder of .txt files to go by; default: the train and dev rows that are here.",
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="DIR", help="New folder; default: named after backbone and languages."),
    ] = None,
    profile: o.Profile = None,
    data_root: o.DataRoot = None,
    cache: o.Cache = None,
    registry: o.RegistryDir = None,
    backbone: o.BackboneName = None,
    as_json: o.AsJson = False,
    debug: o.Debug = False,
) -> None:
    """Write a smaller backbone that has only the embedding rows of some languages, for --backbone DIR.

    Texts whose pieces are kept are read and encoded exactly as before; others are read in smaller pieces. Adapters
    trained on it load on the full backbone and the other way round; fully fine-tuned models do not.
    """
    from dataclasses import asdict

    from adaptx import backbones
    from adaptx.cli.screen import print_json, say
    from adaptx.trim import trim as trimmed

    backbones.quiet()
    settings = o.Places(profile, None, data_root, cache, registry, backbone).settings()
    say(settings.describe())
    made = trimmed(settings, [lang.strip() for lang in langs.split(",")], out, source)
    if as_json:
        print_json({**asdict(made), "folder": str(made.folder.resolve())})
    else:
        print(
            f"{made.folder}  {made.rows:,} of {made.rows_full:,} rows, {made.bytes / 1e6:,.1f} of "
            f"{made.bytes_full / 1e6:,.1f} MB, from {made.tokens:,} tokens of {made.texts:,} texts"
        )
