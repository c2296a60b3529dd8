//! Skip connections: one row each. `x` is the input of a block, `F(x)` the output of the layers in it.

use crate::kind::{self, Kind};
use crate::signature::{Domain, Param, Signature};

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
    // He et al. 2015, arXiv:1512.03385 (order=post), and 2016, arXiv:1603.05027 (order=pre).
    Row { signature: Signature { name: "residual", aliases: &[], params: &[ORDER] }, way: Way::Add },
    // Bachlechner et al. 2020, arXiv:2003.04887; De and Smith 2020, arXiv:2002.10444.
    Row {
        signature: Signature {
            name: "rezero",
            aliases: &["skipinit"],
            params: &[ORDER, Param::new("alpha", Domain::Finite, 0.0)],
        },
        way: Way::Learned,
    },
    // Srivastava et al. 2015, arXiv:1505.00387. Gate weights are drawn as the layers' and multiplied by gate_gain.
    Row {
        signature: Signature {
            name: "highway",
            aliases: &[],
            params: &[Param::new("gate_bias", Domain::Finite, -1.0), Param::new("gate_gain", Domain::NonNegative, 1.0)],
        },
        way: Way::Gate,
    },
    // Huang et al. 2016, arXiv:1608.06993.
    Row { signature: Signature { name: "dense", aliases: &[], params: &[] }, way: Way::Concatenate },
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
