//! Status and Events in the API server.

use std::time::Duration;

use ingress_core::objects::{Kind, NamespacedName};
use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::api::events::v1::Event as ApiEvent;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, ObjectMeta};
use kube::api::{Api, DynamicObject, ListParams, Patch, PatchParams, PostParams};
use serde_json::{Value, json};

use super::address::Address;
use super::api_error;
use super::event::{Event, api_version};
use super::shell::{IngressShell, api_resource, condition_held};
use super::sink::{Permission, StatusSink, ToldEvent, Write, WriteError, Written};
use super::time::{epoch, micro_time};

/// What Events call the controller; all replicas share it.
const REPORTER: &str = "penstock.dev/ingress-controller";
/// What Events say that was done.
const ACTION: &str = "Translate";
/// Pages in which Events are listed, and how many are read at most.
const PAGE: u32 = 500;
const MOST_EVENTS: usize = 10_000;

const INGRESS_STATUS: Permission =
    Permission { verb: "patch", group: "networking.k8s.io", resource: "ingresses/status" };

const fn events(verb: &'static str) -> Permission {
    Permission { verb, group: "events.k8s.io", resource: "events" }
}

/// The API server, by server-side apply for statuses, and by plain writes for Events.
pub struct ApiSink {
    client: kube::Client,
    /// The field manager for server-side apply.
    manager: String,
    /// What Events call this replica.
    instance: String,
    /// The namespaces that may be read; none stands for all.
    namespaces: Vec<String>,
}

impl ApiSink {
    /// Writes as this field manager; Events name this replica. `namespaces` are those that may be read; none stands for
    /// all.
    pub fn new(client: kube::Client, manager: String, instance: String, namespaces: Vec<String>) -> Self {
        Self { client, manager, instance, namespaces }
    }

    /// What others wrote to the fields is replaced: an Ingress of ours has our addresses.
    fn apply(&self) -> PatchParams {
        PatchParams::apply(&self.manager).force()
    }

    async fn addresses(
        &self,
        ingress: &NamespacedName,
        uid: &str,
        addresses: &[Address],
    ) -> Result<Written, WriteError> {
        let entries: Vec<_> = addresses.iter().map(Address::entry).collect();
        let status = (!entries.is_empty()).then(|| json!({"loadBalancer": {"ingress": entries}}));
        let patch = document(Kind::Ingress, ingress, uid, status);
        let api: Api<IngressShell> = Api::namespaced(self.client.clone(), &ingress.namespace);
        let written = api.patch_status(&ingress.name, &self.apply(), &Patch::Apply(&patch)).await;
        let shell = written.map_err(|error| api_error::read(error, INGRESS_STATUS))?;
        Ok(Written::Status(shell.held(&self.manager)))
    }

    async fn condition(
        &self,
        kind: Kind,
        name: &NamespacedName,
        uid: &str,
        condition: Option<&Condition>,
    ) -> Result<Written, WriteError> {
        let (resource, permission) = api_resource(kind);
        let status = condition.map(|condition| {
            json!({"conditions": [condition], "observedGeneration": condition.observed_generation})
        });
        let patch = document(kind, name, uid, status);
        let api: Api<DynamicObject> = match &*name.namespace {
            "" => Api::all_with(self.client.clone(), &resource),
            namespace => Api::namespaced_with(self.client.clone(), namespace, &resource),
        };
        let written = api.patch_status(&name.name, &self.apply(), &Patch::Apply(&patch)).await;
        let object = written.map_err(|error| api_error::read(error, permission))?;
        Ok(Written::Status(condition_held(&object, &self.manager)))
    }

    async fn event(&self, event: &Event) -> Result<Written, WriteError> {
        let api: Api<ApiEvent> = Api::namespaced(self.client.clone(), event.namespace());
        match api.create(&PostParams::default(), &self.new_event(event)).await {
            Ok(_) => return Ok(Written::EventCreated),
            Err(kube::Error::Api(status)) if status.is_already_exists() => {}
            Err(error) => return Err(api_error::read(error, events("create"))),
        }
        let name = event.name();
        let there = api.get(&name).await.map_err(|error| api_error::read(error, events("get")))?;
        let ago = event.at.saturating_sub(last_told(&there));
        if ago < event.quiet {
            return Ok(Written::EventStands(ago));
        }
        // The API counts from two on: the first time is the Event itself.
        let count = there.series.as_ref().map_or(2, |series| series.count.saturating_add(1));
        let patch = json!({
            "metadata": {"resourceVersion": there.metadata.resource_version},
            "series": {"count": count, "lastObservedTime": micro_time(event.at)},
        });
        let patched = api.patch(&name, &PatchParams::default(), &Patch::Merge(&patch)).await;
        patched.map_err(|error| api_error::read(error, events("patch")))?;
        Ok(Written::EventCounted)
    }

    fn new_event(&self, event: &Event) -> ApiEvent {
        let text = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
        let name = &event.object.name;
        ApiEvent {
            metadata: ObjectMeta {
                name: Some(event.name()),
                namespace: text(event.namespace()),
                ..ObjectMeta::default()
            },
            event_time: micro_time(event.at),
            reporting_controller: text(REPORTER),
            reporting_instance: text(&self.instance),
            action: text(ACTION),
            type_: text(if event.warning { "Warning" } else { "Normal" }),
            reason: text(event.reason),
            note: text(&event.note),
            regarding: Some(ObjectReference {
                api_version: text(api_version(event.object.kind)),
                kind: text(event.object.kind.as_str()),
                namespace: text(&name.namespace),
                name: text(&name.name),
                uid: text(&event.uid),
                field_path: text(&event.field),
                resource_version: None,
            }),
            ..ApiEvent::default()
        }
    }
}

impl StatusSink for ApiSink {
    async fn write(&self, write: &Write) -> Result<Written, WriteError> {
        match write {
            Write::Addresses { ingress, uid, addresses } => self.addresses(ingress, uid, addresses).await,
            Write::Condition { kind, name, uid, condition } => {
                self.condition(*kind, name, uid, condition.as_ref()).await
            }
            Write::Event(event) => self.event(event).await,
        }
    }

    async fn events(&self) -> Result<Vec<ToldEvent>, WriteError> {
        let mut apis: Vec<Api<ApiEvent>> =
            self.namespaces.iter().map(|namespace| Api::namespaced(self.client.clone(), namespace)).collect();
        if apis.is_empty() {
            apis.push(Api::all(self.client.clone()));
        }
        let mut told = Vec::new();
        for api in apis {
            let selector = format!("reportingController={REPORTER}");
            let mut params = ListParams::default().fields(&selector).limit(PAGE);
            while told.len() < MOST_EVENTS {
                let page = api.list(&params).await.map_err(|error| api_error::read(error, events("list")))?;
                told.extend(page.items.iter().filter_map(told_event));
                params.continue_token = page.metadata.continue_.filter(|token| !token.is_empty());
                if params.continue_token.is_none() {
                    break;
                }
            }
        }
        Ok(told)
    }
}

/// What is applied: the uid is there so that another object of the name is left alone. Without a status, all that is ours
/// of it is given up.
fn document(kind: Kind, name: &NamespacedName, uid: &str, status: Option<Value>) -> Value {
    let mut metadata = json!({"name": &*name.name, "uid": uid});
    if !name.namespace.is_empty() {
        metadata["namespace"] = json!(&*name.namespace);
    }
    let mut document = json!({"apiVersion": api_version(kind), "kind": kind.as_str(), "metadata": metadata});
    if let Some(status) = status {
        document["status"] = status;
    }
    document
}

fn told_event(event: &ApiEvent) -> Option<ToldEvent> {
    Some(ToldEvent {
        name: event.metadata.name.clone()?,
        uid: event.regarding.as_ref()?.uid.clone()?,
        warning: event.type_.as_deref() == Some("Warning"),
        at: last_told(event),
    })
}

/// When an Event was told last, since the epoch.
fn last_told(event: &ApiEvent) -> Duration {
    let counted = event.series.as_ref().map(|series| &series.last_observed_time);
    counted.or(event.event_time.as_ref()).map(|time| epoch(time.0)).unwrap_or_default()
}
