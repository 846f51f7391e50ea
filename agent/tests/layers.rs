//! Which modules use which: the table "Layers" of ARCHITECTURE.md against the imports.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use syn::visit::{self, Visit};
use syn::{Attribute, Item, UseTree};

/// Path from the crate's root: `["kernel", "load"]` is `kernel/load.rs`.
type Module = Vec<String>;

fn manifest() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The agent's source files, without tests.
fn files() -> BTreeMap<Module, PathBuf> {
    let root = manifest().join("src");
    let mut found = BTreeMap::new();
    let mut directories = vec![root.clone()];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            let relative = path.strip_prefix(&root).unwrap().with_extension("");
            let mut module: Module = relative
                .iter()
                .map(|part| part.to_str().unwrap().to_owned())
                .collect();
            if module
                .iter()
                .any(|part| part.ends_with("tests") || part == "test_calls")
            {
                continue;
            }
            if path.is_dir() {
                directories.push(path);
                continue;
            }
            if module.last().is_some_and(|last| last == "mod") {
                module.pop();
            }
            if !["lib", "main"].contains(&module[0].as_str()) {
                found.insert(module, path);
            }
        }
    }
    found
}

fn is_test(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        attribute.path().is_ident("cfg")
            && attribute
                .parse_args::<syn::Path>()
                .is_ok_and(|path| path.is_ident("test"))
    })
}

/// Collects the paths in a file that start with `crate`, `self` or `super`.
struct Paths<'a> {
    of: &'a Module,
    found: BTreeSet<Module>,
}

impl Paths<'_> {
    fn add(&mut self, names: &[String]) {
        let mut names = names.iter();
        let mut from = self.of.clone();
        let mut path = match names.next().map(String::as_str) {
            Some("crate") => Vec::new(),
            Some("self") => from,
            Some("super") => {
                from.pop();
                from
            }
            _ => return,
        };
        for name in names {
            match name.as_str() {
                "super" => drop(path.pop()),
                "self" => {}
                name => path.push(name.to_owned()),
            }
        }
        self.found.insert(path);
    }

    fn add_tree(&mut self, tree: &UseTree, before: &[String]) {
        let with = |name: &syn::Ident| [before, &[name.to_string()]].concat();
        match tree {
            UseTree::Path(path) => self.add_tree(&path.tree, &with(&path.ident)),
            UseTree::Name(name) => self.add(&with(&name.ident)),
            UseTree::Rename(name) => self.add(&with(&name.ident)),
            UseTree::Glob(_) => self.add(before),
            UseTree::Group(group) => {
                for tree in &group.items {
                    self.add_tree(tree, before);
                }
            }
        }
    }
}

impl<'ast> Visit<'ast> for Paths<'_> {
    fn visit_item(&mut self, item: &'ast Item) {
        match item {
            Item::Mod(module) if is_test(&module.attrs) => {}
            Item::Use(used) if is_test(&used.attrs) => {}
            Item::Use(used) => self.add_tree(&used.tree, &[]),
            item => visit::visit_item(self, item),
        }
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let names: Vec<_> = path.segments.iter().map(|s| s.ident.to_string()).collect();
        if names.len() > 1 {
            self.add(&names);
        }
        visit::visit_path(self, path);
    }

    /// A macro's arguments are not parsed yet, so this searches their text.
    fn visit_macro(&mut self, called: &'ast syn::Macro) {
        let text = called.tokens.to_string().replace(' ', "");
        for start in ["crate::", "super::"] {
            for (at, _) in text.match_indices(start) {
                let path = text[at..].split(|c: char| !c.is_alphanumeric() && !":_".contains(c));
                let names: Vec<_> = path
                    .take(1)
                    .flat_map(|path| path.split("::"))
                    .map(str::to_owned)
                    .collect();
                self.add(&names);
            }
        }
        visit::visit_macro(self, called);
    }
}

/// The files that each file uses.
fn uses() -> BTreeMap<Module, BTreeSet<Module>> {
    let files = files();
    let file_of = |mut path: Module| {
        while !path.is_empty() && !files.contains_key(&path) {
            path.pop();
        }
        path
    };
    files
        .iter()
        .map(|(module, path)| {
            let text = fs::read_to_string(path).unwrap();
            let mut paths = Paths {
                of: module,
                found: BTreeSet::new(),
            };
            paths.visit_file(&syn::parse_file(&text).unwrap());
            let found = paths.found.into_iter().map(file_of);
            let used = found.filter(|used| !used.is_empty() && used != module);
            (module.clone(), used.collect())
        })
        .collect()
}

/// The modules in the last column of each row of the table.
fn layers() -> Vec<BTreeSet<String>> {
    let text = fs::read_to_string(manifest().join("../ARCHITECTURE.md")).unwrap();
    let (_, section) = text.split_once("\n## Layers\n").unwrap();
    section
        .lines()
        .skip_while(|line| !line.starts_with("|---"))
        .skip(1)
        .take_while(|line| line.starts_with('|'))
        .map(|line| {
            let modules = line.trim_end_matches('|').rsplit('|').next().unwrap();
            modules
                .split('`')
                .skip(1)
                .step_by(2)
                .map(str::to_owned)
                .collect()
        })
        .collect()
}

#[test]
fn a_module_uses_those_in_rows_above_its_own() {
    let layers = layers();
    let row = |module: &str| layers.iter().position(|layer| layer.contains(module));
    for (module, used) in uses() {
        let own = row(&module[0]).unwrap_or_else(|| panic!("{} is in no row", module[0]));
        for other in used.iter().filter(|other| other[0] != module[0]) {
            assert!(
                row(&other[0]).is_some_and(|other| other < own),
                "{} uses {}, which is not in a row above",
                module.join("/"),
                other.join("/")
            );
        }
    }
    let modules: BTreeSet<_> = files()
        .into_keys()
        .map(|module| module[0].clone())
        .collect();
    for module in layers.iter().flatten() {
        assert!(modules.contains(module), "there is no module {module}");
    }
}

#[test]
fn no_two_files_use_each_other() {
    let uses = uses();
    for start in uses.keys() {
        let mut reached = BTreeSet::new();
        let mut next: Vec<_> = uses[start].iter().collect();
        while let Some(module) = next.pop() {
            assert!(module != start, "{} leads back to itself", start.join("/"));
            if reached.insert(module) {
                next.extend(&uses[module]);
            }
        }
    }
}
