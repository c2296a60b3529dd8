//! From values of a layer to its numbers. Sums are in `f64`, in an order fixed by the shapes.

use crate::backward::Collect;
use crate::forward::Watch;
use crate::kernel::{Matrix, Panels, Scaled, gram, gram_sums, outer};
use crate::plan::Plan;
use crate::simd::{Float, exponent_of, times_power_of_two};
use std::f64::consts::LOG10_2;

/// Names of the columns, in the order of [`Columns::values`].
pub const COLUMNS: [&str; 10] = [
    "log10_z_rms",
    "log10_a_rms",
    "log10_delta_rms",
    "log10_wgrad_norm",
    "log10_bgrad_norm",
    "saturated",
    "dead",
    "correlation",
    "effective_rank",
    "log10_sample_wgrad_rms",
];

/// The columns of the forward pass.
const FORWARD: [usize; 6] = [0, 1, 5, 6, 7, 8];

/// A unit counts as saturated where `|phi'|` is below this share of its maximum.
const SATURATED: f64 = 0.01;

/// The numbers of one run: one value a layer for each of [`COLUMNS`]; NaN where the run did not get.
#[derive(Debug, Clone, PartialEq)]
pub struct Columns {
    /// `[column][layer]`.
    pub values: [Vec<f64>; COLUMNS.len()],
    /// The layer where a value first was not finite, in order of computation; `depth` for readout and loss.
    pub first_nonfinite: Option<usize>,
}

impl Columns {
    /// Columns of a net of this depth, nothing measured yet.
    pub fn new(depth: usize) -> Self {
        Self { values: std::array::from_fn(|_| vec![f64::NAN; depth]), first_nonfinite: None }
    }

    /// Hidden layers.
    pub fn depth(&self) -> usize {
        self.values[0].len()
    }

    /// Take what the forward pass of a net found that this one is the beginning of.
    pub fn take_forward(&mut self, deeper: &Self) {
        for column in FORWARD {
            let depth = self.depth();
            self.values[column].copy_from_slice(&deeper.values[column][..depth]);
        }
    }

    /// Note where a value first was not finite; what lies behind it says nothing.
    pub fn break_off(&mut self, layer: usize) {
        self.first_nonfinite = Some(layer);
        for column in &mut self.values {
            let behind = column.len().min(layer + 1);
            column[behind..].fill(f64::NAN);
        }
    }
}

/// Buffers of the gauges. Reused from run to run.
#[derive(Debug)]
pub struct Buffers<F> {
    /// A layer's input, rescaled where it is far from 1.
    near: Scaled<F>,
    /// Gram matrix of the samples of a layer's input, if `by_gram`.
    gram: Matrix<F>,
    by_gram: bool,
    /// The same of its deltas.
    delta_gram: Matrix<F>,
    matrix: Matrix<F>,
    scratch: Matrix<F>,
    samples: Vec<f64>,
    other: Vec<f64>,
    features: Vec<f64>,
    alive: Vec<bool>,
}

impl<F> Default for Buffers<F> {
    fn default() -> Self {
        Self {
            near: Scaled::default(),
            gram: Matrix::default(),
            by_gram: false,
            delta_gram: Matrix::default(),
            matrix: Matrix::default(),
            scratch: Matrix::default(),
            samples: Vec::new(),
            other: Vec::new(),
            features: Vec::new(),
            alive: Vec::new(),
        }
    }
}

/// Measures a pass as it is computed.
#[derive(Debug)]
pub struct Gauge<'b, F> {
    /// Receives the numbers.
    pub columns: &'b mut Columns,
    /// The net.
    pub plan: &'b Plan,
    /// Reused.
    pub buffers: &'b mut Buffers<F>,
}

impl<F: Float> Gauge<'_, F> {
    fn set<const N: usize>(&mut self, layer: usize, values: [(usize, f64); N]) {
        for (column, value) in values {
            self.columns.values[column][layer] = value;
        }
    }
}

/// `log10(root of (sum of squares / count) * 2^exponent)`.
fn log10_rms(squares: f64, count: usize, exponent: i64) -> f64 {
    0.5 * libm::log10(squares / count as f64) + exponent as f64 * LOG10_2
}

/// Sums of squares of `value / 2^shift` for each sample, into `sums`: (their sum, shift). The shift is 0 unless squares
/// leave the range of `f64`, as those of another `f64` may.
fn squares<F: Float>(panels: &Panels<F>, sums: &mut Vec<f64>) -> (f64, i64) {
    let plain = panels.squares(1.0, sums);
    if (1e-280..1e280).contains(&plain) {
        return (plain, 0);
    }
    let largest = panels.largest();
    if largest == 0.0 || !largest.is_finite() {
        return (plain, 0);
    }
    // Within the powers that f64 has both of: those of a subnormal number have no inverse.
    let shift = exponent_of(largest).clamp(-1000, 1000);
    (panels.squares(times_power_of_two(1.0, -shift), sums), shift)
}

/// Mean over pairs of samples of the cosine between their rows: `(|sum of unit rows|^2 - n) / (n (n - 1))` over the `n`
/// samples that are not zero, NaN for fewer than two. `squares` holds each sample's sum of squares over `4^shift`, and
/// the inverse norms afterwards; `sums` is reused.
fn correlation<F: Float>(x: &Panels<F>, squares: &mut [f64], shift: i64, sums: &mut Vec<f64>) -> f64 {
    let count = squares.iter().filter(|&&square| square > 0.0).count() as f64;
    if count < 2.0 {
        return f64::NAN;
    }
    let scale = times_power_of_two(1.0, -shift);
    for square in &mut *squares {
        *square = if *square > 0.0 { scale / square.sqrt() } else { 0.0 };
    }
    x.weighted(squares, sums);
    let square = sums.iter().map(|s| s * s).sum::<f64>();
    // Rounding may leave the last digit outside the range of a cosine.
    ((square - count) / (count * (count - 1.0))).clamp(-1.0, 1.0)
}

impl<F: Float> Watch<F> for Gauge<'_, F> {
    fn activated(&mut self, layer: usize, z: &Panels<F>, a: &Panels<F>, slopes: &Panels<F>, exponent: i64) -> bool {
        let count = z.batch() * z.features();
        let Buffers { samples, other, features, alive, .. } = &mut *self.buffers;
        let (a_squares, a_shift) = squares(a, other);
        let (z_squares, z_shift) = squares(z, samples);
        let correlation = correlation(z, samples, z_shift, features);
        let saturated = slopes.count_below(F::of(SATURATED * self.plan.activations[layer].steepest()));
        let dead = a.count_dead(alive);
        self.set(
            layer,
            [
                (0, log10_rms(z_squares, count, exponent + z_shift)),
                (1, log10_rms(a_squares, count, exponent + a_shift)),
                (5, saturated as f64 / count as f64),
                (6, dead as f64 / a.features() as f64),
                (7, correlation),
            ],
        );
        z_squares.is_finite() && a_squares.is_finite()
    }
}

/// A weight gradient's squared norm taken from Gram matrices is trusted down to this share of the sum of its samples'
/// squared norms. The roundings of the entries, `2e-7` of the samples' norms each in `f32`, are independent: together they
/// are of that size times the sum over samples. So at this share they make up a few `1e-6` of the norm.
const CANCELLED: f64 = 1.0 / 16.0;

impl<F: Float> Gauge<'_, F> {
    /// See the input of a layer, or past the last one the output, before the deltas of that layer: its rank belongs to
    /// the layer before.
    ///
    /// With `G = H H^T` over the samples, both the rank (`tr(G)^2 / |G|^2`) and `|dL/dW|^2 = sum of G * (D D^T)`
    /// (facts: I2) cost far less than a weight gradient, unless the batch is large.
    pub fn input(&mut self, layer: usize, input: &Scaled<F>) {
        let Buffers { near, gram: kept, by_gram, matrix, scratch, .. } = &mut *self.buffers;
        let input = input.near_one(near);
        *by_gram = input.panels.batch() <= 2 * input.panels.features();
        let (trace, squares) = if *by_gram {
            gram(&input.panels, kept);
            (kept.trace(), gram_sums(kept, kept).squares)
        } else {
            if layer == 0 {
                return;
            }
            outer(&input.panels, &input.panels, matrix, scratch);
            (matrix.trace(), matrix.sum_of_squares(1.0))
        };
        if let Some(before) = layer.checked_sub(1) {
            self.set(before, [(8, trace * trace / squares)]);
        }
    }
}

impl<F: Float> Collect<F> for Gauge<'_, F> {
    fn map(&mut self, layer: usize, delta: &Scaled<F>, input: &Scaled<F>) {
        let Buffers { near, gram: input_gram, by_gram, delta_gram, matrix, scratch, samples, other, features, .. } =
            &mut *self.buffers;
        let batch = delta.panels.batch();
        let squares = delta.panels.squares(1.0, samples);
        other.clear();
        other.resize(batch, 1.0);
        delta.panels.weighted(other, features);
        let bias = features.iter().map(|b| b * b).sum::<f64>();
        let input = input.near_one(near);
        let sums = by_gram.then(|| {
            gram(&delta.panels, delta_gram);
            gram_sums(input_gram, delta_gram)
        });
        let (weight, each) = match sums {
            Some(sums) if sums.products >= CANCELLED * sums.diagonal => (sums.products, sums.diagonal),
            _ => {
                outer(&delta.panels, &input.panels, matrix, scratch);
                input.panels.squares(1.0, other);
                (matrix.sum_of_squares(1.0), samples.iter().zip(other).map(|(d, h)| d * *h).sum())
            }
        };
        if !(squares.is_finite() && weight.is_finite()) {
            self.columns.first_nonfinite.get_or_insert(layer);
        }
        let exponent = delta.exponent + input.exponent;
        self.set(
            layer,
            [
                (2, log10_rms(squares, batch * delta.panels.features(), delta.exponent)),
                (3, log10_rms(weight, 1, exponent)),
                (4, log10_rms(bias, 1, delta.exponent)),
                (9, log10_rms(each, batch, exponent)),
            ],
        );
    }
}
