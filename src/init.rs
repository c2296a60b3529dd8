//! Initialisations: one row each, the rule that turns fans and parameters into a distribution.
//!
//! `fan_in` is the number of columns of `W`, `fan_out` the number of its rows. `gain` is the number in the formula of
//! the standard deviation. Names and semantics are those of `torch.nn.init`; `lecun_normal` is not truncated.

use crate::activation::Activation;
use crate::error::{Cancel, Error, Result};
use crate::qr::Columns;
use crate::rng::Stream;
use crate::signature::{Call, Default, Domain, Param, Signature, Values, find};
use crate::simd::Float;

/// How the entries of one tensor are made.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Distribution {
    /// Every entry is this.
    Constant(f64),
    /// Between two bounds.
    Uniform(f64, f64),
    /// With a mean and a standard deviation.
    Normal(f64, f64),
    /// Haar-distributed orthonormal rows or columns times a gain.
    Orthogonal(f64),
}

use Distribution::{Constant, Normal, Orthogonal, Uniform};

/// Where in a net the weights of a map stand.
#[derive(Debug, Clone, Copy)]
pub struct Place<'a> {
    /// Columns of the weights.
    pub fan_in: usize,
    /// Rows of the weights.
    pub fan_out: usize,
    /// Hidden layers of the net.
    pub depth: usize,
    /// The hidden layer; `None` for the readout.
    pub layer: Option<usize>,
    /// Branches of the net.
    pub blocks: usize,
    /// Layers of a branch.
    pub block: usize,
    /// Is it the last layer of a branch?
    pub ends_branch: bool,
    /// The activation that the map feeds into; none after the readout.
    pub activation: Option<&'a Activation>,
}

/// An initialisation with its parameters.
#[derive(Clone, Copy)]
pub struct Init {
    row: &'static Row,
    values: Values,
}

impl std::fmt::Debug for Init {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.text())
    }
}

impl PartialEq for Init {
    fn eq(&self, other: &Self) -> bool {
        self.text() == other.text()
    }
}

struct Row {
    signature: Signature,
    /// Weights from (parameters, `fan_in`, `fan_out`).
    weight: fn(&Values, f64, f64) -> Distribution,
    /// Biases from (parameters, `fan_in`): what this init brings when the spec names no bias init.
    bias: fn(&Values, f64) -> Distribution,
    /// The rule for a bias named by the spec itself; `None` where a vector has no such init.
    vector: Option<fn(&Values, f64) -> Distribution>,
}

const fn gain() -> Param {
    Param::new("gain", Domain::NonNegative, 1.0)
}

const KAIMING: [Param; 3] = [
    Param::new("a", Domain::Finite, 0.0),
    Param::new("mode", Domain::Word(&["fan_in", "fan_out"]), 0.0),
    Param { name: "gain", domain: Domain::NonNegative, default: Default::Derived },
];

/// He et al. 2015, arXiv:1502.01852: `gain / sqrt(fan)`, the gain that of a leaky `ReLU` with slope `a`.
fn kaiming_std(p: &Values, fan_in: f64, fan_out: f64) -> f64 {
    let gain = if p[2].is_nan() { kaiming_gain(p) } else { p[2] };
    gain / if p[1] == 0.0 { fan_in } else { fan_out }.sqrt()
}

fn kaiming_gain(p: &Values) -> f64 {
    (2.0 / (1.0 + p[0] * p[0])).sqrt()
}

fn centred_uniform(bound: f64) -> Distribution {
    Uniform(-bound, bound)
}

const NONE: fn(&Values, f64) -> Distribution = |_, _| Constant(0.0);

macro_rules! row {
    ($name:literal, [$($alias:literal),*], $params:expr, $weight:expr) => {
        row!($name, [$($alias),*], $params, $weight, bias: NONE, vector: None)
    };
    ($name:literal, [$($alias:literal),*], $params:expr, $weight:expr, bias: $bias:expr, vector: $vector:expr) => {
        Row {
            signature: Signature { name: $name, aliases: &[$($alias),*], params: &$params },
            weight: $weight,
            bias: $bias,
            vector: $vector,
        }
    };
}

static TABLE: [Row; 12] = [
    row!("zeros", [], [gain()], |_, _, _| Constant(0.0), bias: NONE, vector: Some(NONE)),
    row!("constant", [], [Param { name: "value", domain: Domain::Finite, default: Default::Required }, gain()],
        |p, _, _| Constant(p[1] * p[0]), bias: NONE, vector: Some(|p, _| Constant(p[1] * p[0]))),
    row!("uniform", [], [Param::new("a", Domain::Finite, 0.0), Param::new("b", Domain::Finite, 1.0), gain()],
        |p, _, _| Uniform(p[2] * p[0], p[2] * p[1]), bias: NONE, vector: Some(|p, _| Uniform(p[2] * p[0], p[2] * p[1]))),
    row!("normal", [], [Param::new("mean", Domain::Finite, 0.0), Param::new("std", Domain::NonNegative, 1.0), gain()],
        |p, _, _| Normal(p[2] * p[0], p[2] * p[1]), bias: NONE, vector: Some(|p, _| Normal(p[2] * p[0], p[2] * p[1]))),
    // Glorot and Bengio 2010: variance 2 / (fan_in + fan_out).
    row!("xavier_uniform", ["glorot_uniform"], [gain()], |p, fan_in, fan_out| centred_uniform(
        p[0] * (6.0 / (fan_in + fan_out)).sqrt()
    )),
    row!("xavier_normal", [], [gain()], |p, fan_in, fan_out| Normal(0.0, p[0] * (2.0 / (fan_in + fan_out)).sqrt())),
    row!("kaiming_uniform", ["he_uniform"], KAIMING, |p, fan_in, fan_out| centred_uniform(
        3_f64.sqrt() * kaiming_std(p, fan_in, fan_out)
    )),
    row!("kaiming_normal", [], KAIMING, |p, fan_in, fan_out| Normal(0.0, kaiming_std(p, fan_in, fan_out))),
    // LeCun et al. 1998, "Efficient BackProp": variance 1 / fan_in.
    row!("lecun_normal", [], [gain()], |p, fan_in, _| Normal(0.0, p[0] / fan_in.sqrt())),
    // Saxe et al. 2013, arXiv:1312.6120.
    row!("orthogonal", [], [gain()], |p, _, _| Orthogonal(p[0])),
    // Poole et al. 2016, arXiv:1606.05340: W ~ N(0, sigma_w^2 / fan_in), b ~ N(0, sigma_b^2).
    row!("mean_field", [],
        [Param::new("sigma_w", Domain::NonNegative, 1.0), Param::new("sigma_b", Domain::NonNegative, 0.0), gain()],
        |p, fan_in, _| Normal(0.0, p[2] * p[0] / fan_in.sqrt()), bias: |p, _| Normal(0.0, p[1]), vector: None),
    // torch.nn.Linear: kaiming_uniform(a=sqrt(5)), which is a bound of 1 / sqrt(fan_in) for weights and biases.
    row!("torch_default", [], [gain()], |p, fan_in, _| centred_uniform(p[0] / fan_in.sqrt()),
        bias: |_, fan_in| centred_uniform(1.0 / fan_in.sqrt()),
        vector: Some(|p, fan_in| centred_uniform(p[0] / fan_in.sqrt()))),
];

/// The canonical names, in the order of the table.
pub fn names() -> impl Iterator<Item = &'static str> + Clone {
    TABLE.iter().map(|row| row.signature.name)
}

impl Init {
    /// The init that a call describes.
    pub fn new(call: &Call) -> Result<Self> {
        let row = find("init", &TABLE, |row| &row.signature, &call.name)?;
        Ok(Self { row, values: row.signature.values("init", call)? })
    }

    /// The same for the bias of a spec.
    pub fn for_bias(call: &Call) -> Result<Self> {
        let of_vectors = TABLE.iter().filter(|row| row.vector.is_some()).map(|row| row.signature.name);
        match TABLE.iter().find(|row| row.signature.answers_to(&call.name)) {
            None => Err(Error::unknown("bias init", &call.name, of_vectors)),
            Some(row) if row.vector.is_none() => Err(Error::value(
                "bias",
                &format!("one of {}", of_vectors.collect::<Vec<_>>().join(", ")),
                format!("'{}' (it needs two fans)", call.name),
            )),
            Some(_) => Self::new(call),
        }
    }

    /// How it is written.
    pub fn signature(&self) -> &'static Signature {
        &self.row.signature
    }

    /// Parameter values in the order of the signature.
    pub fn values(&self) -> &Values {
        &self.values
    }

    /// The canonical spelling.
    pub fn text(&self) -> String {
        self.row.signature.text(&self.values)
    }

    /// The gain in use, given or derived.
    pub fn gain(&self) -> f64 {
        let given = self.row.signature.params.iter().position(|p| p.name == "gain").map_or(1.0, |i| self.values[i]);
        if given.is_nan() { kaiming_gain(&self.values) } else { given }
    }

    /// The distribution of a weight matrix.
    pub fn weight(&self, place: &Place<'_>) -> Distribution {
        (self.row.weight)(&self.values, place.fan_in as f64, place.fan_out as f64)
    }

    /// The distribution of a bias under the spec's `bias` init, `None` for what this init brings.
    pub fn bias(&self, named: Option<&Self>, place: &Place<'_>) -> Distribution {
        match named {
            None => (self.row.bias)(&self.values, place.fan_in as f64),
            Some(named) => named.row.vector.unwrap_or(NONE)(&named.values, place.fan_in as f64),
        }
    }

    pub fn calibrates(&self) -> bool {
        false
    }
    pub fn depends_on_depth(&self) -> bool {
        false
    }
    pub fn brings(&self, named: &Self) -> bool {
        let place = |fan_in| Place { fan_in, fan_out: 1, depth: 1, layer: Some(0), blocks: 1, block: 1, ends_branch: false, activation: None };
        [2, 3].iter().all(|&n| self.bias(Some(named), &place(n)) == self.bias(None, &place(n)))
    }
}

impl Distribution {
    /// Is every entry zero?
    pub fn is_zero(&self) -> bool {
        matches!(*self, Constant(0.0) | Normal(0.0, 0.0) | Uniform(0.0, 0.0) | Orthogonal(0.0))
    }

    /// Draw a `rows x columns` tensor in C order.
    pub fn fill<F: Float>(
        &self,
        stream: Stream,
        rows: usize,
        columns: usize,
        out: &mut [F],
        cancel: &Cancel,
    ) -> Result<()> {
        match *self {
            Constant(value) => out.fill(F::of(value)),
            Uniform(a, b) => in_parts(out, cancel, |start, part| stream.after(start).uniform(a, b, part))?,
            Normal(mean, std) => {
                in_parts(out, cancel, |start, part| stream.after(start).normal(part))?;
                rescale(out, mean, std);
            }
            Orthogonal(gain) => {
                let (tall, narrow) = (rows.max(columns), rows.min(columns));
                let mut drawn = Vec::new();
                let draw = |start, part: &mut [f64]| {
                    drawn.resize(part.len(), F::ZERO);
                    stream.after(start).normal(&mut drawn);
                    part.iter_mut().zip(&drawn).for_each(|(part, drawn)| *part = drawn.wide());
                };
                let mut q = Columns::new(tall, narrow, cancel, draw)?;
                q.orthonormalise(cancel)?;
                q.write(rows < columns, |entry| F::of(gain * entry), out);
            }
        }
        Ok(())
    }
}

/// Unit normals to this mean and standard deviation. Rounded to the type first: a draw kept and rescaled has the bits
/// of one made anew.
pub fn rescale<F: Float>(units: &mut [F], mean: f64, std: f64) {
    let (mean, std) = (F::of(mean), F::of(std));
    units.iter_mut().for_each(|n| *n = *n * std + mean);
}

/// Fill part by part, looking for a request to stop in between: a large tensor takes seconds.
fn in_parts<F>(out: &mut [F], cancel: &Cancel, fill: impl Fn(usize, &mut [F])) -> Result<()> {
    const PART: usize = 1 << 20;
    for (i, part) in out.chunks_mut(PART).enumerate() {
        cancel.check()?;
        fill(i * PART, part);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Role;

    fn init(text: &str) -> Init {
        Init::new(&Call::parse("init", text).unwrap()).unwrap()
    }

    #[test]
    fn standard_deviations_are_the_published_ones() {
        assert_eq!(init("xavier_normal(gain=3)").weight(20, 30), Normal(0.0, 3.0 * 0.04_f64.sqrt()));
        assert_eq!(init("kaiming_normal").weight(50, 3), Normal(0.0, 0.2));
        assert_eq!(init("kaiming_normal(mode=fan_out)").weight(3, 50), Normal(0.0, 0.2));
        assert_eq!(init("kaiming_normal(gain=1)").weight(25, 3), Normal(0.0, 0.2));
        assert_eq!(init("torch_default").weight(4, 9), Uniform(-0.5, 0.5));
        assert_eq!(init("torch_default").bias(None, 4), Uniform(-0.5, 0.5));
        assert_eq!(init("mean_field(1.5, 0.05)").bias(None, 4), Normal(0.0, 0.05));
        // He et al. 2015, section 2.2: sqrt(2 / (9 c)) for c input channels of a 3x3 filter.
        for (channels, std) in [(64, 0.058_926), (128, 0.041_667), (256, 0.029_463), (512, 0.020_833)] {
            assert!(matches!(init("kaiming_normal").weight(9 * channels, 1), Normal(_, s) if (s - std).abs() < 1e-6));
        }
    }

    #[test]
    fn orthogonal_matrices_are_orthonormal_on_their_shorter_side() {
        for (rows, columns) in
            [(1, 1), (7, 7), (12, 5), (5, 12), (64, 64), (1, 9), (130, 70), (70, 130), (256, 256), (257, 257)]
        {
            let mut w = vec![0.0_f64; rows * columns];
            init("orthogonal(gain=2)")
                .weight(columns, rows)
                .fill(Stream::new(1, 0, Role::Weight), rows, columns, &mut w, &Cancel::default())
                .unwrap();
            let short = rows.min(columns);
            for i in 0..short {
                for j in 0..short {
                    let entry =
                        |k: usize, s: usize| if rows < columns { w[s * columns + k] } else { w[k * columns + s] };
                    let product = (0..rows.max(columns)).map(|k| entry(k, i) * entry(k, j)).sum::<f64>();
                    let expected = if i == j { 4.0 } else { 0.0 };
                    assert!((product - expected).abs() < 1e-13, "{rows}x{columns} ({i},{j}): {product}");
                }
            }
        }
    }

    #[test]
    fn a_bias_takes_only_inits_that_a_vector_has() {
        let bias = |text: &str| Init::for_bias(&Call::parse("bias", text).unwrap());
        assert!(bias("constant(0.1)").is_ok());
        let message = bias("xavier_normal").unwrap_err().to_string();
        assert!(message.contains("bias must be one of zeros, constant, uniform, normal, torch_default"), "{message}");
    }
}
