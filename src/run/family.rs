//! Cells that are measured together: nets that differ in depth alone share one forward pass.

use super::Job;
use super::pass::WAVE;
use crate::error::{Cancel, Result};
use crate::part::Parameters;
use crate::plan::{Layer, Placed, Plan};
use crate::simd::Float;
use crate::spec::Spec;
use crate::stats::Columns;
use std::cmp::Reverse;
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
    fn new<F: Float>(job: &Job<F>, cells: Vec<usize>, cancel: &Cancel) -> Result<Self> {
        cancel.check()?;
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
        let columns = Columns::bytes(plan.rows.len(), plan.extra.len());
        let wave = if segment < depth { cells.len() } else { cells.len().min(WAVE) } as u128;
        let signal = 3 * plan.widest_bytes::<F>(job.batch)
            + plan.output_bytes::<F>(job.batch)
            + plan.attention_buffer_bytes::<F>();
        let signals = wave * (signal + columns);
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
            bytes: run + signals + columns + calibration + plans,
            forward: again * (drawn + pass) / depth as f64,
            // The norm of a weight gradient comes from Gram matrices: there is one product, as on the way forward.
            backward: pass / depth as f64,
            plan: (job.specs.len() == 1).then_some(plan),
        })
    }

    /// About how many seconds a run takes.
    fn seconds<F>(&self, job: &Job<F>) -> f64 {
        let depth = |cell: &usize| job.specs[*cell].depth() as f64;
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

/// Bytes that the plan of a spec takes at least, each layer a map and an activation: known before it is made.
pub(super) fn least_plan_bytes(spec: &Spec) -> u128 {
    let of_layer =
        size_of::<Layer>() + 2 * size_of::<Placed>() + size_of::<Vec<Parameters>>() + size_of::<Parameters>();
    spec.depth() as u128 * of_layer as u128 + spec.stream_bytes()
}

/// The families of a job, cut into parts that end soon, the shortest first. A batch that says nothing is refused.
pub(super) fn families<F: Float>(job: &Job<F>, cancel: &Cancel) -> Result<Vec<Family>> {
    let mut groups = Vec::<Vec<usize>>::new();
    let mut of_family = HashMap::new();
    for (index, spec) in job.specs.iter().enumerate() {
        cancel.check()?;
        let group = *of_family.entry(spec.family()).or_insert(groups.len());
        groups.resize_with(groups.len().max(group + 1), Vec::new);
        groups[group].push(index);
    }
    groups.iter_mut().for_each(|cells| cells.sort_by_key(|&index| Reverse(job.specs[index].depth())));
    let wholes = groups.into_iter().map(|cells| Family::new(job, cells, cancel)).collect::<Result<Vec<_>>>()?;
    let wholes = shortest_first(job, wholes);
    let all = seconds(job, &wholes);
    let parts = replaced(job, wholes, cancel, |place, family| cut(job, family, all, place == 0))?;
    // A run that takes longer than the threads need for all of them is dealt out like cards: each hand gets shallow and
    // deep cells.
    let fair = seconds(job, &parts) * job.seeds as f64 / job.threads as f64;
    replaced(job, parts, cancel, |_, family| {
        // Times that are equal may differ by a rounding.
        let hands = (0.99 * family.seconds(job) / fair).ceil().clamp(1.0, family.cells.len() as f64) as usize;
        (0..hands).map(|hand| family.cells.iter().skip(hand).step_by(hands).copied().collect()).collect()
    })
}

/// About how many seconds a run of each of these takes.
pub(super) fn seconds<F>(job: &Job<F>, families: &[Family]) -> f64 {
    families.iter().map(|family| family.seconds(job)).sum()
}

fn shortest_first<F>(job: &Job<F>, mut families: Vec<Family>) -> Vec<Family> {
    families.sort_by(|one, two| one.seconds(job).total_cmp(&two.seconds(job)));
    families
}

/// Every family replaced by its parts, the shortest first.
fn replaced<F: Float>(
    job: &Job<F>,
    families: Vec<Family>,
    cancel: &Cancel,
    parts: impl Fn(usize, &Family) -> Vec<Vec<usize>>,
) -> Result<Vec<Family>> {
    let mut all = Vec::with_capacity(families.len());
    for (place, family) in families.into_iter().enumerate() {
        let parts = parts(place, &family);
        if parts.len() == 1 {
            all.push(family);
            continue;
        }
        for cells in parts {
            all.push(Family::new(job, cells, cancel)?);
        }
    }
    Ok(shortest_first(job, all))
}

/// The cells of a family in parts. A new part begins where the cells' own passes take long or the next cell would share
/// little, and wherever it lets cells come sooner and costs little: layers of a part that ends are run again by the next
/// one. `all` is about how many seconds a run of every family takes; the `first` family gives the first cell of all, and
/// may pay more for it.
fn cut<F>(job: &Job<F>, family: &Family, all: f64, first: bool) -> Vec<Vec<usize>> {
    /// Multiply-adds of a part: some tenths of a second.
    const WORK: u128 = 50_000_000_000;
    /// Signals of so many cells share the caches with a layer's weights.
    const CELLS: usize = 64;
    /// Seconds of a job that ends soon enough as a whole.
    const SHORT: f64 = 0.2;
    /// The share of a job within which its first cells come: half of what is promised, for times are estimates.
    const SOON: f64 = 0.01;
    /// The share of a job for which cells may wait for each other.
    const TOGETHER: f64 = 0.05;
    /// The share of a family's time that may go into layers that are run again, so that they do not.
    const AGAIN: f64 = 0.05;
    let (rounds, own) = (job.seeds as f64 / job.threads as f64, family.seconds(job));
    // Where there are more threads than seeds, the others do not help with the first part.
    let soon = SOON * all * rounds.min(1.0);
    let mut allowed = 0.0;
    if all * rounds > SHORT {
        let (waits, pays) = (own > TOGETHER * all, if first { soon } else { 0.0 });
        allowed = if waits { f64::max(AGAIN * own, pays) } else { pays };
    }
    // Parts that take equally long end at the roots of 1/k, 2/k, ... of the depth: 2/3 k - 0.6 depths are run again.
    let again = |depth: usize| family.forward * depth as f64;
    let even = own / (1.5 * (allowed / again(job.specs[family.cells[0]].depth()) + 0.6)).max(1.0);
    let (mut parts, mut part) = (Vec::new(), Vec::new());
    let (mut work, mut layers, mut deepest) = (0, 0, 0);
    for &index in family.cells.iter().rev() {
        let spec = &job.specs[index];
        let widest = spec.widest();
        let cost =
            [spec.depth(), widest, widest, job.batch * spec.tokens()].into_iter().map(|n| n as u128).product::<u128>()
                * 3;
        if !part.is_empty() {
            let must = spec.depth() > 4 * deepest || part.len() >= CELLS || work + cost > WORK;
            let seconds = again(spec.depth()) + family.backward * (layers + spec.depth()) as f64;
            let long = seconds > if parts.is_empty() { soon } else { soon.max(even) };
            // Behind the next cell a cut would cost more.
            let may = again(deepest) <= allowed && (long || again(spec.depth()) > allowed);
            if must || may {
                allowed -= if must { 0.0 } else { again(deepest) };
                (work, layers) = (0, 0);
                parts.push(std::mem::take(&mut part));
            }
        }
        part.insert(0, index);
        (work, layers, deepest) = (work + cost, layers + spec.depth(), spec.depth());
    }
    parts.push(part);
    parts
}
