"""Finished adapters in Python: train one, list them, predict with them."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Unpack

from adaptx.api.options import Options, Places, listed, progress_shown, resolve, settings
from adaptx.config import Settings
from adaptx.errors import AdaptxError
from adaptx.notebook import Grid
from adaptx.recipe import PrecisionChoice
from adaptx.refs import parse_ref
from adaptx.store import Stored


@dataclass(frozen=True, repr=False)
class Adapter:
    """A finished, verified adapter of the store."""

    stored: Stored
    settings: Settings = field(compare=False)

    @property
    def ref(self) -> str:
        """`LANG/TASK:METHOD@RUN`."""
        return self.stored.ref

    @property
    def folder(self) -> Path:
        """Where it lives; `folder / "adapter"` is what `adapters` and `peft` load."""
        return self.stored.folder

    @property
    def metrics(self) -> dict[str, dict[str, float]]:
        """Split -> metric -> score in 0..1, in the language it was trained on."""
        return self.stored.manifest.metrics

    @property
    def cost(self) -> dict[str, Any]:
        """Seconds by phase, steps, tokens, tokens per second, trainable weights, peak memory in bytes."""
        return self.stored.manifest.cost

    @property
    def card(self) -> str:
        """The model card, as Markdown."""
        return (self.folder / "README.md").read_text("utf-8")

    def predict(self, texts: Sequence[str] | str) -> "list[Prediction]":
        """Predictions on top of what the adapter was trained on; see `Predictor.predict`."""
        return _predictor((self.stored,), self.settings, "auto").predict(texts)

    def _grid(self) -> Grid:
        cost = self.cost
        rows = [(f"{split} {name}", f"{value:.4g}") for split, m in self.metrics.items() for name, value in m.items()]
        rows.append(("trainable weights", f"{cost.get('trainable_parameters', 0):,}"))
        rows.append(("seconds", f"{sum(cost.get('seconds', {}).values()):.1f}"))
        rows.append(("from", ", ".join(p.ref for p in self.stored.recipe.parents) or "the bare backbone"))
        return Grid(self.ref, ("", self.stored.recipe.backbone.name), tuple(rows), self.stored.manifest.notes)

    def __repr__(self) -> str:
        return f"Adapter({self.ref})"

    def __str__(self) -> str:
        return self._grid().text()

    def _repr_html_(self) -> str:
        return self._grid().html()


def adapters(**places: Unpack[Places]) -> list[Adapter]:
    """Every finished adapter in the store, by reference and age."""
    from adaptx import store

    here = settings(**places)
    return [Adapter(s, here) for s in store.listing(here.store)]


def _found(here: Settings, refs: Sequence[str]) -> tuple[Stored, ...]:
    """The adapters that references name. Raises AX005, AX006, AX007."""
    from adaptx import backbones, store

    name = backbones.locate(here).name if refs else ""
    return tuple(store.find(here.store, parse_ref(ref), name) for ref in refs)


def train(
    lang: str,
    task: str,
    method: str | None = None,
    *,
    stack: Sequence[str] | str = (),
    init_from: str | None = None,
    progress: bool = True,
    **options: Unpack[Options],
) -> Adapter:
    """The adapter of this recipe: found in the store, or trained now.

    `task`: one id, or several joined by "+" that share the adapter. `method`: an id of `adaptx ls methods`, pfeiffer by
    default; "full" is the fine-tuned baseline. `stack`: references of frozen adapters to stand on, bottom up.
    `init_from`: reference of an adapter whose weights to start from. `options`: `Places` and `Training`.

    Raises AX001 to AX003 for unknown names, AX014 without data, AX051 for what does not combine, AX070 for values.
    """
    from adaptx import training
    from adaptx.stack import Stack

    here, chosen = resolve(options, method)
    below, origin = _found(here, listed(stack)), _found(here, [init_from] if init_from else [])
    with progress_shown(progress) as report:
        job = training.prepare(here, lang, task, chosen, init_from=next(iter(origin), None), stack=Stack(below))
        return Adapter(training.run(job, report), here)


@dataclass(frozen=True)
class Prediction:
    """What a model says of one text: `value` is a label, an answer, a choice, or a tag for each of `words`."""

    text: str
    value: str | tuple[str, ...]
    words: tuple[str, ...] = ()

    def __str__(self) -> str:
        if self.words:
            return " ".join(f"{w}/{t}" for w, t in zip(self.words, self.value, strict=True))
        return f"{self.value}\t{self.text}"


@dataclass(frozen=True, repr=False)
class Predictor:
    """A stack of adapters on its backbone; the last one's head predicts."""

    stack: tuple[Stored, ...]
    settings: Settings
    precision: str = "auto"

    def predict(self, texts: Sequence[str] | str) -> list[Prediction]:
        """One prediction a text, in order; one text alone is a list of one.

        Pairs, questions and choices are one text each with " ||| " between their parts; words to be tagged are
        separated by spaces. Raises AX051 for a head that predicts no text, AX070 for texts of the wrong form.
        """
        from adaptx import predict
        from adaptx.stack import Stack

        with progress_shown(False):
            rows = predict.predict_with(
                self.settings, Stack(self.stack), [texts] if isinstance(texts, str) else list(texts), self.precision
            )
        return [
            Prediction(r["text"], tuple(r["prediction"]), tuple(r["words"]))
            if "words" in r
            else Prediction(r["text"], r["prediction"])
            for r in rows
        ]

    def __repr__(self) -> str:
        return f"Predictor({' + '.join(s.ref for s in self.stack)})"


def _predictor(found: tuple[Stored, ...], here: Settings, precision: str) -> Predictor:
    from adaptx.table import below

    return Predictor((*below(here, found[0]), *found) if len(found) == 1 else found, here, precision)


def load(
    *refs: str, precision: PrecisionChoice = "auto", **places: Unpack[Places]
) -> Predictor:
    """The stack of these adapters, bottom up, ready to predict: `load("fi/mlm", "en/udpos").predict(["Hyvää päivää"])`.

    One reference alone stands on what it was trained on; several are taken exactly as given, which is how a language
    adapter is swapped. Raises AX005 to AX007 for references, AX020 to AX023 for damaged ones.
    """
    if not refs:
        raise AdaptxError("AX070", "no reference", "expected at least one, e.g. en/udpos.")
    here = settings(**places)
    return _predictor(_found(here, refs), here, precision)
