//! Services that decide about requests, as `auth-url` of ingress-nginx asks them: fails closed.
//!
//! ```text
//! 2xx ─► pass, with the fields of the answer that the policy names      401 and a sign-in page ─► redirect
//! 401, 403 ─► the answer as it is                                        everything else, and none ─► 503
//! ```

use std::fmt::Write as _;
use std::future::Future;
use std::net::IpAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;

use hyper::header::{HeaderMap, HeaderName, HeaderValue};
use hyper::http::Request;
use ingress_core::auth::asking::Asking;
use ingress_core::auth::cookie;
use ingress_core::http::RequestHead;
use ingress_core::table::{Access, External, UrlTemplate};

use super::authenticator::{Grant, Settled, Why};
use super::client::{HttpRequest, HttpResponse};
use super::local::Who;
use super::reply::Reply;
use crate::worker::Worker;

/// The longest value of a field of the answer that is passed on.
const MAX_VALUE: usize = 16 * 1024;

/// Fields of a request that are not the service's: those of the connection and the content, and those that are said anew.
const NOT_PASSED: [&str; 20] = [
    "host",
    "connection",
    "keep-alive",
    "proxy-connection",
    "proxy-authorization",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "http2-settings",
    "expect",
    "content-length",
    "content-encoding",
    "range",
    "forwarded",
    "x-real-ip",
    "x-original-url",
    "x-original-method",
    "x-rewrite-url",
    "x-auth-request-redirect",
];

/// What the answer is judged by.
struct Asked {
    access: Arc<Access>,
    /// Where a browser is sent on 401, if it is one that can be sent somewhere.
    sign_in: Option<String>,
}

/// Asks a service about a request. Whatever is not clearly a permission denies.
pub(crate) fn ask(
    worker: &Rc<Worker>,
    access: &Arc<Access>,
    external: &External,
    head: &RequestHead<'_>,
    from: &Origin<'_>,
) -> Pin<Box<dyn Future<Output = Settled>>> {
    let Some(request) = request(external, head, from) else {
        return Box::pin(async { Why::External.settled() });
    };
    let redirected = Asking::of(head).may_be_redirected(head, access.unauthenticated);
    let sign_in = external.sign_in.as_ref().filter(|_| redirected);
    let sign_in = sign_in.map(|url| sign_in_url(external, url, head));
    let asked = Asked { access: Arc::clone(access), sign_in };
    let auth = &worker.shared.auth;
    let client = match auth.external.client(external.authorities.as_deref()) {
        Ok(client) => client,
        Err(error) => {
            tracing::warn!(policy = %access.name, %error, "the external service cannot be asked");
            return Box::pin(async { Why::External.settled() });
        }
    };
    let asking = auth.runtime.run(client.send(request));
    Box::pin(async move {
        match asking.await {
            Ok(Ok(answer)) => asked.judge(&answer),
            Ok(Err(error)) => {
                tracing::warn!(policy = %asked.access.name, %error, "the external service has not answered");
                Why::External.settled()
            }
            Err(_) => Why::External.settled(),
        }
    })
}

/// Where a request comes from.
pub(crate) struct Origin<'o> {
    /// The client's address.
    pub(crate) client: IpAddr,
    /// What our pages and logs call the request.
    pub(crate) request_id: &'o str,
}

/// Host and port, as the browser has them.
fn authority(head: &RequestHead<'_>) -> String {
    match head.port {
        Some(port) if port != 443 => format!("{}:{port}", head.host),
        _ => head.host.to_string(),
    }
}

/// Path and query: what is forwarded, not what was sent.
fn target(head: &RequestHead<'_>) -> String {
    match head.query {
        Some(query) => format!("{}?{query}", head.path),
        None => head.path.to_string(),
    }
}

fn sign_in_url(external: &External, url: &UrlTemplate, head: &RequestHead<'_>) -> String {
    let (authority, target) = (authority(head), target(head));
    let mut url = url.expand("https", &authority, &target);
    let parameter = &*external.sign_in_parameter;
    let has = url
        .split_once('?')
        .is_some_and(|(_, query)| query.split('&').any(|pair| pair.split('=').next() == Some(parameter)));
    if !has && !parameter.is_empty() {
        let original = format!("https://{authority}{target}");
        let encoded: String = form_urlencoded::byte_serialize(original.as_bytes()).collect();
        url.push(if url.contains('?') { '&' } else { '?' });
        // Writing to a String does not fail.
        let _ = write!(url, "{parameter}={encoded}");
    }
    url
}

fn request(external: &External, head: &RequestHead<'_>, from: &Origin<'_>) -> Option<HttpRequest> {
    let (authority, target) = (authority(head), target(head));
    let url = external.url.expand("https", &authority, &target);
    let mut request = Request::builder().method(&*external.method).uri(url).body(Vec::new()).ok()?;
    let fields = request.headers_mut();
    for (name, value) in head.headers() {
        let lower = name.to_ascii_lowercase();
        if NOT_PASSED.contains(&&*lower) || lower.starts_with("x-forwarded-") {
            continue;
        }
        let value = if lower == "cookie" { cookie::without_ours(value) } else { Some(value.into()) };
        let name = HeaderName::from_bytes(lower.as_bytes()).ok()?;
        if let Some(value) = value {
            fields.append(name, HeaderValue::from_bytes(&value).ok()?);
        }
    }
    let original = format!("https://{authority}{target}");
    let client = from.client.to_canonical().to_string();
    let own = [
        ("x-original-url", original.as_str()),
        ("x-original-method", head.method),
        ("x-forwarded-host", &authority),
        ("x-forwarded-proto", "https"),
        ("x-forwarded-method", head.method),
        ("x-forwarded-uri", &target),
        ("x-forwarded-for", &client),
        ("x-real-ip", &client),
        ("x-auth-request-redirect", &target),
        ("x-request-id", from.request_id),
    ];
    for (name, value) in own {
        fields.insert(HeaderName::from_static(name), HeaderValue::from_str(value).ok()?);
    }
    Some(request)
}

impl Asked {
    fn judge(&self, answer: &HttpResponse) -> Settled {
        match answer.status().as_u16() {
            200..=299 => self.pass(answer.headers()),
            401 => match &self.sign_in {
                Some(url) => redirected(url, answer),
                None => answered(401, answer),
            },
            403 => answered(403, answer),
            status => {
                tracing::warn!(policy = %self.access.name, status, "the external service has neither allowed nor denied");
                Why::External.settled()
            }
        }
    }

    fn pass(&self, fields: &HeaderMap) -> Settled {
        let Some(external) = &self.access.external else { return Why::Policy.settled() };
        let mut lines = Vec::new();
        for name in &external.response_fields {
            for value in fields.get_all(&**name).iter().filter(|value| value.len() <= MAX_VALUE) {
                for part in [name.as_bytes(), b": ", value.as_bytes(), b"\r\n"] {
                    lines.extend_from_slice(part);
                }
            }
        }
        let who = Who { lines: lines.into(), subject: "".into() };
        Settled::Pass(Grant { who: Some(Rc::new(who)), cookies: cookies(fields), ..Grant::default() })
    }
}

/// To the sign-in page.
fn redirected(url: &str, answer: &HttpResponse) -> Settled {
    let mut reply = Reply::redirect(302, url);
    reply.cookies(&cookies(answer.headers()));
    Why::Answer(Box::new(reply)).settled()
}

/// The service's own words.
fn answered(status: u16, answer: &HttpResponse) -> Settled {
    let mut reply = Reply { content: answer.body().clone(), ..Reply::empty(status) };
    for name in ["content-type", "www-authenticate", "content-security-policy"] {
        for value in answer.headers().get_all(name).iter().filter_map(|value| value.to_str().ok()) {
            reply.field(name, value);
        }
    }
    reply.cookies(&cookies(answer.headers()));
    Why::Answer(Box::new(reply)).settled()
}

/// The cookies that the service sets; none of ours.
fn cookies(fields: &HeaderMap) -> Vec<String> {
    let values = fields.get_all("set-cookie").iter().filter(|value| !cookie::sets_ours(value.as_bytes()));
    values.filter_map(|value| value.to_str().ok().map(str::to_owned)).collect()
}
