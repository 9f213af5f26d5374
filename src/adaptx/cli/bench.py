"""`adaptx bench`: cost, accuracy, report."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from adaptx.cli import options as o

if TYPE_CHECKING:
    from adaptx.bench.harness import Outcome
    from adaptx.bench.spec import Spec

app = typer.Typer(
    no_args_is_help=True,
    help="What each method buys, and for how much: measured here, each measurement in a process of its own.",
    epilog="Example: adaptx bench cost --methods full,pfeiffer,lora --max-steps 10",
)
PLAN = "What is measured"
Out = Annotated[
    Path | None,
    typer.Option("--out", help="Folder of results (default: STORE/bench/DAY-MACHINE).", rich_help_panel=o.OUTPUT),
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Print what would be measured.", rich_help_panel=PLAN)]
Repeats = Annotated[
    int, typer.Option("--repeats", min=1, help="Processes a measurement, interleaved.", rich_help_panel=PLAN)
]


def _listed(text: str) -> list[str]:
    """The parts of a comma-separated value."""
    return [part.strip() for part in text.split(",") if part.strip()]


def _numbers(text: str | None, option: str) -> list[int | None]:
    """The numbers of a comma-separated value; one None without a value. Raises AX070."""
    from adaptx.errors import AdaptxError

    if text is None:
        return [None]
    try:
        return [int(part) for part in _listed(text)]
    except ValueError:
        raise AdaptxError("AX070", f"{option} {text}", "expected numbers, separated by commas.") from None


@app.command("cost", epilog="Example: adaptx bench cost --methods full,pfeiffer,lora --max-steps 10 --repeats 3")
def cost(
    methods: Annotated[
        str,
        typer.Option("--methods", help="METHOD[+8bit][+padded], separated by commas, or all.", rich_help_panel=PLAN),
    ] = "all",
    tasks: Annotated[
        str, typer.Option("--tasks", help="Task ids, separated by commas.", rich_help_panel=PLAN)
    ] = "udpos",
    lang: Annotated[str, typer.Option("--lang", help="Language of the training data.", rich_help_panel=PLAN)] = "en",
    layouts: Annotated[str, typer.Option("--layouts", help="packed, padded or both.", rich_help_panel=PLAN)] = "packed",
    precisions: Annotated[
        str,
        typer.Option(
            "--precision", envvar="ADAPTX_PRECISION", help="auto, fp32, bf16, or several.", rich_help_panel=PLAN
        ),
    ] = "auto",
    batch_tokens: Annotated[
        str | None,
        typer.Option(
            "--batch-tokens", envvar="ADAPTX_BATCH_TOKENS", help="Tokens a batch, or several.", rich_help_panel=PLAN
        ),
    ] = None,
    limit: Annotated[int, typer.Option("--limit", min=1, help="Training examples.", rich_help_panel=PLAN)] = 2000,
    max_steps: Annotated[
        int, typer.Option("--max-steps", min=1, help="Measured steps a process.", rich_help_panel=PLAN)
    ] = 10,
    warm_up: Annotated[
        int, typer.Option("--warm-up", min=0, help="Steps before the measured ones.", rich_help_panel=PLAN)
    ] = 2,
    repeats: Repeats = 3,
    dry_run: DryRun = False,
    out: Out = None,
    profile: o.Profile = None,
    store: o.Store = None,
    data_root: o.DataRoot = None,
    cache: o.Cache = None,
    registry: o.RegistryDir = None,
    backbone: o.BackboneName = None,
    device: o.Device = "auto",
    as_json: o.AsJson = False,
    debug: o.Debug = False,
) -> None:
    """Measure what optimiser steps cost with each method: time, memory, energy, operations, parameters, price.

    The same command goes on where it was interrupted: what lies in the folder of results is not measured again.
    """
    from adaptx import backbones
    from adaptx.bench import plan
    from adaptx.bench.harness import repeated
    from adaptx.bench.spec import COMPARED

    backbones.quiet()
    settings = o.Places(profile, store, data_root, cache, registry, backbone, device).settings()
    ask = plan.Ask(
        methods=COMPARED if methods == "all" else _listed(methods),
        tasks=_listed(tasks),
        lang=lang,
        layouts=_listed(layouts),
        precisions=_listed(precisions),
        batch_tokens=_numbers(batch_tokens, "--batch-tokens"),
        limit=limit,
        steps=max_steps,
        warm_up=warm_up,
    )
    specs = repeated(plan.cost(ask, settings), repeats)
    _carry_out(specs, settings, out, dry_run, as_json)


def _carry_out(specs: "list[Spec]", settings: Any, out: Path | None, dry_run: bool, as_json: bool) -> None:
    """Run a plan and print what it gave; exit 1 where a measurement failed."""
    from adaptx import backbones
    from adaptx.bench import harness, results
    from adaptx.bench.places import Places
    from adaptx.cli.screen import print_json, say

    folder = out or settings.store / "bench" / results.folder_name(backbones.pick_device(settings.device))
    if dry_run:
        names = [s.name for s in specs]
        print_json({"folder": folder.as_posix(), "runs": names}) if as_json else print("\n".join(names))
        return
    say(f"{settings.describe()} · {len(specs)} measurements into {folder}")
    outcome = harness.run(specs, Places.of(settings), folder, _tell)
    _print(outcome, folder, settings, as_json)
    if outcome.failed:
        raise typer.Exit(1)


def _tell(event: str, values: dict[str, Any]) -> None:
    from adaptx.cli.screen import say

    spec = values["spec"]
    if event == "start":
        say(f"{values['number']}/{values['of']} {spec.name}")
    elif event == "failed":
        say(f"FAILED {spec.name}: {values['message']}")


def _print(outcome: "Outcome", folder: Path, settings: Any, as_json: bool) -> None:
    from adaptx.bench import prices, summary
    from adaptx.cli.screen import print_json

    table = prices.load(settings.registry.overlay)
    rows = [summary.cost_row(g, table) for g in summary.groups(outcome.records, "steps")]
    if as_json:
        value = {"runs": outcome.records, "table": rows, "failed": outcome.failed, "folder": folder.as_posix()}
        print_json({**value, "left": [s.name for s in outcome.left]})
        return
    from adaptx.bench.tables import COST, plain

    print(plain(COST, rows))
    print(folder)
