//! Analytic gradients against central differences, at any depth.
//!
//! The difference of two outputs of a deep net drowns a gradient of `1e-30` in rounding. So the differences are taken
//! where they are accurate, of each activation, normalisation, gate, weight transform and loss by itself (fourth order,
//! never across a kink), and chained forward through the plain stages of `naive` with the exponent carried. The
//! directional derivative found that way is compared with the kernel's gradient along the same random direction.

mod differences;
mod tangent;

use crate::activation::Activation;
use crate::error::{Cancel, Error, Result};
use crate::forward::{Trace, forward};
use crate::gradients::{Start, gradients};
use crate::loss::Loss;
use crate::naive::{self, Net, Pass, Rows, Tensors, cell, part, rows};
use crate::part::Part;
use crate::plan::{Placed, Plan};
use crate::rng::{Role, Stream};
use crate::skip;
use crate::weights::Weights;
use differences::{bend, slopes_of};
use std::sync::Arc;
use tangent::{Motion, Point};

/// Every layer by itself at the point where the kernels were: in a chaotic net their roundings soon lead to other
/// points than the twin's.
fn stages(net: &Net<'_>, weights: &Weights<f64>, x: &Rows, cancel: &Cancel) -> Result<Pass> {
    let plan = net.plan;
    let mut trace = Trace::default();
    trace.set_input(plan, x.len(), |sample, feature| x[sample][feature]);
    forward(plan, weights, &mut trace, 0..plan.depth(), &mut (), cancel)?;
    let of_kernels = |value: usize| rows(&trace.value(value).to_rows(), plan.values[value]);
    let mut values = vec![of_kernels(0)];
    let mut steps = Vec::with_capacity(plan.layers.len());
    for (index, layer) in plan.layers.iter().enumerate() {
        steps.push(naive::step(net, index, &mut values, x));
        if index < plan.depth() {
            let states = layer.parts.iter().filter_map(|placed| placed.next);
            states.chain([layer.output]).for_each(|value| values[value] = of_kernels(value));
        }
    }
    Ok(Pass { values, steps })
}

/// The first layer whose input, or the depth whose output, is not finite or too small for numbers without an exponent.
fn out_of_range(plan: &Plan, pass: &Pass) -> Option<usize> {
    let largest =
        |h: &Rows| h.iter().flatten().fold(0.0, |m: f64, v| if v.is_nan() { f64::NAN } else { m.max(v.abs()) });
    (0..=plan.depth()).find(|&layer| {
        let largest = largest(&pass.values[plan.value(layer)]);
        !largest.is_finite() || (largest > 0.0 && largest < 1e-290)
    })
}

/// The slopes of a part that got this, by differences: of an activation or a gate.
fn slopes_of_part(at: &part::At<'_>, got: &Rows) -> Rows {
    let part::At { net, layer, placed, values, .. } = *at;
    match &placed.part {
        Part::Cell(part) => {
            let z = cell::within(at, part, got).z.into_iter().enumerate();
            let slope = |(gate, z)| part::slopes(&cell::activation(part, gate), &z, bend);
            // Of a GRU with a gate less, so that all are quarters.
            let mut all = z.map(slope).collect::<Vec<_>>();
            all.resize(4, all[0].clone());
            all[1..].iter().fold(all[0].clone(), |all, gate| naive::beside(&all, gate))
        }
        Part::Phi(phi) => part::slopes(&part::activation(net, layer, phi), got, bend),
        Part::Join(join) if join.way == skip::Way::Gate => {
            let gate = part::map_around(net, layer, join, &values[placed.around.unwrap_or_default()]);
            part::slopes(&Activation::sigmoid(), &gate, bend)
        }
        _ => Rows::new(),
    }
}

/// Relative error of every tensor's gradient, named as in a state dict, `input` last. A loss takes drawn targets;
/// without one a drawn cotangent starts the backward pass.
pub fn gradcheck(
    plan: &Arc<Plan>,
    seed: u64,
    batch: usize,
    loss: Option<Loss>,
    cancel: &Cancel,
) -> Result<Vec<(String, f64)>> {
    let weights = Arc::new(Weights::<f64>::drawn(plan, seed, 1, cancel)?);
    let normals = |role, layer, count| {
        let mut all = vec![0.0; count];
        Stream::new(seed, layer, role).normal::<f64>(&mut all);
        all
    };
    let x = normals(Role::Input, 0, batch * plan.columns);
    let start = match loss {
        None => Start::Cotangent(normals(Role::Cotangent, 0, batch * plan.output())),
        Some(loss) => {
            let mut uniform = vec![0.0; batch * plan.output()];
            Stream::new(seed, 0, Role::Cotangent).uniform::<f64>(0.0, 1.0, &mut uniform);
            Start::Loss(loss, loss.targets(&uniform, plan.output_row()))
        }
    };
    if plan.layers.iter().flat_map(|layer| &layer.parts).any(|placed| matches!(placed.part, Part::Cut(_))) {
        return Err(Error::Value(
            "truncate cuts the gradient on purpose, so that it is not the derivative of the loss; check the net with \
             truncate=None"
                .to_owned(),
        ));
    }
    let all = gradients(plan, &weights, &x, &start, 1, |_| (), cancel)?;

    let tensors = plan.tensors();
    let state =
        tensors.iter().map(|(_, name, _)| name.clone()).zip(weights.tensors(plan, cancel)?).collect::<Tensors>();
    let x = rows(&x, plan.columns);
    let net = Net { plan, state: &state, masks: None };
    let pass = stages(&net, &weights, &x, cancel)?;
    if let Some(layer) = out_of_range(plan, &pass) {
        return Err(Error::Value(format!(
            "cannot check this net: its forward pass leaves the range of float64 at layer {}, and the plain twin that it \
             is checked against carries no exponent; use less depth or another gain",
            layer + 1
        )));
    }
    let cotangent = match &start {
        Start::Cotangent(cotangent) => cotangent.clone(),
        Start::Loss(loss, targets) => slopes_of(loss, &rows(&pass.y().concat(), plan.output_row()), targets).concat(),
    };
    let cotangent = rows(&cotangent, plan.last_value(batch).0);
    if !cotangent.iter().flatten().all(|c| c.is_finite()) {
        return Err(Error::Value(
            "cannot check this net: its loss leaves the range of float64; use less depth or another gain".to_owned(),
        ));
    }
    let layers = || plan.layers.iter().enumerate().zip(&pass.steps);
    let slopes = layers().map(|((layer, placed), step)| {
        let parts = placed.parts.iter().zip(&step.got);
        let at = |placed| part::At { net: &net, layer, placed, values: &pass.values, x: &x };
        parts.map(|(placed, got)| slopes_of_part(&at(placed), got)).collect()
    });
    let slopes = slopes.collect();
    let in_use = layers().map(|((layer, placed), _)| {
        let of_part = |placed: &Placed| match &placed.part {
            Part::Map(map) => {
                let back = weights.layer(plan, layer)[map.own].linear().transformed.as_ref().map(|(_, back)| back);
                (part::weight(&net, layer, map), back)
            }
            _ => (Rows::new(), None),
        };
        placed.parts.iter().map(of_part).collect()
    });
    let in_use = in_use.collect();
    let point = Point { net, x: &x, cotangent: &cotangent, weights: in_use, slopes, pass };

    let mut errors = Vec::new();
    for (index, ((id, name, shape), gradient)) in tensors.iter().zip(&all.tensors).enumerate() {
        cancel.check()?;
        let direction = normals(Role::Direction, 2 * index, shape.iter().product());
        // The first layer that has the tensor.
        let first = plan.layers.iter().position(|layer| layer.slot == id.slot).unwrap_or_default();
        let noise = Stream::new(seed, 2 * index + 1, Role::Direction);
        let error = point.error(
            gradient,
            &direction,
            Motion { tensor: Some((*id, direction.clone())), x: None, first, noise: None },
            noise,
        );
        errors.push((name.clone(), error));
    }
    let index = 2 * all.tensors.len();
    let direction = normals(Role::Direction, index, batch * plan.columns);
    let motion = Motion { tensor: None, x: Some(rows(&direction, plan.columns / plan.tokens)), first: 0, noise: None };
    let noise = Stream::new(seed, index + 1, Role::Direction);
    errors.push(("input".to_owned(), point.error(&all.input, &direction, motion, noise)));
    Ok(errors)
}
