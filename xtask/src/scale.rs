//! `cargo xtask scale`: a large cluster's objects in a directory, and what serving them costs.

use std::fmt::Write as _;
use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use base64::Engine as _;
use rcgen::{CertificateParams, KeyPair};

use crate::shell::{Outcome, cargo, run as run_command, target};

/// What one wait takes at the most.
const LIMIT: Duration = Duration::from_mins(1);

/// How many single changes are measured.
const CHANGES: usize = 20;

/// What to make.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Ingresses, each with a Service, an EndpointSlice and a Secret of its own.
    #[arg(long, default_value_t = 5000)]
    ingresses: usize,
}

/// Builds, makes the objects, serves them and prints what was measured.
pub(crate) fn run(arguments: &Arguments) -> Outcome {
    run_command(&mut cargo(&["build", "--release", "-p", "ingress-userspace"]))?;
    let directory = tempfile::tempdir()?;
    let made = Instant::now();
    make(directory.path(), arguments.ingresses)?;
    println!(
        "{} Ingresses, Services, EndpointSlices and Secrets made in {:?}",
        arguments.ingresses,
        made.elapsed()
    );
    let started = Instant::now();
    let mut penstock = Running::start(directory.path())?;
    let admin = penstock.wait_for_admin()?;
    wait(|| Ok(get(admin, "/readyz")?.starts_with("HTTP/1.1 200")))?;
    println!("start to ready: {:?}", started.elapsed());
    println!("resident memory when ready: {} KiB", penstock.resident()?);
    let mut times = Vec::new();
    for change in 0..CHANGES {
        times.push(change_endpoint(directory.path(), admin, change * arguments.ingresses / CHANGES, change)?);
    }
    times.sort();
    println!(
        "one EndpointSlice from write to routing table, 20 ms of it waiting for the burst to end: \
         median {:?}, longest {:?}",
        times[CHANGES / 2],
        times[CHANGES - 1]
    );
    println!("resident memory after {CHANGES} changes: {} KiB", penstock.resident()?);
    Ok(())
}

/// Writes an endpoint and waits until Penstock would use it.
fn change_endpoint(directory: &Path, admin: SocketAddr, number: usize, change: usize) -> Outcome<Duration> {
    let address = format!("10.99.{change}.1");
    let written = Instant::now();
    put(directory, &format!("slice-{number}.yaml"), &slice(number, &address))?;
    let question = format!("/explain?url=https://h{number}.example.com/");
    wait(|| Ok(get(admin, &question)?.contains(&address)))?;
    Ok(written.elapsed())
}

/// Asks until the answer is yes.
fn wait(mut question: impl FnMut() -> Outcome<bool>) -> Outcome {
    let begin = Instant::now();
    while !question()? {
        if begin.elapsed() > LIMIT {
            return Err(format!("nothing happened within {LIMIT:?}").into());
        }
        std::thread::park_timeout(Duration::from_millis(1));
    }
    Ok(())
}

fn get(admin: SocketAddr, path: &str) -> Outcome<String> {
    let mut stream = TcpStream::connect(admin)?;
    stream.set_read_timeout(Some(LIMIT))?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {admin}\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

/// The measured process; killed when this is dropped.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Running {
    fn start(directory: &Path) -> Outcome<Self> {
        let child = Command::new(target().join("release/penstock"))
            .args(["serve", "--http", "127.0.0.1:0", "--https", "127.0.0.1:0", "--admin", "127.0.0.1:0"])
            .arg("--manifests")
            .arg(directory)
            .env("PENSTOCK_LOG_FORMAT", "json")
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()?;
        Ok(Self(child))
    }

    /// The admin address, from the log. The rest of the log is read and dropped, so that the process never waits for us.
    fn wait_for_admin(&mut self) -> Outcome<SocketAddr> {
        let log = self.0.stderr.take().ok_or("the log is not piped")?;
        let mut lines = BufReader::new(log).lines();
        for line in lines.by_ref() {
            let entry: serde_json::Value = serde_json::from_str(&line?).unwrap_or_default();
            if entry["message"] == "listening" && entry["kind"] == "admin" {
                std::thread::spawn(move || lines.for_each(drop));
                return Ok(entry["address"].as_str().unwrap_or_default().parse()?);
            }
        }
        Err("penstock ended before it listened".into())
    }

    fn resident(&self) -> Outcome<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.0.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).ok_or("no VmRSS")?;
        Ok(line.trim().trim_end_matches(" kB").parse()?)
    }
}

fn make(directory: &Path, count: usize) -> Outcome {
    put(
        directory,
        "class.yaml",
        "apiVersion: networking.k8s.io/v1\nkind: IngressClass\nmetadata:\n  name: penstock\nspec:\n  \
         controller: penstock.dev/ingress-controller\n",
    )?;
    for number in 0..count {
        put(directory, &format!("slice-{number}.yaml"), &slice(number, "10.0.0.1"))?;
        put(directory, &format!("app-{number}.yaml"), &objects(number)?)?;
    }
    Ok(())
}

/// Replaces a file at once, as editors and kubelets do.
fn put(directory: &Path, name: &str, text: &str) -> Outcome {
    let temporary = directory.join(format!(".{name}.new"));
    fs::write(&temporary, text)?;
    Ok(fs::rename(temporary, directory.join(name))?)
}

fn slice(number: usize, address: &str) -> String {
    format!(
        "apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata:\n  name: s{number}-1\n  namespace: default\n  \
         labels:\n    kubernetes.io/service-name: s{number}\naddressType: IPv4\nports:\n- port: 8080\nendpoints:\n\
         - addresses: [{address}]\n  conditions:\n    ready: true\n"
    )
}

fn objects(number: usize) -> Outcome<String> {
    let host = format!("h{number}.example.com");
    let key = KeyPair::generate()?;
    let certificate = CertificateParams::new(vec![host.clone()])?.self_signed(&key)?;
    let encode = |pem: String| base64::engine::general_purpose::STANDARD.encode(pem);
    let mut text = String::new();
    write!(
        text,
        "apiVersion: v1\nkind: Service\nmetadata:\n  name: s{number}\n  namespace: default\nspec:\n  ports:\n  \
         - port: 80\n    targetPort: 8080\n---\napiVersion: v1\nkind: Secret\nmetadata:\n  name: t{number}\n  \
         namespace: default\ntype: kubernetes.io/tls\ndata:\n  tls.crt: {}\n  tls.key: {}\n---\n",
        encode(certificate.pem()),
        encode(key.serialize_pem())
    )?;
    write!(
        text,
        "apiVersion: networking.k8s.io/v1\nkind: Ingress\nmetadata:\n  name: i{number}\n  namespace: default\nspec:\n  \
         ingressClassName: penstock\n  tls:\n  - hosts: [{host}]\n    secretName: t{number}\n  rules:\n  - host: {host}\n    \
         http:\n      paths:\n      - path: /\n        pathType: Prefix\n        backend:\n          service:\n            \
         name: s{number}\n            port:\n              number: 80\n"
    )?;
    Ok(text)
}
