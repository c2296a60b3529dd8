//! The numbers of a net: drawn from its streams, or given.

use crate::error::{Cancel, Result};
use crate::init::{Distribution, rescale};
use crate::kernel::Matrix;
use crate::norm::Affine;
use crate::plan::{Key, Map, Parameters, Plan, Which};
use crate::rng::Stream;
use crate::simd::Float;
use crate::threads::share;
use crate::transform::Back;
use std::collections::HashMap;
use std::ops::Range;
use std::sync::{Mutex, PoisonError};

/// Weights and biases of one linear map.
#[derive(Debug, Clone)]
pub struct Linear<F> {
    /// `(out_features, in_features)`, transformed where the net transforms weights.
    pub weight: Matrix<F>,
    /// `(out_features,)`; empty where there are none.
    pub bias: Vec<F>,
    /// The weights before they were transformed, and the way back of their gradient.
    pub transformed: Option<(Matrix<F>, Back)>,
}

impl<F> Default for Linear<F> {
    fn default() -> Self {
        Self { weight: Matrix::default(), bias: Vec::new(), transformed: None }
    }
}

impl<F: Float> Linear<F> {
    /// Draw the numbers of a map for a seed, keeping the allocations.
    pub fn draw(&mut self, map: &Map, seed: u64, units: &mut Units<F>, cancel: &Cancel) -> Result<()> {
        let (rows, columns) = (map.fan_out, map.fan_in);
        let (weights, biases) = map.streams(seed);
        self.weight.fill(rows, columns, |out| {
            match map.weight {
                Distribution::Normal(mean, std) => units.scaled(weights, mean, std, out, cancel),
                other => other.fill(weights, rows, columns, out, cancel),
            }?;
            if map.factor != 1.0 {
                out.iter_mut().for_each(|w| *w *= F::of(map.factor));
            }
            Ok(())
        })?;
        self.bias.resize(map.bias.map_or(0, |_| rows), F::ZERO);
        map.bias.map_or(Ok(()), |bias| bias.fill(biases, rows, 1, &mut self.bias, cancel))?;
        self.transform(map, cancel)
    }

    /// Send the weights through what the map says.
    fn transform(&mut self, map: &Map, cancel: &Cancel) -> Result<()> {
        self.transformed = match &map.transform {
            None => None,
            Some(transform) => {
                let mut wide = self.weight.to_rows().into_iter().map(Float::wide).collect::<Vec<_>>();
                let back = transform.apply(&mut wide, map.fan_in, cancel)?;
                let before = std::mem::take(&mut self.weight);
                let write = |out: &mut [F]| out.iter_mut().zip(&wide).for_each(|(out, w)| *out = F::of(*w));
                self.weight.fill(map.fan_out, map.fan_in, write);
                Some((before, back))
            }
        };
        Ok(())
    }

    /// The weights as a caller knows them, in C order.
    pub fn parameters(&self) -> Vec<F> {
        self.transformed.as_ref().map_or(&self.weight, |(before, _)| before).to_rows()
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

/// The numbers of a layer, or of all layers of a tied net.
#[derive(Debug, Clone)]
pub struct Numbers<F> {
    /// The linear map.
    pub map: Linear<F>,
    /// Weight and bias of the normalisation, empty where they are 1 and 0.
    pub affine: Affine<F>,
    /// The learned slope of the activation.
    pub slope: f64,
    /// The learned factor of the branch.
    pub alpha: f64,
    /// The map of the gate.
    pub gate: Linear<F>,
}

impl<F> Default for Numbers<F> {
    fn default() -> Self {
        Self { map: Linear::default(), affine: Affine::default(), slope: 0.0, alpha: 0.0, gate: Linear::default() }
    }
}

impl<F: Float> Numbers<F> {
    fn draw(&mut self, plan: &Parameters, seed: u64, units: &mut Units<F>, cancel: &Cancel) -> Result<()> {
        cancel.check()?;
        self.map.draw(&plan.map, seed, units, cancel)?;
        self.affine = Affine::default();
        self.slope = plan.slope.unwrap_or_default();
        self.alpha = plan.alpha.unwrap_or_default();
        plan.gate.as_ref().map_or(Ok(()), |gate| self.gate.draw(gate, seed, units, cancel))
    }
}

/// Unit normals kept for nets that differ in scale, activation or skip alone, as long as there is room.
#[derive(Debug)]
pub struct Units<F> {
    drawn: HashMap<Stream, Vec<F>>,
    room: usize,
}

impl<F: Float> Units<F> {
    /// For so many bytes. Beyond what the caches hold, drawing again is as fast as reading.
    pub fn with_room(bytes: usize) -> Self {
        Self { drawn: HashMap::new(), room: bytes / size_of::<F>() }
    }

    /// Normals of a stream with this mean and standard deviation.
    fn scaled(&mut self, stream: Stream, mean: f64, std: f64, out: &mut [F], cancel: &Cancel) -> Result<()> {
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

/// The numbers of a net, or of some layers of a deep one that follow each other.
#[derive(Debug, Clone)]
pub struct Weights<F> {
    layers: Vec<Numbers<F>>,
    /// Index of the first of these layers.
    first: usize,
    /// Do all layers share the first one's numbers?
    tied: bool,
    /// The map of every step's input.
    pub feed: Linear<F>,
    /// The readout.
    pub readout: Linear<F>,
    /// Every bias of the net is zero.
    pub unbiased: bool,
}

impl<F> Default for Weights<F> {
    fn default() -> Self {
        Self {
            layers: Vec::new(),
            first: 0,
            tied: false,
            feed: Linear::default(),
            readout: Linear::default(),
            unbiased: true,
        }
    }
}

impl<F: Float> Weights<F> {
    /// Draw some layers of a net for a seed, keeping the allocations.
    pub fn draw(
        &mut self,
        plan: &Plan,
        which: Range<usize>,
        seed: u64,
        units: &mut Units<F>,
        cancel: &Cancel,
    ) -> Result<()> {
        self.draw_feed(plan, seed, cancel)?;
        for (numbers, parameters) in self.reshape(plan, which) {
            numbers.draw(parameters, seed, units, cancel)?;
        }
        Ok(())
    }

    /// The same, layers shared out to some threads.
    pub fn draw_on(
        &mut self,
        threads: usize,
        plan: &Plan,
        which: Range<usize>,
        seed: u64,
        cancel: &Cancel,
    ) -> Result<()> {
        /// Entries that take longer to draw than a thread to start.
        const WORTH_A_THREAD: usize = 300_000;
        self.draw_feed(plan, seed, cancel)?;
        let of_layer = |layer: &Parameters| layer.map.fan_in * layer.map.fan_out;
        let entries = plan.parameters.iter().skip(which.start).take(which.len()).map(of_layer).sum::<usize>();
        let threads = if entries < WORTH_A_THREAD { 1 } else { threads };
        let layers = Mutex::new(self.reshape(plan, which));
        let failure = Mutex::new(None);
        let work = || {
            let next = || layers.lock().unwrap_or_else(PoisonError::into_inner).next();
            while let Some((numbers, parameters)) = next() {
                if let Err(error) = numbers.draw(parameters, seed, &mut Units::with_room(0), cancel) {
                    *failure.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
                    return;
                }
            }
        };
        share(threads, work, work);
        failure.into_inner().unwrap_or_else(PoisonError::into_inner).map_or(Ok(()), Err)
    }

    fn draw_feed(&mut self, plan: &Plan, seed: u64, cancel: &Cancel) -> Result<()> {
        plan.feed.as_ref().map_or(Ok(()), |feed| self.feed.draw(feed, seed, &mut Units::with_room(0), cancel))
    }

    /// Take the shape of some layers of a net; gives them side by side with what they are to be.
    fn reshape<'w, 'p>(
        &'w mut self,
        plan: &'p Plan,
        which: Range<usize>,
    ) -> impl Iterator<Item = (&'w mut Numbers<F>, &'p Parameters)> {
        self.tied = plan.tied();
        let which = if self.tied { 0..1 } else { which };
        self.first = which.start;
        self.unbiased = plan.unbiased;
        self.layers.resize_with(which.len().max(self.layers.len()), Numbers::default);
        self.layers.iter_mut().zip(&plan.parameters[which])
    }

    /// A whole net's numbers for a seed.
    pub fn drawn(plan: &Plan, seed: u64, threads: usize, cancel: &Cancel) -> Result<Self> {
        let mut weights = Self::default();
        weights.draw_on(threads, plan, 0..plan.depth(), seed, cancel)?;
        if let Some(readout) = &plan.readout {
            weights.readout.draw(readout, seed, &mut Units::with_room(0), cancel)?;
        }
        Ok(weights)
    }

    /// Take given numbers: every tensor of the plan in C order, in its order and of its shape.
    pub fn given(plan: &Plan, tensors: Vec<Vec<F>>, cancel: &Cancel) -> Result<Self> {
        let mut weights = Self { tied: plan.tied(), ..Self::default() };
        weights.layers.resize_with(plan.parameters.len(), Numbers::default);
        for ((key, _, _), values) in plan.tensors().into_iter().zip(tensors) {
            match key {
                Key::Weight(which) => {
                    let map = plan.map(which).copied();
                    let linear = weights.linear_mut(which);
                    if let Some(map) = map {
                        linear.weight.fill(map.fan_out, map.fan_in, |out| out.copy_from_slice(&values));
                        linear.transform(&map, cancel)?;
                    }
                }
                Key::Bias(which) => {
                    let gates = matches!(which, Which::Gate(_));
                    weights.unbiased &= gates || values.iter().all(|b| *b == F::ZERO);
                    weights.linear_mut(which).bias = values;
                }
                Key::NormWeight(layer) => weights.layers[layer].affine.weight = values,
                Key::NormBias(layer) => weights.layers[layer].affine.bias = values,
                Key::Slope(layer) => weights.layers[layer].slope = values[0].wide(),
                Key::Alpha(layer) => weights.layers[layer].alpha = values[0].wide(),
            }
        }
        Ok(weights)
    }

    /// Every tensor of the plan, in its order.
    pub fn tensors(&self, plan: &Plan) -> Vec<Vec<F>> {
        let affine = |layer: usize, values: &[F], identity: f64| match plan.parameters[layer].normed {
            Some(features) if values.is_empty() => vec![F::of(identity); features],
            _ => values.to_vec(),
        };
        let tensor = |key: Key| match key {
            Key::Weight(which) => self.linear(which).parameters(),
            Key::Bias(which) => self.linear(which).bias.clone(),
            Key::NormWeight(layer) => affine(layer, &self.layers[layer].affine.weight, 1.0),
            Key::NormBias(layer) => affine(layer, &self.layers[layer].affine.bias, 0.0),
            Key::Slope(layer) => vec![F::of(self.layers[layer].slope)],
            Key::Alpha(layer) => vec![F::of(self.layers[layer].alpha)],
        };
        plan.tensors().into_iter().map(|(key, _, _)| tensor(key)).collect()
    }

    /// Multiply the weights of a layer.
    pub fn scale(&mut self, layer: usize, factor: f64) {
        self.linear_mut(Which::Hidden(layer)).weight.scale(F::of(factor));
    }

    /// The numbers of a layer.
    pub fn layer(&self, index: usize) -> &Numbers<F> {
        &self.layers[if self.tied { 0 } else { index - self.first }]
    }

    /// A linear map.
    pub fn linear(&self, which: Which) -> &Linear<F> {
        match which {
            Which::Hidden(layer) => &self.layer(layer).map,
            Which::Gate(layer) => &self.layer(layer).gate,
            Which::Input(_) => &self.feed,
            Which::Readout => &self.readout,
        }
    }

    fn linear_mut(&mut self, which: Which) -> &mut Linear<F> {
        match which {
            Which::Hidden(layer) => &mut self.layers[layer].map,
            Which::Gate(layer) => &mut self.layers[layer].gate,
            Which::Input(_) => &mut self.feed,
            Which::Readout => &mut self.readout,
        }
    }
}
