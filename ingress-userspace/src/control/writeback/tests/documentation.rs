//! `docs/status.md` lists every reason, and no other.

use std::collections::BTreeSet;

use super::super::{ACCEPTED, MORE_FINDINGS, RECOVERED};

const PAGE: &str = include_str!("../../../../../docs/status.md");
const REASONS: &str = include_str!("../../../../core/src/translate/reason.rs");

#[test]
fn documentation_lists_every_reason() {
    let section = PAGE.split_once("### Reasons").unwrap().1.split_once("\n## ").unwrap().0;
    let rows =
        section.lines().filter_map(|line| line.strip_prefix("| `")?.split_once("` |").map(|row| row.0));
    let documented: BTreeSet<&str> = rows.collect();
    let constants = REASONS.lines().filter(|line| line.starts_with("pub const"));
    let reasons: BTreeSet<&str> = constants.filter_map(|line| line.split('"').nth(1)).collect();
    assert_eq!(documented, reasons);
    for reason in [ACCEPTED, RECOVERED, MORE_FINDINGS] {
        assert!(PAGE.contains(&format!("`{reason}`")), "{reason}");
    }
}
