//! The layers of a probe allocate nothing once a worker has its buffers.

use allocation_counter::measure;
use vgcore::error::Cancel;
use vgcore::run::{Job, probe};
use vgcore::spec::{BranchScale, PerLayer, Request, Spec};

fn job(widths: &[i128], depth: usize, activation: &str, skip: bool, seeds: usize) -> Job<f32> {
    let spec = Spec::new(&Request {
        depth: depth as i128,
        width: PerLayer::Each(widths.iter().copied().cycle().take(depth).collect()),
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
    // A batch of 40 takes Gram matrices at widths from 20 on, and weight gradients below.
    let nets: [(&[i128], _, _); 4] =
        [(&[24], "relu", false), (&[24], "tanh", true), (&[12], "gelu", false), (&[100, 4], "tanh", false)];
    for (widths, activation, skip) in nets {
        let count = |depth, seeds| {
            let job = job(widths, depth, activation, skip, seeds);
            measure(|| probe(&job, &Cancel::default(), &|_, _| ()).unwrap()).count_total
        };
        let of_four_runs = |depth| count(depth, 8) - count(depth, 4);
        assert!(of_four_runs(4) > 0);
        // A buffer that few layers need may grow late, once: not 240 times.
        let (shallow, deep) = (of_four_runs(4), of_four_runs(64));
        assert!(deep <= shallow + 2, "{activation} {widths:?}: {shallow} {deep}");
    }
}
