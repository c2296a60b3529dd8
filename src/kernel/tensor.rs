//! Numbers in C order that carry an exponent.

use crate::simd::{Float, times_power_of_two};

/// A tensor times a power of two.
#[derive(Debug, Clone, PartialEq)]
pub struct Tensor<T> {
    /// Entries in C order.
    pub values: Vec<T>,
    /// The exponent.
    pub exponent: i64,
}

impl<T: Float> Tensor<T> {
    /// A copy of the true values, 0 or infinite where the type ends.
    pub fn spelled_out<F: Float>(&self) -> Vec<F> {
        // Two factors, because 2^exponent alone may be out of range where the products are not. The first product is
        // exact, or so far out that the second cannot bring it back.
        let exponent = self.exponent.clamp(-2000, 2000);
        let [first, second] = [exponent / 2, exponent - exponent / 2].map(|half| times_power_of_two(1.0, half));
        self.values.iter().map(|v| F::of(v.wide() * first * second)).collect()
    }

    /// Make the values the true ones, 0 or infinite where the type ends.
    pub fn spell_out(&mut self) {
        if self.exponent == 0 {
            return;
        }
        let factor = T::of(times_power_of_two(1.0, self.exponent));
        if factor.finite() && factor.wide() > 1e-37 {
            self.values.iter_mut().for_each(|v| *v *= factor);
        } else {
            self.values = self.spelled_out();
        }
        self.exponent = 0;
    }
}

impl Tensor<f64> {
    /// So many zeros, whose exponent is below every other.
    pub fn zeros(count: usize) -> Self {
        Self { values: vec![0.0; count], exponent: i64::MIN / 8 }
    }

    /// Add another of this shape, aligned to the larger exponent.
    pub fn add<T: Float>(&mut self, values: &[T], exponent: i64) {
        let common = self.exponent.max(exponent);
        let factor = |own: i64| times_power_of_two(1.0, (own - common).max(-4000));
        let (own, theirs) = (factor(self.exponent), factor(exponent));
        self.values.iter_mut().zip(values).for_each(|(sum, v)| *sum = *sum * own + v.wide() * theirs);
        self.exponent = common;
    }

    /// The sum of squares of the true values.
    pub fn sum_of_squares(&self) -> f64 {
        self.values.iter().map(|v| v * v).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spelling_out_gives_zero_and_infinity_only_where_the_type_ends() {
        let out = |value: f64, exponent| Tensor { values: vec![value], exponent }.spelled_out::<f64>()[0];
        assert_eq!(out(1.5, 3), 12.0);
        assert_eq!(out(1.0, -1074), f64::from_bits(1));
        assert_eq!(out(1.0, -1076), 0.0);
        assert_eq!(out(1.5, 1023), 1.5 * 2_f64.powi(1023));
        assert_eq!(out(1.5, 1024), f64::INFINITY);
        assert_eq!(out(-1.0, i64::MIN / 8), -0.0);
        assert_eq!(Tensor { values: vec![1.0_f64], exponent: 128 }.spelled_out::<f32>()[0], f32::INFINITY);
        // 2^1100 times 2^-1100: the values may be far from 1 themselves.
        assert_eq!(out(2_f64.powi(-1000), 1500), 2_f64.powi(500));
        assert_eq!(out(2_f64.powi(1000), -1500), 2_f64.powi(-500));
    }

    #[test]
    fn sums_align_exponents_and_forget_what_is_too_small() {
        let mut sum = Tensor::zeros(2);
        sum.add(&[1.0_f32, -2.0], 10);
        sum.add(&[3.0_f64, 0.5], 11);
        assert_eq!((sum.values.as_slice(), sum.exponent), ([3.5, -0.5].as_slice(), 11));
        sum.add(&[1.0_f64, 1.0], -3000);
        assert_eq!(sum.values, [3.5, -0.5]);
        sum.add(&[1.0_f64, 1.0], 3000);
        assert_eq!((sum.values.as_slice(), sum.exponent), ([1.0, 1.0].as_slice(), 3000));
    }
}
