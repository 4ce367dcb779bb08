"""A stand-in for a game that is cheap and whose Shapley values and interactions are known: a
Gaussian process.

Coalitions are signs, x_i = ±1 for present and absent, and a game is a sum of products χ_T(x) =
Π_{i∈T} x_i. Of χ_T the Shapley value of i ∈ T is 2/|T| where |T| is odd and 0 where it is even; the
Shapley interaction of i, j ∈ T is 4/(|T| − 1) where |T| is even and 0 where it is odd (both are
integrals of (2q − 1)^m over q in [0, 1]). So complementary coalitions tell the two apart: (v(S) −
v(P∖S)) / 2 holds all of the values, (v(S) + v(P∖S)) / 2 all of the interactions.

The kernel of two coalitions is Σ_d w_d e_d(s_1² x_1 y_1, …, s_p² x_p y_p), e_d the elementary
symmetric polynomial: a prior in which χ_T has a variance of Π_{i∈T} s_i². Players with small values
of their own get a small s: what does little alone is taken to do little with others. This is
heredity, as in sparse regression with interactions, and it is only a prior: estimates are corrected
by what the process misses.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.linalg import cho_factor, cho_solve
from scipy.linalg.lapack import dtrtri

from vqa_explain._shapes import Pairs, PairValues, PlayerValues

ODD, EVEN = (1, 3, 5), (0, 2, 4)
MOST = 2000  # observations of one process; its cost grows with their cube
FEW = 200  # that choose the prior
SHARES = ((0.8, 0.2, 0.0), (0.5, 0.5, 0.0), (0.34, 0.33, 0.33))  # variance by degree, lowest first
POWERS = (0.2, 0.4, 0.6)  # s is the player's own value to this power
NOISES = (1e-3, 1e-2, 0.1, 0.5)
FLOOR = 0.02  # of the largest value, for players that seem to do nothing


@dataclass(frozen=True, eq=False)
class _Prior:
    degrees: tuple[int, ...]
    scale: np.ndarray  # (P,) s²
    weights: np.ndarray  # by degree, for a variance of 1

    @staticmethod
    def of(degrees: tuple[int, ...], shares: tuple[float, ...], scale: np.ndarray) -> "_Prior":
        whole = _symmetric([(scale**k).sum() for k in range(1, 6)])
        weights = [
            # Of more players than there are, the sum has no terms, and Newton leaves rounding.
            share / whole[d] if d <= len(scale) and whole[d] > 1e-300 else 0.0
            for d, share in zip(degrees, shares, strict=True)
        ]
        return _Prior(degrees, scale, np.array(weights))

    def kernel(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """(N, M) covariance of coalitions x (N, P) and y (M, P)."""
        sums = [(x * self.scale**k) @ y.T if k % 2 else (self.scale**k).sum() for k in range(1, 6)]
        found = _symmetric(sums)
        kernel = np.zeros((len(x), len(y)))
        for weight, degree in zip(self.weights, self.degrees, strict=True):
            kernel += weight * found[degree]
        return kernel


def _symmetric(sums: list[Any]) -> list[Any]:
    """Elementary symmetric polynomials e_0 … e_5 of numbers whose sums of powers 1 … 5 these are
    (Newton).
    """
    found: list[Any] = [1.0]
    for d in range(1, 6):
        found.append(sum((-1) ** (k - 1) * found[d - k] * sums[k - 1] for k in range(1, d + 1)) / d)
    return found


def _without(found: list[Any], z: np.ndarray) -> list[Any]:
    """The same without one number z."""
    left = [found[0]]
    for d in range(1, 6):
        left.append(found[d] - z * left[d - 1])
    return left


@dataclass(frozen=True, eq=False)
class Proxy:
    """A fitted process.

    Attributes:
        x: (1 + F, P) the coalitions that it has seen, the coalition of all first.
        mean: (1 + F,) their coefficients, the mean over draws of the process that has not seen that
            draw.
        rest: (N,) what each draw's score is above the process that has not seen it.
        rest_of_all: the same of the coalition of all, by the mean of these processes.
        freedom: the effective number of parameters over the number of draws.
    """

    prior: _Prior
    x: np.ndarray
    mean: np.ndarray
    rest: np.ndarray
    rest_of_all: float
    freedom: float

    def shapley(self) -> PlayerValues:
        """(P,) the Shapley values of its odd products."""
        z = self.x * self.prior.scale
        left = _without([e[:, None] if np.ndim(e) else e for e in self._sums(z)], z)
        slopes = sum(
            2 * weight / degree * left[degree - 1]
            for weight, degree in zip(self.prior.weights, self.prior.degrees, strict=True)
        )
        result: np.ndarray = self.mean @ (z * slopes)
        return result

    def interactions(self, pairs: Pairs) -> PairValues:
        """(M,) the Shapley interactions of its even products."""
        z, found = self.x * self.prior.scale, np.zeros(len(pairs))
        whole = self._sums(z)
        weights = dict(zip(self.prior.degrees, self.prior.weights, strict=True))
        for start in range(0, len(self.x), 256):  # few at a time for memory's sake
            some = slice(start, start + 256)
            first, second = z[some][:, pairs[:, 0]], z[some][:, pairs[:, 1]]
            left = [e[some, None] if np.ndim(e) else e for e in whole]
            left = _without(_without(left, first), second)
            found += self.mean[some] @ (
                first * second * (4 * weights[2] + 4 / 3 * weights[4] * left[2])
            )
        return found

    @staticmethod
    def _sums(z: np.ndarray) -> list[Any]:  # of arrays, but for the number 1
        """Symmetric sums of the degrees 0 to 5; that of degree 0 is the number 1."""
        return _symmetric([(z**k).sum(axis=1) for k in range(1, 6)])


def fit(
    x: np.ndarray, values: np.ndarray, end: float, own: np.ndarray, degrees: tuple[int, ...]
) -> Proxy:
    """The process that has seen the scores of draws and the end.

    Args:
        x: (N, P) signs.
        values: (N,) scores, odd or even as `degrees` are.
        end: the score of the coalition of all.
        own: (P,) rough values of the players alone.
        degrees: `ODD` or `EVEN`.
    """
    size = np.abs(own) / max(np.abs(own).max(), 1e-300) + FLOOR
    seen = min(len(x), MOST)
    x_seen, y = (
        np.concatenate([np.ones_like(x[:1]), x[:seen]]),
        np.concatenate([[end], values[:seen]]),
    )
    spread = max(float(np.sqrt(np.mean(y**2))), 1e-300)
    y = y / spread
    few = slice(0, FEW + 1)
    best, chosen, noise = np.inf, None, 0.0
    for power in POWERS:
        for shares in SHARES:
            prior = _Prior.of(degrees, shares, size ** (2 * power))
            kernel = prior.kernel(x_seen[few], x_seen[few])
            for level in NOISES:
                _, unseen, _ = _solve(kernel, y[few], level)
                if (loss := float(np.mean(unseen[1:] ** 2))) < best:
                    best, chosen, noise = loss, prior, level
    assert chosen is not None
    coefficients, unseen, inverse = _solve(chosen.kernel(x_seen, x_seen), y, noise)
    # Leaving draw k out moves the coefficients by its column: their mean over all draws that were
    # seen …
    hidden = np.concatenate([[0.0], unseen[1:]])
    mean = coefficients - inverse.times(hidden) / len(x)
    # … and the draws beyond, which the process has not seen anyway.
    beyond = [
        values[seen:][i : i + 512] / spread
        - chosen.kernel(x[seen:][i : i + 512], x_seen) @ coefficients
        for i in range(0, len(x) - seen, 512)
    ]
    of_all = y[0] - float(chosen.kernel(x_seen[:1], x_seen)[0] @ mean)
    freedom = (len(y) - noise * float(inverse.diagonal.sum())) / len(x)
    rest = np.concatenate([unseen[1:], *beyond])
    return Proxy(chosen, x_seen, mean * spread, rest * spread, of_all * spread, freedom)


@dataclass(frozen=True, eq=False)
class _Inverse:
    """The inverse of a kernel with noise, by its Cholesky factor.

    Attributes:
        factor: (N, N) whose lower triangle is L, L Lᵀ being the kernel with the noise.
        diagonal: (N,) of the inverse.
    """

    factor: np.ndarray
    diagonal: np.ndarray

    def times(self, y: np.ndarray) -> np.ndarray:
        """(N,) the inverse times y."""
        solved: np.ndarray = cho_solve((self.factor, True), y, check_finite=False)
        return solved


def _solve(
    kernel: np.ndarray, y: np.ndarray, noise: float
) -> tuple[np.ndarray, np.ndarray, _Inverse]:
    """Coefficients, the residual of each observation by the others,
    and the inverse (Rasmussen & Williams, 5.12).
    """
    noisy = np.array(kernel, order="F")  # as LAPACK has it
    noisy.flat[:: len(noisy) + 1] += noise
    factor, _ = cho_factor(noisy, lower=True, overwrite_a=True, check_finite=False)
    # With M the inverse of L, the inverse is Mᵀ M, and its diagonal holds the squares of M's
    # columns.
    half = np.tril(dtrtri(factor, lower=True)[0])
    inverse = _Inverse(factor, np.einsum("ij,ij->j", half, half))
    coefficients = inverse.times(y)
    return coefficients, coefficients / inverse.diagonal, inverse
