"""Pretraining, layer by layer: `pretrain` -> `Pretrained`."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vgcore import _core
from vgcore.measure.probe import probe
from vgcore.measure.progress import epochs_line
from vgcore.model.given import array, boolean, text, wrong_type
from vgcore.model.kind import Loss
from vgcore.model.mlp import MLP
from vgcore.model.network import Network
from vgcore.model.plan import Layer, Plan
from vgcore.model.spec import Spec
from vgcore.pretrain import learn
from vgcore.pretrain.learn import SEEN, Floats, Method, Pace, Pair, apart, chances, in_unit_interval, samples, up
from vgcore.pretrain.machine import RBM, fitted, fresh
from vgcore.pretrain.pretrained import MONITORS, Pretrained, PretrainedLayer
from vgcore.train.fit import train

#: What else a layer may have, and how to do without.
OTHERS = {"norm": "norm=None", "join": "skip=None"}


def pretrain(
    spec: Spec,
    x: ArrayLike,
    y: ArrayLike | None = None,
    *,
    method: str = "rbm",
    loss: str | Loss | None = None,
    epochs: int = 30,
    lr: float = 0.1,
    batch: int = 20,
    momentum: float | tuple[float, float] = (0.5, 0.9),
    decay: float = 0.0,
    seed: int = 0,
    held_out: float | ArrayLike | None = None,
    progress: bool = False,
) -> Pretrained:
    """Train the hidden layers one by one, each on what the one below makes of the rows: greedy layer-wise pretraining.

    It was the first remedy for vanishing gradients: a deep sigmoid net that SGD cannot move learns once its layers are
    pretrained (Hinton, Osindero, Teh 2006; Bengio, Lamblin, Popovici, Larochelle 2007). A layer's weights and biases
    are put into the net, the biases of the visible side are not; the readout is that of a fresh net.

    Args:
        spec: An `MLP` of plain layers `phi(W h + b)`, with biases, and neither norms nor skips.
        x: Samples `(rows, in_features)`; from 0 to 1 for `rbm`.
        y: Targets, for `supervised`; with them, probes are of their loss.
        method: `"rbm"`, Boltzmann machines of sigmoid layers, by contrastive divergence of `k` steps, as in
            `"rbm(k=1, persistent=true)"`; `"dae"`, denoising autoencoders with tied weights, which are to restore rows
            whose entries were set to 0 with probability `corrupt`, as in `"dae(corrupt=0.25)"`, by the cross-entropy
            where all that comes in is from 0 to 1, else by the squared error; or `"supervised"`, each layer with a
            readout of its own. `vg.kinds("pretraining")` tells of all.
        loss: Of `y`, as in `train`.
        epochs: Passes over the rows, for each layer.
        lr: The rate.
        batch: Rows of a batch.
        momentum: One number, or that of the first 5 epochs and that of the others, which `supervised` takes throughout.
        decay: Weight decay: `decay * W` joins the gradient.
        seed: Of weights, order and samples; the network is otherwise that of `spec.init(seed)`.
        held_out: A share of the rows, which no layer learns from, or other rows, for the monitors.
        progress: Show a line in a notebook, or on stderr where that is a terminal.

    Raises:
        ValueError: For a net whose layers cannot be pretrained by the method, with what to change; for samples outside
            of [0, 1] with `rbm`; for targets that are not as many as the rows; for a rate with which a layer diverges.
        TypeError: For what is no MLP.
        KeyboardInterrupt: At Ctrl-C.

    >>> import vgcore as vg
    >>> x, y = vg.data.digits(standardize=False)
    >>> spec = vg.MLP(depth=2, width=32, in_features=64, out_features=10, activation="sigmoid")
    >>> found = vg.pretrain(spec, x / 16, method="dae(corrupt=0.25)", epochs=2)
    >>> len(found.layers), len(found.probes), found.network.spec == spec
    (2, 3, True)
    """
    way = Method(text("method", method))
    layers = suited(spec, way)
    pace = Pace.of(epochs=epochs, lr=lr, batch=batch, momentum=momentum, decay=decay, seed=seed)
    if way.name == "supervised" and y is None:
        raise ValueError("method 'supervised' needs targets: give y")
    rows = (chances if way.name == "rbm" else samples)("x", x, layers[0].input)
    targets = None if y is None else array("y", y, kinds="biufUO")
    if targets is not None and targets.shape[:1] != rows.shape[:1]:
        raise ValueError(f"y must have a target a row of x, {len(rows)} of them, got shape {targets.shape}")
    kept, others = apart(rows, held_out, pace.seed)
    rows, targets = rows[kept], None if targets is None else targets[kept]
    measured = partial(probe, x=rows, y=targets, loss=loss if targets is not None else None)
    state = spec.init(pace.seed).state_dict()
    starts = fresh([layers[0].input, *(layer.width for layer in layers)], pace.seed) if way.name == "rbm" else None
    network = Network.from_state_dict(spec, state)
    probes = [measured(network)]
    seen: list[PretrainedLayer] = []
    machines: list[RBM] = []
    below, held = rows, others
    with epochs_line(len(layers), pace.epochs, show=boolean("progress", progress)) as line:
        for i, layer in enumerate(layers):
            own = Pair(state[f"layers.{i}.weight"], np.zeros(layer.input), state[f"layers.{i}.bias"])
            if starts is not None:
                found = fitted(way, starts[i], below, held, pace, layer=i, line=line)
                machines.append(found)
                pair, monitors = Pair(found.W, found.b, found.c), dict(found.monitors)
            elif way.name == "dae":
                pair, monitors = _denoised(way, own, below, held, pace, layer=layer, index=i, line=line)
            else:
                assert isinstance(spec, MLP)  # noqa: S101 (which `suited` has seen)
                pair, monitors = _supervised(spec, below, targets, pace, layer=layer, index=i, loss=loss, line=line)
            dtype = state[f"layers.{i}.weight"].dtype
            state[f"layers.{i}.weight"] = np.asarray(pair.weight, dtype=dtype)
            state[f"layers.{i}.bias"] = np.asarray(pair.hidden, dtype=dtype)
            nothing = {name: np.full(pace.epochs, math.nan) for name in MONITORS}
            seen.append(PretrainedLayer(i, layer.input, layer.width, **nothing | monitors))
            network = Network.from_state_dict(spec, state)
            probes.append(measured(network))
            below = up(pair, below, layer.activation)
            held = up(pair, held, layer.activation) if len(held) else held[:, :0]
    return Pretrained(network, str(way), tuple(seen), tuple(probes), tuple(machines))


def suited(spec: Any, way: Method) -> list[Layer]:
    """The hidden layers of a net that a method can pretrain.

    Raises:
        ValueError: Where it cannot, with what to change.
        TypeError: For what is no MLP.
    """
    if not isinstance(spec, MLP):
        raise wrong_type("spec", "an MLP, whose layers can be trained one by one", spec)
    advice = "layer-wise pretraining is of plain layers phi(W h + b)"
    if spec.tied or spec.inputs != "first":
        raise ValueError(f"{advice}, each with a matrix of its own: give tied=False and inputs='first'")
    if spec.weight_transform is not None:
        raise ValueError(f"{advice}: give weight_transform=None, or train the net as it is with vg.train")
    layers, names = list(Plan.of(spec).layers), {name for name, _ in _core.tensors(spec)}
    for i, layer in enumerate(layers):
        for part in layer.parts:
            if part in OTHERS:
                raise ValueError(
                    f"{advice}, and layer {i + 1} has a {part}: give {OTHERS[part]}, or leave pretraining out"
                )
        if f"layers.{i}.bias" not in names:
            raise ValueError(f"{advice}, and layer {i + 1} has no biases for what it learns: give bias=None")
        name = layer.activation
        if way.name == "rbm" and name != "sigmoid":
            raise ValueError(
                f"the hidden units of a Boltzmann machine are sigmoid, and those of layer {i + 1} are {name}: "
                "give activation='sigmoid', or method='dae'"
            )
        if _core.activation_outputs(name) != 1 or any(step.key for step in layer.steps if step.part == "activation"):
            raise ValueError(
                f"{advice}, and {name} in layer {i + 1} gates, doubles or learns: give activation='sigmoid'"
            )
    if way.name == "supervised" and spec.out_features is None:
        raise ValueError("method 'supervised' needs a readout: give out_features")
    return layers


def _denoised(
    way: Method, start: Pair, rows: Floats, others: Floats, pace: Pace, *, layer: Layer, index: int, line: Any
) -> tuple[Pair, dict[str, Floats]]:
    """A layer that restores what was corrupted."""
    chance, phi = in_unit_interval(rows), layer.activation
    errors, held = np.full(pace.epochs, math.nan), np.full(pace.epochs, math.nan)

    def look(epoch: int, pair: Pair) -> None:
        errors[epoch] = learn.error(pair, rows[:SEEN], phi, probabilities=chance)
        held[epoch] = learn.error(pair, others[:SEEN], phi, probabilities=chance)
        if line is not None:
            line(index, epoch, errors[epoch])

    pair = learn.learn(way, start, rows, pace, layer=index, activation=phi, probabilities=chance, seen=look)
    return pair, {"error": errors, "held_out_error": held}


def _supervised(
    spec: MLP,
    rows: Floats,
    targets: NDArray[Any] | None,
    pace: Pace,
    *,
    layer: Layer,
    index: int,
    loss: str | Loss | None,
    line: Callable[[int, int, float], None] | None,
) -> tuple[Pair, dict[str, Floats]]:
    """A layer that learns the targets, with a readout of its own, on what the layers below make of the rows."""

    def own(field: Any) -> Any:
        """What the layer has of a field with one value, or one a layer."""
        return field[min(index, len(field) - 1)] if isinstance(field, tuple) else field

    alone = MLP(
        depth=1,
        width=layer.width,
        in_features=layer.input,
        out_features=spec.out_features,
        activation=layer.activation,
        init=own(spec.init),
        bias=own(spec.bias),
    )
    batch = min(pace.batch, len(rows))
    each = len(rows) // batch
    optimizer = f"sgd(lr={pace.lr}, momentum={pace.momentum[1]}, weight_decay={pace.decay})"
    how: dict[str, Any] = {"loss": loss, "optimizer": optimizer, "batch": batch, "steps": each * pace.epochs}
    # Layers draw from streams of one seed each, so that those of a net differ.
    seed = (pace.seed + index) % 2**64
    run = train(alone, rows, targets, seed=seed, checkpoints=0, record=[1], **how)
    if run.stopped_by[0] != "steps":
        raise ValueError(f"layer {index + 1} diverged: give a smaller lr than {pace.lr:g}")
    state = run.networks[0].state_dict()
    losses = run.loss[0].reshape(pace.epochs, each).mean(axis=1)
    if line is not None:
        line(index, pace.epochs - 1, float(losses[-1]))
    pair = Pair(state["layers.0.weight"], np.zeros(layer.input), state["layers.0.bias"])
    return pair, {"loss": losses}
