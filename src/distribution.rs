//! Distributions of the entries of a tensor: how they are drawn from a stream, and their mean and variance.

use crate::error::{Cancel, Result};
use crate::expectation::quadrature::{END, FINE, integrate};
use crate::linalg::qr::Columns;
use crate::rng::{Stream, Truncated};
use crate::simd::Float;

/// The law of the entries of one tensor.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Distribution {
    /// One number for every entry.
    Constant(f64),
    /// Uniforms between two bounds.
    Uniform(f64, f64),
    /// Normals with a mean and a standard deviation.
    Normal(f64, f64),
    /// Normals with this mean and standard deviation that are known to lie between two bounds.
    TruncatedNormal {
        /// The mean before truncation.
        mean: f64,
        /// The standard deviation before truncation.
        std: f64,
        /// The least value.
        low: f64,
        /// The largest value.
        high: f64,
    },
    /// A number on the diagonal, zeros elsewhere.
    Eye(f64),
    /// Normals, of which so many are set to zero in each column.
    Sparse {
        /// The number of zeros in a column.
        zeros: usize,
        /// The standard deviation of the other entries.
        std: f64,
    },
    /// Haar-distributed orthonormal rows or columns times a gain.
    Orthogonal(f64),
    /// Biases of gates of memories between 1 and `most` steps long: `ln u` in the block that keeps, `u` uniform between 1
    /// and `most`, and its negative in the block that takes in, if there is one; zeros elsewhere.
    Chrono {
        /// The longest memory.
        most: f64,
        /// Blocks of rows.
        blocks: usize,
        /// The block that keeps.
        keeps: usize,
        /// The block that takes in.
        takes: Option<usize>,
    },
    /// An orthogonal block `V` and its negative: `[V; -V]`, `[V, -V]` or `[[V, -V], [-V, V]]`.
    Mirrored {
        /// The gain of `V`.
        gain: f64,
        /// Is the lower half of the rows the negative of the upper one?
        rows: bool,
        /// Is the right half of the columns the negative of the left one?
        columns: bool,
    },
}

impl Distribution {
    /// Is every entry zero?
    pub fn is_zero(&self) -> bool {
        let largest = match *self {
            Self::Constant(size) | Self::Eye(size) | Self::Orthogonal(size) => size.abs(),
            Self::Normal(a, b) | Self::Uniform(a, b) => a.abs().max(b.abs()),
            Self::TruncatedNormal { low, high, .. } => low.abs().max(high.abs()),
            Self::Sparse { std, .. } => std,
            Self::Chrono { most, .. } => most - 1.0,
            Self::Mirrored { gain, .. } => gain,
        };
        largest == 0.0
    }

    /// The name of the law.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Constant(_) => "constant",
            Self::Uniform(..) => "uniform",
            Self::Normal(..) => "normal",
            Self::TruncatedNormal { .. } => "truncated_normal",
            Self::Eye(_) => "eye",
            Self::Sparse { .. } => "sparse",
            Self::Chrono { .. } => "chrono",
            Self::Orthogonal(_) => "orthogonal",
            Self::Mirrored { .. } => "mirrored",
        }
    }

    /// Are all singular values equal, so that none is the largest?
    pub fn is_isometry(&self) -> bool {
        !self.is_zero() && matches!(self, Self::Orthogonal(_) | Self::Eye(_) | Self::Mirrored { .. })
    }

    /// Mean and variance of an entry that is picked at random from a `rows x columns` tensor.
    pub fn moments(&self, rows: usize, columns: usize) -> [f64; 2] {
        let longer = rows.max(columns) as f64;
        match *self {
            Self::Constant(value) => [value, 0.0],
            Self::Uniform(low, high) => [0.5 * (low + high), (high - low) * (high - low) / 12.0],
            Self::Normal(mean, std) => [mean, std * std],
            Self::TruncatedNormal { mean, std, low, high } => truncated(mean, std, low, high),
            Self::Eye(size) => [size / longer, size * size * (longer - 1.0) / (longer * longer)],
            Self::Sparse { zeros, std } => [0.0, std * std * (rows - zeros) as f64 / rows as f64],
            Self::Chrono { most, blocks, takes, .. } => {
                let (all, [first, second]) = (blocks as f64, of_log(most));
                let mean = if takes.is_some() { 0.0 } else { first / all };
                [mean, second * (1 + usize::from(takes.is_some())) as f64 / all - mean * mean]
            }
            Self::Orthogonal(gain) => [0.0, gain * gain / longer],
            Self::Mirrored { gain, rows: both_rows, columns: both_columns } => {
                let halved = |length: usize, both: bool| if both { length / 2 } else { length };
                Self::Orthogonal(gain).moments(halved(rows, both_rows), halved(columns, both_columns))
            }
        }
    }

    /// Mean and variance of an entry of one of the blocks of rows that a tensor has: those of every entry, but where the
    /// law tells the blocks apart.
    pub fn moments_of_block(&self, block: usize, rows: usize, columns: usize) -> [f64; 2] {
        let Self::Chrono { most, keeps, takes, .. } = *self else { return self.moments(rows, columns) };
        let [first, second] = of_log(most);
        let variance = second - first * first;
        match block {
            block if block == keeps => [first, variance],
            block if Some(block) == takes => [-first, variance],
            _ => [0.0, 0.0],
        }
    }

    /// Draw a `rows x columns` tensor in C order.
    pub fn fill<F: Float>(
        &self,
        stream: Stream,
        rows: usize,
        columns: usize,
        out: &mut [F],
        cancel: &Cancel,
    ) -> Result<()> {
        match *self {
            _ if self.is_zero() => out.fill(F::ZERO),
            Self::Constant(value) => out.fill(F::of(value)),
            Self::Uniform(a, b) => in_parts(out, cancel, |start, part| stream.after(start).uniform(a, b, part))?,
            Self::Normal(mean, std) => {
                in_parts(out, cancel, |start, part| stream.after(start).normal_of(mean, std, part))?;
            }
            Self::TruncatedNormal { mean, std, low, high } => {
                let law = Truncated::new(mean, std, low, high);
                in_parts(out, cancel, |start, part| stream.after(start).truncated(&law, part))?;
            }
            Self::Eye(size) => {
                out.fill(F::ZERO);
                out.iter_mut().step_by(columns + 1).take(rows.min(columns)).for_each(|entry| *entry = F::of(size));
            }
            Self::Sparse { zeros, std } => {
                Self::Normal(0.0, std).fill(stream, rows, columns, out, cancel)?;
                clear(stream.companion(), zeros, rows, columns, out, cancel)?;
            }
            Self::Chrono { most, blocks, keeps, takes } => {
                let each = rows / blocks;
                out.fill(F::ZERO);
                let mut drawn = vec![0.0_f64; each];
                stream.uniform(1.0, most, &mut drawn);
                for (row, u) in drawn.into_iter().enumerate() {
                    let log = libm::log(u);
                    out[keeps * each + row] = F::of(log);
                    if let Some(takes) = takes {
                        out[takes * each + row] = F::of(-log);
                    }
                }
            }
            Self::Orthogonal(gain) => {
                let (tall, narrow) = (rows.max(columns), rows.min(columns));
                let mut drawn = Vec::new();
                let draw = |start, part: &mut [f64]| {
                    drawn.resize(part.len(), F::ZERO);
                    stream.after(start).normal(&mut drawn);
                    part.iter_mut().zip(&drawn).for_each(|(part, drawn)| *part = drawn.wide());
                };
                let mut q = Columns::new(tall, narrow, cancel, draw)?;
                q.orthonormalise(cancel)?;
                q.write(rows < columns, |entry| F::of(gain * entry), out);
            }
            Self::Mirrored { gain, rows: both_rows, columns: both_columns } => {
                let height = if both_rows { rows / 2 } else { rows };
                let width = if both_columns { columns / 2 } else { columns };
                let mut block = vec![F::ZERO; height * width];
                Self::Orthogonal(gain).fill(stream, height, width, &mut block, cancel)?;
                for (i, row) in out.chunks_exact_mut(columns).enumerate() {
                    let block = &block[i % height * width..][..width];
                    for (j, entry) in row.iter_mut().enumerate() {
                        let value = block[j % width];
                        *entry = if (i < height) == (j < width) { value } else { -value };
                    }
                }
            }
        }
        Ok(())
    }
}

/// Means of `ln u` and of its square, of a uniform u between 1 and `most`.
fn of_log(most: f64) -> [f64; 2] {
    let (log, span) = (libm::log(most), most - 1.0);
    if span < 0.1 {
        // The differences below cancel. With u = 1 + s, ln u = s - s^2 / 2 + ..., its square s^2 (1 - s + ...), and the
        // mean of s^n is span^n / (n + 1).
        let (mut power, mut harmonic, [mut first, mut second]) = (-1.0, 0.0, [0.0, 0.0]);
        for n in 1..=18 {
            let n = f64::from(n);
            power *= -span;
            first += power / (n * (n + 1.0));
            // The coefficient of (-s)^n in ln^2 (1 + s) is 2 / n (1 + 1/2 + ... + 1/(n - 1)).
            second -= power * 2.0 * harmonic / (n * (n + 1.0));
            harmonic += 1.0 / n;
        }
        return [first, second];
    }
    [(most * log - span) / span, (most * log * log - 2.0 * (most * log - span)) / span]
}

/// Mean and variance of a normal that lies between two bounds.
///
/// Both are integrals here, for the closed forms are differences of nearly equal numbers where the bounds are close to
/// each other or far from the mean. Distances are from the point of the interval that is nearest to the mean.
fn truncated(mean: f64, std: f64, low: f64, high: f64) -> [f64; 2] {
    let start = mean.clamp(low, high);
    let near = (start - mean) / std;
    // Beyond this end the density is below 1e-31 of its largest value.
    let reach = near.hypot(END);
    let ends = [((low - mean) / std).max(-reach) - near, 0.0, ((high - mean) / std).min(reach) - near];
    let length = ends[2] - ends[0];
    if length.is_nan() || length == 0.0 {
        return [start, 0.0];
    }
    let ends = ends.map(|end| end / length);
    let density = |t: f64| libm::exp(-0.5 * length * t * (length * t + 2.0 * near));
    let (mut all, mut first, mut second) = (0.0, 0.0, 0.0);
    integrate(&FINE, &ends, density, |t, share| {
        all += share;
        first += share * t;
    });
    // The two halves of a symmetric law cancel to the last bit: its mean is not 1e-17 but 0.
    let middle = if high - mean == mean - low { 0.0 } else { first / all };
    integrate(&FINE, &ends, density, |t, share| second += share * (t - middle) * (t - middle));
    let unit = std * length;
    [start + unit * middle, unit * unit * second / all]
}

/// Set so many entries of each column to zero: those whose keys are the smallest, which makes every choice as likely.
fn clear<F: Float>(
    keys: Stream,
    zeros: usize,
    rows: usize,
    columns: usize,
    out: &mut [F],
    cancel: &Cancel,
) -> Result<()> {
    if zeros == 0 {
        return Ok(());
    }
    // A stream is entered at multiples of four.
    let stride = rows.next_multiple_of(4);
    let mut drawn = vec![0.0_f64; rows];
    for column in 0..columns {
        cancel.check()?;
        // The keys are drawn in f64, so that both dtypes have the same zeros.
        keys.after(column * stride).uniform(0.0, 1.0, &mut drawn);
        let mut order = (0..rows).collect::<Vec<_>>();
        order.sort_by(|&i, &j| drawn[i].total_cmp(&drawn[j]));
        order[..zeros].iter().for_each(|row| out[row * columns + column] = F::ZERO);
    }
    Ok(())
}

/// Turn unit normals into normals of this mean and standard deviation. Both are rounded to the type first: a draw that
/// is kept and rescaled has the bits of one made anew.
pub fn rescale<F: Float>(units: &mut [F], mean: f64, std: f64) {
    let (mean, std) = (F::of(mean), F::of(std));
    units.iter_mut().for_each(|n| *n = *n * std + mean);
}

/// Fill part by part, looking for a request to stop in between: a large tensor takes seconds.
fn in_parts<F>(out: &mut [F], cancel: &Cancel, fill: impl Fn(usize, &mut [F])) -> Result<()> {
    const PART: usize = 1 << 20;
    for (i, part) in out.chunks_mut(PART).enumerate() {
        cancel.check()?;
        fill(i * PART, part);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Role;

    fn draw(law: Distribution, rows: usize, columns: usize) -> Vec<f64> {
        let mut out = vec![0.0; rows * columns];
        law.fill(Stream::new(1, 0, Role::Weight), rows, columns, &mut out, &Cancel::default()).unwrap();
        out
    }

    #[test]
    fn logarithms_of_numbers_near_one_have_the_moments_of_a_uniform() {
        // ln u of a u close to 1 is u - 1, which is uniform between 0 and the span.
        for span in [1e-12, 1e-10, 1e-7, 1e-5] {
            let span = (1.0 + span) - 1.0;
            let [first, second] = of_log(1.0 + span);
            assert!((first / (span / 2.0) - 1.0).abs() < span);
            assert!(((second - first * first) / (span * span / 12.0) - 1.0).abs() < 2.0 * span);
        }
        assert_eq!(of_log(1.0), [0.0, 0.0]);
        // Both ways to work them out meet: from 50 digits, either side of where one takes over.
        let (first, variance) = (0.048_365_078_201_893_96, 7.552_166_621_845_328e-4);
        let [mean, second] = of_log(1.0999);
        assert!((mean / first - 1.0).abs() < 1e-13 && ((second - mean * mean) / variance - 1.0).abs() < 1e-11);
        let [below, above] = [1.1 - 1e-10, 1.1 + 1e-10].map(of_log);
        assert!((above[0] / below[0] - 1.0).abs() < 1e-8 && (above[1] / below[1] - 1.0).abs() < 1e-8);
    }

    #[test]
    fn orthogonal_matrices_are_orthonormal_on_their_shorter_side() {
        for (rows, columns) in
            [(1, 1), (7, 7), (12, 5), (5, 12), (64, 64), (1, 9), (130, 70), (70, 130), (256, 256), (257, 257)]
        {
            let w = draw(Distribution::Orthogonal(2.0), rows, columns);
            let short = rows.min(columns);
            for i in 0..short {
                for j in 0..short {
                    let entry =
                        |k: usize, s: usize| if rows < columns { w[s * columns + k] } else { w[k * columns + s] };
                    let product = (0..rows.max(columns)).map(|k| entry(k, i) * entry(k, j)).sum::<f64>();
                    let expected = if i == j { 4.0 } else { 0.0 };
                    assert!((product - expected).abs() < 1e-13, "{rows}x{columns} ({i},{j}): {product}");
                }
            }
        }
    }

    #[test]
    fn structured_matrices_have_their_structure() {
        assert_eq!(draw(Distribution::Eye(2.0), 2, 3), [2.0, 0.0, 0.0, 0.0, 2.0, 0.0]);
        assert_eq!(draw(Distribution::Eye(2.0), 3, 2), [2.0, 0.0, 0.0, 2.0, 0.0, 0.0]);
        let sparse = draw(Distribution::Sparse { zeros: 3, std: 0.1 }, 7, 50);
        for column in 0..50 {
            assert_eq!((0..7).filter(|row| sparse[row * 50 + column] == 0.0).count(), 3);
        }
        let block = draw(Distribution::Orthogonal(3.0), 2, 3);
        let mirrored = draw(Distribution::Mirrored { gain: 3.0, rows: true, columns: true }, 4, 6);
        for (i, row) in mirrored.chunks(6).enumerate() {
            for (j, &entry) in row.iter().enumerate() {
                let sign = if (i < 2) == (j < 3) { 1.0 } else { -1.0 };
                assert_eq!(entry, sign * block[i % 2 * 3 + j % 3]);
            }
        }
    }

    #[test]
    fn moments_of_a_truncated_normal_are_closed_forms_and_keep_their_digits_where_these_lose_them() {
        let law = |mean, std, low, high| Distribution::TruncatedNormal { mean, std, low, high };
        let close = |found: f64, exact: f64| assert!((found / exact - 1.0).abs() < 1e-14, "{found} {exact}");
        let pdf = |z: f64| libm::exp(-0.5 * z * z) / std::f64::consts::TAU.sqrt();
        let cdf = |z: f64| 0.5 * libm::erfc(-z * std::f64::consts::FRAC_1_SQRT_2);
        for (mean, std, low, high) in [(0.0, 1.0, -2.0, 2.0), (1.0, 0.5, 0.3, 1.2), (-3.0, 2.0, -4.0, 90.0)] {
            let [a, b] = [low, high].map(|bound| (bound - mean) / std);
            let inside = cdf(b) - cdf(a);
            let shift = (pdf(a) - pdf(b)) / inside;
            let exact = 1.0 + (a * pdf(a) - b * pdf(b)) / inside - shift * shift;
            assert!((law(mean, std, low, high).moments(1, 1)[0] - (mean + std * shift)).abs() < 1e-14 * std);
            close(law(mean, std, low, high).moments(1, 1)[1], std * std * exact);
        }
        // A short interval is a uniform, and a far one an exponential up to terms of 1 / z^2.
        close(law(0.0, 1.0, 0.5, 0.5 + 1e-8).moments(1, 1)[1], (0.5 + 1e-8 - 0.5_f64).powi(2) / 12.0);
        for sign in [-1.0, 1.0] {
            let (low, high) = if sign < 0.0 { (-500.0, -30.0) } else { (30.0, 500.0) };
            assert!((900.0 * law(0.0, 1.0, low, high).moments(1, 1)[1] - 1.0).abs() < 7.0 / 900.0);
            assert!((sign * law(0.0, 1.0, low, high).moments(1, 1)[0] - 30.0 - 1.0 / 30.0).abs() < 3.0 / 27000.0);
        }
        // No interval at all is left of a gain of 0.
        assert_eq!(law(0.0, 0.0, 0.0, 0.0).moments(1, 1), [0.0, 0.0]);
    }

    #[test]
    fn a_truncated_normal_follows_its_distribution_function() {
        let cdf = |z: f64| 0.5 * libm::erfc(-z * std::f64::consts::FRAC_1_SQRT_2);
        for (mean, std, low, high) in
            [(0.0, 1.0, -2.0, 2.0), (1.0, 0.5, 0.0, 1.2), (0.0, 1.0, 6.0, 7.0), (0.0, 2.0, -90.0, 80.0)]
        {
            let mut drawn = draw(Distribution::TruncatedNormal { mean, std, low, high }, 200, 500);
            drawn.sort_by(f64::total_cmp);
            assert!(low <= drawn[0] && drawn[99_999] <= high, "{} {}", drawn[0], drawn[99_999]);
            // By the upper tail, which has its digits where the bounds are above the mean.
            let above = |x: f64| cdf(-(x - mean) / std);
            let mut largest = 0.0_f64;
            for (i, &x) in drawn.iter().enumerate() {
                let expected = (above(low) - above(x)) / (above(low) - above(high));
                largest = largest.max((expected - (i as f64 + 0.5) / 1e5).abs());
            }
            // The Kolmogorov-Smirnov bound of one in ten thousand: 2.23 / sqrt(n).
            assert!(largest < 2.23 / 1e5_f64.sqrt(), "{low} {high}: {largest}");
        }
    }
}
