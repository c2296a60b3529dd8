"""The gallery: a picture of every kind in the tables of the core, and the page that shows them.

Draws docs/gallery/*.png and writes docs/gallery.md with the numbers of this very run, in a minute on two slow cores. A
new row of a table gets its picture by itself; only a kind that needs an argument has to be named in `CALLS`.
"""

import argparse
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib as mpl

mpl.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator
from PIL import Image

import vgcore as vg
from vgcore import reference
from vgcore.measure import files
from vgcore.measure.result import Signal
from vgcore.plot.axes import COLORS, REFERENCE
from vgcore.plot.fields import LABELS

BLUE, ORANGE = COLORS[:2]
QUIET: dict[str, Any] = {"frameon": False, "fontsize": "small"}

# Kinds that need an argument, or that say little as they come: a rezero's branch begins with a factor of 0.
CALLS = {
    "threshold": "threshold(0.2, 0.1)",
    "constant": "constant(0.02)",
    "ones": "ones(gain=0.02)",
    "uniform": "uniform(-0.2, 0.2)",
    "normal": "normal(std=0.15)",
    "trunc_normal": "trunc_normal(std=0.15, a=-0.3, b=0.3)",
    "sparse": "sparse(sparsity=0.8, std=0.3)",
    "rezero": "rezero(alpha=0.25)",
}
ORDERS = ("after", "linear", "post", "pre")
BLOCKS = {"fixup": 2, "depth_mup": 1}  # inits that are made for residual blocks of so many layers

Z = np.linspace(-4, 4, 1601)
FACTORS = 0.125, 2.5  # the axis of the activations' factors
POWERS = -12, 6  # the axis of the other signals, powers of ten
SIGNALS: dict[Signal, str] = {"forward": "log10_z_rms", "backward": "log10_delta_rms"}

PAGE = """\
# Gallery

A picture of every kind that a net may be made of, drawn by `python docs/gallery.py`; all numbers on this page are that
run's. [models.md](models.md) says what each kind computes. Nothing here says how well a net trains, only what reaches
its ends at initialisation. Factors are geometric means over layers and seeds, 1 is preserved; a dash stands for one
that is not there, where a signal is exactly 0 or not finite at an end.
"""
ACTIVATIONS = """\
## Activations

Left: phi and its slope. Right: the factor a layer by which z grows or shrinks toward the output (forward) and dL/dz
toward the input (backward), in nets of depth {depths} and width {width}, with its 95 % interval over {seeds} seeds.
Solid: `lecun_normal`, weights of variance 1 / fan_in. Dashed: the same times
`vg.calculate_gain(..., mode="forward")`, which keeps z of size 1 as it is. A triangle at the edge is a point beyond it;
where there is no point, most runs are exactly 0 or not finite.
"""
OTHERS = """\
## {title}

{text}
"""
LAYERS = """\
Left: z, which travels to the right; right: dL/dz, which travels to the left; both layer by layer, the geometric mean
over {seeds} seeds with a band of one standard deviation. The nets are {depth} layers deep and {width} wide, with `relu`
and `lecun_normal` weights where nothing else is said; the last delta begins near 10^{start:.1f}, as the cotangent is
standard normal over sqrt(batch). A line that leaves the picture goes on; layers that are exactly 0 in a run are left
out.
"""


class Size(NamedTuple):
    """How large the nets are."""

    depth: int
    width: int
    batch: int
    seeds: int

    def probe(self, spec: vg.MLP) -> vg.Probe:
        """Measure a net."""
        return vg.probe(spec, batch=self.batch, seeds=self.seeds)

    def depths(self) -> list[int]:
        """The depths of the activations' nets, as far as twice the others'."""
        return [2**k for k in range(1, (2 * self.depth).bit_length())]


class Kind(NamedTuple):
    """What one picture compares: fields by label, those in grey last; and what to say of it."""

    name: str
    nets: Mapping[str, Mapping[str, Any]]
    plain: Mapping[str, Mapping[str, Any]]
    note: str = ""


RELU: dict[str, Any] = {"activation": "relu", "init": "lecun_normal"}
TANH: dict[str, Any] = {"activation": "tanh", "init": "lecun_normal"}


def call(name: str) -> str:
    """The kind of a row, with what it needs."""
    return CALLS.get(name, name)


def norms() -> Iterator[Kind]:
    """Before and after the activation."""
    for name in vg.NORMS:
        nets = {f"{where} phi": RELU | {"norm": name, "norm_position": at} for where, at in PLACES.items()}
        yield Kind(name, nets, {"no norm": RELU})


PLACES = {"before": "pre", "after": "post"}


def skips() -> Iterator[Kind]:
    """In every order there is, around one layer and around two."""
    for name in vg.SKIPS:
        kind = vg.Skip(call(name))
        for order in ORDERS if "order" in kind.params else [None]:
            skip = str(kind if order is None else vg.Skip(name, **kind.params | {"order": order}))
            nets = {f"block {block}": RELU | {"skip": skip, "block": block} for block in (1, 2)}
            yield Kind(skip if order is None else f"{name}, order {order}", nets, {"no skip": RELU})


def transforms() -> Iterator[Kind]:
    """Of nets with two activations."""
    for name in vg.WEIGHT_TRANSFORMS:
        nets = {base["activation"]: base | {"weight_transform": name} for base in (RELU, TANH)}
        yield Kind(name, nets, {f"{base['activation']} without": base for base in (RELU, TANH)})


def inits() -> Iterator[Kind]:
    """Of nets with two activations."""
    for name in vg.INITS:
        rest: dict[str, Any] = {"skip": "residual", "block": BLOCKS[name]} if name in BLOCKS else {}
        nets = {base["activation"]: base | rest | {"init": call(name)} for base in (RELU, TANH)}
        plain = {f"{base['activation']}, lecun_normal": base | rest for base in (RELU, TANH)}
        note = f"In residual blocks of {_count(rest['block'], 'layer')}. " if rest else ""
        yield Kind(call(name), nets, plain, note)


def recurrent() -> Iterator[Kind]:
    """With an input for the first step and for each."""
    for name, base in {"tied, relu": RELU, "tied, tanh": TANH}.items():
        nets = {f"inputs {inputs}": base | {"tied": True, "inputs": inputs} for inputs in ("first", "every")}
        yield Kind(name, nets, {"not tied": base})


SECTIONS: dict[str, tuple[str, Callable[[], Iterator[Kind]]]] = {
    "Norms": ("`norm=...`, before the activation (`norm_position=pre`) and after it (`post`).", norms),
    "Skips": ("`skip=...` around one layer (`block=1`) and around two.", skips),
    "Weight transforms": ("`weight_transform=...`, with two activations.", transforms),
    "Inits": ("`init=...`, with two activations.", inits),
    "Recurrent nets": ("`tied=True`: one set of weights, a layer a step.", recurrent),
}


# Drawing


def _frame(name: str) -> tuple[Figure, Sequence[Axes]]:
    figure, axes = plt.subplots(1, 2, figsize=(8.6, 2.5))
    figure.subplots_adjust(left=0.055, right=0.76, bottom=0.155, top=0.81, wspace=0.2)  # the same for every picture
    figure.suptitle(name, x=0.01, y=0.985, ha="left", fontsize="medium", fontweight="bold")
    for ax in axes:
        ax.spines[["top", "right"]].set_visible(False)
        ax.tick_params(labelsize="small")
        ax.grid(axis="y", color="0.9", linewidth=0.6)
        ax.set_axisbelow(True)
    return figure, axes


def _beside(ax: Axes) -> None:
    ax.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), **QUIET)


def _unbroken(values: Any) -> Any:
    """A gap where a function jumps."""
    values = values.copy()
    values[1:][np.abs(np.diff(values)) > 0.05] = np.nan
    return values


def draw_function(ax: Axes, kind: str) -> None:
    """The function and its slope, from the readable twin."""
    value, slope = reference.activate(kind, Z)
    ax.plot(Z, _unbroken(value), color=COLORS[2], linewidth=1.8, label="phi(z)")
    ax.plot(Z, _unbroken(slope), color=COLORS[3], linewidth=1.4, linestyle="--", label="phi'(z)")
    ax.set(xlim=(-4, 4), ylim=(-2.1, 3.1), xticks=range(-4, 5, 2), yticks=range(-2, 4))
    ax.set_xlabel("z", fontsize="small", labelpad=0)
    ax.legend(loc="lower right", bbox_to_anchor=(1, 0.98), ncols=2, borderaxespad=0, **QUIET)


def draw_factors(ax: Axes, sweeps: Mapping[str, vg.Sweep], styles: Sequence[str]) -> None:
    """The factors of z and dL/dz at every depth, those beyond the axis as triangles on its edge."""
    low, high = FACTORS
    ax.axhline(1, zorder=1, **REFERENCE)
    for (label, sweep), style in zip(sweeps.items(), styles, strict=True):
        depths = np.array([cell.spec.depth for cell in sweep])
        for signal, color in zip(SIGNALS, (BLUE, ORANGE), strict=True):
            factors = np.array([tuple(vars(cell.factor(signal)).values()) for cell in sweep]).T
            ax.fill_between(depths, factors[1], factors[2], color=color, alpha=0.2, linewidth=0)
            ax.plot(depths, factors[0], style, color=color, marker=".", linewidth=1.4, label=f"{signal}, {label}")
            for beyond, edge, marker in ((factors[0] < low, low, "v"), (factors[0] > high, high, "^")):
                at = depths[beyond]
                ax.plot(at, np.full(len(at), edge), marker, color=color, markersize=5, clip_on=False)
    ax.set_xscale("log", base=2)
    ax.set_yscale("log", base=2)
    ax.set(xlim=(1.8 * depths[0] / 2, 1.15 * depths[-1]), ylim=(low, high))  # also where there are no points
    ax.xaxis.set_major_locator(FixedLocator(list(depths)))
    ax.yaxis.set_major_locator(FixedLocator([0.125, 0.25, 0.5, 1, 2]))
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axis.set_minor_locator(NullLocator())
    ax.set_xlabel("depth (hidden layers)", fontsize="small", labelpad=0)
    ax.set_title("factor a layer", fontsize="small", loc="left")
    _beside(ax)


def draw_layers(axes: Sequence[Axes], cells: Sequence[vg.Probe], labels: Sequence[str], greys: int) -> None:
    """Both signals layer by layer, the last lines in grey."""
    count = len(cells) - greys
    looks: list[dict[str, Any]] = [{"color": color, "linewidth": 1.6} for color in COLORS[:count]]
    # Broad and pale, so that a line that lies on another is seen.
    looks += [{"color": "0.78", "linewidth": 4.5, "linestyle": style, "zorder": 1.5} for style in ("-", ":")[:greys]]
    for ax, (signal, column) in zip(axes, SIGNALS.items(), strict=True):
        for cell, label, look in zip(cells, labels, looks, strict=True):
            values = np.where(np.isfinite(found := getattr(cell, column)), found, np.nan)
            mean, std = values.mean(axis=0), values.std(axis=0, ddof=1)
            there = np.isfinite(mean)
            layers = np.arange(1, cell.spec.depth + 1)[there]
            marker = "." if len(layers) == 1 else ""
            ax.plot(layers, mean[there], label=label + _absent(cell), marker=marker, **look)
            band = (mean - std)[there], (mean + std)[there]
            ax.fill_between(layers, *band, color=look["color"], alpha=0.2, linewidth=0, zorder=1)
        last = cells[0].spec.depth
        ax.set(xlim=(1, last), ylim=POWERS, xticks=[1, *range(max(last // 4, 1), last + 1, max(last // 4, 1))])
        ax.yaxis.set_major_locator(FixedLocator(list(range(POWERS[0], POWERS[1] + 1, 3))))
        ax.yaxis.set_major_formatter(FuncFormatter(lambda power, _: rf"$\mathdefault{{10^{{{power:g}}}}}$"))
        ax.set_xlabel("layer (1 = input side)", fontsize="small", labelpad=0)
        ax.set_title(LABELS[signal], fontsize="small", loc="left")
    _beside(axes[1])


def _absent(cell: vg.Probe) -> str:
    """Which signals have no line."""
    symbols = {"z": cell.log10_z_rms, "dL/dz": cell.log10_delta_rms}
    absent = [name for name, values in symbols.items() if not np.isfinite(values).all(axis=0).any()]
    return f" ({', '.join(absent)}: 0)" if absent else ""


def save(figure: Figure, path: Path) -> None:
    """A PNG of few colours."""
    figure.set_dpi(100)
    figure.canvas.draw()
    image = Image.fromarray(np.asarray(figure.canvas.buffer_rgba())).convert("RGB")  # type: ignore[attr-defined]
    # Fewer colours, or ones chosen by area, would change those of thin lines from picture to picture.
    with files.replacing(path) as temporary:
        few = image.quantize(128, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE)
        few.save(temporary, format="png", optimize=True)
    plt.close(figure)


# Words


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def passes(cell: vg.Probe) -> str:
    """The factors of both signals."""
    values = [cell.factor(signal).value for signal in SIGNALS]
    return " and ".join("–" if np.isnan(value) else f"{value:.3f}" for value in values)


def slug(text: str) -> str:
    """A file's name."""
    return "".join(char if char.isalnum() else "-" for char in text.partition("(")[0]).replace("--", "-")


def activation(name: str, size: Size, folder: Path) -> str:
    """Draw one activation; its part of the page."""
    kind = str(vg.Activation(call(name)))
    gain = vg.calculate_gain(kind, mode="forward")
    labels = {"lecun_normal": "lecun_normal", f"gain {gain:.3g}": f"lecun_normal(gain={gain!r})"}
    base = vg.MLP(depth=1, width=size.width, activation=kind)
    sweeps = {
        label: vg.sweep(base.replace(init=init), depth=size.depths(), batch=size.batch, seeds=size.seeds)
        for label, init in labels.items()
    }
    figure, (left, right) = _frame(kind)
    draw_function(left, kind)
    draw_factors(right, sweeps, ("-", "--"))
    path = folder / f"activation-{slug(name)}.png"
    save(figure, path)
    deep = [sweep[-1] for sweep in sweeps.values()]
    note = ""
    if name in reference.GATED:
        note = "One half of z times phi of the other; phi is drawn. "
    elif name in reference.DOUBLED:
        note = "[phi(z), phi(-z)], of twice the width; phi is drawn. "
    factors = f"{passes(deep[0])}, with gain {gain:.3g} by {passes(deep[1])}"
    text = f"{note}At depth {deep[0].spec.depth}, a layer multiplies z and dL/dz by {factors}."
    return part(kind, path, text)


def other(kind: Kind, section: str, size: Size, folder: Path) -> str:
    """Draw one kind beside plain nets; its part of the page."""
    named = {**kind.nets, **kind.plain}
    cells = [size.probe(vg.MLP(depth=size.depth, width=size.width, **fields)) for fields in named.values()]
    figure, axes = _frame(kind.name)
    draw_layers(axes, cells, list(named), len(kind.plain))
    path = folder / f"{slug(section.lower().rstrip('s'))}-{slug(kind.name)}.png"
    save(figure, path)
    text = ", by ".join(f"{passes(cell)} ({label})" for label, cell in zip(named, cells, strict=True))
    return part(kind.name, path, f"{kind.note}A layer multiplies z and dL/dz by {text}.")


def part(name: str, path: Path, text: str) -> str:
    """Heading, picture and sentence."""
    return f"### {name}\n\n![{name}]({path.parent.name}/{path.name})\n\n{text}\n"


def main(arguments: Sequence[str] | None = None) -> None:
    """Draw, then write the page."""
    parser = argparse.ArgumentParser(description="Draw docs/gallery/*.png and write docs/gallery.md.")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent, help="the folder (default: docs)")
    for name, default in {"depth": 32, "width": 64, "batch": 64, "seeds": 8}.items():
        parser.add_argument(f"--{name}", type=int, default=default, help=f"of the nets (default: {default})")
    given = parser.parse_args(arguments)
    size = Size(given.depth, given.width, given.batch, given.seeds)
    folder = given.out / "gallery"
    folder.mkdir(parents=True, exist_ok=True)
    before = {*folder.glob("*.png")}

    depths = f"{size.depths()[0]} to {size.depths()[-1]}"
    parts = [PAGE, ACTIVATIONS.format(depths=depths, width=size.width, seeds=size.seeds)]
    parts += [activation(name, size, folder) for name in vg.ACTIVATIONS]
    layers = LAYERS.format(**size._asdict(), start=-np.log10(size.batch) / 2)
    parts.append(OTHERS.format(title="Other kinds", text=layers.strip()))
    for title, (text, kinds) in SECTIONS.items():
        parts.append(OTHERS.format(title=title, text=text))
        parts += [other(kind, title, size, folder) for kind in kinds()]
    text = "\n".join(parts)
    files.save_text(text, given.out / "gallery.md")
    for path in before:
        if f"({folder.name}/{path.name})" not in text:  # of a kind that is no more
            path.unlink()
    total = sum(path.stat().st_size for path in folder.glob("*.png"))
    print(f"wrote {given.out / 'gallery.md'} and {len(list(folder.glob('*.png')))} pictures, {total / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
