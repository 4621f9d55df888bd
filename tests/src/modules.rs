//! The modules of a crate and what each needs of the others, read from its files.
//!
//! A module needs another one if it names something of it, by `use` or by a path. What is imported from a module that only
//! passes it on is needed from where it is; passing on is no need. Tests are left out.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

/// A module, by its names from the root of its crate, which has none.
type Name = Vec<String>;

/// The modules of a crate.
#[derive(Debug, Default)]
pub struct Modules(BTreeMap<Name, Module>);

#[derive(Debug, Default)]
struct Module {
    children: BTreeSet<String>,
    imports: Vec<Import>,
    /// Paths of the code that may lead to other modules.
    paths: BTreeSet<Name>,
}

#[derive(Debug)]
struct Import {
    path: Name,
    /// The name that it has here.
    called: String,
    is_passed_on: bool,
}

/// A way from a module back to itself: each with what it names of the next.
pub type Cycle = Vec<(String, String)>;

impl Modules {
    /// Those of the crate whose root is this file.
    pub fn of(root: &Path) -> Self {
        let mut modules = Self::default();
        modules.read(root, root.parent().expect("a folder"), vec![]);
        modules
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.0.len()
    }

    fn read(&mut self, file: &Path, folder: &Path, name: Name) {
        let text = fs::read_to_string(file).expect("reads");
        let (module, declared) = parse(&tokens(&text));
        let mut children = BTreeSet::new();
        for child in declared {
            let own = folder.join(&child);
            let files = [folder.join(format!("{child}.rs")), own.join("mod.rs")];
            if let Some(file) = files.iter().find(|it| it.exists()) {
                let child_name = [name.as_slice(), std::slice::from_ref(&child)].concat();
                self.read(file, &own, child_name);
                children.insert(child);
            }
        }
        self.0.insert(name, Module { children, ..module });
    }

    /// What each module needs, and by which name.
    fn needs(&self) -> BTreeMap<&Name, BTreeMap<Name, String>> {
        let of = |name: &Name, module: &Module| {
            let imports = module.imports.iter().filter(|it| !it.is_passed_on).map(|it| &it.path);
            let mut needs = BTreeMap::new();
            for path in imports.chain(&module.paths) {
                if let Some(to) = self.resolved(name, path, 0).filter(|to| to != name) {
                    needs.entry(to).or_insert_with(|| path.join("::"));
                }
            }
            needs
        };
        self.0.iter().map(|(name, module)| (name, of(name, module))).collect()
    }

    /// The module that has what a path names; none if it is of another crate.
    fn resolved(&self, from: &Name, path: &[String], depth: usize) -> Option<Name> {
        const DEPTH_MAX: usize = 20;
        let (first, rest) = path.split_first()?;
        if DEPTH_MAX < depth {
            return None;
        }
        match first.as_str() {
            "crate" => self.walked(vec![], rest, depth),
            "self" => self.walked(from.clone(), rest, depth),
            "super" => self.walked(from[..from.len().checked_sub(1)?].to_vec(), rest, depth),
            _ if self.0.get(from)?.children.contains(first) => self.walked(from.clone(), path, depth),
            _ => {
                let import = self.0.get(from)?.imports.iter().find(|it| it.called == *first)?;
                if import.path.first() == Some(first) {
                    return None;
                }
                self.resolved(from, &[import.path.as_slice(), rest].concat(), depth + 1)
            }
        }
    }

    fn walked(&self, mut at: Name, mut path: &[String], depth: usize) -> Option<Name> {
        while let Some((first, rest)) = path.split_first() {
            let module = self.0.get(&at)?;
            if first == "super" {
                at.pop();
            } else if module.children.contains(first) {
                at.push(first.clone());
            } else {
                let passed_on = module.imports.iter().find(|it| it.called == *first);
                let Some(import) = passed_on.filter(|it| it.path.first() != Some(first)) else {
                    return Some(at);
                };
                // What comes from another crate is needed from nobody here.
                return self.resolved(&at, &[import.path.as_slice(), rest].concat(), depth + 1);
            }
            path = rest;
        }
        Some(at)
    }

    /// A shortest cycle of each knot, but for those within one of these groups: the modules that share one type.
    pub fn cycles(&self, one_type: &[&[&str]]) -> Vec<Cycle> {
        let needs = self.needs();
        let shown = |it: &Name| if it.is_empty() { "(root)".to_owned() } else { it.join("::") };
        let is_excused = |one: &Name, other: &Name| {
            let is_of = |group: &&&[&str], it: &Name| group.contains(&shown(it).as_str());
            one_type.iter().any(|group| is_of(&group, one) && is_of(&group, other))
        };
        let mut cycles = vec![];
        let mut seen: BTreeSet<&Name> = BTreeSet::new();
        for &start in needs.keys() {
            if seen.contains(start) {
                continue;
            }
            // Breadth first, so that the way back is a shortest one.
            let mut from: BTreeMap<&Name, &Name> = BTreeMap::new();
            let mut edge = vec![start];
            let mut at = 0;
            while let Some(&module) = edge.get(at) {
                at += 1;
                for next in needs[module].keys().filter(|it| !is_excused(module, it)) {
                    if !from.contains_key(next) {
                        from.insert(next, module);
                        edge.push(next);
                    }
                }
            }
            if from.contains_key(start) {
                let mut way = vec![start];
                while way.len() == 1 || way.last() != Some(&start) {
                    way.push(from[way[way.len() - 1]]);
                }
                way.reverse();
                seen.extend(&way);
                let steps = way.windows(2).map(|it| (shown(it[0]), needs[it[0]][it[1]].clone()));
                cycles.push(steps.collect());
            }
        }
        cycles
    }
}

/// Identifiers, and every other sign by itself; `::` is one. Comments and literals are left out.
fn tokens(text: &str) -> Vec<String> {
    let chars: Vec<char> = text.chars().collect();
    let at = |i: usize| chars.get(i).copied().unwrap_or('\0');
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    let (mut tokens, mut i): (Vec<String>, usize) = (vec![], 0);
    while i < chars.len() {
        let c = at(i);
        if c == '/' && at(i + 1) == '/' {
            while i < chars.len() && at(i) != '\n' {
                i += 1;
            }
        } else if c == '/' && at(i + 1) == '*' {
            while i < chars.len() && !(at(i) == '*' && at(i + 1) == '/') {
                i += 1;
            }
            i += 2;
        } else if c == 'r' && (at(i + 1) == '"' || at(i + 1) == '#' && matches!(at(i + 2), '#' | '"')) {
            let hashes = (i + 1..chars.len()).take_while(|it| at(*it) == '#').count();
            i += hashes + 2;
            while i < chars.len() && !(at(i) == '"' && (1..=hashes).all(|it| at(i + it) == '#')) {
                i += 1;
            }
            i += hashes + 1;
        } else if c == '"' {
            i += 1;
            while i < chars.len() && at(i) != '"' {
                i += if at(i) == '\\' { 2 } else { 1 };
            }
            i += 1;
        } else if c == '\'' && (at(i + 1) == '\\' || at(i + 2) == '\'') {
            i += 2;
            while i < chars.len() && at(i) != '\'' {
                i += 1;
            }
            i += 1;
        } else if is_word(c) {
            let end = (i..chars.len()).find(|it| !is_word(at(*it))).unwrap_or(chars.len());
            tokens.push(chars[i..end].iter().collect());
            i = end;
        } else if c == ':' && at(i + 1) == ':' {
            tokens.push("::".to_owned());
            i += 2;
        } else {
            if !c.is_whitespace() {
                tokens.push(c.to_string());
            }
            i += 1;
        }
    }
    tokens
}

/// A module, and the children that it declares.
fn parse(tokens: &[String]) -> (Module, Vec<String>) {
    let at = |i: usize| tokens.get(i).map_or("", String::as_str);
    let is_name = |it: &str| it.starts_with(|c: char| c.is_alphabetic() || c == '_');
    let (mut module, mut declared, mut i) = (Module::default(), vec![], 0);
    while i < tokens.len() {
        if (i..).zip(["#", "[", "cfg", "(", "test", ")", "]"]).all(|(n, it)| at(n) == it) {
            // All of the item: up to its semicolon, or the end of its block.
            let mut depth = 0_usize;
            while i < tokens.len() {
                match at(i) {
                    "{" => depth += 1,
                    "}" => depth = depth.saturating_sub(1),
                    _ => {}
                }
                let is_end = depth == 0 && matches!(at(i), "}" | ";");
                i += 1;
                if is_end {
                    break;
                }
            }
        } else if at(i) == "mod" && is_name(at(i + 1)) && at(i + 2) == ";" {
            declared.push(at(i + 1).to_owned());
            i += 3;
        } else if at(i) == "use" && (is_name(at(i + 1)) || matches!(at(i + 1), "{" | "::")) {
            let is_passed_on = 0 < i && matches!(at(i - 1), "pub" | ")");
            let end = (i..tokens.len()).find(|it| at(*it) == ";").unwrap_or(tokens.len());
            imports(&tokens[i + 1..end], is_passed_on, &mut module.imports);
            i = end;
        } else if is_name(at(i)) && at(i + 1) == "::" && !(0 < i && matches!(at(i - 1), "::" | "." | "$")) {
            let mut path = vec![at(i).to_owned()];
            while at(i + 1) == "::" && is_name(at(i + 2)) {
                path.push(at(i + 2).to_owned());
                i += 2;
            }
            module.paths.insert(path);
            i += 1;
        } else {
            i += 1;
        }
    }
    (module, declared)
}

/// The leaves of a tree of imports.
fn imports(tree: &[String], is_passed_on: bool, leaves: &mut Vec<Import>) {
    fn leaf(prefix: &[String], part: &[String], is_passed_on: bool, leaves: &mut Vec<Import>) {
        if part.is_empty() {
            return;
        }
        let open = part.iter().position(|it| it == "{");
        let words = part[..open.unwrap_or(part.len())].iter().filter(|it| *it != "::");
        let mut path: Name = prefix.to_vec();
        let mut called = None;
        let mut words = words.peekable();
        while let Some(word) = words.next() {
            if word == "as" {
                called = words.next().cloned();
            } else if word != "self" || path.is_empty() {
                path.push(word.clone());
            }
        }
        let Some(open) = open else {
            let called = called.or_else(|| path.last().cloned()).unwrap_or_default();
            leaves.push(Import { path, called, is_passed_on });
            return;
        };
        let (mut depth, mut begin) = (0_usize, open + 1);
        for (i, token) in part.iter().enumerate().skip(open) {
            match token.as_str() {
                "{" => depth += 1,
                "}" => depth -= 1,
                _ => {}
            }
            if depth == 0 || depth == 1 && token == "," {
                leaf(&path, &part[begin.min(i)..i], is_passed_on, leaves);
                begin = i + 1;
            }
        }
    }
    leaf(&[], tree, is_passed_on, leaves);
}

#[cfg(test)]
mod tests {
    use super::*;
    use tempfile::TempDir;

    fn crate_of(files: &[(&str, &str)]) -> TempDir {
        let folder = tempfile::tempdir().expect("a folder");
        for (name, text) in files {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().expect("a folder")).expect("made");
            fs::write(path, text).expect("written");
        }
        folder
    }

    fn cycles(files: &[(&str, &str)], one_type: &[&[&str]]) -> Vec<Cycle> {
        Modules::of(&crate_of(files).path().join("lib.rs")).cycles(one_type)
    }

    fn step(from: &str, by: &str) -> (String, String) {
        (from.to_owned(), by.to_owned())
    }

    #[test]
    fn a_cycle_is_found_through_what_the_root_passes_on() {
        let root = "mod a;\nmod b;\npub use a::A;\npub use b::{B, other as C};";
        let files = [("lib.rs", root), ("a.rs", "use crate::C;"), ("b.rs", "use crate::{A, Error};")];
        assert_eq!(cycles(&files, &[]), [[step("a", "crate::C"), step("b", "crate::A")]]);
        assert_eq!(cycles(&files, &[&["a", "b"]]), Vec::<Cycle>::new(), "one type in two files");
    }

    #[test]
    fn a_parent_that_calls_its_child_must_not_be_asked_by_it() {
        let child = "fn go(it: &super::Parent) {}";
        let files = [("lib.rs", "mod a;"), ("a.rs", "mod c;\nfn f() { c::go(); }"), ("a/c.rs", child)];
        assert_eq!(cycles(&files, &[]), [[step("a", "c::go"), step("a::c", "super::Parent")]]);
        let files = [("lib.rs", "mod a;"), ("a.rs", "mod c;\npub use c::go;"), ("a/c.rs", child)];
        assert_eq!(cycles(&files, &[]), Vec::<Cycle>::new(), "passing on is no need");
    }

    #[test]
    fn tests_comments_and_literals_need_nothing() {
        let b = "// crate::a::A\nconst T: &str = \"crate::a::A\"; const U: char = '\"';\n#[cfg(test)]\nmod tests { use crate::a::A; }\nfn f<'a>() {}";
        let files = [("lib.rs", "mod a;\nmod b;"), ("a.rs", "use crate::b::B;"), ("b.rs", b)];
        assert_eq!(cycles(&files, &[]), Vec::<Cycle>::new());
        let files =
            [("lib.rs", "mod a;\nmod b;"), ("a.rs", "use crate::b::B;"), ("b.rs", "fn f(_: crate::a::A) {}")];
        assert_eq!(cycles(&files, &[]).len(), 1);
    }
}
