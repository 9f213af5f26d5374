"""`adaptx fuse`."""

from typing import Annotated

import typer

from adaptx.cli import options as o
from adaptx.cli.train import train_job


def fuse(
    refs: Annotated[list[str], typer.Argument(help=f"Two or more bottleneck adapters, {o.REF}.")],
    task: Annotated[str, typer.Option("--task", help="Target task that the fusion is trained on, e.g. udpos.")],
    lang: Annotated[str, typer.Option("--lang", help="Language of its training rows.")] = "en",
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
    """Train an attention over finished adapters on a target task (AdapterFusion), and keep it in the store.

    The adapters stay frozen and are copied into the fusion's folder. Score it with `adaptx eval fi --adapter
    LANG/TASK:fusion`.
    """
    from adaptx import backbones
    from adaptx.cli.screen import say
    from adaptx.fuse import fusion
    from adaptx.refs import parse_ref

    backbones.quiet()
    settings = o.Places(profile, store, data_root, cache, registry, backbone, device).settings()
    say(settings.describe())
    options = o.run_options("fusion", seed, limit, epochs, max_steps, batch_tokens, lr, precision)
    train_job(fusion(settings, [parse_ref(r) for r in refs], lang, task, options), as_json)
