//! Skip connections: one row each. `x` is the input of a block, `F(x)` the output of the layers in it.

use crate::kind::{self, Kind};
use crate::signature::{Domain, Param, Signature, about};

/// The way in which the input of a block joins the output of the layers in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// `x + branch_scale * F(x)`.
    Add,
    /// `x + branch_scale * alpha * F(x)` with a learnable number `alpha`.
    Learned,
    /// `(1 - T) * x + T * F(x)` with a gate `T = sigmoid(W_T x + b_T)` a feature.
    Gate,
    /// `x` and `F(x)` side by side.
    Concatenate,
    /// `P x + b_P + branch_scale * F(x)` with a linear map `P`. No skip of the table has it.
    Project,
}

impl Way {
    /// The name, as a part of a list has it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Add => "add",
            Self::Learned => "rezero",
            Self::Gate => "gate",
            Self::Concatenate => "concat",
            Self::Project => "project",
        }
    }
}

/// The place of the activation of a layer in a net with skips.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// Within each layer, so that what is added has been activated: `x + phi(W x)`.
    After,
    /// The last layer of a block has none: `x + V phi(W x)`.
    Linear,
    /// After the sum: `phi(x + W x)`.
    Post,
    /// Before each linear map: `x + W phi(x)`.
    Pre,
}

const ORDERS: [Order; 4] = [Order::After, Order::Linear, Order::Post, Order::Pre];
const ORDER: Param = Param::new("order", Domain::Word(&["after", "linear", "post", "pre"]), 0.0);

/// A skip connection with its parameters.
pub type Skip = Kind<Row>;

/// A skip connection of the table.
pub struct Row {
    signature: Signature,
    way: Way,
}

static TABLE: [Row; 4] = [
    Row {
        signature: Signature {
            name: "residual",
            aliases: &[],
            params: &[ORDER],
            about: about(
                "x + s * F",
                "the input x of a block beside its branch F; s is the branch_scale",
                "He et al. 2015, arXiv:1512.03385 (order=post), and 2016, arXiv:1603.05027 (order=pre)",
            ),
        },
        way: Way::Add,
    },
    Row {
        signature: Signature {
            name: "rezero",
            aliases: &["skipinit"],
            params: &[ORDER, Param::new("alpha", Domain::Finite, 0.0)],
            about: about(
                "x + s * alpha * F",
                "a residual skip whose branch has a learned factor, one a block, from alpha on",
                "Bachlechner et al. 2020, arXiv:2003.04887; De and Smith 2020, arXiv:2002.10444",
            ),
        },
        way: Way::Learned,
    },
    Row {
        signature: Signature {
            name: "highway",
            aliases: &[],
            params: &[Param::new("gate_bias", Domain::Finite, -1.0), Param::new("gate_gain", Domain::NonNegative, 1.0)],
            about: about(
                "(1 - T) * x + T * F, T = sigmoid(W_T x + b_T)",
                "a learned gate for each feature between x and F; W_T is drawn as the layer's weights, times \
                 gate_gain, and b_T starts at gate_bias",
                "Srivastava et al. 2015, arXiv:1505.00387",
            ),
        },
        way: Way::Gate,
    },
    Row {
        signature: Signature {
            name: "dense",
            aliases: &[],
            params: &[],
            about: about(
                "concat(x, F)",
                "x and F side by side: features grow from block to block",
                "Huang et al. 2016, arXiv:1608.06993",
            ),
        },
        way: Way::Concatenate,
    },
];

impl kind::Row for Row {
    const NOUN: &'static str = "skip";

    fn table() -> &'static [Self] {
        &TABLE
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }
}

impl Kind<Row> {
    /// The way in which input and output of a block join.
    pub fn way(&self) -> Way {
        self.row.way
    }

    /// The place of activations.
    pub fn order(&self) -> Order {
        self.parameter("order").map_or(Order::After, |order| ORDERS[order as usize])
    }

    /// The value that `alpha` starts from.
    pub fn alpha(&self) -> f64 {
        self.parameter("alpha").unwrap_or(1.0)
    }

    /// The value that every gate bias starts from.
    pub fn gate_bias(&self) -> f64 {
        self.parameter("gate_bias").unwrap_or(0.0)
    }

    /// The factor of the drawn gate weights.
    pub fn gate_gain(&self) -> f64 {
        self.parameter("gate_gain").unwrap_or(1.0)
    }
}
