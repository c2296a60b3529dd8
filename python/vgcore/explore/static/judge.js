/**
 * The verdict on a net of the explorer: that of Python's `vg.diagnose`, letter by letter, on the same columns.
 *
 * The twin of python/vgcore/judge for the nets that a request can name: plain layers with or without a normalisation, a
 * skip and a readout. All weights are drawn at random, so no layer starts at 0, and no two units are equal. A probe
 * carries exponents of its own: no gradient of it is lost. Thresholds and constants come from Python, as `RULES`
 * (explore/rules.py). Sizes are log10, rows are runs (seeds), columns are layers, input side first.
 *
 * @typedef {number[][]} Rows
 *
 * @typedef {object} Judgement
 * @property {string} verdict
 * @property {?string} direction  "forward", "backward", "both"; null where no signal moves.
 * @property {string[]} conditions
 * @property {number} confidence  Share of the runs.
 * @property {string} word  Verdict, direction and conditions.
 * @property {string} summary  One sentence.
 * @property {string} depth_limit  How deep the recipe can go, in words; empty where nothing is known of it.
 */

import {
  columnMeans, countText, finite, foldText, generalText, known, largest, meanOf, medianOf, numberOf, powerText,
  spreadOf, tenTo, transposed,
} from "./numbers.js";

/** Python's words for the moves of a signal, by the sign of its change. */
const MOVES = { "-1": "vanishing", 1: "exploding" };

/** The columns that are looked at. */
const COLUMNS = ["log10_z_rms", "log10_h_rms", "log10_delta_rms", "log10_dh_rms", "log10_wgrad_norm",
  "log10_bgrad_norm", "log10_gate_grad_norm", "saturated", "dead", "correlation", "effective_rank"];

/**
 * Judge what has been measured.
 * @param {object} measured  `request`, `columns` and `first_nonfinite` of a reply, and `loss_value`, of each run, there
 *   or among the columns: nan and infinities as numbers, or as null, "inf" and "-inf".
 * @param {object} rules  What `vgcore.explore.rules.rules()` gives.
 * @returns {Judgement}
 */
export function judge(measured, rules) {
  const e = new Evidence(measured, rules);
  const said = concluded(e);
  const limit = depthLimit(e);
  const confidence = confidenceOf(e, said);
  return {
    verdict: said.verdict,
    direction: said.direction,
    conditions: said.conditions,
    confidence,
    word: wordOf(said),
    summary: summed(e, said, limit, confidence),
    depth_limit: limit === null ? "" : limitText(limit, e.name("backward")),
  };
}

/**
 * What a request says of the layers of its net, and no size shows.
 *
 * outputs: numbers that each layer hands on; streams: whether the signals are those of a stream that passes around
 * branches; knowsDepth: whether the weights of a layer depend on how many layers there are; responsive: share of
 * standard normal z where the activation is not flat; blind: the loss of the best constant output, nan without a loss;
 * correlation and alignment: of the samples, the mean cosine of two and how far all lie on one line.
 */
export function factsOf(request, rules) {
  const { depth, width, skip } = request;
  const kind = rules.activations[request.activation];
  const data = rules.data[request.data];
  const columns = data.columns ?? width;
  const handed = width * kind.outputs;
  return {
    outputs: Array.from({ length: depth }, (_, at) => (skip === "dense" ? columns + (at + 1) * handed : handed)),
    streams: skip !== "none",
    knowsDepth: rules.inits[request.init].knows_depth,
    responsive: kind.responsive,
    blind: data.blind ?? NaN,
    correlation: data.correlation,
    alignment: data.alignment ?? 1 / columns,
  };
}

// Evidence: python/vgcore/judge/evidence.py.

/** What happens to a signal from end to end: `rms` over nets, `typical` of one, and the change of each run. */
class Change {
  constructor(rms, typical, runs) {
    Object.assign(this, { rms, typical, runs });
  }

  /** The root mean square; of growth, no more than most runs show. */
  get shown() {
    if (!(this.rms > 0)) return this.rms;
    return Math.min(this.rms, largest([0, this.typical, medianOf(this.runs.filter(known))]));
  }

  /** Decades by which a typical net lies below the root mean square. */
  get drift() {
    return finite(this.rms) ? this.rms - this.typical : 0;
  }

  static unknown(runs) {
    return new Change(NaN, NaN, Array(runs).fill(NaN));
  }

  /** Of log10 sizes, runs by layers, in order of travel. */
  static of(sizes) {
    const runs = sizes.map((row) => {
      const moved = row.at(-1) - row[0];
      if (row.at(-1) === -Infinity) return -Infinity;
      return moved === Infinity ? NaN : moved; // a size beyond all numbers, or one that was 0 before, has no factor
    });
    const seen = runs.filter(known).length;
    const there = runs.map(finite);
    const moved = runs.filter(finite);
    if (!seen) return Change.unknown(runs.length);
    if (2 * moved.length <= seen) return new Change(-Infinity, -Infinity, runs);
    const typical = meanOf(moved);
    if (moved.length === 1) return new Change(typical, typical, runs);
    const spread = spreadOf(moved);
    const most = largest(moved) + (spread < 1 ? spread / 2 : 0);
    return new Change(Math.min(typical + drifts(sizes.filter((_, run) => there[run])).at(-1), most), typical, runs);
  }
}

/** ln(10) times the variance over runs of log10 changes, from the first layer to each layer. */
function drifts(sizes) {
  const steps = sizes.map((row) =>
    row.slice(1).map((size, at) => (finite(size - row[at]) ? size - row[at] : 0)));
  const sum = (values) => values.reduce((all, value) => all + value, 0);
  const apart = transposed(steps).map((column) => {
    const mean = sum(column) / column.length;
    return column.map((value) => value - mean);
  });
  let whole = 0;
  const variances = [0];
  apart.forEach((column, at) => {
    let own = sum(column.map((value) => value ** 2));
    for (const lag of [1, 2]) {
      if (at >= lag) own += 2 * sum(column.map((value, run) => value * apart[at - lag][run]));
    }
    whole += own;
    variances.push(whole / Math.max(sizes.length - 1, 1));
  });
  return variances.map((variance) => Math.LN10 * Math.max(variance, 0));
}

class Evidence {
  constructor(measured, rules) {
    this.rules = rules;
    this.request = measured.request;
    this.facts = factsOf(measured.request, rules);
    this.depth = this.request.depth;
    this.steps = this.depth - 1;
    this.runs = measured.first_nonfinite.length;
    this.bad = measured.first_nonfinite;
    /** The layers where runs were first not finite, one for each such run. */
    this.nonfinite = this.bad.filter((layer) => layer >= 0);
    this.losses = Array.from(measured.columns.loss_value ?? measured.loss_value ?? [], numberOf);
    this.columns = Object.fromEntries(COLUMNS.filter((name) => measured.columns[name]).map((name) =>
      [name, measured.columns[name].map((row) => Array.from(row, numberOf))]));

    const { streams, outputs } = this.facts;
    const back = this.values(streams ? "log10_dh_rms" : "log10_delta_rms");
    const norm = (size, at) => size + Math.log10(streams ? outputs[at] : this.request.width) / 2;
    /** log10 sizes of the signals, runs by layers: on the way back they are norms. */
    this.sizes = {
      forward: this.aligned(this.values(streams ? "log10_h_rms" : "log10_z_rms")),
      backward: this.aligned(back.map((row) => row.map(norm))),
    };
    this.weights = this.values("log10_wgrad_norm");
    this.backward = this.backwardChange();
    this.forward = this.forwardChange();
  }

  /** A column; nan where it is not there. */
  values(name) {
    return this.columns[name] ?? Array.from({ length: this.runs }, () => Array(this.depth).fill(NaN));
  }

  /** Of a stream, a layer whose size nobody knows counts as the next one that is known. */
  aligned(rows) {
    if (!this.facts.streams) return rows;
    const there = transposed(rows).flatMap((column, at) => (column.some(known) ? [at] : []));
    if (!there.length) return rows;
    const at = Array.from({ length: this.depth }, (_, layer) => there.find((each) => each >= layer) ?? there.at(-1));
    return rows.map((row) => at.map((layer) => row[layer]));
  }

  /** The threshold from which on a rule counts. */
  decisive(id) {
    return this.rules.rules.find((rule) => rule.id === id).decisive;
  }

  /** What a signal is called. */
  name(signal) {
    const letter = this.facts.streams ? "h" : "z";
    return signal === "forward" ? letter : `dL/d${letter}`;
  }

  /** So many layers, in words. */
  units(layers) {
    return layers === 1 ? "1 layer" : `${layers} layers`;
  }

  /** Whether any parameter of a layer has a gradient that is not 0, or none is known, run by run. */
  get learns() {
    const norms = ["log10_wgrad_norm", "log10_bgrad_norm", "log10_gate_grad_norm"].map((name) => this.values(name));
    return Array.from({ length: this.runs }, (_, run) => {
      const all = norms.flatMap((rows) => rows[run]);
      return all.some(finite) || !all.some(known);
    });
  }

  /** Whether a backward signal gets to the first layer in most runs, whatever learns from it. */
  get passes() {
    return 2 * this.sizes.backward.filter((row) => finite(row[0])).length > this.runs;
  }

  /** From the last layer to the first. */
  backwardChange() {
    const { learns } = this;
    // A signal that nothing learns from does not arrive.
    const heard = (run, size) => (learns[run] || this.bad[run] >= 0 ? size : -Infinity);
    return Change.of(this.sizes.backward.map((row, run) => row.map((size) => heard(run, size)).reverse()));
  }

  /** From the first layer to the last; the first layers count little: they take the data to their own scale. */
  forwardChange() {
    const whole = Change.of(this.sizes.forward);
    if (this.steps < 4) return whole;
    const from = this.steps >> 1;
    const half = Change.of(this.sizes.forward.map((row) => row.slice(from)));
    const bulk = this.steps / (this.steps - from);
    const steady = new Change(bulk * half.rms, bulk * half.typical, half.runs.map((run) => bulk * run));
    if (finite(whole.rms) && whole.rms * steady.rms <= 0) return new Change(0, 0, Array(this.runs).fill(0));
    return Math.abs(steady.rms) < Math.abs(whole.rms) ? steady : whole;
  }
}

// What the rules measure: python/vgcore/judge/rules. nan and -Infinity say that a rule finds nothing.

/** Decades by which a signal moves up (sign 1) or down (-1). */
const moves = (signal, sign) => (e) => sign * e[signal].shown;

/** Share of responsive units lost in the worst layer, against standard normal z. */
function saturation(e) {
  return largest(columnMeans(e.values("saturated")).map((flat) => 1 - (1 - flat) / e.facts.responsive));
}

/** Share of units of the worst layer that are 0 for every sample; one that is 0 on a slope learns. */
function deadUnits(e) {
  const flat = columnMeans(e.values("saturated"));
  return largest(columnMeans(e.values("dead")).map((share, at) => Math.min(share, flat[at])));
}

/** e-folds by which 1 - cosine of two samples shrinks. */
function correlationCollapse(e) {
  const mean = columnMeans(e.values("correlation")).map((cosine) => Math.max(1 - cosine, e.rules.resolution));
  return Math.log(Math.max(1 - e.facts.correlation, mean[0]) / mean.at(-1));
}

/** How far the samples lie on one line in the worst layer, beyond x. */
function rankCollapse(e) {
  const { batch } = e.request;
  if (batch < 4) return NaN; // so few say nothing
  const [ranks, cosines] = [e.values("effective_rank"), e.values("correlation")];
  let units = Infinity;
  const entered = e.facts.outputs.slice(0, -1).map((outputs) => {
    units = Math.min(units, outputs);
    return Math.max(e.facts.alignment, 1 / units);
  });
  // The rank of h_l and the cosines of z_(l+1) = W h_l are of the same samples.
  const spread = ranks.map((row, run) =>
    entered.map((least, at) =>
      (least < 1 ? 1 - (1 - ((batch / row[at] - 1) / (batch - 1) - cosines[run][at + 1] ** 2)) / (1 - least) : NaN)));
  return e.steps ? largest(columnMeans(spread)) : NaN;
}

/** The loss at the start in units of a blind guess. */
function firstLoss(e) {
  if (e.losses.some((loss) => Math.abs(loss) === Infinity)) return Infinity;
  return e.losses.length ? meanOf(e.losses) / e.facts.blind : NaN;
}

/** By id: what a rule measures. */
const CHECKS = {
  backward_vanishing: moves("backward", -1),
  backward_exploding: moves("backward", 1),
  forward_vanishing: moves("forward", -1),
  forward_exploding: moves("forward", 1),
  saturation,
  dead_units: deadUnits,
  correlation_collapse: correlationCollapse,
  rank_collapse: rankCollapse,
  first_loss: firstLoss,
  non_finite: (e) => (e.nonfinite.length ? e.nonfinite.length / e.runs : NaN),
  finite_width: (e) => e.backward.drift,
};

// The verdict: python/vgcore/judge/verdict.py and diagnose.py.

function concluded(e) {
  const { rules, sameness, flat, most_runs: mostRuns } = e.rules;
  const values = Object.fromEntries(rules.map((rule) => [rule.id, CHECKS[rule.id](e)]));
  const decisive = rules.filter((rule) => values[rule.id] >= rule.decisive);
  let conditions = [...new Set(decisive.flatMap((rule) => rule.condition ?? []))];
  let words = Object.fromEntries(
    decisive.filter((rule) => rule.signal).map((rule) => [rule.signal, MOVES[rule.sign]]));
  const limit = -e.decisive("backward_vanishing");
  const speaks = (id) => decisive.some((rule) => rule.id === id);
  const wide = speaks("finite_width") && e.backward.typical <= limit;
  const fade = e.backward.runs.filter((run) => run <= limit).length / e.runs >= mostRuns;
  const typical = !("backward" in words) && (wide || fade);
  if (typical) words.backward = MOVES[-1];
  if (2 * e.nonfinite.length >= e.runs) {
    // Where z was finite up to the end, it was the way back that was not.
    const sizes = e.values("log10_z_rms");
    const back = e.bad.flatMap((layer, run) => (layer < 0 ? [] : [finite(sizes[run].at(-1)) && layer < e.depth]));
    words = Object.fromEntries(Object.entries(words).filter(([, word]) => word === MOVES[1]));
    if (back.some((each) => each)) words.backward = MOVES[1];
    if (!back.every((each) => each)) words.forward = MOVES[1];
  }
  // No factor from layer to layer is there to tell it.
  if (!Object.keys(words).length && !e.steps && values.saturation >= flat) words.backward = MOVES[-1];
  const alike = speaks("correlation_collapse");
  if (!Object.keys(words).length) {
    const same = rules.find(
      (rule) => sameness.includes(rule.condition) && values[rule.id] >= rule.thresholds.critical);
    return { verdict: same?.condition ?? "healthy", direction: null, conditions, alike, typical: false };
  }
  // An output that has grown or faded on its way is what the verdict says.
  const offScale = rules.find((rule) => rule.id === "first_loss").condition;
  conditions = conditions.filter((word) => word !== offScale);
  const verdict = words.backward ?? words.forward;
  const directions = Object.keys(words).filter((signal) => words[signal] === verdict);
  const direction = directions.length === 2 ? "both" : directions[0];
  return { verdict, direction, conditions, alike, typical };
}

function wordOf({ verdict, direction, conditions }) {
  const first = direction === null ? verdict : `${verdict} (${direction})`;
  return [first, ...conditions.filter((word) => word !== verdict)].join(", ");
}

/** Share of the runs whose own change has the verdict; those that were not finite have exploded. */
function confidenceOf(e, { verdict, direction }) {
  if (e.rules.sameness.includes(verdict)) return 1;
  if (!e.steps && direction === "backward" && Math.abs(e.backward.rms) !== Infinity) return 1;
  const signal = direction === "forward" ? "forward" : "backward";
  const [low, high] = ["vanishing", "exploding"].map((word) => e.decisive(`${signal}_${word}`));
  const own = e[signal].runs.map((run, at) => {
    const change = e.bad[at] >= 0 ? Infinity : run;
    return change <= -low ? MOVES[-1] : change >= high ? MOVES[1] : "healthy";
  });
  return own.filter((word) => word === verdict).length / e.runs;
}

function summed(e, said, limit, confidence) {
  const moved = (signal, rms) => {
    const name = e.name(signal);
    if (!finite(rms)) {
      return signal === "backward" && e.passes ? "no hidden layer has a gradient" : `${name} does not arrive at all`;
    }
    const layers = e.units(e.depth);
    if (Math.abs(rms) < Math.log10(2)) return `${name} keeps its size over ${layers}`;
    const factor = generalText(tenTo(rms / e.steps), 3);
    const verb = rms > 0 ? "grows" : "shrinks";
    return `${name} ${verb} ${powerText(Math.abs(rms))}-fold over ${layers} (x${factor} a layer)`;
  };

  const parts = [];
  const { backward, forward, nonfinite } = e;
  if (nonfinite.length) {
    const ends = [...new Set([Math.min(...nonfinite), Math.max(...nonfinite)])];
    const where = ends.map((at) => (at < e.depth ? `layer ${at + 1}` : "the readout")).join(" to ");
    const verb = nonfinite.length === 1 ? "is" : "are";
    parts.push(`${nonfinite.length} of ${e.runs} runs ${verb} not finite from ${where} on`);
  }
  const told = known(backward.rms) && (e.steps > 0 || !finite(backward.rms));
  if (told && (said.direction !== "forward" || !parts.length)) {
    // A typical net is told of where it is what fades, or the mean of a healthy one grows by few nets.
    const typical = said.typical || (said.verdict === "healthy" && backward.rms > 0 && backward.typical < 0);
    parts.push(moved("backward", typical ? backward.typical : backward.shown) + (typical ? " in a typical net" : ""));
  }
  if (["forward", "both"].includes(said.direction) && known(forward.rms) && (e.steps || !finite(forward.rms))) {
    parts.push(moved("forward", forward.shown));
  }
  if (said.direction === "backward" && !e.steps && !told) parts.push("its one layer is flat");
  if (said.conditions.includes("collapsed")) parts.push(`all inputs end up ${said.alike ? "alike" : "on one line"}`);
  if (!parts.length) parts.push("one layer has no factor");
  if (limit !== null && said.verdict !== "healthy" && limit.value < e.depth) {
    parts.push(`${limitUnits(limit)} would stay within ${foldText(limit.factor)}`);
  }
  if (confidence <= e.rules.undecided) parts.push(`not decided: ${Math.round(confidence * e.runs)} of ${e.runs} runs`);
  return `${wordOf(said)}: ${parts.join("; ")}`;
}

// The depth limit: python/vgcore/judge/depth_limit.py.

/** How many layers the recipe can have before dL/dz has changed too much; null where nothing tells. */
function depthLimit(e) {
  if (e.facts.knowsDepth) return null;
  const deltas = e.sizes.backward.filter((row) => row.every(finite));
  if (e.depth < 2 || !deltas.length || !finite(e.backward.rms)) return null;
  const runs = deltas.map((row) => row.map((size) => row[0] - size));
  const mean = columnMeans(runs);
  const drifted = runs.length > 1 ? drifts(runs) : mean.map(() => 0);
  const [down, up] = [e.decisive("backward_vanishing"), e.decisive("backward_exploding")];
  const widest = e.decisive("finite_width");
  const faded = mean.map((each, at) => Math.max(each, (-drifted[at] * down) / widest));
  const curves = [mean.map((each, at) => each + drifted[at]), faded.map((each) => Math.min(each, 0))];
  const ways = curves.map((curve) => reach(curve, runs, down, up, e.rules));
  const [value, low, high] = [0, 1, 2].map((end) => Math.min(ways[0][end], ways[1][end]));
  return { value, low, high, factor: tenTo(curves[0].at(-1) > 0 ? up : down), measured: value < e.depth };
}

/** The largest depth before a change passes a limit, and the ends of its 95 % interval. */
function reach(curve, runs, down, up, { longest, student }) {
  const [depth, count, last] = [curve.length, runs.length, curve.at(-1)];
  const middle = (depth - 1) >> 1;
  const pace = (last - curve[middle]) / (depth - 1 - middle);
  /** Where a line from here meets the limit that it runs toward; a pace so small that no net is as deep is rounding. */
  const ahead = (at, slope) => {
    if (slope === 0) return Infinity;
    const more = Math.max(slope > 0 ? (up - at) / slope : -(at + down) / slope, 0);
    return more < longest ? depth + Math.floor(more) : Infinity;
  };
  const first = (beyond, ...lines) => {
    const at = curve.findIndex(beyond);
    return at >= 0 ? at : Math.min(...lines.map((line) => ahead(...line)));
  };
  const value = first((at) => at >= up || at <= -down, [last, pace]);
  if (count < 2) return [value, NaN, NaN];
  const wide = student[count - 2] / Math.sqrt(count);
  const half = transposed(runs).map((column) => wide * spreadOf(column));
  const doubt = (wide * spreadOf(runs.map((row) => row.at(-1) - row[middle]))) / (depth - 1 - middle);
  const above = [last + half.at(-1), pace + doubt];
  const below = [last - half.at(-1), pace - doubt];
  const low = first((at, layer) => at + half[layer] >= up || at - half[layer] <= -down, above, below);
  // Where it is open to which side the signal runs, it may run to neither.
  let high = first((at, layer) => at - half[layer] >= up || at + half[layer] <= -down, [last, 0]);
  if (high === Infinity && Math.abs(pace) > doubt) high = Math.max(value, ahead(...above), ahead(...below));
  return [value, Math.min(low, value), Math.max(high, value)];
}

function limitUnits({ value }) {
  return finite(value) ? `${countText(value)} layer${value === 1 ? "" : "s"}` : countText(value);
}

function limitText(limit, signal) {
  const interval = finite(limit.low) ? ` (${countText(limit.low)} to ${countText(limit.high)})` : "";
  const within = `${signal} within ${foldText(limit.factor)}`;
  if (!finite(limit.value)) return `no limit${interval}; nets of any depth keep ${within}`;
  const how = limit.measured ? "" : ", carried on from the depth measured";
  return `${limitUnits(limit)}${interval} ${limit.value === 1 ? "keeps" : "keep"} ${within}${how}`;
}
