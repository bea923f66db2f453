//! The `penstock` that is soaked: one rung, the ways in that it serves, and what it says of itself.

use std::net::SocketAddr;
use std::sync::Arc;

use rustls::pki_types::ServerName;
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, ClientConnection};

use crate::client::{Clients, HOSTS};
use crate::plan::Rung;
use crate::support::authority::{Authority, KeyKind, trusting_anything};
use crate::support::manifests::{Ingress, Manifests};
use crate::support::process::{Options, Penstock};

/// A running `penstock serve` in front of one backend.
pub(crate) struct Rig {
    pub(crate) penstock: Penstock,
    authority: Authority,
    _manifests: Manifests,
}

impl Rung {
    /// The `kernel` section that leaves only this rung, or those below it where it does not serve.
    fn switches(self) -> &'static str {
        match self {
            Self::Copy => "  ktls: off\n  splice: off\n  sockmap: off\n",
            Self::Splice => "  ktls: off\n  splice: auto\n  spliceFrom: 0\n  sockmap: off\n",
            Self::Sockmap => {
                "  ktls: off\n  splice: off\n  sockmap: auto\n  sockmapAfter: 0\n  sockmapFrom: 0\n"
            }
            Self::Ktls => "  ktls: auto\n  splice: auto\n  spliceFrom: 0\n  sockmap: off\n",
        }
    }

    /// The accelerations that have to be proven for it.
    fn accelerations(self) -> &'static [&'static str] {
        match self {
            Self::Copy => &[],
            Self::Splice => &["splice"],
            Self::Sockmap => &["sockmap"],
            Self::Ktls => &["ktls", "splice"],
        }
    }

    /// By what its bytes are counted.
    pub(crate) fn counted(self) -> &'static str {
        match self {
            Self::Copy => "copy",
            // Only TLS comes in there: what is spliced is spliced to or from it.
            Self::Splice | Self::Ktls => "splice",
            Self::Sockmap => "sockmap",
        }
    }

    /// Its name for users.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Ktls => "ktls",
            other => other.counted(),
        }
    }
}

impl Rig {
    /// Serves three hosts, all by the same backend: in plaintext, over TLS, and passed through.
    pub(crate) fn new(rung: Rung, backend: SocketAddr) -> Self {
        let (authority, manifests) = (Authority::new(), Manifests::new());
        let [plain, tls, pass] = HOSTS;
        manifests.site(tls, &authority.issue(&[tls], KeyKind::Ecdsa), &[backend]);
        manifests.ingress(&Ingress::new("default", "plain").path(plain, "/", "Prefix", "app-test"));
        manifests.service("default", "pass", &[backend]);
        let passed = Ingress::new("default", "pass").path(pass, "/", "Prefix", "pass");
        manifests.ingress(&passed.annotation("penstock.dev/ssl-passthrough", "true"));
        // Failures on purpose must not eject the only endpoint, a log of 100,000 requests is not read, and many handshakes at
        // once take an emulated processor longer than a client has; when the machine beneath it pauses, so does a connect.
        let config = format!(
            "timeouts:\n  handshake: 2m\n  head: 2m\n  connect: 2m\nrouting:\n  allowPlaintext: true\nupstream:\n  outlierFailures: 0\naccessLog:\n  enabled: false\n\
             kernel:\n{}",
            rung.switches()
        );
        let options = Options { config: Some(config), workers: 2, ..Options::default() };
        Self { penstock: Penstock::start_with(&manifests, &options), authority, _manifests: manifests }
    }

    /// Why this kernel does not have the rung, if it has not.
    pub(crate) fn lacks(&self, rung: Rung) -> Option<String> {
        let proven = |name: &str| {
            self.penstock.metric("penstock_kernel_acceleration", &[("name", name), ("state", "proven")]) > 0.5
        };
        let lacking = rung.accelerations().iter().find(|name| !proven(name))?;
        Some(format!("{lacking} is not proven on this kernel, see `penstock doctor`"))
    }

    /// What the clients need.
    pub(crate) fn clients(&self) -> Clients {
        let config = |version| Arc::new(self.authority.client_of(&[version]));
        Clients {
            http: self.penstock.http(),
            https: self.penstock.https(),
            tls: [config(&TLS12), config(&TLS13)],
            hello: hello(trusting_anything()),
        }
    }

    /// Bytes that a rung has moved.
    pub(crate) fn moved(&self, counted: &str) -> f64 {
        self.penstock.metric("penstock_relay_bytes_total", &[("rung", counted)])
    }

    /// Resident memory now and at the most, and what of the first is no file's, in KiB (proc_pid_status(5)).
    pub(crate) fn memory(&self) -> [u64; 3] {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.penstock.pid())).unwrap();
        ["VmRSS:", "VmHWM:", "RssAnon:"].map(|name| {
            let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
            line.split_whitespace().next().unwrap().parse().unwrap()
        })
    }
}

/// The ClientHello of a real client, for the host that is passed through.
fn hello(config: ClientConfig) -> Vec<u8> {
    let name = ServerName::try_from(HOSTS[2]).unwrap();
    let mut client = ClientConnection::new(Arc::new(config), name).unwrap();
    let mut bytes = Vec::new();
    client.write_tls(&mut bytes).unwrap();
    bytes
}
