"""Text classifiers of transformers: one text, a closed set of answers, and no picture."""

import inspect
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from vqa_explain._memory import lacks_memory
from vqa_explain._precision import in_float64
from vqa_explain.errors import InvalidInput, Unsupported
from vqa_explain.examples import Example
from vqa_explain.features.base import Feature, Present
from vqa_explain.features.text import Text
from vqa_explain.models.attending import Attention, Positions
from vqa_explain.models.base import Leaves, described, own_labels
from vqa_explain.models.calling import FAILURES
from vqa_explain.models.checking import QUESTION, ROUNDING
from vqa_explain.models.embeddings import Embeddings
from vqa_explain.models.encoded import Encoded, read_inputs
from vqa_explain.models.labels import read_labels
from vqa_explain.models.matching import matched
from vqa_explain.models.network import parameters_frozen, token_limit
from vqa_explain.models.outputs import kind_of_outputs
from vqa_explain.models.sharing import holds_network, network_held
from vqa_explain.models.transformer import eager_attention
from vqa_explain.models.unwrapping import placed
from vqa_explain.models.wording import all_absent, read_question, stand_in, text_feature

# What such a network may take besides the text that this adapter does not give it.
OTHER_INPUTS = (
    "bbox",
    "image",
    "images",
    "pixel_values",
    "input_values",
    "input_features",
    "xpath_tags_seq",
    "entity_ids",
)
# What a tokenizer may give besides token numbers: none of it tells the words.
SILENT = ("attention_mask", "token_type_ids")


@holds_network
class TextClassifierModel:
    """Adapter of `transformers` networks for sequence classification; see `models.base.Model`.

    The leaf is the word embeddings, put in place of the network's own by a hook. An absent word is
    the embedding of the mask or pad token at the word's place: the other words stay where they are,
    and are attended to as before.

    Attention can be explained where the network is one stream of layers that attend and reads its
    answer from one token, as BERT and its kin do. That is measured when it is loaded.

    Args:
        tokenizer: its tokenizer.
        labels: the answers, in the order of its scores, if its configuration does not name them.

    Raises:
        InvalidInput: it takes more than a text, or its words do not go through one embedding.
    """

    family = "text classifier"
    capabilities: frozenset[str] = frozenset({"gradients", "attention", "flow"})

    __repr__ = described

    def __init__(
        self,
        module: Any,
        tokenizer: Any,
        labels: Any,
        name: str,
        device: torch.device,
        outputs: str | None = None,
    ) -> None:
        _check_takes_text(module, name)
        self.name, self.device = name, device
        self.module = placed(module, device, name)
        self.tokenizer = getattr(tokenizer, "tokenizer", tokenizer)
        self.labels: tuple[str, ...] = _labels(module, labels, name)
        self.kind = kind_of_outputs(outputs, module.config, len(self.labels), name)
        self.features: tuple[Feature, ...] = (text_feature(self.tokenizer),)
        self._input = self.features[0].name
        self._limit = token_limit(module, self.tokenizer)
        self._layer = _embedding_of(module, name)
        self._embeddings = Embeddings([self._layer], name)
        with network_held(self.module):
            self._measure()

    def _measure(self) -> None:
        """Tries on one question that words reach the network by its embedding alone,
        and whether it attends.
        """
        encoded = self.encode(Example(question=QUESTION))
        ids = encoded[self._input].content.ids
        try:
            self._embeddings.measure(lambda given: self._by_numbers(encoded, given), [ids], [0], 1)
            alone = all(self._same_by_embedding(encoded, other) for other in self._others(encoded))
        except Unsupported as error:
            raise InvalidInput(
                f"the words of model {self.name!r} do not reach it by one call of one embedding, "
                "as where a decoder reads them too; wrap the network in vqa_explain.CustomModel"
            ) from error
        except FAILURES as error:
            if lacks_memory(error):
                raise
            reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
            raise InvalidInput(
                f"model {self.name!r} fails on a plain text: {reason}; wrap the network in "
                "vqa_explain.CustomModel"
            ) from error
        if not alone:
            raise InvalidInput(
                f"model {self.name!r} uses the token numbers besides its word embedding, so absent "
                "words would still reach its answer; wrap the network in vqa_explain.CustomModel"
            )
        if not self._attends(encoded):
            self.capabilities = self.capabilities - {"attention", "flow"}

    def _others(self, encoded: Encoded) -> list[Tensor]:
        """Token numbers (1, T) of other words: all alike, and in another order.

        None is a pad token, by which networks find the end of a text.
        """
        text = encoded[self._input].content
        own = [place for place, token in enumerate(text.tokens) if token.word >= 0]
        alike, moved = text.ids.clone(), text.ids.clone()
        alike[:, own] = text.ids[:, own[:1]]
        moved[:, own] = text.ids[:, own].roll(1, dims=1)
        return [alike, moved]

    @torch.no_grad()
    def _same_by_embedding(self, encoded: Encoded, ids: Tensor) -> bool:
        """Whether other token numbers give the same scores as their embeddings beside the text's
        own numbers.
        """
        plain = in_float64(self._by_numbers(encoded, ids))
        found = in_float64(self.scores(encoded, {self._input: self._layer(ids)}))
        near = self._rounding(plain)
        return torch.allclose(found, plain, rtol=0, atol=near, equal_nan=True)

    def _rounding(self, scores: Tensor) -> float:
        kinds = {p.dtype for p in self.module.parameters()}
        allowed = max(ROUNDING.get(kind, 0.0) for kind in kinds)
        return allowed * max(1.0, float(scores.abs().nan_to_num(0, 0, 0).max()))

    def encode(self, example: Example) -> Encoded:
        source = matched(example, self.features, self.name)[self._input]
        ids, tokens, words = read_question(self.tokenizer, source, self._limit, self.name)
        # A special token that is spelled out is text like any other, as `read_question` has it.
        given = dict(self.tokenizer(source, return_tensors="pt", split_special_tokens=True))
        given.pop("input_ids")
        telling = next((name for name in given if name not in SILENT), None)
        if telling is not None:
            raise InvalidInput(
                f"the tokenizer of model {self.name!r} gives {telling!r} besides token numbers, "
                "which may tell the words too; wrap the network in vqa_explain.CustomModel"
            )
        state = {name: tensor.to(self.device) for name, tensor in given.items()}
        text = Text(source, ids.to(self.device), tokens, words)
        return Encoded(example, read_inputs(self.features, text), self.labels, state)

    def _call(self, encoded: Encoded, ids: Tensor, **settings: Any) -> Any:
        more = {name: one.expand(len(ids), -1) for name, one in encoded.state.items()}
        return self.module(input_ids=ids, **more, **settings)

    def _by_numbers(self, encoded: Encoded, ids: Tensor) -> Tensor:
        found: Tensor = self._call(encoded, ids).logits
        return found

    def plain_scores(self, encoded: Encoded) -> Tensor:
        given = self.tokenizer(encoded[self._input].content.source, return_tensors="pt")
        found: Tensor = self.module(**given.to(self.device)).logits
        return found

    def _nobody(self, encoded: Encoded, fill: str) -> Tensor:
        """(1, T) the token numbers with every word absent."""
        text = encoded[self._input].content
        return all_absent(text.ids, text.tokens, stand_in(self.tokenizer, fill))

    def leaves(self, encoded: Encoded) -> Leaves:
        return {self._input: self._layer(encoded[self._input].content.ids).detach()}

    def baselines(self, encoded: Encoded, fills: Mapping[str, str], seed: int) -> Leaves:
        return {self._input: self._layer(self._nobody(encoded, fills[self._input])).detach()}

    def scores(self, encoded: Encoded, leaves: Leaves) -> Tensor:
        words = leaves[self._input]
        ids = encoded[self._input].content.ids.expand(len(words), -1)
        with parameters_frozen(self.module), self._embeddings.replaced([words]):
            found: Tensor = self._call(encoded, ids).logits
        return found

    @torch.no_grad()
    def coalition_scores(
        self,
        encoded: Encoded,
        present: Mapping[str, Present],
        fills: Mapping[str, str],
        seed: int,
    ) -> Tensor:
        own = self.leaves(encoded)[self._input]
        absent = self.baselines(encoded, fills, seed)[self._input]
        said = present[self._input].elements[:, :, None]
        return self.scores(encoded, {self._input: torch.where(said, own, absent)})

    def positions(self, encoded: Encoded, length: int, layer: str | None = None) -> Positions:
        count = encoded[self._input].content.ids.shape[1]
        if length != count:
            raise Unsupported(
                f"model {self.name!r} has {length} states for {count} tokens, so none is known to "
                "be a token's; use a method over words, such as shapley"
            )
        return Positions({self._input: np.arange(count)})

    def default_layer(self, encoded: Encoded) -> str:
        raise Unsupported(
            f"model {self.name!r} sees no picture, so it has no layer of maps; use a method over "
            "words"
        )

    def attention(self, encoded: Encoded) -> Attention:
        found = self._attended(encoded)
        return Attention(found.logits, tuple(found.attentions), self._readout(found))

    def _attended(self, encoded: Encoded) -> Any:
        asked = {"output_attentions": True, "output_hidden_states": True}
        with eager_attention(self.module), parameters_frozen(self.module), torch.enable_grad():
            # The graph must begin somewhere, since the weights are frozen.
            words = self.leaves(encoded)[self._input].requires_grad_(True)
            with self._embeddings.replaced([words]):
                return self._call(encoded, encoded[self._input].content.ids, **asked)

    def _readout(self, found: Any) -> tuple[int, ...]:
        """The tokens whose last states the logits depend on."""
        last = found.hidden_states[-1]
        (slope,) = torch.autograd.grad(
            found.logits.sum(), last, retain_graph=True, allow_unused=True
        )
        if slope is None:
            return ()
        return tuple(np.flatnonzero(slope[0].abs().sum(dim=1).cpu().numpy()).tolist())

    def _attends(self, encoded: Encoded) -> bool:
        """Whether it is one stream of layers that attend, and reads its answer from one token.

        A convolution over tokens would carry words past the attention.
        """
        parts = self.module.modules()
        if any(isinstance(part, nn.Conv1d) and part.kernel_size != (1,) for part in parts):
            return False
        try:
            found = self._attended(encoded)
            maps, states = found.attentions, found.hidden_states
            count = encoded[self._input].content.ids.shape[1]
            if not maps or len(maps) != len(states) - 1:
                return False
            if any(one is None or one.shape[-2:] != (count, count) for one in maps):
                return False
            plain = self.scores(encoded, self.leaves(encoded)).detach()
            near = self._rounding(plain)
            same = torch.allclose(found.logits.detach(), plain, rtol=0, atol=near)
            shares = all(bool(((one.sum(dim=-1) - 1).abs() <= near).all()) for one in maps)
            return same and shares and len(self._readout(found)) == 1
        except FAILURES as error:
            if lacks_memory(error):
                raise
            return False


def _check_takes_text(module: nn.Module, name: str) -> None:
    """Refuses networks that take more than a text, or none."""
    arguments = inspect.signature(module.forward).parameters
    more = next((one for one in OTHER_INPUTS if one in arguments), None)
    if more is not None:
        raise InvalidInput(
            f"model {name!r} takes {more!r} besides the text, and no adapter gives it; wrap the "
            "network in vqa_explain.CustomModel"
        )
    if "input_ids" not in arguments:
        raise InvalidInput(
            f"model {name!r} takes no token numbers, so it classifies no text; wrap the network in "
            "vqa_explain.CustomModel"
        )


def _labels(module: Any, labels: Any, name: str) -> tuple[str, ...]:
    count = int(module.config.num_labels)
    named = own_labels(module) if labels is None else read_labels(labels)
    if len(named) != count:
        raise InvalidInput(f"model {name!r} has {count} classes and {len(named)} labels were given")
    return named


def _embedding_of(module: Any, name: str) -> nn.Module:
    try:
        found: nn.Module | None = module.get_input_embeddings()
    except (NotImplementedError, AttributeError):
        found = None
    if found is None:
        raise InvalidInput(
            f"model {name!r} does not say which layer embeds its words; wrap the network in "
            "vqa_explain.CustomModel"
        )
    return found
