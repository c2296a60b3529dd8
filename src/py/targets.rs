//! Targets of a caller: class ids, names of classes, one-hot rows or numbers, and the loss that they are for.

use super::background::{in_parts, pause};
use super::convert::{array, as_array, described, integer, reals, refused, shape_text, shaped, text};
use super::kinds::kind_text;
use crate::data::{self, Expected};
use crate::error::Error;
use crate::loss::{Loss, Targets};
use crate::memory::check_memory;
use crate::spec;
use numpy::{Element, PyReadonlyArray1};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyList, PyString};

/// Items that are looked at between two pauses.
const PART: usize = 1 << 15;

/// `y` as an array of `NumPy`, with the kind of its dtype and its shape. Words that `NumPy` would make of numbers among
/// words stay the objects they are.
fn read<'py>(y: &Bound<'py, PyAny>) -> PyResult<(Bound<'py, PyAny>, char, Vec<usize>)> {
    let allowed = "an array";
    let kind = |array: &Bound<'py, PyAny>| array.getattr("dtype")?.getattr("kind")?.extract::<char>();
    let mut array = as_array("y", allowed, y)?;
    if "UST".contains(kind(&array)?) && !y.hasattr("dtype")? {
        array = y.py().import("numpy")?.call_method1("asarray", (y, "O"))?;
    }
    // Numbers in the clothes of objects, such as those of a table with gaps filled.
    if kind(&array)? == 'O' && first_item(&array, is_word)?.is_none() {
        array = as_array("y", allowed, &array.call_method0("tolist")?)?;
    }
    let (kind, shape) = (kind(&array)?, array.getattr("shape")?.extract()?);
    Ok((array, kind, shape))
}

/// The place of the first item of an array that a test holds for.
fn first_item(array: &Bound<'_, PyAny>, holds: impl Fn(&Bound<'_, PyAny>) -> bool) -> PyResult<Option<usize>> {
    let (items, mut found) = (items(array)?, None);
    for (i, item) in items.iter().enumerate() {
        if i % PART == PART - 1 {
            pause(array.py())?;
        }
        if holds(&item) {
            found = Some(i);
            break;
        }
    }
    Ok(found)
}

fn items<'py>(array: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyList>> {
    Ok(array.call_method0("ravel")?.call_method0("tolist")?.cast_into()?)
}

fn is_word(item: &Bound<'_, PyAny>) -> bool {
    item.is_instance_of::<PyString>() || item.is_instance_of::<PyBytes>()
}

fn numbers(array: &Bound<'_, PyAny>) -> PyResult<Vec<f64>> {
    Ok(reals::<f64>("y", array)?.values)
}

/// The loss that a caller names, or the one that the targets are for, of so many rows of the output a sample:
/// cross-entropy of class ids, of names and of one-hot rows, the mean squared error of other numbers.
pub fn loss_of(
    named: Option<&Bound<'_, PyAny>>,
    y: Option<&Bound<'_, PyAny>>,
    places: usize,
) -> PyResult<Option<Loss>> {
    let loss = match (named, y) {
        (Some(named), _) => Loss::parse(&kind_text("loss", "loss", named)?)?,
        (None, Some(y)) => {
            let (array, kind, shape) = read(y)?;
            // Axes of the targets of a row of the output, and how many they are.
            let each = match *shape {
                [_] if places == 1 => None,
                [_, given] if places > 1 && given == places => None,
                [_, columns] if columns % places == 0 => Some(columns / places),
                [_, given, columns] if places > 1 && given == places => Some(columns),
                _ => Some(0),
            };
            let classes = match (kind, each) {
                ('U' | 'S' | 'T' | 'O', _) | ('b' | 'i' | 'u', None) => true,
                ('b' | 'i' | 'u' | 'f', Some(columns)) if columns > 1 => {
                    data::one_hot(&numbers(&array)?, columns, places).is_ok_and(|ids| !ids.is_empty())
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

/// Targets of a loss for outputs of this width, that of all places of a sample: class ids, numbers or none.
pub fn targets_of(loss: Loss, y: &Bound<'_, PyAny>, batch: usize, outputs: usize, places: usize) -> PyResult<Targets> {
    if places == 1 || y.is_none() {
        return targets_by_row(loss, y, batch, outputs, 1);
    }
    let (array, _, shape) = read(y)?;
    let each = outputs / places;
    let rows = match *shape {
        [count, given] if count == batch && given == places => vec![batch * places],
        [count, given] if count == batch && given == outputs => vec![batch * places, each],
        [count, given, width] if [count, given] == [batch, places] && width == each => vec![batch * places, each],
        _ => {
            let allowed = format!(
                "of shape (batch, places) = ({batch}, {places}) or (batch, places, outputs) = ({batch}, {places}, {each}), \
                 a target for every row of the output"
            );
            return Err(Error::value("y", &allowed, shape_text(&shape)).into());
        }
    };
    targets_by_row(loss, &array.call_method1("reshape", (rows,))?, batch * places, each, places)
}

/// Targets of a loss for rows of outputs of this width, of which each sample has so many.
fn targets_by_row(loss: Loss, y: &Bound<'_, PyAny>, rows: usize, outputs: usize, places: usize) -> PyResult<Targets> {
    data::has_its_targets(loss, !y.is_none())?;
    if y.is_none() {
        return Ok(Targets::Absent);
    }
    if loss.takes_classes() {
        return Ok(Targets::Classes(class_ids(y, rows, outputs, places)?));
    }
    let mut given = reals::<f64>("y", y)?;
    match *given.shape {
        [_] if outputs == 1 => given.shape.push(1),
        [count] if count == rows => {
            return Err(data::one_number_a_sample(loss, rows / places, outputs, places).into());
        }
        _ => (),
    }
    if let Some(bad) = given.bad.filter(|_| places > 1) {
        return Err(data::not_finite("y", &data::in_y_of(bad, outputs, places), "float64").into());
    }
    let (values, _) = shaped(given, Expected { name: "y", axis: "outputs", columns: outputs, rows: Some(rows) })?;
    data::target_range(loss, &values, outputs, places)?;
    Ok(Targets::Values(values, outputs))
}

fn class_ids(y: &Bound<'_, PyAny>, rows: usize, outputs: usize, places: usize) -> PyResult<Vec<usize>> {
    let (array, kind, shape) = read(y)?;
    if !"biufUSTO".contains(kind) {
        let given = format!("dtype {}", array.getattr("dtype")?);
        return Err(Error::type_of("y", "an array of integer class ids", given).into());
    }
    match *shape {
        [_] | [_, 1] => (),
        [count, columns] if (count, columns) == (rows, outputs) && "biuf".contains(kind) => {
            return Ok(data::one_hot(&numbers(&array)?, columns, places)?);
        }
        _ => {
            let allowed = format!("of shape (batch,), one class id a sample, or one-hot, ({rows}, {outputs})");
            return Err(Error::value("y", &allowed, shape_text(&shape)).into());
        }
    }
    let ids = match kind {
        'b' | 'i' => data::classes(&integers::<i64>(&array, "=i8")?, rows, places)?,
        'u' => data::classes(&integers::<u64>(&array, "=u8")?, rows, places)?,
        'f' => data::classes(&data::whole(&numbers(&array)?, places)?, rows, places)?,
        _ => data::classes(&named(y, &array, outputs, places)?, rows, places)?,
    };
    data::class_range(&ids, outputs, places)?;
    Ok(ids)
}

/// The integers of an array, read as this dtype.
fn integers<T: Element + Copy + Into<i128>>(array: &Bound<'_, PyAny>, dtype: &str) -> PyResult<Vec<i128>> {
    let py = array.py();
    let flat: PyReadonlyArray1<'_, T> = array.call_method0("ravel")?.call_method1("astype", (dtype,))?.extract()?;
    let count = flat.as_slice()?.len();
    check_memory("a copy of y", 16 * count as u128, "give fewer samples")?;
    let mut all = Vec::with_capacity(count);
    in_parts(py, count, 1 << 20, |part| {
        all.extend(flat.as_slice()?[part].iter().map(|&id| id.into()));
        Ok(())
    })?;
    Ok(all)
}

/// The class ids of names: their places among all names, sorted.
fn named(y: &Bound<'_, PyAny>, array: &Bound<'_, PyAny>, outputs: usize, places: usize) -> PyResult<Vec<i128>> {
    let (py, words) = (y.py(), items(array)?);
    if let Some(i) = first_item(array, |item| !is_word(item))? {
        // The dtype that NumPy makes of the mixture.
        let dtype = py.import("numpy")?.call_method1("asarray", (y,))?.getattr("dtype")?;
        let item = described(&words.get_item(i)?)?;
        let given =
            format!("dtype {dtype}; classes by name must all be words, but {} is {item}", data::in_y(i, places));
        return Err(Error::type_of("y", "an array of integer class ids", given).into());
    }
    let (ranks, mut ids) = (PyDict::new(py), Vec::new());
    in_parts(py, words.len(), PART, |part| part.into_iter().try_for_each(|i| ranks.set_item(words.get_item(i)?, 0)))?;
    data::enough_outputs(ranks.len(), outputs)?;
    let names = ranks.keys();
    names.sort().map_err(|error| {
        let given = "strings and bytes among each other".to_owned();
        refused(py, error, || {
            Error::type_of("y", "an array of integer class ids, or of names of one type", given).into()
        })
    })?;
    in_parts(py, names.len(), PART, |part| part.into_iter().try_for_each(|i| ranks.set_item(names.get_item(i)?, i)))?;
    check_memory("the classes of y", 16 * words.len() as u128, "give fewer samples")?;
    ids.reserve(words.len());
    in_parts(py, words.len(), PART, |part| {
        for i in part {
            if let Some(rank) = ranks.get_item(words.get_item(i)?)? {
                ids.push(rank.extract::<i64>()?.into());
            }
        }
        Ok(())
    })?;
    Ok(ids)
}

/// Targets as a loss takes them: class ids `(batch,)`, numbers `(batch, outputs)`, or None. Of several rows of the
/// output a sample, ids `(batch, places)`; numbers are of all places.
#[pyfunction]
#[pyo3(signature = (loss, y, batch, outputs, places = None))]
pub fn targets<'py>(
    loss: &Bound<'py, PyAny>,
    y: &Bound<'py, PyAny>,
    batch: &Bound<'py, PyAny>,
    outputs: &Bound<'py, PyAny>,
    places: Option<&Bound<'py, PyAny>>,
) -> PyResult<Option<Bound<'py, PyAny>>> {
    let count =
        |name, given| -> PyResult<usize> { Ok(spec::integer(name, integer(name, given)?, 1, 1 << 40)? as usize) };
    let (batch, outputs) = (count("batch", batch)?, count("outputs", outputs)?);
    let places = places.map_or(Ok(1), |places| count("places", places))?;
    match targets_of(Loss::parse(&text("loss", loss)?)?, y, batch, outputs, places)? {
        Targets::Classes(ids) => {
            let shape = if places == 1 { &[batch][..] } else { &[batch, places] };
            array(y.py(), ids.into_iter().map(|id| id as i64).collect(), shape).map(Some)
        }
        Targets::Values(values, _) => array(y.py(), values, &[batch, outputs]).map(Some),
        Targets::Absent => Ok(None),
    }
}
