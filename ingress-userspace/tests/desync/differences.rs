//! What nginx and HAProxy do differently: the files that hold it, and the document that explains it.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;

use super::case::{self, Case};
use super::guardian;

/// What one peer does differently.
pub(crate) struct Differences {
    /// Of the peer.
    pub(crate) version: String,
    /// What may come of a case. HAProxy does not always do the same with the same bytes.
    cases: BTreeMap<String, Vec<Vec<String>>>,
}

/// The first line of a file of differences.
const VERSION: &str = "# version ";

impl Differences {
    /// What is written down about a program.
    pub(crate) fn of(program: &str) -> Self {
        let file = case::directory().join(program).with_extension("txt");
        let text = fs::read_to_string(&file).unwrap_or_default();
        let version = text.lines().next().and_then(|line| line.strip_prefix(VERSION)).unwrap_or_default();
        let mut cases: BTreeMap<String, Vec<Vec<String>>> = BTreeMap::new();
        for case in if text.is_empty() { Vec::new() } else { case::read(&file) } {
            cases.entry(case.name).or_default().push(case.expected);
        }
        Self { version: version.to_owned(), cases }
    }

    /// Writes down what was found, beside what was found before with the same version.
    pub(crate) fn record(program: &str, version: &str, found: &[(&Case, Vec<String>)]) {
        let mut text = format!("{VERSION}{version}\n# What {program} does differently from Penstock.\n");
        let before = Some(Self::of(program)).filter(|before| before.version == version);
        for (case, lines) in found {
            let same = without_kinds(&case.expected);
            let mut all = before.as_ref().map(|before| before.of_case(case)).unwrap_or_default();
            if !all.contains(lines) {
                all.push(lines.clone());
            }
            if all == [same] {
                continue;
            }
            for lines in &all {
                writeln!(text, "\n= {}\n< {}", case.key(), lines.join("\n< ")).unwrap();
            }
        }
        fs::write(case::directory().join(program).with_extension("txt"), text).unwrap();
    }

    /// What may come of a case: what is written down, or the same as with Penstock.
    pub(crate) fn of_case(&self, case: &Case) -> Vec<Vec<String>> {
        self.cases.get(&case.key()).cloned().unwrap_or_else(|| vec![without_kinds(&case.expected)])
    }
}

/// Both corpora.
pub(crate) fn all_cases() -> Vec<Case> {
    case::ours().into_iter().chain(guardian::cases().into_iter().map(|(case, _)| case)).collect()
}

/// A status with Penstock's word for the reason, split.
fn own_answer(line: &str) -> Option<(&str, &str)> {
    let (status, kind) = line.split_once(' ')?;
    (status.len() == 3 && status.parse::<u16>().is_ok()).then_some((status, kind))
}

/// What other proxies would have to do to be the same.
fn without_kinds(lines: &[String]) -> Vec<String> {
    lines.iter().map(|line| own_answer(line).map_or(line.as_str(), |(status, _)| status).to_owned()).collect()
}

/// Whether a backend received something.
fn forwards(lines: &[String]) -> bool {
    lines.iter().any(|line| ["app ", "admin ", "unreadable"].iter().any(|start| line.starts_with(start)))
}

/// The section that explains a case: what the case says, or the kind of problem that Penstock answers with.
fn section(case: &Case) -> Result<String, String> {
    let kind = case.expected.iter().find_map(|line| own_answer(line)).map(|(_, kind)| kind.to_owned());
    let section = case.section.clone().or(kind);
    section.ok_or(format!("{}: the case names no section (~) that explains the difference", case.key()))
}

/// Renews the tables of the document; an error says what the document lacks.
pub(crate) fn render(document: &str) -> Result<String, String> {
    let peers = [("nginx", Differences::of("nginx")), ("HAProxy", Differences::of("haproxy"))];
    let cases = all_cases();
    let mut rows: BTreeMap<String, String> = BTreeMap::new();
    for case in &cases {
        let same = without_kinds(&case.expected);
        let found: Vec<_> = peers.iter().map(|(_, peer)| peer.of_case(case)).collect();
        if found.iter().all(|all| *all == [same.clone()]) {
            continue;
        }
        let one = |lines: &Vec<String>| if *lines == same { "same".to_owned() } else { cell(lines) };
        let others = found.iter().map(|all| all.iter().map(one).collect::<Vec<_>>().join("<br>or<br>"));
        let columns: Vec<String> = [plain(&case.key()), cell(&same)].into_iter().chain(others).collect();
        *rows.entry(section(case)?).or_default() += &format!("| {} |\n", columns.join(" | "));
    }
    let versions: Vec<String> = peers.iter().map(|(name, peer)| format!("{name} {}", peer.version)).collect();
    let head = format!("| case | Penstock | {} |\n|---|---|---|---|\n", versions.join(" | "));
    let mut out = String::new();
    for block in blocks(document) {
        let prose = without_table(block);
        out += &prose;
        if prose.contains(SUMMARY) {
            out += &summary(&cases, &peers.each_ref().map(|(_, peer)| peer), &versions);
        } else if let Some(heading) = prose.strip_prefix("### ") {
            let name =
                heading.split('`').nth(1).ok_or(format!("a heading without a section's name: {heading}"))?;
            let table = rows.remove(name).ok_or(format!("nothing differs any more in the section {name}"))?;
            if prose.lines().skip(1).all(|line| line.trim().is_empty()) {
                return Err(format!("the section {name} explains nothing"));
            }
            out += &format!("{head}{table}\n");
        }
    }
    let out = out.trim_end().to_owned() + "\n";
    if rows.is_empty() { Ok(out) } else { Err(format!("no section explains:\n{rows:#?}")) }
}

/// The parts of a document, each with its heading.
fn blocks(document: &str) -> Vec<&str> {
    let heading = |line: &str| line.starts_with("## ") || line.starts_with("### ");
    let mut starts = vec![0];
    let mut at = 0;
    for line in document.split_inclusive('\n') {
        if heading(line) && at > 0 {
            starts.push(at);
        }
        at += line.len();
    }
    starts.push(at);
    starts.windows(2).map(|pair| &document[pair[0]..pair[1]]).collect()
}

/// A block up to its table, with one empty line at the end.
fn without_table(block: &str) -> String {
    let prose: Vec<&str> = block.lines().take_while(|line| !line.starts_with('|')).collect();
    prose.join("\n").trim_end().to_owned() + "\n\n"
}

/// The first line of the table of numbers.
const SUMMARY: &str = "<!-- counted by the test -->";

/// Whether a case counts in a row, by what comes out of Penstock and of a peer.
type Test = fn(penstock: &[String], peer: &[String]) -> bool;

/// How many cases come out in which way.
fn summary(cases: &[Case], peers: &[&Differences; 2], versions: &[String]) -> String {
    let mut text = format!("| of {} cases | {} |\n|---|---|---|\n", cases.len(), versions.join(" | "));
    let rows: [(&str, Test); 5] = [
        ("the same", |penstock, peer| penstock == peer),
        ("forwarded, where Penstock forwards nothing", |penstock, peer| {
            !forwards(penstock) && forwards(peer)
        }),
        ("not forwarded, where Penstock forwards", |penstock, peer| forwards(penstock) && !forwards(peer)),
        ("forwarded in another form or number", |penstock, peer| {
            forwards(penstock) && forwards(peer) && penstock != peer
        }),
        ("refused with another status", |penstock, peer| {
            !forwards(penstock) && !forwards(peer) && penstock != peer
        }),
    ];
    for (what, test) in rows {
        let count = |peer: &&Differences| {
            let first = |case: &Case| peer.of_case(case).swap_remove(0);
            cases.iter().filter(|case| test(&without_kinds(&case.expected), &first(case))).count().to_string()
        };
        let counts: Vec<String> = peers.iter().map(count).collect();
        writeln!(text, "| {what} | {} |", counts.join(" | ")).unwrap();
    }
    text + "\n"
}

fn cell(lines: &[String]) -> String {
    let code = |line: &String| {
        let quotes = if line.contains('`') { "``" } else { "`" };
        let space = if line.ends_with('`') { " " } else { "" };
        format!("{quotes}{}{space}{quotes}", line.replace('|', "\\|"))
    };
    lines.iter().map(code).collect::<Vec<_>>().join("<br>")
}

/// Text whose characters mean nothing to Markdown.
fn plain(text: &str) -> String {
    text.chars().flat_map(|c| if "\\|_*<>[]`".contains(c) { vec!['\\', c] } else { vec![c] }).collect()
}
