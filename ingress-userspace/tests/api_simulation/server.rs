//! An API server as bad as one can be: it is slow, cuts connections, forgets old versions, answers with errors and garbage,
//! reports changes twice. What it never does is lie: what it says was true at the version that it names.
//!
//! ```text
//! log: (version, object or its end)…   list = the log up to a version, in pages   watch = the log after a version
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::{self, BoxStream, StreamExt as _};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper::body::Frame;
use hyper::header::ACCEPT;
use hyper::{Request, Response};
use kube::Client;
use kube::client::Body;
use penstock::sys::rng::{Rng as _, SplitMix64};
use serde_json::{Value, json};
use tokio::sync::Notify;
use tokio::time::Instant;
use tower::{BoxError, service_fn};

/// Kind (as in a path), namespace, name.
pub(crate) type Key = (String, String, String);
type Answer = Response<UnsyncBoxBody<Bytes, BoxError>>;

/// How often something goes wrong, of a hundred times.
#[derive(Clone, Copy, Default)]
pub(crate) struct Faults {
    /// A request is not answered, or with an error.
    pub(crate) requests: u64,
    /// A watch ends, breaks, repeats an event, sends garbage, or says that the version is gone.
    pub(crate) watches: u64,
    /// The longest time that anything takes, in milliseconds.
    pub(crate) delay: u64,
}

struct Entry {
    version: u64,
    key: Key,
    /// `None`: it was deleted.
    object: Option<Value>,
}

struct State {
    rng: SplitMix64,
    faults: Faults,
    log: Vec<Entry>,
    version: u64,
    /// Versions below are forgotten.
    compacted: u64,
    /// How often all watches were cut.
    cuts: u64,
    /// Kinds that may not be read.
    denied: BTreeSet<String>,
    /// The Secrets that were read.
    read: BTreeSet<String>,
    /// What was asked, and when, in milliseconds.
    asked: Vec<(u128, String)>,
    begin: Instant,
}

/// The server. Clones are the same server.
#[derive(Clone)]
pub(crate) struct Server {
    state: Arc<Mutex<State>>,
    /// There is something new for watches. A `watch` channel would wake them in random order.
    changed: Arc<Notify>,
}

impl Server {
    pub(crate) fn new(seed: u64, faults: Faults) -> Self {
        let state = State {
            rng: SplitMix64::from_seed(seed),
            faults,
            log: Vec::new(),
            version: 1,
            compacted: 0,
            cuts: 0,
            denied: BTreeSet::new(),
            read: BTreeSet::new(),
            asked: Vec::new(),
            begin: Instant::now(),
        };
        Self { state: Arc::new(Mutex::new(state)), changed: Arc::default() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    pub(crate) fn draw(&self, bound: u64) -> u64 {
        self.state().rng.next_u64() % bound
    }

    /// Writes an object, or deletes it.
    pub(crate) fn write(&self, key: &Key, object: Option<Value>) {
        let mut state = self.state();
        if object.is_none() && !state.current().contains_key(key) {
            return;
        }
        state.version += 1;
        let version = state.version;
        let object = object.map(|mut object| {
            object["metadata"]["name"] = json!(key.2);
            if !key.1.is_empty() {
                object["metadata"]["namespace"] = json!(key.1);
            }
            object["metadata"]["resourceVersion"] = json!(version.to_string());
            object["metadata"]["annotations"]["kubectl.kubernetes.io/last-applied-configuration"] =
                json!("x");
            object
        });
        state.log.push(Entry { version, key: key.clone(), object });
        self.changed.notify_waiters();
    }

    /// Forgets all versions but the latest.
    pub(crate) fn compact(&self) {
        let mut state = self.state();
        state.compacted = state.version;
    }

    /// Cuts all watches, as a server that restarts.
    pub(crate) fn restart(&self) {
        self.state().cuts += 1;
        self.changed.notify_waiters();
    }

    pub(crate) fn set_faults(&self, faults: Faults) {
        self.state().faults = faults;
    }

    /// Who may not read this kind any more, or may again.
    pub(crate) fn deny(&self, kind: &str, denied: bool) {
        let mut state = self.state();
        if denied {
            state.denied.insert(kind.to_owned());
        } else {
            state.denied.clear();
        }
    }

    /// All objects there are.
    pub(crate) fn objects(&self) -> BTreeMap<Key, Value> {
        self.state().current().into_iter().map(|(key, object)| (key.clone(), object.clone())).collect()
    }

    /// The Secrets that were read, as `namespace/name`.
    pub(crate) fn secrets_read(&self) -> BTreeSet<String> {
        self.state().read.clone()
    }

    /// What was asked, and when.
    pub(crate) fn asked(&self) -> Vec<(u128, String)> {
        self.state().asked.clone()
    }

    pub(crate) fn client(&self) -> Client {
        let server = self.clone();
        let service = service_fn(move |request: Request<Body>| {
            let server = server.clone();
            let request = request.map(drop);
            async move { server.answer(request).await }
        });
        Client::new(service, "default")
    }

    async fn answer(&self, request: Request<()>) -> Result<Answer, BoxError> {
        let asked = (self.state().begin.elapsed().as_millis(), request.uri().to_string());
        self.state().asked.push(asked);
        self.delay().await;
        if self.draw(100) < self.state().faults.requests {
            return match self.draw(5) {
                0 => Ok(refuse(500, "etcd is away")),
                1 => Ok(refuse(429, "too many requests")),
                2 => Ok(text("<html>not what you think</html>".to_owned())),
                _ => Err("connection reset".into()),
            };
        }
        let path = Path::parse(request.uri().path());
        let query: BTreeMap<_, _> = request
            .uri()
            .query()
            .unwrap_or_default()
            .split('&')
            .filter_map(|pair| pair.split_once('='))
            .collect();
        let accept = request.headers().get(ACCEPT).map_or("", |accept| accept.to_str().unwrap());
        let slim = accept.contains("PartialObjectMetadata");
        let listed = format!("{} as a list", path.kind);
        let is_denied = |kind: &String| *kind == path.kind || (path.name.is_none() && *kind == listed);
        if self.state().denied.iter().any(is_denied) {
            return Ok(refuse(403, &format!("{} is forbidden", path.kind)));
        }
        if path.kind == "secrets" && path.name.is_none() {
            assert!(slim, "Secrets are listed with what is in them");
        }
        let answer = match (path.name.clone(), query.get("watch")) {
            (Some(name), _) => self.get(&(path.kind, path.namespace.unwrap_or_default(), name)),
            (None, Some(_)) => self.watch(path, query["resourceVersion"].parse()?, slim),
            (None, None) => self.list(&path, &query, slim),
        };
        // What it says may have changed by the time it arrives.
        self.delay().await;
        Ok(answer)
    }

    async fn delay(&self) {
        let delay = self.state().faults.delay;
        if delay > 0 {
            let delay = self.draw(delay);
            tokio::time::sleep(Duration::from_millis(delay)).await;
        }
    }

    fn get(&self, key: &Key) -> Answer {
        let mut state = self.state();
        state.read.insert(format!("{}/{}", key.1, key.2));
        match state.current().get(key) {
            Some(object) => text(object.to_string()),
            None => refuse(404, "not found"),
        }
    }

    fn list(&self, path: &Path, query: &BTreeMap<&str, &str>, slim: bool) -> Answer {
        let state = self.state();
        let limit: usize = query["limit"].parse().unwrap();
        // The pages are small, so that there are several.
        let limit = limit.min(3);
        let token = query.get("continue").map(|token| token.split_once('.').unwrap());
        let (version, offset) = token.map_or((state.version, 0), |(version, offset)| {
            (version.parse().unwrap(), offset.parse().unwrap())
        });
        if version < state.compacted {
            return refuse(410, "the continue token is too old");
        }
        let all = state.at(version);
        let all: Vec<_> = all.into_iter().filter(|(key, _)| path.holds(key)).collect();
        let items: Vec<Value> = all.iter().skip(offset).take(limit).map(|(_, o)| shown(o, slim)).collect();
        let next = offset + limit;
        let token = if next < all.len() { format!("{version}.{next}") } else { String::new() };
        text(
            json!({"metadata": {"resourceVersion": version.to_string(), "continue": token}, "items": items})
                .to_string(),
        )
    }

    fn watch(&self, path: Path, from: u64, slim: bool) -> Answer {
        if from < self.state().compacted {
            return match self.draw(2) {
                0 => refuse(410, "too old resource version"),
                _ => text(format!("{}\n", json!({"type": "ERROR", "object": status(410, "too old")}))),
            };
        }
        let cuts = self.state().cuts;
        let watch = OpenWatch { server: self.clone(), cuts, path, from, slim, repeat: None, over: false };
        let parts: BoxStream<'static, Result<Frame<Bytes>, BoxError>> =
            stream::unfold(watch, |mut watch| async {
                let part = watch.next().await?;
                Some((part.map(|text| Frame::data(Bytes::from(text))), watch))
            })
            .boxed();
        Response::new(StreamBody::new(parts).boxed_unsync())
    }
}

impl State {
    fn at(&self, version: u64) -> BTreeMap<&Key, &Value> {
        let mut objects = BTreeMap::new();
        for entry in self.log.iter().take_while(|entry| entry.version <= version) {
            match &entry.object {
                Some(object) => drop(objects.insert(&entry.key, object)),
                None => drop(objects.remove(&entry.key)),
            }
        }
        objects
    }

    fn current(&self) -> BTreeMap<&Key, &Value> {
        self.at(u64::MAX)
    }
}

/// A watch that somebody reads.
struct OpenWatch {
    server: Server,
    cuts: u64,
    path: Path,
    from: u64,
    slim: bool,
    repeat: Option<String>,
    over: bool,
}

impl OpenWatch {
    /// The next part of the answer: lines, halves of them, an error, or the end.
    async fn next(&mut self) -> Option<Result<String, BoxError>> {
        if self.over {
            return None;
        }
        let changed = Arc::clone(&self.server.changed);
        loop {
            self.server.delay().await;
            if self.server.state().cuts != self.cuts {
                self.over = true;
                return Some(Err("connection reset".into()));
            }
            if self.server.draw(100) < self.server.state().faults.watches {
                return self.go_wrong();
            }
            if let Some(line) = self.line() {
                return Some(Ok(line));
            }
            // Nobody writes between the look and the wait: there is one thread, and no await between.
            changed.notified().await;
        }
    }

    fn go_wrong(&mut self) -> Option<Result<String, BoxError>> {
        if let Some(line) = self.repeat.clone()
            && self.server.draw(3) == 0
        {
            return Some(Ok(line));
        }
        self.over = true;
        match self.server.draw(6) {
            0 => None,
            1 => Some(Err("connection reset".into())),
            2 => Some(Ok("{\"type\":\"ADDED\",\"obj".to_owned())),
            3 => Some(Ok("garbage\n".to_owned())),
            4 => Some(Ok(format!("{}\n", json!({"type": "ERROR", "object": status(410, "too old")})))),
            _ => Some(Ok(format!("{}\n", json!({"type": "ERROR", "object": status(500, "unlucky")})))),
        }
    }

    /// The next event, if there is one.
    fn line(&mut self) -> Option<String> {
        let state = self.server.state();
        let is_next = |entry: &&Entry| entry.version > self.from && self.path.holds(&entry.key);
        let entry = state.log.iter().find(is_next)?;
        let before = state.at(entry.version - 1).get(&entry.key).copied();
        let (kind, object) = match (&entry.object, before) {
            (Some(object), None) => ("ADDED", object.clone()),
            (Some(object), Some(_)) => ("MODIFIED", object.clone()),
            (None, before) => {
                let mut object = before.unwrap().clone();
                object["metadata"]["resourceVersion"] = json!(entry.version.to_string());
                ("DELETED", object)
            }
        };
        self.from = entry.version;
        let line = format!("{}\n", json!({"type": kind, "object": shown(&object, self.slim)}));
        self.repeat = Some(line.clone());
        Some(line)
    }
}

/// What a path names.
#[derive(Clone)]
struct Path {
    kind: String,
    namespace: Option<String>,
    name: Option<String>,
}

impl Path {
    fn parse(path: &str) -> Self {
        let parts: Vec<&str> = path.trim_matches('/').split('/').collect();
        let rest = if parts[0] == "api" { &parts[2..] } else { &parts[3..] };
        let (namespace, rest) = match rest {
            ["namespaces", namespace, rest @ ..] => (Some((*namespace).to_owned()), rest),
            rest => (None, rest),
        };
        Self { kind: rest[0].to_owned(), namespace, name: rest.get(1).map(|name| (*name).to_owned()) }
    }

    fn holds(&self, (kind, namespace, _): &Key) -> bool {
        *kind == self.kind && self.namespace.as_ref().is_none_or(|own| own == namespace)
    }
}

fn shown(object: &Value, slim: bool) -> Value {
    if slim { json!({"metadata": object["metadata"]}) } else { object.clone() }
}

fn status(code: u16, message: &str) -> Value {
    json!({"kind": "Status", "status": "Failure", "code": code, "message": message, "reason": "x"})
}

fn refuse(code: u16, message: &str) -> Answer {
    let mut answer = text(status(code, message).to_string());
    *answer.status_mut() = code.try_into().unwrap();
    answer
}

fn text(text: String) -> Answer {
    Response::new(Full::new(Bytes::from(text)).map_err(|never| match never {}).boxed_unsync())
}
