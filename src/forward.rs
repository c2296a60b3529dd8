//! The forward pass: the parts of a layer, one after the other, then the stack. Reads as a pair with `backward.rs`.

use crate::error::{Cancel, Result};
use crate::kernel::{Panels, Scaled};
use crate::part::{Here, Kept, Masks, Part, Scratch, Watch, Work};
use crate::plan::{Place, Plan, Quantity};
use crate::simd::Float;
use crate::weights::Weights;
use std::ops::Range;

/// What the forward pass leaves for the backward pass, of all layers or of some that follow each other. Reused from run
/// to run.
#[derive(Debug, Clone)]
pub struct Trace<F> {
    /// The first layer, and the value that it gets.
    first: (usize, usize),
    /// The value that the first layer gets, and all values behind it.
    values: Vec<Scaled<F>>,
    /// Values from before that these layers read, by their numbers.
    live: Vec<(usize, Scaled<F>)>,
    /// What else is kept of each part of each layer.
    kept: Vec<Vec<Kept<F>>>,
    /// The inputs of all steps of a recurrent net that is fed.
    feed: Vec<Scaled<F>>,
    /// The batch that moves from part to part.
    moving: Scaled<F>,
    scratch: Scratch<F>,
    /// What the masks of dropout are drawn from, in a pass of training.
    pub masks: Option<Masks>,
}

impl<F> Default for Trace<F> {
    fn default() -> Self {
        Self {
            first: (0, 0),
            values: Vec::new(),
            live: Vec::new(),
            kept: Vec::new(),
            feed: Vec::new(),
            moving: Scaled::default(),
            scratch: Scratch::default(),
            masks: None,
        }
    }
}

/// All that lives at the beginning of a layer: from it the net can be run again. Reused from run to run.
#[derive(Debug, Clone)]
pub struct Checkpoint<F> {
    values: Vec<(usize, Scaled<F>)>,
}

impl<F> Default for Checkpoint<F> {
    fn default() -> Self {
        Self { values: Vec::new() }
    }
}

/// Where the value of this number is, among those from before and those of a trace.
fn find<'t, F>(live: &'t [(usize, Scaled<F>)], values: &'t [Scaled<F>], first: usize, value: usize) -> &'t Scaled<F> {
    match value.checked_sub(first) {
        Some(index) => &values[index],
        None => match live.iter().find(|(number, _)| *number == value) {
            Some((_, found)) => found,
            None => unreachable!("value {value} lives here by the plan"),
        },
    }
}

impl<F: Float> Trace<F> {
    /// Where a layer's input is to be put before [`forward`] begins with it.
    pub fn begin(&mut self, plan: &Plan, layer: usize) -> &mut Scaled<F> {
        self.first = (layer, plan.value(layer));
        self.live.clear();
        if self.values.is_empty() {
            self.values.push(Scaled::default());
        }
        &mut self.values[0]
    }

    /// Put the samples of a plan, row-major, where a pass begins.
    pub fn set_input(&mut self, plan: &Plan, batch: usize, value: impl Fn(usize, usize) -> F) {
        let Some(columns) = plan.fed else {
            let input = self.begin(plan, 0);
            input.exponent = 0;
            let (tokens, features) = (plan.tokens, plan.values[0]);
            input
                .panels
                .fill(features, batch * tokens, |row, feature| value(row / tokens, row % tokens * features + feature));
            self.feed.clear();
            return;
        };
        self.feed(plan, batch, |input, step| {
            input.fill(columns, batch, |sample, feature| value(sample, step * columns + feature));
        });
    }

    /// Begin a recurrent net that is fed, from zeros, with the inputs of all steps.
    fn feed(&mut self, plan: &Plan, batch: usize, fill: impl Fn(&mut Panels<F>, usize)) {
        let input = self.begin(plan, 0);
        input.exponent = 0;
        input.panels.clear(plan.values[0], batch);
        self.feed.resize_with(plan.steps(), Scaled::default);
        for (step, input) in self.feed.iter_mut().enumerate() {
            input.exponent = 0;
            fill(&mut input.panels, step);
        }
    }

    /// Put rows of samples of a plan where a pass begins.
    pub fn gather<'r>(&mut self, plan: &Plan, batch: usize, row: impl Fn(usize) -> &'r [F]) {
        if let Some(columns) = plan.fed {
            return self.feed(plan, batch, |input, step| {
                input.gather(columns, batch, |sample| &row(sample)[step * columns..][..columns]);
            });
        }
        let input = self.begin(plan, 0);
        input.exponent = 0;
        let (tokens, features) = (plan.tokens, plan.values[0]);
        input
            .panels
            .gather(features, batch * tokens, |token| &row(token / tokens)[token % tokens * features..][..features]);
        self.feed.clear();
    }

    /// Keep what lives at the beginning of a layer.
    pub fn save(&self, plan: &Plan, layer: usize, checkpoint: &mut Checkpoint<F>) {
        let (input, live) = (plan.value(layer), plan.layers.get(layer).map_or(&[][..], |layer| &layer.live));
        checkpoint.values.resize_with(1 + live.len(), || (0, Scaled::default()));
        for (kept, value) in checkpoint.values.iter_mut().zip([input].into_iter().chain(live.iter().copied())) {
            kept.0 = value;
            kept.1.copy_from(self.value(value));
        }
    }

    /// Begin again with a layer, at whose beginning all that lives was kept.
    pub fn resume(&mut self, plan: &Plan, layer: usize, checkpoint: &Checkpoint<F>) {
        let Some(((_, input), live)) = checkpoint.values.split_first() else { return };
        self.begin(plan, layer).copy_from(input);
        self.live.extend(live.iter().cloned());
    }

    /// Begin with a layer behind a pass that has come to it, with all that it reads.
    pub fn go_on(&mut self, plan: &Plan, layer: usize, pass: &Self) {
        self.begin(plan, layer).copy_from(pass.value(plan.value(layer)));
        let live = plan.layers.get(layer).map_or(&[][..], |layer| &layer.live);
        self.live.extend(live.iter().map(|&value| (value, pass.value(value).clone())));
    }

    /// The states behind all steps with their numbers, for the part that reads them.
    pub fn states(&self, plan: &Plan, part: &Part) -> Vec<(&Scaled<F>, usize)> {
        states(plan, part, |value| self.value(value))
    }

    /// A value, by its number.
    pub fn value(&self, value: usize) -> &Scaled<F> {
        find(&self.live, &self.values, self.first.1, value)
    }

    /// What else is kept of the parts of a layer.
    pub fn kept(&self, layer: usize) -> &[Kept<F>] {
        &self.kept[layer - self.first.0]
    }

    /// The input of a step of a recurrent net that is fed, alone in the slice; nothing of any other net.
    pub fn step(&self, plan: &Plan, layer: usize) -> &[Scaled<F>] {
        step(&self.feed, plan, layer)
    }
}

/// The input of a step that a layer gets, alone in the slice.
fn step<'f, F>(feed: &'f [Scaled<F>], plan: &Plan, layer: usize) -> &'f [Scaled<F>] {
    plan.step(layer).and_then(|step| feed.get(step..=step)).unwrap_or_default()
}

/// The states behind all steps with their numbers, for the part that reads them.
fn states<'v, F>(plan: &Plan, part: &Part, get: impl Fn(usize) -> &'v Scaled<F>) -> Vec<(&'v Scaled<F>, usize)> {
    match part {
        Part::Steps(_) => plan.states().map(|value| (get(value), value)).collect(),
        _ => Vec::new(),
    }
}

/// May `h` carry an exponent? Where every `phi(0) = 0` and no bias is added, a signal of any size stays in proportion:
/// exactly where `phi` is positively homogeneous, and wherever it is too small for `phi` to bend.
fn carries<F>(plan: &Plan, weights: &Weights<F>) -> bool {
    plan.proportional && weights.unbiased
}

/// One layer, part by part. False where a value is not finite.
fn layer<F: Float>(
    plan: &Plan,
    weights: &Weights<F>,
    trace: &mut Trace<F>,
    index: usize,
    watch: &mut impl Watch<F>,
) -> bool {
    let Trace { first, values, live, kept, feed, moving, scratch, masks } = trace;
    let (layer, numbers, first, masks) = (&plan.layers[index], weights.layer(plan, index), *first, *masks);
    let step = step(feed, plan, index);
    let (mut finite, carries) = (true, carries(plan, weights));
    for (placed, kept) in layer.parts.iter().zip(&mut kept[index - first.0]) {
        let work = placed.part.work();
        if work == Work::Nothing {
            continue;
        }
        let mut taken = if work == Work::Takes { std::mem::take(moving) } else { Scaled::default() };
        let mut next = placed.next.map_or_else(Scaled::default, |value| std::mem::take(&mut values[value - first.1]));
        // The values so far, and the batch that the part writes.
        let (before, output) = match placed.to {
            Place::Moving => (&values[..], &mut *moving),
            Place::Value(value) => {
                let (before, behind) = values.split_at_mut(value - first.1);
                (&*before, &mut behind[0])
            }
        };
        let get = |value: usize| find(live, before, first.1, value);
        let input = match placed.from {
            Place::Value(value) if placed.from != placed.to => Some(get(value)),
            _ => None,
        };
        match (work, input) {
            (Work::Takes, Some(input)) => taken.copy_from(input),
            (Work::InPlace, Some(input)) => output.copy_from(input),
            _ => (),
        }
        let around = placed.around.map(get);
        let states = states(plan, &placed.part, get);
        let here = Here {
            numbers,
            input,
            around,
            states: &states,
            step,
            masks,
            carries,
            row: placed.row,
            columns: placed.columns,
        };
        finite &= placed.part.forward(&here, (&mut taken, &mut next), output, kept, scratch, watch);
        // What was added to something keeps its padding.
        if let (Place::Value(_), None) = (placed.to, placed.around) {
            output.panels.clear_padding();
        }
        finite &= match placed.shows {
            Some(Quantity::Z) => watch.z(placed.row, output),
            Some(Quantity::A) => watch.a(placed.row, output),
            None => true,
        };
        if work == Work::Takes {
            *moving = taken;
        }
        if let Some(value) = placed.next {
            values[value - first.1] = next;
        }
    }
    let output = &mut values[layer.output - first.1];
    // What another layer takes stays near 1.
    if carries && index < plan.depth() {
        finite &= output.rescale_if_far();
    }
    if layer.on_stream {
        watch.h(layer.parts.last().map_or(0, |placed| placed.row), output);
    }
    finite
}

/// Some layers that follow each other, from the input put by [`Trace::begin`]. Returns the first layer whose values are
/// not finite; the pass goes on, as a framework's would.
pub fn forward<F: Float>(
    plan: &Plan,
    weights: &Weights<F>,
    trace: &mut Trace<F>,
    layers: Range<usize>,
    watch: &mut impl Watch<F>,
    cancel: &Cancel,
) -> Result<Option<usize>> {
    let count = plan.layers[layers.end - 1].output + 1 - trace.first.1;
    trace.values.resize_with(count.max(trace.values.len()), Scaled::default);
    trace.kept.resize_with((layers.end - trace.first.0).max(trace.kept.len()), Vec::new);
    for index in layers.clone() {
        let parts = plan.layers[index].parts.len();
        trace.kept[index - trace.first.0].resize_with(parts, Kept::default);
    }
    let mut first = None;
    if layers.start == 0 && carries(plan, weights) {
        trace.values[0].rescale_if_far();
    }
    for index in layers {
        cancel.check()?;
        if !layer(plan, weights, trace, index, watch) {
            first.get_or_insert(index);
        }
    }
    Ok(first)
}
