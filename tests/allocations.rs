//! The layers of a probe allocate nothing once a worker has its buffers.

use allocation_counter::measure;
use vgcore::error::Cancel;
use vgcore::run::{Job, probe};
use vgcore::spec::{Bias, MlpRequest, PerLayer, Spec};

fn job(widths: &[i128], depth: usize, request: &MlpRequest, seeds: usize) -> Job<f32> {
    let spec = Spec::new(&MlpRequest {
        depth: depth as i128,
        width: PerLayer::Each(widths.iter().copied().cycle().take(depth).collect()),
        out_features: Some(5),
        bias: PerLayer::All(Bias::Named("normal(std=0.1)".to_owned())),
        ..request.clone()
    });
    // One thread: allocations are counted on the thread that measures.
    Job {
        specs: vec![spec.unwrap()],
        plan: None,
        given: None,
        data: None,
        loss: None,
        batch: 40,
        seed: 0,
        seeds,
        threads: 1,
    }
}

#[test]
fn further_runs_allocate_as_often_at_any_depth() {
    // A batch of 40 takes Gram matrices at widths from 20 on, and weight gradients below.
    let activation = |name: &str| MlpRequest { activation: PerLayer::All(name.to_owned()), ..MlpRequest::new(1, 1) };
    let norm = |name: &str| MlpRequest { norm: PerLayer::All(Some(name.to_owned())), ..activation("tanh") };
    let skip = |name: &str| MlpRequest { skip: Some(name.to_owned()), ..norm("layer") };
    let nets: [(&[i128], MlpRequest); 11] = [
        (&[24], activation("relu")),
        (&[12], activation("gelu")),
        (&[24], activation("glu")),
        (&[24], activation("crelu")),
        (&[24], activation("prelu")),
        (&[100, 4], activation("tanh")),
        (&[24], norm("batch")),
        (&[24], skip("residual")),
        (&[24], skip("residual(order=pre)")),
        (&[24], skip("rezero(alpha=0.5)")),
        (&[24], skip("highway")),
    ];
    for (widths, request) in nets {
        let count = |depth, seeds| {
            let job = job(widths, depth, &request, seeds);
            measure(|| probe(&job, &Cancel::default(), &|_, _| ()).unwrap()).count_total
        };
        // The first job leaves its buffers to the others.
        let of_four_runs = |depth| {
            count(depth, 1);
            count(depth, 8) - count(depth, 4)
        };
        assert!(of_four_runs(4) > 0);
        // A buffer that few layers need may grow late, once: not 500 times. How much memory there is is asked, which
        // allocates, of no job below a megabyte and of every one beyond it: these are well to either side.
        let (shallow, deep) = (of_four_runs(4), of_four_runs(128));
        assert!(deep <= shallow + 2, "{request:?} {widths:?}: {shallow} {deep}");
    }
}
