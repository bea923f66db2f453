//! The objects in a directory of manifests.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::objects;
use super::penstock::{Penstock, wait};
use super::times::Times;
use crate::shell::Outcome;

/// How many single changes are measured.
const CHANGES: usize = 20;

/// Makes the objects, serves them and prints what was measured.
pub(super) fn run(ingresses: usize) -> Outcome {
    let directory = tempfile::tempdir()?;
    let directory = directory.path();
    let made = Instant::now();
    make(directory, ingresses)?;
    println!("{ingresses} Ingresses, Services, EndpointSlices and Secrets made in {:?}", made.elapsed());
    let (penstock, start) = Penstock::start(|command| {
        command.arg("--manifests").arg(directory);
    })?;
    println!("start to ready: {start:?}");
    super::tell_memory(&penstock, "when ready")?;
    let mut times = Times::default();
    for change in 0..CHANGES {
        times.push(change_endpoint(directory, &penstock, change * ingresses / CHANGES, change)?);
    }
    println!(
        "one EndpointSlice from write to routing table, 20 ms of it waiting for the burst to end: {times}"
    );
    super::tell_memory(&penstock, &format!("after {CHANGES} changes"))
}

/// Writes an endpoint and waits until Penstock would use it.
fn change_endpoint(directory: &Path, penstock: &Penstock, number: usize, change: usize) -> Outcome<Duration> {
    let address = format!("10.99.{change}.1");
    let written = Instant::now();
    put(
        directory,
        &format!("slice-{number}.yaml"),
        &[objects::slice(&format!("s{number}"), &address, 8080)],
    )?;
    let question = format!("/explain?url=https://{}/", objects::host(number));
    wait(Duration::from_millis(1), || Ok(penstock.get(&question)?.contains(&address)))?;
    Ok(written.elapsed())
}

fn make(directory: &Path, count: usize) -> Outcome {
    put(directory, "class.yaml", &[objects::class()])?;
    for number in 0..count {
        let (host, service, secret) = (objects::host(number), format!("s{number}"), format!("t{number}"));
        put(directory, &format!("slice-{number}.yaml"), &[objects::slice(&service, "10.0.0.1", 8080)])?;
        let app = [
            objects::service(&service),
            objects::secret(&secret, &host)?,
            objects::ingress(&format!("i{number}"), &host, &service, Some(&secret)),
        ];
        put(directory, &format!("app-{number}.yaml"), &app)?;
    }
    Ok(())
}

/// Replaces a file at once, as editors and kubelets do.
fn put(directory: &Path, name: &str, objects: &[Value]) -> Outcome {
    let mut text = String::new();
    for object in objects {
        writeln!(text, "---\n{object:#}")?;
    }
    let temporary = directory.join(format!(".{name}.new"));
    fs::write(&temporary, text)?;
    Ok(fs::rename(temporary, directory.join(name))?)
}
