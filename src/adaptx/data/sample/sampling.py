"""Random meanings: things, clauses and sentences that obey the split law.

Every choice comes from the `Random` that is handed in; knows no language.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from random import Random
from typing import TypeVar

from adaptx.data.sample.meaning import Clause, Sentence, Thing, belongs, fingerprint, without
from adaptx.data.sample.world import VerbFacts, World

T = TypeVar("T")
L = TypeVar("L")
TRIES = 200


class NoLuck(Exception):
    """A random choice left nothing to choose from; the caller draws again."""


@dataclass(frozen=True)
class Mood:
    """How sentences are drawn: shares of names and pronouns among people, of events with organisations, of negation.

    `plain`: definite, singular, without numerals and pronouns, in the past tense; what inference needs.
    """

    names: float = 0.4
    pronouns: float = 0.12
    plain: bool = False
    negated: float = 0.2
    orgs: float = 0.1


@dataclass(frozen=True)
class Draw:
    """The source of random meanings of one split."""

    rng: Random
    world: World
    split: str
    mood: Mood

    @property
    def deeds(self) -> tuple[str, ...]:
        """The verbs that anybody can be the subject of."""
        return tuple(name for name, facts in self.world.verbs.items() if facts.people)

    def chance(self, share: float) -> bool:
        """True in this share of the calls."""
        return self.rng.random() < share

    def pick(self, choices: Sequence[T]) -> T:
        """One of the choices; NoLuck where there is none."""
        if not choices:
            raise NoLuck
        return choices[int(self.rng.random() * len(choices))]

    def retry(self, draw: Callable[[], T]) -> T:
        """The first result of a draw that meets no NoLuck."""
        for _ in range(TRIES):
            try:
                return draw()
            except NoLuck:
                continue
        raise NoLuck

    def ours(self, clause: Clause) -> bool:
        """Whether the clause belongs to this split."""
        return belongs(self.world, clause, self.split)

    def name(self) -> Thing:
        """A person by given name, half of the time with a family name."""
        family = self.pick(self.world.family) if self.chance(0.5) else ""
        return Thing(self.pick(tuple(self.world.given)), family=family)

    def adjective(self, noun: str) -> str:
        """An adjective that can describe the noun."""
        return self.pick(self.world.describing[noun])

    def person(self, singular: bool = False) -> Thing:
        """Somebody who is not a pronoun."""
        if self.chance(self.mood.names):
            return self.name()
        return self.noun(self.world.people, 0.25, singular)

    def noun(self, nouns: Sequence[str], adjective: float, singular: bool = False, object_: bool = False) -> Thing:
        """A thing named by one of the nouns; only objects may have numerals or be indefinite in the plural."""
        thing = Thing(self.pick(nouns))
        if self.chance(adjective):
            thing = replace(thing, adjective=self.adjective(thing.id))
        if self.mood.plain or "mass" in self.world.tags[thing.id]:
            return thing
        kind = self.rng.random()
        if kind < 0.12 and not singular:
            return replace(thing, plural=True, definite=not (object_ and self.chance(0.5)))
        if kind < 0.24 and object_ and not singular:
            return replace(thing, number=self.pick(self.world.numbers))
        return replace(thing, definite=self.chance(0.65))

    def subject(self, verb: str) -> Thing:
        """A subject of the verb."""
        facts = self.world.verbs[verb]
        if facts.orgs and self.chance(max(0.25, self.mood.orgs)):
            return Thing(self.pick(self.world.orgs))
        if facts.people and not self.mood.plain and self.chance(self.mood.pronouns):
            return Thing(self.pick(tuple(self.world.pronouns)))
        if facts.people and self.chance(self.mood.names):
            return self.name()
        return self.noun(facts.subjects, 0.25)

    def place(self, verb: str) -> str:
        """A place for the verb."""
        facts = self.world.verbs[verb]
        if facts.at and self.chance(0.6):
            return self.pick(self.world.orgs)
        if facts.city or (not facts.goal and self.chance(0.35)):
            return self.pick(tuple(self.world.cities))
        return self.pick(self.world.places)

    def event(self, verbs: Sequence[str], subject: Thing | None = None, details: float = 0.4) -> Clause:
        """An event with one of the verbs; each optional detail is there with probability `details`."""
        return self.retry(lambda: self._event(self.pick(verbs), subject, details))

    def _event(self, verb: str, subject: Thing | None, details: float) -> Clause:
        facts = self.world.verbs[verb]
        subject, negated = subject or self.subject(verb), self.chance(self.mood.negated)
        thing = self._object(facts, negated) if facts.objects else None
        known = subject.id in facts.subjects or (subject.id in self.world.orgs and facts.orgs)
        if not known and (subject.id in self.world.orgs or not facts.people):
            raise NoLuck
        self._check(Clause(verb, subject, thing))
        past = self.mood.plain or facts.telic or self.chance(0.6)
        recipient = facts.recipient and (verb != "send" or self.chance(0.6))
        company = facts.company and self.chance(0.35)
        place = facts.goal or (facts.place and self.chance(details))
        manner = facts.manners and not negated and self.chance(details * 0.5)
        times = tuple(self.world.times) if past else self.world.habits
        return Clause(
            verb, subject, thing, past=past, negated=negated,
            recipient=self._other_person(subject, thing) if recipient else None,
            company=self._other_person(subject, thing) if company else None,
            place=self.place(verb) if place else "",
            time=self.pick(times) if self.chance(details + 0.1) and (past or not facts.state) else "",
            manner=self.pick(facts.manners) if manner else "",
        )

    def _object(self, facts: VerbFacts, negated: bool) -> Thing:
        if "teacher" in facts.objects and self.chance(self.mood.names):
            return self.name()
        thing = self.noun(facts.objects, 0.35, facts.single, object_=True)
        return replace(thing, definite=True, number="") if negated else thing

    def _check(self, clause: Clause) -> None:
        if not self.ours(clause) or (clause.object and self.world.related(clause.object.id, clause.subject.id)):
            raise NoLuck

    def _other_person(self, *others: Thing | None) -> Thing:
        person = self.person(singular=True)
        if any(other and self.world.related(person.id, other.id) for other in others):
            raise NoLuck
        return person

    def state(self, subject: Thing | None = None) -> Clause:
        """A copular clause: what somebody or something was like, or where."""
        return self.retry(lambda: self._state(subject))

    def _state(self, subject: Thing | None) -> Clause:
        if subject is None:
            subject = self.name() if self.chance(self.mood.names) else Thing(self.pick(tuple(self.world.tags)))
        negated = self.chance(self.mood.negated)
        noun = "teacher" if subject.id in self.world.given else subject.id
        tags = self.world.tags.get(noun, frozenset())
        if "portable" in tags and self.chance(0.5):
            clause = Clause("be", subject, place=self.pick(self.world.places), negated=negated)
        elif noun in self.world.tags:
            clause = Clause("be", subject, predicate=self.adjective(noun), negated=negated)
        else:
            raise NoLuck
        self._check(clause)
        if self.chance(0.3) and (clause.place or self.world.adjectives[clause.predicate].passing):
            clause = replace(clause, time=self.pick(tuple(self.world.times)))
        return clause

    def anything(self) -> Clause:
        """An event or, in one of eight, a state."""
        if self.chance(0.12):
            return self.state()
        verbs = tuple(self.world.verbs)
        if self.chance(self.mood.orgs):
            verbs = tuple(name for name in verbs if self.world.verbs[name].orgs or self.world.verbs[name].at)
        clause = self.event(verbs)
        if clause.object or clause.place or clause.company or clause.time:
            return clause
        return replace(clause, time=self.pick(tuple(self.world.times) if clause.past else self.world.habits))

    def sentence(self) -> Sentence:
        """A sentence of any kind that the grammar has."""
        return self.retry(self._sentence)

    def _sentence(self) -> Sentence:
        kind, clause = self.rng.random(), self.anything()
        if kind < 0.24:
            return Sentence(clause)
        if kind < 0.34:
            return self.wish(clause)
        if kind < 0.46:
            return self.fronted(clause)
        if kind < 0.52:
            return self.question(clause)
        if kind < 0.64:
            return self.linked(clause, ("and", "but"))
        if kind < 0.80:
            return self.linked(clause, ("because", "when", "although"))
        if kind < 0.9:
            return self.described(clause)
        if kind < 0.94:
            return self.paired(clause)
        return Sentence(without(clause, "time"), speaker=self.person())

    def wish(self, clause: Clause) -> Sentence:
        """What somebody wanted to do."""
        facts = self.world.verbs.get(clause.verb)
        if facts is None or facts.state or not facts.people or clause.subject.id in self.world.orgs:
            raise NoLuck
        return Sentence(replace(clause, wants=True, manner=""))

    def fronted(self, clause: Clause) -> Sentence:
        """A clause with its time first."""
        if not self._passing(clause):
            raise NoLuck
        if not clause.time:
            times = tuple(self.world.times) if clause.past else self.world.habits
            clause = replace(clause, time=self.pick(times))
        return Sentence(clause, fronted=True)

    def question(self, clause: Clause) -> Sentence:
        """A yes-no question."""
        if clause.subject.plural or clause.subject.id in self.world.pronouns or not clause.past:
            raise NoLuck
        return Sentence(replace(clause, negated=False), question=True)

    def linked(self, clause: Clause, links: Sequence[str]) -> Sentence:
        """Two clauses; the second may speak of the first one's subject with a pronoun."""
        if not clause.past:
            raise NoLuck
        link, subject, sex = self.pick(links), None, self.world.sex(clause.subject.id)
        if sex and not clause.subject.plural and self.chance(0.45):
            subject = Thing("she" if sex == "f" else "he")
        if subject and self.chance(0.35):
            other = self.state(subject) if subject.id not in self.world.pronouns else self._feeling(subject)
        else:
            other = self.event(self.deeds if subject else tuple(self.world.verbs), subject, details=0.2)
        if not other.past or self.world.related(clause.subject.id, other.subject.id):
            raise NoLuck
        if link in ("and", "but"):
            return Sentence(clause, link, other)
        if not (self._passing(clause) and self._passing(other)):
            raise NoLuck
        other = without(other, "time") if link == "when" or clause.time else other
        return Sentence(clause, link, other, fronted=link != "since" and subject is None and self.chance(0.4))

    def _passing(self, clause: Clause) -> bool:
        if clause.predicate:
            return self.world.adjectives[clause.predicate].passing
        return clause.verb == "be" or not self.world.verbs[clause.verb].state

    def _feeling(self, subject: Thing) -> Clause:
        clause = Clause("be", subject, predicate=self.adjective("teacher"), negated=self.chance(self.mood.negated))
        self._check(clause)
        return clause

    def described(self, clause: Clause) -> Sentence:
        """A sentence whose subject has a relative clause."""
        subject = clause.subject
        if "human" not in self.world.tags.get(subject.id, ()) or not subject.definite or not clause.past:
            raise NoLuck
        relative = self.event(self.deeds, replace(subject, adjective=""), details=0.2)
        if not relative.past or (relative.object and self.world.related(relative.object.id, subject.id)):
            raise NoLuck
        return Sentence(replace(clause, relative=without(relative, "time")))

    def paired(self, clause: Clause) -> Sentence:
        """A sentence with two objects joined by "and"."""
        if not clause.object or self.world.verbs[clause.verb].single or clause.object.number:
            raise NoLuck
        other = Thing(self.pick(self.world.verbs[clause.verb].objects))
        paired = replace(clause, conjunct=other)
        if self.world.related(other.id, clause.object.id) or self.world.related(other.id, clause.subject.id):
            raise NoLuck
        if not self.ours(paired):
            raise NoLuck
        return Sentence(replace(paired, object=replace(clause.object, definite=True)))


def distinct(world: World, draw: Callable[[L], T], turns: Iterable[L]) -> Iterator[T]:
    """One result of a draw for each turn (the label it shall have), all different in every language."""
    seen: set[object] = set()
    for turn in turns:
        for _ in range(TRIES * TRIES):
            try:
                drawn = draw(turn)
            except NoLuck:
                continue
            key = fingerprint(world, drawn)
            if key not in seen:
                seen.add(key)
                yield drawn
                break
        else:
            raise NoLuck(f"the world is too small for one more {turn} after {len(seen)}")
