//! The gradients of one step, each with its exponent, in buffers that steps leave for each other.

use super::layout::Layout;
use crate::kernel::{Matrix, Scaled, Tensor, Term, outer_of, sum_of_squares};
use crate::part::{Collect, Owner, Which};
use crate::plan::Plan;
use crate::simd::{Float, exponent_of, times_power_of_two};
use crate::weights::Weights;
use std::f64::consts::LOG10_2;

/// A number times a power of two.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Factor {
    /// The number.
    pub value: f64,
    /// The power.
    pub exponent: i64,
}

impl Factor {
    /// 1.
    pub const ONE: Self = Self { value: 1.0, exponent: 0 };

    /// The product with another.
    pub fn times(self, other: Self) -> Self {
        Self { value: self.value * other.value, exponent: self.exponent + other.exponent }
    }

    /// The number itself, as far as `f64` goes.
    pub fn spelled_out(self) -> f64 {
        times_power_of_two(self.value, self.exponent)
    }

    /// The decimal logarithm of the number.
    pub fn log10(self) -> f64 {
        libm::log10(self.value) + self.exponent as f64 * LOG10_2
    }
}

/// The gradient of one tensor: `numbers * 2^exponent`.
#[derive(Debug)]
pub struct Gradient<F> {
    /// The entries; a vector is one row.
    pub matrix: Matrix<F>,
    /// The power of two of all entries.
    pub exponent: i64,
    /// The sum of squares of the entries, without the power of two.
    pub squares: f64,
    /// The sum of squares of what clipping has left of the entries.
    pub left: f64,
    /// What the step multiplies the entries with: their power of two, and what clipping and boosting make of it.
    pub gain: Factor,
    /// Has this step given it yet? A tied net gives it once for every layer.
    reached: bool,
}

impl<F> Default for Gradient<F> {
    fn default() -> Self {
        Self { matrix: Matrix::default(), exponent: 0, squares: 0.0, left: 0.0, gain: Factor::ONE, reached: false }
    }
}

impl<F: Float> Gradient<F> {
    /// The norm.
    pub fn norm(&self) -> Factor {
        Factor { value: self.squares.sqrt(), exponent: self.exponent }
    }

    /// Square and add the entries.
    pub fn measure(&mut self) {
        self.squares =
            if self.reached { self.matrix.slices().map(|slice| sum_of_squares(slice, 1.0)).sum() } else { 0.0 };
        self.left = self.squares;
        self.gain = Factor { value: 1.0, exponent: self.exponent };
    }

    /// Has this step given it? What is frozen has none.
    pub fn reached(&self) -> bool {
        self.reached
    }

    /// Write other entries in units of a power of two of their own: `entry` gives the true ones by row.
    pub fn rewrite(&mut self, exponent: i64, entry: impl Fn(usize, f64) -> Factor) {
        let (columns, mut at) = (self.matrix.columns(), 0);
        for v in self.matrix.slices_mut().flatten() {
            let Factor { value, exponent: own } = entry(at / columns, v.wide());
            *v = F::of(times_power_of_two(value, own - exponent));
            at += 1;
        }
        self.left = self.matrix.slices().map(|slice| sum_of_squares(slice, 1.0)).sum();
        self.gain = Factor { value: 1.0, exponent };
    }

    /// Make the entries the true ones, as far as the type goes.
    pub fn spell_out(&mut self) {
        let exponent = std::mem::take(&mut self.exponent);
        if exponent != 0 {
            let change = |v: &mut F| *v = F::of(times_power_of_two(v.wide(), exponent));
            self.matrix.slices_mut().for_each(|slice| slice.iter_mut().for_each(change));
        }
    }

    /// Take entries in `f64`, times a power of two; those of an earlier layer of a tied net are added to.
    fn take(&mut self, values: &[f64], exponent: i64) {
        let largest = values.iter().fold(0.0, |most: f64, v| most.max(v.abs()));
        let shift = if largest > 0.0 && largest.is_finite() && exponent_of(largest).abs() > 20 {
            exponent_of(largest)
        } else {
            0
        };
        if !self.reached {
            let unit = times_power_of_two(1.0, -shift);
            let write = |out: &mut [F]| out.iter_mut().zip(values).for_each(|(out, v)| *out = F::of(v * unit));
            self.matrix.fill(1, values.len(), write);
            (self.exponent, self.reached) = (exponent + shift, true);
            return;
        }
        let common = self.exponent.max(exponent + shift);
        let (own, theirs) = (self.exponent - common, exponent - common);
        for sums in self.matrix.slices_mut() {
            for (sum, v) in sums.iter_mut().zip(values) {
                *sum = F::of(times_power_of_two(sum.wide(), own) + times_power_of_two(*v, theirs));
            }
        }
        self.exponent = common;
    }
}

/// Samples of one product over the steps of a recurrent net: their deltas and inputs stay in the second-level cache.
const SAMPLES: usize = 512;

/// Deltas and inputs of a map, until there are enough for one product.
#[derive(Debug)]
struct Held<F> {
    owner: Option<Owner>,
    pairs: Vec<(Scaled<F>, Scaled<F>)>,
    count: usize,
}

impl<F> Default for Held<F> {
    fn default() -> Self {
        Self { owner: None, pairs: Vec::new(), count: 0 }
    }
}

/// The gradients of all tensors, and what they are computed with.
#[derive(Debug)]
pub struct Gradients<F> {
    /// In the order of the layout.
    pub all: Vec<Gradient<F>>,
    near: Scaled<F>,
    /// By the place of the weight; of recurrent nets.
    held: Vec<Held<F>>,
    second: Matrix<F>,
    scratch: Matrix<F>,
    ones: Vec<f64>,
    sums: Vec<f64>,
}

impl<F> Default for Gradients<F> {
    fn default() -> Self {
        Self {
            all: Vec::new(),
            near: Scaled::default(),
            held: Vec::new(),
            second: Matrix::default(),
            scratch: Matrix::default(),
            ones: Vec::new(),
            sums: Vec::new(),
        }
    }
}

impl<F: Float> Gradients<F> {
    /// Get ready for a backward pass over so many samples.
    pub fn begin(&mut self, layout: &Layout, batch: usize) {
        self.all.resize_with(layout.count(), Gradient::default);
        for gradient in &mut self.all {
            (gradient.reached, gradient.exponent) = (false, 0);
        }
        self.held.resize_with(layout.count(), Held::default);
        self.held.iter_mut().for_each(|held| held.count = 0);
        self.ones.clear();
        self.ones.resize(batch, 1.0);
    }

    /// The norm of all gradients together.
    pub fn total(&self) -> Factor {
        let exponent = self.all.iter().filter(|g| g.squares > 0.0).map(|g| g.exponent).max().unwrap_or(0);
        let aligned = |g: &Gradient<F>| times_power_of_two(g.squares, 2 * (g.exponent - exponent));
        // NaN is above nothing, and stays in the sum.
        let sum = self.all.iter().filter(|g| g.squares != 0.0).map(aligned).sum::<f64>();
        Factor { value: sum.sqrt(), exponent }
    }
}

/// Receives the gradients of a backward pass.
pub(super) struct Collector<'c, F> {
    pub gradients: &'c mut Gradients<F>,
    pub layout: &'c Layout,
    pub plan: &'c Plan,
    pub weights: &'c Weights<F>,
    /// What the rate of each tensor is multiplied with: those with 0 need no gradient.
    pub rates: &'c [f64],
}

impl<F: Float> Collector<'_, F> {
    /// Is the gradient of this tensor wanted? Its place then.
    fn place(&self, owner: Owner, which: Which) -> Option<usize> {
        self.layout.place(&owner, which).filter(|place| self.rates[*place] != 0.0)
    }

    /// Add the weight gradient of a map: of some terms, times a power of two.
    fn add(&mut self, owner: Owner, place: usize, terms: &[Term<'_, F>], exponent: i64) {
        let Gradients { all, second, scratch, .. } = &mut *self.gradients;
        let gradient = &mut all[place];
        let again = std::mem::replace(&mut gradient.reached, true);
        let out = if again { &mut *second } else { &mut gradient.matrix };
        outer_of(terms, out, scratch);
        let linear = self.weights.linear(self.plan, owner);
        if linear.transformed.is_some() {
            let mut rows = out.to_rows();
            linear.gradient_of_parameters(&mut rows);
            out.fill(linear.weight.rows(), linear.weight.columns(), |out| out.copy_from_slice(&rows));
        }
        if again {
            let common = gradient.exponent.max(exponent);
            let factor = |own: i64| F::of(times_power_of_two(1.0, own - common));
            let (own, theirs) = (factor(gradient.exponent), factor(exponent));
            for (sums, values) in gradient.matrix.slices_mut().zip(second.slices()) {
                sums.iter_mut().zip(values).for_each(|(sum, v)| *sum = *sum * own + *v * theirs);
            }
            gradient.exponent = common;
        } else {
            gradient.exponent = exponent;
        }
    }

    /// Add what is held of a map.
    fn release(&mut self, place: usize) {
        let held = std::mem::take(&mut self.gradients.held[place]);
        if let (Some(owner), 1..) = (held.owner, held.count) {
            let mut near = held.pairs[..held.count].iter().map(|_| Scaled::default()).collect::<Vec<_>>();
            let pairs = held.pairs.iter().zip(&mut near).map(|((delta, input), near)| (delta, input.near_one(near)));
            let pairs = pairs.collect::<Vec<_>>();
            let exponent = pairs.iter().map(|(delta, input)| delta.exponent + input.exponent).max().unwrap_or(0);
            let terms = pairs.iter().map(|(delta, input)| Term {
                delta: &delta.panels,
                input: &input.panels,
                factor: F::of(times_power_of_two(1.0, delta.exponent + input.exponent - exponent)),
            });
            self.add(owner, place, &terms.collect::<Vec<_>>(), exponent);
            if let Some(place) = self.place(owner, Which::Bias) {
                let Gradients { all, ones, sums, .. } = &mut *self.gradients;
                let mut bias = Tensor::zeros(pairs[0].0.panels.features());
                for (delta, _) in &pairs {
                    delta.panels.weighted(ones, sums);
                    bias.add(sums, delta.exponent);
                }
                all[place].take(&bias.values, bias.exponent);
            }
        }
        self.gradients.held[place] = Held { count: 0, ..held };
    }

    /// Add all that is held: to be called behind the pass.
    pub fn finish(&mut self) {
        (0..self.gradients.held.len()).for_each(|place| self.release(place));
    }
}

impl<F: Float> Collect<F> for Collector<'_, F> {
    fn map(&mut self, owner: Owner, delta: &Scaled<F>, input: &Scaled<F>, _: Option<usize>) {
        let place = self.place(owner, Which::Weight);
        if let Some(place) = place.filter(|_| self.plan.recurrent() && self.plan.sums(owner)) {
            let held = &mut self.gradients.held[place];
            held.owner = Some(owner);
            held.pairs.resize_with(held.pairs.len().max(held.count + 1), Default::default);
            let (kept, from) = &mut held.pairs[held.count];
            kept.copy_from(delta);
            from.copy_from(input);
            held.count += 1;
            if (held.count + 1) * delta.panels.batch() > SAMPLES {
                self.release(place);
            }
            return;
        }
        if let Some(place) = place {
            let mut near = std::mem::take(&mut self.gradients.near);
            let input = input.near_one(&mut near);
            let term = Term { delta: &delta.panels, input: &input.panels, factor: F::of(1.0) };
            self.add(owner, place, &[term], delta.exponent + input.exponent);
            self.gradients.near = near;
        }
        if let Some(place) = self.place(owner, Which::Bias) {
            let Gradients { all, ones, sums, .. } = &mut *self.gradients;
            delta.panels.weighted(ones, sums);
            all[place].take(sums, delta.exponent);
        }
    }

    fn vector(&mut self, owner: Owner, which: Which, values: &[f64], exponent: i64) {
        if let Some(place) = self.place(owner, which) {
            self.gradients.all[place].take(values, exponent);
        }
    }

    fn dh(&mut self, _: usize, _: &Scaled<F>) {}

    fn wants_input(&self) -> bool {
        false
    }
}
