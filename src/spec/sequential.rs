//! A net as a list of parts, with ways around any span of them.

use super::per_layer::{Layers, PerLayer};
use super::{Bias, width};
use crate::activation::{Activation, Shape};
use crate::error::{Cancel, Error, Result, shown};
use crate::init::{Distribution, Init, Place, Stands};
use crate::norm::Norm;
use crate::part::{
    Activate, Beyond, Blocks, Drop, HandsOn, Join, Keep, Layer, LinearPlan, Map, Module, Net, Normalise, Parameters,
    Part, beyond,
};
use crate::rng::Role;
use crate::signature::{Argument, Call};
use crate::skip::Way;
use std::ops::Range;
use std::sync::LazyLock;

/// The most parts of a list.
const MOST: usize = 10_000;

/// What a map feeds that has no activation.
static NONE: LazyLock<Activation> = LazyLock::new(Activation::linear);

/// A list of parts as a caller writes it, nothing checked.
#[derive(Debug, Clone, PartialEq)]
pub struct SequentialRequest {
    /// The parts, input side first.
    pub parts: Vec<String>,
    /// Columns of the input.
    pub in_features: i128,
    /// Weight inits: one for all maps, or one a map.
    pub init: PerLayer<String>,
    /// Biases, likewise.
    pub bias: PerLayer<Bias<String>>,
}

/// One part, checked.
#[derive(Debug, Clone, PartialEq)]
enum Item {
    /// A map to so many features.
    Linear(usize),
    /// An activation.
    Phi(Activation),
    /// A normalisation.
    Norm(Norm),
    /// Dropout.
    Drop(f64),
    /// A way around begins, by its number.
    Keep(usize),
    /// It ends: how, and the factor of the branch.
    Join(usize, Way, f64),
}

/// A valid list of parts.
#[derive(Debug, Clone, PartialEq)]
pub struct Sequential {
    /// Columns of the input.
    pub in_features: usize,
    items: Vec<Item>,
    /// The features that each part gives.
    features: Vec<usize>,
    /// Of ways around: the features that they carry, by their numbers.
    around: Vec<usize>,
    /// Of every map in order, those of what goes around in their place; the last one may be the readout's.
    init: PerLayer<Init>,
    bias: PerLayer<Bias<Init>>,
    /// Is the last map a readout?
    readout: bool,
    /// What no page has.
    beyond: Beyond,
}

/// The names of the parts that are no activations and no normalisations.
const NAMES: [&str; 7] = ["linear", "dropout", "keep", "add", "rezero", "concat", "project"];

/// The arguments of a part's call, in the order of their names; `least` of them are needed.
fn arguments<const N: usize>(
    place: &str,
    call: &Call,
    names: [&str; N],
    least: usize,
) -> Result<[Option<Argument>; N]> {
    let usage = || {
        let given = call.arguments.len();
        let count = if least == N { format!("{N} argument") } else { format!("{least} to {N} arguments") };
        Error::value(place, &format!("{}({}) with {count}", call.name, names.join(", ")), given)
    };
    let mut values = [const { None }; N];
    for (position, (key, argument)) in call.arguments.iter().enumerate() {
        let index = match key {
            Some(key) => names.iter().position(|name| name == key),
            None => (position < N).then_some(position),
        };
        let slot = index.and_then(|index| values.get_mut(index)).filter(|slot| slot.is_none()).ok_or_else(usage)?;
        *slot = Some(argument.clone());
    }
    if values[..least].iter().any(Option::is_none) { Err(usage()) } else { Ok(values) }
}

/// The parts of a list on their way to being checked.
#[derive(Default)]
struct Ways {
    /// Names by their numbers.
    names: Vec<String>,
    /// Which have been joined.
    joined: Vec<bool>,
}

impl Ways {
    fn name(given: &Argument) -> String {
        if let Argument::Word(word) = given { shown(word) } else { given.to_string() }
    }

    fn begin(&mut self, place: &str, name: &Argument) -> Result<usize> {
        let name = Self::name(name);
        if self.names.contains(&name) {
            return Err(Error::Value(format!("{place}: '{name}' is kept already; give it another name")));
        }
        self.names.push(name);
        self.joined.push(false);
        Ok(self.names.len() - 1)
    }

    fn end(&mut self, place: &str, name: &Argument) -> Result<usize> {
        let name = Self::name(name);
        let Some(index) = self.names.iter().position(|kept| *kept == name) else {
            let kept = if self.names.is_empty() { "nothing".to_owned() } else { self.names.join(", ") };
            return Err(Error::Value(format!("{place}: '{name}' is not kept before it; kept so far: {kept}")));
        };
        self.joined[index] = true;
        Ok(index)
    }
}

fn number(place: &str, argument: &Argument) -> Result<f64> {
    match argument {
        Argument::Number(value) if value.is_finite() => Ok(*value),
        other => Err(Error::value(place, "a call with a finite number", other)),
    }
}

fn item(place: &str, text: &str, ways: &mut Ways) -> Result<Item> {
    let call = Call::parse(place, text)?;
    let plain = call.arguments.is_empty();
    match call.name.as_str() {
        "linear" if !plain => {
            let [Some(features)] = arguments(place, &call, ["features"], 1)? else { unreachable!("it was given") };
            let features = number(place, &features)?;
            if features.fract() != 0.0 {
                return Err(Error::value(place, "linear(features) with a whole number", features));
            }
            width(&format!("{place}: features"), features as i128).map(Item::Linear)
        }
        "dropout" => {
            let [Some(share)] = arguments(place, &call, ["p"], 1)? else { unreachable!("it was given") };
            let share = number(place, &share)?;
            let fits = (0.0..1.0).contains(&share);
            if fits {
                Ok(Item::Drop(share))
            } else {
                Err(Error::value(place, "dropout(p) with p from 0 to less than 1", share))
            }
        }
        "keep" => {
            let [Some(name)] = arguments(place, &call, ["name"], 1)? else { unreachable!("it was given") };
            ways.begin(place, &name).map(Item::Keep)
        }
        name @ ("add" | "project") => {
            let [Some(way), scale] = arguments(place, &call, ["name", "scale"], 1)? else {
                unreachable!("it was given")
            };
            let scale = scale.map_or(Ok(1.0), |scale| number(place, &scale))?;
            let sort = if name == "add" { Way::Add } else { Way::Project };
            ways.end(place, &way).map(|way| Item::Join(way, sort, scale))
        }
        name @ ("rezero" | "concat") => {
            let [Some(way)] = arguments(place, &call, ["name"], 1)? else { unreachable!("it was given") };
            let sort = if name == "rezero" { Way::Learned } else { Way::Concatenate };
            ways.end(place, &way).map(|way| Item::Join(way, sort, 1.0))
        }
        name => {
            let found = match (Norm::new(&call), Activation::new(&call)) {
                (Ok(norm), _) => Ok(Item::Norm(norm)),
                (_, Ok(activation)) => Ok(Item::Phi(activation)),
                (Err(norm), _) if Norm::names().any(|known| known == name) => Err(norm),
                (_, Err(activation)) if Activation::names().any(|known| known == name) => Err(activation),
                _ => {
                    let activations = Activation::names().filter(|known| !NAMES.contains(known));
                    Err(Error::unknown("part", name, NAMES.into_iter().chain(Norm::names()).chain(activations)))
                }
            };
            found.map_err(|error| match error {
                Error::Value(said) => Error::Value(format!("{place}: {said}")),
                error => error,
            })
        }
    }
}

impl Sequential {
    /// Check a list of parts.
    pub fn new(given: &SequentialRequest) -> Result<Self> {
        let in_features = width("in_features", given.in_features)?;
        let mut ways = Ways::default();
        if given.parts.len() > MOST {
            return Err(Error::value(
                "parts",
                &format!("a list of at most {MOST}; an MLP repeats a block"),
                given.parts.len(),
            ));
        }
        let items = given.parts.iter().enumerate().map(|(index, text)| {
            Cancel::heed()?;
            item(&format!("parts[{index}]"), text, &mut ways)
        });
        let items = items.collect::<Result<Vec<_>>>()?;
        if let Some(open) = ways.joined.iter().position(|joined| !joined) {
            let name = &ways.names[open];
            return Err(Error::Value(format!("keep({name}) goes nowhere; end it with add({name}), or leave it out")));
        }
        let linears = || items.iter().filter(|item| matches!(item, Item::Linear(_))).count();
        if linears() == 0 {
            return Err(Error::value("parts", "a list with at least one map, such as 'linear(64)'", "none".to_owned()));
        }
        let readout = matches!(items.last(), Some(Item::Linear(_))) && linears() > 1;
        let is_map = |item: &&Item| matches!(item, Item::Linear(_) | Item::Join(_, Way::Project, _));
        let layers = Layers { of: "maps", depth: items.iter().filter(is_map).count(), stem: 0, block: 1 };
        let init = given.init.map("init", layers, |name, text| Init::new(&Call::parse(&name, text)?))?;
        let bias = given.bias.map("bias", layers, |name, bias| bias.checked(&name))?;
        let (features, around) = (Vec::with_capacity(items.len()), vec![0; ways.names.len()]);
        let mut list = Self { in_features, items, features, around, init, bias, readout, beyond: beyond()? };
        list.measure(&ways)?;
        list.check()?;
        Ok(list)
    }

    /// Work out what each part gives.
    fn measure(&mut self, ways: &Ways) -> Result<()> {
        let mut now = self.in_features;
        for (index, item) in self.items.iter().enumerate() {
            now = match item {
                Item::Linear(features) => *features,
                Item::Phi(activation) => {
                    if activation.shape() == Shape::Gated && !now.is_multiple_of(2) {
                        let what = format!("parts[{index}]: the features before '{}'", activation.text());
                        return Err(Error::value(&what, "even, for half of them are gates", now));
                    }
                    activation.outputs(now)
                }
                Item::Norm(_) | Item::Drop(_) | Item::Join(_, Way::Project, _) => now,
                Item::Keep(way) => {
                    self.around[*way] = now;
                    now
                }
                Item::Join(way, Way::Concatenate, _) => now + self.around[*way],
                Item::Join(way, ..) if self.around[*way] == now => now,
                Item::Join(way, ..) => {
                    return Err(Error::Value(format!(
                        "parts[{index}]: {0} features come through and {1} went around as {2}; make them equal, or \
                         write project({2}) or concat({2})",
                        now, self.around[*way], ways.names[*way]
                    )));
                }
            };
            self.features.push(now);
        }
        Ok(())
    }

    fn check(&self) -> Result<()> {
        for (number, place) in self.places().iter().enumerate() {
            Cancel::heed()?;
            self.init.at(number).check(place)?;
        }
        if let (Some(init), false) =
            (self.inits().find(|init| init.calibrates()), matches!(self.init, PerLayer::All(_)))
        {
            let text = init.text();
            return Err(Error::Value(format!(
                "init='{text}' scales each layer by what the data make of them: it goes with no other inits"
            )));
        }
        let groups = self.groups();
        let phis =
            |layer: &Range<usize>| self.items[layer.clone()].iter().filter(|item| matches!(item, Item::Phi(_))).count();
        if let Some(layer) = groups.iter().find(|layer| phis(layer) > 1) {
            let mut places = layer.clone().filter(|&index| matches!(self.items[index], Item::Phi(_)));
            let [one, two] = [places.next(), places.next()].map(Option::unwrap_or_default);
            return Err(Error::Value(format!(
                "parts[{one}] and parts[{two}] are two activations of one map; make them one, as with \
                 Activation.custom(name, f)"
            )));
        }
        Ok(())
    }

    /// Hidden maps: those that are not the readout, and not those of what goes around.
    pub fn depth(&self) -> usize {
        self.items.iter().filter(|item| matches!(item, Item::Linear(_))).count() - usize::from(self.readout)
    }

    /// Ways around that are open at once, at most.
    pub(super) fn streams(&self) -> usize {
        // One is open up to the last of its joins.
        let mut ends = vec![0; self.around.len()];
        for (index, item) in self.items.iter().enumerate() {
            if let Item::Join(way, ..) = item {
                ends[*way] = index;
            }
        }
        let open = |open: &mut usize, (index, item): (usize, &Item)| {
            match item {
                Item::Keep(_) => *open += 1,
                Item::Join(way, ..) if ends[*way] == index => *open -= 1,
                _ => (),
            }
            Some(*open)
        };
        self.items.iter().enumerate().scan(0, open).max().unwrap_or(0)
    }

    /// Columns of the output.
    pub fn output(&self) -> usize {
        self.features.last().copied().unwrap_or(self.in_features)
    }

    /// Columns of the readout, if there is one.
    pub fn out_features(&self) -> Option<usize> {
        self.readout.then(|| self.output())
    }

    /// Features of the widest part.
    pub fn widest(&self) -> usize {
        self.features.iter().copied().max().unwrap_or(0)
    }

    /// The activations, in order.
    pub fn activations(&self) -> impl Iterator<Item = Activation> {
        self.items.iter().filter_map(|item| if let Item::Phi(phi) = item { Some(*phi) } else { None })
    }

    /// The inits as they were given.
    pub fn inits(&self) -> impl Iterator<Item = &Init> {
        self.init.values().iter()
    }

    /// Biases as they were given.
    pub fn biases(&self) -> &PerLayer<Bias<Init>> {
        &self.bias
    }

    /// Inits as they were given.
    pub fn init(&self) -> &PerLayer<Init> {
        &self.init
    }

    /// The parts in canonical spelling; ways around are counted.
    pub fn texts(&self) -> Vec<String> {
        let text = |item: &Item| match item {
            Item::Linear(features) => format!("linear({features})"),
            Item::Phi(activation) => activation.text(),
            Item::Norm(norm) => norm.text(),
            Item::Drop(share) => format!("dropout({share})"),
            Item::Keep(way) => format!("keep({way})"),
            Item::Join(way, sort, scale) => {
                let scale = if *scale == 1.0 { String::new() } else { format!(", {scale}") };
                format!("{}({way}{scale})", sort.name())
            }
        };
        self.items.iter().map(text).collect()
    }

    /// The canonical text of all that makes this net.
    pub fn content(&self) -> String {
        let joined = |values: Vec<String>| {
            let same = values.iter().all(|v| *v == values[0]);
            if same { values[0].clone() } else { values.join(",") }
        };
        let maps = self.maps().len();
        let inits = joined(self.init.every(maps).map(Init::text).collect());
        let bias = |bias: &Bias<Init>| match bias {
            Bias::Named(named) if !self.inits().all(|init| init.brings(named)) => named.text(),
            Bias::Absent => "none".to_owned(),
            Bias::Named(_) | Bias::Brought => "init".to_owned(),
        };
        let biases = joined(self.bias.every(maps).map(bias).collect());
        let biases = if biases == "init" { String::new() } else { format!(";bias={biases}") };
        format!("in={};parts={};init={inits}{biases}", self.in_features, self.texts().join(","))
    }

    /// The parts of each layer, the readout's last; or what stands behind the last layer and is none.
    ///
    /// A layer has one map. What stands between two maps belongs to the first of them up to a way around that begins, a
    /// second activation with the normalisation before it, or, before the last map, a normalisation behind a join.
    fn groups(&self) -> Vec<Range<usize>> {
        let is_linear = |index: &usize| matches!(self.items[*index], Item::Linear(_));
        let linears = (0..self.items.len()).filter(is_linear).collect::<Vec<_>>();
        let (mut cuts, mut begin) = (vec![0], 0);
        for (number, &map) in linears.iter().enumerate() {
            let next = linears.get(number + 1).copied();
            let end = next.unwrap_or(self.items.len());
            // What goes around has ended before the readout, and before what belongs to no map.
            let last = next.is_none() || (self.readout && number + 2 == linears.len());
            let join = (map + 1..end).rev().find(|&index| matches!(self.items[index], Item::Join(..)));
            let from = join.filter(|_| last).unwrap_or(map) + 1;
            let normed = |join: usize| (join + 1..end).find(|&index| matches!(self.items[index], Item::Norm(_)));
            let cut = self.cut(begin, map, from..end).or(join.filter(|_| last).and_then(normed)).unwrap_or(end);
            // Behind the last layer may stand what belongs to no map.
            if next.is_some() || cut < end {
                cuts.push(cut);
            }
            begin = cut;
        }
        cuts.push(self.items.len());
        cuts.windows(2).map(|pair| pair[0]..pair[1]).collect()
    }

    /// Where the next layer begins behind a map, at or behind a place: at a way around, or at a second activation.
    fn cut(&self, begin: usize, map: usize, range: Range<usize>) -> Option<usize> {
        let is_phi = |index: &usize| matches!(self.items[*index], Item::Phi(_));
        let mut active = (begin..map).chain(map + 1..range.start).any(|index| is_phi(&index));
        for index in range.clone() {
            match &self.items[index] {
                Item::Keep(_) => return Some(index),
                Item::Phi(_) if active => {
                    let is_norm = |before: &usize| matches!(self.items[*before], Item::Norm(_));
                    return Some(index - (range.start..index).rev().take_while(is_norm).count());
                }
                Item::Phi(_) => active = true,
                _ => (),
            }
        }
        None
    }

    /// Every map in order.
    fn maps(&self) -> Vec<AMap> {
        let mut maps = Vec::new();
        let (mut layer, depth) = (0, self.depth());
        for (index, item) in self.items.iter().enumerate() {
            let before = if index == 0 { self.in_features } else { self.features[index - 1] };
            let fans = match item {
                Item::Linear(features) => (before, *features),
                Item::Join(way, Way::Project, _) => (self.around[*way], before),
                _ => continue,
            };
            let projects = matches!(item, Item::Join(..));
            let of = if projects { Some(layer.clamp(1, depth) - 1) } else { (layer < depth).then_some(layer) };
            maps.push(AMap { number: maps.len(), index, fans, layer: of, projects });
            layer += usize::from(!projects);
        }
        maps
    }

    /// Where the maps stand among the branches.
    fn places(&self) -> Vec<Place<'_>> {
        let mut begins = vec![0; self.around.len()];
        let (mut sums, mut count) = (Vec::new(), 0);
        for (index, item) in self.items.iter().enumerate() {
            match item {
                Item::Keep(way) => begins[*way] = index,
                Item::Join(way, Way::Add | Way::Learned | Way::Project, _) => sums.push(begins[*way]..index),
                Item::Linear(_) => count += 1,
                _ => (),
            }
        }
        let (depth, groups) = (count - usize::from(self.readout), self.groups());
        let linears = |span: &Range<usize>| {
            span.clone().filter(|&index| matches!(self.items[index], Item::Linear(_))).collect::<Vec<_>>()
        };
        let phi = |layer: usize| {
            let mut items = self.items[groups[layer].clone()].iter();
            items.find_map(|item| if let Item::Phi(phi) = item { Some(phi) } else { None }).unwrap_or(&*NONE)
        };
        let place = |map: &AMap| {
            // The shortest branch around the map.
            let spans = sums.iter().filter(|span| span.contains(&map.index) && !map.projects);
            let within = spans.min_by_key(|span| span.len()).map(linears).unwrap_or_default();
            Place {
                fan_in: map.fans.0,
                fan_out: map.fans.1,
                depth,
                layer: map.layer,
                blocks: if sums.is_empty() { depth } else { sums.len() },
                block: within.len(),
                ends_branch: within.last() == Some(&map.index),
                activation: map.layer.map(|layer| if map.projects { &*NONE } else { phi(layer) }),
                stands: Stands::Alone,
            }
        };
        self.maps().iter().map(place).collect()
    }

    /// The net as layers of parts, the readout last.
    pub fn lower(&self) -> Result<Net> {
        let (depth, maps, places) = (self.depth(), self.maps(), self.places());
        let map = |index: usize| match maps.binary_search_by_key(&index, |map| map.index) {
            Ok(number) => self.linear(&maps[number], &places[number]),
            Err(_) => unreachable!("part {index} has a map"),
        };
        let streams = self.items.iter().any(|item| matches!(item, Item::Join(..)));
        let hands_on = if streams { HandsOn::Stream } else { HandsOn::Output };
        let (mut layers, mut slots) = (Vec::new(), Vec::new());
        for (number, group) in self.groups().into_iter().enumerate() {
            Cancel::heed()?;
            let mut making = Making { list: self, ends: number >= depth, parts: Vec::new(), slot: Vec::new() };
            let own = group.clone().find(|&index| matches!(self.items[index], Item::Linear(_)));
            if let Some(own) = own {
                let module = if making.ends { Module::Readout } else { Module::Layers };
                making.slot.push(Parameters::linear_of(module, map(own)));
            }
            for index in group {
                let projection = matches!(self.items[index], Item::Join(_, Way::Project, _)).then(|| map(index));
                making.add(index, projection);
            }
            let (parts, slot) = making.finish();
            layers.push(Layer { parts, slot: number, hands_on });
            slots.push(slot);
        }
        let input = self.in_features;
        Ok(Net { depth, columns: input, fed: None, tokens: 1, input, layers, slots })
    }

    fn linear(&self, map: &AMap, place: &Place<'_>) -> LinearPlan {
        let init = self.init.at(map.number);
        let roles = match (map.projects, map.layer) {
            (true, _) => (Role::ProjectionWeight, Role::ProjectionBias),
            (_, Some(_)) => (Role::Weight, Role::Bias),
            (_, None) => (Role::ReadoutWeight, Role::ReadoutBias),
        };
        LinearPlan {
            fan_in: map.fans.0,
            fan_out: map.fans.1,
            weight: init.weight(place),
            blocks: Blocks::ONE,
            factor: 1.0,
            bias: match self.bias.at(map.number) {
                Bias::Absent => None::<Distribution>,
                bias => Some(init.bias(bias.named(), place)),
            },
            raised: None,
            transform: None,
            calibrates: init.calibrates() && !map.projects,
            // Projections count for themselves: several may end at one layer.
            layer: if map.projects { map.index } else { map.layer.unwrap_or(0) },
            roles,
        }
    }
}

/// A linear map of a list.
struct AMap {
    /// Its place among the maps.
    number: usize,
    /// Its place among the parts.
    index: usize,
    /// Columns and rows of its weights.
    fans: (usize, usize),
    /// The layer that it belongs to; `None` for the readout.
    layer: Option<usize>,
    /// Is it that of what goes around?
    projects: bool,
}

/// A layer that is being put together.
struct Making<'l> {
    list: &'l Sequential,
    /// Does it stand behind the last hidden layer?
    ends: bool,
    parts: Vec<Part>,
    slot: Vec<Parameters>,
}

impl Making<'_> {
    fn learns(&mut self, parameters: &Parameters) -> usize {
        self.slot.push(*parameters);
        self.slot.len() - 1
    }

    #[allow(clippy::large_types_passed_by_value)] // Once a part.
    fn add(&mut self, index: usize, projection: Option<LinearPlan>) {
        let before = if index == 0 { self.list.in_features } else { self.list.features[index - 1] };
        let part = match &self.list.items[index] {
            Item::Linear(_) => Part::Map(Map::of(0, !self.ends)),
            Item::Phi(activation) => {
                let learned = activation.learned();
                let slope = learned.map(|slope| self.learns(&Parameters::scalar(Module::Activations, slope)));
                Part::Phi(Activate { activation: *activation, slope })
            }
            Item::Norm(norm) => {
                let module = if self.ends { Module::FinalNorm } else { Module::Norms };
                let affine = self.learns(&Parameters::affine(module, before, norm.centres()));
                Part::Norm(Normalise { norm: *norm, affine })
            }
            Item::Drop(share) if *share == 0.0 => return,
            Item::Drop(share) => Part::Drop(Drop { p: *share, layer: index }),
            Item::Keep(stream) => Part::Keep(Keep::of(*stream)),
            Item::Join(stream, way, scale) => {
                let learned = match (way, projection) {
                    (Way::Learned, _) => self.learns(&Parameters::scalar(Module::Skips, 0.0)),
                    (_, Some(plan)) => self.learns(&Parameters::linear_of(Module::Projections, plan)),
                    _ => 0,
                };
                Part::Join(Join { stream: *stream, way: *way, scale: *scale, around: 1.0, learned })
            }
        };
        self.parts.push(part);
    }

    /// The parts, and what they learn in the order of a state dict.
    fn finish(mut self) -> (Vec<Part>, Vec<Parameters>) {
        self.activate();
        let mut order = (0..self.slot.len()).collect::<Vec<_>>();
        order.sort_by_key(|&index| self.slot[index].module);
        let place = |index: &mut usize| *index = order.iter().position(|old| old == index).unwrap_or(*index);
        for part in &mut self.parts {
            match part {
                Part::Map(map) => place(&mut map.own),
                Part::Norm(norm) => place(&mut norm.affine),
                Part::Phi(phi) => phi.slope.iter_mut().for_each(place),
                Part::Join(join) => place(&mut join.learned),
                _ => (),
            }
        }
        (self.parts, order.iter().map(|&index| self.slot[index]).collect())
    }

    /// A layer without an activation has a linear one, behind the normalisation of its map.
    fn activate(&mut self) {
        let Some(map) = self.parts.iter().position(|part| matches!(part, Part::Map(_))).filter(|_| !self.ends) else {
            return;
        };
        if !self.parts.iter().any(|part| matches!(part, Part::Phi(_))) {
            let norms = self.parts[map + 1..].iter().take_while(|part| matches!(part, Part::Norm(_))).count();
            let linear = Part::Phi(Activate { activation: Activation::linear(), slope: None });
            self.parts.insert(map + 1 + norms, linear);
        }
        // What an activation behind the map sends back is rescaled already.
        let after = self.parts[map..].iter().any(|part| matches!(part, Part::Phi(_)));
        if let Part::Map(map) = &mut self.parts[map] {
            map.rescales = !after;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Spec;
    use super::*;

    fn asked(parts: &[&str]) -> Result<Sequential> {
        Sequential::new(&SequentialRequest {
            parts: parts.iter().map(|&part| part.to_owned()).collect(),
            in_features: 4,
            init: PerLayer::All("xavier_normal".to_owned()),
            bias: PerLayer::All(Bias::Brought),
        })
    }

    #[test]
    fn every_bad_part_is_named_with_its_place_and_what_to_write() {
        for (parts, words) in [
            (&["linear(4)", "keep(a)"][..], &["keep(", "goes nowhere", "add("][..]),
            (&["linear(4)", "add(a)"], &["parts[1]", "not kept before", "nothing"]),
            (
                &["keep(a)", "linear(5)", "add(a)"],
                &["parts[2]", "5 features", "4 went around", "write project(a) or concat(a)"],
            ),
            (&["keep(a)", "keep(a)", "linear(5)", "add(a)"], &["parts[1]", "kept already"]),
            (&["lnear(4)"], &["parts[0]", "unknown part 'lnear'", "did you mean"]),
            (&["linear(4.5)"], &["parts[0]", "whole number", "4.5"]),
            (&["linear(0)"], &["features", "1 to 1000000", "got 0"]),
            (&["linear(4, 4)"], &["parts[0]", "linear(features)"]),
            (&["linear(4)", "dropout(1)"], &["parts[1]", "from 0 to less than 1"]),
            (&["linear(4)", "layer(eps=-1)"], &["eps", "0 or more"]),
            (&["linear(5)", "glu"], &["parts[1]", "even", "got 5"]),
            (
                &["linear(4)", "relu", "tanh", "gelu", "linear(4)", "linear(2)"],
                &["parts[2] and parts[3]", "two activations"],
            ),
            (&["relu", "layer"], &["at least one map"]),
            (&["keep(a)", "linear(4)", "add(a, scale=x)"], &["parts[2]", "finite number"]),
        ] {
            let said = asked(parts).unwrap_err().to_string();
            for word in words {
                assert!(said.contains(word), "'{word}' is missing in: {said}");
            }
        }
    }

    #[test]
    fn a_way_is_open_up_to_the_last_of_its_joins() {
        for (parts, streams) in [
            (&["linear(4)"][..], 0),
            (&["keep(a)", "concat(a)", "concat(a)", "linear(4)"], 1),
            (&["keep(a)", "linear(4)", "keep(b)", "add(a)", "add(b)", "add(a)"], 2),
            (&["keep(a)", "linear(4)", "add(a)", "keep(b)", "linear(4)", "add(b)"], 1),
        ] {
            assert_eq!(asked(parts).unwrap().streams(), streams, "{parts:?}");
        }
    }

    #[test]
    fn an_mlp_said_part_by_part_has_the_layers_of_the_mlp() {
        let block = ["keep(a)", "layer", "linear(8)", "gelu", "linear(4)", "add(a, 0.5)"];
        let other = block.map(|part| part.replace("(a", "(b"));
        let parts = ["linear(4)"].into_iter().chain(block).chain(other.iter().map(String::as_str));
        let list = asked(&parts.chain(["layer", "linear(3)"]).collect::<Vec<_>>()).unwrap();
        let mlp = Spec::new(&super::super::MlpRequest {
            width: PerLayer::Each(vec![4, 8, 4]),
            out_features: Some(3),
            activation: PerLayer::Each(["linear", "gelu", "gelu"].map(str::to_owned).to_vec()),
            init: PerLayer::All("xavier_normal".to_owned()),
            norm: PerLayer::Each(vec![None, Some("layer".to_owned()), None]),
            norm_position: PerLayer::All("input".to_owned()),
            skip: Some("residual(order=linear)".to_owned()),
            branch_scale: super::super::BranchScale::Number(0.5),
            stem: 1,
            block: 2,
            final_norm: Some("layer".to_owned()),
            ..super::super::MlpRequest::new(5, 4)
        });
        let (list, mlp) = (list.lower().unwrap(), mlp.unwrap().lower().unwrap());
        let names = |net: &Net| -> Vec<Vec<&str>> {
            net.layers.iter().map(|layer| layer.parts.iter().map(Part::name).collect()).collect()
        };
        assert_eq!(names(&list), names(&mlp));
        let tensors = |net: Net| {
            crate::plan::Plan::of(net).tensors().into_iter().map(|(_, name, shape)| (name, shape)).collect::<Vec<_>>()
        };
        assert_eq!(tensors(list), tensors(mlp));
    }
}
