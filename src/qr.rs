//! Orthonormal columns: the Q of a blocked Householder QR whose R has a positive diagonal.
//!
//! A block of reflectors is one product of matrices, `H_1 ... H_b = I - V T V^T` with an upper triangular `T` (R. Schreiber
//! and C. Van Loan, "A storage-efficient WY representation for products of Householder transformations", SIAM J. Sci. Stat.
//! Comput. 10, 1989). Only the columns of the block itself are reflected one by one; all others see the block as products,
//! which run on the kernels of the layers. With the signs fixed, Q is Haar-distributed for normal entries (F. Mezzadri,
//! "How to generate random matrices from the classical compact groups", 2007, arXiv:math-ph/0609050).

use crate::error::{Cancel, Result};
use crate::kernel::{Matrix, Panels};
use crate::simd::{self, Set, Task, Vector};

/// Reflectors of a block: half the time at width 256 goes into products either way, and at 16 or 64 more of the rest.
const BLOCK: usize = 32;

/// Partial sums of a scalar product, the same on every instruction set: the widest vector of `f64`.
const SUMS: usize = 8;

/// Columns reflected at once by one reflector.
const AT_ONCE: usize = 4;

/// Entries drawn at once, to be in the cache when they are sorted into columns.
const PART: usize = 1 << 12;

/// The columns of a matrix with at least as many rows.
pub struct Columns {
    /// Column by column, each followed by zeros up to a whole number of vectors.
    data: Vec<f64>,
    rows: usize,
    stride: usize,
}

impl Columns {
    /// From a function that fills entries in C order, given the index of the first of them, a multiple of `SUMS`.
    pub fn new(rows: usize, columns: usize, cancel: &Cancel, fill: impl Fn(usize, &mut [f64])) -> Result<Self> {
        let stride = rows.next_multiple_of(SUMS);
        let mut data = vec![0.0; columns * stride];
        // Rows that fill cache lines of the columns.
        let at_once = (PART / columns).next_multiple_of(SUMS);
        let mut part = vec![0.0; at_once.min(rows) * columns];
        for first in (0..rows).step_by(at_once) {
            cancel.check()?;
            let part = &mut part[..at_once.min(rows - first) * columns];
            fill(first * columns, part);
            for (i, rows) in part.chunks(SUMS * columns).enumerate() {
                for (j, column) in data.chunks_exact_mut(stride).enumerate() {
                    let start = first + i * SUMS;
                    for (to, from) in column[start..].iter_mut().zip(rows[j..].iter().step_by(columns)) {
                        *to = *from;
                    }
                }
            }
        }
        Ok(Self { data, rows, stride })
    }

    /// Write every entry, changed by a function, in C order of the matrix or of its transpose.
    pub fn write<F>(&self, transposed: bool, change: impl Fn(f64) -> F, to: &mut [F]) {
        if transposed {
            for (row, column) in to.chunks_exact_mut(self.rows).zip(self.data.chunks_exact(self.stride)) {
                row.iter_mut().zip(column).for_each(|(to, &from)| *to = change(from));
            }
        } else {
            let columns = self.data.len() / self.stride;
            for (i, rows) in to.chunks_mut(SUMS * columns).enumerate() {
                for (j, column) in self.data.chunks_exact(self.stride).enumerate() {
                    for (to, &from) in rows[j..].iter_mut().step_by(columns).zip(&column[i * SUMS..]) {
                        *to = change(from);
                    }
                }
            }
        }
    }

    /// Become the Q of the QR decomposition.
    pub fn orthonormalise(&mut self, cancel: &Cancel) -> Result<()> {
        let count = self.data.len() / self.stride;
        let mut signs = vec![0.0; count];
        let mut factors = vec![0.0; count * BLOCK];
        let mut block = Block::default();
        for first in (0..count).step_by(BLOCK) {
            cancel.check()?;
            let last = count.min(first + BLOCK);
            let factor = &mut factors[first * BLOCK..last * BLOCK];
            simd::run(Reflect {
                columns: &mut self.data[first * self.stride..last * self.stride],
                stride: self.stride,
                row: first,
                signs: &mut signs[first..last],
                factor,
            });
            if last < count {
                block.load(self, first, last);
                // Q^T C, C later columns: the reflectors in their order.
                block.apply(self, first, last, |s, k| factor[s * BLOCK + k]);
            }
        }
        for first in (0..count).step_by(BLOCK).rev() {
            cancel.check()?;
            let last = count.min(first + BLOCK);
            block.load(self, first, last);
            // Columns of the identity with the signs of R; what the later ones hold in these rows is left over from R.
            for (j, column) in self.data.chunks_exact_mut(self.stride).enumerate().skip(first) {
                column[first..if j < last { self.stride } else { last }].fill(0.0);
                if j < last {
                    column[j] = signs[j];
                }
            }
            // Q C: the reflectors in reverse order.
            let factor = &factors[first * BLOCK..last * BLOCK];
            block.apply(self, first, first, |s, k| factor[k * BLOCK + s]);
        }
        Ok(())
    }
}

/// Reflectors of a block, laid out for products with other columns, and what these products need.
#[derive(Default)]
struct Block {
    /// `V^T`.
    rows: Matrix<f64>,
    /// `V`: samples are its rows.
    samples: Panels<f64>,
    /// `T` or its transpose.
    factor: Panels<f64>,
    /// `V` times that.
    scaled: Panels<f64>,
    /// `C^T`.
    others: Matrix<f64>,
    /// `C^T` times `scaled`.
    shares: Panels<f64>,
    /// The same.
    weights: Matrix<f64>,
    /// What is taken from `C`.
    change: Panels<f64>,
}

impl Block {
    /// Take over columns `first..last`, which hold reflectors from row `first` on.
    fn load(&mut self, from: &Columns, first: usize, last: usize) {
        let (height, width) = (from.rows - first, last - first);
        self.rows.fill(width, height, |rows| {
            for (row, j) in rows.chunks_exact_mut(height).zip(first..last) {
                row.copy_from_slice(&from.data[j * from.stride..][first..from.rows]);
            }
        });
        let v = &from.data[first * from.stride + first..];
        self.samples.fill(width, height, |row, reflector| v[reflector * from.stride + row]);
    }

    /// `C - V F V^T C` for the rows from `row` on of the columns from `column` on, where `transposed(s, k)` is `F_ks`.
    fn apply(&mut self, to: &mut Columns, row: usize, column: usize, transposed: impl Fn(usize, usize) -> f64) {
        let (height, width) = (self.rows.columns(), self.rows.rows());
        self.factor.fill(width, width, transposed);
        self.rows.backward(&self.factor, &mut self.scaled);
        // As many columns at once as there are reflectors: what is copied for a product stays in the cache.
        for part in to.data[column * to.stride..].chunks_mut(BLOCK * to.stride) {
            let count = part.len() / to.stride;
            self.others.fill(count, height, |others| {
                for (other, column) in others.chunks_exact_mut(height).zip(part.chunks_exact(to.stride)) {
                    other.copy_from_slice(&column[row..to.rows]);
                }
            });
            self.others.forward(&self.scaled, &[], &mut self.shares);
            self.weights.fill(count, width, |weights| {
                let mut done = Progress::default();
                for (panel, column, shares) in self.shares.rows() {
                    weights[column * width + done.start(panel, shares)..][..shares.len()].copy_from_slice(shares);
                }
            });
            self.weights.forward(&self.samples, &[], &mut self.change);
            let mut done = Progress::default();
            for (panel, column, changes) in self.change.rows() {
                let start = column * to.stride + row + done.start(panel, changes);
                for (to, change) in part[start..].iter_mut().zip(changes) {
                    *to -= change;
                }
            }
        }
    }
}

/// The first sample of each panel, from the lengths of those before.
#[derive(Default)]
struct Progress {
    panel: usize,
    start: usize,
    length: usize,
}

impl Progress {
    fn start(&mut self, panel: usize, samples: &[f64]) -> usize {
        if panel != self.panel {
            self.start += self.length;
            self.panel = panel;
        }
        self.length = samples.len();
        self.start
    }
}

/// Householder reflectors of a few columns from row `row` on: column `k` becomes `v` with `H_k = I - v v^T`, zero above
/// its row `row + k`.
struct Reflect<'v> {
    columns: &'v mut [f64],
    stride: usize,
    /// A multiple of the length of every vector.
    row: usize,
    /// The signs of the diagonal of R.
    signs: &'v mut [f64],
    /// `T`, column by column, `BLOCK` apart.
    factor: &'v mut [f64],
}

impl Task for Reflect<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Set>(self) {
        for k in 0..self.signs.len() {
            let (before, from) = self.columns.split_at_mut(k * self.stride);
            let (v, after) = from.split_at_mut(self.stride);
            v[self.row..self.row + k].fill(0.0);
            // Whole vectors from here on: what is above the row is zero.
            let start = self.row + k / SUMS * SUMS;
            let v = &mut v[start..];
            self.signs[k] = reflector::<S>(v, k % SUMS);
            let v = &*v;
            for columns in after.chunks_mut(AT_ONCE * self.stride) {
                if columns.len() == AT_ONCE * self.stride {
                    reflect::<S, AT_ONCE>(v, columns, self.stride, start);
                } else {
                    columns.chunks_mut(self.stride).for_each(|column| reflect::<S, 1>(v, column, self.stride, start));
                }
            }
            // H_1 ... H_k = I - V T V^T: T grows by the column (-T V^T v, 1).
            let (known, column) = self.factor.split_at_mut(k * BLOCK);
            for i in 0..k {
                let [share] = dots::<S, 1>(v, &before[i * self.stride..], self.stride, start);
                add::<S>(-share, &known[i * BLOCK..][..BLOCK], &mut column[..BLOCK]);
            }
            column[k] = 1.0;
        }
    }
}

/// Make the reflector that turns a column, zero before `first`, into a multiple of that unit vector; the sign of the
/// multiple.
#[inline(always)]
fn reflector<S: Set>(v: &mut [f64], first: usize) -> f64 {
    let [squares] = dots::<S, 1>(v, v, v.len(), 0);
    let head = v[first];
    // The sign that avoids cancellation.
    let sign = if head > 0.0 { -1.0 } else { 1.0 };
    // Squares near the smallest number have lost their digits. Such a column is nothing: no reflection.
    if squares < f64::MIN_POSITIVE / f64::EPSILON {
        v.fill(0.0);
        return sign;
    }
    let norm = squares.sqrt();
    v[first] -= sign * norm;
    // |v|^2 = 2 norm (norm + |head|), to be 2.
    let scale = (norm * (norm + head.abs())).sqrt().recip();
    v.iter_mut().for_each(|v| *v *= scale);
    sign
}

/// Reflect `N` columns, of which the part from `start` on is concerned.
#[inline(always)]
fn reflect<S: Set, const N: usize>(v: &[f64], columns: &mut [f64], stride: usize, start: usize) {
    let shares = dots::<S, N>(v, columns, stride, start);
    for (column, share) in columns.chunks_exact_mut(stride).zip(shares) {
        add::<S>(-share, v, &mut column[start..]);
    }
}

/// Scalar products of `v` with `N` columns, each of `SUMS` partial sums.
#[inline(always)]
fn dots<S: Set, const N: usize>(v: &[f64], columns: &[f64], stride: usize, start: usize) -> [f64; N] {
    // As many vectors of the shortest kind as make `SUMS`; longer ones need fewer.
    let mut sums = [[S::Double::splat(0.0); SUMS / 4]; N];
    for (i, v) in v.chunks_exact(SUMS).enumerate() {
        for (n, sums) in sums.iter_mut().enumerate() {
            let column = &columns[n * stride + start + i * SUMS..][..SUMS];
            for (part, sum) in sums.iter_mut().enumerate().take(SUMS / S::Double::LANES) {
                let at = part * S::Double::LANES;
                *sum = S::Double::load(&v[at..]).multiply_add(S::Double::load(&column[at..]), *sum);
            }
        }
    }
    let mut totals = [0.0; N];
    for (total, sums) in totals.iter_mut().zip(sums) {
        let mut parts = [0.0; SUMS];
        for (part, sum) in sums.into_iter().enumerate().take(SUMS / S::Double::LANES) {
            sum.store(&mut parts[part * S::Double::LANES..]);
        }
        let [a, b, c, d, e, f, g, h] = parts;
        *total = ((a + e) + (c + g)) + ((b + f) + (d + h));
    }
    totals
}

/// `to += factor * v`, of a whole number of vectors.
#[inline(always)]
fn add<S: Set>(factor: f64, v: &[f64], to: &mut [f64]) {
    let factor = S::Double::splat(factor);
    for (v, to) in v.chunks_exact(S::Double::LANES).zip(to.chunks_exact_mut(S::Double::LANES)) {
        factor.multiply_add(S::Double::load(v), S::Double::load(to)).store(to);
    }
}
