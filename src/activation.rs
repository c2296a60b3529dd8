//! Activations: one row each, the function beside its derivative.
//!
//! Both are computed from the pre-activation `z`. The saved-output forms `1 - y^2` and `y (1 - y)` lose every digit in
//! saturation, the very thing that vgcore studies. Names, defaults and slopes at kinks are those of
//! `torch.nn.functional`.

#![allow(clippy::inline_always)] // A `simd::Task` is compiled for an instruction set only where it is inlined.

use crate::error::Result;
use crate::signature::{Call, Domain, MAX_PARAMS, Param, Signature, Values, find};
use crate::simd::{self, Float, Real, Reals, Set, Task, Vector};
use std::f64::consts::PI;
use std::marker::PhantomData;

/// An activation function with its parameters.
#[derive(Clone, Copy)]
pub struct Activation {
    row: &'static Row,
    values: Values,
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

/// One activation of the table.
struct Row {
    signature: Signature,
    /// `phi(t z) = t phi(z)` for every `t > 0`: such a net can carry an exponent forward.
    homogeneous: bool,
    /// The slopes just below and just above 0 where `phi(0) = 0`, `None` elsewhere: a signal too small for `phi` to
    /// bend passes as `z` times these, so that it can carry an exponent too.
    at_zero: fn(&Values) -> Option<[f64; 2]>,
    /// Where `phi` or `phi'` jumps: no difference quotient may straddle it.
    kink: fn(&Values) -> Option<f64>,
    /// The largest `|phi'|`, against which saturation is measured.
    steepest: fn(&Values) -> f64,
    /// `(phi(z), phi'(z))`.
    both: fn(f64, &Values) -> (f64, f64),
    single: fn(&Values, &[f32], &mut [f32], &mut [f32]),
    double: fn(&Values, &[f64], &mut [f64], &mut [f64]),
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
    (
        $name:literal, [$($alias:literal),*], [$($param:expr),*],
        homogeneous: $homogeneous:literal, at_zero: $at_zero:expr, kink: $kink:expr, steepest: $steepest:expr, |$z:ident, $p:ident| $both:expr
    ) => {{
        struct This;
        impl Formula for This {
            #[inline(always)]
            fn both<R: Real>($z: R, $p: &Values) -> (R, R) {
                $both
            }
        }
        Row {
            signature: Signature { name: $name, aliases: &[$($alias),*], params: &[$($param),*] },
            homogeneous: $homogeneous,
            at_zero: $at_zero,
            kink: $kink,
            steepest: $steepest,
            both: This::both::<f64>,
            single: map::<This, f32>,
            double: map::<This, f64>,
        }
    }};
}

const ALPHA: f64 = 1.673_263_242_354_377_2;
const LAMBDA: f64 = 1.050_700_987_355_480_5;

static TABLE: [Row; 10] = [
    row!(
        "linear", ["identity"], [],
        homogeneous: true, at_zero: |_| Some([1.0, 1.0]), kink: |_| None, steepest: |_| 1.0,
        |z, _p| (z, R::of(1.0))
    ),
    row!(
        "sigmoid", ["logistic"], [],
        homogeneous: false, at_zero: |_| None, kink: |_| None, steepest: |_| 0.25,
        |z, _p| {
            let (s, rest) = logistic(z);
            (s, s * rest)
        }
    ),
    row!(
        "tanh", [], [],
        homogeneous: false, at_zero: |_| Some([1.0, 1.0]), kink: |_| None, steepest: |_| 1.0,
        |z, _p| {
            let (e, less_one) = (z * 2.0).decay();
            let y = -less_one / (e + 1.0);
            // 1 / cosh^2 = 4 e / (1 + e)^2 with e = exp(-2|z|), and 1 + y = 2 / (1 + e).
            (y.with_sign_of(z), e * (y + 1.0) * (y + 1.0))
        }
    ),
    row!(
        "relu", [], [],
        homogeneous: true, at_zero: |_| Some([0.0, 1.0]), kink: |_| Some(0.0), steepest: |_| 1.0,
        // + 0: of -0 comes 0.
        |z, _p| (z.at_least(0.0) + 0.0, z.above(0.0, R::of(1.0), R::of(0.0)))
    ),
    row!(
        "leaky_relu", [], [Param::new("negative_slope", Domain::Finite, 0.01)],
        homogeneous: true, at_zero: |p| Some([p[0], 1.0]), kink: |_| Some(0.0), steepest: |p| p[0].abs().max(1.0),
        |z, p| (z.above(0.0, z, z * p[0]), z.above(0.0, R::of(1.0), R::of(p[0])))
    ),
    row!(
        "elu", [], [Param::new("alpha", Domain::Finite, 1.0)],
        homogeneous: false, at_zero: |p| Some([p[0], 1.0]), kink: |_| Some(0.0), steepest: |p| p[0].abs().max(1.0),
        |z, p| {
            let (e, less_one) = z.decay();
            (z.above(0.0, z, less_one.with_sign_of(z) * p[0]), z.above(0.0, R::of(1.0), e * p[0]))
        }
    ),
    // Klambauer et al. 2017, arXiv:1706.02515.
    row!(
        "selu", [], [],
        homogeneous: false, at_zero: |_| Some([LAMBDA * ALPHA, LAMBDA]), kink: |_| Some(0.0),
        steepest: |_| LAMBDA * ALPHA,
        |z, _p| {
            let (e, less_one) = z.decay();
            let below = LAMBDA * ALPHA;
            let value = z.above(0.0, z * LAMBDA, less_one.with_sign_of(z) * below);
            (value, z.above(0.0, R::of(LAMBDA), e * below))
        }
    ),
    // Hendrycks and Gimpel 2016, arXiv:1606.08415: z N(z), or its tanh approximation.
    row!(
        "gelu", [], [Param::new("approximate", Domain::Word(&["none", "tanh"]), 0.0)],
        homogeneous: false, at_zero: |_| Some([0.5, 0.5]), kink: |_| None,
        steepest: |p| if p[0] == 0.0 { 1.128_904_145_185_154_7 } else { 1.128_993_068_655_481 },
        |z, p| if p[0] == 0.0 { gelu(z) } else { gelu_tanh(z) }
    ),
    row!(
        "silu", ["swish"], [],
        homogeneous: false, at_zero: |_| Some([0.5, 0.5]), kink: |_| None, steepest: |_| 1.099_839_320_206_783_4,
        |z, _p| {
            let (s, rest) = logistic(z);
            (product(z, s), s * (product(z, rest) + 1.0))
        }
    ),
    row!(
        "softplus", [],
        [Param::new("beta", Domain::Positive, 1.0), Param::new("threshold", Domain::Finite, 20.0)],
        homogeneous: false, at_zero: |_| None, kink: |p| Some(p[1] / p[0]), steepest: |_| 1.0,
        |z, p| {
            let t = z * p[0];
            // log(1 + e^t) without overflow; torch's rule is the identity above the threshold.
            let bent = (t.decay().0.log1p() + t.at_least(0.0)) * (1.0 / p[0]);
            (t.above(p[1], z, bent), t.above(p[1], R::of(1.0), logistic(t).0))
        }
    ),
];

/// `(s, 1 - s)` of the logistic function, both to full relative accuracy.
#[inline(always)]
fn logistic<R: Real>(z: R) -> (R, R) {
    let (e, _) = z.decay();
    let rounded = e / (e + 1.0);
    // small = e (1 - small), which has less of the rounding of 1 + e.
    let (large, small) = (R::of(1.0) - rounded, e - e * rounded);
    (z.above(0.0, large, small), z.above(0.0, small, large))
}

#[inline(always)]
fn gelu<R: Real>(z: R) -> (R, R) {
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

/// How outputs are made of pre-activations.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    Each,
    Gated,
    Doubled,
}

impl Activation {
    pub fn shape(&self) -> Shape {
        Shape::Each
    }
    pub fn outputs(&self, width: usize) -> usize {
        width
    }
    pub fn learned(&self) -> Option<f64> {
        None
    }
    pub fn with_slope(&self, _slope: f64) -> Self {
        *self
    }
    /// The identity.
    pub fn linear() -> Self {
        Self { row: &TABLE[0], values: [f64::NAN; MAX_PARAMS] }
    }

    /// The logistic function.
    pub fn sigmoid() -> Self {
        Self { row: &TABLE[1], values: [f64::NAN; MAX_PARAMS] }
    }
    /// The activation that a call describes.
    pub fn new(call: &Call) -> Result<Self> {
        let row = find("activation", &TABLE, |row| &row.signature, &call.name)?;
        Ok(Self { row, values: row.signature.values("activation", call)? })
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

    /// Is it positively homogeneous?
    pub fn homogeneous(&self) -> bool {
        self.row.homogeneous
    }

    /// The slopes just below and just above 0 where `phi(0) = 0`, `None` elsewhere.
    pub fn at_zero(&self) -> Option<[f64; 2]> {
        (self.row.at_zero)(&self.values)
    }

    /// Where `phi` or `phi'` jumps.
    pub fn kink(&self) -> Option<f64> {
        (self.row.kink)(&self.values)
    }

    /// The largest `|phi'|`.
    pub fn steepest(&self) -> f64 {
        (self.row.steepest)(&self.values)
    }

    /// `(phi(z), phi'(z))`.
    pub fn both(&self, z: f64) -> (f64, f64) {
        (self.row.both)(z, &self.values)
    }

    /// Outputs and slopes of a slice of pre-activations; all three of one length.
    pub fn apply<F: Float>(&self, z: &[F], a: &mut [F], slope: &mut [F]) {
        F::pick(self.row.single, self.row.double)(&self.values, z, a, slope);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn every() -> Vec<Activation> {
        let extra = ["leaky_relu(-1.5)", "elu(2)", "gelu(tanh)", "softplus(3, 10)"];
        names().chain(extra).map(|text| Activation::new(&Call::parse("activation", text).unwrap()).unwrap()).collect()
    }

    #[test]
    fn the_stated_steepest_slope_is_the_largest_one_on_a_fine_grid() {
        for activation in every() {
            let largest =
                (-600_000..=600_000).map(|i| activation.both(f64::from(i) * 1e-4).1.abs()).fold(0.0, f64::max);
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
            assert_eq!(scales, activation.homogeneous(), "{}", activation.text());
        }
    }

    #[test]
    fn a_tiny_signal_passes_as_a_line_where_phi_of_0_is_0() {
        for activation in every() {
            let Some([below, above]) = activation.at_zero() else {
                assert_ne!(activation.both(0.0).0, 0.0, "{}", activation.text());
                continue;
            };
            for (z, slope) in [(-1e-20, below), (0.0, below), (1e-20, above)] {
                let (value, derivative) = activation.both(z);
                assert!((value - slope * z).abs() <= 1e-15 * value.abs(), "{} at {z}", activation.text());
                assert!((derivative - slope).abs() <= 1e-15 * slope.abs(), "{} at {z}", activation.text());
            }
        }
    }

    #[test]
    fn nan_stays_nan_and_infinities_keep_their_limits() {
        for activation in every() {
            assert!(activation.both(f64::NAN).0.is_nan(), "{}", activation.text());
            for z in [-1e300, 1e300, f64::INFINITY] {
                let (value, slope) = activation.both(z);
                assert!(!value.is_nan() && !slope.is_nan(), "{} at {z}: {value} {slope}", activation.text());
            }
        }
    }

    #[test]
    fn slopes_at_kinks_are_those_of_torch() {
        // Measured with torch 2.13.
        for (text, z, slope) in [
            ("relu", 0.0, 0.0),
            ("leaky_relu(0.2)", 0.0, 0.2),
            ("elu", 0.0, 1.0),
            ("selu", 0.0, 1.758_099_340_847_376_8),
            ("softplus", 20.1, 1.0),
        ] {
            let activation = Activation::new(&Call::parse("activation", text).unwrap()).unwrap();
            assert!((activation.both(z).1 - slope).abs() < 1e-15, "{text}");
        }
    }

    #[test]
    fn slopes_keep_their_digits_in_deep_saturation() {
        let slope = |text: &str, z: f64| Activation::new(&Call::parse("activation", text).unwrap()).unwrap().both(z).1;
        // exp(-z) and 4 exp(-2z) to all digits: the next term of the series is 1e-17 of the first.
        assert_eq!(slope("sigmoid", 40.0), libm::exp(-40.0));
        assert_eq!(slope("sigmoid", -40.0), libm::exp(-40.0));
        assert_eq!(slope("tanh", 20.0), 4.0 * libm::exp(-40.0));
    }
}
