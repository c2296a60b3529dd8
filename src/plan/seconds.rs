//! About how long a job takes, on one thread of a processor of today: enough to tell what is worth a thread.
//!
//! Measured on Zen 3 with AVX2, and doubled for slower processors and for what costs more than the plainest layer.

use super::{Placed, Plan};
use crate::part::{Attend, Cell, LinearPlan, Part};
use crate::transform::Transform;

/// Of one multiply-add of a product.
const PRODUCT: f64 = 0.04e-9;
/// Of one number of a batch: activation, slope, norms of what passes.
const NUMBER: f64 = 1.5e-9;
/// Of one pre-activation of a gate: its function and slope, the products of gates, and what a probe notes of them.
const GATE: f64 = 10e-9;
/// Of what a cell takes whatever its size, most of it for notes.
const CELL: f64 = 5e-6;
/// Of one pair of tokens: its exponential, both products, and what a probe notes of them.
const PAIR: f64 = 12e-9;
/// Of what a layer takes whatever its size.
const LAYER: f64 = 0.5e-6;
/// Of one number that is drawn.
const DRAWN: f64 = 5e-9;
/// Of one number of an orthogonal matrix, for each column of its shorter side.
const ROTATED: f64 = 0.8e-9;

/// Of one number that is copied, and of what its tensor takes whatever its size.
const COPIED: f64 = 1e-9;
const NAMED: f64 = 0.5e-6;

impl Plan {
    /// Seconds in which the numbers of a net are copied, tensor by tensor.
    pub fn copy_seconds(&self) -> f64 {
        COPIED * self.weight_entries() as f64 + NAMED * self.slots.len() as f64
    }

    /// Seconds of a forward pass. A backward pass takes about twice as long.
    pub fn pass_seconds(&self, batch: usize) -> f64 {
        let products = self.layers.iter().flat_map(|layer| &self.slots[layer.slot]);
        let products = products.filter_map(|parameters| parameters.as_linear()).map(LinearPlan::entries).sum::<usize>();
        let numbers = self.values.iter().sum::<usize>();
        let parts = || self.layers.iter().flat_map(|layer| &layer.parts);
        let cells =
            parts().filter_map(|placed| if let Part::Cell(cell) = placed.part { Some((placed, cell)) } else { None });
        let units = |(placed, cell): (&Placed, Cell)| cell.gates.count() * placed.features.1;
        let (gates, count) = (cells.clone().map(units).sum::<usize>(), cells.count());
        // Each token meets all of its sample, once with its query and once with its weights.
        let attention = parts().map(|placed| match placed.part {
            Part::Attend(Attend { heads, .. }) => {
                let meetings = (heads.count * heads.tokens) as f64;
                meetings * (2.0 * PRODUCT * heads.features as f64 + PAIR)
            }
            _ => 0.0,
        });
        let of_row = PRODUCT * products as f64 + NUMBER * numbers as f64 + GATE * gates as f64 + attention.sum::<f64>();
        // Few samples cost as much as half a panel of float32.
        LAYER * self.layers.len() as f64
            + CELL * count as f64
            + of_row * (batch * self.tokens).next_multiple_of(16) as f64
    }

    /// Seconds in which the numbers of a net are drawn, or taken as given. Infinite where that depends on the numbers:
    /// they are scaled by what data make of them, or a largest singular value is approached step by step.
    pub fn draw_seconds(&self) -> f64 {
        let approached = |map: &LinearPlan| map.transform.as_ref().is_some_and(Transform::by_singular_value);
        if self.calibrates || self.maps().any(approached) {
            return f64::INFINITY;
        }
        let of_map = |map: &LinearPlan| {
            let shorter = if map.weight.is_isometry() { map.fan_in.min(map.block_rows()) } else { 0 };
            (DRAWN + ROTATED * shorter as f64) * map.entries() as f64
        };
        LAYER * self.slots.len() as f64 + self.maps().map(of_map).sum::<f64>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::{RnnRequest, Spec, TransformerRequest};

    #[test]
    fn gates_and_pairs_of_tokens_cost_what_plain_layers_do_not() {
        let of_cell = |cell: &str, width| {
            let request = RnnRequest { cell: cell.to_owned(), ..RnnRequest::new(100, width) };
            Plan::new(&Spec::of_steps(&request).unwrap()).pass_seconds(64)
        };
        // Four products instead of one explain a wide LSTM, and gates a narrow one.
        assert!(of_cell("lstm", 8) > 8.0 * of_cell("tanh", 8));
        assert!((3.0..7.0).contains(&(of_cell("lstm", 512) / of_cell("tanh", 512))));
        let of_tokens = |tokens| {
            let request = TransformerRequest { tokens, ..TransformerRequest::new(1, 8) };
            Plan::new(&Spec::of_blocks(&request).unwrap()).pass_seconds(4)
        };
        assert!((3.5..4.0).contains(&(of_tokens(2048) / of_tokens(1024))));
    }
}
