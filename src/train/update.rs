//! One step of an optimiser on one tensor.
//!
//! A rule says what becomes of one weight, from its gradient and its moments; one loop over all weights is compiled for
//! each rule and instruction set. Where moments carry an exponent they are those of `gradient / 2^exponent`.

use super::gradient::{Factor, Gradient};
use super::muon::orthogonal;
use crate::kernel::{largest, sum_of_squares};
use crate::optimizer::{self, Optimizer};
use crate::simd::{self, Float, Set, Task, exponent_of, times_power_of_two};

/// Entries that the loop takes at once.
const CHUNK: usize = 8;

/// What the loop sees beside whether numbers are finite: nothing; sums of squares that are taken in the type of the
/// entries, some chunks at a time; or in `f64`, where squares may leave the type. In `f64` throughout, norms of every
/// step took a seventh of the training of a small net.
const NOTHING: u8 = 0;
const NEAR: u8 = 1;
const WIDE: u8 = 2;

/// Chunks whose squares are added in the type of the entries.
const TOGETHER: usize = 8;

/// Numbers of this size have squares that `f32` holds, and so have sums of many of them.
const ORDINARY: std::ops::Range<f64> = 1e-15..1e15;

/// Moments may drift so many powers of two from 1 before they are brought back.
const FAR: i64 = 16;

/// The optimiser's parameters, read once.
#[derive(Debug, Clone, Copy)]
pub struct Hyper {
    rule: optimizer::Rule,
    momentum: f64,
    dampening: f64,
    nesterov: bool,
    /// 1 or 0, as the mean is taken away or not.
    centered: f64,
    betas: [f64; 2],
    eps: f64,
    decay: f64,
    lr_decay: f64,
    accumulator: f64,
    scale_free: bool,
    steps: usize,
    matched: bool,
}

impl Hyper {
    /// The parameters of an optimiser.
    pub fn new(optimizer: &Optimizer) -> Self {
        use optimizer::Rule;
        let value = |name: &str| optimizer.value(name);
        Self {
            rule: optimizer.rule(),
            momentum: value("momentum"),
            dampening: value("dampening"),
            nesterov: optimizer.flag("nesterov"),
            centered: value("centered"),
            betas: match optimizer.rule() {
                Rule::Rmsprop => [0.0, value("alpha")],
                _ => [value("beta1"), value("beta2")],
            },
            eps: value("eps"),
            decay: value("weight_decay"),
            lr_decay: value("lr_decay"),
            accumulator: value("initial_accumulator"),
            scale_free: optimizer.flag("scale_free"),
            steps: value("ns_steps") as usize,
            // The second of the words.
            matched: value("adjust") == 1.0,
        }
    }

    /// The parameters for a tensor: what is no hidden matrix goes by `AdamW` where the others go by Muon.
    pub fn of_tensor(&self, hidden: bool) -> Self {
        if self.rule == optimizer::Rule::Muon && !hidden {
            return Self { rule: optimizer::Rule::Adamw, betas: [0.9, 0.999], eps: 1e-8, ..*self };
        }
        *self
    }

    /// The parameters with the momentum that a schedule has moved.
    pub fn with_momentum(mut self, momentum: f64) -> Self {
        match self.rule {
            optimizer::Rule::Adam | optimizer::Rule::Adamw | optimizer::Rule::Lion => self.betas[0] = momentum,
            _ if self.momentum > 0.0 => self.momentum = momentum,
            _ => (),
        }
        self
    }

    /// Is a step the gradient times the rate, and nothing else?
    pub fn plain(&self) -> bool {
        self.rule == optimizer::Rule::Sgd && self.momentum == 0.0 && self.decay == 0.0
    }

    /// Of which power of the gradient each moment is: those of them that carry an exponent.
    fn powers(&self) -> &'static [i64] {
        use optimizer::Rule;
        match self.rule {
            Rule::Sgd if self.momentum == 0.0 => &[],
            Rule::Sgd | Rule::Lion | Rule::Muon => &[1],
            Rule::Adam | Rule::Adamw => &[1, 2],
            Rule::Rmsprop if self.momentum == 0.0 && self.centered == 0.0 => &[2],
            // The last is a sum of steps, which have no scale.
            Rule::Rmsprop => &[2, 1, 0],
            Rule::Adagrad => &[2],
        }
    }
}

/// What an optimiser remembers of one tensor.
#[derive(Debug, Clone, PartialEq)]
pub struct Moments<F> {
    /// One array of the tensor's entries each.
    pub values: Vec<Vec<F>>,
    /// They are those of `gradient / 2^exponent`; none before the first gradient.
    pub exponent: Option<i64>,
}

impl<F> Default for Moments<F> {
    fn default() -> Self {
        Self { values: Vec::new(), exponent: None }
    }
}

impl<F: Float> Moments<F> {
    /// Begin with so many entries.
    pub fn begin(&mut self, hyper: &Hyper, count: usize) {
        let powers = hyper.powers();
        self.values.resize_with(powers.len(), Vec::new);
        for values in &mut self.values {
            values.clear();
            values.resize(count, F::of(hyper.accumulator));
        }
        // An accumulator that does not start at 0 has a scale.
        self.exponent = (!hyper.scale_free || hyper.accumulator > 0.0).then_some(0);
    }

    /// Choose the exponent for a gradient of this norm, and what its entries are multiplied with.
    fn align(&mut self, hyper: &Hyper, gradient: &Gradient<F>) -> f64 {
        let Factor { value, exponent } = gradient.gain;
        if hyper.scale_free && gradient.left > 0.0 {
            let size = exponent_of(value * gradient.left.sqrt()) + exponent;
            let largest = |values: &[F]| values.iter().fold(0.0, |most: f64, v| most.max(v.wide().abs()));
            let (own, power) = (largest(&self.values[0]), hyper.powers()[0]);
            let now = self.exponent.filter(|_| own > 0.0 && own.is_finite()).map(|e| e + exponent_of(own) / power);
            let best = now.map_or(size, |now| now.max(size));
            match self.exponent {
                Some(old) if (old - best).abs() <= FAR => (),
                Some(old) => {
                    for (values, power) in self.values.iter_mut().zip(hyper.powers()) {
                        let change = |v: &mut F| *v = F::of(times_power_of_two(v.wide(), power * (old - best)));
                        values.iter_mut().for_each(change);
                    }
                    self.exponent = Some(best);
                }
                None => self.exponent = Some(best),
            }
        }
        times_power_of_two(value, exponent - self.exponent.unwrap_or(0))
    }
}

/// When a step is taken.
#[derive(Debug, Clone, Copy)]
pub struct When {
    /// The rate, of this tensor.
    pub lr: f64,
    /// The steps that this tensor has taken, this one too.
    pub step: usize,
    /// Is it to be measured?
    pub watch: bool,
}

/// What a step has done to a tensor.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Seen {
    /// Sums of squares of the step and of the weights before it.
    pub squares: [f64; 2],
    /// Weights that did not change though they have a gradient.
    pub rounded: u64,
    /// Weights that have a gradient.
    pub with_gradient: u64,
    /// Are all weights finite behind it? And all moments?
    pub finite: [bool; 2],
}

impl Seen {
    const NOTHING: Self = Self { squares: [0.0; 2], rounded: 0, with_gradient: 0, finite: [true; 2] };

    fn add(&mut self, other: Self) {
        for i in 0..2 {
            self.squares[i] += other.squares[i];
            self.finite[i] &= other.finite[i];
        }
        self.rounded += other.rounded;
        self.with_gradient += other.with_gradient;
    }
}

/// Lets work be done on each slice of a tensor's entries.
pub type Visit<'v, F> = &'v mut dyn FnMut(&mut dyn FnMut(&mut [F]));

/// What becomes of one weight: its change, beside decay, and its moments.
trait Rule<F, const N: usize>: Copy {
    fn step(self, w: F, g: F, moments: [F; N]) -> (F, [F; N]);
}

/// One step on some entries of a tensor.
struct Update<'v, F, R, const N: usize, const WATCH: u8> {
    weights: &'v mut [F],
    gradient: &'v [F],
    moments: [&'v mut [F]; N],
    gain: F,
    keep: F,
    rule: R,
}

/// What is seen of chunks, lane by lane.
struct Lanes<F> {
    squares: [[f64; CHUNK]; 2],
    near: [[F; CHUNK]; 2],
    rounded: [u32; CHUNK],
    with_gradient: [u32; CHUNK],
    /// Sums of products with zero: NaN where a weight or a moment is not finite.
    broken: [[F; CHUNK]; 2],
}

impl<F: Float> Lanes<F> {
    /// Add what was added in the type of the entries to the sums.
    #[inline(always)]
    fn widen(&mut self) {
        for (sums, near) in self.squares.iter_mut().zip(&mut self.near) {
            for lane in 0..CHUNK {
                sums[lane] += near[lane].wide();
                near[lane] = F::ZERO;
            }
        }
    }

    /// Step a chunk, of which so many entries count.
    #[inline(always)]
    fn step<R: Rule<F, N>, const N: usize, const WATCH: u8>(
        &mut self,
        (rule, gain, keep): (R, F, F),
        weights: &mut [F; CHUNK],
        gradient: &[F; CHUNK],
        moments: &mut [[F; CHUNK]; N],
        valid: usize,
    ) {
        for lane in 0..CHUNK {
            let old = weights[lane];
            let (change, next) = rule.step(old, gradient[lane] * gain, std::array::from_fn(|n| moments[n][lane]));
            let new = old * keep + change;
            if WATCH != NOTHING && lane < valid {
                let step = old * (keep + F::of(-1.0)) + change;
                if WATCH == NEAR {
                    self.near[0][lane] += step * step;
                    self.near[1][lane] += old * old;
                } else {
                    self.squares[0][lane] += step.wide() * step.wide();
                    self.squares[1][lane] += old.wide() * old.wide();
                }
                let moves = gradient[lane] != F::ZERO;
                self.rounded[lane] += u32::from(moves && new == old);
                self.with_gradient[lane] += u32::from(moves);
            }
            weights[lane] = new;
            self.broken[0][lane] += new * F::ZERO;
            for n in 0..N {
                moments[n][lane] = next[n];
                self.broken[1][lane] += next[n] * F::ZERO;
            }
        }
    }
}

impl<F: Float, R: Rule<F, N>, const N: usize, const WATCH: u8> Task for Update<'_, F, R, N, WATCH> {
    type Output = Seen;

    #[inline(always)]
    fn run<S: Set>(self) -> Seen {
        let Self { weights, gradient, moments, gain, keep, rule } = self;
        let (how, whole) = ((rule, gain, keep), weights.len() / CHUNK * CHUNK);
        let mut lanes = Lanes {
            squares: [[0.0; CHUNK]; 2],
            near: [[F::ZERO; CHUNK]; 2],
            rounded: [0; CHUNK],
            with_gradient: [0; CHUNK],
            broken: [[F::ZERO; CHUNK]; 2],
        };
        let (mut w, mut g, mut m) = ([F::ZERO; CHUNK], [F::ZERO; CHUNK], [[F::ZERO; CHUNK]; N]);
        for i in (0..whole).step_by(CHUNK) {
            w.copy_from_slice(&weights[i..i + CHUNK]);
            g.copy_from_slice(&gradient[i..i + CHUNK]);
            for n in 0..N {
                m[n].copy_from_slice(&moments[n][i..i + CHUNK]);
            }
            lanes.step::<R, N, WATCH>(how, &mut w, &g, &mut m, CHUNK);
            weights[i..i + CHUNK].copy_from_slice(&w);
            for n in 0..N {
                moments[n][i..i + CHUNK].copy_from_slice(&m[n]);
            }
            if WATCH == NEAR && i.is_multiple_of(TOGETHER * CHUNK) {
                lanes.widen();
            }
        }
        let rest = weights.len() - whole;
        if rest > 0 {
            // Ones where nothing is left: 0 over 0 is no number.
            (w, g, m) = ([F::ZERO; CHUNK], [F::ZERO; CHUNK], [[F::of(1.0); CHUNK]; N]);
            w[..rest].copy_from_slice(&weights[whole..]);
            g[..rest].copy_from_slice(&gradient[whole..]);
            for n in 0..N {
                m[n][..rest].copy_from_slice(&moments[n][whole..]);
            }
            let before = std::mem::replace(&mut lanes.broken, [[F::ZERO; CHUNK]; 2]);
            lanes.step::<R, N, WATCH>(how, &mut w, &g, &mut m, rest);
            for (sums, before) in lanes.broken.iter_mut().zip(before) {
                sums[rest..].fill(F::ZERO);
                sums.iter_mut().zip(before).for_each(|(sum, before)| *sum += before);
            }
            weights[whole..].copy_from_slice(&w[..rest]);
            for n in 0..N {
                moments[n][whole..].copy_from_slice(&m[n][..rest]);
            }
        }
        lanes.widen();
        let finite = |lanes: [F; CHUNK]| lanes.into_iter().all(Float::finite);
        let count = |lanes: [u32; CHUNK]| lanes.into_iter().map(u64::from).sum();
        Seen {
            squares: lanes.squares.map(|lanes| lanes.into_iter().sum()),
            rounded: count(lanes.rounded),
            with_gradient: count(lanes.with_gradient),
            finite: lanes.broken.map(finite),
        }
    }
}

#[derive(Clone, Copy)]
struct Plain<F> {
    lr: F,
    decay: F,
}

impl<F: Float> Rule<F, 0> for Plain<F> {
    #[inline(always)]
    fn step(self, w: F, g: F, moments: [F; 0]) -> (F, [F; 0]) {
        (-(self.lr * (g + self.decay * w)), moments)
    }
}

#[derive(Clone, Copy)]
struct Momentum<F> {
    lr: F,
    decay: F,
    keep: F,
    take: F,
    nesterov: bool,
}

impl<F: Float> Rule<F, 1> for Momentum<F> {
    #[inline(always)]
    fn step(self, w: F, g: F, [buffer]: [F; 1]) -> (F, [F; 1]) {
        let g = g + self.decay * w;
        let buffer = buffer * self.keep + g * self.take;
        let direction = if self.nesterov { g + buffer * self.keep } else { buffer };
        (-(self.lr * direction), [buffer])
    }
}

#[derive(Clone, Copy)]
struct Adam<F> {
    /// The rate over the correction of the mean.
    lr: F,
    decay: F,
    take: [F; 2],
    keep: F,
    /// The root of the inverse correction of the squares.
    root: F,
    eps: F,
}

impl<F: Float> Rule<F, 2> for Adam<F> {
    #[inline(always)]
    fn step(self, w: F, g: F, [mean, square]: [F; 2]) -> (F, [F; 2]) {
        let g = g + self.decay * w;
        let mean = mean + (g - mean) * self.take[0];
        let square = square * self.keep + g * g * self.take[1];
        (-(self.lr * (mean / (square.sqrt() * self.root + self.eps))), [mean, square])
    }
}

#[derive(Clone, Copy)]
struct Rmsprop<F> {
    lr: F,
    decay: F,
    keep: F,
    take: F,
    eps: F,
}

impl<F: Float> Rule<F, 1> for Rmsprop<F> {
    #[inline(always)]
    fn step(self, w: F, g: F, [square]: [F; 1]) -> (F, [F; 1]) {
        let g = g + self.decay * w;
        let square = square * self.keep + g * g * self.take;
        (-(self.lr * (g / (square.sqrt() + self.eps))), [square])
    }
}

#[derive(Clone, Copy)]
struct RmspropMore<F> {
    plain: Rmsprop<F>,
    momentum: F,
    centered: F,
}

impl<F: Float> Rule<F, 3> for RmspropMore<F> {
    #[inline(always)]
    fn step(self, w: F, g: F, [square, mean, buffer]: [F; 3]) -> (F, [F; 3]) {
        let Rmsprop { lr, decay, keep, take, eps } = self.plain;
        let g = g + decay * w;
        let square = square * keep + g * g * take;
        let mean = mean + (g - mean) * take;
        let root = (square - mean * mean * self.centered).sqrt() + eps;
        let buffer = buffer * self.momentum + g / root;
        (-(lr * buffer), [square, mean, buffer])
    }
}

#[derive(Clone, Copy)]
struct Adagrad<F> {
    lr: F,
    decay: F,
    eps: F,
}

impl<F: Float> Rule<F, 1> for Adagrad<F> {
    #[inline(always)]
    fn step(self, w: F, g: F, [sum]: [F; 1]) -> (F, [F; 1]) {
        let g = g + self.decay * w;
        let sum = sum + g * g;
        (-(self.lr * (g / (sum.sqrt() + self.eps))), [sum])
    }
}

#[derive(Clone, Copy)]
struct Lion<F> {
    lr: F,
    /// What is taken of the gradient into the direction and into the mean.
    take: [F; 2],
}

impl<F: Float> Rule<F, 1> for Lion<F> {
    #[inline(always)]
    fn step(self, _: F, g: F, [mean]: [F; 1]) -> (F, [F; 1]) {
        let direction = mean + (g - mean) * self.take[0];
        let (up, down) = (direction > F::ZERO, direction < F::ZERO);
        // NaN goes on.
        let step = if up {
            self.lr
        } else if down {
            -self.lr
        } else {
            direction
        };
        (-step, [mean + (g - mean) * self.take[1]])
    }
}

/// A step with a rule, over the slices of a tensor.
struct Step<'s, F> {
    gradient: &'s Gradient<F>,
    moments: &'s mut Moments<F>,
    gain: F,
    keep: F,
    watch: u8,
}

impl<F: Float> Step<'_, F> {
    fn with<R: Rule<F, N>, const N: usize>(self, rule: R, visit: Visit<'_, F>) -> Seen {
        let Self { gradient, moments, gain, keep, watch } = self;
        let (mut slices, mut at, mut seen) = (gradient.matrix.slices(), 0, Seen::NOTHING);
        visit(&mut |weights: &mut [F]| {
            let Some(gradient) = slices.next() else { return };
            let range = at..at + weights.len();
            at = range.end;
            let mut each = moments.values.iter_mut();
            let moments = std::array::from_fn(|_| each.next().map_or(&mut [][..], |values| &mut values[range.clone()]));
            seen.add(match watch {
                NOTHING => simd::run(Update::<F, R, N, NOTHING> { weights, gradient, moments, gain, keep, rule }),
                NEAR => simd::run(Update::<F, R, N, NEAR> { weights, gradient, moments, gain, keep, rule }),
                _ => simd::run(Update::<F, R, N, WIDE> { weights, gradient, moments, gain, keep, rule }),
            });
        });
        seen
    }
}

/// One step of an optimiser on one tensor, whose entries `visit` gives slice by slice.
pub fn update<F: Float>(
    hyper: &Hyper,
    when: When,
    gradient: &Gradient<F>,
    moments: &mut Moments<F>,
    visit: Visit<'_, F>,
) -> Seen {
    use optimizer::Rule;
    let Hyper { rule, betas: [beta1, beta2], .. } = *hyper;
    let When { lr, step, watch } = when;
    // A page asks for plain gradient descent without a record of steps, and is not to load all else.
    let page = cfg!(target_family = "wasm");
    let (rule, watch) = if page { (Rule::Sgd, false) } else { (rule, watch) };
    let gain = moments.align(hyper, gradient);
    let count = f64::from(u32::try_from(step).unwrap_or(u32::MAX));
    let corrected = |beta: f64| 1.0 - libm::pow(beta, count);
    // The root mean square of the denominators, to which eps is relative.
    let (kept, taken) = match rule {
        Rule::Adagrad => (1.0, 1.0),
        _ => (beta2, 1.0 - beta2),
    };
    let eps = if hyper.scale_free && matches!(rule, Rule::Adam | Rule::Adamw | Rule::Rmsprop | Rule::Adagrad) {
        let squares = moments.values[hyper.powers().iter().position(|p| *p == 2).unwrap_or(0)].iter();
        let all = squares.map(|v| v.wide()).sum::<f64>() * kept + taken * gain * gain * gradient.left;
        let correction = if matches!(rule, Rule::Adam | Rule::Adamw) { corrected(beta2) } else { 1.0 };
        let entries = gradient.matrix.rows() * gradient.matrix.columns();
        let root = (all / entries as f64 / correction).sqrt();
        // Where nothing has come yet, 0 over 1 is no step.
        if root == 0.0 { 1.0 } else { hyper.eps * root }
    } else {
        hyper.eps
    };
    let apart = matches!(rule, Rule::Adamw | Rule::Lion | Rule::Muon);
    let keep = F::of(if apart { 1.0 - lr * hyper.decay } else { 1.0 });
    let decay = F::of(if apart { 0.0 } else { hyper.decay });
    let eps = F::of(eps);
    let gain_of = F::of(gain);
    let watch = if watch {
        // A step is about as large as the rate, or as the rate times the gradient.
        let (mut weight, along) = (0.0, gradient.left.sqrt() * gain);
        visit(&mut |slice: &mut [F]| weight = f64::max(weight, largest(slice)));
        if [lr, lr * along, weight].iter().all(|size| ORDINARY.contains(size)) { NEAR } else { WIDE }
    } else {
        NOTHING
    };
    let job = Step { gradient, moments, gain: gain_of, keep, watch };
    match rule {
        Rule::Sgd if page || hyper.momentum == 0.0 => job.with(Plain { lr: F::of(lr), decay }, visit),
        Rule::Sgd => {
            let take = F::of(if step == 1 { 1.0 } else { 1.0 - hyper.dampening });
            let (momentum, nesterov) = (F::of(hyper.momentum), hyper.nesterov);
            job.with(Momentum { lr: F::of(lr), decay, keep: momentum, take, nesterov }, visit)
        }
        Rule::Adam | Rule::Adamw => {
            let take = [1.0 - beta1, 1.0 - beta2].map(F::of);
            let root = F::of(1.0 / corrected(beta2).sqrt());
            job.with(Adam { lr: F::of(lr / corrected(beta1)), decay, take, keep: F::of(beta2), root, eps }, visit)
        }
        Rule::Rmsprop => {
            let plain = Rmsprop { lr: F::of(lr), decay, keep: F::of(beta2), take: F::of(1.0 - beta2), eps };
            if hyper.powers().len() == 1 {
                return job.with(plain, visit);
            }
            let centered = F::of(hyper.centered);
            job.with(RmspropMore { plain, momentum: F::of(hyper.momentum), centered }, visit)
        }
        Rule::Adagrad => {
            let lr = lr / (1.0 + (count - 1.0) * hyper.lr_decay);
            job.with(Adagrad { lr: F::of(lr), decay, eps }, visit)
        }
        Rule::Lion => job.with(Lion { lr: F::of(lr), take: [1.0 - beta1, 1.0 - beta2].map(F::of) }, visit),
        Rule::Muon => muon(hyper, (lr, gain), job, visit),
    }
}

/// Muon: the running sum with its singular values brought near 1, as the gradient of a plain step.
fn muon<F: Float>(
    hyper: &Hyper,
    (lr, gain): (f64, f64),
    Step { gradient, moments, keep, watch, .. }: Step<'_, F>,
    visit: Visit<'_, F>,
) -> Seen {
    let (rows, columns) = (gradient.matrix.rows(), gradient.matrix.columns());
    let mut direction = Vec::with_capacity(rows * columns);
    let (momentum, gain) = (F::of(hyper.momentum), F::of(gain));
    let entries = gradient.matrix.slices().flatten();
    for (buffer, g) in moments.values[0].iter_mut().zip(entries) {
        let g = *g * gain;
        *buffer = *buffer * momentum + g * (F::of(1.0) + -momentum);
        direction.push(if hyper.nesterov { g + (*buffer + -g) * momentum } else { *buffer });
    }
    let finite = moments.values[0].iter().all(|v| v.finite());
    let norm = sum_of_squares(&direction, 1.0).sqrt();
    let least = if hyper.scale_free { 0.0 } else { hyper.eps };
    let by = F::of(if norm == 0.0 { 0.0 } else { 1.0 / norm.max(least) });
    direction.iter_mut().for_each(|v| *v *= by);
    let mut step = Gradient::default();
    orthogonal(&direction, rows, columns, hyper.steps, &mut step.matrix);
    let (rows, columns) = (rows as f64, columns as f64);
    let size = if hyper.matched { 0.2 * rows.max(columns).sqrt() } else { (rows / columns).max(1.0).sqrt() };
    let job = Step { gradient: &step, moments: &mut Moments::default(), gain: F::of(1.0), keep, watch };
    let mut seen = job.with(Plain { lr: F::of(lr * size), decay: F::ZERO }, visit);
    seen.finite[1] &= finite;
    if watch != NOTHING && norm == 0.0 {
        // The gradients are there, though their sum has left the type.
        seen.with_gradient = gradient.matrix.slices().flatten().filter(|g| **g != F::ZERO).count() as u64;
        seen.rounded = seen.with_gradient;
    }
    seen
}
