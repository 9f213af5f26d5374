"""Flags that several commands share, each with its environment twin, and how they become settings.

Imports nothing heavy: `adaptx --help` must answer at once.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from adaptx.config import RunOptions, Settings

REF = "LANG/TASK[:METHOD]\\[@RUN]"  # in a help text [@...] is markup unless escaped
PLACES, TRAINING, OUTPUT = "Where things are", "Training", "Output"

Profile = Annotated[
    str | None,
    typer.Option(
        "--profile",
        envvar="ADAPTX_PROFILE",
        help="local (bundled backbone, offline) or paper (XLM-R Large, Hub data).",
        rich_help_panel=PLACES,
    ),
]
Store = Annotated[
    Path | None,
    typer.Option(
        "--store", envvar="ADAPTX_STORE", help="Folder of finished adapters (default ./store).", rich_help_panel=PLACES
    ),
]
DataRoot = Annotated[
    Path | None,
    typer.Option(
        "--data-root",
        envvar="ADAPTX_DATA",
        help="Folder with real data; takes the place of the sample corpus.",
        rich_help_panel=PLACES,
    ),
]
Cache = Annotated[
    Path | None,
    typer.Option(
        "--cache", envvar="ADAPTX_CACHE", help="Folder for converted and downloaded files.", rich_help_panel=PLACES
    ),
]
RegistryDir = Annotated[
    Path | None,
    typer.Option(
        "--registry",
        envvar="ADAPTX_REGISTRY",
        help="Folder with your own tasks/*.yaml, languages.yaml, ...",
        rich_help_panel=PLACES,
    ),
]
BackboneName = Annotated[
    str | None,
    typer.Option(
        "--backbone", envvar="ADAPTX_BACKBONE", help="Registered name, folder, or Hub id.", rich_help_panel=PLACES
    ),
]
Device = Annotated[
    str, typer.Option("--device", envvar="ADAPTX_DEVICE", help="auto, cpu, cuda or cuda:N.", rich_help_panel=PLACES)
]
Seed = Annotated[int, typer.Option("--seed", envvar="ADAPTX_SEED", help="Random seed.", rich_help_panel=TRAINING)]
Method = Annotated[
    str,
    typer.Option(
        "--method", envvar="ADAPTX_METHOD", help="How to adapt; see `adaptx ls methods`.", rich_help_panel=TRAINING
    ),
]
Limit = Annotated[
    int | None,
    typer.Option("--limit", envvar="ADAPTX_LIMIT", help="Train on at most this many rows.", rich_help_panel=TRAINING),
]
Epochs = Annotated[
    float | None,
    typer.Option("--epochs", envvar="ADAPTX_EPOCHS", help="Passes over the training data.", rich_help_panel=TRAINING),
]
MaxSteps = Annotated[
    int | None,
    typer.Option(
        "--max-steps", envvar="ADAPTX_MAX_STEPS", help="At most this many optimiser steps.", rich_help_panel=TRAINING
    ),
]
BatchTokens = Annotated[
    int | None,
    typer.Option("--batch-tokens", envvar="ADAPTX_BATCH_TOKENS", help="Tokens a batch.", rich_help_panel=TRAINING),
]
LearningRate = Annotated[
    float | None,
    typer.Option(
        "--lr", envvar="ADAPTX_LR", help="Peak learning rate (default: the method's).", rich_help_panel=TRAINING
    ),
]
Precision = Annotated[
    str,
    typer.Option(
        "--precision", envvar="ADAPTX_PRECISION", help="auto, fp32, bf16 or int8.", rich_help_panel=TRAINING
    ),
]
Optimiser = Annotated[
    str,
    typer.Option(
        "--optimiser",
        envvar="ADAPTX_OPTIMISER",
        help="adamw, or adamw8bit: moments in 8 bits, 2 bytes a trained weight for 8.",
        rich_help_panel=TRAINING,
    ),
]
Checkpointing = Annotated[
    bool,
    typer.Option(
        "--gradient-checkpointing",
        envvar="ADAPTX_GRADIENT_CHECKPOINTING",
        help="Compute activations again in the backward pass: less memory, a third more time, the same result.",
        rich_help_panel=TRAINING,
    ),
]
Compile = Annotated[
    bool,
    typer.Option(
        "--compile",
        envvar="ADAPTX_COMPILE",
        help="Fuse what lies between matrix products (torch.compile): the first steps wait for the compiler.",
        rich_help_panel=TRAINING,
    ),
]
AverageLast = Annotated[
    int,
    typer.Option(
        "--average-last",
        help="Average the weights that the last K epochs ended with, instead of the best epoch's; 0: do not.",
        rich_help_panel=TRAINING,
    ),
]
AsJson = Annotated[
    bool, typer.Option("--json", help="One JSON document on stdout, everything else on stderr.", rich_help_panel=OUTPUT)
]
Debug = Annotated[bool, typer.Option("--debug", help="Show the trace of an error.", rich_help_panel=OUTPUT)]
AllowMismatch = Annotated[
    bool,
    typer.Option(
        "--allow-backbone-mismatch", help="Use adapters that were trained on other weights.", rich_help_panel=PLACES
    ),
]


StackRefs = Annotated[
    str | None,
    typer.Option(
        "--stack",
        help=f"Frozen adapters to stand on, {REF}, bottom up, separated by commas.",
        rich_help_panel=TRAINING,
    ),
]


@dataclass(frozen=True)
class Places:
    """Values of the shared place flags, as typed."""

    profile: str | None = None
    store: Path | None = None
    data_root: Path | None = None
    cache: Path | None = None
    registry: Path | None = None
    backbone: str | None = None
    device: str = "auto"

    def settings(self) -> "Settings":
        """Resolved settings. Raises what `config.resolve` raises."""
        from adaptx.config import resolve

        return resolve(
            profile=self.profile,
            store=self.store,
            cache=self.cache,
            data_root=self.data_root,
            registry=self.registry,
            backbone=self.backbone,
            device=self.device,
        )


def run_options(
    method: str,
    seed: int,
    limit: int | None,
    epochs: float | None,
    max_steps: int | None,
    batch_tokens: int | None,
    lr: float | None,
    precision: str,
    **rest: Any,
) -> "RunOptions":
    """The training flags as one value. Raises AX070."""
    from adaptx.config import RunOptions

    return RunOptions(method, seed, limit, epochs, max_steps, batch_tokens, lr, precision, **rest)
