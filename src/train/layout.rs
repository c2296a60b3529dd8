//! What training needs to know of the tensors of a net beside their numbers.

use crate::part::{Label, Module, Owner, Part, TensorId, Which};
use crate::plan::Plan;

/// The tensors of a net in the order of a state dict, and where to find them.
#[derive(Debug, Clone)]
pub struct Layout {
    /// Which tensors there are.
    pub ids: Vec<TensorId>,
    /// The names of the tensors in a state dict.
    pub names: Vec<String>,
    /// The numbers of entries of the tensors.
    pub counts: Vec<usize>,
    /// Are they weight matrices of hidden layers? What a layer of a recurrent net gets from the one below is between two
    /// hidden layers; what the first one gets is the input, and so is what an embedding gets.
    pub hidden: Vec<bool>,
    /// Do they belong to the readout?
    pub of_readout: Vec<bool>,
    /// The hidden layer that each is first used in; the depth for the readout.
    pub layers: Vec<usize>,
    /// The weight matrix of every row of a probe, and of the readout if there is one.
    pub rows: Vec<usize>,
    /// The names of these rows.
    pub row_names: Vec<String>,
    /// `[slot][index]`: the places of weight and bias.
    places: Vec<Vec<[usize; 2]>>,
}

impl Layout {
    /// The layout of a plan.
    pub fn new(plan: &Plan) -> Self {
        let tensors = plan.tensors();
        let mut places = plan.slots.iter().map(|slot| vec![[usize::MAX; 2]; slot.len()]).collect::<Vec<_>>();
        for (place, (id, _, _)) in tensors.iter().enumerate() {
            places[id.slot][id.index][usize::from(id.which == Which::Bias)] = place;
        }
        let module = |id: &TensorId| plan.slots[id.slot][id.index].module;
        let between = |id: &TensorId| match module(id) {
            Module::Layers => !matches!(plan.slots[id.slot][id.index].label, Some(Label::Net(_))),
            Module::LayerInputs => id.slot > 0,
            _ => false,
        };
        let mut first = vec![plan.depth(); plan.slots.len()];
        for (index, layer) in plan.layers.iter().enumerate().rev() {
            first[layer.slot] = index;
        }
        let maps = |layer: &crate::plan::Layer| {
            let (slot, parts) = (layer.slot, layer.parts.clone());
            parts.into_iter().filter_map(move |placed| match placed.part {
                Part::Map(map) => Some((slot, map.own)),
                // The readout of every step.
                Part::Steps(steps) => Some((slot, steps.own)),
                _ => None,
            })
        };
        let rows = plan.layers.iter().flat_map(maps).collect::<Vec<_>>();
        Self {
            hidden: tensors.iter().map(|(id, _, _)| between(id) && id.which == Which::Weight).collect(),
            of_readout: tensors.iter().map(|(id, _, _)| module(id) == Module::Readout).collect(),
            layers: tensors.iter().map(|(id, _, _)| first[id.slot]).collect(),
            counts: tensors.iter().map(|(_, _, shape)| shape.iter().product()).collect(),
            rows: rows.iter().map(|&(slot, index)| places[slot][index][0]).collect(),
            row_names: rows.iter().map(|&(slot, index)| plan.name(slot, index)).collect(),
            ids: tensors.iter().map(|(id, _, _)| *id).collect(),
            names: tensors.into_iter().map(|(_, name, _)| name).collect(),
            places,
        }
    }

    /// The place of a tensor of some parameters.
    pub fn place(&self, owner: &Owner, which: Which) -> Option<usize> {
        let place = self.places[owner.slot][owner.index][usize::from(which == Which::Bias)];
        (place != usize::MAX).then_some(place)
    }

    /// The number of tensors.
    pub fn count(&self) -> usize {
        self.ids.len()
    }
}
