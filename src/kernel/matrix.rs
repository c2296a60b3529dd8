//! Weight matrices and the products of layers.
//!
//! Weights are row-major, so that both `W x` and `W^T d` broadcast single entries, in blocks that stay in the caches.
//! Nothing is packed: measured against the peak of fused multiply-adds there is no more to gain.

use super::buffer::Buffer;
use super::panels::{Panel, Panels, Transpose};
use super::tiles::{Product, Segment, Start, room};
use crate::error::Cancel;
use crate::simd::{self, Eight, Float, Set, Task, Vector, sum_of_eight};
use std::mem::MaybeUninit;

/// The most weights in one go: a block of so many stays in the second-level cache from panel to panel.
const BLOCK: usize = 1 << 16;

/// The most rows of a block.
const ROWS: usize = 256;

/// The most steps of the inner index in one go, along the rows of weights (`W x`). What is fetched ahead is the next rows
/// whole: cut at 256, a row of 1024 had three quarters fetched in vain (75 % of the peak where whole rows reach 87).
const ALONG: usize = 1024;

/// The most steps over samples (`dW`): that many rows of a strip stay in the first-level cache.
const SAMPLES: usize = 256;

/// The most steps from row to row of weights (`W^T d`), where there are more than [`SHORT`]: their lines, those fetched
/// ahead and a strip must fit the first-level cache, and long rows lie on pages of their own. With 256 steps, width 512
/// reached 75 % of the peak where 96 reach 88.
const ACROSS: usize = 96;

/// So many rows are taken in one go: in halves, each tile would load its few sums twice.
const SHORT: usize = 128;

/// Panels of one block between two looks at the request to stop: some milliseconds.
const PANELS: usize = 16;

/// Cut `0..total` into even parts of at most `most`; gives (start, length) of each.
fn blocks(total: usize, most: usize) -> impl Iterator<Item = (usize, usize)> + Clone {
    let count = total.div_ceil(most);
    let at = move |i: usize| total * i / count;
    (0..count).map(move |i| (at(i), at(i + 1) - at(i)))
}

/// A weight matrix `(rows, columns)` = `(out_features, in_features)`.
#[derive(Debug, Clone)]
pub struct Matrix<F> {
    data: Buffer<F>,
    rows: usize,
    columns: usize,
    stride: usize,
}

impl<F> Default for Matrix<F> {
    fn default() -> Self {
        Self { data: Buffer::default(), rows: 0, columns: 0, stride: 0 }
    }
}

impl<F: Float> Matrix<F> {
    /// Bytes of a matrix.
    pub fn bytes(rows: usize, columns: usize) -> u128 {
        rows as u128 * Self::stride(columns) as u128 * size_of::<F>() as u128
    }

    /// The distance of two rows. Long rows lie an odd number of cache lines apart: at powers of two, the entries of a
    /// column fall into the same few sets of the caches (`W^T d` ran at two thirds of its speed at width 1024). Short
    /// rows gain nothing, and need not be spread after they are drawn.
    fn stride(columns: usize) -> usize {
        let line = F::LANES / 2;
        if columns < 32 * line { columns } else { columns.next_multiple_of(2 * line) + line }
    }

    /// Take a shape and be written in C order by `fill`, keeping the allocation.
    pub fn fill<T>(&mut self, rows: usize, columns: usize, fill: impl FnOnce(&mut [F]) -> T) -> T {
        self.reshape(rows, columns);
        let filled = fill(&mut self.data[..rows * columns]);
        let spread = (1..rows).rev().filter(|_| self.stride != columns);
        for row in spread.take_while(|_| !Cancel::requested()) {
            self.data.copy_within(row * columns..(row + 1) * columns, row * self.stride);
        }
        filled
    }

    fn reshape(&mut self, rows: usize, columns: usize) {
        self.rows = rows;
        self.columns = columns;
        self.stride = Self::stride(columns);
        self.data.resize(rows * self.stride);
    }

    /// The rows, without the padding between them.
    fn each_row(&self) -> impl Iterator<Item = &[F]> {
        self.data.chunks_exact(self.stride.max(1)).map(|row| &row[..self.columns])
    }

    /// The entries in C order, in as few slices as the layout allows; a matrix of this shape has slices as long.
    pub fn slices(&self) -> impl Iterator<Item = &[F]> {
        let (step, length) = self.slice();
        self.data.chunks(step).map(move |slice| &slice[..length])
    }

    /// The slices that [`Self::slices`] gives, to be written.
    pub fn slices_mut(&mut self) -> impl Iterator<Item = &mut [F]> {
        let (step, length) = self.slice();
        self.data.chunks_mut(step).map(move |slice| &mut slice[..length])
    }

    /// The distance of two slices, and their length.
    fn slice(&self) -> (usize, usize) {
        if self.stride == self.columns {
            let all = self.rows * self.columns;
            (all.max(1), all)
        } else {
            (self.stride, self.columns)
        }
    }

    /// Multiply every entry.
    pub fn scale(&mut self, factor: F) {
        self.data.iter_mut().for_each(|entry| *entry *= factor);
    }

    /// A copy of the entries in C order.
    pub fn to_rows(&self) -> Vec<F> {
        let mut all = vec![F::ZERO; self.rows * self.columns];
        let rows = all.chunks_exact_mut(self.columns.max(1)).zip(self.each_row());
        rows.take_while(|_| !Cancel::requested()).for_each(|(to, row)| to.copy_from_slice(row));
        all
    }

    /// The number of rows.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// The number of columns.
    pub fn columns(&self) -> usize {
        self.columns
    }

    /// The sum of squares of `entry * scale`, in `f64`.
    pub fn sum_of_squares(&self, scale: f64) -> f64 {
        self.each_row().map(|row| super::passes::sum_of_squares(row, scale)).sum()
    }

    /// The sum of the diagonal, in `f64`.
    pub fn trace(&self) -> f64 {
        self.each_row().enumerate().map(|(i, row)| row[i].wide()).sum()
    }

    /// `out = self x + bias`; an empty bias for none.
    pub fn forward(&self, x: &Panels<F>, bias: &[F], out: &mut Panels<F>) {
        out.reshape(self.rows, x.batch());
        let left = Segment { values: &self.data, row: self.stride, step: 1, inner: self.columns };
        broadcast(left, self.rows, x, bias, out);
    }

    /// `out = self^T delta`.
    pub fn backward(&self, delta: &Panels<F>, out: &mut Panels<F>) {
        out.reshape(self.columns, delta.batch());
        let left = Segment { values: &self.data, row: 1, step: self.stride, inner: self.rows };
        broadcast(left, self.columns, delta, &[], out);
    }
}

/// `out(i, sample) = bias(i) + sum_k left(i, k) x(k, sample)`.
fn broadcast<F: Float>(left: Segment<'_, F>, rows: usize, x: &Panels<F>, bias: &[F], out: &mut Panels<F>) {
    let most = match left.step {
        1 => ALONG,
        _ if left.inner <= SHORT => SHORT,
        _ => ACROSS,
    };
    for (row, rows) in blocks(rows, ROWS.min(BLOCK / most.min(left.inner.max(1)))) {
        for (k, inner) in blocks(left.inner, most) {
            let left = Segment { values: &left.values[row * left.row + k * left.step..], inner, ..left };
            let start = match k {
                0 if bias.is_empty() => Start::Zero,
                0 => Start::Bias(&bias[row..]),
                _ => Start::Output,
            };
            let looks = row + k > 0;
            simd::run(Across { left, row, rows, k, x, out, start, looks });
        }
    }
}

/// One block of a product with a batch: panel after panel.
struct Across<'v, F> {
    left: Segment<'v, F>,
    row: usize,
    rows: usize,
    k: usize,
    x: &'v Panels<F>,
    out: &'v mut Panels<F>,
    start: Start<'v, F>,
    /// Is a request to stop looked for at once? The first block of the first panels is all that a small layer has.
    looks: bool,
}

impl<F: Float> Task for Across<'_, F> {
    type Output = ();

    #[inline(always)]
    fn run<S: Set>(self) {
        let Self { left, row, rows, k, x, out, start, looks } = self;
        for (index, (x, out)) in x.panels().zip(out.panels_mut()).enumerate() {
            if (looks || index >= PANELS) && index.is_multiple_of(PANELS) && Cancel::requested() {
                return;
            }
            let product = Product {
                left: &[left],
                first_row: 0,
                right: &x.values[k * x.lanes..],
                right_step: x.lanes,
                rows,
                columns: x.lanes,
                out: room(&mut out.values[row * x.lanes..]),
                out_step: x.lanes,
                start,
            };
            product.run::<S>();
        }
    }
}

/// Some samples of a weight gradient: their deltas, the inputs of the map, and a power of two to multiply with.
#[derive(Debug)]
pub struct Term<'p, F> {
    /// `dL/dz`.
    pub delta: &'p Panels<F>,
    /// The inputs, as many samples.
    pub input: &'p Panels<F>,
    /// The power of two.
    pub factor: F,
}

/// `out = delta input^T` summed over samples: the weight gradient. `scratch` is reused.
pub fn outer<F: Float>(delta: &Panels<F>, input: &Panels<F>, out: &mut Matrix<F>, scratch: &mut Matrix<F>) {
    outer_of(&[Term { delta, input, factor: F::of(1.0) }], out, scratch);
}

/// The product of [`outer`] over all samples of some terms, in their order.
pub fn outer_of<F: Float>(terms: &[Term<'_, F>], out: &mut Matrix<F>, scratch: &mut Matrix<F>) {
    let Some(Term { delta, input, .. }) = terms.first() else { return };
    out.reshape(delta.features(), input.features());
    let stride = out.stride;
    outer_into(terms, room(&mut out.data), stride, scratch);
}

/// The product of [`outer`] over all samples of some terms, in their order, as a new tensor in C order.
#[allow(unsafe_code)]
pub fn outer_rows<F: Float>(terms: &[Term<'_, F>], scratch: &mut Matrix<F>) -> Vec<F> {
    let Some(Term { delta, input, .. }) = terms.first() else { return Vec::new() };
    let count = delta.features() * input.features();
    let mut out = Vec::with_capacity(count);
    // Zeros that nobody reads took 6 % of the gradients of a net of width 256.
    outer_into(terms, &mut out.spare_capacity_mut()[..count], input.features(), scratch);
    assert!(delta.batch() > 0);
    // SAFETY: there is a sample, and its product has written every row from the first column to the last.
    unsafe { out.set_len(count) };
    out
}

fn outer_into<F: Float>(terms: &[Term<'_, F>], out: &mut [MaybeUninit<F>], stride: usize, scratch: &mut Matrix<F>) {
    transpose(terms, scratch);
    let Some(Term { delta, input, .. }) = terms.first() else { return };
    let (features, columns) = (delta.features(), input.features());
    let mut panels = terms.iter().flat_map(|term| term.delta.panels()).peekable();
    let mut first = 0;
    while panels.peek().is_some() {
        // One chain over all samples, as many at a time as stay in the first-level cache.
        let (mut all, mut count, mut samples) = ([Segment { values: &[], row: 0, step: 1, inner: 0 }; MOST], 0, 0);
        while let Some(panel) = panels.next_if(|panel| count < MOST && samples + panel.valid <= SAMPLES) {
            all[count] = Segment { values: panel.values, row: panel.lanes, step: 1, inner: panel.valid };
            (count, samples) = (count + 1, samples + panel.valid);
        }
        for (row, rows) in blocks(features, ROWS) {
            if row + first > 0 && Cancel::requested() {
                return;
            }
            simd::run(Product {
                left: &all[..count],
                first_row: row,
                right: &scratch.data[first * scratch.stride..],
                right_step: scratch.stride,
                rows,
                columns,
                out: &mut out[row * stride..],
                out_step: stride,
                start: if first == 0 { Start::Zero } else { Start::Output },
            });
        }
        first += samples;
    }
}

/// The most panels of one chain.
const MOST: usize = 8;

/// The Gram matrix of the samples: its lower triangle, and zeros above.
pub fn gram<F: Float>(x: &Panels<F>, out: &mut Matrix<F>) {
    out.reshape(x.batch(), x.batch().next_multiple_of(F::LANES / 2));
    let half = F::LANES / 2;
    for (k, inner) in blocks(x.features(), SAMPLES / 2) {
        let start = if k == 0 { Start::Zero } else { Start::Output };
        for left in x.panels() {
            if k + left.first > 0 && Cancel::requested() {
                return;
            }
            // The right half of the upper rows of a block on the diagonal lies above it.
            let mut block = |right: Panel<&[F]>, row: usize, rows: usize, columns: usize| {
                simd::run(Product {
                    left: &[Segment { values: &left.values[k * left.lanes + row..], row: 1, step: left.lanes, inner }],
                    first_row: 0,
                    right: &right.values[k * right.lanes..],
                    right_step: right.lanes,
                    rows,
                    columns,
                    out: room(&mut out.data[(left.first + row) * out.stride + right.first..]),
                    out_step: out.stride,
                    start,
                });
            };
            for right in x.panels().take_while(|right| right.first < left.first) {
                block(right, 0, left.valid, right.lanes);
            }
            block(left, 0, left.valid.min(half), half);
            if left.valid > half {
                block(left, half, left.valid - half, left.lanes);
            }
        }
    }
    for row in 0..out.rows {
        let from = row * out.stride;
        out.data[from + row + 1..from + out.columns].fill(F::ZERO);
    }
}

/// The sums that [`gram_sums`] gives.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct GramSums {
    /// The sum of the squares of the first matrix's entries.
    pub squares: f64,
    /// The sum of the products of entries at one place.
    pub products: f64,
    /// The sum of these products on the diagonal.
    pub diagonal: f64,
}

/// Sums over all entries of two Gram matrices, in `f64`.
pub fn gram_sums<F: Float>(a: &Matrix<F>, b: &Matrix<F>) -> GramSums {
    simd::run(Sums { a: &a.data, b: &b.data, stride: a.stride, rows: a.rows })
}

struct Sums<'v, F> {
    a: &'v [F],
    b: &'v [F],
    stride: usize,
    rows: usize,
}

impl<F: Float> Task for Sums<'_, F> {
    type Output = GramSums;

    #[inline(always)]
    fn run<S: Set>(self) -> GramSums {
        let zero = S::Double::splat(0.0);
        let (mut squares, mut products): (Eight<S>, Eight<S>) = ([zero; 4], [zero; 4]);
        let mut diagonal = (0.0, 0.0);
        for row in 0..self.rows {
            let from = row * self.stride;
            // Zeros above the diagonal fill the last eight.
            for column in (0..=row).step_by(8) {
                for (part, lane) in (0..8).step_by(S::Double::LANES).enumerate() {
                    let a = F::load_wide::<S>(&self.a[from + column + lane..]);
                    let b = F::load_wide::<S>(&self.b[from + column + lane..]);
                    squares[part] = a.multiply_add(a, squares[part]);
                    products[part] = a.multiply_add(b, products[part]);
                }
            }
            let (a, b) = (self.a[from + row].wide(), self.b[from + row].wide());
            diagonal.0 += a * a;
            diagonal.1 += a * b;
        }
        // Entries below the diagonal count twice.
        GramSums {
            squares: 2.0 * sum_of_eight::<S>(squares) - diagonal.0,
            products: 2.0 * sum_of_eight::<S>(products) - diagonal.1,
            diagonal: diagonal.1,
        }
    }
}

/// The inputs of some terms as rows, one term after the other; what is past their features and samples are leftovers.
fn transpose<F: Float>(terms: &[Term<'_, F>], out: &mut Matrix<F>) {
    let samples = terms.iter().map(|term| term.input.batch()).sum::<usize>();
    let features = terms.iter().map(|term| term.input.features()).max().unwrap_or(0);
    // Rows lie an odd number of cache lines apart: at powers of two, the lines of a strip fall into the same few sets.
    out.reshape(samples + F::LANES, features.next_multiple_of(F::LANES) + F::LANES / 2);
    let step = out.stride;
    simd::run(Turn { terms, features, out: &mut out.data, step });
}

struct Turn<'v, F> {
    terms: &'v [Term<'v, F>],
    features: usize,
    out: &'v mut [F],
    step: usize,
}

impl<F: Float> Task for Turn<'_, F> {
    type Output = ();

    #[inline(always)]
    fn run<S: Set>(self) {
        let Self { terms, features, out, step } = self;
        let mut first = 0;
        for Term { input, factor, .. } in terms {
            for panel in input.panels() {
                // Lanes past the samples fill rows that the next panel writes again.
                let out = &mut out[(first + panel.first) * step..];
                Transpose { panel, lanes: panel.lanes, features, factor: *factor, out, step }.run::<S>();
            }
            first += input.batch();
        }
    }
}
