"""The attention that a network computes inside, and where its sequences hold words and patches."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from torch import Tensor

from vqa_explain.models.encoded import Encoded


@dataclass(frozen=True)
class Positions:
    """Positions in a layer's sequence (B, N, D).

    Attributes:
        of: input name → the position of each of its tokens (T,), or of each cell of the grid in
            raster order.
        grid: (rows, columns) of pictures' cells; `None` for the inputs' own.
    """

    of: Mapping[str, np.ndarray]
    grid: tuple[int, int] | None = None


@dataclass(frozen=True)
class Attention:
    """The attention of a single-stream encoder for one example, in the graph of its answer.

    Attributes:
        scores: (1, K) answer logits.
        maps: each layer's probabilities (1, heads, N, N), from row to column.
        readout: the positions from whose states the answer is read, equally.
        written: each layer's probabilities (1, heads, A, N + A) from the A tokens of the answer
            that are written already and stand behind the N positions; () where nothing is. Then
            `readout` is the last of them.
        layers: the numbers of the network's layers that the maps are of, and `depth`, how many it
            has; `None` for all.
        prompt: how many of the maps' positions are not the answer's; `None` for all.
    """

    scores: Tensor
    maps: tuple[Tensor, ...]
    readout: tuple[int, ...]
    written: tuple[Tensor, ...] = ()
    layers: tuple[int, ...] | None = None
    depth: int = 0
    prompt: int | None = None

    @property
    def every_map(self) -> tuple[Tensor, ...]:
        """Those of the positions, then those of the answer's tokens."""
        return (*self.maps, *self.written)

    @property
    def length(self) -> int:
        """The positions of the prompt, which come first."""
        return self.maps[0].shape[-1] if self.prompt is None else self.prompt


@dataclass(frozen=True)
class SelfLayer:
    """A layer in which a stream attends to itself, with probabilities (1, heads, N, N)."""

    stream: str
    map: Tensor

    @property
    def of(self) -> dict[tuple[str, str], Tensor]:
        """Its map, as layers across streams have theirs."""
        return {(self.stream, self.stream): self.map}


@dataclass(frozen=True)
class CrossLayer:
    """A layer in which streams attend to each other at once: `maps[s, q]` (1, heads, S,
    Q) from s to q.
    """

    maps: dict[tuple[str, str], Tensor]

    @property
    def of(self) -> dict[tuple[str, str], Tensor]:
        """Its maps."""
        return self.maps


@dataclass(frozen=True)
class Streams:
    """The attention of a network of two streams for one example, in the graph of its answer.

    Each stream is of one input; or they are those of an encoder, which holds all inputs, and of a
    decoder, which attends to it.

    Attributes:
        scores: (1, K).
        sizes: stream → its length. Streams of inputs have their names; a picture's is the grid in
            raster order.
        layers: in the order in which they act.
        readout: the stream and position from whose state the answer is read.
        whole: the stream of all inputs, whose tokens are where `Model.positions` says; `None` where
            each stream is one input.
    """

    scores: Tensor
    sizes: dict[str, int]
    layers: tuple[SelfLayer | CrossLayer, ...]
    readout: tuple[str, int]
    whole: str | None = None

    @property
    def every_map(self) -> tuple[Tensor, ...]:
        """The probabilities of all layers, in their order."""
        return tuple(one for layer in self.layers for one in layer.of.values())


class Streaming(Protocol):
    """A model with the capability "flow" and without "attention"."""

    def streams(self, encoded: Encoded) -> Streams:
        """One forward pass whose attention can be seen and differentiated through."""
        ...


@runtime_checkable
class StreamingSteps(Protocol):
    """A model with the capability "flow" that writes its answer token by token; see `Stepwise`."""

    def answer_steps(self, encoded: Encoded, columns: Sequence[int]) -> tuple[tuple[int, ...], ...]:
        """See `Stepwise`."""
        ...

    def streams(self, encoded: Encoded, before: tuple[int, ...] = ()) -> Streams:
        """One forward pass up to where the token behind `before` is chosen."""
        ...


class Attentive(Protocol):
    """A model with the capability "attention"."""

    def attention(self, encoded: Encoded) -> Attention:
        """One forward pass whose attention can be seen and differentiated through."""
        ...


@runtime_checkable
class Stepwise(Protocol):
    """A model with the capability "attention" that writes its answer token by token.

    Column k of `Attention.scores` is what the token at this place adds to the score of answer k; 0
    for answers that begin otherwise.
    """

    def answer_steps(self, encoded: Encoded, columns: Sequence[int]) -> tuple[tuple[int, ...], ...]:
        """The tokens that stand before each scored token of these answers;
        those that begin alike share theirs.
        """
        ...

    def prompt_length(self, encoded: Encoded) -> int:
        """How many positions come before the answer in the sequence."""
        ...

    def attention(self, encoded: Encoded, before: tuple[int, ...] = ()) -> Attention:
        """One forward pass up to where the token behind `before` is chosen."""
        ...
