//! The numbers of a net: drawn from its streams, or given.

use crate::error::{Cancel, Result};
use crate::init::{Distribution, rescale};
use crate::kernel::Matrix;
use crate::plan::{Map, Plan};
use crate::rng::Stream;
use crate::simd::Float;
use crate::threads::share;
use std::collections::HashMap;
use std::ops::Range;
use std::sync::{Mutex, PoisonError};

/// Weights and biases of one linear map.
#[derive(Debug, Clone)]
pub struct Linear<F> {
    /// `(out_features, in_features)`.
    pub weight: Matrix<F>,
    /// `(out_features,)`.
    pub bias: Vec<F>,
}

impl<F> Default for Linear<F> {
    fn default() -> Self {
        Self { weight: Matrix::default(), bias: Vec::new() }
    }
}

impl<F: Float> Linear<F> {
    /// Draw the numbers of a map for a seed, keeping the allocations.
    pub fn draw(&mut self, map: &Map, seed: u64, units: &mut Units<F>, cancel: &Cancel) -> Result<()> {
        let (rows, columns) = (map.fan_out, map.fan_in);
        let (weights, biases) = map.streams(seed);
        self.weight.fill(rows, columns, |out| match map.weight {
            Distribution::Normal(mean, std) => units.scaled(weights, mean, std, out, cancel),
            other => other.fill(weights, rows, columns, out, cancel),
        })?;
        self.bias.resize(rows, F::ZERO);
        map.bias.fill(biases, rows, 1, &mut self.bias, cancel)
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

/// Linear maps of a net that follow each other: all of them, the readout last, or some layers of a deep one.
#[derive(Debug, Clone)]
pub struct Weights<F> {
    /// The maps.
    pub maps: Vec<Linear<F>>,
    /// Index of the first.
    first: usize,
    /// Every bias of the net is zero.
    pub unbiased: bool,
}

impl<F> Default for Weights<F> {
    fn default() -> Self {
        Self { maps: Vec::new(), first: 0, unbiased: true }
    }
}

impl<F: Float> Weights<F> {
    /// Draw some maps of a net for a seed, keeping the allocations.
    pub fn draw(
        &mut self,
        plan: &Plan,
        which: Range<usize>,
        seed: u64,
        units: &mut Units<F>,
        cancel: &Cancel,
    ) -> Result<()> {
        for (linear, map) in self.reshape(plan, which) {
            cancel.check()?;
            linear.draw(map, seed, units, cancel)?;
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
        let entries =
            plan.maps().skip(which.start).take(which.len()).map(|map| map.fan_in * map.fan_out).sum::<usize>();
        let threads = if entries < WORTH_A_THREAD { 1 } else { threads };
        let maps = Mutex::new(self.reshape(plan, which));
        let failure = Mutex::new(None);
        let work = || {
            let next = || maps.lock().unwrap_or_else(PoisonError::into_inner).next();
            while let Some((linear, map)) = next() {
                let drawn = cancel.check().and_then(|()| linear.draw(map, seed, &mut Units::with_room(0), cancel));
                if let Err(error) = drawn {
                    *failure.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
                    return;
                }
            }
        };
        share(threads, work, work);
        failure.into_inner().unwrap_or_else(PoisonError::into_inner).map_or(Ok(()), Err)
    }

    /// Take the shape of some maps of a net; gives them side by side with what they are to be.
    fn reshape<'w, 'p>(
        &'w mut self,
        plan: &'p Plan,
        which: Range<usize>,
    ) -> impl Iterator<Item = (&'w mut Linear<F>, &'p Map)> {
        self.first = which.start;
        self.unbiased = plan.unbiased;
        self.maps.resize_with(which.len().max(self.maps.len()), Linear::default);
        self.maps.iter_mut().zip(plan.maps().skip(which.start).take(which.len()))
    }

    /// A whole net's numbers for a seed.
    pub fn drawn(plan: &Plan, seed: u64, threads: usize, cancel: &Cancel) -> Result<Self> {
        let mut weights = Self::default();
        weights.draw_on(threads, plan, 0..plan.maps().count(), seed, cancel)?;
        Ok(weights)
    }

    /// Take given numbers: (weights in C order, biases) of each map, of the plan's shapes.
    pub fn given(plan: &Plan, tensors: Vec<(Vec<F>, Vec<F>)>) -> Self {
        let unbiased = tensors.iter().all(|(_, bias)| bias.iter().all(|b| *b == F::ZERO));
        let linear = |(map, (entries, bias)): (&Map, (Vec<F>, Vec<F>))| {
            let mut weight = Matrix::default();
            weight.fill(map.fan_out, map.fan_in, |out| out.copy_from_slice(&entries));
            Linear { weight, bias }
        };
        Self { maps: plan.maps().zip(tensors).map(linear).collect(), first: 0, unbiased }
    }

    /// A map by its index in the net.
    pub fn map(&self, index: usize) -> &Linear<F> {
        &self.maps[index - self.first]
    }
}
