//! Passes over the values of a batch, element by element or row by row, each compiled for the instruction set.
//!
//! Sums are in `f64`, in an order fixed by the shapes.

use super::panels::{MOST, Panel, Panels};
use crate::simd::{self, Eight, Float, Set, Task, Vector, Wide, exponent_of, sum_of_eight, times_power_of_two};

/// The number of values that a pass takes at once: every row of a panel is a whole number of them.
pub(super) const CHUNK: usize = 8;

impl<F: Float> Panels<F> {
    /// The largest magnitude, padding included; infinite or NaN where a value is.
    pub fn largest(&self) -> f64 {
        largest(self.values())
    }

    /// The least magnitude that is not zero, or zero where all are, and the largest, padding included; the latter is
    /// infinite or NaN where a value is.
    pub fn range(&self) -> [f64; 2] {
        simd::run(Range(self.values()))
    }

    /// `self = other * factor * slopes`, element by element, and zero where that is below `tiny`; gives the largest
    /// magnitude of the products.
    pub fn set_product(&mut self, other: &Self, slopes: &Self, factor: F, tiny: F) -> f64 {
        self.reshape(other.features(), other.batch());
        let values = self.values_mut();
        simd::run(Multiply { values, other: other.values(), slopes: slopes.values(), factor, tiny })
    }

    /// `self = self * other`, element by element.
    pub fn times(&mut self, other: &Self) {
        simd::run(Times { values: self.values_mut(), other: other.values() });
    }

    /// `self = 1 - other`, element by element.
    pub fn set_complement(&mut self, other: &Self) {
        self.reshape(other.features(), other.batch());
        simd::run(Complement { values: self.values_mut(), other: other.values() });
    }

    /// `self = self * factor`.
    pub fn scale(&mut self, factor: F) {
        self.scale_and_flush(factor, F::ZERO);
    }

    /// `self = self * a + other * b`, element by element.
    pub fn combine(&mut self, a: F, other: &Self, b: F) {
        simd::run(Combine { values: self.values_mut(), a, other: other.values(), b });
    }

    /// Add a number to each feature.
    pub fn shift(&mut self, by: &[F]) {
        for panel in self.panels_mut() {
            simd::run(Shift { panel, by });
        }
    }

    /// Multiply by a power of two, however large, and zero what is then below `tiny`.
    pub fn times_power_of_two(&mut self, exponent: i64, tiny: F) {
        // One factor of a hundred at most: 2^exponent itself may be out of range where the products are not.
        let mut rest = exponent.clamp(-4000, 4000);
        while rest.abs() > 100 {
            let step = rest.signum() * 100;
            self.scale_and_flush(F::of(times_power_of_two(1.0, step)), F::ZERO);
            rest -= step;
        }
        self.scale_and_flush(F::of(times_power_of_two(1.0, rest)), tiny);
    }

    fn scale_and_flush(&mut self, factor: F, tiny: F) {
        simd::run(ScaleAndFlush { values: self.values_mut(), factor, tiny });
    }

    /// Write the sum of squares of `value * scale` of each sample into `sums`; gives the sum of all.
    pub fn squares(&self, scale: f64, sums: &mut Vec<f64>) -> f64 {
        sums.clear();
        for panel in self.panels() {
            let lanes = simd::run(Squares { panel, scale });
            sums.extend(&lanes[..panel.valid]);
        }
        sums.iter().sum()
    }

    /// Write the sum of squares of `value / 2^shift` of each sample into `sums`; gives the sum of all, and the shift. That
    /// is 0 unless squares leave the range of `f64`, as those of another `f64` may.
    pub fn squares_within(&self, sums: &mut Vec<f64>) -> (f64, i64) {
        within(|scale| self.squares(scale, sums), || self.largest())
    }

    /// Write the sum of squares of each sample into `squares` and the sum of each feature into `sums`; gives the sum of
    /// all squares.
    pub fn squares_and_sums(&self, squares: &mut Vec<f64>, sums: &mut Vec<f64>) -> f64 {
        squares.clear();
        sums.clear();
        sums.resize(self.features(), 0.0);
        for panel in self.panels() {
            let mut valid = [0.0; MOST];
            valid[..panel.valid].fill(1.0);
            let lanes = simd::run(SquaresAndSums { panel, valid: &valid, sums });
            squares.extend(&lanes[..panel.valid]);
        }
        squares.iter().sum()
    }

    /// Write the sum over samples of `value * weight` of each feature into `sums`; there is one weight a sample.
    pub fn weighted(&self, weights: &[f64], sums: &mut Vec<f64>) {
        sums.clear();
        sums.resize(self.features(), 0.0);
        simd::run(Weighted { panels: self, weights, sums });
    }

    /// The number of values of samples whose magnitude is below a limit.
    pub fn count_below(&self, limit: F) -> usize {
        let count = |panel: Panel<&[F]>| {
            let lanes = simd::run(CountBelow { panel, limit });
            lanes[..panel.valid].iter().map(|n| *n as usize).sum::<usize>()
        };
        self.panels().map(count).sum()
    }

    /// The number of features that are zero in every sample. `alive` is reused.
    pub fn count_dead(&self, alive: &mut Vec<bool>) -> usize {
        alive.clear();
        alive.resize(self.features(), false);
        for panel in self.panels() {
            simd::run(Alive { panel, alive });
        }
        alive.iter().filter(|alive| !**alive).count()
    }
}

/// The largest magnitude; infinite or NaN where a value is.
pub fn largest<F: Float>(values: &[F]) -> f64 {
    simd::run(Largest(values))
}

/// A sum of squares of `value / 2^shift`, and the shift. That is 0 unless squares leave the range of `f64`, as those of
/// another `f64` may. `squares` gives the sum of those of `value * scale`.
pub fn within(mut squares: impl FnMut(f64) -> f64, largest: impl FnOnce() -> f64) -> (f64, i64) {
    let plain = squares(1.0);
    if (1e-280..1e280).contains(&plain) {
        return (plain, 0);
    }
    let largest = largest();
    if largest == 0.0 || !largest.is_finite() {
        return (plain, 0);
    }
    // Within the powers that f64 has both of: those of a subnormal number have no inverse.
    let shift = exponent_of(largest).clamp(-1000, 1000);
    (squares(times_power_of_two(1.0, -shift)), shift)
}

/// The sum of squares of `value * scale`.
pub fn sum_of_squares<F: Float>(values: &[F], scale: f64) -> f64 {
    simd::run(SumOfSquares { values, scale })
}

struct Largest<'v, F>(&'v [F]);

impl<F: Float> Task for Largest<'_, F> {
    type Output = f64;

    #[inline(always)]
    fn run<S: Set>(self) -> f64 {
        // The bits of magnitudes are in the order of the magnitudes, infinity and NaN last.
        let mut largest = [F::ZERO.magnitude_bits(); MOST];
        for values in self.0.chunks_exact(MOST) {
            for lane in 0..MOST {
                largest[lane] = largest[lane].max(values[lane].magnitude_bits());
            }
        }
        for value in self.0.chunks_exact(MOST).remainder() {
            largest[0] = largest[0].max(value.magnitude_bits());
        }
        let largest = largest.into_iter().fold(F::ZERO.magnitude_bits(), Ord::max);
        F::of_magnitude_bits(largest).wide()
    }
}

struct Range<'v, F>(&'v [F]);

impl<F: Float> Task for Range<'_, F> {
    type Output = [f64; 2];

    #[inline(always)]
    fn run<S: Set>(self) -> [f64; 2] {
        // One less, the bits of zero are the last of all.
        let zero = F::ZERO.magnitude_bits();
        let (mut largest, mut least) = ([zero; MOST], [F::before(zero); MOST]);
        let chunks = self.0.chunks_exact(MOST);
        let rest = chunks.remainder();
        for values in chunks {
            for lane in 0..MOST {
                let bits = values[lane].magnitude_bits();
                largest[lane] = largest[lane].max(bits);
                least[lane] = least[lane].min(F::before(bits));
            }
        }
        for value in rest {
            let bits = value.magnitude_bits();
            largest[0] = largest[0].max(bits);
            least[0] = least[0].min(F::before(bits));
        }
        let largest = largest.into_iter().fold(zero, Ord::max);
        let least = least.into_iter().fold(F::before(zero), Ord::min);
        [F::of_magnitude_bits(F::behind(least)), F::of_magnitude_bits(largest)].map(Float::wide)
    }
}

struct Multiply<'v, F> {
    values: &'v mut [F],
    other: &'v [F],
    slopes: &'v [F],
    factor: F,
    tiny: F,
}

impl<F: Float> Task for Multiply<'_, F> {
    type Output = f64;

    #[inline(always)]
    fn run<S: Set>(self) -> f64 {
        let Self { values, other, slopes, factor, tiny } = self;
        let (zero, tiny) = (F::ZERO.magnitude_bits(), tiny.magnitude_bits());
        let mut largest = [zero; CHUNK];
        // Every row is a whole number of chunks.
        let all = values.chunks_exact_mut(CHUNK).zip(other.chunks_exact(CHUNK)).zip(slopes.chunks_exact(CHUNK));
        for ((values, other), slopes) in all {
            let mut products = [F::ZERO; CHUNK];
            for lane in 0..CHUNK {
                products[lane] = other[lane] * factor * slopes[lane];
            }
            for lane in 0..CHUNK {
                let bits = products[lane].magnitude_bits();
                largest[lane] = largest[lane].max(bits);
                values[lane] = if bits < tiny { F::ZERO } else { products[lane] };
            }
        }
        F::of_magnitude_bits(largest.into_iter().fold(zero, Ord::max)).wide()
    }
}

struct Times<'v, F> {
    values: &'v mut [F],
    other: &'v [F],
}

impl<F: Float> Task for Times<'_, F> {
    type Output = ();

    #[inline(always)]
    fn run<S: Set>(self) {
        for (value, &other) in self.values.iter_mut().zip(self.other) {
            *value *= other;
        }
    }
}

struct Complement<'v, F> {
    values: &'v mut [F],
    other: &'v [F],
}

impl<F: Float> Task for Complement<'_, F> {
    type Output = ();

    #[inline(always)]
    fn run<S: Set>(self) {
        let one = F::of(1.0);
        for (value, &other) in self.values.iter_mut().zip(self.other) {
            *value = one - other;
        }
    }
}

struct Shift<'v, F> {
    panel: Panel<&'v mut [F]>,
    by: &'v [F],
}

impl<F: Float> Task for Shift<'_, F> {
    type Output = ();

    #[inline(always)]
    fn run<S: Set>(self) {
        for (values, &by) in self.panel.values.chunks_exact_mut(self.panel.lanes).zip(self.by) {
            values.iter_mut().for_each(|value| *value += by);
        }
    }
}

struct Combine<'v, F> {
    values: &'v mut [F],
    a: F,
    other: &'v [F],
    b: F,
}

impl<F: Float> Task for Combine<'_, F> {
    type Output = ();

    #[inline(always)]
    fn run<S: Set>(self) {
        for (value, &other) in self.values.iter_mut().zip(self.other) {
            *value = *value * self.a + other * self.b;
        }
    }
}

struct ScaleAndFlush<'v, F> {
    values: &'v mut [F],
    factor: F,
    tiny: F,
}

impl<F: Float> Task for ScaleAndFlush<'_, F> {
    type Output = ();

    #[inline(always)]
    fn run<S: Set>(self) {
        for value in self.values {
            let scaled = *value * self.factor;
            // NaN is kept, for the comparison is false.
            *value = if scaled.abs() < self.tiny { F::ZERO } else { scaled };
        }
    }
}

/// A loop over the rows of a panel with its lanes known to the compiler, so that what it keeps for each lane stays in
/// registers.
macro_rules! by_lanes {
    ($lanes:expr, $LANES:ident => $body:expr) => {
        match $lanes {
            8 => {
                const $LANES: usize = 8;
                $body
            }
            16 => {
                const $LANES: usize = 16;
                $body
            }
            _ => {
                const $LANES: usize = 32;
                $body
            }
        }
    };
}

struct Squares<'v, F> {
    panel: Panel<&'v [F]>,
    scale: f64,
}

impl<F: Float> Task for Squares<'_, F> {
    type Output = [f64; MOST];

    #[inline(always)]
    fn run<S: Set>(self) -> [f64; MOST] {
        let mut all = [0.0; MOST];
        by_lanes!(self.panel.lanes, LANES => {
            let mut sums = [0.0; LANES];
            for row in self.panel.values.chunks_exact(LANES) {
                for lane in 0..LANES {
                    let value = row[lane].wide() * self.scale;
                    sums[lane] += value * value;
                }
            }
            all[..LANES].copy_from_slice(&sums);
        });
        all
    }
}

struct SquaresAndSums<'v, F> {
    panel: Panel<&'v [F]>,
    /// 1 for each lane that is a sample, 0 for the others.
    valid: &'v [f64; MOST],
    sums: &'v mut [f64],
}

impl<F: Float> Task for SquaresAndSums<'_, F> {
    type Output = [f64; MOST];

    #[inline(always)]
    fn run<S: Set>(self) -> [f64; MOST] {
        let (lanes, zero) = (self.panel.lanes, S::Double::splat(0.0));
        let mut squares = [zero; MOST];
        for (row, sum) in self.panel.values.chunks_exact(lanes).zip(self.sums) {
            let mut parts: Eight<S> = [zero; 4];
            for (i, lane) in (0..lanes).step_by(S::Double::LANES).enumerate() {
                let value = F::load_wide::<S>(&row[lane..]);
                squares[i] = squares[i].add(value.mul(value));
                let part = i % (CHUNK / S::Double::LANES);
                parts[part] = value.multiply_add(S::Double::load(&self.valid[lane..]), parts[part]);
            }
            *sum += sum_of_eight::<S>(parts);
        }
        let mut all = [0.0; MOST];
        for (squares, all) in squares.into_iter().zip(all.chunks_exact_mut(S::Double::LANES)) {
            squares.store(all);
        }
        all
    }
}

struct Weighted<'v, F> {
    panels: &'v Panels<F>,
    weights: &'v [f64],
    sums: &'v mut [f64],
}

impl<F: Float> Task for Weighted<'_, F> {
    type Output = ();

    #[inline(always)]
    fn run<S: Set>(self) {
        let Self { panels, weights, sums } = self;
        for panel in panels.panels() {
            let mut of_lanes = [0.0; MOST];
            of_lanes[..panel.valid].copy_from_slice(&weights[panel.first..][..panel.valid]);
            for (row, sum) in panel.values.chunks_exact(panel.lanes).zip(&mut *sums) {
                let mut parts: Eight<S> = [S::Double::splat(0.0); 4];
                for chunk in (0..panel.lanes).step_by(CHUNK) {
                    for (part, lane) in (chunk..chunk + CHUNK).step_by(S::Double::LANES).enumerate() {
                        let weight = S::Double::load(&of_lanes[lane..]);
                        parts[part] = F::load_wide::<S>(&row[lane..]).multiply_add(weight, parts[part]);
                    }
                }
                *sum += sum_of_eight::<S>(parts);
            }
        }
    }
}

struct CountBelow<'v, F> {
    panel: Panel<&'v [F]>,
    limit: F,
}

impl<F: Float> Task for CountBelow<'_, F> {
    type Output = [u32; MOST];

    #[inline(always)]
    fn run<S: Set>(self) -> [u32; MOST] {
        let mut all = [0; MOST];
        by_lanes!(self.panel.lanes, LANES => {
            let mut counts = [0; LANES];
            for row in self.panel.values.chunks_exact(LANES) {
                for lane in 0..LANES {
                    counts[lane] += u32::from(row[lane].abs() < self.limit);
                }
            }
            all[..LANES].copy_from_slice(&counts);
        });
        all
    }
}

struct Alive<'v, F> {
    panel: Panel<&'v [F]>,
    alive: &'v mut [bool],
}

impl<F: Float> Task for Alive<'_, F> {
    type Output = ();

    #[inline(always)]
    fn run<S: Set>(self) {
        for (row, alive) in self.panel.values.chunks_exact(self.panel.lanes).zip(self.alive) {
            let mut any = F::ZERO.magnitude_bits();
            for value in &row[..self.panel.valid] {
                any = any.max(value.magnitude_bits());
            }
            *alive |= any != F::ZERO.magnitude_bits();
        }
    }
}

struct SumOfSquares<'v, F> {
    values: &'v [F],
    scale: f64,
}

impl<F: Float> Task for SumOfSquares<'_, F> {
    type Output = f64;

    #[inline(always)]
    fn run<S: Set>(self) -> f64 {
        let mut sums = [0.0; 4 * CHUNK];
        let chunks = self.values.chunks_exact(4 * CHUNK);
        let rest = chunks.remainder();
        for values in chunks {
            for lane in 0..4 * CHUNK {
                let value = values[lane].wide() * self.scale;
                sums[lane] += value * value;
            }
        }
        for (sum, value) in sums.iter_mut().zip(rest) {
            let value = value.wide() * self.scale;
            *sum += value * value;
        }
        sums.iter().sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn squares_and_sums_are_of_samples_and_not_of_the_padding() {
        for batch in [1, 5, 16, 17, 33] {
            let mut x = Panels::<f32>::default();
            x.fill(3, batch, |sample, feature| (sample * 7 + feature) as f32 % 5.0 - 1.0);
            let rows = x.to_rows();
            // What an activation may leave in lanes past the batch.
            for panel in x.panels_mut() {
                panel.values.chunks_exact_mut(panel.lanes).for_each(|lanes| lanes[panel.valid..].fill(0.5));
            }
            let (mut squares, mut sums) = (Vec::new(), Vec::new());
            let total = x.squares_and_sums(&mut squares, &mut sums);
            let of_sample = |sample: usize| rows[3 * sample..][..3].iter().map(|v| f64::from(v * v)).sum::<f64>();
            let of_feature =
                |feature: usize| (0..batch).map(|sample| f64::from(rows[3 * sample + feature])).sum::<f64>();
            assert_eq!(squares, (0..batch).map(of_sample).collect::<Vec<_>>(), "{batch}");
            assert_eq!(sums, (0..3).map(of_feature).collect::<Vec<_>>(), "{batch}");
            assert_eq!(total, squares.iter().sum::<f64>());
        }
    }
}
