"""A small net worked out as on a blackboard, forward, backward and one step of gradient descent: `explain`."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vgcore import _core
from vgcore.measure.brought import brought
from vgcore.measure.derivation import Section, derivation
from vgcore.model.custom import named
from vgcore.model.given import Bounds, array, integer, number, wrong_type
from vgcore.model.kind import Loss
from vgcore.model.network import Forward, Gradients, Network
from vgcore.model.plan import Plan
from vgcore.model.rnn import RNN
from vgcore.model.shown import Shown
from vgcore.model.spec import Spec
from vgcore.model.transformer import Transformer
from vgcore.model.versioned import Versioned

Array = NDArray[np.floating[Any]]

#: Parameters of the largest net that is written out.
LARGEST = 100_000
ALLOWED = "explain writes out plain nets, layers of W h + b and an elementwise activation, with a readout or none"
#: What is not written out, what says most of a net first.
NAMES = {
    "norm": "a norm",
    "dropout": "dropout",
    "keep": "a skip",
    "join": "a skip",
}
ELSE = "Network.trace and Network.gradients give the numbers of any net"


@dataclass(frozen=True, eq=False)
class Explanation(Versioned, Shown):
    r"""A forward pass, its gradients and one step of gradient descent, with all numbers that they are made of.

    `print` shows it as text of 80 columns, a notebook as tables, `to_latex()` writes it as LaTeX.

    Attributes:
        net: The net.
        x: The samples, `(batch, in_features)`.
        y: The targets as the loss takes them: class ids `(batch,)`, numbers `(batch, outputs)`, or None.
        loss: The loss, as a text.
        lr: The rate of the step.
        digits: The significant digits shown.
        forward: What the forward pass computes.
        output_gradient: dL/dy, `(batch, outputs)`.
        gradients: What the backward pass computes.
        loss_value: The loss.
        stepped: The net after the step.
        new_loss_value: Its loss.

    >>> import vgcore as vg
    >>> net = vg.MLP(depth=3, width=1, activation="sigmoid", init="constant(0.5)", bias=False).init(dtype="float64")
    >>> e = vg.explain(net, [[1.0]], [[0.8]], loss="half_mse")
    >>> print("\n".join(str(e).splitlines()[:7]))
    3 layers of width 1, sigmoid, float64; 1 sample, loss half_mse
    <BLANKLINE>
    Layers
    Layers count from the input; δ is ∂L/∂z.
      layer         z         a     φ′(z)            δ        ∂L/∂W
          1       0.5  0.622459  0.235004  -0.00080169  -0.00080169
          2   0.31123  0.577185  0.244042  -0.00682279  -0.00424691
    """

    net: Network
    x: Array
    y: NDArray[Any] | None
    loss: str
    lr: float
    digits: int
    forward: Forward
    output_gradient: Array
    gradients: Gradients
    loss_value: float
    stepped: Network
    new_loss_value: float

    @cached_property
    def sections(self) -> tuple[Section, ...]:
        """The derivation: what is computed, by which formula, of which numbers."""
        return derivation(self)

    def to_dict(self) -> dict[str, Any]:
        """All numbers as plain lists, for JSON: those of the loss, of each layer and of the readout.

        A layer has `layer` (counted from 1), `activation`, `weight`, `bias`, `z`, `slopes`, `a`, `delta`,
        `weight_gradient`, `bias_gradient`, `new_weight` and `new_bias`; the readout what it has of these. Without
        biases theirs are None.
        """
        state, new, found = self.net.state_dict(), self.stepped.state_dict(), self.gradients.parameters

        def of(key: str) -> dict[str, Any]:
            names = {"weight": f"{key}.weight", "bias": f"{key}.bias"}
            return {
                name: _listed(numbers.get(names[sort]))
                for sort in names
                for name, numbers in ((sort, state), (f"{sort}_gradient", found), (f"new_{sort}", new))
            }

        plan, forward = Plan.of(self.net.spec), self.forward
        layers = [
            {"layer": l + 1, "activation": named(str(layer.activation))}
            | {name: _listed(getattr(forward, name)[l]) for name in ("z", "slopes", "a")}
            | {"delta": _listed(self.gradients.preactivations[l])}
            | of(f"layers.{l}")
            for l, layer in enumerate(plan.layers)
        ]
        return {
            "loss": self.loss,
            "lr": self.lr,
            "dtype": self.net.dtype,
            "x": _listed(self.x),
            "y": _listed(self.y),
            "layers": layers,
            "readout": of("readout") if plan.readout is not None else None,
            "output": _listed(forward.output),
            "output_gradient": _listed(self.output_gradient),
            "input_gradient": _listed(self.gradients.input),
            "loss_value": self.loss_value,
            "new_loss_value": self.new_loss_value,
        }

    def to_latex(self) -> str:
        r"""The derivation as LaTeX, to be put into a document that has `\usepackage{amsmath}`."""
        from vgcore.show import lecture

        return lecture.latex(self)

    def __str__(self) -> str:
        from vgcore.show import lecture

        return lecture.text(self)

    def __repr__(self) -> str:
        layers = len(self.forward.z)
        return f"Explanation({layers} layers, {self.loss} {self.loss_value:.6g} -> {self.new_loss_value:.6g})"


def explain(
    net: Any,
    x: ArrayLike,
    y: ArrayLike | None = None,
    *,
    loss: str | Loss | None = None,
    lr: float = 0.1,
    digits: int = 6,
) -> Explanation:
    """Work a small net out with all its numbers: forward, the loss, the chain rule backward, one step of descent.

    Of each layer there are `z = W h + b`, `a = phi(z)` and phi'(z); of each gradient, the product of the factors that
    the chain rule makes it of; of the step, `W - lr dL/dW` and the loss that it leads to. The numbers are the core's;
    only how they come about is written beside them (Rumelhart, Hinton and Williams 1986, doi:10.1038/323533a0). The
    last part says how delta = dL/dz shrinks or grows from layer to layer, and between which bounds.

    Args:
        net: A `Network`, or a model of another library, as in `probe`: of plain layers, `W h + b` and an elementwise
            activation, with or without a readout, and of at most 100 000 parameters. Matrices of at most 64 entries
            are shown; larger ones are told by shape and norm. A formula has the numbers of what has at most 9 entries,
            and else the symbol with its shape. Of more than 12 layers the first and the last 3 are written out.
        x: `(batch, in_features)`: one sample for the plainest table. Of several, gradients are sums over them.
        y: Targets, as in `Network.gradients`.
        loss: A loss, as in `Network.gradients`.
        lr: The rate of the step, 0 or more.
        digits: Significant digits shown, 1 to 17. What is kept has all of them.

    Raises:
        ValueError: For a net with what is not written out, which is named: a norm, a skip, dropout, weights that are
            tied or transformed, an activation that learns or that changes the width; or for numbers that are not
            finite.
        TypeError: For a net that is none, such as a spec, which has no numbers before `spec.init(...)`.

    >>> import vgcore as vg
    >>> net = vg.MLP(depth=3, width=1, activation="sigmoid", init="constant(0.5)", bias=False).init(dtype="float64")
    >>> e = vg.explain(net, [[1.0]], [[0.8]], loss="half_mse")
    >>> e
    Explanation(3 layers, half_mse 0.0260715 -> 0.0259656)
    >>> e.gradients.weights[0]
    array([[-0.00080169]])
    """
    lr, digits = number("lr", lr, Bounds(least=0)), integer("digits", digits, least=1, most=17)
    if isinstance(net, Spec):
        raise TypeError(f"{wrong_type('net', 'a Network', net)}; a spec has no numbers yet: give spec.init(seed=0)")
    if not isinstance(net, Network):
        net, _ = brought(net, x, "a Network", name="net")
    check_plain(net.spec)
    found = net.gradients(x, y, loss=loss)
    samples = array("x", x).astype(np.float64)
    # Without a loss there are no gradients.
    loss_name = str(_core.loss_name(loss, y))
    forward = net.trace(samples)
    value, cotangent = _core.loss_gradient(loss_name, forward.output, y)
    _check_finite(net, forward, found, value)
    stepped = _stepped(net, found, lr)
    return Explanation(
        net=net,
        x=samples,
        y=_core.targets(loss_name, y, *forward.output.shape),
        loss=loss_name,
        lr=lr,
        digits=digits,
        forward=forward,
        output_gradient=cotangent,
        gradients=found,
        loss_value=value,
        stepped=stepped,
        new_loss_value=_core.loss_gradient(loss_name, stepped.forward(samples), y)[0],
    )


def check_plain(spec: Spec) -> None:
    """Refuse a net with what is not written out."""
    if isinstance(spec, RNN | Transformer):
        raise ValueError(f"{ALLOWED}; this one is {'an RNN' if isinstance(spec, RNN) else 'a Transformer'}. {ELSE}")
    plan = Plan.of(spec)
    for l, layer in enumerate(plan.layers, 1):
        has = [name for part, name in NAMES.items() if any(step.part == part for step in layer.steps)]
        for step in layer.steps:
            if step.part == "activation" and step.key is not None:
                has.append(f"an activation that learns its slope, {named(step.kind)}")
            elif step.part == "activation" and step.inputs != step.outputs:
                has.append(f"an activation that changes the width, {named(step.kind)}")
            elif step.map is not None and step.map.transform is not None:
                has.append(f"transformed weights, {step.map.transform}")
        if [step.part for step in layer.steps] != ["map", "activation"] or has:
            what = has[0] if has else "its activation before its map"
            raise ValueError(f"{ALLOWED}; layer {l} of this one has {what}. {ELSE}")
    if any(step.part != "map" for step in plan.ends):
        step = next(step for step in plan.ends if step.part != "map")
        raise ValueError(
            f"{ALLOWED}; this one has {NAMES.get(step.part, 'an activation')} behind its last layer. {ELSE}"
        )
    if getattr(spec, "tied", False):
        raise ValueError(f"{ALLOWED}; the layers of this one share their weights. {ELSE}")
    count = sum(size for _, size in _core.tensors(spec))
    if count > LARGEST:
        raise ValueError(
            f"explain writes out nets of at most {LARGEST} parameters, this one has {count}; vg.probe and vg.diagnose "
            "measure larger ones"
        )


def _check_finite(net: Network, forward: Forward, found: Gradients, loss: float) -> None:
    """Refuse numbers that a blackboard has no place for."""
    wider = ', or float64: net = spec.init(dtype="float64")' if net.dtype == "float32" else ""
    for l, (z, a) in enumerate(zip(forward.z, forward.a, strict=True), 1):
        if not (np.isfinite(z).all() and np.isfinite(a).all()):
            raise ValueError(f"z or a of layer {l} leaves {net.dtype}: take a smaller init, or smaller x{wider}")
    for l, delta in reversed([*enumerate(found.preactivations, 1)]):
        if not np.isfinite(delta).all():
            raise ValueError(f"dL/dz of layer {l} leaves {net.dtype}: take a smaller init, or y near the output{wider}")
    if not np.isfinite(loss) or not all(np.isfinite(each).all() for each in found.parameters.values()):
        raise ValueError(f"the loss or its gradients leave {net.dtype}: take a smaller init, or smaller x and y{wider}")


def _stepped(net: Network, found: Gradients, lr: float) -> Network:
    """The net after a step of gradient descent."""
    with np.errstate(over="ignore"):
        state = {name: numbers - lr * found.parameters[name] for name, numbers in net.state_dict().items()}
    if not all(np.isfinite(numbers).all() for numbers in state.values()):
        wider = ', or take float64: net = spec.init(dtype="float64")' if net.dtype == "float32" else ""
        raise ValueError(f"a step of lr={lr:g} takes the parameters out of {net.dtype}: lower lr{wider}")
    return Network.from_state_dict(net.spec, state)


def _listed(numbers: NDArray[Any] | None) -> Any:
    return None if numbers is None else numbers.tolist()
