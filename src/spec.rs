//! The validated description of a net and of a job: the one place that rejects input.

use crate::activation::Activation;
use crate::error::{Error, Result};
use crate::init::{Init, Place};
use crate::loss::Loss;
use crate::signature::Call;

/// The deepest net that is accepted.
pub const MAX_DEPTH: usize = 1_000_000;
/// The widest layer that is accepted.
pub const MAX_WIDTH: usize = 1_000_000;
/// Names of the skips.
pub const SKIPS: [&str; 1] = ["residual"];
/// Names of the normalisations; this version has none.
pub const NORMS: [&str; 0] = [];

/// A value for all hidden layers, or one a layer.
#[derive(Debug, Clone, PartialEq)]
pub enum PerLayer<T> {
    /// The same everywhere.
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
                let each = values.iter().enumerate().map(|(i, value)| f(format!("{name}[{i}]"), value));
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
    /// This factor.
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
    /// Weight init.
    pub init: String,
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
    /// One weight matrix for all layers?
    pub tied: bool,
}

/// A residual skip.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Residual {
    /// The factor of the branch.
    pub branch_scale: f64,
    /// Layers it spans.
    pub block: usize,
}

/// A valid net.
#[derive(Debug, Clone, PartialEq)]
pub struct Spec {
    /// Hidden layers.
    pub depth: usize,
    /// Units of the hidden layers.
    pub width: PerLayer<usize>,
    /// Columns of the input.
    pub in_features: usize,
    /// Units of the readout, if there is one.
    pub out_features: Option<usize>,
    /// Activations.
    pub activation: PerLayer<Activation>,
    /// Weight init, of the readout too.
    pub init: Init,
    /// Bias init named by the caller.
    pub bias: Option<Init>,
    /// Residual skip, if any.
    pub residual: Option<Residual>,
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

impl Spec {
    /// Check a request.
    pub fn new(request: &Request) -> Result<Self> {
        let depth = integer("depth", request.depth, 1, MAX_DEPTH as u64)? as usize;
        let widths = request.width.map("width", depth, |name, &w| width(&name, w))?;
        let activation =
            request.activation.map("activation", depth, |name, text| Activation::new(&Call::parse(&name, text)?))?;
        let spec = Self {
            depth,
            in_features: request.in_features.map_or(Ok(*widths.at(0)), |n| width("in_features", n))?,
            out_features: request.out_features.map(|n| width("out_features", n)).transpose()?,
            activation,
            init: Init::new(&Call::parse("init", &request.init)?)?,
            bias: request.bias.as_ref().map(|text| Init::for_bias(&Call::parse("bias", text)?)).transpose()?,
            residual: residual(request, depth)?,
            width: widths,
        };
        spec.check_blocks()?;
        spec.check_init()?;
        if let Some(norm) = &request.norm {
            return Err(Error::value("norm", "None (this version has no normalisations)", format!("'{norm}'")));
        }
        if !["pre", "post"].contains(&request.norm_position.as_str()) {
            return Err(Error::value("norm_position", "'pre' or 'post'", format!("'{}'", request.norm_position)));
        }
        if request.tied {
            return Err(Error::value("tied", "False (this version has no tied weights)", "True"));
        }
        Ok(spec)
    }

    /// Units that feed a hidden layer.
    pub fn fan_in(&self, layer: usize) -> usize {
        if layer == 0 { self.in_features } else { *self.width.at(layer - 1) }
    }

    /// Columns of the output.
    pub fn output(&self) -> usize {
        self.out_features.unwrap_or_else(|| *self.width.at(self.depth - 1))
    }

    /// Where a hidden layer's map stands, or the readout's.
    pub fn place(&self, layer: Option<usize>) -> Place<'_> {
        let block = self.residual.map_or(self.depth, |residual| residual.block);
        // The width at the begin of a layer's block must be that at its end for a skip to span it.
        let spanned = |layer: &usize| {
            let first = layer - layer % block;
            self.fan_in(first) == *self.width.at(first + block - 1)
        };
        let branch = layer.filter(|_| self.residual.is_some()).filter(spanned);
        Place {
            fan_in: layer.map_or_else(|| *self.width.at(self.depth - 1), |layer| self.fan_in(layer)),
            fan_out: layer.map_or_else(|| self.output(), |layer| *self.width.at(layer)),
            depth: self.depth,
            layer,
            blocks: self.residual.map_or(self.depth, |residual| self.depth / residual.block),
            block: branch.map_or(0, |_| block),
            ends_branch: branch.is_some_and(|layer| (layer + 1) % block == 0),
            activation: layer.map(|layer| self.activation.at(layer)),
        }
    }

    /// Some inits have no numbers for some layers.
    fn check_init(&self) -> Result<()> {
        let readout = self.out_features.map(|_| None);
        (0..self.depth).map(Some).chain(readout).try_for_each(|layer| self.init.check(&self.place(layer)))
    }

    /// Every block but the first must keep its width, or its skip could not be added.
    fn check_blocks(&self) -> Result<()> {
        let Some(Residual { block, .. }) = self.residual else { return Ok(()) };
        if !self.depth.is_multiple_of(block) {
            return Err(Error::value(
                "depth",
                &format!("a multiple of block={block} with a residual skip"),
                self.depth,
            ));
        }
        for end in (2 * block - 1..self.depth).step_by(block) {
            let (before, after) = (self.width.at(end - block), self.width.at(end));
            if before != after {
                return Err(Error::Value(format!(
                    "a residual skip needs equal widths at both ends of a block, got width[{}]={before} and width[{end}]={after}; \
                     make them equal or use skip=None",
                    end - block
                )));
            }
        }
        Ok(())
    }

    /// The canonical text of all that makes this net, from which its `id` is hashed. Parts at their default are left
    /// out, so that a part added in a later version changes no id.
    pub fn content(&self) -> String {
        format!("depth={};{}", self.depth, self.kind())
    }

    /// The same without the depth: of two nets of one kind, the shallower is the beginning of the deeper.
    pub fn kind(&self) -> String {
        let list = |values: Vec<String>| {
            let same = values.iter().all(|v| *v == values[0]);
            if same { values[0].clone() } else { values.join(",") }
        };
        let mut parts = vec![
            format!("width={}", list(self.width.values().iter().map(ToString::to_string).collect())),
            format!("in={}", self.in_features),
            format!("activation={}", list(self.activation.values().iter().map(Activation::text).collect())),
            format!("init={}", self.init.text()),
        ];
        parts.extend(self.out_features.map(|n| format!("out={n}")));
        // A bias that is what the init brings anyway says nothing.
        parts.extend(self.bias.filter(|bias| !self.init.brings(bias)).map(|bias| format!("bias={}", bias.text())));
        // Nets that share no layer are of different kinds.
        parts.extend(self.init.depends_on_depth().then(|| format!("layers={}", self.depth)));
        if let Some(Residual { branch_scale, block }) = self.residual {
            parts.push(format!("skip=residual;scale={branch_scale};block={block}"));
        }
        parts.join(";")
    }
}

fn residual(request: &Request, depth: usize) -> Result<Option<Residual>> {
    // Checked without a skip too: a typo is a typo, and a sweep may switch the skip on.
    let block = integer("block", request.block, 1, MAX_DEPTH as u64)? as usize;
    let allowed = format!("a finite number or '{INVERSE_SQRT}'");
    let branch_scale = match &request.branch_scale {
        BranchScale::Number(scale) if scale.is_finite() => *scale,
        BranchScale::Number(scale) => return Err(Error::value("branch_scale", &allowed, scale)),
        BranchScale::Text(text) if text == INVERSE_SQRT => 1.0 / ((depth / block).max(1) as f64).sqrt(),
        BranchScale::Text(text) => return Err(Error::value("branch_scale", &allowed, format!("'{text}'"))),
    };
    match request.skip.as_deref() {
        None => Ok(None),
        Some("residual") => Ok(Some(Residual { branch_scale, block })),
        Some("none") => Err(Error::value("skip", &format!("None or one of {}", SKIPS.join(", ")), "'none'")),
        Some(other) => Err(Error::unknown("skip", other, SKIPS.into_iter())),
    }
}

/// What an array of the caller must be: a name for messages, what its second axis is, and its shape.
#[derive(Debug, Clone, Copy)]
pub struct Rows<'r> {
    /// What the caller calls it.
    pub name: &'r str,
    /// What its columns are.
    pub axis: &'r str,
    /// Columns.
    pub columns: usize,
    /// Rows; any number above 0 if `None`.
    pub rows: Option<usize>,
}

impl Rows<'_> {
    /// Refuse an empty batch, a wrong shape, and values that are not finite in the dtype they were rounded to.
    pub fn check(&self, given: (usize, usize), dtype: &str, mut finite: impl Iterator<Item = bool>) -> Result<()> {
        let Self { name, axis, columns, rows } = *self;
        if given.1 != columns || rows.is_some_and(|rows| rows != given.0) {
            let batch = rows.map_or("batch".to_owned(), |rows| rows.to_string());
            return Err(Error::value(
                name,
                &format!("of shape (batch, {axis}) = ({batch}, {columns})"),
                format!("{given:?}"),
            ));
        }
        if given.0 == 0 {
            return Err(Error::value(name, "a batch of at least one sample", format!("shape {given:?}")));
        }
        match finite.position(|finite| !finite) {
            None => Ok(()),
            Some(i) => Err(Error::Value(format!(
                "{name} must be finite in {dtype}, but {name}[{}, {}] is nan, infinite or beyond its range",
                i / columns,
                i % columns
            ))),
        }
    }
}

/// Class ids: one a sample, none negative.
pub fn classes(ids: &[i128], batch: usize) -> Result<Vec<usize>> {
    if ids.len() != batch {
        return Err(Error::value(
            "y",
            &format!("of shape ({batch},), one class id a sample of x"),
            format!("({},)", ids.len()),
        ));
    }
    let id = |(i, &id): (usize, &i128)| integer(&format!("y[{i}]"), id, 0, MAX_WIDTH as u64).map(|id| id as usize);
    ids.iter().enumerate().map(id).collect()
}

/// A loss needs targets and targets need a loss.
pub fn loss(name: Option<&str>, has_targets: bool) -> Result<Option<Loss>> {
    let choices = || crate::loss::names().collect::<Vec<_>>().join(", ");
    match (name, has_targets) {
        (None, true) => Err(Error::Value(format!("y is given without a loss; choose one of {}", choices()))),
        (Some(name), false) => {
            Loss::new(name).and_then(|_| Err(Error::Value(format!("loss='{name}' needs targets; give y"))))
        }
        (None, false) => Ok(None),
        (Some(name), true) => Loss::new(name).map(Some),
    }
}

/// Class ids must name an output of the net.
pub fn class_range(ids: &[usize], outputs: usize) -> Result<()> {
    match ids.iter().position(|&id| id >= outputs) {
        None => Ok(()),
        Some(i) => Err(Error::value(
            &format!("y[{i}]"),
            &format!("a class id below {outputs}, the outputs of the net"),
            ids[i],
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(crate) fn request() -> Request {
        Request {
            depth: 4,
            width: PerLayer::All(8),
            in_features: None,
            out_features: None,
            activation: PerLayer::All("tanh".to_owned()),
            init: "xavier_normal".to_owned(),
            bias: None,
            norm: None,
            norm_position: "pre".to_owned(),
            skip: None,
            branch_scale: BranchScale::Number(1.0),
            block: 1,
            tied: false,
        }
    }

    fn refusal(change: impl FnOnce(&mut Request)) -> String {
        let mut request = request();
        change(&mut request);
        Spec::new(&request).unwrap_err().to_string()
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
            (
                refusal(|r| r.activation = PerLayer::All("tnah".to_owned())),
                ["unknown activation 'tnah'", "'tanh'", "linear, sigmoid"],
            ),
            (refusal(|r| r.init = "xavier".to_owned()), ["unknown init 'xavier'", "choose from", "zeros"]),
            (refusal(|r| r.init = "lecun_normal(gain=-1)".to_owned()), ["gain", "0 or more", "got -1"]),
            (refusal(|r| r.init = "lecun_normal(gain=nan)".to_owned()), ["gain", "finite", "got NaN"]),
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
            (
                refusal(|r| (r.skip, r.block) = (Some("residual".to_owned()), 3)),
                ["depth", "multiple of block=3", "got 4"],
            ),
            (
                refusal(|r| (r.skip, r.width) = (Some("residual".to_owned()), PerLayer::Each(vec![8, 8, 4, 4]))),
                ["equal widths", "width[1]=8", "width[2]=4"],
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
            init: "xavier_normal(gain=1.0)".to_owned(),
            block: 2,
            ..request()
        };
        assert_eq!(Spec::new(&spelled).unwrap().content(), plain);
        assert_eq!(plain, "depth=4;width=8;in=8;activation=tanh;init=xavier_normal");
    }
}
