"""Noisy linear imputation of pixels (Rong et al. 2022, section 4):
what ROAD puts where pixels were removed.
"""

import numpy as np

NOISE = 0.01
BESIDE, ACROSS = 1 / 6, 1 / 12
_NEIGHBOURS = [
    (dy, dx, BESIDE if 0 in (dy, dx) else ACROSS)
    for dy in (-1, 0, 1)
    for dx in (-1, 0, 1)
    if (dy, dx) != (0, 0)
]


def imputed(frame: np.ndarray, gone: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The frame (C, H, W) with the pixels of `gone` (H, W) replaced by weighted means of their
    neighbors, and noise.

    At the border the weights of the neighbors that there are count in full. With every pixel gone
    nothing is known: each becomes its channel's mean, and noise.
    """
    from scipy.sparse import coo_matrix
    from scipy.sparse.linalg import spsolve

    if not gone.any():
        return frame
    noise = NOISE * rng.standard_normal((len(frame), int(gone.sum())))
    if gone.all():
        result: np.ndarray = (
            frame.mean(axis=(1, 2), keepdims=True) + noise.reshape(frame.shape)
        ).astype(frame.dtype)
        return result
    height, width = gone.shape
    number = np.full(gone.shape, -1)
    number[gone] = np.arange(gone.sum())
    rows, columns = np.nonzero(gone)
    entries: list[tuple[np.ndarray, np.ndarray, float]] = []
    total, known = np.zeros(len(rows)), np.zeros((len(rows), len(frame)))
    for dy, dx, weight in _NEIGHBOURS:
        y, x = rows + dy, columns + dx
        inside = np.flatnonzero((y >= 0) & (y < height) & (x >= 0) & (x < width))
        y, x = y[inside], x[inside]
        total[inside] += weight
        absent = gone[y, x]
        entries.append((inside[absent], number[y[absent], x[absent]], -weight))
        known[inside[~absent]] += weight * frame[:, y[~absent], x[~absent]].T
    entries.append((np.arange(len(rows)), np.arange(len(rows)), 0.0))
    data = np.concatenate([np.full(len(a), weight) for a, _, weight in entries[:-1]] + [total])
    where = (np.concatenate([a for a, _, _ in entries]), np.concatenate([b for _, b, _ in entries]))
    system = coo_matrix((data, where), shape=(len(rows), len(rows))).tocsc()
    filled = frame.astype(np.float64)
    filled[:, gone] = np.atleast_2d(spsolve(system, known).reshape(len(rows), -1).T) + noise
    return filled.astype(frame.dtype)
