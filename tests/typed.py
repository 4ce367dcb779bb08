"""What editors see of the package: mypy checks it with the package, and nothing calls it."""

from typing import assert_type

import vqa_explain as vx


def seen() -> None:
    """One answer gives one explanation, and a list a list; mistakes are marked where they stand.

    Each `ignore` is an error of its own where nothing is there to ignore.
    """
    model = vx.load("scenes")
    why = vx.explain(model, "a.png", "why?", method="shapley", target="yes", seed=3)
    assert_type(why, vx.Explanation)
    assert_type(vx.explain(model, "a.png", "why?", target=["yes", "no"]), list[vx.Explanation])
    vx.explain(model, "a.png", seed="3")  # type: ignore[call-overload]
    vx.explian  # type: ignore[attr-defined] # noqa: B018
