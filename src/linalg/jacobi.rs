//! Singular values of a matrix whose rows range over any number of decades, each to high relative accuracy.
//!
//! One-sided Jacobi: pairs of rows are rotated until all are orthogonal; their norms are the singular values. Where
//! rows of norm 1 would be well conditioned, each singular value comes out right to a few units of rounding, however
//! different the sizes of the rows are (J. Demmel and K. Veselić, "Jacobi's method is more accurate than QR", SIAM J.
//! Matrix Anal. Appl. 13, 1992). A row here is numbers times `2^exponent`, and exponents meet as differences only:
//! nothing overflows, and what underflows is below the rounding of what it is added to.

use crate::error::{Cancel, Result};
use crate::simd::{self, Set, Task};

/// Partial sums of a scalar product, the same on every instruction set.
const SUMS: usize = 8;

/// Sweeps over all pairs at most; 5 to 10 are usual.
const SWEEPS: usize = 60;

/// Rows between two looks at the request to stop.
const LOOKS: usize = 256;

/// `log2` of the singular values of `diag(2^exponents) rows`, as many as rows, in no order; `-inf` for a row of zeros.
///
/// `rows` are in C order, no more of them than columns, and their entries near 1 in size. It goes fastest where they
/// are sorted by size, largest first, and nearly orthogonal.
pub fn log2_singular_values(mut rows: Vec<f64>, exponents: &[i64], cancel: &Cancel) -> Result<Vec<f64>> {
    let columns = rows.len() / exponents.len().max(1);
    let mut norms = Vec::with_capacity(exponents.len());
    if columns > 0 {
        norms.extend(rows.chunks_exact(columns).map(|row| dot(row, row).sqrt()));
    }
    let tolerance = f64::EPSILON * (64.0 + columns as f64).sqrt();
    for _ in 0..SWEEPS {
        let mut turned = false;
        for first in 0..norms.len() {
            cancel.check()?;
            let rest = &mut rows[first * columns..];
            turned |=
                simd::run(Turn { rows: rest, norms: &mut norms[first..], exponents: &exponents[first..], tolerance });
        }
        if !turned {
            break;
        }
    }
    Ok(norms.iter().zip(exponents).map(|(norm, &exponent)| libm::log2(*norm) + exponent as f64).collect())
}

/// Turn the first row against each of the others that is not orthogonal to it; was there any?
struct Turn<'a> {
    rows: &'a mut [f64],
    norms: &'a mut [f64],
    exponents: &'a [i64],
    tolerance: f64,
}

impl Task for Turn<'_> {
    type Output = bool;

    #[inline(always)]
    fn run<S: Set>(self) -> bool {
        let (one, others) = self.rows.split_at_mut(self.rows.len() / self.norms.len());
        let (norm, norms) = self.norms.split_at_mut(1);
        let (one_norm, mut turned) = (&mut norm[0], false);
        for (i, other) in others.chunks_exact_mut(one.len()).enumerate() {
            if i % LOOKS == LOOKS - 1 && Cancel::requested() {
                return turned;
            }
            let other_norm = &mut norms[i];
            let cosine = dot(one, other) / (*one_norm * *other_norm);
            if cosine.abs() > self.tolerance {
                turned = true;
                let above = self.exponents[0] - self.exponents[i + 1];
                if *one_norm >= *other_norm * power(-above) {
                    (*one_norm, *other_norm) = turn((one, *one_norm), (other, *other_norm), power(-above), cosine);
                } else {
                    (*other_norm, *one_norm) = turn((other, *other_norm), (one, *one_norm), power(above), cosine);
                }
            }
        }
        turned
    }
}

/// `2^exponent`: 0 or inf where `f64` ends.
fn power(exponent: i64) -> f64 {
    libm::ldexp(1.0, exponent.clamp(-5000, 5000) as i32)
}

/// Rotate a row `x` and a row `y 2^e` that is no longer, `scale = 2^e`, so that they are orthogonal; their norms then,
/// the second without `2^e`.
///
/// With `d` the ratio of the two lengths and `c` the cosine, the tangent of the angle is `d u` with
/// `u^2 d^2 c + u (1 - d^2) - c = 0`. Where `d` is 0 this takes from `y` what is along `x`, and leaves `x`.
#[inline(always)]
fn turn((x, x_norm): (&mut [f64], f64), (y, y_norm): (&mut [f64], f64), scale: f64, cosine: f64) -> (f64, f64) {
    let ratio = y_norm / x_norm * scale;
    let gap = (1.0 - ratio) * (1.0 + ratio);
    let u = 2.0 * cosine / (gap + libm::hypot(gap, 2.0 * ratio * cosine));
    let (to_x, to_y) = (ratio * u * scale, u * y_norm / x_norm);
    let turned = 1.0 / libm::hypot(ratio * u, 1.0);
    let (mut x_sums, mut y_sums) = ([0.0; SUMS], [0.0; SUMS]);
    for (xs, ys) in x.chunks_mut(SUMS).zip(y.chunks_mut(SUMS)) {
        for (((x, y), x_sum), y_sum) in xs.iter_mut().zip(ys).zip(&mut x_sums).zip(&mut y_sums) {
            (*x, *y) = (turned * (*x + to_x * *y), turned * (*y - to_y * *x));
            *x_sum += *x * *x;
            *y_sum += *y * *y;
        }
    }
    (x_sums.iter().sum::<f64>().sqrt(), y_sums.iter().sum::<f64>().sqrt())
}

#[inline(always)]
fn dot(x: &[f64], y: &[f64]) -> f64 {
    let mut sums = [0.0; SUMS];
    for (xs, ys) in x.chunks(SUMS).zip(y.chunks(SUMS)) {
        for ((x, y), sum) in xs.iter().zip(ys).zip(&mut sums) {
            *sum += x * y;
        }
    }
    sums.iter().sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sorted(rows: &[f64], exponents: &[i64]) -> Vec<f64> {
        let mut found = log2_singular_values(rows.to_vec(), exponents, &Cancel::default()).unwrap();
        found.sort_by(|a, b| b.total_cmp(a));
        found
    }

    fn assert_close(found: &[f64], expected: &[f64]) {
        assert_eq!(found.len(), expected.len());
        for (f, e) in found.iter().zip(expected) {
            assert!((f - e).abs() <= 1e-15 * e.abs().max(4.0), "{found:?} instead of {expected:?}");
        }
    }

    #[test]
    fn of_a_diagonal_matrix_they_are_its_entries() {
        let (rows, exponents) = ([1.0, 0.0, 0.0, 0.0, 0.0, -2.0], [-30_000, 40_000]);
        assert_close(&sorted(&rows, &exponents), &[40_001.0, -30_000.0]);
    }

    #[test]
    fn of_a_small_matrix_they_are_the_roots_of_a_quadratic() {
        // [[3, 0], [4, 5]]: 3 sqrt(5) and sqrt(5).
        assert_close(&sorted(&[3.0, 0.0, 4.0, 5.0], &[0, 0]), &[45_f64.log2() / 2.0, 5_f64.log2() / 2.0]);
        assert_close(&sorted(&[3.0, 0.0, 0.5, 0.625], &[0, 3]), &[45_f64.log2() / 2.0, 5_f64.log2() / 2.0]);
    }

    #[test]
    fn far_apart_the_smaller_one_is_what_stands_on_the_larger() {
        // (1, 1) 2^9000 and (1, 0): sqrt(2) 2^9000 and 1 / sqrt(2), in either order.
        assert_close(&sorted(&[1.0, 1.0, 1.0, 0.0], &[9000, 0]), &[9000.5, -0.5]);
        assert_close(&sorted(&[1.0, 0.0, 1.0, 1.0], &[0, 9000]), &[9000.5, -0.5]);
    }

    #[test]
    fn their_product_is_the_determinant_and_their_squares_sum_to_the_norm() {
        // Vandermonde rows (1, v, v^2, v^3) for v = 1, 2, 3, 4: the determinant is 12.
        let rows = (1..5).flat_map(|v| (0..4).map(move |k| f64::from(v).powi(k))).collect::<Vec<_>>();
        let found = sorted(&rows, &[0; 4]);
        assert!((found.iter().sum::<f64>() - 12_f64.log2()).abs() < 1e-13);
        let squares = rows.iter().map(|v| v * v).sum::<f64>();
        assert!((found.iter().map(|s| (2.0 * s).exp2()).sum::<f64>() / squares - 1.0).abs() < 1e-14);
    }

    #[test]
    fn rows_of_zeros_and_no_rows_at_all_are_no_trouble() {
        assert_eq!(sorted(&[0.0, 0.0, 3.0, 4.0], &[7, 0])[1], f64::NEG_INFINITY);
        assert_eq!(sorted(&[], &[]), Vec::<f64>::new());
    }

    #[test]
    fn a_cancelled_job_ends() {
        let cancel = Cancel::default();
        cancel.request();
        assert!(log2_singular_values(vec![1.0; 4], &[0, 0], &cancel).is_err());
    }
}
