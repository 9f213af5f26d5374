"""The columns of the cost table: what stands in them, and whether more or less of it is better."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from adaptx.units import count, size

Row = dict[str, Any]
UP, DOWN = "↑", "↓"


@dataclass(frozen=True)
class Column:
    """`text` of a row; `better`: whether higher or lower values are; `value`: what is sorted and compared by."""

    title: str
    text: Callable[[Row], str]
    better: Literal["", "higher", "lower"] = ""
    value: Callable[[Row], Any] | None = None

    @property
    def heading(self) -> str:
        """The title with an arrow that points where it gets better."""
        return self.title + {"": "", "higher": f" {UP}", "lower": f" {DOWN}"}[self.better]


def known(value: Any, show: Callable[[Any], str]) -> str:
    """`value` as text; a dash where there is none."""
    return "–" if value is None else show(value)


def milliseconds(seconds: float) -> str:
    return f"{1000 * seconds:.0f}" if seconds >= 0.1 else f"{1000 * seconds:.1f}"


def column(title: str, key: str, show: Callable[[Any], str], better: Literal["", "higher", "lower"] = "") -> Column:
    """A column of one field."""
    return Column(title, lambda r: known(r[key], show), better, lambda r: r[key])


COST = (
    Column("method", lambda r: r["label"]),
    Column("n", lambda r: str(r["repetitions"])),
    column("trained weights", "trainable_parameters", count, "lower"),
    column("on disk", "adapter_bytes", size, "lower"),
    Column(
        "ms a step (median, p90, sd)",
        lambda r: ", ".join(known(r["step_seconds"][k], milliseconds) for k in ("median", "p90", "sd")),
        "lower",
        lambda r: r["step_seconds"]["median"],
    ),
    column("tokens/s", "tokens_per_s", lambda v: f"{v:.0f}", "higher"),
    column("examples/s", "examples_per_s", lambda v: f"{v:.1f}", "higher"),
    column("utilisation", "utilisation", lambda v: f"{100 * v:.0f} %", "higher"),
    column("peak memory", "memory_bytes", size, "lower"),
    column("optimiser", "optimiser_bytes", size, "lower"),
    column("activations", "activation_bytes", size, "lower"),
    column("J/1k tokens", "joules_per_k_tokens", lambda v: f"{v:.1f}", "lower"),
    column("$/1M tokens", "usd_per_m_tokens", lambda v: f"{v:.3f}", "lower"),
)


def plain(columns: Sequence[Column], rows: Sequence[Row]) -> str:
    """The table as aligned text."""
    lines = [[c.heading for c in columns], *([c.text(r) for c in columns] for r in rows)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(columns))]
    return "\n".join("  ".join(_padded(line, widths)) for line in lines)


def _padded(line: Sequence[str], widths: Sequence[int]) -> list[str]:
    first, *rest = zip(line, widths, strict=True)
    return [first[0].ljust(first[1]), *(cell.rjust(width) for cell, width in rest)]
