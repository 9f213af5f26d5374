"""`adaptx average` and `adaptx combine`: weighted sums of finished adapters."""

from typing import TYPE_CHECKING, Annotated

import typer

from adaptx.cli import options as o

if TYPE_CHECKING:
    from adaptx.refs import Ref


def average(
    refs: Annotated[list[str], typer.Argument(help="Two or more LANG/TASK[:METHOD]@RUN of one method.")],
    store: o.Store = None,
    as_json: o.AsJson = False,
    debug: o.Debug = False,
) -> None:
    """Average the weights of several runs (seeds, checkpoints) into one adapter."""
    from adaptx.refs import parse_ref

    _combine([(1 / len(refs), parse_ref(r)) for r in refs], o.Places(store=store), as_json)


def combine(
    expression: Annotated[str, typer.Argument(help='A weighted sum, e.g. "0.7*fi/mlm + 0.3*et/mlm".')],
    store: o.Store = None,
    as_json: o.AsJson = False,
    debug: o.Debug = False,
) -> None:
    """Add adapters with weights (language arithmetic)."""
    from adaptx.combine import parse_expression

    _combine(parse_expression(expression), o.Places(store=store), as_json)


def _combine(terms: list[tuple[float, "Ref"]], places: o.Places, as_json: bool) -> None:
    from adaptx.cli.screen import print_json
    from adaptx.combine import combine as combined
    from adaptx.store import find

    folder = places.settings().store
    stored = combined(folder, [(weight, find(folder, ref)) for weight, ref in terms])
    if as_json:
        print_json({"ref": stored.ref, "path": str(stored.folder.resolve())})
    else:
        print(f"{stored.ref}  {stored.folder}")
