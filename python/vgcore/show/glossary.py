"""What the words mean that verdicts, findings, columns and table heads use."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from vgcore.measure.extra import FAMILIES


@dataclass(frozen=True)
class Word:
    """A word as a reader meets it.

    Attributes:
        name: The word.
        sort: What it is a word of; a key of `SORTS`.
        text: What it means, in one to three sentences.
        formula: How it is computed, if it is.
        remedy: What to do about it, if it is bad.
        see: Words to read next.
        synonyms: Other words that it answers to.
    """

    name: str
    sort: str
    text: str
    formula: str = ""
    remedy: str = ""
    see: tuple[str, ...] = ()
    synonyms: tuple[str, ...] = ()


#: What words are of, in the order in which a page lists them.
SORTS = {
    "verdict": "Verdicts",
    "condition": "Conditions, which stand beside a verdict",
    "outcome": "Outcomes of a training",
    "severity": "Severities of a finding",
    "column": "Columns of a probe and of a training",
    "head": "Heads of tables, and words of summaries",
    "net": "What a net is made of",
    "recurrent": "Recurrent nets",
    "attention": "Transformers",
    "pretraining": "Training layer by layer",
    "theory": "Mean-field theory",
    "rule": "Rules about a net as it starts, or as it stands",
    "training rule": "Rules about a training",
}

_INIT = (
    "Weights at the critical scale of the activation (init='critical' or kaiming_normal), a skip or a normalisation."
)

_WORDS = (
    # Verdicts.
    Word(
        "healthy",
        "verdict",
        "No signal changes much from end to end: dL/dz less than 32-fold and z less than 100-fold, and units and "
        "samples stay different. It says nothing about how well the net will train, only that nothing stops it at the "
        "start.",
        see=("vanishing", "exploding", "depth limit"),
    ),
    Word(
        "vanishing",
        "verdict",
        "A signal shrinks from layer to layer. 'Backward' means that dL/dz becomes 32 times smaller or more on its way "
        "from the last layer to the first, so that the first layers hardly learn; 'forward' means that z becomes 100 "
        "times smaller from the first layer to the last.",
        "|dL/dz_1| / |dL/dz_L| <= 1/32, or |z_L| / |z_1| <= 1/100",
        f"{_INIT} Fewer layers. `vgcore advise` tries such changes on your net.",
        ("exploding", "backward", "factor", "32-fold", "backward_vanishing", "depth limit"),
        ("vanish", "vanishes", "vanished", "vanishing gradient", "vanishing gradients problem", "gradient vanishing"),
    ),
    Word(
        "exploding",
        "verdict",
        "A signal grows from layer to layer: dL/dz 32-fold or more on its way from the last layer to the first "
        "(backward), or z 100-fold from the first layer to the last (forward). Steps that suit one end are far too "
        "large for the other.",
        "|dL/dz_1| / |dL/dz_L| >= 32, or |z_L| / |z_1| >= 100",
        "Smaller weights, a normalisation, or residual branches scaled by 1/sqrt(L) (branch_scale='1/sqrt(L)'). "
        "Clipping hides it and does not cure it.",
        ("vanishing", "forward", "factor", "backward_exploding", "clip"),
        ("explode", "explodes", "exploded", "exploding gradient", "gradient explosion"),
    ),
    Word(
        "symmetric",
        "verdict",
        "Units of a layer are equal and stay equal, because they have the same weights and so get the same gradients. "
        "The layer is only as wide as it has different units.",
        remedy="Draw weights at random: an init such as kaiming_normal or orthogonal, not zeros, ones or constant.",
        see=("equal_units",),
        synonyms=("symmetry", "equal units"),
    ),
    Word(
        "collapsed",
        "verdict",
        "All samples look alike to the last layers: the cosine between two of them is nearly 1, or they lie on one "
        "line. The size of gradients may be fine, yet there is nothing left to tell samples apart by.",
        remedy="Smaller biases, weights at the critical scale, batch norm, or a residual skip.",
        see=("correlation", "effective_rank", "correlation_collapse", "rank_collapse", "ordered"),
        synonyms=("collapse", "rank collapse of samples"),
    ),
    Word(
        "non-finite",
        "verdict",
        "A value is nan or infinite, so that all that comes after it is useless. In a net that starts it has most "
        "often outgrown the range of its dtype; in a training a step was too large.",
        remedy="Cure the explosion, take a smaller rate or a warm-up, or use float64 or bfloat16 where only the range "
        "is missing. Gradient clipping cannot divide what is infinite.",
        see=("exploding", "float_range", "first bad"),
        synonyms=("nan", "inf", "infinite", "not finite", "overflow", "nonfinite"),
    ),
    # Directions and degrees of a verdict.
    Word(
        "forward",
        "head",
        "The way from the input to the output. As a column: by which factor a layer multiplies the size of z, the "
        "pre-activations.",
        "(|z_L| / |z_1|)^(1 / (L - 1))",
        see=("backward", "factor", "z"),
        synonyms=("forward signal", "forward pass"),
    ),
    Word(
        "backward",
        "head",
        "The way from the loss back to the input. As a column: by which factor a layer multiplies the size of dL/dz, "
        "the gradient of the pre-activations, on its way to the input.",
        "(|dL/dz_1| / |dL/dz_L|)^(1 / (L - 1))",
        see=("forward", "factor", "dL/dz"),
        synonyms=("backward signal", "backward pass", "backpropagation"),
    ),
    Word(
        "weight",
        "head",
        "As a column: by which factor a layer multiplies the size of dL/dW, the gradient of its weights, toward the "
        "input. It can be 1 where both signals vanish, since dL/dW is the product of the two.",
        "|dL/dW_l| = |dL/dz_l| |h_(l-1)| for one sample",
        see=("backward", "weight_gradient_flat"),
        synonyms=("weight gradient",),
    ),
    Word(
        "both",
        "head",
        "Beside a verdict: the forward and the backward signal do the same, both vanish or both explode.",
        see=("forward", "backward"),
        synonyms=("direction",),
    ),
    Word(
        "typical",
        "head",
        "A typical net is smaller than the root mean square over nets of its recipe, because few nets with large "
        "gradients carry that mean. 'In a typical net' means that single nets fade while the recipe's mean does not.",
        remedy="Wider layers, fewer of them, or orthogonal weights.",
        see=("finite_width", "seed"),
        synonyms=("typical net", "typical gradient"),
    ),
    Word(
        "not decided",
        "head",
        "At most half of the runs have the verdict by themselves: the recipe lies near a limit, and single nets fall "
        "on either side.",
        remedy="Measure more seeds, or choose a recipe farther from the limit.",
        see=("seeds_disagree", "run"),
        synonyms=("undecided", "barely"),
    ),
    Word(
        "32-fold",
        "head",
        "How far dL/dz may change from end to end before the verdict is vanishing or exploding: 1.5 decades. Beyond it "
        "no learning rate is within 6-fold of right for both ends of the net.",
        "10^1.5 = 31.6",
        see=("vanishing", "exploding", "decade", "depth limit"),
        synonyms=("32 fold line", "fold"),
    ),
    Word(
        "decade",
        "head",
        "A factor of ten. Changes of signals are told in decades, since they run over many powers of ten.",
        "decades = log10(last / first)",
        see=("log10",),
    ),
    Word(
        "log10",
        "head",
        "Sizes are told as their logarithm to base 10, whose range no depth leaves: -32.5 stands for 10^-32.5, "
        "-inf for exactly 0, and a difference of 1 is a factor of ten.",
        see=("decade", "rms"),
    ),
    # Conditions.
    Word(
        "saturated",
        "condition",
        "A slope phi'(z) is below 1 % of the activation's largest, so that hardly any gradient passes that unit. As a "
        "column: the share of (sample, unit) pairs of a layer that are so. The flat half of a ReLU counts in the "
        "column, not in the condition.",
        "share of |phi'(z)| < 0.01 max |phi'|",
        "Smaller weights or biases, inputs of mean 0 and spread 1, or a normalisation before the activation.",
        ("saturation", "dead"),
        ("saturate", "saturating", "saturated units"),
    ),
    Word(
        "dead",
        "condition",
        "A unit that is exactly 0 for every sample, such as a ReLU whose z is always negative: it gets no gradient and "
        "cannot come back by itself. As a column: the share of such units in a layer; a dead layer has no others.",
        "share of units j with phi(z_bj) = 0 for every sample b",
        "Biases from 0 up, an activation with a slope below 0 (leaky_relu), a normalisation, wider layers, a smaller "
        "rate.",
        ("dead_units", "dying", "births"),
        ("dead unit", "dead layer", "dead relu", "dead neuron"),
    ),
    Word(
        "off-scale",
        "condition",
        "The net starts with outputs of quite another size than its targets: the first loss is 30 times that of a "
        "blind guess or more, or the outputs are far smaller than the targets.",
        remedy="Scale x and y to mean 0 and spread 1, or take a smaller gain in the readout.",
        see=("first_loss", "small_outputs", "blind guess"),
    ),
    Word(
        "blind",
        "condition",
        "The loss stays at that of a blind guess: the net has learned the frequencies of the classes, or the mean "
        "target, and nothing of x.",
        remedy="Diagnose the net as it starts: gradients that vanish, or samples that are alike. Adam, a skip or batch "
        "norm.",
        see=("blind guess", "blind_guess"),
    ),
    Word(
        "not trained",
        "condition",
        "The loss at the end is about what it was at the start.",
        remedy="Diagnose the net as it starts, then the learning rate: updates should be about 1/1000 of the weights.",
        see=("not_trained", "log10_update_ratio"),
    ),
    Word(
        "early layers slow",
        "condition",
        "The first layers take far smaller steps for their size than the last ones: what vanishing gradients look like "
        "in a training.",
        remedy="An init or a skip that keeps dL/dz; Adam, or clipping with min_norm, moves all layers alike.",
        see=("slow_early_layers", "log10_update_ratio", "vanishing"),
    ),
    Word(
        "gradients near zero",
        "condition",
        "Gradients are so small for the size of weights and loss that no rate which the other layers bear moves a "
        "layer.",
        "|g| |w| / L < 10^-4",
        "An init that keeps signals, a skip, a normalisation; Adam with scale_free=true.",
        ("gradients_near_zero",),
    ),
    Word(
        "updates rounded away",
        "condition",
        "Steps are smaller than what the dtype can add to the weights, so that most weights stay exactly as they are.",
        remedy="float64, a larger rate, or an optimiser that scales updates, such as Adam.",
        see=("rounded", "rounded_updates"),
    ),
    Word(
        "epsilon rules",
        "condition",
        "Gradients lie below the eps of an adaptive optimiser, which then no longer scales them: they vanish as under "
        "plain descent.",
        "lr g / (|g| + eps)",
        "scale_free=true, a smaller eps, or gradients that do not vanish.",
        ("epsilon_rules",),
        ("epsilon",),
    ),
    Word(
        "dying",
        "condition",
        "Training switches units off: the share of dead units has grown.",
        remedy="A smaller rate or a warm-up, leaky_relu, a normalisation.",
        see=("dead", "dying_units"),
    ),
    Word(
        "rate too large",
        "condition",
        "The loss fell and then rose for good, beyond the noise of minibatches.",
        remedy="A smaller rate, a warm-up, or clipping by the global norm.",
        see=("rate_too_large", "clip"),
    ),
    Word(
        "unstable",
        "condition",
        "The sharpness of the loss is above what steps of this rate are stable on.",
        "sharpness > 2 / lr, without momentum",
        "A smaller rate or a warm-up, where the loss does not fall.",
        ("sharpness", "edge_of_stability"),
    ),
    Word(
        "spikes",
        "condition",
        "Single steps throw the loss far above its moving mean.",
        remedy="Replay the step; a smaller rate, a longer warm-up, a smaller beta2, or clipping.",
        see=("loss_spike",),
        synonyms=("loss spikes",),
    ),
    Word(
        "clipped",
        "condition",
        "Clipping acts at so many steps that it, and not the rate alone, sets their length. As a column: the share of "
        "what is clipped by itself that was clipped.",
        remedy="A smaller rate, or max_norm at the 90th to 95th percentile of the norm before clipping.",
        see=("clip", "clip factor", "clipping_binding"),
    ),
    Word(
        "boosted",
        "condition",
        "Gradients are raised to the least norm, min_norm, by a large factor.",
        remedy="An init, a skip or a normalisation that keeps gradients.",
        see=("min_norm", "boost_binding"),
        synonyms=("boost",),
    ),
    Word(
        "over-fit",
        "condition",
        "The loss of validation rises while that of training still falls.",
        remedy="Early stopping, weight decay, more data, or a smaller net.",
        see=("over_fit",),
        synonyms=("overfit", "over-fitting", "overfitting"),
    ),
    Word(
        "deeper is worse",
        "condition",
        "A deeper net reaches a higher training loss than a shallower one of the same recipe, although it could do "
        "what that one does.",
        remedy="A skip, a normalisation, an init that keeps signals over the depth, or fewer layers.",
        see=("deeper_is_worse", "depth limit"),
        synonyms=("degradation",),
    ),
    # Outcomes of a training.
    Word(
        "trained",
        "outcome",
        "The loss fell by half of what it was, or of a blind guess.",
        see=("learning", "blind guess"),
    ),
    Word(
        "learning",
        "outcome",
        "The loss fell, but by less than half.",
        remedy="More steps, or a larger rate.",
        see=("trained", "stuck"),
    ),
    Word(
        "stuck",
        "outcome",
        "The loss did not fall, or it ended at that of a blind guess.",
        remedy="Diagnose the net as it starts, `vgcore diagnose`.",
        see=("blind guess", "not_trained"),
    ),
    Word(
        "diverged",
        "outcome",
        "The loss rose again for good.",
        remedy="A smaller rate, a warm-up, or clipping.",
        see=("rate too large",),
        synonyms=("diverge", "diverges", "divergence"),
    ),
    # Severities.
    Word(
        "info",
        "severity",
        "A finding that is worth knowing and no fault: it makes no verdict.",
        see=("warning", "critical"),
        synonyms=("severity",),
    ),
    Word(
        "warning",
        "severity",
        "A finding that counts: it makes a verdict or a condition, and exit code 1.",
        see=("info", "critical"),
    ),
    Word(
        "critical",
        "severity",
        "A finding that stops training for most recipes. In theory the word is used of a net on the edge of chaos, "
        "which keeps the size of gradients.",
        see=("warning", "edge of chaos", "critical init"),
    ),
    # Columns.
    Word(
        "log10_z_rms",
        "column",
        "The size of the pre-activations z = W h + b of a layer, over samples and units.",
        "log10 sqrt(mean(z^2))",
        see=("z", "rms", "forward_vanishing", "forward_exploding"),
    ),
    Word(
        "log10_a_rms",
        "column",
        "The size of the activations a = phi(z) of a layer, before a skip joins them.",
        "log10 sqrt(mean(a^2))",
        see=("activation", "rms"),
        synonyms=("a",),
    ),
    Word(
        "log10_delta_rms",
        "column",
        "The size of dL/dz of a layer, the backward signal: what tells vanishing from exploding gradients.",
        "log10 sqrt(mean((dL/dz)^2))",
        see=("dL/dz", "rms", "backward_vanishing", "backward_exploding"),
        synonyms=("delta",),
    ),
    Word(
        "log10_wgrad_norm",
        "column",
        "The norm of dL/dW, the gradient of a layer's weight matrix. It alone does not show vanishing: it can stay the "
        "same in every layer where both signals vanish.",
        "log10 |dL/dW|",
        see=("weight", "weight_gradient_flat"),
        synonyms=("wgrad",),
    ),
    Word(
        "log10_bgrad_norm",
        "column",
        "The norm of dL/db, the gradient of a layer's biases.",
        "log10 |dL/db|",
        see=("bias",),
    ),
    Word(
        "log10_sample_wgrad_rms",
        "column",
        "The size of the share of dL/dW that one sample has. Shares add up to dL/dW: where they all point one way the "
        "norm is batch times this, and sqrt(batch) times where they point at random.",
        "log10 rms of |h| |dL/dz| over samples",
        see=("log10_wgrad_norm",),
    ),
    Word(
        "log10_affine_grad_norm",
        "column",
        "The norm of the gradient of a normalisation's weight and bias; nan without one.",
        see=("norm",),
    ),
    Word(
        "log10_slope_grad_norm",
        "column",
        "The size of the gradient of a learned slope, prelu's.",
        see=("activation",),
    ),
    Word(
        "log10_gate_grad_norm",
        "column",
        "The norm of the gradient of a highway's gate, or of the learned factor of a rezero.",
        see=("skip",),
    ),
    Word(
        "log10_summed_wgrad_norm",
        "column",
        "Of a tied net: the norm of dL/dW summed over a step and all later ones. The first step's is that of "
        "backpropagation through time.",
        see=("tied",),
    ),
    Word(
        "log10_h_rms",
        "column",
        "In a net with skips: the size of the residual stream h behind a block.",
        see=("residual stream",),
    ),
    Word(
        "log10_dh_rms",
        "column",
        "In a net with skips: the size of the whole gradient dL/dh of the residual stream, through the next block and "
        "around it.",
        see=("residual stream", "dL/dz"),
    ),
    Word(
        "correlation",
        "column",
        "The mean cosine between the z of two samples. 1 means that the layer gives every sample the same direction.",
        "mean of z_a . z_b / (|z_a| |z_b|)",
        "From about 0.99 on: smaller biases, weights at the critical scale, batch norm, a skip.",
        ("collapsed", "correlation_collapse"),
        ("cosine",),
    ),
    Word(
        "gradient_correlation",
        "column",
        "The mean cosine between the dL/dz of two samples, with a loss. Near 0 where their gradients are like noise to "
        "each other: shattered gradients.",
        remedy="A residual skip or looks_linear weights keep gradients alike.",
        see=("shattered gradients", "cotangent"),
    ),
    Word(
        "effective_rank",
        "column",
        "How many directions the samples fill in a layer, from 1, all on one line, to the number of samples.",
        "(tr G)^2 / |G|^2, G the Gram matrix of h",
        "Near 1: wider layers, orthogonal weights, batch norm, a skip.",
        ("rank_collapse", "collapsed"),
        ("participation ratio", "rank"),
    ),
    Word(
        "size by gate",
        "column",
        "Of one gate of a cell, or of the queries, keys or values of attention, by its letter (i, f, g, o; r, z, n; q, "
        "k, v): the size of its z, of its dL/dz, or the norm of its weights' gradient in this row. A gate's weights "
        "are W and U together, while log10_wgrad_norm of a recurrent net is of W of all gates alone; the other columns "
        "without a letter, and all those of attention, are of all letters together.",
        "such as log10_z_rms_f, log10_delta_rms_f, log10_wgrad_norm_q",
        see=("log10_z_rms", "log10_delta_rms", "log10_wgrad_norm"),
        synonyms=FAMILIES["sizes by gate"],
    ),
    Word(
        "mean by gate",
        "column",
        "The mean of what a gate of a cell gives, over samples and units: a forget gate of 0.9 keeps 0.9 of the cell a "
        "step. Of the candidate, g or n, it is the mean of a tanh.",
        "such as mean_f = mean(sigmoid(z_f))",
        see=("saturation by gate",),
        synonyms=FAMILIES["means by gate"],
    ),
    Word(
        "saturation by gate",
        "column",
        "The share of (sample, unit) of one gate whose slope is below 1 % of its largest: what it lets pass hardly "
        "depends on its weights any more.",
        "such as saturated_f",
        see=("saturated", "mean by gate"),
        synonyms=FAMILIES["saturation by gate"],
    ),
    Word(
        "share by path",
        "column",
        "Of the gradient that goes back from a step to the one before: the share that takes this path, the cell's or "
        "that through a gate. Shares are of mean squares and add up to 1: products of two paths, which may add to the "
        "whole or take from it, belong to neither and are left out. nan where no gradient goes back at all.",
        "such as share_cell = rms(path)^2 / sum of rms^2 over all paths",
        see=("log10_dc_rms",),
        synonyms=FAMILIES["shares by path"],
    ),
    Word(
        "log10_c_rms",
        "column",
        "The size of the cell c of an LSTM, over samples and units.",
        "log10 sqrt(mean(c^2))",
        see=("log10_dc_rms",),
    ),
    Word(
        "log10_dc_rms",
        "column",
        "The size of dL/dc, the whole gradient of an LSTM's cell: what the forget gates carry back through time.",
        "log10 sqrt(mean((dL/dc)^2))",
        see=("log10_c_rms", "share by path"),
    ),
    Word(
        "attention_entropy",
        "column",
        "How evenly a query spreads its attention over the tokens, as a mean over heads, samples and queries: 1 where "
        "all tokens count alike, 0 where one takes all. With causal=True a query counts over the tokens that it sees, "
        "and the first, which sees itself alone, is left out.",
        "-sum(p ln p) / ln(tokens that are seen)",
        see=("logit_std",),
    ),
    Word(
        "logit_std",
        "column",
        "The standard deviation of the logits of attention, before the softmax: large ones let one token take all. It "
        "is that within a query's row, over the keys that it sees: what all its logits have in common, which the "
        "softmax does not see, is taken off.",
        "sqrt(mean over queries of var over keys of q . k / sqrt(width of a head))",
        see=("attention_entropy",),
    ),
    Word(
        "token_correlation",
        "column",
        "The mean cosine of two tokens of one sample in the stream. 1 means that a sample's tokens have become alike: "
        "then the gradients of W_Q and W_K vanish while the stream looks healthy.",
        "mean of h_s . h_t / (|h_s| |h_t|)",
        see=("token_rank", "correlation"),
    ),
    Word(
        "token_rank",
        "column",
        "How many directions the tokens of one sample fill in the stream, as a mean over samples, from 1 to the number "
        "of tokens.",
        "(tr G)^2 / |G|^2, G the Gram matrix of a sample's tokens",
        see=("token_correlation", "effective_rank"),
    ),
    Word(
        "log10_weight_norm",
        "column",
        "The norm of a layer's weight matrix, before the update.",
        see=("log10_update_ratio",),
    ),
    Word(
        "log10_update_norm",
        "column",
        "The norm of what a step adds to a layer's weights.",
        see=("log10_update_ratio",),
        synonyms=("update",),
    ),
    Word(
        "log10_update_ratio",
        "column",
        "How large a step is for the weights that it changes: the norm of the update over that of the weights. About "
        "10^-3 is usual.",
        "log10 |dw| / |w|",
        "Below 10^-4 a larger rate, above 10^-1 a smaller one; where layers differ 32-fold, see early layers slow.",
        ("early layers slow", "slow_early_layers"),
    ),
    Word(
        "rounded",
        "column",
        "The share of weights that have a gradient and stay as they were, since the step was smaller than the dtype "
        "can add to them.",
        "share of g_i != 0 with fl(w_i + dw_i) = w_i",
        "float64, a larger rate, or Adam.",
        ("updates rounded away", "rounded_updates"),
    ),
    Word(
        "births",
        "column",
        "The share of units that have died since the step recorded before.",
        see=("dead", "revivals"),
    ),
    Word(
        "revivals",
        "column",
        "The share of dead units that have come back to life since the step recorded before.",
        see=("dead", "births"),
    ),
    # Heads and summaries.
    Word(
        "factor",
        "head",
        "What a layer multiplies a signal's size by, as the geometric mean over layers and seeds ('x per layer'); 1 "
        "means preserved. 0.9 a layer is 0.005 after 50 layers. In brackets stands its 95 % interval over seeds.",
        "f = (end / start)^(1 / (L - 1))",
        see=("forward", "backward", "chi"),
        synonyms=("x per layer", "x a layer", "a layer", "per layer", "factor per layer", "spread of a factor"),
    ),
    Word(
        "depth limit",
        "head",
        "How many layers this recipe can have before dL/dz has changed 32-fold from end to end, with its 95 % interval "
        "over seeds.",
        remedy="Stay below it, or take a recipe whose factor is nearer to 1.",
        see=("factor", "32-fold", "healthy"),
    ),
    Word(
        "memory limit",
        "head",
        "How many steps back from the last one the gradient of a recurrent net's state (dL/dc of an LSTM, else dL/dh) "
        "stays within 32-fold of what it is there, with its 95 % interval over seeds: beyond, what came earlier is not "
        "learned from.",
        remedy="Gates that keep the state: a forget bias, bias='chrono(T)', an irnn; orthogonal recurrent weights.",
        see=("depth limit", "32-fold", "forgetting"),
    ),
    Word(
        "verdict",
        "head",
        "What the findings of a net come to in a word, with the direction in brackets and conditions behind it.",
        see=("healthy", "vanishing", "exploding", "symmetric", "collapsed", "non-finite"),
    ),
    Word(
        "condition",
        "head",
        "What holds beside a verdict, such as dead or saturated units.",
        see=("saturated", "dead", "collapsed", "off-scale"),
    ),
    Word(
        "finding",
        "head",
        "What one rule found: how severe it is, where, what was measured, and what helps.",
        see=("rule", "info", "warning", "critical"),
    ),
    Word(
        "rule",
        "head",
        "A row of the judge: a quantity, thresholds and reasons for them. `vgcore diagnose --explain` shows its "
        "working.",
        see=("finding", "threshold"),
    ),
    Word(
        "threshold",
        "head",
        "The least value of a rule's quantity that makes a finding of a severity; `--threshold RULE=VALUE` sets "
        "another.",
        see=("rule",),
    ),
    Word(
        "confidence",
        "head",
        "The share of the runs that show a finding, or have the verdict, by themselves.",
        see=("run", "seeds_disagree"),
        synonyms=("runs agree", "agree"),
    ),
    Word(
        "remedy",
        "head",
        "What helps against a finding. `vgcore advise` runs such changes and says what they do.",
        see=("change", "finding"),
    ),
    Word(
        "change",
        "head",
        "In a table of advice: what was changed in the net, which was then measured again.",
        see=("remedy", "verdict"),
    ),
    Word(
        "blind guess",
        "head",
        "The best constant output, which knows the targets and does not look at x: the frequencies of the classes, or "
        "the mean target. Its loss is what a net has to beat: ln K for K equally frequent classes, the variance of y "
        "for mse.",
        "min over constants c of L(c, y)",
        see=("blind", "first_loss", "stuck"),
        synonyms=("loss/blind", "loss over blind", "blind loss"),
    ),
    Word(
        "first-layer gradient",
        "head",
        "The norm of dL/dW of layer 1, the layer next to the input: where a vanished gradient shows first.",
        see=("log10_wgrad_norm", "vanishing"),
        synonyms=("first gradient",),
    ),
    Word(
        "layer",
        "head",
        "A linear map with what follows it: norm, activation, skip. Layers are counted from 1 at the input.",
        see=("depth", "dead"),
        synonyms=("first layer", "last layer"),
    ),
    Word(
        "seed",
        "head",
        "A number that decides which random weights a net draws. Several seeds are several nets of one recipe, and "
        "show what is chance.",
        see=("run", "seeds_disagree"),
    ),
    Word(
        "run",
        "head",
        "One net of one seed, measured on one batch, or one training. A cell has as many runs as seeds.",
        see=("seed", "cell"),
    ),
    Word(
        "cell",
        "head",
        "One combination of the values that a sweep varies, measured for all its seeds. Of a recurrent net: what a "
        "step makes of the state, such as tanh, lstm or gru; `vgcore kinds cell`.",
        see=("sweep", "run", "LSTM", "GRU"),
    ),
    Word(
        "sweep", "head", "Measuring every combination of the values given, `vgcore sweep` or vg.sweep.", see=("cell",)
    ),
    Word(
        "probe",
        "head",
        "Measuring one net as it starts: a forward and a backward pass for each seed, and the sizes of all signals "
        "layer by layer.",
        see=("run", "sweep"),
    ),
    Word(
        "recipe",
        "head",
        "All that describes a net but its seed: depth, width, activation, init and so on.",
        see=("seed", "cell"),
        synonyms=("spec",),
    ),
    Word(
        "cotangent",
        "head",
        "What the backward pass starts from, dL/dy. Without a loss it is random, of standard normal numbers, so that "
        "the net alone is judged and no data.",
        see=("dL/dz", "gradient_correlation"),
        synonyms=("random cotangent", "dL/dy"),
    ),
    Word(
        "signal",
        "head",
        "What travels through a net and has a size in every layer: z on the way forward, dL/dz on the way back.",
        see=("forward", "backward", "weight"),
    ),
    Word(
        "z",
        "head",
        "The pre-activations of a layer: what its linear map gives.",
        "z = W h + b",
        see=("log10_z_rms", "activation"),
        synonyms=("pre-activation", "preactivation"),
    ),
    Word(
        "dL/dz",
        "head",
        "How the loss changes with the pre-activations of a layer: the backward signal, of which all gradients of "
        "weights are made.",
        "dL/dz_l = phi'(z_l) (W_(l+1)^T dL/dz_(l+1))",
        see=("log10_delta_rms", "backward"),
    ),
    Word(
        "rms",
        "head",
        "Root mean square, the size of a signal over samples and units.",
        "sqrt(mean(v^2))",
        see=("log10",),
        synonyms=("root mean square",),
    ),
    Word(
        "loss",
        "head",
        "The number that training makes smaller; what a net starts with is its first loss.",
        see=("blind guess",),
        synonyms=("first loss", "final loss", "best loss", "loss trained"),
    ),
    Word(
        "step",
        "head",
        "One update of a training: a forward and a backward pass over a batch, and a change of the weights. Of a "
        "recurrent net: one element of a sequence. Both are counted from 1.",
        see=("log10_update_ratio", "BPTT"),
    ),
    Word(
        "lr",
        "head",
        "The learning rate of a step, as the schedule has it.",
        see=("schedule", "log10_update_ratio"),
        synonyms=("rate", "learning rate"),
    ),
    Word(
        "gradient norm",
        "head",
        "The norm of all gradients together, before clipping: what clipping by a global norm looks at.",
        see=("clip",),
        synonyms=("log10_grad_norm", "total grad norm", "log10_total_grad_norm", "grad norm"),
    ),
    Word(
        "clip factor",
        "head",
        "What clipping multiplied the gradients of a step by: 1 where it did nothing.",
        "min(1, max_norm / |g|)",
        see=("clip", "clipped"),
        synonyms=("clip coef",),
    ),
    Word(
        "slowest layer",
        "head",
        "The layer whose update is the smallest share of its weights.",
        see=("log10_update_ratio", "early layers slow"),
    ),
    Word(
        "clip",
        "head",
        "To shorten gradients that are longer than max_norm, so that one bad batch does no harm. It tames single steps "
        "and cures no exploding gradients.",
        "g min(1, max_norm / |g|)",
        see=("clipped", "clip factor", "min_norm"),
        synonyms=("clipping", "gradient clipping", "max_norm"),
    ),
    Word(
        "min_norm",
        "head",
        "The least norm of a tensor's gradient, to which shorter ones are raised (boosted).",
        see=("boosted", "clip"),
    ),
    Word(
        "first bad",
        "head",
        "The first step, tensor and stage of a training at which a value was not finite; `run.replay(step)` does it "
        "again.",
        see=("non-finite", "not_finite"),
    ),
    Word(
        "sharpness",
        "head",
        "The largest eigenvalue of the loss's Hessian. Steps of plain descent are stable below 2 / lr.",
        "lambda_max(H)",
        see=("unstable", "edge_of_stability"),
    ),
    Word(
        "shattered gradients",
        "head",
        "Gradients of samples that are alike have become like noise to each other, as in deep nets without skips.",
        see=("gradient_correlation",),
        synonyms=("shattering",),
    ),
    Word(
        "theory",
        "head",
        "As a column: what an infinitely wide net of the recipe does, computed without drawing one.",
        see=("measured", "chi"),
    ),
    Word("measured", "head", "As a column: what the drawn nets did, to be set beside theory.", see=("theory", "seed")),
    Word(
        "median",
        "head",
        "Of a benchmark: the middle time over rounds, in microseconds a layer; min is the fastest round, spread the "
        "slowest over the fastest.",
        see=("ratio",),
        synonyms=("min", "spread"),
    ),
    Word(
        "ratio",
        "head",
        "Of a benchmark: a rival's time over vgcore's; above 1, vgcore is faster.",
        see=("median",),
        synonyms=("rival", "setting", "ratio of medians", "ratio of mins"),
    ),
    Word("shape", "head", "Of a benchmark: width, batch and depth of its nets.", see=("width", "depth")),
    Word(
        "now over then",
        "head",
        "Of two benchmarks: how long the second took, as a multiple of the first; below 1, it is faster. There is a "
        "difference where the noise of the rounds does not explain it.",
        see=("median",),
        synonyms=("then", "now", "difference"),
    ),
    # What a net is made of.
    Word("depth", "net", "The number of hidden layers.", see=("layer", "depth limit")),
    Word(
        "width",
        "net",
        "The number of units of a hidden layer. The narrower a deep net is, the more single nets differ.",
        see=("fan-in", "finite_width"),
    ),
    Word(
        "batch",
        "net",
        "The number of samples that a run is measured on, or that a step of a training sees.",
        see=("run",),
    ),
    Word(
        "activation",
        "net",
        "The function phi that bends what a layer's linear map gives; `vgcore kinds activation` lists all.",
        "a = phi(z)",
        see=("saturated", "gain"),
        synonyms=("phi",),
    ),
    Word(
        "init",
        "net",
        "How the weights are drawn; `vgcore kinds init` lists all with their laws.",
        see=("gain", "fan-in", "critical init"),
        synonyms=("initialisation", "initialization"),
    ),
    Word(
        "bias",
        "net",
        "What a layer adds to W h. Biases that are large against W h make samples alike.",
        "z = W h + b",
        see=("collapsed",),
    ),
    Word(
        "norm",
        "net",
        "A normalisation, which sets the size of a signal in every layer: batch, layer or rms; `vgcore kinds norm`.",
        see=("log10_affine_grad_norm",),
        synonyms=("normalisation", "normalization", "norm position", "final norm"),
    ),
    Word(
        "skip",
        "net",
        "A way around a block of layers, which lets signals pass whatever the block does; `vgcore kinds skip`.",
        "x + F(x)",
        see=("residual stream", "branch_scale"),
        synonyms=("residual", "skip connection"),
    ),
    Word(
        "residual stream",
        "net",
        "In a net with skips: what goes around the blocks, h, to which each block adds its part. Nets with skips are "
        "judged by it.",
        see=("skip", "log10_h_rms", "log10_dh_rms"),
    ),
    Word(
        "branch_scale",
        "net",
        "What the output of a residual branch is multiplied by; '1/sqrt(L)' keeps signals of L blocks within a factor "
        "of e.",
        "x + s F(x)",
        see=("skip",),
        synonyms=("branch",),
    ),
    Word("block", "net", "The layers between two ends of a skip.", see=("skip",), synonyms=("stem",)),
    Word(
        "weight_transform",
        "net",
        "What hidden weights go through before they are used; `vgcore kinds weight_transform`.",
        see=("init",),
    ),
    Word(
        "tied",
        "net",
        "All layers share one set of parameters, as the steps of a recurrent net do.",
        see=("log10_summed_wgrad_norm",),
        synonyms=("inputs", "recurrent"),
    ),
    Word(
        "readout",
        "net",
        "The last linear map, from the last hidden layer to the output. It has no activation.",
        see=("layer", "zero_readout"),
        synonyms=("out_features", "output"),
    ),
    Word(
        "optimizer",
        "net",
        "What is done to the weights with a gradient; `vgcore kinds optimizer`.",
        see=("lr",),
        synonyms=("optimiser",),
    ),
    Word("schedule", "net", "How the learning rate changes over the steps; `vgcore kinds schedule`.", see=("lr",)),
    Word(
        "dropout",
        "net",
        "Sets a share of a layer's outputs to 0 in every step of a training; measurements see the whole net.",
        see=("layer",),
    ),
    Word("in_features", "net", "The number of columns of the samples x.", see=("width",)),
    Word(
        "dtype",
        "net",
        "The format of numbers, float32 or float64. float16 and bfloat16 are judged, not computed in.",
        see=("float_range", "rounded"),
    ),
    Word(
        "fan-in",
        "net",
        "The number of inputs of a unit: columns of W. Fan-out is the number of rows.",
        "var(z) = fan_in var(W) mean(h^2)",
        see=("gain", "init"),
        synonyms=("fan-out", "fan out", "fan"),
    ),
    Word(
        "gain",
        "net",
        "What weights are multiplied by to make up for what the activation does to a signal's size; "
        "vg.calculate_gain gives it.",
        "std(W) = gain / sqrt(fan_in)",
        see=("fan-in", "init", "critical init"),
    ),
    # Theory.
    Word(
        "critical init",
        "theory",
        "Weights at the scale that keeps the size of gradients in wide nets: chi_1 = 1. init='critical' draws them.",
        "sigma_w^2 E phi'(z)^2 = 1",
        see=("edge of chaos", "chi", "gain"),
        synonyms=("critical scale", "criticality"),
    ),
    Word(
        "edge of chaos",
        "theory",
        "The line of (sigma_w, sigma_b) on which wide nets neither vanish nor explode: between the ordered phase, "
        "where samples become alike, and the chaotic one, where they become unlike.",
        "chi_1 = 1",
        see=("chi", "ordered", "chaotic", "critical init"),
        synonyms=("phase diagram", "phase", "critical line"),
    ),
    Word(
        "ordered",
        "theory",
        "The phase of small weights or large biases: gradients vanish, and all samples become alike.",
        "chi_1 < 1",
        "Larger weights or smaller biases: init='critical'.",
        ("chaotic", "edge of chaos", "collapsed", "vanishing"),
        ("ordered phase",),
    ),
    Word(
        "chaotic",
        "theory",
        "The phase of large weights: gradients explode, and samples that were nearly alike become unlike.",
        "chi_1 > 1",
        "Smaller weights: init='critical'.",
        ("ordered", "edge of chaos", "exploding"),
        ("chaos", "chaotic phase"),
    ),
    Word(
        "chi",
        "theory",
        "What a layer of a wide net multiplies the squared size of dL/dz by; its square root is the factor.",
        "chi_1 = sigma_w^2 E phi'(z)^2 at q*",
        see=("factor", "edge of chaos", "xi"),
        synonyms=("chi_1", "chi 1"),
    ),
    Word(
        "xi",
        "theory",
        "A depth scale: the number of layers over which something shrinks e-fold. xi_q is of the size of z, xi_c of "
        "the difference between samples, xi_grad of dL/dz. Nets deeper than about 6 xi_c did not train.",
        "xi_c = -1 / ln(slope of the map of c), xi_grad = 1 / ln chi_1",
        see=("chi", "correlation_collapse"),
        synonyms=("xi_q", "xi_c", "xi_grad", "depth scale"),
    ),
    Word(
        "sigma_w",
        "theory",
        "The standard deviation of weights times sqrt(fan_in), the scale of weights in mean-field theory; sigma_b is "
        "that of biases.",
        "W ~ N(0, sigma_w^2 / fan_in), b ~ N(0, sigma_b^2)",
        see=("edge of chaos", "gain"),
        synonyms=("sigma_b", "sigma"),
    ),
    Word(
        "q",
        "theory",
        "The variance of z in a wide net; q* is where it settles.",
        "q' = sigma_w^2 E phi(z)^2 + sigma_b^2",
        see=("chi", "c"),
        synonyms=("q*", "q star"),
    ),
    Word(
        "c",
        "theory",
        "The correlation of two samples in a wide net; c* is where it settles.",
        see=("correlation", "q", "xi"),
        synonyms=("c*", "c star"),
    ),
    # Words of texts and of lines of figures.
    Word(
        "gradient",
        "head",
        "How much the loss changes if a number changes a little. Training moves each weight against its gradient, so "
        "that a weight whose gradient is nearly 0 does not learn, and one whose gradient is huge is thrown about.",
        "dL/dW: the derivative of the loss L by the weights W",
        see=("vanishing", "exploding", "dL/dz", "backward"),
    ),
    Word(
        "sample",
        "head",
        "A row of x: one input of the net. Without data, samples are drawn from a standard normal distribution: each "
        "feature has mean 0 and variance 1.",
        see=("batch", "correlation"),
        synonyms=("standard normal sample",),
    ),
    Word(
        "unit",
        "net",
        "One of the numbers that a layer gives for a sample, also called a neuron; a layer has `width` of them.",
        see=("width", "dead"),
        synonyms=("neuron", "unit z"),
    ),
    Word(
        "momentum",
        "net",
        "A parameter of an optimiser: the share of its last step that it goes on with in the next.",
        see=("optimizer", "lr"),
    ),
    Word(
        "interval",
        "head",
        "The two numbers in brackets behind a factor: 95 % intervals over seeds, within which the factor of the recipe "
        "lies, as far as the measured runs tell.",
        see=("factor", "seed"),
        synonyms=("95 % interval", "confidence interval"),
    ),
    Word(
        "geometric mean",
        "head",
        "The mean of factors: the n-th root of their product. Multiplying by it n times does what the n factors do.",
        "(f_1 f_2 ... f_n)^(1/n)",
        see=("factor",),
    ),
    Word(
        "nearness",
        "head",
        "How near a net is to a verdict: the largest value of a rule over the threshold from which on it counts. 0 is "
        "far away, 1 is there.",
        see=("advise", "healthy"),
    ),
    Word(
        "cures",
        "head",
        "Whether a change makes a net healthy, with no rule above 0.8 of its threshold that was above all of it "
        "before, or does not say otherwise.",
        see=("nearness", "advise"),
    ),
    Word(
        "tried",
        "head",
        "How many nets were run in the search for changes, the net as it is among them.",
        see=("advise",),
    ),
    Word(
        "advise",
        "head",
        "The search for changes that cure a net: each one is made and the changed net measured. Changes that make the "
        "net healthy come first, and of those the ones that change the least of it.",
        see=("nearness", "cures", "depth limit"),
        synonyms=("advice",),
    ),
    Word(
        "stopped_by",
        "head",
        "Why the training of a seed ended: it had done its steps, a value was not finite, it was stopped early, or "
        "it was interrupted.",
        see=("non-finite",),
    ),
    Word(
        "no limit",
        "head",
        "As a depth limit: dL/dz stays within 32-fold at every depth that was tried or that its factor allows.",
        see=("depth limit", "32-fold"),
    ),
    Word(
        "100-fold",
        "head",
        "How far z may change from end to end before the verdict is vanishing or exploding forward: two decades.",
        "10^2",
        see=("32-fold", "forward"),
    ),
    Word(
        "float16",
        "head",
        "Numbers of 16 bits, as in mixed precision. The smallest is 6e-8 and the largest 65504, so that gradients "
        "become 0 or infinite in it early. bfloat16 has the range of float32 and fewer digits.",
        remedy="bfloat16, or loss scaling.",
        see=("float_range", "subnormal", "loss scaling"),
        synonyms=("bfloat16", "half precision", "mixed precision"),
    ),
    Word(
        "subnormal",
        "head",
        "A number so small that a dtype holds it with fewer digits: below 6e-5 in float16, below 1e-38 in float32.",
        see=("float16", "float_range"),
    ),
    Word(
        "loss scaling",
        "head",
        "The loss is multiplied by a large number before the way back and gradients are divided by it afterwards, so "
        "that small gradients do not become 0 in float16.",
        see=("float16",),
    ),
    Word(
        "finite-width band",
        "theory",
        "How far single nets of this width spread about the theory of infinitely wide nets, one standard deviation "
        "either way.",
        see=("typical", "finite_width"),
    ),
    Word(
        "order",
        "net",
        "Where activations stand in a block with a skip: `after` adds what has been activated, `linear` has no "
        "activation behind the last map of a block, `post` activates the sum, `pre` puts norm and activation before "
        "each map.",
        see=("skip",),
        synonyms=("after", "post", "pre"),
    ),
    Word(
        "first_nonfinite_layer",
        "column",
        "Of a frame or a file: the layer in which a value first was not finite, counted from 1; depth + 1 for readout "
        "or loss, 0 where all were finite.",
        see=("non-finite",),
    ),
    Word(
        "cell_id",
        "column",
        "Of a frame or a file: a hash of what the net is; equal nets have equal ids.",
        see=("cell",),
    ),
    # Sequences, attention and pretraining.
    Word(
        "BPTT",
        "recurrent",
        "Backpropagation through time: a recurrent net is unrolled into as many layers as a sequence has steps, all "
        "with one set of weights, and gradients go back through all of them. What a weight gets is the sum over the "
        "steps.",
        see=("truncated BPTT", "tied", "memory limit"),
        synonyms=("backpropagation through time", "unrolled"),
    ),
    Word(
        "truncated BPTT",
        "recurrent",
        "Backpropagation through time that is cut every k steps (truncate=k): it is cheaper, and nothing is learned "
        "of what lies before the cut.",
        see=("BPTT",),
        synonyms=("truncate", "truncated", "truncated backpropagation", "truncated backpropagation through time"),
    ),
    Word(
        "state",
        "recurrent",
        "What a recurrent net hands from step to step: h, and the cell c of an LSTM. dL/dstate stands for dL/dc of an "
        "LSTM, for dL/dh of all others.",
        see=("memory limit", "LSTM", "GRU"),
        synonyms=("hidden state", "dL/dstate", "dL/dh", "dL/dc", "cell state"),
    ),
    Word(
        "gate",
        "recurrent",
        "A number from 0 to 1 for each unit of a recurrent net, the sigmoid of W h + U x + b, that says how much "
        "passes.",
        see=("forget gate", "update gate", "mean by gate", "share by path"),
        synonyms=("input gate", "output gate", "reset gate", "candidate"),
    ),
    Word(
        "forget gate",
        "recurrent",
        "The gate f of an LSTM, which says how much of the cell stays. Back through time dL/dc is multiplied by it in "
        "every step.",
        formula="c' = f * c + i * g",
        remedy="A forget_bias of 1 or 2, or bias='chrono(T)'.",
        see=("forgetting", "time constant", "forget bias"),
    ),
    Word(
        "update gate",
        "recurrent",
        "The gate z of a GRU, which says how much of h stays, as in torch and Keras: 1 keeps all of it.",
        formula="h' = (1 - z) * n + z * h",
        remedy="An update_bias of 1 to 4, or bias='chrono(T)'.",
        see=("forgetting", "time constant", "forget bias"),
    ),
    Word(
        "forget bias",
        "recurrent",
        "What is added to the biases of the forget gate as a net starts (forget_bias), or to those of a GRU's update "
        "gate (update_bias), so that the state is kept. It is added once, however many biases a gate has.",
        see=("forget gate", "update gate", "chrono"),
        synonyms=("update bias",),
    ),
    Word(
        "chrono",
        "recurrent",
        "Biases, by bias='chrono(T)', of the gate that keeps the state, f of an LSTM and z of a GRU, drawn so that "
        "units remember for 1 to T steps at first; those of an LSTM's input gate have the other sign (Tallec and "
        "Ollivier 2018, arXiv:1804.11188).",
        formula="b_f = ln u, u ~ U(1, T - 1), b_i = -b_f",
        see=("forget bias", "time constant", "memory limit", "forgetting"),
        synonyms=("chrono init", "chrono initialisation"),
    ),
    Word(
        "time constant",
        "recurrent",
        "The steps in which a gate that keeps the state leaves 1/e of it, or a gradient falls to 1/e.",
        formula="-1 / ln f",
        see=("forget gate", "memory limit"),
    ),
    Word(
        "LSTM",
        "recurrent",
        "Long short-term memory: a recurrent cell with a state c that no matrix stands in the way of, and gates that "
        "write, keep and read it (Hochreiter and Schmidhuber 1997).",
        formula="c' = f * c + i * g, h' = o * tanh(c')",
        see=("forget gate", "gate", "GRU"),
        synonyms=("long short term memory",),
    ),
    Word(
        "GRU",
        "recurrent",
        "Gated recurrent unit: a recurrent cell with two gates and no state but h (Cho et al. 2014).",
        formula="h' = (1 - z) * n + z * h",
        see=("update gate", "gate", "LSTM"),
        synonyms=("gated recurrent unit",),
    ),
    Word(
        "IRNN",
        "recurrent",
        "A recurrent ReLU net that starts from W = I, so that its state and its gradient stay as they are (Le, Jaitly "
        "and Hinton 2015).",
        formula="h' = relu(W h + U x + b), W = I",
        see=("LSTM",),
    ),
    Word(
        "recurrent_init",
        "recurrent",
        "How the weights W of a recurrent net are drawn, which stand between the states of two steps; `init` is of "
        "the weights U, which its inputs meet.",
        formula="z = W h + U x + b",
        see=("init", "state"),
        synonyms=("recurrent weight",),
    ),
    Word(
        "chance",
        "recurrent",
        "What the best outputs that do not look at the sequence come to: a net at chance has learnt nothing, however "
        "its loss fell to there.",
        see=("blind guess",),
        synonyms=("chance level",),
    ),
    Word(
        "attention",
        "attention",
        "Each token gets a mean of the values of all tokens, weighted by how well its query fits their keys (Vaswani "
        "et al. 2017).",
        formula="softmax(q k^T / sqrt(r)) v, r the features of a head",
        see=("token", "query", "head", "attention_entropy"),
        synonyms=("self attention",),
    ),
    Word(
        "token",
        "attention",
        "One of the vectors of a sample of a transformer: a word, a patch, a step.",
        see=("token_correlation", "attention"),
    ),
    Word(
        "query",
        "attention",
        "What a token looks for, q = W_Q h. Keys, k = W_K h, are what tokens are found by, values, v = W_V h, what "
        "they give.",
        see=("attention", "size by gate"),
        synonyms=("key", "value", "W_Q", "W_K", "W_V"),
    ),
    Word(
        "logit",
        "attention",
        "The number that says how well a query fits a key, before the softmax makes shares of all logits of the query.",
        formula="q . k / sqrt(r)",
        see=("logit_std", "attention_entropy"),
        synonyms=("softmax",),
    ),
    Word(
        "head",
        "attention",
        "A share of the width that attends by itself, with logits of its own.",
        see=("attention",),
    ),
    Word(
        "pre-LN",
        "attention",
        "Norms stand before the branches (norm_position='pre'), and the stream goes by them untouched. It needs a "
        "last norm.",
        formula="x + F(LN(x))",
        see=("post-LN", "residual stream", "no_final_norm"),
        synonyms=("prenorm", "pre layer norm"),
    ),
    Word(
        "post-LN",
        "attention",
        "Norms stand behind the sums (norm_position='post'), as in the first transformer. Deep nets of this kind need "
        "a warm-up, and their tokens become alike.",
        formula="LN(x + F(x))",
        see=("pre-LN", "deep_post_norm", "rank_collapse"),
        synonyms=("postnorm", "post layer norm"),
    ),
    Word(
        "DeepNorm",
        "attention",
        "Post-LN in which the stream counts more, with smaller weights in the branches (Wang et al. 2022).",
        formula="LN((2 depth)^(1/4) x + F(x))",
        see=("post-LN",),
    ),
    Word(
        "ReZero",
        "attention",
        "A skip whose branch is multiplied by a learned factor that is 0 at first: at the start only the factors have "
        "a gradient.",
        formula="x + alpha F(x)",
        see=("skip",),
    ),
    Word(
        "sublayer",
        "attention",
        "A half of a block of a transformer, attention or the two maps of a token. A row of a probe is a map, four a "
        "block.",
        see=("block", "residual stream"),
        synonyms=("map", "feed forward"),
    ),
    Word(
        "pretraining",
        "pretraining",
        "The hidden layers are trained one by one, each on what the layer below makes of the samples, before the "
        "whole net is trained (Hinton et al. 2006; Bengio et al. 2007); `vgcore kinds pretrain`.",
        see=("Boltzmann machine", "denoising autoencoder", "deep belief net"),
        synonyms=("layer wise pretraining", "greedy", "greedy pretraining"),
    ),
    Word(
        "Boltzmann machine",
        "pretraining",
        "Restricted: two sides of binary units, visible and hidden, with weights between the sides alone; what has a "
        "low energy is likely.",
        formula="E(v, h) = -b.v - c.h - h.W v",
        see=("contrastive divergence", "free energy"),
        synonyms=("restricted Boltzmann machine", "RBM", "energy"),
    ),
    Word(
        "contrastive divergence",
        "pretraining",
        "How a Boltzmann machine learns: units that are on together in the data are tied more, those on together "
        "after k steps of Gibbs sampling less.",
        formula="dW = <h v> of the data - <h v> after k steps",
        see=("Boltzmann machine",),
        synonyms=("CD", "CD-k", "persistent", "PCD", "Gibbs sampling", "persistent contrastive divergence"),
    ),
    Word(
        "free energy",
        "pretraining",
        "The energy of a visible row with all hidden rows summed over; the free energy gap is its mean over rows held "
        "out less that over rows learnt from, and grows where rows are learnt by heart.",
        formula="F(v) = -b.v - sum ln(1 + exp(c + W v))",
        see=("Boltzmann machine",),
        synonyms=("free energy gap",),
    ),
    Word(
        "pseudo-likelihood",
        "pretraining",
        "How likely each unit of a row is, given all others: an estimate of the likelihood that needs no sum over all "
        "states.",
        formula="sum of ln p(v_i | all others)",
        see=("free energy",),
    ),
    Word(
        "reconstruction error",
        "pretraining",
        "The mean squared difference of a row and what a layer makes of it on the way there and back. It is no "
        "likelihood.",
        see=("pseudo-likelihood", "denoising autoencoder"),
        synonyms=("reconstruction",),
    ),
    Word(
        "denoising autoencoder",
        "pretraining",
        "A layer that learns to restore its input after a share of it was set to 0 (Vincent et al. 2010).",
        see=("pretraining",),
        synonyms=("autoencoder",),
    ),
    Word(
        "deep belief net",
        "pretraining",
        "Boltzmann machines one above the other; the top one is sampled, and what it draws goes down through the "
        "layers.",
        see=("Boltzmann machine", "pretraining"),
        synonyms=("DBN",),
    ),
)

#: Parts of the longest text that is looked up.
MOST = 12
#: Every word but the names of rules, which say of themselves what they are.
WORDS: dict[str, Word] = {word.name: word for word in _WORDS}


def normal(text: str) -> str:
    """A word as it is looked up: no case, no hyphens, no brackets, no plural, and a size by its name without `log10`.

    >>> normal("Vanishing_Gradients"), normal("log10_delta_rms"), normal("fan-outs")
    ('vanishing gradient', 'delta rms', 'fan out')
    """
    words = re.sub(r"[\s_(),:;-]+", " ", text.lower()).strip().removeprefix("log10 ").split()
    return " ".join(re.sub(r"(?<=ss)es$|(?<=..[^su])s$", "", word) for word in words)


def find(text: str, words: Iterable[Word] = _WORDS) -> tuple[Word, ...]:
    """The words of this name or synonym, those of the name first; of several in a row, such as a verdict, each.

    >>> [word.name for word in find("Vanishing gradients")], find("gibberish")
    (['vanishing'], ())
    >>> [word.name for word in find("vanishing (backward), dead")]
    ['vanishing', 'backward', 'dead']
    """
    known: dict[str, list[Word]] = {}
    listed = list(words)
    for word in listed:
        known.setdefault(normal(word.name), []).append(word)
    for word in listed:
        for synonym in {*map(normal, word.synonyms)} - {normal(word.name)}:
            known.setdefault(synonym, []).append(word)
    parts = normal(text).split()
    return (_row(parts, known) if len(parts) <= MOST else None) or ()


def _row(parts: list[str], known: Mapping[str, list[Word]]) -> tuple[Word, ...] | None:
    """What parts of a text stand for, the longest first; None where one of them is unknown."""
    if not parts:
        return ()
    for end in range(len(parts), 0, -1):
        here = known.get(" ".join(parts[:end]), [])
        rest = _row(parts[end:], known) if here else None
        if rest is not None:
            return (*here, *rest)
    return None
