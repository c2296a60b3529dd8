"""The picture of a run: its loss, its layers and its rate, step by step."""

from __future__ import annotations

import io
from collections import Counter
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from vgcore.judge.blind import blind_guess_of
from vgcore.judge.training.evidence import skipped
from vgcore.measure import table
from vgcore.measure.result import Floats
from vgcore.model.given import wrong_type
from vgcore.plot.axes import (
    COLORS,
    REFERENCE,
    ink,
    is_dark,
    note,
    opened,
    outlined,
    paper,
    power_axis,
    shade,
    small,
    ticker,
)
from vgcore.plot.fields import net_words, of_spec, spelled
from vgcore.plot.titles import write_title
from vgcore.show.training import moving, names, unknown
from vgcore.show.words import row
from vgcore.train.run import Run, ended, told_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BLUE, VERMILION, GREEN = COLORS[:3]
#: Of the first layer to the last, dark to bright; one end of viridis is too pale on white, the other too dark on black.
LAYERS, ON_WHITE, ON_BLACK = "viridis", (0.0, 0.9), (0.3, 1.0)
SIZE = 11.0, 6.8  # inches
LARGEST = 1e100  # loss


def training(run: Run, *, figure: Figure | None = None) -> Figure:
    """Draw a run: on the left its loss, its rate and what clipping did; on the right gradients and updates by layer.

    Thin lines are single seeds, thick ones medians over seeds. Layers go from dark (input side) to bright, the readout
    is dashed. Vertical lines are the first bad step of a seed, ticks below the loss all steps that were skipped. The
    blind guess is the least loss of outputs that are the same for every sample: a run that stays there has learnt
    nothing of them.

    Args:
        run: What `train` gave.
        figure: An empty figure to draw on; a new one if None.

    >>> import vgcore as vg
    >>> x, y = vg.data.digits()
    >>> run = vg.train(vg.MLP(depth=2, width=8, in_features=64, out_features=10), x, y, steps=10)
    >>> [ax.get_ylabel() for ax in training(run).axes[:2]]
    ['loss', 'learning rate']
    """
    if not isinstance(run, Run):
        raise wrong_type("run", "a Run, as vgcore.train gives", run)
    if figure is None:
        figure = table.optional("matplotlib.pyplot", "plot").figure(figsize=SIZE, layout="constrained")
    elif not isinstance(figure, table.optional("matplotlib.figure", "plot").Figure):
        raise wrong_type("figure", "a matplotlib Figure", figure)
    elif figure.axes:
        raise ValueError(f"figure must be empty, got one of {len(figure.axes)} axes")
    grid = figure.add_gridspec(6, 2)
    rows = {"loss": slice(0, 4), "rate": slice(4, 6)}
    if run.clip is not None:
        rows |= {"rate": slice(4, 5), "clip": slice(5, 6)}
    left = {name: opened(figure.add_subplot(grid[at, 0])) for name, at in rows.items()}
    right = [opened(figure.add_subplot(grid[at, 1])) for at in (slice(0, 3), slice(3, 6))]
    last = max([1, *run.steps_done.tolist(), *(bad.step for bad in run.first_bads if bad is not None)])
    _loss(left["loss"], run)
    _rate(left["rate"], run)
    if run.clip is not None:
        _clipping(left["clip"], run)
    _layers(right[0], run, "log10_wgrad_norm", "gradient dL/dW (norm)")
    _layers(right[1], run, "log10_update_ratio", "update / weight (norms)")
    every = [*left.values(), *right]
    for ax in every:
        ax.set_xlim(0.5, max(last, 2) + 0.5)
        ax.xaxis.set_major_locator(ticker().MaxNLocator(7, integer=True))
        for bad in run.first_bads:
            if bad is not None:
                ax.axvline(bad.step, color=VERMILION, linewidth=1, linestyle=":")
    for ax in every:
        bottom = ax in {right[1], [*left.values()][-1]}
        ax.tick_params(labelbottom=bottom)
        if bottom:
            ax.set_xlabel("step")
    _layer_bar(figure, right, run)
    _broken(left["loss"], run)
    write_title(left["loss"], _title(run))
    for column in (left.values(), right):
        figure.align_ylabels([*column])
    return figure


def training_svg(run: Run) -> str:
    """The picture of `training` as SVG for a page, on a figure that pyplot does not know."""
    figure = table.optional("matplotlib.figure", "plot").Figure(figsize=SIZE, layout="constrained")
    training(run, figure=figure)
    file = io.StringIO()
    # Without a date, and with ids that hang on the content alone, the same run gives the same bytes.
    with table.optional("matplotlib", "plot").rc_context({"svg.hashsalt": "vgcore", "svg.fonttype": "none"}):
        figure.savefig(file, format="svg", metadata={"Date": None})
    return file.getvalue()[file.getvalue().index("<svg") :]


def _steps(count: int) -> NDArray[np.int64]:
    return np.arange(1, count + 1)


def _median(values: Floats) -> Floats:
    """Over the seeds whose value is finite; nan where none is."""
    values = np.where(np.isfinite(values), values, np.nan)
    there = np.isfinite(values).any(axis=0)
    middle: Floats = np.full(values.shape[1:], np.nan)
    with np.errstate(over="ignore"):  # a loss may be as large as a float can be
        middle[there] = np.nanmedian(values[:, there], axis=0)
    return middle


def _smooth(values: Floats, window: int) -> tuple[NDArray[np.int64], Floats]:
    """Steps, each one or some hundreds of them, and the means of so many until then; nan where a step is not finite."""
    stride = max(1, window // 4)
    at = _steps(len(values))[::-stride][::-1]
    means = np.full(len(at), np.nan)
    for i, step in enumerate(at.tolist()):
        within = values[max(0, step - window) : step]
        if np.isfinite(within[-1]):
            with np.errstate(over="ignore"):
                means[i] = within[np.isfinite(within)].mean()
    return at, means


def _marker(values: Floats) -> str:
    """A point for each value, where so few are finite that lines may not be seen; values are `(..., steps)`."""
    return "." if np.isfinite(values).reshape(-1, values.shape[-1]).any(axis=0).sum() < 10 else ""


def _seeds(ax: Axes, values: Floats, *, label: str, window: int = 1, color: str = BLUE) -> None:
    """Each seed as a thin line, their median as a thick one."""
    x, marker = _steps(values.shape[1]), _marker(values)
    if len(values) > 1 or window > 1:
        pale = shade(ax, 0.4, color)
        for each in values:
            ax.plot(x, np.where(np.isfinite(each), each, np.nan), color=pale, linewidth=0.6, marker=marker)
    at, middle = _smooth(_median(values), window)
    ax.plot(at, middle, color=color, linewidth=1.8, label=label, marker=marker, path_effects=outlined(ax, 1.8))


def _loss(ax: Axes, run: Run) -> None:
    """Of training and validation, and that of a blind guess."""
    done = int(run.steps_done.max(initial=0))
    # The losses of minibatches scatter.
    window = 1 if run.batch >= run.training.count else max(1, done // 100)
    seeds = f", median of {len(run.seeds)} seeds" * (len(run.seeds) > 1)
    _seeds(ax, run.loss, label="training" + seeds + f", mean of {window} steps" * (window > 1), window=window)
    seen = [run.loss]
    if run.validation_loss.size:
        label = "validation"
        if np.isfinite(run.validation_accuracy).any():
            scores = _median(run.validation_accuracy)
            label += f" (accuracy {scores[np.isfinite(scores)][-1]:.3f})"
        middle = _median(run.validation_loss)
        marker = "o" if len(middle) < 30 else ""
        ax.plot(run.validation_steps, middle, color=VERMILION, marker=marker, markersize=3.5, label=label)
        seen.append(run.validation_loss)
    blind = blind_guess_of(run.spec, run.loss_name, run.training.rows.y, batch=run.batch)
    if blind is not None and np.isfinite(blind):
        ax.axhline(blind, label=f"blind guess {blind:.4g}", dashes=(6, 3), **REFERENCE)
    values = np.concatenate([each.ravel() for each in seen])
    values = values[np.isfinite(values)]
    if len(values) and values.min() > 0 and values.max() > 10 * values.min():
        if values.max() > LARGEST:
            # matplotlib's limits and ticks overflow next to the end of floats: what is beyond leaves the picture.
            ax.set_ylim(min(values.min(), LARGEST / 10), LARGEST)
        ax.set_yscale("log")
    ax.set_ylabel("loss")
    if not len(values):
        _say(ax, "no step had a finite loss")
    gone = skipped(run)
    if gone.any():
        label = f"{gone.sum()} steps skipped" + f" by {len(run.seeds)} seeds" * (len(run.seeds) > 1)
        at = np.flatnonzero(gone.any(axis=0)) + 1
        look: dict[str, Any] = {"marker": "|", "markersize": 7, "linestyle": "none", "color": VERMILION}
        ax.plot(at, np.full(len(at), 0.02), label=label, transform=ax.get_xaxis_transform(), **look)
    ax.legend(loc="upper right" if _falls(run.loss) else "best", **_over(ax))


def _falls(loss: Floats) -> bool:
    """Whether the upper right corner is free."""
    middle = _median(loss)
    middle = middle[np.isfinite(middle)]
    return len(middle) > 1 and bool(middle[-1] < middle[0])


def _rate(ax: Axes, run: Run) -> None:
    for each in run.lr:
        ax.plot(_steps(len(each)), each, color=GREEN, linewidth=1.4, marker=_marker(each))
    ax.set_ylim(bottom=0)
    ax.set_ylabel("learning rate")
    ax.ticklabel_format(axis="y", scilimits=(-2, 3))


def _clipping(ax: Axes, run: Run) -> None:
    """What clipping multiplied gradients by, and boosting those of the tensor that it raised most."""
    clip, words = run.clip, []
    if clip is not None and clip.max_norm is not None:
        words.append(f"clipped in {_share(run.clipped)}")
    if clip is not None and clip.min_norm is not None:
        words.append(f"boosted in {_share(run.log10_boost)}")
    ax.set_title(f"{' and '.join(words)} of steps" if words else "", loc="left", **note(ax))
    if clip is not None and clip.per == "value":  # each entry of a gradient has a coefficient of its own
        _seeds(ax, run.clipped, label="share clipped", color=BLUE)
        ax.set_ylim(0, 1)
        ax.set_ylabel("clipped")
        return
    if clip is not None and clip.max_norm is not None:
        with np.errstate(divide="ignore", invalid="ignore"):
            _seeds(ax, np.log10(run.clip_coef), label="clipping", color=BLUE)
    if clip is not None and clip.min_norm is not None:
        _seeds(ax, run.log10_boost, label="boosting", color=VERMILION)
    if len(words) > 1:
        ax.legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=2, **_above(ax))
    power_axis(ax)
    ax.yaxis.set_major_locator(ticker().MaxNLocator(3, integer=True))
    ax.set_ylabel("factor")


def _share(values: Floats) -> str:
    """In how many of the steps that were taken a value was above 0."""
    there = np.isfinite(values)
    return f"{100 * (values[there] > 0).mean():.3g} %" if there.any() else "0 %"


def _layers(ax: Axes, run: Run, column: str, label: str) -> None:
    """A column by layer over the recorded steps, its median over seeds."""
    values = getattr(run, column)
    middle = _median(values)
    marker = _marker(middle.T)
    if column == "log10_wgrad_norm":
        total = _median(run.log10_grad_norm)
        ax.plot(
            _steps(len(total)),
            total,
            color=shade(ax, 0.25),
            linewidth=2.4 if len(total) < 1000 else 0.8,
            label="all parameters",
            zorder=1,
        )
        if run.clip is not None and run.clip.per == "global" and run.clip.max_norm is not None:
            ax.axhline(np.log10(run.clip.max_norm), label="max_norm", dashes=(6, 3), **REFERENCE)
    hidden = [i for i, name in enumerate(run.layers) if name != "readout"]
    for i, color in zip(hidden, _colors(ax, len(hidden)), strict=True):
        ax.plot(run.steps, middle[:, i], color=color, linewidth=1.4 if len(hidden) < 12 else 0.8, marker=marker)
    if len(hidden) < len(run.layers):
        look: dict[str, Any] = {"color": ink(ax), "linewidth": 1, "linestyle": "--", "marker": marker}
        ax.plot(run.steps, middle[:, -1], label="readout", **look)
    if not np.isfinite(middle).any():
        _say(ax, unknown(run, column) or "no finite value")
    power_axis(ax)
    ax.set_ylabel(label)
    zero = [i for i in hidden if (values[:, :, i] == -np.inf).any()]
    still = np.flatnonzero(~moving(run)).tolist()
    notes = [f"gaps: exactly 0 in {names(run.labels, zero)}"] if zero else []
    notes += [f"frozen: {names(run.labels, still)}"] if 0 < len(still) < len(run.layers) else []
    if notes:
        ax.text(0.01, 0.02, "; ".join(notes), transform=ax.transAxes, **note(ax))
    if column == "log10_wgrad_norm":
        ax.legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=3, **_above(ax))


def _colors(ax: Axes, count: int) -> list[Any]:
    """Of the hidden layers, first to last."""
    shades = table.optional("matplotlib", "plot").colormaps[LAYERS]
    low, high = ON_BLACK if is_dark(paper(ax)) else ON_WHITE
    return [shades(low + (high - low) * i / max(count - 1, 1)) for i in range(count)]


def _over(ax: Axes) -> dict[str, Any]:
    """Of a legend that lines may pass below."""
    return {
        "fontsize": small(ax),
        "framealpha": 0.8,
        "facecolor": paper(ax),
        "edgecolor": "none",
        "labelcolor": ink(ax),
    }


def _above(ax: Axes) -> dict[str, Any]:
    """Of a legend on the upper edge."""
    return {"frameon": False, "fontsize": small(ax), "labelcolor": ink(ax), "borderaxespad": 0.3}


def _behind(ax: Axes) -> dict[str, Any]:
    """Of a box under words on lines."""
    return {"facecolor": paper(ax), "alpha": 0.9, "linewidth": 0, "pad": 1}


def _layer_bar(figure: Figure, axes: list[Axes], run: Run) -> None:
    """Which colour is which layer."""
    colors = table.optional("matplotlib.colors", "plot")
    count = sum(name != "readout" for name in run.layers)
    shades = colors.ListedColormap(_colors(axes[0], count))
    mappable = table.optional("matplotlib.cm", "plot").ScalarMappable(colors.Normalize(0.5, count + 0.5), shades)
    bar = figure.colorbar(mappable, ax=axes, aspect=40, pad=0.02)
    ticks = ticker().MaxNLocator(8, integer=True).tick_values(1, count)
    bar.set_ticks([1, *(int(tick) for tick in ticks if 1 < tick <= count)])
    bar.minorticks_off()
    bar.outline.set_visible(False)
    what = "step (1 = the first)" if row(run.labels) == "step" else "layer (1 = input side)"
    bar.set_label(what, fontsize="small")


def _broken(ax: Axes, run: Run) -> None:
    """Where and in what the first seed broke."""
    if run.first_bad is None:
        return
    bad = run.first_bad
    ends = ax.get_xlim()
    beyond = bad.step > sum(ends) / 2
    ax.annotate(
        told_of(bad, run.labels),
        (bad.step, 0.05),
        xycoords=("data", "axes fraction"),
        xytext=(-4 if beyond else 4, 0),
        textcoords="offset points",
        ha="right" if beyond else "left",
        va="bottom",
        fontsize="small",
        color=VERMILION,
        bbox=_behind(ax),
    )


def _say(ax: Axes, words: str) -> None:
    """Words where there is nothing to draw."""
    ax.text(0.5, 0.6, words, transform=ax.transAxes, ha="center", va="center", bbox=_behind(ax), **note(ax))


def _title(run: Run) -> list[list[str]]:
    """What was trained, and how."""
    net = net_words(of_spec(run.spec), run.spec)
    seeds = len(run.seeds)
    schedule = run.schedule if isinstance(run.schedule, str) else "own schedule"
    how = [
        spelled(str(run.optimizer)),
        *[str(schedule)] * (schedule != "constant"),
        "1 seed" if seeds == 1 else f"{seeds} seeds",
        f"batch {run.batch}",
        run.dtype,
    ]
    if set(run.stopped_by) != {"steps"}:
        ends = Counter(run.stopped_by)
        how.append("stopped: " + " and ".join(f"{ended(word)} ({count})" for word, count in ends.items()))
    return [net, how]
