//! The singular values of a net's input-output Jacobian, all of them, at any depth.
//!
//! At depth 1000 they differ by hundreds of decades, and an SVD of the product of the layers' Jacobians knows the
//! largest 16 of these only. So the product is kept as `U diag(2^e) T`, with orthonormal columns U, exponents e and a
//! well conditioned T, and takes one layer after the other, each followed by a QR decomposition: the stratified or UDT
//! decomposition of quantum Monte Carlo (Loh et al. 1992, in "Electronic phase transitions"; C. Bauer 2020, `SciPost`
//! Phys. Core 2, 011, on its stability). At the end one-sided Jacobi finds every singular value of `diag(2^e) T` to
//! high relative accuracy. All scales are powers of two, and exact.
//!
//! The way back is that of gradients: the columns of U are a batch of them. For that, each layer runs forward again on
//! as many copies of its input.

use crate::backward;
use crate::error::{Cancel, Error, Result};
use crate::forward::{Trace, forward};
use crate::kernel::{Matrix, Panels, Scaled};
use crate::linalg::graded::{Factors, factors};
use crate::linalg::jacobi;
use crate::part::{Part, Signal};
use crate::plan::{Placed, Plan};
use crate::simd::{exponent_of, times_power_of_two};
use crate::weights::Weights;
use std::ops::Range;

/// `log2` of the singular values of dy/dx at one input, descending: `-inf` from where the rank ends, nan where a pass
/// leaves the range of `f64`. In a net that is fed at every step, x is the state before the first one.
pub fn log2_singular_values(plan: &Plan, weights: &Weights<f64>, x: &[f64], cancel: &Cancel) -> Result<Vec<f64>> {
    if plan.layers.iter().flat_map(|layer| &layer.parts).any(|placed| placed.part.needs_samples().is_some()) {
        return Err(Error::Value(
            "norm='batch' ties the samples of a batch together, so one sample has no Jacobian of its own; \
             take norm='layer' or 'rms', or none"
                .to_owned(),
        ));
    }
    let parts = || plan.layers.iter().flat_map(|layer| &layer.parts);
    let beyond = |placed: &Placed| match placed.part {
        Part::Map(map) => map.state.is_some(),
        Part::Cell(_) | Part::Cut(_) | Part::Steps(_) => true,
        _ => false,
    };
    if parts().any(beyond) {
        return Err(Error::Value(
            "the Jacobian of a recurrent net is that of its last state by its first, which is taken of one layer of a \
             plain cell, with outputs='last' and truncate=None, alone: an LSTM has two states, and layers have one each"
                .to_owned(),
        ));
    }
    let count = (plan.tokens * plan.values[0]).min(plan.output());
    let Some(product) = back(plan, weights, x, cancel)? else { return Ok(vec![f64::NAN; count]) };
    let mut values = product.log2_singular_values(cancel)?;
    values.sort_by(|a, b| b.total_cmp(a));
    values.resize(count, f64::NEG_INFINITY);
    Ok(values)
}

/// Bytes of what is done here: a forward pass of one sample, some layers for a batch of all outputs, and the matrices
/// of the product.
pub fn bytes(plan: &Plan) -> u128 {
    let longest = segments(plan).map(|layers| layers.len()).max().unwrap_or(0) as u128;
    let fed = plan.fed.map_or(0, |columns| plan.steps() as u128 * Panels::<f64>::bytes(columns, plan.output()));
    // A layer keeps ten batches at most; the passes use eight more between them, and the product twelve.
    let widest = plan.widest_bytes::<f64>(plan.output()).max(plan.output_bytes::<f64>(plan.output()));
    let of_layers = 10 * longest * widest;
    // Of the layers of a segment, every other one attends at most.
    let attention = longest.div_ceil(2) * plan.attention_bytes::<f64>(plan.output());
    plan.pass_bytes::<f64>(1) + fed + of_layers + attention + 20 * widest
}

/// The layers from the last to the first, together where a stream goes around several of them.
fn segments(plan: &Plan) -> impl Iterator<Item = Range<usize>> {
    let mut end = plan.layers.len();
    std::iter::from_fn(move || {
        let first = (0..end).rev().find(|&layer| plan.layers[layer].live.is_empty())?;
        Some(first..std::mem::replace(&mut end, first))
    })
}

/// The Jacobian as a product; none where a value is not finite.
fn back(plan: &Plan, weights: &Weights<f64>, x: &[f64], cancel: &Cancel) -> Result<Option<Product>> {
    let (mut once, mut trace, mut signal) = (Trace::default(), Trace::default(), Signal::default());
    once.set_input(plan, 1, |_, feature| x[feature]);
    if forward(plan, weights, &mut once, 0..plan.layers.len(), &mut (), cancel)?.is_some() {
        return Ok(None);
    }
    let outputs = plan.output();
    let (mut product, mut open, mut fed) = (Product::identity(outputs, plan.places), Vec::new(), 0);
    let (places, columns) = (plan.places, plan.output_row());
    signal.dh.panels.fill(columns, outputs * places, |row, feature| {
        f64::from(u8::from(row / places == row % places * columns + feature))
    });
    for layers in segments(plan) {
        if !product.level(&mut signal.dh) {
            return Ok(None);
        }
        let copies = product.rank();
        if plan.fed.is_some() && copies != fed {
            fed = copies;
            trace.set_input(plan, copies, |_, feature| x[feature]);
        }
        let input = once.value(plan.value(layers.start));
        let (values, repeated) = (input.panels.to_rows(), trace.begin(plan, layers.start));
        let (rows, features) = (input.panels.batch(), input.panels.features());
        repeated.panels.fill(features, copies * rows, |row, feature| values[row % rows * features + feature]);
        repeated.exponent = input.exponent;
        forward(plan, weights, &mut trace, layers.clone(), &mut (), cancel)?;
        for (layer, index) in
            layers.flat_map(|layer| (0..plan.layers[layer].parts.len()).map(move |i| (layer, i))).rev()
        {
            cancel.check()?;
            backward::part(plan, weights, &trace, &mut signal, (layer, index), &mut ());
            let part = &plan.layers[layer].parts[index].part;
            match part {
                Part::Join(join) if !open.contains(&join.stream) => open.push(join.stream),
                Part::Keep(keep) => open.retain(|stream| *stream != keep.stream),
                Part::Pool(pool) => product.rows = pool.tokens,
                _ => (),
            }
            // Rows that slopes have scaled still are what they are: the next map would mix them, and what is in the
            // small ones be lost. Inside a block, what went around it is yet to come.
            let renews = matches!(part, Part::Phi(_) | Part::Attend(_) | Part::Keep(_)) && open.is_empty();
            if renews && !product.renew(&mut signal.dh, cancel)? {
                return Ok(None);
            }
        }
        if product.rank() == 0 {
            return Ok(Some(product));
        }
    }
    Ok(product.renew(&mut signal.dh, cancel)?.then_some(product))
}

/// A product `U diag(2^e) T` whose U, transposed, is a batch on its way back.
struct Product {
    /// Rows of the batch that are one row of U: the tokens of a sample.
    rows: usize,
    exponents: Vec<i64>,
    t: Matrix<f64>,
    n: Panels<f64>,
    next: Panels<f64>,
}

impl Product {
    fn identity(size: usize, rows: usize) -> Self {
        let mut t = Matrix::default();
        t.fill(size, size, |entries| entries.iter_mut().step_by(size + 1).for_each(|entry| *entry = 1.0));
        Self { rows, exponents: vec![0; size], t, n: Panels::default(), next: Panels::default() }
    }

    fn rank(&self) -> usize {
        self.exponents.len()
    }

    /// Bring every column of U to size 1, its power of two to the exponents. False where a value is not finite.
    fn level(&mut self, u: &mut Scaled<f64>) -> bool {
        let (mut rows, features) = (u.panels.to_rows(), u.panels.features());
        self.exponents.iter_mut().for_each(|exponent| *exponent += u.exponent);
        self.scale(&mut rows, features * self.rows);
        u.panels.fill(features, self.rank() * self.rows, |row, feature| rows[row * features + feature]);
        u.exponent = 0;
        rows.iter().all(|entry| entry.is_finite())
    }

    /// Make U orthonormal anew; what it was before that goes into the rest. The batch keeps its size, with zeros where
    /// the rank has ended. False where a value is not finite.
    fn renew(&mut self, u: &mut Scaled<f64>, cancel: &Cancel) -> Result<bool> {
        let (rows, features, batch) = (u.panels.to_rows(), u.panels.features(), u.panels.batch());
        if !rows.iter().all(|entry| entry.is_finite()) {
            return Ok(false);
        }
        self.exponents.iter_mut().for_each(|exponent| *exponent += u.exponent);
        let found = factors(&rows[..self.rank() * self.rows * features], &self.exponents, cancel)?;
        u.panels
            .fill(features, batch, |sample, feature| found.u.get(sample * features + feature).copied().unwrap_or(0.0));
        u.exponent = 0;
        self.take(&found);
        Ok(true)
    }

    /// `T = n T`, with rows of size 1.
    fn take(&mut self, found: &Factors) {
        let (rank, inner, columns) = (found.exponents.len(), self.rank(), self.t.columns());
        self.exponents.clone_from(&found.exponents);
        if rank == 0 {
            return;
        }
        self.n.fill(inner, rank, |row, column| found.n[row * inner + column]);
        self.t.backward(&self.n, &mut self.next);
        let mut rows = self.next.to_rows();
        self.scale(&mut rows, columns);
        self.t.fill(rank, columns, |entries| entries.copy_from_slice(&rows));
    }

    /// Bring rows to size 1, their powers of two to the exponents.
    fn scale(&mut self, rows: &mut [f64], columns: usize) {
        for (row, exponent) in rows.chunks_exact_mut(columns).zip(&mut self.exponents) {
            let largest = row.iter().fold(0.0_f64, |most, entry| most.max(entry.abs()));
            if largest > 0.0 && largest.is_finite() {
                // The inverse of the smallest numbers would be infinite.
                let size = exponent_of(largest).max(-1000);
                let scale = times_power_of_two(1.0, -size);
                row.iter_mut().for_each(|entry| *entry *= scale);
                *exponent += size;
            }
        }
    }

    /// `log2` of the singular values of `diag(2^e) T`, which has those of the product.
    fn log2_singular_values(mut self, cancel: &Cancel) -> Result<Vec<f64>> {
        // Twice, which leaves rows that are independent and nearly orthogonal, and Jacobi few sweeps.
        for _ in 0..2 {
            if self.rank() == 0 {
                return Ok(Vec::new());
            }
            let found = factors(&self.t.to_rows(), &self.exponents, cancel)?;
            let (rank, columns) = (found.exponents.len(), self.rank());
            self.t.fill(rank, columns, |entries| entries.copy_from_slice(&found.n));
            self.exponents = found.exponents;
        }
        jacobi::log2_singular_values(self.t.to_rows(), &self.exponents, cancel)
    }
}
