//! Measurements: a probe of many cells, the problem that it draws, and the gradient check.

use super::background::{UNKNOWN, detached, in_background, pause};
use super::convert::{array, as_matrix, double, integer, matrix, seed_of, steps, thread_limit};
use super::kinds::kind_text;
use super::net::{BATCH, Handle, Net, either};
use super::spec::{checked_of, spec_of};
use super::targets::{loss_of, targets_of};
use crate::data::{Data, Expected};
use crate::distribution::Distribution;
use crate::error::{Cancel, Error, Result};
use crate::loss::{Loss, Targets};
use crate::memory::{available_memory, check_memory};
use crate::plan::Plan;
use crate::rng::{Role, Stream};
use crate::run::{self, Job};
use crate::simd::Float;
use crate::spec::{self, Spec};
use crate::stats::{COLUMNS, Columns};
use crate::threads;
use crate::weights::Weights;
use pyo3::prelude::*;
use pyo3::types::PyDict;
use std::sync::Arc;

/// How a cell was measured, and its columns, each an array `(seeds, rows)`.
fn cell<'py, F: Float>(
    py: Python<'py>,
    runs: &[Columns],
    seed: u64,
    batch: usize,
    loss: Option<Loss>,
) -> PyResult<Bound<'py, PyDict>> {
    let (rows, names) = runs.first().map_or((0, &[][..]), |run| (run.rows(), &*run.names));
    let columns = COLUMNS.len() + names.len();
    check_memory("these columns", 8 * (columns * rows * runs.len()) as u128, "lower depth or seeds")?;
    let result = PyDict::new(py);
    result.set_item("seeds", array(py, (0..runs.len()).map(|run| seed + run as u64).collect(), &[runs.len()])?)?;
    result.set_item("dtype", F::NAME)?;
    result.set_item("batch", batch)?;
    result.set_item("loss", loss.map(|loss| loss.text()))?;
    for (i, name) in COLUMNS.into_iter().enumerate() {
        pause(py)?;
        let values = runs.iter().flat_map(|run| run.values[i].iter().copied()).collect();
        result.set_item(name, array::<f64>(py, values, &[runs.len(), rows])?)?;
    }
    let extra = PyDict::new(py);
    for (i, name) in names.iter().enumerate() {
        pause(py)?;
        let values = runs.iter().flat_map(|run| run.extra[i].iter().copied()).collect();
        extra.set_item(name, array::<f64>(py, values, &[runs.len(), rows])?)?;
    }
    result.set_item("extra", extra)?;
    let first = runs.iter().map(|run| run.first_nonfinite.map_or(-1, |layer| layer as i64)).collect();
    result.set_item("first_nonfinite", array::<i64>(py, first, &[runs.len()])?)?;
    let number = |name: &str, of_run: fn(&Columns) -> f64| {
        result.set_item(name, array::<f64>(py, runs.iter().map(of_run).collect(), &[runs.len()])?)
    };
    number("log10_total_grad_norm", |run| run.log10_total)?;
    number("log10_output_rms", |run| run.log10_output)?;
    number("loss_value", |run| run.loss)?;
    Ok(result)
}

/// Arguments of a probe that do not depend on the dtype.
struct Measurement<'a, 'py> {
    specs: Vec<Spec>,
    plan: Option<Arc<Plan>>,
    x: Option<&'a Bound<'py, PyAny>>,
    y: Option<&'a Bound<'py, PyAny>>,
    loss: Option<Loss>,
    batch: Option<usize>,
    seed: u64,
    seeds: usize,
    threads: Option<usize>,
    report: &'a Bound<'py, PyAny>,
}

fn measure<F: Float>(py: Python<'_>, request: Measurement<'_, '_>, given: Option<Arc<Weights<F>>>) -> PyResult<()> {
    let Measurement { specs, plan, x, y, loss, batch, seed, seeds, threads, report } = request;
    // Cells that disagree on a width cannot all fit the data: the smallest and the largest tell.
    let extremes = |width: fn(&Spec) -> usize| {
        let least = specs.iter().map(width).min();
        let most = specs.iter().map(width).max().filter(|most| Some(*most) != least);
        least.into_iter().chain(most)
    };
    let mut data = None;
    if let Some(x) = x {
        let x = &as_matrix(x, specs.iter().find_map(steps))?;
        for columns in extremes(Spec::columns) {
            let (values, _) = matrix::<F>(x, Expected { name: "x", axis: "in_features", columns, rows: None })?;
            data = Some(Data { x: values, columns });
        }
    }
    let total = data.as_ref().map(|data| data.x.len() / data.columns);
    let mut start = loss.map(|loss| (loss, Targets::Absent));
    if let (Some(loss), Some(y), Some(total)) = (loss, y, total) {
        for outputs in extremes(Spec::output) {
            let places = specs.first().map_or(1, Spec::places);
            start = Some((loss, targets_of(loss, y, total, outputs, places)?));
        }
    }
    let batch = match (batch, total) {
        (None, None) => BATCH,
        (None, Some(total)) => total,
        (Some(batch), total) => batch.min(total.unwrap_or(batch)),
    };
    let job = Job { specs, plan, given, data, loss: start, batch, seed, seeds, threads: 1 };
    let seconds = job.seconds();
    let job = Job { threads: threads::worthwhile(threads, seconds), ..job };
    in_background(
        py,
        seconds,
        move |cancel, send| run::probe::<F>(&job, cancel, &|index, columns| send((index, columns))),
        |(index, columns)| report.call1((index, cell::<F>(py, &columns, seed, batch, loss)?)).map(|_| ()),
    )
}

/// The specs of cells, and the plan of an only one. The plans of many and that of a deep net are made where they are
/// measured.
fn specs_of(mlps: &Bound<'_, PyAny>) -> PyResult<(Vec<Spec>, Option<Arc<Plan>>)> {
    let all = mlps.try_iter()?.map(|mlp| checked_of(&mlp?)).collect::<PyResult<Vec<_>>>()?;
    let plan = if let [only] = &*all { only.get().small_plan() } else { None };
    Ok((all.iter().map(|checked| checked.get().spec.clone()).collect(), plan))
}

/// Measure cells, specs or one net with given weights; `report(index, columns)` is called for each as it is finished.
#[pyfunction]
#[allow(clippy::too_many_arguments)] // The keywords of Python's `probe`.
#[pyo3(signature = (cells, report, *, x, y, loss, batch, seeds, seed, dtype, threads))]
pub fn probe(
    cells: &Bound<'_, PyAny>,
    report: &Bound<'_, PyAny>,
    x: Option<&Bound<'_, PyAny>>,
    y: Option<&Bound<'_, PyAny>>,
    loss: Option<&Bound<'_, PyAny>>,
    batch: Option<&Bound<'_, PyAny>>,
    seeds: &Bound<'_, PyAny>,
    seed: &Bound<'_, PyAny>,
    dtype: &Bound<'_, PyAny>,
    threads: Option<&Bound<'_, PyAny>>,
) -> PyResult<()> {
    let seeds = spec::integer("seeds", integer("seeds", seeds)?, 1, MOST)?;
    if x.is_none() && y.is_some() {
        return Err(Error::Value("y is given without x; give both, or neither".to_owned()).into());
    }
    let net = cells.cast::<Net>().ok().map(Bound::get);
    let (specs, plan) = match net {
        Some(net) => (vec![net.spec().clone()], Some(Arc::clone(&net.plan))),
        None => specs_of(cells)?,
    };
    let places = specs.first().map_or(1, Spec::places);
    let request = Measurement {
        specs,
        plan,
        x,
        y,
        loss: loss_of(loss, y, places)?,
        batch: batch.map(batch_of).transpose()?,
        seed: seed_of(seed, seeds - 1)?,
        seeds: seeds as usize,
        threads: thread_limit(threads)?,
        report,
    };
    let (py, double) = (report.py(), double(dtype)?);
    match net {
        Some(net) if double != matches!(net.handle, Handle::Double(_)) => Err(Error::Value(format!(
            "dtype must be the network's, '{}', got '{}'; leave it out, or make the network anew in the dtype you want",
            net.dtype(),
            if double { f64::NAME } else { f32::NAME }
        ))
        .into()),
        Some(net) => either!(&net.handle, weights => measure(py, request, Some(Arc::clone(weights)))),
        None if double => measure::<f64>(py, request, None),
        None => measure::<f32>(py, request, None),
    }
}

/// About how many seconds a probe of specs takes, the bytes that it takes at most, and those that there are, if known.
#[pyfunction]
#[pyo3(signature = (cells, *, batch, seeds, dtype, threads))]
pub fn cost(
    cells: &Bound<'_, PyAny>,
    batch: &Bound<'_, PyAny>,
    seeds: &Bound<'_, PyAny>,
    dtype: &Bound<'_, PyAny>,
    threads: Option<&Bound<'_, PyAny>>,
) -> PyResult<(f64, u128, Option<u64>)> {
    let (specs, plan) = specs_of(cells)?;
    let seeds = spec::integer("seeds", integer("seeds", seeds)?, 1, MOST)? as usize;
    let (batch, threads) = (batch_of(batch)?, thread_limit(threads)?);
    let (py, double) = (cells.py(), double(dtype)?);
    if double {
        cost_of::<f64>(py, specs, plan, batch, seeds, threads)
    } else {
        cost_of::<f32>(py, specs, plan, batch, seeds, threads)
    }
}

fn cost_of<F: Float>(
    py: Python<'_>,
    specs: Vec<Spec>,
    plan: Option<Arc<Plan>>,
    batch: usize,
    seeds: usize,
    threads: Option<usize>,
) -> PyResult<(f64, u128, Option<u64>)> {
    let threads = threads::worthwhile(threads, UNKNOWN);
    let job = Job::<F> { specs, plan, given: None, data: None, loss: None, batch, seed: 0, seeds, threads };
    let (seconds, bytes) = detached(py, UNKNOWN, move |cancel| run::cost(&job, cancel))?;
    Ok((seconds, bytes, available_memory(bytes)))
}

/// Relative error of every tensor's gradient against chained central differences.
#[pyfunction]
pub fn gradcheck<'py>(
    spec: &Bound<'py, PyAny>,
    seed: &Bound<'py, PyAny>,
    batch: &Bound<'py, PyAny>,
    loss: Option<&Bound<'py, PyAny>>,
) -> PyResult<Bound<'py, PyDict>> {
    let (py, checked, seed) = (spec.py(), checked_of(spec)?, seed_of(seed, 0)?);
    let batch = batch_of(batch)?;
    let loss = loss.map(|loss| PyResult::Ok(Loss::parse(&kind_text("loss", "loss", loss)?)?)).transpose()?;
    let plan = checked.get().plan(py)?;
    // The naive twin keeps a second copy of everything, in vectors of vectors.
    let bytes = 4 * (plan.weight_bytes::<f64>() + plan.pass_bytes::<f64>(batch));
    check_memory("this gradient check", bytes, "lower depth, width or batch")?;
    let errors = detached(py, UNKNOWN, move |cancel| crate::gradcheck::gradcheck(&plan, seed, batch, loss, cancel))?;
    let result = PyDict::new(py);
    for (name, error) in errors {
        result.set_item(name, error)?;
    }
    Ok(result)
}

/// The standard normal samples that a run of this seed draws, `(batch, columns)`.
#[pyfunction]
pub fn samples<'py>(
    spec: &Bound<'py, PyAny>,
    seed: &Bound<'py, PyAny>,
    batch: &Bound<'py, PyAny>,
    dtype: &Bound<'py, PyAny>,
) -> PyResult<Bound<'py, PyAny>> {
    normals(dtype, seed, Role::Input, [batch_of(batch)?, spec_of(spec)?.columns()], 1.0)
}

/// The dL/dy that a run of this seed draws where there is no loss, `(batch, outputs)`.
#[pyfunction]
pub fn cotangent<'py>(
    spec: &Bound<'py, PyAny>,
    seed: &Bound<'py, PyAny>,
    batch: &Bound<'py, PyAny>,
    dtype: &Bound<'py, PyAny>,
) -> PyResult<Bound<'py, PyAny>> {
    let batch = batch_of(batch)?;
    normals(dtype, seed, Role::Cotangent, [batch, spec_of(spec)?.output()], 1.0 / (batch as f64).sqrt())
}

/// Standard normals of a stream, drawn in a dtype, times a factor.
fn normals<'py>(
    dtype: &Bound<'py, PyAny>,
    seed: &Bound<'py, PyAny>,
    role: Role,
    shape: [usize; 2],
    factor: f64,
) -> PyResult<Bound<'py, PyAny>> {
    fn drawn<F: Float>(stream: Stream, count: usize, factor: f64, cancel: &Cancel) -> Result<Vec<f64>> {
        let mut all = vec![F::ZERO; count];
        Distribution::Normal(0.0, 1.0).fill(stream, count, 1, &mut all, cancel)?;
        Ok(all.into_iter().map(|normal| factor * normal.wide()).collect())
    }
    let (stream, count) = (Stream::new(seed_of(seed, 0)?, 0, role), shape.iter().product());
    check_memory("these samples", 16 * count as u128, "lower batch or width")?;
    let draw = if double(dtype)? { drawn::<f64> } else { drawn::<f32> };
    let values = detached(dtype.py(), 1e-8 * count as f64, move |cancel| draw(stream, count, factor, cancel))?;
    array(dtype.py(), values, &shape)
}

/// The most samples and seeds.
const MOST: u64 = 1_000_000;

fn batch_of(given: &Bound<'_, PyAny>) -> PyResult<usize> {
    Ok(spec::integer("batch", integer("batch", given)?, 1, MOST)? as usize)
}
