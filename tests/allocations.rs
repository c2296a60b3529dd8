//! The layers of a probe allocate nothing once a worker has its buffers.

use allocation_counter::measure;
use vgcore::error::Cancel;
use vgcore::run::{Job, probe};
use vgcore::spec::{BranchScale, PerLayer, Request, Spec};

fn job(depth: i128, activation: &str, skip: bool, seeds: usize) -> Job<f32> {
    let spec = Spec::new(&Request {
        depth,
        width: PerLayer::All(24),
        in_features: None,
        out_features: Some(5),
        activation: PerLayer::All(activation.to_owned()),
        init: "xavier_normal".to_owned(),
        bias: Some("normal(std=0.1)".to_owned()),
        norm: None,
        norm_position: "pre".to_owned(),
        skip: skip.then(|| "residual".to_owned()),
        branch_scale: BranchScale::Number(1.0),
        block: 1,
        tied: false,
    });
    // One thread: allocations are counted on the thread that measures.
    Job { specs: vec![spec.unwrap()], data: None, batch: 40, seed: 0, seeds, threads: 1 }
}

#[test]
fn further_runs_allocate_as_often_at_any_depth() {
    for (activation, skip) in [("relu", false), ("tanh", true), ("gelu", false)] {
        let count = |depth, seeds| {
            let job = job(depth, activation, skip, seeds);
            measure(|| probe(&job, &Cancel::default(), &|_, _| ()).unwrap()).count_total
        };
        let of_four_runs = |depth| count(depth, 8) - count(depth, 4);
        assert!(of_four_runs(4) > 0);
        assert_eq!(of_four_runs(4), of_four_runs(64), "{activation}");
    }
}
