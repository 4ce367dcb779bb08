"""What a kind of input does: divide into players, be absent, collect values, and carry them to what
people see.

A *feature* is a kind of input, such as pictures, texts or tables. An *input* is one picture, text
or table of one example, and has a name. Methods, metrics and files know no kind: they ask the
feature. A further kind of input is one more subclass of `Feature` with its `Part`, and a function
to draw it.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, ClassVar, TypeVar

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from vqa_explain._precision import in_float64
from vqa_explain._shapes import PlayerValues
from vqa_explain.errors import InvalidInput, Unsupported, unknown
from vqa_explain.features.parts import Part
from vqa_explain.own_fills import Fill

# The owner of elements that are present whoever is absent, as padding and special tokens are.
ALWAYS = -1


def present_elements(
    players: Bool[Tensor, "N P"], owner: Int[np.ndarray, "*shape"]
) -> Bool[Tensor, " N *shape"]:
    """(N, …) bool, which elements are present.

    Args:
        players: (N, P) bool, the players present.
        owner: (…) the player that each element belongs to, or `ALWAYS`.
    """
    always = players.new_ones(len(players), 1)  # an input that is fixed has no players
    return torch.cat([players, always], dim=1)[:, torch.from_numpy(owner).to(players.device)]


@dataclass(frozen=True, eq=False)
class Division:
    """An input divided into players.

    Attributes:
        owner: (…) int, the player, from 0, that each element of the input belongs to, or `ALWAYS`.
        count: the number of players P.
    """

    owner: Int[np.ndarray, "*shape"]
    count: int

    @cached_property
    def area(self) -> Int[np.ndarray, " P"]:
        """(P,) the number of elements of each player."""
        return np.bincount(self.owner[self.owner >= 0], minlength=self.count)

    def sums(self, values: Float[np.ndarray, "*shape"]) -> Float[np.ndarray, " P"]:
        """(P,) the sum of values (…) over each player's elements."""
        owned = self.owner >= 0
        sums = np.bincount(self.owner[owned], values[owned], minlength=self.count)
        return sums.astype(np.float64, copy=False)  # of no elements they are whole numbers

    def spread(self, values: PlayerValues) -> Float[np.ndarray, "*shape"]:
        """(…) the values (P,) of players, each spread evenly over its elements;
        0 for those of no player.
        """
        spread: np.ndarray = np.append(values / np.maximum(self.area, 1), 0.0)[self.owner]
        return spread

    def present(self, players: Bool[Tensor, "N P"]) -> Bool[Tensor, " N *shape"]:
        """(N, …) bool, the elements present, of players (N, P) bool."""
        return present_elements(players, self.owner)


def undivided(shape: tuple[int, ...]) -> Division:
    """The division of an input that is fixed: no players, and every element always present."""
    return Division(np.full(shape, ALWAYS), 0)


@dataclass(frozen=True, eq=False)
class Present:
    """Which players of one input are present in each of N coalitions.

    Attributes:
        division: the input's P players.
        players: (N, P) bool.
    """

    division: Division
    players: Bool[Tensor, "N P"]

    def __len__(self) -> int:
        return len(self.players)

    @property
    def elements(self) -> Bool[Tensor, " N *shape"]:
        """(N, …) bool, the elements present."""
        return self.division.present(self.players)


def distinct(present: Present) -> tuple[Present, Tensor]:
    """The M coalitions that differ, and which of them each of the N is, (N,):
    each need be computed only once.
    """
    (found,), which = distinct_together([present])
    return found, which


def distinct_together(several: Sequence[Present]) -> tuple[list[Present], Tensor]:
    """The same of several inputs at once: M coalitions of each,
    which differ in at least one input.
    """
    players = torch.cat([one.players for one in several], dim=1)
    if players.shape[1]:
        rows, which = players.unique(dim=0, return_inverse=True)
    else:  # all of them are fixed
        rows = players[:1]
        which = torch.zeros(len(players), dtype=torch.long, device=players.device)
    parts = rows.split([one.players.shape[1] for one in several], dim=1)
    return [Present(one.division, own) for one, own in zip(several, parts, strict=True)], which


@dataclass(frozen=True, eq=False)
class Windows:
    """Sets of elements of an input that are replaced one after another, as occlusion does.

    Attributes:
        masks: (N, …) bool, the elements of each; or a sequence that computes them.
        gather: scores' drops (N,) → values (…), each drop spread over its elements and overlaps
            averaged.
    """

    masks: Sequence[np.ndarray]
    gather: Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Feature:
    """A kind of input, as one model takes it.

    Attributes:
        name: of the input: the key of its leaf, fill, share and part, such as "question".
        fills: what an absent player may become.
        default_fill: the fill used when none is asked for.
        kind: how this kind is called, such as in the names of fills.
        channels: the axis of a leaf (B, …) along which one element has several numbers; `None`
            where it has one.
        takes_functions: whether a fill may be a function of the user's own, see `refilled`.
    """

    name: str
    fills: tuple[str, ...]
    default_fill: str
    kind: ClassVar[str]
    channels: ClassVar[int | None] = None
    takes_functions: ClassVar[bool] = False

    def shape(self, content: Any) -> tuple[int, ...]:
        """The shape of an input's elements: what one value belongs to, such as pixels (H',
        W') or tokens (T,).
        """
        raise NotImplementedError

    def divide(self, content: Any, asked: Any) -> Division:
        """The players that a user asked for; `None` asks for the usual ones.

        Raises:
            InvalidInput: the input cannot be divided so.
        """
        raise NotImplementedError

    def whole_parts(self, content: Any, division: Division, fill: str) -> Division:
        """The division with players made of what a fill takes away as a whole, such as patches."""
        return division

    def shortens(self, fill: str) -> bool:
        """Whether absent players leave the network's sequence under this fill,
        so that it costs less.
        """
        return False

    def length(self, content: Any) -> int:
        """The positions that the input takes in the network's sequence."""
        return int(np.prod(self.shape(content)))

    def grid(self, content: Any) -> tuple[int, int] | None:
        """(rows, columns) of the model's own cells,
        of inputs that have rows and columns as pictures do.
        """
        return None

    def leaf_fills(self) -> tuple[str, ...]:
        """The fills that a leaf can show: all but those that take elements out of the network's
        sequence.
        """
        return tuple(fill for fill in self.fills if not self.shortens(fill))

    def collect(self, values: Tensor, largest: bool = False) -> np.ndarray:
        """(B, …) float64, one value per element, of values (B, …) of a leaf's numbers: their sum.

        Args:
            values: as the leaf.
            largest: whether a kind that has channels without an order of their own takes the
                largest of them.
        """
        found = in_float64(values)
        return (found if self.channels is None else found.sum(dim=self.channels)).numpy()

    def over_channels(self, mask: Tensor) -> Tensor:
        """A mask (B, …) of elements, so that it fits the leaf (B, …)."""
        return mask if self.channels is None else mask.unsqueeze(self.channels)

    def windows(
        self, content: Any, division: Division, *, side: int | None, stride: int | None, run: int
    ) -> Windows:
        """What occlusion replaces one after another: here every player alone.

        Args:
            content: the input.
            division: its players.
            side, stride: of windows over pictures, in pixels of the model's frame.
            run: how many words are replaced together.
        """
        masks = [division.owner == player for player in range(division.count)]
        return Windows(masks, division.spread)

    def soft_masks(
        self,
        content: Any,
        division: Division,
        rng: np.random.Generator,
        count: int,
        *,
        cells: int,
        probability: float,
    ) -> Tensor:
        """(B, …) random masks from 0 to 1: here each player there with `probability`."""
        players = torch.from_numpy(rng.random((count, division.count)) < probability)
        return division.present(players).float()

    def of_states(
        self, content: Any, states: np.ndarray, grid: tuple[int, int] | None
    ) -> np.ndarray:
        """(…) values per element of values (N,) of the states of a layer that stand for the
        input.
        """
        return states

    def of_map(self, content: Any, values: Tensor, mode: str) -> np.ndarray:
        """(…) values per element of a map (h, w) of a layer, enlarged by interpolation."""
        flat = in_float64(values.flatten()).numpy()
        found = np.zeros(self.shape(content))
        # A layer may hold states of the first elements only, as of the tokens before an answer.
        found.ravel()[: len(flat)] = flat
        return found

    def carry(self, content: Any, found: "Found") -> Part:
        """The part of the explanation that people see."""
        raise NotImplementedError

    def refilled(
        self,
        content: Any,
        division: Division,
        absent: Bool[np.ndarray, " P"],
        fill: Fill,
        seed: int,
    ) -> Any:
        """The input as an `Example` gives it, of which absent players are what a fill of the user's
        own gives.

        Raises:
            InvalidInput: the fill gave something else.
            Unsupported: this kind of input is not filled so.
        """
        raise Unsupported(
            f"a fill of your own is for pictures and texts, and {self.name!r} is a {self.kind}; "
            f"choose one of {', '.join(self.fills)}"
        )

    def notes(self, content: Any, found: "Found", part: Part) -> tuple[str, ...]:
        """What else a reader must know of an input's values, one sentence each."""
        return ()


F = TypeVar("F", bound=Feature)


@dataclass(frozen=True, eq=False)
class Found:
    """What a method found of one input.

    Attributes:
        name: the input's.
        elements: (…) a value per element.
        division: the input's players.
        values: (P,) their values.
        errors: (P,) their standard errors; `None` where there are none.
        fixed: whether the input has no players because it was left as it is.
    """

    name: str
    elements: np.ndarray
    division: Division
    values: np.ndarray
    errors: np.ndarray | None
    fixed: bool = False

    def error(self, player: int) -> float | None:
        """A player's standard error."""
        return None if self.errors is None else float(self.errors[player])


@dataclass(frozen=True, eq=False)
class Input:
    """One picture, text or table of one example, as one model reads it.

    Attributes:
        feature: its kind, which knows what to do with the content.
        content: what was read, such as a `Picture` or a `Text`.
        fixed: whether it is left as it is, and has no players.
        group: the inputs with this name belong together, as frames of a video do; "" for one alone.
    """

    feature: Feature
    content: Any
    fixed: bool = False
    group: str = ""

    @property
    def name(self) -> str:
        return self.feature.name

    @property
    def kind(self) -> str:
        return self.feature.kind

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of its elements."""
        return self.feature.shape(self.content)

    def divide(self, asked: Any) -> Division:
        """Its players; none where it is fixed."""
        return undivided(self.shape) if self.fixed else self.feature.divide(self.content, asked)


def named(feature: F, name: str) -> F:
    """The same kind of input under another name."""
    return replace(feature, name=name)


def inputs_called(inputs: Sequence[Input], called: object) -> tuple[str, ...]:
    """The names of the inputs that a text means; () for none.

    That is the input of that name; or else the inputs of that group, or else those of that kind.
    """
    if not isinstance(called, str):
        return ()
    exact = tuple(one.name for one in inputs if one.name == called)
    if exact:
        return exact
    grouped = tuple(one.name for one in inputs if one.group and one.group == called)
    return grouped or tuple(one.name for one in inputs if one.kind == called)


def by_input(asked: Any, inputs: Sequence[Input], what: str) -> dict[str, Any]:
    """Input name → what was asked of it, of a mapping by names, groups or kinds.

    Where two keys mean one input, its name counts first, then its group, then its kind.

    Raises:
        InvalidInput: it is no mapping, or a key means no input.
    """
    if not isinstance(asked, Mapping):
        raise InvalidInput(f"{what} must be a mapping by input, not {type(asked).__name__}")
    meant = {called: inputs_called(inputs, called) for called in asked}
    for called, names in meant.items():
        if not names:
            raise unknown(f"input in {what}", str(called), [one.name for one in inputs])
    found: dict[str, Any] = {}
    for one in inputs:
        keys = [key for key in (one.name, one.group, one.kind) if one.name in meant.get(key, ())]
        if keys:
            found[one.name] = asked[keys[0]]
    return found
