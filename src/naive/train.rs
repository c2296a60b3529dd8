//! What is done with gradients: boosted, clipped, and the step of every optimiser. Plain loops over plain vectors, from
//! the formulas; no number carries an exponent.

use crate::optimizer::{Optimizer, Rule};

/// What an optimiser keeps of a tensor, by the letters of the formulas; empty before the first step.
#[derive(Debug, Clone, Default)]
pub struct Kept {
    /// A mean of gradients.
    pub m: Vec<f64>,
    /// A mean, or the sum, of their squares.
    pub v: Vec<f64>,
    /// A running sum of steps.
    pub b: Vec<f64>,
}

/// A step of a tensor.
#[derive(Debug, Clone, Copy)]
pub struct At {
    /// The number of the step, from 1 on.
    pub t: i32,
    /// The rate of this step and tensor.
    pub lr: f64,
    /// The momentum, or `beta1`, of this step, where a schedule moves it.
    pub momentum: Option<f64>,
    /// Rows and columns of the weights of a hidden map.
    pub map: Option<(usize, usize)>,
}

/// The mean of all that has come so far, which starts at 0.
fn average(mean: &mut Vec<f64>, new: &[f64], beta: f64) -> Vec<f64> {
    mean.resize(new.len(), 0.0);
    mean.iter_mut().zip(new).for_each(|(mean, new)| *mean = beta * *mean + (1.0 - beta) * new);
    mean.clone()
}

fn squares(g: &[f64]) -> Vec<f64> {
    g.iter().map(|g| g * g).collect()
}

/// The norm of a vector.
pub fn norm(g: &[f64]) -> f64 {
    g.iter().map(|g| g * g).sum::<f64>().sqrt()
}

/// `m / (sqrt(v) + eps)`, where eps may be in units of the root mean square of some denominators.
fn over_root(m: &[f64], v: &[f64], eps: f64, unit: Option<&[f64]>) -> Vec<f64> {
    let unit = unit.map_or(1.0, |squares| (squares.iter().sum::<f64>() / squares.len() as f64).sqrt());
    if unit == 0.0 {
        return vec![0.0; v.len()];
    }
    m.iter().zip(v).map(|(m, v)| m / (v.sqrt() + eps * unit)).collect()
}

/// Move a tensor by its gradient.
pub fn update(optimizer: &Optimizer, w: &mut [f64], gradient: &[f64], kept: &mut Kept, at: At) {
    let (decay, eps, scale_free) =
        (optimizer.value("weight_decay"), optimizer.value("eps"), optimizer.flag("scale_free"));
    // A schedule moves a momentum only where there is one.
    let momentum = Some(optimizer.value("momentum")).filter(|own| *own > 0.0);
    let momentum = momentum.map_or(0.0, |own| at.momentum.unwrap_or(own));
    let betas = (at.momentum.unwrap_or_else(|| optimizer.value("beta1")), optimizer.value("beta2"));
    let decayed = || gradient.iter().zip(w.iter()).map(|(g, w)| g + decay * w).collect::<Vec<_>>();
    match optimizer.rule() {
        Rule::Sgd => {
            let g = decayed();
            if momentum == 0.0 {
                return subtract(w, at.lr, &g);
            }
            if kept.b.is_empty() {
                kept.b.clone_from(&g);
            } else {
                let undamped = 1.0 - optimizer.value("dampening");
                kept.b.iter_mut().zip(&g).for_each(|(b, g)| *b = momentum * *b + undamped * g);
            }
            if optimizer.flag("nesterov") {
                let ahead = g.iter().zip(&kept.b).map(|(g, b)| g + momentum * b).collect::<Vec<_>>();
                return subtract(w, at.lr, &ahead);
            }
            subtract(w, at.lr, &kept.b);
        }
        Rule::Adam => adam(w, &decayed(), kept, at, betas, eps, scale_free),
        Rule::Adamw => {
            w.iter_mut().for_each(|w| *w *= 1.0 - at.lr * decay);
            adam(w, gradient, kept, at, betas, eps, scale_free);
        }
        Rule::Rmsprop => {
            let (g, alpha) = (decayed(), optimizer.value("alpha"));
            let second = average(&mut kept.v, &squares(&g), alpha);
            let mut v = second.clone();
            if optimizer.flag("centered") {
                let m = average(&mut kept.m, &g, alpha);
                v.iter_mut().zip(m).for_each(|(v, m)| *v -= m * m);
            }
            let step = over_root(&g, &v, eps, scale_free.then_some(&second[..]));
            if momentum == 0.0 {
                return subtract(w, at.lr, &step);
            }
            kept.b.resize(g.len(), 0.0);
            kept.b.iter_mut().zip(step).for_each(|(b, step)| *b = momentum * *b + step);
            subtract(w, at.lr, &kept.b);
        }
        Rule::Adagrad => {
            let g = decayed();
            kept.v.resize(g.len(), optimizer.value("initial_accumulator"));
            kept.v.iter_mut().zip(&g).for_each(|(v, g)| *v += g * g);
            let lr = at.lr / (1.0 + f64::from(at.t - 1) * optimizer.value("lr_decay"));
            subtract(w, lr, &over_root(&g, &kept.v, eps, scale_free.then_some(&kept.v[..])));
        }
        Rule::Lion => {
            kept.m.resize(gradient.len(), 0.0);
            for ((w, m), g) in w.iter_mut().zip(&kept.m).zip(gradient) {
                let between = betas.0 * m + (1.0 - betas.0) * g;
                let sign = if between == 0.0 { 0.0 } else { between.signum() };
                *w = *w * (1.0 - at.lr * decay) - at.lr * sign;
            }
            average(&mut kept.m, gradient, betas.1);
        }
        Rule::Muon => {
            w.iter_mut().for_each(|w| *w *= 1.0 - at.lr * decay);
            let Some((rows, columns)) = at.map else {
                return adam(w, gradient, kept, at, (at.momentum.unwrap_or(0.9), 0.999), 1e-8, scale_free);
            };
            let mut b = average(&mut kept.b, gradient, momentum);
            if optimizer.flag("nesterov") {
                b.iter_mut().zip(gradient).for_each(|(b, g)| *b = momentum * *b + (1.0 - momentum) * g);
            }
            let (long, wide) = (rows as f64, columns as f64);
            // The second word of `adjust`.
            let matched = optimizer.value("adjust") == 1.0;
            let factor = if matched { 0.2 * long.max(wide).sqrt() } else { (long / wide).max(1.0).sqrt() };
            let least = if scale_free { 0.0 } else { eps };
            subtract(w, at.lr * factor, &orthogonalised(&b, columns, optimizer.value("ns_steps") as usize, least));
        }
    }
}

fn subtract(w: &mut [f64], lr: f64, step: &[f64]) {
    w.iter_mut().zip(step).for_each(|(w, step)| *w -= lr * step);
}

/// Adam's step with a gradient that decay, if any, is part of.
fn adam(w: &mut [f64], g: &[f64], kept: &mut Kept, at: At, betas: (f64, f64), eps: f64, scale_free: bool) {
    let corrected = |mut mean: Vec<f64>, beta: f64| {
        mean.iter_mut().for_each(|mean| *mean /= 1.0 - beta.powi(at.t));
        mean
    };
    let m = corrected(average(&mut kept.m, g, betas.0), betas.0);
    let v = corrected(average(&mut kept.v, &squares(g), betas.1), betas.1);
    subtract(w, at.lr, &over_root(&m, &v, eps, scale_free.then_some(&v[..])));
}

/// A matrix with all its singular values brought near 1 by Newton and Schulz's iteration, with Muon's polynomial.
pub fn orthogonalised(m: &[f64], columns: usize, steps: usize, eps: f64) -> Vec<f64> {
    let size = norm(m).max(eps);
    let mut x = m.iter().map(|m| if size > 0.0 { m / size } else { 0.0 }).collect::<Vec<_>>();
    let rows = x.len() / columns;
    for _ in 0..steps {
        // x x^T, and its square.
        let of = |a: &dyn Fn(usize, usize) -> f64, b: &dyn Fn(usize, usize) -> f64, inner: usize, wide: usize| {
            let entries = (0..rows).flat_map(|i| (0..wide).map(move |j| (i, j)));
            entries.map(|(i, j)| (0..inner).map(|k| a(i, k) * b(k, j)).sum::<f64>()).collect::<Vec<_>>()
        };
        let gram = of(&|i, k| x[i * columns + k], &|k, j| x[j * columns + k], columns, rows);
        let square = of(&|i, k| gram[i * rows + k], &|k, j| gram[k * rows + j], rows, rows);
        let odd = gram.iter().zip(square).map(|(a, b)| -4.775 * a + 2.0315 * b).collect::<Vec<_>>();
        let turned = of(&|i, k| odd[i * rows + k], &|k, j| x[k * columns + j], rows, columns);
        x.iter_mut().zip(turned).for_each(|(x, turned)| *x = 3.4445 * *x + turned);
    }
    x
}

/// The factor that brings a gradient to at least a norm, as far as `max_boost` goes; that of zeros is 1.
pub fn boost(g: &[f64], min_norm: f64, max_boost: f64) -> f64 {
    let size = norm(g);
    if size == 0.0 { 1.0 } else { (min_norm / size).max(1.0).min(max_boost) }
}

/// The factor that brings a norm down to a limit, as torch has it.
pub fn shrink(size: f64, max_norm: f64) -> f64 {
    (max_norm / (size + 1e-6)).min(1.0)
}

/// Adaptive clipping of some rows of a matrix, or of a vector as one row of all its entries.
pub fn adapt(g: &mut [f64], w: &[f64], columns: usize, ratio: f64, eps: f64) {
    for (g, w) in g.chunks_mut(columns).zip(w.chunks(columns)) {
        let (size, limit) = (norm(g), ratio * norm(w).max(eps));
        if size > limit {
            g.iter_mut().for_each(|g| *g *= limit / size);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The third iterate from (1, -2) on `(w_1^2 + 10 w_2^2) / 2`.
    fn third(text: &str, lr: f64) -> [f64; 2] {
        let (optimizer, mut w, mut kept) = (Optimizer::parse(text).unwrap(), [1.0, -2.0], Kept::default());
        for t in 1..=3 {
            let slope = [w[0], 10.0 * w[1]];
            update(&optimizer, &mut w, &slope, &mut kept, At { t, lr, momentum: None, map: None });
        }
        w
    }

    #[test]
    fn the_third_iterates_in_a_valley_are_the_published_ones() {
        for (text, lr, expected) in [
            ("sgd", 0.05, [0.857_375, -0.25]),
            ("sgd(momentum=0.9)", 0.05, [0.731_375, 1.46]),
            ("sgd(momentum=0.9, nesterov=true)", 0.05, [0.631_462_625, 0.80975]),
            ("sgd(momentum=0.9, dampening=0.9)", 0.05, [0.850_973_75, 0.8075]),
            ("sgd(momentum=0.9, weight_decay=0.1)", 0.05, [0.705_803_625, 1.475_435_25]),
            ("adam", 0.1, [0.701_586_274_504, -1.700_623_391_43]),
            ("adam(weight_decay=0.1)", 0.1, [0.701_586_274_221, -1.700_623_391_43]),
            ("adamw(weight_decay=0.1)", 0.1, [0.675_101_223_189, -1.644_368_682_95]),
            ("rmsprop", 0.1, [5.0885e-12, -0.309_687_370_167]),
            ("rmsprop(momentum=0.9)", 0.1, [-1.037_327_212_86, 1.407_542_035_77]),
            ("adagrad", 0.1, [0.780_456_181_366, -1.775_821_515_01]),
            ("adagrad(initial_accumulator=0.1, eps=1e-7)", 0.1, [0.787_512_784_166, -1.775_840_590_27]),
            ("lion", 0.1, [0.7, -1.7]),
        ] {
            let found = third(text, lr);
            assert!(found.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-10), "{text}: {found:?}");
        }
    }

    #[test]
    fn a_matrix_whose_rows_are_orthogonal_stays_so() {
        let x = orthogonalised(&[3.0, 0.0, 0.0, 0.0, 4.0, 0.0], 3, 5, 1e-7);
        let quintic = |share: f64| (0..5).fold(share, |x, _| 3.4445 * x - 4.775 * x.powi(3) + 2.0315 * x.powi(5));
        let expected = [quintic(0.6), 0.0, 0.0, 0.0, quintic(0.8), 0.0];
        assert!(x.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-14), "{x:?}");
    }

    #[test]
    fn gradients_are_boosted_to_a_norm_and_shrunk_to_one() {
        assert!((boost(&[3e-9, 4e-9], 1.0, 1e30) - 2e8).abs() < 1e-3);
        assert_eq!((boost(&[0.0], 1.0, 1e30), boost(&[1e-9], 1.0, 10.0), boost(&[3.0], 1.0, 10.0)), (1.0, 10.0, 1.0));
        assert_eq!((shrink(3.0, 1.0), shrink(0.5, 1.0)), (1.0 / (3.0 + 1e-6), 1.0));
        let mut g = [3.0, 4.0, 0.0, 0.01];
        adapt(&mut g, &[0.6, 0.8, 0.0, 2.0], 2, 0.01, 1e-3);
        assert!(g.iter().zip([0.006, 0.008, 0.0, 0.01]).all(|(a, b)| (a - b).abs() < 1e-16), "{g:?}");
    }
}
