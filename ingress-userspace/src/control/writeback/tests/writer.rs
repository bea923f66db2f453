//! The writer against an API server in memory.

use std::sync::Arc;
use std::time::Duration;

use ingress_core::objects::{Change, Object, ObjectKey};
use ingress_core::translate::{TranslateOptions, Translator};
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::super::guarded::Guarded;
use super::super::inventory::Scope;
use super::super::publish_address::Addresses;
use super::super::sink::WriteError;
use super::super::writer::{Duties, Inputs, Writer};
use super::super::{ACCEPTED, Authority};
use super::api::{SimApi, addresses, ingress};
use super::clock::SimClock;
use crate::control::Published;
use crate::sys::clock::Clock;
use crate::telemetry::metrics::WritebackCounters;
use crate::tls::key_provider;

const ADDRESS: &[&str] = &["192.0.2.1"];

/// What is published, and a writer that leads.
struct Scene {
    api: SimApi,
    published: Arc<Published>,
    translator: Translator,
    clock: Arc<SimClock>,
    authority: Arc<Authority>,
    counters: Arc<WritebackCounters>,
    addresses: watch::Sender<Addresses>,
    writer: JoinHandle<()>,
}

impl Scene {
    fn new(api: SimApi) -> Self {
        let clock = Arc::new(SimClock::new());
        let authority = Arc::new(Authority::new());
        let mut options = TranslateOptions::default();
        options.settings.routing.allow_plaintext = true;
        let mut scene = Self {
            api,
            published: Arc::new(Published::new()),
            translator: Translator::new(options, key_provider()),
            clock,
            authority,
            counters: Arc::default(),
            addresses: watch::Sender::new(Some(addresses(ADDRESS))),
            writer: tokio::spawn(async {}),
        };
        scene.lead();
        scene
    }

    /// Begins to write, as a replica that has just got the lease.
    fn lead(&mut self) {
        self.authority.grant(self.clock.now() + Duration::from_hours(24));
        let clock: Arc<dyn Clock> = Arc::clone(&self.clock) as _;
        let sink = Guarded::new(self.api.clone(), Arc::clone(&self.authority), Arc::clone(&clock));
        let scope = Scope { kind: ingress_core::objects::Kind::Ingress, namespace: None };
        let duties = Duties { addresses: true, scopes: vec![scope] };
        let mut addresses = self.addresses.subscribe();
        addresses.mark_changed();
        let inputs = Inputs { published: Arc::clone(&self.published), news: self.api.watch(), addresses };
        let mut writer = Writer::new(Arc::new(sink), clock, Arc::clone(&self.counters), duties, inputs);
        self.writer.abort();
        self.writer = tokio::spawn(async move { writer.run().await });
    }

    /// Publishes what follows from changes.
    fn publish(&mut self, changes: Vec<Change>) {
        let now = i64::try_from(self.clock.since_epoch().as_secs()).unwrap();
        let table = self.translator.apply(changes, now);
        let reports = self.translator.reports();
        self.published.publish(table, reports, Vec::new(), true, self.clock.since_epoch());
    }

    /// Lets the writer do what there is to do.
    async fn settle(&self) {
        tokio::time::sleep(Duration::from_secs(5)).await;
    }

    fn arrived(&self) -> usize {
        self.api.state.lock().unwrap().arrived
    }
}

fn object(document: Value) -> Change {
    let object = match document["kind"].as_str() {
        Some("Ingress") => Object::Ingress(Arc::new(serde_json::from_value(document).unwrap())),
        Some("Service") => Object::Service(Arc::new(serde_json::from_value(document).unwrap())),
        _ => Object::IngressClass(Arc::new(serde_json::from_value(document).unwrap())),
    };
    Change::Upsert(object)
}

fn class() -> Change {
    object(json!({
        "kind": "IngressClass",
        "metadata": {"name": "penstock", "uid": "class"},
        "spec": {"controller": "penstock.dev/ingress-controller"},
    }))
}

fn service(name: &str) -> Change {
    let metadata = json!({"namespace": "shop", "name": name, "uid": name});
    object(json!({"kind": "Service", "metadata": metadata, "spec": {"ports": [{"port": 80}]}}))
}

/// An Ingress with one rule; it is refused if its Service does not exist.
fn site(key: &ObjectKey, class: &str, service: &str) -> Change {
    let name = &*key.name.name;
    let backend = json!({"service": {"name": service, "port": {"number": 80}}});
    object(json!({
        "kind": "Ingress",
        "metadata": {"namespace": &*key.name.namespace, "name": name, "uid": name},
        "spec": {"ingressClassName": class, "rules": [{
            "host": format!("{name}.example"),
            "http": {"paths": [{"path": "/", "pathType": "Prefix", "backend": backend}]},
        }]},
    }))
}

#[tokio::test(start_paused = true)]
async fn what_is_served_shows_the_addresses_and_nothing_else_is_touched() {
    let api = SimApi::default();
    let (ours, other, left) = (ingress("shop", "ours"), ingress("shop", "other"), ingress("shop", "left"));
    api.put(&ours, "ours", &[], false);
    api.put(&other, "other", &["198.51.100.9"], false);
    api.put(&left, "left", &["192.0.2.77"], true);
    let mut scene = Scene::new(api.clone());
    scene.settle().await;
    assert_eq!(scene.arrived(), 0, "nothing is known yet");

    let changes = vec![class(), service("web"), site(&ours, "penstock", "web"), site(&other, "nginx", "web")];
    scene.publish(changes);
    scene.settle().await;
    assert_eq!(api.shown(&ours), ADDRESS);
    assert_eq!(api.shown(&other), ["198.51.100.9"]);
    assert_eq!(api.shown(&left), [""; 0], "it was ours once");
    assert_eq!(scene.arrived(), 2);

    // Another leader finds all as it should be.
    scene.lead();
    scene.settle().await;
    assert_eq!(scene.arrived(), 2);

    scene.addresses.send_replace(Some(addresses(&["192.0.2.2", "lb.example"])));
    scene.settle().await;
    assert_eq!(api.shown(&ours), ["192.0.2.2", "lb.example"]);

    // Somebody else's address is replaced, and another Ingress of the name is another one.
    api.put(&ours, "ours", &["203.0.113.5"], false);
    scene.settle().await;
    assert_eq!(api.shown(&ours), ["192.0.2.2", "lb.example"]);
    api.delete(&ours);
    api.put(&ours, "again", &[], false);
    scene.settle().await;
    assert_eq!(api.shown(&ours), ["192.0.2.2", "lb.example"]);

    scene.publish(vec![site(&ours, "nginx", "web")]);
    scene.settle().await;
    assert_eq!(api.shown(&ours), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn a_class_that_goes_takes_the_addresses_with_it() {
    let api = SimApi::default();
    let all: Vec<ObjectKey> = (0..100).map(|at| ingress("shop", &format!("site-{at}"))).collect();
    for key in &all {
        api.put(key, &key.name.name, &[], false);
    }
    let mut scene = Scene::new(SimApi { slowness: Duration::from_millis(30), ..api.clone() });
    let sites = all.iter().map(|key| site(key, "penstock", "web"));
    scene.publish(sites.chain([class(), service("web")]).collect());
    scene.settle().await;
    assert!(all.iter().all(|key| api.shown(key) == ADDRESS));
    assert_eq!(api.state.lock().unwrap().most_running, 8);

    let Change::Upsert(class) = class() else { panic!() };
    scene.publish(vec![Change::Delete(class.key())]);
    scene.settle().await;
    assert!(all.iter().all(|key| api.shown(key).is_empty()));
}

#[tokio::test(start_paused = true)]
async fn nothing_that_is_published_is_missed() {
    let api = SimApi::default();
    let all: Vec<ObjectKey> = (0..50).map(|at| ingress("shop", &format!("site-{at}"))).collect();
    let mut scene = Scene::new(api.clone());
    scene.publish(vec![class(), service("web")]);
    for key in &all {
        // News come in while what is published waits to be looked at.
        scene.publish(vec![site(key, "penstock", "web")]);
        tokio::time::sleep(Duration::from_millis(70)).await;
        api.put(key, &key.name.name, &[], false);
        tokio::time::sleep(Duration::from_millis(110)).await;
    }
    scene.settle().await;
    assert!(all.iter().all(|key| api.shown(key) == ADDRESS));
}

#[tokio::test(start_paused = true)]
async fn one_namespace_that_is_forbidden_does_not_stop_the_others() {
    let api = SimApi::default();
    let (shop, locked) = (ingress("shop", "web"), ingress("locked", "safe"));
    api.put(&shop, "web", &[], false);
    api.put(&locked, "safe", &[], false);
    api.state.lock().unwrap().forbidden = Some("locked".to_owned());
    let mut scene = Scene::new(api.clone());
    scene.publish(vec![class(), site(&locked, "penstock", "web"), site(&shop, "penstock", "web")]);
    tokio::time::sleep(Duration::from_mins(5)).await;
    assert_eq!(api.shown(&shop), ADDRESS);
    assert_eq!(api.shown(&locked), [""; 0]);
    let arrived = scene.arrived();
    assert!(arrived < 20, "{arrived} writes");

    api.state.lock().unwrap().forbidden = None;
    tokio::time::sleep(Duration::from_mins(10)).await;
    assert_eq!(api.shown(&locked), ADDRESS);
}

#[tokio::test(start_paused = true)]
async fn failures_are_tried_again() {
    let api = SimApi::default();
    let key = ingress("shop", "web");
    api.put(&key, "web", &[], false);
    let retry_after = Duration::from_secs(7);
    let busy = || WriteError::Unavailable { message: "busy".to_owned(), retry_after };
    api.state.lock().unwrap().errors.extend([busy(), busy()]);
    let mut scene = Scene::new(api.clone());
    scene.publish(vec![class(), service("web"), site(&key, "penstock", "web")]);
    scene.settle().await;
    assert_eq!((scene.arrived(), api.shown(&key).len()), (1, 0), "the server asked to wait");
    tokio::time::sleep(Duration::from_mins(1)).await;
    assert_eq!(api.shown(&key), ADDRESS);
}

#[tokio::test(start_paused = true)]
async fn without_the_lease_nothing_is_written() {
    let api = SimApi::default();
    let key = ingress("shop", "web");
    api.put(&key, "web", &[], false);
    let mut scene = Scene::new(SimApi { slowness: Duration::from_secs(1), ..api.clone() });
    scene.publish(vec![class(), site(&key, "penstock", "web")]);
    tokio::time::sleep(Duration::from_millis(500)).await;
    scene.authority.revoke(scene.clock.now());
    scene.settle().await;
    assert_eq!(scene.arrived(), 0, "what was under way is given up at once");
}

#[tokio::test(start_paused = true)]
async fn a_refusal_is_told_once_and_its_end_too() {
    let api = SimApi::default();
    let key = ingress("shop", "web");
    api.put(&key, "web", &[], false);
    let mut scene = Scene::new(api.clone());
    scene.publish(vec![class(), site(&key, "penstock", "web")]);
    scene.settle().await;
    assert_eq!(api.told(&key), [("ServiceNotFound", 1)]);
    assert_eq!(api.shown(&key), ADDRESS, "requests for its host are answered, if only with 503");

    // Neither a batch nor another leader repeats it; while it stands, it is counted now and then.
    scene.publish(vec![service("other")]);
    scene.lead();
    scene.settle().await;
    assert_eq!(api.told(&key), [("ServiceNotFound", 1)]);
    tokio::time::sleep(Duration::from_mins(65)).await;
    assert_eq!(api.told(&key), [("ServiceNotFound", 3)]);

    scene.publish(vec![service("web")]);
    scene.settle().await;
    assert_eq!(api.told(&key), [("ServiceNotFound", 3), (ACCEPTED, 1)]);

    // The same again: the same Events.
    let Change::Upsert(web) = service("web") else { panic!() };
    tokio::time::sleep(Duration::from_mins(2)).await;
    scene.publish(vec![Change::Delete(web.key())]);
    scene.settle().await;
    assert_eq!(api.told(&key), [(ACCEPTED, 1), ("ServiceNotFound", 4)]);
    scene.publish(vec![service("web")]);
    scene.settle().await;
    assert_eq!(api.told(&key), [("ServiceNotFound", 4), (ACCEPTED, 2)]);
}

#[tokio::test(start_paused = true)]
async fn what_is_over_at_once_is_not_told() {
    let api = SimApi::default();
    let key = ingress("shop", "web");
    api.put(&key, "web", &[], false);
    let mut scene = Scene::new(api.clone());
    scene.publish(vec![class(), site(&key, "penstock", "web")]);
    tokio::time::sleep(Duration::from_millis(400)).await;
    scene.publish(vec![service("web")]);
    scene.settle().await;
    assert_eq!(api.told(&key), []);
}

#[tokio::test(start_paused = true)]
async fn what_recovered_while_nobody_led_is_told_by_the_next_leader() {
    let api = SimApi::default();
    let key = ingress("shop", "web");
    api.put(&key, "web", &[], false);
    let mut scene = Scene::new(api.clone());
    scene.publish(vec![class(), site(&key, "penstock", "web")]);
    scene.settle().await;
    scene.writer.abort();
    scene.publish(vec![service("web")]);
    scene.settle().await;
    // What was told cannot be listed at first.
    api.state.lock().unwrap().unlisted = 3;
    scene.lead();
    scene.settle().await;
    assert_eq!(api.told(&key), [("ServiceNotFound", 1)]);
    scene.settle().await;
    assert_eq!(api.told(&key), [("ServiceNotFound", 1), (ACCEPTED, 1)]);
    scene.lead();
    scene.settle().await;
    assert_eq!(api.told(&key), [("ServiceNotFound", 1), (ACCEPTED, 1)]);
}

#[tokio::test(start_paused = true)]
async fn a_flood_of_refusals_is_told_at_a_steady_rate_and_bounded() {
    let api = SimApi::default();
    let all: Vec<ObjectKey> = (0..6000).map(|at| ingress("shop", &format!("site-{at:04}"))).collect();
    let mut scene = Scene::new(api.clone());
    let sites = all.iter().map(|key| site(key, "penstock", "web"));
    scene.publish(sites.chain([class()]).collect());
    tokio::time::sleep(Duration::from_mins(1)).await;
    let told = api.state.lock().unwrap().events.len();
    assert!((680..=700).contains(&told), "{told} Events in a minute");
    let events = scene.counters.events_for_tests();
    let dropped = events.iter().find(|(outcome, _)| *outcome == "dropped").unwrap().1;
    assert_eq!(dropped, 6000 - 4096);
    // In the end everybody was told.
    tokio::time::sleep(Duration::from_hours(1)).await;
    assert!(all.iter().all(|key| !api.told(key).is_empty()));
}
