"""Where does a training step's time go? `python benchmarks/remains.py` writes results/remains.{json,md}.

adaptx's rows of `peers.py`, on the same weights and sentences, under torch's profiler: every operation's own time, by
what it is for. Attention is everything between queries, keys and values and the attended states; what int8 adds to its
products is "into and out of 8 bits". Shares are of the operations' time; rates are those without the profiler.
"""

import statistics
from collections import Counter
from typing import Any

import peers
from stamp import keep, machine, stamp
from torch.autograd.profiler_util import FunctionEvent
from torch.profiler import ProfilerActivity, profile

ROWS = (
    ("pfeiffer", "adaptx"),
    ("pfeiffer", "int8"),
    ("pfeiffer", "int8, compiled"),
    ("lora", "adaptx"),
    ("full", "adaptx"),
)
STEPS = 4
# By an ancestor of the operation, first match; then by the operation's own name.
WITHIN = {
    "attention": ("_BucketAttention",),
    "optimiser and clipping": ("Optimizer.",),
    "into and out of 8 bits": ("_Frozen",),
}
NAMED = {
    "matrix products": ("aten::mm", "aten::addmm", "aten::bmm", "aten::linear", "aten::matmul"),
    "activations": ("aten::gelu", "aten::relu", "aten::silu", "aten::tanh"),
    "layer norms": ("aten::native_layer_norm",),
    "sums and scales": ("aten::add", "aten::mul", "aten::sum", "aten::div", "aten::sub"),
    "copies and casts": ("aten::copy_", "aten::cat", "aten::index", "aten::fill_", "aten::zero_", "aten::embedding"),
}
REST = "everything else"
CATEGORIES = ("matrix products", *WITHIN, *(n for n in NAMED if n != "matrix products"), REST)


def category(event: FunctionEvent) -> str:
    """What an operation is for."""
    if event.name == "aten::_int_mm":
        return "matrix products"
    above: Any = event
    while above is not None:
        for name, starts in WITHIN.items():
            if above.name.startswith(starts):
                return name
        above = above.cpu_parent
    return next((name for name, starts in NAMED.items() if event.name.startswith(starts)), REST)


def shares(world: peers.World, method: str, role: str) -> dict[str, Any]:
    """Shares of the operations' time in a step, and the rate with and without the profiler."""
    system = peers.ours(world, method, role)
    system.turn(3)
    plain = system.turn(STEPS)
    with profile(activities=[ProfilerActivity.CPU]) as seen:
        system.turn(STEPS)
    spent: Counter[str] = Counter()
    for event in seen.events() or ():
        spent[category(event)] += event.self_cpu_time_total
    total = sum(spent.values())
    return {
        "shape": world.shape,
        "row": system.name,
        "tokens_per_s": sum(n for _, n in plain) / sum(s for s, _ in plain),
        "seconds_a_step": statistics.median(s for s, _ in plain),
        "shares": {name: spent[name] / total for name in CATEGORIES},
    }


def table(rows: list[dict[str, Any]]) -> str:
    """The shares as Markdown, in percent."""
    out = []
    for shape in peers.SHAPES:
        mine = [r for r in rows if r["shape"] == shape]
        lines = [["% of a step", *(r["row"] for r in mine)], ["---", *("---:" for _ in mine)]]
        lines += [[name, *(f"{100 * r['shares'][name]:.0f}" for r in mine)] for name in CATEGORIES]
        lines += [["tokens/s", *(f"{r['tokens_per_s']:,.0f}" for r in mine)]]
        out += [f"## {shape}", "", *(f"| {' | '.join(line)} |" for line in lines), ""]
    return "\n".join(out)


def main() -> None:
    """Profile every row, print and keep the table."""
    rows = []
    for shape in peers.SHAPES:
        world = peers.world(shape, 2048)
        for method, role in ROWS:
            rows.append(shares(world, method, role))
            print(rows[-1], flush=True)
    made = stamp()
    text = f"# Where a step's time goes\n\n{machine(made)}, 2,048 tokens a step; see `remains.py`.\n\n{table(rows)}"
    keep("remains", {**made, "rows": rows}, text)


if __name__ == "__main__":
    main()
