//! How a net changes along a direction: tangents pushed forward through its parts, with the exponent carried.

use super::differences::{attention, bend, normed, standardise, stretch, transformed};
use crate::activation::Shape;
use crate::cell::{Gates, Reset};
use crate::kernel::Tensor;
use crate::naive::cell::{self, Within};
use crate::naive::{self, Net, Pass, Rows, apart, beside, map2, part, rows};
use crate::part::{Activate, Cell, Join, Map, Normalise, Part, Steps, TensorId, Which};
use crate::plan::Placed;
use crate::rng::Stream;
use crate::simd::{exponent_of, times_power_of_two};
use crate::skip;
use crate::transform::Back;
use std::collections::BTreeMap;

/// A gradient below this share of the terms that add up to it, at any stage, is what rounding leaves of a sum that is
/// zero, as that of a bias before a batch normalisation: errors are measured against this share then.
const CANCELLED: f64 = 1e-5;
/// How much terms are shaken to find their size: half the digits of a number.
const SHARE: f64 = 1e-8;

/// Rows times `2^shift`.
fn shifted(mut rows: Rows, shift: i64) -> Rows {
    let all = rows.iter_mut().flatten();
    match shift {
        0 => (),
        // One product rounds as the general way does, which takes ten times as long.
        -1000..=1000 => {
            let factor = times_power_of_two(1.0, shift);
            all.for_each(|v| *v *= factor);
        }
        _ => all.for_each(|v| *v = times_power_of_two(*v, shift)),
    }
    rows
}

/// Rows times a power of two: how something changes.
#[derive(Debug, Clone)]
struct Tangent {
    rows: Rows,
    exponent: i64,
}

impl Tangent {
    /// Rows whose largest entry is brought to 1.
    fn new(rows: Rows, exponent: i64) -> Self {
        let largest = rows.iter().flatten().fold(0.0, |m: f64, v| m.max(v.abs()));
        if largest == 0.0 || !largest.is_finite() {
            return Self { rows, exponent };
        }
        let shift = exponent_of(largest);
        Self { rows: shifted(rows, -shift), exponent: exponent + shift }
    }

    /// What a linear map makes of it.
    fn map(&self, f: impl FnOnce(&Rows) -> Rows) -> Self {
        Self::new(f(&self.rows), self.exponent)
    }

    /// Both as rows of one exponent.
    fn aligned(&self, other: &Self) -> (Rows, Rows, i64) {
        let zero = |tangent: &Self| tangent.rows.iter().flatten().all(|v| *v == 0.0);
        let exponent = match (zero(self), zero(other)) {
            (true, _) => other.exponent,
            (_, true) => self.exponent,
            _ => self.exponent.max(other.exponent),
        };
        let aligned = |tangent: &Self| shifted(tangent.rows.clone(), tangent.exponent - exponent);
        (aligned(self), aligned(other), exponent)
    }

    /// Both side by side.
    fn beside(&self, other: &Self) -> Self {
        let (a, b, exponent) = self.aligned(other);
        Self::new(beside(&a, &b), exponent)
    }

    fn plus(&self, other: &Self) -> Self {
        let (a, b, exponent) = self.aligned(other);
        Self::new(map2(&a, &b, |a, b| a + b), exponent)
    }
}

/// A net at one point, through which tangents are pushed.
pub(super) struct Point<'p> {
    pub net: Net<'p>,
    pub x: &'p Rows,
    pub cotangent: &'p Rows,
    pub pass: Pass,
    /// The weights in use of each part of each layer, and what the kernel knows of their transform; of maps alone.
    pub weights: Vec<Vec<(Rows, Option<&'p Back>)>>,
    /// The slopes of each part of each layer: of activations and of gates.
    pub slopes: Vec<Vec<Rows>>,
}

/// What moves: parameters, or the samples.
pub(super) struct Motion {
    pub tensor: Option<(TensorId, Vec<f64>)>,
    pub x: Option<Rows>,
    /// The first layer that feels it.
    pub first: usize,
    /// Random numbers that shake all terms, and how many have been drawn.
    pub noise: Option<(Stream, std::cell::Cell<usize>)>,
}

impl Motion {
    /// The direction in which a tensor of a layer moves, if it does.
    fn of(&self, net: Net<'_>, layer: usize, index: usize, which: Which) -> Option<&Vec<f64>> {
        let id = TensorId { slot: net.plan.layers[layer].slot, index, which };
        self.tensor.as_ref().filter(|(moving, _)| *moving == id).map(|(_, along)| along)
    }

    /// What a motion adds to a stage.
    fn adds(&self, rows: Rows) -> Tangent {
        Tangent::new(self.shaken(rows), 0)
    }

    /// Terms that are off by a small random share of themselves.
    fn shaken(&self, rows: Rows) -> Rows {
        if self.noise.is_none() {
            return rows;
        }
        let same = rows.clone();
        self.shaken_by(rows, || same)
    }

    /// Terms that are off by a small random share of these sizes, which have cancelled already.
    fn shaken_by(&self, mut rows: Rows, sizes: impl FnOnce() -> Rows) -> Rows {
        let Some((stream, drawn)) = &self.noise else { return rows };
        let mut normals = vec![0.0_f64; rows.iter().map(Vec::len).sum()];
        stream.after(drawn.get()).normal(&mut normals);
        drawn.set(drawn.get() + normals.len().next_multiple_of(4));
        let sizes = sizes();
        let terms = rows.iter_mut().flatten().zip(sizes.iter().flatten());
        terms.zip(normals).for_each(|((v, size), n)| *v += SHARE * n * size);
        rows
    }
}

/// A part of a layer: where it stands in both, what it is, what it got, and how that changes.
struct At<'a> {
    layer: usize,
    index: usize,
    placed: &'a Placed,
    got: &'a Rows,
    d: &'a Tangent,
}

impl Point<'_> {
    /// The change of the output, entry by entry times the cotangent.
    fn push(&self, motion: &Motion) -> Tangent {
        let Net { plan, .. } = self.net;
        // Before the first layer that feels the motion, nothing changes.
        let zeros = |value: usize| {
            let rows = &self.pass.values[value];
            Tangent::new(map2(rows, rows, |_, _| 0.0), 0)
        };
        let mut d = match (&motion.x, plan.fed) {
            (Some(dx), None) => Tangent::new(dx.clone(), 0),
            _ => zeros(plan.layers[motion.first].input),
        };
        // What goes around, as far as it changes.
        let mut streams = BTreeMap::<usize, Tangent>::new();
        let around = |streams: &BTreeMap<usize, Tangent>, stream: usize, placed: &Placed| {
            streams.get(&stream).cloned().unwrap_or_else(|| zeros(placed.around.unwrap_or_default()))
        };
        for (layer, step) in self.pass.steps.iter().enumerate().skip(motion.first) {
            for (index, (placed, got)) in plan.layers[layer].parts.iter().zip(&step.got).enumerate() {
                let at = At { layer, index, placed, got, d: &d };
                d = match &placed.part {
                    Part::Map(map) => {
                        let around = map.state.map(|state| around(&streams, state, placed));
                        self.map(motion, &at, map, around.as_ref())
                    }
                    Part::Norm(norm) => self.norm(motion, &at, norm),
                    Part::Phi(phi) => self.activation(motion, &at, phi),
                    Part::Keep(keep) => {
                        streams.insert(keep.stream, d.clone());
                        d
                    }
                    // No pass but those of training drops anything.
                    Part::Drop(_) | Part::Cut(_) => d,
                    Part::Cell(cell) => {
                        let (h, c) = self.cell(motion, &at, cell, &around(&streams, cell.stream, placed));
                        streams.extend(c.map(|c| (cell.stream, c)));
                        h
                    }
                    Part::Steps(steps) => {
                        let values = plan.states().enumerate();
                        let state = |(step, value): (usize, usize)| {
                            let moved = streams.get(&(steps.first + step)).cloned().unwrap_or_else(|| zeros(value));
                            self.readout(motion, layer, steps, value, &moved)
                        };
                        values.map(state).reduce(|all, step| all.beside(&step)).unwrap_or(d)
                    }
                    Part::Attend(attend) => d.map(|d| attention(&attend.heads, got, d)),
                    Part::Pool(_) => d.map(|d| part::forward(&self.part(layer, placed), d)),
                    Part::Join(join) => self.join(motion, &at, join, &around(&streams, join.stream, placed)),
                };
            }
            if layer < plan.depth() {
                d = Tangent { rows: motion.shaken(d.rows), exponent: d.exponent };
            }
        }
        d.map(|d| map2(d, self.cotangent, |d, c| d * c))
    }

    /// A part of the plain twin.
    fn part<'a>(&'a self, layer: usize, placed: &'a Placed) -> part::At<'a> {
        part::At { net: &self.net, layer, placed, values: &self.pass.values, x: self.x }
    }

    /// What moving weights and biases add to a linear map; `index` says which parameters of the layer's slot.
    fn affine(&self, motion: &Motion, layer: usize, index: usize, input: &Rows) -> Tangent {
        let [weight, bias] = [Which::Weight, Which::Bias].map(|which| motion.of(self.net, layer, index, which));
        let (outs, columns) = (self.net.plan.parameters(layer, index).linear().fan_out, input[0].len());
        let still = || vec![0.0; outs * columns];
        let weight = rows(&weight.cloned().unwrap_or_else(still), columns);
        motion.adds(naive::affine(&weight, bias, input))
    }

    fn map(&self, motion: &Motion, at: &At<'_>, map: &Map, state: Option<&Tangent>) -> Tangent {
        let At { layer, d: below, .. } = *at;
        let (own, step) = cell::map_inputs(&self.at(at), map.fed, map.state, at.got);
        let (got, d) = (&own, state.unwrap_or(below));
        let (weight, back) = &self.weights[layer][at.index];
        let mut d = d.map(|d| naive::affine(weight, None, d));
        let plan = self.net.plan.parameters(layer, map.own).linear();
        let moving = |index, which| motion.of(self.net, layer, index, which);
        if let (Some(transform), Some(along)) = (&plan.transform, moving(map.own, Which::Weight)) {
            let columns = got[0].len();
            let raw = rows(self.net.tensor(layer, map.own, Which::Weight), columns);
            let along = rows(along, columns);
            let length = |rows: &Rows| rows.iter().flatten().map(|v| v * v).sum::<f64>().sqrt();
            let moved = transformed(transform, &raw, *back, &along);
            // A transform may take away a direction as a whole: its terms are those of its scale alone.
            let moved = motion.shaken_by(moved, || {
                let scale = length(weight) / length(&raw);
                map2(&along, &along, |v, _| if scale.is_finite() { scale * v } else { 0.0 })
            });
            d = d.plus(&motion.adds(naive::affine(&moved, None, got)));
        } else if layer == self.net.plan.depth()
            || moving(map.own, Which::Weight).or(moving(map.own, Which::Bias)).is_some()
        {
            d = d.plus(&self.affine(motion, layer, map.own, got));
        }
        let (Some(fed), Some(step), Some(columns)) = (map.fed, step, self.net.plan.fed) else { return d };
        let weight = rows(self.net.tensor(layer, fed, Which::Weight), step[0].len());
        let mut u = match (self.net.plan.step(layer), &motion.x) {
            (None, _) => below.map(|d| naive::affine(&weight, None, d)),
            (Some(step), Some(dx)) => {
                Tangent::new(naive::affine(&weight, None, &part::step_input(columns, dx, step)), 0)
            }
            (Some(_), None) => Tangent::new(naive::affine(&weight, None, &map2(&step, &step, |_, _| 0.0)), 0),
        };
        if moving(fed, Which::Weight).or(moving(fed, Which::Bias)).is_some() {
            u = u.plus(&self.affine(motion, layer, fed, &step));
        }
        if map.apart { u.beside(&d) } else { d.plus(&u) }
    }

    fn at<'a>(&'a self, at: &At<'a>) -> part::At<'a> {
        part::At { net: &self.net, layer: at.layer, placed: at.placed, values: &self.pass.values, x: self.x }
    }

    /// What becomes of `h`, and of `c` where the cell has one; `state` is the change of what its stream has.
    fn cell(&self, motion: &Motion, at: &At<'_>, part: &Cell, state: &Tangent) -> (Tangent, Option<Tangent>) {
        let (here, d) = (self.at(at), at.d);
        let Within { gates, recurrent, passed, .. } = cell::within(&here, part, at.got);
        let slopes = cell::in_parts(&self.slopes[at.layer][at.index], 4);
        let times = |d: &Tangent, factor: &Rows| d.map(|d| map2(d, factor, |d, f| d * f));
        let piece = |index: usize, count: usize| d.map(|d| cell::in_parts(d, count).swap_remove(index));
        let before = here.around();
        if part.gates == Gates::Lstm {
            let [di, df, dg, d_o] = [0, 1, 2, 3].map(|gate| times(&piece(gate, 4), &slopes[gate]));
            let c = times(&df, before).plus(&times(state, &gates[1]));
            let c = c.plus(&times(&di, &gates[2])).plus(&times(&dg, &gates[0]));
            let c = Tangent { rows: motion.shaken(c.rows), exponent: c.exponent };
            let found = cell::within(&here, part, at.got).c;
            let squashed = map2(&found, &found, |c, _| part.squash.both(c).0);
            let bend = map2(&found, &found, |c, _| bend(&part.squash, c));
            let h = times(&d_o, &squashed).plus(&times(&times(&c, &bend), &gates[3]));
            return (h, Some(c));
        }
        let [dr, dz] = [0, 1].map(|gate| times(&piece(gate, 6).plus(&piece(gate + 3, 6)), &slopes[gate]));
        let [r, z, n] = [0, 1, 2].map(|gate| &gates[gate]);
        let through = if part.gates == Gates::Gru(Reset::After) {
            times(&dr, &recurrent).plus(&times(&piece(5, 6), r))
        } else {
            let weight = cell::of_candidate(&here, part);
            let moved = times(&dr, before).plus(&times(state, r));
            let through = moved.map(|d| naive::affine(&weight, None, d));
            let moving = |which| motion.of(self.net, at.layer, part.own, which);
            if moving(Which::Weight).or(moving(Which::Bias)).is_some() {
                let moved = self.affine(motion, at.layer, part.own, &passed);
                through.plus(&moved.map(|d| cell::in_parts(d, 3).swap_remove(2)))
            } else {
                through
            }
        };
        let dn = times(&piece(2, 6).plus(&through), &slopes[2]);
        let fresh = times(&dn, &map2(z, z, |z, _| 1.0 - z)).plus(&times(&dz, &map2(before, n, |h, n| h - n)));
        (fresh.plus(&times(state, z)), None)
    }

    /// The output of a step whose state is a value that changes like this.
    fn readout(&self, motion: &Motion, layer: usize, steps: &Steps, value: usize, state: &Tangent) -> Tangent {
        let h = &self.pass.values[value];
        let weight = rows(self.net.tensor(layer, steps.own, Which::Weight), h[0].len());
        let y = state.map(|d| naive::affine(&weight, None, d));
        y.plus(&self.affine(motion, layer, steps.own, h))
    }

    fn norm(&self, motion: &Motion, at: &At<'_>, part: &Normalise) -> Tangent {
        let At { layer, got, d, .. } = *at;
        let norm = &part.norm;
        let weight = self.net.tensor(layer, part.affine, Which::Weight);
        let d = d.map(|d| {
            let change = normed(norm, got, d, standardise);
            let d = motion.shaken_by(change, || normed(norm, got, d, stretch));
            d.iter().map(|row| row.iter().zip(weight).map(|(d, w)| d * w).collect()).collect()
        });
        let moved = [Which::Weight, Which::Bias].map(|which| motion.of(self.net, layer, part.affine, which));
        if moved.iter().all(Option::is_none) {
            return d;
        }
        // The normalisation is linear in both.
        let zeros = vec![0.0; weight.len()];
        let [weight, bias] = moved.map(|moved| moved.unwrap_or(&zeros));
        d.plus(&motion.adds(part::affine_normed(norm, Some(weight), Some(bias), got)))
    }

    fn activation(&self, motion: &Motion, at: &At<'_>, phi: &Activate) -> Tangent {
        let At { layer, got, d, .. } = *at;
        let (slopes, columns) = (&self.slopes[layer][at.index], got[0].len());
        let d = d.map(|d| match phi.activation.shape() {
            Shape::Each => map2(d, slopes, |d, s| d * s),
            Shape::Doubled => map2(&beside(d, d), slopes, |d, s| d * s),
            Shape::Gated => {
                let (value, gate) = apart(&map2(d, slopes, |d, s| d * s), columns / 2);
                map2(&value, &gate, |a, b| a + b)
            }
        });
        let Some(slope) = phi.slope else { return d };
        let Some(along) = motion.of(self.net, layer, slope, Which::Weight) else { return d };
        let value = |slope: f64| part::activate(&phi.activation.with_slope(slope), got);
        let start = self.net.tensor(layer, slope, Which::Weight)[0];
        let moved = map2(&value(start + 0.5), &value(start - 0.5), |more, less| (more - less) * along[0]);
        d.plus(&motion.adds(moved))
    }

    fn join(&self, motion: &Motion, at: &At<'_>, join: &Join, dx: &Tangent) -> Tangent {
        let At { layer, got: branch, d, .. } = *at;
        let x = &self.pass.values[at.placed.around.unwrap_or_default()];
        let times = |d: &Tangent, factor: f64| d.map(|d| map2(d, d, |d, _| factor * d));
        let moving = |which| motion.of(self.net, layer, join.learned, which);
        match join.way {
            skip::Way::Add => times(dx, join.around).plus(&times(d, join.scale)),
            skip::Way::Learned => {
                let alpha = self.net.tensor(layer, join.learned, Which::Weight)[0];
                let sum = dx.plus(&times(d, join.scale * alpha));
                let Some(along) = moving(Which::Weight) else { return sum };
                sum.plus(&motion.adds(map2(branch, branch, |f, _| join.scale * along[0] * f)))
            }
            skip::Way::Gate => {
                let weight = rows(self.net.tensor(layer, join.learned, Which::Weight), x[0].len());
                let mut dt = dx.map(|d| naive::affine(&weight, None, d));
                if moving(Which::Weight).or(moving(Which::Bias)).is_some() {
                    dt = dt.plus(&self.affine(motion, layer, join.learned, x));
                }
                let (open, shut) = part::gate(&part::map_around(&self.net, layer, join, x));
                let slopes = &self.slopes[layer][at.index];
                let by_gate = map2(&map2(branch, x, |f, x| f - x), slopes, |f, s| f * s);
                let share = |d: &Tangent, factor: &Rows| d.map(|d| map2(d, factor, |d, f| d * f));
                share(dx, &shut).plus(&share(d, &open)).plus(&share(&dt, &by_gate))
            }
            skip::Way::Concatenate => dx.beside(d),
            skip::Way::Project => {
                let weight = rows(self.net.tensor(layer, join.learned, Which::Weight), x[0].len());
                let sum = dx.map(|d| naive::affine(&weight, None, d)).plus(&times(d, join.scale));
                if moving(Which::Weight).or(moving(Which::Bias)).is_none() {
                    return sum;
                }
                sum.plus(&self.affine(motion, layer, join.learned, x))
            }
        }
    }

    /// `|<gradient, direction> - numeric| / |gradient|`: for a direction of unit normals the first term is of the size
    /// of the gradient's norm.
    pub(super) fn error(&self, gradient: &Tensor<f64>, direction: &[f64], mut motion: Motion, noise: Stream) -> f64 {
        let norm = gradient.values.iter().map(|g| g * g).sum::<f64>().sqrt();
        let analytic = gradient.values.iter().zip(direction).map(|(g, v)| g * v).sum::<f64>();
        let still = self.push(&motion);
        // A zero has no exponent of its own.
        let common = if norm == 0.0 { still.exponent } else { gradient.exponent };
        let here = |value: f64, exponent: i64| times_power_of_two(value, exponent - common);
        let gap = (analytic - here(still.rows.iter().flatten().sum(), still.exponent)).abs();
        if gap <= 1e-9 * norm {
            return if gap == 0.0 { 0.0 } else { gap / norm };
        }
        // Terms that cancel do not when each is off by a share of its own: what is left over that share is their size.
        motion.noise = Some((noise, std::cell::Cell::new(0)));
        let (still, shaken, exponent) = still.aligned(&self.push(&motion));
        let left = map2(&still, &shaken, |still, shaken| still.hypot((shaken - still) / SHARE));
        let terms = here(left.iter().flatten().map(|d| d * d).sum::<f64>().sqrt(), exponent);
        gap / norm.max(CANCELLED * terms)
    }
}
