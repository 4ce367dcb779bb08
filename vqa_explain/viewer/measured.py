"""What a table of examples says of each explanation in numbers."""

from vqa_explain.examples import Example
from vqa_explain.explanation import Explanation
from vqa_explain.features.parts import PicturePart
from vqa_explain.metrics.localization import mass

IN_TRUTH, ERROR = "in true region", "error"


def numbers_of(explanation: Explanation, example: Example | None) -> dict[str, float]:
    """Name of a column → its number: the inputs' shares (of two, the first's), the share of positive
    relevance in the true region, the error. What is not known, or has no meaning, is left out.
    """
    found: dict[str, float] = {}
    if len(explanation.share) > 1 and not explanation.values_unit.why_no_shares:
        told = list(explanation.share.items())
        told = told[:1] if len(told) == 2 else told  # the other one is what it leaves
        found |= {f"{name}'s share": share for name, share in told}
    truth = None if example is None else example.truth
    pictures = [part for part in explanation.parts if isinstance(part, PicturePart)]
    if truth is not None and truth.any() and len(pictures) == 1:
        values = pictures[0].image
        if values.shape == truth.shape and (values > 0).any():
            found[IN_TRUTH] = mass(values, truth)
    if explanation.error is not None:
        found[ERROR] = explanation.error
    return {name: float(number) for name, number in found.items()}
