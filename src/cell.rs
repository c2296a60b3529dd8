//! Recurrent cells: one row each. `h` and `c` are a layer's state before a step, `x` what the step gets.

use crate::activation::Activation;
use crate::kind::{self, Kind};
use crate::signature::{Domain, Param, Signature, about};

/// What becomes of the pre-activations of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gates {
    /// None: an activation alone.
    Plain,
    /// Input, forget, candidate and output, with a state `c` of its own.
    Lstm,
    /// Reset, update and candidate. Does the reset stand behind the product with the recurrent weights?
    Gru(Reset),
}

/// Where the reset of a GRU stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reset {
    /// `r * (W h + b)`.
    After,
    /// `W (r * h) + b`.
    Before,
}

impl Gates {
    /// The name: that of a cell, and where a reset stands.
    pub fn name(self) -> &'static str {
        match self {
            Self::Plain => "plain",
            Self::Lstm => "lstm",
            Self::Gru(Reset::After) => "gru(reset=after)",
            Self::Gru(Reset::Before) => "gru(reset=before)",
        }
    }

    /// The gates by one letter each, in the order in which their rows are stacked.
    pub fn letters(self) -> &'static [&'static str] {
        match self {
            Self::Plain => &[],
            Self::Lstm => &["i", "f", "g", "o"],
            Self::Gru(_) => &["r", "z", "n"],
        }
    }

    /// Blocks of rows of the weights, one a gate.
    pub fn count(self) -> usize {
        self.letters().len().max(1)
    }
}

/// A recurrent cell with its parameters.
pub type Cell = Kind<Row>;

/// A cell of the table.
pub struct Row {
    signature: Signature,
    gates: Gates,
    /// The activation of a plain cell, and what a gate's candidate goes through.
    activation: &'static str,
    /// The parameter that a bias starts with, and the rows that it is of.
    bias: Option<(&'static str, usize)>,
}

const PLAIN: Row = Row {
    signature: Signature { name: "", aliases: &[], params: &[], about: about("", "", "") },
    gates: Gates::Plain,
    activation: "tanh",
    bias: None,
};

static TABLE: [Row; 5] = [
    Row {
        signature: Signature {
            name: "tanh",
            aliases: &["elman"],
            params: &[],
            about: about(
                "tanh(W h + U x + b)",
                "a plain recurrent cell",
                "Elman 1990, \"Finding structure in time\"; torch.nn.RNN",
            ),
        },
        ..PLAIN
    },
    Row {
        signature: Signature {
            name: "relu",
            aliases: &[],
            params: &[],
            about: about(
                "relu(W h + U x + b)",
                "a plain recurrent cell that does not saturate",
                "torch.nn.RNN(nonlinearity='relu')",
            ),
        },
        activation: "relu",
        ..PLAIN
    },
    Row {
        signature: Signature {
            name: "irnn",
            aliases: &[],
            params: &[],
            about: about(
                "relu(W h + U x + b)",
                "relu with W = I and U ~ N(0, 0.001**2) at first, whatever the inits say: a state that stays as it is",
                "Le, Jaitly and Hinton 2015, arXiv:1504.00941",
            ),
        },
        activation: "relu",
        ..PLAIN
    },
    Row {
        signature: Signature {
            name: "lstm",
            aliases: &[],
            params: &[Param::new("forget_bias", Domain::Finite, 1.0)],
            about: about(
                "o * tanh(f * c + i * g)",
                "four gates i, f, g, o and a state c that passes by them; forget_bias is added to the biases of f at \
                 first",
                "Hochreiter and Schmidhuber 1997; Gers, Schmidhuber and Cummins 2000 (f); Jozefowicz, Zaremba and \
                 Sutskever 2015 (forget_bias); torch.nn.LSTM",
            ),
        },
        gates: Gates::Lstm,
        bias: Some(("forget_bias", 1)),
        ..PLAIN
    },
    Row {
        signature: Signature {
            name: "gru",
            aliases: &[],
            params: &[
                Param::new("reset", Domain::Word(&["after", "before"]), 0.0),
                Param::new("update_bias", Domain::Finite, 0.0),
            ],
            about: about(
                "(1 - z) * n + z * h",
                "three gates r, z, n; r scales what n gets of h, after or before the product with W; update_bias is \
                 added to the biases of z, which keeps h, at first",
                "Cho et al. 2014, arXiv:1406.1078; torch.nn.GRU (reset=after)",
            ),
        },
        gates: Gates::Gru(Reset::After),
        bias: Some(("update_bias", 1)),
        ..PLAIN
    },
];

impl kind::Row for Row {
    const NOUN: &'static str = "cell";

    fn table() -> &'static [Self] {
        &TABLE
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }
}

impl Kind<Row> {
    /// What becomes of the pre-activations of a step.
    pub fn gates(&self) -> Gates {
        match (self.row.gates, self.parameter("reset")) {
            (Gates::Gru(_), Some(1.0)) => Gates::Gru(Reset::Before),
            (gates, _) => gates,
        }
    }

    /// The activation of a plain cell, and that of a gate's candidate.
    pub fn activation(&self) -> Activation {
        match Activation::parse(self.row.activation) {
            Ok(activation) => activation,
            Err(error) => unreachable!("the table names an activation: {error}"),
        }
    }

    /// Is the recurrent map the identity at first?
    pub fn begins_as_identity(&self) -> bool {
        self.signature().name == "irnn"
    }

    /// The gate whose biases start with a number of their own, and the parameter that it is.
    pub fn gate_bias(&self) -> Option<(usize, &'static str, f64)> {
        self.row.bias.and_then(|(name, gate)| self.parameter(name).map(|by| (gate, name, by)))
    }
}
