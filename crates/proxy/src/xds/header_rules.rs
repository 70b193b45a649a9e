//! Header operations: `HeaderValueOption` lists to [`HeaderRules`].
//!
//! Envoy removes before it adds, whatever the order in the file.

use meltemi_xds::pb::envoy::config::core::v3::{HeaderValueOption, header_value_option::HeaderAppendAction};

use super::{At, Context, Rejection, fields, refuse};
use crate::{
    access_log::Format,
    route::{AppendAction, HeaderOp, HeaderRules},
};

/// The four lists that routes, virtual hosts, route configurations and weighted clusters have.
#[derive(Debug)]
pub struct Lists<'a> {
    /// `request_headers_to_add`.
    pub request_add: &'a [HeaderValueOption],
    /// `request_headers_to_remove`.
    pub request_remove: &'a [String],
    /// `response_headers_to_add`.
    pub response_add: &'a [HeaderValueOption],
    /// `response_headers_to_remove`.
    pub response_remove: &'a [String],
}

/// The lists of any message that has them under their usual names.
#[macro_export]
#[doc(hidden)]
macro_rules! header_lists {
    ($message:expr) => {
        $crate::xds::header_rules::Lists {
            request_add: &$message.request_headers_to_add,
            request_remove: &$message.request_headers_to_remove,
            response_add: &$message.response_headers_to_add,
            response_remove: &$message.response_headers_to_remove,
        }
    };
}

/// Compiles the lists of one level.
pub fn compile(lists: &Lists<'_>, context: &mut Context) -> Result<HeaderRules, Rejection> {
    let mut rules = HeaderRules::default();
    remove(lists.request_remove, &mut rules.request, context).at("request_headers_to_remove")?;
    for (at, option) in lists.request_add.iter().enumerate() {
        rules.request.push(put(option, context).at_index("request_headers_to_add", at)?);
    }
    remove(lists.response_remove, &mut rules.response, context).at("response_headers_to_remove")?;
    for (at, option) in lists.response_add.iter().enumerate() {
        rules.response.push(put(option, context).at_index("response_headers_to_add", at)?);
    }
    rules.request.shrink_to_fit();
    rules.response.shrink_to_fit();
    Ok(rules)
}

/// A list of its own, without removals.
pub fn additions(options: &[HeaderValueOption], context: &mut Context) -> Result<Vec<HeaderOp>, Rejection> {
    options.iter().enumerate().map(|(at, option)| put(option, context).at_index("", at)).collect()
}

fn remove(names: &[String], ops: &mut Vec<HeaderOp>, context: &mut Context) -> Result<(), Rejection> {
    for name in names {
        if is_special(name) {
            return refuse(format!("':-prefixed or host headers may not be removed': {name}"));
        }
        ops.push(HeaderOp::Remove(context.intern(&name.to_ascii_lowercase())));
    }
    Ok(())
}

fn put(option: &HeaderValueOption, context: &mut Context) -> Result<HeaderOp, Rejection> {
    let Some(header) = &option.header else { return refuse("value is required").at("header") };
    if header.key.is_empty() || is_special(&header.key) {
        return refuse(format!("':-prefixed or host headers may not be modified': '{}'", header.key))
            .at("header.key");
    }
    if !is_token(&header.key) {
        return refuse(format!("invalid header name '{}'", header.key.escape_default())).at("header.key");
    }
    if !header.raw_value.is_empty() {
        return refuse("not supported").at("header.raw_value");
    }
    if header.value.bytes().any(|byte| matches!(byte, b'\r' | b'\n' | 0)) {
        return refuse("the value has a line break or a null byte").at("header.value");
    }
    let value = Format::compile(&header.value)
        .map_err(|error| Rejection::new(error.to_string()))
        .at("header.value")?
        .omit_empty();
    Ok(HeaderOp::Put {
        name: context.intern(&header.key.to_ascii_lowercase()),
        value,
        append: append(option)?,
        keep_empty: option.keep_empty_value,
    })
}

fn append(option: &HeaderValueOption) -> Result<AppendAction, Rejection> {
    let action = HeaderAppendAction::try_from(option.append_action);
    // The older boolean, still what much of the world sends.
    if option.append.is_some() {
        if action != Ok(HeaderAppendAction::AppendIfExistsOrAdd) {
            return refuse("append and append_action cannot both be set").at("append");
        }
        let append = fields::flag(option.append.as_ref(), true);
        return Ok(if append { AppendAction::Append } else { AppendAction::Overwrite });
    }
    Ok(match action {
        Ok(HeaderAppendAction::AppendIfExistsOrAdd) => AppendAction::Append,
        Ok(HeaderAppendAction::AddIfAbsent) => AppendAction::AddIfAbsent,
        Ok(HeaderAppendAction::OverwriteIfExistsOrAdd) => AppendAction::Overwrite,
        Ok(HeaderAppendAction::OverwriteIfExists) => AppendAction::OverwriteIfExists,
        Err(_) => return fields::unknown_enum("append_action", option.append_action),
    })
}

fn is_special(name: &str) -> bool {
    name.starts_with(':') || name.eq_ignore_ascii_case("host")
}

fn is_token(name: &str) -> bool {
    name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte))
}
