//! What asks: a browser that shows a page, a script, gRPC or a WebSocket. It decides how a refusal is said, and nothing else.

use crate::http::RequestHead;

/// What made a request, as far as its answer depends on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asking {
    /// A browser that goes to a page: it can follow a redirect, and somebody can sign in.
    Navigation,
    /// A script, a program, or a part of a page: a redirect to a sign-in page would be taken for the answer.
    Script,
    /// gRPC: errors are told in trailers, with the status UNAUTHENTICATED or PERMISSION_DENIED.
    Grpc,
    /// A WebSocket that is being opened (RFC 6455): browsers follow no redirect here.
    WebSocket,
}

/// What an operator can say about it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Unauthenticated {
    /// By what the request says of itself.
    #[default]
    Auto,
    /// Every request that a browser could make as a navigation is redirected.
    Redirect,
    /// Nothing is redirected.
    Refuse,
}

impl Asking {
    /// Looks at the request.
    pub fn of(head: &RequestHead<'_>) -> Self {
        if head.upgrade.is_some() {
            return Self::WebSocket;
        }
        let mut signs = Signs::default();
        for (name, value) in head.headers() {
            signs.see(name, value);
        }
        signs.judge(head.method)
    }

    /// Whether the answer may be a redirect to the provider.
    pub fn may_be_redirected(self, head: &RequestHead<'_>, wish: Unauthenticated) -> bool {
        let safe = matches!(head.method, "GET" | "HEAD");
        match wish {
            Unauthenticated::Auto => self == Self::Navigation,
            Unauthenticated::Redirect => safe && matches!(self, Self::Navigation | Self::Script),
            Unauthenticated::Refuse => false,
        }
    }
}

/// What the fields of a request say.
#[derive(Default)]
struct Signs {
    grpc: bool,
    script: bool,
    /// `Sec-Fetch-Mode` is there: by it, browsers tell what they do (Fetch Metadata Request Headers).
    mode: Option<Mode>,
    html: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Mode {
    Navigate,
    Other,
}

impl Signs {
    fn see(&mut self, name: &str, value: &[u8]) {
        match name.len() {
            6 if name.eq_ignore_ascii_case("accept") => self.html |= accepts_html(value),
            12 if name.eq_ignore_ascii_case("content-type") => {
                let grpc = b"application/grpc";
                self.grpc |= value.get(..grpc.len()).is_some_and(|start| start.eq_ignore_ascii_case(grpc));
            }
            13 if name.eq_ignore_ascii_case("authorization") => self.script = true,
            14 if name.eq_ignore_ascii_case("sec-fetch-mode") => {
                self.mode = Some(if value == b"navigate" { Mode::Navigate } else { Mode::Other });
            }
            14 if name.eq_ignore_ascii_case("sec-fetch-dest") => {
                // A page in a frame could not show the provider's: it would refuse to be framed.
                self.script |= !matches!(value, b"document");
            }
            16 if name.eq_ignore_ascii_case("x-requested-with") => self.script = true,
            _ => {}
        }
    }

    fn judge(&self, method: &str) -> Asking {
        if self.grpc {
            Asking::Grpc
        } else if self.script
            || !matches!(method, "GET" | "HEAD")
            || self.mode == Some(Mode::Other)
            || !self.html
        {
            Asking::Script
        } else {
            Asking::Navigation
        }
    }
}

/// Whether HTML is named: `*/*` is what programs send. A weight of zero refuses it (RFC 9110 section 12.4.2).
fn accepts_html(value: &[u8]) -> bool {
    value.split(|&b| b == b',').any(|range| {
        let mut parts = range.split(|&b| b == b';').map(<[u8]>::trim_ascii);
        let media = parts.next().unwrap_or_default();
        let html =
            media.eq_ignore_ascii_case(b"text/html") || media.eq_ignore_ascii_case(b"application/xhtml+xml");
        let refused = |weight: &[u8]| {
            weight
                .strip_prefix(b"q=")
                .or(weight.strip_prefix(b"Q="))
                .is_some_and(|q| q.iter().all(|b| matches!(b, b'0' | b'.')))
        };
        html && !parts.any(refused)
    })
}
