//! The oracle: plain loops over plain vectors in `f64`, too simple to be wrong. Nothing is rescaled, packed or fused.

use crate::activation::{Activation, Shape};
use crate::norm::Norm;
use crate::skip::{Join, Order};
use crate::spec::{Layer, Spec};
use crate::transform::Transform;
use std::collections::BTreeMap;

/// Rows of numbers.
pub type Rows = Vec<Vec<f64>>;

/// Parameters or their gradients by the names of a state dict, in C order; weights are those before a transform.
pub type Tensors = BTreeMap<String, Vec<f64>>;

/// Everything a forward pass computes, a batch of rows each.
#[derive(Debug, Clone)]
pub struct Pass {
    /// Inputs of the hidden layers: `x`, or zeros where every step gets its own, then every `h`.
    pub inputs: Vec<Rows>,
    /// The rest of the hidden layers.
    pub steps: Vec<Step>,
    /// The output.
    pub y: Rows,
}

/// What happens within a hidden layer. What a layer does not have is empty.
#[derive(Debug, Clone, Default)]
pub struct Step {
    /// What the linear map got.
    pub mapped: Rows,
    /// What it made of it.
    pub z: Rows,
    /// What the normalisation got.
    pub unnormed: Rows,
    /// What the activation got.
    pub bent: Rows,
    /// What it made of it, normalised if the normalisation comes after it.
    pub a: Rows,
    /// What came through a block that ends here.
    pub branch: Rows,
    /// `W_T x + b_T` of the gate.
    pub gate: Rows,
}

/// Everything a backward pass computes.
#[derive(Debug, Clone)]
pub struct Gradients {
    /// Of every parameter: sums over the layers that share it.
    pub tensors: Tensors,
    /// What each hidden layer adds to them.
    pub steps: Vec<Tensors>,
    /// `dL/dz` of the hidden layers.
    pub preactivations: Vec<Rows>,
    /// `dL/dx`.
    pub input: Rows,
}

// Rows

/// Two batches entry by entry.
pub fn map2(a: &Rows, b: &Rows, f: impl Fn(f64, f64) -> f64) -> Rows {
    a.iter().zip(b).map(|(a, b)| a.iter().zip(b).map(|(a, b)| f(*a, *b)).collect()).collect()
}

fn map(a: &Rows, f: impl Fn(f64) -> f64) -> Rows {
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

fn flat(rows: &Rows) -> Vec<f64> {
    rows.iter().flatten().copied().collect()
}

/// Numbers in C order as rows of so many columns.
pub fn rows(flat: &[f64], columns: usize) -> Rows {
    flat.chunks(columns).map(<[f64]>::to_vec).collect()
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// `W x + b` for every row of `x`; no biases are zeros.
pub fn affine(weight: &Rows, bias: Option<&Vec<f64>>, x: &Rows) -> Rows {
    let bias = |o: usize| bias.map_or(0.0, |bias| bias[o]);
    x.iter().map(|x| weight.iter().enumerate().map(|(o, w)| dot(w, x) + bias(o)).collect()).collect()
}

/// `dL/dW` of a linear map.
fn outer(delta: &Rows, input: &Rows) -> Rows {
    let entry = |o: usize, i: usize| delta.iter().zip(input).map(|(d, x)| d[o] * x[i]).sum();
    (0..delta[0].len()).map(|o| (0..input[0].len()).map(|i| entry(o, i)).collect()).collect()
}

/// Sums over the rows: `dL/db` of a linear map.
fn column_sums(rows: &Rows) -> Vec<f64> {
    transposed(rows).iter().map(|column| column.iter().sum()).collect()
}

// Parameters

/// The state-dict name of what belongs to a layer; all layers of a tied net are its layer 0.
pub fn name(spec: &Spec, module: &str, layer: usize, tensor: &str) -> String {
    format!("{module}.{}.{tensor}", if spec.tied { 0 } else { layer })
}

/// The weights that a hidden layer uses: transformed, if the net transforms them.
pub fn weight(spec: &Spec, state: &Tensors, layer: usize, fan_in: usize) -> Rows {
    let raw = rows(&state[&name(spec, "layers", layer, "weight")], fan_in);
    spec.transform.as_ref().map_or(raw.clone(), |transform| transformed(transform, &raw))
}

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

/// The largest singular value of a matrix.
#[derive(Debug, Clone)]
pub struct Singular {
    /// The value.
    pub value: f64,
    /// The next largest, 0 if there is none.
    pub next: f64,
    /// Its left vector.
    pub left: Vec<f64>,
    /// Its right vector.
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

// Normalisation

/// Mean and biased variance.
fn moments(values: &[f64]) -> (f64, f64) {
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
fn standardise_backward(values: &[f64], centred: bool, eps: f64, gradient: &[f64]) -> Vec<f64> {
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

/// A layer's normalisation.
pub fn norm_forward(spec: &Spec, norm: &Norm, state: &Tensors, layer: usize, z: &Rows) -> Rows {
    let [weight, bias] = ["weight", "bias"].map(|tensor| state.get(&name(spec, "norms", layer, tensor)));
    let value = |vector: Option<&Vec<f64>>, i: usize, missing: f64| vector.map_or(missing, |vector| vector[i]);
    let affine = |row: &Vec<f64>| {
        row.iter().enumerate().map(|(i, xhat)| value(weight, i, 1.0) * xhat + value(bias, i, 0.0)).collect()
    };
    normed(norm, z).iter().map(affine).collect()
}

fn norm_backward(
    spec: &Spec,
    norm: &Norm,
    state: &Tensors,
    layer: usize,
    z: &Rows,
    dn: &Rows,
    found: &mut Tensors,
) -> Rows {
    let key = |tensor: &str| name(spec, "norms", layer, tensor);
    let eps = norm.values()[0];
    found.insert(key("weight"), column_sums(&map2(dn, &normed(norm, z), |d, x| d * x)));
    if state.contains_key(&key("bias")) {
        found.insert(key("bias"), column_sums(dn));
    }
    let weight = &state[&key("weight")];
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

/// A layer's activation, with the slope it has learned.
pub fn activation(spec: &Spec, state: &Tensors, layer: usize, shape: &Layer) -> Activation {
    match shape.activation.learned() {
        Some(_) => shape.activation.with_slope(state[&name(spec, "activations", layer, "weight")][0]),
        None => shape.activation,
    }
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

fn activation_backward(activation: &Activation, z: &Rows, da: &Rows) -> Rows {
    let slopes = slopes(activation, z, slope);
    match activation.shape() {
        Shape::Each => map2(da, &slopes, |d, s| d * s),
        Shape::Gated => map2(&beside(da, da), &slopes, |d, s| d * s),
        Shape::Doubled => {
            let (first, second) = apart(&map2(da, &slopes, |d, s| d * s), z[0].len());
            map2(&first, &second, |a, b| a + b)
        }
    }
}

// Join

/// `(T, 1 - T)` with `T = sigmoid(t)`.
pub fn gate(t: &Rows) -> (Rows, Rows) {
    let sigmoid = |t: f64| Activation::sigmoid().both(t).0;
    (map(t, sigmoid), map(t, |t| sigmoid(-t)))
}

/// What becomes of what came around a block, and through it.
fn join(spec: &Spec, state: &Tensors, layer: usize, x: &Rows, step: &mut Step) -> Rows {
    let branch = &step.branch;
    match spec.skip.map(|skip| skip.join()) {
        None | Some(Join::Add) => map2(x, branch, |x, f| x + spec.branch_scale * f),
        Some(Join::Learned) => {
            let alpha = state[&name(spec, "skips", layer, "weight")][0];
            map2(x, branch, |x, f| x + spec.branch_scale * alpha * f)
        }
        Some(Join::Gate) => {
            let [weight, bias] = ["weight", "bias"].map(|tensor| &state[&name(spec, "gates", layer, tensor)]);
            step.gate = affine(&rows(weight, x[0].len()), Some(bias), x);
            let (open, shut) = gate(&step.gate);
            map2(&map2(&shut, x, |s, x| s * x), &map2(&open, branch, |t, f| t * f), |a, b| a + b)
        }
        Some(Join::Concatenate) => beside(x, branch),
    }
}

/// Gradients of what came around the block, and through it.
fn join_backward(
    spec: &Spec,
    state: &Tensors,
    layer: usize,
    x: &Rows,
    step: &Step,
    dh: &Rows,
    found: &mut Tensors,
) -> (Rows, Rows) {
    match spec.skip.map(|skip| skip.join()) {
        None | Some(Join::Add) => (dh.clone(), map(dh, |d| spec.branch_scale * d)),
        Some(Join::Learned) => {
            let key = name(spec, "skips", layer, "weight");
            let alpha = state[&key][0];
            found.insert(key, vec![spec.branch_scale * dot(&flat(dh), &flat(&step.branch))]);
            (dh.clone(), map(dh, |d| spec.branch_scale * alpha * d))
        }
        Some(Join::Gate) => {
            let [weight, bias] = ["weight", "bias"].map(|tensor| name(spec, "gates", layer, tensor));
            let (open, shut) = gate(&step.gate);
            let slope = map2(&open, &shut, |t, s| t * s);
            let dt = map2(&map2(&step.branch, x, |f, x| f - x), &map2(dh, &slope, |d, s| d * s), |f, d| f * d);
            let through_gate = affine(&transposed(&rows(&state[&weight], x[0].len())), None, &dt);
            found.insert(weight, flat(&outer(&dt, x)));
            found.insert(bias, column_sums(&dt));
            let around = map2(&map2(dh, &shut, |d, s| d * s), &through_gate, |a, b| a + b);
            (around, map2(dh, &open, |d, t| d * t))
        }
        Some(Join::Concatenate) => apart(dh, x[0].len()),
    }
}

// The net

/// The input of a step of a net whose steps get inputs of their own.
pub fn step_input(spec: &Spec, x: &Rows, step: usize) -> Rows {
    x.iter().map(|x| x[step * spec.in_features..][..spec.in_features].to_vec()).collect()
}

/// A layer's linear map.
fn linear(spec: &Spec, state: &Tensors, layer: usize, h: &Rows, x: &Rows) -> Rows {
    let bias = &state[&name(spec, "layers", layer, "bias")];
    let z = affine(&weight(spec, state, layer, h[0].len()), Some(bias), h);
    if !spec.fed {
        return z;
    }
    let feed = rows(&state["inputs.weight"], spec.in_features);
    map2(&z, &affine(&feed, None, &step_input(spec, x, layer)), |z, u| z + u)
}

/// From `dL/dz` of a layer's linear map to the gradient of what it got; that of an input of its own goes into `dx`.
#[allow(clippy::too_many_arguments)] // No struct that the kernels might share.
fn linear_backward(
    spec: &Spec,
    state: &Tensors,
    layer: usize,
    step: &Step,
    x: &Rows,
    delta: &Rows,
    found: &mut Tensors,
    dx: &mut Rows,
) -> Rows {
    let key = |tensor: &str| name(spec, "layers", layer, tensor);
    let fan_in = step.mapped[0].len();
    let mut dw = outer(delta, &step.mapped);
    if let Some(transform) = &spec.transform {
        dw = transform_backward(transform, &rows(&state[&key("weight")], fan_in), &dw);
    }
    found.insert(key("weight"), flat(&dw));
    found.insert(key("bias"), column_sums(delta));
    if spec.fed {
        let feed = rows(&state["inputs.weight"], spec.in_features);
        found.insert("inputs.weight".to_owned(), flat(&outer(delta, &step_input(spec, x, layer))));
        for (dx, here) in dx.iter_mut().zip(affine(&transposed(&feed), None, delta)) {
            dx[layer * spec.in_features..][..spec.in_features].copy_from_slice(&here);
        }
    }
    affine(&transposed(&weight(spec, state, layer, fan_in)), None, delta)
}

/// One hidden layer, from the inputs of the layers so far; gives its output too.
pub fn step(spec: &Spec, layers: &[Layer], state: &Tensors, x: &Rows, inputs: &[Rows]) -> (Step, Rows) {
    let (layer, mut step) = (inputs.len() - 1, Step::default());
    let shape = &layers[layer];
    let before = shape.order == Order::Pre;
    let mut h = inputs[layer].clone();
    let map_here = |step: &mut Step, h: &Rows| {
        step.mapped.clone_from(h);
        step.z = linear(spec, state, layer, h, x);
        step.z.clone()
    };
    let norm_here = |step: &mut Step, h: &Rows| match &spec.norm {
        None => h.clone(),
        Some(norm) => {
            step.unnormed.clone_from(h);
            norm_forward(spec, norm, state, layer, h)
        }
    };
    let join_here = |step: &mut Step, h: &Rows| match shape.from {
        None => h.clone(),
        Some(from) => {
            step.branch.clone_from(h);
            join(spec, state, layer, &inputs[from], step)
        }
    };
    if !before {
        h = map_here(&mut step, &h);
    }
    if !spec.post_norm {
        h = norm_here(&mut step, &h);
    }
    if shape.order == Order::Post {
        h = join_here(&mut step, &h);
    }
    step.bent.clone_from(&h);
    h = activate(&activation(spec, state, layer, shape), &h);
    if spec.post_norm {
        h = norm_here(&mut step, &h);
    }
    step.a.clone_from(&h);
    if before {
        h = map_here(&mut step, &h);
    }
    if shape.order != Order::Post {
        h = join_here(&mut step, &h);
    }
    (step, h)
}

/// What the first layer gets: `x`, or zeros where every step gets its own.
pub fn first_input(spec: &Spec, layers: &[Layer], x: &Rows) -> Rows {
    if spec.fed { vec![vec![0.0; layers[0].input]; x.len()] } else { x.clone() }
}

/// The net on a batch. `layers` are those of the spec.
pub fn forward(spec: &Spec, layers: &[Layer], state: &Tensors, x: &Rows) -> Pass {
    let mut pass = Pass { inputs: vec![first_input(spec, layers, x)], steps: Vec::new(), y: Vec::new() };
    for _ in layers {
        let (here, h) = step(spec, layers, state, x, &pass.inputs);
        pass.inputs.push(h);
        pass.steps.push(here);
    }
    let last = &pass.inputs[layers.len()];
    pass.y = match state.get("readout.weight") {
        Some(weight) => affine(&rows(weight, last[0].len()), state.get("readout.bias"), last),
        None => last.clone(),
    };
    pass
}

/// Every gradient from the cotangent `dL/dy`.
pub fn backward(spec: &Spec, layers: &[Layer], state: &Tensors, x: &Rows, pass: &Pass, cotangent: &Rows) -> Gradients {
    let mut all = Gradients {
        tensors: Tensors::new(),
        steps: vec![Tensors::new(); layers.len()],
        preactivations: vec![Rows::new(); layers.len()],
        input: map(x, |_| 0.0),
    };
    // dL/dh of every layer input, filled from the output side; skips add to them.
    let mut dh = pass.inputs.iter().map(|h| map(h, |_| 0.0)).collect::<Vec<_>>();
    let last = &pass.inputs[layers.len()];
    if let Some(weight) = state.get("readout.weight") {
        all.tensors.insert("readout.weight".to_owned(), flat(&outer(cotangent, last)));
        all.tensors.insert("readout.bias".to_owned(), column_sums(cotangent));
        dh[layers.len()] = affine(&transposed(&rows(weight, last[0].len())), None, cotangent);
    } else {
        dh[layers.len()].clone_from(cotangent);
    }
    for (layer, shape) in layers.iter().enumerate().rev() {
        let (step, found) = (&pass.steps[layer], &mut all.steps[layer]);
        let norm_here = |d: Rows, found: &mut Tensors| match &spec.norm {
            None => d,
            Some(norm) => norm_backward(spec, norm, state, layer, &step.unnormed, &d, found),
        };
        let join_here = |d: Rows, dh: &mut Vec<Rows>, found: &mut Tensors| match shape.from {
            None => d,
            Some(from) => {
                let (around, through) = join_backward(spec, state, layer, &pass.inputs[from], step, &d, found);
                dh[from] = map2(&dh[from], &around, |sum, d| sum + d);
                through
            }
        };
        // The parts of `step`, from the last to the first.
        let mut d = dh[layer + 1].clone();
        if shape.order != Order::Post {
            d = join_here(d, &mut dh, found);
        }
        if shape.order == Order::Pre {
            all.preactivations[layer].clone_from(&d);
            d = linear_backward(spec, state, layer, step, x, &d, found, &mut all.input);
        }
        if spec.post_norm {
            d = norm_here(d, found);
        }
        if shape.activation.learned().is_some() {
            let below = map(&step.bent, |z| z.min(0.0));
            found.insert(name(spec, "activations", layer, "weight"), vec![dot(&flat(&d), &flat(&below))]);
        }
        d = activation_backward(&activation(spec, state, layer, shape), &step.bent, &d);
        if shape.order == Order::Post {
            d = join_here(d, &mut dh, found);
        }
        if !spec.post_norm {
            d = norm_here(d, found);
        }
        if shape.order != Order::Pre {
            all.preactivations[layer].clone_from(&d);
            d = linear_backward(spec, state, layer, step, x, &d, found, &mut all.input);
        }
        dh[layer] = map2(&dh[layer], &d, |sum, d| sum + d);
    }
    for (key, values) in all.steps.iter().flatten() {
        let sum = all.tensors.entry(key.clone()).or_insert_with(|| vec![0.0; values.len()]);
        sum.iter_mut().zip(values).for_each(|(sum, value)| *sum += value);
    }
    if !spec.fed {
        all.input = dh.swap_remove(0);
    }
    all
}
