"""The singular values of a net's input-output Jacobian, all of them, at any depth: `jacobian`.

At depth 1000 they differ by hundreds of decades, and an SVD of the product of the layers' Jacobians knows the largest
16 of these only. So the product is kept as `U diag(2^e) T`, with orthonormal columns U, exponents e and a well
conditioned T, and takes one layer after the other, each followed by a QR decomposition: the stratified or UDT
decomposition of quantum Monte Carlo (Loh et al. 1992, in "Electronic phase transitions"; Bauer 2020, SciPost Phys. Core
2, 011, on its stability). At the end one-sided Jacobi (Demmel and Veselić 1992, SIAM J. Matrix Anal. Appl. 13) finds
every singular value of `diag(2^e) T` to high relative accuracy. All scales are powers of two, and exact.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vgcore import _core, reference
from vgcore.model.mlp import MLP
from vgcore.model.network import Network
from vgcore.reference import Scaled

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

# Below every exponent.
LEAST = -(2**40)


@dataclass(frozen=True, eq=False)
class Jacobian:
    """The spectrum of the input-output Jacobian J = dy/dx of one net at one input.

    Attributes:
        spec: What the net is.
        log10_singular_values: float64 `(min(in_features, outputs),)`, descending; `-inf` from where the rank ends, nan
            where the forward pass leaves the range of float64.
    """

    spec: MLP
    log10_singular_values: Floats

    @property
    def exponents(self) -> Floats:
        """Finite-depth Lyapunov exponents `ln s / depth`, a layer, descending."""
        found: Floats = self.log10_singular_values * (math.log(10) / self.spec.depth)
        return found

    @property
    def rank(self) -> int:
        """How many singular values are not 0."""
        return int(np.sum(self.log10_singular_values > -math.inf))

    @property
    def log10_norm(self) -> float:
        """log10 of the spectral norm, the largest singular value."""
        return float(self.log10_singular_values[0])

    @property
    def log10_condition(self) -> float:
        """log10 of the largest over the smallest singular value; inf where the smallest is 0."""
        smallest = float(self.log10_singular_values[-1])
        return math.inf if smallest == -math.inf else self.log10_norm - smallest

    def moment(self, k: int) -> float:
        """The scale-free moment `m_k / m_1^k`, where `m_k` is the mean of `s^(2 k)` over all singular values.

        These are the eigenvalues of `J J^T`, or of `J^T J` where that has fewer; 1 for every k if all are equal, the
        Fuss-Catalan numbers for wide linear Gaussian nets (`theory.fuss_catalan`). Their variance over `m_1^2` is
        `moment(2) - 1`.

        Args:
            k: 1 or more.

        Returns:
            1 to n^(k-1) for n singular values; nan if all are 0.
        """
        if not k >= 1:
            raise ValueError(f"k must be 1 or more, got {k!r}")
        if self.log10_norm == -math.inf:
            return math.nan
        squares = 100.0 ** (self.log10_singular_values - self.log10_norm)
        return float(np.mean(squares**k) / np.mean(squares) ** k)

    def __repr__(self) -> str:
        first, last = self.log10_norm, self.log10_singular_values[-1]
        count = len(self.log10_singular_values)
        return f"Jacobian({self.spec!r}, rank {self.rank} of {count}, log10 singular values {first:.4g} to {last:.4g})"


def jacobian(subject: MLP | Network, x: ArrayLike | None = None, *, seed: int = 0) -> Jacobian:
    """All singular values of the input-output Jacobian dy/dx of a net at one input.

    Each has a small relative error, however far below the largest it lies: about what one unit of rounding in each
    weight makes uncertain. What is below the rounding of its own layer is 0: weights of less than full rank, or the
    mean that a layer norm takes away. Two layers that are 0 together only because their products cancel leave a value
    some 16 decades down instead. y is the readout or, without one, the last hidden output; all is done in float64.

    Args:
        subject: A spec, whose weights are drawn in float64 from `seed`; or a `Network`, whose own weights are taken.
        x: The input, `(in_features,)`; standard normal from the net's stream of samples if None. With
            `inputs="every"` it is `(depth, in_features)`, and the Jacobian is that of y by the state before the first
            step.
        seed: Of weights and x, 0 to 2^64 - 1.

    Raises:
        ValueError: For an x of another shape or that is not finite, and for batch norm, which ties samples together.
        TypeError: For a subject that is neither.

    >>> import vgcore as vg
    >>> j = vg.jacobian(vg.MLP(depth=1000, width=32, activation="tanh", init="xavier_normal"))
    >>> j.rank, j.log10_norm > -20, j.log10_condition > 500
    (32, True, True)
    >>> vg.jacobian(vg.MLP(depth=100, width=32, activation="linear", init="orthogonal")).log10_condition < 1e-12
    True
    """
    if isinstance(subject, MLP):
        net = subject.init(seed=seed, dtype="float64")
    elif isinstance(subject, Network):
        net = subject
    else:
        raise TypeError(f"expected an MLP or a Network, got {type(subject).__name__}")
    spec = net.spec
    if spec.norm is not None and reference.parse(str(spec.norm))[0] == "batch":
        raise ValueError(
            "norm='batch' ties the samples of a batch together, so one sample has no Jacobian of its own; "
            "take norm='layer' or 'rms', or none"
        )
    state = {name: value.astype(np.float64) for name, value in net.state_dict().items()}
    trace = reference.propagate(spec, state, _input(spec, x, seed)[np.newaxis])
    columns, outputs = trace.h[0].value.shape[1], trace.y.value.shape[1]
    values = np.full(min(columns, outputs), -math.inf)
    try:
        found = _log2_singular_values(trace)
        values[: len(found)] = found * math.log10(2)
    except FloatingPointError:
        values[:] = math.nan
    return Jacobian(spec, values)


def _input(spec: MLP, x: ArrayLike | None, seed: int) -> Floats:
    drawn = reference.samples(spec, seed, 1, "float64")[0]
    if x is None:
        return np.asarray(drawn)
    given = np.asarray(x)
    axes = "(depth, in_features)" if spec.inputs == "every" else "(in_features,)"
    if given.dtype.kind not in "biuf" or given.shape != drawn.shape:
        raise ValueError(f"x must be real numbers of shape {axes} = {drawn.shape}, got {given.dtype} {given.shape}")
    if not np.isfinite(given).all():
        raise ValueError("x must be finite")
    return given.astype(np.float64)


@np.errstate(all="ignore")
def _log2_singular_values(trace: reference.Trace) -> Floats:
    """Those that are not 0, descending: an orthonormal basis of the outputs goes back through the net.

    It is made orthonormal anew behind each activation, where rows that its slopes have scaled still are what they are
    (the next map would mix them, and what is in the small ones be lost), and at the end of each block that a skip goes
    around.
    """
    if not all(each.finite() for each in (*trace.z, *trace.h, trace.y)):
        raise FloatingPointError
    outputs = trace.y.value.shape[1]
    total, e, t = 0, np.zeros(outputs, np.int64), np.eye(outputs)

    def renewed(dh: Scaled) -> Scaled:
        """The basis of what has come back; its scales go into `total` and e, and the rest into t."""
        nonlocal total, e, t
        if not dh.finite():
            raise FloatingPointError
        dh = dh.rescaled()
        u, e, n = _factors(dh.value.T, e)
        t = n @ t
        size = np.frexp(np.abs(t).max(axis=1, initial=0))[1]
        total, e, t = total + dh.exponent, e + size, np.ldexp(t, -size[:, np.newaxis])
        return Scaled(u.T)

    dh = Scaled(np.eye(outputs))
    around: dict[str, Scaled] = {}  # what reaches an h around its block
    for l in reversed(range(len(trace.steps))):
        for step in reversed(trace.steps[l]):
            dh, found = step.back(dh.rescaled())
            around |= {name: each for name, each in found.items() if name.startswith("h.")}
            if step.part == "activation" and not around:
                dh = renewed(dh)
        if f"h.{l}" in around:
            dh = renewed(dh + around.pop(f"h.{l}"))
    renewed(dh)
    for _ in range(2):  # leaves rows that are independent and nearly orthogonal, and Jacobi few sweeps
        _, e, t = _factors(t.T, e)
    logarithms = _core.log2_singular_values(t, e.tolist())
    return np.asarray(np.sort(logarithms)[::-1] + total)


def _factors(m: Floats, e: Integers) -> tuple[Floats, Integers, Floats]:
    """Factors u, f and n of `m diag(2^e) = u diag(2^f) n`: u has orthonormal columns, n rows of size 1.

    Rows and columns of m may be of very different sizes. A QR decomposition of the sorted rows and columns is right to
    the rounding of each (Cox and Higham 1998, "Stability of Householder QR factorization for weighted least squares").
    What is less than this counts as 0.
    """
    width = np.frexp(np.abs(m).max(axis=0, initial=0))[1]
    m, e = np.ldexp(m, -width), e + width
    tall, length = np.abs(m).max(axis=1, initial=0), np.linalg.norm(m, axis=0)
    rows = np.argsort(-tall, kind="stable")[: np.count_nonzero(tall)]
    columns = np.argsort(-(e + np.log2(length)), kind="stable")[: np.count_nonzero(length)]
    q, r = np.linalg.qr(m[np.ix_(rows, columns)])
    floor = max(m.shape) * np.finfo(np.float64).eps * tall[rows[: len(r)]]
    r = np.where(np.abs(r) > floor[:, np.newaxis], r, 0)  # or 2^e would scale up what is rounding alone
    kept = r.any(axis=1)
    r, here = r[kept], e[columns]
    f = np.where(r == 0, LEAST, np.frexp(r)[1] + here).max(axis=1, initial=LEAST)
    u, n = np.zeros((len(m), len(r))), np.zeros((len(r), m.shape[1]))
    u[rows] = q[:, kept]
    n[:, columns] = np.ldexp(r, np.maximum(here - f[:, np.newaxis], -5000).astype(np.int32))
    return u, f, n
