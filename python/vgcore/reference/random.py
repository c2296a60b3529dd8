"""Counter-based random numbers: each depends on where it is used, not on what was drawn before."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]

WEIGHT, BIAS, INPUT, COTANGENT, READOUT_WEIGHT, READOUT_BIAS = range(6)  # roles of a stream
GATE_WEIGHT, GATE_BIAS, INPUT_WEIGHT = range(8, 11)
PROJECTION_WEIGHT, PROJECTION_BIAS, DROPOUT = range(13, 16)
INPUT_BIAS = 64
COMPANION = 32  # added to a role: the stream that says which elements count
LOW_BITS = 16  # added to a role: the companion stream that extends 32 bits to 53


def philox(counter: Array, seed: int) -> Array:
    """Philox4x32-10 of a (4, n) counter under a 64-bit key (Salmon et al. 2011, Random123)."""
    mask = np.uint64(0xFFFFFFFF)
    c0, c1, c2, c3 = counter.astype(np.uint64)
    for i in range(10):
        k0 = np.uint64((seed + i * 0x9E3779B9) & 0xFFFFFFFF)
        k1 = np.uint64(((seed >> 32) + i * 0xBB67AE85) & 0xFFFFFFFF)
        p0, p1 = c0 * np.uint64(0xD2511F53), c2 * np.uint64(0xCD9E8D57)
        c0, c1, c2, c3 = (p1 >> 32) ^ c1 ^ k0, p1 & mask, (p0 >> 32) ^ c3 ^ k1, p0 & mask
    return np.stack([c0, c1, c2, c3])


@dataclass(frozen=True)
class Stream:
    """The numbers of one tensor: element i depends on (seed, role, layer, i) and nothing else."""

    seed: int
    role: int
    layer: int = 0
    dtype: str = "float64"
    first: int = 0  # the element that it begins with, a multiple of four

    def words(self, count: int, role: int, step: int = 0) -> Array:
        """32-bit words: element i is word i % 4 of block i // 4; each step of training has 2^32 blocks of its own."""
        block = (
            np.arange(-(-count // 4), dtype=np.uint64) + np.uint64(self.first // 4) + (np.uint64(step) << np.uint64(32))
        )
        layer, role_ = np.full_like(block, self.layer), np.full_like(block, role)
        counter = np.stack([block & np.uint64(0xFFFFFFFF), block >> 32, layer, role_])
        return philox(counter, self.seed).T.ravel()[:count]

    def uniform(self, shape: tuple[int, ...], step: int = 0) -> Array:
        """U(0, 1), never 0: made of 32 bits for float32, of 53 for float64."""
        high = self.words(math.prod(shape), self.role, step).reshape(shape)
        if self.dtype == "float32":
            return (high + 0.5) * 2.0**-32
        low = self.words(math.prod(shape), self.role + LOW_BITS, step).reshape(shape)
        return ((high << 21) + (low >> 11) + 0.5) * 2.0**-53

    def normal(self, shape: tuple[int, ...]) -> Array:
        """N(0, 1), made in pairs (Box & Muller 1958): sqrt(-2 ln u1) (cos, sin)(2 pi u2)."""
        count = math.prod(shape)
        u1, u2 = self.uniform((-(-count // 2), 2)).T
        radius, angle = np.sqrt(-2 * np.log(u1)), 2 * np.pi * u2
        pairs = np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1)
        return pairs.ravel()[:count].reshape(shape)
