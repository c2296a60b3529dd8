//! Many runs in parallel, one reused workspace a worker.
//!
//! Workers live as long as their job. A shared pool was tried: it made small jobs wait for the runs of others, kept the
//! threads of every count ever asked for, and had to be rebuilt after `fork`.

use crate::backward::{Signal, backward};
use crate::error::{Cancel, Error, Result};
use crate::forward::{Trace, forward};
use crate::gradients::Start;
use crate::loss::{Loss, Targets};
use crate::plan::{Plan, available_memory, check_memory};
use crate::rng::{Role, Stream};
use crate::simd::Float;
use crate::spec::Spec;
use crate::stats::{Buffers, COLUMNS, Columns, Gauge};
use crate::weights::Weights;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

/// Data of the caller.
#[derive(Debug, Clone)]
pub struct Data<F> {
    /// Samples, row-major.
    pub x: Vec<F>,
    /// Columns of `x`.
    pub columns: usize,
    /// Targets of the loss, with it.
    pub targets: Option<(Loss, Targets)>,
}

/// Cells to measure, each over the same seeds.
#[derive(Debug, Clone)]
pub struct Job<F> {
    /// The cells.
    pub specs: Vec<Spec>,
    /// Samples; standard normal ones if `None`.
    pub data: Option<Data<F>>,
    /// Samples of a run; fewer than the data has means a draw of rows for each seed.
    pub batch: usize,
    /// The first seed.
    pub seed: u64,
    /// How many seeds.
    pub seeds: usize,
    /// How many threads at most.
    pub threads: usize,
}

/// What a worker reuses from run to run.
struct Workspace<F> {
    weights: Weights<F>,
    trace: Trace<F>,
    signal: Signal<F>,
    buffers: Buffers<F>,
}

impl<F> Default for Workspace<F> {
    fn default() -> Self {
        Self {
            weights: Weights::default(),
            trace: Trace::default(),
            signal: Signal::default(),
            buffers: Buffers::default(),
        }
    }
}

/// Measure every cell. `finished` gets each cell's columns, one a seed, as soon as its last run ends; cells come in any
/// order. Results do not depend on the number of threads.
pub fn probe<F: Float>(job: &Job<F>, cancel: &Cancel, finished: &(dyn Fn(usize, Vec<Columns>) + Sync)) -> Result<()> {
    let workers = workers(job)?;
    let cells = job.specs.iter().map(|_| Mutex::new((0, vec![None; job.seeds]))).collect::<Vec<_>>();
    let (next, failure) = (AtomicUsize::new(0), Mutex::new(None));
    let work = || -> Result<()> {
        let mut space = Workspace::default();
        let mut planned: Option<(usize, Plan)> = None;
        loop {
            let task = next.fetch_add(1, Ordering::Relaxed);
            let (cell, seed) = (task / job.seeds, task % job.seeds);
            let Some(spec) = job.specs.get(cell) else { return Ok(()) };
            let plan = match planned.take() {
                Some((of, plan)) if of == cell => plan,
                _ => Plan::new(spec),
            };
            let columns = run(job, &plan, job.seed + seed as u64, &mut space, cancel)?;
            planned = Some((cell, plan));
            let mut guard = cells[cell].lock().unwrap_or_else(PoisonError::into_inner);
            guard.0 += 1;
            guard.1[seed] = Some(columns);
            if guard.0 == job.seeds {
                finished(cell, std::mem::take(&mut guard.1).into_iter().flatten().collect());
            }
        }
    };
    let worker = || {
        if let Err(error) = work() {
            *failure.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
        }
    };
    std::thread::scope(|scope| {
        for _ in 1..workers {
            // Where the system gives no further thread, those there are do the work.
            if std::thread::Builder::new().name("vgcore".to_owned()).spawn_scoped(scope, worker).is_err() {
                break;
            }
        }
        worker();
    });
    failure.into_inner().unwrap_or_else(PoisonError::into_inner).map_or(Ok(()), Err)
}

/// One run: one spec with one seed.
fn run<F: Float>(job: &Job<F>, plan: &Plan, seed: u64, space: &mut Workspace<F>, cancel: &Cancel) -> Result<Columns> {
    let Workspace { weights, trace, signal, buffers } = space;
    weights.draw(plan, seed, cancel)?;
    let start = set_input(job, plan, seed, trace);
    let mut gauge = Gauge::new(plan.activations.iter().map(crate::activation::Activation::steepest).collect(), buffers);
    if let Some(layer) = forward(plan, weights, trace, &mut gauge, cancel)? {
        gauge.columns.break_off(layer);
        return Ok(gauge.columns);
    }
    let output = trace.output(plan);
    let (cotangent, _) = start.cotangent(output);
    // A loss may overflow where its gradient does not.
    if cotangent.iter().any(|c| !c.is_finite()) {
        gauge.columns.break_off(plan.depth());
        return Ok(gauge.columns);
    }
    signal.dh.fill(output.panels.features(), output.panels.batch(), &cotangent);
    backward(plan, weights, trace, signal, &mut gauge, cancel)?;
    Ok(gauge.columns)
}

/// The samples of a run and what starts its backward pass.
fn set_input<F: Float>(job: &Job<F>, plan: &Plan, seed: u64, trace: &mut Trace<F>) -> Start {
    let normals = |role, count| {
        let mut all = vec![0.0; count];
        Stream::new(seed, 0, role).normal::<F, f64>(0.0, 1.0, &mut all);
        all
    };
    let (batch, columns) = (job.batch, plan.in_features);
    let Some(data) = &job.data else {
        let x = normals(Role::Input, batch * columns);
        trace.set_input(columns, batch, |sample, feature| F::of(x[sample * columns + feature]));
        return random_cotangent(batch, normals(Role::Cotangent, batch * plan.output()));
    };
    let total = data.x.len() / columns;
    let rows =
        if batch < total { Stream::new(seed, 0, Role::Batch).choose(batch, total) } else { (0..total).collect() };
    trace.set_input(columns, rows.len(), |sample, feature| data.x[rows[sample] * columns + feature]);
    match &data.targets {
        None => random_cotangent(rows.len(), normals(Role::Cotangent, rows.len() * plan.output())),
        Some((loss, Targets::Classes(ids))) => {
            Start::Loss(*loss, Targets::Classes(rows.iter().map(|&row| ids[row]).collect()))
        }
        Some((loss, Targets::Values(values, width))) => {
            let values = rows.iter().flat_map(|&row| &values[row * width..][..*width]).copied().collect();
            Start::Loss(*loss, Targets::Values(values, *width))
        }
    }
}

/// Standard normals over `sqrt(batch)`.
fn random_cotangent(batch: usize, mut normals: Vec<f64>) -> Start {
    let scale = 1.0 / (batch as f64).sqrt();
    normals.iter_mut().for_each(|n| *n *= scale);
    Start::Cotangent(normals)
}

/// As many workers as tasks, threads and memory allow; an error where not even one fits.
fn workers<F: Float>(job: &Job<F>) -> Result<usize> {
    let largest = |spec: &Spec| {
        let plan = Plan::new(spec);
        plan.weight_bytes::<F>() + plan.pass_bytes::<F>(job.batch)
    };
    let one = job.specs.iter().map(largest).max().unwrap_or(0);
    let results =
        job.specs.iter().map(|spec| spec.depth as u128).sum::<u128>() * job.seeds as u128 * 8 * COLUMNS.len() as u128;
    check_memory("this probe", one + results, "lower depth, width, batch or seeds")?;
    let tasks = (job.specs.len() * job.seeds).max(1);
    let fits = available_memory()
        .map_or(usize::MAX, |bytes| (u128::from(bytes).saturating_sub(results) / one.max(1)) as usize);
    Ok(job.threads.min(tasks).min(fits).max(1))
}

/// The number of threads to use: the caller's, else `VGCORE_NUM_THREADS`, else what the machine offers.
pub fn threads(given: Option<i128>) -> Result<usize> {
    const MOST: u64 = 1024;
    if let Some(given) = given {
        return crate::spec::integer("threads", given, 1, MOST).map(|n| n as usize);
    }
    match std::env::var("VGCORE_NUM_THREADS") {
        Ok(text) if !text.trim().is_empty() => {
            let number = text.trim().parse::<i128>().map_err(|_| {
                Error::value("VGCORE_NUM_THREADS", &format!("an integer from 1 to {MOST}"), format!("'{text}'"))
            })?;
            crate::spec::integer("VGCORE_NUM_THREADS", number, 1, MOST).map(|n| n as usize)
        }
        _ => Ok(std::thread::available_parallelism().map_or(1, usize::from)),
    }
}
