//! A browser without a screen: cookies, redirects and forms, over connections that send exactly what is written here.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use rustls::ClientConfig;

use super::client::Client;
use super::message::Message;

/// How many redirects are followed: more is a loop.
const REDIRECTS: usize = 12;

/// What a browser sends when somebody goes to a page.
const NAVIGATION: &str =
    "Accept: text/html,application/xhtml+xml\r\nSec-Fetch-Mode: navigate\r\nSec-Fetch-Dest: document\r\n";

/// Somebody with a browser.
#[derive(Clone)]
pub(crate) struct Visitor {
    config: ClientConfig,
    addresses: BTreeMap<String, SocketAddr>,
    /// What was set, by whom.
    pub(crate) cookies: Vec<Cookie>,
}

/// A cookie as it is kept (RFC 6265 section 5.3).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Cookie {
    /// The host that has set it, or the domain that it is for.
    pub(crate) host: String,
    /// Whether hosts below are sent it as well.
    pub(crate) below: bool,
    pub(crate) name: String,
    pub(crate) value: String,
}

/// Where somebody has come to.
#[derive(Clone, Debug)]
pub(crate) struct Page {
    /// The URL in the address bar, without a fragment.
    pub(crate) url: Url,
    /// What came.
    pub(crate) response: Message,
    /// The URLs on the way, this one included.
    pub(crate) way: Vec<String>,
}

/// An absolute https URL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Url {
    /// Host, and port if there is one.
    pub(crate) authority: String,
    /// Path and query.
    pub(crate) target: String,
}

impl Url {
    /// An absolute URL, or one that is relative to `base`. The fragment is dropped.
    #[track_caller]
    pub(crate) fn new(text: &str, base: Option<&Self>) -> Self {
        let text = text.split('#').next().unwrap_or_default();
        if let Some(rest) = text.strip_prefix("https://") {
            let end = rest.find(['/', '?']).unwrap_or(rest.len());
            let target = if rest[end..].starts_with('/') {
                rest[end..].to_owned()
            } else {
                format!("/{}", &rest[end..])
            };
            return Self { authority: rest[..end].to_owned(), target };
        }
        let base = base.unwrap_or_else(|| panic!("{text:?} is not an https URL"));
        assert!(!text.contains("://") && !text.starts_with("//"), "{text:?} on a page of {base:?}");
        let path = base.target.split('?').next().unwrap_or_default();
        let target = match text.as_bytes().first() {
            None => base.target.clone(),
            Some(b'/') => text.to_owned(),
            Some(b'?') => format!("{path}{text}"),
            Some(_) => format!("{}/{text}", path.rsplit_once('/').map_or("", |(directory, _)| directory)),
        };
        Self { authority: base.authority.clone(), target }
    }

    /// The host without the port.
    pub(crate) fn host(&self) -> &str {
        self.authority.rsplit_once(':').map_or(&self.authority, |(host, _)| host)
    }

    /// As text.
    pub(crate) fn text(&self) -> String {
        format!("https://{}{}", self.authority, self.target)
    }

    /// The value of a parameter of the query, decoded.
    pub(crate) fn parameter(&self, name: &str) -> Option<String> {
        let (_, query) = self.target.split_once('?')?;
        let pairs = query.split('&').map(|pair| pair.split_once('=').unwrap_or((pair, "")));
        pairs.filter(|(found, _)| decode(found) == name).map(|(_, value)| decode(value)).next()
    }
}

impl Visitor {
    /// Somebody without cookies; each authority (`host` or `host:port`) is at an address.
    pub(crate) fn new(config: &ClientConfig, addresses: &[(&str, SocketAddr)]) -> Self {
        let addresses = addresses.iter().map(|(name, address)| ((*name).to_owned(), *address)).collect();
        Self { config: config.clone(), addresses, cookies: Vec::new() }
    }

    /// The same way to the hosts, with no cookie.
    pub(crate) fn somebody_else(&self) -> Self {
        Self { cookies: Vec::new(), ..self.clone() }
    }

    /// A connection to a host.
    #[track_caller]
    pub(crate) fn connect(&self, url: &Url) -> Client {
        let known = self.addresses.get(&url.authority).or_else(|| self.addresses.get(url.host())).copied();
        let address = known.or_else(|| url.authority.parse().ok());
        let address = address.unwrap_or_else(|| panic!("nobody knows where {} is", url.authority));
        Client::https(address, url.host(), &self.config)
    }

    /// The `Cookie` field line for a host, or nothing.
    pub(crate) fn cookie_line(&self, host: &str) -> String {
        let fits = |cookie: &&Cookie| {
            cookie.host == host || (cookie.below && host.ends_with(&format!(".{}", cookie.host)))
        };
        let pairs =
            self.cookies.iter().filter(fits).map(|cookie| format!("{}={}", cookie.name, cookie.value));
        let pairs: Vec<_> = pairs.collect();
        if pairs.is_empty() { String::new() } else { format!("Cookie: {}\r\n", pairs.join("; ")) }
    }

    /// The cookie of a host whose name begins so.
    pub(crate) fn cookie(&self, host: &str, prefix: &str) -> Option<&Cookie> {
        self.cookies.iter().find(|cookie| cookie.host == host && cookie.name.starts_with(prefix))
    }

    /// One request with the cookies of its host; `fields` are complete lines. Cookies that are set are kept.
    #[track_caller]
    pub(crate) fn request(&mut self, method: &str, url: &Url, fields: &str, body: &str) -> Message {
        let cookies = self.cookie_line(url.host());
        let length =
            if method == "POST" { format!("Content-Length: {}\r\n", body.len()) } else { String::new() };
        let head = format!(
            "{method} {} HTTP/1.1\r\nHost: {}\r\n{cookies}{fields}{length}\r\n",
            url.target, url.authority
        );
        let response = self.connect(url).request(head + body);
        self.keep(url.host(), &response);
        response
    }

    /// As a script of a page does it.
    #[track_caller]
    pub(crate) fn fetch(&mut self, url: &str) -> Message {
        self.request("GET", &Url::new(url, None), "Accept: */*\r\nSec-Fetch-Mode: cors\r\n", "")
    }

    /// Goes to a page, wherever redirects lead.
    #[track_caller]
    pub(crate) fn goto(&mut self, url: &str) -> Page {
        let url = Url::new(url, None);
        let response = self.request("GET", &url, NAVIGATION, "");
        self.follow(url, response)
    }

    /// Sends the form of a page with these values; what it does not say itself is taken from its `input` elements.
    #[track_caller]
    pub(crate) fn submit(&mut self, page: &Page, values: &[(&str, &str)]) -> Page {
        let html = page.response.text();
        let form =
            element(&html, "form").unwrap_or_else(|| panic!("no form at {}:\n{html}", page.url.text()));
        let action = attribute(form, "action").unwrap_or_default();
        let url = Url::new(&action, Some(&page.url));
        let mut pairs: Vec<(String, String)> = Vec::new();
        for input in elements(&html, "input") {
            let Some(name) = attribute(input, "name") else { continue };
            let given = values.iter().find(|(field, _)| *field == name).map(|(_, value)| (*value).to_owned());
            pairs.push((name, given.unwrap_or_else(|| attribute(input, "value").unwrap_or_default())));
        }
        let pairs: Vec<_> =
            pairs.iter().map(|(name, value)| format!("{}={}", encode(name), encode(value))).collect();
        let origin = format!("Origin: https://{}\r\n", page.url.authority);
        let fields = format!("{NAVIGATION}{origin}Content-Type: application/x-www-form-urlencoded\r\n");
        let post = attribute(form, "method").is_some_and(|method| method.eq_ignore_ascii_case("post"));
        let response = if post {
            self.request("POST", &url, &fields, &pairs.join("&"))
        } else {
            let target = format!("{}?{}", url.target.split('?').next().unwrap_or_default(), pairs.join("&"));
            return self.goto(&Url { target, ..url }.text());
        };
        self.follow(url, response)
    }

    /// Follows what a response says, as a browser without scripts: redirects, and refreshes in the head of a page.
    #[track_caller]
    pub(crate) fn follow(&mut self, mut url: Url, mut response: Message) -> Page {
        let mut way = vec![url.text()];
        while let Some(next) = next_url(&response) {
            assert!(way.len() <= REDIRECTS, "a loop: {way:#?}");
            url = Url::new(&next, Some(&url));
            way.push(url.text());
            response = self.request("GET", &url, NAVIGATION, "");
        }
        Page { url, response, way }
    }

    /// Keeps what a response sets, as browsers do: not what breaks the rules of its name's prefix, or is larger than 4,096 bytes.
    pub(crate) fn keep(&mut self, host: &str, response: &Message) {
        for field in response.all("set-cookie") {
            self.set(host, field);
        }
    }

    fn set(&mut self, host: &str, field: &str) {
        let mut parts = field.split(';').map(str::trim);
        let Some((name, value)) = parts.next().and_then(|pair| pair.split_once('=')) else { return };
        let attributes: Vec<(String, &str)> = parts
            .map(|part| part.split_once('=').unwrap_or((part, "")))
            .map(|(name, value)| (name.to_ascii_lowercase(), value))
            .collect();
        let get = |wanted: &str| attributes.iter().find(|(name, _)| name == wanted).map(|(_, value)| *value);
        let domain = get("domain").map(|domain| domain.trim_start_matches('.'));
        let secure = get("secure").is_some();
        let foreign = domain.is_some_and(|domain| host != domain && !host.ends_with(&format!(".{domain}")));
        let misnamed = (name.starts_with("__Host-")
            && !(secure && domain.is_none() && get("path") == Some("/")))
            || (name.starts_with("__Secure-") && !secure);
        if foreign || misnamed || name.len() + value.len() > 4096 {
            return;
        }
        let owner = domain.unwrap_or(host).to_owned();
        self.cookies.retain(|cookie| (cookie.host.as_str(), cookie.name.as_str()) != (&owner, name));
        let past = get("expires").is_some_and(|date| date.contains(" 1970 ") || date.contains("-1970 "));
        if get("max-age") != Some("0") && !past {
            let (name, value) = (name.to_owned(), value.to_owned());
            self.cookies.push(Cookie { host: owner, below: domain.is_some(), name, value });
        }
    }
}

/// Where a response leads.
pub(crate) fn next_url(response: &Message) -> Option<String> {
    if matches!(response.status(), 301 | 302 | 303 | 307 | 308) {
        return response.field("location").map(str::to_owned);
    }
    let html = response.text();
    let refresh =
        |meta: &&str| attribute(meta, "http-equiv").is_some_and(|name| name.eq_ignore_ascii_case("refresh"));
    let content = attribute(elements(&html, "meta").find(refresh)?, "content")?;
    let (_, url) = content.split_once(';')?;
    let url = url.trim();
    Some(url.strip_prefix("url=").or(url.strip_prefix("URL=")).unwrap_or(url).to_owned())
}

/// The first start tag of this name.
pub(crate) fn element<'h>(html: &'h str, name: &str) -> Option<&'h str> {
    elements(html, name).next()
}

fn elements<'h>(html: &'h str, name: &str) -> impl Iterator<Item = &'h str> {
    let start = format!("<{name}");
    html.split('<').skip(1).filter_map(move |rest| {
        let tag = rest.split('>').next()?;
        let after = tag.strip_prefix(&start[1..])?;
        after.is_empty().then_some(tag).or_else(|| after.starts_with([' ', '\n', '/']).then_some(tag))
    })
}

/// The value of an attribute of a start tag, with its character references resolved.
pub(crate) fn attribute(tag: &str, name: &str) -> Option<String> {
    let mut rest = tag;
    while let Some(at) = rest.find(&format!("{name}=")) {
        let own = rest[..at].ends_with([' ', '\n', '"', '\'']);
        let value = &rest[at + name.len() + 1..];
        if own {
            let value = match value.as_bytes().first() {
                Some(quote @ (b'"' | b'\'')) => value[1..].split(char::from(*quote)).next(),
                _ => value.split([' ', '/', '\n']).next(),
            };
            return value.map(unescape);
        }
        rest = value;
    }
    None
}

fn unescape(text: &str) -> String {
    let named =
        [("&lt;", "<"), ("&gt;", ">"), ("&quot;", "\""), ("&#34;", "\""), ("&#39;", "'"), ("&#x27;", "'")];
    let text = named.iter().fold(text.to_owned(), |text, (from, to)| text.replace(from, to));
    text.replace("&#x2F;", "/").replace("&#x3D;", "=").replace("&amp;", "&")
}

/// Percent-encodes what has a meaning in a form.
pub(crate) fn encode(text: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-_.~".contains(&b);
    text.bytes().map(|b| if plain(b) { char::from(b).to_string() } else { format!("%{b:02X}") }).collect()
}

fn decode(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((first, more)) = rest.split_first() {
        let hex = more.get(..2).and_then(|hex| u8::from_str_radix(str::from_utf8(hex).ok()?, 16).ok());
        let (byte, more) = match (first, hex) {
            (b'%', Some(byte)) => (byte, &more[2..]),
            (b'+', _) => (b' ', more),
            _ => (*first, more),
        };
        bytes.push(byte);
        rest = more;
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
