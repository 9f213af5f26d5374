"""Phrase trees of the sample corpus and the tokens with gold tags that they spell out.

A tree says only which part of a phrase is its head and what the other parts are to it; the categorial grammar
categories follow from that. Knows no language and no meaning.
"""

from dataclasses import dataclass

HEAD, MODIFIER, MARK, SUBJECT = "head", "modifier", "mark", "subject"


@dataclass(frozen=True, slots=True)
class Token:
    """A word of a sentence: UPOS, IOB2 entity tag, category, and the slot of the meaning that it spells out."""

    form: str
    upos: str
    entity: str = "O"
    category: str = ""
    slot: str = ""


@dataclass(frozen=True, slots=True)
class Node:
    """A phrase: parts with roles.

    A role is HEAD (exactly one), MODIFIER, MARK (punctuation), SUBJECT, or the category of an argument ("np", "n",
    "pp", "s", "s\\np"). `category` is the phrase's own where its surroundings do not decide it (bare nouns are n).
    """

    parts: tuple[tuple[str, "Tree"], ...]
    category: str = ""
    slot: str = ""


Tree = Token | Node


def bracket(category: str) -> str:
    """A category as an operand: in parentheses unless it is an atom."""
    return f"({category})" if "/" in category or "\\" in category else category


def spell(tree: Tree, category: str = "s", slot: str = "") -> list[Token]:
    """The tokens of a tree in order, with categories such that they combine to `category`.

    From outside in, left before right: an argument Y leaves X/Y or X\\Y to the head; a modifier is X/X or X\\X, where
    X is the phrase without its objects, so that modifiers between verb and object need crossed composition
    (Steedman 2000, ch. 4), as in CCGbank.
    """
    if isinstance(tree, Token):
        return [Token(tree.form, tree.upos, tree.entity, tree.category or category, tree.slot or slot)]
    category, slot = tree.category or category, tree.slot or slot
    head = next(index for index, (role, _) in enumerate(tree.parts) if role == HEAD)
    left: list[Token] = []
    right: list[Token] = []
    base = category

    def peel(role: str, part: Tree, slash: str) -> list[Token]:
        nonlocal category, base
        if role == MARK:
            return spell(part, part.form if isinstance(part, Token) else "", slot)
        if role == MODIFIER:
            return spell(part, bracket(base) + slash.translate(_FLIP) + bracket(base), slot)
        wanted = "np" if role == SUBJECT else role
        category = bracket(category) + slash + bracket(wanted)
        if role == SUBJECT and slash == "\\":
            base = category
        return spell(part, wanted, slot)

    for role, part in tree.parts[:head]:
        left += peel(role, part, "\\")
    for role, part in reversed(tree.parts[head + 1:]):
        right = peel(role, part, "/") + right
    return left + spell(tree.parts[head][1], category, slot) + right


_FLIP = str.maketrans("/\\", "\\/")


def text(tokens: list[Token]) -> str:
    """The sentence as it is printed: no space before punctuation."""
    out = ""
    for token in tokens:
        out += token.form if not out or token.upos == "PUNCT" else f" {token.form}"
    return out
