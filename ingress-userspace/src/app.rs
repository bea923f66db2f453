//! From the command line to an exit code.

use std::fmt::Display;
use std::io::Write as _;
use std::panic::PanicHookInfo;
use std::path::Path;
use std::process::ExitCode;

use clap::Parser as _;

use crate::cli::{Check, Cli, Command, EXIT_REFUSED, Explain};
use crate::commands::{check, explain};
use crate::config::Config;
use crate::serve;
use crate::sys::clock::SystemClock;

/// Runs the command line. Wrong usage exits with 2 before anything is done.
pub fn main() -> ExitCode {
    std::panic::set_hook(Box::new(report_panic));
    let outcome = match Cli::parse().command {
        Command::Serve(arguments) => {
            load_config(arguments.config.as_deref()).and_then(|config| serve::run(&arguments, config))
        }
        Command::Check(arguments) => run_check(&arguments),
        Command::Explain(arguments) => run_explain(&arguments).map(|text| say(&text)),
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

/// Errors end here as text: the only reader is a person.
pub(crate) fn text(error: impl Display) -> String {
    error.to_string()
}

fn load_config(path: Option<&Path>) -> Result<Config, String> {
    path.map_or_else(|| Ok(Config::default()), |path| Config::load(path).map_err(text))
}

fn run_check(arguments: &Check) -> Result<(), String> {
    let config = load_config(arguments.config.as_deref())?;
    let checked = check::check(&arguments.manifests, &config, &SystemClock).map_err(text)?;
    say(&checked.text);
    if checked.refused { Err("something is refused".to_owned()) } else { Ok(()) }
}

fn run_explain(arguments: &Explain) -> Result<String, String> {
    match (&arguments.manifests, arguments.admin.first()) {
        (Some(directory), _) => {
            let config = load_config(arguments.config.as_deref())?;
            explain::explain_directory(directory, &arguments.url, &config, &SystemClock)
        }
        (None, Some(admin)) => explain::explain_running(*admin, &arguments.url),
        (None, None) => Err("name --manifests DIR or --admin ADDR".to_owned()),
    }
}
