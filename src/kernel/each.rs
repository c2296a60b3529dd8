//! A function of some numbers, element by element over slices of one length, compiled for the instruction set.

use crate::simd::{self, Float, Set, Task};

/// `outputs = f(inputs)`, element by element. Products and sums of `f` round one by one: the bits are the same on every
/// set.
pub fn each<F: Float, const I: usize, const O: usize>(
    inputs: [&[F]; I],
    outputs: [&mut [F]; O],
    f: impl Fn([F; I]) -> [F; O],
) {
    simd::run(Each { inputs, outputs, f });
}

struct Each<'v, F, G, const I: usize, const O: usize> {
    inputs: [&'v [F]; I],
    outputs: [&'v mut [F]; O],
    f: G,
}

impl<F: Float, G: Fn([F; I]) -> [F; O], const I: usize, const O: usize> Task for Each<'_, F, G, I, O> {
    type Output = ();

    #[inline(always)]
    fn run<S: Set>(self) {
        let Self { inputs, outputs, f } = self;
        let count = outputs.iter().map(|values| values.len()).min().unwrap_or(0);
        let inputs = inputs.map(|values| &values[..count]);
        let mut outputs = outputs.map(|values| &mut values[..count]);
        for at in 0..count {
            let found = f(std::array::from_fn(|input| inputs[input][at]));
            for (values, value) in outputs.iter_mut().zip(found) {
                values[at] = value;
            }
        }
    }
}
