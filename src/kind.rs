//! Kinds: rows of a table, each with values for its parameters.
//!
//! Activations, inits, norms, skips, losses and weight transforms are kinds. The file of each sort of kind has a type
//! `Row`, a table of rows, and the methods of such a kind in `impl Kind<Row>`. Names, parameters, the canonical text
//! and errors are here, once for all sorts.

use crate::error::{Error, Result};
use crate::signature::{Argument, Call, Signature, Values};

/// A row of the table of one sort of kind.
pub trait Row: Sync + Sized + 'static {
    /// The word of messages and of Python for a kind of this sort, such as `activation`.
    const NOUN: &'static str;

    /// All rows, in the order in which their names are listed.
    fn table() -> &'static [Self];

    /// The name and the parameters.
    fn signature(&self) -> &Signature;

    /// A row that no table lists, or a refusal that helps more than a list of names.
    fn unlisted(_call: &Call) -> Result<Option<&'static Self>> {
        Ok(None)
    }

    /// Refuse parameters that are each allowed but contradict each other.
    fn check(&self, _values: &Values) -> Result<()> {
        Ok(())
    }

    /// The parameter that was left out and follows from the others, with its value.
    fn derived(&self, _values: &Values) -> Option<(&'static str, f64)> {
        None
    }
}

/// A row with values for its parameters. Two kinds are equal if their canonical texts are.
pub struct Kind<R: Row> {
    pub(crate) row: &'static R,
    pub(crate) values: Values,
}

impl<R: Row> Clone for Kind<R> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<R: Row> Copy for Kind<R> {}

impl<R: Row> PartialEq for Kind<R> {
    fn eq(&self, other: &Self) -> bool {
        let same = |(one, other): (&f64, &f64)| one.to_bits() == other.to_bits();
        let alike = std::ptr::eq(self.row, other.row) && self.values.iter().zip(&other.values).all(same);
        alike || self.text() == other.text()
    }
}

impl<R: Row> std::fmt::Debug for Kind<R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.text())
    }
}

impl<R: Row> Kind<R> {
    /// All names with their parameters and formulas, in the order of the table.
    pub fn signatures() -> impl Iterator<Item = &'static Signature> + Clone {
        R::table().iter().map(Row::signature)
    }

    /// The canonical names, in the order of the table.
    pub fn names() -> impl Iterator<Item = &'static str> + Clone {
        Self::signatures().map(|signature| signature.name)
    }

    /// The kind that a call describes.
    pub fn new(call: &Call) -> Result<Self> {
        let listed = || R::table().iter().find(|row| row.signature().answers_to(&call.name));
        let unknown = || Error::unknown(R::NOUN, &call.name, Self::names());
        let row = R::unlisted(call)?.or_else(listed).ok_or_else(unknown)?;
        let values = row.signature().values(R::NOUN, call)?;
        row.check(&values)?;
        Ok(Self { row, values })
    }

    /// The kind that a text such as `leaky_relu(0.1)` describes.
    pub fn parse(text: &str) -> Result<Self> {
        Self::new(&Call::parse(R::NOUN, text)?)
    }

    /// The name and the parameters of its row.
    pub fn signature(&self) -> &'static Signature {
        self.row.signature()
    }

    /// Parameter values in the order of the signature; a derived one is NaN.
    pub fn values(&self) -> &Values {
        &self.values
    }

    /// The value of the parameter of this name, if the row has such a parameter.
    pub fn parameter(&self, name: &str) -> Option<f64> {
        let params = self.signature().params.iter().zip(self.values);
        params.filter(|(param, _)| param.name == name).map(|(_, value)| value).next()
    }

    /// All parameters with their values: words spelled out, and a derived one worked out.
    pub fn arguments(&self) -> Vec<(&'static str, Argument)> {
        let derived = self.row.derived(&self.values).map(|(name, value)| (name, Argument::Number(value)));
        self.signature().arguments(&self.values).into_iter().chain(derived).collect()
    }

    /// The canonical spelling.
    pub fn text(&self) -> String {
        self.signature().text(&self.values)
    }
}
