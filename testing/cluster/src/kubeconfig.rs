//! Kubeconfig files that hold all they need: they can be copied anywhere on this machine.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::certificates::Pair;

/// How a user proves who they are.
pub(crate) enum Proof<'a> {
    Certificate(&'a Pair),
    Token(&'a str),
}

/// A kubeconfig of one cluster, one user and one context in a namespace.
pub(crate) fn text(server: &str, authority: &str, user: &str, proof: &Proof<'_>, namespace: &str) -> String {
    let authority = STANDARD.encode(authority);
    let proof = match proof {
        Proof::Token(token) => format!("token: {token}"),
        Proof::Certificate(Pair { certificate, key }) => format!(
            "client-certificate-data: {}\n      client-key-data: {}",
            STANDARD.encode(certificate),
            STANDARD.encode(key)
        ),
    };
    format!(
        "apiVersion: v1
kind: Config
clusters:
  - name: penstock-test
    cluster:
      server: {server}
      certificate-authority-data: {authority}
users:
  - name: {user}
    user:
      {proof}
contexts:
  - name: penstock-test
    context:
      cluster: penstock-test
      user: {user}
      namespace: {namespace}
current-context: penstock-test
"
    )
}
