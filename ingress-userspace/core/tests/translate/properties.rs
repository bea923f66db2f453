//! What holds for any objects, in any order.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;

use ingress_core::auth::decision::Policy;
use ingress_core::auth::identity::Identity;
use ingress_core::auth::rules::allowed;
use ingress_core::objects::Change;
use ingress_core::table::{
    Access, ClassId, HostKey, HostLevel, HostRules, RankedRule, RoutingTable, Rule, TableDiff, Verdict,
};
use ingress_core::translate::{TranslateOptions, Translator};
use proptest::prelude::*;
use serde_json::json;

use crate::certificates::NOW;
use crate::manifests::{class, key, object};
use crate::universe::{HOSTS, Op, REQUEST_HOSTS, REQUEST_PATHS, op};

fn options(allow_plaintext: bool) -> TranslateOptions {
    let default_backend = allow_plaintext.then(|| "a/s1:80".to_owned());
    let mut options = TranslateOptions { default_backend, ..TranslateOptions::default() };
    options.settings.routing.allow_plaintext = allow_plaintext;
    options
}

pub(crate) fn translator(allow_plaintext: bool) -> Translator {
    Translator::new(options(allow_plaintext), rustls::crypto::aws_lc_rs::default_provider().key_provider)
}

/// Everything that can be seen of a table but its number.
pub(crate) fn text(table: &RoutingTable) -> String {
    let mut text = table.to_string();
    for identity in table.identities() {
        writeln!(text, "{identity:?}").unwrap();
    }
    for rule in table.rules() {
        writeln!(text, "{} {}", rule.label, table.class(rule.class).name).unwrap();
    }
    let mut accesses: Vec<_> = table.accesses().map(|(_, access)| access).collect();
    accesses.sort_by_key(|access| access.title());
    for access in accesses {
        let Access {
            tag, policy, reach, wanted, audiences, refresh_after, provider, external, pages, ..
        } = &**access;
        writeln!(text, "{tag} {reach:?} {wanted:?} {audiences:?} {refresh_after:?} {external:?} {pages:?}")
            .unwrap();
        let Policy { issuer, public, sign_in, bearer, lifetimes, fields, .. } = policy;
        writeln!(text, "{issuer} {public:?} {sign_in} {bearer} {lifetimes:?} {fields:?}").unwrap();
        let ann = Identity { subject: "ann".into(), ..Identity::default() };
        let member = Identity { groups: vec!["a".into()], ..ann.clone() };
        writeln!(text, "{} {}", allowed(&policy.allow, &ann), allowed(&policy.allow, &member)).unwrap();
        if let Some(provider) = provider {
            writeln!(text, "{provider:?} {:?}", provider.secret.expose()).unwrap();
        }
    }
    for name in ["x-auth-request-user", "x-auth-request-who", "x-who"] {
        writeln!(text, "{name} {}", table.protected().contains(name.as_bytes())).unwrap();
    }
    let mut classes: Vec<_> = table.classes().map(|(id, class)| (&class.name, id, class)).collect();
    classes.sort_by_key(|(name, ..)| *name);
    for (name, id, class) in classes.into_iter().filter(|(_, id, _)| *id != ClassId::CONFIGURATION) {
        writeln!(text, "{name} {} {:?}", id == table.process(), class.settings).unwrap();
    }
    for host in REQUEST_HOSTS {
        let class = table.class(table.tls_class(Some(host)));
        writeln!(text, "{host:?} {} {:?}", class.name, table.identity(Some(host)).map(|id| &id.secret))
            .unwrap();
    }
    text
}

/// The last change of each object, if it is not a deletion.
fn survivors(ops: &[Op]) -> Vec<Op> {
    let last: BTreeMap<&str, &Op> = ops.iter().map(|op| (op.key.as_str(), op)).collect();
    last.into_values().filter(|op| !op.is_delete()).cloned().collect()
}

/// Whether a rule of this host level applies to a request host, label by label.
fn host_matches(key: &HostKey, host: &str) -> bool {
    let labels: Vec<&str> = host.split('.').collect();
    match key {
        HostKey::Exact(name) => **name == *host,
        HostKey::Wildcard(domain) => {
            labels.len() > 1 && !labels[0].is_empty() && labels[1..].join(".") == **domain
        }
        HostKey::Any | HostKey::Default | HostKey::Configured => true,
    }
}

/// Whether a rule's path matches, element by element.
fn path_matches(entry: &RankedRule, path: &str) -> bool {
    fn elements(path: &str) -> Vec<&str> {
        path.split('/').filter(|element| !element.is_empty()).collect()
    }
    if entry.rank.fallback {
        return true;
    }
    match entry.rule.path_type.as_str() {
        "Exact" => *entry.rule.path == *path,
        _ => elements(path).starts_with(&elements(&entry.rule.path)),
    }
}

/// The level at which connections to a host are passed through, and by which rule, by looking at all rules.
fn naive_passthrough<'t>(table: &'t RoutingTable, host: &str) -> Option<(HostLevel, &'t Arc<Rule>)> {
    let hosts = table.hosts().filter(|(key, _)| host_matches(key, host));
    let named = hosts.filter(|(key, _)| key.level() <= HostLevel::Wildcard);
    let decides = |rules: &HostRules| rules.entries().iter().any(|entry| !entry.rule.acme_http01);
    let deciding = named.filter(|(_, rules)| decides(rules)).min_by_key(|(key, _)| key.level());
    let (key, rules) = deciding?;
    let passing = rules.entries().iter().filter(|entry| entry.rule.passthrough.is_some());
    let rule = passing.min_by(|a, b| a.rank.cmp(&b.rank)).map(|entry| &entry.rule)?;
    Some((key.level(), rule))
}

/// The rule for a request, by looking at all rules.
fn naive<'t>(table: &'t RoutingTable, host: &str, path: &str) -> Option<&'t Arc<Rule>> {
    let passed = naive_passthrough(table, host).map(|(level, _)| level);
    let hosts = table.hosts().filter(|(key, _)| host_matches(key, host));
    let hosts = hosts.filter(|(key, _)| passed.is_none_or(|level| key.level() <= level));
    let entries = hosts.flat_map(|(_, rules)| rules.entries());
    let entries = entries.filter(|entry| entry.rule.passthrough.is_none());
    entries.filter(|entry| path_matches(entry, path)).min_by(|a, b| a.rank.cmp(&b.rank)).map(|e| &e.rule)
}

fn check_lookups(table: &RoutingTable) {
    for host in REQUEST_HOSTS {
        assert_eq!(table.passthrough(host), naive_passthrough(table, host).map(|(_, rule)| rule), "{table}");
        for path in REQUEST_PATHS {
            let route = table.route(host, path);
            assert_eq!(route, naive(table, host, path), "{host} {path}\n{table}");
            let explained = table.explain(host, path);
            let serving: Vec<_> =
                explained.iter().filter(|c| c.verdict == Verdict::Serves).map(|c| &c.rule).collect();
            assert_eq!(serving, Vec::from_iter(route), "{host} {path}\n{table}");
        }
    }
    // Two rules of one host never rank the same, so the outcome never depends on chance.
    for (_, rules) in table.hosts() {
        for a in rules.entries() {
            for b in rules.entries() {
                assert_eq!(a.rank == b.rank, std::ptr::eq(a, b), "{table}");
                assert_eq!(a.rank.cmp(&b.rank), b.rank.cmp(&a.rank).reverse());
            }
        }
    }
    for rule in table.rules() {
        assert!(!table.backend(rule.backend).label.is_empty());
    }
}

/// The same rules have the same access, whatever its place in the table.
fn check_accesses(table: &RoutingTable, other: &RoutingTable) {
    for (rule, other_rule) in table.rules().zip(other.rules()) {
        let access = rule.access.map(|id| table.access(id));
        assert!(access == other_rule.access.map(|id| other.access(id)), "{table}");
    }
}

proptest! {

    /// A sequence of changes ends where a translation from scratch does, and the generation tells when the table changed.
    #[test]
    fn incremental_equals_full(batches in prop::collection::vec(prop::collection::vec(op(), 0..6), 1..12), plain: bool) {
        let mut incremental = translator(plain);
        let mut before = incremental.apply(Vec::new(), NOW);
        let mut seen = Vec::new();
        for batch in batches {
            let table = incremental.apply(batch.iter().map(Op::change).collect(), NOW);
            seen.extend(batch);
            prop_assert_eq!(text(&before) != text(&table), before.generation() != table.generation());
            prop_assert_eq!(TableDiff::between(&before, &table).is_empty() , TableDiff::between(&table, &before).is_empty());
            before = table;
            if incremental.remembered_secrets().next().is_some()
                || incremental.remembered_proxy_classes().next().is_some()
            {
                continue;
            }
            let mut full = translator(plain);
            let changes = survivors(&seen).iter().rev().map(Op::change).collect();
            let expected = full.apply(changes, NOW);
            prop_assert_eq!(text(&before), text(&expected));
            prop_assert_eq!(incremental.reports(), full.reports());
            check_accesses(&before, &expected);
        }
        check_lookups(&before);
    }

    /// Objects may come in any order, one by one or all at once.
    #[test]
    fn order_does_not_matter(
        (ops, shuffled) in prop::collection::vec(op(), 0..25)
            .prop_map(|ops| survivors(&ops))
            .prop_flat_map(|ops| (Just(ops.clone()), Just(ops).prop_shuffle())),
    ) {
        let mut at_once = translator(false);
        let expected = at_once.apply(ops.iter().map(Op::change).collect(), NOW);
        let mut one_by_one = translator(false);
        let mut table = one_by_one.apply(Vec::new(), NOW);
        for op in &shuffled {
            table = one_by_one.apply(vec![op.change()], NOW);
        }
        prop_assert_eq!(text(&table), text(&expected));
        prop_assert_eq!(one_by_one.reports(), at_once.reports());
        check_accesses(&table, &expected);
        check_lookups(&table);
    }

    /// Deleting everything leaves nothing behind.
    #[test]
    fn an_empty_cluster_has_an_empty_table(ops in prop::collection::vec(op(), 0..25)) {
        let mut translator = translator(false);
        translator.apply(ops.iter().map(Op::change).collect(), NOW);
        let deletions = survivors(&ops).iter().map(|op| Change::Delete(key(&op.key))).collect();
        let table = translator.apply(deletions, NOW);
        prop_assert_eq!(text(&table), text(&RoutingTable::default()));
        prop_assert_eq!(translator.reports(), vec![]);
        prop_assert_eq!(translator.next_deadline(), None);
    }

    /// No string crashes the translation, and what is accepted can be looked up.
    #[test]
    fn any_string_is_read(
        name in ".{0,20}", host in "(?s).{0,40}", path in "(?s)/?.{0,40}", service in ".{0,20}", port in ".{0,10}",
        secret in ".{0,20}", number: i32, known in prop::sample::select(HOSTS), data in "(?s).{0,200}",
    ) {
        let paths = json!([
            {"path": path, "pathType": "Prefix", "backend": {"service": {"name": service, "port": {"name": port}}}},
            {"path": path, "pathType": "Exact", "backend": {"service": {"name": service, "port": {"number": number}}}},
        ]);
        let rules = [host.as_str(), known].map(|host| json!({"host": host, "http": {"paths": paths}}));
        let ingress = json!({
            "kind": "Ingress",
            "metadata": {"name": name, "namespace": "a"},
            "spec": {
                "tls": [{"hosts": [host, known], "secretName": secret}, {"secretName": secret}],
                "rules": rules,
            },
        });
        let stored = json!({
            "kind": "Secret",
            "metadata": {"name": secret, "namespace": "a"},
            "type": "kubernetes.io/tls",
            "stringData": {"tls.crt": format!(" {data}"), "tls.key": format!(" {data}")},
        });
        let mut translator = translator(true);
        let objects = [object(ingress), object(stored), class()];
        let table = translator.apply(objects.map(Change::Upsert).into(), NOW);
        for rule in table.rules() {
            prop_assert!(table.route(&rule.host, &rule.path).is_some());
        }
        for report in translator.reports() {
            for finding in report.findings {
                prop_assert!(!finding.message.contains(char::is_control), "{:?}", finding.message);
                prop_assert!(finding.message.len() < 2000);
            }
        }
    }
}
