"""Where the norm of a transformer stands: the stream's gradient looks healthy, and W_Q learns nothing.

Transformers of 24 blocks as they start. Each half of a block is a branch F of a stream x: post-LN has LN(x + F(x)),
pre-LN x + F(LN(x)), DeepNorm LN(alpha x + F(x)), ReZero x + a F(x) with a = 0 at first, and one net has F(LN(x))
alone.

Top left: dL/dx of the stream by block. None of the nets vanishes or explodes there. Top right: dL/dW_Q by block falls
by six decades with post-LN, and to rounding errors within five blocks without a skip. Bottom left is why: the tokens
of a sample become alike, rank collapse, and what all tokens have in common no query can tell apart. Skips delay it,
pre-LN and DeepNorm most of all. (ReZero's branches are closed at first, so that its dL/dW are exactly 0 and its
tokens as they came.) Bottom right: gradients of the last block by depth. Post-LN gives it the same at any depth,
pre-LN as 1/sqrt(depth), which is why post-LN needs a warm-up of the rate.

Vaswani et al. 2017, arXiv:1706.03762; Xiong et al. 2020, arXiv:2002.04745; Dong et al. 2021, arXiv:2103.03404; Noci
et al. 2022, arXiv:2206.03126; Wang et al. 2022, arXiv:2203.00555; Bachlechner et al. 2020, arXiv:2003.04887.
"""

import argparse
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

import vgcore as vg

NETS: dict[str, tuple[str, dict[str, Any]]] = {
    "post-LN": ("#D55E00", {"norm_position": "post"}),
    "pre-LN": ("#0072B2", {"norm_position": "pre"}),
    "no skip": ("#CC79A7", {"skip": None}),
    "DeepNorm": ("#009E73", {"skip": "deepnorm", "norm_position": "post", "init": "deepnorm"}),
    "ReZero": ("0.75", {"skip": "rezero", "norm": None}),
}

THEORY: dict[str, Any] = {"color": "black", "dashes": (4, 3), "linewidth": 1}


def net(name: str, depth: int, width: int) -> vg.Transformer:
    """One of them."""
    return vg.Transformer(depth, width, tokens=8, **NETS[name][1])


def by_block(found: vg.Probe | vg.theory.Prediction, column: str, row: int) -> NDArray[np.float64]:
    """A column of the same map of every block, the mean over nets; nan where it is not known."""
    values = np.atleast_2d(getattr(found, column, np.full(found.spec.rows, np.nan))).mean(axis=0)
    blocks: NDArray[np.float64] = values[row::4]
    return blocks


def last_block(found: vg.Probe | vg.theory.Prediction) -> float:
    """log10 of the gradient of the last map of the last block."""
    return float(by_block(found, "log10_wgrad_norm", 3)[-1])


def main() -> None:
    """Measure, draw, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("pre_post_norm.png"), help="the picture")
    parser.add_argument("--small", action="store_true", help="smaller nets, for a quick look")
    given = parser.parse_args()
    depth, width, seeds = (12, 128, 2) if given.small else (24, 256, 4)
    figure, ((stream, queries), (tokens, last)) = plt.subplots(2, 2, figsize=(10.4, 6.6), layout="constrained")
    blocks, depths = np.arange(1, depth + 1), [2**k for k in range(6)]
    for name, (color, _) in NETS.items():
        measured: dict[str, NDArray[np.float64]] = {}
        theory: dict[str, NDArray[np.float64]] = {}
        spec = net(name, depth, width)
        predicted = vg.theory.predict(spec, batch=8)
        for found, columns in ((vg.probe(spec, batch=8, seeds=seeds), measured), (predicted, theory)):
            columns["stream"] = by_block(found, "log10_dh_rms", 3)
            columns["queries"] = by_block(found, "log10_wgrad_norm_q", 0)
            columns["tokens"] = by_block(found, "token_correlation", 3)
        nets = [net(name, each, width) for each in depths]
        measured["last"] = np.array([last_block(vg.probe(each, batch=8, seeds=seeds)) for each in nets])
        theory["last"] = np.array([last_block(vg.theory.predict(each, batch=8)) for each in nets])
        for panel, ax, x in (
            ("stream", stream, blocks),
            ("queries", queries, blocks),
            ("tokens", tokens, blocks),
            ("last", last, depths),
        ):
            if np.isfinite(measured[panel]).any():
                wide = {"linewidth": 6, "zorder": 1} if name == "ReZero" else {"linewidth": 2}  # beneath DeepNorm
                ax.plot(x, measured[panel], color=color, label=name, **wide)
                if not predicted.doubt:
                    ax.plot(x, theory[panel], **THEORY)
        change = measured["stream"][0] - measured["stream"][-1]
        print(f"{name}: dL/dx changes 10^{change:.2f}-fold over {depth} blocks")
        if predicted.doubt or np.isinf(measured["queries"][0]):
            print(f"{name}: dL/dW_Q is 10^{measured['queries'][0]:.2f} and 10^{measured['queries'][-1]:.2f}")
            continue
        for words, panel in (("dL/dW_Q, last block over first", "queries"), ("dL/dW, depth 32 over 1", "last")):
            one, other = (found[panel][-1] - found[panel][0] for found in (theory, measured))
            print(f"{name}, log10 of {words}: theory {one:.3f}, measured {other:.3f}")
        one, other = (found["tokens"][-1] for found in (theory, measured))
        print(f"{name}, correlation of tokens: theory {one:.3f}, measured {other:.3f}")
    stream.set(ylabel="dL/dx of the stream (rms)", ylim=(-2.8, 0.8))
    queries.set(ylabel="dL/dW_Q (norm)")
    queries.annotate("no skip: rounding errors", (0.97, 0.1), xycoords="axes fraction", ha="right", color="#CC79A7")
    queries.annotate("ReZero: exactly 0 at first", (0.97, 0.2), xycoords="axes fraction", ha="right", color="0.5")
    tokens.set(ylabel="correlation of two tokens")
    last.set(ylabel="dL/dW of the last block (norm)", xlabel="blocks of the net", xscale="log", ylim=(1.1, 3.4))
    last.set_xticks(depths, [str(each) for each in depths])
    last.minorticks_off()
    last.plot(depths, 1.9 - 0.5 * np.log10(depths), ":", color="0.3", linewidth=1)
    last.annotate("1 / sqrt(blocks)", (2, 1.48), ha="center", color="0.3")
    for ax, title in (
        (stream, "the gradient of the stream looks healthy"),
        (queries, "what queries learn from vanishes"),
        (tokens, "because tokens become alike"),
        (last, "gradients of the last block, against depth"),
    ):
        ax.set_title(title, loc="left", fontsize="medium")
        ax.spines[["top", "right"]].set_visible(False)
        if ax is not last:
            ax.set_xlabel("block")
        if ax is not tokens:
            ax.yaxis.set_major_locator(MaxNLocator(integer=True))
            ax.yaxis.set_major_formatter(lambda value, _: f"$10^{{{value:.0f}}}$")
    stream.plot([], [], **THEORY, label="theory, where it holds")
    stream.legend(frameon=False, ncols=2, loc="lower left")
    figure.savefig(given.out, dpi=80)


if __name__ == "__main__":
    main()
