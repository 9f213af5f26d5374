"""Finds what must not leave a machine in texts that are about to be shared. Pure rules on strings."""

import re
from pathlib import Path

from adaptx.errors import AdaptxError

START = r"(?:^|(?<=[\s\"'(=:,\[]))"
RULES = {
    "a path of this machine": re.compile(
        START + r"(?:/(?:home|Users|root|tmp|var|mnt|media|work|workspace|data|opt|srv|scratch|private|etc|usr)/[\w.-]"
        r"|~/|[A-Za-z]:\\|file://)"
    ),
    "an access token": re.compile(
        r"\b(?:hf_[A-Za-z0-9]{20,}|gh[pousr]_[A-Za-z0-9]{30,}|(?:AKIA|ASIA)[0-9A-Z]{16}|sk-[A-Za-z0-9]{20,})\b"
    ),
    "a private key": re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY"),
}


def check(text: str, where: str) -> None:
    """Raise AX083 where `text` holds a path of this machine, a token or a private key."""
    home = str(Path.home())
    found = next((what for what, rule in RULES.items() if rule.search(text)), None)
    if found is None and len(home) > 5 and home in text:
        found = "a path of this machine"
    if found:
        raise AdaptxError("AX083", where, f"it holds {found}.")
