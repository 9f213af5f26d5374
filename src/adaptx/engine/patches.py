"""Changes to the library's modules that end with a block. Knows no attention, no batch and no method.

T: tokens, S: some of them, H: hidden size.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn


@contextmanager
def forwards(replaced: Iterable[tuple[nn.Module, Callable[..., Any]]]) -> Iterator[None]:
    """Within the block each module runs the function beside it in place of its own forward. Blocks may be nested."""
    pairs = list(replaced)
    before = [module.__dict__.get("forward") for module, _ in pairs]
    for module, forward in pairs:
        module.forward = forward
    try:
        yield
    finally:
        for (module, _), old in zip(pairs, before, strict=True):
            if old is None:
                del module.forward
            else:
                module.forward = old


@contextmanager
def inputs(module: nn.Module, change: Callable[[tuple[Any, ...]], tuple[Any, ...] | None]) -> Iterator[None]:
    """Within the block `module` is given what `change` makes of its positional inputs; None leaves them as they are."""
    hook = module.register_forward_pre_hook(lambda _, given: change(given))
    try:
        yield
    finally:
        hook.remove()


@contextmanager
def only_rows(module: nn.Module, rows: torch.Tensor) -> Iterator[None]:
    """Within the block `module` is given, of its inputs [1, T, H], the `rows` [S] alone, and gives [1, S, H].

    Blocks within one another are one.
    """
    if rows is module.__dict__.get("_rows"):
        yield
        return
    module.__dict__["_rows"] = rows
    try:
        with inputs(module, lambda given: tuple(x.index_select(1, rows) for x in given)):
            yield
    finally:
        del module.__dict__["_rows"]
