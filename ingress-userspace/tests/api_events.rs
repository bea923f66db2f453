//! Events about objects, in a real API server.

#![expect(clippy::unwrap_used, reason = "a failure here is a failure of the test")]

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use ingress_core::objects::{Kind, NamespacedName};
use k8s_openapi::api::events::v1::Event;
use k8s_openapi::api::networking::v1::Ingress as ApiIngress;
use kube::ResourceExt as _;
use kube::api::{DeleteParams, ListParams};
use penstock::control::writeback::{AddressSource, ApiSink, StatusSink as _, Write, WriteError};
use penstock::sys::clock::{Clock, SystemClock};
use rcgen::{CertificateParams, KeyPair, date_time_ymd};

use support::authority::{Authority, KeyKind};
use support::cluster::{self, Kube, block_on};
use support::control_plane::{ControlPlane, Setup, becomes, eventually};
use support::manifests::Ingress;

const CLASS: &str = "
apiVersion: networking.k8s.io/v1
kind: IngressClass
metadata: {name: penstock}
spec: {controller: penstock.dev/ingress-controller}
";
const SERVICE: &str = "
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {ports: [{port: 80}]}
";

/// The machine's clock, put forward by a test.
#[derive(Default)]
struct ForwardClock(AtomicU64);

impl ForwardClock {
    fn forward(&self, seconds: u64) {
        self.0.fetch_add(seconds, Ordering::SeqCst);
    }

    fn offset(&self) -> Duration {
        Duration::from_secs(self.0.load(Ordering::SeqCst))
    }
}

impl Clock for ForwardClock {
    fn now(&self) -> Instant {
        Instant::now() + self.offset()
    }

    fn since_epoch(&self) -> Duration {
        SystemClock.since_epoch() + self.offset()
    }
}

/// The Events about an object, by reason, with type and count; in the order in which they were told first.
fn told(kube: &Kube, namespace: &str, object: &str) -> Vec<(String, String, i32)> {
    events(kube, namespace, object).into_iter().map(|event| summary(&event)).collect()
}

fn events(kube: &Kube, namespace: &str, object: &str) -> Vec<Event> {
    let all = block_on(kube.api::<Event>(namespace).list(&ListParams::default())).unwrap().items;
    let about =
        |event: &Event| event.regarding.as_ref().and_then(|about| about.name.as_deref()) == Some(object);
    let mut events: Vec<Event> = all.into_iter().filter(about).collect();
    events.sort_by_key(|event| event.event_time.clone());
    events
}

fn summary(event: &Event) -> (String, String, i32) {
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    let count = event.series.as_ref().map_or(1, |series| series.count);
    (text(&event.reason), text(&event.type_), count)
}

fn expected(all: &[(&str, &str, i32)]) -> Vec<(String, String, i32)> {
    all.iter().map(|(reason, kind, count)| ((*reason).to_owned(), (*kind).to_owned(), *count)).collect()
}

#[track_caller]
fn expect(kube: &Kube, namespace: &str, object: &str, all: &[(&str, &str, i32)]) {
    becomes(&format!("the Events of {object}"), &expected(all), || told(kube, namespace, object));
}

fn site(namespace: &str, name: &str) -> Ingress {
    Ingress::new(namespace, name).path(&format!("{name}.example"), "/", "Prefix", "web")
}

#[test]
fn a_refusal_and_its_end_are_told_once_whoever_leads() {
    const TEST: &str = "a_refusal_and_its_end_are_told_once_whoever_leads";
    let Some(cluster) = cluster::shared(TEST) else { return };
    let kube = Kube::admin(cluster);
    let namespace = &kube.namespace("events");
    kube.apply(namespace, CLASS);
    let clock = Arc::new(ForwardClock::default());
    let mut setup = Setup::new(cluster.admin_kubeconfig(), namespace, AddressSource::Nothing);
    setup.clock = Arc::clone(&clock) as _;
    let first = ControlPlane::start(&setup);
    kube.apply(namespace, &site(namespace, "web").text());
    expect(&kube, namespace, "web", &[("ServiceNotFound", "Warning", 1)]);
    let Some(described) = cluster::kubectl(TEST, cluster, &["describe", "ingress", "-n", namespace, "web"])
    else {
        return;
    };
    let line = described
        .lines()
        .find(|line| line.contains("ServiceNotFound"))
        .unwrap_or_else(|| panic!("{described}"));
    assert!(line.contains("spec.rules[0].http.paths[0].backend.service.name: Service"), "{line}");

    // Another replica finds it told, and tells what comes after.
    first.stop();
    let second = ControlPlane::start(&setup.clone().named("second"));
    eventually("the second leads", || second.leads());
    kube.apply(namespace, &site(namespace, "other").text());
    expect(&kube, namespace, "other", &[("ServiceNotFound", "Warning", 1)]);
    assert_eq!(told(&kube, namespace, "web"), expected(&[("ServiceNotFound", "Warning", 1)]));

    // What stands is told again after half an hour, by the same Event.
    clock.forward(31 * 60);
    kube.apply(namespace, &site(namespace, "last").text());
    expect(&kube, namespace, "web", &[("ServiceNotFound", "Warning", 2)]);

    // It is over while nobody leads, and told by who leads next.
    second.stop();
    kube.apply(namespace, SERVICE);
    let _third = ControlPlane::start(&setup.named("third"));
    expect(&kube, namespace, "web", &[("ServiceNotFound", "Warning", 2), ("Accepted", "Normal", 1)]);
}

#[test]
fn a_secret_that_cannot_be_used_is_told_without_what_it_holds() {
    const TEST: &str = "a_secret_that_cannot_be_used_is_told_without_what_it_holds";
    let Some(cluster) = cluster::shared(TEST) else { return };
    let kube = Kube::admin(cluster);
    let namespace = &kube.namespace("events-secret");
    kube.apply(namespace, CLASS);
    kube.apply(namespace, SERVICE);
    let secret = |certificate: &str, key: &str| {
        let (certificate, key) = (certificate.replace('\n', "\\n"), key.replace('\n', "\\n"));
        let text = format!(
            "apiVersion: v1\nkind: Secret\nmetadata: {{name: pair}}\ntype: kubernetes.io/tls\n\
             stringData: {{tls.crt: \"{certificate}\", tls.key: \"{key}\"}}\n"
        );
        kube.apply(namespace, &text);
    };
    let authority = Authority::new();
    let pair = authority.issue(&["web.example"], KeyKind::Ecdsa);
    secret(&pair.chain_pem(), "-----BEGIN PRIVATE KEY-----\\nhunter2\\n-----END PRIVATE KEY-----\\n");
    kube.apply(namespace, &site(namespace, "web").tls(&["web.example"], "pair").text());
    let setup = Setup::new(cluster.admin_kubeconfig(), namespace, AddressSource::Nothing);
    let _plane = ControlPlane::start(&setup);
    for object in ["web", "pair"] {
        expect(&kube, namespace, object, &[("KeyInvalid", "Warning", 1)]);
        let text = format!("{:?}", events(&kube, namespace, object));
        assert!(!text.contains("hunter2") && !text.contains("BEGIN"), "{text}");
    }
    let regarding = events(&kube, namespace, "pair").remove(0).regarding.unwrap();
    assert_eq!(regarding.kind.as_deref(), Some("Secret"));
    assert_eq!(regarding.field_path.as_deref(), Some("data[tls.key]"));

    secret(&pair.chain_pem(), &pair.key);
    for object in ["web", "pair"] {
        expect(&kube, namespace, object, &[("KeyInvalid", "Warning", 1), ("Accepted", "Normal", 1)]);
    }
}

#[test]
fn a_certificate_that_ends_soon_is_told_again_as_it_gets_urgent() {
    const TEST: &str = "a_certificate_that_ends_soon_is_told_again_as_it_gets_urgent";
    let Some(cluster) = cluster::shared(TEST) else { return };
    let kube = Kube::admin(cluster);
    let namespace = &kube.namespace("events-expiry");
    kube.apply(namespace, CLASS);
    kube.apply(namespace, SERVICE);
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(vec!["web.example".to_owned()]).unwrap();
    params.not_before = date_time_ymd(2020, 1, 1);
    params.not_after = date_time_ymd(2100, 1, 1);
    let end = u64::try_from(params.not_after.unix_timestamp()).unwrap();
    let certificate = params.self_signed(&key).unwrap().pem();
    let escaped = |pem: &str| pem.replace('\n', "\\n");
    kube.apply(
        namespace,
        &format!(
            "apiVersion: v1\nkind: Secret\nmetadata: {{name: pair}}\ntype: kubernetes.io/tls\n\
             stringData: {{tls.crt: \"{}\", tls.key: \"{}\"}}\n",
            escaped(&certificate),
            escaped(&key.serialize_pem())
        ),
    );
    kube.apply(namespace, &site(namespace, "web").tls(&["web.example"], "pair").text());
    let clock = Arc::new(ForwardClock::default());
    let mut setup = Setup::new(cluster.admin_kubeconfig(), namespace, AddressSource::Nothing);
    setup.clock = Arc::clone(&clock) as _;
    let days = |left: u64| clock.forward(end - left * 86_400 - clock.since_epoch().as_secs());
    days(10);
    let _plane = ControlPlane::start(&setup);
    let step = ("CertificateExpires", "Warning", 1);
    expect(&kube, namespace, "web", &[step]);
    expect(&kube, namespace, "pair", &[step]);
    // The clock is looked at twice a minute, and with each change.
    days(2);
    kube.apply(namespace, &site(namespace, "other").text());
    let two = expected(&[step, step]);
    eventually("it is told again", || told(&kube, namespace, "pair") == two);
    let notes: Vec<_> =
        events(&kube, namespace, "pair").into_iter().map(|event| event.note.unwrap()).collect();
    assert!(
        notes[0].contains("in less than 14 days") && notes[1].contains("in less than 3 days"),
        "{notes:?}"
    );
}

#[test]
fn an_event_about_an_object_of_the_cluster_is_seen_by_describe() {
    const TEST: &str = "an_event_about_an_object_of_the_cluster_is_seen_by_describe";
    let Some(cluster) = cluster::own(TEST) else { return };
    let kube = Kube::admin(&cluster);
    let namespace = &kube.namespace("events-class");
    let marks = "annotations: {ingressclass.kubernetes.io/is-default-class: \"true\"}";
    for name in ["one", "two"] {
        let marked = CLASS.replace("{name: penstock}", &format!("{{name: {name}, {marks}}}"));
        kube.apply(namespace, &marked);
    }
    let setup = Setup::new(cluster.admin_kubeconfig(), namespace, AddressSource::Nothing);
    let _plane = ControlPlane::start(&setup);
    expect(&kube, "default", "one", &[("DefaultClassNotUnique", "Warning", 1)]);
    let Some(described) = cluster::kubectl(TEST, &cluster, &["describe", "ingressclass", "one"]) else {
        return;
    };
    assert!(described.contains("DefaultClassNotUnique"), "{described}");
}

/// An account that lacks one right.
fn account_without(kube: &Kube, namespace: &str, name: &str, lacking: &str) {
    kube.service_account(namespace, name);
    let rules = [
        ("", "secrets, services", "get, list, watch"),
        ("discovery.k8s.io", "endpointslices", "list, watch"),
        ("networking.k8s.io", "ingresses, ingressclasses", "get, list, watch"),
        ("networking.k8s.io", "ingresses/status", "patch"),
        ("events.k8s.io", "events", "create, get, list, patch"),
        ("coordination.k8s.io", "leases", "create, get, patch"),
        // Without these, no route is served: it could have a policy.
        ("penstock.dev", "accesspolicies, identityproviders", "list, watch"),
    ];
    let rule = |(group, resources, verbs): &(&str, &str, &str)| {
        format!("- {{apiGroups: [\"{group}\"], resources: [{resources}], verbs: [{verbs}]}}\n")
    };
    let rules: String = rules.iter().filter(|(_, resources, _)| *resources != lacking).map(rule).collect();
    let name = format!("{namespace}-{name}");
    let account = name.rsplit_once('-').unwrap().1;
    kube.apply(
        namespace,
        &format!(
            "apiVersion: rbac.authorization.k8s.io/v1\nkind: ClusterRole\nmetadata: {{name: {name}}}\nrules:\n{rules}---\n\
             apiVersion: rbac.authorization.k8s.io/v1\nkind: ClusterRoleBinding\nmetadata: {{name: {name}}}\n\
             roleRef: {{apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: {name}}}\n\
             subjects: [{{kind: ServiceAccount, name: {account}, namespace: {namespace}}}]\n"
        ),
    );
}

#[test]
fn a_right_that_lacks_is_named_and_the_others_are_used() {
    const TEST: &str = "a_right_that_lacks_is_named_and_the_others_are_used";
    let Some(cluster) = cluster::shared(TEST) else { return };
    let kube = Kube::admin(cluster);
    let namespace = &kube.namespace("rights");
    kube.apply(namespace, CLASS);
    kube.apply(namespace, &site(namespace, "web").text());
    account_without(&kube, namespace, "status", "ingresses/status");
    account_without(&kube, namespace, "events", "events");
    let addresses = AddressSource::Fixed(vec!["192.0.2.1".parse().unwrap()]);

    let kubeconfig = cluster.kubeconfig_of(namespace, "status").unwrap();
    let plane = ControlPlane::start(&Setup::new(&kubeconfig, namespace, addresses.clone()));
    expect(&kube, namespace, "web", &[("ServiceNotFound", "Warning", 1)]);
    let forbidden = "penstock_api_forbidden_total{verb=\"patch\",resource=\"ingresses/status\"}";
    eventually("it is counted", || !plane.metric(forbidden).is_empty());
    plane.stop();

    let kubeconfig = cluster.kubeconfig_of(namespace, "events").unwrap();
    let plane = ControlPlane::start(&Setup::new(&kubeconfig, namespace, addresses));
    kube.apply(namespace, &site(namespace, "other").text());
    let forbidden = "penstock_api_forbidden_total{verb=\"create\",resource=\"events\"}";
    eventually("it is counted", || !plane.metric(forbidden).is_empty());
    eventually("the status is written", || {
        let ingress = block_on(kube.api::<ApiIngress>(namespace).get("other")).unwrap();
        ingress.status.and_then(|status| status.load_balancer?.ingress).is_some()
    });
}

#[test]
fn the_sink_leaves_another_object_of_the_name_alone_and_names_what_is_forbidden() {
    const TEST: &str = "the_sink_leaves_another_object_of_the_name_alone_and_names_what_is_forbidden";
    let Some(cluster) = cluster::shared(TEST) else { return };
    let kube = Kube::admin(cluster);
    let namespace = &kube.namespace("sink");
    kube.apply(namespace, &site(namespace, "web").text());
    let uid = block_on(kube.api::<ApiIngress>(namespace).get("web")).unwrap().uid().unwrap();
    let write = |name: &str, uid: &str| Write::Addresses {
        ingress: NamespacedName::new(namespace.as_str(), name),
        uid: uid.to_owned(),
        addresses: vec!["192.0.2.1".parse().unwrap()],
    };
    let result = |kubeconfig: &std::path::Path, write: &Write| {
        block_on(async {
            let client = cluster::client(kubeconfig).await;
            ApiSink::new(client, "penstock".to_owned(), "test".to_owned(), Vec::new()).write(write).await
        })
    };
    let admin = cluster.admin_kubeconfig();
    let another = "0f0f0f0f-0000-4000-8000-000000000000";
    let gone = result(admin, &write("web", another));
    assert!(matches!(gone, Err(WriteError::Gone(_))), "{gone:?}");
    let gone = result(admin, &write("nobody", &uid));
    assert!(matches!(gone, Err(WriteError::Gone(_))), "{gone:?}");
    assert!(block_on(kube.api::<ApiIngress>(namespace).get_opt("nobody")).unwrap().is_none());
    result(admin, &write("web", &uid)).unwrap();

    kube.service_account(namespace, "nobody");
    let nobody = cluster.kubeconfig_of(namespace, "nobody").unwrap();
    let Err(WriteError::Forbidden { message, permission }) = result(&nobody, &write("web", &uid)) else {
        panic!("it may do nothing")
    };
    assert_eq!((permission.verb, permission.resource), ("patch", "ingresses/status"));
    assert!(message.contains("the verb patch ingresses/status in group networking.k8s.io"), "{message}");
    assert_eq!(Kind::Ingress.as_str(), "Ingress");
    block_on(kube.api::<ApiIngress>(namespace).delete("web", &DeleteParams::default())).unwrap();
    let gone = result(admin, &write("web", &uid));
    assert!(matches!(gone, Err(WriteError::Gone(_))), "{gone:?}");
}
