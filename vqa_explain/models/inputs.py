"""What a network of one's own takes, as its user says it: pictures, texts and rows of tables."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from vqa_explain.errors import InvalidInput
from vqa_explain.models.own_table import read_background, read_baseline, read_columns
from vqa_explain.models.own_text import Split, numbered_vocabulary


@dataclass(frozen=True, eq=False)
class Image:
    """A picture, which the network takes as pixels (B, C, H, W).

    Attributes:
        transform: how a picture becomes pixels: a torchvision transform, weights' preset, or
            transformers processor.

    Raises:
        InvalidInput: it cannot be called.
    """

    transform: Any

    def __post_init__(self) -> None:
        if not callable(self.transform):
            raise InvalidInput(
                "Image takes a transform that makes a picture into pixels, such as "
                f"torchvision.transforms.ToTensor(), not {str(self.transform)[:40]!r}"
            )


@dataclass(frozen=True, eq=False)
class Text:
    """A text, which the network takes as token numbers (B, T).

    Attributes:
        vocabulary: how a text becomes numbers: {word: number} for lower-case words, "<unk>" for
            others and "<pad>" for absent ones; a transformers tokenizer; or a function of the text
            that gives (piece, number) pairs, or numbers alone if `words` says the pieces.
        words: a function that splits a text into its pieces, such as `str.split` or `jieba.lcut`;
            by default Unicode's rules: see `features.words`.
        absent: the number that stands for an absent word (default: "<pad>", the tokenizer's mask or
            pad, or 0).
        embedding: path of the text's word embedding in the network (default: its one
            `nn.Embedding`). Several texts may share one, which the network then calls once for each
            text.

    Raises:
        InvalidInput: `vocabulary` is none of these.
    """

    vocabulary: Mapping[str, int] | Callable[[str], Any] | Any
    words: Split | None = None
    absent: int | None = None
    embedding: str | None = None

    def __post_init__(self) -> None:
        numbered_vocabulary(self.vocabulary)


@dataclass(frozen=True, eq=False)
class Table:
    """A row of a table, which the network takes as numbers (B, C), one for each column.

    A row is a mapping {column: value} or a pandas Series. Numbers, and True and False as 1 and 0,
    go in as they are; a category is its place in its column's list.

    An absent column takes a fill: its "baseline"; the "mean" of the background set (of a column
    with categories, the most frequent); or what one row of the background set holds ("background").
    That row is drawn once for each seed and shared by all absent columns and all coalitions, as the
    fill "noise" of pictures is: the same call gives the same bits. Explanations with several seeds
    show how much depends on the row. The first of these that is given is the fill unless asked
    otherwise.

    Attributes:
        columns: their names, in the network's order.
        baseline: what absent columns hold: one number for all, or {column: value}.
        background: a background set: a list of rows, or a pandas DataFrame, whose other columns are
            left out.
        categories: {column: its values, in the order of their numbers}.

    Raises:
        InvalidInput: a column is named twice, holds what it cannot, or nothing says what absent
            columns hold.
    """

    columns: Sequence[str]
    baseline: Any = None
    background: Any = None
    categories: Mapping[str, Sequence[Any]] | None = None

    def __post_init__(self) -> None:
        columns = read_columns(self.columns, self.categories)
        if self.baseline is None and self.background is None:
            raise InvalidInput(
                "nothing says what an absent column holds; give Table(…, baseline=) a number or "
                "{column: value}, or background= a set of rows"
            )
        if self.baseline is not None:
            read_baseline(self.baseline, columns)
        if isinstance(self.background, Iterator):  # read more than once
            object.__setattr__(self, "background", list(self.background))
        if self.background is not None:
            read_background(self.background, columns)


Spec = Image | Text | Table


def read_specs(inputs: Any) -> dict[str, Spec]:
    """The inputs that a user names, in the network's order.

    Raises:
        InvalidInput: they are no mapping of names to `Image`, `Text` and `Table`.
    """
    if not isinstance(inputs, Mapping) or not inputs:
        raise InvalidInput(
            'inputs= is a mapping by name, such as {"image": vx.Image(transform)}, not '
            f"{type(inputs).__name__}"
        )
    for name, spec in inputs.items():
        if not isinstance(name, str) or not name.strip():
            raise InvalidInput(f"an input is named by text, not by {name!r}; give its name")
        if not isinstance(spec, Image | Text | Table):
            raise InvalidInput(
                f"input {name!r} must be a vx.Image, vx.Text or vx.Table, not {type(spec).__name__}"
            )
    return dict(inputs)
