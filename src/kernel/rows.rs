//! Matrices as rows, for products of few samples: of panels, a batch of ten would fill 10 of 16 lanes.

use super::buffer::Buffer;
use super::panels::{Panel, Transpose};
use super::tiles::{Product, Segment, Start, room};
use crate::error::Cancel;
use crate::simd::{self, Float, Set, Task};

/// Rows of a product between two looks at the request to stop.
const AT_ONCE: usize = 96;

/// A matrix whose rows begin at cache lines: samples and their features, or weights.
#[derive(Debug)]
pub struct RowMajor<F> {
    data: Buffer<F>,
    rows: usize,
    columns: usize,
    step: usize,
}

impl<F> Default for RowMajor<F> {
    fn default() -> Self {
        Self { data: Buffer::default(), rows: 0, columns: 0, step: 0 }
    }
}

impl<F: Float> RowMajor<F> {
    /// A matrix of given numbers, row after row.
    pub fn of(rows: usize, columns: usize, values: &[F]) -> Self {
        let mut all = Self::default();
        all.reshape(rows, columns);
        for (row, from) in values.chunks_exact(columns.max(1)).enumerate() {
            all.row_mut(row).copy_from_slice(from);
        }
        all
    }

    /// Take a shape, keeping the allocation; what it holds is unspecified, or 0 where the shape is another.
    pub fn reshape(&mut self, rows: usize, columns: usize) {
        if (self.rows, self.columns) != (rows, columns) {
            (self.rows, self.columns, self.step) = (rows, columns, columns.next_multiple_of(F::LANES / 2));
            self.data.resize(rows * self.step);
            self.data.fill(F::ZERO);
        }
    }

    /// The number of rows.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// The number of columns.
    pub fn columns(&self) -> usize {
        self.columns
    }

    /// A row.
    pub fn row(&self, row: usize) -> &[F] {
        &self.data[row * self.step..][..self.columns]
    }

    /// A row, to be written.
    pub fn row_mut(&mut self, row: usize) -> &mut [F] {
        &mut self.data[row * self.step..][..self.columns]
    }

    /// All values of the first rows, what pads rows to whole cache lines too, for maps element by element.
    pub fn first(&self, rows: usize) -> &[F] {
        &self.data[..rows * self.step]
    }

    /// All values from a row on, what pads rows too, to be written.
    pub fn after_mut(&mut self, row: usize) -> &mut [F] {
        &mut self.data[row * self.step..]
    }

    /// All values, what pads rows too, to be written.
    pub fn values_mut(&mut self) -> &mut [F] {
        &mut self.data
    }

    /// All values, what pads rows too.
    pub fn values(&self) -> &[F] {
        &self.data
    }

    /// The rows without what pads them.
    pub fn to_rows(&self) -> Vec<F> {
        (0..self.rows).flat_map(|row| self.row(row)).copied().collect()
    }

    /// `self = left right + bias`, of the first rows of `left`.
    pub fn product(&mut self, left: &Self, rows: usize, right: &Self, bias: &[F]) {
        self.reshape(rows, right.columns);
        for row in 0..rows {
            self.row_mut(row).copy_from_slice(bias);
        }
        for row in (0..rows).step_by(AT_ONCE) {
            if row > 0 && Cancel::requested() {
                return;
            }
            let values = &left.data[row * left.step..];
            simd::run(Product {
                left: &[Segment { values, row: left.step, step: 1, inner: left.columns }],
                first_row: 0,
                right: &right.data,
                right_step: right.step,
                rows: AT_ONCE.min(rows - row),
                columns: right.columns,
                out: room(&mut self.data[row * self.step..]),
                out_step: self.step,
                start: Start::Output,
            });
        }
    }

    /// `self = a^T top + b^T rest`, where the rows of `right` are those of `top` and `rest`, one after the other.
    pub fn outer(&mut self, [a, b]: [&Self; 2], right: &Self) {
        self.reshape(a.columns, right.columns);
        let left = [a, b].map(|left| Segment { values: &left.data[..], row: 1, step: left.step, inner: left.rows });
        for row in (0..self.rows).step_by(AT_ONCE) {
            if row > 0 && Cancel::requested() {
                return;
            }
            simd::run(Product {
                left: &left,
                first_row: row,
                right: &right.data,
                right_step: right.step,
                rows: AT_ONCE.min(self.rows - row),
                columns: right.columns,
                out: room(&mut self.data[row * self.step..]),
                out_step: self.step,
                start: Start::Zero,
            });
        }
    }

    /// Become the transpose of another.
    pub fn set_transpose(&mut self, other: &Self) {
        self.reshape(other.columns, other.rows);
        let panel = Panel { first: 0, lanes: other.step, valid: other.columns, values: &other.data[..] };
        let (lanes, features, step) = (other.columns, other.rows, self.step);
        simd::run(Transpose { panel, lanes, features, factor: F::of(1.0), out: &mut self.data, step });
    }

    /// The sums over rows of two matrices' difference, or of one without another.
    pub fn sums(&self, rows: usize, less: Option<&Self>, out: &mut Vec<F>) {
        out.clear();
        out.resize(self.step, F::ZERO);
        simd::run(Sums { all: self.first(rows), less: less.map(|less| less.first(rows)), out });
        out.truncate(self.columns);
    }
}

struct Sums<'v, F> {
    all: &'v [F],
    less: Option<&'v [F]>,
    out: &'v mut [F],
}

impl<F: Float> Task for Sums<'_, F> {
    type Output = ();

    #[inline(always)]
    fn run<S: Set>(self) {
        let step = self.out.len();
        match self.less {
            None => {
                for row in self.all.chunks_exact(step) {
                    self.out.iter_mut().zip(row).for_each(|(sum, value)| *sum += *value);
                }
            }
            Some(less) => {
                for (row, less) in self.all.chunks_exact(step).zip(less.chunks_exact(step)) {
                    for ((sum, value), less) in self.out.iter_mut().zip(row).zip(less) {
                        *sum += *value - *less;
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(rows: usize, columns: usize, factor: f32) -> RowMajor<f32> {
        let values = (0..rows * columns).map(|i| ((i * 7 % 11) as f32 - 5.0) * factor).collect::<Vec<_>>();
        RowMajor::of(rows, columns, &values)
    }

    #[test]
    fn products_of_rows_are_their_sums_at_any_size() {
        for (samples, inner, outer) in [(1, 1, 1), (10, 64, 100), (3, 17, 5), (100, 20, 33)] {
            let (left, right) = (numbers(samples, inner, 0.5), numbers(inner, outer, 0.25));
            let bias = (0..outer).map(|i| i as f32).collect::<Vec<_>>();
            let mut out = RowMajor::default();
            out.product(&left, samples, &right, &bias);
            for i in 0..samples {
                for (j, bias) in bias.iter().enumerate() {
                    let sum = bias + (0..inner).map(|k| left.row(i)[k] * right.row(k)[j]).sum::<f32>();
                    assert!((out.row(i)[j] - sum).abs() < 1e-3, "{i} {j}");
                }
            }
            let mut turned = RowMajor::default();
            turned.set_transpose(&right);
            assert!((0..inner).all(|k| (0..outer).all(|j| turned.row(j)[k] == right.row(k)[j])));
        }
    }

    #[test]
    fn outer_products_take_the_rows_of_both_in_turn() {
        let (a, b, right) = (numbers(4, 100, 1.0), numbers(4, 100, 0.5), numbers(8, 19, 1.0));
        let mut out = RowMajor::default();
        out.outer([&a, &b], &right);
        for i in 0..100 {
            for j in 0..19 {
                let top = (0..4).map(|k| a.row(k)[i] * right.row(k)[j]).sum::<f32>();
                let rest = (0..4).map(|k| b.row(k)[i] * right.row(4 + k)[j]).sum::<f32>();
                assert_eq!(out.row(i)[j], top + rest);
            }
        }
        let mut sums = Vec::new();
        a.sums(4, Some(&b), &mut sums);
        assert_eq!(sums[3], (0..4).map(|k| a.row(k)[3] - b.row(k)[3]).sum::<f32>());
    }
}
