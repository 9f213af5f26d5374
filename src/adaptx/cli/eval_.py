"""`adaptx eval`."""

from pathlib import Path
from typing import Annotated

import typer

from adaptx.cli import options as o


def evaluate(
    lang: Annotated[str, typer.Argument(help="Language to score on, e.g. fi.")],
    adapter: Annotated[
        list[str] | None,
        typer.Option("--adapter", help=f"Only these adapters, {o.REF}; may be given several times."),
    ] = None,
    tasks: Annotated[str | None, typer.Option("--tasks", help="Only these tasks, separated by commas.")] = None,
    stack: o.StackRefs = None,
    ablate: Annotated[
        bool,
        typer.Option(
            "--ablate", help="Three rows each: on the language's adapter, on none, on the source language's one."
        ),
    ] = False,
    no_train: Annotated[bool, typer.Option("--no-train", help="Score what the store has, train nothing.")] = False,
    method: o.Method = "pfeiffer",
    seed: o.Seed = 0,
    limit: o.Limit = None,
    epochs: o.Epochs = None,
    max_steps: o.MaxSteps = None,
    batch_tokens: o.BatchTokens = None,
    lr: o.LearningRate = None,
    precision: o.Precision = "auto",
    profile: o.Profile = None,
    store: o.Store = None,
    data_root: o.DataRoot = None,
    cache: o.Cache = None,
    registry: o.RegistryDir = None,
    backbone: o.BackboneName = None,
    device: o.Device = "auto",
    allow_mismatch: o.AllowMismatch = False,
    export_xtreme: Annotated[
        Path | None,
        typer.Option(
            "--export-xtreme",
            metavar="DIR",
            help="Also write what XTREME's evaluate.py scores: DIR/labels and DIR/predictions (several rows: "
            "DIR/ROW/predictions). Other languages and tasks in DIR stay.",
            rich_help_panel=o.OUTPUT,
        ),
    ] = None,
    as_json: o.AsJson = False,
    debug: o.Debug = False,
) -> None:
    """Score every intermediate adapter zero-shot on a language, training missing English target adapters first.

    One table: rows are no intermediate task and each intermediate adapter; columns are tasks, with 95 % bootstrap
    intervals over test items and differences to no intermediate task.
    """
    from adaptx import backbones, table
    from adaptx import export_xtreme as xtreme
    from adaptx.cli.result import print_table
    from adaptx.cli.screen import Reporter, print_json, say
    from adaptx.refs import parse_ref, parse_refs
    from adaptx.units import duration

    backbones.quiet()
    settings = o.Places(profile, store, data_root, cache, registry, backbone, device).settings()
    say(settings.describe())
    if export_xtreme:
        xtreme.check_target(export_xtreme)
    options = o.run_options(method, seed, limit, epochs, max_steps, batch_tokens, lr, precision)
    names = [t.strip() for t in tasks.split(",")] if tasks else None
    if stack:
        planned = table.stacked(settings, lang, parse_refs(stack), names)
    else:
        chosen = [parse_ref(a) for a in adapter or []]
        planned = table.plan(
            settings, lang, options, tasks=names, adapters=chosen, may_train=not no_train, ablate=ablate
        )
    if planned.jobs:
        seconds = table.estimate(settings, list(planned.jobs.values()))
        about = f"about {duration(seconds)}" if seconds is not None else "no finished run to estimate the time by yet"
        say(f"{len(planned.jobs)} English target adapters to train first ({about}); --no-train leaves them out:")
        for job in planned.jobs.values():
            origin = job.init_from.ref if job.init_from else "the bare backbone"
            say(f"  {job.recipe.ref} from {origin}")
    report = Reporter()
    try:
        result = table.run(settings, lang, options, planned, report, allow_mismatch)
    finally:
        report.close()
    for predictions in xtreme.write(settings, result, export_xtreme) if export_xtreme else ():
        say(f"exported: evaluate.py --prediction_folder {predictions} --label_folder {export_xtreme}/labels")
    if export_xtreme:
        say("XTREME's evaluate.py wants every language of a task side by side; its evaluate_one_task scores one file.")
    if as_json:
        print_json(result.as_json())
    else:
        print_table(result)
