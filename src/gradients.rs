//! Explicit gradients of one net, and the losses that start them.

use crate::backward::{self, Collect, Signal};
use crate::error::{Cancel, Result};
use crate::forward::{self, Trace, forward};
use crate::kernel::{Matrix, Scaled, outer_rows};
use crate::loss::{Loss, Targets};
use crate::plan::Plan;
use crate::simd::{Float, times_power_of_two};
use crate::threads::share;
use crate::weights::Weights;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex, OnceLock, PoisonError};

/// A tensor times a power of two.
#[derive(Debug, Clone)]
pub struct Tensor<T> {
    /// Entries in C order.
    pub values: Vec<T>,
    /// The exponent.
    pub exponent: i64,
}

impl<T: Float> Tensor<T> {
    /// True values, 0 or infinite where the type ends.
    pub fn spelled_out<F: Float>(&self) -> Vec<F> {
        // Two factors, because 2^exponent alone may be out of range where the products are not. The first product is
        // exact, or so far out that the second cannot bring it back.
        let exponent = self.exponent.clamp(-2000, 2000);
        let [first, second] = [exponent / 2, exponent - exponent / 2].map(|half| times_power_of_two(1.0, half));
        self.values.iter().map(|v| F::of(v.wide() * first * second)).collect()
    }

    /// Make the values the true ones, as above.
    pub fn spell_out(&mut self) {
        let factor = T::of(times_power_of_two(1.0, self.exponent));
        if factor.finite() && factor.wide() > 1e-37 {
            self.values.iter_mut().for_each(|v| *v *= factor);
        } else {
            self.values = self.spelled_out();
        }
        self.exponent = 0;
    }
}

/// Every gradient of one backward pass, input side first.
#[derive(Debug, Clone)]
pub struct Gradients<F> {
    /// `dL/dW`, the readout's last.
    pub weights: Vec<Tensor<F>>,
    /// `dL/db`, the readout's last.
    pub biases: Vec<Tensor<f64>>,
    /// `dL/dz` of the hidden layers, `(batch, width)`.
    pub preactivations: Vec<Tensor<F>>,
    /// `dL/dx`, `(batch, in_features)`.
    pub input: Tensor<F>,
    /// The loss, where there is one.
    pub loss: Option<f64>,
}

/// What starts the backward pass.
#[derive(Debug, Clone)]
pub enum Start {
    /// `dL/dy`, row-major.
    Cotangent(Vec<f64>),
    /// A loss on targets.
    Loss(Loss, Targets),
}

impl Start {
    /// `dL/dy` and the loss, from the output.
    pub fn cotangent<F: Float>(&self, output: &Scaled<F>) -> (Vec<f64>, Option<f64>) {
        match self {
            Self::Cotangent(cotangent) => (cotangent.clone(), None),
            Self::Loss(loss, targets) => {
                let (loss, gradient) = loss.evaluate(&output.to_rows(), output.panels.features(), targets);
                (gradient, Some(loss))
            }
        }
    }
}

/// What is known of a linear map: its delta, once the backward pass has been there, then its gradients.
struct Slot<F> {
    delta: OnceLock<Scaled<F>>,
    found: OnceLock<(Tensor<F>, Tensor<f64>, Tensor<F>)>,
}

/// The gradients of the maps, worked out by any thread as soon as their deltas are there, the readout's first.
struct Board<'p, F> {
    /// One a map.
    slots: Vec<Slot<F>>,
    /// How many deltas are there; `None` when no more will come.
    ready: Mutex<Option<usize>>,
    changed: Condvar,
    /// How many maps have been taken.
    taken: AtomicUsize,
    trace: &'p Trace<F>,
    spell: fn(&mut Tensor<F>),
}

impl<F: Float> Collect<F> for &Board<'_, F> {
    fn map(&mut self, index: usize, delta: &Scaled<F>, _: &Scaled<F>) {
        let _ = self.slots[index].delta.set(delta.clone());
        if let Some(ready) = self.ready.lock().unwrap_or_else(PoisonError::into_inner).as_mut() {
            *ready += 1;
        }
        self.changed.notify_all();
    }
}

/// No more deltas will come, whether the passes ended or panicked.
struct Close<'b, 'p, F>(&'b Board<'p, F>);

impl<F> Drop for Close<'_, '_, F> {
    fn drop(&mut self) {
        *self.0.ready.lock().unwrap_or_else(PoisonError::into_inner) = None;
        self.0.changed.notify_all();
    }
}

impl<F: Float> Board<'_, F> {
    /// Work out maps until none is left.
    fn work(&self, cancel: &Cancel) {
        let (mut scratch, mut near) = (Matrix::default(), Scaled::default());
        loop {
            let taken = self.taken.fetch_add(1, Ordering::Relaxed);
            let Some(index) = self.slots.len().checked_sub(taken + 1) else { return };
            let ready = self.ready.lock().unwrap_or_else(PoisonError::into_inner);
            let waits = |ready: &mut Option<usize>| ready.is_some_and(|ready| ready <= taken);
            drop(self.changed.wait_while(ready, waits));
            let Slot { delta, found } = &self.slots[index];
            let Some(delta) = delta.get().filter(|_| cancel.check().is_ok()) else { return };
            let input = self.trace.input(index).near_one(&mut near);
            let exponent = delta.exponent + input.exponent;
            let mut weight = Tensor { values: outer_rows(&delta.panels, &input.panels, &mut scratch), exponent };
            let mut preactivation = Tensor { values: delta.panels.to_rows(), exponent: delta.exponent };
            let mut bias = Vec::new();
            delta.panels.weighted(&vec![1.0; delta.panels.batch()], &mut bias);
            (self.spell)(&mut weight);
            (self.spell)(&mut preactivation);
            let _ = found.set((weight, Tensor { values: bias, exponent: delta.exponent }, preactivation));
        }
    }
}

/// The output of a net on row-major samples.
pub fn output<F: Float>(plan: &Plan, weights: &Weights<F>, x: &[F], cancel: &Cancel) -> Result<Vec<f64>> {
    let (mut trace, mut head) = (Trace::default(), Scaled::default());
    Ok(pass(plan, weights, x, &mut trace, &mut head, cancel)?.to_rows())
}

/// All gradients of a net on row-major samples. `spell` sees the tensors of weights and pre-activations as they come.
///
/// One thread runs the passes; the others turn deltas into gradients behind it.
pub fn gradients<F: Float>(
    plan: &Plan,
    weights: &Weights<F>,
    x: &[F],
    start: &Start,
    threads: usize,
    spell: fn(&mut Tensor<F>),
    cancel: &Cancel,
) -> Result<Gradients<F>> {
    let depth = plan.depth();
    let (mut trace, mut head) = (Trace::default(), Scaled::default());
    let output = pass(plan, weights, x, &mut trace, &mut head, cancel)?;
    let (cotangent, loss) = start.cotangent(output);
    let mut signal = Signal::default();
    signal.dh.fill(output.panels.features(), output.panels.batch(), &cotangent);
    let slot = |_| Slot { delta: OnceLock::new(), found: OnceLock::new() };
    let board = Board {
        slots: weights.maps.iter().map(slot).collect(),
        ready: Mutex::new(Some(0)),
        changed: Condvar::new(),
        taken: AtomicUsize::new(0),
        trace: &trace,
        spell,
    };
    let passes = || {
        let close = Close(&board);
        if plan.readout.is_some() {
            backward::readout(weights.map(depth), trace.input(depth), &mut signal, depth, &mut &board);
        }
        for layer in (0..depth).rev() {
            if cancel.check().is_err() {
                break;
            }
            backward::layer(plan, weights, &trace, &mut signal, layer, &mut &board);
        }
        drop(close);
        board.work(cancel);
    };
    // A thread takes longer to start than a small net's gradients.
    let work = plan.weight_entries() * x.len() / plan.in_features;
    share(if work < WORTH_A_THREAD { 1 } else { threads }, passes, || board.work(cancel));
    cancel.check()?;
    let mut all = Gradients {
        weights: Vec::new(),
        biases: Vec::new(),
        preactivations: Vec::new(),
        input: Tensor { values: signal.dh.panels.to_rows(), exponent: signal.dh.exponent },
        loss,
    };
    for (weight, bias, preactivation) in board.slots.into_iter().filter_map(|slot| slot.found.into_inner()) {
        all.weights.push(weight);
        all.biases.push(bias);
        all.preactivations.push(preactivation);
    }
    all.preactivations.truncate(depth);
    Ok(all)
}

/// Multiply-adds of a weight gradient from which on further threads are started: some hundred microseconds.
const WORTH_A_THREAD: usize = 10_000_000;

/// The forward pass of a whole net; gives its output.
fn pass<'t, F: Float>(
    plan: &Plan,
    weights: &Weights<F>,
    x: &[F],
    trace: &'t mut Trace<F>,
    head: &'t mut Scaled<F>,
    cancel: &Cancel,
) -> Result<&'t Scaled<F>> {
    let columns = plan.in_features;
    let input = trace.begin(0);
    input.panels.fill(columns, x.len() / columns, |sample, feature| x[sample * columns + feature]);
    forward(plan, weights, trace, 0..plan.depth(), &mut (), cancel)?;
    let hidden = trace.input(plan.depth());
    if plan.readout.is_none() {
        return Ok(hidden);
    }
    forward::readout(weights.map(plan.depth()), hidden, head);
    Ok(head)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spelling_out_gives_zero_and_infinity_only_where_the_type_ends() {
        let out = |value: f64, exponent| Tensor { values: vec![value], exponent }.spelled_out::<f64>()[0];
        assert_eq!(out(1.5, 3), 12.0);
        assert_eq!(out(1.0, -1074), f64::from_bits(1));
        assert_eq!(out(1.0, -1076), 0.0);
        assert_eq!(out(1.5, 1023), 1.5 * 2_f64.powi(1023));
        assert_eq!(out(1.5, 1024), f64::INFINITY);
        assert_eq!(out(-1.0, i64::MIN / 8), -0.0);
        assert_eq!(Tensor { values: vec![1.0_f64], exponent: 128 }.spelled_out::<f32>()[0], f32::INFINITY);
        // 2^1100 times 2^-1100: the values may be far from 1 themselves.
        assert_eq!(out(2_f64.powi(-1000), 1500), 2_f64.powi(500));
        assert_eq!(out(2_f64.powi(1000), -1500), 2_f64.powi(-500));
    }
}
