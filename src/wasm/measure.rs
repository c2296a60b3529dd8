//! The net of a request, measured and trained as Python's `probe` and `train` do it.

use super::calls::{Answer, Fields};
use crate::error::{Cancel, Error, Result};
use crate::loss::{Loss, Targets};
use crate::optimizer::Optimizer;
use crate::plan::Plan;
use crate::run;
use crate::schedule::Schedule;
use crate::spec::{BranchScale, MlpRequest, PerLayer, Spec};
use crate::stats::{COLUMNS, Columns};
use crate::train::{self, Cell, Layout, Outcome, Pace, Recipe, Rows};
use std::f64::consts::PI;
use std::sync::{Arc, Mutex, PoisonError};

/// Samples of the spirals, their columns, and their classes.
const SAMPLES: usize = 256;
const COLUMNS_OF_SPIRALS: usize = 2;

/// The most seconds that a request may take on one thread of the machine that the guess is for.
pub const MOST_SECONDS: f64 = 2.0;

/// Is the net for spirals, or for noise?
fn on_spirals(given: &Fields) -> Result<bool> {
    match given.text("data")? {
        "noise" => Ok(false),
        "spirals" => Ok(true),
        other => Err(Error::unknown("data", other, ["noise", "spirals"].into_iter())),
    }
}

/// The points of two spirals and their classes, as Python's `vg.data.spirals` has them: on a grid, so that no sine of
/// another library tells.
fn spirals() -> Result<Rows<f32>> {
    const GRID: f64 = 1024.0;
    let place = |i: usize| {
        let (class, t) = ((i % 2) as f64, ((i / 2) as f64 + 0.5) / (SAMPLES as f64 / 2.0));
        let (sin, cos) = libm::sincos(2.0 * PI * t + PI * class);
        [cos, sin].map(|share| (libm::rint(6.0_f64.sqrt() * t * share * GRID) / GRID + 0.0) as f32)
    };
    Ok(Rows {
        x: (0..SAMPLES).flat_map(place).collect(),
        columns: COLUMNS_OF_SPIRALS,
        count: SAMPLES,
        places: 1,
        targets: Targets::Classes((0..SAMPLES).map(|i| i % 2).collect()),
        loss: Loss::parse("cross_entropy")?,
    })
}

/// The net of a request: what goes with a norm or a residual branch says nothing where there is none.
pub fn spec(given: &Fields) -> Result<Spec> {
    let init = match given.text("init")? {
        "mean_field" => {
            format!("mean_field(sigma_w={}, sigma_b={})", given.text("sigma_w")?, given.text("sigma_b")?)
        }
        other => other.to_owned(),
    };
    let ends = on_spirals(given)?.then_some(COLUMNS_OF_SPIRALS as i128);
    let mut request = MlpRequest {
        in_features: ends,
        out_features: ends,
        activation: PerLayer::All(given.text("activation")?.to_owned()),
        init: PerLayer::All(init),
        norm: PerLayer::All(given.chosen("norm")?),
        skip: given.chosen("skip")?,
        ..MlpRequest::new(given.whole("depth", 1, 200)? as i128, given.whole("width", 1, 512)? as i128)
    };
    if request.norm != PerLayer::All(None) {
        request.norm_position = PerLayer::All(given.text("norm_position")?.to_owned());
    }
    if request.skip.as_deref() == Some("residual") {
        request.branch_scale = BranchScale::Number(given.number("branch_scale")?);
    }
    Spec::new(&request)
}

/// Measure the net of a request, after training where it has steps.
///
/// Numbers come back column by column, each seed by seed; then, one a seed, the layer where a value first was not finite
/// (-1 for none), the norm of all gradients, the root mean square of the output and the loss; then the losses of each
/// step of each seed's training, and why it ended.
pub fn measure(given: &Fields) -> Result<Answer> {
    let (spec, seeds, steps) = (spec(given)?, given.whole("seeds", 1, 16)?, given.whole("steps", 0, 500)?);
    let (batch, seed) = (given.whole("batch", 1, 256)?, given.whole("seed", 0, u64::from(u32::MAX))? as u64);
    let plan = Arc::new(Plan::of_job(&spec)?);
    let rows = if on_spirals(given)? { Some(spirals()?) } else { None };
    let job = run::Job::<f32> {
        specs: vec![spec],
        plan: Some(plan),
        given: None,
        data: rows.as_ref().map(Rows::data),
        loss: rows.as_ref().map(|rows| (rows.loss, rows.targets.clone())),
        batch,
        seed,
        seeds,
        threads: 1,
    };
    let seconds = run::cost(&job, &Cancel::default())?.0 * (1.0 + steps as f64);
    if seconds > MOST_SECONDS {
        return Err(Error::Value(format!(
            "this takes about {seconds:.1} seconds, and {MOST_SECONDS} are the most here: lower depth, width, batch, seeds{}",
            if steps > 0 { " or steps" } else { "" }
        )));
    }
    match rows {
        _ if steps == 0 => Ok(shown(&probed(&job)?, &[])),
        None => Err(Error::value("steps", "0 with data='noise', which has nothing to learn", steps)),
        Some(rows) => {
            let outcomes = trained(&job, rows, given.number("lr")?, steps)?;
            let mut runs = Vec::new();
            for (seed, outcome) in (job.seed..).zip(&outcomes) {
                let weights = outcome.weights.clone().map(Arc::new);
                runs.extend(probed(&run::Job { given: weights, seed, seeds: 1, ..job.clone() })?);
            }
            Ok(shown(&runs, &outcomes))
        }
    }
}

/// The columns of the only cell, one a seed.
fn probed(job: &run::Job<f32>) -> Result<Vec<Columns>> {
    let all = Mutex::new(Vec::new());
    let keep = |_, columns| *all.lock().unwrap_or_else(PoisonError::into_inner) = columns;
    run::probe(job, &Cancel::default(), &keep)?;
    Ok(all.into_inner().unwrap_or_else(PoisonError::into_inner))
}

/// What became of the nets of a job in so many steps of gradient descent; of one that broke, behind the last step that
/// it finished.
fn trained(job: &run::Job<f32>, rows: Rows<f32>, lr: f64, steps: usize) -> Result<Vec<Outcome<f32>>> {
    let (Some(spec), Some(plan)) = (job.specs.first(), &job.plan) else { return Ok(Vec::new()) };
    let recipe = Recipe {
        optimizer: Optimizer::parse(&format!("sgd(lr={lr})"))?,
        schedule: Pace::Schedule(Schedule::parse("constant")?),
        clip: None,
        noise: 0.0,
        rates: Vec::new(),
    };
    let layout = Arc::new(Layout::new(plan));
    let cell = Cell { spec: Arc::new(spec.clone()), plan: Arc::clone(plan), layout, recipe };
    let mut training = train::Job {
        cells: vec![cell],
        given: None,
        resume: Vec::new(),
        rows,
        validation: None,
        batch: job.batch,
        steps,
        until: steps,
        record: Vec::new(),
        monitors: Vec::new(),
        sharpness: Vec::new(),
        validate: Vec::new(),
        checkpoints: Vec::new(),
        skip: false,
        patience: None,
        keep_weights: true,
        seed: job.seed,
        seeds: job.seeds,
        threads: 1,
        halt: Arc::default(),
    };
    let run = |training: &train::Job<f32>| {
        let all = Mutex::new(Vec::new());
        let keep = |_, outcomes| *all.lock().unwrap_or_else(PoisonError::into_inner) = outcomes;
        train::train(training, &Cancel::default(), &keep, &|_| ())?;
        Ok(all.into_inner().unwrap_or_else(PoisonError::into_inner))
    };
    let mut outcomes: Vec<Outcome<f32>> = run(&training)?;
    for (seed, outcome) in (job.seed..).zip(&mut outcomes) {
        // A net that broke gives back its start: it is trained once more for the steps that were.
        if (1..steps).contains(&outcome.done) {
            (training.seed, training.seeds) = (seed, 1);
            (training.steps, training.until) = (outcome.done, outcome.done);
            outcome.weights = run(&training)?.pop().and_then(|again| again.weights);
        }
    }
    Ok(outcomes)
}

/// The columns of runs as the page reads them, and the losses of their training.
fn shown(runs: &[Columns], outcomes: &[Outcome<f32>]) -> Answer {
    let layers = runs.first().map_or(0, Columns::rows);
    let quoted = |names: &[&str]| names.iter().map(|name| format!("\"{name}\"")).collect::<Vec<_>>().join(",");
    let ended = outcomes.iter().map(|outcome| outcome.stopped_by).collect::<Vec<_>>();
    let done = outcomes.iter().map(|outcome| outcome.done.to_string()).collect::<Vec<_>>().join(",");
    let text = format!(
        "{{\"seeds\":{},\"layers\":{layers},\"columns\":[{}],\"ended\":[{}],\"done\":[{done}]}}",
        runs.len(),
        quoted(&COLUMNS),
        quoted(&ended)
    );
    let mut numbers = Vec::new();
    for column in 0..COLUMNS.len() {
        runs.iter().for_each(|run| numbers.extend(&run.values[column]));
    }
    let of_runs: [fn(&Columns) -> f64; 4] = [
        |run| run.first_nonfinite.map_or(-1.0, |layer| layer as f64),
        |run| run.log10_total,
        |run| run.log10_output,
        |run| run.loss,
    ];
    of_runs.iter().for_each(|number| numbers.extend(runs.iter().map(number)));
    outcomes.iter().for_each(|outcome| numbers.extend(&outcome.loss));
    (text, numbers)
}
