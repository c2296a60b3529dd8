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
pub use rbm::{Rbm, free_energies, gibbs, pseudo_likelihoods};

use crate::activation::Activation;
use crate::error::{Cancel, Result};
use crate::kernel::{Along, Matrix, Panels, Term, outer_rows};
use crate::rng::{Role, Stream};
use crate::simd::{self, Float, Set, Task};
use crate::train::Batches;

/// Rows that a pass without learning takes at once.
const AT_ONCE: usize = 512;

/// Numbers of a layer: the weights and the biases of both sides.
#[derive(Debug, Clone)]
pub struct Pair<F> {
    /// `W`, `(hidden, visible)`.
    pub weight: Matrix<F>,
    /// The biases of the visible units.
    pub visible: Vec<F>,
    /// The biases of the hidden units.
    pub hidden: Vec<F>,
}

impl<F: Float> Pair<F> {
    /// A pair of given numbers; the weights row-major.
    pub fn new(weight: &[F], visible: Vec<F>, hidden: Vec<F>) -> Self {
        let mut matrix = Matrix::default();
        matrix.fill(hidden.len(), visible.len(), |to| to.copy_from_slice(weight));
        Self { weight: matrix, visible, hidden }
    }

    /// `z = W v + c` of the hidden units.
    fn up(&self, visible: &Panels<F>, z: &mut Panels<F>) {
        self.weight.forward(visible, &self.hidden, z);
    }

    /// `z = W^T h + b` of the visible units.
    fn down(&self, hidden: &Panels<F>, z: &mut Panels<F>) {
        self.weight.backward(hidden, z);
        z.shift(&self.visible);
    }
}

/// How a layer takes its steps.
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    /// The learning rate.
    pub lr: f64,
    /// What weights are drawn to zero with: `decay * W` is added to the gradient of `W`, and to no bias's.
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
    /// Put the direction of a step on these rows into `ascent`.
    fn direction(&mut self, pair: &Pair<f32>, rows: &Panels<f32>, draws: &mut Draws, ascent: &mut Ascent);
}

/// The direction of a step, of the sum over the batch.
#[derive(Debug, Default)]
pub struct Ascent {
    weight: Vec<f32>,
    visible: Vec<f64>,
    hidden: Vec<f64>,
    scratch: Matrix<f32>,
    other: Vec<f64>,
}

impl Ascent {
    /// Take the sum over samples of `a_h a_v^T + sign * b_h b_v^T` for the weights.
    fn weights(&mut self, [a, b]: [[&Panels<f32>; 2]; 2], sign: f32) {
        let terms = [Term { delta: a[0], input: a[1], factor: 1.0 }, Term { delta: b[0], input: b[1], factor: sign }];
        self.weight = outer_rows(&terms, &mut self.scratch);
    }

    /// The sums over samples of one batch less those of another.
    fn difference(a: &Panels<f32>, b: &Panels<f32>, out: &mut Vec<f64>, other: &mut Vec<f64>) {
        a.sums(Along::Samples, out);
        b.sums(Along::Samples, other);
        out.iter_mut().zip(other).for_each(|(out, other)| *out -= *other);
    }
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
    fn sample(&mut self, probabilities: &Panels<f32>, out: &mut Panels<f32>) {
        units::below(self.uniforms(probabilities.values().len()), probabilities, out);
    }

    /// The values, each set to 0 with a probability.
    fn corrupt(&mut self, share: f32, values: &Panels<f32>, out: &mut Panels<f32>) {
        out.reshape(values.features(), values.batch());
        let pairs = self.uniforms(values.values().len()).iter().zip(values.values());
        for (out, (uniform, value)) in out.values_mut().iter_mut().zip(pairs) {
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
    pub pair: Pair<f32>,
    /// What it learns from, row-major.
    rows: Vec<f32>,
    learn: L,
    pace: Pace,
    batches: Batches,
    draws: Draws,
    ascent: Ascent,
    velocity: [Vec<f32>; 3],
    batch: Panels<f32>,
    step: usize,
}

impl<L: Learn> Learner<L> {
    /// A layer that has not moved yet.
    pub fn new(pair: Pair<f32>, rows: Vec<f32>, learn: L, pace: Pace) -> Self {
        let (visible, hidden) = (pair.visible.len(), pair.hidden.len());
        Self {
            batches: Batches::new(pace.seed, rows.len() / visible, pace.batch),
            draws: Draws::new(pace.seed, pace.layer),
            ascent: Ascent::default(),
            velocity: [visible * hidden, visible, hidden].map(|count| vec![0.0; count]),
            batch: Panels::default(),
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
        let batch = self.pace.batch.min(total);
        for _ in 0..total / batch {
            cancel.check()?;
            self.step += 1;
            self.draws.at(self.step);
            let chosen = self.batches.rows(self.step);
            self.batch.gather(visible, batch, |sample| &self.rows[chosen[sample] * visible..][..visible]);
            self.learn.direction(&self.pair, &self.batch, &mut self.draws, &mut self.ascent);
            self.advance(momentum as f32, self.pace.lr as f32 / batch as f32);
        }
        Ok(())
    }

    fn advance(&mut self, momentum: f32, rate: f32) {
        let Pair { weight, visible, hidden } = &mut self.pair;
        let [of_weight, of_visible, of_hidden] = &mut self.velocity;
        let drag = (self.pace.lr * self.pace.decay) as f32;
        let mut at = 0;
        for values in weight.slices_mut() {
            let part = at..at + values.len();
            at = part.end;
            let (ascent, velocity) = (&self.ascent.weight[part.clone()], &mut of_weight[part]);
            simd::run(Advance { values, velocity, ascent, momentum, rate, drag });
        }
        for (values, velocity, ascent) in
            [(visible, of_visible, &self.ascent.visible), (hidden, of_hidden, &self.ascent.hidden)]
        {
            for ((value, velocity), ascent) in values.iter_mut().zip(velocity).zip(ascent) {
                *velocity = momentum * *velocity + rate * *ascent as f32;
                *value += *velocity;
            }
        }
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
