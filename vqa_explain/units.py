"""What one value of an explanation is: the unit belongs to the method.

Only points add up to a change of the score. A method names its unit in its facts (`unit`), and
everything that shows a value asks here what may be said of it.
"""

from dataclasses import dataclass

POINTS = "points"
SQUARED_POINTS = "squared points"
MEAN_SCORE = "mean score"
GRADIENT_SIZE = "gradient size"
SQUARED_GRADIENT = "squared gradient size"
GRADIENT = "gradient"
ACTIVATION = "activation × gradient"
GUIDED_ACTIVATION = "activation map × gradient"
STATE = "activation"
INFLUENCE = "influence"
ATTENTION = "share of attention"
RELEVANCE = "relevance"
DRAWN = "drawn evenly"
NO_UNIT = "no unit"
SHARE_OF_SETS = "share of sets"


@dataclass(frozen=True)
class Unit:
    """A unit of values.

    Attributes:
        name: how methods and files call it.
        text: what one value is, in words; "{score}" stands for the explained score.
        adds_up: whether values are changes of the score, so that their sum foretells one.
        signed: whether a value may be below zero.
        shared: whether values of words and of regions can be compared with each other.
        from_zero: whether zero says that a part does nothing, so that colors begin there; else they
            run from the smallest value to the largest.
    """

    name: str
    text: str
    adds_up: bool = False
    signed: bool = True
    shared: bool = False
    from_zero: bool = True

    @property
    def two_sided(self) -> bool:
        """Whether values speak for and against, so that signs are written and colors run to both
        sides of zero.
        """
        return self.signed and self.from_zero

    @property
    def why_no_shares(self) -> str:
        """Why words and regions have no shares, in words for people; "" where they have."""
        if not self.shared:
            return "values of words and regions cannot be compared"
        return "mean scores are not parts of a whole" if self.name == MEAN_SCORE else ""


# The table "Units of values" of the methods' definitions. Gradients in pixels and in word
# embeddings are per different inputs, and class activation maps have no common scale, so words and
# regions are not compared there.
UNITS: dict[str, Unit] = {
    unit.name: unit
    for unit in (
        Unit(POINTS, "points of {score}", adds_up=True, shared=True),
        Unit(SQUARED_POINTS, "squared points of {score}", signed=False, shared=True),
        Unit(
            MEAN_SCORE,
            "mean score, {score}, under masks that show the part; not a change",
            shared=True,
            from_zero=False,
        ),
        Unit(GRADIENT_SIZE, "gradient size: score per unit of input", signed=False),
        Unit(SQUARED_GRADIENT, "squared gradient size: (score per unit of input)²", signed=False),
        Unit(GRADIENT, "gradient: score per unit of input"),
        Unit(ACTIVATION, "activation × gradient, without a common scale", signed=False),
        Unit(GUIDED_ACTIVATION, "activation map × gradient, without a common scale"),
        Unit(STATE, "activation, summed over a layer's units"),
        Unit(INFLUENCE, "influence: score per unit of activation, summed over a layer's units"),
        Unit(ATTENTION, "share of attention, without a unit", signed=False, shared=True),
        Unit(RELEVANCE, "relevance, without a unit", signed=False, shared=True),
        # The random reference: all its values are drawn on one scale, so its shares mean something.
        Unit(DRAWN, "drawn evenly from 0 … 1, without a unit", signed=False, shared=True),
        Unit(
            SHARE_OF_SETS,
            "share of the smallest sets that hold it, without a unit",
            signed=False,
            shared=True,
        ),
        Unit(NO_UNIT, "without a stated unit"),
    )
}


def unit_named(name: str) -> Unit:
    """The unit of that name; of a name that a method of the user's made up,
    nothing more is known.
    """
    return UNITS.get(name) or Unit(name, name)


def unit_of(method: object) -> str:
    """The name of a method's unit; `NO_UNIT` where it states none.

    A method whose unit depends on its parameters says it by `unit_of_values`.
    """
    depends = getattr(method, "unit_of_values", None)
    if depends is not None and not isinstance(method, type):
        return str(depends())
    return str(getattr(method, "unit", NO_UNIT))


def of_variance(unit: str) -> str:
    """The unit of a variance of values: that of their squares."""
    return {POINTS: SQUARED_POINTS, GRADIENT_SIZE: SQUARED_GRADIENT}.get(unit, f"squared {unit}")
