"""What every modality offers: a name, and the fills that can stand for its absent players."""

from typing import Protocol


class Feature(Protocol):
    """One modality of a model's input.

    Attributes:
        name: the key of this feature in leaves, shares and errors.
        fills: what an absent player may become.
        default_fill: the fill used when none is asked for.
    """

    @property
    def name(self) -> str: ...
    @property
    def fills(self) -> tuple[str, ...]: ...
    @property
    def default_fill(self) -> str: ...
