//! The Newton-Schulz iteration of Muon (Jordan et al. 2024, kellerjordan.github.io/posts/muon).

use crate::kernel::{Matrix, Panels};
use crate::simd::Float;

/// The coefficients of `a X + b (X X^T) X + c (X X^T)^2 X`.
const QUINTIC: [f64; 3] = [3.4445, -4.775, 2.0315];

/// Bring the singular values of a matrix of norm 1, in C order, near 1.
pub(super) fn orthogonal<F: Float>(values: &[F], rows: usize, columns: usize, steps: usize, out: &mut Matrix<F>) {
    // The shorter side is that of the products.
    let turned = rows > columns;
    let (short, long) = (rows.min(columns), rows.max(columns));
    let at = |i: usize, j: usize| values[if turned { j * columns + i } else { i * columns + j }];
    // X as a batch: a feature a row, a sample a column.
    let (mut x, mut turned_x) = (Panels::default(), Panels::default());
    x.fill(short, long, |j, i| at(i, j));
    let (mut left, mut gram, mut square, mut next) =
        (Matrix::default(), Panels::default(), Panels::default(), Panels::default());
    let [a, b, c] = QUINTIC.map(F::of);
    let matrix = |panels: &Panels<F>, out: &mut Matrix<F>| {
        // Features are rows, so samples are columns: the batch turned around.
        let (features, batch, rows) = (panels.features(), panels.batch(), panels.to_rows());
        out.fill(features, batch, |out| {
            for (k, entry) in out.iter_mut().enumerate() {
                *entry = rows[k % batch * features + k / batch];
            }
        });
    };
    for _ in 0..steps {
        matrix(&x, &mut left);
        let rows = x.to_rows();
        turned_x.fill(long, short, |i, j| rows[j * short + i]);
        left.forward(&turned_x, &[], &mut gram);
        matrix(&gram, &mut left);
        left.forward(&gram, &[], &mut square);
        square.combine(c, &gram, b);
        matrix(&square, &mut left);
        left.forward(&x, &[], &mut next);
        x.combine(a, &next, F::of(1.0));
    }
    let found = x.to_rows();
    let of = |row: usize, column: usize| if turned { found[row * short + column] } else { found[column * short + row] };
    out.fill(rows, columns, |out| {
        for (k, entry) in out.iter_mut().enumerate() {
            *entry = of(k / columns, k % columns);
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn singular_values_land_near_one() {
        // Diagonal matrices keep their singular values apart: each goes through the scalar quintic.
        for (rows, columns) in [(3, 5), (5, 3), (4, 4)] {
            let short = rows.min(columns);
            let values = (0..rows * columns)
                .map(|k| if k / columns == k % columns { [0.9, 0.3, 0.1, 0.02][k % columns] } else { 0.0 })
                .collect::<Vec<f64>>();
            let mut out = Matrix::default();
            orthogonal(&values, rows, columns, 5, &mut out);
            let found = out.to_rows();
            for i in 0..short {
                let mut s = [0.9, 0.3, 0.1, 0.02][i];
                for _ in 0..5 {
                    s = QUINTIC[0] * s + QUINTIC[1] * s.powi(3) + QUINTIC[2] * s.powi(5);
                }
                assert!((found[i * columns + i] - s).abs() < 1e-12 && (0.68..1.21).contains(&s), "{s}");
            }
        }
    }
}
