//! What is printed when all boots are over.

use std::fmt::Write as _;

use super::boot::Boot;
use crate::shell::Outcome;
use crate::test::counts::{self, Counts, Line};

/// Prints the tables and the closing line; an error names what is wrong.
pub(super) fn conclude(boots: &[Boot]) -> Outcome {
    let complaints: Vec<&str> = boots.iter().flat_map(|boot| &boot.complaints).map(String::as_str).collect();
    let lines: Vec<&Line> = boots.iter().flat_map(|boot| &boot.lines).collect();
    println!("\n{}", counts::table(&lines));
    let verified = verified_table(boots);
    if !verified.is_empty() {
        println!("{verified}");
    }
    for complaint in &complaints {
        println!("FAILED: {complaint}");
    }
    let total: Counts = lines.iter().map(|line| line.counts).sum();
    println!("{total}");
    if complaints.is_empty() { Ok(()) } else { Err(complaints.join("; ").into()) }
}

/// How many instructions each kernel's verifier went through, as the table of docs/kernels.md.
fn verified_table(boots: &[Boot]) -> String {
    let mut rows = String::new();
    for boot in boots {
        for (program, count) in &boot.transcript.verified {
            let release = boot.transcript.release.as_deref().unwrap_or(&boot.name);
            // Writing to a String cannot fail.
            let _ = writeln!(rows, "| {program} | {release} | {count} |");
        }
    }
    if rows.is_empty() {
        rows
    } else {
        format!("| program | kernel | instructions verified |\n|---|---|---|\n{rows}")
    }
}
