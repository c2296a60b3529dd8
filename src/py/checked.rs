//! A spec at the boundary: fields in, the checked spec kept, what it comes to out.

use super::{argument, array, double, integer, optional, per_layer, per_layer_object, text, type_error};
use crate::activation::Activation;
use crate::distribution::Distribution;
use crate::error::Error;
use crate::init::Init;
use crate::plan::{Map, Plan, Which};
use crate::rng::{Role, Stream};
use crate::signature::Argument;
use crate::simd::Float;
use crate::skip::Order;
use crate::spec::{self, BranchScale, Layer, PerLayer, Request};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList};

/// A spec that has been checked once, as the Python object that it belongs to keeps it.
#[pyclass(frozen, name = "Spec", module = "vgcore._core")]
pub struct Checked {
    request: Request,
    spec: spec::Spec,
}

/// The checked spec of an `MLP`.
pub fn spec_of(mlp: &Bound<'_, PyAny>) -> PyResult<spec::Spec> {
    let checked = mlp.getattr("_checked").map_err(|_| type_error("spec", "an MLP", mlp))?;
    let checked = checked.cast::<Checked>().map_err(|_| type_error("spec", "an MLP", mlp))?;
    Ok(checked.get().spec.clone())
}

/// Reads fields by name; those that are not given are as in [`Request::new`].
fn request_of(fields: &Bound<'_, PyDict>) -> PyResult<Request> {
    let mut request = Request::new(1, 1);
    for (name, value) in fields {
        let name = &*name.extract::<String>()?;
        let kind = || optional(&value, |v| text(name, v));
        let number = || optional(&value, |v| integer(name, v));
        match name {
            "depth" => request.depth = integer(name, &value)?,
            "width" => request.width = per_layer(name, &value, integer)?,
            "in_features" => request.in_features = number()?,
            "out_features" => request.out_features = number()?,
            "activation" => request.activation = per_layer(name, &value, text)?,
            "init" => request.init = per_layer(name, &value, text)?,
            "bias" => request.bias = kind()?,
            "norm" => request.norm = kind()?,
            "norm_position" => request.norm_position = text(name, &value)?,
            "skip" => request.skip = kind()?,
            "branch_scale" => {
                request.branch_scale = match argument(name, &value)? {
                    Argument::Number(scale) => BranchScale::Number(scale),
                    Argument::Word(rule) => BranchScale::Text(rule),
                }
            }
            "block" => request.block = integer(name, &value)?,
            "weight_transform" => request.weight_transform = kind()?,
            "tied" => request.tied = value.extract().map_err(|_| type_error(name, "a bool", &value))?,
            "inputs" => request.inputs = text(name, &value)?,
            _ => return Err(Error::Value(format!("unknown field '{name}'")).into()),
        }
    }
    Ok(request)
}

#[pymethods]
impl Checked {
    /// Check fields, given by name; those that are missing have their default.
    #[new]
    fn new(fields: &Bound<'_, PyDict>) -> PyResult<Self> {
        let request = request_of(fields)?;
        Ok(Self { spec: spec::Spec::new(&request)?, request })
    }

    /// All fields by name, kinds in canonical spelling.
    fn fields<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let (request, spec, fields) = (&self.request, &self.spec, PyDict::new(py));
        fields.set_item("depth", spec.depth)?;
        fields.set_item("width", per_layer_object(py, &spec.width, |w| *w)?)?;
        fields.set_item("in_features", request.in_features)?;
        fields.set_item("out_features", request.out_features)?;
        fields.set_item("activation", per_layer_object(py, &spec.activation, Activation::text)?)?;
        // As many as were given: one for the readout is added inside.
        let inits = match &request.init {
            PerLayer::All(_) => spec.init.clone(),
            PerLayer::Each(given) => PerLayer::Each(spec.init.values()[..given.len()].to_vec()),
        };
        fields.set_item("init", per_layer_object(py, &inits, Init::text)?)?;
        fields.set_item("bias", spec.bias.map(|bias| bias.text()))?;
        fields.set_item("norm", spec.norm.map(|norm| norm.text()))?;
        fields.set_item("norm_position", &request.norm_position)?;
        fields.set_item("skip", spec.skip.map(|skip| skip.text()))?;
        match &request.branch_scale {
            BranchScale::Number(scale) => fields.set_item("branch_scale", scale)?,
            BranchScale::Text(rule) => fields.set_item("branch_scale", rule)?,
        }
        fields.set_item("block", request.block)?;
        fields.set_item("weight_transform", spec.transform.map(|transform| transform.text()))?;
        fields.set_item("tied", request.tied)?;
        fields.set_item("inputs", &request.inputs)?;
        Ok(fields)
    }

    /// The text that an id is hashed from.
    fn content(&self) -> String {
        self.spec.content()
    }
}

/// The layers of a net, and what their maps are drawn from.
#[pyfunction]
pub fn plan<'py>(spec: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyDict>> {
    let (py, spec) = (spec.py(), spec_of(spec)?);
    let plan = Plan::new(&spec);
    let map = |which| plan.map(which).map(|map| map_of(py, map)).transpose();
    let layers = plan.hidden.iter().enumerate().map(|(index, hidden)| {
        let (shape, layer) = (&hidden.shape, PyDict::new(py));
        layer.set_item("input", shape.input)?;
        layer.set_item("width", shape.width)?;
        layer.set_item("output", shape.output)?;
        layer.set_item("activation", shape.activation.text())?;
        layer.set_item("parts", parts(&spec, shape))?;
        layer.set_item("source", shape.from)?;
        layer.set_item("map", map(Which::Hidden(index))?)?;
        layer.set_item("gate", if shape.from.is_some() { map(Which::Gate(index))? } else { None })?;
        Ok(layer)
    });
    let result = PyDict::new(py);
    result.set_item("layers", PyList::new(py, layers.collect::<PyResult<Vec<_>>>()?)?)?;
    result.set_item("readout", map(Which::Readout)?)?;
    result.set_item("columns", plan.columns)?;
    result.set_item("outputs", plan.output())?;
    result.set_item("branch_scale", spec.branch_scale)?;
    result.set_item("calibrates", plan.calibrates)?;
    result.set_item("knows_depth", spec.init.values().iter().any(Init::depends_on_depth))?;
    Ok(result)
}

/// The standard normal samples that a run of this seed draws, `(batch, columns)`.
#[pyfunction]
pub fn samples<'py>(
    spec: &Bound<'py, PyAny>,
    seed: u64,
    batch: usize,
    dtype: &Bound<'py, PyAny>,
) -> PyResult<Bound<'py, PyAny>> {
    normals(dtype, seed, Role::Input, [batch, spec_of(spec)?.columns()], 1.0)
}

/// The dL/dy that a run of this seed draws where there is no loss, `(batch, outputs)`.
#[pyfunction]
pub fn cotangent<'py>(
    spec: &Bound<'py, PyAny>,
    seed: u64,
    batch: usize,
    dtype: &Bound<'py, PyAny>,
) -> PyResult<Bound<'py, PyAny>> {
    normals(dtype, seed, Role::Cotangent, [batch, spec_of(spec)?.output()], 1.0 / (batch as f64).sqrt())
}

/// Standard normals of a stream, drawn in a dtype, times a factor.
fn normals<'py>(
    dtype: &Bound<'py, PyAny>,
    seed: u64,
    role: Role,
    shape: [usize; 2],
    factor: f64,
) -> PyResult<Bound<'py, PyAny>> {
    fn drawn<F: Float>(stream: Stream, count: usize) -> Vec<f64> {
        let mut all = vec![F::ZERO; count];
        stream.normal(&mut all);
        all.into_iter().map(Float::wide).collect()
    }
    let (stream, count) = (Stream::new(seed, 0, role), shape.iter().product());
    let mut values = if double(dtype)? { drawn::<f64>(stream, count) } else { drawn::<f32>(stream, count) };
    values.iter_mut().for_each(|value| *value *= factor);
    array(dtype.py(), values, &shape)
}

/// The parts of a layer, in order.
fn parts(spec: &spec::Spec, layer: &Layer) -> Vec<&'static str> {
    let (norm, join) = (spec.norm.map(|_| "norm"), layer.from.map(|_| "join"));
    let (before, after) = if spec.post_norm { (None, norm) } else { (norm, None) };
    let (map, activation) = (Some("map"), Some("activation"));
    let order = match layer.order {
        Order::Pre => [before, activation, after, map, join],
        Order::Post => [map, before, join, activation, after],
        Order::After | Order::Linear => [map, before, activation, after, join],
    };
    order.into_iter().flatten().collect()
}

/// A linear map: its fans, and the law of its weights and biases with mean and variance.
fn map_of<'py>(py: Python<'py>, map: &Map) -> PyResult<Bound<'py, PyDict>> {
    let result = PyDict::new(py);
    let bias = map.bias.unwrap_or(Distribution::Constant(0.0));
    let [mean, variance] = map.weight.moments(map.fan_out, map.fan_in);
    result.set_item("fan_in", map.fan_in)?;
    result.set_item("fan_out", map.fan_out)?;
    result.set_item("law", map.weight.name())?;
    result.set_item("weight_mean", map.factor * mean)?;
    result.set_item("weight_variance", map.factor * map.factor * variance)?;
    let [mean, variance] = bias.moments(map.fan_out, 1);
    result.set_item("bias_mean", mean)?;
    result.set_item("bias_variance", variance)?;
    Ok(result)
}

/// Features that an activation gives for each of z: 1, or 1/2 of a gated one, or 2 of a doubled one.
#[pyfunction]
pub fn activation_outputs(activation: &str) -> PyResult<f64> {
    Ok(Activation::parse(activation)?.outputs(2) as f64 / 2.0)
}

/// Values and slopes of an activation at each z, `(2, len(z))`; of a gated one, those of its gate.
#[pyfunction]
pub fn activate<'py>(py: Python<'py>, activation: &str, z: Vec<f64>) -> PyResult<Bound<'py, PyAny>> {
    let (activation, count) = (Activation::parse(activation)?, z.len());
    let mut both = vec![0.0; 2 * count];
    let (values, slopes) = both.split_at_mut(count);
    activation.apply(&z, values, slopes);
    array(py, both, &[2, count])
}
