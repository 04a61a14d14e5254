//! A crate's modules as they lie on disk, and what a name means in one of them.

use std::fs;
use std::path::Path;

use anyhow::Context as _;
use syn::{Attribute, Item, UseTree, Visibility};

use crate::bare;
use crate::expand::{self, Macros};

/// The items of one module, macros of the crate expanded, and the modules in it.
pub(crate) struct Module {
    pub(crate) items: Vec<Item>,
    pub(crate) children: Vec<Child>,
}

pub(crate) struct Child {
    pub(crate) name: String,
    pub(crate) public: bool,
    pub(crate) attrs: Vec<Attribute>,
    pub(crate) module: Module,
}

impl Module {
    /// Reads a crate, from its `lib.rs`.
    pub(crate) fn read_crate(lib: &Path) -> anyhow::Result<Self> {
        let mut root = Self::read(lib, &lib.with_file_name(""))?;
        let mut macros = Macros::new();
        root.each(&mut Vec::new(), &mut |_, item| macros.extend(expand::definition(item)));
        root.expand(&macros)?;
        Ok(root)
    }

    /// Reads a file and the files of its modules, which are in this folder.
    fn read(file: &Path, folder: &Path) -> anyhow::Result<Self> {
        let shown = || file.display().to_string();
        let items = syn::parse_file(&fs::read_to_string(file).with_context(shown)?).with_context(shown)?.items;
        Self::of(items, folder)
    }

    fn of(items: Vec<Item>, folder: &Path) -> anyhow::Result<Self> {
        let mut module = Self { items: Vec::new(), children: Vec::new() };
        for item in items.into_iter().filter(|item| !bare::is_for_tests(item)) {
            let Item::Mod(child) = item else {
                module.items.push(item);
                continue;
            };
            let name = child.ident.to_string();
            let folder = folder.join(&name);
            let inside = match child.content {
                Some((_, items)) => Self::of(items, &folder)?,
                None => Self::read(&folder.with_extension("rs"), &folder)?,
            };
            let public = matches!(child.vis, Visibility::Public(_));
            module.children.push(Child { name, public, attrs: child.attrs, module: inside });
        }
        Ok(module)
    }

    fn expand(&mut self, macros: &Macros) -> anyhow::Result<()> {
        for item in std::mem::take(&mut self.items) {
            self.items.extend(expand::expand(item, macros)?);
        }
        self.children.iter_mut().try_for_each(|child| child.module.expand(macros))
    }

    /// What a path means in the module at `place`: the module that defines it, and the item. `None` for other crates'.
    pub(crate) fn find(&self, place: &[String], path: &[String]) -> Option<(Vec<String>, &Item)> {
        let (first, rest) = path.split_first()?;
        match first.as_str() {
            "crate" => return self.find(&[], rest),
            "self" => return self.find(place, rest),
            "super" => return self.find(place.split_last()?.1, rest),
            _ => {}
        }
        let module = self.at(place)?;
        if !rest.is_empty() && module.children.iter().any(|child| child.name == *first) {
            return self.find(&[place, std::slice::from_ref(first)].concat(), rest);
        }
        if let Some(item) = module.items.iter().find(|item| bare::name(item).as_ref() == Some(first)) {
            return Some((place.to_vec(), item));
        }
        module.items.iter().find_map(|item| {
            let Item::Use(line) = item else { return None };
            let leaves = leaves(&line.tree);
            leaves.iter().find_map(|(name, target)| {
                let target = [target.as_slice(), rest].concat();
                match name.as_str() {
                    name if name == first => self.find(place, &target),
                    "*" if target.first().is_some_and(|head| head == "super") => {
                        let parent = place.split_last()?.1;
                        self.find(parent, path)
                    }
                    _ => None,
                }
            })
        })
    }

    /// Calls back with every item of this module and those below, and the place of its module.
    pub(crate) fn each<'a>(&'a self, place: &mut Vec<String>, call: &mut impl FnMut(&[String], &'a Item)) {
        self.items.iter().for_each(|item| call(place, item));
        for child in &self.children {
            place.push(child.name.clone());
            child.module.each(place, call);
            place.pop();
        }
    }

    /// Whether the module at this place, and each around it, is public.
    pub(crate) fn is_public(&self, place: &[String]) -> bool {
        let Some((first, rest)) = place.split_first() else { return true };
        self.children.iter().any(|child| child.name == *first && child.public && child.module.is_public(rest))
    }

    fn at(&self, place: &[String]) -> Option<&Self> {
        place.iter().try_fold(self, |module, name| {
            module.children.iter().find(|child| child.name == *name).map(|child| &child.module)
        })
    }
}

/// What a `use` line brings: the name here, and the path.
pub(crate) fn leaves(tree: &UseTree) -> Vec<(String, Vec<String>)> {
    match tree {
        UseTree::Path(path) => {
            let inside = leaves(&path.tree).into_iter();
            inside.map(|(name, rest)| (name, [vec![path.ident.to_string()], rest].concat())).collect()
        }
        UseTree::Name(name) => vec![(name.ident.to_string(), vec![name.ident.to_string()])],
        UseTree::Rename(rename) => vec![(rename.rename.to_string(), vec![rename.ident.to_string()])],
        UseTree::Glob(_) => vec![("*".into(), Vec::new())],
        UseTree::Group(group) => group.items.iter().flat_map(leaves).collect(),
    }
}
