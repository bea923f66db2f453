//! From a change of the objects to a published table.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panic")]

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use ingress_core::objects::{Change, Kind, NamespacedName, Object, ObjectKey};
use ingress_core::report::Severity;
use ingress_core::translate::{SecretDemand, TranslateOptions, Translator};
use penstock::control::manifests::{self, ManifestDirectory};
use penstock::control::{Batch, ObjectSource, Published, SourceProblem, run};
use penstock::sys::clock::{Clock, SystemClock};
use penstock::tls::key_provider;
use rcgen::{CertificateParams, KeyPair};
use tempfile::TempDir;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;

const SOON: Duration = Duration::from_secs(20);

/// A source that gives what a test sends.
struct Sent(mpsc::UnboundedReceiver<Batch>);

impl ObjectSource for Sent {
    async fn next(&mut self) -> Option<Batch> {
        self.0.recv().await
    }
}

/// A clock whose wall time a test sets.
struct SetClock(AtomicU64);

impl Clock for SetClock {
    fn now(&self) -> Instant {
        Instant::now()
    }

    fn since_epoch(&self) -> Duration {
        Duration::from_secs(self.0.load(Ordering::SeqCst))
    }
}

/// A running control loop.
struct Scene {
    published: Arc<Published>,
    batches: watch::Receiver<u64>,
    stop: Option<oneshot::Sender<()>>,
    task: JoinHandle<()>,
}

impl Scene {
    fn start(source: impl ObjectSource + Send + 'static, clock: Arc<dyn Clock>) -> Self {
        let published = Arc::new(Published::new());
        let (stop, stopped) = oneshot::channel();
        let control = run(
            source,
            Translator::new(TranslateOptions::default(), key_provider()),
            Arc::clone(&published),
            clock,
            async { drop(stopped.await) },
        );
        let batches = published.batches();
        Self { published, batches, stop: Some(stop), task: tokio::spawn(control) }
    }

    /// Waits until the next batch is published.
    async fn step(&mut self) {
        tokio::time::timeout(SOON, self.batches.changed()).await.expect("a batch").unwrap();
    }

    fn generation(&self) -> u64 {
        self.published.table().generation()
    }

    async fn stop(mut self) {
        drop(self.stop.take());
        tokio::time::timeout(SOON, self.task).await.expect("an end").unwrap();
    }
}

/// What a site needs: class, Ingress, Service, EndpointSlice, and its certificate.
fn site(directory: &TempDir, endpoint: &str, not_after: i32) {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(vec!["shop.example".to_owned()]).unwrap();
    params.not_after = rcgen::date_time_ymd(not_after, 1, 1);
    let pem = params.self_signed(&key).unwrap().pem().replace('\n', "\n    ");
    let key = key.serialize_pem().replace('\n', "\n    ");
    let files = [
        ("class.yaml", "apiVersion: networking.k8s.io/v1\nkind: IngressClass\nmetadata:\n  name: penstock\nspec:\n  controller: penstock.dev/ingress-controller\n".to_owned()),
        ("ingress.yaml", "apiVersion: networking.k8s.io/v1\nkind: Ingress\nmetadata:\n  name: shop\nspec:\n  ingressClassName: penstock\n  tls:\n  - hosts: [shop.example]\n    secretName: shop\n  rules:\n  - host: shop.example\n    http:\n      paths:\n      - path: /\n        pathType: Prefix\n        backend:\n          service:\n            name: web\n            port: {number: 80}\n".to_owned()),
        ("service.yaml", "apiVersion: v1\nkind: Service\nmetadata:\n  name: web\nspec:\n  ports:\n  - port: 80\n".to_owned()),
        ("secret.yaml", format!("apiVersion: v1\nkind: Secret\nmetadata:\n  name: shop\ntype: kubernetes.io/tls\nstringData:\n  tls.crt: |\n    {pem}\n  tls.key: |\n    {key}\n")),
    ];
    for (name, text) in files {
        fs::write(directory.path().join(name), text).unwrap();
    }
    endpoints(directory, endpoint);
}

fn endpoints(directory: &TempDir, address: &str) {
    let text = format!(
        "apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata:\n  name: web-1\n  labels:\n    kubernetes.io/service-name: web\naddressType: IPv4\nports:\n- port: 8080\nendpoints:\n- addresses: [{address}]\n  conditions: {{ready: true}}\n"
    );
    fs::write(directory.path().join("slice.yaml"), text).unwrap();
}

fn served_endpoint(published: &Published) -> String {
    let table = published.table();
    let rule = table.route("shop.example", "/cart").expect("a rule");
    table.backend(rule.backend).endpoints.iter().map(|e| e.address.to_string()).collect()
}

#[tokio::test]
async fn an_edited_file_is_routed_at_once() {
    let directory = TempDir::new().unwrap();
    site(&directory, "10.0.0.1", 2100);
    let mut scene = Scene::start(ManifestDirectory::new(directory.path()), Arc::new(SystemClock));
    scene.step().await;
    assert!(scene.published.ready());
    assert_eq!(*scene.published.problems(), []);
    assert!(scene.published.reports().iter().all(ingress_core::report::ObjectReport::accepted));
    assert_eq!(served_endpoint(&scene.published), "10.0.0.1:8080");

    // The best of some, so that one hiccup of the machine does not decide.
    let mut best = Duration::MAX;
    for i in 2..12 {
        let begin = Instant::now();
        endpoints(&directory, &format!("10.0.0.{i}"));
        scene.step().await;
        best = best.min(begin.elapsed());
        assert_eq!(served_endpoint(&scene.published), format!("10.0.0.{i}:8080"));
    }
    assert!(best < Duration::from_millis(100), "{best:?}");

    // A bad edit is told, and what was last good serves on.
    let generation = scene.generation();
    fs::write(directory.path().join("ingress.yaml"), "kind: Ingress\nspec: [\n").unwrap();
    scene.step().await;
    assert_eq!(scene.published.problems().len(), 1);
    assert_eq!(scene.generation(), generation);
    assert_eq!(served_endpoint(&scene.published), "10.0.0.11:8080");
    scene.stop().await;
}

#[tokio::test]
async fn readiness_waits_for_the_whole_and_stays() {
    let (send, receive) = mpsc::unbounded_channel();
    let mut scene = Scene::start(Sent(receive), Arc::new(SystemClock));
    let problem = SourceProblem {
        file: "f".to_owned(),
        line: None,
        object: None,
        field: String::new(),
        severity: Severity::Refused,
        message: "away".to_owned(),
    };
    send.send(Batch { problems: vec![problem.clone()], ..Batch::default() }).unwrap();
    scene.step().await;
    assert!(!scene.published.ready());
    assert_eq!(*scene.published.problems(), [problem]);
    send.send(Batch { synced: true, ..Batch::default() }).unwrap();
    scene.step().await;
    assert!(scene.published.ready());
    assert_eq!(*scene.published.problems(), []);
    // The end of the source is not the end of what it gave.
    drop(send);
    tokio::task::yield_now().await;
    assert!(scene.published.ready());
    scene.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_certificate_expires_without_a_change() {
    let directory = TempDir::new().unwrap();
    site(&directory, "10.0.0.1", 2030);
    let changes: Vec<Change> = manifests::load(directory.path()).changes;
    let year = |year| u64::try_from(rcgen::date_time_ymd(year, 1, 1).unix_timestamp()).unwrap();
    let clock = Arc::new(SetClock(AtomicU64::new(year(2029))));
    let (send, receive) = mpsc::unbounded_channel();
    let mut scene = Scene::start(Sent(receive), Arc::clone(&clock) as Arc<dyn Clock>);
    send.send(Batch { changes, synced: true, ..Batch::default() }).unwrap();
    scene.step().await;
    assert!(scene.published.reports().iter().all(|report| report.findings.is_empty()));
    clock.0.store(year(2030) + 1, Ordering::SeqCst);
    tokio::time::timeout(Duration::from_mins(2), scene.batches.changed()).await.expect("a batch").unwrap();
    let reports = scene.published.reports();
    let reasons: Vec<_> = reports.iter().flat_map(|report| &report.findings).map(|f| f.reason).collect();
    assert_eq!(reasons, ["CertificateExpired", "CertificateExpired"]);
    scene.stop().await;
}

/// A source that gives Secrets on demand: it tells a test what is demanded, and gives what the test sends.
struct Demanding {
    batches: mpsc::UnboundedReceiver<Batch>,
    demands: mpsc::UnboundedSender<SecretDemand>,
}

impl ObjectSource for Demanding {
    const SECRETS_ON_DEMAND: bool = true;

    async fn next(&mut self) -> Option<Batch> {
        self.batches.recv().await
    }

    fn demand(&mut self, demand: SecretDemand) {
        drop(self.demands.send(demand));
    }
}

/// A site whose Secrets come on demand, served with its first one.
struct DemandScene {
    scene: Scene,
    batches: mpsc::UnboundedSender<Batch>,
    demands: mpsc::UnboundedReceiver<SecretDemand>,
    secret: Change,
    objects: Vec<Change>,
}

impl DemandScene {
    async fn start() -> Self {
        let directory = TempDir::new().unwrap();
        site(&directory, "10.0.0.1", 2100);
        let (secrets, objects): (Vec<_>, Vec<_>) = manifests::load(directory.path())
            .changes
            .into_iter()
            .partition(|change| change.key().kind == Kind::Secret);
        let (batches, receive) = mpsc::unbounded_channel();
        let (send, demands) = mpsc::unbounded_channel();
        let source = Demanding { batches: receive, demands: send };
        let scene = Scene::start(source, Arc::new(SystemClock));
        let secret = secrets.into_iter().next().unwrap();
        let mut scene = Self { scene, batches, demands, secret, objects };
        scene.send(scene.objects.clone());
        assert_eq!(scene.demanded().await.added, [NamespacedName::new("default", "shop")]);
        scene.send(vec![scene.secret.clone()]);
        scene.scene.step().await;
        assert!(scene.demanded().await.is_empty());
        assert!(scene.is_served());
        scene
    }

    fn send(&self, changes: Vec<Change>) {
        self.batches.send(Batch { changes, synced: true, ..Batch::default() }).unwrap();
    }

    async fn demanded(&mut self) -> SecretDemand {
        tokio::time::timeout(SOON, self.demands.recv()).await.expect("a demand").unwrap()
    }

    /// The Ingress, with another Secret.
    fn moved(&self, secret: &str) -> Change {
        let ingress = self.objects.iter().find_map(|change| match change {
            Change::Upsert(Object::Ingress(ingress)) => Some(ingress),
            _ => None,
        });
        let mut ingress = (**ingress.unwrap()).clone();
        let tls = ingress.spec.as_mut().unwrap().tls.as_mut().unwrap();
        tls[0].secret_name = Some(secret.to_owned());
        Change::Upsert(Object::Ingress(Arc::new(ingress)))
    }

    fn named(&self, name: &str) -> Change {
        let Change::Upsert(Object::Secret(secret)) = &self.secret else { panic!() };
        let mut secret = (**secret).clone();
        secret.metadata.name = Some(name.to_owned());
        Change::Upsert(Object::Secret(Arc::new(secret)))
    }

    fn is_served(&self) -> bool {
        let table = self.scene.published.table();
        table.route("shop.example", "/").expect("a rule").denied.is_none()
    }
}

#[tokio::test(start_paused = true)]
async fn a_host_keeps_its_certificate_until_the_next_one_is_read() {
    let mut scene = DemandScene::start().await;
    scene.send(vec![scene.moved("next")]);
    let demand = scene.demanded().await;
    assert_eq!(demand.added, [NamespacedName::new("default", "next")]);
    assert_eq!(demand.removed, [NamespacedName::new("default", "shop")]);
    // Another change meanwhile is held back too, and not lost.
    scene.send(vec![Change::Delete(ObjectKey { kind: Kind::Service, name: NamespacedName::new("x", "y") })]);
    assert!(scene.demanded().await.is_empty());
    assert!(!scene.scene.batches.has_changed().unwrap());
    scene.send(vec![scene.named("next")]);
    scene.scene.step().await;
    assert!(scene.is_served());
    let table = scene.scene.published.table();
    assert_eq!(&*table.identity(Some("shop.example")).unwrap().secret.name, "next");
    assert!(scene.scene.published.reports().iter().all(|report| report.findings.is_empty()));
}

#[tokio::test(start_paused = true)]
async fn a_secret_that_does_not_come_holds_nothing_up_for_long() {
    let mut scene = DemandScene::start().await;
    scene.send(vec![scene.moved("next")]);
    scene.demanded().await;
    let begin = tokio::time::Instant::now();
    scene.scene.step().await;
    assert!(begin.elapsed() < Duration::from_secs(1), "{:?}", begin.elapsed());
    assert!(!scene.is_served());
    // What is still not there is not waited for again.
    let begin = tokio::time::Instant::now();
    scene.send(Vec::new());
    scene.scene.step().await;
    assert_eq!(begin.elapsed(), Duration::ZERO);
    scene.send(vec![scene.named("next")]);
    scene.scene.step().await;
    assert!(scene.is_served());
}

#[tokio::test(start_paused = true)]
async fn a_missing_secret_is_an_answer() {
    let mut scene = DemandScene::start().await;
    for (name, withheld, reason) in [("a", false, "SecretNotFound"), ("b", true, "SecretForbidden")] {
        scene.send(vec![scene.moved(name)]);
        let name = scene.demanded().await.added.remove(0);
        let key = ObjectKey { kind: Kind::Secret, name };
        let answer = if withheld { Change::Withheld(key, "no".into()) } else { Change::Delete(key) };
        let begin = tokio::time::Instant::now();
        scene.send(vec![answer]);
        scene.scene.step().await;
        assert_eq!(begin.elapsed(), Duration::ZERO);
        assert!(!scene.is_served());
        let reports = scene.scene.published.reports();
        assert!(reports.iter().flat_map(|r| &r.findings).any(|finding| finding.reason == reason));
        scene.demanded().await;
    }
}
