//! Nets with weights: drawn or given, their output and their gradients.

use super::background::{UNKNOWN, detached, pause};
use super::convert::{
    Reals, Steps, array, as_array, as_matrix, double, matrix, reals, seed_of, shape_text, steps, text, thread_limit,
};
use super::spec::{Checked, checked_of};
use super::targets::{loss_of, targets_of};
use crate::data::Expected;
use crate::error::{Cancel, Error};
use crate::gradients::{self, Gradients, Signals, Start};
use crate::kernel::Tensor;
use crate::memory::check_memory;
use crate::plan::{self, Plan};
use crate::run;
use crate::simd::Float;
use crate::spec::Spec;
use crate::threads;
use crate::weights::Weights;
use numpy::{Element, PyArrayDyn};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList};
use std::collections::HashSet;
use std::sync::Arc;

/// The number of random samples where no data are given.
pub const BATCH: usize = 128;

/// The weights of a net in one of the two dtypes.
#[derive(Clone)]
pub enum Handle {
    Single(Arc<Weights<f32>>),
    Double(Arc<Weights<f64>>),
}

/// A handle of weights of a type.
pub trait Held: Float {
    /// The weights in their handle.
    fn held(weights: Weights<Self>) -> Handle;
    /// The weights of a handle, if they are of this type.
    fn weights(handle: &Handle) -> Option<&Arc<Weights<Self>>>;
}

impl Held for f32 {
    fn held(weights: Weights<Self>) -> Handle {
        Handle::Single(Arc::new(weights))
    }
    fn weights(handle: &Handle) -> Option<&Arc<Weights<Self>>> {
        if let Handle::Single(weights) = handle { Some(weights) } else { None }
    }
}

impl Held for f64 {
    fn held(weights: Weights<Self>) -> Handle {
        Handle::Double(Arc::new(weights))
    }
    fn weights(handle: &Handle) -> Option<&Arc<Weights<Self>>> {
        if let Handle::Double(weights) = handle { Some(weights) } else { None }
    }
}

/// Run a block with the weights of a [`Handle`] under one name, whatever their dtype.
macro_rules! either {
    ($handle:expr, $weights:ident => $body:expr) => {
        match $handle {
            Handle::Single($weights) => $body,
            Handle::Double($weights) => $body,
        }
    };
}
pub(super) use either;

/// A net with weights, which Python calls `Weights`.
#[pyclass(frozen, name = "Weights", module = "vgcore._core")]
pub struct Net {
    checked: Py<Checked>,
    pub plan: Arc<Plan>,
    pub handle: Handle,
}

impl Net {
    /// A net of a spec, with weights of its plan.
    pub fn of(checked: Py<Checked>, plan: Arc<Plan>, handle: Handle) -> Self {
        Self { checked, plan, handle }
    }

    /// The spec as Python has it.
    pub fn checked(&self, py: Python<'_>) -> Py<Checked> {
        self.checked.clone_ref(py)
    }

    pub fn spec(&self) -> &Spec {
        &self.checked.get().spec
    }
}

/// Tensors that are handed over between two looks at Ctrl-C.
const AT_ONCE: usize = 1 << 10;

fn draw<F: Float>(
    py: Python<'_>,
    spec: &Spec,
    plan: &Arc<Plan>,
    seed: u64,
    x: Option<&Bound<'_, PyAny>>,
) -> PyResult<Arc<Weights<F>>> {
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
    let (plan, seconds) = (Arc::clone(plan), plan.draw_seconds());
    let threads = threads::worthwhile(threads::limit(None)?, seconds);
    Ok(Arc::new(detached(py, seconds, move |cancel| run::drawn(&plan, seed, samples, BATCH, threads, cancel))?))
}

fn given<F: Float>(
    plan: &Arc<Plan>,
    tensors: Vec<plan::Tensor>,
    state: &Bound<'_, PyDict>,
) -> PyResult<Arc<Weights<F>>> {
    check_memory("these weights", 2 * plan.weight_bytes::<F>(), "lower depth or width")?;
    let (py, mut flat) = (state.py(), Vec::with_capacity(tensors.len()));
    for (i, (_, name, shape)) in tensors.into_iter().enumerate() {
        if i % AT_ONCE == AT_ONCE - 1 {
            pause(py)?;
        }
        let value = state
            .get_item(&name)?
            .ok_or_else(|| Error::Value(format!("state_dict lacks '{name}' of {}", shape_text(&shape))))?;
        let Reals { values, shape: found, bad } = reals::<F>(&name, &value)?;
        if found != shape {
            let given = shape_text(&found);
            let given = given.trim_start_matches("shape ");
            return Err(Error::value(&name, &format!("of {}", shape_text(&shape)), given).into());
        }
        if let Some(at) = bad {
            return Err(Error::Value(format!(
                "{name} must be finite in {}, but entry {at} in C order is not",
                F::NAME
            ))
            .into());
        }
        flat.push(values);
    }
    let (plan, seconds) = (Arc::clone(plan), plan.draw_seconds());
    Ok(Arc::new(detached(py, seconds, move |cancel| Weights::given(&plan, flat, cancel))?))
}

#[pymethods]
impl Net {
    /// Draw a net's weights.
    #[staticmethod]
    #[pyo3(signature = (spec, seed, dtype, x))]
    fn draw(
        spec: &Bound<'_, PyAny>,
        seed: &Bound<'_, PyAny>,
        dtype: &Bound<'_, PyAny>,
        x: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Self> {
        let (py, checked, seed, double) = (dtype.py(), checked_of(spec)?, seed_of(seed, 0)?, double(dtype)?);
        let (spec, plan) = (&checked.get().spec, checked.get().plan(py)?);
        let handle = if double {
            Handle::Double(draw(py, spec, &plan, seed, x)?)
        } else {
            Handle::Single(draw(py, spec, &plan, seed, x)?)
        };
        Ok(Self { checked: checked.unbind(), plan, handle })
    }

    /// Take a net's weights from a state dict: in float32 if all of it is.
    #[staticmethod]
    fn given(spec: &Bound<'_, PyAny>, state: &Bound<'_, PyDict>) -> PyResult<Self> {
        let (py, checked) = (state.py(), checked_of(spec)?);
        let plan = checked.get().plan(py)?;
        let tensors = named_tensors(py, &plan)?;
        let (arrays, mut single) = (PyDict::new(py), true);
        for (i, (_, name, _)) in tensors.iter().enumerate() {
            if i % AT_ONCE == AT_ONCE - 1 {
                pause(py)?;
            }
            if let Some(value) = state.get_item(name)? {
                let array = as_array(name, "an array of numbers", &value)?;
                single &= array.cast::<PyArrayDyn<f32>>().is_ok();
                arrays.set_item(name, array)?;
            }
        }
        if arrays.len() < state.len() {
            return Err(unknown_key(&tensors, state)?);
        }
        let handle = if single {
            Handle::Single(given(&plan, tensors, &arrays)?)
        } else {
            Handle::Double(given(&plan, tensors, &arrays)?)
        };
        Ok(Self { checked: checked.unbind(), plan, handle })
    }

    /// Refuse a spec that these are not the weights of.
    fn check_spec(&self, spec: &Bound<'_, PyAny>) -> PyResult<()> {
        let checked = checked_of(spec)?;
        if self.checked.is(&checked) || checked.get().spec == *self.spec() {
            return Ok(());
        }
        Err(Error::Value("weights must be those of the spec, got the weights of another".to_owned()).into())
    }

    /// The name of the dtype.
    #[getter]
    pub fn dtype(&self) -> &'static str {
        match self.handle {
            Handle::Single(_) => f32::NAME,
            Handle::Double(_) => f64::NAME,
        }
    }

    /// Copies of all tensors by name.
    fn state_dict<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        either!(&self.handle, weights => state_dict(py, &self.plan, weights))
    }

    /// All numbers in the order of the state dict, in parts of one length, the last one shorter.
    fn parts<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        either!(&self.handle, weights => parts(py, &self.plan, weights))
    }

    /// Take a net's weights from the parts of another's.
    #[staticmethod]
    fn joined(spec: &Bound<'_, PyAny>, parts: &Bound<'_, PyList>, dtype: &Bound<'_, PyAny>) -> PyResult<Self> {
        let (py, checked, double) = (dtype.py(), checked_of(spec)?, double(dtype)?);
        let plan = checked.get().plan(py)?;
        let handle = if double { Handle::Double(joined(&plan, parts)?) } else { Handle::Single(joined(&plan, parts)?) };
        Ok(Self { checked: checked.unbind(), plan, handle })
    }

    /// The output on a batch.
    #[pyo3(signature = (x, threads))]
    fn forward<'py>(&self, x: &Bound<'py, PyAny>, threads: Option<&Bound<'py, PyAny>>) -> PyResult<Bound<'py, PyAny>> {
        either!(&self.handle, weights => forward(&self.plan, steps(self.spec()), weights, x, thread_limit(threads)?))
    }

    /// What a forward pass computes of every layer, lists of `(batch, features)` by name, and the output.
    fn signals<'py>(&self, x: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyDict>> {
        either!(&self.handle, weights => signals(&self.plan, steps(self.spec()), weights, x))
    }

    /// All gradients from a cotangent.
    #[pyo3(signature = (x, cotangent, threads))]
    fn backward<'py>(
        &self,
        x: &Bound<'py, PyAny>,
        cotangent: &Bound<'py, PyAny>,
        threads: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyDict>> {
        let start = |batch| {
            let rows = Expected { name: "cotangent", axis: "outputs", columns: self.plan.output(), rows: Some(batch) };
            Ok(Start::Cotangent(matrix::<f64>(cotangent, rows)?.0))
        };
        let threads = thread_limit(threads)?;
        either!(&self.handle, weights => all_gradients(&self.plan, steps(self.spec()), weights, x, start, threads))
    }

    /// All gradients from a loss.
    #[pyo3(signature = (x, y, loss, threads))]
    fn gradients<'py>(
        &self,
        x: &Bound<'py, PyAny>,
        y: &Bound<'py, PyAny>,
        loss: Option<&Bound<'py, PyAny>>,
        threads: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyDict>> {
        let threads = thread_limit(threads)?;
        let loss = loss_of(loss, Some(y).filter(|y| !y.is_none()), self.plan.places)?
            .ok_or_else(|| Error::Value("gradients start from a loss: give y, or loss='output_sum'".to_owned()))?;
        let start = |batch| Ok(Start::Loss(loss, targets_of(loss, y, batch, self.plan.output(), self.plan.places)?));
        either!(&self.handle, weights => all_gradients(&self.plan, steps(self.spec()), weights, x, start, threads))
    }
}

/// The refusal of a state dict that has a key too many.
fn unknown_key(tensors: &[plan::Tensor], state: &Bound<'_, PyDict>) -> PyResult<PyErr> {
    let names = tensors.iter().map(|(_, name, _)| name.as_str()).collect::<HashSet<_>>();
    for key in state.keys() {
        let key = text("a key of state_dict", &key)?;
        if !names.contains(key.as_str()) {
            let choices = tensors.iter().take(AT_ONCE).map(|(_, name, _)| name.as_str());
            return Ok(Error::unknown("key of state_dict", &key, choices).into());
        }
    }
    Ok(Error::Value("state_dict has a key twice".to_owned()).into())
}

/// The tensors of a plan, which has many names where the net is deep.
fn named_tensors(py: Python<'_>, plan: &Arc<Plan>) -> PyResult<Vec<plan::Tensor>> {
    /// Bytes of a name and a shape, and of the array of Python that they go to.
    const NAME: u128 = 700;
    let ours = Arc::clone(plan);
    check_memory("the names of these weights", 2 * NAME * plan.slots.len() as u128, "lower depth")?;
    detached(py, plan.copy_seconds(), move |_| Ok(ours.tensors()))
}

fn state_dict<'py, F: Float + Element>(
    py: Python<'py>,
    plan: &Arc<Plan>,
    weights: &Arc<Weights<F>>,
) -> PyResult<Bound<'py, PyDict>> {
    check_memory("a copy of the weights", plan.weight_bytes::<F>(), "lower depth or width")?;
    let names = named_tensors(py, plan)?;
    let (ours, weights, seconds) = (Arc::clone(plan), Arc::clone(weights), plan.copy_seconds());
    let tensors = detached(py, seconds, move |cancel| weights.tensors(&ours, cancel))?;
    by_name(py, names.into_iter().zip(tensors))
}

/// Numbers of a part of a pickled net.
const PART: usize = 1 << 22;

fn parts<'py, F: Float + Element>(
    py: Python<'py>,
    plan: &Arc<Plan>,
    weights: &Arc<Weights<F>>,
) -> PyResult<Bound<'py, PyList>> {
    check_memory("a copy of the weights", 2 * plan.weight_bytes::<F>(), "lower depth or width")?;
    let (ours, weights, seconds) = (Arc::clone(plan), Arc::clone(weights), plan.copy_seconds());
    let parts = detached(py, seconds, move |cancel| {
        let (mut parts, mut part) = (Vec::new(), Vec::new());
        for tensor in weights.tensors(&ours, cancel)? {
            let mut rest = &tensor[..];
            while !rest.is_empty() {
                cancel.check()?;
                let (now, later) = rest.split_at(rest.len().min(PART - part.len()));
                part.extend_from_slice(now);
                rest = later;
                if part.len() == PART {
                    parts.push(std::mem::take(&mut part));
                }
            }
        }
        parts.push(part);
        Ok(parts)
    })?;
    let list = PyList::empty(py);
    for part in parts {
        let count = part.len();
        list.append(array(py, part, &[count])?)?;
    }
    Ok(list)
}

fn joined<F: Float>(plan: &Arc<Plan>, parts: &Bound<'_, PyList>) -> PyResult<Arc<Weights<F>>> {
    check_memory("these weights", 2 * plan.weight_bytes::<F>(), "lower depth or width")?;
    let mut given = Vec::with_capacity(parts.len());
    for part in parts {
        match reals::<F>("a part of the weights", &part)? {
            Reals { values, bad: None, .. } => given.push(values),
            _ => return Err(Error::Value("a part of the weights must be finite".to_owned()).into()),
        }
    }
    let (plan, seconds) = (Arc::clone(plan), plan.copy_seconds() + plan.draw_seconds());
    let taken = move |cancel: &Cancel| {
        let sizes = plan.tensors().into_iter().map(|(_, _, shape)| shape.iter().product::<usize>());
        let (sizes, there) = (sizes.collect::<Vec<_>>(), given.iter().map(Vec::len).sum::<usize>());
        if sizes.iter().sum::<usize>() != there {
            return Err(Error::value("the parts of the weights", "as many numbers as the net has", there));
        }
        let mut all = given.into_iter().flatten();
        let tensor = |size: usize| cancel.check().map(|()| all.by_ref().take(size).collect());
        let tensors = sizes.into_iter().map(tensor).collect::<crate::error::Result<Vec<_>>>()?;
        Weights::given(&plan, tensors, cancel)
    };
    Ok(Arc::new(detached(parts.py(), seconds, taken)?))
}

/// The names of a net's tensors in the order of its state dict, and their numbers of entries.
#[pyfunction]
pub fn tensors(spec: &Bound<'_, PyAny>) -> PyResult<Vec<(String, usize)>> {
    let plan = checked_of(spec)?.get().plan(spec.py())?;
    let all = named_tensors(spec.py(), &plan)?.into_iter();
    Ok(all.map(|(_, name, shape)| (name, shape.iter().product())).collect())
}

/// Tensors as arrays by name.
fn by_name<F: Element>(
    py: Python<'_>,
    tensors: impl Iterator<Item = (plan::Tensor, Vec<F>)>,
) -> PyResult<Bound<'_, PyDict>> {
    let named = PyDict::new(py);
    for (i, ((_, name, shape), values)) in tensors.enumerate() {
        if i % AT_ONCE == AT_ONCE - 1 {
            pause(py)?;
        }
        named.set_item(name, array(py, values, &shape)?)?;
    }
    Ok(named)
}

/// The caller's samples, and a refusal if a pass over them does not fit into memory.
fn samples<F: Float>(
    plan: &Plan,
    steps: Option<Steps>,
    x: &Bound<'_, PyAny>,
    copies: u128,
) -> PyResult<(Vec<F>, usize)> {
    let x = as_matrix(x, steps)?;
    let (x, batch) = matrix(&x, Expected { name: "x", axis: "in_features", columns: plan.columns, rows: None })?;
    let bytes = plan.pass_bytes::<F>(batch) + copies * (plan.weight_bytes::<F>() + plan.pass_bytes::<F>(batch));
    check_memory("this pass", bytes, format!("lower {}, width or batch", plan.sizes))?;
    Ok((x, batch))
}

fn forward<'py, F: Float + Element>(
    plan: &Arc<Plan>,
    steps: Option<Steps>,
    weights: &Arc<Weights<F>>,
    x: &Bound<'py, PyAny>,
    limit: Option<usize>,
) -> PyResult<Bound<'py, PyAny>> {
    let (x_values, batch) = samples(plan, steps, x, 0)?;
    let seconds = plan.pass_seconds(batch);
    let (ours, weights, threads) = (Arc::clone(plan), Arc::clone(weights), threads::worthwhile(limit, seconds));
    let y = detached(x.py(), seconds, move |cancel| {
        let y = gradients::output(&ours, &weights, &x_values, threads, cancel)?;
        Ok(y.into_iter().map(F::of).collect())
    })?;
    array::<F>(x.py(), y, &[batch, plan.output()])
}

fn signals<'py, F: Float + Element>(
    plan: &Arc<Plan>,
    steps: Option<Steps>,
    weights: &Arc<Weights<F>>,
    x: &Bound<'py, PyAny>,
) -> PyResult<Bound<'py, PyDict>> {
    let (x_values, batch) = samples(plan, steps, x, 2)?;
    let (py, ours, weights) = (x.py(), Arc::clone(plan), Arc::clone(weights));
    let found = detached(py, plan.pass_seconds(batch), move |cancel| {
        let mut found = Signals::of(&ours, &weights, &x_values, cancel)?;
        found.spell_out(cancel)?;
        Ok(found)
    })?;
    let Signals { z, inputs, outputs, slopes, a, h, output } = found;
    let shaped = |signal: Tensor<F>| {
        let columns = signal.values.len() / batch;
        array(py, signal.values, &[batch, columns])
    };
    let by_token = |signal: Tensor<F>| {
        let columns = signal.values.len() / (batch * plan.tokens);
        let shape = if plan.tokens > 1 { vec![batch, plan.tokens, columns] } else { vec![batch, columns] };
        array(py, signal.values, &shape)
    };
    let result = PyDict::new(py);
    for (name, layers) in [("z", z), ("inputs", inputs), ("outputs", outputs), ("slopes", slopes), ("a", a), ("h", h)] {
        let list = PyList::empty(py);
        for (i, layer) in layers.into_iter().enumerate() {
            if i % AT_ONCE == AT_ONCE - 1 {
                pause(py)?;
            }
            list.append(by_token(layer)?)?;
        }
        result.set_item(name, list)?;
    }
    result.set_item("output", shaped(output)?)?;
    Ok(result)
}

fn all_gradients<'py, F: Float + Element>(
    plan: &Arc<Plan>,
    steps: Option<Steps>,
    weights: &Arc<Weights<F>>,
    x: &Bound<'py, PyAny>,
    start: impl FnOnce(usize) -> PyResult<Start>,
    limit: Option<usize>,
) -> PyResult<Bound<'py, PyDict>> {
    let (x_values, batch) = samples(plan, steps, x, 1)?;
    let start = start(batch)?;
    let seconds = 3.0 * plan.pass_seconds(batch);
    let (ours, weights, threads) = (Arc::clone(plan), Arc::clone(weights), threads::worthwhile(limit, seconds));
    let all = detached(x.py(), seconds, move |cancel| {
        let spell = Tensor::spell_out;
        let mut all = gradients::gradients(&ours, &weights, &x_values, &start, threads, spell, cancel)?;
        all.input.spell_out();
        Ok((all, ours.tensors()))
    })?;
    let (py, (Gradients { tensors, preactivations, input, loss }, names)) = (x.py(), all);
    let result = PyDict::new(py);
    result
        .set_item("parameters", by_name(py, names.into_iter().zip(tensors.into_iter().map(|tensor| tensor.values)))?)?;
    let by_row = PyList::empty(py);
    for (i, (z, width)) in preactivations.into_iter().zip(&plan.rows).enumerate() {
        if i % AT_ONCE == AT_ONCE - 1 {
            pause(py)?;
        }
        let shape = if plan.tokens > 1 { vec![batch, plan.tokens, *width] } else { vec![batch, *width] };
        by_row.append(array(py, z.values, &shape)?)?;
    }
    result.set_item("preactivations", by_row)?;
    let shape = steps.map_or(vec![batch, plan.columns], |Steps { count, columns, .. }| vec![batch, count, columns]);
    result.set_item("input", array(py, input.values, &shape)?)?;
    result.set_item("loss", loss)?;
    Ok(result)
}

/// `log10` of the singular values of a net's dy/dx at one input, or at one that is drawn: descending, all in float64.
#[pyfunction]
pub fn jacobian<'py>(
    net: &Bound<'py, Net>,
    x: Option<&Bound<'py, PyAny>>,
    seed: &Bound<'py, PyAny>,
) -> PyResult<Bound<'py, PyAny>> {
    let (py, net, seed) = (net.py(), net.get(), seed_of(seed, 0)?);
    let x = x.map(|x| sample(net.spec(), x)).transpose()?;
    let (plan, handle) = (Arc::clone(&net.plan), net.handle.clone());
    let copy = if matches!(handle, Handle::Single(_)) { 2 * plan.weight_bytes::<f64>() } else { 0 };
    check_memory("this Jacobian", crate::jacobian::bytes(&plan) + copy, "lower depth or width")?;
    let found = detached(py, UNKNOWN, move |cancel| {
        let weights = match handle {
            Handle::Double(weights) => weights,
            Handle::Single(weights) => {
                let wide = |values: Vec<f32>| values.into_iter().map(f64::from).collect();
                let tensors = weights.tensors(&plan, cancel)?.into_iter().map(wide).collect();
                Arc::new(Weights::given(&plan, tensors, cancel)?)
            }
        };
        let x = x.unwrap_or_else(|| run::samples(&plan, seed, 1));
        crate::jacobian::log2_singular_values(&plan, &weights, &x, cancel)
    })?;
    let count = found.len();
    array(py, found.into_iter().map(|log2| log2 * std::f64::consts::LOG10_2).collect(), &[count])
}

/// One input of a net.
fn sample(spec: &Spec, x: &Bound<'_, PyAny>) -> PyResult<Vec<f64>> {
    let array = as_array("x", "real numbers", x)?;
    let (axes, shape) = match steps(spec) {
        Some(Steps { count, columns, axes, .. }) => (format!("({axes})"), vec![count, columns]),
        None => ("(in_features,)".to_owned(), vec![spec.in_features()]),
    };
    let (dtype, given) = (array.getattr("dtype")?, array.getattr("shape")?.extract::<Vec<usize>>()?);
    if !"biuf".contains(&dtype.getattr("kind")?.extract::<String>()?)
        || (given != shape && given != [shape.iter().product::<usize>()])
    {
        let [wanted, given] = [&shape, &given].map(|shape| shape_text(shape).trim_start_matches("shape ").to_owned());
        let allowed = format!("real numbers of shape {axes} = {wanted}");
        return Err(Error::value("x", &allowed, format!("{dtype} {given}")).into());
    }
    match reals("x", &array)? {
        Reals { values, bad: None, .. } => Ok(values),
        _ => Err(Error::Value("x must be finite".to_owned()).into()),
    }
}
