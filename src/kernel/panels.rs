//! Samples in panels: `[panel][feature][lane]`, a lane a sample.
//!
//! A panel is [`Float::LANES`] samples wide, the last one half of that where the samples left need no more, so that
//! every loop over the innermost axis is a whole number of vectors. Lanes past the batch hold zeros in what enters a
//! product from outside; activations may fill them, so reductions over samples go through [`Panels::rows`], which
//! leaves them out.

use super::buffer::Buffer;
use crate::simd::{self, Float, Lanes, Set, Task, Vector};

/// The most lanes of a panel.
pub(super) const MOST: usize = 32;

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

/// Writes the first lanes of a panel, times a factor, as rows that begin a step apart.
pub(super) struct Transpose<'v, F> {
    pub panel: Panel<&'v [F]>,
    pub lanes: usize,
    pub features: usize,
    pub factor: F,
    pub out: &'v mut [F],
    pub step: usize,
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

struct WriteRows<'v, F> {
    panels: &'v Panels<F>,
    factor: F,
    out: &'v mut [F],
}

impl<F: Float> Task for WriteRows<'_, F> {
    type Output = ();

    #[inline(always)]
    fn run<S: Set>(self) {
        let Self { panels, factor, out } = self;
        let features = panels.features;
        for panel in panels.panels() {
            let out = &mut out[panel.first * features..];
            Transpose { panel, lanes: panel.valid, features, factor, out, step: features }.run::<S>();
        }
    }
}

struct Gather<'v, F> {
    rows: &'v [&'v [F]],
    features: usize,
    lanes: usize,
    out: &'v mut [F],
}

/// Features that are gathered at once: one cache line of each row.
const TOGETHER: usize = 16;

impl<F: Float> Task for Gather<'_, F> {
    type Output = ();

    /// Squares of a vector's lanes go through a block on the stack, whose rows lie side by side.
    #[inline(always)]
    fn run<S: Set>(self) {
        let Self { rows, features, lanes, out } = self;
        let size = Lanes::<F, S>::LANES;
        let (whole_rows, whole) = (rows.len() / size * size, features / TOGETHER * TOGETHER);
        let mut block = [F::ZERO; 16 * TOGETHER];
        for feature in (0..whole).step_by(TOGETHER) {
            for lane in (0..whole_rows).step_by(size) {
                for (row, to) in rows[lane..lane + size].iter().zip(block.chunks_exact_mut(TOGETHER)) {
                    to.copy_from_slice(&row[feature..feature + TOGETHER]);
                }
                for column in (0..TOGETHER).step_by(size) {
                    let to = &mut out[(feature + column) * lanes + lane..];
                    Lanes::<F, S>::transpose(&block[column..], TOGETHER, F::of(1.0), to, lanes);
                }
            }
        }
        for (lane, row) in rows.iter().enumerate() {
            for feature in if lane < whole_rows { whole } else { 0 }..features {
                out[feature * lanes + lane] = row[feature];
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

    /// Become zeros of this shape.
    pub fn clear(&mut self, features: usize, batch: usize) {
        self.reshape(features, batch);
        self.data.fill(F::ZERO);
    }

    /// Fill from a function of (sample, feature).
    pub fn fill(&mut self, features: usize, batch: usize, mut value: impl FnMut(usize, usize) -> F) {
        self.clear(features, batch);
        for (sample, panel, lanes) in samples::<F>(batch, features) {
            for feature in 0..features {
                self.data[panel + feature * lanes] = value(sample, feature);
            }
        }
    }

    /// Fill from the rows of samples, each of so many features.
    pub fn gather<'r>(&mut self, features: usize, batch: usize, row: impl Fn(usize) -> &'r [F]) {
        self.reshape(features, batch);
        let size = F::LANES * features;
        for (index, values) in self.data.chunks_mut(size.max(1)).enumerate() {
            let first = index * F::LANES;
            let lanes = lanes_at::<F>(first, batch);
            if first + lanes > batch {
                values.fill(F::ZERO);
            }
            let rows: [&[F]; MOST] =
                std::array::from_fn(|lane| if first + lane < batch { row(first + lane) } else { &[] });
            simd::run(Gather { rows: &rows[..lanes.min(batch - first)], features, lanes, out: values });
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

    /// Put a batch of fewer features among these, from a feature on.
    pub fn put(&mut self, first: usize, other: &Self) {
        for (out, from) in self.panels_mut().zip(other.panels()) {
            out.values[first * from.lanes..][..from.values.len()].copy_from_slice(from.values);
        }
    }

    /// The values of each panel, `[feature][lane]`, lanes past the batch too.
    pub fn slices(&self) -> impl Iterator<Item = &[F]> {
        self.panels().map(|panel| panel.values)
    }

    /// The values of each panel, to be written.
    pub fn slices_mut(&mut self) -> impl Iterator<Item = &mut [F]> {
        self.panels_mut().map(|panel| panel.values)
    }

    /// Where one feature of a sample is, and how many samples from it on lie side by side.
    fn side_by_side(&self, feature: usize, sample: usize) -> (usize, usize) {
        let first = sample / F::LANES * F::LANES;
        let lanes = lanes_at::<F>(first, self.batch);
        (first * self.features + feature * lanes + sample - first, lanes - (sample - first))
    }

    /// Copy one feature of consecutive samples into a slice, as many as it has room for.
    pub fn read(&self, feature: usize, mut sample: usize, mut out: &mut [F]) {
        while !out.is_empty() {
            let (at, count) = self.side_by_side(feature, sample);
            let (now, rest) = out.split_at_mut(count.min(out.len()));
            now.copy_from_slice(&self.data[at..][..now.len()]);
            (sample, out) = (sample + count, rest);
        }
    }

    /// Write one feature of consecutive samples.
    pub fn write(&mut self, feature: usize, mut sample: usize, mut values: &[F]) {
        while !values.is_empty() {
            let (at, count) = self.side_by_side(feature, sample);
            let (now, rest) = values.split_at(count.min(values.len()));
            self.data[at..][..now.len()].copy_from_slice(now);
            (sample, values) = (sample + count, rest);
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
        simd::run(WriteRows { panels: self, factor, out: rows });
    }

    /// Zero the lanes past the batch.
    pub fn clear_padding(&mut self) {
        if let Some(panel) = self.panels_mut().last().filter(|panel| panel.valid < panel.lanes) {
            panel.values.chunks_exact_mut(panel.lanes).for_each(|lanes| lanes[panel.valid..].fill(F::ZERO));
        }
    }
}
