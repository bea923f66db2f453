//! `penstock explain`: which rule, backend, certificate and policies serve a URL, and why others do not.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::sync::Arc;

use ingress_core::auth::public_paths::is_public;
use ingress_core::http::{normalize_path, parse_authority};
use ingress_core::settings::Settings;
use ingress_core::table::{Candidate, ClassId, Denied, Identity, RoutingTable, Rule, Verdict};

use super::explain_access::{self, Claims};
use super::load::Loaded;
use super::{Objects, certificate, fetch};
use crate::config::Config;
use crate::control::unix;
use crate::sys::clock::Clock;

/// The longest URL that is explained.
const MAX_URL: usize = 64 * 1024;
/// Rules that do not serve, told one by one.
const MAX_OTHERS: usize = 100;

/// Explains a URL by objects, and with `claims` what is decided about somebody who has these; the error says what is wrong with the
/// URL, the configuration or the cluster.
pub fn explain_objects(
    objects: &Objects<'_>,
    url: &str,
    claims: Option<&Claims>,
    config: &Config,
    clock: &Arc<dyn Clock>,
) -> Result<String, String> {
    let loaded = Loaded::read(objects, config, clock)?;
    let mut text = explain_text(&loaded.table, &loaded.fallback, url)?;
    if let Some(claims) = claims {
        explain_claims(&mut text, &loaded.table, url, claims, unix(&**clock))?;
    }
    // A manifest that cannot be read may be the answer to the question.
    for problem in &loaded.problems {
        let _ = writeln!(text, "note         {problem}");
    }
    Ok(text)
}

/// What is decided about somebody.
fn explain_claims(
    text: &mut String,
    table: &RoutingTable,
    url: &str,
    claims: &Claims,
    now: i64,
) -> Result<(), String> {
    let target = Target::parse(url)?;
    let rule = table.route(&target.host, &target.path);
    match rule.and_then(|rule| rule.access).map(|id| table.access(id)) {
        Some(access) => {
            for (word, rest) in explain_access::decision(access, &target.path, claims, now) {
                line(text, word, &rest);
            }
        }
        None => line(text, "decision", "none, no policy guards this URL"),
    }
    Ok(())
}

/// Asks a running Penstock at its admin address.
pub fn explain_running(admin: SocketAddr, url: &str) -> Result<String, String> {
    fetch::explain(admin, url)
}

/// Explains a URL by a table. `fallback` is the certificate for names of which the table has none.
pub fn explain_text(table: &RoutingTable, fallback: &Identity, url: &str) -> Result<String, String> {
    let target = Target::parse(url)?;
    if let Some(rule) = table.passthrough(&target.host).filter(|_| target.tls) {
        return Ok(explain_passthrough(table, &target, rule));
    }
    let rule = table.route(&target.host, &target.path);
    let mut text = String::new();
    let scheme = if target.tls { "https" } else { "http" };
    line(&mut text, "request", &format!("{scheme}://{}{}", target.host, target.path));
    line(&mut text, "answer", &answer(table, &target, rule.map(|rule| &**rule)));
    if let Some(rule) = rule {
        line(&mut text, "rule", &describe(rule));
        line(&mut text, "backend", &backend(table, rule));
        if let Some(access) = rule.access.map(|id| table.access(id)) {
            for (word, rest) in explain_access::describe(access, &target.path) {
                line(&mut text, word, &rest);
            }
        }
    }
    if target.tls {
        let identity = table.identity(Some(&target.host)).map_or(fallback, |identity| identity);
        line(&mut text, "certificate", &certificate::describe(identity));
    }
    let class = table.class(class(table, &target, rule.map(|rule| &**rule)));
    if let Some(proxy_class) = &class.proxy_class {
        line(&mut text, "class", &format!("{}, by ProxyClass {proxy_class}", class.name));
    }
    for (field, value) in class.settings.differences(&Settings::default()) {
        line(&mut text, "setting", &format!("{field}: {value}"));
    }
    for policy in policies(table, &target, rule.map(|rule| &**rule), &class.settings) {
        line(&mut text, "policy", &policy);
    }
    others(&mut text, &table.explain(&target.host, &target.path));
    Ok(text)
}

/// What becomes of a connection that is passed through: of its requests nothing is known here.
fn explain_passthrough(table: &RoutingTable, target: &Target<'_>, rule: &Rule) -> String {
    let mut text = String::new();
    line(&mut text, "connection", &format!("TLS with server name {}", target.host));
    let answer = match rule.denied {
        Some(Denied::Class) => "closed, the ProxyClass of its class is missing or refused",
        Some(Denied::Access) => "closed, its access policy cannot be enforced on what is passed through",
        Some(_) => "closed, the Service or its port is missing or not allowed; see the Ingress' report",
        None if table.backend(rule.backend).endpoints.is_empty() => "closed, no endpoint is ready",
        None => "passed through to the backend, undecrypted",
    };
    line(&mut text, "answer", answer);
    line(&mut text, "rule", &describe(rule));
    line(&mut text, "backend", &backend(table, rule));
    line(&mut text, "certificate", "the backend's");
    if rule.passthrough.is_some_and(|how| how.proxy_protocol) {
        line(
            &mut text,
            "policy",
            "the backend is told the client's address by a PROXY protocol header, version 2",
        );
    }
    text
}

/// A rule's backend and its endpoints.
fn backend(table: &RoutingTable, rule: &Rule) -> String {
    let backend = table.backend(rule.backend);
    let endpoints: Vec<_> = backend.endpoints.iter().map(|endpoint| endpoint.address.to_string()).collect();
    let endpoints = if endpoints.is_empty() { "no endpoint".to_owned() } else { endpoints.join(", ") };
    format!("{}: {endpoints}", backend.label)
}

// Writing to a String does not fail, here and below.
fn line(text: &mut String, word: &str, rest: &str) {
    let _ = writeln!(text, "{word:<12} {rest}");
}

/// What is asked for.
struct Target<'u> {
    tls: bool,
    host: Cow<'u, str>,
    path: Cow<'u, str>,
}

impl<'u> Target<'u> {
    fn parse(url: &'u str) -> Result<Self, String> {
        if url.len() > MAX_URL {
            return Err(format!("the URL is longer than {MAX_URL} bytes"));
        }
        let (scheme, rest) = url.split_once("://").ok_or("a URL is written https://host/path")?;
        let tls = match scheme.to_ascii_lowercase().as_str() {
            "https" => true,
            "http" => false,
            _ => return Err("the URL begins with https:// or http://".to_owned()),
        };
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let authority =
            parse_authority(&rest.as_bytes()[..end]).map_err(|reject| reject.detail.to_owned())?;
        // Neither query nor fragment take part in matching, and a fragment is never sent.
        let path = rest[end..].split(['?', '#']).next().unwrap_or_default();
        let path = if path.is_empty() { "/" } else { path };
        let path = normalize_path(path)
            .map_err(|reject| format!("the request is answered 400: {}", reject.detail))?;
        Ok(Self { tls, host: authority.host, path })
    }
}

/// The answer, with the reason if it does not come from a backend.
fn answer(table: &RoutingTable, target: &Target<'_>, rule: Option<&Rule>) -> String {
    let plaintext = rule.is_some_and(|rule| rule.acme_http01 || !rule.tls);
    if !target.tls && !plaintext && (table.tls_host(&target.host) || rule.is_some()) {
        let class = table.class(class(table, target, rule));
        return format!("{}, redirected to https", class.settings.redirect.status.code());
    }
    let Some(rule) = rule else { return "404, no rule matches".to_owned() };
    if table.is_ambiguous(&target.host, &target.path) {
        return "400, a backend could read the path in another way, in which it belongs to another rule"
            .to_owned();
    }
    match rule.denied {
        Some(Denied::TlsSecret) => {
            "503, the Secret that spec.tls names is missing or refused; see the Ingress' report".to_owned()
        }
        Some(Denied::Class) => {
            "503, the ProxyClass of its class is missing or refused; see the IngressClass' report".to_owned()
        }
        Some(Denied::TlsPolicy) => {
            "503, the host is served with another TLS policy; see the Ingress' report".to_owned()
        }
        Some(Denied::Access) => {
            "503, its access policy cannot be enforced; see the Ingress' report".to_owned()
        }
        Some(Denied::Backend) => {
            "503, the Service or its port is missing or not allowed; see the Ingress' report".to_owned()
        }
        None => match rule.access.map(|id| table.access(id)) {
            Some(access) if access.policy.problem.is_some() => {
                format!("503, {} cannot be enforced", access.title())
            }
            _ if table.backend(rule.backend).endpoints.is_empty() => "503, no endpoint is ready".to_owned(),
            Some(access) if is_public(&access.policy.public, &target.path) => {
                "from the backend, for everybody".to_owned()
            }
            Some(_) => "from the backend, for whom its access policy allows".to_owned(),
            None => "from the backend".to_owned(),
        },
    }
}

fn policies(
    table: &RoutingTable,
    target: &Target<'_>,
    rule: Option<&Rule>,
    settings: &Settings,
) -> Vec<String> {
    let mut policies = Vec::new();
    if target.tls
        && rule.is_some_and(|rule| rule.tls && rule.denied.is_none())
        && let Some(value) = settings.tls.hsts.field_value()
    {
        policies.push(format!("Strict-Transport-Security: {value}"));
    }
    if target.tls && table.tls_host(&target.host) {
        policies.push(format!("plain HTTP is redirected ({})", settings.redirect.status.code()));
    }
    policies
}

/// The class that the request is served with.
fn class(table: &RoutingTable, target: &Target<'_>, rule: Option<&Rule>) -> ClassId {
    match rule {
        Some(rule) => rule.class,
        None if table.tls_host(&target.host) => table.tls_class(Some(&target.host)),
        None => table.process(),
    }
}

/// A rule in one line.
fn describe(rule: &Rule) -> String {
    let host = if rule.host.is_empty() { "any host" } else { &rule.host };
    let ingress = if rule.ingress.name.is_empty() {
        "the configuration's default backend".to_owned()
    } else {
        format!("Ingress {}", rule.ingress)
    };
    let acme = if rule.acme_http01 { ", ACME HTTP-01 solver: also without TLS" } else { "" };
    format!("{ingress}, {host}, {} {}{acme}", rule.path_type.as_str(), rule.path)
}

fn others(text: &mut String, candidates: &[Candidate]) {
    let others = candidates.iter().filter(|candidate| candidate.verdict != Verdict::Serves);
    for candidate in others.clone().take(MAX_OTHERS) {
        let why = match &candidate.verdict {
            Verdict::LosesTo { winner, because } => format!("{} wins: {because}", winner.label),
            Verdict::NoMatch { because } => (*because).to_owned(),
            Verdict::Serves => continue,
        };
        line(text, "not", &format!("{}: {why}", describe(&candidate.rule)));
    }
    match others.count().saturating_sub(MAX_OTHERS) {
        0 => {}
        more => line(text, "not", &format!("and {more} more rules")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_read_as_requests_are() {
        let target = Target::parse("HTTPS://Shop.Example.:8443/a/../%62?c#d").unwrap();
        assert_eq!((target.tls, &*target.host, &*target.path), (true, "shop.example", "/b"));
        assert_eq!(Target::parse("http://h?x").unwrap().path, "/");
        for url in
            ["shop.example/", "ftp://h/", "https:///x", "https://u@h/", "https://h/%00", "https://h/../x"]
        {
            assert!(Target::parse(url).is_err(), "{url}");
        }
    }
}
