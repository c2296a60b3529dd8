//! The inner loop of every matrix product: tiles of the output that live in registers while one chain of fused
//! multiply-adds runs over the inner index.
//!
//! Each output is one chain in the order of that index, whatever the tile, the vector length or the blocks: so bits
//! depend on the shapes alone, and are the same on every instruction set that fuses.

use crate::simd::{Float, Lanes, Set, Task, Vector};
use std::mem::MaybeUninit;
use std::ops::Range;

/// Some steps of the inner index of a matrix: `at(i, k) = values[i * row + k * step]` for `k < inner`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Segment<'v, F> {
    pub values: &'v [F],
    pub row: usize,
    pub step: usize,
    pub inner: usize,
}

impl<F> Segment<'_, F> {
    /// The segment behind so many rows.
    #[inline(always)]
    pub fn after(self, row: usize) -> Self {
        Self { values: &self.values[row * self.row..], ..self }
    }
}

/// The number that a sum begins with.
#[derive(Debug, Clone, Copy)]
pub(super) enum Start<'v, F> {
    /// Zero.
    Zero,
    /// One value a row.
    Bias(&'v [F]),
    /// The number that the output holds: an earlier product has written it.
    Output,
}

/// The product `out(i, j) = start + sum_k left(i, k) right(k, j)`, with `k` running through the segments of `left`.
#[derive(Debug)]
pub(super) struct Product<'v, F> {
    pub left: &'v [Segment<'v, F>],
    /// The row of `left` that is row 0 here.
    pub first_row: usize,
    /// Row `k` begins at `k * right_step` and is `columns` long, rounded up to whole vectors of 64 bytes.
    pub right: &'v [F],
    pub right_step: usize,
    pub rows: usize,
    pub columns: usize,
    /// Row `i` begins at `i * out_step`.
    pub out: &'v mut [MaybeUninit<F>],
    pub out_step: usize,
    pub start: Start<'v, F>,
}

/// Values as room for a product, which writes numbers only.
#[allow(unsafe_code)]
pub(super) fn room<F: Float>(values: &mut [F]) -> &mut [MaybeUninit<F>] {
    // SAFETY: the layout is the same, and nothing of this module writes what is no number.
    unsafe { &mut *(std::ptr::from_mut(values) as *mut [MaybeUninit<F>]) }
}

impl<F: Float> Task for Product<'_, F> {
    type Output = ();

    #[inline(always)]
    fn run<S: Set>(mut self) {
        let strip = 2 * Lanes::<F, S>::LANES;
        // A panel of several strips is taken a few rows at a time: their weights come from far away once for all strips,
        // and not in haste for the first. What is wider goes strip by strip, whose rows stay near from tile to tile.
        let wide = if self.columns <= F::LANES { self.columns } else { strip };
        let mut column = 0;
        while column < self.columns {
            self.rows::<S>(column..self.columns.min(column + wide));
            column += wide;
        }
    }
}

impl<F: Float> Product<'_, F> {
    /// The product for all rows of some columns.
    #[inline(always)]
    fn rows<S: Set>(&mut self, columns: Range<usize>) {
        let mut row = 0;
        macro_rules! while_at_least {
            ($size:literal, $tile:expr) => {
                while self.rows - row >= $size {
                    $tile;
                    row += $size;
                }
            };
        }
        // As many accumulators as hide the latency of a fused multiply-add and fit the registers. One vector a row
        // leaves room for twice the rows.
        if S::TILE >= 8 && columns.len() <= Lanes::<F, S>::LANES {
            while_at_least!(16, self.tile::<S, 16, 1>(row, columns.start));
        }
        if S::TILE >= 8 {
            while_at_least!(8, self.across::<S, 8>(row, columns.clone()));
        } else if S::TILE >= 6 {
            while_at_least!(6, self.across::<S, 6>(row, columns.clone()));
        } else {
            while_at_least!(2, self.across::<S, 2>(row, columns.clone()));
        }
        // What is left in one tile: several small ones would each wait for their few chains.
        match self.rows - row {
            1 => self.across::<S, 1>(row, columns),
            2 if S::TILE > 2 => self.across::<S, 2>(row, columns),
            3 if S::TILE > 3 => self.across::<S, 3>(row, columns),
            4 if S::TILE > 4 => self.across::<S, 4>(row, columns),
            5 if S::TILE > 5 => self.across::<S, 5>(row, columns),
            6 if S::TILE > 6 => self.across::<S, 6>(row, columns),
            7 if S::TILE > 7 => self.across::<S, 7>(row, columns),
            _ => {}
        }
    }

    /// The product for some rows of some columns.
    #[inline(always)]
    fn across<S: Set, const ROWS: usize>(&mut self, row: usize, columns: Range<usize>) {
        let (lanes, mut column) = (Lanes::<F, S>::LANES, columns.start);
        while column + lanes < columns.end {
            self.tile::<S, ROWS, 2>(row, column);
            column += 2 * lanes;
        }
        if column < columns.end {
            self.tile::<S, ROWS, 1>(row, column);
        }
    }

    #[allow(unsafe_code, clippy::needless_range_loop)] // As in `accumulate`.
    #[inline(always)]
    fn tile<S: Set, const ROWS: usize, const VECTORS: usize>(&mut self, row: usize, column: usize) {
        let lanes = Lanes::<F, S>::LANES;
        let valid = (self.columns - column).min(VECTORS * lanes);
        let whole = valid == VECTORS * lanes;
        let mut sums = [[Lanes::<F, S>::splat(F::ZERO); VECTORS]; ROWS];
        match self.start {
            Start::Zero => {}
            Start::Bias(bias) => {
                for r in 0..ROWS {
                    sums[r] = [Lanes::<F, S>::splat(bias[row + r]); VECTORS];
                }
            }
            Start::Output => {
                for r in 0..ROWS {
                    let out = &self.out[(row + r) * self.out_step + column..][..valid];
                    // SAFETY: of `Start::Output`, an earlier product has written these.
                    let out = unsafe { &*(std::ptr::from_ref(out) as *const [F]) };
                    let mut edge = [F::ZERO; MOST];
                    if !whole {
                        edge[..valid].copy_from_slice(out);
                    }
                    let out = if whole { out } else { &edge };
                    for v in 0..VECTORS {
                        sums[r][v] = Lanes::<F, S>::load(&out[v * lanes..]);
                    }
                }
            }
        }
        let mut from = column;
        for segment in self.left {
            let segment = segment.after(self.first_row + row);
            accumulate::<F, S, ROWS, VECTORS>(&mut sums, segment, &self.right[from..], self.right_step);
            from += segment.inner * self.right_step;
        }
        for r in 0..ROWS {
            let out = &mut self.out[(row + r) * self.out_step + column..];
            if whole {
                for v in 0..VECTORS {
                    sums[r][v].write(&mut out[v * lanes..]);
                }
            } else {
                let mut edge = [F::ZERO; MOST];
                for v in 0..VECTORS {
                    sums[r][v].store(&mut edge[v * lanes..]);
                }
                for (out, value) in out.iter_mut().zip(&edge[..valid]) {
                    out.write(*value);
                }
            }
        }
    }
}

/// A loop over indices that are known where it is compiled. A build for size keeps a short loop as it is, and what it
/// indexes in memory: products took twice as long.
macro_rules! unrolled {
    ($index:ident in [$($each:literal),*] below $count:ident, $body:expr) => {
        $(if $each < $count {
            let $index = $each;
            $body;
        })*
    };
}

/// Elements of two vectors of the widest set.
const MOST: usize = 32;

/// `sums[r] += left(r, k) right(k)` for every `k` of a segment.
#[allow(unsafe_code, clippy::needless_range_loop)] // The reason stands beside the loops.
#[inline(always)]
fn accumulate<F: Float, S: Set, const ROWS: usize, const VECTORS: usize>(
    sums: &mut [[Lanes<F, S>; VECTORS]; ROWS],
    left: Segment<'_, F>,
    right: &[F],
    right_step: usize,
) {
    let inner = left.inner;
    if inner == 0 {
        return;
    }
    let width = VECTORS * Lanes::<F, S>::LANES;
    let last = (ROWS - 1) * left.row + (inner - 1) * left.step;
    assert!(last < left.values.len() && (inner - 1) * right_step + width <= right.len());
    // While a tile is worked on, weights of a later one are fetched: the next rows (`W x`), or the next line of each row
    // (`W^T d`). Left to themselves, the caches of a net larger than they are made W x at width 256 wait half of its
    // time. Asking for the entries of the next tile's columns left lines that two tiles of six share to nobody.
    let next = left.values.as_ptr().wrapping_add(if left.step == 1 { ROWS * left.row } else { F::LANES / 2 });
    let stride = if left.step == 1 { ROWS * left.row / inner } else { left.step };
    let mut local = *sums;
    for k in 0..inner {
        S::prefetch(next.wrapping_add(k * stride));
        // SAFETY: `k < inner`, and the end of the last `k` was checked against the length above.
        let values = unsafe { right.get_unchecked(k * right_step..k * right_step + width) };
        let mut vectors = [Lanes::<F, S>::splat(F::ZERO); VECTORS];
        // Indices, not `zip`: it is made by a function that is a call wherever a build does not optimise across units,
        // and two calls for each multiply-add made such builds twenty times slower.
        unrolled!(v in [0, 1] below VECTORS, vectors[v] = Lanes::<F, S>::load(&values[v * Lanes::<F, S>::LANES..]));
        unrolled!(r in [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15] below ROWS, {
            // SAFETY: `r < ROWS` and `k < inner`, and the largest such index was checked above.
            let weight = Lanes::<F, S>::splat(unsafe { *left.values.get_unchecked(r * left.row + k * left.step) });
            unrolled!(v in [0, 1] below VECTORS, local[r][v] = weight.multiply_add(vectors[v], local[r][v]));
        });
    }
    *sums = local;
}
