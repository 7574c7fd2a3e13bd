//! The rules of the house as tests: who may import whom, what must not be written, how long a file is.
//!
//! Rules read sources as text. Those about code see it with comments and strings blanked, so that a word
//! in a message is no offence. Every failure names the file, the line and the way out.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// The libraries, lowest first.
const LIBRARIES: &[&str] = &["jellybean_engine", "jellybean_operators", "jellybean"];

/// Our crates: the folder, the name in paths, and whom it may import. Nobody imports `tests` and `benches`.
const CRATES: [(&str, &str, &[&str]); 5] = [
    ("engine", "jellybean_engine", &[]),
    ("operators", "jellybean_operators", &["jellybean_engine"]),
    ("topologies", "jellybean", &["jellybean_engine", "jellybean_operators"]),
    ("tests", "jellybean_tests", LIBRARIES),
    ("benches", "jellybean_benches", LIBRARIES),
];

/// Foreign crates, and the one place that may know each.
const FENCES: [(&str, &str); 14] = [
    ("timely", "engine/src/"),
    ("differential_dataflow", "engine/src/"),
    ("zenoh", "engine/src/net/zenoh"),
    ("rcgen", "engine/src/net/zenoh/tls"),
    ("microlp", "engine/src/placement"),
    ("ort", "operators/src/model"),
    ("zune_jpeg", "operators/"),
    ("fast_image_resize", "operators/"),
    ("jpeg_encoder", "operators/"),
    ("ab_glyph", "operators/"),
    ("clap", "topologies/src/"),
    ("anyhow", "topologies/src/"),
    ("indicatif", "topologies/src/"),
    ("ratatui", "topologies/src/command/top"),
];

/// Foreign crates that the benchmarks may know as well, to be measured against.
const YARDSTICKS: [&str; 1] = ["zenoh"];

/// Crates whose modules must not import each other in a circle. There is no list of exceptions.
const LAYERED: [&str; 3] = ["engine", "operators", "topologies"];

/// What code must not hold, tests included.
const NOT_IN_CODE: [(&str, &str); 3] = [
    ("todo!", "write it, or leave it out"),
    ("unimplemented!", "write it, or leave it out"),
    ("dbg!", "use `tracing`, or nothing"),
];

/// What code must not hold outside tests.
const NOT_IN_PRODUCTION: [(&str, &str); 1] =
    [(".unwrap()", "return an error, or say why it holds with `expect`")];

/// What no source, comment or page may hold. Split, or this file would offend.
const NOT_IN_TEXT: [(&str, &str); 6] = [
    (concat!("TO", "DO"), "do it, or open an issue"),
    (concat!("FIX", "ME"), "fix it, or open an issue"),
    (concat!("/ho", "me/"), "no path of one machine; examples live in EXAMPLE_HOME"),
    (concat!("/ro", "ot/"), "no path of one machine"),
    (concat!("/wo", "rk/"), "no path of one machine"),
    (concat!("/Us", "ers/"), "no path of one machine"),
];

/// The made-up home of examples.
const EXAMPLE_HOME: &str = concat!("/ho", "me/bo");

/// What pages must not hold: they tell what the code is, not who wrote it where.
const NOT_IN_PAGES: [&str; 4] = [concat!("../sha", "red"), "worktree", "workplace", "as an AI"];

/// Lines of one file, at most.
const LINES_MAX: usize = 700;

/// Folders that hold nothing of ours.
const NOT_OURS: [&str; 4] = ["target", "out", ".git", "__pycache__"];

/// A rule that is broken at a place.
struct Fault {
    file: String,
    line: usize,
    what: String,
    way_out: String,
}

/// Fails with every fault at once.
#[track_caller]
fn assert_none(faults: &[Fault]) {
    let lines: Vec<String> =
        faults.iter().map(|f| format!("{}:{}: {} ({})", f.file, f.line, f.what, f.way_out)).collect();
    assert!(faults.is_empty(), "{} broken:\n{}", faults.len(), lines.join("\n"));
}

#[test]
fn crates_import_downwards_only() {
    let mut faults = Vec::new();
    for (folder, name, allowed) in CRATES {
        let imports = |other: &str| other != name && CRATES.iter().any(|(_, n, _)| *n == other);
        for source in sources(folder) {
            for path in source.paths().iter().filter(|path| imports(path.head())) {
                if !allowed.contains(&path.head()) {
                    let what = format!("`{folder}` imports `{}`", path.head());
                    faults.push(source.fault(path.line, what, format!("it may import {allowed:?}")));
                }
            }
        }
    }
    assert_none(&faults);
}

#[test]
fn foreign_crates_stay_behind_their_fences() {
    let mut faults = Vec::new();
    for source in CRATES.iter().flat_map(|(folder, ..)| sources(folder)) {
        for path in source.paths() {
            let is_yardstick = source.file.starts_with("benches/") && YARDSTICKS.contains(&path.head());
            let fence = FENCES.iter().find(|(name, _)| *name == path.head() && !is_yardstick);
            if let Some((name, place)) = fence.filter(|(_, place)| !source.file.starts_with(place)) {
                let what = format!("`{name}` is used outside `{place}`");
                faults.push(source.fault(path.line, what, "go through what that place offers".into()));
            }
        }
    }
    assert_none(&faults);
}

#[test]
fn manifests_keep_the_fences() {
    let mut faults = Vec::new();
    for (folder, _, allowed) in CRATES {
        let manifest = Source::read(&root().join(folder).join("Cargo.toml"));
        for (i, line) in manifest.text.lines().enumerate() {
            let dependency = line.split(['.', ' ', '=']).next().unwrap_or_default().replace('-', "_");
            let ours = line.contains(".workspace") && CRATES.iter().any(|(_, name, _)| *name == dependency);
            let fence = FENCES.iter().find(|(name, _)| *name == dependency);
            let is_yardstick = folder == "benches" && YARDSTICKS.contains(&&*dependency);
            let outside = fence.is_some_and(|(_, place)| !place.starts_with(&format!("{folder}/")));
            let outside = outside && !is_yardstick;
            if outside || ours && !allowed.contains(&&*dependency) {
                let what = format!("`{folder}` depends on `{dependency}`");
                faults.push(manifest.fault(i + 1, what, "see CRATES and FENCES in tests/src/tidy.rs".into()));
            }
        }
    }
    assert_none(&faults);
}

#[test]
fn modules_import_each_other_in_no_circle() {
    let mut faults = Vec::new();
    for folder in LAYERED {
        let imports = module_imports(&sources(&format!("{folder}/src")));
        for (from, to) in circle(&imports) {
            let (file, line) = imports[&from][&to].clone();
            let what = format!("circle: `{from}` imports `{to}`");
            let way_out = "move what both need into a module below them".to_owned();
            faults.push(Fault { file, line, what, way_out });
        }
    }
    assert_none(&faults);
}

#[test]
fn code_holds_nothing_unfinished() {
    let mut faults = Vec::new();
    for source in CRATES.iter().flat_map(|(folder, ..)| sources(folder)) {
        let code = code_of(&source.text);
        faults.extend(source.find(&code, &NOT_IN_CODE));
        if !source.is_test() {
            faults.extend(source.find(&without_tests(&code), &NOT_IN_PRODUCTION));
        }
    }
    assert_none(&faults);
}

#[test]
fn texts_hold_no_notes_to_self_and_no_paths_of_a_machine() {
    let mut faults = Vec::new();
    for source in files(&root()).iter().filter(|f| has_text(f)).map(|f| Source::read(f)) {
        faults.extend(source.find(&source.text.replace(EXAMPLE_HOME, ""), &NOT_IN_TEXT));
    }
    assert_none(&faults);
}

#[test]
fn pages_tell_what_the_code_is() {
    let rules = NOT_IN_PAGES.map(|word| (word, "pages tell what the code is, not how it came about"));
    let pages = files(&root()).into_iter().filter(|f| extension(f) == "md").map(|f| Source::read(&f));
    assert_none(&pages.flat_map(|page| page.find(&page.text, &rules)).collect::<Vec<_>>());
}

#[test]
fn files_are_short_and_say_what_they_are() {
    let mut faults = Vec::new();
    for source in CRATES.iter().flat_map(|(folder, ..)| sources(folder)) {
        let lines = source.text.lines().count();
        if lines > LINES_MAX {
            let what = format!("{lines} lines, and {LINES_MAX} are the most");
            faults.push(source.fault(LINES_MAX, what, "a file is about one thing: split it".into()));
        }
        if !source.text.starts_with("//!") && !source.is_test() {
            let way_out = "begin with `//!`: the job, then the invariant".into();
            faults.push(source.fault(1, "the module has no documentation".into(), way_out));
        }
    }
    assert_none(&faults);
}

#[test]
fn the_workspace_is_the_folders() {
    let manifest = fs::read_to_string(root().join("Cargo.toml")).unwrap();
    let members = manifest.lines().find(|line| line.starts_with("members")).expect("members in one line");
    let members: BTreeSet<&str> = members.split('"').skip(1).step_by(2).collect();
    let folders: BTreeSet<String> = fs::read_dir(root())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.join("Cargo.toml").is_file())
        .map(|path| relative(&path))
        .collect();
    let folders: BTreeSet<&str> = folders.iter().map(String::as_str).collect();
    assert_eq!(members, folders, "members in Cargo.toml and folders with a Cargo.toml");
    assert_eq!(members, CRATES.map(|(folder, ..)| folder).into(), "CRATES in tests/src/tidy.rs");
}

/// One file.
struct Source {
    file: String,
    text: String,
}

impl Source {
    fn read(path: &Path) -> Self {
        let text = fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        Self { file: relative(path), text }
    }

    fn fault(&self, line: usize, what: String, way_out: String) -> Fault {
        Fault { file: self.file.clone(), line, what, way_out }
    }

    /// Where the words stand in `text`, which has the lines of this file.
    fn find(&self, text: &str, words: &[(&str, &str)]) -> Vec<Fault> {
        let mut faults = Vec::new();
        for (i, line) in text.lines().enumerate() {
            for (word, way_out) in words.iter().filter(|(word, _)| line.contains(word)) {
                faults.push(self.fault(i + 1, format!("`{word}`"), (*way_out).to_owned()));
            }
        }
        faults
    }

    /// The paths in its code, tests included.
    fn paths(&self) -> Vec<CodePath> {
        paths(&code_of(&self.text))
    }

    /// Whether all of it is for tests or measurements.
    fn is_test(&self) -> bool {
        let name = self.file.rsplit('/').next().unwrap_or_default();
        ["tests.rs", "testing.rs"].contains(&name)
            || ["tests/", "benches/"].iter().any(|folder| self.file.starts_with(folder))
    }

    /// The module this file is, from the crate's root: `src/a/b.rs` is `a`, `b`; the root itself is empty.
    fn module(&self) -> Vec<&str> {
        let inside = self.file.split_once("/src/").map_or("", |(_, inside)| inside);
        let inside = inside.strip_suffix(".rs").unwrap_or(inside);
        if ["lib", "main", ""].contains(&inside) { Vec::new() } else { inside.split('/').collect() }
    }
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").canonicalize().expect("the repository is there")
}

fn relative(path: &Path) -> String {
    path.strip_prefix(root()).unwrap_or(path).to_string_lossy().replace('\\', "/")
}

fn extension(path: &Path) -> &str {
    path.extension().and_then(|e| e.to_str()).unwrap_or_default()
}

fn has_text(path: &Path) -> bool {
    ["rs", "py", "toml", "md", "sh", "txt"].contains(&extension(path))
        || [".ci/run", "justfile"].iter().any(|name| path.ends_with(name))
}

/// Everything of ours below a folder, in order.
fn files(folder: &Path) -> Vec<PathBuf> {
    let mut entries: Vec<PathBuf> = fs::read_dir(folder).unwrap().map(|e| e.unwrap().path()).collect();
    entries.sort();
    let ours = |path: &PathBuf| !NOT_OURS.iter().any(|name| path.ends_with(name));
    entries.into_iter().filter(ours).flat_map(|p| if p.is_dir() { files(&p) } else { vec![p] }).collect()
}

/// The Rust sources below a folder of the repository.
fn sources(folder: &str) -> Vec<Source> {
    let files = files(&root().join(folder));
    files.iter().filter(|f| extension(f) == "rs").map(|f| Source::read(f)).collect()
}

/// Who imports whom among the modules right below a crate's root, and where; tests left out.
type Imports = BTreeMap<String, BTreeMap<String, (String, usize)>>;

fn module_imports(sources: &[Source]) -> Imports {
    let production = || sources.iter().filter(|source| !source.is_test() && !source.module().is_empty());
    let mut imports: Imports =
        production().map(|source| (source.module()[0].to_owned(), BTreeMap::new())).collect();
    for source in production() {
        let module = source.module();
        for path in paths(&without_tests(&code_of(&source.text))) {
            let Some(to) = path.leads_to(module.len()) else { continue };
            if to != module[0] && imports.contains_key(to) {
                let place = (source.file.clone(), path.line);
                imports.entry(module[0].to_owned()).or_default().entry(to.to_owned()).or_insert(place);
            }
        }
    }
    imports
}

/// The imports of some circle; nothing if there is none.
fn circle(imports: &Imports) -> Vec<(String, String)> {
    let mut left: BTreeSet<&String> = imports.keys().collect();
    while let Some(lowest) = left.iter().copied().find(|module| next(imports, &left, module).is_none()) {
        left.remove(lowest);
    }
    // Everybody left imports somebody left: following that must come back to where it has been.
    let Some(mut at) = left.first().copied() else { return Vec::new() };
    let mut walked: Vec<(String, String)> = Vec::new();
    while !walked.iter().any(|(from, _)| from == at) {
        let to = next(imports, &left, at).expect("everybody left imports somebody left");
        walked.push((at.clone(), to.clone()));
        at = to;
    }
    walked.into_iter().skip_while(|(from, _)| from != at).collect()
}

/// Somebody of `among` whom a module imports.
fn next<'a>(imports: &'a Imports, among: &BTreeSet<&String>, module: &str) -> Option<&'a String> {
    imports[module].keys().find(|to| among.contains(to))
}

/// A path as it stands in code, with what the `use` groups around it put before it.
#[derive(Debug, PartialEq)]
struct CodePath {
    line: usize,
    segments: Vec<String>,
}

impl CodePath {
    fn head(&self) -> &str {
        &self.segments[0]
    }

    /// The module below the crate's root that it leads to, seen from a module `depth` below the root.
    fn leads_to(&self, depth: usize) -> Option<&str> {
        let skipped = match self.head() {
            "crate" => 1,
            _ => self.segments.iter().take_while(|s| *s == "super").count(),
        };
        let reached = self.head() == "crate" || skipped >= depth;
        self.segments.get(skipped).map(String::as_str).filter(|_| reached)
    }
}

/// The paths of two segments or more in `code`, and what a `use` names by one.
fn paths(code: &str) -> Vec<CodePath> {
    let mut found = Vec::new();
    let mut open: Vec<Vec<String>> = Vec::new();
    let mut path = CodePath { line: 1, segments: Vec::new() };
    let (mut line, mut previous, mut in_use) = (1, "", false);
    for token in tokens(code) {
        let word = token.starts_with(|c: char| c.is_alphanumeric() || c == '_');
        let (joined, group) = (previous == "::", previous == "::" && token == "{");
        match token {
            "\n" => {
                line += 1;
                continue;
            }
            "::" => {}
            _ if word && joined && !path.segments.is_empty() => path.segments.push(token.to_owned()),
            _ => {
                let around = std::mem::take(&mut path.segments);
                match token {
                    "{" => open.push(if group { around.clone() } else { Vec::new() }),
                    "}" => _ = open.pop(),
                    "use" | "as" => {}
                    _ if word && !(in_use && previous == "as") => {
                        path.segments = open.last().cloned().unwrap_or_default();
                        path.segments.push(token.to_owned());
                    }
                    _ => {}
                }
                if !group && (around.len() > 1 || in_use && around.len() == 1) {
                    found.push(CodePath { line: path.line, segments: around });
                }
                // `use<…>` bounds what a type captures.
                in_use = token == "use" || in_use && ![";", "<"].contains(&token);
                path.line = line;
            }
        }
        previous = token;
    }
    found
}

/// Words, `::`, line breaks and single other characters.
fn tokens(code: &str) -> impl Iterator<Item = &str> {
    let mut rest = code;
    std::iter::from_fn(move || {
        rest = rest.trim_start_matches([' ', '\t', '\r']);
        let first = rest.chars().next()?;
        let in_word = |c: char| c.is_alphanumeric() || c == '_';
        let length = match first {
            c if in_word(c) => rest.find(|c| !in_word(c)).unwrap_or(rest.len()),
            ':' if rest.starts_with("::") => 2,
            c => c.len_utf8(),
        };
        let (token, after) = rest.split_at(length);
        rest = after;
        Some(token)
    })
}

/// The code in a source: comments, strings and characters are blanked, lines stay.
fn code_of(text: &str) -> String {
    let chars: Vec<char> = text.chars().collect();
    let mut code = String::with_capacity(text.len());
    let mut at = 0;
    while at < chars.len() {
        let length = opaque_length(&chars[at..], at.checked_sub(1).map(|before| chars[before]));
        let blank = chars[at..at + length].iter().map(|c| if *c == '\n' { '\n' } else { ' ' });
        code.extend(blank);
        code.extend(chars.get(at).filter(|_| length == 0));
        at += length.max(1);
    }
    code
}

/// How long the comment, string or character is that begins here; 0 if none does.
fn opaque_length(rest: &[char], before: Option<char>) -> usize {
    let find = |from: usize, c: char| rest.iter().skip(from).position(|x| *x == c).map(|i| from + i);
    let raw = before.is_none_or(|c| c == 'b' || !(c.is_alphanumeric() || c == '_'));
    match rest {
        ['/', '/', ..] => find(0, '\n').unwrap_or(rest.len()),
        ['/', '*', ..] => comment_length(rest),
        ['"', ..] => string_length(rest),
        ['r', '"' | '#', ..] if raw => raw_string_length(rest),
        ['\'', '\\', ..] => find(3, '\'').map_or(rest.len(), |end| end + 1),
        ['\'', _, '\'', ..] => 3,
        _ => 0,
    }
}

fn comment_length(rest: &[char]) -> usize {
    let (mut depth, mut at) = (0, 0);
    while at < rest.len() {
        match rest[at..] {
            ['/', '*', ..] => (depth, at) = (depth + 1, at + 2),
            ['*', '/', ..] => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            break;
        }
    }
    at
}

fn string_length(rest: &[char]) -> usize {
    let mut at = 1;
    while at < rest.len() && rest[at] != '"' {
        at += if rest[at] == '\\' { 2 } else { 1 };
    }
    (at + 1).min(rest.len())
}

fn raw_string_length(rest: &[char]) -> usize {
    let hashes = rest.iter().skip(1).take_while(|c| **c == '#').count();
    if rest.get(1 + hashes) != Some(&'"') {
        // A raw identifier.
        return 0;
    }
    let end: Vec<char> = std::iter::once('"').chain(std::iter::repeat_n('#', hashes)).collect();
    let body = &rest[2 + hashes..];
    let length = body.windows(end.len()).position(|window| window == end).unwrap_or(body.len());
    (2 + hashes + length + end.len()).min(rest.len())
}

/// The same code with every item under `#[cfg(test)]` blanked.
fn without_tests(code: &str) -> String {
    const MARK: &str = "#[cfg(test)]";
    let mut left = String::with_capacity(code.len());
    let mut rest = code;
    while let Some(at) = rest.find(MARK) {
        let end = at + item_length(&rest[at..]);
        left.push_str(&rest[..at]);
        left.extend(rest[at..end].chars().filter(|c| *c == '\n'));
        rest = &rest[end..];
    }
    left + rest
}

/// How long the item is that begins here: to its `;`, or to the brace that closes its first one.
fn item_length(code: &str) -> usize {
    let mut depth = 0;
    for (at, c) in code.char_indices() {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
        if depth == 0 && (c == '}' || c == ';') {
            return at + 1;
        }
    }
    code.len()
}

#[test]
fn comments_and_strings_are_no_code() {
    let blanked = |text: &str| code_of(text).split_whitespace().collect::<Vec<_>>().join(" ");
    let check = |text: &str, code: &str| assert_eq!(blanked(text), code, "{text}");
    check("a // b\nc", "a c");
    check("a /* b /* c */ d */ e", "a e");
    check(r#"a("b \" c", d)"#, "a( , d)");
    check(r###"a(r#"b " c"#, br"d", e)"###, "a( , b , e)");
    check("fn f<'a>(x: &'a str) { '\"'; '\\''; '\\u{7f}' }", "fn f<'a>(x: &'a str) { ; ; }");
    check("r#type r", "r#type r");
}

#[test]
fn test_code_is_left_out() {
    let code = "a;\n#[cfg(test)]\nmod tests {\n fn b() {}\n}\nc;\n#[cfg(test)]\nmod d;\ne;";
    assert_eq!(without_tests(code), "a;\n\n\n\n\nc;\n\n\ne;");
}

#[test]
fn paths_are_read_through_groups() {
    let found =
        paths("use a::{b, c::{d, e as f}, g};\nuse h;\nlet i = Vec::<j::K>::new(l.m, n);\nuse {o, p::q};");
    let found: Vec<String> = found.iter().map(|p| format!("{} {}", p.line, p.segments.join("::"))).collect();
    let expected =
        ["1 a::b", "1 a::c::d", "1 a::c::e", "1 a::g", "2 h", "3 j::K", "4 o", "4 p::q"].map(String::from);
    assert_eq!(found, expected);
}

#[test]
fn circles_are_found() {
    let import =
        |(from, to): (&str, &str)| Source { file: format!("x/src/{from}.rs"), text: format!("use {to};") };
    let check = |imports: &[(&str, &str)], expected: &[(&str, &str)]| {
        let sources: Vec<Source> = imports.iter().copied().map(import).collect();
        let expected: Vec<_> = expected.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect();
        assert_eq!(circle(&module_imports(&sources)), expected);
    };
    check(&[("a", "crate::b"), ("b/c", "super::d"), ("d", "super::a::X")], &[]);
    let around = [("a", "b"), ("b", "c"), ("c", "a")];
    check(
        &[("e", "crate::a"), ("a", "crate::b"), ("b/x", "super::super::c"), ("c", "crate::{f, a::Y}")],
        &around,
    );
}
