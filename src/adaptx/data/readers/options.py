"""Checks the options of a reader against its signature, so that a typing error in a YAML file is named, not ignored.

A reader's keyword-only parameters are its options; their annotations are what this file reads. It knows no format.
"""

import inspect
import types
from collections.abc import Callable, Mapping, Sequence
from difflib import get_close_matches
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from adaptx.errors import AdaptxError


def invalid(format: str, faults: Sequence[str], fix: str = "") -> AdaptxError:
    """The AX010 error that lists every fault in the options of `format`."""
    return AdaptxError("AX010", f"options of the format {format}", " ".join(faults), fix)


def files_taken(reader: Callable[..., object]) -> int:
    """How many files `reader` reads as one source: the number of its positional parameters."""
    return sum(p.kind is not p.KEYWORD_ONLY for p in inspect.signature(reader).parameters.values())


def check_options(format: str, reader: Callable[..., object], options: Mapping[str, object]) -> None:
    """Raise one AX010 that names every unknown, missing or wrongly typed option of `reader`, and the known ones."""
    parameters = {n: p for n, p in inspect.signature(reader).parameters.items() if p.kind is p.KEYWORD_ONLY}
    hints = get_type_hints(reader)
    faults = []
    for name, value in options.items():
        if name not in parameters:
            near = get_close_matches(str(name), parameters, n=1, cutoff=0.5)
            faults.append(f"'{name}' is not an option{f', did you mean {near[0]}?' if near else '.'}")
        elif not _fits(value, hints[name]):
            faults.append(f"'{name}' must be {_describe(hints[name])}, not {value!r}.")
    for name, parameter in parameters.items():
        if parameter.default is parameter.empty and name not in options:
            faults.append(f"'{name}' is missing: {_describe(hints[name])}.")
    if faults:
        raise invalid(format, faults, f"Known options: {', '.join(parameters) or 'none'}.")


def _fits(value: object, hint: Any) -> bool:
    origin, inner = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        return any(_fits(value, part) for part in inner)
    if origin is Literal:
        return any(value == choice and type(value) is type(choice) for choice in inner)
    if origin is not None and issubclass(origin, Mapping):
        return isinstance(value, Mapping) and all(_fits(k, inner[0]) and _fits(v, inner[1]) for k, v in value.items())
    if origin is not None and issubclass(origin, Sequence):
        return isinstance(value, list | tuple) and all(_fits(item, inner[0]) for item in value)
    if hint in (int, float):  # YAML's true is an int to Python, and 4 is a fine value where 4.0 is meant
        return not isinstance(value, bool) and isinstance(value, int if hint is int else int | float)
    return isinstance(value, hint)


def _describe(hint: Any) -> str:
    origin, inner = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        return " or ".join(_describe(part) for part in inner)
    if origin is Literal:
        return " or ".join(repr(choice) for choice in inner)
    if origin is not None and issubclass(origin, Mapping):
        return f"a mapping from {_describe(inner[0])} to {_describe(inner[1])}"
    if origin is not None and issubclass(origin, Sequence):
        return f"a list of {_describe(inner[0])}"
    names = {bool: "true or false", int: "a whole number", float: "a number", str: "text", types.NoneType: "null"}
    return names[hint]
