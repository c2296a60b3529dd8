//! The layers that a spec comes to, and the laws that their maps are drawn from.

use super::background::in_parts;
use super::spec::checked_of;
use crate::distribution::Distribution;
use crate::init::Init;
use crate::part::{LinearPlan, Part};
use crate::plan::{Layer, Plan};
use crate::skip;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList};

/// The layers of a net, and the laws that their maps are drawn from.
#[pyfunction]
pub fn plan<'py>(spec: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyDict>> {
    let (py, checked) = (spec.py(), checked_of(spec)?);
    let (spec, plan) = (&checked.get().spec, checked.get().plan(py)?);
    let (hidden, readout) = plan.layers.split_at(plan.depth());
    let layers = PyList::empty(py);
    in_parts(py, hidden.len(), 1 << 10, |part| {
        hidden[part].iter().try_for_each(|layer| layers.append(layer_of(py, &plan, layer)?))
    })?;
    let readout = readout.first().map(|layer| map_of(py, plan.slots[layer.slot][0].linear()));
    let result = PyDict::new(py);
    result.set_item("layers", layers)?;
    result.set_item("readout", readout.transpose()?)?;
    result.set_item("columns", plan.columns)?;
    result.set_item("outputs", plan.output())?;
    result.set_item("branch_scale", spec.branch_scale)?;
    result.set_item("calibrates", plan.calibrates)?;
    result.set_item("knows_depth", spec.init.values().iter().any(Init::depends_on_depth))?;
    Ok(result)
}

/// A layer: features, parts in order, and what each of them is.
fn layer_of<'py>(py: Python<'py>, plan: &Plan, layer: &Layer) -> PyResult<Bound<'py, PyDict>> {
    let result = PyDict::new(py);
    result.set_item("input", plan.values[layer.input])?;
    result.set_item("output", plan.values[layer.output])?;
    // The beginning of a stream is told by the source of its join.
    let parts = layer.parts.iter().map(|placed| placed.part.name()).filter(|name| *name != "keep");
    result.set_item("parts", parts.collect::<Vec<_>>())?;
    let (mut source, mut gate) = (None, None);
    for placed in &layer.parts {
        match &placed.part {
            Part::Map(map) => {
                result.set_item("width", placed.features.1)?;
                result.set_item("map", map_of(py, plan.slots[layer.slot][map.own].linear())?)?;
            }
            Part::Phi(phi) => result.set_item("activation", phi.activation.text())?,
            Part::Join(join) => {
                // Layers get values in ascending order.
                let begins = |value: usize| plan.layers.binary_search_by_key(&value, |layer| layer.input).ok();
                source = placed.around.and_then(begins);
                if join.way == skip::Way::Gate {
                    gate = Some(map_of(py, plan.slots[layer.slot][join.learned].linear())?);
                }
            }
            _ => (),
        }
    }
    result.set_item("source", source)?;
    result.set_item("gate", gate)?;
    Ok(result)
}

/// A linear map: its fans, and the law of its weights and biases with mean and variance.
fn map_of<'py>(py: Python<'py>, map: &LinearPlan) -> PyResult<Bound<'py, PyDict>> {
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
