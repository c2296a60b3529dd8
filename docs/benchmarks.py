"""Write docs/benchmarks.md and the table of README.md from the records of benches/records. `make benchmarks`."""

from __future__ import annotations

import json
import re
import textwrap
from pathlib import Path
from typing import Any

from vgcore.measure import files
from vgcore.shell import records
from vgcore.shell.bench import Row
from vgcore.shell.records import Record

HERE = Path(__file__).parent
RECORDS = HERE.parent / "benches" / "records"
README = HERE.parent / "README.md"
#: The record that README shows, and of which nets: width, batch and depth of each column.
SHOWN, SHAPES = "bench-xeon-model-207-avx2.json", ((64, 32, 64), (256, 32, 64))
#: What README says of each job, and how many nets a time is of.
TOLD = {
    "probe": ("a probe of a net: weights drawn, forward, backward, the norm of every gradient", 1),
    "gradients": ("the gradients of a net, as arrays", 1),
    "training": ("a step of training with Adam", 1),
    "sweep": ("a net of a sweep of 24", 1),
    "diagnosis": ("a diagnosis: 8 nets probed, verdict, findings, depth limit", 8),
}
BEGIN, END = "<!-- written by make benchmarks -->", "<!-- end of what make benchmarks writes -->"
ISAS = {"avx512": "AVX-512", "avx2": "AVX2", "neon": "NEON", "scalar": "no vector instructions"}

HEAD = """\
# Benchmarks

How long vgcore takes, on your machine and on those of the records below. NumPy is all that it needs beside vgcore;
torch and JAX take part where they are installed.

## Run it

<!-- not run: a minute, and other times on each machine -->

```sh
vgcore bench
vgcore bench --record mine.json
vgcore bench mine.json
```

The first line prints tables, the second keeps a record as well, the third shows a record and measures nothing. A record
is one JSON: every round of every job, and what times depend on, such as the processor, the instruction set, threads,
versions, and how busy the machine was before and after. Close what else computes, and plug a laptop in.

Five jobs are done at four shapes. `probe` and `gradients` are done by all that is installed, each held to the numbers
of the others first; `training`, `sweep` and `diagnosis` are done by vgcore alone. `--shapes` names other shapes,
`--rounds` more turns, `--threads 1` keeps the run to one core, and `VGCORE_ISA=avx2` in the environment keeps vgcore
to the instructions of most laptops; [What a laptop has](#what-a-laptop-has) keeps NumPy to them as well.

## Read it

- Times are microseconds a layer of one net. A probe of 64 layers takes 64 times as much, a diagnosis 8 x 64 times.
  Where a call does many nets, its time is shared out.
- `median` and `min` are of the rounds. A neighbour or a browser makes rounds slower and none faster: on a busy machine,
  minima say more. `spread`, the slowest round over the fastest, says how busy it was.
- `ratio` is the time of a rival over that of vgcore: above 1, vgcore is faster.

## Compare it

<!-- not run: a minute, and other times on each machine -->

```sh
vgcore bench --against mine.json
vgcore bench newer.json --against mine.json
```

The first line measures what the record holds and sets the times side by side, the second does it with two records. It
returns 1 where vgcore is slower, so that a CI job fails then.

A time says something of another one only where all but the code is the same. The workload and its version, the
processor, the system, the instruction set, cores and threads, and the variables that keep libraries to less must be;
where one is not, the command names it, measures nothing and returns 2. A rival is compared where its version is the
same, and left out with a word where it is not.

A difference counts where the 95 % intervals of the means of the rounds, of the logarithms of their times, do not
overlap; everything else is `none`. That is the noise of rounds which follow each other. What changes between runs,
such as heat, neighbours or the place of memory, is not in it: where a rival whose version is the same is slower too,
the machine is. Measure the old and the new again, one after the other, before you believe in a few per cent, and take
`--rounds 15` where small differences matter.

## What a laptop has

Most laptops have AVX2 and no AVX-512. On a machine that has both, these variables keep vgcore and NumPy to AVX2, and
the record names them:

<!-- not run: a minute, and other times on each machine -->

```sh
VGCORE_ISA=avx2 OPENBLAS_CORETYPE=Haswell NPY_DISABLE_CPU_FEATURES=X86_V4 vgcore bench --record avx2.json
```

## Send a record

A record of another machine is welcome: copy it to `benches/records/bench-PROCESSOR.json`, run `make benchmarks`, which
writes it into this page, and open a pull request. It holds every round and what this page shows, and no name of a
machine or a user; look into it before you send it.
"""


def found() -> dict[str, Record]:
    """The records of the tree of that layout, by the names of their files."""
    paths = sorted(RECORDS.glob("*.json"))
    return {path.name: records.read(path) for path in paths if "vgcore_bench" in json.loads(path.read_bytes())}


def isa(record: Record) -> str:
    """The instructions that vgcore used, as people call them."""
    name = record["facts"]["build"]["isa"]
    return ISAS.get(name, name)


def machine(record: Record) -> str:
    """What machine a record is of."""
    facts = record["facts"]
    memory = f", {facts['memory_gb']:.0f} GB" if facts["memory_gb"] else ""
    kind = ", a virtual machine" if facts["virtual"] else ""
    return f"{facts['cpu']}, {facts['system']} on {facts['architecture']}{memory}{kind}"


def cores(record: Record) -> str:
    """On how many it ran."""
    many = record["facts"]["cores"]
    return f"{many} core{'' if many == 1 else 's'}"


def about(name: str, record: Record) -> str:
    """What a record is of, but for the machine."""
    facts, build = record["facts"], record["facts"]["build"]
    versions = [f"{rival} {facts[key]}" for rival, key in (("torch", "torch"), ("JAX", "jax")) if facts[key]]
    source = [f"streams {build['stream_version']}", facts["wheel"], (build.get("commit") or facts["commit"] or "")[:10]]
    parts = [
        f"vgcore {build['version']} ({', '.join(filter(None, source))})",
        f"Python {facts['python']}",
        f"NumPy {facts['numpy']}",
        *versions,
    ]
    load = "" if facts["load"] is None else f"; load {facts['load']:.1f} before and {facts['load_after']:.1f} after"
    limits = " ".join(f"{key}={value}" for key, value in facts["limits"].items())
    kept = f"; `{limits}`" if limits else ""
    return f"{facts['date']}: {', '.join(parts)}{load}{kept}. `benches/records/{name}`.{warning(record)}"


def warning(record: Record) -> str:
    """What is said of a record that was made beside other work."""
    return " **The machine was busy with something else: these times say little.**" if records.busy(record) else ""


def number(value: float) -> str:
    """Three digits, and no exponent."""
    return f"{value:.0f}" if value >= 100 else f"{value:#.3g}"


def table(record: Record) -> str:
    """A row a shape, a column a job, and behind it one for each rival."""
    rows: dict[tuple[int, ...], dict[tuple[str, str], Row]] = {}
    for row in record["rows"]:
        rows.setdefault(tuple(row["shape"]), {})[row["job"], row["rival"]] = row
    columns = list(dict.fromkeys(key for each in rows.values() for key in each))
    heads = ["width x batch x depth", *(job if rival == "vgcore" else rival for job, rival in columns)]
    lines = ["|".join(heads), "|".join("---" if i == 0 else "---:" for i in range(len(heads)))]
    for shape, of_shape in rows.items():
        cells = [" x ".join(map(str, shape))]
        for key in columns:
            row = of_shape.get(key)
            ours = key[1] == "vgcore"
            cells.append("" if row is None else number(row["min"]) if ours else f"{row['ratio_min']:.2f}x")
        lines.append("|".join(cells))
    return "\n".join(f"| {line.replace('|', ' | ')} |" for line in lines)


def page() -> str:
    """The page."""
    parts = [HEAD, "## Records\n"]
    parts.append(
        "Written by `make benchmarks`. Minima over rounds, microseconds a layer of one net; behind a job its rivals,\n"
        "as multiples of vgcore's time. `one net` is vgcore with one net a call.\n"
    )
    kept = found()
    for place in dict.fromkeys(map(machine, kept.values())):
        parts.append(f"### {place}\n")
        for name, record in kept.items():
            if machine(record) == place:
                parts.append(f"#### {isa(record)}, {cores(record)}\n")
                parts.append(f"{wrapped(about(name, record))}\n\n{table(record)}\n")
    return "\n".join(parts)


def wrapped(text: str) -> str:
    """Lines as the other pages have them."""
    return textwrap.fill(text, 120, break_long_words=False, break_on_hyphens=False)


def duration(microseconds: float) -> str:
    """Two digits and a unit that fits.

    >>> duration(580), duration(5832), duration(1.2e6)
    ('0.58 ms', '5.8 ms', '1.2 s')
    """
    value, unit = (microseconds / 1e6, "s") if microseconds >= 1e6 else (microseconds / 1e3, "ms")
    return f"{value:.0f} {unit}" if value >= 10 else f"{value:.2g} {unit}"


def readme() -> str:
    """What README shows of one record."""
    record = records.read(RECORDS / SHOWN)
    rows: dict[tuple[Any, ...], Row] = {(row["job"], row["rival"], tuple(row["shape"])): row for row in record["rows"]}
    text = (
        f"Times of vgcore {record['facts']['build']['version']}, kept to {isa(record)} as most laptops are, on "
        f"{cores(record)} of: {machine(record)}. The nets have 64 layers, batches 32 samples; minima over rounds, and "
        f"in brackets how many times as long NumPy takes by hand.{warning(record)}"
    )
    lines = [f"| what | {' | '.join(f'width {width}' for width, _, _ in SHAPES)} |", f"|---|{'---|' * len(SHAPES)}"]
    for job, (told, nets) in TOLD.items():
        cells = [told]
        for shape in SHAPES:
            numpy = rows.get((job, "NumPy", shape))
            beside = "" if numpy is None else f" ({numpy['ratio_min']:.1f}x)"
            cells.append(f"{duration(rows[job, 'vgcore', shape]['min'] * shape[2] * nets)}{beside}")
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join([BEGIN, wrapped(text), "", *lines, END])


def in_readme(text: str) -> str:
    """README with what it shows of its record."""
    return re.sub(f"{BEGIN}.*{END}", lambda _: readme(), text, flags=re.DOTALL)


if __name__ == "__main__":
    files.save_text(page(), HERE / "benchmarks.md")
    files.save_text(in_readme(README.read_text(encoding="utf-8")), README)
