//! Any finite numbers are the numbers of a net: it gives them back, computes with them, and never panics.
#![no_main]

use libfuzzer_sys::fuzz_target;
use std::sync::Arc;
use vgcore::error::Cancel;
use vgcore::gradients::{self, Start};
use vgcore::plan::Plan;
use vgcore::simd::Float;
use vgcore::spec::Spec;
use vgcore::weights::Weights;
use vgcore_fuzz::{request, small};

fn check<F: Float + PartialEq + std::fmt::Debug>(plan: &Arc<Plan>, numbers: &[f64]) {
    // Numbers beyond the range of a dtype are refused before they come here.
    let mut endless = numbers.iter().map(|n| F::of(*n)).filter(|n| n.finite()).collect::<Vec<_>>().into_iter().cycle();
    let mut next = || endless.next().unwrap_or(F::ZERO);
    let tensors: Vec<Vec<F>> =
        plan.tensors().iter().map(|(_, _, shape)| (0..shape.iter().product()).map(|_| next()).collect()).collect();
    let cancel = Cancel::default();
    let Ok(weights) = Weights::given(plan, tensors.clone(), &cancel) else { return };
    assert_eq!(weights.tensors(plan), tensors, "a net gives back the numbers it was given");
    let (weights, batch) = (Arc::new(weights), 3);
    let x = (0..batch * plan.columns).map(|_| next()).collect::<Vec<_>>();
    let Ok(output) = gradients::output(plan, &weights, &x, 1, &cancel) else { return };
    assert_eq!(output.len(), batch * plan.output());
    let start = Start::Cotangent(vec![1.0; output.len()]);
    let found = gradients::gradients(plan, &weights, &x, &start, 1, |_| (), &cancel).expect("what has an output");
    assert_eq!(found.tensors.len(), tensors.len());
}

fuzz_target!(|data: &[u8]| {
    // A net in lines of text, a zero byte, and numbers.
    let (head, tail) = data.split_at(data.iter().position(|byte| *byte == 0).unwrap_or(data.len()));
    let Ok(text) = std::str::from_utf8(head) else { return };
    let request = request(text);
    if !small(&request) {
        return;
    }
    let Ok(spec) = Spec::new(&request) else { return };
    let numbers = tail.get(1..).unwrap_or_default().as_chunks::<8>().0.iter().map(|bits| f64::from_le_bytes(*bits));
    let numbers = numbers.filter(|n| n.is_finite()).collect::<Vec<_>>();
    let plan = Arc::new(Plan::new(&spec));
    check::<f32>(&plan, &numbers);
    check::<f64>(&plan, &numbers);
});
