//! Kinds: their names, parameters and canonical texts, and the facts that Python asks of activations and losses.

use super::convert::{argument, array, real_array, shape_text, targets_of};
use crate::activation::custom::{self, Samples};
use crate::activation::{self, Activation};
use crate::error::{Error, Result};
use crate::kind::{Kind, Row};
use crate::loss::{self, Loss};
use crate::signature::{Argument, Call};
use crate::{init, norm, skip, transform};
use numpy::PyUntypedArrayMethods;
use pyo3::prelude::*;
use pyo3::types::PyDict;

/// A sort of kind, as Python knows it.
pub struct Sort {
    noun: &'static str,
    /// The constant that lists the names.
    pub constant: &'static str,
    pub names: fn() -> Vec<&'static str>,
    resolve: fn(&Call) -> Result<Resolved>,
}

/// The name of a kind, its parameters, and its canonical text.
type Resolved = (&'static str, Vec<(&'static str, Argument)>, String);

const fn sort<R: Row>(constant: &'static str) -> Sort {
    let resolve = |call: &Call| Kind::<R>::new(call).map(|kind| (kind.signature().name, kind.arguments(), kind.text()));
    Sort { noun: R::NOUN, constant, names: || Kind::<R>::names().collect(), resolve }
}

pub static SORTS: [Sort; 6] = [
    sort::<activation::Row>("ACTIVATIONS"),
    sort::<init::Row>("INITS"),
    sort::<norm::Row>("NORMS"),
    sort::<skip::Row>("SKIPS"),
    sort::<transform::Row>("WEIGHT_TRANSFORMS"),
    sort::<loss::Row>("LOSSES"),
];

/// `(name, parameters, canonical text)` of a kind.
#[pyfunction]
pub fn resolve<'py>(
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

/// Make a table of samples known, and give the text of its activation. The arguments are the fields of [`Samples`].
#[pyfunction]
pub fn custom_activation(
    name: &str,
    borders: Vec<f64>,
    cells: Vec<usize>,
    values: Vec<f64>,
    slopes: Vec<f64>,
    kinks: Vec<f64>,
) -> PyResult<String> {
    Ok(custom::register(name, Samples { borders, cells, values, slopes, kinks })?)
}

/// The arguments at which an activation, its slope or the slope of its slope jumps.
#[pyfunction]
pub fn kinks(activation: &str) -> PyResult<Vec<f64>> {
    Ok(Activation::parse(activation)?.kinks())
}

/// The number of features that an activation gives for each of z: 1, or 1/2 if it is gated, or 2 if it doubles.
#[pyfunction]
pub fn activation_outputs(activation: &str) -> PyResult<f64> {
    Ok(Activation::parse(activation)?.outputs(2) as f64 / 2.0)
}

/// Three facts of a loss: whether it takes targets, whether these are class ids, and its reduction in words.
#[pyfunction]
pub fn loss_facts(loss: &str) -> PyResult<(bool, bool, String)> {
    let loss = Loss::parse(loss)?;
    Ok((loss.takes_targets(), loss.takes_classes(), loss.reduction()))
}

/// A loss of outputs `(batch, outputs)` on its targets, and its gradient by them.
#[pyfunction]
pub fn loss_gradient<'py>(
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
