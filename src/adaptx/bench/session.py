"""A learner opened with a clock on every phase and a reading of memory before and after. Trains nothing."""

from dataclasses import dataclass
from importlib import import_module
from typing import Any

import torch

from adaptx import backbones, methods
from adaptx import learner as learners
from adaptx.bench import workload
from adaptx.bench.spec import Spec
from adaptx.config import Settings
from adaptx.engine.loop import LoopOptions
from adaptx.errors import AdaptxError
from adaptx.jobs import Job
from adaptx.learner import Learner
from adaptx.resident import resident
from adaptx.training import Clock, count

LIBRARIES = (
    "transformers.models.bert.modeling_bert",
    "transformers.models.roberta.modeling_roberta",
    "transformers.models.xlm_roberta.modeling_xlm_roberta",
    "tokenizers",
    "safetensors.torch",
)
# What the libraries themselves import late, on the first adapter.
LATE = {"bottleneck": ("adapters.wrappers",), "lora": ("peft.tuners.lora", "bitsandbytes")}


@dataclass
class Session:
    """What a measurement works on. `baseline`: resident bytes of the interpreter and its libraries alone."""

    spec: Spec
    job: Job
    learner: Learner
    clock: Clock
    baseline: int

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        return self.learner.model.device

    @property
    def packed(self) -> bool:
        """Whether batches have no padding."""
        return self.learner.model.packable

    def parameters(self) -> dict[str, int]:
        """Numbers of weights: trained in encoder and head, and in all."""
        model = self.learner.model
        return {
            "trainable": count(methods.trainable(model.encoder)),
            "head": count(dict(model.heads.named_parameters())),
            "total": count(dict(model.encoder.named_parameters())),
            "body": body(model.encoder.config),
        }


def body(config: Any) -> int:
    """Weights of the encoder's layers, embeddings and adapters apart: what the cost of a token grows with.

    4 H^2 + 2 H F in linears, 9 H + F in their biases and the two LayerNorms (Devlin et al. 2019).
    """
    h, f = int(config.hidden_size), int(config.intermediate_size)
    return int(config.num_hidden_layers) * (4 * h * h + 2 * h * f + 9 * h + f)


def open_session(settings: Settings, spec: Spec) -> Session:
    """Read, load, tokenise and attach. Raises AX051 where the method has no packed form or no such optimiser."""
    import_libraries(settings, spec)
    clock, baseline = Clock(), resident()[0]
    with clock("read"):
        job = workload.job_of(settings, spec)
    if spec.layout == "packed" and not job.method.packable:
        raise AdaptxError("AX051", spec.label, "this method has no packed form.", f"Measure {spec.method}+padded.")
    with clock("load"):
        backbone = backbones.load(job.files)
    timed = workload.TimedTokenizer(backbone.tokenizer)
    backbone.tokenizer = timed
    try:
        with clock("attach"):
            learner = learners.build(job, keep=False)  # tokenising is a phase of its own
    finally:
        backbone.tokenizer = timed.inner
    clock.seconds["tokenise"] = timed.seconds
    clock.seconds["attach"] -= timed.seconds
    learner.model.packable = spec.layout == "packed"
    return Session(spec, job, learner, clock, baseline)


def import_libraries(settings: Settings, spec: Spec) -> None:
    """Load what the measurement will need, so that the baseline has it and no phase pays for it."""
    method = settings.registry.method(spec.method)
    for name in (*LIBRARIES, *LATE.get(method.family, ())):
        import_module(name)
    methods.family(method)


def origin(job: Job) -> dict[str, Any]:
    """Of what a record was made: backbone, data, and the recipe that names every setting."""
    recipe = job.recipe.model_dump(mode="json")
    return {"backbone": recipe["backbone"], "data": recipe["data"], "recipe": recipe, "run": job.recipe.run_id}


def loop_options(job: Job, **changes: Any) -> LoopOptions:
    """The training loop's options as a training run of the job would have them, with `changes`."""
    o = job.recipe.optimiser
    values: dict[str, Any] = {
        "epochs": o.epochs,
        "batch_tokens": o.batch_tokens,
        "lr": o.lr,
        "seed": job.recipe.seed,
        "max_steps": o.max_steps,
        "warmup": o.warmup,
        "weight_decay": o.weight_decay,
        "clip": o.clip,
        "optimiser": o.name,
    }
    return LoopOptions(**{**values, **changes})
