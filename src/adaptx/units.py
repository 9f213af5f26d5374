"""Numbers with units as people read them. Knows nothing of what is measured."""


def duration(seconds: float) -> str:
    """`seconds` as 8.2 s, 3 min 05 s or 2 h 10 min."""
    if round(seconds, 1) < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"


def count(value: float) -> str:
    """`value` as 930, 12.5 k, 117.7 M or 1.2 G."""
    for limit, unit in ((1e9, "G"), (1e6, "M"), (1e4, "k")):
        if abs(value) >= limit:
            return f"{value / (1e3 if unit == 'k' else limit):.1f} {unit}"
    return f"{value:.0f}"


def size(n_bytes: float) -> str:
    """`n_bytes` in bytes, KiB, MiB or GiB."""
    for unit in ("B", "KiB", "MiB"):
        if n_bytes < 1024:
            return f"{n_bytes:.0f} {unit}" if unit == "B" else f"{n_bytes:.1f} {unit}"
        n_bytes /= 1024
    return f"{n_bytes:.1f} GiB"


def score(metric: str, value: float) -> str:
    """A score as tables show it: shares in percent, perplexity as it is."""
    return f"{value:.1f}" if metric == "perplexity" else f"{100 * value:.1f}"
