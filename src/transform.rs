//! Weight transforms, which hidden weights go through before they are used: one row each, the transform beside the way
//! back of a gradient.

use crate::error::{Cancel, Result};
use crate::kind::{self, Kind};
use crate::signature::{Domain, Param, Signature, about};

/// A weight transform with its parameters.
pub type Transform = Kind<Row>;

/// A weight transform of the table.
pub struct Row {
    signature: Signature,
    rule: Rule,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rule {
    Standardized,
    Spectral,
}

static TABLE: [Row; 2] = [
    Row {
        signature: Signature {
            name: "weight_standardization",
            aliases: &["standardize"],
            params: &[Param::new("gain", Domain::Positive, 1.0), Param::new("eps", Domain::NonNegative, 0.0)],
            about: about(
                "gain * (w - mean(w)) / sqrt((var(w) + eps) * fan_in)",
                "each row w of W; gain = sqrt(fan_in) is the form of Qiao et al. 2019, arXiv:1903.10520",
                "Brock et al. 2021, arXiv:2101.08692",
            ),
        },
        rule: Rule::Standardized,
    },
    Row {
        signature: Signature {
            name: "spectral_norm",
            aliases: &["spectral"],
            params: &[Param::new("gain", Domain::Positive, 1.0)],
            about: about(
                "gain * W / sigma_max(W)",
                "W divided by its largest singular value",
                "Miyato et al. 2018, arXiv:1802.05957",
            ),
        },
        rule: Rule::Spectral,
    },
];

impl kind::Row for Row {
    const NOUN: &'static str = "weight_transform";

    fn table() -> &'static [Self] {
        &TABLE
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }
}

/// The numbers that the way back of a gradient needs beside the transformed weights.
#[derive(Debug, Clone)]
pub enum Back {
    /// `gain / (std sqrt(fan_in))` of each row, and the scale of the transformed rows, `gain / sqrt(fan_in)`.
    Standardized(Vec<f64>, f64),
    /// `gain / s`, and the left and right singular vector of `s`.
    Spectral(f64, Vec<f64>, Vec<f64>),
}

impl Kind<Row> {
    /// Does the transform ask which singular value is the largest?
    pub fn by_singular_value(&self) -> bool {
        self.row.rule == Rule::Spectral
    }

    /// Transform a matrix with so many columns, in C order.
    pub fn apply(&self, weights: &mut [f64], columns: usize, cancel: &Cancel) -> Result<Back> {
        let gain = self.values[0];
        match self.row.rule {
            Rule::Standardized => {
                let (count, scale, eps) = (columns as f64, gain / (columns as f64).sqrt(), self.values[1]);
                let row = |row: &mut [f64]| {
                    // A constant row has no direction to standardise, and its mean may be rounded: it becomes zero.
                    if row.iter().all(|w| *w == row[0] && w.is_finite()) {
                        row.fill(0.0);
                        return if eps > 0.0 { scale / eps.sqrt() } else { 0.0 };
                    }
                    // Tiny weights need no growing where eps is the larger part.
                    let unit = if eps > 0.0 { unit(row).min(1.0) } else { unit(row) };
                    row.iter_mut().for_each(|w| *w *= unit);
                    let mean = row.iter().sum::<f64>() / count;
                    row.iter_mut().for_each(|w| *w -= mean);
                    let variance = row.iter().map(|w| w * w).sum::<f64>() / count + eps * unit * unit;
                    let factor = if variance > 0.0 { scale / variance.sqrt() } else { 0.0 };
                    row.iter_mut().for_each(|w| *w *= factor);
                    factor * unit
                };
                Ok(Back::Standardized(weights.chunks_exact_mut(columns).map(row).collect(), scale))
            }
            Rule::Spectral => {
                if weights.iter().all(|w| *w == 0.0) {
                    return Ok(Back::Spectral(0.0, vec![0.0; weights.len() / columns], vec![0.0; columns]));
                }
                let unit = unit(weights);
                weights.iter_mut().for_each(|w| *w *= unit);
                let (largest, left, right) = singular(weights, columns, cancel)?;
                let factor = if largest > 0.0 { gain / largest } else { 0.0 };
                weights.iter_mut().for_each(|w| *w *= factor);
                Ok(Back::Spectral(factor * unit, left, right))
            }
        }
    }
}

impl Back {
    /// Turn the gradient of the transformed weights, in C order, into that of the weights.
    pub fn gradient(&self, transformed: &[f64], gradient: &mut [f64], columns: usize) {
        match self {
            // The gradient of a layer norm: with x = w_hat / scale, dw = factor (g - mean(g) - x mean(g x)).
            Self::Standardized(factors, scale) => {
                let rows = gradient.chunks_exact_mut(columns).zip(transformed.chunks_exact(columns)).zip(factors);
                for ((gradient, transformed), factor) in rows {
                    let count = columns as f64;
                    let mean = gradient.iter().sum::<f64>() / count;
                    let along = gradient.iter().zip(transformed).map(|(g, w)| g * w).sum::<f64>() / count;
                    for (g, w) in gradient.iter_mut().zip(transformed) {
                        *g = factor * (*g - mean - w * along / (scale * scale));
                    }
                }
            }
            // With w_hat = gain w / s and ds = u^T dw v: dw = factor (g - <g, w_hat> u v^T / gain), where
            // <w_hat, u v^T> = gain.
            Self::Spectral(factor, left, right) => {
                let along = gradient.iter().zip(transformed).map(|(g, w)| g * w).sum::<f64>();
                let pairs = left.iter().zip(transformed.chunks_exact(columns));
                let gain =
                    pairs.map(|(u, row)| u * row.iter().zip(right).map(|(w, v)| w * v).sum::<f64>()).sum::<f64>();
                for (gradient, u) in gradient.chunks_exact_mut(columns).zip(left) {
                    for (g, v) in gradient.iter_mut().zip(right) {
                        *g = factor * (*g - if gain == 0.0 { 0.0 } else { along / gain * u * v });
                    }
                }
            }
        }
    }
}

/// A power of two that brings the largest entry near 1, so that no square leaves the range.
fn unit(weights: &[f64]) -> f64 {
    let largest = weights.iter().fold(0.0, |most: f64, w| most.max(w.abs()));
    libm::ldexp(1.0, -libm::ilogb(largest).clamp(-1000, 1000))
}

/// The largest singular value with its left and right vector.
///
/// All three come from Lanczos' process on `W^T W` with full reorthogonalisation. Power iteration needs thousands of
/// steps where the two largest values of a random matrix lie close, and a gradient is only right where the vectors have
/// converged.
fn singular(weights: &[f64], columns: usize, cancel: &Cancel) -> Result<(f64, Vec<f64>, Vec<f64>)> {
    /// The number of steps before a restart from the best vector so far, so that memory stays small.
    const STEPS: usize = 40;
    let rows = weights.len() / columns;
    let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    let normalise = |v: &mut [f64]| {
        let length = dot(v, v).sqrt();
        if length > 0.0 {
            v.iter_mut().for_each(|v| *v /= length);
        }
        length
    };
    // Large matrices take a second each time.
    let each_row = || weights.chunks_exact(columns).take_while(|_| cancel.check().is_ok());
    let times = |v: &[f64]| {
        let mut out = vec![0.0; rows];
        out.iter_mut().zip(each_row()).for_each(|(out, row)| *out = dot(row, v));
        out
    };
    let transposed_times = |u: &[f64]| {
        let mut out = vec![0.0; columns];
        for (row, u) in each_row().zip(u) {
            out.iter_mut().zip(row).for_each(|(out, w)| *out += u * w);
        }
        out
    };
    // Any start will do that no matrix is likely to be orthogonal to.
    let mut start = (0..columns).map(|i| 1.0 + 0.5 * libm::sin(1.0 + i as f64)).collect::<Vec<_>>();
    normalise(&mut start);
    let mut best = (0.0, vec![0.0; rows], start.clone());
    for _ in 0..100 {
        let mut basis = vec![best.2.clone()];
        let (mut diagonal, mut beside) = (Vec::new(), Vec::new());
        for step in 0..STEPS.min(columns) {
            cancel.check()?;
            let mut next = transposed_times(&times(&basis[step]));
            diagonal.push(dot(&next, &basis[step]));
            for _ in 0..2 {
                for v in &basis {
                    let along = dot(&next, v);
                    next.iter_mut().zip(v).for_each(|(n, v)| *n -= along * v);
                }
            }
            let length = normalise(&mut next);
            if length <= 1e-15 * diagonal[0].abs() || step + 1 == STEPS.min(columns) {
                break;
            }
            beside.push(length);
            basis.push(next);
        }
        let ritz = largest_vector(&diagonal, &beside[..diagonal.len() - 1]);
        let mut right = vec![0.0; columns];
        for (v, weight) in basis.iter().zip(&ritz) {
            right.iter_mut().zip(v).for_each(|(r, v)| *r += weight * v);
        }
        normalise(&mut right);
        let mut left = times(&right);
        let value = normalise(&mut left);
        let residual = {
            let mut back = transposed_times(&left);
            back.iter_mut().zip(&right).for_each(|(b, r)| *b -= value * r);
            dot(&back, &back).sqrt()
        };
        best = (value, left, right);
        if residual <= 1e-13 * value {
            break;
        }
    }
    Ok(best)
}

/// The eigenvector of the largest eigenvalue of a symmetric tridiagonal matrix: the value by bisection (Sturm counts),
/// the vector by inverse iteration.
fn largest_vector(diagonal: &[f64], beside: &[f64]) -> Vec<f64> {
    let n = diagonal.len();
    let off = |i: usize| if i < beside.len() { beside[i].abs() } else { 0.0 };
    let radius = |i: usize| off(i) + if i > 0 { off(i - 1) } else { 0.0 };
    let mut high = (0..n).map(|i| diagonal[i] + radius(i)).fold(f64::NEG_INFINITY, f64::max);
    let mut low = (0..n).map(|i| diagonal[i] - radius(i)).fold(f64::INFINITY, f64::min);
    let scale = high.abs().max(low.abs()).max(f64::MIN_POSITIVE);
    // Is every eigenvalue below x?
    let all_below = |x: f64| {
        let mut pivot = diagonal[0] - x;
        for (i, d) in diagonal.iter().enumerate().skip(1) {
            if pivot >= 0.0 {
                return false;
            }
            pivot = d - x - off(i - 1) * off(i - 1) / pivot;
        }
        pivot < 0.0
    };
    for _ in 0..120 {
        let middle = low + (high - low) / 2.0;
        if all_below(middle) {
            high = middle;
        } else {
            low = middle;
        }
        if high - low <= f64::EPSILON * scale {
            break;
        }
    }
    // (T - x) is negative definite just above the largest eigenvalue: elimination needs no pivoting.
    let x = high + 2.0 * f64::EPSILON * scale;
    let mut vector = vec![1.0; n];
    for _ in 0..3 {
        let mut pivots = vec![diagonal[0] - x];
        for i in 1..n {
            let factor = beside[i - 1] / pivots[i - 1];
            pivots.push(diagonal[i] - x - factor * beside[i - 1]);
            vector[i] -= factor * vector[i - 1];
        }
        vector[n - 1] /= pivots[n - 1];
        for i in (0..n - 1).rev() {
            vector[i] = (vector[i] - beside[i] * vector[i + 1]) / pivots[i];
        }
        let length = vector.iter().map(|v| v * v).sum::<f64>().sqrt();
        vector.iter_mut().for_each(|v| *v /= length);
    }
    vector
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(count: usize) -> Vec<f64> {
        (0..count).map(|i| libm::sin(1.7 * i as f64 + 0.3) + libm::cos(0.31 * (i * i) as f64)).collect()
    }

    #[test]
    fn the_largest_singular_value_is_a_fixed_point_of_both_products() {
        for (rows, columns) in [(1, 1), (3, 7), (7, 3), (40, 40), (128, 64)] {
            let w = numbers(rows * columns);
            let (s, u, v) = singular(&w, columns, &Cancel::default()).unwrap();
            for (row, u) in w.chunks(columns).zip(&u) {
                let product = row.iter().zip(&v).map(|(w, v)| w * v).sum::<f64>();
                assert!((product - s * u).abs() < 1e-12 * s, "{rows}x{columns}");
            }
            for (j, v) in v.iter().enumerate() {
                let product = (0..rows).map(|i| w[i * columns + j] * u[i]).sum::<f64>();
                assert!((product - s * v).abs() < 1e-12 * s, "{rows}x{columns}");
            }
            let frobenius = w.iter().map(|w| w * w).sum::<f64>().sqrt();
            assert!(s <= frobenius * (1.0 + 1e-14) && s >= frobenius / (rows.min(columns) as f64).sqrt());
        }
    }

    #[test]
    fn equal_weights_become_zero_and_let_no_gradient_pass() {
        let transform = Transform::parse("weight_standardization").unwrap();
        for columns in 1..40 {
            let (mut weights, mut gradient) = (vec![0.05; 2 * columns], numbers(2 * columns));
            let back = transform.apply(&mut weights, columns, &Cancel::default()).unwrap();
            back.gradient(&weights, &mut gradient, columns);
            assert!(weights.iter().chain(&gradient).all(|w| *w == 0.0), "{columns}");
        }
    }

    #[test]
    fn weights_of_any_size_give_the_same_net_and_flat_ones_give_nothing() {
        for text in ["weight_standardization", "spectral_norm"] {
            let transform = Transform::parse(text).unwrap();
            let through = |size: f64| {
                let (mut w, mut gradient) = (numbers(20), numbers(20));
                w.iter_mut().for_each(|w| *w *= size);
                let back = transform.apply(&mut w, 5, &Cancel::default()).unwrap();
                back.gradient(&w, &mut gradient, 5);
                (w, gradient)
            };
            let (plain, gradient) = through(1.0);
            for exponent in [-1000, -700, 700, 1000] {
                let size = libm::ldexp(1.0, exponent);
                let (same, scaled) = through(size);
                assert_eq!(same, plain, "{text} 2^{exponent}");
                assert_eq!(scaled, gradient.iter().map(|g| g / size).collect::<Vec<_>>(), "{text} 2^{exponent}");
            }
            assert_eq!(through(0.0), (vec![0.0; 20], vec![0.0; 20]), "{text}");
        }
        // 0.1 + ... + 0.1 over 7 is not 0.1.
        let transform = Transform::parse("weight_standardization").unwrap();
        let mut flat = vec![0.1; 7];
        transform.apply(&mut flat, 7, &Cancel::default()).unwrap();
        assert_eq!(flat, [0.0; 7]);
    }

    #[test]
    fn gradients_agree_with_central_differences() {
        for text in ["weight_standardization", "weight_standardization(2, 0.1)", "spectral_norm(1.5)"] {
            let transform = Transform::parse(text).unwrap();
            let (rows, columns) = (4, 5);
            let (w, direction) = (numbers(rows * columns), numbers(2 * rows * columns).split_off(rows * columns));
            let value = |w: &[f64]| {
                let mut w = w.to_vec();
                transform.apply(&mut w, columns, &Cancel::default()).unwrap();
                w.iter().zip(&direction).map(|(w, d)| w * d).sum::<f64>()
            };
            let (mut transformed, mut gradient) = (w.clone(), direction.clone());
            let back = transform.apply(&mut transformed, columns, &Cancel::default()).unwrap();
            back.gradient(&transformed, &mut gradient, columns);
            for i in 0..w.len() {
                let moved = |step: f64| {
                    let mut w = w.clone();
                    w[i] += step;
                    value(&w)
                };
                let numeric = (moved(1e-5) - moved(-1e-5)) / 2e-5;
                assert!((numeric - gradient[i]).abs() < 1e-8, "{text} {i}: {numeric} {}", gradient[i]);
            }
        }
    }
}
