//! What the objects of a directory, or of a cluster, come to.

use std::path::Path;
use std::sync::Arc;

use ingress_core::report::ObjectReport;
use ingress_core::table::{Identity, RoutingTable};
use ingress_core::translate::Translator;

use crate::config::Config;
use crate::control::api::{ApiServer, ApiSource, Namespaces};
use crate::control::once::{Translated, translate_all, translate_settled};
use crate::control::{SourceProblem, manifests};
use crate::sys::clock::Clock;
use crate::sys::rng::SplitMix64;
use crate::text::text;
use crate::tls::{key_provider, self_signed};

/// Where the objects are that a command looks at.
pub enum Objects<'a> {
    /// In a directory of manifests.
    Directory(&'a Path),
    /// In the cluster of the current context of KUBECONFIG, else in that which we run in.
    Cluster(Namespaces),
}

/// What they come to.
pub(super) struct Loaded {
    pub(super) table: Arc<RoutingTable>,
    /// The certificate for names of which the table has none.
    pub(super) fallback: Arc<Identity>,
    pub(super) reports: Vec<ObjectReport>,
    pub(super) problems: Vec<SourceProblem>,
    /// Ingresses that were read, of whatever class.
    pub(super) ingresses: usize,
    /// Whether everything was read.
    pub(super) complete: bool,
}

impl Loaded {
    /// Reads the objects once, and translates them.
    pub(super) fn read(
        objects: &Objects<'_>,
        config: &Config,
        clock: &Arc<dyn Clock>,
    ) -> Result<Self, String> {
        let fallback = self_signed(&**clock).map_err(text)?;
        let translator = Translator::new(config.options.clone(), key_provider());
        let translated = match objects {
            Objects::Directory(directory) => translate_all(manifests::load(directory), translator, &**clock),
            Objects::Cluster(namespaces) => {
                let runtime =
                    tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(text)?;
                runtime.block_on(async {
                    let server = ApiServer::infer().await?;
                    let source = ApiSource::new(&server, namespaces, Arc::clone(clock), &SplitMix64::new());
                    Ok::<_, String>(translate_settled(source, translator, &**clock).await)
                })?
            }
        };
        let Translated { table, reports, problems, ingresses, complete } = translated;
        Ok(Self { table, fallback, reports, problems, ingresses, complete })
    }
}
