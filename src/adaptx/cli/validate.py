"""`adaptx validate`: is a YAML file right, before any training time is spent?"""

from pathlib import Path
from typing import Annotated

import typer

from adaptx.cli import options as o


def validate(
    file: Annotated[Path, typer.Argument(help="A task's YAML, or another file of a registry folder.")],
    data_root: o.DataRoot = None,
    as_json: o.AsJson = False,
    debug: o.Debug = False,
) -> None:
    """Check a registry file: fields, ids, reader options, and with --data-root the files that it names."""
    from adaptx.check import check_file
    from adaptx.cli.screen import print_json

    found = check_file(file, data_root)
    if as_json:
        print_json({"file": str(file), "what": found})
    else:
        print(f"{file}: {found}, no faults")
