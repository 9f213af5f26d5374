"""`adaptx bench`: cost, accuracy, report."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from adaptx.cli import options as o

if TYPE_CHECKING:
    from adaptx.bench.plan import Block
    from adaptx.config import Settings

app = typer.Typer(
    no_args_is_help=True,
    help="What each method buys, and for how much: measured here, each measurement in a process of its own.",
    epilog="Example: adaptx bench cost --methods full,pfeiffer,lora --max-steps 10",
)
NOT_KEPT = {"failed": "FAILED", "impossible": "not possible here:", "disturbed": "disturbed, not kept:"}
PLAN = "What is measured"
Methods = Annotated[
    str | None,
    typer.Option(
        "--methods",
        help="METHOD[+8bit|ckpt|padded|upper|int8|compile], by commas, or all.",
        rich_help_panel=PLAN,
    ),
]
Tasks = Annotated[str | None, typer.Option("--tasks", help="Task ids, separated by commas.", rich_help_panel=PLAN)]
Lang = Annotated[str | None, typer.Option("--lang", help="Language of the training data.", rich_help_panel=PLAN)]
Precisions = Annotated[
    str | None,
    typer.Option(
        "--precision", envvar="ADAPTX_PRECISION", help="auto, fp32, bf16, int8 or several.", rich_help_panel=PLAN
    ),
]
BatchTokens = Annotated[
    str | None,
    typer.Option(
        "--batch-tokens", envvar="ADAPTX_BATCH_TOKENS", help="Tokens a batch, or several.", rich_help_panel=PLAN
    ),
]
Rows = Annotated[int | None, typer.Option("--limit", min=1, help="Training examples.", rich_help_panel=PLAN)]
Minutes = Annotated[
    float | None, typer.Option("--minutes", help="Start nothing new after so many.", rich_help_panel=PLAN)
]
Share = Annotated[
    float,
    typer.Option(
        "--min-share", min=0.0, max=1.0, help="Keep nothing that had less of the processor.", rich_help_panel=PLAN
    ),
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Print what would be measured.", rich_help_panel=PLAN)]
Out = Annotated[
    Path | None,
    typer.Option("--out", help="Folder of results (default: UNDER/DAY-MACHINE).", rich_help_panel=o.OUTPUT),
]
Under = Annotated[
    Path | None,
    typer.Option("--under", help="Where that folder is made (default: STORE/bench).", rich_help_panel=o.OUTPUT),
]
Report = Annotated[
    bool, typer.Option("--report", help="Write report.html and report.md beside the results.", rich_help_panel=o.OUTPUT)
]


@app.command("cost", epilog="Example: adaptx bench cost --methods full,pfeiffer,lora --max-steps 10 --repeats 3")
def cost(
    suite: Annotated[
        str | None,
        typer.Option(
            "--suite", help="cpu, gpu or a YAML file; the flags below change all of it.", rich_help_panel=PLAN
        ),
    ] = None,
    methods: Methods = None,
    tasks: Tasks = None,
    lang: Lang = None,
    layouts: Annotated[
        str | None, typer.Option("--layouts", help="packed, padded or both.", rich_help_panel=PLAN)
    ] = None,
    precision: Precisions = None,
    batch_tokens: BatchTokens = None,
    shapes: Annotated[
        str | None,
        typer.Option("--shapes", help="Random weights of these sizes, e.g. xlm-roberta-large.", rich_help_panel=PLAN),
    ] = None,
    lengths: Annotated[
        str | None, typer.Option("--lengths", help="With shapes: nli, or tokens a sequence.", rich_help_panel=PLAN)
    ] = None,
    limit: Rows = None,
    max_steps: Annotated[
        int | None, typer.Option("--max-steps", min=1, help="Measured steps a process.", rich_help_panel=PLAN)
    ] = None,
    warm_up: Annotated[
        int | None, typer.Option("--warm-up", min=0, help="Steps before the measured ones.", rich_help_panel=PLAN)
    ] = None,
    repeats: Annotated[
        int | None,
        typer.Option("--repeats", min=1, help="Processes a measurement, interleaved.", rich_help_panel=PLAN),
    ] = None,
    minutes: Minutes = None,
    min_share: Share = 0.0,
    dry_run: DryRun = False,
    out: Out = None,
    under: Under = None,
    report: Report = False,
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
    from adaptx.bench import plan

    settings = o.Places(profile, store, data_root, cache, registry, backbone, device).settings()
    sizes = _listed(shapes)
    blocks = plan.suite(suite, settings).blocks if suite else (plan.Block(shapes=tuple(sizes or ())),)
    flags: dict[str, Any] = {
        "methods": _methods(methods),
        "tasks": _listed(tasks),
        "lang": lang,
        "layouts": _listed(layouts),
        "precision": _listed(precision),
        "batch_tokens": _numbers(batch_tokens, "--batch-tokens"),
        "shapes": sizes,
        "lengths": _listed(lengths),
        "limit": limit,
        "steps": max_steps,
        "warm_up": warm_up,
        "repeats": repeats,
    }
    places = Results(out, under, report, as_json)
    _carry_out(plan.changed(blocks, **flags), settings, places, Bounds(minutes, min_share), dry_run)


@app.command("accuracy", epilog="Example: adaptx bench accuracy --methods full,pfeiffer,lora --seeds 0,1,2")
def accuracy(
    suite: Annotated[
        str, typer.Option("--suite", help="A suite or a YAML file; flags change all of it.", rich_help_panel=PLAN)
    ] = "accuracy",
    methods: Methods = None,
    tasks: Tasks = None,
    lang: Lang = None,
    target: Annotated[
        str | None, typer.Option("--target", help="Language that is scored.", rich_help_panel=PLAN)
    ] = None,
    seeds: Annotated[str | None, typer.Option("--seeds", help="Numbers, three at least.", rich_help_panel=PLAN)] = None,
    precision: Precisions = None,
    batch_tokens: BatchTokens = None,
    limit: Rows = None,
    epochs: Annotated[
        float | None, typer.Option("--epochs", help="Passes over the training data.", rich_help_panel=PLAN)
    ] = None,
    minutes: Minutes = None,
    min_share: Share = 0.0,
    dry_run: DryRun = False,
    out: Out = None,
    under: Under = None,
    report: Report = False,
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
    """Train every method to the end with several seeds and score it in the target language.

    Runs are kept in the store and found again, by this command and by every other.
    """
    from adaptx.bench import plan
    from adaptx.errors import AdaptxError

    settings = o.Places(profile, store, data_root, cache, registry, backbone, device).settings()
    numbers = _numbers(seeds, "--seeds")
    if numbers is not None and len(set(numbers)) < 3:
        raise AdaptxError("AX070", f"--seeds {seeds}", "a spread needs three seeds at least.")
    wanted = _listed(tasks)
    blocks = [b for b in plan.suite(suite, settings).blocks if b.what == "accuracy"]
    if wanted is not None:
        blocks = [
            b.model_copy(update={"tasks": (t,)})
            for t in wanted
            for b in [next((b for b in blocks if t in b.tasks), blocks[0])]
        ]
    flags: dict[str, Any] = {
        "methods": _methods(methods),
        "lang": lang,
        "target_lang": target,
        "seeds": numbers,
        "precision": _listed(precision),
        "batch_tokens": _numbers(batch_tokens, "--batch-tokens"),
        "limit": limit,
        "epochs": epochs,
    }
    places = Results(out, under, report, as_json)
    _carry_out(plan.changed(blocks, **flags), settings, places, Bounds(minutes, min_share), dry_run)


@app.command("report", epilog="Example: adaptx bench report benchmarks/results/2026-11-25-amd-epyc-2c")
def report(
    folders: Annotated[list[Path], typer.Argument(help="Folders of results; one report over all of them.")],
    out: Annotated[
        Path | None, typer.Option("--out", help="Folder of report.html and report.md (default: the first).")
    ] = None,
    registry: o.RegistryDir = None,
    as_json: o.AsJson = False,
    debug: o.Debug = False,
) -> None:
    """Write the report of measured results: one HTML file that works offline, and the same as Markdown.

    Results that do not say where they come from are refused.
    """
    from adaptx.bench import pages, prices, report, results
    from adaptx.cli.screen import print_json

    value = report.analyse(results.read_all(folders), prices.load(registry))
    files = pages.write(value, out or folders[0])
    if as_json:
        print_json({"files": [f.as_posix() for f in files], **report.as_json(value)})
    else:
        print("\n".join(map(str, files)))


def _listed(text: str | None) -> list[str] | None:
    """The parts of a comma-separated value; None without one."""
    return None if text is None else [part.strip() for part in text.split(",") if part.strip()]


def _methods(text: str | None) -> list[str] | None:
    from adaptx.bench.spec import COMPARED

    return list(COMPARED) if text == "all" else _listed(text)


def _numbers(text: str | None, option: str) -> list[int] | None:
    """The numbers of a comma-separated value. Raises AX070."""
    from adaptx.errors import AdaptxError

    try:
        return None if text is None else [int(part) for part in _listed(text) or ()]
    except ValueError:
        raise AdaptxError("AX070", f"{option} {text}", "expected numbers, separated by commas.") from None


@dataclass(frozen=True)
class Bounds:
    """When nothing new is started, and how much of the processor a measurement must have had, as typed."""

    minutes: float | None
    share: float


@dataclass(frozen=True)
class Results:
    """Where results go and how they are shown, as typed."""

    out: Path | None
    under: Path | None
    report: bool
    as_json: bool

    def folder(self, settings: "Settings") -> Path:
        """The folder of results."""
        from adaptx import backbones
        from adaptx.bench import results

        if self.out is not None:
            return self.out
        name = results.folder_name(backbones.pick_device(settings.device))
        return (self.under or settings.store / "bench") / name


def _carry_out(blocks: "list[Block]", settings: "Settings", places: Results, bounds: Bounds, dry_run: bool) -> None:
    """Run a plan and print what it gave; exit 1 where a measurement failed."""
    import time

    from adaptx import backbones
    from adaptx.bench import harness, plan
    from adaptx.bench.places import Places
    from adaptx.cli.screen import print_json, say

    deadline = None if bounds.minutes is None else time.monotonic() + 60 * bounds.minutes
    backbones.quiet()
    folder = places.folder(settings)
    specs, notes = plan.expand(blocks, settings)
    for note in notes:
        say(f"note: {note}")
    if dry_run:
        names = [s.name for s in specs]
        print_json({"folder": folder.as_posix(), "runs": names}) if places.as_json else print("\n".join(names))
        return
    say(f"{settings.describe()} · {len(specs)} measurements into {folder}")
    outcome = harness.run(specs, Places.of(settings), folder, _tell, deadline, share=bounds.share)
    _print(outcome, folder, settings, places)
    if outcome.failed:
        raise typer.Exit(1)


def _tell(event: str, values: dict[str, Any]) -> None:
    from adaptx.cli.screen import say

    spec = values["spec"]
    if event == "start":
        say(f"{values['number']}/{values['of']} {spec.name}")
    elif event in NOT_KEPT:
        say(f"{NOT_KEPT[event]} {spec.name}: {values['message']}")


def _print(outcome: Any, folder: Path, settings: "Settings", places: Results) -> None:
    """Tables of what a plan gave, or everything as one document."""
    from adaptx.bench import pages, prices, report, results, tables
    from adaptx.cli.screen import print_json, say

    table = prices.load(settings.registry.overlay)
    value = report.analyse(outcome.records, table)
    if places.report and outcome.records:
        for path in pages.write(report.analyse(results.read_all([folder]), table), folder)[:2]:
            say(str(path))
    if places.as_json:
        left = [s.name for s in outcome.left]
        print_json({"runs": outcome.records, **report.as_json(value), "failed": outcome.failed,
                    "impossible": outcome.impossible, "left": left,
                    "folder": folder.as_posix()})  # fmt: skip
        return
    for title, columns, rows in report.tables_of(value):
        print(f"{title}\n{tables.plain(columns, rows)}\n")
    print(folder)
    if outcome.left:
        say(f"{len(outcome.left)} measurements are left; the same command goes on with them")
