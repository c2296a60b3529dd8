//! Clipping what is too large, and boosting what is too small.

use super::gradient::{Factor, Gradient, Gradients};
use super::layout::Layout;
use super::numbers;
use crate::kernel::sum_of_squares;
use crate::plan::Plan;
use crate::simd::{Float, exponent_of, times_power_of_two};
use crate::weights::Weights;

/// torch adds this to a norm before it divides by it.
const EPS: f64 = 1e-6;

/// What is clipped by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Per {
    /// All gradients as one vector.
    Global,
    /// Weight and bias of a map together.
    Layer,
    /// Each tensor.
    Tensor,
    /// Each entry.
    Value,
    /// Each unit, by the norm of its weights (Brock et al. 2021, arXiv:2102.06171).
    Agc,
}

impl Per {
    /// All of them, with their names.
    pub const ALL: [(&'static str, Self); 5] = [
        ("global", Self::Global),
        ("layer", Self::Layer),
        ("tensor", Self::Tensor),
        ("value", Self::Value),
        ("agc", Self::Agc),
    ];
}

/// Bounds of gradients.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Clip {
    /// The largest norm, entry, or ratio of norms; `None` clips nothing.
    pub max_norm: Option<f64>,
    /// The least norm of a tensor's gradient; `None` boosts nothing.
    pub min_norm: Option<f64>,
    /// What is clipped by itself.
    pub per: Per,
    /// The most that a gradient is multiplied with.
    pub max_boost: f64,
    /// The least norm of a unit's weights, for [`Per::Agc`].
    pub eps: f64,
}

/// What clipping and boosting have done.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Clipped {
    /// The smallest factor; NaN where entries are clipped one by one.
    pub coef: f64,
    /// log10 of the largest boost of a tensor.
    pub log10_boost: f64,
    /// Share of what is judged that was clipped.
    pub share: f64,
}

impl Clipped {
    /// Nothing was done.
    pub const NOTHING: Self = Self { coef: 1.0, log10_boost: 0.0, share: 0.0 };
}

/// `min(1, max / (norm + 1e-6))`, for a norm of any size.
fn coefficient(max: f64, norm: Factor) -> Factor {
    let spelled = norm.spelled_out();
    if spelled.is_finite() {
        let coef = max / (spelled + EPS);
        return Factor { value: coef.min(1.0), exponent: 0 };
    }
    Factor { value: max / norm.value, exponent: -norm.exponent }
}

impl Clip {
    /// Set the gain of every gradient; [`Per::Agc`] looks at the weights.
    pub(super) fn apply<F: Float>(
        &self,
        gradients: &mut Gradients<F>,
        layout: &Layout,
        plan: &Plan,
        weights: &Weights<F>,
    ) -> Clipped {
        let mut done = Clipped::NOTHING;
        if let Some(least) = self.min_norm {
            for gradient in &mut gradients.all {
                let boost = self.boost(gradient.norm(), least);
                gradient.gain = gradient.gain.times(boost);
                done.log10_boost = done.log10_boost.max(boost.log10());
            }
        }
        let Some(max) = self.max_norm else { return done };
        let mut groups: Vec<Vec<usize>> = Vec::new();
        let moving = (0..layout.count()).filter(|place| gradients.all[*place].reached());
        match self.per {
            Per::Global => groups.push(moving.collect()),
            Per::Tensor => groups.extend(moving.map(|place| vec![place])),
            Per::Layer => {
                for place in moving {
                    let id = layout.ids[place];
                    let same = |group: &&mut Vec<usize>| {
                        let other = layout.ids[group[0]];
                        (other.slot, other.index) == (id.slot, id.index)
                    };
                    match groups.iter_mut().rev().find(same) {
                        Some(group) => group.push(place),
                        None => groups.push(vec![place]),
                    }
                }
            }
            Per::Value => return Clipped { coef: f64::NAN, share: clamp(gradients, max), ..done },
            Per::Agc => {
                let (coef, share) = self.by_units(gradients, layout, plan, weights, max);
                return Clipped { coef, share, ..done };
            }
        }
        let mut beyond = 0;
        for group in &groups {
            // Norms behind the boost.
            let norm = |&place: &usize| {
                let Gradient { squares, gain, .. } = &gradients.all[place];
                Factor { value: squares.sqrt() * gain.value, exponent: gain.exponent }
            };
            let coef = coefficient(max, together(group.iter().map(norm)));
            if coef != Factor::ONE {
                beyond += 1;
                done.coef = done.coef.min(coef.spelled_out());
                for &place in group {
                    let gain = &mut gradients.all[place].gain;
                    *gain = gain.times(coef);
                }
            }
        }
        Clipped { share: f64::from(beyond) / groups.len().max(1) as f64, ..done }
    }

    /// `max(1, min_norm / norm)`, at most the largest boost; 1 for a gradient of zeros, which has no direction.
    fn boost(&self, norm: Factor, least: f64) -> Factor {
        if norm.value == 0.0 || !norm.value.is_finite() || norm.log10() >= libm::log10(least) {
            return Factor::ONE;
        }
        let boost = Factor { value: least / norm.value, exponent: -norm.exponent };
        if boost.log10() > libm::log10(self.max_boost) { Factor { value: self.max_boost, exponent: 0 } } else { boost }
    }

    /// Scale every unit's gradient down to its share of the unit's weights: (the smallest factor, the share of units).
    fn by_units<F: Float>(
        &self,
        gradients: &mut Gradients<F>,
        layout: &Layout,
        plan: &Plan,
        weights: &Weights<F>,
        ratio: f64,
    ) -> (f64, f64) {
        let (mut least, mut beyond, mut all) = (1.0, 0, 0);
        for (place, gradient) in gradients.all.iter_mut().enumerate() {
            if layout.of_readout[place] || !gradient.reached() {
                continue;
            }
            let (columns, gain) = (gradient.matrix.columns(), gradient.gain);
            let (weights, rows) = (numbers::tensor(weights, plan, layout.ids[place]), gradient.matrix.to_rows());
            // What each unit's gradient is multiplied with, and the power of two of the largest one behind it.
            let (mut coefs, mut top) = (Vec::with_capacity(rows.len() / columns), i64::MIN);
            for (w, g) in weights.chunks_exact(columns).zip(rows.chunks_exact(columns)) {
                let limit = self.limit(w, ratio);
                let norm = Factor { value: sum_of_squares(g, 1.0).sqrt() * gain.value, exponent: gain.exponent };
                let over = norm.value.is_finite() && norm.log10() > libm::log10(limit);
                let (coef, left) = if over {
                    (
                        Factor { value: limit / norm.value, exponent: -norm.exponent },
                        Factor { value: limit, exponent: 0 },
                    )
                } else {
                    (Factor::ONE, norm)
                };
                if left.value > 0.0 {
                    top = top.max(exponent_of(left.value) + left.exponent);
                }
                beyond += usize::from(over);
                least = f64::min(least, coef.spelled_out());
                coefs.push(coef);
            }
            all += coefs.len();
            if coefs.iter().any(|coef| *coef != Factor::ONE) {
                gradient.rewrite(if top == i64::MIN { 0 } else { top }, |row, v| {
                    Factor { value: v, exponent: 0 }.times(gain).times(coefs[row])
                });
            }
        }
        (least, beyond as f64 / all.max(1) as f64)
    }

    /// The largest norm of a unit's gradient.
    fn limit<F: Float>(&self, weights: &[F], ratio: f64) -> f64 {
        ratio * sum_of_squares(weights, 1.0).sqrt().max(self.eps)
    }
}

/// The norm of several vectors together.
fn together(norms: impl Iterator<Item = Factor> + Clone) -> Factor {
    let size = |norm: &Factor| norm.value > 0.0;
    let exponent = norms.clone().filter(size).map(|norm| norm.exponent).max().unwrap_or(0);
    let square = |norm: Factor| times_power_of_two(norm.value * norm.value, 2 * (norm.exponent - exponent));
    Factor { value: norms.map(square).sum::<f64>().sqrt(), exponent }
}

/// Clamp every entry to a limit; gives the share of those beyond it.
fn clamp<F: Float>(gradients: &mut Gradients<F>, limit: f64) -> f64 {
    let (mut beyond, mut all) = (0, 0);
    for gradient in gradients.all.iter_mut().filter(|gradient| gradient.reached()) {
        // In the units of the entries, which the gain is multiplied to later.
        let gain = gradient.gain;
        let bound = times_power_of_two(limit / gain.value, -gain.exponent);
        let entries = gradient.matrix.slices().flatten();
        let over = entries.filter(|entry| entry.wide().abs() > bound).count();
        all += gradient.matrix.rows() * gradient.matrix.columns();
        if over > 0 {
            let top = if limit > 0.0 { exponent_of(limit) } else { 0 };
            gradient.rewrite(top, |_, v| {
                if v.abs() > bound {
                    return Factor { value: limit.copysign(v), exponent: 0 };
                }
                Factor { value: v, exponent: 0 }.times(gain)
            });
        }
        beyond += over;
    }
    beyond as f64 / all.max(1) as f64
}
