"""Flags and arguments that the hub's commands share. Imports nothing heavy."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from adaptx.cli.options import REF

if TYPE_CHECKING:
    from adaptx.hub import Trust

HUB_PANEL = "The hub"
ADDRESS = "A folder, file:///PATH, s3://BUCKET/PREFIX or hf://ORG/NAME."
Reference = Annotated[str, typer.Argument(help=f"{REF}.")]
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
    typer.Option(
        "--trust", help="PEM file with a public Ed25519 key to believe; may be repeated.", rich_help_panel=HUB_PANEL
    ),
]
RequireSignature = Annotated[
    bool, typer.Option("--require-signature", help="Refuse what no trusted key has signed.", rich_help_panel=HUB_PANEL)
]


def trusted(keys: list[Path] | None, required: bool) -> "Trust":
    """Which signers a command believes."""
    from adaptx.hub import Trust

    return Trust(tuple(keys or ()), required)
