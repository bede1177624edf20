//! Tools, and the choice among them.
//!
//! A function's schema goes along as `parametersJsonSchema`, which takes JSON Schema as it stands (`$ref`, `$defs`, `anyOf`,
//! `additionalProperties`, …; keywords that Gemini does not know are ignored there). The older `parameters` is a subset of
//! OpenAPI's, and refuses what it does not know.

use std::borrow::Cow;

use super::NAME;
use super::request::Own;
use super::write;
use crate::protocol::json::quote;
use crate::protocol::read::{At, Object, objects, string, text};
use crate::protocol::translate::Inexpressible;

/// Gemini's own tools, which are passed on as they are.
const NATIVE: [&str; 16] = [
    "googleSearch",
    "google_search",
    "googleSearchRetrieval",
    "google_search_retrieval",
    "codeExecution",
    "code_execution",
    "urlContext",
    "url_context",
    "googleMaps",
    "google_maps",
    "fileSearch",
    "file_search",
    "computerUse",
    "computer_use",
    "functionDeclarations",
    "function_declarations",
];

/// Writes `tools` and `toolConfig`.
pub(super) fn write(
    root: &Object<'_>,
    own: &Own<'_, '_>,
    out: &mut String,
    dropped: &mut Vec<Cow<'static, str>>,
) -> Result<(), Inexpressible> {
    for name in ["functions", "function_call"] {
        if root.get(name).is_some() {
            return Err(At::Member(&At::Root, name)
                .cannot(NAME, "functions without tools; use tools and tool_choice"));
        }
    }
    let at = At::Member(&At::Root, "tools");
    let tools = root.get("tools").map(|raw| objects(raw, &at)).transpose()?.unwrap_or_default();
    let mut declared = Declared::default();
    for (number, tool) in tools.iter().enumerate() {
        declared.tool(tool, &at.item(number), dropped)?;
    }
    if let Some(options) = root.object("web_search_options", &At::Root)? {
        let at = At::Member(&At::Root, "web_search_options");
        options.drop_unknown(&[], &at, dropped);
        write::comma(&mut declared.native);
        declared.native.push_str("{\"googleSearch\":{}}");
    }
    if root.bool("parallel_tool_calls", &At::Root)? == Some(false) && !declared.names.is_empty() {
        let at = At::Member(&At::Root, "parallel_tool_calls");
        return Err(at.cannot(NAME, "the model decides how many calls it makes"));
    }
    let choice = choice(root, &declared)?;
    declared.write(out);
    config(own, choice.as_deref(), out)
}

#[derive(Default)]
struct Declared {
    functions: String,
    native: String,
    /// Names of the functions, as they stand.
    names: Vec<String>,
    /// Whether a function wants its calls held to its schema.
    strict: bool,
}

impl Declared {
    fn tool(
        &mut self,
        tool: &Object<'_>,
        at: &At<'_>,
        dropped: &mut Vec<Cow<'static, str>>,
    ) -> Result<(), Inexpressible> {
        let type_at = at.member("type");
        let Some(kind) = tool.text("type", at)? else {
            return self.own(tool, at);
        };
        if kind != "function" {
            let kind: String = kind.chars().take(32).collect();
            return Err(type_at.cannot(NAME, format_args!("tools of type {kind}")));
        }
        tool.drop_unknown(&["type", "function"], at, dropped);
        let at = at.member("function");
        let Some(function) = tool.object("function", &at)? else {
            return Err(at.must_be("an object", tool.raw("function")));
        };
        function.drop_unknown(&["name", "description", "parameters", "strict"], &at, dropped);
        let name_at = at.member("name");
        let Some(name) = function.text("name", &at)? else {
            return Err(name_at.must_be("a name", function.raw("name")));
        };
        if !is_name(&name) {
            return Err(name_at.cannot(NAME,
                "a function's name begins with a letter or _, and has at most 128 letters, digits, _, ., : and -",
            ));
        }
        write::comma(&mut self.functions);
        self.functions.push('{');
        write::text_member(&mut self.functions, "name", &name);
        if let Some(description) = function.get("description") {
            let description = string(description, &at.member("description"))?;
            write::member(&mut self.functions, "description", description);
        }
        if let Some(parameters) = function.get("parameters") {
            if !parameters.starts_with('{') {
                return Err(at.member("parameters").must_be("an object", parameters));
            }
            write::member(&mut self.functions, "parametersJsonSchema", parameters);
        }
        self.functions.push('}');
        self.strict |= function.bool("strict", &at)? == Some(true);
        self.names.push(name.into_owned());
        Ok(())
    }

    /// A tool of Gemini's own.
    fn own(&mut self, tool: &Object<'_>, at: &At<'_>) -> Result<(), Inexpressible> {
        if tool.members().next().is_none() || tool.members().any(|(name, _)| !NATIVE.contains(&name)) {
            return Err(at.member("type").must_be("a type of tool", tool.raw("type")));
        }
        write::comma(&mut self.native);
        self.native.push('{');
        for (name, value) in tool.members() {
            write::member(&mut self.native, name, value);
        }
        self.native.push('}');
        Ok(())
    }

    fn write(&self, out: &mut String) {
        if self.functions.is_empty() && self.native.is_empty() {
            return;
        }
        write::name(out, "tools");
        out.push('[');
        if !self.functions.is_empty() {
            out.push_str("{\"functionDeclarations\":[");
            out.push_str(&self.functions);
            out.push_str("]}");
        }
        if !self.native.is_empty() {
            write::comma(out);
            out.push_str(&self.native);
        }
        out.push(']');
    }
}

fn is_name(name: &str) -> bool {
    name.len() <= 128
        && name.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_')
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_.:-".contains(&byte))
}

/// Gemini's `functionCallingConfig`.
fn choice(root: &Object<'_>, declared: &Declared) -> Result<Option<String>, Inexpressible> {
    let at = At::Member(&At::Root, "tool_choice");
    // A mode that holds calls to their schema, and else leaves the choice to the model.
    let auto = declared.strict.then(|| r#"{"mode":"VALIDATED"}"#.to_owned());
    let Some(raw) = root.get("tool_choice") else { return Ok(auto) };
    if raw.starts_with('"') {
        return match &*text(raw, &at)? {
            "auto" => Ok(auto),
            "none" if !declared.native.is_empty() => {
                Err(at.cannot(NAME, "Gemini's own tools are used as it likes"))
            }
            "none" if declared.names.is_empty() => Ok(None),
            "none" => Ok(Some(r#"{"mode":"NONE"}"#.to_owned())),
            "required" if declared.names.is_empty() => Err(at.wrong("must not ask for a call without tools")),
            "required" => Ok(Some(r#"{"mode":"ANY"}"#.to_owned())),
            _ => Err(at.wrong("must be none, auto, required or an object")),
        };
    }
    if !raw.starts_with('{') {
        return Err(at.must_be("none, auto, required or an object", raw));
    }
    let choice = Object::of(raw, &at)?;
    match choice.text("type", &at)?.as_deref() {
        Some("function") => {
            let name = named(&choice, declared, &at)?;
            Ok(Some(format!(r#"{{"mode":"ANY","allowedFunctionNames":[{name}]}}"#)))
        }
        Some("allowed_tools") => {
            let allowed_at = at.member("allowed_tools");
            let Some(allowed) = choice.object("allowed_tools", &at)? else {
                return Err(allowed_at.must_be("an object", choice.raw("allowed_tools")));
            };
            let mode = match allowed.raw("mode") {
                "\"required\"" => "ANY",
                "\"auto\"" => "VALIDATED",
                other => return Err(allowed_at.member("mode").must_be("auto or required", other)),
            };
            let tools_at = allowed_at.member("tools");
            let tools = objects(allowed.raw("tools"), &tools_at)?;
            let mut names = Vec::with_capacity(tools.len());
            for (number, tool) in tools.iter().enumerate() {
                names.push(named(tool, declared, &tools_at.item(number))?);
            }
            let names = names.join(",");
            Ok(Some(format!(r#"{{"mode":"{mode}","allowedFunctionNames":[{names}]}}"#)))
        }
        Some(_) => Err(at.member("type").cannot(NAME, "a choice of anything but functions")),
        None => Err(at.member("type").must_be("function or allowed_tools", choice.raw("type"))),
    }
}

/// The quoted name of the function that a choice names.
fn named(choice: &Object<'_>, declared: &Declared, at: &At<'_>) -> Result<String, Inexpressible> {
    let function_at = at.member("function");
    let Some(function) = choice.object("function", at)? else {
        return Err(function_at.must_be("an object", choice.raw("function")));
    };
    let name_at = function_at.member("name");
    match function.text("name", &function_at)? {
        Some(name) if declared.names.iter().any(|have| *have == name) => Ok(quote(&name)),
        Some(_) => Err(name_at.wrong("must be the name of one of the tools")),
        None => Err(name_at.must_be("a name", function.raw("name"))),
    }
}

/// The choice, in a `toolConfig` that the caller may have more in.
fn config(own: &Own<'_, '_>, choice: Option<&str>, out: &mut String) -> Result<(), Inexpressible> {
    let given = own.get("toolConfig", "tool_config");
    let Some(choice) = choice else {
        if let Some(given) = given {
            write::member(out, "toolConfig", given);
        }
        return Ok(());
    };
    write::name(out, "toolConfig");
    out.push('{');
    let mut chosen = false;
    if let Some(given) = given {
        for (name, value) in Object::of(given, &At::Member(&At::Root, "toolConfig"))?.members() {
            chosen |= matches!(name, "functionCallingConfig" | "function_calling_config");
            write::member(out, name, value);
        }
    }
    if !chosen {
        write::member(out, "functionCallingConfig", choice);
    }
    out.push('}');
    Ok(())
}
