"""Python that loads an adapter with the tools of others, as text for its card. Knows the manifest alone."""

from adaptx.manifest import Manifest

FOLDER = "path/to/this/folder"
MAX_LABELS = 60  # more of them are a table, which the manifest holds


def backbone_of(manifest: Manifest) -> str:
    """What `from_pretrained` is given: the Hub id, or a place to fill in where the backbone has none."""
    r = manifest.recipe.backbone
    return r.id if "/" in r.id else f"path/to/{r.name}"


def encoder(manifest: Manifest) -> str:
    """Code that leaves the backbone with the adapter, and everything that it stands on, in `model`.

    Raises KeyError for a family that other tools do not load.
    """
    r = manifest.recipe
    below = [f"path/to/{p.ref.split(':')[0].replace('/', '-')}" for p in r.parent("stack")]
    return {"bottleneck": _bottleneck, "fusion": _fusion, "lora": _lora, "full": _full}[r.family](manifest, below)


def _bottleneck(manifest: Manifest, below: list[str]) -> str:
    model = f'model = AutoAdapterModel.from_pretrained("{backbone_of(manifest)}")'
    own = f'model.load_adapter("{FOLDER}/adapter", use_safetensors=True)'
    if not below:
        return f"from adapters import AutoAdapterModel\n\n{model}\nmodel.set_active_adapters({own})"
    loads = "\n".join(f'    model.load_adapter("{path}/adapter", use_safetensors=True),' for path in below)
    return (
        "from adapters import AutoAdapterModel\nfrom adapters.composition import Stack\n\n"
        f"{model}\nnames = [\n{loads}\n    {own},\n]\nmodel.set_active_adapters(Stack(*names))"
    )


def _fusion(manifest: Manifest, below: list[str]) -> str:
    members = sorted({f.path.split("/")[1] for f in manifest.files if f.path.count("/") == 2})
    return (
        "from adapters import AutoAdapterModel\n\n"
        f'model = AutoAdapterModel.from_pretrained("{backbone_of(manifest)}")\n'
        f'for name in {members}:\n    model.load_adapter(f"{FOLDER}/adapter/{{name}}", use_safetensors=True)\n'
        f'model.load_adapter_fusion("{FOLDER}/adapter", use_safetensors=True, set_active=True)'
    )


def _lora(manifest: Manifest, below: list[str]) -> str:
    start = (
        "from peft import PeftModel\nfrom transformers import AutoModel\n\n"
        f'model = AutoModel.from_pretrained("{backbone_of(manifest)}")\n'
    )
    if not below:
        return f'{start}model = PeftModel.from_pretrained(model, "{FOLDER}/adapter")'
    names = [f"below{i}" for i in range(len(below))]
    first, *others = [*zip(names, below, strict=True), ("own", FOLDER)]
    loads = "\n".join(f'model.load_adapter("{path}/adapter", "{name}")' for name, path in others)
    return (
        f'{start}model = PeftModel.from_pretrained(model, "{first[1]}/adapter", "{first[0]}")\n{loads}\n'
        f"model.base_model.set_adapter({[*names, 'own']})"
    )


def _full(manifest: Manifest, below: list[str]) -> str:
    return f'from transformers import AutoModel\n\nmodel = AutoModel.from_pretrained("{FOLDER}/adapter")'


# What a task kind's head reads: the arguments of the tokenizer, and which states [S, H].
INPUTS = {
    "classification": ('"A text.", "A second text, in tasks on pairs."', "states[:, 0]"),
    "tagging": ('["Three", "words", "."], is_split_into_words=True', "states[0, first]"),
    "span_qa": ('"A question?", "A text that holds the answer."', "states[0]"),
    "multiple_choice": ('"Context and question.", "One of the choices."', "states[:, 0]"),
}
DENSE = ("classification", "multiple_choice")
OUTPUTS = {
    "span_qa": "Two outputs a token: it starts the answer, it ends it; the first token stands for no answer.",
    "multiple_choice": "One output, the score of a choice.",
}


def head(manifest: Manifest) -> str:
    """Code that leaves the head's outputs in `logits`, after the code of `encoder`; empty where no head is used."""
    task = manifest.recipe.tasks[0] if manifest.recipe.tasks else None
    if task is None or task.kind not in INPUTS or not any(f.path == "head.safetensors" for f in manifest.files):
        return ""
    inputs, selected = INPUTS[task.kind]
    lines = [
        "import torch",
        "from safetensors.torch import load_file",
        "from transformers import AutoTokenizer",
        "",
        f'head = load_file("{FOLDER}/head.safetensors")',
        f'tokenizer = AutoTokenizer.from_pretrained("{backbone_of(manifest)}")',
        f'inputs = tokenizer({inputs}, return_tensors="pt")',
        *(["first = [inputs.word_ids().index(word) for word in range(3)]"] if task.kind == "tagging" else []),
        "with torch.no_grad():",
        "    states = model.eval()(**inputs).last_hidden_state",
        f"    selected = {selected}",
    ]
    if task.kind in DENSE:
        lines.append(f"    selected = torch.tanh({_linear(task.id, 'dense')})")
    return "\n".join([*lines, f"    logits = {_linear(task.id, 'out')}"])


def _linear(task: str, stem: str) -> str:
    return f'torch.nn.functional.linear(selected, head["{task}.{stem}.weight"], head["{task}.{stem}.bias"])'


def outputs(manifest: Manifest) -> str:
    """In words what the outputs of the head mean."""
    task = manifest.recipe.tasks[0]
    labels = manifest.labels.get(task.id, ())
    if task.kind in OUTPUTS:
        return OUTPUTS[task.kind]
    if len(labels) > MAX_LABELS:
        return f"Its {len(labels)} outputs are named in manifest.json, in order, under `labels`."
    return f"Outputs in order: {', '.join(labels)}."
