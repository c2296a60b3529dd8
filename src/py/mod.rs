//! The Python boundary, and the only folder that knows `PyO3` and `NumPy`: convert, detach, convert back.
//!
//! Work runs on another thread while the calling one waits, unless it is short. No `NumPy` memory is held while detached.

mod background;
mod convert;
mod kinds;
mod net;
mod plan;
mod pretrain;
mod probe;
mod spec;
mod targets;
mod theory;
mod train;

use crate::activation::custom;
use crate::error::Error;
use crate::expectation::Moments;
use crate::stats::COLUMNS;
use crate::{memory, rng, simd, threads};
use pyo3::exceptions::{PyException, PyImportError, PyMemoryError, PyRuntimeError, PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};

impl From<Error> for PyErr {
    fn from(error: Error) -> Self {
        let message = custom::named(&error.to_string());
        match error {
            Error::Value(_) => PyValueError::new_err(message),
            Error::Type(_) => PyTypeError::new_err(message),
            Error::Memory { .. } => PyMemoryError::new_err(message),
            Error::Cancelled => PyRuntimeError::new_err(message),
        }
    }
}

/// Facts of this build, and the instruction set and the threads that it uses here.
#[pyfunction]
fn build_info(py: Python<'_>) -> PyResult<Bound<'_, PyDict>> {
    let info = PyDict::new(py);
    info.set_item("version", env!("CARGO_PKG_VERSION"))?;
    info.set_item("isa", simd::isa()?.name())?;
    let isas = simd::Isa::ALL.into_iter().filter(|isa| isa.available()).map(simd::Isa::name);
    info.set_item("isas", PyTuple::new(py, isas.collect::<Vec<_>>())?)?;
    info.set_item("threads", threads::threads(None)?)?;
    info.set_item("profile", if cfg!(debug_assertions) { "debug" } else { "release" })?;
    info.set_item("target", env!("VGCORE_TARGET"))?;
    info.set_item("compiler", env!("VGCORE_COMPILER"))?;
    // Where GitHub builds; a build elsewhere may be of files that no commit has.
    info.set_item("commit", option_env!("GITHUB_SHA"))?;
    info.set_item("stream_version", rng::STREAM_VERSION)?;
    Ok(info)
}

/// Free the buffers that calls have left for the next ones; gives the bytes that they took, by estimate.
#[pyfunction]
fn release_memory() -> u128 {
    memory::release_workspaces()
}

/// Refuse what needs more memory than the machine can give, before it is allocated; what it is, and its bytes.
#[pyfunction]
fn check_memory(what: &str, needed: u128) -> PyResult<()> {
    Ok(memory::check_memory(what, needed, "ask for less at a time")?)
}

/// The oldest `NumPy`, as `pyproject.toml` has it.
const NUMPY: (u32, u32) = (1, 26);

/// Refuse to start without `NumPy`, where its first use would be a panic.
fn check_numpy(py: Python<'_>) -> PyResult<()> {
    let (major, minor) = NUMPY;
    let refused = |found: &str| {
        let needs = format!("vgcore needs NumPy {major}.{minor} or later, {found}");
        PyImportError::new_err(format!("{needs}: python -m pip install --upgrade 'numpy>={major}.{minor}'"))
    };
    let numpy = py.import("numpy").map_err(|error| {
        if !error.is_instance_of::<PyException>(py) {
            return error; // Ctrl-C
        }
        let told = refused("which cannot be imported here");
        told.set_cause(py, Some(error));
        told
    })?;
    let version: String = numpy.getattr("__version__")?.extract()?;
    let mut numbers = version.split('.').map(|part| part.parse::<u32>().unwrap_or(0));
    match (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0)) {
        found if found < NUMPY => Err(refused(&format!("and {version} is installed"))),
        _ => Ok(()),
    }
}

/// The name tables and the version.
fn constants(module: &Bound<'_, PyModule>) -> PyResult<()> {
    let py = module.py();
    check_numpy(py)?;
    // NumPy's C interface is looked up on first use, where Ctrl-C in the middle of it would be a panic: use it now.
    convert::array::<f64>(py, Vec::new(), &[0])?;
    let names = |names: Vec<&'static str>| PyTuple::new(py, names);
    for sort in &kinds::SORTS {
        module.add(sort.constant, names((sort.names)())?)?;
    }
    module.add("FAMILIES", names(kinds::SORTS.iter().map(|sort| sort.noun).collect())?)?;
    module.add("COLUMNS", names(COLUMNS.to_vec())?)?;
    module.add("MONITORS", names(crate::train::MONITORS.map(|(name, _)| name).to_vec())?)?;
    module.add("MOMENTS", names(Moments::NAMES.to_vec())?)?;
    module.add("BATCH", net::BATCH)?;
    module.add("InternalError", py.get_type::<background::InternalError>())?;
    module.add("__version__", env!("CARGO_PKG_VERSION"))
}

/// The extension module.
#[pymodule]
mod _core {
    #[pymodule_export]
    use super::convert::{as_number, as_numbers};
    #[pymodule_export]
    use super::kinds::{
        Table, activation_outputs, custom_activation, hint, kinds, kinks, loss_facts, loss_gradient, loss_name,
        resolve, steepest,
    };
    #[pymodule_export]
    use super::net::{Net, jacobian, tensors};
    #[pymodule_export]
    use super::plan::plan;
    #[pymodule_export]
    use super::pretrain::{Learner, free_energies, gibbs, half_pass, pseudo_likelihoods};
    #[pymodule_export]
    use super::probe::{cost, cotangent, gradcheck, probe, samples};
    #[pymodule_export]
    use super::spec::Checked;
    #[pymodule_export]
    use super::targets::targets;
    #[pymodule_export]
    use super::theory::{activate, batch_moments, calculate_gain, critical_point, hermite, moments, pair_moments};
    #[pymodule_export]
    use super::train::{batch_rows, evaluated, train};
    #[pymodule_export]
    use super::{build_info, check_memory, release_memory};

    #[pymodule_init]
    fn init(module: &super::Bound<'_, super::PyModule>) -> super::PyResult<()> {
        super::constants(module)
    }
}
