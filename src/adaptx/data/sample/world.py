"""The world of the sample corpus: which things, deeds and properties exist and which go together.

Read from `concepts.yaml`; knows no language, no sentence and no randomness.
"""

from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from typing import Any

import yaml


@dataclass(frozen=True)
class VerbFacts:
    """What a verb takes: `subjects` and `objects` are noun ids, `manners` adverb ids; see concepts.yaml."""

    subjects: tuple[str, ...]
    objects: tuple[str, ...]
    manners: tuple[str, ...]
    people: bool
    orgs: bool
    telic: bool
    single: bool
    place: bool
    goal: bool
    city: bool
    at: bool
    company: bool
    recipient: bool
    state: bool


@dataclass(frozen=True)
class AdjectiveFacts:
    """`group`: adjectives of one group exclude each other; `passing`: today, not tomorrow; `nouns`: what it fits."""

    group: str
    passing: bool
    nouns: frozenset[str]


@dataclass(frozen=True)
class World:
    """Everything that concepts.yaml says, indexed by id; `describing`: the adjectives that fit a noun."""

    tags: dict[str, frozenset[str]]
    people: tuple[str, ...]
    hypernyms: dict[str, str]
    synonyms: dict[str, str]
    verbs: dict[str, VerbFacts]
    adjectives: dict[str, AdjectiveFacts]
    describing: dict[str, tuple[str, ...]]
    pronouns: dict[str, int]
    given: dict[str, str]
    family: tuple[str, ...]
    orgs: tuple[str, ...]
    places: tuple[str, ...]
    cities: dict[str, str]
    times: dict[str, str]
    habits: tuple[str, ...]
    manners: tuple[str, ...]
    numbers: tuple[str, ...]
    links: tuple[str, ...]

    def canonical(self, name: str) -> str:
        """One id for all that some language says with one word: synonyms, and he and she."""
        return "he" if name == "she" else self.synonyms.get(name, name)

    def related(self, first: str, second: str) -> bool:
        """Whether one of two nouns can name what the other names."""
        first, second = self.canonical(first), self.canonical(second)
        return first == second or self.hypernyms.get(first) == second or self.hypernyms.get(second) == first

    def within(self, place: str, other: str) -> bool:
        """Whether `place` is `other` or lies in it."""
        return self.canonical(place) == self.canonical(other) or self.cities.get(place) == other

    def sex(self, name: str) -> str:
        """"f" or "m" where the pronoun for a person is known, otherwise empty."""
        return self.given.get(name) or next((sex for sex in "fm" if sex in self.tags.get(name, ())), "")


@lru_cache(maxsize=1)
def load_world() -> World:
    """The world as the package ships it."""
    raw: dict[str, Any] = yaml.safe_load((files(__package__) / "concepts.yaml").read_text(encoding="utf-8"))
    tags = {noun: frozenset(value.split()) for noun, value in raw["nouns"].items()}

    def expand(names: str) -> tuple[str, ...]:
        wanted = set(names.split())
        return tuple(noun for noun, of in tags.items() if noun in wanted or of & wanted)

    verbs = {}
    for name, facts in raw["verbs"].items():
        flags = {flag: bool(facts.get(flag)) for flag in
                 ("telic", "single", "place", "goal", "city", "at", "company", "recipient", "state")}
        subject = facts["subject"].split()
        verbs[name] = VerbFacts(expand(facts["subject"]), expand(facts.get("object", "")),
                                tuple(facts.get("manner", "").split()), "human" in subject, "org" in subject, **flags)
    adjectives = {name: AdjectiveFacts(facts["group"], bool(facts.get("passing")), frozenset(expand(facts["of"])))
                  for name, facts in raw["adjectives"].items()}
    return World(
        tags=tags, people=expand("human"), hypernyms=raw["hypernyms"], synonyms=raw["synonyms"], verbs=verbs,
        adjectives=adjectives,
        describing={noun: tuple(name for name, facts in adjectives.items() if noun in facts.nouns) for noun in tags},
        pronouns=raw["pronouns"], given=raw["given"], family=tuple(raw["family"].split()),
        orgs=tuple(raw["orgs"].split()), places=tuple(raw["places"].split()), cities=raw["cities"],
        times={time: group for group, times in raw["times"].items() for time in times.split()},
        habits=tuple(raw["habits"].split()), manners=tuple(raw["manners"].split()),
        numbers=tuple(raw["numbers"].split()), links=tuple(raw["links"].split()),
    )
