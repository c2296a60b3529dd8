//! Targets of a caller: class ids, names of classes, one-hot rows or numbers, and the loss that they are for.

use super::convert::{array, reals, shape_text, shaped};
use super::kinds::kind_text;
use crate::data::{self, Expected};
use crate::error::Error;
use crate::loss::{Loss, Targets};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyList, PyString};

/// `y` as an array of `NumPy`, with the kind of its dtype and its shape. Words that `NumPy` would make of numbers among
/// words stay the objects they are.
fn read<'py>(y: &Bound<'py, PyAny>) -> PyResult<(Bound<'py, PyAny>, char, Vec<usize>)> {
    let numpy = y.py().import("numpy")?;
    let as_array = |y: &Bound<'py, PyAny>| {
        numpy.call_method1("asarray", (y,)).map_err(|error| Error::Value(format!("y must be an array: {error}")))
    };
    let kind = |array: &Bound<'py, PyAny>| array.getattr("dtype")?.getattr("kind")?.extract::<char>();
    let mut array = as_array(y)?;
    if "UST".contains(kind(&array)?) && !y.hasattr("dtype")? {
        array = numpy.call_method1("asarray", (y, "O"))?;
    }
    // Numbers in the clothes of objects, such as those of a table with gaps filled.
    if kind(&array)? == 'O' && !items(&array)?.iter().any(|item| is_word(&item)) {
        array = as_array(&array.call_method0("tolist")?)?;
    }
    let (kind, shape) = (kind(&array)?, array.getattr("shape")?.extract()?);
    Ok((array, kind, shape))
}

fn items<'py>(array: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyList>> {
    Ok(array.call_method0("ravel")?.call_method0("tolist")?.cast_into()?)
}

fn is_word(item: &Bound<'_, PyAny>) -> bool {
    item.is_instance_of::<PyString>() || item.is_instance_of::<PyBytes>()
}

fn numbers(array: &Bound<'_, PyAny>) -> PyResult<Vec<f64>> {
    Ok(reals::<f64>("y", array)?.0)
}

/// The loss that a caller names, or the one that the targets are for: cross-entropy of class ids, of names and of
/// one-hot rows, the mean squared error of other numbers.
pub fn loss_of(named: Option<&Bound<'_, PyAny>>, y: Option<&Bound<'_, PyAny>>) -> PyResult<Option<Loss>> {
    let loss = match (named, y) {
        (Some(named), _) => Loss::parse(&kind_text("loss", "loss", named)?)?,
        (None, Some(y)) => {
            let (array, kind, shape) = read(y)?;
            let classes = match (kind, &*shape) {
                ('U' | 'S' | 'T' | 'O', _) | ('b' | 'i' | 'u', [_]) => true,
                ('b' | 'i' | 'u' | 'f', &[_, columns]) if columns > 1 => {
                    data::one_hot(&numbers(&array)?, columns).is_ok_and(|ids| !ids.is_empty())
                }
                _ => false,
            };
            Loss::parse(if classes { "cross_entropy" } else { "mse" })?
        }
        (None, None) => return Ok(None),
    };
    data::has_its_targets(loss, y.is_some())?;
    Ok(Some(loss))
}

/// Targets of a loss for outputs of this width: class ids, numbers or none.
pub fn targets_of(loss: Loss, y: &Bound<'_, PyAny>, batch: usize, outputs: usize) -> PyResult<Targets> {
    data::has_its_targets(loss, !y.is_none())?;
    if y.is_none() {
        return Ok(Targets::Absent);
    }
    if loss.takes_classes() {
        return Ok(Targets::Classes(class_ids(y, batch, outputs)?));
    }
    let (values, mut shape) = reals::<f64>("y", y)?;
    match *shape {
        [_] if outputs == 1 => shape.push(1),
        [count] if count == batch => return Err(data::one_number_a_sample(loss, batch, outputs).into()),
        _ => (),
    }
    let rows = Expected { name: "y", axis: "outputs", columns: outputs, rows: Some(batch) };
    let (values, _) = shaped((values, shape), rows)?;
    data::target_range(loss, &values, outputs)?;
    Ok(Targets::Values(values, outputs))
}

fn class_ids(y: &Bound<'_, PyAny>, batch: usize, outputs: usize) -> PyResult<Vec<usize>> {
    let (array, kind, shape) = read(y)?;
    if !"biufUSTO".contains(kind) {
        let given = format!("dtype {}", array.getattr("dtype")?);
        return Err(Error::type_of("y", "an array of integer class ids", given).into());
    }
    match *shape {
        [_] | [_, 1] => (),
        [count, columns] if (count, columns) == (batch, outputs) && "biuf".contains(kind) => {
            return Ok(data::one_hot(&numbers(&array)?, columns)?);
        }
        _ => {
            let allowed = format!("of shape (batch,), one class id a sample, or one-hot, ({batch}, {outputs})");
            return Err(Error::value("y", &allowed, shape_text(&shape)).into());
        }
    }
    let ids = match kind {
        'b' | 'i' | 'u' => data::classes(&items(&array)?.extract::<Vec<i128>>()?, batch)?,
        'f' => data::classes(&data::whole(&numbers(&array)?)?, batch)?,
        _ => {
            let words = items(&array)?;
            if let Some((i, item)) = words.iter().enumerate().find(|(_, item)| !is_word(item)) {
                // The dtype that NumPy makes of the mixture.
                let dtype = y.py().import("numpy")?.call_method1("asarray", (y,))?.getattr("dtype")?;
                let given = format!("dtype {dtype}; classes by name must all be words, but y[{i}] is {}", item.repr()?);
                return Err(Error::type_of("y", "an array of integer class ids", given).into());
            }
            let (names, ids) = y
                .py()
                .import("numpy")?
                .call_method1("unique", (words, false, true))?
                .extract::<(Bound<'_, PyAny>, Vec<i128>)>()?;
            data::enough_outputs(names.len()?, outputs)?;
            data::classes(&ids, batch)?
        }
    };
    data::class_range(&ids, outputs)?;
    Ok(ids)
}

/// Targets as a loss takes them: class ids `(batch,)`, numbers `(batch, outputs)`, or None.
#[pyfunction]
pub fn targets<'py>(
    loss: &str,
    y: &Bound<'py, PyAny>,
    batch: usize,
    outputs: usize,
) -> PyResult<Option<Bound<'py, PyAny>>> {
    match targets_of(Loss::parse(loss)?, y, batch, outputs)? {
        Targets::Classes(ids) => array(y.py(), ids.into_iter().map(|id| id as i64).collect(), &[batch]).map(Some),
        Targets::Values(values, columns) => array(y.py(), values, &[batch, columns]).map(Some),
        Targets::Absent => Ok(None),
    }
}
