"""`adaptx predict`: texts in, labels out."""

from pathlib import Path
from typing import Annotated

import typer

from adaptx.cli import options as o


def predict(
    ref: Annotated[str, typer.Argument(help=f"{o.REF} of an adapter with a head.")],
    texts: Annotated[
        list[str] | None,
        typer.Argument(help="Texts; a pair is two texts with ' ||| ' between; words are separated by spaces."),
    ] = None,
    file: Annotated[Path | None, typer.Option("--file", help="One text a line ('-' is stdin).")] = None,
    precision: o.Precision = "auto",
    profile: o.Profile = None,
    store: o.Store = None,
    cache: o.Cache = None,
    registry: o.RegistryDir = None,
    backbone: o.BackboneName = None,
    device: o.Device = "auto",
    allow_mismatch: o.AllowMismatch = False,
    as_json: o.AsJson = False,
    debug: o.Debug = False,
) -> None:
    """Predict labels, tags or spans for texts, in any language."""
    from adaptx import backbones, predict
    from adaptx.cli.screen import print_json, say
    from adaptx.refs import parse_ref

    backbones.quiet()
    settings = o.Places(profile, store, None, cache, registry, backbone, device).settings()
    say(settings.describe())
    lines = [*(texts or []), *(predict.read_lines(file) if file else [])]
    results = predict.predict(settings, parse_ref(ref), lines, precision, allow_mismatch)
    if as_json:
        print_json(results)
        return
    for result in results:
        value = result["prediction"]
        print(
            " ".join(f"{w}/{t}" for w, t in zip(result["words"], value, strict=True))
            if "words" in result
            else f"{value}\t{result['text']}"
        )
