//! What a guest has to do without.

use std::fmt;

use clap::ValueEnum;

/// A thing that the tests find missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Missing {
    /// The module `tls` is not loaded.
    Ktls,
    /// The programs may not load BPF programs.
    Sockmap,
    /// The programs run as a user with CAP_BPF and CAP_NET_ADMIN and nothing else.
    Capabilities,
}

impl Missing {
    fn name(self) -> &'static str {
        match self {
            Self::Ktls => "ktls",
            Self::Sockmap => "sockmap",
            Self::Capabilities => "capabilities",
        }
    }
}

/// What is missing in one boot.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Variant(pub(super) Vec<Missing>);

impl Variant {
    /// Everything is there, and each thing missing once.
    pub(super) fn all() -> Vec<Self> {
        let one = |missing: &Missing| Self(vec![*missing]);
        std::iter::once(Self::default()).chain(Missing::value_variants().iter().map(one)).collect()
    }

    /// Whether nothing is missing.
    pub(super) fn is_full(&self) -> bool {
        self.0.is_empty()
    }
}

/// As the guest reads it on its command line.
impl fmt::Display for Variant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.iter().map(|missing| missing.name()).collect::<Vec<_>>().join(","))
    }
}
