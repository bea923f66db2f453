//! A real API server: one for all tests of a program, in which each has a namespace of its own, or one of a test's own,
//! which it may kill.
//!
//! ```ignore
//! let Some(cluster) = cluster::shared("name_of_the_test") else { return };
//! let kube = Kube::admin(cluster);
//! let namespace = kube.namespace("web");
//! kube.apply(&namespace, "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\n");
//! let penstock = Penstock::start_against(cluster.admin_kubeconfig(), &Options::default());
//! ```

use std::io::Write as _;
use std::path::Path;
use std::process::Command;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Instant;

use ingress_core::access_policy::AccessPolicy;
use ingress_core::identity_provider::IdentityProvider;
use ingress_core::proxy_class::ProxyClass;
use k8s_openapi::api::core::v1::{Namespace, ServiceAccount};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{DynamicObject, ListParams, Patch, PatchParams, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::core::NamespaceResourceScope;
use kube::discovery::{Scope, pinned_kind};
use kube::{Api, Client, Config, Resource, ResourceExt as _};
use serde::de::DeserializeOwned;
use test_cluster::{Binaries, Cluster, Error, Options};
use tokio::runtime::Runtime;

use super::DEADLINE;

/// What the chart installs before anything else.
const DEFINITIONS: [(&str, &str); 3] = [
    ("proxyclasses", include_str!("../../../charts/penstock/crds/penstock.dev_proxyclasses.yaml")),
    ("identityproviders", include_str!("../../../charts/penstock/crds/penstock.dev_identityproviders.yaml")),
    ("accesspolicies", include_str!("../../../charts/penstock/crds/penstock.dev_accesspolicies.yaml")),
];

/// The cluster that all tests of this program share. It ends with the program. None if the programs were not built:
/// the test is then reported as skipped, except in CI, where it fails.
#[track_caller]
pub(crate) fn shared(test: &str) -> Option<&'static Cluster> {
    static SHARED: OnceLock<Cluster> = OnceLock::new();
    let binaries = built_or_skip(test, Binaries::locate())?;
    Some(SHARED.get_or_init(|| Cluster::start_with(&binaries, &Options::default()).unwrap()))
}

/// A cluster of the test's own, to break. None as [`shared`] says.
#[track_caller]
pub(crate) fn own(test: &str) -> Option<Cluster> {
    own_with(test, &Options::default())
}

/// A cluster of the test's own, whose API server has more arguments.
#[track_caller]
pub(crate) fn own_with(test: &str, options: &Options) -> Option<Cluster> {
    Some(Cluster::start_with(&built_or_skip(test, Binaries::locate())?, options).unwrap())
}

/// What was built. If it was not, the test is reported as skipped, except in CI, where it fails.
#[track_caller]
pub(crate) fn built_or_skip<T>(test: &str, built: Result<T, Error>) -> Option<T> {
    match built {
        Ok(built) => Some(built),
        Err(error @ Error::NotBuilt(_)) => {
            assert!(std::env::var_os("CI").is_none(), "CI does not accept a skipped test: {error}");
            // Directly to standard error: libtest hides what a passing test prints.
            std::io::stderr().write_all(format!("SKIPPED: {test}: {error}\n").as_bytes()).unwrap();
            None
        }
        Err(error) => panic!("{error}"),
    }
}

/// Waits for a future, on a runtime that all tests of the program share.
pub(crate) fn block_on<T>(future: impl Future<Output = T>) -> T {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    let runtime = RUNTIME.get_or_init(|| {
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap()
    });
    runtime.block_on(future)
}

/// A client for asynchronous tests. It belongs to the runtime that it is made in.
pub(crate) async fn client(kubeconfig: &Path) -> Client {
    let kubeconfig = Kubeconfig::read_from(kubeconfig).unwrap();
    let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await.unwrap();
    Client::try_from(config).unwrap()
}

/// A user of the API server, who waits for each answer.
#[derive(Clone)]
pub(crate) struct Kube {
    client: Client,
}

impl Kube {
    /// Somebody who may do everything.
    pub(crate) fn admin(cluster: &Cluster) -> Self {
        Self::with(cluster.admin_kubeconfig())
    }

    /// A ServiceAccount that exists, by a token that is issued now.
    #[track_caller]
    pub(crate) fn account(cluster: &Cluster, namespace: &str, name: &str) -> Self {
        Self::with(&cluster.kubeconfig_of(namespace, name).unwrap())
    }

    /// The user of a kubeconfig.
    pub(crate) fn with(kubeconfig: &Path) -> Self {
        Self { client: block_on(client(kubeconfig)) }
    }

    /// Objects of a type in a namespace: `block_on(kube.api::<Ingress>(&namespace).get("a"))`.
    pub(crate) fn api<K>(&self, namespace: &str) -> Api<K>
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>,
    {
        Api::namespaced(self.client.clone(), namespace)
    }

    /// Objects of a type in all namespaces, or of the whole cluster.
    pub(crate) fn all<K: Resource<DynamicType = ()>>(&self) -> Api<K> {
        Api::all(self.client.clone())
    }

    /// Makes a namespace that no other test has: the name, and a number behind it.
    #[track_caller]
    pub(crate) fn namespace(&self, name: &str) -> String {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let name = format!("{name}-{}", NUMBER.fetch_add(1, Ordering::Relaxed));
        let mut namespace = Namespace::default();
        namespace.metadata.name = Some(name.clone());
        block_on(self.all::<Namespace>().create(&PostParams::default(), &namespace)).unwrap();
        name
    }

    /// Makes our kinds known, and waits until they can be used.
    #[track_caller]
    pub(crate) fn define_kinds(&self) {
        for (_, definition) in DEFINITIONS {
            self.apply("", definition);
        }
        for (plural, _) in DEFINITIONS {
            self.wait_defined(plural);
        }
    }

    #[track_caller]
    fn wait_defined(&self, plural: &str) {
        let deadline = Instant::now() + DEADLINE;
        loop {
            let definitions = self.all::<CustomResourceDefinition>();
            let definition = block_on(definitions.get(&format!("{plural}.penstock.dev"))).unwrap();
            let conditions = definition.status.and_then(|status| status.conditions).unwrap_or_default();
            let is = |kind: &str| conditions.iter().any(|c| c.type_ == kind && c.status == "True");
            assert!(!is("NonStructuralSchema"), "{conditions:#?}");
            // Established comes before the first request is served.
            if is("Established") && self.answers(plural) {
                return;
            }
            assert!(Instant::now() < deadline, "{conditions:#?}");
            std::thread::yield_now();
        }
    }

    fn answers(&self, plural: &str) -> bool {
        let params = ListParams::default();
        match plural {
            "accesspolicies" => block_on(self.all::<AccessPolicy>().list(&params)).is_ok(),
            "identityproviders" => block_on(self.all::<IdentityProvider>().list(&params)).is_ok(),
            _ => block_on(self.all::<ProxyClass>().list(&params)).is_ok(),
        }
    }

    /// Makes a ServiceAccount, which may do nothing yet.
    #[track_caller]
    pub(crate) fn service_account(&self, namespace: &str, name: &str) {
        let mut account = ServiceAccount::default();
        account.metadata.name = Some(name.to_owned());
        block_on(self.api::<ServiceAccount>(namespace).create(&PostParams::default(), &account)).unwrap();
    }

    /// Applies all objects of a YAML text on the server's side, as `kubectl apply --server-side` does. Those that name
    /// no namespace get this one, if they can have one.
    #[track_caller]
    pub(crate) fn apply(&self, namespace: &str, text: &str) -> Vec<DynamicObject> {
        let objects = documents(text);
        block_on(async {
            let mut applied = Vec::new();
            for object in objects {
                applied.push(self.try_apply(namespace, &object).await.unwrap());
            }
            applied
        })
    }

    /// Applies one object; an error is the API server's answer.
    pub(crate) async fn try_apply(
        &self,
        namespace: &str,
        object: &DynamicObject,
    ) -> kube::Result<DynamicObject> {
        let api = self.api_of(namespace, object).await?;
        let params = PatchParams::apply("penstock-test").force();
        api.patch(&object.name_any(), &params, &Patch::Apply(object)).await
    }

    /// Objects like this one, where this one would lie.
    async fn api_of(&self, namespace: &str, object: &DynamicObject) -> kube::Result<Api<DynamicObject>> {
        let types = object.types.as_ref().unwrap();
        let (resource, capabilities) = pinned_kind(&self.client, &types.try_into().unwrap()).await?;
        let namespace = object.metadata.namespace.as_deref().unwrap_or(namespace);
        Ok(match capabilities.scope {
            Scope::Cluster => Api::all_with(self.client.clone(), &resource),
            Scope::Namespaced => Api::namespaced_with(self.client.clone(), namespace, &resource),
        })
    }
}

/// The objects of a YAML text.
pub(crate) fn documents<T: DeserializeOwned>(text: &str) -> Vec<T> {
    serde_saphyr::from_multiple(text).unwrap()
}

/// Runs `kubectl` as the admin, and returns what it printed. None as [`shared`] says.
#[track_caller]
pub(crate) fn kubectl(test: &str, cluster: &Cluster, arguments: &[&str]) -> Option<String> {
    let program = built_or_skip(test, cluster.binaries().program("kubectl"))?;
    let mut command = Command::new(program);
    command.args(arguments).env("KUBECONFIG", cluster.admin_kubeconfig());
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Some(String::from_utf8(output.stdout).unwrap())
}
