//! `z = W x + b`, and `W x + b + U x_t` where every step gets an input of its own.

use super::{Back, Collect, Here, Owner, Signal, Watch, Which};
use crate::error::{Cancel, Result};
use crate::init::{Distribution, rescale};
use crate::kernel::{Matrix, Scaled, outer};
use crate::rng::{Role, Stream};
use crate::simd::Float;
use crate::transform::{self, Transform};
use std::collections::HashMap;
use std::f64::consts::LOG10_2;

/// A linear map of a layer.
#[derive(Debug, Clone, Copy)]
pub struct Map {
    /// Index of the map's weights and biases among the parameters of the layer's slot.
    pub own: usize,
    /// Index of the weights for the step's own input, if every step gets one.
    pub fed: Option<usize>,
    /// Must `dL/dz` be brought near 1 here? An activation or a normalisation behind the map has done so already, and
    /// the cotangent of a readout begins so.
    pub rescales: bool,
    /// Names of blocks of its rows that a probe sees each by itself; none where it sees the whole alone.
    pub blocks: &'static [&'static str],
}

/// Weights and biases of a linear map before they are drawn.
#[derive(Debug, Clone, Copy)]
pub struct LinearPlan {
    /// Columns of the weights.
    pub fan_in: usize,
    /// Rows of the weights.
    pub fan_out: usize,
    /// Distribution of the weights.
    pub weight: Distribution,
    /// A factor of what is drawn.
    pub factor: f64,
    /// Distribution of the biases; none where there are no biases.
    pub bias: Option<Distribution>,
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

    /// Bytes of weights and biases, of the weights before a transform, and of what goes with them.
    pub fn bytes<F: Float>(&self) -> u128 {
        /// Bytes beside the numbers: how they are laid out, and what allocators add to three blocks.
        const BESIDE: u128 = 200;
        let matrices = if self.transform.is_some() { 2 } else { 1 };
        (Matrix::<F>::bytes(self.fan_out, self.fan_in + 1) + size_of::<Linear<F>>() as u128 + BESIDE) * matrices
    }

    /// Can a bias be other than zero?
    pub fn biased(&self) -> bool {
        self.bias.is_some_and(|bias| !bias.is_zero())
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
        let (rows, columns) = (plan.fan_out, plan.fan_in);
        let (weights, biases) = plan.streams(seed);
        self.weight.fill(rows, columns, |out| {
            match plan.weight {
                Distribution::Normal(mean, std) => units.scaled(weights, mean, std, out, cancel),
                other => other.fill(weights, rows, columns, out, cancel),
            }?;
            if plan.factor != 1.0 {
                out.iter_mut().for_each(|w| *w *= F::of(plan.factor));
            }
            Ok(())
        })?;
        self.bias.resize(plan.bias.map_or(0, |_| rows), F::ZERO);
        plan.bias.map_or(Ok(()), |bias| bias.fill(biases, rows, 1, &mut self.bias, cancel))?;
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
    /// `z` from the map's input and, where there is one, the step's own input.
    pub(super) fn forward<F: Float>(
        &self,
        here: &Here<'_, F>,
        x: &Scaled<F>,
        z: &mut Scaled<F>,
        spare: &mut Scaled<F>,
        watch: &mut impl Watch<F>,
    ) {
        let linear = here.numbers[self.own].linear();
        linear.weight.forward(&x.panels, &linear.bias, &mut z.panels);
        z.exponent = x.exponent;
        if let (Some(fed), Some(step)) = (self.fed, here.step.first()) {
            here.numbers[fed].linear().weight.forward(&step.panels, &[], &mut spare.panels);
            z.panels.combine(F::of(1.0), &spare.panels, F::of(1.0));
        }
        if watch.notes() {
            self.each_block(z, |block, z| watch.note(here.row, &format!("log10_z_rms_{block}"), z.log10_rms()));
        }
    }

    /// The columns of the blocks.
    pub(super) fn extra(&self) -> Vec<String> {
        let names = ["log10_z_rms", "log10_delta_rms", "log10_wgrad_norm"];
        let of_block = |block: &&str| names.map(|name| format!("{name}_{block}"));
        self.blocks.iter().flat_map(of_block).collect()
    }

    /// The features of each block of rows of a batch that comes out.
    fn each_block<F: Float>(&self, z: &Scaled<F>, mut see: impl FnMut(&str, &Scaled<F>)) {
        let mut part = Scaled { exponent: z.exponent, ..Scaled::default() };
        let size = z.panels.features() / self.blocks.len().max(1);
        for (index, block) in self.blocks.iter().enumerate() {
            part.panels.take(&z.panels, index * size..(index + 1) * size);
            see(block, &part);
        }
    }

    /// From `dL/dz` to the gradient of the map's input; `owner` names the owner of the parameters of an index.
    pub(super) fn backward<F: Float>(
        &self,
        back: &Back<'_, F>,
        (x, value): (&Scaled<F>, usize),
        signal: &mut Signal<F>,
        owner: impl Fn(usize) -> Owner,
        collect: &mut impl Collect<F>,
    ) {
        let Signal { dh, delta, .. } = signal;
        std::mem::swap(dh, delta);
        if self.rescales {
            delta.rescale_and_flush();
        }
        collect.map(owner(self.own), delta, x, Some(value));
        if collect.notes() && !self.blocks.is_empty() {
            let (mut near, mut gradient, mut scratch) = (Scaled::default(), Matrix::default(), Matrix::default());
            let x = x.near_one(&mut near);
            self.each_block(delta, |block, delta| {
                collect.note(back.row, &format!("log10_delta_rms_{block}"), delta.log10_rms());
                outer(&delta.panels, &x.panels, &mut gradient, &mut scratch);
                let norm = 0.5 * libm::log10(gradient.sum_of_squares(1.0));
                let exponent = (delta.exponent + x.exponent) as f64 * LOG10_2;
                collect.note(back.row, &format!("log10_wgrad_norm_{block}"), norm + exponent);
            });
        }
        if let (Some(fed), Some(step)) = (self.fed, back.step.first()) {
            collect.map(owner(fed), delta, step, None);
        }
        if back.first && !collect.wants_input() {
            return;
        }
        back.numbers[self.own].linear().weight.backward(&delta.panels, &mut dh.panels);
        dh.exponent = delta.exponent;
    }
}
