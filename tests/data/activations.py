"""Activations and their slopes at chosen float64 numbers, to fifty digits: writes `activations.txt`, beside this file.

Run it with mpmath installed. Each block is a name, then lines of three float64 numbers as hexadecimal bits: z, and
what phi(z) and phi'(z) round to.
"""

import math
import struct
from collections.abc import Callable
from pathlib import Path

from mpmath import atan, cos, erf, erfc, exp, expm1, log1p, mp, mpf, pi, sech, sin, sqrt, tanh

mp.dps = 400  # Of sums that cancel, as many digits as an argument of 745 costs.

ALPHA = mpf(1.673_263_242_354_377_2)
LAMBDA = mpf(1.050_700_987_355_480_5)


def logistic(z: mpf) -> mpf:
    return 1 / (1 + exp(-z))


def elu(z: mpf, alpha: mpf, scale: mpf) -> tuple[mpf, mpf]:
    if z > 0:
        return scale * z, scale
    return scale * alpha * expm1(z), scale * alpha * exp(z)


def gelu(z: mpf) -> tuple[mpf, mpf]:
    below = erfc(-z / sqrt(2)) / 2
    return z * below, below + z * exp(-z * z / 2) / sqrt(2 * pi)


def gelu_tanh(z: mpf) -> tuple[mpf, mpf]:
    root, cubic = sqrt(2 / pi), mpf(0.044715)
    u = root * (z + cubic * z**3)
    below = logistic(2 * u)
    return z * below, below + z * sech(u) ** 2 / 2 * root * (1 + 3 * cubic * z * z)


def softplus(z: mpf, beta: mpf, threshold: mpf) -> tuple[mpf, mpf]:
    t = beta * z
    return (z, mpf(1)) if t > threshold else (log1p(exp(t)) / beta, logistic(t))


def mish(z: mpf) -> tuple[mpf, mpf]:
    soft = log1p(exp(z))
    return z * tanh(soft), tanh(soft) + z * sech(soft) ** 2 * logistic(z)


def squareplus(z: mpf, b: mpf) -> tuple[mpf, mpf]:
    root = sqrt(z * z + b)
    return (z + root) / 2, (1 + z / root) / 2


ROWS: dict[str, Callable[[mpf], tuple[mpf, mpf]]] = {
    "sigmoid": lambda z: (logistic(z), logistic(z) * logistic(-z)),
    "tanh": lambda z: (tanh(z), sech(z) ** 2),
    "elu": lambda z: elu(z, mpf(1), mpf(1)),
    "selu": lambda z: elu(z, ALPHA, LAMBDA),
    "gelu": gelu,
    "gelu(tanh)": gelu_tanh,
    "silu": lambda z: (z * logistic(z), logistic(z) * (1 + z * logistic(-z))),
    "softplus": lambda z: softplus(z, mpf(1), mpf(20)),
    "celu(0.5)": lambda z: (z, mpf(1)) if z > 0 else (expm1(2 * z) / 2, exp(2 * z)),
    "mish": mish,
    "softsign": lambda z: (z / (1 + abs(z)), 1 / (1 + abs(z)) ** 2),
    "logsigmoid": lambda z: (-log1p(exp(-z)), logistic(-z)),
    "tanhshrink": lambda z: (z - tanh(z), tanh(z) ** 2),
    "erf": lambda z: (erf(z), 2 / sqrt(pi) * exp(-z * z)),
    "sin": lambda z: (sin(z), cos(z)),
    "arctan": lambda z: (atan(z), 1 / (1 + z * z)),
    "squareplus": lambda z: squareplus(z, mpf(4)),
    "snake": lambda z: (z + sin(z) ** 2, 1 + sin(2 * z)),
}


def arguments() -> list[float]:
    """All scales, and both sides of where the argument of an exponential goes to its next whole number of ln 2."""
    scales = [5e-324, 3e-310, 2.3e-308, 1e-200, 1e-20, 1e-9, 1e-4, 0.02, 0.1, 0.3, 0.7, 0.75, 1.3, 1.9, 2.6]
    large = [4.4, 7.3, 12.1, 19.3, 26.6, 36.9, 38.4, 39.1, 97.0, 311.0, 372.0, 707.9, 708.6, 740.2, 745.1, 746.2, 3e3]
    kinks = [(k + 0.5) * math.log(2) / scale for k in (0, 1, 2, 9, 40) for scale in (1, 2)]
    turns = [round(k * math.pi / 2, 12) for k in (1, 2, 3, 7, 1000)] + [math.pi, 1e6, 1e15, 1e22]
    sides = [kink * (1 + step) for kink in kinks for step in (-1e-15, 1e-15)]
    return [sign * z for z in [0.0, *scales, *large, *turns, *sides] for sign in (1.0, -1.0)]


def bits(value: float) -> str:
    return struct.pack(">d", value).hex()


def main() -> None:
    blocks = []
    for name, row in ROWS.items():
        lines = [" ".join(bits(float(v)) for v in (z, *row(mpf(z)))) for z in arguments()]
        blocks.append("\n".join([name, *lines, ""]))
    (Path(__file__).parent / "activations.txt").write_text("\n".join(blocks))


if __name__ == "__main__":
    main()
