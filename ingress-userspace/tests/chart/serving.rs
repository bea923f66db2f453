//! What a user of the chart sees of the running program: a site is served, addresses and Events are written back, and a
//! right that is missing is named.

use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::events::v1::Event;
use k8s_openapi::api::networking::v1::Ingress;
use k8s_openapi::api::rbac::v1::ClusterRole;
use kube::api::{ListParams, PostParams};
use serde_json::Value;

use crate::program::{PodName, make_pod, start, start_in_pod};
use crate::release::Release;
use crate::rights::Account;
use crate::support::api;
use crate::support::authority::{Authority, KeyKind, Pair, trusting_anything};
use crate::support::backend::RawBackend;
use crate::support::client::Client;
use crate::support::cluster::{Kube, block_on};
use crate::support::manifests::{self, Manifests};
use crate::support::peer::skipped;
use crate::support::process::Penstock;

const POD: &str = "rel-penstock-one";
/// The address of the node, from a range for documentation (RFC 5737).
const NODE: &str = "192.0.2.7";

/// Installed with a controller of its own beside these values: releases of other tests must not serve its Ingresses.
#[track_caller]
fn install(release: &Release<'_>, values: &[&str]) {
    let controller = format!("ingressClass.controller=penstock.dev/{}", release.class);
    release.chart("install", &[&[&*controller], values].concat());
    make_pod(&release.kube, "rel", &PodName { namespace: &release.namespace, name: POD }, NODE);
}

/// The program as a pod of the release.
#[track_caller]
fn run(release: &Release<'_>) -> Penstock {
    let kubeconfig = release.cluster.kubeconfig_of(&release.namespace, "rel-penstock").unwrap();
    start(&release.kube, &kubeconfig, "rel", &PodName { namespace: &release.namespace, name: POD })
}

/// A site, whose host is called after its namespace. It lives as long as the backend.
struct Site {
    host: String,
    pair: Pair,
    _backend: RawBackend,
}

impl Site {
    /// With an Ingress `good`, and one called `bad`, whose Secret is missing.
    #[track_caller]
    fn make(kube: &Kube, namespace: &str, class: &str) -> Self {
        let (host, bad_host) = (format!("{namespace}.example"), format!("bad.{namespace}.example"));
        let pair = Authority::new().issue(&[&host], KeyKind::Ecdsa);
        let backend = api::backend("web");
        let ingress = |name: &str, host: &str, secret: &str| {
            let ingress = manifests::Ingress::new(namespace, name).class(Some(class));
            ingress.path(host, "/", "Prefix", "web").tls(&[host], secret)
        };
        let files = Manifests::empty();
        files
            .secret(namespace, "web-tls", &pair)
            .service(namespace, "web", &[backend.address()])
            .ingress(&ingress("good", &host, "web-tls"))
            .ingress(&ingress("bad", &bad_host, "missing"));
        for entry in std::fs::read_dir(files.path()).unwrap() {
            kube.apply(namespace, &std::fs::read_to_string(entry.unwrap().path()).unwrap());
        }
        Self { host, pair, _backend: backend }
    }

    /// Over TLS, with the certificate of its Secret.
    #[track_caller]
    fn is_served(&self, penstock: &Penstock) -> bool {
        // Before the first table, connections wait.
        if penstock.admin_get("/readyz").status() != 200 {
            return false;
        }
        let mut client = Client::https(penstock.https(), &self.host, &trusting_anything());
        client.certificates()[0] == self.pair.leaf && client.get(&self.host, "/").status() == 200
    }
}

#[test]
fn an_installed_release_serves_and_reports() {
    let Some(release) = Release::new("an_installed_release_serves_and_reports", "serving") else { return };
    install(&release, &[]);
    let web = release.kube.namespace("web");
    serves_and_reports(&release, &web);
}

#[test]
fn the_account_of_a_pod_is_found_and_suffices() {
    const TEST: &str = "the_account_of_a_pod_is_found_and_suffices";
    let Some(release) = Release::new(TEST, "in-pod") else { return };
    if !rustix::process::geteuid().is_root() {
        return skipped(TEST, "only root can make the place of a pod's ServiceAccount");
    }
    install(&release, &[]);
    let web = release.kube.namespace("web");
    let site = Site::make(&release.kube, &web, release.class);
    let account = tempfile::tempdir().unwrap();
    let token = release.cluster.token(&release.namespace, "rel-penstock").unwrap();
    for (name, text) in [
        ("token", token.as_str()),
        ("ca.crt", release.cluster.authority()),
        ("namespace", release.namespace.as_str()),
    ] {
        std::fs::write(account.path().join(name), text).unwrap();
    }
    let pod = PodName { namespace: &release.namespace, name: POD };
    let penstock = start_in_pod(&release.kube, account.path(), release.cluster.address(), "rel", &pod);
    penstock.eventually("the site is served", |penstock| site.is_served(penstock));
    penstock.eventually("its status has the node's address", |_| {
        addresses(&release.kube, &web, "good") == [NODE]
    });
    let lease = block_on(release.kube.api::<Lease>(&release.namespace).get("rel-penstock")).unwrap();
    assert_eq!(lease.spec.unwrap().holder_identity.as_deref(), Some(POD));
}

#[test]
fn the_rights_in_some_namespaces_suffice_there() {
    let Some(release) = Release::new("the_rights_in_some_namespaces_suffice_there", "some") else { return };
    let (web, other) = (release.kube.namespace("web"), release.kube.namespace("other"));
    install(&release, &[&format!("watchNamespaces={{{web}}}")]);
    let unseen = Site::make(&release.kube, &other, "some");
    let penstock = serves_and_reports(&release, &web);
    assert!(!unseen.is_served(&penstock));
    assert!(addresses(&release.kube, &other, "good").is_empty());
}

/// What a user sees when all is well.
#[track_caller]
fn serves_and_reports(release: &Release<'_>, web: &str) -> Penstock {
    let kube = &release.kube;
    let site = Site::make(kube, web, release.class);
    let penstock = run(release);
    penstock.eventually("the site is served", |penstock| site.is_served(penstock));
    penstock.eventually("its status has the node's address", |_| addresses(kube, web, "good") == [NODE]);
    penstock.eventually("an Event tells what is wrong with the other", |_| {
        let events = block_on(kube.api::<Event>(web).list(&ListParams::default())).unwrap();
        events.items.iter().any(|event| {
            event.regarding.as_ref().is_some_and(|object| object.name.as_deref() == Some("bad"))
                && event.note.as_ref().is_some_and(|note| note.contains("missing"))
        })
    });
    penstock.eventually("the ProxyClass is accepted", |_| {
        let class = release.proxy_class(release.class);
        let accepted = |condition: &Value| condition["type"] == "Accepted" && condition["status"] == "True";
        class["status"]["conditions"].as_array().is_some_and(|conditions| conditions.iter().any(accepted))
    });
    let lease = block_on(kube.api::<Lease>(&release.namespace).get("rel-penstock")).unwrap();
    assert_eq!(lease.spec.unwrap().holder_identity.as_deref(), Some(POD));
    let lacks_a_right = |line: &String| line.contains("forbidden") || line.contains("grant the verb");
    let complaints: Vec<_> = penstock.log().into_iter().filter(lacks_a_right).collect();
    assert!(complaints.is_empty(), "{complaints:#?}");
    penstock
}

/// The addresses in the status of an Ingress.
fn addresses(kube: &Kube, namespace: &str, name: &str) -> Vec<String> {
    let ingress = block_on(kube.api::<Ingress>(namespace).get(name)).unwrap();
    let balancer = ingress.status.and_then(|status| status.load_balancer);
    let addresses = balancer.and_then(|balancer| balancer.ingress).unwrap_or_default();
    addresses.into_iter().filter_map(|address| address.ip).collect()
}

/// Takes one verb of a resource out of a role.
fn take(role: &mut ClusterRole, resource: &str, verb: &str) {
    let rules = role.rules.get_or_insert_default();
    for rule in rules.iter_mut() {
        if rule.resources.iter().flatten().any(|name| name == resource) {
            rule.verbs.retain(|other| other != verb);
        }
    }
    rules.retain(|rule| !rule.verbs.is_empty());
}

#[test]
fn a_right_that_is_missing_is_named() {
    let Some(release) = Release::new("a_right_that_is_missing_is_named", "missing-right") else { return };
    install(&release, &[]);
    let kube = &release.kube;
    let account = Account { kube, user: format!("system:serviceaccount:{}:rel-penstock", release.namespace) };
    let role = format!("{}:rel-penstock", release.namespace);
    let roles = kube.all::<ClusterRole>();
    let whole = block_on(roles.get(&role)).unwrap();

    for (group, resource, verb, serves) in [
        // First, because its status is written once.
        ("penstock.dev", "proxyclasses/status", "patch", true),
        ("networking.k8s.io", "ingresses", "list", false),
        ("", "services", "watch", true),
        ("", "secrets", "get", false),
        ("networking.k8s.io", "ingresses/status", "patch", true),
        ("events.k8s.io", "events", "create", true),
    ] {
        // Nobody has written about it yet.
        let web = kube.namespace("web");
        let site = Site::make(kube, &web, "missing-right");
        let mut less = block_on(roles.get(&role)).unwrap();
        less.rules = whole.rules.clone();
        take(&mut less, resource, verb);
        block_on(roles.replace(&role, &PostParams::default(), &less)).unwrap();
        account.wait_until(false, &web, group, resource, verb);

        let penstock = run(&release);
        penstock.eventually(&format!("the log names {verb} {resource}"), |penstock| {
            penstock.log().iter().any(|line| line.contains(verb) && line.contains(resource))
        });
        if serves {
            penstock.eventually("the site is served all the same", |penstock| site.is_served(penstock));
        } else {
            assert!(!site.is_served(&penstock), "without {verb} {resource}");
        }
    }
}
