//! A recurrent net over a fixed number of steps: its fields, what is allowed, and its layers of parts.
//!
//! A step of a layer is a layer of the plan, in the order of time: layer `l` of step `t` is number `t * layers + l`. All
//! steps of a layer name its slot of parameters. In a net of one layer what moves from layer to layer is `h`; with more
//! it is what the layer below has given, and each `h` is a stream.

use super::mlp::Bias;
use super::{MAX_DEPTH, integer, optional, width, word};
use crate::cell::{Cell, Gates};
use crate::error::{Cancel, Error, Result};
use crate::init::{Distribution, Init, Place};
use crate::norm::Norm;
use crate::part::{
    self, Activate, Beyond, Blocks, Cut, HandsOn, Keep, Layer, LinearPlan, Map, Module, Net, Normalise, Parameters,
    Part, Steps, beyond,
};
use crate::rng::Role;
use crate::signature::Call;

/// A recurrent net as a caller describes it, nothing checked.
#[derive(Debug, Clone, PartialEq)]
pub struct RnnRequest {
    /// Steps.
    pub steps: i128,
    /// Units of a layer.
    pub width: i128,
    /// Columns of each step's input.
    pub in_features: i128,
    /// Units of the readout; no readout if `None`.
    pub out_features: Option<i128>,
    /// The cell.
    pub cell: String,
    /// Layers, each of which gets the states of the one below.
    pub layers: i128,
    /// Where the readout stands.
    pub outputs: String,
    /// Init of the maps of inputs and of the readout.
    pub init: String,
    /// Init of the recurrent maps.
    pub recurrent_init: String,
    /// Biases.
    pub bias: Bias<String>,
    /// Biases of a gate.
    pub biases: i128,
    /// Normalisation of the pre-activations.
    pub norm: Option<String>,
    /// Steps after which the gradient is cut.
    pub truncate: Option<i128>,
}

impl RnnRequest {
    /// A net of which no more is said: the defaults of Python's `RNN`.
    pub fn new(steps: i128, width: i128) -> Self {
        Self {
            steps,
            width,
            in_features: 1,
            out_features: None,
            cell: "tanh".to_owned(),
            layers: 1,
            outputs: OUTPUTS[0].to_owned(),
            init: "xavier_uniform".to_owned(),
            recurrent_init: "orthogonal".to_owned(),
            bias: Bias::Brought,
            biases: 1,
            norm: None,
            truncate: None,
        }
    }
}

/// Behind which steps a readout may stand.
const OUTPUTS: [&str; 2] = ["last", "every"];

/// A valid recurrent net.
#[derive(Debug, Clone, PartialEq)]
pub struct Rnn {
    /// Steps.
    pub steps: usize,
    /// Units of a layer.
    pub width: usize,
    /// Columns of each step's input.
    pub in_features: usize,
    /// Units of the readout, if there is one.
    pub out_features: Option<usize>,
    /// The cell.
    pub cell: Cell,
    /// Layers.
    pub layers: usize,
    /// Is there a readout of every step?
    pub every: bool,
    /// Init of the maps of inputs and of the readout.
    pub init: Init,
    /// Init of the recurrent maps.
    pub recurrent_init: Init,
    /// Biases.
    pub bias: Bias<Init>,
    /// Have the recurrent maps biases too?
    pub two_biases: bool,
    /// Normalisation of the pre-activations.
    pub norm: Option<Norm>,
    /// Steps after which the gradient is cut.
    pub truncate: Option<usize>,
    /// What no page has.
    pub beyond: Beyond,
}

/// An init of weights of a net that shares them between steps.
fn init(name: &str, text: &str) -> Result<Init> {
    let init = Init::new(&Call::parse(name, text)?)?;
    if init.depends_on_depth() || init.calibrates() {
        return Err(Error::Value(format!(
            "{name}='{}' gives layers numbers by their depth or by data, and the steps of a recurrent net share theirs; \
             choose another init",
            init.text()
        )));
    }
    Ok(init)
}

impl Rnn {
    /// Check what is asked for.
    pub fn new(asked: &RnnRequest) -> Result<Self> {
        let layers = integer("layers", asked.layers, 1, MAX_DEPTH as u64)?;
        let steps = integer("steps", asked.steps, 1, MAX_DEPTH as u64 / layers)? as usize;
        let cell = Cell::new(&Call::parse("cell", &asked.cell)?)?;
        let every = word("outputs", &asked.outputs, &OUTPUTS)? == 1;
        let rnn = Self {
            steps,
            width: width("width", asked.width)?,
            in_features: width("in_features", asked.in_features)?,
            out_features: asked.out_features.map(|n| width("out_features", n)).transpose()?,
            layers: layers as usize,
            every,
            init: init("init", &asked.init)?,
            recurrent_init: init("recurrent_init", &asked.recurrent_init)?,
            bias: bias(&asked.bias, cell)?,
            two_biases: integer("biases", asked.biases, 1, 2)? == 2,
            norm: optional("norm", asked.norm.as_deref(), Norm::new)?,
            truncate: asked
                .truncate
                .map(|n| integer("truncate", n, 1, MAX_DEPTH as u64).map(|n| n as usize))
                .transpose()?
                // What is cut behind the last step is not cut.
                .filter(|&n| n < steps),
            cell,
            beyond: beyond()?,
        };
        if every && rnn.out_features.is_none() {
            let message = "outputs='every' is a readout of every step: give out_features, or leave outputs at 'last'";
            return Err(Error::Value(message.to_owned()));
        }
        if rnn.norm.is_some() && matches!(rnn.gates(), Gates::Gru(_)) {
            let message = "norm goes with cells whose pre-activations are one sum, tanh, relu, irnn and lstm, not with gru, \
                           whose candidate keeps the recurrent part apart";
            return Err(Error::Value(message.to_owned()));
        }
        if let (Bias::Absent, Some((_, name, by))) = (rnn.bias, rnn.cell.gate_bias())
            && by != 0.0
        {
            let name = format!("cell='{}({name}=0)'", rnn.cell.signature().name);
            return Err(Error::Value(format!(
                "bias=False leaves no bias to add {by} to; write {name}, or leave bias out"
            )));
        }
        for layer in 0..rnn.layers.min(2) {
            for (init, place) in [(&rnn.init, rnn.place_of_input(layer)), (&rnn.recurrent_init, rnn.place(layer))] {
                init.check(&Place { activation: Some(&rnn.cell.activation()), ..place })?;
            }
        }
        rnn.out_features.map_or(Ok(()), |n| rnn.init.check(&Place::readout(rnn.width, n)))?;
        Ok(rnn)
    }

    /// What becomes of pre-activations.
    pub fn gates(&self) -> Gates {
        self.cell.gates()
    }

    /// Layers of the plan that count: one for every layer of every step.
    pub fn depth(&self) -> usize {
        self.steps * self.layers
    }

    /// Columns of the output.
    pub fn output(&self) -> usize {
        self.out_features.map_or(self.width, |n| n * if self.every { self.steps } else { 1 })
    }

    /// Columns of a probe beside those of every net.
    pub fn extra(&self) -> usize {
        part::Cell { gates: self.gates(), squash: self.cell.activation(), stream: 0, own: 0, beyond: self.beyond }
            .extra()
            .len()
    }

    /// The canonical text of all that makes this net. What is at its default is left out.
    pub fn content(&self) -> String {
        let mut parts = vec![
            format!("rnn;steps={};width={};in={}", self.steps, self.width, self.in_features),
            format!("cell={};init={}", self.cell.text(), self.init.text()),
        ];
        parts.extend((!self.idle_recurrent_init()).then(|| format!("recurrent_init={}", self.recurrent_init.text())));
        parts.extend(self.out_features.map(|n| format!("out={n}")));
        parts.extend((self.layers > 1).then(|| format!("layers={}", self.layers)));
        parts.extend(self.every.then(|| "outputs=every".to_owned()));
        parts.extend(match &self.bias {
            Bias::Absent => Some("bias=none".to_owned()),
            Bias::Named(init) if !self.brings(init) => Some(format!("bias={}", init.text())),
            Bias::Named(_) | Bias::Brought => None,
        });
        parts.extend(self.two_biases.then(|| "biases=2".to_owned()));
        parts.extend(self.norm.map(|norm| format!("norm={}", norm.text())));
        parts.extend(self.truncate.map(|steps| format!("truncate={steps}")));
        parts.join(";")
    }

    /// Is this bias what the inits bring anyway?
    fn brings(&self, named: &Init) -> bool {
        named.longest_memory().is_none()
            && self.init.brings(named)
            && (!self.two_biases || self.recurrent_init.brings(named))
    }

    /// Does the net take nothing of `recurrent_init`? A cell that begins as the identity takes biases of it at most.
    fn idle_recurrent_init(&self) -> bool {
        let biased = || self.two_biases && self.bias == Bias::Brought && !self.recurrent_init.brings_zeros();
        self.cell.begins_as_identity() && !biased()
    }

    /// Where the recurrent map of a gate stands.
    fn place(&self, layer: usize) -> Place<'static> {
        Place { depth: self.layers, layer: Some(layer), blocks: self.layers, ..Place::readout(self.width, self.width) }
    }

    /// Where the map of what a layer gets stands, of one gate.
    fn place_of_input(&self, layer: usize) -> Place<'static> {
        Place { fan_in: if layer == 0 { self.in_features } else { self.width }, ..self.place(layer) }
    }

    /// A map of a layer, gate by gate.
    fn linear(&self, init: &Init, place: &Place<'_>, biased: bool, roles: (Role, Role)) -> LinearPlan {
        let gates = self.gates();
        let named = self.bias.named().filter(|init| init.longest_memory().is_none());
        LinearPlan {
            fan_in: place.fan_in,
            fan_out: gates.count() * place.fan_out,
            weight: init.weight(place),
            blocks: Blocks::of(gates.letters()),
            factor: 1.0,
            bias: (biased && self.bias != Bias::Absent).then(|| init.bias(named, place)),
            raised: None,
            transform: None,
            calibrates: false,
            layer: place.layer.unwrap_or_default(),
            roles,
        }
    }

    /// The parameters of a layer, in the order of a state dict.
    fn slot(&self, layer: usize) -> Vec<Parameters> {
        let (gates, activation) = (self.gates(), self.cell.activation());
        let place = |place| Place { activation: Some(&activation), ..place };
        let (own, input) = (place(self.place(layer)), place(self.place_of_input(layer)));
        let mut recurrent = self.linear(&self.recurrent_init, &own, self.two_biases, (Role::Weight, Role::Bias));
        let mut inputs = self.linear(&self.init, &input, true, (Role::InputWeight, Role::InputBias));
        if self.cell.begins_as_identity() {
            (recurrent.weight, inputs.weight) = (Distribution::Eye(1.0), Distribution::Normal(0.0, 0.001));
        }
        if let Some(most) = self.bias.named().and_then(Init::longest_memory) {
            let takes = (gates == Gates::Lstm).then_some(0);
            inputs.bias = Some(Distribution::Chrono { most, blocks: gates.count(), keeps: 1, takes });
            recurrent.bias = recurrent.bias.map(|_| Distribution::Constant(0.0));
        } else if let Some((gate, _, by)) = self.cell.gate_bias() {
            inputs.raised = Some((gate * self.width, self.width, by));
        }
        let mut slot = vec![Parameters::linear_of(Module::Layers, recurrent)];
        let features = gates.count() * self.width;
        slot.extend(self.norm.map(|norm| Parameters::affine(Module::Norms, features, norm.centres())));
        slot.push(Parameters::linear_of(Module::LayerInputs, inputs));
        slot
    }

    /// Streams that are open at once.
    pub(super) fn streams(&self) -> usize {
        self.streams_of(0).1
    }

    /// The streams of `h` and of `c` of a layer, where they are streams, and how many there are in all.
    fn streams_of(&self, layer: usize) -> ([Option<usize>; 2], usize) {
        let (deep, moves) = (self.layers > 1, self.gates() == Gates::Lstm);
        let each = usize::from(deep) + usize::from(moves);
        let h = deep.then_some(layer * each);
        ([h, moves.then_some(layer * each + usize::from(deep))], self.layers * each)
    }

    /// The parts of a layer at a step.
    fn parts(&self, step: usize, layer: usize) -> Vec<Part> {
        let ([h, c], streams) = self.streams_of(layer);
        let begins = if step == 0 && layer == 0 { 0..streams } else { 0..0 };
        let mut parts = begins.map(|stream| Part::Keep(Keep::of(stream))).collect::<Vec<_>>();
        let cut = self.truncate.is_some_and(|steps| step > 0 && layer == 0 && step.is_multiple_of(steps));
        parts.extend(cut.then_some(Part::Cut(Cut { streams, beyond: self.beyond })));
        let (fed, gru) = (Some(if self.norm.is_some() { 2 } else { 1 }), matches!(self.gates(), Gates::Gru(_)));
        // A GRU of one layer reads what it gets once more.
        parts.extend((gru && h.is_none()).then_some(Part::Keep(Keep::of(0))));
        parts.push(Part::Map(Map { fed, state: h, apart: gru, ..Map::of(0, false) }));
        parts.extend(self.norm.map(|norm| Part::Norm(Normalise { norm, affine: 1 })));
        let squash = self.cell.activation();
        parts.push(match self.gates() {
            Gates::Plain => Part::Phi(Activate { activation: squash, slope: None }),
            gates => {
                Part::Cell(part::Cell { gates, squash, stream: c.or(h).unwrap_or(0), own: 0, beyond: self.beyond })
            }
        });
        // Behind the last step nothing reads it.
        parts.extend(h.filter(|_| step + 1 < self.steps).map(|stream| Part::Keep(Keep::of(stream))));
        if self.every && layer + 1 == self.layers {
            parts.push(Part::Keep(Keep { stream: self.first_of_readout() + step, to_readout: true }));
        }
        parts
    }

    /// The first of the streams that go to the readout of every step.
    fn first_of_readout(&self) -> usize {
        // A GRU of one layer has one within each of its layers.
        self.streams().max(1)
    }

    /// The net as layers of parts, the readout last.
    pub fn lower(&self) -> Result<Net> {
        let mut layers = Vec::with_capacity(self.depth() + 1);
        for (step, slot) in (0..self.steps).flat_map(|step| (0..self.layers).map(move |layer| (step, layer))) {
            Cancel::heed()?;
            layers.push(Layer { parts: self.parts(step, slot), slot, hands_on: HandsOn::State });
        }
        let mut slots = (0..self.layers).map(|layer| self.slot(layer)).collect::<Vec<_>>();
        if let Some(outputs) = self.out_features {
            let own = 0;
            let part = if self.every {
                Part::Steps(Steps { own, first: self.first_of_readout(), count: self.steps, beyond: self.beyond })
            } else {
                Part::Map(Map::of(own, false))
            };
            layers.push(Layer { parts: vec![part], slot: self.layers, hands_on: HandsOn::Output });
            let place = Place::readout(self.width, outputs);
            let roles = (Role::ReadoutWeight, Role::ReadoutBias);
            let named = self.linear(&self.init, &place, true, roles);
            let plan = LinearPlan { fan_out: outputs, blocks: Blocks::ONE, ..named };
            slots.push(vec![Parameters::linear_of(Module::Readout, plan)]);
        }
        Ok(Net {
            depth: self.depth(),
            columns: self.in_features * self.steps,
            fed: Some(self.in_features),
            input: self.width,
            tokens: 1,
            layers,
            slots,
        })
    }
}

/// The biases that are meant, those of gates among them.
fn bias(given: &Bias<String>, cell: Cell) -> Result<Bias<Init>> {
    let Bias::Named(text) = given else { return given.checked("bias") };
    let call = Call::parse("bias", text)?;
    if call.name != "chrono" {
        return given.checked("bias");
    }
    if cell.gates() == Gates::Plain {
        return Err(Error::value(
            "bias",
            "an init of a vector: chrono is for the gates of lstm and gru",
            format!("'{text}'"),
        ));
    }
    Init::new(&call).map(Bias::Named)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_makes_no_difference_is_left_out_of_the_text_that_ids_are_of() {
        let text = |change: &dyn Fn(&mut RnnRequest)| {
            let mut request = RnnRequest::new(3, 4);
            change(&mut request);
            Rnn::new(&request).unwrap().content()
        };
        let named = |bias: &str| Bias::Named(bias.to_owned());
        assert_eq!(text(&|r| r.bias = named("zeros")), text(&|_| ()));
        assert_ne!(text(&|r| r.bias = named("constant(1)")), text(&|_| ()));
        // Biases of zeros are others than those that this init brings.
        let brings = |r: &mut RnnRequest| r.init = "torch_default".to_owned();
        let zeros = |r: &mut RnnRequest| {
            brings(r);
            r.bias = named("zeros");
        };
        assert_ne!(text(&zeros), text(&brings));
        let irnn = |init: &'static str, biases| {
            move |r: &mut RnnRequest| {
                r.cell = "irnn".to_owned();
                (r.recurrent_init, r.biases) = (init.to_owned(), biases);
            }
        };
        assert_eq!(text(&irnn("orthogonal", 1)), text(&irnn("torch_default", 1)));
        assert_eq!(text(&irnn("orthogonal", 2)), text(&irnn("xavier_normal", 2)));
        // Of this one it takes biases.
        assert_ne!(text(&irnn("orthogonal", 2)), text(&irnn("torch_default", 2)));
        let tanh = |init: &'static str| move |r: &mut RnnRequest| r.recurrent_init = init.to_owned();
        assert_ne!(text(&tanh("orthogonal")), text(&tanh("torch_default")));
    }
}
