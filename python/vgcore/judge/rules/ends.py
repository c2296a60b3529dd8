"""Rules of the two ends: samples before the first layer, and the loss behind the last."""

from __future__ import annotations

import math

import numpy as np

from vgcore.judge.blind import first_loss, spread
from vgcore.judge.evidence import Evidence
from vgcore.judge.rule import Hit, Rule
from vgcore.judge.rules.signals import DECADES
from vgcore.show.words import power


def _first_loss(e: Evidence, _: Rule) -> Hit | None:
    assert e.probe is not None  # noqa: S101 (as the rule needs)
    size = e.probe.log10_output_rms.mean()
    if np.isinf(e.probe.loss_value).any():
        text = f"the first loss is too large for a number; outputs have the rms {power(size)}"
        return Hit(math.inf, (), math.nan, text, "The loss overflows.")
    value = first_loss(e.probe)
    if value is None or not math.isfinite(value):
        return None
    text = (
        f"the first loss is {value:.3g} times that of the best constant output: the outputs, of rms {power(size)}, are "
        "far from the targets"
    )
    working = f"loss at the start over the loss of a blind guess = {value:.4g}; outputs have the rms {power(size)}."
    return Hit(value, (), math.nan, text, working)


FIRST_LOSS = Rule(
    id="first_loss",
    quantity="loss at the start, mean over the runs, over that of the best output that knows the targets and not x",
    thresholds={"info": 3.0, "warning": 30.0, "critical": 1000.0},
    why=(
        "A net that starts on the scale of its targets loses about as much as a blind guess, ln K or the variance of "
        "y. Of squares 30 and 1000 are outputs 5.6 and 32 times too large; of cross-entropy, a certainty about nothing "
        "that every sample has to unlearn."
    ),
    reference="Karpathy 2019, A recipe for training neural networks: verify the loss at init; Zhang et al. 2019, "
    "arXiv:1901.09321",
    wrong="Targets that hardly vary make any loss large beside a blind guess.",
    remedy="x of rms 1, targets of mean 0 and spread 1, a smaller gain in the readout",
    formula="L / min over constants c of L(c, y): the entropy of the class shares, the variance of y",
    picture=("log10_a_rms",),
    check=_first_loss,
    needs=("targets",),
    condition="off-scale",
)


def _small_outputs(e: Evidence, _: Rule) -> Hit | None:
    assert e.probe is not None  # noqa: S101 (as the rule needs)
    size, wanted = float(e.probe.log10_output_rms.mean()), spread(e.probe)
    if not wanted or not math.isfinite(wanted) or not math.isfinite(size):
        return None
    value = math.log10(wanted) - size
    text = (
        f"outputs of rms {power(size)} are to become targets that differ by {wanted:.3g}, {power(value)} times as much"
    )
    return Hit(value, (), math.nan, text, f"log10 of {wanted:.4g} over 10^{size:.3f} = {value:.3f} decades.")


SMALL_OUTPUTS = Rule(
    id="small_outputs",
    quantity="decades by which the spread of targets that are plain numbers lies above the rms of the outputs",
    thresholds={"info": 1.0, "warning": DECADES["warning"]},
    why="A readout has to grow as many-fold before anything fits, and hidden layers get its gradients meanwhile.",
    reference="Glorot and Bengio 2010 and He et al. 2015 keep signals at 1; so must be what they are compared with",
    wrong="Optimisers with a step of their own for the readout get there soon.",
    remedy="targets of mean 0 and spread 1",
    formula="std(y) / rms(outputs)",
    picture=("log10_a_rms",),
    check=_small_outputs,
    needs=("targets",),
    condition="off-scale",
)


def _inputs(e: Evidence, _: Rule) -> Hit | None:
    remarks = e.inputs.remarks
    if not remarks:
        return None
    cosine = e.inputs.correlation
    said = "" if math.isnan(cosine) else f"mean cosine of two samples {cosine:.3f}, "
    working = f"{len(remarks)}: {said}rms of x {power(e.inputs.size)}."
    return Hit(float(len(remarks)), (), 1.0, f"of x: {'; '.join(remarks)}", working)


INPUTS = Rule(
    id="inputs",
    quantity="remarks on the given samples",
    thresholds={"info": 1.0},
    why="What the first layer gets decides its scale, and how far samples are apart before any layer.",
    reference="LeCun et al. 1998, Efficient BackProp, section 4.3",
    wrong="Activations without a scale of their own (relu) do not mind the scale of x, though the loss does.",
    remedy="(x - mean) / std column by column, without constant columns and duplicates",
    formula="mean cosine of two samples; rms of x; spread of its columns",
    picture=("log10_z_rms",),
    check=_inputs,
    needs=("samples",),
)
