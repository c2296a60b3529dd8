# mypy: allow-subclassing-any
"""Callbacks of trainers: of Lightning and transformers by stand-ins that call what their pages say, in that order.

The order is that of Lightning 2.5 ("Callback", hooks in `fit`), of transformers 4.57 (`TrainerCallback`, with
`_inner_training_loop`) and of Keras 3, which runs itself where it is installed.
"""

import copy
import os
import pickle
import subprocess
import sys
import textwrap
from collections.abc import Callable
from importlib.util import find_spec
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

import vgcore as vg
from vgcore.watch import keras as for_keras
from vgcore.watch import lightning as for_lightning
from vgcore.watch import transformers as for_transformers

torch = pytest.importorskip("torch", reason="watch needs torch: pip install torch")
nn: Any = torch.nn


class Callback:
    """As in Lightning: every hook is there and does nothing."""

    def __getattr__(self, name: str) -> Callable[..., None]:
        if not name.startswith("on_"):
            raise AttributeError(name)
        return lambda *_, **__: None


class Scaler:
    def scale(self, value: Any) -> Any:
        return value * 1024.0


def body() -> Any:
    torch.manual_seed(0)
    return nn.Sequential(*[part for _ in range(3) for part in (nn.Linear(4, 4), nn.Tanh())])


def batches(count: int = 5) -> list[Any]:
    generator = torch.Generator().manual_seed(1)
    return [torch.randn(6, 4, generator=generator) for _ in range(count)]


def plain(every: int) -> Any:
    """The same training, watched without a callback."""
    net = body()
    with vg.watch(net, every=every) as w:
        optimiser = torch.optim.SGD(net.parameters(), lr=0.1)
        for x in batches():
            optimiser.zero_grad()
            net(x).square().mean().backward()
            optimiser.step()
    return w.history.columns["log10_backward"]


class LightningModule(nn.Module):
    """Which is not called itself in training."""

    def __init__(self) -> None:
        super().__init__()
        self.net = body()

    def training_step(self, x: Any) -> Any:
        return self.net(x).square().mean()


def fit(module: Any, callback: Any, scale: Any = None) -> None:
    """The loop of Lightning's Trainer for one epoch, with automatic optimisation."""
    trainer = SimpleNamespace(precision_plugin=SimpleNamespace(scaler=scale) if scale else SimpleNamespace())
    optimiser = torch.optim.SGD(module.parameters(), lr=0.1)
    callback.on_fit_start(trainer, module)
    with torch.no_grad():  # the sanity check
        module.training_step(batches(1)[0])
    callback.on_train_start(trainer, module)
    callback.on_train_epoch_start(trainer, module)
    for i, x in enumerate(batches()):
        callback.on_train_batch_start(trainer, module, x, i)
        loss = module.training_step(x)
        callback.on_before_zero_grad(trainer, module, optimiser)
        optimiser.zero_grad()
        callback.on_before_backward(trainer, module, loss)
        (scale.scale(loss) if scale else loss).backward()
        callback.on_after_backward(trainer, module)
        if scale:
            for weight in module.parameters():
                weight.grad /= 1024.0
        callback.on_before_optimizer_step(trainer, module, optimiser)
        optimiser.step()
        callback.on_train_batch_end(trainer, module, None, x, i)
    callback.on_train_epoch_end(trainer, module)
    callback.on_train_end(trainer, module)
    callback.on_fit_end(trainer, module)


@pytest.fixture(params=["lightning.pytorch", "pytorch_lightning", "both"])
def lightning(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> list[type]:
    kinds = []
    for name in ("lightning.pytorch", "pytorch_lightning"):
        if request.param in {name, "both"}:
            module: Any = ModuleType(name)
            module.Callback = type("Callback", (Callback,), {})
            monkeypatch.setitem(sys.modules, name, module)
            kinds.append(module.Callback)
        else:
            monkeypatch.delitem(sys.modules, name, raising=False)
    return kinds


@pytest.mark.parametrize("scale", [None, Scaler()])
def test_lightning_shows_what_a_loop_by_hand_shows(lightning: list[type], scale: Any) -> None:
    callback = for_lightning.callback(every=2)
    assert all(isinstance(callback, kind) for kind in lightning)
    module = LightningModule()
    fit(module, callback, scale)
    assert callback.history.steps == (0, 2, 4)
    assert callback.trace.names == ("net.0", "net.2", "net.4")
    assert callback.history.columns["log10_backward"] == pytest.approx(plain(2), abs=1e-6)
    assert not any(part._forward_hooks for part in module.modules())


@pytest.mark.usefixtures("lightning")
def test_a_callback_of_lightning_is_copied_without_its_watch() -> None:
    callback = for_lightning.callback(every=2, layers="all")
    fit(LightningModule(), callback)
    for each in (copy.deepcopy(callback), pickle.loads(pickle.dumps(callback))):
        assert (each.every, each.layers, each.watch) == (2, "all", None)
        with pytest.raises(ValueError, match="training has not begun"):
            each.trace  # noqa: B018


@pytest.mark.usefixtures("lightning")
def test_an_exception_in_training_leaves_no_hooks() -> None:
    callback, module = for_lightning.callback(), LightningModule()
    trainer = SimpleNamespace(precision_plugin=SimpleNamespace())
    callback.on_train_start(trainer, module)
    callback.on_train_batch_start(trainer, module, None, 0)
    assert any(part._forward_hooks for part in module.modules())
    callback.on_exception(trainer, module, KeyboardInterrupt())
    assert not any(part._forward_hooks for part in module.modules())


@pytest.mark.parametrize("scale", [None, Scaler()])
def test_transformers_shows_the_first_batch_of_each_step(monkeypatch: pytest.MonkeyPatch, scale: Any) -> None:
    module: Any = ModuleType("transformers")
    module.TrainerCallback = Callback
    monkeypatch.setitem(sys.modules, "transformers", module)
    callback: Any = for_transformers.callback(every=2)
    assert isinstance(callback, module.TrainerCallback)

    net = body()
    wrapped = nn.ModuleDict({"module": net})  # as for several processes: what is called is not what a callback sees
    optimiser = torch.optim.SGD(net.parameters(), lr=0.1)
    args, state, control = (SimpleNamespace() for _ in range(3))
    prepared = SimpleNamespace(scaler=scale)
    given = {"model": net, "optimizer": prepared}
    callback.on_train_begin(args, state, control, **given)
    for x in batches():
        callback.on_step_begin(args, state, control, **given)
        for part in (x, 100 * x):  # two batches are accumulated
            loss = wrapped["module"](part).square().mean()
            (scale.scale(loss) if scale else loss).backward()
            callback.on_substep_end(args, state, control, **given)
        optimiser.zero_grad()
        wrapped["module"](x).square().mean().backward()  # the step that the loop by hand takes
        nn.utils.clip_grad_norm_(net.parameters(), 1e3)
        callback.on_pre_optimizer_step(args, state, control, **given)
        optimiser.step()
        callback.on_optimizer_step(args, state, control, **given)
        callback.on_step_end(args, state, control, **given)
    callback.on_train_end(args, state, control, **given)
    assert callback.history.steps == (0, 2, 4)
    assert callback.history.columns["log10_backward"] == pytest.approx(plain(2), abs=1e-6)


def test_what_is_not_imported_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("lightning.pytorch", "pytorch_lightning", "transformers", "keras.callbacks"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    with pytest.raises(ImportError, match=r"needs lightning\.pytorch or pytorch_lightning, which is not imported"):
        for_lightning.callback()
    with pytest.raises(ImportError, match="needs transformers"):
        for_transformers.callback()
    with pytest.raises(ImportError, match=r"needs keras\.callbacks"):
        for_keras.callback()


KERAS = """
import math
import keras, numpy as np, torch
import vgcore as vg
from vgcore.watch.keras import callback

keras.utils.set_random_seed(0)
def model(dtype=None):
    layers = [keras.layers.Dense(8, activation="tanh", dtype=dtype) for _ in range(4)]
    return keras.Sequential([keras.Input((6,)), *layers, keras.layers.Dropout(0.0), keras.layers.Dense(3, dtype=dtype)])
x, y = np.random.default_rng(0).standard_normal((32, 6)).astype("float32"), np.zeros(32, dtype=int)
loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)

# Gradients are those of autograd, on a copy of the net.
net = model()
weights = [torch.tensor(w) for w in net.get_weights()]
h, outputs = torch.tensor(x[:16]), []
for i in range(0, len(weights), 2):
    h = h @ weights[i] + weights[i + 1]
    h = torch.tanh(h) if i < 8 else h
    h.requires_grad_()
    outputs.append(h)
value = torch.nn.functional.cross_entropy(h, torch.tensor(y[:16]))
norms = [math.log10(g.norm() / 4) for g in torch.autograd.grad(value, outputs)]
seen = callback(every=2)
net.compile("sgd", loss, jit_compile=False)
net.fit(x, y, batch_size=16, epochs=2, shuffle=False, verbose=0, callbacks=[seen], validation_data=(x, y))
names = [layer.name for layer in net.layers if "dense" in layer.name]
assert seen.history.steps == (0, 2), seen.history.steps
assert list(seen.trace.names) == names, seen.trace.names
assert np.abs(seen.history.columns["log10_backward"][0] - norms).max() < 1e-5
assert np.isfinite(seen.trace.columns["log10_weight"]).all()
assert seen.trace.batch == 16
assert not any("call" in vars(layer) for layer in net.layers)

# Every layer, layers by name, and what is wrong.
for layers, count in {"all": 6, (names[0], names[2]): 2}.items():
    seen = callback(layers=layers)
    net.fit(x, y, verbose=0, callbacks=[seen])
    assert seen.trace.depth == count
for layers, error in {"al": "unknown layers", ("dens",): "unknown layer"}.items():
    try:
        net.fit(x, y, verbose=0, callbacks=[callback(layers=layers)])
    except ValueError as raised:
        assert error in str(raised), raised
    else:
        raise AssertionError(layers)

# The scale of a loss in half precision is taken out.
half = model("mixed_float16")
half.set_weights(net.get_weights())
half.compile(keras.optimizers.LossScaleOptimizer(keras.optimizers.SGD(0.0), initial_scale=1024.0), loss)
net.compile(keras.optimizers.SGD(0.0), loss)
columns = []
for each in (net, half):
    seen = callback()
    each.fit(x, y, batch_size=32, verbose=0, callbacks=[seen])
    columns.append(seen.trace.columns["log10_backward"][0])
assert np.abs(columns[0] - columns[1]).max() < 0.05, columns

# Layers inside of layers, and recurrent ones, which are one each.
class Block(keras.layers.Layer):
    def __init__(self):
        super().__init__()
        self.up, self.down = keras.layers.Dense(8), keras.layers.Dense(4)
    def call(self, x):
        return x + self.down(self.up(x))
parts = [keras.layers.Embedding(9, 4), keras.layers.LSTM(4, return_sequences=True), Block(), Block()]
net = keras.Sequential([keras.Input((5,)), *parts, keras.layers.GlobalAveragePooling1D(), keras.layers.Dense(3)])
net.compile("sgd", loss)
seen = callback()
net.fit(np.ones((8, 5), dtype=int), y[:8], verbose=0, callbacks=[seen])
assert seen.trace.depth == 6, seen.trace.names
assert np.isfinite(seen.trace.columns["log10_backward"]).all(), seen.trace.columns
block = net.layers[2]
assert seen.trace.names[1:3] == tuple(f"{block.name}/{part.name}" for part in (block.up, block.down))
"""


def run(code: str, backend: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        env=os.environ | {"KERAS_BACKEND": backend},
        capture_output=True,
        text=True,
        timeout=500,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def needs(*libraries: str) -> None:
    for library in libraries:
        if find_spec(library) is None:
            pytest.skip(f"pip install {library}")


def test_keras_on_torch_shows_the_gradients_of_torch() -> None:
    needs("keras")
    run(KERAS, "torch")


def test_keras_on_another_backend_is_refused_in_words() -> None:
    needs("keras", "jax")
    run(
        """
        import keras, numpy as np
        from vgcore.watch.keras import callback
        net = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
        net.compile("sgd", "mse")
        try:
            net.fit(np.ones((4, 2)), np.ones((4, 1)), verbose=0, callbacks=[callback()])
        except ValueError as error:
            assert "with KERAS_BACKEND=torch only, not with 'jax'" in str(error), error
        else:
            raise AssertionError
        """,
        "jax",
    )
