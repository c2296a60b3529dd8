//! Values that carry their exponent: `panels * 2^exponent`.

use super::panels::Panels;
use crate::simd::{Float, exponent_of, times_power_of_two};
use std::f64::consts::LOG10_2;

/// The distance from 1, in powers of two, to which a forward signal may drift before it is rescaled.
const FAR: i64 = 20;

/// The distance to which a backward signal may drift: what is flushed is still below [`Float::TINY`] of its largest
/// value.
const FAR_BACK: i64 = 10;

/// The exponent of a batch of zeros: below every other, so that adding one changes nothing.
const OF_ZERO: i64 = i64::MIN / 8;

/// Powers of two below this are normal numbers of `f64`, and so are their inverses.
const NORMAL: i64 = 1000;

/// A batch times a power of two.
#[derive(Debug, Clone)]
pub struct Scaled<F> {
    /// The values.
    pub panels: Panels<F>,
    /// The exponent.
    pub exponent: i64,
}

impl<F> Default for Scaled<F> {
    fn default() -> Self {
        Self { panels: Panels::default(), exponent: 0 }
    }
}

/// `log10(root of (sum of squares / count) * 2^exponent)`.
pub fn log10_rms(squares: f64, count: usize, exponent: i64) -> f64 {
    0.5 * libm::log10(squares / count as f64) + exponent as f64 * LOG10_2
}

impl<F: Float> Scaled<F> {
    /// log10 of the root mean square; `sums` is reused.
    pub fn log10_rms(&self, sums: &mut Vec<f64>) -> f64 {
        let (squares, shift) = self.panels.squares_within(sums);
        log10_rms(squares, self.panels.batch() * self.panels.features(), self.exponent + shift)
    }

    /// Fill from row-major true values in `f64`, which may lie far outside the range of `F`.
    pub fn fill(&mut self, features: usize, batch: usize, rows: &[f64]) {
        let largest = rows.iter().fold(0.0, |m: f64, v| m.max(v.abs()));
        self.exponent = match largest {
            0.0 => OF_ZERO,
            _ if largest.is_finite() => exponent_of(largest),
            _ => 0,
        };
        let exponent = self.exponent;
        // The power itself is a number wherever the values are no subnormal ones.
        if exponent.abs() < NORMAL {
            let unit = times_power_of_two(1.0, -exponent);
            self.panels.fill(features, batch, |sample, feature| F::of(rows[sample * features + feature] * unit));
        } else {
            self.panels.fill(features, batch, |sample, feature| {
                F::of(times_power_of_two(rows[sample * features + feature], -exponent))
            });
        }
    }

    /// Become zeros of this shape.
    pub fn clear(&mut self, features: usize, batch: usize) {
        self.panels.clear(features, batch);
        self.exponent = OF_ZERO;
    }

    /// Become a copy of another batch, keeping the allocation.
    pub fn copy_from(&mut self, other: &Self) {
        self.panels.copy_from(&other.panels);
        self.exponent = other.exponent;
    }

    /// Bring the largest magnitude into [1, 2) by an exact power of two. Returns whether every value is finite; if not,
    /// nothing is changed.
    pub fn rescale(&mut self) -> bool {
        self.bring_to_one(self.panels.largest(), F::ZERO)
    }

    /// Rescale as [`Self::rescale`] does, but only where the largest magnitude is far from 1. Returns whether every
    /// value is finite.
    pub fn rescale_if_far(&mut self) -> bool {
        let largest = self.panels.largest();
        let far = largest != 0.0 && largest.is_finite() && exponent_of(largest).abs() > FAR;
        if far { self.bring_to_one(largest, F::ZERO) } else { largest.is_finite() }
    }

    /// Make the values the true ones: 0 or infinite where the type ends.
    pub fn spell_out(&mut self) {
        if self.exponent == 0 {
            return;
        }
        self.panels.times_power_of_two(self.exponent, F::ZERO);
        self.exponent = 0;
    }

    /// The exponent of the largest true magnitude; `None` for zeros and for what is not finite.
    pub fn magnitude(&self) -> Option<i64> {
        let largest = self.panels.largest();
        (largest.is_finite() && largest > 0.0).then(|| exponent_of(largest) + self.exponent)
    }

    /// `self = other * slopes`, rescaled where the largest magnitude is far from 1, and flushed to zero where the result
    /// is below [`Float::TINY`] of that.
    pub fn set_product(&mut self, other: &Self, slopes: &Panels<F>) -> bool {
        self.exponent = other.exponent;
        let largest = self.panels.set_product(&other.panels, slopes, F::of(1.0), tiny());
        if near(largest) {
            return true;
        }
        // `other` is brought to 1 on the way, so that slopes may take the whole range of the type.
        let size = other.magnitude().map_or(0, |magnitude| magnitude - other.exponent);
        // The inverse of a subnormal number lies outside the type: 2^126 brings it close enough to 1.
        let most = if F::WIDE { 1022 } else { 126 };
        let size = size.clamp(-most, most);
        let factor = F::of(times_power_of_two(1.0, -size));
        let largest = self.panels.set_product(&other.panels, slopes, factor, F::ZERO);
        self.exponent = other.exponent + size;
        self.bring_to_one(largest, F::TINY)
    }

    /// Multiply by a factor, which may lie outside the type: the exponent of the factor is added to that of the batch.
    pub fn times(&mut self, factor: f64) {
        let shift = if factor == 0.0 { 0 } else { exponent_of(factor) };
        self.exponent += shift;
        let rest = times_power_of_two(factor, -shift);
        if rest != 1.0 {
            self.panels.scale(F::of(rest));
        }
    }

    /// Rescale and flush as [`Self::set_product`] does.
    pub fn rescale_and_flush(&mut self) {
        let [least, largest] = self.panels.range();
        if !near(largest) {
            self.bring_to_one(largest, F::TINY);
        } else if least < tiny::<F>().wide() {
            self.panels.times_power_of_two(0, tiny());
        }
    }

    /// Become the features of two batches, one after the other, aligned to the larger of the two.
    pub fn stack(&mut self, first: &Self, second: &Self) {
        self.panels.stack(&first.panels, &second.panels);
        self.exponent = first.exponent;
        if first.exponent != second.exponent {
            let exponent = match (first.magnitude(), second.magnitude()) {
                (Some(first), Some(second)) => first.max(second),
                (first, second) => first.or(second).unwrap_or(0),
            };
            let (mut low, mut high) = (first.panels.clone(), second.panels.clone());
            low.times_power_of_two(first.exponent - exponent, F::ZERO);
            high.times_power_of_two(second.exponent - exponent, F::ZERO);
            self.panels.stack(&low, &high);
            self.exponent = exponent;
        }
    }

    /// Bring the largest magnitude into [1, 2), unless a value is not finite, and flush what is then below a bound.
    fn bring_to_one(&mut self, largest: f64, tiny: F) -> bool {
        if !largest.is_finite() {
            return false;
        }
        if largest == 0.0 {
            self.exponent = OF_ZERO;
            return true;
        }
        let shift = exponent_of(largest);
        self.panels.times_power_of_two(-shift, tiny);
        self.exponent += shift;
        true
    }

    /// This batch, or a rescaled copy in `scratch` where values are so far from 1 that their products leave the type.
    pub fn near_one<'s>(&'s self, scratch: &'s mut Self) -> &'s Self {
        if self.magnitude().is_none_or(|magnitude| (magnitude - self.exponent).abs() <= FAR) {
            return self;
        }
        scratch.copy_from(self);
        scratch.rescale();
        scratch
    }

    /// `self = factor * self + other`, aligned to the larger of the two terms: where one is zero its exponent says
    /// nothing, and a factor may lie outside the type.
    pub fn scale_and_add(&mut self, factor: f64, other: &Self) {
        if self.exponent == other.exponent && (factor == 0.0 || exponent_of(factor).abs() <= FAR) {
            self.panels.combine(F::of(factor), &other.panels, F::of(1.0));
            return;
        }
        let size = |values: &Self, factor: f64| {
            let magnitude = values.magnitude().filter(|_| factor != 0.0);
            magnitude.map(|magnitude| magnitude + exponent_of(factor))
        };
        let exponent = match (size(self, factor), size(other, 1.0)) {
            (Some(own), Some(theirs)) => own.max(theirs),
            (own, theirs) => own.or(theirs).unwrap_or(self.exponent),
        };
        let aligned = |own: i64| times_power_of_two(1.0, (own - exponent).clamp(-4000, 4000));
        // Values times a power of two may pass through a range that the type lacks: the powers go in first.
        let own = F::of(times_power_of_two(factor, (self.exponent - exponent).clamp(-4000, 4000)));
        let theirs = F::of(aligned(other.exponent));
        if own.finite() && theirs.finite() {
            self.panels.combine(own, &other.panels, theirs);
        } else {
            let mut theirs = other.clone();
            theirs.panels.times_power_of_two(other.exponent - exponent, F::ZERO);
            self.panels.times_power_of_two(self.exponent - exponent + exponent_of(factor), F::ZERO);
            let factor = times_power_of_two(factor, -exponent_of(factor));
            self.panels.combine(F::of(factor), &theirs.panels, F::of(1.0));
        }
        self.exponent = exponent;
    }

    /// A copy of the true values, row-major `(batch, features)`: 0 or infinite where `f64` ends.
    pub fn to_rows(&self) -> Vec<f64> {
        let rows = self.panels.to_rows().into_iter().map(Float::wide);
        if self.exponent.abs() < NORMAL {
            // A product with a power of two rounds once, as `ldexp` does.
            let unit = times_power_of_two(1.0, self.exponent);
            return rows.map(|v| v * unit).collect();
        }
        rows.map(|v| times_power_of_two(v, self.exponent)).collect()
    }
}

/// Is a backward signal of this largest magnitude near 1? Zeros are not: smaller values may have been flushed.
fn near(largest: f64) -> bool {
    largest != 0.0 && largest.is_finite() && exponent_of(largest).abs() <= FAR_BACK
}

/// What is flushed of a signal that is near 1.
fn tiny<F: Float>() -> F {
    F::TINY * F::of(times_power_of_two(1.0, -FAR_BACK))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scaled(rows: &[f64]) -> Scaled<f32> {
        let mut all = Scaled::default();
        all.fill(1, rows.len(), rows);
        all
    }

    #[test]
    fn values_far_outside_f32_come_back_as_they_went_in() {
        let rows = [1e-300, -2.5e-300, 0.0];
        for (out, given) in scaled(&rows).to_rows().iter().zip(rows) {
            assert!((out - given).abs() <= 1e-7 * given.abs(), "{out} {given}");
        }
    }

    #[test]
    fn a_product_is_rescaled_exactly_and_flushed_far_below_its_largest_value() {
        let mut ones = scaled(&[1.0, 1.0]);
        let mut values = scaled(&[1.0]);
        for (raw, exponent) in [([3.0_f32, 1e-40], 0), ([3000.0, 1e-33], 11), ([1e-42, 0.0], -140), ([3e38, 1.0], 127)]
        {
            ones.panels.fill(1, 2, |_, _| 1.0);
            ones.exponent = 0;
            let mut slopes = Panels::default();
            slopes.fill(1, 2, |sample, _| raw[sample]);
            assert!(values.set_product(&ones, &slopes));
            assert_eq!(values.exponent, exponent, "{raw:?}");
            let rows = values.to_rows();
            assert_eq!(rows[0], f64::from(raw[0]));
            assert_eq!(
                rows[1],
                if f64::from(raw[1]) < f64::from(raw[0]) * f32::TINY.wide() / 2.0 { 0.0 } else { f64::from(raw[1]) }
            );
        }
    }

    #[test]
    fn a_signal_near_one_stays_where_it_is_and_loses_what_is_tiny() {
        for (given, expected, exponent) in [
            ([3.0_f32, 1e-37], [3.0_f32, 0.0], 0),
            ([3.0, 1e-32], [3.0, 1e-32], 0),
            ([0.01, 1e-37], [0.01, 0.0], 0),
            ([3000.0, 1e-32], [3000.0, 0.0], 11),
        ] {
            let mut values = scaled(&[1.0, 1.0]);
            values.panels.fill(1, 2, |sample, _| given[sample]);
            values.rescale_and_flush();
            assert_eq!(values.to_rows(), expected.map(f64::from), "{given:?}");
            assert_eq!(values.exponent, exponent, "{given:?}");
        }
    }

    #[test]
    fn a_non_finite_value_is_reported_and_left_alone() {
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let mut values = scaled(&[1.0, 2.0]);
            values.panels.values_mut()[0] = bad;
            assert!(!values.rescale() && !values.rescale_if_far());
            assert!(!values.panels.values()[0].is_finite());
            assert_eq!(values.panels.values()[1], 1.0);
        }
    }

    #[test]
    fn adding_aligns_exponents() {
        let sum = |factor: f64, a: f64, b: f64| {
            let mut sum = scaled(&[a]);
            sum.scale_and_add(factor, &scaled(&[b]));
            sum.to_rows()[0]
        };
        assert_eq!(sum(0.5, 4.0, 3.0), 5.0);
        assert!((sum(1.0, 1e-200, 1e200) / 1e200 - 1.0).abs() < 1e-7);
        assert!((sum(1.0, 0.0, 1e-200) / 1e-200 - 1.0).abs() < 1e-7);
        // A zero term has no say, whatever its exponent or factor.
        assert!((sum(0.0, 1e200, 3.0) / 3.0 - 1.0).abs() < 1e-7);
        assert!((sum(2.0, 1e100, 0.0) / 2e100 - 1.0).abs() < 1e-7);
        let mut zeros = scaled(&[0.0]);
        zeros.exponent = 200;
        zeros.scale_and_add(1.0, &scaled(&[1.0]));
        assert_eq!(zeros.to_rows(), [1.0]);
        // Factors outside f32.
        assert!((sum(1e-100, 1.0, 0.0) / 1e-100 - 1.0).abs() < 1e-7);
        assert!((sum(1e50, 1e-60, 1e-10) / 2e-10 - 1.0).abs() < 1e-7);
    }
}
