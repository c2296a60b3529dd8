//! Every part of a layer by its definition: what it gives, and the way back of a gradient.

use super::rows::{
    Rows, Singular, affine, apart, beside, column_sums, dot, flat, map, map2, moments, outer, rows, singular,
    standardise, standardise_backward, transposed,
};
use super::{Net, Tensors, add, cell};
use crate::activation::{Activation, Shape};
use crate::norm::Norm;
use crate::part::{Activate, Drop, Heads, Join, Map, Normalise, Part, Pool, Pooling, Which};
use crate::plan::Placed;
use crate::rng::{Role, Stream};
use crate::skip;
use crate::transform::Transform;
use std::collections::BTreeMap;

/// A part of a net at work.
pub struct At<'a> {
    /// The net.
    pub net: &'a Net<'a>,
    /// The layer.
    pub layer: usize,
    /// The part.
    pub placed: &'a Placed,
    /// The values, those so far at least.
    pub values: &'a [Rows],
    /// The samples of the net.
    pub x: &'a Rows,
}

impl At<'_> {
    /// What went around.
    pub fn around(&self) -> &Rows {
        &self.values[self.placed.around.unwrap_or_default()]
    }
}

/// What a part makes of what it gets.
pub fn forward(at: &At<'_>, got: &Rows) -> Rows {
    let At { net, layer, .. } = *at;
    match &at.placed.part {
        Part::Map(map) => map_forward(at, map, got),
        Part::Norm(norm) => norm_forward(net, layer, norm, got),
        Part::Phi(phi) => activate(&activation(net, layer, phi), got),
        Part::Keep(_) | Part::Cut(_) => got.clone(),
        Part::Cell(cell) => cell::forward(at, cell, got),
        Part::Steps(steps) => cell::steps_forward(at, steps),
        Part::Drop(drop) => dropped(net, drop, got),
        Part::Attend(attend) => attention(&attend.heads, got),
        Part::Pool(pool) => pooled(pool, got),
        Part::Join(join) => join_forward(net, layer, join, at.around(), got),
    }
}

/// What a part moves its stream on to, if it does.
pub fn next(at: &At<'_>, got: &Rows) -> Option<Rows> {
    match &at.placed.part {
        Part::Cell(cell) if cell.moves() => Some(cell::within(at, cell, got).c),
        _ => None,
    }
}

/// From the gradient of what a part gave to that of what it got. A stream that is reached is set or added to.
pub fn backward(
    at: &At<'_>,
    got: &Rows,
    d: Rows,
    found: &mut Tensors,
    streams: &mut BTreeMap<usize, Rows>,
    dx: &mut Rows,
) -> Rows {
    let At { net, layer, .. } = *at;
    match &at.placed.part {
        Part::Map(map) => map_backward(at, map, got, &d, found, streams, dx),
        Part::Norm(norm) => norm_backward(net, layer, norm, got, &d, found),
        Part::Phi(phi) => activation_backward(net, layer, phi, got, &d, found),
        Part::Keep(keep) => match streams.remove(&keep.stream) {
            Some(around) => map2(&around, &d, |around, d| around + d),
            None => d,
        },
        Part::Join(join) => {
            let (around, through) = join_backward(net, layer, join, (at.around(), got), &d, found);
            let sum = match streams.remove(&join.stream) {
                Some(sum) => map2(&sum, &around, |sum, d| sum + d),
                None => around,
            };
            streams.insert(join.stream, sum);
            through
        }
        Part::Drop(drop) => dropped(net, drop, &d),
        Part::Cell(part) => cell::backward(at, part, got, &d, found, streams),
        Part::Steps(steps) => cell::steps_backward(at, steps, &d, found, streams),
        Part::Cut(cut) => {
            streams.retain(|stream, _| *stream >= cut.streams);
            map(&d, |_| 0.0)
        }
        Part::Attend(attend) => attention_backward(&attend.heads, got, &d),
        Part::Pool(pool) => pooled_backward(pool, got.len(), &d),
    }
}

// The linear map

/// Equal weights have no direction but the rounding of their mean: they count as zeros.
pub fn directed(row: &[f64]) -> Vec<f64> {
    if row.iter().all(|w| *w == row[0]) { vec![0.0; row.len()] } else { row.to_vec() }
}

/// What weights become.
pub fn transformed(transform: &Transform, raw: &Rows) -> Rows {
    let (gain, eps) = (transform.values()[0], transform.values()[1]);
    match transform.signature().name {
        "weight_standardization" => raw
            .iter()
            .map(|row| {
                let row = directed(row);
                let (mean, variance) = moments(&row);
                let root = (variance + eps).sqrt() * (row.len() as f64).sqrt();
                row.iter().map(|w| if root == 0.0 { 0.0 } else { gain * (w - mean) / root }).collect()
            })
            .collect(),
        "spectral_norm" => {
            let largest = singular(raw).value;
            map(raw, |w| if largest == 0.0 { 0.0 } else { gain * w / largest })
        }
        other => unreachable!("weight transform {other}"),
    }
}

/// From the gradient of transformed weights to that of the weights.
fn transform_backward(transform: &Transform, raw: &Rows, gradient: &Rows) -> Rows {
    let (gain, eps) = (transform.values()[0], transform.values()[1]);
    match transform.signature().name {
        "weight_standardization" => raw
            .iter()
            .zip(gradient)
            .map(|(row, gradient)| {
                let scale = gain / (row.len() as f64).sqrt();
                let gradient = gradient.iter().map(|g| scale * g).collect::<Vec<_>>();
                standardise_backward(&directed(row), true, eps, &gradient)
            })
            .collect(),
        // d(w / s) = dw / s - w ds / s^2 with ds = u^T dw v.
        "spectral_norm" => {
            let Singular { value: largest, left: u, right: v, .. } = singular(raw);
            if largest == 0.0 {
                return map(raw, |_| 0.0);
            }
            let along = dot(&flat(gradient), &flat(raw));
            let entry = |i: usize, j: usize| gain * (gradient[i][j] / largest - along * u[i] * v[j] / largest.powi(2));
            (0..u.len()).map(|i| (0..v.len()).map(|j| entry(i, j)).collect()).collect()
        }
        other => unreachable!("weight transform {other}"),
    }
}

/// The weights that a map uses: transformed, if the net transforms them.
pub fn weight(net: &Net<'_>, layer: usize, map: &Map) -> Rows {
    let plan = net.plan.parameters(layer, map.own).linear();
    let raw = rows(net.tensor(layer, map.own, Which::Weight), plan.fan_in);
    plan.transform.as_ref().map_or(raw.clone(), |transform| transformed(transform, &raw))
}

/// The weights of the map of a step's own input.
fn fed_weight(net: &Net<'_>, layer: usize, fed: usize) -> Rows {
    rows(net.tensor(layer, fed, Which::Weight), net.plan.parameters(layer, fed).linear().fan_in)
}

/// The input of a step of a net whose steps get inputs of their own.
pub fn step_input(columns: usize, x: &Rows, step: usize) -> Rows {
    x.iter().map(|x| x[step * columns..][..columns].to_vec()).collect()
}

/// What a map gives.
pub fn map_forward(at: &At<'_>, map: &Map, got: &Rows) -> Rows {
    let At { net, layer, .. } = *at;
    let (own, step) = cell::map_inputs(at, map.fed, map.state, got);
    let z = affine(&weight(net, layer, map), net.find(layer, map.own, Which::Bias), &own);
    let (Some(fed), Some(step)) = (map.fed, step) else { return z };
    let fed = affine(&fed_weight(net, layer, fed), net.find(layer, fed, Which::Bias), &step);
    if map.apart { beside(&fed, &z) } else { map2(&z, &fed, |z, u| z + u) }
}

/// From `dL/dz` to the gradient of what the map got; that of an input of its own goes into `dx`.
pub fn map_backward(
    at: &At<'_>,
    map: &Map,
    got: &Rows,
    delta: &Rows,
    found: &mut Tensors,
    streams: &mut BTreeMap<usize, Rows>,
    dx: &mut Rows,
) -> Rows {
    let At { net, layer, .. } = *at;
    let (own, step) = cell::map_inputs(at, map.fed, map.state, got);
    let (of_own, of_step) = cell::halves(delta, map.apart);
    let mut dw = outer(&of_own, &own);
    if let Some(transform) = &net.plan.parameters(layer, map.own).linear().transform {
        dw = transform_backward(transform, &rows(net.tensor(layer, map.own, Which::Weight), own[0].len()), &dw);
    }
    add(found, net.name(layer, map.own, Which::Weight), flat(&dw));
    if net.find(layer, map.own, Which::Bias).is_some() {
        add(found, net.name(layer, map.own, Which::Bias), column_sums(&of_own));
    }
    let mut below = super::rows::map(got, |_| 0.0);
    if let (Some(fed), Some(step)) = (map.fed, step) {
        found.insert(net.name(layer, fed, Which::Weight), flat(&outer(&of_step, &step)));
        if net.find(layer, fed, Which::Bias).is_some() {
            found.insert(net.name(layer, fed, Which::Bias), column_sums(&of_step));
        }
        let here = affine(&transposed(&fed_weight(net, layer, fed)), None, &of_step);
        match (net.plan.step(layer), net.plan.fed) {
            (Some(step), Some(columns)) => {
                for (dx, here) in dx.iter_mut().zip(here) {
                    dx[step * columns..][..columns].copy_from_slice(&here);
                }
            }
            _ => below = here,
        }
    }
    let back = affine(&transposed(&weight(net, layer, map)), None, &of_own);
    let Some(state) = map.state else { return back };
    cell::reach(streams, state, back);
    below
}

// Normalisation

/// A normalisation of rows, without weight and bias.
fn normed(norm: &Norm, z: &Rows) -> Rows {
    let eps = norm.values()[0];
    let each = |rows: &Rows, centred| rows.iter().map(|row| standardise(row, centred, eps)).collect::<Rows>();
    match norm.signature().name {
        "batch" => transposed(&each(&transposed(z), true)),
        "layer" => each(z, true),
        "rms" => each(z, false),
        other => unreachable!("norm {other}"),
    }
}

/// What a normalisation gives, with this weight and bias; none are 1 and 0.
pub fn affine_normed(norm: &Norm, weight: Option<&Vec<f64>>, bias: Option<&Vec<f64>>, z: &Rows) -> Rows {
    let value = |vector: Option<&Vec<f64>>, i: usize, missing: f64| vector.map_or(missing, |vector| vector[i]);
    let affine = |row: &Vec<f64>| {
        row.iter().enumerate().map(|(i, xhat)| value(weight, i, 1.0) * xhat + value(bias, i, 0.0)).collect()
    };
    normed(norm, z).iter().map(affine).collect()
}

/// What a normalisation of a layer gives.
pub fn norm_forward(net: &Net<'_>, layer: usize, part: &Normalise, z: &Rows) -> Rows {
    let [weight, bias] = [Which::Weight, Which::Bias].map(|which| net.find(layer, part.affine, which));
    affine_normed(&part.norm, weight, bias, z)
}

/// From the gradient of a normalisation's output to that of its input.
pub fn norm_backward(net: &Net<'_>, layer: usize, part: &Normalise, z: &Rows, dn: &Rows, found: &mut Tensors) -> Rows {
    let (norm, eps) = (&part.norm, part.norm.values()[0]);
    let name = |which| net.name(layer, part.affine, which);
    found.insert(name(Which::Weight), column_sums(&map2(dn, &normed(norm, z), |d, x| d * x)));
    if net.find(layer, part.affine, Which::Bias).is_some() {
        found.insert(name(Which::Bias), column_sums(dn));
    }
    let weight = net.tensor(layer, part.affine, Which::Weight);
    let dx = dn.iter().map(|row| row.iter().zip(weight).map(|(d, w)| d * w).collect()).collect::<Rows>();
    let each = |z: &Rows, dx: &Rows, centred| {
        z.iter().zip(dx).map(|(z, dx)| standardise_backward(z, centred, eps, dx)).collect::<Rows>()
    };
    match norm.signature().name {
        "batch" => transposed(&each(&transposed(z), &transposed(&dx), true)),
        "layer" => each(z, &dx, true),
        "rms" => each(z, &dx, false),
        other => unreachable!("norm {other}"),
    }
}

// Activation

/// The activation of a part, with the slope it has learned.
pub fn activation(net: &Net<'_>, layer: usize, phi: &Activate) -> Activation {
    let learned = |slope| phi.activation.with_slope(net.tensor(layer, slope, Which::Weight)[0]);
    phi.slope.map_or(phi.activation, learned)
}

/// `phi(z)` of rows.
pub fn activate(activation: &Activation, z: &Rows) -> Rows {
    let inner = |z: &Rows| map(z, |z| activation.both(z).0);
    match activation.shape() {
        Shape::Each => inner(z),
        Shape::Gated => {
            let (value, gate) = apart(z, z[0].len() / 2);
            map2(&value, &inner(&gate), |v, g| v * g)
        }
        Shape::Doubled => beside(&inner(z), &inner(&map(z, |z| -z))),
    }
}

/// `phi'(z)`.
pub fn slope(activation: &Activation, z: f64) -> f64 {
    activation.both(z).1
}

/// What outputs change by as `z` does, by a slope of the function of one number: an entry for every one of `z`, or two
/// where it has two outputs.
pub fn slopes(activation: &Activation, z: &Rows, slope: fn(&Activation, f64) -> f64) -> Rows {
    let inner = |z: &Rows| map(z, |z| slope(activation, z));
    match activation.shape() {
        Shape::Each => inner(z),
        Shape::Gated => {
            let (value, gate) = apart(z, z[0].len() / 2);
            let open = map(&gate, |z| activation.both(z).0);
            beside(&open, &map2(&value, &inner(&gate), |v, d| v * d))
        }
        Shape::Doubled => beside(&inner(z), &map(&inner(&map(z, |z| -z)), |d| -d)),
    }
}

/// From the gradient of `a` to that of `z`.
pub fn activation_backward(
    net: &Net<'_>,
    layer: usize,
    phi: &Activate,
    z: &Rows,
    da: &Rows,
    found: &mut Tensors,
) -> Rows {
    if let Some(slope) = phi.slope {
        let below = map(z, |z| z.min(0.0));
        found.insert(net.name(layer, slope, Which::Weight), vec![dot(&flat(da), &flat(&below))]);
    }
    let activation = activation(net, layer, phi);
    let slopes = slopes(&activation, z, slope);
    match activation.shape() {
        Shape::Each => map2(da, &slopes, |d, s| d * s),
        Shape::Gated => map2(&beside(da, da), &slopes, |d, s| d * s),
        Shape::Doubled => {
            let (first, second) = apart(&map2(da, &slopes, |d, s| d * s), z[0].len());
            map2(&first, &second, |a, b| a + b)
        }
    }
}

// Dropout

/// Rows times the mask of a pass of training, forward and back; as they are in any other.
fn dropped(net: &Net<'_>, drop: &Drop, h: &Rows) -> Rows {
    let Some(masks) = net.masks else { return h.clone() };
    let mut uniforms = vec![0.0_f32; h.len() * h[0].len()];
    Stream::new(masks.seed, drop.layer, Role::Dropout).of_step(masks.step).uniform(0.0, 1.0, &mut uniforms);
    let uniforms = rows(&uniforms.into_iter().map(f64::from).collect::<Vec<_>>(), h[0].len());
    map2(h, &uniforms, |h, u| if u < drop.p { 0.0 } else { h / (1.0 - drop.p) })
}

// Attention

/// Queries, keys and values of one head of one sample, as they come in: a row a token each.
pub fn head(heads: &Heads, qkv: &Rows, sample: usize, head: usize) -> [Rows; 3] {
    let tokens = &qkv[sample * heads.tokens..][..heads.tokens];
    [0, 1, 2].map(|block| {
        let first = (block * heads.count + head) * heads.features;
        tokens.iter().map(|row| row[first..][..heads.features].to_vec()).collect()
    })
}

/// The rows of queries or keys as they meet.
pub fn met(heads: &Heads, rows: &Rows) -> Rows {
    heads.eps.map_or(rows.clone(), |eps| rows.iter().map(|row| standardise(row, false, eps)).collect())
}

/// How many keys a query sees.
pub fn visible(heads: &Heads, query: usize) -> usize {
    if heads.causal { query + 1 } else { heads.tokens }
}

/// Numbers that are positive and add up to 1.
pub fn softmax(logits: &[f64]) -> Vec<f64> {
    let most = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let powers = logits.iter().map(|logit| (logit - most).exp()).collect::<Vec<_>>();
    let sum = powers.iter().sum::<f64>();
    powers.iter().map(|power| power / sum).collect()
}

/// The logits of a query over the keys that it sees.
pub fn logits(heads: &Heads, q: &Rows, k: &Rows, query: usize) -> Vec<f64> {
    k[..visible(heads, query)].iter().map(|k| heads.scale * dot(&q[query], k)).collect()
}

/// What becomes of tokens: `join(sample, head)` has the rows of one head.
pub fn by_head(heads: &Heads, batch: usize, join: impl Fn(usize, usize) -> Rows) -> Rows {
    let samples = (0..batch / heads.tokens).map(|sample| {
        let each = (0..heads.count).map(|head| join(sample, head));
        each.reduce(|all, head| beside(&all, &head)).unwrap_or_default()
    });
    samples.flatten().collect()
}

fn attention(heads: &Heads, qkv: &Rows) -> Rows {
    by_head(heads, qkv.len(), |sample, index| {
        let [q, k, v] = head(heads, qkv, sample, index);
        let (q, k) = (met(heads, &q), met(heads, &k));
        let of_query = |query: usize| {
            let weights = softmax(&logits(heads, &q, &k, query));
            (0..heads.features).map(|i| weights.iter().zip(&v).map(|(w, v)| w * v[i]).sum()).collect()
        };
        (0..heads.tokens).map(of_query).collect()
    })
}

fn attention_backward(heads: &Heads, qkv: &Rows, d: &Rows) -> Rows {
    let zeros = || vec![vec![0.0; heads.features]; heads.tokens];
    let of_head = |sample: usize, index: usize| -> [Rows; 3] {
        let [raw_q, raw_k, v] = head(heads, qkv, sample, index);
        let (q, k) = (met(heads, &raw_q), met(heads, &raw_k));
        let [mut dq, mut dk, mut dv] = [zeros(), zeros(), zeros()];
        for query in 0..heads.tokens {
            let weights = softmax(&logits(heads, &q, &k, query));
            let d = &d[sample * heads.tokens + query][index * heads.features..][..heads.features];
            let of_weights = v.iter().map(|v| dot(d, v)).collect::<Vec<_>>();
            let mean = dot(&weights, &of_weights);
            for (key, weight) in weights.iter().enumerate() {
                let of_logit = heads.scale * weight * (of_weights[key] - mean);
                for i in 0..heads.features {
                    dq[query][i] += of_logit * k[key][i];
                    dk[key][i] += of_logit * q[query][i];
                    dv[key][i] += weight * d[i];
                }
            }
        }
        if let Some(eps) = heads.eps {
            let pulled = |raw: &Rows, d: &Rows| {
                raw.iter().zip(d).map(|(raw, d)| standardise_backward(raw, false, eps, d)).collect::<Rows>()
            };
            (dq, dk) = (pulled(&raw_q, &dq), pulled(&raw_k, &dk));
        }
        [dq, dk, dv]
    };
    let block = |block: usize| by_head(heads, qkv.len(), |sample, index| of_head(sample, index)[block].clone());
    beside(&beside(&block(0), &block(1)), &block(2))
}

fn pooled(pool: &Pool, h: &Rows) -> Rows {
    let of_sample = |tokens: &[Vec<f64>]| match pool.way {
        Pooling::Last => tokens[pool.tokens - 1].clone(),
        Pooling::Mean => column_sums(&tokens.to_vec()).iter().map(|sum| sum / pool.tokens as f64).collect(),
    };
    h.chunks(pool.tokens).map(of_sample).collect()
}

fn pooled_backward(pool: &Pool, batch: usize, d: &Rows) -> Rows {
    let share = |row: usize| match pool.way {
        Pooling::Mean => 1.0 / pool.tokens as f64,
        Pooling::Last => f64::from(u8::from(row % pool.tokens == pool.tokens - 1)),
    };
    (0..batch).map(|row| d[row / pool.tokens].iter().map(|d| share(row) * d).collect()).collect()
}

// Join

/// `(T, 1 - T)` with `T = sigmoid(t)`.
pub fn gate(t: &Rows) -> (Rows, Rows) {
    let sigmoid = |t: f64| Activation::sigmoid().both(t).0;
    (map(t, sigmoid), map(t, |t| sigmoid(-t)))
}

/// What the map of a join gives, a gate's or a projection's, of what went around.
pub fn map_around(net: &Net<'_>, layer: usize, join: &Join, x: &Rows) -> Rows {
    let weight = rows(net.tensor(layer, join.learned, Which::Weight), x[0].len());
    affine(&weight, net.find(layer, join.learned, Which::Bias), x)
}

/// From the gradient of what the map of a join gave to that of what went around.
fn map_around_backward(net: &Net<'_>, layer: usize, join: &Join, x: &Rows, d: &Rows, found: &mut Tensors) -> Rows {
    let name = |which| net.name(layer, join.learned, which);
    found.insert(name(Which::Weight), flat(&outer(d, x)));
    if net.find(layer, join.learned, Which::Bias).is_some() {
        found.insert(name(Which::Bias), column_sums(d));
    }
    affine(&transposed(&rows(net.tensor(layer, join.learned, Which::Weight), x[0].len())), None, d)
}

/// What becomes of what came around a block, and through it.
pub fn join_forward(net: &Net<'_>, layer: usize, join: &Join, x: &Rows, branch: &Rows) -> Rows {
    match join.way {
        skip::Way::Add => map2(x, branch, |x, f| join.around * x + join.scale * f),
        skip::Way::Learned => {
            let alpha = net.tensor(layer, join.learned, Which::Weight)[0];
            map2(x, branch, |x, f| x + join.scale * alpha * f)
        }
        skip::Way::Gate => {
            let (open, shut) = gate(&map_around(net, layer, join, x));
            map2(&map2(&shut, x, |s, x| s * x), &map2(&open, branch, |t, f| t * f), |a, b| a + b)
        }
        skip::Way::Concatenate => beside(x, branch),
        skip::Way::Project => map2(&map_around(net, layer, join, x), branch, |p, f| p + join.scale * f),
    }
}

/// Gradients of what came around the block, and through it.
pub fn join_backward(
    net: &Net<'_>,
    layer: usize,
    join: &Join,
    (x, branch): (&Rows, &Rows),
    dh: &Rows,
    found: &mut Tensors,
) -> (Rows, Rows) {
    match join.way {
        skip::Way::Add => (map(dh, |d| join.around * d), map(dh, |d| join.scale * d)),
        skip::Way::Learned => {
            let alpha = net.tensor(layer, join.learned, Which::Weight)[0];
            let name = net.name(layer, join.learned, Which::Weight);
            found.insert(name, vec![join.scale * dot(&flat(dh), &flat(branch))]);
            (dh.clone(), map(dh, |d| join.scale * alpha * d))
        }
        skip::Way::Gate => {
            let (open, shut) = gate(&map_around(net, layer, join, x));
            let slope = map2(&open, &shut, |t, s| t * s);
            let dt = map2(&map2(branch, x, |f, x| f - x), &map2(dh, &slope, |d, s| d * s), |f, d| f * d);
            let through_gate = map_around_backward(net, layer, join, x, &dt, found);
            let around = map2(&map2(dh, &shut, |d, s| d * s), &through_gate, |a, b| a + b);
            (around, map2(dh, &open, |d, t| d * t))
        }
        skip::Way::Concatenate => apart(dh, x[0].len()),
        skip::Way::Project => (map_around_backward(net, layer, join, x, dh, found), map(dh, |d| join.scale * d)),
    }
}
