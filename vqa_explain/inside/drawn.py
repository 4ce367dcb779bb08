"""Results that draw themselves."""

from typing import Any, ClassVar

from vqa_explain.showing import drawing
from vqa_explain.target import quoted


class Drawn:
    """What has a figure.

    Attributes:
        figure: the name under which its drawing is registered.
    """

    figure: ClassVar[str]

    def plot(self, path: Any = None, *, dpi: int = 150, width: float = 7.2) -> Any:
        """The figure, whose parts the documentation of the class names.

        Args:
            path: of a file to write; by default none is.
            dpi: dots per inch of that file.
            width: of the figure, in inches.

        Returns:
            The figure; where a path is given, the path of the file.

        Raises:
            InvalidInput: the width is below 3, or the path is of no kind that matplotlib writes.
        """
        return drawing(self.figure)(self, path, dpi=dpi, width=width)


class OfAnswer:
    """What is said of one answer's score."""

    target: str
    contrast: str | None

    @property
    def whose(self) -> str:
        """Whose score it is, in quotes."""
        return quoted(self.target, self.contrast)
