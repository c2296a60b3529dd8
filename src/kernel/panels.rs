//! Samples in panels: `[panel][feature][lane]`, a lane a sample.
//!
//! The innermost axis is always full, so that every loop over it is a whole number of vectors. Lanes past the batch
//! hold zeros in what enters a product from outside; activations may fill them, so reductions over samples go through
//! [`Panels::rows`], which leaves them out.

use crate::simd::{self, Float, Set, Task, times_power_of_two};

/// Samples of a panel: two vectors of the widest instruction set in `f32`.
pub const LANES: usize = 32;

/// A batch of samples.
#[derive(Debug, Clone)]
pub struct Panels<F> {
    data: Vec<F>,
    features: usize,
    batch: usize,
}

impl<F> Default for Panels<F> {
    fn default() -> Self {
        Self { data: Vec::new(), features: 0, batch: 0 }
    }
}

/// Largest magnitude of a batch, and whether all of it is finite.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Scan {
    /// Largest `|value|`; meaningless unless `finite`.
    pub largest: f64,
    /// No value is infinite or NaN.
    pub finite: bool,
}

impl<F: Float> Panels<F> {
    /// Bytes of a batch.
    pub fn bytes(features: usize, batch: usize) -> u128 {
        features as u128 * (batch.div_ceil(LANES) * LANES) as u128 * size_of::<F>() as u128
    }

    /// Take a shape, keeping the allocation; the contents are unspecified.
    pub fn reshape(&mut self, features: usize, batch: usize) {
        self.features = features;
        self.batch = batch;
        self.data.resize(batch.div_ceil(LANES) * LANES * features, F::ZERO);
    }

    /// Fill from a function of (sample, feature).
    pub fn fill(&mut self, features: usize, batch: usize, mut value: impl FnMut(usize, usize) -> F) {
        self.reshape(features, batch);
        self.data.fill(F::ZERO);
        for sample in 0..batch {
            let panel = &mut self.data[sample / LANES * LANES * features..];
            for feature in 0..features {
                panel[feature * LANES + sample % LANES] = value(sample, feature);
            }
        }
    }

    /// Become a copy of another batch, keeping the allocation.
    pub fn copy_from(&mut self, other: &Self) {
        self.reshape(other.features, other.batch);
        self.data.copy_from_slice(&other.data);
    }

    /// Samples.
    pub fn batch(&self) -> usize {
        self.batch
    }

    /// Features.
    pub fn features(&self) -> usize {
        self.features
    }

    /// All values, lanes past the batch too: for element-wise maps between batches of one shape.
    pub fn values(&self) -> &[F] {
        &self.data
    }

    /// The same, to write.
    pub fn values_mut(&mut self) -> &mut [F] {
        &mut self.data
    }

    /// Panels as slices `[feature][lane]`.
    pub(super) fn panels(&self) -> impl Iterator<Item = &[F]> {
        self.data.chunks_exact(LANES * self.features.max(1))
    }

    /// (panel, feature, its valid samples), in order.
    pub fn rows(&self) -> impl Iterator<Item = (usize, usize, &[F])> {
        let (features, batch) = (self.features.max(1), self.batch);
        self.data.chunks_exact(LANES).enumerate().map(move |(i, lanes)| {
            let panel = i / features;
            (panel, i % features, &lanes[..LANES.min(batch - panel * LANES)])
        })
    }

    /// Row-major `(batch, features)`.
    pub fn to_rows(&self) -> Vec<F> {
        let mut rows = vec![F::ZERO; self.batch * self.features];
        for (panel, feature, values) in self.rows() {
            for (lane, &value) in values.iter().enumerate() {
                rows[(panel * LANES + lane) * self.features + feature] = value;
            }
        }
        rows
    }

    /// Zero the lanes past the batch.
    pub fn clear_padding(&mut self) {
        let used = self.batch % LANES;
        if used != 0 {
            let last = self.data.len() - LANES * self.features;
            self.data[last..].chunks_exact_mut(LANES).for_each(|lanes| lanes[used..].fill(F::ZERO));
        }
    }

    /// Multiply by a factor and zero what is then below `tiny`.
    pub fn scale_and_flush(&mut self, factor: F, tiny: F) {
        simd::run(ScaleAndFlush { values: &mut self.data, factor, tiny });
    }

    /// Multiply by a power of two, however large, and zero what is then below `tiny`.
    pub fn times_power_of_two(&mut self, exponent: i64, tiny: F) {
        // One factor of a hundred at most: 2^exponent itself may be out of range where the products are not.
        let mut rest = exponent.clamp(-4000, 4000);
        while rest.abs() > 100 {
            let step = rest.signum() * 100;
            self.scale_and_flush(F::of(times_power_of_two(1.0, step)), F::ZERO);
            rest -= step;
        }
        self.scale_and_flush(F::of(times_power_of_two(1.0, rest)), tiny);
    }

    /// Sum over the samples of each feature, in `f64`.
    pub fn sum_over_samples(&self) -> Vec<f64> {
        let mut sums = vec![0.0; self.features];
        for (_, feature, values) in self.rows() {
            sums[feature] += values.iter().map(|v| v.wide()).sum::<f64>();
        }
        sums
    }

    /// Largest magnitude, padding included.
    pub fn scan(&self) -> Scan {
        simd::run(Scanner(&self.data))
    }

    /// `self = self * a + other * b`, element by element.
    pub fn combine(&mut self, a: F, other: &Self, b: F) {
        simd::run(Combine { values: &mut self.data, a, other: &other.data, b });
    }

    /// `self = other * slopes * factor`, element by element.
    pub fn set_product(&mut self, other: &Self, slopes: &Self, factor: F) {
        self.reshape(other.features, other.batch);
        simd::run(Product { values: &mut self.data, other: &other.data, slopes: &slopes.data, factor });
    }

    /// Sum of squares of `value * scale` in `f64`, padding included: it must be zero.
    pub fn sum_of_squares(&self, scale: f64) -> f64 {
        sum_of_squares(&self.data, scale)
    }
}

/// Sum of squares of `value * scale` in `f64`, in an order fixed by the length.
pub fn sum_of_squares<F: Float>(values: &[F], scale: f64) -> f64 {
    simd::run(Squares { values, scale })
}

struct ScaleAndFlush<'v, F> {
    values: &'v mut [F],
    factor: F,
    tiny: F,
}

impl<F: Float> Task for ScaleAndFlush<'_, F> {
    type Output = ();

    #[inline(always)]
    fn run<S: Set>(self) {
        for value in self.values {
            let scaled = *value * self.factor;
            // NaN is kept: the comparison is false for it.
            *value = if scaled.abs() < self.tiny { F::ZERO } else { scaled };
        }
    }
}

struct Scanner<'v, F>(&'v [F]);

impl<F: Float> Task for Scanner<'_, F> {
    type Output = Scan;

    #[inline(always)]
    fn run<S: Set>(self) -> Scan {
        let mut largest = [F::ZERO; LANES];
        // x * 0 is NaN for infinities and NaN, and NaN sticks to a sum.
        let mut trace = [F::ZERO; LANES];
        for values in self.0.chunks_exact(LANES) {
            for lane in 0..LANES {
                let magnitude = values[lane].abs();
                largest[lane] = if magnitude > largest[lane] { magnitude } else { largest[lane] };
                trace[lane] += values[lane] * F::ZERO;
            }
        }
        Scan { largest: largest.iter().fold(0.0, |m, v| v.wide().max(m)), finite: trace.iter().all(|v| v.finite()) }
    }
}

struct Combine<'v, F> {
    values: &'v mut [F],
    a: F,
    other: &'v [F],
    b: F,
}

impl<F: Float> Task for Combine<'_, F> {
    type Output = ();

    #[inline(always)]
    fn run<S: Set>(self) {
        for (value, &other) in self.values.iter_mut().zip(self.other) {
            *value = *value * self.a + other * self.b;
        }
    }
}

struct Product<'v, F> {
    values: &'v mut [F],
    other: &'v [F],
    slopes: &'v [F],
    factor: F,
}

impl<F: Float> Task for Product<'_, F> {
    type Output = ();

    #[inline(always)]
    fn run<S: Set>(self) {
        for ((value, &other), &slope) in self.values.iter_mut().zip(self.other).zip(self.slopes) {
            *value = other * slope * self.factor;
        }
    }
}

struct Squares<'v, F> {
    values: &'v [F],
    scale: f64,
}

impl<F: Float> Task for Squares<'_, F> {
    type Output = f64;

    #[inline(always)]
    fn run<S: Set>(self) -> f64 {
        let mut sums = [0.0; 16];
        let mut chunks = self.values.chunks_exact(16);
        for values in &mut chunks {
            for lane in 0..16 {
                let value = values[lane].wide() * self.scale;
                sums[lane] += value * value;
            }
        }
        let tail = chunks.remainder().iter().map(|v| v.wide() * self.scale).map(|v| v * v).sum::<f64>();
        sums.iter().sum::<f64>() + tail
    }
}
