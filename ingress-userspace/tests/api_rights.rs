//! What Penstock may read is what RBAC grants it: no more than it needs, and said by name where something is missing.

#![expect(clippy::unwrap_used, reason = "a failure here is a failure of the test")]

mod support;

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;

use serde_json::Value;
use tempfile::TempDir;
use test_cluster::Cluster;

use support::api::{Space, backend};
use support::cluster::{self, Kube};
use support::process::{Options, Penstock};

/// A kind as a rule of RBAC names it: its group and its plural.
type Rule = (&'static str, &'static str, &'static str);

const CLASSES: Rule = ("networking.k8s.io", "ingressclasses", "list, watch");
const INGRESSES: Rule = ("networking.k8s.io", "ingresses", "list, watch");
const SERVICES: Rule = ("", "services", "list, watch");
const SLICES: Rule = ("discovery.k8s.io", "endpointslices", "list, watch");
const PROXY_CLASSES: Rule = ("penstock.dev", "proxyclasses", "list, watch");
const POLICIES: Rule = ("penstock.dev", "accesspolicies, identityproviders", "list, watch");
const SECRETS: Rule = ("", "secrets", "get, list, watch");

fn rules(rules: &[Rule]) -> String {
    let mut text = "rules:\n".to_owned();
    for (group, resource, verbs) in rules {
        writeln!(text, "- {{apiGroups: [{group:?}], resources: [{resource}], verbs: [{verbs}]}}").unwrap();
    }
    text
}

/// A ServiceAccount that may do what the rules say.
struct Account {
    space: Space,
    kubeconfig: PathBuf,
}

impl Account {
    /// In all namespaces.
    fn new(cluster: &Cluster, name: &str, allowed: &[Rule]) -> Self {
        let account = Self::powerless(cluster, name);
        account.grant(allowed);
        account
    }

    fn powerless(cluster: &Cluster, name: &str) -> Self {
        let space = Space::new(&Kube::admin(cluster), name);
        space.kube.service_account(&space.namespace, "penstock");
        let kubeconfig = cluster.kubeconfig_of(&space.namespace, "penstock").unwrap();
        Self { space, kubeconfig }
    }

    fn grant(&self, allowed: &[Rule]) {
        self.bind("ClusterRole", &self.space.namespace, allowed);
    }

    /// Grants it in one namespace only.
    fn grant_in(&self, namespace: &str, allowed: &[Rule]) {
        self.bind("Role", namespace, allowed);
    }

    fn bind(&self, kind: &str, namespace: &str, allowed: &[Rule]) {
        let own = &self.space.namespace;
        let text = format!(
            "apiVersion: rbac.authorization.k8s.io/v1\nkind: {kind}\nmetadata: {{name: {own}}}\n{}---\n\
             apiVersion: rbac.authorization.k8s.io/v1\nkind: {kind}Binding\nmetadata: {{name: {own}}}\n\
             roleRef: {{apiGroup: rbac.authorization.k8s.io, kind: {kind}, name: {own}}}\n\
             subjects: [{{kind: ServiceAccount, name: penstock, namespace: {own}}}]\n",
            rules(allowed)
        );
        self.space.kube.apply(namespace, &text);
    }

    fn start(&self) -> Penstock {
        Penstock::start_against(&self.kubeconfig, &Options::default())
    }
}

fn wait_problem(penstock: &Penstock, parts: &[&str]) {
    penstock.eventually(&format!("a problem says {parts:?}"), |penstock| {
        let reports: Value = serde_json::from_str(&penstock.admin_get("/reports").text()).unwrap();
        let mut problems =
            reports["problems"].as_array().unwrap().iter().map(|p| p["message"].as_str().unwrap());
        problems.any(|message| parts.iter().all(|part| message.contains(part)))
    });
}

#[test]
fn a_kind_that_may_not_be_listed_is_named_and_the_others_work() {
    let Some(cluster) = cluster::shared("a_kind_that_may_not_be_listed_is_named_and_the_others_work") else {
        return;
    };
    let account = Account::new(cluster, "unlisted", &[CLASSES, POLICIES, INGRESSES, SERVICES, SECRETS]);
    let (space, one) = (&account.space, backend("one"));
    let host = "app.unlisted.test";
    space.site(host, &[one.address()]);
    let penstock = Penstock::start_unready_against(&account.kubeconfig, &Options::default());
    wait_problem(
        &penstock,
        &[
            "cannot list endpointslices.discovery.k8s.io in all namespaces",
            "403",
            "grant the verbs list and watch",
            "not ready",
        ],
    );
    penstock.eventually("the others are in the table", |penstock| {
        penstock.admin_get("/table").text().contains(host)
    });
    assert_eq!(penstock.admin_get("/readyz").status(), 503);
    account.grant(&[CLASSES, POLICIES, INGRESSES, SERVICES, SLICES, SECRETS]);
    penstock.eventually("it is ready", |penstock| penstock.admin_get("/readyz").status() == 200);
    space.wait_status(&penstock, host, 200);
    penstock.wait_log("no longer: https");

    // What is taken away later keeps serving as it was.
    account.grant(&[CLASSES, POLICIES, INGRESSES, SERVICES, SECRETS]);
    assert_eq!(space.status(&penstock, host), 200);
}

#[test]
fn secrets_that_may_not_be_read_deny_their_routes_only() {
    let Some(cluster) = cluster::shared("secrets_that_may_not_be_read_deny_their_routes_only") else {
        return;
    };
    let (open, closed) = (Kube::admin(cluster).namespace("open"), Kube::admin(cluster).namespace("closed"));
    let account = Account::new(cluster, "denied", &[CLASSES, POLICIES, INGRESSES, SERVICES, SLICES]);
    account.grant_in(&open, &[SECRETS]);
    let in_namespace = |namespace: &str| {
        let space = Space::new(&account.space.kube, "unused");
        Space { namespace: namespace.to_owned(), ..space }
    };
    let (open, closed, one) = (in_namespace(&open), in_namespace(&closed), backend("one"));
    open.site("open.denied.test", &[one.address()]);
    closed.site("closed.denied.test", &[one.address()]);
    // Ready without the list of all Secrets, and with an answer about each that is needed.
    let penstock = account.start();
    assert_eq!(open.status(&penstock, "open.denied.test"), 200);
    assert_eq!(closed.status(&penstock, "closed.denied.test"), 0);
    let namespace = &closed.namespace;
    wait_problem(
        &penstock,
        &[&format!("cannot get secrets in namespace {namespace}: closed"), "grant the verb get"],
    );
    wait_problem(&penstock, &["cannot list secrets in all namespaces", "noticed once a minute"]);
    let reports = penstock.admin_get("/reports").text();
    assert!(reports.contains(&format!("Secret {namespace}/closed may not be read")), "{reports}");
    assert!(reports.contains("SecretForbidden"), "{reports}");

    account.grant_in(namespace, &[SECRETS]);
    account.grant(&[CLASSES, POLICIES, INGRESSES, SERVICES, SLICES, ("", "secrets", "list, watch")]);
    closed.wait_status(&penstock, "closed.denied.test", 200);
    penstock.eventually("nothing is wrong there", |penstock| {
        !penstock.admin_get("/reports").text().contains(&format!("secrets in namespace {namespace}"))
    });
}

#[test]
fn watched_namespaces_need_roles_there_only() {
    let Some(cluster) = cluster::shared("watched_namespaces_need_roles_there_only") else { return };
    let account = Account::new(cluster, "narrow", &[CLASSES, PROXY_CLASSES]);
    let one = backend("one");
    let spaces = ["narrow-a", "narrow-b", "narrow-c"].map(|name| Space::new(&account.space.kube, name));
    let hosts = ["a.narrow.test", "b.narrow.test", "c.narrow.test"];
    for (space, host) in spaces.iter().zip(hosts) {
        space.site(host, &[one.address()]);
    }
    for space in &spaces[..2] {
        account.grant_in(&space.namespace, &[POLICIES, INGRESSES, SERVICES, SLICES, SECRETS]);
    }
    let watched = |space: &Space| ["--watch-namespace".to_owned(), space.namespace.clone()];
    let options = Options { arguments: spaces[..2].iter().flat_map(watched).collect(), ..Options::default() };
    let penstock = Penstock::start_against(&account.kubeconfig, &options);
    assert!(penstock.metric("penstock_source_problems", &[]) < 0.5);
    assert_eq!(spaces[0].status(&penstock, hosts[0]), 200);
    assert_eq!(spaces[1].status(&penstock, hosts[1]), 200);
    assert_eq!(spaces[2].status(&penstock, hosts[2]), 0);
    let renewed = spaces[1].pair(hosts[1]);
    spaces[1].put(|m| m.secret(&spaces[1].namespace, "b", &renewed));
    penstock.eventually("the renewed certificate is served", |penstock| {
        spaces[1].client(penstock, hosts[1]).certificates()[0] == renewed.leaf
    });
}

/// A provider, and the Secret that it names.
const PROVIDER: &str = "
apiVersion: v1
kind: Secret
metadata: {name: client}
stringData: {secret: hunter2}
---
apiVersion: penstock.dev/v1alpha1
kind: IdentityProvider
metadata: {name: corp}
spec: {issuer: https://id.example, clientID: c, clientSecret: {name: client, key: secret}}
";

#[test]
fn nothing_is_served_before_policies_may_be_read() {
    let Some(cluster) = cluster::shared("nothing_is_served_before_policies_may_be_read") else { return };
    let account = Account::new(cluster, "unguarded", &[CLASSES, INGRESSES, SERVICES, SLICES, SECRETS]);
    let (space, one) = (&account.space, backend("one"));
    let host = "app.unguarded.test";
    space.site(host, &[one.address()]);
    let penstock = Penstock::start_unready_against(&account.kubeconfig, &Options::default());
    wait_problem(
        &penstock,
        &["cannot list accesspolicies.penstock.dev in all namespaces", "403", "not ready"],
    );
    penstock.eventually("the others are in the table", |penstock| {
        penstock.admin_get("/table").text().contains(host)
    });
    assert_eq!(penstock.admin_get("/readyz").status(), 503);
    account.grant(&[CLASSES, POLICIES, INGRESSES, SERVICES, SLICES, SECRETS]);
    penstock.eventually("it is ready", |penstock| penstock.admin_get("/readyz").status() == 200);
    space.wait_status(&penstock, host, 200);
}

/// What the API server wrote about requests of a user.
fn audited(log: &TempDir, user: &str) -> Vec<Value> {
    let text = fs::read_to_string(log.path().join("audit.log")).unwrap();
    let events = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    events.filter(|event| event["user"]["username"] == user).collect()
}

#[test]
fn only_secrets_that_are_needed_are_read() {
    let files = TempDir::new().unwrap();
    let policy = "apiVersion: audit.k8s.io/v1\nkind: Policy\nomitStages: [RequestReceived]\nrules:\n\
                  - {level: RequestResponse, resources: [{group: \"\", resources: [secrets]}]}\n- {level: None}\n";
    fs::write(files.path().join("policy.yaml"), policy).unwrap();
    let file = |flag: &str, name: &str| format!("--audit-{flag}={}", files.path().join(name).display());
    let arguments = vec![file("policy-file", "policy.yaml"), file("log-path", "audit.log")];
    let options =
        test_cluster::Options { api_server_arguments: arguments, ..test_cluster::Options::default() };
    let Some(cluster) = cluster::own_with("only_secrets_that_are_needed_are_read", &options) else { return };
    let account = Account::new(&cluster, "least", &[CLASSES, POLICIES, INGRESSES, SERVICES, SLICES, SECRETS]);
    let (space, one) = (&account.space, backend("one"));
    let namespace = &space.namespace;
    space.site("used.least.test", &[one.address()]);
    let unused = space.pair("unused.least.test");
    space.put(|m| m.secret(namespace, "unused", &unused));
    let penstock = account.start();
    space.put(|m| m.secret(namespace, "unused", &space.pair("unused.least.test")));
    space.put(|m| m.secret(namespace, "later", &space.pair("later.least.test")));
    space.kube.apply(namespace, PROVIDER);
    space.site("later.least.test", &[one.address()]);
    space.wait_status(&penstock, "later.least.test", 200);

    let user = format!("system:serviceaccount:{namespace}:penstock");
    let mut events = audited(&files, &user);
    // The keys of sessions are its own.
    events
        .retain(|event| !event["requestURI"].as_str().unwrap_or_default().contains("penstock-session-keys"));
    let of_verb =
        |verb: &str| events.iter().filter(|event| event["verb"] == verb).cloned().collect::<Vec<_>>();
    let read: BTreeSet<_> =
        of_verb("get").iter().map(|event| event["objectRef"]["name"].to_string()).collect();
    assert_eq!(read, ["\"client\"", "\"later\"", "\"used\""].map(str::to_owned).into());
    let lists = of_verb("list");
    assert!(!lists.is_empty());
    for list in lists {
        assert_eq!(list["responseObject"]["kind"], "PartialObjectMetadataList", "{list:#}");
        assert!(list["userAgent"].as_str().unwrap().starts_with("penstock/"), "{list:#}");
    }
    assert!(
        of_verb("watch").iter().all(|watch| watch["userAgent"].as_str().unwrap().starts_with("penstock/"))
    );
    let verbs: BTreeSet<_> = events.iter().map(|event| event["verb"].as_str().unwrap()).collect();
    assert!(verbs.is_subset(&["get", "list", "watch"].into()), "{verbs:?}");
}
