//! Initialisations: one row each, with the rule that makes a distribution of parameters and a layer's place in the net.
//!
//! `fan_in` is the number of columns of `W`, `fan_out` the number of its rows. `gain` multiplies every entry, but for
//! the `kaiming` rows, where it is the number in the formula of the standard deviation. Names and semantics are those
//! of `torch.nn.init`; `he_normal`, `glorot_normal` and `variance_scaling` are those of Keras.

pub use crate::distribution::{Distribution, rescale};

use crate::activation::Activation;
use crate::error::{Error, Result};
use crate::gain::{self, Critical, critical};
use crate::kind::{self, Kind};
use crate::signature::{About, Call, Default, Domain, Param, Signature, Values, about};

use Distribution::{Constant, Eye, Mirrored, Normal, Orthogonal, Sparse, TruncatedNormal, Uniform};

/// An initialisation with its parameters.
pub type Init = Kind<Row>;

/// A linear map's place in a net.
#[derive(Debug, Clone, Copy)]
pub struct Place<'a> {
    /// Columns of the weights.
    pub fan_in: usize,
    /// Rows of the weights.
    pub fan_out: usize,
    /// Hidden layers of the net.
    pub depth: usize,
    /// The 0-based hidden layer; `None` for the readout.
    pub layer: Option<usize>,
    /// Residual blocks of the net, of which a transformer has two a block; the depth of any other net without a skip.
    pub blocks: usize,
    /// Layers of the residual branch that the map is part of; 0 outside of any.
    pub block: usize,
    /// Is the map the last of the branch?
    pub ends_branch: bool,
    /// The activation that the map feeds; `None` for the readout.
    pub activation: Option<&'a Activation>,
    /// What the map is to a block of a transformer.
    pub stands: Stands,
}

/// What a map is to a block of a transformer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stands {
    /// It stands in none.
    Alone,
    /// It makes queries.
    Query,
    /// It makes keys.
    Key,
    /// It makes values.
    Value,
    /// It takes what attention gives.
    Out,
    /// The first map of a token.
    Up,
    /// The last map of a token.
    Down,
}

impl Stands {
    /// Does it make what attention takes?
    fn before_attention(self) -> bool {
        matches!(self, Self::Query | Self::Key | Self::Value)
    }
}

impl Place<'_> {
    /// A readout of these fans.
    pub fn readout(fan_in: usize, fan_out: usize) -> Self {
        let (depth, blocks, block, stands) = (1, 1, 0, Stands::Alone);
        Self { fan_in, fan_out, depth, layer: None, blocks, block, ends_branch: false, activation: None, stands }
    }
}

type Rule = fn(&Values, &Place<'_>) -> Distribution;

/// An initialisation of the table.
pub struct Row {
    signature: Signature,
    weight: Rule,
    /// Biases that this init brings when the spec names no bias init.
    bias: Rule,
    /// The rule for a bias named by the spec itself; `None` where a vector has no such init.
    vector: Option<Rule>,
    /// Refuses parameters that contradict each other, and places that it knows nothing for.
    check: fn(&Values, &Place<'_>) -> Result<()>,
    /// Do the numbers of a layer depend on how many layers there are?
    depends_on_depth: bool,
    /// Are the weights scaled by what a batch of data makes of them?
    calibrates: bool,
    /// Are all blocks of a transformer drawn equal?
    alike: bool,
}

/// A row with zero biases and nothing to refuse.
const fn row(
    name: &'static str,
    aliases: &'static [&'static str],
    about: About,
    params: &'static [Param],
    weight: Rule,
) -> Row {
    let signature = Signature { name, aliases, params, about };
    let check = |_: &Values, _: &Place<'_>| Ok(());
    Row {
        signature,
        weight,
        bias: ZEROS,
        vector: None,
        check,
        depends_on_depth: false,
        calibrates: false,
        alike: false,
    }
}

/// A row that asks for no fans, so that a bias may have this init too.
const fn plain(name: &'static str, about: About, params: &'static [Param], rule: Rule) -> Row {
    Row { vector: Some(rule), ..row(name, &[], about, params, rule) }
}

const ZEROS: Rule = |_, _| Constant(0.0);

const GAIN: Param = Param::new("gain", Domain::NonNegative, 1.0);

const KAIMING: [Param; 4] = [
    Param::new("a", Domain::Finite, 0.0),
    Param::new("mode", Domain::Word(&["fan_in", "fan_out"]), 0.0),
    Param { name: "gain", domain: Domain::NonNegative, default: Default::Derived },
    Param::new("nonlinearity", Domain::Word(&gain::TORCH), 0.0),
];

/// `x / sqrt(n)`.
fn over_root(x: f64, n: usize) -> f64 {
    x / (n as f64).sqrt()
}

/// A uniform of this standard deviation.
fn uniform(std: f64) -> Distribution {
    let bound = 3_f64.sqrt() * std;
    Uniform(-bound, bound)
}

/// A normal cut at two of its standard deviations and widened to have this one: Keras's `truncated_normal`.
fn truncated(std: f64) -> Distribution {
    /// The standard deviation of a unit normal that lies between -2 and 2.
    const LEFT: f64 = 0.879_625_661_034_239_8;
    let std = std / LEFT;
    TruncatedNormal { mean: 0.0, std, low: -2.0 * std, high: 2.0 * std }
}

/// He et al. 2015, arXiv:1502.01852: `gain / sqrt(fan)`.
fn kaiming(p: &Values, at: &Place<'_>) -> f64 {
    over_root(kaiming_gain(p), if p[1] == 0.0 { at.fan_in } else { at.fan_out })
}

fn kaiming_gain(p: &Values) -> f64 {
    let named = || gain::torch(gain::TORCH[p[3] as usize], p[0]).unwrap_or(f64::NAN);
    if p[2].is_nan() { named() } else { p[2] }
}

/// Glorot and Bengio 2010: variance `2 / (fan_in + fan_out)`.
fn xavier(p: &Values, at: &Place<'_>) -> f64 {
    p[0] * (2.0 / (at.fan_in + at.fan_out) as f64).sqrt()
}

/// Keras's `VarianceScaling`: variance `scale / fan`.
fn variance_scaling(p: &Values, at: &Place<'_>) -> Distribution {
    let (fan_in, fan_out) = (at.fan_in as f64, at.fan_out as f64);
    let fan = [fan_in, fan_out, 0.5 * (fan_in + fan_out)][p[1] as usize];
    let std = p[3] * (p[0] / fan).sqrt();
    [truncated, |std| Normal(0.0, std), uniform][p[2] as usize](std)
}

fn check_bounds(p: &Values, _: &Place<'_>) -> Result<()> {
    /// The number of standard deviations beyond which probabilities leave the range of f64.
    const FAR: f64 = 30.0;
    let [mean, std, low, high, ..] = *p;
    if low >= high {
        return Err(Error::Value(format!("init trunc_normal: a must be below b, got a={low}, b={high}")));
    }
    if low > mean + FAR * std || high < mean - FAR * std {
        return Err(Error::Value(format!(
            "init trunc_normal: some of the interval from a={low} to b={high} must be within {FAR} std of the mean, \
             got mean={mean}, std={std}"
        )));
    }
    Ok(())
}

fn mirrored(p: &Values, at: &Place<'_>) -> Distribution {
    Mirrored { gain: p[0], rows: at.layer.is_some(), columns: at.layer != Some(0) }
}

fn check_pairs(_: &Values, at: &Place<'_>) -> Result<()> {
    let odd = |fan: usize, name: String| {
        Err(Error::value(&name, "even with init looks_linear, which pairs each unit with its mirror image", fan))
    };
    match at.layer {
        Some(layer) if at.fan_out % 2 == 1 => odd(at.fan_out, format!("the width of hidden layer {}", layer + 1)),
        // Outputs of a gated activation are half as many as units.
        layer if layer != Some(0) && at.fan_in % 2 == 1 => odd(at.fan_in, "what each layer gives".to_owned()),
        _ => Ok(()),
    }
}

/// He's normals, in a branch of `m` layers times `L^(-1 / (2 m - 2))`; zeros where a branch ends and in the readout.
fn fixup(p: &Values, at: &Place<'_>) -> Distribution {
    if at.ends_branch || at.layer.is_none() {
        return Constant(0.0);
    }
    let damping = if at.block > 1 { (at.blocks as f64).powf(-0.5 / (at.block - 1) as f64) } else { 1.0 };
    Normal(0.0, over_root(p[0] * 2_f64.sqrt() * damping, at.fan_in))
}

fn mup(p: &Values, at: &Place<'_>) -> f64 {
    let std = over_root(p[0], at.fan_in);
    if at.layer.is_some() { std } else { over_root(std, at.fan_in) }
}

fn depth_mup(p: &Values, at: &Place<'_>) -> f64 {
    if at.ends_branch { over_root(mup(p, at), at.blocks) } else { mup(p, at) }
}

/// The critical point of the activation that a map feeds; a readout feeds none and is linear, without biases.
fn edge(p: &Values, at: &Place<'_>) -> Result<Critical> {
    at.activation.map_or(Ok(Critical { sigma_w: 1.0, q: 0.0 }), |activation| {
        critical(activation, p[0]).map_err(|error| Error::Value(format!("init critical: {error}")))
    })
}

static TABLE: [Row; 32] = [
    plain("zeros", about("W = 0", "all 0: units of a layer stay the same", "torch.nn.init.zeros_"), &[GAIN], ZEROS),
    plain(
        "constant",
        about("W = gain * value", "all the same number", "torch.nn.init.constant_"),
        &[Param { name: "value", domain: Domain::Finite, default: Default::Required }, GAIN],
        |p, _| Constant(p[1] * p[0]),
    ),
    plain("ones", about("W = gain", "all 1, times gain", "torch.nn.init.ones_"), &[GAIN], |p, _| Constant(p[0])),
    plain(
        "uniform",
        about("W ~ U(gain * a, gain * b)", "uniform between two numbers, whatever the fans", "torch.nn.init.uniform_"),
        &[Param::new("a", Domain::Finite, 0.0), Param::new("b", Domain::Finite, 1.0), GAIN],
        |p, _| Uniform(p[2] * p[0], p[2] * p[1]),
    ),
    plain(
        "normal",
        about(
            "W ~ N(gain * mean, (gain * std)**2)",
            "normal, whatever the fans; the second number is the variance",
            "torch.nn.init.normal_",
        ),
        &[Param::new("mean", Domain::Finite, 0.0), Param::new("std", Domain::NonNegative, 1.0), GAIN],
        |p, _| Normal(p[2] * p[0], p[2] * p[1]),
    ),
    Row {
        check: check_bounds,
        ..plain(
            "trunc_normal",
            about(
                "W ~ gain * N(mean, std**2) cut at a and b",
                "normal between two bounds, which are numbers and no multiples of std",
                "torch.nn.init.trunc_normal_",
            ),
            &[
                Param::new("mean", Domain::Finite, 0.0),
                Param::new("std", Domain::Positive, 1.0),
                Param::new("a", Domain::Finite, -2.0),
                Param::new("b", Domain::Finite, 2.0),
                GAIN,
            ],
            |&[mean, std, low, high, gain, ..], _| TruncatedNormal {
                mean: gain * mean,
                std: gain * std,
                low: gain * low,
                high: gain * high,
            },
        )
    },
    row(
        "eye",
        &["identity"],
        about("W = gain * I", "the identity", "Le, Jaitly and Hinton 2015, arXiv:1504.00941; torch.nn.init.eye_"),
        &[GAIN],
        |p, _| Eye(p[0]),
    ),
    row(
        "xavier_uniform",
        &["glorot_uniform"],
        about(
            "W ~ U(-r, r), r = gain * sqrt(6 / (fan_in + fan_out))",
            "uniform: keeps signals of linear nets in both directions, on average",
            "Glorot and Bengio 2010; torch.nn.init.xavier_uniform_",
        ),
        &[GAIN],
        |p, at| uniform(xavier(p, at)),
    ),
    row(
        "xavier_normal",
        &[],
        about(
            "W ~ N(0, gain**2 * 2 / (fan_in + fan_out))",
            "normal: keeps signals of linear nets in both directions, on average",
            "Glorot and Bengio 2010; torch.nn.init.xavier_normal_",
        ),
        &[GAIN],
        |p, at| Normal(0.0, xavier(p, at)),
    ),
    row(
        "glorot_normal",
        &[],
        about(
            "W ~ N cut at 2 of its standard deviations, var(W) = gain**2 * 2 / (fan_in + fan_out)",
            "Keras's Xavier, truncated",
            "Glorot and Bengio 2010; keras.initializers.GlorotNormal",
        ),
        &[GAIN],
        |p, at| truncated(xavier(p, at)),
    ),
    row(
        "kaiming_uniform",
        &["he_uniform"],
        about(
            "W ~ U(-r, r), r = gain * sqrt(3 / fan)",
            "uniform: keeps signals of ReLU nets; fan is the mode's, and gain sqrt(2 / (1 + a**2)) or that of the \
             nonlinearity",
            "He et al. 2015, arXiv:1502.01852; torch.nn.init.kaiming_uniform_",
        ),
        &KAIMING,
        |p, at| uniform(kaiming(p, at)),
    ),
    row(
        "kaiming_normal",
        &[],
        about(
            "W ~ N(0, gain**2 / fan)",
            "normal: keeps signals of ReLU nets; fan is the mode's, and gain sqrt(2 / (1 + a**2)) or that of the \
             nonlinearity",
            "He et al. 2015, arXiv:1502.01852; torch.nn.init.kaiming_normal_",
        ),
        &KAIMING,
        |p, at| Normal(0.0, kaiming(p, at)),
    ),
    row(
        "he_normal",
        &[],
        about(
            "W ~ N cut at 2 of its standard deviations, var(W) = gain**2 * 2 / fan_in",
            "Keras's Kaiming, truncated",
            "He et al. 2015, arXiv:1502.01852; keras.initializers.HeNormal",
        ),
        &[GAIN],
        |p, at| truncated(over_root(p[0] * 2_f64.sqrt(), at.fan_in)),
    ),
    row(
        "lecun_uniform",
        &[],
        about(
            "W ~ U(-r, r), r = gain * sqrt(3 / fan_in)",
            "uniform: keeps signals of linear nets on their way forward",
            "LeCun et al. 1998, \"Efficient BackProp\"; keras.initializers.LecunUniform",
        ),
        &[GAIN],
        |p, at| uniform(over_root(p[0], at.fan_in)),
    ),
    row(
        "lecun_normal",
        &[],
        about(
            "W ~ N(0, gain**2 / fan_in)",
            "normal: keeps signals of linear nets on their way forward; not truncated, as Keras's is",
            "LeCun et al. 1998, \"Efficient BackProp\"",
        ),
        &[GAIN],
        |p, at| Normal(0.0, over_root(p[0], at.fan_in)),
    ),
    row(
        "variance_scaling",
        &[],
        about(
            "var(W) = gain**2 * scale / fan",
            "Keras's family; fan is the mode's, and a truncated normal is cut at 2 of its standard deviations",
            "keras.initializers.VarianceScaling",
        ),
        &[
            Param::new("scale", Domain::Positive, 1.0),
            Param::new("mode", Domain::Word(&["fan_in", "fan_out", "fan_avg"]), 0.0),
            Param::new("distribution", Domain::Word(&["truncated_normal", "untruncated_normal", "uniform"]), 0.0),
            GAIN,
        ],
        variance_scaling,
    ),
    row(
        "sparse",
        &[],
        about(
            "W = 0 for ceil(sparsity * fan_out) entries of each column, W ~ N(0, (gain * std)**2) elsewhere",
            "few connections for each input",
            "Martens 2010, \"Deep learning via Hessian-free optimization\"; torch.nn.init.sparse_",
        ),
        &[
            Param { name: "sparsity", domain: Domain::Share, default: Default::Required },
            Param::new("std", Domain::NonNegative, 0.01),
            GAIN,
        ],
        |p, at| Sparse { zeros: (p[0] * at.fan_out as f64).ceil() as usize, std: p[2] * p[1] },
    ),
    row(
        "orthogonal",
        &[],
        about(
            "W = gain * Q, var(W) = gain**2 / max(fan_in, fan_out)",
            "Q orthonormal on its shorter side, drawn evenly: all singular values are gain",
            "Saxe et al. 2013, arXiv:1312.6120; torch.nn.init.orthogonal_",
        ),
        &[GAIN],
        |p, _| Orthogonal(p[0]),
    ),
    // As in the paper's "parameter distributions".
    row(
        "scaled_uniform_orthogonal",
        &[],
        about(
            "W = gain * max(1, sqrt(fan_out / fan_in)) * Q, var(W) = gain**2 / fan_in",
            "orthogonal, scaled so that a map to more units keeps the mean square too",
            "Martens et al. 2021, arXiv:2110.01765",
        ),
        &[GAIN],
        |p, at| Orthogonal(p[0] * (at.fan_out as f64 / at.fan_in as f64).sqrt().max(1.0)),
    ),
    // Pairs of units of opposite sign, of which ReLUs pass one and the next
    // layer takes the difference, so that the net is the product of its orthogonal blocks. With leaky ReLUs of slope a
    // it is (1 + a)^depth times that.
    Row {
        check: check_pairs,
        ..row(
            "looks_linear",
            &[],
            about(
                "W = gain * [[Q, -Q], [-Q, Q]]",
                "mirrored orthogonal blocks Q, with which a ReLU net is linear at first; [Q; -Q] in the first layer, \
                 [Q, -Q] in the readout",
                "Balduzzi et al. 2017, arXiv:1702.08591",
            ),
            &[GAIN],
            mirrored,
        )
    },
    Row {
        calibrates: true,
        ..row(
            "lsuv",
            &[],
            about(
                "W = c * Q, c such that var(z) = 1",
                "orthogonal, then scaled layer after layer by what a batch of data makes of it; a gain falls out",
                "Mishkin and Matas 2015, arXiv:1511.06422",
            ),
            &[GAIN],
            |p, _| Orthogonal(p[0]),
        )
    },
    // Rules 1 and 2 of the paper.
    Row {
        depends_on_depth: true,
        ..row(
            "fixup",
            &[],
            about(
                "W ~ N(0, gain**2 * 2 / fan_in * L**(-1 / (m - 1)))",
                "for L residual branches of m layers; 0 in the last layer of each branch and in the readout, He's \
                 outside of branches",
                "Zhang, Dauphin and Ma 2019, arXiv:1901.09321",
            ),
            &[GAIN],
            fixup,
        )
    },
    Row {
        bias: |p, _| Normal(0.0, p[1]),
        ..row(
            "mean_field",
            &[],
            about(
                "W ~ N(0, (gain * sigma_w)**2 / fan_in), b ~ N(0, sigma_b**2)",
                "normal weights and biases in the units of mean-field theory",
                "Poole et al. 2016, arXiv:1606.05340",
            ),
            &[Param::new("sigma_w", Domain::NonNegative, 1.0), Param::new("sigma_b", Domain::NonNegative, 0.0), GAIN],
            |p, at| Normal(0.0, over_root(p[2] * p[0], at.fan_in)),
        )
    },
    Row {
        bias: |p, at| Normal(0.0, if at.layer.is_some() { p[0] } else { 0.0 }),
        check: |p, at| edge(p, at).map(|_| ()),
        ..row(
            "critical",
            &[],
            about(
                "W ~ N(0, (gain * sigma_w)**2 / fan_in), b ~ N(0, sigma_b**2), sigma_w such that chi_1 = 1",
                "mean_field on the edge of chaos of the layer's activation; a readout has sigma_w 1 and no bias",
                "Schoenholz et al. 2017, arXiv:1611.01232",
            ),
            &[Param::new("sigma_b", Domain::NonNegative, 0.0), GAIN],
            |p, at| {
                // `check` has refused a place without an edge: it has no weights.
                Normal(0.0, over_root(p[1] * edge(p, at).map_or(f64::NAN, |edge| edge.sigma_w), at.fan_in))
            },
        )
    },
    row(
        "mup",
        &[],
        about(
            "W ~ N(0, gain**2 / fan_in), readout: W ~ N(0, gain**2 / fan_in**2)",
            "the rule of widths: a rate that is tuned at one width is right at another",
            "Yang et al. 2022, arXiv:2203.03466, table 3",
        ),
        &[GAIN],
        |p, at| Normal(0.0, mup(p, at)),
    ),
    // The paper multiplies a branch by 1 / sqrt(L). Here its last weights are, which is the
    // same for activations that are positively homogeneous; for others say branch_scale="1/sqrt(L)" and mup.
    Row {
        depends_on_depth: true,
        ..row(
            "depth_mup",
            &[],
            about(
                "W ~ N(0, gain**2 / fan_in), times 1 / sqrt(L) in the last map of each of L branches",
                "mup for residual nets of any depth",
                "Yang et al. 2023, arXiv:2310.02244",
            ),
            &[GAIN],
            |p, at| Normal(0.0, depth_mup(p, at)),
        )
    },
    // torch.nn.Linear: kaiming_uniform(a=sqrt(5)), which is a bound of 1 / sqrt(fan_in) for weights and biases.
    Row {
        bias: |_, at| torch_uniform(1.0, at),
        vector: Some(|p, at| torch_uniform(p[0], at)),
        ..row(
            "torch_default",
            &[],
            about(
                "W ~ U(-r, r), r = gain / sqrt(fan_in); b ~ U(-s, s), s = 1 / sqrt(fan_in)",
                "what torch.nn.Linear draws: of variance 1 / (3 fan_in), too small for deep nets",
                "torch.nn.Linear",
            ),
            &[GAIN],
            |p, at| torch_uniform(p[0], at),
        )
    },
    // torch.nn.RNNBase.reset_parameters: everything is uniform up to 1 / sqrt(hidden_size), which are the rows of a gate.
    Row {
        bias: |_, at| torch_recurrent(1.0, at),
        ..row(
            "torch_rnn",
            &[],
            about(
                "W, b ~ U(-r, r), r = gain / sqrt(units), gain 1 for b; torch_default in a readout",
                "what torch.nn.RNN, LSTM and GRU draw, whatever their inputs",
                "torch.nn.LSTM",
            ),
            &[GAIN],
            |p, at| torch_recurrent(p[0], at),
        )
    },
    // torch.nn.TransformerEncoderLayer: MultiheadAttention._reset_parameters, and Linear for all else.
    Row {
        bias: torch_attention_bias,
        ..row(
            "torch_transformer",
            &[],
            about(
                "W_QKV ~ U(-r, r), r = gain * sqrt(6 / (fan_in + 3 * fan_out)); others as torch_default",
                "what torch.nn.TransformerEncoderLayer draws: queries, keys and values as one matrix, which halves their \
                 variance; biases of attention are 0",
                "torch.nn.TransformerEncoderLayer, torch.nn.MultiheadAttention",
            ),
            &[GAIN],
            torch_attention,
        )
    },
    Row {
        bias: torch_attention_bias,
        alike: true,
        ..row(
            "torch_encoder",
            &[],
            about(
                "as torch_transformer, W of every block the same",
                "what torch.nn.TransformerEncoder starts from: copies of one layer, all equal",
                "torch.nn.TransformerEncoder (pytorch issue 86274)",
            ),
            &[GAIN],
            torch_attention,
        )
    },
    Row {
        depends_on_depth: true,
        ..row(
            "gpt2",
            &[],
            about(
                "W ~ N(0, (gain * std)**2), times 1 / sqrt(L) in the last map of each of L branches",
                "small whatever the fans, and smaller where a branch meets the stream",
                "Radford et al. 2019, \"Language models are unsupervised multitask learners\", section 2.3",
            ),
            &[Param::new("std", Domain::NonNegative, 0.02), GAIN],
            |p, at| Normal(0.0, if at.ends_branch { over_root(p[1] * p[0], at.blocks) } else { p[1] * p[0] }),
        )
    },
    Row {
        depends_on_depth: true,
        ..row(
            "deepnorm",
            &[],
            about(
                "W ~ N(0, (gain * beta)**2 * 2 / (fan_in + fan_out)), beta = (8 N)**(-1/4), 1 for queries and keys",
                "Xavier's, smaller in what N blocks of a transformer add to the stream; goes with skip='deepnorm'",
                "Wang et al. 2022, arXiv:2203.00555, figure 2",
            ),
            &[GAIN],
            |p, at| {
                // Each block has two branches.
                let beta = (4.0 * at.blocks as f64).powf(-0.25);
                let adds = matches!(at.stands, Stands::Value | Stands::Out | Stands::Up | Stands::Down);
                Normal(0.0, if adds { beta } else { 1.0 } * xavier(p, at))
            },
        )
    },
];

/// Biases of gates for memories of up to so many steps; of no table, for no other map has such biases.
static CHRONO: Row = Row {
    check: |p, _| {
        let allowed = "a number above 2: memories are from 1 to T steps long";
        if p[0] > 2.0 { Ok(()) } else { Err(Error::value("init chrono: T", allowed, p[0])) }
    },
    ..row(
        "chrono",
        &[],
        about(
            "b_f = ln u, u ~ U(1, T - 1), b_i = -b_f",
            "biases of gates for memories of 1 to T steps; of a GRU, b_z = ln u",
            "Tallec and Ollivier 2018, arXiv:1804.11188",
        ),
        &[Param::required("T", Domain::Positive)],
        ZEROS,
    )
};

fn torch_recurrent(gain: f64, at: &Place<'_>) -> Distribution {
    let bound = over_root(gain, if at.layer.is_some() { at.fan_out } else { at.fan_in });
    Uniform(-bound, bound)
}

fn torch_attention(p: &Values, at: &Place<'_>) -> Distribution {
    if at.stands.before_attention() {
        uniform(p[0] * (2.0 / (at.fan_in + 3 * at.fan_out) as f64).sqrt())
    } else {
        torch_uniform(p[0], at)
    }
}

fn torch_attention_bias(_: &Values, at: &Place<'_>) -> Distribution {
    if at.stands.before_attention() || at.stands == Stands::Out { Constant(0.0) } else { torch_uniform(1.0, at) }
}

fn torch_uniform(gain: f64, at: &Place<'_>) -> Distribution {
    let bound = over_root(gain, at.fan_in);
    Uniform(-bound, bound)
}

impl kind::Row for Row {
    const NOUN: &'static str = "init";

    fn table() -> &'static [Self] {
        &TABLE
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn unlisted(call: &Call) -> Result<Option<&'static Self>> {
        if ["rezero", "skipinit"].contains(&call.name.as_str()) {
            return Err(Error::Value(format!(
                "'{}' is no init but a branch that is multiplied by a learnable scalar: use skip=\"rezero\"",
                call.name
            )));
        }
        Ok((call.name == CHRONO.signature.name).then_some(&CHRONO))
    }

    fn check(&self, values: &Values) -> Result<()> {
        // A place that no row refuses: what is left are parameters.
        (self.check)(values, &Place::readout(2, 2))
    }

    fn derived(&self, values: &Values) -> Option<(&'static str, f64)> {
        let gain = self.signature.params.iter().position(|param| param.default == Default::Derived)?;
        values[gain].is_nan().then(|| (self.signature.params[gain].name, kaiming_gain(values)))
    }
}

impl Kind<Row> {
    /// The init that a call describes for biases; an error for one that a vector cannot have.
    pub fn for_bias(call: &Call) -> Result<Self> {
        let of_vectors = TABLE.iter().filter(|row| row.vector.is_some()).map(|row| row.signature.name);
        match TABLE.iter().find(|row| row.signature.answers_to(&call.name)) {
            None => Err(Error::unknown("bias init", &call.name, of_vectors)),
            Some(row) if row.vector.is_none() => Err(Error::value(
                "bias",
                &format!("one of {}", of_vectors.collect::<Vec<_>>().join(", ")),
                format!("'{}' (it is for matrices)", call.name),
            )),
            Some(_) => Self::new(call),
        }
    }

    /// Refuse a place that this init has no numbers for.
    pub fn check(&self, place: &Place<'_>) -> Result<()> {
        if self.longest_memory().is_some() {
            return Err(Error::Value(format!(
                "init '{}' is for the biases of gates alone: give it as bias of an RNN whose cell is lstm or gru",
                self.text()
            )));
        }
        (self.row.check)(&self.values, place)
    }

    /// The longest memory that biases of gates are drawn for, if this is `chrono`: a step less than `T`.
    pub fn longest_memory(&self) -> Option<f64> {
        std::ptr::eq(self.row, &raw const CHRONO).then(|| self.values[0] - 1.0)
    }

    /// The distribution of a weight matrix.
    pub fn weight(&self, place: &Place<'_>) -> Distribution {
        (self.row.weight)(&self.values, place)
    }

    /// The distribution of a bias under the bias init that a spec names, or the one that this init brings for `None`.
    pub fn bias(&self, named: Option<&Self>, place: &Place<'_>) -> Distribution {
        match named {
            None => (self.row.bias)(&self.values, place),
            Some(named) => named.row.vector.unwrap_or(ZEROS)(&named.values, place),
        }
    }

    /// Does this init bring that bias anyway, wherever a map stands?
    pub fn brings(&self, named: &Self) -> bool {
        Self::places_of_bias().iter().all(|place| self.bias(Some(named), place) == self.bias(None, place))
    }

    /// Does this init bring biases of 0, wherever a map stands?
    pub fn brings_zeros(&self) -> bool {
        Self::places_of_bias().iter().all(|place| self.bias(None, place).is_zero())
    }

    /// Places by which biases differ, if they do at all: two fans tell.
    fn places_of_bias() -> [Place<'static>; 4] {
        let [small, large] = [2, 3].map(|fan| Place::readout(fan, fan));
        let hidden = |place: Place<'static>| Place { layer: Some(0), ..place };
        [small, large, hidden(small), hidden(large)]
    }

    /// Do the numbers of a layer depend on how many layers there are? Nets of different depth then share none.
    pub fn depends_on_depth(&self) -> bool {
        self.row.depends_on_depth
    }

    /// Are all blocks of a transformer drawn equal?
    pub fn alike(&self) -> bool {
        self.row.alike
    }

    /// Are the weights to be scaled by what a batch of data makes of them?
    pub fn calibrates(&self) -> bool {
        self.row.calibrates
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Cancel;
    use crate::rng::{Role, Stream};

    fn init(text: &str) -> Init {
        Init::parse(text).unwrap()
    }

    fn weight(text: &str, fan_in: usize, fan_out: usize) -> Distribution {
        init(text).weight(&Place { layer: Some(0), ..Place::readout(fan_in, fan_out) })
    }

    #[test]
    fn standard_deviations_are_the_published_ones() {
        assert_eq!(weight("xavier_normal(gain=3)", 20, 30), Normal(0.0, 3.0 * 0.04_f64.sqrt()));
        assert_eq!(weight("kaiming_normal", 50, 3), Normal(0.0, 0.2));
        assert_eq!(weight("kaiming_normal(mode=fan_out)", 3, 50), Normal(0.0, 0.2));
        assert_eq!(weight("kaiming_normal(gain=1)", 25, 3), Normal(0.0, 0.2));
        assert_eq!(weight("kaiming_normal(nonlinearity=tanh)", 25, 3), Normal(0.0, 5.0 / 3.0 / 5.0));
        assert_eq!(weight("torch_default", 4, 9), Uniform(-0.5, 0.5));
        let four = Place::readout(4, 4);
        assert_eq!(init("torch_default").bias(None, &four), Uniform(-0.5, 0.5));
        assert_eq!(init("mean_field(1.5, 0.05)").bias(None, &four), Normal(0.0, 0.05));
        // He et al. 2015, section 2.2: sqrt(2 / (9 c)) for c input channels of a 3x3 filter.
        for (channels, std) in [(64, 0.058_926), (128, 0.041_667), (256, 0.029_463), (512, 0.020_833)] {
            assert!(matches!(weight("kaiming_normal", 9 * channels, 1), Normal(_, s) if (s - std).abs() < 1e-6));
        }
    }

    #[test]
    fn every_init_has_the_variance_of_its_closed_form_and_of_its_draws() {
        let tanh = Activation::parse("tanh").unwrap();
        let place = Place { layer: Some(0), blocks: 4, block: 2, activation: Some(&tanh), ..Place::readout(24, 50) };
        let (fan_in, fan_out) = (24.0, 50.0);
        // A unit normal between -2 and 2.
        let cut = 1.0 - 4.0 * libm::exp(-2.0) / std::f64::consts::TAU.sqrt() / libm::erf(2_f64.sqrt());
        let table = [
            ("zeros", 0.0, 0.0),
            ("constant(0.3)", 0.3, 0.0),
            ("ones", 1.0, 0.0),
            ("uniform", 0.5, 1.0 / 12.0),
            ("uniform(-1, 3)", 1.0, 16.0 / 12.0),
            ("normal", 0.0, 1.0),
            ("normal(2, 0.1)", 2.0, 0.01),
            ("trunc_normal", 0.0, cut),
            ("eye", 1.0 / fan_out, 49.0 / 2500.0),
            ("xavier_uniform", 0.0, 2.0 / (fan_in + fan_out)),
            ("xavier_normal", 0.0, 2.0 / (fan_in + fan_out)),
            ("glorot_normal", 0.0, 2.0 / (fan_in + fan_out)),
            ("kaiming_uniform", 0.0, 2.0 / fan_in),
            ("kaiming_normal", 0.0, 2.0 / fan_in),
            ("kaiming_normal(mode=fan_out, nonlinearity=linear)", 0.0, 1.0 / fan_out),
            ("he_normal", 0.0, 2.0 / fan_in),
            ("lecun_uniform", 0.0, 1.0 / fan_in),
            ("lecun_normal", 0.0, 1.0 / fan_in),
            ("variance_scaling", 0.0, 1.0 / fan_in),
            ("variance_scaling(3, fan_avg, uniform)", 0.0, 6.0 / (fan_in + fan_out)),
            ("sparse(0.1)", 0.0, 1e-4 * 45.0 / fan_out),
            ("orthogonal", 0.0, 1.0 / fan_out),
            ("scaled_uniform_orthogonal", 0.0, 1.0 / fan_in),
            // A block of 25 rows and its mirror image.
            ("looks_linear", 0.0, 1.0 / 25.0),
            ("lsuv", 0.0, 1.0 / fan_out),
            ("fixup", 0.0, 2.0 / fan_in / 4.0),
            ("mean_field(1.5)", 0.0, 2.25 / fan_in),
            ("critical", 0.0, 1.0 / fan_in),
            ("mup", 0.0, 1.0 / fan_in),
            ("depth_mup", 0.0, 1.0 / fan_in),
            ("torch_default", 0.0, 1.0 / (3.0 * fan_in)),
            ("torch_rnn", 0.0, 1.0 / (3.0 * fan_out)),
            ("torch_transformer", 0.0, 1.0 / (3.0 * fan_in)),
            ("torch_encoder", 0.0, 1.0 / (3.0 * fan_in)),
            ("gpt2", 0.0, 0.02 * 0.02),
            ("deepnorm", 0.0, 2.0 / (fan_in + fan_out)),
        ];
        for name in Init::names() {
            assert!(table.iter().any(|(text, ..)| init(text).signature().name == name), "{name} is not in the table");
        }
        for (text, mean, variance) in table {
            let law = init(text).weight(&place);
            let [first, second] = law.moments(50, 24);
            assert!((first - mean).abs() <= 1e-15 * mean, "{text}: {first}");
            assert!((second - variance).abs() <= 2e-14 * variance, "{text}: {second}");
            let mut drawn = vec![0.0_f64; 400 * 1200];
            for (seed, out) in drawn.chunks_exact_mut(1200).enumerate() {
                law.fill(Stream::new(seed as u64, 0, Role::Weight), 50, 24, out, &Cancel::default()).unwrap();
            }
            let count = drawn.len() as f64;
            let found = drawn.iter().sum::<f64>() / count;
            let spread = drawn.iter().map(|w| (w - found) * (w - found)).sum::<f64>() / count;
            // Five standard deviations of the mean, and of the mean square of normals.
            assert!((found - mean).abs() <= 5.0 * (variance / count).sqrt() + 1e-10 * mean.abs(), "{text}: {found}");
            assert!((spread - variance).abs() <= 5.0 * (2.0 / count).sqrt() * variance + 1e-20, "{text}: {spread}");
        }
        // A readout has another variance with three of them.
        let readout = Place::readout(24, 50);
        for (text, variance) in [("mup", fan_in.powi(-2)), ("depth_mup", fan_in.powi(-2)), ("fixup", 0.0)] {
            assert!((init(text).weight(&readout).moments(50, 24)[1] - variance).abs() <= 1e-15 * variance, "{text}");
        }
    }

    #[test]
    fn a_layers_place_decides_where_it_should() {
        let place = Place { layer: Some(3), blocks: 16, block: 3, ..Place::readout(50, 50) };
        let last = Place { ends_branch: true, ..place };
        let readout = Place::readout(50, 50);
        let fixup = init("fixup");
        assert!(matches!(fixup.weight(&place), Normal(0.0, std) if (std - 0.1).abs() < 1e-16));
        assert!(fixup.weight(&last).is_zero() && fixup.weight(&readout).is_zero());
        assert_eq!(fixup.weight(&Place { block: 0, ..place }), Normal(0.0, 0.2));
        let std = |text: &str, place: &Place<'_>| match init(text).weight(place) {
            Normal(0.0, std) => std * 50.0,
            other => panic!("{other:?}"),
        };
        let root = 50_f64.sqrt();
        for (text, place, expected) in [
            ("mup", place, root),
            ("mup", readout, 1.0),
            ("depth_mup", place, root),
            ("depth_mup", last, root / 4.0),
            ("depth_mup", readout, 1.0),
        ] {
            assert!((std(text, &place) - expected).abs() < 1e-14, "{text}");
        }
    }

    #[test]
    fn a_bias_takes_only_inits_that_a_vector_has() {
        let bias = |text: &str| Init::for_bias(&Call::parse("bias", text).unwrap());
        assert!(bias("constant(0.1)").is_ok());
        let message = bias("xavier_normal").unwrap_err().to_string();
        let names = "zeros, constant, ones, uniform, normal, trunc_normal, torch_default";
        assert!(message.contains(&format!("bias must be one of {names}")), "{message}");
    }
}
