//! The layers that a spec comes to, and the laws that their maps are drawn from.

use super::spec::spec_of;
use crate::distribution::Distribution;
use crate::init::Init;
use crate::plan::{Map, Plan, Which};
use crate::skip::Order;
use crate::spec::{Layer, Spec};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList};

/// The layers of a net, and the laws that their maps are drawn from.
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

/// The parts of a layer, in order.
fn parts(spec: &Spec, layer: &Layer) -> Vec<&'static str> {
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
