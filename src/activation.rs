//! Activations: one row each, the function beside its derivative.
//!
//! Both are computed from the pre-activation `z`. The saved-output forms `1 - y^2` and `y (1 - y)` lose every digit in
//! saturation, the very thing that vgcore studies. Names, defaults and slopes at kinks are those of
//! `torch.nn.functional`.

#![allow(clippy::inline_always)] // A `simd::Task` is compiled for an instruction set only where it is inlined.

use crate::custom::{self, Table};
use crate::error::{Error, Result};
use crate::signature::{Call, Domain, MAX_PARAMS, Param, Signature, Values, find};
use crate::simd::{self, Float, Real, Reals, Set, Task, Vector};
use std::f64::consts::{FRAC_2_SQRT_PI, PI};
use std::marker::PhantomData;

/// An activation function with its parameters.
#[derive(Clone, Copy)]
pub struct Activation {
    kind: Kind,
    values: Values,
}

/// A row of the table here, or a user's own function.
#[derive(Clone, Copy)]
enum Kind {
    Row(&'static Row),
    Custom(&'static Table),
}

impl std::fmt::Debug for Activation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.text())
    }
}

impl PartialEq for Activation {
    fn eq(&self, other: &Self) -> bool {
        self.text() == other.text()
    }
}

/// What an activation does to the width of its layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// `a = phi(z)`, element by element.
    Each,
    /// The first half of `z` is the value, the second the gate: `a = value g(gate)`, half as wide. The row is `g`.
    Gated,
    /// `a = [phi(z), phi(-z)]`, twice as wide.
    Doubled,
}

/// One activation of the table.
struct Row {
    signature: Signature,
    traits: Traits,
    /// `(phi(z), phi'(z))`.
    both: fn(f64, &Values) -> (f64, f64),
    single: fn(&Values, &[f32], &mut [f32], &mut [f32]),
    double: fn(&Values, &[f64], &mut [f64], &mut [f64]),
}

/// What is to know about a row beside its formula.
struct Traits {
    /// `phi(t z) = t phi(z)` for every `t > 0`: such a net can carry an exponent forward.
    homogeneous: bool,
    /// The slopes just below and just above 0 where `phi` passes a small signal as `z` times these, `None` elsewhere:
    /// a signal too small for `phi` to bend can carry an exponent too.
    at_zero: fn(&Values) -> Option<[f64; 2]>,
    /// Where `phi`, `phi'` or `phi''` jumps: no difference quotient may straddle it.
    kinks: fn(&Values) -> Vec<f64>,
    /// The largest `|phi'|`, against which saturation is measured.
    steepest: fn(&Values) -> f64,
    /// How fast it goes on turning far from 0, in radians to a unit of `z`; 0 if it does not.
    frequency: fn(&Values) -> f64,
    shape: Shape,
    /// The value that a learnable slope below 0 starts from.
    learned: fn(&Values) -> Option<f64>,
    /// What is wrong with a combination of parameters that are each allowed.
    wrong: fn(&Values) -> Option<&'static str>,
}

/// Smooth, no steeper than 1, not 0 at 0.
const PLAIN: Traits = Traits {
    homogeneous: false,
    at_zero: |_| None,
    kinks: |_| Vec::new(),
    steepest: |_| 1.0,
    frequency: |_| 0.0,
    shape: Shape::Each,
    learned: |_| None,
    wrong: |_| None,
};

/// These slopes at 0 if `phi` begins to bend so far away that a signal below 2^-60 meets a line to the last bit.
fn line_within(reach: f64, slopes: [f64; 2]) -> Option<[f64; 2]> {
    (reach >= 1.0 / 64.0).then_some(slopes)
}

/// The function of a row, written once for one number and for vectors.
trait Formula {
    /// `(phi(z), phi'(z))`; inlined, to be compiled for the instruction set at hand.
    fn both<R: Real>(z: R, values: &Values) -> (R, R);
}

/// A formula over slices of one length.
struct Map<'v, P, F> {
    formula: PhantomData<P>,
    values: Values,
    z: &'v [F],
    a: &'v mut [F],
    slope: &'v mut [F],
}

impl<P: Formula, F: Float> Task for Map<'_, P, F> {
    type Output = ();

    #[inline(always)]
    fn run<S: Set>(self) {
        let lanes = S::Double::LANES;
        let (z, z_rest) = self.z.split_at(self.z.len() / lanes * lanes);
        let (a, a_rest) = self.a.split_at_mut(z.len());
        let (slope, slope_rest) = self.slope.split_at_mut(z.len());
        for ((z, a), slope) in z.chunks_exact(lanes).zip(a.chunks_exact_mut(lanes)).zip(slope.chunks_exact_mut(lanes)) {
            one_vector::<S, P, F>(&self.values, z, a, slope);
        }
        if !z_rest.is_empty() {
            let [mut z, mut a, mut slope] = [[F::ZERO; LONGEST]; 3];
            z[..z_rest.len()].copy_from_slice(z_rest);
            one_vector::<S, P, F>(&self.values, &z, &mut a, &mut slope);
            a_rest.copy_from_slice(&a[..z_rest.len()]);
            slope_rest.copy_from_slice(&slope[..z_rest.len()]);
        }
    }
}

/// At least as many elements as a vector of any set has.
const LONGEST: usize = 16;

#[inline(always)]
fn one_vector<S: Set, P: Formula, F: Float>(values: &Values, z: &[F], a: &mut [F], slope: &mut [F]) {
    let (value, derivative) = P::both(Reals(F::load_wide::<S>(z)), values);
    F::store_wide::<S>(value.0, a);
    F::store_wide::<S>(derivative.0, slope);
}

fn map<P: Formula, F: Float>(values: &Values, z: &[F], a: &mut [F], slope: &mut [F]) {
    simd::run(Map { formula: PhantomData::<P>, values: *values, z, a, slope });
}

/// A row of the table; its functions are made for each row, so that the formula is inlined into them.
macro_rules! row {
    ($name:literal, [$($alias:literal),*], [$($param:expr),*], { $($trait:ident: $value:expr),* }, |$z:ident, $p:ident| $both:expr) => {{
        struct This;
        impl Formula for This {
            #[inline(always)]
            fn both<R: Real>($z: R, $p: &Values) -> (R, R) {
                $both
            }
        }
        Row {
            signature: Signature { name: $name, aliases: &[$($alias),*], params: &[$($param),*] },
            traits: Traits { $($trait: $value,)* ..PLAIN },
            both: This::both::<f64>,
            single: map::<This, f32>,
            double: map::<This, f64>,
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

/// Slopes and bounds of what is `z` between two bounds and constant beyond.
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

static TABLE: &[Row] = &[
    row!("linear", ["identity"], [], { homogeneous: true, at_zero: |_| Some([1.0, 1.0]) }, |z, _p| (z, R::of(1.0))),
    row!("sigmoid", ["logistic"], [], { steepest: |_| 0.25 }, |z, _p| sigmoid(z)),
    row!("tanh", [], [], { at_zero: |_| Some([1.0, 1.0]) }, |z, _p| tanh(z)),
    row!(
        "hardtanh", [], [Param::new("min_val", Domain::Finite, -1.0), Param::new("max_val", Domain::Finite, 1.0)],
        {
            at_zero: |p| clamp_at_zero(p[0], p[1]), kinks: |p| vec![p[0], p[1]],
            wrong: |p| (p[0] >= p[1]).then_some("min_val must be below max_val")
        },
        |z, p| (z.at_least(p[0]).at_most(p[1]), between(z, p[0], p[1], R::of(1.0)))
    ),
    row!(
        "relu", [], [], { homogeneous: true, at_zero: |_| Some([0.0, 1.0]), kinks: |_| vec![0.0] },
        |z, _p| relu(z)
    ),
    row!(
        "relu6", [], [], { at_zero: |_| Some([0.0, 1.0]), kinks: |_| vec![0.0, 6.0] },
        |z, _p| (relu(z).0.at_most(6.0), between(z, 0.0, 6.0, R::of(1.0)))
    ),
    row!(
        "leaky_relu", [], [Param::new("negative_slope", Domain::Finite, 0.01)],
        {
            homogeneous: true, at_zero: |p| Some([p[0], 1.0]), kinks: |_| vec![0.0],
            steepest: |p| p[0].abs().max(1.0)
        },
        |z, p| leaky(z, p[0])
    ),
    // He et al. 2015, arXiv:1502.01852: one slope a layer, learned.
    row!(
        "prelu", [], [Param::new("init", Domain::Finite, 0.25)],
        {
            homogeneous: true, at_zero: |p| Some([p[0], 1.0]), kinks: |_| vec![0.0],
            steepest: |p| p[0].abs().max(1.0), learned: |p| Some(p[0])
        },
        |z, p| leaky(z, p[0])
    ),
    // Xu et al. 2015, arXiv:1505.00853, as it is in evaluation: the mean of the slopes that training draws from.
    row!(
        "rrelu", [],
        [Param::new("lower", Domain::Finite, 1.0 / 8.0), Param::new("upper", Domain::Finite, 1.0 / 3.0)],
        {
            homogeneous: true, at_zero: |p| Some([mean(p), 1.0]), kinks: |_| vec![0.0],
            steepest: |p| mean(p).abs().max(1.0),
            wrong: |p| (p[0] > p[1]).then_some("lower must not be above upper")
        },
        |z, p| leaky(z, mean(p))
    ),
    row!(
        "elu", [], [Param::new("alpha", Domain::Finite, 1.0)],
        { at_zero: |p| Some([p[0], 1.0]), kinks: |_| vec![0.0], steepest: |p| p[0].abs().max(1.0) },
        |z, p| elu(z, z, p[0], p[0])
    ),
    // Barron 2017, arXiv:1704.07483.
    row!(
        "celu", [], [Param::new("alpha", Domain::Positive, 1.0)],
        { at_zero: |p| line_within(p[0], [1.0, 1.0]), kinks: |_| vec![0.0] },
        |z, p| elu(z, z / R::of(p[0]), p[0], 1.0)
    ),
    // Klambauer et al. 2017, arXiv:1706.02515.
    row!(
        "selu", [], [],
        { at_zero: |_| Some([LAMBDA * ALPHA, LAMBDA]), kinks: |_| vec![0.0], steepest: |_| LAMBDA * ALPHA },
        |z, _p| {
            let (e, less_one) = z.decay();
            let below = LAMBDA * ALPHA;
            let value = z.above(0.0, z * LAMBDA, less_one.with_sign_of(z) * below);
            (value, z.above(0.0, R::of(LAMBDA), e * below))
        }
    ),
    // Hendrycks and Gimpel 2016, arXiv:1606.08415: z N(z), or its tanh approximation.
    row!("gelu", [], [APPROXIMATE], { at_zero: |_| Some([0.5, 0.5]), steepest: steepest_gelu }, |z, p| gelu(z, p)),
    row!("silu", ["swish"], [], { at_zero: |_| Some([0.5, 0.5]), steepest: |_| STEEPEST_SILU }, |z, _p| silu(z)),
    // Misra 2019, arXiv:1908.08681.
    row!(
        "mish", [], [], { at_zero: |_| Some([0.6, 0.6]), steepest: |_| 1.088_498_161_251_728 },
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
        [Param::new("beta", Domain::Positive, 1.0), Param::new("threshold", Domain::Finite, 20.0)],
        { kinks: |p| vec![p[1] / p[0]] },
        |z, p| {
            let t = z * p[0];
            // log(1 + e^t) without overflow; torch's rule is the identity above the threshold.
            let bent = (t.decay().0.log1p() + t.at_least(0.0)) * (1.0 / p[0]);
            (t.above(p[1], z, bent), t.above(p[1], R::of(1.0), logistic(t).0))
        }
    ),
    row!(
        "softsign", [], [], { at_zero: |_| Some([1.0, 1.0]), kinks: |_| vec![0.0] },
        |z, _p| {
            let w = z.abs();
            let rest = R::of(1.0) / (w + 1.0);
            (w.above(1.0, -rest + 1.0, w * rest).with_sign_of(z), rest * rest)
        }
    ),
    row!(
        "hardsigmoid", [], [], { kinks: |_| vec![-3.0, 3.0], steepest: |_| 1.0 / 6.0 },
        |z, _p| ((z + 3.0).at_least(0.0).at_most(6.0) / R::of(6.0), between(z, -3.0, 3.0, R::of(1.0 / 6.0)))
    ),
    // Howard et al. 2019, arXiv:1905.02244. The slope nears 3/2 below 3.
    row!(
        "hardswish", [], [], { at_zero: |_| Some([0.5, 0.5]), kinks: |_| vec![-3.0, 3.0], steepest: |_| 1.5 },
        |z, _p| {
            let value = z.below(3.0, z.below(-3.0, R::of(0.0), z * (z + 3.0) / R::of(6.0)), z);
            (value, z.below(3.0, z.above(-3.0, (z * 2.0 + 3.0) / R::of(6.0), R::of(0.0)), R::of(1.0)))
        }
    ),
    row!("logsigmoid", [], [], {}, |z, _p| (z.at_most(0.0) - z.decay().0.log1p(), logistic(z).1)),
    // Slope 0 at 0, but no line there: z^3 / 3.
    row!("tanhshrink", [], [], {}, |z, _p| {
        let (y, _) = tanh(z);
        let w = z.abs();
        let (e, _) = (z * 2.0).decay();
        // 1 - tanh w = 2 e / (1 + e): beyond 1 nothing cancels in w - 1 + (1 - tanh w).
        let far = w + -1.0 + e * 2.0 / (e + 1.0);
        (w.above(1.0, far.with_sign_of(z), z.tanh_gap()), y * y)
    }),
    row!(
        "softshrink", [], [LAMBD], { at_zero: shrink_at_zero, kinks: |p| vec![-p[0], p[0]] },
        |z, p| (
            z.above(p[0], z + -p[0], z.below(-p[0], z + p[0], zero_of(z))),
            outside(z, p[0])
        )
    ),
    row!(
        "hardshrink", [], [LAMBD], { at_zero: shrink_at_zero, kinks: |p| vec![-p[0], p[0]] },
        |z, p| (z.above(p[0], z, z.below(-p[0], z, zero_of(z))), outside(z, p[0]))
    ),
    row!(
        "threshold", [], [Param::required("threshold", Domain::Finite), Param::required("value", Domain::Finite)],
        { at_zero: threshold_at_zero, kinks: |p| vec![p[0]] },
        |z, p| (z.above(p[0], z, zero_of(z) + p[1]), z.above(p[0], R::of(1.0), R::of(0.0)))
    ),
    row!(
        "erf", [], [], { at_zero: |_| Some([FRAC_2_SQRT_PI, FRAC_2_SQRT_PI]), steepest: |_| FRAC_2_SQRT_PI },
        |z, _p| z.erf()
    ),
    // Sitzmann et al. 2020, arXiv:2006.09661.
    row!(
        "sin", [], [Param::new("omega", Domain::Finite, 1.0)],
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
        "arctan", [], [], { at_zero: |_| Some([1.0, 1.0]) },
        |z, _p| (z.atan(), R::of(1.0) / (z * z + 1.0))
    ),
    row!(
        "abs", [], [], { homogeneous: true, at_zero: |_| Some([-1.0, 1.0]), kinks: |_| vec![0.0] },
        |z, _p| (z.abs(), z.above(0.0, R::of(1.0), z.below(0.0, R::of(-1.0), R::of(0.0))))
    ),
    // Barron 2021, arXiv:2112.11687: (z + sqrt(z^2 + b)) / 2.
    row!("squareplus", [], [Param::new("b", Domain::Positive, 4.0)], {}, |z, p| {
        let root = p[0].sqrt();
        let t = z.abs() / R::of(root);
        // Far out the root is t, and the square beyond all numbers.
        let s = t.above(1e100, t, (t * t + 1.0).sqrt());
        let sum = s + t;
        let below = R::of(0.5) / (s * sum);
        let value = z.above(0.0, sum * (0.5 * root), R::of(0.5 * root) / sum);
        (value, z.above(0.0, -below + 1.0, below))
    }),
    // Ziyin et al. 2020, arXiv:2006.08195.
    row!(
        "snake", [], [Param::new("alpha", Domain::Positive, 1.0)],
        { at_zero: |p| line_within(1.0 / p[0], [1.0, 1.0]), steepest: |_| 2.0, frequency: |p| 2.0 * p[0] },
        |z, p| {
            let (sine, cosine) = (z * p[0]).sin_cos();
            // 1 + sin 2x = (sin x + cos x)^2
            (z + sine * sine / R::of(p[0]), (sine + cosine) * (sine + cosine))
        }
    ),
    // Shang et al. 2016, arXiv:1603.05201.
    row!(
        "crelu", [], [],
        { homogeneous: true, at_zero: |_| Some([0.0, 1.0]), kinks: |_| vec![0.0], shape: Shape::Doubled },
        |z, _p| relu(z)
    ),
    // Dauphin et al. 2016, arXiv:1612.08083; the others Shazeer 2020, arXiv:2002.05202.
    row!("glu", [], [], { steepest: |_| 0.25, shape: Shape::Gated }, |z, _p| sigmoid(z)),
    row!("swiglu", [], [], { steepest: |_| STEEPEST_SILU, shape: Shape::Gated }, |z, _p| silu(z)),
    row!("geglu", [], [APPROXIMATE], { steepest: steepest_gelu, shape: Shape::Gated }, |z, p| gelu(z, p)),
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
    // + 0: of -0 comes 0.
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

/// The canonical names, in the order of the table.
pub fn names() -> impl Iterator<Item = &'static str> + Clone {
    TABLE.iter().map(|row| row.signature.name)
}

impl Activation {
    /// The activation that a call describes.
    pub fn new(call: &Call) -> Result<Self> {
        if call.name == custom::NAME {
            let table = custom::find(call)?;
            return Ok(Self { kind: Kind::Custom(table), values: table.signature().values("activation", call)? });
        }
        let row = find("activation", TABLE, |row| &row.signature, &call.name)?;
        let values = row.signature.values("activation", call)?;
        let new = Self { kind: Kind::Row(row), values };
        (row.traits.wrong)(&values).map_or(Ok(new), |wrong| {
            Err(Error::Value(format!("activation {}: {wrong}, got '{}'", row.signature.name, new.text())))
        })
    }

    /// The identity.
    pub fn linear() -> Self {
        Self { kind: Kind::Row(&TABLE[0]), values: [f64::NAN; MAX_PARAMS] }
    }

    /// The logistic function.
    pub fn sigmoid() -> Self {
        Self { kind: Kind::Row(&TABLE[1]), values: [f64::NAN; MAX_PARAMS] }
    }

    /// What its row says beside its formula; of a table, what `PLAIN` says.
    fn traits(&self) -> &'static Traits {
        match self.kind {
            Kind::Row(row) => &row.traits,
            Kind::Custom(_) => &PLAIN,
        }
    }

    /// How it is written.
    pub fn signature(&self) -> &'static Signature {
        match self.kind {
            Kind::Row(row) => &row.signature,
            Kind::Custom(table) => table.signature(),
        }
    }

    /// Parameter values in the order of the signature.
    pub fn values(&self) -> &Values {
        &self.values
    }

    /// The canonical spelling.
    pub fn text(&self) -> String {
        self.signature().text(&self.values)
    }

    /// Is it positively homogeneous?
    pub fn homogeneous(&self) -> bool {
        self.traits().homogeneous
    }

    /// The slopes just below and just above 0 where a small signal passes as a line, `None` elsewhere.
    pub fn at_zero(&self) -> Option<[f64; 2]> {
        match self.kind {
            Kind::Row(row) => (row.traits.at_zero)(&self.values),
            Kind::Custom(table) => table.at_zero(),
        }
    }

    /// Radians to a unit of `z` by which it turns far from 0.
    pub fn frequency(&self) -> f64 {
        (self.traits().frequency)(&self.values)
    }

    /// Where `phi`, `phi'` or `phi''` jumps.
    pub fn kinks(&self) -> Vec<f64> {
        match self.kind {
            Kind::Row(row) => (row.traits.kinks)(&self.values),
            Kind::Custom(table) => table.kinks().to_vec(),
        }
    }

    /// The largest `|phi'|`.
    pub fn steepest(&self) -> f64 {
        match self.kind {
            Kind::Row(row) => (row.traits.steepest)(&self.values),
            Kind::Custom(table) => table.steepest(),
        }
    }

    /// What it does to the width of its layer.
    pub fn shape(&self) -> Shape {
        self.traits().shape
    }

    /// The width of `a` where `z` has this width, which must be even for a gated one.
    pub fn outputs(&self, width: usize) -> usize {
        match self.shape() {
            Shape::Each => width,
            Shape::Gated => width / 2,
            Shape::Doubled => 2 * width,
        }
    }

    /// The value that its learnable slope starts from, if it has one.
    pub fn learned(&self) -> Option<f64> {
        (self.traits().learned)(&self.values)
    }

    /// The same with another value of its learnable slope.
    pub fn with_slope(mut self, slope: f64) -> Self {
        if self.learned().is_some() {
            self.values[0] = slope;
        }
        self
    }

    /// `(phi(z), phi'(z))`.
    pub fn both(&self, z: f64) -> (f64, f64) {
        match self.kind {
            Kind::Row(row) => (row.both)(z, &self.values),
            Kind::Custom(table) => table.both(z),
        }
    }

    /// Outputs and slopes of a slice of pre-activations; all three of one length.
    pub fn apply<F: Float>(&self, z: &[F], a: &mut [F], slope: &mut [F]) {
        match self.kind {
            Kind::Row(row) => F::pick(row.single, row.double)(&self.values, z, a, slope),
            Kind::Custom(table) => table.apply(z, a, slope),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Result<Activation> {
        Activation::new(&Call::parse("activation", text)?)
    }

    /// Every row, and some with parameters.
    fn every() -> Vec<Activation> {
        let given = [
            ["leaky_relu(-1.5)", "elu(2)", "celu(0.5)", "gelu(tanh)", "softplus(3, 10)", "prelu(-2)", "rrelu(1, 2)"],
            [
                "hardtanh(0, 3)",
                "hardtanh(1, 2)",
                "softshrink(2)",
                "hardshrink(0)",
                "sin(3)",
                "squareplus(0.1)",
                "snake(5)",
            ],
            [
                "threshold(0.5, 2)",
                "threshold(-1, 2)",
                "threshold(1, 0)",
                "hardtanh(-2, 0)",
                "geglu(tanh)",
                "sin(0)",
                "prelu",
            ],
        ];
        // Without parameters a threshold has no value.
        let plain = names().filter(|name| *name != "threshold");
        plain.chain(given.into_iter().flatten()).map(|text| of(text).unwrap()).collect()
    }

    #[test]
    fn the_stated_steepest_slope_is_the_largest_one_on_a_fine_grid() {
        for activation in every() {
            // Some near it far out, or beside a kink.
            let sides = activation.kinks().into_iter().flat_map(|kink| [kink - 1e-9, kink + 1e-9]);
            let grid = (-600_000..=600_000).map(|i| f64::from(i) * 1e-4).chain([-1e9, 1e9]).chain(sides);
            let largest = grid.map(|z| activation.both(z).1.abs()).fold(0.0, f64::max);
            assert!((largest - activation.steepest()).abs() < 1e-8, "{} {largest}", activation.text());
        }
    }

    #[test]
    fn homogeneous_rows_scale_and_the_others_do_not() {
        for activation in every() {
            let scales = [-3.0, -0.5, 0.7, 4.0].iter().all(|&z| {
                let (small, large) = (activation.both(z).0, activation.both(8.0 * z).0);
                (large - 8.0 * small).abs() <= 1e-12 * large.abs()
            });
            // The identity, or nothing: homogeneous, but not worth a word in the table.
            let trivial = ["hardshrink(lambd=0)", "sin(omega=0)"].contains(&activation.text().as_str());
            assert_eq!(scales, activation.homogeneous() || trivial, "{}", activation.text());
        }
    }

    #[test]
    fn a_tiny_signal_passes_as_a_line_where_that_is_stated() {
        for activation in every() {
            let Some([below, above]) = activation.at_zero() else {
                let cubic = activation.both(1e-20).0.abs() < 1e-40;
                let gated = activation.shape() == Shape::Gated;
                assert!(activation.both(0.0).0 != 0.0 || cubic || gated, "{}", activation.text());
                continue;
            };
            for (z, slope) in [(-1e-20, below), (0.0, below), (1e-20, above)] {
                let (value, derivative) = activation.both(z);
                assert!((value - slope * z).abs() <= 1e-15 * value.abs(), "{} at {z}", activation.text());
                // Where the signal needs no line, 0 may have a slope of its own.
                let text = activation.text();
                let own = z == 0.0
                    && ["abs", "hardshrink(lambd=0)", "hardtanh(min_val=-2, max_val=0)"].contains(&text.as_str());
                assert!((derivative - slope).abs() <= 1e-15 * slope.abs() || own, "{} at {z}", activation.text());
            }
        }
    }

    #[test]
    fn a_parameter_that_bends_it_close_to_0_leaves_no_line_there() {
        for text in
            ["hardtanh(-1e-9, 1)", "celu(1e-6)", "sin(1e4)", "snake(1e4)", "softshrink(1e-3)", "threshold(-1e-3, 0)"]
        {
            assert_eq!(of(text).unwrap().at_zero(), None, "{text}");
        }
    }

    #[test]
    fn nan_stays_nan_and_infinities_keep_their_limits() {
        for activation in every() {
            assert!(activation.both(f64::NAN).0.is_nan(), "{}", activation.text());
            // A wave has no limit.
            let wave = ["sin", "snake"].contains(&activation.signature().name);
            for z in [-1e300, 1e300, f64::NEG_INFINITY, f64::INFINITY] {
                let (value, slope) = activation.both(z);
                let fails = value.is_nan() || slope.is_nan();
                assert_eq!(fails, wave && z.is_infinite(), "{} at {z}: {value} {slope}", activation.text());
            }
        }
        for (text, at_minus, at_plus) in [
            ("softsign", -1.0, 1.0),
            ("arctan", -PI / 2.0, PI / 2.0),
            ("erf", -1.0, 1.0),
            ("mish", 0.0, f64::INFINITY),
            ("hardswish", 0.0, f64::INFINITY),
            ("squareplus", 0.0, f64::INFINITY),
            ("logsigmoid", f64::NEG_INFINITY, 0.0),
            ("tanhshrink", f64::NEG_INFINITY, f64::INFINITY),
        ] {
            let limits = [f64::NEG_INFINITY, f64::INFINITY].map(|z| of(text).unwrap().both(z).0);
            assert_eq!(limits, [at_minus, at_plus], "{text}");
        }
    }

    #[test]
    fn slopes_at_kinks_are_those_of_torch() {
        // Measured with torch 2.13.
        for (text, z, slope) in [
            ("relu", 0.0, 0.0),
            ("leaky_relu(0.2)", 0.0, 0.2),
            ("prelu", 0.0, 0.25),
            ("rrelu", 0.0, 11.0 / 48.0),
            ("elu", 0.0, 1.0),
            ("celu(2)", 0.0, 1.0),
            ("selu", 0.0, 1.758_099_340_847_376_8),
            ("hardtanh", -1.0, 0.0),
            ("hardtanh", 1.0, 0.0),
            ("relu6", 0.0, 0.0),
            ("relu6", 6.0, 0.0),
            ("hardsigmoid", -3.0, 0.0),
            ("hardsigmoid", 3.0, 0.0),
            ("hardswish", -3.0, 0.0),
            ("hardswish", 3.0, 1.0),
            ("softshrink", 0.5, 0.0),
            ("hardshrink", -0.5, 0.0),
            ("threshold(0.5, 2)", 0.5, 0.0),
            ("abs", 0.0, 0.0),
            ("softsign", 0.0, 1.0),
            ("softplus", 20.1, 1.0),
        ] {
            assert!((of(text).unwrap().both(z).1 - slope).abs() < 1e-15, "{text}");
        }
    }

    #[test]
    fn parameters_that_do_not_go_together_are_refused() {
        for (text, part) in [
            ("hardtanh(1, 1)", "min_val must be below max_val, got 'hardtanh(min_val=1)'"),
            ("hardtanh(2)", "min_val must be below max_val"),
            ("rrelu(0.5, 0.25)", "lower must not be above upper"),
            ("softshrink(-1)", "lambd must be a finite number, 0 or more"),
            ("squareplus(0)", "b must be a finite number above 0"),
            ("threshold", "needs threshold"),
            ("threshold(1)", "needs value"),
        ] {
            let message = of(text).unwrap_err().to_string();
            assert!(message.contains(part), "{text}: {message}");
        }
    }

    #[test]
    fn a_learned_slope_is_a_value_of_the_row() {
        assert_eq!(of("leaky_relu").unwrap().learned(), None);
        let prelu = of("prelu(0.1)").unwrap();
        assert_eq!(prelu.learned(), Some(0.1));
        assert_eq!(prelu.with_slope(-0.5).both(-2.0), (1.0, -0.5));
        let (mut a, mut slope) = ([0.0_f32], [0.0_f32]);
        prelu.with_slope(-0.5).apply(&[-2.0], &mut a, &mut slope);
        assert_eq!((a, slope), ([1.0], [-0.5]));
    }

    #[test]
    fn shapes_say_the_width_that_leaves() {
        for (text, shape, width) in
            [("relu", Shape::Each, 6), ("crelu", Shape::Doubled, 12), ("geglu(tanh)", Shape::Gated, 3)]
        {
            let activation = of(text).unwrap();
            assert_eq!((activation.shape(), activation.outputs(6)), (shape, width), "{text}");
        }
    }

    #[test]
    fn slopes_keep_their_digits_in_deep_saturation() {
        let slope = |text: &str, z: f64| of(text).unwrap().both(z).1;
        // exp(-z) and 4 exp(-2z) to all digits: the next term of the series is 1e-17 of the first.
        assert_eq!(slope("sigmoid", 40.0), libm::exp(-40.0));
        assert_eq!(slope("sigmoid", -40.0), libm::exp(-40.0));
        assert_eq!(slope("tanh", 20.0), 4.0 * libm::exp(-40.0));
        assert_eq!(slope("logsigmoid", 40.0), libm::exp(-40.0));
        assert_eq!(slope("erf", 20.0), FRAC_2_SQRT_PI * libm::exp(-400.0));
        assert!((slope("softsign", 1e9) * 1e9 * 1e9 * (1.0 + 2e-9) - 1.0).abs() < 1e-15);
        assert!((slope("squareplus", -1e9) * 1e18 - 1.0).abs() < 1e-15);
    }
}
