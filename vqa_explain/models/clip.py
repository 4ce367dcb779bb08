"""CLIP and SigLIP: how well a text fits a picture, and classification by texts."""

from collections.abc import Mapping
from typing import Any, cast

import torch
from PIL import Image
from torch import Tensor, nn

from vqa_explain.errors import InvalidInput
from vqa_explain.examples import Example, read_image
from vqa_explain.features.base import Feature, Present, distinct
from vqa_explain.features.image import ImageFeature, Picture, baseline, fill_in
from vqa_explain.features.text import Text
from vqa_explain.models.attending import Positions
from vqa_explain.models.base import Leaves, described
from vqa_explain.models.classifier import ClassifierModel
from vqa_explain.models.encoded import Encoded, read_inputs
from vqa_explain.models.labels import read_labels
from vqa_explain.models.network import parameters_frozen
from vqa_explain.models.sharing import holds_network, network_held
from vqa_explain.models.transforms import picture_reader, read_patches
from vqa_explain.models.unwrapping import placed
from vqa_explain.models.weights import contents, places
from vqa_explain.models.wording import (
    all_absent,
    read_question,
    stand_in,
    text_feature,
    words_replaced,
)
from vqa_explain.target import FIT

FITS = ("fits",)


def _pooled(output: Any) -> Tensor:
    """Unit vectors (B, D) of a tower's output."""
    features = output if isinstance(output, Tensor) else output.pooler_output
    result: Tensor = features / features.norm(dim=-1, keepdim=True)
    return result


def _scored(module: Any, similarity: Tensor) -> Tensor:
    """Logits of cosines: scaled, and shifted where the network has a bias (SigLIP)."""
    bias = getattr(module, "logit_bias", None)
    logits = similarity * module.logit_scale.exp()
    result: Tensor = logits if bias is None else logits + bias
    return result


def _padding(module: Any) -> dict[str, Any]:
    """SigLIP reads its answer from the last of a fixed number of tokens,
    so texts are padded to it.
    """
    fixed = "siglip" in module.config.model_type
    longest = module.config.text_config.max_position_embeddings
    return {"padding": "max_length", "max_length": longest} if fixed else {}


@holds_network
class ClipModel:
    """Adapter of `CLIPModel` and `SiglipModel`: the question is a text,
    the one answer that it fits the picture.
    """

    family = "clip"
    kind = FIT
    labels: tuple[str, ...] = FITS
    capabilities = frozenset({"gradients", "pixels"})

    __repr__ = described

    def __init__(self, module: Any, processor: Any, name: str, device: torch.device) -> None:
        self.name, self.device = name, device
        self.module = placed(module, device, name)
        self.processor = processor
        self._pictures = picture_reader(processor.image_processor, name)
        self._words: nn.Module = module.text_model.get_input_embeddings()
        self.features: tuple[Feature, ...] = (ImageFeature(), text_feature(processor.tokenizer))

    def encode(self, example: Example) -> Encoded:
        tokenizer = self.processor.tokenizer
        limit = self.module.config.text_config.max_position_embeddings
        padding = _padding(self.module)
        ids, tokens, words = read_question(tokenizer, example.question, limit, self.name, **padding)
        picture = read_image(example.image)
        patch = self.module.config.vision_config.patch_size
        pixels, geometry, grid = read_patches(self._pictures, picture, patch)
        pixels = pixels.to(self.device, self.module.dtype)
        image = Picture(picture, pixels, geometry, grid)
        text = Text(str(example.question), ids.to(self.device), tokens, words)
        return Encoded(example, read_inputs(self.features, image, text), FITS)

    def plain_scores(self, encoded: Encoded) -> Tensor:
        picture, text = Image.fromarray(encoded.picture), encoded.example.question
        padding = _padding(self.module)
        inputs = self.processor(text=[text], images=[picture], return_tensors="pt", **padding)
        inputs = inputs.to(self.device)
        if padding:  # SigLIP's authors call it without a mask: it was trained to read its padding
            inputs.pop("attention_mask", None)
        inputs["pixel_values"] = inputs["pixel_values"].to(self.module.dtype)
        result: Tensor = self.module(**inputs).logits_per_image
        return result

    def leaves(self, encoded: Encoded) -> Leaves:
        return {"image": encoded.pixels.clone(), "question": self._words(encoded.ids).detach()}

    def baselines(self, encoded: Encoded, fills: Mapping[str, str], seed: int) -> Leaves:
        ids = all_absent(
            encoded.ids, encoded.tokens, stand_in(self.processor.tokenizer, fills["question"])
        )
        image = baseline(encoded.pixels, encoded.geometry, fills["image"], seed)
        return {"image": image, "question": self._words(ids).detach()}

    def scores(self, encoded: Encoded, leaves: Leaves) -> Tensor:
        with parameters_frozen(self.module):
            seen = _pooled(self.module.get_image_features(pixel_values=leaves["image"]))
            return self._fit(seen, self._read(encoded, leaves["question"], None))

    def _read(self, encoded: Encoded, words: Tensor, heard: Tensor | None) -> Tensor:
        """Text vectors (B, D) of word embeddings (B, T, D), of which those of `heard` (B,
        T) are attended to.
        """
        ids = encoded.ids.expand(len(words), -1)
        with words_replaced(self._words, words):
            return _pooled(self.module.get_text_features(input_ids=ids, attention_mask=heard))

    def _fit(self, seen: Tensor, read: Tensor) -> Tensor:
        """Scores (B, 1) from image and text vectors (B, D)."""
        return _scored(self.module, (seen * read).sum(dim=-1, keepdim=True))

    def positions(self, encoded: Encoded, length: int, layer: str | None = None) -> Positions:
        cells = encoded.grid[0] * encoded.grid[1]
        if length not in (cells, cells + 1):  # CLIP has a first token of its own, SigLIP has none
            raise InvalidInput(
                f"a layer of {length} states does not hold one per patch; choose one of the vision "
                "model"
            )
        where = torch.arange(length - cells, length).numpy()
        return Positions({"image": where})

    def default_layer(self, encoded: Encoded) -> str:
        # CLIP reads its vector from the first token of the last layer, so patches matter only up to
        # the one before.
        path = next(
            n
            for n, _ in self.module.named_modules()
            if n.startswith("vision_model") and n.endswith("layers")
        )
        return f"{path}.{max(0, len(self.module.get_submodule(path)) - 2)}"

    @torch.no_grad()
    def coalition_scores(
        self,
        encoded: Encoded,
        present: Mapping[str, Present],
        fills: Mapping[str, str],
        seed: int,
    ) -> Tensor:
        # Each through the vision model once.
        pictures, which = distinct(present["image"])
        frames = fill_in(encoded.pixels, pictures.elements, fills["image"], seed)
        seen = _pooled(self.module.get_image_features(pixel_values=frames))[which]
        texts, spoken = present["question"].elements.unique(dim=0, return_inverse=True)
        ids, heard = encoded.ids.expand(len(texts), -1), None
        if fills["question"] == "mask":
            ids = torch.where(texts, ids, stand_in(self.processor.tokenizer, "mask"))
        elif not bool(texts.all()):
            heard = texts.long()
        return self._fit(seen, self._read(encoded, self._words(ids), heard)[spoken])


class _ByTexts(nn.Module):
    """Logits (B, K) of pictures for K texts, whose vectors are kept until the weights change.

    Changes that PyTorch counts are seen in every call, and those of a tensor's `.data` by
    `follow_weights`.

    Args:
        module: a CLIP or SigLIP.
        tokens: (K, T) token numbers of the texts.
        heard: (K, T) which of them are attended to; `None` for all.
    """

    def __init__(self, module: Any, tokens: Tensor, heard: Tensor | None) -> None:
        super().__init__()
        self.module = module
        self._tokens, self._heard = tokens, heard
        self._read()

    def follow_weights(self) -> None:
        """Computes the texts' vectors again if any number that they depend on has changed."""
        if self._contents != self._text_weights():
            self._read()

    @torch.no_grad()
    def _read(self) -> None:
        found = self.module.get_text_features(self._tokens, attention_mask=self._heard)
        self._texts = _pooled(found)
        self._places, self._contents = places(self.module), self._text_weights()

    def _text_weights(self) -> tuple[Any, ...]:
        # The vision model is mostly the larger part, and no text passes it.
        parts = [part for name, part in self.module.named_children() if name != "vision_model"]
        return tuple(contents(part) for part in parts)

    def forward(self, pixels: Tensor) -> Tensor:
        if self._places != places(self.module):
            self._read()
        seen = _pooled(self.module.get_image_features(pixel_values=pixels))
        return _scored(self.module, seen @ self._texts.T)


@holds_network
class ZeroShotModel(ClassifierModel):
    """A classifier whose classes are texts, which are read again when the weights of the network
    have changed.
    """

    def encode(self, example: Example) -> Encoded:
        cast(_ByTexts, self.module).follow_weights()
        return super().encode(example)


def zero_shot(
    module: Any,
    processor: Any,
    labels: Any,
    name: str,
    device: torch.device,
    outputs: str | None = None,
) -> ZeroShotModel:
    """A classifier of pictures whose classes are texts, as they are given: "a photo of a cat".

    The texts exclude each other, unless `outputs` is "sigmoid", which judges each by itself, as
    SigLIP was trained to.

    Raises:
        InvalidInput: fewer than two texts, or one that is no text.
    """
    texts = () if isinstance(labels, str) or not len(labels) else read_labels(labels)
    if len(texts) < 2 or not all(text.strip() for text in texts):
        raise InvalidInput(
            "labels must be at least two texts to choose among, such as ['a photo of a cat', 'a "
            "dog']"
        )
    module = placed(module, device, name)
    fixed = _padding(module)
    settings = fixed or {"padding": True}
    tokens = processor.tokenizer(list(texts), return_tensors="pt", truncation=True, **settings).to(
        device
    )
    heard = None if fixed else tokens["attention_mask"]
    with network_held(module):
        by_texts = _ByTexts(module, tokens["input_ids"], heard)
    return ZeroShotModel(by_texts, processor.image_processor, texts, name, device, outputs)
