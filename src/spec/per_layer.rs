//! One value for all layers, one a layer, or a pattern that repeats.

use crate::error::{Cancel, Error, Result};

/// A value for all hidden layers, one a layer, or one for each layer of a block.
#[derive(Debug, Clone, PartialEq)]
pub enum PerLayer<T> {
    /// One value everywhere.
    All(T),
    /// One a layer, input side first.
    Each(Vec<T>),
    /// One for each layer of the stem, of so many layers, then for each layer of a block, which repeats.
    Pattern(usize, Vec<T>),
}

/// How many hidden layers there are, and how a list of values may repeat over them.
#[derive(Debug, Clone, Copy)]
pub(super) struct Layers {
    /// What they are called.
    pub of: &'static str,
    pub depth: usize,
    pub stem: usize,
    pub block: usize,
}

impl Layers {
    /// How many values a pattern has, if there may be one.
    pub fn pattern(self) -> Option<usize> {
        let Self { depth, stem, block, .. } = self;
        let values = stem + block;
        (values > 1 && depth > stem && (depth - stem).is_multiple_of(block)).then_some(values)
    }
}

impl<T> PerLayer<T> {
    /// The value of a 0-based layer.
    pub fn at(&self, layer: usize) -> &T {
        match self {
            Self::All(value) => value,
            Self::Each(values) => &values[layer],
            Self::Pattern(_, values) if layer < values.len() => &values[layer],
            Self::Pattern(stem, values) => &values[stem + (layer - stem) % (values.len() - stem)],
        }
    }

    /// The values as they were given.
    pub fn values(&self) -> &[T] {
        match self {
            Self::All(value) => std::slice::from_ref(value),
            Self::Each(values) | Self::Pattern(_, values) => values,
        }
    }

    /// The value of every layer; a single one once.
    pub fn every(&self, depth: usize) -> impl Iterator<Item = &T> {
        let count = if let Self::All(_) = self { 1 } else { depth };
        (0..count).map(|layer| self.at(layer))
    }

    /// Of a list with as many values as were given.
    pub(super) fn map<U>(
        &self,
        name: &str,
        layers: Layers,
        mut f: impl FnMut(String, &T) -> Result<U>,
    ) -> Result<PerLayer<U>> {
        let (Self::Each(values) | Self::Pattern(_, values)) = self else {
            return f(name.to_owned(), &self.values()[0]).map(PerLayer::All);
        };
        let pattern = layers.pattern();
        let Layers { depth, stem, block, .. } = layers;
        if values.len() == stem + block && values.len() > 1 && pattern.is_none() && values.len() != depth {
            let allowed = if stem > 0 {
                format!("stem={stem} and a multiple of block={block}")
            } else {
                format!("a multiple of block={block}")
            };
            let why = format!("{allowed}, for the {} values of {name} to repeat over", values.len());
            return Err(Error::value("depth", &why, depth));
        }
        if values.len() != layers.depth && Some(values.len()) != pattern {
            let repeats = pattern.filter(|&values| values < layers.depth).map_or_else(String::new, |values| {
                let stem = if layers.stem > 0 { format!("{} of the stem and ", layers.stem) } else { String::new() };
                format!(", or {values}: {stem}{} of a block, which repeat", layers.block)
            });
            return Err(Error::value(
                name,
                &format!("one value, or one for each of the {} {}{repeats}", layers.depth, layers.of),
                format!("{} values", values.len()),
            ));
        }
        let each = values.iter().enumerate().map(|(i, value)| {
            Cancel::heed()?;
            f(format!("{name}[{i}]"), value)
        });
        let each = each.collect::<Result<Vec<_>>>()?;
        Ok(if each.len() == layers.depth { PerLayer::Each(each) } else { PerLayer::Pattern(layers.stem, each) })
    }
}

/// A value for every hidden map, and the readout's.
#[derive(Debug, Clone, PartialEq)]
pub struct Maps<T> {
    /// Of the hidden layers.
    pub hidden: PerLayer<T>,
    /// Of the readout.
    pub readout: T,
}

impl<T: Clone> Maps<T> {
    /// One for all maps, or one a layer and one for the readout: where that is not given, the last layer's.
    pub(super) fn new<G: Clone>(
        name: &str,
        given: &PerLayer<G>,
        layers: Layers,
        readout: bool,
        mut f: impl FnMut(String, &G) -> Result<T>,
    ) -> Result<Self> {
        let values = given.values();
        let one_more = |count: usize| readout && values.len() == count + 1;
        let own = matches!(given, PerLayer::Each(_))
            && values.len() != layers.depth
            && (one_more(layers.depth) || layers.pattern().is_some_and(one_more));
        let Some((last, others)) = values.split_last().filter(|_| own) else {
            let hidden = given.map(name, layers, f)?;
            let readout = hidden.at(layers.depth - 1).clone();
            return Ok(Self { hidden, readout });
        };
        let hidden = PerLayer::Each(others.to_vec()).map(name, layers, &mut f)?;
        let readout = f(format!("{name}[{}]", others.len()), last)?;
        Ok(Self { hidden, readout })
    }

    /// Of a hidden layer, or of the readout.
    pub fn of(&self, layer: Option<usize>) -> &T {
        layer.map_or(&self.readout, |layer| self.hidden.at(layer))
    }

    /// The values as they were given, the readout's last.
    pub fn values(&self) -> impl Iterator<Item = &T> {
        self.hidden.values().iter().chain([&self.readout])
    }
}
