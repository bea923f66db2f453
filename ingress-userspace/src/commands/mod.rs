//! The commands that look instead of serve.

mod certificate;
pub mod check;
pub mod explain;
mod fetch;

use std::path::Path;
use std::sync::Arc;

use ingress_core::objects::{Change, Object};
use ingress_core::report::ObjectReport;
use ingress_core::table::RoutingTable;
use ingress_core::translate::Translator;

use crate::config::Config;
use crate::control::publish::translate_once;
use crate::control::{DefaultCertificate, SourceProblem, manifests};
use crate::sys::clock::Clock;
use crate::tls::{DefaultIdentity, TlsError, key_provider};

/// What a directory comes to.
struct Loaded {
    table: Arc<RoutingTable>,
    default: Arc<DefaultIdentity>,
    reports: Vec<ObjectReport>,
    problems: Vec<SourceProblem>,
    /// Ingresses that were read, of whatever class.
    ingresses: usize,
}

fn load(directory: &Path, config: &Config, clock: &dyn Clock) -> Result<Loaded, TlsError> {
    let batch = manifests::load(directory);
    let is_ingress = |change: &&Change| matches!(change, Change::Upsert(Object::Ingress(_)));
    let ingresses = batch.changes.iter().filter(is_ingress).count();
    let default = Arc::new(DefaultIdentity::new(&config.settings().tls, clock)?);
    let translator = Translator::new(config.options.clone(), key_provider());
    let certificate = DefaultCertificate::new(Arc::clone(&default), key_provider())
        .warned(config.options.certificate_warning_days);
    let (table, reports) = translate_once(translator, certificate, batch.changes, clock);
    Ok(Loaded { table, default, reports, problems: batch.problems, ingresses })
}
