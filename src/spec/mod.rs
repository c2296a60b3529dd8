//! The validated description of a net and of a job: the one place that rejects input.
//!
//! A net is described by the fields of an [`Mlp`] or of a [`Transformer`], or part by part as a [`Sequential`]. All come
//! to layers of parts, which all that follows works on.

mod lower;
mod mlp;
mod per_layer;
mod rnn;
mod sequential;
mod transformer;

pub use lower::LayerShape;
pub use mlp::{Bias, BranchScale, Mlp, MlpRequest, Position};
pub use per_layer::PerLayer;
pub use rnn::{Rnn, RnnRequest};
pub use sequential::{Sequential, SequentialRequest};
pub use transformer::{Transformer, TransformerRequest};

use crate::activation::Activation;
use crate::error::{Error, Result, shown};
use crate::init::Init;
use crate::part::Net;
use crate::signature::Call;
use crate::synonyms::hint;

/// The deepest net that is accepted.
pub const MAX_DEPTH: usize = 1_000_000;
/// The widest layer that is accepted.
pub const MAX_WIDTH: usize = 1_000_000;

/// A valid net.
#[derive(Debug, Clone, PartialEq)]
pub enum Spec {
    /// Layers of one recipe.
    Mlp(Box<Mlp>),
    /// A list of parts.
    Sequential(Box<Sequential>),
    /// A recurrent net, step by step.
    Rnn(Box<Rnn>),
    /// Blocks of attention.
    Transformer(Box<Transformer>),
}

impl Spec {
    /// Check the fields of an MLP.
    pub fn new(request: &MlpRequest) -> Result<Self> {
        Mlp::new(request).map(|mlp| Self::Mlp(Box::new(mlp)))
    }

    /// Check a list of parts.
    pub fn of_parts(given: &SequentialRequest) -> Result<Self> {
        Sequential::new(given).map(|list| Self::Sequential(Box::new(list)))
    }

    /// Check the fields of a recurrent net.
    pub fn of_steps(asked: &RnnRequest) -> Result<Self> {
        Rnn::new(asked).map(|rnn| Self::Rnn(Box::new(rnn)))
    }

    /// Check the fields of a transformer.
    pub fn of_blocks(asked: &TransformerRequest) -> Result<Self> {
        Transformer::new(asked).map(|blocks| Self::Transformer(Box::new(blocks)))
    }

    /// The fields of an MLP.
    pub fn as_mlp(&self) -> Option<&Mlp> {
        match self {
            Self::Mlp(mlp) => Some(mlp),
            Self::Sequential(_) | Self::Rnn(_) | Self::Transformer(_) => None,
        }
    }

    /// Hidden layers, each a row of a probe.
    pub fn depth(&self) -> usize {
        match self {
            Self::Mlp(mlp) => mlp.depth,
            Self::Sequential(list) => list.depth(),
            Self::Rnn(rnn) => rnn.depth(),
            Self::Transformer(blocks) => blocks.rows(),
        }
    }

    /// Columns of a probe beside those of every net, which its parts note: at most so many.
    pub fn extra(&self) -> usize {
        match self {
            Self::Mlp(_) | Self::Sequential(_) => 0,
            Self::Rnn(rnn) => rnn.extra(),
            Self::Transformer(_) => transformer::extra(),
        }
    }

    /// Columns of the input, of each step's where every layer gets one, of each token's where samples have several.
    pub fn in_features(&self) -> usize {
        match self {
            Self::Mlp(mlp) => mlp.in_features,
            Self::Sequential(list) => list.in_features,
            Self::Rnn(rnn) => rnn.in_features,
            Self::Transformer(blocks) => blocks.in_features(),
        }
    }

    /// Columns of the samples: every step's input where each layer gets one.
    pub fn columns(&self) -> usize {
        self.in_features() * self.steps().unwrap_or(self.tokens())
    }

    /// Tokens of a sample; 1 where samples have none.
    pub fn tokens(&self) -> usize {
        if let Self::Transformer(blocks) = self { blocks.tokens } else { 1 }
    }

    /// Rows of the output that a sample has, each compared with a target of its own.
    pub fn places(&self) -> usize {
        match self {
            Self::Transformer(blocks) => blocks.places_of_output(),
            Self::Rnn(rnn) if rnn.every => rnn.steps,
            _ => 1,
        }
    }

    /// Steps with inputs of their own; none in a net that has one input.
    pub fn steps(&self) -> Option<usize> {
        match self {
            Self::Mlp(mlp) => mlp.fed.then_some(mlp.depth),
            Self::Rnn(rnn) => Some(rnn.steps),
            Self::Sequential(_) | Self::Transformer(_) => None,
        }
    }

    /// Columns of the output, of all places of a sample.
    pub fn output(&self) -> usize {
        match self {
            Self::Mlp(mlp) => mlp.output(),
            Self::Sequential(list) => list.output(),
            Self::Rnn(rnn) => rnn.output(),
            Self::Transformer(blocks) => blocks.output(),
        }
    }

    /// Streams that are open at once, each of which every layer of a plan lists: at most so many.
    fn streams(&self) -> usize {
        match self {
            Self::Rnn(rnn) => rnn.streams(),
            Self::Sequential(list) => list.streams(),
            Self::Mlp(_) | Self::Transformer(_) => 1,
        }
    }

    /// Bytes of the lists of open streams of a plan, which grow with the square of the layers where each has streams of
    /// its own. A list that grows is up to twice as long as what it holds.
    pub fn stream_bytes(&self) -> u128 {
        2 * size_of::<usize>() as u128 * self.depth() as u128 * self.streams() as u128
    }

    /// What makes a net larger beside its widths, as a caller calls it.
    pub fn sizes(&self) -> &'static str {
        match self {
            Self::Mlp(_) | Self::Sequential(_) => "depth",
            Self::Rnn(_) => "steps, layers",
            Self::Transformer(_) => "tokens, depth",
        }
    }

    /// Units of the widest layer.
    pub fn widest(&self) -> usize {
        match self {
            Self::Mlp(mlp) => mlp.width.values().iter().copied().max().unwrap_or(0),
            Self::Sequential(list) => list.widest(),
            Self::Rnn(rnn) => rnn.gates().count() * rnn.width,
            Self::Transformer(blocks) => blocks.widest(),
        }
    }

    /// The most values that a field lists.
    pub fn listed(&self) -> usize {
        match self {
            Self::Mlp(mlp) => mlp.listed(),
            Self::Sequential(list) => list.texts().len(),
            Self::Rnn(_) | Self::Transformer(_) => 1,
        }
    }

    /// The activations, in order; one that all layers share stands once.
    pub fn activations(&self) -> Vec<Activation> {
        match self {
            Self::Mlp(mlp) => mlp.activation.values().to_vec(),
            Self::Sequential(list) => list.activations().collect(),
            Self::Rnn(rnn) => vec![rnn.cell.activation()],
            Self::Transformer(blocks) => vec![blocks.activation],
        }
    }

    /// Do the numbers of a layer depend on how many there are?
    pub fn knows_depth(&self) -> bool {
        match self {
            Self::Mlp(mlp) => mlp.inits().any(Init::depends_on_depth),
            Self::Sequential(list) => list.inits().any(Init::depends_on_depth),
            Self::Rnn(_) => false,
            Self::Transformer(blocks) => blocks.knows_depth(),
        }
    }

    /// The canonical text of all that makes this net, from which its `id` is hashed. What is at its default is left out,
    /// so that what a later version adds changes no id.
    pub fn content(&self) -> String {
        match self {
            Self::Mlp(mlp) => mlp.content(),
            Self::Sequential(list) => list.content(),
            Self::Rnn(rnn) => rnn.content(),
            Self::Transformer(blocks) => blocks.content(),
        }
    }

    /// The canonical text without the depth: of two nets that share it, the shallower is the beginning of the deeper.
    pub fn family(&self) -> String {
        match self {
            Self::Mlp(mlp) => mlp.family(),
            Self::Sequential(list) => list.content(),
            // Each step has its own columns, which another number of steps would lay out differently.
            Self::Rnn(rnn) => rnn.content(),
            Self::Transformer(blocks) => blocks.family(),
        }
    }

    /// The net as layers of parts, the readout last. A valid spec has them, unless the job of this thread is given up.
    pub fn lower(&self) -> Result<Net> {
        match self {
            Self::Mlp(mlp) => mlp.lower(),
            Self::Sequential(list) => list.lower(),
            Self::Rnn(rnn) => rnn.lower(),
            Self::Transformer(blocks) => blocks.lower(),
        }
    }
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

/// The place of a word among those that are allowed.
fn word(name: &str, given: &str, words: &[&str]) -> Result<usize> {
    let refused = || {
        let given = format!("'{}'{}", shown(given), hint(given, words.iter().copied()));
        let all = words.iter().map(|word| format!("'{word}'")).collect::<Vec<_>>();
        let (last, others) =
            all.split_last().map_or((String::new(), &all[..]), |(last, others)| (last.clone(), others));
        Error::value(name, &format!("{} or {last}", others.join(", ")), given)
    };
    words.iter().position(|word| *word == given).ok_or_else(refused)
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
