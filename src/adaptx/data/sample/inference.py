"""Sample natural language inference: premise, hypothesis, label.

The hypothesis is drawn before and without the label, and the premise is then made to fit both, so that the hypothesis
alone tells nothing. Definite phrases of a pair mean the same things, as in SNLI (Bowman et al. 2015, section 2.1).
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from adaptx.data.sample.meaning import Clause, Sentence, Thing, without
from adaptx.data.sample.sampling import Draw, NoLuck, distinct

LABELS = ("entailment", "neutral", "contradiction")
DETAILS = ("time", "place", "adjective")
# What one person did, nobody else did.
ONCE = ("buy", "purchase", "sell", "find", "write", "eat", "bake", "build", "steal", "break", "give", "send")
OPPOSITES = {"man": "woman", "woman": "man", "boy": "girl", "girl": "boy"}


@dataclass(frozen=True, slots=True)
class Inference:
    """One pair and its label."""

    premise: Sentence
    hypothesis: Sentence
    label: str


def plan_inferences(draw: Draw, count: int) -> Iterator[Inference]:
    """`count` pairs, the labels equally often."""
    labels = [LABELS[index % len(LABELS)] for index in range(count)]
    draw.rng.shuffle(labels)
    return distinct(draw.world, lambda label: inference(draw, label), labels)


def inference(draw: Draw, label: str) -> Inference:
    """One pair with the label; NoLuck where the hypothesis drawn allows none."""
    clause = hypothesis(draw)
    premise = _premise(draw, clause, label)
    if not draw.ours(premise):
        raise NoLuck
    sentence, plain = _surround(draw, premise, clause), _front(draw, clause, 0.2)
    if sentence == plain:
        raise NoLuck
    return Inference(sentence, plain, label)


def hypothesis(draw: Draw) -> Clause:
    """An event with one to three details, sometimes negated or wished for."""
    world = draw.world
    verbs = tuple(name for name, facts in world.verbs.items() if facts.telic and facts.people and name != "meet")
    clause = without(draw.event(verbs, details=0.0), "manner", "time", "adjective", "subject")
    negated, wants = draw.chance(0.28), draw.chance(0.12)
    clause = _generalise(draw, clause) if not negated and draw.chance(0.55) else clause
    missing = [detail for detail in DETAILS[:2 if negated else 3] if _can_add(draw, clause, detail)]
    draw.rng.shuffle(missing)
    for detail in missing[:1 if draw.chance(0.6) else 2]:
        clause = _add(draw, clause, detail)
    if draw.chance(0.6):
        clause = replace(clause, place=world.cities.get(clause.place) or clause.place)
    if not draw.ours(clause) or not missing:
        raise NoLuck
    return replace(clause, negated=negated, wants=wants and not negated and _can_want(draw, clause))


def _premise(draw: Draw, clause: Clause, label: str) -> Clause:
    if label == "entailment":
        ways = [_broader, _instead, _instead] if clause.negated else [_narrow]
    elif clause.negated:
        ways = [_narrower, _other_object, _wish] if label == "neutral" else [_affirm]
    elif label == "neutral":
        ways = [_unsupported, _unsupported, _other_object, _wish, _other_roles, _other_roles, _narrower, _narrower,
                _more_general]
    else:
        ways = [_deny, _deny, _antonym, _other_time, _other_place, _other_subject, _other_subject]
    draw.rng.shuffle(ways)
    for way in ways:
        try:
            premise = way(draw, clause)
        except NoLuck:
            continue
        if draw.ours(premise):
            return premise
    raise NoLuck


def _can_want(draw: Draw, clause: Clause) -> bool:
    return clause.subject.id not in draw.world.orgs and not draw.world.verbs[clause.verb].state


def _can_add(draw: Draw, clause: Clause, detail: str) -> bool:
    facts, thing = draw.world.verbs[clause.verb], clause.object
    if detail == "adjective":
        return thing is not None and not thing.adjective and thing.id in draw.world.tags
    if detail == "place":
        return facts.place and not clause.place
    if detail == "manner":
        return bool(facts.manners) and not (clause.manner or clause.negated or clause.wants)
    if detail == "subject":
        return clause.subject.id in draw.world.tags and not clause.subject.adjective
    return not clause.time


def _add(draw: Draw, clause: Clause, detail: str) -> Clause:
    if detail == "adjective" and clause.object:
        return replace(clause, object=replace(clause.object, adjective=draw.adjective(clause.object.id)))
    if detail == "place":
        return replace(clause, place=draw.place(clause.verb))
    if detail == "manner":
        return replace(clause, manner=draw.pick(draw.world.verbs[clause.verb].manners))
    if detail == "subject":
        return replace(clause, subject=replace(clause.subject, adjective=draw.adjective(clause.subject.id)))
    return replace(clause, time=draw.pick(tuple(draw.world.times)))


def _enrich(draw: Draw, clause: Clause, *never: str, least: int = 0) -> Clause:
    """The clause with up to two more details, so that it says more."""
    details = [detail for detail in (*DETAILS, "manner", "subject")
               if detail not in never and _can_add(draw, clause, detail)]
    draw.rng.shuffle(details)
    if len(details) < least:
        raise NoLuck
    for detail in details[:max(least, draw.pick((0, 1, 1, 2)))]:
        clause = _add(draw, clause, detail)
    if draw.chance(0.25) and not clause.negated:
        clause = _pair(draw, clause)
    return clause


def _pair(draw: Draw, clause: Clause) -> Clause:
    facts, thing = draw.world.verbs[clause.verb], clause.object
    if thing is None or facts.single or facts.recipient:
        return clause
    other = Thing(draw.pick(facts.objects))
    if draw.world.related(other.id, thing.id) or draw.world.related(other.id, clause.subject.id):
        return clause
    paired = replace(clause, conjunct=other)
    if draw.chance(0.5):
        paired = replace(clause, object=other, conjunct=thing)
    return paired if draw.ours(paired) else clause


def _specialise(draw: Draw, clause: Clause) -> Clause:
    """The clause with nouns and places that lie within its own, and with synonyms."""
    world = draw.world

    def inside(name: str, allowed: tuple[str, ...]) -> str:
        below = [noun for noun in allowed if world.hypernyms.get(noun) == name]
        same = [noun for noun in allowed if noun != name and world.canonical(noun) == world.canonical(name)]
        if below and draw.chance(0.95):
            return draw.pick(below)
        return draw.pick(same) if same and draw.chance(0.6) else name

    facts = world.verbs[clause.verb]
    if clause.object and clause.object.id in world.tags:
        narrowed = replace(clause, object=replace(clause.object, id=inside(clause.object.id, facts.objects)))
        clause = narrowed if draw.ours(narrowed) else clause
    if clause.subject.id in world.tags:
        narrowed = replace(clause, subject=replace(clause.subject, id=inside(clause.subject.id, facts.subjects)))
        clause = narrowed if draw.ours(narrowed) else clause
    within = [city for city, country in world.cities.items() if country == clause.place and country]
    if within and draw.chance(0.8):
        clause = replace(clause, place=draw.pick(within))
    same = [place for place in world.places if place != clause.place and world.within(place, clause.place)]
    if same and draw.chance(0.5):
        clause = replace(clause, place=draw.pick(same))
    verbs = [verb for verb, taking in world.verbs.items()
             if verb != clause.verb and world.canonical(verb) == world.canonical(clause.verb)
             and (not clause.object or clause.object.id in taking.objects)]
    return replace(clause, verb=draw.pick(verbs)) if verbs and draw.chance(0.5) else clause


def _generalise(draw: Draw, clause: Clause) -> Clause:
    """The clause with the hypernym of its object or of its subject."""
    hypernyms = draw.world.hypernyms
    if clause.object and clause.object.id in hypernyms:
        return replace(clause, object=replace(clause.object, id=hypernyms[clause.object.id]))
    if clause.subject.id in hypernyms:
        return replace(clause, subject=replace(clause.subject, id=hypernyms[clause.subject.id]))
    return clause


def _droppable(draw: Draw, clause: Clause) -> list[str]:
    held = [detail for detail in ("time", "place") if getattr(clause, detail)]
    if clause.object and clause.object.adjective:
        held.append("adjective")
    return [detail for detail in held if not (detail == "place" and draw.world.verbs[clause.verb].goal)]


def _narrow(draw: Draw, clause: Clause) -> Clause:
    return _enrich(draw, _specialise(draw, clause))


def _broader(draw: Draw, clause: Clause) -> Clause:
    """A denial of what is no narrower than what the hypothesis denies."""
    return without(clause, *(detail for detail in _droppable(draw, clause) if draw.chance(0.5)))


def _instead(draw: Draw, clause: Clause) -> Clause:
    """What happened instead of what the hypothesis denies."""
    return draw.pick((_other_time, _other_place, _other_subject))(draw, replace(clause, negated=False))


def _unsupported(draw: Draw, clause: Clause) -> Clause:
    dropped = draw.pick(_droppable(draw, clause))
    return _enrich(draw, _specialise(draw, without(clause, dropped)), dropped)


def _other_object(draw: Draw, clause: Clause) -> Clause:
    if clause.object is None or clause.object.id in draw.world.given:
        raise NoLuck
    other = draw.pick(draw.world.verbs[clause.verb].objects)
    if draw.world.related(other, clause.object.id) or draw.world.related(other, clause.subject.id):
        raise NoLuck
    adjective = clause.object.adjective
    thing = Thing(other, adjective=adjective if adjective in draw.world.describing[other] else "")
    premise = _enrich(draw, replace(clause, object=thing, negated=clause.negated and draw.chance(0.5)))
    if any(draw.world.related(named.id, clause.object.id) for named in (premise.object, premise.conjunct) if named):
        raise NoLuck
    return premise


def _wish(draw: Draw, clause: Clause) -> Clause:
    if not _can_want(draw, clause):
        raise NoLuck
    return _enrich(draw, replace(clause, wants=not clause.wants, negated=False), "manner")


def _other_roles(draw: Draw, clause: Clause) -> Clause:
    if clause.object is None or "teacher" not in draw.world.verbs[clause.verb].objects:
        raise NoLuck
    if clause.object.id not in draw.world.given and "human" not in draw.world.tags[clause.object.id]:
        raise NoLuck
    return _enrich(draw, replace(clause, subject=clause.object, object=clause.subject))


def _narrower(draw: Draw, clause: Clause) -> Clause:
    """A denial of something narrower than the hypothesis: it leaves the hypothesis open."""
    details = [detail for detail in ("time", "place") if _can_add(draw, clause, detail)]
    return _add(draw, replace(clause, negated=True), draw.pick(details))


def _more_general(draw: Draw, clause: Clause) -> Clause:
    country = draw.world.cities.get(clause.place, "")
    general = replace(clause, place=country) if country else _generalise(draw, clause)
    if general == clause:
        raise NoLuck
    return _enrich(draw, general)


def _deny(draw: Draw, clause: Clause) -> Clause:
    dropped = [detail for detail in _droppable(draw, clause) if draw.chance(0.5)]
    return replace(without(clause, *dropped), negated=True)


def _affirm(draw: Draw, clause: Clause) -> Clause:
    return _enrich(draw, replace(clause, negated=False))


def _antonym(draw: Draw, clause: Clause) -> Clause:
    if clause.object is None or not clause.object.adjective:
        raise NoLuck
    adjectives, own = draw.world.adjectives, clause.object.adjective
    others = [name for name in draw.world.describing[clause.object.id]
              if adjectives[name].group == adjectives[own].group
              and draw.world.canonical(name) != draw.world.canonical(own)]
    changed = replace(clause.object, adjective=draw.pick(others))
    return _enrich(draw, _specialise(draw, replace(clause, object=changed)))


def _other_time(draw: Draw, clause: Clause) -> Clause:
    times = draw.world.times
    if not clause.time or times[clause.time] == "recent":
        raise NoLuck
    others = [name for name, group in times.items() if group == times[clause.time] and name != clause.time]
    return _enrich(draw, _specialise(draw, replace(clause, time=draw.pick(others))))


def _other_place(draw: Draw, clause: Clause) -> Clause:
    world, own = draw.world, clause.place
    if not own or own in world.orgs:
        raise NoLuck
    pool: tuple[str, ...] = tuple(world.cities) if own in world.cities else world.places
    others = [name for name in pool if not (world.within(name, own) or world.within(own, name))]
    return _enrich(draw, _specialise(draw, replace(clause, place=draw.pick(others))))


def _other_subject(draw: Draw, clause: Clause) -> Clause:
    if clause.verb not in ONCE or clause.object is None:
        raise NoLuck
    if clause.subject.id in draw.world.given:
        other = draw.name()
        if other.id == clause.subject.id or (clause.recipient and other.id == clause.recipient.id):
            raise NoLuck
    elif clause.subject.id in OPPOSITES:
        other = replace(clause.subject, id=OPPOSITES[clause.subject.id])
    else:
        raise NoLuck
    return _enrich(draw, replace(clause, subject=other), "subject")


def _front(draw: Draw, clause: Clause, share: float) -> Sentence:
    return Sentence(clause, fronted=bool(clause.time) and not clause.wants and draw.chance(share))


def _surround(draw: Draw, clause: Clause, hypothesis: Clause) -> Sentence:
    """The premise on its own, or linked with an event of somebody else's."""
    denied = clause.negated != hypothesis.negated and not hypothesis.wants and draw.chance(0.7)
    verbs = (hypothesis.verb,) if denied else draw.deeds
    other = draw.retry(lambda: _unlike(draw, draw.event(verbs, details=0.15), clause))
    other = replace(other, negated=hypothesis.negated if denied else draw.chance(0.2), manner="")
    echo = draw.retry(lambda: _unlike(draw, _echo(draw, other, clause, hypothesis), clause))
    if draw.chance(0.15 if denied or echo != other else 0.5):
        return _front(draw, clause, 0.3)
    links = ("and", "but") if clause.wants else ("and", "but", "although", "because", "when")
    link = draw.pick(links if echo == other else links[:3])
    main, linked = (clause, echo) if draw.chance(0.6) else (echo, clause)
    return Sentence(main, link, linked, fronted=link not in ("and", "but") and draw.chance(0.4))


def _echo(draw: Draw, other: Clause, premise: Clause, hypothesis: Clause) -> Clause:
    """The other event with what the hypothesis says and the premise does not, so that shared words prove nothing."""
    facts, thing, wanted = draw.world.verbs[other.verb], other.object, hypothesis.object
    if hypothesis.subject.id != premise.subject.id and hypothesis.subject.id in draw.world.given:
        changed = replace(other, subject=hypothesis.subject)
        taken = (hypothesis.object, premise.object, hypothesis.recipient)
        if draw.ours(changed) and not any(part and part.id == changed.subject.id for part in (thing, *taken)):
            other = changed
    if hypothesis.time != premise.time and hypothesis.time:
        other = replace(other, time=hypothesis.time)
    if hypothesis.place not in ("", premise.place) and facts.place and not facts.goal \
            and hypothesis.place not in draw.world.orgs:
        other = replace(other, place=hypothesis.place)
    if wanted and wanted.adjective and thing and premise.object and wanted.adjective != premise.object.adjective \
            and wanted.adjective in draw.world.describing.get(thing.id, ()):
        other = replace(other, object=replace(thing, adjective=wanted.adjective))
    return other


def _unlike(draw: Draw, other: Clause, clause: Clause) -> Clause:
    """The other clause where it speaks of nobody and nothing that the first one speaks of."""
    mine = [thing.id for thing in (clause.subject, clause.object, clause.recipient) if thing]
    theirs = [thing.id for thing in (other.subject, other.object, other.recipient) if thing]
    if any(draw.world.related(a, b) for a in mine for b in theirs):
        raise NoLuck
    return other
