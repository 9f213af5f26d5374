"""Sample reading comprehension: a few sentences, a question, and the phrase of the text that answers it.

The sentences share verbs, people, places and times, so that only the whole question points to one of them.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from adaptx.data.sample.meaning import Clause, Sentence, without
from adaptx.data.sample.sampling import Draw, NoLuck, distinct

ASKED = ("S", "O", "P", "T")


@dataclass(frozen=True, slots=True)
class Reading:
    """A text, a question (the clause asked about and the slot asked for) and the sentence that answers it, or -1."""

    context: tuple[Sentence, ...]
    question: Clause
    asked: str
    answer: int


def plan_readings(draw: Draw, count: int, unanswerable: float) -> Iterator[Reading]:
    """`count` texts with one question each; this share of them has no answer."""
    kinds = [index < round(count * unanswerable) for index in range(count)]
    draw.rng.shuffle(kinds)
    return distinct(draw.world, lambda without_answer: _reading(draw, without_answer), kinds)


def _reading(draw: Draw, without_answer: bool) -> Reading:
    events = _events(draw, 3 + draw.pick((0, 1, 1, 2)))
    asked = draw.pick(ASKED)
    target = draw.pick([index for index, event in enumerate(events) if _fill_of(event, asked)])
    question = _forget(draw, events[target], asked)
    if without_answer:
        question, events = _unanswerable(draw, question, asked, events, target)
    if len([event for event in events if _fits(draw, question, asked, event)]) != (0 if without_answer else 1):
        raise NoLuck
    order = list(range(len(events)))
    draw.rng.shuffle(order)
    context = tuple(Sentence(events[index], fronted=bool(events[index].time) and draw.chance(0.3)) for index in order)
    return Reading(context, question, asked, -1 if without_answer else order.index(target))


def _events(draw: Draw, count: int) -> list[Clause]:
    verbs = tuple(name for name in draw.deeds if draw.world.verbs[name].telic)
    events = [draw.event(verbs, details=0.9)]
    while len(events) < count:
        events.append(draw.retry(lambda: _another(draw, verbs, events)))
    return events


def _another(draw: Draw, verbs: tuple[str, ...], events: list[Clause]) -> Clause:
    """One more event that shares something with an earlier one; nothing in it has a second name."""
    kind, model = draw.rng.random(), draw.pick(events)
    if kind < 0.45:
        event = draw.event((model.verb,), details=0.7)
    elif kind < 0.75:
        event = draw.event(verbs, model.subject, details=0.7)
    else:
        event = draw.event(verbs, details=0.7)
    if event.place and model.place in draw.world.places and draw.chance(0.3):
        event = event if draw.world.verbs[event.verb].goal else replace(event, place=model.place)
    for other in events:
        if event.place != other.place and draw.world.within(event.place, other.place):
            raise NoLuck
        for mine in (event.subject, event.object):
            for theirs in (other.subject, other.object):
                if mine and theirs and mine != theirs and draw.world.related(mine.id, theirs.id):
                    raise NoLuck
    return event


def _fill_of(event: Clause, slot: str) -> object:
    return {"S": event.subject, "O": event.object, "P": event.place, "T": event.time}[slot]


def _forget(draw: Draw, event: Clause, asked: str) -> Clause:
    """The event as a question tells it: without the manner and, half of the time, without place or time."""
    question = replace(event, manner="")
    if asked != "T" and draw.chance(0.5):
        question = replace(question, time="")
    if asked != "P" and draw.chance(0.5) and not draw.world.verbs[event.verb].goal:
        question = replace(question, place="")
    return question


def _unanswerable(draw: Draw, question: Clause, asked: str, events: list[Clause],
                  target: int) -> tuple[Clause, list[Clause]]:
    """The question and the text changed so that no sentence answers: nothing is said, or not of this event."""
    goal = draw.world.verbs[question.verb].goal
    if (asked == "T" or (asked == "P" and not goal)) and draw.chance(0.6):
        gap = "time" if asked == "T" else "place"
        return question, [without(event, gap) if index == target else event
                          for index, event in enumerate(events)]
    source = draw.pick([event for event in events if event != events[target]])
    slot = draw.pick([slot for slot in ("S", "O", "P", "T") if slot != asked])
    if slot == "S":
        changed = replace(question, subject=source.subject)
    elif slot == "O":
        changed = replace(question, object=source.object)
    elif slot == "T":
        changed = replace(question, time=source.time)
    else:
        changed = replace(question, place=source.place)
    facts = draw.world.verbs[question.verb]
    thing = changed.object
    fitting = (*facts.objects, *(draw.world.given if "man" in facts.objects else ()))
    if changed == question or (thing.id if thing else None) not in (fitting or (None,)) or (goal and slot == "P"):
        raise NoLuck
    if changed.subject.id in draw.world.orgs and not facts.orgs:
        raise NoLuck
    if (thing and draw.world.related(thing.id, changed.subject.id)) or not draw.ours(changed):
        raise NoLuck
    return changed, events


def _fits(draw: Draw, question: Clause, asked: str, event: Clause) -> bool:
    """Whether an event has all that the question tells, and what it asks for."""
    if draw.world.canonical(question.verb) != draw.world.canonical(event.verb) or not _fill_of(event, asked):
        return False
    known = [slot for slot in ASKED if slot != asked and _fill_of(question, slot)]
    return all(_fill_of(question, slot) == _fill_of(event, slot) for slot in known) \
        and question.recipient == event.recipient and question.company == event.company
