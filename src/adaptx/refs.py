"""References to adapters, `LANG/TASK[:METHOD][@RUN]`, and the rule for ids. Knows nothing of stores or registries."""

import re
from dataclasses import dataclass

from adaptx.errors import AdaptxError

ID = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")
LANGUAGE = re.compile(r"[a-z]{2,3}(\+[a-z]{2,3})*")
RUN = re.compile(r"[0-9a-f]{4,64}")
REFERENCE = re.compile(
    rf"(?P<lang>{LANGUAGE.pattern})/(?P<task>{ID.pattern}(\+{ID.pattern})*)"
    rf"(:(?P<method>{ID.pattern}))?(@(?P<run>{RUN.pattern}))?"
)


@dataclass(frozen=True, order=True)
class Ref:
    """Names adapters: all of a language and task, narrowed by a method and a prefix of the run id."""

    lang: str
    task: str
    method: str | None = None
    run: str | None = None

    def __str__(self) -> str:
        method = f":{self.method}" if self.method else ""
        return f"{self.lang}/{self.task}{method}{f'@{self.run}' if self.run else ''}"


def parse_ref(text: str) -> Ref:
    """The reference that `text` spells. Raises AX005 where it does not fit the syntax."""
    match = REFERENCE.fullmatch(text)
    if not match:
        raise AdaptxError("AX005", text, "expected LANG/TASK[:METHOD][@RUN].")
    return Ref(match["lang"], match["task"], match["method"], match["run"])


def parse_refs(text: str) -> tuple[Ref, ...]:
    """The references of a comma-separated list, in order."""
    return tuple(parse_ref(part.strip()) for part in text.split(","))
