//! Element types, vectors of every instruction set behind one trait, and the run-time choice among them.
//!
//! A [`Task`] is arithmetic on slices, written once. [`run`] compiles it for each instruction set and picks the best
//! one that this machine has, so that one wheel serves all. `VGCORE_ISA=avx512|avx2|neon|scalar` forces one. A module of
//! WebAssembly has one set, `simd128` or `scalar`, as it was compiled.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod float;
#[allow(clippy::excessive_precision)] // Coefficients stand as published.
pub mod math;
#[cfg(target_arch = "aarch64")]
mod neon;
mod philox;
#[allow(clippy::excessive_precision)] // The same.
mod random;
mod real;
#[cfg(not(target_feature = "simd128"))]
mod scalar;
#[allow(clippy::excessive_precision)] // The same.
mod smooth;
#[cfg(target_feature = "simd128")]
mod wasm;

pub use float::{Float, exponent_of, times_power_of_two};
pub use philox::{Philox, Words};
pub use random::{Law, OfUniform, Truncated};
pub use real::{Real, Reals};
pub use smooth::exponentials;

use crate::error::{Error, Result};
use std::mem::MaybeUninit;
use std::sync::OnceLock;

/// An instruction set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Isa {
    /// AVX-512 F, VL, DQ, BW.
    Avx512,
    /// AVX2 and FMA.
    Avx2,
    /// NEON of 64-bit ARM.
    Neon,
    /// SIMD128 of WebAssembly.
    Simd128,
    /// The instructions that every machine of this architecture has.
    Scalar,
}

impl Isa {
    /// Every instruction set, best first.
    pub const ALL: [Self; 5] = [Self::Avx512, Self::Avx2, Self::Neon, Self::Simd128, Self::Scalar];

    /// The name of the set, as in `VGCORE_ISA`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Avx512 => "avx512",
            Self::Avx2 => "avx2",
            Self::Neon => "neon",
            Self::Simd128 => "simd128",
            Self::Scalar => "scalar",
        }
    }

    /// Does this machine have the set?
    pub fn available(self) -> bool {
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => avx512::available(),
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => avx2::available(),
            #[cfg(target_arch = "aarch64")]
            Self::Neon => neon::available(),
            #[cfg(target_feature = "simd128")]
            Self::Simd128 => true,
            // A module with vectors is not compiled twice.
            Self::Scalar => !cfg!(target_feature = "simd128"),
            // A set of another architecture.
            _ => false,
        }
    }
}

/// The instruction set in use; an error if `VGCORE_ISA` names one that is unknown or that this machine lacks.
pub fn isa() -> Result<Isa> {
    chosen().clone()
}

fn chosen() -> &'static Result<Isa> {
    static CHOSEN: OnceLock<Result<Isa>> = OnceLock::new();
    CHOSEN.get_or_init(|| choose(std::env::var("VGCORE_ISA").ok().as_deref()))
}

fn choose(forced: Option<&str>) -> Result<Isa> {
    let available = || Isa::ALL.into_iter().filter(|isa| isa.available());
    match forced {
        None | Some("") => Ok(available().next().unwrap_or(Isa::Scalar)),
        Some(name) => available().find(|isa| isa.name() == name).ok_or_else(|| {
            let names = available().map(Isa::name).collect::<Vec<_>>().join(", ");
            Error::value("VGCORE_ISA", &format!("one of {names} on this machine"), format!("'{name}'"))
        }),
    }
}

/// A vector of elements. Methods are `#[inline(always)]`, to be compiled for the set at hand inside a [`Task`].
pub trait Vector<F>: Copy {
    /// The number of elements.
    const LANES: usize;

    /// A vector with this value in all lanes.
    fn splat(value: F) -> Self;
    /// Load the first `LANES` elements of a slice, which must have as many.
    fn load(from: &[F]) -> Self;
    /// Store into the first `LANES` elements of a slice, which must have as many.
    fn store(self, to: &mut [F]);
    /// Store into the first `LANES` elements of a slice that need not hold anything yet, and must have as many.
    #[allow(unsafe_code)]
    #[inline(always)]
    fn write(self, to: &mut [MaybeUninit<F>]) {
        const { assert!(size_of::<Self>() == Self::LANES * size_of::<F>()) };
        let to = &mut to[..Self::LANES];
        // SAFETY: a vector is its lanes in their order and nothing else, as large as the slice that has just been cut.
        unsafe { to.as_mut_ptr().cast::<Self>().write_unaligned(self) }
    }
    /// `self * a + b`, rounded once where the set has a fused multiply-add.
    fn multiply_add(self, a: Self, b: Self) -> Self;
    /// Transpose a square of `LANES` rows, which begin a step apart, and multiply with a factor.
    #[inline(always)]
    fn transpose(from: &[F], from_step: usize, factor: F, to: &mut [F], to_step: usize)
    where
        F: Float,
    {
        for row in 0..Self::LANES {
            for column in 0..Self::LANES {
                to[column * to_step + row] = from[row * from_step + column] * factor;
            }
        }
    }
}

/// A vector of `f32` with the operations of the random streams; it has as many lanes as two of `f64`.
pub trait Narrow: Vector<f32> {
    /// A vector of `f64`, with half as many lanes.
    type Double: Wide;
    /// A vector of the bits of the lanes.
    type Bits: NarrowBits;

    /// The lanes of two vectors of `f64`, rounded.
    fn narrow(low: Self::Double, high: Self::Double) -> Self;
    /// `self - a`.
    fn sub(self, a: Self) -> Self;
    /// `self * a`.
    fn mul(self, a: Self) -> Self;
    /// The square root.
    fn sqrt(self) -> Self;
    /// `self * a + b` of finite numbers, rounded once on every set.
    fn fused(self, a: Self, b: Self) -> Self;
    /// Whole numbers with a sign, rounded.
    fn of_signed(bits: Self::Bits) -> Self;
    /// The bits of each lane.
    fn to_bits(self) -> Self::Bits;
    /// The numbers that have these bits.
    fn from_bits(bits: Self::Bits) -> Self;
    /// `negative` in lanes whose highest bit is set, `positive` in the others.
    fn by_sign(bits: Self::Bits, negative: Self, positive: Self) -> Self;
    /// `0, 1, 2, ...`, one number a lane of two vectors, in the order that [`Self::low_halves`] and
    /// [`Self::store_blocks`] together turn into this one.
    fn blocks() -> [<Self::Double as Wide>::Bits; 2];
    /// The low halves of the lanes of two vectors, in an order of its own.
    fn low_halves(words: [<Self::Double as Wide>::Bits; 2]) -> Self::Bits;
    /// Store the four numbers of each lane side by side, block by block in the order of [`Self::blocks`].
    fn store_blocks(four: [Self; 4], to: &mut [f32]);
    /// Store into slices of four: lane `j` of the lower half of `even` and `odd`, then of their upper half.
    #[inline(always)]
    fn store_fours(even: Self, odd: Self, to: &mut [f32]) {
        let (mut evens, mut odds) = ([0.0; 16], [0.0; 16]);
        even.store(&mut evens);
        odd.store(&mut odds);
        let half = Self::LANES / 2;
        for (j, four) in to[..4 * half].chunks_exact_mut(4).enumerate() {
            four.copy_from_slice(&[evens[j], odds[j], evens[half + j], odds[half + j]]);
        }
    }
}

/// A vector of `u32`; sums wrap.
pub trait NarrowBits: Copy {
    /// A vector with this value in all lanes.
    fn splat(value: u32) -> Self;
    /// `self + a`.
    fn add(self, a: Self) -> Self;
    /// `self - a`.
    fn sub(self, a: Self) -> Self;
    /// Bitwise and.
    fn and(self, a: Self) -> Self;
    /// Bitwise or.
    fn or(self, a: Self) -> Self;
    /// Bitwise exclusive or.
    fn xor(self, a: Self) -> Self;
    /// Shift toward the high bits.
    fn left<const N: i32>(self) -> Self;
    /// Shift toward the low bits, copies of the highest bit coming in.
    fn right_signed<const N: i32>(self) -> Self;
}

/// A vector of `f64` with the operations of functions and random streams.
pub trait Wide: Vector<f64> {
    /// A vector of the bits of the lanes.
    type Bits: Bits;

    /// `self + a`.
    fn add(self, a: Self) -> Self;
    /// `self - a`.
    fn sub(self, a: Self) -> Self;
    /// `self * a`.
    fn mul(self, a: Self) -> Self;
    /// `self / a`.
    fn div(self, a: Self) -> Self;
    /// The square root.
    fn sqrt(self) -> Self;
    /// The bits of each lane.
    fn to_bits(self) -> Self::Bits;
    /// The numbers that have these bits.
    fn from_bits(bits: Self::Bits) -> Self;
    /// Load the first `LANES` elements of a slice, which must have as many.
    fn load_f32(from: &[f32]) -> Self;
    /// Store into the first `LANES` elements of a slice, which must have as many, rounded.
    fn store_f32(self, to: &mut [f32]);
    /// The smaller of the two; `self` if it is NaN.
    fn min(self, bound: Self) -> Self;
    /// The larger of the two; `self` if it is NaN.
    fn max(self, bound: Self) -> Self;
    /// `yes` in lanes where `self > bound`; `no` in the others, those with a NaN among them.
    fn above(self, bound: Self, yes: Self, no: Self) -> Self;
    /// `self * 2^n` for whole `n` between -2000 and 2000 and a `self` that stays normal on half the way.
    #[inline(always)]
    fn times_power_of_two(self, n: Self) -> Self {
        // 2^n may be no normal number, so two factors that are; the biased exponents of the two add up to this.
        let biased = n.add(Self::splat(1.5 * math::WHOLE)).to_bits().add(Self::Bits::splat(2 * 1023));
        let half = biased.right::<1>();
        let rest = biased.sub(half);
        self.mul(Self::from_bits(half.left::<52>())).mul(Self::from_bits(rest.left::<52>()))
    }
}

/// Eight running sums, in as many vectors as they fill. Their order is one on every instruction set.
pub type Eight<S> = [<S as Set>::Double; 4];

/// The sum of eight, by halves.
#[inline(always)]
pub fn sum_of_eight<S: Set>(parts: Eight<S>) -> f64 {
    let mut lanes = [0.0; 8];
    for (part, lanes) in parts.into_iter().zip(lanes.chunks_exact_mut(S::Double::LANES)) {
        part.store(lanes);
    }
    for half in [4, 2, 1] {
        for lane in 0..half {
            lanes[lane] += lanes[lane + half];
        }
    }
    lanes[0]
}

/// A vector of `u64`; sums wrap.
pub trait Bits: Copy {
    /// A vector with this value in all lanes.
    fn splat(value: u64) -> Self;
    /// `0, 1, 2, ...`
    fn count() -> Self;
    /// `self + a`.
    fn add(self, a: Self) -> Self;
    /// `self - a`.
    fn sub(self, a: Self) -> Self;
    /// The product of the low 32 bits.
    fn mul_low(self, a: Self) -> Self;
    /// Bitwise and.
    fn and(self, a: Self) -> Self;
    /// Bitwise or.
    fn or(self, a: Self) -> Self;
    /// Bitwise exclusive or.
    fn xor(self, a: Self) -> Self;
    /// Shift toward the high bits.
    fn left<const N: u32>(self) -> Self;
    /// Shift toward the low bits.
    fn right<const N: u32>(self) -> Self;
    /// All bits set in the lanes whose lowest bit is, and none in the others.
    fn mask_of_lowest(self) -> Self {
        Self::splat(0).sub(self.and(Self::splat(1)))
    }
}

/// An instruction set at compile time.
pub trait Set {
    /// The vectors of `f32`.
    type Single: Narrow<Double = Self::Double>;
    /// The vectors of `f64`.
    type Double: Wide;
    /// The rows of two accumulators that the registers hold.
    const TILE: usize;

    /// Ask for the cache line of an address, which need not be valid.
    #[inline(always)]
    fn prefetch<T>(_address: *const T) {}
}

/// Arithmetic that [`run`] compiles for each instruction set.
pub trait Task {
    /// The result.
    type Output;

    /// The arithmetic. This function and all that it calls must be `#[inline(always)]`, to be compiled for the set at
    /// hand.
    fn run<S: Set>(self) -> Self::Output;
}

/// The vectors of an element type.
pub type Lanes<F, S> = <F as Float>::Vector<S>;

/// Run a task with the best instructions of this machine.
pub fn run<T: Task>(task: T) -> T::Output {
    // A wrong VGCORE_ISA is reported by `isa` before any job starts.
    match chosen() {
        #[cfg(target_arch = "x86_64")]
        Ok(Isa::Avx512) => avx512::run(task),
        #[cfg(target_arch = "x86_64")]
        Ok(Isa::Avx2) => avx2::run(task),
        #[cfg(target_arch = "aarch64")]
        Ok(Isa::Neon) => neon::run(task),
        #[cfg(target_feature = "simd128")]
        _ => task.run::<wasm::Simd128>(),
        #[cfg(not(target_feature = "simd128"))]
        _ => task.run::<scalar::Scalar>(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_forced_set_must_exist_and_the_default_is_the_best_one() {
        assert_eq!(choose(Some("scalar")), Ok(Isa::Scalar));
        assert!(choose(None).unwrap().available());
        let message = choose(Some("sse9")).unwrap_err().to_string();
        assert!(
            message.contains("VGCORE_ISA") && message.contains("'sse9'") && message.contains("scalar"),
            "{message}"
        );
    }

    /// `a * b + c` of every lane, to be compared with that of one element.
    struct EveryLane<F>([F; 64], [F; 64], F);

    impl<F: Float> Task for EveryLane<F> {
        type Output = Vec<F>;

        #[inline(always)]
        fn run<S: Set>(self) -> Vec<F> {
            let mut out = self.1;
            for (a, c) in self.0.chunks_exact(Lanes::<F, S>::LANES).zip(out.chunks_exact_mut(Lanes::<F, S>::LANES)) {
                let sum = Lanes::<F, S>::load(a).multiply_add(Lanes::<F, S>::splat(self.2), Lanes::<F, S>::load(c));
                sum.store(c);
            }
            out.to_vec()
        }
    }

    fn lanes_agree<F: Float>() {
        let a = std::array::from_fn(|i| F::of(0.1 * i as f64 - 3.0));
        let c = std::array::from_fn(|i| F::of(1.0 / (i as f64 + 1.0)));
        let b = F::of(1.7);
        let expected = a.iter().zip(&c).map(|(a, c): (&F, &F)| a.wide() * b.wide() + c.wide());
        for (out, expected) in run(EveryLane(a, c, b)).iter().zip(expected) {
            // One rounding of F, or two where the set does not fuse.
            assert!((out.wide() - expected).abs() <= 1e-6 * expected.abs().max(1.0), "{out:?} {expected}");
        }
        let wide = |i: usize| run(EveryLane(a, c, b))[i].wide();
        assert_ne!(wide(0), wide(63));
    }

    #[test]
    fn every_lane_of_a_vector_multiplies_and_adds() {
        lanes_agree::<f32>();
        lanes_agree::<f64>();
    }
}
