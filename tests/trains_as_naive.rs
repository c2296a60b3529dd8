//! Steps of training against the oracle of `naive`: every optimiser with every way to clip.

use std::sync::{Arc, Mutex};
use vgcore::activation::Activation;
use vgcore::error::Cancel;
use vgcore::init::Distribution;
use vgcore::loss::{Loss, Targets};
use vgcore::naive::train::{At, Kept, adapt, boost, norm, shrink, update};
use vgcore::naive::{self, Net, Rows, Tensors, rows};
use vgcore::optimizer::Optimizer;
use vgcore::part::{
    self, Activate, Blocks, Drop, HandsOn, Join, Keep, LinearPlan, Map, Masks, Module, Parameters, Part,
};
use vgcore::plan::Plan;
use vgcore::rng::{Role, Stream};
use vgcore::schedule::{self, Schedule};
use vgcore::skip::Way;
use vgcore::spec::{Bias, MlpRequest, PerLayer, RnnRequest, Spec, TransformerRequest};
use vgcore::train::{Cell, Clip, Job, Layout, Pace, Per, Recipe, train};
use vgcore::weights::Weights;

const STEPS: usize = 3;
const BATCH: usize = 7;
const SEED: u64 = 11;

fn specs() -> Vec<Spec> {
    let net = |change: &dyn Fn(&mut MlpRequest)| {
        let mut request = MlpRequest { in_features: Some(4), out_features: Some(3), ..MlpRequest::new(2, 5) };
        change(&mut request);
        Spec::new(&request).unwrap()
    };
    let some = |text: &str| Some(text.to_owned());
    vec![
        net(&|r| r.bias = PerLayer::All(Bias::Named("normal(std=0.3)".to_owned()))),
        net(&|r| r.bias = PerLayer::Each(vec![Bias::Absent, Bias::Brought, Bias::Absent])),
        net(&|r| r.norm = PerLayer::All(some("layer"))),
        net(&|r| (r.final_norm, r.norm_position) = (some("layer"), PerLayer::All("input".to_owned()))),
        net(&|r| r.skip = some("highway")),
        net(&|r| r.weight_transform = some("weight_standardization")),
        net(&|r| (r.tied, r.in_features) = (true, Some(5))),
        steps("tanh", &|_| ()),
        steps("lstm", &|r| (r.layers, r.biases, r.norm, r.bias) = (2, 2, some("layer"), named())),
        steps("gru", &|r| (r.outputs, r.truncate, r.biases, r.bias) = ("every".to_owned(), Some(2), 2, named())),
        steps("gru(reset=before, update_bias=0.5)", &|r| (r.layers, r.bias) = (2, named())),
        // A softmax does not see what a bias adds to all keys alike, so that its gradient is rounding alone, which Adam
        // and its kin make as large as any other: there are biases where keys are normalised.
        blocks(&|b| (b.pool, b.activation, b.bias) = (some("mean"), "prelu".to_owned(), Bias::Absent)),
        blocks(&|b| (b.causal, b.qk_norm, b.bias) = (true, true, named())),
        blocks(&|b| (b.norm_position, b.skip, b.qk_norm) = ("post".to_owned(), some("rezero"), true)),
    ]
}

fn named() -> Bias<String> {
    Bias::Named("normal(std=0.3)".to_owned())
}

fn steps(cell: &str, change: &dyn Fn(&mut RnnRequest)) -> Spec {
    let mut asked =
        RnnRequest { in_features: 2, out_features: Some(3), cell: cell.to_owned(), ..RnnRequest::new(5, 4) };
    change(&mut asked);
    Spec::of_steps(&asked).unwrap()
}

fn blocks(change: &dyn Fn(&mut TransformerRequest)) -> Spec {
    let mut asked = TransformerRequest {
        heads: 2,
        tokens: 3,
        ffn: 2,
        in_features: Some(4),
        out_features: Some(3),
        ..TransformerRequest::new(1, 6)
    };
    change(&mut asked);
    Spec::of_blocks(&asked).unwrap()
}

/// Dropout of the input, of activations, within a branch around which a projection goes, and at the end of a layer.
fn dropping() -> part::Net {
    let linear = |module, layer, fan_in: usize, fan_out: usize, roles| {
        let plan = LinearPlan {
            fan_in,
            fan_out,
            weight: Distribution::Normal(0.0, 1.0 / (fan_in as f64).sqrt()),
            blocks: Blocks::ONE,
            factor: 1.0,
            bias: Some(Distribution::Normal(0.0, 0.3)),
            raised: None,
            transform: None,
            calibrates: false,
            layer,
            roles,
        };
        Parameters::linear_of(module, plan)
    };
    let own = |layer, fan_in, fan_out| linear(Module::Layers, layer, fan_in, fan_out, (Role::Weight, Role::Bias));
    let map = Part::Map(Map::of(0, true));
    let phi = Part::Phi(Activate { activation: Activation::parse("tanh").unwrap(), slope: None });
    let drop = |p, layer| Part::Drop(Drop { p, layer });
    let join = Part::Join(Join { stream: 0, way: Way::Project, scale: 0.7, around: 1.0, learned: 1 });
    let layers = [
        vec![drop(0.2, 0), map, phi, drop(0.5, 1)],
        vec![Part::Keep(Keep::of(0)), map, drop(0.3, 2), phi, drop(0.1, 3), join, drop(0.4, 4)],
        vec![map],
    ];
    let projection = linear(Module::Projections, 1, 6, 5, (Role::ProjectionWeight, Role::ProjectionBias));
    let readout = linear(Module::Readout, 0, 5, 3, (Role::ReadoutWeight, Role::ReadoutBias));
    part::Net {
        depth: 2,
        columns: 4,
        fed: None,
        tokens: 1,
        input: 4,
        layers: layers
            .into_iter()
            .enumerate()
            .map(|(slot, parts)| part::Layer { parts, slot, hands_on: HandsOn::Stream })
            .collect(),
        slots: vec![vec![own(0, 4, 6)], vec![own(1, 6, 5), projection], vec![readout]],
    }
}

/// Nets with their plans; the last plan is one that no spec lowers to, beside a spec of its depth.
fn nets() -> Vec<(Spec, Arc<Plan>)> {
    let with_plan = |spec| {
        let plan = Arc::new(Plan::new(&spec));
        (spec, plan)
    };
    let dropping = (Spec::new(&MlpRequest::new(2, 5)).unwrap(), Arc::new(Plan::of(dropping())));
    specs().into_iter().map(with_plan).chain([dropping]).collect()
}

const OPTIMIZERS: [&str; 14] = [
    "sgd(lr=0.1)",
    "sgd(lr=0.1, momentum=0.9, dampening=0.3, weight_decay=0.01)",
    "sgd(lr=0.1, momentum=0.9, nesterov=true)",
    "adam(lr=0.01, weight_decay=0.1)",
    "adam(lr=0.01, scale_free=true)",
    "adamw(lr=0.01)",
    "rmsprop(lr=0.01)",
    "rmsprop(lr=0.01, momentum=0.5, centered=true, weight_decay=0.1)",
    "rmsprop(lr=0.01, momentum=0.5, centered=true, eps=0.1, scale_free=true)",
    "adagrad(lr=0.05, lr_decay=0.1, initial_accumulator=0.1)",
    "adagrad(lr=0.05, scale_free=true)",
    "lion(lr=0.01, weight_decay=0.1)",
    "muon(lr=0.02)",
    "muon(lr=0.02, nesterov=false, adjust=match_rms_adamw, ns_steps=3, scale_free=true)",
];

fn clips() -> Vec<Option<Clip>> {
    let clip = |max_norm, min_norm, per| Some(Clip { max_norm, min_norm, per, max_boost: 1e30, eps: 1e-3 });
    vec![
        None,
        clip(Some(0.1), None, Per::Global),
        clip(Some(0.05), None, Per::Layer),
        clip(Some(0.3), Some(0.2), Per::Tensor),
        clip(Some(0.01), Some(0.2), Per::Value),
        clip(Some(0.005), None, Per::Agc),
    ]
}

/// Boost and clip gradients as the oracle does; `columns` are those of each tensor.
fn bounded(clip: &Clip, found: &mut Tensors, state: &Tensors, columns: impl Fn(&str) -> usize) {
    let times = |values: &mut Vec<f64>, factor: f64| values.iter_mut().for_each(|v| *v *= factor);
    if let Some(least) = clip.min_norm {
        found.values_mut().for_each(|g| times(g, boost(g, least, clip.max_boost)));
    }
    let Some(max) = clip.max_norm else { return };
    let group = |name: &str| match clip.per {
        Per::Global => String::new(),
        Per::Layer => name.rsplit_once('.').unwrap().0.to_owned(),
        _ => name.to_owned(),
    };
    match clip.per {
        Per::Value => found.values_mut().flatten().for_each(|g| *g = g.clamp(-max, max)),
        Per::Agc => {
            for (name, g) in found.iter_mut().filter(|(name, _)| !name.starts_with("readout")) {
                adapt(g, &state[name], columns(name), max, clip.eps);
            }
        }
        _ => {
            let norms = found.iter().map(|(name, g)| (group(name), norm(g))).collect::<Vec<_>>();
            for (name, g) in found {
                let ours = norms.iter().filter(|(other, _)| *other == group(name)).map(|(_, norm)| *norm);
                times(g, shrink(norm(&ours.collect::<Vec<_>>()), max));
            }
        }
    }
}

/// All tensors behind some steps of the oracle.
fn expected(plan: &Plan, recipe: &Recipe, start: &Tensors, x: &Rows, loss: &Loss, targets: &Targets) -> Tensors {
    let (mut state, mut kept) = (start.clone(), std::collections::BTreeMap::<String, Kept>::new());
    let shapes = plan.tensors().into_iter().map(|(_, name, shape)| (name, shape)).collect::<Vec<_>>();
    let shape = |name: &str| &shapes.iter().find(|(other, _)| other == name).unwrap().1;
    for t in 1..=STEPS {
        let net = Net { plan, state: &state, masks: Some(Masks { seed: SEED, step: t }) };
        let pass = naive::forward(&net, x);
        let (_, cotangent) = loss.evaluate(&pass.y().concat(), plan.output_row(), targets);
        let mut found = naive::backward(&net, x, &pass, &rows(&cotangent, plan.last_value(BATCH).0)).tensors;
        if let Some(clip) = &recipe.clip {
            bounded(clip, &mut found, &state, |name| *shape(name).last().unwrap());
        }
        let Pace::Schedule(schedule) = &recipe.schedule else { unreachable!() };
        let lr = recipe.optimizer.value("lr");
        let at = schedule::At { lr, step: t as f64, steps: STEPS as f64 };
        for (name, w) in &mut state {
            // What a layer of a recurrent net gets from the one below stands between hidden layers.
            let between = name.starts_with("layers.") || name.starts_with("inputs.") && !name.starts_with("inputs.0");
            let hidden = between && name != "inputs.weight" && shape(name).len() == 2;
            let at = At {
                t: t as i32,
                lr: schedule.rate(at),
                momentum: schedule.momentum(at),
                map: hidden.then(|| (shape(name)[0], shape(name)[1])),
            };
            update(&recipe.optimizer, w, &found[name], kept.entry(name.clone()).or_default(), at);
        }
    }
    state
}

#[test]
fn three_steps_of_every_optimiser_and_clip_match_the_oracle() {
    let loss = Loss::parse("cross_entropy").unwrap();
    for (k, (spec, plan)) in nets().into_iter().enumerate() {
        let weights = Weights::<f64>::drawn(&plan, 3, 1, &Cancel::default()).unwrap();
        let names = plan.tensors().into_iter().map(|(_, name, _)| name).collect::<Vec<_>>();
        let named = |weights: &Weights<f64>| {
            let tensors = weights.tensors(&plan, &Cancel::default()).unwrap();
            names.iter().cloned().zip(tensors).collect::<Tensors>()
        };
        let mut x = vec![0.0; BATCH * plan.columns];
        Stream::new(5, 0, Role::Input).normal(&mut x);
        let targets = Targets::Classes((0..BATCH * plan.places).map(|row| row % 3).collect());
        let (spec, layout) = (Arc::new(spec), Arc::new(Layout::new(&plan)));
        let schedules = ["constant", "one_cycle(pct_start=0.5)", "warmup(steps=3)"];
        let recipes = OPTIMIZERS.iter().flat_map(|optimizer| clips().into_iter().map(move |clip| (optimizer, clip)));
        let recipes = recipes.enumerate().map(|(i, (optimizer, clip))| Recipe {
            optimizer: Optimizer::parse(optimizer).unwrap(),
            schedule: Pace::Schedule(Schedule::parse(schedules[(i + k) % schedules.len()]).unwrap()),
            clip,
            noise: 0.0,
            rates: Vec::new(),
        });
        for recipe in recipes {
            let job = Job {
                cells: vec![Cell {
                    spec: Arc::clone(&spec),
                    plan: Arc::clone(&plan),
                    layout: Arc::clone(&layout),
                    recipe: recipe.clone(),
                }],
                given: Some(Arc::new(weights.clone())),
                resume: Vec::new(),
                rows: vgcore::train::Rows {
                    x: x.clone(),
                    columns: plan.columns,
                    count: BATCH,
                    places: plan.places,
                    targets: targets.clone(),
                    loss,
                },
                validation: None,
                batch: BATCH,
                steps: STEPS,
                until: STEPS,
                record: Vec::new(),
                monitors: Vec::new(),
                sharpness: Vec::new(),
                validate: Vec::new(),
                checkpoints: Vec::new(),
                skip: false,
                patience: None,
                keep_weights: true,
                seed: SEED,
                seeds: 1,
                threads: 1,
                halt: Arc::default(),
            };
            let found = Mutex::new(Vec::new());
            train(&job, &Cancel::default(), &|_, outcomes| *found.lock().unwrap() = outcomes, &|_| ()).unwrap();
            let outcome = found.into_inner().unwrap().remove(0);
            assert_eq!(outcome.stopped_by, "steps");
            let (start, found) = (named(&weights), named(&outcome.weights.unwrap()));
            let expected = expected(&plan, &recipe, &start, &rows(&x, plan.columns), &loss, &targets);
            let most = |a: &[f64], b: &[f64]| a.iter().zip(b).fold(0.0, |most: f64, (a, b)| most.max((a - b).abs()));
            for (name, w) in &expected {
                let way = most(w, &start[name]);
                let gap = most(w, &found[name]);
                assert!(gap <= 1e-10 * way + 1e-14, "{} {recipe:?} {name}: {gap:e} of {way:e}", spec.content());
            }
        }
    }
}

#[test]
fn the_oracle_of_a_step_is_the_derivative_of_its_own_loss_with_the_masks_fixed() {
    let plan = Plan::of(dropping());
    let weights = Weights::<f64>::drawn(&plan, 3, 1, &Cancel::default()).unwrap();
    let names = plan.tensors().into_iter().map(|(_, name, _)| name);
    let state = names.zip(weights.tensors(&plan, &Cancel::default()).unwrap()).collect::<Tensors>();
    let normals = |role, count| {
        let mut all = vec![0.0; count];
        Stream::new(5, 0, role).normal(&mut all);
        all
    };
    let (x, cotangent) = (normals(Role::Input, BATCH * 4), normals(Role::Cotangent, BATCH * 3));
    let x = rows(&x, 4);
    let masks = Some(Masks { seed: SEED, step: 2 });
    let loss = |state: &Tensors| {
        let pass = naive::forward(&Net { plan: &plan, state, masks }, &x);
        pass.y().concat().iter().zip(&cotangent).map(|(y, c)| y * c).sum::<f64>()
    };
    let net = Net { plan: &plan, state: &state, masks };
    let pass = naive::forward(&net, &x);
    let found = naive::backward(&net, &x, &pass, &rows(&cotangent, 3)).tensors;
    assert_eq!(found.len(), plan.tensors().len());
    for (name, gradient) in &found {
        for (entry, expected) in gradient.iter().enumerate() {
            let at = |step: f64| {
                let mut moved = state.clone();
                moved.get_mut(name).unwrap()[entry] += step;
                loss(&moved)
            };
            let step = 1e-3;
            // Of fourth order.
            let slope = (8.0 * (at(step) - at(-step)) - at(2.0 * step) + at(-2.0 * step)) / (12.0 * step);
            assert!((slope - expected).abs() < 1e-9 * norm(gradient).max(1.0), "{name} {entry}: {slope} {expected}");
        }
    }
    // Other masks give another loss.
    let other = naive::forward(&Net { masks: Some(Masks { seed: SEED, step: 3 }), ..net }, &x);
    assert_ne!(other.y(), pass.y());
}
