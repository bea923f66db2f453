//! `penstock dump`: the routing table and all reports, for scripts and for a bug report. No secret is in it.

use std::net::SocketAddr;
use std::sync::Arc;

use serde_json::{Value, json};

use super::load::Loaded;
use super::{Objects, fetch};
use crate::admin::dump;
use crate::config::Config;
use crate::sys::clock::Clock;

/// What was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dumped {
    /// One JSON object: `table` and `reports`, as at the admin address.
    pub text: String,
    /// Whether everything could be read.
    pub complete: bool,
}

/// Dumps what objects come to.
pub fn dump_objects(
    objects: &Objects<'_>,
    config: &Config,
    clock: &Arc<dyn Clock>,
) -> Result<Dumped, String> {
    let loaded = Loaded::read(objects, config, clock)?;
    let reports = dump::reports(&loaded.reports, &loaded.problems);
    Ok(Dumped { text: write(&dump::table(&loaded.table), &reports), complete: loaded.complete })
}

/// Dumps what a running Penstock serves.
pub fn dump_running(admin: SocketAddr) -> Result<Dumped, String> {
    let page = |target| -> Result<Value, String> {
        let page = fetch::page(admin, target)?;
        serde_json::from_str(&page).map_err(|_| format!("the admin port's {target} is not JSON"))
    };
    Ok(Dumped { text: write(&page("/table")?, &page("/reports")?), complete: true })
}

fn write(table: &Value, reports: &Value) -> String {
    format!("{:#}\n", json!({ "table": table, "reports": reports }))
}
