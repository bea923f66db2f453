//! The translation as it goes on: what is known, and what a change makes stale.

use std::collections::{BTreeMap, BTreeSet};
use std::mem;
use std::sync::Arc;

use rustls::crypto::KeyProvider;

use super::access::{AccessTable, ChangedSelectors, Values};
use super::backend::{BackendKey, resolve};
use super::class::Classes;
use super::class_table::ClassTable;
use super::conflict::{Findings, HostTls, Places, settle_host};
use super::demand::Changes;
use super::held::Held;
use super::index::{HostSet, Index, NameSet};
use super::ingress::{Draft, read};
use super::reports::Reports;
use super::secrets::{News, Secrets};
use super::slots::{Outcome, Slots};
use super::{SecretDemand, TranslateOptions};
use crate::objects::{Change, Kind, NamespacedName, ObjectKey};
use crate::report::ObjectReport;
use crate::table::{HostKey, Hosts, RoutingTable, TlsHosts};

/// Translates Kubernetes objects to routing tables, change by change.
///
/// The table and the reports depend on the objects, the options and the time only, not on the order in which the objects
/// came. One thing is remembered beyond that: a Secret that was good keeps serving after it was replaced by one that is
/// not, was deleted or expired, for as long as an Ingress names it (`remembered_secrets`); and so does a ProxyClass.
pub struct Translator {
    pub(super) options: TranslateOptions,
    keys: &'static dyn KeyProvider,
    /// Whether Secrets come only when they are demanded. Then none is kept.
    pub(super) on_demand: bool,
    pub(super) objects: Held,
    pub(super) classes: Classes,
    pub(super) class_table: ClassTable,
    /// The Secret of each class' default certificate.
    pub(super) class_certificates: BTreeMap<Arc<str>, NamespacedName>,
    /// What the Ingresses of ours ask for; the default backend of the configuration goes by the empty name.
    pub(super) drafts: BTreeMap<NamespacedName, Draft>,
    pub(super) slots: Slots,
    pub(super) secrets: Secrets,
    /// The values of Secrets that providers name.
    pub(super) values: Values,
    pub(super) demand: Changes,
    pub(super) access: AccessTable,
    /// Ingresses by class, by Service, by host of their rules, and by TLS host.
    pub(super) class_users: Index<Arc<str>>,
    pub(super) service_users: Index<NamespacedName>,
    pub(super) host_users: Index<HostKey>,
    pub(super) tls_users: Index<HostKey>,
    /// EndpointSlices by Service.
    pub(super) slices: Index<NamespacedName>,
    /// The namespace that was seen last: neighbours of a list share its name.
    pub(super) namespace: Arc<str>,
    pub(super) tls: BTreeMap<HostKey, HostTls>,
    /// The hosts that each Secret serves.
    pub(super) bound: BTreeMap<NamespacedName, HostSet>,
    pub(super) host_findings: BTreeMap<HostKey, Findings>,
    pub(super) tls_findings: BTreeMap<HostKey, Findings>,
    pub(super) reports: Reports,
    hosts: Arc<Hosts>,
    pub(super) tls_hosts: Arc<TlsHosts>,
    pub(super) changed: bool,
    pub(super) stale: Stale,
    table: Arc<RoutingTable>,
}

/// What has to be made again, in the order in which it is done.
#[derive(Default)]
pub(super) struct Stale {
    /// IngressClasses or ProxyClasses.
    pub(super) classes: bool,
    /// Default certificates, by class.
    pub(super) certificates: BTreeSet<Arc<str>>,
    pub(super) class_reports: bool,
    pub(super) ingresses: BTreeSet<NamespacedName>,
    /// Secrets to look at, with what is heard of them.
    pub(super) secrets: BTreeMap<NamespacedName, Option<News>>,
    /// AccessPolicies whose targets are to be read.
    pub(super) policies: BTreeSet<NamespacedName>,
    /// Selectors of policies that came or went.
    pub(super) selectors: ChangedSelectors,
    pub(super) providers: BTreeSet<NamespacedName>,
    /// AccessPolicies that are to be made again.
    pub(super) accesses: BTreeSet<NamespacedName>,
    pub(super) services: BTreeSet<NamespacedName>,
    pub(super) backends: BTreeSet<BackendKey>,
    pub(super) tls: BTreeSet<HostKey>,
    pub(super) identities: BTreeSet<NamespacedName>,
    pub(super) hosts: BTreeSet<HostKey>,
    pub(super) reports: BTreeSet<ObjectKey>,
}

impl Stale {
    pub(super) fn report(&mut self, kind: Kind, name: &NamespacedName) {
        self.reports.insert(ObjectKey { kind, name: name.clone() });
    }
}

impl Translator {
    /// A translator that has seen no object. `keys` reads the private keys of Secrets.
    pub fn new(options: TranslateOptions, keys: &'static dyn KeyProvider) -> Self {
        let warning_days = options.certificate_warning_days;
        let class_table = ClassTable::new(options.settings.clone());
        let (hosts, tls_hosts) = (Arc::default(), Arc::default());
        let table = RoutingTable::new(
            0,
            Arc::clone(&hosts),
            Arc::default(),
            Arc::clone(&tls_hosts),
            class_table.slots(),
            Arc::default(),
        );
        let mut translator = Self {
            options,
            keys,
            on_demand: false,
            objects: Held::default(),
            classes: Classes::default(),
            class_table,
            class_certificates: BTreeMap::new(),
            drafts: BTreeMap::new(),
            slots: Slots::default(),
            secrets: Secrets::new(warning_days),
            values: Values::default(),
            demand: Changes::default(),
            access: AccessTable::default(),
            class_users: Index::default(),
            service_users: Index::default(),
            host_users: Index::default(),
            tls_users: Index::default(),
            slices: Index::default(),
            namespace: Arc::default(),
            tls: BTreeMap::new(),
            bound: BTreeMap::new(),
            host_findings: BTreeMap::new(),
            tls_findings: BTreeMap::new(),
            reports: Reports::default(),
            hosts,
            tls_hosts,
            changed: false,
            stale: Stale::default(),
            table: Arc::new(table),
        };
        translator.use_certificates(&BTreeSet::from([Arc::from("")]));
        if let (Some(Ok(backend)), Some(class)) =
            (translator.options.parse_default_backend(), translator.class_table.traits(""))
        {
            let draft = Draft::configured(backend, class);
            translator.replace_draft(&NamespacedName::default(), Some(draft));
        }
        translator
    }

    /// Expects Secrets only when they are demanded: `take_demand` says which. None is kept beyond what it was parsed to, so
    /// each that is demanded has to be given, also if it was given before.
    #[must_use]
    pub fn secrets_on_demand(mut self) -> Self {
        self.on_demand = true;
        self
    }

    /// Which Secrets are named, by the Ingresses of ours and by IdentityProviders, as the difference to the last call. Names that no Secret
    /// can have are not among them.
    pub fn take_demand(&mut self) -> SecretDemand {
        self.demand.take(|name| self.values.keys(name))
    }

    /// Whether an Ingress of ours, or an IdentityProvider, names this Secret.
    pub fn names_secret(&self, name: &NamespacedName) -> bool {
        self.secrets.get(name).is_some() || self.values.need(name)
    }

    /// Applies changes and returns the table that follows. `now` is the time in Unix seconds. The generation rises only if
    /// the table differs from the last one. Without changes, it looks whether certificates became valid, expire soon or
    /// expired.
    pub fn apply(&mut self, changes: Vec<Change>, now: i64) -> Arc<RoutingTable> {
        for change in changes {
            self.absorb(change);
        }
        for name in self.secrets.due(now) {
            self.stale.secrets.entry(name.clone()).or_default();
        }
        self.select_classes();
        self.read_providers();
        self.read_policies();
        self.read_ingresses();
        self.sweep_secrets();
        self.load_secrets(now);
        self.bind_certificates();
        self.build_providers();
        self.build_accesses();
        self.resolve_backends();
        self.settle_tls();
        self.bind_identities();
        self.settle_hosts();
        self.write_class_reports();
        self.write_reports();
        self.publish()
    }

    /// One report per Ingress and IngressClass of ours, per ProxyClass that one of these names, per IdentityProvider and AccessPolicy, and
    /// per Secret and Service in use with findings; sorted.
    pub fn reports(&self) -> Vec<ObjectReport> {
        self.reports.all()
    }

    /// When the validity of a certificate begins or ends next, or a warning ahead of its end begins, in Unix seconds:
    /// `apply` should be called by then.
    pub fn next_deadline(&self) -> Option<i64> {
        self.secrets.next_deadline()
    }

    /// Secrets whose last good certificate serves because they cannot be used as they are now.
    pub fn remembered_secrets(&self) -> impl Iterator<Item = &NamespacedName> {
        self.secrets.remembered()
    }

    /// ProxyClasses whose last good settings serve because they cannot be used as they are now.
    pub fn remembered_proxy_classes(&self) -> impl Iterator<Item = &Arc<str>> {
        self.class_table.proxy_classes.remembered()
    }

    fn read_ingresses(&mut self) {
        for name in mem::take(&mut self.stale.ingresses) {
            // The empty name is that of the configuration's default backend.
            if name == NamespacedName::default() {
                continue;
            }
            let solver = |service: &NamespacedName| self.objects.is_solver(service);
            let draft = self.objects.ingresses.get(&name).and_then(|ingress| {
                let class = self.class_table.traits(self.classes.select(ingress)?)?;
                let access = self.access.wanted(&name, ingress);
                Some(read(&name, ingress, class, access, &solver))
            });
            self.replace_draft(&name, draft);
        }
    }

    /// Makes a Secret used by an Ingress or a class. One that is new to us is looked up, unless it has to be demanded.
    pub(super) fn use_secret(&mut self, secret: &NamespacedName, user: &NamespacedName) {
        if self.secrets.acquire(secret, user) {
            self.look_up_secret(secret);
        }
    }

    /// Looks up a Secret of which something is needed that is not known; if it has to be demanded, demands it.
    pub(super) fn look_up_secret(&mut self, secret: &NamespacedName) {
        if self.on_demand {
            // It may be needed for something else already: then all of it is to be given again.
            let known = self.secrets.get(secret).is_some() && self.values.need(secret);
            self.demand.add(secret, known);
            self.stale.secrets.entry(secret.clone()).or_default();
            return;
        }
        let given = match self.objects.secrets.get(secret) {
            Some(secret) => News::Given(Arc::clone(secret)),
            None => News::Absent,
        };
        self.stale.secrets.entry(secret.clone()).or_default().get_or_insert(given);
    }

    /// Forgets the Secrets, and the values of Secrets, that nobody names any more.
    fn sweep_secrets(&mut self) {
        let fewer = self.values.sweep();
        let mut forgotten: BTreeSet<NamespacedName> = self.secrets.sweep().into_iter().collect();
        forgotten.extend(fewer);
        for name in forgotten.into_iter().filter(|_| self.on_demand) {
            if self.secrets.get(&name).is_none() && !self.values.need(&name) {
                self.demand.remove(&name);
            } else {
                // Whoever gives it is told what of it is needed still.
                self.demand.add(&name, true);
            }
        }
    }

    /// Replaces what an Ingress asks for, and marks whatever depends on the old or the new draft.
    fn replace_draft(&mut self, name: &NamespacedName, new: Option<Draft>) {
        if self.drafts.get(name) == new.as_ref() {
            return;
        }
        let old = self.drafts.remove(name);
        let class = |draft: &Option<Draft>| draft.as_ref().map(|draft| Arc::clone(&draft.class.name));
        self.class_users.relink(&class(&old), &class(&new), name);
        let old = old.unwrap_or_default();
        let empty = Draft::default();
        let draft = new.as_ref().unwrap_or(&empty);
        // New users first: what both drafts use stays where it is.
        for backend in draft.backends() {
            if self.slots.acquire(backend, name) {
                self.stale.backends.insert(backend.clone());
            }
        }
        for backend in old.backends().difference(&draft.backends()) {
            self.slots.release(backend, name);
        }
        for secret in draft.secrets() {
            self.use_secret(secret, name);
        }
        for secret in old.secrets().difference(&draft.secrets()) {
            self.secrets.release(secret, name);
            self.stale.report(Kind::Secret, secret);
        }
        self.replace_access(name, old.access.as_deref(), draft.access.as_deref());
        self.service_users.relink(old.services.iter(), draft.services.iter(), name);
        self.host_users.relink(old.hosts(), draft.hosts(), name);
        self.tls_users.relink(old.tls_hosts(), draft.tls_hosts(), name);
        for side in [&old, draft] {
            self.stale.hosts.extend(side.hosts().into_iter().cloned());
            self.stale.tls.extend(side.tls_hosts().into_iter().cloned());
            for backend in side.backends() {
                self.stale.report(Kind::Service, &backend.service);
            }
        }
        self.stale.report(Kind::Ingress, name);
        if let Some(new) = new {
            self.drafts.insert(name.clone(), new);
        }
    }

    fn load_secrets(&mut self, now: i64) {
        for (name, news) in mem::take(&mut self.stale.secrets) {
            if news.as_ref().is_some_and(|news| self.values.take_over(&name, news)) {
                self.mark_users_of(&name);
            }
            if !self.secrets.evaluate(&name, news, self.keys, now) {
                continue;
            }
            self.stale.identities.insert(name.clone());
            self.stale.report(Kind::Secret, &name);
            self.stale
                .certificates
                .extend(self.secrets.get(&name).into_iter().flat_map(|state| state.classes().cloned()));
            for user in self.secrets.users(&name).filter(|user| !user.namespace.is_empty()) {
                self.stale.reports.insert(ObjectKey { kind: Kind::Ingress, name: user.clone() });
                let draft = self.drafts.get(user);
                let claims = draft.iter().flat_map(|draft| &draft.claims);
                let of_secret = claims.filter(|claim| claim.secret.as_ref() == Some(&name));
                self.stale.tls.extend(of_secret.map(|claim| claim.host.clone()));
            }
        }
    }

    fn resolve_backends(&mut self) {
        for service in mem::take(&mut self.stale.services) {
            self.stale.backends.extend(self.slots.of_service(&service).map(|(key, _)| key.clone()));
        }
        for key in mem::take(&mut self.stale.backends) {
            let service = self.objects.services.get(&key.service);
            let names = self.slices.get(&key.service);
            let slices = names.filter_map(|name| Some((name, self.objects.slices.get(name)?)));
            let resolved = resolve(&key, service, slices);
            if self.slots.put(&key, resolved) == Outcome::Status {
                self.mark_backend(&key);
            }
        }
    }

    /// Marks the hosts and reports of all rules that go to a backend.
    fn mark_backend(&mut self, key: &BackendKey) {
        self.stale.report(Kind::Service, &key.service);
        let users = self.slots.get(key).map(|slot| &slot.users);
        for user in users.into_iter().flat_map(NameSet::iter) {
            self.stale.reports.insert(ObjectKey { kind: Kind::Ingress, name: user.clone() });
            let rules = self.drafts.get(user).into_iter().flat_map(|draft| &draft.rules);
            self.stale.hosts.extend(rules.filter(|rule| rule.backend == *key).map(|rule| rule.host.clone()));
        }
    }

    fn settle_hosts(&mut self) {
        for host in mem::take(&mut self.stale.hosts) {
            let drafts = users_of(&self.host_users, &self.drafts, &host);
            let before = self.hosts.get(&host);
            let tls = self.tls_of(&host);
            let places = Places { backends: &self.slots, accesses: &self.access.slots };
            let (rules, findings) = settle_host(&host, &drafts, places, tls, before);
            replace_findings(&mut self.host_findings, &host, findings, &mut self.stale.reports);
            let same = match (before, &rules) {
                (Some(before), Some(rules)) => Arc::ptr_eq(before, rules),
                (before, rules) => before.is_none() && rules.is_none(),
            };
            if !same {
                Arc::make_mut(&mut self.hosts).set(&host, rules);
                self.changed = true;
            }
        }
    }

    fn write_reports(&mut self) {
        for key in mem::take(&mut self.stale.reports) {
            let report = match key.kind {
                Kind::Ingress => self.ingress_report(&key),
                Kind::Secret => self.secret_report(&key),
                Kind::Service => self.service_report(&key),
                Kind::IdentityProvider => self.provider_report(&key),
                Kind::AccessPolicy => self.policy_report(&key),
                Kind::IngressClass | Kind::ProxyClass | Kind::EndpointSlice => continue,
            };
            self.reports.set(key, report);
        }
    }

    fn publish(&mut self) -> Arc<RoutingTable> {
        let backends_changed = self.slots.take_changed();
        let classes_changed = self.class_table.take_changed();
        let access_changed = self.access.slots.take_changed();
        if mem::take(&mut self.changed) || backends_changed || classes_changed || access_changed {
            let backends = if backends_changed {
                Arc::from(self.slots.backends())
            } else {
                Arc::clone(self.table.slots())
            };
            let classes =
                if classes_changed { self.class_table.slots() } else { Arc::clone(self.table.class_slots()) };
            let generation = self.table.generation() + 1;
            let (hosts, tls) = (Arc::clone(&self.hosts), Arc::clone(&self.tls_hosts));
            let access = if access_changed {
                self.access.slots.slots()
            } else {
                Arc::clone(self.table.access_slots())
            };
            self.table = Arc::new(RoutingTable::new(generation, hosts, backends, tls, classes, access));
        }
        Arc::clone(&self.table)
    }
}

pub(super) fn users_of<'d>(
    index: &'d Index<HostKey>,
    drafts: &'d BTreeMap<NamespacedName, Draft>,
    host: &HostKey,
) -> Vec<(&'d NamespacedName, &'d Draft)> {
    index.get(host).filter_map(|name| Some((name, drafts.get(name)?))).collect()
}

/// Replaces the findings about a host; the reports of everybody they were or are about become stale.
pub(super) fn replace_findings(
    all: &mut BTreeMap<HostKey, Findings>,
    host: &HostKey,
    new: Findings,
    stale: &mut BTreeSet<ObjectKey>,
) {
    let old = all.get(host);
    if old.map_or(new.is_empty(), |old| *old == new) {
        return;
    }
    let names = old.into_iter().flat_map(BTreeMap::keys).chain(new.keys());
    stale.extend(names.map(|name| ObjectKey { kind: Kind::Ingress, name: name.clone() }));
    if new.is_empty() {
        all.remove(host);
    } else {
        all.insert(host.clone(), new);
    }
}
