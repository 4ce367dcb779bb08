"""Answers that are texts: their tokens, and their log-probabilities from what a decoder says
step by step.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from vqa_explain.errors import InvalidInput, NothingWritten

LENGTHS = ("sum", "mean")
NEW_TOKENS = 256  # of an answer that a model writes itself, at most
COMPARED = 3  # tokens that a network writes by itself, whose logits ours must equal


def first_tokens(count: int = 1) -> dict[str, Any]:
    """How `generate` is asked for the logits of so many tokens, and nothing else.

    What is not said here comes from the checkpoint's own settings, such as a number of beams, each
    of which would have logits of its own, or stop strings, which `generate` reads by a tokenizer.
    """
    return {
        "max_new_tokens": count,
        "do_sample": False,
        "num_beams": 1,
        "num_return_sequences": 1,
        "stop_strings": None,
        "return_dict_in_generate": True,
        "output_logits": True,
    }


@dataclass(frozen=True)
class Candidates:
    """Texts that a model may answer.

    Attributes:
        texts: K of them.
        ids: the tokens of each, without a token that ends the answer.
        pieces: the text of each of those tokens.
        token: the one token of each that is scored, or `None` for all; an answer without it has
            score 0.
        lengths: "sum" of the tokens' log-probabilities, the answer's own; or their "mean", which
            long answers need to be compared with short ones.
        spans: the tokens (first, behind the last) of each that are scored, where candidates are
            the words of one sentence; `None` for all.
        history: tokens that stand before every answer and are not scored, such as what the model
            thought before it answered.
        thinking: the text of what it thought there; "" for nothing.
        temperature: what logits are divided by, of answers that were sampled, whose `ids` end with
            the token that ends them; else `None`.
    """

    texts: tuple[str, ...]
    ids: tuple[tuple[int, ...], ...]
    pieces: tuple[tuple[str, ...], ...]
    token: int | None = None
    lengths: str = "sum"
    spans: tuple[tuple[int, int], ...] | None = None
    history: tuple[int, ...] = ()
    thinking: str = ""
    temperature: float | None = None

    def log_probabilities(self, logits: Tensor, ids: Tensor) -> Tensor:
        """(…,) of token numbers ids (…,) under logits (…, V), at this temperature."""
        return log_probabilities(logits, ids, self.temperature or 1.0)

    def firsts(self, logits: Tensor) -> Tensor:
        """Log-probabilities (B, K) of each candidate's first token, of logits (B, V)."""
        return logits.log_softmax(-1)[:, [ids[0] for ids in self.ids]]

    @classmethod
    def of(
        cls,
        texts: Sequence[str],
        tokenizer: Any,
        token: int | None,
        lengths: str,
        known: Mapping[str, Sequence[int]],
    ) -> "Candidates":
        """Tokenizes texts; those in `known`, which the model wrote itself, keep its tokens.

        Raises:
            InvalidInput: a text has no tokens.
        """
        ids = []
        for text in texts:
            if not isinstance(text, str):
                raise InvalidInput(f"an answer must be text, not {type(text).__name__}")
            found = tuple(known.get(text) or tokenizer(text, add_special_tokens=False)["input_ids"])
            if not found or not text.strip():
                raise InvalidInput(f"the answer {text!r} has no tokens; give a text")
            ids.append(found)
        pieces = tuple(tuple(tokenizer.decode([i]) for i in found) for found in ids)
        return cls(tuple(texts), tuple(ids), pieces, token, lengths)

    @property
    def known(self) -> dict[str, tuple[int, ...]]:
        """The tokens of each text."""
        return dict(zip(self.texts, self.ids, strict=True))

    def check_token(self, answer: int) -> None:
        """Checks that an answer has the token that is scored.

        Raises:
            InvalidInput: it does not.
        """
        many = len(self.ids[answer])
        if self.token is not None and not 0 <= self.token < many:
            raise InvalidInput(
                f"answer {self.texts[answer]!r} has tokens 0 to {many - 1} and no token "
                f"{self.token}"
            )

    def check_room(self, taken: int, window: int | None, name: str) -> None:
        """Checks that every answer fits behind what stands before it.

        Args:
            taken: how many tokens stand before the answers.
            window: how many tokens the network takes; `None` where that is not known.
            name: the model.

        Raises:
            InvalidInput: an answer does not, and the network would fail or read places that it was
                never trained on.
        """
        if window is None:
            return
        taken += len(self.history)
        for text, ids in zip(self.texts, self.ids, strict=True):
            if taken + len(ids) > window:
                shown = text if len(text) <= 40 else f"{text[:40]}…"
                raise InvalidInput(
                    f"the answer {shown!r} has {len(ids)} tokens and {taken} stand before it, and "
                    f"model {name!r} takes {window} together; give a shorter answer"
                )

    def check_apart(self, answer: int, other: int) -> None:
        """Checks that two answers differ in the token that is scored, or before it.

        Raises:
            InvalidInput: they do not, so their difference is 0 whatever the inputs are.
        """
        if self.token is None:
            return
        read = self.token + 1
        if self.ids[answer][:read] != self.ids[other][:read]:
            return
        pairs = zip(self.ids[answer], self.ids[other], strict=False)
        apart = next((n for n, (own, its) in enumerate(pairs) if own != its), None)
        remedy = "leave target_token= out" if apart is None else f"give target_token={apart}"
        raise InvalidInput(
            f"answers {self.texts[answer]!r} and {self.texts[other]!r} are the same up to token "
            f"{self.token}, so their scores there do not differ; {remedy}"
        )

    def whole(self, scores: Tensor) -> Tensor:
        """(B, K) the log-probabilities of whole answers, of scores (B, K) of all their tokens."""
        if self.lengths != "mean":
            return scores
        return scores * scores.new_tensor([len(ids) for ids in self.ids])

    def some(self, which: Sequence[int]) -> "Candidates":
        """Some of them, by their numbers."""
        spans = None if self.spans is None else tuple(self.spans[number] for number in which)
        return replace(
            self,
            texts=tuple(self.texts[number] for number in which),
            ids=tuple(self.ids[number] for number in which),
            pieces=tuple(self.pieces[number] for number in which),
            spans=spans,
        )

    def __len__(self) -> int:
        return len(self.texts)

    @cached_property
    def _read(self) -> tuple[tuple[tuple[int, ...], ...], tuple[int, ...]]:
        """The R token sequences that are read, each once, and which of them is each answer's.

        A sequence ends with the last token that is scored.
        """
        scored = [ids if self.token is None else ids[: self.token + 1] for ids in self.ids]
        read = [(*self.history, *ids) for ids in scored]
        rows = {ids: row for row, ids in enumerate(dict.fromkeys(read))}
        return tuple(rows), tuple(rows[ids] for ids in read)

    def padded(self, device: torch.device) -> Tensor:
        """(R, longest) the tokens of every sequence that is read, zeros after its end.

        Answers of the same tokens, such as the words of one sentence, are one sequence.
        """
        rows, _ = self._read
        longest = max(map(len, rows))
        return torch.tensor([[*ids, *[0] * (longest - len(ids))] for ids in rows], device=device)

    def weight(self, answer: int, token: int) -> float:
        """How often a token's log-probability counts in the score of an answer."""
        if self.spans is not None:
            first, behind = self.spans[answer]
            return float(first <= token < behind)
        if self.token is not None:
            return float(token == self.token)
        return 1.0 / len(self.ids[answer]) if self.lengths == "mean" else 1.0

    def steps(self, answers: Sequence[int]) -> tuple[tuple[int, ...], ...]:
        """The tokens before each scored token of these answers, each such beginning once."""
        scored = [
            (*self.history, *self.ids[answer][:token])
            for answer in answers
            for token in range(len(self.ids[answer]))
            if self.weight(answer, token)
        ]
        return tuple(dict.fromkeys(scored))

    def added(self, before: tuple[int, ...], found: Tensor) -> Tensor:
        """(1, K) what the token behind `before` adds to each score, from log-probabilities (1,
        K) of their tokens.
        """
        place = len(before) - len(self.history)
        own = before[len(self.history) :]
        counted = [
            self.weight(k, place) if len(ids) > place and ids[:place] == own else 0.0
            for k, ids in enumerate(self.ids)
        ]
        return found * found.new_tensor(counted)

    def nexts(self, place: int) -> tuple[int, ...]:
        """Each answer's token at a place behind the prompt; 0 behind its end."""
        place -= len(self.history)
        return tuple(ids[place] if len(ids) > place else 0 for ids in self.ids)

    def columns(self, steps: Tensor) -> Tensor:
        """Scores (B, K) from the log-probability (B, R, longest) of each token of the sequences
        that are read (see `padded`), given those before it.
        """
        _, rows = self._read
        return self.counted(steps[:, list(rows), len(self.history) :])

    def counted(self, steps: Tensor) -> Tensor:
        """Scores (B, K) from the log-probability (B, K, longest) of each token of each answer."""
        weights = torch.zeros(steps.shape[1:], dtype=steps.dtype)
        for answer, ids in enumerate(self.ids):
            for token in range(min(len(ids), weights.shape[1])):
                weights[answer, token] = self.weight(answer, token)
        return (steps * weights.to(steps.device)).sum(dim=2)


def log_probabilities(logits: Tensor, ids: Tensor, temperature: float = 1.0) -> Tensor:
    """(…,) of token numbers ids (…,) under logits (…, V), in float32 at least."""
    wide = logits.float() if logits.dtype in (torch.float16, torch.bfloat16) else logits
    wide = wide if temperature == 1 else wide / temperature
    return wide.log_softmax(-1).gather(-1, ids[..., None])[..., 0]


def written(tokenizer: Any, rows: Sequence[Sequence[int]], name: str) -> dict[str, tuple[int, ...]]:
    """Answers that model `name` wrote, the token numbers of each, best first, by their text.

    Raises:
        NothingWritten: none of them has a text.
    """
    found: dict[str, tuple[int, ...]] = {}
    for ids in rows:
        own = tuple(i for i in ids if i not in tokenizer.all_special_ids)
        if text := tokenizer.decode(own).strip():
            found.setdefault(text, own)
    if not found:
        raise NothingWritten(
            f"model {name!r} answers nothing here; give answers=['yes', 'no'] or the like"
        )
    return found
