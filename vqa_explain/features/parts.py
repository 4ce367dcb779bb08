"""Parts of an explanation: what people see of one input, and how it is kept in a file."""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol, Self

import numpy as np

from vqa_explain._fields import WrongField, check, read_dataclass
from vqa_explain.errors import InvalidInput
from vqa_explain.features.large import (
    ENCODED,
    FRAME,
    LARGE,
    FrameValues,
    check_map,
    decoded,
    encoded,
    is_picture,
    mean_of,
    middles_of,
)

Band = tuple[float, float]  # the lowest and highest that a value may be


class PlayerValue(Protocol):
    """The value of one player, its standard error or `None`, and what it is called."""

    @property
    def value(self) -> float: ...
    @property
    def error(self) -> float | None: ...
    @property
    def text(self) -> str: ...


def band_of(player: PlayerValue) -> Band | None:
    """A player's band over several fills; `None` where there is one fill, or its kind keeps
    none.
    """
    found: Band | None = getattr(player, "band", None)
    return found


@dataclass(frozen=True, eq=False, kw_only=True)
class Part:
    """What an explanation says of one input.

    A subclass is a dataclass. Its arrays go into files as they are, and its other fields as JSON,
    which `from_json` reads again.

    Attributes:
        name: the input's.
        fixed: whether the input was left as it is, so that it has no players.
        kind: the kind of input, which says what draws the part.
        player: what one of its players is called, such as "region".
    """

    name: str
    fixed: bool = False
    kind: ClassVar[str]
    player: ClassVar[str] = "part"

    @property
    def players(self) -> Sequence[PlayerValue]:
        """The values of its players, in their order."""
        raise NotImplementedError

    @property
    def values(self) -> list[float]:
        """(P,) the players' values."""
        return [player.value for player in self.players]

    @property
    def title(self) -> str:
        """What was given, in few words, for people; "" where it cannot be said in words."""
        return ""

    def telling(self, most: int) -> Sequence[PlayerValue]:
        """The players that are told first: of the largest values, at most so many."""
        return sorted(self.players, key=lambda player: -abs(player.value))[:most]

    def arrays(self) -> dict[str, np.ndarray]:
        """Its fields that are arrays."""
        given = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        return {name: value for name, value in given.items() if isinstance(value, np.ndarray)}

    def to_arrays(
        self, like: "Part | None" = None, by_frame: bool | None = None
    ) -> dict[str, np.ndarray]:
        """Its arrays as a file has them.

        Args:
            like: a part whose own arrays are left out, as the file has them already.
            by_frame: whether a map is kept as the model's frame, where that gives the same values;
                by default, that of a large picture is.
        """
        return {
            name: values
            for name, values in self.arrays().items()
            if like is None or values is not getattr(like, name, None)
        }

    def to_json(self) -> dict[str, Any]:
        """Its other fields, and its kind."""
        arrays = self.arrays()
        names = [f.name for f in dataclasses.fields(self) if f.name not in arrays]
        return {"kind": self.kind, **{name: getattr(self, name) for name in names}}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """The part of what `to_json` gave, read from a file, and of its arrays.

        Raises:
            WrongField: a field is missing, unknown, or of another type.
        """
        return read_dataclass(cls, data)

    def check(self) -> None:
        """Refuses what no explanation says: the file that it was read from may be anybody's.

        Raises:
            WrongField: a value is not finite, or an error below 0.
        """
        for name, values in self.arrays().items():
            if values.dtype.kind == "f":
                check(np.isfinite(values).all(), f"{name} has values that are not finite")
        for player in self.players:
            is_error = player.error is None or player.error >= 0
            check(np.isfinite(player.value) and is_error, f"{player.text!r} has no value or error")
            low, high = band_of(player) or (player.value, player.value)
            check(low <= player.value <= high, f"{player.text!r} lies outside its band")


PARTS: dict[str, type[Part]] = {}


def register_part(cls: type[Part]) -> type[Part]:
    """Makes a kind of part known, so that files with it can be read."""
    PARTS[cls.kind] = cls
    return cls


def read_part(data: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> Part:
    """The part that a file holds.

    Raises:
        InvalidInput: nothing here knows its kind.
        WrongField: a field cannot be what it says.
    """
    check(isinstance(data, Mapping), f"a part is no mapping but a {type(data).__name__}")
    given = dict(data)
    kind = given.pop("kind", None)
    check(isinstance(kind, str), "a part says no kind")
    if kind not in PARTS:
        raise InvalidInput(
            f"the explanation has a part of kind {kind!r}, which is not known here; import what "
            "defines it"
        )
    clash = next((name for name in arrays if name in given), None)
    check(clash is None, f"{clash} is given twice")
    try:
        part = PARTS[kind].from_json({**given, **arrays})
        part.check()
    except WrongField as error:
        raise WrongField(f"of the part of kind {kind!r}, {error}") from error
    return part


@dataclass(frozen=True)
class WordValue:
    """A word, its character span in the text, its value in the explanation's unit,
    its standard error, and over several fills its band: see `Explanation.bands`.
    """

    text: str
    start: int
    end: int
    value: float
    error: float | None
    band: Band | None = None


@dataclass(frozen=True)
class TokenValue:
    """A token, its value, and the number of the word (or phrase) that it belongs to:
    -1 for special tokens.
    """

    text: str
    word: int
    special: bool
    value: float


@dataclass(frozen=True)
class RegionValue:
    """A region: its bounding box (left, top, right, bottom) in pixels of the picture,
    its value, standard error, and band over several fills.
    """

    box: tuple[int, int, int, int]
    value: float
    error: float | None
    band: Band | None = None

    @property
    def text(self) -> str:
        return str(self.box)


@dataclass(frozen=True)
class ColumnValue:
    """A column of a table, or several that are one player, with what it holds,
    its value, its standard error, and its band over several fills.
    """

    column: str
    content: str
    value: float
    error: float | None
    band: Band | None = None

    @property
    def text(self) -> str:
        return f"{self.column} = {self.content}"


@register_part
@dataclass(frozen=True, eq=False, kw_only=True)
class PicturePart(Part):
    """A picture.

    Attributes:
        picture: (H, W, 3) uint8, the original picture.
        image: (H, W) float64, value per pixel of the original picture.
        labels: (H, W) int32, each pixel's region, -1 where the model saw nothing.
        regions: values of the regions.
        padding: the share of the absolute values of the frame that lies on padding, which shows
            nothing of the picture; it is in no region and in no pixel of `image`.
        frame: the values in the model's frame that `image` was made of, where they are kept: a
            file of a large picture has them in place of `image`.
    """

    picture: np.ndarray
    image: np.ndarray
    labels: np.ndarray
    regions: tuple[RegionValue, ...] = ()
    padding: float = 0.0
    frame: FrameValues | None = None
    kind: ClassVar[str] = "image"
    player: ClassVar[str] = "region"

    @property
    def players(self) -> tuple[RegionValue, ...]:
        return self.regions

    def smaller(self, longest: int) -> Self:
        """The same with its arrays at no more than so many pixels a side, for drawing: what draws
        takes up to 16 bytes for each pixel. Boxes stay in pixels of the whole picture.
        """
        height, width = self.picture.shape[:2]
        shrink = max(height, width) / longest
        if shrink <= 1:
            return self
        size = max(1, round(height / shrink)), max(1, round(width / shrink))
        middles = np.ix_(middles_of(height, size[0]), middles_of(width, size[1]))
        return dataclasses.replace(
            self,
            picture=mean_of(self.picture, size),
            image=mean_of(self.image.astype(np.float32), size).astype(np.float64),
            labels=self.labels[middles],
            frame=None,
        )

    def to_arrays(
        self, like: Part | None = None, by_frame: bool | None = None
    ) -> dict[str, np.ndarray]:
        """Its arrays; those of large pictures in a form that takes less room.

        `image` is left out only where the frame gives the same values, to the last bit.
        """
        found = super().to_arrays(like)
        is_large = self.picture.size >= LARGE
        if is_large and "picture" in found:
            found[ENCODED] = encoded(found.pop("picture"))
        framed = is_large if by_frame is None else by_frame
        kept_as_map = not framed or "image" not in found
        if not kept_as_map and self.frame is not None and self.frame.gives(self.image):
            del found["image"]
            found |= {FRAME + name: values for name, values in self.frame.arrays().items()}
        return found

    def to_json(self) -> dict[str, Any]:
        kept = ("name", "fixed", "padding", "regions")
        return {"kind": self.kind, **{name: getattr(self, name) for name in kept}}

    def check(self) -> None:
        super().check()
        height, width = self.picture.shape[:2]
        most = max(len(self.regions), 1)
        check(self.labels.min() >= -1 and self.labels.max() < most, "labels are of no region")
        check(0 <= self.padding <= 1, f"padding is {self.padding}, not a share")
        for region in self.regions:
            left, top, right, bottom = region.box
            is_inside = 0 <= left <= right <= width and 0 <= top <= bottom <= height
            check(is_inside, f"the box {region.box} is not inside the picture")

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        given = {name: data[name] for name in data if not name.startswith((ENCODED, FRAME))}
        if ENCODED in data:
            check("picture" not in data, "picture is given twice")
            given["picture"] = decoded(data[ENCODED])
        picture: Any = given.get("picture")
        check(is_picture(picture), "picture is not (H, W, 3) of bytes")
        check_map(given.get("labels"), picture, "i", "labels")
        framed = {n.removeprefix(FRAME): data[n] for n in data if n.startswith(FRAME)}
        if framed:
            check("image" not in data and "frame" not in data, "image is given twice")
            given["frame"] = FrameValues.of_arrays(framed, picture.shape[:2])
            given["image"] = given["frame"].carried()
        check_map(given.get("image"), picture, "f", "image")
        return read_dataclass(cls, given)


@register_part
@dataclass(frozen=True, eq=False, kw_only=True)
class TextPart(Part):
    """A text.

    Attributes:
        source: the whole text.
        words: values of its words, or of the phrases or tokens asked for.
        tokens: values of all tokens, special ones too.
    """

    source: str
    words: tuple[WordValue, ...] = ()
    tokens: tuple[TokenValue, ...] = ()
    kind: ClassVar[str] = "text"
    player: ClassVar[str] = "word"

    @property
    def players(self) -> tuple[WordValue, ...]:
        return self.words

    @property
    def title(self) -> str:
        return self.source

    def telling(self, most: int) -> tuple[WordValue, ...]:
        """All words, as they are read."""
        return self.words

    def check(self) -> None:
        super().check()
        for word in self.words:
            check(0 <= word.start <= word.end, f"the word {word.text!r} ends before it begins")
        for token in self.tokens:
            is_of_word = token.word < len(self.words) or self.fixed
            check(token.word >= -1 and is_of_word, f"the token {token.text!r} is of no word")


@register_part
@dataclass(frozen=True, eq=False, kw_only=True)
class TablePart(Part):
    """Columns of numbers and categories.

    Attributes:
        columns: values of the columns, or of the groups of columns asked for.
    """

    columns: tuple[ColumnValue, ...] = ()
    kind: ClassVar[str] = "table"
    player: ClassVar[str] = "column"

    @property
    def players(self) -> tuple[ColumnValue, ...]:
        return self.columns

    @property
    def title(self) -> str:
        return ", ".join(column.text for column in self.columns)


@dataclass(frozen=True, eq=False)
class JointValues:
    """What the players of two inputs bring only together, pair by pair.

    Attributes:
        first, second: the inputs' names.
        values: (A, B) float64, of each player of the first with each of the second.
        errors: (A, B) their standard errors; `None` from methods that state none.
    """

    first: str
    second: str
    values: np.ndarray
    errors: np.ndarray | None = None
