//! Expectations over the samples of a unit behind batch norm.

use super::quadrature::{COARSE, END, FINE, Point, between, integrate};
use crate::activation::Activation;
use std::f64::consts::PI;

/// Expectations of an activation over the samples of a unit behind batch norm, in a batch of `B` of a wide net.
///
/// Samples that are centred and divided by their deviation are a direction of length `sqrt(B)` in the `B - 1`
/// dimensions across `(1, ..., 1)`; all directions are equally likely where all pairs of samples have one correlation.
/// Here `y` is one sample and `x` another; their correlation is `-1 / (B - 1)`.
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
    /// The expectations of an activation in a batch of 6 samples or more: in smaller batches the density of the second
    /// sample ends in poles.
    pub fn of(activation: &Activation, samples: usize) -> Self {
        let dimensions = samples as f64 - 1.0;
        let (length, c) = (dimensions.sqrt(), -1.0 / dimensions);
        let (kinks, both) = (activation.kinks(), activation.function());
        let direction = Direction::new(dimensions);
        let ends = direction.ends(kinks.iter().map(|kink| kink / length));
        let (mut mean, mut value, mut slope, mut tilt) = (0.0, 0.0, 0.0, 0.0);
        direction.over(&FINE, &ends, |t, weight| {
            let y = length * t;
            let (phi, derivative) = both(y);
            mean += weight * phi;
            value += weight * phi * phi;
            slope += weight * derivative * derivative;
            tilt += weight * y * y * derivative * derivative;
        });
        let (mut pair_value, mut pair_slope, mut pair_tilt) = (0.0, 0.0, 0.0);
        let other = Direction::new(dimensions - 1.0);
        direction.over(&COARSE, &ends, |t, weight| {
            let y = length * t;
            let (phi, derivative) = both(y);
            // Given t, the other sample is c t plus a direction across it.
            let rest = ((1.0 - c * c) * (1.0 - t) * (1.0 + t)).max(0.0).sqrt();
            let (mut inner, mut steep, mut tilted) = (0.0, 0.0, 0.0);
            let ends = other.ends(kinks.iter().map(|kink| (kink / length - c * t) / rest).chain([-c * t / rest]));
            other.over(&COARSE, &ends, |s, weight| {
                let x = length * (c * t + rest * s);
                let (phi, derivative) = both(x);
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

    /// The expectations in the order of the fields.
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

    /// The ends of the pieces that these points cut, in order.
    fn ends(&self, inside: impl Iterator<Item = f64>) -> Vec<f64> {
        // Beyond this end the density is below 1e-31 of its largest.
        let end = if self.power > 0.0 { (END * END / (2.0 * self.power)).sqrt().min(1.0) } else { 1.0 };
        between(end, inside)
    }

    /// Integrate over the coordinate: `add` gets every point of the rule with its share of the probability.
    fn over(&self, rule: &[Point], ends: &[f64], add: impl FnMut(f64, f64)) {
        let density = |t: f64| libm::exp(self.log_norm + self.power * libm::log((1.0 - t) * (1.0 + t)));
        integrate(rule, ends, density, add);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::expectation::Moments;

    fn parse(text: &str) -> Activation {
        Activation::parse(text).unwrap()
    }

    #[test]
    fn large_batches_are_normal_and_linear_ones_exact() {
        for text in ["relu", "tanh", "gelu"] {
            let (batch, one) = (Batch::of(&parse(text), 1_000_000), Moments::of(&parse(text), 1.0));
            assert!((batch.value - one.value).abs() < 1e-5 && (batch.slope - one.slope).abs() < 1e-5, "{batch:?}");
            assert!((batch.pair_value - one.mean * one.mean).abs() < 1e-5, "{text} {batch:?}");
        }
        for samples in [6, 7, 16, 1000] {
            // Samples have the mean 0 and the variance 1.
            let (batch, b) = (Batch::of(&parse("linear"), samples), samples as f64);
            assert!(batch.mean.abs() < 1e-12 && (batch.value - 1.0).abs() < 1e-11, "{samples} {batch:?}");
            assert!((batch.pair_value + 1.0 / (b - 1.0)).abs() < 1e-11, "{samples} {batch:?}");
        }
    }
}
