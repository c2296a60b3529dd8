//! Kinds: their names, parameters and canonical texts, and the facts that Python asks of activations and losses.

use super::background::{UNKNOWN, detached};
use super::convert::{argument, array, described, is_bool, numbers, reals, shape_text, text};
use super::targets::{loss_of, targets_of};
use crate::activation::custom::{self, Samples};
use crate::activation::{self, Activation};
use crate::error::{Cancel, Error, Result};
use crate::kind::{Kind, Row};
use crate::loss::{self, Loss};
use crate::memory::check_memory;
use crate::signature::{Argument, Call, Default, Param, Signature};
use crate::synonyms;
use crate::{cell, init, norm, optimizer, pretrain, schedule, skip, transform};
use pyo3::IntoPyObjectExt;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString, PyTuple};
use std::sync::Arc;

/// A sort of kind, as Python knows it.
pub struct Sort {
    /// The word for a kind of this sort, and for the field of a spec or the argument that takes one.
    pub noun: &'static str,
    /// The constant that lists the names.
    pub constant: &'static str,
    pub names: fn() -> Vec<&'static str>,
    signatures: fn() -> Vec<&'static Signature>,
    resolve: fn(&Call) -> Result<Resolved>,
}

/// The name of a kind, its parameters, and its canonical text.
type Resolved = (&'static str, Vec<(&'static str, Argument)>, String);

const fn sort<R: Row>(constant: &'static str) -> Sort {
    let resolve = |call: &Call| Kind::<R>::new(call).map(|kind| (kind.signature().name, kind.arguments(), kind.text()));
    let signatures = || Kind::<R>::signatures().collect();
    Sort { noun: R::NOUN, constant, names: || Kind::<R>::names().collect(), signatures, resolve }
}

pub static SORTS: [Sort; 10] = [
    sort::<activation::Row>("ACTIVATIONS"),
    sort::<init::Row>("INITS"),
    sort::<norm::Row>("NORMS"),
    sort::<skip::Row>("SKIPS"),
    sort::<transform::Row>("WEIGHT_TRANSFORMS"),
    sort::<loss::Row>("LOSSES"),
    sort::<optimizer::Row>("OPTIMIZERS"),
    sort::<schedule::Row>("SCHEDULES"),
    sort::<cell::Row>("CELLS"),
    sort::<pretrain::Row>("PRETRAININGS"),
];

/// The text of a kind of this sort that a caller gives for the field of this name, or what to write instead.
pub fn kind_text(sort: &str, name: &str, given: &Bound<'_, PyAny>) -> PyResult<String> {
    if given.is_instance_of::<PyString>() {
        return text(name, given);
    }
    let names = SORTS.iter().find(|row| row.noun == sort).map_or_else(Vec::new, |row| (row.names)());
    let may_be_none = !["activation", "init", "loss"].contains(&name.split('[').next().unwrap_or_default());
    let truth = is_bool(given)?.then(|| given.is_truthy()).transpose()?;
    let advice = match truth {
        _ if sort == "activation" && (given.is_none() || truth == Some(false)) => {
            "; write 'linear' for none".to_owned()
        }
        _ if name == "init" && (given.is_none() || truth == Some(false)) => "; leave it out for the default".to_owned(),
        Some(_) if name.starts_with("bias") => {
            "; write None for biases that start as the init has them, most at 0, or False for none".to_owned()
        }
        Some(false) if may_be_none => format!("; write {name}=None"),
        Some(true) => format!("; choose from: {}", names.join(", ")),
        // A function or a class of another library.
        _ if given.is_callable() => {
            let called = given.getattr_opt("__name__")?.filter(PyAnyMethods::is_instance_of::<PyString>);
            let called = called.map_or_else(|| given.get_type().name().map(Bound::into_any), Ok)?;
            let hint = synonyms::hint(&text("a name", &called)?, names.iter().copied());
            let own = if sort == "activation" { ", or vgcore.Activation.custom(name, f)" } else { "" };
            format!("; write its name{hint}{own}")
        }
        _ => String::new(),
    };
    let allowed = if may_be_none { "None or a string" } else { "a string" };
    Err(Error::type_of(name, allowed, format!("{}{advice}", described(given)?)).into())
}

/// What a name may stand for among some choices, as ` (did you mean 'relu'?)`; empty where nothing is near.
#[pyfunction]
pub fn hint(given: &Bound<'_, PyString>, choices: &Bound<'_, PyAny>) -> PyResult<String> {
    let choices = choices.extract::<Vec<String>>()?;
    Ok(synonyms::hint(&given.to_string_lossy(), choices.iter().map(String::as_str)))
}

/// `(name, parameters, canonical text)` of a kind.
#[pyfunction]
pub fn resolve<'py>(
    py: Python<'py>,
    kind: &str,
    name: &Bound<'py, PyAny>,
    params: &Bound<'py, PyDict>,
) -> PyResult<(&'static str, Bound<'py, PyDict>, String)> {
    let mut call = Call::parse(kind, &text(kind, name)?)?;
    for (key, value) in params.iter().filter(|(_, value)| !value.is_none()) {
        let key = text("a parameter", &key)?;
        let value = argument(&key, &value)?;
        call.arguments.push((Some(key), value));
    }
    let (name, arguments, text) = (sort_of(kind)?.resolve)(&call)?;
    let known = PyDict::new(py);
    for (key, value) in arguments {
        known.set_item(key, written(py, value)?)?;
    }
    Ok((name, known, text))
}

/// The sort of kind of this name.
fn sort_of(kind: &str) -> Result<&'static Sort> {
    let sort = SORTS.iter().find(|sort| sort.noun == kind);
    sort.ok_or_else(|| Error::unknown("kind", kind, SORTS.iter().map(|sort| sort.noun)))
}

fn written(py: Python<'_>, value: Argument) -> PyResult<Bound<'_, PyAny>> {
    match value {
        Argument::Number(value) => value.into_bound_py_any(py),
        Argument::Word(value) => value.into_bound_py_any(py),
    }
}

/// All kinds of a sort, a dictionary each: `name`, `aliases`, `formula`, `summary`, `source`, and `params`, each with its
/// name, its default (None where it must be given or follows from others), what is allowed, and if it must be given.
#[pyfunction]
pub fn kinds<'py>(py: Python<'py>, family: &str) -> PyResult<Vec<Bound<'py, PyDict>>> {
    let told = |signature: &Signature| {
        let known = PyDict::new(py);
        known.set_item("name", signature.name)?;
        known.set_item("aliases", PyTuple::new(py, signature.aliases)?)?;
        known.set_item("formula", signature.about.formula)?;
        known.set_item("summary", signature.about.summary)?;
        known.set_item("source", signature.about.source)?;
        let param = |param: &Param| {
            let fallback = param.fallback().map(|value| written(py, value)).transpose()?;
            Ok((param.name, fallback, param.domain.words(), param.default == Default::Required))
        };
        known.set_item("params", signature.params.iter().map(param).collect::<PyResult<Vec<_>>>()?)?;
        Ok(known)
    };
    (sort_of(family)?.signatures)().into_iter().map(told).collect()
}

/// Make a table of samples known, and give the text of its activation. The arguments are the fields of [`Samples`].
#[pyfunction]
pub fn custom_activation(
    name: &Bound<'_, PyAny>,
    borders: &Bound<'_, PyAny>,
    cells: Vec<usize>,
    values: &Bound<'_, PyAny>,
    slopes: &Bound<'_, PyAny>,
    kinks: &Bound<'_, PyAny>,
) -> PyResult<Table> {
    let samples = Samples {
        borders: numbers("borders", borders)?,
        cells,
        values: numbers("values", values)?,
        slopes: numbers("slopes", slopes)?,
        kinks: numbers("kinks", kinks)?,
    };
    let name = text("name", name)?;
    let bytes = 64 * (samples.values.len() + samples.borders.len()) as u128;
    check_memory("the table of this activation", bytes, "sample fewer points")?;
    let held = detached(values.py(), UNKNOWN, move |_| custom::register(&name, samples))?;
    Ok(Table { held })
}

/// A table of a custom activation, which the core knows as long as there is such an object, or a spec that names it.
#[pyclass(frozen, module = "vgcore._core")]
pub struct Table {
    held: Arc<custom::Held>,
}

#[pymethods]
impl Table {
    /// The text of the activation.
    #[getter]
    fn text(&self) -> String {
        custom::text(&self.held)
    }
}

/// The arguments at which an activation, its slope or the slope of its slope jumps.
#[pyfunction]
pub fn kinks(activation: &Bound<'_, PyAny>) -> PyResult<Vec<f64>> {
    Ok(Activation::parse(&text("activation", activation)?)?.kinks())
}

/// The largest `|phi'|` of an activation.
#[pyfunction]
pub fn steepest(activation: &Bound<'_, PyAny>) -> PyResult<f64> {
    Ok(Activation::parse(&text("activation", activation)?)?.steepest())
}

/// The number of features that an activation gives for each of z: 1, or 1/2 if it is gated, or 2 if it doubles.
#[pyfunction]
pub fn activation_outputs(activation: &Bound<'_, PyAny>) -> PyResult<f64> {
    Ok(Activation::parse(&text("activation", activation)?)?.outputs(2) as f64 / 2.0)
}

/// Three facts of a loss: whether it takes targets, whether these are class ids, and its reduction in words.
#[pyfunction]
pub fn loss_facts(loss: &Bound<'_, PyAny>) -> PyResult<(bool, bool, String)> {
    let loss = Loss::parse(&text("loss", loss)?)?;
    Ok((loss.takes_targets(), loss.takes_classes(), loss.reduction()))
}

/// The loss that a caller names, or the one that the targets are for, as a text; None where there is neither.
#[pyfunction]
pub fn loss_name(loss: Option<&Bound<'_, PyAny>>, y: Option<&Bound<'_, PyAny>>) -> PyResult<Option<String>> {
    Ok(loss_of(loss, y, 1)?.map(|loss| loss.text()))
}

/// A loss of outputs `(batch, outputs)` on its targets, and its gradient by them.
#[pyfunction]
pub fn loss_gradient<'py>(
    loss: &Bound<'py, PyAny>,
    outputs: &Bound<'py, PyAny>,
    y: &Bound<'py, PyAny>,
) -> PyResult<(f64, Bound<'py, PyAny>)> {
    let loss = Loss::parse(&text("loss", loss)?)?;
    let given = reals::<f64>("outputs", outputs)?;
    let [batch, columns] = *given.shape else {
        return Err(Error::value("outputs", "of shape (batch, outputs)", shape_text(&given.shape)).into());
    };
    let targets = targets_of(loss, y, batch, columns, 1)?;
    check_memory("this loss", 16 * given.values.len() as u128, "give fewer samples")?;
    let evaluate = move |_: &Cancel| Ok(loss.evaluate(&given.values, columns, &targets));
    let (value, gradient) = detached(outputs.py(), 1e-8 * (batch * columns) as f64, evaluate)?;
    Ok((value, array(outputs.py(), gradient, &[batch, columns])?))
}
