//! What a page may ask for, and how it is read.

use super::measure::{MOST_SECONDS, measure, spec};
use super::plan::plan_text;
use crate::activation::Activation;
use crate::error::{Error, Result, shown};
use crate::expectation::{Batch, Moments, Pair, hermite};
use crate::gain::{Critical, critical};
use crate::plan::Plan;
use crate::spec::integer;
use std::str::FromStr;

/// A text and numbers.
pub type Answer = (String, Vec<f64>);

/// What answers fields and numbers.
type Call = fn(&Fields, &[f64]) -> Result<Answer>;

/// What a page may ask for, by name.
const CALLS: [(&str, Call); 10] = [
    ("facts", |_, _| Ok((facts(), Vec::new()))),
    ("measure", |given, _| measure(given)),
    ("plan", |given, _| Ok((plan_text(&Plan::new(&spec(given)?)), Vec::new()))),
    ("activation_outputs", |given, _| Ok(only(vec![given.activation()?.outputs(2) as f64 / 2.0]))),
    ("activate", |given, z| {
        let activation = given.activation()?;
        Ok(only(z.iter().flat_map(|z| <[f64; 2]>::from(activation.both(*z))).collect()))
    }),
    ("moments", |given, q| {
        let activation = given.activation()?;
        Ok(only(q.iter().flat_map(|q| Moments::of(&activation, *q).values()).collect()))
    }),
    ("pair_moments", |given, both| {
        let (activation, (q, c)) = (given.activation()?, both.split_at(both.len() / 2));
        let pairs = q.iter().zip(c).map(|(q, c)| Pair::of(&activation, *q, *c));
        Ok(only(pairs.flat_map(|pair| [pair.value, pair.slope]).collect()))
    }),
    ("hermite", |given, q| {
        let (activation, count) = (given.activation()?, given.whole("count", 0, 10_000)?);
        Ok(only(q.iter().flat_map(|q| hermite(&activation, *q, count)).collect()))
    }),
    ("batch_moments", |given, _| {
        let samples = given.whole("batch", 6, u64::from(u32::MAX))?;
        Ok(only(Batch::of(&given.activation()?, samples).values().to_vec()))
    }),
    ("critical_point", |given, _| {
        let Critical { sigma_w, q } = critical(&given.activation()?, given.number("sigma_b")?)?;
        Ok(only(vec![sigma_w, q]))
    }),
];

/// Numbers without a text.
fn only(numbers: Vec<f64>) -> Answer {
    (String::new(), numbers)
}

pub fn answer(text: &str, numbers: &[f64]) -> Result<Answer> {
    let mut lines = text.lines();
    let name = lines.next().unwrap_or_default();
    let known = CALLS.iter().find(|(known, _)| *known == name);
    let call = known.ok_or_else(|| Error::unknown("call", name, CALLS.iter().map(|(known, _)| *known)))?.1;
    call(&Fields(lines.filter_map(|line| line.split_once('=')).collect()), numbers)
}

/// What the lines of a call give.
pub struct Fields<'t>(Vec<(&'t str, &'t str)>);

impl Fields<'_> {
    pub fn text(&self, name: &str) -> Result<&str> {
        let field = self.0.iter().find(|(known, _)| *known == name);
        field.map(|(_, value)| *value).ok_or_else(|| Error::Value(format!("{name} is missing")))
    }

    /// A text, where it is not `none`.
    pub fn chosen(&self, name: &str) -> Result<Option<String>> {
        Ok(Some(self.text(name)?).filter(|text| *text != "none").map(str::to_owned))
    }

    pub fn read<T: FromStr>(&self, name: &str, allowed: &str) -> Result<T> {
        let text = self.text(name)?;
        text.parse().map_err(|_| Error::value(name, allowed, format!("'{}'", shown(text))))
    }

    pub fn number(&self, name: &str) -> Result<f64> {
        self.read(name, "a number")
    }

    pub fn whole(&self, name: &str, low: u64, high: u64) -> Result<usize> {
        Ok(integer(name, self.read(name, &format!("an integer from {low} to {high}"))?, low, high)? as usize)
    }

    pub fn activation(&self) -> Result<Activation> {
        Activation::parse(self.text("activation")?)
    }
}

/// What is known before anything is asked.
fn facts() -> String {
    let moments = Moments::NAMES.map(|name| format!("\"{name}\"")).join(",");
    let version = env!("CARGO_PKG_VERSION");
    format!("{{\"version\":\"{version}\",\"most_seconds\":{MOST_SECONDS},\"moments\":[{moments}]}}")
}
