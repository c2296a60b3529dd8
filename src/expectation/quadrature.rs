//! Integrals by the double-exponential rule, which is exact to rounding for what is smooth inside a piece.
//!
//! H. Takahasi and M. Mori, "Double exponential formulas for numerical integration", Publ. RIMS 9, 1974.

use std::f64::consts::{FRAC_PI_2, TAU};
use std::sync::LazyLock;

/// The end of a unit normal's domain: beyond, its density is below 1e-31.
pub const END: f64 = 12.0;

/// The least share of an integral that is added: a thousand smaller ones do not show in the sum.
const LEAST: f64 = 1e-22;

/// The ends of the pieces of a unit normal's domain that these points cut, in order.
pub fn ends(inside: impl Iterator<Item = f64>) -> Vec<f64> {
    between(END, inside)
}

/// The ends of the pieces from `-end` to `end` that these points and 0 cut, in order.
pub fn between(end: f64, inside: impl Iterator<Item = f64>) -> Vec<f64> {
    let mut ends = inside.filter(|kink| kink.abs() < end).chain([-end, 0.0, end]).collect::<Vec<_>>();
    ends.sort_by(f64::total_cmp);
    ends.dedup();
    ends
}

/// Integrate over the unit normal: `add` gets every point of the rule on all pieces with its share of the probability.
pub fn over(rule: &[Point], ends: &[f64], add: impl FnMut(f64, f64)) {
    integrate(rule, ends, |z| libm::exp(-0.5 * z * z) / TAU.sqrt(), add);
}

/// Integrate over a density: `add` gets every point of the rule on all pieces with its share of the integral.
pub fn integrate(rule: &[Point], ends: &[f64], density: impl Fn(f64) -> f64, mut add: impl FnMut(f64, f64)) {
    for piece in ends.windows(2) {
        let half = 0.5 * (piece[1] - piece[0]);
        for point in rule {
            // From the nearer end, so that no point falls onto it.
            let z = if point.upper { piece[1] - half * point.distance } else { piece[0] + half * point.distance };
            let share = half * point.weight * density(z);
            // A third of all points are left out: they are far out, or crowded at an end.
            if share > LEAST {
                add(z, share);
            }
        }
    }
}

/// A point of a rule on `[-1, 1]`.
pub struct Point {
    /// Is 1 the nearer end?
    upper: bool,
    /// Distance from the nearer end.
    distance: f64,
    /// The share of the interval that the point stands for.
    weight: f64,
}

/// The rule for one signal: exact to rounding.
pub static FINE: LazyLock<Vec<Point>> = LazyLock::new(|| rule(64));

/// The rule for two signals, whose points are all pairs of it: errors are below 1e-11 where sqrt(q) is moderate (with
/// 16 steps 5e-9, with 24 steps 2e-9).
pub static COARSE: LazyLock<Vec<Point>> = LazyLock::new(|| rule(32));

/// The double-exponential rule `x = tanh(pi/2 sinh t)` with so many steps to a unit of `t`; beyond `|t| = 3.5` its
/// weights are too small to count.
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
