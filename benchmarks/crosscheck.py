"""Is our clock right? A plain transformers Trainer measures itself, and our harness measures the same configuration.

    python benchmarks/crosscheck.py --data-root data --out benchmarks/results

Both train every weight of the bundled backbone on the same examples in the same batches: 16 in a row, padded to the
longest, fp32, AdamW, dropout 0.1, gradients clipped at 1. The Trainer's figure is its own `train_samples_per_second`,
ours is the harness's clock around our loop. Each side runs in processes of its own, in turns; the medians must agree to
10 %.
"""

import argparse
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

BATCH, WITHIN = 16, 0.10


def features(data_root: str | None, steps: int) -> tuple[Path, Any]:
    """The backbone's folder and NLI examples for so many steps, tokenised once for both sides."""
    from adaptx import backbones
    from adaptx.config import resolve
    from adaptx.data import sources
    from adaptx.data.tokenize import Text
    from adaptx.tasks import kind_of

    settings = resolve(profile="local", data_root=Path(data_root) if data_root else None, device="cpu")
    files = backbones.locate(settings)
    task = settings.registry.task("mnli")
    examples = sources.load(settings, task, "en", "train", BATCH * steps).examples
    text = Text.of(backbones.load(files), task.train.max_tokens)
    return files.folder, kind_of(task).features(examples, text, task.labels or (), task)


def trainer(folder: Path, data: Any, steps: int) -> float:
    """The Trainer's own samples a second."""
    import torch
    from torch.utils.data import SequentialSampler
    from transformers import BertForSequenceClassification, DataCollatorWithPadding, Trainer, TrainingArguments
    from transformers import PreTrainedTokenizerFast as Fast

    class InOrder(Trainer):  # type: ignore[misc]
        """Takes the examples as they come, so that both sides have the same batches."""

        def _get_train_sampler(self, *_: Any) -> SequentialSampler:
            return SequentialSampler(rows)

    rows = [
        {
            "input_ids": data.ids[a:b].tolist(),
            "token_type_ids": data.types[a:b].tolist(),
            "attention_mask": [1] * int(b - a),
            "labels": int(label),
        }
        for a, b, label in zip(data.offsets[:-1], data.offsets[1:], data.targets, strict=True)
    ]
    torch.manual_seed(0)
    model = BertForSequenceClassification.from_pretrained(folder, num_labels=3)
    tokenizer = Fast(tokenizer_file=str(folder / "tokenizer.json"), pad_token="<pad>")
    with tempfile.TemporaryDirectory() as out:
        options = TrainingArguments(
            out, per_device_train_batch_size=BATCH, max_steps=steps, learning_rate=1e-5, optim="adamw_torch",
            save_strategy="no", logging_strategy="no", report_to="none", use_cpu=True, disable_tqdm=True,
        )  # fmt: skip
        made = InOrder(model, options, train_dataset=rows, data_collator=DataCollatorWithPadding(tokenizer))
        return float(made.train().metrics["train_samples_per_second"])


def ours(folder: Path, data: Any, steps: int) -> float:
    """Samples a second of the same by the harness's clock."""
    import numpy as np
    import torch
    from transformers import BertModel

    from adaptx.bench.ticks import Ticks
    from adaptx.engine.loop import Hooks, LoopOptions, Work, train
    from adaptx.engine.model import Model
    from adaptx.tasks.heads import Classifier

    torch.manual_seed(0)
    encoder = BertModel.from_pretrained(folder, add_pooling_layer=False)
    heads = torch.nn.ModuleDict({"nli": Classifier(encoder.config.hidden_size, 3)})
    model = Model(encoder, heads, 0, torch.device("cpu"), "fp32", packable=False)
    plan = [Work("nli", data, np.arange(at, at + BATCH)) for at in range(0, BATCH * steps, BATCH)]

    def loss(task: str, batch: Any) -> torch.Tensor:
        return torch.nn.functional.cross_entropy(model(task, batch), batch.targets)

    ticks = Ticks(model.device, 0, steps, None)
    ticks.start()
    train(model, Hooks(lambda _: plan, loss, None, ticks), LoopOptions(1, BATCH * 128, 1e-5, 0))
    return BATCH * steps / sum(ticks.seconds)


SIDES = {"trainer": trainer, "ours": ours}


def side(name: str, data_root: str | None, steps: int) -> float:
    """One measurement in a process of its own."""
    command = [sys.executable, __file__, "--side", name, "--steps", str(steps)]
    command += ["--data-root", data_root] if data_root else []
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(done.stderr)
    return float(done.stdout.splitlines()[-1])


def main() -> int:
    """0 where both agree."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--data-root")
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--turns", type=int, default=2)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--side", choices=SIDES)
    given = parser.parse_args()
    if given.side:
        folder, data = features(given.data_root, given.steps)
        print(SIDES[given.side](folder, data, given.steps))
        return 0
    found: dict[str, list[float]] = {name: [] for name in SIDES}
    for _ in range(given.turns):
        for name in SIDES:
            found[name].append(side(name, given.data_root, given.steps))
            print(f"{name}: {found[name][-1]:.2f} examples/s", flush=True)
    ratio = statistics.median(found["ours"]) / statistics.median(found["trainer"])
    agrees = abs(ratio - 1) <= WITHIN
    print(f"ours / Trainer's own: {ratio:.3f}, {'within' if agrees else 'NOT within'} {WITHIN:.0%}")
    if given.out:
        keep(given, found, ratio)
    return 0 if agrees else 1


def keep(given: argparse.Namespace, found: dict[str, list[float]], ratio: float) -> None:
    """Write the figures with their provenance."""
    from adaptx import atomic
    from adaptx.bench import results
    from adaptx.config import resolve

    made = results.origin(resolve(profile="local"), "cpu")
    value = {"examples_per_s": found, "ratio": ratio, "steps": given.steps, "batch": BATCH, "provenance": made}
    atomic.write_json(given.out / f"crosscheck-{results.folder_name('cpu')}.json", value)


if __name__ == "__main__":
    sys.exit(main())
