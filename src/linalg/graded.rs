//! Factors of a matrix whose rows and columns differ in size by any number of decades.
//!
//! The decomposition is `m diag(2^e) = u diag(2^f) n` with orthonormal columns `u`, exponents `f`, and rows `n` of size
//! 1, well conditioned. It comes from a Householder QR with two choices at each step. The next column is the one whose
//! rest, times its power of two, is among the longest, so that `diag(2^f) n` is graded and its rank shows. The next row
//! is one in which that rest is among the largest. With both choices the rounding errors of a row are of the size of
//! that row (A. J. Cox and N. J. Higham, "Stability of Householder QR factorization for weighted least squares
//! problems", in "Numerical Analysis 1997", 1998), and those of a column always are of the size of that column. Powers
//! of two go in and come out exactly.
//!
//! The rank is where rests are nothing but rounding. See [`FLOOR`].

use super::qr::{BLOCK, Block, Columns, FEW, Form, SUMS, dots, grow, reflect_all, reflector};
use crate::error::{Cancel, Result};
use crate::simd::{self, Set, Task, exponent_of, times_power_of_two};
use std::ops::Range;

/// What counts as nothing, relative to the largest entry of its row once every column has size 1: a thousand units of
/// rounding.
///
/// Errors of rounding, of this decomposition and of the product that made a matrix of up to 300 columns, lie below a
/// thirtieth of this floor, and mostly below a hundredth (`rounding_lies_far_below_the_floor`). A matrix of independent
/// normal entries is taken for one of lesser rank with a chance of about this number. Where sizes that range over many
/// decades force an order of rows or columns, rounding grows by the condition of those that come first, and a matrix
/// that also lacks rank may come out with one that is too large.
const FLOOR: f64 = 1024.0 * f64::EPSILON;

/// How much shorter than the longest rest, as a power of two, the next column may be. A block of reflectors can then
/// be made before the other columns see it.
const SHORTER: f64 = 3.0;

/// How much smaller than the largest entry of the next column the one in the next row may be. Rows are seldom
/// exchanged then, and errors of a row grow by this factor at most.
const SMALLER: f64 = 16.0;

/// Beside the largest entry of a column, what is smaller than this does not turn its direction.
const FAINT: f64 = 1.0 / (1 << 26) as f64;

/// Factors of `m diag(2^e)`.
#[derive(Debug, Clone, PartialEq)]
pub struct Factors {
    /// `u`, column after column.
    pub u: Vec<f64>,
    /// `f`, as many as the rank.
    pub exponents: Vec<i64>,
    /// `n`, row after row.
    pub n: Vec<f64>,
}

/// The factors of `m diag(2^exponents)`, where `columns` are those of `m`, one after the other.
pub fn factors(columns: &[f64], exponents: &[i64], cancel: &Cancel) -> Result<Factors> {
    above(FLOOR, columns, exponents, cancel)
}

/// The factors with a floor that a test may choose.
fn above(floor: f64, columns: &[f64], exponents: &[i64], cancel: &Cancel) -> Result<Factors> {
    let rows = columns.len() / exponents.len().max(1);
    if rows == 0 {
        return Ok(Factors { u: Vec::new(), exponents: Vec::new(), n: Vec::new() });
    }
    let mut elimination = Elimination::new(floor, columns, rows, exponents);
    elimination.run(cancel)?;
    elimination.factors(cancel)
}

/// A QR decomposition on its way. Columns stand in the order in which they are eliminated: reflectors, then those that
/// are left, then those that were dependent.
struct Elimination {
    /// Columns of size 1 at the beginning; then reflectors, and of the others what is left below R.
    q: Columns,
    /// Which column of the matrix stands at a place.
    columns: Vec<usize>,
    /// Which row of the matrix stands at a place.
    rows: Vec<usize>,
    /// What counts as nothing in the row at a place.
    floor: Vec<f64>,
    /// `log2` of the length of what is left of the column at a place, with its power of two.
    sizes: Vec<f64>,
    /// The power of two of every column of the matrix.
    exponents: Vec<i64>,
    /// R, column by column in the order of the matrix, as many rows as there are steps at most.
    r: Vec<f64>,
    /// Rows of R.
    height: usize,
    /// Steps done.
    rank: usize,
    /// Where the dependent columns begin.
    live: usize,
    /// Reflectors that were made together, and the `T` of each block.
    blocks: Vec<(usize, usize)>,
    factor: Vec<f64>,
}

impl Elimination {
    fn new(floor: f64, columns: &[f64], rows: usize, exponents: &[i64]) -> Self {
        let (count, stride) = (exponents.len(), rows.next_multiple_of(SUMS));
        let (mut data, mut exponents) = (vec![0.0; count * stride], exponents.to_vec());
        let mut tallest = vec![0.0_f64; rows];
        for ((to, from), exponent) in data.chunks_exact_mut(stride).zip(columns.chunks_exact(rows)).zip(&mut exponents)
        {
            let largest = from.iter().fold(0.0_f64, |most, entry| most.max(entry.abs()));
            if largest == 0.0 {
                continue;
            }
            // The inverse of the smallest numbers would be infinite.
            let size = exponent_of(largest).max(-1000);
            *exponent += size;
            let scale = times_power_of_two(1.0, -size);
            for ((to, from), tallest) in to.iter_mut().zip(from).zip(&mut tallest) {
                *to = from * scale;
                *tallest = tallest.max(to.abs());
            }
        }
        let height = rows.min(count);
        Self {
            q: Columns { data, rows, stride },
            columns: (0..count).collect(),
            rows: (0..rows).collect(),
            floor: tallest.iter().map(|tallest| floor * tallest).collect(),
            sizes: vec![0.0; count],
            exponents,
            r: vec![0.0; count * height],
            height,
            rank: 0,
            live: count,
            blocks: Vec::new(),
            factor: vec![0.0; if count > FEW { count * BLOCK } else { 0 }],
        }
    }

    /// Make reflectors, a block at a time, until what is left counts as nothing.
    fn run(&mut self, cancel: &Cancel) -> Result<()> {
        let most = if self.columns.len() > FEW { BLOCK } else { FEW };
        let mut block = Block::default();
        while self.rank < self.live.min(self.q.rows) {
            cancel.check()?;
            let first = self.rank;
            self.measure(first..self.live);
            let end = self.live.min(first + most);
            for place in first..end {
                self.exchange_columns(place, self.longest(place..self.live));
            }
            let end = self.reflect_block(end);
            if self.factor.is_empty() || self.rank == first {
                continue;
            }
            self.blocks.push((first, self.rank));
            if end < self.live {
                block.reflect(&mut self.q, (first, self.rank), end, &self.factor[first * BLOCK..self.rank * BLOCK]);
            }
        }
        for place in self.rank..self.live {
            self.keep(place);
        }
        Ok(())
    }

    /// Make reflectors of the columns before `end`, as long as they are among the longest; gives where those end then.
    fn reflect_block(&mut self, mut end: usize) -> usize {
        let first = self.rank;
        let others = self.sizes[end..self.live].iter().fold(f64::NEG_INFINITY, |most, size| most.max(*size));
        while self.rank < end.min(self.q.rows) {
            let next = self.rank;
            let longest = self.longest(next..end);
            if self.sizes[longest] < others - SHORTER {
                break;
            }
            self.exchange_columns(next, longest);
            let Some(row) = self.clean(next) else {
                self.keep(next);
                end -= 1;
                self.live -= 1;
                self.exchange_columns(next, end);
                self.exchange_columns(end, self.live);
                continue;
            };
            self.exchange_rows(next, row);
            self.keep(next);
            self.reflect(first, end);
        }
        end
    }

    /// Turn the next column into a reflector, and reflect those behind it.
    fn reflect(&mut self, first: usize, end: usize) {
        let (next, stride) = (self.rank, self.q.stride);
        let column = &mut self.q.data[next * stride..][..stride];
        column[..next].fill(0.0);
        // A column that is done already is no reflector, so that diagonal matrices stay exact.
        let done = column[next + 1..].iter().all(|entry| *entry == 0.0);
        let mut diagonal = column[next];
        if done {
            column[next] = 0.0;
        } else {
            diagonal = simd::run(Norm { column, from: next });
            let scale = times_power_of_two(1.0, -exponent_of(diagonal));
            if diagonal < 1e-100 && scale.is_finite() {
                // A power of two makes no other reflector of it, and keeps its squares from vanishing.
                column.iter_mut().for_each(|entry| *entry *= scale);
            }
        }
        let factor = if self.factor.is_empty() { &mut [][..] } else { &mut self.factor[first * BLOCK..] };
        let columns = &mut self.q.data[first * stride..end * stride];
        let sign = simd::run(Step { columns, stride, place: next - first, row: next, factor });
        self.r[self.columns[next] * self.height + next] = if done { diagonal } else { sign * diagonal };
        self.rank += 1;
        self.measure(self.rank..end);
    }

    /// Measure what is left of columns.
    fn measure(&mut self, places: Range<usize>) {
        for place in places {
            let column = &self.q.data[place * self.q.stride..][..self.q.stride];
            let norm = simd::run(Norm { column, from: self.rank });
            self.sizes[place] = libm::log2(norm) + self.exponents[self.columns[place]] as f64;
        }
    }

    /// The first of the columns of which most is left.
    fn longest(&self, places: Range<usize>) -> usize {
        let first = places.start;
        places.fold(first, |best, place| if self.sizes[place] > self.sizes[best] { place } else { best })
    }

    /// Take from what is left of a column all that counts as nothing but would turn its direction. The row to go on
    /// with, or none where nothing is left.
    fn clean(&mut self, place: usize) -> Option<usize> {
        let column = &mut self.q.data[place * self.q.stride..][place..self.q.rows];
        let floor = &self.floor[place..];
        let (mut row, mut largest) = (0, 0.0);
        for (i, (entry, floor)) in column.iter().zip(floor).enumerate() {
            if entry.abs() > *floor && entry.abs() > largest {
                (row, largest) = (i, entry.abs());
            }
        }
        for (entry, floor) in column.iter_mut().zip(floor) {
            if entry.abs() <= *floor && entry.abs() > FAINT * largest {
                *entry = 0.0;
            }
        }
        let stays = column[0].abs() * SMALLER >= largest;
        (largest > 0.0).then_some(place + if stays { 0 } else { row })
    }

    /// Keep what R has of a column.
    fn keep(&mut self, place: usize) {
        let known = &self.q.data[place * self.q.stride..][..self.rank];
        self.r[self.columns[place] * self.height..][..self.rank].copy_from_slice(known);
    }

    fn exchange_columns(&mut self, one: usize, other: usize) {
        if one != other {
            let (low, high) = self.q.data.split_at_mut(one.max(other) * self.q.stride);
            low[one.min(other) * self.q.stride..][..self.q.stride].swap_with_slice(&mut high[..self.q.stride]);
            self.columns.swap(one, other);
            self.sizes.swap(one, other);
        }
    }

    fn exchange_rows(&mut self, one: usize, other: usize) {
        if one != other {
            self.q.data.chunks_exact_mut(self.q.stride).for_each(|column| column.swap(one, other));
            self.rows.swap(one, other);
            self.floor.swap(one, other);
        }
    }

    fn factors(mut self, cancel: &Cancel) -> Result<Factors> {
        let (rank, rows, count) = (self.rank, self.q.rows, self.columns.len());
        self.q.data.truncate(rank * self.q.stride);
        // R keeps the signs of its diagonal.
        let signs = vec![1.0; rank];
        if self.factor.is_empty() {
            simd::run(Form { columns: &mut self.q.data, stride: self.q.stride, signs: &signs });
        } else {
            self.q.form(&self.blocks, &self.factor, &signs, cancel)?;
        }
        let mut u = vec![0.0; rank * rows];
        for (to, from) in u.chunks_exact_mut(rows).zip(self.q.data.chunks_exact(self.q.stride)) {
            for (row, entry) in self.rows.iter().zip(from) {
                to[*row] = *entry;
            }
        }
        let (mut exponents, mut n) = (vec![i64::MIN; rank], vec![0.0; rank * count]);
        let entries = || self.r.chunks_exact(self.height).zip(&self.exponents);
        for (column, own) in entries() {
            for (entry, exponent) in column.iter().zip(&mut exponents).filter(|(entry, _)| **entry != 0.0) {
                *exponent = (*exponent).max(exponent_of(*entry) + own);
            }
        }
        for (j, (column, own)) in entries().enumerate() {
            for (k, (entry, exponent)) in column.iter().zip(&exponents).enumerate().filter(|(_, (r, _))| **r != 0.0) {
                n[k * count + j] = times_power_of_two(*entry, own - exponent);
            }
        }
        Ok(Factors { u, exponents, n })
    }
}

/// The length of a column from a row on; its own length is a multiple of `SUMS`.
struct Norm<'v> {
    column: &'v [f64],
    from: usize,
}

impl Task for Norm<'_> {
    type Output = f64;

    #[inline(always)]
    fn run<S: Set>(self) -> f64 {
        let Self { column, from } = self;
        let whole = from.next_multiple_of(SUMS);
        let [mut squares] = dots::<S, 1>(&column[whole..], column, column.len(), whole);
        for entry in &column[from..whole] {
            squares += entry * entry;
        }
        // Far from where squares lose their digits.
        if squares > 1e-200 {
            return squares.sqrt();
        }
        let largest = column[from..].iter().fold(0.0_f64, |most, entry| most.max(entry.abs()));
        if largest == 0.0 {
            return 0.0;
        }
        let size = exponent_of(largest);
        let shares = column[from..].iter().map(|entry| times_power_of_two(*entry, -size));
        times_power_of_two(shares.map(|share| share * share).sum::<f64>().sqrt(), size)
    }
}

/// Turn the column at a place, zero above its row, into a reflector, and reflect the columns behind it. The sign of the
/// diagonal of R.
struct Step<'v> {
    /// Those of a block.
    columns: &'v mut [f64],
    stride: usize,
    place: usize,
    row: usize,
    /// `T` of the block; empty if not wanted.
    factor: &'v mut [f64],
}

impl Task for Step<'_> {
    type Output = f64;

    #[inline(always)]
    fn run<S: Set>(self) -> f64 {
        let (before, from) = self.columns.split_at_mut(self.place * self.stride);
        let (v, behind) = from.split_at_mut(self.stride);
        // Whole vectors from here on: what is above the row is zero.
        let start = self.row / SUMS * SUMS;
        let v = &mut v[start..];
        let sign = reflector::<S>(v, self.row - start);
        let v = &*v;
        reflect_all::<S>(v, behind, self.stride, start);
        if !self.factor.is_empty() {
            grow::<S>(self.factor, before, v, self.stride, start);
        }
        sign
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Error;
    use crate::rng::{Role, Stream};

    fn normals(seed: u64, count: usize) -> Vec<f64> {
        let mut all = vec![0.0; count];
        Stream::new(seed, 0, Role::Weight).normal(&mut all);
        all
    }

    fn of(columns: &[f64], exponents: &[i64]) -> Factors {
        factors(columns, exponents, &Cancel::default()).unwrap()
    }

    /// Column by column.
    fn product(left: &[f64], inner: usize, right: &[f64]) -> Vec<f64> {
        let rows = left.len() / inner;
        let mut out = vec![0.0; right.len() / inner * rows];
        for (out, right) in out.chunks_exact_mut(rows).zip(right.chunks_exact(inner)) {
            for (left, right) in left.chunks_exact(rows).zip(right) {
                out.iter_mut().zip(left).for_each(|(out, left)| *out += left * right);
            }
        }
        out
    }

    fn assert_orthonormal(u: &[f64], rank: usize) {
        let rows = u.len() / rank.max(1);
        for (i, one) in u.chunks_exact(rows.max(1)).enumerate() {
            for (j, other) in u.chunks_exact(rows).enumerate().take(i + 1) {
                let dot = one.iter().zip(other).map(|(a, b)| a * b).sum::<f64>();
                assert!((dot - f64::from(i == j)).abs() < 1e-13, "({i},{j}) {dot}");
            }
        }
    }

    /// The largest error of `u diag(2^f) n` beside `m diag(2^e)`, in units of the row's times the column's size.
    fn worst(m: &[f64], e: &[i64], found: &Factors, rows_are: impl Fn(usize) -> f64) -> f64 {
        let (count, rank) = (e.len(), found.exponents.len());
        let rows = m.len() / count;
        let mut worst = 0.0_f64;
        for j in 0..count {
            let size = m[j * rows..][..rows].iter().enumerate().fold(0.0_f64, |s, (i, v)| s.max(v.abs() / rows_are(i)));
            for i in 0..rows {
                let sum = (0..rank)
                    .map(|k| {
                        let n = times_power_of_two(found.n[k * count + j], found.exponents[k] - e[j]);
                        found.u[k * rows + i] * n
                    })
                    .sum::<f64>();
                worst = worst.max((sum - m[j * rows + i]).abs() / (rows_are(i) * size));
            }
        }
        worst
    }

    const SHAPES: [(usize, usize); 12] = [
        (1, 1),
        (1, 5),
        (9, 1),
        (4, 20),
        (7, 7),
        (40, 31),
        (64, 64),
        (65, 65),
        (130, 70),
        (70, 130),
        (200, 200),
        (257, 97),
    ];

    #[test]
    fn the_product_of_the_factors_is_the_matrix_and_u_is_orthonormal() {
        for (rows, count) in SHAPES {
            let (m, e) = (normals(1, rows * count), vec![0; count]);
            let found = of(&m, &e);
            assert_eq!(found.exponents.len(), rows.min(count), "{rows}x{count}");
            assert_orthonormal(&found.u, found.exponents.len());
            let worst = worst(&m, &e, &found, |_| 1.0);
            assert!(worst < 1e-14, "{rows}x{count}: {worst}");
        }
    }

    /// A size for each index, over so many powers of two, in no order.
    fn scattered(index: usize, count: usize, powers: i64) -> i64 {
        (index * 37 % count) as i64 * powers / count as i64 - powers / 2
    }

    #[test]
    fn rows_and_columns_of_any_size_are_right_to_the_rounding_of_each() {
        // With both of many sizes, the columns are taken in an order that is not the best for the rows: rounding grows by
        // the condition of those that come first, of normal numbers some 1e5 (2e-11 is the most on any instruction set).
        for (heights, widths, most) in [(800, 0, 2e-14), (0, 900, 2e-14), (800, 900, 1e-10)] {
            for (rows, count) in SHAPES {
                let height = |i| times_power_of_two(1.0, scattered(i, rows, heights));
                let e = (0..count).map(|j| scattered(j, count, widths)).collect::<Vec<_>>();
                let m = normals(2, rows * count);
                let m = m.iter().enumerate().map(|(at, v)| v * height(at % rows)).collect::<Vec<_>>();
                let found = of(&m, &e);
                assert_eq!(found.exponents.len(), rows.min(count), "{rows}x{count} over {heights} and {widths}");
                assert_orthonormal(&found.u, found.exponents.len());
                let worst = worst(&m, &e, &found, height);
                assert!(worst < most, "{rows}x{count} over {heights} and {widths}: {worst}");
                assert!(found.n.iter().all(|n| n.abs() < 2.0));
            }
        }
    }

    #[test]
    fn powers_of_two_come_out_as_they_went_in() {
        let (m, e) = (normals(3, 400), (0..20).map(|j| scattered(j, 20, 90)).collect::<Vec<_>>());
        let one = of(&m, &e);
        let scale = |at: usize| scattered(at / 20, 20, 1600);
        let scaled = m.iter().enumerate().map(|(at, v)| times_power_of_two(*v, scale(at))).collect::<Vec<_>>();
        let two = of(&scaled, &(0..20).map(|j| e[j] - scale(20 * j)).collect::<Vec<_>>());
        assert_eq!(one, two);
        let three = of(&m, &e.iter().map(|e| e + 1_000_000).collect::<Vec<_>>());
        assert_eq!((one.u, one.n), (three.u, three.n));
    }

    #[test]
    fn rounding_lies_far_below_the_floor() {
        for (rows, count, rank) in [(20, 20, 10), (64, 64, 40), (100, 128, 99), (256, 256, 250), (300, 300, 33)] {
            for seed in 0..4 {
                // A product of lesser rank, which rounds; then with rows of many sizes, which let rounding grow.
                let plain = product(&normals(10 * seed, rows * rank), rank, &normals(10 * seed + 1, rank * count));
                for (powers, lowest) in [(0, 1.0 / 32.0), (30, 1.0)] {
                    let height = |at: usize| times_power_of_two(1.0, scattered(at % rows, rows, powers));
                    let m = plain.iter().enumerate().map(|(at, v)| v * height(at)).collect::<Vec<_>>();
                    for factor in [lowest, 1.0, 64.0] {
                        let found = above(FLOOR * factor, &m, &vec![0; count], &Cancel::default()).unwrap();
                        let here =
                            format!("{rows}x{count} of {rank}, seed {seed}, rows over {powers}, floor x {factor}");
                        assert_eq!(found.exponents.len(), rank, "{here}");
                        assert_orthonormal(&found.u, rank);
                    }
                }
            }
        }
    }

    #[test]
    fn dependent_columns_are_found_wherever_they_stand() {
        // Two large equal columns, and small ones: what is left of the second is rounding, and scaled up by its power.
        let mut m = normals(7, 36);
        let (one, two) = m.split_at_mut(6);
        two[..6].iter_mut().zip(&*one).for_each(|(two, one)| *two = 3.0 * one);
        let found = of(&m, &[0, 0, -130, -130, -130, -130]);
        assert_eq!(found.exponents.len(), 5);
        assert!(found.exponents[1] < -120);
        let none = of(&[0.0; 12], &[5, 6, 7]);
        assert_eq!((none.u.len(), none.exponents.len(), none.n.len()), (0, 0, 0));
        assert_eq!(of(&[], &[]).exponents, [0_i64; 0]);
        assert_eq!(of(&[0.0, 0.0, 0.0, 2.0], &[9, 0]).exponents, [1]);
    }

    #[test]
    fn a_request_to_stop_is_heard() {
        let cancel = Cancel::default();
        cancel.request();
        assert_eq!(factors(&normals(1, 9), &[0; 3], &cancel), Err(Error::Cancelled));
    }
}
