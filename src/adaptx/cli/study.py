"""`adaptx study`: plan, run, status, report, export."""

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from adaptx.cli import options as o

if TYPE_CHECKING:
    from adaptx.config import Settings
    from adaptx.study.plan import Plan

app = typer.Typer(
    no_args_is_help=True,
    help="A grid of source languages and intermediate tasks: its runs, statistics and report.",
    epilog="Example: adaptx study run configs/studies/demo.yaml",
)
File = Annotated[Path, typer.Argument(help="Study file, e.g. configs/studies/demo.yaml.")]


class ExecutorName(StrEnum):
    """Where the runs of a study are executed."""

    inprocess = "inprocess"
    pool = "pool"
    ray = "ray"
    slurm = "slurm"


class TrackerName(StrEnum):
    """Where losses and scores are sent beside the store."""

    tensorboard = "tensorboard"
    mlflow = "mlflow"
    trackio = "trackio"


def _resolve(file: Path, places: o.Places) -> "tuple[Plan, Settings]":
    """The expanded study and settings with absolute places, which every process understands."""
    from dataclasses import replace

    from adaptx import backbones
    from adaptx.cli.screen import say
    from adaptx.study import plan

    backbones.quiet()
    settings = places.settings()
    settings = replace(
        settings,
        store=settings.store.resolve(),
        cache=settings.cache.resolve(),
        data_root=settings.data_root.resolve() if settings.data_root else None,
    )
    say(settings.describe())
    return plan.expand(plan.read(file, settings), settings, file.stem), settings


@app.command("plan", epilog="Example: adaptx study plan configs/studies/demo.yaml --measure")
def plan_(
    file: File,
    measure: Annotated[
        bool, typer.Option("--measure", help="Train a few steps of each task to estimate the time by.")
    ] = False,
    hourly_price: Annotated[
        float | None, typer.Option("--hourly-price", min=0, help="Price of a worker's hour, for the cost in money.")
    ] = None,
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
    """Print what a study consists of, what is done already, and how long the rest takes."""
    from adaptx.cli.screen import print_json
    from adaptx.study.forecast import forecast
    from adaptx.units import count, duration

    planned, settings = _resolve(file, o.Places(profile, store, data_root, cache, registry, backbone, device))
    value = forecast(planned, settings, measure)
    stages = {s: sum(x.stage == s for x in planned.steps) for s in ("language", "intermediate", "target")}
    if as_json:
        gaps = [{"what": g.what, "why": g.why} for g in planned.gaps]
        cost = None if value.seconds is None or hourly_price is None else value.seconds / 3600 * hourly_price
        counts = {"steps": stages, "cells": len(planned.cells), "gaps": gaps}
        print_json({"study": planned.id, **counts, **value.as_json(), "cost_left": cost})
        return
    print(f"study {planned.id}: {planned.study.title}")
    print(f"  {len(planned.steps)} runs: " + ", ".join(f"{n} {s} adapters" for s, n in stages.items() if n))
    print(f"  {len(planned.cells)} scores on {', '.join(planned.study.targets)} in {planned.study.language}")
    print(f"  {len(value.done)} runs are in the store, {len(value.left)} are left ({count(value.tokens)} tokens)")
    for gap in planned.gaps:
        print(f"  gap: {gap.what}: {gap.why}")
    if value.left and value.seconds is None:
        print("  no estimate: the store has no finished run to go by; --measure trains a few steps of each task")
    elif value.seconds:
        training, scoring = value.training_seconds or 0.0, value.scoring_seconds or 0.0
        by = "; by" if value.origins else ""
        parts = f"training {duration(training)}, scoring {duration(scoring)}"
        print(f"  about {duration(value.seconds)} on one worker: {parts}{by}")
        for origin in value.origins:
            print(f"    {origin}")
        if hourly_price is not None:
            print(f"  about {value.seconds / 3600 * hourly_price:.2f} at {hourly_price:g} an hour")


@app.command("run", epilog="Example: adaptx study run configs/studies/demo.yaml --executor pool --workers 2")
def run_(
    file: File,
    executor: Annotated[
        ExecutorName,
        typer.Option("--executor", help="inprocess, pool (processes here), ray (a cluster) or slurm (a job a unit)."),
    ] = ExecutorName.inprocess,
    workers: Annotated[int, typer.Option("--workers", min=1, help="Units at a time, for pool, ray and slurm.")] = 2,
    threads: Annotated[
        int | None,
        typer.Option("--threads", min=1, help="CPU threads of every worker; equal numbers give equal results."),
    ] = None,
    ray_address: Annotated[
        str | None, typer.Option("--ray-address", help="Ray cluster to join; without it one is started here.")
    ] = None,
    slurm: Annotated[
        list[str] | None, typer.Option("--slurm", help="KEY=VALUE for sbatch, e.g. slurm_partition=gpu. Repeatable.")
    ] = None,
    track: Annotated[
        TrackerName | None, typer.Option("--track", help="Send losses and scores to tensorboard, mlflow or trackio.")
    ] = None,
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
    """Train and score everything in a study that is not in the store; exit 1 where a part of it failed.

    The same command goes on after any interruption.
    """
    import time

    from adaptx.cli.screen import Reporter, print_json, say
    from adaptx.study import pick
    from adaptx.study.run import run
    from adaptx.units import duration

    began = time.monotonic()
    planned, settings = _resolve(file, o.Places(profile, store, data_root, cache, registry, backbone, device))
    say(f"study {planned.id}: {len(planned.steps)} runs, {len(planned.cells)} scores")
    for gap in planned.gaps:
        say(f"gap: {gap.what}: {gap.why}")
    report = Reporter()

    def tell(event: str, values: dict[str, Any]) -> None:
        if event != "unit":
            return report(event, values) if event != "found" else None
        report.close()
        outcome = values["outcome"]
        if outcome.failed:
            say(f"FAILED {values['unit']}: {outcome.values['error']['message']}")
        elif executor is not ExecutorName.inprocess:
            say(f"{values['done']}/{values['of']} {outcome.event} {values['unit']}")

    tracker = pick.tracker(track, planned, settings)
    made = pick.executor(
        executor,
        planned,
        settings,
        tell,
        workers=workers,
        threads=threads,
        ray_address=ray_address,
        slurm=pick.slurm_options(slurm or []),
    )
    try:
        summary = run(planned, settings, made, tell, tracker)
    finally:
        report.close()
    if as_json:
        print_json({"study": planned.id, **summary.as_json()})
    else:
        print(
            f"study {planned.id}: {summary.trained} runs trained, {summary.found} found, {summary.scored} scores, "
            f"{len(summary.failed)} failed, {len(summary.collapsed)} collapsed, in {duration(time.monotonic() - began)}"
        )
        for name in summary.collapsed:
            print(f"  collapsed: {name}")
        for name, why in summary.causes.items():
            print(f"  failed: {name}: {why}")
        if len(summary.failed) > len(summary.causes):
            print(f"  not run for these failures: {len(summary.failed) - len(summary.causes)} more")
        for path in summary.files:
            print(f"  {path}")
    if summary.failed:
        raise typer.Exit(1)


@app.command("status", epilog="Example: adaptx study status configs/studies/demo.yaml")
def status_(
    file: File,
    profile: o.Profile = None,
    store: o.Store = None,
    data_root: o.DataRoot = None,
    cache: o.Cache = None,
    registry: o.RegistryDir = None,
    backbone: o.BackboneName = None,
    as_json: o.AsJson = False,
    debug: o.Debug = False,
) -> None:
    """Print how far a study has come and what failed; exit 1 where something did."""
    from adaptx.cli.screen import print_json
    from adaptx.study.run import status

    planned, settings = _resolve(file, o.Places(profile, store, data_root, cache, registry, backbone))
    value = status(planned, settings.store)
    if as_json:
        print_json({"study": planned.id, **value.as_json()})
    else:
        print(f"study {planned.id}: {len(value.done)} of {value.steps + value.cells} done")
        for name in value.open:
            print(f"  open: {name}")
        for name in value.collapsed:
            print(f"  collapsed: {name}")
        for name, why in value.failed.items():
            print(f"  failed: {name}: {why}")
    if value.failed:
        raise typer.Exit(1)


@app.command("report", epilog="Example: adaptx study report configs/studies/demo.yaml --out report.html")
def report_(
    file: File,
    out: Annotated[Path | None, typer.Option("--out", help="HTML file (default: beside the results).")] = None,
    profile: o.Profile = None,
    store: o.Store = None,
    data_root: o.DataRoot = None,
    cache: o.Cache = None,
    registry: o.RegistryDir = None,
    backbone: o.BackboneName = None,
    as_json: o.AsJson = False,
    debug: o.Debug = False,
) -> None:
    """Write the report of what a study has so far: one HTML file that works offline."""
    from adaptx import atomic
    from adaptx.cli.screen import print_json
    from adaptx.study.analysis import analyse
    from adaptx.study.export import as_json as values
    from adaptx.study.report import render
    from adaptx.study.results import read

    planned, settings = _resolve(file, o.Places(profile, store, data_root, cache, registry, backbone))
    table = read(planned, settings.store)
    analysis = analyse(planned.id, planned.study, planned.gaps, table, settings.store)
    path = out or planned.folder(settings.store) / "report.html"
    atomic.write_bytes(path, render(analysis).encode())
    if as_json:
        print_json({"report": path.as_posix(), **values(analysis)})
    else:
        print(path)


@app.command("export", epilog="Example: adaptx study export configs/studies/demo.yaml --out results")
def export_(
    file: File,
    out: Annotated[Path | None, typer.Option("--out", help="Folder (default: beside the results).")] = None,
    profile: o.Profile = None,
    store: o.Store = None,
    data_root: o.DataRoot = None,
    cache: o.Cache = None,
    registry: o.RegistryDir = None,
    backbone: o.BackboneName = None,
    as_json: o.AsJson = False,
    debug: o.Debug = False,
) -> None:
    """Write a study's results as CSV, parquet, JSON, a LaTeX table and SVG charts."""
    from adaptx.cli.screen import print_json
    from adaptx.study.analysis import analyse
    from adaptx.study.export import write
    from adaptx.study.results import read

    planned, settings = _resolve(file, o.Places(profile, store, data_root, cache, registry, backbone))
    table = read(planned, settings.store)
    analysis = analyse(planned.id, planned.study, planned.gaps, table, settings.store)
    files = write(analysis, out or planned.folder(settings.store) / "export")
    if as_json:
        print_json({"files": [f.as_posix() for f in files]})
    else:
        for path in files:
            print(path)
