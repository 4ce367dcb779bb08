"""Document question answering: networks that read a question and a page, and write the answer.

They see the picture of the page beside its words. Words and boxes come from the user, as for
`models.documents`, whose adapter this is but for the answers.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from vqa_explain.models.candidates import Candidates, written
from vqa_explain.models.documents import DocumentModel, PageState
from vqa_explain.models.encoded import Encoded, candidates_of
from vqa_explain.models.network import parameters_frozen
from vqa_explain.models.sentences import Thoughtless
from vqa_explain.models.sharing import holds_network
from vqa_explain.models.writing import Draws, Writing, best_of, sampled


class AnswerTokenizer:
    """A tokenizer of pages that is called as one of plain texts: answers have no boxes."""

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer

    def __call__(self, text: str, add_special_tokens: bool = True) -> dict[str, list[int]]:
        ids: list[int] = self._tokenizer(text_target=text)["input_ids"]
        ended = ids[-1:] == [self._tokenizer.eos_token_id] and not add_special_tokens
        return {"input_ids": ids[:-1] if ended else ids}

    def __getattr__(self, name: str) -> Any:
        return getattr(self._tokenizer, name)


@holds_network
class PageWriter(Thoughtless, DocumentModel):
    """Adapter of networks that write an answer about a page, such as UDOP; see
    `models.base.OpenModel`.

    The score of an answer is the sum of the log-probabilities of its tokens, each given those
    before it.

    Where a word and a patch of the picture are at one place the network adds them, so an absent
    word keeps its patch; its token is a stand-in in the same box.

    Args:
        beams, lengths, writing: as for `models.generative.GenerativeModel`.

    Raises:
        InvalidInput: the network takes no boxes, or the processor does not suit it.
    """

    family = "page writer"

    def __init__(
        self,
        module: Any,
        processor: Any,
        name: str,
        device: torch.device,
        *,
        beams: int = 1,
        lengths: str = "sum",
        writing: Writing = Writing(),  # noqa: B008  # frozen
    ) -> None:
        super().__init__(module, processor, name, device)
        self.beams, self.lengths, self.writing = beams, lengths, writing
        self.answer_tokenizer = AnswerTokenizer(self.tokenizer)
        start = module.config.decoder_start_token_id
        self._start = int(self.tokenizer.pad_token_id if start is None else start)

    def generate(
        self, encoded: Encoded, asked: Writing | None = None, streamer: Any = None
    ) -> tuple[str, ...]:
        found = self._wrote(encoded, asked, best_of(self.beams), streamer)
        now = written(self.answer_tokenizer, found.tolist(), self.name)
        state: PageState = encoded.state
        state.chosen.update(now)
        return tuple(now)

    def _wrote(
        self, encoded: Encoded, asked: Writing | None, how: dict[str, Any], streamer: Any = None
    ) -> Tensor:
        """(N, A) the tokens that the network writes."""
        writing = self.writing if asked is None else asked.over(self.writing)
        settings = writing.settings(self.module, self.tokenizer, self.name, 1, None)
        inputs = self._as_read(encoded)
        found: Tensor = self.module.generate(**inputs, **settings, **how, streamer=streamer)
        return found[:, 1:]  # the first token starts every answer

    def sample(
        self, encoded: Encoded, asked: Writing | None, draws: Draws
    ) -> list[tuple[int, ...]]:
        write = partial(self._wrote, encoded, asked)
        return sampled(write, self.module, self.tokenizer, draws)

    def with_answers(
        self,
        encoded: Encoded,
        texts: Sequence[str],
        token: int | None = None,
        known: Mapping[str, Sequence[int]] | None = None,
    ) -> Encoded:
        state: PageState = encoded.state
        written_before = {**state.chosen, **(known or {})}
        candidates = Candidates.of(
            texts, self.answer_tokenizer, token, self.lengths, written_before
        )
        return replace(encoded, labels=candidates.texts, candidates=candidates)

    def plain_scores(self, encoded: Encoded) -> Tensor:
        with torch.no_grad():
            return self._columns(encoded, self._as_read(encoded), 1)

    def _answer(
        self, encoded: Encoded, leaves: Mapping[str, Tensor], attended: Tensor | None
    ) -> Tensor:
        inputs, words = self._given(encoded, leaves, attended)
        del inputs["input_ids"]
        with parameters_frozen(self.module):
            read = self.module.get_encoder()(**inputs, inputs_embeds=words)
            return self._columns(encoded, {"encoder_outputs": read}, len(words))

    def _columns(self, encoded: Encoded, given: Mapping[str, Any], batch: int) -> Tensor:
        """Scores (B, K) of what the network is given of B examples."""
        candidates = candidates_of(encoded)
        answers = candidates.padded(self.device)
        begun = torch.cat([torch.full_like(answers[:, :1], self._start), answers[:, :-1]], dim=1)
        steps = []
        for ids, before in zip(answers, begun, strict=True):
            found = self.module(**given, decoder_input_ids=before.expand(batch, -1))
            steps.append(candidates.log_probabilities(found.logits, ids.expand(batch, -1)))
        return candidates.columns(torch.stack(steps, dim=1))
