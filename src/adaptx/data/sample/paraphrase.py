"""Sample paraphrases: two sentences that say the same ("1"), or nearly the same words that do not ("0").

Both labels reorder and reword alike; a pair that is no paraphrase has one more change, of the meaning.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from adaptx.data.sample.meaning import Clause, Sentence
from adaptx.data.sample.sampling import Draw, NoLuck, distinct

# Verbs between people, whose roles can be exchanged.
PERSONAL = ("see", "call", "love", "wait", "help", "thank", "listen", "give", "send", "show")


@dataclass(frozen=True, slots=True)
class Pair:
    """Two sentences and whether they say the same."""

    first: Sentence
    second: Sentence
    label: str


def plan_pairs(draw: Draw, count: int) -> Iterator[Pair]:
    """`count` pairs, the labels equally often."""
    labels = ["1", "0"] * (count // 2) + ["1"] * (count % 2)
    draw.rng.shuffle(labels)
    return distinct(draw.world, lambda label: _pair(draw, label), labels)


def _pair(draw: Draw, label: str) -> Pair:
    first = _sentence(draw)
    second = first if label == "1" else draw.retry(lambda: _changed(draw, first))
    reworded = _reword(draw, second, draw.pick((1, 2, 2) if label == "1" else (0, 1, 1, 2)))
    if draw.chance(0.5):
        return Pair(first, reworded, label)
    return Pair(reworded, first, label)


def _sentence(draw: Draw) -> Sentence:
    verbs = PERSONAL if draw.chance(0.4) else draw.deeds
    clause = draw.event(verbs, details=0.5)
    if draw.chance(0.5):
        sentence = draw.linked(clause, ("because", "when", "although", "since"))
        return replace(sentence, fronted=False)
    return draw.fronted(clause) if draw.chance(0.4) else Sentence(clause)


def _reword(draw: Draw, sentence: Sentence, count: int) -> Sentence:
    """The sentence after `count` changes that keep its meaning; NoLuck where it allows fewer."""
    ways = [_synonym_object, _synonym_subject, _synonym_verb, _synonym_link, _synonym_adjective, _synonym_adverbial]
    draw.rng.shuffle(ways)
    turning = draw.pick((0, 2, 4, 6))
    ways[turning:turning] = [_turned, _swapped]
    for way in ways:
        if count == 0:
            break
        try:
            sentence, count = way(draw, sentence), count - 1
        except NoLuck:
            continue
    if count:
        raise NoLuck
    return sentence


def _turned(draw: Draw, sentence: Sentence) -> Sentence:
    """The linked clause, or the time, moved to the other end."""
    pronoun = sentence.other is not None and sentence.other.subject.id in draw.world.pronouns
    if sentence.link == "since" or sentence.swapped or pronoun or not (sentence.other or sentence.main.time):
        raise NoLuck
    return replace(sentence, fronted=not sentence.fronted)


def _swapped(draw: Draw, sentence: Sentence) -> Sentence:
    clause = sentence.main
    if clause.recipient is None or clause.object is None or not clause.object.definite or clause.object.number:
        raise NoLuck
    if clause.negated or sentence.other or sentence.fronted:
        raise NoLuck
    return replace(sentence, swapped=not sentence.swapped)


def _synonym(draw: Draw, name: str, allowed: tuple[str, ...]) -> str:
    return draw.pick([other for other in allowed
                      if other != name and draw.world.canonical(other) == draw.world.canonical(name)])


def _synonym_object(draw: Draw, sentence: Sentence) -> Sentence:
    thing = sentence.main.object
    if thing is None:
        raise NoLuck
    other = replace(thing, id=_synonym(draw, thing.id, draw.world.verbs[sentence.main.verb].objects))
    return replace(sentence, main=replace(sentence.main, object=other))


def _synonym_subject(draw: Draw, sentence: Sentence) -> Sentence:
    subject = sentence.main.subject
    other = replace(subject, id=_synonym(draw, subject.id, tuple(draw.world.tags)))
    return replace(sentence, main=replace(sentence.main, subject=other))


def _synonym_verb(draw: Draw, sentence: Sentence) -> Sentence:
    clause = sentence.main
    verb = _synonym(draw, clause.verb, tuple(draw.world.verbs))
    facts = draw.world.verbs[verb]
    if clause.manner not in ("", *facts.manners) or (clause.object and clause.object.id not in facts.objects):
        raise NoLuck
    return replace(sentence, main=replace(clause, verb=verb))


def _synonym_link(draw: Draw, sentence: Sentence) -> Sentence:
    if sentence.fronted:
        raise NoLuck
    return replace(sentence, link=_synonym(draw, sentence.link, draw.world.links))


def _synonym_adjective(draw: Draw, sentence: Sentence) -> Sentence:
    subject = sentence.main.subject
    other = replace(subject, adjective=_synonym(draw, subject.adjective, tuple(draw.world.adjectives)))
    return replace(sentence, main=replace(sentence.main, subject=other))


def _synonym_adverbial(draw: Draw, sentence: Sentence) -> Sentence:
    clause = sentence.main
    if clause.manner and draw.chance(0.5):
        clause = replace(clause, manner=_synonym(draw, clause.manner, draw.world.manners))
    else:
        clause = replace(clause, place=_synonym(draw, clause.place, draw.world.places))
    return replace(sentence, main=clause)


def _changed(draw: Draw, sentence: Sentence) -> Sentence:
    """The sentence with one change that alters its meaning and keeps most or all of its words."""
    exchanges = (_exchange_roles, _exchange_clauses, _exchange_adjectives)
    way = draw.pick(exchanges if draw.chance(0.85) else (_change_object, _change_time, _change_place))
    changed = way(draw, sentence)
    if not draw.ours(changed.main) or changed == sentence:
        raise NoLuck
    return changed


def _exchange_roles(draw: Draw, sentence: Sentence) -> Sentence:
    clause = sentence.main
    people = [thing for thing in (clause.object, clause.recipient) if thing and _person(draw, thing.id)]
    other = draw.pick(people)
    if other.plural != clause.subject.plural or clause.subject.id in (*draw.world.pronouns, *draw.world.orgs) \
            or other.number or clause.verb == "meet" or not (other.definite and clause.subject.definite):
        raise NoLuck
    if other is clause.object:
        return replace(sentence, main=replace(clause, subject=other, object=clause.subject))
    return replace(sentence, main=replace(clause, subject=other, recipient=clause.subject))


def _person(draw: Draw, name: str) -> bool:
    return name in draw.world.given or "human" in draw.world.tags.get(name, ())


def _exchange_clauses(draw: Draw, sentence: Sentence) -> Sentence:
    if sentence.other is None or sentence.link == "when" or sentence.other.subject.id in draw.world.pronouns:
        raise NoLuck
    if not draw.ours(sentence.other):
        raise NoLuck
    return replace(sentence, main=sentence.other, other=sentence.main)


def _change_object(draw: Draw, sentence: Sentence) -> Sentence:
    thing = sentence.main.object
    if thing is None or thing.id in draw.world.given:
        raise NoLuck
    other = draw.pick(draw.world.verbs[sentence.main.verb].objects)
    if draw.world.related(other, thing.id) or draw.world.related(other, sentence.main.subject.id):
        raise NoLuck
    if "mass" in draw.world.tags[other] or thing.adjective not in ("", *draw.world.describing[other]):
        raise NoLuck
    return replace(sentence, main=replace(sentence.main, object=replace(thing, id=other)))


def _change_time(draw: Draw, sentence: Sentence) -> Sentence:
    clause = sentence.main
    if not clause.time:
        raise NoLuck
    other = draw.pick(tuple(draw.world.times) if clause.past else draw.world.habits)
    return replace(sentence, main=replace(clause, time=other))


def _change_place(draw: Draw, sentence: Sentence) -> Sentence:
    clause = sentence.main
    if not clause.place:
        raise NoLuck
    place = draw.place(clause.verb)
    if draw.world.within(place, clause.place):
        raise NoLuck
    return replace(sentence, main=replace(clause, place=place))


def _exchange_adjectives(draw: Draw, sentence: Sentence) -> Sentence:
    """The adjective of the object given to the subject and the other way round."""
    clause: Clause = sentence.main
    if clause.object is None or clause.subject.id not in draw.world.tags or clause.object.id not in draw.world.tags:
        raise NoLuck
    mine, theirs = clause.subject.adjective, clause.object.adjective
    if draw.world.canonical(mine) == draw.world.canonical(theirs):
        raise NoLuck
    if theirs not in ("", *draw.world.describing[clause.subject.id]) \
            or mine not in ("", *draw.world.describing[clause.object.id]):
        raise NoLuck
    return replace(sentence, main=replace(clause, subject=replace(clause.subject, adjective=theirs),
                                          object=replace(clause.object, adjective=mine)))
