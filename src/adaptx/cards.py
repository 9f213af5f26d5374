"""The README of an adapter folder, generated from its manifest: what, how trained, scores, terms, how to load it.

Knows the manifest only. The YAML front matter is what the Hugging Face Hub indexes.
"""

from adaptx.manifest import Manifest
from adaptx.units import count, duration

LIBRARY = {"bottleneck": "adapters", "lora": "peft", "full": "transformers"}


def non_commercial(licence: str) -> bool:
    """Whether a licence's name says that commercial use is excluded."""
    return "-nc" in licence.lower() or "non-commercial" in licence.lower()


def render(manifest: Manifest) -> str:
    """The card as Markdown with YAML front matter."""
    r, cost = manifest.recipe, manifest.cost
    device = manifest.hardware.get("gpu") or manifest.hardware["cpu"]
    restricted = [x for x in manifest.licences if non_commercial(x)]
    licences = "; ".join(manifest.licences)
    front = [
        "---",
        f"library_name: {LIBRARY[r.family]}",
        f"base_model: {r.backbone.id}",
        f"language: {r.lang}",
        "license: other",
        f'license_name: "{licences}"',
        "tags:",
        "- adaptx",
        f"- {r.task}",
        f"- {r.method}",
        "---",
    ]
    scores = [
        f"| {split} | {name} | {value:.4f} |"
        for split, values in manifest.metrics.items()
        for name, value in values.items()
    ]
    rows = [f"| {d.split} | {d.source} | {d.id} | {d.rows} | {d.licence} |" for d in r.data]
    parents = [f"- {p.how.replace('_', ' ')}: {p.ref}" for p in r.parents]
    parts = [
        "\n".join(front),
        f"# {manifest.ref}",
        f"{r.method} weights for {r.backbone.name}, trained on {r.lang}/{r.task} with adaptx. Run {manifest.run}.",
        "\n".join(["## Scores on its own language", "", "| split | metric | value |", "|---|---|---|", *scores]),
        "\n".join(
            [
                "## Training",
                "",
                f"{count(cost['trainable_parameters'])} trainable weights, {cost['steps']} steps of at most "
                f"{r.optimiser.batch_tokens} tokens, peak learning rate {r.optimiser.lr:g}, {r.precision}, "
                f"seed {r.seed}, {duration(cost['seconds']['train'])} on {device}.",
                *(["", "Builds on:", "", *parents] if parents else []),
            ]
        ),
        "\n".join(
            [
                "## Data and terms",
                "",
                "| split | source | id | rows | licence |",
                "|---|---|---|---|---|",
                *rows,
                *(["", f"**Non-commercial**: {', '.join(restricted)}."] if restricted else []),
            ]
        ),
        _loading(manifest),
    ]
    if manifest.notes:
        parts.insert(4, "\n".join(["## Notes", "", *[f"- {n}" for n in manifest.notes]]))
    return "\n\n".join(parts) + "\n"


def _loading(manifest: Manifest) -> str:
    r = manifest.recipe
    here = "path/to/this/folder/adapter"
    code = {
        "bottleneck": "import adapters\nfrom transformers import AutoModel\n\n"
        f'model = AutoModel.from_pretrained("{r.backbone.id}")\nadapters.init(model)\n'
        f'model.set_active_adapters(model.load_adapter("{here}", use_safetensors=True))',
        "lora": "import peft\nfrom transformers import AutoModel\n\n"
        f'model = AutoModel.from_pretrained("{r.backbone.id}")\n'
        f'model = peft.PeftModel.from_pretrained(model, "{here}")',
        "full": f'from transformers import AutoModel\n\nmodel = AutoModel.from_pretrained("{here}")',
    }[r.family]
    return (
        f"## Loading\n\nWith adaptx: `adaptx predict {r.lang}/{r.task}:{r.method}`. With {LIBRARY[r.family]} alone "
        f"(the head is in head.safetensors):\n\n```python\n{code}\n```"
    )
