"""The README of an adapter folder, generated from its manifest: what, how trained, scores, terms, how to load and cite.

Knows the manifest and scores that it is given, no store and no hub. The YAML front matter is what the Hugging Face Hub
indexes.
"""

from collections.abc import Sequence
from typing import Any

import yaml

from adaptx import licences, snippets
from adaptx.manifest import Manifest
from adaptx.registry import Model
from adaptx.units import count, duration, score

LIBRARY = {"bottleneck": "adapters", "fusion": "adapters", "lora": "peft", "full": "transformers", "probe": "adaptx"}
PIPELINES = {
    "classification": "text-classification",
    "tagging": "token-classification",
    "span_qa": "question-answering",
    "multiple_choice": "multiple-choice",
    "retrieval": "sentence-similarity",
    "mlm": "fill-mask",
}


class Score(Model):
    """A zero-shot score, a fraction of one, with its 95 % interval over `n` test items.

    `system`: the references of the stack that was scored, bottom up. `kind`: the task's kind, empty where unknown.
    """

    lang: str
    task: str
    kind: str = ""
    metric: str
    value: float
    low: float
    high: float
    n: int
    system: str


def render(manifest: Manifest, scores: Sequence[Score] = ()) -> str:
    """The card as Markdown with YAML front matter; `scores` are what is known of it in other languages."""
    r = manifest.recipe
    sections = [
        f"# {manifest.ref}",
        f"{r.method} weights for {r.backbone.name}, {_made(manifest)} Run `{manifest.run}`.",
        _zero_shot(scores),
        _own_scores(manifest),
        "\n".join(["## Notes", "", *[f"- {n}" for n in manifest.notes]]) if manifest.notes else "",
        _training(manifest),
        _terms(manifest),
        _loading(manifest),
        _citing(manifest),
    ]
    return f"---\n{_yaml(_front(manifest, scores))}---\n\n" + "\n\n".join(s for s in sections if s) + "\n"


def front_page(repository: str, versions: Sequence[tuple[Manifest, str]]) -> str:
    """The README of a Hub repository that holds several versions, each with its folder there, newest last."""
    held = [m for m, _ in versions]
    libraries = sorted({LIBRARY.get(m.recipe.family, "adaptx") for m in held})
    terms = tuple(sorted({x for m in held for x in m.licences}))
    front: dict[str, Any] = {
        "library_name": libraries[0] if len(libraries) == 1 else "adaptx",
        "base_model": sorted({m.recipe.backbone.id for m in held if "/" in m.recipe.backbone.id}),
        "language": sorted({x for m in held for x in m.recipe.lang.split("+")}),
        **licences.front_matter(terms),
        "datasets": sorted({d.id for m in held for d in m.recipe.data if d.source == "hub"}),
        "tags": [
            "adaptx",
            "cross-lingual-transfer",
            *libraries,
            *sorted({m.recipe.method for m in held}),
        ],
    }
    rows = [
        f"| {m.ref} | {m.recipe.backbone.name} | {licences.strictest(m.licences)} | `{place}` |"
        for m, place in reversed(versions)
    ]
    return (
        f"---\n{_yaml({k: v for k, v in front.items() if v})}---\n\n# {repository.split('/')[-1]}\n\n"
        "Adapters for cross-lingual transfer, one folder a version; each has a card of its own with scores, training, "
        "terms and how to load it.\n\n| adapter | backbone | licence | folder |\n|---|---|---|---|\n"
        + "\n".join(rows)
        + f"\n\n```\nadaptx hub pull LANG/TASK --hub hf://{repository}\n```\n\n"
        "With other tools: download one folder and load its `adapter/`, as its card shows.\n\n"
        f'```python\nfrom huggingface_hub import snapshot_download\n\nfolder = snapshot_download("{repository}", '
        f'allow_patterns="FOLDER/*") + "/FOLDER"\n```\n'
    )


def _yaml(value: dict[str, Any]) -> str:
    return str(yaml.safe_dump(value, sort_keys=False, allow_unicode=True, width=1000))


def _front(manifest: Manifest, scores: Sequence[Score]) -> dict[str, Any]:
    r = manifest.recipe
    results = [
        *(_result(kind, task, r.lang, split, values) for kind, task, split, values in _own(manifest)),
        *(_result(s.kind, s.task, s.lang, "test", {s.metric: s.value}, s.system) for s in scores),
    ]
    value: dict[str, Any] = {
        "library_name": LIBRARY.get(r.family, "adaptx"),
        "base_model": r.backbone.id if "/" in r.backbone.id else "",
        "base_model_relation": ("finetune" if r.family == "full" else "adapter") if "/" in r.backbone.id else "",
        "language": r.lang.split("+"),
        **licences.front_matter(manifest.licences),
        "datasets": sorted({d.id for d in r.data if d.source == "hub"}),
        "metrics": sorted({m["type"] for result in results for m in result["metrics"]}),
        "tags": list(
            dict.fromkeys(
                ("adaptx", "cross-lingual-transfer", *r.task.split("+"), r.method)
                + (("non-commercial",) if any(map(licences.non_commercial, manifest.licences)) else ())
            )
        ),
        "model-index": [{"name": manifest.ref, "results": results}] if results else [],
    }
    return {k: v for k, v in value.items() if v}


def _result(kind: str, task: str, lang: str, split: str, values: dict[str, float], system: str = "") -> dict[str, Any]:
    via = f", zero-shot by {system}" if system else ""
    return {
        "task": {"type": PIPELINES.get(kind, "other"), "name": task},
        "dataset": {"type": task, "name": f"{task} ({lang})", "config": lang, "split": split},
        "metrics": [{"type": k, "value": round(v, 4), "name": f"{k}{via}"} for k, v in values.items()],
    }


def _own(manifest: Manifest) -> list[tuple[str, str, str, dict[str, float]]]:
    """Kind, task, split and metrics of the scores in its own language."""
    kinds = {t.id: t.kind for t in manifest.recipe.tasks}
    out = []
    for key, values in manifest.metrics.items():
        task, _, split = key.rpartition("/")
        task = task or manifest.recipe.task
        out.append((kinds.get(task, ""), task, split, values))
    return out


def _made(manifest: Manifest) -> str:
    r = manifest.recipe
    if manifest.origin:
        return f"for {r.lang}/{r.task}, made elsewhere and imported from {manifest.origin} with adaptx."
    return f"trained on {r.lang}/{r.task} with adaptx."


def _zero_shot(scores: Sequence[Score]) -> str:
    if not scores:
        return ""
    rows = [
        f"| {s.lang} | {s.task} | {s.metric} | {100 * s.value:.1f} | {100 * s.low:.1f} to {100 * s.high:.1f} | {s.n:,} "
        f"| {s.system} |"
        for s in scores
    ]
    head = ["| language | task | metric | value | 95 % interval | n | system |", "|---|---|---|---|---|---|---|"]
    text = "In percent; bootstrap intervals over test items. Target adapters start from this one where they are named."
    return "\n".join(["## Zero-shot scores", "", text, "", *head, *rows])


def _own_scores(manifest: Manifest) -> str:
    rows = [
        f"| {task} | {split} | {name} | {score(name, value)} |"
        for _, task, split, values in _own(manifest)
        for name, value in values.items()
    ]
    head = ["| task | split | metric | value |", "|---|---|---|---|"]
    return "\n".join(["## Scores in its own language", "", *head, *rows]) if rows else ""


def _training(manifest: Manifest) -> str:
    r, cost = manifest.recipe, manifest.cost
    parents = [f"- {p.how.replace('_', ' ')}: {p.ref}" for p in r.parents]
    lines = ["## Training", ""]
    if not manifest.origin:
        device = manifest.hardware.get("gpu") or manifest.hardware.get("cpu", "an unknown device")
        lines.append(
            f"{count(cost.get('trainable_parameters', 0))} trainable weights, "
            f"{f'at most {r.limit:,} rows, ' if r.limit else ''}{cost['steps']} steps of at most "
            f"{r.optimiser.batch_tokens} tokens, peak learning rate {r.optimiser.lr:g}, {r.precision}, seed {r.seed}, "
            f"{duration(cost['seconds'].get('train', 0.0))} on {device} "
            f"({duration(sum(cost['seconds'].values()))} in all)."
        )
    else:
        lines.append("Not trained by adaptx; nothing is known of its training or its cost.")
    return "\n".join([*lines, *(["", "Builds on:", "", *parents] if parents else [])])


def _terms(manifest: Manifest) -> str:
    rows = [f"| {d.split} | {d.source} | {d.id} | {d.rows:,} | {d.licence} |" for d in manifest.recipe.data]
    restricted = [x for x in manifest.licences if licences.non_commercial(x)]
    table = ["| split | source | id | rows | licence |", "|---|---|---|---|---|", *rows, ""] if rows else []
    text = f"The strictest of its data's licences binds: {licences.strictest(manifest.licences)}."
    if restricted:
        text += f" **Non-commercial use only** ({', '.join(restricted)})."
    return "\n".join(["## Data and terms", "", *table, text])


def _loading(manifest: Manifest) -> str:
    r = manifest.recipe
    headed = any(f.path == "head.safetensors" for f in manifest.files)
    parts = [f"## Loading\n\nWith adaptx:\n\n```\n{_commands(manifest, headed)}\n```"]
    if r.family == "probe":
        return parts[0] + "\n\nNo other tool is needed: the backbone is unchanged, head.safetensors is all there is."
    under = [p.ref for p in r.parent("stack")]
    text = f" It was trained on top of {', '.join(under)}, which is loaded first." if under else ""
    parts.append(f"With {LIBRARY[r.family]} alone.{text}\n\n```python\n{snippets.encoder(manifest)}\n```")
    if code := snippets.head(manifest):
        more = f" The heads of its {len(r.tasks)} tasks differ in name; this is the first." if r.tasks[1:] else ""
        parts.append(f"Its head, after that. {snippets.outputs(manifest)}{more}\n\n```python\n{code}\n```")
    elif not headed:
        parts.append("It has no head.")
    if r.family != "full":
        parts.append(
            f"The backbone's weights have sha256 `{r.backbone.weights_sha256}`; on other weights of the same name the "
            "outputs differ."
        )
    if r.backbone.full_sha256:
        parts.append(
            f"The backbone has a part of the vocabulary of the one with sha256 `{r.backbone.full_sha256}`. "
            + ("Token ids are those of the trimmed tokenizer." if r.family == "full" else "The adapter loads on both.")
        )
    if r.family == "lora":
        whole = headed and len(r.tasks) == 1 and r.tasks[0].kind in ("classification", "tagging", "span_qa")
        use = f' or, with its head, `pipeline("{PIPELINES[r.tasks[0].kind]}", "DIR")`' if whole else ""
        parts.append(
            f"With transformers alone, merged first: `adaptx export {r.lang}/{r.task}:{r.method} --merged DIR`, then "
            f'`AutoModel.from_pretrained("DIR")`{use}.'
        )
    elif r.family in ("bottleneck", "fusion"):
        parts.append("transformers alone cannot run it: bottlenecks do not merge into the backbone's weights.")
    return "\n\n".join(parts)


def _commands(manifest: Manifest, headed: bool) -> str:
    r = manifest.recipe
    ref = f"{r.lang}/{r.task}:{r.method}"
    lines = [f"adaptx hub pull {ref} --hub HUB"]
    if r.role == "language":
        lines.append(f"adaptx train-adapter --lang {r.lang} --task TASK --stack {ref}")
    else:
        lines.append(f"adaptx eval LANG --adapter {ref}")
    if headed and r.tasks and r.tasks[0].kind in snippets.INPUTS:
        lines.append(f'adaptx predict {ref} "TEXT"')
    return "\n".join(lines)


def _citing(manifest: Manifest) -> str:
    r = manifest.recipe
    key = f"adaptx_{r.lang}_{r.task}_{manifest.run[:8]}".replace("+", "_").replace("-", "_")
    return (
        "## Citing\n\nCite the backbone and the data above, and this run:\n\n"
        f"```bibtex\n@misc{{{key},\n  title = {{{r.lang}/{r.task}: {r.method} adapter for {r.backbone.name}}},\n"
        f"  year = {{{manifest.created[:4]}}},\n  note = {{adaptx run {manifest.run}}}\n}}\n```"
    )
