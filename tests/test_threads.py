"""Threads at once: they get what one thread gets alone, from the first import on. `make test-parallel` asks more so."""

import os
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from types import ModuleType

import pytest

import vgcore as vg
from vgcore.measure import progress

THREADS = 8
SPEC = vg.MLP(depth=12, width=48, activation="gelu", init="mean_field(1.5, 0.05)", norm="layer")
SIGMOIDS = vg.MLP(depth=20, width=32, activation="sigmoid", init="xavier_normal")

# Names in an order of each thread's own: imports of modules that need each other begin at different ends.
IMPORTS = """
import random, threading
from concurrent.futures import ThreadPoolExecutor
import vgcore as vg

start = threading.Barrier(8)

def names(seed):
    order = random.Random(seed).sample(vg.__all__, len(vg.__all__))
    start.wait()
    return {name: id(getattr(vg, name)) for name in order}

with ThreadPoolExecutor(8) as pool:
    first, *others = pool.map(names, range(8))
assert len(first) == len(vg.__all__)
assert all(found == first for found in others)
"""


# A process that is begun while a thread imports: it gets every name too.
FORK = """
import os, signal, threading
import vgcore as vg

import_, begun = vg._import, threading.Event()

def slowly(name):
    begun.set()
    threading.Event().wait(0.2)
    return import_(name)

vg._import = slowly
thread = threading.Thread(target=lambda: vg.MLP)
thread.start()
begun.wait()
if child := os.fork():
    thread.join()
    assert os.waitpid(child, 0)[1] == 0
else:
    signal.alarm(60)
    os._exit(vg.probe.__name__ != "probe")
"""


def probed() -> bytes:
    return vg.probe(SPEC, seeds=2).log10_delta_rms.tobytes()


def learned() -> bytes:
    x, y = vg.data.digits()
    spec = vg.MLP(depth=2, width=16, in_features=64, out_features=10, activation="tanh", init="xavier_normal")
    return vg.train(spec, x[:256], y[:256], optimizer=vg.SGD(lr=0.1), steps=20).final_loss.tobytes()


def test_threads_that_import_every_name_at_once_get_the_same_objects() -> None:
    done = subprocess.run([sys.executable, "-c", IMPORTS], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
def test_a_process_that_is_forked_while_a_thread_imports_gets_every_name() -> None:
    done = subprocess.run([sys.executable, "-c", FORK], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    "ask",
    [
        probed,
        lambda: str(vg.diagnose(SIGMOIDS, explain=True)),
        lambda: str(vg.theory.predict(vg.MLP(depth=9, width=32, activation="softplus", init="xavier_normal"))),
        lambda: str(vg.sweep(SIGMOIDS, depth=[4, 8], seeds=2).to_dict()),
        learned,
    ],
    ids=["probe", "diagnosis", "theory", "sweep", "training"],
)
def test_threads_at_once_get_what_one_gets_alone(ask: Callable[[], object]) -> None:
    start = Barrier(THREADS)

    def at_once(_: int) -> object:
        start.wait()
        return ask()

    with ThreadPoolExecutor(THREADS) as pool:
        found = list(pool.map(at_once, range(THREADS)))
    assert found == [ask()] * THREADS


def test_threads_that_judge_one_measurement_at_once_agree() -> None:
    probe, start = vg.probe(SIGMOIDS, seeds=2), Barrier(THREADS)

    def judged(_: int) -> str:
        start.wait()
        return str(vg.diagnose(probe))

    with ThreadPoolExecutor(THREADS) as pool:
        assert len(set(pool.map(judged, range(THREADS)))) == 1


@pytest.mark.thread_unsafe(reason="it puts half a library into sys.modules, which all threads share")
def test_a_library_that_another_thread_is_just_importing_is_not_there_yet(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in "numpy.ma", "IPython":
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    assert vg.diagnose(SIGMOIDS, thresholds={}).verdict == vg.diagnose(SIGMOIDS).verdict
    assert progress._notebook() is None
