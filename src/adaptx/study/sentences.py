"""What the numbers show and what they do not, in sentences. Nothing here computes a statistic."""

from collections.abc import Iterator, Sequence

import numpy as np

from adaptx.study.findings import Analysis, Delta, Variance
from adaptx.units import duration

FEW_SEEDS, FEW_LEVELS = 5, 5
BASES = {
    "English": "English on the same intermediate task",
    "none": "no intermediate task",
    "full": "full fine-tuning without an intermediate task",
}


def percent(value: float, signed: bool = False) -> str:
    """A fraction of one in percent points with one digit."""
    return f"{100 * value:+.1f}" if signed else f"{100 * value:.1f}"


def counted(n: int, one: str, many: str = "") -> str:
    """`n` with the noun in the right number."""
    return f"{n} {one if n == 1 else many or one + 's'}"


def say(analysis: Analysis) -> Iterator[str]:
    """Everything, findings first."""
    yield from shows(analysis)
    yield from spreads(analysis)
    yield from choosing(analysis)
    yield from limits(analysis)


def shows(analysis: Analysis) -> Iterator[str]:
    """What was found against the baselines, target by target, and what it took."""
    if analysis.deltas:
        yield f"Above and below mean: significant at 5 % after Holm's correction, {_sampled(analysis.deltas)}."
    for target in analysis.study.targets:
        yield from _differences(analysis, target)
    seconds = _distinct_seconds(analysis)
    yield f"Training the distinct intermediate and target adapters took {duration(seconds)} on {_devices(analysis)}."


def spreads(analysis: Analysis) -> Iterator[str]:
    """Where variance comes from, and how far rankings hold between seeds."""
    for v in analysis.variances:
        if any(v.shares.values()):
            yield _share(v)
    for s in analysis.stabilities:
        yield (
            f"{s.target}, {s.method}: the ranking of {counted(s.systems, 'system')} by one seed agrees with another's "
            f"with Kendall tau {s.taus[0]:.2f} (from {s.taus[1]:.2f} to {s.taus[2]:.2f}; 1 is the same ranking, "
            "0 an unrelated one)."
        )


def choosing(analysis: Analysis) -> Iterator[str]:
    """What a choice without target labels loses."""
    for c in analysis.choices:
        yield (
            f"{c.target}, {c.method}: choosing among {counted(c.systems, 'system')} by English dev scores gives "
            f"{percent(c.score)}, the best system on the target test set {percent(c.best)}; the choices agree in "
            f"{c.agreed} of {counted(c.seeds, 'seed')} (the latter has seen the test set and is a bound, not a result)."
        )
    groups = dict.fromkeys((r.target, r.method) for r in analysis.regrets)
    for target, method in groups:
        found = [r for r in analysis.regrets if (r.target, r.method) == (target, method) and 1 in r.at]
        losses = [f"{100 * r.at[1]:.1f} by {r.ordering}" for r in found]
        yield f"{target}, {method}: points lost by training on the one source that is named first: {', '.join(losses)}."


def limits(analysis: Analysis) -> Iterator[str]:
    """What must be known before the findings are believed."""
    table, study = analysis.table, analysis.study
    leading = table[table["leading"]]
    good = int((leading["status"] == "ok").sum())
    yield (
        f"{good} of {len(leading)} scored cells enter the statistics, of seeds {', '.join(map(str, study.seeds))}. "
        f"Nothing here is about another target language than {study.language}."
    )
    if len(leading) > good:
        yield (
            f"{int((leading['status'] == 'collapsed').sum())} collapsed (somewhere on the way a score at or below a "
            f"constant answer's) and {int((leading['status'] == 'failed').sum())} failed. They are listed apart and "
            "are in no mean; means over what is left are optimistic to that extent."
        )
    if len(study.seeds) < FEW_SEEDS:
        yield (
            f"There are {counted(len(study.seeds), 'seed')}: intervals over seeds are wide or missing, and the seed "
            "component of variance is uncertain."
        )
    smallest = [d for d in analysis.deltas if d.result.seeds > 1]
    if smallest:
        half = float(np.median([(d.result.high - d.result.low) / 2 for d in smallest]))
        yield (
            "A difference that is not significant is not shown to be absent: half of the 95 % intervals reach "
            f"{percent(half)} points or more to either side."
        )
    yield from (f"{target}: {note}." for target, note in _notes(analysis))
    trained = sorted({n for notes in table["data_notes"] for n in str(notes).split(" | ") if n})
    if trained:
        yield f"Training data: {'; '.join(n.rstrip('.') for n in trained)}."
    if table["source"].nunique() > 1:
        yield (
            "Data of two source languages differ in more than the language (origin, translation, size): what is "
            "attributed to a source language stands for all of it."
        )
    if len([t for t in study.targets if any(d.system.target == t for d in analysis.deltas)]) > 1:
        yield "Holm's correction is made within each target and base of comparison, not over the whole page."
    if study.language in study.sources:
        yield (
            f"{study.language} is a source as well as the target: what starts from it is not zero-shot and bounds what "
            "the others could reach."
        )
    for gap in analysis.gaps:
        yield f"Not in the grid: {gap.what} ({gap.why})."


def _notes(analysis: Analysis) -> Iterator[tuple[str, str]]:
    """What test sets say of themselves."""
    for target in analysis.study.targets:
        notes = {str(n) for n in analysis.table.loc[analysis.table["target"] == target, "note"] if n}
        yield from ((target, note.rstrip(".")) for note in sorted(notes))


def _differences(analysis: Analysis, target: str) -> Iterator[str]:
    for against, what in BASES.items():
        found = [d for d in analysis.deltas if d.system.target == target and d.against == against]
        if not found:
            continue
        better = [d for d in found if d.significant and d.result.delta > 0]
        worse = [d for d in found if d.significant and d.result.delta < 0]
        text = (
            f"{target}: of {counted(len(found), 'system')}, {len(better)} score above {what} and {len(worse)} below it."
        )
        if better:
            text += f" The largest gain is {_named(max(better, key=lambda d: d.result.delta))}."
        if worse:
            text += f" The largest loss is {_named(min(worse, key=lambda d: d.result.delta))}."
        yield text


def _sampled(found: Sequence[Delta]) -> str:
    if any(d.result.seeds < 2 for d in found):
        return "test items sampled; with a single seed nothing is known about other seeds"
    return "test items and seeds both sampled"


def _share(v: Variance) -> str:
    top = max(v.shares, key=lambda k: v.shares[k])
    text = (
        f"{v.target}, {v.method}: the largest component of variance is {top}, by estimate {100 * v.shares[top]:.0f} %"
    )
    if v.intervals is not None:
        low, high = v.intervals[top]
        text += f" (interval {100 * low:.0f} to {100 * high:.0f} %)"
    sizes = [counted(n, noun) for noun, n in v.levels.items()]
    text += f", from {', '.join(sizes[:-1])} and {sizes[-1]}"
    return text + (": an indication, not a measurement." if min(v.levels.values()) < FEW_LEVELS else ".")


def _named(delta: Delta) -> str:
    r = delta.result
    between = f"{percent(r.low, True)} to {percent(r.high, True)}"
    return f"{percent(r.delta, True)} points for {delta.system.name} (95 % interval {between})"


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
