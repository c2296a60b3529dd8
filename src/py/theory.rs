//! Theory: gains, and expectations over the pre-activations of wide layers.

use super::background::{UNKNOWN, detached};
use super::convert::{argument, array, integer, number, numbers, optional, text};
use crate::activation::Activation;
use crate::expectation::{self, Batch, Moments, Pair};
use crate::gain;
use crate::memory::check_memory;
use crate::signature::Call;
use crate::spec;
use crate::threads;
use pyo3::prelude::*;

fn activation_of(given: &Bound<'_, PyAny>) -> PyResult<Activation> {
    Ok(Activation::parse(&text("activation", given)?)?)
}

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
fn rows<V: std::borrow::Borrow<[f64]> + Send + 'static>(
    py: Python<'_>,
    count: usize,
    width: usize,
    row: impl Fn(usize) -> V + Send + Sync + 'static,
) -> PyResult<Bound<'_, PyAny>> {
    // A thread costs as much as several short rows.
    const FEW: usize = 4;
    const SHORT: usize = 1000;
    // Rows by themselves, what they were made with, and all of them joined.
    let bytes = 8 * 4 * (count as u128 + 1) * (width as u128 + 4);
    check_memory("these expectations", bytes, "ask for fewer")?;
    let few = count <= FEW && width <= SHORT;
    let values = detached(py, if few { 0.0 } else { UNKNOWN }, move |cancel| {
        let threads = if few { 1 } else { threads::threads(None)? };
        Ok(threads::each(count, threads, cancel, row)?.concat())
    })?;
    array(py, values, &[count, width])
}

/// Value and slope of an activation, or of the gate of a gated one, at each z: `(len(z), 2)`.
#[pyfunction]
pub fn activate<'py>(activation: &Bound<'py, PyAny>, z: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    let (py, activation, z) = (z.py(), activation_of(activation)?, numbers("z", z)?);
    rows(py, z.len(), 2, move |i| <[f64; 2]>::from(activation.both(z[i])))
}

/// Expectations of an activation over normal pre-activations of the variances `q`: `(len(q), len(MOMENTS))`.
#[pyfunction]
pub fn moments<'py>(activation: &Bound<'py, PyAny>, q: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    let (py, activation, q) = (q.py(), activation_of(activation)?, numbers("q", q)?);
    rows(py, q.len(), Moments::NAMES.len(), move |i| Moments::of(&activation, q[i]).values())
}

/// `sigma_w` and `q` on the edge of chaos.
#[pyfunction]
pub fn critical_point(activation: &Bound<'_, PyAny>, sigma_b: &Bound<'_, PyAny>) -> PyResult<(f64, f64)> {
    let (given, sigma_b) = (activation_of(activation)?, number("sigma_b", "a number", sigma_b)?);
    let gain::Critical { sigma_w, q } = detached(activation.py(), UNKNOWN, move |_| gain::critical(&given, sigma_b))?;
    Ok((sigma_w, q))
}

/// The first Hermite coefficients of an activation at the variances `q`: `(len(q), count)`.
#[pyfunction]
pub fn hermite<'py>(
    activation: &Bound<'py, PyAny>,
    q: &Bound<'py, PyAny>,
    count: &Bound<'py, PyAny>,
) -> PyResult<Bound<'py, PyAny>> {
    let (py, activation, q) = (q.py(), activation_of(activation)?, numbers("q", q)?);
    let count = spec::integer("count", integer("count", count)?, 0, u64::from(u32::MAX) << 20)? as usize;
    rows(py, q.len(), count, move |i| expectation::hermite(&activation, q[i], count))
}

/// Expectations of an activation behind batch norm in a batch of 6 or more: `E phi, E phi^2, E phi'^2, E y^2 phi'^2`,
/// and of two samples `E phi phi, E phi' phi', E y phi' y phi'`.
#[pyfunction]
pub fn batch_moments(activation: &Bound<'_, PyAny>, batch: &Bound<'_, PyAny>) -> PyResult<[f64; 7]> {
    let (py, activation) = (batch.py(), activation_of(activation)?);
    let batch = spec::integer("batch", integer("batch", batch)?, 6, u64::from(u32::MAX))? as usize;
    detached(py, UNKNOWN, move |_| Ok(Batch::of(&activation, batch).values()))
}

/// Expectations of an activation over two normal pre-activations of the variances `q` and correlations `c`:
/// `(len(q), 2)`, columns `E phi(u) phi(v), E phi'(u) phi'(v)`.
#[pyfunction]
pub fn pair_moments<'py>(
    activation: &Bound<'py, PyAny>,
    q: &Bound<'py, PyAny>,
    c: &Bound<'py, PyAny>,
) -> PyResult<Bound<'py, PyAny>> {
    let (py, activation, q, c) = (q.py(), activation_of(activation)?, numbers("q", q)?, numbers("c", c)?);
    rows(py, q.len().min(c.len()), 2, move |i| {
        let pair = Pair::of(&activation, q[i], c[i]);
        [pair.value, pair.slope]
    })
}
