//! Real numbers that a formula is written in once: one `f64`, or a vector of them.
//!
//! One `f64` goes through `libm`, a vector through `smooth.rs`: two evaluations of one formula that share no primitive.

use super::smooth::{self, SIGN};
use super::{Bits, Wide};
use std::f64::consts::{FRAC_1_SQRT_2, PI};
use std::ops::{Add, Div, Mul, Neg, Sub};

/// A real number, or a vector of them. NaN stays NaN through every function.
pub trait Real:
    Copy
    + Add<Output = Self>
    + Sub<Output = Self>
    + Mul<Output = Self>
    + Div<Output = Self>
    + Neg<Output = Self>
    + Add<f64, Output = Self>
    + Mul<f64, Output = Self>
{
    /// A constant.
    fn of(value: f64) -> Self;
    /// Absolute value.
    fn abs(self) -> Self;
    /// This magnitude with the sign of another number.
    fn with_sign_of(self, other: Self) -> Self;
    /// The larger of this and a bound.
    fn at_least(self, bound: f64) -> Self;
    /// `yes` where this is above a bound, `no` elsewhere and where it is NaN.
    fn above(self, bound: f64, yes: Self, no: Self) -> Self;
    /// `(e^-|x|, e^-|x| - 1)`, both to full relative accuracy.
    fn decay(self) -> (Self, Self);
    /// `ln(1 + x)` for `0 <= x <= 1`, to full relative accuracy near 0.
    fn log1p(self) -> Self;
    /// The standard normal's distribution function, to full relative accuracy in the lower tail, and its density.
    fn normal(self) -> (Self, Self);
}

impl Real for f64 {
    fn of(value: f64) -> Self {
        value
    }
    fn abs(self) -> Self {
        self.abs()
    }
    fn with_sign_of(self, other: Self) -> Self {
        self.copysign(other)
    }
    fn at_least(self, bound: f64) -> Self {
        if bound > self { bound } else { self }
    }
    fn above(self, bound: f64, yes: Self, no: Self) -> Self {
        if self > bound { yes } else { no }
    }
    fn decay(self) -> (Self, Self) {
        (libm::exp(-self.abs()), libm::expm1(-self.abs()))
    }
    fn log1p(self) -> Self {
        libm::log1p(self)
    }
    fn normal(self) -> (Self, Self) {
        // erfc keeps its digits in the negative tail, where 1 + erf has none.
        (0.5 * libm::erfc(-self * FRAC_1_SQRT_2), libm::exp(-0.5 * self * self) / (2.0 * PI).sqrt())
    }
}

/// A vector as a [`Real`].
#[derive(Clone, Copy)]
pub struct Reals<V>(pub V);

impl<V: Wide> Real for Reals<V> {
    #[inline(always)]
    fn of(value: f64) -> Self {
        Self(V::splat(value))
    }
    #[inline(always)]
    fn abs(self) -> Self {
        Self(V::from_bits(self.0.to_bits().and(V::Bits::splat(!SIGN))))
    }
    #[inline(always)]
    fn with_sign_of(self, other: Self) -> Self {
        let sign = other.0.to_bits().and(V::Bits::splat(SIGN));
        Self(V::from_bits(self.abs().0.to_bits().or(sign)))
    }
    #[inline(always)]
    fn at_least(self, bound: f64) -> Self {
        Self(self.0.max(V::splat(bound)))
    }
    #[inline(always)]
    fn above(self, bound: f64, yes: Self, no: Self) -> Self {
        Self(self.0.above(V::splat(bound), yes.0, no.0))
    }
    #[inline(always)]
    fn decay(self) -> (Self, Self) {
        let (e, less_one) = smooth::decay(self.0);
        (Self(e), Self(less_one))
    }
    #[inline(always)]
    fn log1p(self) -> Self {
        Self(smooth::log1p(self.0))
    }
    #[inline(always)]
    fn normal(self) -> (Self, Self) {
        let (below, density) = smooth::normal(self.0);
        (Self(below), Self(density))
    }
}

macro_rules! operator {
    ($($trait:ident $method:ident),*) => { $(
        impl<V: Wide> $trait for Reals<V> {
            type Output = Self;

            #[inline(always)]
            fn $method(self, other: Self) -> Self {
                Self(self.0.$method(other.0))
            }
        }
    )* };
}

operator!(Add add, Sub sub, Mul mul, Div div);

impl<V: Wide> Add<f64> for Reals<V> {
    type Output = Self;

    #[inline(always)]
    fn add(self, other: f64) -> Self {
        self + Self::of(other)
    }
}

impl<V: Wide> Mul<f64> for Reals<V> {
    type Output = Self;

    #[inline(always)]
    fn mul(self, other: f64) -> Self {
        self * Self::of(other)
    }
}

impl<V: Wide> Neg for Reals<V> {
    type Output = Self;

    #[inline(always)]
    fn neg(self) -> Self {
        Self(V::from_bits(self.0.to_bits().xor(V::Bits::splat(SIGN))))
    }
}
