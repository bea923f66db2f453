//! Sends attacks to a site, and judges what came of them.

use std::collections::BTreeMap;

use super::case::{Case, FORGED};
use super::support::message::Message;
use super::support::sso::{OPEN, SsoSite};

/// A site under attack.
pub(crate) struct Rig {
    pub(crate) site: SsoSite,
    sentinels: usize,
    /// What stands for what in requests.
    words: Vec<(String, String)>,
}

impl Rig {
    pub(crate) fn new(site: SsoSite) -> Self {
        Self { site, sentinels: 0, words: vec![("TAG".to_owned(), "00000000".to_owned())] }
    }

    /// From now on, requests have this instead of the word.
    pub(crate) fn word(&mut self, word: &str, text: impl Into<String>) {
        self.words.insert(0, (word.to_owned(), text.into()));
    }

    /// Runs each attack, and fails with all that got through. Returns how many there were of each class.
    #[track_caller]
    pub(crate) fn run(&mut self, cases: &[Case]) -> BTreeMap<&'static str, usize> {
        let mut passed = Vec::new();
        let mut classes = BTreeMap::new();
        for case in cases {
            *classes.entry(case.class).or_default() += 1;
            let faults = self.faults(case);
            passed.extend((!faults.is_empty()).then(|| format!("{}\n  {}", case.key(), faults.join("\n  "))));
        }
        assert!(passed.is_empty(), "{} of {} attacks:\n{}", passed.len(), cases.len(), passed.join("\n"));
        classes
    }

    /// Everything about an attack that is not as it must be.
    fn faults(&mut self, case: &Case) -> Vec<String> {
        let request =
            self.words.iter().fold(case.request.clone(), |text, (word, is)| text.replace(word.as_str(), is));
        let mut client = self.site.client(case.server_name);
        // A refusal may come before all is sent, and end the connection.
        let _ = client.try_send(request.as_bytes());
        let exchange = client.responses(&case.methods());
        let answers: Vec<&Message> =
            exchange.responses.iter().filter(|answer| !answer.is_interim()).collect();
        let mut faults = Vec::new();
        let found: Vec<u16> = answers.iter().map(|answer| answer.status()).collect();
        if found != case.answers {
            faults.push(format!("answered {found:?} ({:?}) instead of {:?}", exchange.end, case.answers));
        }
        if answers.iter().any(|answer| sets_session(answer)) {
            faults.push("somebody is signed in".to_owned());
        }
        drop(client);
        faults.extend(self.judge_forwarded(&case.forwarded));
        faults
    }

    /// What is wrong with what the backend received since this was asked last.
    pub(crate) fn judge_forwarded(&mut self, allowed: &[String]) -> Vec<String> {
        self.sentinels += 1;
        let target = format!("/sentinel/{}", self.sentinels);
        // The site has one worker: what it had to forward before, it has forwarded before this.
        let sentinel = self.site.client(OPEN).get(OPEN, &target);
        let mut faults = Vec::new();
        if sentinel.status() != 200 {
            faults.push(format!("a later request is answered {}", sentinel.status()));
        }
        let forwarded: Vec<Message> =
            self.site.forwarded().into_iter().filter(|request| request.target() != target).collect();
        let got: Vec<String> = forwarded.iter().map(|r| format!("{} {}", r.method(), r.target())).collect();
        if sorted(&got) != sorted(allowed) {
            faults.push(format!("the backend got {got:?} instead of {allowed:?}"));
        }
        for request in forwarded {
            let text = String::from_utf8_lossy(&request.raw).into_owned();
            if text.contains(FORGED) {
                faults.push(format!("the backend got what was forged:\n{text}"));
            }
        }
        faults
    }
}

/// Whether a response gives somebody a session.
pub(crate) fn sets_session(response: &Message) -> bool {
    let sets = |field: &&str| field.contains("penstock-session-") && !field.contains("Max-Age=0");
    response.all("set-cookie").iter().any(sets)
}

fn sorted(requests: &[String]) -> Vec<&String> {
    let mut sorted: Vec<_> = requests.iter().collect();
    sorted.sort();
    sorted
}
