//! Expectations of an activation over normal signals.
//!
//! They are integrals over the pieces between kinks, by the double-exponential rule, which is exact to rounding for what
//! is smooth inside a piece (H. Takahasi and M. Mori, "Double exponential formulas for numerical integration", Publ. RIMS
//! 9, 1974).

use crate::activation::{Activation, Shape};
use std::f64::consts::{FRAC_PI_2, TAU};
use std::sync::LazyLock;

/// Beyond, the normal density is below 1e-31.
const END: f64 = 12.0;

/// What becomes of a pre-activation `z` of variance `q`. A gated activation is `phi = value * g(gate)`, both halves of `z`.
#[derive(Debug, Clone, Copy)]
pub struct Moments {
    /// `E phi`; gated, 0.
    pub mean: f64,
    /// `E phi^2`; gated, `q E g^2`.
    pub value: f64,
    /// `E phi'^2`; gated, what both slopes make of it, `E g^2 + q E g'^2`.
    pub slope: f64,
    /// How `value` grows with `q`: by partial integration, `E phi^2 (z^2 / q - 1) / (2 q)`.
    pub growth: f64,
    /// `E phi'^4`; gated, NaN.
    pub fourth: f64,
}

impl Moments {
    /// Of one activation at one variance.
    pub fn of(activation: &Activation, q: f64) -> Self {
        let scale = q.sqrt();
        // The rule crowds its points at the ends of a piece: at 0 too, where phi bends when q is large.
        let ends = ends(activation.kinks().into_iter().map(|kink| kink / scale));
        let (mut mean, mut value, mut slope, mut growth, mut fourth) = (0.0, 0.0, 0.0, 0.0, 0.0);
        over(&FINE, &ends, |z, weight| {
            let (phi, derivative) = activation.both(scale * z);
            let (square, bend) = (phi * phi, derivative * derivative);
            mean += weight * phi;
            value += weight * square;
            slope += weight * bend;
            growth += weight * square * (z * z - 1.0);
            fourth += weight * bend * bend;
        });
        growth /= 2.0 * q;
        match activation.shape() {
            Shape::Each | Shape::Doubled => Self { mean, value, slope, growth, fourth },
            Shape::Gated => Self {
                mean: 0.0,
                value: q * value,
                slope: value + q * slope,
                growth: value + q * growth,
                fourth: f64::NAN,
            },
        }
    }
}

/// What becomes of two pre-activations of variance `q` and correlation `c`.
#[derive(Debug, Clone, Copy)]
pub struct Pair {
    /// `E phi(u) phi(v)`.
    pub value: f64,
    /// `E phi'(u) phi'(v)`.
    pub slope: f64,
}

impl Pair {
    /// Of one activation at one variance and correlation.
    pub fn of(activation: &Activation, q: f64, c: f64) -> Self {
        let (scale, rest) = (q.sqrt(), ((1.0 - c) * (1.0 + c)).max(0.0).sqrt());
        let kinks = activation.kinks().into_iter().map(|kink| kink / scale).collect::<Vec<_>>();
        let (mut value, mut slope) = (0.0, 0.0);
        over(&COARSE, &ends(kinks.iter().copied()), |x, weight| {
            let (phi, derivative) = activation.both(scale * x);
            let (mut inner, mut bend) = (0.0, 0.0);
            // Given u, v is normal about c u with the standard deviation `rest`.
            if rest < 1e-7 {
                (inner, bend) = activation.both(scale * c * x);
            } else {
                let ends = ends(kinks.iter().map(|kink| (kink - c * x) / rest).chain([-c * x / rest]));
                over(&COARSE, &ends, |y, weight| {
                    let (phi, derivative) = activation.both(scale * (c * x + rest * y));
                    inner += weight * phi;
                    bend += weight * derivative;
                });
            }
            value += weight * phi * inner;
            slope += weight * derivative * bend;
        });
        match activation.shape() {
            Shape::Each | Shape::Doubled => Self { value, slope },
            Shape::Gated => Self { value: q * c * value, slope: value + q * c * slope },
        }
    }
}

/// The ends of the pieces, in order.
fn ends(inside: impl Iterator<Item = f64>) -> Vec<f64> {
    let mut ends = inside.filter(|end| end.abs() < END).chain([-END, 0.0, END]).collect::<Vec<_>>();
    ends.sort_by(f64::total_cmp);
    ends.dedup();
    ends
}

/// Give every point of a rule on all pieces to `add`, with its share of the normal density.
fn over(rule: &[Point], ends: &[f64], mut add: impl FnMut(f64, f64)) {
    for piece in ends.windows(2) {
        let half = 0.5 * (piece[1] - piece[0]);
        for point in rule {
            // From the nearer end, so that no point falls onto it.
            let z = if point.upper { piece[1] - half * point.distance } else { piece[0] + half * point.distance };
            add(z, half * point.weight * libm::exp(-0.5 * z * z));
        }
    }
}

/// A point of the rule on `[-1, 1]`.
struct Point {
    /// Is 1 the nearer end?
    upper: bool,
    /// Distance from the nearer end.
    distance: f64,
    /// Weight, with the constant of the normal density.
    weight: f64,
}

/// For one signal: exact to rounding.
static FINE: LazyLock<Vec<Point>> = LazyLock::new(|| rule(64));

/// For two signals, where the points of one rule come to the power of two: errors below 1e-11 where sqrt(q) is moderate (16 steps: 5e-9; 24: 2e-9).
static COARSE: LazyLock<Vec<Point>> = LazyLock::new(|| rule(32));

/// `x = tanh(pi/2 sinh t)` with so many steps to a unit of `t`; at `|t| = 3.5` the weights end.
fn rule(steps: i32) -> Vec<Point> {
    let point = |i: i32| {
        let t = f64::from(i) / f64::from(steps);
        let u = FRAC_PI_2 * libm::sinh(t.abs());
        let cosh = libm::cosh(u);
        let weight = FRAC_PI_2 * libm::cosh(t) / (cosh * cosh) / f64::from(steps);
        Point { upper: i > 0, distance: libm::exp(-u) / cosh, weight: weight / TAU.sqrt() }
    };
    (-7 * steps / 2..=7 * steps / 2).map(point).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::signature::Call;
    use std::f64::consts::PI;

    fn activation(text: &str) -> Activation {
        Activation::new(&Call::parse("activation", text).unwrap()).unwrap()
    }

    #[test]
    fn pairs_are_those_of_closed_forms() {
        for q in [1e-3_f64, 0.3, 1.0, 20.0] {
            for c in [-1.0_f64, -0.9, -0.3, 0.0, 0.5, 0.99, 1.0 - 1e-6, 1.0 - 1e-12, 1.0] {
                // Cho and Saul 2009; Williams 1997.
                let angle = c.acos();
                let relu = Pair::of(&activation("relu"), q, c);
                let k1 = ((1.0 - c * c).sqrt() + c * (PI - angle)) / PI;
                assert!((relu.value - 0.5 * q * k1).abs() < 1e-11 * q, "relu {q} {c} {relu:?} {}", 0.5 * q * k1);
                assert!((relu.slope - 0.5 * (1.0 - angle / PI)).abs() < 1e-11, "relu {q} {c} {relu:?}");
                let erf = Pair::of(&activation("erf"), q, c);
                let exact = 2.0 / PI * (2.0 * q * c / (1.0 + 2.0 * q)).asin();
                assert!((erf.value - exact).abs() < 1e-11, "erf {q} {c} {erf:?} {exact}");
                let bent = 4.0 / PI / ((1.0 + 2.0 * q).powi(2) - (2.0 * q * c).powi(2)).sqrt();
                assert!((erf.slope - bent).abs() < 1e-11, "erf {q} {c} {erf:?} {bent}");
            }
        }
    }

    #[test]
    fn a_signal_paired_with_itself_has_the_moments_of_one() {
        for text in ["tanh", "gelu", "hardtanh", "selu", "relu6", "sin", "swiglu", "glu", "hardshrink"] {
            for q in [0.01, 1.0, 30.0] {
                let (one, two) = (Moments::of(&activation(text), q), Pair::of(&activation(text), q, 1.0));
                assert!((two.value / one.value - 1.0).abs() < 1e-9, "{text} {q} {one:?} {two:?}");
                assert!((two.slope / one.slope - 1.0).abs() < 1e-9, "{text} {q} {one:?} {two:?}");
            }
        }
    }
}
