//! NEON: 4 lanes of f32, 2 of f64.
#![allow(unsafe_code)]

use super::{Bits, Narrow, Set, Task, Vector, Wide};
use std::arch::aarch64::{
    float32x4_t, float64x2_t, uint64x2_t, vaddq_f64, vaddq_u64, vandq_u64, vcombine_u64, vcreate_u64, vdivq_f64,
    vdupq_n_f32, vdupq_n_f64, vdupq_n_s64, vdupq_n_u64, veorq_u64, vfmaq_f32, vfmaq_f64, vld1q_f32, vld1q_f64,
    vmovn_u64, vmull_u32, vmulq_f64, vorrq_u64, vreinterpretq_f64_u64, vreinterpretq_u64_f64, vshlq_u64, vsqrtq_f64,
    vst1q_f32, vst1q_f64, vsubq_f64, vsubq_u64,
};

/// This set.
pub struct Neon;

impl Set for Neon {
    type Single = Single;
    type Double = Double;
    const TILE: usize = 8;
}

/// Does this machine have it? Every 64-bit ARM with an operating system does.
pub fn available() -> bool {
    std::arch::is_aarch64_feature_detected!("neon")
}

/// Run a task compiled for this set.
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
    ($name:ident, $element:ty, $lanes:literal, $splat:ident, $load:ident, $store:ident, $fma:ident) => {
        // SAFETY (all blocks below): a task runs on these vectors only inside `run`, where the set is enabled; loads and
        // stores touch `LANES` elements of a slice that has just been cut to that length.
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
        }
    };
}

vector!(Single, f32, 4, vdupq_n_f32, vld1q_f32, vst1q_f32, vfmaq_f32);
vector!(Double, f64, 2, vdupq_n_f64, vld1q_f64, vst1q_f64, vfmaq_f64);

/// A vector of `u64`.
#[derive(Clone, Copy)]
pub struct Words(uint64x2_t);

// SAFETY (all blocks below): as for the vectors above; no memory is touched.
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
