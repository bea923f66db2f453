//! Sessions that ended before their time. Nothing is kept of a session that goes on, and little of one that ended.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::session::Session;

/// What is revoked, by its digest: neither a subject nor a session is told by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Target([u8; 16]);

impl Target {
    /// One session of ours.
    pub fn session(id: &[u8; 16]) -> Self {
        Self::digest(0, "", id)
    }

    /// All sessions that came from one of the provider.
    pub fn provider_session(issuer: &str, session: &str) -> Self {
        Self::digest(1, issuer, session.as_bytes())
    }

    /// All sessions of somebody.
    pub fn subject(issuer: &str, subject: &str) -> Self {
        Self::digest(2, issuer, subject.as_bytes())
    }

    fn digest(kind: u8, issuer: &str, name: &[u8]) -> Self {
        let mut hash = Sha256::new();
        hash.update([kind]);
        hash.update((issuer.len() as u64).to_be_bytes());
        hash.update(issuer);
        hash.update(name);
        let mut target = [0; 16];
        target.copy_from_slice(&hash.finalize()[..16]);
        Self(target)
    }
}

/// Sessions of a target that began at `before` or earlier have ended. Forgotten at `until`, when they have ended anyway.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Revocation {
    /// In Unix seconds.
    pub before: i64,
    /// In Unix seconds.
    pub until: i64,
}

/// All revocations, at most so many.
///
/// One that finds no room takes that of the oldest; then every session that is as old as the oldest's has ended, whosoever it is. That
/// costs some people a sign-in; a session that was revoked never comes back.
#[derive(Clone, Debug)]
pub struct Revocations {
    capacity: usize,
    by_target: BTreeMap<Target, Revocation>,
    /// Every session that began by then has ended.
    everything_before: i64,
}

impl Revocations {
    /// None, with room for so many.
    pub fn new(capacity: usize) -> Self {
        Self { capacity: capacity.max(1), by_target: BTreeMap::new(), everything_before: i64::MIN }
    }

    /// Adds one. Of two for the same target, the one that ends more counts, as long as either does.
    pub fn add(&mut self, target: Target, new: Revocation) {
        let merged = self.by_target.get(&target).map_or(new, |old| Revocation {
            before: old.before.max(new.before),
            until: old.until.max(new.until),
        });
        self.by_target.insert(target, merged);
        while self.by_target.len() > self.capacity {
            self.forget_oldest();
        }
    }

    fn forget_oldest(&mut self) {
        let oldest = self.by_target.iter().min_by_key(|(target, revocation)| (revocation.before, **target));
        if let Some((target, revocation)) = oldest.map(|(target, revocation)| (*target, *revocation)) {
            self.by_target.remove(&target);
            self.everything_before = self.everything_before.max(revocation.before);
        }
    }

    /// Forgets what is over.
    pub fn expire(&mut self, now: i64) {
        self.by_target.retain(|_, revocation| revocation.until > now);
    }

    /// Whether a session has ended.
    pub fn cover(&self, session: &Session, issuer: &str) -> bool {
        let began = session.signed_in_at;
        let ended = |target| self.by_target.get(&target).is_some_and(|revocation| began <= revocation.before);
        began <= self.everything_before
            || (!self.by_target.is_empty()
                && (ended(Target::session(&session.id))
                    || ended(Target::subject(issuer, &session.identity.subject))
                    || session
                        .provider_session
                        .as_deref()
                        .is_some_and(|own| ended(Target::provider_session(issuer, own)))))
    }

    /// All of them, to be told to other replicas.
    pub fn iter(&self) -> impl Iterator<Item = (Target, Revocation)> {
        self.by_target.iter().map(|(target, revocation)| (*target, *revocation))
    }

    /// All of it as text, for an object that replicas share: a line for everything, and one for each target.
    pub fn to_text(&self) -> String {
        let mut text = format!("{EVERYTHING} {}\n", self.everything_before);
        for (Target(target), Revocation { before, until }) in self.iter() {
            let digest = URL_SAFE_NO_PAD.encode(target);
            // Writing to a string cannot fail.
            let _ = writeln!(text, "{digest} {before} {until}");
        }
        text
    }

    /// Adds what a text says. What cannot be read is an error, and nothing of the text is taken: what somebody meant to end must
    /// not go on unnoticed.
    pub fn merge_text(&mut self, text: &str) -> Result<(), UnreadableLine> {
        let lines: Vec<_> = text
            .lines()
            .enumerate()
            .map(|(at, line)| Line::parse(line).ok_or(UnreadableLine(at + 1)))
            .collect::<Result<_, _>>()?;
        for line in lines {
            match line {
                Line::Everything(before) => self.everything_before = self.everything_before.max(before),
                Line::Target(target, revocation) => self.add(target, revocation),
            }
        }
        Ok(())
    }

    /// Whether this has nothing that the other has not.
    pub fn is_covered_by(&self, other: &Self) -> bool {
        self.everything_before <= other.everything_before
            && self.iter().all(|(target, own)| {
                own.before <= other.everything_before
                    || other
                        .by_target
                        .get(&target)
                        .is_some_and(|its| own.before <= its.before && own.until <= its.until)
            })
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.by_target.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.by_target.is_empty()
    }
}

/// In a text, what ends every session.
const EVERYTHING: &str = "*";

/// A line of a text that says nothing that we understand, counted from one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {0} is no revocation")]
pub struct UnreadableLine(pub usize);

enum Line {
    Everything(i64),
    Target(Target, Revocation),
}

impl Line {
    fn parse(line: &str) -> Option<Self> {
        let mut words = line.split(' ');
        let (target, before) = (words.next()?, words.next()?.parse().ok()?);
        let line = if target == EVERYTHING {
            Self::Everything(before)
        } else {
            let digest = URL_SAFE_NO_PAD.decode(target).ok()?.try_into().ok()?;
            Self::Target(Target(digest), Revocation { before, until: words.next()?.parse().ok()? })
        };
        words.next().is_none().then_some(line)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::identity::Identity;
    use crate::auth::tokens::Tokens;

    fn session(id: u8, subject: &str, signed_in_at: i64) -> Session {
        Session {
            id: [id; 16],
            identity: Identity { subject: subject.into(), ..Identity::default() },
            provider_session: Some(format!("sid-{id}").into()),
            signed_in_at,
            used_at: signed_in_at,
            refresh: None,
            tokens: Tokens::default(),
        }
    }

    #[test]
    fn each_target_ends_what_it_names() {
        for (target, ends) in [
            (Target::session(&[1; 16]), [true, false, false]),
            (Target::provider_session("i", "sid-1"), [true, false, false]),
            (Target::subject("i", "ann"), [true, true, false]),
            (Target::subject("other", "ann"), [false, false, false]),
            (Target::provider_session("i", "ann"), [false, false, false]),
        ] {
            let mut revocations = Revocations::new(10);
            revocations.add(target, Revocation { before: 100, until: 200 });
            let sessions = [session(1, "ann", 50), session(2, "ann", 50), session(3, "bob", 50)];
            assert_eq!(sessions.map(|session| revocations.cover(&session, "i")), ends);
            assert!(!revocations.cover(&session(1, "ann", 101), "i"), "signed in again");
            revocations.expire(200);
            assert!(revocations.is_empty());
        }
    }

    #[test]
    fn what_finds_no_room_ends_more_rather_than_less() {
        let mut revocations = Revocations::new(2);
        for (id, before) in [(1, 100), (2, 50), (3, 120)] {
            revocations.add(Target::session(&[id; 16]), Revocation { before, until: 1000 });
        }
        assert_eq!(revocations.len(), 2);
        for id in 1..=3 {
            assert!(revocations.cover(&session(id, "x", 40), "i"), "{id}");
        }
        assert!(revocations.cover(&session(9, "y", 50), "i"));
        assert!(!revocations.cover(&session(9, "y", 51), "i"));
    }

    #[test]
    fn a_text_says_all_of_it() {
        let mut revocations = Revocations::new(2);
        for (id, before) in [(1, 100), (2, 50), (3, 120)] {
            revocations.add(Target::session(&[id; 16]), Revocation { before, until: 1000 });
        }
        let mut other = Revocations::new(2);
        assert!(!revocations.is_covered_by(&other));
        other.merge_text(&revocations.to_text()).unwrap();
        assert_eq!(other.to_text(), revocations.to_text());
        assert!(revocations.is_covered_by(&other));
        other.add(Target::session(&[3; 16]), Revocation { before: 130, until: 1000 });
        assert!(revocations.is_covered_by(&other) && !other.is_covered_by(&revocations));
    }

    #[test]
    fn an_unreadable_text_is_taken_in_no_part() {
        let mut revocations = Revocations::new(2);
        let good = "AAAAAAAAAAAAAAAAAAAAAA 1 2";
        for bad in [
            "",
            "x 1 2",
            "* x",
            "* 1 2",
            "AAAAAAAAAAAAAAAAAAAAAA 1",
            "AAAA 1 2",
            "AAAAAAAAAAAAAAAAAAAAAA 1 2 3",
        ] {
            let text = format!("{good}\n{bad}\n");
            assert_eq!(revocations.merge_text(&text), Err(UnreadableLine(2)), "{bad}");
            assert!(revocations.is_empty(), "{bad}");
        }
        revocations.merge_text(good).unwrap();
        assert_eq!(revocations.len(), 1);
    }
}
