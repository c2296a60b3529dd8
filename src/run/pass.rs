//! One run of a family: samples, the forward pass that all its cells share, and their backward passes side by side.

use super::Job;
use crate::backward::layer;
use crate::calibrate::{calibrated, factor};
use crate::distribution::Distribution;
use crate::error::{Cancel, Result};
use crate::forward::{Checkpoint, Trace, forward};
use crate::gradients::Start;
use crate::kernel::Scaled;
use crate::part::{Signal, UnitNormals};
use crate::plan::Plan;
use crate::rng::{Role, Stream};
use crate::simd::Float;
use crate::stats::{Buffers, Columns, Gauge};
use crate::weights::Weights;
use std::borrow::Cow;
use std::ops::Range;
use std::sync::Arc;

/// What a worker reuses from run to run, and leaves for the next job.
pub(super) struct Workspace<F> {
    /// Threads of a run: more than one where there are fewer runs than threads.
    threads: usize,
    units: UnitNormals<F>,
    weights: Weights<F>,
    trace: Trace<F>,
    /// What lives at the beginning of each segment of a deep net.
    checkpoints: Vec<Checkpoint<F>>,
    /// The backward pass of each cell.
    signals: Vec<Signal<F>>,
    /// The pass of a readout.
    head: Trace<F>,
    buffers: Buffers<F>,
}

impl<F> Default for Workspace<F> {
    fn default() -> Self {
        Self {
            threads: 1,
            units: UnitNormals::default(),
            weights: Weights::default(),
            trace: Trace::default(),
            checkpoints: Vec::new(),
            signals: Vec::new(),
            head: Trace::default(),
            buffers: Buffers::default(),
        }
    }
}

impl<F: Float> Workspace<F> {
    /// Get ready for a job whose runs take so many threads each, and keep so many bytes of unit normals.
    pub fn begin(&mut self, threads: usize, units: usize) {
        (self.threads, self.units) = (threads, UnitNormals::with_room(units));
    }
}

/// Where the numbers of a run come from: they are given, or drawn.
struct Source<'r, F> {
    job: &'r Job<F>,
    plan: &'r Plan,
    seed: u64,
    /// Where there are several, a segment is drawn ahead. On one thread a layer is drawn just before it is run, which
    /// finds its weights in the caches.
    threads: usize,
    cancel: &'r Cancel,
}

impl<F: Float> Source<'_, F> {
    /// Get ready for some layers.
    fn begin(&self, layers: Range<usize>, drawn: &mut Weights<F>) -> Result<()> {
        match (&self.job.given, self.threads) {
            (Some(_), _) => (),
            (None, 1) => drop(drawn.begin(self.plan, &layers)),
            (None, threads) => drawn.draw_on(threads, self.plan, layers, self.seed, self.cancel)?,
        }
        Ok(())
    }

    /// The numbers up to one of these layers.
    fn layer<'w>(
        &'w self,
        layer: usize,
        drawn: &'w mut Weights<F>,
        units: &mut UnitNormals<F>,
    ) -> Result<&'w Weights<F>> {
        if self.job.given.is_none() && self.threads == 1 {
            drawn.draw(self.plan, layer, self.seed, units, self.cancel)?;
        }
        Ok(self.job.numbers(drawn))
    }
}

/// Cells of a net that is held whole whose backward passes go side by side. Fewer would read the weights and take the
/// Gram matrix of every value more often; more would come later.
pub(super) const WAVE: usize = 16;

/// One run of a family's plans, `segment` layers held at a time: its nets with one seed. The forward pass of the
/// deepest is that of all; their backward passes go side by side, each from its own output: in waves, the shallowest
/// first, or all in one where layers would have to be run again for every wave. `finished` gets the place of each cell
/// and its columns when its wave ends.
pub(super) fn run<F: Float>(
    job: &Job<F>,
    plans: &[Arc<Plan>],
    segment: usize,
    seed: u64,
    space: &mut Workspace<F>,
    cancel: &Cancel,
    mut finished: impl FnMut(usize, Columns),
) -> Result<()> {
    let Workspace { threads, units, weights: drawn, trace, checkpoints, signals, head, buffers } = space;
    let mut plan = Cow::Borrowed(&*plans[0]);
    let start = set_input(job, &plan, seed, trace, cancel)?;
    if plan.calibrates {
        // The first layer tells where this was cancelled.
        let begin = |trace: &mut Trace<F>| drop(set_input(job, &plans[0], seed, trace, cancel));
        plan = Cow::Owned(calibrated(&plans[0], seed, *threads, begin, cancel)?);
    }
    let (plan, depth) = (&*plan, plan.depth());
    let segments = (0..depth).step_by(segment).map(|first| first..(first + segment).min(depth));
    let source = Source { job, plan, seed, threads: *threads, cancel };

    let mut shared = Columns::new(plan);
    let mut broken = None;
    checkpoints.resize_with(segments.len().max(checkpoints.len()), Checkpoint::default);
    for (layers, checkpoint) in segments.clone().zip(&mut *checkpoints) {
        if layers.len() < depth {
            trace.save(plan, layers.start, checkpoint);
        }
        if layers.start > 0 {
            trace.resume(plan, layers.start, checkpoint);
        }
        source.begin(layers.clone(), drawn)?;
        for layer in layers {
            let weights = source.layer(layer, drawn, units)?;
            let gauge = &mut Gauge { columns: &mut shared, plan, weights, buffers };
            let found = forward(plan, weights, trace, layer..layer + 1, gauge, cancel)?;
            broken = broken.or(found);
        }
        if broken.is_some() {
            break;
        }
    }

    // Cells that end before anything broke, the deepest first.
    let sound = |cell: &usize| broken.is_none_or(|layer| plans[*cell].depth() <= layer);
    let waiting = (0..plans.len()).filter(sound).collect::<Vec<_>>();
    let size = if segment < depth { plans.len() } else { WAVE };
    let mut waves = waiting.rchunks(size).map(|wave| (wave, plans[wave[0]].depth())).collect::<Vec<_>>();
    // All that was reached is seen once, whether or not a cell ends there.
    let reached = broken.map_or(depth, |layer| layer + 1);
    match waves.last_mut() {
        Some((_, top)) => *top = reached,
        None => waves.push((&[], reached)),
    }
    for (wave, top) in waves {
        let mut all = wave.iter().map(|&cell| Columns::new(&plans[cell])).collect::<Vec<Columns>>();
        signals.resize_with(signals.len().max(all.len()), Signal::default);
        // So many of the wave's passes have begun; those of nets that broke in the readout end there.
        let (mut begun, mut active) = (0, Vec::<usize>::with_capacity(wave.len()));
        for (layers, checkpoint) in segments.clone().zip(&*checkpoints).rev().filter(|(layers, _)| layers.start < top) {
            let last = layers.end >= top;
            if !last {
                trace.resume(plan, layers.start, checkpoint);
                source.begin(layers.clone(), drawn)?;
                for layer in layers.clone() {
                    let weights = source.layer(layer, drawn, units)?;
                    forward(plan, weights, trace, layer..layer + 1, &mut (), cancel)?;
                }
            }
            // The end of every other segment has been seen as the start of the next.
            for level in (layers.start..layers.end.min(top) + usize::from(last)).rev() {
                cancel.check()?;
                let weights = job.numbers(drawn);
                Gauge { columns: &mut shared, plan, weights, buffers }.input(level, trace.value(plan.value(level)));
                for &index in &active {
                    cancel.check()?;
                    let (columns, plan) = (&mut all[index], &plans[wave[index]]);
                    let gauge = &mut Gauge { columns, plan, weights, buffers };
                    layer(plan, weights, trace, &mut signals[index], level, gauge);
                }
                while let Some(plan) = wave.get(begun).map(|&cell| &plans[cell]).filter(|plan| plan.depth() == level) {
                    if job.given.is_none() {
                        drawn.draw_readout(plan, seed, units, cancel)?;
                        if let Some(readout) = plan.readout().filter(|_| plan.calibrates) {
                            let (out, _) = output(plan, drawn, trace, head, cancel)?;
                            let factor = factor(drawn.layer(plan, level)[readout].linear(), out);
                            drawn.scale(plan, level, readout, factor);
                        }
                    }
                    let weights = job.numbers(drawn);
                    let gauge = &mut Gauge { columns: &mut all[begun], plan, weights, buffers };
                    if begin(&start, trace, head, &mut signals[begun], gauge, cancel)? {
                        active.push(begun);
                    } else {
                        all[begun].break_off(plan, level);
                    }
                    begun += 1;
                }
            }
        }
        active.iter().for_each(|&index| all[index].finish());
        for (&cell, mut columns) in wave.iter().zip(all) {
            columns.take_forward(&shared);
            finished(cell, columns);
        }
    }
    if let Some(layer) = broken {
        for (cell, plan) in plans.iter().enumerate().filter(|(_, plan)| plan.depth() > layer) {
            let mut columns = Columns::new(plan);
            columns.take_forward(&shared);
            columns.break_off(plan, layer);
            finished(cell, columns);
        }
    }
    Ok(())
}

/// What the readout makes of the last hidden output, or that itself without one; and is it finite?
fn output<'t, F: Float>(
    plan: &Plan,
    weights: &Weights<F>,
    trace: &'t Trace<F>,
    head: &'t mut Trace<F>,
    cancel: &Cancel,
) -> Result<(&'t Scaled<F>, bool)> {
    let depth = plan.depth();
    if !plan.has_readout() {
        return Ok((trace.value(plan.value(depth)), true));
    }
    head.go_on(plan, depth, trace);
    let broken = forward(plan, weights, head, depth..depth + 1, &mut (), cancel)?;
    Ok((head.value(plan.value(depth + 1)), broken.is_none()))
}

/// Begin the backward pass of a net in `signal.dh`, from its last hidden output. False where a value is not finite.
fn begin<F: Float>(
    start: &Start,
    trace: &Trace<F>,
    head: &mut Trace<F>,
    signal: &mut Signal<F>,
    gauge: &mut Gauge<'_, F>,
    cancel: &Cancel,
) -> Result<bool> {
    let Gauge { plan, weights, .. } = *gauge;
    let (out, finite) = output(plan, weights, trace, head, cancel)?;
    if !finite {
        return Ok(false);
    }
    let (cotangent, loss) = start.cotangent(plan.output_row(), || out.to_rows());
    gauge.output(out, loss);
    // A loss may overflow where its gradient does not.
    if cotangent.iter().any(|c| !c.is_finite()) {
        return Ok(false);
    }
    signal.begin(out.panels.features(), out.panels.batch(), &cotangent);
    if plan.has_readout() {
        layer(plan, weights, head, signal, plan.depth(), gauge);
    }
    Ok(true)
}

/// The samples of a run, put where the forward pass begins, and what starts its backward pass.
fn set_input<F: Float>(job: &Job<F>, plan: &Plan, seed: u64, trace: &mut Trace<F>, cancel: &Cancel) -> Result<Start> {
    let normals = |role, count| {
        let mut all = vec![F::ZERO; count];
        let stream = Stream::new(seed, 0, role);
        Distribution::Normal(0.0, 1.0).fill(stream, count, 1, &mut all, cancel).map(|()| all)
    };
    let (batch, columns) = (job.batch, plan.columns);
    let rows = if let Some(data) = &job.data {
        let total = data.x.len() / columns;
        let rows =
            if batch < total { Stream::new(seed, 0, Role::Batch).choose(batch, total) } else { (0..total).collect() };
        trace.set_input(plan, rows.len(), |sample, feature| data.x[rows[sample] * columns + feature]);
        rows
    } else {
        let x = normals(Role::Input, batch * columns)?;
        trace.set_input(plan, batch, |sample, feature| x[sample * columns + feature]);
        (0..batch).collect::<Vec<_>>()
    };
    cancel.check()?;
    if let Some((loss, targets)) = &job.loss {
        return Ok(Start::Loss(*loss, targets.of(&plan.places_of(&rows))));
    }
    let normals = normals(Role::Cotangent, rows.len() * plan.output())?;
    Ok(random_cotangent(rows.len(), normals.into_iter().map(Float::wide).collect()))
}

/// Standard normals over `sqrt(batch)`.
fn random_cotangent(batch: usize, mut normals: Vec<f64>) -> Start {
    let scale = 1.0 / (batch as f64).sqrt();
    normals.iter_mut().for_each(|n| *n *= scale);
    Start::Cotangent(normals)
}
