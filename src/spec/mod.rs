//! The validated description of a net and of a job: the one place that rejects input.

mod mlp;

pub use mlp::LayerShape;

use crate::activation::Activation;
use crate::error::{Cancel, Error, Result, shown};
use crate::init::Init;
use crate::norm::Norm;
use crate::signature::Call;
use crate::skip::{Skip, Way};
use crate::synonyms::hint;
use crate::transform::Transform;

/// The deepest net that is accepted.
pub const MAX_DEPTH: usize = 1_000_000;
/// The widest layer that is accepted.
pub const MAX_WIDTH: usize = 1_000_000;
/// A value for all hidden layers, or one a layer.
#[derive(Debug, Clone, PartialEq)]
pub enum PerLayer<T> {
    /// One value everywhere.
    All(T),
    /// One a layer, input side first.
    Each(Vec<T>),
}

impl<T> PerLayer<T> {
    /// The value of a 0-based layer.
    pub fn at(&self, layer: usize) -> &T {
        match self {
            Self::All(value) => value,
            Self::Each(values) => &values[layer],
        }
    }

    /// The values without repetition of a single one.
    pub fn values(&self) -> &[T] {
        match self {
            Self::All(value) => std::slice::from_ref(value),
            Self::Each(values) => values,
        }
    }

    fn map<U>(&self, name: &str, depth: usize, mut f: impl FnMut(String, &T) -> Result<U>) -> Result<PerLayer<U>> {
        match self {
            Self::All(value) => Ok(PerLayer::All(f(name.to_owned(), value)?)),
            Self::Each(values) if values.len() == depth => {
                let each = values.iter().enumerate().map(|(i, value)| {
                    Cancel::heed()?;
                    f(format!("{name}[{i}]"), value)
                });
                Ok(PerLayer::Each(each.collect::<Result<_>>()?))
            }
            Self::Each(values) => Err(Error::value(
                name,
                &format!("one value, or one for each of the {depth} layers"),
                format!("{} values", values.len()),
            )),
        }
    }
}

/// The weight of a residual branch as a caller wrote it.
#[derive(Debug, Clone, PartialEq)]
pub enum BranchScale {
    /// A factor by its value.
    Number(f64),
    /// A rule by name.
    Text(String),
}

/// The rule `1 / sqrt(number of blocks)`.
pub const INVERSE_SQRT: &str = "1/sqrt(L)";

/// A net as a caller describes it, nothing checked.
#[derive(Debug, Clone, PartialEq)]
pub struct Request {
    /// Hidden layers.
    pub depth: i128,
    /// Units of the hidden layers.
    pub width: PerLayer<i128>,
    /// Columns of the input; the first width if `None`.
    pub in_features: Option<i128>,
    /// Units of the readout; no readout if `None`.
    pub out_features: Option<i128>,
    /// Activations.
    pub activation: PerLayer<String>,
    /// Weight inits; the last one is the readout's too, unless there is one more than layers.
    pub init: PerLayer<String>,
    /// Bias init; what the weight init brings if `None`.
    pub bias: Option<String>,
    /// Normalisation.
    pub norm: Option<String>,
    /// Where the normalisation stands.
    pub norm_position: String,
    /// Skip connections.
    pub skip: Option<String>,
    /// Weight of a residual branch.
    pub branch_scale: BranchScale,
    /// Layers a skip spans.
    pub block: i128,
    /// What hidden weights go through before they are used.
    pub weight_transform: Option<String>,
    /// One set of parameters for all layers?
    pub tied: bool,
    /// Which layers get the input.
    pub inputs: String,
}

impl Request {
    /// A net of which no more is said: the defaults of Python's `MLP`.
    pub fn new(depth: i128, width: i128) -> Self {
        Self {
            depth,
            width: PerLayer::All(width),
            in_features: None,
            out_features: None,
            activation: PerLayer::All("relu".to_owned()),
            init: PerLayer::All("kaiming_normal".to_owned()),
            bias: None,
            norm: None,
            norm_position: POSITIONS[0].to_owned(),
            skip: None,
            branch_scale: BranchScale::Number(1.0),
            block: 1,
            weight_transform: None,
            tied: false,
            inputs: INPUTS[0].to_owned(),
        }
    }
}

/// Where a normalisation stands.
const POSITIONS: [&str; 2] = ["pre", "post"];
/// Which layers may get the input.
const INPUTS: [&str; 2] = ["first", "every"];

/// A valid net.
#[derive(Debug, Clone, PartialEq)]
pub struct Spec {
    /// Hidden layers.
    pub depth: usize,
    /// Units of the hidden layers.
    pub width: PerLayer<usize>,
    /// Columns of the input, of each step's where every layer gets one.
    pub in_features: usize,
    /// Units of the readout, if there is one.
    pub out_features: Option<usize>,
    /// Activations.
    pub activation: PerLayer<Activation>,
    /// Weight inits; one a layer and the readout's, where they differ.
    pub init: PerLayer<Init>,
    /// Bias init named by the caller.
    pub bias: Option<Init>,
    /// Normalisation, if any.
    pub norm: Option<Norm>,
    /// Does it come after the activation?
    pub post_norm: bool,
    /// Skip, if any.
    pub skip: Option<Skip>,
    /// The factor of a branch.
    pub branch_scale: f64,
    /// Layers that a skip spans.
    pub block: usize,
    /// What hidden weights go through before they are used.
    pub transform: Option<Transform>,
    /// One set of parameters for all layers?
    pub tied: bool,
    /// Does every layer get an input of its own?
    pub fed: bool,
}

/// An integer between two bounds.
pub fn integer(name: &str, given: i128, low: u64, high: u64) -> Result<u64> {
    let fits = u64::try_from(given).ok().filter(|v| (low..=high).contains(v));
    // Callers clamp what does not fit 128 bits.
    let shown = if given.unsigned_abs() >= 1 << 126 { "a number beyond 10^37".to_owned() } else { given.to_string() };
    fits.ok_or_else(|| Error::value(name, &format!("an integer from {low} to {high}"), shown))
}

fn width(name: &str, given: i128) -> Result<usize> {
    integer(name, given, 1, MAX_WIDTH as u64).map(|v| v as usize)
}

fn word(name: &str, given: &str, words: [&str; 2]) -> Result<bool> {
    let refused = || {
        let given = format!("'{}'{}", shown(given), hint(given, words.into_iter()));
        Error::value(name, &format!("'{}' or '{}'", words[0], words[1]), given)
    };
    words.iter().position(|word| *word == given).map(|index| index == 1).ok_or_else(refused)
}

/// Says how widths are given to those who list the input's and the output's among them, as elsewhere.
fn ends_are_apart(request: &Request) -> impl Fn(Error) -> Error + '_ {
    |error| match (&request.width, request.in_features.or(request.out_features), error) {
        // As many as a net of such a depth has, be it counted in hidden layers or in maps.
        (PerLayer::Each(all), None, Error::Value(said))
            if all.len() > 2 && (1..=2).contains(&(all.len() as i128 - request.depth)) =>
        {
            let (first, hidden, last) = (all[0], &all[1..all.len() - 1], all[all.len() - 1]);
            Error::Value(format!(
                "{said}; width lists hidden layers alone: for {} write depth={}, in_features={first}, width={hidden:?}, \
                 out_features={last}",
                all.iter().map(ToString::to_string).collect::<Vec<_>>().join(" -> "),
                hidden.len()
            ))
        }
        (_, _, error) => error,
    }
}

/// A kind that may be left out.
fn optional<T>(name: &str, given: Option<&str>, new: fn(&Call) -> Result<T>) -> Result<Option<T>> {
    match given {
        None => Ok(None),
        // What the shell and other languages call it.
        Some(text) if ["none", "null", "no", "off", "false"].contains(&text.to_lowercase().as_str()) => {
            Err(Error::value(name, "None, or a name", format!("'{text}'")))
        }
        Some(text) => new(&Call::parse(name, text)?).map(Some),
    }
}

impl Spec {
    /// Check a request.
    pub fn new(request: &Request) -> Result<Self> {
        let depth = integer("depth", request.depth, 1, MAX_DEPTH as u64)? as usize;
        let widths = request.width.map("width", depth, |name, &w| width(&name, w)).map_err(ends_are_apart(request))?;
        let activation =
            request.activation.map("activation", depth, |name, text| Activation::new(&Call::parse(&name, text)?))?;
        let (skip, fed) =
            (optional("skip", request.skip.as_deref(), Skip::new)?, word("inputs", &request.inputs, INPUTS)?);
        // Checked without a skip too: a typo is a typo, and a sweep may switch the skip on.
        let block = integer("block", request.block, 1, MAX_DEPTH as u64)? as usize;
        let spec = Self {
            depth,
            in_features: request.in_features.map_or(Ok(*widths.at(0)), |n| width("in_features", n))?,
            out_features: request.out_features.map(|n| width("out_features", n)).transpose()?,
            activation,
            init: inits(&request.init, depth, request.out_features.is_some())?,
            bias: optional("bias", request.bias.as_deref(), Init::for_bias)?,
            norm: optional("norm", request.norm.as_deref(), Norm::new)?,
            post_norm: word("norm_position", &request.norm_position, POSITIONS)?,
            branch_scale: branch_scale(&request.branch_scale, depth, block)?,
            skip,
            block,
            transform: optional("weight_transform", request.weight_transform.as_deref(), Transform::new)?,
            tied: request.tied,
            fed,
            width: widths,
        };
        spec.check_skip()?;
        let layers = spec.layers()?;
        spec.check_ties(&layers)?;
        spec.check_inits(&layers)?;
        Ok(spec)
    }

    /// Columns of the samples: every step's input where each layer gets one.
    pub fn columns(&self) -> usize {
        self.in_features * if self.fed { self.depth } else { 1 }
    }

    /// Columns of the output.
    pub fn output(&self) -> usize {
        let last = || self.layers().ok().and_then(|layers| layers.last().map(|layer| layer.output));
        self.out_features.or_else(last).unwrap_or_default()
    }

    fn check_skip(&self) -> Result<()> {
        let Some(skip) = self.skip else { return Ok(()) };
        let name = skip.signature().name;
        if !self.depth.is_multiple_of(self.block) {
            return Err(Error::value(
                "depth",
                &format!("a multiple of block={} with a {name} skip", self.block),
                self.depth,
            ));
        }
        let scales = matches!(skip.way(), Way::Add | Way::Learned);
        if !scales && self.branch_scale != 1.0 {
            return Err(Error::value(
                "branch_scale",
                &format!("1 with a {name} skip, which has no branch to scale"),
                self.branch_scale,
            ));
        }
        Ok(())
    }

    /// Layers that share their parameters must have one shape.
    fn check_ties(&self, layers: &[LayerShape]) -> Result<()> {
        if !self.tied {
            let message = "inputs='every' goes with tied=True: a recurrent net takes an input at every step";
            return if self.fed { Err(Error::Value(message.to_owned())) } else { Ok(()) };
        }
        if self.skip.is_some_and(|skip| skip.way() == Way::Concatenate) {
            return Err(Error::Value(
                "tied=True cannot have skip='dense': each layer would have more columns than the one before".to_owned(),
            ));
        }
        let same = |name, same| {
            let differ = || Error::value(name, "one for all layers with tied=True", "different ones".to_owned());
            if same { Ok(()) } else { Err(differ()) }
        };
        same("activation", self.activation.values().iter().all(|kind| kind == self.activation.at(0)))?;
        // The readout may have one of its own.
        same("init", self.init.values().iter().take(self.depth).all(|init| init == self.init.at(0)))?;
        let (first, names) = (layers[0], "with tied=True, whose layers share one weight matrix");
        let differs =
            |layer: &&LayerShape| (layer.fan_in, layer.width, layer.output) != (first.fan_in, first.width, first.input);
        match layers.iter().find(differs) {
            None => Ok(()),
            Some(layer) if layer.fan_in != first.fan_in || layer.width != first.width => {
                Err(Error::value("width", &format!("the same everywhere {names}"), layer.width))
            }
            Some(layer) => Err(Error::value(
                "in_features",
                &format!("{}, what a layer gives, {names}; or set inputs='every'", layer.output),
                layer.input,
            )),
        }
    }

    /// Some inits have no numbers for some layers.
    fn check_inits(&self, layers: &[LayerShape]) -> Result<()> {
        let readout = self.out_features.map(|_| None);
        let every = (0..self.depth).map(Some).chain(readout);
        every.into_iter().try_for_each(|layer| {
            Cancel::heed()?;
            self.init_of(layer).check(&self.place(layers, layer))
        })?;
        let equal = |layer: &usize| self.init_of(Some(*layer)).weight(&self.place(layers, Some(*layer))).is_isometry();
        if let (Some(transform), Some(layer)) =
            (self.transform.filter(Transform::by_singular_value), (0..self.depth).find(equal))
        {
            return Err(Error::Value(format!(
                "weight_transform='{}' has no gradient where all singular values are equal, as with init='{}'; choose \
                 another init",
                transform.text(),
                self.init_of(Some(layer)).text()
            )));
        }
        let closed = |layer: &usize| {
            let init = self.init_of(Some(*layer));
            init.depends_on_depth() && init.weight(&self.place(layers, Some(*layer))).is_zero()
        };
        if let (Some(transform), Some(layer)) = (self.transform, (0..self.depth).find(closed)) {
            return Err(Error::Value(format!(
                "init='{}' starts the last layer of a branch at 0, which weight_transform='{}' cannot scale; use one of \
                 them",
                self.init_of(Some(layer)).text(),
                transform.text()
            )));
        }
        let Some(init) = self.init.values().iter().find(|init| init.calibrates()) else { return Ok(()) };
        if let Some(transform) = self.transform {
            return Err(Error::Value(format!(
                "init='{}' scales weights that weight_transform='{}' would scale back; use one of them",
                init.text(),
                transform.text()
            )));
        }
        if self.tied || self.init.values().len() > 1 {
            return Err(Error::Value(format!(
                "init='{}' scales each layer by what the data make of it: it goes neither with tied=True nor with other \
                 inits",
                init.text()
            )));
        }
        Ok(())
    }

    /// The canonical text of all that makes this net, from which its `id` is hashed. Parts at their default are left
    /// out, so that a part added in a later version changes no id.
    pub fn content(&self) -> String {
        format!("depth={};{}", self.depth, self.parts())
    }

    /// The canonical text without the depth: of two nets that share it, the shallower is the beginning of the deeper.
    pub fn family(&self) -> String {
        // Each step of a net that is fed has its own columns, which another depth would lay out differently.
        if self.fed || self.init.values().iter().any(Init::depends_on_depth) { self.content() } else { self.parts() }
    }

    fn parts(&self) -> String {
        let list = |values: Vec<String>| {
            let same = values.iter().all(|v| *v == values[0]);
            if same { values[0].clone() } else { values.join(",") }
        };
        let mut parts = vec![
            format!("width={}", list(self.width.values().iter().map(ToString::to_string).collect())),
            format!("in={}", self.in_features),
            format!("activation={}", list(self.activation.values().iter().map(Activation::text).collect())),
            format!("init={}", list(self.init.values().iter().map(Init::text).collect())),
        ];
        parts.extend(self.out_features.map(|n| format!("out={n}")));
        // A bias that is what the init brings anyway says nothing; two fans tell.
        let brings = |named: &Init| self.init.values().iter().all(|init| init.brings(named));
        parts.extend(self.bias.filter(|bias| !brings(bias)).map(|bias| format!("bias={}", bias.text())));
        parts.extend(self.norm.map(|norm| format!("norm={}", norm.text())));
        parts.extend(self.norm.filter(|_| self.post_norm).map(|_| "norm_position=post".to_owned()));
        parts.extend(self.skip.map(|skip| {
            let scale = match skip.way() {
                Way::Add | Way::Learned => format!(";scale={}", self.branch_scale),
                Way::Gate | Way::Concatenate => String::new(),
            };
            format!("skip={}{scale};block={}", skip.text(), self.block)
        }));
        parts.extend(self.transform.map(|transform| format!("weight_transform={}", transform.text())));
        parts.extend(self.tied.then(|| "tied".to_owned()));
        parts.extend(self.fed.then(|| "inputs=every".to_owned()));
        parts.join(";")
    }
}

/// One init for all maps, or one a layer and one for the readout: where that is not given, the last layer's.
fn inits(given: &PerLayer<String>, depth: usize, readout: bool) -> Result<PerLayer<Init>> {
    let new = |name: String, text: &String| Init::new(&Call::parse(&name, text)?);
    match given {
        PerLayer::Each(values) if readout && values.len() == depth + 1 => given.map("init", depth + 1, new),
        _ => match given.map("init", depth, new)? {
            PerLayer::Each(mut inits) => {
                inits.extend(inits.last().copied());
                Ok(PerLayer::Each(inits))
            }
            all @ PerLayer::All(_) => Ok(all),
        },
    }
}

fn branch_scale(given: &BranchScale, depth: usize, block: usize) -> Result<f64> {
    let allowed = format!("a finite number or '{INVERSE_SQRT}'");
    match given {
        BranchScale::Number(scale) if scale.is_finite() => Ok(*scale),
        BranchScale::Number(scale) => Err(Error::value("branch_scale", &allowed, scale)),
        BranchScale::Text(text) if text == INVERSE_SQRT => Ok(1.0 / ((depth / block).max(1) as f64).sqrt()),
        BranchScale::Text(text) => Err(Error::value("branch_scale", &allowed, format!("'{}'", shown(text)))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::skip::Order;

    fn one(text: &str) -> PerLayer<String> {
        PerLayer::All(text.to_owned())
    }

    #[allow(clippy::unnecessary_wraps)] // As a request has it.
    fn some(text: &str) -> Option<String> {
        Some(text.to_owned())
    }

    fn request() -> Request {
        Request { activation: one("tanh"), init: one("xavier_normal"), ..Request::new(4, 8) }
    }

    fn refusal(change: impl FnOnce(&mut Request)) -> String {
        let mut request = request();
        change(&mut request);
        Spec::new(&request).unwrap_err().to_string()
    }

    #[test]
    fn a_tied_net_takes_lists_that_say_one_thing_and_an_init_of_its_readout() {
        let list = |names: &[&str]| PerLayer::Each(names.iter().map(|&name| name.to_owned()).collect());
        for (depth, inits) in [(1, vec!["eye"]), (2, vec!["eye", "eye"]), (2, vec!["eye", "eye", "zeros"])] {
            let (init, activation) = (list(&inits), list(&["tanh", "tanh"][..depth]));
            let plain = Request::new(depth as i128, 8);
            assert!(Spec::new(&Request { tied: true, out_features: Some(2), init, activation, ..plain }).is_ok());
        }
        let init = list(&["eye", "zeros"]);
        assert!(Spec::new(&Request { tied: true, init, ..Request::new(2, 8) }).is_err());
    }

    #[test]
    fn every_bad_field_is_named_with_what_was_given_and_what_is_allowed() {
        for (message, parts) in [
            (refusal(|r| r.depth = 0), ["depth", "1 to 1000000", "got 0"]),
            (refusal(|r| r.depth = -3), ["depth", "1 to 1000000", "got -3"]),
            (refusal(|r| r.depth = 1_000_000_000_000), ["depth", "1 to 1000000", "got 1000000000000"]),
            (refusal(|r| r.width = PerLayer::All(0)), ["width", "integer from 1", "got 0"]),
            (refusal(|r| r.width = PerLayer::Each(vec![8, 8])), ["width", "4 layers", "got 2 values"]),
            (refusal(|r| r.width = PerLayer::Each(vec![8, 8, 0, 8])), ["width[2]", "integer from 1", "got 0"]),
            (refusal(|r| r.in_features = Some(0)), ["in_features", "integer from 1", "got 0"]),
            (refusal(|r| r.activation = one("tnah")), ["unknown activation 'tnah'", "'tanh'", "linear, sigmoid"]),
            (refusal(|r| r.init = one("xavier")), ["unknown init 'xavier'", "choose from", "zeros"]),
            (refusal(|r| r.init = one("lecun_normal(gain=-1)")), ["gain", "0 or more", "got -1"]),
            (refusal(|r| r.init = one("lecun_normal(gain=nan)")), ["gain", "finite", "got NaN"]),
            (refusal(|r| r.bias = Some("orthogonal".to_owned())), ["bias", "zeros, constant", "'orthogonal'"]),
            (
                refusal(|r| r.skip = Some("residul".to_owned())),
                ["unknown skip", "did you mean 'residual'", "choose from"],
            ),
            (refusal(|r| r.branch_scale = BranchScale::Number(f64::NAN)), ["branch_scale", "finite", "NaN"]),
            (
                refusal(|r| r.branch_scale = BranchScale::Text("1/L".to_owned())),
                ["branch_scale", "'1/sqrt(L)'", "'1/L'"],
            ),
            (refusal(|r| r.block = 0), ["block", "integer from 1", "got 0"]),
            (refusal(|r| (r.skip, r.block) = (some("residual"), 3)), ["depth", "multiple of block=3", "got 4"]),
            (
                refusal(|r| (r.skip, r.width) = (some("residual"), PerLayer::Each(vec![8, 8, 4, 4]))),
                ["as many features at both ends", "8 before layer 2", "width[2]=4"],
            ),
            (
                refusal(|r| (r.skip, r.width) = (some("highway"), PerLayer::Each(vec![8, 8, 4, 4]))),
                ["a highway skip", "8 before layer 2", "4 after layer 2"],
            ),
            (
                refusal(|r| (r.skip, r.activation) = (some("residual(order=post)"), one("crelu"))),
                ["as many features", "16 before layer 1", "8 after layer 1"],
            ),
            (
                refusal(|r| (r.activation, r.width) = (one("glu"), PerLayer::All(7))),
                ["width", "'glu'", "even, for half of its units are gates, got 7"],
            ),
            (refusal(|r| r.norm = some("bacth")), ["unknown norm 'bacth'", "did you mean 'batch'", "rms"]),
            (refusal(|r| r.norm = some("none")), ["norm must be None", "a name", "'none'"]),
            (refusal(|r| r.norm = some("layer(eps=-1)")), ["eps", "0 or more", "got -1"]),
            (refusal(|r| r.norm_position = "mid".to_owned()), ["norm_position", "'pre' or 'post'", "'mid'"]),
            (refusal(|r| r.skip = some("residual(before)")), ["order", "after, linear, post, pre", "'before'"]),
            (
                refusal(|r| (r.skip, r.branch_scale) = (some("dense"), BranchScale::Number(0.5))),
                ["branch_scale", "1 with a dense skip", "got 0.5"],
            ),
            (
                refusal(|r| r.weight_transform = some("weightnorm")),
                ["unknown weight_transform", "weight_standardization", "spectral_norm"],
            ),
            (
                refusal(|r| (r.weight_transform, r.init) = (some("spectral_norm"), one("orthogonal"))),
                ["spectral_norm", "all singular values are equal", "init='orthogonal'"],
            ),
            (
                refusal(|r| (r.weight_transform, r.init) = (some("standardize"), one("lsuv"))),
                ["lsuv", "scales weights", "weight_standardization"],
            ),
            (
                refusal(|r| {
                    (r.skip, r.weight_transform, r.init) = (some("residual"), some("standardize"), one("fixup"));
                }),
                ["fixup", "starts the last layer", "weight_standardization"],
            ),
            (refusal(|r| (r.tied, r.init) = (true, one("lsuv"))), ["lsuv", "each layer", "tied=True"]),
            (refusal(|r| (r.tied, r.skip) = (true, some("dense"))), ["tied=True", "dense", "more columns"]),
            (refusal(|r| (r.tied, r.in_features) = (true, Some(3))), ["in_features must be 8", "share", "'every'"]),
            (
                refusal(|r| (r.tied, r.width) = (true, PerLayer::Each(vec![8, 8, 8, 4]))),
                ["width", "the same everywhere", "got 4"],
            ),
            (
                refusal(|r| {
                    let kinds = ["tanh", "relu", "tanh", "tanh"].map(str::to_owned);
                    (r.tied, r.activation) = (true, PerLayer::Each(kinds.to_vec()));
                }),
                ["activation", "one for all layers", "different ones"],
            ),
            (refusal(|r| r.inputs = "every".to_owned()), ["inputs='every'", "tied=True", "recurrent"]),
            (refusal(|r| r.inputs = "all".to_owned()), ["inputs", "'first' or 'every'", "'all'"]),
            (
                refusal(|r| r.init = PerLayer::Each(vec!["zeros".to_owned(); 5])),
                ["init", "one for each of the 4 layers", "5 values"],
            ),
        ] {
            for part in parts {
                assert!(message.contains(part), "'{part}' is missing in: {message}");
            }
        }
    }

    #[test]
    fn content_is_the_same_for_every_way_to_write_a_net() {
        let plain = Spec::new(&request()).unwrap().content();
        let spelled = Request {
            width: PerLayer::Each(vec![8; 4]),
            in_features: Some(8),
            activation: PerLayer::Each(vec!["tanh".to_owned(); 4]),
            init: PerLayer::Each(vec!["xavier_normal(gain=1.0)".to_owned(); 4]),
            norm_position: "post".to_owned(),
            block: 2,
            ..request()
        };
        assert_eq!(Spec::new(&spelled).unwrap().content(), plain);
        assert_eq!(plain, "depth=4;width=8;in=8;activation=tanh;init=xavier_normal");
    }

    fn layers(change: impl FnOnce(&mut Request)) -> Vec<(usize, usize, usize, usize, bool)> {
        let mut request = request();
        change(&mut request);
        let layers = Spec::new(&request).unwrap().layers().unwrap();
        layers.iter().map(|l| (l.input, l.fan_in, l.width, l.output, l.from.is_some())).collect()
    }

    #[test]
    fn widths_follow_from_what_activations_and_skips_make_of_them() {
        let plain = [(8, 8, 8, 8, false); 4];
        assert_eq!(layers(|_| ()), plain);
        assert_eq!(
            layers(|r| r.activation = one("glu")),
            [(8, 8, 8, 4, false), (4, 4, 8, 4, false), (4, 4, 8, 4, false), (4, 4, 8, 4, false)]
        );
        assert_eq!(layers(|r| r.activation = one("crelu"))[1], (16, 16, 8, 16, false));
        // An activation before the map: its outputs are what the map gets.
        let pre = layers(|r| (r.activation, r.skip) = (one("crelu"), some("residual(order=pre)")));
        assert_eq!(pre, [(8, 16, 8, 8, true); 4]);
        let dense = layers(|r| (r.skip, r.in_features, r.block) = (some("dense"), Some(3), 2));
        assert_eq!(dense, [(3, 3, 8, 8, false), (8, 8, 8, 11, true), (11, 11, 8, 8, false), (8, 8, 8, 19, true)]);
    }

    #[test]
    fn a_first_block_that_changes_the_width_has_no_skip_and_is_activated_throughout() {
        for skip in ["residual", "residual(order=linear)", "residual(order=pre)", "rezero", "highway"] {
            let mut request = Request { skip: some(skip), block: 2, in_features: Some(3), ..request() };
            let of = |request: &Request| Spec::new(request).unwrap().layers().unwrap();
            let layers = of(&request);
            assert!(layers[..2].iter().all(|l| l.from.is_none() && l.order == Order::After), "{skip}");
            assert_eq!(layers[1].activation.text(), "tanh", "{skip}");
            assert_eq!(layers[3].from, Some(2), "{skip}");
            request.in_features = None;
            assert_eq!(of(&request)[1].from, Some(0), "{skip}");
        }
    }
}
