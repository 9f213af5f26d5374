"""Every intermediate task on real data, and what stands on it: `ADAPTX_DATA=... python benchmarks/intermediate.py`.

Parts, each kept in results/intermediate.json as soon as it is done, and all of them in results/intermediate.md
(`--part` runs one alone; what the store has is not trained again):

english    the nine intermediate tasks of Phang et al. 2020 in English: dev score beside the constant answer's
other      Swedish and Estonian ones
tydiqa     zero-shot Finnish TyDiQA-GoldP, from SQuAD 1.1 and from nothing (Phang et al. 2020, table 2)
language   a Finnish language adapter beside a head without one, an English one, and Finnish UDPOS on the first, on
           none, on the English one (MAD-X)
multitask  one adapter for NLI, paraphrases and questions

Rows are bounded so that two processor cores are enough: the scores show that a task trains, not how far it goes.
"""

import argparse
import json
from pathlib import Path
from typing import Any

from stamp import stamp

import adaptx
from adaptx import atomic
from adaptx.chance import chance_level
from adaptx.data import sources
from adaptx.recipe import Recipe
from adaptx.units import score

RESULTS = Path(__file__).parent / "results"
ENGLISH: dict[str, dict[str, Any]] = {
    "anli": {"limit": 4000, "epochs": 1},
    "mnli": {"limit": 4000, "epochs": 1},
    "qqp": {"limit": 4000, "epochs": 1},
    "ccg": {"limit": 3000, "epochs": 1},
    "squad_v1": {"limit": 2500, "epochs": 1},
    "commonsenseqa": {"limit": 4000, "epochs": 1},
    "cosmosqa": {"limit": 1000, "epochs": 1},
    "hellaswag": {"limit": 4000, "epochs": 1},
    "squad_v2": {"limit": 4449, "epochs": 2},
}
OTHER: tuple[tuple[str, str, dict[str, Any]], ...] = (
    ("sv", "anli", {"limit": 3000, "epochs": 1}),
    ("sv", "qqp", {"limit": 5715, "epochs": 3}),
    ("sv", "squad_v2", {"limit": 4449, "epochs": 2}),
    ("sv", "squad_v2", {"limit": 2000, "epochs": 1, "init_from": "en/squad_v1"}),
    ("et", "anli", {"limit": 2000, "epochs": 1}),
    ("et", "squad_v1", {"limit": 800, "epochs": 1}),
)
INTRODUCTION = """\
Bundled backbone, Pfeiffer adapters, one seed; rows are bounded (`benchmarks/intermediate.py`), so that a score says
that a task trains, not how far it goes. Baseline: the most frequent answer of the same data, at least a uniform guess
among choices, no answer to a question; for mlm the model before it was trained. Minutes are those of training; other
work may have run beside."""
MASKED: dict[str, Any] = {"limit": 1200, "max_steps": 150}
SHORT: dict[str, Any] = {"limit": 1500, "epochs": 1}


def row(adapter: adaptx.Adapter) -> dict[str, Any]:
    """What the table says of a finished adapter."""
    manifest = adapter.stored.manifest
    recipe = manifest.recipe
    rows = [sum(d.rows for d in recipe.data if d.split == "train" and d.task == t.id) for t in recipe.tasks]
    return {
        "ref": adapter.ref,
        "from": next((p.ref for p in recipe.parents if p.how == "init_from"), None),
        "rows": sum(min(n, recipe.limit or n) for n in rows),
        "tokens": adapter.cost["tokens"],
        "minutes": round(adapter.cost["seconds"]["train"] / 60, 2),
        "baseline": {**manifest.baseline, **test_baseline(recipe)},
        "metrics": adapter.metrics,
    }


def test_baseline(recipe: Recipe) -> dict[str, dict[str, float]]:
    """The constant answer's score on the test data, keyed as a manifest's metrics are; nothing where there is none."""
    settings, out = adaptx.settings(), {}
    for one in recipe.tasks:
        task = settings.registry.task(one.id)
        if "test" in sources.pick(settings, task, recipe.lang).splits:
            level = chance_level(task, sources.load(settings, task, recipe.lang, "test").examples)
            if level is not None:
                out["test" if len(recipe.tasks) == 1 else f"{one.id}/test"] = {level.metric: level.level}
    return out


def english() -> list[dict[str, Any]]:
    """The nine tasks, the dearest last."""
    return [row(adaptx.train("en", task, **options)) for task, options in ENGLISH.items()]


def other() -> list[dict[str, Any]]:
    """Other source languages."""
    return [row(adaptx.train(lang, task, **options)) for lang, task, options in OTHER]


def cells(scores: adaptx.Scores) -> list[dict[str, Any]]:
    """Every system, task and metric of a table."""
    return [dict(r) for r in scores.frame().astype(object).where(scores.frame().notna(), None).to_dict("records")]


def tydiqa() -> list[dict[str, Any]]:
    """Finnish questions, from the English SQuAD adapter and from nothing."""
    squad = adaptx.train("en", "squad_v1", **ENGLISH["squad_v1"])
    return cells(adaptx.evaluate("fi", tasks="tydiqa", adapters=[squad.ref], **SHORT))


def language() -> dict[str, Any]:
    """Language adapters and the three rows of the ablation."""
    store = adaptx.settings().store / "language"  # of their own: every adapter of a store is a row
    mlm = [adaptx.train(lang, "mlm", store=store, **MASKED) for lang in ("fi", "en")]
    mlm.insert(1, adaptx.train("fi", "mlm", "probe", **MASKED))  # the same head, trained as long, and no adapter
    scores = adaptx.evaluate("fi", tasks="udpos", ablate=True, limit=3000, epochs=1, store=store)
    return {"adapters": [row(a) for a in mlm], "finnish": cells(scores)}


def multitask() -> dict[str, Any]:
    """Three tasks in one adapter, a head each."""
    return row(adaptx.train("en", "anli+qqp+squad_v1", **SHORT))


PARTS = {f.__name__: f for f in (english, other, tydiqa, language, multitask)}


def lines_of(adapters: list[dict[str, Any]]) -> list[str]:
    """Table rows: dev score beside the baseline, test score where there is one."""
    out = []
    for a in adapters:
        for key, scores in a["metrics"].items():
            if not key.endswith("dev"):
                continue
            metric = next((m for m in a["baseline"].get(key, {}) if m in scores), next(iter(scores)))
            test = f"{key.removesuffix('dev')}test"
            name, _, method = a["ref"].partition("@")[0].partition(":")
            name += "" if method == "pfeiffer" else f", {method}"
            name += f", {key.removesuffix('/dev')}" if "/" in key else ""
            name += f", from {a['from'].partition(':')[0]}" if a.get("from") else ""
            both = ((a["metrics"].get(k, {}), a["baseline"].get(k, {})) for k in (key, test))
            values = [v.get(metric) for pair in both for v in pair]
            shown = ["" if v is None else score(metric, v) for v in values]
            out.append(f"| {name} | {metric} | {' | '.join(shown)} | {a['rows']:,} | {a['minutes']:.1f} |")
    return out


def table(result: dict[str, Any]) -> str:
    """The results as Markdown."""
    head = ["| adapter | metric | dev | baseline | test | baseline | rows | minutes |", f"|---|---|{'---:|' * 6}"]
    scored = ["| system | task | metric | score | 95 % interval | n |", "|---|---|---|---:|---|---:|"]

    def scores(rows: list[dict[str, Any]]) -> list[str]:
        return scored + [
            f"| {r['adapter']} | {r['task']} | {r['metric']} | {100 * r['score']:.1f} "
            f"| [{100 * r['low']:.1f}, {100 * r['high']:.1f}] | {r['n']:,} |"
            for r in rows
        ]

    out = ["# Intermediate tasks on real data", "", INTRODUCTION, ""]
    if "english" in result:
        out += ["## In English", "", *head, *lines_of(result["english"]["value"]), ""]
    if "other" in result:
        out += ["## In Swedish and Estonian", "", *head, *lines_of(result["other"]["value"]), ""]
    if "tydiqa" in result:
        out += ["## Finnish TyDiQA-GoldP from SQuAD 1.1 and from nothing", "", *scores(result["tydiqa"]["value"]), ""]
    if "language" in result:
        value = result["language"]["value"]
        out += ["## Language adapters", "", *head, *lines_of(value["adapters"]), ""]
        out += [*scores(value["finnish"]), ""]
    if "multitask" in result:
        out += ["## Three tasks in one adapter", "", *head, *lines_of([result["multitask"]["value"]]), ""]
    about = next(iter(result.values()))
    used = ", ".join(f"{p} {about['versions'][p]}" for p in ("torch", "transformers", "adapters"))
    out.append(f"{about['hardware']['cpu']}, {about['hardware']['cores']} cores; {used}.")
    return "\n".join(out) + "\n"


def main() -> None:
    """Run the parts asked for and write both files after each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--part", action="append", choices=list(PARTS), help="one part (may be given several times)")
    file = RESULTS / "intermediate.json"
    for part in parser.parse_args().part or PARTS:
        value = PARTS[part]()
        result = json.loads(file.read_text("utf-8")) if file.is_file() else {}
        result[part] = {**stamp(), "value": value}
        atomic.write_json(file, {p: result[p] for p in PARTS if p in result})
        atomic.write_bytes(RESULTS / "intermediate.md", table(result).encode())


if __name__ == "__main__":
    main()
