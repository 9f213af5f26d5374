"""A study of the toy world: ten runs of a fraction of a second and twelve scores. Knows no test."""

from typing import Any

from adaptx.config import Settings
from adaptx.study import executors, results
from adaptx.study.plan import Plan, Study, expand
from adaptx.study.run import Summary, run

VALUES: dict[str, Any] = {
    "language": "qaa",
    "sources": ["en", "qaa"],
    "tasks": ["toynli"],
    "targets": ["toypos", "toypairs"],
    "seeds": [0, 1],
    "precision": "fp32",
    "intermediate": {"epochs": 1, "batch_tokens": 128},
    "target": {"epochs": 1, "batch_tokens": 128},
}


def planned(settings: Settings, **changes: Any) -> Plan:
    """The study of `VALUES` with `changes`."""
    return expand(Study.model_validate({**VALUES, **changes}), settings)


def in_process(plan: Plan, settings: Settings) -> Summary:
    """Run it here."""
    return run(plan, settings, executors.InProcess(settings, plan.study, lambda *_: None))


def lasting(plan: Plan, settings: Settings) -> str:
    """The results without what two executions cannot share: seconds, bytes, the time of day."""
    return results.read(plan, settings.store).drop(columns=list(results.MEASURED)).to_csv(index=False)
