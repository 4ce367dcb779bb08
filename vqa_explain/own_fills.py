"""Fills of the user's own: functions that say what absent parts of pictures and texts become."""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from vqa_explain.errors import InvalidInput

if TYPE_CHECKING:  # the shell reads parameters without numpy, which takes time to import
    import numpy as np

DRAWN = "drawn_words"  # the name of a fill that is a list of words
_NAME = re.compile(r"[A-Za-z_][\w.-]*")


@dataclass(frozen=True)
class Draws:
    """Replacements of words drawn from a list.

    The word at a place gets the same replacement in every coalition in which it is absent.

    Attributes:
        words: what is drawn from, each as likely as the others.
    """

    words: tuple[str, ...]

    def __call__(self, words: list[str], absent: list[bool], seed: int) -> list[str]:
        import numpy as np

        chosen = np.random.default_rng(seed).integers(len(self.words), size=len(words))
        return [self.words[number] for number in chosen.tolist()]


class Fill(str):
    """What absent parts become, by a function of your own, such as an in-painter or a language
    model.

    It is given wherever the name of a fill is, to methods over coalitions, to `evidence` and to
    `evaluate`: `image_fill=vx.Fill(function)`, `text_fill=…`, or `fills={"image 2": …}`.

    For pictures, `function(picture, absent, seed)` gets a copy of the original picture, (H, W, 3)
    uint8, and a mask (H, W) bool of the pixels to replace, and gives a picture of that size (an
    array of bytes or a PIL image). Pixels that are present are taken from the original, whatever it
    gives there. For texts, `function(words, absent, seed)` gets the words (or phrases) in their
    order and a list of which are to be replaced, and gives as many texts; those at places that are
    present are not used, and "" leaves a word out, as long as one stays. What is between them
    stays. A list of texts in place of a function draws replacements from it, one for each place by `seed`.

    It is called once for each coalition that the model is asked about and in which something of
    that input is absent, in the order of the batches, and `seed` is that of the explanation in
    every call. The changed example is then read and scored as any other is, one at a time. With
    everything present it is not called.

    The object is a text, its name: files and plans keep that. A text of that name then means the
    fill of that name that was made last in this process.

    Args:
        function: the function, or a list of texts to draw words from.
        name: letters, digits, ".", "-" and "_"; by default the function's own name.

    Raises:
        InvalidInput: it is no function, or it has no name that can be kept.
    """

    function: Callable[[Any, Any, int], Any]

    def __new__(cls, function: Any, name: str | None = None) -> "Fill":
        if isinstance(function, Sequence) and not isinstance(function, str):
            function, usual = Draws(_texts(function)), DRAWN
        else:
            usual = getattr(function, "__name__", type(function).__name__)
        if not callable(function):
            raise InvalidInput(
                f"a fill is a function, or a list of texts to draw words from, not {function!r}"
            )
        called = usual if name is None else name
        if not isinstance(called, str) or not _NAME.fullmatch(called):
            raise InvalidInput(
                f"a fill needs a name of letters and digits, and {called!r} is none; give it one: "
                "vx.Fill(function, name='my_fill')"
            )
        made = super().__new__(cls, called)
        made.function = function
        remember(made)
        return made

    def __getnewargs__(self) -> tuple[Any, str]:  # type: ignore[override]
        kept = self.function
        return (list(kept.words) if isinstance(kept, Draws) else kept), str(self)

    def __eq__(self, other: object) -> bool:
        """Whether both are the same function: a name alone is not."""
        if not isinstance(other, Fill):
            return False
        return str.__eq__(self, other) and self.function == other.function

    def __ne__(self, other: object) -> bool:
        return not self == other

    __hash__ = str.__hash__

    def __call__(self, content: Any, absent: Any, seed: int) -> Any:
        """What the function gives.

        Raises:
            InvalidInput: it raised an error.
        """
        try:
            return self.function(content, absent, seed)
        except Exception as error:  # of any kind, since it is the user's own code
            raise InvalidInput(
                f"fill {str(self)!r} failed: {type(error).__name__}: {error}; mend the function"
            ) from error


_KNOWN: dict[str, Fill] = {}


def remember(fill: Fill) -> None:
    """Makes a fill the one that its name means."""
    _KNOWN[str(fill)] = fill


def known_fills() -> tuple[Fill, ...]:
    """All fills that were made, the last one of each name."""
    return tuple(_KNOWN.values())


def own_fill(fill: str) -> Fill | None:
    """The user's fill that a text means; `None` where there is none of that name."""
    return fill if isinstance(fill, Fill) else _KNOWN.get(fill)


def fills_among(values: Iterable[Any]) -> tuple[Fill, ...]:
    """The user's fills that parameters name, alone or by input."""
    named: list[Any] = []
    for value in values:
        named += value.values() if isinstance(value, Mapping) else [value]
    found = [own_fill(one) for one in named if isinstance(one, str)]
    return tuple(fill for fill in found if fill is not None)


def _texts(words: Sequence[Any]) -> tuple[str, ...]:
    if not words or not all(isinstance(word, str) for word in words):
        raise InvalidInput(f"a fill draws words from a list of at least one text, not {words!r}")
    return tuple(words)


def checked_picture(given: Any, size: tuple[int, int], fill: Fill) -> "np.ndarray":
    """(H, W, 3) uint8, the picture that a fill gave.

    Args:
        given: what it gave.
        size: (H, W) of the original.
        fill: the fill, for messages.

    Raises:
        InvalidInput: it is no picture of bytes, or of another size.
    """
    import numpy as np

    if hasattr(given, "convert"):  # a PIL image, of any mode
        given = given.convert("RGB")
    elif hasattr(given, "detach"):
        given = given.detach().cpu()
    try:
        found = np.asarray(given)
    except Exception as error:  # of any kind, since the object is the user's
        raise _no_picture(fill, type(given).__name__, size) from error
    if found.dtype.kind == "f" and np.isnan(found).any():
        raise _no_picture(fill, "values that are NaN", size)
    if found.dtype.kind not in "uif" or found.ndim == 0:
        raise _no_picture(fill, f"a {type(given).__name__}", size)
    if found.dtype != np.uint8:
        raise _no_picture(fill, f"values of type {found.dtype}", size)
    if found.shape != (*size, 3):
        raise _no_picture(fill, f"an array of shape {found.shape}", size)
    return found


def _no_picture(fill: Fill, gave: str, size: tuple[int, int]) -> InvalidInput:
    return InvalidInput(
        f"fill {str(fill)!r} gave {gave} for a picture; give bytes (uint8) of shape "
        f"({size[0]}, {size[1]}, 3), or a PIL image of that size"
    )


def checked_words(given: Any, count: int, fill: Fill) -> list[str]:
    """The texts that a fill gave for so many words.

    Raises:
        InvalidInput: they are no texts, or another number of them.
    """
    given = given.tolist() if hasattr(given, "tolist") else given
    is_list = isinstance(given, Sequence) and not isinstance(given, str)
    found = list(given) if is_list else []
    if not is_list or not all(isinstance(one, str) for one in found):
        raise InvalidInput(
            f"fill {str(fill)!r} gave {str(given)[:60]!r} for {count} words; give a list of "
            f"{count} texts"
        )
    if len(found) != count:
        raise InvalidInput(
            f"fill {str(fill)!r} gave {len(found)} texts for {count} words; give one for each, "
            "also for those that are present"
        )
    return [str(one) for one in found]
