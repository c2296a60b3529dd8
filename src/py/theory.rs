//! Theory: gains, and expectations over the pre-activations of wide layers.

use super::background::{UNKNOWN, detached};
use super::convert::{argument, array, optional, text};
use crate::activation::Activation;
use crate::expectation::{self, Batch, Moments, Pair};
use crate::gain;
use crate::signature::Call;
use crate::threads;
use pyo3::prelude::*;

/// The gain of an activation: torch's (`mode` None), or derived for one direction.
#[pyfunction]
pub fn calculate_gain(
    activation: &Bound<'_, PyAny>,
    param: &Bound<'_, PyAny>,
    mode: &Bound<'_, PyAny>,
) -> PyResult<f64> {
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
        detached(py, UNKNOWN, move |cancel| Ok(threads::each(count, threads, cancel, row)?.concat()))?
    };
    array(py, values, &[count, width])
}

/// Value and slope of an activation, or of the gate of a gated one, at each z: `(len(z), 2)`.
#[pyfunction]
pub fn activate<'py>(py: Python<'py>, activation: &str, z: Vec<f64>) -> PyResult<Bound<'py, PyAny>> {
    let activation = Activation::parse(activation)?;
    rows(py, z.len(), 2, move |i| <[f64; 2]>::from(activation.both(z[i])))
}

/// Expectations of an activation over normal pre-activations of the variances `q`: `(len(q), len(MOMENTS))`.
#[pyfunction]
pub fn moments<'py>(py: Python<'py>, activation: &str, q: Vec<f64>) -> PyResult<Bound<'py, PyAny>> {
    let activation = Activation::parse(activation)?;
    rows(py, q.len(), Moments::NAMES.len(), move |i| Moments::of(&activation, q[i]).values())
}

/// `sigma_w` and `q` on the edge of chaos.
#[pyfunction]
pub fn critical_point(activation: &str, sigma_b: f64) -> PyResult<(f64, f64)> {
    let gain::Critical { sigma_w, q } = gain::critical(&Activation::parse(activation)?, sigma_b)?;
    Ok((sigma_w, q))
}

/// The first Hermite coefficients of an activation at the variances `q`: `(len(q), count)`.
#[pyfunction]
pub fn hermite<'py>(py: Python<'py>, activation: &str, q: Vec<f64>, count: usize) -> PyResult<Bound<'py, PyAny>> {
    let activation = Activation::parse(activation)?;
    rows(py, q.len(), count, move |i| expectation::hermite(&activation, q[i], count))
}

/// Expectations of an activation behind batch norm in a batch of 6 or more: `E phi, E phi^2, E phi'^2, E y^2 phi'^2`,
/// and of two samples `E phi phi, E phi' phi', E y phi' y phi'`.
#[pyfunction]
pub fn batch_moments(activation: &str, batch: usize) -> PyResult<[f64; 7]> {
    Ok(Batch::of(&Activation::parse(activation)?, batch).values())
}

/// Expectations of an activation over two normal pre-activations of the variances `q` and correlations `c`:
/// `(len(q), 2)`, columns `E phi(u) phi(v), E phi'(u) phi'(v)`.
#[pyfunction]
pub fn pair_moments<'py>(py: Python<'py>, activation: &str, q: Vec<f64>, c: Vec<f64>) -> PyResult<Bound<'py, PyAny>> {
    let activation = Activation::parse(activation)?;
    rows(py, q.len().min(c.len()), 2, move |i| {
        let pair = Pair::of(&activation, q[i], c[i]);
        [pair.value, pair.slope]
    })
}
