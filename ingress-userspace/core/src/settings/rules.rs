//! Rules between fields, each written twice in one place: for the API server in CEL, and for our own reader.
//!
//! A test against a real API server compares the two.

use std::fmt;

use super::tls::TlsVersion;
use super::traffic::ProxyProtocolMode;
use super::{LimitsSpec, Overlay as _, Settings, SettingsSpec};

const PRELOAD: &str = "preload needs includeSubdomains: browsers' lists take whole domains";

/// What is wrong with a value, and where.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Violation {
    /// The path of the field, below the settings: `tls.minVersion`. Empty if it is not one field.
    pub field: String,
    /// What is wrong and what can be done.
    pub message: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.field.is_empty() {
            write!(f, "{}: ", self.field)?;
        }
        f.write_str(&self.message)
    }
}

/// A rule between the fields of one section.
pub struct Rule {
    /// The path of the section.
    pub section: &'static str,
    /// The field of the section that the message is about.
    pub field: &'static str,
    /// The rule in CEL, where `self` is the section; `bytes(…)` stands for what a size comes to.
    pub cel: &'static str,
    /// What is wrong if it does not hold.
    pub message: &'static str,
    /// The rule in Rust.
    pub holds: fn(&SettingsSpec) -> bool,
}

/// All rules between fields.
pub const RULES: [Rule; 5] = [
    Rule {
        section: "tls",
        field: "cipherSuites",
        cel: "!has(self.minVersion) || self.minVersion != '1.3' || !has(self.cipherSuites) || \
              self.cipherSuites.exists(suite, !suite.startsWith('TLS_ECDHE_'))",
        message: "no suite of TLS 1.3 is left, and minVersion allows no other version: add one",
        holds: |spec| spec.tls.as_ref().is_none_or(has_suites),
    },
    Rule {
        section: "tls.hsts",
        field: "preload",
        cel: "!has(self.preload) || !self.preload || (has(self.includeSubdomains) && self.includeSubdomains)",
        message: PRELOAD,
        holds: |spec| {
            let hsts = spec.tls.as_ref().and_then(|tls| tls.hsts.as_ref());
            hsts.is_none_or(|hsts| hsts.preload != Some(true) || hsts.include_subdomains == Some(true))
        },
    },
    Rule {
        section: "limits",
        field: "uri",
        cel: "!has(self.uri) || !has(self.requestHead) || bytes(self.uri) <= bytes(self.requestHead)",
        message: "uri is larger than requestHead, which contains it",
        holds: |spec| spec.limits.as_ref().is_none_or(uri_fits),
    },
    Rule {
        section: "limits",
        field: "connectionsPerAddress",
        cel: "!has(self.connectionsPerAddress) || !has(self.connectionsPerWorker) || \
              self.connectionsPerAddress <= self.connectionsPerWorker",
        message: "connectionsPerAddress is larger than connectionsPerWorker, which would always be reached first",
        holds: |spec| spec.limits.as_ref().is_none_or(addresses_fit),
    },
    Rule {
        section: "proxyProtocol",
        field: "trustedSources",
        cel: "!has(self.mode) || self.mode != 'Required' || (has(self.trustedSources) && size(self.trustedSources) > 0)",
        message: "mode Required needs at least one trusted source: nobody else may send the header",
        holds: |spec| {
            spec.proxy_protocol.as_ref().is_none_or(|proxy| {
                proxy.mode != Some(ProxyProtocolMode::Required)
                    || proxy.trusted_sources.as_ref().is_some_and(|sources| !sources.is_empty())
            })
        },
    },
];

fn has_suites(tls: &super::TlsSpec) -> bool {
    let only_13 = tls.min_version == Some(TlsVersion::V1_3);
    !only_13
        || tls
            .cipher_suites
            .is_none_or(|suites| suites.iter().any(|suite| suite.version() == TlsVersion::V1_3))
}

fn uri_fits(limits: &LimitsSpec) -> bool {
    let (mut uri, mut head) = (0, u64::MAX);
    if let Some(written) = &limits.uri {
        written.overlay(&mut uri);
    }
    if let Some(written) = &limits.request_head {
        written.overlay(&mut head);
    }
    uri <= head
}

fn addresses_fit(limits: &LimitsSpec) -> bool {
    let (mut address, mut worker) = (0, usize::MAX);
    if let Some(written) = &limits.connections_per_address {
        written.overlay(&mut address);
    }
    if let Some(written) = &limits.connections_per_worker {
        written.overlay(&mut worker);
    }
    address <= worker
}

impl SettingsSpec {
    /// Everything that is wrong between the fields that are written.
    pub fn violations(&self) -> Vec<Violation> {
        let broken = RULES.iter().filter(|rule| !(rule.holds)(self));
        broken
            .map(|rule| Violation {
                field: format!("{}.{}", rule.section, rule.field),
                message: rule.message.to_owned(),
            })
            .collect()
    }

    /// The fields that are written and have to be known before any host is: they are taken from one class for all.
    pub fn process_wide(&self) -> Vec<&'static str> {
        let (limits, timeouts) = (self.limits.as_ref(), self.timeouts.as_ref());
        let proxy = self.proxy_protocol.as_ref();
        let written = [
            ("limits.requestHead", limits.is_some_and(|limits| limits.request_head.is_some())),
            ("limits.requestHeaders", limits.is_some_and(|limits| limits.request_headers.is_some())),
            ("limits.uri", limits.is_some_and(|limits| limits.uri.is_some())),
            (
                "limits.connectionsPerWorker",
                limits.is_some_and(|limits| limits.connections_per_worker.is_some()),
            ),
            (
                "limits.connectionsPerAddress",
                limits.is_some_and(|limits| limits.connections_per_address.is_some()),
            ),
            ("timeouts.handshake", timeouts.is_some_and(|timeouts| timeouts.handshake.is_some())),
            ("timeouts.head", timeouts.is_some_and(|timeouts| timeouts.head.is_some())),
            ("timeouts.drain", timeouts.is_some_and(|timeouts| timeouts.drain.is_some())),
            ("proxyProtocol.mode", proxy.is_some_and(|proxy| proxy.mode.is_some())),
            ("proxyProtocol.trustedSources", proxy.is_some_and(|proxy| proxy.trusted_sources.is_some())),
        ];
        written.into_iter().filter_map(|(field, written)| written.then_some(field)).collect()
    }

    /// The settings that follow from these fields over a base; the error is what the two together make impossible.
    pub fn over(&self, base: &Settings) -> Result<Settings, Vec<Violation>> {
        let mut settings = base.clone();
        self.overlay(&mut settings);
        let violations = settings.violations();
        if violations.is_empty() { Ok(settings) } else { Err(violations) }
    }
}

impl Settings {
    /// What does not fit together, wherever each part comes from.
    fn violations(&self) -> Vec<Violation> {
        let mut violations = Vec::new();
        let mut broken = |field: &str, message: &str| {
            violations.push(Violation { field: field.to_owned(), message: message.to_owned() });
        };
        if !self.tls.has_suites() {
            broken("tls.cipherSuites", "no suite is left for the versions that minVersion allows");
        }
        let hsts = &self.tls.hsts;
        if hsts.preload && !hsts.include_subdomains {
            broken("tls.hsts.preload", PRELOAD);
        }
        let proxy = &self.proxy_protocol;
        if proxy.mode == ProxyProtocolMode::Required && proxy.trusted_sources.is_empty() {
            broken("proxyProtocol.trustedSources", "mode Required needs at least one trusted source");
        }
        violations
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str) -> SettingsSpec {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn what_is_not_written_breaks_no_rule() {
        assert_eq!(SettingsSpec::default().violations(), []);
        assert_eq!(SettingsSpec::default().over(&Settings::default()), Ok(Settings::default()));
    }

    #[test]
    fn all_settings_can_be_written() {
        let settings = Settings::default();
        let written = SettingsSpec::of(&settings).unwrap();
        assert_eq!(written.violations(), []);
        assert_eq!(written.over(&settings), Ok(settings));
    }

    #[test]
    fn rules_between_fields() {
        for (json, field) in [
            (
                r#"{"tls":{"minVersion":"1.3","cipherSuites":["TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256"]}}"#,
                "tls.cipherSuites",
            ),
            (r#"{"tls":{"hsts":{"preload":true}}}"#, "tls.hsts.preload"),
            (r#"{"limits":{"uri":"2KiB","requestHead":2047}}"#, "limits.uri"),
            (
                r#"{"limits":{"connectionsPerAddress":3,"connectionsPerWorker":2}}"#,
                "limits.connectionsPerAddress",
            ),
            (r#"{"proxyProtocol":{"mode":"Required"}}"#, "proxyProtocol.trustedSources"),
            (r#"{"proxyProtocol":{"mode":"Required","trustedSources":[]}}"#, "proxyProtocol.trustedSources"),
        ] {
            let fields: Vec<_> =
                read(json).violations().into_iter().map(|violation| violation.field).collect();
            assert_eq!(fields, [field], "{json}");
        }
        for json in [
            r#"{"tls":{"minVersion":"1.3","cipherSuites":["TLS_AES_128_GCM_SHA256"]}}"#,
            r#"{"tls":{"hsts":{"preload":true,"includeSubdomains":true}}}"#,
            r#"{"limits":{"uri":"2KiB","requestHead":"2KiB"}}"#,
            r#"{"proxyProtocol":{"mode":"Required","trustedSources":["10.0.0.0/8"]}}"#,
        ] {
            assert_eq!(read(json).violations(), [], "{json}");
        }
    }

    #[test]
    fn a_base_can_make_a_spec_impossible() {
        let mut base = Settings::default();
        base.tls.min_version = TlsVersion::V1_3;
        let spec = read(r#"{"tls":{"cipherSuites":["TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256"]}}"#);
        assert_eq!(spec.violations(), []);
        assert_eq!(spec.over(&base).unwrap_err()[0].field, "tls.cipherSuites");
    }
}
