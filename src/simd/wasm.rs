//! SIMD128 of WebAssembly: 8 lanes of f32 and 4 of f64, each in two vectors, so that its bits are those of the scalar
//! set, which has as many. No engine promises a fused multiply-add: it is rounded twice here too.
//!
//! A module has the instructions or has them not, so they are chosen where it is compiled, by `target-feature`.
#![allow(unsafe_code)]

use super::{Bits, Narrow, NarrowBits, Set, Vector, Wide};
#[allow(clippy::wildcard_imports)] // Some fifty intrinsics.
use std::arch::wasm32::*;

/// The instruction set SIMD128 of WebAssembly.
pub struct Simd128;

impl Set for Simd128 {
    type Single = Single;
    type Double = Double;
    const TILE: usize = 2;
}

/// A vector of `f32`.
#[derive(Clone, Copy)]
pub struct Single(v128, v128);

/// A vector of `f64`.
#[derive(Clone, Copy)]
pub struct Double(v128, v128);

/// A vector of `u32`.
#[derive(Clone, Copy)]
pub struct NarrowWords(v128, v128);

/// A vector of `u64`.
#[derive(Clone, Copy)]
pub struct Words(v128, v128);

/// The first four elements of a slice.
#[inline(always)]
fn load_four(from: &[f32]) -> v128 {
    let from = &from[..4];
    // SAFETY: the slice has just been cut to the 16 bytes that are read, which need no alignment.
    unsafe { v128_load(from.as_ptr().cast()) }
}

/// Into the first four elements of a slice.
#[inline(always)]
fn store_four(four: v128, to: &mut [f32]) {
    let to = &mut to[..4];
    // SAFETY: the slice has just been cut to the 16 bytes that are written, which need no alignment.
    unsafe { v128_store(to.as_mut_ptr().cast(), four) }
}

/// The first two elements of a slice.
#[inline(always)]
fn load_two(from: &[f64]) -> v128 {
    let from = &from[..2];
    // SAFETY: the slice has just been cut to the 16 bytes that are read, which need no alignment.
    unsafe { v128_load(from.as_ptr().cast()) }
}

/// Into the first two elements of a slice.
#[inline(always)]
fn store_two(two: v128, to: &mut [f64]) {
    let to = &mut to[..2];
    // SAFETY: the slice has just been cut to the 16 bytes that are written, which need no alignment.
    unsafe { v128_store(to.as_mut_ptr().cast(), two) }
}

/// The lower halves of two vectors.
#[inline(always)]
fn lower(a: v128, b: v128) -> v128 {
    i64x2_shuffle::<0, 2>(a, b)
}

/// The upper halves of two vectors.
#[inline(always)]
fn upper(a: v128, b: v128) -> v128 {
    i64x2_shuffle::<1, 3>(a, b)
}

/// Transpose four rows of four: pairs of lanes, then halves.
#[inline(always)]
fn transposed([a, b, c, d]: [v128; 4]) -> [v128; 4] {
    let low = (i32x4_shuffle::<0, 4, 1, 5>(a, b), i32x4_shuffle::<0, 4, 1, 5>(c, d));
    let high = (i32x4_shuffle::<2, 6, 3, 7>(a, b), i32x4_shuffle::<2, 6, 3, 7>(c, d));
    [lower(low.0, low.1), upper(low.0, low.1), lower(high.0, high.1), upper(high.0, high.1)]
}

impl Vector<f32> for Single {
    const LANES: usize = 8;

    #[inline(always)]
    fn splat(value: f32) -> Self {
        Self(f32x4_splat(value), f32x4_splat(value))
    }
    #[inline(always)]
    fn load(from: &[f32]) -> Self {
        let from = &from[..Self::LANES];
        Self(load_four(from), load_four(&from[4..]))
    }
    #[inline(always)]
    fn store(self, to: &mut [f32]) {
        let to = &mut to[..Self::LANES];
        store_four(self.0, to);
        store_four(self.1, &mut to[4..]);
    }
    #[inline(always)]
    fn multiply_add(self, a: Self, b: Self) -> Self {
        Self(f32x4_add(f32x4_mul(self.0, a.0), b.0), f32x4_add(f32x4_mul(self.1, a.1), b.1))
    }
    #[inline(always)]
    fn transpose(from: &[f32], from_step: usize, factor: f32, to: &mut [f32], to_step: usize) {
        let factor = f32x4_splat(factor);
        for (row, column) in [(0, 0), (0, 4), (4, 0), (4, 4)] {
            let four = std::array::from_fn(|i| f32x4_mul(load_four(&from[(row + i) * from_step + column..]), factor));
            for (i, four) in transposed(four).into_iter().enumerate() {
                store_four(four, &mut to[(column + i) * to_step + row..]);
            }
        }
    }
}

impl Vector<f64> for Double {
    const LANES: usize = 4;

    #[inline(always)]
    fn splat(value: f64) -> Self {
        Self(f64x2_splat(value), f64x2_splat(value))
    }
    #[inline(always)]
    fn load(from: &[f64]) -> Self {
        let from = &from[..Self::LANES];
        Self(load_two(from), load_two(&from[2..]))
    }
    #[inline(always)]
    fn store(self, to: &mut [f64]) {
        let to = &mut to[..Self::LANES];
        store_two(self.0, to);
        store_two(self.1, &mut to[2..]);
    }
    #[inline(always)]
    fn multiply_add(self, a: Self, b: Self) -> Self {
        Self(f64x2_add(f64x2_mul(self.0, a.0), b.0), f64x2_add(f64x2_mul(self.1, a.1), b.1))
    }
}

/// `a * b + c` of two lanes of finite numbers of `f32`, given and held as `f64`, to be rounded once: as the scalar set
/// has it, rounded to odd where the sum is inexact.
#[inline(always)]
fn to_odd(a: v128, b: v128, c: v128) -> v128 {
    let (zero, one) = (f64x2_splat(0.0), i64x2_splat(1));
    let product = f64x2_mul(a, b);
    let sum = f64x2_add(product, c);
    let taken = f64x2_sub(sum, product);
    let lost = f64x2_add(f64x2_sub(product, f64x2_sub(sum, taken)), f64x2_sub(c, taken));
    let apart = v128_xor(f64x2_gt(lost, zero), f64x2_gt(sum, zero));
    let toward = v128_bitselect(i64x2_splat(-1), one, apart);
    let even = i64x2_eq(v128_and(sum, one), i64x2_splat(0));
    i64x2_add(sum, v128_and(toward, v128_and(f64x2_ne(lost, zero), even)))
}

/// Four lanes of a fused sum.
#[inline(always)]
fn fused_four(a: v128, b: v128, c: v128) -> v128 {
    let low = to_odd(wide_low(a), wide_low(b), wide_low(c));
    let high = to_odd(wide_high(a), wide_high(b), wide_high(c));
    narrow(low, high)
}

/// The lower two of four lanes as `f64`.
#[inline(always)]
fn wide_low(four: v128) -> v128 {
    f64x2_promote_low_f32x4(four)
}

/// The upper two of four lanes as `f64`.
#[inline(always)]
fn wide_high(four: v128) -> v128 {
    f64x2_promote_low_f32x4(upper(four, four))
}

/// Four lanes of `f64`, rounded.
#[inline(always)]
fn narrow(low: v128, high: v128) -> v128 {
    lower(f32x4_demote_f64x2_zero(low), f32x4_demote_f64x2_zero(high))
}

impl Narrow for Single {
    type Double = Double;
    type Bits = NarrowWords;

    #[inline(always)]
    fn narrow(low: Double, high: Double) -> Self {
        Self(narrow(low.0, low.1), narrow(high.0, high.1))
    }
    #[inline(always)]
    fn sub(self, a: Self) -> Self {
        Self(f32x4_sub(self.0, a.0), f32x4_sub(self.1, a.1))
    }
    #[inline(always)]
    fn mul(self, a: Self) -> Self {
        Self(f32x4_mul(self.0, a.0), f32x4_mul(self.1, a.1))
    }
    #[inline(always)]
    fn sqrt(self) -> Self {
        Self(f32x4_sqrt(self.0), f32x4_sqrt(self.1))
    }
    #[inline(always)]
    fn fused(self, a: Self, b: Self) -> Self {
        Self(fused_four(self.0, a.0, b.0), fused_four(self.1, a.1, b.1))
    }
    #[inline(always)]
    fn of_signed(bits: NarrowWords) -> Self {
        Self(f32x4_convert_i32x4(bits.0), f32x4_convert_i32x4(bits.1))
    }
    #[inline(always)]
    fn to_bits(self) -> NarrowWords {
        NarrowWords(self.0, self.1)
    }
    #[inline(always)]
    fn from_bits(bits: NarrowWords) -> Self {
        Self(bits.0, bits.1)
    }
    #[inline(always)]
    fn by_sign(bits: NarrowWords, negative: Self, positive: Self) -> Self {
        let NarrowWords(low, high) = bits.right_signed::<31>();
        Self(v128_bitselect(negative.0, positive.0, low), v128_bitselect(negative.1, positive.1, high))
    }
    #[inline(always)]
    fn blocks() -> [Words; 2] {
        [Words::count(), Words::count().add(Words::splat(4))]
    }
    #[inline(always)]
    fn low_halves([a, b]: [Words; 2]) -> NarrowWords {
        NarrowWords(i32x4_shuffle::<0, 2, 4, 6>(a.0, a.1), i32x4_shuffle::<0, 2, 4, 6>(b.0, b.1))
    }
    #[inline(always)]
    fn store_blocks(four: [Self; 4], to: &mut [f32]) {
        let to = &mut to[..32];
        let rows = transposed(four.map(|row| row.0)).into_iter().chain(transposed(four.map(|row| row.1)));
        rows.zip(to.chunks_exact_mut(4)).for_each(|(row, to)| store_four(row, to));
    }
    #[inline(always)]
    fn store_fours(even: Self, odd: Self, to: &mut [f32]) {
        let rows = transposed([even.0, odd.0, even.1, odd.1]);
        rows.into_iter().zip(to[..16].chunks_exact_mut(4)).for_each(|(row, to)| store_four(row, to));
    }
}

impl NarrowBits for NarrowWords {
    #[inline(always)]
    fn splat(value: u32) -> Self {
        Self(u32x4_splat(value), u32x4_splat(value))
    }
    #[inline(always)]
    fn add(self, a: Self) -> Self {
        Self(u32x4_add(self.0, a.0), u32x4_add(self.1, a.1))
    }
    #[inline(always)]
    fn sub(self, a: Self) -> Self {
        Self(u32x4_sub(self.0, a.0), u32x4_sub(self.1, a.1))
    }
    #[inline(always)]
    fn and(self, a: Self) -> Self {
        Self(v128_and(self.0, a.0), v128_and(self.1, a.1))
    }
    #[inline(always)]
    fn or(self, a: Self) -> Self {
        Self(v128_or(self.0, a.0), v128_or(self.1, a.1))
    }
    #[inline(always)]
    fn xor(self, a: Self) -> Self {
        Self(v128_xor(self.0, a.0), v128_xor(self.1, a.1))
    }
    #[inline(always)]
    fn left<const N: i32>(self) -> Self {
        Self(u32x4_shl(self.0, N as u32), u32x4_shl(self.1, N as u32))
    }
    #[inline(always)]
    fn right_signed<const N: i32>(self) -> Self {
        Self(i32x4_shr(self.0, N as u32), i32x4_shr(self.1, N as u32))
    }
}

impl Wide for Double {
    type Bits = Words;

    #[inline(always)]
    fn add(self, a: Self) -> Self {
        Self(f64x2_add(self.0, a.0), f64x2_add(self.1, a.1))
    }
    #[inline(always)]
    fn sub(self, a: Self) -> Self {
        Self(f64x2_sub(self.0, a.0), f64x2_sub(self.1, a.1))
    }
    #[inline(always)]
    fn mul(self, a: Self) -> Self {
        Self(f64x2_mul(self.0, a.0), f64x2_mul(self.1, a.1))
    }
    #[inline(always)]
    fn div(self, a: Self) -> Self {
        Self(f64x2_div(self.0, a.0), f64x2_div(self.1, a.1))
    }
    #[inline(always)]
    fn sqrt(self) -> Self {
        Self(f64x2_sqrt(self.0), f64x2_sqrt(self.1))
    }
    #[inline(always)]
    fn to_bits(self) -> Words {
        Words(self.0, self.1)
    }
    #[inline(always)]
    fn from_bits(bits: Words) -> Self {
        Self(bits.0, bits.1)
    }
    #[inline(always)]
    fn load_f32(from: &[f32]) -> Self {
        let four = load_four(from);
        Self(wide_low(four), wide_high(four))
    }
    #[inline(always)]
    fn store_f32(self, to: &mut [f32]) {
        store_four(narrow(self.0, self.1), to);
    }
    #[inline(always)]
    fn min(self, bound: Self) -> Self {
        // The second where it is less, not `f64x2_min`, which gives the NaN of either back.
        Self(f64x2_pmin(self.0, bound.0), f64x2_pmin(self.1, bound.1))
    }
    #[inline(always)]
    fn max(self, bound: Self) -> Self {
        Self(f64x2_pmax(self.0, bound.0), f64x2_pmax(self.1, bound.1))
    }
    #[inline(always)]
    fn above(self, bound: Self, yes: Self, no: Self) -> Self {
        let (low, high) = (f64x2_gt(self.0, bound.0), f64x2_gt(self.1, bound.1));
        Self(v128_bitselect(yes.0, no.0, low), v128_bitselect(yes.1, no.1, high))
    }
}

impl Bits for Words {
    #[inline(always)]
    fn splat(value: u64) -> Self {
        Self(u64x2_splat(value), u64x2_splat(value))
    }
    #[inline(always)]
    fn count() -> Self {
        Self(u64x2(0, 1), u64x2(2, 3))
    }
    #[inline(always)]
    fn add(self, a: Self) -> Self {
        Self(u64x2_add(self.0, a.0), u64x2_add(self.1, a.1))
    }
    #[inline(always)]
    fn sub(self, a: Self) -> Self {
        Self(u64x2_sub(self.0, a.0), u64x2_sub(self.1, a.1))
    }
    #[inline(always)]
    fn mul_low(self, a: Self) -> Self {
        let low = |words: v128| i32x4_shuffle::<0, 2, 0, 2>(words, words);
        let product = |a: v128, b: v128| u64x2_extmul_low_u32x4(low(a), low(b));
        Self(product(self.0, a.0), product(self.1, a.1))
    }
    #[inline(always)]
    fn and(self, a: Self) -> Self {
        Self(v128_and(self.0, a.0), v128_and(self.1, a.1))
    }
    #[inline(always)]
    fn or(self, a: Self) -> Self {
        Self(v128_or(self.0, a.0), v128_or(self.1, a.1))
    }
    #[inline(always)]
    fn xor(self, a: Self) -> Self {
        Self(v128_xor(self.0, a.0), v128_xor(self.1, a.1))
    }
    #[inline(always)]
    fn left<const N: u32>(self) -> Self {
        Self(u64x2_shl(self.0, N), u64x2_shl(self.1, N))
    }
    #[inline(always)]
    fn right<const N: u32>(self) -> Self {
        Self(u64x2_shr(self.0, N), u64x2_shr(self.1, N))
    }
}
