//! Our cookies (RFC 6265bis): their names, how large values are split and put together, and what a backend gets to see.

use std::borrow::Cow;
use std::fmt::Write as _;

/// The most bytes of a value in one cookie: browsers drop cookies whose name and value exceed 4,096 bytes, without a word.
pub const MAX_VALUE: usize = 3800;

/// The most cookies that one value is split into. Heads have bounds at browsers, proxies and servers.
pub const MAX_PARTS: usize = 4;

/// How far a cookie reaches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reach {
    /// The host that sets it, and no other: the prefix `__Host-` makes browsers see to that.
    Host,
    /// A domain and everything below, for a session that several hosts share. Whoever serves one of these hosts can set it.
    Domain(Box<str>),
}

/// The name of a cookie of ours, without the part number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CookieName(Box<str>);

/// What every name of ours contains, so that ours can be told from those of applications.
const OURS: &str = "penstock-";

impl CookieName {
    /// `kind` and `tag` are letters, digits and `-`: the tag tells policies on one host apart.
    pub fn new(reach: &Reach, kind: &str, tag: &str) -> Self {
        let prefix = match reach {
            Reach::Host => "__Host-",
            Reach::Domain(_) => "__Secure-",
        };
        Self(format!("{prefix}{OURS}{kind}-{tag}").into())
    }

    /// The name as a browser has it.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The number of a part of this cookie: the first part has the name itself, the others end in `.1`, `.2` and so on.
    fn part(&self, name: &[u8]) -> Option<usize> {
        match name.strip_prefix(self.0.as_bytes())? {
            [] => Some(0),
            [b'.', digit @ b'1'..=b'9'] => Some(usize::from(digit - b'0')).filter(|part| *part < MAX_PARTS),
            _ => None,
        }
    }
}

/// The pairs of all `Cookie` fields of a request.
pub fn pairs<'v>(fields: impl IntoIterator<Item = &'v [u8]>) -> impl Iterator<Item = (&'v [u8], &'v [u8])> {
    fields.into_iter().flat_map(|field| field.split(|&b| b == b';')).filter_map(pair)
}

fn pair(pair: &[u8]) -> Option<(&[u8], &[u8])> {
    let pair = pair.trim_ascii();
    let equals = pair.iter().position(|&b| b == b'=')?;
    Some((pair[..equals].trim_ascii_end(), pair[equals + 1..].trim_ascii_start()))
}

/// What a request says about one of our cookies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found<'v> {
    /// Nothing.
    None,
    /// Its value.
    Value(Cow<'v, str>),
    /// Parts that contradict each other, are missing, or are not what we write: somebody else has set one, or one was lost.
    Broken,
}

/// Puts together the parts of a cookie. The first part of a value that was split begins with their number and a `.`.
pub fn find<'v>(name: &CookieName, fields: impl IntoIterator<Item = &'v [u8]>) -> Found<'v> {
    let mut parts: [Option<&str>; MAX_PARTS] = [None; MAX_PARTS];
    for (part, value) in pairs(fields).filter_map(|(found, value)| Some((name.part(found)?, value))) {
        let (Some(value), None) = (checked(value), parts[part]) else { return Found::Broken };
        parts[part] = Some(value);
    }
    let Some(first) = parts[0] else {
        return if parts.iter().any(Option::is_some) { Found::Broken } else { Found::None };
    };
    match first.split_once('.') {
        // What a longer value has left behind is not a part of this one.
        None => Found::Value(Cow::Borrowed(first)),
        Some((count, start)) => {
            join(count, start, &parts).map_or(Found::Broken, |value| Found::Value(value.into()))
        }
    }
}

fn join(count: &str, start: &str, parts: &[Option<&str>; MAX_PARTS]) -> Option<String> {
    let [digit @ b'2'..=b'9'] = count.as_bytes() else { return None };
    let rest = parts.get(1..usize::from(digit - b'0'))?;
    rest.iter().try_fold(start.to_owned(), |value, part| Some(value + (*part)?))
}

/// Base64url, and the `.` after the number of parts.
fn checked(value: &[u8]) -> Option<&str> {
    let plain = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    let sound = !value.is_empty() && value.len() <= MAX_VALUE + 2 && value.iter().all(plain);
    sound.then(|| str::from_utf8(value).ok()).flatten()
}

/// The value is larger than all parts together may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the session needs {bytes} bytes of cookies, of {} that browsers take: forward or require fewer groups, claims and tokens", MAX_PARTS * MAX_VALUE)]
pub struct TooLarge {
    /// What it needs.
    pub bytes: usize,
}

/// The values of `Set-Cookie` fields that set a cookie: `value` is base64url. Parts that a value before may have had, and this one has not, are removed.
pub fn set(name: &CookieName, reach: &Reach, value: &str, max_age: u64) -> Result<Vec<String>, TooLarge> {
    let parts: Vec<_> = value.as_bytes().chunks(MAX_VALUE).map(String::from_utf8_lossy).collect();
    if parts.len() > MAX_PARTS {
        return Err(TooLarge { bytes: value.len() });
    }
    let fields = (0..MAX_PARTS).map(|index| match (index, parts.get(index)) {
        (0, Some(part)) if parts.len() > 1 => {
            field(name, index, reach, &format!("{}.{part}", parts.len()), max_age)
        }
        (_, Some(part)) => field(name, index, reach, part, max_age),
        (_, None) => field(name, index, reach, "", 0),
    });
    // Without parts before, nobody has any to remove; a first session costs one field.
    Ok(fields.take(if parts.len() == 1 { 1 } else { MAX_PARTS }).collect())
}

/// The values of `Set-Cookie` fields that remove a cookie in all its parts.
pub fn remove(name: &CookieName, reach: &Reach) -> Vec<String> {
    (0..MAX_PARTS).map(|index| field(name, index, reach, "", 0)).collect()
}

fn field(name: &CookieName, part: usize, reach: &Reach, value: &str, max_age: u64) -> String {
    let mut field = name.0.to_string();
    if part > 0 {
        // Writing to a string cannot fail.
        let _ = write!(field, ".{part}");
    }
    let _ = write!(field, "={value}; Path=/; Max-Age={max_age}; Secure; HttpOnly; SameSite=Lax");
    if let Reach::Domain(domain) = reach {
        let _ = write!(field, "; Domain={domain}");
    }
    field
}

/// The value of a `Cookie` field as the backend gets it, without our cookies; `None` if nothing is left.
pub fn without_ours(field: &[u8]) -> Option<Cow<'_, [u8]>> {
    if !field.windows(OURS.len()).any(|window| window.eq_ignore_ascii_case(OURS.as_bytes())) {
        return Some(Cow::Borrowed(field));
    }
    let others =
        field.split(|&b| b == b';').map(<[u8]>::trim_ascii).filter(|pair| !pair.is_empty() && !is_ours(pair));
    let kept = others.collect::<Vec<_>>().join(&b"; "[..]);
    (!kept.is_empty()).then_some(Cow::Owned(kept))
}

/// Whether a `Set-Cookie` field sets a cookie of ours: a backend that did could sign people out, or in.
pub fn sets_ours(field: &[u8]) -> bool {
    is_ours(field.trim_ascii_start())
}

/// Whether a pair is one of ours, of whatever policy: names are compared without case, and prefixes need not be the right ones.
fn is_ours(pair: &[u8]) -> bool {
    let name = pair.split(|&b| b == b'=').next().unwrap_or_default().trim_ascii();
    [&b"__host-penstock-"[..], b"__secure-penstock-", b"penstock-"]
        .iter()
        .any(|ours| name.get(..ours.len()).is_some_and(|start| start.eq_ignore_ascii_case(ours)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name() -> CookieName {
        CookieName::new(&Reach::Host, "session", "x1")
    }

    fn found(fields: &[&str]) -> Found<'static> {
        match find(&name(), fields.iter().map(|field| field.as_bytes())) {
            Found::Value(value) => Found::Value(Cow::Owned(value.into_owned())),
            Found::None => Found::None,
            Found::Broken => Found::Broken,
        }
    }

    /// What a browser sends back.
    fn sent_back(set: &[String]) -> String {
        let pairs = set.iter().filter(|field| !field.contains("Max-Age=0"));
        pairs.map(|field| field.split(';').next().unwrap()).collect::<Vec<_>>().join("; ")
    }

    #[test]
    fn a_value_comes_back_whole_or_is_refused() {
        for length in [1, MAX_VALUE, MAX_VALUE + 1, 2 * MAX_VALUE, MAX_PARTS * MAX_VALUE] {
            let value: String = (0..length).map(|n| char::from(b'a' + (n % 26) as u8)).collect();
            let fields = set(&name(), &Reach::Host, &value, 60).unwrap();
            assert!(fields.iter().all(|field| field.split(';').next().unwrap().len() <= 4096));
            assert_eq!(found(&[&sent_back(&fields)]), Found::Value(value.into()), "{length}");
        }
        let error = set(&name(), &Reach::Host, &"a".repeat(MAX_PARTS * MAX_VALUE + 1), 60).unwrap_err();
        assert!(error.to_string().contains("15201"), "{error}");
    }

    #[test]
    fn what_contradicts_itself_is_broken() {
        let own = "__Host-penstock-session-x1";
        let pair = |suffix: &str, value: &str| format!("{own}{suffix}={value}");
        assert_eq!(found(&["a=b"]), Found::None);
        assert_eq!(found(&[&pair("", "v")]), Found::Value("v".into()));
        for broken in [
            format!("{}; {}", pair("", "v"), pair("", "w")),
            format!("{}; {}", pair("", "v"), pair("", "v")),
            pair(".1", "v"),
            pair("", "2.v"),
            pair("", "1.v"),
            pair("", "9.v"),
            pair("", ".v"),
            pair("", "x.v"),
            pair("", "22.v"),
            pair("", ""),
            pair("", "\"v\""),
            pair("", "v w"),
            format!("{}; {}", pair("", "3.v"), pair(".1", "w")),
            format!("{}; {}; {}", pair("", "2.v"), pair(".1", "w"), pair(".1", "x")),
        ] {
            assert_eq!(found(&[&broken]), Found::Broken, "{broken}");
        }
        assert_eq!(found(&[&pair("", "2.v"), &pair(".1", "w.x")]), Found::Value("vw.x".into()));
        assert_eq!(found(&[&pair("", "v"), &pair(".1", "old")]), Found::Value("v".into()));
        assert_eq!(found(&[&pair(".7", "v"), &pair("x", "v"), &pair(".01", "v")]), Found::None);
    }

    #[test]
    fn fields_carry_what_keeps_them_safe() {
        let host = &set(&name(), &Reach::Host, "v", 60).unwrap()[0];
        assert_eq!(host, "__Host-penstock-session-x1=v; Path=/; Max-Age=60; Secure; HttpOnly; SameSite=Lax");
        let reach = Reach::Domain("example.com".into());
        let shared = CookieName::new(&reach, "session", "x1");
        let domain = &set(&shared, &reach, "v", 60).unwrap()[0];
        assert!(domain.starts_with("__Secure-") && domain.ends_with("; Domain=example.com"), "{domain}");
        assert_eq!(remove(&name(), &Reach::Host).len(), MAX_PARTS);
    }

    #[test]
    fn a_backend_sees_no_cookie_of_ours() {
        let kept =
            |field: &str| without_ours(field.as_bytes()).map(|kept| String::from_utf8(kept.into()).unwrap());
        assert_eq!(kept("a=b; c=d").as_deref(), Some("a=b; c=d"));
        assert_eq!(
            kept("a=b; __Host-penstock-session-x=v.; c=penstock-").as_deref(),
            Some("a=b; c=penstock-")
        );
        assert_eq!(kept("__Secure-penstock-login-1=v;__HOST-PENSTOCK-session-y.1=w"), None);
        assert_eq!(kept("penstock-x=1;a=b").as_deref(), Some("a=b"));
        assert_eq!(kept("__Host-penstock-session-x =v; a=b").as_deref(), Some("a=b"));
        assert_eq!(kept("__Host-penstock-session-x"), None);
    }
}
