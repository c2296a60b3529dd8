//! Layers that learn by themselves: restricted Boltzmann machines and denoising autoencoders.

use super::background::{UNKNOWN, detached};
use super::convert::{array, integer, matrix, number, numbers, seed_of, text, truth};
use crate::activation::Activation;
use crate::data::Expected;
use crate::error::{Cancel, Error, Result};
use crate::kernel::Matrix;
use crate::pretrain::{self, Dae, Learn, Machine, Method, Pace, Pair, Rbm};
use crate::simd::Float;
use crate::spec;
use pyo3::prelude::*;
use std::sync::{Arc, Mutex, PoisonError};

/// The most rows, units and steps that are counted here.
const MOST: u64 = 100_000_000;

fn count(name: &str, given: &Bound<'_, PyAny>) -> PyResult<usize> {
    Ok(spec::integer(name, integer(name, given)?, 1, MOST)? as usize)
}

/// The numbers of a layer in a type: weights `(hidden, visible)`, row-major, and two biases.
fn numbers_of<F: Float>(
    weight: &Bound<'_, PyAny>,
    visible: &Bound<'_, PyAny>,
    hidden: &Bound<'_, PyAny>,
) -> PyResult<[Vec<F>; 3]> {
    let narrow = |values: Vec<f64>| values.into_iter().map(F::of).collect::<Vec<_>>();
    let (visible, hidden) = (numbers("the visible biases", visible)?, numbers("the hidden biases", hidden)?);
    let shape = Expected { name: "the weights", axis: "visible", columns: visible.len(), rows: Some(hidden.len()) };
    Ok([matrix::<F>(weight, shape)?.0, narrow(visible), narrow(hidden)])
}

/// A layer that learns or is sampled.
fn pair_of(weight: &Bound<'_, PyAny>, visible: &Bound<'_, PyAny>, hidden: &Bound<'_, PyAny>) -> PyResult<Pair> {
    let [weight, visible, hidden] = numbers_of::<f32>(weight, visible, hidden)?;
    Ok(Pair::new(&weight, visible, hidden))
}

fn matrix_of(weight: &[f64], rows: usize, columns: usize) -> Matrix<f64> {
    let mut all = Matrix::default();
    all.fill(rows, columns, |to| to.copy_from_slice(weight));
    all
}

/// A machine that is looked at.
fn machine_of(
    weight: &Bound<'_, PyAny>,
    visible: &Bound<'_, PyAny>,
    hidden: &Bound<'_, PyAny>,
) -> PyResult<Machine<f64>> {
    let [weight, visible, hidden] = numbers_of::<f64>(weight, visible, hidden)?;
    Ok(Machine { weight: matrix_of(&weight, hidden.len(), visible.len()), visible, hidden })
}

fn rows_of<F: Float>(rows: &Bound<'_, PyAny>, columns: usize) -> PyResult<Vec<F>> {
    Ok(matrix(rows, Expected { name: "x", axis: "units", columns, rows: None })?.0)
}

/// A layer that learns, of either sort.
trait Layer: Send {
    fn epoch(&mut self, momentum: f64, cancel: &Cancel) -> Result<()>;
    fn pair(&self) -> &Pair;
}

impl<L: Learn + Send> Layer for pretrain::Learner<L> {
    fn epoch(&mut self, momentum: f64, cancel: &Cancel) -> Result<()> {
        self.epoch(momentum, cancel)
    }
    fn pair(&self) -> &Pair {
        &self.pair
    }
}

/// A layer that learns by a method.
#[pyclass(frozen, module = "vgcore._core")]
pub struct Learner(Arc<Mutex<Box<dyn Layer>>>);

#[pymethods]
impl Learner {
    #[new]
    #[allow(clippy::too_many_arguments)] // Keywords of Python.
    #[pyo3(signature = (
        method, weight, visible, hidden, x, *, activation, probabilities, lr, decay, batch, seed, layer
    ))]
    fn new(
        method: &Bound<'_, PyAny>,
        weight: &Bound<'_, PyAny>,
        visible: &Bound<'_, PyAny>,
        hidden: &Bound<'_, PyAny>,
        x: &Bound<'_, PyAny>,
        activation: &Bound<'_, PyAny>,
        probabilities: &Bound<'_, PyAny>,
        lr: &Bound<'_, PyAny>,
        decay: &Bound<'_, PyAny>,
        batch: &Bound<'_, PyAny>,
        seed: &Bound<'_, PyAny>,
        layer: usize,
    ) -> PyResult<Self> {
        let pair = pair_of(weight, visible, hidden)?;
        let rows = rows_of::<f32>(x, pair.visible())?;
        let pace = Pace {
            lr: number("lr", "a number", lr)?,
            decay: number("decay", "a number", decay)?,
            batch: count("batch", batch)?,
            seed: seed_of(seed, 0)?,
            layer,
        };
        let method = Method::parse(&text("method", method)?)?;
        let value = |name: &str| method.parameter(name);
        let layer: Box<dyn Layer> = match (value("k"), value("corrupt")) {
            (Some(k), _) => {
                let learn = Rbm::new(k as usize, value("persistent") == Some(1.0));
                Box::new(pretrain::Learner::new(pair, rows, learn, pace))
            }
            (_, Some(share)) => {
                let phi = Activation::parse(&text("activation", activation)?)?;
                let learn = Dae::new(share, phi, truth("probabilities", probabilities)?);
                Box::new(pretrain::Learner::new(pair, rows, learn, pace))
            }
            _ => return Err(Error::value("method", "one that learns a layer without targets", method.text()).into()),
        };
        Ok(Self(Arc::new(Mutex::new(layer))))
    }

    /// Take every whole batch once.
    fn epoch(&self, py: Python<'_>, momentum: &Bound<'_, PyAny>) -> PyResult<()> {
        let (layer, momentum) = (Arc::clone(&self.0), number("momentum", "a number", momentum)?);
        detached(py, UNKNOWN, move |cancel| {
            layer.lock().unwrap_or_else(PoisonError::into_inner).epoch(momentum, cancel)
        })
    }

    /// The weights and the biases of visible and hidden units, as they are now.
    fn numbers<'py>(&self, py: Python<'py>) -> PyResult<[Bound<'py, PyAny>; 3]> {
        let layer = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let [weight, visible, hidden] = layer.pair().numbers();
        let (rows, columns) = (hidden.len(), visible.len());
        Ok([array(py, weight, &[rows, columns])?, array(py, visible, &[columns])?, array(py, hidden, &[rows])?])
    }
}

/// `phi(W x + bias)` of rows of visible units, or `phi(W^T x + bias)` of hidden ones.
#[pyfunction]
pub fn half_pass<'py>(
    weight: &Bound<'py, PyAny>,
    bias: &Bound<'py, PyAny>,
    x: &Bound<'py, PyAny>,
    down: &Bound<'py, PyAny>,
    activation: &Bound<'py, PyAny>,
) -> PyResult<Bound<'py, PyAny>> {
    let (down, phi) = (truth("down", down)?, Activation::parse(&text("activation", activation)?)?);
    let bias = numbers("the biases", bias)?;
    let (rows, columns) = weight.getattr("shape")?.extract::<(usize, usize)>()?;
    let (from, to) = if down { (rows, columns) } else { (columns, rows) };
    if bias.len() != to {
        return Err(Error::value("the biases", &format!("{to} numbers"), bias.len()).into());
    }
    let expected = Expected { name: "the weights", axis: "visible", columns, rows: Some(rows) };
    let (values, x) = (matrix::<f64>(weight, expected)?.0, rows_of::<f64>(x, from)?);
    let count = x.len() / from;
    let found = detached(weight.py(), UNKNOWN, move |_| {
        pretrain::half_pass(&matrix_of(&values, rows, columns), &bias, &x, down, &phi)
    })?;
    array(weight.py(), found, &[count, to])
}

/// The free energy of each row.
#[pyfunction]
pub fn free_energies<'py>(
    weight: &Bound<'py, PyAny>,
    visible: &Bound<'py, PyAny>,
    hidden: &Bound<'py, PyAny>,
    x: &Bound<'py, PyAny>,
) -> PyResult<Bound<'py, PyAny>> {
    let pair = machine_of(weight, visible, hidden)?;
    let rows = rows_of::<f64>(x, pair.visible.len())?;
    let found = detached(x.py(), UNKNOWN, move |_| pretrain::free_energies(&pair, &rows))?;
    let count = found.len();
    array(x.py(), found, &[count])
}

/// scikit-learn's estimate of the log of the pseudo-likelihood of each row.
#[pyfunction]
pub fn pseudo_likelihoods<'py>(
    weight: &Bound<'py, PyAny>,
    visible: &Bound<'py, PyAny>,
    hidden: &Bound<'py, PyAny>,
    x: &Bound<'py, PyAny>,
    seed: &Bound<'py, PyAny>,
) -> PyResult<Bound<'py, PyAny>> {
    let pair = machine_of(weight, visible, hidden)?;
    let (rows, seed) = (rows_of::<f64>(x, pair.visible.len())?, seed_of(seed, 0)?);
    let found = detached(x.py(), UNKNOWN, move |_| {
        let energies = pretrain::free_energies(&pair, &rows)?;
        pretrain::pseudo_likelihoods(&pair, &rows, &energies, seed)
    })?;
    let count = found.len();
    array(x.py(), found, &[count])
}

/// Visible units after steps of Gibbs sampling from rows of them: samples, and their probabilities.
#[pyfunction]
pub fn gibbs<'py>(
    weight: &Bound<'py, PyAny>,
    visible: &Bound<'py, PyAny>,
    hidden: &Bound<'py, PyAny>,
    x: &Bound<'py, PyAny>,
    steps: &Bound<'py, PyAny>,
    seed: &Bound<'py, PyAny>,
) -> PyResult<[Bound<'py, PyAny>; 2]> {
    let pair = pair_of(weight, visible, hidden)?;
    let columns = pair.visible();
    let (rows, steps, seed) = (rows_of::<f32>(x, columns)?, count("steps", steps)?, seed_of(seed, 0)?);
    let [samples, probabilities] = detached(x.py(), UNKNOWN, move |_| pretrain::gibbs(&pair, &rows, steps, seed))?;
    let shape = [samples.len() / columns, columns];
    Ok([array(x.py(), samples, &shape)?, array(x.py(), probabilities, &shape)?])
}
