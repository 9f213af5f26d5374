"""What the numbers show and what they do not, in sentences. Nothing here computes a statistic."""

from collections.abc import Iterator

from adaptx.study.analysis import Analysis, Delta, significant
from adaptx.units import duration


def percent(value: float, signed: bool = False) -> str:
    """A fraction of one in percent points with one digit."""
    return f"{100 * value:+.1f}" if signed else f"{100 * value:.1f}"


def say(analysis: Analysis) -> Iterator[str]:
    """Sentences for the top of a report, the most important first."""
    table, study = analysis.table, analysis.study
    leading = table[table["leading"]]
    good = leading[leading["status"] == "ok"]
    yield (
        f"{len(good)} of {len(leading)} scored cells enter the statistics: seeds {', '.join(map(str, study.seeds))}, "
        f"target language {study.language}, targets {', '.join(study.targets)}."
    )
    lost = leading[leading["status"] != "ok"]
    if len(lost):
        yield (
            f"{int((lost['status'] == 'collapsed').sum())} collapsed (somewhere on the way a score at or below a "
            f"constant answer's) and {int((lost['status'] == 'failed').sum())} failed. They are "
            "listed in the runs table and are in no mean; means over what is left are optimistic to that extent."
        )
    if table["note"].str.contains("sample corpus").any():
        yield (
            "The data is the built-in sample corpus: the numbers show that everything works and say nothing about a "
            "language."
        )
    for target in study.targets:
        yield from _of_target(analysis, target)
    if len(study.seeds) < 5:
        yield (
            f"Seeds number {len(study.seeds)}: intervals over seeds are wide or missing and the seed component "
            "of variance is uncertain; a difference that is not significant is not shown to be absent."
        )
    for gap in analysis.gaps:
        yield f"Not in the grid: {gap.what} ({gap.why})."
    yield (
        f"Training the distinct intermediate and target adapters took {duration(_distinct_seconds(analysis))} on "
        f"{_devices(analysis)}."
    )


def _of_target(analysis: Analysis, target: str) -> Iterator[str]:
    names = {"none": "no intermediate task", "English": "English on the same intermediate task"}
    for against, what in names.items():
        found = [d for d in analysis.deltas if d.system.target == target and d.against == against]
        if not found:
            continue
        better = [d for d in found if significant(d) and d.result.delta > 0]
        worse = [d for d in found if significant(d) and d.result.delta < 0]
        text = f"{target}: of {len(found)} systems, {len(better)} score above {what} and {len(worse)} below it"
        sampled = "test items and seeds both sampled"
        if any(d.result.seeds < 2 for d in found):
            sampled = "test items sampled; with a single seed nothing is known about other seeds"
        text += f" (5 % level after Holm's correction over these comparisons, {sampled})."
        if better:
            text += f" The largest gain is {_named(max(better, key=lambda d: d.result.delta))}."
        yield text
    for v in (v for v in analysis.variances if v.target == target):
        shares = v.moments.shares
        if not any(shares.values()):
            continue
        top = max(shares, key=lambda k: shares[k])
        i, j, k = v.shape
        yield (
            f"{target}, {v.method}: the largest estimated component of variance is {top} ({100 * shares[top]:.0f} %), "
            f"from {i} sources, {j} tasks and {k} seeds. Source language has {v.moments.df['source']} degrees of "
            f"freedom and task {v.moments.df['task']}: "
            + ("an indication, not a measurement." if min(i, j, k) < 5 else "read it with the degrees of freedom.")
        )
    for s in (s for s in analysis.stabilities if s.target == target):
        yield (
            f"{target}, {s.method}: the ranking of {s.systems} systems by one seed agrees with another's with Kendall "
            f"tau {s.taus[0]:.2f} (from {s.taus[1]:.2f} to {s.taus[2]:.2f})."
        )
    for c in (c for c in analysis.choices if c.target == target):
        yield (
            f"{target}, {c.method}: choosing by English dev scores gives {percent(c.score)}, the best system on the "
            f"target test set {percent(c.best)} (mean of {c.seeds} seeds; the latter has seen the test set and is a "
            "bound, not a result)."
        )


def _named(delta: Delta) -> str:
    r = delta.result
    return (
        f"{percent(r.delta, True)} points for {delta.system.name} (95 % interval {percent(r.low, True)} to "
        f"{percent(r.high, True)})"
    )


def _distinct_seconds(analysis: Analysis) -> float:
    """Seconds of every distinct intermediate and target run."""
    table = analysis.table
    return float(
        sum(
            table[table[f"{stage}_run"] != ""].drop_duplicates(f"{stage}_run")[f"{stage}_seconds"].sum()
            for stage in ("intermediate", "target")
        )
    )


def _devices(analysis: Analysis) -> str:
    return ", ".join(sorted({d for d in analysis.table["device"] if d})) or "an unknown device"
