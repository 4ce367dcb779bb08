"""How each input of a network of one's own is read, and what it is with parts absent."""

from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from vqa_explain.examples import read_image
from vqa_explain.features.base import Feature
from vqa_explain.features.image import ImageFeature, Picture, baseline, fill_in
from vqa_explain.features.table import Row, TableFeature
from vqa_explain.features.text import Text as TextContent
from vqa_explain.features.text import TextFeature, called, check_question
from vqa_explain.models.inputs import Image, Spec, Table, Text
from vqa_explain.models.own_table import (
    BASELINE,
    DRAWN,
    MEAN,
    middle,
    read_background,
    read_baseline,
    read_columns,
)
from vqa_explain.models.own_text import numbered_vocabulary, read_own
from vqa_explain.models.transforms import picture_reader
from vqa_explain.models.wording import all_absent, read_question, stand_in

GRID = (7, 7)  # the regions of a network that has no division of its own


class Source(Protocol):
    """One input of a network.

    Attributes:
        feature: its kind and name.
        given: what results depend on besides the network: a resumed run compares it.
        known: a value that it can surely read, for trials; `None` where any will do.
    """

    @property
    def feature(self) -> Feature: ...
    @property
    def given(self) -> Any: ...
    @property
    def known(self) -> Any: ...

    def read(self, value: Any, device: torch.device, number_type: torch.dtype) -> Any:
        """What the feature knows of a value: a `Picture`, `Text` or `Row`."""
        ...

    def tensor(self, content: Any) -> Tensor:
        """(1, …) what the network is called with."""
        ...

    def leaf(self, content: Any) -> Tensor:
        """(1, …) floats that scores can be differentiated in."""
        ...

    def baseline(self, content: Any, fill: str, seed: int) -> Tensor:
        """The leaf with everything absent."""
        ...

    def present(self, content: Any, elements: Tensor, fill: str, seed: int) -> Tensor:
        """(N, …) what the network is called with where only some elements (N, …) are present."""
        ...


class PictureSource:
    """A picture, as pixels."""

    known = None

    def __init__(self, name: str, spec: Image, model: str) -> None:
        self.feature = ImageFeature(name)
        self.given = {"transform": spec.transform}
        self._reader = picture_reader(spec.transform, model)

    def read(self, value: Any, device: torch.device, number_type: torch.dtype) -> Picture:
        picture = read_image(value)
        pixels, geometry = self._reader.read(picture)
        grid = (min(GRID[0], geometry.frame[0]), min(GRID[1], geometry.frame[1]))
        return Picture(picture, pixels.to(device, number_type), geometry, grid)

    def tensor(self, content: Picture) -> Tensor:
        return content.pixels.clone()  # some networks work on it in place

    def leaf(self, content: Picture) -> Tensor:
        return content.pixels.clone()

    def baseline(self, content: Picture, fill: str, seed: int) -> Tensor:
        return baseline(content.pixels, content.geometry, fill, seed)

    def present(self, content: Picture, elements: Tensor, fill: str, seed: int) -> Tensor:
        return fill_in(content.pixels, elements, fill, seed)


class TextSource:
    """A text, as token numbers, which a layer of the network turns into a leaf of embeddings.

    Attributes:
        layer: that layer.
        says_pieces: whether a function of the user's divides the text.
    """

    def __init__(self, name: str, spec: Text, model: str, layer: nn.Module) -> None:
        self.feature = TextFeature(name, fills=("mask",), default_fill="mask")
        self.given = {
            "vocabulary": spec.vocabulary,
            "absent": spec.absent,
            "words": spec.words,
            "embedding": spec.embedding,
        }
        self.layer = layer
        self._model = model
        self._vocabulary, self._split = numbered_vocabulary(spec.vocabulary), spec.words
        self._absent = self._stand_in() if spec.absent is None else spec.absent

    def _stand_in(self) -> int:
        if isinstance(self._vocabulary, Mapping):
            result: int = self._vocabulary.get("<pad>", 0)
            return result
        is_tokenizer = hasattr(self._vocabulary, "mask_token_id")
        return stand_in(self._vocabulary, "mask") if is_tokenizer else 0

    @property
    def says_pieces(self) -> bool:
        reads = hasattr(self._vocabulary, "convert_ids_to_tokens")
        return not isinstance(self._vocabulary, Mapping) and not reads

    @property
    def known(self) -> str | None:
        """A text of words that the vocabulary knows; `None` where the usual one will do."""
        if not isinstance(self._vocabulary, Mapping) or "<unk>" in self._vocabulary:
            return None
        words = [w for w in self._vocabulary if isinstance(w, str)]
        known = [word for word in words if word.isalpha() and word == word.lower()]
        return " ".join(known[:5]) or None

    def read(self, value: Any, device: torch.device, number_type: torch.dtype) -> TextContent:
        check_question(value, called(self.feature.name))
        if hasattr(self._vocabulary, "convert_ids_to_tokens"):
            ids, tokens, words = read_question(self._vocabulary, value, None, self._model)
        else:
            ids, tokens, words = read_own(self._vocabulary, self._split, value)
        return TextContent(str(value), ids.to(device), tokens, words)

    def tensor(self, content: TextContent) -> Tensor:
        return content.ids

    def embedded(self, ids: Tensor) -> Tensor:
        """(B, T, D) the embeddings of token numbers (B, T)."""
        found: Tensor = self.layer(ids).detach()
        return found

    def leaf(self, content: TextContent) -> Tensor:
        return self.embedded(content.ids)

    def nobody(self, content: TextContent) -> Tensor:
        """(1, T) the token numbers with every word absent."""
        return all_absent(content.ids, content.tokens, self._absent)

    def baseline(self, content: TextContent, fill: str, seed: int) -> Tensor:
        return self.embedded(self.nobody(content))

    def present(self, content: TextContent, elements: Tensor, fill: str, seed: int) -> Tensor:
        return torch.where(elements, content.ids, self._absent)


class TableSource:
    """A row of a table, as numbers."""

    def __init__(self, name: str, spec: Table) -> None:
        self._columns = read_columns(spec.columns, spec.categories)
        self._absent: dict[str, np.ndarray] = {}
        self._background: np.ndarray | None = None
        if spec.baseline is not None:
            self._absent[BASELINE] = read_baseline(spec.baseline, self._columns)
        if spec.background is not None:
            self._background = read_background(spec.background, self._columns)
            self._absent[MEAN] = middle(self._background, self._columns)
        drawn = () if self._background is None else (DRAWN,)
        fills = (*self._absent, *drawn)
        self.feature = TableFeature(name, fills=fills, default_fill=fills[0])
        self.given = {
            "columns": self._columns.names,
            "categories": dict(self._columns.categories),
            "absent": self._absent,
            "background": self._background,
        }

    @property
    def known(self) -> dict[str, Any]:
        """A row of what absent columns hold."""
        numbers = next(iter(self._absent.values()))
        kinds = self._columns.categories
        return {
            column: kinds[column][int(number)] if column in kinds else float(number)
            for column, number in zip(self._columns.names, numbers, strict=True)
        }

    def read(self, value: Any, device: torch.device, number_type: torch.dtype) -> Row:
        what = f"input {self.feature.name!r}"
        numbers = self._columns.numbers(value, what)
        values = torch.from_numpy(numbers)[None].to(device, number_type)
        return Row(self._columns.names, self._columns.contents(value), values)

    def tensor(self, content: Row) -> Tensor:
        return content.values.clone()

    def leaf(self, content: Row) -> Tensor:
        return content.values.clone()

    def baseline(self, content: Row, fill: str, seed: int) -> Tensor:
        return torch.from_numpy(self._filled(fill, seed))[None].to(content.values)

    def _filled(self, fill: str, seed: int) -> np.ndarray:
        """(C,) what absent columns hold under a fill."""
        if fill != DRAWN or self._background is None:
            return self._absent[fill]
        row = np.random.default_rng(seed).integers(len(self._background))
        drawn: np.ndarray = self._background[row]
        return drawn

    def present(self, content: Row, elements: Tensor, fill: str, seed: int) -> Tensor:
        return torch.where(elements, content.values, self.baseline(content, fill, seed))


def source_of(name: str, spec: Spec, model: str, layer: nn.Module | None) -> Source:
    """The source of one input of model `model`; `layer` is the word embedding of a text."""
    if isinstance(spec, Image):
        return PictureSource(name, spec, model)
    if isinstance(spec, Table):
        return TableSource(name, spec)
    assert layer is not None, "a text has a word embedding"
    return TextSource(name, spec, model, layer)
