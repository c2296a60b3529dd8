//! A net of layers of one recipe: its fields, and what is allowed.

use super::lower::LayerShape;
use super::per_layer::{Layers, Maps, PerLayer};
use super::{MAX_DEPTH, integer, optional, width, word};
use crate::activation::Activation;
use crate::error::{Cancel, Error, Result, shown};
use crate::init::Init;
use crate::norm::Norm;
use crate::signature::Call;
use crate::skip::{Skip, Way};
use crate::transform::Transform;

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
pub struct MlpRequest {
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
    /// Biases; the last one is the readout's too, unless there is one more than layers.
    pub bias: PerLayer<Bias<String>>,
    /// Normalisations.
    pub norm: PerLayer<Option<String>>,
    /// Where a normalisation stands.
    pub norm_position: PerLayer<String>,
    /// The share of what a layer gives that is dropped in training.
    pub dropout: PerLayer<f64>,
    /// Layers before the first block.
    pub stem: i128,
    /// Normalisation of what the last hidden layer gives.
    pub final_norm: Option<String>,
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

/// The biases of a map as a caller wrote them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bias<I> {
    /// What the init of the weights brings.
    Brought,
    /// None at all.
    Absent,
    /// Drawn as this init has them.
    Named(I),
}

impl<I> Bias<I> {
    /// The init that is named.
    pub fn named(&self) -> Option<&I> {
        match self {
            Self::Named(init) => Some(init),
            _ => None,
        }
    }
}

impl Bias<String> {
    /// The biases that are meant.
    pub(super) fn checked(&self, name: &str) -> Result<Bias<Init>> {
        Ok(match self {
            Self::Brought => Bias::Brought,
            Self::Absent => Bias::Absent,
            // Named but for None: the call itself tells what is wrong.
            Self::Named(text) => optional(name, Some(text), Init::for_bias)?.map_or(Bias::Brought, Bias::Named),
        })
    }
}

/// Where the normalisation of a layer stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Position {
    /// Before the activation.
    Pre,
    /// Behind the activation.
    Post,
    /// Before the map.
    Input,
}

impl Position {
    /// All of them by their names.
    const NAMES: [&str; 3] = ["pre", "post", "input"];

    fn named(name: &str, text: &str) -> Result<Self> {
        word(name, text, &Self::NAMES).map(|index| [Self::Pre, Self::Post, Self::Input][index])
    }

    /// The name.
    pub fn name(self) -> &'static str {
        Self::NAMES[self as usize]
    }
}

impl MlpRequest {
    /// A net of which no more is said: the defaults of Python's `MLP`.
    pub fn new(depth: i128, width: i128) -> Self {
        Self {
            depth,
            width: PerLayer::All(width),
            in_features: None,
            out_features: None,
            activation: PerLayer::All("relu".to_owned()),
            init: PerLayer::All("kaiming_normal".to_owned()),
            bias: PerLayer::All(Bias::Brought),
            norm: PerLayer::All(None),
            norm_position: PerLayer::All(Position::NAMES[0].to_owned()),
            dropout: PerLayer::All(0.0),
            stem: 0,
            final_norm: None,
            skip: None,
            branch_scale: BranchScale::Number(1.0),
            block: 1,
            weight_transform: None,
            tied: false,
            inputs: INPUTS[0].to_owned(),
        }
    }
}

/// Which layers may get the input.
const INPUTS: [&str; 2] = ["first", "every"];

/// A valid net of layers of one recipe.
#[derive(Debug, Clone, PartialEq)]
pub struct Mlp {
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
    /// Weight inits.
    pub init: Maps<Init>,
    /// Biases.
    pub bias: Maps<Bias<Init>>,
    /// Normalisations.
    pub norm: PerLayer<Option<Norm>>,
    /// Where they stand.
    pub position: PerLayer<Position>,
    /// The share of what a layer gives that is dropped in training.
    pub dropout: PerLayer<f64>,
    /// Layers before the first block.
    pub stem: usize,
    /// Normalisation of what the last hidden layer gives.
    pub final_norm: Option<Norm>,
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

/// Says how widths are given to those who list the input's and the output's among them, as elsewhere.
fn ends_are_apart(request: &MlpRequest) -> impl Fn(Error) -> Error + '_ {
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

impl Mlp {
    /// Check a request.
    pub fn new(request: &MlpRequest) -> Result<Self> {
        let depth = integer("depth", request.depth, 1, MAX_DEPTH as u64)? as usize;
        // Checked without a skip too: a typo is a typo, and a sweep may switch the skip on.
        let block = integer("block", request.block, 1, MAX_DEPTH as u64)? as usize;
        let stem = integer("stem", request.stem, 0, depth as u64 - 1)? as usize;
        let (layers, readout) = (Layers { of: "layers", depth, stem, block }, request.out_features.is_some());
        let widths = request.width.map("width", layers, |name, &w| width(&name, w)).map_err(ends_are_apart(request))?;
        let activation =
            request.activation.map("activation", layers, |name, text| Activation::new(&Call::parse(&name, text)?))?;
        let norm = |name: String, text: &Option<String>| optional(&name, text.as_deref(), Norm::new);
        let (skip, fed) =
            (optional("skip", request.skip.as_deref(), Skip::new)?, word("inputs", &request.inputs, &INPUTS)? == 1);
        let spec = Self {
            depth,
            in_features: request.in_features.map_or(Ok(*widths.at(0)), |n| width("in_features", n))?,
            out_features: request.out_features.map(|n| width("out_features", n)).transpose()?,
            activation,
            init: Maps::new("init", &request.init, layers, readout, |name, text| {
                Init::new(&Call::parse(&name, text)?)
            })?,
            bias: Maps::new("bias", &request.bias, layers, readout, |name, bias| bias.checked(&name))?,
            norm: request.norm.map("norm", layers, norm)?,
            position: request.norm_position.map("norm_position", layers, |name, text| Position::named(&name, text))?,
            dropout: request.dropout.map("dropout", layers, |name, &share| dropout(&name, share))?,
            stem,
            final_norm: norm("final_norm".to_owned(), &request.final_norm)?,
            branch_scale: branch_scale(&request.branch_scale, depth - stem, block)?,
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

    /// Columns of the output.
    pub fn output(&self) -> usize {
        let last = || self.layers().ok().and_then(|layers| layers.last().map(|layer| layer.output));
        self.out_features.or_else(last).unwrap_or_default()
    }

    fn check_skip(&self) -> Result<()> {
        let Some(skip) = self.skip else { return Ok(()) };
        let name = skip.signature().name;
        if !(self.depth - self.stem).is_multiple_of(self.block) {
            let stem = if self.stem > 0 { format!("stem={} and ", self.stem) } else { String::new() };
            return Err(Error::value(
                "depth",
                &format!("{stem}a multiple of block={} with a {name} skip", self.block),
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
        fn equal<T: PartialEq>(values: &[T]) -> bool {
            values.iter().all(|value| *value == values[0])
        }
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
        if self.stem > 0 {
            return Err(Error::value("stem", "0 with tied=True, whose layers share one weight matrix", self.stem));
        }
        same("activation", equal(self.activation.values()))?;
        // The readout may have its own.
        same("init", equal(self.init.hidden.values()))?;
        same("bias", equal(self.bias.hidden.values()))?;
        same("norm", equal(self.norm.values()))?;
        same("norm_position", equal(self.position.values()))?;
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
        let Some(init) = self.inits().find(|init| init.calibrates()) else { return Ok(()) };
        if let Some(transform) = self.transform {
            return Err(Error::Value(format!(
                "init='{}' scales weights that weight_transform='{}' would scale back; use one of them",
                init.text(),
                transform.text()
            )));
        }
        if self.tied || !matches!(self.init.hidden, PerLayer::All(_)) || self.init.readout != *init {
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
        format!("depth={};{}", self.depth, self.parts(true))
    }

    /// The canonical text without the depth: of two nets that share it, the shallower is the beginning of the deeper.
    pub fn family(&self) -> String {
        // Each step of a net that is fed has its own columns, which another depth would lay out differently.
        let alone = self.fed || self.inits().any(Init::depends_on_depth);
        if alone { self.content() } else { self.parts(false) }
    }

    /// The most values that a field lists; a pattern lists one for every layer.
    pub fn listed(&self) -> usize {
        let count = |many: bool| if many { self.depth } else { 1 };
        let lists = [
            !matches!(self.width, PerLayer::All(_)),
            !matches!(self.activation, PerLayer::All(_)),
            !matches!(self.init.hidden, PerLayer::All(_)),
            !matches!(self.bias.hidden, PerLayer::All(_)),
            !matches!(self.norm, PerLayer::All(_)),
            !matches!(self.position, PerLayer::All(_)),
            !matches!(self.dropout, PerLayer::All(_)),
        ];
        count(lists.contains(&true))
    }

    /// The inits of the weights, the readout's last.
    pub fn inits(&self) -> impl Iterator<Item = &Init> {
        self.init.values()
    }

    /// What makes the net beside its depth: lists with a value for every layer, or patterns as they were given.
    fn parts(&self, whole: bool) -> String {
        fn texts<T>(mlp: &Mlp, whole: bool, values: &PerLayer<T>, text: impl Fn(&T) -> String) -> Vec<String> {
            match values {
                PerLayer::Pattern(stem, values) if !whole => {
                    values.iter().map(text).chain([format!("stem {stem}")]).collect()
                }
                _ => values.every(mlp.depth).map(text).collect(),
            }
        }
        let joined = |values: Vec<String>| {
            let same = values.iter().all(|v| *v == values[0]);
            if same { values[0].clone() } else { values.join(",") }
        };
        let mut inits = texts(self, whole, &self.init.hidden, Init::text);
        inits.push(self.init.readout.text());
        let mut parts = vec![
            format!("width={}", joined(texts(self, whole, &self.width, ToString::to_string))),
            format!("in={}", self.in_features),
            format!("activation={}", joined(texts(self, whole, &self.activation, Activation::text))),
            format!("init={}", joined(inits)),
        ];
        parts.extend(self.out_features.map(|n| format!("out={n}")));
        let bias = |bias: &Bias<Init>| match bias {
            // One that is what the init brings anyway says nothing; two fans tell.
            Bias::Named(named) if !self.inits().all(|init| init.brings(named)) => named.text(),
            Bias::Absent => "none".to_owned(),
            Bias::Named(_) | Bias::Brought => "init".to_owned(),
        };
        let mut biases = texts(self, whole, &self.bias.hidden, bias);
        biases.push(bias(&self.bias.readout));
        parts.extend(some("bias", &joined(biases), "init"));
        let norm = |norm: &Option<Norm>| norm.map_or_else(|| "none".to_owned(), |norm| norm.text());
        parts.extend(some("norm", &joined(texts(self, whole, &self.norm, norm)), "none"));
        if !whole || self.norm.values().iter().any(Option::is_some) {
            let position = |layer: usize| self.norm.at(layer).map_or("pre", |_| self.position.at(layer).name());
            let positions = if whole {
                (0..self.depth).map(|layer| position(layer).to_owned()).collect()
            } else {
                texts(self, whole, &self.position, |position| position.name().to_owned())
            };
            parts.extend(some("norm_position", &joined(positions), "pre"));
        }
        parts.extend(self.final_norm.map(|norm| format!("final_norm={}", norm.text())));
        parts.extend(some("dropout", &joined(texts(self, whole, &self.dropout, ToString::to_string)), "0"));
        parts.extend(self.skip.map(|skip| {
            let scale = match skip.way() {
                Way::Add | Way::Learned => format!(";scale={}", self.branch_scale),
                Way::Gate | Way::Concatenate | Way::Project => String::new(),
            };
            let stem = if self.stem > 0 { format!(";stem={}", self.stem) } else { String::new() };
            format!("skip={}{scale};block={}{stem}", skip.text(), self.block)
        }));
        parts.extend(self.transform.map(|transform| format!("weight_transform={}", transform.text())));
        parts.extend(self.tied.then(|| "tied".to_owned()));
        parts.extend(self.fed.then(|| "inputs=every".to_owned()));
        parts.join(";")
    }
}

/// A part of a content, unless it is at its default.
fn some(name: &str, value: &str, default: &str) -> Option<String> {
    (value != default).then(|| format!("{name}={value}"))
}

fn dropout(name: &str, given: f64) -> Result<f64> {
    let fits = (0.0..1.0).contains(&given);
    if fits { Ok(given) } else { Err(Error::value(name, "a share from 0 to less than 1", given)) }
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
    use super::super::Spec;
    use super::*;
    use crate::skip::Order;

    fn one(text: &str) -> PerLayer<String> {
        PerLayer::All(text.to_owned())
    }

    #[allow(clippy::unnecessary_wraps)] // As a request has it.
    fn some(text: &str) -> Option<String> {
        Some(text.to_owned())
    }

    fn request() -> MlpRequest {
        MlpRequest { activation: one("tanh"), init: one("xavier_normal"), ..MlpRequest::new(4, 8) }
    }

    fn refusal(change: impl FnOnce(&mut MlpRequest)) -> String {
        let mut request = request();
        change(&mut request);
        Spec::new(&request).unwrap_err().to_string()
    }

    #[test]
    fn a_tied_net_takes_lists_that_say_one_thing_and_an_init_of_its_readout() {
        let list = |names: &[&str]| PerLayer::Each(names.iter().map(|&name| name.to_owned()).collect());
        for (depth, inits) in [(1, vec!["eye"]), (2, vec!["eye", "eye"]), (2, vec!["eye", "eye", "zeros"])] {
            let (init, activation) = (list(&inits), list(&["tanh", "tanh"][..depth]));
            let plain = MlpRequest::new(depth as i128, 8);
            assert!(Spec::new(&MlpRequest { tied: true, out_features: Some(2), init, activation, ..plain }).is_ok());
        }
        let init = list(&["eye", "zeros"]);
        assert!(Spec::new(&MlpRequest { tied: true, init, ..MlpRequest::new(2, 8) }).is_err());
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
            (
                refusal(|r| r.bias = PerLayer::All(Bias::Named("orthogonal".to_owned()))),
                ["bias", "zeros, constant", "'orthogonal'"],
            ),
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
                ["as many features at both ends", "8 before layer 3", "width[2]=4"],
            ),
            (
                refusal(|r| (r.skip, r.width) = (some("highway"), PerLayer::Each(vec![8, 8, 4, 4]))),
                ["a highway skip", "8 before layer 3", "4 after layer 3"],
            ),
            (
                refusal(|r| (r.skip, r.activation) = (some("residual(order=post)"), one("crelu"))),
                ["as many features", "16 before layer 2", "8 after layer 2"],
            ),
            (
                refusal(|r| (r.activation, r.width) = (one("glu"), PerLayer::All(7))),
                ["width", "'glu'", "even, for half of its units are gates, got 7"],
            ),
            (
                refusal(|r| r.norm = PerLayer::All(some("bacth"))),
                ["unknown norm 'bacth'", "did you mean 'batch'", "rms"],
            ),
            (refusal(|r| r.norm = PerLayer::All(some("none"))), ["norm must be None", "a name", "'none'"]),
            (refusal(|r| r.norm = PerLayer::All(some("layer(eps=-1)"))), ["eps", "0 or more", "got -1"]),
            (refusal(|r| r.norm_position = one("mid")), ["norm_position", "'pre', 'post' or 'input'", "'mid'"]),
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
    fn a_pattern_is_the_net_that_it_spells_at_any_depth_and_keeps_its_family() {
        let list = |names: &[&str]| PerLayer::Each(names.iter().map(|&name| name.to_owned()).collect());
        let pattern = |depth| MlpRequest {
            width: PerLayer::Each(vec![8, 16, 8]),
            activation: list(&["linear", "gelu", "gelu"]),
            norm: PerLayer::Each(vec![None, some("layer"), None]),
            norm_position: one("input"),
            dropout: PerLayer::Each(vec![0.0, 0.1, 0.0]),
            bias: PerLayer::Each(vec![Bias::Brought, Bias::Absent, Bias::Named("normal(std=0.1)".to_owned())]),
            skip: some("residual(order=linear)"),
            stem: 1,
            block: 2,
            ..MlpRequest::new(depth, 8)
        };
        let spec = |request: &MlpRequest| Spec::new(request).unwrap();
        let spelled = MlpRequest {
            width: PerLayer::Each(vec![8, 16, 8, 16, 8]),
            activation: list(&["linear", "gelu", "gelu", "gelu", "gelu"]),
            norm: PerLayer::Each(vec![None, some("layer"), None, some("layer"), None]),
            dropout: PerLayer::Each(vec![0.0, 0.1, 0.0, 0.1, 0.0]),
            bias: PerLayer::Each([0, 1, 2, 1, 2].map(|at| pattern(3).bias.values()[at].clone()).to_vec()),
            ..pattern(5)
        };
        assert_eq!(spec(&pattern(5)).content(), spec(&spelled).content());
        assert_eq!(spec(&pattern(5)).family(), spec(&pattern(9)).family());
        assert_ne!(
            spec(&pattern(5)).family(),
            spec(&MlpRequest { stem: 0, block: 3, skip: None, ..pattern(6) }).family()
        );
        let Spec::Mlp(mlp) = spec(&pattern(9)) else { unreachable!() };
        assert_eq!((0..9).map(|layer| *mlp.width.at(layer)).collect::<Vec<_>>(), [8, 16, 8, 16, 8, 16, 8, 16, 8]);
        let refused = Spec::new(&pattern(4)).unwrap_err().to_string();
        assert!(refused.contains("stem=1 and a multiple of block=2") || refused.contains("one for each"), "{refused}");
    }

    #[test]
    fn content_is_the_same_for_every_way_to_write_a_net() {
        let plain = Spec::new(&request()).unwrap().content();
        let spelled = MlpRequest {
            width: PerLayer::Each(vec![8; 4]),
            in_features: Some(8),
            activation: PerLayer::Each(vec!["tanh".to_owned(); 4]),
            init: PerLayer::Each(vec!["xavier_normal(gain=1.0)".to_owned(); 4]),
            norm_position: one("post"),
            norm: PerLayer::Each(vec![None; 4]),
            bias: PerLayer::Each(vec![Bias::Brought; 4]),
            dropout: PerLayer::Each(vec![0.0; 4]),
            block: 2,
            ..request()
        };
        assert_eq!(Spec::new(&spelled).unwrap().content(), plain);
        assert_eq!(plain, "depth=4;width=8;in=8;activation=tanh;init=xavier_normal");
    }

    fn layers(change: impl FnOnce(&mut MlpRequest)) -> Vec<(usize, usize, usize, usize, bool)> {
        let mut request = request();
        change(&mut request);
        let layers = Mlp::new(&request).unwrap().layers().unwrap();
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
            let mut request = MlpRequest { skip: some(skip), block: 2, in_features: Some(3), ..request() };
            let of = |request: &MlpRequest| Mlp::new(request).unwrap().layers().unwrap();
            let layers = of(&request);
            assert!(layers[..2].iter().all(|l| l.from.is_none() && l.order == Order::After), "{skip}");
            assert_eq!(layers[1].activation.text(), "tanh", "{skip}");
            assert_eq!(layers[3].from, Some(2), "{skip}");
            request.in_features = None;
            assert_eq!(of(&request)[1].from, Some(0), "{skip}");
        }
    }
}
