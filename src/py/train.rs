//! Training: many nets in one call, and a look at the loss of one.

use super::background::{UNKNOWN, detached, in_background_or_halted, pause};
use super::convert::{
    array, as_matrix, double, integer, matrix, number, numbers, seed_of, steps as steps_of, text, thread_limit,
};
use super::net::{Handle, Held, Net};
use super::spec::{Checked, checked_of};
use super::targets::{loss_of, targets_of};
use crate::data::Expected;
use crate::error::Error;
use crate::forward::Trace;
use crate::loss::{Loss, Targets};
use crate::memory::check_memory;
use crate::optimizer::Optimizer;
use crate::plan::Plan;
use crate::schedule::Schedule;
use crate::simd::Float;
use crate::spec;
use crate::threads;
use crate::train::{
    Batches, Cell, Clip, Job, Layout, MONITORS, Monitor, Outcome, Pace, Per, Recipe, Rows, Running, Standing, evaluate,
};
use numpy::Element;
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyList, PyString, PyTuple};
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

/// The most steps of a run.
const MOST: u64 = 100_000_000;

/// Cells and weights that are handed over between two looks at Ctrl-C.
const AT_ONCE: usize = 256;

/// The entry of a recipe of this name, if it is there and not None.
fn entry<'py>(recipe: &Bound<'py, PyDict>, name: &str) -> PyResult<Option<Bound<'py, PyAny>>> {
    Ok(recipe.get_item(name)?.filter(|value| !value.is_none()))
}

fn clip_of(given: &Bound<'_, PyAny>) -> PyResult<Clip> {
    type Five<'py> =
        (Option<Bound<'py, PyAny>>, Option<Bound<'py, PyAny>>, Bound<'py, PyAny>, Bound<'py, PyAny>, Bound<'py, PyAny>);
    let (max_norm, min_norm, per, max_boost, eps) = given.extract::<Five<'_>>()?;
    let per = text("per", &per)?;
    let known = Per::ALL.iter().find(|(name, _)| *name == per);
    let per = known.ok_or_else(|| Error::unknown("per", &per, Per::ALL.iter().map(|(name, _)| *name)))?.1;
    let bound =
        |name: &str, given: Option<Bound<'_, PyAny>>| given.map(|given| number(name, "a number", &given)).transpose();
    Ok(Clip {
        max_norm: bound("max_norm", max_norm)?,
        min_norm: bound("min_norm", min_norm)?,
        per,
        max_boost: number("max_boost", "a number", &max_boost)?,
        eps: number("eps", "a number", &eps)?,
    })
}

fn recipe_of(recipe: &Bound<'_, PyDict>, layout: &Layout) -> PyResult<Recipe> {
    let optimizer = entry(recipe, "optimizer")?
        .ok_or_else(|| Error::Value("a recipe needs an optimizer, such as 'adam(lr=0.001)'".to_owned()))?;
    let schedule = match entry(recipe, "schedule")? {
        None => Pace::Schedule(Schedule::parse("constant")?),
        Some(given) if given.is_instance_of::<PyString>() => {
            Pace::Schedule(Schedule::parse(&text("schedule", &given)?)?)
        }
        Some(given) => Pace::Given(Arc::new(numbers("schedule", &given)?)),
    };
    let rates = entry(recipe, "rates")?.map_or(Ok(Vec::new()), |given| numbers("rates", &given))?;
    if !rates.is_empty() && rates.len() != layout.count() {
        return Err(
            Error::value("rates", &format!("one number for each of {} tensors", layout.count()), rates.len()).into()
        );
    }
    Ok(Recipe {
        optimizer: Optimizer::parse(&text("optimizer", &optimizer)?)?,
        schedule,
        clip: entry(recipe, "clip")?.map(|given| clip_of(&given)).transpose()?,
        noise: entry(recipe, "noise")?.map_or(Ok(0.0), |given| number("noise", "a number", &given))?,
        rates,
    })
}

/// Steps of a list, which ascend from 1 to the last one.
fn ascending(name: &str, given: &Bound<'_, PyAny>, steps: usize) -> PyResult<Vec<usize>> {
    let all = given.extract::<Vec<usize>>()?;
    let rises = all.windows(2).all(|pair| pair[0] < pair[1]);
    let ends = all.first().is_none_or(|first| *first > 0) && all.last().is_none_or(|last| *last <= steps);
    if rises && ends {
        return Ok(all);
    }
    Err(Error::Value(format!("{name} must be ascending steps from 1 to {steps}")).into())
}

/// An error of the targets, said of those of the validation.
fn of_validation(py: Python<'_>, error: PyErr) -> PyErr {
    let text = error.value(py).to_string();
    let ours = error.is_instance_of::<PyValueError>(py) || error.is_instance_of::<PyTypeError>(py);
    if ours && text.starts_with('y') {
        PyErr::from_type(error.get_type(py), format!("validation {text}"))
    } else {
        error
    }
}

/// Samples and targets for nets whose outputs are all as wide.
fn rows_of<F: Float>(
    (x_name, x): (&str, &Bound<'_, PyAny>),
    y: Option<&Bound<'_, PyAny>>,
    loss: Loss,
    spec: &spec::Spec,
    outputs: usize,
) -> PyResult<Rows<F>> {
    let (columns, places) = (spec.columns(), spec.places());
    let (py, x) = (x.py(), as_matrix(x, steps_of(spec))?);
    let (x, count) = matrix::<F>(&x, Expected { name: x_name, axis: "in_features", columns, rows: None })?;
    let targets = y.map_or(Ok(Targets::Absent), |y| targets_of(loss, y, count, outputs, places));
    let targets = targets.map_err(|error| if x_name == "x" { error } else { of_validation(py, error) })?;
    Ok(Rows { x, columns, count, places, targets, loss })
}

enum Item<F> {
    Finished(usize, Vec<Outcome<F>>),
    Standing(Standing),
}

/// Arguments that do not depend on the dtype.
struct Request<'a, 'py> {
    cells: Vec<Cell>,
    checked: Vec<Py<Checked>>,
    x: &'a Bound<'py, PyAny>,
    y: Option<&'a Bound<'py, PyAny>>,
    loss: Loss,
    validation: Option<(Bound<'py, PyAny>, Option<Bound<'py, PyAny>>)>,
    resume: Vec<Vec<u8>>,
    batch: usize,
    steps: usize,
    until: usize,
    record: Vec<usize>,
    monitors: Vec<Monitor>,
    sharpness: Vec<usize>,
    validate: Vec<usize>,
    checkpoints: Vec<usize>,
    skip: bool,
    patience: Option<(usize, f64)>,
    keep_weights: bool,
    seed: u64,
    seeds: usize,
    threads: Option<usize>,
    report: &'a Bound<'py, PyAny>,
    progress: Option<&'a Bound<'py, PyAny>>,
}

fn trained<F: Held + Element>(py: Python<'_>, request: Request<'_, '_>, net: Option<&Net>) -> PyResult<()> {
    let Request { cells, checked, x, y, loss, validation, report, progress, monitors, .. } = request;
    let Some(first) = cells.first() else { return Ok(()) };
    let (ours, outputs, places) = (first.spec.columns(), first.plan.output(), first.plan.places);
    for Cell { spec, plan, .. } in &cells {
        let (columns, given) = (spec.columns(), plan.output());
        if columns != ours || given != outputs {
            return Err(Error::Value(format!(
                "nets that are trained on one x and y must all have {ours} columns and {outputs} outputs, got one with \
                 {columns} and {given}"
            ))
            .into());
        }
        if plan.places != places {
            return Err(Error::Value(format!(
                "nets that are trained on one x and y must all have an output at {places} places of a sample, got one \
                 with {}",
                plan.places
            ))
            .into());
        }
    }
    let validation = validation
        .map(|(x, y)| {
            rows_of::<F>(("validation x", &x), y.as_ref().filter(|y| !y.is_none()), loss, &first.spec, outputs)
        })
        .transpose()?;
    let rows = rows_of::<F>(("x", x), y, loss, &first.spec, outputs)?;
    let halt = Arc::new(AtomicBool::new(false));
    let mut job = Job {
        given: net.and_then(|net| F::weights(&net.handle)).map(Arc::clone),
        resume: request.resume,
        rows,
        validation,
        batch: request.batch,
        steps: request.steps,
        until: request.until,
        record: request.record,
        monitors,
        sharpness: request.sharpness,
        validate: request.validate,
        checkpoints: request.checkpoints,
        skip: request.skip,
        patience: request.patience,
        keep_weights: request.keep_weights,
        seed: request.seed,
        seeds: request.seeds,
        threads: 1,
        halt: Arc::clone(&halt),
        cells,
    };
    let seconds = job.seconds();
    job.threads = threads::worthwhile(request.threads, seconds);
    let job = Arc::new(job);
    let ours = Arc::clone(&job);
    let mut handed = 0;
    in_background_or_halted(
        py,
        seconds,
        move |cancel, send| {
            let finished = |index, outcomes| send(Item::Finished(index, outcomes));
            crate::train::train::<F>(&job, cancel, &finished, &|standing| send(Item::Standing(standing)))
        },
        |item| match item {
            Item::Finished(index, outcomes) => {
                handed += 1;
                if handed % AT_ONCE == 0 {
                    pause(py)?;
                }
                let cell = result(py, &ours, index, outcomes, &checked[index])?;
                report.call1((index, cell)).map(|_| ())
            }
            Item::Standing(standing) => progress.map_or(Ok(()), |progress| progress.call1(standing).map(|_| ())),
        },
        Some(&halt),
    )
}

/// A name, and the numbers of a run, one a step.
type Series<F> = (&'static str, fn(&Outcome<F>) -> &[f64]);

/// What became of the runs of a cell, as arrays.
fn result<'py, F: Held + Element>(
    py: Python<'py>,
    job: &Job<F>,
    index: usize,
    outcomes: Vec<Outcome<F>>,
    checked: &Py<Checked>,
) -> PyResult<Bound<'py, PyDict>> {
    let (cell, seeds) = (&job.cells[index], outcomes.len());
    let (plan, layout) = (&cell.plan, &cell.layout);
    let values = job.monitors.len() * job.record.len() * layout.rows.len() + 6 * job.steps;
    check_memory("the record of this run", 8 * (values * seeds) as u128, "record fewer steps")?;
    let dict = PyDict::new(py);
    let series: [Series<F>; 6] = [
        ("loss", |run| &run.loss),
        ("lr", |run| &run.lr),
        ("log10_grad_norm", |run| &run.log10_grad_norm),
        ("clip_coef", |run| &run.clip_coef),
        ("log10_boost", |run| &run.log10_boost),
        ("clipped", |run| &run.clipped),
    ];
    for (name, of_run) in series {
        let values = outcomes.iter().flat_map(|run| of_run(run).iter().copied()).collect();
        dict.set_item(name, array::<f64>(py, values, &[seeds, job.steps])?)?;
    }
    let whole = |of_run: fn(&Outcome<F>) -> usize| outcomes.iter().map(|run| of_run(run) as i64).collect::<Vec<_>>();
    dict.set_item("steps_done", array(py, whole(|run| run.done), &[seeds])?)?;
    dict.set_item("best_step", array(py, whole(|run| run.best_step), &[seeds])?)?;
    dict.set_item("stopped_by", PyList::new(py, outcomes.iter().map(|run| run.stopped_by))?)?;
    let bad = |run: &Outcome<F>| run.bad.as_ref().map(|bad| (bad.step, bad.layer, bad.tensor.clone(), bad.phase));
    dict.set_item("first_bad", PyList::new(py, outcomes.iter().map(bad))?)?;
    dict.set_item("layers", PyList::new(py, &layout.row_names)?)?;
    dict.set_item("loss_name", job.rows.loss.text())?;
    let shape = [seeds, job.record.len(), layout.rows.len()];
    for (i, monitor) in job.monitors.iter().enumerate() {
        let values = outcomes.iter().flat_map(|run| run.records.values[i].iter().copied()).collect();
        let name = MONITORS.iter().find(|(_, known)| known == monitor).map_or("", |(name, _)| name);
        dict.set_item(name, array::<f64>(py, values, &shape)?)?;
    }
    let sharpness = outcomes.iter().flat_map(|run| run.sharpness.iter().copied()).collect();
    dict.set_item("sharpness", array::<f64>(py, sharpness, &[seeds, job.sharpness.len()])?)?;
    let readings = if job.validation.is_some() { job.validate.len() } else { 0 };
    for (i, name) in ["validation_loss", "validation_accuracy"].into_iter().enumerate() {
        let values = outcomes.iter().flat_map(|run| run.validation.iter().take(readings).map(move |pair| pair[i]));
        dict.set_item(name, array::<f64>(py, values.collect(), &[seeds, readings])?)?;
    }
    let (weights, statistics) = (PyList::empty(py), PyList::empty(py));
    let (checkpoints, last) = (PyList::empty(py), PyList::empty(py));
    for run in outcomes {
        if let Some(trained) = run.weights {
            pause(py)?;
            weights.append(Py::new(py, Net::of(checked.clone_ref(py), Arc::clone(plan), F::held(trained)))?)?;
            statistics.append(statistics_dict(py, plan, &run.running)?)?;
            let kept = run.checkpoints.iter().map(|(step, bytes)| (*step, PyBytes::new(py, bytes)));
            checkpoints.append(PyList::new(py, kept)?)?;
            last.append(PyBytes::new(py, &run.last))?;
        }
    }
    dict.set_item("weights", weights)?;
    dict.set_item("statistics", statistics)?;
    dict.set_item("checkpoints", checkpoints)?;
    dict.set_item("last", last)?;
    Ok(dict)
}

/// Mean and variance of each batch norm, by the name of its module.
fn statistics_dict<'py>(py: Python<'py>, plan: &Plan, running: &[Running]) -> PyResult<Bound<'py, PyDict>> {
    let dict = PyDict::new(py);
    for Running { place: (slot, index), mean, variance, .. } in running {
        let count = [mean.len()];
        let pair = (array(py, mean.clone(), &count)?, array(py, variance.clone(), &count)?);
        dict.set_item(plan.name(*slot, *index), PyTuple::new(py, [pair.0, pair.1])?)?;
    }
    Ok(dict)
}

/// Train nets: specs, or one net with given weights. `report(index, result)` is called for each as it ends, and
/// `progress(index, seed, step, loss)` now and then.
#[pyfunction]
#[allow(clippy::too_many_arguments, clippy::needless_pass_by_value)] // The keywords of Python's `train`.
#[pyo3(signature = (
    subject, recipes, report, *, x, y, loss, validation, steps, until, batch, record, columns, sharpness, validate,
    checkpoints, nonfinite, patience, keep_weights, resume, seeds, seed, dtype, threads, progress
))]
pub fn train<'py>(
    py: Python<'py>,
    subject: &Bound<'py, PyAny>,
    recipes: &Bound<'py, PyAny>,
    report: &Bound<'py, PyAny>,
    x: &Bound<'py, PyAny>,
    y: Option<&Bound<'py, PyAny>>,
    loss: Option<&Bound<'py, PyAny>>,
    validation: Option<(Bound<'py, PyAny>, Option<Bound<'py, PyAny>>)>,
    steps: &Bound<'py, PyAny>,
    until: Option<&Bound<'py, PyAny>>,
    batch: &Bound<'py, PyAny>,
    record: &Bound<'py, PyAny>,
    columns: Vec<String>,
    sharpness: &Bound<'py, PyAny>,
    validate: &Bound<'py, PyAny>,
    checkpoints: &Bound<'py, PyAny>,
    nonfinite: &Bound<'py, PyAny>,
    patience: Option<(usize, f64)>,
    keep_weights: bool,
    resume: Option<Vec<Bound<'py, PyBytes>>>,
    seeds: &Bound<'py, PyAny>,
    seed: &Bound<'py, PyAny>,
    dtype: &Bound<'py, PyAny>,
    threads: Option<&Bound<'py, PyAny>>,
    progress: Option<&Bound<'py, PyAny>>,
) -> PyResult<()> {
    let seeds = spec::integer("seeds", integer("seeds", seeds)?, 1, 1_000_000)?;
    let steps = spec::integer("steps", integer("steps", steps)?, 1, MOST)? as usize;
    let until = until.map_or(Ok(steps), |until| {
        PyResult::Ok(spec::integer("until", integer("until", until)?, 0, steps as u64)? as usize)
    })?;
    let net = subject.cast::<Net>().ok().map(Bound::get);
    let all = match net {
        Some(net) => vec![net.checked(py)],
        None => subject.try_iter()?.map(|mlp| Ok(checked_of(&mlp?)?.unbind())).collect::<PyResult<Vec<_>>>()?,
    };
    let (cells, checked) = cells_of(py, all, recipes)?;
    let places = cells.first().map_or(1, |cell| cell.plan.places);
    let loss = loss_of(loss, y, places)?.ok_or_else(|| {
        Error::Value("training needs targets: give y, or a loss without targets, such as 'output_sum'".to_owned())
    })?;
    let monitors = columns.iter().map(|name| {
        let known = MONITORS.iter().find(|(known, _)| known == name).map(|(_, monitor)| *monitor);
        known.ok_or_else(|| Error::unknown("monitor", name, MONITORS.iter().map(|(name, _)| *name)).into())
    });
    let nonfinite = text("nonfinite", nonfinite)?;
    if !["stop", "skip"].contains(&nonfinite.as_str()) {
        return Err(Error::unknown("nonfinite", &nonfinite, ["stop", "skip"].into_iter()).into());
    }
    let request = Request {
        cells,
        checked,
        x,
        y,
        loss,
        validation,
        resume: resume.map_or_else(Vec::new, |all| all.iter().map(|bytes| bytes.as_bytes().to_vec()).collect()),
        batch: spec::integer("batch", integer("batch", batch)?, 1, 1_000_000)? as usize,
        steps,
        until,
        record: ascending("record", record, steps)?,
        monitors: monitors.collect::<PyResult<Vec<_>>>()?,
        sharpness: ascending("sharpness", sharpness, steps)?,
        validate: ascending("validate_every", validate, steps)?,
        checkpoints: ascending("checkpoints", checkpoints, steps)?,
        skip: nonfinite == "skip",
        patience,
        keep_weights,
        seed: seed_of(seed, seeds - 1)?,
        seeds: seeds as usize,
        threads: thread_limit(threads)?,
        report,
        progress,
    };
    let double = double(dtype)?;
    match net {
        Some(net) if double != matches!(net.handle, Handle::Double(_)) => Err(Error::Value(format!(
            "dtype must be the network's, '{}'; leave it out, or make the network anew in the dtype you want",
            net.dtype()
        ))
        .into()),
        _ if double => trained::<f64>(py, request, net),
        _ => trained::<f32>(py, request, net),
    }
}

/// Cells with their recipes; those of one spec share its plan.
fn cells_of(
    py: Python<'_>,
    all: Vec<Py<Checked>>,
    recipes: &Bound<'_, PyAny>,
) -> PyResult<(Vec<Cell>, Vec<Py<Checked>>)> {
    type Known = (Arc<spec::Spec>, Arc<Plan>, Arc<Layout>);
    let mut known = HashMap::<usize, Known>::new();
    let (mut cells, mut recipes) = (Vec::with_capacity(all.len()), recipes.try_iter()?);
    for (i, checked) in all.iter().enumerate() {
        if i % AT_ONCE == AT_ONCE - 1 {
            pause(py)?;
        }
        let recipe =
            recipes.next().ok_or_else(|| Error::Value("there must be a recipe for every net".to_owned()))??;
        let key = checked.as_ptr() as usize;
        let (spec, plan, layout) = match known.entry(key) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(room) => {
                let plan = checked.get().plan(py)?;
                let layout = Arc::new(Layout::new(&plan));
                room.insert((Arc::new(checked.get().spec.clone()), plan, layout))
            }
        };
        let (spec, plan, layout) = (Arc::clone(spec), Arc::clone(plan), Arc::clone(layout));
        let recipe = recipe_of(recipe.cast::<PyDict>()?, &layout)?;
        cells.push(Cell { spec, plan, layout, recipe });
    }
    Ok((cells, all))
}

/// The rows of the batch of a step.
#[pyfunction]
pub fn batch_rows<'py>(
    seed: &Bound<'py, PyAny>,
    total: &Bound<'py, PyAny>,
    batch: &Bound<'py, PyAny>,
    step: &Bound<'py, PyAny>,
) -> PyResult<Bound<'py, PyAny>> {
    let whole = |name: &str, given: &Bound<'py, PyAny>| -> PyResult<usize> {
        Ok(spec::integer(name, integer(name, given)?, 1, MOST)? as usize)
    };
    let mut batches = Batches::new(seed_of(seed, 0)?, whole("total", total)?, whole("batch", batch)?);
    let rows = batches.rows(whole("step", step)?).iter().map(|&row| row as i64).collect::<Vec<_>>();
    let count = rows.len();
    Ok(array(seed.py(), rows, &[count])?.into_any())
}

/// `(loss, accuracy)` of a net on rows, with the running statistics of its batch norms in place of a batch's own.
#[pyfunction]
#[pyo3(name = "evaluate")]
pub fn evaluated<'py>(
    weights: &Bound<'py, Net>,
    statistics: &Bound<'py, PyDict>,
    x: &Bound<'py, PyAny>,
    y: Option<&Bound<'py, PyAny>>,
    loss: Option<&Bound<'py, PyAny>>,
) -> PyResult<(f64, f64)> {
    fn of<F: Held>(
        net: &Net,
        statistics: &Bound<'_, PyDict>,
        x: &Bound<'_, PyAny>,
        y: Option<&Bound<'_, PyAny>>,
        loss: Loss,
    ) -> PyResult<(f64, f64)> {
        let plan = Arc::clone(&net.plan);
        let Some(weights) = F::weights(&net.handle) else { return Ok((f64::NAN, f64::NAN)) };
        let mut weights = crate::weights::Weights::clone(weights);
        let rows = rows_of::<F>(("x", x), y, loss, net.spec(), plan.output())?;
        let mut running = Running::all(&plan);
        for norm in &mut running {
            let name = plan.name(norm.place.0, norm.place.1);
            let pair = statistics
                .get_item(&name)?
                .ok_or_else(|| Error::Value(format!("statistics lack those of the batch norm '{name}'")))?;
            let (mean, variance) = pair.extract::<(Bound<'_, PyAny>, Bound<'_, PyAny>)>()?;
            (norm.mean, norm.variance) = (numbers("the mean", &mean)?, numbers("the variance", &variance)?);
            if norm.mean.len() != norm.variance.len() {
                return Err(Error::Value(format!("statistics of '{name}' must be two arrays of one length")).into());
            }
        }
        let [loss, accuracy] = detached(x.py(), UNKNOWN, move |cancel| {
            evaluate(&plan, &mut weights, &running, &rows, &mut Trace::default(), cancel)
        })?;
        Ok((loss, accuracy))
    }
    let net = weights.get();
    let loss = loss_of(loss, y, net.plan.places)?
        .ok_or_else(|| Error::Value("an evaluation needs targets: give y".to_owned()))?;
    match net.handle {
        Handle::Single(_) => of::<f32>(net, statistics, x, y, loss),
        Handle::Double(_) => of::<f64>(net, statistics, x, y, loss),
    }
}
