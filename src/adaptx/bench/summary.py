"""Records of one measurement's repetitions as one row. Pure functions of records."""

import statistics as plain
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from adaptx.bench import statistics
from adaptx.bench.prices import Prices
from adaptx.bench.results import hardware_name
from adaptx.bench.spec import COMPARED, Spec

Record = dict[str, Any]
Key = tuple[Spec, str]


@dataclass(frozen=True)
class Group:
    """The repetitions of one measurement on one machine."""

    spec: Spec
    machine: str
    records: tuple[Record, ...]

    @property
    def label(self) -> str:
        """The group's name in a table."""
        return self.spec.label

    def median(self, *path: str) -> float | None:
        """The median over repetitions of a value inside the records; None where a record lacks it."""
        found = [_at(r, path) for r in self.records]
        return None if any(v is None for v in found) else plain.median(float(v) for v in found)


def _at(value: Any, path: Sequence[str]) -> Any:
    for key in path:
        value = value.get(key) if isinstance(value, dict) else None
    return value


def machine(record: Record) -> str:
    """The machine that a record was made on; an accuracy record's run may have been trained before, on another."""
    made: dict[str, Any] = record.get("trained_on") or record["provenance"]
    return hardware_name(made["hardware"])


def groups(records: Sequence[Record], what: str) -> list[Group]:
    """Records of one sort by measurement and machine, methods in the order in which they are compared."""
    found: dict[Key, list[Record]] = {}
    for record in records:
        if record["what"] == what:
            spec = Spec.model_validate(record["spec"]).group()
            found.setdefault((spec, machine(record)), []).append(record)
    out = [Group(spec, where, tuple(rows)) for (spec, where), rows in found.items()]
    return sorted(out, key=lambda g: (_place(g.spec.method), g.label, _sizes(g.spec)))


def _sizes(spec: Spec) -> tuple[int, ...]:
    """Along a curve, as numbers: as text, 16 would stand before 4."""
    length = int(spec.lengths) if spec.lengths and spec.lengths.isdigit() else 0
    return length, spec.batch_tokens or 0, spec.adapters or 0


def _place(method: str) -> int:
    return COMPARED.index(method) if method in COMPARED else len(COMPARED)


def cost_row(group: Group, prices: Prices) -> dict[str, Any]:
    """One line of the cost table: raw step times of all repetitions pooled, everything else the median over them."""
    pooled = [s for r in group.records for s in r["steps"]["seconds"]]
    medians = [plain.median(r["steps"]["seconds"]) for r in group.records]
    rate = group.median("tokens_per_s") or 0.0
    hourly = prices.per_hour(group.records[0]["provenance"]["hardware"])
    spec = group.spec
    return {
        "method": spec.method,
        "label": spec.label,
        "machine": group.machine,
        "backbone": spec.shape or spec.backbone,
        "task": spec.task,
        "lengths": spec.lengths,
        "precision": "bf16" if spec.precision == "int8" else spec.precision,  # the label says int8
        "batch_tokens": group.records[0]["provenance"]["recipe"]["optimiser"]["batch_tokens"],
        "repetitions": len(group.records),
        "trainable_parameters": group.median("parameters", "trainable"),
        "total_parameters": group.median("parameters", "total"),
        "adapter_bytes": group.median("disk", "adapter_bytes"),
        "step_seconds": statistics.summary(pooled),
        "sd_of_medians": plain.stdev(medians) if len(medians) > 1 else None,
        "tokens_per_s": rate,
        "examples_per_s": group.median("examples_per_s"),
        "flops_ratio": next((r["flops"]["ratio"] for r in group.records if r["flops"]["ratio"]), None),
        "utilisation": group.median("utilisation"),
        "utilisation_executed": group.median("utilisation_executed"),
        "memory_bytes": group.median("memory", "peak_bytes"),
        "reserved_bytes": group.median("memory", "peak_reserved_bytes"),
        "weights_bytes": group.median("memory", "weights_bytes"),
        "gradient_bytes": group.median("memory", "gradient_bytes"),
        "optimiser_bytes": group.median("memory", "optimiser_bytes"),
        "activation_bytes": group.median("memory", "activation_bytes"),
        "baseline_bytes": group.median("memory", "baseline_rss_bytes"),
        "kept_layers": group.median("kept", "layers"),
        "kept_bytes": group.median("kept", "bytes"),
        "first_pass_seconds": group.median("kept", "first_pass", "median"),
        "outside_bytes": group.median("outside", "max_rss_bytes"),
        "cpu_share": min((r["cpu_share"] for r in group.records if r["cpu_share"] is not None), default=None),
        "joules_per_k_tokens": _energy(group),
        "usd_per_m_tokens": None if hourly is None or not rate else hourly * 1e6 / rate / 3600,
        "seconds": {k: group.median("seconds", k) for k in group.records[0]["seconds"]},
    }


def accuracy_row(group: Group, prices: Prices) -> dict[str, Any]:
    """One line of the accuracy table: mean and standard deviation over seeds of the leading metric on the test set."""
    first = group.records[0]
    leading = first["accuracy"]["leading"]
    scores = [r["accuracy"]["metrics"][leading] for r in group.records]
    seconds = group.median("train_seconds") or 0.0
    hourly = prices.per_hour(first["trained_on"]["hardware"])
    return {
        "method": group.spec.method,
        "label": group.label,
        "machine": group.machine,
        "backbone": group.spec.backbone,
        "task": group.spec.task,
        "lang": first["accuracy"]["lang"],
        "n": first["accuracy"]["n"],
        "metric": leading,
        "note": first["accuracy"]["note"],
        "seeds": len(scores),
        "scores": scores,
        "mean": plain.fmean(scores),
        "sd": plain.stdev(scores) if len(scores) > 1 else None,
        "train_seconds": seconds,
        "tokens_per_s": group.median("tokens_per_s"),
        "memory_bytes": group.median("memory", "peak_bytes"),
        "trainable_parameters": group.median("parameters", "trainable"),
        "adapter_bytes": group.median("disk", "adapter_bytes"),
        "usd": None if hourly is None else hourly * seconds / 3600,
    }


def target_row(group: Group) -> dict[str, Any]:
    """One line of the table of times to a score; the time is None unless every repetition reached it."""
    found = [r["target"] for r in group.records]
    return {
        "label": group.label,
        "machine": group.machine,
        "task": group.spec.task,
        "metric": found[0]["metric"],
        "score": group.spec.target_score,
        "repetitions": len(found),
        "reached": sum(t["reached"] for t in found),
        "seconds": group.median("target", "seconds"),
        "tokens": group.median("target", "tokens"),
        "best": max(point["score"] for t in found for point in t["curve"]),
    }


def serve_row(group: Group) -> dict[str, Any]:
    """One line of the table of adapters held ready."""
    return {
        "label": group.label,
        "machine": group.machine,
        "backbone": group.spec.shape or group.spec.backbone,
        "adapters": group.median("serve", "adapters"),
        "weights_bytes": group.median("serve", "weights_bytes"),
        "resident_bytes": group.median("serve", "resident_growth_bytes"),
        "attach_seconds": group.median("serve", "attach_seconds"),
        "switch_seconds": group.median("serve", "switch_seconds"),
    }


def _energy(group: Group) -> float | None:
    """Joules a thousand real tokens; None where any repetition has no counter."""
    found: list[float] = []
    for r in group.records:
        if r["energy"] is None:
            return None
        found.append(1000 * r["energy"]["joules"] / r["workload"]["tokens"])
    return plain.median(found)
