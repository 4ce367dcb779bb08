"""The picture that a viewer leaves in a notebook, for where no widget can be shown: GitHub,
nbconvert, Quarto, and a notebook that is opened again.
"""

import base64
import html
import logging
import sys
from io import BytesIO
from typing import Any

from vqa_explain.explanation import Explanation
from vqa_explain.showing import drawing

_LOG = logging.getLogger("vqa_explain")
DPI = 110
# Where the widget is shown, its style sheet is there too, and hides the picture.
STYLE = ".vx-still{display:none}"
_EMPTY = '<div class="vx-still"></div>'


def still(explanation: Explanation) -> str:
    """HTML with the explanation's figure in it: no script, no style, nothing from elsewhere."""
    sink = BytesIO()
    drawing("figure")(explanation).savefig(sink, format="png", dpi=DPI)
    data = base64.b64encode(sink.getvalue()).decode()
    said = html.escape(repr(explanation), quote=True)
    return (
        f'<div class="vx-still"><img src="data:image/png;base64,{data}" alt="{said}" '
        'style="max-width:100%"></div>'
    )


class Stills:
    """The places in a notebook where a viewer's picture stands, or will."""

    def __init__(self) -> None:
        self._places: list[Any] = []
        self._drawn = ""

    def add_place(self) -> None:
        """An output of the running cell, below the widget."""
        from IPython import display

        handle: Any = display.DisplayHandle  # it has no types
        place = handle()
        place.display({"text/html": self._drawn or _EMPTY, "text/plain": ""}, raw=True)
        self._places.append(place)

    def fill_once(self, explanation: Explanation) -> None:
        """Draws an explanation where none is drawn yet."""
        if not self._drawn:
            self.fill(explanation)

    def fill(self, explanation: Explanation | None) -> None:
        """Draws the first explanation into all places.

        Asked again, it sends the same picture: a notebook that runs without a person takes only
        what comes while a cell runs.
        """
        if not self._places:
            return
        try:
            if not self._drawn and explanation is not None:
                self._drawn = still(explanation)
            if self._drawn:
                for place in self._places:
                    place.update({"text/html": self._drawn, "text/plain": ""}, raw=True)
        except Exception:  # the viewer goes on without
            _LOG.exception("the viewer's picture could not be left in the notebook")


def in_notebook() -> bool:
    """Whether a notebook's kernel runs this, so that outputs can be changed later."""
    if "ipykernel" not in sys.modules:
        return False
    from IPython.core.getipython import get_ipython

    shell = get_ipython()
    return shell is not None and hasattr(shell, "kernel")
