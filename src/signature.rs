//! Names and parameters of kinds: from a text such as `leaky_relu(0.1)` to values, and back to the one canonical text.
//!
//! A kind, such as an activation or an init, is a row of a table; the [`Signature`] of the row says how it is written.

use crate::error::{Error, Result, shown};
use crate::synonyms::hint;

/// The most parameters that a kind may have.
pub const MAX_PARAMS: usize = 8;

/// The values of a kind's parameters in the order of the signature; a derived one is NaN.
pub type Values = [f64; MAX_PARAMS];

/// The values that a parameter may have.
#[derive(Debug, Clone, Copy)]
pub enum Domain {
    /// Any finite number.
    Finite,
    /// A finite number, zero or more.
    NonNegative,
    /// A finite number above zero.
    Positive,
    /// A number from 0 to 1.
    Share,
    /// One of these words, stored as its index.
    Word(&'static [&'static str]),
    /// One of the words that are known when it is read, stored as a number.
    Known {
        /// The number of a word, or the refusal of what is no such word.
        number: fn(&Argument) -> Result<f64>,
        /// The word of a number.
        word: fn(f64) -> String,
    },
}

impl Domain {
    /// All values that are allowed, in words.
    pub fn words(&self) -> String {
        match self {
            Self::Finite => "a finite number".to_owned(),
            Self::NonNegative => "a finite number, 0 or more".to_owned(),
            Self::Positive => "a finite number above 0".to_owned(),
            Self::Share => "a number from 0 to 1".to_owned(),
            Self::Word(words) => format!("one of {}", words.join(", ")),
            Self::Known { .. } => "a known name".to_owned(),
        }
    }
}

/// The value of a parameter that is not given.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Default {
    /// A fixed value.
    Is(f64),
    /// None: the parameter must be given.
    Required,
    /// A value that the kind works out from its other parameters.
    Derived,
}

/// One parameter of a kind.
#[derive(Debug, Clone, Copy)]
pub struct Param {
    /// The keyword.
    pub name: &'static str,
    /// The values that are allowed.
    pub domain: Domain,
    /// The value when it is left out.
    pub default: Default,
}

impl Param {
    /// A parameter with a default value.
    pub const fn new(name: &'static str, domain: Domain, default: f64) -> Self {
        Self { name, domain, default: Default::Is(default) }
    }

    /// A parameter that must be given.
    pub const fn required(name: &'static str, domain: Domain) -> Self {
        Self { name, domain, default: Default::Required }
    }

    /// The default as a caller writes it; `None` where there is none, or where it follows from other parameters.
    pub fn fallback(&self) -> Option<Argument> {
        let Default::Is(value) = self.default else { return None };
        Some(self.argument(value))
    }

    /// A value as a caller writes it: words spelled out.
    fn argument(&self, value: f64) -> Argument {
        match self.domain {
            Domain::Word(words) => Argument::Word(words[value as usize].to_owned()),
            Domain::Known { word, .. } => Argument::Word(word(value)),
            _ => Argument::Number(value),
        }
    }
}

/// What a reader is told of a kind beside its name and its parameters.
#[derive(Debug, Clone, Copy)]
pub struct About {
    /// What is computed, in plain text that Python evaluates where it is an expression: z is what an activation gets (v
    /// and g its halves where it gates), y and t the outputs and targets of a loss, of one element or one sample.
    pub formula: &'static str,
    /// What it is, in a few words.
    pub summary: &'static str,
    /// The paper or the library that it comes from.
    pub source: &'static str,
}

/// A formula, what it is in a few words, and where it comes from.
pub const fn about(formula: &'static str, summary: &'static str, source: &'static str) -> About {
    About { formula, summary, source }
}

/// The name and the parameters of a kind, and what a reader is told of it.
#[derive(Debug, Clone, Copy)]
pub struct Signature {
    /// The canonical name.
    pub name: &'static str,
    /// Other accepted names.
    pub aliases: &'static [&'static str],
    /// Parameters, in positional order.
    pub params: &'static [Param],
    /// Formula, summary and source.
    pub about: About,
}

/// A parameter value as a caller wrote it.
#[derive(Debug, Clone, PartialEq)]
pub enum Argument {
    /// A number.
    Number(f64),
    /// A word.
    Word(String),
}

impl std::fmt::Display for Argument {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Number(value) => write!(f, "{value}"),
            Self::Word(word) => write!(f, "'{}'", shown(word)),
        }
    }
}

/// A parsed call: a name, and arguments by position (no keyword) or by keyword.
#[derive(Debug, Clone, PartialEq)]
pub struct Call {
    /// The name before the parenthesis.
    pub name: String,
    /// The arguments, in the order written.
    pub arguments: Vec<(Option<String>, Argument)>,
}

impl Call {
    /// Parse `name`, `name(0.1)` or `name(key=value, ...)`.
    pub fn parse(kind: &str, text: &str) -> Result<Self> {
        let malformed = || {
            Error::value(
                kind,
                "a name or a call such as 'name(0.1)' or 'name(key=value)'",
                format!("'{}'", shown(text)),
            )
        };
        let Some((name, rest)) = text.split_once('(') else {
            return Ok(Self { name: text.trim().to_owned(), arguments: Vec::new() });
        };
        let inner = rest.trim_end().strip_suffix(')').ok_or_else(malformed)?;
        if inner.contains(['(', ')']) {
            return Err(malformed());
        }
        let mut arguments = Vec::new();
        for part in inner.split(',').filter(|_| !inner.trim().is_empty()) {
            let (key, value) = match part.split_once('=') {
                Some((key, value)) => (Some(key.trim().to_owned()), value.trim()),
                None => (None, part.trim()),
            };
            if value.is_empty() || key.as_deref() == Some("") {
                return Err(malformed());
            }
            let bare = value.trim_matches(['\'', '"']);
            let argument = value.parse().map_or_else(|_| Argument::Word(bare.to_owned()), Argument::Number);
            arguments.push((key, argument));
        }
        Ok(Self { name: name.trim().to_owned(), arguments })
    }
}

impl Signature {
    /// Does this signature answer to `name`?
    pub fn answers_to(&self, name: &str) -> bool {
        self.name == name || self.aliases.contains(&name)
    }

    /// The values of a call's arguments, defaults filled in.
    pub fn values(&self, kind: &str, call: &Call) -> Result<Values> {
        let mut values = [f64::NAN; MAX_PARAMS];
        let mut given = [false; MAX_PARAMS];
        for (position, (key, argument)) in call.arguments.iter().enumerate() {
            let index = match key {
                Some(key) => {
                    self.params.iter().position(|p| p.name == key).ok_or_else(|| self.unknown_parameter(kind, key))?
                }
                None if position < self.params.len() => position,
                None => {
                    return Err(Error::Value(format!(
                        "{kind} {} takes {} parameter(s) ({}), got {}",
                        self.name,
                        self.params.len(),
                        self.parameter_names(),
                        call.arguments.len()
                    )));
                }
            };
            if given[index] {
                return Err(Error::Value(format!("{kind} {}: {} is given twice", self.name, self.params[index].name)));
            }
            given[index] = true;
            values[index] = self.value(kind, &self.params[index], argument)?;
        }
        for (index, param) in self.params.iter().enumerate().filter(|&(i, _)| !given[i]) {
            match param.default {
                Default::Is(value) => values[index] = value,
                Default::Derived => {}
                Default::Required => {
                    return Err(Error::Value(format!(
                        "{kind} {0} needs {1}, as in '{0}({1}=0.1)'",
                        self.name, param.name
                    )));
                }
            }
        }
        Ok(values)
    }

    fn value(&self, kind: &str, param: &Param, argument: &Argument) -> Result<f64> {
        match (param.domain, argument) {
            (Domain::Finite, Argument::Number(v)) if v.is_finite() => return Ok(*v + 0.0),
            (Domain::NonNegative, Argument::Number(v)) if v.is_finite() && *v >= 0.0 => return Ok(*v + 0.0),
            (Domain::Positive, Argument::Number(v)) if v.is_finite() && *v > 0.0 => return Ok(*v),
            (Domain::Share, Argument::Number(v)) if (0.0..=1.0).contains(v) => return Ok(*v + 0.0),
            (Domain::Word(words), Argument::Word(word)) if words.contains(&word.as_str()) => {
                return Ok(words.iter().position(|w| w == word).unwrap_or_default() as f64);
            }
            (Domain::Known { number, .. }, _) => return number(argument),
            _ => {}
        }
        let hint = match (param.domain, argument) {
            (Domain::Word(words), Argument::Word(word)) => hint(word, words.iter().copied()),
            _ => String::new(),
        };
        let name = format!("{kind} {}: {}", self.name, param.name);
        Err(Error::value(&name, &param.domain.words(), format!("{argument}{hint}")))
    }

    fn parameter_names(&self) -> String {
        self.params.iter().map(|p| p.name).collect::<Vec<_>>().join(", ")
    }

    fn unknown_parameter(&self, kind: &str, given: &str) -> Error {
        if self.params.is_empty() {
            return Error::Value(format!("{kind} {} takes no parameters, got '{}'", self.name, shown(given)));
        }
        Error::unknown(&format!("parameter of {kind} {}", self.name), given, self.params.iter().map(|p| p.name))
    }

    /// The parameters with their values, words spelled out; a derived one is left out.
    pub fn arguments(&self, values: &Values) -> Vec<(&'static str, Argument)> {
        self.params.iter().zip(values).filter(|(_, v)| !v.is_nan()).map(|(p, &v)| (p.name, p.argument(v))).collect()
    }

    /// The canonical spelling: parameters at their default are left out.
    pub fn text(&self, values: &Values) -> String {
        let changed =
            |name: &str| self.params.iter().zip(values).any(|(p, &v)| p.name == name && p.default != Default::Is(v));
        let written = self
            .arguments(values)
            .into_iter()
            .filter(|(name, _)| changed(name))
            .map(|(name, argument)| match argument {
                Argument::Number(value) => format!("{name}={value}"),
                Argument::Word(word) => format!("{name}={word}"),
            })
            .collect::<Vec<_>>();
        if written.is_empty() { self.name.to_owned() } else { format!("{}({})", self.name, written.join(", ")) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROW: Signature = Signature {
        name: "thing",
        aliases: &["item"],
        params: &[
            Param::new("slope", Domain::Finite, 0.01),
            Param::new("mode", Domain::Word(&["fan_in", "fan_out"]), 0.0),
        ],
        about: about("slope * z", "a line", "none"),
    };

    fn canonical(text: &str) -> Result<String> {
        let call = Call::parse("kind", text)?;
        Ok(ROW.text(&ROW.values("kind", &call)?))
    }

    #[test]
    fn every_spelling_has_one_canonical_text() {
        for text in [
            "thing(0.5)",
            "thing(slope=0.5)",
            "item( slope = 5e-1 )",
            "thing(0.5, fan_in)",
            "thing(mode='fan_in', slope=.5)",
        ] {
            assert_eq!(canonical(text).unwrap(), "thing(slope=0.5)");
        }
        assert_eq!(canonical("thing()").unwrap(), "thing");
        assert_eq!(canonical("thing(-0.0)").unwrap(), "thing(slope=0)");
        assert_eq!(canonical("thing(mode=fan_out)").unwrap(), "thing(mode=fan_out)");
    }

    #[test]
    fn a_bad_call_says_what_is_allowed() {
        for (text, part) in [
            ("thing(x)", "slope must be a finite number, got 'x'"),
            ("thing(nan)", "slope must be a finite number"),
            ("thing(slop=1)", "did you mean 'slope'"),
            ("thing(1, fan_in, 3)", "takes 2 parameter(s)"),
            ("thing(1, slope=1)", "given twice"),
            ("thing(mode=fan)", "one of fan_in, fan_out"),
            ("thing(1", "name or a call"),
            ("thing(=1)", "name or a call"),
        ] {
            let message = canonical(text).unwrap_err().to_string();
            assert!(message.contains(part), "{text}: {message}");
        }
    }
}
