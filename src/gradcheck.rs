//! Analytic gradients against central differences, at any depth.
//!
//! The difference of two outputs of a deep net drowns a gradient of `1e-30` in rounding. So the differences are taken
//! where they are accurate, of each activation, normalisation, gate and weight transform by itself (fourth order, never
//! across a kink), and chained forward through the plain stages of `naive.rs` with the exponent carried. The directional
//! derivative found that way is compared with the kernel's gradient along the same random direction.

use crate::activation::{Activation, Shape};
use crate::error::{Cancel, Error, Result};
use crate::forward::{Trace, forward};
use crate::gradients::{Start, gradients};
use crate::kernel::Tensor;
use crate::naive::{self, Pass, Rows, Step, Tensors, apart, beside, map2, rows};
use crate::norm::Norm;
use crate::plan::{Key, Plan, Which};
use crate::rng::{Role, Stream};
use crate::simd::{exponent_of, times_power_of_two};
use crate::skip::{Join, Order};
use crate::spec::{Layer, Spec};
use crate::transform::{Back, Transform};
use crate::weights::Weights;

/// Step of the differences of functions of unit scale, rounding `1e-13` of their value, and more than what they truncate.
const STEP: f64 = 1e-3;
const TRUNCATION: f64 = 1e-11;

/// A gradient below this share of the terms that add up to it is what rounding leaves of a sum that is zero, as that of
/// a bias before a batch normalisation: errors are measured against this share then.
const CANCELLED: f64 = 1e-5;

/// Fourth-order central difference of a function at 0.
fn difference(f: impl Fn(f64) -> f64, h: f64) -> f64 {
    (8.0 * (f(h) - f(-h)) - (f(2.0 * h) - f(-2.0 * h))) / (12.0 * h)
}

/// `phi'(z)` by differences of `phi`. Where they agree with the analytic slope to within their own error they say no more
/// than that, and it stands: in saturation the slope lies far below that error.
fn slope(activation: &Activation, z: f64) -> f64 {
    let analytic = activation.both(z).1;
    let gap = activation.kinks().into_iter().map(|kink| (z - kink).abs()).fold(f64::INFINITY, f64::min);
    if gap == 0.0 {
        // No derivative to compare with: the convention's stands.
        return analytic;
    }
    let h = STEP.min(gap / 4.0);
    let phi = |step: f64| activation.both(z + step).0;
    let numeric = difference(phi, h);
    let rounding = 4.0 * f64::EPSILON * (phi(0.0).abs() + (z * analytic).abs()) / h;
    if (numeric - analytic).abs() <= rounding + TRUNCATION { analytic } else { numeric }
}

/// The change of `standardise(values)` along a direction. It bends on the scale of their deviation.
fn standardise(values: &[f64], centred: bool, eps: f64, along: &[f64]) -> Vec<f64> {
    let largest = along.iter().fold(0.0, |m: f64, v| m.max(v.abs()));
    let count = values.len() as f64;
    let mean = if centred { values.iter().sum::<f64>() / count } else { 0.0 };
    let root = (values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / count + eps).sqrt();
    // Below this share of the largest tangent, which is brought to 1, nothing is left anyway.
    if largest < 1e-200 || root == 0.0 {
        return vec![0.0; values.len()];
    }
    let h = STEP * root / largest;
    let at = |steps: f64| {
        let moved = values.iter().zip(along).map(|(v, d)| v + steps * h * d).collect::<Vec<_>>();
        naive::standardise(&moved, centred, eps)
    };
    let [back2, back1, on1, on2] = [-2.0, -1.0, 1.0, 2.0].map(at);
    (0..values.len()).map(|i| (8.0 * (on1[i] - back1[i]) - (on2[i] - back2[i])) / (12.0 * h)).collect()
}

/// The change of a batch's normalisation, without weight and bias.
fn normed(norm: &Norm, z: &Rows, dz: &Rows) -> Rows {
    let each = |z: &Rows, dz: &Rows| {
        z.iter().zip(dz).map(|(z, dz)| standardise(z, norm.centres(), norm.values()[0], dz)).collect::<Rows>()
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
        let row = |(row, along): (&Vec<f64>, &Vec<f64>)| standardise(row, true, transform.values()[1], along);
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
    /// Turns what a motion adds to a stage into terms of that size that do not cancel.
    signs: Option<Stream>,
}

impl Motion {
    /// What a motion adds to a stage.
    fn adds(&self, mut rows: Rows) -> Tangent {
        if let Some(signs) = self.signs {
            let mut normals = vec![0.0_f64; rows.iter().map(Vec::len).sum()];
            signs.normal(&mut normals);
            rows.iter_mut().flatten().zip(normals).for_each(|(v, n)| *v *= n.signum());
        }
        Tangent::new(rows, 0)
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
            tangents.push(d);
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
            // A transform may take away a direction as a whole: terms that do not cancel are those of its scale alone.
            let scale = length(weight) / length(&raw);
            let moved = match motion.signs {
                Some(_) => map2(&along, &along, |v, _| if scale.is_finite() { scale * v } else { 0.0 }),
                None => transformed(transform, &raw, *back, &along),
            };
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
            let d = normed(norm, &step.unnormed, d);
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
    fn error(&self, gradient: &Tensor<f64>, direction: &[f64], mut motion: Motion, signs: Stream) -> f64 {
        let norm = gradient.values.iter().map(|g| g * g).sum::<f64>().sqrt();
        let analytic = gradient.values.iter().zip(direction).map(|(g, v)| g * v).sum::<f64>();
        let Tangent { rows, exponent } = self.push(&motion);
        // A zero has no exponent of its own.
        let common = if norm == 0.0 { exponent } else { gradient.exponent };
        let here = |value: f64, exponent: i64| times_power_of_two(value, exponent - common);
        let gap = (analytic - here(rows.iter().flatten().sum(), exponent)).abs();
        if gap <= 1e-9 * norm {
            return if gap == 0.0 { 0.0 } else { gap / norm };
        }
        motion.signs = Some(signs);
        let Tangent { rows, exponent } = self.push(&motion);
        let terms = here(rows.iter().flatten().map(|d| d * d).sum::<f64>().sqrt(), exponent);
        gap / norm.max(CANCELLED * terms)
    }
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

/// Relative error of every tensor's gradient, named as in a state dict, `input` last.
pub fn gradcheck(spec: &Spec, seed: u64, batch: usize, cancel: &Cancel) -> Result<Vec<(String, f64)>> {
    let (plan, layers) = (Plan::new(spec), spec.layers()?);
    let weights = Weights::<f64>::drawn(&plan, seed, 1, cancel)?;
    let normals = |role, layer, count| {
        let mut all = vec![0.0; count];
        Stream::new(seed, layer, role).normal::<f64>(&mut all);
        all
    };
    let x = normals(Role::Input, 0, batch * plan.columns);
    let cotangent = normals(Role::Cotangent, 0, batch * plan.output());
    let all = gradients(&plan, &weights, &x, &Start::Cotangent(cotangent.clone()), 1, |_| (), cancel)?;

    let inputs = inputs_of(&plan, &weights, &x, cancel)?;
    let tensors = plan.tensors();
    let state = tensors.iter().map(|(_, name, _)| name.clone()).zip(weights.tensors(&plan)).collect::<Tensors>();
    let (x, cotangent) = (rows(&x, plan.columns), rows(&cotangent, plan.output()));
    let pass = stages(spec, &layers, &state, &x, &inputs);
    let largest =
        |h: &Rows| h.iter().flatten().fold(0.0, |m: f64, v| if v.is_nan() { f64::NAN } else { m.max(v.abs()) });
    if let Some(layer) = pass.inputs.iter().map(largest).position(|h| !h.is_finite() || (h > 0.0 && h < 1e-290)) {
        return Err(Error::Value(format!(
            "cannot check this net: its forward pass leaves the range of float64 at layer {layer}, and the plain twin \
             that it is checked against carries no exponent; use less depth or another gain"
        )));
    }
    let steps = || layers.iter().enumerate().zip(&pass.steps);
    let slopes = steps().map(|((layer, shape), step)| {
        let activation = naive::activation(spec, &state, layer, shape);
        let sigmoid = Activation::sigmoid();
        (naive::slopes(&activation, &step.bent, slope), naive::slopes(&sigmoid, &step.gate, slope))
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
        let signs = Stream::new(seed, 2 * index + 1, Role::Direction);
        let error = point.error(gradient, &direction, Motion { state, x: None, first, signs: None }, signs);
        errors.push((name, error));
    }
    let index = 2 * all.tensors.len();
    let direction = normals(Role::Direction, index, batch * plan.columns);
    let motion = Motion { state: Tensors::new(), x: Some(rows(&direction, plan.columns)), first: 0, signs: None };
    let signs = Stream::new(seed, index + 1, Role::Direction);
    errors.push(("input".to_owned(), point.error(&all.input, &direction, motion, signs)));
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
        let plain = crate::activation::names().filter(|name| *name != "threshold");
        for name in plain.chain(["threshold(0.5, 2)"]) {
            for z in [-40.0, -9.0, -1.3, -1e-5, 0.4, 2.0, 19.9, 40.0] {
                let (numeric, analytic) = (slope(&of(name), z), of(name).both(z).1);
                // Where phi' is z^2, what the differences leave out is more than a share of it.
                let left_out = if name == "tanhshrink" && z.abs() < 1e-3 { 1e-12 } else { 0.0 };
                assert!(
                    (numeric - analytic).abs() <= 1e-8 * analytic.abs() + left_out,
                    "{name} at {z}: {numeric} {analytic}"
                );
            }
        }
        // The slope of one function against the differences of another near it.
        let wrong = (slope(&of("gelu"), 0.7) - of("gelu(tanh)").both(0.7).1).abs();
        assert!(wrong > 1e-5, "{wrong}");
    }
}
