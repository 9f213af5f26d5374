"""AdapterFusion of finished adapters: which may be fused, and the run that trains the attention over them.

Pfeiffer et al. 2021: first every adapter learns its task, then a fusion learns on the target task whom to ask. Knows no
library; `methods.fusion` does.
"""

from collections.abc import Sequence
from dataclasses import replace

from adaptx import backbones, store
from adaptx.config import RunOptions, Settings
from adaptx.errors import AdaptxError
from adaptx.jobs import Job, prepare
from adaptx.refs import Ref
from adaptx.registry import FUSION
from adaptx.stack import check_backbone
from adaptx.store import Stored

SHAPES = ("seq_bn", "double_seq_bn")  # one or two bottlenecks after the layer's blocks, not beside them


def fusion(settings: Settings, refs: Sequence[Ref], lang: str, task: str, options: RunOptions) -> Job:
    """The run that trains a fusion of `refs` on a target task's rows in `lang`; `training.run` executes it.

    Raises AX006, AX022, AX051 for adapters that cannot be fused or a task that is no target, and what `prepare` raises.
    """
    name = backbones.locate(settings).name
    members = tuple(store.find(settings.store, ref, name) for ref in refs)
    _check(settings, members)
    for part in task.split("+"):
        if settings.registry.task(part).roles[0] != "target":
            raise AdaptxError("AX051", part, "fusions are trained on target tasks.")
    job = prepare(settings, lang, task, replace(options, method=FUSION.family), fused=members)
    terms = dict.fromkeys((*job.recipe.data, *(d for s in members for d in s.recipe.data)))  # the copies' licences bind
    return replace(job, recipe=job.recipe.model_copy(update={"data": tuple(terms)}))


def _check(settings: Settings, members: Sequence[Stored]) -> None:
    if len({s.manifest.run for s in members}) < 2 or len({s.manifest.run for s in members}) < len(members):
        raise AdaptxError(
            "AX051", ", ".join(s.ref for s in members), "a fusion attends to two or more different adapters."
        )
    files = backbones.locate(settings)
    for stored in members:
        check_backbone(stored, files)
        if stored.recipe.hyper.get("config") not in SHAPES or stored.recipe.family != "bottleneck":
            raise AdaptxError("AX051", stored.ref, f"fused are bottlenecks of the shapes {' and '.join(SHAPES)}.")
        if stored.recipe.hyper["config"] != members[0].recipe.hyper["config"]:
            raise AdaptxError("AX051", f"{members[0].ref} and {stored.ref}", "their bottlenecks stand in other places.")
        if stored.recipe.parent("stack"):
            raise AdaptxError("AX051", stored.ref, "it stands on a language adapter, which a fusion does not have.")
