"""Rules of signals: what z, dL/dz and dL/dW do from end to end."""

from __future__ import annotations

import dataclasses
import math

import numpy as np

from vgcore.judge.evidence import Change, Evidence, ten_to
from vgcore.judge.rule import Hit, Rule, share
from vgcore.model.gain import calculate_gain
from vgcore.show.words import power

#: Thresholds in decades of end-to-end change: 5.6-, 32- and 1000-fold.
DECADES = {"info": 0.75, "warning": 1.5, "critical": 3.0}
#: Those of z, on which less depends: 10-, 100- and 10,000-fold.
FORWARD_DECADES = {"info": 1.0, "warning": 2.0, "critical": 4.0}
SCHOENHOLZ = "Schoenholz et al. 2017, arXiv:1611.01232"
LIMITS = (
    "A constant factor a layer compounds; 32-fold from end to end leaves no learning rate that is within 6-fold of "
    "right for both ends; half and twice as many decades, 5.6- and 1000-fold, are worth knowing and hopeless."
)
FORWARD_LIMITS = (
    "The size of z matters where it meets something that has a size: data, the bend of phi, the loss, the range of a "
    "number. 100-fold leaves the loss where it is a line or flat."
)

#: Of T steps or N blocks.
BACKWARD_FORMULAS = {
    "RNN": (
        "|dL/ds_1|/|dL/ds_T| = F = f^(T-1), s the state (c of an LSTM, else h), with f about a + rho: what the gates "
        "keep of a unit, and the radius of what one matrix mixes at every step"
    ),
    "Transformer": "|dL/dh_1|/|dL/dh_N| = F = f^(N-1), h the stream behind each of N blocks",
}
FORWARD_FORMULAS = {
    "RNN": "|h_T|/|h_1| = F = f^(T-1), h the state behind each of T steps",
    "Transformer": "|h_N|/|h_1| = F = f^(N-1), h the stream behind each of N blocks",
}


def _moves(e: Evidence, rule: Rule) -> Hit | None:
    signal, sign = rule.signal, rule.sign
    assert signal is not None  # noqa: S101 (the rows below name one)
    name = e.name(signal)
    verb = "grows" if sign > 0 else "shrinks"
    change: Change = getattr(e, signal)
    if math.isnan(change.rms) or not (e.steps or math.isinf(change.rms)):
        return None  # One layer changes nothing, but may stop all.
    change = dataclasses.replace(change, rms=change.shown)
    value = sign * change.rms
    steps = e.steps_of(signal)
    f, many = e.factor(change, steps), steps / e.per
    first, last = e.layer(e.steps - steps), e.layer(e.depth - 1)
    ends = (first, last) if signal == "forward" else (last, first)
    way = f"from {ends[0]} to {ends[1]}"
    lost = signal == "backward" and e.lost >= 0
    if math.isinf(change.rms) and signal == "backward" and e.passes:
        text = f"no parameter of a hidden layer has a gradient: all are exactly 0, though {name} passes by"
        working = "|dL/dW| = |dL/db| = 0 in every layer."
    elif math.isinf(change.rms):
        zero = int(np.isneginf(change.runs).sum())
        lost_in = "" if e.runs == 1 else f" in {zero} of {e.runs} runs"
        text = f"{name} does not arrive: it is exactly 0 at {ends[1]}{lost_in}"
        working = f"|{name}| at {ends[1]} = 0: no factor is left to take a root of."
    else:
        text = f"{name} {verb} {power(abs(change.rms))}-fold {way}, x{f:.3g} a {e.unit}"
        text += ", and is lost below" * lost
        text += ", where truncation cuts it" * (signal == "backward" and e.cut > max(e.lost, 0))
        interval = "" if math.isnan(change.low) else f", 95 % interval 10^{change.low:.2f} to 10^{change.high:.2f}"
        working = (
            f"F = 10^{change.rms:.2f}{interval}; f = 10^({change.rms:.2f}/{many:g}) = {f:.4g} a {e.unit}. "
            f"One {e.unit} says little, all of them {f:.4g}^{many:g} = {power(change.rms)}."
        )
        if e.facts is not None and e.facts.plain:
            working += f" Weights {power(-change.rms / steps)} times as large would make f = 1, if phi were a line."
    own = share(change.runs, lambda runs: sign * runs >= rule.level(value))
    return Hit(value, e.beyond(signal, sign, rule.least), own, text, working)


BACKWARD_VANISHING = Rule(
    id="backward_vanishing",
    quantity="decades that the norm of dL/dz (dL/dh in a net with skips) loses from the last layer to the first",
    thresholds=DECADES,
    why=LIMITS,
    reference="Bengio et al. 1994; Hochreiter 1991; Glorot and Bengio 2010; " + SCHOENHOLZ,
    wrong=(
        "It sees an average sample, not every unit: a skip around a dead block hides the block. Optimisers that divide "
        "by the size of a gradient, as Adam does, train through some of it."
    ),
    remedy="weights at the activation's critical scale, an activation with slope 1, a residual skip, or fewer layers",
    remedies={
        "RNN": (
            "a cell that keeps its state (lstm or gru with a forget_bias or update_bias, or bias='chrono(T)'; irnn), "
            "recurrent_init='orthogonal', or fewer steps"
        ),
        "Transformer": "skip='residual' with norm_position='pre' and a last norm, more gain, or fewer blocks",
    },
    formula="|dL/dz_1|/|dL/dz_L| = F = f^(L-1), with f = sigma_w sqrt(E phi'(z)^2) a layer in a plain net",
    formulas=BACKWARD_FORMULAS,
    picture=("log10_delta_rms",),
    check=_moves,
    needs=("log10_backward",),
    signal="backward",
    sign=-1,
)


BACKWARD_EXPLODING = Rule(
    id="backward_exploding",
    quantity="decades that the norm of dL/dz (dL/dh in a net with skips) gains from the last layer to the first",
    thresholds=DECADES,
    why=LIMITS,
    reference="Bengio et al. 1994; Pascanu et al. 2013, arXiv:1211.5063; " + SCHOENHOLZ,
    wrong="Adam and clipping survive much of it; a learning rate chosen for the first layers does not reach the last.",
    remedy="smaller weights (the critical scale), branches scaled by 1/sqrt(L), or layer norm within residual branches",
    remedies={
        "RNN": "a smaller forget_bias or recurrent_init, norm='layer'; in training clip=1, which bounds what is left",
        "Transformer": "norm='layer', branches that start small (init='gpt2', skip='rezero', 'deepnorm'), or less gain",
    },
    formula="|dL/dz_1|/|dL/dz_L| = F = f^(L-1), with f = sigma_w sqrt(E phi'(z)^2) a layer in a plain net",
    formulas=BACKWARD_FORMULAS,
    picture=("log10_delta_rms",),
    check=_moves,
    needs=("log10_backward",),
    signal="backward",
    sign=1,
)


FORWARD_VANISHING = Rule(
    id="forward_vanishing",
    quantity=(
        "decades that the rms of z (h in a net with skips) loses from the first layer to the last, beyond what its "
        "first layers do to the data's scale"
    ),
    thresholds=FORWARD_DECADES,
    why=FORWARD_LIMITS,
    reference="Glorot and Bengio 2010; He et al. 2015, arXiv:1502.01852",
    wrong="Before a normalisation z may have any size, and nothing depends on it.",
    remedy="the gain of the activation, or a normalisation",
    remedies={
        "RNN": "recurrent_init='orthogonal', inputs of rms 1, or norm='layer'",
        "Transformer": "skip='residual', norm='layer'",
    },
    formula="|z_L|/|z_1| = F = f^(L-1), with f = sigma_w sqrt(E phi(z)^2 / E z^2) a layer in a plain net",
    formulas=FORWARD_FORMULAS,
    picture=("log10_z_rms",),
    check=_moves,
    needs=("log10_forward",),
    signal="forward",
    sign=-1,
)


FORWARD_EXPLODING = Rule(
    id="forward_exploding",
    quantity=(
        "decades that the rms of z (h in a net with skips) gains from the first layer to the last, beyond what its "
        "first layers do to the data's scale"
    ),
    thresholds=FORWARD_DECADES,
    why=FORWARD_LIMITS,
    reference="He et al. 2015, arXiv:1502.01852; Hanin and Rolnick 2018, arXiv:1803.01719",
    wrong=(
        "Sums along residual branches grow without harm where every branch starts with a normalisation; the "
        "readout then gets larger numbers, no more."
    ),
    remedy="the gain of the activation, a normalisation, or branches scaled by 1/sqrt(L)",
    remedies={
        "RNN": "a smaller recurrent_init, cell='tanh' or gates, whose states are bounded, or norm='layer'",
        "Transformer": "norm='layer', init='gpt2', skip='rezero' or 'deepnorm'",
    },
    formula="|z_L|/|z_1| = F = f^(L-1), with f = sigma_w sqrt(E phi(z)^2 / E z^2) a layer in a plain net",
    formulas=FORWARD_FORMULAS,
    picture=("log10_z_rms",),
    check=_moves,
    needs=("log10_forward",),
    signal="forward",
    sign=1,
)


def _mismatch(e: Evidence, rule: Rule) -> Hit | None:
    back, forth = e.backward.shown, e.forward.shown
    if not e.steps or e.lost >= 0 or not (math.isfinite(back) and math.isfinite(forth)):
        return None
    value = abs(back - forth)
    text = (
        f"a {e.unit} multiplies {e.name('forward')} by {ten_to(forth * e.per / e.steps):.3g} on the way forward and "
        f"{e.name('backward')} by {ten_to(back * e.per / e.steps):.3g} on the way back: no gain keeps both at this "
        "size of z"
    )
    working = f"|log10 F_back - log10 F_forth| = |{back:.2f} - {forth:.2f}| = {value:.2f} decades."
    if e.facts is not None and e.facts.plain and len(set(e.facts.activations)) == 1:
        kind = e.facts.activations[0]
        try:
            gains = [calculate_gain(kind, mode=mode) for mode in ("forward", "backward")]
        except ValueError:  # It lets nothing pass, or has no gain.
            gains = []
        if gains:
            working += (
                f" At unit z, {kind.label} needs the gain {gains[0]:.4g} to keep z and {gains[1]:.4g} to keep dL/dz: "
                f"whoever keeps z multiplies dL/dz by {gains[0] / gains[1]:.4g} a layer."
            )
    with np.errstate(invalid="ignore"):  # -inf - -inf: where neither arrives, nothing is apart
        apart = e.backward.runs - e.forward.runs
    own = share(apart, lambda runs: np.abs(runs) >= rule.least)
    return Hit(value, tuple(range(e.depth)), own, text, working)


FORWARD_BACKWARD_MISMATCH = Rule(
    id="forward_backward_mismatch",
    quantity="decades between the end-to-end changes of z (forward) and of dL/dz (backward)",
    thresholds={"info": DECADES["warning"]},
    why="As far apart as a change that counts by itself: a forward check alone would not see it.",
    reference="Glorot and Bengio 2010, equations 5 to 12; the factor is sqrt(E phi'^2 / E phi^2)",
    wrong=(
        "A normalisation on the way forward makes the two differ by design; then the backward rules alone say "
        "whether that is bad."
    ),
    remedy="an activation whose two gains agree (relu, linear), a skip, or weights at the critical scale with biases",
    formula="log10 F_back - log10 F_forth; sigma_w cancels, and sqrt(E phi'(z)^2 E z^2 / E phi(z)^2) a layer is left",
    picture=("log10_z_rms", "log10_delta_rms"),
    check=_mismatch,
    needs=("log10_forward", "log10_backward"),
    spares=("RNN",),
)


def _flat(e: Evidence, rule: Rule) -> Hit | None:
    back, weight = e.backward.rms, e.weight.rms
    if not e.steps or not (math.isfinite(back) and math.isfinite(weight)) or abs(weight) > DECADES["info"]:
        return None
    text = (
        f"dL/dW changes only {power(abs(weight))}-fold from end to end while {e.name('backward')} changes "
        f"{power(abs(back))}-fold: a plot of weight gradients by layer looks healthy"
    )
    working = (
        f"log10 |dL/dW_1|/|dL/dW_L| = {weight:.2f} although log10 |dL/dz_1|/|dL/dz_L| = {back:.2f}: "
        f"h_(l-1) and dL/dz_l change by opposite powers of ten along the layers and cancel."
    )
    own = share(e.backward.runs, lambda runs: np.abs(runs) >= rule.least)
    return Hit(abs(back), tuple(range(e.depth)), own, text, working)


WEIGHT_GRADIENT_FLAT = Rule(
    id="weight_gradient_flat",
    quantity="decades that dL/dz changes while dL/dW changes by less than 0.75",
    thresholds={"info": DECADES["warning"]},
    why="The shape of the usual plot of weight gradients, and every rule on their ratio, says nothing here.",
    reference="dL/dW_l = dL/dz_l h_(l-1)^T: one grows where the other shrinks",
    wrong="It describes a plot, not an illness: the illness is in the other findings.",
    remedy="look at dL/dz (log10_delta_rms), not at dL/dW",
    formula="|dL/dW_l| = |dL/dz_l| |h_(l-1)| for one sample: F_W = F_back / F_forth",
    picture=("log10_wgrad_norm", "log10_delta_rms"),
    check=_flat,
    needs=("log10_backward", "log10_weight"),
    spares=("RNN",),
)


def waiting_for(e: Evidence) -> str:
    """What layers wait for, in words."""
    if e.zero_layer is not None:
        return e.layer(e.zero_layer)
    return "the readout" if e.probe is not None else f"what stands behind {e.layer(e.depth - 1)}"


def _waits(e: Evidence, _: Rule) -> Hit | None:
    if not e.waits:
        return None
    what = waiting_for(e)
    if e.probe is None and e.zero_layer is None:
        text = f"{what} gives nothing back: {e.name('backward')} is exactly 0 at every layer, the last one too"
        return Hit(
            1.0, (), 1.0, text, "A map that starts at 0 does so, W^T dL/dy = 0, and so does a loss that is flat."
        )
    text = f"{what} starts at exactly 0: the first step moves it and not what waits for it, every later one moves both"
    working = "dL/dh = W^T dL/dz = 0 for W = 0, while dL/dW = dL/dz h^T is not: 1, in every run."
    return Hit(1.0, () if e.zero_layer is None else (e.zero_layer,), 1.0, text, working)


ZERO_READOUT = Rule(
    id="zero_readout",
    quantity="1 where the readout or a layer starts at 0, so that what is behind or before it waits",
    thresholds={"info": 1.0},
    why="It costs one step, and what passes cannot be judged before.",
    reference="Zhang et al. 2019, arXiv:1901.09321: residual nets that start so train",
    wrong="Never: but a net that vanishes besides is not seen to.",
    remedy="nothing needs help; without a readout (out_features=None) the way back is judged",
    formula="dL/dh = W^T dL/dz",
    picture=("log10_a_rms",),
    check=_waits,
    needs=("log10_forward", "log10_backward"),
)
