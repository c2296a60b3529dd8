"""The jobs of `vgcore bench`, done by vgcore, torch, JAX and NumPy: one function a rival.

The net is vgcore's default: ReLU, He normal weights, float32, no readout, every layer as wide as the input. Its biases
are zero, and the rivals leave them out. What a rival's docstring says is printed beside its figures. The first two jobs
are done by all, the others by vgcore alone.
"""

from __future__ import annotations

import itertools
import math
import os
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cache, partial
from importlib import import_module
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from vgcore._core import build_info
from vgcore.judge.diagnose import diagnose as vgcore_diagnose
from vgcore.measure.probe import probe as vgcore_probe
from vgcore.measure.sweep import sweep as vgcore_sweep
from vgcore.model.mlp import MLP
from vgcore.model.network import Network
from vgcore.train.fit import train as vgcore_train

Shape: TypeAlias = tuple[int, int, int]  # width, batch, depth

JOBS = {
    "probe": "weights, input and cotangent from a new seed; forward, backward, the norm of every layer's dL/dW",
    "gradients": "of one given net, as arrays: dL/dW, dL/db and dL/dz of every layer",
    "training": "a step of Adam on one batch: a sixteenth of vg.train(..., steps=16), which draws the weights too",
    "sweep": "probes of 24 nets in one vg.sweep: 4 activations, 3 inits, 2 seeds",
    "diagnosis": "vg.diagnose of one recipe: 8 nets probed, verdict, findings and depth limit",
}
#: Of what is timed: raised where a job, its net or its inputs become others, and times say nothing of each other.
WORKLOAD = 1
STEPS, SEEDS_OF_SWEEP, SEEDS_OF_DIAGNOSIS = 16, 2, 8
GRID: dict[str, Any] = {
    "activation": ["relu", "tanh", "sigmoid", "gelu"],
    "init": ["he_normal", "xavier_normal", "lecun_normal"],
}
CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
SEEDS = itertools.count()


class Given:
    """A shape, and the net, samples and cotangent of its explicit gradients.

    Attributes:
        shape: Width, batch, depth.
        std: Standard deviation of the weights.
        spec: The net.
        net: The spec with the weights of seed 0.
        weights: These weights, `(width, width)` each, input side first.
        x: Samples, `(batch, width)`.
        cotangent: dL/dy, `(batch, width)`.
        tolerance: How far gradients may differ, relative to their norm.
    """

    def __init__(self, width: int, batch: int, depth: int) -> None:
        self.shape: tuple[int, int, int] = (width, batch, depth)
        self.std: float = math.sqrt(2 / width)
        self.spec: MLP = MLP(depth=depth, width=width)
        self.net: Network = self.spec.init(seed=0)
        state, draw = self.net.state_dict(), np.random.default_rng(0).standard_normal
        self.weights: list[NDArray[np.float32]] = [state[f"layers.{l}.weight"] for l in range(depth)]
        # Where a pre-activation is so near ReLU's kink that rounding decides its slope, rivals rightly differ: of many
        # samples take those that stay clear of it, and where a net is so large that none does, allow for it.
        h = x = draw((4 * batch + 16, width), np.float32)
        clear = np.full(len(x), np.inf, np.float32)
        for w in self.weights:
            z = h @ w.T
            least, most = np.abs(z).min(1), np.abs(z).max(1)
            # A sample that no unit lets through any more is taken last: all of it is 0.
            clear = np.minimum(clear, np.divide(least, most, out=np.zeros_like(least), where=most > 0))
            h = np.maximum(z, 0)
        clearest = np.argsort(-clear)[:batch]
        self.x: NDArray[np.float32] = x[clearest]
        self.tolerance: float = 1e-4 if clear[clearest].min() > 1e-5 else 0.05
        self.cotangent: NDArray[np.float32] = draw((batch, width), np.float32) / np.float32(math.sqrt(batch))


@dataclass
class Program:
    """One way to do a job.

    Attributes:
        job: One of `JOBS`.
        run: Do it, for a seed; explicit gradients ignore it.
        setting: What this way is, where there are several.
        nets: Nets a call, or steps of a training.
        first_call: Seconds.
        tried: Microseconds per layer of one net of every setting there is, if this one was chosen of several.
        turns: Microseconds per layer of one net, one a round.
        seconds: Duration of a call, in the last turn.
    """

    job: str
    run: Callable[[int], Any]
    setting: str = ""
    nets: int = 1
    first_call: float = math.inf
    tried: dict[str, float] = field(default_factory=dict)
    turns: list[float] = field(default_factory=list)
    seconds: float = 0

    def turn(self, depth: int) -> float:
        """Microseconds per layer of one net."""
        _wait_for_silence()
        if self.seconds < 0.1:
            self.run(next(SEEDS))
        start, calls, passed = time.perf_counter(), 0, 0.0
        while passed < 0.02:
            self.run(next(SEEDS))
            calls, passed = calls + 1, time.perf_counter() - start
        self.seconds = passed / calls
        return round(1e6 * self.seconds / (self.nets * depth), 3)


def _wait_for_silence() -> None:
    """Return when no thread of this process works, or after 2 s.

    Threads of the rival before may go on: those of OpenBLAS spin for 0.1 s and more after their last product, on a core
    that the next rival needs.
    """
    deadline = time.perf_counter() + 2
    while time.perf_counter() < deadline:
        used = time.process_time()
        time.sleep(0.01)
        if time.process_time() - used < 0.001:
            return


def vgcore(given: Given) -> list[Program]:
    """Probe: vg.probe of many seeds a call, up to 16 a thread and fewer of large nets. Gradients: net.backward.

    It does more than the job asks: a probe measures nine columns beside the norm, backward returns dL/dx too.
    """
    threads = int(build_info()["threads"])

    def gradients(_: int) -> Any:
        g = given.net.backward(given.x, given.cotangent)
        return g.weights, g.biases, g.preactivations

    return [
        _probes(given, _many(given), f"{threads} thr"),
        *(
            Program(job, run, f"{threads} thr", nets)
            for job, run, nets in [("gradients", gradients, 1), *_alone(given)]
        ),
    ]


def _alone(given: Given) -> Iterator[tuple[str, Callable[[int], Any], int]]:
    """The jobs that no rival does, each with the nets a call, or of a training the steps."""
    width, batch, _ = given.shape
    y = np.random.default_rng(1).standard_normal((batch, width), np.float32)

    def train(seed: int) -> Any:
        return vgcore_train(given.spec, given.x, y, loss="mse", steps=STEPS, batch=batch, seed=seed)

    def sweep(seed: int) -> Any:
        return vgcore_sweep(given.spec, batch=batch, seeds=SEEDS_OF_SWEEP, seed=seed, **GRID)

    def diagnose(seed: int) -> Any:
        return vgcore_diagnose(given.spec, batch=batch, seeds=SEEDS_OF_DIAGNOSIS, seed=seed)

    yield "training", train, STEPS
    yield "sweep", sweep, SEEDS_OF_SWEEP * math.prod(map(len, GRID.values()))
    yield "diagnosis", diagnose, SEEDS_OF_DIAGNOSIS


def one_net(given: Given) -> list[Program]:
    """Probe: vg.probe of one seed a call, as most rivals work."""
    return [_probes(given, 1, "")]


def _many(given: Given) -> int:
    """Nets a call of those that measure many at once: enough work for all threads, and weights that fit the memory."""
    width, _, depth = given.shape
    return int(build_info()["threads"]) * min(max(1, int(2e7 / (depth * width**2))), 16)


def _probes(given: Given, nets: int, setting: str) -> Program:
    """Probes by vgcore of so many nets a call."""

    def probe(seed: int) -> Any:
        return vgcore_probe(given.spec, batch=given.shape[1], seeds=nets, seed=seed * nets).wgrad_norm

    return Program("probe", probe, setting, nets)


def torch(given: Given) -> list[Program]:
    """Eager, no modules, one net a call, the fastest of its spellings on 1 and on all threads.

    autograd: one normal_, mm, relu_, autograd.grad, _foreach_norm. by hand: mm, relu_, threshold_backward, one bmm for
    every dL/dW, without autograd and into the same arrays in every call. by layer: by hand, with an mm for each dL/dW.
    Gram: by hand, the norm of dL/dW from two products of batch x batch, as vgcore does it.
    """
    torch = import_module("torch")
    depth = given.shape[2]
    # As (in, out): mm then needs no transpose, which autograd would have to record.
    weights = [torch.tensor(w.T.copy(), requires_grad=True) for w in given.weights]
    x, cotangent = torch.tensor(given.x), torch.tensor(given.cotangent)
    hand = _ByHand(given, ())
    with torch.no_grad():
        torch.stack(weights, out=hand.weights)
        hand.x.copy_(x)
        hand.cotangent.copy_(cotangent)

    def autograd() -> Any:
        h, zs = x, []
        for w in weights:
            zs.append(torch.mm(h, w))
            h = torch.relu(zs[-1])
        g = torch.autograd.grad(h, [*weights, *zs], cotangent)
        return [dw.t() for dw in g[:depth]], [dz.sum(0) for dz in g[depth:]], g[depth:]

    by_hand, by_layer = (partial(hand.gradients, bmm=bmm) for bmm in (True, False))
    gradients: dict[str, Callable[[], Any]] = {"autograd": autograd, "by hand": by_hand, "by layer": by_layer}
    return _torch_probes(given, ()) + _torch_programs("gradients", gradients)


def torch_stacked(given: Given) -> list[Program]:
    """Probe: as torch, of as many nets a call as vgcore: weights (nets, width, width), bmm in place of mm."""
    return _torch_probes(given, (_many(given),))


def torch_compile(given: Given) -> list[Program]:
    """One compiled program a job, of passes by hand, on 1 and on all threads; what a probe draws is drawn eagerly."""
    torch = import_module("torch")
    if problem := _why_torch_cannot_compile():
        warnings.warn(f"torch.compile takes no part, it does not work here: {problem}", stacklevel=2)
        return []
    torch.compiler.reset()  # it keeps few programs of one function, and would run the next shape uncompiled
    width, batch, depth = given.shape
    compiled = partial(torch.compile, dynamic=False)
    given_weights = [torch.tensor(w.T.copy()) for w in given.weights]
    x, cotangent = torch.tensor(given.x), torch.tensor(given.cotangent)

    def passes(weights: Any, x: Any, dh: Any) -> Any:
        hs, dw, dz = [x], [], []
        for w in weights:
            hs.append(torch.relu(torch.mm(hs[-1], w)))
        for l in reversed(range(depth)):
            dz.append(torch.ops.aten.threshold_backward(dh, hs[l + 1], 0))
            dw.append(torch.mm(dz[-1].t(), hs[l]))
            dh = torch.mm(dz[-1], weights[l].t()) if l else dh
        return dw[::-1], dz[::-1]

    @compiled
    def norms(weights: Any, x: Any, start: Any) -> Any:
        return [torch.linalg.vector_norm(dw) for dw in passes(weights, x, start)[0]]

    @compiled
    def explicit(weights: Any, x: Any, start: Any) -> Any:
        dw, dz = passes(weights, x, start)
        return dw, [d.sum(0) for d in dz], dz

    def probe() -> Any:
        with torch.no_grad():
            weights = torch.empty(depth, width, width).normal_(0, given.std).unbind()
            return norms(weights, torch.randn(batch, width), torch.randn(batch, width) / math.sqrt(batch))

    def gradients() -> Any:
        with torch.no_grad():
            return explicit(given_weights, x, cotangent)

    return _torch_programs("probe", {"": probe}) + _torch_programs("gradients", {"": gradients})


class _ByHand:
    """Passes of torch without autograd, of one net or of many that are stacked, into the same arrays in every call.

    Attributes:
        weights: Of every layer, as (in, out).
        x: Samples.
        cotangent: dL/dy.
    """

    def __init__(self, given: Given, many: tuple[int, ...]) -> None:
        self.torch = torch = import_module("torch")
        width, batch, depth = given.shape
        self.product = torch.bmm if many else torch.mm
        self.weights = torch.empty(depth, *many, width, width)
        self.h, self.dz = torch.empty(depth + 1, *many, batch, width), torch.empty(depth, *many, batch, width)
        self.dh, self.cotangent = torch.empty(2, *many, batch, width).unbind()
        self.x = self.h[0]
        self.layers = list(zip(self.weights, self.weights.mT, self.h[:-1], self.h[1:], self.dz, strict=True))
        # What one bmm makes dL/dW of: all layers of one net, or one layer of many.
        self.bundles = list(zip(self.dz, self.h, strict=False)) if many else [(self.dz, self.h[:-1])]
        self.dw = torch.empty(*(many or (depth,)), width, width)
        # The same, layer by layer, for one net: faster where the batch is small.
        self.single = [] if many else list(zip(self.dw, self.dz.mT, self.h[:-1], strict=True))

    def passes(self) -> None:
        """Forward and backward, dL/dW not yet."""
        back = self.torch.ops.aten.threshold_backward.grad_input
        for w, _, h, out, _ in self.layers:
            self.product(h, w, out=out).relu_()
        dh = self.cotangent
        for l, (_, w, _, out, dz) in reversed([*enumerate(self.layers)]):
            back(dh, out, 0, grad_input=dz)
            dh = self.product(dz, w, out=self.dh) if l else None

    def gradients(self, *, bmm: bool) -> Any:
        """dL/dW, by one bmm or a product a layer, dL/db and dL/dz of one net."""
        with self.torch.inference_mode():
            self.passes()
            if bmm:
                self.torch.bmm(self.dz.mT, self.h[:-1], out=self.dw)
            else:
                for dw, dz, h in self.single:
                    self.torch.mm(dz, h, out=dw)
            return self.dw, self.dz.sum(1), self.dz

    def norms(self, std: float, *, gram: bool) -> Any:
        """The norm of every dL/dW, of what is drawn now."""
        torch = self.torch
        with torch.inference_mode():
            self.weights.normal_(0, std)
            self.x.normal_()
            self.cotangent.normal_(0, self.x.shape[-2] ** -0.5)
            self.passes()
            if gram:
                return [(torch.bmm(dz, dz.mT) * torch.bmm(h, h.mT)).sum((1, 2)).sqrt() for dz, h in self.bundles]
            return [torch.linalg.vector_norm(torch.bmm(dz.mT, h, out=self.dw), dim=(1, 2)) for dz, h in self.bundles]


def _torch_probes(given: Given, many: tuple[int, ...]) -> list[Program]:
    """Probes of one net a call, or of many that are stacked."""
    torch = import_module("torch")
    width, batch, depth = given.shape
    product, hand = torch.bmm if many else torch.mm, _ByHand(given, many)

    def autograd() -> Any:
        weights = [w.requires_grad_() for w in torch.empty(depth, *many, width, width).normal_(0, given.std).unbind()]
        h, start = torch.randn(*many, batch, width), torch.randn(*many, batch, width) / math.sqrt(batch)
        for w in weights:
            h = product(h, w).relu_()
        dw = torch.autograd.grad(h, weights, start)
        if many:
            return [torch.linalg.vector_norm(g, dim=(1, 2)) for g in dw]
        return torch._foreach_norm(dw)  # noqa: SLF001 (as clip_grad_norm_ does)

    by_hand, gram = (partial(hand.norms, given.std, gram=gram) for gram in (False, True))
    return _torch_programs("probe", {"autograd": autograd, "by hand": by_hand, "Gram": gram}, math.prod(many))


def _torch_programs(job: str, spellings: dict[str, Callable[[], Any]], nets: int = 1) -> list[Program]:
    """Every spelling on 1 and on all threads."""
    torch = import_module("torch")

    def run(spelling: Callable[[], Any], threads: int, seed: int) -> Any:
        torch.set_num_threads(threads)
        if job == "probe":
            torch.default_generator.manual_seed(seed)  # torch.manual_seed takes 85 us: it looks for GPUs too
        return spelling()

    return [
        Program(job, partial(run, spelling, threads), f"{name} {threads} thr".strip(), nets)
        for name, spelling in spellings.items()
        for threads in sorted({1, CORES})
    ]


@cache
def _why_torch_cannot_compile() -> str:
    """What a small program failed with: the C++ compiler is missing, or torch knows this Python not yet."""
    torch = import_module("torch")
    try:
        torch.compile(lambda x: x + 1)(torch.ones(2))
    except RuntimeError as error:
        return str(error).strip().splitlines()[0]
    return ""


def jax(given: Given) -> list[Program]:
    """One jitted program a job, the faster of lax.scan and unrolled layers; jax.random (threefry), vjp, norms."""
    jax = import_module("jax")
    probe, gradients = _jax_jobs(given)
    one_shot, explicit = jax.jit(probe, static_argnums=0), jax.jit(gradients)
    x, start, stacked = (jax.numpy.asarray(value) for value in (given.x, given.cotangent, np.stack(given.weights)))
    forms = {"scan": stacked, "unrolled": list(stacked)}.items()
    probes = [Program("probe", _jax_ready(one_shot, form == "unrolled"), form) for form, _ in forms]
    return probes + [Program("gradients", _jax_ready(explicit, w, x, start), form) for form, w in forms]


def jax_vmap(given: Given) -> list[Program]:
    """Probe: as JAX, of as many nets a call as vgcore, by vmap over seeds."""
    jax = import_module("jax")
    probe, nets = _jax_jobs(given)[0], _many(given)

    def probes(unrolled: Any, seed: Any) -> Any:
        return jax.vmap(partial(probe, unrolled))(seed * nets + jax.numpy.arange(nets))

    many = jax.jit(probes, static_argnums=0)
    forms = ("scan", "unrolled")
    return [Program("probe", _jax_ready(many, form == "unrolled"), form, nets) for form in forms]


def _jax_ready(run: Callable[..., Any], *values: Any) -> Callable[[int], Any]:
    """A call of JAX that ends when its result is there."""
    jax = import_module("jax")
    return lambda seed: jax.block_until_ready(run(*values, seed))


def _jax_jobs(given: Given) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """Both jobs of one net, not yet jitted: the probe of a form and a seed, and the explicit gradients."""
    jax = import_module("jax")
    jnp, norm = jax.numpy, jax.numpy.linalg.norm
    normal = partial(jax.random.normal, dtype="float32")  # as all that is compared, also where x64 is switched on
    width, batch, depth = given.shape

    def forward(layers: Any, h: Any) -> Any:
        def layer(h: Any, values: Any) -> Any:
            return jax.nn.relu(sum(values[1:], h @ values[0].T)), None

        if not isinstance(layers[0], list):
            return jax.lax.scan(layer, h, layers)[0]
        for values in zip(*layers, strict=True):
            h, _ = layer(h, values)
        return h

    def probe(unrolled: Any, seed: Any) -> Any:
        def draw(key: Any) -> Any:
            return normal(key, (width, width)) * given.std

        keys = jax.random.split(jax.random.key(seed), 2 + depth)
        x, cotangent = normal(keys[0], (batch, width)), normal(keys[1], (batch, width)) / math.sqrt(batch)
        weights = list(jax.lax.map(draw, keys[2:])) if unrolled else jax.vmap(draw)(keys[2:])
        (dw,) = jax.vjp(lambda w: forward((w,), x), weights)[1](cotangent)
        return jnp.stack([norm(g) for g in dw]) if unrolled else norm(dw, axis=(1, 2))

    def gradients(weights: Any, x: Any, cotangent: Any, _: int) -> Any:
        # dL/dz is the gradient by zeros that are added to z.
        zeros = jnp.zeros((depth, batch, width), "float32")
        layers = weights, list(zeros) if isinstance(weights, list) else zeros
        dw, dz = jax.vjp(lambda layers: forward(layers, x), layers)[1](cotangent)[0]
        return dw, [d.sum(0) for d in dz] if isinstance(dz, list) else dz.sum(1), dz

    return probe, gradients


def numpy(given: Given) -> list[Program]:
    """By hand, on as many threads as its BLAS likes; standard_normal in float32 times std, matmul, np.linalg.norm."""
    width, batch, depth = given.shape

    def passes(weights: Any, x: Any, dh: Any) -> Iterator[tuple[Any, Any]]:
        hs = [x]
        for w in weights:
            z = hs[-1] @ w.T
            hs.append(np.maximum(z, 0, out=z))
        for l in reversed(range(depth)):
            dz = dh * (hs[l + 1] > 0)
            dh = dz @ weights[l] if l else None
            yield dz.T @ hs[l], dz

    def probe(seed: int) -> Any:
        draw = np.random.default_rng(seed).standard_normal
        weights = draw((depth, width, width), np.float32)
        weights *= np.float32(given.std)
        x, start = draw((2, batch, width), np.float32)
        return [np.linalg.norm(dw) for dw, _ in passes(weights, x, start / np.float32(math.sqrt(batch)))][::-1]

    def gradients(_: int) -> Any:
        dw, dz = zip(*passes(given.weights, given.x, given.cotangent), strict=True)
        return dw[::-1], [d.sum(0) for d in reversed(dz)], dz[::-1]

    return [Program("probe", probe), Program("gradients", gradients)]


RIVALS: dict[str, Callable[[Given], list[Program]]] = {
    "vgcore": vgcore,
    "one net": one_net,
    "torch": torch,
    "torch stacked": torch_stacked,
    "torch.compile": torch_compile,
    "JAX": jax,
    "JAX vmap": jax_vmap,
    "NumPy": numpy,
}
OPTIONAL = {"torch": "torch", "JAX": "jax"}  # and the module that it needs
SLOW = {"torch stacked": "torch", "torch.compile": "torch", "JAX vmap": "jax"}  # they take part where all are asked for
