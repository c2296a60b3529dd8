//! Plain arrays, compiled for what every machine of the architecture has.

use super::{Float, Set, Vector};

/// This set.
pub struct Scalar;

impl Set for Scalar {
    type Single = [f32; 4];
    type Double = [f64; 4];
    const TILE: usize = 2;
}

impl<F: Float> Vector<F> for [F; 4] {
    const LANES: usize = 4;

    #[inline(always)]
    fn splat(value: F) -> Self {
        [value; 4]
    }

    #[inline(always)]
    fn load(from: &[F]) -> Self {
        [from[0], from[1], from[2], from[3]]
    }

    #[inline(always)]
    fn store(self, to: &mut [F]) {
        to[..4].copy_from_slice(&self);
    }

    #[inline(always)]
    fn multiply_add(self, a: Self, b: Self) -> Self {
        // A fused multiply-add without the instruction is a call of the maths library, some fifty times slower.
        let one =
            |i: usize| if cfg!(target_arch = "aarch64") { self[i].fused(a[i], b[i]) } else { self[i] * a[i] + b[i] };
        [one(0), one(1), one(2), one(3)]
    }
}
