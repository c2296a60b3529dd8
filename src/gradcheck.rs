//! Analytic gradients against central differences, at any depth.
//!
//! The difference of two outputs of a deep net drowns a gradient of `1e-30` in rounding. So the differences are taken
//! where they are accurate, of each activation at each pre-activation (fourth order, never across a kink), and chained
//! forward through the plain maps of `naive.rs` with the exponent carried. The directional derivative found that way is
//! compared with the kernel's gradient along the same random direction.

use crate::activation::Activation;
use crate::error::{Cancel, Error, Result};
use crate::gradients::{Gradients, Start, Tensor, gradients};
use crate::naive::{self, Linear, Pass, Rows};
use crate::plan::Plan;
use crate::rng::{Role, Stream};
use crate::simd::{exponent_of, times_power_of_two};
use crate::spec::Spec;
use crate::weights::Weights;

/// Step of the differences: truncation `1e-12` and rounding `1e-13` for functions of unit scale. It grows with `|z|`
/// beyond [`FLAT`], where bounded activations are flat and the others are lines whose rounding grows with them.
const STEP: f64 = 1e-3;
const FLAT: f64 = 32.0;

/// Rows times a power of two.
type Carried = (Rows, i64);

fn carried((rows, exponent): Carried) -> Carried {
    let largest = rows.iter().flatten().fold(0.0, |m: f64, v| m.max(v.abs()));
    if largest == 0.0 || !largest.is_finite() {
        return (rows, exponent);
    }
    let shift = exponent_of(largest);
    (
        rows.into_iter().map(|row| row.into_iter().map(|v| times_power_of_two(v, -shift)).collect()).collect(),
        exponent + shift,
    )
}

/// `scale * a + b`.
fn add((a, ea): &Carried, scale: f64, (b, eb): &Carried) -> Carried {
    let zero = |rows: &Rows| rows.iter().flatten().all(|v| *v == 0.0);
    let exponent = if zero(a) {
        *eb
    } else if zero(b) {
        *ea
    } else {
        *ea.max(eb)
    };
    let sum = |a: &f64, b: &f64| scale * times_power_of_two(*a, ea - exponent) + times_power_of_two(*b, eb - exponent);
    (a.iter().zip(b).map(|(a, b)| a.iter().zip(b).map(|(a, b)| sum(a, b)).collect()).collect(), exponent)
}

/// `phi'(z)` by differences of `phi`. Where they agree with the analytic slope to within their own rounding they say no
/// more than that, and it stands: in saturation the slope lies far below that rounding.
fn slope(activation: &Activation, z: f64) -> f64 {
    let analytic = activation.both(z).1;
    let gap = activation.kinks().into_iter().map(|kink| (z - kink).abs()).fold(f64::INFINITY, f64::min);
    if gap == 0.0 {
        // No derivative to compare with: the convention's stands.
        return analytic;
    }
    let h = (STEP * (z.abs() / FLAT).max(1.0)).min(gap / 4.0);
    let phi = |steps: f64| activation.both(z + steps * h).0;
    let numeric = (8.0 * (phi(1.0) - phi(-1.0)) - (phi(2.0) - phi(-2.0))) / (12.0 * h);
    let rounding = 4.0 * f64::EPSILON * (phi(0.0).abs() + (z * analytic).abs()) / h;
    if (numeric - analytic).abs() <= rounding { analytic } else { numeric }
}

/// The change of `<cotangent, y>` when `dz` is added to the pre-activation of map `from`.
fn push(spec: &Spec, maps: &[Linear], slopes: &[Rows], cotangent: &Rows, from: usize, dz: Rows) -> (f64, i64) {
    let zeros = |columns: usize| (vec![vec![0.0; columns]; cotangent.len()], 0);
    let mut tangents = (0..=from.min(spec.depth)).map(|layer| zeros(spec.fan_in(layer))).collect::<Vec<Carried>>();
    push_from(spec, maps, slopes, cotangent, &mut tangents, Some((dz, 0)))
}

/// The same from tangents of the first layer inputs, and of the next pre-activation where it is given.
fn push_from(
    spec: &Spec,
    maps: &[Linear],
    slopes: &[Rows],
    cotangent: &Rows,
    tangents: &mut Vec<Carried>,
    mut dz: Option<Carried>,
) -> (f64, i64) {
    let linear = |layer: usize, (dh, exponent): &Carried| {
        let unbiased = (maps[layer].0.clone(), vec![0.0; maps[layer].1.len()]);
        (naive::affine(&unbiased, dh), *exponent)
    };
    for layer in tangents.len() - 1..spec.depth {
        let (dz, exponent) = carried(dz.take().unwrap_or_else(|| linear(layer, &tangents[layer])));
        let da = dz
            .iter()
            .zip(&slopes[layer])
            .map(|(dz, slope)| dz.iter().zip(slope).map(|(a, b)| a * b).collect())
            .collect();
        let dh = match naive::skip(spec, layer) {
            Some((from, scale)) => add(&(da, exponent), scale, &tangents[from]),
            None => (da, exponent),
        };
        tangents.push(carried(dh));
    }
    let (dy, exponent) = match maps.get(spec.depth) {
        Some(_) => dz.take().unwrap_or_else(|| linear(spec.depth, &tangents[spec.depth])),
        None => tangents[spec.depth].clone(),
    };
    (dy.iter().flatten().zip(cotangent.iter().flatten()).map(|(a, b)| a * b).sum(), exponent)
}

/// `|<gradient, direction> - numeric| / |gradient|`: for a direction of unit normals the first term is of the size of
/// the gradient's norm.
fn error(gradient: &Tensor<f64>, direction: &[f64], (numeric, exponent): (f64, i64)) -> f64 {
    let norm = gradient.values.iter().map(|g| g * g).sum::<f64>().sqrt();
    let analytic = gradient.values.iter().zip(direction).map(|(g, v)| g * v).sum::<f64>();
    let gap = (analytic - times_power_of_two(numeric, exponent - gradient.exponent)).abs();
    if gap == 0.0 { 0.0 } else { gap / norm }
}

/// Relative error of every tensor's gradient, named as in a state dict, `input` last.
pub fn gradcheck(spec: &Spec, seed: u64, batch: usize, cancel: &Cancel) -> Result<Vec<(String, f64)>> {
    let plan = Plan::new(spec);
    let weights = Weights::<f64>::drawn(&plan, seed, 1, cancel)?;
    let normals = |role, layer, count| {
        let mut all = vec![0.0; count];
        Stream::new(seed, layer, role).normal::<f64>(&mut all);
        all
    };
    let rows = |flat: &[f64], columns: usize| flat.chunks(columns).map(<[f64]>::to_vec).collect::<Rows>();
    let x = normals(Role::Input, 0, batch * plan.in_features);
    let cotangent = normals(Role::Cotangent, 0, batch * plan.output());
    let Gradients { weights: dw, biases: db, input: dx, .. } =
        gradients(&plan, &weights, &x, &Start::Cotangent(cotangent.clone()), 1, |_| (), cancel)?;

    let maps = weights
        .maps
        .iter()
        .map(|map| (rows(&map.weight.to_rows(), map.weight.columns()), map.bias.clone()))
        .collect::<Vec<_>>();
    let (x, cotangent) = (rows(&x, plan.in_features), rows(&cotangent, plan.output()));
    let Pass { inputs, z, .. } = naive::forward(spec, &maps, &x);
    let largest =
        |h: &Rows| h.iter().flatten().fold(0.0, |m: f64, v| if v.is_nan() { f64::NAN } else { m.max(v.abs()) });
    if let Some(layer) = inputs.iter().map(largest).position(|h| !h.is_finite() || (h > 0.0 && h < 1e-290)) {
        return Err(Error::Value(format!(
            "cannot check this net: its forward pass leaves the range of float64 at layer {layer}, and the plain twin \
             that it is checked against carries no exponent; use less depth or another gain"
        )));
    }
    let slopes = z
        .iter()
        .enumerate()
        .map(|(layer, z)| z.iter().map(|z| z.iter().map(|z| slope(spec.activation.at(layer), *z)).collect()).collect())
        .collect::<Vec<Rows>>();

    let mut errors = Vec::new();
    for (index, (map, name)) in plan.maps().zip(plan.names()).enumerate() {
        cancel.check()?;
        let v = normals(Role::Direction, 2 * index, map.fan_in * map.fan_out);
        let moved = (rows(&v, map.fan_in), vec![0.0; map.fan_out]);
        let numeric = push(spec, &maps, &slopes, &cotangent, index, naive::affine(&moved, &inputs[index]));
        errors.push((format!("{name}.weight"), error(&dw[index], &v, numeric)));
        let v = normals(Role::Direction, 2 * index + 1, map.fan_out);
        let numeric = push(spec, &maps, &slopes, &cotangent, index, vec![v.clone(); batch]);
        errors.push((format!("{name}.bias"), error(&db[index], &v, numeric)));
    }
    let v = normals(Role::Direction, 2 * plan.depth() + 2, batch * plan.in_features);
    let numeric = push_from(spec, &maps, &slopes, &cotangent, &mut vec![(rows(&v, plan.in_features), 0)], None);
    errors.push(("input".to_owned(), error(&dx, &v, numeric)));
    Ok(errors)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::signature::Call;

    #[test]
    fn differences_see_a_wrong_slope_and_pass_a_right_one_in_saturation() {
        let of = |text: &str| Activation::new(&Call::parse("activation", text).unwrap()).unwrap();
        // Without parameters a threshold has no value.
        let plain = crate::activation::names().filter(|name| *name != "threshold");
        for name in plain.chain(["threshold(0.5, 2)"]) {
            for z in [-40.0, -9.0, -1.3, -1e-5, 0.4, 2.0, 19.9, 40.0] {
                let (numeric, analytic) = (slope(&of(name), z), of(name).both(z).1);
                // Where phi' is z^2, what the differences leave out is more than a share of it.
                let left_out = if name == "tanhshrink" && z.abs() < 1e-3 { 1e-12 } else { 0.0 };
                assert!(
                    (numeric - analytic).abs() <= 1e-8 * analytic.abs() + left_out,
                    "{name} at {z}: {numeric} {analytic}"
                );
            }
        }
        // The slope of one function against the differences of another near it.
        let wrong = (slope(&of("gelu"), 0.7) - of("gelu(tanh)").both(0.7).1).abs();
        assert!(wrong > 1e-5, "{wrong}");
    }
}
