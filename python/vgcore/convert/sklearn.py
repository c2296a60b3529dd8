"""Nets of scikit-learn: `MLPClassifier`, `MLPRegressor`, and a `Pipeline` that scales features and ends in one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from vgcore.convert.chain import Chain
from vgcore.convert.imported import Imported, Refusal
from vgcore.convert.match import imported
from vgcore.convert.proof import ROWS
from vgcore.convert.tape import Array
from vgcore.convert.values import Affine, recognised

#: What scikit-learn calls the activations that it has between its layers.
_HIDDEN = {"identity": "linear", "logistic": "sigmoid", "tanh": "tanh", "relu": "relu"}
#: The last function of a net, which its loss brings.
_LAST: dict[str, Callable[[Array], Array]] = {
    "identity": lambda y: y,
    "logistic": lambda y: 1 / (1 + np.exp(-y)),
    "softmax": lambda y: (
        np.exp(y - y.max(axis=1, keepdims=True)) / np.exp(y - y.max(axis=1, keepdims=True)).sum(1)[:, None]
    ),
}
_NETS = ("MLPClassifier", "MLPRegressor")
NEAREST = "vg.from_sklearn takes a fitted MLPClassifier or MLPRegressor, and a Pipeline of scalers that ends in one"


def from_sklearn(estimator: Any) -> Imported:
    """The net of a fitted estimator of scikit-learn.

    Args:
        estimator: A fitted `MLPClassifier` or `MLPRegressor`; or a fitted `Pipeline` that ends in one, where each step
            before it takes a feature to a multiple of itself plus a number (`StandardScaler`, `MinMaxScaler`): the
            first map takes both in, so that the net reads what the pipeline reads.

    Returns:
        The net: outputs are those before the softmax or the logistic function, which belong to the loss. It is proved
        against what the estimator itself predicts.

    Raises:
        Refusal: For any other estimator, one that is not fitted, or a step that is no scaler.
        TypeError: For what is nothing of scikit-learn.

    Example:
        vg.probe(vg.from_sklearn(MLPRegressor(hidden_layer_sizes=(30, 30)).fit(x, y)).network, x=x, y=y)
    """
    steps, net = _split(estimator)
    name = type(net).__name__
    weights, biases = (
        [np.ascontiguousarray(w.T, np.float64) for w in net.coefs_],
        [b.astype(np.float64) for b in net.intercepts_],
    )
    chain = Chain(weights[0].shape[1])
    if steps:
        _scale(chain, steps)
    hidden = net.activation
    if hidden not in _HIDDEN:
        raise Refusal(name, f"activation={hidden!r}", f"it is none of {', '.join(_HIDDEN)}", NEAREST)

    for i, (weight, bias) in enumerate(zip(weights, biases, strict=True)):
        chain.linear(f"coefs_[{i}]", "linear map", weight, bias)
        if i < len(weights) - 1:
            chain.activation(f"coefs_[{i}]", _HIDDEN[hidden])
    last = net.out_activation_
    if last not in _LAST:
        raise Refusal(name, f"out_activation_={last!r}", f"it is none of {', '.join(_LAST)}", NEAREST)
    if last != "identity":
        chain.notes.append(f"the last {last} (out_activation_) belongs to the loss: outputs are those before it")
    _check(estimator, name, chain, _LAST[last])
    return imported(chain.tape(), chain.run)


def _split(estimator: Any) -> tuple[Any, Any]:
    """The steps before the net, if there are any, and the net."""
    name = type(estimator).__name__
    if not type(estimator).__module__.startswith("sklearn.") and not any(
        base.__module__.startswith("sklearn.neural_network") for base in type(estimator).__mro__
    ):
        raise TypeError(f"estimator must be one of scikit-learn, got {name}")
    steps, net = (estimator[:-1], estimator[-1]) if hasattr(estimator, "steps") else (None, estimator)
    kinds = {base.__name__ for base in type(net).__mro__ if base.__module__.startswith("sklearn.neural_network")}
    if not kinds & set(_NETS):
        best = (
            "vg.from_sklearn(search.best_estimator_) takes the best of a search"
            if hasattr(net, "estimator")
            else NEAREST
        )
        raise Refusal(name, type(net).__name__, "it is no multilayer perceptron", best)
    if not hasattr(net, "coefs_"):
        raise Refusal(
            name, "fit", "it has not been fitted, so that it has no weights yet", "fit it, for one step if need be"
        )
    return steps if steps is not None and len(steps) else None, net


def _scale(chain: Chain, steps: Any) -> None:
    """What scales features before the net."""
    features = int(getattr(steps, "n_features_in_", chain.in_features))
    names = " and ".join(type(step).__name__ for _, step in steps.steps)
    line = recognised(lambda x: np.asarray(steps.transform(x), np.float64), features, custom=False)
    if not isinstance(line, Affine):
        raise Refusal(
            "Pipeline",
            names,
            "it does not take each feature to a multiple of itself plus a number",
            "vg.from_sklearn(pipe[-1]) reads what pipe[:-1].transform(x) gives",
        )
    chain.in_features = features
    chain.map("Pipeline", names, lambda x: (x * line.scale + line.shift, lambda g: g * line.scale), features)


def _check(estimator: Any, name: str, chain: Chain, last: Callable[[Array], Array]) -> None:
    """Hold the chain to what the estimator itself predicts."""
    x = np.random.default_rng(0).standard_normal((ROWS, chain.in_features))
    ours = last(chain.run(x, None)[0])
    if hasattr(estimator, "predict_proba"):
        theirs = estimator.predict_proba(x)
        theirs = np.asarray(theirs[:, 1:] if ours.shape[1] == 1 else theirs)
    else:
        theirs = np.asarray(estimator.predict(x)).reshape(ours.shape)
    if np.abs(ours - theirs).max() > 1e-6 * np.abs(theirs).max():  # of float32, if it was fitted on that
        raise Refusal(name, "predict", "it predicts something else than its coefs_ and intercepts_ say", NEAREST)
