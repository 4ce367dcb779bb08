"""Models that only their own forward can run: the prompt goes in as the processor gave it.

Some networks hand their decoder more than one sequence, such as vision states for several layers,
embeddings for each layer, or states that it attends across to; others have an encoder and a
decoder. They are called as a whole. Words are changed where the network looks their embeddings up,
and an answer goes behind the prompt, or to the decoder. How, is found out by trying: what the
network then says must be what it says when it writes by itself.
"""

import inspect
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from vqa_explain.errors import Unsupported
from vqa_explain.models.calling import FAILURES
from vqa_explain.models.candidates import Candidates, log_probabilities
from vqa_explain.models.generative.decoding import ROUNDING, Seen, attending, largest_of
from vqa_explain.models.network import open_layers
from vqa_explain.models.transformer import eager_attention

STEPS = 3  # tokens that the network writes by itself to compare with
OF_CHANGE = 0.1  # the share of what other words change that may be missed
LAST, ZERO, ONE = "last", "zero", "one"  # what an answer's tokens have in tensors of one per token
IDS, MASK = "input_ids", "attention_mask"


@dataclass(frozen=True, eq=False)
class Whole:
    """What B examples give to the network.

    Attributes:
        inputs: the processor's tensors, each with the same number of rows per example.
        attended: (B, N) bool, which tokens of the prompt may be attended to.
        words: positions (T,) in the prompt and the embeddings (B, T, D) that they have instead.
        begins: how many tokens the network begins the prompt with by itself; they stay.
    """

    inputs: Mapping[str, Tensor]
    attended: Tensor
    words: tuple[tuple[Tensor, Tensor], ...] = ()
    begins: int = 0

    def times(self, index: Tensor) -> "Whole":
        """Rows `index` (M,) of it."""
        batch = len(self.attended)
        chosen = {
            name: value.unflatten(0, (batch, -1))[index].flatten(0, 1)
            for name, value in self.inputs.items()
        }
        words = tuple((where, embedded[index]) for where, embedded in self.words)
        return replace(self, inputs=chosen, attended=self.attended[index], words=words)

    def put(self, where: Tensor, embedded: Tensor) -> "Whole":
        """With other embeddings (B or 1, T, D) at positions (T,)."""
        wide = embedded.expand(len(self.attended), -1, -1)
        there = self._there(where)
        return replace(self, words=(*self.words, (where[there], wide[:, there])))

    def hidden(self, where: Tensor, present: Tensor) -> "Whole":
        """With only those of positions (T,) attended to that are `present` (B, T)."""
        there = self._there(where)
        seen = self.attended[:, where[there]] & present[:, there]
        return replace(self, attended=self.attended.index_copy(1, where[there], seen))

    def _there(self, where: Tensor) -> Tensor:
        """Which positions are the prompt's own: a network may leave out what ends it."""
        return (where < self.attended.shape[1]) & (where >= self.begins)


@dataclass(frozen=True)
class Way:
    """How an answer is given to the network.

    Attributes:
        start: the tokens that begin an answer by itself; `None` where it goes behind the prompt.
        name: the argument that takes such an answer.
        filler: what its tokens have in tensors of one entry per token; see `LAST`.
    """

    start: tuple[int, ...] | None
    name: str = "decoder_input_ids"
    filler: str = LAST


class Forwarding:
    """A network that is called as a whole; the same calls as those of `decoding.Decoding`.

    Args:
        module: the network.
        inputs: the processor's tensors of one example.
        axes: tensor name → its axis with one entry per token of the prompt.
        texts: positions of the texts' tokens in the prompt; `None` where there are no words.
        others: two tokens of words, with which is tried what another word changes.

    Raises:
        Unsupported: called so, the network says something else than when it writes by itself.
    """

    def __init__(
        self,
        module: Any,
        inputs: Mapping[str, Tensor],
        axes: Mapping[str, int],
        texts: Tensor | None,
        others: tuple[int, int] = (0, 0),
    ) -> None:
        self.module, self._axes = module, axes
        # A tensor that tells how many examples there are, and its rows for one.
        self._told = next((n, len(value)) for n, value in inputs.items() if value.ndim)
        # The tokens that a prompt begins with instead of its own, and how many it loses at its end.
        self._begins: tuple[tuple[int, ...], int] = ((), 0)
        self._embeddings: list[nn.Embedding] = []
        known = inspect.signature(module.forward).parameters
        self._keeps = {"logits_to_keep"} & set(known)
        self._cached = {"use_cache": False} if "use_cache" in known else {}
        # How many of a prompt's tokens `generate` does not return; `None`: it returns none of them.
        self._left_out: int | None = None
        self.forced = 0
        self._way = self._find_way(inputs, known, texts)
        self.decoder: Any = _decoder_of(module)
        self.hides = self.attends = False
        if texts is not None:
            self._embeddings = self._find_embeddings(inputs, texts)
            changed = _reworded(inputs[IDS], texts, others)
            self._check_words(inputs, texts, changed)
            try:
                self.hides = self._can_hide(inputs, texts, changed)
            except (StopIteration, *FAILURES):  # it does not run with all words hidden
                self.hides = False
            self.attends = self._can_attend(inputs)

    def answer_start(self, length: int) -> int:
        """See `decoding.Language`."""
        if self._way.start is not None:
            return len(self._way.start)
        return 0 if self._left_out is None else length - self._left_out

    def read_from(self, length: int) -> int | None:
        """See `decoding.Language`."""
        return length - self._begins[1] - 1 if self._way.start is None else None

    def embed(self, ids: Tensor) -> Tensor:
        """(B, T, D) what token numbers (B, T) become: all their embeddings, side by side."""
        return torch.cat([layer(ids) for layer in self._embeddings], dim=-1)

    def received(self, inputs: Mapping[str, Tensor]) -> Whole:
        """What inputs of B examples are before anything is changed."""
        if IDS not in inputs:
            name, rows = self._told
            values = inputs[name]
            return Whole(inputs, values.new_ones(len(values) // rows, 0, dtype=torch.bool))
        if self._begins != ((), 0):
            inputs = self._as_written(inputs)
        ids = inputs[IDS]
        attended = inputs[MASK].bool() if MASK in inputs else torch.ones_like(ids).bool()
        return Whole(inputs, attended, begins=len(self._begins[0]))

    def _as_written(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The tensors with the prompt that the network itself writes behind.

        Some begin it with a token of their own, or leave out the one that ends it.
        """
        own, left_out = self._begins
        cut = dict(inputs)
        for name, axis in self._axes.items():
            cut[name] = inputs[name].narrow(axis, 0, inputs[name].shape[axis] - left_out)
        behind = cut[IDS][:, len(own) :]
        begins = behind.new_tensor([own]).expand(len(behind), -1)
        cut[IDS] = torch.cat([begins, behind], dim=1)
        return cut

    def answer(self, given: Whole, candidates: Candidates) -> Tensor:
        """Scores (B, K) of the candidates."""
        ids = candidates.padded(given.attended.device)
        batch, many = len(given.attended), len(candidates)
        if ids.shape[1] == 1:  # all of them are read from one pass
            last = self._logits(given, ids.new_zeros(batch, 0))
            wide = last.expand(-1, many, -1)
            found = log_probabilities(wide, ids[:, 0].expand(batch, -1))
            return candidates.columns(found[..., None])
        rows = torch.arange(batch, device=ids.device).repeat_interleave(many)
        logits = self._logits(given.times(rows), ids[:, :-1].repeat(batch, 1))
        found = log_probabilities(logits, ids.repeat(batch, 1))
        return candidates.columns(found.unflatten(0, (batch, many)))

    def states(self, given: Whole) -> Tensor:
        """(B, N, D) what the first layer of the decoder receives."""
        inputs = self._with_mask(given)
        with self._words_in_place(given, inputs[IDS].shape[1]):
            found = self.module(**inputs, **self._cached, output_hidden_states=True)
        states: Tensor = found.hidden_states[0]
        return states

    def seen(self, given: Whole, before: tuple[int, ...], tokens: Tensor) -> Seen:
        """The same as that of `decoding.Decoding`."""
        inputs = self._lengthened(
            self._with_mask(given), tokens.new_tensor([before]).long(), self._way
        )
        with self._words_in_place(given, inputs[IDS].shape[1]):
            said = self.module(**inputs, **self._cached, output_attentions=True)
        last = said.logits[:, -1:].expand(-1, len(tokens), -1)
        found = log_probabilities(last, tokens[:, 0].expand(len(last), -1))
        maps, layers = attending(self.decoder, said.attentions)
        length = inputs[IDS].shape[1]
        if any(one.shape[-2:] != (length, length) for one in maps):
            raise Unsupported(
                f"the layers of {type(self.module).__name__} attend to more than its sequence; use "
                "attn_lrp or integrated_gradients"
            )
        return Seen(found, maps, (), layers, len(self.decoder.layers))

    def _can_attend(self, inputs: Mapping[str, Tensor]) -> bool:
        """Whether it shows the attention of a decoder over all of the prompt."""
        if self._way.start is not None or self.decoder is None:
            return False
        first = inputs[IDS][:, :1]
        try:
            with torch.no_grad(), eager_attention(self.module):
                seen = self.seen(self.received(inputs), (), first)
                plain = self._logits(self.received(inputs), first[:, :0])[:, -1]
                states = self.states(self.received(inputs))
        except (Unsupported, *FAILURES):
            return False
        theirs = plain.float().log_softmax(-1).gather(1, first)
        one_sequence = states.ndim == 3 and states.shape[:2] == inputs[IDS].shape
        return one_sequence and _apart(seen.found, theirs) <= 1e-3 + 0.02 * float(theirs.abs())

    def _logits(self, given: Whole, tokens: Tensor, way: Way | None = None) -> Tensor:
        """(B, A + 1, V) what follows the prompt, and each of an answer's tokens (B, A)."""
        way = way or self._way
        count = tokens.shape[1]
        more: dict[str, Any] = dict(self._cached)
        inputs = self._with_mask(given)
        if way.start is not None:
            start = tokens.new_tensor([way.start]).expand(len(tokens), -1)
            more[way.name] = torch.cat([start, tokens], dim=1)
        else:
            inputs = self._lengthened(inputs, tokens, way)
            more |= dict.fromkeys(self._keeps, count + 1)
        with self._words_in_place(given, inputs[IDS].shape[1] if given.words else 0):
            logits: Tensor = self.module(**inputs, **more).logits
        return logits[:, -(count + 1) :]

    def _with_mask(self, given: Whole) -> dict[str, Tensor]:
        inputs = dict(given.inputs)
        if MASK in inputs and IDS in inputs:
            inputs[MASK] = given.attended.to(inputs[MASK])
        return inputs

    def _lengthened(
        self, inputs: Mapping[str, Tensor], tokens: Tensor, way: Way
    ) -> dict[str, Tensor]:
        """The tensors with an answer's tokens (B, A) behind the prompt's."""
        longer = dict(inputs)
        for name, axis in self._axes.items():
            value = inputs[name]
            if name == IDS:
                behind = tokens
            else:
                last = value.narrow(axis, value.shape[axis] - 1, 1)
                shape = [tokens.shape[1] if a == axis else -1 for a in range(value.ndim)]
                behind = last.expand(shape)
                if name == MASK or way.filler == ONE:
                    behind = torch.ones_like(behind)
                elif way.filler == ZERO and value.ndim == 2:
                    behind = torch.zeros_like(behind)
            longer[name] = torch.cat([value, behind.to(value.dtype)], dim=axis)
        return longer

    @contextmanager
    def _words_in_place(self, given: Whole, length: int) -> Iterator[None]:
        """Inside, the embeddings of some words are those of `given.words`."""
        if not given.words:
            yield
            return
        widths = [layer.embedding_dim for layer in self._embeddings]
        parts = [
            [(where, own) for where, own in zip([w for w, _ in given.words], split, strict=True)]
            for split in zip(
                *(embedded.split(widths, dim=-1) for _, embedded in given.words), strict=True
            )
        ]
        with ExitStack() as hooks:
            for layer, words in zip(self._embeddings, parts, strict=True):
                hook = _Putting(words, (len(given.attended), length))
                hooks.callback(layer.register_forward_hook(hook).remove)
            yield

    def _find_embeddings(self, inputs: Mapping[str, Tensor], texts: Tensor) -> list[nn.Embedding]:
        """The layers that look the prompt's words up.

        Raises:
            Unsupported: none does.
        """
        ids = self.received(inputs).inputs[IDS]
        found: dict[int, nn.Embedding] = {}

        def note(layer: nn.Embedding, args: tuple[Any, ...]) -> None:
            asked = args[0] if args else None
            if not isinstance(asked, Tensor) or asked.shape != ids.shape:
                return
            if bool((asked[:, texts] == ids[:, texts]).all()):
                found[id(layer)] = layer

        with ExitStack() as hooks, torch.no_grad():
            for _, layer in open_layers(self.module):
                if isinstance(layer, nn.Embedding):
                    hooks.callback(layer.register_forward_pre_hook(note).remove)
            self._logits(self.received(inputs), inputs[IDS][:, :0])
        if not found:
            raise Unsupported(
                f"{type(self.module).__name__} looks its words up in a way that no adapter knows; "
                "wrap it in vqa_explain.CustomModel"
            )
        return list(found.values())

    def _find_way(
        self, inputs: Mapping[str, Tensor], known: Mapping[str, Any], texts: Tensor | None
    ) -> Way:
        """How an answer is given, so that the network says what it says by itself.

        Raises:
            Unsupported: in no way that is known here.
        """
        with torch.no_grad():
            alone = self._written_alone(inputs)
            theirs = torch.stack(list(alone.logits), dim=1).float()
            steps = theirs.shape[1]
            tokens = alone.sequences[:, -steps:]
            start = tuple(alone.sequences[0, :-steps].tolist())
            ways = self._ways(inputs, start, known, texts)
            largest = largest_of(theirs)
            allowed = ROUNDING.get(self.module.dtype, 1e-4) * largest
            exact = min(allowed, ROUNDING[torch.float32] * largest)
            nearest, best, cause = float("inf"), None, ""
            for way in ways:
                try:
                    ours = self._logits(self.received(inputs), tokens[:, :-1], way).float()
                except (StopIteration, *FAILURES) as error:
                    cause = f" ({type(error).__name__}: {str(error)[:100]})"
                    continue
                # In half precision several may be near enough: then the nearest, or the first.
                if ours.shape == theirs.shape and _apart(ours, theirs) < nearest:
                    nearest, best = _apart(ours, theirs), way
                if nearest <= exact:
                    break
        if best is not None and nearest <= allowed:
            return self._behind_forced(best, alone)
        raise Unsupported(
            f"{type(self.module).__name__} says something else of an answer that is given to it "
            f"than when it writes that answer by itself: logits differ by {nearest:.2g}{cause}; "
            "wrap it in vqa_explain.CustomModel"
        )

    def _behind_forced(self, way: Way, alone: Any) -> Way:
        """The way behind what `generate` puts before every answer, whatever the network says.

        Some settings leave one token to choose from. The answer follows it, so that scores without
        it would be of something that is never written.
        """
        if way.start is None:
            return way
        choices = [int(one.isfinite().sum()) for one in alone.scores]
        self.forced = next((n for n, count in enumerate(choices) if count > 1), 0)
        tokens = alone.sequences[0, len(way.start) :][: self.forced].tolist()
        return replace(way, start=(*way.start, *tokens))

    def _written_alone(self, inputs: Mapping[str, Tensor]) -> Any:
        """What the network writes by itself, greedily, with the logits of each step.

        Raises:
            Unsupported: it fails.
        """
        try:
            return self.module.generate(
                **inputs,
                max_new_tokens=STEPS,
                min_new_tokens=STEPS,
                do_sample=False,
                num_beams=1,
                num_return_sequences=1,
                return_dict_in_generate=True,
                output_logits=True,
                output_scores=True,
            )
        except FAILURES as error:
            raise Unsupported(
                f"{type(self.module).__name__}.generate fails on its processor's tensors: "
                f"{type(error).__name__} {str(error)[:200]}; give the processor that it was "
                "trained with, or wrap it in vqa_explain.CustomModel"
            ) from error

    def _ways(
        self,
        inputs: Mapping[str, Tensor],
        start: tuple[int, ...],
        known: Mapping[str, Any],
        texts: Tensor | None,
    ) -> list[Way]:
        """The ways to try, the likeliest first; `start` is what stands before the answer written
        by the network itself.
        """
        ways = [Way(start)] if "decoder_input_ids" in known else []
        if texts is None:
            return [*ways, Way(start, IDS)] if IDS in known else ways
        own, first, last = inputs[IDS][0].tolist(), int(texts.min()), int(texts.max())
        self._left_out = len(own) - len(start) if start else None
        same = list(start[first:]) == own[first : len(start)]
        if last < len(start) <= len(own) and same and list(start) != own:
            self._begins = (start[:first], len(own) - len(start))
        return [*ways, *(Way(None, filler=filler) for filler in (LAST, ZERO, ONE))]

    def _check_words(self, inputs: Mapping[str, Tensor], texts: Tensor, ids: Tensor) -> None:
        """Words that are changed at the embeddings must be to the network as other tokens.

        Args:
            inputs: the tensors of one example.
            texts: positions of its words.
            ids: its tokens with other words there.

        Raises:
            Unsupported: they are not, so words reach the network in another way too.
        """
        nothing = ids[:, :0]
        with torch.no_grad():
            plain = self._logits(self.received(inputs), nothing)
            theirs = self._logits(self.received({**inputs, IDS: ids}), nothing)
            given = self.received(inputs).put(texts, self.embed(ids[:, texts]))
            ours = self._logits(given, nothing)
        if _apart(ours, theirs) > _allowed(plain, theirs):
            raise Unsupported(
                f"words reach {type(self.module).__name__} in more ways than their embeddings, "
                "which no adapter can follow; wrap it in vqa_explain.CustomModel"
            )

    def _can_hide(self, inputs: Mapping[str, Tensor], texts: Tensor, ids: Tensor) -> bool:
        """Whether words that are not attended to are as if they were not there, in their places.

        What they are must then not matter, and no other token may move. The arguments are those of
        `_check_words`.
        """
        read = self.read_from(inputs[IDS].shape[1])
        where = texts if read is None else texts[texts != read]
        if MASK not in inputs or not len(where):
            return False
        whole = self.received(inputs)
        length = whole.attended.shape[1]
        absent = torch.zeros_like(where, dtype=torch.bool)[None]
        other = inputs[IDS].index_copy(1, where, ids[:, where])
        nothing = other[:, :0]
        with torch.no_grad():
            with _numbers_noted(self.module, length) as before:
                plain = self._logits(whole, nothing)
            with _numbers_noted(self.module, length) as after:
                hidden = self._logits(whole.hidden(where, absent), nothing)
            changed = self.received({**inputs, IDS: other})
            reworded = self._logits(changed, nothing)
            same = self._logits(changed.hidden(where, absent), nothing)
        seen = torch.ones(length, dtype=torch.bool)
        seen[where.cpu()] = False
        stays = len(before) == len(after) and all(
            one.shape == two.shape and torch.equal(one[..., seen], two[..., seen])
            for one, two in zip(before, after, strict=True)
        )
        return stays and _apart(hidden, same) <= _allowed(plain, reworded)


def _reworded(ids: Tensor, texts: Tensor, others: tuple[int, int]) -> Tensor:
    """Tokens (1, N) with another word at each position of a word."""
    one, other = others
    own = ids[:, texts]
    return ids.index_copy(1, texts, torch.full_like(own, one).where(own != one, other))


def _allowed(plain: Tensor, reworded: Tensor) -> float:
    """How far two logits that should be the same may be apart.

    Far less than what other words change, or else a network to which they make little difference
    would pass in half precision, whatever was done to them.
    """
    largest = largest_of(plain)
    rounding = ROUNDING.get(plain.dtype, 1e-4) * largest
    least = min(rounding, ROUNDING[torch.float32] * largest)
    return max(least, min(rounding, OF_CHANGE * _apart(plain, reworded)))


def _decoder_of(module: Any) -> Any:
    """The part that has the decoder's layers in a list; `None` where there is none."""
    found = module.get_decoder() if hasattr(module, "get_decoder") else None
    inside = (found, getattr(found, "model", None), getattr(found, "decoder", None))
    return next(
        (one for one in inside if isinstance(getattr(one, "layers", None), nn.ModuleList)), None
    )


class _Putting:
    """A hook that puts words (T,), (B, T, D) into the first output for sequences of this shape."""

    def __init__(self, words: Sequence[tuple[Tensor, Tensor]], shape: tuple[int, int]) -> None:
        self._words, self._shape, self._done = words, shape, False

    def __call__(self, _layer: nn.Module, _args: Any, output: Tensor) -> Tensor:
        if self._done or tuple(output.shape[:2]) != self._shape:
            return output
        self._done = True
        for where, embedded in self._words:
            output = output.index_copy(1, where, embedded.to(output))
        return output


@contextmanager
def _numbers_noted(module: nn.Module, length: int) -> Iterator[list[Tensor]]:
    """The tensors of whole numbers, one per token, that layers receive inside: positions."""
    found: list[Tensor] = []

    def note(_layer: nn.Module, args: tuple[Any, ...], named: dict[str, Any]) -> None:
        given = [*args, *(v for name, v in named.items() if name not in (IDS, MASK))]
        for value in given:
            if not isinstance(value, Tensor) or value.dtype == torch.bool:
                continue
            # Some networks keep positions as real numbers.
            per_token = value.ndim in (2, 3) and value.shape[-1] == length
            if per_token and bool((value == value.round()).all()):
                found.append(value.cpu().clone())

    with ExitStack() as hooks:
        for path, layer in open_layers(module):
            if path:
                handle = layer.register_forward_pre_hook(note, with_kwargs=True)
                hooks.callback(handle.remove)
        yield found


def _apart(one: Tensor, other: Tensor) -> float:
    return float((one.float() - other.float()).abs().max())
