//! One attack: what is sent, what is answered, and what a backend may get to see of it.

/// The marker of whatever an attacker wants a backend to believe: no backend may ever see it.
pub(crate) const FORGED: &str = "forged";

/// An attack over one connection.
#[derive(Clone, Debug)]
pub(crate) struct Case {
    /// What kind of attack it is.
    pub(crate) class: &'static str,
    /// What is special about it; unique in its class.
    pub(crate) name: String,
    /// The name in the handshake.
    pub(crate) server_name: &'static str,
    /// What is sent at once. `SESSION`, `TOKEN` and the like stand for what the rig has.
    pub(crate) request: String,
    /// The status of each answer, in order.
    pub(crate) answers: Vec<u16>,
    /// Method and target of each request that a backend may get: nothing of anything else.
    pub(crate) forwarded: Vec<String>,
}

impl Case {
    /// An attack that is refused, of which no backend gets a byte.
    pub(crate) fn refused(
        class: &'static str,
        name: impl Into<String>,
        request: impl Into<String>,
        status: u16,
    ) -> Self {
        Self {
            class,
            name: name.into(),
            server_name: super::support::sso::APP,
            request: request.into(),
            answers: vec![status],
            forwarded: Vec::new(),
        }
    }

    /// More answers, before the last: the first requests are harmless, and forwarded.
    pub(crate) fn after(mut self, answers: &[u16], forwarded: &[&str]) -> Self {
        self.answers.splice(0..0, answers.iter().copied());
        self.forwarded = forwarded.iter().map(|request| (*request).to_owned()).collect();
        self
    }

    /// With another name in the handshake.
    pub(crate) fn server_name(self, server_name: &'static str) -> Self {
        Self { server_name, ..self }
    }

    /// How it is named in reports.
    pub(crate) fn key(&self) -> String {
        format!("{}: {}", self.class, self.name)
    }

    /// The methods of the requests, as far as their answers depend on them.
    pub(crate) fn methods(&self) -> Vec<&str> {
        let first = self.request.split(' ').next().unwrap_or_default();
        let head = if first == "HEAD" { "HEAD" } else { "GET" };
        vec![head; self.answers.len()]
    }
}

/// `GET path` for the host with policy `staff`, as a program sends it, with more field lines.
pub(crate) fn get(path: &str, fields: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: app.test\r\n{fields}\r\n")
}

/// A table of attacks of one class that differ in the path alone.
pub(crate) fn paths(class: &'static str, paths: &[(&str, u16)]) -> Vec<Case> {
    let case = |(path, status): &(&str, u16)| Case::refused(class, *path, get(path, ""), *status);
    paths.iter().map(case).collect()
}

/// A table of attacks of one class on `/admin` that differ in the fields alone.
pub(crate) fn fields(class: &'static str, fields: &[(&str, u16)]) -> Vec<Case> {
    let case = |(field, status): &(&str, u16)| {
        let lines = field.replace('\n', "\r\n") + "\r\n";
        Case::refused(
            class,
            field.replace('\n', " | ").chars().take(80).collect::<String>(),
            get("/admin", &lines),
            *status,
        )
    };
    fields.iter().map(case).collect()
}
