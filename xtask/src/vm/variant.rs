//! What a guest has to do without.

use std::fmt;

use clap::ValueEnum;

use super::kernel::Series;

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

/// What the kernel refuses even to root (kernel_lockdown(7)).
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Lockdown {
    /// To change the running kernel.
    Integrity,
    /// To read its memory as well.
    Confidentiality,
}

impl Lockdown {
    fn name(self) -> &'static str {
        match self {
            Self::Integrity => "integrity",
            Self::Confidentiality => "confidentiality",
        }
    }
}

/// What is missing in one boot, and what is refused.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Variant {
    pub(super) missing: Vec<Missing>,
    pub(super) lockdown: Option<Lockdown>,
}

impl Variant {
    /// Everything is there, each thing missing once, and each lockdown.
    pub(super) fn all() -> Vec<Self> {
        let without = |missing: &Missing| Self { missing: vec![*missing], lockdown: None };
        let locked = |lockdown: &Lockdown| Self { missing: Vec::new(), lockdown: Some(*lockdown) };
        std::iter::once(Self::default())
            .chain(Missing::value_variants().iter().map(without))
            .chain(Lockdown::value_variants().iter().map(locked))
            .collect()
    }

    /// Whether nothing is missing. A locked-down kernel refuses nothing that the tests need.
    pub(super) fn is_full(&self) -> bool {
        self.missing.is_empty()
    }

    fn missing(&self) -> String {
        self.missing.iter().map(|missing| missing.name()).collect::<Vec<_>>().join(",")
    }

    /// As the kernel and the guest's script read it on the kernel's command line.
    pub(super) fn parameters(&self) -> String {
        let lockdown = self.lockdown.map(|lockdown| format!(" lockdown={}", lockdown.name()));
        format!("penstock.without={}{}", self.missing(), lockdown.unwrap_or_default())
    }

    /// What the kernel has to say about its lockdown.
    pub(super) fn level(&self) -> &'static str {
        self.lockdown.map_or("none", Lockdown::name)
    }

    /// What `penstock doctor` has to find in the guest about each acceleration.
    pub(super) fn findings(&self, series: Series) -> [(&'static str, &'static str); 4] {
        let has = |thing| !self.missing.contains(&thing);
        // The verifier of 6.1 wants CAP_PERFMON as well.
        let programs = has(Missing::Sockmap) && (has(Missing::Capabilities) || series != Series::V6_1);
        let state = |there| if there { "proven" } else { "unavailable" };
        [
            ("ktls", state(has(Missing::Ktls))),
            ("splice", state(true)),
            ("sockmap", state(programs)),
            ("steering", state(programs)),
        ]
    }
}

/// As the table names it, behind the kernel; nothing if nothing is missing or refused.
impl fmt::Display for Variant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.missing.is_empty() {
            write!(f, " without {}", self.missing())?;
        }
        match self.lockdown {
            Some(lockdown) => write!(f, " lockdown={}", lockdown.name()),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_not_to_be_found() {
        let all = [("ktls", "proven"), ("splice", "proven"), ("sockmap", "proven"), ("steering", "proven")];
        assert_eq!(Variant::default().findings(Series::V6_1), all);
        let one = |missing| Variant { missing: vec![missing], lockdown: None };
        let unavailable = |missing, series| {
            let findings = one(missing).findings(series).into_iter();
            findings.filter(|(_, state)| *state == "unavailable").map(|(name, _)| name).collect::<Vec<_>>()
        };
        assert_eq!(unavailable(Missing::Ktls, Series::V6_12), ["ktls"]);
        assert_eq!(unavailable(Missing::Sockmap, Series::V6_12), ["sockmap", "steering"]);
        assert_eq!(unavailable(Missing::Capabilities, Series::V6_12), Vec::<&str>::new());
        assert_eq!(unavailable(Missing::Capabilities, Series::V6_1), ["sockmap", "steering"]);
    }

    #[test]
    fn variants_are_named() {
        let names: Vec<String> = Variant::all().iter().map(|variant| format!("6.12{variant}")).collect();
        let expected = [
            "6.12",
            "6.12 without ktls",
            "6.12 without sockmap",
            "6.12 without capabilities",
            "6.12 lockdown=integrity",
            "6.12 lockdown=confidentiality",
        ];
        assert_eq!(names, expected);
        assert_eq!(Variant::default().parameters(), "penstock.without=");
        let locked = Variant { missing: vec![Missing::Ktls], lockdown: Some(Lockdown::Integrity) };
        assert_eq!(locked.parameters(), "penstock.without=ktls lockdown=integrity");
    }
}
