"""Transformers in two numbers: the mean square of a feature of a token, and the mean product of two tokens' features.

Attention averages values with weights a_ij. `S = E sum_j a_ij^2` is 1/T where a token looks at all T alike, and 1 where
it looks at one; `O = E sum_j a_ij a_i'j` says how much two tokens look at the same. If s is the variance that logits
would have of tokens that are unlike, and c the correlation of tokens, then logits of one token vary by `s (1 - c)`
around their mean, and those of two tokens vary together by `s c (1 - c)`. Of values of mean square q, and of a gradient
whose mean square is G and mean product of two tokens P, attention makes

    forward     own  q (c + (1 - c) S)       shared  q (c + (1 - c) O)
    values      own  G S + (T - 1) P O       shared  what makes own + (T - 1) shared = G + (T - 1) P
    queries     own  r v k D G               shared  r v k D P O / S
    keys        own  r v D (q G + (T - 1) p P O / S)    shared  what makes own + (T - 1) shared = 0

with v and k what the values and the keys of two tokens differ by, q and p the numbers of the queries, r the features of
a head times the square of the factor of the logits, and `D = E sum_j a_ij^2 (1 - 2 a_ij + sum_m a_im^2)`. Both sums are
exact: the weights of a token sum to 1, and what all its logits have in common changes nothing. S and D are integrals
over normal logits; O is S at the variance that two tokens share. Derived; of gradients at equal weights see Noci et al.
2022, arXiv:2206.03126, of angles and gradients Cowsik et al. 2024, arXiv:2403.02579.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from vgcore.model.given import Bounds, integer, number
from vgcore.theory.maps import NODES, WEIGHTS, Floats

#: The largest variance of logits: from far below it on, a token looks at one.
MOST = 1e4
#: Points of an integral over the logarithm of t.
POINTS = 1500


class Tokens(NamedTuple):
    """A signal of tokens, or its gradient.

    Attributes:
        own: Mean square of a feature.
        shared: Mean product of the features of two tokens of a sample.
    """

    own: float
    shared: float

    def times(self, factor: float) -> Tokens:
        """All squares times a factor."""
        return Tokens(self.own * factor, self.shared * factor)

    def plus(self, other: Tokens) -> Tokens:
        """What is independent of it added."""
        return Tokens(self.own + other.own, self.shared + other.shared)

    def shifted(self, variance: float) -> Tokens:
        """A bias added, which all tokens have in common."""
        return Tokens(self.own + variance, self.shared + variance)

    @property
    def correlation(self) -> float:
        """Mean cosine of two tokens."""
        return min(self.shared / self.own, 1.0) if self.own > 0 else math.nan


def participation(spread: float, tokens: int) -> float:
    """`E sum_j a_j^2` of the softmax of so many independent normal logits of this variance: 1/T to 1.

    Of weights `w = e^logit`, `1 / (sum w)^2` is the integral of `t e^(-t sum w)`, which is a product over tokens. For
    small variances it is `exp(spread) / T`.

    Args:
        spread: Variance of the logits, 0 or more.
        tokens: T.

    >>> round(participation(0.0, 8), 12), round(8 * participation(0.25, 8), 4)
    (0.125, 1.2228)
    """
    variance = number("spread", spread, Bounds(least=0, most=MOST))
    return _softmax(variance, integer("tokens", tokens, least=1, most=2**16))[0]


@lru_cache(maxsize=4096)
def _softmax(spread: float, tokens: int) -> tuple[float, float]:
    """`E sum_j a_j^2`, and `E sum_j a_j^2 (1 - 2 a_j + sum_m a_m^2)`.

    The second is the variance that is left of e_j of variance 1 in all `a_j (e_j - sum_m a_m e_m)`.
    """
    if tokens == 1:
        return 1.0, 0.0
    deviation = math.sqrt(spread)
    log_t = np.linspace(-math.log(tokens) - 10 * (1 + deviation), 6 * (1 + deviation), POINTS)
    log_tw = np.minimum(log_t[:, None] + deviation * NODES, 50.0)  # where e^(-t w) is 0
    # E (t w)^n e^(-t w), of one token.
    y = [np.exp(n * log_tw - np.exp(log_tw)) @ WEIGHTS for n in range(5)]

    def mean(inside: Floats, others: int, power: int) -> float:
        """The mean of some weights over that power of the sum of all, of which others are not among them."""
        return float(np.trapezoid(inside * y[0] ** others, log_t)) / math.factorial(power - 1)

    squares, cubes = (tokens * mean(y[n], tokens - 1, n) for n in (2, 3))
    products = tokens * mean(y[4], tokens - 1, 4) + tokens * (tokens - 1) * mean(y[2] ** 2, tokens - 2, 4)
    return min(max(squares, 1 / tokens), 1.0), max(squares - 2 * cubes + products, 0.0)


class Attention(NamedTuple):
    """What attention makes of values, and of a gradient.

    Attributes:
        tokens: T.
        scale: Features of a head times the square of the factor of the logits.
        q: Queries.
        k: Keys.
        v: Values.
        alone: S.
        together: O.
        varies: D.
    """

    tokens: int
    scale: float
    q: Tokens
    k: Tokens
    v: Tokens
    alone: float
    together: float
    varies: float

    @classmethod
    def of(cls, tokens: int, scale: float, q: Tokens, k: Tokens, v: Tokens) -> Attention:
        """Of so many tokens with these queries, keys and values."""
        spreads = (min(max(scale * each * (k.own - k.shared), 0.0), MOST) for each in q)
        (alone, varies), (together, _) = (_softmax(spread, tokens) for spread in spreads)
        return cls(tokens, scale, q, k, v, alone, together, varies)

    @property
    def spread(self) -> float:
        """The variance of the logits of a token."""
        return self.scale * self.q.own * (self.k.own - self.k.shared)

    def forward(self) -> Tokens:
        """What it makes of the values."""
        apart = self.v.own - self.v.shared
        return Tokens(self.v.shared + apart * self.alone, self.v.shared + apart * self.together)

    def backward(self, g: Tokens) -> tuple[Tokens, Tokens, Tokens]:
        """What it makes of a gradient: those of queries, keys and values."""
        others = self.tokens - 1
        to_values = g.own * self.alone + others * g.shared * self.together
        values = Tokens(to_values, (g.own + others * g.shared - to_values) / others if others else to_values)
        # Of logits: a_ij times what g_i . v_j has beyond its mean over tokens; two tokens share as much as their g do.
        to_logits = self.scale * (self.v.own - self.v.shared) * self.varies
        logits = Tokens(to_logits * g.own, to_logits * g.shared * self.together / self.alone)
        queries = logits.times(self.k.own - self.k.shared)
        keys = logits.own * self.q.own + others * logits.shared * self.q.shared
        return queries, Tokens(keys, -keys / others if others else keys), values
