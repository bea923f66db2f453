//! The command line. Users script against it: flags, output and exit codes are an interface.

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::cli_writeback::WritebackFlags;

/// Exit code when something was refused.
pub const EXIT_REFUSED: u8 = 1;

/// Penstock: a Kubernetes Ingress controller and proxy.
#[derive(Debug, Parser)]
#[command(name = "penstock", version, arg_required_else_help = true)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Serve what the manifests describe until SIGTERM or SIGINT.
    Serve(Serve),
    /// Print what Penstock thinks of a directory of manifests; exit 1 if it refuses anything.
    Check(Check),
    /// Say which rule, backend, certificate and policies serve a URL, and why others do not.
    Explain(Explain),
    /// Print the version.
    Version,
}

/// `penstock serve`
#[derive(Debug, Args)]
pub struct Serve {
    /// Directory of Kubernetes manifests (YAML or JSON), watched for changes.
    #[arg(long, value_name = "DIR", env = "PENSTOCK_MANIFESTS")]
    pub manifests: PathBuf,
    /// Address for plain HTTP: redirects and ACME challenges. Repeatable.
    #[arg(
        long,
        value_name = "ADDR",
        env = "PENSTOCK_HTTP",
        value_delimiter = ',',
        default_value = "[::]:8080"
    )]
    pub http: Vec<SocketAddr>,
    /// Address for HTTPS. Repeatable.
    #[arg(
        long,
        value_name = "ADDR",
        env = "PENSTOCK_HTTPS",
        value_delimiter = ',',
        default_value = "[::]:8443"
    )]
    pub https: Vec<SocketAddr>,
    /// Address for metrics, health and inspection. Repeatable. Keep it private.
    #[arg(
        long,
        value_name = "ADDR",
        env = "PENSTOCK_ADMIN",
        value_delimiter = ',',
        default_value = "127.0.0.1:9090"
    )]
    pub admin: Vec<SocketAddr>,
    /// Worker threads; by default as many as the process may use cores.
    #[arg(long, value_name = "N", env = "PENSTOCK_WORKERS")]
    pub workers: Option<NonZeroUsize>,
    /// Configuration file (YAML); see the configuration reference.
    #[arg(long, value_name = "FILE", env = "PENSTOCK_CONFIG")]
    pub config: Option<PathBuf>,
    /// What is written to the API server.
    #[command(flatten)]
    pub writeback: WritebackFlags,
}

/// `penstock check`
#[derive(Debug, Args)]
pub struct Check {
    /// Directory of Kubernetes manifests.
    #[arg(short = 'f', long = "manifests", value_name = "DIR", env = "PENSTOCK_MANIFESTS")]
    pub manifests: PathBuf,
    /// Configuration file (YAML).
    #[arg(long, value_name = "FILE", env = "PENSTOCK_CONFIG")]
    pub config: Option<PathBuf>,
}

/// `penstock explain`
#[derive(Debug, Args)]
pub struct Explain {
    /// The URL: `https://host/path`.
    pub url: String,
    /// Explain by a directory of manifests, instead of asking a running Penstock.
    #[arg(long, value_name = "DIR")]
    pub manifests: Option<PathBuf>,
    /// Ask a running Penstock at its admin address; of several, the first.
    #[arg(
        long,
        value_name = "ADDR",
        env = "PENSTOCK_ADMIN",
        value_delimiter = ',',
        default_value = "127.0.0.1:9090"
    )]
    pub admin: Vec<SocketAddr>,
    /// Configuration file (YAML), with --manifests.
    #[arg(long, value_name = "FILE", env = "PENSTOCK_CONFIG")]
    pub config: Option<PathBuf>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        use clap::CommandFactory as _;
        Cli::command().debug_assert();
    }

    #[test]
    fn addresses_are_repeatable_and_have_defaults() {
        let parse = |args: &[&str]| Cli::try_parse_from(args).unwrap().command;
        let Command::Serve(serve) = parse(&["penstock", "serve", "--manifests", "d"]) else { panic!() };
        assert_eq!(serve.https, ["[::]:8443".parse().unwrap()]);
        let args = ["penstock", "serve", "--manifests", "d", "--http", "127.0.0.1:1", "--http", "[::1]:2"];
        let Command::Serve(serve) = parse(&args) else { panic!() };
        assert_eq!(serve.http.len(), 2);
    }

    #[test]
    fn usage_errors_exit_with_2() {
        let error = Cli::try_parse_from(["penstock", "serve"]).unwrap_err();
        assert_eq!(error.exit_code(), 2);
    }
}
