//! One object by its name: read, written, and when it changes.
//!
//! kube's own requests log an answer that they cannot parse, and an answer may be a Secret (law 6): what is asked for here is read by
//! [`rest`](crate::control::api::rest), and of the watch only metadata.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::BoxStream;
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{Api, GetParams, PostParams};
use kube::core::{PartialObjectMeta, Request};
use kube::runtime::WatchStreamExt as _;
use kube::runtime::watcher::{self, watcher};
use kube::{Client, Resource};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::MANAGED_BY;
use crate::control::api::rest::{Failure, fetch};

/// The largest answer: an object has at most 1.5 MiB, which base64 and JSON make larger.
const MAX_ANSWER: usize = 4 << 20;
/// How often the object is read although nothing is heard of it: for a watch that is not allowed.
const RECHECK: Duration = Duration::from_mins(1);

/// An object's name, and how to reach it.
pub(super) struct Named {
    client: Client,
    namespace: String,
    name: &'static str,
}

impl Named {
    pub(super) fn new(client: &Client, namespace: &str, name: &'static str) -> Self {
        Self { client: client.clone(), namespace: namespace.to_owned(), name }
    }

    /// What messages call it.
    pub(super) fn title<K: Resource<DynamicType = ()>>(&self) -> String {
        format!("{} {}/{}", K::kind(&()), self.namespace, self.name)
    }

    /// What the metadata of a new one is.
    pub(super) fn metadata(&self) -> ObjectMeta {
        let (label, value) = MANAGED_BY;
        ObjectMeta {
            name: Some(self.name.to_owned()),
            namespace: Some(self.namespace.clone()),
            labels: Some(BTreeMap::from([(label.to_owned(), value.to_owned())])),
            ..ObjectMeta::default()
        }
    }

    /// The object as it is now; `None` if there is none.
    pub(super) async fn get<K>(&self) -> Result<Option<K>, Failure>
    where
        K: Resource<DynamicType = ()> + DeserializeOwned,
    {
        let request = self.requests::<K>().get(self.name, &GetParams::default());
        match self.send(request).await {
            Err(failure) if failure.code() == Some(404) => Ok(None),
            answer => answer.map(Some),
        }
    }

    /// Writes the object: in place of the version in its metadata, or as a new one if it has none. That another was faster is a
    /// failure with the code 409.
    pub(super) async fn put<K>(&self, object: &K) -> Result<(), Failure>
    where
        K: Resource<DynamicType = ()> + DeserializeOwned + Serialize,
    {
        let bytes =
            serde_json::to_vec(object).map_err(|_| Failure::Unreadable("the object cannot be written"))?;
        let (requests, params) = (self.requests::<K>(), PostParams::default());
        let request = match object.meta().resource_version {
            Some(_) => requests.replace(self.name, &params, bytes),
            None => requests.create(&params, bytes),
        };
        self.send::<K>(request).await.map(drop)
    }

    fn requests<K: Resource<DynamicType = ()>>(&self) -> Request {
        Request::new(K::url_path(&(), Some(&self.namespace)))
    }

    async fn send<K: DeserializeOwned>(
        &self,
        request: Result<hyper::Request<Vec<u8>>, kube::core::request::Error>,
    ) -> Result<K, Failure> {
        let request = request.map_err(|_| Failure::Unreadable("the request cannot be made"))?;
        let answer = fetch(&self.client, request, MAX_ANSWER).await?;
        // The error would quote what stands there.
        serde_json::from_slice(&answer).map_err(|_| Failure::Unreadable("it is no object of this kind"))
    }

    /// Whenever the object may have changed, for ever.
    pub(super) fn changes<K>(&self) -> BoxStream<'static, ()>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
            + Clone
            + Debug
            + DeserializeOwned
            + Send
            + 'static,
    {
        let api: Api<PartialObjectMeta<K>> = Api::namespaced(self.client.clone(), &self.namespace);
        let only = watcher::Config::default().fields(&format!("metadata.name={}", self.name));
        let events = watcher(api, only).default_backoff().filter_map(async |event| event.ok().map(drop));
        let rechecks = futures_util::stream::unfold((), async |()| {
            tokio::time::sleep(RECHECK).await;
            Some(((), ()))
        });
        futures_util::stream::select(events, rechecks).boxed()
    }
}
