//! What a net is made of, as a text of JSON.

use crate::part::{LinearPlan, Part};
use crate::plan::{Layer, Placed, Plan};
use crate::skip::Way;

/// The layers of a net and the laws that their maps are drawn from, as Python's `_core.plan` has them.
pub fn plan_text(plan: &Plan) -> String {
    let (hidden, ends) = plan.layers.split_at(plan.depth());
    let layers = hidden.iter().map(|layer| layer_text(plan, layer)).collect::<Vec<_>>().join(",");
    let ends = ends.iter().map(|layer| steps_text(plan, layer)).collect::<Vec<_>>().join(",");
    format!(
        "{{\"layers\":[{layers}],\"ends\":[{ends}],\"columns\":{},\"outputs\":{},\"calibrates\":{}}}",
        plan.columns,
        plan.output(),
        plan.calibrates
    )
}

fn layer_text(plan: &Plan, layer: &Layer) -> String {
    let begins = |value: usize| plan.layers.binary_search_by_key(&value, |layer| layer.input).ok();
    let mut joins = layer.parts.iter().filter(|placed| matches!(placed.part, Part::Join(_)));
    let source = joins.next_back().and_then(|placed| placed.around).and_then(begins);
    format!(
        "{{\"input\":{},\"output\":{},\"source\":{},\"steps\":[{}]}}",
        plan.values[layer.input],
        plan.values[layer.output],
        source.map_or("null".to_owned(), |source| source.to_string()),
        steps_text(plan, layer)
    )
}

fn steps_text(plan: &Plan, layer: &Layer) -> String {
    layer.parts.iter().map(|placed| step_text(plan, layer.slot, placed)).collect::<Vec<_>>().join(",")
}

/// A part of an MLP.
fn step_text(plan: &Plan, slot: usize, placed: &Placed) -> String {
    let map = placed.part.linear().map(|index| format!(",\"map\":{}", map_text(plan.slots[slot][index].linear())));
    let own = match &placed.part {
        Part::Norm(norm) => format!(",\"kind\":\"{}\"", norm.norm.text()),
        Part::Phi(phi) => format!(",\"kind\":\"{}\"", phi.activation.text()),
        Part::Keep(keep) => format!(",\"stream\":{}", keep.stream),
        Part::Join(join) => {
            let start = if join.way == Way::Learned { plan.slots[slot][join.learned].start() } else { 1.0 };
            format!(
                ",\"kind\":\"{}\",\"stream\":{},\"scale\":{:?},\"around\":{:?},\"start\":{start:?}",
                join.way.name(),
                join.stream,
                join.scale,
                join.around
            )
        }
        _ => String::new(),
    };
    let (inputs, outputs) = placed.features;
    let name = placed.part.name();
    format!("{{\"part\":\"{name}\",\"inputs\":{inputs},\"outputs\":{outputs}{}{own}}}", map.unwrap_or_default())
}

fn map_text(map: &LinearPlan) -> String {
    let ([mean, variance], [bias_mean, bias_variance]) = (map.moments(), map.bias_moments());
    format!(
        "{{\"fan_in\":{},\"fan_out\":{},\"law\":\"{}\",\"weight_mean\":{mean:?},\"weight_variance\":{variance:?},\
         \"bias_mean\":{bias_mean:?},\"bias_variance\":{bias_variance:?}}}",
        map.fan_in,
        map.fan_out,
        map.weight.name()
    )
}
