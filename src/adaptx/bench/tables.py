"""The columns of the report's tables: what stands in them, and whether more or less of it is better."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from adaptx.units import count, duration, size

Row = dict[str, Any]
Better = Literal["", "higher", "lower"]
ARROWS = {"": "", "higher": " ↑", "lower": " ↓"}


@dataclass(frozen=True)
class Column:
    """`text` of a row; `better`: whether higher or lower values are; `key`: what it sorts by, where not by its text."""

    title: str
    text: Callable[[Row], str]
    better: Better = ""
    key: Callable[[Row], Any] | None = None

    @property
    def heading(self) -> str:
        """The title with an arrow that points to where it gets better."""
        return self.title + ARROWS[self.better]


def known(value: Any, show: Callable[[Any], str]) -> str:
    """`value` as text; a dash where there is none."""
    return "–" if value is None else show(value)


def column(title: str, key: str, show: Callable[[Any], str] = str, better: Better = "") -> Column:
    """A column of one field, or with a dot of a field of a field."""
    path = key.split(".")

    def value(row: Row) -> Any:
        found: Any = row
        for name in path:
            found = found.get(name)
        return found

    return Column(title, lambda r: known(value(r), show), better, value)


def milliseconds(seconds: float) -> str:
    """Seconds as milliseconds, three digits or so."""
    return f"{1000 * seconds:.0f}" if seconds >= 0.1 else f"{1000 * seconds:.1f}"


def share(value: float) -> str:
    """A share of one in percent."""
    return f"{100 * value:.0f} %"


def score(row: Row) -> str:
    """Mean and standard deviation over seeds, in percent."""
    spread = "" if row["sd"] is None else f" ± {100 * row['sd']:.1f}"
    return f"{100 * row['mean']:.1f}{spread}"


COST = (
    column("method", "label"),
    column("n", "repetitions"),
    column("trained weights", "trainable_parameters", count, "lower"),
    column("on disk", "adapter_bytes", size, "lower"),
    column("ms a step", "step_seconds.median", milliseconds, "lower"),
    column("p90", "step_seconds.p90", milliseconds, "lower"),
    column("sd", "step_seconds.sd", milliseconds, "lower"),
    column("tokens/s", "tokens_per_s", lambda v: f"{v:.0f}", "higher"),
    column("examples/s", "examples_per_s", lambda v: f"{v:.1f}", "higher"),
    column("utilisation", "utilisation", share, "higher"),
    column("peak memory", "memory_bytes", size, "lower"),
    column("J/1k tokens", "joules_per_k_tokens", lambda v: f"{v:.1f}", "lower"),
    column("$/1M tokens", "usd_per_m_tokens", lambda v: f"{v:.4f}", "lower"),
)
POINTS = (
    column("method", "label"),
    column("backbone", "backbone"),
    column("task", "task"),
    column("lengths", "lengths"),
    column("batch tokens", "batch_tokens"),
    column("precision", "precision"),
    column("ms a step", "step_seconds.median", milliseconds, "lower"),
    column("tokens/s", "tokens_per_s", lambda v: f"{v:.0f}", "higher"),
    column("utilisation", "utilisation", share, "higher"),
    column("peak memory", "memory_bytes", size, "lower"),
)
MEMORY = (
    column("method", "label"),
    column("peak", "memory_bytes", size, "lower"),
    column("reserved", "reserved_bytes", size, "lower"),
    column("weights", "weights_bytes", size, "lower"),
    column("gradients", "gradient_bytes", size, "lower"),
    column("optimiser", "optimiser_bytes", size, "lower"),
    column("activations", "activation_bytes", size, "lower"),
    column("baseline", "baseline_bytes", size),
    column("outside", "outside_bytes", size),
    column("counted/formula", "flops_ratio", lambda v: f"{v:.2f}"),
    column("executed", "utilisation_executed", share, "higher"),
)
KEPT = (
    column("method", "label"),
    column("layers run once", "kept_layers", lambda v: f"{v:.0f}", "higher"),
    column("first pass, ms a step", "first_pass_seconds", milliseconds, "lower"),
    column("later, ms a step", "step_seconds.median", milliseconds, "lower"),
    column("kept for these steps", "kept_bytes", size, "lower"),
)
PHASES = ("start", "read", "load", "tokenise", "attach", "train", "evaluate", "save")
SECONDS = (
    column("method", "label"),
    *(column(name, f"seconds.{name}", lambda v: f"{v:.1f}", "lower") for name in PHASES),
)
ACCURACY = (
    column("method", "label"),
    column("seeds", "seeds"),
    Column("score", score, "higher", lambda r: r["mean"]),
    column("metric", "metric"),
    column("training time", "train_seconds", duration, "lower"),
    column("tokens/s", "tokens_per_s", lambda v: f"{v:.0f}", "higher"),
    column("peak memory", "memory_bytes", size, "lower"),
    column("trained weights", "trainable_parameters", count, "lower"),
    column("$ a run", "usd", lambda v: f"{v:.4f}", "lower"),
)
TARGET = (
    column("method", "label"),
    column("n", "repetitions"),
    column("dev score wanted", "score", lambda v: f"{100 * v:.0f}"),
    Column("reached", lambda r: f"{r['reached']} of {r['repetitions']}", "higher"),
    column("training time", "seconds", duration, "lower"),
    column("tokens", "tokens", count, "lower"),
    column("best dev score", "best", lambda v: f"{100 * v:.1f}", "higher"),
)
SERVE = (
    column("method", "label"),
    column("adapters", "adapters", lambda v: f"{v:.0f}"),
    column("weights", "weights_bytes", size, "lower"),
    column("resident growth", "resident_bytes", size, "lower"),
    column("attach, s each", "attach_seconds", lambda v: f"{v:.3f}", "lower"),
    column("switch, ms", "switch_seconds", milliseconds, "lower"),
)


def plain(columns: Sequence[Column], rows: Sequence[Row]) -> str:
    """The table as aligned text."""
    lines = [[c.heading for c in columns], *([c.text(r) for c in columns] for r in rows)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(columns))]
    return "\n".join("  ".join(_padded(line, widths)) for line in lines)


def _padded(line: Sequence[str], widths: Sequence[int]) -> list[str]:
    first, *rest = zip(line, widths, strict=True)
    return [first[0].ljust(first[1]), *(cell.rjust(width) for cell, width in rest)]
