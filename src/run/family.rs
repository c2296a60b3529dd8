//! Cells that are measured together: nets that differ in depth alone share one forward pass.

use super::Job;
use crate::error::Result;
use crate::plan::Plan;
use crate::simd::Float;
use std::collections::HashMap;
use std::sync::Arc;

/// Cells that differ in depth alone, the deepest first: each is the beginning of the deepest net.
pub(super) struct Family {
    /// Indices of the cells.
    pub cells: Vec<usize>,
    /// Layers held at a time.
    pub segment: usize,
    /// What a run takes.
    pub bytes: u128,
    /// The plan of the only cell of a job. Plans of many take memory of their own: workers make them when they need
    /// them.
    pub plan: Option<Arc<Plan>>,
}

/// The families of a job, in the order of their first cells, each cut into parts that end soon: a cell is finished when
/// its family is. A batch that says nothing is refused.
pub(super) fn families<F: Float>(job: &Job<F>) -> Result<Vec<Family>> {
    let mut groups = Vec::<Vec<usize>>::new();
    let mut of_family = HashMap::new();
    for (index, spec) in job.specs.iter().enumerate() {
        let group = *of_family.entry(spec.family()).or_insert(groups.len());
        groups.resize_with(groups.len().max(group + 1), Vec::new);
        groups[group].push(index);
    }
    let mut parts = Vec::new();
    for mut group in groups {
        group.sort_by_key(|&index| job.specs[index].depth);
        cut(job, &group, &mut parts);
    }
    // Where there are fewer runs than threads, parts are dealt out like cards: each gets shallow and deep cells.
    let hands = job.threads.div_ceil((parts.len() * job.seeds).max(1));
    let deal = |part: Vec<usize>| {
        let hands = hands.min(part.len());
        (0..hands).map(move |hand| part.iter().skip(hand).step_by(hands).copied().collect::<Vec<_>>())
    };
    let family = |mut cells: Vec<usize>| {
        cells.reverse();
        let plan = job.plan(cells[0]);
        plan.check_batch(job.batch)?;
        // Given weights are there anyway, for all workers: none are to be drawn again.
        let (segment, run) = if job.given.is_some() {
            (plan.depth(), plan.pass_bytes::<F>(job.batch))
        } else {
            let segment = plan.segment::<F>(job.batch);
            (segment, plan.run_bytes::<F>(job.batch, segment))
        };
        let signals = 3 * cells.len() as u128 * plan.widest_bytes::<F>(job.batch);
        // Scaling weights by what the data make of them takes the whole net at once, beside what the last run left.
        let calibration = if plan.calibrates { plan.weight_bytes::<F>() + plan.pass_bytes::<F>(job.batch) } else { 0 };
        let plan = (job.specs.len() == 1).then_some(plan);
        Ok(Family { cells, segment, bytes: run + signals + calibration, plan })
    };
    parts.into_iter().flat_map(deal).map(family).collect()
}

/// Cut cells of one kind, the shallowest first, where a part grows long or the next cell would share little of it.
fn cut<F>(job: &Job<F>, group: &[usize], parts: &mut Vec<Vec<usize>>) {
    /// Multiply-adds of a part: some tenths of a second.
    const WORK: u128 = 50_000_000_000;
    /// Signals of so many cells share the caches with a layer's weights.
    const CELLS: usize = 64;
    let (mut work, mut deepest) = (0_u128, 0);
    for &index in group {
        let spec = &job.specs[index];
        let widest = spec.width.values().iter().copied().max().unwrap_or(0);
        let cost = [spec.depth, widest, widest, job.batch].into_iter().map(|n| n as u128).product::<u128>() * 3;
        let part = parts
            .last_mut()
            .filter(|part| deepest > 0 && spec.depth <= 4 * deepest && part.len() < CELLS && work + cost <= WORK);
        if let Some(part) = part {
            part.push(index);
        } else {
            work = 0;
            parts.push(vec![index]);
        }
        (work, deepest) = (work + cost, spec.depth);
    }
}
