"""Models of two towers, such as CLIP: how well a text fits a picture, and classification by texts.

They are served by what they do. The network's own forward scores pictures and texts; the text
enters through the embedding layer that is seen to read it, the picture through the processor.

An absent word becomes the mask token, or is not attended to (fill "pad"). Padding that the network
reads, as SigLIP does, stays. In a text without special tokens, as in TIPSv2, nothing would be left
to attend to: an absent word is a padding token there, which is attended to.
"""

from collections.abc import Mapping
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from vqa_explain._precision import in_float64
from vqa_explain.errors import InvalidInput, Unsupported
from vqa_explain.examples import Example, read_image
from vqa_explain.features.base import Feature, Present, distinct
from vqa_explain.features.image import ImageFeature, baseline, fill_in
from vqa_explain.features.text import Text
from vqa_explain.models.attending import Positions
from vqa_explain.models.base import Leaves, described
from vqa_explain.models.calling import quantized_layer, without_gradients
from vqa_explain.models.checking import ROUNDING
from vqa_explain.models.encoded import Encoded, read_inputs
from vqa_explain.models.labels import read_labels
from vqa_explain.models.maps import last_map, sequence_positions
from vqa_explain.models.network import parameters_frozen
from vqa_explain.models.outputs import kind_of_outputs
from vqa_explain.models.sharing import holds_network, network_held
from vqa_explain.models.towers.network import KeptTexts, TowerNetwork, repeated
from vqa_explain.models.towers.pictures import PIXELS, PictureRows, Seen, trial_picture
from vqa_explain.models.towers.texts import (
    MASK,
    TRIAL,
    Read,
    Rows,
    embeddings_asked,
    longest_text,
    measure_layout,
    read_labels_of,
    read_text,
    too_long,
    word_embedding,
)
from vqa_explain.models.unwrapping import placed
from vqa_explain.models.wording import all_absent, stand_in, text_feature, words_replaced
from vqa_explain.target import FIT

FITS = ("fits",)
HIDDEN = "hidden words are not read"
# Types whose gradients are not those of their scores: GroupViT gives each patch to one group, and
# its gradient is that of a softmax in place of this choice (straight-through).
SOFTENED = ("groupvit",)


@holds_network
class TowerModel:
    """Adapter of networks that score how well a text fits a picture.

    Without labels, the question is the text, and the one answer that it fits the picture. With
    labels, it is a classifier of pictures whose classes are these texts.

    Args:
        module: the network; its forward takes what the processor gives.
        processor: of pictures and texts.
        name: the model's.
        device: where it runs.
        labels: the texts to choose among, as they are given: "a photo of a cat".
        outputs: of labels, whether they exclude each other, "softmax", or each is judged by itself,
            "sigmoid", as SigLIP was trained to; see `models.outputs`.

    Raises:
        InvalidInput: fewer than two labels, or one that is no text or longer than the network
            takes.
        Unsupported: the network does not score pictures and texts, fails one of the checks, or
            has labels and reads each text together with the picture.
    """

    family = "clip"
    capabilities: frozenset[str] = frozenset({"gradients", "pixels"})

    __repr__ = described

    def __init__(
        self,
        module: Any,
        processor: Any,
        name: str,
        device: torch.device,
        labels: Any = None,
        outputs: str | None = None,
    ) -> None:
        self.name, self.device = name, device
        self.processor = processor
        self._pictures = PictureRows(processor, module, name, device)
        texts = None if labels is None else _texts(labels)
        self.module = placed(module, device, name)
        self._network = TowerNetwork(self.module, name)
        self._kept: KeptTexts | None = None
        self.labels: tuple[str, ...] = FITS if texts is None else texts
        self.kind = FIT
        if module.config.model_type in SOFTENED or quantized_layer(self.module) is not None:
            self.capabilities = without_gradients(self.capabilities)
        self.features: tuple[Feature, ...] = (ImageFeature(), text_feature(processor.tokenizer))
        with network_held(self.module), torch.no_grad():
            self._measure(None if texts is None else list(texts), outputs)

    def _measure(self, texts: list[str] | None, outputs: str | None) -> None:
        """Finds out how the processor and the network treat a text and a picture."""
        tokenizer, picture = self.processor.tokenizer, trial_picture()
        both = {"text": [TRIAL], "images": [Image.fromarray(picture)]}
        given = dict(self.processor(**both, return_tensors="pt"))
        alone = dict(tokenizer([TRIAL], return_tensors="pt"))
        self._layout = measure_layout(self.processor, given, alone, self.module, self.name)
        read = read_text(tokenizer, TRIAL, self._layout, None, self.name)
        seen = self._pictures.read(picture)
        rows, shown = self._rows(read.ids, read.mask), seen.rows(seen.content.pixels)
        self._network.measure(rows, shown)
        with embeddings_asked(self.module) as asked:
            self._network.pairs(rows, shown)
        path = word_embedding(asked, read.ids.to(self.device), self.name)
        self._words = self.module.get_submodule(path)
        self._limit = longest_text(self.module, path, asked)
        # A text of which nothing is attended to has no score, so words stay where nothing else is.
        self._hides = any(token.word < 0 for token in read.tokens[: int(read.mask.sum())])
        if self._hides:
            self._check_hiding(read, shown)
        if texts is not None:
            self._check_choice()
            self.features = (ImageFeature(),)
            self.kind = kind_of_outputs(outputs, None, len(texts), self.name)
            self._kept = KeptTexts(self._network, self.module, path, self._label_rows(texts), shown)

    def _rows(self, ids: Tensor, mask: Tensor | None) -> Rows:
        """What the network is given for texts; where it is called without a mask, the mask of
        padding is left out too.
        """
        heard = mask.to(self.device) if mask is not None and self._layout.masked else None
        return self._layout.rows(ids.to(self.device), heard)

    def _check_hiding(self, read: Read, shown: Rows) -> None:
        """A word that is not attended to must not matter.

        Raises:
            Unsupported: it does.
        """
        hidden = torch.tensor([token.word != 0 for token in read.tokens])[None]
        rows = self._layout.rows(
            read.ids.to(self.device), self._heard(hidden.to(self.device), read.mask)
        )
        own = self._words(read.ids.to(self.device))
        other = torch.where(hidden.to(self.device)[..., None], own, -own)
        scores = []
        for words in (own, other):
            with words_replaced(self._words, words):
                scores.append(in_float64(self._network.pairs(rows, shown)))
        gap = float((scores[0] - scores[1]).abs().max())
        allowed = ROUNDING.get(self.module.dtype, 1e-8) * max(1.0, float(scores[0].abs().max()))
        if not gap <= allowed:
            raise Unsupported(
                f"model {self.name!r} fails the check {HIDDEN!r}: another token in place of a "
                f"masked one changes the score by {gap:.3g}, so absent words have no clear "
                "meaning; wrap the network in vqa_explain.CustomModel"
            )

    def _check_choice(self) -> None:
        """Refuses labels of a network that reads a text together with the picture."""
        if not self._network.crosses:
            raise Unsupported(
                f"model {self.name!r} judges one text at a time and does not choose among labels; "
                "leave labels= out and give each text as the question"
            )

    def _label_rows(self, texts: list[str]) -> Rows:
        ids, mask = read_labels_of(self.processor.tokenizer, texts, self._layout)
        if self._limit is not None and ids.shape[1] > self._limit:
            raise too_long(self.name, ids.shape[1], self._limit)
        return self._rows(ids, mask)

    def encode(self, example: Example) -> Encoded:
        seen = self._pictures.read(read_image(example.image))
        if self._kept is not None:
            self._kept.follow_weights()
            inputs = read_inputs(self.features, seen.content)
            return Encoded(example, inputs, self.labels, (seen, None))
        tokenizer, asked = self.processor.tokenizer, example.question
        read = read_text(tokenizer, asked, self._layout, self._limit, self.name)
        text = Text(str(asked), read.ids.to(self.device), read.tokens, read.words)
        inputs = read_inputs(self.features, seen.content, text)
        return Encoded(example, inputs, self.labels, (seen, read.mask))

    def plain_scores(self, encoded: Encoded) -> Tensor:
        texts = [str(encoded.example.question)] if self._kept is None else list(self.labels)
        settings = self._layout.settings or ({"padding": True} if len(texts) > 1 else {})
        given = {"text": texts, "images": [Image.fromarray(encoded.picture)]}
        inputs = dict(self.processor(**given, return_tensors="pt", **settings))
        if not self._layout.masked:
            inputs.pop(MASK, None)
        for name, value in inputs.items():
            kind = self.module.dtype if value.is_floating_point() else value.dtype
            inputs[name] = value.to(self.device, kind)
        return self._network.read(self.module(**inputs))

    def missed_change(self, encoded: Encoded, other: Encoded) -> float:
        """The share of the change between two pictures that the second's frame misses."""
        (seen, _), (changed, _) = _state(encoded), _state(other)
        ours = seen.rows(changed.content.pixels)[PIXELS]
        before, theirs = (one.rows(one.content.pixels)[PIXELS] for one in (seen, changed))
        missed, moved = in_float64((ours - theirs).abs()), in_float64((theirs - before).abs())
        return float(missed.sum() / moved.sum().clamp_min(1e-300))

    def leaves(self, encoded: Encoded) -> Leaves:
        leaves = {"image": encoded.pixels.clone()}
        if self._kept is None:
            leaves["question"] = self._words(encoded.ids).detach()
        return leaves

    def baselines(self, encoded: Encoded, fills: Mapping[str, str], seed: int) -> Leaves:
        image = baseline(encoded.pixels, encoded.geometry, fills["image"], seed)
        if self._kept is not None:
            return {"image": image}
        absent = stand_in(self.processor.tokenizer, fills["question"])
        ids = all_absent(encoded.ids, encoded.tokens, absent)
        return {"image": image, "question": self._words(ids).detach()}

    def scores(self, encoded: Encoded, leaves: Leaves) -> Tensor:
        seen, mask = _state(encoded)
        with parameters_frozen(self.module):
            shown = seen.rows(leaves["image"])
            if self._kept is not None:
                return self._kept(shown)
            words = leaves["question"]
            texts = repeated(self._rows(encoded.ids, mask), len(words))
            with words_replaced(self._words, words):
                return self._network.pairs(texts, shown)[:, None]

    def _heard(self, present: Tensor, mask: Tensor) -> Tensor:
        """(N, T) which tokens are attended to, where some words are absent.

        A network that is called without a mask reads its padding, which then stays.
        """
        if not self._layout.masked:
            return present.long()
        return present.long() * mask.to(present.device)

    @torch.no_grad()
    def coalition_scores(
        self,
        encoded: Encoded,
        present: Mapping[str, Present],
        fills: Mapping[str, str],
        seed: int,
    ) -> Tensor:
        seen, mask = _state(encoded)
        pictures, which = distinct(present["image"])  # each through the vision tower once
        frames = fill_in(encoded.pixels, pictures.elements, fills["image"], seed)
        if self._kept is not None:
            return self._kept(seen.rows(frames))[which]
        assert mask is not None
        texts, spoken = present["question"].elements.unique(dim=0, return_inverse=True)
        ids, heard = encoded.ids.expand(len(texts), -1), mask.expand(len(texts), -1)
        spelled, rows, fill = ids, self._rows(ids, heard), fills["question"]
        if fill == "mask" or not self._hides:
            spelled = torch.where(texts, ids, stand_in(self.processor.tokenizer, fill))
        elif not bool(texts.all()):
            rows = self._layout.rows(ids, self._heard(texts, mask))
        words = self._words(spelled)
        if self._network.crosses:
            with words_replaced(self._words, words):
                return self._network.table(rows, seen.rows(frames))[which, spoken][:, None]
        rows = {name: value[spoken] for name, value in rows.items()}
        with words_replaced(self._words, words[spoken]):
            return self._network.pairs(rows, seen.rows(frames[which]))[:, None]

    def positions(self, encoded: Encoded, length: int, layer: str | None = None) -> Positions:
        path = self.default_layer(encoded) if layer is None else layer
        return sequence_positions(self, encoded, length, path)

    def default_layer(self, encoded: Encoded) -> str:
        return last_map(self, encoded)


def _texts(labels: Any) -> tuple[str, ...]:
    """The texts to choose among.

    Raises:
        InvalidInput: fewer than two texts, or one that is no text.
    """
    texts = () if isinstance(labels, str) or not len(labels) else read_labels(labels)
    if len(texts) < 2 or not all(text.strip() for text in texts):
        raise InvalidInput(
            "labels must be at least two texts to choose among, such as ['a photo of a cat', 'a "
            "dog']"
        )
    return texts


def _state(encoded: Encoded) -> tuple[Seen, Tensor | None]:
    """The picture as the network sees it, and which tokens of the text (1, T) are no padding."""
    state: tuple[Seen, Tensor | None] = encoded.state
    return state
