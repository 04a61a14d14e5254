//! Items that the crate's own macros make.
//!
//! Enough of macro expansion for macros that declare a type: `$name` is the first name handed in, what repeats is left
//! out, and all else that is handed in stands for itself, for it is in bodies and in private fields.

use std::collections::BTreeMap;

use proc_macro2::{Group, Ident, TokenStream, TokenTree};
use syn::{Item, ItemMacro};

/// The body of each macro, under its name.
pub(crate) type Macros = BTreeMap<String, TokenStream>;

/// The name and the body of a macro that this item defines: of its last rule.
pub(crate) fn definition(item: &Item) -> Option<(String, TokenStream)> {
    let Item::Macro(ItemMacro { ident: Some(name), mac, .. }) = item else { return None };
    let groups = mac.tokens.clone().into_iter().filter_map(|token| match token {
        TokenTree::Group(group) => Some(group.stream()),
        _ => None,
    });
    Some((name.to_string(), groups.last()?))
}

/// What a call of one of these macros makes; an item that is none stays itself.
pub(crate) fn expand(item: Item, macros: &Macros) -> anyhow::Result<Vec<Item>> {
    let Item::Macro(ItemMacro { ident: None, mac, .. }) = &item else { return Ok(vec![item]) };
    let body = mac.path.segments.last().and_then(|name| macros.get(&name.ident.to_string()));
    let name = mac.tokens.clone().into_iter().find_map(|token| match token {
        TokenTree::Ident(name) => Some(name),
        _ => None,
    });
    match (body, name) {
        (Some(body), Some(name)) => {
            let made = syn::parse2::<syn::File>(filled(body.clone(), &name))?.items;
            let made = made.into_iter().map(|item| expand(item, macros)).collect::<anyhow::Result<Vec<_>>>()?;
            Ok(made.into_iter().flatten().collect())
        }
        // Another crate's: it makes nothing that is public here.
        _ => Ok(Vec::new()),
    }
}

fn filled(body: TokenStream, name: &Ident) -> TokenStream {
    let mut filled = Vec::new();
    let mut tokens = body.into_iter().peekable();
    while let Some(token) = tokens.next() {
        match token {
            TokenTree::Punct(dollar) if dollar.as_char() == '$' => match tokens.next() {
                Some(TokenTree::Ident(ident)) if ident == "name" => filled.push(TokenTree::Ident(name.clone())),
                // `$( .. )*`: the star goes too.
                Some(TokenTree::Group(_)) => drop(tokens.next()),
                other => filled.extend(other),
            },
            TokenTree::Group(group) => {
                filled.push(Group::new(group.delimiter(), self::filled(group.stream(), name)).into());
            }
            other => filled.push(other),
        }
    }
    filled.into_iter().collect()
}
