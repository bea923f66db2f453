//! How a refusal is said: to people by a page, to programs by a problem, to gRPC by a status.

use ingress_core::auth::asking::{Asking, Unauthenticated};
use ingress_core::auth::decision::Nobody;
use ingress_core::auth::return_to::ReturnTo;
use ingress_core::http::RequestHead;
use ingress_core::table::Access;

use super::authenticator::{Refusal, Why};
use super::pages::Brand;
use super::reply::{Audience, Reply};
use crate::http::problem::{Problem, ProblemKind, kinds};

/// gRPC status codes (google.golang.org/grpc/codes).
const PERMISSION_DENIED: u8 = 7;
const UNAVAILABLE: u8 = 14;
const UNAUTHENTICATED: u8 = 16;

/// The answer to a request that does not pass.
pub(crate) fn reply(
    refusal: Refusal,
    access: &Access,
    head: &RequestHead<'_>,
    prefix: &str,
    audience: &Audience,
) -> Reply {
    let asking = Asking::of(head);
    let mut reply = match refusal.why {
        Why::Answer(reply) => *reply,
        Why::Nobody(_) if asking == Asking::Grpc => grpc(UNAUTHENTICATED, "sign-in needed"),
        Why::Nobody(why) => unknown(why, access, asking, head, prefix, audience),
        Why::Forbidden if asking == Asking::Grpc => grpc(PERMISSION_DENIED, "access denied"),
        Why::Forbidden if audience.reads_pages() => {
            let brand = Brand::new(Some(access), &head.host);
            brand.denied(&format!("{prefix}sign-out")).telling(&kinds::ACCESS_DENIED)
        }
        Why::Forbidden => Reply::of(&kinds::ACCESS_DENIED, audience),
        Why::Policy => unavailable(&kinds::ACCESS_UNAVAILABLE, asking, audience),
        Why::Provider => unavailable(&kinds::PROVIDER_UNAVAILABLE, asking, audience),
        Why::External => unavailable(&kinds::EXTERNAL_UNAVAILABLE, asking, audience),
    };
    reply.cookies(&refusal.cookies);
    reply.subject = refusal.subject;
    reply
}

fn unavailable(kind: &'static ProblemKind, asking: Asking, audience: &Audience) -> Reply {
    match asking {
        Asking::Grpc => grpc(UNAVAILABLE, kind.title).telling(kind),
        _ => Reply::of(kind, audience),
    }
}

/// A response that has trailers only: over HTTP/1.1 they are in the head.
fn grpc(status: u8, message: &str) -> Reply {
    let mut reply = Reply::empty(200);
    reply.field("Content-Type", "application/grpc");
    reply.field("grpc-status", itoa::Buffer::new().format(status));
    reply.field("grpc-message", message);
    reply.kind = Some(if status == PERMISSION_DENIED {
        kinds::ACCESS_DENIED.name
    } else {
        kinds::NOT_AUTHENTICATED.name
    });
    reply
}

fn unknown(
    why: Nobody,
    access: &Access,
    asking: Asking,
    head: &RequestHead<'_>,
    prefix: &str,
    audience: &Audience,
) -> Reply {
    // Without a name there is nowhere to come back to (HTTP/1.0).
    let may_sign_in = access.policy.sign_in && access.provider.is_some() && !head.host.is_empty();
    let redirected = may_sign_in && asking.may_be_redirected(head, access.unauthenticated);
    if redirected && !matches!(why, Nobody::Token(_)) {
        let target = sign_in_url(prefix, &ReturnTo::of_request(&head.path, head.query));
        return if access.unauthenticated == Unauthenticated::Redirect {
            Reply::redirect(302, &target)
        } else {
            let reply = Brand::new(Some(access), &head.host).sign_in_needed(&target);
            with_challenge(reply, why, &head.host).telling(&kinds::NOT_AUTHENTICATED)
        };
    }
    let detail = match why {
        Nobody::Token(refused) => Problem::with_detail(
            &kinds::NOT_AUTHENTICATED,
            format!("The access token does not count: {refused}."),
        ),
        _ => Problem::new(&kinds::NOT_AUTHENTICATED),
    };
    with_challenge(Reply::problem(&detail, audience), why, &head.host)
}

/// RFC 6750 section 3: who has shown no token is told no error.
fn with_challenge(mut reply: Reply, why: Nobody, host: &str) -> Reply {
    let error = if matches!(why, Nobody::Token(_)) { ", error=\"invalid_token\"" } else { "" };
    // A host has neither quotes nor backslashes.
    reply.field("WWW-Authenticate", &format!("Bearer realm=\"{host}\"{error}"));
    reply
}

/// Where the sign-in begins; a fragment may be added to it, percent-encoded.
pub(crate) fn sign_in_url(prefix: &str, target: &ReturnTo) -> String {
    let target: String = form_urlencoded::byte_serialize(target.as_str().as_bytes()).collect();
    format!("{prefix}sign-in?return={target}")
}
