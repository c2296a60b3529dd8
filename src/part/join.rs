//! A skip: a stream that is kept at the beginning of a block and joins what came through it at the end.

use super::{Back, Collect, Here, Linear, Owner, Signal, Which};
use crate::activation::Activation;
use crate::kernel::{Along, Panels, Scaled};
use crate::simd::Float;
use crate::skip;

/// The beginning of a stream.
#[derive(Debug, Clone, Copy)]
pub struct Keep {
    /// The stream.
    pub stream: usize,
    /// Does it go to the readout of every step alone?
    pub to_readout: bool,
}

impl Keep {
    /// The beginning of a stream that ends at a join, or at the next step.
    pub fn of(stream: usize) -> Self {
        Self { stream, to_readout: false }
    }

    /// Add what reached the stream to the gradient of what it began from.
    pub(super) fn backward<F: Float>(self, signal: &mut Signal<F>) {
        let Signal { dh, streams, .. } = signal;
        if let Some(stream) = streams.get_mut(self.stream).filter(|stream| stream.reached) {
            dh.scale_and_add(1.0, &stream.gradient);
            stream.reached = false;
        }
    }
}

/// The end of a stream.
#[derive(Debug, Clone, Copy)]
pub struct Join {
    /// The stream.
    pub stream: usize,
    /// How it joins what came through the block.
    pub way: skip::Way,
    /// The factor of the branch.
    pub scale: f64,
    /// The factor of what went around, where it is added as it is.
    pub around: f64,
    /// A learned factor, or the map of a gate or a projection, among the parameters of the layer's slot; not read by the
    /// other ways.
    pub learned: usize,
}

/// What the forward pass leaves for the backward pass.
#[derive(Debug, Clone)]
pub struct Kept<F> {
    /// What came through the block, where a learned factor multiplies it.
    branch: Scaled<F>,
    /// The gate `T`, `1 - T`, and `T' (F(x) - x)`.
    gate: [Panels<F>; 3],
}

impl<F> Default for Kept<F> {
    fn default() -> Self {
        Self { branch: Scaled::default(), gate: std::array::from_fn(|_| Panels::default()) }
    }
}

impl<F> super::Kept<F> {
    fn join(&mut self) -> &mut Kept<F> {
        if !matches!(self, Self::Join(_)) {
            *self = Self::Join(Kept::default());
        }
        match self {
            Self::Join(kept) => kept,
            _ => unreachable!("set above"),
        }
    }
}

impl Join {
    /// Does the join pass small signals in proportion?
    pub(super) fn proportional(&self) -> bool {
        self.way != skip::Way::Gate
    }

    /// The map of a gate or a projection among the parameters of the layer's slot, if there is one.
    pub(super) fn linear(&self) -> Option<usize> {
        matches!(self.way, skip::Way::Gate | skip::Way::Project).then_some(self.learned)
    }

    /// Features that go out, of those that come through the block and those that went around.
    pub(super) fn features(&self, through: usize, around: usize) -> usize {
        if self.way == skip::Way::Concatenate { around + through } else { through }
    }

    /// Features of what is kept, of those that go out.
    pub(super) fn kept_features(&self, output: usize) -> usize {
        match self.way {
            skip::Way::Gate => 3 * output,
            skip::Way::Learned => output,
            skip::Way::Add | skip::Way::Concatenate | skip::Way::Project => 0,
        }
    }

    /// Join what came through a block with what went around it, in place of the former. False where a value is not
    /// finite.
    pub(super) fn forward<F: Float>(
        &self,
        here: &Here<'_, F>,
        x: &Scaled<F>,
        branch: &mut Scaled<F>,
        kept: &mut super::Kept<F>,
        spare: &mut Scaled<F>,
    ) -> bool {
        match self.way {
            skip::Way::Add if self.around == 1.0 => branch.scale_and_add(self.scale, x),
            skip::Way::Add => {
                spare.copy_from(x);
                spare.times(self.around);
                branch.scale_and_add(self.scale, spare);
            }
            skip::Way::Learned => {
                kept.join().branch.copy_from(branch);
                branch.scale_and_add(self.scale * here.numbers[self.learned].scalar(), x);
            }
            skip::Way::Gate => gate(here.numbers[self.learned].linear(), x, &mut branch.panels, kept.join()),
            skip::Way::Concatenate => {
                spare.copy_from(branch);
                branch.stack(x, spare);
            }
            skip::Way::Project => {
                let map = here.numbers[self.learned].linear();
                map.weight.forward(&x.panels, &map.bias, &mut spare.panels);
                spare.exponent = x.exponent;
                branch.scale_and_add(self.scale, spare);
            }
        }
        if branch.exponent != 0 && !here.carries {
            branch.spell_out();
        }
        branch.panels.largest().is_finite()
    }

    /// From the gradient behind the join to that of what came through the block, and of what went around it, which
    /// reaches the stream. `x` is what went around, `value` its name.
    pub(super) fn backward<F: Float>(
        &self,
        back: &Back<'_, F>,
        (x, value): (&Scaled<F>, usize),
        signal: &mut Signal<F>,
        owner: impl Fn(usize) -> Owner,
        collect: &mut impl Collect<F>,
    ) {
        let Signal { dh, delta, spare, sums, streams, .. } = signal;
        let numbers = back.numbers;
        match (self.way, back.kept) {
            (skip::Way::Learned, super::Kept::Join(kept)) => {
                spare.copy_from(dh);
                let sums = &mut sums.weight;
                dh.panels.products(Along::Samples, &kept.branch.panels, sums);
                let sum = [self.scale * sums.iter().sum::<f64>()];
                collect.vector(owner(self.learned), Which::Weight, &sum, dh.exponent + kept.branch.exponent);
                dh.times(self.scale * numbers[self.learned].scalar());
            }
            (skip::Way::Gate, super::Kept::Join(kept)) => {
                let [open, shut, slopes] = &kept.gate;
                delta.set_product(dh, slopes);
                collect.map(owner(self.learned), delta, x, Some(value));
                numbers[self.learned].linear().weight.backward(&delta.panels, &mut spare.panels);
                spare.exponent = delta.exponent;
                delta.set_product(dh, shut);
                delta.scale_and_add(1.0, spare);
                std::mem::swap(spare, delta);
                delta.set_product(dh, open);
                std::mem::swap(dh, delta);
            }
            (skip::Way::Concatenate, _) => {
                let through = x.panels.features();
                spare.panels.take(&dh.panels, through..dh.panels.features());
                delta.panels.take(&dh.panels, 0..through);
                delta.exponent = dh.exponent;
                dh.panels.copy_from(&spare.panels);
                std::mem::swap(spare, delta);
            }
            (skip::Way::Project, _) => {
                // The branch gets the gradient as it is: what is tiny here may be all that it is left with.
                delta.copy_from(dh);
                delta.rescale_and_flush();
                collect.map(owner(self.learned), delta, x, Some(value));
                numbers[self.learned].linear().weight.backward(&delta.panels, &mut spare.panels);
                spare.exponent = delta.exponent;
                dh.times(self.scale);
            }
            _ => {
                spare.copy_from(dh);
                if self.around != 1.0 {
                    spare.times(self.around);
                }
                dh.times(self.scale);
            }
        }
        Signal::reach(streams, self.stream, spare);
    }
}

/// `(1 - T) x + T F(x)` with `T = sigmoid(W_T x + b_T)`, in place of `F(x)`.
fn gate<F: Float>(map: &Linear<F>, x: &Scaled<F>, branch: &mut Panels<F>, kept: &mut Kept<F>) {
    let [open, shut, back] = &mut kept.gate;
    map.weight.forward(&x.panels, &map.bias, shut);
    open.reshape(shut.features(), shut.batch());
    back.reshape(shut.features(), shut.batch());
    Activation::sigmoid().apply(shut.values(), open.values_mut(), back.values_mut());
    shut.set_complement(open);
    // F(x) - x, whose products with T and T' are the way forward and the way back.
    branch.combine(F::of(1.0), &x.panels, F::of(-1.0));
    back.times(branch);
    branch.times(open);
    branch.combine(F::of(1.0), &x.panels, F::of(1.0));
}
