//! Denoising autoencoders with tied weights: `h = phi(W x~ + c)` of a row of which some entries were set to 0, and
//! `y = W^T h + b`, or its logistic function, which is to be the row as it was.
//!
//! P. Vincent et al., "Stacked denoising autoencoders", JMLR 2010.

use super::units::logistic;
use super::{Ascent, Draws, Learn, Pair};
use crate::activation::Activation;
use crate::kernel::RowMajor;

/// What a denoising autoencoder learns by.
#[derive(Debug)]
pub struct Dae {
    /// The probability that an entry is set to 0.
    corrupt: f32,
    phi: Activation,
    /// Is the logistic function of the outputs meant, whose loss is the cross-entropy? Else the outputs are themselves,
    /// and the loss is half the squared error: of both, `dL/dz = y - x`.
    probabilities: bool,
    /// Corrupted rows, and below them what is left to reach, `x - y`.
    stacked: RowMajor<f32>,
    z: RowMajor<f32>,
    hidden: RowMajor<f32>,
    slopes: RowMajor<f32>,
    output: RowMajor<f32>,
    delta: RowMajor<f32>,
    zeros: Vec<f32>,
}

impl Dae {
    /// Hidden units of an activation, and outputs that are probabilities or any numbers.
    pub fn new(corrupt: f64, phi: Activation, probabilities: bool) -> Self {
        let [stacked, z, hidden, slopes, output, delta] = std::array::from_fn(|_| RowMajor::default());
        let (corrupt, zeros) = (corrupt as f32, Vec::new());
        Self { corrupt, phi, probabilities, stacked, z, hidden, slopes, output, delta, zeros }
    }
}

impl Learn for Dae {
    fn direction(
        &mut self,
        pair: &Pair,
        batch: &mut RowMajor<f32>,
        rows: usize,
        draws: &mut Draws,
        ascent: &mut Ascent,
    ) {
        let Self { corrupt, phi, probabilities, stacked, z, hidden, slopes, output, delta, zeros } = self;
        stacked.reshape(2 * rows, batch.columns());
        draws.corrupt(*corrupt, batch.first(rows), stacked.values_mut());
        pair.up(stacked, rows, z);
        for each in [&mut *hidden, slopes] {
            each.reshape(rows, z.columns());
        }
        phi.apply(z.values(), hidden.values_mut(), slopes.values_mut());
        pair.down(hidden, output);
        if *probabilities {
            logistic(output);
        }
        // What is left to reach, x - y: the direction in which the loss falls.
        for (y, x) in output.values_mut().iter_mut().zip(batch.first(rows)) {
            *y = *x - *y;
        }
        zeros.resize(z.columns(), 0.0);
        delta.product(output, rows, &pair.turned, zeros);
        for (delta, slope) in delta.values_mut().iter_mut().zip(slopes.values()) {
            *delta *= *slope;
        }
        output.sums(rows, None, &mut ascent.visible);
        delta.sums(rows, None, &mut ascent.hidden);
        stacked.after_mut(rows).copy_from_slice(output.values());
        ascent.weight.outer([delta, hidden], stacked);
    }
}
