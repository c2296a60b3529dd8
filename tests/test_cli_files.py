"""The shell on nets that come from files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import vgcore as vg
from test_cli import run, strict_json

SPEC = vg.MLP(depth=10, width=16, in_features=4, out_features=3, activation="sigmoid", init="xavier_normal")


def save(path: str | Path, state: dict[str, Any]) -> None:
    np.savez(path, **state)


@pytest.fixture(name="arrays")
def arrays_fixture(tmp_path: Path) -> list[str]:
    """A net of sigmoids in a file, and the option that says so."""
    save(tmp_path / "net.npz", SPEC.init(seed=3).state_dict())
    (tmp_path / "spec.json").write_text(SPEC.to_json(), encoding="utf-8")
    return [str(tmp_path / "net.npz"), "--spec", str(tmp_path / "spec.json")]


def network(arrays: list[str]) -> Any:
    return vg.from_arrays(arrays[0], spec=SPEC).network


def test_a_probe_of_a_file_is_that_of_its_net(arrays: list[str]) -> None:
    done = run("probe", *arrays, "--json")
    assert done.returncode == 0, done.stderr
    (cell,) = strict_json(done.stdout)
    expected = vg.probe(network(arrays))
    assert cell["log10_delta_rms"] == expected.log10_delta_rms.tolist()
    assert (cell["dtype"], len(cell["seeds"])) == (expected.dtype, 8)
    assert "depth 10" in run("probe", *arrays).stdout


def test_a_diagnosis_of_a_file_is_that_of_its_net(arrays: list[str]) -> None:
    done = run("diagnose", *arrays, "--json")
    assert done.returncode == 1
    expected = vg.diagnose(network(arrays))
    assert [f["rule"] for f in strict_json(done.stdout)["findings"]] == [f.rule for f in expected.findings]
    assert expected.verdict == "vanishing"


def test_advice_for_a_file_is_that_for_its_net(arrays: list[str]) -> None:
    done = run("advise", *arrays, "--budget", "10", "--json")
    assert done.returncode == 1
    expected = vg.advise(network(arrays), budget=10)
    assert [a["change"] for a in strict_json(done.stdout)["advice"]] == [a.change for a in expected]


def test_data_of_the_user_go_through_the_net_of_a_file(arrays: list[str], tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    rows, classes = rng.standard_normal((20, 4)), rng.integers(0, 3, 20)
    np.savez(tmp_path / "data.npz", x=rows, y=classes)
    done = run("probe", *arrays, "--data", str(tmp_path / "data.npz"), "--json")
    (cell,) = strict_json(done.stdout)
    expected = vg.probe(network(arrays), x=rows, y=classes)
    assert len(cell["seeds"]) == 1  # nothing is drawn
    assert cell["log10_delta_rms"] == expected.log10_delta_rms.tolist()


def test_arrays_need_no_spec_where_activations_are_given(arrays: list[str]) -> None:
    done = run("diagnose", arrays[0], "--activation", "sigmoid")
    assert done.returncode == 1, done.stderr
    assert "note: weights were read as (out, in)" in done.stdout
    one = run("diagnose", arrays[0], "--activation", ",".join(["relu"] * 9 + ["tanh"]), "--fail-on", "never")
    assert one.returncode == 0, one.stderr


def test_weights_that_are_not_finite_are_a_diagnosis(arrays: list[str]) -> None:
    state = SPEC.init(seed=3).state_dict()
    state["layers.3.weight"][0, 0] = np.nan
    save(arrays[0], state)
    done = run("diagnose", *arrays)
    assert done.returncode == 1
    assert "layers.3.weight (1 nan of 256)" in done.stdout
    measured = run("probe", *arrays)
    assert measured.returncode == 2
    assert "weights must be finite" in measured.stderr


def test_a_list_of_parts_is_read_and_shown(tmp_path: Path) -> None:
    parts = vg.Sequential(["linear(8)", "keep(a)", "linear(8)", "tanh", "add(a)", "linear(3)"], in_features=4)
    save(tmp_path / "net.npz", parts.init(seed=0).state_dict())
    (tmp_path / "spec.json").write_text(parts.to_json(), encoding="utf-8")
    done = run("probe", str(tmp_path / "net.npz"), "--spec", str(tmp_path / "spec.json"))
    assert done.returncode == 0, done.stderr
    assert "linear(8)" in done.stdout


def test_onnx_says_what_it_is(tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx", reason="a net in an ONNX file needs onnx")
    from test_from_onnx import residual

    onnx.save(residual(), tmp_path / "net.onnx")
    done = run("probe", str(tmp_path / "net.onnx"))
    assert done.returncode == 0, done.stderr
    assert "skip residual" in done.stdout
    refused = run("probe", str(tmp_path / "net.onnx"), "--depth", "3", "--tied")
    assert refused.returncode == 2
    assert "leave out --depth, --tied" in refused.stderr


def test_safetensors_are_arrays(tmp_path: Path) -> None:
    library = pytest.importorskip("safetensors.numpy", reason="a .safetensors file needs safetensors")
    library.save_file(SPEC.init(seed=3).state_dict(), tmp_path / "net.safetensors")
    done = run("diagnose", str(tmp_path / "net.safetensors"), "--activation", "sigmoid", "--json")
    assert strict_json(done.stdout)["verdict"] == "vanishing"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["probe", "net.txt"], [".onnx, .npz or .safetensors", "'net.txt'"]),
        (["probe", "none.npz"], ["cannot read 'none.npz'"]),
        (["probe", "net.npz"], ["activation", "do not have it"]),
        (["probe", "net.npz", "--spec", "none.json"], ["cannot read 'none.json'"]),
        (["probe", "net.npz", "--spec", "net.npz"], ["--spec", "JSON of a spec"]),
        (["probe", "net.npz", "--spec", "spec.json", "--activation", "relu"], ["leave out --activation"]),
        (["probe", "net.npz", "--width", "8"], ["leave out --width"]),
        (["probe", "--spec", "spec.json"], ["--spec", "give the file"]),
        (["probe", "empty.onnx", "--spec", "spec.json"], ["--spec goes with arrays"]),
    ],
)
def test_bad_input_is_one_clear_error(arguments: list[str], words: list[str], arrays: list[str]) -> None:
    folder = Path(arrays[0]).parent
    (folder / "empty.onnx").touch()
    done = run(*arguments, cwd=folder)
    assert done.returncode == 2
    assert done.stdout == ""
    for word in words:
        assert word in done.stderr, done.stderr
