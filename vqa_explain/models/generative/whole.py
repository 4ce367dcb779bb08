"""Models that only their own forward can run: the prompt goes in as the processor gave it.

Some networks hand their decoder more than one sequence, such as vision states for several layers,
embeddings for each layer, or states that it attends across to; others have an encoder and a
decoder. They are called as a whole. Words are changed where the network looks their embeddings up,
and an answer goes behind the prompt, or to the decoder. How, is found out by trying: what the
network then says must be what it says when it writes by itself.
"""

import inspect
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from vqa_explain.errors import Unsupported
from vqa_explain.models.attending import CrossLayer, SelfLayer
from vqa_explain.models.calling import FAILURES
from vqa_explain.models.candidates import COMPARED, Candidates, first_tokens, log_probabilities
from vqa_explain.models.generative.decoding import (
    ROUNDING,
    Seen,
    attending,
    largest_of,
    takes_batches,
    with_lists,
)
from vqa_explain.models.generative.memory import PictureMemory
from vqa_explain.models.generative.second import SecondSequence, SecondTokens
from vqa_explain.models.generative.vision import Pictures, VisionSide, find_vision
from vqa_explain.models.network import open_layers
from vqa_explain.models.transformer import eager_attention

log = logging.getLogger("vqa_explain")
OF_CHANGE = 0.1  # the share of what other words change that may be missed
LAST, ZERO, ONE = "last", "zero", "one"  # what an answer's tokens have in tensors of one per token
IDS, MASK = "input_ids", "attention_mask"
ENCODER, DECODER = "encoder", "decoder"  # the streams of a network that has both


@dataclass(frozen=True, eq=False)
class Whole:
    """What B examples give to the network.

    Attributes:
        inputs: the processor's tensors, each with the same number of rows per example.
        attended: (B, N) bool, which tokens of the prompt may be attended to.
        words: positions (T,) in the prompt and the embeddings (B, T, D) that they have instead.
        pictures: which examples show the same.
        second: the same as `words`, in a second sequence of tokens; see `second`.
        begins: how many tokens the network begins the prompt with by itself; they stay.
    """

    inputs: Mapping[str, Tensor]
    attended: Tensor
    pictures: Pictures
    words: tuple[tuple[Tensor, Tensor], ...] = ()
    second: tuple[tuple[Tensor, Tensor], ...] = ()
    begins: int = 0

    def times(self, index: Tensor) -> "Whole":
        """Rows `index` (M,) of it."""
        batch = len(self.attended)
        chosen = {
            name: value.unflatten(0, (batch, -1))[index].flatten(0, 1)
            for name, value in self.inputs.items()
        }
        words, second = (
            tuple((where, embedded[index]) for where, embedded in put)
            for put in (self.words, self.second)
        )
        pictures = replace(self.pictures, of=self.pictures.of[index.cpu()])
        attended = self.attended[index]
        return replace(
            self,
            inputs=chosen,
            attended=attended,
            pictures=pictures,
            words=words,
            second=second,
        )

    def remembered(self, memory: PictureMemory | None, keys: Sequence[bytes]) -> "Whole":
        """With what is kept of pictures, under the key of each example's."""
        return replace(self, pictures=replace(self.pictures, memory=memory, keys=keys))

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

    def put_second(self, where: Tensor, embedded: Tensor) -> "Whole":
        """With other embeddings (B or 1, n, D) at positions (n,) of the second sequence."""
        wide = embedded.expand(len(self.attended), -1, -1)
        return replace(self, second=(*self.second, (where, wide)))

    def hidden_second(self, mask: str, where: Tensor, present: Tensor) -> "Whole":
        """With only those of positions (n,) of the second sequence attended to that are `present`
        (B, n); `mask` is the tensor that says so.
        """
        seen = self.inputs[mask]
        changed = seen.index_copy(1, where, seen[:, where] * present.to(seen))
        return replace(self, inputs={**self.inputs, mask: changed})

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


@dataclass(frozen=True)
class Lookup:
    """A layer that looks words up.

    Attributes:
        layer: the layer.
        times: how often in a row it looks each example's words up, such as once for each frame.
    """

    layer: nn.Embedding
    times: int


class Forwarding:
    """A network that is called as a whole; the same calls as those of `decoding.Decoding`.

    Args:
        module: the network.
        inputs: the processor's tensors of one example.
        axes: tensor name → its axis with one entry per token of the prompt.
        texts: positions of the texts' tokens in the prompt; `None` where there are no words.
        others: two tokens of words, with which is tried what another word changes.
        lists: the tensors that the network takes as lists: see `decoding.with_lists`.
        second: another sequence in which words reach it, and two tokens of words in that one.

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
        lists: frozenset[str] = frozenset(),
        second: tuple[SecondSequence, tuple[int, int]] | None = None,
    ) -> None:
        self.module, self._axes, self._lists = module, axes, lists
        self._second = second[0] if second else None
        self._second_lookups: list[Lookup] = []
        # A tensor that tells how many examples there are, and its rows for one.
        self._told = next((n, len(value)) for n, value in inputs.items() if value.ndim)
        # The tokens that a prompt begins with instead of its own, and how many it loses at its end.
        self._begins: tuple[tuple[int, ...], int] = ((), 0)
        self._lookups: list[Lookup] = []
        known = inspect.signature(module.forward).parameters
        self._keeps = {"logits_to_keep"} & set(known)
        self._cached = {"use_cache": False} if "use_cache" in known else {}
        # How many of a prompt's tokens `generate` does not return; `None`: it returns none of them.
        self._left_out: int | None = None
        self.forced = 0
        self._one_by_one = False  # whether it fails on a batch
        self.vision: VisionSide | None = None
        self._way = self._find_way(inputs, known, texts)
        self._one_by_one = not takes_batches(self._first_logits, inputs, type(module).__name__)
        self.decoder: Any = _decoder_of(module)
        self.hides = self.attends = self.flows = False
        if texts is not None:
            self._lookups = self._find_lookups(inputs, self.received(inputs).inputs, IDS, texts)
            changed = {**inputs, IDS: _reworded(inputs[IDS], texts, others)}
            if second is not None:
                sequence, more = second
                name, where = sequence.name, sequence.where
                self._second_lookups = self._find_lookups(inputs, inputs, name, where)
                changed[name] = _reworded(inputs[name], where, more)
            self._check_words(inputs, texts, changed)
            try:
                self.hides = self._can_hide(inputs, texts, changed)
            except (StopIteration, *FAILURES):  # it does not run with all words hidden
                self.hides = False
            self.attends, self.flows = self._can_attend(inputs), self._can_flow(inputs)

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
        return torch.cat([one.layer(ids) for one in self._lookups], dim=-1)

    def embed_second(self, ids: Tensor, there: Tensor) -> Tensor:
        """(B, T, k · D) what token numbers (B, T, k) of the second sequence become, side by side.

        Args:
            ids: the token numbers.
            there: (T, k) bool, which of them there are; the others become 0.
        """
        embedded = torch.cat([one.layer(ids) for one in self._second_lookups], dim=-1)
        return (embedded * there[..., None]).flatten(2)

    def put_both(
        self, given: Whole, where: Tensor, embedded: Tensor, second: SecondTokens
    ) -> Whole:
        """With other words at positions (T,), and where they are in the second sequence.

        Args:
            given: what the network receives.
            where: the positions in the prompt.
            embedded: (B or 1, T, D) what `embed` gives, and behind it what `embed_second` gives.
            second: where they are in the second sequence.
        """
        width = sum(one.layer.embedding_dim for one in self._lookups)
        own, more = embedded.split([width, embedded.shape[-1] - width], dim=-1)
        each = more.unflatten(-1, (second.places.shape[1], -1))[:, second.there]
        return given.put(where, own).put_second(second.where, each)

    def hidden_in_both(
        self, given: Whole, where: Tensor, present: Tensor, second: SecondTokens
    ) -> Whole:
        """With only those of positions (T,) attended to that are `present` (B, T), and of the
        second sequence only what belongs to them.
        """
        assert self._second is not None
        assert self._second.mask is not None, "else it does not hide words"
        given = given.hidden(where, present)
        return given.hidden_second(self._second.mask, second.where, second.present(present))

    def received(self, inputs: Mapping[str, Tensor]) -> Whole:
        """What inputs of B examples are before anything is changed."""
        if IDS not in inputs:
            name, rows = self._told
            values = inputs[name]
            batch = len(values) // rows
            attended = values.new_ones(batch, 0, dtype=torch.bool)
            return Whole(inputs, attended, Pictures(torch.arange(batch)))
        if self._begins != ((), 0):
            inputs = self._as_written(inputs)
        ids = inputs[IDS]
        attended = inputs[MASK].bool() if MASK in inputs else torch.ones_like(ids).bool()
        pictures = Pictures(torch.arange(len(ids)))
        return Whole(inputs, attended, pictures, begins=len(self._begins[0]))

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

    def find_vision(
        self,
        inputs: Mapping[str, Tensor],
        two: Mapping[str, Tensor],
        texts: Tensor | None,
        others: tuple[int, int],
    ) -> None:
        """Finds the part that sees pictures alone, so that each picture goes through it once.

        Args:
            inputs: the processor's tensors of one example.
            two: those of this example, and of the same with another picture.
            texts: positions of the texts' tokens in the prompt; `None` where there are no words.
            others: two tokens of words.
        """
        plain = self.received(inputs)
        reworded = plain
        if texts is not None:
            reworded = self.received({**inputs, IDS: _reworded(inputs[IDS], texts, others)})
        longer = torch.zeros(1, 2, dtype=torch.long, device=plain.attended.device)
        nothing = longer[:, :0]
        changed, count = self.received(two), 2
        if self._one_by_one:
            changed, count = changed.times(torch.tensor([1], device=nothing.device)), 1
        try:
            self.vision = find_vision(
                self.module,
                lambda: self._logits(plain, nothing),
                lambda: self._logits(reworded, longer),
                lambda: self._logits(changed, nothing.expand(count, -1)),
                count,
            )
        except (StopIteration, *FAILURES) as error:  # then pictures are looked at more often
            name = type(self.module).__name__
            log.info("the vision side of %s cannot be told apart: %s", name, error)

    def answer(self, given: Whole, candidates: Candidates) -> Tensor:
        """Scores (B, K) of the candidates."""
        ids = candidates.padded(given.attended.device)
        batch, many = len(given.attended), len(ids)
        if ids.shape[1] == 1:  # all of them are read from one pass
            last = self._logits(given, ids.new_zeros(batch, 0))
            wide = last.expand(-1, many, -1)
            found = candidates.log_probabilities(wide, ids[:, 0].expand(batch, -1))
            return candidates.columns(found[..., None])
        rows = torch.arange(batch, device=ids.device).repeat_interleave(many)
        logits = self._logits(given.times(rows), ids[:, :-1].repeat(batch, 1))
        found = candidates.log_probabilities(logits, ids.repeat(batch, 1))
        return candidates.columns(found.unflatten(0, (batch, many)))

    def answer_coalitions(self, given: Whole, candidates: Candidates) -> Tensor:
        """See `decoding.Language`. Pictures are shared as in `answer`."""
        return self.answer(given, candidates)

    def states(self, given: Whole) -> Tensor:
        """(B, N, D) what the first layer of the decoder receives; of the encoder, where there is
        one.
        """
        if self._one_by_one and len(given.attended) > 1:
            rows = torch.arange(len(given.attended), device=given.attended.device)
            return torch.cat([self.states(given.times(row)) for row in rows[:, None]])
        inputs = self._with_mask(given)
        with self._words_in_place(given, inputs[IDS].shape[1]):
            found = self._states_of(inputs)
        states: Tensor = found[0]
        return states

    def _states_of(self, inputs: Mapping[str, Tensor]) -> tuple[Tensor, ...]:
        """The states of the layers that read the prompt: the encoder's, where there is one."""
        asked = {**inputs, **self._cached, "output_hidden_states": True}
        if self._way.start is None:
            said = self._called(**asked)
            found: tuple[Tensor, ...] = _of_language(said).hidden_states
            return found
        rows, start = len(inputs[IDS]), inputs[IDS].new_tensor([self._way.start])
        said = self._called(**asked, **{self._way.name: start.expand(rows, -1)})
        states: tuple[Tensor, ...] = _of_language(said).encoder_hidden_states
        return states

    def seen(self, given: Whole, before: tuple[int, ...], tokens: Tensor) -> Seen:
        """The same as that of `decoding.Decoding`."""
        inputs = self._lengthened(
            self._with_mask(given), tokens.new_tensor([before]).long(), self._way
        )
        with self._words_in_place(given, inputs[IDS].shape[1]):
            said = self._called(**inputs, **self._cached, output_attentions=True)
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

    def streams(
        self, given: Whole, before: tuple[int, ...], tokens: Tensor
    ) -> tuple[Tensor, tuple[SelfLayer | CrossLayer, ...]]:
        """What follows the tokens `before`, and the attention of encoder and decoder.

        Returns the log-probabilities (1, K) of tokens (K, 1), and the layers in the order in which
        they act.

        Raises:
            Unsupported: the network does not show that attention.
        """
        assert self._way.start is not None, "it has a decoder of its own"
        inputs = self._with_mask(given)
        start = tokens.new_tensor([(*self._way.start, *before)])
        more = {self._way.name: start, "output_attentions": True}
        with self._words_in_place(given, inputs[IDS].shape[1]), self._embedded_in_graph():
            said = self._called(**inputs, **self._cached, **more)
        last = said.logits[:, -1:].expand(-1, len(tokens), -1)
        found = log_probabilities(last, tokens[:, 0].expand(len(last), -1))
        return found, self._layers(said, inputs[IDS].shape[1], start.shape[1])

    @contextmanager
    def _embedded_in_graph(self) -> Iterator[None]:
        """Inside, what is looked up has a gradient even of frozen weights.

        Else the decoder's first layer, which reads the answer's own tokens alone, would be out of
        the graph, and its attention would have no slope.
        """

        def watched(_layer: nn.Module, _args: Any, output: Any) -> Any:
            if not isinstance(output, Tensor) or output.requires_grad:
                return output
            # A copy, since some networks change it in place.
            return output.detach().requires_grad_(torch.is_grad_enabled()).clone()

        with ExitStack() as hooks:
            for _, layer in open_layers(self.module):
                if isinstance(layer, nn.Embedding):
                    hooks.callback(layer.register_forward_hook(watched).remove)
            yield

    def _layers(self, said: Any, length: int, written: int) -> tuple[SelfLayer | CrossLayer, ...]:
        """The layers of an encoder of `length` positions and a decoder of `written`."""
        said = _of_language(said)
        shapes = {
            "encoder_attentions": (length, length),
            "decoder_attentions": (written, written),
            "cross_attentions": (written, length),
        }
        maps = {name: getattr(said, name, None) or () for name in shapes}
        for name, shape in shapes.items():
            if not maps[name] or not all(_shares(one, shape) for one in maps[name]):
                raise Unsupported(
                    f"{type(self.module).__name__} does not show, as {name}, how much each "
                    "position attends to each other; use attn_lrp or integrated_gradients"
                )
        layers: list[SelfLayer | CrossLayer] = [
            SelfLayer(ENCODER, one) for one in maps["encoder_attentions"]
        ]
        pairs = zip(maps["decoder_attentions"], maps["cross_attentions"], strict=True)
        for own, across in pairs:
            layers += [SelfLayer(DECODER, own), CrossLayer({(DECODER, ENCODER): across})]
        return tuple(layers)

    def _can_flow(self, inputs: Mapping[str, Tensor]) -> bool:
        """Whether it shows the attention of an encoder over the prompt and of a decoder."""
        if self._way.start is None or self._second is not None:
            return False
        return self._shows(inputs, lambda given, first: self.streams(given, (), first)[0])

    def _can_attend(self, inputs: Mapping[str, Tensor]) -> bool:
        """Whether it shows the attention of a decoder over all of the prompt.

        That says nothing of words that reach it in a second sequence.
        """
        if self._way.start is not None or self.decoder is None or self._second is not None:
            return False
        return self._shows(inputs, lambda given, first: self.seen(given, (), first).found)

    def _shows(self, inputs: Mapping[str, Tensor], read: Callable[[Whole, Tensor], Tensor]) -> bool:
        """Whether the call that gives the attention says the same as the plain one, and its states
        are one for each token of the prompt.

        Args:
            inputs: the processor's tensors of one example.
            read: what that call says of a first token of the answer, from what the network receives
                and the token (1, 1): its log-probability (1, 1).
        """
        first = inputs[IDS][:, :1]
        try:
            with torch.no_grad(), eager_attention(self.module):
                given = self.received(inputs)
                found = read(given, first)
                plain = self._logits(given, first[:, :0])[:, -1]
                states = self.states(given)
        except (Unsupported, *FAILURES):
            return False
        theirs = plain.float().log_softmax(-1).gather(1, first)
        one_sequence = states.ndim == 3 and states.shape[:2] == inputs[IDS].shape
        return one_sequence and _apart(found, theirs) <= 1e-3 + 0.02 * float(theirs.abs())

    def _first_logits(self, inputs: dict[str, Tensor]) -> Tensor:
        """(B, 1, V) what follows the prompts of B examples."""
        given = self.received(inputs)
        nothing = torch.zeros(
            len(given.attended), 0, dtype=torch.long, device=given.attended.device
        )
        return self._logits(given, nothing)

    def _logits(self, given: Whole, tokens: Tensor, way: Way | None = None) -> Tensor:
        """(B, A + 1, V) what follows the prompt, and each of an answer's tokens (B, A)."""
        way = way or self._way
        if self._one_by_one and len(tokens) > 1:
            return torch.cat(
                [
                    self._logits(given.times(row), tokens[row], way)
                    for row in torch.arange(len(tokens), device=tokens.device)[:, None]
                ]
            )
        count = tokens.shape[1]
        more: dict[str, Any] = dict(self._cached)
        inputs = self._with_mask(given)
        if way.start is not None:
            start = tokens.new_tensor([way.start]).expand(len(tokens), -1)
            more[way.name] = torch.cat([start, tokens], dim=1)
        else:
            inputs = self._lengthened(inputs, tokens, way)
            more |= dict.fromkeys(self._keeps, count + 1)
        with ExitStack() as inside:
            length = inputs[IDS].shape[1] if given.words else 0
            inside.enter_context(self._words_in_place(given, length))
            if self.vision is not None:
                inside.enter_context(self.vision.shared(given.pictures))
            logits: Tensor = self._called(**inputs, **more).logits
        return logits[:, -(count + 1) :]

    def _called(self, **given: Any) -> Any:
        """What the network gives for tensors, some as lists, and settings."""
        return self.module(**with_lists(given, self._lists))

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
        """Inside, the embeddings of some words are those of `given`."""
        with ExitStack() as hooks:
            self._put_in_place(hooks, self._lookups, given.words, (len(given.attended), length))
            if self._second is not None:
                count, many = given.inputs[self._second.name].shape
                self._put_in_place(hooks, self._second_lookups, given.second, (count, many))
            yield

    def _put_in_place(
        self,
        hooks: ExitStack,
        lookups: Sequence[Lookup],
        words: Sequence[tuple[Tensor, Tensor]],
        shape: tuple[int, int],
    ) -> None:
        """Hooks that put words into what these layers give for sequences of this shape (B, N)."""
        if not words:
            return
        widths = [one.layer.embedding_dim for one in lookups]
        split = [embedded.split(widths, dim=-1) for _, embedded in words]
        for one, own in zip(lookups, zip(*split, strict=True), strict=True):
            put = [
                (where, part.repeat_interleave(one.times, dim=0))
                for (where, _), part in zip(words, own, strict=True)
            ]
            putting = _Putting(put, (shape[0] * one.times, shape[1]))
            hooks.callback(one.layer.register_forward_hook(putting).remove)

    def _find_lookups(
        self,
        inputs: Mapping[str, Tensor],
        received: Mapping[str, Tensor],
        name: str,
        where: Tensor,
    ) -> list[Lookup]:
        """The layers that look words up.

        Args:
            inputs: the tensors of one example.
            received: those that the network gets of them.
            name: the tensor of the words' tokens.
            where: (n,) their positions in it.

        Raises:
            Unsupported: none does.
        """
        ids = received[name]
        found: dict[int, Lookup] = {}

        def note(layer: nn.Embedding, args: tuple[Any, ...]) -> None:
            asked = args[0] if args else None
            if not isinstance(asked, Tensor) or asked.shape[1:] != ids.shape[1:]:
                return
            if bool((asked[:, where] == ids[:, where]).all()):
                found[id(layer)] = Lookup(layer, len(asked))

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
            Unsupported: it fails, or tells no logits.
        """
        try:
            alone = self.module.generate(
                **with_lists(inputs, self._lists),
                min_new_tokens=COMPARED,
                output_scores=True,
                **first_tokens(COMPARED),
            )
        except FAILURES as error:
            raise Unsupported(
                f"{type(self.module).__name__}.generate fails on its processor's tensors: "
                f"{type(error).__name__} {str(error)[:200]}; give the processor that it was "
                "trained with, or wrap it in vqa_explain.CustomModel"
            ) from error
        if not getattr(alone, "logits", None):
            raise Unsupported(
                f"{type(self.module).__name__}.generate returns no logits, so nothing can be "
                "checked against what it writes; wrap it in vqa_explain.CustomModel"
            )
        return alone

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

    def _check_words(
        self, inputs: Mapping[str, Tensor], texts: Tensor, changed: Mapping[str, Tensor]
    ) -> None:
        """Words that are changed at the embeddings must be to the network as other tokens.

        Args:
            inputs: the tensors of one example.
            texts: positions of its words.
            changed: the tensors with other words there, and in the second sequence.

        Raises:
            Unsupported: they are not, so words reach the network in another way too.
        """
        nothing = inputs[IDS][:, :0]
        with torch.no_grad():
            plain = self._logits(self.received(inputs), nothing)
            theirs = self._logits(self.received(changed), nothing)
            given = self._with_words_of(changed, self.received(inputs), texts)
            pairs = [(self._logits(given, nothing), theirs)]
            if any(one.times > 1 for one in self._second_lookups) and not self._one_by_one:
                # Its rows may be those of one example after the other, or all over again.
                two = self.received(inputs).times(torch.zeros_like(texts[:1]).repeat(2))
                both = {k: torch.cat([inputs[k], changed[k]]) for k in changed}
                given = self._with_words_of(both, two, texts)
                found = self._logits(given, nothing.repeat(2, 1))
                pairs.append((found, torch.cat([plain, theirs])))
        if any(_apart(ours, own) > _allowed(plain, theirs) for ours, own in pairs):
            raise Unsupported(
                f"words reach {type(self.module).__name__} in more ways than their embeddings, "
                "which no adapter can follow; wrap it in vqa_explain.CustomModel"
            )

    def _with_words_of(self, changed: Mapping[str, Tensor], given: Whole, texts: Tensor) -> Whole:
        """With the words of other tensors put where the texts are, in each sequence."""
        given = given.put(texts, self.embed(changed[IDS][:, texts]))
        if self._second is None:
            return given
        where = self._second.where
        ids = changed[self._second.name][:, where, None]
        return given.put_second(where, self.embed_second(ids, torch.ones_like(ids[0])))

    def _can_hide(
        self, inputs: Mapping[str, Tensor], texts: Tensor, changed: Mapping[str, Tensor]
    ) -> bool:
        """Whether words that are not attended to are as if they were not there, in their places.

        What they are must then not matter, and no other token may move. The arguments are those of
        `_check_words`.
        """
        second = self._second
        read = self.read_from(inputs[IDS].shape[1])
        where = texts if read is None else texts[texts != read]
        if MASK not in inputs or not len(where) or (second is not None and second.mask is None):
            return False
        other = {**changed, IDS: inputs[IDS].index_copy(1, where, changed[IDS][:, where])}
        whole, reworded = self.received(inputs), self.received(other)
        length = whole.attended.shape[1]

        def without_words(given: Whole) -> Whole:
            given = given.hidden(where, torch.zeros_like(where, dtype=torch.bool)[None])
            if second is None or second.mask is None:
                return given
            gone = torch.zeros_like(second.where, dtype=torch.bool)[None]
            return given.hidden_second(second.mask, second.where, gone)

        nothing = inputs[IDS][:, :0]
        with torch.no_grad():
            with _numbers_noted(self.module, length) as before:
                plain = self._logits(whole, nothing)
            with _numbers_noted(self.module, length) as after:
                hidden = self._logits(without_words(whole), nothing)
            said = self._logits(reworded, nothing)
            same = self._logits(without_words(reworded), nothing)
        seen = torch.ones(length, dtype=torch.bool)
        seen[where.cpu()] = False
        stays = len(before) == len(after) and all(
            one.shape == two.shape and torch.equal(one[..., seen], two[..., seen])
            for one, two in zip(before, after, strict=True)
        )
        return stays and _apart(hidden, same) <= _allowed(plain, said)


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


def _of_language(said: Any) -> Any:
    """What the part that writes gave, of networks that hand its output on in a field."""
    return getattr(said, "language_model_outputs", None) or said


def _decoder_of(module: Any) -> Any:
    """The part that has the decoder's layers in a list; `None` where there is none."""
    found = module.get_decoder() if hasattr(module, "get_decoder") else None
    inside = (found, getattr(found, "model", None), getattr(found, "decoder", None))
    return next(
        (one for one in inside if isinstance(getattr(one, "layers", None), nn.ModuleList)), None
    )


def _shares(attention: Any, shape: tuple[int, int]) -> bool:
    """Whether it is a layer's attention (1, heads, *shape) of which each position has 1 in all."""
    if not isinstance(attention, Tensor) or attention.shape[2:] != shape or len(attention) != 1:
        return False
    near = 1e-2 if attention.dtype in (torch.float16, torch.bfloat16) else 1e-4
    return bool(((attention.float().sum(dim=-1) - 1).abs() <= near).all())


class _Putting:
    """A hook that puts words (T,), (B, T, D) into the first output for sequences of this shape."""

    def __init__(self, words: Sequence[tuple[Tensor, Tensor]], shape: tuple[int, ...]) -> None:
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
