"""What a decoder receives of a prompt, in whole or in part, and how it scores answers."""

import inspect
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from vqa_explain.errors import Unsupported
from vqa_explain.models.calling import FAILURES
from vqa_explain.models.candidates import COMPARED, Candidates, first_tokens, log_probabilities
from vqa_explain.models.network import method_replaced
from vqa_explain.models.transformer import to_back

log = logging.getLogger("vqa_explain")
# How far logits may be from those that the network writes with, as a share of the largest.
ROUNDING = {torch.float64: 1e-8, torch.float32: 1e-4, torch.float16: 2e-2, torch.bfloat16: 0.1}
RULED_OUT = -1e4  # some networks write words that may not come with the lowest number there is
# Sequences that share fewer tokens than this are not worth a pass of their own for what they share.
LEAST_SHARED = 16
SAME = 16  # steps of a number type by which embeddings that are one may differ
NOISES = 3  # times its own noise that a network's logits may be apart
KNOWN = {"inputs_embeds", "attention_mask", "position_ids"}  # what a decoder receives


@dataclass(frozen=True, eq=False)
class Prompted:
    """The sequence that the decoder receives.

    Attributes:
        states: (B, N, D) embeddings.
        positions: (B, N), or (A, B, N) with A axes; B may be 1 for all.
        attended: (B, N) bool, what may be attended to.
        mask: a mask (B, 1, N, N) of the model's own, or several by name, or `None` for causal
            attention.
        fixed: (B, N) bool, the tokens that are not their word embeddings, such as those of a
            picture and of the marks around it: no words can be put there. `None` for none.
    """

    states: Tensor
    positions: Tensor
    attended: Tensor
    mask: Any
    fixed: Tensor | None = None

    @classmethod
    def joined(cls, rows: Sequence["Prompted"]) -> "Prompted":
        """Sequences of one length below each other."""
        return cls(
            torch.cat([one.states for one in rows]),
            torch.cat([one.positions for one in rows], dim=-2),
            torch.cat([one.attended for one in rows]),
            _joined_masks([one.mask for one in rows]),
            _joined_masks([one.fixed for one in rows]),
        )

    def times(self, index: Tensor) -> "Prompted":
        """Rows `index` (N,) of it."""
        some = self.positions.shape[-2] > 1
        positions = self.positions[..., index if some else torch.zeros_like(index), :]
        mask = _each(self.mask, lambda m: m[index if len(m) > 1 else torch.zeros_like(index)])
        fixed = _each(self.fixed, lambda rows: rows[index])
        return Prompted(self.states[index], positions, self.attended[index], mask, fixed)

    def put(self, where: Tensor, embedded: Tensor) -> "Prompted":
        """With other embeddings (B or 1, T, D) at positions (T,)."""
        wide = embedded.to(self.states.dtype).expand(len(self.states), -1, -1)
        put = self.states.index_copy(1, where, wide)
        if self.fixed is not None:
            put = torch.where(self.fixed[..., None], self.states, put)
        return replace(self, states=put)

    def hidden(self, where: Tensor, present: Tensor) -> "Prompted":
        """With only those of positions (T,) attended to that are `present` (B, T)."""
        seen = self.attended[:, where] & present
        return replace(self, attended=self.attended.index_copy(1, where, seen))

    def behind(self, count: int) -> "Prompted":
        """What stands behind the first tokens; these may still be attended to."""
        return replace(
            self,
            states=self.states[:, count:],
            positions=self.positions[..., count:],
            fixed=_each(self.fixed, lambda rows: rows[:, count:]),
        )

    def beginning(self, count: int) -> "Prompted":
        """The first tokens of the first row."""
        return replace(
            self.times(torch.zeros(1, dtype=torch.long, device=self.states.device)),
            states=self.states[:1, :count],
            positions=self.positions[..., :1, :count],
            attended=self.attended[:1, :count],
            fixed=_each(self.fixed, lambda rows: rows[:1, :count]),
        )

    def alike(self) -> int:
        """How many first tokens are the same in all rows, to causal attention; not all of them."""
        same = (self.states == self.states[:1]).all(dim=2) & (self.attended == self.attended[:1])
        moved = (self.positions != self.positions[..., :1, :]).flatten(0, -2).any(dim=0)
        differ = torch.nonzero(~same.all(dim=0) | moved)
        length = self.states.shape[1]
        return min(length - 1, int(differ[0]) if len(differ) else length)

    def kept(self, present: Tensor) -> "Prompted":
        """With only what is `present` (B, N); shorter rows get fillers at their start."""
        order = to_back(present)
        states = self.states.gather(1, order[..., None].expand(-1, -1, self.states.shape[2]))
        wide = order.expand(*self.positions.shape[:-2], *order.shape)
        positions = self.positions.expand(*wide.shape[:-1], self.positions.shape[-1]).gather(
            -1, wide
        )

        def smaller(mask: Tensor) -> Tensor:
            rows = mask.expand(len(order), -1, -1, -1).gather(
                2, order[:, None, :, None].expand(-1, 1, -1, mask.shape[3])
            )
            return rows.gather(3, order[:, None, None].expand(-1, 1, order.shape[1], -1))

        attended = (self.attended & present).gather(1, order)
        fixed = _each(self.fixed, lambda rows: rows.gather(1, order))
        return Prompted(states, positions, attended, _each(self.mask, smaller), fixed)


def _joined_masks(masks: Sequence[Any]) -> Any:
    """The masks of one example each, or several of each by name, as those of a batch."""
    first = masks[0]
    if isinstance(first, dict):
        return {name: _joined_masks([mask[name] for mask in masks]) for name in first}
    return torch.cat(list(masks)) if isinstance(first, Tensor) else first


def _each(mask: Any, change: Any) -> Any:
    """A mask changed, or each of several."""
    if isinstance(mask, dict):
        return {name: _each(one, change) for name, one in mask.items()}
    return change(mask) if isinstance(mask, Tensor) else mask


def with_lists(inputs: Mapping[str, Tensor], lists: frozenset[str]) -> dict[str, Any]:
    """The tensors as the network takes them: some as lists of whole numbers."""
    return {name: value.tolist() if name in lists else value for name, value in inputs.items()}


def row_by_row(inputs: Mapping[str, Tensor], batch: int) -> Iterator[dict[str, Tensor]]:
    """The tensors of each of `batch` examples, which have as many rows each."""
    split = {name: value.unflatten(0, (batch, -1)) for name, value in inputs.items()}
    for row in range(batch):
        yield {name: value[row] for name, value in split.items()}


def takes_batches(
    compute: Callable[[dict[str, Tensor]], Tensor], inputs: Mapping[str, Tensor], name: str
) -> bool:
    """Whether a batch of two gives each row what it is alone.

    Some networks take only one example at a time: they build a length from the first row, or let
    pictures of one row see those of another.

    Args:
        compute: (B, …) what inputs of B examples give.
        inputs: those of one example. The second of the batch shows a paler picture.
        name: the network, for the log.
    """
    paler = {k: 0.5 * v if v.is_floating_point() else v for k, v in inputs.items()}
    both = {k: torch.cat([v, paler[k]]) for k, v in inputs.items()}
    with torch.no_grad():
        alone = torch.cat([compute(dict(inputs)), compute(paler)])
        try:
            found = compute(both)
        except FAILURES as error:
            log.info("%s takes one example at a time: %s", name, error)
            return False
    allowed = ROUNDING.get(alone.dtype, 1e-4) * largest_of(alone)
    if found.shape == alone.shape and float((found - alone).abs().max()) <= allowed:
        return True
    log.info("%s takes one example at a time: others in a batch change it", name)
    return False


def largest_of(logits: Tensor) -> float:
    """The largest size of logits, without those of words that a network rules out."""
    possible = logits.float()[logits > RULED_OUT]
    return float(possible.abs().max()) if len(possible) else 0.0


@dataclass(frozen=True, eq=False)
class Seen:
    """What a pass says of the next token, and the attention in it; see `attending.Attention`.

    Attributes:
        found: (1, K) log-probabilities of tokens.
    """

    found: Tensor
    maps: tuple[Tensor, ...]
    written: tuple[Tensor, ...]
    layers: tuple[int, ...] | None
    depth: int


def attending(decoder: Any, maps: Any) -> tuple[tuple[Tensor, ...], tuple[int, ...] | None]:
    """The maps of the layers that attend, and their numbers; `None` where all layers do.

    Some decoders mix attention with recurrent or convolutional layers, which have no map.

    Raises:
        Unsupported: there are no maps, or they cannot be told apart.
    """
    depth, given = len(decoder.layers), tuple(maps or ())
    found = tuple(one for one in given if isinstance(one, Tensor) and one.ndim == 4)
    kinds = getattr(decoder.config, "layer_types", None) or ()
    if len(given) == depth:
        numbers = tuple(
            n for n, one in enumerate(given) if isinstance(one, Tensor) and one.ndim == 4
        )
    else:
        numbers = tuple(
            n for n, kind in enumerate(kinds) if "attention" in kind and "linear" not in kind
        )
    if not found or len(numbers) != len(found):
        raise Unsupported(
            f"{type(decoder).__name__} gives {len(found)} maps of attention for {depth} layers, "
            "and does not say of which; use attn_lrp or integrated_gradients"
        )
    return found, None if len(numbers) == depth else numbers


class Language(Protocol):
    """How a network is run: what it receives of a prompt, and how it scores answers.

    What is received is of a class of its own, which has `times`, `put` and `hidden`.

    Attributes:
        decoder: the part that has the decoder's layers in a list; `None` where there is none.
        forced: how many tokens `generate` puts before every answer, whatever the network says.
    """

    @property
    def decoder(self) -> Any: ...
    @property
    def forced(self) -> int: ...

    def answer_start(self, length: int) -> int:
        """Where an answer begins in what `generate` returns for a prompt of so many tokens."""
        ...

    def read_from(self, length: int) -> int | None:
        """The token of a prompt of so many from whose state an answer's first token is read;
        `None` if that is none of the prompt's.
        """
        ...

    def embed(self, ids: Tensor) -> Tensor:
        """(B, T, D) what token numbers (B, T) are to the network."""
        ...

    def received(self, inputs: dict[str, Tensor]) -> Any:
        """What the processor's tensors of B examples are to it."""
        ...

    def states(self, given: Any) -> Tensor:
        """(B, N, D) what the decoder's first layer receives."""
        ...

    def answer(self, given: Any, candidates: Candidates) -> Tensor:
        """Scores (B, K) of the candidates."""
        ...

    def answer_coalitions(self, given: Any, candidates: Candidates) -> Tensor:
        """The same of coalitions, without gradients: what they share may be computed once."""
        ...

    def seen(self, given: Any, before: tuple[int, ...], tokens: Tensor) -> Seen:
        """One pass whose attention can be seen, up to where the token behind `before` is chosen.

        Args:
            given: what is received of one example.
            before: tokens of the answer that are written already.
            tokens: (K, 1) those of which it may be.
        """
        ...


class Decoding:
    """The decoder alone, behind what the parts before it made of the prompt.

    Args:
        module: the network.
        lists: the tensors that it takes as lists: see `with_lists`.

    Attributes:
        decoder, embed: its decoder, and its word embeddings.
    """

    forced = 0

    def __init__(self, module: Any, lists: frozenset[str] = frozenset()) -> None:
        self.module, self._lists = module, lists
        self.decoder: Any = module.get_decoder()
        self.embed: nn.Module = module.get_input_embeddings()
        self._head: nn.Module = module.get_output_embeddings()
        self._cap = getattr(module.config.get_text_config(), "final_logit_softcapping", None)
        known = inspect.signature(self.decoder.forward).parameters
        self._cache = "cache" if "cache" in known else "past_key_values"
        self._replaced = torch.zeros(0, dtype=torch.long)  # tokens that are not their embeddings
        self._one_by_one = False  # whether the parts before the decoder fail on a batch
        self._shares = True  # whether its memory of a prompt can be shared among answers

    def received(self, inputs: dict[str, Tensor]) -> Prompted:
        """What the decoder would get for inputs of batch B, which every part before it has seen."""
        batch = len(inputs["input_ids"])
        if self._one_by_one and batch > 1:
            return Prompted.joined([self._caught(one) for one in row_by_row(inputs, batch)])
        return self._caught(inputs)

    def _caught(self, inputs: dict[str, Tensor]) -> Prompted:
        """What the network hands its decoder."""
        caught: dict[str, Any] = {}

        def catch(*_args: Any, **given: Any) -> Any:
            from transformers.modeling_outputs import BaseModelOutputWithPast

            caught.update(given)
            if given.get("inputs_embeds") is None:
                raise Unsupported(
                    f"{type(self.module).__name__} does not give its decoder a sequence of "
                    "embeddings, and no adapter knows what it gives instead; wrap it in "
                    "vqa_explain.CustomModel"
                )
            return BaseModelOutputWithPast(last_hidden_state=given["inputs_embeds"])

        with method_replaced(self.decoder, "forward", catch):
            self.module.base_model(**with_lists(inputs, self._lists), use_cache=False)
        more = [
            k for k, v in caught.items() if k not in KNOWN and isinstance(v, Tensor | list | tuple)
        ]
        if more:
            raise Unsupported(
                f"{type(self.module).__name__} hands its decoder {', '.join(more)} besides one "
                "sequence, which no adapter knows; wrap it in vqa_explain.CustomModel"
            )
        states, mask = caught["inputs_embeds"], caught.get("attention_mask")
        positions = caught.get("position_ids")
        # Said outright, since tokens that leave must not move those that stay.
        if positions is None:
            positions = torch.arange(states.shape[1], device=states.device)[None]
        fixed = torch.isin(inputs["input_ids"], self._replaced.to(states.device))
        if isinstance(mask, Tensor) and mask.ndim == 2:
            return Prompted(states, positions, mask.bool(), None, fixed)
        return Prompted(
            states,
            positions,
            torch.ones(states.shape[:2], dtype=torch.bool, device=states.device),
            mask,
            fixed,
        )

    def _find_replaced(self, ids: Tensor, given: Prompted) -> Tensor:
        """The tokens of a prompt (1, N) for which the network puts something else in."""
        own: Tensor = self.embed(ids).to(given.states)
        allowed = SAME * torch.finfo(own.dtype).eps * own.abs().amax(dim=-1)
        apart = (given.states - own).abs().amax(dim=-1) > allowed
        found: Tensor = ids[apart].unique()
        return found

    def answer_start(self, length: int) -> int:
        """See `Language`."""
        return length

    def read_from(self, length: int) -> int | None:
        """See `Language`."""
        return length - 1

    def states(self, given: Prompted) -> Tensor:
        """(B, N, D) what the decoder receives."""
        return given.states

    def agrees(self, inputs: dict[str, Tensor], words: Sequence[int]) -> bool:
        """Whether what follows the prompt is what the network says when it writes by itself.

        Its words must reach the decoder as their embeddings, too: else other words could not be put
        there, nor an answer behind them. Whether the parts before the decoder take a batch is found
        out as well.

        Args:
            inputs: the tensors of one example.
            words: positions of its words in the prompt.
        """
        with torch.no_grad():
            asked = with_lists(inputs, self._lists)
            wrote = self.module.generate(**asked, min_new_tokens=COMPARED, **first_tokens(COMPARED))
            given = self.received(inputs)
            ours = self._next(given)
            if given.states.shape[:2] != inputs["input_ids"].shape:
                return False
            self._replaced = self._find_replaced(inputs["input_ids"], given)
            if bool(torch.isin(inputs["input_ids"][0, list(words)], self._replaced).any()):
                return False
            self._shares = self._can_share(given, inputs["input_ids"], ours)
        self._one_by_one = not takes_batches(
            lambda some: self._next(self.received(some)), inputs, type(self.module).__name__
        )
        if ours.shape != wrote.logits[0].shape:
            return False
        expected = torch.stack(wrote.logits, dim=1)
        ids = wrote.sequences[:, -len(wrote.logits) :][:, :-1]
        if self._writes(given, ids, ours, expected):
            return True
        if self._shares:  # its memory may be what differs
            self._shares = False
            return self._writes(given, ids, ours, expected)
        return False

    @torch.no_grad()
    def _writes(self, given: Prompted, ids: Tensor, first: Tensor, expected: Tensor) -> bool:
        """Whether the logits behind a prompt and behind the tokens that follow it are as expected.

        Args:
            given: the prompt.
            ids: (1, A) the tokens, which are read as those of answers are.
            first: (1, V) logits behind the prompt.
            expected: (1, A + 1, V).
        """
        said = self._said(given, ids, first)
        plain = expected[:, : said.shape[1]]
        allowed = ROUNDING.get(self.module.dtype, 1e-4) * largest_of(plain)
        apart = float((said.float() - plain.float()).abs().max())
        return apart <= allowed or apart <= allowed + NOISES * self._noise(given, ids, first)

    def _noise(self, given: Prompted, ids: Tensor, first: Tensor) -> float:
        """How far logits behind a prompt move when tokens (1, A) that come later are read with it.

        Not at all, but for networks that round by what they read, as quantized ones do.
        """
        if given.mask is not None or not ids.shape[1]:
            return 0.0
        states = self.run(self._continued(given, ids)).last_hidden_state
        again = self.logits(states[:, given.states.shape[1] - 1])
        return float((again.float() - first.float()).abs().max())

    def _said(self, given: Prompted, ids: Tensor, first: Tensor) -> Tensor:
        """Logits (1, A + 1, V) behind a prompt and its tokens; those behind the prompt alone where
        none can follow.
        """
        cache = self._new_cache()
        if not ids.shape[1] or (cache is None and given.mask is not None):
            return first[:, None]
        if cache is None:
            states = self.run(self._continued(given, ids)).last_hidden_state
            return self.logits(states[:, given.states.shape[1] - 1 :])
        self.run(given, cache)
        rest = self.run(self._behind(given, 1, ids), cache).last_hidden_state
        return torch.cat([first[:, None], self.logits(rest)], dim=1)

    def _next(self, given: Prompted, cache: Any = None) -> Tensor:
        """(B, V) logits of the token behind a sequence."""
        return self.logits(self.run(given, cache).last_hidden_state[:, -1])

    def run(self, given: Prompted, cache: Any = None, **more: Any) -> Any:
        """The decoder's output for a sequence."""
        attended, mask = given.attended, given.attended.long()
        if given.mask is not None:

            def without(own: Tensor) -> Tensor:
                seen = attended[:, None, None]
                return (
                    own & seen
                    if own.dtype == torch.bool
                    else own.masked_fill(~seen, torch.finfo(own.dtype).min)
                )

            mask = _each(given.mask, without)
        keep = {self._cache: cache} if cache is not None else {}
        return self.decoder(
            inputs_embeds=given.states,
            attention_mask=mask,
            position_ids=given.positions,
            use_cache=cache is not None,
            **keep,
            **more,
        )

    def logits(self, states: Tensor) -> Tensor:
        """Logits (…, V) of the next token from the decoder's states (…, D)."""
        found = self._head(states)
        result: Tensor = found if self._cap is None else torch.tanh(found / self._cap) * self._cap
        return result

    def first(self, states: Tensor, ids: Tensor, temperature: float | None = None) -> Tensor:
        """Log-probabilities (B, K, 1) of the first tokens of ids (K, A), from states (B, N, D)."""
        last = self.logits(states[:, -1])[:, None].expand(-1, len(ids), -1)
        wanted = ids[:, 0].expand(len(states), -1)
        return log_probabilities(last, wanted, temperature or 1.0)[..., None]

    def written(self, given: Prompted, ids: tuple[int, ...]) -> tuple[Any, Any]:
        """The decoder's outputs and attention for a sequence, and for tokens (A,) behind it.

        A decoder whose memory cannot be shared among answers reads both at once, and the second is
        `None`.
        """
        if not ids:
            return self.run(given, output_attentions=True), None
        tokens, cache = torch.tensor([ids], device=given.states.device), self._new_cache()
        if cache is None:
            return self.run(self._continued(given, tokens), output_attentions=True), None
        prompt = self.run(given, cache, output_attentions=True)
        behind = self._behind(given, 1, tokens)
        return prompt, self.run(behind, cache, output_attentions=True)

    def seen(self, given: Prompted, before: tuple[int, ...], tokens: Tensor) -> Seen:
        """See `Language`."""
        prompt, behind = self.written(given, before)
        last = prompt if behind is None else behind
        found = self.first(last.last_hidden_state, tokens)[..., 0]
        maps, layers = attending(self.decoder, prompt.attentions)
        said = () if behind is None else attending(self.decoder, behind.attentions)[0]
        return Seen(found, maps, said, layers, len(self.decoder.layers))

    def answer(self, given: Prompted, candidates: Candidates) -> Tensor:
        """Scores (B, K) of the candidates behind the sequence, which is computed once for all."""
        several = candidates.padded(given.states.device).shape[1] > 1
        return self._answer(given, candidates, self._new_cache() if several else None)

    def answer_coalitions(self, given: Prompted, candidates: Candidates) -> Tensor:
        """See `Language`. Tokens with which all sequences begin are computed once."""
        if len(given.states) == 1 or given.mask is not None:
            return self.answer(given, candidates)
        shared = given.alike()
        behind = given.behind(shared)
        # An answer's positions follow the largest of what it stands behind.
        moves = not torch.equal(behind.positions.amax(-1), given.positions.amax(-1))
        cache = self._new_cache() if shared >= LEAST_SHARED and not moves else None
        if cache is None:
            return self.answer(given, candidates)
        self.run(given.beginning(shared), cache)
        cache.batch_repeat_interleave(len(given.states))
        return self._answer(behind, candidates, cache)

    def _answer(self, given: Prompted, candidates: Candidates, cache: Any) -> Tensor:
        """Scores (B, K) behind the sequence.

        Args:
            given: the sequence, or what stands behind the tokens in the cache.
            candidates: the answers.
            cache: keys and values, to which the sequence's are added; `None` for none.
        """
        ids = candidates.padded(given.states.device)
        batch, many = len(given.states), len(ids)
        if cache is None and ids.shape[1] > 1:
            rows = torch.arange(batch, device=ids.device).repeat_interleave(many)
            whole = self._continued(given.times(rows), ids[:, :-1].repeat(batch, 1))
            said = self.logits(self.run(whole).last_hidden_state[:, given.states.shape[1] - 1 :])
            return candidates.columns(
                candidates.log_probabilities(said, ids.repeat(batch, 1)).unflatten(0, (batch, many))
            )
        states = self.run(given, cache).last_hidden_state
        first = self.first(states, ids, candidates.temperature)
        if ids.shape[1] == 1:
            return candidates.columns(first)
        cache.batch_repeat_interleave(many)
        continued = self._behind(given, many, ids[:, :-1].repeat(batch, 1))
        logits = self.logits(self.run(continued, cache).last_hidden_state)
        rest = candidates.log_probabilities(logits, ids[:, 1:].repeat(batch, 1))
        rest = rest.unflatten(0, (batch, many))
        return candidates.columns(torch.cat([first, rest], dim=2))

    def _new_cache(self) -> Any:
        """Room for keys and values that can be repeated per answer; `None` where there is none."""
        from transformers import DynamicCache

        if not self._shares:
            return None
        cache = DynamicCache(config=self.decoder.config)
        known = all(hasattr(layer, "batch_repeat_interleave") for layer in cache.layers)
        return cache if known else None

    def _can_share(self, given: Prompted, ids: Tensor, whole: Tensor) -> bool:
        """Whether two sequences can follow the memory of one.

        Some decoders keep more of a prompt than what their memory repeats, and some forget what
        stands before when they read several tokens.

        Args:
            given: a prompt.
            ids: its tokens (1, N).
            whole: (1, V) logits of what follows it.
        """
        cache = self._new_cache()
        if cache is None:
            return False
        half, both = given.states.shape[1] // 2, torch.zeros(2, dtype=torch.long)
        start, rest = given.beginning(half), given.behind(half).times(both)
        if given.mask is not None:  # which is that of a whole prompt
            start, rest = given, self._behind(given, 2, ids[:, :1].repeat(2, 1))
        try:
            self.run(start, cache)
            cache.batch_repeat_interleave(2)
            found = self._next(rest, cache)
        except FAILURES as error:
            log.info("%s computes a prompt for each answer: %s", type(self.module).__name__, error)
            return False
        apart = float((found - whole).abs().max())
        allowed = ROUNDING.get(whole.dtype, 1e-4) * largest_of(whole)
        return given.mask is not None or apart <= allowed

    def _behind(self, given: Prompted, many: int, tokens: Tensor) -> Prompted:
        """Tokens (B · many, A) of answers behind a prompt that is in the memory already."""
        attended = given.attended.repeat_interleave(many, 0)
        return Prompted(
            self.embed(tokens),
            self._after(given, many, tokens.shape[1]),
            torch.cat([attended, torch.ones_like(tokens).bool()], dim=1),
            None,
        )

    def _continued(self, given: Prompted, tokens: Tensor) -> Prompted:
        """The sequence with an answer's tokens (B, A) behind it.

        Raises:
            Unsupported: the model has a mask of its own, which does not say what these tokens see.
        """
        if given.mask is not None:
            raise Unsupported(
                f"{type(self.module).__name__} masks its prompt in a way that says nothing of an "
                "answer's tokens; give answers= of one token each"
            )
        batch = len(given.states)
        behind = self._after(given, 1, tokens.shape[1])
        before = given.positions.expand(*given.positions.shape[:-2], batch, -1)
        attended = torch.cat([given.attended, torch.ones_like(tokens).bool()], dim=1)
        states = torch.cat([given.states, self.embed(tokens).to(given.states.dtype)], dim=1)
        return Prompted(
            states, torch.cat([before, behind.to(before.dtype)], dim=-1), attended, None
        )

    def _after(self, given: Prompted, many: int, count: int) -> Tensor:
        """Positions (…, B · many, count) of an answer, behind the largest of the prompt."""
        axes = tuple(given.positions.shape[:-2])
        ends = given.positions.amax(dim=(0, 2) if axes else 1).expand(len(given.states))
        ends = ends.repeat_interleave(many)[:, None] + 1 + torch.arange(count, device=ends.device)
        return ends.expand(*axes, -1, -1)
