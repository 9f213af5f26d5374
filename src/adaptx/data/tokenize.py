"""Texts to token ids with special tokens in place. Knows the tokenizer, not what the tokens are for."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from adaptx.backbones import Backbone


@dataclass(frozen=True)
class Text:
    """A backbone's tokenizer with its special tokens; every length below counts special tokens."""

    tokenizer: Any
    special: dict[str, int]
    max_tokens: int
    segments: int  # segment ids the encoder knows; 1: all zero

    @staticmethod
    def of(backbone: Backbone, max_tokens: int | None = None) -> "Text":
        """The tokenizer of `backbone`, bounded by `max_tokens` where that is shorter than the encoder allows."""
        limit = min(backbone.max_tokens, max_tokens or backbone.max_tokens)
        return Text(backbone.tokenizer, backbone.special, limit, int(backbone.config.type_vocab_size))

    def encode(self, texts: Sequence[str | tuple[str, str]]) -> list[Any]:
        """Encodings (`ids`, `type_ids`) of texts or pairs; too long ones lose tokens from the longer side's end."""
        self.tokenizer.enable_truncation(self.max_tokens, strategy="longest_first")
        try:
            return list(self.tokenizer.encode_batch(list(texts)))
        finally:
            self.tokenizer.no_truncation()

    def windows(self, pairs: Sequence[tuple[str, str]], stride: int) -> list[list[Any]]:
        """For every (question, context) its overlapping windows, which share `stride` tokens of context.

        A question longer than half a window loses its end.
        """
        room = self.max_tokens // 2
        short = [(self._cut(question, room), context) for question, context in pairs]
        self.tokenizer.enable_truncation(self.max_tokens, stride=stride, strategy="only_second")
        try:
            return [[e, *e.overflowing] for e in self.tokenizer.encode_batch(short)]
        finally:
            self.tokenizer.no_truncation()

    def _cut(self, text: str, room: int) -> str:
        if len(text) <= room:  # a token covers at least one character
            return text
        offsets = self.tokenizer.encode(text, add_special_tokens=False).offsets
        return text if len(offsets) <= room else text[: offsets[room - 1][1]]

    def words(self, sentences: Sequence[Sequence[str]]) -> list[list[list[int]]]:
        """Token ids of every word of every sentence, no special tokens; a word is never without a token."""
        encoded = self.tokenizer.encode_batch(
            [list(s) for s in sentences], is_pretokenized=True, add_special_tokens=False
        )
        unknown = next(i for i in map(self.tokenizer.token_to_id, ("<unk>", "[UNK]")) if i is not None)
        out = []
        for sentence, encoding in zip(sentences, encoded, strict=True):
            pieces: list[list[int]] = [[] for _ in sentence]
            for token, word in zip(encoding.ids, encoding.word_ids, strict=True):
                pieces[word].append(token)
            out.append([p or [unknown] for p in pieces])
        return out

    def types(self, encoding: Any) -> list[int] | None:
        """Segment ids of an encoding, None where the encoder has one segment only."""
        return None if self.segments == 1 or not any(encoding.type_ids) else list(encoding.type_ids)
