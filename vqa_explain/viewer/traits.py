"""The traits that views read and set."""

from contextlib import AbstractContextManager
from typing import Any

import anywidget
import traitlets

from vqa_explain.explanation import Explanation
from vqa_explain.viewer.bundle import script, style
from vqa_explain.viewer.desk import Desk
from vqa_explain.viewer.state import checked, initial
from vqa_explain.viewer.still import STYLE as STILL_STYLE
from vqa_explain.viewer.still import Stills


class Checked(traitlets.Any):
    """A trait that a person and a view may set, read by the schema of `state.py`.

    Raises:
        InvalidInput: what is set does not fit.
    """

    def default(self, _owner: Any = None) -> Any:
        return initial(self.name or "")

    def validate(self, _owner: Any, value: Any) -> Any:
        return checked(self.name or "", value)


class View(anywidget.AnyWidget):
    """What views read: see `static/widget.js`."""

    _esm = traitlets.Unicode(script("widget")).tag(sync=True)
    _css = traitlets.Unicode(style() + STILL_STYLE).tag(sync=True)
    live = traitlets.Bool(True).tag(sync=True)
    # Changed in place; views hear of each change by a message: see `_TraitWriter`.
    entries: traitlets.List[Any] = traitlets.List().tag(sync=True)
    options = traitlets.Dict().tag(sync=True)
    shown = traitlets.Dict().tag(sync=True)
    compared: traitlets.List[Any] = traitlets.List().tag(sync=True)  # with the "column" of each
    selected = traitlets.Int(0).tag(sync=True)
    # What was asked for and is not shown yet; what is shown meanwhile is older. {}: nothing.
    pending = traitlets.Dict().tag(sync=True)
    preview = traitlets.Dict().tag(sync=True)  # the pending example, before it is explained
    progress = traitlets.Dict().tag(sync=True)
    problem = traitlets.Unicode("").tag(sync=True)
    whatif = traitlets.Dict().tag(sync=True)
    # The number of the last message, so that a view knows of a dead kernel.
    heard = traitlets.Int(0).tag(sync=True)
    columns: traitlets.List[Any] = traitlets.List().tag(sync=True)
    # These a view sets too.
    look = Checked().tag(sync=True)
    hidden = Checked().tag(sync=True)
    filter = Checked().tag(sync=True)
    selection = Checked().tag(sync=True)
    notes = Checked().tag(sync=True)


class OfDesk(View):
    """Views of a desk, as their writer knows them.

    Attributes:
        explanation: what is on the screen, if anything is.
    """

    explanation: Explanation | None
    _desk: Desk
    _stills: Stills
    _sending: AbstractContextManager[Any]

    def _mirror(self, **values: Any) -> None:
        """Sets traits that a person may set too, to what the desk has already."""
        raise NotImplementedError
