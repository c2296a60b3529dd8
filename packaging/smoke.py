"""What an installed vgcore must do, asked from outside: `python smoke.py` with the interpreter of its environment.

It needs vgcore and what that depends on, nothing more, writes into the folder that it is started in, and ends with 1 at
the first thing that is not as it must be. An emulator that runs this interpreter must run its children too: its words
are given by `--launcher`.
"""

import argparse
import csv
import functools
import importlib.metadata
import json
import os
import shlex
import subprocess
import sys
import sysconfig
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

THREADS = 8

# Seconds of doctor's self-test.
SELF_TEST, EMULATED_SELF_TEST = 10, 20

# What probes 1024 units with every activation: a second on a CPU, many minutes on an emulated one.
PAGE = "explorer saved as a page"

# The same recipe, once as it fails and once as it works.
VANISHING = ["--depth", "20", "--width", "32", "--activation", "sigmoid", "--init", "xavier_normal"]
HEALTHY = ["--depth", "20", "--width", "32", "--activation", "relu", "--init", "kaiming_normal"]


def must(holds: object, what: str) -> None:
    """End with a sentence where something does not hold: `python -O` would drop an assert."""
    if not holds:
        raise SystemExit(f"smoke: {what}")


def main() -> None:
    """Ask everything in turn, and say what each took."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--launcher", default="", help="the words before an interpreter, where an emulator runs it")
    parser.add_argument("--emulated", action="store_true", help="leave out what takes an emulated CPU many minutes")
    parser.add_argument("--isa", help="the instruction set that must be in use")
    given = parser.parse_args()
    shell = functools.partial(vgcore, shlex.split(given.launcher))
    asked: dict[str, Callable[[], None]] = {
        "imported from its environment": imported,
        "instruction set": lambda: instruction_set(given.isa),
        "doctor": lambda: doctor(shell, EMULATED_SELF_TEST if given.emulated else SELF_TEST),
        "diagnosis in a shell": lambda: diagnosis(shell),
        "sweep with CSV": lambda: sweep(shell),
        "report": lambda: report(shell),
        PAGE: lambda: explorer(shell),
        "training": training,
        f"{THREADS} threads at once": threads,
        "GIL": gil,
    }
    if given.emulated:
        del asked[PAGE]
        print(f"left out: {PAGE}, which is the same on every CPU", flush=True)
    for what, ask in asked.items():
        start = time.perf_counter()
        ask()
        print(f"{time.perf_counter() - start:7.1f} s  {what}", flush=True)
    import vgcore as vg

    print(json.dumps({"isa": vg.build_info()["isa"], "gil": gil_enabled()}))


def vgcore(launcher: list[str], *words: str, code: int = 0) -> str:
    """What the command prints, in whatever encoding this machine has; it must end with this code."""
    command = [*launcher, sys.executable, "-m", "vgcore", *words]
    done = subprocess.run(command, capture_output=True, encoding="utf-8", errors="replace", check=False)
    must(done.returncode == code, f"{shlex.join(command)} ended with {done.returncode}:\n{done.stdout}{done.stderr}")
    return done.stdout


def imported() -> None:
    """The package is the one installed, of one version in all places, and its every name can be imported."""
    import vgcore as vg

    must(Path(vg.__file__).is_relative_to(sys.prefix), f"vgcore comes from {vg.__file__}, outside {sys.prefix}")
    version = importlib.metadata.version("vgcore")
    must(vg.build_info()["version"] == version, f"the core is not of version {version}")
    for name in vg.__all__:
        getattr(vg, name)


def instruction_set(wanted: str | None) -> None:
    """The core uses what it was told to, or what the processor has."""
    import vgcore as vg

    isa = vg.build_info()["isa"]
    must(wanted in {None, isa}, f"the core uses {isa}, not {wanted}")


def doctor(shell: Callable[..., str], seconds: float) -> None:
    """The kernels do here what their naive twins do; what doctor says is kept, as the facts of this run."""
    print(said := shell("doctor", "--seconds", f"{seconds:g}"), flush=True)
    must("vgcore.wasm is here" in said, "the wheel has no engine for pages")


def diagnosis(shell: Callable[..., str]) -> None:
    """A net of sigmoids vanishes, one of ReLUs is healthy: in the shell and in Python."""
    import vgcore as vg

    for words, verdict, code in (VANISHING, "vanishing", 1), (HEALTHY, "healthy", 0):
        said = shell("diagnose", *words, code=code)
        must(said.startswith(verdict), f"a net that is {verdict} is called: {said}")
    sigmoids = vg.MLP(depth=20, width=32, activation="sigmoid", init="xavier_normal")
    must("vanishing" in str(vg.diagnose(sigmoids).verdict), "diagnose(sigmoids) finds nothing in Python")


def sweep(shell: Callable[..., str]) -> None:
    """A sweep of two depths and two activations has a row a layer of every run."""
    shell("sweep", "--depth", "4,8", "--width", "16", "--activation", "tanh,relu", "--seeds", "2", "--out", "sweep.csv")
    with Path("sweep.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    must(len(rows) == 2 * 2 * (4 + 8), f"the sweep wrote {len(rows)} rows")
    must({row["activation"] for row in rows} == {"tanh", "relu"}, "the sweep lacks an activation")


def report(shell: Callable[..., str]) -> None:
    """A report says in one file what is wrong."""
    shell("report", *VANISHING, "--out", "report.html")
    page = Path("report.html").read_text(encoding="utf-8")
    must(
        "vanishing" in page and page.rstrip().endswith("</html>"), "the report is no page, or does not say the verdict"
    )


def explorer(shell: Callable[..., str]) -> None:
    """The page that needs no server holds the WebAssembly that measures."""
    shell("explore", "--save", "explorer.html")
    size = Path("explorer.html").stat().st_size
    must(size > 200_000, f"the saved explorer has {size} bytes: it lacks what measures")


def training() -> None:
    """A net learns the digits."""
    import vgcore as vg

    x, y = vg.data.digits()
    spec = vg.MLP(depth=2, width=32, in_features=64, out_features=10, activation="tanh", init="xavier_normal")
    loss = float(vg.train(spec, x, y, optimizer=vg.SGD(lr=0.3), steps=200).final_loss[0])
    must(loss < 1.0, f"the loss of the digits is {loss:.2f} after 200 steps, where guessing has 2.30")


def threads() -> None:
    """Threads that probe at once get the bits that one thread gets alone."""
    import vgcore as vg

    spec = vg.MLP(depth=10, width=48, activation="gelu", init="kaiming_normal", norm="layer")

    def bits(seed: int) -> list[bytes]:
        measured = vg.probe(spec, seeds=1, seed=seed)
        return [getattr(measured, name).tobytes() for name in ("log10_z_rms", "log10_delta_rms", "log10_wgrad_norm")]

    alone = [bits(seed) for seed in range(THREADS)]
    start = Barrier(THREADS)

    def at_once(seed: int) -> list[list[bytes]]:
        start.wait()
        return [bits(other % THREADS) for other in range(seed, seed + THREADS)]

    with ThreadPoolExecutor(THREADS) as pool:
        for seed, found in enumerate(pool.map(at_once, range(THREADS))):
            must(found == alone[seed:] + alone[:seed], "threads that probe at once get other numbers")


def gil() -> None:
    """An interpreter without a GIL still has none, after all that was imported."""
    if sysconfig.get_config_var("Py_GIL_DISABLED") and os.environ.get("PYTHON_GIL") != "1":
        must(not gil_enabled(), "an import has turned the GIL on")


def gil_enabled() -> bool:
    """Whether threads wait for each other."""
    return getattr(sys, "_is_gil_enabled", lambda: True)()


if __name__ == "__main__":
    main()
