//! Rows of samples with their targets, and the order in which batches take them.

use crate::activation::Activation;
use crate::data::Data;
use crate::error::{Cancel, Result};
use crate::forward::{Trace, forward};
use crate::kernel::{Panels, Scaled};
use crate::loss::{Loss, Targets};
use crate::part::Watch;
use crate::plan::Plan;
use crate::rng::{Role, Stream};
use crate::simd::Float;
use crate::weights::Weights;

/// Samples with targets of a loss.
#[derive(Debug, Clone)]
pub struct Rows<F> {
    /// The samples, row-major.
    pub x: Vec<F>,
    /// Columns of the samples.
    pub columns: usize,
    /// The number of samples.
    pub count: usize,
    /// Rows of the output that a sample has, each with a target.
    pub places: usize,
    /// The targets of the samples.
    pub targets: Targets,
    /// The loss.
    pub loss: Loss,
}

/// Samples that a forward pass without a backward pass takes at once.
pub(super) const AT_ONCE: usize = 512;

impl<F: Float> Rows<F> {
    /// The first rows.
    pub fn first(&self, count: usize) -> Self {
        let count = count.min(self.count);
        let (x, targets) =
            (self.x[..count * self.columns].to_vec(), self.targets.of(&(0..count * self.places).collect::<Vec<_>>()));
        Self { x, count, targets, ..*self }
    }

    /// The samples alone.
    pub fn data(&self) -> Data<F> {
        Data { x: self.x.clone(), columns: self.columns }
    }

    /// Some samples, row-major.
    pub fn samples(&self, rows: &[usize]) -> Vec<F> {
        rows.iter().flat_map(|row| &self.x[row * self.columns..][..self.columns]).copied().collect()
    }

    /// Put some samples where a forward pass begins.
    pub fn begin(&self, trace: &mut Trace<F>, plan: &Plan, rows: &[usize]) {
        trace.gather(plan, rows.len(), |sample| &self.x[rows[sample] * self.columns..][..self.columns]);
    }

    /// The loss over all samples, and the share of samples whose largest output is that of their class.
    pub fn evaluate(
        &self,
        plan: &Plan,
        weights: &Weights<F>,
        trace: &mut Trace<F>,
        cancel: &Cancel,
    ) -> Result<[f64; 2]> {
        let (mut outputs, columns) = (Vec::new(), plan.output_row());
        let all = (0..self.count).collect::<Vec<_>>();
        for rows in all.chunks(AT_ONCE) {
            self.begin(trace, plan, rows);
            forward(plan, weights, trace, 0..plan.layers.len(), &mut Trusting, cancel)?;
            outputs.extend(trace.value(plan.value(plan.layers.len())).to_rows());
        }
        let (loss, _) = self.loss.evaluate(&outputs, columns, &self.targets);
        let Targets::Classes(ids) = &self.targets else { return Ok([loss, f64::NAN]) };
        let right = outputs.chunks_exact(columns).zip(ids).filter(|(row, id)| {
            // The first of the largest, as NumPy has it.
            let best = row.iter().enumerate().fold(0, |best, (i, v)| if *v > row[best] { i } else { best });
            best == **id
        });
        Ok([loss, right.count() as f64 / ids.len() as f64])
    }
}

/// Sees nothing, and asks for nothing to be looked at.
pub(super) struct Trusting;

impl<F: Float> Watch<F> for Trusting {
    fn z(&mut self, _: usize, _: &Scaled<F>) -> bool {
        true
    }
    fn phi(&mut self, _: usize, _: &Activation, _: &Scaled<F>, _: &Scaled<F>, _: &Panels<F>) {}
    fn a(&mut self, _: usize, _: &Scaled<F>) -> bool {
        true
    }
    fn h(&mut self, _: usize, _: &Scaled<F>) {}
}

/// The rows of each step's batch: a new order of all rows in every epoch, of which whole batches are taken.
#[derive(Debug, Clone)]
pub struct Batches {
    seed: u64,
    total: usize,
    batch: usize,
    epoch: Option<usize>,
    order: Vec<usize>,
}

impl Batches {
    /// Batches of so many of all rows; all rows in their order where a batch has room for them.
    pub fn new(seed: u64, total: usize, batch: usize) -> Self {
        Self { seed, total, batch: batch.min(total), epoch: None, order: Vec::new() }
    }

    /// The rows of a step, from 1 on.
    pub fn rows(&mut self, step: usize) -> &[usize] {
        let each = self.total / self.batch;
        let (epoch, place) = ((step - 1) / each, (step - 1) % each);
        if self.batch == self.total {
            if self.order.is_empty() {
                self.order = (0..self.total).collect();
            }
        } else if self.epoch != Some(epoch) {
            self.order = Stream::new(self.seed, epoch, Role::Epoch).choose(self.total, self.total);
            self.epoch = Some(epoch);
        }
        &self.order[place * self.batch..][..self.batch]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_epoch_takes_every_row_at_most_once_and_each_has_an_order_of_its_own() {
        let mut batches = Batches::new(3, 10, 3);
        let mut epoch =
            |first: usize| (first..first + 3).flat_map(|step| batches.rows(step).to_vec()).collect::<Vec<_>>();
        let (one, two) = (epoch(1), epoch(4));
        for rows in [&one, &two] {
            let mut sorted = rows.clone();
            sorted.sort_unstable();
            sorted.dedup();
            assert_eq!(sorted.len(), 9);
        }
        assert_ne!(one, two);
        // Any step can be asked for alone.
        assert_eq!(Batches::new(3, 10, 3).rows(5), &two[3..6]);
        assert_eq!(Batches::new(3, 4, 9).rows(7), [0, 1, 2, 3]);
    }
}
