//! AVX2 with FMA: 8 lanes of f32, 4 of f64.
#![allow(unsafe_code)]

use super::{Bits, Narrow, NarrowBits, Set, Task, Vector, Wide};
#[allow(clippy::wildcard_imports)] // Some fifty intrinsics.
use std::arch::x86_64::*;

/// The instruction sets AVX2 and FMA.
pub struct Avx2;

impl Set for Avx2 {
    type Single = Single;
    type Double = Double;
    const TILE: usize = 6;

    #[inline(always)]
    fn prefetch<T>(address: *const T) {
        // SAFETY: a hint; no address faults.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(address.cast()) };
    }
}

/// Does this machine have the sets?
pub fn available() -> bool {
    is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma")
}

/// Run a task that is compiled for this set.
pub fn run<T: Task>(task: T) -> T::Output {
    #[target_feature(enable = "avx2,fma")]
    fn enabled<T: Task>(task: T) -> T::Output {
        task.run::<Avx2>()
    }
    // SAFETY: `super::isa` names this set only where `available` has seen every feature that `enabled` turns on.
    unsafe { enabled(task) }
}

/// A vector of `f32`.
#[derive(Clone, Copy)]
pub struct Single(__m256);

/// A vector of `f64`.
#[derive(Clone, Copy)]
pub struct Double(__m256d);

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
                // SAFETY: as above.
                Self(unsafe { $fma(self.0, a.0, b.0) })
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

vector!(Single, f32, 8, _mm256_set1_ps, _mm256_loadu_ps, _mm256_storeu_ps, _mm256_fmadd_ps, transposed_single);
vector!(Double, f64, 4, _mm256_set1_pd, _mm256_loadu_pd, _mm256_storeu_pd, _mm256_fmadd_pd, transposed_double);

/// Transpose pairs, then fours of rows inside the halves of 128 bits, then the halves.
#[inline(always)]
fn transposed_single(rows: [Single; 8]) -> [Single; 8] {
    let mut out = rows;
    let mut fours = [[rows[0].0; 4]; 2];
    for (i, four) in fours.iter_mut().enumerate() {
        let [a, b, c, d] = [rows[4 * i].0, rows[4 * i + 1].0, rows[4 * i + 2].0, rows[4 * i + 3].0];
        // SAFETY: as above; no memory is touched.
        *four = unsafe {
            let low = (_mm256_castps_pd(_mm256_unpacklo_ps(a, b)), _mm256_castps_pd(_mm256_unpacklo_ps(c, d)));
            let high = (_mm256_castps_pd(_mm256_unpackhi_ps(a, b)), _mm256_castps_pd(_mm256_unpackhi_ps(c, d)));
            [
                _mm256_castpd_ps(_mm256_unpacklo_pd(low.0, low.1)),
                _mm256_castpd_ps(_mm256_unpackhi_pd(low.0, low.1)),
                _mm256_castpd_ps(_mm256_unpacklo_pd(high.0, high.1)),
                _mm256_castpd_ps(_mm256_unpackhi_pd(high.0, high.1)),
            ]
        };
    }
    for i in 0..4 {
        // SAFETY: as above; no memory is touched.
        unsafe {
            out[i] = Single(_mm256_permute2f128_ps::<0x20>(fours[0][i], fours[1][i]));
            out[4 + i] = Single(_mm256_permute2f128_ps::<0x31>(fours[0][i], fours[1][i]));
        }
    }
    out
}

/// Transpose pairs of rows inside the halves of 128 bits, then the halves.
#[inline(always)]
fn transposed_double([a, b, c, d]: [Double; 4]) -> [Double; 4] {
    // SAFETY: as above; no memory is touched.
    unsafe {
        let low = (_mm256_unpacklo_pd(a.0, b.0), _mm256_unpacklo_pd(c.0, d.0));
        let high = (_mm256_unpackhi_pd(a.0, b.0), _mm256_unpackhi_pd(c.0, d.0));
        [
            Double(_mm256_permute2f128_pd::<0x20>(low.0, low.1)),
            Double(_mm256_permute2f128_pd::<0x20>(high.0, high.1)),
            Double(_mm256_permute2f128_pd::<0x31>(low.0, low.1)),
            Double(_mm256_permute2f128_pd::<0x31>(high.0, high.1)),
        ]
    }
}

// SAFETY (all blocks below): as for the vectors above; no memory is touched but where it says so.
impl Narrow for Single {
    type Double = Double;
    type Bits = NarrowWords;

    #[inline(always)]
    fn narrow(low: Double, high: Double) -> Self {
        // SAFETY: as above.
        Self(unsafe { _mm256_set_m128(_mm256_cvtpd_ps(high.0), _mm256_cvtpd_ps(low.0)) })
    }
    #[inline(always)]
    fn sub(self, a: Self) -> Self {
        // SAFETY: as above.
        Self(unsafe { _mm256_sub_ps(self.0, a.0) })
    }
    #[inline(always)]
    fn mul(self, a: Self) -> Self {
        // SAFETY: as above.
        Self(unsafe { _mm256_mul_ps(self.0, a.0) })
    }
    #[inline(always)]
    fn sqrt(self) -> Self {
        // SAFETY: as above.
        Self(unsafe { _mm256_sqrt_ps(self.0) })
    }
    #[inline(always)]
    fn fused(self, a: Self, b: Self) -> Self {
        self.multiply_add(a, b)
    }
    #[inline(always)]
    fn of_signed(bits: NarrowWords) -> Self {
        // SAFETY: as above.
        Self(unsafe { _mm256_cvtepi32_ps(bits.0) })
    }
    #[inline(always)]
    fn to_bits(self) -> NarrowWords {
        // SAFETY: as above.
        NarrowWords(unsafe { _mm256_castps_si256(self.0) })
    }
    #[inline(always)]
    fn from_bits(bits: NarrowWords) -> Self {
        // SAFETY: as above.
        Self(unsafe { _mm256_castsi256_ps(bits.0) })
    }
    #[inline(always)]
    fn by_sign(bits: NarrowWords, negative: Self, positive: Self) -> Self {
        // SAFETY: as above.
        Self(unsafe { _mm256_blendv_ps(positive.0, negative.0, _mm256_castsi256_ps(bits.0)) })
    }
    #[inline(always)]
    fn blocks() -> [Words; 2] {
        // SAFETY: as above.
        unsafe { [Words(_mm256_setr_epi64x(0, 2, 1, 3)), Words(_mm256_setr_epi64x(4, 6, 5, 7))] }
    }
    #[inline(always)]
    fn low_halves([a, b]: [Words; 2]) -> NarrowWords {
        // SAFETY: as above.
        NarrowWords(unsafe {
            _mm256_castps_si256(_mm256_shuffle_ps::<0b10_00_10_00>(_mm256_castsi256_ps(a.0), _mm256_castsi256_ps(b.0)))
        })
    }
    #[inline(always)]
    fn store_blocks([a, b, c, d]: [Self; 4], to: &mut [f32]) {
        let to = &mut to[..32];
        // SAFETY: as above; the slice has just been cut to four vectors.
        unsafe {
            let low = (_mm256_castps_pd(_mm256_unpacklo_ps(a.0, b.0)), _mm256_castps_pd(_mm256_unpacklo_ps(c.0, d.0)));
            let high = (_mm256_castps_pd(_mm256_unpackhi_ps(a.0, b.0)), _mm256_castps_pd(_mm256_unpackhi_ps(c.0, d.0)));
            for (i, (c, d)) in [low, high].into_iter().enumerate() {
                _mm256_storeu_ps(to.as_mut_ptr().add(16 * i), _mm256_castpd_ps(_mm256_unpacklo_pd(c, d)));
                _mm256_storeu_ps(to.as_mut_ptr().add(16 * i + 8), _mm256_castpd_ps(_mm256_unpackhi_pd(c, d)));
            }
        }
    }
    #[inline(always)]
    fn store_fours(even: Self, odd: Self, to: &mut [f32]) {
        let to = &mut to[..16];
        // SAFETY: as above; the slice has just been cut to two vectors.
        unsafe {
            let low = _mm256_castps_pd(_mm256_unpacklo_ps(even.0, odd.0));
            let high = _mm256_castps_pd(_mm256_unpackhi_ps(even.0, odd.0));
            _mm256_storeu_ps(to.as_mut_ptr(), _mm256_castpd_ps(_mm256_permute4x64_pd::<0b11_01_10_00>(low)));
            _mm256_storeu_ps(to.as_mut_ptr().add(8), _mm256_castpd_ps(_mm256_permute4x64_pd::<0b11_01_10_00>(high)));
        }
    }
}

/// A vector of `u32`.
#[derive(Clone, Copy)]
pub struct NarrowWords(__m256i);

// SAFETY (all blocks below): as for the vectors above; no memory is touched.
impl NarrowBits for NarrowWords {
    #[inline(always)]
    fn splat(value: u32) -> Self {
        // SAFETY: as above.
        Self(unsafe { _mm256_set1_epi32(value as i32) })
    }
    #[inline(always)]
    fn add(self, a: Self) -> Self {
        // SAFETY: as above.
        Self(unsafe { _mm256_add_epi32(self.0, a.0) })
    }
    #[inline(always)]
    fn sub(self, a: Self) -> Self {
        // SAFETY: as above.
        Self(unsafe { _mm256_sub_epi32(self.0, a.0) })
    }
    #[inline(always)]
    fn and(self, a: Self) -> Self {
        // SAFETY: as above.
        Self(unsafe { _mm256_and_si256(self.0, a.0) })
    }
    #[inline(always)]
    fn or(self, a: Self) -> Self {
        // SAFETY: as above.
        Self(unsafe { _mm256_or_si256(self.0, a.0) })
    }
    #[inline(always)]
    fn xor(self, a: Self) -> Self {
        // SAFETY: as above.
        Self(unsafe { _mm256_xor_si256(self.0, a.0) })
    }
    #[inline(always)]
    fn left<const N: i32>(self) -> Self {
        // SAFETY: as above; the count is a constant below 32.
        Self(unsafe { _mm256_slli_epi32::<N>(self.0) })
    }
    #[inline(always)]
    fn right_signed<const N: i32>(self) -> Self {
        // SAFETY: as above; the count is a constant below 32.
        Self(unsafe { _mm256_srai_epi32::<N>(self.0) })
    }
}

/// A vector of `u64`.
#[derive(Clone, Copy)]
pub struct Words(__m256i);

// SAFETY (all blocks below): as for the vectors above; no memory is touched but by a load and a store.
impl Wide for Double {
    type Bits = Words;

    #[inline(always)]
    fn add(self, a: Self) -> Self {
        // SAFETY: as above.
        Self(unsafe { _mm256_add_pd(self.0, a.0) })
    }
    #[inline(always)]
    fn sub(self, a: Self) -> Self {
        // SAFETY: as above.
        Self(unsafe { _mm256_sub_pd(self.0, a.0) })
    }
    #[inline(always)]
    fn mul(self, a: Self) -> Self {
        // SAFETY: as above.
        Self(unsafe { _mm256_mul_pd(self.0, a.0) })
    }
    #[inline(always)]
    fn div(self, a: Self) -> Self {
        // SAFETY: as above.
        Self(unsafe { _mm256_div_pd(self.0, a.0) })
    }
    #[inline(always)]
    fn sqrt(self) -> Self {
        // SAFETY: as above.
        Self(unsafe { _mm256_sqrt_pd(self.0) })
    }
    #[inline(always)]
    fn to_bits(self) -> Words {
        // SAFETY: as above.
        Words(unsafe { _mm256_castpd_si256(self.0) })
    }
    #[inline(always)]
    fn from_bits(bits: Words) -> Self {
        // SAFETY: as above.
        Self(unsafe { _mm256_castsi256_pd(bits.0) })
    }
    #[inline(always)]
    fn load_f32(from: &[f32]) -> Self {
        let from = &from[..Self::LANES];
        // SAFETY: as above; the slice has just been cut to the elements that are read.
        Self(unsafe { _mm256_cvtps_pd(_mm_loadu_ps(from.as_ptr())) })
    }
    #[inline(always)]
    fn store_f32(self, to: &mut [f32]) {
        let to = &mut to[..Self::LANES];
        // SAFETY: as above; the slice has just been cut to the elements that are written.
        unsafe { _mm_storeu_ps(to.as_mut_ptr(), _mm256_cvtpd_ps(self.0)) }
    }
    #[inline(always)]
    fn min(self, bound: Self) -> Self {
        // SAFETY: as above. The instruction gives its second operand back if either is NaN.
        Self(unsafe { _mm256_min_pd(bound.0, self.0) })
    }
    #[inline(always)]
    fn max(self, bound: Self) -> Self {
        // SAFETY: as above. The instruction gives its second operand back if either is NaN.
        Self(unsafe { _mm256_max_pd(bound.0, self.0) })
    }
    #[inline(always)]
    fn above(self, bound: Self, yes: Self, no: Self) -> Self {
        // SAFETY: as above.
        Self(unsafe { _mm256_blendv_pd(no.0, yes.0, _mm256_cmp_pd::<_CMP_GT_OQ>(self.0, bound.0)) })
    }
}

impl Bits for Words {
    #[inline(always)]
    fn splat(value: u64) -> Self {
        // SAFETY: as above.
        Self(unsafe { _mm256_set1_epi64x(value as i64) })
    }
    #[inline(always)]
    fn count() -> Self {
        // SAFETY: as above.
        Self(unsafe { _mm256_setr_epi64x(0, 1, 2, 3) })
    }
    #[inline(always)]
    fn add(self, a: Self) -> Self {
        // SAFETY: as above.
        Self(unsafe { _mm256_add_epi64(self.0, a.0) })
    }
    #[inline(always)]
    fn sub(self, a: Self) -> Self {
        // SAFETY: as above.
        Self(unsafe { _mm256_sub_epi64(self.0, a.0) })
    }
    #[inline(always)]
    fn mul_low(self, a: Self) -> Self {
        // SAFETY: as above.
        Self(unsafe { _mm256_mul_epu32(self.0, a.0) })
    }
    #[inline(always)]
    fn and(self, a: Self) -> Self {
        // SAFETY: as above.
        Self(unsafe { _mm256_and_si256(self.0, a.0) })
    }
    #[inline(always)]
    fn or(self, a: Self) -> Self {
        // SAFETY: as above.
        Self(unsafe { _mm256_or_si256(self.0, a.0) })
    }
    #[inline(always)]
    fn xor(self, a: Self) -> Self {
        // SAFETY: as above.
        Self(unsafe { _mm256_xor_si256(self.0, a.0) })
    }
    #[inline(always)]
    fn left<const N: u32>(self) -> Self {
        // SAFETY: as above; the count is a constant below 64.
        Self(unsafe { _mm256_sll_epi64(self.0, _mm_cvtsi32_si128(N as i32)) })
    }
    #[inline(always)]
    fn right<const N: u32>(self) -> Self {
        // SAFETY: as above; the count is a constant below 64.
        Self(unsafe { _mm256_srl_epi64(self.0, _mm_cvtsi32_si128(N as i32)) })
    }
}
