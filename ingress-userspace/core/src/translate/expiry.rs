//! Warnings ahead of the end of a certificate: first some days before, then again when it gets urgent.

use super::reason;
use crate::report::Finding;
use crate::table::Identity;

const DAY: i64 = 86_400;
/// The warning is repeated, with another text, when so many days are left.
const AGAIN: [u16; 2] = [3, 1];
/// Issuers renew when a third of the lifetime is left. A certificate that lives for days only is not warned about
/// before that should have happened: the warning comes with the last quarter.
const LAST_PART: i64 = 4;

/// The validity of a certificate, in Unix seconds.
#[derive(Clone, Copy)]
pub(super) struct Validity {
    pub(super) not_before: i64,
    pub(super) not_after: i64,
}

impl Validity {
    /// When each warning begins, with the days that it names; the first warning comes `days` days before the end.
    fn warnings(self, days: u16) -> impl Iterator<Item = (i64, u16)> {
        let last_part = self.not_after.saturating_sub(self.not_before) / LAST_PART;
        let steps = [days].into_iter().chain(AGAIN.into_iter().filter(move |again| *again < days));
        let begin = move |days: u16| self.not_after.saturating_sub(last_part.min(i64::from(days) * DAY));
        steps.filter(|days| *days > 0).map(move |days| (begin(days), days))
    }

    /// The days that the warning of this moment names: fewer than so many are left.
    pub(super) fn warned_days(self, days: u16, now: i64) -> Option<u16> {
        self.warnings(days).filter(|(begin, _)| *begin <= now).map(|(_, days)| days).last()
    }

    /// When the next warning begins.
    pub(super) fn next_warning(self, days: u16, now: i64) -> Option<i64> {
        self.warnings(days).map(|(begin, _)| begin).find(|begin| *begin > now)
    }
}

/// A time as people write it.
pub(super) fn date(unix: i64) -> String {
    jiff::Timestamp::from_second(unix).map_or_else(|_| format!("{unix} s"), |time| time.to_string())
}

/// The text of a warning.
pub(super) fn message(not_after: i64, days: u16) -> String {
    let unit = if days == 1 { "day" } else { "days" };
    format!(
        "the certificate expires at {}, in less than {days} {unit}, and was not renewed yet",
        date(not_after)
    )
}

/// The warning about a certificate that ends in less than `days` days, as a finding about its Secret, and when the
/// answer changes next by time alone. Both times are in Unix seconds; no days stand for no warning.
pub fn expiry_warning(identity: &Identity, days: u16, now: i64) -> (Option<Finding>, Option<i64>) {
    let validity = Validity { not_before: identity.not_before, not_after: identity.not_after };
    let warned = validity.warned_days(days, now).filter(|_| now <= identity.not_after);
    let finding = warned.map(|days| {
        Finding::warning(reason::CERTIFICATE_EXPIRES, "data[tls.crt]", message(identity.not_after, days))
    });
    (finding, validity.next_warning(days, now))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(lifetime: i64, left: i64) -> (Option<u16>, Option<i64>) {
        let validity = Validity { not_before: 0, not_after: lifetime };
        let now = lifetime - left;
        (validity.warned_days(14, now), validity.next_warning(14, now).map(|next| lifetime - next))
    }

    #[test]
    fn warnings_come_at_fourteen_three_and_one_days() {
        let lifetime = 90 * DAY;
        assert_eq!(at(lifetime, 14 * DAY + 1), (None, Some(14 * DAY)));
        assert_eq!(at(lifetime, 14 * DAY), (Some(14), Some(3 * DAY)));
        assert_eq!(at(lifetime, 3 * DAY), (Some(3), Some(DAY)));
        assert_eq!(at(lifetime, DAY), (Some(1), None));
    }

    #[test]
    fn short_lived_certificates_are_not_warned_about_before_they_should_be_renewed() {
        let lifetime = 6 * DAY;
        assert_eq!(at(lifetime, 2 * DAY), (None, Some(DAY + DAY / 2)));
        assert_eq!(at(lifetime, DAY + DAY / 2), (Some(3), Some(DAY)));
        let lifetime = DAY;
        assert_eq!(at(lifetime, DAY / 2), (None, Some(DAY / 4)));
        assert_eq!(at(lifetime, DAY / 4), (Some(1), None));
    }

    #[test]
    fn other_first_days_keep_the_later_warnings() {
        let validity = Validity { not_before: 0, not_after: 1000 * DAY };
        let days = |first: u16, left: i64| validity.warned_days(first, (1000 - left) * DAY);
        assert_eq!(days(30, 29), Some(30));
        assert_eq!(days(30, 2), Some(3));
        assert_eq!(days(2, 3), None);
        assert_eq!(days(2, 2), Some(2));
        assert_eq!(days(2, 1), Some(1));
        assert_eq!(days(0, 0), None);
    }
}
