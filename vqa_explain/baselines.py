"""Examples from which baselines are drawn."""

from collections.abc import Mapping, Sequence
from typing import Any

from vqa_explain.errors import InvalidInput


class Baselines(str):
    """Examples that methods take baselines from, such as `baselines=vx.Baselines(dataset)`.

    A list of examples, or the name of a data set such as "scenes:train", does as well, where all
    inputs are taken from them.

    The object is a text, its name, which files keep.

    Args:
        examples: the examples, or the name of a data set.
        inputs: the inputs that are taken from them, by name, group or kind, such as "image"; the
            others begin at their fills. By default all that the examples have.
        name: what it is called; by default the data set's name, or how many examples there are.

    Raises:
        InvalidInput: there are no examples, or they are no list.
    """

    examples: Sequence[Any] | None  # `None` for those of the data set of this name
    inputs: tuple[str, ...] | None

    def __new__(
        cls,
        examples: Sequence[Any] | str,
        inputs: str | Sequence[str] | None = None,
        name: str | None = None,
    ) -> "Baselines":
        if isinstance(examples, Baselines):
            raise InvalidInput("these examples are vx.Baselines already; give them as they are")
        is_name = isinstance(examples, str)
        is_list = hasattr(examples, "__getitem__") and hasattr(examples, "__len__")
        is_one = getattr(examples, "ndim", 1) == 0
        if not is_name and (not is_list or is_one or isinstance(examples, Mapping | bytes)):
            raise InvalidInput(
                "baselines are a list of examples or the name of a data set, not "
                f"{type(examples).__name__}"
            )
        if not len(examples):
            raise InvalidInput("the list of baselines is empty; give at least one example")
        if inputs is not None and not len(inputs):
            raise InvalidInput("no inputs are named in inputs=; name one, or leave it out")
        usual = str(examples) if is_name else f"{len(examples)} examples"
        made = super().__new__(cls, usual if name is None else name)
        made.examples = None if is_name else examples
        made.inputs = (
            (inputs,) if isinstance(inputs, str) else None if inputs is None else tuple(inputs)
        )
        return made

    def __eq__(self, other: object) -> bool:
        """Whether both are the same examples: a name alone is not."""
        if not isinstance(other, Baselines):
            return False
        same = self.examples is other.examples and self.inputs == other.inputs
        return same and str.__eq__(self, other)

    def __ne__(self, other: object) -> bool:
        return not self == other

    __hash__ = str.__hash__


def as_baselines(given: Any) -> Baselines:
    """What a parameter takes as baselines, as an object of its own.

    Raises:
        InvalidInput: it is no list of examples, nor the name of a data set.
    """
    return given if isinstance(given, Baselines) else Baselines(given)
