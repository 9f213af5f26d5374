"""A world small enough for unit tests, and what tests do with it: settings, examples, adapters without training.

`build` writes everything into one folder (see `toy_files`). Nothing here imports torch before it is needed, and nothing
knows a test.
"""

import os
import random
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

from adaptx.config import RunOptions, Settings, resolve
from adaptx.data.examples import (
    ChoiceExample,
    DocumentExample,
    Example,
    ParallelExample,
    SpanExample,
    TextExample,
    WordsExample,
)
from adaptx.registry import Task
from adaptx.store import Stored
from toy_files import (
    LABELS,
    MODEL_TYPES,
    TAGS,
    TOYNLI_YAML,
    TOYPOS_YAML,
    WORDS,
    inference,
    put,
    sentence,
    tokenizer,
    write_backbone,
    write_data,
    write_registry,
)

if TYPE_CHECKING:
    import torch

    from adaptx.engine.model import Model
    from adaptx.learner import Learner

__all__ = [
    "LABELS",
    "MODEL_TYPES",
    "OPTIONS",
    "TAGS",
    "TESTS",
    "TOYNLI_YAML",
    "TOYPOS_YAML",
    "WORDS",
    "World",
    "build",
    "examples",
    "inference",
    "instead_of_training",
    "loss_and_gradients",
    "made",
    "perturb",
    "put",
    "python",
    "sentence",
    "settings",
    "silence",
    "task",
    "tensors",
    "tokenizer",
    "write_backbone",
    "write_data",
    "write_registry",
]
TESTS = Path(__file__).resolve().parent
# Small enough for a run in well under a second: 2 epochs of about 6 batches.
OPTIONS = RunOptions(precision="fp32", epochs=2, batch_tokens=128)


@dataclass(frozen=True)
class World:
    """Where `build` put things."""

    root: Path

    @property
    def data(self) -> Path:
        return self.root / "data"

    @property
    def registry(self) -> Path:
        return self.root / "registry"

    def backbone(self, name: str) -> Path:
        """The folder of a backbone: a model type, "other" for a BERT with other weights, or a folder's own path."""
        return self.root / "backbones" / name


def build(root: Path) -> World:
    """Write backbones, data and a registry overlay below `root`."""
    world = World(root)
    for model_type in MODEL_TYPES:
        write_backbone(world.backbone(model_type), model_type)
    write_backbone(world.backbone("other"), "bert", seed=1)
    write_data(world.data)
    write_registry(world.registry)
    return world


def settings(world: World, store: Path, backbone: str = "bert", **changes: Any) -> Settings:
    """Settings that see this world alone: its data, registry and cache, on the CPU; `changes` go to `resolve`."""
    values: dict[str, Any] = {
        "profile": "local",
        "store": store,
        "cache": world.root / "cache",
        "data_root": world.data,
        "registry": world.registry,
        "backbone": str(world.backbone(backbone)),
        "device": "cpu",
    }
    return resolve(**{**values, **changes})


def examples(kind: str) -> tuple[Example, ...]:
    """A dozen examples of a task kind, of very different lengths."""
    rng = random.Random(7)

    def words(n: int) -> list[str]:
        return [w for _ in range(n) for w in sentence(rng, "en")[0]]

    def text(n: int) -> str:
        return " ".join(words(n))

    out: list[Example] = []
    for i in range(12):
        name, length = f"{kind}:{i}", (1, 1, 2, 1, 6, 3)[i % 6]
        if kind == "classification":
            pair = text(1) if i % 3 else None
            out.append(TextExample(name, text(length), pair, LABELS[i % 3]))
        elif kind == "tagging":
            found = tuple(words(length))
            out.append(WordsExample(name, found, tuple(TAGS[len(w) % 4] for w in found)))
        elif kind == "span_qa":
            context = text(length)
            answer = context.split()[1]
            answers = ((answer, context.index(answer)),) if i % 4 else ()
            out.append(SpanExample(name, text(1), context, answers))
        elif kind == "multiple_choice":
            out.append(ChoiceExample(name, text(length), text(1), tuple(text(1) for _ in range(2 + i % 3)), i % 2))
        elif kind == "retrieval":
            out.append(ParallelExample(name, text(length), text(length)))
        else:
            out.append(DocumentExample(name, text(length + 2)))
    return tuple(out)


def task(kind: str) -> Task:
    """A task of a kind, without sources."""
    labels = {"classification": LABELS, "tagging": TAGS}.get(kind)
    value = {"id": f"toy_{kind}", "kind": kind, "title": kind, "roles": ["intermediate"], "labels": labels}
    return Task.model_validate({**value, "metrics": ["accuracy"], "sources": []})


Edit = Callable[["Model"], None]


def perturb(model: "Model", scale: float = 0.1, seed: int = 0) -> None:
    """Add noise to every trainable weight: fresh adapters start at or near zero and would test nothing."""
    import torch

    from adaptx.methods import trainable

    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for module in (model.encoder, model.heads):
            for parameter in trainable(module).values():
                parameter.add_(torch.randn(parameter.shape, generator=generator) * scale)


def silence(model: "Model") -> None:
    """Make an adapter add nothing: a bottleneck projects up with zeros; the others start from doing nothing."""
    import torch

    from adaptx.methods import trainable

    with torch.no_grad():
        for name, parameter in trainable(model.encoder).items():
            if "adapter_up" in name:
                parameter.zero_()


@contextmanager
def instead_of_training(edit: Edit = perturb) -> Iterator[None]:
    """Within the block a training run applies `edit` to the model and counts as one step."""
    from adaptx.engine.loop import Progress

    def train(model: "Model", *_: object) -> Progress:
        edit(model)
        return Progress(step=1, batch=1, tokens=1, train_seconds=1.0)

    with patch("adaptx.engine.loop.train", train):
        yield


def made(
    chosen: Settings,
    method: str,
    lang: str = "en",
    name: str = "toynli",
    edit: Edit = perturb,
    *,
    seed: int = 0,
    precision: str = "fp32",
    **origin: Any,
) -> Stored:
    """A finished adapter in the store with weights that `edit` gave instead of training; `origin` goes to `prepare`."""
    from adaptx.training import prepare, run

    options = RunOptions(method=method, precision=precision, seed=seed, max_steps=1)
    with instead_of_training(edit):
        return run(prepare(chosen, lang, name, options, **origin))


def tensors(folder: Path) -> dict[str, Any]:
    """Every tensor in the safetensors files below `folder`, by file and name."""
    from safetensors.torch import load_file

    return {
        f"{path.relative_to(folder).as_posix()}:{name}": value
        for path in sorted(folder.rglob("*.safetensors"))
        for name, value in load_file(path).items()
    }


def python(code: str, *arguments: object, **environment: str) -> str:
    """stdout of `code` in a fresh interpreter that sees adaptx and this folder; its stderr is shown where it fails."""
    paths = [str(TESTS.parent / "src"), str(TESTS)]
    env = {k: v for k, v in os.environ.items() if not k.startswith("ADAPTX_") and k != "NO_COLOR"}
    env |= {"PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}
    command: Sequence[str] = [sys.executable, "-c", code, *map(str, arguments)]
    done = subprocess.run(command, env={**env, **environment}, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, f"exit {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def loss_and_gradients(learner: "Learner") -> tuple[float, "torch.Tensor"]:
    """Of the first batch, where the learner's model is; gradients of encoder and heads in one row."""
    import torch

    from adaptx.engine.loop import parameters
    from adaptx.engine.packing import pack

    model, [work, *_] = learner.model, learner.plan(0)
    batch = pack(work.features, work.rows, model.first_position, model.buckets).to(model.device)
    loss = learner.loss(work.task, batch)
    loss.backward()  # type: ignore[no-untyped-call]
    return loss.item(), torch.cat([p.grad.flatten() for p in parameters(model).values() if p.grad is not None])
