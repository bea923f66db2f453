//! Objects of a real API server, served as they come and go.

mod support;

use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::api::networking::v1::Ingress as IngressObject;
use kube::api::DeleteParams;

use support::api::{Space, backend};
use support::cluster::{self, Kube, block_on};
use support::process::{Options, Penstock};

#[test]
fn an_ingress_is_served_as_soon_as_it_is_applied() {
    let Some(cluster) = cluster::shared("an_ingress_is_served_as_soon_as_it_is_applied") else { return };
    let space = Space::new(&Kube::admin(cluster), "serve");
    let (one, two) = (backend("one"), backend("two"));
    space.site("before.serve.test", &[one.address()]);
    let penstock = Penstock::start_against(cluster.admin_kubeconfig(), &Options::default());
    assert_eq!(space.client(&penstock, "before.serve.test").get("before.serve.test", "/").status(), 200);

    space.site("after.serve.test", &[two.address()]);
    space.wait_status(&penstock, "after.serve.test", 200);

    // An open connection sees the other endpoint, and no request fails.
    let mut client = space.client(&penstock, "before.serve.test");
    space.put(|m| m.endpoints(&space.namespace, "before", &[two.address()]));
    penstock.eventually("the other endpoint answers", |_| {
        let answer = client.get("before.serve.test", "/");
        assert_eq!(answer.status(), 200);
        answer.text().contains("two")
    });

    // Another certificate under the same name, then a Secret of another name.
    let renewed = space.pair("before.serve.test");
    space.put(|m| m.secret(&space.namespace, "before", &renewed));
    penstock.eventually("the renewed certificate is served", |penstock| {
        space.client(penstock, "before.serve.test").certificates()[0] == renewed.leaf
    });
    let other = space.pair("before.serve.test");
    space.put(|m| m.secret(&space.namespace, "other", &other));
    let ingress =
        space.ingress("before.serve.test").text().replace("secretName: \"before\"", "secretName: other");
    space.kube.apply(&space.namespace, &ingress);
    penstock.eventually("the other Secret's certificate is served", |penstock| {
        let mut client = space.client(penstock, "before.serve.test");
        assert_eq!(client.get("before.serve.test", "/").status(), 200);
        client.certificates()[0] == other.leaf
    });
    assert_eq!(client.get("before.serve.test", "/").status(), 200);

    let ingresses = space.kube.api::<IngressObject>(&space.namespace);
    block_on(ingresses.delete("before", &DeleteParams::default())).unwrap();
    penstock.eventually("it is not found any more", |_| client.get("before.serve.test", "/").status() == 404);
}

#[test]
fn secrets_may_come_late_and_be_anything() {
    let Some(cluster) = cluster::shared("secrets_may_come_late_and_be_anything") else { return };
    let space = Space::new(&Kube::admin(cluster), "secrets");
    let one = backend("one");
    let host = "late.secrets.test";
    space.put(|m| m.service(&space.namespace, "late", &[one.address()]).ingress(&space.ingress(host)));
    let penstock = Penstock::start_against(cluster.admin_kubeconfig(), &Options::default());
    let finding = |text: &str| {
        let text = format!("Secret {}/late{text}", space.namespace);
        let what = format!("a report says {text}");
        penstock.eventually(&what, |penstock| penstock.admin_get("/reports").text().contains(&text));
    };
    finding(" does not exist");
    let secrets = space.kube.api::<Secret>(&space.namespace);
    let opaque = "apiVersion: v1\nkind: Secret\nmetadata: {name: late}\ntype: Opaque\nstringData: {tls.crt: junk, tls.key: junk}\n";
    space.kube.apply(&space.namespace, opaque);
    finding(": the type is not kubernetes.io/tls");
    block_on(secrets.delete("late", &DeleteParams::default())).unwrap();
    finding(" does not exist");

    // As large as the API server takes it, and nothing but junk.
    let junk = "y".repeat(900_000);
    let large = format!(
        "apiVersion: v1\nkind: Secret\nmetadata: {{name: late}}\ntype: kubernetes.io/tls\n\
         stringData: {{tls.crt: junk, tls.key: {junk}}}\n"
    );
    space.kube.apply(&space.namespace, &large);
    finding(": tls.crt holds no certificate in PEM form");
    let pair = space.pair(host);
    space.put(|m| m.secret(&space.namespace, "late", &pair));
    space.wait_status(&penstock, host, 200);

    // What was good serves on after it was deleted, and says so.
    block_on(secrets.delete("late", &DeleteParams::default())).unwrap();
    finding(" does not exist; the last good certificate keeps serving");
    assert_eq!(space.status(&penstock, host), 200);
    for page in ["/reports", "/table", "/metrics"] {
        let text = penstock.admin_get(page).text();
        assert!(!text.contains("yyyyyyyy") && !text.contains("PRIVATE KEY"), "{page}");
    }
    assert!(!penstock.log().join("\n").contains("yyyyyyyy"));
}
