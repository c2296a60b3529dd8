//! NEON: 4 lanes of f32, 2 of f64.
#![allow(unsafe_code)]

use super::{Bits, Narrow, NarrowBits, Set, Task, Vector, Wide};
#[allow(clippy::wildcard_imports)] // Some fifty intrinsics.
use std::arch::aarch64::*;

/// The instruction set NEON of 64-bit ARM.
pub struct Neon;

impl Set for Neon {
    type Single = Single;
    type Double = Double;
    const TILE: usize = 8;
}

/// Does this machine have the set? Every 64-bit ARM with an operating system does.
pub fn available() -> bool {
    std::arch::is_aarch64_feature_detected!("neon")
}

/// Run a task that is compiled for this set.
pub fn run<T: Task>(task: T) -> T::Output {
    #[target_feature(enable = "neon")]
    fn enabled<T: Task>(task: T) -> T::Output {
        task.run::<Neon>()
    }
    // SAFETY: `super::isa` names this set only where `available` has seen the feature that `enabled` turns on.
    unsafe { enabled(task) }
}

/// A vector of `f32`.
#[derive(Clone, Copy)]
pub struct Single(float32x4_t);

/// A vector of `f64`.
#[derive(Clone, Copy)]
pub struct Double(float64x2_t);

macro_rules! vector {
    (
        $name:ident, $element:ty, $lanes:literal, $splat:ident, $load:ident, $store:ident, $fma:ident, $transposed:ident
    ) => {
        // SAFETY (all blocks below): a task runs on these vectors only inside `run`, where the set is enabled; loads
        // and stores touch `LANES` elements of a slice that has just been cut to that length.
        impl Vector<$element> for $name {
            const LANES: usize = $lanes;

            #[inline(always)]
            fn splat(value: $element) -> Self {
                // SAFETY: as above.
                Self(unsafe { $splat(value) })
            }
            #[inline(always)]
            fn load(from: &[$element]) -> Self {
                let from = &from[..Self::LANES];
                // SAFETY: as above.
                Self(unsafe { $load(from.as_ptr()) })
            }
            #[inline(always)]
            fn store(self, to: &mut [$element]) {
                let to = &mut to[..Self::LANES];
                // SAFETY: as above.
                unsafe { $store(to.as_mut_ptr(), self.0) }
            }
            #[inline(always)]
            fn multiply_add(self, a: Self, b: Self) -> Self {
                // SAFETY: as above. The summand comes first.
                Self(unsafe { $fma(b.0, self.0, a.0) })
            }
            #[inline(always)]
            fn transpose(from: &[$element], from_step: usize, factor: $element, to: &mut [$element], to_step: usize) {
                let (mut rows, factor) = ([Self::splat(0.0); Self::LANES], Self::splat(factor));
                for (i, row) in rows.iter_mut().enumerate() {
                    // Added to -0, a product keeps its sign.
                    *row = Self::load(&from[i * from_step..]).multiply_add(factor, Self::splat(-0.0));
                }
                for (i, row) in $transposed(rows).into_iter().enumerate() {
                    row.store(&mut to[i * to_step..]);
                }
            }
        }
    };
}

vector!(Single, f32, 4, vdupq_n_f32, vld1q_f32, vst1q_f32, vfmaq_f32, transposed_single);
vector!(Double, f64, 2, vdupq_n_f64, vld1q_f64, vst1q_f64, vfmaq_f64, transposed_double);

/// Transpose pairs of rows, then fours.
#[inline(always)]
fn transposed_single([a, b, c, d]: [Single; 4]) -> [Single; 4] {
    // SAFETY: as above; no memory is touched.
    unsafe {
        let low = (pairs(vzip1q_f32(a.0, b.0)), pairs(vzip1q_f32(c.0, d.0)));
        let high = (pairs(vzip2q_f32(a.0, b.0)), pairs(vzip2q_f32(c.0, d.0)));
        [
            Single(singles(vzip1q_f64(low.0, low.1))),
            Single(singles(vzip2q_f64(low.0, low.1))),
            Single(singles(vzip1q_f64(high.0, high.1))),
            Single(singles(vzip2q_f64(high.0, high.1))),
        ]
    }
}

#[inline(always)]
fn transposed_double([a, b]: [Double; 2]) -> [Double; 2] {
    // SAFETY: as above; no memory is touched.
    unsafe { [Double(vzip1q_f64(a.0, b.0)), Double(vzip2q_f64(a.0, b.0))] }
}

/// A vector whose lanes are pairs of these lanes.
#[inline(always)]
fn pairs(of: float32x4_t) -> float64x2_t {
    // SAFETY: as above; no memory is touched.
    unsafe { vreinterpretq_f64_f32(of) }
}

/// A vector whose pairs of lanes are these lanes.
#[inline(always)]
fn singles(of: float64x2_t) -> float32x4_t {
    // SAFETY: as above; no memory is touched.
    unsafe { vreinterpretq_f32_f64(of) }
}

// SAFETY (all blocks below): as for the vectors above; no memory is touched but where it says so.
impl Narrow for Single {
    type Double = Double;
    type Bits = NarrowWords;

    #[inline(always)]
    fn narrow(low: Double, high: Double) -> Self {
        // SAFETY: as above.
        Self(unsafe { vcombine_f32(vcvt_f32_f64(low.0), vcvt_f32_f64(high.0)) })
    }
    #[inline(always)]
    fn sub(self, a: Self) -> Self {
        // SAFETY: as above.
        Self(unsafe { vsubq_f32(self.0, a.0) })
    }
    #[inline(always)]
    fn mul(self, a: Self) -> Self {
        // SAFETY: as above.
        Self(unsafe { vmulq_f32(self.0, a.0) })
    }
    #[inline(always)]
    fn sqrt(self) -> Self {
        // SAFETY: as above.
        Self(unsafe { vsqrtq_f32(self.0) })
    }
    #[inline(always)]
    fn fused(self, a: Self, b: Self) -> Self {
        self.multiply_add(a, b)
    }
    #[inline(always)]
    fn of_signed(bits: NarrowWords) -> Self {
        // SAFETY: as above.
        Self(unsafe { vcvtq_f32_s32(vreinterpretq_s32_u32(bits.0)) })
    }
    #[inline(always)]
    fn to_bits(self) -> NarrowWords {
        // SAFETY: as above.
        NarrowWords(unsafe { vreinterpretq_u32_f32(self.0) })
    }
    #[inline(always)]
    fn from_bits(bits: NarrowWords) -> Self {
        // SAFETY: as above.
        Self(unsafe { vreinterpretq_f32_u32(bits.0) })
    }
    #[inline(always)]
    fn by_sign(bits: NarrowWords, negative: Self, positive: Self) -> Self {
        // SAFETY: as above.
        Self(unsafe { vbslq_f32(bits.right_signed::<31>().0, negative.0, positive.0) })
    }
    #[inline(always)]
    fn blocks() -> [Words; 2] {
        [Words::count(), Words::count().add(Words::splat(2))]
    }
    #[inline(always)]
    fn low_halves([a, b]: [Words; 2]) -> NarrowWords {
        // SAFETY: as above.
        NarrowWords(unsafe { vuzp1q_u32(vreinterpretq_u32_u64(a.0), vreinterpretq_u32_u64(b.0)) })
    }
    #[inline(always)]
    fn store_blocks(four: [Self; 4], to: &mut [f32]) {
        for (row, to) in transposed_single(four).into_iter().zip(to[..16].chunks_exact_mut(4)) {
            row.store(to);
        }
    }
    #[inline(always)]
    fn store_fours(even: Self, odd: Self, to: &mut [f32]) {
        let to = &mut to[..8];
        // SAFETY: as above; the slice has just been cut to two vectors.
        unsafe {
            let (low, high) = (pairs(vzip1q_f32(even.0, odd.0)), pairs(vzip2q_f32(even.0, odd.0)));
            vst1q_f32(to.as_mut_ptr(), singles(vzip1q_f64(low, high)));
            vst1q_f32(to.as_mut_ptr().add(4), singles(vzip2q_f64(low, high)));
        }
    }
}

/// A vector of `u32`.
#[derive(Clone, Copy)]
pub struct NarrowWords(uint32x4_t);

// SAFETY (all blocks below): as for the vectors above; no memory is touched.
impl NarrowBits for NarrowWords {
    #[inline(always)]
    fn splat(value: u32) -> Self {
        // SAFETY: as above.
        Self(unsafe { vdupq_n_u32(value) })
    }
    #[inline(always)]
    fn add(self, a: Self) -> Self {
        // SAFETY: as above.
        Self(unsafe { vaddq_u32(self.0, a.0) })
    }
    #[inline(always)]
    fn sub(self, a: Self) -> Self {
        // SAFETY: as above.
        Self(unsafe { vsubq_u32(self.0, a.0) })
    }
    #[inline(always)]
    fn and(self, a: Self) -> Self {
        // SAFETY: as above.
        Self(unsafe { vandq_u32(self.0, a.0) })
    }
    #[inline(always)]
    fn or(self, a: Self) -> Self {
        // SAFETY: as above.
        Self(unsafe { vorrq_u32(self.0, a.0) })
    }
    #[inline(always)]
    fn xor(self, a: Self) -> Self {
        // SAFETY: as above.
        Self(unsafe { veorq_u32(self.0, a.0) })
    }
    #[inline(always)]
    fn left<const N: i32>(self) -> Self {
        // SAFETY: as above; the count is a constant below 32.
        Self(unsafe { vshlq_u32(self.0, vdupq_n_s32(N)) })
    }
    #[inline(always)]
    fn right_signed<const N: i32>(self) -> Self {
        // SAFETY: as above; the count is a constant below 32, and a negative one shifts to the right.
        Self(unsafe { vreinterpretq_u32_s32(vshlq_s32(vreinterpretq_s32_u32(self.0), vdupq_n_s32(-N))) })
    }
}

/// A vector of `u64`.
#[derive(Clone, Copy)]
pub struct Words(uint64x2_t);

// SAFETY (all blocks below): as for the vectors above; no memory is touched but by a load and a store.
impl Wide for Double {
    type Bits = Words;

    #[inline(always)]
    fn add(self, a: Self) -> Self {
        // SAFETY: as above.
        Self(unsafe { vaddq_f64(self.0, a.0) })
    }
    #[inline(always)]
    fn sub(self, a: Self) -> Self {
        // SAFETY: as above.
        Self(unsafe { vsubq_f64(self.0, a.0) })
    }
    #[inline(always)]
    fn mul(self, a: Self) -> Self {
        // SAFETY: as above.
        Self(unsafe { vmulq_f64(self.0, a.0) })
    }
    #[inline(always)]
    fn div(self, a: Self) -> Self {
        // SAFETY: as above.
        Self(unsafe { vdivq_f64(self.0, a.0) })
    }
    #[inline(always)]
    fn sqrt(self) -> Self {
        // SAFETY: as above.
        Self(unsafe { vsqrtq_f64(self.0) })
    }
    #[inline(always)]
    fn to_bits(self) -> Words {
        // SAFETY: as above.
        Words(unsafe { vreinterpretq_u64_f64(self.0) })
    }
    #[inline(always)]
    fn from_bits(bits: Words) -> Self {
        // SAFETY: as above.
        Self(unsafe { vreinterpretq_f64_u64(bits.0) })
    }
    #[inline(always)]
    fn load_f32(from: &[f32]) -> Self {
        let from = &from[..Self::LANES];
        // SAFETY: as above; the slice has just been cut to the elements that are read.
        Self(unsafe { vcvt_f64_f32(vld1_f32(from.as_ptr())) })
    }
    #[inline(always)]
    fn store_f32(self, to: &mut [f32]) {
        let to = &mut to[..Self::LANES];
        // SAFETY: as above; the slice has just been cut to the elements that are written.
        unsafe { vst1_f32(to.as_mut_ptr(), vcvt_f32_f64(self.0)) }
    }
    #[inline(always)]
    fn min(self, bound: Self) -> Self {
        // SAFETY: as above. Not `vminq_f64`, which gives the NaN of either back.
        Self(unsafe { vbslq_f64(vcltq_f64(bound.0, self.0), bound.0, self.0) })
    }
    #[inline(always)]
    fn max(self, bound: Self) -> Self {
        // SAFETY: as above. Not `vmaxq_f64`, for the same reason.
        Self(unsafe { vbslq_f64(vcgtq_f64(bound.0, self.0), bound.0, self.0) })
    }
    #[inline(always)]
    fn above(self, bound: Self, yes: Self, no: Self) -> Self {
        // SAFETY: as above. Comparisons with NaN are false.
        Self(unsafe { vbslq_f64(vcgtq_f64(self.0, bound.0), yes.0, no.0) })
    }
}

impl Bits for Words {
    #[inline(always)]
    fn splat(value: u64) -> Self {
        // SAFETY: as above.
        Self(unsafe { vdupq_n_u64(value) })
    }
    #[inline(always)]
    fn count() -> Self {
        // SAFETY: as above.
        Self(unsafe { vcombine_u64(vcreate_u64(0), vcreate_u64(1)) })
    }
    #[inline(always)]
    fn add(self, a: Self) -> Self {
        // SAFETY: as above.
        Self(unsafe { vaddq_u64(self.0, a.0) })
    }
    #[inline(always)]
    fn sub(self, a: Self) -> Self {
        // SAFETY: as above.
        Self(unsafe { vsubq_u64(self.0, a.0) })
    }
    #[inline(always)]
    fn mul_low(self, a: Self) -> Self {
        // SAFETY: as above.
        Self(unsafe { vmull_u32(vmovn_u64(self.0), vmovn_u64(a.0)) })
    }
    #[inline(always)]
    fn and(self, a: Self) -> Self {
        // SAFETY: as above.
        Self(unsafe { vandq_u64(self.0, a.0) })
    }
    #[inline(always)]
    fn or(self, a: Self) -> Self {
        // SAFETY: as above.
        Self(unsafe { vorrq_u64(self.0, a.0) })
    }
    #[inline(always)]
    fn xor(self, a: Self) -> Self {
        // SAFETY: as above.
        Self(unsafe { veorq_u64(self.0, a.0) })
    }
    #[inline(always)]
    fn left<const N: u32>(self) -> Self {
        // SAFETY: as above; the count is a constant below 64.
        Self(unsafe { vshlq_u64(self.0, vdupq_n_s64(i64::from(N))) })
    }
    #[inline(always)]
    fn right<const N: u32>(self) -> Self {
        // SAFETY: as above; the count is a constant below 64, and a negative one shifts the other way.
        Self(unsafe { vshlq_u64(self.0, vdupq_n_s64(-i64::from(N))) })
    }
}
