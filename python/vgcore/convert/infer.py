"""The init that weights look like: fresh nets of every framework have one, and advice that draws weights anew needs it.

What an init makes of each map of a net is the core's to say (`Plan`): a law with its moments. Here numbers are held to
these laws: to what is exact (constants, W W^T = g^2 I, zeros of a sparse column), to the ends of a law that has ends,
and to its shape by the test of Kolmogorov and Smirnov. Of the inits that pass everywhere, the likeliest is named.
"""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from vgcore.convert.spelling import CUT
from vgcore.model.given import wrong_type
from vgcore.model.kind import Init
from vgcore.model.mlp import MLP
from vgcore.model.network import Network
from vgcore.model.plan import Map, Plan
from vgcore.model.sequential import Sequential

Array = NDArray[np.float64]
#: What an init makes of each map, if the net may have it.
_Laws = Callable[[str], "list[Map] | None"]
Inferred = str | tuple[str | None, ...] | None

#: How rarely a fresh layer may look unlike its own init.
RARE = 1e-5
#: Where a normal ends that is cut at two standard deviations and widened to have its own again.
_END = 2 / CUT

_NAMED = (
    *("zeros", "ones", "eye", "torch_default", "xavier_uniform", "kaiming_uniform", "lecun_uniform", "xavier_normal"),
    *("kaiming_normal", "lecun_normal", "variance_scaling", "glorot_normal", "he_normal", "orthogonal"),
    *("scaled_uniform_orthogonal", "looks_linear", "critical", "mup", "depth_mup", "fixup"),
    *("kaiming_uniform(mode=fan_out)", "kaiming_normal(mode=fan_out)"),
    # Of logistic nets of scikit-learn: a bound of sqrt(2 / (in + out)).
    f"xavier_uniform(gain={1 / math.sqrt(3)!r})",
    *(
        f"{name}(gain={gain!r})"
        for gain in (5 / 3, math.sqrt(2), 3 / 4)
        for name in ("xavier_uniform", "xavier_normal")
    ),
    *("normal(std=0.01)", "normal(std=0.02)", "trunc_normal(std=0.02)", "normal(std=0.05)", "uniform(a=-0.05, b=0.05)"),
)


def infer_init(network: Network) -> Inferred:
    """The init that the weights of a net look like.

    Args:
        network: Any net; a trained one most often looks like none.

    Returns:
        An init as `MLP(init=...)` takes it: one name if it fits all maps, a tuple of one a map, the readout's last, if
        they differ, with None for those that look like none; None if all do. Where two inits are one on these shapes,
        as `lecun_normal` and `xavier_normal` on square weights, it is one of them. None for a recurrent net and a
        transformer, whose weights are drawn in blocks.

    >>> import vgcore as vg
    >>> spec = vg.MLP(depth=5, width=64, in_features=20, out_features=3, init="torch_default")
    >>> vg.infer_init(spec.init(seed=1))
    'torch_default'
    """
    if not isinstance(network, Network):
        raise wrong_type("network", "a Network", network)
    if not isinstance(network.spec, MLP | Sequential):
        return None
    maps = _maps(network)
    # What an init makes of a net takes a walk through all of it, and is the same for every map.
    laws = functools.cache(lambda init: _laws(network, init, len(maps)))
    of_all = _likeliest(laws, maps, range(len(maps)))
    if of_all is not None:
        return of_all
    each = tuple(_likeliest(laws, maps, [place]) for place in range(len(maps)))
    return each if any(each) else None


def _likeliest(laws: _Laws, maps: Sequence[_Numbers], places: Sequence[int]) -> str | None:
    """The init that some maps look like, if there is one."""
    best: tuple[float, str] | None = None
    named = dict.fromkeys(_NAMED, 0.0)
    # A scale that was fitted to one map alone says nothing; one for all of them does.
    free = len(places) > 1 or len(maps) == 1
    # A number that is that of all maps is best seen in the largest.
    shown = sorted(places, key=lambda place: -maps[place].weight.size)[:4]
    fitted = {name: FITTED for place in shown for name in _fitted(maps[place], free=free)}
    for name, handicap in [*named.items(), *fitted.items()]:
        found = laws(name)
        score = None if found is None else _score(name, [(maps[place], found[place]) for place in places])
        if score is None:
            continue
        # Two that are one on these shapes differ by rounding: the first is named, or the one without a number.
        ahead = math.inf if best is None else score - handicap - best[0]
        one = abs(ahead) <= 1e-9 * abs(score)
        if (one and best is not None and "(" in best[1] and "(" not in name) or (ahead > 0 and not one):
            best = score - handicap, name
    return None if best is None else best[1]


def _score(init: str, pairs: Sequence[tuple[_Numbers, Map]]) -> float | None:
    """The likelihood of maps under their laws, if all are of them."""
    total = 0.0
    if init.startswith("sparse"):
        share = float(Init(init).params["sparsity"])
        if any(
            (numbers.weight == 0).sum(axis=0).max() != math.ceil(share * len(numbers.weight)) for numbers, _ in pairs
        ):
            return None
    for numbers, law in pairs:
        if (found := _likelihood(numbers, law)) is None:
            return None
        total += found
    return total if _is_of_one_size(pairs) else None


def _is_of_one_size(pairs: Sequence[tuple[_Numbers, Map]]) -> bool:
    """Whether the mean squares of all maps together are those of their laws: small maps pass alone, each by luck."""
    sizes = np.array([len(numbers.sorted) for numbers, law in pairs if law.law in _SHAPES and law.weight_variance])
    squares = [numbers.strays(law) ** 2 for numbers, law in pairs if law.law in _SHAPES and law.weight_variance]
    # Squares of n normal numbers stray by sqrt(2 / n), and the square of that by sqrt(2 + 12 / n).
    return sum(squares) <= len(sizes) + 6 * math.sqrt((2 + 12 / sizes).sum())


#: What an init whose number was fitted must be likelier by than one without.
FITTED = 12.0
#: What an init is likelier by that leaves no choice.
EXACT = 1e9


@dataclass(frozen=True, eq=False)
class _Numbers:
    """The weights `(out, in)` of a map, and its biases, if it has them."""

    weight: Array
    bias: Array

    @cached_property
    def gain(self) -> float | None:
        """g, if W W^T or W^T W is g^2 I."""
        return _orthogonal_gain(self.weight)

    @cached_property
    def sorted(self) -> Array:
        """The weights in ascending order; of very many every k-th, which is as good a sample."""
        ordered = np.sort(self.weight, axis=None)
        return ordered[:: max(1, len(ordered) // 5_000)]

    def strays(self, law: Map) -> float:
        """How far the mean square is from that of a law, in standard deviations of normal numbers."""
        x = self.sorted - law.weight_mean
        return (float((x * x).mean()) / law.weight_variance - 1) / math.sqrt(2 / len(x))


def _maps(network: Network) -> list[_Numbers]:
    """Hidden maps, then the readout; those of a tied net once."""
    state = network.state_dict()
    names = [name for name in state if re.fullmatch(r"(layers\.\d+|readout)\.weight", name)]
    return [
        _Numbers(
            state[name].astype(np.float64), state.get(name.replace("weight", "bias"), np.zeros(0)).astype(np.float64)
        )
        for name in names
    ]


def _laws(network: Network, init: str, count: int) -> list[Map] | None:
    """What an init makes of the maps of a net, if the net may have it."""
    try:
        plan = Plan.of(network.spec.replace(init=init, bias=None))
    except ValueError:
        return None
    hidden = plan.layers if plan.readout is None else plan.layers[: max(count - 1, 1)]
    laws = [layer.map for layer in hidden][: count - (plan.readout is not None)]
    return laws + ([plan.readout] if plan.readout is not None else [])


def _fitted(numbers: _Numbers, *, free: bool) -> Iterator[str]:
    """Inits whose number is that of one map; those with a free scale only if asked for."""
    w = numbers.weight
    fan_out, fan_in = w.shape
    std, largest = float(w.std()), float(np.abs(w).max())
    if np.ptp(w) == 0:
        yield f"constant({_short(float(w[0, 0]), 7)})"
        return
    if (gain := numbers.gain) is not None:
        yield f"orthogonal(gain={_short(gain, 6)})"
        return
    if (diagonal := np.eye(fan_out, fan_in) * w[0, 0]).any() and np.array_equal(diagonal, w):
        yield f"eye(gain={_short(float(w[0, 0]), 6)})"
    zeros = (w == 0).sum(axis=0)
    if np.ptp(zeros) == 0 and 0 < zeros[0] < fan_out:
        # The shortest share of which so many zeros are the next whole number.
        shares = (math.floor(zeros[0] / fan_out * 10**digits) / 10**digits for digits in (1, 2, 3, 9))
        share = next((share for share in shares if math.ceil(share * fan_out) == zeros[0]), zeros[0] / fan_out)
        yield f"sparse(sparsity={share!r})"
        yield f"sparse(sparsity={share!r}, std={_short(std / math.sqrt(1 - zeros[0] / fan_out), 2)})"
    for digits in (1, 2, 3) if free else ():
        yield f"lecun_normal(gain={_short(std * math.sqrt(fan_in), digits)})"
        yield f"lecun_uniform(gain={_short(std * math.sqrt(fan_in), digits)})"
        yield f"normal(std={_short(std, digits)})"
        bound = _short(largest * (1 + 1 / w.size), digits)
        yield f"uniform(a=-{bound}, b={bound})"
    if free and w.min() >= 0:
        yield f"uniform(a=0, b={_short(largest * (1 + 1 / w.size), 1)})"


def _short(number: float, digits: int) -> str:
    return repr(float(f"{number:.{digits}g}"))


# --- One map against one law ---------------------------------------------------------------------


def _likelihood(numbers: _Numbers, law: Map) -> float | None:
    """The logarithm of the likelihood of weights, `EXACT` where a law leaves no choice; None if they are not of it."""
    w, mean, std = numbers.weight, law.weight_mean, math.sqrt(law.weight_variance)
    # Without biases nothing tells whether they would have been drawn.
    if law.bias_variance > 0 and numbers.bias.size and not _bias_fits(numbers.bias, law):
        return None
    if std == 0 or law.law == "constant":
        return EXACT if np.allclose(w, mean, rtol=1e-6, atol=0) else None
    match law.law:
        case "eye":
            gain = math.sqrt((law.weight_variance + mean**2) * max(w.shape))
            return EXACT if np.allclose(w, gain * np.eye(*w.shape), rtol=1e-6, atol=0) else None
        case "orthogonal":
            gain = numbers.gain or 0.0
            return EXACT if math.isclose(gain, std * math.sqrt(max(w.shape)), rel_tol=1e-3) else None
        case "mirrored":
            return EXACT if _is_mirrored(w, std) else None
        case "sparse":
            return _sparse(w, std)
    shape = _SHAPES[law.law]
    x = (numbers.sorted - mean) / std
    if abs(numbers.strays(law)) > 6:  # no law here strays more than a normal one
        return None
    reach = max(abs(float(w.min()) - mean), abs(float(w.max()) - mean)) / std
    if reach > _ENDS[law.law] * (1 + 1e-5) or _surprise(x, shape) < RARE:
        return None
    return (_density(law.law, x) - len(x) * math.log(std)) * w.size / len(x)


def _bias_fits(bias: Array, law: Map) -> bool:
    std = math.sqrt(law.bias_variance)
    if not bias.any():
        return False
    uniform = law.law == "uniform"
    return bool(np.abs(bias - law.bias_mean).max() <= (math.sqrt(3) * (1 + 1e-5) if uniform else 6.0) * std)


def _orthogonal_gain(w: Array) -> float | None:
    """g, if W W^T or W^T W is g^2 I."""
    square = w @ w.T if len(w) <= w.shape[1] else w.T @ w
    g2 = float(np.trace(square)) / len(square)
    if len(square) < 2 or g2 == 0 or np.abs(square - g2 * np.eye(len(square))).max() > 1e-4 * g2:
        return None
    return math.sqrt(g2)


def _is_mirrored(w: Array, std: float) -> bool:
    """Orthogonal blocks in pairs of opposite sign."""
    rows, columns = len(w) // 2, w.shape[1] // 2
    block = w
    if len(w) % 2 == 0 and np.array_equal(w[:rows], -w[rows:]):
        block = block[:rows]
    if w.shape[1] % 2 == 0 and np.array_equal(w[:, :columns], -w[:, columns:]):
        block = block[:, :columns]
    if block is w or len(block) < 2:
        return False
    gain = _orthogonal_gain(block)
    return gain is not None and math.isclose(gain, std * math.sqrt(max(block.shape)), rel_tol=1e-3)


def _sparse(w: Array, std: float) -> float | None:
    """Equally many zeros in each column, normal numbers elsewhere."""
    zeros = (w == 0).sum(axis=0)
    if np.ptp(zeros) or not 0 < zeros[0] < len(w):
        return None
    share = zeros[0] / len(w)
    x = np.sort(w[w != 0]) / (std / math.sqrt(1 - share))
    return EXACT / 2 + _density("normal", x) if _surprise(x, _SHAPES["normal"]) >= RARE else None


_erf = np.vectorize(math.erf, otypes=[np.float64])


def _normal(x: Array) -> Array:
    return np.asarray((1 + _erf(x / math.sqrt(2))) / 2)


def _truncated(x: Array) -> Array:
    low = float(_normal(np.array([-2.0]))[0])
    return np.clip((_normal(2 * x / _END) - low) / (1 - 2 * low), 0, 1)


#: Distribution functions of laws of mean 0 and variance 1, and where they end.
_SHAPES: dict[str, Callable[[Array], Array]] = {
    "normal": _normal,
    "uniform": lambda x: np.clip((1 + x / math.sqrt(3)) / 2, 0, 1),
    "truncated_normal": _truncated,
}
_ENDS = {"normal": math.inf, "uniform": math.sqrt(3), "truncated_normal": _END}


def _density(law: str, x: Array) -> float:
    """The logarithm of the density of all numbers, of a law of mean 0 and variance 1."""
    if law == "uniform":
        return -x.size * math.log(2 * math.sqrt(3))
    wide = _END / 2 if law == "truncated_normal" else 1.0
    inside = math.erf(2 / math.sqrt(2)) if law == "truncated_normal" else 1.0
    return float(-((x / wide) ** 2).sum() / 2 - x.size * (math.log(2 * math.pi) / 2 + math.log(wide * inside)))


def _surprise(x: Array, shape: Callable[[Array], Array]) -> float:
    """The probability that sorted numbers of a law lie as far from it or farther (Kolmogorov's limit)."""
    steps = np.arange(len(x) + 1) / len(x)
    values = shape(x)
    distance = max(float((steps[1:] - values).max()), float((values - steps[:-1]).max()))
    root = math.sqrt(len(x))
    t = distance * (root + 0.12 + 0.11 / root)  # Stephens 1970
    return min(1.0, 2 * sum((-1) ** (k - 1) * math.exp(-2 * (k * t) ** 2) for k in range(1, 101))) if t > 0.2 else 1.0
