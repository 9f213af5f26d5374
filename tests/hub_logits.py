"""Our logits for one short example of each task kind, to compare with what other tools compute for it."""

import json
from pathlib import Path
from typing import Any

import shop
import toy
from adaptx import backbones
from adaptx.config import Settings
from adaptx.data.examples import ChoiceExample, Example, SpanExample, TextExample, WordsExample
from adaptx.data.tokenize import Text
from adaptx.engine.packing import Packed, pack
from adaptx.scoring import head_of, model_for
from adaptx.stack import Stack
from adaptx.store import Stored
from adaptx.tasks import kind_of

# What the code on cards gives to a tokenizer, as the readers of data would give it.
EXAMPLES: dict[str, Example] = {
    "classification": TextExample("x", "A text.", "A second text, in tasks on pairs.", None),
    "tagging": WordsExample("x", ("Three", "words", "."), None),
    "span_qa": SpanExample("x", "A question?", "A text that holds the answer.", ()),
    "multiple_choice": ChoiceExample("x", "Context and question.", "", ("One of the choices.",), None),
}


def settings(world: toy.World, root: Path, backbone: str) -> Settings:
    """A store of its own, and a registry with a task of every kind."""
    registry, data = toy.write_registry(root / "registry"), toy.write_data(root / "data")
    for name, text in (("toyspan", shop.TOYSPAN), ("toychoice", shop.TOYCHOICE)):
        toy.put(registry / "tasks" / f"{name}.yaml", text)
    toy.put(data / "toyspan.jsonl", f"{json.dumps(shop.SPAN)}\n" * 8)
    toy.put(data / "toychoice.jsonl", f"{json.dumps(shop.CHOICE)}\n" * 8)
    return toy.settings(world, root / "store", backbone, registry=registry, data_root=data)


def ours(settings: Settings, stored: Stored, *below: Stored) -> tuple[Any, Packed]:
    """Logits [S, C] for the example of the adapter's kind, and the batch that holds it alone."""
    import torch

    backbone = backbones.load(backbones.locate(settings))
    task = settings.registry.task(stored.recipe.task)
    labels = stored.manifest.labels.get(task.id, ())
    features = kind_of(task).features([EXAMPLES[task.kind]], Text.of(backbone), labels, task)
    batch = pack(features, torch.arange(1).numpy(), backbone.first_position)
    model = model_for(settings, backbone, Stack((*below, stored)), "fp32", {task.id: head_of(stored, backbone, task)})
    model.train(False)
    with torch.no_grad():
        return model(task.id, batch), batch
