//! Analytic gradients against central differences, at any depth.
//!
//! The difference of two outputs of a deep net drowns a gradient of `1e-30` in rounding. So the differences are taken
//! where they are accurate, of each activation, normalisation, gate, weight transform and loss by itself (fourth order,
//! never across a kink), and chained forward through the plain stages of `naive.rs` with the exponent carried. The directional
//! derivative found that way is compared with the kernel's gradient along the same random direction.

use crate::activation::{Activation, Shape};
use crate::error::{Cancel, Error, Result};
use crate::forward::{Trace, forward};
use crate::gradients::{Start, gradients};
use crate::kernel::Tensor;
use crate::loss::{Loss, Targets};
use crate::naive::{self, Pass, Rows, Step, Tensors, apart, beside, map2, rows};
use crate::norm::Norm;
use crate::plan::{Key, Plan, Which};
use crate::rng::{Role, Stream};
use crate::simd::{exponent_of, times_power_of_two};
use crate::skip::{Join, Order};
use crate::spec::{Layer, Spec};
use crate::transform::{Back, Transform};
use crate::weights::Weights;
use std::cell::Cell;

/// Step of the differences: truncation `1e-12` and rounding `1e-13` for functions of unit scale. It grows with `|z|`
/// beyond [`FLAT`], where bounded activations are flat and the others are lines whose rounding grows with them.
const STEP: f64 = 1e-3;
const FLAT: f64 = 32.0;
/// Some never flatten: a sine must not turn within a step.
const LONGEST: f64 = 0.1;

/// A gradient below this share of the terms that add up to it, at any stage, is what rounding leaves of a sum that is
/// zero, as that of a bias before a batch normalisation: errors are measured against this share then.
const CANCELLED: f64 = 1e-5;
/// How much terms are shaken to find their size: half the digits of a number.
const SHARE: f64 = 1e-8;

/// Fourth-order central difference of a function at 0.
fn difference(f: impl Fn(f64) -> f64, h: f64) -> f64 {
    (8.0 * (f(h) - f(-h)) - (f(2.0 * h) - f(-2.0 * h))) / (12.0 * h)
}

/// `f'(at)` by differences of `f`. Where they agree with the analytic slope to within what they do not know themselves,
/// by rounding or by what half the step changes, it stands: in saturation and at a point of inflection the slope lies far
/// below that.
fn slope(f: impl Fn(f64) -> f64, at: f64, analytic: f64, kinks: &[f64]) -> f64 {
    let gap = kinks.iter().map(|kink| (at - kink).abs()).fold(f64::INFINITY, f64::min);
    if gap == 0.0 {
        // No derivative to compare with: the convention's stands.
        return analytic;
    }
    let h = (STEP * (at.abs() / FLAT).max(1.0)).min(LONGEST).min(gap / 4.0);
    let by = |h: f64| difference(|step| f(at + step), h);
    let numeric = by(h);
    let rounding = 4.0 * f64::EPSILON * (f(at).abs() + (at * analytic).abs()) / h;
    // Half the step leaves out a sixteenth as much.
    let left_out = 2.0 * (numeric - by(h / 2.0)).abs();
    if (numeric - analytic).abs() <= rounding + left_out { analytic } else { numeric }
}

/// `phi'(z)` by differences of `phi`.
fn bend(activation: &Activation, z: f64) -> f64 {
    slope(|z| activation.both(z).0, z, activation.both(z).1, &activation.kinks())
}

/// The slopes of a loss by differences of each sample's share of it, output by output.
fn slopes_of(loss: &Loss, y: &Rows, targets: &Targets) -> Rows {
    let width = y[0].len();
    let target = |sample| targets.of(&[sample]);
    // A mean is told from a sum by the values alone, at equal outputs: there no two of them cancel. Where all are 0 at 1,
    // as those of a hinge may be, they are not at -1, but for those that have no slope either.
    let share_at = |output: f64| {
        let (whole, _) = loss.evaluate(&vec![output; y.len() * width], width, targets);
        let alone = |sample| loss.evaluate(&vec![output; width], width, &target(sample)).0;
        whole / (0..y.len()).map(alone).sum::<f64>()
    };
    let share = [1.0, -1.0].map(share_at).into_iter().find(|share| share.is_finite()).unwrap_or(0.0);
    let sample = |(sample, y): (usize, &Vec<f64>)| {
        let target = target(sample);
        let analytic = loss.evaluate(y, width, &target).1;
        let kinks = |i: usize| match &target {
            Targets::Classes(_) | Targets::Absent => Vec::new(),
            Targets::Values(values, _) => loss.kinks(values[i]),
        };
        let at = |i: usize, to: f64| {
            let mut moved = y.clone();
            moved[i] = to;
            loss.evaluate(&moved, width, &target).0
        };
        (0..width).map(|i| share * slope(|to| at(i, to), y[i], analytic[i], &kinks(i))).collect()
    };
    y.iter().enumerate().map(sample).collect()
}

/// The change of `standardise(values)` along a direction. It bends on the scale of their deviation.
fn standardise(values: &[f64], centred: bool, eps: f64, along: &[f64]) -> Vec<f64> {
    let count = values.len() as f64;
    // What is alike in all is taken away beforehand: beside it, small differences would lose their digits.
    let [values, along] = [values, along].map(|of| {
        let mean = if centred { of.iter().sum::<f64>() / count } else { 0.0 };
        of.iter().map(|v| v - mean).collect::<Vec<_>>()
    });
    let largest = along.iter().fold(0.0, |m: f64, v| m.max(v.abs()));
    let root = (values.iter().map(|v| v.powi(2)).sum::<f64>() / count + eps).sqrt();
    // Below this share of the largest tangent, which is brought to 1, nothing is left anyway.
    if largest < 1e-200 || root == 0.0 {
        return vec![0.0; values.len()];
    }
    let h = STEP * root / largest;
    let at = |steps: f64| {
        let moved = values.iter().zip(&along).map(|(v, d)| v + steps * h * d).collect::<Vec<_>>();
        naive::standardise(&moved, centred, eps)
    };
    let [back2, back1, on1, on2] = [-2.0, -1.0, 1.0, 2.0].map(at);
    (0..values.len()).map(|i| (8.0 * (on1[i] - back1[i]) - (on2[i] - back2[i])) / (12.0 * h)).collect()
}

/// The same before anything is taken away: its terms.
fn stretch(values: &[f64], centred: bool, eps: f64, along: &[f64]) -> Vec<f64> {
    let count = values.len() as f64;
    let mean = if centred { values.iter().sum::<f64>() / count } else { 0.0 };
    let root = (values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / count + eps).sqrt();
    along.iter().map(|d| if root == 0.0 { 0.0 } else { d / root }).collect()
}

/// The change of a batch's normalisation, without weight and bias, or its terms.
fn normed(norm: &Norm, z: &Rows, dz: &Rows, change: fn(&[f64], bool, f64, &[f64]) -> Vec<f64>) -> Rows {
    let each = |z: &Rows, dz: &Rows| {
        z.iter().zip(dz).map(|(z, dz)| change(z, norm.centres(), norm.values()[0], dz)).collect::<Rows>()
    };
    if norm.needs_samples() {
        naive::transposed(&each(&naive::transposed(z), &naive::transposed(dz)))
    } else {
        each(z, dz)
    }
}

/// The change of transformed weights along a direction.
fn transformed(transform: &Transform, raw: &Rows, back: Option<&Back>, along: &Rows) -> Rows {
    let gain = transform.values()[0];
    let Some(Back::Spectral(_, left, right)) = back else {
        let scale = gain / (raw[0].len() as f64).sqrt();
        let row = |(row, along): (&Vec<f64>, &Vec<f64>)| {
            standardise(&naive::directed(row), true, transform.values()[1], along)
        };
        let all = raw.iter().zip(along).map(row).collect::<Rows>();
        return map2(&all, &all, |d, _| scale * d);
    };
    let top = naive::singular(raw);
    if top.value == 0.0 {
        return map2(raw, raw, |_, _| 0.0);
    }
    let largest = naive::singular(along).value;
    let change = if top.value - top.next < 1e-6 * top.value {
        // Two values are equal: the larger of the two has a kink here, and the vector that was taken stands.
        left.iter().zip(along).map(|(u, row)| u * row.iter().zip(right).map(|(d, v)| d * v).sum::<f64>()).sum()
    } else {
        let value = |step: f64| naive::singular(&map2(raw, along, |w, d| w + step * d)).value;
        difference(value, STEP * (top.value - top.next) / largest)
    };
    map2(raw, along, |w, d| gain * (d / top.value - w * change / top.value.powi(2)))
}

/// Rows times a power of two: how something changes.
#[derive(Debug, Clone)]
struct Tangent {
    rows: Rows,
    exponent: i64,
}

impl Tangent {
    /// Rows whose largest entry is brought to 1.
    fn new(rows: Rows, exponent: i64) -> Self {
        let largest = rows.iter().flatten().fold(0.0, |m: f64, v| m.max(v.abs()));
        if largest == 0.0 || !largest.is_finite() {
            return Self { rows, exponent };
        }
        let shift = exponent_of(largest);
        let rows = rows.iter().map(|row| row.iter().map(|v| times_power_of_two(*v, -shift)).collect()).collect();
        Self { rows, exponent: exponent + shift }
    }

    /// What a linear map makes of it.
    fn map(&self, f: impl FnOnce(&Rows) -> Rows) -> Self {
        Self::new(f(&self.rows), self.exponent)
    }

    /// Both as rows of one exponent.
    fn aligned(&self, other: &Self) -> (Rows, Rows, i64) {
        let zero = |tangent: &Self| tangent.rows.iter().flatten().all(|v| *v == 0.0);
        let exponent = match (zero(self), zero(other)) {
            (true, _) => other.exponent,
            (_, true) => self.exponent,
            _ => self.exponent.max(other.exponent),
        };
        let shifted = |tangent: &Self| {
            let shift = tangent.exponent - exponent;
            tangent.rows.iter().map(|row| row.iter().map(|v| times_power_of_two(*v, shift)).collect()).collect()
        };
        (shifted(self), shifted(other), exponent)
    }

    fn plus(&self, other: &Self) -> Self {
        let (a, b, exponent) = self.aligned(other);
        Self::new(map2(&a, &b, |a, b| a + b), exponent)
    }
}

/// A net at one point, through which tangents are pushed.
struct Point<'p> {
    spec: &'p Spec,
    layers: &'p [Layer],
    state: &'p Tensors,
    x: &'p Rows,
    cotangent: &'p Rows,
    pass: Pass,
    /// The weights in use, and what the kernel knows of their transform.
    weights: Vec<(Rows, Option<&'p Back>)>,
    /// The slopes of the activations and of the gates.
    slopes: Vec<(Rows, Rows)>,
}

/// What moves: parameters, or the samples.
struct Motion {
    state: Tensors,
    x: Option<Rows>,
    /// The first layer that feels it.
    first: usize,
    /// Random numbers that shake all terms, and how many have been drawn.
    noise: Option<(Stream, Cell<usize>)>,
}

impl Motion {
    /// What a motion adds to a stage.
    fn adds(&self, rows: Rows) -> Tangent {
        Tangent::new(self.shaken(rows), 0)
    }

    /// Terms that are off by a small random share of themselves.
    fn shaken(&self, rows: Rows) -> Rows {
        let same = rows.clone();
        self.shaken_by(rows, || same)
    }

    /// The same where terms of these sizes have cancelled already.
    fn shaken_by(&self, mut rows: Rows, sizes: impl FnOnce() -> Rows) -> Rows {
        let Some((stream, drawn)) = &self.noise else { return rows };
        let mut normals = vec![0.0_f64; rows.iter().map(Vec::len).sum()];
        stream.after(drawn.get()).normal(&mut normals);
        drawn.set(drawn.get() + normals.len().next_multiple_of(4));
        let sizes = sizes();
        let terms = rows.iter_mut().flatten().zip(sizes.iter().flatten());
        terms.zip(normals).for_each(|((v, size), n)| *v += SHARE * n * size);
        rows
    }
}

impl Point<'_> {
    /// The change of the output, entry by entry times the cotangent.
    fn push(&self, motion: &Motion) -> Tangent {
        let Self { spec, layers, state, pass, .. } = self;
        let zeros = |rows: &Rows| Tangent::new(map2(rows, rows, |_, _| 0.0), 0);
        let mut tangents = pass.inputs[..=motion.first].iter().map(zeros).collect::<Vec<_>>();
        if let (Some(dx), false) = (&motion.x, spec.fed) {
            tangents[0] = Tangent::new(dx.clone(), 0);
        }
        for layer in motion.first..layers.len() {
            let (shape, step) = (&layers[layer], &pass.steps[layer]);
            let mut d = tangents[layer].clone();
            if shape.order != Order::Pre {
                d = self.linear(motion, layer, step, &d);
            }
            if !spec.post_norm {
                d = self.norm(motion, layer, step, &d);
            }
            if shape.order == Order::Post {
                d = self.join(motion, layer, &tangents, &d);
            }
            d = self.activation(motion, layer, step, &d);
            if spec.post_norm {
                d = self.norm(motion, layer, step, &d);
            }
            if shape.order == Order::Pre {
                d = self.linear(motion, layer, step, &d);
            }
            if shape.order != Order::Post {
                d = self.join(motion, layer, &tangents, &d);
            }
            tangents.push(Tangent { rows: motion.shaken(d.rows), exponent: d.exponent });
        }
        let last = &pass.inputs[layers.len()];
        let mut dy = tangents.swap_remove(layers.len());
        if let Some(weight) = state.get("readout.weight") {
            let columns = last[0].len();
            dy = dy.map(|d| naive::affine(&rows(weight, columns), None, d));
            dy = dy.plus(&self.affine(motion, "readout.weight", "readout.bias", last));
        }
        dy.map(|d| map2(d, self.cotangent, |d, c| d * c))
    }

    /// What moving weights and biases add to a linear map.
    fn affine(&self, motion: &Motion, weight: &str, bias: &str, input: &Rows) -> Tangent {
        let (outs, columns) = (self.state[weight].len() / input[0].len(), input[0].len());
        let still = || vec![0.0; outs * columns];
        let weight = rows(&motion.state.get(weight).cloned().unwrap_or_else(still), columns);
        motion.adds(naive::affine(&weight, motion.state.get(bias), input))
    }

    fn name(&self, module: &str, layer: usize, tensor: &str) -> String {
        naive::name(self.spec, module, layer, tensor)
    }

    fn linear(&self, motion: &Motion, layer: usize, step: &Step, d: &Tangent) -> Tangent {
        let (weight, back) = &self.weights[layer];
        let mut d = d.map(|d| naive::affine(weight, None, d));
        let [w, b] = ["weight", "bias"].map(|tensor| self.name("layers", layer, tensor));
        if let (Some(transform), Some(along)) = (&self.spec.transform, motion.state.get(&w)) {
            let columns = step.mapped[0].len();
            let (raw, along) = (rows(&self.state[&w], columns), rows(along, columns));
            let length = |rows: &Rows| rows.iter().flatten().map(|v| v * v).sum::<f64>().sqrt();
            let moved = transformed(transform, &raw, *back, &along);
            // A transform may take away a direction as a whole: its terms are those of its scale alone.
            let moved = motion.shaken_by(moved, || {
                let scale = length(weight) / length(&raw);
                map2(&along, &along, |v, _| if scale.is_finite() { scale * v } else { 0.0 })
            });
            d = d.plus(&motion.adds(naive::affine(&moved, None, &step.mapped)));
        } else if motion.state.contains_key(&w) || motion.state.contains_key(&b) {
            d = d.plus(&self.affine(motion, &w, &b, &step.mapped));
        }
        if self.spec.fed {
            let weight = rows(&self.state["inputs.weight"], self.spec.in_features);
            if let Some(along) = motion.state.get("inputs.weight") {
                let x = naive::step_input(self.spec, self.x, layer);
                d = d.plus(&motion.adds(naive::affine(&rows(along, self.spec.in_features), None, &x)));
            }
            if let Some(dx) = &motion.x {
                let dx = naive::step_input(self.spec, dx, layer);
                d = d.plus(&Tangent::new(naive::affine(&weight, None, &dx), 0));
            }
        }
        d
    }

    fn norm(&self, motion: &Motion, layer: usize, step: &Step, d: &Tangent) -> Tangent {
        let Some(norm) = &self.spec.norm else { return d.clone() };
        let [w, b] = ["weight", "bias"].map(|tensor| self.name("norms", layer, tensor));
        let weight = &self.state[&w];
        let d = d.map(|d| {
            let change = normed(norm, &step.unnormed, d, standardise);
            let d = motion.shaken_by(change, || normed(norm, &step.unnormed, d, stretch));
            d.iter().map(|row| row.iter().zip(weight).map(|(d, w)| d * w).collect()).collect()
        });
        if !motion.state.contains_key(&w) && !motion.state.contains_key(&b) {
            return d;
        }
        // The normalisation is linear in both.
        let zeros = vec![0.0; weight.len()];
        let moved = [w, b].map(|key| (motion.state.get(&key).unwrap_or(&zeros).clone(), key));
        let moved = moved.into_iter().map(|(values, key)| (key, values)).collect();
        d.plus(&motion.adds(naive::norm_forward(self.spec, norm, &moved, layer, &step.unnormed)))
    }

    fn activation(&self, motion: &Motion, layer: usize, step: &Step, d: &Tangent) -> Tangent {
        let shape = &self.layers[layer];
        let (slopes, columns) = (&self.slopes[layer].0, step.bent[0].len());
        let d = d.map(|d| match shape.activation.shape() {
            Shape::Each => map2(d, slopes, |d, s| d * s),
            Shape::Doubled => map2(&beside(d, d), slopes, |d, s| d * s),
            Shape::Gated => {
                let (value, gate) = apart(&map2(d, slopes, |d, s| d * s), columns / 2);
                map2(&value, &gate, |a, b| a + b)
            }
        });
        let key = self.name("activations", layer, "weight");
        let Some(along) = motion.state.get(&key).filter(|_| shape.activation.learned().is_some()) else { return d };
        let value = |slope: f64| naive::activate(&shape.activation.with_slope(slope), &step.bent);
        let at = self.state[&key][0];
        let moved = map2(&value(at + 0.5), &value(at - 0.5), |more, less| (more - less) * along[0]);
        d.plus(&motion.adds(moved))
    }

    fn join(&self, motion: &Motion, layer: usize, tangents: &[Tangent], d: &Tangent) -> Tangent {
        let (Some(from), Some(skip)) = (self.layers[layer].from, self.spec.skip) else { return d.clone() };
        let (x, dx, step) = (&self.pass.inputs[from], &tangents[from], &self.pass.steps[layer]);
        let scale = self.spec.branch_scale;
        let times = |d: &Tangent, factor: f64| d.map(|d| map2(d, d, |d, _| factor * d));
        match skip.join() {
            Join::Add => dx.plus(&times(d, scale)),
            Join::Learned => {
                let key = self.name("skips", layer, "weight");
                let sum = dx.plus(&times(d, scale * self.state[&key][0]));
                let Some(along) = motion.state.get(&key) else { return sum };
                sum.plus(&motion.adds(map2(&step.branch, &step.branch, |f, _| scale * along[0] * f)))
            }
            Join::Gate => {
                let [w, b] = ["weight", "bias"].map(|tensor| self.name("gates", layer, tensor));
                let weight = rows(&self.state[&w], x[0].len());
                let mut dt = dx.map(|d| naive::affine(&weight, None, d));
                if motion.state.contains_key(&w) || motion.state.contains_key(&b) {
                    dt = dt.plus(&self.affine(motion, &w, &b, x));
                }
                let (open, shut) = naive::gate(&step.gate);
                let by_gate = map2(&map2(&step.branch, x, |f, x| f - x), &self.slopes[layer].1, |f, s| f * s);
                let part = |d: &Tangent, factor: &Rows| d.map(|d| map2(d, factor, |d, f| d * f));
                part(dx, &shut).plus(&part(d, &open)).plus(&part(&dt, &by_gate))
            }
            Join::Concatenate => {
                let (x, d, exponent) = dx.aligned(d);
                Tangent::new(beside(&x, &d), exponent)
            }
        }
    }

    /// `|<gradient, direction> - numeric| / |gradient|`: for a direction of unit normals the first term is of the size of
    /// the gradient's norm.
    fn error(&self, gradient: &Tensor<f64>, direction: &[f64], mut motion: Motion, noise: Stream) -> f64 {
        let norm = gradient.values.iter().map(|g| g * g).sum::<f64>().sqrt();
        let analytic = gradient.values.iter().zip(direction).map(|(g, v)| g * v).sum::<f64>();
        let still = self.push(&motion);
        // A zero has no exponent of its own.
        let common = if norm == 0.0 { still.exponent } else { gradient.exponent };
        let here = |value: f64, exponent: i64| times_power_of_two(value, exponent - common);
        let gap = (analytic - here(still.rows.iter().flatten().sum(), still.exponent)).abs();
        if gap <= 1e-9 * norm {
            return if gap == 0.0 { 0.0 } else { gap / norm };
        }
        // Terms that cancel do not when each is off by a share of its own: what is left over that share is their size.
        motion.noise = Some((noise, Cell::new(0)));
        let (still, shaken, exponent) = still.aligned(&self.push(&motion));
        let left = map2(&still, &shaken, |still, shaken| still.hypot((shaken - still) / SHARE));
        let terms = here(left.iter().flatten().map(|d| d * d).sum::<f64>().sqrt(), exponent);
        gap / norm.max(CANCELLED * terms)
    }
}

/// The output of a pass.
fn output(state: &Tensors, pass: &Pass) -> Rows {
    let last = &pass.inputs[pass.inputs.len() - 1];
    let Some(weight) = state.get("readout.weight") else { return last.clone() };
    naive::affine(&rows(weight, last[0].len()), state.get("readout.bias"), last)
}

/// The inputs of the layers in the kernels' own forward pass, the output of the last one behind them.
fn inputs_of(plan: &Plan, weights: &Weights<f64>, x: &[f64], cancel: &Cancel) -> Result<Vec<Rows>> {
    let mut trace = Trace::default();
    trace.set_input(plan, x.len() / plan.columns, |sample, feature| x[sample * plan.columns + feature]);
    forward(plan, weights, &mut trace, 0..plan.depth(), &mut (), cancel)?;
    let rows_of = |layer: usize| rows(&trace.input(layer).to_rows(), trace.input(layer).panels.features());
    Ok((0..=plan.depth()).map(rows_of).collect())
}

/// Every layer by itself at the point where the kernels were: in a chaotic net their roundings soon lead to other
/// points than the twin's.
fn stages(spec: &Spec, layers: &[Layer], state: &Tensors, x: &Rows, inputs: &[Rows]) -> Pass {
    let here = |layer: usize| naive::step(spec, layers, state, x, &inputs[..=layer]).0;
    Pass { inputs: inputs.to_vec(), steps: (0..layers.len()).map(here).collect(), y: Vec::new() }
}

/// Relative error of every tensor's gradient, named as in a state dict, `input` last. A loss takes drawn targets; without
/// one a drawn cotangent starts the backward pass.
pub fn gradcheck(
    spec: &Spec,
    seed: u64,
    batch: usize,
    loss: Option<Loss>,
    cancel: &Cancel,
) -> Result<Vec<(String, f64)>> {
    let (plan, layers) = (Plan::new(spec), spec.layers()?);
    let weights = Weights::<f64>::drawn(&plan, seed, 1, cancel)?;
    let normals = |role, layer, count| {
        let mut all = vec![0.0; count];
        Stream::new(seed, layer, role).normal::<f64>(&mut all);
        all
    };
    let x = normals(Role::Input, 0, batch * plan.columns);
    let start = match loss {
        None => Start::Cotangent(normals(Role::Cotangent, 0, batch * plan.output())),
        Some(loss) => {
            let mut uniform = vec![0.0; batch * plan.output()];
            Stream::new(seed, 0, Role::Cotangent).uniform::<f64>(0.0, 1.0, &mut uniform);
            Start::Loss(loss, loss.targets(&uniform, plan.output()))
        }
    };
    let all = gradients(&plan, &weights, &x, &start, 1, |_| (), cancel)?;

    let inputs = inputs_of(&plan, &weights, &x, cancel)?;
    let tensors = plan.tensors();
    let state = tensors.iter().map(|(_, name, _)| name.clone()).zip(weights.tensors(&plan)).collect::<Tensors>();
    let x = rows(&x, plan.columns);
    let pass = stages(spec, &layers, &state, &x, &inputs);
    let largest =
        |h: &Rows| h.iter().flatten().fold(0.0, |m: f64, v| if v.is_nan() { f64::NAN } else { m.max(v.abs()) });
    if let Some(layer) = pass.inputs.iter().map(largest).position(|h| !h.is_finite() || (h > 0.0 && h < 1e-290)) {
        return Err(Error::Value(format!(
            "cannot check this net: its forward pass leaves the range of float64 at layer {layer}, and the plain twin \
             that it is checked against carries no exponent; use less depth or another gain"
        )));
    }
    let cotangent = match &start {
        Start::Cotangent(cotangent) => rows(cotangent, plan.output()),
        Start::Loss(loss, targets) => slopes_of(loss, &output(&state, &pass), targets),
    };
    if !cotangent.iter().flatten().all(|c| c.is_finite()) {
        return Err(Error::Value(
            "cannot check this net: its loss leaves the range of float64; use less depth or another gain".to_owned(),
        ));
    }
    let steps = || layers.iter().enumerate().zip(&pass.steps);
    let slopes = steps().map(|((layer, shape), step)| {
        let activation = naive::activation(spec, &state, layer, shape);
        let sigmoid = Activation::sigmoid();
        (naive::slopes(&activation, &step.bent, bend), naive::slopes(&sigmoid, &step.gate, bend))
    });
    let slopes = slopes.collect();
    let in_use = steps().map(|((layer, _), step)| {
        let back = weights.layer(layer).map.transformed.as_ref().map(|(_, back)| back);
        (naive::weight(spec, &state, layer, step.mapped[0].len()), back)
    });
    let in_use = in_use.collect();
    let point =
        Point { spec, layers: &layers, state: &state, x: &x, cotangent: &cotangent, weights: in_use, slopes, pass };

    let mut errors = Vec::new();
    for (index, ((key, name, shape), gradient)) in tensors.into_iter().zip(&all.tensors).enumerate() {
        cancel.check()?;
        let direction = normals(Role::Direction, 2 * index, shape.iter().product());
        let first = match key {
            Key::Weight(Which::Readout) | Key::Bias(Which::Readout) => layers.len(),
            Key::Weight(Which::Hidden(layer) | Which::Gate(layer) | Which::Input(layer))
            | Key::Bias(Which::Hidden(layer) | Which::Gate(layer) | Which::Input(layer))
            | Key::NormWeight(layer)
            | Key::NormBias(layer)
            | Key::Slope(layer)
            | Key::Alpha(layer) => layer,
        };
        let state = Tensors::from([(name.clone(), direction.clone())]);
        let noise = Stream::new(seed, 2 * index + 1, Role::Direction);
        let error = point.error(gradient, &direction, Motion { state, x: None, first, noise: None }, noise);
        errors.push((name, error));
    }
    let index = 2 * all.tensors.len();
    let direction = normals(Role::Direction, index, batch * plan.columns);
    let motion = Motion { state: Tensors::new(), x: Some(rows(&direction, plan.columns)), first: 0, noise: None };
    let noise = Stream::new(seed, index + 1, Role::Direction);
    errors.push(("input".to_owned(), point.error(&all.input, &direction, motion, noise)));
    Ok(errors)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::signature::Call;

    #[test]
    fn differences_see_a_wrong_slope_and_pass_a_right_one_in_saturation() {
        let of = |text: &str| Activation::new(&Call::parse("activation", text).unwrap()).unwrap();
        // Without parameters a threshold has no value.
        let plain = Activation::names().filter(|name| *name != "threshold");
        for name in plain.chain(["threshold(0.5, 2)"]) {
            for z in [-40.0, -9.0, -1.3, -1e-5, 0.4, 2.0, 19.9, 40.0] {
                let (numeric, analytic) = (bend(&of(name), z), of(name).both(z).1);
                let gap = (numeric - analytic).abs();
                assert!(gap <= 1e-8 * analytic.abs(), "{name} at {z}: {numeric} {analytic}");
            }
        }
        // The slope of one function against the differences of another near it.
        let wrong = (bend(&of("gelu"), 0.7) - of("gelu(tanh)").both(0.7).1).abs();
        assert!(wrong > 1e-5, "{wrong}");
    }

    #[test]
    fn differences_of_a_loss_are_its_gradient_on_both_sides_of_kinks_and_for_both_reductions() {
        let y = vec![vec![0.3, -1.2, 40.0], vec![2.0, -3.0, 1e-7], vec![-60.0, 0.5, 1e6]];
        let uniform = [0.2, 0.9, 0.4, 0.7, 0.1, 0.6, 0.3, 0.8, 0.5];
        for name in Loss::names() {
            for reduction in ["mean", "sum"] {
                let text = format!("{name}(reduction={reduction})");
                let loss = Loss::new(&Call::parse("loss", &text).unwrap()).unwrap();
                let targets = loss.targets(&uniform, 3);
                let (_, analytic) = loss.evaluate(&y.concat(), 3, &targets);
                for (numeric, analytic) in slopes_of(&loss, &y, &targets).concat().iter().zip(analytic) {
                    assert!((numeric - analytic).abs() <= 1e-8 * analytic.abs(), "{text}: {numeric} {analytic}");
                }
            }
        }
    }
}
