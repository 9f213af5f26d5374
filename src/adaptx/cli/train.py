"""`adaptx train-adapter` and `adaptx train-full`."""

from typing import TYPE_CHECKING, Annotated

import typer

from adaptx.cli import options as o

if TYPE_CHECKING:
    from adaptx.config import RunOptions
    from adaptx.jobs import Job

Lang = Annotated[str, typer.Option("--lang", help="Source language code, e.g. sv.")]
Task = Annotated[str, typer.Option("--task", help="Task id, e.g. anli; see `adaptx ls tasks`.")]


def adapter(
    lang: Lang,
    task: Task,
    method: o.Method = "pfeiffer",
    stack: o.StackRefs = None,
    init_from: Annotated[
        str | None, typer.Option("--init-from", help="Start from this adapter's weights; its head is dropped.")
    ] = None,
    adapter_layers: Annotated[
        str | None,
        typer.Option("--adapter-layers", help="Adapters in these layers alone: 6-11, or upper; those below run once."),
    ] = None,
    no_last_layer: Annotated[
        bool, typer.Option("--no-last-layer", help="No adapter in the last layer (MAD-X 2.0).")
    ] = False,
    temperature: Annotated[
        float, typer.Option("--temperature", help="Mixture of several tasks: 1 proportional to rows, 0 uniform.")
    ] = 1.0,
    seed: o.Seed = 0,
    limit: o.Limit = None,
    epochs: o.Epochs = None,
    max_steps: o.MaxSteps = None,
    batch_tokens: o.BatchTokens = None,
    lr: o.LearningRate = None,
    precision: o.Precision = "auto",
    average_last: o.AverageLast = 0,
    optimiser: o.Optimiser = "adamw",
    gradient_checkpointing: o.Checkpointing = False,
    compile: o.Compile = False,
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
    """Train an adapter on one task in one language, and keep it in the store.

    Several tasks joined by "+" (anli+qqp) share one adapter and have a head each.
    """
    places = o.Places(profile, store, data_root, cache, registry, backbone, device)
    options = o.run_options(
        method,
        seed,
        limit,
        epochs,
        max_steps,
        batch_tokens,
        lr,
        precision,
        average_last=average_last,
        optimiser=optimiser,
        gradient_checkpointing=gradient_checkpointing,
        compile=compile,
        temperature=temperature,
        adapter_layers=adapter_layers,
        no_last_layer=no_last_layer,
    )
    _train(lang, task, places, options, as_json, init_from, stack)


def full(
    lang: Lang,
    task: Task,
    seed: o.Seed = 0,
    limit: o.Limit = None,
    epochs: o.Epochs = None,
    max_steps: o.MaxSteps = None,
    batch_tokens: o.BatchTokens = None,
    lr: o.LearningRate = None,
    precision: o.Precision = "auto",
    average_last: o.AverageLast = 0,
    optimiser: o.Optimiser = "adamw",
    gradient_checkpointing: o.Checkpointing = False,
    compile: o.Compile = False,
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
    """Fine-tune every weight of the backbone: the baseline that adapters are measured against."""
    places = o.Places(profile, store, data_root, cache, registry, backbone, device)
    options = o.run_options(
        "full",
        seed,
        limit,
        epochs,
        max_steps,
        batch_tokens,
        lr,
        precision,
        average_last=average_last,
        optimiser=optimiser,
        gradient_checkpointing=gradient_checkpointing,
        compile=compile,
    )
    _train(lang, task, places, options, as_json)


def _train(
    lang: str,
    task: str,
    places: o.Places,
    options: "RunOptions",
    as_json: bool,
    init_from: str | None = None,
    stack: str | None = None,
) -> None:
    from adaptx import backbones, training
    from adaptx.cli.screen import say
    from adaptx.refs import parse_ref, parse_refs
    from adaptx.stack import Stack
    from adaptx.store import find

    backbones.quiet()
    settings = places.settings()
    say(settings.describe())
    name = backbones.locate(settings).name
    beneath = [find(settings.store, ref, name) for ref in parse_refs(stack)] if stack else []
    origin = find(settings.store, parse_ref(init_from), name) if init_from else None
    train_job(training.prepare(settings, lang, task, options, init_from=origin, stack=Stack(tuple(beneath))), as_json)


def train_job(job: "Job", as_json: bool) -> None:
    """Run a resolved job under the eyes of the user, and print where its result is."""
    from adaptx import training
    from adaptx.cli.screen import Reporter, print_json, say
    from adaptx.engine.parallel import started

    report = Reporter()
    try:
        stored = training.run(job, report)
    finally:
        report.close()
    if not started().first:
        return  # the first of torchrun's processes speaks for all
    for note in stored.manifest.notes:
        say(f"note: {note}")
    if as_json:
        print_json(
            {
                "ref": stored.ref,
                "path": str(stored.folder.resolve()),
                "metrics": stored.manifest.metrics,
                "baseline": stored.manifest.baseline,
                "cost": stored.manifest.cost,
            }
        )
    else:
        print(f"{stored.ref}  {stored.folder}")
