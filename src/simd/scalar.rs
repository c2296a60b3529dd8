//! Plain arrays, compiled to the instructions that every machine of the architecture has.

use super::{Bits, Float, Narrow, NarrowBits, Set, Vector, Wide};

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
    type Bits = [u32; 8];

    #[inline(always)]
    fn narrow(low: [f64; 4], high: [f64; 4]) -> Self {
        std::array::from_fn(|i| if i < 4 { low[i] as f32 } else { high[i - 4] as f32 })
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
    #[inline(always)]
    fn fused(self, a: Self, b: Self) -> Self {
        std::array::from_fn(|i| fused(self[i], a[i], b[i]))
    }
    #[inline(always)]
    fn of_signed(bits: [u32; 8]) -> Self {
        bits.map(|bits| bits as i32 as f32)
    }
    #[inline(always)]
    fn to_bits(self) -> [u32; 8] {
        self.map(f32::to_bits)
    }
    #[inline(always)]
    fn from_bits(bits: [u32; 8]) -> Self {
        bits.map(f32::from_bits)
    }
    #[inline(always)]
    fn by_sign(bits: [u32; 8], negative: Self, positive: Self) -> Self {
        std::array::from_fn(|i| if bits[i] >> 31 == 1 { negative[i] } else { positive[i] })
    }
    #[inline(always)]
    fn blocks() -> [[u64; 4]; 2] {
        [[0, 1, 2, 3], [4, 5, 6, 7]]
    }
    #[inline(always)]
    fn low_halves(words: [[u64; 4]; 2]) -> [u32; 8] {
        std::array::from_fn(|i| words[i / 4][i % 4] as u32)
    }
    #[inline(always)]
    fn store_blocks(four: [Self; 4], to: &mut [f32]) {
        for (i, to) in to[..32].chunks_exact_mut(4).enumerate() {
            to.copy_from_slice(&[four[0][i], four[1][i], four[2][i], four[3][i]]);
        }
    }
}

/// `a * b + c` of finite numbers, rounded once. The maths library's own takes some fifty times as long.
#[inline(always)]
fn fused(a: f32, b: f32, c: f32) -> f32 {
    // The product is exact in f64. Their sum is rounded to odd: where it is inexact, to that neighbour whose last bit is
    // set, which the second rounding cannot take for a tie (Boldo and Melquiond 2008).
    let (product, c) = (f64::from(a) * f64::from(b), f64::from(c));
    let sum = product + c;
    let taken = sum - product;
    let lost = (product - (sum - taken)) + (c - taken);
    let bits = sum.to_bits();
    let toward = if (lost > 0.0) == (sum > 0.0) { 1 } else { u64::MAX };
    let step = if lost != 0.0 && bits & 1 == 0 { toward } else { 0 };
    f64::from_bits(bits.wrapping_add(step)) as f32
}

impl NarrowBits for [u32; 8] {
    #[inline(always)]
    fn splat(value: u32) -> Self {
        [value; 8]
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
    fn left<const N: i32>(self) -> Self {
        self.map(|bits| bits << N)
    }
    #[inline(always)]
    fn right_signed<const N: i32>(self) -> Self {
        self.map(|bits| (bits as i32 >> N) as u32)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fused_sum_is_rounded_once_as_the_maths_library_rounds_it() {
        let mut state = 1_u32;
        let mut next = || {
            // Numerical Recipes' generator; magnitudes from 2^-31 to 2^32, with many near each other and many ties.
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            f32::from_bits(state & 0x9fff_8000 | 0x3000_0000)
        };
        for _ in 0..200_000 {
            let (a, b, c) = (next(), next(), next());
            for c in [c, -a * b, a * b * 1.000_000_2, c * 1e-7] {
                assert_eq!(fused(a, b, c).to_bits(), libm::fmaf(a, b, c).to_bits(), "{a} {b} {c}");
            }
        }
    }

    #[test]
    fn a_sum_that_misses_a_tie_by_less_than_f64_sees_falls_to_the_right_side() {
        // 24929 * 673 = 2^24 + 1, halfway between two numbers of f32.
        for (a, b) in [(24_929.0, 673.0), (-24_929.0, 673.0), (24_929.0 * 0.125, 673.0 * 4.0)] {
            for c in [1e-12, -1e-12, 1e-30, -1e-30, 0.0] {
                assert_eq!(fused(a, b, c).to_bits(), libm::fmaf(a, b, c).to_bits(), "{a} {b} {c}");
            }
        }
        assert_eq!(fused(24_929.0, 673.0, 1e-12), 16_777_218.0);
    }
}
