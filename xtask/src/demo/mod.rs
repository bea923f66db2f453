//! `cargo xtask demo`: Penstock in front of two sample backends, on this machine, until Ctrl-C.

pub(crate) mod backend;
mod certificates;
mod children;
mod sign_on;

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use clap::Args;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{sleep, timeout};

use self::certificates::Authority;
use self::children::Children;
use crate::packages::{self, Package};
use crate::shell::{Outcome, cargo, root, run as run_command, target};

/// Options of `cargo xtask demo`.
#[derive(Args)]
pub(crate) struct Arguments {
    /// Build without optimization: faster to build, slower to serve.
    #[arg(long)]
    dev: bool,
    /// Build nothing: this is the penstock binary.
    #[arg(long, conflicts_with = "dev")]
    binary: Option<PathBuf>,
    /// Run an OpenID provider too, and put single sign-on before the host staff.localhost.
    #[arg(long)]
    sign_on: bool,
    /// Where Penstock takes plain HTTP.
    #[arg(long, default_value = "[::]:8080")]
    http: SocketAddr,
    /// Where Penstock takes HTTPS.
    #[arg(long, default_value = "[::]:8443")]
    https: SocketAddr,
    /// Where Penstock answers its operator.
    #[arg(long, default_value = "127.0.0.1:9090")]
    admin: SocketAddr,
}

/// The sample backends: names, and the ports that stand in demo/endpointslices.yaml.
const BACKENDS: [(&str, u16); 2] = [("alpha", 18081), ("beta", 18082)];

/// The host that demo/ingress.yaml serves.
const HOST: &str = "demo.example";

/// What is started besides cargo; npm, which installs the OpenID provider, only for sign-on.
const PACKAGES: [Package; 2] =
    [Package { provides: "curl", name: "curl" }, Package { provides: "npm", name: "npm" }];

/// The last line of the greeting begins with this.
pub(crate) const LAST_WORDS: &str = "Edit a file in demo/ and try again.";

/// A start that takes longer than this has failed.
const START: Duration = Duration::from_secs(20);

/// Builds, starts everything, and waits for the end.
pub(crate) fn run(arguments: &Arguments) -> Outcome {
    packages::ensure(if arguments.sign_on { &PACKAGES } else { &PACKAGES[..1] })?;
    let binary = match &arguments.binary {
        Some(binary) => binary.clone(),
        None => build(arguments.dev)?,
    };
    fs::create_dir_all(target().join("demo"))?;
    let authority = Authority::new()?;
    fs::write(authority_file(), authority.pem())?;
    let hosts = [HOST, "*.demo.example", sign_on::HOST];
    certificates::write_secret(&authority, &root().join("demo/secret.yaml"), &hosts)?;
    let manifests = root().join("demo/sign-on.yaml");
    // What an earlier run has left names a provider that is gone.
    let _ = fs::remove_file(&manifests);
    let port = arguments.https.port();
    let provider = arguments.sign_on.then(|| sign_on::start(&authority, &manifests, port)).transpose()?;
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(serve(arguments, binary))?;
    drop(provider);
    Ok(())
}

/// Builds penstock, and returns where it is.
fn build(dev: bool) -> Outcome<PathBuf> {
    let (profile, directory) = if dev { ("dev", "debug") } else { ("release", "release") };
    run_command(&mut cargo(&["build", "--profile", profile, "--bin", "penstock"]))?;
    Ok(target().join(directory).join("penstock"))
}

/// Starts the children, prints what to try, and stops them when the user or one of them has had enough.
async fn serve(arguments: &Arguments, penstock: PathBuf) -> Outcome {
    // The handlers stand before the first child does: a signal in between must stop the child as well.
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut hang_up = signal(SignalKind::hangup())?;
    let mut children = Children::default();
    let outcome = tokio::select! {
        outcome = start_and_watch(arguments, penstock, &mut children) => outcome,
        _ = interrupt.recv() => Ok(()),
        _ = terminate.recv() => Ok(()),
        _ = hang_up.recv() => Ok(()),
    };
    println!("\nstopping");
    children.stop().await;
    outcome
}

/// Returns only when something has ended that should not have.
async fn start_and_watch(arguments: &Arguments, penstock: PathBuf, children: &mut Children) -> Outcome {
    for (name, port) in BACKENDS {
        let mut backend = Command::new(std::env::current_exe()?);
        backend.args(["backend", "--name", name, "--port", &port.to_string()]);
        children.start(name, backend)?;
        children.until(connects(SocketAddr::from(([127, 0, 0, 1], port)))).await?;
    }
    let mut command = Command::new(&penstock);
    command
        .current_dir(root())
        .args(["serve", "--manifests", "demo/"])
        .args(["--http", &arguments.http.to_string()])
        .args(["--https", &arguments.https.to_string()])
        .args(["--admin", &arguments.admin.to_string()]);
    children.start("penstock", command)?;
    children.until(is_ready(arguments.admin)).await?;
    greet(arguments, &penstock);
    children.until(std::future::pending::<Outcome>()).await
}

/// The certificate of the demo's authority.
fn authority_file() -> PathBuf {
    target().join("demo/ca.pem")
}

fn greet(arguments: &Arguments, penstock: &Path) {
    let port = arguments.https.port();
    let authority = authority_file();
    let curl = format!("curl --cacert {} --resolve '*:{port}:127.0.0.1'", shown(&authority));
    println!(
        "
Penstock serves demo/. Try, in another terminal and in this directory:

  {curl} https://{HOST}:{port}/
  {curl} https://{HOST}:{port}/beta
  {curl} https://any.{HOST}:{port}/
  curl http://{admin}/metrics
  {penstock} explain https://{HOST}/beta --manifests demo/
",
        admin = arguments.admin,
        penstock = shown(penstock)
    );
    if arguments.sign_on {
        greet_for_sign_on(&curl, port, penstock);
    }
    println!("{LAST_WORDS} Ctrl-C stops everything.\n");
}

fn greet_for_sign_on(curl: &str, port: u16, penstock: &Path) {
    let host = sign_on::HOST;
    println!(
        "\
Single sign-on: open https://{host}:{port}/ in a browser on this machine (it does not know the demo's authority, and warns).
The provider asks for a name: alice is in the group staff, bob is not. Sign out at https://{host}:{port}/.penstock/sign-out

  {curl} https://{host}:{port}/
  {curl} https://{host}:{port}/public/page
  {penstock} explain https://{host}/ --manifests demo/ --claims '{{\"sub\": \"alice\", \"groups\": [\"staff\"]}}'
  {penstock} explain https://{host}/ --manifests demo/ --claims '{{\"sub\": \"bob\", \"groups\": [\"guests\"]}}'
",
        penstock = shown(penstock)
    );
}

/// A path as it is typed in the root of the checkout.
fn shown(path: &Path) -> std::path::Display<'_> {
    path.strip_prefix(root()).unwrap_or(path).display()
}

/// Waits until something listens.
async fn connects(address: SocketAddr) -> Outcome {
    let attempts = async {
        while TcpStream::connect(address).await.is_err() {
            sleep(Duration::from_millis(20)).await;
        }
    };
    Ok(timeout(START, attempts).await.map_err(|_| format!("nothing listens on {address}"))?)
}

/// Waits until Penstock says that it has its first table.
async fn is_ready(admin: SocketAddr) -> Outcome {
    let attempts = async {
        while !answers_ready(admin).await.unwrap_or(false) {
            sleep(Duration::from_millis(50)).await;
        }
    };
    Ok(timeout(START, attempts)
        .await
        .map_err(|_| format!("penstock is not ready: see http://{admin}/readyz"))?)
}

async fn answers_ready(admin: SocketAddr) -> std::io::Result<bool> {
    let mut stream = TcpStream::connect(admin).await?;
    stream.write_all(b"GET /readyz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").await?;
    let mut answer = Vec::new();
    // The answer is small; what is longer is not one.
    stream.take(4096).read_to_end(&mut answer).await?;
    Ok(answer.starts_with(b"HTTP/1.1 200"))
}
