"""Names as other libraries write them: every one is refused with the name that it has here."""

import html
import inspect
from typing import Any

import numpy as np
import pytest

import vgcore as vg


def refusal(**fields: Any) -> str:
    """What a small net with some fields changed says."""
    with pytest.raises((ValueError, TypeError), match=r"^.{20,}") as info:
        vg.MLP(**{"depth": 2, "width": 4, **fields})
    return str(info.value)


NAMES: dict[str, dict[str, str | tuple[str, ...]]] = {
    "activation": {
        "ReLU": "relu",
        "LeakyReLU": "leaky_relu",
        "leakyrelu": "leaky_relu",
        "leaky-relu": "leaky_relu",
        "Leaky ReLU": "leaky_relu",
        "lrelu": "leaky_relu",
        "nn.PReLU": "prelu",
        "torch.nn.functional.gelu": "gelu",
        "gelu_new": "gelu(tanh)",
        "Swish": "silu",
        "hard_tanh": "hardtanh",
        "hard_sigmoid": "hardsigmoid",
        "hard_swish": "hardswish",
        "log_sigmoid": "logsigmoid",
        "soft_sign": "softsign",
        "Logistic": "sigmoid",
        "expit": "sigmoid",
        "Identity": "linear",
        "none": "linear",
        "rectifier": "relu",
        "atan": "arctan",
        "tanh_activation": "tanh",
    },
    "init": {
        "he": ("kaiming_normal", "kaiming_uniform", "he_normal"),
        "kaiming": ("kaiming_normal", "kaiming_uniform"),
        "kaiming_normal_": "kaiming_normal",
        "HeNormal": "he_normal",
        "he_uniform_": "kaiming_uniform",
        "HeUniform": "kaiming_uniform",
        "xavier": ("xavier_normal", "xavier_uniform"),
        "Xavier-Normal": "xavier_normal",
        "glorot": ("xavier_normal", "xavier_uniform", "glorot_normal"),
        "GlorotUniform": "xavier_uniform",
        "lecun": ("lecun_normal", "lecun_uniform"),
        "normal_": "normal",
        "random_normal": "normal",
        "RandomNormal": "normal",
        "gaussian": "normal",
        "random_uniform": "uniform",
        "truncated_normal": "trunc_normal",
        "trunc_normal_": "trunc_normal",
        "zeros_": "zeros",
        "zero": "zeros",
        "OrthogonalInitializer": "orthogonal",
        "Identity": "eye",
        "VarianceScaling": "variance_scaling",
        "pytorch": "torch_default",
    },
    "norm": {
        "batchnorm": "batch",
        "bn": "batch",
        "BatchNorm1d": "batch",
        "batch_normalization": "batch",
        "layernorm": "layer",
        "ln": "layer",
        "LayerNorm": "layer",
        "rmsnorm": "rms",
        "RMSNorm": "rms",
    },
    "skip": {
        "resnet": "residual",
        "Residual": "residual",
        "skip_connection": "residual",
        "residual_connection": "residual",
        "preact": "residual(order=pre)",
        "SkipInit": "rezero",
        "densenet": "dense",
        "concat": "dense",
        "HighwayNet": "highway",
    },
    "weight_transform": {
        "weight_norm": ("weight_standardization", "spectral_norm"),
        "SpectralNorm": "spectral_norm",
        "spectral_normalization": "spectral_norm",
        "WeightStandardization": "weight_standardization",
    },
    "loss": {
        "bce": "bce_with_logits",
        "BCELoss": "bce_with_logits",
        "BCEWithLogitsLoss": "bce_with_logits",
        "binary_crossentropy": "bce_with_logits",
        "ce": "cross_entropy",
        "crossentropy": "cross_entropy",
        "CrossEntropyLoss": "cross_entropy",
        "categorical_crossentropy": "cross_entropy",
        "sparse_categorical_crossentropy": "cross_entropy",
        "nll": "cross_entropy",
        "nll_loss": "cross_entropy",
        "log_loss": ("cross_entropy", "bce_with_logits"),
        "l2": ("mse", "half_mse"),
        "squared_error": ("mse", "half_mse"),
        "MSELoss": "mse",
        "mean_squared_error": "mse",
        "MAE": "mae",
        "L1Loss": "mae",
        "mean_absolute_error": "mae",
        "smooth_l1": "huber",
        "SmoothL1Loss": "huber",
        "HuberLoss": "huber",
        "kl_div": "cross_entropy",
    },
}


@pytest.mark.parametrize(("field", "given"), [(field, given) for field, rows in NAMES.items() for given in rows])
def test_a_name_of_another_library_is_answered_by_ours(field: str, given: str) -> None:
    answers = NAMES[field][given]
    *others, last = (f"'{answer}'" for answer in ([answers] if isinstance(answers, str) else answers))
    hint = f"unknown {field} '{given}' (did you mean {', '.join(others)}{' or ' if others else ''}{last}?"
    if field == "loss":
        with pytest.raises(ValueError, match=r"^unknown loss") as info:
            vg.Loss(given)
        assert hint in str(info.value)
    else:
        assert hint in refusal(**{field: given})


@pytest.mark.parametrize(
    ("kind", "names"),
    [
        (vg.Activation, vg.ACTIVATIONS),
        (vg.Init, vg.INITS),
        (vg.Norm, vg.NORMS),
        (vg.Skip, vg.SKIPS),
        (vg.Loss, vg.LOSSES),
    ],
)
def test_every_name_is_known_by_another_case_and_without_separators(kind: Any, names: tuple[str, ...]) -> None:
    for name in names:
        for spelled in (name.title().replace("_", ""), name.upper().replace("_", "-"), f"torch.nn.{name}_"):
            with pytest.raises(ValueError, match=r"^unknown") as info:
                kind(spelled)
            assert f"did you mean '{name}'?" in str(info.value)


@pytest.mark.parametrize("alias", ["swish", "identity", "logistic"])
def test_an_alias_stays_one(alias: str) -> None:
    assert vg.Activation(alias) in vg.ACTIVATIONS


@pytest.mark.parametrize(
    ("kind", "call", "hint"),
    [
        (vg.Init, "normal(stddev=0.1)", "'stddev' (did you mean 'std'?)"),
        (vg.Init, "normal(sigma=0.1)", "'sigma' (did you mean 'std'?)"),
        (vg.Init, "normal(loc=0.1)", "'loc' (did you mean 'mean'?)"),
        (vg.Init, "uniform(minval=-1)", "'minval' (did you mean 'a'?)"),
        (vg.Init, "uniform(high=1)", "'high' (did you mean 'b'?)"),
        (vg.Init, "constant(val=1)", "'val' (did you mean 'value'?)"),
        (vg.Init, "mean_field(sigmaW=1)", "'sigmaW' (did you mean 'sigma_w'?)"),
        (vg.Activation, "leaky_relu(alpha=0.1)", "'alpha' (did you mean 'negative_slope'?)"),
        (vg.Activation, "softshrink(lambda=0.1)", "'lambda' (did you mean 'lambd'?)"),
        (vg.Norm, "layer(epsilon=0.1)", "'epsilon' (did you mean 'eps'?)"),
        (vg.Loss, "huber(beta=2)", "'beta' (did you mean 'delta'?)"),
        (vg.Loss, "cross_entropy(smoothing=0.1)", "'smoothing' (did you mean 'label_smoothing'?)"),
        (vg.Loss, "mse(reduction=avg)", "got 'avg' (did you mean 'mean'?)"),
        (vg.Init, "kaiming_normal(mode=FAN_IN)", "got 'FAN_IN' (did you mean 'fan_in'?)"),
        (vg.Skip, "residual(order=preact)", "got 'preact' (did you mean 'pre'?)"),
    ],
)
def test_parameters_and_their_words_are_answered_too(kind: Any, call: str, hint: str) -> None:
    with pytest.raises(ValueError, match=r"^.{20,}") as info:
        kind(call)
    assert hint in str(info.value)


@pytest.mark.parametrize(
    ("field", "near"),
    [
        ("hidden_layers", "depth"),
        ("hidden_size", "width"),
        ("input_dim", "in_features"),
        ("num_classes", "out_features"),
        ("nonlinearity", "activation"),
        ("kernel_initializer", "init"),
        ("use_bias", "bias"),
        ("normalization", "norm"),
    ],
)
def test_fields_are_answered_too(field: str, near: str) -> None:
    given: dict[str, Any] = {field: [1]}
    with pytest.raises(ValueError, match=rf"unknown field '{field}' \(did you mean '{near}'\?\)"):
        vg.sweep(vg.MLP(depth=2, width=4), **given)


def relu(z: float) -> float:
    return max(z, 0.0)


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("bias", True, ["got True", "write None for biases that start as the init has them", "False for none"]),
        ("bias", [None, True], ["bias[1]", "False for none"]),
        ("final_norm", False, ["got False", "write final_norm=None"]),
        ("norm", ["layer", False], ["norm[1]", "write norm[1]=None"]),
        ("dropout", None, ["dropout must be a number", "got None"]),
        ("dropout", 1.0, ["a share from 0 to less than 1, got 1"]),
        ("dropout", [0.1, -0.1], ["dropout[1]", "a share from 0"]),
        ("stem", 2, ["stem must be an integer from 0 to 1, got 2"]),
        ("norm", False, ["got False", "write norm=None"]),
        ("norm", True, ["got True", "choose from: batch, layer, rms"]),
        ("skip", False, ["got False", "write skip=None"]),
        ("skip", True, ["got True", "choose from: residual, rezero, highway, dense"]),
        ("weight_transform", False, ["write weight_transform=None"]),
        ("weight_transform", True, ["choose from: weight_standardization, spectral_norm"]),
        ("activation", None, ["a string", "got None", "write 'linear' for none"]),
        ("activation", False, ["got False", "write 'linear' for none"]),
        ("activation", ["relu", None], ["activation[1]", "write 'linear' for none"]),
        ("activation", np.tanh, ["write its name (did you mean 'tanh'?)", "Activation.custom"]),
        ("activation", relu, ["write its name (did you mean 'relu'?)"]),
        ("init", None, ["a string", "got None", "leave it out"]),
        ("init", False, ["got False", "leave it out"]),
        ("init", np.zeros, ["write its name (did you mean 'zeros'?)"]),
        ("out_features", False, ["None or an integer", "got False"]),
        ("in_features", True, ["None or an integer", "got True"]),
        *(("norm", word, ["norm must be None", f"'{word}'"]) for word in ("none", "None", "False", "no")),
        ("bias", "none", ["bias must be None", "'none'"]),
        ("norm_position", "before", ["'pre', 'post' or 'input'", "did you mean 'pre'?"]),
    ],
)
def test_what_stands_for_none_or_for_a_choice_says_what_to_write(field: str, value: Any, words: list[str]) -> None:
    message = refusal(**{field: value})
    for word in words:
        assert word in message


@pytest.mark.parametrize(
    ("part", "words"),
    [
        ("Linear(8)", "parts[1]: unknown part 'Linear' (did you mean 'linear'?)"),
        ("Dropout(0.5)", "(did you mean 'dropout'?)"),
        ("BatchNorm1d", "(did you mean 'batch'?)"),
        ("LayerNorm", "(did you mean 'layer'?)"),
        ("ReLU", "(did you mean 'relu'?)"),
        ("residual(a)", "(did you mean 'add'?)"),
        ("shortcut(a)", "(did you mean 'add'?)"),
        ("cat(a)", "(did you mean 'concat'?)"),
        ("projection(a)", "(did you mean 'project'?)"),
        ("linear(8.5)", "parts[1] must be linear(features) with a whole number, got 8.5"),
        ("linear(8, 9)", "parts[1] must be linear(features) with 1 argument, got 2"),
        ("dropout(1)", "parts[1] must be dropout(p) with p from 0 to less than 1, got 1"),
        ("keep(a)", "keep(a) goes nowhere; end it with add(a), or leave it out"),
        ("add(a)", "parts[1]: 'a' is not kept before it; kept so far: nothing"),
        ("layer(eps=-1)", "parts[1]: norm layer: eps must be a finite number, 0 or more"),
        ("leaky_relu(1, 2)", "parts[1]: activation leaky_relu takes 1 parameter"),
    ],
)
def test_a_part_of_a_list_that_is_none_says_where_it_is_and_what_to_write(part: str, words: str) -> None:
    with pytest.raises(ValueError, match=r"^.{20,}") as info:
        vg.Sequential(["linear(4)", part], in_features=4)
    assert words in str(info.value)


def test_a_list_of_another_length_than_there_are_maps_is_refused() -> None:
    with pytest.raises(ValueError, match=r"init must be one value, or one for each of the 3 maps, got 1 values"):
        vg.Sequential(["linear(4)", "keep(a)", "tanh", "project(a)", "linear(2)"], in_features=4, init=["zeros"])


def test_a_loss_must_be_a_name() -> None:
    x = np.ones((2, 4))
    with pytest.raises(TypeError, match=r"loss must be a string, got .*write its name"):
        vg.probe(vg.MLP(depth=1, width=4), x=x, y=x, loss=relu)  # type: ignore[arg-type]


# Widths


@pytest.mark.parametrize("depth", [1, 2])
def test_widths_with_those_of_input_and_output_are_answered_by_the_net_that_was_meant(depth: int) -> None:
    message = refusal(depth=depth, width=[784, 30, 10])
    assert f"one for each of the {depth} layers, got 3 values" in message
    assert "for 784 -> 30 -> 10 write depth=1, in_features=784, width=[30], out_features=10" in message
    assert vg.MLP(depth=1, in_features=784, width=[30], out_features=10).sizes == "784 -> 30 -> 10"
    for fields in ({"in_features": 784}, {"out_features": 10}, {"depth": 5}):
        assert "->" not in refusal(**{"depth": depth, "width": [784, 30, 10]} | fields)


@pytest.mark.parametrize(
    ("fields", "sizes"),
    [
        ({"depth": 3, "width": [784, 30, 10]}, "784 -> 784 -> 30 -> 10, no readout"),
        ({"depth": 2, "width": [30, 20], "in_features": 784, "out_features": 10}, "784 -> 30 -> 20 -> 10"),
        ({"depth": 5, "width": [8, 8, 4, 4, 4], "out_features": 1}, "8 -> 8 (2 layers) -> 4 (3 layers) -> 1"),
        ({"depth": 50, "width": 256, "in_features": 784}, "784 -> 256 (50 layers), no readout"),
        ({"depth": 1, "width": 256}, "256 -> 256, no readout"),
    ],
)
def test_a_spec_says_what_was_built(fields: dict[str, Any], sizes: str) -> None:
    spec = vg.MLP(**fields)
    assert spec.sizes == sizes
    assert eval(repr(spec), {"MLP": vg.MLP}) == spec
    # Widths that differ may have been meant otherwise than they were taken: a notebook and a diagnosis tell.
    assert html.escape(sizes) in spec._repr_html_()
    if not isinstance(spec.width, int):
        assert sizes in str(vg.diagnose(spec, seeds=1))


def test_the_fields_are_what_a_spec_is_made_with() -> None:
    assert [*inspect.signature(vg.MLP).parameters][:2] == ["depth", "width"]
    assert repr(vg.MLP(depth=2, width=[4, 4])) == "MLP(depth=2, width=(4, 4))"
