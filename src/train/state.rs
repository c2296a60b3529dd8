//! All that a run goes on from, and its bytes: what replay and resume are made of.

use super::layout::Layout;
use super::update::Moments;
use crate::error::{Cancel, Error, Result};
use crate::part::Part;
use crate::plan::Plan;
use crate::schedule::Plateau;
use crate::simd::Float;
use crate::weights::Weights;

/// Mean and unbiased variance of each feature over batches, of one batch norm: torch's running statistics.
#[derive(Debug, Clone, PartialEq)]
pub struct Running {
    /// The slot of the norm's parameters, and which of them.
    pub place: (usize, usize),
    /// The number that is added to a variance.
    pub eps: f64,
    /// The means.
    pub mean: Vec<f64>,
    /// The variances.
    pub variance: Vec<f64>,
}

impl Running {
    /// torch's momentum.
    const MOMENTUM: f64 = 0.1;

    /// Those of all batch norms of a net, before the first batch.
    pub fn all(plan: &Plan) -> Vec<Self> {
        let mut all: Vec<Self> = Vec::new();
        for layer in &plan.layers {
            for placed in &layer.parts {
                if let Part::Norm(part) = placed.part
                    && part.norm.needs_samples()
                    && !all.iter().any(|running| running.place == (layer.slot, part.affine))
                {
                    let count = placed.features.1;
                    let (mean, variance) = (vec![0.0; count], vec![1.0; count]);
                    all.push(Self { place: (layer.slot, part.affine), eps: part.norm.eps(), mean, variance });
                }
            }
        }
        all
    }

    /// Take in a batch's means and `1 / sqrt(var + eps)`: with torch's momentum, or in place of what was there.
    pub fn take(&mut self, [mean, inverse]: [&[f64]; 2], batch: usize, anew: bool) {
        let unbiased = batch as f64 / (batch as f64 - 1.0);
        let share = if anew { 1.0 } else { Self::MOMENTUM };
        let blend = |old: &mut f64, new: f64| *old += share * (new - *old);
        self.mean.iter_mut().zip(mean).for_each(|(old, new)| blend(old, *new));
        for (old, inverse) in self.variance.iter_mut().zip(inverse) {
            let variance = if *inverse > 0.0 { (1.0 / (inverse * inverse) - self.eps).max(0.0) } else { 0.0 };
            blend(old, variance * unbiased);
        }
    }

    /// Use these in place of a batch's own, or no longer.
    pub fn fix<F: Float>(&self, plan: &Plan, weights: &mut Weights<F>, on: bool) {
        let affine = weights.slot_mut(plan, self.place.0)[self.place.1].affine_mut();
        let inverse = |variance: &f64| 1.0 / (variance + self.eps).sqrt();
        affine.fixed = on.then(|| [self.mean.clone(), self.variance.iter().map(inverse).collect()]);
    }
}

/// Readings of the loss: what early stopping and a plateau look at.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Readings {
    /// The best so far, and the step behind which it was taken.
    pub best: (f64, usize),
    /// Readings since that were no better.
    pub bad: usize,
    /// The sum of the losses since the last reading, and their number.
    pub sum: (f64, usize),
}

impl Default for Readings {
    fn default() -> Self {
        Self { best: (f64::INFINITY, 0), bad: 0, sum: (0.0, 0) }
    }
}

/// A run between two steps.
#[derive(Debug, Clone)]
pub struct State<F> {
    /// The next step, from 1 on.
    pub step: usize,
    /// Steps that were not skipped.
    pub taken: usize,
    /// The weights and biases, and all else that is learned.
    pub weights: Weights<F>,
    /// What the optimiser remembers of each tensor.
    pub moments: Vec<Moments<F>>,
    /// The running statistics of each batch norm.
    pub running: Vec<Running>,
    /// What was read of the loss.
    pub readings: Readings,
    /// What a plateau schedule has come to.
    pub plateau: Plateau,
    /// Was each unit of each row dead at the last record that looked? Nothing before the first.
    pub dead: Vec<Vec<bool>>,
}

/// Little-endian numbers, one after the other.
#[derive(Default)]
struct Writer(Vec<u8>);

impl Writer {
    fn whole(&mut self, value: usize) {
        self.0.extend((value as u64).to_le_bytes());
    }

    fn number(&mut self, value: f64) {
        self.0.extend(value.to_le_bytes());
    }

    fn entries<F: Float>(&mut self, values: &[F]) {
        for value in values {
            if F::WIDE {
                self.0.extend(value.wide().to_le_bytes());
            } else {
                self.0.extend((value.wide() as f32).to_le_bytes());
            }
        }
    }
}

struct Reader<'b>(&'b [u8]);

impl Reader<'_> {
    fn bytes<const N: usize>(&mut self) -> Result<[u8; N]> {
        let cut = || Error::Value("the state of this run is damaged or was cut short".to_owned());
        let (first, rest) = self.0.split_first_chunk::<N>().ok_or_else(cut)?;
        self.0 = rest;
        Ok(*first)
    }

    fn whole(&mut self) -> Result<usize> {
        self.bytes().map(|bytes| u64::from_le_bytes(bytes) as usize)
    }

    fn number(&mut self) -> Result<f64> {
        self.bytes().map(f64::from_le_bytes)
    }

    fn flags(&mut self) -> Result<Vec<bool>> {
        let count = self.whole()?;
        let cut = || Error::Value("the state of this run is damaged or was cut short".to_owned());
        let (flags, rest) = self.0.split_at_checked(count).ok_or_else(cut)?;
        self.0 = rest;
        Ok(flags.iter().map(|flag| *flag != 0).collect())
    }

    fn entries<F: Float>(&mut self, count: usize) -> Result<Vec<F>> {
        let one = |reader: &mut Self| {
            Ok(if F::WIDE { F::of(reader.number()?) } else { F::of(f64::from(f32::from_le_bytes(reader.bytes()?))) })
        };
        // Not more than there can be: a damaged count allocates nothing.
        if count > self.0.len() {
            return Err(Error::Value("the state of this run is damaged or was cut short".to_owned()));
        }
        (0..count).map(|_| one(self)).collect()
    }
}

/// What a state begins with.
const MAGIC: [u8; 8] = *b"1niartgv";

impl<F: Float> State<F> {
    /// The bytes of a state.
    pub fn to_bytes(&self, plan: &Plan, cancel: &Cancel) -> Result<Vec<u8>> {
        let mut out = Writer::default();
        out.0.extend(MAGIC);
        [usize::from(F::WIDE), self.step, self.taken].into_iter().for_each(|value| out.whole(value));
        let Readings { best, bad, sum } = self.readings;
        [best.1, bad, sum.1].into_iter().for_each(|value| out.whole(value));
        let Plateau { lr, best: least, bad, cooling } = self.plateau;
        [best.0, sum.0, lr, least, bad, cooling].into_iter().for_each(|value| out.number(value));
        for values in self.weights.tensors(plan, cancel)? {
            out.entries(&values);
        }
        for moments in &self.moments {
            out.whole(moments.values.len());
            out.number(moments.exponent.map_or(f64::NAN, |exponent| exponent as f64));
            moments.values.iter().for_each(|values| out.entries(values));
        }
        for running in &self.running {
            out.entries(&running.mean);
            out.entries(&running.variance);
        }
        out.whole(self.dead.len());
        for row in &self.dead {
            out.whole(row.len());
            out.0.extend(row.iter().map(|dead| u8::from(*dead)));
        }
        Ok(out.0)
    }

    /// The state of bytes, for a net of this plan.
    pub fn of_bytes(bytes: &[u8], plan: &Plan, layout: &Layout, cancel: &Cancel) -> Result<Self> {
        let mut read = Reader(bytes);
        let other = || Error::Value("the state must be that of a run of this net in this dtype".to_owned());
        if read.bytes()? != MAGIC || read.whole()? != usize::from(F::WIDE) {
            return Err(other());
        }
        let (step, taken) = (read.whole()?, read.whole()?);
        let [best, bad, sum] = [read.whole()?, read.whole()?, read.whole()?];
        let readings = Readings { best: (read.number()?, best), bad, sum: (read.number()?, sum) };
        let plateau =
            Plateau { lr: read.number()?, best: read.number()?, bad: read.number()?, cooling: read.number()? };
        let tensors = layout.counts.iter().map(|&count| read.entries(count)).collect::<Result<Vec<Vec<F>>>>()?;
        let weights = Weights::given(plan, tensors, cancel)?;
        let moments = |&count: &usize| {
            let arrays = read.whole()?;
            let exponent = Some(read.number()?).filter(|exponent| !exponent.is_nan()).map(|exponent| exponent as i64);
            let values = (0..arrays.min(4)).map(|_| read.entries(count)).collect::<Result<_>>()?;
            Ok(Moments { values, exponent })
        };
        let moments = layout.counts.iter().map(moments).collect::<Result<Vec<_>>>()?;
        let mut running = Running::all(plan);
        for norm in &mut running {
            norm.mean = read.entries(norm.mean.len())?;
            norm.variance = read.entries(norm.variance.len())?;
        }
        let rows = read.whole()?;
        let dead = (0..rows.min(read.0.len())).map(|_| read.flags()).collect::<Result<_>>()?;
        if !read.0.is_empty() {
            return Err(other());
        }
        Ok(Self { step, taken, weights, moments, running, readings, plateau, dead })
    }
}
