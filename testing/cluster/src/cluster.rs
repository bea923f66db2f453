//! The cluster: what tests and `cargo xtask cluster` hold.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::api_server::{self, Files, free_address};
use crate::binaries::Binaries;
use crate::certificates::Authority;
use crate::directory::Directory;
use crate::error::{Context as _, Error, Result};
use crate::etcd::Etcd;
use crate::https::{Answer, HttpsClient};
use crate::kubeconfig::{Proof, text};
use crate::process::Program;

/// How a cluster is started.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Where the API server listens; a free loopback address if there is none.
    pub address: Option<SocketAddr>,
    /// More arguments of the API server.
    pub api_server_arguments: Vec<String>,
}

/// A running etcd and API server. Dropping it kills both, and removes what they wrote.
pub struct Cluster {
    // In the order in which they are dropped: nothing writes into the directory when it goes.
    api_server: Program,
    etcd: Etcd,
    client: HttpsClient,
    address: SocketAddr,
    authority: String,
    admin: PathBuf,
    binaries: Binaries,
    directory: Directory,
}

impl Cluster {
    /// Starts a cluster, and waits until it is ready.
    pub fn start() -> Result<Self> {
        Self::start_with(&Binaries::locate()?, &Options::default())
    }

    /// Starts a cluster, and waits until it is ready.
    pub fn start_with(binaries: &Binaries, options: &Options) -> Result<Self> {
        let directory = Directory::new()?;
        let address = options.address.map_or_else(free_address, Ok)?;
        let authority = Authority::new()?;
        let files = Files::write(&directory, &authority.pem(), &authority.server(address.ip())?)?;
        // The group whose members may do everything, whatever RBAC says.
        let admin = authority.client("penstock-test-admin", "system:masters")?;
        let config = text(&url(address), &authority.pem(), "admin", &Proof::Certificate(&admin), "default");
        let etcd = Etcd::new(binaries.program("etcd")?, &directory);
        let more = &options.api_server_arguments;
        let program = binaries.program("kube-apiserver")?;
        let mut cluster = Self {
            api_server: api_server::program(program, address, &etcd.url(), &files, &directory, more),
            etcd,
            client: HttpsClient::new(address, &authority.pem(), &admin)?,
            address,
            authority: authority.pem(),
            admin: directory.write("admin.kubeconfig", &config)?,
            binaries: binaries.clone(),
            directory,
        };
        cluster.start_etcd()?;
        cluster.start_api_server()?;
        Ok(cluster)
    }

    /// The address of the API server.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The URL of the API server.
    pub fn url(&self) -> String {
        url(self.address)
    }

    /// The certificate of the authority that signed the API server's, PEM.
    pub fn authority(&self) -> &str {
        &self.authority
    }

    /// A kubeconfig of somebody who may do everything.
    pub fn admin_kubeconfig(&self) -> &Path {
        &self.admin
    }

    /// Writes a kubeconfig of a ServiceAccount, with a token that the API server has issued just now. The ServiceAccount
    /// must exist.
    pub fn kubeconfig_of(&self, namespace: &str, service_account: &str) -> Result<PathBuf> {
        let token = self.token(namespace, service_account)?;
        let proof = Proof::Token(&token);
        let config = text(&self.url(), &self.authority, service_account, &proof, namespace);
        self.directory.write(&format!("{namespace}.{service_account}.kubeconfig"), &config)
    }

    /// A token of a ServiceAccount, by the TokenRequest API.
    pub fn token(&self, namespace: &str, service_account: &str) -> Result<String> {
        let path = format!("/api/v1/namespaces/{namespace}/serviceaccounts/{service_account}/token");
        let body = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}});
        let answer = self.request("POST", &path, &body.to_string())?;
        let status = answer.status;
        let body = answer.good(|| format!("POST {path}"))?;
        let token = serde_json::from_str(&body)
            .ok()
            .and_then(|answer: Value| answer["status"]["token"].as_str().map(str::to_owned));
        token.ok_or_else(|| Error::Refused { request: format!("POST {path}"), status, body })
    }

    /// Makes a request as the admin: `path` as in `kubectl get --raw`.
    pub fn request(&self, method: &str, path: &str, body: &str) -> Result<Answer> {
        self.client.request(method, path, body).context(|| format!("{method} {path}"))
    }

    /// The API server's process: kill it, stop it, freeze it.
    pub fn api_server(&mut self) -> &mut Program {
        &mut self.api_server
    }

    /// Starts the API server on the same address as before, and waits until it is ready.
    pub fn start_api_server(&mut self) -> Result {
        self.api_server.start()?;
        api_server::wait_ready(&self.api_server, &self.client)
    }

    /// etcd's process: kill it, stop it, freeze it.
    pub fn etcd(&mut self) -> &mut Program {
        &mut self.etcd.program
    }

    /// Starts etcd with the data that it had before, and waits until it is healthy.
    pub fn start_etcd(&mut self) -> Result {
        self.etcd.start()
    }

    /// Waits until the API server is ready, as after a restart of etcd.
    pub fn wait_ready(&self) -> Result {
        api_server::wait_ready(&self.api_server, &self.client)
    }

    /// An error if one of the two has ended by itself.
    pub fn check(&self) -> Result {
        self.etcd.program.check()?;
        self.api_server.check()
    }

    /// Makes etcd forget all revisions but the current one. The API server still knows the latest from its watch cache:
    /// kill and start it, and every older watch is answered with 410 Gone.
    pub fn compact_etcd(&self) -> Result {
        self.etcd.compact()
    }

    /// The programs that were built with the cluster's, such as `kubectl`.
    pub fn binaries(&self) -> &Binaries {
        &self.binaries
    }
}

fn url(address: SocketAddr) -> String {
    format!("https://{address}")
}
