//! `check`, `explain` and `dump` against a cluster, and what they say without one.

#![expect(clippy::unwrap_used, reason = "a failure here is a failure of the test")]

mod support;

use std::path::Path;
use std::process::Output;

use serde_json::Value;

use support::api::{Space, backend};
use support::cluster::{self, Kube};
use support::manifests::Ingress;
use support::process::{Options, Penstock, run_against};

fn text(output: &Output) -> (Option<i32>, String, String) {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

#[test]
fn the_cluster_is_looked_at_as_a_directory_is() {
    let Some(cluster) = cluster::shared("the_cluster_is_looked_at_as_a_directory_is") else { return };
    let space = Space::new(&Kube::admin(cluster), "look");
    let (one, namespace) = (backend("one"), space.namespace.clone());
    let host = "app.look.test";
    space.site(host, &[one.address()]);
    let run = |arguments: &[&str]| {
        let in_namespace = [arguments, &["--watch-namespace", &namespace]].concat();
        text(&run_against(cluster.admin_kubeconfig(), &in_namespace))
    };
    let (code, out, err) = run(&["check"]);
    assert_eq!(code, Some(0), "{out}{err}");
    assert!(out.contains(&format!("ACCEPTED Ingress {namespace}/app\n1 of 1 Ingresses accepted")), "{out}");

    space
        .put(|m| m.ingress(&Ingress::new(&namespace, "plain").path("plain.look.test", "/", "Prefix", "app")));
    let (code, out, _) = run(&["check"]);
    assert_eq!(code, Some(1));
    assert!(out.contains(&format!("REFUSED Ingress {namespace}/plain spec.rules[0].host: ")), "{out}");

    let url = format!("https://{host}/x");
    let (code, out, _) = run(&["explain", &url, "--cluster"]);
    assert_eq!(code, Some(0));
    assert!(out.contains(&format!("rule         Ingress {namespace}/app, {host}, Prefix /\n")), "{out}");

    let (code, out, _) = run(&["dump"]);
    assert_eq!(code, Some(0));
    let dump: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(dump["table"]["certificates"][0]["secret"], format!("{namespace}/app"));
    assert_eq!(dump["reports"]["problems"], serde_json::json!([]));
    assert!(!out.contains("PRIVATE KEY"));

    // A running Penstock says the same.
    let arguments = vec!["--watch-namespace".to_owned(), namespace.clone()];
    let options = Options { arguments, ..Options::default() };
    let penstock = Penstock::start_against(cluster.admin_kubeconfig(), &options);
    let (code, out, _) = run(&["dump", "--admin", &penstock.admin().to_string()]);
    assert_eq!(code, Some(0));
    let running: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(running["table"]["rules"], dump["table"]["rules"]);
    assert_eq!(running["reports"], dump["reports"]);
}

#[test]
fn without_rights_it_says_what_is_missing() {
    let Some(cluster) = cluster::shared("without_rights_it_says_what_is_missing") else { return };
    let kube = Kube::admin(cluster);
    let namespace = kube.namespace("nobody");
    kube.service_account(&namespace, "nobody");
    let kubeconfig = cluster.kubeconfig_of(&namespace, "nobody").unwrap();
    let (code, out, _) = text(&run_against(&kubeconfig, &["check"]));
    assert_eq!(code, Some(1));
    for resource in ["ingresses.networking.k8s.io", "ingressclasses.networking.k8s.io", "services", "secrets"]
    {
        assert!(out.contains(&format!("cannot list {resource}")), "{out}");
    }
    let (code, out, err) = text(&run_against(&kubeconfig, &["dump"]));
    assert_eq!(code, Some(1));
    assert!(serde_json::from_str::<Value>(&out).is_ok(), "{out}");
    assert!(err.contains("not everything could be read"), "{err}");
}

#[test]
fn without_a_cluster_it_says_what_to_do() {
    let nothing = Path::new("/nonexistent/kubeconfig");
    for arguments in [
        &["check"][..],
        &["dump"],
        &["explain", "https://h/", "--cluster"],
        &["serve", "--http", "127.0.0.1:0"],
    ] {
        let (code, out, err) = text(&run_against(nothing, arguments));
        assert_eq!(code, Some(1), "{arguments:?}: {out}{err}");
        assert!(
            err.contains("no Kubernetes API server is configured") && err.contains("set KUBECONFIG"),
            "{err}"
        );
    }
    // A server that does not answer is a problem, and the command ends.
    let file = tempfile::NamedTempFile::new().unwrap();
    let config = "apiVersion: v1\nkind: Config\ncurrent-context: x\nclusters: [{name: x, cluster: {server: \"https://127.0.0.1:1\"}}]\n\
                  contexts: [{name: x, context: {cluster: x, user: x}}]\nusers: [{name: x, user: {}}]\n";
    std::fs::write(file.path(), config).unwrap();
    let (code, out, err) = text(&run_against(file.path(), &["check"]));
    assert_eq!(code, Some(1), "{out}{err}");
    assert!(out.contains("REFUSED https://127.0.0.1:1: the API server does not answer: "), "{out}");
    assert!(out.contains("Connection refused"), "{out}");
}
