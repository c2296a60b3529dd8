//! The gates of a recurrent cell by their formulas, and the readout of every step.

use super::part::At;
use super::rows::{Rows, affine, apart, beside, column_sums, flat, map, map2, outer, rows, transposed};
use super::{Tensors, add};
use crate::activation::Activation;
use crate::cell::{Gates, Reset};
use crate::part::{Cell, Steps, Which};
use std::collections::BTreeMap;

/// What a cell works out on its way.
pub struct Within {
    /// Pre-activations, gate by gate.
    pub z: Vec<Rows>,
    /// The gates.
    pub gates: Vec<Rows>,
    /// The state `c` behind the step, of an LSTM.
    pub c: Rows,
    /// What the recurrent map gives the candidate of a GRU.
    pub recurrent: Rows,
    /// What it gives that of: `h`, or `r h`.
    pub passed: Rows,
}

/// Rows side by side as so many of one length.
pub fn in_parts(all: &Rows, count: usize) -> Vec<Rows> {
    let each = all[0].len() / count;
    let part = |index: usize| all.iter().map(|row| row[index * each..][..each].to_vec()).collect();
    (0..count).map(part).collect()
}

/// All of them side by side.
pub fn joined(parts: &[Rows]) -> Rows {
    parts[1..].iter().fold(parts[0].clone(), |all, part| beside(&all, part))
}

fn times(a: &Rows, b: &Rows) -> Rows {
    map2(a, b, |a, b| a * b)
}

fn plus(a: &Rows, b: &Rows) -> Rows {
    map2(a, b, |a, b| a + b)
}

/// What a gate goes through: the candidate is another function than the others.
pub fn activation(cell: &Cell, gate: usize) -> Activation {
    if gate == 2 { cell.squash } else { Activation::sigmoid() }
}

fn gate(cell: &Cell, index: usize, z: &Rows) -> Rows {
    map(z, |z| activation(cell, index).both(z).0)
}

fn slope(activation: &Activation, z: &Rows) -> Rows {
    map(z, |z| activation.both(z).1)
}

/// The rows of the recurrent map that the candidate of a GRU gets.
pub fn of_candidate(at: &At<'_>, cell: &Cell) -> Rows {
    let weight = at.net.tensor(at.layer, cell.own, Which::Weight);
    let units = at.around()[0].len();
    rows(weight, units)[2 * units..].to_vec()
}

/// What a cell works out of what it gets.
pub fn within(at: &At<'_>, cell: &Cell, got: &Rows) -> Within {
    let (state, none) = (at.around(), Rows::new);
    if cell.gates == Gates::Lstm {
        let z = in_parts(got, 4);
        let gates = z.iter().enumerate().map(|(index, z)| gate(cell, index, z)).collect::<Vec<_>>();
        let c = plus(&times(&gates[1], state), &times(&gates[0], &gates[2]));
        return Within { z, gates, c, recurrent: none(), passed: none() };
    }
    let both = in_parts(got, 6);
    let [r, z] = [0, 1].map(|index| plus(&both[index], &both[index + 3]));
    let [open, keep] = [0, 1].map(|index| gate(cell, index, [&r, &z][index]));
    let (n, recurrent, passed) = if cell.gates == Gates::Gru(Reset::After) {
        (plus(&both[2], &times(&open, &both[5])), both[5].clone(), state.clone())
    } else {
        let passed = times(&open, state);
        let bias = at.net.find(at.layer, cell.own, Which::Bias).map(|bias| bias[2 * state[0].len()..].to_vec());
        let recurrent = affine(&of_candidate(at, cell), bias.as_ref(), &passed);
        (plus(&both[2], &recurrent), recurrent, passed)
    };
    let gates = vec![open, keep, gate(cell, 2, &n)];
    Within { z: vec![r, z, n], gates, c: none(), recurrent, passed }
}

/// The state behind a step: `h`.
pub fn forward(at: &At<'_>, cell: &Cell, got: &Rows) -> Rows {
    let Within { gates, c, .. } = within(at, cell, got);
    if cell.gates == Gates::Lstm {
        return times(&gates[3], &map(&c, |c| cell.squash.both(c).0));
    }
    let fresh = times(&map(&gates[1], |z| 1.0 - z), &gates[2]);
    plus(&fresh, &times(&gates[1], at.around()))
}

/// From the gradients of `h` and `c` behind a step to those of what the cell got, and of the state before the step.
pub fn backward(
    at: &At<'_>,
    cell: &Cell,
    got: &Rows,
    dh: &Rows,
    found: &mut Tensors,
    streams: &mut BTreeMap<usize, Rows>,
) -> Rows {
    let Within { z, gates, c, recurrent, passed } = within(at, cell, got);
    let state = at.around();
    let slopes = z.iter().enumerate().map(|(index, z)| slope(&activation(cell, index), z)).collect::<Vec<_>>();
    if cell.gates == Gates::Lstm {
        let [i, f, g, o] = [0, 1, 2, 3].map(|index| &gates[index]);
        let through = times(&times(dh, o), &slope(&cell.squash, &c));
        let dc = streams.remove(&cell.stream).map_or(through.clone(), |dc| plus(&dc, &through));
        streams.insert(cell.stream, times(&dc, f));
        let d = [times(&dc, g), times(&dc, state), times(&dc, i), times(dh, &map(&c, |c| cell.squash.both(c).0))];
        return joined(&d.iter().zip(&slopes).map(|(d, slope)| times(d, slope)).collect::<Vec<_>>());
    }
    let [r, z, n] = [0, 1, 2].map(|index| &gates[index]);
    let dn = times(&times(dh, &map(z, |z| 1.0 - z)), &slopes[2]);
    let dz = times(&times(dh, &map2(state, n, |h, n| h - n)), &slopes[1]);
    let mut straight = times(dh, z);
    let (dr, through) = if cell.gates == Gates::Gru(Reset::After) {
        (times(&dn, &recurrent), times(&dn, r))
    } else {
        let weight = of_candidate(at, cell);
        let d = affine(&transposed(&weight), None, &dn);
        straight = plus(&straight, &times(&d, r));
        let name = |which| at.net.name(at.layer, cell.own, which);
        let others = vec![0.0; 2 * weight.len() * weight[0].len()];
        add(found, name(Which::Weight), [others, flat(&outer(&dn, &passed))].concat());
        if at.net.find(at.layer, cell.own, Which::Bias).is_some() {
            add(found, name(Which::Bias), [vec![0.0; 2 * weight.len()], column_sums(&dn)].concat());
        }
        (times(&d, state), map(&dn, |_| 0.0))
    };
    reach(streams, cell.stream, straight);
    let dr = times(&dr, &slopes[0]);
    joined(&[dr.clone(), dz.clone(), dn, dr, dz, through])
}

/// A gradient reaches a stream.
pub fn reach(streams: &mut BTreeMap<usize, Rows>, stream: usize, d: Rows) {
    match streams.get_mut(&stream) {
        Some(sum) => *sum = plus(sum, &d),
        None => drop(streams.insert(stream, d)),
    }
}

/// The readout of every step.
fn readout(at: &At<'_>, steps: &Steps, columns: usize) -> Rows {
    rows(at.net.tensor(at.layer, steps.own, Which::Weight), columns)
}

/// The outputs of all steps.
pub fn steps_forward(at: &At<'_>, steps: &Steps) -> Rows {
    let bias = at.net.find(at.layer, steps.own, Which::Bias);
    let output = |value: usize| {
        let h = &at.values[value];
        affine(&readout(at, steps, h[0].len()), bias, h)
    };
    joined(&at.net.plan.states().map(output).collect::<Vec<_>>())
}

/// From the gradient of all outputs to that of every state, which reaches its stream.
pub fn steps_backward(
    at: &At<'_>,
    steps: &Steps,
    d: &Rows,
    found: &mut Tensors,
    streams: &mut BTreeMap<usize, Rows>,
) -> Rows {
    let name = |which| at.net.name(at.layer, steps.own, which);
    let mut last = Rows::new();
    for (step, (value, d)) in at.net.plan.states().zip(in_parts(d, steps.count)).enumerate() {
        let h = &at.values[value];
        add(found, name(Which::Weight), flat(&outer(&d, h)));
        if at.net.find(at.layer, steps.own, Which::Bias).is_some() {
            add(found, name(Which::Bias), column_sums(&d));
        }
        reach(streams, steps.first + step, affine(&transposed(&readout(at, steps, h[0].len())), None, &d));
        last = map(h, |_| 0.0);
    }
    last
}

/// What a map of a recurrent net gets: the state, and what the step is fed.
pub fn map_inputs(at: &At<'_>, fed: Option<usize>, state: Option<usize>, got: &Rows) -> (Rows, Option<Rows>) {
    let plan = at.net.plan;
    let own = if state.is_some() { at.around().clone() } else { got.clone() };
    let step = plan.step(at.layer).map(|step| super::part::step_input(plan.fed.unwrap_or_default(), at.x, step));
    (own, fed.map(|_| step.unwrap_or_else(|| got.clone())))
}

/// The halves of what a map gives whose two products stay apart, that of the recurrent map first.
pub fn halves(d: &Rows, are_apart: bool) -> (Rows, Rows) {
    if !are_apart {
        return (d.clone(), d.clone());
    }
    let (fed, own) = apart(d, d[0].len() / 2);
    (own, fed)
}
