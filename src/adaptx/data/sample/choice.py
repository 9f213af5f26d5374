"""Sample multiple choice: what follows from a short text.

Four choices from one set that are all as likely to be right, so that the choices alone tell nothing: what happened
then (each deed of a set has its own cause), what is true of a thing, and where somebody is.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from adaptx.data.sample.meaning import Clause, Sentence, Thing
from adaptx.data.sample.sampling import Draw, NoLuck, distinct

USEFUL = ("bicycle", "car", "boat", "bag")
FOOD = ("apple", "pear", "cake", "bread", "cheese")


@dataclass(frozen=True, slots=True)
class Choice:
    """A text, the id of the question, the choices and the index of the right one."""

    context: tuple[Sentence, ...]
    prompt: str
    choices: tuple[Clause, ...]
    label: int


def plan_choices(draw: Draw, count: int) -> Iterator[Choice]:
    """`count` texts with four choices each."""
    asks = (_deed, _need, _quality, _whereabouts)
    return distinct(draw.world, lambda _: draw.pick(asks)(draw), range(count))


def _finish(draw: Draw, clauses: list[Clause], prompt: str, choices: list[Clause], right: int,
            more: list[Clause]) -> Choice:
    """The choices in random order; the clauses that only distract stand before or after the others."""
    if not all(draw.ours(clause) for clause in (*clauses, *choices, *more)):
        raise NoLuck
    order = list(range(len(choices)))
    draw.rng.shuffle(order)
    told = [*more, *clauses] if draw.chance(0.5) else [*clauses, *more]
    context = tuple(Sentence(clause, fronted=bool(clause.time) and draw.chance(0.3)) for clause in told)
    return Choice(context, prompt, tuple(choices[index] for index in order), order.index(right))


def _people(draw: Draw) -> tuple[Thing, Thing]:
    """Two people who cannot be taken for each other."""
    first, second = draw.person(singular=True), draw.person(singular=True)
    if draw.world.related(first.id, second.id) or "person" in (first.id, second.id):
        raise NoLuck
    return replace(first, adjective=""), replace(second, adjective="")


def _when(draw: Draw, clause: Clause) -> Clause:
    return replace(clause, time=draw.pick(tuple(draw.world.times))) if draw.chance(0.4) else clause


def _cause(draw: Draw, deed: str, person: Thing, other: Thing, thing: Thing) -> Clause:
    """Why a person did the deed to a thing."""
    if deed == "seek":
        return _when(draw, Clause("forget", person, thing, place=draw.pick(draw.world.places)))
    if deed == "repair":
        return _when(draw, Clause("break", other, thing))
    if deed == "wash":
        return _when(draw, Clause("be", thing, predicate="dirty"))
    return _when(draw, Clause("be", person, predicate="poor"))


def _deed(draw: Draw) -> Choice:
    """Somebody does to a thing what its cause asks for; the distractor is another cause about another thing."""
    deeds = ("seek", "repair", "wash", "sell")
    (person, other), right = _people(draw), draw.pick(range(4))
    thing, elsewhere = Thing(draw.pick(USEFUL)), Thing(draw.pick(USEFUL))
    if thing == elsewhere:
        raise NoLuck
    distractor = draw.pick([deed for deed in deeds if deed != deeds[right]])
    cause = _cause(draw, deeds[right], person, other, thing)
    more = [_cause(draw, distractor, other, other, elsewhere)]
    mine = Clause("buy", person, thing, place=draw.place("buy"))
    return _finish(draw, [mine, cause], "next", [Clause(deed, person, thing) for deed in deeds], right, more)


def _need(draw: Draw) -> Choice:
    """Somebody does what follows from a state of theirs; the distractor is somebody else's state."""
    (person, other), food = _people(draw), Thing(draw.pick(FOOD))
    paper = Thing("newspaper")
    choices = [Clause("sleep", person), Clause("eat", person, food), Clause("dance", person),
               Clause("read", person, paper)]

    def cause(index: int, who: Thing) -> Clause:
        states = ("tired", "hungry", "happy")
        return Clause("be", who, predicate=states[index]) if index < 3 else Clause("buy", who, paper)

    right = draw.pick(range(4))
    wrong = draw.pick([index for index in range(4) if index != right])
    return _finish(draw, [_when(draw, cause(right, person))], "next", choices, right,
                   [_when(draw, cause(wrong, other))])


def _quality(draw: Draw) -> Choice:
    """A thing keeps its colour; the distractor is another thing of another colour."""
    colours = [name for name, facts in draw.world.adjectives.items() if facts.group == "colour"]
    draw.rng.shuffle(colours)
    events = [draw.event(("buy", "sell", "steal", "purchase", "wash"), details=0.5) for _ in range(2)]
    things = [event.object for event in events]
    if things[0] is None or things[1] is None or draw.world.related(things[0].id, things[1].id):
        raise NoLuck
    for thing in things:
        if thing is None or not set(colours[:4]) <= set(draw.world.describing[thing.id]):
            raise NoLuck
    right, wrong = draw.rng.sample(range(4), 2)
    first, second = (replace(event, object=replace(thing, adjective=colours[index])) for event, thing, index
                     in zip(events, (things[0], things[1]), (right, wrong), strict=True))
    choices = [Clause("be", Thing(things[0].id), predicate=colour) for colour in colours[:4]]
    return _finish(draw, [first], "true", choices, right, [second])


def _whereabouts(draw: Draw) -> Choice:
    """Somebody is where they went; the distractor is where somebody else went."""
    person, other = _people(draw)
    cities = [city for city in draw.world.cities if city not in draw.world.cities.values()]
    draw.rng.shuffle(cities)
    right, wrong = draw.rng.sample(range(4), 2)
    first = _when(draw, Clause(draw.pick(("travel", "arrive")), person, place=cities[right]))
    second = _when(draw, Clause(draw.pick(("travel", "arrive")), other, place=cities[wrong]))
    choices = [Clause("be", person, place=city) for city in cities[:4]]
    return _finish(draw, [first], "true", choices, right, [second])
