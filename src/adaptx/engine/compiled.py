"""Parts of the encoder through torch.compile, which fuses what lies between matrix products into few kernels.

Knows modules, no method and no batch. Self-attention over packed rows and the linears inside it are left alone: shapes
that change from bucket to bucket would be compiled again and again.
"""

import os
import shutil
from importlib.util import find_spec
from typing import TYPE_CHECKING

import torch

from adaptx.backbones import token_wise
from adaptx.errors import AdaptxError

if TYPE_CHECKING:
    from transformers import PreTrainedModel

COMPILERS = ("g++", "clang++")


def replace(encoder: "PreTrainedModel") -> None:
    """Let the modules that treat every token alone run compiled, for any number of tokens; the first batches wait for
    the compiler. Hooks on the modules still run."""
    for module in token_wise(encoder):
        module.forward = torch.compile(module.forward, dynamic=True)


def check(device: str) -> None:
    """Raises AX033 where torch.compile cannot work on `device`."""
    if device.startswith("cuda"):
        there, needed = find_spec("triton") is not None, "on a GPU it needs the package triton"
    else:
        there = any(shutil.which(name) for name in (os.environ.get("CXX"), *COMPILERS) if name)
        needed = f"on a CPU it needs a C++ compiler ({' or '.join(COMPILERS)})"
    if not there:
        raise AdaptxError("AX033", "--compile", f"{needed}.", "Install it, or leave --compile out.")
