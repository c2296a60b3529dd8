"""A net worked out as on a blackboard: what a forward pass computes, and gradients as products of their factors."""

import json
import math
import pickle
import re
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

import vgcore as vg
from strategies import Problem, activations, losses, over_examples, problems
from vgcore import reference
from vgcore.measure.derivation import EACH, TIMES, Line, Term, number
from vgcore.model.plan import Plan
from vgcore.reference.cases import targets
from vgcore.show.lecture import plain

Array: TypeAlias = npt.NDArray[Any]


def chain(depth: int = 3, activation: str = "sigmoid", weight: float = 0.5, dtype: str = "float64") -> vg.Network:
    """Layers of width 1, one weight for all, no bias."""
    spec = vg.MLP(depth=depth, width=1, activation=activation, init=f"constant({weight})", bias=False)
    return spec.init(dtype=dtype)


#: Activations that learn nothing and leave the width as it is.
ELEMENTWISE = tuple(name for name in vg.ACTIVATIONS if name not in {"glu", "swiglu", "geglu", "crelu", "prelu"})

# The 1-1-1 sigmoid chain: x = 1, t = 0.8, W = 0.5, (y - t)^2 / 2, rate 0.1. Worked out with mpmath in 34 digits.
EXPLAINED = vg.explain(chain(), [[1.0]], [[0.8]], loss="half_mse", lr=0.1)
Z = [0.5, 0.3112296656009272823195, 0.2885926900723261478356]
A = [0.6224593312018545646389, 0.5771853801446522956713, 0.5716515653055907656492]
DELTA = [-0.0008016903743109073458734, -0.006822789025759635762993, -0.05591477995556516953149]
WGRAD = [-0.0008016903743109073458734, -0.004246908693905695752254, -0.03227319352435746677333]
STEPPED = [0.5000801690374310907346, 0.5004246908693905695752, 0.5032273193524357466773]


def flat(arrays: list[Array]) -> list[float]:
    return [array.item() for array in arrays]


# What a forward pass computes


@over_examples
@given(problem=problems())
def test_a_traced_pass_is_that_of_the_reference(problem: Problem) -> None:
    net = problem.spec.init(seed=problem.seed, dtype="float64")
    traced, expected = net.trace(problem.x), reference.propagate(problem.spec, net.state_dict(), problem.x)
    depth = problem.spec.depth
    for name, ours, theirs in (
        ("z", traced.z, [z.true() for z in expected.z]),
        ("slopes", traced.slopes, expected.slopes),
        ("a", traced.a, [a.true() for a in expected.a]),
        ("h", traced.h, [h.true() for h in expected.h[1 : depth + 1]]),
        ("output", [traced.output], [expected.y.true()]),
    ):
        for one, other in zip(ours, theirs, strict=True):
            # A slope may jump where z is rounding: relu, at the 0 of a sum that cancels.
            np.testing.assert_allclose(one, other, rtol=1e-9, atol=1e-9, err_msg=name)


@over_examples
@given(problem=problems(), dtype=st.sampled_from(["float32", "float64"]))
def test_a_traced_pass_ends_in_the_output_of_the_net(problem: Problem, dtype: str) -> None:
    net = problem.spec.init(seed=problem.seed, dtype=dtype)
    traced = net.trace(problem.x)
    np.testing.assert_array_equal(traced.output, net.forward(problem.x))
    assert {str(array.dtype) for array in (*traced.z, *traced.slopes, *traced.a, *traced.h, traced.output)} == {dtype}


def test_a_gated_activation_has_the_slopes_of_its_two_halves() -> None:
    net = vg.MLP(depth=1, width=4, in_features=4, activation="glu", init="eye").init(dtype="float64")
    traced = net.trace([[1.0, 2.0, 0.0, 0.5]])
    gate = 1 / (1 + np.exp(-np.array([0.0, 0.5])))
    np.testing.assert_allclose(traced.a[0], [[1.0, 2.0] * gate], rtol=1e-15)
    np.testing.assert_allclose(traced.slopes[0], [[*gate, *([1.0, 2.0] * gate * (1 - gate))]], rtol=1e-15)


def test_a_doubled_activation_has_a_slope_of_each_half() -> None:
    net = vg.MLP(depth=1, width=2, in_features=2, activation="crelu", init="eye").init(dtype="float64")
    traced = net.trace([[1.0, -2.0]])
    np.testing.assert_array_equal(traced.a[0], [[1, 0, 0, 2]])
    np.testing.assert_array_equal(traced.slopes[0], [[1, 0, 0, -1]])


def test_z_a_and_h_are_told_apart_where_norms_and_skips_stand_between_them() -> None:
    spec = vg.MLP(
        depth=2, width=4, activation="tanh", norm="layer", norm_position="post", skip="residual", init="orthogonal"
    )
    net = spec.init(seed=1, dtype="float64")
    x = np.random.default_rng(0).standard_normal((3, 4))
    traced = net.trace(x)
    weight = net.state_dict()["layers.0.weight"]
    np.testing.assert_allclose(traced.z[0], x @ weight.T, rtol=1e-12)
    np.testing.assert_allclose(traced.slopes[0], 1 - np.tanh(traced.z[0]) ** 2, rtol=1e-12)
    np.testing.assert_allclose(traced.a[0].mean(axis=1), 0, atol=1e-12)
    np.testing.assert_allclose(traced.h[0], x + traced.a[0], rtol=1e-12)


def test_values_beyond_the_dtype_are_traced_as_0() -> None:
    traced = vg.MLP(depth=2000, width=4, activation="relu", init="xavier_normal").init().trace(np.ones((1, 4)))
    assert traced.h[0].any()
    assert not traced.h[-1].any()
    assert len(traced.z) == 2000


def test_a_traced_pass_is_read_only_and_pickles() -> None:
    traced = chain().trace([[1.0]])
    again = pickle.loads(pickle.dumps(traced))
    for each in (traced, again):
        for array in (*each.z, *each.slopes, *each.a, *each.h, each.output):
            assert not array.flags.writeable
    assert flat(again.z) == flat(traced.z)
    assert repr(traced) == "Forward(3 layers, batch=1, outputs=1, dtype='float64')"


def test_one_sample_of_batch_norm_is_refused_when_traced() -> None:
    with pytest.raises(ValueError, match="norm='batch' needs a batch of at least 2 samples, got 1"):
        vg.MLP(depth=2, width=4, norm="batch").init().trace(np.ones((1, 4)))


# The 1-1-1 sigmoid chain


def test_the_sigmoid_chain_has_the_numbers_of_the_blackboard() -> None:
    e = EXPLAINED
    np.testing.assert_allclose(flat(e.forward.z), Z, rtol=0, atol=1e-15)
    np.testing.assert_allclose(flat(e.forward.a), A, rtol=0, atol=1e-15)
    np.testing.assert_allclose(flat(e.forward.slopes), [a * (1 - a) for a in A], rtol=0, atol=1e-15)
    np.testing.assert_allclose(flat(e.gradients.preactivations), DELTA, rtol=0, atol=1e-15)
    np.testing.assert_allclose(flat(e.gradients.weights), WGRAD, rtol=0, atol=1e-15)
    np.testing.assert_allclose(flat([*e.stepped.state_dict().values()]), STEPPED, rtol=0, atol=1e-15)
    np.testing.assert_allclose(e.loss_value, 0.02607150381369343946024, rtol=0, atol=1e-15)
    np.testing.assert_allclose(e.gradients.input, [[-0.0004008451871554536729367]], rtol=0, atol=1e-15)
    np.testing.assert_allclose(e.new_loss_value, 0.0259655901699921915, rtol=0, atol=1e-15)
    np.testing.assert_allclose(e.stepped.forward([[1.0]]), [[0.572115862026370113]], rtol=0, atol=1e-15)


def test_the_deltas_of_the_sigmoid_chain_shrink_by_an_eighth_at_most() -> None:
    ratios = section("From layer to layer").lines
    assert [plain(line.symbol) for line in ratios] == ["|δ₂|/|δ₃|", "", "|δ₁|/|δ₂|", ""]
    found = [line.value.item() for line in ratios]
    np.testing.assert_allclose(found, [0.1220212085, 0.125, 0.1175018561, 0.125], rtol=1e-9)
    assert "It must shrink" in section("From layer to layer").words


def section(title: str, e: vg.Explanation = EXPLAINED) -> Any:
    return next(found for found in e.sections if found.title == title)


def factors(line: Line) -> list[float]:
    return [part.value.item() for part in line.formula if isinstance(part, Term)]


def test_each_gradient_of_a_chain_is_the_product_of_its_factors() -> None:
    lines = section("The chain rule, written out").lines
    assert [plain(line.symbol) for line in lines] == ["∂L/∂W₃", "∂L/∂W₂", "∂L/∂W₁"]
    assert [len(factors(line)) for line in lines] == [3, 5, 7]
    for line, expected in zip(lines, reversed(WGRAD), strict=True):
        assert line.value.item() == pytest.approx(expected, rel=1e-15, abs=1e-15)
        assert math.prod(factors(line)) == pytest.approx(expected, rel=2e-15)


@over_examples
@given(
    activation=activations(ELEMENTWISE),
    depth=st.integers(1, 9),
    readout=st.booleans(),
    seed=st.integers(0, 2**32),
)
def test_the_factors_of_any_chain_multiply_to_the_gradients_of_the_core(
    activation: vg.Activation, depth: int, readout: bool, seed: int
) -> None:
    spec = vg.MLP(
        depth=depth,
        width=1,
        out_features=1 if readout else None,
        activation=activation,
        init="normal(0, 1)",
        bias="normal",
    )
    e = vg.explain(spec.init(seed=seed, dtype="float64"), [[0.7]], [[0.3]], loss="half_mse")
    lines = section("The chain rule, written out", e).lines
    assert len(lines) == depth + readout
    for line, found in zip(lines, reversed(e.gradients.weights), strict=True):
        assert line.value.item() == found.item()
        # Each product rounds once a factor, and delta is flushed where it is 2^-500 of nothing else.
        assert math.prod(factors(line)) == pytest.approx(found.item(), rel=1e-14, abs=1e-300)


# Every line of every plain net


class Matrix:
    """An array whose `@` also multiplies by a single number."""

    __array_ufunc__ = None

    def __init__(self, value: Array) -> None:
        self.value = value

    def __matmul__(self, other: "Matrix") -> "Matrix":
        single = 1 in {self.value.size, other.value.size}
        return Matrix(self.value * other.value if single else self.value @ other.value)

    def __mul__(self, other: "Matrix") -> "Matrix":
        return Matrix(self.value * other.value)

    def __add__(self, other: "Matrix") -> "Matrix":
        return Matrix(self.value + other.value)

    def __sub__(self, other: "Matrix") -> "Matrix":
        return Matrix(self.value - other.value)

    def __rsub__(self, number: float) -> "Matrix":
        return Matrix(number - self.value)

    def __rmul__(self, number: float) -> "Matrix":
        return Matrix(number * self.value)

    def __neg__(self) -> "Matrix":
        return Matrix(-self.value)

    def __pow__(self, power: float) -> "Matrix":
        return Matrix(self.value**power)


OPERATORS = {TIMES: "@", EACH: "*"}


def evaluated(line: Line) -> Array | None:
    """What the formula of a line gives, if it is made of sums and products alone."""
    terms = [part for part in line.formula if isinstance(part, Term)]
    names = iter(range(len(terms)))
    code = "".join(
        f"v[{next(names)}]" if isinstance(part, Term) else OPERATORS.get(part, part) for part in line.formula
    )
    code = re.sub(r"\\tfrac\{(\d+)\}\{(\d+)\} ", r"(\1/\2) * ", code.replace("^{2}", "**2"))
    code = re.sub(r"^(\d+) \(", r"\1 * (", code)
    if not terms or re.search(r"[\\a-uw-z|,]", code):
        return None
    return eval(code, {"v": [Matrix(term.value) for term in terms]}).value  # type: ignore[no-any-return]


def written(e: vg.Explanation) -> list[Line]:
    """All lines of an explanation."""
    return [line for found in e.sections for line in found.lines if isinstance(line, Line)]


@st.composite
def explained(draw: st.DrawFn) -> vg.Explanation:
    """A plain net explained, of any loss."""
    depth, seed = draw(st.integers(1, 4)), draw(st.integers(0, 2**32))
    count, features = draw(st.integers(1, 3)), draw(st.integers(1, 3))
    bias: str | bool = "normal" if draw(st.booleans()) else False
    spec = vg.MLP(
        depth=depth,
        width=[draw(st.integers(1, 9)) for _ in range(depth)],
        in_features=features,
        out_features=draw(st.none() | st.integers(1, 3)),
        activation=[draw(activations(ELEMENTWISE)) for _ in range(depth)],
        bias=bias,
    )
    rng, loss = np.random.default_rng(seed), str(draw(losses()))
    x = rng.standard_normal((count, features))
    y = targets(loss, rng, count, Plan.of(spec).outputs)
    return vg.explain(spec.init(seed=seed, dtype="float64"), x, y, loss=loss, digits=draw(st.integers(1, 17)))


@over_examples
@given(e=explained())
def test_every_formula_gives_the_value_beside_it(e: vg.Explanation) -> None:
    lines = written(e)
    held = 0
    for line in lines:
        found = evaluated(line)
        if found is not None:
            held += 1
            np.testing.assert_allclose(found, line.value, rtol=1e-9, atol=1e-10, err_msg=line.symbol)
    # At least the map and delta of each layer, its gradient, and the step.
    assert held >= 4 * e.net.spec.depth


@over_examples
@given(e=explained())
def test_the_text_has_80_columns_and_every_writer_tells_the_same(e: vg.Explanation) -> None:
    text, html, latex = str(e), e._repr_html_(), e.to_latex()
    assert max(map(len, text.splitlines())) <= 80
    assert "\\" not in text
    assert "\\" not in html
    assert not re.search(r"[{}$]", text)
    for found in e.sections:
        assert found.title in text
        assert found.title in html
        assert found.title in latex
    for line in written(e):
        assert f"  {plain(line.symbol)}" in text
        assert line.symbol in latex


@over_examples
@given(e=explained())
def test_the_latex_is_balanced_and_needs_nothing_but_amsmath(e: vg.Explanation) -> None:
    latex = e.to_latex()
    assert latex.isascii()
    assert latex.count("{") == latex.count("}")
    assert latex.count("$") % 2 == 0
    begun = re.findall(r"\\(begin|end)\{([\w*]+)\}", latex)
    opened: list[str] = []
    for word, environment in begun:
        if word == "begin":
            opened.append(environment)
        else:
            assert opened.pop() == environment
    assert not opened
    assert {environment for _, environment in begun} <= {"align*", "array", "pmatrix"}
    assert set(re.findall(r"\\([a-zA-Z]+)", latex)) <= {
        *("paragraph", "begin", "end", "frac", "tfrac", "partial", "phi", "delta", "eta", "cdot", "odot", "times"),
        *("operatorname", "text", "top", "sum", "textstyle", "displaystyle", "hline", "leftarrow", "le", "max"),
        *("lVert", "rVert", "log", "exp", "quad", "left", "right", "vdots"),
    }
    # A line of an align has one sign that all lines stand under.
    for body in re.findall(r"\\begin\{align\*\}\n(.*?)\n\\end\{align\*\}", latex, flags=re.DOTALL):
        for line in re.sub(r"\\begin\{(pmatrix|array)\}.*?\\end\{\1\}", "", body).split(r"\\"):
            assert line.count("&") == 1


# What is shown


def test_the_text_says_each_gradient_as_a_product_of_numbers() -> None:
    text = " ".join(str(EXPLAINED).split())
    assert "z₂ = W₂ a₁ = 0.5 · 0.622459 = 0.31123" in text
    assert "φ′(z₁) = a₁ (1 - a₁) = 0.622459 · (1 - 0.622459) = 0.235004" in text
    assert "L = 1/2 (y - t)² = 1/2 (0.571652 - 0.8)² = 0.0260715" in text
    assert (
        "∂L/∂W₁ = ∂L/∂y φ′(z₃) W₃ φ′(z₂) W₂ φ′(z₁) x = "
        "-0.228348 · 0.244866 · 0.5 · 0.244042 · 0.5 · 0.235004 · 1 = -0.00080169" in text
    )
    assert "W₁ ← W₁ - η ∂L/∂W₁ = 0.5 - 0.1 · (-0.00080169) = 0.50008" in text
    assert "L_new = 0.0259656" in text


def test_vectors_and_matrices_stand_in_one_line_with_rows_told_apart() -> None:
    net = vg.MLP(depth=1, width=2, activation="tanh", init="eye", bias=False).init(dtype="float64")
    text = str(vg.explain(net, [[0.5, -1.0]], [[0.0, 0.0]], digits=3))
    assert "A matrix stands in one line" in text
    assert "z₁     = W₁ x = [1 0; 0 1] · [0.5; -1] = [0.5; -1]" in text
    assert "A matrix" not in str(EXPLAINED)


def test_a_table_that_is_too_wide_has_fewer_digits() -> None:
    e = vg.explain(chain(), [[1.0]], [[0.8]], loss="half_mse", digits=17)
    rows = [line.split() for line in str(e).splitlines()[4:8]]
    assert rows[0] == ["layer", "z", "a", "φ′(z)", "δ", "∂L/∂W"]
    assert all(5 < len(cell) < 17 for cell in rows[2][1:])


def test_digits_are_shown_as_asked_for() -> None:
    few = vg.explain(chain(), [[1.0]], [[0.8]], loss="half_mse", digits=3)
    assert "z₂     = W₂ a₁ = 0.5 · 0.622 = 0.311" in str(few)
    many = vg.explain(chain(), [[1.0]], [[0.8]], loss="half_mse", digits=17)
    assert f"W₂ a₁ = 0.5 · {many.forward.a[0].item()!r} = {many.forward.z[1].item()!r}" in str(many)
    assert "η = 0.1." in str(many)
    assert "- 0.1 · " in str(many)


def test_exponents_of_latex_are_powers_of_ten() -> None:
    latex = vg.explain(chain(depth=8), [[1.0]], [[0.8]], loss="half_mse").to_latex()
    assert re.search(r"-\d\.\d+ \\times 10\^\{-\d+\}", latex)
    assert not re.search(r"\de-\d", latex)
    assert re.search(r"times \$[\d.]+ \\times 10\^\{-\d+\}\$ in all", latex)


def test_large_quantities_show_their_shapes_and_norms_and_that_is_said() -> None:
    net = vg.MLP(depth=2, width=40, in_features=70, activation="tanh", out_features=1).init()
    e = vg.explain(net, np.ones((1, 70)), [[0.0]])
    text = str(e)
    norm = np.linalg.norm(net.state_dict()["layers.0.weight"])
    assert f"W₁    = (40 × 70, norm {norm:.6g})" in text
    assert "Matrices of more than 64 entries are told by shape and norm" in text
    assert "Matrices of more than 64 entries are told by shape and norm" in e.to_latex()
    assert "Matrices of more than 64 entries are told by shape and norm" in e._repr_html_()
    assert r"(40 \times 70\text{, norm }" in e.to_latex()


@pytest.mark.parametrize("width", [4, 5, 8])
@pytest.mark.parametrize("digits", [3, 6, 17])
def test_every_matrix_of_up_to_64_entries_is_shown_before_and_after_the_step(width: int, digits: int) -> None:
    spec = vg.MLP(depth=3, width=width, in_features=2, out_features=2, activation="tanh", bias="normal")
    net = spec.init(seed=0, dtype="float64")
    e = vg.explain(net, [[1, 2.0]], [0], loss="cross_entropy", digits=digits)
    text, html, latex = str(e), e._repr_html_(), e.to_latex()
    assert max(map(len, text.splitlines())) <= 80
    assert "told by shape and norm" not in text
    assert "stands as its symbol with its shape" in text
    for state in (net.state_dict(), e.gradients.parameters, e.stepped.state_dict()):
        for name in ("layers.1.weight", "layers.2.weight"):
            rows = [[number(value, digits) for value in row] for row in state[name].tolist()]
            for row in rows:
                assert re.search(r"\[\s*" + r"\s+".join(map(re.escape, row)) + r"\]", text), name
                assert re.search(r"\[ *" + " +".join(map(re.escape, row)) + r"\]", html), name
                if not any("e" in cell for cell in row):
                    assert " & ".join(row) in latex, name
    # No product stands without numbers or shapes.
    for row in re.findall(r"<tr>(.*?)</tr>", html, flags=re.DOTALL):
        cells = [re.sub(r"<[^>]*>", "", cell) for cell in re.findall(r"<td[^>]*>(.*?)</td>", row, flags=re.DOTALL)]
        if len(cells) == 4 and " " in cells[1]:
            assert cells[2] or cells[0].startswith("‖"), cells
    assert f"z₂     = W₂ a₁ + b₂ = W₂ ({width} × {width}) · [" in text
    assert rf"W_{{2}}\,\left({width} \times {width}\right) \cdot" in latex


def test_brackets_are_as_high_as_the_matrices_in_them() -> None:
    net = vg.MLP(depth=2, width=3, activation="tanh").init(dtype="float64")
    latex = vg.explain(net, [[1, 2.0, 3.0]], [[1.0, 0, 0]], digits=2).to_latex()
    assert r"\operatorname{tanh}\left(\begin{pmatrix}" in latex
    assert r"\operatorname{tanh}(z_{1})" in latex
    assert latex.count(r"\left(") == latex.count(r"\right)")
    assert not re.search(r"(?<!left)\(\\begin\{pmatrix\}", latex)


def test_more_columns_than_amsmath_has_stand_in_an_array() -> None:
    net = vg.MLP(depth=1, width=1, in_features=12, activation="tanh").init()
    latex = vg.explain(net, np.ones((1, 12)), [[1.0]], digits=2).to_latex()
    assert rf"\left(\begin{{array}}{{{'r' * 12}}}" in latex
    for body in re.findall(r"\\begin\{pmatrix\}(.*?)\\end\{pmatrix\}", latex):
        assert max(row.count("&") for row in body.split(r"\\")) < 10


def test_the_middle_layers_of_a_deep_net_are_left_out_by_every_writer() -> None:
    spec = vg.MLP(depth=100, width=1, out_features=1, activation="tanh", init="eye", bias=False)
    e = vg.explain(spec.init(dtype="float64"), [[1.0]], [[0.8]])
    for shown in (str(e), e.to_latex(), e._repr_html_()):
        assert shown.count("layers 4 to 97 go on in the same way") == 4
        told = " ".join(re.sub(r"<[^>]*>", "", shown).split())
        assert "Layers 4 to 97 are left out here and below." in told
    names = {plain(line.symbol) for line in written(e)}
    assert {"z₃", "z₉₈", "δ₁", "δ₁₀₀", "∂L/∂W_out", "W₃", "|δ₉₉|/|δ₁₀₀|"} <= names
    assert not {"z₄", "z₉₇", "δ₄", "δ₉₇", "W₄", "∂L/∂W₄"} & names
    backward = [plain(line.symbol) for line in section("Backward", e).lines if isinstance(line, Line)]
    assert backward == [
        *("∂L/∂W_out", "δ₁₀₀", "∂L/∂W₁₀₀", "δ₉₉", "∂L/∂W₉₉", "δ₉₈", "∂L/∂W₉₈"),
        *("δ₃", "∂L/∂W₃", "δ₂", "∂L/∂W₂", "δ₁", "∂L/∂W₁", "∂L/∂x"),
    ]
    assert max(len(factors(line)) for line in section("The chain rule, written out", e).lines[:-1]) <= 24
    assert [row[:1] for row in section("Layers", e).rows] == [(1,), (2,), (3,), (), (98,), (99,), (100,)]
    assert len(e.to_dict()["layers"]) == 100


def test_twelve_layers_are_written_out_whole() -> None:
    e = vg.explain(chain(depth=12), [[1.0]], [[0.8]])
    assert "go on in the same way" not in str(e).partition("The chain rule, written out")[0]
    assert "z₆" in str(e)


def test_samples_of_a_batch_are_summed_and_that_is_said() -> None:
    x, y = np.array([[1.0], [2.0]]), np.array([[0.8], [0.1]])
    e = vg.explain(chain(), x, y, loss="half_mse")
    one, two = (vg.explain(chain(), x[i : i + 1], y[i : i + 1], loss="half_mse") for i in (0, 1))
    for both, a, b in zip(e.gradients.weights, one.gradients.weights, two.gradients.weights, strict=True):
        np.testing.assert_allclose(both, (a + b) / 2, rtol=1e-14)
    text = " ".join(str(e).split())
    assert "sums over the 2 samples" in text
    assert "mean over the batch" in text
    assert not any(found.title == "The chain rule, written out" for found in e.sections)


def test_what_is_explained_goes_through_json_and_pickle() -> None:
    told = json.loads(json.dumps(EXPLAINED.to_dict()))
    assert [layer["layer"] for layer in told["layers"]] == [1, 2, 3]
    assert told["layers"][0]["weight_gradient"] == [[pytest.approx(WGRAD[0], rel=1e-15)]]
    assert told["layers"][0]["new_weight"] == [[STEPPED[0]]]
    assert told["layers"][0]["bias"] is None
    assert told["readout"] is None
    assert str(pickle.loads(pickle.dumps(EXPLAINED))) == str(EXPLAINED)


def test_the_loss_that_probe_would_take_is_the_default() -> None:
    net = vg.MLP(depth=1, width=2, activation="tanh", out_features=3).init()
    assert vg.explain(net, [[1.0, 2.0]], [2]).loss == "cross_entropy"
    assert vg.explain(net, [[1.0, 2.0]], [[2.0, 0.1, 0.3]]).loss == "mse"
    assert vg.explain(net, [[1.0, 2.0]], loss="output_sum").y is None


def test_why_a_net_vanishes_explodes_or_lets_nothing_through_is_said() -> None:
    def why(net: vg.Network) -> str:
        return str(section("From layer to layer", vg.explain(net, [[1.0]], [[0.8]])).words)

    assert "must shrink" in why(chain(depth=10))
    assert "must shrink" not in why(chain(depth=4, activation="tanh", weight=2.0))
    assert "explode" in why(chain(depth=6, activation="relu", weight=3.0))
    assert "lets nothing through" in why(chain(depth=3, activation="relu", weight=-1.0))


def test_a_rate_that_is_too_large_is_named() -> None:
    e = vg.explain(chain(activation="linear", weight=1.0), [[1.0]], [[3.0]], lr=10.0)
    assert "does not fall: the rate is too large" in section("One step of gradient descent", e).words


# What is refused


@pytest.mark.parametrize(
    ("spec", "part"),
    [
        (vg.MLP(depth=2, width=2, norm="layer"), "layer 1 of this one has a norm"),
        (vg.MLP(depth=2, width=2, norm=[None, "rms"]), "layer 2 of this one has a norm"),
        (vg.MLP(depth=2, width=2, skip="residual"), "layer 1 of this one has a skip"),
        (vg.MLP(depth=2, width=2, dropout=0.5), "layer 1 of this one has dropout"),
        (vg.MLP(depth=2, width=2, final_norm="layer"), "this one has a norm behind its last layer"),
        (vg.MLP(depth=2, width=2, activation="prelu"), "an activation that learns its slope"),
        (vg.MLP(depth=2, width=2, activation="swiglu"), "an activation that changes the width, swiglu"),
        (vg.MLP(depth=2, width=2, activation="crelu"), "an activation that changes the width, crelu"),
        (vg.MLP(depth=2, width=2, weight_transform="spectral_norm"), "transformed weights, spectral_norm"),
        (vg.MLP(depth=2, width=2, tied=True), "share their weights"),
        (vg.RNN(1, 2), "this one is an RNN"),
        (vg.RNN(1, 2, cell="lstm"), "this one is an RNN"),
        (vg.Transformer(1, 4, tokens=1), "this one is a Transformer"),
        (vg.Sequential(["tanh", "linear(2)", "tanh", "linear(1)"], in_features=2), "layer 1 of this one has"),
        (vg.MLP(depth=3, width=400), "at most 100000 parameters, this one has"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_is_not_written_out_is_named(spec: Any, part: str) -> None:
    with pytest.raises(ValueError, match=re.escape(part)):
        vg.explain(spec.init(), np.ones((1, spec.in_features or spec.width)), loss="output_sum")


def test_an_activation_behind_the_last_layer_is_named() -> None:
    net = vg.Sequential(["linear(2)", "tanh", "relu"], in_features=2).init()
    with pytest.raises(ValueError, match="this one has an activation behind its last layer"):
        vg.explain(net, np.ones((1, 2)), loss="output_sum")


def test_a_model_that_was_brought_in_is_explained() -> None:
    net = vg.MLP(depth=2, width=2, out_features=1, activation="tanh").init(dtype="float64")
    brought = vg.from_arrays(net.state_dict(), activation="tanh")
    assert str(vg.explain(brought, [[1.0, 2.0]], [[0.1]])) == str(vg.explain(brought.network, [[1.0, 2.0]], [[0.1]]))


LOSSES = {
    "mse": "L = 1/2 Σₖ (yₖ - tₖ)²",
    "mse(reduction=sum)": "L = Σₖ (yₖ - tₖ)²",
    "half_mse": "L = Σₖ 1/2 (yₖ - tₖ)²",
    "mae": "L = 1/2 Σₖ |yₖ - tₖ|",
    "huber": "L = 1/2 Σₖ huber(yₖ - tₖ)",
    "huber(delta=0.5)": "huber(d) is 1/2 d² where |d| ≤ 0.5, else 0.5 (|d| - 0.25)",
    "cross_entropy": "L = -log softmax(y)ₜ = -log softmax([0.5; -1])ₜ",
    "cross_entropy(label_smoothing=0.1)": "L = -Σₖ qₖ log softmax(y)ₖ",
    "bce_with_logits": "L = 1/2 Σₖ (log(1 + exp(yₖ)) - tₖ yₖ)",
    "hinge": "L = 1/2 Σₖ max(0, 1 - tₖ yₖ)",
    "output_sum": "L = Σₖ yₖ",
}


@pytest.mark.parametrize(("loss", "formula"), LOSSES.items(), ids=LOSSES)
def test_each_loss_has_its_formula(loss: str, formula: str) -> None:
    net = vg.MLP(depth=1, width=2, activation="linear", init="eye", bias=False).init(dtype="float64")
    y = targets(loss, np.random.default_rng(0), 1, 2)
    e = vg.explain(net, [[0.5, -1.0]], y, loss=loss)
    assert formula in " ".join(str(e).split())
    assert {vg.Loss(each).name for each in LOSSES} == {*vg.LOSSES}


def lines_of(y: Array, loss: str, target: Any) -> dict[str, Line]:
    """The lines of the loss of these outputs by their names."""
    spec = vg.MLP(depth=1, width=y.shape[1], activation="linear", init="eye", bias=False)
    found = section("Loss", vg.explain(spec.init(dtype="float64"), y, target, loss=loss))
    return {plain(line.symbol): line for line in found.lines}


@pytest.mark.parametrize("count", [1, 3])
def test_the_shares_of_smoothed_classes_are_given_and_make_the_loss(count: int) -> None:
    y, ids = np.array([[0.5, -1.0, 2.0]] * count) * np.arange(1, count + 1)[:, None], np.arange(count) % 3
    lines = lines_of(y, "cross_entropy(label_smoothing=0.1)", ids)
    q = lines["q"].value.reshape(3, 1).T if count == 1 else lines["q"].value
    np.testing.assert_allclose(q, 0.9 * np.eye(3)[ids] + 0.1 / 3)
    log_softmax = y - np.log(np.exp(y).sum(axis=1, keepdims=True))
    np.testing.assert_allclose(lines["L"].value.item(), -(q * log_softmax).sum(axis=1).mean(), rtol=1e-14)
    assert "q" in {part.symbol for part in lines["∂L/∂y"].formula if isinstance(part, Term)}


@pytest.mark.parametrize("delta", [0.5, 1.0])
def test_each_entry_of_a_huber_loss_is_written_by_its_case(delta: float) -> None:
    y, t = np.array([[0.5, -1.0, 2.0]]), np.array([[0.2, 3.0, 1.0]])
    lines = lines_of(y, f"huber(delta={delta})", t)
    cases = [lines[f"huber(y{k} - t{k})"] for k in "₁₂₃"]
    off = np.abs(y - t)[0]
    expected = np.where(off <= delta, off**2 / 2, delta * (off - delta / 2))
    np.testing.assert_allclose([line.value.item() for line in cases], expected, rtol=1e-14)
    np.testing.assert_allclose(lines["L"].value.item(), expected.mean(), rtol=1e-14)
    found = evaluated(cases[0])
    assert found is not None
    np.testing.assert_allclose(found, expected[0])
    assert "|" in "".join(part for part in cases[1].formula if isinstance(part, str))


def test_the_gradient_of_hinge_is_a_product_of_numbers() -> None:
    lines = lines_of(np.array([[0.5, -2.0, 1.0, 3.0]]), "hinge", [[1, -1, -1, 1]])
    np.testing.assert_array_equal(lines["s"].value.ravel(), [1, 0, 1, 0])
    found = evaluated(lines["∂L/∂y"])
    assert found is not None
    np.testing.assert_array_equal(found, lines["∂L/∂y"].value)


@pytest.mark.parametrize("loss", sorted(LOSSES))
def test_no_number_is_minus_0_and_no_name_of_a_loss_is_undefined(loss: str) -> None:
    for outputs in (1, 2):
        net = vg.MLP(depth=2, width=outputs, activation="relu", init="eye").init(dtype="float64")
        x = np.full((1, outputs), -2.0)
        text = str(vg.explain(net, x, targets(loss, np.random.default_rng(0), 1, outputs), loss=loss))
        assert not re.search(r"-0(?![.\d])", text)
        for name, told in (("huber(", "huber(d) is"), ("step(", "step(m) is"), (" - q", "share of each class")):
            text = " ".join(text.split())
            assert name not in text.partition(" Loss ")[2].partition("Backward")[0] or told in text, name


def test_how_delta_changes_is_told_in_one_way_and_with_the_digits_asked_for() -> None:
    e = vg.explain(chain(), [[1.0]], [[0.8]], loss="half_mse", digits=3)
    words = str(section("From layer to layer", e).words)
    assert "shrinks: times 0.0143 in all, times 0.12 a layer in the geometric mean" in words
    grows = vg.explain(chain(activation="relu", weight=3.0), [[1.0]], [[0.8]], loss="half_mse")
    assert "grows: times 9 in all, times 3 a layer" in str(section("From layer to layer", grows).words)


def test_no_symbol_of_the_html_is_broken() -> None:
    html = vg.explain(chain(depth=2), [[1.0]], [[0.8]], loss="half_mse")._repr_html_()
    assert '<span class="kept">φ′(z₁) =</span>' in html
    assert ".vgcore .kept{white-space:nowrap}" in html
    assert '<th><span class="kept">∂L/∂W</span></th>' in html


def test_a_plain_list_of_parts_is_explained() -> None:
    net = vg.Sequential(["linear(2)", "tanh", "linear(1)"], in_features=2).init(dtype="float64")
    e = vg.explain(net, [[1.0, 2.0]], [[0.5]])
    assert e.to_dict()["readout"]["weight_gradient"] == e.gradients.weights[-1].tolist()


@pytest.mark.parametrize(
    ("net", "keywords", "error", "message"),
    [
        (vg.MLP(depth=1, width=1), {"y": [[0.5]]}, TypeError, r"a spec has no numbers yet: give spec.init\(seed=0\)"),
        (3, {"y": [[0.5]]}, TypeError, "must be a Network, got 3"),
        (chain(), {}, ValueError, "give y, or loss='output_sum'"),
        (chain(), {"y": [[0.5]], "lr": -1.0}, ValueError, "lr must be a number of 0 or more, and finite, got -1.0"),
        (chain(), {"y": [[0.5]], "digits": 18}, ValueError, "digits must be an integer from 1 to 17, got 18"),
        (chain(), {"y": [[0.5]], "digits": 0}, ValueError, "digits must be an integer from 1 to 17, got 0"),
    ],
)
def test_bad_arguments_are_refused(net: Any, keywords: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        vg.explain(net, [[1.0]], **keywords)


def test_numbers_that_leave_the_dtype_are_refused_with_their_layer() -> None:
    with pytest.raises(ValueError, match="z or a of layer 2 leaves float32: take a smaller init"):
        vg.explain(chain(activation="linear", weight=1e30, dtype="float32"), [[1.0]], [[1.0]])
    deep = chain(depth=3, activation="linear", weight=1e16, dtype="float32")
    with pytest.raises(ValueError, match=r'dL/dz of layer 2 leaves float32.*net = spec.init\(dtype="float64"\)'):
        vg.explain(deep, [[1e-30]], [[1e30]])
    with pytest.raises(ValueError, match=r"a step of lr=1e\+300 takes the parameters out of float64: lower lr"):
        vg.explain(chain(activation="linear", weight=1e3), [[1e3]], [[1.0]], lr=1e300)


def test_an_activation_of_ones_own_is_called_by_its_name() -> None:
    swoosh = vg.Activation.custom("swoosh", lambda z: z / (1 + np.exp(-z)))
    net = vg.MLP(depth=2, width=1, activation=swoosh, init="constant(0.5)").init(dtype="float64")
    e = vg.explain(net, [[1.0]], [[0.5]], loss="half_mse")
    for told in (str(e), e.to_latex(), e._repr_html_(), str(e.to_dict())):
        assert "swoosh" in told
        assert "custom(" not in told


def test_where_the_output_is_what_the_loss_asks_for_nothing_is_said_of_slopes() -> None:
    net = vg.MLP(depth=2, width=1, activation="linear", init="constant(1)").init(dtype="float64")
    told = str(vg.explain(net, [[1.0]], [[1.0]], loss="half_mse"))
    assert "the output is what the loss asks for" in told
    assert "a slope of 0" not in told
