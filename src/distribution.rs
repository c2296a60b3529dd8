//! How the entries of one tensor are made: a distribution, drawn from a stream.

use crate::error::{Cancel, Result};
use crate::qr::Columns;
use crate::rng::{Stream, Truncated};
use crate::simd::Float;

/// How the entries of one tensor are made.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Distribution {
    /// Every entry is this.
    Constant(f64),
    /// Between two bounds.
    Uniform(f64, f64),
    /// With a mean and a standard deviation.
    Normal(f64, f64),
    /// A normal with this mean and standard deviation, given that it lies between two bounds.
    TruncatedNormal {
        /// Mean before truncation.
        mean: f64,
        /// Standard deviation before truncation.
        std: f64,
        /// The least value.
        low: f64,
        /// The largest value.
        high: f64,
    },
    /// This on the diagonal, zeros elsewhere.
    Eye(f64),
    /// Normals of which each column has so many set to zero.
    Sparse {
        /// Zeros a column.
        zeros: usize,
        /// Standard deviation of the others.
        std: f64,
    },
    /// Haar-distributed orthonormal rows or columns times a gain.
    Orthogonal(f64),
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
            Self::Orthogonal(_) => "orthogonal",
            Self::Mirrored { .. } => "mirrored",
        }
    }

    /// Mean and variance of an entry of a `rows x columns` tensor, averaged over its entries.
    pub fn moments(&self, rows: usize, columns: usize) -> [f64; 2] {
        let over_longer = |gain: f64, rows: usize, columns: usize| [0.0, gain * gain / rows.max(columns) as f64];
        match *self {
            Self::Constant(value) => [value, 0.0],
            Self::Uniform(a, b) => [(a + b) / 2.0, (b - a) * (b - a) / 12.0],
            Self::Normal(mean, std) => [mean, std * std],
            Self::TruncatedNormal { mean, std, low, high } => truncated_moments(mean, std, low, high),
            Self::Eye(size) => {
                let share = rows.min(columns) as f64 / (rows * columns) as f64;
                [size * share, size * size * share * (1.0 - share)]
            }
            Self::Sparse { zeros, std } => [0.0, std * std * (1.0 - zeros as f64 / rows as f64)],
            Self::Orthogonal(gain) => over_longer(gain, rows, columns),
            Self::Mirrored { gain, rows: both_rows, columns: both_columns } => {
                let half = |count: usize, both: bool| if both { count / 2 } else { count };
                over_longer(gain, half(rows, both_rows), half(columns, both_columns))
            }
        }
    }

    /// Are all singular values equal, so that none is the largest?
    pub fn is_isometry(&self) -> bool {
        !self.is_zero() && matches!(self, Self::Orthogonal(_) | Self::Eye(_) | Self::Mirrored { .. })
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
                in_parts(out, cancel, |start, part| stream.after(start).normal(part))?;
                rescale(out, mean, std);
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

/// Mean and variance of a normal that lies between two bounds.
fn truncated_moments(mean: f64, deviation: f64, low: f64, high: f64) -> [f64; 2] {
    if deviation == 0.0 {
        return [mean, 0.0];
    }
    let [a, b] = [low, high].map(|bound| (bound - mean) / deviation);
    if a + b > 0.0 {
        // By symmetry: probabilities near 1 have few digits.
        let [mirrored, variance] = truncated_moments(-mean, deviation, -high, -low);
        return [-mirrored, variance];
    }
    let cdf = |z: f64| 0.5 * libm::erfc(-z * std::f64::consts::FRAC_1_SQRT_2);
    let density = |z: f64| (-0.5 * z * z).exp() / (2.0 * std::f64::consts::PI).sqrt();
    let (mass, shift) = (cdf(b) - cdf(a), density(a) - density(b));
    let shift = shift / mass;
    let variance = 1.0 + (a * density(a) - b * density(b)) / mass - shift * shift;
    [mean + deviation * shift, deviation * deviation * variance]
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
        // The same keys for both dtypes.
        keys.after(column * stride).uniform(0.0, 1.0, &mut drawn);
        let mut order = (0..rows).collect::<Vec<_>>();
        order.sort_by(|&i, &j| drawn[i].total_cmp(&drawn[j]));
        order[..zeros].iter().for_each(|row| out[row * columns + column] = F::ZERO);
    }
    Ok(())
}

/// Unit normals to this mean and standard deviation. Rounded to the type first: a draw kept and rescaled has the bits
/// of one made anew.
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

    #[test]
    fn moments_are_those_of_what_is_drawn() {
        let all = [
            Distribution::Constant(0.7),
            Distribution::Uniform(-0.3, 1.1),
            Distribution::Normal(0.4, 1.3),
            Distribution::TruncatedNormal { mean: 0.2, std: 1.0, low: 0.5, high: 1.5 },
            Distribution::TruncatedNormal { mean: -0.2, std: 2.0, low: -9.0, high: -8.0 },
            Distribution::Eye(3.0),
            Distribution::Sparse { zeros: 30, std: 2.0 },
            Distribution::Orthogonal(1.5),
            Distribution::Mirrored { gain: 1.5, rows: true, columns: false },
        ];
        for law in all {
            let (rows, columns) = (120, 80);
            let out = draw(law, rows, columns);
            let mean = out.iter().sum::<f64>() / out.len() as f64;
            let variance = out.iter().map(|v| (v - mean) * (v - mean)).sum::<f64>() / out.len() as f64;
            let [expected, spread] = law.moments(rows, columns);
            assert!((mean - expected).abs() <= 4.0 * (spread / out.len() as f64).sqrt() + 1e-12, "{law:?}: {mean}");
            assert!((variance - spread).abs() <= 0.04 * spread + 1e-12, "{law:?}: {variance} against {spread}");
        }
    }
}
