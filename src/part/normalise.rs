//! A normalisation with its learned weight and bias: `weight * xhat + bias`, `xhat = (z - mean) / sqrt(var + eps)`.

use super::{Back, Collect, Numbers, Owner, Parameters, Shape, Signal, Which};
use crate::kernel::{Along, Panels};
use crate::norm::Norm;
use crate::simd::Float;

/// A normalisation of a layer.
#[derive(Debug, Clone, Copy)]
pub struct Normalise {
    /// The kind.
    pub norm: Norm,
    /// Weight and bias among the parameters of the layer's slot.
    pub affine: usize,
}

/// What the forward pass leaves for the backward pass.
#[derive(Debug, Clone)]
pub struct Kept<F> {
    /// `(z - mean) / sqrt(var + eps)`.
    xhat: Panels<F>,
    /// `1 / sqrt(var + eps)` of each feature or sample.
    inverse: Vec<f64>,
    /// The mean of each feature over the batch, where a norm takes one there.
    mean: Vec<f64>,
}

impl<F> Default for Kept<F> {
    fn default() -> Self {
        Self { xhat: Panels::default(), inverse: Vec::new(), mean: Vec::new() }
    }
}

/// What the backward pass finds, and its scratch.
#[derive(Debug, Clone, Default)]
pub(crate) struct Sums {
    /// Gradient of the affine weight.
    pub(super) weight: Vec<f64>,
    /// Gradient of the affine bias.
    bias: Vec<f64>,
    along_xhat: Vec<f64>,
    means: Vec<f64>,
}

/// Weight and bias of a normalisation, one a feature; both empty where they are 1 and 0.
#[derive(Debug, Clone)]
pub struct Affine<F> {
    /// The factors.
    pub weight: Vec<F>,
    /// The summands; empty where the norm has none.
    pub bias: Vec<F>,
    /// Mean and `1 / sqrt(var + eps)` of each feature, to be used in place of those of the batch: a batch norm's in
    /// evaluation.
    pub fixed: Option<[Vec<f64>; 2]>,
}

impl<F> Default for Affine<F> {
    fn default() -> Self {
        Self { weight: Vec::new(), bias: Vec::new(), fixed: None }
    }
}

impl<F: Float> Affine<F> {
    /// The numbers of one tensor, those that are 1 or 0 spelled out.
    pub fn parameters(&self, plan: &Parameters, which: Which) -> Vec<F> {
        let (values, identity) = match which {
            Which::Weight => (&self.weight, 1.0),
            Which::Bias => (&self.bias, 0.0),
        };
        match plan.shape {
            Shape::Affine(features, _) if values.is_empty() => vec![F::of(identity); features],
            _ => values.clone(),
        }
    }

    /// `weight * z + bias`.
    fn apply(&self, z: &mut Panels<F>) {
        let zeros = vec![0.0; self.weight.len()];
        let bias = self.bias.iter().map(|b| b.wide()).collect::<Vec<_>>();
        self.blend(z, if bias.is_empty() { &zeros } else { &bias });
    }

    /// `weight * signal`.
    fn scale(&self, signal: &mut Panels<F>) {
        self.blend(signal, &vec![0.0; self.weight.len()]);
    }

    fn blend(&self, z: &mut Panels<F>, bias: &[f64]) {
        if self.weight.is_empty() {
            return;
        }
        let weight = self.weight.iter().map(|w| w.wide()).collect::<Vec<_>>();
        let same = z.clone();
        z.blend(Along::Samples, &same, [&weight, &vec![0.0; weight.len()], bias]);
    }
}

impl Normalise {
    /// How many numbers a mean is of.
    fn count<F: Float>(&self, z: &Panels<F>) -> f64 {
        if self.norm.along() == Along::Samples { z.batch() as f64 } else { z.features() as f64 }
    }

    /// Normalise `z` in its place.
    pub(super) fn forward<F: Float>(
        &self,
        numbers: &[Numbers<F>],
        z: &mut Panels<F>,
        kept: &mut super::Kept<F>,
        sums: &mut Sums,
    ) {
        let (along, count, centres) = (self.norm.along(), self.count(z), self.norm.centres());
        let affine = numbers[self.affine].affine();
        let Kept { xhat, inverse, mean } = kept.norm();
        let Sums { along_xhat: zeros, means, weight: ones, .. } = sums;
        zeros.clear();
        zeros.resize(z.count(along), 0.0);
        means.clone_from(zeros);
        if let Some([fixed_mean, fixed_inverse]) = &affine.fixed {
            means.clone_from(fixed_mean);
            inverse.clone_from(fixed_inverse);
        } else {
            // The second time over what the rounding of the first mean has left: of equal numbers exactly nothing
            // remains.
            for _ in 0..if centres { 2 } else { 0 } {
                z.deviations(along, means, inverse);
                means.iter_mut().zip(&*inverse).for_each(|(mean, sum)| *mean += sum / count);
            }
            z.spreads(along, means, inverse);
            for inverse in &mut *inverse {
                let root = (*inverse / count + self.norm.eps()).sqrt();
                *inverse = if root == 0.0 { 0.0 } else { 1.0 / root };
            }
        }
        if self.norm.needs_samples() {
            mean.clone_from(means);
        }
        means.iter_mut().for_each(|mean| *mean = -*mean);
        xhat.copy_from(z);
        if centres {
            ones.clear();
            ones.resize(zeros.len(), 1.0);
            xhat.blend(along, z, [ones, zeros, means]);
        }
        xhat.blend(along, z, [inverse, zeros, zeros]);
        z.copy_from(xhat);
        affine.apply(z);
    }

    /// From the gradient of the output to that of `z`.
    pub(super) fn backward<F: Float>(
        &self,
        back: &Back<'_, F>,
        signal: &mut Signal<F>,
        owner: Owner,
        collect: &mut impl Collect<F>,
    ) {
        let super::Kept::Norm(Kept { xhat, inverse, .. }) = back.kept else { return };
        let (along, centres, affine) = (self.norm.along(), self.norm.centres(), back.numbers[self.affine].affine());
        let Signal { dh, sums: Sums { weight, bias, along_xhat, means }, .. } = signal;
        dh.rescale();
        let exponent = dh.exponent;
        let dn = &mut dh.panels;
        dn.products(Along::Samples, xhat, weight);
        bias.clear();
        if centres {
            dn.sums(Along::Samples, bias);
        }
        affine.scale(dn);
        // dz = (g - mean(g) - xhat mean(g xhat)) / root, the mean of g only where the mean of z was taken away.
        dn.products(along, xhat, along_xhat);
        dn.sums(along, means);
        let (count, centred) = (self.count(dn), if centres { 1.0 } else { 0.0 });
        if centres && count == 1.0 {
            // A number that is its own mean gives 0 whatever it is; a rounding would be left of the difference below.
            dn.values_mut().fill(F::ZERO);
        } else {
            for ((product, mean), inverse) in along_xhat.iter_mut().zip(&mut *means).zip(inverse) {
                *product *= -inverse / count;
                *mean *= -inverse / count * centred;
            }
            dn.blend(along, xhat, [inverse, along_xhat, means]);
            dn.clear_padding();
        }
        dh.rescale_and_flush();
        collect.vector(owner, Which::Weight, weight, exponent);
        if centres {
            collect.vector(owner, Which::Bias, bias, exponent);
        }
    }
}

impl<F> super::Kept<F> {
    /// Mean of the batch and `1 / sqrt(var + eps)` of each feature, of a norm over samples.
    pub(crate) fn batch_statistics(&self) -> Option<[&[f64]; 2]> {
        match self {
            Self::Norm(kept) if !kept.mean.is_empty() => Some([&kept.mean, &kept.inverse]),
            _ => None,
        }
    }

    fn norm(&mut self) -> &mut Kept<F> {
        if !matches!(self, Self::Norm(_)) {
            *self = Self::Norm(Kept::default());
        }
        match self {
            Self::Norm(kept) => kept,
            _ => unreachable!("set above"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::signature::Call;

    fn normed<F: Float>(name: &str, features: usize, batch: usize, value: impl Fn(usize, usize) -> f64) -> Vec<F> {
        let norm = Norm::new(&Call::parse("norm", name).unwrap()).unwrap();
        let mut z = Panels::default();
        z.fill(features, batch, |sample, feature| F::of(value(sample, feature)));
        let identity = [Numbers::Affine(Affine::default())];
        let (mut kept, mut sums) = (super::super::Kept::default(), Sums::default());
        Normalise { norm, affine: 0 }.forward(&identity, &mut z, &mut kept, &mut sums);
        z.to_rows()
    }

    #[test]
    fn of_equal_numbers_exactly_nothing_is_left() {
        for name in ["batch", "layer", "batch(eps=0)", "layer(eps=0)"] {
            for count in 2..40 {
                let (features, batch) = if name.starts_with("batch") { (3, count) } else { (count, 3) };
                assert!(normed::<f64>(name, features, batch, |_, _| 0.1).iter().all(|x| *x == 0.0), "{name} {count}");
                assert!(normed::<f32>(name, features, batch, |_, _| 1e6 / 3.0).iter().all(|x| *x == 0.0), "{name}");
            }
        }
        assert!(normed::<f64>("rms(eps=0)", 4, 3, |_, _| 0.0).iter().all(|x| *x == 0.0));
    }
}
