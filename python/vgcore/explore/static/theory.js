/**
 * What a probe will measure, without drawing a net: the twin of `vgcore.theory.predict` for the requests of the page.
 *
 * A signal on its way through a wide net is three numbers, a `Wave`. The integrals are the core's; what the parts of a
 * layer do to a wave, and to its gradient on the way back, stands here as in parts.py, and the finite width as in
 * width.py. A test holds each number and each sentence to Python's.
 *
 * @typedef {object} Wave
 * @property {number} size  Mean square of a feature of a sample.
 * @property {number} pair  Mean product of a feature of two samples.
 * @property {number} mean  Mean of the features of a sample.
 * @property {boolean} normal  Do features have a normal law? Then their mean is 0.
 *
 * @typedef {object} Theory  Logarithms to base 10, by layer; NaN where theory has no number.
 * @property {{mean: number[]}} forward  Root mean squares of z.
 * @property {{mean: number[], drift: number[], std: number[]}} backward  Those of dL/dz; how far a typical net lies
 *   above, by the width, and how far nets differ, 1 standard deviation.
 * @property {{mean: number[]}} weight  Norms of dL/dW.
 * @property {string} why  Why there are no `drift` and `std`; empty where there are.
 */

import { generalText } from "./numbers.js";

/** Laws of weights that are independent, or nearly so in a wide net. */
const LAWS = ["constant", "uniform", "normal", "truncated_normal", "orthogonal"];
/** Below, means of 1 / variance over batches are carried by rare nets. */
const LEAST_BATCH = 6;
/** The largest share by which variations of q may change a mean in a layer: above, first order is not enough. */
const MOST_CURVED = 0.05;
/** What a norm adds to a variance, as the core does. */
const EPS = 1e-5;

/** Why there is none of nets that are measured, or trained, on data. */
const OF_NOISE = "theory is of random samples and a random gradient at the output, not of spirals and their loss";

/** What theory does not cover. */
class Uncovered extends Error {
  constructor(what) {
    super(`theory does not cover ${what}`);
  }
}

const wave = (size, pair, mean = 0, normal = false) => ({ size, pair, mean, normal });

/** All squares times a factor. */
const times = (v, factor) => wave(v.size * factor, v.pair * factor, v.mean * Math.sqrt(factor), v.normal);

/** Features added, which are independent but for their means, the second ones times a number. */
function plus(v, other, scale = 1) {
  const both = 2 * scale * v.mean * other.mean;
  return wave(v.size + scale ** 2 * other.size + both, v.pair + scale ** 2 * other.pair + both,
    v.mean + scale * other.mean, v.normal && other.normal);
}

/** The signal less the mean of each sample's features. */
function centred(v) {
  if (v.size - v.mean ** 2 < 1e-9 * v.size) {
    throw new Uncovered("features that are alike but for rounding, whose mean is taken away");
  }
  return wave(v.size - v.mean ** 2, v.pair - v.mean ** 2, 0, v.normal);
}

const unchanged = (g) => g;

/** A net on its way through: the parts of its layers, which leave their ways back. */
class Net {
  constructor(request, core) {
    this.core = core;
    this.init = request.init;
    this.batch = request.batch;
    const plan = core.plan(request);
    this.calibrates = plan.calibrates;
    this.ends = plan.ends;
    this.layers = plan.layers.map(({ input, output, steps }) => {
      const { map } = steps.find((step) => step.part === "map");
      const activations = steps.filter((step) => step.part === "activation");
      return { input, output, steps, map, width: map.fan_out, activation: activations.at(-1)?.kind ?? "linear" };
    });
    const steps = [...this.layers.flatMap((layer) => layer.steps), ...this.ends];
    this.normed = steps.some((step) => step.part === "norm");
    this.joins = steps.some((step) => step.part === "join");
    this.ww = this.layers.map((layer) => this.weights(layer.map));
    this.bb = this.layers.map((layer) => layer.map.bias_variance);
    this.moments = []; // of activations, by layer
    this.q = []; // that these are at
    this.around = new Map(); // what goes around parts, and how many features it has
    // Squares on the way forward are divided by this where only sizes matter, so that no depth leaves the range.
    this.log10Scale = 0;
    this.apart = 0; // relative variance of q between nets, where powers of z make it grow
    this.straight = !(this.normed || this.joins || this.bb.some((variance) => variance > 0));
  }

  /** fan_in times the variance of a weight. */
  weights(map) {
    if (this.calibrates || map.weight_mean !== 0 || !LAWS.includes(map.law)) {
      throw new Uncovered(`init=${this.init}, whose variance it does not know`);
    }
    return map.fan_in * map.weight_variance;
  }

  /** What a part makes of a wave, and its way back. */
  part(l, step, behind, before, v) {
    switch (step.part) {
      case "map": return this.map(l, v);
      case "norm": return step.kind === "batch" ? this.batchNormalised(l, behind, v) : normalised(step.kind, v);
      // Behind a batch norm it is done already.
      case "activation": return isBatchNorm(before) ? [v, unchanged] : this.activated(l, v);
      case "keep": this.around.set(step.stream, [v, step.inputs]); return [v, unchanged];
      case "join": return this.joined(step, v);
      default: return [v, unchanged];
    }
  }

  map(l, v) {
    const { map } = this.layers[l], ww = this.ww[l], bb = this.bb[l];
    if (!(ww * v.size + bb < 1e300)) throw outOfRange(l);
    return [wave(ww * v.size + bb, ww * v.pair + bb, 0, true), (g) => times(g, (ww * map.fan_out) / map.fan_in)];
  }

  /** Features of a to one of what is activated. */
  share(l) {
    return this.core.activation_outputs(this.layers[l].activation);
  }

  /** Batch norm, and the activation behind it: what is normal in every direction is a direction of one length. */
  batchNormalised(l, behind, v) {
    if (behind?.part !== "activation") throw new Uncovered("norm=batch without an activation right behind it");
    if (this.batch < LEAST_BATCH) {
      throw new Uncovered(`norm=batch with a batch of ${this.batch}: means of 1 / variance are carried by rare nets`);
    }
    if (!v.normal) throw new Uncovered("norm=batch of features that are not normal");
    const variance = v.size - v.pair;
    if (!(EPS < 1e-3 * variance) || variance < 1e-9 * v.size) {
      throw new Uncovered(`norm=batch with an eps that is not small beside a variance of ${generalText(variance, 3)}`);
    }
    const phi = this.layers[l].activation, b = this.batch;
    if (this.share(l) < 1) throw new Uncovered(`norm=batch before ${phi}, which multiplies two signals`);
    const share = this.share(l);
    const [mean, value, slope, tilt, together, pairSlope, pairTilt] = this.core.batch_moments(phi, b);
    // Of dL/dh, what samples have each for themselves and what they have in common.
    const alone = ((b - 1) * slope - tilt) / (b - 3);
    const common = alone - ((b - 1) * (pairSlope + pairTilt)) / (b - 3);
    const back = (g) => {
      const size = (((g.size - g.pair) * alone + g.pair * common) * share) / variance;
      return wave(size, -size / (b - 1));
    };
    return [wave(value, together, mean), back];
  }

  activated(l, v) {
    const phi = this.layers[l].activation;
    if (!v.normal) {
      if (phi === "linear") return [v, unchanged];
      throw new Uncovered(`${phi} of features that are not normal`);
    }
    const [q, m] = this.at(phi, v.size), share = this.share(l);
    this.q[l] = q;
    this.moments[l] = m;
    this.differ(l, q, m);
    if (v.size === 0 && share >= 1) { // there is no averaging over a kink at 0
      const [[, flat]] = this.core.activate(phi, [0]);
      return [wave(m.value, m.value, m.mean), (g) => times(g, flat ** 2 * share)];
    }
    const c = v.size > 0 ? Math.min(Math.max(v.pair / v.size, -1), 1) : 0;
    const [[together, slopes]] = this.core.pair_moments(phi, [aboveZero(q)], [c]);
    const a = wave(m.value, together, m.mean, phi === "linear");
    const back = (g) => wave(g.size * m.slope * share, g.pair * slopes * share);
    return [q > 0 ? times(a, v.size / q) : a, back];
  }

  /** Refuse where nets of this width have little in common: powers of z multiply what they differ by. */
  differ(l, q, m) {
    const { activation, width } = this.layers[l];
    const power = m.value > 0 ? (m.growth * q) / m.value : 0;
    // A layer adds about 8 / width, the variance of the mean of products' squares.
    this.apart = power > 1.5 ? this.apart * power ** 2 + 8 / width : 0;
    if (this.apart > 0.3 && !this.normed) {
      throw new Uncovered(`${activation} without a norm from layer ${l + 1} on here: layer after layer squares what ` +
        "nets differ by, until no two are alike");
    }
  }

  /** The variance that moments are taken at, and these; below 1e-140 and above 1e140 those of a line if phi is one. */
  at(phi, size) {
    const expected = (q) => {
      const [row] = this.core.moments(phi, [aboveZero(q)]);
      return Object.fromEntries(this.core.MOMENTS.map((name, i) => [name, row[i]]));
    };
    const exact = size * 10 ** Math.min(Math.max(this.log10Scale, -400), 300);
    const q = Math.min(Math.max(exact, 1e-140), 1e140);
    const m = expected(q);
    if (q !== exact && !(Math.abs(m.growth * q - m.value) < 1e-6 * m.value)) {
      if (exact > 0) throw new Uncovered(`${phi} of signals that leave the range of numbers`);
      return [0, expected(0)];
    }
    return size > 0 ? [q, m] : [0, expected(0)];
  }

  /** What a join makes of what went around and what came through; back to both, the former first. */
  joined(step, f) {
    const [x, features] = this.around.get(step.stream);
    if (step.kind === "concat") {
      const share = features / step.outputs;
      const mix = (name) => share * x[name] + (1 - share) * f[name];
      return [wave(mix("size"), mix("pair"), mix("mean")), (g) => [g, g]];
    }
    if (step.kind === "gate") return gated(this.core, this.weights(step.map), step.map.bias_mean, x, f);
    const scale = factorOf(step);
    return [plus(x, f, scale), (g) => [g, times(g, scale ** 2)]];
  }

  /** Squared norm of dL/dW: over all pairs of samples, the products of what the map gets times those of dL/dz. */
  weightGradient(l, input, delta) {
    const { map } = this.layers[l], b = this.batch;
    return map.fan_out * map.fan_in * (b * delta.size * input.size + b * (b - 1) * delta.pair * input.pair);
  }

  /** The gradient of what the last layer hands on: the cotangent, through the readout if there is one. */
  fromTheEnd() {
    const g = wave(1 / this.batch, 0);
    const readout = this.ends.find((step) => step.part === "map")?.map;
    return readout ? times(g, (readout.fan_out * this.weights(readout)) / readout.fan_in) : g;
  }

  /** Layers as the finite width needs them: what makes q, and the moments of the activation at it. */
  wide() {
    return this.layers.map(({ width }, l) => {
      const q = this.q[l], m = this.moments[l];
      // Share of q that the weights have made; the rest is the biases'.
      const made = q > 0 ? 1 - this.bb[l] / q : 0;
      return {
        ww: this.ww[l], q, width, m, made,
        // Variance of the mean of phi^2 over the units, over its square.
        sampled: (m.value_fourth / m.value ** 2 - 1) / width,
        growth: (q * m.growth) / m.value,
        bend: (q * q * m.bend) / m.value,
        steep: (q * m.slope_growth) / m.slope,
        slopeBend: (q * q * m.slope_bend) / m.slope,
      };
    });
  }
}

const aboveZero = (q) => Math.max(q, 5e-324);
const isBatchNorm = (step) => step?.part === "norm" && step.kind === "batch";
/** What multiplies the branch of a join in a fresh net. */
const factorOf = (step) => step.scale * (step.start ?? 1);
const outOfRange = (l) => new Uncovered(`signals that leave the range of numbers, as at layer ${l + 1} here`);

/** Divided by its size, which in a wide net is a number. */
function normalised(kind, given) {
  const v = kind === "layer" ? centred(given) : given;
  const total = v.size + EPS;
  return [times(v, 1 / total), (g) => times(g, 1 / total)];
}

/** Points and weights of the normal integral of what is smooth, such as sigmoids; weights sum to 1. */
const [NODES, WEIGHTS] = (() => {
  const count = 64;
  // Hermite polynomials of unit norm: the last one, and the one before.
  const last = (x) => {
    let [before, here] = [0, 1];
    for (let k = 0; k < count; k += 1) [before, here] = [here, (x * here - Math.sqrt(k) * before) / Math.sqrt(k + 1)];
    return [here, before];
  };
  const nodes = [];
  for (let x = 0; nodes.length < count / 2; x += 0.02) {
    let [low, high] = [x, x + 0.02];
    const sign = Math.sign(last(low)[0]);
    if (sign === Math.sign(last(high)[0])) continue;
    for (let i = 0; i < 60; i += 1) {
      const middle = (low + high) / 2;
      if (Math.sign(last(middle)[0]) === sign) low = middle;
      else high = middle;
    }
    nodes.push((low + high) / 2);
  }
  const all = [...nodes.map((x) => -x), ...nodes];
  const raw = all.map((x) => 1 / last(x)[1] ** 2);
  const total = raw.reduce((sum, weight) => sum + weight, 0);
  return [all, raw.map((weight) => weight / total)];
})();

/** A highway: (1 - T) x + T F with T = sigmoid of a normal of its own. */
function gated(core, ww, bias, x, f) {
  const c = x.size > 0 ? x.pair / x.size : 0, root = Math.sqrt(ww * x.size), rest = Math.sqrt(Math.max(1 - c * c, 0));
  const first = core.activate("sigmoid", NODES.map((one) => bias + root * one));
  const second = NODES.map((one) => core.activate("sigmoid", NODES.map((two) => bias + root * (c * one + rest * two))));
  const sum = (count, entry) => {
    let total = 0;
    for (let i = 0; i < count; i += 1) total += WEIGHTS[i] * entry(i);
    return total;
  };
  const mean = (entry) => sum(NODES.length, (i) => entry(...first[i]));
  const pairs = (entry) => sum(NODES.length, (i) => sum(NODES.length, (j) => entry(first[i], second[i][j])));
  const both = pairs(([t], [u]) => t * u), closed = pairs(([t], [u]) => (1 - t) * (1 - u));
  const product = x.mean * f.mean, meant = mean((t) => t);
  const open = mean((t) => t ** 2), shut = mean((t) => (1 - t) ** 2);
  const h = wave(
    shut * x.size + open * f.size + 2 * mean((t) => t * (1 - t)) * product,
    closed * x.pair + both * f.pair + 2 * pairs(([t], [u]) => t * (1 - u)) * product,
    (1 - meant) * x.mean + meant * f.mean,
  );
  const alone = shut + ww * mean((t, slope) => slope ** 2) * (x.size + f.size - 2 * product);
  const shared = closed + ww * pairs(([, one], [, two]) => one * two) * (x.pair + f.pair - 2 * product);
  return [h, (g) => [wave(g.size * alone, g.pair * shared), wave(g.size * open, g.pair * both)]];
}

/** The product of two matrices; the transpose of one. */
const dot = (a, b) => a.map((row) => b[0].map((_, j) => row.reduce((sum, value, k) => sum + value * b[k][j], 0)));
const turned = (a) => a[0].map((_, j) => a.map((row) => row[j]));

/** The factors by which the square of dL/dz in nets `h + scale phi(W h)` exceeds the infinitely wide. */
function aligned(layers, scale, start) {
  // Of h: mean square, mean, and the variance of its features.
  const size = [start.size], mean = [start.mean], spread = [start.size - start.mean ** 2];
  layers.forEach(({ m }, l) => {
    size.push(size[l] + scale ** 2 * m.value + 2 * scale * mean[l] * m.mean);
    mean.push(mean[l] + scale * m.mean);
    spread.push(spread[l] + scale ** 2 * (m.value - m.mean ** 2));
  });
  let square = 1; // of dL/dh a feature, over that of infinitely wide nets
  // Second moments of the products of dL/dh with (1, h) over the width.
  let products = [[1, mean.at(-1)], [mean.at(-1), size.at(-1)]];
  const excess = [];
  for (let l = layers.length - 1; l >= 0; l -= 1) {
    const { m, q, ww, made: kept, width: n } = layers[l];
    excess[l] = square;
    const tilted = kept * 2 * q * m.mean_growth; // E y phi', y what W has made of z
    const both = kept * q * m.growth; // E y phi phi'
    const steep = q * kept * (kept * (m.slope + 2 * q * m.slope_growth) + (1 - kept) * m.slope);
    // Products of 1, the h before and y phi' with (1, the h behind), and among themselves.
    const x = size[l], at = mean[l], next = mean[l + 1];
    const known = [[1, next], [at, x + scale * at * m.mean], [tilted, at * tilted + scale * both]];
    const among = [[1, at, tilted], [at, x, at * tilted], [tilted, at * tilted, steep]];
    const inverse = [[size[l + 1], -next], [-next, 1]].map((row) => row.map((value) => value / spread[l + 1]));
    const share = dot(known, inverse), seen = dot(share, turned(known));
    const found = dot(dot(share, products), turned(share))
      .map((row, i) => row.map((value, j) => value + square * (among[i][j] - seen[i][j])));
    const random = scale ** 2 * ww * m.slope;
    const step = [[1, 0, (scale * at) / x], [0, 1, scale]];
    products = dot(dot(step, found), turned(step));
    products[0][0] += random * square * (1 - at ** 2 / x);
    square += random * square * (1 - 1 / n) + (2 * scale * found[1][2] + scale ** 2 * found[2][2]) / (x * n);
    products = products.map((row) => row.map((value) => value / (1 + random)));
    square /= 1 + random;
  }
  return excess;
}

/** Where equal residual blocks hand on what they have in common: factors of the squares of dL/dz, else 1. */
function along(net, h) {
  const { layers } = net;
  // A first layer that changes the number of features has no skip; behind it all blocks are equal.
  const first = layers[0].steps[0].part === "keep" ? 0 : 1;
  const rest = layers.slice(first);
  const joins = rest.map(({ steps }) => steps.at(-1));
  const shape = ["keep", "map", "activation", "join"].join();
  const alike = rest.length > 0 && rest.every(({ steps }) => steps.map((step) => step.part).join() === shape) &&
    joins.every((step) => ["add", "rezero"].includes(step.kind) && factorOf(step) === factorOf(joins[0]));
  const equal = rest.every(({ input, width, output }) => output === width && width === input);
  if (!(alike && equal && net.q.every((q) => q > 0))) return layers.map(() => 1);
  const excess = aligned(net.wide().slice(first), factorOf(joins[0]), h[first]);
  if (!excess.every(Number.isFinite)) {
    throw new Uncovered("residual nets so deep that their signals leave the range of numbers");
  }
  return first ? [excess[0], ...excess] : excess; // what reaches a layer without a skip goes through it
}

/** Drift and variance of ln |dL/dz|^2 around its mean-field value, and the largest share by which curvature acts. */
function logGradient(layers, inputs) {
  // Deviations of q are relative to it, so that no depth leaves the range of numbers.
  let shift = 0, variance = layers[0].made ** 2 * inputs, most = 0;
  const shifts = [], variances = [];
  for (let l = 0; l + 1 < layers.length; l += 1) {
    const { growth, bend, sampled } = layers[l], { made } = layers[l + 1];
    shifts.push(shift);
    variances.push(variance);
    const curved = 0.5 * bend * variance;
    most = Math.max(most, Math.abs(curved));
    shift = made * (growth * shift + curved);
    variance = made ** 2 * (growth ** 2 * variance + sampled);
  }
  const drift = layers.map(() => 0), spread = layers.map(() => 0);
  let drifts = 0, spreads = 0;
  let carried = 0; // of a deviation of ln q into ln |dL/dz|^2, from the next layer on
  let radial = radialOf(layers.at(-1), NaN);
  for (let l = layers.length - 2; l >= 0; l -= 1) {
    const { m, width: n, steep, slopeBend, sampled, growth } = layers[l], { made } = layers[l + 1];
    const own = ((3 * m.slope_fourth) / m.slope ** 2 - 1) / n;
    const mixed = m.mixed / (m.value * m.slope);
    const curved = 0.5 * (slopeBend - steep ** 2) * variances[l];
    most = Math.max(most, Math.abs(curved));
    drifts += steep * shifts[l] + curved - 0.5 * own + (mixed * (radial / made - 1)) / n;
    const handed = carried * made;
    spreads += own + handed ** 2 * sampled + (2 * handed * (mixed - 1)) / n;
    carried = steep + handed * growth;
    radial = radialOf(layers[l], radial / made);
    drift[l] = drifts;
    spread[l] = spreads + carried ** 2 * variances[l];
  }
  return { drift, spread, most };
}

/** `E (sum of y dL/dz)^2 / (q |dL/dz|^2)`, y what the weights made of z; `behind` it in the next layer, else NaN. */
function radialOf({ made, m, q, steep, growth }, behind) {
  const own = made ** 2 * (1 + 2 * steep) + made * (1 - made); // E y^2 phi'^2
  if (Number.isNaN(behind)) return own;
  return own + (((made * growth) ** 2 * m.value) / (q * m.slope)) * (behind - 1);
}

/** What the width does to dL/dz of one sample, or why that is not known. */
function finiteWidth(net) {
  const gaps = {
    "with a normalisation": net.normed,
    "with a skip": net.joins,
    "of weights that depend on each other": net.layers.some((layer) => layer.map.law === "orthogonal"),
    "of activations that change the number of features": net.layers.some((layer) => layer.output !== layer.width),
    "where signals end": net.moments.some((m) => !(m.value * m.slope > 0)),
  };
  let words = Object.keys(gaps).find((gap) => gaps[gap]);
  if (!words) {
    const layers = net.wide();
    if (!layers.every((layer) => layer.made > 0)) words = "of weights that are 0";
    else {
      const { drift, spread, most } = logGradient(layers, 2 / net.layers[0].input);
      if (!(most > MOST_CURVED)) return { drift, spread, uncovered: "" };
      words = "of layers so narrow that first order is not enough";
    }
  }
  const none = net.layers.map(() => NaN);
  return { drift: none, spread: none, uncovered: `theory has no finite-width band ${words}` };
}

/** The three signals, layer by layer: forward, back, and what the width adds. */
function propagate(net) {
  const { layers } = net;
  const h = [wave(1, 0, 0, true)]; // standard normal samples
  const z = [], input = [], scale = [], ways = [];
  layers.forEach(({ steps }, l) => {
    let v = h[l];
    scale[l] = net.log10Scale; // log10 of what squares are to be multiplied by
    ways[l] = steps.map((step, i) => {
      if (step.part === "map") input[l] = v;
      const [made, back] = net.part(l, step, steps[i + 1], steps[i - 1], v);
      v = made;
      if (step.part === "map") z[l] = v;
      return [step, back];
    });
    if (!Number.isFinite(v.size)) throw outOfRange(l);
    if (net.straight && v.size > 0 && !(v.size > 1e-99 && v.size < 1e99)) {
      net.log10Scale += Math.log10(v.size);
      v = times(v, 1 / v.size);
    }
    h.push(v);
  });

  let g = net.fromTheEnd(), carried = 0;
  const delta = [], lost = [], around = new Map();
  for (let l = layers.length - 1; l >= 0; l -= 1) {
    for (const [step, back] of ways[l].reverse()) {
      if (step.part === "map") [delta[l], lost[l]] = [g, carried];
      if (step.part === "keep") {
        g = plus(g, around.get(step.stream));
        around.delete(step.stream);
      } else if (step.part === "join") {
        const [reached, through] = back(g);
        around.set(step.stream, around.has(step.stream) ? plus(around.get(step.stream), reached) : reached);
        g = through;
      } else g = back(g);
    }
    if (g.size > 0 && !(g.size > 1e-99 && g.size < 1e99)) {
      carried += Math.log10(g.size);
      for (const [stream, held] of around) around.set(stream, times(held, 1 / g.size));
      g = times(g, 1 / g.size);
    }
  }
  along(net, h).forEach((excess, l) => { delta[l] = times(delta[l], excess); });

  const log10 = (squares, factors) => squares.map((square, l) => (Math.log10(Math.max(square, 0)) + factors[l]) / 2);
  const { drift, spread, uncovered } = finiteWidth(net);
  const gradients = delta.map((each, l) => net.weightGradient(l, input[l], each));
  return {
    forward: { mean: log10(z.map((each) => each.size), scale) },
    backward: {
      mean: log10(delta.map((each) => each.size), lost),
      std: spread.map((each) => Math.sqrt(Math.max(each, 0)) / Math.log(100)),
      drift: drift.map((each) => each / Math.log(100)),
    },
    weight: { mean: log10(gradients, scale.map((each, l) => each + lost[l])) },
    why: uncovered,
  };
}

/**
 * What theory says of the net of a request.
 * @param {object} request  `theory: false` asks for none.
 * @param {object} core  The core's functions under their names in Python: see engine.js.
 * @returns {{theory: ?Theory, theory_why: string}}  As in a reply: null and the sentence why where there is none.
 */
export function predict(request, core) {
  if (request.theory === false) return { theory: null, theory_why: "" };
  if (request.data !== "noise") return { theory: null, theory_why: OF_NOISE };
  try {
    return { theory: propagate(new Net(request, core)), theory_why: "" };
  } catch (error) {
    if (!(error instanceof Uncovered)) throw error;
    return { theory: null, theory_why: error.message };
  }
}
