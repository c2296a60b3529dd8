//! Plain loops over rows of numbers.

/// Rows of numbers.
pub type Rows = Vec<Vec<f64>>;

/// Two batches entry by entry.
pub fn map2(a: &Rows, b: &Rows, f: impl Fn(f64, f64) -> f64) -> Rows {
    a.iter().zip(b).map(|(a, b)| a.iter().zip(b).map(|(a, b)| f(*a, *b)).collect()).collect()
}

pub(super) fn map(a: &Rows, f: impl Fn(f64) -> f64) -> Rows {
    a.iter().map(|a| a.iter().map(|a| f(*a)).collect()).collect()
}

/// Rows side by side.
pub fn beside(a: &Rows, b: &Rows) -> Rows {
    a.iter().zip(b).map(|(a, b)| a.iter().chain(b).copied().collect()).collect()
}

/// The first columns, and the others.
pub fn apart(rows: &Rows, first: usize) -> (Rows, Rows) {
    rows.iter().map(|row| (row[..first].to_vec(), row[first..].to_vec())).unzip()
}

/// Columns as rows.
pub fn transposed(rows: &Rows) -> Rows {
    (0..rows[0].len()).map(|j| rows.iter().map(|row| row[j]).collect()).collect()
}

pub(super) fn flat(rows: &Rows) -> Vec<f64> {
    rows.iter().flatten().copied().collect()
}

/// Numbers in C order as rows of so many columns.
pub fn rows(flat: &[f64], columns: usize) -> Rows {
    flat.chunks(columns).map(<[f64]>::to_vec).collect()
}

pub(super) fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// `W x + b` for every row of `x`; no biases are zeros.
pub fn affine(weight: &Rows, bias: Option<&Vec<f64>>, x: &Rows) -> Rows {
    let bias = |o: usize| bias.map_or(0.0, |bias| bias[o]);
    x.iter().map(|x| weight.iter().enumerate().map(|(o, w)| dot(w, x) + bias(o)).collect()).collect()
}

/// `dL/dW` of a linear map.
pub(super) fn outer(delta: &Rows, input: &Rows) -> Rows {
    let entry = |o: usize, i: usize| delta.iter().zip(input).map(|(d, x)| d[o] * x[i]).sum();
    (0..delta[0].len()).map(|o| (0..input[0].len()).map(|i| entry(o, i)).collect()).collect()
}

/// Sums over the rows: `dL/db` of a linear map.
pub(super) fn column_sums(rows: &Rows) -> Vec<f64> {
    transposed(rows).iter().map(|column| column.iter().sum()).collect()
}

/// The largest singular value of a matrix.
#[derive(Debug, Clone)]
pub struct Singular {
    /// The value.
    pub value: f64,
    /// The next largest, 0 if there is none.
    pub next: f64,
    /// The left vector of the largest.
    pub left: Vec<f64>,
    /// The right vector of the largest.
    pub right: Vec<f64>,
}

/// The largest singular value: columns are turned against each other until all are orthogonal (Hestenes 1958), and the
/// longest is the one.
pub fn singular(matrix: &Rows) -> Singular {
    let mut columns = transposed(matrix);
    let n = columns.len();
    // The rotations alone, applied to the columns of the identity.
    let mut turned = (0..n).map(|j| (0..n).map(|i| f64::from(u8::from(i == j))).collect()).collect::<Rows>();
    for _ in 0..60 {
        let mut largest_cosine = 0.0_f64;
        for (p, q) in (0..n).flat_map(|p| (p + 1..n).map(move |q| (p, q))) {
            let [pp, qq, pq] = [(p, p), (q, q), (p, q)].map(|(i, j)| dot(&columns[i], &columns[j]));
            if pq.abs() <= 1e-300 {
                continue;
            }
            largest_cosine = largest_cosine.max(pq.abs() / (pp * qq).sqrt());
            let zeta = (qq - pp) / (2.0 * pq);
            let tangent = zeta.signum() / (zeta.abs() + (1.0 + zeta * zeta).sqrt());
            let cosine = 1.0 / (1.0 + tangent * tangent).sqrt();
            let sine = cosine * tangent;
            for side in [&mut columns, &mut turned] {
                for i in 0..side[p].len() {
                    let (a, b) = (side[p][i], side[q][i]);
                    (side[p][i], side[q][i]) = (cosine * a - sine * b, sine * a + cosine * b);
                }
            }
        }
        if largest_cosine < 1e-15 {
            break;
        }
    }
    let mut all = columns.iter().map(|column| dot(column, column).sqrt()).enumerate().collect::<Vec<_>>();
    all.sort_by(|a, b| b.1.total_cmp(&a.1));
    let (longest, value) = all[0];
    let left = columns[longest].iter().map(|u| if value == 0.0 { 0.0 } else { u / value }).collect();
    Singular { value, next: all.get(1).map_or(0.0, |next| next.1), left, right: turned.swap_remove(longest) }
}

/// Mean and biased variance.
pub(super) fn moments(values: &[f64]) -> (f64, f64) {
    let count = values.len() as f64;
    let mean = values.iter().sum::<f64>() / count;
    (mean, values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / count)
}

/// `(v - mean) / sqrt(var + eps)`, or `v / sqrt(mean v^2 + eps)`.
pub fn standardise(values: &[f64], centred: bool, eps: f64) -> Vec<f64> {
    let (mean, variance) = moments(values);
    let (mean, variance) = if centred { (mean, variance) } else { (0.0, variance + mean * mean) };
    values.iter().map(|v| (v - mean) / (variance + eps).sqrt()).collect()
}

/// By the chain rule through variance and mean, as in Ioffe and Szegedy 2015, section 3.
pub(super) fn standardise_backward(values: &[f64], centred: bool, eps: f64, gradient: &[f64]) -> Vec<f64> {
    let count = values.len() as f64;
    let (mean, variance) = moments(values);
    let (mean, variance) = if centred { (mean, variance) } else { (0.0, variance + mean * mean) };
    let root = (variance + eps).sqrt();
    if root == 0.0 {
        return vec![0.0; values.len()];
    }
    let centre = values.iter().map(|v| v - mean).collect::<Vec<_>>();
    let of_variance = -dot(gradient, &centre) / (2.0 * root.powi(3));
    let of_mean = if centred { -gradient.iter().sum::<f64>() / root } else { 0.0 };
    gradient.iter().zip(centre).map(|(g, c)| g / root + of_variance * 2.0 * c / count + of_mean / count).collect()
}
