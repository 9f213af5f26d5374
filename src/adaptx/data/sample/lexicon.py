"""The words and the word order of one language, as listed in `lexicon/LANG.yaml`.

Looks forms up and never derives one; knows no meaning and no tree.
"""

from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from typing import Any

import yaml

Entry = dict[str, str]


@dataclass(frozen=True)
class Verb:
    """`forms`: mode -> one form, two (singular, plural) or four (persons). `object`: case; `place`: local case."""

    forms: dict[str, tuple[str, ...]]
    object: str
    place: str
    preposition: str
    particle: str

    def form(self, mode: str, person: int) -> str:
        """The form for a person: 0 first singular, 1 third singular, 2 first plural, 3 third plural."""
        forms = self.forms[mode]
        return forms[person * len(forms) // 4]


@dataclass(frozen=True)
class Link:
    """A conjunction: `words` (a comma first where it takes one), `front` when its clause comes first, clause order."""

    words: tuple[str, ...]
    front: tuple[str, ...]
    order: str


@dataclass(frozen=True)
class Part:
    """One item of a clause template: a slot, a verb form (`verb`.`mode`), a word, or a group of parts."""

    slot: str = ""
    verb: str = ""
    mode: str = ""
    word: str = ""
    group: tuple["Part", ...] = ()
    head: bool = False


@dataclass(frozen=True)
class Lexicon:
    """One language. `sections`: section -> id -> form name -> form; the rest as in the file."""

    lang: str
    sections: dict[str, dict[str, Entry]]
    verbs: dict[str, Verb]
    upos: dict[str, str]
    aux: frozenset[str]
    templates: dict[str, tuple[Part, ...]]
    links: dict[str, Link]
    report: Link
    noun_phrases: dict[tuple[str, str, str], tuple[str, str, str]]
    settings: dict[str, dict[str, str]]
    phrases: dict[str, dict[str, str]]
    conjunct: str
    front_comma: bool

    def noun_phrase(self, definiteness: str, case: str, number: str) -> tuple[str, str, str]:
        """Determiner, adjective form and noun form; rows of the table may leave definiteness or case open."""
        for key in ((definiteness, case, number), (definiteness, "*", number), ("*", case, number)):
            if key in self.noun_phrases:
                return self.noun_phrases[key]
        raise KeyError(f"{self.lang}: no noun phrase for {definiteness} {case} {number}")

    def template(self, *names: str) -> tuple[Part, ...]:
        """The first template of these names that the language has."""
        return next(self.templates[name] for name in names if name in self.templates)

    def name_form(self, section: str, name: str, case: str) -> str:
        """A person's name in a case; unchanged where the language lists no forms for it."""
        entry = self.sections[section].get(name, {})
        return entry.get(self.settings["name_case"].get(case, case), name)


def parse_template(source: str) -> tuple[Part, ...]:
    """The parts of a template such as `S do.fin* ( not V.inf* O )`; see the package's docstring."""
    stack: list[list[Part]] = [[]]
    for item in source.split():
        name, head = item.rstrip("*"), item.endswith("*")
        if item == "(":
            stack.append([])
        elif name == ")":
            group = tuple(stack.pop())
            stack[-1].append(Part(group=group, head=head))
        elif "." in name:
            verb, mode = name.split(".")
            stack[-1].append(Part(verb=verb, mode=mode, head=head))
        elif name.isupper():
            stack[-1].append(Part(slot=name, head=head))
        else:
            stack[-1].append(Part(word=name, head=head))
    (parts,) = stack
    return tuple(parts)


def _entries(raw: dict[str, Any], section: str) -> dict[str, Entry]:
    columns, entries = raw["forms"][section], {}
    for name, value in raw[section].items():
        forms = [form.strip() for form in value.split("|")] if "|" in value else value.split()
        entries[str(name)] = dict(zip(columns, forms, strict=False))
    return entries


def _verb(facts: dict[str, str]) -> Verb:
    forms = {mode: tuple(facts[mode].split()) for mode in facts if mode not in _NOT_FORMS}
    return Verb(forms, facts.get("object", "acc"), facts.get("place", "in"), facts.get("pre", ""),
                facts.get("particle", ""))


_SETTINGS = ("relative", "company", "recipient", "question", "prompts", "predicate", "negated_case", "name_case")
_NOT_FORMS = {"object", "place", "pre", "particle"}


def _link(facts: dict[str, str]) -> Link:
    return Link(tuple(facts["words"].split()), tuple(facts.get("front", "").split()), facts["order"])


@lru_cache(maxsize=8)
def load_lexicon(lang: str) -> Lexicon:
    """The lexicon of a language that the package ships; KeyError or ValueError where its file is incomplete."""
    source = (files(__package__) / "lexicon" / f"{lang}.yaml").read_text(encoding="utf-8")
    raw: dict[str, Any] = yaml.safe_load(source)
    rows = {}
    for key, row in raw["np"].items():
        definiteness, case, number = key.split()
        determiner, adjective, noun = row.split()
        rows[definiteness, case, number] = (determiner, adjective, noun)
    return Lexicon(
        lang=lang,
        sections={section: _entries(raw, section) for section in raw["forms"]},
        verbs={name: _verb(facts) for name, facts in raw["verbs"].items()},
        upos={word: upos for upos, words in raw["words"].items() for word in words.split()},
        aux=frozenset(raw["aux"]),
        templates={name: parse_template(value) for name, value in raw["templates"].items()},
        links={name: _link(facts) for name, facts in raw["links"].items()},
        report=_link(raw["report"]),
        noun_phrases=rows,
        settings={name: {str(key): value for key, value in raw[name].items()} for name in _SETTINGS},
        phrases={name: raw[name] for name in ("pronouns", "times", "manners")},
        conjunct=raw["conjunct"],
        front_comma=raw["front_comma"],
    )
