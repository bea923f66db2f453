//! Which rule authorizes a request, and whether this connection is good for it.

use std::sync::Arc;

use ingress_core::http::RequestHead;
use ingress_core::table::{Backend, ClassId, RoutingTable, Rule};

use super::connection::Peer;
use crate::auth::reply::Reply;
use crate::http::problem::{Problem, kinds};
use crate::telemetry::metrics::Listener;

/// Why a request does not go to a backend.
pub(super) enum Instead {
    /// An error.
    Problem(Problem),
    /// To the same host and path over TLS.
    Redirect,
    /// An endpoint of single sign-on.
    Endpoint,
    /// What single sign-on says.
    Reply(Box<Reply>),
}

impl Instead {
    fn misdirected() -> Self {
        Self::Problem(Problem::new(&kinds::MISDIRECTED))
    }
}

/// Where a request goes.
pub(super) type Routed = Result<(Arc<Rule>, Arc<Backend>), Instead>;

/// Which rule authorizes the request on this connection, and the class that it is served with: that of the rule, also if
/// the request does not go to its backend; for an endpoint of single sign-on, the class that has it there. What no rule matches is served
/// with the process-wide class.
pub(super) fn route(table: &RoutingTable, peer: &Peer, head: &RequestHead<'_>) -> (ClassId, Routed) {
    let rule = table.route(&head.host, &head.path);
    let endpoint = table.reserved(&head.host, &head.path);
    let reserved = endpoint.is_some();
    let class = endpoint.or(rule.map(|rule| rule.class)).unwrap_or(table.process());
    let allowed = match peer.listening {
        Listener::Https => check_server_name(table, peer, head),
        Listener::Http => {
            // What asks who somebody is, and what answers, never goes in plaintext.
            let open = |rule: &Arc<Rule>| rule.acme_http01 || (!rule.tls && rule.access.is_none());
            let plaintext = !reserved && rule.is_some_and(open);
            let redirected = table.tls_host(&head.host) || rule.is_some() || reserved;
            // Without a name there is nowhere to send the client (HTTP/1.0).
            if !plaintext && !head.host.is_empty() && redirected {
                let class =
                    if rule.is_some() || reserved { class } else { table.tls_class(Some(&head.host)) };
                return (class, Err(Instead::Redirect));
            }
            if plaintext { Ok(()) } else { Err(Instead::Problem(Problem::new(&kinds::NO_ROUTE))) }
        }
    };
    let routed = allowed.and_then(|()| {
        if reserved {
            check_named(table, peer, head).and(Err(Instead::Endpoint))
        } else {
            authorize(table, peer, head, rule)
        }
    });
    (class, routed)
}

fn authorize(table: &RoutingTable, peer: &Peer, head: &RequestHead<'_>, rule: Option<&Arc<Rule>>) -> Routed {
    let rule = rule.ok_or(Instead::Problem(Problem::new(&kinds::NO_ROUTE)))?;
    if table.is_ambiguous(&head.host, &head.path) {
        return Err(Instead::Problem(Problem::new(&kinds::PATH_AMBIGUOUS)));
    }
    if let Some(denied) = rule.denied {
        return Err(Instead::Problem(Problem::denied(denied)));
    }
    if peer.listening == Listener::Https && rule.tls {
        check_tls_policy(table, peer, rule)?;
    }
    check_named(table, peer, head)?;
    Ok((Arc::clone(rule), Arc::clone(table.backend(rule.backend))))
}

/// A request for another host than the handshake's may only use this connection if both hosts have the same certificate
/// (RFC 9110 section 7.4): otherwise a host's certificate could be avoided by naming another in the handshake.
fn check_server_name(table: &RoutingTable, peer: &Peer, head: &RequestHead<'_>) -> Result<(), Instead> {
    let Some(name) = peer.server_name.as_deref() else { return Ok(()) };
    if name == head.host {
        return Ok(());
    }
    let same = match (table.identity(Some(name)), table.identity(Some(&head.host))) {
        (Some(a), Some(b)) => Arc::ptr_eq(a, b),
        (None, None) => true,
        _ => false,
    };
    if same { Ok(()) } else { Err(Instead::misdirected()) }
}

/// Where either of two hosts has a policy, a request for the one must not come on a connection for the other, whatever certificates they
/// share: no browser does that in HTTP/1.1, and what was meant for one host would be authorized by the other.
fn check_named(table: &RoutingTable, peer: &Peer, head: &RequestHead<'_>) -> Result<(), Instead> {
    let Some(name) = peer.server_name.as_deref().filter(|name| *name != head.host) else { return Ok(()) };
    let guarded = |host| !table.accesses_of(host).is_empty();
    if guarded(name) || guarded(&head.host) { Err(Instead::misdirected()) } else { Ok(()) }
}

/// A rule of a class with another TLS policy than the handshake's name has cannot be reached by it: otherwise the stricter
/// policy could be avoided by naming a host of the weaker one. What the policies were when the handshake was done does not
/// matter: a change never touches an open connection.
fn check_tls_policy(table: &RoutingTable, peer: &Peer, rule: &Rule) -> Result<(), Instead> {
    let handshake = peer.tls_class(table);
    let policy = |class| table.settings(class).tls.policy();
    if handshake == rule.class || policy(handshake) == policy(rule.class) {
        Ok(())
    } else {
        Err(Instead::misdirected())
    }
}
