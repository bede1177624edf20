//! The options of a request in Anthropic's words.

use super::NAME;
use super::model::Model;
use super::request::{Asked, Dropped, Writer};
use super::thinking::{self, Thinking};
use super::tools::{self, Choice};
use crate::protocol::json::quote;
use crate::protocol::read::{self, At, Object, boolean, count, items, number, text};
use crate::protocol::translate::Inexpressible;

/// Said to the model where the request asks for JSON without a schema, for which the API has no words.
const JSON_PLEASE: &str =
    "Answer with a single JSON object and nothing else: no text around it and no Markdown fence.";

impl<'a> Asked<'a> {
    pub(super) fn max_tokens(&self, dropped: &mut Dropped) -> Result<Option<u64>, Inexpressible> {
        let read =
            |raw: Option<&str>, name| raw.map(|raw| count(raw, &At::Member(&At::Root, name))).transpose();
        let (new, old) = (
            read(self.max_completion_tokens, "max_completion_tokens")?,
            read(self.max_tokens, "max_tokens")?,
        );
        if new.is_some() && old.is_some() && new != old {
            dropped.push("max_tokens");
        }
        Ok(new.or(old))
    }

    pub(super) fn thinking(
        &self,
        model: Model,
        max_tokens: Option<u64>,
        forced: bool,
        dropped: &mut Dropped,
    ) -> Result<Thinking, Inexpressible> {
        let path = At::Member(&At::Root, "reasoning_effort");
        let Some(raw) = self.reasoning_effort else { return Ok(Thinking::default()) };
        let mut thinking = thinking::of_effort(raw, model, max_tokens, &path)?;
        if self.thinking.is_some() {
            // The caller's own words stand. An effort is not about thinking alone.
            thinking.dropped |= thinking.effort.is_none();
            thinking.budget = 0;
        } else if forced && thinking.config.as_deref().is_some_and(thinking::is_on) {
            // The API takes no forced call of a tool while it is told to think. That the tool is called matters more.
            (thinking.config, thinking.budget) = (None, 0);
            thinking.dropped |= !model.thinks_by_itself();
        }
        if thinking.dropped {
            dropped.push("reasoning_effort");
        }
        Ok(thinking)
    }

    /// The schema that the answer must fit. JSON without a schema is asked for in the system prompt, with notice, since
    /// nothing enforces it.
    pub(super) fn format(
        &self,
        system: &mut String,
        dropped: &mut Dropped,
    ) -> Result<Option<String>, Inexpressible> {
        let Some(raw) = self.response_format else { return Ok(None) };
        let path = At::Member(&At::Root, "response_format");
        let members = Object::of(raw, &path)?;
        let type_path = path.member("type");
        match &*text(members.get("type").unwrap_or_default(), &type_path)? {
            "text" => Ok(None),
            "json_object" => {
                if !system.is_empty() {
                    system.push(',');
                }
                system.push_str(r#"{"type":"text","text":"#);
                system.push_str(&quote(JSON_PLEASE));
                system.push('}');
                dropped.push("response_format");
                Ok(None)
            }
            "json_schema" => {
                let path = path.member("json_schema");
                let members = Object::of(members.get("json_schema").unwrap_or_default(), &path)?;
                if members.get("description").is_some() {
                    dropped.at(&path.member("description"));
                }
                let schema = members.get("schema").unwrap_or_default();
                Object::of(schema, &path.member("schema"))?;
                Ok(Some(format!(r#"{{"type":"json_schema","schema":{schema}}}"#)))
            }
            other => Err(type_path.cannot(NAME, format_args!("an answer of the format {other}"))),
        }
    }

    pub(super) fn choice(&self) -> Result<Choice<'a>, Inexpressible> {
        let path = At::Member(&At::Root, "tool_choice");
        Ok(self.tool_choice.map(|raw| tools::choice(raw, &path)).transpose()?.unwrap_or_default())
    }

    pub(super) fn tools(
        &self,
        choice: Choice<'_>,
        out: &mut Writer,
        dropped: &mut Dropped,
    ) -> Result<(), Inexpressible> {
        let path = At::Member(&At::Root, "tool_choice");
        let parallel = match self.parallel_tool_calls {
            Some(raw) => boolean(raw, &At::Member(&At::Root, "parallel_tool_calls"))?,
            None => true,
        };
        let mut list = String::new();
        let there = match self.tools {
            Some(raw) => {
                let path = At::Member(&At::Root, "tools");
                tools::write(raw, choice.allowed.as_deref(), &path, dropped, &mut list)?
            }
            None => false,
        };
        if !there {
            // Without tools there is nothing to choose.
            return if choice.forced { Err(path.wrong("must name a tool of tools")) } else { Ok(()) };
        }
        out.set("tools", &list);
        match (choice.raw, parallel) {
            (None, true) => {}
            (None, false) => out.set("tool_choice", r#"{"type":"auto","disable_parallel_tool_use":true}"#),
            (Some(raw), true) => out.set("tool_choice", &raw),
            (Some(raw), false) if choice.none => out.set("tool_choice", &raw),
            (Some(raw), false) => {
                let choice = read::members(&raw, &path)?;
                // In its place where it is there, else as the first; the order means nothing.
                out.set("tool_choice", &choice.with("disable_parallel_tool_use", "true"));
            }
        }
        Ok(())
    }

    /// Temperature and `top_p`, as far as the model takes them: newer models refuse all but the defaults, models that take
    /// them refuse them while they think, and some the two together.
    pub(super) fn sampling(
        &self,
        model: Model,
        thinking: &Thinking,
        out: &mut Writer,
        dropped: &mut Dropped,
    ) -> Result<(), Inexpressible> {
        let thinks = match self.thinking {
            Some(raw) => thinking::is_on(raw),
            None => thinking.config.as_deref().is_some_and(thinking::is_on),
        };
        let mut both = false;
        if let Some(raw) = self.temperature {
            let temperature = number(raw, 0.0, 2.0, &At::Member(&At::Root, "temperature"))?;
            if !model.samples() || (thinks && temperature != 1.0) {
                if temperature != 1.0 {
                    dropped.push("temperature");
                }
            } else if temperature > 1.0 {
                // OpenAI's scale ends at 2, the API's at 1.
                out.set("temperature", "1");
                dropped.push("temperature");
                both = true;
            } else {
                out.set("temperature", raw);
                both = true;
            }
        }
        if let Some(raw) = self.top_p {
            let top_p = number(raw, 0.0, 1.0, &At::Member(&At::Root, "top_p"))?;
            let refused =
                !model.samples() || (thinks && top_p < 0.95) || (both && !model.samples_both_ways());
            match refused {
                false => out.set("top_p", raw),
                true if top_p < 1.0 => dropped.push("top_p"),
                true => {}
            }
        }
        Ok(())
    }

    pub(super) fn stops(&self, out: &mut Writer) -> Result<(), Inexpressible> {
        let (raw, name) = match (self.stop, self.stop_sequences) {
            (Some(raw), _) => (raw, "stop"),
            (None, Some(raw)) => (raw, "stop_sequences"),
            (None, None) => return Ok(()),
        };
        let path = At::Member(&At::Root, name);
        let check = |raw: &str, path: &At<'_>| match text(raw, path)? {
            text if text.trim().is_empty() => {
                Err(path.cannot(NAME, "a stop sequence of nothing but white space"))
            }
            _ => Ok(()),
        };
        if raw.starts_with('"') {
            check(raw, &path)?;
            out.list("stop_sequences", raw);
        } else {
            let list = items(raw, "an array", &path)?;
            list.iter().enumerate().try_for_each(|(at, raw)| check(raw, &path.item(at)))?;
            if !list.is_empty() {
                out.set("stop_sequences", raw);
            }
        }
        Ok(())
    }

    /// The caller's own `output_config`, with what else belongs there.
    pub(super) fn output_config(
        &self,
        effort: Option<&str>,
        format: Option<String>,
        out: &mut Writer,
        dropped: &mut Dropped,
    ) -> Result<(), Inexpressible> {
        let path = At::Member(&At::Root, "output_config");
        let own = self.output_config.map(|raw| Object::of(raw, &path)).transpose()?;
        let has = |name: &str| own.as_ref().is_some_and(|own| !own.raw(name).is_empty());
        if has("format") && format.is_some() {
            return Err(path.member("format").wrong("must not be given together with response_format"));
        }
        let mut config = Writer::with_capacity(64);
        for (name, raw) in own.iter().flat_map(Object::members) {
            config.set(name, raw);
        }
        match effort {
            Some(_) if has("effort") => dropped.push("reasoning_effort"),
            Some(effort) => config.set("effort", &quote(effort)),
            None => {}
        }
        if let Some(format) = format {
            config.set("format", &format);
        }
        if !config.is_empty() {
            out.set("output_config", &config.end());
        }
        Ok(())
    }

    /// `metadata.user_id`: the caller's own, else `safety_identifier`, else `user`.
    pub(super) fn user(&self, out: &mut Writer, dropped: &mut Dropped) -> Result<(), Inexpressible> {
        let mut id = None;
        if let Some(raw) = self.metadata {
            let path = At::Member(&At::Root, "metadata");
            for (name, raw) in Object::of(raw, &path)?.members() {
                if name == "user_id" {
                    text(raw, &path.member(name))?;
                    id = Some(raw);
                } else {
                    dropped.at(&path.member(name));
                }
            }
        }
        for (name, raw) in [("safety_identifier", self.safety_identifier), ("user", self.user)] {
            let Some(raw) = raw else { continue };
            text(raw, &At::Member(&At::Root, name))?;
            match id {
                None => id = Some(raw),
                Some(other) if other == raw => {}
                Some(_) => dropped.push(name),
            }
        }
        if let Some(id) = id {
            out.set("metadata", &format!(r#"{{"user_id":{id}}}"#));
        }
        Ok(())
    }

    pub(super) fn tier(&self, out: &mut Writer, dropped: &mut Dropped) -> Result<(), Inexpressible> {
        let Some(raw) = self.service_tier else { return Ok(()) };
        match &*text(raw, &At::Member(&At::Root, "service_tier"))? {
            // Auto takes priority capacity where there is some.
            "auto" | "priority" => out.set("service_tier", r#""auto""#),
            "default" | "standard_only" => out.set("service_tier", r#""standard_only""#),
            _ => dropped.push("service_tier"),
        }
        Ok(())
    }
}
