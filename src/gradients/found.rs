//! The gradients of one linear map, from its deltas and inputs.

use crate::kernel::{Matrix, Scaled, Tensor, Term, outer_rows};
use crate::part::Linear;
use crate::simd::{Float, exponent_of, times_power_of_two};

/// Up to this distance from 1, in powers of two, values are made the true ones at once.
const NEAR: i64 = 20;

/// `dL/dW` and `dL/db` of a map; the latter has no values where the map has no bias.
pub(super) struct Found<F> {
    pub weight: Tensor<F>,
    pub bias: Tensor<f64>,
}

impl<F: Float> Found<F> {
    /// The gradients over samples that come in groups: deltas and inputs of each.
    pub fn of(linear: &Linear<F>, groups: &[(&Scaled<F>, &Scaled<F>)], scratch: &mut Matrix<F>) -> Self {
        let mut near = groups.iter().map(|_| Scaled::default()).collect::<Vec<_>>();
        let groups = groups.iter().zip(&mut near).map(|((delta, input), near)| (*delta, input.near_one(near)));
        let groups = groups.collect::<Vec<_>>();
        let exponents = groups.iter().map(|(delta, input)| delta.exponent + input.exponent);
        let exponent = common(exponents);
        let terms = groups.iter().map(|(delta, input)| Term {
            delta: &delta.panels,
            input: &input.panels,
            factor: factor(delta.exponent + input.exponent - exponent),
        });
        let mut weight = outer_rows(&terms.collect::<Vec<_>>(), scratch);
        linear.gradient_of_parameters(&mut weight);
        let mut bias = Tensor::zeros(linear.bias.len());
        let (mut ones, mut sums) = (Vec::new(), Vec::new());
        for (delta, _) in groups.iter().filter(|_| !linear.bias.is_empty()) {
            ones.resize(delta.panels.batch(), 1.0);
            delta.panels.weighted(&ones, &mut sums);
            bias.add(&sums, delta.exponent);
        }
        Self { weight: Tensor { values: weight, exponent }, bias }
    }
}

/// The exponent that several share: that of the largest, or none where it is so near that values are true ones.
fn common(exponents: impl Iterator<Item = i64>) -> i64 {
    let largest = exponents.max().unwrap_or(0);
    if largest.abs() <= NEAR { 0 } else { largest }
}

fn factor<F: Float>(exponent: i64) -> F {
    F::of(times_power_of_two(1.0, exponent))
}

/// Samples of several batches as one tensor, row-major.
pub(super) fn rows<'b, F: Float>(batches: impl Iterator<Item = &'b Scaled<F>> + Clone) -> Tensor<F> {
    let exponent = common(batches.clone().map(|batch| batch.exponent));
    let count = batches.clone().map(|batch| batch.panels.batch() * batch.panels.features()).sum();
    let (mut values, mut first) = (vec![F::ZERO; count], 0);
    for batch in batches {
        batch.panels.write_rows(factor(batch.exponent - exponent), &mut values[first..]);
        first += batch.panels.batch() * batch.panels.features();
    }
    Tensor { values, exponent }
}

/// Rounded to the type, the largest brought to 1 so that it fits.
pub(super) fn narrow<F: Float>(wide: &Tensor<f64>) -> Tensor<F> {
    let largest = wide.values.iter().fold(0.0, |m: f64, v| m.max(v.abs()));
    let shift = if largest > 0.0 && largest.is_finite() { exponent_of(largest) } else { 0 };
    let values = if shift.abs() < 1000 {
        // The power and its inverse are numbers.
        let unit = times_power_of_two(1.0, -shift);
        wide.values.iter().map(|v| F::of(v * unit)).collect()
    } else {
        wide.values.iter().map(|v| F::of(times_power_of_two(*v, -shift))).collect()
    };
    Tensor { values, exponent: wide.exponent + shift }
}
