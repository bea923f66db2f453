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
    /// Serve what the Kubernetes API server, or a directory of manifests, describes, until SIGTERM or SIGINT.
    Serve(Box<Serve>),
    /// Print what Penstock thinks of a directory of manifests, or of the cluster; exit 1 if it refuses anything.
    Check(Check),
    /// Say which rule, backend, certificate and policies serve a URL, and why others do not.
    Explain(Explain),
    /// Print the routing table and all reports as JSON, without any secret.
    Dump(Dump),
    /// Say what this kernel can do for this process, why it cannot do the rest, and what to change.
    Doctor(Doctor),
    /// Print the version.
    Version,
}

/// `penstock serve`
#[derive(Debug, Args)]
pub struct Serve {
    /// Directory of Kubernetes manifests (YAML or JSON), watched for changes. Without it, the objects are those of the
    /// Kubernetes API server: of the current context of KUBECONFIG, else of the cluster that Penstock runs in.
    #[arg(long, value_name = "DIR", env = "PENSTOCK_MANIFESTS")]
    pub manifests: Option<PathBuf>,
    /// Which part of the cluster is read.
    #[command(flatten)]
    pub cluster: Cluster,
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
    /// Instance that this process belongs to: it takes the listening sockets of the process that serves the instance on this
    /// machine, which drains. By default, processes with the same --http and --https are one instance, unless a port is 0; an
    /// empty name takes over from nobody, and nobody from it.
    #[arg(long, value_name = "NAME", env = "PENSTOCK_INSTANCE")]
    pub instance: Option<String>,
    /// What is written to the API server.
    #[command(flatten)]
    pub writeback: WritebackFlags,
}

/// Which part of the cluster is read.
#[derive(Clone, Debug, Default, Args)]
pub struct Cluster {
    /// Read Ingresses, Services, EndpointSlices and Secrets of this namespace only. Repeatable; without it, of all
    /// namespaces.
    #[arg(
        long = "watch-namespace",
        value_name = "NS",
        env = "PENSTOCK_WATCH_NAMESPACE",
        value_delimiter = ','
    )]
    pub watch_namespaces: Vec<String>,
}

/// `penstock check`
#[derive(Debug, Args)]
pub struct Check {
    /// Directory of Kubernetes manifests. Without it, the cluster is checked: of the current context of KUBECONFIG, else
    /// the one that Penstock runs in.
    #[arg(short = 'f', long = "manifests", value_name = "DIR", env = "PENSTOCK_MANIFESTS")]
    pub manifests: Option<PathBuf>,
    /// Which part of the cluster is read.
    #[command(flatten)]
    pub cluster: Cluster,
    /// Configuration file (YAML).
    #[arg(long, value_name = "FILE", env = "PENSTOCK_CONFIG")]
    pub config: Option<PathBuf>,
}

/// `penstock explain`
#[derive(Debug, Args)]
pub struct Explain {
    /// The URL: `https://host/path`.
    pub url: String,
    /// Tell what the access policy decides about somebody with these claims: an object in JSON, or a file with one. Needs --manifests
    /// or --cluster.
    #[arg(long, value_name = "JSON|FILE")]
    pub claims: Option<String>,
    /// Explain by a directory of manifests, instead of asking a running Penstock.
    #[arg(long, value_name = "DIR")]
    pub manifests: Option<PathBuf>,
    /// Explain by what the Kubernetes API server holds, instead of asking a running Penstock.
    #[arg(long = "cluster", conflicts_with = "manifests")]
    pub by_cluster: bool,
    /// Which part of the cluster is read.
    #[command(flatten)]
    pub cluster: Cluster,
    /// Ask a running Penstock at its admin address; of several, the first.
    #[arg(
        long,
        value_name = "ADDR",
        env = "PENSTOCK_ADMIN",
        value_delimiter = ',',
        default_value = "127.0.0.1:9090"
    )]
    pub admin: Vec<SocketAddr>,
    /// Configuration file (YAML), with --manifests or --cluster.
    #[arg(long, value_name = "FILE", env = "PENSTOCK_CONFIG")]
    pub config: Option<PathBuf>,
}

/// `penstock doctor`
#[derive(Debug, Args)]
pub struct Doctor {
    /// Configuration file (YAML): what it switches off is not tried.
    #[arg(long, value_name = "FILE", env = "PENSTOCK_CONFIG")]
    pub config: Option<PathBuf>,
}

/// `penstock dump`
#[derive(Debug, Args)]
pub struct Dump {
    /// Of a directory of Kubernetes manifests.
    #[arg(short = 'f', long = "manifests", value_name = "DIR", env = "PENSTOCK_MANIFESTS")]
    pub manifests: Option<PathBuf>,
    /// Of a running Penstock, by its admin address. Without this and --manifests, of the cluster: of the current context
    /// of KUBECONFIG, else the one that Penstock runs in.
    #[arg(
        long,
        value_name = "ADDR",
        num_args = 0..=1,
        default_missing_value = "127.0.0.1:9090",
        conflicts_with = "manifests"
    )]
    pub admin: Option<SocketAddr>,
    /// Which part of the cluster is read.
    #[command(flatten)]
    pub cluster: Cluster,
    /// Configuration file (YAML); not with --admin.
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
        for args in [
            &["penstock", "serve", "--manifests"][..],
            &["penstock", "explain", "https://h/", "--cluster", "--manifests", "d"],
            &["penstock", "dump", "-f", "d", "--admin"],
            &["penstock", "serve", "--unknown"],
        ] {
            let error = Cli::try_parse_from(args).unwrap_err();
            assert_eq!(error.exit_code(), 2, "{args:?}");
        }
    }

    #[test]
    fn a_dump_may_be_of_the_usual_admin_address() {
        let parse = |args: &[&str]| match Cli::try_parse_from(args).unwrap().command {
            Command::Dump(dump) => dump.admin,
            _ => panic!(),
        };
        assert_eq!(parse(&["penstock", "dump"]), None);
        assert_eq!(parse(&["penstock", "dump", "--admin"]), Some("127.0.0.1:9090".parse().unwrap()));
        assert_eq!(
            parse(&["penstock", "dump", "--admin", "127.0.0.1:1"]),
            Some("127.0.0.1:1".parse().unwrap())
        );
    }

    #[test]
    fn namespaces_are_repeatable() {
        let args = ["penstock", "serve", "--watch-namespace", "a", "--watch-namespace", "b,c"];
        let Command::Serve(serve) = Cli::try_parse_from(args).unwrap().command else { panic!() };
        assert_eq!(serve.cluster.watch_namespaces, ["a", "b", "c"]);
    }
}
