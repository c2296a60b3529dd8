//! What is recorded of a step, layer by layer.

use super::data::Rows;
use super::gradient::{Factor, Gradients};
use super::layout::Layout;
use super::update::Seen;
use crate::activation::Activation;
use crate::error::{Cancel, Result};
use crate::forward::{Trace, forward};
use crate::kernel::{Panels, Scaled};
use crate::part::Watch;
use crate::plan::Plan;
use crate::run;
use crate::simd::Float;
use crate::spec::Spec;
use crate::stats::Column;
use crate::weights::Weights;
use std::sync::{Arc, Mutex, PoisonError};

macro_rules! monitors {
    ($($(#[$doc:meta])* $monitor:ident $name:literal,)*) => {
        /// A number of a step, one for each row of a probe and for the readout.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Monitor {
            $($(#[$doc])* $monitor,)*
        }

        /// All monitors with their names.
        pub const MONITORS: [(&str, Monitor); [$($name),*].len()] = [$(($name, Monitor::$monitor)),*];
    };
}

monitors! {
    /// log10 of the norm of the weights before the step.
    WeightNorm "log10_weight_norm",
    /// log10 of the norm of their gradient, before it is clipped.
    GradientNorm "log10_wgrad_norm",
    /// log10 of the norm of what the optimiser adds to them.
    UpdateNorm "log10_update_norm",
    /// log10 of the ratio of the two norms.
    UpdateRatio "log10_update_ratio",
    /// Share of the weights with a gradient that the step did not change.
    Rounded "rounded",
    /// log10 of the root mean square of the pre-activations of the probe set.
    ZRms "log10_z_rms",
    /// log10 of the root mean square of `dL/dz` of the probe set.
    DeltaRms "log10_delta_rms",
    /// Share of units that give 0 on all of the probe set.
    Dead "dead",
    /// Share of units that have died since the last record.
    Births "births",
    /// Share of units that have come to life since the last record.
    Revivals "revivals",
    /// Share of slopes that are flat.
    Saturated "saturated",
    /// Mean cosine of the pre-activations of two samples.
    Correlation "correlation",
}

/// Those that a probe measures, and its names for them.
const PROBED: [(Monitor, Column); 5] = [
    (Monitor::ZRms, Column::ZRms),
    (Monitor::DeltaRms, Column::DeltaRms),
    (Monitor::Dead, Column::Dead),
    (Monitor::Saturated, Column::Saturated),
    (Monitor::Correlation, Column::Correlation),
];

/// What was seen of a tensor's step, and its rate where the step is the gradient times that and nothing else; nothing of
/// a tensor that stays.
pub(super) type Sight = Option<(Seen, Option<f64>)>;

/// The records of a run.
#[derive(Debug, Clone, Default)]
pub struct Records {
    /// `[monitor][record * rows + row]`, in the order of the monitors that were asked for.
    pub values: Vec<Vec<f64>>,
}

/// Which monitors are on, and what they need from record to record.
pub(super) struct Recorder<'j> {
    monitors: &'j [Monitor],
    layout: &'j Layout,
    plan: &'j Arc<Plan>,
    records: Records,
}

impl<'j> Recorder<'j> {
    pub fn new(monitors: &'j [Monitor], layout: &'j Layout, plan: &'j Arc<Plan>, count: usize) -> Self {
        let records = Records { values: vec![vec![f64::NAN; count * layout.rows.len()]; monitors.len()] };
        Self { monitors, layout, plan, records }
    }

    fn set(&mut self, monitor: Monitor, record: usize, row: usize, value: f64) {
        let at = record * self.layout.rows.len() + row;
        if let Some(index) = self.monitors.iter().position(|m| *m == monitor) {
            self.records.values[index][at] = value;
        }
    }

    fn wants(&self, any: &[Monitor]) -> bool {
        self.monitors.iter().any(|monitor| any.contains(monitor))
    }

    /// Norms of weights, gradients and updates. `plain` is the rate where a step is the gradient times that and nothing
    /// else: then its norm is known beyond the range of the type.
    pub fn step<F: Float>(&mut self, record: usize, gradients: &Gradients<F>, seen: &[Sight]) {
        for row in 0..self.layout.rows.len() {
            let place = self.layout.rows[row];
            let Some((seen, plain)) = seen[place] else { continue };
            let gradient = &gradients.all[place];
            let weight = 0.5 * libm::log10(seen.squares[1]);
            let update = match plain {
                Some(lr) => {
                    let norm = Factor { value: gradient.left.sqrt() * lr, exponent: 0 };
                    norm.times(gradient.gain).log10()
                }
                None => 0.5 * libm::log10(seen.squares[0]),
            };
            self.set(Monitor::WeightNorm, record, row, weight);
            self.set(Monitor::GradientNorm, record, row, gradient.norm().log10());
            self.set(Monitor::UpdateNorm, record, row, update);
            self.set(Monitor::UpdateRatio, record, row, update - weight);
            let share = seen.rounded as f64 / seen.with_gradient as f64;
            self.set(Monitor::Rounded, record, row, share);
        }
    }

    /// What a probe of the weights before the step finds on the probe set, and which units were dead at the last record.
    pub fn probe<F: Float>(
        &mut self,
        record: usize,
        spec: &Spec,
        (weights, dead): (&Weights<F>, &mut Vec<Vec<bool>>),
        rows: &Rows<F>,
        cancel: &Cancel,
    ) -> Result<()> {
        if self.wants(&PROBED.map(|(monitor, _)| monitor)) {
            let job = run::Job {
                specs: vec![spec.clone()],
                plan: Some(Arc::clone(self.plan)),
                given: Some(Arc::new(weights.clone())),
                data: Some(rows.data()),
                loss: Some((rows.loss, rows.targets.clone())),
                batch: rows.count,
                seed: 0,
                seeds: 1,
                threads: 1,
            };
            let found = Mutex::new(None);
            run::probe(&job, cancel, &|_, columns| {
                *found.lock().unwrap_or_else(PoisonError::into_inner) = columns.into_iter().next();
            })?;
            if let Some(columns) = found.into_inner().unwrap_or_else(PoisonError::into_inner) {
                for (monitor, column) in PROBED {
                    let values = &columns.values[column as usize];
                    (0..values.len()).for_each(|row| self.set(monitor, record, row, values[row]));
                }
            }
        }
        if self.wants(&[Monitor::Births, Monitor::Revivals]) {
            let mut now = Alive(vec![Vec::new(); self.plan.rows.len()]);
            let mut trace = Trace::default();
            rows.begin(&mut trace, self.plan, &(0..rows.count).collect::<Vec<_>>());
            forward(self.plan, weights, &mut trace, 0..self.plan.depth(), &mut now, cancel)?;
            for (row, (before, alive)) in dead.iter().zip(&now.0).enumerate() {
                let share = |was_dead: bool| {
                    let changed = |(dead, alive): &(&bool, &bool)| **dead == was_dead && **alive == was_dead;
                    before.iter().zip(alive).filter(changed).count() as f64 / alive.len().max(1) as f64
                };
                self.set(Monitor::Births, record, row, share(false));
                self.set(Monitor::Revivals, record, row, share(true));
            }
            *dead = now.0.into_iter().map(|row| row.into_iter().map(|alive| !alive).collect()).collect();
        }
        Ok(())
    }

    pub fn finish(self) -> Records {
        self.records
    }
}

/// Sees which units of each row are alive.
struct Alive(Vec<Vec<bool>>);

impl<F: Float> Watch<F> for Alive {
    fn z(&mut self, _: usize, _: &Scaled<F>) -> bool {
        true
    }
    fn phi(&mut self, _: usize, _: &Activation, _: &Scaled<F>, _: &Scaled<F>, _: &Panels<F>) {}
    fn a(&mut self, row: usize, a: &Scaled<F>) -> bool {
        a.panels.count_dead(&mut self.0[row]);
        true
    }
    fn h(&mut self, _: usize, _: &Scaled<F>) {}
}
