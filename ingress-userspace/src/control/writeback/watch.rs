//! The leader's own watch of what it writes to.

use std::fmt::Debug;
use std::sync::Arc;

use futures_util::StreamExt as _;
use ingress_core::objects::{Kind, NamespacedName, ObjectKey};
use kube::api::{Api, DynamicObject};
use kube::runtime::WatchStreamExt as _;
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Resource, ResourceExt as _};
use serde::de::DeserializeOwned;
use tokio::sync::mpsc;

use super::inventory::{Held, News, Scope};
use super::shell::{IngressShell, api_resource, condition_held};

/// Objects are listed in pages of this size: a page of Ingresses is read at once, with all that is dropped of them.
const PAGE: u32 = 100;

/// Watches one scope and tells its news until nobody listens any more.
pub(super) async fn watch(client: kube::Client, scope: Scope, manager: Arc<str>, news: mpsc::Sender<News>) {
    if scope.kind == Kind::Ingress {
        let api: Api<IngressShell> = match &scope.namespace {
            Some(namespace) => Api::namespaced(client, namespace),
            None => Api::all(client),
        };
        follow(api, scope, &news, |ingress| ingress.held(&manager)).await;
    } else {
        let (resource, _) = api_resource(scope.kind);
        let api: Api<DynamicObject> = match &scope.namespace {
            Some(namespace) => Api::namespaced_with(client, namespace, &resource),
            None => Api::all_with(client, &resource),
        };
        follow(api, scope, &news, |object| condition_held(object, &manager)).await;
    }
}

async fn follow<K>(api: Api<K>, scope: Scope, news: &mpsc::Sender<News>, held: impl Fn(&K) -> Held)
where
    K: Resource + Clone + Debug + DeserializeOwned + Send + 'static,
{
    let resource = api_resource(scope.kind).0.plural;
    let mut trouble = Trouble::new(resource);
    let mut events = watcher(api, watcher::Config::default().page_size(PAGE)).default_backoff().boxed();
    while let Some(event) = events.next().await {
        let told = match event {
            Ok(Event::Init) => News::Restarted(scope.clone()),
            Ok(Event::InitDone) => News::Complete(scope.clone()),
            Ok(Event::InitApply(object) | Event::Apply(object)) => {
                News::Seen(key(scope.kind, &object), held(&object))
            }
            Ok(Event::Delete(object)) => News::Gone(key(scope.kind, &object)),
            Err(error) => {
                trouble.tell(&error);
                continue;
            }
        };
        // That a list begins does not say that anything answers.
        if !matches!(told, News::Restarted(_)) {
            trouble.over();
        }
        if news.send(told).await.is_err() {
            return;
        }
    }
}

fn key<K: Resource>(kind: Kind, object: &K) -> ObjectKey {
    let namespace = object.namespace().unwrap_or_default();
    ObjectKey { kind, name: NamespacedName::new(namespace, object.name_any()) }
}

/// Tells the log that a watch does not work, once per reason.
pub(super) struct Trouble {
    resource: String,
    told: Option<String>,
}

impl Trouble {
    pub(super) fn new(resource: impl Into<String>) -> Self {
        Self { resource: resource.into(), told: None }
    }

    pub(super) fn tell(&mut self, error: &watcher::Error) {
        let resource = &self.resource;
        let verb = if matches!(error, watcher::Error::InitialListFailed(_)) { "list" } else { "watch" };
        let text = match api_status(error) {
            Some(status) if status.is_forbidden() => {
                format!(
                    "forbidden: {}; the ServiceAccount needs the verb {verb} on {resource}",
                    status.message
                )
            }
            // Too old a version: the watch begins again by itself. And a kind that is not installed needs no status.
            Some(status) if matches!(status.code, 404 | 410) => return,
            Some(status) => status.message.clone(),
            None => error.to_string(),
        };
        if self.told.as_ref() != Some(&text) {
            tracing::warn!("{resource} cannot be watched to write their status: {text}");
            self.told = Some(text);
        }
    }

    pub(super) fn over(&mut self) {
        if self.told.take().is_some() {
            tracing::info!("{} are watched again to write their status", self.resource);
        }
    }
}

fn api_status(error: &watcher::Error) -> Option<&kube::core::Status> {
    match error {
        watcher::Error::InitialListFailed(kube::Error::Api(status))
        | watcher::Error::WatchStartFailed(kube::Error::Api(status))
        | watcher::Error::WatchFailed(kube::Error::Api(status))
        | watcher::Error::WatchError(status) => Some(status),
        _ => None,
    }
}
