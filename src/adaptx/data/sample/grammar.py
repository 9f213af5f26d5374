"""From meaning to sentence: fills the templates of a language's lexicon with phrases.

The only file that knows both meanings and lexicons; holds no rule of a single language, they are all data.
"""

from dataclasses import replace

from adaptx.data.sample.lexicon import Lexicon, Part
from adaptx.data.sample.meaning import Clause, Sentence, Thing
from adaptx.data.sample.trees import HEAD, MARK, MODIFIER, SUBJECT, Node, Token, Tree, spell
from adaptx.data.sample.world import World

VP = "s\\np"
Slots = dict[str, tuple[str, Tree]]


def sentence_tokens(world: World, lexicon: Lexicon, sentence: Sentence) -> list[Token]:
    """The tokens of a sentence with gold tags; the slots of the main clause are named S, O, R, P, T as in templates."""
    end = "?" if sentence.question else "."
    body = _sentence(world, lexicon, sentence)
    tokens = spell(Node(((HEAD, body), (MARK, Token(end, "PUNCT")))))
    first = tokens[0]
    return [replace(first, form=first.form[0].upper() + first.form[1:]), *tokens[1:]]


def question_tokens(world: World, lexicon: Lexicon, clause: Clause, asked: str) -> list[Token]:
    """A question for one slot of a clause: S (who), O (what or whom), P (where) or T (when)."""
    words, verb = lexicon.settings["question"], lexicon.verbs[clause.verb]
    if asked == "S":
        role, word = SUBJECT, words["who"]
    elif asked == "O":
        human = clause.object is not None and ("human" in world.tags.get(clause.object.id, ())
                                               or clause.object.id in world.given)
        role, word = "np", words.get(f"whom_{verb.object}", words.get("whom", "")) if human else words["what"]
    else:
        role, word = MODIFIER, words[f"where_{verb.place}" if asked == "P" else "when"]
    upos = "ADV" if role == MODIFIER else "PRON"
    slots = {**_slots(world, lexicon, clause), "WH": (role, Token(word, upos))}
    del slots[asked]
    template = lexicon.template("wh_subject" if asked == "S" else "wh_other")
    tokens = spell(Node(((HEAD, _fill(lexicon, clause, template, slots)), (MARK, Token("?", "PUNCT")))))
    return [replace(tokens[0], form=tokens[0].form[0].upper() + tokens[0].form[1:]), *tokens[1:]]


def _sentence(world: World, lexicon: Lexicon, sentence: Sentence) -> Tree:
    main, other = sentence.main, sentence.other
    if sentence.speaker:
        verb = Token(lexicon.verbs["say"].form("past", _person(world, sentence.speaker)), "VERB")
        marks, that = _conjunction(lexicon, lexicon.report.words)
        said = Node((*that, ("s", _clause(world, lexicon, main, lexicon.report.order))))
        speaker = _noun_phrase(world, lexicon, sentence.speaker, "nom")
        return Node(((SUBJECT, speaker), (HEAD, verb), *marks, ("s", said)))
    if other:
        link = lexicon.links[sentence.link]
        marks, words = _conjunction(lexicon, link.front if sentence.fronted else link.words)
        linked = Node((*words, ("s", _clause(world, lexicon, other, link.order))))
        if sentence.fronted:
            return Node(((MODIFIER, linked), (MARK, Token(",", "PUNCT")),
                         (HEAD, _clause(world, lexicon, main, "inv"))))
        return Node(((HEAD, _clause(world, lexicon, main, "main")), *marks, (MODIFIER, linked)))
    if sentence.fronted:
        comma = ((MARK, Token(",", "PUNCT")),) if lexicon.front_comma else ()
        rest = _clause(world, lexicon, replace(main, time=""), "inv")
        time = _named(_phrase(lexicon, lexicon.phrases["times"][main.time], "NOUN"), "T")
        return Node(((MODIFIER, time), *comma, (HEAD, rest)))
    return _clause(world, lexicon, main, "ask" if sentence.question else "alt" if sentence.swapped else "main")


def _conjunction(lexicon: Lexicon, words: tuple[str, ...]) -> tuple[tuple[tuple[str, Tree], ...], ...]:
    """The comma before a conjunction, and its words: the last one is the head, as in "därför att"."""
    marks = tuple((MARK, Token(word, "PUNCT")) for word in words if word == ",")
    rest = [Token(word, lexicon.upos[word]) for word in words if word != ","]
    return marks, (*((MODIFIER, word) for word in rest[:-1]), (HEAD, rest[-1]))


def _clause(world: World, lexicon: Lexicon, clause: Clause, order: str) -> Node:
    if clause.wants:
        names = ["want_neg" if clause.negated else "want"]
    elif clause.negated:
        names = [f"{order}_neg", "neg"]
    else:
        names = [order, "main"]
    if clause.verb == "be":
        names = [*(f"be_{name}" for name in names), *names]
    slots = _slots(world, lexicon, clause)
    if order == "alt" and clause.recipient:
        slots["RP"] = _recipient(world, lexicon, clause.recipient)
        del slots["R"]
    return _fill(lexicon, clause, lexicon.template(*names), slots, _person(world, clause.subject))


def _fill(lexicon: Lexicon, clause: Clause, template: tuple[Part, ...], slots: Slots, person: int = 1) -> Node:
    """The template with its slots filled; ValueError where it has no room for one of them.

    Only a separable prefix may lack one: verb-final templates spell it with the verb.
    """
    unused = set(slots) - {"PRT"}
    definite = clause.object is None or (clause.object.definite and not clause.object.number)

    def fill(parts: tuple[Part, ...]) -> Node:
        filled: list[tuple[str, Tree]] = []
        for part in parts:
            role = HEAD if part.head else MODIFIER
            if part.group:
                filled.append((HEAD if part.head else VP, fill(part.group)))
            elif part.verb:
                filled.append((role, _verb(lexicon, clause, part, person)))
            elif part.word:
                word, _, upos = part.word.partition("/")
                filled.append((role, Token(word, upos or lexicon.upos[word])))
            else:
                slot = {"OD": "O" if definite else "", "OI": "" if definite else "O"}.get(part.slot, part.slot)
                if slot in slots:
                    unused.discard(slot)
                    filled.append(slots[slot])
        return Node(tuple(filled))

    node = fill(template)
    if unused:
        raise ValueError(f"{lexicon.lang}: the template for {clause} has no place for {sorted(unused)}")
    return node


def _verb(lexicon: Lexicon, clause: Clause, part: Part, person: int) -> Token:
    name = clause.verb if part.verb == "V" else part.verb
    verb, tense = lexicon.verbs[name], "past" if clause.past else "pres"
    if part.mode == "sub" and f"sub_{tense}" in verb.forms:
        mode = f"sub_{tense}"
    else:
        mode = {"fin": tense, "sub": tense, "neg": f"{tense}_neg"}.get(part.mode, part.mode)
    return Token(verb.form(mode, person), "AUX" if name in lexicon.aux else "VERB")


def _person(world: World, subject: Thing) -> int:
    return world.pronouns.get(subject.id, 3 if subject.plural else 1)


def _slots(world: World, lexicon: Lexicon, clause: Clause) -> Slots:
    """The phrases of a clause by the slot of the template that they fill, with their roles."""
    verb = lexicon.verbs[clause.verb]
    slots: Slots = {"S": (SUBJECT, _subject(world, lexicon, clause))}
    if clause.object:
        case = lexicon.settings["negated_case"].get(verb.object, verb.object) if clause.negated else verb.object
        phrase = _noun_phrase(world, lexicon, clause.object, case)
        if clause.conjunct:
            also = _noun_phrase(world, lexicon, clause.conjunct, case)
            conjunction = Token(lexicon.conjunct, lexicon.upos[lexicon.conjunct])
            phrase = Node(((HEAD, phrase), (MODIFIER, Node(((HEAD, conjunction), ("np", also))))))
        if verb.preposition:
            pp = Node(((HEAD, Token(verb.preposition, "ADP")), ("np", phrase)))
            slots["PO"] = ("pp", pp)
        else:
            slots["O"] = ("np", phrase)
    if clause.recipient:
        slots["R"] = ("np", _noun_phrase(world, lexicon, clause.recipient, lexicon.settings["recipient"]["case"]))
    if clause.company:
        slots["W"] = (MODIFIER, _company(world, lexicon, clause.company))
    if clause.predicate:
        entry = lexicon.sections["nouns"].get(clause.subject.id, {})
        columns = lexicon.settings["predicate"]
        column = columns.get(entry.get("gender", ""), next(iter(columns.values())))
        slots["C"] = (VP, Token(lexicon.sections["adjectives"][clause.predicate][column], "ADJ"))
    if clause.manner:
        word = lexicon.phrases["manners"][clause.manner]
        slots["M"] = (MODIFIER, Token(word, lexicon.upos.get(word, "ADV")))
    if clause.place:
        slots["P"] = (MODIFIER, _place(world, lexicon, clause.place, verb.place))
    if clause.time:
        slots["T"] = (MODIFIER, _phrase(lexicon, lexicon.phrases["times"][clause.time], "NOUN"))
    if verb.particle and not clause.wants:
        slots["PRT"] = (MODIFIER, Token(verb.particle, "ADP"))
    return {name: (role, _named(tree, name)) for name, (role, tree) in slots.items()}


def _named(tree: Tree, slot: str) -> Tree:
    if isinstance(tree, Token):
        return Token(tree.form, tree.upos, tree.entity, tree.category, slot)
    return Node(tree.parts, tree.category, slot)


def _subject(world: World, lexicon: Lexicon, clause: Clause) -> Tree:
    phrase = _noun_phrase(world, lexicon, clause.subject, "nom")
    if not clause.relative:
        return phrase
    words = lexicon.settings["relative"]
    *comma, pronoun = words[_number(lexicon, clause.subject)].split()
    slots = _slots(world, lexicon, clause.relative)
    del slots["S"]
    names = ("sub_neg", "neg") if clause.relative.negated else ("sub", "main")
    said = _fill(lexicon, clause.relative, lexicon.template(*names), slots, _person(world, clause.subject))
    return Node((
        (HEAD, phrase), *((MARK, Token(mark, "PUNCT")) for mark in comma),
        (MODIFIER, Node(((HEAD, Token(pronoun, lexicon.upos.get(pronoun, "PRON"))), (VP, said)))),
        *((MARK, Token(mark, "PUNCT")) for mark in words["close"].split()),
    ))


def _number(lexicon: Lexicon, thing: Thing) -> str:
    """The column of noun phrase tables: the gender ("s" without one), or "p"."""
    return "p" if thing.plural or thing.number else lexicon.sections["nouns"][thing.id].get("gender", "s")


def _noun_phrase(world: World, lexicon: Lexicon, thing: Thing, case: str) -> Tree:
    if thing.id in world.pronouns:
        return Token(lexicon.phrases["pronouns"][thing.id], "PRON")
    if thing.id in world.given:
        names = [lexicon.name_form("given", thing.id, case)]
        if thing.family:
            names = [thing.id, lexicon.name_form("family", thing.family, case)]
        return _row([Token(name, "PROPN", f"{'I' if index else 'B'}-PER") for index, name in enumerate(names)])
    if thing.id in world.orgs:
        return _phrase(lexicon, lexicon.sections["orgs"][thing.id]["nom"], "PROPN", "ORG")
    definiteness = "num" if thing.number else "def" if thing.definite else "indef"
    row = lexicon.noun_phrase(definiteness, case, _number(lexicon, thing))
    determiner, adjective, column = row
    words: list[tuple[str, Tree]] = []
    if thing.number:
        words.append((MODIFIER, Token(lexicon.sections["numbers"][thing.number][determiner], "NUM")))
    if thing.adjective:
        words.append((MODIFIER, Token(lexicon.sections["adjectives"][thing.adjective][adjective], "ADJ")))
    noun = Token(lexicon.sections["nouns"][thing.id][column], "NOUN")
    bare = Node((*words, (HEAD, noun)), category="n")
    if thing.number or determiner == "none" or (determiner.startswith("(") and not thing.adjective):
        return bare
    article = determiner.strip("()")
    if "/" in article:
        plain, vowel = article.split("/")
        first = words[0][1] if words else noun
        article = vowel if isinstance(first, Token) and first.form[0] in "aeiou" else plain
    return Node(((HEAD, Token(article, "DET")), ("n", bare)))


def _company(world: World, lexicon: Lexicon, thing: Thing) -> Tree:
    rule = lexicon.settings["company"]
    phrase = _noun_phrase(world, lexicon, thing, rule["case"])
    if "pre" in rule:
        return Node(((HEAD, Token(rule["pre"], "ADP")), ("np", phrase)))
    if "post" in rule:
        return Node((("np", phrase), (HEAD, Token(rule["post"], "ADP"))))
    return _adverbial(phrase)


def _adverbial(tree: Tree) -> Tree:
    """A noun phrase whose case makes it a modifier: its category comes from where it stands."""
    return replace(tree, category="") if isinstance(tree, Node) else tree


def _recipient(world: World, lexicon: Lexicon, thing: Thing) -> tuple[str, Tree]:
    """A recipient that follows the object, with a preposition where the language wants one."""
    rule = lexicon.settings["recipient"]
    phrase = _noun_phrase(world, lexicon, thing, rule["case"])
    if "pre" in rule:
        return "pp", Node(((HEAD, Token(rule["pre"], "ADP")), ("np", phrase)), slot="R")
    return "np", _named(phrase, "R")


def _place(world: World, lexicon: Lexicon, place: str, local_case: str) -> Tree:
    sections = lexicon.sections
    if place in world.orgs:
        return _phrase(lexicon, sections["orgs"][place]["at"], "PROPN", "ORG")
    if place in world.cities:
        return _phrase(lexicon, sections["cities"][place][local_case], "PROPN", "LOC")
    return _phrase(lexicon, sections["places"][place][local_case], "NOUN")


def _phrase(lexicon: Lexicon, words: str, upos: str, entity: str = "") -> Tree:
    """A fixed phrase of the lexicon; an entity begins after prepositions and articles."""
    tokens, started = [], False
    for word in words.split():
        token = Token(word, lexicon.upos.get(word, upos))
        if entity and (started or token.upos not in ("ADP", "DET")):
            token = replace(token, entity=f"{'I' if started else 'B'}-{entity}")
            started = True
        tokens.append(token)
    return _row(tokens)


def _row(tokens: list[Token]) -> Tree:
    """The tree of a fixed phrase: prepositions and determiners are heads, otherwise the last word is."""
    first, rest = tokens[0], tokens[1:]
    if not rest:
        return first
    if first.upos == "ADP":
        inner = _row(rest)
        last = inner.parts[-1][1] if isinstance(inner, Node) else inner
        bare = isinstance(last, Token) and last.upos == "NOUN" and rest[0].upos not in ("DET", "PRON")
        return Node(((HEAD, first), ("n" if bare else "np", inner)))
    if first.upos in ("DET", "PRON"):
        return Node(((HEAD, first), ("n", _row(rest))))
    if rest[0].upos == "ADP":
        return Node(((HEAD, first), (MODIFIER, _row(rest))))
    return Node((*((MODIFIER, token) for token in tokens[:-1]), (HEAD, tokens[-1])))
