//! Weight matrices and their three products.

use super::panels::{LANES, Panels};
use crate::simd::{self, Float, Lanes, Set, Task, Vector};

/// Run a body for tiles of `S::TILE` rows, then for the rows left over. `ROWS` is the constant of the tile at hand: a
/// constant of a trait cannot yet be a const argument.
macro_rules! in_tiles {
    ($set:ident, $rows:expr, |$row:ident, $ROWS:ident| $body:block) => {{
        let (rows, mut $row): (usize, usize) = ($rows, 0);
        macro_rules! tiles {
                                                                                    ($size:literal) => {
                                                                                        while rows - $row >= $size {
                                                                                            const $ROWS: usize = $size;
                                                                                            $body
                                                                                            $row += $size;
                                                                                        }
                                                                                    };
                                                                                }
        if $set::TILE >= 8 {
            tiles!(8);
        }
        if $set::TILE >= 4 {
            tiles!(4);
        }
        tiles!(2);
        tiles!(1);
    }};
}

/// A weight matrix `(rows, columns)` = `(out_features, in_features)`.
#[derive(Debug, Clone)]
pub struct Matrix<F> {
    data: Vec<F>,
    rows: usize,
    columns: usize,
}

impl<F> Default for Matrix<F> {
    fn default() -> Self {
        Self { data: Vec::new(), rows: 0, columns: 0 }
    }
}

impl<F: Float> Matrix<F> {
    /// Bytes of a matrix.
    pub fn bytes(rows: usize, columns: usize) -> u128 {
        rows as u128 * columns as u128 * size_of::<F>() as u128
    }

    /// Take a shape and be written in C order by `fill`, keeping the allocation.
    pub fn fill<T>(&mut self, rows: usize, columns: usize, fill: impl FnOnce(&mut [F]) -> T) -> T {
        self.reshape(rows, columns);
        fill(&mut self.data)
    }

    fn reshape(&mut self, rows: usize, columns: usize) {
        self.rows = rows;
        self.columns = columns;
        self.data.resize(rows * columns, F::ZERO);
    }

    /// Its entries in C order.
    pub fn into_rows(self) -> Vec<F> {
        self.data
    }

    /// A copy of its entries in C order.
    pub fn to_rows(&self) -> Vec<F> {
        self.data.clone()
    }

    /// Rows.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Columns.
    pub fn columns(&self) -> usize {
        self.columns
    }

    /// Sum of squares of `entry * scale` in `f64`.
    pub fn sum_of_squares(&self, scale: f64) -> f64 {
        super::panels::sum_of_squares(&self.data, scale)
    }

    /// `out = self x + bias`.
    pub fn forward(&self, x: &Panels<F>, bias: &[F], out: &mut Panels<F>) {
        out.reshape(self.rows, x.batch());
        let size = LANES * self.rows;
        for (panel, out) in x.panels().zip(out.values_mut().chunks_exact_mut(size)) {
            simd::run(Broadcast {
                weights: &self.data,
                stride: self.columns,
                step: 1,
                inner: self.columns,
                panel,
                bias,
                out,
            });
        }
    }

    /// `out = self^T delta`.
    pub fn backward(&self, delta: &Panels<F>, out: &mut Panels<F>) {
        out.reshape(self.columns, delta.batch());
        let size = LANES * self.columns;
        for (panel, out) in delta.panels().zip(out.values_mut().chunks_exact_mut(size)) {
            simd::run(Broadcast {
                weights: &self.data,
                stride: 1,
                step: self.columns,
                inner: self.rows,
                panel,
                bias: &[],
                out,
            });
        }
    }
}

/// `out = left right^T` summed over samples: with delta and layer inputs, the weight gradient. `scratch` is reused.
pub fn outer<F: Float>(left: &Panels<F>, right: &Panels<F>, out: &mut Matrix<F>, scratch: &mut Vec<F>) {
    let width = right.features().div_ceil(LANES) * LANES;
    out.reshape(left.features(), right.features());
    samples(right, width, scratch);
    simd::run(Outer { left, right: scratch, width, out });
}

/// `(sum of squares, trace)` of the Gram matrix of the samples, from the smaller of its two forms.
pub fn gram<F: Float>(x: &Panels<F>, gram: &mut Matrix<F>, scratch: &mut Vec<F>, square: &mut Panels<F>) -> (f64, f64) {
    if x.features() <= x.batch() {
        outer(x, x, gram, scratch);
        let trace = gram.data.iter().step_by(gram.columns + 1).map(|v| v.wide()).sum();
        (gram.sum_of_squares(1.0), trace)
    } else {
        samples(x, x.features(), scratch);
        gram.fill(x.batch(), x.features(), |data| data.copy_from_slice(scratch));
        gram.forward(x, &[], square);
        square.clear_padding();
        let trace = square
            .rows()
            .filter_map(|(panel, row, values)| values.get(row.checked_sub(panel * LANES)?))
            .map(|v| v.wide())
            .sum();
        (square.sum_of_squares(1.0), trace)
    }
}

/// Samples as rows of `width` values, zero past the features.
fn samples<F: Float>(x: &Panels<F>, width: usize, out: &mut Vec<F>) {
    out.clear();
    out.resize(x.batch() * width, F::ZERO);
    for (panel, feature, values) in x.rows() {
        for (lane, &value) in values.iter().enumerate() {
            out[(panel * LANES + lane) * width + feature] = value;
        }
    }
}

/// Products that broadcast a weight over the samples of one panel: `out[i] = bias[i] + sum_k w(i, k) panel[k]` with
/// `w(i, k) = weights[i * stride + k * step]`. Each output is one chain in the order of `k`, whatever the tile.
struct Broadcast<'v, F> {
    weights: &'v [F],
    stride: usize,
    step: usize,
    inner: usize,
    panel: &'v [F],
    /// Empty for none.
    bias: &'v [F],
    out: &'v mut [F],
}

impl<F: Float> Task for Broadcast<'_, F> {
    type Output = ();

    #[inline(always)]
    fn run<S: Set>(mut self) {
        in_tiles!(S, self.out.len() / LANES, |row, ROWS| {
            for lane in (0..LANES).step_by(2 * Lanes::<F, S>::LANES) {
                self.tile::<S, ROWS>(row, lane);
            }
        });
    }
}

impl<F: Float> Broadcast<'_, F> {
    #[inline(always)]
    fn tile<S: Set, const ROWS: usize>(&mut self, row: usize, lane: usize) {
        let mut sums = [[Lanes::<F, S>::splat(F::ZERO); 2]; ROWS];
        for (sums, bias) in sums.iter_mut().zip(self.bias.get(row..).unwrap_or_default()) {
            *sums = [Lanes::<F, S>::splat(*bias); 2];
        }
        let left = Strided { values: &self.weights[row * self.stride..], row: self.stride, step: self.step };
        let right = Strided { values: &self.panel[lane..], row: 1, step: LANES };
        accumulate::<F, S, ROWS>(&mut sums, left, right, self.inner);
        for (r, [a, b]) in sums.into_iter().enumerate() {
            let out = &mut self.out[(row + r) * LANES + lane..];
            a.store(out);
            b.store(&mut out[Lanes::<F, S>::LANES..]);
        }
    }
}

/// `out = left right^T` over the samples, in their order.
struct Outer<'v, F> {
    left: &'v Panels<F>,
    /// Samples as rows of `width`.
    right: &'v [F],
    width: usize,
    out: &'v mut Matrix<F>,
}

impl<F: Float> Task for Outer<'_, F> {
    type Output = ();

    #[inline(always)]
    fn run<S: Set>(mut self) {
        in_tiles!(S, self.out.rows, |row, ROWS| {
            for column in (0..self.out.columns).step_by(2 * Lanes::<F, S>::LANES) {
                self.tile::<S, ROWS>(row, column);
            }
        });
    }
}

impl<F: Float> Outer<'_, F> {
    #[inline(always)]
    fn tile<S: Set, const ROWS: usize>(&mut self, row: usize, column: usize) {
        let mut sums = [[Lanes::<F, S>::splat(F::ZERO); 2]; ROWS];
        for (panel, right) in self.left.panels().zip(self.right.chunks(LANES * self.width)) {
            let left = Strided { values: &panel[row * LANES..], row: LANES, step: 1 };
            let samples = right.len() / self.width;
            accumulate::<F, S, ROWS>(
                &mut sums,
                left,
                Strided { values: &right[column..], row: 1, step: self.width },
                samples,
            );
        }
        let mut buffer = [F::ZERO; LANES];
        let columns = self.out.columns;
        let valid = (2 * Lanes::<F, S>::LANES).min(columns - column);
        for (r, [a, b]) in sums.into_iter().enumerate() {
            a.store(&mut buffer);
            b.store(&mut buffer[Lanes::<F, S>::LANES..]);
            self.out.data[(row + r) * columns + column..][..valid].copy_from_slice(&buffer[..valid]);
        }
    }
}

/// `at(i, k) = values[i * row + k * step]`.
#[derive(Clone, Copy)]
struct Strided<'v, F> {
    values: &'v [F],
    row: usize,
    step: usize,
}

/// `sums[r] += left(r, k) * right(.., k)` for every `k < inner`: the one inner loop of all products. `right` gives two
/// vectors for each `k`.
#[allow(unsafe_code)]
#[inline(always)]
fn accumulate<F: Float, S: Set, const ROWS: usize>(
    sums: &mut [[Lanes<F, S>; 2]; ROWS],
    left: Strided<'_, F>,
    right: Strided<'_, F>,
    inner: usize,
) {
    if inner == 0 {
        return;
    }
    let last = (ROWS - 1) * left.row + (inner - 1) * left.step;
    assert!(last < left.values.len() && (inner - 1) * right.step + 2 * Lanes::<F, S>::LANES <= right.values.len());
    let mut local = *sums;
    for k in 0..inner {
        // SAFETY: `k < inner`, and the end of the last `k` was checked against the length above.
        let values = unsafe { right.values.get_unchecked(k * right.step..k * right.step + 2 * Lanes::<F, S>::LANES) };
        let (a, b) = (Lanes::<F, S>::load(values), Lanes::<F, S>::load(&values[Lanes::<F, S>::LANES..]));
        for (r, sum) in local.iter_mut().enumerate() {
            // SAFETY: `r < ROWS` and `k < inner`, and the largest such index was checked above.
            let weight = Lanes::<F, S>::splat(unsafe { *left.values.get_unchecked(r * left.row + k * left.step) });
            sum[0] = weight.multiply_add(a, sum[0]);
            sum[1] = weight.multiply_add(b, sum[1]);
        }
    }
    *sums = local;
}
