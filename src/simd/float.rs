//! The two element types, `f32` and `f64`, behind one trait.

use super::{Law, Philox, Set, Vector, Wide, random};
use std::ops::{Add, AddAssign, Div, Mul, MulAssign, Neg, Sub};

/// An element type: `f32` or `f64`.
pub trait Float:
    Copy
    + Send
    + Sync
    + 'static
    + PartialOrd
    + std::fmt::Debug
    + Add<Output = Self>
    + Sub<Output = Self>
    + Mul<Output = Self>
    + Div<Output = Self>
    + Neg<Output = Self>
    + AddAssign
    + MulAssign
{
    /// The name of the type in `NumPy`.
    const NAME: &'static str;
    /// Zero.
    const ZERO: Self;
    /// The number of elements in 128 bytes: two vectors of the widest instruction set.
    const LANES: usize;
    /// Is this `f64`? Its uniforms take 53 random bits (32 otherwise), and its functions the longer polynomials.
    const WIDE: bool;
    /// The least magnitude that is kept in values whose largest is in [1, 2); smaller ones are flushed to zero.
    /// Products of two values then stay clear of the subnormal range, where arithmetic is up to a hundred times slower.
    const TINY: Self;
    /// An unsigned integer as wide as this type.
    type Bits: Copy + Ord + std::fmt::Debug;
    /// Vectors of this type.
    type Vector<S: Set>: Vector<Self>;

    /// Round from `f64`.
    fn of(value: f64) -> Self;
    /// Widen to `f64`.
    fn wide(self) -> f64;
    /// Absolute value.
    fn abs(self) -> Self;
    /// The square root.
    fn sqrt(self) -> Self;
    /// The bits of the absolute value: in the order of the values, infinity and NaN last.
    fn magnitude_bits(self) -> Self::Bits;
    /// The number that has these bits.
    fn of_magnitude_bits(bits: Self::Bits) -> Self;
    /// The bits before these; before none are all.
    fn before(bits: Self::Bits) -> Self::Bits;
    /// The bits behind these; behind all are none.
    fn behind(bits: Self::Bits) -> Self::Bits;
    /// Neither infinite nor NaN.
    fn finite(self) -> bool;
    /// Fill from a block of a stream on, with numbers of a law; the second words are further random bits, for `f64`.
    fn fill<S: Set>(words: &[Philox<S>; 2], first: u64, law: &Law, out: &mut [Self]);
    /// Load the first elements of a slice into a vector of `f64`; there must be enough to fill it.
    fn load_wide<S: Set>(from: &[Self]) -> S::Double;
    /// Store a vector of `f64` into the first elements of a slice, rounded once; there must be room for all.
    fn store_wide<S: Set>(from: S::Double, to: &mut [Self]);
    /// The one of two functions that works on this type.
    fn pick<P>(
        single: fn(&P, &[f32], &mut [f32], &mut [f32]),
        double: fn(&P, &[f64], &mut [f64], &mut [f64]),
    ) -> fn(&P, &[Self], &mut [Self], &mut [Self]);
}

macro_rules! float {
    (
        $type:ty, $bits:ident, $name:literal, $wide:literal, $tiny:expr, $vector:ident, $load:ident, $store:ident,
        $fill:ident, |$single:ident, $double:ident| $mine:ident
    ) => {
        impl Float for $type {
            const NAME: &'static str = $name;
            const ZERO: Self = 0.0;
            const LANES: usize = 128 / size_of::<$type>();
            const WIDE: bool = $wide;
            const TINY: Self = $tiny;
            type Bits = $bits;
            type Vector<S: Set> = S::$vector;

            #[inline(always)]
            #[allow(clippy::inline_always, clippy::cast_lossless)]
            fn of(value: f64) -> Self {
                value as $type
            }
            #[inline(always)]
            #[allow(clippy::inline_always, clippy::cast_lossless)]
            fn wide(self) -> f64 {
                self as f64
            }
            #[inline(always)]
            #[allow(clippy::inline_always)]
            fn abs(self) -> Self {
                self.abs()
            }
            #[inline(always)]
            #[allow(clippy::inline_always)]
            fn sqrt(self) -> Self {
                self.sqrt()
            }
            #[inline(always)]
            #[allow(clippy::inline_always)]
            fn magnitude_bits(self) -> $bits {
                self.to_bits() & ($bits::MAX >> 1)
            }
            #[inline(always)]
            #[allow(clippy::inline_always)]
            fn of_magnitude_bits(bits: $bits) -> Self {
                Self::from_bits(bits)
            }
            #[inline(always)]
            #[allow(clippy::inline_always)]
            fn before(bits: $bits) -> $bits {
                bits.wrapping_sub(1)
            }
            #[inline(always)]
            #[allow(clippy::inline_always)]
            fn behind(bits: $bits) -> $bits {
                bits.wrapping_add(1)
            }
            #[inline(always)]
            #[allow(clippy::inline_always)]
            fn finite(self) -> bool {
                self.is_finite()
            }
            #[inline(always)]
            #[allow(clippy::inline_always)]
            fn fill<S: Set>(words: &[Philox<S>; 2], first: u64, law: &Law, out: &mut [Self]) {
                random::$fill::<S>(words, first, law, out);
            }
            #[inline(always)]
            fn load_wide<S: Set>(from: &[Self]) -> S::Double {
                S::Double::$load(from)
            }
            #[inline(always)]
            fn store_wide<S: Set>(from: S::Double, to: &mut [Self]) {
                from.$store(to);
            }
            fn pick<P>(
                $single: fn(&P, &[f32], &mut [f32], &mut [f32]),
                $double: fn(&P, &[f64], &mut [f64], &mut [f64]),
            ) -> fn(&P, &[Self], &mut [Self], &mut [Self]) {
                $mine
            }
        }
    };
}

float!(
    f32,
    u32,
    "float32",
    false,
    1.0 / (1_u128 << 100) as f32,
    Single,
    load_f32,
    store_f32,
    fill_single,
    |single, _double| single
);
float!(
    f64,
    u64,
    "float64",
    true,
    f64::from_bits((1023 - 500) << 52),
    Double,
    load,
    store,
    fill_double,
    |_single, double| double
);

/// `value * 2^exponent` for any exponent, rounded once where the result is normal.
pub fn times_power_of_two(value: f64, exponent: i64) -> f64 {
    libm::ldexp(value, exponent.clamp(-4000, 4000) as i32)
}

/// The exponent `e` with `2^e <= |value| < 2^(e+1)`; `value` finite and not zero.
pub fn exponent_of(value: f64) -> i64 {
    i64::from(libm::ilogb(value))
}
