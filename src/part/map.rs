//! `z = W x + b`, and `W x + b + U x_t` where every step gets an input of its own.

use super::{Back, Collect, Here, Owner, Scratch, Signal, Which};
use crate::error::{Cancel, Result};
use crate::init::{Distribution, rescale};
use crate::kernel::{Matrix, Scaled};
use crate::rng::{Role, Stream};
use crate::simd::Float;
use crate::transform::{self, Transform};
use std::collections::HashMap;

/// A linear map of a layer.
#[derive(Debug, Clone, Copy)]
pub struct Map {
    /// Index of the map's weights and biases among the parameters of the layer's slot.
    pub own: usize,
    /// Index of the map of the step's own input, if every step gets one.
    pub fed: Option<usize>,
    /// The stream of the state that the map is of, where what comes in is the state of the layer below: then that is the
    /// step's own input, but for the first layer.
    pub state: Option<usize>,
    /// Do the two stay apart, the map of the step's own input first?
    pub apart: bool,
    /// Must `dL/dz` be brought near 1 here? An activation or a normalisation behind the map has done so already, and
    /// the cotangent of a readout begins so.
    pub rescales: bool,
}

/// Blocks of rows of one weight that are drawn each by itself: the gates of a cell, or queries, keys and values.
///
/// A block has `fan_out / count` rows and the law of a map of that shape. All blocks are of one stream of random numbers:
/// each begins at the first multiple of four elements behind the one before, as if its columns were as long as that.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Blocks {
    /// What the blocks are called in `log10_wgrad_norm_NAME`, the column of the norm of each one's gradient, which the
    /// part behind the map announces; none where the whole weight is one block.
    pub names: &'static [&'static str],
    /// A factor of what is drawn, for each block.
    pub factors: [f64; 4],
}

impl Blocks {
    /// The whole weight.
    pub const ONE: Self = Self::of(&[]);

    /// A block for each of these names, at most four, with factors of 1; the whole weight where there are none.
    pub const fn of(names: &'static [&'static str]) -> Self {
        Self { names, factors: [1.0; 4] }
    }

    /// How many there are; they share the rows evenly.
    pub fn count(&self) -> usize {
        self.names.len().max(1)
    }
}

/// Weights and biases of a linear map before they are drawn.
#[derive(Debug, Clone, Copy)]
pub struct LinearPlan {
    /// Columns of the weights.
    pub fan_in: usize,
    /// Rows of the weights.
    pub fan_out: usize,
    /// Distribution of the weights; of several blocks, that of each.
    pub weight: Distribution,
    /// The blocks of rows that are drawn each by itself.
    pub blocks: Blocks,
    /// A factor of what is drawn.
    pub factor: f64,
    /// Distribution of the biases; none where there are no biases.
    pub bias: Option<Distribution>,
    /// What is added to the biases of some consecutive rows: the first of them, how many, and the number.
    pub raised: Option<(usize, usize, f64)>,
    /// What the weights go through before they are used.
    pub transform: Option<Transform>,
    /// Are the weights scaled by what data make of them?
    pub calibrates: bool,
    /// The hidden layer that the streams of random numbers belong to.
    pub layer: usize,
    /// The roles of the streams of weights and biases.
    pub roles: (Role, Role),
}

impl LinearPlan {
    /// The streams of weights and biases for a seed.
    pub fn streams(&self, seed: u64) -> (Stream, Stream) {
        (Stream::new(seed, self.layer, self.roles.0), Stream::new(seed, self.layer, self.roles.1))
    }

    /// Entries of the weights.
    pub fn entries(&self) -> usize {
        self.fan_out * self.fan_in
    }

    /// Rows of a block of the weights.
    pub fn block_rows(&self) -> usize {
        self.fan_out / self.blocks.count()
    }

    /// Mean and variance of a bias that is picked at random.
    pub fn bias_moments(&self) -> [f64; 2] {
        let [mean, variance] = self.bias.unwrap_or(Distribution::Constant(0.0)).moments(self.fan_out, 1);
        let (share, by) = self.raised.map_or((0.0, 0.0), |(_, count, by)| (count as f64 / self.fan_out as f64, by));
        [mean + share * by, variance + share * (1.0 - share) * by * by]
    }

    /// Mean and variance of an entry of the weights that is picked at random.
    pub fn moments(&self) -> [f64; 2] {
        let [mean, variance] = self.weight.moments(self.block_rows(), self.fan_in);
        let factors = self.blocks.factors[..self.blocks.count()].iter().map(|factor| self.factor * factor);
        let count = self.blocks.count() as f64;
        let (first, second) = factors.fold((0.0, 0.0), |(first, second), f| (first + f, second + f * f));
        let (first, second) = (first / count, second / count);
        [first * mean, second * variance + (second - first * first) * mean * mean]
    }

    /// Variance of a weight, and mean and variance of a bias, of one of the blocks of rows.
    pub fn moments_of_block(&self, block: usize) -> [f64; 3] {
        let [_, variance] = self.weight.moments(self.block_rows(), self.fan_in);
        let factor = self.factor * self.blocks.factors[block];
        let bias = self.bias.unwrap_or(Distribution::Constant(0.0));
        let [mean, spread] = bias.moments_of_block(block, self.fan_out, 1);
        let row = block * self.block_rows();
        let raised = self.raised.filter(|(first, count, _)| (*first..first + count).contains(&row));
        [factor * factor * variance, mean + raised.map_or(0.0, |(.., by)| by), spread]
    }

    /// Bytes of weights and biases, of the weights before a transform, and of what goes with them.
    pub fn bytes<F: Float>(&self) -> u128 {
        /// Bytes beside the numbers: how they are laid out, and what allocators add to three blocks.
        const BESIDE: u128 = 200;
        let matrices = if self.transform.is_some() { 2 } else { 1 };
        (Matrix::<F>::bytes(self.fan_out, self.fan_in + 1) + size_of::<Linear<F>>() as u128 + BESIDE) * matrices
    }

    /// Can a bias be other than zero?
    pub fn biased(&self) -> bool {
        self.bias.is_some_and(|bias| !bias.is_zero() || self.raised.is_some_and(|(.., by)| by != 0.0))
    }
}

/// Weights and biases of a linear map.
#[derive(Debug, Clone)]
pub struct Linear<F> {
    /// `(out_features, in_features)`, transformed where the net transforms weights.
    pub weight: Matrix<F>,
    /// `(out_features,)`; empty where there are none.
    pub bias: Vec<F>,
    /// The weights before they were transformed, and the way back of their gradient.
    pub transformed: Option<(Matrix<F>, transform::Back)>,
}

impl<F> Default for Linear<F> {
    fn default() -> Self {
        Self { weight: Matrix::default(), bias: Vec::new(), transformed: None }
    }
}

impl<F: Float> Linear<F> {
    /// Draw the numbers for a seed, keeping the allocations.
    pub fn draw(&mut self, plan: &LinearPlan, seed: u64, units: &mut UnitNormals<F>, cancel: &Cancel) -> Result<()> {
        cancel.check()?;
        let (rows, columns) = (plan.block_rows(), plan.fan_in);
        let (weights, biases) = plan.streams(seed);
        self.weight.fill(plan.fan_out, columns, |out| {
            for (index, block) in out.chunks_exact_mut(rows * columns).enumerate() {
                // A law may draw for every column, which begins at a multiple of four.
                let stream = weights.after(index * columns * rows.next_multiple_of(4));
                match plan.weight {
                    Distribution::Normal(mean, std) => units.scaled(stream, mean, std, block, cancel),
                    other => other.fill(stream, rows, columns, block, cancel),
                }?;
                let factor = plan.factor * plan.blocks.factors[index];
                if factor != 1.0 {
                    block.iter_mut().for_each(|w| *w *= F::of(factor));
                }
            }
            Ok(())
        })?;
        self.bias.resize(plan.bias.map_or(0, |_| plan.fan_out), F::ZERO);
        plan.bias.map_or(Ok(()), |bias| bias.fill(biases, plan.fan_out, 1, &mut self.bias, cancel))?;
        if let Some((first, count, by)) = plan.raised.filter(|_| plan.bias.is_some()) {
            self.bias[first..first + count].iter_mut().for_each(|b| *b += F::of(by));
        }
        self.transform(plan, cancel)
    }

    /// Take given weights or biases, in C order.
    pub fn set(&mut self, plan: &LinearPlan, which: Which, values: Vec<F>, cancel: &Cancel) -> Result<()> {
        match which {
            Which::Weight => {
                self.weight.fill(plan.fan_out, plan.fan_in, |out| out.copy_from_slice(&values));
                self.transform(plan, cancel)
            }
            Which::Bias => {
                self.bias = values;
                Ok(())
            }
        }
    }

    /// Send the weights through what the plan says.
    fn transform(&mut self, plan: &LinearPlan, cancel: &Cancel) -> Result<()> {
        self.transformed = match &plan.transform {
            None => None,
            Some(transform) => {
                let mut wide = self.weight.to_rows().into_iter().map(Float::wide).collect::<Vec<_>>();
                let back = transform.apply(&mut wide, plan.fan_in, cancel)?;
                let before = std::mem::take(&mut self.weight);
                let write = |out: &mut [F]| out.iter_mut().zip(&wide).for_each(|(out, w)| *out = F::of(*w));
                self.weight.fill(plan.fan_out, plan.fan_in, write);
                Some((before, back))
            }
        };
        Ok(())
    }

    /// The weights before a transform, to be changed; then [`Self::refresh`] is to be called.
    pub fn raw_mut(&mut self) -> &mut Matrix<F> {
        self.transformed.as_mut().map_or(&mut self.weight, |(before, _)| before)
    }

    /// The weights before a transform.
    pub fn raw(&self) -> &Matrix<F> {
        self.transformed.as_ref().map_or(&self.weight, |(before, _)| before)
    }

    /// Transform the weights anew after those before the transform have changed.
    pub fn refresh(&mut self, plan: &LinearPlan, cancel: &Cancel) -> Result<()> {
        match self.transformed.take() {
            None => Ok(()),
            Some((before, _)) => {
                self.weight = before;
                self.transform(plan, cancel)
            }
        }
    }

    /// The weights as a caller knows them, in C order.
    pub fn parameters(&self) -> Vec<F> {
        self.raw().to_rows()
    }

    /// From the gradient of the weights in use, in C order, to that of the parameters, in its place.
    pub fn gradient_of_parameters(&self, gradient: &mut [F]) {
        if let Some((_, back)) = &self.transformed {
            let wide = |values: &[F]| values.iter().map(|v| v.wide()).collect::<Vec<_>>();
            let mut all = wide(gradient);
            back.gradient(&wide(&self.weight.to_rows()), &mut all, self.weight.columns());
            gradient.iter_mut().zip(all).for_each(|(out, g)| *out = F::of(g));
        }
    }
}

/// Normals of mean 0 and variance 1, kept for nets that differ in scale, activation or skip alone, as long as there is
/// room.
#[derive(Debug)]
pub struct UnitNormals<F> {
    drawn: HashMap<Stream, Vec<F>>,
    room: usize,
}

impl<F> Default for UnitNormals<F> {
    fn default() -> Self {
        Self { drawn: HashMap::new(), room: 0 }
    }
}

impl<F: Float> UnitNormals<F> {
    /// Room for so many bytes. Beyond what the caches hold, drawing again is as fast as reading.
    pub fn with_room(bytes: usize) -> Self {
        Self { drawn: HashMap::new(), room: bytes / size_of::<F>() }
    }

    /// Normals of a stream with this mean and standard deviation.
    fn scaled(&mut self, stream: Stream, mean: f64, std: f64, out: &mut [F], cancel: &Cancel) -> Result<()> {
        if self.room == 0 && self.drawn.is_empty() {
            return Distribution::Normal(mean, std).fill(stream, out.len(), 1, out, cancel);
        }
        if let Some(kept) = self.drawn.get(&stream).filter(|kept| kept.len() >= out.len()) {
            // A longer draw begins with the shorter one.
            out.copy_from_slice(&kept[..out.len()]);
        } else {
            Distribution::Normal(0.0, 1.0).fill(stream, out.len(), 1, out, cancel)?;
            let shorter = self.drawn.get(&stream).map_or(0, Vec::len);
            if let Some(room) = (self.room + shorter).checked_sub(out.len()) {
                self.room = room;
                self.drawn.insert(stream, out.to_vec());
            }
        }
        rescale(out, mean, std);
        Ok(())
    }
}

impl Map {
    /// A map of what comes in, and of nothing else.
    pub fn of(own: usize, rescales: bool) -> Self {
        Self { own, fed: None, state: None, apart: false, rescales }
    }

    /// The input of the map, and that of a step, of what comes in, of what went around and of what the step is fed.
    fn inputs<T: Copy>(&self, x: T, around: Option<T>, step: Option<T>) -> (T, Option<T>) {
        match around.filter(|_| self.state.is_some()) {
            Some(state) => (state, Some(step.unwrap_or(x))),
            None => (x, step),
        }
    }

    /// `z` from the map's input and, where there is one, the step's own input.
    pub(super) fn forward<F: Float>(
        &self,
        here: &Here<'_, F>,
        x: &Scaled<F>,
        z: &mut Scaled<F>,
        scratch: &mut Scratch<F>,
    ) {
        let (own, step) = self.inputs(x, here.around, here.step.first());
        let linear = here.numbers[self.own].linear();
        linear.weight.forward(&own.panels, &linear.bias, &mut z.panels);
        z.exponent = own.exponent;
        if let (Some(fed), Some(step)) = (self.fed, step) {
            let Scratch { spare, halves: [both, ..], .. } = scratch;
            let fed = here.numbers[fed].linear();
            fed.weight.forward(&step.panels, &fed.bias, &mut spare.panels);
            if self.apart {
                both.stack(&spare.panels, &z.panels);
                std::mem::swap(both, &mut z.panels);
            } else {
                z.panels.combine(F::of(1.0), &spare.panels, F::of(1.0));
            }
        }
    }

    /// From `dL/dz` to the gradient of the map's input; `owner` names the owner of the parameters of an index.
    pub(super) fn backward<F: Float>(
        &self,
        back: &Back<'_, F>,
        x: (&Scaled<F>, usize),
        signal: &mut Signal<F>,
        owner: impl Fn(usize) -> Owner,
        collect: &mut impl Collect<F>,
    ) {
        let Signal { dh, delta, spare, half, streams, .. } = signal;
        std::mem::swap(dh, delta);
        if self.rescales {
            delta.rescale_and_flush();
        }
        let fed = back.step.first().map(|step| (step, usize::MAX));
        let ((own, value), step) = self.inputs(x, back.around, fed);
        if self.apart {
            let rows = delta.panels.features() / 2;
            spare.panels.take(&delta.panels, rows..2 * rows);
            spare.exponent = delta.exponent;
            half.take(&delta.panels, 0..rows);
            std::mem::swap(half, &mut delta.panels);
        }
        let of_own = if self.apart { &*spare } else { &*delta };
        collect.map(owner(self.own), of_own, own, Some(value));
        if let (Some(fed), Some((step, value))) = (self.fed, step) {
            collect.map(owner(fed), delta, step, Some(value).filter(|value| *value != usize::MAX));
        }
        if back.first && !collect.wants_input() {
            return;
        }
        back.numbers[self.own].linear().weight.backward(&of_own.panels, &mut dh.panels);
        dh.exponent = delta.exponent;
        let (Some(state), Some(fed)) = (self.state, self.fed) else { return };
        Signal::reach(streams, state, dh);
        if back.step.is_empty() {
            // What came in is the state of the layer below.
            back.numbers[fed].linear().weight.backward(&delta.panels, &mut dh.panels);
            dh.exponent = delta.exponent;
        } else {
            dh.clear(x.0.panels.features(), delta.panels.batch());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(weight: Distribution, fan_out: usize, blocks: Blocks) -> LinearPlan {
        LinearPlan {
            fan_in: 5,
            fan_out,
            weight,
            blocks,
            factor: 0.5,
            bias: Some(Distribution::Normal(0.0, 1.0)),
            raised: None,
            transform: None,
            calibrates: false,
            layer: 2,
            roles: (Role::Weight, Role::Bias),
        }
    }

    fn drawn(plan: &LinearPlan, room: usize) -> (Vec<f64>, Vec<f64>) {
        let mut linear = Linear::<f64>::default();
        linear.draw(plan, 7, &mut UnitNormals::with_room(room), &Cancel::default()).unwrap();
        (linear.weight.to_rows(), linear.bias)
    }

    #[test]
    fn every_block_of_rows_is_drawn_by_itself_times_its_factor() {
        let blocks = Blocks { factors: [1.0, 3.0, 0.25, f64::NAN], ..Blocks::of(&["a", "b", "c"]) };
        let (weight, _) = drawn(&plan(Distribution::Orthogonal(2.0), 12, blocks), 0);
        for (block, factor) in weight.chunks_exact(20).zip(blocks.factors) {
            for (i, j) in (0..16).map(|pair| (pair / 4, pair % 4)) {
                let product = (0..5).map(|k| block[5 * i + k] * block[5 * j + k]).sum::<f64>();
                let expected = if i == j { factor * factor } else { 0.0 };
                assert!((product - expected).abs() < 1e-14, "{i} {j} {product}");
            }
        }
        // The blocks differ.
        assert!((3.0 * weight[0] - weight[20]).abs() > 1e-3 && (weight[20] / 12.0 - weight[40]).abs() > 1e-3);
    }

    #[test]
    fn blocks_follow_each_other_in_one_stream_and_leave_biases_alone() {
        let law = Distribution::Normal(0.1, 0.3);
        let whole = drawn(&plan(law, 12, Blocks::ONE), 0);
        // Rows of a block that are a multiple of four leave no gap; kept normals are those that are drawn.
        assert_eq!(drawn(&plan(law, 12, Blocks::of(&["a", "b", "c"])), 0), whole);
        assert_eq!(drawn(&plan(law, 12, Blocks::of(&["a", "b", "c"])), 1 << 20), whole);
        let (ragged, bias) = drawn(&plan(law, 6, Blocks::of(&["a", "b"])), 0);
        let whole = drawn(&plan(law, 12, Blocks::ONE), 0);
        assert_eq!((&ragged[..15], &ragged[15..]), (&whole.0[..15], &whole.0[20..35]));
        assert_eq!(bias, whole.1[..6]);
        // A sparse block has its own zeros.
        let sparse = Distribution::Sparse { zeros: 2, std: 1.0 };
        let (weight, _) = drawn(&plan(sparse, 6, Blocks::of(&["a", "b"])), 0);
        for column in 0..10 {
            let entries = (0..3).map(|row| weight[15 * (column / 5) + 5 * row + column % 5]);
            assert_eq!(entries.filter(|&w| w == 0.0).count(), 2);
        }
    }

    #[test]
    fn moments_are_those_of_all_blocks_together() {
        let blocks = Blocks { factors: [1.0, 3.0, 0.0, 0.0], ..Blocks::of(&["a", "b"]) };
        let [mean, variance] = plan(Distribution::Normal(2.0, 1.0), 8, blocks).moments();
        // Normals of mean 1 and deviation 0.5, and of mean 3 and deviation 1.5.
        assert_eq!([mean, variance], [2.0, 0.5 * (0.25 + 2.25) + 1.0]);
        let one = plan(Distribution::Normal(2.0, 1.0), 8, Blocks::ONE);
        assert_eq!(one.moments(), [1.0, 0.25]);
    }
}
