//! Derivatives by differences: of activations, losses, normalisations and weight transforms, each by itself.

use crate::activation::Activation;
use crate::kernel::attention::Heads;
use crate::loss::{Loss, Targets};
use crate::naive::{self, Rows, map2, part};
use crate::norm::Norm;
use crate::transform::{Back, Transform};

/// Step of the differences: truncation `1e-12` and rounding `1e-13` for functions of unit scale. It grows with `|z|`
/// beyond [`FLAT`], where bounded activations are flat and the others are lines whose rounding grows with them.
const STEP: f64 = 1e-3;
const FLAT: f64 = 32.0;
/// Some never flatten: a sine must not turn within a step.
const LONGEST: f64 = 0.1;

/// Fourth-order central difference of a function at 0.
fn difference(f: impl Fn(f64) -> f64, h: f64) -> f64 {
    (8.0 * (f(h) - f(-h)) - (f(2.0 * h) - f(-2.0 * h))) / (12.0 * h)
}

/// `f'(at)` by differences of `f`. Where they agree with the analytic slope to within what they do not know themselves,
/// by rounding or by what half the step changes, it stands: in saturation and at a point of inflection the slope lies
/// far below that.
fn slope(f: impl Fn(f64) -> f64, at: f64, analytic: f64, kinks: &[f64]) -> f64 {
    let gap = kinks.iter().map(|kink| (at - kink).abs()).fold(f64::INFINITY, f64::min);
    if gap == 0.0 {
        // No derivative to compare with: the convention's stands.
        return analytic;
    }
    let h = (STEP * (at.abs() / FLAT).max(1.0)).min(LONGEST).min(gap / 4.0);
    let by = |h: f64| difference(|step| f(at + step), h);
    let numeric = by(h);
    let rounding = 4.0 * f64::EPSILON * (f(at).abs() + (at * analytic).abs()) / h;
    // Half the step leaves out a sixteenth as much.
    let left_out = 2.0 * (numeric - by(h / 2.0)).abs();
    if (numeric - analytic).abs() <= rounding + left_out { analytic } else { numeric }
}

/// `phi'(z)` by differences of `phi`.
pub(super) fn bend(activation: &Activation, z: f64) -> f64 {
    slope(|z| activation.both(z).0, z, activation.both(z).1, &activation.kinks())
}

/// The slopes of a loss by differences of each sample's share of it, output by output.
pub(super) fn slopes_of(loss: &Loss, y: &Rows, targets: &Targets) -> Rows {
    let width = y[0].len();
    let target = |sample| targets.of(&[sample]);
    // A mean is told from a sum by the values alone, at equal outputs: there no two of them cancel. Where all are 0 at
    // 1, as those of a hinge may be, they are not at -1, but for those that have no slope either.
    let share_at = |output: f64| {
        let (whole, _) = loss.evaluate(&vec![output; y.len() * width], width, targets);
        let alone = |sample| loss.evaluate(&vec![output; width], width, &target(sample)).0;
        whole / (0..y.len()).map(alone).sum::<f64>()
    };
    let share = [1.0, -1.0].map(share_at).into_iter().find(|share| share.is_finite()).unwrap_or(0.0);
    let sample = |(sample, y): (usize, &Vec<f64>)| {
        let target = target(sample);
        let analytic = loss.evaluate(y, width, &target).1;
        let kinks = |i: usize| match &target {
            Targets::Classes(_) | Targets::Absent => Vec::new(),
            Targets::Values(values, _) => loss.kinks(values[i]),
        };
        let at = |i: usize, to: f64| {
            let mut moved = y.clone();
            moved[i] = to;
            loss.evaluate(&moved, width, &target).0
        };
        (0..width).map(|i| share * slope(|to| at(i, to), y[i], analytic[i], &kinks(i))).collect()
    };
    y.iter().enumerate().map(sample).collect()
}

/// The change of `standardise(values)` along a direction. It bends on the scale of their deviation.
pub(super) fn standardise(values: &[f64], centred: bool, eps: f64, along: &[f64]) -> Vec<f64> {
    let count = values.len() as f64;
    // What is alike in all is taken away beforehand: beside it, small differences would lose their digits.
    let [values, along] = [values, along].map(|of| {
        let mean = if centred { of.iter().sum::<f64>() / count } else { 0.0 };
        of.iter().map(|v| v - mean).collect::<Vec<_>>()
    });
    let largest = along.iter().fold(0.0, |m: f64, v| m.max(v.abs()));
    let root = (values.iter().map(|v| v.powi(2)).sum::<f64>() / count + eps).sqrt();
    // Below this share of the largest tangent, which is brought to 1, nothing is left anyway.
    if largest < 1e-200 || root == 0.0 {
        return vec![0.0; values.len()];
    }
    let h = STEP * root / largest;
    let at = |steps: f64| {
        let moved = values.iter().zip(&along).map(|(v, d)| v + steps * h * d).collect::<Vec<_>>();
        naive::standardise(&moved, centred, eps)
    };
    let [back2, back1, on1, on2] = [-2.0, -1.0, 1.0, 2.0].map(at);
    (0..values.len()).map(|i| (8.0 * (on1[i] - back1[i]) - (on2[i] - back2[i])) / (12.0 * h)).collect()
}

/// The change of `values / deviation` along a direction: the terms of `standardise` before anything is taken away.
pub(super) fn stretch(values: &[f64], centred: bool, eps: f64, along: &[f64]) -> Vec<f64> {
    let count = values.len() as f64;
    let mean = if centred { values.iter().sum::<f64>() / count } else { 0.0 };
    let root = (values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / count + eps).sqrt();
    along.iter().map(|d| if root == 0.0 { 0.0 } else { d / root }).collect()
}

/// The change of a softmax along a direction.
fn softmax(logits: &[f64], along: &[f64]) -> Vec<f64> {
    // What is alike in all changes nothing: beside it, small differences would lose their digits.
    let mean = along.iter().sum::<f64>() / along.len() as f64;
    let along = along.iter().map(|d| d - mean).collect::<Vec<_>>();
    let largest = along.iter().fold(0.0, |m: f64, v| m.max(v.abs()));
    // As in `standardise`.
    if largest < 1e-200 {
        return vec![0.0; logits.len()];
    }
    let h = STEP / largest;
    let at = |steps: f64| {
        let moved = logits.iter().zip(&along).map(|(v, d)| v + steps * h * d).collect::<Vec<_>>();
        part::softmax(&moved)
    };
    let [back2, back1, on1, on2] = [-2.0, -1.0, 1.0, 2.0].map(at);
    (0..logits.len()).map(|i| (8.0 * (on1[i] - back1[i]) - (on2[i] - back2[i])) / (12.0 * h)).collect()
}

/// The change of attention along a direction: products are linear in each factor, and all else goes by differences.
pub(super) fn attention(heads: &Heads, qkv: &Rows, along: &Rows) -> Rows {
    let normed = |raw: &Rows, along: &Rows| match heads.eps {
        None => along.clone(),
        Some(eps) => raw.iter().zip(along).map(|(raw, along)| standardise(raw, false, eps, along)).collect(),
    };
    part::by_head(heads, qkv.len(), |sample, index| {
        let [raw_q, raw_k, v] = part::head(heads, qkv, sample, index);
        let [dq, dk, dv] = part::head(heads, along, sample, index);
        let (q, k) = (part::met(heads, &raw_q), part::met(heads, &raw_k));
        let (dq, dk) = (normed(&raw_q, &dq), normed(&raw_k, &dk));
        let of_query = |query: usize| {
            let logits = part::logits(heads, &q, &k, query);
            let [by_query, by_key] = [part::logits(heads, &dq, &k, query), part::logits(heads, &q, &dk, query)];
            let moved = softmax(&logits, &by_query.iter().zip(by_key).map(|(a, b)| a + b).collect::<Vec<_>>());
            let each = |i: usize| {
                let terms = part::softmax(&logits).into_iter().zip(&moved).zip(v.iter().zip(&dv));
                terms.map(|((weight, moved), (v, dv))| moved * v[i] + weight * dv[i]).sum()
            };
            (0..heads.features).map(each).collect()
        };
        (0..heads.tokens).map(of_query).collect()
    })
}

/// The change of a batch's normalisation, without weight and bias, or its terms.
pub(super) fn normed(norm: &Norm, z: &Rows, dz: &Rows, change: fn(&[f64], bool, f64, &[f64]) -> Vec<f64>) -> Rows {
    let each = |z: &Rows, dz: &Rows| {
        z.iter().zip(dz).map(|(z, dz)| change(z, norm.centres(), norm.values()[0], dz)).collect::<Rows>()
    };
    if norm.needs_samples() {
        naive::transposed(&each(&naive::transposed(z), &naive::transposed(dz)))
    } else {
        each(z, dz)
    }
}

/// The change of transformed weights along a direction.
pub(super) fn transformed(transform: &Transform, raw: &Rows, back: Option<&Back>, along: &Rows) -> Rows {
    let gain = transform.values()[0];
    let Some(Back::Spectral(_, left, right)) = back else {
        let scale = gain / (raw[0].len() as f64).sqrt();
        let row = |(row, along): (&Vec<f64>, &Vec<f64>)| {
            standardise(&naive::part::directed(row), true, transform.values()[1], along)
        };
        let all = raw.iter().zip(along).map(row).collect::<Rows>();
        return map2(&all, &all, |d, _| scale * d);
    };
    let top = naive::singular(raw);
    if top.value == 0.0 {
        return map2(raw, raw, |_, _| 0.0);
    }
    let largest = naive::singular(along).value;
    let change = if top.value - top.next < 1e-6 * top.value {
        // Two values are equal: the larger of the two has a kink here, and the vector that was taken stands.
        left.iter().zip(along).map(|(u, row)| u * row.iter().zip(right).map(|(d, v)| d * v).sum::<f64>()).sum()
    } else {
        let value = |step: f64| naive::singular(&map2(raw, along, |w, d| w + step * d)).value;
        difference(value, STEP * (top.value - top.next) / largest)
    };
    map2(raw, along, |w, d| gain * (d / top.value - w * change / top.value.powi(2)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::signature::Call;

    #[test]
    fn differences_see_a_wrong_slope_and_pass_a_right_one_in_saturation() {
        let of = |text: &str| Activation::new(&Call::parse("activation", text).unwrap()).unwrap();
        // Without parameters a threshold has no value.
        let plain = Activation::names().filter(|name| *name != "threshold");
        for name in plain.chain(["threshold(0.5, 2)"]) {
            for z in [-40.0, -9.0, -1.3, -1e-5, 0.4, 2.0, 19.9, 40.0] {
                let (numeric, analytic) = (bend(&of(name), z), of(name).both(z).1);
                let gap = (numeric - analytic).abs();
                assert!(gap <= 1e-8 * analytic.abs(), "{name} at {z}: {numeric} {analytic}");
            }
        }
        // The slope of one function against the differences of another near it.
        let wrong = (bend(&of("gelu"), 0.7) - of("gelu(tanh)").both(0.7).1).abs();
        assert!(wrong > 1e-5, "{wrong}");
    }

    #[test]
    fn differences_of_a_loss_are_its_gradient_on_both_sides_of_kinks_and_for_both_reductions() {
        let y = vec![vec![0.3, -1.2, 40.0], vec![2.0, -3.0, 1e-7], vec![-60.0, 0.5, 1e6]];
        let uniform = [0.2, 0.9, 0.4, 0.7, 0.1, 0.6, 0.3, 0.8, 0.5];
        for name in Loss::names() {
            for reduction in ["mean", "sum"] {
                let text = format!("{name}(reduction={reduction})");
                let loss = Loss::new(&Call::parse("loss", &text).unwrap()).unwrap();
                let targets = loss.targets(&uniform, 3);
                let (_, analytic) = loss.evaluate(&y.concat(), 3, &targets);
                for (numeric, analytic) in slopes_of(&loss, &y, &targets).concat().iter().zip(analytic) {
                    assert!((numeric - analytic).abs() <= 1e-8 * analytic.abs(), "{text}: {numeric} {analytic}");
                }
            }
        }
    }
}
