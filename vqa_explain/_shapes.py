"""Shapes that the package's arrays have, as types: tests check them while they run.

N coalitions or examples, P players, M pairs of players, K answers.
"""

import numpy as np
from jaxtyping import Bool, Float, Int

Coalitions = Bool[np.ndarray, "N P"]
Scores = Float[np.ndarray, " N"]
PlayerValues = Float[np.ndarray, " P"]
PairValues = Float[np.ndarray, " M"]
Pairs = Int[np.ndarray, "M 2"]  # the two players of each pair
Order = Int[np.ndarray, " P"]  # in which players arrive
