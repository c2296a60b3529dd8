//! Orthonormal columns: the Q of a blocked Householder QR whose R has a positive diagonal.
//!
//! A block of reflectors is one product of matrices, `H_1 ... H_b = I - V T V^T` with an upper triangular `T` (R.
//! Schreiber and C. Van Loan, "A storage-efficient WY representation for products of Householder transformations", SIAM
//! J. Sci. Stat. Comput. 10, 1989). Only the columns of the block itself are reflected one by one; all others see the
//! block as products, which run on the kernels of the layers. With the signs fixed, Q is Haar-distributed for normal
//! entries (F. Mezzadri, "How to generate random matrices from the classical compact groups", 2007,
//! arXiv:math-ph/0609050).

use crate::error::{Cancel, Result};
use crate::kernel::{Matrix, Panels};
use crate::simd::{self, Set, Task, Vector};

/// Reflectors of a block. With 16 or 64, width 256 takes 1.3 and 1.7 times as long.
pub(super) const BLOCK: usize = 32;

/// Columns of a matrix that is reflected one by one: at 64 in two thirds of the time of products, at 128 in more.
pub(super) const FEW: usize = 64;

/// Partial sums of a scalar product, the same on every instruction set: the widest vector of `f64`.
pub(super) const SUMS: usize = 8;

/// Lanes of the shortest vector of `f64` that a set may have.
const SHORTEST: usize = 2;

/// Columns reflected at once by one reflector.
const AT_ONCE: usize = 4;

/// Entries drawn at once, to be in the cache when they are sorted into columns.
const PART: usize = 1 << 12;

/// The columns of a matrix with at least as many rows.
pub struct Columns {
    /// Column by column, each followed by zeros up to a whole number of vectors.
    pub(super) data: Vec<f64>,
    pub(super) rows: usize,
    pub(super) stride: usize,
}

impl Columns {
    /// From a function that fills entries in C order, given the index of the first of them, a multiple of `SUMS`.
    pub fn new(rows: usize, columns: usize, cancel: &Cancel, mut fill: impl FnMut(usize, &mut [f64])) -> Result<Self> {
        let stride = rows.next_multiple_of(SUMS);
        let mut data = vec![0.0; columns * stride];
        // Rows that fill cache lines of the columns.
        let at_once = (PART / columns).max(1).next_multiple_of(SUMS);
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
            let columns = to.chunks_exact_mut(self.rows).zip(self.data.chunks_exact(self.stride));
            for (row, column) in columns.take_while(|_| !Cancel::requested()) {
                row.iter_mut().zip(column).for_each(|(to, &from)| *to = change(from));
            }
        } else {
            let columns = self.data.len() / self.stride;
            for (i, rows) in to.chunks_mut(SUMS * columns).enumerate().take_while(|_| !Cancel::requested()) {
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
        if count <= FEW {
            cancel.check()?;
            let (columns, stride) = (&mut self.data[..], self.stride);
            simd::run(Reflect { columns, stride, row: 0, signs: &mut signs, factor: &mut [] });
            simd::run(Form { columns: &mut self.data, stride, signs: &signs });
            return Ok(());
        }
        let mut factors = vec![0.0; count * BLOCK];
        let mut block = Block::default();
        let blocks = (0..count).step_by(BLOCK).map(|first| (first, count.min(first + BLOCK))).collect::<Vec<_>>();
        for &(first, last) in &blocks {
            cancel.check()?;
            let factor = &mut factors[first * BLOCK..last * BLOCK];
            simd::run(Reflect {
                columns: &mut self.data[first * self.stride..last * self.stride],
                stride: self.stride,
                row: first,
                signs: &mut signs[first..last],
                factor,
            });
            if last < count {
                block.reflect(self, (first, last), last, factor);
            }
        }
        self.form(&blocks, &factors, &signs, cancel)
    }

    /// Q in the place of its reflectors, given the blocks that they were made in, the `T` of each, and the signs of the
    /// diagonal of R.
    pub(super) fn form(
        &mut self,
        blocks: &[(usize, usize)],
        factors: &[f64],
        signs: &[f64],
        cancel: &Cancel,
    ) -> Result<()> {
        let mut block = Block::default();
        for &(first, last) in blocks.iter().rev() {
            cancel.check()?;
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
pub(super) struct Block {
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
    /// `C^T` times `scaled`, as a matrix.
    weights: Matrix<f64>,
    /// What is taken from `C`.
    change: Panels<f64>,
}

impl Block {
    /// `Q^T C`: the reflectors `first..last` in their order, on the columns `C` from `column` on; `factor` is their
    /// `T`.
    pub(super) fn reflect(&mut self, all: &mut Columns, (first, last): (usize, usize), column: usize, factor: &[f64]) {
        self.load(all, first, last);
        self.apply(all, first, column, |s, k| factor[s * BLOCK + k]);
    }

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
        let parts = to.data[column * to.stride..].chunks_mut(BLOCK * to.stride);
        for part in parts.take_while(|_| !Cancel::requested()) {
            let count = part.len() / to.stride;
            self.others.fill(count, height, |others| {
                for (other, column) in others.chunks_exact_mut(height).zip(part.chunks_exact(to.stride)) {
                    other.copy_from_slice(&column[row..to.rows]);
                }
            });
            self.others.forward(&self.scaled, &[], &mut self.shares);
            self.weights.fill(count, width, |weights| {
                for (sample, column, shares) in self.shares.rows() {
                    weights[column * width + sample..][..shares.len()].copy_from_slice(shares);
                }
            });
            self.weights.forward(&self.samples, &[], &mut self.change);
            for (sample, column, changes) in self.change.rows() {
                let start = column * to.stride + row + sample;
                for (to, change) in part[start..].iter_mut().zip(changes) {
                    *to -= change;
                }
            }
        }
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
    /// `T`, column by column, `BLOCK` apart; empty if not wanted.
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
            reflect_all::<S>(v, after, self.stride, start);
            if self.factor.is_empty() {
                continue;
            }
            grow::<S>(self.factor, before, v, self.stride, start);
        }
    }
}

/// `H_1 ... H_k = I - V T V^T`: `T` grows by the column `(-T V^T v, 1)`, for the reflectors `before` and the next, `v`.
#[allow(clippy::needless_range_loop)] // As in the inner loop of products: `zip` is a call in some builds.
#[inline(always)]
pub(super) fn grow<S: Set>(factor: &mut [f64], before: &[f64], v: &[f64], stride: usize, start: usize) {
    let k = before.len() / stride;
    let (known, column) = factor.split_at_mut(k * BLOCK);
    let mut sums = [S::Double::splat(0.0); BLOCK / SHORTEST];
    for (v_i, known) in before.chunks_exact(stride).zip(known.chunks_exact(BLOCK)) {
        let [share] = dots::<S, 1>(v, v_i, stride, start);
        for i in 0..BLOCK / S::Double::LANES {
            let known = S::Double::load(&known[i * S::Double::LANES..]);
            sums[i] = S::Double::splat(-share).multiply_add(known, sums[i]);
        }
    }
    for i in 0..BLOCK / S::Double::LANES {
        sums[i].store(&mut column[i * S::Double::LANES..]);
    }
    column[k] = 1.0;
}

/// Q in the place of the reflectors of a matrix of few columns: products would not save what they cost.
pub(super) struct Form<'v> {
    pub(super) columns: &'v mut [f64],
    pub(super) stride: usize,
    pub(super) signs: &'v [f64],
}

impl Task for Form<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Set>(self) {
        for (k, &sign) in self.signs.iter().enumerate().rev() {
            let (v, after) = self.columns[k * self.stride..].split_at_mut(self.stride);
            let start = k / SUMS * SUMS;
            reflect_all::<S>(&v[start..], after, self.stride, start);
            // A column of the identity with the sign of R, reflected.
            let scale = -sign * v[k];
            for v in &mut *v {
                *v *= scale;
            }
            v[k] += sign;
        }
    }
}

/// Make the reflector that turns a column, zero before `first`, into a multiple of that unit vector; the sign of the
/// multiple.
#[inline(always)]
pub(super) fn reflector<S: Set>(v: &mut [f64], first: usize) -> f64 {
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
    for v in v {
        *v *= scale;
    }
    sign
}

/// Reflect every column, of which the part from `start` on is concerned.
#[inline(always)]
pub(super) fn reflect_all<S: Set>(v: &[f64], columns: &mut [f64], stride: usize, start: usize) {
    for columns in columns.chunks_mut(AT_ONCE * stride) {
        if columns.len() == AT_ONCE * stride {
            reflect::<S, AT_ONCE>(v, columns, stride, start);
        } else {
            // Loops, not `for_each`: a closure handed to it is compiled without the set's instructions.
            for column in columns.chunks_mut(stride) {
                reflect::<S, 1>(v, column, stride, start);
            }
        }
    }
}

/// Reflect `N` columns by one vector, from its row `start` on.
#[inline(always)]
fn reflect<S: Set, const N: usize>(v: &[f64], columns: &mut [f64], stride: usize, start: usize) {
    let shares = dots::<S, N>(v, columns, stride, start);
    for (n, column) in columns.chunks_exact_mut(stride).enumerate() {
        add::<S>(-shares[n], v, &mut column[start..]);
    }
}

/// Scalar products of `v` with `N` columns, each of `SUMS` partial sums.
#[allow(clippy::needless_range_loop)] // As in the inner loop of products: `zip` is a call in some builds.
#[inline(always)]
pub(super) fn dots<S: Set, const N: usize>(v: &[f64], columns: &[f64], stride: usize, start: usize) -> [f64; N] {
    // Arrays of known length and slices of one length: no check is left in the loop.
    let (v, _) = v.as_chunks::<SUMS>();
    let mut others = [v; N];
    for (other, column) in others.iter_mut().zip(columns.chunks(stride)) {
        *other = &column[start..].as_chunks().0[..v.len()];
    }
    const { assert!(S::Double::LANES >= SHORTEST && SUMS.is_multiple_of(S::Double::LANES)) };
    // As many vectors of the shortest kind as make `SUMS`; longer ones need fewer.
    let mut sums = [[S::Double::splat(0.0); SUMS / SHORTEST]; N];
    for (i, v) in v.iter().enumerate() {
        for n in 0..N {
            for part in 0..SUMS / S::Double::LANES {
                let at = part * S::Double::LANES;
                sums[n][part] =
                    S::Double::load(&v[at..]).multiply_add(S::Double::load(&others[n][i][at..]), sums[n][part]);
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Error;
    use crate::rng::{Role, Stream};

    /// Column by column.
    type Plain = Vec<Vec<f64>>;

    fn dot(a: &[f64], b: &[f64]) -> f64 {
        a.iter().zip(b).map(|(a, b)| a * b).sum()
    }

    fn normals(rows: usize, columns: usize) -> Plain {
        let mut all = vec![0.0; rows * columns];
        Stream::new(5, rows, Role::Weight).normal(&mut all);
        all.chunks_exact(rows).map(<[f64]>::to_vec).collect()
    }

    #[test]
    fn rows_longer_than_a_part_of_draws_are_taken_a_few_at_a_time() {
        let size = PART + 1;
        let entries = |start: usize, part: &mut [f64]| {
            assert!(start.is_multiple_of(SUMS));
            part[0] = start as f64;
        };
        let all = Columns::new(size, size, &Cancel::default(), entries).unwrap();
        assert_eq!(all.data[SUMS], (SUMS * size) as f64);
    }

    fn q_of(a: &Plain, cancel: &Cancel) -> Result<Plain> {
        let (rows, columns) = (a[0].len(), a.len());
        let entries = |start: usize, part: &mut [f64]| {
            for (i, entry) in part.iter_mut().enumerate() {
                *entry = a[(start + i) % columns][(start + i) / columns];
            }
        };
        let mut q = Columns::new(rows, columns, cancel, entries)?;
        q.orthonormalise(cancel)?;
        let mut transposed = vec![0.0; rows * columns];
        q.write(true, |entry| entry, &mut transposed);
        let mut in_order = vec![0.0; rows * columns];
        q.write(false, |entry| entry, &mut in_order);
        let got = transposed.chunks_exact(rows).map(<[f64]>::to_vec).collect::<Plain>();
        for (i, entry) in in_order.into_iter().enumerate() {
            assert_eq!(entry, got[i % columns][i / columns]);
        }
        Ok(got)
    }

    /// The slow twin: every reflector by itself.
    fn one_by_one(mut a: Plain) -> Plain {
        let (rows, columns) = (a[0].len(), a.len());
        let mut reflectors: Vec<Vec<f64>> = Vec::new();
        let reflect = |v: &[f64], x: &mut [f64]| {
            let share = 2.0 * dot(v, x) / dot(v, v);
            x.iter_mut().zip(v).for_each(|(x, v)| *x -= share * v);
        };
        let mut signs = Vec::new();
        for (j, x) in a.iter_mut().enumerate() {
            reflectors.iter().for_each(|v| reflect(v, x));
            let mut v = x.clone();
            v[..j].fill(0.0);
            signs.push(if v[j] > 0.0 { -1.0 } else { 1.0 });
            v[j] -= signs[j] * dot(&v, &v).sqrt();
            reflectors.push(v);
        }
        let column = |j: usize| {
            let mut q = vec![0.0; rows];
            q[j] = signs[j];
            reflectors[..=j].iter().rev().for_each(|v| reflect(v, &mut q));
            q
        };
        (0..columns).map(column).collect()
    }

    fn worst_product(q: &Plain) -> f64 {
        let mut worst = 0.0_f64;
        for (i, a) in q.iter().enumerate() {
            for (j, b) in q[..=i].iter().enumerate() {
                let error = dot(a, b) - if i == j { 1.0 } else { 0.0 };
                assert!(error.is_finite(), "({i},{j})");
                worst = worst.max(error.abs());
            }
        }
        worst
    }

    /// Less than a vector, few columns, just more, more than a part of draws; tall and square.
    const SHAPES: [(usize, usize); 14] = [
        (1, 1),
        (9, 1),
        (2, 2),
        (7, 7),
        (40, 31),
        (32, 32),
        (33, 33),
        (64, 64),
        (70, 65),
        (130, 70),
        (500, 96),
        (5000, 3),
        (256, 256),
        (257, 257),
    ];

    #[test]
    fn the_blocked_q_is_that_of_the_reflectors_one_by_one() {
        for (rows, columns) in SHAPES {
            let a = normals(rows, columns);
            let q = q_of(&a, &Cancel::default()).unwrap();
            assert!(worst_product(&q) < 1e-13, "{rows}x{columns}: {}", worst_product(&q));
            for (got, expected) in q.iter().flatten().zip(one_by_one(a).iter().flatten()) {
                assert!((got - expected).abs() < 1e-10, "{rows}x{columns}: {got} {expected}");
            }
        }
    }

    #[test]
    fn r_is_upper_triangular_with_a_positive_diagonal() {
        for (rows, columns) in SHAPES {
            let a = normals(rows, columns);
            let q = q_of(&a, &Cancel::default()).unwrap();
            for (i, q) in q.iter().enumerate() {
                assert!(dot(q, &a[i]) > 0.0, "{rows}x{columns} ({i},{i})");
                for a in &a[..i] {
                    // Columns of 5000 entries have a length of 70.
                    assert!(dot(q, a).abs() < 1e-12, "{rows}x{columns} ({i}): {}", dot(q, a));
                }
            }
        }
    }

    #[test]
    fn columns_that_are_nearly_or_quite_dependent_give_orthonormal_ones_too() {
        let (rows, columns) = (90, 70);
        let change = |change: &dyn Fn(usize, &Plain) -> Vec<f64>| {
            let a = normals(rows, columns);
            (0..columns).map(|j| change(j, &a)).collect::<Plain>()
        };
        let scaled = |v: &[f64], by: f64| v.iter().map(|v| v * by).collect::<Vec<_>>();
        for (name, a) in [
            ("zeros", change(&|_, _| vec![0.0; rows])),
            ("some zeros", change(&|j, a| if j % 3 == 1 { vec![0.0; rows] } else { a[j].clone() })),
            ("repeated", change(&|j, a| a[j / 2].clone())),
            ("all one", change(&|_, _| vec![1.0; rows])),
            ("nearly one", change(&|j, a| a[0].iter().zip(&a[j]).map(|(x, y)| x + 1e-13 * y).collect())),
            ("graded", change(&|j, a| scaled(&a[j], 10.0_f64.powi(-4 * j as i32)))),
            ("vanishing", change(&|j, a| scaled(&a[j], 10.0_f64.powi(-120 - j as i32)))),
        ] {
            let worst = worst_product(&q_of(&a, &Cancel::default()).unwrap());
            assert!(worst < 1e-13, "{name}: {worst}");
        }
    }

    #[test]
    fn a_request_to_stop_is_heard() {
        let cancel = Cancel::default();
        cancel.request();
        assert_eq!(q_of(&normals(3, 2), &cancel), Err(Error::Cancelled));
    }
}
