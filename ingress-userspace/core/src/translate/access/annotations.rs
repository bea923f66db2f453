//! The annotations of ingress-nginx that let a service decide about requests.
//!
//! What ingress-nginx could not use there, it left out, and the route was open (its issues 8256 and 8644, CVE-2026-24513). Here
//! an annotation of this family that is not understood denies.

use super::marks::{AccessMarks, AuthAnnotation};
use crate::access_policy::may_be_set;
use crate::report::Finding;
use crate::table::{External, UrlTemplate};
use crate::translate::names::shown;
use crate::translate::reason;

/// Annotations that change neither who may come in nor what the service is asked.
const UNUSED: [&str; 8] = [
    "cache-key",
    "cache-duration",
    "keepalive",
    "keepalive-requests",
    "keepalive-share-vars",
    "keepalive-timeout",
    "always-set-cookie",
    "request-redirect",
];

/// The most fields that are copied from an answer.
const MAX_FIELDS: usize = 32;

/// What the annotations of an Ingress come to.
#[derive(Default)]
pub(super) struct Read {
    /// The service that decides, if there are any annotations about one: or what is wrong with them.
    pub(super) external: Option<Result<External, Finding>>,
    /// What there is to say of the others.
    pub(super) findings: Vec<Finding>,
}

/// Reads the annotations about authorization.
pub(super) fn read(marks: &AccessMarks) -> Read {
    let mut read = Read::default();
    let mut known = Known::default();
    for annotation in marks.auth() {
        match known.take(annotation) {
            Taken::Unused => read.findings.push(unused(annotation)),
            // The first is told; nothing is served before it is gone.
            Taken::Unknown if read.external.is_none() => read.external = Some(Err(unknown(annotation))),
            Taken::Used | Taken::Unknown => {}
        }
    }
    if read.external.is_none() {
        read.external = known.external().transpose();
    }
    read
}

enum Taken {
    Used,
    Unused,
    Unknown,
}

/// The annotations that are understood.
#[derive(Default)]
struct Known<'m> {
    url: Option<&'m AuthAnnotation>,
    sign_in: Option<&'m AuthAnnotation>,
    parameter: Option<&'m AuthAnnotation>,
    fields: Option<&'m AuthAnnotation>,
    method: Option<&'m AuthAnnotation>,
}

impl<'m> Known<'m> {
    fn take(&mut self, annotation: &'m AuthAnnotation) -> Taken {
        let slot = match &*annotation.word {
            "url" => &mut self.url,
            "signin" => &mut self.sign_in,
            "signin-redirect-param" => &mut self.parameter,
            "response-headers" => &mut self.fields,
            "method" => &mut self.method,
            "tls-verify-client" if &*annotation.value == "off" => return Taken::Unused,
            word if UNUSED.contains(&word) => return Taken::Unused,
            _ => return Taken::Unknown,
        };
        slot.get_or_insert(annotation);
        Taken::Used
    }

    /// The service; `None` if no annotation is about one.
    fn external(&self) -> Result<Option<External>, Finding> {
        let Some(url) = self.url else {
            let others = [self.sign_in, self.parameter, self.fields, self.method];
            let lonely = others.into_iter().flatten().next();
            return lonely.map_or(Ok(None), |other| Err(wrong(other, "is of no use without auth-url")));
        };
        let template = |annotation: &AuthAnnotation| {
            UrlTemplate::parse(&annotation.value).map_err(|why| wrong(annotation, &why))
        };
        let fields = self.fields.map_or(Ok(Vec::new()), fields)?;
        Ok(Some(External {
            url: template(url)?,
            method: self.method.map_or(Ok("GET".into()), method)?,
            sign_in: self.sign_in.map(template).transpose()?,
            sign_in_parameter: self.parameter.map_or(Ok("rd".into()), parameter)?,
            response_fields: fields.into(),
            authorities: None,
        }))
    }
}

fn method(annotation: &AuthAnnotation) -> Result<Box<str>, Finding> {
    External::method(&annotation.value).ok_or_else(|| wrong(annotation, "is not a method that can ask"))
}

fn parameter(annotation: &AuthAnnotation) -> Result<Box<str>, Finding> {
    let value = &annotation.value;
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-_.".contains(&b);
    let sound = (1..=64).contains(&value.len()) && value.bytes().all(plain);
    if sound { Ok(value.clone()) } else { Err(wrong(annotation, "is not a name of a parameter")) }
}

fn fields(annotation: &AuthAnnotation) -> Result<Vec<Box<str>>, Finding> {
    let names = annotation.value.split(',').map(str::trim).filter(|name| !name.is_empty());
    let mut fields: Vec<Box<str>> = Vec::new();
    for name in names.map(str::to_ascii_lowercase) {
        if name != "authorization" && may_be_set(&name).is_err() || fields.len() == MAX_FIELDS {
            return Err(wrong(annotation, "names a field that is not to be copied, or too many of them"));
        }
        fields.push(name.into());
    }
    Ok(fields)
}

fn field(annotation: &AuthAnnotation) -> String {
    format!("metadata.annotations[{}]", annotation.name)
}

fn wrong(annotation: &AuthAnnotation, why: &str) -> Finding {
    let message = format!(
        "the annotation is {}, which {why}; the requests of this Ingress are answered 503",
        shown(&annotation.value)
    );
    Finding::refused(reason::ANNOTATION_INVALID, field(annotation), message)
}

fn unknown(annotation: &AuthAnnotation) -> Finding {
    let instead = match &*annotation.word {
        "type" | "secret" | "secret-type" | "realm" => "passwords are not checked here; use an AccessPolicy",
        word if word.starts_with("tls-") => "certificates of clients are not checked here",
        "snippet" => "configuration text is not taken; use auth-url, or an AccessPolicy",
        _ => "it may say who may come in, and is not understood",
    };
    let message = format!("{instead}; the requests of this Ingress are answered 503 until it is removed");
    Finding::refused(reason::ANNOTATION_REFUSED, field(annotation), message)
}

fn unused(annotation: &AuthAnnotation) -> Finding {
    let message = "the annotation is not used; it changes nothing about who may come in";
    Finding::info(reason::ANNOTATION_UNUSED, field(annotation), message)
}
