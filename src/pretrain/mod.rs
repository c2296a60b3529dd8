//! Layers that are trained one by one, without targets: restricted Boltzmann machines (RBM) and denoising autoencoders.
//!
//! Both have one matrix that is used in both directions, `W` `(hidden, visible)`, and a bias on each side; both take
//! rows in batches, an epoch at a time, and step with momentum. A layer is learned in `f32` on one thread: a batch
//! waits for the one before it.

mod dae;
mod method;
mod rbm;
mod units;

pub use dae::Dae;
pub use method::{Method, Row};
pub use rbm::{Machine, Rbm, free_energies, gibbs, pseudo_likelihoods};

use crate::activation::Activation;
use crate::error::{Cancel, Result};
use crate::kernel::{Matrix, Panels, RowMajor};
use crate::rng::{Role, Stream};
use crate::simd::{self, Float, Set, Task};
use crate::train::Batches;

/// Rows that a pass without learning takes at once.
const AT_ONCE: usize = 512;

/// Numbers of a layer: the weights and the biases of both sides.
#[derive(Debug)]
pub struct Pair {
    /// `W`, `(hidden, visible)`.
    weight: RowMajor<f32>,
    /// `W^T`.
    turned: RowMajor<f32>,
    /// The biases of the visible units.
    visible: Vec<f32>,
    /// The biases of the hidden units.
    hidden: Vec<f32>,
}

impl Pair {
    /// A pair of given numbers; the weights row-major.
    pub fn new(weight: &[f32], visible: Vec<f32>, hidden: Vec<f32>) -> Self {
        let weight = RowMajor::of(hidden.len(), visible.len(), weight);
        let mut turned = RowMajor::default();
        turned.set_transpose(&weight);
        Self { weight, turned, visible, hidden }
    }

    /// The weights row-major, the biases of the visible units, and those of the hidden ones.
    pub fn numbers(&self) -> [Vec<f32>; 3] {
        [self.weight.to_rows(), self.visible.clone(), self.hidden.clone()]
    }

    /// The number of visible units.
    pub fn visible(&self) -> usize {
        self.visible.len()
    }

    /// `z = W v + c` of the hidden units, of the first rows.
    fn up(&self, visible: &RowMajor<f32>, rows: usize, z: &mut RowMajor<f32>) {
        z.product(visible, rows, &self.turned, &self.hidden);
    }

    /// `z = W^T h + b` of the visible units.
    fn down(&self, hidden: &RowMajor<f32>, z: &mut RowMajor<f32>) {
        z.product(hidden, hidden.rows(), &self.weight, &self.visible);
    }
}

/// How a layer takes its steps.
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    /// The learning rate.
    pub lr: f64,
    /// What weights are drawn to zero with: `decay * W` is taken off the direction of `W`, and off no bias's.
    pub decay: f64,
    /// Rows of a batch.
    pub batch: usize,
    /// The seed of the order of rows and of all samples.
    pub seed: u64,
    /// The layer of the net, whose streams are its own.
    pub layer: usize,
}

/// How a batch becomes a step: what the two sorts of layers differ in.
pub trait Learn {
    /// Put the direction of a step into `ascent`, on the first rows of a matrix that has twice as many.
    fn direction(
        &mut self,
        pair: &Pair,
        batch: &mut RowMajor<f32>,
        rows: usize,
        draws: &mut Draws,
        ascent: &mut Ascent,
    );
}

/// The direction of a step, of the sum over the batch.
#[derive(Debug, Default)]
pub struct Ascent {
    weight: RowMajor<f32>,
    visible: Vec<f32>,
    hidden: Vec<f32>,
}

/// The random numbers of a step, in the order in which they are asked for.
#[derive(Debug)]
pub struct Draws {
    stream: Stream,
    used: usize,
    uniforms: Vec<f32>,
}

impl Draws {
    fn new(seed: u64, layer: usize) -> Self {
        Self { stream: Stream::new(seed, layer, Role::Units), used: 0, uniforms: Vec::new() }
    }

    fn at(&mut self, step: usize) {
        (self.stream, self.used) = (self.stream.of_step(step), 0);
    }

    fn uniforms(&mut self, count: usize) -> &[f32] {
        self.uniforms.resize(count, 0.0);
        self.stream.after(self.used).uniform(0.0, 1.0, &mut self.uniforms);
        self.used += count.next_multiple_of(4);
        &self.uniforms
    }

    /// Units that are 1 with these probabilities, else 0.
    fn sample(&mut self, probabilities: &RowMajor<f32>, out: &mut RowMajor<f32>) {
        out.reshape(probabilities.rows(), probabilities.columns());
        let values = probabilities.values();
        units::below(self.uniforms(values.len()), values, out.values_mut());
    }

    /// The values, each set to 0 with a probability.
    fn corrupt(&mut self, share: f32, values: &[f32], out: &mut [f32]) {
        let pairs = self.uniforms(values.len()).iter().zip(values);
        for (out, (uniform, value)) in out.iter_mut().zip(pairs) {
            *out = if *uniform < share { 0.0 } else { *value };
        }
    }
}

/// `a = phi(z)`, with the slopes.
fn apply<F: Float>(phi: &Activation, z: &Panels<F>, a: &mut Panels<F>, slopes: &mut Panels<F>) {
    a.reshape(z.features(), z.batch());
    slopes.reshape(z.features(), z.batch());
    phi.apply(z.values(), a.values_mut(), slopes.values_mut());
}

/// A layer that learns.
#[derive(Debug)]
pub struct Learner<L> {
    /// Its numbers.
    pub pair: Pair,
    /// What it learns from, row-major.
    rows: Vec<f32>,
    learn: L,
    pace: Pace,
    batches: Batches,
    draws: Draws,
    ascent: Ascent,
    velocity: [Vec<f32>; 3],
    batch: RowMajor<f32>,
    step: usize,
}

impl<L: Learn> Learner<L> {
    /// A layer that has not moved yet.
    pub fn new(pair: Pair, rows: Vec<f32>, learn: L, pace: Pace) -> Self {
        let (visible, hidden) = (pair.visible.len(), pair.hidden.len());
        Self {
            batches: Batches::new(pace.seed, rows.len() / visible, pace.batch),
            draws: Draws::new(pace.seed, pace.layer),
            ascent: Ascent::default(),
            velocity: [pair.weight.values().len(), visible, hidden].map(|count| vec![0.0; count]),
            batch: RowMajor::default(),
            step: 0,
            pair,
            rows,
            learn,
            pace,
        }
    }

    /// Take every whole batch once.
    pub fn epoch(&mut self, momentum: f64, cancel: &Cancel) -> Result<()> {
        let visible = self.pair.visible.len();
        let total = self.rows.len() / visible;
        let count = self.pace.batch.min(total);
        self.batch.reshape(2 * count, visible);
        for _ in 0..total / count {
            cancel.check()?;
            self.step += 1;
            self.draws.at(self.step);
            for (row, chosen) in self.batches.rows(self.step).iter().enumerate() {
                self.batch.row_mut(row).copy_from_slice(&self.rows[chosen * visible..][..visible]);
            }
            self.learn.direction(&self.pair, &mut self.batch, count, &mut self.draws, &mut self.ascent);
            self.advance(momentum as f32, self.pace.lr as f32 / count as f32);
        }
        // A product that was given up leaves numbers that nobody is to see.
        cancel.check()
    }

    fn advance(&mut self, momentum: f32, rate: f32) {
        let Pair { weight, turned, visible, hidden } = &mut self.pair;
        let [of_weight, of_visible, of_hidden] = &mut self.velocity;
        let drag = (self.pace.lr * self.pace.decay) as f32;
        let Ascent { weight: to_weight, visible: to_visible, hidden: to_hidden } = &self.ascent;
        for (values, velocity, ascent, drag) in [
            (weight.values_mut(), of_weight, to_weight.values(), drag),
            (visible, of_visible, to_visible, 0.0),
            (hidden, of_hidden, to_hidden, 0.0),
        ] {
            simd::run(Advance { values, velocity, ascent, momentum, rate, drag });
        }
        turned.set_transpose(weight);
    }
}

/// `velocity = momentum velocity + rate ascent - drag value; value += velocity`.
struct Advance<'v> {
    values: &'v mut [f32],
    velocity: &'v mut [f32],
    ascent: &'v [f32],
    momentum: f32,
    rate: f32,
    drag: f32,
}

impl Task for Advance<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Set>(self) {
        let Self { values, velocity, ascent, momentum, rate, drag } = self;
        for ((value, velocity), ascent) in values.iter_mut().zip(velocity).zip(ascent) {
            *velocity = momentum * *velocity + rate * *ascent - drag * *value;
            *value += *velocity;
        }
    }
}

/// Work on rows in parts of [`AT_ONCE`], as panels; `work` is told where each begins.
fn in_parts<F: Float>(rows: &[F], columns: usize, mut work: impl FnMut(usize, &Panels<F>)) -> Result<()> {
    let mut part = Panels::default();
    for (index, chunk) in rows.chunks(AT_ONCE * columns).enumerate() {
        Cancel::heed()?;
        part.gather(columns, chunk.len() / columns, |sample| &chunk[sample * columns..][..columns]);
        work(index * AT_ONCE, &part);
    }
    Ok(())
}

/// `phi(W v + bias)` of rows of visible units, or `phi(W^T h + bias)` of rows of hidden ones; row-major.
pub fn half_pass<F: Float>(weight: &Matrix<F>, bias: &[F], rows: &[F], down: bool, phi: &Activation) -> Result<Vec<F>> {
    let columns = if down { weight.rows() } else { weight.columns() };
    let (mut z, mut a, mut slopes, mut all) = (Panels::default(), Panels::default(), Panels::default(), Vec::new());
    in_parts(rows, columns, |_, part| {
        if down {
            weight.backward(part, &mut z);
            z.shift(bias);
        } else {
            weight.forward(part, bias, &mut z);
        }
        apply(phi, &z, &mut a, &mut slopes);
        all.extend(a.to_rows());
    })?;
    Ok(all)
}
