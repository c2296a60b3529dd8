//! The Python boundary, and the only file that knows `PyO3` and `NumPy`: convert, detach, convert back.
//!
//! Work runs on another thread while the calling one waits in slices short enough for Ctrl-C. No `NumPy` memory is held
//! while detached.

use crate::activation::Activation;
use crate::activation::custom::{self, Samples};
use crate::data::{self, Data, Rows};
use crate::error::{Cancel, Error, Result};
use crate::expectation::{self, Batch, Moments, Pair};
use crate::gradients::{Gradients, Start};
use crate::kernel::Tensor;
use crate::kind::{Kind, Row};
use crate::loss::{Loss, Targets};
use crate::memory::check_memory;
use crate::plan::Plan;
use crate::run::Job;
use crate::signature::{Argument, Call};
use crate::simd::Float;
use crate::spec::{PerLayer, Spec};
use crate::stats::{COLUMNS, Columns};
use crate::weights::Weights as Numbers;
use crate::{activation, gain, gradients, init, jacobi, loss, norm, rng, run, simd, skip, spec, threads, transform};
use numpy::{Element, PyArray1, PyArrayMethods, PyReadonlyArrayDyn, PyUntypedArrayMethods};
use pyo3::IntoPyObjectExt;
use pyo3::exceptions::{PyMemoryError, PyOverflowError, PyRuntimeError, PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyDict, PyList, PyString, PyTuple};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

mod checked;

use checked::spec_of;

/// How long the calling thread sleeps before it looks for Ctrl-C again.
const SLICE: Duration = Duration::from_millis(20);

impl From<Error> for PyErr {
    fn from(error: Error) -> Self {
        let message = error.to_string();
        match error {
            Error::Value(_) => PyValueError::new_err(message),
            Error::Type(_) => PyTypeError::new_err(message),
            Error::Memory { .. } => PyMemoryError::new_err(message),
            Error::Cancelled => PyRuntimeError::new_err(message),
        }
    }
}

enum Message<M, T> {
    Item(M),
    Done(std::thread::Result<Result<T>>),
}

/// Run `work` on a thread of its own. Its items reach `report` on the calling thread; a signal or an error there
/// cancels the work and returns at once, without waiting for the workers, who own all that they use.
fn in_background<M: Send + 'static, T: Send + 'static>(
    py: Python<'_>,
    work: impl FnOnce(&Cancel, &(dyn Fn(M) + Sync)) -> Result<T> + Send + 'static,
    mut report: impl FnMut(M) -> PyResult<()>,
) -> PyResult<T> {
    simd::isa()?;
    let (cancel, (sender, receiver)) = (Cancel::default(), channel());
    let theirs = cancel.clone();
    let job = move || {
        // A receiver that is gone has cancelled: nobody waits for what is sent.
        let send = |sender: &Sender<_>, message| drop(sender.send(message));
        let done = catch_unwind(AssertUnwindSafe(|| work(&theirs, &|item| send(&sender, Message::Item(item)))));
        send(&sender, Message::Done(done));
    };
    std::thread::Builder::new()
        .name("vgcore".to_owned())
        .spawn(job)
        .map_err(|error| PyRuntimeError::new_err(format!("cannot start a thread: {error}")))?;
    let receiver = Mutex::new(receiver);
    let mut step = || loop {
        match py.detach(|| receiver.lock().unwrap_or_else(PoisonError::into_inner).recv_timeout(SLICE)) {
            Ok(Message::Item(item)) => report(item)?,
            Ok(Message::Done(Ok(result))) => return Ok(result?),
            Ok(Message::Done(Err(_))) | Err(RecvTimeoutError::Disconnected) => {
                return Err(PyRuntimeError::new_err("internal error in vgcore: a worker panicked; please report it"));
            }
            Err(RecvTimeoutError::Timeout) => py.check_signals()?,
        }
    };
    step().inspect_err(|_| cancel.request())
}

/// The same for work that reports nothing.
fn detached<T: Send + 'static>(
    py: Python<'_>,
    work: impl FnOnce(&Cancel) -> Result<T> + Send + 'static,
) -> PyResult<T> {
    in_background::<(), T>(py, |cancel, _| work(cancel), |()| Ok(()))
}

fn type_error(name: &str, allowed: &str, given: &Bound<'_, PyAny>) -> PyErr {
    let kind = given.get_type().name().map_or_else(|_| "object".to_owned(), |n| n.to_string());
    let shown = given.repr().map_or_else(|_| String::new(), |r| r.to_string());
    let shown = if shown.chars().count() > 60 { String::new() } else { format!("{shown} ") };
    Error::type_of(name, allowed, format!("{shown}({kind})")).into()
}

fn integer(name: &str, given: &Bound<'_, PyAny>) -> PyResult<i128> {
    if given.is_instance_of::<PyBool>() {
        return Err(type_error(name, "an integer", given));
    }
    let index = given.call_method0("__index__").map_err(|_| type_error(name, "an integer", given))?;
    match index.extract::<i128>() {
        // Beyond 128 bits any bound has been passed; the sign is all that matters.
        Err(error) if error.is_instance_of::<PyOverflowError>(given.py()) => {
            Ok(if index.lt(0)? { i128::MIN } else { i128::MAX })
        }
        other => Ok(other?),
    }
}

fn text(name: &str, given: &Bound<'_, PyAny>) -> PyResult<String> {
    given.extract().map_err(|_| type_error(name, "a string", given))
}

fn optional<T>(
    given: &Bound<'_, PyAny>,
    convert: impl FnOnce(&Bound<'_, PyAny>) -> PyResult<T>,
) -> PyResult<Option<T>> {
    if given.is_none() { Ok(None) } else { convert(given).map(Some) }
}

fn per_layer<T>(
    name: &str,
    given: &Bound<'_, PyAny>,
    convert: impl Fn(&str, &Bound<'_, PyAny>) -> PyResult<T>,
) -> PyResult<PerLayer<T>> {
    if given.is_instance_of::<PyString>() {
        return convert(name, given).map(PerLayer::All);
    }
    let Ok(items) = given.try_iter() else { return convert(name, given).map(PerLayer::All) };
    // One more than any depth: enough to refuse an endless iterable.
    let each = items.take(spec::MAX_DEPTH + 1).enumerate().map(|(i, item)| convert(&format!("{name}[{i}]"), &item?));
    Ok(PerLayer::Each(each.collect::<PyResult<_>>()?))
}

fn argument(name: &str, given: &Bound<'_, PyAny>) -> PyResult<Argument> {
    if let Ok(word) = given.extract() {
        return Ok(Argument::Word(word));
    }
    if given.is_instance_of::<PyBool>() {
        return Err(type_error(name, "a number or a word", given));
    }
    given.extract().map(Argument::Number).map_err(|_| type_error(name, "a number or a word", given))
}

fn specs_of(mlps: &Bound<'_, PyAny>) -> PyResult<Vec<Spec>> {
    mlps.try_iter()?.map(|mlp| spec_of(&mlp?)).collect()
}

/// An array of real numbers as `f64`, in C order whatever its layout, byte order or flags were.
fn real_array<'py>(name: &str, given: &Bound<'py, PyAny>) -> PyResult<PyReadonlyArrayDyn<'py, f64>> {
    let numpy = given.py().import("numpy")?;
    let array = numpy
        .call_method1("asarray", (given,))
        .map_err(|error| Error::Value(format!("{name} must be an array of numbers: {error}")))?;
    kind_of(name, &array, "biuf", "real numbers")?;
    // The copy and what is made of it.
    let bytes = 16 * array.getattr("size")?.extract::<u128>()?;
    check_memory(&format!("a copy of {name}"), bytes, "give fewer samples")?;
    array.call_method1("astype", ("=f8", "C"))?.extract()
}

/// A shape as Python writes it.
fn shape_text(shape: &[usize]) -> String {
    match shape {
        [one] => format!("shape ({one},)"),
        _ => format!("shape ({})", shape.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")),
    }
}

/// Refuse an array whose dtype is of none of these kinds.
fn kind_of(name: &str, array: &Bound<'_, PyAny>, kinds: &str, allowed: &str) -> PyResult<()> {
    let dtype = array.getattr("dtype")?;
    let kind: String = dtype.getattr("kind")?.extract()?;
    if kinds.contains(&kind) {
        return Ok(());
    }
    Err(Error::type_of(name, &format!("an array of {allowed}"), format!("dtype {dtype}")).into())
}

/// A checked matrix in the dtype of the computation, and its number of rows.
fn matrix<F: Float>(given: &Bound<'_, PyAny>, rows: Rows<'_>) -> PyResult<(Vec<F>, usize)> {
    let array = real_array(rows.name, given)?;
    let &[count, columns] = array.shape() else {
        let allowed = format!("of shape (batch, {})", rows.axis);
        return Err(Error::value(rows.name, &allowed, shape_text(array.shape())).into());
    };
    let values = array.as_slice()?.iter().map(|&v| F::of(v)).collect::<Vec<_>>();
    rows.check((count, columns), F::NAME, values.iter().map(|v| v.finite()))?;
    Ok((values, count))
}

/// Targets of a loss for outputs of this width: class ids, numbers or none.
fn targets_of(loss: Loss, given: &Bound<'_, PyAny>, batch: usize, outputs: usize) -> PyResult<Targets> {
    data::has_its_targets(loss, !given.is_none())?;
    if given.is_none() {
        return Ok(Targets::Absent);
    }
    if !loss.takes_classes() {
        let rows = Rows { name: "y", axis: "outputs", columns: outputs, rows: Some(batch) };
        let (values, _) = matrix::<f64>(given, rows)?;
        data::target_range(loss, &values, outputs)?;
        return Ok(Targets::Values(values, outputs));
    }
    let array = given.py().import("numpy")?.call_method1("asarray", (given,))?;
    kind_of("y", &array, "biu", "integer class ids")?;
    let shape = array.getattr("shape")?.extract::<Vec<usize>>()?;
    if shape.len() != 1 {
        return Err(Error::value("y", "of shape (batch,), one class id a sample", shape_text(&shape)).into());
    }
    let ids = data::classes(&array.call_method0("tolist")?.extract::<Vec<i128>>()?, batch)?;
    data::class_range(&ids, outputs)?;
    Ok(Targets::Classes(ids))
}

fn array<'py, T: Element>(py: Python<'py>, values: Vec<T>, shape: &[usize]) -> PyResult<Bound<'py, PyAny>> {
    Ok(PyArray1::from_vec(py, values).reshape(shape.to_vec())?.into_any())
}

fn per_layer_object<'py, T, O: IntoPyObject<'py>>(
    py: Python<'py>,
    values: &PerLayer<T>,
    object: impl Fn(&T) -> O,
) -> PyResult<Bound<'py, PyAny>> {
    match values {
        PerLayer::All(value) => object(value).into_bound_py_any(py),
        PerLayer::Each(values) => Ok(PyTuple::new(py, values.iter().map(object))?.into_any()),
    }
}

/// Is the dtype double precision?
fn double(dtype: &Bound<'_, PyAny>) -> PyResult<bool> {
    let name: String = match dtype.extract() {
        Ok(name) => name,
        Err(_) if dtype.is_none() => String::new(),
        Err(_) => dtype
            .py()
            .import("numpy")?
            .call_method1("dtype", (dtype,))
            .and_then(|d| d.getattr("name")?.extract())
            .unwrap_or_default(),
    };
    match name.as_str() {
        "float32" => Ok(false),
        "float64" => Ok(true),
        _ => Err(Error::value("dtype", "'float32' or 'float64'", dtype.repr()?).into()),
    }
}

fn seed_of(given: &Bound<'_, PyAny>, last: u64) -> PyResult<u64> {
    Ok(spec::integer("seed", integer("seed", given)?, 0, u64::MAX - last)?)
}

/// A net's numbers in one of the two dtypes.
#[derive(Clone)]
enum Handle {
    Single(Arc<Numbers<f32>>),
    Double(Arc<Numbers<f64>>),
}

/// Run a block with the numbers under one name, whatever their dtype.
macro_rules! either {
    ($handle:expr, $numbers:ident => $body:expr) => {
        match $handle {
            Handle::Single($numbers) => $body,
            Handle::Double($numbers) => $body,
        }
    };
}

/// The numbers of a net, owned by Rust.
#[pyclass(frozen, module = "vgcore._core")]
struct Weights {
    spec: Spec,
    plan: Arc<Plan>,
    handle: Handle,
}

fn draw<F: Float>(
    py: Python<'_>,
    spec: &Spec,
    plan: &Arc<Plan>,
    seed: u64,
    x: Option<&Bound<'_, PyAny>>,
) -> PyResult<Arc<Numbers<F>>> {
    let samples = x.map(|x| samples::<F>(plan, steps(spec), x, 0)).transpose()?;
    if samples.is_some() && !plan.calibrates {
        return Err(Error::Value(
            "x is given, but no init of this spec looks at data; only init='lsuv' does".to_owned(),
        )
        .into());
    }
    let batch = samples.as_ref().map_or(BATCH, |(_, batch)| *batch);
    let calibration = if plan.calibrates { plan.weight_bytes::<F>() + plan.pass_bytes::<F>(batch) } else { 0 };
    check_memory("drawing these weights", plan.weight_bytes::<F>() + calibration, "lower depth or width")?;
    let (plan, threads) = (Arc::clone(plan), threads::threads(None)?);
    Ok(Arc::new(detached(py, move |cancel| run::drawn(&plan, seed, samples, BATCH, threads, cancel))?))
}

fn given<F: Float>(plan: &Arc<Plan>, state: &Bound<'_, PyDict>) -> PyResult<Arc<Numbers<F>>> {
    let mut flat = Vec::new();
    for (_, name, shape) in plan.tensors() {
        let value = state
            .get_item(&name)?
            .ok_or_else(|| Error::Value(format!("state_dict lacks '{name}' of {}", shape_text(&shape))))?;
        let array = real_array(&name, &value)?;
        if array.shape() != shape {
            let given = shape_text(array.shape());
            let given = given.trim_start_matches("shape ");
            return Err(Error::value(&name, &format!("of {}", shape_text(&shape)), given).into());
        }
        let values = array.as_slice()?.iter().map(|&v| F::of(v)).collect::<Vec<_>>();
        if let Some(at) = values.iter().position(|v| !v.finite()) {
            return Err(Error::Value(format!(
                "{name} must be finite in {}, but entry {at} in C order is not",
                F::NAME
            ))
            .into());
        }
        flat.push(values);
    }
    let plan = Arc::clone(plan);
    Ok(Arc::new(detached(state.py(), move |cancel| Numbers::given(&plan, flat, cancel))?))
}

#[pymethods]
impl Weights {
    /// Draw a net's numbers.
    #[staticmethod]
    #[pyo3(signature = (spec, seed, dtype, x))]
    fn draw(
        spec: &Bound<'_, PyAny>,
        seed: &Bound<'_, PyAny>,
        dtype: &Bound<'_, PyAny>,
        x: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Self> {
        let (spec, seed) = (spec_of(spec)?, seed_of(seed, 0)?);
        let plan = Arc::new(Plan::new(&spec));
        let handle = if double(dtype)? {
            Handle::Double(draw(dtype.py(), &spec, &plan, seed, x)?)
        } else {
            Handle::Single(draw(dtype.py(), &spec, &plan, seed, x)?)
        };
        Ok(Self { spec, plan, handle })
    }

    /// Take a net's numbers from a state dict.
    #[staticmethod]
    fn given(spec: &Bound<'_, PyAny>, state: &Bound<'_, PyDict>, dtype: &Bound<'_, PyAny>) -> PyResult<Self> {
        let spec = spec_of(spec)?;
        let plan = Arc::new(Plan::new(&spec));
        let names = plan.tensors().into_iter().map(|(_, name, _)| name).collect::<Vec<_>>();
        for key in state.keys() {
            let key = text("a key of state_dict", &key)?;
            if !names.contains(&key) {
                return Err(Error::unknown("key of state_dict", &key, names.iter().map(String::as_str)).into());
            }
        }
        let handle =
            if double(dtype)? { Handle::Double(given(&plan, state)?) } else { Handle::Single(given(&plan, state)?) };
        Ok(Self { spec, plan, handle })
    }

    /// The dtype's name.
    #[getter]
    fn dtype(&self) -> &'static str {
        match self.handle {
            Handle::Single(_) => f32::NAME,
            Handle::Double(_) => f64::NAME,
        }
    }

    /// Copies of all numbers by name.
    fn state_dict<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let state = PyDict::new(py);
        either!(&self.handle, numbers => {
            for ((_, name, shape), values) in self.plan.tensors().into_iter().zip(numbers.tensors(&self.plan)) {
                state.set_item(name, array(py, values, &shape)?)?;
            }
        });
        Ok(state)
    }

    /// The output on a batch.
    fn forward<'py>(&self, x: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        either!(&self.handle, numbers => forward(&self.plan, steps(&self.spec), numbers, x))
    }

    /// Of every hidden layer z, what its activation gets and what that gives, `(batch, features)` each.
    fn signals<'py>(&self, x: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyList>> {
        either!(&self.handle, numbers => signals(&self.plan, steps(&self.spec), numbers, x))
    }

    /// All gradients from a cotangent.
    fn backward<'py>(&self, x: &Bound<'py, PyAny>, cotangent: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyDict>> {
        let start = |batch| {
            let rows = Rows { name: "cotangent", axis: "outputs", columns: self.plan.output(), rows: Some(batch) };
            Ok(Start::Cotangent(matrix::<f64>(cotangent, rows)?.0))
        };
        either!(&self.handle, numbers => all_gradients(&self.plan, steps(&self.spec), numbers, x, start))
    }

    /// All gradients from a loss.
    fn gradients<'py>(
        &self,
        x: &Bound<'py, PyAny>,
        y: &Bound<'py, PyAny>,
        loss: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyDict>> {
        let loss = Loss::parse(&text("loss", loss)?)?;
        let start = |batch| Ok(Start::Loss(loss, targets_of(loss, y, batch, self.plan.output())?));
        either!(&self.handle, numbers => all_gradients(&self.plan, steps(&self.spec), numbers, x, start))
    }
}

/// Steps and columns of each step's input, for a net that is fed at every step.
fn steps(spec: &Spec) -> Option<[usize; 2]> {
    spec.fed.then_some([spec.depth, spec.in_features])
}

/// Samples of a net that is fed, `(batch, steps, in_features)`, as a matrix; others as they are.
fn as_matrix<'py>(x: &Bound<'py, PyAny>, steps: Option<[usize; 2]>) -> PyResult<Bound<'py, PyAny>> {
    let Some([count, columns]) = steps else { return Ok(x.clone()) };
    let array = real_array("x", x)?;
    match *array.shape() {
        [batch, given, each] if [given, each] == [count, columns] => {
            array.call_method1("reshape", ((batch, count * columns),))
        }
        _ => {
            let allowed = format!("of shape (batch, depth, in_features) = (batch, {count}, {columns})");
            Err(Error::value("x", &allowed, shape_text(array.shape())).into())
        }
    }
}

/// The caller's samples, and a refusal if a pass over them does not fit into memory.
fn samples<F: Float>(
    plan: &Plan,
    steps: Option<[usize; 2]>,
    x: &Bound<'_, PyAny>,
    copies: u128,
) -> PyResult<(Vec<F>, usize)> {
    let x = as_matrix(x, steps)?;
    let (x, batch) = matrix(&x, Rows { name: "x", axis: "in_features", columns: plan.columns, rows: None })?;
    let bytes = plan.pass_bytes::<F>(batch) + copies * (plan.weight_bytes::<F>() + plan.pass_bytes::<F>(batch));
    check_memory("this pass", bytes, "lower depth, width or batch")?;
    Ok((x, batch))
}

fn forward<'py, F: Float + Element>(
    plan: &Arc<Plan>,
    steps: Option<[usize; 2]>,
    numbers: &Arc<Numbers<F>>,
    x: &Bound<'py, PyAny>,
) -> PyResult<Bound<'py, PyAny>> {
    let (x_values, batch) = samples(plan, steps, x, 0)?;
    let (ours, numbers) = (Arc::clone(plan), Arc::clone(numbers));
    let y = detached(x.py(), move |cancel| gradients::output(&ours, &numbers, &x_values, cancel))?;
    array(x.py(), y.into_iter().map(F::of).collect(), &[batch, plan.output()])
}

fn signals<'py, F: Float + Element>(
    plan: &Arc<Plan>,
    steps: Option<[usize; 2]>,
    numbers: &Arc<Numbers<F>>,
    x: &Bound<'py, PyAny>,
) -> PyResult<Bound<'py, PyList>> {
    let (x_values, batch) = samples(plan, steps, x, 1)?;
    let (py, ours, numbers) = (x.py(), Arc::clone(plan), Arc::clone(numbers));
    let found = detached(py, move |cancel| gradients::signals(&ours, &numbers, &x_values, cancel))?;
    let layers = found.into_iter().map(|layer| {
        let shaped = layer.map(|signal| array(py, signal.spelled_out::<F>(), &[batch, signal.values.len() / batch]));
        shaped.into_iter().collect::<PyResult<Vec<_>>>()
    });
    PyList::new(py, layers.collect::<PyResult<Vec<_>>>()?)
}

fn all_gradients<'py, F: Float + Element>(
    plan: &Arc<Plan>,
    steps: Option<[usize; 2]>,
    numbers: &Arc<Numbers<F>>,
    x: &Bound<'py, PyAny>,
    start: impl FnOnce(usize) -> PyResult<Start>,
) -> PyResult<Bound<'py, PyDict>> {
    let (x_values, batch) = samples(plan, steps, x, 1)?;
    let start = start(batch)?;
    let (ours, numbers) = (Arc::clone(plan), Arc::clone(numbers));
    let threads = threads::threads(None)?;
    let all = detached(x.py(), move |cancel| {
        gradients::gradients(&ours, &numbers, &x_values, &start, threads, Tensor::spell_out, cancel)
    })?;
    let (py, Gradients { tensors, preactivations, input, loss }) = (x.py(), all);
    let result = PyDict::new(py);
    let parameters = PyDict::new(py);
    for (tensor, (_, name, shape)) in tensors.into_iter().zip(plan.tensors()) {
        parameters.set_item(name, array(py, tensor.values, &shape)?)?;
    }
    result.set_item("parameters", parameters)?;
    let shaped = preactivations.into_iter().zip(&plan.hidden);
    let shaped = shaped.map(|(z, hidden)| array(py, z.values, &[batch, hidden.shape.width]));
    result.set_item("preactivations", PyList::new(py, shaped.collect::<PyResult<Vec<_>>>()?)?)?;
    let shape = steps.map_or(vec![batch, plan.columns], |[count, columns]| vec![batch, count, columns]);
    result.set_item("input", array::<F>(py, input.spelled_out(), &shape)?)?;
    result.set_item("loss", loss)?;
    Ok(result)
}

/// One cell as Python sees it: a `(seeds, depth)` array a column.
fn cell<'py>(py: Python<'py>, runs: &[Columns], batch: usize, loss: Option<Loss>) -> PyResult<Bound<'py, PyDict>> {
    let result = PyDict::new(py);
    result.set_item("batch", batch)?;
    result.set_item("loss", loss.map(|loss| loss.text()))?;
    let depth = runs.first().map_or(0, |run| run.values[0].len());
    for (i, name) in COLUMNS.into_iter().enumerate() {
        let values = runs.iter().flat_map(|run| run.values[i].iter().copied()).collect();
        result.set_item(name, array::<f64>(py, values, &[runs.len(), depth])?)?;
    }
    let first = runs.iter().map(|run| run.first_nonfinite.map_or(-1, |layer| layer as i64)).collect();
    result.set_item("first_nonfinite", array::<i64>(py, first, &[runs.len()])?)?;
    let total = runs.iter().map(|run| run.log10_total).collect();
    result.set_item("log10_total_grad_norm", array::<f64>(py, total, &[runs.len()])?)?;
    Ok(result)
}

/// Arguments of a probe that do not depend on the dtype.
struct Measurement<'a, 'py> {
    specs: Vec<Spec>,
    x: Option<&'a Bound<'py, PyAny>>,
    y: Option<&'a Bound<'py, PyAny>>,
    loss: Option<Loss>,
    batch: Option<usize>,
    seed: u64,
    seeds: usize,
    threads: usize,
    report: &'a Bound<'py, PyAny>,
}

/// The batch of random samples when none is given.
const BATCH: usize = 128;

fn measure<F: Float>(py: Python<'_>, request: Measurement<'_, '_>, given: Option<Arc<Numbers<F>>>) -> PyResult<()> {
    let Measurement { specs, x, y, loss, batch, seed, seeds, threads, report } = request;
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
            let (values, _) = matrix::<F>(x, Rows { name: "x", axis: "in_features", columns, rows: None })?;
            data = Some(Data { x: values, columns });
        }
    }
    let total = data.as_ref().map(|data| data.x.len() / data.columns);
    let mut start = loss.map(|loss| (loss, Targets::Absent));
    if let (Some(loss), Some(y), Some(total)) = (loss, y, total) {
        for outputs in extremes(Spec::output) {
            start = Some((loss, targets_of(loss, y, total, outputs)?));
        }
    }
    let batch = match (batch, total) {
        (None, None) => BATCH,
        (None, Some(total)) => total,
        (Some(batch), total) => batch.min(total.unwrap_or(batch)),
    };
    let job = Job { specs, given, data, loss: start, batch, seed, seeds, threads };
    in_background(
        py,
        move |cancel, send| run::probe::<F>(&job, cancel, &|index, columns| send((index, columns))),
        |(index, columns)| report.call1((index, cell(py, &columns, batch, loss)?)).map(|_| ()),
    )
}

/// The arguments at which an activation, its slope or the slope of its slope jumps.
#[pyfunction]
fn kinks(activation: &str) -> PyResult<Vec<f64>> {
    Ok(Activation::parse(activation)?.kinks())
}

/// Make a table of samples known; the text of its activation. See `custom::Samples` for what is given.
#[pyfunction]
fn custom_activation(
    name: &str,
    borders: Vec<f64>,
    cells: Vec<usize>,
    values: Vec<f64>,
    slopes: Vec<f64>,
    kinks: Vec<f64>,
) -> PyResult<String> {
    Ok(custom::register(name, Samples { borders, cells, values, slopes, kinks })?)
}

/// One sort of kind, as Python knows it.
struct Sort {
    noun: &'static str,
    /// The constant that lists the names.
    constant: &'static str,
    names: fn() -> Vec<&'static str>,
    resolve: fn(&Call) -> Result<Resolved>,
}

/// The name of a kind, its parameters, and its canonical text.
type Resolved = (&'static str, Vec<(&'static str, Argument)>, String);

const fn sort<R: Row>(constant: &'static str) -> Sort {
    let resolve = |call: &Call| Kind::<R>::new(call).map(|kind| (kind.signature().name, kind.arguments(), kind.text()));
    Sort { noun: R::NOUN, constant, names: || Kind::<R>::names().collect(), resolve }
}

static SORTS: [Sort; 6] = [
    sort::<activation::Row>("ACTIVATIONS"),
    sort::<init::Row>("INITS"),
    sort::<norm::Row>("NORMS"),
    sort::<skip::Row>("SKIPS"),
    sort::<transform::Row>("WEIGHT_TRANSFORMS"),
    sort::<loss::Row>("LOSSES"),
];

/// `(name, parameters, canonical text)` of a kind.
#[pyfunction]
fn resolve<'py>(
    py: Python<'py>,
    kind: &str,
    name: &str,
    params: &Bound<'py, PyDict>,
) -> PyResult<(&'static str, Bound<'py, PyDict>, String)> {
    let mut call = Call::parse(kind, name)?;
    for (key, value) in params.iter().filter(|(_, value)| !value.is_none()) {
        let key = key.extract::<String>()?;
        let value = argument(&key, &value)?;
        call.arguments.push((Some(key), value));
    }
    let sort = SORTS.iter().find(|sort| sort.noun == kind);
    let sort = sort.ok_or_else(|| Error::unknown("kind", kind, SORTS.iter().map(|sort| sort.noun)))?;
    let (name, arguments, text) = (sort.resolve)(&call)?;
    let known = PyDict::new(py);
    for (key, value) in arguments {
        match value {
            Argument::Number(value) => known.set_item(key, value)?,
            Argument::Word(value) => known.set_item(key, value)?,
        }
    }
    Ok((name, known, text))
}

/// Does this loss take targets, are they class ids, and how does it make one number of them all?
#[pyfunction]
fn loss_facts(loss: &str) -> PyResult<(bool, bool, String)> {
    let loss = Loss::parse(loss)?;
    Ok((loss.takes_targets(), loss.takes_classes(), loss.reduction()))
}

/// A loss of outputs `(batch, outputs)` on its targets, and its gradient by them.
#[pyfunction]
fn loss_gradient<'py>(
    loss: &str,
    outputs: &Bound<'py, PyAny>,
    y: &Bound<'py, PyAny>,
) -> PyResult<(f64, Bound<'py, PyAny>)> {
    let loss = Loss::parse(loss)?;
    let given = real_array("outputs", outputs)?;
    let &[batch, columns] = given.shape() else {
        return Err(Error::value("outputs", "of shape (batch, outputs)", shape_text(given.shape())).into());
    };
    let (value, gradient) = loss.evaluate(given.as_slice()?, columns, &targets_of(loss, y, batch, columns)?);
    Ok((value, array(outputs.py(), gradient, &[batch, columns])?))
}

/// The gain of an activation: torch's (`mode` None), or derived for one direction.
#[pyfunction]
fn calculate_gain(activation: &Bound<'_, PyAny>, param: &Bound<'_, PyAny>, mode: &Bound<'_, PyAny>) -> PyResult<f64> {
    let mut call = Call::parse("activation", &text("activation", activation)?)?;
    let param = optional(param, |param| argument("param", param))?;
    call.arguments.extend(param.map(|param| (None, param)));
    let mode = optional(mode, |mode| text("mode", mode))?;
    Ok(gain::gain(&Activation::new(&call)?, mode.as_deref())?)
}

/// An array with a row of `width` numbers for each index; few are done at once, many by all threads.
fn rows<V: std::borrow::Borrow<[f64]> + Send>(
    py: Python<'_>,
    count: usize,
    width: usize,
    row: impl Fn(usize) -> V + Send + Sync + 'static,
) -> PyResult<Bound<'_, PyAny>> {
    // A thread costs as much as several rows.
    const FEW: usize = 4;
    let values = if count <= FEW {
        py.detach(|| (0..count).map(row).collect::<Vec<_>>().concat())
    } else {
        let threads = threads::threads(None)?;
        detached(py, move |cancel| Ok(threads::each(count, threads, cancel, row)?.concat()))?
    };
    array(py, values, &[count, width])
}

/// Expectations of an activation over normal pre-activations of the variances `q`: `(len(q), len(MOMENTS))`.
#[pyfunction]
fn moments<'py>(py: Python<'py>, activation: &str, q: Vec<f64>) -> PyResult<Bound<'py, PyAny>> {
    let activation = Activation::parse(activation)?;
    rows(py, q.len(), Moments::NAMES.len(), move |i| Moments::of(&activation, q[i]).values())
}

/// `sigma_w` and `q` on the edge of chaos.
#[pyfunction]
fn critical_point(activation: &str, sigma_b: f64) -> PyResult<(f64, f64)> {
    let gain::Critical { sigma_w, q } = gain::critical(&Activation::parse(activation)?, sigma_b)?;
    Ok((sigma_w, q))
}

/// The first Hermite coefficients of an activation at the variances `q`: `(len(q), count)`.
#[pyfunction]
fn hermite<'py>(py: Python<'py>, activation: &str, q: Vec<f64>, count: usize) -> PyResult<Bound<'py, PyAny>> {
    let activation = Activation::parse(activation)?;
    rows(py, q.len(), count, move |i| expectation::hermite(&activation, q[i], count))
}

/// Expectations of an activation behind batch norm in a batch of 6 or more: `E phi, E phi^2, E phi'^2, E y^2 phi'^2`,
/// and of two samples `E phi phi, E phi' phi', E y phi' y phi'`.
#[pyfunction]
fn batch_moments(activation: &str, batch: usize) -> PyResult<[f64; 7]> {
    Ok(Batch::of(&Activation::parse(activation)?, batch).values())
}

/// Expectations of an activation over two normal pre-activations of the variances `q` and correlations `c`:
/// `(len(q), 2)`, columns `E phi(u) phi(v), E phi'(u) phi'(v)`.
#[pyfunction]
fn pair_moments<'py>(py: Python<'py>, activation: &str, q: Vec<f64>, c: Vec<f64>) -> PyResult<Bound<'py, PyAny>> {
    let activation = Activation::parse(activation)?;
    rows(py, q.len().min(c.len()), 2, move |i| {
        let pair = Pair::of(&activation, q[i], c[i]);
        [pair.value, pair.slope]
    })
}

/// `log2` of the singular values of `diag(2^exponents) rows`, in no order.
#[pyfunction]
fn log2_singular_values<'py>(rows: &Bound<'py, PyAny>, exponents: Vec<i64>) -> PyResult<Bound<'py, PyAny>> {
    let matrix = real_array("rows", rows)?;
    if matrix.shape().first() != Some(&exponents.len()) {
        let given = shape_text(matrix.shape());
        return Err(Error::value("rows", "a matrix with a row for each exponent", given).into());
    }
    let (values, count) = (matrix.as_slice()?.to_vec(), exponents.len());
    drop(matrix);
    let found = detached(rows.py(), move |cancel| jacobi::log2_singular_values(values, &exponents, cancel))?;
    array(rows.py(), found, &[count])
}

/// Measure cells, specs or one of given numbers; `report(index, columns)` is called for each as it is finished.
#[pyfunction]
#[allow(clippy::too_many_arguments)] // The keywords of Python's `probe`.
#[pyo3(signature = (cells, report, *, x, y, loss, batch, seeds, seed, dtype, threads))]
fn probe(
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
    const MOST: u64 = 1_000_000;
    let seeds = spec::integer("seeds", integer("seeds", seeds)?, 1, MOST)?;
    if x.is_none() && y.is_some() {
        return Err(Error::Value("y is given without x; give both, or neither".to_owned()).into());
    }
    let net = cells.cast::<Weights>().ok().map(Bound::get);
    let request = Measurement {
        specs: net.map_or_else(|| specs_of(cells), |net| Ok(vec![net.spec.clone()]))?,
        x,
        y,
        loss: data::loss(loss.map(|loss| text("loss", loss)).transpose()?.as_deref(), y.is_some())?,
        batch: batch
            .map(|b| PyResult::Ok(spec::integer("batch", integer("batch", b)?, 1, MOST)? as usize))
            .transpose()?,
        seed: seed_of(seed, seeds - 1)?,
        seeds: seeds as usize,
        threads: threads::threads(threads.map(|t| integer("threads", t)).transpose()?)?,
        report,
    };
    let (py, double) = (report.py(), double(dtype)?);
    match net {
        Some(net) if double != matches!(net.handle, Handle::Double(_)) => Err(Error::Value(format!(
            "dtype must be the network's, '{}', got {}; leave it out, or make the network anew in the dtype you want",
            net.dtype(),
            dtype.repr()?
        ))
        .into()),
        Some(net) => either!(&net.handle, numbers => measure(py, request, Some(Arc::clone(numbers)))),
        None if double => measure::<f64>(py, request, None),
        None => measure::<f32>(py, request, None),
    }
}

/// Relative error of every tensor's gradient against chained central differences.
#[pyfunction]
fn gradcheck<'py>(
    spec: &Bound<'py, PyAny>,
    seed: &Bound<'py, PyAny>,
    batch: &Bound<'py, PyAny>,
    loss: Option<&Bound<'py, PyAny>>,
) -> PyResult<Bound<'py, PyDict>> {
    let (py, valid, seed) = (spec.py(), spec_of(spec)?, seed_of(seed, 0)?);
    let batch = spec::integer("batch", integer("batch", batch)?, 1, 1_000_000)? as usize;
    let loss = loss.map(|loss| PyResult::Ok(Loss::parse(&text("loss", loss)?)?)).transpose()?;
    let plan = Plan::new(&valid);
    // The naive twin keeps a second copy of everything, in vectors of vectors.
    let bytes = 4 * (plan.weight_bytes::<f64>() + plan.pass_bytes::<f64>(batch));
    check_memory("this gradient check", bytes, "lower depth, width or batch")?;
    let errors = detached(py, move |cancel| crate::gradcheck::gradcheck(&valid, seed, batch, loss, cancel))?;
    let result = PyDict::new(py);
    for (name, error) in errors {
        result.set_item(name, error)?;
    }
    Ok(result)
}

/// What this build is and what it uses here.
#[pyfunction]
fn build_info(py: Python<'_>) -> PyResult<Bound<'_, PyDict>> {
    let info = PyDict::new(py);
    info.set_item("version", env!("CARGO_PKG_VERSION"))?;
    info.set_item("isa", simd::isa()?.name())?;
    info.set_item("threads", threads::threads(None)?)?;
    info.set_item("profile", if cfg!(debug_assertions) { "debug" } else { "release" })?;
    info.set_item("stream_version", rng::STREAM_VERSION)?;
    Ok(info)
}

/// The name tables and the version.
fn constants(module: &Bound<'_, PyModule>) -> PyResult<()> {
    let py = module.py();
    // NumPy's C interface is looked up on first use, where Ctrl-C in the middle of it would be a panic: use it now.
    array::<f64>(py, Vec::new(), &[0])?;
    let names = |names: Vec<&'static str>| PyTuple::new(py, names);
    for sort in &SORTS {
        module.add(sort.constant, names((sort.names)())?)?;
    }
    module.add("COLUMNS", names(COLUMNS.to_vec())?)?;
    module.add("MOMENTS", names(Moments::NAMES.to_vec())?)?;
    module.add("BATCH", BATCH)?;
    module.add("__version__", env!("CARGO_PKG_VERSION"))
}

/// The extension module.
#[pymodule]
mod _core {
    #[pymodule_export]
    use super::checked::{Checked, activate, activation_outputs, cotangent, plan, samples};
    #[pymodule_export]
    use super::{
        Weights, batch_moments, build_info, calculate_gain, critical_point, custom_activation, gradcheck, hermite,
        kinks, log2_singular_values, loss_facts, loss_gradient, moments, pair_moments, probe, resolve,
    };

    #[pymodule_init]
    fn init(module: &super::Bound<'_, super::PyModule>) -> super::PyResult<()> {
        super::constants(module)
    }
}
