//! A service that decides about requests, as `auth-url` of ingress-nginx names one.

use std::fmt;

use crate::http::parse_authority;

/// The longest URL that is read, in bytes.
const MAX_URL: usize = 2048;

/// The methods by which a service can be asked.
const METHODS: [&str; 7] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];

/// A service that decides about requests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct External {
    /// Where it is asked.
    pub url: UrlTemplate,
    /// By which method.
    pub method: Box<str>,
    /// Where browsers are sent that it answers 401.
    pub sign_in: Option<UrlTemplate>,
    /// The parameter that tells the sign-in where to return to, if its query does not have it already.
    pub sign_in_parameter: Box<str>,
    /// Fields of its answer that the backend gets, in lower case. `authorization` may be among them, which is not among the
    /// fields that are removed on every route.
    pub response_fields: Box<[Box<str>]>,
    /// Authorities in PEM that vouch for it, instead of the public ones.
    pub authorities: Option<Box<[u8]>>,
}

impl External {
    /// A method in capitals, if a service can be asked by it.
    pub fn method(written: &str) -> Option<Box<str>> {
        METHODS.into_iter().find(|method| method.eq_ignore_ascii_case(written)).map(Box::from)
    }
}

/// A URL with places that each request fills: `$scheme`, `$host`, `$request_uri`, and the other names that ingress-nginx has for these.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UrlTemplate {
    parts: Box<[Part]>,
    /// Whether the host that is asked is the host of the request.
    asks_itself: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(Box<str>),
    Variable {
        variable: Variable,
        /// Whether it stands in the query, where it is encoded.
        encoded: bool,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Variable {
    Scheme,
    Host,
    RequestUri,
}

/// How variables are written. `$escaped_request_uri` and `$request_uri` are the same here: in a query, both are encoded.
const VARIABLES: [(&str, Variable); 7] = [
    ("escaped_request_uri", Variable::RequestUri),
    ("request_uri", Variable::RequestUri),
    ("pass_access_scheme", Variable::Scheme),
    ("scheme", Variable::Scheme),
    ("best_http_host", Variable::Host),
    ("http_host", Variable::Host),
    ("host", Variable::Host),
];

impl UrlTemplate {
    /// Reads an absolute http or https URL. The error says what is wrong, to go on after the name of the field.
    pub fn parse(written: &str) -> Result<Self, String> {
        let plain = |b: u8| b.is_ascii_graphic() && !b"\"<>\\^`{|}#".contains(&b);
        if written.len() > MAX_URL || !written.bytes().all(plain) {
            return Err(format!("is not a URL without fragment of at most {MAX_URL} bytes"));
        }
        let rest = written.strip_prefix("https://").or_else(|| written.strip_prefix("http://"));
        let rest = rest.ok_or("is not an absolute URL that begins with https:// or http://")?;
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, rest) = rest.split_at(end);
        let (path, query) = rest.split_at(rest.find('?').unwrap_or(rest.len()));
        let asks_itself = is_host_variable(authority);
        if !asks_itself && parse_authority(authority.as_bytes()).is_err() {
            return Err("has no host that can be asked".to_owned());
        }
        let scheme = &written[..written.len() - authority.len() - rest.len()];
        let mut parts = Parts(vec![Part::Text(scheme.into())]);
        parts.read(authority, false, &[Variable::Host])?;
        parts.read(path, false, &[Variable::Host, Variable::Scheme])?;
        parts.read(query, true, &[Variable::Host, Variable::Scheme, Variable::RequestUri])?;
        Ok(Self { parts: parts.0.into(), asks_itself })
    }

    /// Whether the host that is asked is the host of the request. That is only as trustworthy as the hosts that requests can have.
    pub fn asks_itself(&self) -> bool {
        self.asks_itself
    }

    /// The URL for a request: its scheme, its host with the port if it has one, and its path with the query.
    pub fn expand(&self, scheme: &str, host: &str, request_uri: &str) -> String {
        let mut url = String::new();
        for part in &self.parts {
            let (variable, encoded) = match part {
                Part::Text(text) => {
                    url.push_str(text);
                    continue;
                }
                Part::Variable { variable, encoded } => (*variable, *encoded),
            };
            let value = match variable {
                Variable::Scheme => scheme,
                Variable::Host => host,
                Variable::RequestUri => request_uri,
            };
            if encoded {
                url.extend(form_urlencoded::byte_serialize(value.as_bytes()));
            } else {
                url.push_str(value);
            }
        }
        url
    }
}

impl fmt::Display for UrlTemplate {
    /// As it was written, but for the names of variables that stand for the same.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for part in &self.parts {
            match part {
                Part::Text(text) => f.write_str(text)?,
                Part::Variable { variable: Variable::Scheme, .. } => f.write_str("$scheme")?,
                Part::Variable { variable: Variable::Host, .. } => f.write_str("$host")?,
                Part::Variable { variable: Variable::RequestUri, .. } => f.write_str("$request_uri")?,
            }
        }
        Ok(())
    }
}

/// Whether an authority is a variable for the host, and nothing else: part of a name would be a name of somebody else's choice.
fn is_host_variable(authority: &str) -> bool {
    let names = VARIABLES.iter().filter(|(_, variable)| *variable == Variable::Host);
    let name = authority.strip_prefix('$');
    name.is_some_and(|name| names.clone().any(|(known, _)| *known == name))
}

struct Parts(Vec<Part>);

impl Parts {
    fn read(&mut self, mut rest: &str, encoded: bool, allowed: &[Variable]) -> Result<(), String> {
        while let Some((before, after)) = rest.split_once('$') {
            let end = after.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(after.len());
            let (name, after) = after.split_at(end);
            let known = VARIABLES.iter().find(|(known, _)| *known == name).map(|(_, variable)| *variable);
            let variable = known.ok_or_else(|| format!("has the variable ${name}, which is not known"))?;
            if !allowed.contains(&variable) {
                return Err(format!("has the variable ${name} where it would not be one value"));
            }
            self.text(before);
            self.0.push(Part::Variable { variable, encoded });
            rest = after;
        }
        self.text(rest);
        Ok(())
    }

    fn text(&mut self, text: &str) {
        if !text.is_empty() {
            self.0.push(Part::Text(text.into()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expanded(written: &str) -> String {
        UrlTemplate::parse(written).unwrap().expand("https", "a.example", "/b?c=d&e")
    }

    #[test]
    fn what_migrators_write_is_understood() {
        assert_eq!(expanded("http://auth.web.svc:4180/oauth2/auth"), "http://auth.web.svc:4180/oauth2/auth");
        assert_eq!(expanded("https://$host/oauth2/auth"), "https://a.example/oauth2/auth");
        let sign_in = "https://$host/oauth2/start?rd=$escaped_request_uri";
        assert_eq!(expanded(sign_in), "https://a.example/oauth2/start?rd=%2Fb%3Fc%3Dd%26e");
        assert_eq!(
            expanded("https://id.example/?rd=$pass_access_scheme://$http_host$request_uri"),
            "https://id.example/?rd=https://a.example%2Fb%3Fc%3Dd%26e"
        );
        assert!(UrlTemplate::parse("https://$host/").unwrap().asks_itself());
        assert!(!UrlTemplate::parse("https://a/$host").unwrap().asks_itself());
        assert_eq!(
            UrlTemplate::parse("https://$http_host/?$request_uri").unwrap().to_string(),
            "https://$host/?$request_uri"
        );
    }

    #[test]
    fn what_is_not_understood_is_no_url() {
        for bad in [
            "",
            "auth.example/check",
            "/check",
            "ftp://auth.example",
            "https://",
            "https:///check",
            "https://?x",
            "https://user@auth.example/",
            "https://a b/",
            "https://auth.example/#x",
            "https://auth.example/\u{e9}",
            "https://auth.example/$remote_user",
            "https://auth.example/?x=$arg_x",
            "https://auth.example/?x=${host}",
            "https://auth.example/?x=$",
            "https://auth.example$request_uri",
            "https://auth.example/check$request_uri",
            "https://$host.evil.example/",
            "https://x.$host/",
            "https://$scheme/",
            "https://$host:8443/",
            "https://auth.example:x/",
        ] {
            assert!(UrlTemplate::parse(bad).is_err(), "{bad}");
        }
        assert!(UrlTemplate::parse(&format!("https://a/{}", "b".repeat(2048))).is_err());
    }

    #[test]
    fn methods_are_those_of_requests() {
        assert_eq!(External::method("post").as_deref(), Some("POST"));
        assert_eq!((External::method("CONNECT"), External::method("")), (None, None));
    }
}
