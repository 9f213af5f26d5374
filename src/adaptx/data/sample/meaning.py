"""What a sentence of the sample corpus says, before any language: things, clauses, sentences, and the split law.

Knows no words and no word order; ids are those of concepts.yaml.
"""

from collections.abc import Iterator
from dataclasses import dataclass, fields, is_dataclass, replace
from functools import lru_cache
from hashlib import sha256

from adaptx.data.sample.world import World

SPLITS = ("train", "dev", "test")


@dataclass(frozen=True, slots=True)
class Thing:
    """Somebody or something: a noun, pronoun, given name or organisation; `number` is a numeral's id."""

    id: str
    adjective: str = ""
    definite: bool = True
    plural: bool = False
    number: str = ""
    family: str = ""


@dataclass(frozen=True, slots=True)
class Clause:
    """An event or state; `predicate` is the adjective of a copular clause, `relative` says more of the subject."""

    verb: str
    subject: Thing
    object: Thing | None = None
    conjunct: Thing | None = None
    recipient: Thing | None = None
    company: Thing | None = None
    predicate: str = ""
    place: str = ""
    time: str = ""
    manner: str = ""
    past: bool = True
    negated: bool = False
    wants: bool = False
    relative: "Clause | None" = None


@dataclass(frozen=True, slots=True)
class Sentence:
    """One or two clauses. `fronted`: the linked clause, or else the time, comes first; `swapped`: object before
    recipient; `speaker`: the sentence is what somebody said."""

    main: Clause
    link: str = ""
    other: Clause | None = None
    fronted: bool = False
    question: bool = False
    swapped: bool = False
    speaker: Thing | None = None


def clauses(sentence: Sentence) -> Iterator[Clause]:
    """Every clause of a sentence, relative ones included."""
    for clause in (sentence.main, sentence.other):
        if clause:
            yield clause
            if clause.relative:
                yield clause.relative


def triples(clause: Clause) -> Iterator[tuple[str, str, str]]:
    """The lemma combinations of a clause: (subject, verb, object), the object empty where there is none."""
    for thing in (clause.object, clause.conjunct):
        if thing:
            yield clause.subject.id, clause.verb, thing.id
    if not clause.object:
        yield clause.subject.id, clause.verb, ""


@lru_cache(maxsize=65536)
def split_of(subject: str, object_: str) -> str:
    """The one split that may speak of a subject and an object together (in either role, with any verb)."""
    share = sha256("|".join(sorted((subject, object_))).encode()).digest()[0] % 20
    return "train" if share < 12 else "dev" if share < 15 else "test"


def belongs(world: World, clause: Clause, split: str) -> bool:
    """Whether every lemma combination of a clause is one of the split's; synonyms count as one lemma."""
    return all(split_of(world.canonical(subject), world.canonical(object_)) == split
               for subject, _, object_ in triples(clause))


def fingerprint(world: World, value: object) -> object:
    """Equal for meanings that some language cannot tell apart (definiteness, he and she)."""
    if isinstance(value, Thing):
        return world.canonical(value.id), value.adjective, value.plural, value.number, value.family
    if isinstance(value, Clause):
        things = (value.subject, value.object, value.conjunct, value.recipient, value.company, value.relative)
        return (value.verb, value.predicate, value.place, value.time, value.manner, value.past, value.negated,
                value.wants, *(thing and fingerprint(world, thing) for thing in things))
    if isinstance(value, tuple):
        return tuple(fingerprint(world, item) for item in value)
    if is_dataclass(value):
        return tuple(fingerprint(world, getattr(value, field.name)) for field in fields(value))
    return value


def without(clause: Clause, *details: str) -> Clause:
    """The clause less some of its details: place, time, manner, adjective (the object's), subject (its adjective)."""
    thing, subject = clause.object, clause.subject
    return replace(
        clause,
        place="" if "place" in details else clause.place,
        time="" if "time" in details else clause.time,
        manner="" if "manner" in details else clause.manner,
        object=replace(thing, adjective="") if thing and "adjective" in details else thing,
        subject=replace(subject, adjective="") if "subject" in details else subject,
    )
