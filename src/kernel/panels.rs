//! Samples in panels: `[panel][feature][lane]`, a lane a sample.
//!
//! A panel is [`Float::LANES`] samples wide, the last one half of that where the samples left need no more, so that
//! every loop over the innermost axis is a whole number of vectors. Lanes past the batch hold zeros in what enters a
//! product from outside; activations may fill them, so reductions over samples go through [`Panels::rows`], which
//! leaves them out.

use super::buffer::Buffer;
use crate::simd::{self, Float, Lanes, Set, Task, Vector};

/// A batch of samples.
#[derive(Debug, Clone)]
pub struct Panels<F> {
    data: Buffer<F>,
    features: usize,
    batch: usize,
}

impl<F> Default for Panels<F> {
    fn default() -> Self {
        Self { data: Buffer::default(), features: 0, batch: 0 }
    }
}

/// A panel, `[feature][lane]`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Panel<V> {
    /// The first sample of the panel.
    pub first: usize,
    /// The number of lanes of a row.
    pub lanes: usize,
    /// The number of lanes that are samples.
    pub valid: usize,
    /// The rows.
    pub values: V,
}

impl<V> Panel<V> {
    fn of<F: Float>(index: usize, values: V, batch: usize) -> Self {
        let first = index * F::LANES;
        let lanes = lanes_at::<F>(first, batch);
        Self { first, lanes, valid: lanes.min(batch - first), values }
    }
}

impl<F: Float> Panel<&[F]> {
    /// Write the first lanes, times a factor, as rows that begin a step apart.
    pub fn transpose(&self, lanes: usize, features: usize, factor: F, out: &mut [F], step: usize) {
        simd::run(Transpose { panel: *self, lanes, features, factor, out, step });
    }
}

struct Transpose<'v, F> {
    panel: Panel<&'v [F]>,
    lanes: usize,
    features: usize,
    factor: F,
    out: &'v mut [F],
    step: usize,
}

impl<F: Float> Task for Transpose<'_, F> {
    type Output = ();

    /// Transpose in squares of a vector's lanes, and what is left at the edges one by one.
    #[inline(always)]
    fn run<S: Set>(self) {
        let Self { panel: Panel { values, lanes: from_step, .. }, lanes, features, factor, out, step } = self;
        let size = Lanes::<F, S>::LANES;
        let (whole_lanes, whole_features) = (lanes / size * size, features / size * size);
        for feature in (0..whole_features).step_by(size) {
            for lane in (0..whole_lanes).step_by(size) {
                let (from, to) = (&values[feature * from_step + lane..], &mut out[lane * step + feature..]);
                Lanes::<F, S>::transpose(from, from_step, factor, to, step);
            }
        }
        for feature in 0..features {
            for lane in if feature < whole_features { whole_lanes } else { 0 }..lanes {
                out[lane * step + feature] = values[feature * from_step + lane] * factor;
            }
        }
    }
}

/// The number of lanes of the panel that begins at a sample.
fn lanes_at<F: Float>(first: usize, batch: usize) -> usize {
    if batch - first <= F::LANES / 2 { F::LANES / 2 } else { F::LANES }
}

/// (sample, index of its first feature, distance of the others) in a batch.
fn samples<F: Float>(batch: usize, features: usize) -> impl Iterator<Item = (usize, usize, usize)> {
    (0..batch).map(move |sample| {
        let first = sample / F::LANES * F::LANES;
        (sample, first * features + sample - first, lanes_at::<F>(first, batch))
    })
}

impl<F: Float> Panels<F> {
    /// The number of samples with the padding of the last panel.
    fn padded(batch: usize) -> usize {
        batch.next_multiple_of(F::LANES / 2)
    }

    /// Bytes of a batch.
    pub fn bytes(features: usize, batch: usize) -> u128 {
        features as u128 * Self::padded(batch) as u128 * size_of::<F>() as u128
    }

    /// Take a shape, keeping the allocation; the contents are unspecified.
    pub fn reshape(&mut self, features: usize, batch: usize) {
        self.features = features;
        self.batch = batch;
        self.data.resize(Self::padded(batch) * features);
    }

    /// Fill from a function of (sample, feature).
    pub fn fill(&mut self, features: usize, batch: usize, mut value: impl FnMut(usize, usize) -> F) {
        self.reshape(features, batch);
        self.data.fill(F::ZERO);
        for (sample, panel, lanes) in samples::<F>(batch, features) {
            for feature in 0..features {
                self.data[panel + feature * lanes] = value(sample, feature);
            }
        }
    }

    /// Become a copy of another batch, keeping the allocation.
    pub fn copy_from(&mut self, other: &Self) {
        self.reshape(other.features, other.batch);
        self.data.copy_from_slice(&other.data);
    }

    /// Become the features of two batches, one after the other.
    pub fn stack(&mut self, first: &Self, second: &Self) {
        let features = first.features + second.features;
        self.reshape(features, first.batch);
        for ((out, first), second) in self.panels_mut().zip(first.panels()).zip(second.panels()) {
            let (low, high) = out.values.split_at_mut(first.values.len());
            low.copy_from_slice(first.values);
            high.copy_from_slice(second.values);
        }
    }

    /// Become some consecutive features of another batch.
    pub fn take(&mut self, other: &Self, features: std::ops::Range<usize>) {
        self.reshape(features.len(), other.batch);
        for (out, from) in self.panels_mut().zip(other.panels()) {
            out.values.copy_from_slice(&from.values[features.start * from.lanes..features.end * from.lanes]);
        }
    }

    /// The number of samples.
    pub fn batch(&self) -> usize {
        self.batch
    }

    /// The number of features.
    pub fn features(&self) -> usize {
        self.features
    }

    /// All values, lanes past the batch too, for maps element by element between batches of one shape.
    pub fn values(&self) -> &[F] {
        &self.data
    }

    /// All values, lanes past the batch too, to be written.
    pub fn values_mut(&mut self) -> &mut [F] {
        &mut self.data
    }

    /// The panels, in order.
    pub(super) fn panels(&self) -> impl Iterator<Item = Panel<&[F]>> {
        let (whole, rest) = self.data.split_at(self.batch / F::LANES * F::LANES * self.features);
        let chunks = whole.chunks_exact((F::LANES * self.features).max(1)).chain((!rest.is_empty()).then_some(rest));
        chunks.enumerate().map(|(i, values)| Panel::of::<F>(i, values, self.batch))
    }

    /// The panels, in order, to be written.
    pub(super) fn panels_mut(&mut self) -> impl Iterator<Item = Panel<&mut [F]>> {
        let (batch, size) = (self.batch, F::LANES * self.features);
        let (whole, rest) = self.data.split_at_mut(batch / F::LANES * size);
        let chunks = whole.chunks_exact_mut(size.max(1)).chain((!rest.is_empty()).then_some(rest));
        chunks.enumerate().map(move |(i, values)| Panel::of::<F>(i, values, batch))
    }

    /// (first sample, feature, its samples) of every row of every panel, in order.
    pub fn rows(&self) -> impl Iterator<Item = (usize, usize, &[F])> {
        self.panels().flat_map(|panel| {
            let rows = panel.values.chunks_exact(panel.lanes).enumerate();
            rows.map(move |(feature, values)| (panel.first, feature, &values[..panel.valid]))
        })
    }

    /// A copy of the samples, row-major `(batch, features)`.
    pub fn to_rows(&self) -> Vec<F> {
        let mut rows = vec![F::ZERO; self.batch * self.features];
        self.write_rows(F::of(1.0), &mut rows);
        rows
    }

    /// Write the samples, times a factor, row-major `(batch, features)`.
    pub fn write_rows(&self, factor: F, rows: &mut [F]) {
        for panel in self.panels() {
            panel.transpose(
                panel.valid,
                self.features,
                factor,
                &mut rows[panel.first * self.features..],
                self.features,
            );
        }
    }

    /// Zero the lanes past the batch.
    pub fn clear_padding(&mut self) {
        if let Some(panel) = self.panels_mut().last().filter(|panel| panel.valid < panel.lanes) {
            panel.values.chunks_exact_mut(panel.lanes).for_each(|lanes| lanes[panel.valid..].fill(F::ZERO));
        }
    }
}
