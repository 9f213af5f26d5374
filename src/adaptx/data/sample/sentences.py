"""Sample kinds that are sentences as they come: tagged words, translation pairs and running text."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from adaptx.data.sample.meaning import Sentence, Thing
from adaptx.data.sample.sampling import Draw, distinct

DOCUMENT = 8


@dataclass(frozen=True, slots=True)
class Story:
    """The sentences of one document."""

    sentences: tuple[Sentence, ...]


def plan_sentences(draw: Draw, count: int) -> Iterator[Sentence]:
    """`count` sentences that differ in every language."""
    return distinct(draw.world, lambda _: draw.sentence(), range(count))


def plan_stories(draw: Draw, count: int) -> Iterator[Story]:
    """`count` documents, each about the same two people."""
    return distinct(draw.world, lambda _: _story(draw), range(count))


def _story(draw: Draw) -> Story:
    cast, last, sentences = (draw.person(singular=True), draw.person(singular=True)), None, list[Sentence]()
    while len(sentences) < DOCUMENT:
        person = draw.pick(cast)
        sex = draw.world.sex(person.id)
        again = person == last and sex and draw.chance(0.7)
        subject = Thing("she" if sex == "f" else "he") if again else replace(person, definite=True)
        sentences.append(draw.retry(lambda: _next(draw, subject)))  # noqa: B023 (called before the loop goes on)
        last = person
    return Story(tuple(sentences))


def _next(draw: Draw, subject: Thing) -> Sentence:
    kind, clause = draw.rng.random(), draw.event(draw.deeds, subject, details=0.35)
    if kind < 0.3:
        return draw.fronted(clause)
    return draw.linked(clause, draw.world.links) if kind < 0.6 else Sentence(clause)
