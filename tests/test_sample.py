"""The sample corpus: right by construction, the same in every language, and not to be solved by shortcuts."""

import os
import random
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from itertools import islice
from typing import Any

import pytest
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LogisticRegression

from adaptx.data import examples as data
from adaptx.data import sample
from adaptx.data.sample.choice import Choice
from adaptx.data.sample.grammar import question_tokens, sentence_tokens
from adaptx.data.sample.inference import Inference
from adaptx.data.sample.lexicon import load_lexicon
from adaptx.data.sample.meaning import SPLITS, Clause, Sentence, Thing, clauses, split_of, triples
from adaptx.data.sample.paraphrase import Pair
from adaptx.data.sample.reading import Reading
from adaptx.data.sample.sentences import Story
from adaptx.data.sample.trees import text
from adaptx.data.sample.world import load_world
from adaptx.errors import AdaptxError

UPOS = {"ADJ", "ADP", "ADV", "AUX", "CCONJ", "DET", "INTJ", "NOUN", "NUM", "PART", "PRON", "PROPN", "PUNCT", "SCONJ",
        "SYM", "VERB", "X"}
WORLD = load_world()


@cache
def examples(kind: str, lang: str, split: str) -> tuple[data.Example, ...]:
    return tuple(sample.generate(kind, lang, split))


def say(lang: str, sentence: Sentence) -> str:
    return text(sentence_tokens(WORLD, load_lexicon(lang), sentence))


def ask(lang: str, clause: Clause, slot: str) -> str:
    return text(question_tokens(WORLD, load_lexicon(lang), clause, slot))


# In the order of LANGUAGES; right by the grammars of the languages, not copied from what the program says.
BUY = Clause("buy", Thing("woman"), Thing("book", adjective="red"), place="shop", time="yesterday")
SPOKEN: list[tuple[Sentence, list[str]]] = [
    (Sentence(BUY), [
        "The woman bought the red book in the shop yesterday.", "Kvinnan köpte den röda boken i affären igår.",
        "Naine ostis eile poest punase raamatu.", "Die Frau kaufte das rote Buch gestern im Laden.",
        "Nainen osti eilen punaisen kirjan kaupasta."]),
    (Sentence(replace(BUY, subject=Thing("man", plural=True), negated=True), fronted=True), [
        "Yesterday, the men did not buy the red book in the shop.",
        "Igår köpte männen inte den röda boken i affären.", "Eile ei ostnud mehed poest punast raamatut.",
        "Gestern kauften die Männer das rote Buch nicht im Laden.",
        "Eilen miehet eivät ostaneet punaista kirjaa kaupasta."]),
    (Sentence(Clause("wait", Thing("we"), Thing("bus", plural=True), past=False, time="every_morning", negated=True)), [
        "We do not wait for the buses every morning.", "Vi väntar inte på bussarna varje morgon.",
        "Me ei oota igal hommikul busse.", "Wir warten jeden Morgen nicht auf die Busse.",
        "Me emme odota joka aamu busseja."]),
    (Sentence(Clause("help", Thing("Anna", family="Berg"), Thing("child"), past=False), "because",
              Clause("call", Thing("neighbour"), Thing("doctor"), negated=True)), [
        "Anna Berg helps the child because the neighbour did not call the doctor.",
        "Anna Berg hjälper barnet eftersom grannen inte ringde läkaren.",
        "Anna Berg aitab last, sest naaber ei helistanud arstile.",
        "Anna Berg hilft dem Kind, weil der Nachbar den Arzt nicht anrief.",
        "Anna Berg auttaa lasta, koska naapuri ei soittanut lääkärille."]),
    (Sentence(Clause("send", Thing("i"), Thing("letter", number="two"), recipient=Thing("boy")), "when",
              Clause("sleep", Thing("farmer")), fronted=True), [
        "When the farmer slept, I sent the boy two letters.", "När bonden sov, skickade jag pojken två brev.",
        "Kui talunik magas, saatsin ma poisile kaks kirja.",
        "Als der Bauer schlief, schickte ich dem Jungen zwei Briefe.",
        "Kun maanviljelijä nukkui, minä lähetin pojalle kaksi kirjettä."]),
    (Sentence(Clause("travel", Thing("girl"), place="turku", company=Thing("artist", adjective="old"),
                     relative=Clause("find", Thing("girl"), Thing("key", definite=False)))), [
        "The girl who found a key travelled to Turku with the old artist.",
        "Flickan som hittade en nyckel reste med den gamla konstnären till Åbo.",
        "Tüdruk, kes leidis võtme, reisis vana kunstnikuga Turusse.",
        "Das Mädchen, das einen Schlüssel fand, reiste mit der alten Künstlerin nach Turku.",
        "Tyttö, joka löysi avaimen, matkusti vanhan taiteilijan kanssa Turkuun."]),
    (Sentence(Clause("forget", Thing("Otto"), Thing("hat"), place="tampere"), question=True), [
        "Did Otto forget the hat in Tampere?", "Glömde Otto hatten i Tammerfors?",
        "Kas Otto unustas Tamperesse kübara?", "Vergaß Otto den Hut in Tampere?",
        "Unohtiko Otto hatun Tampereelle?"]),
    (Sentence(Clause("read", Thing("student"), Thing("newspaper"), wants=True, negated=True)), [
        "The student did not want to read the newspaper.", "Studenten ville inte läsa tidningen.",
        "Üliõpilane ei tahtnud ajalehte lugeda.", "Die Studentin wollte die Zeitung nicht lesen.",
        "Opiskelija ei halunnut lukea sanomalehteä."]),
    (Sentence(Clause("be", Thing("house"), predicate="old"), speaker=Thing("Eero")), [
        "Eero said that the house was old.", "Eero sade att huset var gammalt.", "Eero ütles, et maja oli vana.",
        "Eero sagte, dass das Haus alt war.", "Eero sanoi, että talo oli vanha."]),
]


@pytest.mark.parametrize("lang", sample.LANGUAGES)
def test_sentences_are_said_as_a_speaker_says_them(lang: str) -> None:
    column = sample.LANGUAGES.index(lang)
    assert [say(lang, sentence) for sentence, _ in SPOKEN] == [words[column] for _, words in SPOKEN]


def test_questions_are_asked_as_a_speaker_asks_them() -> None:
    assert ask("fi", BUY, "P") == "Mistä nainen osti eilen punaisen kirjan?"
    assert ask("et", BUY, "O") == "Mida naine eile poest ostis?"
    assert ask("de", BUY, "S") == "Wer kaufte das rote Buch gestern im Laden?"
    assert ask("sv", BUY, "T") == "När köpte kvinnan den röda boken i affären?"
    assert ask("en", BUY, "T") == "When did the woman buy the red book in the shop?"
    call = Clause("call", Thing("Otto"), Thing("Anna"))
    assert [ask(lang, call, "O") for lang in ("fi", "et", "de")] == [
        "Kenelle Otto soitti?", "Kellele Otto helistas?", "Wen rief Otto an?"]


@pytest.mark.parametrize("lang", sample.LANGUAGES)
def test_every_language_has_words_for_everything_in_the_world(lang: str) -> None:
    lexicon = load_lexicon(lang)
    assert len(WORLD.tags) >= 45 and len(WORLD.verbs) >= 25 and len(WORLD.adjectives) >= 18
    assert len(WORLD.given) >= 25 and len(WORLD.cities) >= 15 and len(WORLD.orgs) >= 12
    for section, ids in (("nouns", WORLD.tags), ("adjectives", WORLD.adjectives), ("places", WORLD.places),
                         ("cities", WORLD.cities), ("orgs", WORLD.orgs), ("numbers", WORLD.numbers)):
        assert set(lexicon.sections[section]) == set(ids), section
    assert set(lexicon.verbs) >= set(WORLD.verbs) | {"be", "want", "say"}
    assert set(lexicon.phrases["times"]) == {*WORLD.times, *WORLD.habits}
    assert set(lexicon.phrases["manners"]) == set(WORLD.manners)
    assert set(lexicon.links) == set(WORLD.links)
    people = {noun for noun, tags in WORLD.tags.items() if "human" in tags}
    columns = {column for entry in lexicon.sections["nouns"].values() for column in entry}
    for noun, entry in lexicon.sections["nouns"].items():
        assert set(entry) == columns if noun in people else set(entry) >= columns - {"all", "com"}, noun


def test_sizes_and_ids() -> None:
    for kind in sample.KINDS:
        for split in SPLITS if kind == "pos" else ("dev",):
            rows = examples(kind, "fi", split)
            assert len(rows) == (sample.DOCUMENTS if kind == "text" else sample.SIZES)[split]
            assert len({row.id for row in rows}) == len(rows)
    assert all(isinstance(row, data.DocumentExample) and row.text.count(".") == 8
               for row in examples("text", "fi", "dev"))


def test_generation_depends_on_its_arguments_and_on_nothing_else() -> None:
    code = "from adaptx.data.sample import generate; print(*generate('nli', 'et', 'dev'), sep='\\n')"
    runs = [subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, encoding="utf-8",
                           env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONIOENCODING": "utf-8",
                                "PYTHONPATH": os.pathsep.join(sys.path)}).stdout for seed in ("1", "2")]
    here = "".join(f"{row}\n" for row in sample.generate("nli", "et", "dev"))
    assert runs == [here, here]
    assert sample.generate("nli", "et", "dev", seed=1) != list(examples("nli", "et", "dev"))


def test_row_i_means_the_same_in_every_language() -> None:
    for row in zip(*(examples("ner", lang, "dev") for lang in sample.LANGUAGES), strict=True):
        assert len({tuple(sorted(tag for tag in tags_of(example) if tag.startswith("B"))) for example in row}) == 1
    for mine, theirs in zip(examples("parallel", "fi", "dev"), examples("parallel", "de", "dev"), strict=True):
        assert isinstance(mine, data.ParallelExample) and isinstance(theirs, data.ParallelExample)
        assert mine.english == theirs.english != mine.text != theirs.text


def words_of(example: data.Example) -> tuple[str, ...]:
    assert isinstance(example, data.WordsExample)
    return example.words


def tags_of(example: data.Example) -> tuple[str, ...]:
    assert isinstance(example, data.WordsExample) and example.tags is not None
    assert len(example.tags) == len(example.words)
    return example.tags


def clauses_of(plan: sample.Plan) -> Iterator[Clause]:
    """Every clause that an example states, as true or false."""
    if isinstance(plan, Inference):
        sentences: tuple[Sentence, ...] = (plan.premise, plan.hypothesis)
    elif isinstance(plan, Pair):
        sentences = (plan.first, plan.second)
    elif isinstance(plan, Story):
        sentences = plan.sentences
    else:
        sentences = (plan,) if isinstance(plan, Sentence) else plan.context
    for sentence in sentences:
        yield from clauses(sentence)
    if isinstance(plan, Choice):
        yield from plan.choices
    if isinstance(plan, Reading) and plan.asked not in ("S", "O"):
        yield plan.question


def test_no_lemma_combination_occurs_in_two_splits() -> None:
    seen: dict[tuple[str, str, str], str] = {}
    for kind in sample.KINDS:
        for split in SPLITS:
            for plan in islice(sample.plans(kind, split), 300):
                for clause in clauses_of(plan):
                    for triple in triples(clause):
                        assert seen.setdefault(triple, split) == split, (kind, triple)
    assert min(Counter(seen.values()).values()) > 500
    assert split_of("teacher", "car") == split_of("car", "teacher")


def test_sentences_vary() -> None:
    for lang in ("fi", "en"):
        rows = [words_of(example) for example in examples("pos", lang, "train")]
        assert len(set(rows)) == len(rows) >= 2000
        lengths = [len(words) for words in rows]
        assert min(lengths) >= 4 and 14 <= max(lengths) <= 30 and len(set(lengths)) >= 12


@pytest.mark.parametrize("lang", sample.LANGUAGES)
def test_tags_are_universal_and_entities_well_formed(lang: str) -> None:
    tags = {tag for example in examples("pos", lang, "test") for tag in tags_of(example)}
    assert tags <= UPOS and len(tags) >= 12
    kinds = Counter[str]()
    for example in examples("ner", lang, "test"):
        before = "O"
        for tag in tags_of(example):
            assert not tag.startswith("I-") or before[2:] == tag[2:]
            kinds.update([tag])
            before = tag
    assert {"B-PER", "I-PER", "B-LOC", "I-LOC", "B-ORG", "I-ORG", "O"} == set(kinds) and kinds["B-ORG"] > 50


def test_function_words_follow_universal_dependencies() -> None:
    expected = {"fi": "ei:AUX oli:AUX kanssa:ADP koska:SCONJ ja:CCONJ halusi:VERB",
                "et": "ei:AUX oli:AUX sest:SCONJ aga:CCONJ kas:ADV tahtis:VERB",
                "de": "nicht:PART war:AUX wollte:AUX weil:SCONJ die:DET an:ADP",
                "sv": "inte:PART var:AUX ville:AUX eftersom:SCONJ en:DET på:ADP",
                "en": "not:PART did:AUX was:AUX because:SCONJ a:DET wanted:VERB"}
    for lang, pairs in expected.items():
        found = {f"{word.lower()}:{tag}" for example in examples("pos", lang, "test")
                 for word, tag in zip(words_of(example), tags_of(example), strict=True)}
        assert set(pairs.split()) <= found and not {"ei:VERB", "inte:ADV", "nicht:ADV", "was:VERB"} & found


def parse(category: str) -> Any:
    """A category as nested triples (result, slash, argument); an atom is a string."""
    depth = 0
    for index in range(len(category) - 1, -1, -1):
        depth += {")": 1, "(": -1}.get(category[index], 0)
        if depth == 0 and category[index] in "/\\":
            return parse(category[:index]), category[index], parse(category[index + 1:])
    return parse(category[1:-1]) if category.startswith("(") else category


def combine(left: Any, right: Any) -> Iterator[Any]:
    """Application and generalised (crossed) composition: X/Y Y|Z1|Z2 -> X|Z1|Z2, and its mirror image."""
    for function, argument, slash in ((left, right, "/"), (right, left, "\\")):
        tail: list[Any] = []
        while isinstance(function, tuple) and function[1] == slash and len(tail) <= 3:
            if argument == function[2]:
                result = function[0]
                for _, *rest in reversed(tail):
                    result = (result, *rest)
                yield result
            if isinstance(argument, str):
                break
            tail.append(argument)
            argument = argument[0]


@cache
def derives(categories: tuple[str, ...]) -> bool:
    """Whether a sequence of categories is a sentence (CKY; a noun may stand as a noun phrase)."""
    size = len(categories)
    chart = {(index, index + 1): {parse(category)} for index, category in enumerate(categories)}
    for width in range(1, size + 1):
        for start in range(size - width + 1):
            cell = chart.setdefault((start, start + width), set())
            for middle in range(start + 1, start + width):
                for left in chart[start, middle]:
                    for right in chart[middle, start + width]:
                        cell.update(combine(left, right))
            if "n" in cell:
                cell.add("np")
    return "s" in chart[0, size]


@pytest.mark.parametrize("lang", sample.LANGUAGES)
def test_supertags_derive_a_sentence_and_shuffled_ones_do_not(lang: str) -> None:
    rng, wrong = random.Random(0), 0
    rows = examples("supertags", lang, "dev")[:80]
    for example in rows:
        categories = tuple(tag for tag in tags_of(example) if tag not in {".", ",", "?"})
        assert derives(categories), example
        wrong += not derives(tuple(rng.sample(categories, len(categories))))
    assert wrong > 0.7 * len(rows)


def test_answers_stand_where_they_are_said_to_stand() -> None:
    for kind, share in (("span_qa", 0.0), ("span_qa_v2", 1 / 3)):
        for lang in sample.LANGUAGES:
            rows = examples(kind, lang, "dev")
            for row in rows:
                assert isinstance(row, data.SpanExample) and 3 <= row.context.count(".") <= 5
                for answer, start in row.answers:
                    assert answer and row.context[start:start + len(answer)] == answer
            assert sum(row.answers == () for row in rows) == round(share * len(rows))  # type: ignore[union-attr]


def entails(premise: Clause, other: Clause) -> bool:
    """Whether one positive clause says all that another one says; written without the code that makes the pairs."""
    def part(mine: Thing | None, theirs: Thing | None) -> bool:
        if mine is None or theirs is None:
            return theirs is None
        mine_id, theirs_id = (WORLD.synonyms.get(thing.id, thing.id) for thing in (mine, theirs))
        mine_is, theirs_is = (WORLD.synonyms.get(thing.adjective, thing.adjective) for thing in (mine, theirs))
        return theirs_id in (mine_id, WORLD.hypernyms.get(mine.id)) and mine.family == theirs.family \
            and theirs_is in ("", mine_is)

    return (not premise.negated and premise.wants == other.wants
            and WORLD.synonyms.get(premise.verb, premise.verb) == WORLD.synonyms.get(other.verb, other.verb)
            and part(premise.subject, other.subject)
            and any(part(thing, other.object) for thing in (premise.object, premise.conjunct))
            and part(premise.recipient, other.recipient) and part(premise.company, other.company)
            and WORLD.synonyms.get(other.place, other.place) in (
                "", WORLD.synonyms.get(premise.place, premise.place), WORLD.cities.get(premise.place))
            and other.time in ("", premise.time))


def test_inference_labels_agree_with_an_independent_judge() -> None:
    checked = Counter[tuple[str, bool]]()
    for plan in (*sample.plans("nli", "train"), *sample.plans("nli", "test")):
        assert isinstance(plan, Inference)
        told = [clause for clause in (plan.premise.main, plan.premise.other) if clause]
        claim = plan.hypothesis.main
        if not claim.negated:
            assert any(entails(clause, claim) for clause in told) == (plan.label == "entailment"), plan
        else:
            denied = any(entails(clause, replace(claim, negated=False)) for clause in told)
            assert denied == (plan.label == "contradiction"), plan
            general = any(clause.negated and entails(replace(claim, negated=False), replace(clause, negated=False))
                          for clause in told)
            assert not general or plan.label == "entailment", plan
        checked[plan.label, claim.negated] += 1
    denials = [count for (_, negated), count in checked.items() if negated]
    assert len(checked) == 6 and max(denials) < 1.5 * min(denials)


def same(first: Sentence, second: Sentence) -> bool:
    """Whether two sentences say the same but for order and synonyms."""
    def key(value: object) -> object:
        if isinstance(value, Sentence):
            return key(value.main), key(value.other), key(value.link)
        if isinstance(value, Clause | Thing):
            return tuple(key(getattr(value, name)) for name in type(value).__slots__)
        return WORLD.synonyms.get(value, value) if isinstance(value, str) else value

    return key(first) == key(second)


def test_paraphrases_say_the_same_and_the_others_do_not() -> None:
    labels = Counter[str]()
    for plan in sample.plans("paraphrase", "train"):
        assert isinstance(plan, Pair) and plan.first != plan.second
        assert same(plan.first, plan.second) == (plan.label == "1")
        labels[plan.label] += 1
    assert labels["0"] == labels["1"]


@pytest.mark.parametrize("lang", ["en", "fi"])
def test_the_hypothesis_alone_does_not_give_the_label_away(lang: str) -> None:
    train, test = ([row for row in examples("nli", lang, split) if isinstance(row, data.TextExample)]
                   for split in ("train", "test"))
    words = CountVectorizer(ngram_range=(1, 2))
    model = LogisticRegression(C=0.3, max_iter=300).fit(words.fit_transform([row.pair or "" for row in train]),
                                                       [row.label for row in train])
    assert model.score(words.transform([row.pair or "" for row in test]), [row.label for row in test]) < 0.45
    overlap = LogisticRegression(max_iter=1000).fit([shared(row) for row in train], [row.label for row in train])
    assert overlap.score([shared(row) for row in test], [row.label for row in test]) < 0.6


def shared(row: data.TextExample) -> list[float]:
    """Word overlap of a pair both ways, and the lengths."""
    first, second = ({*words.lower().rstrip(".").replace(",", "").split()} for words in (row.text, row.pair or ""))
    common = len(first & second)
    return [common / len(second), common / len(first), float(len(first)), float(len(second))]


def test_choices_differ_and_do_not_give_the_answer_away() -> None:
    train, test = ([row for row in examples("multiple_choice", "en", split) if isinstance(row, data.ChoiceExample)]
                   for split in ("train", "test"))
    assert all(len(set(row.choices)) == 4 for row in (*train, *test))
    words = CountVectorizer(ngram_range=(1, 2))
    model = LogisticRegression(max_iter=300).fit(
        words.fit_transform([choice for row in train for choice in row.choices]),
        [index == row.label for row in train for index in range(4)])
    hits = [model.predict_proba(words.transform(row.choices))[:, 1].argmax() == row.label for row in test]
    assert sum(hits) / len(test) < 0.4


@pytest.mark.parametrize(("kind", "lang", "split", "known"), [
    ("nil", "fi", "dev", "nli"), ("nli", "xx", "dev", "fi"), ("nli", "fi", "validation", "dev"),
    ("parallel", "en", "dev", "fi")])
def test_an_unknown_name_is_an_error_that_lists_the_known(kind: str, lang: str, split: str, known: str) -> None:
    with pytest.raises(AdaptxError, match="AX014") as caught:
        sample.generate(kind, lang, split)
    assert known in caught.value.fix
