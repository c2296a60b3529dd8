//! Expectations over two correlated normal pre-activations.

use super::quadrature::{COARSE, END, FINE, ends, over};
use super::{Moments, hermite};
use crate::activation::{Activation, Shape};
use std::f64::consts::{PI, TAU};

/// Expectations of an activation over two normal pre-activations `u` and `v` of variance `q` and correlation `c`.
#[derive(Debug, Clone, Copy)]
pub struct Pair {
    /// `E phi(u) phi(v)`.
    pub value: f64,
    /// `E phi'(u) phi'(v)`.
    pub slope: f64,
}

impl Pair {
    /// The expectations of an activation at one variance and correlation.
    pub fn of(activation: &Activation, q: f64, c: f64) -> Self {
        let smooth =
            activation.shape() == Shape::Each && activation.kinks().iter().all(|kink| kink.abs() > END * q.sqrt());
        if c.abs() < 1e-12 {
            Self::of_strangers(activation, q, c)
        } else if activation.homogeneous() && activation.shape() == Shape::Each {
            Self::of_lines(activation, q, c)
        } else if let Some(pair) = smooth.then(|| Self::of_series(activation, q, c)).flatten() {
            pair
        } else {
            Self::of_integral(activation, q, c)
        }
    }

    /// To first order in `c`, for samples that hardly correlate: all start so, and odd activations without biases keep
    /// them so at every depth.
    fn of_strangers(activation: &Activation, q: f64, c: f64) -> Self {
        let (scale, both) = (q.sqrt(), activation.function());
        let (mut value, mut slope) = (0.0, 0.0);
        over(&FINE, &ends(activation.kinks().into_iter().map(|kink| kink / scale)), |x, weight| {
            let (phi, derivative) = both(scale * x);
            value += weight * phi;
            slope += weight * derivative;
        });
        Self::shaped(activation, q, c, value * value + c * q * slope * slope, slope * slope)
    }

    /// By an integral over `u` of an integral over `v`, for any activation.
    fn of_integral(activation: &Activation, q: f64, c: f64) -> Self {
        let (scale, rest) = (q.sqrt(), ((1.0 - c) * (1.0 + c)).max(0.0).sqrt());
        let both = activation.function();
        let kinks = activation.kinks().into_iter().map(|kink| kink / scale).collect::<Vec<_>>();
        let (mut value, mut slope) = (0.0, 0.0);
        over(&COARSE, &ends(kinks.iter().copied()), |x, weight| {
            let (phi, derivative) = both(scale * x);
            let (mut inner, mut bend) = (0.0, 0.0);
            // Given u, v is normal about c u with the standard deviation `rest`.
            if rest < 1e-7 {
                (inner, bend) = both(scale * c * x);
            } else {
                let ends = ends(kinks.iter().map(|kink| (kink - c * x) / rest).chain([-c * x / rest]));
                over(&COARSE, &ends, |y, weight| {
                    let (phi, derivative) = both(scale * (c * x + rest * y));
                    inner += weight * phi;
                    bend += weight * derivative;
                });
            }
            value += weight * phi * inner;
            slope += weight * derivative * bend;
        });
        Self::shaped(activation, q, c, value, slope)
    }

    /// In closed form, for two lines that meet at 0 (Cho and Saul 2009).
    fn of_lines(activation: &Activation, q: f64, c: f64) -> Self {
        let (above, below) = (activation.both(1.0).1, activation.both(-1.0).1);
        let angle = libm::acos(c.clamp(-1.0, 1.0));
        let root = ((1.0 - c) * (1.0 + c)).max(0.0).sqrt();
        // E u_+ v_+ and E u_+ (-v)_+ over q; the share of both above 0.
        let (same, other) = ((root + c * (PI - angle)) / TAU, (root - c * angle) / TAU);
        let both = (PI - angle) / TAU;
        let squares = above * above + below * below;
        Self {
            value: q * (squares * same - 2.0 * above * below * other),
            slope: squares * both + 2.0 * above * below * (0.5 - both),
        }
    }

    /// By Hermite coefficients, for a smooth activation whose coefficients end soon enough.
    fn of_series(activation: &Activation, q: f64, c: f64) -> Option<Self> {
        const TERMS: usize = 64;
        let one = Moments::of(activation, q);
        let squares = hermite(activation, q, TERMS).into_iter().map(|a| a * a);
        let (mut value, mut slope, mut all, mut steep) = (0.0, 0.0, 0.0, 0.0);
        let (mut before, mut power) = (0.0, 1.0); // c^(k - 1) and c^k
        for (k, square) in squares.enumerate() {
            value += square * power;
            all += square;
            steep += k as f64 * square;
            slope += k as f64 * square * before;
            (before, power) = (power, power * c);
        }
        let ended = (one.value - all).abs() <= 1e-13 * one.value && (one.slope - steep / q).abs() <= 1e-12 * one.slope;
        ended.then_some(Self { value, slope: slope / q })
    }

    /// The expectations of the whole activation: a gated one multiplies those of its gate by the value's.
    fn shaped(activation: &Activation, q: f64, c: f64, value: f64, slope: f64) -> Self {
        match activation.shape() {
            Shape::Each | Shape::Doubled => Self { value, slope },
            Shape::Gated => Self { value: q * c * value, slope: value + q * c * slope },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Activation {
        Activation::parse(text).unwrap()
    }

    #[test]
    fn pairs_are_those_of_closed_forms() {
        for q in [1e-3_f64, 0.3, 1.0, 20.0] {
            for c in [-1.0_f64, -0.9, -0.3, 0.0, 0.5, 0.99, 1.0 - 1e-6, 1.0 - 1e-12, 1.0] {
                // Cho and Saul 2009; Williams 1997.
                let angle = c.acos();
                let relu = Pair::of(&parse("relu"), q, c);
                let k1 = ((1.0 - c * c).sqrt() + c * (PI - angle)) / PI;
                assert!((relu.value - 0.5 * q * k1).abs() < 1e-11 * q, "relu {q} {c} {relu:?} {}", 0.5 * q * k1);
                assert!((relu.slope - 0.5 * (1.0 - angle / PI)).abs() < 1e-11, "relu {q} {c} {relu:?}");
                let erf = Pair::of(&parse("erf"), q, c);
                let exact = 2.0 / PI * (2.0 * q * c / (1.0 + 2.0 * q)).asin();
                assert!((erf.value - exact).abs() < 1e-11, "erf {q} {c} {erf:?} {exact}");
                let bent = 4.0 / PI / ((1.0 + 2.0 * q).powi(2) - (2.0 * q * c).powi(2)).sqrt();
                assert!((erf.slope - bent).abs() < 1e-11, "erf {q} {c} {erf:?} {bent}");
            }
        }
    }

    #[test]
    fn hermite_series_are_pairs() {
        for text in ["tanh", "gelu", "sin"] {
            for q in [0.3, 1.0] {
                let (phi, c) = (parse(text), 0.7_f64);
                let series = hermite(&phi, q, 100);
                let value = series.iter().rev().fold(0.0, |sum, a| sum * c + a * a);
                let pair = Pair::of(&phi, q, c);
                assert!((value - pair.value).abs() < 1e-11, "{text} {q} {value} {pair:?}");
            }
        }
    }

    #[test]
    fn series_and_lines_are_integrals() {
        for text in ["tanh", "gelu", "sigmoid", "silu", "leaky_relu(0.1)", "relu", "abs", "linear"] {
            for q in [0.01, 0.5, 2.0] {
                for c in [-0.99, -0.4, 1e-3, 0.6, 0.999] {
                    let phi = parse(text);
                    let (fast, slow) = (Pair::of(&phi, q, c), Pair::of_integral(&phi, q, c));
                    let one = Moments::of(&phi, q);
                    assert!((fast.value - slow.value).abs() < 1e-11 * one.value, "{text} {q} {c} {fast:?} {slow:?}");
                    assert!((fast.slope - slow.slope).abs() < 1e-10 * one.slope, "{text} {q} {c} {fast:?} {slow:?}");
                }
            }
        }
    }

    #[test]
    fn a_signal_paired_with_itself_has_the_moments_of_one() {
        for text in ["tanh", "gelu", "hardtanh", "selu", "relu6", "sin", "swiglu", "glu", "hardshrink"] {
            for q in [0.01, 1.0, 30.0] {
                let (one, two) = (Moments::of(&parse(text), q), Pair::of(&parse(text), q, 1.0));
                assert!((two.value / one.value - 1.0).abs() < 1e-9, "{text} {q} {one:?} {two:?}");
                assert!((two.slope / one.slope - 1.0).abs() < 1e-9, "{text} {q} {one:?} {two:?}");
            }
        }
    }
}
