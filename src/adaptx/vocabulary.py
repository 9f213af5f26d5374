"""Which pieces a tokenizer has, which must stay when others go, and the tokenizer without the others.

Works on the JSON of the `tokenizers` library: Unigram (XLM-R) and WordPiece (BERT) models. Knows no model weights and
no files. What cutting keeps: a text whose pieces all stay is read exactly as before.

- Unigram takes the best path through all pieces that match (Kudo 2018, section 3.2). A path of pieces that stay is
  still the best one among fewer; unknown characters cost the lowest score of all pieces and ten more, so a piece with
  that score stays too.
- WordPiece takes the longest piece that matches (Devlin et al. 2019). A longest piece that stays is still the longest.
  A word that it cannot read at all, which becomes one unknown token, may be read in pieces afterwards.

A text that needs a piece that went is read in smaller ones: every single character given to `indispensable` stays.
"""

from collections.abc import Sequence
from typing import Any

from adaptx.errors import AdaptxError

SPACE = "▁"  # how Unigram models write the start of a word
CONTINUED = "##"  # how WordPiece models write a piece inside a word
BYTES = frozenset(f"<0x{i:02X}>" for i in range(256))


def pieces(tokenizer: dict[str, Any]) -> list[str]:
    """The model's pieces by id. Raises AX051 for another kind of model, AX032 where the ids have gaps."""
    model = tokenizer["model"]
    if model["type"] == "Unigram":
        return [piece for piece, _ in model["vocab"]]
    if model["type"] == "WordPiece":
        ids = {number: piece for piece, number in model["vocab"].items()}
        if sorted(ids) != list(range(len(ids))):
            raise AdaptxError("AX032", "tokenizer.json", "its pieces are not numbered from 0 without gaps.")
        return [ids[i] for i in range(len(ids))]
    raise AdaptxError("AX051", f"a {model['type']} tokenizer", "vocabularies of Unigram and WordPiece are trimmed.")


def indispensable(tokenizer: dict[str, Any], characters: set[str]) -> set[int]:
    """Ids that stay whatever texts use: special and added tokens, the unknown token, bytes, `characters` (as the
    normaliser leaves them), and for Unigram a piece with the lowest score."""
    model, found = tokenizer["model"], pieces(tokenizer)
    out = {token["id"] for token in tokenizer["added_tokens"]}
    single = characters | {SPACE} | BYTES
    out |= {i for i, piece in enumerate(found) if piece in single or piece.removeprefix(CONTINUED) in single}
    if model["type"] == "WordPiece":
        return out | {model["vocab"][model["unk_token"]]}
    scores = [score for _, score in model["vocab"]]
    return out | {model["unk_id"], scores.index(min(scores))}


def cut(tokenizer: dict[str, Any], kept: Sequence[int]) -> dict[str, Any]:
    """The tokenizer with the ids `kept` alone, renumbered from 0 in their order. `kept` is sorted and holds what is
    `indispensable`; padding and truncation, which number tokens too, are left to the caller."""
    new = {old: i for i, old in enumerate(kept)}
    model, found = tokenizer["model"], pieces(tokenizer)
    inside = [i for i in kept if i < len(found)]
    if model["type"] == "Unigram":
        model = {**model, "vocab": [model["vocab"][i] for i in inside], "unk_id": new[model["unk_id"]]}
    else:
        model = {**model, "vocab": {found[i]: new[i] for i in inside}}
    return {
        **tokenizer,
        "padding": None,
        "truncation": None,
        "added_tokens": [{**token, "id": new[token["id"]]} for token in tokenizer["added_tokens"]],
        "post_processor": _renumbered(tokenizer["post_processor"], new),
        "model": model,
    }


def _renumbered(processor: Any, new: dict[int, int]) -> Any:
    """A post-processor with new ids: `ids` of templates, [token, id] of BERT's and RoBERTa's own processors."""
    if isinstance(processor, list):
        return [_renumbered(part, new) for part in processor]
    if not isinstance(processor, dict):
        return processor
    out = {}
    for key, value in processor.items():
        if key == "ids":
            out[key] = [new[i] for i in value]
        elif key in ("sep", "cls"):
            out[key] = [value[0], new[value[1]]]
        else:
            out[key] = _renumbered(value, new)
    return out
