//! The oracle: plain loops over plain vectors in `f64`, too simple to be wrong. Nothing is rescaled, packed or fused.

use crate::activation::Activation;
use crate::spec::Spec;

/// Rows of numbers.
pub type Rows = Vec<Vec<f64>>;

/// One linear map: weights `(out, in)` and biases.
pub type Linear = (Rows, Vec<f64>);

/// Everything a forward pass computes, a batch of rows for each layer.
#[derive(Debug, Clone)]
pub struct Pass {
    /// Inputs of the linear maps: `x`, then every `h`.
    pub inputs: Vec<Rows>,
    /// Pre-activations of the hidden layers.
    pub z: Vec<Rows>,
    /// Their activations.
    pub a: Vec<Rows>,
    /// The output.
    pub y: Rows,
}

/// Everything a backward pass computes.
#[derive(Debug, Clone)]
pub struct Gradients {
    /// `dL/dW`, the readout's last.
    pub weights: Vec<Rows>,
    /// `dL/db`, the readout's last.
    pub biases: Vec<Vec<f64>>,
    /// `dL/dz` of the hidden layers.
    pub preactivations: Vec<Rows>,
    /// `dL/dx`.
    pub input: Rows,
}

/// The block input that a residual skip adds after this layer, with the branch factor.
pub fn skip(spec: &Spec, layer: usize) -> Option<(usize, f64)> {
    let residual = spec.residual?;
    let ends_here = (layer + 1).is_multiple_of(residual.block);
    let from = layer + 1 - if ends_here { residual.block } else { return None };
    (spec.fan_in(from) == *spec.width.at(layer)).then_some((from, residual.branch_scale))
}

/// `W x + b` for every row of `x`.
pub fn affine((weight, bias): &Linear, x: &Rows) -> Rows {
    x.iter()
        .map(|x| weight.iter().zip(bias).map(|(w, b)| w.iter().zip(x).map(|(w, x)| w * x).sum::<f64>() + b).collect())
        .collect()
}

fn map2(a: &Rows, b: &Rows, f: impl Fn(f64, f64) -> f64) -> Rows {
    a.iter().zip(b).map(|(a, b)| a.iter().zip(b).map(|(a, b)| f(*a, *b)).collect()).collect()
}

fn map(a: &Rows, f: impl Fn(f64) -> f64) -> Rows {
    a.iter().map(|a| a.iter().map(|a| f(*a)).collect()).collect()
}

fn value(activation: &Activation, z: f64) -> f64 {
    activation.both(z).0
}

fn slope(activation: &Activation, z: f64) -> f64 {
    activation.both(z).1
}

/// The net on a batch.
pub fn forward(spec: &Spec, maps: &[Linear], x: &Rows) -> Pass {
    let mut pass = Pass { inputs: vec![x.clone()], z: Vec::new(), a: Vec::new(), y: Vec::new() };
    for (layer, map_of_layer) in maps.iter().enumerate().take(spec.depth) {
        let z = affine(map_of_layer, &pass.inputs[layer]);
        let a = map(&z, |z| value(spec.activation.at(layer), z));
        let h = match skip(spec, layer) {
            Some((from, scale)) => map2(&pass.inputs[from], &a, |h, a| h + scale * a),
            None => a.clone(),
        };
        pass.z.push(z);
        pass.a.push(a);
        pass.inputs.push(h);
    }
    pass.y = match maps.get(spec.depth) {
        Some(readout) => affine(readout, &pass.inputs[spec.depth]),
        None => pass.inputs[spec.depth].clone(),
    };
    pass
}

/// `(dL/dW, dL/db, dL/dinput)` of a linear map.
fn affine_backward((weight, _): &Linear, input: &Rows, delta: &Rows) -> (Rows, Vec<f64>, Rows) {
    let over_batch = |f: &dyn Fn(usize) -> f64| (0..delta.len()).map(f).sum::<f64>();
    let (outs, ins) = (weight.len(), weight[0].len());
    let dw = (0..outs).map(|o| (0..ins).map(|i| over_batch(&|s| delta[s][o] * input[s][i])).collect()).collect();
    let db = (0..outs).map(|o| over_batch(&|s| delta[s][o])).collect();
    let dx = delta.iter().map(|d| (0..ins).map(|i| (0..outs).map(|o| weight[o][i] * d[o]).sum()).collect()).collect();
    (dw, db, dx)
}

/// Every gradient from the cotangent `dL/dy`.
pub fn backward(spec: &Spec, maps: &[Linear], pass: &Pass, cotangent: &Rows) -> Gradients {
    let mut all = Gradients { weights: Vec::new(), biases: Vec::new(), preactivations: Vec::new(), input: Vec::new() };
    // dL/dh of every layer input, filled from the output side; skips add to them.
    let mut dh = pass.inputs.iter().map(|h| map(h, |_| 0.0)).collect::<Vec<_>>();
    if let Some(readout) = maps.get(spec.depth) {
        let (dw, db, dx) = affine_backward(readout, &pass.inputs[spec.depth], cotangent);
        all.weights.insert(0, dw);
        all.biases.insert(0, db);
        dh[spec.depth] = dx;
    } else {
        dh[spec.depth].clone_from(cotangent);
    }
    for layer in (0..spec.depth).rev() {
        let mut da = dh[layer + 1].clone();
        if let Some((from, scale)) = skip(spec, layer) {
            dh[from] = map2(&dh[from], &da, |sum, d| sum + d);
            da = map(&da, |d| scale * d);
        }
        let delta = map2(&da, &pass.z[layer], |d, z| d * slope(spec.activation.at(layer), z));
        let (dw, db, dx) = affine_backward(&maps[layer], &pass.inputs[layer], &delta);
        dh[layer] = map2(&dh[layer], &dx, |sum, d| sum + d);
        all.weights.insert(0, dw);
        all.biases.insert(0, db);
        all.preactivations.insert(0, delta);
    }
    all.input = dh.swap_remove(0);
    all
}
