//! Expectations over one normal pre-activation.

use super::quadrature::{END, FINE, ends, over};
use crate::activation::{Activation, Shape};
use crate::error::Cancel;

/// Expectations of an activation over a normal pre-activation `z` of variance `q`. A gated activation is
/// `phi = value g(gate)` with independent normals of variance `q` for both halves of `z`.
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
    /// The derivative of `value` by `q`.
    pub growth: f64,
    /// The derivative of `mean` by `q`; gated, NaN, as are all fields that follow.
    pub mean_growth: f64,
    /// The second derivative of `value` by `q`.
    pub bend: f64,
    /// The derivative of `slope` by `q`.
    pub slope_growth: f64,
    /// The second derivative of `slope` by `q`.
    pub slope_bend: f64,
    /// `E phi^4`.
    pub value_fourth: f64,
    /// `E phi'^4`.
    pub slope_fourth: f64,
    /// `E phi^2 phi'^2`.
    pub mixed: f64,
}

impl Moments {
    /// The names of the fields, in order.
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

    /// The moments of an activation at one variance.
    pub fn of(activation: &Activation, q: f64) -> Self {
        let scale = q.sqrt();
        let (ends, both) = (pieces(activation, scale), activation.function());
        let mut sums = [0.0; 11];
        over(&FINE, &ends, |z, weight| {
            let (phi, derivative) = both(scale * z);
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

    /// The moments in the order of [`Self::NAMES`].
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

/// The first coefficients `a_k = E phi(sqrt(q) z) He_k(z) / sqrt(k!)` of `phi(sqrt(q) z)` in Hermite polynomials of
/// unit norm.
///
/// For two signals of correlation `c` they give `E phi(u) phi(v) = sum a_k^2 c^k` (Mehler's formula).
pub fn hermite(activation: &Activation, q: f64, count: usize) -> Vec<f64> {
    /// Coefficients between two looks at the request to stop.
    const PART: usize = 1 << 16;
    let scale = q.sqrt();
    let (ends, both) = (pieces(activation, scale), activation.function());
    let (mut roots, mut sums) = (vec![0.0; count + 1], vec![0.0; count]);
    for (part, roots) in roots.chunks_mut(PART).enumerate().take_while(|_| !Cancel::requested()) {
        roots.iter_mut().enumerate().for_each(|(k, root)| *root = ((part * PART + k) as f64).sqrt());
    }
    over(&FINE, &ends, |z, weight| {
        let share = weight * both(scale * z).0;
        let (mut before, mut now) = (0.0, 1.0);
        for (part, sums) in sums.chunks_mut(PART).enumerate().take_while(|_| !Cancel::requested()) {
            for (sum, roots) in sums.iter_mut().zip(roots[part * PART..].windows(2)) {
                *sum += share * now;
                (before, now) = (now, (z * now - roots[0] * before) / roots[1]);
            }
        }
    });
    sums
}

/// The ends of the pieces between kinks, in order. The rule crowds its points at the ends of a piece: at 0 too, where
/// phi bends when q is large. The pieces of a wave are short enough for its fourth power to be smooth in each.
fn pieces(activation: &Activation, scale: f64) -> Vec<f64> {
    // More pieces would only help beyond a hundred turns, where expectations no longer move.
    const MOST: f64 = 80.0;
    let turns = 2.0 * END * activation.frequency() * scale;
    let count = (turns / 15.0).min(MOST) as i32;
    let between = (1..count).map(|i| END * (2.0 * f64::from(i) / f64::from(count) - 1.0));
    ends(activation.kinks().into_iter().map(|kink| kink / scale).chain(between))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Activation {
        Activation::parse(text).unwrap()
    }

    #[test]
    fn derivatives_by_variance_are_differences() {
        for text in ["tanh", "gelu", "hardtanh", "relu6"] {
            for q in [0.1, 1.0, 10.0] {
                let step = 1e-3 * q;
                let [below, at, above] = [q - step, q, q + step].map(|q| Moments::of(&parse(text), q));
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
            let found = Moments::of(&parse("sin"), q);
            let [twice, four] = [2.0, 8.0].map(|k| libm::exp(-k * q));
            assert!((found.value - 0.5 * (1.0 - twice)).abs() < 1e-12, "{q} {found:?}");
            assert!((found.slope - 0.5 * (1.0 + twice)).abs() < 1e-12, "{q} {found:?}");
            assert!((found.value_fourth - (0.375 - 0.5 * twice + 0.125 * four)).abs() < 1e-12, "{q} {found:?}");
        }
    }
}
