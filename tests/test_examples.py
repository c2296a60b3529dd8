"""Every script in examples/ runs, draws, and prints numbers that theory and measurement agree on."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import numpy as np
import pytest
from PIL import Image

FOLDER = Path(__file__).parents[1] / "examples"
SCRIPTS = sorted(FOLDER.glob("*.py"))
NAMES = [path.stem for path in SCRIPTS]
# What a script may import: what vgcore[plot] installs.
ALLOWED = {"vgcore", "numpy", "matplotlib"} | sys.stdlib_module_names

# On a busy machine two threads of BLAS wait for each other: isometry.py took three times as long as with one.
ENVIRONMENT = {"MPLBACKEND": "Agg", "OPENBLAS_NUM_THREADS": "1"}


class Ran(NamedTuple):
    """What a script left behind, at its small size."""

    code: int
    errors: str
    output: str
    files: list[str]
    size: tuple[int, int]
    colours: int


@cache
def run(name: str) -> Ran:
    with TemporaryDirectory() as folder:
        done = subprocess.run(
            [sys.executable, "-W", "error", str(FOLDER / f"{name}.py"), "--small"],
            cwd=folder,
            env=os.environ | ENVIRONMENT,
            capture_output=True,
            text=True,
            timeout=500,
            check=False,
        )
        files = sorted(path.name for path in Path(folder).glob("*.png"))
        size, colours = (0, 0), 0
        if files:
            with Image.open(Path(folder) / files[0]) as image:
                pixels = np.asarray(image.convert("RGB")).reshape(-1, 3)
                size, colours = image.size, len(np.unique(pixels, axis=0))
    return Ran(done.returncode, done.stderr, done.stdout, files, size, colours)


def numbers(name: str) -> dict[str, tuple[float, float]]:
    """Theory and measurement, by what the line says they are of."""
    lines = re.findall(r"^(.+): theory (\S+), measured (\S+)$", run(name).output, flags=re.MULTILINE)
    return {label: (float(theory), float(measured)) for label, theory, measured in lines}


def agree(name: str, pattern: str, *, rel: float = 0.0, abs_: float = 0.0, count: int = 1) -> None:
    """The lines that match, so many or more, have a measurement within so much of theory."""
    found = {label: pair for label, pair in numbers(name).items() if re.search(pattern, label)}
    assert len(found) >= count, f"{pattern!r} is in {len(found)} of {list(numbers(name))}"
    for label, (theory, measured) in found.items():
        assert measured == pytest.approx(theory, rel=rel, abs=abs_), label


def test_there_are_examples() -> None:
    assert len(NAMES) >= 10


@pytest.mark.parametrize("name", NAMES)
def test_an_example_runs_small_and_draws_one_picture(name: str) -> None:
    ran = run(name)
    assert ran.code == 0, ran.errors
    assert ran.files == [f"{name}.png"]
    assert min(ran.size) > 300
    assert ran.colours > 50  # a blank one has 1


@pytest.mark.parametrize("name", NAMES)
def test_an_example_prints_theory_beside_measurement_and_a_test_looks_at_it(name: str) -> None:
    found = numbers(name)
    assert len(found) >= 4
    assert np.isfinite(list(found.values())).all()
    assert f'("{name}"' in Path(__file__).read_text(encoding="utf-8")


@pytest.mark.parametrize("name", NAMES)
def test_an_example_needs_no_more_than_the_extra_for_plots_and_names_a_paper(name: str) -> None:
    tree = ast.parse((FOLDER / f"{name}.py").read_text(encoding="utf-8"))
    found = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    found |= {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert {module.partition(".")[0] for module in found} <= ALLOWED
    assert not {module for module in found if module.startswith("vgcore.")}  # `import vgcore as vg` is enough
    assert re.search(r"arXiv:\d{4}\.\d{5}", ast.get_docstring(tree) or "")


def test_the_page_names_every_example_and_shows_its_picture() -> None:
    page = (FOLDER / "README.md").read_text(encoding="utf-8")
    assert re.findall(r"\[`(\w+)\.py`\]\((?:\1)\.py\)", page) == re.findall(r"\(pictures/(\w+)\.png\)", page)
    assert {*re.findall(r"\(pictures/(\w+)\.png\)", page)} == {*NAMES}
    pictures = {path.stem: path.stat().st_size for path in (FOLDER / "pictures").iterdir()}
    assert {*pictures} == {*NAMES}
    assert max(pictures.values()) < 100e3


# What each of them shows. The same seeds draw the same nets everywhere; the bounds are a few standard errors of the
# small sizes, so that other seeds would pass too.


def test_the_edge_of_chaos_is_where_theory_has_it() -> None:
    # A net of width 64 has a typical factor below the mean by about 1/n a layer; c* next to the edge is not reached.
    agree("edge_of_chaos", "chi_1", rel=0.06, count=3)
    agree("edge_of_chaos", r"(ordered|2\.5).*c\*", abs_=0.12, count=2)  # in chaos two nets differ by 0.06
    found = numbers("edge_of_chaos")
    assert [label for label, (_, chi) in found.items() if "chi_1" in label and chi < 1] == [
        label for label in found if "chi_1" in label and "ordered" in label
    ]


def test_measured_depth_limits_and_correlations_follow_the_depth_scales() -> None:
    # A limit is a whole number of layers, of which the first few are not at the fixed point yet.
    agree("depth_scales", r"(0\.9|2\.1|2\.9), depth limit", rel=0.2, abs_=1.5, count=3)
    agree("depth_scales", "1.3, depth limit", rel=0.35)  # of 111 layers, beyond the 60 measured, in nets 128 wide
    agree("depth_scales", "correlation in layer 10", abs_=0.12, count=6)  # three nets, on a steep way: 0.04 each


def test_batch_norm_explodes_at_its_rate_and_layer_norm_does_not() -> None:
    # Batches of 8 have heavy tails: the mean of 1 / variance^2 is carried by few nets.
    agree("batch_norm_explosion", "batch (16|32)", rel=0.04, count=6)
    agree("batch_norm_explosion", "batch 8", rel=0.08, count=3)
    found = {label: measured for label, (_, measured) in numbers("batch_norm_explosion").items()}
    assert found["ReLU, batch norm, batch 32"] > 1.4
    assert found["ReLU, layer norm, batch 32"] < 1.1


def test_orthogonal_weights_are_isometric_until_relu_undoes_it() -> None:
    agree("isometry", "linear, orthogonal", abs_=1e-6)
    agree("isometry", "(ReLU|linear, Gaussian)", rel=0.25, count=3)  # of width 64 at depth 4
    # The scatter of an exponent after 1000 layers of width 32 is sqrt(1 / (2 * 32 * 1000)), 0.004.
    agree("isometry", "exponent", abs_=0.02, count=2)


def test_relu_keeps_norms_and_loses_inputs() -> None:
    agree("relu_collapse", "size of z", rel=0.4)  # of 50 layers of width 256: 0.3 a net
    agree("relu_collapse", "correlation", abs_=0.03, count=4)
    agree("relu_collapse", "rank", rel=0.08, count=4)
    assert numbers("relu_collapse")["correlation in layer 30"][1] > 0.95
    assert numbers("relu_collapse")["rank in layer 30"][1] < 1.2


def test_tanh_on_the_edge_decays_by_a_power_law() -> None:
    agree("power_law", "sigma_w 1.0.*q", rel=0.3, count=2)
    agree("power_law", "layer 10, gradient", rel=0.3, count=3)  # 10 layers of width 128, 4 nets
    powers = re.findall(r"^power of l .*: (\S+)$", run("power_law").output, flags=re.MULTILINE)
    assert [float(power) for power in powers] == pytest.approx([-1, -1], abs=0.01)
    _, critical = numbers("power_law")["sigma_w 1.0, layer 50, gradient"]
    _, ordered = numbers("power_law")["sigma_w 0.9, layer 50, gradient"]
    assert critical > 100 * ordered


def test_gradients_shatter_as_theory_says_and_not_exponentially() -> None:
    agree("shattering", "depth (1|3)$", abs_=0.04, count=8)
    agree("shattering", "depth 10$", abs_=0.06, count=4)
    found = {label: measured for label, (_, measured) in numbers("shattering").items() if label.endswith("depth 10")}
    order = ["plain", "residual", "residual, batch norm", "looks linear"]
    values = [found[f"{name}, depth 10"] for name in order]
    assert values == sorted(values)
    assert values[0] > 10 * 2**-10
    assert values[-1] == pytest.approx(1, abs=1e-5)


def test_nets_train_to_the_depth_that_is_known_before() -> None:
    agree("trainability", "depth limit", rel=0.2, count=5)  # a whole number of layers, in nets 32 wide
    found = re.findall(
        r"^sigma_w (\S+): trains to depth (\d+), 6 xi_c is (\d+)$", run("trainability").output, re.MULTILINE
    )
    for scale, deepest, six in found:
        limit, _ = numbers("trainability")[f"sigma_w {scale}, depth limit"]
        # Depths are a factor of 1.46 apart, and 150 steps are few.
        assert 0.3 * limit < float(deepest) < 1.2 * limit
        assert float(six) > float(deepest)
    chaotic = [float(six) / float(deepest) for scale, deepest, six in found if float(scale) > 1.4]
    assert min(chaotic) > 2  # where 6 xi_c is no more than an upper line


def test_a_readout_alone_diverges_beyond_two_over_its_curvature() -> None:
    # Rates are 2.6 % apart, and 200 steps leave some doubt.
    agree("rate_fractal", "largest rate", rel=0.04, count=4)
    dimensions = re.findall(r"(\d\.\d+) on the", run("rate_fractal").output)
    assert len(dimensions) == 2
    assert all(1.1 < float(each) < 2 for each in dimensions)


def test_typical_gradients_fall_where_their_mean_stays() -> None:
    # 300 nets: a variance has a relative scatter of sqrt(2 / 300), 0.08; a mean logarithm one of its deviation / 17.
    agree("finite_width", "variance", rel=0.3, count=3)
    agree("finite_width", "mean of the logarithm", abs_=0.6, count=3)
    agree("finite_width", "width 256.*mean over", rel=0.2)
    found = numbers("finite_width")
    drifts = [measured for label, (_, measured) in found.items() if "logarithm" in label]
    assert drifts == sorted(drifts)  # the narrowest first


def test_pretrained_layers_pass_the_gradient_on_and_fresh_ones_do_not() -> None:
    agree("pretraining", "log10 of the ratio", abs_=0.25, count=3)
    agree("pretraining", "fresh loss", abs_=0.05, count=3)
    told = re.findall(r"(fresh|pretrained): \S+ (\S+), loss (\S+), test accuracy (\S+)", run("pretraining").output)
    ratios = {word: [float(ratio) for each, ratio, *_ in told if each == word] for word, *_ in told}
    assert all(after > 10 * before for before, after in zip(*ratios.values(), strict=True))
    assert max(float(loss) for word, _, loss, _ in told if word == "pretrained") < 0.3


def test_gradients_through_time_fall_at_the_rate_of_shared_weights_and_the_forget_bias_decides() -> None:
    # A factor a step is within 1.5 %, and there are 100 steps.
    agree("gradient_through_time", "log10 of the change", abs_=0.7, count=6)
    agree("gradient_through_time", "memory limit", abs_=1, count=6)
    told = run("gradient_through_time").output
    kept = {
        name: float(at) for name, at in re.findall(r"^(IRNN|LSTM, chrono): 10\^(\S+) in 100 steps", told, re.MULTILINE)
    }
    assert len(kept) == 2
    assert min(kept.values()) > -1.5
    changes = {
        label.partition(", log10")[0]: measured for label, (_, measured) in numbers("gradient_through_time").items()
    }
    assert changes["LSTM, forget bias 0"] < changes["LSTM, forget bias 1"] - 10
    shares = [float(share) for share in re.findall(r"through the cell: (\S+)$", told, re.MULTILINE)]
    assert shares == sorted(shares)
    assert shares[0] > 0.5
    assert len(shares) == 3


def test_queries_learn_nothing_where_tokens_are_alike_though_the_stream_is_healthy() -> None:
    agree("pre_post_norm", "dL/dW_Q", abs_=0.4, count=3)
    agree("pre_post_norm", "depth 32 over 1", abs_=0.05, count=3)
    agree("pre_post_norm", "correlation of tokens", abs_=0.08, count=3)
    told = run("pre_post_norm").output
    changes = [float(each) for each in re.findall(r"dL/dx changes 10\^(\S+)-fold", told)]
    assert len(changes) == 5
    assert max(map(abs, changes)) < 1
    found = {
        label.partition(", ")[0]: measured
        for label, (_, measured) in numbers("pre_post_norm").items()
        if "W_Q" in label
    }
    assert found["post-LN"] < found["pre-LN"] - 1
    assert abs(found["DeepNorm"]) < 0.1
    first, last = map(float, re.findall(r"^no skip: dL/dW_Q is 10\^(\S+) and 10\^(\S+)$", told, re.MULTILINE)[0])
    assert last < first - 12
    assert "ReZero: dL/dW_Q is 10^-inf and 10^-inf" in told
