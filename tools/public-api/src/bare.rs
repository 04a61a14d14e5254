//! An item as its users see it: without bodies, documentation and what is private.

use syn::token::Brace;
use syn::{
    Attribute, Fields, FieldsNamed, ImplItem, Item, ItemImpl, ItemMod, TraitItem, Type, Visibility, parse_quote,
};
#[cfg(test)]
use syn::{Expr, ExprLit, Lit, Meta, MetaNameValue};

/// Attributes that change what users can do.
const KEPT: [&str; 7] = ["async_trait", "cfg", "default", "derive", "must_use", "non_exhaustive", "repr"];

/// Whether an item is built for tests alone, of this crate or of others, or for documentation.
pub(crate) fn is_for_tests(item: &Item) -> bool {
    let attrs = match item {
        Item::Const(item) => &item.attrs,
        Item::Enum(item) => &item.attrs,
        Item::Fn(item) => &item.attrs,
        Item::Impl(item) => &item.attrs,
        Item::Macro(item) => &item.attrs,
        Item::Mod(item) => &item.attrs,
        Item::Static(item) => &item.attrs,
        Item::Struct(item) => &item.attrs,
        Item::Trait(item) => &item.attrs,
        Item::Type(item) => &item.attrs,
        Item::Use(item) => &item.attrs,
        _ => return false,
    };
    attrs.iter().any(is_test)
}

pub(crate) fn is_public(item: &Item) -> bool {
    match item {
        Item::Const(item) => public(&item.vis),
        Item::Enum(item) => public(&item.vis),
        Item::Fn(item) => public(&item.vis),
        Item::Static(item) => public(&item.vis),
        Item::Struct(item) => public(&item.vis),
        Item::Trait(item) => public(&item.vis),
        Item::Type(item) => public(&item.vis),
        _ => false,
    }
}

/// The name that an item defines.
pub(crate) fn name(item: &Item) -> Option<String> {
    match item {
        Item::Const(item) => Some(item.ident.to_string()),
        Item::Fn(item) => Some(item.sig.ident.to_string()),
        Item::Static(item) => Some(item.ident.to_string()),
        Item::Trait(item) => Some(item.ident.to_string()),
        Item::Type(item) => Some(item.ident.to_string()),
        item => type_name(item),
    }
}

/// The name of a type that can have methods of its own.
pub(crate) fn type_name(item: &Item) -> Option<String> {
    match item {
        Item::Enum(item) => Some(item.ident.to_string()),
        Item::Struct(item) => Some(item.ident.to_string()),
        _ => None,
    }
}

/// The type that a block is about, where that is one name.
pub(crate) fn self_name(block: &ItemImpl) -> Option<String> {
    match &*block.self_ty {
        Type::Path(path) if path.path.segments.len() == 1 => Some(path.path.segments.first()?.ident.to_string()),
        _ => None,
    }
}

/// The path of the trait that a block implements.
pub(crate) fn trait_path(block: &ItemImpl) -> Option<Vec<String>> {
    let (path, _) = block.trait_.as_ref()?;
    Some(path.segments.iter().map(|segment| segment.ident.to_string()).collect())
}

pub(crate) fn item(item: &Item) -> Item {
    let mut item = item.clone();
    match &mut item {
        Item::Const(item) => keep(&mut item.attrs),
        Item::Enum(item) => {
            keep(&mut item.attrs);
            for variant in &mut item.variants {
                keep(&mut variant.attrs);
                variant.fields.iter_mut().for_each(|field| keep(&mut field.attrs));
            }
        }
        Item::Fn(item) => {
            keep(&mut item.attrs);
            item.block.stmts.clear();
        }
        Item::Static(item) => keep(&mut item.attrs),
        Item::Struct(item) => {
            keep(&mut item.attrs);
            fields(&mut item.fields);
        }
        Item::Trait(item) => {
            keep(&mut item.attrs);
            item.items.iter_mut().for_each(of_trait);
        }
        Item::Type(item) => keep(&mut item.attrs),
        _ => {}
    }
    item
}

/// An implementation: of a trait its head, else what is public of it, if anything is.
pub(crate) fn block(block: &ItemImpl) -> Option<Item> {
    let mut block = block.clone();
    keep(&mut block.attrs);
    let of_trait = block.trait_.is_some();
    block.items.retain_mut(|item| match item {
        ImplItem::Const(item) => {
            keep(&mut item.attrs);
            public(&item.vis)
        }
        ImplItem::Fn(item) => {
            let kept = public(&item.vis) && !item.attrs.iter().any(is_test);
            keep(&mut item.attrs);
            item.block.stmts.clear();
            kept
        }
        ImplItem::Type(item) => {
            keep(&mut item.attrs);
            of_trait
        }
        _ => false,
    });
    (of_trait || !block.items.is_empty()).then_some(Item::Impl(block))
}

pub(crate) fn module(name: &str, attrs: &[Attribute], items: Vec<Item>) -> anyhow::Result<Item> {
    let mut module: ItemMod = syn::parse_str(&format!("pub mod {name} {{}}"))?;
    module.attrs = attrs.to_vec();
    keep(&mut module.attrs);
    module.content = Some((Brace::default(), items));
    Ok(Item::Mod(module))
}

/// What another crate has and this one exports.
pub(crate) fn import(path: &[String]) -> anyhow::Result<Item> {
    Ok(syn::parse_str(&format!("pub use {};", path.join("::")))?)
}

fn of_trait(item: &mut TraitItem) {
    match item {
        TraitItem::Const(item) => keep(&mut item.attrs),
        TraitItem::Fn(item) => {
            keep(&mut item.attrs);
            item.default.iter_mut().for_each(|body| body.stmts.clear());
        }
        TraitItem::Type(item) => keep(&mut item.attrs),
        _ => {}
    }
}

/// Private fields become one without a name, which says that there are some.
fn fields(fields: &mut Fields) {
    fields.iter_mut().for_each(|field| keep(&mut field.attrs));
    match fields {
        Fields::Named(named) => {
            let all = named.named.len();
            let shown = std::mem::take(&mut named.named).into_iter().filter(|field| public(&field.vis));
            named.named = shown.collect();
            if named.named.len() < all {
                let hidden: FieldsNamed = parse_quote!({ _: _ });
                named.named.extend(hidden.named);
            }
        }
        Fields::Unnamed(unnamed) => {
            let hidden = unnamed.unnamed.iter_mut().filter(|field| !public(&field.vis));
            hidden.for_each(|field| field.ty = parse_quote!(_));
        }
        Fields::Unit => {}
    }
}

fn public(visibility: &Visibility) -> bool {
    matches!(visibility, Visibility::Public(_))
}

fn keep(attrs: &mut Vec<Attribute>) {
    attrs.retain(|attr| attr.path().segments.last().is_some_and(|name| KEPT.iter().any(|kept| name.ident == kept)));
}

fn is_test(attr: &Attribute) -> bool {
    let condition = attr.meta.require_list().map(|list| list.tokens.to_string()).unwrap_or_default();
    attr.path().is_ident("cfg")
        && (["test", "doc"].contains(&condition.as_str())
            || ["doctest", "\"testing\""].iter().any(|word| condition.contains(word)))
}

/// What the documentation of a type says.
#[cfg(test)]
pub(crate) fn documentation(item: &Item) -> String {
    let attrs = match item {
        Item::Enum(item) => &item.attrs,
        Item::Struct(item) => &item.attrs,
        _ => return String::new(),
    };
    let text = |attr: &Attribute| match &attr.meta {
        Meta::NameValue(MetaNameValue { path, value: Expr::Lit(ExprLit { lit: Lit::Str(text), .. }), .. })
            if path.is_ident("doc") =>
        {
            Some(text.value())
        }
        _ => None,
    };
    attrs.iter().filter_map(text).collect::<Vec<_>>().join("\n")
}
