//! The table of activations, and their formulas.
//!
//! Value and slope are both computed from the pre-activation `z`. The saved-output forms `1 - y^2` and `y (1 - y)` lose
//! every digit in saturation, the very thing that vgcore studies. Names, defaults and slopes at kinks are those of
//! `torch.nn.functional`.

#![allow(clippy::inline_always)] // A `simd::Task` is compiled for an instruction set only where it is inlined.

use super::map::{Formula, map, one_by_one};
use super::{Function, PLAIN, Row, Shape, Traits};
use crate::signature::{Domain, Param, Signature, Values, about};
use crate::simd::Real;
use std::f64::consts::{FRAC_2_SQRT_PI, PI};

/// The slopes at 0, if `phi` begins to bend so far away that a signal below 2^-60 meets a line to the last bit.
fn line_within(reach: f64, slopes: [f64; 2]) -> Option<[f64; 2]> {
    (reach >= 1.0 / 64.0).then_some(slopes)
}

/// A row of the table; its functions are made for each row, so that the formula is inlined into them.
macro_rules! row {
    (
        $name:literal, [$($alias:literal),*], $about:expr, [$($param:expr),*], { $($trait:ident: $value:expr),* },
        |$z:ident, $p:ident| $both:expr
    ) => {{
        struct This;
        impl Formula for This {
            #[inline(always)]
            fn both<R: Real>($z: R, $p: &Values) -> (R, R) {
                $both
            }
        }
        Row {
            signature: Signature {
                name: $name, aliases: &[$($alias),*], params: &[$($param),*], about: $about,
            },
            traits: Traits { $($trait: $value,)* ..PLAIN },
            function: Function::Formula {
                both: This::both::<f64>,
                single: map::<This, f32>,
                double: if cfg!(target_family = "wasm") { one_by_one::<This> } else { map::<This, f64> },
            },
        }
    }};
}

const ALPHA: f64 = 1.673_263_242_354_377_2;
const LAMBDA: f64 = 1.050_700_987_355_480_5;
const STEEPEST_SILU: f64 = 1.099_839_320_206_783_4;
const APPROXIMATE: Param = Param::new("approximate", Domain::Word(&["none", "tanh"]), 0.0);
const LAMBD: Param = Param::new("lambd", Domain::NonNegative, 0.5);

fn steepest_gelu(p: &Values) -> f64 {
    if p[0] == 0.0 { 1.128_904_145_185_154_7 } else { 1.128_993_068_655_481 }
}

/// The slopes at 0 of a function that is `z` between two bounds and constant beyond.
fn clamp_at_zero(low: f64, high: f64) -> Option<[f64; 2]> {
    let reach = [-low, high].into_iter().filter(|bound| *bound != 0.0).fold(f64::INFINITY, f64::min);
    line_within(reach, [low, high].map(|bound| if bound == 0.0 { 0.0 } else { 1.0 }))
}

fn shrink_at_zero(p: &Values) -> Option<[f64; 2]> {
    if p[0] == 0.0 { Some([1.0, 1.0]) } else { line_within(p[0], [0.0, 0.0]) }
}

fn threshold_at_zero(p: &Values) -> Option<[f64; 2]> {
    match (p[0], p[1]) {
        (0.0, 0.0) => Some([0.0, 1.0]),
        (threshold, _) if threshold < 0.0 => line_within(-threshold, [1.0, 1.0]),
        (threshold, 0.0) => line_within(threshold, [0.0, 0.0]),
        _ => None,
    }
}

pub static TABLE: &[Row] = &[
    row!(
        "linear", ["identity"], about("z", "the identity", "torch.nn.Identity"),
        [], { homogeneous: true, at_zero: |_| Some([1.0, 1.0]) }, |z, _p| (z, R::of(1.0))
    ),
    row!(
        "sigmoid", ["logistic"], about("1 / (1 + exp(-z))", "the logistic function, from 0 to 1", "torch.nn.Sigmoid"),
        [], { steepest: |_| 0.25 }, |z, _p| sigmoid(z)
    ),
    row!(
        "tanh", [], about("tanh(z)", "the hyperbolic tangent, from -1 to 1", "torch.nn.Tanh"),
        [], { at_zero: |_| Some([1.0, 1.0]) }, |z, _p| tanh(z)
    ),
    row!(
        "hardtanh", [], about("min(max(min_val, z), max_val)", "the identity between two bounds", "torch.nn.Hardtanh"),
        [Param::new("min_val", Domain::Finite, -1.0), Param::new("max_val", Domain::Finite, 1.0)],
        {
            at_zero: |p| clamp_at_zero(p[0], p[1]), kinks: |p| vec![p[0], p[1]],
            wrong: |p| (p[0] >= p[1]).then_some("min_val must be below max_val")
        },
        |z, p| (z.at_least(p[0]).at_most(p[1]), between(z, p[0], p[1], R::of(1.0)))
    ),
    row!(
        "relu", [], about("max(0, z)", "the positive part", "Nair and Hinton 2010; torch.nn.ReLU"),
        [], { homogeneous: true, at_zero: |_| Some([0.0, 1.0]), kinks: |_| vec![0.0] },
        |z, _p| relu(z)
    ),
    row!(
        "relu6", [], about("min(max(0, z), 6)", "the positive part, at most 6", "torch.nn.ReLU6"),
        [], { at_zero: |_| Some([0.0, 1.0]), kinks: |_| vec![0.0, 6.0] },
        |z, _p| (relu(z).0.at_most(6.0), between(z, 0.0, 6.0, R::of(1.0)))
    ),
    row!(
        "leaky_relu", [],
        about(
            "where(z > 0, z, negative_slope * z)",
            "a ReLU with a small slope below 0",
            "Maas et al. 2013; torch.nn.LeakyReLU",
        ),
        [Param::new("negative_slope", Domain::Finite, 0.01)],
        {
            homogeneous: true, at_zero: |p| Some([p[0], 1.0]), kinks: |_| vec![0.0],
            steepest: |p| p[0].abs().max(1.0)
        },
        |z, p| leaky(z, p[0])
    ),
    row!(
        "prelu", [],
        about(
            "where(z > 0, z, init * z)",
            "a leaky ReLU whose slope is learned, one a layer, from init on",
            "He et al. 2015, arXiv:1502.01852; torch.nn.PReLU",
        ),
        [Param::new("init", Domain::Finite, 0.25)],
        {
            homogeneous: true, at_zero: |p| Some([p[0], 1.0]), kinks: |_| vec![0.0],
            steepest: |p| p[0].abs().max(1.0), learned: |p| Some(p[0])
        },
        |z, p| leaky(z, p[0])
    ),
    row!(
        "rrelu", [],
        about(
            "where(z > 0, z, (lower + upper) / 2 * z)",
            "a leaky ReLU of a random slope, as in evaluation: with the mean of the slopes that training draws from",
            "Xu et al. 2015, arXiv:1505.00853; torch.nn.RReLU",
        ),
        [Param::new("lower", Domain::Finite, 1.0 / 8.0), Param::new("upper", Domain::Finite, 1.0 / 3.0)],
        {
            homogeneous: true, at_zero: |p| Some([mean(p), 1.0]), kinks: |_| vec![0.0],
            steepest: |p| mean(p).abs().max(1.0),
            wrong: |p| (p[0] > p[1]).then_some("lower must not be above upper")
        },
        |z, p| leaky(z, mean(p))
    ),
    row!(
        "elu", [],
        about(
            "where(z > 0, z, alpha * (exp(z) - 1))",
            "an exponential below 0 that nears -alpha",
            "Clevert et al. 2015, arXiv:1511.07289; torch.nn.ELU",
        ),
        [Param::new("alpha", Domain::Finite, 1.0)],
        { at_zero: |p| Some([p[0], 1.0]), kinks: |_| vec![0.0], steepest: |p| p[0].abs().max(1.0) },
        |z, p| elu(z, z, p[0], p[0])
    ),
    row!(
        "celu", [],
        about(
            "where(z > 0, z, alpha * (exp(z / alpha) - 1))",
            "an ELU whose slope has no jump, whatever alpha",
            "Barron 2017, arXiv:1704.07483; torch.nn.CELU",
        ),
        [Param::new("alpha", Domain::Positive, 1.0)],
        { at_zero: |p| line_within(p[0], [1.0, 1.0]), kinks: |_| vec![0.0] },
        |z, p| elu(z, z / R::of(p[0]), p[0], 1.0)
    ),
    row!(
        "selu", [],
        about(
            "1.0507009873554805 * where(z > 0, z, 1.6732632423543772 * (exp(z) - 1))",
            "an ELU scaled so that mean 0 and variance 1 are a fixed point",
            "Klambauer et al. 2017, arXiv:1706.02515; torch.nn.SELU",
        ),
        [],
        { at_zero: |_| Some([LAMBDA * ALPHA, LAMBDA]), kinks: |_| vec![0.0], steepest: |_| LAMBDA * ALPHA },
        |z, _p| {
            let (e, less_one) = z.decay();
            let below = LAMBDA * ALPHA;
            let value = z.above(0.0, z * LAMBDA, less_one.with_sign_of(z) * below);
            (value, z.above(0.0, R::of(LAMBDA), e * below))
        }
    ),
    row!(
        "gelu", [],
        about(
            "where(approximate == 'none', z * Phi(z), z / 2 * (1 + tanh(sqrt(2 / pi) * (z + 0.044715 * z**3))))",
            "z times the probability that a standard normal number lies below it, or near that",
            "Hendrycks and Gimpel 2016, arXiv:1606.08415; torch.nn.GELU",
        ),
        [APPROXIMATE], { at_zero: |_| Some([0.5, 0.5]), steepest: steepest_gelu }, |z, p| gelu(z, p)
    ),
    row!(
        "silu", ["swish"],
        about(
            "z * sigmoid(z)",
            "z times its sigmoid",
            "Elfwing et al. 2017, arXiv:1702.03118; torch.nn.SiLU",
        ),
        [], { at_zero: |_| Some([0.5, 0.5]), steepest: |_| STEEPEST_SILU }, |z, _p| silu(z)
    ),
    row!(
        "mish", [],
        about(
            "z * tanh(log(1 + exp(z)))",
            "z times the tanh of its softplus",
            "Misra 2019, arXiv:1908.08681; torch.nn.Mish",
        ),
        [], { at_zero: |_| Some([0.6, 0.6]), steepest: |_| 1.088_498_161_251_728 },
        |z, _p| {
            // tanh(softplus(z)) = (w^2 + 2w) / (w^2 + 2w + 2) with w = e^z, multiplied out by e^-2z above 0.
            let (e, _) = z.decay();
            let square = e * e;
            let whole = z.above(0.0, (square + e) * 2.0 + 1.0, square + e * 2.0 + 2.0);
            let gate = z.above(0.0, e * 2.0 + 1.0, e * (e + 2.0)) / whole;
            let bend = z.above(0.0, square, e) * (e + 1.0) * 4.0 / (whole * whole);
            (product(z, gate), gate + product(z, bend))
        }
    ),
    row!(
        "softplus", [],
        about(
            "where(beta * z > threshold, z, log(1 + exp(beta * z)) / beta)",
            "a smooth ReLU, and z itself far above 0",
            "torch.nn.Softplus",
        ),
        [Param::new("beta", Domain::Positive, 1.0), Param::new("threshold", Domain::Finite, 20.0)],
        { kinks: |p| vec![p[1] / p[0]] },
        |z, p| {
            let t = z * p[0];
            // log(1 + e^t) without overflow; torch's rule is the identity above the threshold.
            let soft = (t.decay().0.log1p() + t.at_least(0.0)) * (1.0 / p[0]);
            (t.above(p[1], z, soft), t.above(p[1], R::of(1.0), logistic(t).0))
        }
    ),
    row!(
        "softsign", [], about("z / (1 + abs(z))", "a sigmoid that saturates slowly, from -1 to 1", "torch.nn.Softsign"),
        [], { at_zero: |_| Some([1.0, 1.0]), kinks: |_| vec![0.0] },
        |z, _p| {
            let w = z.abs();
            let rest = R::of(1.0) / (w + 1.0);
            (w.above(1.0, -rest + 1.0, w * rest).with_sign_of(z), rest * rest)
        }
    ),
    row!(
        "hardsigmoid", [], about("min(max(0, z + 3), 6) / 6", "a line from (-3, 0) to (3, 1)", "torch.nn.Hardsigmoid"),
        [], { kinks: |_| vec![-3.0, 3.0], steepest: |_| 1.0 / 6.0 },
        |z, _p| ((z + 3.0).at_least(0.0).at_most(6.0) / R::of(6.0), between(z, -3.0, 3.0, R::of(1.0 / 6.0)))
    ),
    // The slope nears 3/2 below 3.
    row!(
        "hardswish", [],
        about(
            "z * min(max(0, z + 3), 6) / 6",
            "z times its hardsigmoid",
            "Howard et al. 2019, arXiv:1905.02244; torch.nn.Hardswish",
        ),
        [], { at_zero: |_| Some([0.5, 0.5]), kinks: |_| vec![-3.0, 3.0], steepest: |_| 1.5 },
        |z, _p| {
            let value = z.below(3.0, z.below(-3.0, R::of(0.0), z * (z + 3.0) / R::of(6.0)), z);
            (value, z.below(3.0, z.above(-3.0, (z * 2.0 + 3.0) / R::of(6.0), R::of(0.0)), R::of(1.0)))
        }
    ),
    row!(
        "logsigmoid",
        [],
        about("-log(1 + exp(-z))", "the logarithm of the sigmoid", "torch.nn.LogSigmoid"),
        [],
        {},
        |z, _p| (z.at_most(0.0) - z.decay().0.log1p(), logistic(z).1)
    ),
    // Slope 0 at 0, but no line there: z^3 / 3.
    row!("tanhshrink", [], about("z - tanh(z)", "what tanh leaves of z", "torch.nn.Tanhshrink"), [], {}, |z, _p| {
        let (y, _) = tanh(z);
        let w = z.abs();
        let (e, _) = (z * 2.0).decay();
        // 1 - tanh w = 2 e / (1 + e): beyond 1 nothing cancels in w - 1 + (1 - tanh w).
        let far = w + -1.0 + e * 2.0 / (e + 1.0);
        (w.above(1.0, far.with_sign_of(z), z.tanh_gap()), y * y)
    }),
    row!(
        "softshrink", [],
        about(
            "sign(z) * max(0, abs(z) - lambd)",
            "z brought nearer to 0 by lambd",
            "torch.nn.Softshrink",
        ),
        [LAMBD], { at_zero: shrink_at_zero, kinks: |p| vec![-p[0], p[0]] },
        |z, p| (
            z.above(p[0], z + -p[0], z.below(-p[0], z + p[0], zero_of(z))),
            outside(z, p[0])
        )
    ),
    row!(
        "hardshrink", [], about("where(abs(z) > lambd, z, 0)", "z, but 0 within lambd of 0", "torch.nn.Hardshrink"),
        [LAMBD], { at_zero: shrink_at_zero, kinks: |p| vec![-p[0], p[0]] },
        |z, p| (z.above(p[0], z, z.below(-p[0], z, zero_of(z))), outside(z, p[0]))
    ),
    row!(
        "threshold", [],
        about(
            "where(z > threshold, z, value)",
            "z above a threshold, a constant up to it",
            "torch.nn.Threshold",
        ),
        [Param::required("threshold", Domain::Finite), Param::required("value", Domain::Finite)],
        { at_zero: threshold_at_zero, kinks: |p| vec![p[0]] },
        |z, p| (z.above(p[0], z, zero_of(z) + p[1]), z.above(p[0], R::of(1.0), R::of(0.0)))
    ),
    row!(
        "erf", [], about("erf(z)", "the error function, from -1 to 1", "torch.erf"),
        [], { at_zero: |_| Some([FRAC_2_SQRT_PI, FRAC_2_SQRT_PI]), steepest: |_| FRAC_2_SQRT_PI },
        |z, _p| z.erf()
    ),
    row!(
        "sin", [], about("sin(omega * z)", "a sine wave", "Sitzmann et al. 2020, arXiv:2006.09661; torch.sin"),
        [Param::new("omega", Domain::Finite, 1.0)],
        {
            at_zero: |p| line_within(1.0 / p[0].abs(), [p[0], p[0]]),
            steepest: |p| p[0].abs(),
            frequency: |p| p[0].abs()
        },
        |z, p| {
            let (sine, cosine) = (z * p[0]).sin_cos();
            (sine, cosine * p[0])
        }
    ),
    row!(
        "arctan", [], about("arctan(z)", "the inverse tangent, from -pi/2 to pi/2", "torch.atan"),
        [], { at_zero: |_| Some([1.0, 1.0]) },
        |z, _p| (z.atan(), R::of(1.0) / (z * z + 1.0))
    ),
    row!(
        "abs", [], about("abs(z)", "the absolute value", "torch.abs"),
        [], { homogeneous: true, at_zero: |_| Some([-1.0, 1.0]), kinks: |_| vec![0.0] },
        |z, _p| (z.abs(), z.above(0.0, R::of(1.0), z.below(0.0, R::of(-1.0), R::of(0.0))))
    ),
    row!(
        "squareplus",
        [],
        about("(z + sqrt(z**2 + b)) / 2", "a smooth ReLU without exponentials", "Barron 2021, arXiv:2112.11687"),
        [Param::new("b", Domain::Positive, 4.0)],
        {},
        |z, p| {
            let root = p[0].sqrt();
            let t = z.abs() / R::of(root);
            // Far out the root is t, and the square beyond all numbers.
            let s = t.above(1e100, t, (t * t + 1.0).sqrt());
            let sum = s + t;
            let below = R::of(0.5) / (s * sum);
            let value = z.above(0.0, sum * (0.5 * root), R::of(0.5 * root) / sum);
            (value, z.above(0.0, -below + 1.0, below))
        }
    ),
    row!(
        "snake", [], about("z + sin(alpha * z)**2 / alpha", "a rising wave", "Ziyin et al. 2020, arXiv:2006.08195"),
        [Param::new("alpha", Domain::Positive, 1.0)],
        { at_zero: |p| line_within(1.0 / p[0], [1.0, 1.0]), steepest: |_| 2.0, frequency: |p| 2.0 * p[0] },
        |z, p| {
            let (sine, cosine) = (z * p[0]).sin_cos();
            // 1 + sin 2x = (sin x + cos x)^2
            (z + sine * sine / R::of(p[0]), (sine + cosine) * (sine + cosine))
        }
    ),
    row!(
        "crelu", [],
        about(
            "concat(max(0, z), max(0, -z))",
            "both parts, positive and negative: twice as many features",
            "Shang et al. 2016, arXiv:1603.05201",
        ),
        [],
        { homogeneous: true, at_zero: |_| Some([0.0, 1.0]), kinks: |_| vec![0.0], shape: Shape::Doubled },
        |z, _p| relu(z)
    ),
    row!(
        "glu", [],
        about(
            "v * sigmoid(g)",
            "half of z gated by the sigmoid of the other half",
            "Dauphin et al. 2016, arXiv:1612.08083; torch.nn.GLU",
        ),
        [], { steepest: |_| 0.25, shape: Shape::Gated }, |z, _p| sigmoid(z)
    ),
    row!(
        "swiglu", [],
        about(
            "v * g * sigmoid(g)",
            "half of z gated by the SiLU of the other half",
            "Shazeer 2020, arXiv:2002.05202",
        ),
        [], { steepest: |_| STEEPEST_SILU, shape: Shape::Gated }, |z, _p| silu(z)
    ),
    row!(
        "geglu", [],
        about(
            "v * where(approximate == 'none', g * Phi(g), g / 2 * (1 + tanh(sqrt(2 / pi) * (g + 0.044715 * g**3))))",
            "half of z gated by the GELU of the other half",
            "Shazeer 2020, arXiv:2002.05202",
        ),
        [APPROXIMATE], { steepest: steepest_gelu, shape: Shape::Gated }, |z, p| gelu(z, p)
    ),
];

/// `yes` strictly between two bounds, 0 elsewhere.
#[inline(always)]
fn between<R: Real>(z: R, low: f64, high: f64, yes: R) -> R {
    z.above(low, z.below(high, yes, R::of(0.0)), R::of(0.0))
}

/// 1 farther from 0 than a bound, 0 elsewhere.
#[inline(always)]
fn outside<R: Real>(z: R, bound: f64) -> R {
    z.abs().above(bound, R::of(1.0), R::of(0.0))
}

/// 0, or NaN where `z` is.
#[inline(always)]
fn zero_of<R: Real>(z: R) -> R {
    z.at_least(0.0).at_most(0.0) + 0.0
}

/// The middle of the two parameters of `rrelu`.
#[inline(always)]
fn mean(p: &Values) -> f64 {
    0.5 * (p[0] + p[1])
}

/// `1 / (1 + e^-z)` and what it lacks of 1, without overflow and without cancellation.
#[inline(always)]
fn logistic<R: Real>(z: R) -> (R, R) {
    let (e, _) = z.decay();
    let rounded = e / (e + 1.0);
    // small = e (1 - small), which has less of the rounding of 1 + e.
    let (large, small) = (R::of(1.0) - rounded, e - e * rounded);
    (z.above(0.0, large, small), z.above(0.0, small, large))
}

#[inline(always)]
fn sigmoid<R: Real>(z: R) -> (R, R) {
    let (s, rest) = logistic(z);
    (s, s * rest)
}

#[inline(always)]
fn tanh<R: Real>(z: R) -> (R, R) {
    let (e, less_one) = (z * 2.0).decay();
    let y = -less_one / (e + 1.0);
    // 1 / cosh^2 = 4 e / (1 + e)^2 with e = exp(-2|z|), and 1 + y = 2 / (1 + e).
    (y.with_sign_of(z), e * (y + 1.0) * (y + 1.0))
}

#[inline(always)]
fn relu<R: Real>(z: R) -> (R, R) {
    // + 0, so that -0 becomes 0.
    (z.at_least(0.0) + 0.0, z.above(0.0, R::of(1.0), R::of(0.0)))
}

#[inline(always)]
fn leaky<R: Real>(z: R, slope: f64) -> (R, R) {
    (z.above(0.0, z, z * slope), z.above(0.0, R::of(1.0), R::of(slope)))
}

/// `z` above 0, `scale (e^t - 1)` below with the slope `slope e^t`.
#[inline(always)]
fn elu<R: Real>(z: R, t: R, scale: f64, slope: f64) -> (R, R) {
    let (e, less_one) = t.decay();
    (z.above(0.0, z, less_one.with_sign_of(z) * scale), z.above(0.0, R::of(1.0), e * slope))
}

#[inline(always)]
fn silu<R: Real>(z: R) -> (R, R) {
    let (s, rest) = logistic(z);
    (product(z, s), product(product(z, rest) + 1.0, s))
}

#[inline(always)]
fn gelu<R: Real>(z: R, p: &Values) -> (R, R) {
    if p[0] == 0.0 { gelu_normal(z) } else { gelu_tanh(z) }
}

#[inline(always)]
fn gelu_normal<R: Real>(z: R) -> (R, R) {
    let (cdf, pdf) = z.normal();
    (product(z, cdf), cdf + product(z, pdf))
}

#[inline(always)]
fn gelu_tanh<R: Real>(z: R) -> (R, R) {
    let root = (2.0 / PI).sqrt();
    let square = z * z;
    // (1 + tanh u) / 2 is the logistic function s of 2u, and its slope 2 s (1 - s) for each u.
    let u = z * (square * 0.044_715 + 1.0) * root;
    let (s, rest) = logistic(u * 2.0);
    let du = (square * (3.0 * 0.044_715) + 1.0) * root;
    (product(z, s), s + product(z, product(du, s * rest * 2.0)))
}

/// `a * b` for `b >= 0`, where a vanishing `b` beats an infinite `a`.
#[inline(always)]
fn product<R: Real>(a: R, b: R) -> R {
    b.above(0.0, a, R::of(0.0)) * b
}
