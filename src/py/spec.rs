//! Specs: fields come in, the checked spec is kept, and the canonical fields go out.

use super::convert::{argument, integer, optional, per_layer, per_layer_object, text, type_error};
use crate::activation::Activation;
use crate::error::Error;
use crate::init::Init;
use crate::plan::Plan;
use crate::signature::Argument;
use crate::spec::{BranchScale, PerLayer, Request, Spec};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::PyDict;
use std::sync::{Arc, OnceLock};

/// A spec that has been checked once, and that the Python object which it belongs to keeps.
#[pyclass(frozen, name = "Spec", module = "vgcore._core")]
pub struct Checked {
    request: Request,
    pub spec: Spec,
    plan: OnceLock<Arc<Plan>>,
}

impl Checked {
    /// The plan.
    pub fn plan(&self) -> Arc<Plan> {
        self.small_plan().unwrap_or_else(|| Arc::new(Plan::new(&self.spec)))
    }

    /// The plan of a shallow net, which is kept from the first time on. Beside the work of a deep net its plan costs
    /// little, and a list of specs would hold much.
    pub fn small_plan(&self) -> Option<Arc<Plan>> {
        /// Layers of a plan that is kept, about 1 KB each.
        const KEPT: usize = 64;
        (self.spec.depth <= KEPT).then(|| Arc::clone(self.plan.get_or_init(|| Arc::new(Plan::new(&self.spec)))))
    }
}

/// The checked spec of an `MLP`.
pub fn checked_of<'py>(mlp: &Bound<'py, PyAny>) -> PyResult<Bound<'py, Checked>> {
    let checked = mlp.getattr(intern!(mlp.py(), "_checked")).map_err(|_| type_error("spec", "an MLP", mlp))?;
    checked.cast_into::<Checked>().map_err(|_| type_error("spec", "an MLP", mlp))
}

pub fn spec_of(mlp: &Bound<'_, PyAny>) -> PyResult<Spec> {
    Ok(checked_of(mlp)?.get().spec.clone())
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
        Ok(Self { spec: Spec::new(&request)?, request, plan: OnceLock::new() })
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
