"""The Python interface: what the commands do, as functions and values. `import adaptx` offers its names.

Thin: it resolves settings, calls `jobs`, `training`, `table`, `predict` and `study`, and wraps what they give in values
that show themselves in a notebook.
"""

from adaptx.api.models import Adapter, Prediction, Predictor, adapters, load, train
from adaptx.api.options import Places, Training, settings
from adaptx.api.scores import Scores, evaluate
from adaptx.api.study import Study
from adaptx.errors import AdaptxError

__all__ = [
    "Adapter",
    "AdaptxError",
    "Places",
    "Prediction",
    "Predictor",
    "Scores",
    "Study",
    "Training",
    "adapters",
    "evaluate",
    "load",
    "settings",
    "train",
]
