"""Which value has which color in a figure: each kind of input on a scale of its own, or all on
one.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from vqa_explain import colors
from vqa_explain.errors import InvalidInput, is_one_of, unknown
from vqa_explain.explanation import Explanation
from vqa_explain.features.parts import Part, PicturePart
from vqa_explain.findings import ENOUGH, is_unsure

ScaleChoice = Literal["own", "shared"]
HATCH = "////"
HATCH_COLOR = "#9a9a9a"  # seen on light and on dark, and text above it can be read
HATCHED = f"; hatched: within {ENOUGH:.0f} standard errors of zero"
ROUNDING = 1e-5  # of the largest value


@dataclass(frozen=True)
class Scales:
    """The scales of an explanation's figure.

    Attributes:
        explanation: whose values are drawn.
        choice: "own": full color is the largest value of each kind; "shared": of all kinds.
        percentile: full color is at this percentile of the sizes, in place of the largest.
    """

    explanation: Explanation
    choice: ScaleChoice
    percentile: float | None

    def __post_init__(self) -> None:
        if not is_one_of(self.choice, get_args(ScaleChoice)):
            raise unknown("scale", str(self.choice), get_args(ScaleChoice))
        percentile = 100 if self.percentile is None else self.percentile
        if not isinstance(percentile, int | float) or not 0 < percentile <= 100:
            raise InvalidInput(f"percentile must be above 0 and at most 100, not {percentile!r}")
        if self.choice == "shared" and self._several and not self.explanation.one_scale:
            raise InvalidInput(
                f"values of {self.explanation.method!r} ({self.explanation.unit}) have no scale "
                "that all inputs share; leave scale= out"
            )

    @property
    def _several(self) -> bool:
        """Whether there are players of several kinds."""
        return len({part.kind for part in self.explanation.parts if part.players}) > 1

    @property
    def is_shared(self) -> bool:
        """Whether one legend holds for the players of several kinds."""
        return self.choice == "shared" and self.explanation.one_scale

    def of(self, kind: str) -> colors.Scale:
        """What the colors of the players of a kind stand for.

        Values that are rounding beside those of another kind fill no scale of their own.
        """
        parts = self.explanation.parts
        every = np.array([value for part in parts for value in part.values])
        own = np.array([value for part in parts if part.kind == kind for value in part.values])
        of_all = self.explanation.one_scale and self.explanation.values_unit.from_zero
        is_rounding = of_all and np.abs(own).max(initial=0) <= ROUNDING * np.abs(every).max(
            initial=0
        )
        return self._scale(every if self.is_shared or is_rounding else own)

    def of_map(self) -> colors.Scale:
        """What a map's colors stand for: regions, or single pixels."""
        if self.explanation.by_player:
            return self.of(PicturePart.kind)
        if self.percentile is None:
            return self.explanation.map_colors
        pictures = [p for p in self.explanation.parts if isinstance(p, PicturePart) and not p.fixed]
        return self._scale(np.concatenate([one.image[one.labels >= 0] for one in pictures]))

    def _scale(self, values: np.ndarray) -> colors.Scale:
        """From zero to the largest size; from the smallest value to the largest where zero means
        nothing.
        """
        palette, most = self.explanation.palette, self.percentile or 100
        if not values.size:
            return colors.Scale(0.0, 0.0, palette)
        if self.explanation.values_unit.from_zero:
            sizes = np.abs(values)
            # Zero where few have a value at all.
            return colors.Scale(0.0, float(np.percentile(sizes, most)) or sizes.max(), palette)
        low, high = np.percentile(values, [100 - most, most])
        return colors.Scale(float(low), float(high), palette)

    def legend(self, player: str) -> str:
        """What a color stands for, of players called so."""
        own = "; own scale" if self._is_apart else ""
        percentile = ""
        if self.percentile is not None:
            percentile = f"; full color from percentile {self.percentile:g}"
        return f"{self.explanation.legend(player)}{own}{percentile}"

    @property
    def _is_apart(self) -> bool:
        """Whether values that could be compared are not on one scale."""
        return self.explanation.one_scale and not self.is_shared

    def legend_of(self, part: Part) -> str:
        """What a color of a part's players stands for; of a picture, see `map_legend`."""
        drawn = [one for one in self.explanation.parts if self.is_shared or one.kind == part.kind]
        named = self.explanation.all_players if self.is_shared else part.player
        return f"{self.legend(named)}{self._hatched(drawn)}"

    def unsure(self, part: Part) -> list[int]:
        """The numbers of a part's players that cannot be told from zero: those that are hatched."""
        if part.fixed or not self.explanation.values_unit.from_zero:
            return []
        return [i for i, one in enumerate(part.players) if is_unsure(one.value, one.error)]

    def _hatched(self, drawn: Sequence[Part]) -> str:
        return HATCHED if any(self.unsure(part) for part in drawn) else ""

    @property
    def map_legend(self) -> str:
        """What a color of the map stands for, and of other players on its scale."""
        if not self.explanation.by_player:
            return self.legend("pixel")
        parts = self.explanation.parts
        drawn = [one for one in parts if self.is_shared or isinstance(one, PicturePart)]
        named = self.explanation.all_players if self.is_shared else PicturePart.player
        return f"{self.legend(named)}{self._hatched(drawn)}"

    @property
    def ends(self) -> tuple[str, str]:
        """What the two ends of a scale speak for, in words; "" where values do not speak for an
        answer.
        """
        e = self.explanation
        if not e.values_unit.adds_up or e.target_function:
            return "", ""
        target = e.answer_text(e.target, e.target_index)
        if e.contrast is None:
            return f"against {target}", f"for {target}"
        return f"for {e.answer_text(e.contrast, e.contrast_index)}", f"for {target}"
