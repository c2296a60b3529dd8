//! From values of a layer to its numbers. Sums are in `f64`, in an order fixed by the shapes.

use crate::backward::Collect;
use crate::forward::Watch;
use crate::kernel::{LANES, Matrix, Panels, Scaled, gram, outer};
use crate::simd::{Float, exponent_of, times_power_of_two};
use std::f64::consts::LOG10_2;

/// Names of the columns, in the order of [`Columns::values`].
pub const COLUMNS: [&str; 9] = [
    "log10_z_rms",
    "log10_a_rms",
    "log10_delta_rms",
    "log10_wgrad_norm",
    "log10_bgrad_norm",
    "saturated",
    "dead",
    "correlation",
    "effective_rank",
];

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

    /// Note where a value first was not finite; what lies behind it says nothing.
    pub fn break_off(&mut self, layer: usize) {
        self.first_nonfinite = Some(layer);
        for column in &mut self.values {
            let behind = column.len().min(layer + 1);
            column[behind..].fill(f64::NAN);
        }
    }
}

/// Measures a run as it is computed.
#[derive(Debug)]
pub struct Gauge<'b, F> {
    /// What was measured so far.
    pub columns: Columns,
    /// The largest `|phi'|` of each layer's activation.
    steepest: Vec<f64>,
    buffers: &'b mut Buffers<F>,
}

/// Buffers of a gauge. Reused from run to run.
#[derive(Debug)]
pub struct Buffers<F> {
    matrix: Matrix<F>,
    scratch: Vec<F>,
    square: Panels<F>,
    near: Scaled<F>,
}

impl<F> Default for Buffers<F> {
    fn default() -> Self {
        Self { matrix: Matrix::default(), scratch: Vec::new(), square: Panels::default(), near: Scaled::default() }
    }
}

impl<'b, F: Float> Gauge<'b, F> {
    /// A gauge for a net whose layers have these largest slopes.
    pub fn new(steepest: Vec<f64>, buffers: &'b mut Buffers<F>) -> Self {
        Self { columns: Columns::new(steepest.len()), steepest, buffers }
    }

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

/// A power of two near `1 / largest`, with its exponent: squares of scaled values neither overflow nor underflow.
fn unit<F: Float>(panels: &Panels<F>) -> (f64, i64) {
    let scan = panels.scan();
    // Within the powers that f64 has both of: those of a subnormal number have no inverse.
    let exponent = if scan.finite && scan.largest > 0.0 { exponent_of(scan.largest).clamp(-1000, 1000) } else { 0 };
    (times_power_of_two(1.0, -exponent), exponent)
}

/// Mean over pairs of samples of the cosine between their rows: `(|sum of unit rows|^2 - n) / (n (n - 1))` over the `n`
/// samples that are not zero, NaN for fewer than two.
fn correlation<F: Float>(x: &Panels<F>, norms: &[f64], scale: f64) -> f64 {
    let count = norms.iter().filter(|&&square| square > 0.0).count() as f64;
    if count < 2.0 {
        return f64::NAN;
    }
    let inverse =
        norms.iter().map(|&square| if square > 0.0 { scale / square.sqrt() } else { 0.0 }).collect::<Vec<_>>();
    let mut sums = vec![0.0; x.features()];
    let lanes = inverse.chunks(LANES).collect::<Vec<_>>();
    for (panel, feature, values) in x.rows() {
        sums[feature] += values.iter().zip(lanes[panel]).map(|(v, inverse)| v.wide() * inverse).sum::<f64>();
    }
    let square = sums.iter().map(|s| s * s).sum::<f64>();
    // Rounding may leave the last digit outside the range of a cosine.
    ((square - count) / (count * (count - 1.0))).clamp(-1.0, 1.0)
}

impl<F: Float> Watch<F> for Gauge<'_, F> {
    fn activated(&mut self, layer: usize, z: &Panels<F>, a: &Panels<F>, slopes: &Panels<F>, exponent: i64) {
        let count = z.batch() * z.features();
        let (scale, shift) = unit(z);
        let mut norms = vec![0.0; z.batch()];
        for (panel, _, values) in z.rows() {
            for (norm, value) in norms[panel * LANES..].iter_mut().zip(values) {
                let value = value.wide() * scale;
                *norm += value * value;
            }
        }
        let (a_scale, a_shift) = unit(a);
        let flat = F::of(SATURATED * self.steepest[layer]);
        let mut saturated = 0;
        for (_, _, values) in slopes.rows() {
            saturated += values.iter().filter(|slope| slope.abs() < flat).count();
        }
        let mut alive = vec![false; a.features()];
        for (_, feature, values) in a.rows() {
            alive[feature] |= values.iter().any(|v| *v != F::ZERO);
        }
        let dead = alive.iter().filter(|alive| !**alive).count();
        self.set(
            layer,
            [
                (0, log10_rms(norms.iter().sum(), count, exponent + shift)),
                (1, log10_rms(a.sum_of_squares(a_scale), count, exponent + a_shift)),
                (5, saturated as f64 / count as f64),
                (6, dead as f64 / a.features() as f64),
                (7, correlation(z, &norms, scale)),
            ],
        );
    }

    fn output(&mut self, layer: usize, h: &Scaled<F>) {
        let Buffers { matrix, scratch, square, near } = &mut *self.buffers;
        let (squares, trace) = gram(&h.near_one(near).panels, matrix, scratch, square);
        self.set(layer, [(8, trace * trace / squares)]);
    }
}

impl<F: Float> Collect<F> for Gauge<'_, F> {
    fn map(&mut self, layer: usize, delta: &Scaled<F>, input: &Scaled<F>) {
        if layer == self.steepest.len() {
            return;
        }
        let count = delta.panels.batch() * delta.panels.features();
        let squares = delta.panels.sum_of_squares(1.0);
        let bias = delta.panels.sum_over_samples().iter().map(|b| b * b).sum::<f64>();
        let Buffers { matrix, scratch, near, .. } = &mut *self.buffers;
        let input = input.near_one(near);
        outer(&delta.panels, &input.panels, matrix, scratch);
        let (weight, exponent) = (matrix.sum_of_squares(1.0), delta.exponent + input.exponent);
        if !(squares.is_finite() && weight.is_finite()) {
            self.columns.first_nonfinite.get_or_insert(layer);
        }
        self.set(
            layer,
            [
                (2, log10_rms(squares, count, delta.exponent)),
                (3, log10_rms(weight, 1, exponent)),
                (4, log10_rms(bias, 1, delta.exponent)),
            ],
        );
    }
}
