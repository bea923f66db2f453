//! One kind, in one namespace or in all: listed page by page, then watched, for ever.
//!
//! ```text
//!          ┌────────────── 410 Gone, or what was received makes no sense ──────────────┐
//!          ▼                                                                           │
//! Start ─Listing─► Page ─Page…─► Complete ─Listed─► Ready ─Watching─► Watching ─Changed, Deleted…
//!   ▲               │ failed                          ▲                  │ ended, or the connection broke
//!   └─── wait ──────┘                                 └────── wait ──────┘
//! ```
//!
//! This is kube's watcher with three differences: it says when a watch stands again after it broke, which can be long before
//! anything changes; an object that cannot be read does not hide the others; and no page or line is larger than a bound.

use std::borrow::Cow;
use std::mem;
use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::{self, BoxStream, StreamExt as _};
use ingress_core::objects::NamespacedName;
use kube::Client;
use kube::api::{ListParams, WatchParams};
use kube::core::Request;
use kube::core::Status;
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::time::Instant;

use super::pace::Pace;
use super::resource::{Item, Resource};
use super::rest::{Failure, Lines, fetch};

/// Objects per page, as client-go has it. It is made smaller if a page of this many is too large.
const PAGE: u32 = 500;
/// The largest page.
const MAX_PAGE: usize = 16 << 20;
/// The largest event. etcd takes 1.5 MiB, in a form that is denser than JSON.
const MAX_EVENT: usize = 16 << 20;
/// How long the API server is asked to keep a watch open: as kube has it, and less than most load balancers allow. All
/// watches begin together, so they must not all end together.
const WATCH: Duration = Duration::from_secs(290);
/// What is given on top until a watch that does not end is given up.
const GRACE: Duration = Duration::from_secs(10);
/// A watch that held this long was a good one: the next failure is the first one.
const STABLE: Duration = Duration::from_secs(10);

/// What happens to a watch.
pub(super) enum Event {
    /// A list begins.
    Listing,
    /// Some objects of the list.
    Page(Vec<Item>),
    /// The list is complete: what was not in it does not exist.
    Listed,
    /// Changes are reported from now on.
    Watching,
    /// An object was made or changed.
    Changed(Item),
    /// An object is gone.
    Deleted(NamespacedName),
    /// The API server says that nothing happened.
    Progress,
    /// The watch ended, and is begun again.
    Interrupted,
    /// What this verb names did not work, and is tried again.
    Failed(&'static str, Failure),
}

/// A watch of one kind.
pub(super) struct Watch {
    client: Client,
    resource: Resource,
    namespace: Option<Arc<str>>,
    page: u32,
    state: State,
    pace: Pace,
}

#[derive(Default)]
enum State {
    #[default]
    Start,
    /// The page with this token is next.
    Page(Option<String>),
    /// All pages are given out.
    Complete {
        version: String,
    },
    /// A watch can begin.
    Ready {
        version: String,
    },
    Watching {
        version: String,
        since: Instant,
        lines: Box<Lines>,
    },
}

#[derive(Deserialize)]
struct List<'j> {
    metadata: ListMeta,
    #[serde(borrow, default)]
    items: Option<Vec<&'j RawValue>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ListMeta {
    #[serde(default)]
    resource_version: String,
    #[serde(default, rename = "continue")]
    continue_: String,
}

#[derive(Deserialize)]
struct Line<'j> {
    #[serde(borrow, rename = "type")]
    kind: Cow<'j, str>,
    #[serde(borrow)]
    object: &'j RawValue,
}

#[derive(Deserialize)]
struct Bookmark {
    metadata: ListMeta,
}

impl Watch {
    pub(super) fn new(client: Client, resource: Resource, namespace: Option<Arc<str>>, pace: Pace) -> Self {
        Self { client, resource, namespace, page: PAGE, state: State::default(), pace }
    }

    /// All that happens, for ever. Work is done when an event is asked for.
    pub(super) fn into_stream(self) -> BoxStream<'static, Event> {
        let next = |mut watch: Self| async move { Some((watch.next().await, watch)) };
        stream::unfold(self, next).boxed()
    }

    async fn next(&mut self) -> Event {
        match mem::take(&mut self.state) {
            State::Start => {
                self.pace.wait().await;
                self.state = State::Page(None);
                Event::Listing
            }
            State::Page(token) => self.list(token).await,
            State::Complete { version } => {
                self.state = State::Ready { version };
                Event::Listed
            }
            State::Ready { version } => self.watch(version).await,
            State::Watching { version, since, lines } => self.receive(version, since, lines).await,
        }
    }

    fn request(&self) -> Request {
        Request::new((self.resource.path)(self.namespace.as_deref()))
    }

    /// Gets a page.
    async fn list(&mut self, token: Option<String>) -> Event {
        let page = match self.fetch_page(token).await {
            Ok(page) => page,
            Err(failure) => return self.fail("list", failure),
        };
        let Some((items, meta)) = self.read_page(&page) else {
            return self.fail("list", Failure::Unreadable("it is no list of objects"));
        };
        self.state = match (meta.continue_, meta.resource_version) {
            (token, _) if !token.is_empty() => State::Page(Some(token)),
            (_, version) if !version.is_empty() => State::Complete { version },
            _ => return self.fail("list", Failure::Unreadable("the list has no resourceVersion")),
        };
        self.pace.answered();
        Event::Page(items)
    }

    async fn fetch_page(&mut self, token: Option<String>) -> Result<Vec<u8>, Failure> {
        let mut params = ListParams { continue_token: token, ..ListParams::default() };
        loop {
            params.limit = Some(self.page);
            let request = self.request();
            let request = if self.resource.metadata_only {
                request.list_metadata(&params)
            } else {
                request.list(&params)
            };
            let request = request.map_err(|_| Failure::Unreadable("the request cannot be made"))?;
            match fetch(&self.client, request, MAX_PAGE).await {
                // Objects may be large, then there are fewer to a page.
                Err(Failure::TooLarge) if self.page > 1 => self.page = (self.page / 4).max(1),
                fetched => return fetched,
            }
        }
    }

    fn read_page(&self, page: &[u8]) -> Option<(Vec<Item>, ListMeta)> {
        let list: List<'_> = serde_json::from_slice(page).ok()?;
        let items = list.items.unwrap_or_default().into_iter();
        let items = items.map(|item| (self.resource.decode)(item.get())).collect::<Option<_>>()?;
        Some((items, list.metadata))
    }

    /// Begins a watch.
    async fn watch(&mut self, version: String) -> Event {
        self.pace.wait().await;
        let params = WatchParams::default().timeout(self.pace.jitter(WATCH).as_secs() as u32);
        let request = self.request();
        let request = if self.resource.metadata_only {
            request.watch_metadata(&params, &version)
        } else {
            request.watch(&params, &version)
        };
        let Ok(request) = request else {
            return self.fail("watch", Failure::Unreadable("the request cannot be made"));
        };
        match Lines::ask(&self.client, request, WATCH + GRACE, MAX_EVENT).await {
            Ok(lines) => {
                self.pace.answered();
                self.state = State::Watching { version, since: Instant::now(), lines: Box::new(lines) };
                Event::Watching
            }
            Err(failure) => {
                // What is not about the network, the load or our rights is about the version.
                if matches!(failure.code(), None | Some(401 | 403 | 429 | 500..)) {
                    self.state = State::Ready { version };
                }
                self.fail("watch", failure)
            }
        }
    }

    /// Receives what happens next.
    async fn receive(&mut self, version: String, since: Instant, mut lines: Box<Lines>) -> Event {
        let line = match lines.next().await {
            Ok(Some(line)) => line,
            Ok(None) | Err(Failure::Unreachable(_)) => return self.end(version, since),
            Err(failure) => return self.fail_after(since, failure),
        };
        let Some((event, version)) = self.read_line(&line, version) else {
            return self.fail_after(since, Failure::Unreadable("it is no event of a watch"));
        };
        match event {
            Ok(event) => {
                self.state = State::Watching { version, since, lines };
                event
            }
            Err(failure) => {
                if failure.code() != Some(410) {
                    self.state = State::Ready { version };
                }
                self.fail_after(since, failure)
            }
        }
    }

    /// Reads an event, and the version to go on from.
    fn read_line(&self, line: &[u8], version: String) -> Option<(Result<Event, Failure>, String)> {
        let Line { kind, object } = serde_json::from_slice(line).ok()?;
        let object = object.get();
        Some(match &*kind {
            "BOOKMARK" => {
                let bookmark: Bookmark = serde_json::from_str(object).ok()?;
                (Ok(Event::Progress), bookmark.metadata.resource_version)
            }
            "ERROR" => {
                let status: Status = serde_json::from_str(object).ok()?;
                let message = crate::text::plain(&status.message, 300);
                (Err(Failure::Refused { code: status.code, message }), version)
            }
            "ADDED" | "MODIFIED" => {
                let item = (self.resource.decode)(object).filter(|item| !item.version.is_empty())?;
                let version = item.version.clone();
                (Ok(Event::Changed(item)), version)
            }
            "DELETED" => {
                let item = (self.resource.decode)(object).filter(|item| !item.version.is_empty())?;
                (Ok(Event::Deleted(item.name)), item.version)
            }
            _ => return None,
        })
    }

    /// A watch ended: by its own time, or because the connection broke.
    fn end(&mut self, version: String, since: Instant) -> Event {
        self.state = State::Ready { version };
        self.pace.broken();
        if since.elapsed() >= STABLE {
            self.pace.reset();
        }
        Event::Interrupted
    }

    /// A watch failed.
    fn fail_after(&mut self, since: Instant, failure: Failure) -> Event {
        if since.elapsed() >= STABLE {
            self.pace.reset();
        }
        self.fail("watch", failure)
    }

    /// Waits before it goes on from the state that is set; from the start if none is.
    fn fail(&mut self, verb: &'static str, failure: Failure) -> Event {
        self.pace.failed(&failure);
        match failure.code() {
            // Nothing is wrong: we were away for too long, or the list took too long.
            Some(410) => Event::Interrupted,
            _ => Event::Failed(verb, failure),
        }
    }
}
