//! Denoising autoencoders with tied weights: `h = phi(W x~ + c)` of a row of which some entries were set to 0, and
//! `y = W^T h + b`, or its logistic function, which is to be the row as it was.
//!
//! P. Vincent et al., "Stacked denoising autoencoders", JMLR 2010.

use super::{Ascent, Draws, Learn, Pair, apply};
use crate::activation::Activation;
use crate::kernel::{Along, Panels};

/// What a denoising autoencoder learns by.
#[derive(Debug)]
pub struct Dae {
    /// The probability that an entry is set to 0.
    corrupt: f32,
    phi: Activation,
    /// The logistic function, whose loss is the cross-entropy, or the identity, whose loss is half the squared error:
    /// of both, `dL/dz = y - x`.
    output: Activation,
    corrupted: Panels<f32>,
    z: Panels<f32>,
    hidden: Panels<f32>,
    slopes: Panels<f32>,
    others: Panels<f32>,
    output_error: Panels<f32>,
    back: Panels<f32>,
    delta: Panels<f32>,
}

impl Dae {
    /// Hidden units of an activation, and outputs that are probabilities or any numbers.
    pub fn new(corrupt: f64, phi: Activation, probabilities: bool) -> Self {
        let [corrupted, z, hidden, slopes, others, output_error, back, delta] =
            std::array::from_fn(|_| Panels::default());
        let output = if probabilities { Activation::sigmoid() } else { Activation::linear() };
        let corrupt = corrupt as f32;
        Self { corrupt, phi, output, corrupted, z, hidden, slopes, others, output_error, back, delta }
    }
}

impl Learn for Dae {
    fn direction(&mut self, pair: &Pair<f32>, rows: &Panels<f32>, draws: &mut Draws, ascent: &mut Ascent) {
        let Self { corrupt, phi, output, corrupted, z, hidden, slopes, others, output_error, back, delta } = self;
        draws.corrupt(*corrupt, rows, corrupted);
        pair.up(corrupted, z);
        apply(phi, z, hidden, slopes);
        pair.down(hidden, z);
        apply(output, z, output_error, others);
        // What is left to reach, x - y: the direction in which the loss falls.
        output_error.combine(-1.0, rows, 1.0);
        pair.weight.forward(output_error, &[], back);
        delta.set_product(back, slopes, 1.0, 0.0);
        ascent.weights([[delta, corrupted], [hidden, output_error]], 1.0);
        output_error.sums(Along::Samples, &mut ascent.visible);
        delta.sums(Along::Samples, &mut ascent.hidden);
    }
}
