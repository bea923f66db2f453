//! `cargo xtask crdgen`: what is generated from the types of ProxyClass.
//!
//! ```text
//! ingress_core::settings ──schemars──► schema ──┬─► charts/penstock/crds/penstock.dev_proxyclasses.yaml
//!                                               ├─► charts/penstock/values.schema.json, the settings
//!                                               └─► the tables of docs/proxy-class.md
//! ```

mod definition;
mod reference;
mod schema;
mod values;

use std::fs;
use std::path::Path;

use clap::Args;

use crate::shell::{Outcome, root};

/// The CustomResourceDefinition.
const DEFINITION: &str = "charts/penstock/crds/penstock.dev_proxyclasses.yaml";
/// The schema of the chart's values.
const VALUES: &str = "charts/penstock/values.schema.json";
/// The reference for users.
const REFERENCE: &str = "docs/proxy-class.md";

/// Options of `cargo xtask crdgen`.
#[derive(Args)]
pub(crate) struct Arguments {
    /// Write nothing; fail if the files are not what the types give.
    #[arg(long)]
    pub(crate) check: bool,
}

/// Writes the generated files, or compares them.
pub(crate) fn run(arguments: &Arguments) -> Outcome {
    let (definition, values, reference) =
        (root().join(DEFINITION), root().join(VALUES), root().join(REFERENCE));
    let spec = schema::spec()?;
    let old_values = fs::read_to_string(&values).map_err(|error| format!("{VALUES}: {error}"))?;
    let old = fs::read_to_string(&reference).map_err(|error| format!("{REFERENCE}: {error}"))?;
    let files = [
        (definition, DEFINITION, definition::text(&spec)?),
        (values, VALUES, values::updated(&old_values, &spec)?),
        (reference, REFERENCE, reference::updated(&old, &spec)?),
    ];
    let mut stale = Vec::new();
    for (path, name, text) in &files {
        if fs::read_to_string(path).is_ok_and(|old| old == *text) {
            continue;
        }
        if arguments.check {
            stale.push(*name);
        } else {
            fs::create_dir_all(path.parent().unwrap_or(Path::new(".")))?;
            fs::write(path, text)?;
            println!("wrote {name}");
        }
    }
    if stale.is_empty() {
        return Ok(());
    }
    Err(format!("{} not up to date: run `cargo xtask crdgen`", stale.join(" and ")).into())
}
