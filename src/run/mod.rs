//! Many runs in parallel, one reused workspace a worker.

mod family;
mod pass;

use crate::calibrate::{calibrated, factor};
use crate::data::Data;
use crate::error::{Cancel, Result};
use crate::forward::{Trace, forward};
use crate::loss::{Loss, Targets};
use crate::memory::{available_memory, check_memory, workspace};
use crate::plan::Plan;
use crate::rng::{Role, Stream};
use crate::simd::Float;
use crate::spec::Spec;
use crate::stats::Columns;
use crate::threads::share;
use crate::weights::Weights;
use family::{Family, families, least_plan_bytes, seconds};
use pass::{Workspace, run};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// Cells to measure, each over the same seeds.
#[derive(Debug, Clone)]
pub struct Job<F> {
    /// The cells.
    pub specs: Vec<Spec>,
    /// The plan of the only cell, where it has been made already.
    pub plan: Option<Arc<Plan>>,
    /// The numbers of the only cell in all its runs; drawn for each seed if `None`.
    pub given: Option<Arc<Weights<F>>>,
    /// Samples; standard normal ones if `None`.
    pub data: Option<Data<F>>,
    /// The loss, with targets for all rows of the data; a random cotangent if `None`.
    pub loss: Option<(Loss, Targets)>,
    /// Samples of a run; fewer than the data has means a draw of rows for each seed.
    pub batch: usize,
    /// The first seed.
    pub seed: u64,
    /// How many seeds.
    pub seeds: usize,
    /// How many threads at most.
    pub threads: usize,
}

impl<F: Float> Job<F> {
    /// The plan of a cell. Given numbers stay as they are, whatever the data are.
    fn plan(&self, cell: usize) -> Arc<Plan> {
        let made = self.plan.as_ref().filter(|_| self.specs.len() == 1);
        let mut plan = made.map_or_else(|| Arc::new(Plan::new(&self.specs[cell])), Arc::clone);
        if plan.calibrates && self.given.is_some() {
            Arc::make_mut(&mut plan).calibrates = false;
        }
        plan
    }

    /// About how many seconds the job takes on one thread: infinite where no plan has been made.
    pub fn seconds(&self) -> f64 {
        let of_run = |plan: &Arc<Plan>| {
            let drawn = if self.given.is_some() { 0.0 } else { plan.draw_seconds() };
            drawn + 3.0 * plan.pass_seconds(self.batch)
        };
        self.seeds as f64 * self.plan.as_ref().map_or(f64::INFINITY, of_run)
    }

    /// The given numbers, or else these.
    fn numbers<'a>(&'a self, drawn: &'a Weights<F>) -> &'a Weights<F> {
        self.given.as_deref().unwrap_or(drawn)
    }
}

/// Bytes of unit normals that a worker keeps from family to family: about its share of the last-level cache.
const UNITS: usize = 16 << 20;

/// Measure every cell. `finished` gets each cell's columns, one a seed, as soon as its last run has them; cells come in
/// any order. Results do not depend on the number of threads, nor on which cells are measured together.
pub fn probe<F: Float>(job: &Job<F>, cancel: &Cancel, finished: &(dyn Fn(usize, Vec<Columns>) + Sync)) -> Result<()> {
    let results = check_results(job)?;
    let families = families(job, cancel)?;
    let workers = workers(job, &families, results)?;
    // The runs of each cell that have ended, with their seeds.
    let cells = job.specs.iter().map(|_| Mutex::new(Vec::new())).collect::<Vec<_>>();
    let (next, failure) = (AtomicUsize::new(0), Mutex::new(None));
    let work = || -> Result<()> {
        let mut kept = workspace::<Workspace<F>>();
        kept.space.begin(job.threads / workers, if families.len() > 1 { UNITS } else { 0 });
        let (mut planned, mut bytes) = ((usize::MAX, Vec::new()), 0);
        loop {
            let task = next.fetch_add(1, Ordering::Relaxed);
            let (index, seed) = (task / job.seeds, task % job.seeds);
            let Some(family) = families.get(index) else {
                kept.leave(bytes);
                return Ok(());
            };
            bytes = bytes.max(family.bytes);
            if planned.0 != index {
                let plan =
                    |&cell: &usize| cancel.check().map(|()| family.plan.clone().unwrap_or_else(|| job.plan(cell)));
                planned = (index, family.cells.iter().map(plan).collect::<Result<Vec<_>>>()?);
            }
            let done = |place: usize, columns| {
                let cell = family.cells[place];
                let mut runs = cells[cell].lock().unwrap_or_else(PoisonError::into_inner);
                runs.push((seed, columns));
                if runs.len() == job.seeds {
                    let mut runs = std::mem::take(&mut *runs);
                    runs.sort_unstable_by_key(|(seed, _)| *seed);
                    finished(cell, runs.into_iter().map(|(_, columns)| columns).collect());
                }
            };
            run(job, &planned.1, family.segment, job.seed + seed as u64, &mut kept.space, cancel, done)?;
        }
    };
    let worker = || {
        if let Err(error) = work() {
            *failure.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
        }
    };
    share(workers, worker, worker);
    failure.into_inner().unwrap_or_else(PoisonError::into_inner).map_or(Ok(()), Err)
}

/// About how many seconds a job takes, and the bytes that it takes at most. Refuses what `probe` refuses.
pub fn cost<F: Float>(job: &Job<F>, cancel: &Cancel) -> Result<(f64, u128)> {
    let results = check_results(job)?;
    let families = families(job, cancel)?;
    let workers = workers(job, &families, results)?;
    let one = families.iter().map(|family| family.bytes).max().unwrap_or(0);
    Ok((seconds(job, &families) * job.seeds as f64 / workers as f64, workers as u128 * one + results))
}

/// A whole net's numbers for a seed. Where weights are scaled by what data make of them, the data are given samples, or
/// as many standard normal ones as a probe with this seed would draw.
pub fn drawn<F: Float>(
    plan: &Plan,
    seed: u64,
    samples: Option<(Vec<F>, usize)>,
    batch: usize,
    threads: usize,
    cancel: &Cancel,
) -> Result<Weights<F>> {
    if !plan.calibrates {
        return Weights::drawn(plan, seed, threads, cancel);
    }
    let (x, batch) = samples.unwrap_or_else(|| (self::samples(plan, seed, batch), batch));
    plan.check_batch(batch)?;
    let value = |sample: usize, feature: usize| x[sample * plan.columns + feature];
    let begin = |trace: &mut Trace<F>| trace.set_input(plan, batch, value);
    let plan = calibrated(plan, seed, threads, begin, cancel)?;
    let mut weights = Weights::drawn(&plan, seed, threads, cancel)?;
    if let Some(readout) = plan.readout() {
        let (mut trace, depth) = (Trace::default(), plan.depth());
        trace.set_input(&plan, batch, value);
        forward(&plan, &weights, &mut trace, 0..plan.layers.len(), &mut (), cancel)?;
        let factor = factor(weights.layer(&plan, depth)[readout].linear(), trace.value(plan.value(plan.layers.len())));
        weights.scale(&plan, depth, readout, factor);
    }
    Ok(weights)
}

/// Standard normal samples of a net, row-major: those that it is measured on where none are given.
pub fn samples<F: Float>(plan: &Plan, seed: u64, batch: usize) -> Vec<F> {
    let mut x = vec![F::ZERO; batch * plan.columns];
    Stream::new(seed, 0, Role::Input).normal(&mut x);
    x
}

/// What is said where memory does not suffice.
fn hint<F>(job: &Job<F>) -> String {
    format!("lower {}, width, batch or seeds", job.specs.first().map_or("depth", Spec::sizes))
}

/// Bytes of all results; an error where not even they fit, before anything of their size is made.
fn check_results<F>(job: &Job<F>) -> Result<u128> {
    // Lists that grow are up to twice as long as what they hold.
    let of_run = |spec: &Spec| Columns::bytes(spec.depth(), spec.extra()) + size_of::<(usize, Columns)>() as u128;
    let results = job.specs.iter().map(of_run).sum::<u128>() * job.seeds as u128;
    // A deep net is measured by its plan, which takes much itself: as its spec lowers it, and as it is planned.
    let plan = 2 * job.specs.iter().map(least_plan_bytes).max().unwrap_or(0);
    check_memory("this probe", results + plan, hint(job))?;
    Ok(results)
}

/// As many workers as tasks, threads and memory allow; an error where not even one fits beside the results.
fn workers<F: Float>(job: &Job<F>, families: &[Family], results: u128) -> Result<usize> {
    let one = families.iter().map(|family| family.bytes).max().unwrap_or(0);
    check_memory("this probe", one + results, hint(job))?;
    let most = job.threads.min(families.len().saturating_mul(job.seeds)).max(1);
    let fits = available_memory(most as u128 * one + results)
        .map_or(usize::MAX, |bytes| (u128::from(bytes).saturating_sub(results) / one.max(1)) as usize);
    Ok(most.min(fits).max(1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::{Bias, BranchScale, Mlp, MlpRequest, PerLayer, RnnRequest, TransformerRequest};

    fn spec(depth: i128, activation: &str, skip: bool, block: i128, out: Option<i128>) -> Spec {
        Spec::new(&MlpRequest {
            in_features: Some(7),
            out_features: out,
            activation: PerLayer::All(activation.to_owned()),
            bias: PerLayer::All(if activation == "tanh" {
                Bias::Named("normal(std=0.1)".to_owned())
            } else {
                Bias::Brought
            }),
            skip: skip.then(|| "residual".to_owned()),
            branch_scale: BranchScale::Number(0.7),
            block,
            ..MlpRequest::new(depth, 12)
        })
        .unwrap()
    }

    /// Another MLP, whatever a request would be refused for.
    fn changed(spec: Spec, change: impl Fn(&mut Mlp)) -> Spec {
        let Spec::Mlp(mut mlp) = spec else { unreachable!("it is an MLP") };
        change(&mut mlp);
        Spec::Mlp(mlp)
    }

    fn job(specs: Vec<Spec>, batch: usize) -> Job<f32> {
        Job { specs, plan: None, given: None, data: None, loss: None, batch, seed: 3, seeds: 2, threads: 2 }
    }

    /// Bits of every cell's columns; `NaN` has bits too.
    fn bits(all: &[Vec<Columns>]) -> Vec<Vec<u64>> {
        let of_run = |run: &Columns| {
            run.values
                .iter()
                .chain(&run.extra)
                .flatten()
                .chain([&run.log10_total, &run.log10_output])
                .map(|v| v.to_bits())
                .collect::<Vec<_>>()
        };
        all.iter().map(|cell| cell.iter().flat_map(of_run).collect()).collect()
    }

    fn measured(job: &Job<f32>) -> Vec<Vec<Columns>> {
        let all = Mutex::new(vec![Vec::new(); job.specs.len()]);
        probe(job, &Cancel::default(), &|cell, columns| all.lock().unwrap()[cell] = columns).unwrap();
        all.into_inner().unwrap()
    }

    /// The columns of one run of a job's cells together, so many layers held at a time.
    fn run_of(job: &Job<f32>, plans: &[Arc<Plan>], segment: usize) -> Vec<Columns> {
        let mut all = Vec::new();
        let (mut space, cancel) = (Workspace::default(), Cancel::default());
        run(job, plans, segment, 5, &mut space, &cancel, |place, columns| all.push((place, columns))).unwrap();
        all.sort_unstable_by_key(|(place, _)| *place);
        all.into_iter().map(|(_, columns)| columns).collect()
    }

    /// Nets of the wider model space, that differ in depth alone.
    fn wider(depth: i128) -> Vec<Spec> {
        let named = |text: &str| Some(text.to_owned());
        let plain = MlpRequest { activation: PerLayer::All("gelu".to_owned()), ..MlpRequest::new(depth, 12) };
        let all = [
            MlpRequest { norm: PerLayer::All(named("batch")), out_features: Some(3), ..plain.clone() },
            MlpRequest {
                norm: PerLayer::All(named("rms")),
                skip: named("residual(order=pre)"),
                block: 2,
                ..plain.clone()
            },
            MlpRequest { skip: named("highway"), in_features: Some(7), block: 2, ..plain.clone() },
            MlpRequest { skip: named("dense"), width: PerLayer::All(3), ..plain.clone() },
            MlpRequest { skip: named("rezero(alpha=0.4, order=post)"), ..plain.clone() },
            MlpRequest { activation: PerLayer::All("prelu".to_owned()), skip: named("dense"), ..plain.clone() },
            MlpRequest { activation: PerLayer::All("crelu".to_owned()), ..plain.clone() },
            MlpRequest {
                activation: PerLayer::All("swiglu".to_owned()),
                norm: PerLayer::All(named("layer")),
                ..plain.clone()
            },
            MlpRequest { tied: true, out_features: Some(2), ..plain.clone() },
            MlpRequest { tied: true, inputs: "every".to_owned(), in_features: Some(5), ..plain.clone() },
            MlpRequest { init: PerLayer::All("lsuv".to_owned()), out_features: Some(3), ..plain.clone() },
            MlpRequest { weight_transform: named("weight_standardization"), ..plain },
        ];
        all.iter().map(|request| Spec::new(request).unwrap()).collect()
    }

    /// Recurrent nets.
    fn recurrent(steps: i128) -> Vec<Spec> {
        let plain = RnnRequest { in_features: 3, out_features: Some(2), ..RnnRequest::new(steps, 5) };
        let cell = |cell: &str| RnnRequest { cell: cell.to_owned(), ..plain.clone() };
        let all = [
            cell("tanh"),
            RnnRequest { layers: 3, norm: Some("layer".to_owned()), ..cell("relu") },
            RnnRequest { biases: 2, ..cell("lstm") },
            RnnRequest { layers: 2, outputs: "every".to_owned(), ..cell("lstm") },
            RnnRequest { truncate: Some(4), ..cell("lstm") },
            cell("gru"),
            RnnRequest { layers: 2, truncate: Some(2), ..cell("gru(reset=before)") },
        ];
        all.iter().map(|asked| Spec::of_steps(asked).unwrap()).collect()
    }

    /// Transformers that differ in depth alone.
    fn transformers(blocks: i128) -> Vec<Spec> {
        let plain = TransformerRequest {
            tokens: 3,
            ffn: 2,
            in_features: Some(5),
            out_features: Some(2),
            ..TransformerRequest::new(blocks, 8)
        };
        let named = |text: &str| Some(text.to_owned());
        let all = [
            plain.clone(),
            TransformerRequest { pool: named("mean"), causal: true, in_features: None, ..plain.clone() },
            TransformerRequest {
                norm_position: "post".to_owned(),
                skip: named("rezero"),
                qk_norm: true,
                ..plain.clone()
            },
            TransformerRequest { skip: None, norm: named("rms"), pool: named("last"), ..plain },
        ];
        all.iter().map(|asked| Spec::of_blocks(asked).unwrap()).collect()
    }

    /// Nets of several kinds in one list, with depths out of order and one depth twice.
    fn mixed() -> Vec<Spec> {
        let mut all = Vec::new();
        for depth in [4, 12, 2, 6, 4] {
            all.push(spec(depth, "relu", false, 1, None));
            all.push(spec(depth, "tanh", true, 2, Some(4)));
            all.push(spec(depth, "sigmoid", false, 1, Some(4)));
        }
        all
    }

    #[test]
    fn cells_measured_together_have_the_bits_of_cells_measured_alone() {
        for batch in [5, 70] {
            let alone = |spec: Spec| measured(&job(vec![spec], batch)).remove(0);
            let expected = mixed().into_iter().map(alone).collect::<Vec<_>>();
            assert_eq!(bits(&measured(&job(mixed(), batch))), bits(&expected));
            let several = || [4, 12, 6].into_iter().flat_map(wider);
            let expected = several().map(alone).collect::<Vec<_>>();
            assert_eq!(bits(&measured(&job(several().collect(), batch))), bits(&expected));
            let sequences = || [3, 1, 2].into_iter().flat_map(|depth| [transformers(depth), recurrent(depth)].concat());
            let expected = sequences().map(alone).collect::<Vec<_>>();
            assert_eq!(bits(&measured(&job(sequences().collect(), batch))), bits(&expected));
        }
    }

    #[test]
    fn a_fed_net_shares_no_forward_pass_and_others_of_the_wider_space_do() {
        let all = depths(&job([4, 12, 6].into_iter().flat_map(wider).collect(), 5));
        assert_eq!(all.iter().filter(|depths| **depths == [12, 6, 4]).count(), 11);
        assert_eq!(all.iter().filter(|depths| depths.len() == 1).count(), 3);
        let blocks = depths(&job([3, 1, 2].into_iter().flat_map(transformers).collect(), 5));
        assert_eq!(blocks.iter().filter(|depths| **depths == [13, 9, 5]).count(), 3);
        assert_eq!(blocks.iter().filter(|depths| **depths == [12, 8, 4]).count(), 1);
        // Each step has columns of its own, which another number of steps lays out differently.
        let steps = depths(&job([3, 1, 2].into_iter().flat_map(recurrent).collect(), 5));
        assert!(steps.iter().all(|depths| depths.len() == 1));
    }

    #[test]
    fn how_long_a_job_takes_is_told_by_the_plan_of_its_only_cell() {
        let planned = |spec: Spec, seeds| {
            let plan = Some(Arc::new(Plan::new(&spec)));
            Job { plan, seeds, ..job(vec![spec], 5) }
        };
        let small = planned(spec(4, "relu", false, 1, None), 1).seconds();
        assert!(small > 0.0 && small < crate::threads::WORTH_A_THREAD, "{small}");
        assert!((planned(spec(4, "relu", false, 1, None), 1000).seconds() / small - 1000.0).abs() < 1e-9);
        assert!(job(vec![spec(4, "relu", false, 1, None)], 5).seconds().is_infinite());
        // Data scale its weights.
        let lsuv = MlpRequest { init: PerLayer::All("lsuv".to_owned()), ..MlpRequest::new(4, 12) };
        let lsuv = planned(Spec::new(&lsuv).unwrap(), 1);
        assert!(lsuv.seconds().is_infinite());
        let weights = drawn(&Plan::new(&lsuv.specs[0]), 3, None, 5, 1, &Cancel::default()).unwrap();
        assert!(Job { given: Some(Arc::new(weights)), ..lsuv }.seconds().is_finite());
    }

    #[test]
    fn a_plan_that_has_been_made_changes_no_bit_and_given_numbers_are_not_scaled_by_it() {
        for spec in wider(12) {
            let plain = Job { seeds: 1, ..job(vec![spec], 9) };
            let plan = Arc::new(Plan::new(&plain.specs[0]));
            let made = Job { plan: Some(Arc::clone(&plan)), ..plain.clone() };
            assert_eq!(bits(&measured(&made)), bits(&measured(&plain)), "{}", plain.specs[0].content());
            let given = Some(Arc::new(drawn(&plan, plain.seed, None, 9, 1, &Cancel::default()).unwrap()));
            assert_eq!(bits(&measured(&Job { given, ..made })), bits(&measured(&plain)));
        }
    }

    #[test]
    fn depths_share_one_forward_pass() {
        assert_eq!(depths(&job(mixed(), 5)), vec![vec![12, 6, 4, 4, 2]; 3]);
    }

    /// Depths of the cells of each family.
    fn depths(job: &Job<f32>) -> Vec<Vec<usize>> {
        let of_family = |family: Family| family.cells.iter().map(|&cell| job.specs[cell].depth()).collect();
        families(job, &Cancel::default()).unwrap().into_iter().map(of_family).collect()
    }

    /// The plans of a job's first family.
    fn plans(job: &Job<f32>) -> Vec<Arc<Plan>> {
        families(job, &Cancel::default()).unwrap()[0]
            .cells
            .iter()
            .map(|&cell| Arc::new(Plan::new(&job.specs[cell])))
            .collect()
    }

    #[test]
    fn a_cell_that_would_share_little_or_take_long_begins_another_family() {
        let of = |all: &[i128], batch| {
            let specs = all.iter().map(|&depth| spec(depth, "relu", false, 1, None)).collect();
            depths(&job(specs, batch))
        };
        assert_eq!(of(&[2, 9, 1, 40, 30], 5), [vec![2, 1], vec![40, 30, 9]]);
        assert_eq!(of(&[7; 130], 5).iter().map(Vec::len).collect::<Vec<_>>(), [2, 64, 64]);
        // 12 x 12 x 5000 x 3 multiply-adds a layer; the first cells of all are to come soon.
        assert_eq!(of(&[1000; 50], 5000).iter().map(Vec::len).collect::<Vec<_>>(), [1, 3, 23, 23]);
    }

    #[test]
    fn a_single_kind_is_dealt_out_to_the_threads() {
        let specs = (1..=7).map(|depth| spec(depth, "relu", false, 1, None)).collect();
        let families = families(&Job { seeds: 1, ..job(specs, 5) }, &Cancel::default()).unwrap();
        assert_eq!(families.iter().map(|family| family.cells.len()).collect::<Vec<_>>(), [3, 4]);
    }

    #[test]
    fn the_first_cells_of_a_sweep_come_soon_and_few_layers_are_run_again_for_that() {
        let wide = |depth, activation: &str| {
            let spec = spec(depth, activation, false, 1, None);
            changed(spec, |mlp| (mlp.width, mlp.in_features) = (PerLayer::All(128), 128))
        };
        let kinds = |activation: &&str| (1..=50).map(|n| wide(4 * n, activation)).collect::<Vec<_>>();
        let sweep = Job { seeds: 8, ..job(["relu", "tanh", "gelu", "silu"].iter().flat_map(kinds).collect(), 128) };
        // Of each family layers of the forward pass, and of the backward passes.
        let layers = |depths: Vec<usize>| (depths[0], depths.iter().sum::<usize>());
        let passes = depths(&sweep).into_iter().map(layers).collect::<Vec<_>>();
        let total = |passes: &[(usize, usize)]| passes.iter().map(|(forward, back)| forward + back).sum::<usize>();
        let uncut = total(&[(200, 5100); 4]);
        assert!(total(&passes[..1]) * 100 <= uncut, "{passes:?}");
        assert!(passes.iter().all(|family| total(&[*family]) * 5 <= uncut), "{passes:?}");
        assert!(passes.is_sorted_by_key(|family| total(&[*family])), "{passes:?}");
        assert!(total(&passes) * 100 <= uncut * 105, "{passes:?}");
        // A single kind, on more threads than it has seeds.
        let single = Job { specs: (1..=200).map(|depth| wide(depth, "relu")).collect(), threads: 16, ..sweep };
        let first = layers(depths(&single).remove(0));
        assert!(total(&[first]) * 200 <= total(&[(200, 20_100)]), "{first:?}");
    }

    #[test]
    fn cells_that_end_in_several_waves_have_the_bits_of_cells_measured_alone_and_the_shallow_come_first() {
        for (init, activation, out) in [("lsuv", "tanh", Some(3)), ("normal(std=3)", "silu", None)] {
            let request = |depth| MlpRequest {
                init: PerLayer::All(init.to_owned()),
                activation: PerLayer::All(activation.to_owned()),
                out_features: out,
                ..MlpRequest::new(depth, 12)
            };
            let specs = (0..40).map(|n| Spec::new(&request(80 - 2 * n)).unwrap()).collect::<Vec<_>>();
            let together = Job { seeds: 1, seed: 5, ..job(specs.clone(), 9) };
            let plans = specs.iter().map(|spec| Arc::new(Plan::new(spec))).collect::<Vec<_>>();
            let mut order = Vec::new();
            let (mut space, cancel) = (Workspace::default(), Cancel::default());
            run(&together, &plans, 80, 5, &mut space, &cancel, |place, _| order.push(place)).unwrap();
            let sound =
                run_of(&together, &plans, 80).iter().filter(|columns| columns.first_nonfinite.is_none()).count();
            assert!(sound > pass::WAVE && (init == "lsuv") == (sound == 40), "{sound}");
            // The last wave may hold fewer.
            let first = order.iter().take(pass::WAVE).copied().min().unwrap();
            assert_eq!(first, 40 - pass::WAVE, "{order:?}");
            let alone = |spec: Spec| measured(&Job { specs: vec![spec], ..together.clone() }).remove(0);
            let expected = specs.into_iter().map(alone).collect::<Vec<_>>();
            let found = run_of(&together, &plans, 80).into_iter().map(|columns| vec![columns]).collect::<Vec<_>>();
            assert_eq!(bits(&found), bits(&expected), "{init}");
        }
    }

    #[test]
    fn a_job_that_is_cancelled_at_its_first_cell_ends_before_the_next_wave() {
        let specs = (1..=40).map(|depth| spec(depth, "relu", false, 1, None)).collect();
        let (cancel, count) = (Cancel::default(), AtomicUsize::new(0));
        let finished = |_, _| {
            cancel.request();
            count.fetch_add(1, Ordering::Relaxed);
        };
        let job = Job { seeds: 1, threads: 1, ..job(specs, 5) };
        assert_eq!(probe(&job, &cancel, &finished), Err(crate::error::Error::Cancelled));
        assert_eq!(count.into_inner(), pass::WAVE);
    }

    #[test]
    fn results_that_cannot_fit_are_refused_before_anything_is_planned() {
        let never = |_, _| unreachable!("nothing was measured");
        for (depth, seeds) in [(1_000_000, 1 << 40), (1, usize::MAX)] {
            let job =
                Job { seeds, ..job(vec![changed(spec(1, "relu", false, 1, None), |mlp| mlp.depth = depth); 3], 5) };
            let error = probe(&job, &Cancel::default(), &never).unwrap_err();
            assert!(error.to_string().starts_with("this probe needs "), "{error}");
        }
    }

    #[test]
    fn layers_drawn_and_run_again_give_the_bits_of_layers_kept() {
        for (activation, skip, block) in [("relu", false, 1), ("tanh", true, 2), ("relu", true, 3)] {
            let job = job([12, 6].map(|depth| spec(depth, activation, skip, block, Some(3))).to_vec(), 9);
            let plans = plans(&job);
            let columns = |segment| vec![run_of(&job, &plans, segment)];
            let expected = bits(&columns(12));
            // A segment may end within a block: what goes around it is kept too.
            for segment in [2, 3, 5, 9] {
                assert_eq!(bits(&columns(segment)), expected, "{activation} {segment}");
            }
        }
        let sequences =
            [transformers(3), recurrent(12)].concat().into_iter().zip([transformers(1), recurrent(6)].concat());
        for (deep, shallow) in wider(12).into_iter().zip(wider(6)).chain(sequences) {
            let depth = deep.depth();
            let specs = if deep.family() == shallow.family() { vec![deep, shallow] } else { vec![deep] };
            let job = job(specs, 9);
            let plans = plans(&job);
            let columns = |segment| vec![run_of(&job, &plans, segment)];
            // A readout of every step needs all states at once.
            let whole = plans[0].reads_every_step();
            assert_eq!(plans[0].segment::<f32>(10_000_000) == depth, whole);
            let expected = bits(&columns(depth));
            for segment in [3, 4, 7].into_iter().filter(|_| !whole) {
                assert_eq!(bits(&columns(segment)), expected, "{} {segment}", job.specs[0].content());
            }
        }
    }

    #[test]
    fn given_numbers_have_the_bits_of_the_same_numbers_drawn() {
        let sequences = [transformers(2), recurrent(7)].concat();
        for spec in wider(12).into_iter().chain(mixed()).chain(sequences) {
            let alone = Job { seeds: 1, ..job(vec![spec], 9) };
            let plan = Plan::new(&alone.specs[0]);
            let weights = drawn(&plan, alone.seed, None, 9, 1, &Cancel::default()).unwrap();
            let given = Job { given: Some(Arc::new(weights)), ..alone.clone() };
            assert_eq!(bits(&measured(&given)), bits(&measured(&alone)), "{}", alone.specs[0].content());
            // Weights that are there already are not counted again.
            assert!(
                families(&given, &Cancel::default()).unwrap()[0].bytes + plan.weight_bytes::<f32>()
                    <= families(&alone, &Cancel::default()).unwrap()[0].bytes
            );
        }
    }

    #[test]
    fn a_net_that_breaks_in_a_later_segment_says_where_and_its_shallow_kin_are_whole() {
        let mut specs = [160, 40].map(|depth| spec(depth, "silu", false, 1, None));
        for spec in &mut specs {
            let call = crate::signature::Call::parse("init", "normal(std=3)").unwrap();
            let init = crate::init::Init::new(&call).unwrap();
            *spec = changed(spec.clone(), |mlp| mlp.init.hidden = PerLayer::All(init));
        }
        let job = job(specs.to_vec(), 9);
        let plans = plans(&job);
        let columns = |segment| run_of(&job, &plans, segment);
        let whole = columns(160);
        let layer = whole[0].first_nonfinite.unwrap();
        assert!(layer > 40 && layer < 160, "{layer}");
        assert!(whole[0].values[0][layer - 1].is_finite() && whole[0].values[0][layer + 1].is_nan());
        assert_eq!(whole[1].first_nonfinite, None);
        assert!(whole[1].values[..10].iter().flatten().all(|v| v.is_finite()));
        assert!(whole[1].log10_total.is_finite());
        assert_eq!(bits(&[columns(7)]), bits(&[whole]));
    }

    #[test]
    fn signals_whose_products_leave_float32_have_the_norms_of_the_explicit_gradients() {
        let bias = PerLayer::All(Bias::Named("normal(std=0.1)".to_owned()));
        let spec = Spec::new(&MlpRequest { bias, ..MlpRequest::new(4, 12) }).unwrap();
        let call = crate::signature::Call::parse("init", "normal(std=1e6)").unwrap();
        let init = crate::init::Init::new(&call).unwrap();
        let spec = changed(spec, |mlp| mlp.init.hidden = PerLayer::All(init));
        let single = Job { seeds: 1, ..job(vec![spec], 5) };
        let plan = Arc::new(Plan::new(&single.specs[0]));
        let weights = Arc::new(drawn::<f32>(&plan, single.seed, None, 5, 1, &Cancel::default()).unwrap());
        let mut cotangent = vec![0.0_f32; 5 * plan.output()];
        Stream::new(single.seed, 0, Role::Cotangent).normal(&mut cotangent);
        let cotangent = cotangent.into_iter().map(|c| c.wide() / 5_f64.sqrt()).collect();
        let (x, start) = (samples::<f32>(&plan, single.seed, 5), crate::gradients::Start::Cotangent(cotangent));
        let all = crate::gradients::gradients(&plan, &weights, &x, &start, 1, |_| (), &Cancel::default()).unwrap();
        let found = &measured(&single)[0][0].values[crate::stats::Column::WeightNorm as usize];
        // Weights and biases take turns.
        for (found, weight) in found.iter().zip(all.tensors.iter().step_by(2)) {
            let norm = weight.spelled_out::<f64>().iter().map(|g| g * g).sum::<f64>().sqrt().log10();
            assert!((found - norm).abs() < 1e-5, "{found} {norm}");
        }
    }

    #[test]
    fn a_net_beyond_the_budget_is_run_in_segments_that_fit() {
        let wide = |mlp: &mut Mlp| (mlp.width, mlp.in_features) = (PerLayer::All(256), 256);
        let spec = |depth| changed(spec(depth, "relu", false, 1, None), wide);
        let deep = Plan::new(&spec(10_000));
        let segment = deep.segment::<f32>(64);
        assert!(segment > 1 && segment < 200, "{segment}");
        assert!(deep.run_bytes::<f32>(64, segment) < 100 << 20);
        assert_eq!(Plan::new(&spec(100)).segment::<f32>(64), 100);
    }
    #[test]
    fn estimates_count_what_calibration_and_inputs_of_every_step_take() {
        let request = MlpRequest { init: PerLayer::All("lsuv".to_owned()), ..MlpRequest::new(1000, 256) };
        let spec = Spec::new(&request).unwrap();
        let whole = Plan::new(&spec).weight_bytes::<f32>();
        assert!(families(&job(vec![spec], 64), &Cancel::default()).unwrap()[0].bytes > whole);
        let request = MlpRequest { tied: true, inputs: "every".to_owned(), ..MlpRequest::new(1000, 256) };
        let spec = Spec::new(&request).unwrap();
        // In rows as they are drawn, and in panels.
        assert!(families(&job(vec![spec], 64), &Cancel::default()).unwrap()[0].bytes > 2 * 4 * 64 * 1000 * 256);
    }
}
