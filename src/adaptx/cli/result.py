"""The result table of `adaptx eval` on a terminal."""

from rich.console import Console
from rich.table import Table as RichTable

from adaptx.table import Entry, System, Table


def print_table(result: Table) -> None:
    """Rows of systems, columns of tasks; scores in percent."""
    tasks = sorted({t for s in result.systems for t in s.tasks})
    view = RichTable(title=f"Zero-shot on {result.language} · {result.backbone}", title_justify="left", pad_edge=False)
    view.add_column("intermediate", no_wrap=True)
    for task in tasks:
        entry = next(s.tasks[task] for s in result.systems if task in s.tasks)
        mark = " *" if entry.cell.note else ""
        view.add_column(
            f"{task}{mark}\n{' / '.join(_short(m) for m in entry.cell.metrics)}\nn = {entry.cell.n:,}",
            justify="right",
            no_wrap=True,
        )
    for system in result.systems:
        view.add_row(_name(system), *(_cell(system.tasks.get(t)) for t in tasks))
    console = Console(soft_wrap=False, width=None if Console().is_terminal else 160)
    console.print(view)
    console.print(
        "in percent; [95 % bootstrap interval over test items]; Δ against no intermediate task, same items, "
        "with its 95 % interval",
        style="dim",
        highlight=False,
        markup=False,
    )
    for system in result.systems:
        for task, entry in system.tasks.items():
            if "sweep" in entry.cell.extra:
                console.print(_sweep(task, system, entry), highlight=False, markup=False)
    for note in result.notes:
        console.print(f"* {note}", highlight=False, markup=False)
    for missing in result.missing:
        console.print(f"- {missing}", highlight=False, markup=False)


def _sweep(task: str, system: System, entry: Entry) -> str:
    """Accuracy of every layer, English query / English candidate, the reported layer in brackets."""
    parts = []
    for layer, (forward, back) in entry.cell.extra["sweep"].items():
        value = f"{layer}: {100 * forward:.0f}/{100 * back:.0f}"
        parts.append(f"[{value}]" if int(layer) == entry.cell.extra["layer"] else value)
    return f"{task} by layer, {system.name}: {'  '.join(parts)}"


def _name(system: System) -> str:
    if system.adapter is None:
        return f"none ({system.method})"
    return system.name.replace(":", "\n:", 1)


def _short(metric: str) -> str:
    return {"accuracy": "acc", "reverse_accuracy": "reverse", "exact_match": "EM", "f1": "F1"}.get(metric, metric)


def _cell(entry: Entry | None) -> str:
    if entry is None:
        return "–"
    c = entry.cell
    low, high = c.intervals[c.leading]
    lines = [" / ".join(f"{100 * v:.1f}" for v in c.metrics.values()), f"\\[{100 * low:.1f}, {100 * high:.1f}]"]
    if entry.delta is not None and entry.delta_ci95 is not None:
        low, high = entry.delta_ci95
        lines.append(f"Δ {100 * entry.delta:+.1f} \\[{100 * low:+.1f}, {100 * high:+.1f}]")
    return "\n".join(lines)
