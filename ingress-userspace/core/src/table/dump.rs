//! The table as text: stable, so that two dumps can be compared line by line. Holds nothing secret.

use std::fmt;

use super::{ClassId, HostRules, RankedRule, RoutingTable};

impl fmt::Display for RoutingTable {
    /// Writes hosts, backends and TLS hosts, sorted. The generation is left out: equal tables have equal dumps.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (key, rules) in self.hosts() {
            writeln!(f, "host {key}")?;
            for entry in rules.entries() {
                self.write_rule(f, rules, entry)?;
            }
        }
        let mut backends: Vec<_> = self.backends().map(|(_, backend)| backend).collect();
        backends.sort_by(|a, b| a.label.cmp(&b.label));
        for backend in backends {
            write!(f, "backend {}", backend.label)?;
            for endpoint in backend.endpoints.iter() {
                write!(f, " {}", endpoint.address)?;
            }
            writeln!(f, "{}", if backend.endpoints.is_empty() { " (no endpoints)" } else { "" })?;
        }
        for (host, identity) in self.tls_hosts() {
            match identity {
                Some(identity) => writeln!(f, "tls {host} secret {}", identity.secret)?,
                None => writeln!(f, "tls {host} default certificate")?,
            }
        }
        self.write_accesses(f)?;
        self.write_classes(f)
    }
}

impl RoutingTable {
    /// Classes that differ from the configuration, by name.
    fn write_classes(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut classes: Vec<_> = self.classes().filter(|(_, class)| class.proxy_class.is_some()).collect();
        classes.sort_by(|a, b| a.1.name.cmp(&b.1.name));
        for (id, class) in classes {
            let proxy_class = class.proxy_class.as_deref().unwrap_or_default();
            write!(f, "class {} proxyclass {proxy_class}", class.name)?;
            if let Some(certificate) = &class.certificate {
                write!(f, " certificate {}", certificate.secret)?;
            }
            for (field, value) in class.settings.differences(self.settings(ClassId::CONFIGURATION)) {
                write!(f, " {field}={value}")?;
            }
            f.write_str(if id == self.process() { " process-wide\n" } else { "\n" })?;
        }
        Ok(())
    }

    /// Who may use routes, sorted. Secrets are not among what is told.
    fn write_accesses(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut accesses: Vec<_> = self.accesses().map(|(_, access)| access).collect();
        accesses.sort_by_key(|access| (access.of_ingress, &access.name));
        for access in accesses {
            write!(f, "access {}", access.title())?;
            if let Some(provider) = &access.provider {
                write!(f, " provider {} ({})", provider.name, provider.issuer)?;
            }
            if let Some(external) = &access.external {
                write!(f, " asks {} {}", external.method, external.url)?;
            }
            match &access.policy.problem {
                Some(problem) => writeln!(f, " denies: {problem}")?,
                None => f.write_str("\n")?,
            }
        }
        Ok(())
    }

    fn write_rule(&self, f: &mut fmt::Formatter<'_>, rules: &HostRules, entry: &RankedRule) -> fmt::Result {
        let rule = &entry.rule;
        let kind = if entry.rank.fallback { "Default" } else { rule.path_type.as_str() };
        let backend = &self.backend(rule.backend).label;
        write!(f, "  {kind} {} -> {backend} [{}]", rule.path, rule.label)?;
        if rule.tls {
            f.write_str(" tls")?;
        }
        if rule.acme_http01 {
            f.write_str(" acme-http01")?;
        }
        if let Some(passthrough) = rule.passthrough {
            f.write_str(" passthrough")?;
            if passthrough.proxy_protocol {
                f.write_str(" proxy-protocol:v2")?;
            }
        }
        if let Some(access) = rule.access.map(|id| self.access(id)) {
            let kind = if access.of_ingress { "own" } else { "policy" };
            write!(f, " {kind}:{}", access.name)?;
        }
        if let Some(denied) = rule.denied {
            write!(f, " denied:{}", denied.as_str())?;
        }
        f.write_str(if rules.serves(entry) { "\n" } else { " shadowed\n" })
    }
}
