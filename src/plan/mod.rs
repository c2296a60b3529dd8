//! Layers of parts turned into values, places and rows: pure arithmetic that the passes follow.
//!
//! A value is a batch that the backward pass needs again: the input of the net, what each layer hands on, and what a
//! map within a layer gets. Values are numbered from the input side. All else moves through one scratch batch.

mod memory;
mod seconds;

use crate::error::{Cancel, Error, Result};
use crate::part::{BY_BLOCK, HandsOn, LinearPlan, Module, Net, Owner, Parameters, Part, TOKENS, TensorId, Work};
use crate::spec::Spec;
use std::borrow::Cow;
use std::sync::Arc;

/// Where a part reads or writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// The scratch batch, which the next part takes over.
    Moving,
    /// A value, by its number.
    Value(usize),
}

/// What a part gives a probe to see.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Quantity {
    /// Pre-activations.
    Z,
    /// Activations, normalised where a normalisation comes behind.
    A,
}

/// A part in its place.
#[derive(Debug, Clone, Copy)]
pub struct Placed {
    /// The part.
    pub part: Part,
    /// Where its input is.
    pub from: Place,
    /// Where its output goes.
    pub to: Place,
    /// The value that went around, for a join, or the state before a step.
    pub around: Option<usize>,
    /// The value that the part moves a stream on to.
    pub next: Option<usize>,
    /// Features of its input and of its output.
    pub features: (usize, usize),
    /// The row of a probe that it belongs to: that of the last map of its layer so far, or of the first one.
    pub row: usize,
    /// The first of the columns that it notes, among those of the plan.
    pub columns: usize,
    /// What its output is to a probe.
    pub shows: Option<Quantity>,
}

/// A layer in its place.
#[derive(Debug, Clone)]
pub struct Layer {
    /// The parts, in the order of the forward pass.
    pub parts: Vec<Placed>,
    /// The slot of parameters.
    pub slot: usize,
    /// The value that it gets.
    pub input: usize,
    /// The value that it hands on.
    pub output: usize,
    /// Is that the residual stream, with no other way around it open?
    pub on_stream: bool,
    /// Values from before this layer, beside its input, that it or a later one reads.
    pub live: Vec<usize>,
}

/// A tensor of parameters: which one it is, its name in a state dict and its shape.
pub type Tensor = (TensorId, String, Vec<usize>);

/// What the passes need to know of a net.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Columns of the samples: every step's input where each layer gets one.
    pub columns: usize,
    /// Columns of each step's input, where each layer gets one.
    pub fed: Option<usize>,
    /// Tokens of a sample, each a row of a batch; 1 where samples are rows.
    pub tokens: usize,
    /// Rows of the output that a sample has, one behind the other: each is compared with a target of its own.
    pub places: usize,
    /// Features of the values.
    pub values: Vec<usize>,
    /// The layers, input side first, the readout last.
    pub layers: Vec<Layer>,
    /// What the layers learn, slot by slot; a tied net has one slot for all hidden layers.
    pub slots: Vec<Vec<Parameters>>,
    /// Widths of the rows of a probe: features of `z` for every map that counts.
    pub rows: Vec<usize>,
    /// Names of the columns of a probe beside those of every net, each once: those that the parts note.
    pub extra: Arc<[String]>,
    /// The parts that note them, by name, each with the first of its own.
    noted: Vec<(&'static str, usize)>,
    /// Which of these hold the norms of the weight gradients of a map's blocks.
    pub of_blocks: Vec<usize>,
    /// Which is the first of those of how alike the tokens of the stream are.
    pub of_tokens: Option<usize>,
    /// Is every bias drawn as zero?
    pub unbiased: bool,
    /// Without biases, does a signal of any size stay in proportion, or would it if it were small enough for no
    /// activation to bend it? Then the forward pass carries an exponent.
    pub proportional: bool,
    /// Are weights scaled by what the data make of them?
    pub calibrates: bool,
    /// What makes the net larger beside its widths, as a caller calls it.
    pub sizes: &'static str,
    /// Layers that count.
    depth: usize,
}

impl Plan {
    /// The plan of a spec.
    pub fn new(spec: &Spec) -> Self {
        Self::whole(|| Self::of_job(spec))
    }

    /// The plan of layers of parts.
    pub fn of(net: Net) -> Self {
        Self::whole(|| Self::placed(net))
    }

    /// A plan that is made whatever becomes of the job of this thread.
    fn whole(make: impl FnOnce() -> Result<Self>) -> Self {
        match Cancel::default().watch(make) {
            Ok(plan) => plan,
            Err(error) => unreachable!("a valid spec has a plan: {error}"),
        }
    }

    /// The plan of a spec, unless the job of this thread is given up.
    pub fn of_job(spec: &Spec) -> Result<Self> {
        Ok(Self { sizes: spec.sizes(), ..Self::placed(spec.lower()?)? })
    }

    fn placed(net: Net) -> Result<Self> {
        let Net { depth, columns, fed, tokens, input, layers, slots } = net;
        let linear = || slots.iter().flatten().filter_map(Parameters::as_linear);
        let parts = || layers.iter().flat_map(|layer| &layer.parts);
        let (extra, noted) = columns_of(parts());
        let place = |name: &str| extra.iter().position(|known| known == name);
        let blocks = linear().map(|plan| plan.blocks.names).find(|names| !names.is_empty()).unwrap_or_default();
        let of_blocks = blocks.iter().filter_map(|name| place(&format!("{}_{name}", BY_BLOCK[2]))).collect();
        let of_tokens = place(TOKENS[0]);
        let mut plan = Self {
            columns,
            fed,
            tokens,
            places: parts().fold(tokens, |places, part| match part {
                Part::Pool(_) => 1,
                Part::Steps(steps) => steps.count,
                _ => places,
            }),
            values: vec![input],
            layers: Vec::with_capacity(layers.len()),
            rows: Vec::new(),
            extra: extra.into(),
            noted,
            of_blocks,
            of_tokens,
            unbiased: !linear().any(LinearPlan::biased),
            proportional: parts().all(Part::proportional),
            calibrates: linear().any(|plan| plan.calibrates),
            sizes: "depth",
            depth,
            slots: Vec::new(),
        };
        let (mut open, mut ahead) = (Vec::new(), parts());
        for (index, layer) in layers.iter().enumerate() {
            Cancel::heed()?;
            let placed = plan.place(&layer.parts, &slots[layer.slot], &mut open, &mut ahead, index >= depth);
            let on_stream = index < depth
                && match layer.hands_on {
                    HandsOn::Output => false,
                    HandsOn::Stream => open.is_empty(),
                    HandsOn::State => true,
                };
            plan.layers.push(Layer { slot: layer.slot, on_stream, ..placed });
        }
        plan.slots = slots;
        if plan.reads_every_step() {
            let states = plan.states().filter(|&value| value != plan.value(depth)).collect();
            plan.layers[depth].live = states;
        }
        Ok(plan)
    }

    /// Give the parts of the next layer their places; a readout has no row. `open` has the streams that go around, each
    /// with the value that it began from; `ahead` goes over the parts of the net from here on.
    fn place<'p>(
        &mut self,
        parts: &[Part],
        slot: &[Parameters],
        open: &mut Vec<(usize, usize)>,
        ahead: &mut (impl Iterator<Item = &'p Part> + Clone),
        readout: bool,
    ) -> Layer {
        let input = self.values.len() - 1;
        let live = open.iter().map(|&(_, value)| value).filter(|&value| value != input).collect();
        let (mut at, mut features) = (Place::Value(input), self.values[input]);
        let mut row = self.rows.len();
        let mut placed = Vec::with_capacity(parts.len());
        for (index, &part) in parts.iter().enumerate() {
            let (from, before, mut around, mut next) = (at, features, None, None);
            ahead.next();
            // What others still read stays what it is: a part that would work in its place works in a copy.
            let read = |value| value == input || open.iter().any(|&(_, kept)| kept == value);
            let copies = matches!(at, Place::Value(value) if part.work() == Work::InPlace && read(value));
            if let Some(stream) = part.reads() {
                let at = open.iter().position(|&(other, _)| other == stream);
                around = Some(at.map_or(input, |at| open[at].1));
                // A stream ends with the last part that reads it.
                let next = ahead.clone().find(|part| [part.reads(), part.begins()].contains(&Some(stream)));
                if next.is_none_or(|part| part.reads() != Some(stream)) {
                    at.map(|at| open.swap_remove(at));
                }
            }
            match (part, part.begins(), at) {
                (Part::Keep(_), Some(stream), Place::Value(value)) => open.push((stream, value)),
                (_, Some(stream), _) => {
                    let value = self.values.len();
                    self.values.push(part.features(slot, before, 0));
                    next = Some(value);
                    // Unless it has ended here.
                    open.iter_mut().filter(|(other, _)| *other == stream).for_each(|(_, at)| *at = value);
                }
                _ => (),
            }
            features = part.features(slot, before, around.map_or(0, |value| self.values[value]));
            if matches!(part.work(), Work::Apart | Work::Takes) || copies {
                at = if kept(&parts[index + 1..]) {
                    self.values.push(features);
                    Place::Value(self.values.len() - 1)
                } else {
                    Place::Moving
                };
            } else if let Place::Value(value) = at {
                self.values[value] = features;
            }
            let shows = match part {
                // Of maps that stand apart, the cell behind them makes the pre-activations.
                Part::Map(map) if map.apart => None,
                Part::Map(_) => Some(Quantity::Z),
                _ if shows_activations(&parts[..=index], &parts[index + 1..]) => Some(Quantity::A),
                _ => None,
            };
            if let (Part::Map(map), false) = (part, readout) {
                row = self.rows.len();
                self.rows.push(slot[map.own].linear().fan_out);
            }
            let columns = self.noted.iter().find(|(name, _)| *name == part.name()).map_or(0, |&(_, first)| first);
            placed.push(Placed { part, from, to: at, around, next, features: (before, features), row, columns, shows });
        }
        Layer { parts: placed, slot: 0, input, output: self.values.len() - 1, on_stream: false, live }
    }

    /// Refuse a batch that says nothing: one sample is its own mean.
    pub fn check_batch(&self, batch: usize) -> Result<()> {
        let parts = || self.layers.iter().flat_map(|layer| &layer.parts);
        match parts().find_map(|placed| placed.part.needs_samples()).filter(|_| batch * self.tokens < 2) {
            None => Ok(()),
            Some(norm) => Err(Error::Value(format!(
                "norm='{}' needs a batch of at least 2 samples, got {batch}: one sample is its own mean",
                norm.text()
            ))),
        }
    }

    /// Do all layers share their parameters?
    pub fn tied(&self) -> bool {
        self.layers[self.depth - 1].slot + 1 < self.depth
    }

    /// Layers of a step of a net that is fed.
    fn layers_of_step(&self) -> usize {
        self.fed.map_or(self.depth, |columns| self.depth * columns / self.columns)
    }

    /// The step whose input a layer gets, in a net that is fed.
    pub fn step(&self, layer: usize) -> Option<usize> {
        let each = self.layers_of_step();
        (self.fed.is_some() && layer < self.depth && layer.is_multiple_of(each)).then(|| layer / each)
    }

    /// Steps that are fed.
    pub fn steps(&self) -> usize {
        self.fed.map_or(0, |columns| self.columns / columns)
    }

    /// The values that the steps of a net that is fed hand on.
    pub fn states(&self) -> impl Iterator<Item = usize> {
        let each = self.layers_of_step();
        self.layers[..self.depth].iter().skip(each - 1).step_by(each).map(|layer| layer.output)
    }

    /// Is there a readout of every step?
    pub fn reads_every_step(&self) -> bool {
        self.layers.last().is_some_and(|layer| layer.parts.iter().any(|placed| matches!(placed.part, Part::Steps(_))))
    }

    /// Are its layers the steps of a recurrent net?
    pub fn recurrent(&self) -> bool {
        self.slots[0].iter().any(|parameters| parameters.module == Module::LayerInputs)
    }

    /// Have layers parameters in common, so that gradients of them are summed?
    pub fn shares(&self) -> bool {
        self.tied() || self.fed.is_some()
    }

    /// Are there several gradients of these parameters, which add up?
    pub fn sums(&self, owner: Owner) -> bool {
        if owner.module == Module::Readout { self.reads_every_step() } else { self.tied() }
    }

    /// Layers that count.
    pub fn depth(&self) -> usize {
        self.depth
    }

    /// Does anything stand behind the last layer that counts, such as a readout?
    pub fn has_readout(&self) -> bool {
        self.layers.len() > self.depth
    }

    /// The place of the readout's map among what is learned behind the last layer.
    pub fn readout(&self) -> Option<usize> {
        self.slots.last()?.iter().position(|parameters| parameters.module == Module::Readout)
    }

    /// The value that a layer gets; for the depth, what the last hidden layer hands on.
    pub fn value(&self, layer: usize) -> usize {
        if layer < self.layers.len() { self.layers[layer].input } else { self.values.len() - 1 }
    }

    /// Rows of all layers up to this one.
    pub fn rows_up_to(&self, layer: usize) -> usize {
        let of_layer = |layer: &Layer| layer.parts.last().map_or(0, |placed| placed.row + 1);
        self.layers.get(layer).map_or(self.rows.len(), of_layer).min(self.rows.len())
    }

    /// Columns of the output, of all places of a sample.
    pub fn output(&self) -> usize {
        // The outputs of steps are features of one row, and those of tokens are rows.
        let row = self.values.last().copied().unwrap_or_default();
        if self.reads_every_step() { row } else { self.places * row }
    }

    /// Columns of the output of one place, which a loss compares with a target.
    pub fn output_row(&self) -> usize {
        self.output() / self.places
    }

    /// Features and rows of the last value of so many samples.
    pub fn last_value(&self, samples: usize) -> (usize, usize) {
        let features = self.values.last().copied().unwrap_or_default();
        (features, samples * self.output() / features.max(1))
    }

    /// The rows of the output that belong to some samples.
    pub fn places_of<'r>(&self, samples: &'r [usize]) -> Cow<'r, [usize]> {
        let of_sample = |&sample: &usize| sample * self.places..(sample + 1) * self.places;
        if self.places == 1 { Cow::Borrowed(samples) } else { samples.iter().flat_map(of_sample).collect() }
    }

    /// The parameters of a part.
    pub fn parameters(&self, layer: usize, index: usize) -> &Parameters {
        &self.slots[self.layers[layer].slot][index]
    }

    /// The owner of parameters of a part.
    pub fn owner(&self, layer: usize, row: usize, index: usize) -> Owner {
        Owner { layer, row, slot: self.layers[layer].slot, index, module: self.parameters(layer, index).module }
    }

    /// The name in a state dict of some parameters of a slot; several of one module are counted.
    pub fn name(&self, slot: usize, index: usize) -> String {
        let (all, module) = (&self.slots[slot], self.slots[slot][index].module);
        if let Some(label) = all[index].label {
            return label.text();
        }
        let same = |some: &[Parameters]| some.iter().filter(|parameters| parameters.module == module).count();
        let name = module.name(slot);
        if same(all) > 1 { format!("{name}.{}", same(&all[..index])) } else { name }
    }

    /// The names of the rows of a probe: those of their maps.
    pub fn row_names(&self) -> Vec<String> {
        let maps = |layer: &Layer| {
            let slot = layer.slot;
            let own = |placed: &Placed| if let Part::Map(map) = placed.part { Some(map.own) } else { None };
            layer.parts.iter().filter_map(own).map(move |own| self.name(slot, own)).collect::<Vec<_>>()
        };
        self.layers[..self.depth].iter().flat_map(maps).collect()
    }

    /// Every tensor of parameters in the order of a state dict: input side first, the readout last.
    pub fn tensors(&self) -> Vec<Tensor> {
        let of_parameters = |slot: usize, index: usize, parameters: &Parameters| {
            let name = self.name(slot, index);
            let tensors = parameters.tensors().into_iter();
            tensors
                .map(move |(which, shape)| (TensorId { slot, index, which }, format!("{name}.{}", which.name()), shape))
        };
        let of_slot = |(slot, all): (usize, &Vec<Parameters>)| {
            let each = all.iter().enumerate().flat_map(|(index, parameters)| of_parameters(slot, index, parameters));
            each.collect::<Vec<_>>()
        };
        self.slots.iter().enumerate().flat_map(of_slot).collect()
    }

    /// Every linear map with parameters of its own, the readout last.
    pub fn maps(&self) -> impl Iterator<Item = &LinearPlan> {
        self.slots.iter().flatten().filter_map(Parameters::as_linear)
    }

    /// Entries of the weights.
    pub fn weight_entries(&self) -> usize {
        self.maps().map(LinearPlan::entries).sum()
    }
}

/// The columns that parts note, and the names of these parts, each with the first of its columns.
fn columns_of<'p>(parts: impl Iterator<Item = &'p Part>) -> (Vec<String>, Vec<(&'static str, usize)>) {
    let (mut columns, mut noted) = (Vec::new(), Vec::<(&str, usize)>::new());
    for part in parts {
        if noted.iter().all(|(name, _)| *name != part.name()) {
            noted.push((part.name(), columns.len()));
            columns.extend(part.extra());
        }
    }
    (columns, noted)
}

/// Must what a part gives be kept? The parts behind it work in its place, up to one that needs its input again, to a
/// stream that begins, or to the end of the layer, which hands it on; or one takes it away.
fn kept(behind: &[Part]) -> bool {
    behind.iter().map(Part::work).find(|work| *work != Work::InPlace) != Some(Work::Takes)
}

/// Is what the last of these parts gives the activations of a layer: those of `phi`, or the
/// state of a cell, behind all that adjusts them?
fn shows_activations(so_far: &[Part], behind: &[Part]) -> bool {
    let last = so_far.iter().rev().find(|part| !part.adjusts());
    matches!(last, Some(Part::Phi(_) | Part::Cell(_))) && !behind.first().is_some_and(Part::adjusts)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::{RnnRequest, TransformerRequest};

    #[test]
    fn parts_of_one_name_note_the_same_columns_which_the_plan_finds_once() {
        for cell in ["lstm", "gru"] {
            let asked = RnnRequest { layers: 2, cell: cell.to_owned(), ..RnnRequest::new(3, 4) };
            let plan = Plan::new(&Spec::of_steps(&asked).unwrap());
            let parts = plan.layers.iter().flat_map(|layer| &layer.parts);
            let noting = parts.filter(|placed| !placed.part.extra().is_empty()).collect::<Vec<_>>();
            assert_eq!(noting.len(), 6);
            for placed in noting {
                let own = placed.part.extra();
                assert_eq!(plan.extra[placed.columns..][..own.len()], own);
            }
            let norms = plan.of_blocks.iter().map(|&column| &plan.extra[column]);
            assert!(norms.clone().all(|name| name.starts_with("log10_wgrad_norm_")));
            assert_eq!(norms.len(), if cell == "lstm" { 4 } else { 3 });
        }
        let plan = Plan::new(&Spec::of_blocks(&TransformerRequest::new(2, 8)).unwrap());
        assert_eq!(plan.of_blocks.len(), 3);
        assert_eq!(plan.extra[plan.of_tokens.unwrap()..], ["token_correlation", "token_rank"]);
    }
}
