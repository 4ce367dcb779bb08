"""What an explanation costs."""

from dataclasses import dataclass


@dataclass
class Cost:
    """What was spent: examples through the model forward and backward, and seconds."""

    forwards: int = 0
    backwards: int = 0
    seconds: float = 0.0
