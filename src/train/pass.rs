//! One pass of a batch forward and back: the loss and the gradients of all tensors.

use super::data::{Rows, Trusting};
use super::gradient::{Collector, Gradients};
use super::layout::Layout;
use crate::backward;
use crate::error::{Cancel, Result};
use crate::forward::{Trace, forward};
use crate::part::{Masks, Signal};
use crate::plan::Plan;
use crate::simd::Float;
use crate::weights::Weights;

/// What a pass is of.
#[derive(Debug, Clone, Copy)]
pub(super) struct Batch<'b, F> {
    /// The data.
    pub rows: &'b Rows<F>,
    /// The rows that form the batch.
    pub chosen: &'b [usize],
    /// Are they in the trace already?
    pub there: bool,
    /// What the masks of dropout are drawn from; nothing is dropped without it.
    pub masks: Option<Masks>,
}

/// The loss of a batch and the gradients of all tensors.
#[allow(clippy::too_many_arguments)] // Buffers that are borrowed one by one.
pub(super) fn gradient<F: Float>(
    plan: &Plan,
    layout: &Layout,
    weights: &Weights<F>,
    Batch { rows, chosen, there, masks }: Batch<'_, F>,
    rates: &[f64],
    trace: &mut Trace<F>,
    signal: &mut Signal<F>,
    gradients: &mut Gradients<F>,
    cancel: &Cancel,
) -> Result<f64> {
    if !there {
        rows.begin(trace, plan, chosen);
    }
    trace.masks = masks;
    forward(plan, weights, trace, 0..plan.layers.len(), &mut Trusting, cancel)?;
    let output = trace.value(plan.value(plan.layers.len())).to_rows();
    let (loss, cotangent) = if chosen.len() == rows.count {
        rows.loss.evaluate(&output, plan.output_row(), &rows.targets)
    } else {
        rows.loss.evaluate(&output, plan.output_row(), &rows.targets.of(&plan.places_of(chosen)))
    };
    if !loss.is_finite() || cotangent.iter().any(|c| !c.is_finite()) {
        return Ok(f64::NAN);
    }
    let (features, count) = plan.last_value(chosen.len());
    signal.begin(features, count, &cotangent);
    gradients.begin(layout, chosen.len() * plan.tokens);
    let mut collector = Collector { gradients, layout, plan, weights, rates };
    for layer in (0..plan.layers.len()).rev() {
        backward::layer(plan, weights, trace, signal, layer, &mut collector);
    }
    collector.finish();
    gradients.all.iter_mut().for_each(super::gradient::Gradient::measure);
    Ok(loss)
}
