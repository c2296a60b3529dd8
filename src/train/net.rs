//! One run: a net from its first step to its last.

use super::clip::Clipped;
use super::data::{Batches, Rows};
use super::gradient::Gradients;
use super::pass::{Batch, gradient};
use super::sharpness::Sharpness;
use super::state::{Readings, Running, State};
use super::update::{Hyper, Moments, When, update};
use super::watch::{Recorder, Records, Sight};
use super::{Cell, Job, Pace, Standing, numbers};
use crate::error::{Cancel, Result};
use crate::forward::{Trace, forward};
use crate::part::{Masks, Signal, Which};
use crate::plan::Plan;
use crate::rng::{Role, Stream};
use crate::run::drawn;
use crate::schedule::{At, Plateau};
use crate::simd::Float;
use crate::weights::Weights;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// Where a number first was not finite.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bad {
    /// The step.
    pub step: usize,
    /// The hidden layer; the depth for the readout and the loss.
    pub layer: usize,
    /// The tensor, or `z` or `loss`.
    pub tensor: String,
    /// What was computed: `forward`, `loss`, `backward`, `moment` or `update`.
    pub phase: &'static str,
}

/// What became of a run.
#[derive(Debug, Clone)]
pub struct Outcome<F> {
    /// The loss of each step, before its update; NaN behind the last one.
    pub loss: Vec<f64>,
    /// The rate of each step.
    pub lr: Vec<f64>,
    /// log10 of the norm of all gradients of each step, before clipping.
    pub log10_grad_norm: Vec<f64>,
    /// What clipping multiplied with.
    pub clip_coef: Vec<f64>,
    /// log10 of the largest boost of a tensor.
    pub log10_boost: Vec<f64>,
    /// Share of what is judged that was clipped.
    pub clipped: Vec<f64>,
    /// Steps that were done.
    pub done: usize,
    /// The step behind which the weights are.
    pub best_step: usize,
    /// Why it ended: `steps`, `non_finite`, `early_stopping` or `interrupted`.
    pub stopped_by: &'static str,
    /// The first number that was not finite.
    pub bad: Option<Bad>,
    /// Layer by layer.
    pub records: Records,
    /// The largest curvature before each step that it was asked for.
    pub sharpness: Vec<f64>,
    /// Loss and accuracy at each reading of the validation rows.
    pub validation: Vec<[f64; 2]>,
    /// The weights: those of the best reading if there are readings, else the last ones that are finite.
    pub weights: Option<Weights<F>>,
    /// The running statistics of the batch norms of these weights.
    pub running: Vec<Running>,
    /// States before the steps that were asked for.
    pub checkpoints: Vec<(usize, Vec<u8>)>,
    /// The state behind the last step.
    pub last: Vec<u8>,
}

/// What runs leave for each other.
pub struct Space<F> {
    trace: Trace<F>,
    looking: Trace<F>,
    signal: Signal<F>,
    gradients: Gradients<F>,
    moments: Vec<Moments<F>>,
    seen: Vec<Sight>,
}

impl<F> Default for Space<F> {
    fn default() -> Self {
        Self {
            trace: Trace::default(),
            looking: Trace::default(),
            signal: Signal::default(),
            gradients: Gradients::default(),
            moments: Vec::new(),
            seen: Vec::new(),
        }
    }
}

/// A run that is to be done.
pub(super) struct Net<'j, F> {
    pub job: &'j Job<F>,
    pub cell: &'j Cell,
    /// The cell's index, and the number of the seed.
    pub place: (usize, usize),
    pub probe_rows: &'j Rows<F>,
    pub standing: &'j (dyn Fn(Standing) + Sync),
}

/// What one run is at, beside its state.
struct Course<'j, F> {
    out: Outcome<F>,
    hyper: Hyper,
    recorder: Recorder<'j>,
    curvature: Sharpness,
    records: Ahead<'j>,
    readings: Ahead<'j>,
    checkpoints: Ahead<'j>,
    curvatures: Ahead<'j>,
    /// The weights of the best reading, with their statistics.
    best: Option<(Weights<F>, Vec<Running>)>,
    /// Are they wanted?
    chooses: bool,
}

impl<'j, F: Float> Course<'j, F> {
    fn new(net: &Net<'j, F>, hyper: Hyper, first: usize) -> Self {
        let (job, Cell { plan, layout, .. }) = (net.job, net.cell);
        let nan = || vec![f64::NAN; job.steps];
        let readings = if job.validation.is_some() { job.validate.len() } else { 0 };
        let out = Outcome {
            loss: nan(),
            lr: nan(),
            log10_grad_norm: nan(),
            clip_coef: nan(),
            log10_boost: nan(),
            clipped: nan(),
            done: first - 1,
            best_step: first - 1,
            stopped_by: "steps",
            bad: None,
            records: Records::default(),
            sharpness: vec![f64::NAN; job.sharpness.len()],
            validation: vec![[f64::NAN; 2]; readings],
            weights: None,
            running: Vec::new(),
            checkpoints: Vec::new(),
            last: Vec::new(),
        };
        let reads = job.validation.is_some() || job.patience.is_some();
        Self {
            out,
            hyper,
            recorder: Recorder::new(&job.monitors, layout, plan, job.record.len()),
            curvature: Sharpness::new(net.seed()),
            records: Ahead::of(&job.record, first),
            readings: Ahead::of(&job.validate, first),
            checkpoints: Ahead::of(&job.checkpoints, first),
            curvatures: Ahead::of(&job.sharpness, first),
            best: None,
            chooses: job.keep_weights && job.until >= job.steps && reads,
        }
    }
}

/// The steps of a list that have not come yet.
struct Ahead<'l> {
    steps: &'l [usize],
    next: usize,
}

impl<'l> Ahead<'l> {
    fn of(steps: &'l [usize], first: usize) -> Self {
        Self { steps, next: steps.partition_point(|step| *step < first) }
    }

    /// The place in the list, if this step is the next one.
    fn at(&mut self, step: usize) -> Option<usize> {
        let place = self.next;
        (self.steps.get(place) == Some(&step)).then(|| {
            self.next += 1;
            place
        })
    }
}

/// The loss of a net on some rows, with the running statistics of its batch norms, and the accuracy.
pub fn evaluate<F: Float>(
    plan: &Plan,
    weights: &mut Weights<F>,
    running: &[Running],
    rows: &Rows<F>,
    trace: &mut Trace<F>,
    cancel: &Cancel,
) -> Result<[f64; 2]> {
    running.iter().for_each(|norm| norm.fix(plan, weights, true));
    let found = rows.evaluate(plan, weights, trace, cancel);
    running.iter().for_each(|norm| norm.fix(plan, weights, false));
    found
}

impl<F: Float> Net<'_, F> {
    fn seed(&self) -> u64 {
        self.job.seed + self.place.1 as u64
    }

    /// The state before the first step.
    fn begin(&self, hyper: &Hyper, space: &mut Space<F>, batches: &mut Batches, cancel: &Cancel) -> Result<State<F>> {
        let (Cell { plan, layout, recipe, .. }, job) = (self.cell, self.job);
        let mut state = if let Some(bytes) = job.resume.get(self.place.1) {
            State::of_bytes(bytes, plan, layout, cancel)?
        } else {
            let weights = if let Some(given) = &job.given {
                Weights::clone(given)
            } else {
                let chosen = batches.rows(1).to_vec();
                let samples = plan.calibrates.then(|| (job.rows.samples(&chosen), chosen.len()));
                drawn(plan, self.seed(), samples, chosen.len(), 1, cancel)?
            };
            let mut moments = std::mem::take(&mut space.moments);
            moments.resize_with(layout.count(), Moments::default);
            for (place, moments) in moments.iter_mut().enumerate() {
                moments.begin(&hyper.of_tensor(layout.hidden[place]), layout.counts[place]);
            }
            let plateau = Plateau::new(recipe.optimizer.value("lr"));
            let (running, readings) = (Running::all(plan), Readings::default());
            State { step: 1, taken: 0, weights, moments, running, readings, plateau, dead: Vec::new() }
        };
        numbers::spell_out(&mut state.weights, plan, &layout.ids);
        // Biases that may move are not zero for ever.
        let moves = |(place, id): (usize, &crate::part::TensorId)| {
            id.which == Which::Bias && recipe.rates.get(place) != Some(&0.0)
        };
        state.weights.unbiased &= !layout.ids.iter().enumerate().any(moves);
        Ok(state)
    }

    /// The rate of a step.
    fn rate(&self, state: &State<F>) -> f64 {
        let (lr, step) = (self.cell.recipe.optimizer.value("lr"), state.step);
        match &self.cell.recipe.schedule {
            Pace::Schedule(schedule) if schedule.looks_at_the_loss() => state.plateau.lr,
            Pace::Schedule(schedule) => schedule.rate(self.at(lr, step)),
            Pace::Given(factors) => lr * factors.get(step - 1).copied().unwrap_or(1.0),
        }
    }

    fn at(&self, lr: f64, step: usize) -> At {
        At { lr, step: step as f64, steps: self.job.steps as f64 }
    }

    /// Add normals of a variance that falls with the step.
    fn add_noise(&self, step: usize, gradients: &mut Gradients<F>, rates: &[f64]) {
        let variance = self.cell.recipe.noise / libm::pow(step as f64, 0.55);
        for (place, gradient) in gradients.all.iter_mut().enumerate().filter(|&(place, _)| rates[place] != 0.0) {
            let count = self.cell.layout.counts[place];
            gradient.spell_out();
            let mut normals = vec![F::ZERO; count];
            // Each step has blocks of its own.
            let stream = Stream::new(self.seed(), place, Role::Noise).after(step * count.next_multiple_of(4));
            stream.normal_of(0.0, variance.sqrt(), &mut normals);
            let mut rest = &normals[..];
            for slice in gradient.matrix.slices_mut() {
                let (now, later) = rest.split_at(slice.len());
                slice.iter_mut().zip(now).for_each(|(g, n)| *g += *n);
                rest = later;
            }
            gradient.measure();
        }
    }

    /// Where the forward pass of a batch, with the masks of the trace, first gives what is not finite; the loss, if all of
    /// it is.
    fn bad_forward(&self, state: &State<F>, chosen: &[usize], trace: &mut Trace<F>, cancel: &Cancel) -> Result<Bad> {
        let plan = &self.cell.plan;
        self.job.rows.begin(trace, plan, chosen);
        let found = forward(plan, &state.weights, trace, 0..plan.layers.len(), &mut (), cancel)?;
        let finite = || trace.value(plan.value(plan.layers.len())).to_rows().iter().all(|v| v.is_finite());
        // A readout of every step is no map of a layer that is looked at.
        let found = found.or_else(|| (!finite()).then(|| plan.depth()));
        let (layer, tensor, phase) = found.map_or((plan.depth(), "loss", "loss"), |layer| (layer, "z", "forward"));
        Ok(Bad { step: state.step, layer, tensor: tensor.to_owned(), phase })
    }

    fn bad(&self, step: usize, place: usize, phase: &'static str) -> Bad {
        let layout = &self.cell.layout;
        Bad { step, layer: layout.layers[place], tensor: layout.names[place].clone(), phase }
    }

    /// Take the step of every tensor; gives the first that is not finite behind it.
    fn step(
        &self,
        state: &mut State<F>,
        hypers: [&Hyper; 2],
        (lr, rates): (f64, &[f64]),
        gradients: &Gradients<F>,
        seen: Option<&mut Vec<Sight>>,
        cancel: &Cancel,
    ) -> Result<Option<Bad>> {
        let Cell { plan, layout, .. } = self.cell;
        state.taken += 1;
        let (mut bad, watch) = (None, seen.is_some());
        let mut all = seen;
        for place in (0..layout.count()).filter(|&place| rates[place] != 0.0) {
            let hyper = hypers[usize::from(layout.hidden[place])];
            let (id, rate) = (layout.ids[place], lr * rates[place]);
            let (gradient, moments) = (&gradients.all[place], &mut state.moments[place]);
            let when = When { lr: rate, step: state.taken, watch };
            let weights = &mut state.weights;
            let one = update(hyper, when, gradient, moments, &mut |work| numbers::visit(weights, plan, id, work));
            if let [false, _] | [_, false] = one.finite {
                let phase = if one.finite[1] { "update" } else { "moment" };
                bad.get_or_insert_with(|| self.bad(state.step, place, phase));
            }
            if let Some(all) = &mut all {
                all[place] = Some((one, hyper.plain().then_some(rate)));
            }
            if let Some(linear) = plan.slots[id.slot][id.index].as_linear()
                && linear.transform.is_some()
                && id.which == Which::Weight
            {
                state.weights.slot_mut(plan, id.slot)[id.index].linear_mut().refresh(linear, cancel)?;
            }
        }
        Ok(bad)
    }

    /// Take in the statistics of the batch norms of a pass.
    fn take_statistics(&self, state: &mut State<F>, trace: &Trace<F>, batch: usize) {
        if state.running.is_empty() {
            return;
        }
        // Given weights bring no statistics: those of their first batch are nearer than 0 and 1.
        let anew = self.job.given.is_some() && state.taken == 0;
        let mut next = 0;
        for (index, layer) in self.cell.plan.layers.iter().enumerate() {
            for (placed, kept) in layer.parts.iter().zip(trace.kept(index)) {
                if let (crate::part::Part::Norm(part), Some(found)) = (placed.part, kept.batch_statistics()) {
                    // They stand in the order of the layers; those of a tied net stand once.
                    let place = (layer.slot, part.affine);
                    if state.running.get(next).is_none_or(|running| running.place != place) {
                        next = 0;
                    }
                    if let Some(running) = state.running[next..].iter_mut().find(|running| running.place == place) {
                        running.take(found, batch, anew);
                    }
                    next += 1;
                }
            }
        }
    }

    /// Read the loss behind a step; is it the best so far, and is patience at its end?
    fn read(&self, state: &mut State<F>, loss: f64) -> (bool, bool) {
        let Readings { best, bad, sum } = &mut state.readings;
        *sum = (0.0, 0);
        let least = self.job.patience.map_or(0.0, |(_, least)| least);
        let better = loss < best.0 - least || (best.1 == 0 && loss.is_finite());
        if better {
            (*best, *bad) = ((loss, state.step), 0);
        } else {
            *bad += 1;
        }
        let ends = self.job.patience.is_some_and(|(patience, _)| *bad > patience);
        if let Pace::Schedule(schedule) = &self.cell.recipe.schedule
            && schedule.looks_at_the_loss()
        {
            state.plateau.read(schedule, loss);
        }
        (better, ends)
    }

    /// What is done before a step: the state is kept, and the net is looked at. Gives the number of the record.
    fn look(
        &self,
        course: &mut Course<'_, F>,
        state: &mut State<F>,
        rates: &[f64],
        cancel: &Cancel,
    ) -> Result<Option<usize>> {
        let (step, Cell { spec, plan, .. }) = (state.step, self.cell);
        if course.checkpoints.at(step).is_some() && self.job.keep_weights {
            course.out.checkpoints.push((step, state.to_bytes(plan, cancel)?));
        }
        let record = course.records.at(step);
        if let Some(record) = record {
            let known = (&state.weights, &mut state.dead);
            course.recorder.probe(record, spec, known, self.probe_rows, cancel)?;
        }
        if let Some(place) = course.curvatures.at(step) {
            let (curvature, weights) = (&mut course.curvature, &mut state.weights);
            course.out.sharpness[place] = curvature.measure(self.cell, weights, &self.job.rows, rates, cancel)?;
        }
        Ok(record)
    }

    /// Look at the gradients of a step, and add noise; the first that is not finite, if one is.
    fn judge(&self, out: &mut Outcome<F>, step: usize, gradients: &mut Gradients<F>, rates: &[f64]) -> Option<Bad> {
        if self.cell.recipe.noise > 0.0 {
            self.add_noise(step, gradients, rates);
        }
        let total = gradients.total();
        out.log10_grad_norm[step - 1] = total.log10();
        // The way back begins at the output: the last of the bad ones is the first.
        let last = || gradients.all.iter().rposition(|g| !g.squares.is_finite()).unwrap_or(0);
        (!total.value.is_finite()).then(|| self.bad(step, last(), "backward"))
    }

    /// Clip and take a step, and record it.
    fn advance(
        &self,
        course: &mut Course<'_, F>,
        state: &mut State<F>,
        (lr, rates): (f64, &[f64]),
        (gradients, seen): (&mut Gradients<F>, &mut Vec<Sight>),
        record: Option<usize>,
        cancel: &Cancel,
    ) -> Result<Option<Bad>> {
        let (Cell { plan, layout, recipe, .. }, at) = (self.cell, state.step - 1);
        let out = &mut course.out;
        let clip = recipe.clip.map_or(Clipped::NOTHING, |clip| clip.apply(gradients, layout, plan, &state.weights));
        (out.clip_coef[at], out.log10_boost[at], out.clipped[at]) = (clip.coef, clip.log10_boost, clip.share);
        let momentum = match &recipe.schedule {
            Pace::Schedule(schedule) => schedule.momentum(self.at(lr, state.step)),
            Pace::Given(_) => None,
        };
        let of = |hidden: bool| {
            let hyper = course.hyper.of_tensor(hidden);
            momentum.map_or(hyper, |momentum| hyper.with_momentum(momentum))
        };
        let hypers = [&of(false), &of(true)];
        seen.clear();
        seen.resize(layout.count(), None);
        let found = self.step(state, hypers, (lr, rates), gradients, record.map(|_| &mut *seen), cancel)?;
        if let Some(record) = record {
            course.recorder.step(record, gradients, seen);
        }
        Ok(found)
    }

    /// Read the loss behind a step, where it is to be read; does the run end here?
    fn reading(
        &self,
        course: &mut Course<'_, F>,
        state: &mut State<F>,
        looking: &mut Trace<F>,
        cancel: &Cancel,
    ) -> Result<bool> {
        let Some(place) = course.readings.at(state.step) else { return Ok(false) };
        let plan = &self.cell.plan;
        let loss = if let Some(rows) = &self.job.validation {
            let found = evaluate(plan, &mut state.weights, &state.running, rows, looking, cancel)?;
            course.out.validation[place] = found;
            found[0]
        } else {
            state.readings.sum.0 / state.readings.sum.1.max(1) as f64
        };
        let (better, ends) = self.read(state, loss);
        if better && course.chooses {
            course.best = Some((state.weights.clone(), state.running.clone()));
            course.out.best_step = state.step;
        }
        Ok(ends)
    }

    /// All steps.
    pub fn run(&self, space: &mut Space<F>, cancel: &Cancel) -> Result<Outcome<F>> {
        let (job, Cell { plan, layout, recipe, .. }) = (self.job, self.cell);
        let mut batches = Batches::new(self.seed(), job.rows.count, job.batch);
        let hyper = Hyper::new(&recipe.optimizer);
        let mut state = self.begin(&hyper, space, &mut batches, cancel)?;
        let ones = vec![1.0; if recipe.rates.is_empty() { layout.count() } else { 0 }];
        let rates = if recipe.rates.is_empty() { &ones } else { &recipe.rates };
        let first = state.step;
        let mut course = Course::new(self, hyper, first);
        // What a run without checkpoints gives back where it breaks.
        let spare = job.keep_weights && job.checkpoints.is_empty();
        let start = if spare { state.to_bytes(plan, cancel)? } else { Vec::new() };
        // A module of WebAssembly has no clock, and nobody to tell.
        let now = || (!cfg!(target_family = "wasm")).then(Instant::now);
        let mut clock = now();
        while state.step <= job.until {
            cancel.check()?;
            if job.halt.load(Ordering::Relaxed) {
                course.out.stopped_by = "interrupted";
                break;
            }
            let step = state.step;
            let record = self.look(&mut course, &mut state, rates, cancel)?;
            let Space { trace, looking, signal, gradients, seen, .. } = &mut *space;
            let chosen = batches.rows(step);
            let batch = Batch {
                rows: &job.rows,
                chosen,
                // A full batch is what the last step has left.
                there: step > first && job.batch >= job.rows.count,
                masks: Some(Masks { seed: self.seed(), step }),
            };
            let loss = gradient(plan, layout, &state.weights, batch, rates, trace, signal, gradients, cancel)?;
            let lr = self.rate(&state);
            (course.out.loss[step - 1], course.out.lr[step - 1]) = (loss, lr);
            let mut bad = if loss.is_finite() {
                self.take_statistics(&mut state, trace, chosen.len());
                self.judge(&mut course.out, step, gradients, rates)
            } else {
                Some(self.bad_forward(&state, chosen, trace, cancel)?)
            };
            let skips = bad.is_some() && job.skip;
            if bad.is_none() {
                bad = self.advance(&mut course, &mut state, (lr, rates), (gradients, seen), record, cancel)?;
                // What this breaks stays broken: there is no skipping it.
                let sum = &mut state.readings.sum;
                *sum = (sum.0 + loss, sum.1 + 1);
            }
            if let Some(found) = bad {
                course.out.bad.get_or_insert(found);
                if !skips {
                    course.out.stopped_by = "non_finite";
                    break;
                }
            }
            course.out.done = step;
            let ends = self.reading(&mut course, &mut state, looking, cancel)?;
            state.step += 1;
            if ends {
                course.out.stopped_by = "early_stopping";
                break;
            }
            if clock.is_some_and(|since| since.elapsed() > Duration::from_millis(100)) {
                (self.standing)((self.place.0, self.place.1, step, loss));
                clock = now();
            }
        }
        let Course { mut out, recorder, best, .. } = course;
        out.records = recorder.finish();
        if job.keep_weights {
            self.keep(&mut out, &mut state, best, &start, cancel)?;
        }
        space.moments = std::mem::take(&mut state.moments);
        Ok(out)
    }

    /// Choose the weights that are given back, and keep the state to go on from.
    fn keep(
        &self,
        out: &mut Outcome<F>,
        state: &mut State<F>,
        best: Option<(Weights<F>, Vec<Running>)>,
        start: &[u8],
        cancel: &Cancel,
    ) -> Result<()> {
        let Cell { plan, layout, .. } = self.cell;
        let broken = out.stopped_by == "non_finite";
        if !broken {
            out.last = state.to_bytes(plan, cancel)?;
        }
        let (weights, running) = match best {
            Some(best) => best,
            None if broken => {
                // The kept state whose steps before it have the least mean loss.
                let mean = |step: usize| {
                    let some = &out.loss[step.saturating_sub(10).max(1) - 1..step];
                    some.iter().sum::<f64>() / some.len() as f64
                };
                let least = out.checkpoints.iter().min_by(|a, b| {
                    let size = |step: usize| Some(mean(step)).filter(|mean| mean.is_finite()).unwrap_or(f64::INFINITY);
                    size(a.0).total_cmp(&size(b.0))
                });
                let kept = State::of_bytes(least.map_or(start, |(_, bytes)| bytes), plan, layout, cancel)?;
                out.best_step = kept.step - 1;
                (kept.weights, kept.running)
            }
            None => {
                out.best_step = out.done;
                (std::mem::take(&mut state.weights), state.running.clone())
            }
        };
        (out.weights, out.running) = (Some(weights), running);
        Ok(())
    }
}
