"""Other people's executors: equal to the serial run to the last bit, and honest where they break."""

import itertools
import multiprocessing
import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import BrokenExecutor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import vgcore as vg
from vgcore.measure import block, executor
from vgcore.model.spec import Spec

SPEC = vg.MLP(depth=1, width=16)
GRID: dict[str, Any] = {"depth": [1, 2, 3, 5, 8, 13], "activation": ["relu", "tanh"], "skip": [None, "residual"]}


def small(**options: Any) -> vg.Sweep:
    return vg.sweep(SPEC, **{"seeds": 2, "batch": 4, **GRID, **options})


def bits(s: vg.Sweep) -> list[tuple[Spec, bytes]]:
    return [(cell.spec, block.pack(cell)) for cell in s]


class Immediate:
    """An executor that works when it is asked to, and remembers."""

    def __init__(self, fault: Callable[[int], BaseException | None] = lambda _: None) -> None:
        self.batches: list[list[vg.MLP]] = []
        self.fault = fault

    def submit(self, work: Any, specs: list[vg.MLP], how: Any) -> "Future[Any]":
        self.batches.append(specs)
        future: Future[Any] = Future()
        error = self.fault(len(self.batches))
        if error is not None:
            future.set_exception(error)
        else:
            future.set_result(work(specs, how))
        return future


@contextmanager
def threads() -> Iterator[Any]:
    with ThreadPoolExecutor(2) as pool:
        yield pool


@contextmanager
def processes(start: str) -> Iterator[Any]:
    with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context(start)) as pool:
        yield pool


@contextmanager
def loky() -> Iterator[Any]:
    found = pytest.importorskip("loky").get_reusable_executor(2)
    try:
        yield found
    finally:
        found.shutdown(kill_workers=True)


@contextmanager
def dask() -> Iterator[Any]:
    distributed = pytest.importorskip("distributed")
    with (
        distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster,
        distributed.Client(cluster) as client,
    ):
        yield client


POOLS: dict[str, Callable[[], Any]] = {
    "threads": threads,
    "processes by spawn": lambda: processes("spawn"),
    "processes by forkserver": lambda: processes("forkserver"),
    "loky": loky,
    "dask": dask,
}


@pytest.mark.filterwarnings("default")  # what those libraries warn of is theirs
@pytest.mark.parametrize("name", POOLS)
def test_an_executor_gives_the_bits_of_the_serial_run(name: str, tmp_path: Path) -> None:
    x, y = np.random.default_rng(0).normal(size=(20, 16)), np.arange(20) % 3
    bump = vg.Activation.custom("bump", lambda z: z / (1 + z * z), low=-4, high=4, tolerance=1e-6)
    plain: dict[str, Any] = {"activation": ["relu", bump]}
    given: dict[str, Any] = {"x": x, "y": y, "depth": [1, 4], "out_features": [3], "loss": "cross_entropy", "batch": 9}
    with POOLS[name]() as pool:
        assert bits(small(**plain, executor=pool)) == bits(small(**plain))
        assert bits(small(**given, executor=pool, store=tmp_path / "runs.vg")) == bits(small(**given))
        assert bits(vg.open_sweep(tmp_path / "runs.vg")) == bits(small(**given))


def test_a_cell_of_an_executor_knows_its_data_as_any_other() -> None:
    x = np.ones((5, 16))
    s = small(x=x, executor=Immediate())
    assert all(cell.x is x for cell in s)


def test_every_cell_is_in_one_batch_beside_those_that_differ_in_depth_alone() -> None:
    pool = Immediate()
    small(executor=pool)
    sent = [spec for batch in pool.batches for spec in batch]
    assert sorted(spec.id for spec in sent) == sorted(cell.spec.id for cell in small())
    kinds = [(spec.activation, spec.skip) for spec in sent]
    assert sum(one != two for one, two in itertools.pairwise(kinds)) == 3


def test_batches_grow_until_they_are_worth_their_way(monkeypatch: pytest.MonkeyPatch) -> None:
    measured = executor.measured

    def slowly(specs: Any, how: Any) -> Any:
        return 0.1 * len(specs), measured(specs, how)[1]  # a tenth of a second a cell

    monkeypatch.setattr(executor, "measured", slowly)
    monkeypatch.setattr(executor, "GUESS", 1.0)
    pool = Immediate()
    vg.sweep(
        SPEC.replace(depth=2),
        seeds=1,
        batch=2,
        branch_scale=[i / 100 for i in range(1, 61)],
        skip=["residual"],
        executor=pool,
    )
    sizes = [len(batch) for batch in pool.batches]
    assert sizes[0] == 1
    # 0.5 s, and the last ones no less than 0.2 s.
    assert 4 <= max(sizes) <= 6
    assert all(size >= 2 for size in sizes[len(sizes) // 2 : -1])


def test_no_more_than_twice_the_workers_are_in_flight() -> None:
    class Counting(ThreadPoolExecutor):
        flying, most = 0, 0

        def submit(self, *arguments: Any, **options: Any) -> Any:
            future = super().submit(*arguments, **options)
            self.flying += 1
            self.most = max(self.most, self.flying)
            future.add_done_callback(lambda _: setattr(self, "flying", self.flying - 1))
            return future

    with Counting(2) as pool:
        wide = vg.MLP(depth=4, width=400, skip="residual")  # more than 0.5 s by the guess: each is a batch
        vg.sweep(wide, seeds=8, batch=256, branch_scale=[i / 20 for i in range(1, 21)], executor=pool)
        assert pool.most == 4


def test_a_broken_pool_gets_its_batch_once_more() -> None:
    once = Immediate(lambda call: BrokenExecutor("a worker died") if call == 1 else None)
    assert bits(small(executor=once)) == bits(small())
    assert len(once.batches[0]) == len(once.batches[1])
    ever = Immediate(lambda _: BrokenExecutor("a worker died"))
    with pytest.raises(BrokenExecutor, match="a worker died") as caught:
        small(executor=ever)
    assert len(caught.value.sweep) == 0  # type: ignore[attr-defined]


def died(*_: Any) -> None:
    os._exit(1)


def test_what_came_before_a_pool_broke_is_kept(tmp_path: Path) -> None:
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:

        class Breaking:
            calls = 0

            def submit(self, *arguments: Any) -> Any:
                self.calls += 1
                return pool.submit(died) if self.calls == 2 else pool.submit(*arguments)

        wide = vg.MLP(depth=4, width=400, skip="residual")
        scales = [i / 20 for i in range(1, 7)]
        with pytest.raises(BrokenExecutor) as caught:
            vg.sweep(wide, seeds=8, batch=256, branch_scale=scales, executor=Breaking(), store=tmp_path / "runs.vg")
    kept = caught.value.sweep  # type: ignore[attr-defined]
    assert 0 < len(kept) == len(vg.open_sweep(tmp_path / "runs.vg")) < 6


def test_ctrl_c_cancels_what_waits_and_keeps_what_came(tmp_path: Path) -> None:
    class Waiting:
        def __init__(self) -> None:
            self.futures: list[Future[Any]] = []

        def submit(self, work: Any, specs: Any, how: Any) -> "Future[Any]":
            future: Future[Any] = Future()
            self.futures.append(future)
            if len(self.futures) == 1:
                future.set_result(work(specs, how))
            elif len(self.futures) == 3:
                threading.Timer(0.2, interrupted).start()
            return future

    def interrupted() -> None:
        import _thread

        _thread.interrupt_main()

    pool = Waiting()
    wide = vg.MLP(depth=4, width=400, skip="residual")
    with pytest.raises(KeyboardInterrupt) as caught:
        vg.sweep(wide, seeds=8, batch=256, branch_scale=[0.1, 0.2, 0.3, 0.4], executor=pool, store=tmp_path / "runs.vg")
    assert len(caught.value.sweep) == len(vg.open_sweep(tmp_path / "runs.vg")) == 1  # type: ignore[attr-defined]
    assert [future.cancelled() for future in pool.futures] == [False] + [True] * (len(pool.futures) - 1)


def test_an_error_of_a_worker_is_that_of_the_sweep() -> None:
    with pytest.raises(ValueError, match="x must be"):
        small(x=np.ones((4, 3)), executor=Immediate())
    with pytest.raises(ZeroDivisionError):
        small(executor=Immediate(lambda _: ZeroDivisionError()))


def test_an_executor_that_was_shut_down_fails_the_sweep_and_no_cell(tmp_path: Path) -> None:
    pool = ThreadPoolExecutor(1)
    pool.shutdown()
    with pytest.raises(RuntimeError, match="shutdown"):
        small(executor=pool, store=tmp_path / "runs.vg")
    assert small(store=tmp_path / "runs.vg").failed == {}


def test_what_is_no_future_or_no_answer_of_ours_is_refused() -> None:
    class Nothing(Immediate):
        def submit(self, *_: Any) -> Any:
            return None

    class Other(Immediate):
        def submit(self, *_: Any) -> Any:
            future: Future[Any] = Future()
            future.set_result(7)
            return future

    class Cancelling(Immediate):
        def submit(self, *_: Any) -> Any:
            future: Future[Any] = Future()
            future.cancel()
            return future

    with pytest.raises(TypeError, match=r"what executor\.submit\(\) gives must be a future, got None"):
        small(executor=Nothing())
    with pytest.raises(TypeError, match="what a future of executor gives must be what its work gave, got 7"):
        small(executor=Other())
    with pytest.raises(BrokenExecutor, match="cancelled a batch twice"):
        small(executor=Cancelling())


def test_what_is_no_executor_is_refused_before_anything_runs() -> None:
    class InterpreterPoolExecutor(ThreadPoolExecutor):
        pass

    for given in (4, "processes", ProcessPoolExecutor, object()):
        with pytest.raises(TypeError, match=r"executor must have submit\(\)"):
            small(executor=given)
    with pytest.raises(TypeError, match="sub-interpreters"):
        small(executor=InterpreterPoolExecutor(1))


def test_a_worker_measures_on_one_thread_unless_told_otherwise() -> None:
    told: list[int | None] = []

    class Telling(Immediate):
        def submit(self, work: Any, specs: list[vg.MLP], how: Any) -> "Future[Any]":
            told.append(how.threads)
            return super().submit(work, specs, how)

    small(executor=Telling())
    small(executor=Telling(), threads=2)
    assert {*told} == {1, 2}
