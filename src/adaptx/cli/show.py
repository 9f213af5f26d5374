"""`adaptx show` and `adaptx explain`."""

from typing import Annotated

import typer

from adaptx.cli import options as o


def show(
    ref: Annotated[str, typer.Argument(help=f"{o.REF}.")],
    store: o.Store = None,
    as_json: o.AsJson = False,
    debug: o.Debug = False,
) -> None:
    """Verify an adapter of the store and print its card, or with --json its manifest."""
    import json

    from adaptx.cli.screen import print_json, say
    from adaptx.config import resolve
    from adaptx.refs import parse_ref
    from adaptx.store import find

    stored = find(resolve(store=store, data_root=None).store, parse_ref(ref))
    say(f"verified {len(stored.manifest.files)} files, {len(stored.manifest.tensors)} tensors in {stored.folder}")
    if as_json:
        print_json(json.loads(stored.manifest.model_dump_json()))
    else:
        print((stored.folder / "README.md").read_text("utf-8"))


def explain(code: Annotated[str, typer.Argument(help="An error code, e.g. AX012.")]) -> None:
    """Explain an error code: cause and cure."""
    from adaptx.errors import CODES, unknown_name

    known = CODES.get(code.upper())
    if known is None:
        raise unknown_name("AX070", code, CODES)
    print(f"{code.upper()} {known.title}\n  cause: {known.cause}\n  cure:  {known.cure}")
