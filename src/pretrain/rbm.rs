//! Restricted Boltzmann machines of binary units, `E(v, h) = -b.v - c.h - h.W v`, learned by contrastive divergence.
//!
//! G. Hinton, "Training products of experts by minimizing contrastive divergence", 2002, and "A practical guide to
//! training restricted Boltzmann machines", 2010; T. Tieleman, "Training RBMs using approximations to the likelihood
//! gradient", ICML 2008 (persistent chains).

use super::units::logistic;
use super::{AT_ONCE, Ascent, Draws, Learn, Pair, apply, in_parts};
use crate::activation::Activation;
use crate::error::{Cancel, Result};
use crate::kernel::{Along, Matrix, Panels, RowMajor};
use crate::rng::{Role, Stream};
use crate::simd::Float;

/// Contrastive divergence: the gradient of the log-likelihood with a short chain in place of the model.
///
/// The one reconstruction of CD-1 is of probabilities, as Hinton's guide has it. Longer chains and persistent ones
/// sample both sides, or what they come to would not be the distribution of the model.
#[derive(Debug, Default)]
pub struct Rbm {
    /// Steps of a chain.
    k: usize,
    /// Does each chain go on where it was?
    persistent: bool,
    /// The hidden units of the chains, where they persist.
    chains: RowMajor<f32>,
    /// Probabilities of the hidden units at the data, and at the end of the chain.
    first: RowMajor<f32>,
    last: RowMajor<f32>,
    hidden: RowMajor<f32>,
    visible: RowMajor<f32>,
    sampled: RowMajor<f32>,
}

impl Rbm {
    /// Chains of `k` steps.
    pub fn new(k: usize, persistent: bool) -> Self {
        Self { k, persistent, ..Self::default() }
    }
}

impl Learn for Rbm {
    fn direction(
        &mut self,
        pair: &Pair,
        batch: &mut RowMajor<f32>,
        rows: usize,
        draws: &mut Draws,
        ascent: &mut Ascent,
    ) {
        let Self { k, persistent, chains, first, last, hidden, visible, sampled } = self;
        pair.up(batch, rows, first);
        logistic(first);
        if *persistent {
            // Chains begin with all hidden units off, as scikit-learn's do.
            chains.reshape(rows, first.columns());
            std::mem::swap(hidden, chains);
        } else {
            draws.sample(first, hidden);
        }
        let samples = *persistent || *k > 1;
        for step in 0..*k {
            if Cancel::requested() {
                return;
            }
            pair.down(hidden, visible);
            logistic(visible);
            if samples {
                draws.sample(visible, sampled);
                std::mem::swap(visible, sampled);
            }
            pair.up(visible, rows, last);
            logistic(last);
            if *persistent || step + 1 < *k {
                draws.sample(last, hidden);
            }
        }
        if *persistent {
            std::mem::swap(hidden, chains);
        }
        batch.sums(rows, Some(visible), &mut ascent.visible);
        first.sums(rows, Some(last), &mut ascent.hidden);
        for (to, from) in batch.after_mut(rows).iter_mut().zip(visible.values()) {
            *to = -*from;
        }
        ascent.weight.outer([first, last], batch);
    }
}

/// A machine that is looked at, in either type.
#[derive(Debug)]
pub struct Machine<F> {
    /// `W`, `(hidden, visible)`.
    pub weight: Matrix<F>,
    /// The biases of the visible units.
    pub visible: Vec<F>,
    /// The biases of the hidden units.
    pub hidden: Vec<F>,
}

/// `F(v) = -b.v - sum softplus(c + W v)` of each row: `p(v)` is proportional to `e^-F(v)`.
pub fn free_energies<F: Float>(pair: &Machine<F>, rows: &[F]) -> Result<Vec<f64>> {
    let softplus = Activation::parse("softplus")?;
    let (mut z, mut a, mut slopes, mut sums) = (Panels::default(), Panels::default(), Panels::default(), Vec::new());
    let visible = pair.visible.len();
    let mut all = Vec::with_capacity(rows.len() / visible);
    in_parts(rows, visible, |first, part| {
        pair.weight.forward(part, &pair.hidden, &mut z);
        apply(&softplus, &z, &mut a, &mut slopes);
        a.sums(Along::Features, &mut sums);
        let rows = rows[first * visible..].chunks_exact(visible);
        all.extend(rows.zip(&sums).map(|(row, sum)| -linear(pair, row) - sum));
    })?;
    Ok(all)
}

/// `b.v`.
fn linear<F: Float>(pair: &Machine<F>, row: &[F]) -> f64 {
    row.iter().zip(&pair.visible).map(|(v, b)| v.wide() * b.wide()).sum()
}

/// scikit-learn's estimate of the log of the pseudo-likelihood of each row: one unit, drawn for each row, is turned to
/// `1 - v_i`, and its log-probability given all others, `ln sigmoid(F(turned) - F(v))`, stands for that of every unit.
pub fn pseudo_likelihoods<F: Float>(pair: &Machine<F>, rows: &[F], energies: &[f64], seed: u64) -> Result<Vec<f64>> {
    let visible = pair.visible.len();
    let mut uniforms = vec![0.0_f64; energies.len()];
    Stream::new(seed, 0, Role::Turned).uniform(0.0, 1.0, &mut uniforms);
    let mut turned = rows.to_vec();
    for (row, uniform) in turned.chunks_exact_mut(visible).zip(uniforms) {
        // The largest u rounds to 1.
        let unit = ((uniform * visible as f64) as usize).min(visible - 1);
        row[unit] = F::of(1.0) - row[unit];
    }
    let turned = free_energies(pair, &turned)?;
    let log_sigmoid = |x: f64| x.min(0.0) - libm::log1p(libm::exp(-x.abs()));
    Ok(turned.iter().zip(energies).map(|(turned, own)| visible as f64 * log_sigmoid(turned - own)).collect())
}

/// Gibbs sampling from rows of visible units: the last samples of the visible units, and their probabilities given the
/// hidden ones; both row-major.
pub fn gibbs(pair: &Pair, rows: &[f32], steps: usize, seed: u64) -> Result<[Vec<f32>; 2]> {
    let (mut found, mut draws, columns) = ([Vec::new(), Vec::new()], Draws::new(seed, 0), pair.visible.len());
    let (mut probabilities, mut hidden) = (RowMajor::default(), RowMajor::default());
    for part in rows.chunks(AT_ONCE * columns) {
        let mut visible = RowMajor::of(part.len() / columns, columns, part);
        for _ in 0..steps {
            Cancel::heed()?;
            pair.up(&visible, visible.rows(), &mut probabilities);
            logistic(&mut probabilities);
            draws.sample(&probabilities, &mut hidden);
            pair.down(&hidden, &mut probabilities);
            logistic(&mut probabilities);
            draws.sample(&probabilities, &mut visible);
        }
        found[0].extend(visible.to_rows());
        found[1].extend(probabilities.to_rows());
    }
    Ok(found)
}
