"""Entropy and mutual information of counts, in nats, and what chance alone would give.

Frames beside each other take the same expert, so far fewer of them are independent than there are,
and two layers that know nothing of each other seem to agree a little. What they would seem to is
counted by the same choices, one of the two moved in time (`counts`): that is chance here.
"""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Numbers = NDArray[np.int64] | Floats
ROUNDING = 1e-12
"""Less than that is nothing."""


def entropy(counts: Numbers) -> Floats:
    """Of the shares along the last axis; 0 where there are no counts."""
    total = np.maximum(counts.sum(axis=-1, keepdims=True), ROUNDING)
    shares = counts / total
    logs = np.log(np.where(shares > 0, shares, 1.0))
    # abs, lest an entropy of nothing be printed as -0.
    return np.abs(-(shares * logs).sum(axis=-1))


def information(joint: Numbers) -> Floats:
    """I(X; Y) of tables of how often x and y came together [..., x, y]."""
    *shape, first, second = joint.shape
    together = entropy(joint.reshape(*shape, first * second))
    return np.maximum(entropy(joint.sum(axis=-1)) + entropy(joint.sum(axis=-2)) - together, 0.0)


def geometric_entropy(joint: Numbers) -> Floats:
    """sqrt(H(X) H(Y)), the most that I(X; Y) is where the entropies are equal."""
    return np.sqrt(entropy(joint.sum(axis=-1)) * entropy(joint.sum(axis=-2)))


def share_of(part: Floats, whole: Floats) -> Floats:
    """part / whole between -1 and 1; 0 where the whole is nothing, for nothing is told then."""
    # What is left of the whole is rounding where the part is all of it: compare with 1e-9.
    share = np.divide(part, whole, out=np.zeros_like(part), where=whole > 1e-9)
    return np.clip(share, -1.0, 1.0)


def normalised(joint: Numbers) -> Floats:
    """0 where x and y are independent, 1 where one decides the other, however they are called."""
    return share_of(information(joint), geometric_entropy(joint))


def adjusted(joint: Numbers, chance: Floats) -> Floats:
    """The same with what chance gives taken off: (I - C) / (sqrt(H H) - C), as the adjusted mutual
    information of Vinh et al. (2010, JMLR 11) has it, 0 for chance and 1 for the most there is."""
    return share_of(information(joint) - chance, geometric_entropy(joint) - chance)
