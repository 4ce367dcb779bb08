"""What a decoder receives of a prompt, in whole or in part, and how it scores answers."""

import inspect
from dataclasses import dataclass, replace
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from vqa_explain.errors import Unsupported
from vqa_explain.models.candidates import Candidates, first_tokens, log_probabilities
from vqa_explain.models.network import method_replaced
from vqa_explain.models.transformer import to_back

# How far logits may be from those that the network writes with, as a share of the largest.
ROUNDING = {torch.float64: 1e-8, torch.float32: 1e-4, torch.float16: 2e-2, torch.bfloat16: 0.1}
RULED_OUT = -1e4  # some networks write words that may not come with the lowest number there is
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
    """

    states: Tensor
    positions: Tensor
    attended: Tensor
    mask: Any

    def times(self, index: Tensor) -> "Prompted":
        """Rows `index` (N,) of it."""
        some = self.positions.shape[-2] > 1
        positions = self.positions[..., index if some else torch.zeros_like(index), :]
        mask = _each(self.mask, lambda m: m[index if len(m) > 1 else torch.zeros_like(index)])
        return Prompted(self.states[index], positions, self.attended[index], mask)

    def put(self, where: Tensor, embedded: Tensor) -> "Prompted":
        """With other embeddings (B or 1, T, D) at positions (T,)."""
        wide = embedded.to(self.states.dtype).expand(len(self.states), -1, -1)
        return replace(self, states=self.states.index_copy(1, where, wide))

    def hidden(self, where: Tensor, present: Tensor) -> "Prompted":
        """With only those of positions (T,) attended to that are `present` (B, T)."""
        seen = self.attended[:, where] & present
        return replace(self, attended=self.attended.index_copy(1, where, seen))

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
        return Prompted(states, positions, attended, _each(self.mask, smaller))


def _each(mask: Any, change: Any) -> Any:
    """A mask changed, or each of several."""
    if isinstance(mask, dict):
        return {name: _each(one, change) for name, one in mask.items()}
    return change(mask) if isinstance(mask, Tensor) else mask


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

    Attributes:
        decoder, embed: its decoder, and its word embeddings.
    """

    forced = 0

    def __init__(self, module: Any) -> None:
        self.module = module
        self.decoder: Any = module.get_decoder()
        self.embed: nn.Module = module.get_input_embeddings()
        self._head: nn.Module = module.get_output_embeddings()
        self._cap = getattr(module.config.get_text_config(), "final_logit_softcapping", None)
        known = inspect.signature(self.decoder.forward).parameters
        self._cache = "cache" if "cache" in known else "past_key_values"

    def received(self, inputs: dict[str, Tensor]) -> Prompted:
        """What the decoder would get for inputs of batch B, which every part before it has seen."""
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
            self.module.base_model(**inputs, use_cache=False)
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
        if isinstance(mask, Tensor) and mask.ndim == 2:
            return Prompted(states, positions, mask.bool(), None)
        return Prompted(
            states,
            positions,
            torch.ones(states.shape[:2], dtype=torch.bool, device=states.device),
            mask,
        )

    def answer_start(self, length: int) -> int:
        """See `Language`."""
        return length

    def read_from(self, length: int) -> int | None:
        """See `Language`."""
        return length - 1

    def states(self, given: Prompted) -> Tensor:
        """(B, N, D) what the decoder receives."""
        return given.states

    def agrees(self, inputs: dict[str, Tensor]) -> bool:
        """Whether what follows the prompt is what the network says when it writes by itself."""
        with torch.no_grad():
            plain = self.module.generate(**inputs, generation_config=first_tokens()).logits[0]
            last = self.run(self.received(inputs)).last_hidden_state[:, -1]
            ours = self.logits(last)
        if ours.shape != plain.shape:
            return False
        allowed = ROUNDING.get(self.module.dtype, 1e-4) * largest_of(plain)
        return float((ours.float() - plain.float()).abs().max()) <= allowed

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

    def first(self, states: Tensor, ids: Tensor) -> Tensor:
        """Log-probabilities (B, K, 1) of the first tokens of ids (K, A), from states (B, N, D)."""
        last = self.logits(states[:, -1])[:, None].expand(-1, len(ids), -1)
        return log_probabilities(last, ids[:, 0].expand(len(states), -1))[..., None]

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
        attended = torch.cat([given.attended, torch.ones_like(tokens).bool()], dim=1)
        behind = Prompted(self.embed(tokens), self._after(given, 1, len(ids)), attended, None)
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
        ids = candidates.padded(given.states.device)
        batch, many = len(given.states), len(candidates)
        cache = self._new_cache() if ids.shape[1] > 1 else None
        if cache is None and ids.shape[1] > 1:
            rows = torch.arange(batch, device=ids.device).repeat_interleave(many)
            whole = self._continued(given.times(rows), ids[:, :-1].repeat(batch, 1))
            said = self.logits(self.run(whole).last_hidden_state[:, given.states.shape[1] - 1 :])
            return candidates.columns(
                log_probabilities(said, ids.repeat(batch, 1)).unflatten(0, (batch, many))
            )
        first = self.first(self.run(given, cache).last_hidden_state, ids)
        if cache is None:
            return candidates.columns(first)
        cache.batch_repeat_interleave(many)
        continued = Prompted(
            self.embed(ids[:, :-1]).repeat(batch, 1, 1),
            self._after(given, many, ids.shape[1] - 1),
            torch.cat(
                [
                    given.attended.repeat_interleave(many, 0),
                    torch.ones_like(ids[:, 1:]).bool().repeat(batch, 1),
                ],
                1,
            ),
            None,
        )
        logits = self.logits(self.run(continued, cache).last_hidden_state)
        rest = log_probabilities(logits, ids[:, 1:].repeat(batch, 1)).unflatten(0, (batch, many))
        return candidates.columns(torch.cat([first, rest], dim=2))

    def _new_cache(self) -> Any:
        """Room for keys and values that can be repeated per answer; `None` where there is none."""
        from transformers import DynamicCache

        cache = DynamicCache(config=self.decoder.config)
        return (
            cache
            if all(hasattr(layer, "batch_repeat_interleave") for layer in cache.layers)
            else None
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
