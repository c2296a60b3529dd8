//! `a = phi(z)`, element by element, gated or doubled, with or without a learned slope.

use super::{Back, Collect, Here, Numbers, Owner, Signal, Watch, Which};
use crate::activation::{Activation, Shape};
use crate::kernel::{Along, Panels, Scaled};
use crate::simd::Float;

/// An activation of a layer.
#[derive(Debug, Clone, Copy)]
pub struct Activate {
    /// The kind; a learned slope is what it starts from.
    pub activation: Activation,
    /// The learned slope among the parameters of the layer's slot.
    pub slope: Option<usize>,
}

/// What the forward pass leaves for the backward pass.
#[derive(Debug, Clone)]
pub struct Kept<F> {
    /// `phi'(z)`; of a gated or a doubled activation, what each feature of the larger side is multiplied by.
    slopes: Panels<F>,
    /// `min(z, 0)`, which a learned slope was multiplied with.
    below: Scaled<F>,
}

impl<F> Default for Kept<F> {
    fn default() -> Self {
        Self { slopes: Panels::default(), below: Scaled::default() }
    }
}

impl<F> super::Kept<F> {
    fn phi(&mut self) -> &mut Kept<F> {
        if !matches!(self, Self::Phi(_)) {
            *self = Self::Phi(Kept::default());
        }
        match self {
            Self::Phi(kept) => kept,
            _ => unreachable!("set above"),
        }
    }
}

/// Below this power of two `phi(z)` is `phi'(0) z` to the last bit of `f64`.
const STRAIGHT: i64 = -60;

/// Scratch of activations that change the number of features.
type Halves<F> = [Panels<F>; 4];

impl Activate {
    /// Features of slopes and of what a learned slope was multiplied with, for so many features of `z`.
    pub(super) fn kept_features(&self, z: usize) -> usize {
        let slopes = if self.activation.shape() == Shape::Doubled { 2 * z } else { z };
        slopes + if self.slope.is_some() { z } else { 0 }
    }

    /// The activation with the slope that it has learned.
    pub fn learned<F: Float>(&self, numbers: &[Numbers<F>]) -> Activation {
        self.slope.map_or(self.activation, |slope| self.activation.with_slope(numbers[slope].scalar()))
    }

    /// `a` from `z`, which is spelled out where the activation bends what it carries.
    pub(super) fn forward<F: Float>(
        &self,
        here: &Here<'_, F>,
        z: &mut Scaled<F>,
        a: &mut Scaled<F>,
        kept: &mut super::Kept<F>,
        halves: &mut Halves<F>,
        watch: &mut impl Watch<F>,
    ) {
        let kept = kept.phi();
        if self.slope.is_some() {
            kept.below.copy_from(z);
            kept.below.panels.values_mut().iter_mut().for_each(|z| *z = if *z > F::ZERO { F::ZERO } else { *z });
        }
        let activation = self.learned(here.numbers);
        apply(&activation, z, a, &mut kept.slopes, halves);
        watch.phi(here.row, &activation, z, a, &kept.slopes);
    }

    /// From the gradient of `a` to that of `z`.
    pub(super) fn backward<F: Float>(
        &self,
        back: &Back<'_, F>,
        signal: &mut Signal<F>,
        owner: impl Fn(usize) -> Owner,
        collect: &mut impl Collect<F>,
    ) {
        let super::Kept::Phi(kept) = back.kept else { return };
        let Signal { dh, delta, spare, half, sums, .. } = signal;
        if let Some(slope) = self.slope {
            let sums = &mut sums.weight;
            dh.panels.products(Along::Samples, &kept.below.panels, sums);
            collect.vector(owner(slope), Which::Weight, &[sums.iter().sum()], dh.exponent + kept.below.exponent);
        }
        match self.activation.shape() {
            Shape::Each => {
                delta.set_product(dh, &kept.slopes);
            }
            Shape::Gated => {
                spare.stack(dh, dh);
                delta.set_product(spare, &kept.slopes);
            }
            Shape::Doubled => {
                spare.set_product(dh, &kept.slopes);
                let features = spare.panels.features() / 2;
                delta.panels.take(&spare.panels, 0..features);
                half.take(&spare.panels, features..2 * features);
                delta.panels.combine(F::of(1.0), half, F::of(1.0));
                delta.exponent = spare.exponent;
            }
        }
        std::mem::swap(dh, delta);
    }
}

/// `a = phi(z)` and what its way back is multiplied by. A carried `z` is spelled out where `phi` bends it.
fn apply<F: Float>(
    activation: &Activation,
    z: &mut Scaled<F>,
    a: &mut Scaled<F>,
    slopes: &mut Panels<F>,
    [first, second, third, fourth]: &mut Halves<F>,
) {
    let (features, batch) = (z.panels.features(), z.panels.batch());
    match activation.shape() {
        Shape::Each => {
            a.panels.reshape(features, batch);
            slopes.reshape(features, batch);
            if z.exponent != 0 && !activation.homogeneous() {
                if let (Some([below, above]), Some(..STRAIGHT)) = (activation.at_zero(), z.magnitude()) {
                    let slope_of = |z: &F| F::of(if *z > F::ZERO { above } else { below });
                    let all = z.panels.values().iter().zip(a.panels.values_mut()).zip(slopes.values_mut());
                    for ((z, a), slope) in all {
                        *slope = slope_of(z);
                        *a = *z * *slope;
                    }
                    a.exponent = z.exponent;
                    return;
                }
                z.spell_out();
            }
            activation.apply(z.panels.values(), a.panels.values_mut(), slopes.values_mut());
        }
        Shape::Gated => {
            z.spell_out();
            // a = value * g(gate): the way back is g(gate) for the value, value * g'(gate) for the gate.
            let (value, gate, g, slope) = (first, second, third, fourth);
            value.take(&z.panels, 0..features / 2);
            gate.take(&z.panels, features / 2..features);
            g.reshape(features / 2, batch);
            slope.reshape(features / 2, batch);
            activation.apply(gate.values(), g.values_mut(), slope.values_mut());
            slope.times(value);
            slopes.stack(g, slope);
            value.times(g);
            a.panels.copy_from(value);
        }
        Shape::Doubled => {
            // [phi(z), phi(-z)]; the way back of the second half changes its sign.
            let (value, slope, mirrored, mirrored_slope) = (first, second, third, fourth);
            for values in [&mut *value, &mut *slope, &mut *mirrored_slope] {
                values.reshape(features, batch);
            }
            activation.apply(z.panels.values(), value.values_mut(), slope.values_mut());
            slopes.copy_from(slope);
            mirrored.copy_from(&z.panels);
            mirrored.scale(F::of(-1.0));
            activation.apply(mirrored.values(), slope.values_mut(), mirrored_slope.values_mut());
            a.panels.stack(value, slope);
            mirrored_slope.scale(F::of(-1.0));
            value.copy_from(slopes);
            slopes.stack(value, mirrored_slope);
        }
    }
    a.exponent = z.exponent;
}
