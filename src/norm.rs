//! Normalisations: one row each, forward beside backward.
//!
//! Each is `xhat = (z - mean) / sqrt(var + eps)` and then `weight * xhat + bias`, weight 1 and bias 0 at
//! initialisation; they differ in what the statistics are taken over. Names and defaults are those of `torch.nn`.

use crate::kernel::{Along, Panels, Scaled};
use crate::kind::{self, Kind};
use crate::signature::{Domain, Param, Signature};
use crate::simd::Float;

/// A normalisation with its parameters.
pub type Norm = Kind<Row>;

/// A normalisation of the table.
pub struct Row {
    signature: Signature,
    /// The axis along which statistics are taken.
    along: Along,
    /// Is the mean taken away, and a bias added?
    centres: bool,
}

const EPS: [Param; 1] = [Param::new("eps", Domain::NonNegative, 1e-5)];

static TABLE: [Row; 3] = [
    // Ioffe and Szegedy 2015, arXiv:1502.03167: the statistics of the batch at hand, as in training; biased variance.
    Row {
        signature: Signature { name: "batch", aliases: &["batch_norm"], params: &EPS },
        along: Along::Samples,
        centres: true,
    },
    // Ba et al. 2016, arXiv:1607.06450.
    Row {
        signature: Signature { name: "layer", aliases: &["layer_norm"], params: &EPS },
        along: Along::Features,
        centres: true,
    },
    // Zhang and Sennrich 2019, arXiv:1910.07467: the mean stays, and there is no bias.
    Row {
        signature: Signature { name: "rms", aliases: &["rms_norm"], params: &EPS },
        along: Along::Features,
        centres: false,
    },
];

impl kind::Row for Row {
    const NOUN: &'static str = "norm";

    fn table() -> &'static [Self] {
        &TABLE
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }
}

/// What the forward pass leaves for the backward pass.
#[derive(Debug, Clone)]
pub struct Normed<F> {
    /// `(z - mean) / sqrt(var + eps)`.
    xhat: Panels<F>,
    /// `1 / sqrt(var + eps)` of each feature or sample.
    inverse: Vec<f64>,
}

impl<F> Default for Normed<F> {
    fn default() -> Self {
        Self { xhat: Panels::default(), inverse: Vec::new() }
    }
}

/// What the backward pass finds, and its scratch.
#[derive(Debug, Clone, Default)]
pub struct Sums {
    /// Gradient of the affine weight.
    pub weight: Vec<f64>,
    /// Gradient of the affine bias.
    pub bias: Vec<f64>,
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
}

impl<F> Default for Affine<F> {
    fn default() -> Self {
        Self { weight: Vec::new(), bias: Vec::new() }
    }
}

impl Kind<Row> {
    /// Does it need more than one sample? One alone is its own mean, and nothing is left of it.
    pub fn needs_samples(&self) -> bool {
        self.row.along == Along::Samples
    }

    /// Does it take the mean away, and add a bias?
    pub fn centres(&self) -> bool {
        self.row.centres
    }

    /// How many numbers a mean is of.
    fn count<F: Float>(&self, z: &Panels<F>) -> f64 {
        if self.row.along == Along::Samples { z.batch() as f64 } else { z.features() as f64 }
    }

    /// Normalise `z` in its place.
    pub fn forward<F: Float>(&self, z: &mut Panels<F>, affine: &Affine<F>, kept: &mut Normed<F>, sums: &mut Sums) {
        let (along, count) = (self.row.along, self.count(z));
        let Normed { xhat, inverse } = kept;
        let Sums { along_xhat: zeros, means, weight: ones, .. } = sums;
        zeros.clear();
        zeros.resize(z.count(along), 0.0);
        means.clone_from(zeros);
        // The second time over what the rounding of the first mean has left: of equal numbers exactly nothing remains.
        for _ in 0..if self.row.centres { 2 } else { 0 } {
            z.deviations(along, means, inverse);
            means.iter_mut().zip(&*inverse).for_each(|(mean, sum)| *mean += sum / count);
        }
        z.spreads(along, means, inverse);
        for (inverse, mean) in inverse.iter_mut().zip(&mut *means) {
            let root = (*inverse / count + self.values[0]).sqrt();
            *inverse = if root == 0.0 { 0.0 } else { 1.0 / root };
            *mean = -*mean;
        }
        xhat.copy_from(z);
        if self.row.centres {
            ones.clear();
            ones.resize(zeros.len(), 1.0);
            xhat.blend(along, z, [ones, zeros, means]);
        }
        xhat.blend(along, z, [inverse, zeros, zeros]);
        z.copy_from(xhat);
        affine.apply(z);
    }

    /// From the gradient of the output to that of `z`, in its place; `sums` receives the gradients of the affine
    /// parameters, over the power of two that the signal had.
    pub fn backward<F: Float>(&self, signal: &mut Scaled<F>, affine: &Affine<F>, kept: &Normed<F>, sums: &mut Sums) {
        let along = self.row.along;
        let (Normed { xhat, inverse }, Sums { weight, bias, along_xhat, means }) = (kept, sums);
        let dn = &mut signal.panels;
        dn.products(Along::Samples, xhat, weight);
        bias.clear();
        if self.row.centres {
            dn.sums(Along::Samples, bias);
        }
        affine.scale(dn);
        // dz = (g - mean(g) - xhat mean(g xhat)) / root, the mean of g only where the mean of z was taken away.
        dn.products(along, xhat, along_xhat);
        dn.sums(along, means);
        let (count, centred) = (self.count(dn), if self.row.centres { 1.0 } else { 0.0 });
        for ((product, mean), inverse) in along_xhat.iter_mut().zip(&mut *means).zip(inverse) {
            *product *= -inverse / count;
            *mean *= -inverse / count * centred;
        }
        dn.blend(along, xhat, [inverse, along_xhat, means]);
        dn.clear_padding();
        signal.settle();
    }
}

impl<F: Float> Affine<F> {
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

#[cfg(test)]
mod tests {
    use super::*;

    fn normed<F: Float>(name: &str, features: usize, batch: usize, value: impl Fn(usize, usize) -> f64) -> Vec<F> {
        let norm = Norm::parse(name).unwrap();
        let mut z = Panels::default();
        z.fill(features, batch, |sample, feature| F::of(value(sample, feature)));
        norm.forward(&mut z, &Affine::default(), &mut Normed::default(), &mut Sums::default());
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
