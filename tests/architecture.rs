//! Keeps the line of modules: reads every path in `src/` and fails on any arrow that ARCHITECTURE.md does not allow.
//!
//! What: five rules, each with a test that shows it can be broken: who may import whom; no clock, randomness, I/O or
//! async in the core; no hasher with a random seed there; no file over 500 lines; every file opens with `//!`.
//! How: a small lexer drops comments, literals and `#[cfg(test)]` items, so that only what is built counts.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// Module, and the modules it may import. One not listed may not exist. `lib.rs` is free.
const MAY_IMPORT: &[(&str, &[&str])] = &[
    ("types", &[]),
    ("filter", &["types"]),
    ("reconcile", &["types"]),
    ("state", &["types"]),
    ("authenticity", &["types"]),
    ("segment", &["types"]),
    ("wire", &["types", "state", "filter"]),
    ("snapshot", &["types", "state", "wire"]),
    ("channel", &["types", "authenticity", "state", "filter", "reconcile", "segment"]),
    ("store", &["types", "state", "reconcile", "wire", "snapshot"]),
    ("catchup", &["types", "state"]),
    ("transport", &["types"]),
    ("executor", &["types", "state", "reconcile", "channel", "store"]),
    (
        "manager",
        &[
            "types",
            "authenticity",
            "filter",
            "reconcile",
            "state",
            "wire",
            "channel",
            "store",
            "executor",
            "catchup",
            "transport",
        ],
    ),
    ("reliable", &["types", "authenticity", "state", "segment", "channel", "store", "manager", "transport"]),
    (
        "fuzzing",
        &[
            "types",
            "authenticity",
            "filter",
            "reconcile",
            "state",
            "segment",
            "wire",
            "snapshot",
            "channel",
            "store",
            "executor",
            "catchup",
        ],
    ),
    (
        "sim",
        &[
            "types",
            "authenticity",
            "filter",
            "state",
            "reconcile",
            "wire",
            "snapshot",
            "channel",
            "store",
            "executor",
            "catchup",
        ],
    ),
];

/// Modules that take time and entropy as arguments and touch nothing outside.
const CORE: &[&str] = &[
    "types",
    "authenticity",
    "state",
    "filter",
    "reconcile",
    "segment",
    "wire",
    "snapshot",
    "channel",
    "executor",
    "catchup",
];

/// Words that no core module may say.
const CORE_BANS_WORD: &[&str] = &[
    "tokio",
    "async_trait",
    "futures",
    "async",
    "await",
    "Instant",
    "SystemTime",
    "rand",
    "rand_chacha",
    "getrandom",
    "RandomState",
];

/// Parts of `std` that no core module may name.
const CORE_BANS_STD: &[&str] = &["fs", "net", "thread", "process", "env"];

/// Constructors that exist only for a hasher with a random seed.
const SEEDED_AT_RANDOM: &[&str] = &["new", "with_capacity", "from"];

const MAX_LINES: usize = 500;

#[test]
fn the_source_keeps_the_architecture() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let files = read_sources(root, &root.join("src"));
    let report = check(&files);
    for known in [("state", "types"), ("channel", "state"), ("store", "state")] {
        let arrow = (known.0.to_owned(), known.1.to_owned());
        assert!(report.arrows.contains(&arrow), "the checker is blind: it does not see {known:?}");
    }
    let list = report.breaches.join("\n  ");
    assert!(report.breaches.is_empty(), "ARCHITECTURE.md does not allow:\n  {list}\n");
}

/// One file: its path from the package's root, with `/`, and its text.
struct Source {
    path: String,
    text: String,
}

/// What the checker saw.
#[derive(Default)]
struct Report {
    /// `path:line: what`, in file order.
    breaches: Vec<String>,
    /// Every arrow from one top module to another.
    arrows: BTreeSet<(String, String)>,
}

fn read_sources(root: &Path, folder: &Path) -> Vec<Source> {
    let mut entries: Vec<_> =
        fs::read_dir(folder).expect("src is there").map(|entry| entry.expect("src can be read").path()).collect();
    entries.sort();
    let mut sources = Vec::new();
    for path in entries {
        if path.is_dir() {
            sources.extend(read_sources(root, &path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path).expect("a source file is UTF-8");
            let components: Vec<_> =
                path.strip_prefix(root).expect("src is below the root").iter().map(|c| c.to_string_lossy()).collect();
            sources.push(Source { path: components.join("/"), text });
        }
    }
    sources
}

fn check(files: &[Source]) -> Report {
    let lexed: Vec<(Vec<String>, Lexed)> = files
        .iter()
        .map(|file| {
            let module = module_of(&file.path);
            let lexed = without_tests(lex(&file.text), &module);
            (module, lexed)
        })
        .collect();
    let test_modules: Vec<&Vec<String>> = lexed.iter().flat_map(|(_, lexed)| &lexed.test_modules).collect();

    let mut report = Report::default();
    for (file, (module, lexed)) in files.iter().zip(&lexed) {
        let mut breach = |line: usize, what: String| report.breaches.push(format!("{}:{line}: {what}", file.path));
        if !file.text.starts_with("//!") {
            breach(1, "a file starts with `//!`: what it is for".into());
        }
        let lines = file.text.lines().count();
        if lines > MAX_LINES {
            breach(lines, format!("{lines} lines, {MAX_LINES} are allowed: split it"));
        }
        let Some(own) = module.first() else { continue };
        if test_modules.iter().any(|tests| module.starts_with(tests)) {
            continue;
        }
        let Some((_, allowed)) = MAY_IMPORT.iter().find(|(name, _)| name == own) else {
            breach(1, format!("module `{own}` is not in the table"));
            continue;
        };
        for path in paths(&lexed.tokens, module) {
            let shown = path.segments.join("::");
            match path.target(own) {
                Target::Own | Target::Foreign => {}
                Target::Root => breach(path.line, format!("`{shown}` names the crate's root; name the module")),
                Target::Module(target) => {
                    report.arrows.insert((own.clone(), target.clone()));
                    if !allowed.contains(&target.as_str()) {
                        breach(path.line, format!("`{own}` may not import `{target}` (`{shown}`)"));
                    }
                }
            }
            if CORE.contains(&own.as_str())
                && let [std, part, ..] = path.segments.as_slice()
                && std == "std"
                && CORE_BANS_STD.contains(&part.as_str())
            {
                breach(path.line, format!("`{own}` may not name `std::{part}`"));
            }
        }
        if CORE.contains(&own.as_str()) {
            for (line, what) in banned_words(&lexed.tokens) {
                breach(line, format!("`{own}` may not say `{what}`"));
            }
        }
    }
    report
}

/// `src/a/b.rs` and `src/a/b/mod.rs` are `["a", "b"]`, `src/lib.rs` is `[]`.
fn module_of(path: &str) -> Vec<String> {
    let path = path.strip_prefix("src/").unwrap_or(path);
    let path = path.strip_suffix(".rs").unwrap_or(path);
    let mut module: Vec<String> = path.split('/').map(str::to_owned).collect();
    if matches!(module.last().map(String::as_str), Some("lib" | "main" | "mod")) {
        module.pop();
    }
    module
}

/// Banned words and constructors, with their lines.
fn banned_words(tokens: &[Token]) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    for (at, token) in tokens.iter().enumerate() {
        if CORE_BANS_WORD.contains(&token.text.as_str()) {
            found.push((token.line, token.text.clone()));
        }
        if ["HashMap", "HashSet"].contains(&token.text.as_str())
            && text(tokens, at + 1) == "::"
            && let mut method = at + 2
        {
            if text(tokens, method) == "<" {
                method = after_angles(tokens, method) + 1;
            }
            if SEEDED_AT_RANDOM.contains(&text(tokens, method)) {
                found.push((token.line, format!("{}::{}", token.text, text(tokens, method))));
            }
        }
    }
    found
}

fn after_angles(tokens: &[Token], open: usize) -> usize {
    let mut depth = 0usize;
    for (at, token) in tokens.iter().enumerate().skip(open) {
        match token.text.as_str() {
            "<" => depth += 1,
            ">" => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return at + 1;
        }
    }
    tokens.len()
}

// Paths.

/// A path as it is meant: `crate`, `self` and `super` resolved to start at `crate`, groups spread out.
struct Named {
    segments: Vec<String>,
    line: usize,
    /// A macro: those live at the crate's root.
    is_macro: bool,
}

enum Target {
    Own,
    Foreign,
    Root,
    Module(String),
}

impl Named {
    fn target(&self, own: &str) -> Target {
        match self.segments.as_slice() {
            [head, ..] if head != "crate" => Target::Foreign,
            [_, _] if self.is_macro => Target::Foreign,
            [_, module, ..] if module == own => Target::Own,
            [_, module, ..] if MAY_IMPORT.iter().any(|(name, _)| name == module) => Target::Module(module.clone()),
            _ => Target::Root,
        }
    }
}

/// Every path that starts at a keyword or at `std`, in `use` lines and outside.
fn paths(tokens: &[Token], file_module: &[String]) -> Vec<Named> {
    let mut found = Vec::new();
    let mut module = file_module.to_vec();
    let mut inline_modules = Vec::new();
    let mut depth = 0usize;
    let mut at = 0;
    while at < tokens.len() {
        let line = tokens[at].line;
        match tokens[at].text.as_str() {
            "{" => depth += 1,
            "}" => {
                depth = depth.saturating_sub(1);
                if inline_modules.last() == Some(&depth) {
                    inline_modules.pop();
                    module.pop();
                }
            }
            "mod" if text(tokens, at + 2) == "{" => {
                inline_modules.push(depth);
                module.push(tokens[at + 1].text.clone());
                depth += 1;
                at += 2;
            }
            // Not the `use<..>` of a return type.
            "use" if text(tokens, at + 1) != "<" => {
                let mut leaves = Vec::new();
                at = use_tree(tokens, at + 1, Vec::new(), &mut leaves);
                found.extend(leaves.into_iter().map(|segments| Named {
                    segments: resolve(segments, &module),
                    line,
                    is_macro: false,
                }));
                continue;
            }
            "crate" | "self" | "super" | "std" | "reliable_channel" if starts_path(tokens, at) => {
                let mut segments = vec![tokens[at].text.clone()];
                while text(tokens, at + 1) == "::" && is_word(text(tokens, at + 2)) {
                    segments.push(tokens[at + 2].text.clone());
                    at += 2;
                }
                let is_macro = text(tokens, at + 1) == "!" && text(tokens, at + 2) != "=";
                found.push(Named { segments: resolve(segments, &module), line, is_macro });
            }
            _ => {}
        }
        at += 1;
    }
    found
}

/// Followed by `::`, and not itself a later segment.
fn starts_path(tokens: &[Token], at: usize) -> bool {
    let inside = at >= 2 && tokens[at - 1].text == "::" && is_word(&tokens[at - 2].text);
    text(tokens, at + 1) == "::" && !inside
}

/// Spreads the tree of a `use` line out; returns where it ends.
fn use_tree(tokens: &[Token], mut at: usize, mut path: Vec<String>, leaves: &mut Vec<Vec<String>>) -> usize {
    loop {
        match text(tokens, at) {
            "{" => {
                at += 1;
                while !["}", ""].contains(&text(tokens, at)) {
                    at = use_tree(tokens, at, path.clone(), leaves);
                    if text(tokens, at) == "," {
                        at += 1;
                    }
                }
                return at + 1;
            }
            "as" => at += 2,
            "::" => at += 1,
            word if word == "*" || is_word(word) => {
                path.push(word.to_owned());
                at += 1;
            }
            _ => {
                leaves.push(path);
                return at;
            }
        }
    }
}

fn resolve(segments: Vec<String>, module: &[String]) -> Vec<String> {
    let mut place = match segments.first().map(String::as_str) {
        Some("crate" | "reliable_channel") => Vec::new(),
        Some("self") => module.to_vec(),
        Some("super") => module[..module.len().saturating_sub(1)].to_vec(),
        _ => return segments,
    };
    for segment in segments.into_iter().skip(1) {
        match segment.as_str() {
            "super" => drop(place.pop()),
            "self" => {}
            _ => place.push(segment),
        }
    }
    place.insert(0, "crate".to_owned());
    place
}

// Tokens.

#[derive(Clone, Debug, PartialEq)]
struct Token {
    text: String,
    line: usize,
}

struct Lexed {
    tokens: Vec<Token>,
    /// Modules declared as `#[cfg(test)] mod name;`: their files are tests.
    test_modules: Vec<Vec<String>>,
}

fn text(tokens: &[Token], at: usize) -> &str {
    tokens.get(at).map_or("", |token| token.text.as_str())
}

fn is_word(text: &str) -> bool {
    text.starts_with(|first: char| first.is_alphabetic() || first == '_')
}

fn matches(tokens: &[Token], at: usize, pattern: &[&str]) -> bool {
    pattern.iter().enumerate().all(|(offset, expected)| text(tokens, at + offset) == *expected)
}

/// Words, `::` and single characters. Comments go; of strings and characters a `"` stays.
fn lex(source: &str) -> Vec<Token> {
    let chars: Vec<char> = source.chars().collect();
    let peek = |at: usize| chars.get(at).copied().unwrap_or('\0');
    let mut tokens = Vec::new();
    let mut line = 1;
    let mut at = 0;
    while at < chars.len() {
        let start = at;
        let mut token = None;
        match chars[at] {
            '/' if peek(at + 1) == '/' => {
                while at < chars.len() && chars[at] != '\n' {
                    at += 1;
                }
            }
            '/' if peek(at + 1) == '*' => at = after_block_comment(&chars, at),
            '"' => {
                at = after_quoted(&chars, at);
                token = Some("\"".to_owned());
            }
            '\'' if peek(at + 1) == '\\' || peek(at + 2) == '\'' => {
                at = after_quoted(&chars, at);
                token = Some("\"".to_owned());
            }
            '\'' => {
                at += 1;
                while peek(at).is_alphanumeric() || peek(at) == '_' {
                    at += 1;
                }
            }
            first if first.is_alphanumeric() || first == '_' => {
                while peek(at).is_alphanumeric() || peek(at) == '_' {
                    at += 1;
                }
                let word: String = chars[start..at].iter().collect();
                let hashes = chars[at..].iter().take_while(|c| **c == '#').count();
                match (word.as_str(), peek(at + hashes)) {
                    ("r" | "br" | "cr", '"') => {
                        at = after_raw_string(&chars, at + hashes, hashes);
                        token = Some("\"".to_owned());
                    }
                    ("b" | "c", '"') if hashes == 0 => {
                        at = after_quoted(&chars, at);
                        token = Some("\"".to_owned());
                    }
                    ("b", '\'') if hashes == 0 => {
                        at = after_quoted(&chars, at);
                        token = Some("\"".to_owned());
                    }
                    // `r#word`: the word comes next.
                    ("r", _) if hashes == 1 => at += 1,
                    _ => token = Some(word),
                }
            }
            ':' if peek(at + 1) == ':' => {
                at += 2;
                token = Some("::".to_owned());
            }
            other => {
                at += 1;
                token = (!other.is_whitespace()).then(|| other.to_string());
            }
        }
        tokens.extend(token.map(|text| Token { text, line }));
        line += chars[start..at.min(chars.len())].iter().filter(|c| **c == '\n').count();
    }
    tokens
}

fn after_block_comment(chars: &[char], open: usize) -> usize {
    let mut depth = 0usize;
    let mut at = open;
    while at < chars.len() {
        match (chars[at], chars.get(at + 1)) {
            ('/', Some('*')) => {
                depth += 1;
                at += 2;
            }
            ('*', Some('/')) => {
                depth -= 1;
                at += 2;
                if depth == 0 {
                    return at;
                }
            }
            _ => at += 1,
        }
    }
    at
}

fn after_quoted(chars: &[char], open: usize) -> usize {
    let mut at = open + 1;
    while at < chars.len() && chars[at] != chars[open] {
        at += if chars[at] == '\\' { 2 } else { 1 };
    }
    at + 1
}

fn after_raw_string(chars: &[char], open: usize, hashes: usize) -> usize {
    let mut at = open + 1;
    while at < chars.len() {
        if chars[at] == '"' && chars[at + 1..].iter().take(hashes).filter(|c| **c == '#').count() == hashes {
            return at + 1 + hashes;
        }
        at += 1;
    }
    at
}

/// Takes out what is only built for tests.
fn without_tests(tokens: Vec<Token>, module: &[String]) -> Lexed {
    let mut kept = Vec::new();
    let mut test_modules = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        if matches(&tokens, at, &["#", "!", "[", "cfg", "(", "test", ")", "]"]) {
            return Lexed { tokens: Vec::new(), test_modules: vec![module.to_vec()] };
        }
        let only_tests = matches(&tokens, at, &["#", "[", "cfg", "(", "test", ")", "]"])
            || matches(&tokens, at, &["#", "[", "cfg", "(", "all", "(", "test", ","]);
        if !only_tests {
            kept.push(tokens[at].clone());
            at += 1;
            continue;
        }
        while text(&tokens, at) == "#" {
            at = after_group(&tokens, at + 1);
        }
        let item = (at..tokens.len()).find(|at| !is_visibility(&tokens, *at)).unwrap_or(tokens.len());
        if text(&tokens, item) == "mod" && text(&tokens, item + 2) == ";" {
            test_modules.push([module, &[tokens[item + 1].text.clone()]].concat());
        }
        at = after_item(&tokens, item);
    }
    Lexed { tokens: kept, test_modules }
}

/// `pub`, and the parts of `pub(crate)` and `pub(in path)`.
fn is_visibility(tokens: &[Token], at: usize) -> bool {
    let word = text(tokens, at);
    word == "pub"
        || tokens[..at]
            .iter()
            .rev()
            .take_while(|token| !["]", ";", "}"].contains(&token.text.as_str()))
            .any(|token| token.text == "pub")
            && ["(", ")", "crate", "super", "self", "in", "::"].contains(&word)
}

/// Behind the bracket that closes the one at `open`.
fn after_group(tokens: &[Token], open: usize) -> usize {
    let mut depth = 0usize;
    for (at, token) in tokens.iter().enumerate().skip(open) {
        match token.text.as_str() {
            "(" | "[" | "{" => depth += 1,
            ")" | "]" | "}" => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth == 0 {
            return at + 1;
        }
    }
    tokens.len()
}

/// Behind an item, which ends with `;` or with its block; behind a field or an arm, which may end with `,` too.
fn after_item(tokens: &[Token], start: usize) -> usize {
    const ITEMS: &[&str] = &[
        "mod",
        "use",
        "fn",
        "impl",
        "struct",
        "enum",
        "union",
        "const",
        "static",
        "type",
        "trait",
        "async",
        "unsafe",
        "extern",
        "macro_rules",
    ];
    let is_item = ITEMS.contains(&text(tokens, start));
    let mut at = start;
    loop {
        match text(tokens, at) {
            "" | "}" => return at,
            ";" => return at + 1,
            "," if !is_item => return at + 1,
            "{" => return after_group(tokens, at),
            "(" | "[" => at = after_group(tokens, at),
            _ => at += 1,
        }
    }
}

/// The checker, shown to fail.
mod checker {
    use super::{Source, check};

    fn breaches(path: &str, body: &str) -> Vec<String> {
        let text = format!("//! A file.\n{body}");
        check(&[Source { path: path.to_owned(), text }]).breaches
    }

    #[track_caller]
    fn assert_breach(path: &str, body: &str, expected: &str) {
        let found = breaches(path, body);
        assert!(found.len() == 1 && found[0].contains(expected), "{body:?} in {path}: {found:#?}");
    }

    #[track_caller]
    fn assert_fine(path: &str, body: &str) {
        assert_eq!(breaches(path, body), Vec::<String>::new(), "{body:?} in {path}");
    }

    #[test]
    fn a_forbidden_use_line_is_told_with_file_line_and_both_modules() {
        let found = breaches("src/channel/log.rs", "\nuse crate::wire::decode;");
        assert_eq!(found, ["src/channel/log.rs:3: `channel` may not import `wire` (`crate::wire::decode`)"]);
    }

    #[test]
    fn allowed_arrows_pass() {
        assert_fine("src/channel/log.rs", "use crate::{types::{MessageId, Lamport}, state::*};\nuse super::Event;");
        assert_fine("src/store.rs", "use crate::wire::decode;");
        assert_fine("src/sim/net.rs", "use crate::channel::Channel;");
        assert_fine("src/manager/slot.rs", "use crate::{channel, store, wire};");
        assert_fine("src/lib.rs", "pub use crate::manager::Manager; pub use sim::World;");
    }

    #[test]
    fn every_row_of_the_table_is_enforced() {
        let names: Vec<&str> = super::MAY_IMPORT.iter().map(|(name, _)| *name).collect();
        for (own, allowed) in super::MAY_IMPORT {
            for target in names.iter().filter(|target| *target != own) {
                let found = breaches(&format!("src/{own}.rs"), &format!("use crate::{target}::X;"));
                assert_eq!(found.is_empty(), allowed.contains(target), "{own} -> {target}: {found:?}");
            }
        }
    }

    #[test]
    fn groups_are_spread_out() {
        assert_breach("src/state.rs", "use crate::{types::{A, B}, wire::{c}};", "`wire` (`crate::wire::c`)");
        assert_breach("src/types.rs", "use {std::fmt, crate::state::Row};", "`state`");
    }

    #[test]
    fn paths_outside_use_lines_count() {
        assert_breach("src/types.rs", "fn f() -> crate::state::Row { todo!() }", "`state`");
        assert_breach("src/types.rs", "fn f(_: Vec<crate::wire::X>) {}", "`wire`");
        assert_breach("src/types.rs", "macro_rules! m { () => { $crate::store::x() } }", "`store`");
        assert_breach("src/types.rs", "fn f() { let x = ::reliable_channel::wire::decode; }", "`wire`");
    }

    #[test]
    fn super_that_leaves_the_module_counts() {
        assert_breach("src/wire.rs", "use super::channel::Channel;", "`channel`");
        assert_breach("src/channel/log.rs", "use super::super::wire::decode;", "`wire`");
        assert_breach("src/channel/log.rs", "fn f() { super::super::store::x() }", "`store`");
        assert_breach("src/wire.rs", "mod inner { use super::super::store::X; }", "`store`");
        assert_fine("src/wire.rs", "mod inner { use super::decode; } use self::inner::x;");
        assert_fine("src/channel/log/tail.rs", "use super::super::Event; use super::Log;");
    }

    #[test]
    fn the_root_of_the_crate_is_no_way_around() {
        assert_breach("src/wire.rs", "use crate::*;", "root");
        assert_breach("src/wire.rs", "use super::*;", "root");
        assert_breach("src/wire.rs", "use crate as everything;", "root");
        assert_breach("src/wire.rs", "use crate::ReliabilityManager;", "root");
        assert_fine("src/store/conformance.rs", "fn f() { $crate::conformance_tests!(x); }");
    }

    #[test]
    fn a_module_outside_the_table_is_told() {
        assert_breach("src/utils.rs", "", "`utils` is not in the table");
        assert_breach("src/utils/strings.rs", "", "`utils` is not in the table");
    }

    #[test]
    fn comments_strings_and_tests_do_not_count() {
        assert_fine(
            "src/types.rs",
            r##"
            // use crate::wire::X;
            /* use crate::wire::X; /* nested */ tokio */
            /// [`crate::manager`] on tokio
            const A: &str = "use crate::wire::X; \" tokio";
            const B: &str = r#"crate::wire::X " Instant"#;
            const C: (char, char, u8) = ('"', '\'', b'"');
            fn f<'a>(x: &'a str) -> &'a str { x }
            #[cfg(test)]
            mod tests { use crate::wire::X; fn f() { let _ = std::time::Instant::now(); } }
            "##,
        );
    }

    #[test]
    fn what_follows_comments_strings_and_tests_counts() {
        for before in [
            "/* /* */ */",
            "const A: &str = \"\\\"\";",
            "const A: &str = r#\"\"\"#;",
            "const A: char = '\"';",
            "const A: u8 = b'\\'';",
            "fn f<'a>(x: &'a str) {}",
            "#[cfg(test)] mod tests { fn f() { { } } }",
            "#[cfg(test)] #[allow(unused)] pub(crate) use crate::wire::{A, B};",
            "#[cfg(test)] pub(crate) fn f<A, B>(x: [u8; 3]) -> u8 { 1 }",
            "struct S { #[cfg(test)] x: u8, y: u8 }",
            "#[cfg(test)] mod tests;",
            "#[cfg(any(test, feature = \"testing\"))]",
        ] {
            assert_breach("src/types.rs", &format!("{before}\nuse crate::store::X;"), "`store`");
        }
    }

    #[test]
    fn a_test_module_in_its_own_file_does_not_count() {
        let declared = |declaration: &str| {
            let parent = Source { path: "src/channel.rs".into(), text: format!("//! A.\n{declaration}") };
            let child = Source { path: "src/channel/tests.rs".into(), text: "//! B.\nuse crate::wire::X;".into() };
            check(&[parent, child]).breaches.len()
        };
        assert_eq!(declared("#[cfg(test)]\nmod tests;"), 0);
        assert_eq!(declared("mod tests;"), 1);
    }

    #[test]
    fn the_core_names_no_clock_no_chance_and_nothing_outside() {
        for body in [
            "use tokio::sync::Mutex;",
            "async fn f() {}",
            "use std::time::{Duration, Instant};",
            "fn f() { std::time::SystemTime::now(); }",
            "use rand::Rng;",
            "fn f() { getrandom::fill(&mut [0]); }",
            "use std::{fmt, fs};",
            "fn f() { std::net::UdpSocket::bind(0); }",
            "use std::collections::hash_map::RandomState;",
            "fn f() { let x = HashMap::new(); }",
            "fn f() { let x = HashSet::<Vec<u8>>::with_capacity(1); }",
        ] {
            for core in super::CORE {
                assert_breach(&format!("src/{core}.rs"), body, "may not");
            }
            assert_fine("src/manager/clock.rs", body);
        }
        assert_fine(
            "src/channel.rs",
            "use std::time::Duration; type M = HashMap<A, B, Keyed>; fn f() { M::default(); }",
        );
    }

    #[test]
    fn a_file_is_not_too_long_and_says_what_it_is_for() {
        assert_breach("src/wire.rs", &"\n".repeat(500), "501 lines");
        assert_fine("src/wire.rs", &"\n".repeat(499));
        let bare = check(&[Source { path: "src/lib.rs".into(), text: "pub mod wire;".into() }]);
        assert_eq!(bare.breaches.len(), 1);
    }
}
