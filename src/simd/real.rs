//! Real numbers that a formula is written in once: one `f64`, or a vector of them.
//!
//! A single `f64` goes through `libm` and a vector through `smooth.rs`: two evaluations of one formula that share no
//! primitive.

use super::smooth::{self, SIGN};
use super::{Bits, Float, Wide};
use std::f64::consts::{FRAC_1_SQRT_2, FRAC_2_SQRT_PI, PI};
use std::marker::PhantomData;
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
    /// The magnitude of this number with the sign of another.
    fn with_sign_of(self, other: Self) -> Self;
    /// The larger of this and a bound.
    fn at_least(self, bound: f64) -> Self;
    /// The smaller of this and a bound.
    fn at_most(self, bound: f64) -> Self;
    /// `yes` where this is above a bound, `no` elsewhere and where it is NaN.
    fn above(self, bound: f64, yes: Self, no: Self) -> Self;
    /// `yes` where this is below a bound, `no` elsewhere and where it is NaN.
    #[inline(always)]
    fn below(self, bound: f64, yes: Self, no: Self) -> Self {
        (-self).above(-bound, yes, no)
    }
    /// The square root.
    fn sqrt(self) -> Self;
    /// `(e^-|x|, e^-|x| - 1)`, both to full relative accuracy.
    fn decay(self) -> (Self, Self);
    /// `ln(1 + x)` for `0 <= x <= 1`, to full relative accuracy near 0.
    fn log1p(self) -> Self;
    /// The standard normal's distribution function, to full relative accuracy in the lower tail, and its density.
    fn normal(self) -> (Self, Self);
    /// The error function and its slope.
    fn erf(self) -> (Self, Self);
    /// The arc tangent.
    fn atan(self) -> Self;
    /// The sine and the cosine of any number of radians.
    fn sin_cos(self) -> (Self, Self);
    /// `x - tanh x` for `|x| <= 1`, to full relative accuracy near 0.
    fn tanh_gap(self) -> Self;
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
    fn at_most(self, bound: f64) -> Self {
        if bound < self { bound } else { self }
    }
    fn above(self, bound: f64, yes: Self, no: Self) -> Self {
        if self > bound { yes } else { no }
    }
    fn sqrt(self) -> Self {
        self.sqrt()
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
    fn erf(self) -> (Self, Self) {
        (libm::erf(self), libm::exp(-self * self) * FRAC_2_SQRT_PI)
    }
    fn atan(self) -> Self {
        libm::atan(self)
    }
    fn sin_cos(self) -> (Self, Self) {
        libm::sincos(self)
    }
    fn tanh_gap(self) -> Self {
        // Lambert's continued fraction tanh x = x / (1 + q) with q = x^2 / (3 + x^2 / (5 + ...)): nothing cancels.
        let square = self * self;
        let q = (1..12).rev().fold(0.0, |rest, k| square / (2.0 * f64::from(k) + 1.0 + rest));
        self * (q / (1.0 + q))
    }
}

/// A vector of `f64` as a [`Real`], computed as far as elements of type `F` can tell: to their last bit for `f64`, to
/// 2^-33 for `f32`, which rounds at 2^-24.
#[derive(Clone, Copy)]
pub struct Reals<V, F> {
    lanes: V,
    element: PhantomData<F>,
}

impl<V, F> Reals<V, F> {
    /// These lanes.
    #[inline(always)]
    pub fn new(lanes: V) -> Self {
        Self { lanes, element: PhantomData }
    }

    /// The lanes.
    #[inline(always)]
    pub fn lanes(self) -> V {
        self.lanes
    }
}

impl<V: Wide, F: Float> Real for Reals<V, F> {
    #[inline(always)]
    fn of(value: f64) -> Self {
        Self::new(V::splat(value))
    }
    #[inline(always)]
    fn abs(self) -> Self {
        Self::new(smooth::magnitude(self.lanes))
    }
    #[inline(always)]
    fn with_sign_of(self, other: Self) -> Self {
        let sign = other.lanes.to_bits().and(V::Bits::splat(SIGN));
        Self::new(V::from_bits(self.abs().lanes.to_bits().or(sign)))
    }
    #[inline(always)]
    fn at_least(self, bound: f64) -> Self {
        Self::new(self.lanes.max(V::splat(bound)))
    }
    #[inline(always)]
    fn at_most(self, bound: f64) -> Self {
        Self::new(self.lanes.min(V::splat(bound)))
    }
    #[inline(always)]
    fn sqrt(self) -> Self {
        Self::new(self.lanes.sqrt())
    }
    #[inline(always)]
    fn above(self, bound: f64, yes: Self, no: Self) -> Self {
        Self::new(self.lanes.above(V::splat(bound), yes.lanes, no.lanes))
    }
    #[inline(always)]
    fn decay(self) -> (Self, Self) {
        let (e, less_one) = smooth::decay::<F, V>(self.lanes);
        (Self::new(e), Self::new(less_one))
    }
    #[inline(always)]
    fn log1p(self) -> Self {
        Self::new(smooth::log1p::<F, V>(self.lanes))
    }
    #[inline(always)]
    fn normal(self) -> (Self, Self) {
        let (below, density) = smooth::normal::<F, V>(self.lanes);
        (Self::new(below), Self::new(density))
    }
    #[inline(always)]
    fn erf(self) -> (Self, Self) {
        let (value, slope) = smooth::erf::<F, V>(self.lanes);
        (Self::new(value), Self::new(slope))
    }
    #[inline(always)]
    fn atan(self) -> Self {
        Self::new(smooth::atan::<F, V>(self.lanes))
    }
    #[inline(always)]
    fn sin_cos(self) -> (Self, Self) {
        let (sine, cosine) = smooth::sin_cos::<F, V>(self.lanes);
        (Self::new(sine), Self::new(cosine))
    }
    #[inline(always)]
    fn tanh_gap(self) -> Self {
        Self::new(smooth::tanh_gap::<F, V>(self.lanes))
    }
}

macro_rules! operator {
    ($($trait:ident $method:ident),*) => { $(
        impl<V: Wide, F: Float> $trait for Reals<V, F> {
            type Output = Self;

            #[inline(always)]
            fn $method(self, other: Self) -> Self {
                Self::new(self.lanes.$method(other.lanes))
            }
        }
    )* };
}

operator!(Add add, Sub sub, Mul mul, Div div);

impl<V: Wide, F: Float> Add<f64> for Reals<V, F> {
    type Output = Self;

    #[inline(always)]
    fn add(self, other: f64) -> Self {
        self + Self::of(other)
    }
}

impl<V: Wide, F: Float> Mul<f64> for Reals<V, F> {
    type Output = Self;

    #[inline(always)]
    fn mul(self, other: f64) -> Self {
        self * Self::of(other)
    }
}

impl<V: Wide, F: Float> Neg for Reals<V, F> {
    type Output = Self;

    #[inline(always)]
    fn neg(self) -> Self {
        Self::new(V::from_bits(self.lanes.to_bits().xor(V::Bits::splat(SIGN))))
    }
}
