//! The largest eigenvalue of the Hessian of the loss, by Lanczos' method.
//!
//! A product of the Hessian with a direction is a central difference of two gradients, over all rows of the data or over
//! the first of many: in `f64` good to about 1e-9 of the largest eigenvalue, in `f32` to some 1e-3. Power iteration was
//! tried first: it finds the eigenvalue of the largest size, which before and at the edge of stability may be negative.

use super::data::Rows;
use super::gradient::Gradients;
use super::pass::{Batch, gradient};
use super::{Cell, numbers};
use crate::error::{Cancel, Result};
use crate::forward::Trace;
use crate::part::{Signal, Which};
use crate::rng::{Role, Stream};
use crate::simd::{Float, times_power_of_two};
use crate::weights::Weights;

/// The most rows that are looked at.
const ROWS: usize = 1024;

/// The most products of one measurement, and bytes that their directions take.
const MOST: usize = 80;
const BYTES: usize = 256 << 20;

/// Products end where what they leave of the eigenvector is less than this share of the eigenvalue: an eigenvalue is then
/// as near.
const CLOSE: f64 = 1e-3;

/// The eigenvector that the last measurement has come to.
pub(super) struct Sharpness {
    seed: u64,
    direction: Vec<f64>,
}

/// What products of the Hessian are computed with.
struct Hessian<'h, F> {
    cell: &'h Cell,
    weights: &'h mut Weights<F>,
    rows: &'h Rows<F>,
    chosen: Vec<usize>,
    rates: &'h [f64],
    /// Tensors that move, and their entries.
    moving: Vec<usize>,
    start: Vec<f64>,
    trace: Trace<F>,
    signal: Signal<F>,
    gradients: Gradients<F>,
}

impl Sharpness {
    pub fn new(seed: u64) -> Self {
        Self { seed, direction: Vec::new() }
    }

    /// The largest eigenvalue, over the tensors that move; NaN where a gradient is not finite.
    pub fn measure<F: Float>(
        &mut self,
        cell: &Cell,
        weights: &mut Weights<F>,
        rows: &Rows<F>,
        rates: &[f64],
        cancel: &Cancel,
    ) -> Result<f64> {
        let layout = &cell.layout;
        let moving = (0..layout.count()).filter(|&place| rates[place] != 0.0).collect::<Vec<_>>();
        let entries = |&place: &usize| numbers::tensor(weights, &cell.plan, layout.ids[place]);
        let start = moving.iter().flat_map(entries).map(Float::wide).collect::<Vec<_>>();
        if start.is_empty() {
            return Ok(f64::NAN);
        }
        if self.direction.is_empty() {
            self.direction.resize(start.len(), 0.0);
            Stream::new(self.seed, 0, Role::Direction).normal(&mut self.direction);
        }
        let mut hessian = Hessian {
            cell,
            weights,
            rows,
            chosen: (0..rows.count.min(ROWS)).collect(),
            rates,
            moving,
            start,
            trace: Trace::default(),
            signal: Signal::default(),
            gradients: Gradients::default(),
        };
        let found = self.lanczos(&mut hessian, cancel);
        hessian.put(None, cancel)?;
        found
    }

    /// The largest eigenvalue in the space that products with the Hessian span; its vector is kept for the next time.
    fn lanczos<F: Float>(&mut self, hessian: &mut Hessian<'_, F>, cancel: &Cancel) -> Result<f64> {
        let most = MOST.min(self.direction.len()).min(BYTES / (8 * self.direction.len())).max(2);
        let (mut basis, mut diagonal, mut beside) = (vec![unit(&self.direction)], Vec::new(), Vec::new());
        loop {
            let Some(last) = basis.last() else { return Ok(f64::NAN) };
            let Some(mut next) = hessian.times(last, cancel)? else { return Ok(f64::NAN) };
            diagonal.push(dot(&next, last));
            // Twice over all: what rounding leaves of earlier directions would come again as eigenvalues.
            for _ in 0..2 {
                for known in &basis {
                    let along = dot(&next, known);
                    next.iter_mut().zip(known).for_each(|(n, k)| *n -= along * k);
                }
            }
            let length = dot(&next, &next).sqrt();
            let (value, vector) = largest(&diagonal, &beside);
            let off = length * vector.last().map_or(0.0, |v| v.abs());
            if basis.len() >= most || off <= CLOSE * value.abs() || length == 0.0 {
                let mut direction = vec![0.0; next.len()];
                for (known, share) in basis.iter().zip(&vector) {
                    direction.iter_mut().zip(known).for_each(|(d, k)| *d += share * k);
                }
                self.direction = direction;
                return Ok(value);
            }
            beside.push(length);
            basis.push(unit(&next));
        }
    }
}

impl<F: Float> Hessian<'_, F> {
    /// The product with a direction of length 1; None where a gradient is not finite.
    fn times(&mut self, direction: &[f64], cancel: &Cancel) -> Result<Option<Vec<f64>>> {
        let size = dot(&self.start, &self.start).sqrt().max(1.0);
        let step = if F::WIDE { 1e-5 } else { 3e-3 } * size;
        let mut sides = Vec::with_capacity(2);
        for sign in [step, -step] {
            self.put(Some((direction, sign)), cancel)?;
            let Self { cell, weights, rows, chosen, rates, trace, signal, gradients, .. } = &mut *self;
            // The loss whose curvature this is drops nothing, as in evaluation: it is one function of the weights, while
            // that of each step is another, with a curvature of its own.
            let batch = Batch { rows: *rows, chosen: &chosen[..], there: false, masks: None };
            let (plan, layout) = (&cell.plan, &cell.layout);
            let loss = gradient(plan, layout, weights, batch, rates, trace, signal, gradients, cancel)?;
            if !loss.is_finite() {
                return Ok(None);
            }
            let spelled = |&place: &usize| {
                let gradient = &self.gradients.all[place];
                let exponent = gradient.exponent;
                gradient.matrix.slices().flatten().map(move |g| times_power_of_two(g.wide(), exponent))
            };
            sides.push(self.moving.iter().flat_map(spelled).collect::<Vec<_>>());
        }
        let difference = sides[0].iter().zip(&sides[1]).map(|(up, down)| (up - down) / (2.0 * step));
        Ok(Some(difference.collect()))
    }

    /// Put the weights so far along a direction from where they were, or back.
    fn put(&mut self, moved: Option<(&[f64], f64)>, cancel: &Cancel) -> Result<()> {
        let Cell { plan, layout, .. } = self.cell;
        let mut at = 0;
        for &place in &self.moving {
            let id = layout.ids[place];
            numbers::visit(self.weights, plan, id, |slice| {
                for out in slice {
                    let along = moved.map_or(0.0, |(direction, factor)| factor * direction[at]);
                    *out = F::of(self.start[at] + along);
                    at += 1;
                }
            });
            if let Some(linear) = plan.slots[id.slot][id.index].as_linear()
                && linear.transform.is_some()
                && id.which == Which::Weight
            {
                self.weights.slot_mut(plan, id.slot)[id.index].linear_mut().refresh(linear, cancel)?;
            }
        }
        Ok(())
    }
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

fn unit(v: &[f64]) -> Vec<f64> {
    let length = dot(v, v).sqrt();
    v.iter().map(|v| v / length).collect()
}

/// The largest eigenvalue of a symmetric tridiagonal matrix, and its eigenvector of length 1.
fn largest(diagonal: &[f64], beside: &[f64]) -> (f64, Vec<f64>) {
    let count = diagonal.len();
    let around = |i: usize| beside.get(i).map_or(0.0, |b| b.abs()) + if i > 0 { beside[i - 1].abs() } else { 0.0 };
    // Gershgorin's bounds, then bisection: all pivots of T - x are negative where x lies above every eigenvalue.
    let ends = (0..count).map(|i| (diagonal[i] - around(i), diagonal[i] + around(i)));
    let (mut low, mut high) =
        ends.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), (l, h)| (low.min(l), high.max(h)));
    let above = |x: f64| {
        let mut pivot = 0.0;
        (0..count).all(|i| {
            pivot = diagonal[i] - x - if i > 0 { beside[i - 1] * beside[i - 1] / pivot } else { 0.0 };
            pivot < 0.0
        })
    };
    for _ in 0..200 {
        let middle = 0.5 * (low + high);
        if middle <= low || middle >= high {
            break;
        }
        if above(middle) { high = middle } else { low = middle }
    }
    // Inverse iteration a little above it, where no pivot is zero.
    let shift = high + 1e-10 * (high.abs() + around(0)).max(f64::MIN_POSITIVE);
    let mut vector = vec![1.0; count];
    for _ in 0..4 {
        let mut pivots = Vec::with_capacity(count);
        for i in 0..count {
            let before = if i > 0 { beside[i - 1] / pivots[i - 1] } else { 0.0 };
            pivots.push(diagonal[i] - shift - if i > 0 { before * beside[i - 1] } else { 0.0 });
            if i > 0 {
                vector[i] -= before * vector[i - 1];
            }
        }
        for i in (0..count).rev() {
            let behind = if i + 1 < count { beside[i] * vector[i + 1] } else { 0.0 };
            vector[i] = (vector[i] - behind) / pivots[i];
        }
        vector = unit(&vector);
    }
    (high, vector)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_eigenvalue_of_the_second_difference_is_known() {
        // 2 on the diagonal, -1 beside it: 2 - 2 cos(k pi / (n + 1)), the largest for k = n.
        for count in [1, 2, 5, 40] {
            let (value, vector) = largest(&vec![2.0; count], &vec![-1.0; count - 1]);
            let angle = std::f64::consts::PI * count as f64 / (count as f64 + 1.0);
            assert!((value - (2.0 - 2.0 * angle.cos())).abs() < 1e-12, "{count} {value}");
            for i in 0..count {
                let around = if i > 0 { vector[i - 1] } else { 0.0 } + vector.get(i + 1).unwrap_or(&0.0);
                assert!((2.0 * vector[i] - around - value * vector[i]).abs() < 1e-8, "{count} {i}");
            }
        }
    }

    #[test]
    fn a_negative_eigenvalue_of_larger_size_is_not_the_largest() {
        let (value, vector) = largest(&[-5.0, 1.0], &[0.0]);
        assert!((value - 1.0).abs() < 1e-12 && vector[1].abs() > 0.999, "{value} {vector:?}");
    }
}
