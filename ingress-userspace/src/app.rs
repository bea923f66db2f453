//! From the command line to an exit code.

use std::io::Write as _;
use std::panic::PanicHookInfo;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use clap::Parser as _;

use crate::cli::{Check, Cli, Cluster, Command, Dump, EXIT_REFUSED, Explain};
use crate::commands::explain_access::read_claims;
use crate::commands::{Objects, check, doctor, dump, explain};
use crate::config::Config;
use crate::control::api::Namespaces;
use crate::serve;
use crate::sys::clock::{Clock, SystemClock};
use crate::text::text;

/// Runs the command line. Wrong usage exits with 2 before anything is done.
pub fn main() -> ExitCode {
    std::panic::set_hook(Box::new(report_panic));
    let outcome = match Cli::parse().command {
        Command::Serve(arguments) => {
            load_config(arguments.config.as_deref()).and_then(|config| serve::run(&arguments, config))
        }
        Command::Check(arguments) => run_check(&arguments),
        Command::Explain(arguments) => run_explain(&arguments).map(|text| say(&text)),
        Command::Dump(arguments) => run_dump(&arguments),
        Command::Doctor(arguments) => {
            load_config(arguments.config.as_deref()).map(|config| say(&doctor::doctor(&config.kernel)))
        }
        Command::Version => {
            say(&format!("penstock {}\n", env!("CARGO_PKG_VERSION")));
            Ok(())
        }
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            // Whether it can be written or not, the exit code tells.
            let _ = writeln!(std::io::stderr(), "penstock: {message}");
            ExitCode::from(EXIT_REFUSED)
        }
    }
}

/// Says where the bug is. What the panic says is left out, because it may quote what was being read: a Secret (law 6).
fn report_panic(panic: &PanicHookInfo<'_>) {
    let place = panic.location().map_or_else(String::new, ToString::to_string);
    let thread = std::thread::current();
    let thread = thread.name().unwrap_or("unnamed");
    let _ = writeln!(std::io::stderr(), "penstock: bug: thread {thread} panicked at {place}");
}

fn say(text: &str) {
    // A reader that has closed the pipe has seen enough.
    let _ = std::io::stdout().write_all(text.as_bytes());
}

fn load_config(path: Option<&Path>) -> Result<Config, String> {
    path.map_or_else(|| Ok(Config::default()), |path| Config::load(path).map_err(text))
}

fn clock() -> Arc<dyn Clock> {
    Arc::new(SystemClock)
}

/// A directory if one is named, else the cluster.
fn objects<'a>(manifests: Option<&'a Path>, cluster: &Cluster) -> Objects<'a> {
    match manifests {
        Some(directory) => Objects::Directory(directory),
        None => Objects::Cluster(Namespaces::new(&cluster.watch_namespaces)),
    }
}

fn run_check(arguments: &Check) -> Result<(), String> {
    let config = load_config(arguments.config.as_deref())?;
    let objects = objects(arguments.manifests.as_deref(), &arguments.cluster);
    let checked = check::check(&objects, &config, &clock())?;
    say(&checked.text);
    if checked.refused { Err("something is refused".to_owned()) } else { Ok(()) }
}

fn run_explain(arguments: &Explain) -> Result<String, String> {
    let claims = arguments.claims.as_deref().map(read_claims).transpose()?;
    let by_objects = arguments.by_cluster || arguments.manifests.is_some();
    match arguments.admin.first() {
        _ if by_objects => {
            let config = load_config(arguments.config.as_deref())?;
            let objects = objects(arguments.manifests.as_deref(), &arguments.cluster);
            explain::explain_objects(&objects, &arguments.url, claims.as_ref(), &config, &clock())
        }
        // The claims of a person do not belong into a URL.
        Some(_) if claims.is_some() => Err("--claims needs --manifests DIR or --cluster".to_owned()),
        Some(admin) => explain::explain_running(*admin, &arguments.url),
        None => Err("name --manifests DIR, --cluster or --admin ADDR".to_owned()),
    }
}

fn run_dump(arguments: &Dump) -> Result<(), String> {
    let dumped = if let Some(admin) = arguments.admin {
        dump::dump_running(admin)?
    } else {
        let config = load_config(arguments.config.as_deref())?;
        let objects = objects(arguments.manifests.as_deref(), &arguments.cluster);
        dump::dump_objects(&objects, &config, &clock())?
    };
    say(&dumped.text);
    if dumped.complete { Ok(()) } else { Err("not everything could be read; see the problems".to_owned()) }
}
