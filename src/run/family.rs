//! Cells that are measured together: nets that differ in depth alone share one forward pass.

use super::Job;
use super::pass::WAVE;
use crate::error::Result;
use crate::plan::{Layer, Plan};
use crate::simd::Float;
use crate::stats::Columns;
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
    /// About how many seconds a layer of the shared forward pass takes, its numbers drawn.
    forward: f64,
    /// About how many seconds a layer of one cell's backward pass takes.
    backward: f64,
}

impl Family {
    /// The family of some cells of one kind, the deepest first. A batch that says nothing is refused.
    fn new<F: Float>(job: &Job<F>, cells: Vec<usize>) -> Result<Self> {
        let plan = job.plan(cells[0]);
        plan.check_batch(job.batch)?;
        let depth = plan.depth();
        // Given weights are there anyway, for all workers: none are to be drawn again.
        let (segment, run) = if job.given.is_some() {
            (depth, plan.pass_bytes::<F>(job.batch))
        } else {
            let segment = plan.segment::<F>(job.batch);
            (segment, plan.run_bytes::<F>(job.batch, segment))
        };
        let wave = if segment < depth { cells.len() } else { cells.len().min(WAVE) } as u128;
        let signals = wave * (3 * plan.widest_bytes::<F>(job.batch) + Columns::bytes(depth));
        // Scaling weights by what the data make of them takes the whole net at once, beside what the last run left.
        let calibration = if plan.calibrates { plan.weight_bytes::<F>() + plan.pass_bytes::<F>(job.batch) } else { 0 };
        let plans = cells.len() as u128 * plan_bytes(&plan);
        let pass = plan.pass_seconds(job.batch);
        // Where drawing depends on the numbers, as many passes as were measured of such nets.
        let drawn = if job.given.is_some() { 0.0 } else { plan.draw_seconds().min(64.0 * pass) };
        let again = if segment < depth { 2.0 } else { 1.0 };
        Ok(Self {
            cells,
            segment,
            bytes: run + signals + Columns::bytes(depth) + calibration + plans,
            forward: again * (drawn + pass) / depth as f64,
            // The norm of a weight gradient comes from Gram matrices: there is one product, as on the way forward.
            backward: pass / depth as f64,
            plan: (job.specs.len() == 1).then_some(plan),
        })
    }

    /// About how many seconds a run takes.
    fn seconds<F>(&self, job: &Job<F>) -> f64 {
        let depth = |cell: &usize| job.specs[*cell].depth as f64;
        self.forward * depth(&self.cells[0]) + self.backward * self.cells.iter().map(depth).sum::<f64>()
    }
}

/// Bytes of a plan.
fn plan_bytes(plan: &Plan) -> u128 {
    let of_layer = |layer: &Layer| size_of_val(layer) + size_of_val(&*layer.parts) + size_of_val(&*layer.live);
    let layers = plan.layers.iter().map(of_layer).sum::<usize>();
    let slots = plan.slots.iter().map(|slot| size_of_val(slot) + size_of_val(&**slot)).sum::<usize>();
    (layers + slots + size_of_val(&*plan.values) + size_of_val(&*plan.rows)) as u128
}

/// The families of a job, each cut into parts that end soon, the shortest part first. A batch that says nothing is
/// refused.
pub(super) fn families<F: Float>(job: &Job<F>) -> Result<Vec<Family>> {
    let mut groups = Vec::<Vec<usize>>::new();
    let mut of_family = HashMap::new();
    for (index, spec) in job.specs.iter().enumerate() {
        let group = *of_family.entry(spec.family()).or_insert(groups.len());
        groups.resize_with(groups.len().max(group + 1), Vec::new);
        groups[group].push(index);
    }
    let whole = |mut cells: Vec<usize>| {
        cells.sort_by_key(|&index| std::cmp::Reverse(job.specs[index].depth));
        Family::new(job, cells)
    };
    let mut wholes = groups.into_iter().map(whole).collect::<Result<Vec<_>>>()?;
    let shortest_first = |families: &mut Vec<Family>| {
        families.sort_by(|one, two| one.seconds(job).total_cmp(&two.seconds(job)));
    };
    let total = |families: &[Family]| families.iter().map(|family| family.seconds(job)).sum::<f64>();
    shortest_first(&mut wholes);
    let all = total(&wholes);
    let mut parts = Vec::with_capacity(wholes.len());
    for (index, whole) in wholes.into_iter().enumerate() {
        replace(job, whole, |whole| cut(job, whole, all, index == 0), &mut parts)?;
    }
    // A run that would take longer than the threads take for all is dealt out like cards: each hand gets shallow and
    // deep cells.
    let fair = total(&parts) * job.seeds as f64 / job.threads as f64;
    let mut hands = Vec::with_capacity(parts.len());
    for part in parts {
        let count = ((0.99 * part.seconds(job) / fair).ceil() as usize).clamp(1, part.cells.len());
        let hand = |part: &Family, hand| part.cells.iter().skip(hand).step_by(count).copied().collect();
        replace(job, part, |part| (0..count).map(|index| hand(part, index)).collect(), &mut hands)?;
    }
    shortest_first(&mut hands);
    Ok(hands)
}

/// Put the families of some parts in the place of a family.
fn replace<F: Float>(
    job: &Job<F>,
    family: Family,
    cut: impl FnOnce(&Family) -> Vec<Vec<usize>>,
    families: &mut Vec<Family>,
) -> Result<()> {
    let parts = cut(&family);
    if parts.len() == 1 {
        families.push(family);
        return Ok(());
    }
    parts.into_iter().try_for_each(|cells| Family::new(job, cells).map(|family| families.push(family)))
}

/// Cut the cells of a family, the shallowest first, where a part grows long or the next cell would share little of it.
/// A part that is cut off runs layers that the others run again, so cuts come where that costs little: in a job that
/// takes `all` seconds for each seed, the first cells are to come soon, and no part is to keep its cells much longer
/// than all parts before it together. The `first` family may cost more, for it gives the first cell of all.
fn cut<F>(job: &Job<F>, family: &Family, all: f64, first: bool) -> Vec<Vec<usize>> {
    /// Multiply-adds of a part: some tenths of a second.
    const WORK: u128 = 50_000_000_000;
    /// Signals of so many cells share the caches with a layer's weights.
    const CELLS: usize = 64;
    /// The share of a job that its first part may take: half of what is promised, for times are estimates.
    const SOON: f64 = 0.01;
    /// The share of a family's time that layers run again may take.
    const AGAIN: f64 = 0.04;
    /// How many times as long as all parts before it a part may take.
    const GROWTH: f64 = 4.0;
    /// Seconds of a job that nobody watches cell by cell.
    const UNWATCHED: f64 = 0.2;
    let of_runs = job.seeds as f64 / job.threads as f64;
    // Where there are more threads than seeds, they do not all work on the first part.
    let soon = SOON * all * of_runs.min(1.0);
    let most = AGAIN * family.seconds(job);
    let mut allowed = if all * of_runs < UNWATCHED { 0.0 } else { most.max(if first { soon } else { 0.0 }) };
    let mut parts = vec![Vec::new()];
    let (mut work, mut layers, mut deepest, mut before) = (0_u128, 0, 0, 0.0);
    let seconds = |deepest, layers| family.forward * deepest as f64 + family.backward * layers as f64;
    for &index in family.cells.iter().rev() {
        let spec = &job.specs[index];
        let widest = spec.width.values().iter().copied().max().unwrap_or(0);
        let cost = [spec.depth, widest, widest, job.batch].into_iter().map(|n| n as u128).product::<u128>() * 3;
        let part = parts.len() - 1;
        let far = spec.depth > 4 * deepest || parts[part].len() >= CELLS || work + cost > WORK;
        let long = seconds(spec.depth, layers + spec.depth) > soon.max(GROWTH * before);
        let again = seconds(deepest, 0);
        if deepest > 0 && (far || long && again <= allowed) {
            if !far {
                allowed -= again;
            }
            before += seconds(deepest, layers);
            (work, layers) = (0, 0);
            parts.push(Vec::new());
        }
        parts.last_mut().unwrap().push(index);
        (work, layers, deepest) = (work + cost, layers + spec.depth, spec.depth);
    }
    parts.iter_mut().for_each(|part| part.reverse());
    parts
}
