//! Values of Python to values of Rust and back, with an error that names what was given.
//!
//! The code of callers runs in here: `__array__`, `__index__`, iterators. What Python or `NumPy` says of a value
//! that it cannot convert is said again, with the name of the argument, by [`refused`]; all else that is raised passes.

use super::background::{in_parts, pause};
use crate::data::Expected;
use crate::error::{self, Error};
use crate::memory::check_memory;
use crate::signature::Argument;
use crate::simd::Float;
use crate::spec::{self, PerLayer, Spec};
use crate::threads;
use numpy::{Element, PyArray1, PyArrayDyn, PyArrayMethods, PyReadonlyArrayDyn, PyUntypedArrayMethods};
use pyo3::exceptions::{PyAttributeError, PyOverflowError, PyRecursionError, PyTypeError, PyValueError, PyWarning};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{
    IntoPyDict, PyBool, PyByteArray, PyBytes, PyComplex, PyDict, PyFloat, PyFrozenSet, PyInt, PyList, PyMemoryView,
    PySet, PySlice, PyString, PyTuple,
};
use pyo3::{IntoPyObjectExt, intern};

/// Numbers that are converted at once on the calling thread: a millisecond or two.
const PART: usize = 1 << 20;

/// The letters of the longest text that is read: a name with its parameters has fewer by far.
const LONGEST: usize = 1000;

/// The error for a value that could not be converted: the refusal, if `error` is how Python or `NumPy` says so, with
/// the error as its cause. Anything else, such as `KeyboardInterrupt` or `OSError`, is the caller's own, and passes.
pub fn refused(py: Python<'_>, error: PyErr, refusal: impl FnOnce() -> PyErr) -> PyErr {
    if let Some(own) = own(py, &error) {
        return own;
    }
    let refusal = refusal();
    refusal.set_cause(py, Some(error));
    refusal
}

/// The caller's own error that this is, or that it comes from: `NumPy` says "setting an array element with a sequence"
/// of whatever a value raises. None where Python or `NumPy` says that a value cannot be converted.
fn own(py: Python<'_>, error: &PyErr) -> Option<PyErr> {
    let converts = error.is_instance_of::<PyTypeError>(py)
        || error.is_instance_of::<PyValueError>(py)
        || error.is_instance_of::<PyAttributeError>(py)
        || error.is_instance_of::<PyOverflowError>(py)
        || error.is_instance_of::<PyRecursionError>(py)
        || error.is_instance_of::<PyWarning>(py);
    let module = error.get_type(py).getattr(intern!(py, "__module__")).and_then(|module| module.extract::<String>());
    // A class of somebody else's is not how they say it.
    if converts && module.is_ok_and(|module| module == "builtins" || module.starts_with("numpy")) {
        error.cause(py).and_then(|cause| own(py, &cause))
    } else {
        Some(error.clone_ref(py))
    }
}

/// None of what could not be converted; what [`refused`] lets pass is an error here too.
fn unless_refused<T>(py: Python<'_>, result: PyResult<T>) -> PyResult<Option<T>> {
    result.map_or_else(|error| own(py, &error).map_or(Ok(None), Err), |value| Ok(Some(value)))
}

pub fn type_error(name: &str, allowed: &str, given: &Bound<'_, PyAny>) -> PyErr {
    described(given).map_or_else(|error| error, |given| Error::type_of(name, allowed, given).into())
}

/// What was given, cut to 80 characters, and its type. Of a container a few items are looked at.
pub fn described(given: &Bound<'_, PyAny>) -> PyResult<String> {
    static REPR: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    let py = given.py();
    let limited = || -> PyResult<Py<PyAny>> {
        let repr = py.import("reprlib")?.call_method0("Repr")?;
        for most in ["maxlist", "maxtuple", "maxset", "maxfrozenset", "maxdict", "maxarray"] {
            repr.setattr(most, 20)?;
        }
        for most in ["maxstring", "maxlong", "maxother"] {
            repr.setattr(most, 80)?;
        }
        repr.setattr("maxlevel", 3)?;
        Ok(repr.getattr("repr")?.unbind())
    };
    let kind = given.get_type();
    let name = kind.name().map_or_else(|_| "object".to_owned(), |name| name.to_string_lossy().into_owned());
    // Those of Python's own kinds may be long; what others say is theirs.
    let own = kind.getattr("__module__").is_ok_and(|module| module.eq("builtins").unwrap_or(false));
    let text = if own {
        REPR.get_or_try_init(py, limited)?.bind(py).call1((given,))
    } else {
        given.repr().map(Bound::into_any)
    };
    // A value may be unable to say what it is.
    Ok(match unless_refused(py, text)? {
        Some(text) => {
            // Its letters, without Python: where that formats, it swallows a Ctrl-C that waits.
            let text =
                text.cast::<PyString>().map_or_else(|_| String::new(), |text| text.to_string_lossy().into_owned());
            let words = text.split_whitespace().collect::<Vec<_>>().join(" ");
            format!("{} ({name})", error::shown(&words))
        }
        None => name,
    })
}

/// Is it a truth value, of Python or of `NumPy`?
pub fn is_bool(given: &Bound<'_, PyAny>) -> PyResult<bool> {
    Ok(given.is_instance_of::<PyBool>() || kind_of(given)? == Some('b'))
}

/// The letter of the dtype of a scalar or an array of `NumPy`; `m` where something is masked.
fn kind_of(given: &Bound<'_, PyAny>) -> PyResult<Option<char>> {
    let py = given.py();
    if given.is_exact_instance_of::<PyInt>() || given.is_exact_instance_of::<PyFloat>() {
        return Ok(None);
    }
    let numpy = py.import(intern!(py, "numpy"))?;
    if is_masked(given)? {
        return Ok(Some('m'));
    }
    for class in ["generic", "ndarray"] {
        if given.is_instance(&numpy.getattr(class)?)? {
            return Ok(Some(given.getattr("dtype")?.getattr("kind")?.extract::<char>()?));
        }
    }
    Ok(None)
}

pub fn integer(name: &str, given: &Bound<'_, PyAny>) -> PyResult<i128> {
    let py = given.py();
    let refusal = || type_error(name, "an integer", given);
    if given.is_instance_of::<PyBool>() {
        return Err(refusal());
    }
    // All that fits 64 bits, in short.
    if let Some(Ok(given)) = given.cast::<PyInt>().ok().map(|given| given.extract::<i64>()) {
        return Ok(given.into());
    }
    // Durations of NumPy count as integers there.
    if !matches!(kind_of(given)?, None | Some('i' | 'u')) {
        return Err(refusal());
    }
    let index = given.call_method0("__index__").map_err(|error| refused(py, error, refusal))?;
    match index.extract::<i128>() {
        // Beyond 128 bits any bound has been passed; the sign is all that matters.
        Err(error) if error.is_instance_of::<PyOverflowError>(py) => {
            Ok(if index.lt(0)? { i128::MIN } else { i128::MAX })
        }
        other => other.map_err(|error| refused(py, error, refusal)),
    }
}

/// A number; one beyond the range of `f64` is infinite.
pub fn number(name: &str, allowed: &str, given: &Bound<'_, PyAny>) -> PyResult<f64> {
    if let Ok(number) = given.cast_exact::<PyFloat>() {
        return Ok(number.value());
    }
    let refusal = || type_error(name, allowed, given);
    let real = matches!(kind_of(given)?, None | Some('i' | 'u' | 'f'));
    if !real || given.is_instance_of::<PyBool>() || given.is_instance_of::<PyComplex>() {
        return Err(refusal());
    }
    match given.extract::<f64>() {
        Err(error) if given.is_instance_of::<PyInt>() && error.is_instance_of::<PyOverflowError>(given.py()) => {
            Ok(if given.lt(0)? { f64::NEG_INFINITY } else { f64::INFINITY })
        }
        other => other.map_err(|error| refused(given.py(), error, refusal)),
    }
}

pub fn truth(name: &str, given: &Bound<'_, PyAny>) -> PyResult<bool> {
    if is_bool(given)? { given.is_truthy() } else { Err(type_error(name, "a bool", given)) }
}

pub fn text(name: &str, given: &Bound<'_, PyAny>) -> PyResult<String> {
    let Ok(word) = given.cast::<PyString>() else { return Err(type_error(name, "a string", given)) };
    let described =
        |allowed| described(given).map_or_else(|error| error, |given| Error::value(name, allowed, given).into());
    if word.len()? > LONGEST {
        return Err(described("a string of 1000 letters at most"));
    }
    let letters =
        word.to_str().map_err(|error| refused(given.py(), error, || described("a string of whole letters")))?;
    Ok(letters.to_owned())
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
    /// Values that are read at once.
    const AT_ONCE: usize = 1 << 12;
    if given.is_instance_of::<PyString>() || given.is_instance_of::<PyInt>() {
        return convert(name, given).map(PerLayer::All);
    }
    let py = given.py();
    if has_no_order(given)? {
        return Err(type_error(name, "one value, or a list of one a layer", given));
    }
    let items = match given.try_iter() {
        Ok(items) => items,
        Err(error) if error.is_instance_of::<PyTypeError>(py) => return convert(name, given).map(PerLayer::All),
        Err(error) => {
            return Err(refused(py, error, || type_error(name, "one value, or a list of one a layer", given)));
        }
    };
    let mut each = Vec::new();
    // One more than any depth: enough to refuse an endless iterable.
    for (i, item) in items.take(spec::MAX_DEPTH + 1).enumerate() {
        if each.len() == each.capacity() {
            let bytes = 3 * (each.len() + AT_ONCE) * (size_of::<T>() + size_of::<usize>());
            check_memory(&format!("the list {name}"), bytes as u128, "give fewer values")?;
            each.reserve(AT_ONCE);
        }
        if i % AT_ONCE == AT_ONCE - 1 {
            pause(py)?;
        }
        let place = format!("{name}[{i}]");
        let item = item.map_err(|error| refused(py, error, || type_error(&place, "a value", given)))?;
        each.push(convert(&place, &item)?);
    }
    Ok(PerLayer::Each(each))
}

/// Is it something that can be walked through but is no list of values: bytes, or what has no order?
fn has_no_order(given: &Bound<'_, PyAny>) -> PyResult<bool> {
    static CLASSES: PyOnceLock<[Py<PyAny>; 2]> = PyOnceLock::new();
    let py = given.py();
    if given.is_exact_instance_of::<PyList>() || given.is_exact_instance_of::<PyTuple>() {
        return Ok(false);
    }
    if given.is_instance_of::<PyBytes>()
        || given.is_instance_of::<PyByteArray>()
        || given.is_instance_of::<PyMemoryView>()
        || given.is_instance_of::<PySet>()
        || given.is_instance_of::<PyFrozenSet>()
        || given.is_instance_of::<PyDict>()
        || is_masked(given)?
    {
        return Ok(true);
    }
    let classes = CLASSES.get_or_try_init(py, || -> PyResult<_> {
        let abc = py.import("collections.abc")?;
        Ok([abc.getattr("Set")?.unbind(), abc.getattr("Mapping")?.unbind()])
    })?;
    Ok(given.is_instance(classes[0].bind(py))? || given.is_instance(classes[1].bind(py))?)
}

pub fn argument(name: &str, given: &Bound<'_, PyAny>) -> PyResult<Argument> {
    if given.is_instance_of::<PyString>() {
        return text(name, given).map(Argument::Word);
    }
    number(name, "a number or a word", given).map(Argument::Number)
}

/// Is it an array of `NumPy` of which some entries count as missing?
fn is_masked(given: &Bound<'_, PyAny>) -> PyResult<bool> {
    let py = given.py();
    // Where nobody has imported it there are no masks, and an import may be what memory has no room for.
    let modules = py.import(intern!(py, "sys"))?.getattr(intern!(py, "modules"))?;
    let Some(masks) = modules.cast::<PyDict>()?.get_item(intern!(py, "numpy.ma"))? else { return Ok(false) };
    match masks.getattr_opt(intern!(py, "MaskedArray"))? {
        Some(class) if given.is_instance(&class)? => masks.call_method1("is_masked", (given,))?.extract(),
        _ => Ok(false),
    }
}

/// Refuse what `NumPy` would make an array of by losing what it means: masks and bytes, in lists too.
fn check_plain(name: &str, given: &Bound<'_, PyAny>, depth: usize) -> PyResult<()> {
    /// Lists within lists that are looked into: `NumPy` knows no more axes.
    const DEEPEST: usize = 64;
    let py = given.py();
    let items = if let Ok(list) = given.cast_exact::<PyList>() {
        list.clone().into_any()
    } else if let Ok(tuple) = given.cast_exact::<PyTuple>() {
        tuple.clone().into_any()
    } else if given.is_instance_of::<PyByteArray>() {
        return Err(type_error(name, "an array of numbers", given));
    } else if is_masked(given)? {
        let what = "is a masked array, and what is masked would count as numbers; fill it, or leave those rows out";
        return Err(Error::Value(format!("{name} {what}")).into());
    } else if depth > 0 && is_sequence(given)? {
        // NumPy would go on as long as it gives any.
        let refusal = || type_error(name, "an array of numbers, whose rows are as long as they say", given);
        let count = given.len().map_err(|error| refused(py, error, refusal))?;
        check_memory(&format!("a copy of {name}"), 48 * count as u128, "give fewer samples")?;
        for (i, item) in given.try_iter().map_err(|error| refused(py, error, refusal))?.enumerate() {
            item.map_err(|error| refused(py, error, refusal))?;
            if i == count {
                return Err(refusal());
            }
            if i % PART == PART - 1 {
                pause(py)?;
            }
        }
        return Ok(());
    } else {
        return Ok(());
    };
    let plain =
        |item: &Bound<'_, PyAny>| item.is_exact_instance_of::<PyFloat>() || item.is_exact_instance_of::<PyInt>();
    for (i, item) in items.try_iter()?.enumerate() {
        if i % (1 << 14) == (1 << 14) - 1 {
            pause(py)?;
        }
        let item = item?;
        if depth < DEEPEST && !plain(&item) {
            check_plain(name, &item, depth + 1)?;
        }
    }
    Ok(())
}

/// Is it a sequence that is neither a list nor a text nor an array of some sort?
fn is_sequence(given: &Bound<'_, PyAny>) -> PyResult<bool> {
    let plain = given.is_instance_of::<PyList>() || given.is_instance_of::<PyTuple>();
    if plain || given.is_instance_of::<PyString>() || given.is_instance_of::<PyBytes>() {
        return Ok(false);
    }
    for protocol in ["__array__", "__array_interface__", "__array_struct__"] {
        if given.hasattr(protocol)? {
            return Ok(false);
        }
    }
    if PyMemoryView::from(given).is_ok() || has_no_order(given)? {
        return Ok(false);
    }
    Ok(given.hasattr("__len__")? && given.hasattr("__getitem__")?)
}

/// What `NumPy` makes an array of.
pub fn as_array<'py>(name: &str, allowed: &str, given: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    let py = given.py();
    check_plain(name, given, 0)?;
    if given.is_instance_of::<PyList>() || given.is_instance_of::<PyTuple>() {
        // NumPy takes a list whose length raises for an object, and says nothing of it.
        given.len().map_err(|error| refused(py, error, || type_error(name, "an array of numbers", given)))?;
    }
    let listed = listed(name, given)?;
    let given = listed.as_ref().unwrap_or(given);
    if let Some(array) = joined(given)? {
        return Ok(array);
    }
    let array = py.import(intern!(py, "numpy"))?.call_method1(intern!(py, "asarray"), (given,));
    array.map_err(|error| {
        let said = error::shown(&error.value(py).str().map_or_else(|_| String::new(), |said| said.to_string()));
        refused(py, error, || Error::Value(format!("{name} must be {allowed}: {said}")).into())
    })
}

/// The items of a sequence that is neither a list nor an array of some sort: as many as it says it has, for `NumPy` would
/// go on as long as it gives any.
fn listed<'py>(name: &str, given: &Bound<'py, PyAny>) -> PyResult<Option<Bound<'py, PyAny>>> {
    let py = given.py();
    if !is_sequence(given)? {
        return Ok(None);
    }
    let refusal = || type_error(name, "an array of numbers", given);
    let count = given.len().map_err(|error| refused(py, error, refusal))?;
    check_memory(&format!("a copy of {name}"), 48 * count as u128, "give fewer samples")?;
    let items = PyList::empty(py);
    for (i, item) in given.try_iter().map_err(|error| refused(py, error, refusal))?.take(count).enumerate() {
        if i % PART == PART - 1 {
            pause(py)?;
        }
        items.append(item.map_err(|error| refused(py, error, refusal))?)?;
    }
    Ok(Some(items.into_any()))
}

/// The array of a long list, made of parts, for `NumPy` does not listen to Ctrl-C while it reads one. None of a list
/// whose parts are not alike, which is left to `NumPy`.
fn joined<'py>(given: &Bound<'py, PyAny>) -> PyResult<Option<Bound<'py, PyAny>>> {
    /// Items that are read at once.
    const AT_ONCE: usize = 1 << 17;
    let py = given.py();
    let Ok(list) = given.cast_exact::<PyList>() else { return Ok(None) };
    let Some(first) = list.iter().next() else { return Ok(None) };
    let each = if first.is_exact_instance_of::<PyList>() { first.len()?.max(1) } else { 1 };
    if list.len() * each <= AT_ONCE {
        return Ok(None);
    }
    let (numpy, parts) = (py.import("numpy")?, PyList::empty(py));
    let mut alike = true;
    in_parts(py, list.len(), (AT_ONCE / each).max(1), |part| {
        let part = list.get_slice(part.start, part.end);
        if !alike {
            return Ok(());
        }
        let Some(array) = unless_refused(py, numpy.call_method1("asarray", (part,)))? else {
            alike = false;
            return Ok(());
        };
        let first = parts.get_item(0).unwrap_or_else(|_| array.clone());
        let dtype = array.getattr("dtype")?;
        alike = "biuf".contains(dtype.getattr("kind")?.extract::<char>()?)
            && dtype.eq(first.getattr("dtype")?)?
            && array.getattr("ndim")?.eq(first.getattr("ndim")?)?;
        parts.append(array)
    })?;
    // Of unlike shapes they cannot be joined, and NumPy says best why.
    if alike { unless_refused(py, numpy.call_method1("concatenate", (parts,))) } else { Ok(None) }
}

/// An array of real numbers as `f64`, in C order whatever its layout, byte order or flags were.
pub fn real_array<'py>(name: &str, given: &Bound<'py, PyAny>) -> PyResult<PyReadonlyArrayDyn<'py, f64>> {
    let array = as_array(name, "an array of numbers", given)?;
    check_numbers(name, &array)?;
    let (py, size) = (given.py(), array.getattr("size")?.extract::<usize>()?);
    // The copy and what is made of it.
    check_memory(&format!("a copy of {name}"), 16 * size as u128, "give fewer samples")?;
    // What is beyond the range of f64 is infinite, and refused as that.
    let quiet = py.import("numpy")?.call_method("errstate", (), Some(&[("over", "ignore")].into_py_dict(py)?))?;
    quiet.call_method0("__enter__")?;
    let copy = in_c_order(&array, size);
    quiet.call_method1("__exit__", (py.None(), py.None(), py.None()))?;
    copy?.extract()
}

/// A copy as `f64`, made in parts.
fn in_c_order<'py>(array: &Bound<'py, PyAny>, size: usize) -> PyResult<Bound<'py, PyAny>> {
    if size <= PART {
        return array.call_method1("astype", ("=f8", "C"));
    }
    let py = array.py();
    let copy = py.import("numpy")?.call_method1("empty", (array.getattr("shape")?, "=f8"))?;
    let rows = array.len()?;
    in_parts(py, rows, (PART / (size / rows).max(1)).max(1), |part| {
        let part = PySlice::new(py, part.start as isize, part.end as isize, 1);
        copy.set_item(&part, array.get_item(&part)?)
    })?;
    Ok(copy)
}

/// Numbers of an array in the dtype of the computation, in C order.
pub struct Reals<F> {
    pub values: Vec<F>,
    pub shape: Vec<usize>,
    /// The first that is not finite, if any.
    pub bad: Option<usize>,
}

/// An array of real numbers in the dtype of the computation.
pub fn reals<F: Float>(name: &str, given: &Bound<'_, PyAny>) -> PyResult<Reals<F>> {
    // An array as it should be is read where it lies: to ask NumPy by name for one takes longer than a small net.
    if let Some(found) = rounded::<f32, F>(name, given)? {
        return Ok(found);
    }
    if let Some(found) = rounded::<f64, F>(name, given)? {
        return Ok(found);
    }
    copied(given.py(), name, &real_array(name, given)?)
}

/// The numbers of what is an array of this dtype already, and lies in C order.
fn rounded<T: Float + Element, F: Float>(name: &str, given: &Bound<'_, PyAny>) -> PyResult<Option<Reals<F>>> {
    let Ok(array) = given.cast::<PyArrayDyn<T>>() else { return Ok(None) };
    let Some(array) = array.try_readonly().ok().filter(|array| array.is_c_contiguous()) else { return Ok(None) };
    if array.as_slice().is_err() || is_masked(given)? {
        return Ok(None);
    }
    copied(given.py(), name, &array).map(Some)
}

/// The numbers of an array that lies in C order.
fn copied<T: Float + Element, F: Float>(
    py: Python<'_>,
    name: &str,
    array: &PyReadonlyArrayDyn<'_, T>,
) -> PyResult<Reals<F>> {
    let (count, mut bad) = (array.len(), None);
    check_memory(&format!("a copy of {name}"), size_of::<F>() as u128 * count as u128, "give fewer samples")?;
    let mut values = Vec::with_capacity(count);
    in_parts(py, count, PART, |part| {
        let first = part.start;
        values.extend(array.as_slice()?[part].iter().map(|&v| F::of(v.wide())));
        let new = &values[first..];
        bad = bad.or_else(|| new.iter().position(|v: &F| !v.finite()).map(|at| first + at));
        Ok(())
    })?;
    Ok(Reals { values, shape: array.shape().to_vec(), bad })
}

/// Python's own way to these: the number that an argument of this name is.
#[pyfunction]
pub fn as_number(name: &str, given: &Bound<'_, PyAny>) -> PyResult<f64> {
    number(name, "a number", given)
}

/// The list of numbers that an argument of this name is.
#[pyfunction]
pub fn as_numbers<'py>(name: &str, given: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    let values = numbers(name, given)?;
    let count = values.len();
    array(given.py(), values, &[count])
}

/// A list of numbers.
pub fn numbers(name: &str, given: &Bound<'_, PyAny>) -> PyResult<Vec<f64>> {
    let Reals { values, shape, .. } = reals(name, given)?;
    match *shape {
        [_] => Ok(values),
        _ => Err(Error::value(name, "a list of numbers", shape_text(&shape)).into()),
    }
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
pub fn shaped<F: Float>(Reals { values, shape, bad }: Reals<F>, rows: Expected<'_>) -> PyResult<(Vec<F>, usize)> {
    let [count, columns] = *shape else {
        let allowed = format!("of shape (batch, {})", rows.axis);
        return Err(Error::value(rows.name, &allowed, shape_text(&shape)).into());
    };
    rows.check((count, columns), F::NAME, bad)?;
    Ok((values, count))
}

/// An array of a shape that takes over the memory of its values. To copy small ones was tried: it is no faster.
pub fn array<'py, T: Element>(py: Python<'py>, values: Vec<T>, shape: &[usize]) -> PyResult<Bound<'py, PyAny>> {
    // The few bytes of an array that does not own its memory: where they are not to be had, it would be a panic.
    check_memory("an array", 0, "free some memory")?;
    Ok(PyArray1::from_vec(py, values).reshape(shape.to_vec())?.into_any())
}

pub fn per_layer_object<'py, T, O: IntoPyObject<'py>>(
    py: Python<'py>,
    values: &PerLayer<T>,
    object: impl Fn(&T) -> O,
) -> PyResult<Bound<'py, PyAny>> {
    match values {
        PerLayer::All(value) => object(value).into_bound_py_any(py),
        PerLayer::Each(values) | PerLayer::Pattern(_, values) => {
            let mut objects = Vec::with_capacity(values.len());
            in_parts(py, values.len(), 1 << 14, |part| {
                for value in &values[part] {
                    objects.push(object(value).into_bound_py_any(py)?);
                }
                Ok(())
            })?;
            Ok(PyTuple::new(py, objects)?.into_any())
        }
    }
}

/// Is the dtype double precision?
pub fn double(dtype: &Bound<'_, PyAny>) -> PyResult<bool> {
    let py = dtype.py();
    let refusal = || {
        let given = described(dtype);
        given.map_or_else(|error| error, |given| Error::value("dtype", "'float32' or 'float64'", given).into())
    };
    let name = if dtype.is_none() || dtype.is_instance_of::<PyString>() {
        dtype.clone()
    } else {
        let dtype = py.import("numpy")?.call_method1("dtype", (dtype,));
        dtype.and_then(|dtype| dtype.getattr("name")).map_err(|error| refused(py, error, refusal))?
    };
    match name.extract::<&str>() {
        Ok("float32") => Ok(false),
        Ok("float64") => Ok(true),
        _ => Err(refusal()),
    }
}

pub fn seed_of(given: &Bound<'_, PyAny>, last: u64) -> PyResult<u64> {
    Ok(spec::integer("seed", integer("seed", given)?, 0, u64::MAX - last)?)
}

/// The most threads that a call may use, if there is a limit.
pub fn thread_limit(given: Option<&Bound<'_, PyAny>>) -> PyResult<Option<usize>> {
    Ok(threads::limit(given.map(|given| integer("threads", given)).transpose()?)?)
}

/// Samples of several axes: how many steps or tokens each has, and the columns of one of these.
#[derive(Clone, Copy)]
pub struct Steps {
    pub count: usize,
    pub columns: usize,
    /// What messages call the two.
    pub axes: &'static str,
    /// May all stand side by side, in one axis?
    flat: bool,
}

/// The axes of samples of a net that is fed at every step, or whose samples have several tokens.
pub fn steps(spec: &Spec) -> Option<Steps> {
    let columns = spec.in_features();
    match spec {
        Spec::Transformer(blocks) => {
            Some(Steps { count: blocks.tokens, columns, axes: "tokens, in_features", flat: true })
        }
        Spec::Rnn(rnn) => Some(Steps { count: rnn.steps, columns, axes: "steps, in_features", flat: true }),
        _ => spec.steps().map(|count| Steps { count, columns, axes: "depth, in_features", flat: false }),
    }
}

/// Samples of several axes, `(batch, steps, in_features)`, as a matrix; others as they are.
pub fn as_matrix<'py>(x: &Bound<'py, PyAny>, steps: Option<Steps>) -> PyResult<Bound<'py, PyAny>> {
    let Some(Steps { count, columns, axes, flat }) = steps else { return Ok(x.clone()) };
    let array = real_array("x", x)?;
    match *array.shape() {
        [batch, given, each] if [given, each] == [count, columns] => {
            array.call_method1("reshape", ((batch, count * columns),))
        }
        [_, given] if flat && given == count * columns => Ok(x.clone()),
        _ => {
            let all = count * columns;
            let flat = if flat { format!(", or flat (batch, {all})") } else { String::new() };
            let allowed = format!("of shape (batch, {axes}) = (batch, {count}, {columns}){flat}");
            Err(Error::value("x", &allowed, shape_text(array.shape())).into())
        }
    }
}
