//! The layers that a spec comes to, and the laws that their maps are drawn from.

use super::background::in_parts;
use super::convert::steps;
use super::spec::checked_of;
use crate::part::{LinearPlan, Part};
use crate::plan::{Layer, Placed, Plan};
use crate::skip;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList, PyTuple};

/// The layers of a net, and the laws that their maps are drawn from.
#[pyfunction]
pub fn plan<'py>(spec: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyDict>> {
    let (py, checked) = (spec.py(), checked_of(spec)?);
    let (spec, plan) = (&checked.get().spec, checked.get().plan(py)?);
    let (hidden, ends) = plan.layers.split_at(plan.depth());
    let layers = PyList::empty(py);
    in_parts(py, hidden.len(), 1 << 10, |part| {
        hidden[part].iter().try_for_each(|layer| layers.append(layer_of(py, &plan, layer)?))
    })?;
    let result = PyDict::new(py);
    result.set_item("layers", layers)?;
    let ends = ends.iter().map(|layer| steps_of(py, &plan, layer));
    result.set_item("ends", ends.collect::<PyResult<Vec<_>>>()?.concat())?;
    result.set_item("columns", plan.columns)?;
    result.set_item("tokens", plan.tokens)?;
    result.set_item("places", plan.places)?;
    result.set_item("series", steps(spec).map(|steps| (steps.count, steps.columns)))?;
    result.set_item("outputs", plan.output())?;
    result.set_item("calibrates", plan.calibrates)?;
    result.set_item("knows_depth", spec.knows_depth())?;
    Ok(result)
}

/// A layer: features, the layer that its skip begins at, and its parts in order.
fn layer_of<'py>(py: Python<'py>, plan: &Plan, layer: &Layer) -> PyResult<Bound<'py, PyDict>> {
    let result = PyDict::new(py);
    // Layers get values in ascending order.
    let begins = |value: usize| plan.layers.binary_search_by_key(&value, |layer| layer.input).ok();
    let mut joins = layer.parts.iter().filter(|placed| matches!(placed.part, Part::Join(_)));
    result.set_item("input", plan.values[layer.input])?;
    result.set_item("output", plan.values[layer.output])?;
    result.set_item("source", joins.next_back().and_then(|placed| placed.around).and_then(begins))?;
    result.set_item("steps", steps_of(py, plan, layer)?)?;
    Ok(result)
}

/// The parts of a layer in order.
fn steps_of<'py>(py: Python<'py>, plan: &Plan, layer: &Layer) -> PyResult<Vec<Bound<'py, PyDict>>> {
    layer.parts.iter().map(|placed| step_of(py, plan, layer.slot, placed)).collect()
}

/// A part: its name, features that come in and go out, and what else there is to say of a part of this name.
fn step_of<'py>(py: Python<'py>, plan: &Plan, slot: usize, placed: &Placed) -> PyResult<Bound<'py, PyDict>> {
    let result = PyDict::new(py);
    let key = |index: usize| plan.name(slot, index);
    result.set_item("part", placed.part.name())?;
    result.set_item("inputs", placed.features.0)?;
    result.set_item("outputs", placed.features.1)?;
    if let Some(index) = placed.part.linear() {
        result.set_item("key", key(index))?;
        result.set_item("map", map_of(py, plan.slots[slot][index].linear())?)?;
    }
    match &placed.part {
        Part::Map(map) => {
            result.set_item("fed", map.fed.map(key))?;
            result.set_item("stream", map.state)?;
            if let Some(fed) = map.fed {
                result.set_item("inputs_map", map_of(py, plan.slots[slot][fed].linear())?)?;
            }
        }
        Part::Cell(cell) => {
            result.set_item("kind", cell.gates.name())?;
            result.set_item("stream", cell.stream)?;
            result.set_item("key", key(cell.own))?;
        }
        Part::Cut(_) | Part::Steps(_) => (),
        Part::Norm(norm) => {
            result.set_item("kind", norm.norm.text())?;
            result.set_item("key", key(norm.affine))?;
        }
        Part::Phi(phi) => {
            result.set_item("kind", phi.activation.text())?;
            result.set_item("key", phi.slope.map(key))?;
        }
        Part::Attend(attend) => {
            let heads = attend.heads;
            result.set_item("heads", heads.count)?;
            result.set_item("tokens", heads.tokens)?;
            result.set_item("scale", heads.scale)?;
            result.set_item("causal", heads.causal)?;
            result.set_item("eps", heads.eps)?;
        }
        Part::Pool(pool) => {
            result.set_item("kind", pool.way.name())?;
            result.set_item("tokens", pool.tokens)?;
        }
        Part::Drop(drop) => result.set_item("dropped", drop.p)?,
        Part::Keep(keep) => result.set_item("stream", keep.stream)?,
        Part::Join(join) => {
            result.set_item("kind", join.way.name())?;
            result.set_item("stream", join.stream)?;
            result.set_item("scale", join.scale)?;
            result.set_item("around", join.around)?;
            if join.way == skip::Way::Learned {
                result.set_item("key", key(join.learned))?;
                result.set_item("start", plan.slots[slot][join.learned].start())?;
            }
        }
    }
    Ok(result)
}

/// A linear map: its fans, the law of its weights and biases with mean and variance, and what weights go through.
fn map_of<'py>(py: Python<'py>, map: &LinearPlan) -> PyResult<Bound<'py, PyDict>> {
    let result = PyDict::new(py);
    let [mean, variance] = map.moments();
    result.set_item("fan_in", map.fan_in)?;
    result.set_item("fan_out", map.fan_out)?;
    result.set_item("law", map.weight.name())?;
    result.set_item("weight_mean", mean)?;
    result.set_item("weight_variance", variance)?;
    let [mean, variance] = map.bias_moments();
    result.set_item("bias_mean", mean)?;
    result.set_item("bias_variance", variance)?;
    let blocks =
        (0..map.blocks.count()).map(|block| map.moments_of_block(block).into()).collect::<Vec<(f64, f64, f64)>>();
    result.set_item("blocks", PyTuple::new(py, blocks)?)?;
    result.set_item("transform", map.transform.map(|transform| transform.text().clone()))?;
    Ok(result)
}
