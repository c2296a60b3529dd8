//! Values of Python to values of Rust and back, with an error that names what was given.

use crate::data::Expected;
use crate::error::Error;
use crate::memory::check_memory;
use crate::signature::Argument;
use crate::simd::Float;
use crate::spec::{self, PerLayer, Spec};
use crate::threads;
use numpy::{Element, PyArray1, PyArrayDyn, PyArrayMethods, PyReadonlyArrayDyn, PyUntypedArrayMethods};
use pyo3::IntoPyObjectExt;
use pyo3::exceptions::PyOverflowError;
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyInt, PyString, PyTuple};

pub fn type_error(name: &str, allowed: &str, given: &Bound<'_, PyAny>) -> PyErr {
    Error::type_of(name, allowed, described(given)).into()
}

/// What was given, if that is short, and its type.
pub fn described(given: &Bound<'_, PyAny>) -> String {
    let kind = given.get_type().name().map_or_else(|_| "object".to_owned(), |n| n.to_string());
    let shown = given.repr().map_or_else(|_| String::new(), |r| r.to_string());
    let shown = if shown.chars().count() > 60 { String::new() } else { format!("{shown} ") };
    format!("{shown}({kind})")
}

pub fn integer(name: &str, given: &Bound<'_, PyAny>) -> PyResult<i128> {
    if given.is_instance_of::<PyBool>() {
        return Err(type_error(name, "an integer", given));
    }
    // All that fits 64 bits, in short.
    if let Some(Ok(given)) = given.cast::<PyInt>().ok().map(|given| given.extract::<i64>()) {
        return Ok(given.into());
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

pub fn text(name: &str, given: &Bound<'_, PyAny>) -> PyResult<String> {
    given.extract().map_err(|_| type_error(name, "a string", given))
}

pub fn optional<T>(
    given: &Bound<'_, PyAny>,
    convert: impl FnOnce(&Bound<'_, PyAny>) -> PyResult<T>,
) -> PyResult<Option<T>> {
    if given.is_none() { Ok(None) } else { convert(given).map(Some) }
}

pub fn per_layer<T>(
    name: &str,
    given: &Bound<'_, PyAny>,
    convert: impl Fn(&str, &Bound<'_, PyAny>) -> PyResult<T>,
) -> PyResult<PerLayer<T>> {
    if given.is_instance_of::<PyString>() || given.is_instance_of::<PyInt>() {
        return convert(name, given).map(PerLayer::All);
    }
    let Ok(items) = given.try_iter() else { return convert(name, given).map(PerLayer::All) };
    // One more than any depth: enough to refuse an endless iterable.
    let each = items.take(spec::MAX_DEPTH + 1).enumerate().map(|(i, item)| convert(&format!("{name}[{i}]"), &item?));
    Ok(PerLayer::Each(each.collect::<PyResult<_>>()?))
}

pub fn argument(name: &str, given: &Bound<'_, PyAny>) -> PyResult<Argument> {
    if let Ok(word) = given.cast::<PyString>() {
        return Ok(Argument::Word(word.extract()?));
    }
    if given.is_instance_of::<PyBool>() {
        return Err(type_error(name, "a number or a word", given));
    }
    given.extract().map(Argument::Number).map_err(|_| type_error(name, "a number or a word", given))
}

/// An array of real numbers as `f64`, in C order whatever its layout, byte order or flags were.
pub fn real_array<'py>(name: &str, given: &Bound<'py, PyAny>) -> PyResult<PyReadonlyArrayDyn<'py, f64>> {
    let numpy = given.py().import("numpy")?;
    let array = numpy
        .call_method1("asarray", (given,))
        .map_err(|error| Error::Value(format!("{name} must be an array of numbers: {error}")))?;
    check_numbers(name, &array)?;
    // The copy and what is made of it.
    let bytes = 16 * array.getattr("size")?.extract::<u128>()?;
    check_memory(&format!("a copy of {name}"), bytes, "give fewer samples")?;
    array.call_method1("astype", ("=f8", "C"))?.extract()
}

/// An array of real numbers in the dtype of the computation, in C order, and its shape.
pub fn reals<F: Float>(name: &str, given: &Bound<'_, PyAny>) -> PyResult<(Vec<F>, Vec<usize>)> {
    // An array as it should be is read where it lies: to ask NumPy by name for one takes longer than a small net.
    if let Some(found) = rounded::<f32, F>(name, given)? {
        return Ok(found);
    }
    if let Some(found) = rounded::<f64, F>(name, given)? {
        return Ok(found);
    }
    let array = real_array(name, given)?;
    Ok((array.as_slice()?.iter().map(|&v| F::of(v)).collect(), array.shape().to_vec()))
}

/// The numbers and the shape of what is an array of this dtype already, and lies in C order.
fn rounded<T: Float + Element, F: Float>(
    name: &str,
    given: &Bound<'_, PyAny>,
) -> PyResult<Option<(Vec<F>, Vec<usize>)>> {
    let Ok(array) = given.cast::<PyArrayDyn<T>>() else { return Ok(None) };
    let Some(array) = array.try_readonly().ok().filter(|array| array.is_c_contiguous()) else { return Ok(None) };
    let Ok(values) = array.as_slice() else { return Ok(None) };
    check_memory(&format!("a copy of {name}"), size_of::<F>() as u128 * values.len() as u128, "give fewer samples")?;
    Ok(Some((values.iter().map(|&v| F::of(v.wide())).collect(), array.shape().to_vec())))
}

/// A shape as Python writes it.
pub fn shape_text(shape: &[usize]) -> String {
    match shape {
        [one] => format!("shape ({one},)"),
        _ => format!("shape ({})", shape.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")),
    }
}

/// Refuse an array that holds no real numbers.
fn check_numbers(name: &str, array: &Bound<'_, PyAny>) -> PyResult<()> {
    let dtype = array.getattr("dtype")?;
    let advice = match (dtype.getattr("kind")?.extract()?, name) {
        ('b' | 'i' | 'u' | 'f', _) => return Ok(()),
        ('U' | 'S' | 'T' | 'O', "x") => "; write columns of words as numbers, one-hot for one, or leave them out",
        ('U' | 'S' | 'T' | 'O', "y") => "; classes by name go with loss='cross_entropy'",
        _ => "",
    };
    Err(Error::type_of(name, "an array of real numbers", format!("dtype {dtype}{advice}")).into())
}

/// A checked matrix in the dtype of the computation, and its number of rows.
pub fn matrix<F: Float>(given: &Bound<'_, PyAny>, rows: Expected<'_>) -> PyResult<(Vec<F>, usize)> {
    shaped(reals::<F>(rows.name, given)?, rows)
}

/// Numbers of this shape as a checked matrix, and its number of rows.
pub fn shaped<F: Float>((values, shape): (Vec<F>, Vec<usize>), rows: Expected<'_>) -> PyResult<(Vec<F>, usize)> {
    let [count, columns] = *shape else {
        let allowed = format!("of shape (batch, {})", rows.axis);
        return Err(Error::value(rows.name, &allowed, shape_text(&shape)).into());
    };
    rows.check((count, columns), F::NAME, values.iter().map(|v| v.finite()))?;
    Ok((values, count))
}

/// An array of a shape that takes over the memory of its values. To copy small ones was tried: it is no faster.
pub fn array<'py, T: Element>(py: Python<'py>, values: Vec<T>, shape: &[usize]) -> PyResult<Bound<'py, PyAny>> {
    Ok(PyArray1::from_vec(py, values).reshape(shape.to_vec())?.into_any())
}

pub fn per_layer_object<'py, T, O: IntoPyObject<'py>>(
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
pub fn double(dtype: &Bound<'_, PyAny>) -> PyResult<bool> {
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

pub fn seed_of(given: &Bound<'_, PyAny>, last: u64) -> PyResult<u64> {
    Ok(spec::integer("seed", integer("seed", given)?, 0, u64::MAX - last)?)
}

/// The most threads that a call may use, if there is a limit.
pub fn thread_limit(given: Option<&Bound<'_, PyAny>>) -> PyResult<Option<usize>> {
    Ok(threads::limit(given.map(|given| integer("threads", given)).transpose()?)?)
}

/// Steps and columns of each step's input, for a net that is fed at every step.
pub fn steps(spec: &Spec) -> Option<[usize; 2]> {
    spec.fed.then_some([spec.depth, spec.in_features])
}

/// Samples of a net that is fed, `(batch, steps, in_features)`, as a matrix; others as they are.
pub fn as_matrix<'py>(x: &Bound<'py, PyAny>, steps: Option<[usize; 2]>) -> PyResult<Bound<'py, PyAny>> {
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
