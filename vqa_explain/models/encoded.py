"""One example as a model reads it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from vqa_explain.errors import InvalidInput
from vqa_explain.examples import Example
from vqa_explain.features.base import Feature, Input
from vqa_explain.features.geometry import Geometry
from vqa_explain.features.image import Picture
from vqa_explain.features.text import Text, Token
from vqa_explain.features.words import Word
from vqa_explain.models.candidates import Candidates


@dataclass(frozen=True, eq=False)
class Encoded:
    """One example, read once for one model.

    Attributes:
        example: what was encoded.
        inputs: what was read: one for each picture, text or table, in order.
        labels: the K answers that the model scores for this example, in order.
        state: what else the adapter needs of the example.
        refusals: capability → why the model lacks it for this example, where that was measured.
        candidates: the answers with their tokens, of a model whose answers are any texts.
    """

    example: Example
    inputs: tuple[Input, ...]
    labels: tuple[str, ...] = ()
    state: Any = None
    refusals: Mapping[str, str] = field(default_factory=dict)
    candidates: Candidates | None = None

    def __getitem__(self, name: str) -> Input:
        """The input of that name."""
        return next(one for one in self.inputs if one.name == name)

    @property
    def features(self) -> tuple[Feature, ...]:
        """The kinds of its inputs, with their names."""
        return tuple(one.feature for one in self.inputs)

    # For the many models that take one picture, one question or both.

    @property
    def image(self) -> Picture:
        """The one picture."""
        found: Picture = self._only(Picture).content
        return found

    @property
    def pictures(self) -> tuple[Input, ...]:
        """The inputs that are pictures and are not fixed."""
        return tuple(
            one for one in self.inputs if isinstance(one.content, Picture) and not one.fixed
        )

    @property
    def image_name(self) -> str:
        """The name of the one picture."""
        return self._only(Picture).name

    @property
    def picture(self) -> np.ndarray:
        """(H, W, 3) uint8, the one picture as it was given."""
        return self.image.original

    @property
    def pixels(self) -> Tensor:
        """(1, C, H', W') what the model sees of the one picture."""
        return self.image.pixels

    @property
    def geometry(self) -> Geometry:
        """Where the frame lies in the one picture."""
        return self.image.geometry

    @property
    def grid(self) -> tuple[int, int]:
        """(rows, columns) of the model's own division of the one picture's frame."""
        return self.image.grid

    @property
    def _text(self) -> Text | None:
        found = [one for one in self.inputs if isinstance(one.content, Text)]
        return self._only(Text).content if found else None

    @property
    def ids(self) -> Tensor:
        """(1, T) token numbers of the one text; T = 0 where there is none."""
        return torch.zeros(1, 0, dtype=torch.long) if self._text is None else self._text.ids

    @property
    def tokens(self) -> tuple[Token, ...]:
        """The tokens of the one text; () where there is none."""
        return () if self._text is None else self._text.tokens

    @property
    def words(self) -> tuple[Word, ...]:
        """The words of the one text; () where there is none."""
        return () if self._text is None else self._text.words

    def _only(self, content: type) -> Input:
        found = [one for one in self.inputs if isinstance(one.content, content)]
        if len(found) != 1:
            names = ", ".join(one.name for one in self.inputs)
            raise InvalidInput(
                f"the example has {len(found)} inputs that are a {content.__name__.lower()}, not "
                f"one; its inputs are {names}. Choose a method that takes several, such as shapley"
            )
        return found[0]

    def replaced(self, name: str, content: Any) -> "Encoded":
        """The same with other content of one input."""
        inputs = [replace(one, content=content) if one.name == name else one for one in self.inputs]
        return replace(self, inputs=tuple(inputs))

    def with_frames(self, frames: Mapping[str, Tensor]) -> "Encoded":
        """The same with other frames (1, C, H', W') of some pictures, by input name."""
        changed = self
        for name, pixels in frames.items():
            content = replace(self[name].content, pixels=pixels)
            changed = changed.replaced(name, content)
        return changed


def read_inputs(features: Sequence[Feature], *contents: Any) -> tuple[Input, ...]:
    """The inputs of a model that takes these features, in their order."""
    return tuple(
        Input(feature, content) for feature, content in zip(features, contents, strict=True)
    )


def candidates_of(encoded: Encoded) -> Candidates:
    """The candidates of an example that has them (see `OpenModel.with_answers`)."""
    assert encoded.candidates is not None, "with_answers comes first"
    return encoded.candidates


class Following(Protocol):
    """What says which tokens stand before the answers: candidates, or what is kept of them."""

    @property
    def history(self) -> tuple[int, ...]: ...
    @property
    def thinking(self) -> str: ...


def behind(encoded: Encoded, like: Following) -> Encoded:
    """The example with its candidates behind the tokens that others stand behind."""
    found = replace(candidates_of(encoded), history=like.history, thinking=like.thinking)
    return replace(encoded, candidates=found)


def with_few(encoded: Encoded, which: Sequence[int]) -> Encoded:
    """The example with some of its candidates alone, by their numbers."""
    return replace(
        encoded,
        labels=tuple(encoded.labels[number] for number in which),
        candidates=candidates_of(encoded).some(which),
    )
