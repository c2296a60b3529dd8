//! Plain arrays, compiled to the instructions that every machine of the architecture has.

use super::{Bits, Float, Narrow, Set, Vector, Wide};

/// The instructions that every machine of the architecture has.
pub struct Scalar;

impl Set for Scalar {
    type Single = [f32; 8];
    type Double = [f64; 4];
    const TILE: usize = 2;
}

impl<F: Float, const N: usize> Vector<F> for [F; N] {
    const LANES: usize = N;

    #[inline(always)]
    fn splat(value: F) -> Self {
        [value; N]
    }

    #[inline(always)]
    fn load(from: &[F]) -> Self {
        let mut all = [F::ZERO; N];
        all.copy_from_slice(&from[..N]);
        all
    }

    #[inline(always)]
    fn store(self, to: &mut [F]) {
        to[..N].copy_from_slice(&self);
    }

    #[inline(always)]
    fn multiply_add(self, a: Self, b: Self) -> Self {
        // Rounded twice: a fused one without the instruction is a call of the maths library, some fifty times slower.
        std::array::from_fn(|i| self[i] * a[i] + b[i])
    }
}

impl Narrow for [f32; 8] {
    type Double = [f64; 4];

    #[inline(always)]
    fn narrow(low: [f64; 4], high: [f64; 4]) -> Self {
        std::array::from_fn(|i| if i < 4 { low[i] as f32 } else { high[i - 4] as f32 })
    }
    #[inline(always)]
    fn add(self, a: Self) -> Self {
        std::array::from_fn(|i| self[i] + a[i])
    }
    #[inline(always)]
    fn sub(self, a: Self) -> Self {
        std::array::from_fn(|i| self[i] - a[i])
    }
    #[inline(always)]
    fn mul(self, a: Self) -> Self {
        std::array::from_fn(|i| self[i] * a[i])
    }
    #[inline(always)]
    fn sqrt(self) -> Self {
        self.map(f32::sqrt)
    }
}

impl Wide for [f64; 4] {
    type Bits = [u64; 4];

    #[inline(always)]
    fn add(self, a: Self) -> Self {
        std::array::from_fn(|i| self[i] + a[i])
    }
    #[inline(always)]
    fn sub(self, a: Self) -> Self {
        std::array::from_fn(|i| self[i] - a[i])
    }
    #[inline(always)]
    fn mul(self, a: Self) -> Self {
        std::array::from_fn(|i| self[i] * a[i])
    }
    #[inline(always)]
    fn div(self, a: Self) -> Self {
        std::array::from_fn(|i| self[i] / a[i])
    }
    #[inline(always)]
    fn sqrt(self) -> Self {
        self.map(f64::sqrt)
    }
    #[inline(always)]
    fn to_bits(self) -> [u64; 4] {
        self.map(f64::to_bits)
    }
    #[inline(always)]
    fn from_bits(bits: [u64; 4]) -> Self {
        bits.map(f64::from_bits)
    }
    #[inline(always)]
    fn load_f32(from: &[f32]) -> Self {
        <[f32; 4]>::load(from).map(f64::from)
    }
    #[inline(always)]
    fn store_f32(self, to: &mut [f32]) {
        self.map(|value| value as f32).store(to);
    }
    #[inline(always)]
    fn min(self, bound: Self) -> Self {
        std::array::from_fn(|i| if bound[i] < self[i] { bound[i] } else { self[i] })
    }
    #[inline(always)]
    fn max(self, bound: Self) -> Self {
        std::array::from_fn(|i| if bound[i] > self[i] { bound[i] } else { self[i] })
    }
    #[inline(always)]
    fn above(self, bound: Self, yes: Self, no: Self) -> Self {
        std::array::from_fn(|i| if self[i] > bound[i] { yes[i] } else { no[i] })
    }
}

impl Bits for [u64; 4] {
    #[inline(always)]
    fn splat(value: u64) -> Self {
        [value; 4]
    }
    #[inline(always)]
    fn count() -> Self {
        [0, 1, 2, 3]
    }
    #[inline(always)]
    fn add(self, a: Self) -> Self {
        std::array::from_fn(|i| self[i].wrapping_add(a[i]))
    }
    #[inline(always)]
    fn sub(self, a: Self) -> Self {
        std::array::from_fn(|i| self[i].wrapping_sub(a[i]))
    }
    #[inline(always)]
    fn mul_low(self, a: Self) -> Self {
        std::array::from_fn(|i| u64::from(self[i] as u32) * u64::from(a[i] as u32))
    }
    #[inline(always)]
    fn and(self, a: Self) -> Self {
        std::array::from_fn(|i| self[i] & a[i])
    }
    #[inline(always)]
    fn or(self, a: Self) -> Self {
        std::array::from_fn(|i| self[i] | a[i])
    }
    #[inline(always)]
    fn xor(self, a: Self) -> Self {
        std::array::from_fn(|i| self[i] ^ a[i])
    }
    #[inline(always)]
    fn left<const N: u32>(self) -> Self {
        self.map(|bits| bits << N)
    }
    #[inline(always)]
    fn right<const N: u32>(self) -> Self {
        self.map(|bits| bits >> N)
    }
}
