//! Values that are one word of a fixed list.

use std::marker::PhantomData;

use serde::de::{Deserializer, Error};
use serde::{Deserialize, Serialize, Serializer};

use super::Overlay;

/// A word of a fixed list.
pub trait Word: Copy + Eq + 'static {
    /// All words, in the order in which they are listed.
    const ALL: &'static [Self];

    /// How it is written.
    fn as_str(self) -> &'static str;
}

/// Declares an enum of words: each with its comment and how it is written.
macro_rules! words {
    (
        $(#[$($about:tt)+])*
        $name:ident { $( $(#[$($doc:tt)+])* $variant:ident = $text:literal, )+ }
    ) => {
        $(#[$($about)+])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
        pub enum $name {
            $( $(#[$($doc)+])* #[serde(rename = $text)] $variant, )+
        }

        impl $crate::settings::Word for $name {
            const ALL: &'static [Self] = &[$( Self::$variant, )+];

            fn as_str(self) -> &'static str {
                match self { $( Self::$variant => $text, )+ }
            }
        }

        impl $crate::settings::Overlay for $name {
            type Value = Self;

            fn overlay(&self, base: &mut Self) {
                *base = *self;
            }

            fn of(value: &Self) -> Option<Self> {
                Some(*value)
            }
        }

        #[cfg(feature = "schema")]
        impl schemars::JsonSchema for $name {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($name).into()
            }

            fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
                $crate::settings::word_schema::<Self>()
            }
        }
    };
}

pub(crate) use words;

/// Some of the words of a list, each once and without an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Words<W> {
    bits: u16,
    words: PhantomData<W>,
}

impl<W: Word> Words<W> {
    /// All words of the list.
    pub fn all() -> Self {
        W::ALL.iter().copied().collect()
    }

    /// Whether a word is among them.
    pub fn contains(self, word: W) -> bool {
        W::ALL.iter().position(|known| *known == word).is_some_and(|at| self.bits & (1 << at) != 0)
    }

    /// The words, in the order of the list.
    pub fn iter(self) -> impl Iterator<Item = W> {
        W::ALL.iter().copied().filter(move |word| self.contains(*word))
    }

    /// Whether there is none.
    pub fn is_empty(self) -> bool {
        self.bits == 0
    }
}

impl<W: Word> FromIterator<W> for Words<W> {
    fn from_iter<I: IntoIterator<Item = W>>(words: I) -> Self {
        // A list has at most sixteen words.
        let bit = |word| W::ALL.iter().position(|known| *known == word).map_or(0, |at| 1 << at);
        let bits = words.into_iter().fold(0, |bits, word| bits | bit(word));
        Self { bits, words: PhantomData }
    }
}

impl<W: Word> Overlay for Words<W> {
    type Value = Self;

    fn overlay(&self, base: &mut Self) {
        *base = *self;
    }

    fn of(value: &Self) -> Option<Self> {
        Some(*value)
    }
}

impl<W: Word + Serialize> Serialize for Words<W> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.iter())
    }
}

impl<'de, W: Word + Deserialize<'de>> Deserialize<'de> for Words<W> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let list = Vec::<W>::deserialize(deserializer)?;
        for (at, word) in list.iter().enumerate() {
            if list[..at].contains(word) {
                return Err(D::Error::custom(format!("{} is listed twice", word.as_str())));
            }
        }
        if list.is_empty() {
            return Err(D::Error::custom("the list is empty: name what is allowed, or leave it out"));
        }
        Ok(list.into_iter().collect())
    }
}
