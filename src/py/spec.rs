//! Specs: fields come in, the checked spec is kept, and the canonical fields go out.

use super::background::detached;
use super::convert::{
    argument, integer, is_bool, optional, per_layer, per_layer_object, refused, text, truth, type_error,
};
use super::kinds::kind_text;
use crate::activation::Activation;
use crate::activation::custom::{self, Held};
use crate::error::Error;
use crate::init::Init;
use crate::memory::check_memory;
use crate::plan::Plan;
use crate::signature::Argument;
use crate::spec::{BranchScale, MAX_DEPTH, PerLayer, Request, Spec};
use pyo3::exceptions::PyAttributeError;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString};
use std::sync::{Arc, OnceLock};

/// A spec that has been checked once, and that the Python object which it belongs to keeps.
#[pyclass(frozen, name = "Spec", module = "vgcore._core")]
pub struct Checked {
    request: Request,
    pub spec: Spec,
    plan: OnceLock<Arc<Plan>>,
    /// Keeps the tables of custom activations.
    #[allow(dead_code)] // Held, not read.
    tables: Vec<Arc<Held>>,
}

/// Bytes of a layer while a spec is checked: its shape, and texts, kinds and widths where each has its own.
const CHECKED: u128 = 600;

/// Bytes of a layer of a plan: parts, parameters, and the shapes that they are made from.
const PLANNED: u128 = 2000;

/// Seconds that a layer takes to be checked, or to be planned.
const SECONDS: f64 = 1e-6;

impl Checked {
    /// The plan.
    pub fn plan(&self, py: Python<'_>) -> PyResult<Arc<Plan>> {
        if let Some(plan) = self.small_plan() {
            return Ok(plan);
        }
        let (spec, depth) = (self.spec.clone(), self.spec.depth);
        check_memory("the plan of this net", PLANNED * depth as u128, "lower depth")?;
        detached(py, SECONDS * depth as f64, move |_| Ok(Arc::new(Plan::of_job(&spec)?)))
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
    let refusal = || type_error("spec", "an MLP", mlp);
    let checked = mlp.getattr(intern!(mlp.py(), "_checked")).map_err(|error| {
        // Whatever a lack of attributes comes from: a record of NumPy looks for a key.
        if error.is_instance_of::<PyAttributeError>(mlp.py()) { refusal() } else { refused(mlp.py(), error, refusal) }
    })?;
    checked.cast_into::<Checked>().map_err(|_| refusal())
}

pub fn spec_of(mlp: &Bound<'_, PyAny>) -> PyResult<Spec> {
    Ok(checked_of(mlp)?.get().spec.clone())
}

/// Reads fields by name; those that are not given are as in [`Request::new`].
fn request_of(fields: &Bound<'_, PyDict>) -> PyResult<Request> {
    let mut request = Request::new(1, 1);
    for (name, value) in fields {
        let name = name.cast::<PyString>()?.to_str()?;
        let kind = |sort: &str| optional(&value, |v| kind_text(sort, name, v));
        let kinds = || per_layer(name, &value, |place, v| kind_text(name, place, v));
        let number = || {
            optional(&value, |v| {
                if is_bool(v)? { Err(type_error(name, "None or an integer", v)) } else { integer(name, v) }
            })
        };
        match name {
            "depth" => request.depth = integer(name, &value)?,
            "width" => request.width = per_layer(name, &value, integer)?,
            "in_features" => request.in_features = number()?,
            "out_features" => request.out_features = number()?,
            "activation" => request.activation = kinds()?,
            "init" => request.init = kinds()?,
            "bias" => request.bias = kind("init")?,
            "norm" => request.norm = kind(name)?,
            "norm_position" => request.norm_position = text(name, &value)?,
            "skip" => request.skip = kind(name)?,
            "branch_scale" => {
                request.branch_scale = match argument(name, &value)? {
                    Argument::Number(scale) => BranchScale::Number(scale),
                    Argument::Word(rule) => BranchScale::Text(rule),
                }
            }
            "block" => request.block = integer(name, &value)?,
            "weight_transform" => request.weight_transform = kind(name)?,
            "tied" => request.tied = truth(name, &value)?,
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
        /// Layers that are checked in less time than a thread takes to start.
        const FEW: i128 = 300;
        let (py, request) = (fields.py(), request_of(fields)?);
        let (request, spec) = if request.depth < FEW {
            let spec = Spec::new(&request)?;
            (request, spec)
        } else {
            let depth = request.depth.min(MAX_DEPTH as i128);
            check_memory("this spec", CHECKED * depth as u128, "lower depth")?;
            detached(py, SECONDS * depth as f64, move |_| Spec::new(&request).map(|spec| (request, spec)))?
        };
        let tables = custom::held(spec.activation.values());
        Ok(Self { spec, request, plan: OnceLock::new(), tables })
    }

    /// All fields by name, kinds in canonical spelling.
    fn fields<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let (request, spec, fields) = (&self.request, &self.spec, PyDict::new(py));
        // Names that were made once: as in every dictionary of fields, which then need not compare letters.
        macro_rules! set {
            ($name:literal, $value:expr) => {
                fields.set_item(intern!(py, $name), $value)?
            };
        }
        set!("depth", spec.depth);
        set!("width", per_layer_object(py, &spec.width, |w| *w)?);
        set!("in_features", request.in_features);
        set!("out_features", request.out_features);
        set!("activation", per_layer_object(py, &spec.activation, Activation::text)?);
        // As many as were given: one for the readout is added inside.
        let inits = match &request.init {
            PerLayer::All(_) => spec.init.clone(),
            PerLayer::Each(given) => PerLayer::Each(spec.init.values()[..given.len()].to_vec()),
        };
        set!("init", per_layer_object(py, &inits, Init::text)?);
        set!("bias", spec.bias.map(|bias| bias.text()));
        set!("norm", spec.norm.map(|norm| norm.text()));
        set!("norm_position", &request.norm_position);
        set!("skip", spec.skip.map(|skip| skip.text()));
        match &request.branch_scale {
            BranchScale::Number(scale) => set!("branch_scale", scale),
            BranchScale::Text(rule) => set!("branch_scale", rule),
        }
        set!("block", request.block);
        set!("weight_transform", spec.transform.map(|transform| transform.text()));
        set!("tied", request.tied);
        set!("inputs", &request.inputs);
        Ok(fields)
    }

    /// The text that an id is hashed from.
    fn content(&self, py: Python<'_>) -> PyResult<String> {
        let listed =
            [self.spec.width.values().len(), self.spec.activation.values().len(), self.spec.init.values().len()];
        let (spec, longest) = (self.spec.clone(), listed.into_iter().max().unwrap_or(0));
        check_memory("the id of this spec", 200 * longest as u128, "lower depth")?;
        detached(py, SECONDS * longest as f64, move |_| Ok(spec.content()))
    }
}
