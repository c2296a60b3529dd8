"""Nets of scikit-learn come in with proof, and what is no such net is refused by name."""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Callable
from copy import copy
from functools import partial
from typing import Any

import numpy as np
import pytest

import vgcore as vg
from vgcore.convert.imported import NonFinite, Refusal

sklearn = pytest.importorskip("sklearn", reason="nets of scikit-learn are made by scikit-learn")

from sklearn.compose import ColumnTransformer  # noqa: E402
from sklearn.decomposition import PCA  # noqa: E402
from sklearn.ensemble import RandomForestClassifier, VotingClassifier  # noqa: E402
from sklearn.feature_selection import SelectKBest, VarianceThreshold  # noqa: E402
from sklearn.linear_model import LinearRegression, LogisticRegression, Perceptron  # noqa: E402
from sklearn.model_selection import GridSearchCV  # noqa: E402
from sklearn.neural_network import BernoulliRBM, MLPClassifier, MLPRegressor  # noqa: E402
from sklearn.pipeline import Pipeline, make_pipeline  # noqa: E402
from sklearn.preprocessing import (  # noqa: E402
    Binarizer,
    FunctionTransformer,
    KBinsDiscretizer,
    MaxAbsScaler,
    MinMaxScaler,
    Normalizer,
    PolynomialFeatures,
    PowerTransformer,
    QuantileTransformer,
    RobustScaler,
    SplineTransformer,
    StandardScaler,
)
from sklearn.svm import SVC  # noqa: E402
from sklearn.tree import DecisionTreeClassifier  # noqa: E402

DRAW = np.random.default_rng(0)
X = 2 * DRAW.standard_normal((60, 5)) + 1
TWO, THREE = (X[:, 0] > 1).astype(int), np.digitize(X[:, 0], [0, 2])
LABELS = np.column_stack([TWO, X[:, 1] > 1]).astype(int)
ONE, MANY = X[:, 0], X[:, :3]


def fitted(kind: Any, y: Any, steps: tuple[Any, ...] = (), **fields: Any) -> Any:
    net = kind(**{"max_iter": 2, "random_state": 0, "hidden_layer_sizes": (8, 8)} | fields)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it has not converged
        return (make_pipeline(*steps, net) if steps else net).fit(X, y)


def constant_feature() -> Any:
    x = X.copy()
    x[:, 2] = 3.0
    return make_pipeline(StandardScaler(), MLPRegressor(max_iter=2)).fit(x, ONE)


NAMES = {"identity": "linear", "logistic": "sigmoid", "tanh": "tanh", "relu": "relu"}
ACCEPTED: dict[str, tuple[Callable[[], Any], dict[str, Any]]] = {}
for activation, (name, (kind, y, outputs)) in itertools.product(
    NAMES,
    {
        "two classes": (MLPClassifier, TWO, 1),
        "three classes": (MLPClassifier, THREE, 3),
        "labels": (MLPClassifier, LABELS, 2),
        "one number": (MLPRegressor, ONE, 1),
        "many numbers": (MLPRegressor, MANY, 3),
    }.items(),
):
    ACCEPTED[f"{name}, {activation}"] = (
        partial(fitted, kind, y, activation=activation),
        {"depth": 2, "width": 8, "in_features": 5, "out_features": outputs, "activation": NAMES[activation]},
    )
for scaler in (StandardScaler(), MinMaxScaler(), MaxAbsScaler(), RobustScaler(), "passthrough"):
    ACCEPTED[f"behind {scaler}"] = (partial(fitted, MLPRegressor, MANY, (scaler,)), {"in_features": 5})
for solver in ("lbfgs", "sgd", "adam"):
    ACCEPTED[solver] = (partial(fitted, MLPClassifier, THREE, solver=solver), {"depth": 2})
ACCEPTED |= {
    "one hidden layer": (lambda: fitted(MLPRegressor, ONE, hidden_layer_sizes=(9,)), {"depth": 1, "width": 9}),
    "widths": (lambda: fitted(MLPRegressor, ONE, hidden_layer_sizes=(9, 4, 7)), {"width": (9, 4, 7)}),
    "no hidden layer": (lambda: fitted(MLPRegressor, ONE, hidden_layer_sizes=()), {"depth": 1, "out_features": None}),
    "deep": (lambda: fitted(MLPClassifier, THREE, hidden_layer_sizes=(8,) * 20), {"depth": 20}),
    "two scalers": (lambda: fitted(MLPClassifier, TWO, (StandardScaler(), MinMaxScaler())), {"depth": 2}),
    "a constant feature": (constant_feature, {"in_features": 5}),
    "float32": (lambda: MLPRegressor(max_iter=2).fit(X.astype(np.float32), ONE.astype(np.float32)), {"depth": 1}),
    "a class of one's own": (lambda: Own(max_iter=2).fit(X, ONE), {"depth": 1, "width": 100}),
}


class Own(MLPRegressor):  # type: ignore[misc]
    """What a user makes of it."""


def outputs_of(estimator: Any, x: Any) -> Any:
    """Outputs before the last function, from what the estimator predicts."""
    if not hasattr(estimator, "predict_proba"):
        return np.asarray(estimator.predict(x)).reshape(len(x), -1)
    p = estimator.predict_proba(x)
    if (
        estimator[-1].out_activation_ == "softmax"
        if hasattr(estimator, "steps")
        else estimator.out_activation_ == "softmax"
    ):
        return np.log(p)  # up to a number a row
    p = p[:, 1:] if p.shape[1] == 2 and outputs_count(estimator) == 1 else p
    return np.log(p / (1 - p))


def outputs_count(estimator: Any) -> int:
    return int((estimator[-1] if hasattr(estimator, "steps") else estimator).n_outputs_)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("name", ACCEPTED)
def test_a_net_gives_what_the_estimator_predicts(name: str) -> None:
    build, fields = ACCEPTED[name]
    estimator = build()
    found = vg.from_sklearn(estimator)
    assert {field: getattr(found.spec, field) for field in fields} == fields
    ours, theirs = found.network.forward(X), outputs_of(estimator, X)
    if hasattr(estimator, "predict_proba") and ours.shape[1] > 2:
        ours = ours - np.log(np.exp(ours).sum(axis=1, keepdims=True))
    tolerance = 1e-4 if name == "float32" else 1e-8
    assert np.abs(ours - theirs).max() <= tolerance * np.abs(theirs).max()


SEARCH = GridSearchCV(MLPRegressor(max_iter=2), {"alpha": [1e-4, 1e-3]}, cv=2)
SCALES = "a multiple of itself plus a number"
REFUSED: dict[str, tuple[Callable[[], Any], str, str]] = {
    **{f"unfitted {kind.__name__}": (kind, "fit", "not been fitted") for kind in (MLPClassifier, MLPRegressor, Own)},
    "an unfitted pipeline": (lambda: make_pipeline(StandardScaler(), MLPRegressor()), "fit", "not been fitted"),
    **{
        type(each).__name__: (partial(copy, each), type(each).__name__, "no multilayer perceptron")
        for each in (
            *(LogisticRegression(), LinearRegression(), Perceptron(), BernoulliRBM(), SVC(), PCA(), StandardScaler()),
            *(DecisionTreeClassifier(), RandomForestClassifier(), SEARCH),
            *(VotingClassifier([("net", MLPClassifier())]), ColumnTransformer([("a", StandardScaler(), [0])])),
        )
    },
    **{
        f"behind {type(step).__name__}": (
            partial(fitted, MLPClassifier, y, (step,)),
            type(step).__name__,
            SCALES if not grows else "",
        )
        for step, y, grows in (
            (PCA(), TWO, False),
            (PCA(3), TWO, True),
            (Normalizer(), TWO, False),
            (PolynomialFeatures(2), TWO, True),
            (PowerTransformer(), TWO, False),
            (QuantileTransformer(n_quantiles=10), TWO, False),
            (SplineTransformer(), TWO, True),
            (Binarizer(), TWO, False),
            (KBinsDiscretizer(3, encode="ordinal", quantile_method="averaged_inverted_cdf"), TWO, False),
            (SelectKBest(k=3), TWO, True),
            (VarianceThreshold(4.0), TWO, True),
            (FunctionTransformer(np.tanh), TWO, False),
            (MinMaxScaler(clip=True), TWO, False),
        )
    },
    "a pipeline that ends in a forest": (
        lambda: Pipeline([("scale", StandardScaler()), ("forest", RandomForestClassifier())]),
        "RandomForestClassifier",
        "no multilayer perceptron",
    ),
    "another activation": (lambda: changed(activation="swish"), "activation='swish'", "none of identity"),
    "another end": (lambda: changed(out_activation_="exp"), "out_activation_='exp'", "none of identity"),
    "a prediction of its own": (lambda: Doubled(max_iter=2).fit(X, ONE), "predict", "predicts something else"),
}


class Doubled(MLPRegressor):  # type: ignore[misc]
    """A net that predicts twice what it says."""

    def predict(self, X: Any) -> Any:
        return 2 * super().predict(X)


def changed(**attributes: Any) -> Any:
    net = fitted(MLPRegressor, ONE)
    for name, value in attributes.items():
        setattr(net, name, value)
    return net


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("name", REFUSED)
def test_a_refusal_names_the_step_and_the_reason(name: str) -> None:
    build, operation, reason = REFUSED[name]
    with pytest.raises(Refusal) as caught:
        vg.from_sklearn(build())
    assert operation in caught.value.operation
    assert reason in caught.value.reason
    assert caught.value.nearest


def test_at_least_thirty_estimators_are_accepted_and_thirty_refused() -> None:
    assert min(len(ACCEPTED), len(REFUSED)) >= 30


def test_a_search_is_answered_by_its_best_estimator() -> None:
    with pytest.raises(Refusal, match=r"search\.best_estimator_"):
        vg.from_sklearn(SEARCH)


@pytest.mark.parametrize("odd", [None, 3, "net", [1.0], vg.MLP(depth=1, width=2), MLPRegressor])
def test_what_is_nothing_of_sklearn_is_a_type_error(odd: Any) -> None:
    with pytest.raises(TypeError, match="estimator must be one of scikit-learn"):
        vg.from_sklearn(odd)


def test_weights_that_are_not_finite_are_named() -> None:
    net = fitted(MLPRegressor, ONE)
    net.coefs_[1][0, 0] = np.nan
    with pytest.raises(NonFinite) as caught:
        vg.from_sklearn(net)
    assert [tensor[1:] for tensor in caught.value.tensors.values()] == [(1, 0, 64)]


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_notes_say_what_went_to_the_loss_and_into_the_first_map() -> None:
    notes = vg.from_sklearn(fitted(MLPClassifier, THREE, (StandardScaler(),))).notes
    assert any("softmax" in note and "loss" in note for note in notes)
    assert any("Pipeline" in note and "the map after them" in note for note in notes)


def test_a_gradient_agrees_with_differences_of_what_is_predicted() -> None:
    net = fitted(MLPRegressor, ONE, activation="tanh")
    x, step = X[:4], 1e-6
    ours = vg.from_sklearn(net).network.backward(x, np.ones((4, 1))).input
    for column in range(5):
        move = step * np.eye(5)[column]
        theirs = (net.predict(x + move) - net.predict(x - move)) / (2 * step)
        assert np.abs(ours[:, column] - theirs).max() < 1e-8
