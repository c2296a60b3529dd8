//! What a recurrent net does over its steps: a readout at every one of them, and a gradient that is cut between two.

use super::{Back, Beyond, Collect, Here, Owner, Scratch, Signal};
use crate::kernel::Scaled;
use crate::simd::Float;

/// The readout of the state behind every step, side by side in the order of the steps.
#[derive(Debug, Clone, Copy)]
pub struct Steps {
    /// The map among the parameters of the layer's slot.
    pub own: usize,
    /// The stream of the first step; the others follow.
    pub first: usize,
    /// Steps.
    pub count: usize,
    /// What no page has.
    pub beyond: Beyond,
}

impl Steps {
    /// The outputs of all steps.
    pub(super) fn forward<F: Float>(&self, here: &Here<'_, F>, output: &mut Scaled<F>, scratch: &mut Scratch<F>) {
        let linear = here.numbers[self.own].linear();
        let outputs = linear.weight.rows();
        output.exponent = 0;
        for (step, (h, _)) in here.states.iter().enumerate() {
            linear.weight.forward(&h.panels, &linear.bias, &mut scratch.spare.panels);
            if step == 0 {
                output.panels.reshape(self.count * outputs, h.panels.batch());
            }
            output.panels.put(step * outputs, &scratch.spare.panels);
        }
    }

    /// From the gradient of all outputs to that of the states, which reaches the streams of their steps.
    pub(super) fn backward<F: Float>(
        &self,
        back: &Back<'_, F>,
        signal: &mut Signal<F>,
        owner: Owner,
        collect: &mut impl Collect<F>,
    ) {
        let Signal { dh, delta, spare, streams, .. } = signal;
        let weight = &back.numbers[self.own].linear().weight;
        let outputs = weight.rows();
        for (step, (h, value)) in back.states.iter().enumerate().rev() {
            delta.panels.take(&dh.panels, step * outputs..(step + 1) * outputs);
            delta.exponent = dh.exponent;
            collect.map(owner, delta, h, Some(*value));
            weight.backward(&delta.panels, &mut spare.panels);
            spare.exponent = delta.exponent;
            Signal::reach(streams, self.first + step, spare);
        }
        let batch = dh.panels.batch();
        dh.clear(weight.columns(), batch);
    }
}

/// The end of a stretch of truncated backpropagation: no gradient passes to the step before.
#[derive(Debug, Clone, Copy)]
pub struct Cut {
    /// The streams of the state are the first so many.
    pub streams: usize,
    /// What no page has.
    pub beyond: Beyond,
}

impl Cut {
    /// Nothing goes on to the step before.
    pub(super) fn backward<F: Float>(self, signal: &mut Signal<F>) {
        let Signal { dh, streams, .. } = signal;
        let (features, batch) = (dh.panels.features(), dh.panels.batch());
        dh.clear(features, batch);
        streams.iter_mut().take(self.streams).for_each(|stream| stream.reached = false);
    }
}
