"""Which of several licences binds: the strictest wins. Pure rules on names; gives no legal advice and knows no data."""

# The names that the Hugging Face Hub indexes.
INDEXED = (
    *("cc0-1.0", "unlicense", "mit", "apache-2.0", "bsd-2-clause", "bsd-3-clause", "odc-by", "odbl"),
    *("cc-by-2.0", "cc-by-3.0", "cc-by-4.0", "cc-by-sa-3.0", "cc-by-sa-4.0", "cc-by-nd-4.0"),
    *("cc-by-nc-3.0", "cc-by-nc-4.0", "cc-by-nc-sa-3.0", "cc-by-nc-sa-4.0", "cc-by-nc-nd-3.0", "cc-by-nc-nd-4.0"),
    *("gpl-2.0", "gpl-3.0", "lgpl-3.0", "agpl-3.0", "mpl-2.0"),
)
FREE = ("cc0", "public domain", "unlicense", "pddl")
PERMISSIVE = ("mit", "apache", "bsd", "isc")
UNKNOWN = "unknown"


def non_commercial(licence: str) -> bool:
    """Whether a licence's name says that commercial use is excluded."""
    name = licence.lower()
    return "-nc" in name or "non-commercial" in name or "noncommercial" in name or "research only" in name


def strictness(licence: str) -> int:
    """How much a licence asks, by its name: 0 public domain, 1 permissive, 2 attribution, 3 share alike, 4 no
    derivatives, 5-7 non-commercial (alone, share alike, no derivatives), 8 unknown, which may ask anything."""
    name = licence.lower()
    if non_commercial(licence):
        return 7 if "-nd" in name else 6 if "-sa" in name else 5
    if name.startswith("cc-by") or name.startswith("odc-by") or name.startswith("odbl"):
        return 4 if "-nd" in name else 3 if "-sa" in name or name.startswith("odbl") else 2
    if "gpl" in name or name.startswith("mpl"):
        return 3
    if name.startswith(FREE):
        return 0
    return 1 if name.startswith(PERMISSIVE) else 8


def strictest(licences: tuple[str, ...]) -> str:
    """The licence that asks most; "unknown" where there is none."""
    return max(sorted(licences), key=strictness, default=UNKNOWN)


def front_matter(licences: tuple[str, ...]) -> dict[str, str]:
    """The fields by which the Hub shows a licence: its own id where it has one, else `other` and the names."""
    name = strictest(licences)
    if name.lower() in INDEXED:
        return {"license": name.lower()}
    return {"license": "other", "license_name": "; ".join(sorted(licences)) or UNKNOWN}
