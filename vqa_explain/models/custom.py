"""A network of one's own over pictures, texts and rows of tables."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from vqa_explain._memory import lacks_memory
from vqa_explain.errors import InvalidInput, Unsupported
from vqa_explain.examples import Example
from vqa_explain.features.base import Feature, Present
from vqa_explain.features.image import ImageFeature
from vqa_explain.models.attending import Positions
from vqa_explain.models.base import Leaves, check_finite, described
from vqa_explain.models.calling import (
    FAILURES,
    NetworkCall,
    check_arguments,
    has_gradients,
    quantized_layer,
    without_gradients,
)
from vqa_explain.models.checking import check_first, checked, warn_unchecked
from vqa_explain.models.embeddings import Embeddings, find_embedding
from vqa_explain.models.encoded import Encoded, read_inputs
from vqa_explain.models.inputs import Image, Spec, Text, read_specs
from vqa_explain.models.labels import read_labels
from vqa_explain.models.maps import last_map, sequence_positions
from vqa_explain.models.matching import NOUNS, matched
from vqa_explain.models.network import choose_device, parameters_frozen
from vqa_explain.models.outputs import check_raw, in_graph, kind_of_outputs
from vqa_explain.models.own_text import Split
from vqa_explain.models.sharing import holds_network
from vqa_explain.models.sources import Source, TextSource, source_of
from vqa_explain.models.unwrapping import home_of, placed, unwrapped

Call = Callable[..., Any]
# Why methods that differentiate refuse an example whose words reach the answer by another way too.
READS_NUMBERS = (
    "for this example, its network uses the token numbers besides the one word embedding, as a "
    "mask or a count of words does, so the gradients of the embeddings miss a part of what a word "
    "does; methods that take words away see all of it"
)
# How far scores by embeddings may be from those by token numbers, in rounding steps (eps) of the
# largest score. Both run the same operations on the same numbers: transformers, recurrent and
# convolutional networks differed by 0 steps on a CPU, in float32, bfloat16 and float16. The rest is
# room for GPU kernels that add in any order. More would hide much: 100 steps of bfloat16 are 78% of
# a score.
SAME_STEPS = 8


@holds_network
class CustomModel:
    """Any network that gives answer scores (B, K) for pictures, texts and rows of tables, each
    given as one tensor.

    Its scores may be in a tuple or dict, and it may take one example at a time: see
    `models.calling`.

    Word embeddings become leaves by a hook on the network's embedding layer, so that gradients
    reach words, pixels and columns in one backward pass and the network's own code need not change.
    Which of the layer's calls is for which text is measured. Whether the network uses the token
    numbers in another way too, such as a mask of padding or a second embedding, is measured with
    every example. Gradients would miss that part, so methods that need them refuse such an example.
    Other examples are not affected.

    Args:
        module: the network. It is called with one tensor for each input, in order.
        inputs: name → `Image`, `Text` or `Table`: any number of each, in the order in which the
            network takes them.
        image, text: the short form of one picture, one question or both: `image` is the transform
            of an `Image` named "image", and `text` the vocabulary of a `Text` named "question".
        labels: the K answers, in the order of the network's scores: see `models.labels`.
        outputs: what the scores are: "softmax", logits of answers that exclude each other (the
            default of several); "sigmoid", of each answer by itself; or "real", numbers without
            probabilities.
        embedding, absent, words: of the short form: see `Text`.
        call: calls the network where `module(*tensors)` will not do, for example
            `lambda module, pixels, tokens: module(pixels, tokens, lengths)`.
        name: for lists.
        device: by default the fastest there is.
        check: whether to try at once what explanations rely on: see `models.checking`.

    Raises:
        InvalidInput: inputs are given in two ways or in none, there is not just one embedding and
            no path, labels cannot be used, or there is one and `outputs` does not say what it is.
    """

    family = "custom"
    capabilities: frozenset[str] = frozenset({"gradients", "pixels"})

    __repr__ = described

    def __init__(
        self,
        module: nn.Module,
        *,
        labels: Any,
        inputs: Mapping[str, Spec] | None = None,
        image: Any = None,
        text: Mapping[str, int] | Callable[[str], Sequence[int]] | Any = None,
        embedding: str | None = None,
        call: Call | None = None,
        absent: int | None = None,
        name: str | None = None,
        device: str | torch.device | None = None,
        outputs: str | None = None,
        words: Split | None = None,
        check: bool = True,
    ) -> None:
        self.labels: tuple[str, ...] = read_labels(labels)
        of_text = {"words": words, "absent": absent, "embedding": embedding}
        specs = _short_form(image, text, of_text) if inputs is None else read_specs(inputs)
        if inputs is not None:
            _refuse_short_form({"image": image, "text": text, **of_text})
        module = unwrapped(module)
        self.name = name or type(module).__name__
        self.device = home_of(module, choose_device(device))
        self.module = placed(module, self.device, self.name)
        self._sources = self._sources_of(specs)
        self._texts = [one for one in self._sources if isinstance(one, TextSource)]
        self.features: tuple[Feature, ...] = tuple(one.feature for one in self._sources)
        check_arguments(module, tuple(NOUNS[one.kind] for one in self.features), self.name, call)
        # What results depend on besides the network: a resumed run compares it.
        of_inputs = {one.feature.name: one.given for one in self._sources}
        self.given = {"inputs": of_inputs, "call": call}
        self._call = call or (lambda network, *tensors: network(*tensors))
        self.kind = kind_of_outputs(
            outputs, getattr(module, "config", None), len(self.labels), self.name
        )
        self._checked = False
        self._network = NetworkCall(self.module, self._raw, self.name)
        self._embeddings = Embeddings([one.layer for one in self._texts], self.name)
        if not any(one.kind == ImageFeature.kind for one in self.features):
            self.capabilities = self.capabilities - {"pixels"}
        if quantized_layer(self.module) is not None:
            self.capabilities = without_gradients(self.capabilities)
        self.unchecked = False  # whether the self-check waits for the first example
        if check:
            read_by = inputs if inputs is not None else image
            checked(self, text if read_by is None else read_by)
        else:
            warn_unchecked(self.name)

    def _sources_of(self, specs: Mapping[str, Spec]) -> tuple[Source, ...]:
        found = []
        for name, spec in specs.items():
            layer = None
            if isinstance(spec, Text):
                layer = find_embedding(self.module, spec.embedding, self.name)
            found.append(source_of(name, spec, self.name, layer))
        return tuple(found)

    @property
    def at_once(self) -> int | None:
        """How many examples the network takes in one call, exactly; `None` for any number."""
        return self._network.at_once

    def encode(self, example: Example) -> Encoded:
        values = matched(example, self.features, self.name)
        contents = self._read(values)
        if not self._checked:
            number_type = self._network.number_type
            self._network.measure(len(self.labels), *self._tensors(contents))
            if self._network.number_type != number_type:
                contents = self._read(values)
        encoded = Encoded(example, read_inputs(self.features, *contents), self.labels)
        if not self._checked:
            self._check(encoded)
            self._checked = True
        # Nothing of this is kept: what one example is told must not depend on those before it.
        if not all(self._embedding_says_all(encoded, number) for number in range(len(self._texts))):
            # Its scores depend on these numbers, so it is never put in a batch with another
            # question.
            refusals = {"gradients": READS_NUMBERS}
            encoded = replace(encoded, state=READS_NUMBERS, refusals=refusals)
        if self.unchecked:
            check_first(self, example)
        return encoded

    def _read(self, values: Mapping[str, Any]) -> list[Any]:
        """What the features know of each input's value."""
        number_type = self._network.number_type
        return [
            one.read(values[one.feature.name], self.device, number_type) for one in self._sources
        ]

    def _tensors(self, contents: Sequence[Any]) -> list[Tensor]:
        """(1, …) what the network is called with for each input."""
        return [one.tensor(content) for one, content in zip(self._sources, contents, strict=True)]

    def _given(self, encoded: Encoded) -> list[Tensor]:
        """The same of an example."""
        return self._tensors([one.content for one in encoded.inputs])

    @torch.no_grad()
    def _embedding_says_all(self, encoded: Encoded, number: int) -> bool:
        """Whether changed words of a text give the same scores by their embeddings alone as by
        their token numbers.

        Tried with all words absent, with every second one absent, and with the words moved by one
        place. Special tokens stay, since a network may find the end of the question by them.
        """
        source = self._texts[number]
        text = encoded[source.feature.name].content
        nobody = source.nobody(text)
        even = torch.arange(text.ids.shape[1], device=self.device) % 2 == 0
        own = [place for place, token in enumerate(text.tokens) if token.word >= 0]
        moved = text.ids.clone()
        moved[:, own] = moved[:, own].roll(1, dims=1)
        rows = (nobody, torch.where(even, nobody, text.ids), moved)
        return all(self._same_by_embedding(encoded, number, row) for row in rows)

    def _same_by_embedding(self, encoded: Encoded, number: int, ids: Tensor) -> bool:
        """Whether token numbers (1, T) of a text give the same scores as their embeddings beside
        the text's own.

        They are tried one row at a time, since more may not fit into the memory.

        Raises:
            NonFiniteScore: by the embeddings alone the network answers NaN or infinity.
        """
        source = self._texts[number]
        changed = list(self._given(encoded))
        changed[self._sources.index(source)] = ids
        try:
            plain = self._network(*changed)
        except FAILURES as error:  # such as a length of 0, which embeddings do not have
            if lacks_memory(error):
                raise
            return False
        embedded = [one.leaf(encoded[one.feature.name].content) for one in self._texts]
        embedded[number] = source.embedded(ids)
        found = self._network(*self._given(encoded), *embedded)
        if bool(torch.isfinite(plain).all()):
            check_finite(found, "the model's answer to other words")
        largest = float(plain.abs().nan_to_num(0, 0, 0).max())
        near = SAME_STEPS * torch.finfo(plain.dtype).eps * largest
        return torch.allclose(found, plain, rtol=0, atol=near, equal_nan=True)

    def _check(self, encoded: Encoded) -> None:
        """The network's answer has one score per label,
        and its words pass through the embedding.
        """
        given = self._given(encoded)
        # Any real number will do, to see the last step of the network.
        real = next((i for i, one in enumerate(given) if one.is_floating_point()), None)

        def once(tensor: Tensor) -> Tensor:
            return self._network(*(tensor if i == real else one for i, one in enumerate(given)))

        with parameters_frozen(self.module):
            scores = self.plain_scores(encoded) if real is None else in_graph(once, given[real])
        if scores.ndim != 2 or len(scores) != 1:
            raise InvalidInput(
                f"model {self.name!r} gives {tuple(scores.shape)}, not scores (B, K); give call= "
                "that returns them"
            )
        if scores.shape[1] != len(self.labels):
            raise InvalidInput(
                f"model {self.name!r} has {scores.shape[1]} scores and {len(self.labels)} labels "
                "were given"
            )
        texts = [self._sources.index(one) for one in self._texts]
        self._embeddings.measure(self._network, given, texts, self.at_once or 1)
        if real is None:  # the graph begins at the embeddings, which are known now
            with parameters_frozen(self.module):
                scores = self._by_words(encoded)
        check_raw(scores, self.kind, self.name)
        leaves = self.leaves(encoded)

        def differentiable(*values: Tensor) -> Tensor:
            return self.scores(encoded, dict(zip(leaves, values, strict=True)))

        if not has_gradients(self.module, differentiable, list(leaves.values())):
            self.capabilities = without_gradients(self.capabilities)

    def _by_words(self, encoded: Encoded) -> Tensor:
        """The scores of an example without real numbers,
        in the graph of its embeddings if there is one.
        """
        given = self._given(encoded)
        first, *others = (one.leaf(encoded[one.feature.name].content) for one in self._texts)
        result: Tensor = in_graph(lambda words: self._network(*given, words, *others), first)
        return result

    def _raw(self, *given: Tensor) -> Any:
        """What the network gives, with word embeddings (B, T,
        D) of each text in place of its own if they are given.
        """
        count = len(self._sources)
        tensors, embedded = given[:count], given[count:]
        with self._embeddings.replaced(embedded) if embedded else nullcontext():
            return self._call(self.module, *tensors)

    def plain_scores(self, encoded: Encoded) -> Tensor:
        return self._network(*self._given(encoded))

    @property
    def says_pieces(self) -> bool:
        """Whether a function of the user's says the pieces of a text."""
        return any(one.says_pieces for one in self._texts)

    @property
    def known_inputs(self) -> dict[str, Any]:
        """Input name → a value that it can surely read, where not any will do."""
        known = {one.feature.name: one.known for one in self._sources}
        return {name: value for name, value in known.items() if value is not None}

    def leaves(self, encoded: Encoded) -> Leaves:
        return {
            one.feature.name: one.leaf(encoded[one.feature.name].content) for one in self._sources
        }

    def baselines(self, encoded: Encoded, fills: Mapping[str, str], seed: int) -> Leaves:
        return {
            one.name: source.baseline(one.content, fills[one.name], seed)
            for one, source in zip(encoded.inputs, self._sources, strict=True)
        }

    def scores(self, encoded: Encoded, leaves: Leaves) -> Tensor:
        # cuDNN's recurrent layers have no backward pass in evaluation.
        plain = any(isinstance(part, nn.RNNBase) for part in self.module.modules())
        fast = torch.backends.cudnn.flags(enabled=False) if plain else nullcontext()
        tensors = [self._tensor_of(encoded, one, leaves[one.feature.name]) for one in self._sources]
        embedded = [leaves[one.feature.name] for one in self._texts]
        with parameters_frozen(self.module), fast:
            return self._network(*tensors, *embedded)

    def _tensor_of(self, encoded: Encoded, source: Source, leaf: Tensor) -> Tensor:
        """(B, …) what the network is called with for a leaf (B, …).

        Of word embeddings that is the text's own token numbers, or those of absent words where they
        matter and the embeddings say so.
        """
        if not isinstance(source, TextSource):
            return leaf
        text = encoded[source.feature.name].content
        ids: Tensor = text.ids.expand(len(leaf), -1)
        if encoded.state is None:  # the numbers do not matter
            return ids
        nobody = source.nobody(text)
        own, blank = source.embedded(text.ids), source.embedded(nobody)
        gone = (leaf == blank).all(dim=-1) & ~(leaf == own).all(dim=-1)
        return torch.where(gone, nobody, ids)

    def positions(self, encoded: Encoded, length: int, layer: str | None = None) -> Positions:
        if layer is None:
            raise Unsupported(
                f"model {self.name!r} does not say which of {length} states are words and which "
                "are patches"
            )
        return sequence_positions(self, encoded, length, layer)

    def default_layer(self, encoded: Encoded) -> str:
        return last_map(self, encoded)

    @torch.no_grad()
    def coalition_scores(
        self,
        encoded: Encoded,
        present: Mapping[str, Present],
        fills: Mapping[str, str],
        seed: int,
    ) -> Tensor:
        tensors = [
            source.present(one.content, present[one.name].elements, fills[one.name], seed)
            for one, source in zip(encoded.inputs, self._sources, strict=True)
        ]
        return self._network(*tensors)


def _short_form(image: Any, text: Any, of_text: Mapping[str, Any]) -> dict[str, Spec]:
    """The inputs of a network over one picture, one question or both.

    Raises:
        InvalidInput: there is neither.
    """
    found: dict[str, Spec] = {}
    if image is not None:
        found["image"] = Image(image)
    if text is not None:
        found["question"] = Text(text, **of_text)
    if not found:
        raise InvalidInput(
            "nothing says what the network takes; give inputs= by name, or image= and text="
        )
    return found


def _refuse_short_form(given: Mapping[str, Any]) -> None:
    """Refuses arguments of the short form beside `inputs`."""
    named = next((name for name, value in given.items() if value is not None), None)
    if named is not None:
        raise InvalidInput(
            f"inputs= says what the network takes, so {named}= has no place beside it; give it to "
            "vx.Image or vx.Text"
        )
