"""The built-in sample corpus: a small multilingual grammar that makes gold data for every task kind, with no download.

An abstract meaning (who did what to whom, where, when, why) is drawn first and then said in each language, so row i of
a kind and split means the same in all of them, and every label is right by construction. It is data to try things on
and to test with; scores on it say nothing about a language.

How the parts fit: `concepts.yaml` says what exists (`world.py`), `lexicon/LANG.yaml` how a language says it
(`lexicon.py`), `meaning.py` holds meanings and the split law, `sampling.py` draws them, `grammar.py` turns them into
trees and `trees.py` trees into tagged tokens; `sentences.py`, `inference.py`, `paraphrase.py`, `reading.py` and
`choice.py` plan the examples of one kind each.

To add a language, write `lexicon/LANG.yaml` and add its code to `LANGUAGES`; no other code changes. Start from the
file of a related language and go through its sections:
- `forms`: the columns of each word table. List every form; nothing is derived. A gender column makes agreement work.
- the word tables (`nouns`, `verbs`, `adjectives`, `given`, ...): one line per id of concepts.yaml, the forms separated
  by spaces, or by " | " where one form has several words. Verb forms go by first singular, third singular, first
  plural, third plural; one form stands for all, two for singular and plural. `object` is the case that a verb
  governs, `place` which of the place forms it takes, `pre` a preposition before its object, `particle` a separated
  prefix.
- `templates`: the word order of a clause. Needed: main, neg, want, want_neg, wh_subject, wh_other. Where they differ
  from main or neg: inv and inv_neg (after something fronted), sub and sub_neg (after a conjunction), ask (yes-no
  question), alt (object before recipient), and be_ before any of these for clauses with "to be". Slots are S subject,
  O object (OD only definite, OI only indefinite), PO prepositional object, R recipient, RP recipient after the
  object, C predicate, M manner, W company, P place, T time, PRT separated prefix, WH question word. `V.fin` is the
  clause's verb in a mode, `do.fin` that of another verb; other words stand as they are, with /UPOS where the `words`
  table does not say it. `*` marks the head of a group; a group in parentheses is a verb phrase that the head takes.
- `np`: determiner, adjective form and noun form by definiteness, case and number or gender.
- `links`, `report`, `relative`, `question`, ...: conjunctions and their commas, and the fixed words.
Then run the tests of the sample corpus: they name what is missing and check that every category sequence is a sentence.
"""

from collections.abc import Callable, Iterator
from random import Random

from adaptx.data.examples import (
    ChoiceExample,
    DocumentExample,
    Example,
    ParallelExample,
    SpanExample,
    TextExample,
    WordsExample,
)
from adaptx.data.sample.choice import Choice, plan_choices
from adaptx.data.sample.grammar import question_tokens, sentence_tokens
from adaptx.data.sample.inference import Inference, plan_inferences
from adaptx.data.sample.lexicon import Lexicon, load_lexicon
from adaptx.data.sample.meaning import SPLITS, Sentence
from adaptx.data.sample.paraphrase import Pair, plan_pairs
from adaptx.data.sample.reading import Reading, plan_readings
from adaptx.data.sample.sampling import Draw, Mood
from adaptx.data.sample.sentences import Story, plan_sentences, plan_stories
from adaptx.data.sample.trees import text
from adaptx.data.sample.world import World, load_world
from adaptx.errors import AdaptxError

VERSION = "1"
LANGUAGES: tuple[str, ...] = ("en", "sv", "et", "de", "fi")
SIZES = {"train": 2000, "dev": 300, "test": 500}
DOCUMENTS = {"train": 400, "dev": 60, "test": 100}

Plan = Sentence | Story | Inference | Pair | Reading | Choice
_PLAIN = Mood(plain=True, pronouns=0.0, negated=0.0)
_PLANS: dict[str, tuple[Mood, Callable[[Draw, int], Iterator[Plan]]]] = {
    "nli": (_PLAIN, plan_inferences),
    "paraphrase": (Mood(pronouns=0.0), plan_pairs),
    "span_qa": (_PLAIN, lambda draw, count: plan_readings(draw, count, 0.0)),
    "span_qa_v2": (_PLAIN, lambda draw, count: plan_readings(draw, count, 1 / 3)),
    "multiple_choice": (_PLAIN, plan_choices),
    "pos": (Mood(), plan_sentences),
    "ner": (Mood(names=0.6, orgs=0.4), plan_sentences),
    "supertags": (Mood(), plan_sentences),
    "parallel": (Mood(), plan_sentences),
    "text": (Mood(pronouns=0.0), plan_stories),
}
KINDS: tuple[str, ...] = tuple(_PLANS)


def plans(kind: str, split: str, seed: int = 0) -> Iterator[Plan]:
    """The meanings behind `generate`, the same for every language; the split law is stated on these."""
    mood, plan = _PLANS[kind]
    draw = Draw(Random(f"adaptx sample {VERSION} {kind} {split} {seed}"), load_world(), split, mood)
    return plan(draw, (DOCUMENTS if kind == "text" else SIZES)[split])


def generate(kind: str, lang: str, split: str, seed: int = 0) -> list[Example]:
    """The examples of one split: 2,000 to train on, 300 dev, 500 test (documents: 400, 60, 100).

    Labels: nli "entailment", "neutral", "contradiction"; paraphrase "1", "0"; pos UPOS; ner IOB2 over PER, LOC, ORG;
    supertags categories as in the Parallel Meaning Bank without features. Errors: AX014 for an unknown kind, language
    or split, and for English to English.
    """
    for what, given, known in (("kind", kind, KINDS), ("language", lang, LANGUAGES), ("split", split, SPLITS)):
        if given not in known:
            raise AdaptxError("AX014", given, f"the sample corpus has no such {what}.", f"Known: {', '.join(known)}.")
    if kind == "parallel" and lang == "en":
        others = ", ".join(code for code in LANGUAGES if code != "en")
        raise AdaptxError("AX014", "en", "its translation into English is itself.", f"Choose one of {others}.")
    world, lexicon = load_world(), load_lexicon(lang)
    return [_example(world, lexicon, kind, plan, f"{kind}-{split}-{index:04d}")
            for index, plan in enumerate(plans(kind, split, seed))]


def _example(world: World, lexicon: Lexicon, kind: str, plan: Plan, name: str) -> Example:
    def say(sentence: Sentence) -> str:
        return text(sentence_tokens(world, lexicon, sentence))

    if isinstance(plan, Inference):
        return TextExample(name, say(plan.premise), say(plan.hypothesis), plan.label)
    if isinstance(plan, Pair):
        return TextExample(name, say(plan.first), say(plan.second), plan.label)
    if isinstance(plan, Story):
        return DocumentExample(name, " ".join(say(sentence) for sentence in plan.sentences))
    if isinstance(plan, Choice):
        choices = tuple(say(Sentence(clause)) for clause in plan.choices)
        prompt = lexicon.settings["prompts"][plan.prompt]
        return ChoiceExample(name, " ".join(map(say, plan.context)), prompt, choices, plan.label)
    if isinstance(plan, Reading):
        return _span_example(world, lexicon, plan, name)
    if kind == "parallel":
        english = text(sentence_tokens(world, load_lexicon("en"), plan))
        return ParallelExample(name, say(plan), english)
    tokens = sentence_tokens(world, lexicon, plan)
    column = {"pos": "upos", "ner": "entity", "supertags": "category"}[kind]
    return WordsExample(name, tuple(token.form for token in tokens),
                        tuple(getattr(token, column) for token in tokens))


def _span_example(world: World, lexicon: Lexicon, plan: Reading, name: str) -> SpanExample:
    sentences, answers, offset = [], [], 0
    for index, sentence in enumerate(plan.context):
        tokens = sentence_tokens(world, lexicon, sentence)
        if index == plan.answer:
            named = [position for position, token in enumerate(tokens) if token.slot == plan.asked]
            before, phrase = text(tokens[:named[0]]), text(tokens[named[0]:named[-1] + 1])
            answers.append((phrase, offset + (len(before) + 1 if before else 0)))
        sentences.append(text(tokens))
        offset += len(sentences[-1]) + 1
    question = text(question_tokens(world, lexicon, plan.question, plan.asked))
    return SpanExample(name, question, " ".join(sentences), tuple(answers))
