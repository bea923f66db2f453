//! The configuration file (`--config FILE`, YAML): the settings of the process, which the ProxyClass of a class overlays for
//! its routes, and what only the process has.
//!
//! Its sections are those of ProxyClass, read by the same types: see [`ingress_core::settings`].

use std::path::Path;

use ingress_core::settings::{
    AccessLogSpec, ConnectionsSpec, ForwardedSpec, LimitsSpec, ProxyProtocolSpec, RedirectSpec, RoutingSpec,
    Settings, SettingsSpec, SingleSignOnSpec, TimeoutsSpec, TlsSpec, UpstreamSpec, Violation,
};
use ingress_core::translate::TranslateOptions;
use serde::Deserialize;

use crate::kernel::KernelConfig;

/// The whole configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Config {
    /// Which objects are ours, and the settings that each ProxyClass overlays.
    pub options: TranslateOptions,
    /// What may be asked of the kernel.
    pub kernel: KernelConfig,
}

/// The file as it is written. Unknown fields are refused, so that a typing error is not a silent default.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct File {
    routing: RoutingSection,
    tls: Option<TlsSpec>,
    limits: Option<LimitsSpec>,
    timeouts: Option<TimeoutsSpec>,
    upstream: Option<UpstreamSpec>,
    connections: Option<ConnectionsSpec>,
    forwarded: Option<ForwardedSpec>,
    proxy_protocol: Option<ProxyProtocolSpec>,
    access_log: Option<AccessLogSpec>,
    redirect: Option<RedirectSpec>,
    single_sign_on: Option<SingleSignOnSpec>,
    kernel: KernelConfig,
}

/// `routing`, which has more than that of a ProxyClass.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct RoutingSection {
    controller: Option<String>,
    default_backend: Option<String>,
    allow_plaintext: Option<bool>,
    allow_external_name: Option<bool>,
    certificate_warning_days: Option<u16>,
}

/// Why a configuration was refused.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read the configuration {path}: {source}")]
    Read {
        /// The file.
        path: String,
        /// Why.
        source: std::io::Error,
    },
    /// The file is not what it should be.
    #[error("the configuration {path} is refused: {message}")]
    Invalid {
        /// The file.
        path: String,
        /// Line, field and reason.
        message: String,
    },
}

impl Config {
    /// What every class is served with that has no ProxyClass.
    pub fn settings(&self) -> &Settings {
        &self.options.settings
    }

    /// Reads a configuration file.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let name = path.display().to_string();
        let text = std::fs::read_to_string(path)
            .map_err(|source| ConfigError::Read { path: name.clone(), source })?;
        Self::parse(&text).map_err(|message| ConfigError::Invalid { path: name, message })
    }

    /// Parses a configuration; the error names line and field.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text.trim().is_empty() {
            return Ok(Self::default());
        }
        let file: File = serde_saphyr::from_str(text).map_err(|e| e.to_string())?;
        let mut options = TranslateOptions::default();
        if let Some(controller) = &file.routing.controller {
            options.controller.clone_from(controller);
        }
        options.default_backend.clone_from(&file.routing.default_backend);
        if let Some(days) = file.routing.certificate_warning_days {
            options.certificate_warning_days = days;
        }
        options.check()?;
        let kernel = file.kernel.clone();
        let spec = file.settings();
        let violations = spec.violations();
        let settings = if violations.is_empty() { spec.over(&options.settings) } else { Err(violations) };
        options.settings = settings.map_err(|violations| {
            violations.iter().map(Violation::to_string).collect::<Vec<_>>().join("; ")
        })?;
        Ok(Self { options, kernel })
    }
}

impl File {
    /// The part that a ProxyClass has, too.
    fn settings(self) -> SettingsSpec {
        let RoutingSection { allow_plaintext, allow_external_name, .. } = self.routing;
        SettingsSpec {
            routing: Some(RoutingSpec { allow_plaintext, allow_external_name }),
            tls: self.tls,
            limits: self.limits,
            timeouts: self.timeouts,
            upstream: self.upstream,
            connections: self.connections,
            forwarded: self.forwarded,
            proxy_protocol: self.proxy_protocol,
            access_log: self.access_log,
            redirect: self.redirect,
            single_sign_on: self.single_sign_on,
        }
    }
}
