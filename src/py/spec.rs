//! Specs: fields come in, the checked spec is kept, and the canonical fields go out.

use super::background::detached;
use super::convert::{
    argument, integer, is_bool, number as real, optional, per_layer, per_layer_object, refused, text, truth, type_error,
};
use super::kinds::kind_text;
use crate::activation::Activation;
use crate::activation::custom::{self, Held};
use crate::error::Error;
use crate::init::Init;
use crate::memory::check_memory;
use crate::part::Pooling;
use crate::plan::Plan;
use crate::signature::Argument;
use crate::spec::{
    Bias, BranchScale, MAX_DEPTH, Mlp, MlpRequest, PerLayer, Position, Rnn, RnnRequest, Sequential, SequentialRequest,
    Spec, Transformer, TransformerRequest,
};
use pyo3::exceptions::PyAttributeError;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString, PyTuple};
use std::sync::{Arc, OnceLock};

/// A spec that has been checked once, and that the Python object which it belongs to keeps.
#[pyclass(frozen, name = "Spec", module = "vgcore._core")]
pub struct Checked {
    /// The fields of an MLP as they were given.
    request: Option<Box<MlpRequest>>,
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
        let (spec, depth) = (self.spec.clone(), self.spec.depth());
        let bytes = PLANNED * depth as u128 + spec.stream_bytes();
        check_memory("the plan of this net", bytes, format!("lower {}", spec.sizes()))?;
        detached(py, SECONDS * depth as f64, move |_| Ok(Arc::new(Plan::of_job(&spec)?)))
    }

    /// The plan of a shallow net, which is kept from the first time on. Beside the work of a deep net its plan costs
    /// little, and a list of specs would hold much.
    pub fn small_plan(&self) -> Option<Arc<Plan>> {
        /// Layers of a plan that is kept, about 1 KB each.
        const KEPT: usize = 64;
        (self.spec.depth() <= KEPT).then(|| Arc::clone(self.plan.get_or_init(|| Arc::new(Plan::new(&self.spec)))))
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

/// Reads fields by name; those that are not given are as in [`MlpRequest::new`].
fn request_of(fields: &Bound<'_, PyDict>) -> PyResult<MlpRequest> {
    let mut request = MlpRequest::new(1, 1);
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
            "bias" => request.bias = biases(name, &value)?,
            "norm" => request.norm = per_layer(name, &value, |place, v| optional(v, |v| kind_text(name, place, v)))?,
            "norm_position" => request.norm_position = per_layer(name, &value, text)?,
            "dropout" => request.dropout = per_layer(name, &value, |place, v| real(place, "a number", v))?,
            "stem" => request.stem = integer(name, &value)?,
            "final_norm" => request.final_norm = optional(&value, |v| kind_text("norm", name, v))?,
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

/// Biases: None for what the init brings, False for none at all, or an init.
fn biases(name: &str, given: &Bound<'_, PyAny>) -> PyResult<PerLayer<Bias<String>>> {
    per_layer(name, given, bias)
}

/// The biases of a map: None for what the init brings, False for none at all, or an init.
fn bias(place: &str, given: &Bound<'_, PyAny>) -> PyResult<Bias<String>> {
    match given {
        none if none.is_none() => Ok(Bias::Brought),
        absent if is_bool(absent)? && !absent.is_truthy()? => Ok(Bias::Absent),
        named => kind_text("init", place, named).map(Bias::Named),
    }
}

/// Reads a list of parts, whose texts may be kinds.
fn given_of(fields: &Bound<'_, PyDict>) -> PyResult<SequentialRequest> {
    let mut given = SequentialRequest {
        parts: Vec::new(),
        in_features: 0,
        init: MlpRequest::new(1, 1).init,
        bias: PerLayer::All(Bias::Brought),
    };
    for (name, value) in fields {
        let name = name.cast::<PyString>()?.to_str()?;
        match name {
            "parts" => {
                given.parts = match per_layer(name, &value, text)? {
                    PerLayer::All(_) => return Err(type_error(name, "a list of texts", &value)),
                    PerLayer::Each(texts) | PerLayer::Pattern(_, texts) => texts,
                }
            }
            "in_features" => given.in_features = integer(name, &value)?,
            "init" => given.init = per_layer(name, &value, |place, v| kind_text(name, place, v))?,
            "bias" => given.bias = biases(name, &value)?,
            _ => return Err(Error::Value(format!("unknown field '{name}'")).into()),
        }
    }
    Ok(given)
}

/// Reads the fields of a recurrent net.
fn rnn_asked_of(fields: &Bound<'_, PyDict>) -> PyResult<RnnRequest> {
    let mut asked = RnnRequest::new(1, 1);
    for (name, value) in fields {
        let name = name.cast::<PyString>()?.to_str()?;
        let kind = |sort: &str| kind_text(sort, name, &value);
        match name {
            "steps" => asked.steps = integer(name, &value)?,
            "width" => asked.width = integer(name, &value)?,
            "in_features" => asked.in_features = integer(name, &value)?,
            "out_features" => asked.out_features = optional(&value, |v| integer(name, v))?,
            "cell" => asked.cell = kind("cell")?,
            "layers" => asked.layers = integer(name, &value)?,
            "outputs" => asked.outputs = text(name, &value)?,
            "init" => asked.init = kind("init")?,
            "recurrent_init" => asked.recurrent_init = kind("init")?,
            "bias" => {
                asked.bias = match biases(name, &value)? {
                    PerLayer::All(bias) => bias,
                    _ => return Err(type_error(name, "None, False or an init", &value)),
                }
            }
            "biases" => asked.biases = integer(name, &value)?,
            "norm" => asked.norm = optional(&value, |v| kind_text("norm", name, v))?,
            "truncate" => asked.truncate = optional(&value, |v| integer(name, v))?,
            _ => return Err(Error::Value(format!("unknown field '{name}'")).into()),
        }
    }
    Ok(asked)
}

/// Reads the fields of a transformer by name; those that are not given are as in [`TransformerRequest::new`].
fn asked_of(fields: &Bound<'_, PyDict>) -> PyResult<TransformerRequest> {
    let mut asked = TransformerRequest::new(1, 4);
    for (name, value) in fields {
        let name = name.cast::<PyString>()?.to_str()?;
        let kind = |sort: &str| optional(&value, |v| kind_text(sort, name, v));
        let word = || optional(&value, |v| text(name, v));
        let number = || optional(&value, |v| whole(name, v));
        match name {
            "depth" => asked.depth = whole(name, &value)?,
            "width" => asked.width = whole(name, &value)?,
            "heads" => asked.heads = whole(name, &value)?,
            "tokens" => asked.tokens = whole(name, &value)?,
            "in_features" => asked.in_features = number()?,
            "out_features" => asked.out_features = number()?,
            "pool" => asked.pool = word()?,
            "ffn" => asked.ffn = whole(name, &value)?,
            "activation" => asked.activation = kind_text(name, name, &value)?,
            "norm" => asked.norm = kind("norm")?,
            "norm_position" => asked.norm_position = text(name, &value)?,
            "skip" => asked.skip = word()?,
            "causal" => asked.causal = truth(name, &value)?,
            "qk_norm" => asked.qk_norm = truth(name, &value)?,
            "final_norm" => asked.final_norm = kind("norm")?,
            "scale" => asked.scale = text(name, &value)?,
            "init" => asked.init = kind_text(name, name, &value)?,
            "bias" => asked.bias = bias(name, &value)?,
            _ => return Err(Error::Value(format!("unknown field '{name}'")).into()),
        }
    }
    Ok(asked)
}

/// The fields of a recurrent net by name.
fn steps_of<'py>(py: Python<'py>, spec: &Rnn) -> PyResult<Bound<'py, PyDict>> {
    let fields = PyDict::new(py);
    fields.set_item("steps", spec.steps)?;
    fields.set_item("width", spec.width)?;
    fields.set_item("in_features", spec.in_features)?;
    fields.set_item("out_features", spec.out_features)?;
    fields.set_item("cell", spec.cell.text())?;
    fields.set_item("layers", spec.layers)?;
    fields.set_item("outputs", if spec.every { "every" } else { "last" })?;
    fields.set_item("init", spec.init.text())?;
    fields.set_item("recurrent_init", spec.recurrent_init.text())?;
    fields.set_item("bias", bias_object(py, &PerLayer::All(spec.bias))?)?;
    fields.set_item("biases", if spec.two_biases { 2 } else { 1 })?;
    fields.set_item("norm", spec.norm.map(|norm| norm.text()))?;
    fields.set_item("truncate", spec.truncate)?;
    Ok(fields)
}

/// An integer, and no boolean.
fn whole(name: &str, value: &Bound<'_, PyAny>) -> PyResult<i128> {
    if is_bool(value)? { Err(type_error(name, "an integer", value)) } else { integer(name, value) }
}

/// The values of a field as they were given, and one for the readout where that was too.
fn with_readout<T: Clone, G>(hidden: &PerLayer<T>, readout: &T, given: &PerLayer<G>) -> PerLayer<T> {
    if let PerLayer::All(_) = given {
        return PerLayer::All(readout.clone());
    }
    let mut values = hidden.values().to_vec();
    values.extend((given.values().len() > values.len()).then(|| readout.clone()));
    PerLayer::Each(values)
}

/// An object of biases.
fn bias_object<'py>(py: Python<'py>, biases: &PerLayer<Bias<Init>>) -> PyResult<Bound<'py, PyAny>> {
    per_layer_object(py, biases, |bias| match bias {
        Bias::Brought => None,
        Bias::Absent => Some(BiasObject::Absent(false)),
        Bias::Named(init) => Some(BiasObject::Named(init.text())),
    })
}

#[derive(IntoPyObject)]
enum BiasObject {
    Absent(bool),
    Named(String),
}

/// The fields of an MLP by name.
fn fields_of<'py>(py: Python<'py>, request: &MlpRequest, spec: &Mlp) -> PyResult<Bound<'py, PyDict>> {
    let fields = PyDict::new(py);
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
    let inits = with_readout(&spec.init.hidden, &spec.init.readout, &request.init);
    set!("init", per_layer_object(py, &inits, Init::text)?);
    set!("bias", bias_object(py, &with_readout(&spec.bias.hidden, &spec.bias.readout, &request.bias))?);
    set!("norm", per_layer_object(py, &spec.norm, |norm| norm.map(|norm| norm.text()))?);
    set!("norm_position", per_layer_object(py, &spec.position, |position| Position::name(*position))?);
    set!("final_norm", spec.final_norm.map(|norm| norm.text()));
    set!("skip", spec.skip.map(|skip| skip.text()));
    match &request.branch_scale {
        BranchScale::Number(scale) => set!("branch_scale", scale),
        BranchScale::Text(rule) => set!("branch_scale", rule),
    }
    set!("block", request.block);
    set!("stem", request.stem);
    set!("dropout", per_layer_object(py, &spec.dropout, |share| *share)?);
    set!("weight_transform", spec.transform.map(|transform| transform.text()));
    set!("tied", request.tied);
    set!("inputs", &request.inputs);
    Ok(fields)
}

/// The fields of a list of parts by name.
fn parts_of<'py>(py: Python<'py>, spec: &Sequential) -> PyResult<Bound<'py, PyDict>> {
    let fields = PyDict::new(py);
    fields.set_item("parts", PyTuple::new(py, spec.texts())?)?;
    fields.set_item("in_features", spec.in_features)?;
    fields.set_item("init", per_layer_object(py, spec.init(), Init::text)?)?;
    fields.set_item("bias", bias_object(py, spec.biases())?)?;
    Ok(fields)
}

/// The fields of a transformer by name.
fn blocks_of<'py>(py: Python<'py>, spec: &Transformer) -> PyResult<Bound<'py, PyDict>> {
    let fields = PyDict::new(py);
    fields.set_item("depth", spec.blocks)?;
    fields.set_item("width", spec.width)?;
    fields.set_item("heads", spec.heads)?;
    fields.set_item("tokens", spec.tokens)?;
    fields.set_item("in_features", spec.asked_in)?;
    fields.set_item("out_features", spec.out_features)?;
    fields.set_item("pool", spec.pool.map(Pooling::name))?;
    fields.set_item("ffn", spec.ffn)?;
    fields.set_item("activation", spec.activation.text())?;
    fields.set_item("norm", spec.norm.map(|norm| norm.text()))?;
    fields.set_item("norm_position", spec.position.name())?;
    fields.set_item("skip", spec.skip_name())?;
    fields.set_item("causal", spec.causal)?;
    fields.set_item("qk_norm", spec.qk_norm)?;
    fields.set_item("final_norm", spec.asked_final.as_ref())?;
    fields.set_item("scale", spec.scale_name())?;
    fields.set_item("init", spec.init.text())?;
    fields.set_item("bias", bias_object(py, &PerLayer::All(spec.bias))?)?;
    Ok(fields)
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
        let tables = custom::held(&spec.activations());
        Ok(Self { spec, request: Some(Box::new(request)), plan: OnceLock::new(), tables })
    }

    /// Check a list of parts, given by name.
    #[staticmethod]
    fn of_parts(fields: &Bound<'_, PyDict>) -> PyResult<Self> {
        let (py, given) = (fields.py(), given_of(fields)?);
        // Each map looks at all sums around it.
        let seconds = 1e-8 * given.parts.len().pow(2) as f64;
        let spec = detached(py, seconds, move |_| Spec::of_parts(&given))?;
        let tables = custom::held(&spec.activations());
        Ok(Self { spec, request: None, plan: OnceLock::new(), tables })
    }

    /// Check the fields of a recurrent net, given by name.
    #[staticmethod]
    fn of_steps(fields: &Bound<'_, PyDict>) -> PyResult<Self> {
        let spec = Spec::of_steps(&rnn_asked_of(fields)?)?;
        Ok(Self { spec, request: None, plan: OnceLock::new(), tables: Vec::new() })
    }

    /// Check the fields of a transformer, given by name; those that are missing have their default.
    #[staticmethod]
    fn of_blocks(fields: &Bound<'_, PyDict>) -> PyResult<Self> {
        let spec = Spec::of_blocks(&asked_of(fields)?)?;
        let tables = custom::held(&spec.activations());
        Ok(Self { spec, request: None, plan: OnceLock::new(), tables })
    }

    /// Units of the hidden layers, input side first.
    fn widths(&self, py: Python<'_>) -> PyResult<Vec<usize>> {
        Ok(self.plan(py)?.rows.clone())
    }

    /// Rows of a probe: every layer of a plan that counts has one map.
    fn rows(&self) -> usize {
        self.spec.depth()
    }

    /// The names in a state dict of the rows' maps, input side first.
    fn row_names(&self, py: Python<'_>) -> PyResult<Vec<String>> {
        Ok(self.plan(py)?.row_names())
    }

    /// The names of the columns that a probe of the net has beside those of every net.
    fn extra(&self, py: Python<'_>) -> PyResult<Vec<String>> {
        Ok(if self.spec.extra() == 0 { Vec::new() } else { self.plan(py)?.extra.to_vec() })
    }

    /// Columns of the readout; None without one.
    fn readout(&self) -> Option<usize> {
        match &self.spec {
            Spec::Mlp(mlp) => mlp.out_features,
            Spec::Sequential(list) => list.out_features(),
            Spec::Rnn(rnn) => rnn.out_features,
            Spec::Transformer(blocks) => blocks.out_features,
        }
    }

    /// All fields by name, kinds in canonical spelling.
    fn fields<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        match (&self.request, &self.spec) {
            (Some(request), Spec::Mlp(mlp)) => fields_of(py, request, mlp),
            (None, Spec::Sequential(list)) => parts_of(py, list),
            (None, Spec::Rnn(rnn)) => steps_of(py, rnn),
            (None, Spec::Transformer(blocks)) => blocks_of(py, blocks),
            _ => unreachable!("an MLP has fields, and nothing else"),
        }
    }

    /// The text that an id is hashed from.
    fn content(&self, py: Python<'_>) -> PyResult<String> {
        let (spec, longest) = (self.spec.clone(), self.spec.listed());
        check_memory("the id of this spec", 200 * longest as u128, "lower depth")?;
        detached(py, SECONDS * longest as f64, move |_| Ok(spec.content()))
    }
}
