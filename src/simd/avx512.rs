//! AVX-512: 16 lanes of f32, 8 of f64.
#![allow(unsafe_code)]

use super::{Bits, Narrow, NarrowBits, Set, Task, Vector, Wide};
#[allow(clippy::wildcard_imports)] // Some fifty intrinsics.
use std::arch::x86_64::*;

/// The instruction sets AVX-512 F, VL, DQ and BW.
pub struct Avx512;

impl Set for Avx512 {
    type Single = Single;
    type Double = Double;
    const TILE: usize = 8;

    #[inline(always)]
    fn prefetch<T>(address: *const T) {
        // SAFETY: a hint; no address faults.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(address.cast()) };
    }
}

/// Does this machine have the sets?
pub fn available() -> bool {
    is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512vl")
        && is_x86_feature_detected!("avx512dq")
        && is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("fma")
}

/// Run a task that is compiled for this set.
pub fn run<T: Task>(task: T) -> T::Output {
    #[target_feature(enable = "avx512f,avx512vl,avx512dq,avx512bw,fma")]
    fn enabled<T: Task>(task: T) -> T::Output {
        task.run::<Avx512>()
    }
    // SAFETY: `super::isa` names this set only where `available` has seen every feature that `enabled` turns on.
    unsafe { enabled(task) }
}

/// A vector of `f32`.
#[derive(Clone, Copy)]
pub struct Single(__m512);

/// A vector of `f64`.
#[derive(Clone, Copy)]
pub struct Double(__m512d);

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

vector!(Single, f32, 16, _mm512_set1_ps, _mm512_loadu_ps, _mm512_storeu_ps, _mm512_fmadd_ps, transposed_single);
vector!(Double, f64, 8, _mm512_set1_pd, _mm512_loadu_pd, _mm512_storeu_pd, _mm512_fmadd_pd, transposed_double);

/// Transpose the blocks of 128 bits of four vectors: block `b` of vector `v` becomes block `v` of vector `b`.
#[inline(always)]
fn transposed_blocks([a, b, c, d]: [__m512; 4]) -> [__m512; 4] {
    // SAFETY: as above; no memory is touched.
    unsafe {
        let even = (_mm512_shuffle_f32x4::<0x88>(a, b), _mm512_shuffle_f32x4::<0x88>(c, d));
        let odd = (_mm512_shuffle_f32x4::<0xdd>(a, b), _mm512_shuffle_f32x4::<0xdd>(c, d));
        [
            _mm512_shuffle_f32x4::<0x88>(even.0, even.1),
            _mm512_shuffle_f32x4::<0x88>(odd.0, odd.1),
            _mm512_shuffle_f32x4::<0xdd>(even.0, even.1),
            _mm512_shuffle_f32x4::<0xdd>(odd.0, odd.1),
        ]
    }
}

/// Transpose pairs, then fours of rows inside the blocks of 128 bits, then the blocks.
#[inline(always)]
fn transposed_single(rows: [Single; 16]) -> [Single; 16] {
    let mut out = rows;
    let mut fours = [[rows[0].0; 4]; 4];
    for (i, four) in fours.iter_mut().enumerate() {
        let [a, b, c, d] = [rows[4 * i].0, rows[4 * i + 1].0, rows[4 * i + 2].0, rows[4 * i + 3].0];
        // SAFETY: as above; no memory is touched.
        *four = unsafe {
            let low = (_mm512_castps_pd(_mm512_unpacklo_ps(a, b)), _mm512_castps_pd(_mm512_unpacklo_ps(c, d)));
            let high = (_mm512_castps_pd(_mm512_unpackhi_ps(a, b)), _mm512_castps_pd(_mm512_unpackhi_ps(c, d)));
            [
                _mm512_castpd_ps(_mm512_unpacklo_pd(low.0, low.1)),
                _mm512_castpd_ps(_mm512_unpackhi_pd(low.0, low.1)),
                _mm512_castpd_ps(_mm512_unpacklo_pd(high.0, high.1)),
                _mm512_castpd_ps(_mm512_unpackhi_pd(high.0, high.1)),
            ]
        };
    }
    for i in 0..4 {
        let blocks = transposed_blocks([fours[0][i], fours[1][i], fours[2][i], fours[3][i]]);
        for (block, column) in blocks.into_iter().enumerate() {
            out[4 * block + i] = Single(column);
        }
    }
    out
}

/// Transpose pairs of rows inside the blocks of 128 bits, then the blocks.
#[inline(always)]
fn transposed_double(rows: [Double; 8]) -> [Double; 8] {
    let mut out = rows;
    for i in 0..2 {
        let mut pairs = [Single::splat(0.0).0; 4];
        for (pair, rows) in pairs.iter_mut().zip(rows.chunks_exact(2)) {
            let (a, b) = (rows[0].0, rows[1].0);
            // SAFETY: as above; no memory is touched.
            *pair =
                unsafe { _mm512_castpd_ps(if i == 0 { _mm512_unpacklo_pd(a, b) } else { _mm512_unpackhi_pd(a, b) }) };
        }
        for (block, column) in transposed_blocks(pairs).into_iter().enumerate() {
            // SAFETY: as above; no memory is touched.
            out[2 * block + i] = Double(unsafe { _mm512_castps_pd(column) });
        }
    }
    out
}

// SAFETY (all blocks below): as for the vectors above; no memory is touched but where it says so.
impl Narrow for Single {
    type Double = Double;
    type Bits = NarrowWords;

    #[inline(always)]
    fn narrow(low: Double, high: Double) -> Self {
        // SAFETY: as above.
        Self(unsafe {
            let (low, high) = (_mm512_cvtpd_ps(low.0), _mm512_cvtpd_ps(high.0));
            _mm512_insertf32x8::<1>(_mm512_castps256_ps512(low), high)
        })
    }
    #[inline(always)]
    fn sub(self, a: Self) -> Self {
        // SAFETY: as above.
        Self(unsafe { _mm512_sub_ps(self.0, a.0) })
    }
    #[inline(always)]
    fn mul(self, a: Self) -> Self {
        // SAFETY: as above.
        Self(unsafe { _mm512_mul_ps(self.0, a.0) })
    }
    #[inline(always)]
    fn sqrt(self) -> Self {
        // SAFETY: as above.
        Self(unsafe { _mm512_sqrt_ps(self.0) })
    }
    #[inline(always)]
    fn fused(self, a: Self, b: Self) -> Self {
        self.multiply_add(a, b)
    }
    #[inline(always)]
    fn of_signed(bits: NarrowWords) -> Self {
        // SAFETY: as above.
        Self(unsafe { _mm512_cvtepi32_ps(bits.0) })
    }
    #[inline(always)]
    fn to_bits(self) -> NarrowWords {
        // SAFETY: as above.
        NarrowWords(unsafe { _mm512_castps_si512(self.0) })
    }
    #[inline(always)]
    fn from_bits(bits: NarrowWords) -> Self {
        // SAFETY: as above.
        Self(unsafe { _mm512_castsi512_ps(bits.0) })
    }
    #[inline(always)]
    fn by_sign(bits: NarrowWords, negative: Self, positive: Self) -> Self {
        // SAFETY: as above.
        Self(unsafe { _mm512_mask_blend_ps(_mm512_movepi32_mask(bits.0), positive.0, negative.0) })
    }
    #[inline(always)]
    fn blocks() -> [Words; 2] {
        // SAFETY: as above.
        unsafe {
            let first = _mm512_setr_epi64(0, 4, 1, 5, 2, 6, 3, 7);
            [Words(first), Words(_mm512_add_epi64(first, _mm512_set1_epi64(8)))]
        }
    }
    #[inline(always)]
    fn low_halves([a, b]: [Words; 2]) -> NarrowWords {
        // SAFETY: as above.
        NarrowWords(unsafe {
            _mm512_castps_si512(_mm512_shuffle_ps::<0b10_00_10_00>(_mm512_castsi512_ps(a.0), _mm512_castsi512_ps(b.0)))
        })
    }
    #[inline(always)]
    fn store_blocks([a, b, c, d]: [Self; 4], to: &mut [f32]) {
        let to = &mut to[..64];
        // SAFETY: as above; the slice has just been cut to four vectors.
        unsafe {
            let low = (_mm512_castps_pd(_mm512_unpacklo_ps(a.0, b.0)), _mm512_castps_pd(_mm512_unpacklo_ps(c.0, d.0)));
            let high = (_mm512_castps_pd(_mm512_unpackhi_ps(a.0, b.0)), _mm512_castps_pd(_mm512_unpackhi_ps(c.0, d.0)));
            for (i, (c, d)) in [low, high].into_iter().enumerate() {
                _mm512_storeu_ps(to.as_mut_ptr().add(32 * i), _mm512_castpd_ps(_mm512_unpacklo_pd(c, d)));
                _mm512_storeu_ps(to.as_mut_ptr().add(32 * i + 16), _mm512_castpd_ps(_mm512_unpackhi_pd(c, d)));
            }
        }
    }
    #[inline(always)]
    fn store_fours(even: Self, odd: Self, to: &mut [f32]) {
        let to = &mut to[..32];
        // SAFETY: as above; the slice has just been cut to two vectors.
        unsafe {
            let low = _mm512_setr_epi32(0, 16, 8, 24, 1, 17, 9, 25, 2, 18, 10, 26, 3, 19, 11, 27);
            let high = _mm512_add_epi32(low, _mm512_set1_epi32(4));
            _mm512_storeu_ps(to.as_mut_ptr(), _mm512_permutex2var_ps(even.0, low, odd.0));
            _mm512_storeu_ps(to.as_mut_ptr().add(16), _mm512_permutex2var_ps(even.0, high, odd.0));
        }
    }
}

/// A vector of `u32`.
#[derive(Clone, Copy)]
pub struct NarrowWords(__m512i);

// SAFETY (all blocks below): as for the vectors above; no memory is touched.
impl NarrowBits for NarrowWords {
    #[inline(always)]
    fn splat(value: u32) -> Self {
        // SAFETY: as above.
        Self(unsafe { _mm512_set1_epi32(value as i32) })
    }
    #[inline(always)]
    fn add(self, a: Self) -> Self {
        // SAFETY: as above.
        Self(unsafe { _mm512_add_epi32(self.0, a.0) })
    }
    #[inline(always)]
    fn sub(self, a: Self) -> Self {
        // SAFETY: as above.
        Self(unsafe { _mm512_sub_epi32(self.0, a.0) })
    }
    #[inline(always)]
    fn and(self, a: Self) -> Self {
        // SAFETY: as above.
        Self(unsafe { _mm512_and_si512(self.0, a.0) })
    }
    #[inline(always)]
    fn or(self, a: Self) -> Self {
        // SAFETY: as above.
        Self(unsafe { _mm512_or_si512(self.0, a.0) })
    }
    #[inline(always)]
    fn xor(self, a: Self) -> Self {
        // SAFETY: as above.
        Self(unsafe { _mm512_xor_si512(self.0, a.0) })
    }
    #[inline(always)]
    fn left<const N: i32>(self) -> Self {
        // SAFETY: as above; the count is a constant below 32.
        Self(unsafe { _mm512_sll_epi32(self.0, _mm_cvtsi32_si128(N)) })
    }
    #[inline(always)]
    fn right_signed<const N: i32>(self) -> Self {
        // SAFETY: as above; the count is a constant below 32.
        Self(unsafe { _mm512_sra_epi32(self.0, _mm_cvtsi32_si128(N)) })
    }
}

/// A vector of `u64`.
#[derive(Clone, Copy)]
pub struct Words(__m512i);

// SAFETY (all blocks below): as for the vectors above; no memory is touched but by a load and a store.
impl Wide for Double {
    type Bits = Words;

    #[inline(always)]
    fn add(self, a: Self) -> Self {
        // SAFETY: as above.
        Self(unsafe { _mm512_add_pd(self.0, a.0) })
    }
    #[inline(always)]
    fn sub(self, a: Self) -> Self {
        // SAFETY: as above.
        Self(unsafe { _mm512_sub_pd(self.0, a.0) })
    }
    #[inline(always)]
    fn mul(self, a: Self) -> Self {
        // SAFETY: as above.
        Self(unsafe { _mm512_mul_pd(self.0, a.0) })
    }
    #[inline(always)]
    fn div(self, a: Self) -> Self {
        // SAFETY: as above.
        Self(unsafe { _mm512_div_pd(self.0, a.0) })
    }
    #[inline(always)]
    fn sqrt(self) -> Self {
        // SAFETY: as above.
        Self(unsafe { _mm512_sqrt_pd(self.0) })
    }
    #[inline(always)]
    fn to_bits(self) -> Words {
        // SAFETY: as above.
        Words(unsafe { _mm512_castpd_si512(self.0) })
    }
    #[inline(always)]
    fn from_bits(bits: Words) -> Self {
        // SAFETY: as above.
        Self(unsafe { _mm512_castsi512_pd(bits.0) })
    }
    #[inline(always)]
    fn load_f32(from: &[f32]) -> Self {
        let from = &from[..Self::LANES];
        // SAFETY: as above; the slice has just been cut to the elements that are read.
        Self(unsafe { _mm512_cvtps_pd(_mm256_loadu_ps(from.as_ptr())) })
    }
    #[inline(always)]
    fn store_f32(self, to: &mut [f32]) {
        let to = &mut to[..Self::LANES];
        // SAFETY: as above; the slice has just been cut to the elements that are written.
        unsafe { _mm256_storeu_ps(to.as_mut_ptr(), _mm512_cvtpd_ps(self.0)) }
    }
    #[inline(always)]
    fn min(self, bound: Self) -> Self {
        // SAFETY: as above. The instruction gives its second operand back if either is NaN.
        Self(unsafe { _mm512_min_pd(bound.0, self.0) })
    }
    #[inline(always)]
    fn max(self, bound: Self) -> Self {
        // SAFETY: as above. The instruction gives its second operand back if either is NaN.
        Self(unsafe { _mm512_max_pd(bound.0, self.0) })
    }
    #[inline(always)]
    fn above(self, bound: Self, yes: Self, no: Self) -> Self {
        // SAFETY: as above.
        Self(unsafe { _mm512_mask_blend_pd(_mm512_cmp_pd_mask::<_CMP_GT_OQ>(self.0, bound.0), no.0, yes.0) })
    }
    #[inline(always)]
    fn times_power_of_two(self, n: Self) -> Self {
        // SAFETY: as above.
        Self(unsafe { _mm512_scalef_pd(self.0, n.0) })
    }
}

impl Bits for Words {
    #[inline(always)]
    fn splat(value: u64) -> Self {
        // SAFETY: as above.
        Self(unsafe { _mm512_set1_epi64(value as i64) })
    }
    #[inline(always)]
    fn count() -> Self {
        // SAFETY: as above.
        Self(unsafe { _mm512_setr_epi64(0, 1, 2, 3, 4, 5, 6, 7) })
    }
    #[inline(always)]
    fn add(self, a: Self) -> Self {
        // SAFETY: as above.
        Self(unsafe { _mm512_add_epi64(self.0, a.0) })
    }
    #[inline(always)]
    fn sub(self, a: Self) -> Self {
        // SAFETY: as above.
        Self(unsafe { _mm512_sub_epi64(self.0, a.0) })
    }
    #[inline(always)]
    fn mul_low(self, a: Self) -> Self {
        // SAFETY: as above.
        Self(unsafe { _mm512_mul_epu32(self.0, a.0) })
    }
    #[inline(always)]
    fn and(self, a: Self) -> Self {
        // SAFETY: as above.
        Self(unsafe { _mm512_and_si512(self.0, a.0) })
    }
    #[inline(always)]
    fn or(self, a: Self) -> Self {
        // SAFETY: as above.
        Self(unsafe { _mm512_or_si512(self.0, a.0) })
    }
    #[inline(always)]
    fn xor(self, a: Self) -> Self {
        // SAFETY: as above.
        Self(unsafe { _mm512_xor_si512(self.0, a.0) })
    }
    #[inline(always)]
    fn left<const N: u32>(self) -> Self {
        // SAFETY: as above.
        Self(unsafe { _mm512_slli_epi64::<N>(self.0) })
    }
    #[inline(always)]
    fn right<const N: u32>(self) -> Self {
        // SAFETY: as above.
        Self(unsafe { _mm512_srli_epi64::<N>(self.0) })
    }
}
