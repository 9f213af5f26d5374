"""Training speed against the peers, in one process: `python benchmarks/peers.py` (or `make bench`).

Peers: `adapters` with its AdapterTrainer and `peft` with the Transformers Trainer; full fine-tuning with the Trainer.
default   the trainers' own defaults: fp32, batches of 8, sentences in random order
tuned     the best that a careful user gets: bf16, batches of as many sentences as adaptx's token budget holds,
          sentences of like length together, dropout off (adaptx trains adapters without); the fastest row counts
All systems train the same shape, on the same weights and sentences, and take turns; a system's first step of a turn is
not counted. Tokens are real ones: padding is not work. The ceiling is the rate of this machine's own bf16 matrix
products of the encoder's shapes, measured between the turns, at 4 floating point operations a weight and token (6 for
full fine-tuning: the weights' own gradients). `int8`: adaptx with --precision int8, against the same peers; `int8,
compiled`: with --compile as well. --torch-compile gives the tuned peers rows with `torch_compile`, too. The last line
has the ratios of Pfeiffer at XLM-R Base shape in bf16.
"""

import argparse
import contextlib
import json
import math
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import adapters
import numpy as np
import peft
import torch
from adapters import AdapterTrainer
from torch import nn
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    PreTrainedModel,
    Trainer,
    TrainerCallback,
    TrainingArguments,
    XLMRobertaConfig,
    XLMRobertaForSequenceClassification,
)

from adaptx import atomic, methods, provenance
from adaptx.bench.shapes import lengths
from adaptx.engine import loop
from adaptx.engine.model import Model
from adaptx.engine.packing import Encoded, Features, Packed, collect, epoch_plan
from adaptx.methods import full
from adaptx.methods.lora import ALL_LINEAR
from adaptx.registry import Registry
from adaptx.tasks.heads import Classifier

RESULTS = Path(__file__).parent / "results"
SHAPES = {"xlm-roberta-base": (250002, 768, 12, 12, 3072), "multilingual-e5-small": (250037, 384, 12, 12, 1536)}
SENTENCES, LABELS, SEED = 4000, 3, 0
OURS = ("adaptx", "int8", "int8, compiled")


@dataclass(frozen=True)
class World:
    """One shape: its configuration, weights that all frozen encoders share, and the sentences with their labels."""

    shape: str
    config: Any
    state: dict[str, torch.Tensor]
    features: Features
    budget: int

    @property
    def linear_weights(self) -> int:
        """Weights of the encoder's linear layers, which every token meets."""
        c = self.config
        return int(c.num_hidden_layers * (4 * c.hidden_size**2 + 2 * c.hidden_size * c.intermediate_size))


@dataclass
class System:
    """One row: `turn(steps)` trains that many steps and gives the seconds and real tokens of each but the first."""

    name: str
    method: str
    role: str  # one of OURS, tuned or default
    turn: Callable[[int], list[tuple[float, int]]]
    steps: int
    rates: list[float] = field(default_factory=list)  # tokens/s, one a turn


def world(shape: str, budget: int) -> World:
    """Random weights of a shape, and sentences as long as NLI pairs are."""
    torch.manual_seed(SEED)
    vocabulary, hidden, layers, heads, inner = SHAPES[shape]
    sizes = {
        "vocab_size": vocabulary,
        "hidden_size": hidden,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "intermediate_size": inner,
        "num_labels": LABELS,
    }
    roberta = shape.startswith("xlm")
    config = (
        XLMRobertaConfig(**sizes, max_position_embeddings=514, type_vocab_size=1, pad_token_id=1)
        if roberta
        else BertConfig(**sizes)
    )
    state = _class(config)(config).state_dict()
    random = np.random.default_rng(SEED)
    rows = [
        Encoded(random.integers(5, 30000, n).tolist(), [0], [int(random.integers(LABELS))], i, i)
        for i, n in enumerate(lengths("nli", SENTENCES))
    ]
    return World(shape, config, state, collect(rows), budget)


def _class(config: Any) -> type[PreTrainedModel]:
    return XLMRobertaForSequenceClassification if config.model_type == "xlm-roberta" else BertForSequenceClassification


def _model(world: World, dropout: float, private: bool = False) -> PreTrainedModel:
    """The library's own classifier over the shared weights, or over a copy that may be trained."""
    config = world.config.__class__(**{**world.config.to_dict(), "hidden_dropout_prob": dropout})
    config.attention_probs_dropout_prob = dropout
    with torch.device("meta"):
        model = _class(config)(config)
    state = {k: v.clone() if private or "classifier" in k else v for k, v in world.state.items()}
    model.load_state_dict(state, assign=True)
    prefix: Any = model.base_model.embeddings
    positions = torch.arange(config.max_position_embeddings)[None]
    prefix.register_buffer("position_ids", positions, persistent=False)
    prefix.register_buffer("token_type_ids", torch.zeros_like(positions), persistent=False)
    return model


def ours(world: World, method: str, role: str = "adaptx") -> System:
    """adaptx's own loop over its own packed batches, as the `role` says; frozen weights are kept in bf16."""
    spec = Registry().method(method)
    encoder: Any = _model(world, 0.0, private=spec.family == "full").base_model
    encoder.requires_grad_(False)
    if spec.family == "full":
        full.keep_rows(encoder, torch.from_numpy(np.unique(world.features.ids).astype(np.int64)))
    else:
        encoder = encoder.to(torch.bfloat16)
        methods.attach(encoder, spec, spec.hyper, "row")
    methods.unfreeze(encoder, spec, "row")
    first = 2 if world.config.model_type == "xlm-roberta" else 0
    head = nn.ModuleDict({"task": Classifier(world.config.hidden_size, LABELS)})
    precision = "int8" if "int8" in role else "bf16"
    model = Model(encoder, head, first, torch.device("cpu"), precision, compiled="compiled" in role)
    work = [loop.Work("task", world.features, rows) for rows in epoch_plan(world.features, world.budget, SEED, 0)]

    def loss(task: str, batch: Packed) -> torch.Tensor:
        return nn.functional.cross_entropy(model(task, batch), batch.targets)

    def turn(steps: int) -> list[tuple[float, int]]:
        seen: list[tuple[float, int]] = []

        def report(now: loop.Progress, _: int, __: float) -> None:
            seen.append((time.perf_counter(), now.tokens))

        options = loop.LoopOptions(1, world.budget, 1e-4, SEED, max_steps=steps)
        loop.train(model, loop.Hooks(lambda _: work, loss, None, report), options)
        return [(b[0] - a[0], b[1] - a[1]) for a, b in pairwise(seen)]

    return System(f"adaptx {method}{'' if role == 'adaptx' else f', {role}'}", method, role, turn, 3)


class Sentences(torch.utils.data.Dataset[dict[str, Any]]):
    """The sentences as a trainer wants them."""

    def __init__(self, features: Features) -> None:
        self.features = features

    def __len__(self) -> int:
        return self.features.sequences

    def __getitem__(self, i: int) -> dict[str, Any]:
        at = slice(self.features.offsets[i], self.features.offsets[i + 1])
        return {"input_ids": self.features.ids[at], "labels": int(self.features.targets[i])}


class Padder:
    """Pads a batch to its longest sentence, and notes how many real tokens it has."""

    def __init__(self, padding: int) -> None:
        self.padding, self.tokens = padding, list[int]()

    def __call__(self, rows: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
        lengths = [len(r["input_ids"]) for r in rows]
        self.tokens.append(sum(lengths))
        ids = torch.full((len(rows), max(lengths)), self.padding)
        for i, row in enumerate(rows):
            ids[i, : lengths[i]] = torch.from_numpy(row["input_ids"].astype(np.int64))
        real = torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]
        return {"input_ids": ids, "attention_mask": real.long(), "labels": torch.tensor([r["labels"] for r in rows])}


class Watch(TrainerCallback):
    """The clock at the end of every step."""

    def __init__(self) -> None:
        self.at = list[float]()

    def on_step_end(self, *_: Any, **__: Any) -> None:
        self.at.append(time.perf_counter())


def peer(
    world: World,
    name: str,
    method: str,
    role: str,
    kind: type[Trainer],
    model: nn.Module,
    size: int,
    compiled: bool = False,
) -> System:
    """A trainer's row: `size` sentences a batch."""
    tuned = {"bf16": True, "group_by_length": True, "torch_compile": compiled} if role == "tuned" else {}

    def turn(steps: int) -> list[tuple[float, int]]:
        watch, padder = Watch(), Padder(world.config.pad_token_id)
        arguments = TrainingArguments(
            output_dir=tempfile.gettempdir(),  # the trainers want one; nothing is saved
            max_steps=steps,
            per_device_train_batch_size=size,
            save_strategy="no",
            report_to="none",
            disable_tqdm=True,
            use_cpu=True,
            seed=SEED,
            learning_rate=1e-4,
            dataloader_pin_memory=False,
            remove_unused_columns=False,
            **tuned,
        )
        trainer = kind(
            model=model,
            args=arguments,
            train_dataset=Sentences(world.features),
            data_collator=padder,
            callbacks=[watch],
        )
        with contextlib.redirect_stdout(None):
            trainer.train()
        seconds = [b - a for a, b in pairwise(watch.at)]
        return list(zip(seconds, padder.tokens[1:steps], strict=True))

    said = f"{name}, {role}, {size} sentences{', torch_compile' if compiled else ''}"
    return System(said, method, role, turn, 3 if size >= 32 else 6)


def bottleneck_peer(world: World, role: str, size: int, compiled: bool = False) -> System:
    """`adapters`: one bottleneck a layer, of the size that adaptx uses."""
    model = _model(world, 0.0 if role == "tuned" else 0.1)
    adapters.init(model)
    reduction = Registry().method("pfeiffer").hyper["reduction_factor"]
    model.add_adapter("row", config=adapters.SeqBnConfig(reduction_factor=reduction))
    model.train_adapter("row")
    return peer(world, "adapters AdapterTrainer", "pfeiffer", role, AdapterTrainer, model, size, compiled)


def lora_peer(world: World, role: str, size: int, half: bool = False, compiled: bool = False) -> System:
    """`peft`: LoRA on all linear layers of the encoder, as adaptx has it; `half`: frozen weights in bf16 as well."""
    model = _model(world, 0.0 if role == "tuned" else 0.1)
    if half:
        model = model.to(torch.bfloat16)
    hyper = Registry().method("lora").hyper
    config = peft.LoraConfig(task_type="SEQ_CLS", target_modules=ALL_LINEAR, **hyper)
    config.exclude_modules = r"classifier.*"
    wrapped = peft.get_peft_model(model, config)
    name = f"peft Trainer{', bf16 weights' if half else ''}"
    return peer(world, name, "lora", role, Trainer, wrapped, size, compiled)


def full_peer(world: World, role: str, size: int) -> System:
    """The Trainer on every weight."""
    model = _model(world, 0.0 if role == "tuned" else 0.1, private=True)
    return peer(world, "Trainer", "full", role, Trainer, model, size)


def systems(world: World, wanted: list[str], compiled: bool) -> Iterator[System]:
    """Every row of a shape; `compiled`: tuned peers with torch_compile among them."""
    alike = round(world.budget / float(np.diff(world.features.offsets).mean()))
    for method in wanted:
        for role in OURS[:1] if method == "full" else OURS:
            yield ours(world, method, role)
    if "pfeiffer" in wanted:
        yield bottleneck_peer(world, "tuned", alike)
        yield bottleneck_peer(world, "tuned", 32)
        if compiled:
            yield bottleneck_peer(world, "tuned", 32, compiled=True)
        yield bottleneck_peer(world, "default", 8)
    if "lora" in wanted:
        yield lora_peer(world, "tuned", alike)
        yield lora_peer(world, "tuned", alike, half=True)
        if compiled:
            yield lora_peer(world, "tuned", alike, compiled=True)
        yield lora_peer(world, "default", 8)
    if "full" in wanted:
        yield full_peer(world, "tuned", alike)
        yield full_peer(world, "default", 8)


def ceiling(world: World) -> float:
    """Floating point operations a second of bf16 products of the encoder's shapes at the budget's tokens."""
    tokens, hidden, inner = world.budget, world.config.hidden_size, world.config.intermediate_size
    square, up, down = (torch.randn(a, b).bfloat16() for a, b in ((hidden, hidden), (hidden, inner), (inner, hidden)))
    x, wide = torch.randn(tokens, hidden).bfloat16(), torch.randn(tokens, inner).bfloat16()
    seconds = []
    for _ in range(5):
        began = time.perf_counter()
        for _ in range(4):
            x @ square
        x @ up
        wide @ down
        seconds.append(time.perf_counter() - began)
    return 2 * tokens * (4 * hidden**2 + 2 * hidden * inner) / statistics.median(seconds)


def measure(world: World, wanted: list[str], turns: int, compiled: bool) -> dict[str, Any]:
    """All rows of a shape, in turns: raw tokens/s of every turn and the matrix products between them."""
    rows = list(systems(world, wanted, compiled))
    products = []
    for i in range(turns + 1):
        for row in rows:
            rate = ceiling(world)
            found = row.turn(row.steps)  # the first turn only warms up
            if i:
                products.append(rate)
                row.rates.append(sum(n for _, n in found) / sum(s for s, _ in found))
                print(f"  turn {i}/{turns}  {row.rates[-1]:7.0f} tokens/s  {row.name}", flush=True)
    top = statistics.median(products)
    per_token = {m: (6 if m == "full" else 4) * world.linear_weights for m in wanted}
    medians = {r.name: statistics.median(r.rates) for r in rows}
    out: dict[str, Any] = {
        "shape": world.shape,
        "tokens_a_batch": world.budget,
        "gemm_flops_per_s": top,
        "ceiling_tokens_per_s": {m: top / f for m, f in per_token.items()},
        "rows": [
            {**{k: vars(r)[k] for k in ("name", "method", "role", "rates")}, "median": medians[r.name]} for r in rows
        ],
        "ratios": {},
    }
    best = {
        (m, role): max((medians[r.name] for r in rows if (r.method, r.role) == (m, role)), default=math.nan)
        for m in wanted
        for role in (*OURS, "tuned", "default")
    }
    for method, role in best:
        if role in OURS and not math.isnan(best[method, role]):
            own = best[method, role]
            out["ratios"][method if role == "adaptx" else f"{method}, {role}"] = {
                "tuned": own / best[method, "tuned"],
                "default": own / best[method, "default"],
                "gemm_share": own * per_token[method] / top,
            }
    return out


def table(results: list[dict[str, Any]], made_on: str) -> str:
    """The results as Markdown."""
    out = ["# Training speed against the peers", "", made_on, ""]
    for r in results:
        out += [
            f"## {r['shape']}, {r['tokens_a_batch']} tokens a batch",
            "",
            f"Matrix products: {r['gemm_flops_per_s'] / 1e9:.0f} GFLOP/s (bf16, median between the turns).",
            "",
            "| system | tokens/s (median) | all turns |",
            "|---|---:|---|",
            *(
                f"| {row['name']} | {row['median']:.0f} | {', '.join(f'{x:.0f}' for x in row['rates'])} |"
                for row in r["rows"]
            ),
            "",
            "| method | times the best tuned peer | times the best default peer | share of the bf16 ceiling |",
            "|---|---:|---:|---:|",
            *(
                f"| {m} | {v['tuned']:.2f} | {v['default']:.2f} | {v['gemm_share']:.2f} |"
                for m, v in r["ratios"].items()
            ),
            "",
        ]
    return "\n".join(out)


def main() -> None:
    """Measure, print, and with --out keep the raw figures and the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shapes", default=",".join(SHAPES))
    parser.add_argument("--methods", default="pfeiffer,lora")
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--tokens", type=int, default=2048, help="tokens a batch")
    parser.add_argument("--torch-compile", action="store_true", help="tuned peers with torch_compile as well")
    parser.add_argument("--out", help="name of the result files under benchmarks/results")
    asked = parser.parse_args()
    wanted = asked.methods.split(",")
    results = []
    for shape in asked.shapes.split(","):
        print(f"{shape}, {torch.get_num_threads()} threads", flush=True)
        results.append(measure(world(shape, asked.tokens), wanted, asked.turns, asked.torch_compile))
    hardware, versions = provenance.hardware("cpu"), provenance.versions()
    made_on = f"{hardware['cpu']}, {hardware['cores']} cores, torch {versions['torch']}, {datetime.now(UTC):%Y-%m-%d}."
    print(table(results, made_on))
    if asked.out:
        value = {"hardware": hardware, "versions": versions, "results": results}
        atomic.write_json(RESULTS / f"{asked.out}.json", json.loads(json.dumps(value)))
        atomic.write_bytes(RESULTS / f"{asked.out}.md", table(results, made_on).encode())
    for r in results:
        v = r["ratios"].get("pfeiffer")
        if v and r["shape"] == "xlm-roberta-base":
            print(f"ratio_tuned={v['tuned']:.2f} ratio_default={v['default']:.2f} gemm_share={v['gemm_share']:.3f}")


if __name__ == "__main__":
    main()
