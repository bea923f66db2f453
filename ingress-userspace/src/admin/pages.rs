//! The answers of the admin server.

use hyper::body::Incoming;
use hyper::header::{
    ALLOW, CACHE_CONTROL, CONTENT_TYPE, HOST, HeaderName, HeaderValue, X_CONTENT_TYPE_OPTIONS,
};
use hyper::{Method, Request, Response, StatusCode};

use super::{AdminState, Readiness, host, query};
use crate::telemetry::metrics;

/// Leave to make an answer that can be large.
pub(super) struct Large;

/// An answer: a `String` is a body of known length.
type Answer = Response<String>;

const TEXT: &str = "text/plain; charset=utf-8";
const JSON: &str = "application/json";

const INDEX: &str = "Penstock admin server

/livez                          whether the process runs
/readyz                         whether requests should be sent here
/metrics                        metrics for Prometheus
/explain?url=https://host/path  which rule serves a URL, and why others do not
/reports                        findings about Kubernetes objects (JSON)
/table                          the routing table (JSON)
";

/// Answers a request. `admit` is asked before an answer that can be large.
pub(super) fn answer(
    state: &AdminState,
    request: &Request<Incoming>,
    admit: impl FnOnce() -> Option<Large>,
) -> Answer {
    if request.method() != Method::GET && request.method() != Method::HEAD {
        let mut answer = text(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD are served\n");
        answer.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        return answer;
    }
    let path = request.uri().path();
    // Probes tell nothing that a foreign page could use, and must work under whatever name they are sent to.
    match path {
        "/livez" => return text(StatusCode::OK, "alive\n"),
        "/readyz" => return ready((state.readiness)()),
        _ => {}
    }
    if !host_allowed(state, request) {
        return text(
            StatusCode::MISDIRECTED_REQUEST,
            "the Host field is neither an address nor localhost nor a configured name of the admin server\n",
        );
    }
    match path {
        "/" => text(StatusCode::OK, INDEX),
        "/explain" => explain(state, request.uri().query().unwrap_or_default()),
        "/metrics" | "/reports" | "/table" => match admit() {
            Some(large) => large_page(state, path, &large),
            None => text(StatusCode::SERVICE_UNAVAILABLE, "too many large answers at once; ask again\n"),
        },
        _ => text(StatusCode::NOT_FOUND, "no such page; / lists all\n"),
    }
}

fn host_allowed(state: &AdminState, request: &Request<Incoming>) -> bool {
    let hosts: Vec<_> = request.headers().get_all(HOST).iter().collect();
    match (request.uri().authority(), &hosts[..]) {
        // In absolute form the target names the host (RFC 9112, section 3.2.2).
        (Some(authority), [] | [_]) => host::allowed(Some(authority.as_str()), &state.allowed_hosts),
        (None, []) => host::allowed(None, &state.allowed_hosts),
        (None, [one]) => one.to_str().is_ok_and(|h| host::allowed(Some(h), &state.allowed_hosts)),
        (_, [_, _, ..]) => false,
    }
}

fn ready(readiness: Readiness) -> Answer {
    let unready = StatusCode::SERVICE_UNAVAILABLE;
    match readiness {
        Readiness::Ready => text(StatusCode::OK, "ready\n"),
        Readiness::NotSynchronised => {
            text(unready, "not ready: the configuration is not completely read yet\n")
        }
        Readiness::Draining => text(unready, "not ready: draining\n"),
    }
}

fn explain(state: &AdminState, query: &str) -> Answer {
    let Some(url) = query::parameter(query, "url").filter(|url| !url.is_empty()) else {
        return text(StatusCode::BAD_REQUEST, "say which: /explain?url=https://host/path\n");
    };
    match (state.explain)(&url) {
        Ok(explanation) => text(StatusCode::OK, explanation),
        Err(error) => text(StatusCode::BAD_REQUEST, error + "\n"),
    }
}

fn large_page(state: &AdminState, path: &str, _: &Large) -> Answer {
    match path {
        "/reports" => json((state.reports)().to_string()),
        "/table" => json((state.table)().to_string()),
        _ => match state.metrics.render() {
            Ok(metrics) => respond(StatusCode::OK, metrics::CONTENT_TYPE, metrics),
            Err(error) => {
                tracing::error!(%error, "the metrics cannot be written");
                text(StatusCode::INTERNAL_SERVER_ERROR, "the metrics cannot be written; the log says why\n")
            }
        },
    }
}

fn json(body: String) -> Answer {
    respond(StatusCode::OK, JSON, body + "\n")
}

fn text(status: StatusCode, body: impl Into<String>) -> Answer {
    respond(status, TEXT, body.into())
}

fn respond(status: StatusCode, content_type: &'static str, body: String) -> Answer {
    const FIELDS: [(HeaderName, HeaderValue); 2] = [
        (CACHE_CONTROL, HeaderValue::from_static("no-store")),
        (X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
    ];
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    for (name, value) in FIELDS {
        response.headers_mut().insert(name, value);
    }
    response
}
