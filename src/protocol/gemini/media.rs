//! Images, audio, videos and files, as parts.
//!
//! Data goes along as `inlineData`; what has a URL is fetched by Gemini (`fileData`: public and signed URLs, its own files,
//! YouTube; ai.google.dev/gemini-api/docs/file-input-methods).

use std::borrow::Cow;

use super::NAME;
use super::write;
use crate::protocol::read::{At, Object};
use crate::protocol::translate::Inexpressible;

type Dropped = Vec<Cow<'static, str>>;

/// Writes a part that is no text.
pub(super) fn write(
    part: &Object<'_>,
    at: &At<'_>,
    out: &mut String,
    dropped: &mut Dropped,
) -> Result<(), Inexpressible> {
    let type_at = at.member("type");
    let Some(kind) = part.text("type", at)? else {
        return Err(type_at.must_be("a type of part", part.raw("type")));
    };
    match &*kind {
        "image_url" => image(part, at, out, dropped),
        "video_url" => by_url(part, "video_url", Some("video/"), at, out, dropped),
        "input_audio" => audio(part, at, out, dropped),
        "file" => file(part, at, out, dropped),
        other => Err(type_at
            .cannot(NAME, format_args!("parts of type {}", other.chars().take(32).collect::<String>()))),
    }
}

/// Writes an image.
pub(super) fn image(
    part: &Object<'_>,
    at: &At<'_>,
    out: &mut String,
    dropped: &mut Dropped,
) -> Result<(), Inexpressible> {
    by_url(part, "image_url", Some("image/"), at, out, dropped)
}

/// What Gemini's own parts have beside their data.
const BESIDE: [(&str, &str); 2] =
    [("mediaResolution", "media_resolution"), ("videoMetadata", "video_metadata")];

fn by_url(
    part: &Object<'_>,
    name: &str,
    wanted: Option<&str>,
    at: &At<'_>,
    out: &mut String,
    dropped: &mut Dropped,
) -> Result<(), Inexpressible> {
    let inner_at = at.member(name);
    let inner = content(part, name, &["url", "detail"], at, dropped)?;
    if inner.text("detail", &inner_at)?.is_some_and(|detail| detail != "auto") {
        // Parts have a resolution of their own only in Gemini 3, by other names: mediaResolution on the part says it.
        dropped.push(inner_at.member("detail").to_string().into());
    }
    let url_at = inner_at.member("url");
    let Some(url) = inner.text("url", &inner_at)? else {
        return Err(url_at.must_be("a URL", inner.raw("url")));
    };
    referred(&url, None, wanted, part, &url_at, out)
}

fn audio(
    part: &Object<'_>,
    at: &At<'_>,
    out: &mut String,
    dropped: &mut Dropped,
) -> Result<(), Inexpressible> {
    let inner_at = at.member("input_audio");
    let inner = content(part, "input_audio", &["data", "format"], at, dropped)?;
    let format_at = inner_at.member("format");
    let Some(format) = inner.text("format", &inner_at)? else {
        return Err(format_at.must_be("a format", inner.raw("format")));
    };
    // ai.google.dev/gemini-api/docs/audio
    let mime = match &*format {
        "wav" => "audio/wav",
        "mp3" => "audio/mp3",
        "aiff" => "audio/aiff",
        "aac" => "audio/aac",
        "ogg" => "audio/ogg",
        "flac" => "audio/flac",
        _ => return Err(format_at.cannot(NAME, "audio must be wav, mp3, aiff, aac, ogg or flac")),
    };
    let data_at = inner_at.member("data");
    let Some(data) = inner.text("data", &inner_at)? else {
        return Err(data_at.must_be("base64", inner.raw("data")));
    };
    if !is_base64(&data) {
        return Err(data_at.wrong("must be base64"));
    }
    inline(mime, &data, part, out);
    Ok(())
}

fn file(
    part: &Object<'_>,
    at: &At<'_>,
    out: &mut String,
    dropped: &mut Dropped,
) -> Result<(), Inexpressible> {
    let inner_at = at.member("file");
    let inner = content(part, "file", &["file_data", "file_id", "filename", "format"], at, dropped)?;
    let name = inner.text("filename", &inner_at)?;
    let mime = match inner.text("format", &inner_at)? {
        Some(format) => Some(format),
        None => name.as_deref().and_then(mime_of).map(Cow::Borrowed),
    };
    if let Some(data) = inner.text("file_data", &inner_at)? {
        return referred(&data, mime.as_deref(), None, part, &inner_at.member("file_data"), out);
    }
    let id_at = inner_at.member("file_id");
    match inner.text("file_id", &inner_at)? {
        Some(id) if has_scheme(&id) => referred(&id, mime.as_deref(), None, part, &id_at, out),
        Some(_) => {
            Err(id_at.cannot(NAME, "a file that OpenAI keeps; a file of Gemini's is named by its URI"))
        }
        None => Err(inner_at.wrong("must have file_data or file_id")),
    }
}

/// The object that a part's content is in. What neither has a place for is noted.
fn content<'a>(
    part: &Object<'a>,
    name: &str,
    known: &[&str],
    at: &At<'_>,
    dropped: &mut Dropped,
) -> Result<Object<'a>, Inexpressible> {
    let beside = ["type", name, "mediaResolution", "media_resolution", "videoMetadata", "video_metadata"];
    part.drop_unknown(&beside, at, dropped);
    let inner_at = at.member(name);
    let Some(inner) = part.object(name, at)? else {
        return Err(inner_at.must_be("an object", part.raw(name)));
    };
    inner.drop_unknown(known, &inner_at, dropped);
    Ok(inner)
}

fn has_scheme(url: &str) -> bool {
    ["https://", "http://", "gs://"].iter().any(|scheme| url.starts_with(scheme))
}

/// Writes what a URL stands for. `wanted`: how its type has to begin, where data says it.
fn referred(
    url: &str,
    mime: Option<&str>,
    wanted: Option<&str>,
    part: &Object<'_>,
    at: &At<'_>,
    out: &mut String,
) -> Result<(), Inexpressible> {
    if let Some(rest) = url.strip_prefix("data:") {
        let data = rest.split_once(',').and_then(|(head, data)| Some((head.strip_suffix(";base64")?, data)));
        let Some((head, data)) = data.filter(|(_, data)| is_base64(data)) else {
            return Err(at.wrong("must be a data URL with base64"));
        };
        let of_data = head.split(';').next().unwrap_or("");
        let of_data = if of_data.is_empty() { "text/plain" } else { of_data };
        if !is_mime(of_data) || wanted.is_some_and(|wanted| !of_data.starts_with(wanted)) {
            let what = wanted.map_or("anything", |wanted| wanted.trim_end_matches('/'));
            return Err(at.wrong(format!("must be a data URL of {what}, got another type")));
        }
        inline(of_data, data, part, out);
        return Ok(());
    }
    if !has_scheme(url) || url.bytes().any(|byte| byte.is_ascii_control() || byte == b' ') {
        return Err(at.wrong("must be a data, http(s) or gs URL"));
    }
    write::comma(out);
    out.push_str("{\"fileData\":{");
    // The type is optional, and a page of YouTube has none.
    if let Some(mime) = mime.or_else(|| mime_of(url)) {
        write::text_member(out, "mimeType", mime);
    }
    write::text_member(out, "fileUri", url);
    out.push('}');
    beside(part, out);
    out.push('}');
    Ok(())
}

fn inline(mime: &str, data: &str, part: &Object<'_>, out: &mut String) {
    write::comma(out);
    out.push_str("{\"inlineData\":{\"mimeType\":\"");
    out.push_str(mime);
    out.push_str("\",\"data\":\"");
    // Base64 needs no escapes.
    out.push_str(data);
    out.push_str("\"}");
    beside(part, out);
    out.push('}');
}

fn beside(part: &Object<'_>, out: &mut String) {
    for (name, snake) in BESIDE {
        if let Some(raw) = part.get(name).or_else(|| part.get(snake)) {
            write::member(out, name, raw);
        }
    }
}

fn is_base64(data: &str) -> bool {
    let known = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'-' | b'_');
    let body = data.trim_end_matches('=');
    !body.is_empty() && data.len() - body.len() <= 2 && body.bytes().all(known)
}

fn is_mime(mime: &str) -> bool {
    let known = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$&-^_.+".contains(&byte);
    mime.split_once('/').is_some_and(|(kind, name)| {
        [kind, name].iter().all(|token| !token.is_empty() && token.bytes().all(known))
    })
}

/// The type of a file by its name's ending, for those that Gemini's documentation lists.
fn mime_of(name: &str) -> Option<&'static str> {
    let path = name.split(['?', '#']).next()?;
    let ending = path.rsplit('/').next()?.rsplit_once('.')?.1.to_ascii_lowercase();
    Some(match &*ending {
        "png" => "image/png",
        "jpg" | "jpeg" => "image/jpeg",
        "webp" => "image/webp",
        "heic" => "image/heic",
        "heif" => "image/heif",
        "gif" => "image/gif",
        "pdf" => "application/pdf",
        "wav" => "audio/wav",
        "mp3" => "audio/mp3",
        "aiff" => "audio/aiff",
        "aac" => "audio/aac",
        "ogg" => "audio/ogg",
        "flac" => "audio/flac",
        "mp4" => "video/mp4",
        "mpeg" | "mpg" => "video/mpeg",
        "mov" => "video/mov",
        "avi" => "video/avi",
        "webm" => "video/webm",
        "wmv" => "video/wmv",
        "3gp" => "video/3gpp",
        "txt" | "md" => "text/plain",
        "html" => "text/html",
        "css" => "text/css",
        "csv" => "text/csv",
        "xml" => "text/xml",
        "json" => "application/json",
        _ => return None,
    })
}
