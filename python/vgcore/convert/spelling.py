"""What frameworks call things: activations and laws of weights, as source."""

from __future__ import annotations

import math
from dataclasses import dataclass

from vgcore.convert.outline import Law, Linear, rounded
from vgcore.model.kind import Activation, Transform

#: Keras and JAX widen a normal that they cut at two standard deviations by the inverse of this.
CUT = 0.87962566103423978


@dataclass(frozen=True)
class Spelled:
    """An activation in one framework.

    Attributes:
        call: The call, `{z}` for what it is called with; of torch a module.
        body: The lines of a function of z that must be defined first; empty where the framework has the activation.
    """

    call: str
    body: tuple[str, ...] = ()


# A row: torch, flax, keras. What begins with "return" or has several lines is the body of a function of z.
_ROWS: dict[str, tuple[str, str, str]] = {
    "sigmoid": ("nn.Sigmoid()", "nnx.sigmoid({z})", "ops.sigmoid({z})"),
    "tanh": ("nn.Tanh()", "nnx.tanh({z})", "ops.tanh({z})"),
    "hardtanh": (
        "nn.Hardtanh({min_val}, {max_val})",
        "jnp.clip({z}, {min_val}, {max_val})",
        "ops.clip({z}, {min_val}, {max_val})",
    ),
    "relu": ("nn.ReLU()", "nnx.relu({z})", "ops.relu({z})"),
    "relu6": ("nn.ReLU6()", "nnx.relu6({z})", "ops.relu6({z})"),
    "leaky_relu": (
        "nn.LeakyReLU({negative_slope})",
        "nnx.leaky_relu({z}, {negative_slope})",
        "ops.leaky_relu({z}, {negative_slope})",
    ),
    "prelu": (
        "nn.PReLU(init={init})",
        "nnx.PReLU({init})",
        "layers.PReLU(initializers.Constant({init}), shared_axes=[1])({z})",
    ),
    "rrelu": ("nn.LeakyReLU({mean})", "nnx.leaky_relu({z}, {mean})", "ops.leaky_relu({z}, {mean})"),
    "elu": ("nn.ELU({alpha})", "nnx.elu({z}, {alpha})", "ops.elu({z}, {alpha})"),
    "celu": ("nn.CELU({alpha})", "nnx.celu({z}, {alpha})", "ops.celu({z}, {alpha})"),
    "selu": ("nn.SELU()", "nnx.selu({z})", "ops.selu({z})"),
    "gelu": (
        'nn.GELU(approximate="{approximate}")',
        "nnx.gelu({z}, approximate={tanh})",
        "ops.gelu({z}, approximate={tanh})",
    ),
    "silu": ("nn.SiLU()", "nnx.silu({z})", "ops.silu({z})"),
    "mish": ("nn.Mish()", "jax.nn.mish({z})", "return z * ops.tanh(ops.softplus(z))"),
    "softplus": (
        "nn.Softplus({beta}, {threshold})",
        "return jnp.where({beta} * z > {threshold}, z, nnx.softplus({beta} * z) / {beta})",
        "return ops.where({beta} * z > {threshold}, z, ops.softplus({beta} * z) / {beta})",
    ),
    "softsign": ("nn.Softsign()", "nnx.soft_sign({z})", "ops.softsign({z})"),
    "hardsigmoid": ("nn.Hardsigmoid()", "nnx.hard_sigmoid({z})", "ops.hard_sigmoid({z})"),
    "hardswish": ("nn.Hardswish()", "nnx.hard_swish({z})", "ops.hard_silu({z})"),
    "logsigmoid": ("nn.LogSigmoid()", "nnx.log_sigmoid({z})", "ops.log_sigmoid({z})"),
    "tanhshrink": ("nn.Tanhshrink()", "return z - jnp.tanh(z)", "ops.tanh_shrink({z})"),
    "softshrink": (
        "nn.Softshrink({lambd})",
        "return z - jnp.clip(z, -{lambd}, {lambd})",
        "ops.soft_shrink({z}, {lambd})",
    ),
    "hardshrink": (
        "nn.Hardshrink({lambd})",
        "return jnp.where(jnp.abs(z) > {lambd}, z, 0.0)",
        "ops.hard_shrink({z}, {lambd})",
    ),
    "threshold": (
        "nn.Threshold({threshold}, {value})",
        "return jnp.where(z > {threshold}, z, {value})",
        "ops.threshold({z}, {threshold}, {value})",
    ),
    "erf": ("return torch.erf(z)", "jax.lax.erf({z})", "ops.erf({z})"),
    "sin": ("return torch.sin({omega} * z)", "jnp.sin({omega} * {z})", "ops.sin({omega} * {z})"),
    "arctan": ("return torch.atan(z)", "jnp.arctan({z})", "ops.arctan({z})"),
    "abs": ("return torch.abs(z)", "jnp.abs({z})", "ops.abs({z})"),
    "squareplus": (
        "return (z + torch.sqrt(z**2 + {b})) / 2",
        "jax.nn.squareplus({z}, {b})",
        "ops.squareplus({z}, {b})",
    ),
    "snake": (
        "return z + torch.sin({alpha} * z) ** 2 / {alpha}",
        "return z + jnp.sin({alpha} * z) ** 2 / {alpha}",
        "return z + ops.sin({alpha} * z) ** 2 / {alpha}",
    ),
    "crelu": (
        "return torch.relu(torch.cat([z, -z], dim=-1))",
        "return nnx.relu(jnp.concatenate([z, -z], axis=-1))",
        "return ops.relu(ops.concatenate([z, -z], axis=-1))",
    ),
    "glu": ("nn.GLU()", "nnx.glu({z})", "ops.glu({z})"),
    "swiglu": (
        "value, gate = z.chunk(2, dim=-1)\nreturn value * F.silu(gate)",
        "value, gate = jnp.split(z, 2, axis=-1)\nreturn value * nnx.silu(gate)",
        "value, gate = ops.split(z, 2, axis=-1)\nreturn value * ops.silu(gate)",
    ),
    "geglu": (
        'value, gate = z.chunk(2, dim=-1)\nreturn value * F.gelu(gate, approximate="{approximate}")',
        "value, gate = jnp.split(z, 2, axis=-1)\nreturn value * nnx.gelu(gate, approximate={tanh})",
        "value, gate = ops.split(z, 2, axis=-1)\nreturn value * ops.gelu(gate, approximate={tanh})",
    ),
}
FRAMEWORKS = ("torch", "flax", "keras")


def number(value: float | str) -> str:
    """A number as it is written: 2 rather than 2.0, and what it is worked out from where that is a short formula.

    >>> number(2.0), number(0.1), number(1e-05), number(1 / 3), number(12**-0.5)
    ('2', '0.1', '1e-5', '1 / 3', '12**-0.5')
    """
    if isinstance(value, str):
        return value
    if value.is_integer() and abs(value) < 1e6:
        return f"{value:.0f}"
    if value < 0:
        return f"-{number(-value)}"
    if len(f"{value}") > 10 and 1e-3 < value < 1:
        for inverse, formula in ((1 / value, "1 / {:.0f}"), (value**-2, "{:.0f}**-0.5")):
            if abs(inverse - round(inverse)) < 1e-10 * inverse:
                return formula.format(inverse)
    return f"{value}".replace("e-0", "e-")


def activation(kind: Activation, framework: str) -> Spelled:
    """An activation in a framework's words."""
    if kind.name not in _ROWS:
        raise ValueError(f"no source for activation={kind.label!r}, a table of samples: write the function by its name")
    row = _ROWS[kind.name][FRAMEWORKS.index(framework)]
    params = kind.params
    words = {name: number(value) for name, value in params.items()}
    words["tanh"] = str(params.get("approximate") == "tanh")
    if kind.name == "rrelu":  # in evaluation, as vgcore has it
        words["mean"] = number((float(params["lower"]) + float(params["upper"])) / 2)
    elif framework == "torch" and kind == kind.name and row.startswith("nn."):  # the defaults are torch's
        row = row[: row.index("(")] + "()"
    elif framework != "torch" and kind == "softplus":  # which differs from its own threshold by 1e-9
        row = {"flax": "nnx.softplus({z})", "keras": "ops.softplus({z})"}[framework]
    if "return" not in row:
        return Spelled(row.format(z="{z}", **words))
    name = kind.name.title().replace("_", "") if framework == "torch" else kind.name
    return Spelled(name, tuple(row.format(z="z", **words).split("\n")))


def torch_draw(law: Law, at: Linear, *, formula: bool) -> tuple[str, list[str]]:
    """A function of `torch.nn.init`, and its arguments behind the tensor.

    Args:
        law: What is drawn.
        at: The map.
        formula: Whether sizes may be written by the names `fan_in` and `fan_out`, or as numbers.
    """
    values = [number(value) for value in law.values]
    match law.shape:
        case "constant":
            name = {0.0: "zeros_", 1.0: "ones_"}.get(law.values[0])
            return (name, []) if name else ("constant_", values)
        case "eye" if law.values[0] != 1:
            raise ValueError(f"no source for init='eye(gain={values[0]})' in torch, whose eye_ has no gain")
        case "eye":
            return "eye_", []
        case "orthogonal":
            return "orthogonal_", [] if law.values[0] == 1 else [f"gain={values[0]}"]
        case "sparse":
            return "sparse_", values
    if law.fan is None:
        return {"truncated_normal": "trunc_normal_"}.get(law.shape, f"{law.shape}_"), values
    if law.shape != "truncated_normal" and (known := _torch_name(law)):
        return known
    std = law.std(at.fan_in, at.fan_out)
    if law.shape == "normal":
        return "normal_", [f"std={_root(law, 1) if formula else number(std)}"]
    if law.shape == "uniform":
        bound = _root(law, 3) if formula else number(rounded(math.sqrt(3) * std))
        return "uniform_", [f"-({bound})" if formula else f"-{bound}", bound]
    if formula:  # `std` by `torch_std`
        return "trunc_normal_", ["std=std", "a=-2 * std", "b=2 * std"]
    cut, wide = number(rounded(2 * std / CUT)), number(rounded(std / CUT))
    return "trunc_normal_", [f"std={wide}", f"a=-{cut}", f"b={cut}"]


def torch_std(law: Law) -> list[str]:
    """What must stand before a formula of `torch_draw`: of a cut normal its standard deviation before the cut."""
    return [f"std = {_root(law, 1)} / {CUT}"] if law.shape == "truncated_normal" and law.fan is not None else []


def _root(law: Law, times: float) -> str:
    """`(c / fan_in) ** 0.5`."""
    fan, scale = law.fan, rounded(times * law.values[0])
    if fan == "fan_avg":
        fan, scale = "(fan_in + fan_out)", rounded(2 * scale)
    return f"({number(scale)} / {fan}) ** 0.5"


def _torch_name(law: Law) -> tuple[str, list[str]] | None:
    """The law as Xavier's or He's; None where neither has it under a gain that has a name."""
    scale = law.values[0]
    if law.fan == "fan_avg":
        gain = rounded(math.sqrt(scale))
        return f"xavier_{law.shape}_", [] if gain == 1 else [f"gain={number(gain)}"]
    mode = ['mode="fan_out"'] if law.fan == "fan_out" else []
    gains = {2.0: [], 1.0: ['nonlinearity="linear"'], rounded(25 / 9): ['nonlinearity="tanh"']}
    slope = rounded(math.sqrt(2 / scale - 1)) if 0 < scale < 2 else 0.0
    if scale not in gains and slope == round(slope, 3) and slope:
        gains[scale] = [f"a={number(slope)}"]
    return (f"kaiming_{law.shape}_", gains[scale] + mode) if scale in gains else None


def flax_draw(law: Law) -> str:
    """An initializer of JAX, as an argument of `nnx.Linear`."""
    init = "nnx.initializers"
    values = [number(value) for value in law.values]
    if law.fan is not None:
        mode = law.fan
        named = {"truncated_normal": "normal", "uniform": "uniform"}.get(law.shape)
        families = {("fan_in", 2.0): "he", ("fan_in", 1.0): "lecun", ("fan_avg", 1.0): "glorot"}
        if named and (family := families.get((mode, law.values[0]))):
            return f"{init}.{family}_{named}()"
        return f'{init}.variance_scaling({values[0]}, "{mode}", "{law.shape}")'
    draw = "lambda key, shape, dtype: "
    match law.shape, law.values:
        case "constant", (value,):
            return {0.0: f"{init}.zeros", 1.0: f"{init}.ones"}.get(value, f"{init}.constant({values[0]})")
        case "orthogonal", (gain,):
            return f"{init}.orthogonal({'' if gain == 1 else values[0]})"
        case "uniform", (low, high):
            if low == 0:
                return f"{init}.uniform({values[1]})"
            return f"partial(jax.random.uniform, minval={values[0]}, maxval={values[1]})"
        case "normal", (mean, _):
            if mean == 0:
                return f"{init}.normal({values[1]})"
            return f"{draw}{values[0]} + {values[1]} * jax.random.normal(key, shape, dtype)"
        case "truncated_normal", (mean, std, low, high):
            ends = f"{number((low - mean) / std)}, {number((high - mean) / std)}"
            drawn = f"{values[1]} * jax.random.truncated_normal(key, {ends}, shape, dtype)"
            return draw + (drawn if mean == 0 else f"{values[0]} + {drawn}")
        case "eye", (gain,):
            return f"{draw}{'' if gain == 1 else values[0] + ' * '}jnp.eye(*shape, dtype=dtype)"
    raise ValueError(f"no source for init='{law.shape}' in flax, which has no such initializer")


def keras_draw(law: Law) -> str:
    """An initializer of Keras, as an argument of `Dense`: a name where there is one."""
    values = ", ".join(number(value) for value in law.values)
    init = "initializers"
    if law.fan is not None:
        named = {"truncated_normal": "normal", "uniform": "uniform"}.get(law.shape)
        families = {("fan_in", 2.0): "he", ("fan_in", 1.0): "lecun", ("fan_avg", 1.0): "glorot"}
        if named and (family := families.get((law.fan, law.values[0]))):
            return f'"{family}_{named}"'
        shape = {"normal": "untruncated_normal"}.get(law.shape, law.shape)
        return f'{init}.VarianceScaling({values}, "{law.fan}", "{shape}")'
    match law.shape, law.values:
        case "constant", (value,):
            return {0.0: '"zeros"', 1.0: '"ones"'}.get(value, f"{init}.Constant({values})")
        case "orthogonal", (gain,):
            return '"orthogonal"' if gain == 1 else f"{init}.Orthogonal({values})"
        case "eye", (gain,):
            return f"{init}.Identity({'' if gain == 1 else values})"
        case "uniform" | "normal", _:
            return f"{init}.Random{law.shape.title()}({values})"
        case "truncated_normal", (mean, std, low, high) if low == mean - 2 * std and high == mean + 2 * std:
            return f"{init}.TruncatedNormal({number(mean)}, {number(std)})"
    raise ValueError(f"no source for init='{law.shape}({values})' in keras, which has no such initializer")


def transformed(transform: str, framework: str, *, bias: bool) -> tuple[str, list[str]]:
    """A linear layer whose weights go through a transform first: the name of its class, and its lines."""
    kind = Transform(transform)
    gain = float(kind.params.get("gain", 1.0))
    times = "" if gain == 1 else f"{number(gain)} * "
    torch = framework == "torch"
    np_ = {"torch": "torch", "flax": "jnp", "keras": "ops"}[framework]
    w = {"torch": "self.weight", "flax": "w", "keras": "self.kernel"}[framework]
    head = {
        "torch": ["class NAME(nn.Linear):", "    def forward(self, x):"],
        "flax": ["class NAME(nnx.Linear):", "    def __call__(self, x):", "        w = self.kernel[...]"],
        "keras": ["class NAME(layers.Dense):", "    def call(self, x):"],
    }[framework]
    if kind.name == "spectral_norm":
        largest = {"torch": "torch.linalg.matrix_norm({}, 2)", "flax": "jnp.linalg.norm({}, 2)"}
        lines = [f"w = {times}{w} / {largest.get(framework, 'ops.norm({}, 2)').format(w)}"]
    else:
        eps = float(kind.params.get("eps", 0.0))
        axis = "dim=1" if torch else "axis=0"
        keep = f"{axis}, keepdim=True" if torch else f"{axis}, keepdims=True"
        fan = "x.shape[-1]"
        below = f"(w**2).mean({keep})" if framework != "keras" else f"ops.mean(w**2, {keep})"
        mean = f"{w}.mean({keep})" if framework != "keras" else f"ops.mean({w}, {keep})"
        below = f"({below} + {number(eps)})" if eps else below
        lines = [f"w = {w} - {mean}", f"w = {times}w / {np_}.sqrt({fan} * {below})"]
    last = "return F.linear(x, w, self.bias)" if torch else f"return x @ w{' + self.bias' if bias else ''}"
    name = "Spectral" if kind.name == "spectral_norm" else "Standardised"
    name += "Dense" if framework == "keras" else "Linear"
    return name, [*head, *(f"        {line}" for line in (*lines, last))]
