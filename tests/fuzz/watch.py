"""Workers run calls, and a watchdog looks after them: what hangs or dies is a fault, and the next call goes on."""

from __future__ import annotations

import contextlib
import dataclasses
import faulthandler
import json
import os
import re
import resource
import select
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from fuzz.draw import call as drawn
from fuzz.judge import Fault

#: Seconds of processor time that a call may take, and of a clock where it waits for something that does not come.
LIMIT, PATIENCE = 10, 120
#: Bytes of address space of a worker, so that a request for too much fails there and nowhere else.
SPACE = 4 * 2**30
#: Calls of a worker: a new one costs a third of a second, and frees what the last one kept.
BLOCK = 500


@dataclass
class Report:
    """What came out of many calls."""

    calls: int = 0
    faults: list[Fault] = field(default_factory=list)

    def groups(self) -> list[tuple[tuple[str, str, str], list[Fault]]]:
        """Faults by what was called, what was wrong and where; the most frequent first, the shortest call first."""
        found: dict[tuple[str, str, str], list[Fault]] = {}
        for fault in self.faults:
            found.setdefault((fault.name, fault.kind, fault.place), []).append(fault)
        for faults in found.values():
            faults.sort(key=lambda fault: (len(fault.source), fault.source))
        return sorted(found.items(), key=lambda item: (-len(item[1]), item[0]))


def work(seed: int, start: int, stop: int) -> None:
    """Be a worker: say on standard output which call begins, and what was wrong with it."""
    from fuzz.judge import run

    with contextlib.suppress(ValueError):  # a lower limit was set by someone else
        resource.setrlimit(resource.RLIMIT_AS, (SPACE, resource.getrlimit(resource.RLIMIT_AS)[1]))
    # Nothing that a call prints may be taken for a report.
    said = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    faulthandler.register(signal.SIGXCPU, all_threads=True, chain=True)
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        for index in range(start, stop):
            said.write(f"{index}\n")
            hard = resource.getrlimit(resource.RLIMIT_CPU)[1]
            resource.setrlimit(resource.RLIMIT_CPU, (int(time.process_time()) + LIMIT + 1, hard))
            fault = run(drawn(seed, index))
            if fault is not None:
                said.write(json.dumps(dataclasses.asdict(dataclasses.replace(fault, where=f"{seed}:{index}"))) + "\n")
        os.chdir("/")


class Worker:
    """A process that runs a block of calls."""

    def __init__(self, command: Sequence[str], start: int, stop: int) -> None:
        self.stop, self.index = stop, start
        self.errors = tempfile.TemporaryFile()  # noqa: SIM115 (it lives as long as the worker)
        env = os.environ | {"OPENBLAS_NUM_THREADS": "1", "MPLBACKEND": "Agg", "PYTHONWARNINGS": "ignore"}
        self.process = subprocess.Popen(
            [*command, str(start), str(stop)],
            stdout=subprocess.PIPE,
            stderr=self.errors,
            stdin=subprocess.DEVNULL,
            env=env,
        )
        self.heard, self.late, self.rest, self.words = time.monotonic(), False, b"", ""

    def fileno(self) -> int:
        """Of its reports, for `select`."""
        assert self.process.stdout is not None
        return self.process.stdout.fileno()

    def read(self) -> list[str] | None:
        """What it has said since; None where it has ended."""
        chunk = os.read(self.fileno(), 65536)
        self.heard = time.monotonic()
        *lines, self.rest = (self.rest + chunk).split(b"\n")
        return [line.decode() for line in lines] if chunk else None

    def end(self) -> str:
        """How it ended, empty for well; its last words where it did not."""
        code = self.process.wait()
        self.errors.seek(0)
        self.words = self.errors.read().decode(errors="replace")
        self.errors.close()
        assert self.process.stdout is not None
        self.process.stdout.close()
        if code == 0:
            return ""
        if code == -signal.SIGXCPU:
            return f"takes more than {LIMIT} s of processor time"
        return f"kills the process: {signal.Signals(-code).name}" if code < 0 else f"ends the process: {code}"


def watch(
    command: Sequence[str],
    calls: int,
    *,
    jobs: int,
    name: Callable[[int], tuple[str, str]],
    patience: float = PATIENCE,
    progress: Callable[[Report], None] = lambda _: None,
) -> Report:
    """Have workers run calls 0 to `calls`; `command` takes the first and the one after the last of a block.

    Args:
        command: What starts a worker.
        calls: How many calls.
        jobs: Workers at a time.
        name: What call number i calls, and its source.
        patience: Seconds without a word after which a worker is killed.
        progress: Told now and then how far it is; Ctrl-C ends early with what there is.
    """
    report, waiting, running = (
        Report(),
        [(i, min(i + BLOCK, calls)) for i in range(0, calls, BLOCK)][::-1],
        list[Worker](),
    )
    try:
        while waiting or running:
            while waiting and len(running) < jobs:
                running.append(Worker(command, *waiting.pop()))
            ready, _, _ = select.select(running, [], [], 1.0)
            for worker in running:
                if worker not in ready and time.monotonic() - worker.heard > patience:
                    worker.late = True
                    worker.process.kill()
            for worker in ready:
                lines = worker.read()
                for line in lines or []:
                    if line.startswith("{"):
                        report.faults.append(Fault(**json.loads(line)))
                    else:
                        worker.index, report.calls = int(line), report.calls + 1
                if lines is None:
                    running.remove(worker)
                    if kind := worker.end():
                        called, source = name(worker.index)
                        kind = f"gives no answer in {patience:g} s" if worker.late else kind
                        where = re.search(r'vgcore/(\S+)", line (\d+)', worker.words)
                        place = ":".join(where.groups()) if where else ""
                        words = worker.words.strip()[-1500:]
                        report.faults.append(Fault(called, kind, place, words, source, str(worker.index)))
                        if worker.index + 1 < worker.stop:
                            waiting.append((worker.index + 1, worker.stop))
            progress(report)
    except KeyboardInterrupt:  # what was found until then is worth telling
        return report
    finally:
        for worker in running:
            worker.process.kill()
            worker.end()
    return report


def fuzz(calls: int, seed: int, *, jobs: int, progress: Callable[[Report], None] = lambda _: None) -> Report:
    """Run many calls of a seed."""

    def name(index: int) -> tuple[str, str]:
        made = drawn(seed, index)
        return made.name, made.source()

    root = Path(__file__).parents[1]
    code = f"import sys; sys.path.insert(0, {str(root)!r}); from fuzz.watch import work; work(*map(int, sys.argv[1:]))"
    return watch([sys.executable, "-c", code, str(seed)], calls, jobs=jobs, name=name, progress=progress)
