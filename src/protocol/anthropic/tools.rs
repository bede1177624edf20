//! Tools, and the choice among them.

use std::borrow::Cow;

use super::NAME;
use super::request::Dropped;
use crate::protocol::read::{self, At, Object, boolean, items, not_empty, text};
use crate::protocol::translate::Inexpressible;

/// What the API says of a tool beside OpenAI's words; taken over as it is.
const OWN: [&str; 5] =
    ["allowed_callers", "cache_control", "defer_loading", "eager_input_streaming", "input_examples"];

/// A choice among tools.
#[derive(Debug, Default)]
pub(super) struct Choice<'a> {
    /// The `tool_choice` member, without what says whether several calls may be made at once.
    pub(super) raw: Option<Cow<'a, str>>,
    /// The names of the only tools that may be used.
    pub(super) allowed: Option<Vec<Cow<'a, str>>>,
    /// Whether a tool must be used, and so must be there.
    pub(super) forced: bool,
    /// Whether none may be used.
    pub(super) none: bool,
}

pub(super) fn choice<'a>(raw: &'a str, path: &At<'_>) -> Result<Choice<'a>, Inexpressible> {
    let simply = |raw: &'static str, forced| Choice { raw: Some(raw.into()), forced, ..Choice::default() };
    if raw.starts_with('"') {
        return match &*text(raw, path)? {
            "none" => Ok(Choice { none: true, ..simply(r#"{"type":"none"}"#, false) }),
            "auto" => Ok(simply(r#"{"type":"auto"}"#, false)),
            "required" => Ok(simply(r#"{"type":"any"}"#, true)),
            _ => Err(path.wrong("must be none, auto, required or an object")),
        };
    }
    let members = Object::of(raw, path)?;
    let kind = text(members.get("type").unwrap_or_default(), &path.member("type"))?;
    match &*kind {
        "function" => {
            let path = path.member("function");
            let function = Object::of(members.get("function").unwrap_or_default(), &path)?;
            let raw = function.get("name").unwrap_or_default();
            not_empty(raw, &path.member("name"))?;
            let raw = Some(format!(r#"{{"type":"tool","name":{raw}}}"#).into());
            Ok(Choice { raw, forced: true, ..Choice::default() })
        }
        "allowed_tools" => {
            let path = path.member("allowed_tools");
            let members = Object::of(members.get("allowed_tools").unwrap_or_default(), &path)?;
            let mode = members.get("mode").unwrap_or(r#""auto""#);
            let tools_path = path.member("tools");
            let mut allowed = Vec::new();
            for (at, tool) in
                items(members.get("tools").unwrap_or_default(), "an array", &tools_path)?.iter().enumerate()
            {
                let path = tools_path.item(at);
                let tool = Object::of(tool, &path)?;
                let path = path.member("function");
                let function = Object::of(tool.get("function").unwrap_or_default(), &path)?;
                allowed.push(not_empty(function.get("name").unwrap_or_default(), &path.member("name"))?);
            }
            Ok(Choice { allowed: Some(allowed), ..choice(mode, &path.member("mode"))? })
        }
        // In Anthropic's own words.
        "auto" => Ok(Choice { raw: Some(raw.into()), ..Choice::default() }),
        "none" => Ok(Choice { raw: Some(raw.into()), none: true, ..Choice::default() }),
        "any" | "tool" => Ok(Choice { raw: Some(raw.into()), forced: true, ..Choice::default() }),
        other => Err(path.member("type").cannot(NAME, format_args!("a choice of the type {other}"))),
    }
}

/// Writes the list of tools; false where none is left. `allowed`: the names of those that may be used, if not all.
pub(super) fn write(
    raw: &str,
    allowed: Option<&[Cow<'_, str>]>,
    path: &At<'_>,
    dropped: &mut Dropped,
    out: &mut String,
) -> Result<bool, Inexpressible> {
    let mut any = false;
    for (at, tool) in items(raw, "an array", path)?.iter().enumerate() {
        let before = out.len();
        out.push(if any { ',' } else { '[' });
        let name = write_tool(tool, &path.item(at), dropped, out)?;
        if allowed.is_some_and(|allowed| !allowed.contains(&name)) {
            out.truncate(before);
        } else {
            any = true;
        }
    }
    if any {
        out.push(']');
    }
    Ok(any)
}

/// Writes one tool, and gives its name.
fn write_tool<'a>(
    raw: &'a str,
    path: &At<'_>,
    dropped: &mut Dropped,
    out: &mut String,
) -> Result<Cow<'a, str>, Inexpressible> {
    let tool = Object::of(raw, path)?;
    let type_path = path.member("type");
    let kind = text(tool.get("type").unwrap_or_default(), &type_path)?;
    if is_dated(&kind) {
        out.push_str(raw);
        return tool.get("name").map_or(Ok("".into()), |name| text(name, &path.member("name")));
    }
    if kind != "function" {
        return Err(type_path.cannot(NAME, format_args!("a tool of the type {kind}")));
    }
    let function_path = path.member("function");
    let function = Object::of(tool.get("function").unwrap_or_default(), &function_path)?;
    let name = function.get("name").unwrap_or_default();
    let name_text = not_empty(name, &function_path.member("name"))?;
    out.push_str(r#"{"name":"#);
    out.push_str(name);
    let (mut schema, mut strict) = (None, false);
    let members = tool.members().map(|(name, raw)| (path, name, raw));
    for (path, member, raw) in
        members.chain(function.members().map(|(name, raw)| (&function_path, name, raw)))
    {
        match member {
            _ if raw == "null" => {}
            "type" | "function" | "name" => {}
            "description" => {
                text(raw, &path.member(member))?;
                out.push_str(r#","description":"#);
                out.push_str(raw);
            }
            // Nearly every schema says first that it is one of an object, and needs no second look.
            "parameters" if raw.starts_with(r#"{"type":"object""#) => schema = Some((raw, None)),
            "parameters" => schema = Some((raw, Some(read::members(raw, &path.member(member))?))),
            "strict" => strict = boolean(raw, &path.member(member))?,
            own if OWN.contains(&own) => {
                for piece in [",\"", own, "\":", raw] {
                    out.push_str(piece);
                }
            }
            _ => dropped.at(&path.member(member)),
        }
    }
    out.push_str(r#","input_schema":"#);
    match &schema {
        None => out.push_str(r#"{"type":"object","properties":{}}"#),
        // OpenAI takes a schema that does not say so, and the API does not.
        Some((_, Some(members))) if members.raw("type").is_none_or(|raw| raw == "null") => {
            out.push_str(&members.with("type", r#""object""#));
        }
        Some((raw, _)) => out.push_str(raw),
    }
    if strict {
        out.push_str(r#","strict":true"#);
    }
    out.push('}');
    Ok(name_text)
}

/// Whether a type is one of Anthropic's own tools, which have the date of their version at the end: `web_search_20260318`.
fn is_dated(kind: &str) -> bool {
    kind.rsplit_once('_')
        .is_some_and(|(_, date)| date.len() == 8 && date.bytes().all(|byte| byte.is_ascii_digit()))
}
