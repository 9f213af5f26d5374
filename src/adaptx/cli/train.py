"""`adaptx train-adapter` and `adaptx train-full`."""

from typing import TYPE_CHECKING, Annotated

import typer

from adaptx.cli import options as o

if TYPE_CHECKING:
    from adaptx.config import RunOptions

Lang = Annotated[str, typer.Option("--lang", help="Source language code, e.g. sv.")]
Task = Annotated[str, typer.Option("--task", help="Task id, e.g. anli; see `adaptx ls tasks`.")]


def adapter(
    lang: Lang,
    task: Task,
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
    as_json: o.AsJson = False,
    debug: o.Debug = False,
) -> None:
    """Train an adapter on one task in one language, and keep it in the store."""
    places = o.Places(profile, store, data_root, cache, registry, backbone, device)
    _train(
        lang, task, places, o.run_options(method, seed, limit, epochs, max_steps, batch_tokens, lr, precision), as_json
    )


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
    _train(
        lang, task, places, o.run_options("full", seed, limit, epochs, max_steps, batch_tokens, lr, precision), as_json
    )


def _train(lang: str, task: str, places: o.Places, options: "RunOptions", as_json: bool) -> None:
    from adaptx import backbones, train
    from adaptx.cli.screen import Reporter, print_json, say

    backbones.quiet()
    settings = places.settings()
    say(settings.describe())
    job = train.prepare(settings, lang, task, options)
    report = Reporter()
    try:
        stored = train.run(job, report)
    finally:
        report.close()
    for note in stored.manifest.notes:
        say(f"note: {note}")
    if as_json:
        print_json(
            {
                "ref": stored.ref,
                "path": str(stored.folder.resolve()),
                "metrics": stored.manifest.metrics,
                "cost": stored.manifest.cost,
            }
        )
    else:
        print(f"{stored.ref}  {stored.folder}")
