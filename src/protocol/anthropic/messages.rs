//! Messages as Anthropic has them: a system prompt, and turns of blocks.
//!
//! - System and developer messages before all others are the system prompt, a block each. One that stands between others stays
//!   there for a model that takes it (right after a user's turn, and before an assistant's or at the end); else it moves up to
//!   the others, as in Anthropic's own layer for OpenAI's SDK, and `messages[n].role` is told.
//! - Messages of one role after each other are one turn, which is how the API reads them; so results of parallel calls are in
//!   one turn, as it wants them.
//! - What is empty is left out: the API refuses empty blocks.
//! - An assistant's message at the end is a prefill. White space at its end, which the API refuses, is taken off it.

use std::borrow::Cow;

use super::NAME;
use super::model::Model;
use super::parts::{Block, Speaker, cache_last, each_block, write_block};
use super::request::Dropped;
use crate::protocol::json::{Members, Text, quote};
use crate::protocol::read::{At, Object, boolean, items, not_empty, text};
use crate::protocol::translate::Inexpressible;

/// Messages translated.
#[derive(Debug, Default)]
pub(super) struct Conversation {
    /// Blocks of the system prompt, with commas between.
    pub(super) system: String,
    /// The turns, with commas between.
    pub(super) turns: String,
    /// White space taken off a prefill.
    pub(super) trimmed: String,
    /// Whose turn is open, so that more can be said in it.
    open: Option<Role>,
    /// Whether the open turn says anything but the results of tools.
    has_said: bool,
    /// Where in `turns` the text of its last block stands, if that is what the block is.
    last_text: Option<usize>,
    /// Where in `turns` the last block stands.
    last_block: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    System,
    User,
    Assistant,
}

impl Role {
    fn begin(self) -> &'static str {
        match self {
            Self::System => r#"{"role":"system","content":["#,
            Self::User => r#"{"role":"user","content":["#,
            Self::Assistant => r#"{"role":"assistant","content":["#,
        }
    }
}

/// A message with its role read.
struct Message<'a> {
    members: Object<'a>,
    speaker: Speaker,
}

pub(super) fn translate(
    raw: &str,
    model: Model,
    path: &At<'_>,
    dropped: &mut Dropped,
) -> Result<Conversation, Inexpressible> {
    let list = items(raw, "an array", path)?;
    let messages = list
        .iter()
        .enumerate()
        .map(|(at, raw)| Message::of(raw, &path.item(at)))
        .collect::<Result<Vec<_>, _>>()?;
    let mut conversation = Conversation { turns: String::with_capacity(raw.len() + 64), ..<_>::default() };
    for (at, message) in messages.iter().enumerate() {
        let path = path.item(at);
        match message.speaker {
            Speaker::System => {
                let next = messages[at..].iter().find(|message| message.speaker != Speaker::System);
                let fits = model.hears_system_in_between()
                    && conversation.hears_system()
                    && next.is_none_or(|next| next.speaker == Speaker::Assistant);
                conversation.system(&message.members, fits, &path, dropped)?;
            }
            Speaker::User => conversation.user(&message.members, &path, dropped)?,
            Speaker::Assistant => conversation.assistant(&message.members, &path, dropped)?,
            Speaker::Tool => conversation.result(&message.members, &path, dropped)?,
        }
    }
    conversation.end(messages.len(), path, dropped)?;
    Ok(conversation)
}

impl<'a> Message<'a> {
    fn of(raw: &'a str, path: &At<'_>) -> Result<Self, Inexpressible> {
        let members = Object::of(raw, path)?;
        let path = path.member("role");
        let speaker = match &*text(members.get("role").unwrap_or_default(), &path)? {
            "system" | "developer" => Speaker::System,
            "user" => Speaker::User,
            "assistant" => Speaker::Assistant,
            "tool" => Speaker::Tool,
            "function" => {
                return Err(path.cannot(NAME, "a function's result without an id; use the role tool"));
            }
            _ => return Err(path.wrong("must be system, developer, user, assistant or tool")),
        };
        Ok(Self { members, speaker })
    }
}

impl Conversation {
    /// Whether a system message may stand here.
    fn hears_system(&self) -> bool {
        matches!(self.open, Some(Role::User | Role::System))
    }

    fn system(
        &mut self,
        members: &Object<'_>,
        fits: bool,
        path: &At<'_>,
        dropped: &mut Dropped,
    ) -> Result<(), Inexpressible> {
        dropped.unknown(members, &["role", "content", "cache_control"], path);
        if fits {
            return self.content(members, Speaker::System, Role::System, path, dropped);
        }
        if self.open.is_some() {
            dropped.at(&path.member("role"));
        }
        let raw = members.get("content").unwrap_or_default();
        let mut last = None;
        each_block(raw, Speaker::System, &path.member("content"), dropped, |block| {
            if !self.system.is_empty() {
                self.system.push(',');
            }
            last = Some(self.system.len());
            write_block(&block, &mut self.system);
        })?;
        if let Some(last) = last {
            cache_last(&mut self.system, last, members.get("cache_control"));
        }
        Ok(())
    }

    fn user(
        &mut self,
        members: &Object<'_>,
        path: &At<'_>,
        dropped: &mut Dropped,
    ) -> Result<(), Inexpressible> {
        dropped.unknown(members, &["role", "content", "cache_control"], path);
        self.content(members, Speaker::User, Role::User, path, dropped)
    }

    fn assistant(
        &mut self,
        members: &Object<'_>,
        path: &At<'_>,
        dropped: &mut Dropped,
    ) -> Result<(), Inexpressible> {
        let known = [
            "role",
            "content",
            "refusal",
            "tool_calls",
            "reasoning_content",
            "reasoning",
            "thinking_blocks",
            "cache_control",
        ];
        dropped.unknown(members, &known, path);
        if let Some(raw) = members.get("thinking_blocks") {
            if self.thinking(raw, &path.member("thinking_blocks"), dropped)? {
                return Ok(());
            }
        } else if let Some(name) =
            ["reasoning_content", "reasoning"].into_iter().find(|name| members.get(name).is_some())
        {
            // Without a signature it cannot be given back.
            dropped.at(&path.member(name));
        }
        let before = self.turns.len();
        match (members.get("content"), members.get("refusal")) {
            (Some(_), _) => self.content(members, Speaker::Assistant, Role::Assistant, path, dropped)?,
            (None, Some(raw)) => {
                text(raw, &path.member("refusal"))?;
                let path = path.member("refusal");
                each_block(raw, Speaker::Assistant, &path, dropped, |block| {
                    self.push(Role::Assistant, &block);
                })?;
            }
            (None, None) => {}
        }
        if let Some(raw) = members.get("tool_calls") {
            self.calls(raw, &path.member("tool_calls"), dropped)?;
        }
        // Thinking cannot be cached by itself.
        if self.turns.len() > before {
            cache_last(&mut self.turns, self.last_block, members.get("cache_control"));
        }
        Ok(())
    }

    /// Blocks of an answer that come back. True if they are the whole of the message.
    fn thinking(&mut self, raw: &str, path: &At<'_>, dropped: &mut Dropped) -> Result<bool, Inexpressible> {
        let mut whole = false;
        for (at, block) in items(raw, "an array", path)?.iter().enumerate() {
            let path = path.item(at);
            let members = Object::of(block, &path)?;
            let raw = members.get("type").unwrap_or_default();
            match &*text(raw, &path.member("type"))? {
                // Thinking of another provider has no signature, and the API takes none without.
                "thinking" if members.get("signature").is_none_or(|raw| raw == r#""""#) => {
                    dropped.at(&path);
                    continue;
                }
                "thinking" | "redacted_thinking" => {}
                _ => whole = true,
            }
            self.push(Role::Assistant, &Block::Other((*block).into()));
        }
        Ok(whole)
    }

    fn calls(&mut self, raw: &str, path: &At<'_>, dropped: &mut Dropped) -> Result<(), Inexpressible> {
        for (at, call) in items(raw, "an array", path)?.iter().enumerate() {
            let path = path.item(at);
            let call = Object::of(call, &path)?;
            dropped.unknown(&call, &["id", "type", "function", "index", "cache_control"], &path);
            let kind_path = path.member("type");
            let kind = match call.get("type") {
                Some(raw) => text(raw, &kind_path)?,
                None => "function".into(),
            };
            if kind != "function" {
                return Err(kind_path.cannot(NAME, format_args!("a call of the type {kind}")));
            }
            let id = call_id(call.get("id").unwrap_or_default(), &path.member("id"))?;
            let path = path.member("function");
            let function = Object::of(call.get("function").unwrap_or_default(), &path)?;
            dropped.unknown(&function, &["name", "arguments"], &path);
            let name = function.get("name").unwrap_or_default();
            not_empty(name, &path.member("name"))?;
            let path = path.member("arguments");
            let arguments = text(function.get("arguments").unwrap_or(r#""""#), &path)?;
            let input = if arguments.trim().is_empty() { "{}" } else { arguments.trim() };
            if Members::of(input).is_err() {
                return Err(path.wrong("must be the text of a JSON object"));
            }
            self.push(
                Role::Assistant,
                &Block::Other(
                    format!(r#"{{"type":"tool_use","id":{id},"name":{name},"input":{input}}}"#).into(),
                ),
            );
            cache_last(&mut self.turns, self.last_block, call.get("cache_control"));
        }
        Ok(())
    }

    fn result(
        &mut self,
        members: &Object<'_>,
        path: &At<'_>,
        dropped: &mut Dropped,
    ) -> Result<(), Inexpressible> {
        dropped.unknown(members, &["role", "content", "tool_call_id", "is_error", "cache_control"], path);
        if self.open == Some(Role::User) && self.has_said {
            return Err(path
                .member("role")
                .wrong("must come right after the assistant message that called the tool"));
        }
        let id = call_id(members.get("tool_call_id").unwrap_or_default(), &path.member("tool_call_id"))?;
        let mut block = format!(r#"{{"type":"tool_result","tool_use_id":{id}"#);
        let content = members.get("content").unwrap_or(r#""""#);
        let path_of_content = path.member("content");
        let before = block.len();
        each_block(content, Speaker::Tool, &path_of_content, dropped, |part| match part {
            Block::Text { text, .. } if content.starts_with('"') => {
                block.push_str(r#","content":"#);
                block.push_str(text);
            }
            part => {
                block.push_str(if block.len() == before { r#","content":["# } else { "," });
                write_block(&part, &mut block);
            }
        })?;
        if content.starts_with('[') && block.len() > before {
            block.push(']');
        }
        if let Some(raw) = members.get("is_error")
            && boolean(raw, &path.member("is_error"))?
        {
            block.push_str(r#","is_error":true"#);
        }
        if let Some(raw) = members.get("cache_control") {
            block.push_str(r#","cache_control":"#);
            block.push_str(raw);
        }
        block.push('}');
        let had_said = self.open == Some(Role::User) && self.has_said;
        self.push(Role::User, &Block::Other(block.into()));
        self.has_said = had_said;
        Ok(())
    }

    /// Writes the content of a message into the turn of its role.
    fn content(
        &mut self,
        members: &Object<'_>,
        speaker: Speaker,
        role: Role,
        path: &At<'_>,
        dropped: &mut Dropped,
    ) -> Result<(), Inexpressible> {
        let raw = members.get("content").unwrap_or_default();
        let before = self.turns.len();
        each_block(raw, speaker, &path.member("content"), dropped, |block| self.push(role, &block))?;
        if self.turns.len() > before && role != Role::Assistant {
            cache_last(&mut self.turns, self.last_block, members.get("cache_control"));
        }
        Ok(())
    }

    /// Adds a block to the turn of its role, which is begun if it is not this role's.
    fn push(&mut self, role: Role, block: &Block<'_>) {
        if self.open == Some(role) {
            self.turns.push(',');
        } else {
            if self.open.is_some() {
                self.turns.push_str("]},");
            }
            self.turns.push_str(role.begin());
            self.open = Some(role);
        }
        self.has_said = true;
        self.last_block = self.turns.len();
        self.last_text = write_block(block, &mut self.turns);
    }

    fn end(&mut self, messages: usize, path: &At<'_>, dropped: &mut Dropped) -> Result<(), Inexpressible> {
        if self.open.is_none() {
            return Err(path.wrong("must hold a message of the user that says something"));
        }
        if self.turns.starts_with(Role::Assistant.begin()) {
            return Err(path.cannot(NAME, "a conversation that does not begin with the user"));
        }
        if self.open == Some(Role::Assistant) {
            self.trim(|| dropped.at(&path.item(messages - 1).member("content")));
        }
        self.turns.push_str("]}");
        Ok(())
    }

    /// Takes white space off the end of a prefill.
    fn trim(&mut self, tell: impl FnOnce()) {
        let Some(from) = self.last_text else { return };
        let mut text = serde_json::Deserializer::from_str(&self.turns[from..]).into_iter::<Text<'_>>();
        let Some(Ok(Text(said))) = text.next() else { return };
        let end = from + text.byte_offset();
        let kept = said.trim_end();
        if kept.len() < said.len() {
            let (kept, trimmed) = (quote(kept), said[kept.len()..].to_owned());
            self.turns.replace_range(from..end, &kept);
            self.trimmed = trimmed;
            tell();
        }
    }
}

/// An id of a call as JSON. The API takes letters, digits, `_` and `-`; ids of other providers have more.
fn call_id<'a>(raw: &'a str, path: &At<'_>) -> Result<Cow<'a, str>, Inexpressible> {
    let id = not_empty(raw, path)?;
    let fits = |char: char| char.is_ascii_alphanumeric() || char == '_' || char == '-';
    if id.chars().all(fits) {
        return Ok(raw.into());
    }
    let id: String = id.chars().map(|char| if fits(char) { char } else { '_' }).collect();
    Ok(quote(&id).into())
}
