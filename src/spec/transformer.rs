//! A transformer: blocks of attention among the tokens of a sample and of two maps for each token, with a stream around
//! both (Vaswani et al. 2017, arXiv:1706.03762).

use super::{Bias, MAX_DEPTH, MAX_WIDTH, Position, integer, optional, width, word};
use crate::activation::{Activation, Shape};
use crate::error::{Cancel, Error, Result};
use crate::init::{Init, Place, Stands};
use crate::norm::Norm;
use crate::part::{
    Activate, Attend, Beyond, Blocks, HandsOn, Heads, Join, Keep, Label, Layer, LinearPlan, Map, Module, Net,
    Normalise, Parameters, Part, Pool, Pooling, QKV, beyond,
};
use crate::rng::Role;
use crate::signature::Call;
use crate::skip::Way;
use std::sync::LazyLock;

/// What a map feeds that has no activation.
static NONE: LazyLock<Activation> = LazyLock::new(Activation::linear);

/// The most tokens of a sample.
const MOST_TOKENS: u64 = 1 << 16;

/// Columns of a probe that parts of a transformer note.
pub(super) fn extra() -> usize {
    Attend::extra().len()
}

/// What is added to a mean square of queries and keys that are normalised.
const QK_EPS: f64 = 1e-6;

/// The word for a final norm that goes by where the others stand.
const AUTO: &str = "auto";

/// A transformer as a caller describes it, nothing checked.
#[derive(Debug, Clone, PartialEq)]
pub struct TransformerRequest {
    /// Blocks.
    pub depth: i128,
    /// Features of the stream.
    pub width: i128,
    /// Heads of attention.
    pub heads: i128,
    /// Tokens of a sample.
    pub tokens: i128,
    /// Features of a token that comes in; the width if `None`.
    pub in_features: Option<i128>,
    /// Units of the readout; no readout if `None`.
    pub out_features: Option<i128>,
    /// What becomes of the tokens behind the last block.
    pub pool: Option<String>,
    /// Features between the two maps of a token, in widths.
    pub ffn: i128,
    /// What stands between these.
    pub activation: String,
    /// The normalisation of each half of a block.
    pub norm: Option<String>,
    /// Where it stands.
    pub norm_position: String,
    /// What goes around each half.
    pub skip: Option<String>,
    /// Does a token see none behind it?
    pub causal: bool,
    /// Are queries and keys normalised?
    pub qk_norm: bool,
    /// The normalisation behind the last block.
    pub final_norm: Option<String>,
    /// The rule for the factor of the logits.
    pub scale: String,
    /// Weight init.
    pub init: String,
    /// Biases.
    pub bias: Bias<String>,
}

impl TransformerRequest {
    /// A transformer of which no more is said: the defaults of Python's `Transformer`.
    pub fn new(depth: i128, width: i128) -> Self {
        Self {
            depth,
            width,
            heads: 4,
            tokens: 16,
            in_features: None,
            out_features: None,
            pool: None,
            ffn: 4,
            activation: "relu".to_owned(),
            norm: Some("layer".to_owned()),
            norm_position: POSITIONS[0].to_owned(),
            skip: Some(SKIPS[0].to_owned()),
            causal: false,
            qk_norm: false,
            final_norm: Some(AUTO.to_owned()),
            scale: SCALES[0].to_owned(),
            init: "xavier_uniform".to_owned(),
            bias: Bias::Brought,
        }
    }
}

const POSITIONS: [&str; 2] = ["pre", "post"];
const SKIPS: [&str; 3] = ["residual", "rezero", "deepnorm"];
const SCALES: [&str; 2] = ["standard", "mup"];

/// What goes around each half of a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Around {
    /// `x + F`.
    Residual,
    /// `x + alpha F` with a learned number that starts at 0.
    Rezero,
    /// `(2 N)^(1/4) x + F` for N blocks (Wang et al. 2022, arXiv:2203.00555).
    DeepNorm,
}

/// A valid transformer.
#[derive(Debug, Clone, PartialEq)]
pub struct Transformer {
    /// Blocks.
    pub blocks: usize,
    /// Features of the stream.
    pub width: usize,
    /// Heads of attention.
    pub heads: usize,
    /// Tokens of a sample.
    pub tokens: usize,
    /// Features of a token that comes in, where they were said.
    pub asked_in: Option<usize>,
    /// Units of the readout, if there is one.
    pub out_features: Option<usize>,
    /// What becomes of the tokens behind the last block, if anything.
    pub pool: Option<Pooling>,
    /// Features between the two maps of a token, in widths.
    pub ffn: usize,
    /// What stands between these.
    pub activation: Activation,
    /// The normalisation of each half of a block.
    pub norm: Option<Norm>,
    /// Where it stands: before the first map, or behind the sum.
    pub position: Position,
    /// What goes around each half.
    pub skip: Option<Around>,
    /// Does a token see none behind it?
    pub causal: bool,
    /// Are queries and keys normalised?
    pub qk_norm: bool,
    /// The normalisation behind the last block.
    pub final_norm: Option<Norm>,
    /// What was said of it.
    pub asked_final: Option<String>,
    /// Are the logits products over the features of a head, and not over their root?
    pub mup: bool,
    /// Weight init.
    pub init: Init,
    /// Biases.
    pub bias: Bias<Init>,
    /// What no page has.
    pub beyond: Beyond,
}

/// The two halves of a block, each two maps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Half {
    Attention,
    FeedForward,
}

impl Transformer {
    /// Check a request.
    pub fn new(asked: &TransformerRequest) -> Result<Self> {
        let blocks = integer("depth", asked.depth, 1, (MAX_DEPTH / 4) as u64)? as usize;
        let features = integer("width", asked.width, 1, (MAX_WIDTH / 3) as u64)? as usize;
        let heads = integer("heads", asked.heads, 1, MAX_WIDTH as u64)? as usize;
        if !features.is_multiple_of(heads) {
            let allowed = format!("a divisor of width={features}, for heads share it evenly");
            return Err(Error::value("heads", &allowed, heads));
        }
        let tokens = integer("tokens", asked.tokens, 1, MOST_TOKENS)? as usize;
        let ffn = integer("ffn", asked.ffn, 1, (MAX_WIDTH / features) as u64)? as usize;
        let activation = Activation::new(&Call::parse("activation", &asked.activation)?)?;
        if activation.shape() == Shape::Gated && !(ffn * features).is_multiple_of(2) {
            let what = format!("ffn * width with activation '{}'", activation.text());
            return Err(Error::value(&what, "even, for half of the units are gates", ffn * features));
        }
        let norm = optional("norm", asked.norm.as_deref(), Norm::new)?;
        let position = [Position::Pre, Position::Post][word("norm_position", &asked.norm_position, &POSITIONS)?];
        let final_norm = match asked.final_norm.as_deref() {
            Some(AUTO) => norm.filter(|_| position == Position::Pre),
            given => optional("final_norm", given, Norm::new)?,
        };
        let asked_final = match asked.final_norm.as_deref() {
            Some(AUTO) => Some(AUTO.to_owned()),
            _ => final_norm.map(|norm| norm.text()),
        };
        let skip = asked.skip.as_deref().map(|text| {
            let index = word("skip", text, &SKIPS)?;
            Ok::<_, Error>([Around::Residual, Around::Rezero, Around::DeepNorm][index])
        });
        let pool = asked.pool.as_deref().map(|text| {
            let index = word("pool", text, &Pooling::NAMES)?;
            Ok::<_, Error>([Pooling::Mean, Pooling::Last][index])
        });
        let spec = Self {
            blocks,
            width: features,
            heads,
            tokens,
            asked_in: asked.in_features.map(|n| width("in_features", n)).transpose()?,
            out_features: asked.out_features.map(|n| width("out_features", n)).transpose()?,
            pool: pool.transpose()?,
            ffn,
            activation,
            norm,
            position,
            skip: skip.transpose()?,
            causal: asked.causal,
            qk_norm: asked.qk_norm,
            final_norm,
            asked_final,
            mup: word("scale", &asked.scale, &SCALES)? == 1,
            init: Init::new(&Call::parse("init", &asked.init)?)?,
            bias: asked.bias.checked("bias")?,
            beyond: beyond()?,
        };
        if spec.skip == Some(Around::DeepNorm) && (spec.position == Position::Pre || spec.norm.is_none()) {
            return Err(Error::Value(
                "skip='deepnorm' normalises each sum: it goes with norm_position='post' and a norm".to_owned(),
            ));
        }
        spec.places().iter().try_for_each(|place| spec.init.check(place))?;
        Ok(spec)
    }

    /// The name of what goes around, as a caller writes it.
    pub fn skip_name(&self) -> Option<&'static str> {
        self.skip.map(|skip| SKIPS[skip as usize])
    }

    /// The rule for the factor of the logits, as a caller writes it.
    pub fn scale_name(&self) -> &'static str {
        SCALES[usize::from(self.mup)]
    }

    /// Features of a token that comes in.
    pub fn in_features(&self) -> usize {
        self.asked_in.unwrap_or(self.width)
    }

    /// Is there a map before the first block?
    fn embeds(&self) -> bool {
        self.in_features() != self.width
    }

    /// Maps that count, each a row of a probe.
    pub fn rows(&self) -> usize {
        4 * self.blocks + usize::from(self.embeds())
    }

    /// Rows of the output that a sample has.
    pub fn places_of_output(&self) -> usize {
        if self.pool.is_some() { 1 } else { self.tokens }
    }

    /// Columns of the output, of all places of a sample.
    pub fn output(&self) -> usize {
        self.places_of_output() * self.out_features.unwrap_or(self.width)
    }

    /// Features of the widest batch.
    pub fn widest(&self) -> usize {
        self.in_features().max(3 * self.width).max(self.ffn * self.width).max(self.out_features.unwrap_or(0))
    }

    /// The canonical text of all that makes this net.
    pub fn content(&self) -> String {
        format!("transformer;depth={};{}", self.blocks, self.parts())
    }

    /// Do the numbers of a block depend on how many there are?
    pub fn knows_depth(&self) -> bool {
        self.init.depends_on_depth() || self.skip == Some(Around::DeepNorm)
    }

    /// The canonical text without the depth: of two nets that share it, the shallower is the beginning of the deeper.
    pub fn family(&self) -> String {
        if self.knows_depth() { self.content() } else { format!("transformer;{}", self.parts()) }
    }

    /// What makes the net beside its depth.
    fn parts(&self) -> String {
        let norm = |norm: Option<Norm>| norm.map_or_else(|| "none".to_owned(), |norm| norm.text());
        let bias = match &self.bias {
            Bias::Named(named) if !self.init.brings(named) => named.text(),
            Bias::Absent => "none".to_owned(),
            Bias::Named(_) | Bias::Brought => "init".to_owned(),
        };
        let out = self.out_features.map_or_else(|| "none".to_owned(), |out| out.to_string());
        let pool = self.pool.map_or("none", Pooling::name);
        [
            ("width", self.width.to_string()),
            ("heads", self.heads.to_string()),
            ("tokens", self.tokens.to_string()),
            ("in", self.in_features().to_string()),
            ("out", out),
            ("pool", pool.to_owned()),
            ("ffn", self.ffn.to_string()),
            ("activation", self.activation.text()),
            ("norm", norm(self.norm)),
            ("norm_position", if self.norm.is_some() { self.position.name() } else { "none" }.to_owned()),
            ("skip", self.skip_name().unwrap_or("none").to_owned()),
            ("causal", self.causal.to_string()),
            ("qk_norm", self.qk_norm.to_string()),
            ("final_norm", norm(self.final_norm)),
            ("scale", self.scale_name().to_owned()),
            ("init", self.init.text()),
            ("bias", bias),
        ]
        .map(|(name, value)| format!("{name}={value}"))
        .join(";")
    }

    /// Where a map of one block of rows stands.
    fn place(&self, layer: Option<usize>, fans: (usize, usize), stands: Stands) -> Place<'_> {
        let within = self.skip.is_some() && !matches!(stands, Stands::Alone);
        Place {
            fan_in: fans.0,
            fan_out: fans.1,
            depth: self.rows(),
            layer,
            // With or without a skip, a block has two branches, which is what inits for transformers count.
            blocks: 2 * self.blocks,
            block: if within { 2 } else { 0 },
            ends_branch: within && matches!(stands, Stands::Out | Stands::Down),
            activation: layer.map(|_| if stands == Stands::Up { &self.activation } else { &*NONE }),
            stands,
        }
    }

    /// Every sort of place that a map may have, for an init to look at.
    fn places(&self) -> Vec<Place<'_>> {
        let first = usize::from(self.embeds());
        let (d, wide) = (self.width, self.ffn * self.width);
        let of_block = [
            (0, (d, d), Stands::Query),
            (0, (d, d), Stands::Key),
            (0, (d, d), Stands::Value),
            (1, (d, d), Stands::Out),
            (2, (d, wide), Stands::Up),
            (3, (self.activation.outputs(wide), d), Stands::Down),
        ];
        let embedding = self.embeds().then(|| self.place(Some(0), (self.in_features(), d), Stands::Alone));
        let readout = self.out_features.map(|out| self.place(None, (d, out), Stands::Alone));
        let of_block = of_block.map(|(layer, fans, stands)| self.place(Some(first + layer), fans, stands));
        embedding.into_iter().chain(of_block).chain(readout).collect()
    }

    /// A linear map that is drawn from the streams of a layer.
    fn linear(&self, place: Place<'_>, layer: usize) -> LinearPlan {
        let weight = self.init.weight(&place);
        let mut blocks = if place.stands == Stands::Query { Blocks::of(&QKV) } else { Blocks::ONE };
        let spread = |stands| {
            let [_, variance] = self.init.weight(&Place { stands, ..place }).moments(place.fan_out, place.fan_in);
            variance
        };
        if blocks.count() > 1 && spread(Stands::Query) > 0.0 {
            let factor = |stands| (spread(stands) / spread(Stands::Query)).sqrt();
            blocks.factors = [1.0, factor(Stands::Key), factor(Stands::Value), 1.0];
        }
        let roles = match place.layer {
            Some(_) => (Role::Weight, Role::Bias),
            None => (Role::ReadoutWeight, Role::ReadoutBias),
        };
        LinearPlan {
            fan_in: place.fan_in,
            fan_out: blocks.count() * place.fan_out,
            weight,
            blocks,
            factor: 1.0,
            bias: match &self.bias {
                Bias::Absent => None,
                bias => Some(self.init.bias(bias.named(), &place)),
            },
            raised: None,
            transform: None,
            calibrates: self.init.calibrates(),
            layer,
            roles,
        }
    }

    /// The net as layers of parts, the readout last.
    pub fn lower(&self) -> Result<Net> {
        let (mut layers, mut slots) = (Vec::with_capacity(self.rows() + 1), Vec::with_capacity(self.rows() + 1));
        let mut push = |(parts, slot): (Vec<Part>, Vec<Parameters>), hands_on: HandsOn| {
            layers.push(Layer { parts, slot: slots.len(), hands_on });
            slots.push(slot);
        };
        let first = usize::from(self.embeds());
        if self.embeds() {
            let plan = self.linear(self.place(Some(0), (self.in_features(), self.width), Stands::Alone), 0);
            let map = Part::Map(Map::of(0, true));
            push(
                (vec![map], vec![Parameters::linear_of(Module::Layers, plan).called(Label::Net("embedding"))]),
                HandsOn::Stream,
            );
        }
        for block in 0..self.blocks {
            Cancel::heed()?;
            for (number, half) in [Half::Attention, Half::FeedForward].into_iter().enumerate() {
                let layer = first + 4 * block + 2 * number;
                push(self.opening(block, half, layer), HandsOn::Output);
                push(self.closing(block, half, layer + 1), HandsOn::Stream);
            }
        }
        let ends = self.ends();
        if !ends.0.is_empty() {
            push(ends, HandsOn::Output);
        }
        Ok(Net {
            depth: self.rows(),
            columns: self.tokens * self.in_features(),
            fed: None,
            tokens: self.tokens,
            input: self.in_features(),
            layers,
            slots,
        })
    }

    /// The number of the layer whose streams of random numbers a layer has: all blocks have those of the first where an
    /// init makes them equal.
    fn drawn_as(&self, layer: usize) -> usize {
        let first = usize::from(self.embeds());
        if self.init.alike() { first + (layer - first) % 4 } else { layer }
    }

    /// From the stream to attention, or to the activation.
    fn opening(&self, block: usize, half: Half, layer: usize) -> (Vec<Part>, Vec<Parameters>) {
        let attends = half == Half::Attention;
        let (stands, what, norm) = match half {
            Half::Attention => (Stands::Query, "self_attn.in_proj", "norm1"),
            Half::FeedForward => (Stands::Up, "linear1", "norm2"),
        };
        let fan_out = if attends { self.width } else { self.ffn * self.width };
        let plan = self.linear(self.place(Some(layer), (self.width, fan_out), stands), self.drawn_as(layer));
        let mut slot = vec![Parameters::linear_of(Module::Layers, plan).called(Label::Block(block, what))];
        let mut parts = Vec::new();
        if self.skip.is_some() {
            parts.push(Part::Keep(Keep::of(0)));
        }
        if self.position == Position::Pre {
            parts.extend(self.norm(Label::Block(block, norm), &mut slot));
        }
        parts.push(Part::Map(Map::of(0, false)));
        if attends {
            parts.push(Part::Attend(Attend { heads: self.shape(), beyond: self.beyond }));
        } else {
            let slope = self.activation.learned().map(|slope| {
                let label = Label::Block(block, "activation");
                slot.push(Parameters::scalar(Module::Activations, slope).called(label));
                slot.len() - 1
            });
            parts.push(Part::Phi(Activate { activation: self.activation, slope }));
        }
        (parts, slot)
    }

    /// Back to the stream.
    fn closing(&self, block: usize, half: Half, layer: usize) -> (Vec<Part>, Vec<Parameters>) {
        let (stands, fan_in, what, alpha, norm) = match half {
            Half::Attention => (Stands::Out, self.width, "self_attn.out_proj", "alpha1", "norm1"),
            Half::FeedForward => {
                (Stands::Down, self.activation.outputs(self.ffn * self.width), "linear2", "alpha2", "norm2")
            }
        };
        let plan = self.linear(self.place(Some(layer), (fan_in, self.width), stands), self.drawn_as(layer));
        let mut slot = vec![Parameters::linear_of(Module::Layers, plan).called(Label::Block(block, what))];
        let mut parts = vec![Part::Map(Map::of(0, true))];
        let post = self.position == Position::Post;
        let norm = if post { self.norm(Label::Block(block, norm), &mut slot) } else { None };
        if let Some(skip) = self.skip {
            let mut join = Join { stream: 0, way: Way::Add, scale: 1.0, around: 1.0, learned: 0 };
            match skip {
                Around::Residual => (),
                Around::Rezero => {
                    (join.way, join.learned) = (Way::Learned, slot.len());
                    slot.push(Parameters::scalar(Module::Skips, 0.0).called(Label::Block(block, alpha)));
                }
                Around::DeepNorm => join.around = (2.0 * self.blocks as f64).powf(0.25),
            }
            parts.push(Part::Join(join));
        }
        parts.extend(norm);
        (parts, slot)
    }

    /// A normalisation of the stream, if there are any.
    fn norm(&self, label: Label, slot: &mut Vec<Parameters>) -> Option<Part> {
        let norm = self.norm?;
        slot.push(Parameters::affine(Module::Norms, self.width, norm.centres()).called(label));
        Some(Part::Norm(Normalise { norm, affine: slot.len() - 1 }))
    }

    /// The shape of attention.
    fn shape(&self) -> Heads {
        let features = self.width / self.heads;
        let each = features as f64;
        Heads {
            count: self.heads,
            tokens: self.tokens,
            features,
            // Yang et al. 2022, arXiv:2203.03466, definition 4.1.
            scale: if self.mup { 1.0 / each } else { 1.0 / each.sqrt() },
            causal: self.causal,
            eps: self.qk_norm.then_some(QK_EPS),
        }
    }

    /// What stands behind the last block.
    fn ends(&self) -> (Vec<Part>, Vec<Parameters>) {
        let (mut parts, mut slot) = (Vec::new(), Vec::new());
        if let Some(norm) = self.final_norm {
            parts.push(Part::Norm(Normalise { norm, affine: 0 }));
            slot.push(Parameters::affine(Module::FinalNorm, self.width, norm.centres()));
        }
        parts.extend(self.pool.map(|way| Part::Pool(Pool { tokens: self.tokens, way, beyond: self.beyond })));
        if let Some(out) = self.out_features {
            parts.push(Part::Map(Map::of(slot.len(), false)));
            let place = self.place(None, (self.width, out), Stands::Alone);
            slot.push(Parameters::linear_of(Module::Readout, self.linear(place, 0)));
        }
        (parts, slot)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inits_for_so_many_blocks_draw_the_same_with_and_without_a_skip() {
        let stds = |skip: Option<&str>| {
            let (norm_position, init) = ("post".to_owned(), "deepnorm".to_owned());
            let skip = skip.map(str::to_owned);
            let request =
                TransformerRequest { norm_position, init, skip, in_features: Some(3), ..TransformerRequest::new(4, 8) };
            let maps = Transformer::new(&request).unwrap().lower().unwrap().slots;
            maps.iter().flatten().filter_map(Parameters::as_linear).map(LinearPlan::moments).collect::<Vec<_>>()
        };
        let with = stds(Some("deepnorm"));
        assert_eq!(stds(None), with);
        // The maps of a token: beta of 4 blocks, (8 * 4)^(-1/4), times Xavier's.
        let beta = (8.0_f64 * 4.0).powf(-0.25);
        assert!((with[3][1] / (beta * beta * 2.0 / (8.0 + 32.0)) - 1.0).abs() < 1e-12);
    }
}
