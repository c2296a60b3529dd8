//! Training: many runs in parallel, each on one thread from its first step to its last, with a workspace that runs leave
//! for each other.
//!
//! A run is its spec, its recipe, its data and its seed. Numbers do not depend on the number of threads, and any step can
//! be reached again from a [`State`].

mod clip;
mod data;
mod gradient;
mod layout;
mod muon;
mod net;
mod numbers;
mod pass;
mod sharpness;
mod state;
mod update;
mod watch;

pub use clip::{Clip, Per};
pub use data::{Batches, Rows};
pub use gradient::Factor;
pub use layout::Layout;
pub use net::{Bad, Outcome, evaluate};
pub use state::{Running, State};
pub use update::Hyper;
pub use watch::{MONITORS, Monitor};

use crate::error::{Cancel, Result};
use crate::memory::{check_memory, workspace};
use crate::optimizer::Optimizer;
use crate::plan::Plan;
use crate::schedule::Schedule;
use crate::simd::Float;
use crate::spec::Spec;
use crate::threads::share;
use crate::weights::Weights;
use net::{Net, Space};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// What the rate does from step to step.
#[derive(Debug, Clone)]
pub enum Pace {
    /// A schedule.
    Schedule(Schedule),
    /// What the optimiser's rate is multiplied with in each step.
    Given(Arc<Vec<f64>>),
}

/// How a net is trained.
#[derive(Debug, Clone)]
pub struct Recipe {
    /// The optimiser.
    pub optimizer: Optimizer,
    /// What multiplies the rate of the optimiser from step to step.
    pub schedule: Pace,
    /// Bounds of the gradients.
    pub clip: Option<Clip>,
    /// The variance of what is added to the gradient in the first step; it falls with `t^0.55`.
    pub noise: f64,
    /// What the rate of each tensor is multiplied with, in the order of a state dict: 0 freezes it. All 1 where empty.
    pub rates: Vec<f64>,
}

/// A cell: a net and its recipe.
#[derive(Debug, Clone)]
pub struct Cell {
    /// The net.
    pub spec: Arc<Spec>,
    /// The plan of the net; cells of one spec share it.
    pub plan: Arc<Plan>,
    /// What is known of the tensors of the plan.
    pub layout: Arc<Layout>,
    /// How it is trained.
    pub recipe: Recipe,
}

/// What is to be done, for all cells alike.
#[derive(Debug)]
pub struct Job<F> {
    /// The cells.
    pub cells: Vec<Cell>,
    /// The numbers that every run of the only cell begins with; drawn for each seed if `None`.
    pub given: Option<Arc<Weights<F>>>,
    /// States to go on from, one a seed of the only cell.
    pub resume: Vec<Vec<u8>>,
    /// What is trained on.
    pub rows: Rows<F>,
    /// What is only looked at.
    pub validation: Option<Rows<F>>,
    /// Samples of a batch.
    pub batch: usize,
    /// Steps.
    pub steps: usize,
    /// The step to stop behind: earlier than the last one where it is only the state there that is wanted.
    pub until: usize,
    /// Steps, ascending, that are recorded layer by layer.
    pub record: Vec<usize>,
    /// What is recorded.
    pub monitors: Vec<Monitor>,
    /// Steps, ascending, before which the sharpness is measured.
    pub sharpness: Vec<usize>,
    /// Steps, ascending, behind which the loss is read: on the validation rows, if there are some.
    pub validate: Vec<usize>,
    /// Steps, ascending, before which the state is kept.
    pub checkpoints: Vec<usize>,
    /// Is a step left out whose loss or gradient is not finite? It ends the run otherwise.
    pub skip: bool,
    /// Stop after so many readings without one that is better by so much.
    pub patience: Option<(usize, f64)>,
    /// Are the trained weights wanted?
    pub keep_weights: bool,
    /// The first seed.
    pub seed: u64,
    /// How many seeds.
    pub seeds: usize,
    /// How many threads at most.
    pub threads: usize,
    /// Whether runs are to end behind the step at hand, with what they have done.
    pub halt: Arc<AtomicBool>,
}

/// Where a run stands: cell, number of the seed, step and loss.
pub type Standing = (usize, usize, usize, f64);

/// Samples of the fixed set that monitors look at.
pub const PROBE_ROWS: usize = 256;

impl<F: Float> Job<F> {
    /// Bytes that one run takes beside its result.
    fn run_bytes(&self, cell: &Cell) -> u128 {
        let (plan, batch) = (&cell.plan, self.batch.min(self.rows.count));
        let watched = if self.monitors.is_empty() { 0 } else { PROBE_ROWS.min(self.rows.count) };
        let looked = self.validation.as_ref().map_or(0, |rows| rows.count.min(data::AT_ONCE));
        // Weights, the best ones, gradients and up to three moments.
        6 * plan.weight_bytes::<F>() + plan.pass_bytes::<F>(batch.max(watched).max(looked))
    }

    /// Bytes of the result of one run.
    fn result_bytes(&self, cell: &Cell) -> u128 {
        let columns = self.monitors.len() * self.record.len() * cell.layout.rows.len() + 6 * self.steps;
        let state = 4 * cell.plan.weight_bytes::<F>();
        8 * columns as u128 + if self.keep_weights { (self.checkpoints.len() as u128 + 1) * state } else { 0 }
    }

    /// Refuse a job that memory has no room for; gives the number of workers.
    fn check(&self) -> Result<usize> {
        for cell in &self.cells {
            cell.plan.check_batch(self.batch.min(self.rows.count))?;
        }
        let results = self.cells.iter().map(|cell| self.result_bytes(cell)).sum::<u128>() * self.seeds as u128;
        let largest = self.cells.iter().map(|cell| self.run_bytes(cell)).max().unwrap_or(0);
        let runs = (self.cells.len() * self.seeds).max(1);
        let mut workers = self.threads.clamp(1, runs);
        while workers > 1 && check_memory("", results + largest * workers as u128, "").is_err() {
            workers -= 1;
        }
        // Steps are those of the training here.
        let sizes = match self.cells.first().map_or("depth", |cell| cell.plan.sizes) {
            "steps, layers" => "steps of the net, layers",
            sizes => sizes,
        };
        let hint = format!("lower steps, checkpoints, seeds, {sizes} or width");
        check_memory("this training", results + largest * workers as u128, hint)?;
        Ok(workers)
    }

    /// About how many seconds the job takes on one thread.
    pub fn seconds(&self) -> f64 {
        let batch = self.batch.min(self.rows.count);
        let of_cell = |cell: &Cell| cell.plan.draw_seconds() + 3.0 * self.steps as f64 * cell.plan.pass_seconds(batch);
        self.seeds as f64 * self.cells.iter().map(of_cell).sum::<f64>()
    }
}

/// Train every cell with every seed. `finished` gets the outcomes of a cell, one a seed, as soon as its last run has
/// ended; cells come in any order. `standing` hears now and then where a run stands.
pub fn train<F: Float>(
    job: &Job<F>,
    cancel: &Cancel,
    finished: &(dyn Fn(usize, Vec<Outcome<F>>) + Sync),
    standing: &(dyn Fn(Standing) + Sync),
) -> Result<()> {
    let workers = job.check()?;
    let cells = job.cells.iter().map(|_| Mutex::new(Vec::new())).collect::<Vec<_>>();
    let (next, failure) = (AtomicUsize::new(0), Mutex::new(None));
    let probe_rows = job.rows.first(PROBE_ROWS);
    // The dearest cells first: the last ones to end are then short.
    let mut order = (0..job.cells.len()).collect::<Vec<_>>();
    order.sort_by(|a, b| {
        let cost = |cell: &usize| job.cells[*cell].plan.pass_seconds(job.batch);
        cost(b).total_cmp(&cost(a))
    });
    let work = || -> Result<()> {
        let mut kept = workspace::<Space<F>>();
        let mut bytes = 0;
        loop {
            let task = next.fetch_add(1, Ordering::Relaxed);
            let Some(&index) = order.get(task / job.seeds) else {
                kept.leave(bytes);
                return Ok(());
            };
            let number = task % job.seeds;
            cancel.check()?;
            // Of many cells those that have not begun are nothing to report.
            if job.cells.len() > 1 && job.halt.load(Ordering::Relaxed) {
                return Ok(());
            }
            bytes = bytes.max(job.run_bytes(&job.cells[index]));
            let net = Net { job, cell: &job.cells[index], place: (index, number), probe_rows: &probe_rows, standing };
            let outcome = net.run(&mut kept.space, cancel)?;
            let mut runs = cells[index].lock().unwrap_or_else(PoisonError::into_inner);
            runs.push((number, outcome));
            if runs.len() == job.seeds {
                let mut runs = std::mem::take(&mut *runs);
                runs.sort_unstable_by_key(|(number, _)| *number);
                finished(index, runs.into_iter().map(|(_, outcome)| outcome).collect());
            }
        }
    };
    let worker = || {
        if let Err(error) = work() {
            // Others stop too.
            failure.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
            next.store(usize::MAX / 2, Ordering::Relaxed);
        }
    };
    share(workers, worker, worker);
    failure.into_inner().unwrap_or_else(PoisonError::into_inner).map_or(Ok(()), Err)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::loss::{Loss, Targets};
    use crate::part::{Drop, Part};
    use crate::rng::{Role, Stream};
    use crate::spec::{MlpRequest, PerLayer};

    fn request(depth: i128, activation: &str) -> MlpRequest {
        let activation = PerLayer::All(activation.to_owned());
        MlpRequest { activation, in_features: Some(5), out_features: Some(3), ..MlpRequest::new(depth, 6) }
    }

    fn cell(request: &MlpRequest, optimizer: &str) -> Cell {
        let spec = Spec::new(request).unwrap();
        let plan = Arc::new(Plan::new(&spec));
        let layout = Arc::new(Layout::new(&plan));
        let recipe = Recipe {
            optimizer: Optimizer::parse(optimizer).unwrap(),
            schedule: Pace::Schedule(Schedule::parse("cosine").unwrap()),
            clip: None,
            noise: 0.0,
            rates: Vec::new(),
        };
        Cell { spec: Arc::new(spec), plan, layout, recipe }
    }

    fn job<F: Float>(cells: Vec<Cell>, steps: usize) -> Job<F> {
        let mut x = vec![F::ZERO; 5 * 40];
        Stream::new(1, 0, Role::Input).normal(&mut x);
        let targets = Targets::Classes((0..40).map(|i| i % 3).collect());
        let rows = Rows { x, columns: 5, count: 40, places: 1, targets, loss: Loss::parse("cross_entropy").unwrap() };
        Job {
            cells,
            given: None,
            resume: Vec::new(),
            validation: Some(rows.first(9)),
            rows,
            batch: 12,
            steps,
            until: steps,
            record: (1..=steps).collect(),
            monitors: MONITORS.map(|(_, monitor)| monitor).to_vec(),
            sharpness: Vec::new(),
            validate: vec![],
            checkpoints: (1..=steps).collect(),
            skip: false,
            patience: None,
            keep_weights: true,
            seed: 3,
            seeds: 2,
            threads: 1,
            halt: Arc::default(),
        }
    }

    fn outcomes<F: Float>(job: &Job<F>) -> Vec<Vec<Outcome<F>>> {
        let all = Mutex::new(vec![Vec::new(); job.cells.len()]);
        train(job, &Cancel::default(), &|cell, runs| all.lock().unwrap()[cell] = runs, &|_| ()).unwrap();
        all.into_inner().unwrap()
    }

    const OPTIMIZERS: [&str; 14] = [
        "sgd(0.1)",
        "sgd(0.1, 0.9, weight_decay=0.01)",
        "sgd(0.1, 0.9, nesterov=true)",
        "adam(0.01)",
        "adam(0.01, scale_free=true)",
        "adamw(0.01)",
        "rmsprop(0.01)",
        "rmsprop(0.01, momentum=0.9, centered=true)",
        "rmsprop(0.01, scale_free=true)",
        "adagrad(0.1)",
        "adagrad(0.1, scale_free=true)",
        "lion(0.01)",
        "muon(0.01)",
        "muon(0.01, scale_free=true)",
    ];

    #[test]
    fn a_run_that_goes_on_from_any_state_ends_as_one_that_never_stopped() {
        for optimizer in OPTIMIZERS {
            let request = MlpRequest { norm: PerLayer::All(Some("batch".to_owned())), ..request(2, "prelu") };
            let whole = job::<f32>(vec![cell(&request, optimizer)], 9);
            let runs = outcomes(&whole);
            let births = MONITORS.iter().position(|(_, monitor)| *monitor == Monitor::Births).unwrap();
            for from in [1, 4, 9] {
                let resume = runs[0].iter().map(|run| run.checkpoints[from - 1].1.clone()).collect();
                let rest = outcomes(&Job { resume, ..job::<f32>(whole.cells.clone(), 9) });
                for (run, again) in runs[0].iter().zip(&rest[0]) {
                    assert_eq!(run.last, again.last, "{optimizer} from {from}");
                    assert_eq!(run.loss[from - 1..], again.loss[from - 1..]);
                    let [one, two] = [run, again].map(|run| run.records.values[births].iter().map(|b| b.to_bits()));
                    let behind = (from - 1) * whole.cells[0].layout.rows.len();
                    assert!(one.skip(behind).eq(two.skip(behind)), "{optimizer} from {from}");
                }
            }
        }
    }

    #[test]
    fn runs_that_are_asked_to_halt_give_a_state_to_go_on_from_and_of_many_cells_none_begins() {
        let cells = vec![cell(&request(2, "tanh"), "adam(0.01)")];
        let whole = outcomes(&job::<f32>(cells.clone(), 6));
        let halt = || Arc::new(AtomicBool::new(true));
        let halted = outcomes(&Job { halt: halt(), ..job::<f32>(cells.clone(), 6) });
        let of = |run: &Outcome<f32>| (run.stopped_by, run.done);
        assert_eq!(halted[0].iter().map(of).collect::<Vec<_>>(), [("interrupted", 0); 2]);
        let resume = halted[0].iter().map(|run| run.last.clone()).collect();
        let rest = outcomes(&Job { resume, ..job::<f32>(cells.clone(), 6) });
        for (run, again) in whole[0].iter().zip(&rest[0]) {
            assert_eq!(run.last, again.last);
        }
        let many = Job { halt: halt(), ..job::<f32>([cells.clone(), cells].concat(), 6) };
        assert!(outcomes(&many).iter().all(Vec::is_empty));
    }

    #[test]
    fn threads_and_neighbours_change_no_bit() {
        let cells = OPTIMIZERS
            .iter()
            .enumerate()
            .map(|(i, o)| cell(&request(1 + i as i128 % 4, "tanh"), o))
            .collect::<Vec<_>>();
        let one = outcomes(&job::<f32>(cells.clone(), 6));
        let many = outcomes(&Job { threads: 4, ..job::<f32>(cells.clone(), 6) });
        for (i, cell) in cells.into_iter().enumerate() {
            let alone = outcomes(&job::<f32>(vec![cell], 6));
            for seed in 0..2 {
                assert_eq!(one[i][seed].last, many[i][seed].last);
                assert_eq!(one[i][seed].last, alone[0][seed].last);
            }
        }
    }

    #[test]
    fn what_has_the_rate_zero_never_moves() {
        for optimizer in OPTIMIZERS {
            let mut frozen = cell(&request(2, "relu"), optimizer);
            frozen.recipe.noise = 0.1;
            frozen.recipe.rates = vec![1.0, 1.0, 0.0, 0.0, 1.0, 0.0];
            let job = job::<f64>(vec![frozen.clone()], 5);
            let run = &outcomes(&job)[0][0];
            let state = |bytes: &[u8]| {
                let state = State::<f64>::of_bytes(bytes, &frozen.plan, &frozen.layout, &Cancel::default()).unwrap();
                state.weights.tensors(&frozen.plan, &Cancel::default()).unwrap()
            };
            let (before, after) = (state(&run.checkpoints[0].1), state(&run.last));
            for place in 0..6 {
                assert_eq!(before[place] == after[place], frozen.recipe.rates[place] == 0.0, "{optimizer} {place}");
            }
        }
    }

    #[test]
    fn a_gradient_below_every_float_moves_its_layer_where_the_optimizer_is_scale_free_and_nowhere_else() {
        // Each sigmoid layer takes the gradient down by more than a decade: at 300 layers the first has less than 1e-300.
        let request = request(300, "sigmoid");
        for optimizer in OPTIMIZERS {
            let job = job::<f32>(vec![cell(&request, optimizer)], 2);
            let run = &outcomes(&job)[0][0];
            let place = |monitor| MONITORS.iter().position(|(_, known)| *known == monitor).unwrap();
            let norm = run.records.values[place(Monitor::GradientNorm)][0];
            assert!(norm < -150.0, "{norm}");
            let unchanged = run.records.values[place(Monitor::Rounded)][0];
            let decays = optimizer.contains("decay") || optimizer.starts_with("adamw") || optimizer == "muon(0.01)";
            if optimizer.contains("scale_free") {
                assert!(unchanged < 0.5, "{optimizer} {unchanged}");
            } else if !decays {
                assert_eq!(unchanged, 1.0, "{optimizer}");
            }
        }
    }

    #[test]
    fn the_first_number_that_is_not_finite_is_named_by_step_layer_tensor_and_phase() {
        let run = |optimizer: &str, request: &MlpRequest| {
            let mut wild = cell(request, optimizer);
            wild.recipe.schedule = Pace::Schedule(Schedule::parse("constant").unwrap());
            outcomes(&Job { validation: None, ..job::<f32>(vec![wild], 40) })[0][0].clone()
        };
        let wild = run("sgd(1e30)", &request(3, "relu"));
        let bad = wild.bad.unwrap();
        assert_eq!((wild.stopped_by, bad.step), ("non_finite", 2));
        assert!(["forward", "loss", "backward"].contains(&bad.phase), "{bad:?}");
        // A rate that float32 does not have, and a square.
        let named = |bad: Bad| (bad.step, bad.layer, bad.tensor, bad.phase);
        let bad = run("sgd(1e300)", &request(3, "tanh")).bad.unwrap();
        assert_eq!(named(bad), (1, 0, "layers.0.weight".to_owned(), "update"));
        let mut boosted = cell(&request(3, "tanh"), "adam");
        let (min_norm, max_boost) = (Some(1e25), 1e30);
        boosted.recipe.clip = Some(Clip { max_norm: None, min_norm, per: Per::Global, max_boost, eps: 1e-3 });
        let bad = outcomes(&job::<f32>(vec![boosted], 3))[0][0].bad.clone().unwrap();
        assert_eq!(named(bad), (1, 0, "layers.0.weight".to_owned(), "moment"));
        // Weights come back from before the break, also where no state was to be kept.
        let mut spared = cell(&request(3, "tanh"), "sgd(1e300)");
        spared.recipe.schedule = Pace::Schedule(Schedule::parse("constant").unwrap());
        let spared = Job { checkpoints: Vec::new(), ..job::<f32>(vec![spared], 4) };
        let run = &outcomes(&spared)[0][0];
        assert_eq!((run.done, run.best_step), (0, 0));
        let kept = run.weights.as_ref().unwrap().tensors(&spared.cells[0].plan, &Cancel::default()).unwrap();
        assert!(kept.iter().flatten().all(|w| w.is_finite()));
        let weights = wild.weights.unwrap();
        let plan = Plan::new(&Spec::new(&request(3, "relu")).unwrap());
        let all = weights.tensors(&plan, &Cancel::default()).unwrap();
        assert!(all.iter().flatten().all(|w| w.is_finite()));
    }

    #[test]
    fn given_weights_begin_with_the_statistics_of_their_first_batch() {
        let request = MlpRequest { norm: PerLayer::All(Some("batch".to_owned())), ..request(2, "relu") };
        let still = || vec![cell(&request, "sgd(0)")];
        let drawn = outcomes(&Job { batch: 40, ..job::<f64>(still(), 1) })[0][0].clone();
        let given = Some(Arc::new(drawn.weights.unwrap()));
        let run = |steps| {
            let job = Job { batch: 40, given: given.clone(), ..job::<f64>(still(), steps) };
            outcomes(&job)[0][0].running.clone()
        };
        let (one, three) = (run(1), run(3));
        for (norm, (one, three)) in one.iter().zip(&three).enumerate() {
            assert!(one.mean.iter().any(|mean| mean.abs() > 0.01), "{norm}");
            assert!(one.mean.iter().zip(&three.mean).all(|(a, b)| (a - b).abs() < 1e-12), "{norm}");
            assert!(one.variance.iter().zip(&three.variance).all(|(a, b)| (a - b).abs() < 1e-12), "{norm}");
        }
    }

    /// The recorded norms of weights and updates beside those of the difference of two states.
    fn norms_agree<F: Float>(optimizer: &str, tolerance: f64) {
        let job = job::<F>(vec![cell(&request(2, "relu"), optimizer)], 4);
        let (run, cell) = (&outcomes(&job)[0][0], &job.cells[0]);
        let weights = |step: usize| {
            let bytes = &run.checkpoints[step - 1].1;
            let state = State::<F>::of_bytes(bytes, &cell.plan, &cell.layout, &Cancel::default()).unwrap();
            state.weights.tensors(&cell.plan, &Cancel::default()).unwrap()
        };
        let norm = |values: Vec<f64>| values.iter().map(|v| v * v).sum::<f64>().sqrt();
        let of = |monitor| MONITORS.iter().position(|(_, known)| *known == monitor).unwrap();
        for step in 1..4 {
            let (before, after) = (weights(step), weights(step + 1));
            for (row, &place) in cell.layout.rows.iter().enumerate() {
                let pairs = before[place].iter().zip(&after[place]);
                let moved = norm(pairs.map(|(b, a)| a.wide() - b.wide()).collect());
                let size = norm(before[place].iter().map(|w| w.wide()).collect());
                for (monitor, expected) in [(Monitor::UpdateNorm, moved), (Monitor::WeightNorm, size)] {
                    let found = run.records.values[of(monitor)][(step - 1) * cell.layout.rows.len() + row];
                    let error = (10_f64.powf(found) / expected - 1.0).abs();
                    assert!(error < tolerance, "{optimizer} {} {monitor:?} {error}", F::NAME);
                }
            }
        }
    }

    #[test]
    fn recorded_norms_are_those_of_the_weights_and_of_what_they_moved_by() {
        for optimizer in OPTIMIZERS {
            norms_agree::<f64>(optimizer, 1e-9);
            // Weights near 1 round away the last digits of a step of 10^-2.
            norms_agree::<f32>(optimizer, 1e-3);
        }
    }

    /// A cell whose hidden layers end with dropout.
    fn dropping(request: &MlpRequest, optimizer: &str) -> Cell {
        let cell = cell(request, optimizer);
        let mut net = cell.spec.lower().unwrap();
        for (layer, hidden) in net.layers.iter_mut().enumerate().take(net.depth) {
            hidden.parts.push(Part::Drop(Drop { p: 0.3, layer }));
        }
        let plan = Arc::new(Plan::of(net));
        Cell { layout: Arc::new(Layout::new(&plan)), plan, ..cell }
    }

    #[test]
    fn masks_come_again_where_a_run_goes_on_from_a_state() {
        let request = MlpRequest { norm: PerLayer::All(Some("batch".to_owned())), ..request(2, "relu") };
        let whole = job::<f32>(vec![dropping(&request, "adam(0.01)")], 9);
        let runs = outcomes(&whole);
        for from in [1, 4, 9] {
            let resume = runs[0].iter().map(|run| run.checkpoints[from - 1].1.clone()).collect();
            let rest = outcomes(&Job { resume, ..job::<f32>(whole.cells.clone(), 9) });
            for (run, again) in runs[0].iter().zip(&rest[0]) {
                assert_eq!(run.last, again.last, "from {from}");
                assert_eq!(run.loss[from - 1..], again.loss[from - 1..]);
            }
        }
    }

    #[test]
    fn threads_and_neighbours_change_no_mask() {
        let cells = (1..=4).map(|depth| dropping(&request(depth, "tanh"), "adam(0.01)")).collect::<Vec<_>>();
        let one = outcomes(&job::<f32>(cells.clone(), 6));
        let many = outcomes(&Job { threads: 4, ..job::<f32>(cells.clone(), 6) });
        for (i, cell) in cells.into_iter().enumerate() {
            let alone = outcomes(&job::<f32>(vec![cell], 6));
            for seed in 0..2 {
                assert_eq!(one[i][seed].last, many[i][seed].last);
                assert_eq!(one[i][seed].last, alone[0][seed].last);
            }
        }
    }

    #[test]
    fn every_step_and_seed_drops_others_and_nothing_that_looks_at_the_net_drops_any() {
        let still = |mut cell: Cell| {
            cell.recipe.rates = vec![0.0; cell.layout.count()];
            cell
        };
        let job = |cell: Cell| {
            let given = Weights::drawn(&cell.plan, 3, 1, &Cancel::default()).unwrap();
            Job { given: Some(Arc::new(given)), batch: 40, validate: vec![1, 2, 3], ..job::<f64>(vec![cell], 3) }
        };
        let request = request(2, "tanh");
        let plain = &outcomes(&job(still(cell(&request, "sgd(0.1)"))))[0];
        let dropping = &outcomes(&job(still(dropping(&request, "sgd(0.1)"))))[0];
        // The weights stay, so that the losses of a batch of all rows differ by their masks alone.
        let losses = |runs: &[Outcome<f64>]| {
            let bits = runs.iter().flat_map(|run| run.loss.iter().map(|loss| loss.to_bits()));
            bits.collect::<std::collections::BTreeSet<_>>().len()
        };
        assert_eq!((losses(plain), losses(dropping)), (1, 6));
        for (plain, dropping) in plain.iter().zip(dropping) {
            assert_eq!(plain.validation, dropping.validation);
            let monitors = plain.records.values.iter().zip(&dropping.records.values);
            assert!(monitors.flat_map(|(a, b)| a.iter().zip(b)).all(|(a, b)| a.to_bits() == b.to_bits()));
        }
    }

    #[test]
    fn the_sharpness_is_that_of_the_loss_without_dropout() {
        let of = |cell: Cell| {
            let run = outcomes(&Job { sharpness: vec![1], ..job::<f64>(vec![cell], 1) })[0].remove(0);
            (run.sharpness[0], run.loss[0])
        };
        let request = request(2, "tanh");
        let (plain, dropping) = (of(cell(&request, "sgd(0.1)")), of(dropping(&request, "sgd(0.1)")));
        assert!(plain.0.is_finite());
        assert_eq!(plain.0.to_bits(), dropping.0.to_bits());
        assert_ne!(plain.1.to_bits(), dropping.1.to_bits());
    }

    #[test]
    fn a_damaged_state_is_refused() {
        let cell = cell(&request(2, "relu"), "adam");
        let run = outcomes(&job::<f32>(vec![cell.clone()], 2))[0][0].clone();
        let read = |bytes: &[u8]| State::<f32>::of_bytes(bytes, &cell.plan, &cell.layout, &Cancel::default());
        assert_eq!(read(&run.last).unwrap().to_bytes(&cell.plan, &Cancel::default()).unwrap(), run.last);
        for cut in [0, 7, 100, run.last.len() - 1] {
            assert!(read(&run.last[..cut]).is_err(), "{cut}");
        }
        let wide = State::<f64>::of_bytes(&run.last, &cell.plan, &cell.layout, &Cancel::default());
        assert!(wide.is_err());
    }
}
