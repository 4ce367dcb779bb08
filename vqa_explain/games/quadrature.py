"""Rules for integrals over [0, 1]: nodes and weights."""

from collections.abc import Iterator
from functools import cache

import numpy as np
from numpy.polynomial import legendre

from vqa_explain._shapes import Scores

Rule = tuple[Scores, Scores]  # nodes (N,), ascending, and weights (N,)

NESTED = (
    63  # nodes of the last nested rule: the next extension's polynomial is beyond double precision
)


def gauss(count: int) -> Rule:
    """Gauss–Legendre with `count` nodes, exact for polynomials of degree 2 · count − 1."""
    nodes, weights = legendre.leggauss(count)
    return (nodes + 1) / 2, weights / 2


@cache
def patterson(count: int) -> Rule:
    """The nested rule with `count` = 3, 7, 15, 31 or 63 nodes, exact for polynomials of degree (3 ·
    count + 1) / 2.

    Each takes over the nodes of the one before and adds the zeros of the polynomial that is
    orthogonal, with those nodes' polynomial as weight, to all of lower degree (Patterson 1968,
    Math. Comp. 22, section 2).
    """
    if count == 3:
        return gauss(3)
    old = 2 * patterson(count // 2)[0] - 1
    x, weights = legendre.leggauss(2 * len(old) + 4)
    product = np.prod(2 * (x[:, None] - old), axis=1)
    scale = np.sqrt(np.arange(len(old) + 2) + 0.5)  # makes Legendre polynomials orthonormal
    basis = legendre.legvander(x, len(old) + 1) * scale
    conditions = (basis[:, :-1] * (weights * product / np.abs(product).max())[:, None]).T @ basis
    new = legendre.legroots(np.linalg.svd(conditions)[2][-1] * scale).real
    nodes = np.sort(np.concatenate([old, new]))
    nodes = (nodes - nodes[::-1]) / 2
    moments = np.zeros(count)
    moments[0] = 2.0
    return (nodes + 1) / 2, np.linalg.solve(legendre.legvander(nodes, count - 1).T, moments) / 2


def refined(most: int) -> Iterator[Rule]:
    """Ever finer rules of at most `most` nodes: nested as far as those go, then Gauss–Legendre with
    doubled nodes.

    The first has 7: the sum of 3 is now and then right by chance.
    """
    count = 7
    while count <= min(most, NESTED):
        yield patterson(count)
        count = 2 * count + 1
    while count <= most:
        yield gauss(count)
        count = 2 * count
    if most < 7:
        yield gauss(most)
