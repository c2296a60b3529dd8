//! Expectations of an activation over normal signals.
//!
//! They are integrals over the pieces between kinks, by the double-exponential rule, which is exact to rounding for what
//! is smooth inside a piece (H. Takahasi and M. Mori, "Double exponential formulas for numerical integration", Publ. RIMS
//! 9, 1974).

use crate::activation::{Activation, Shape};
use std::f64::consts::{FRAC_PI_2, PI, TAU};
use std::sync::LazyLock;

/// Beyond, the normal density is below 1e-31.
const END: f64 = 12.0;

/// Of the whole: what no sum of a thousand points shows.
const LEAST: f64 = 1e-22;

/// What becomes of a pre-activation `z` of variance `q`. A gated activation is `phi = value * g(gate)`, both halves of `z`.
///
/// Derivatives by `q` are partial integrals: with `f` a function of `z`, `dE f/dq = E f (z^2 / q - 1) / (2 q)`.
#[derive(Debug, Clone, Copy)]
pub struct Moments {
    /// `E phi`; gated, 0.
    pub mean: f64,
    /// `E phi^2`; gated, `q E g^2`.
    pub value: f64,
    /// `E phi'^2`; gated, what both slopes make of it, `E g^2 + q E g'^2`.
    pub slope: f64,
    /// How `value` grows with `q`.
    pub growth: f64,
    /// How `mean` does; gated, NaN, as all that follow.
    pub mean_growth: f64,
    /// How `growth` does.
    pub bend: f64,
    /// How `slope` grows with `q`.
    pub slope_growth: f64,
    /// How that does.
    pub slope_bend: f64,
    /// `E phi^4`.
    pub value_fourth: f64,
    /// `E phi'^4`.
    pub slope_fourth: f64,
    /// `E phi^2 phi'^2`.
    pub mixed: f64,
}

impl Moments {
    /// Names of the fields, in order.
    pub const NAMES: [&'static str; 11] = [
        "mean",
        "value",
        "slope",
        "growth",
        "mean_growth",
        "bend",
        "slope_growth",
        "slope_bend",
        "value_fourth",
        "slope_fourth",
        "mixed",
    ];

    /// Of one activation at one variance.
    pub fn of(activation: &Activation, q: f64) -> Self {
        let scale = q.sqrt();
        let ends = pieces(activation, scale);
        let mut sums = [0.0; 11];
        over(&FINE, &ends, |z, weight| {
            let (phi, derivative) = activation.both(scale * z);
            let (square, steep) = (phi * phi, derivative * derivative);
            let zz = z * z;
            let (once, twice) = (zz - 1.0, zz * (zz - 6.0) + 3.0);
            let terms = [
                phi,
                square,
                steep,
                square * once,
                phi * once,
                square * twice,
                steep * once,
                steep * twice,
                square * square,
                steep * steep,
                square * steep,
            ];
            for (sum, term) in sums.iter_mut().zip(terms) {
                *sum += weight * term;
            }
        });
        let (once, twice) = (2.0 * q, 4.0 * q * q);
        let [mean, value, slope, growth, mean_growth, bend, slope_growth, slope_bend, fourths @ ..] = sums;
        let [value_fourth, slope_fourth, mixed] = fourths;
        match activation.shape() {
            Shape::Each | Shape::Doubled => Self {
                mean,
                value,
                slope,
                growth: growth / once,
                mean_growth: mean_growth / once,
                bend: bend / twice,
                slope_growth: slope_growth / once,
                slope_bend: slope_bend / twice,
                value_fourth,
                slope_fourth,
                mixed,
            },
            Shape::Gated => Self {
                mean: 0.0,
                value: q * value,
                slope: value + q * slope,
                growth: value + q * growth / once,
                mean_growth: f64::NAN,
                bend: f64::NAN,
                slope_growth: f64::NAN,
                slope_bend: f64::NAN,
                value_fourth: f64::NAN,
                slope_fourth: f64::NAN,
                mixed: f64::NAN,
            },
        }
    }

    /// In the order of [`Self::NAMES`].
    pub fn values(&self) -> [f64; 11] {
        [
            self.mean,
            self.value,
            self.slope,
            self.growth,
            self.mean_growth,
            self.bend,
            self.slope_growth,
            self.slope_bend,
            self.value_fourth,
            self.slope_fourth,
            self.mixed,
        ]
    }
}

/// The first coefficients of `phi(sqrt(q) z)` in Hermite polynomials of unit norm: `E phi(sqrt(q) z) He_k(z) / sqrt(k!)`.
///
/// With them `E phi(u) phi(v) = sum a_k^2 c^k` for two signals of correlation `c` (Mehler's formula).
pub fn hermite(activation: &Activation, q: f64, count: usize) -> Vec<f64> {
    let scale = q.sqrt();
    let ends = pieces(activation, scale);
    let roots = (0..=count).map(|k| (k as f64).sqrt()).collect::<Vec<_>>();
    let mut sums = vec![0.0; count];
    over(&FINE, &ends, |z, weight| {
        let share = weight * activation.both(scale * z).0;
        let (mut before, mut now) = (0.0, 1.0);
        for (k, sum) in sums.iter_mut().enumerate() {
            *sum += share * now;
            (before, now) = (now, (z * now - roots[k] * before) / roots[k + 1]);
        }
    });
    sums
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

    /// To first order in c: samples start so, and odd activations without biases stay so at every depth.
    fn of_strangers(activation: &Activation, q: f64, c: f64) -> Self {
        let scale = q.sqrt();
        let (mut value, mut slope) = (0.0, 0.0);
        over(&FINE, &ends(activation.kinks().into_iter().map(|kink| kink / scale)), |x, weight| {
            let (phi, derivative) = activation.both(scale * x);
            value += weight * phi;
            slope += weight * derivative;
        });
        Self::shaped(activation, q, c, value * value + c * q * slope * slope, slope * slope)
    }

    fn of_integral(activation: &Activation, q: f64, c: f64) -> Self {
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
        Self::shaped(activation, q, c, value, slope)
    }

    /// Two lines that meet at 0, in closed form (Cho and Saul 2009).
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

    /// Of a smooth activation by its Hermite coefficients, if these end soon enough.
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

    /// With the other half of a gated activation.
    fn shaped(activation: &Activation, q: f64, c: f64, value: f64, slope: f64) -> Self {
        match activation.shape() {
            Shape::Each | Shape::Doubled => Self { value, slope },
            Shape::Gated => Self { value: q * c * value, slope: value + q * c * slope },
        }
    }
}

/// What becomes of the samples of a unit behind batch norm, in a batch of `B` of a wide net.
///
/// Centred and divided by their deviation they are a direction of length `sqrt(B)` in the `B - 1` dimensions across
/// `(1, ..., 1)`; all directions are equally likely where all pairs of samples have one correlation. With `y` one
/// sample and `x` another, whose correlation is `-1 / (B - 1)`.
#[derive(Debug, Clone, Copy)]
pub struct Batch {
    /// `E phi(y)`.
    pub mean: f64,
    /// `E phi(y)^2`.
    pub value: f64,
    /// `E phi'(y)^2`.
    pub slope: f64,
    /// `E y^2 phi'(y)^2`.
    pub tilt: f64,
    /// `E phi(y) phi(x)`.
    pub pair_value: f64,
    /// `E phi'(y) phi'(x)`.
    pub pair_slope: f64,
    /// `E y phi'(y) x phi'(x)`.
    pub pair_tilt: f64,
}

impl Batch {
    /// Of one activation in a batch of 6 samples or more: in smaller ones the second sample's law ends in poles.
    pub fn of(activation: &Activation, samples: usize) -> Self {
        let dimensions = samples as f64 - 1.0;
        let (length, c) = (dimensions.sqrt(), -1.0 / dimensions);
        let kinks = activation.kinks();
        let direction = Direction::new(dimensions);
        let ends = direction.ends(kinks.iter().map(|kink| kink / length));
        let (mut mean, mut value, mut slope, mut tilt) = (0.0, 0.0, 0.0, 0.0);
        direction.over(&FINE, &ends, |t, weight| {
            let y = length * t;
            let (phi, derivative) = activation.both(y);
            mean += weight * phi;
            value += weight * phi * phi;
            slope += weight * derivative * derivative;
            tilt += weight * y * y * derivative * derivative;
        });
        let (mut pair_value, mut pair_slope, mut pair_tilt) = (0.0, 0.0, 0.0);
        let other = Direction::new(dimensions - 1.0);
        direction.over(&COARSE, &ends, |t, weight| {
            let y = length * t;
            let (phi, derivative) = activation.both(y);
            // Given t, the other one is c t plus a direction across it.
            let rest = ((1.0 - c * c) * (1.0 - t) * (1.0 + t)).max(0.0).sqrt();
            let (mut inner, mut steep, mut tilted) = (0.0, 0.0, 0.0);
            let ends = other.ends(kinks.iter().map(|kink| (kink / length - c * t) / rest).chain([-c * t / rest]));
            other.over(&COARSE, &ends, |s, weight| {
                let x = length * (c * t + rest * s);
                let (phi, derivative) = activation.both(x);
                inner += weight * phi;
                steep += weight * derivative;
                tilted += weight * x * derivative;
            });
            pair_value += weight * phi * inner;
            pair_slope += weight * derivative * steep;
            pair_tilt += weight * y * derivative * tilted;
        });
        Self { mean, value, slope, tilt, pair_value, pair_slope, pair_tilt }
    }

    /// In the order of the fields.
    pub fn values(&self) -> [f64; 7] {
        let Self { mean, value, slope, tilt, pair_value, pair_slope, pair_tilt } = *self;
        [mean, value, slope, tilt, pair_value, pair_slope, pair_tilt]
    }
}

/// A coordinate of a random unit vector: its density is `(1 - t^2)^((d - 3) / 2)` over the Beta function.
struct Direction {
    power: f64,
    log_norm: f64,
}

impl Direction {
    fn new(dimensions: f64) -> Self {
        let log_norm = libm::lgamma(0.5 * dimensions) - libm::lgamma(0.5 * (dimensions - 1.0)) - 0.5 * libm::log(PI);
        Self { power: 0.5 * (dimensions - 3.0), log_norm }
    }

    fn ends(&self, inside: impl Iterator<Item = f64>) -> Vec<f64> {
        // Beyond, the density is below 1e-31 of its largest.
        let end = if self.power > 0.0 { (END * END / (2.0 * self.power)).sqrt().min(1.0) } else { 1.0 };
        between(end, inside)
    }

    fn over(&self, rule: &[Point], ends: &[f64], add: impl FnMut(f64, f64)) {
        let density = |t: f64| libm::exp(self.log_norm + self.power * libm::log((1.0 - t) * (1.0 + t)));
        integrate(rule, ends, density, add);
    }
}

/// The ends of the pieces between kinks, in order. The rule crowds its points at the ends of a piece: at 0 too, where
/// phi bends when q is large. Where it goes on turning, pieces are short enough for the fourth power to be smooth.
fn pieces(activation: &Activation, scale: f64) -> Vec<f64> {
    // More would only help beyond a hundred turns, where expectations no longer move.
    const MOST: f64 = 80.0;
    let turns = 2.0 * END * activation.frequency() * scale;
    let count = (turns / 15.0).min(MOST) as i32;
    let between = (1..count).map(|i| END * (2.0 * f64::from(i) / f64::from(count) - 1.0));
    ends(activation.kinks().into_iter().map(|kink| kink / scale).chain(between))
}

/// The ends of the pieces of a normal law, in order.
fn ends(inside: impl Iterator<Item = f64>) -> Vec<f64> {
    between(END, inside)
}

/// The ends of the pieces from `-end` to `end`, in order.
fn between(end: f64, inside: impl Iterator<Item = f64>) -> Vec<f64> {
    let mut ends = inside.filter(|kink| kink.abs() < end).chain([-end, 0.0, end]).collect::<Vec<_>>();
    ends.sort_by(f64::total_cmp);
    ends.dedup();
    ends
}

/// Give every point of a rule on all pieces to `add`, with its share of the normal density.
fn over(rule: &[Point], ends: &[f64], add: impl FnMut(f64, f64)) {
    integrate(rule, ends, |z| libm::exp(-0.5 * z * z) / TAU.sqrt(), add);
}

/// Give every point of a rule on all pieces to `add`, with its share of a density.
fn integrate(rule: &[Point], ends: &[f64], density: impl Fn(f64) -> f64, mut add: impl FnMut(f64, f64)) {
    for piece in ends.windows(2) {
        let half = 0.5 * (piece[1] - piece[0]);
        for point in rule {
            // From the nearer end, so that no point falls onto it.
            let z = if point.upper { piece[1] - half * point.distance } else { piece[0] + half * point.distance };
            let share = half * point.weight * density(z);
            // A third of all points: far out, or crowded at an end.
            if share > LEAST {
                add(z, share);
            }
        }
    }
}

/// A point of the rule on `[-1, 1]`.
struct Point {
    /// Is 1 the nearer end?
    upper: bool,
    /// Distance from the nearer end.
    distance: f64,
    /// Weight.
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
        Point { upper: i > 0, distance: libm::exp(-u) / cosh, weight }
    };
    (-7 * steps / 2..=7 * steps / 2).map(point).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn activation(text: &str) -> Activation {
        Activation::parse(text).unwrap()
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
    fn derivatives_by_variance_are_differences() {
        for text in ["tanh", "gelu", "hardtanh", "relu6"] {
            for q in [0.1, 1.0, 10.0] {
                let step = 1e-3 * q;
                let [below, at, above] = [q - step, q, q + step].map(|q| Moments::of(&activation(text), q));
                for (first, second, f) in [
                    (at.growth, at.bend, (|m| m.value) as fn(&Moments) -> f64),
                    (at.slope_growth, at.slope_bend, |m| m.slope),
                ] {
                    let difference = (f(&above) - f(&below)) / (2.0 * step);
                    assert!((first - difference).abs() < 1e-5 * first.abs().max(1e-3), "{text} {q} {first}");
                    let difference = (f(&above) - 2.0 * f(&at) + f(&below)) / (step * step);
                    assert!((second - difference).abs() < 1e-4 * second.abs().max(1e-3), "{text} {q} {second}");
                }
            }
        }
    }

    #[test]
    fn waves_have_their_closed_forms() {
        for q in [1e-3, 1.0, 30.0, 100.0, 1000.0, 2000.0] {
            let found = Moments::of(&activation("sin"), q);
            let [twice, four] = [2.0, 8.0].map(|k| libm::exp(-k * q));
            assert!((found.value - 0.5 * (1.0 - twice)).abs() < 1e-12, "{q} {found:?}");
            assert!((found.slope - 0.5 * (1.0 + twice)).abs() < 1e-12, "{q} {found:?}");
            assert!((found.value_fourth - (0.375 - 0.5 * twice + 0.125 * four)).abs() < 1e-12, "{q} {found:?}");
        }
    }

    #[test]
    fn hermite_series_are_pairs() {
        for text in ["tanh", "gelu", "sin"] {
            for q in [0.3, 1.0] {
                let (phi, c) = (activation(text), 0.7_f64);
                let series = hermite(&phi, q, 100);
                let value = series.iter().rev().fold(0.0, |sum, a| sum * c + a * a);
                let pair = Pair::of(&phi, q, c);
                assert!((value - pair.value).abs() < 1e-11, "{text} {q} {value} {pair:?}");
            }
        }
    }

    #[test]
    fn large_batches_are_normal_and_linear_ones_exact() {
        for text in ["relu", "tanh", "gelu"] {
            let (batch, one) = (Batch::of(&activation(text), 1_000_000), Moments::of(&activation(text), 1.0));
            assert!((batch.value - one.value).abs() < 1e-5 && (batch.slope - one.slope).abs() < 1e-5, "{batch:?}");
            assert!((batch.pair_value - one.mean * one.mean).abs() < 1e-5, "{text} {batch:?}");
        }
        for samples in [6, 7, 16, 1000] {
            // Samples have the mean 0 and the variance 1.
            let (batch, b) = (Batch::of(&activation("linear"), samples), samples as f64);
            assert!(batch.mean.abs() < 1e-12 && (batch.value - 1.0).abs() < 1e-11, "{samples} {batch:?}");
            assert!((batch.pair_value + 1.0 / (b - 1.0)).abs() < 1e-11, "{samples} {batch:?}");
        }
    }

    #[test]
    fn series_and_lines_are_integrals() {
        for text in ["tanh", "gelu", "sigmoid", "silu", "leaky_relu(0.1)", "relu", "abs", "linear"] {
            for q in [0.01, 0.5, 2.0] {
                for c in [-0.99, -0.4, 1e-3, 0.6, 0.999] {
                    let phi = activation(text);
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
                let (one, two) = (Moments::of(&activation(text), q), Pair::of(&activation(text), q, 1.0));
                assert!((two.value / one.value - 1.0).abs() < 1e-9, "{text} {q} {one:?} {two:?}");
                assert!((two.slope / one.slope - 1.0).abs() < 1e-9, "{text} {q} {one:?} {two:?}");
            }
        }
    }
}
