//! Reads requests for embeddings, as strictly as the provider does.

use serde_json::Value;

use super::{
    request::{list, listed, shaped, whole},
    tables,
};
use crate::mock::{
    refusal::Refusal,
    route::{Endpoint, Route},
};

pub(super) fn check(route: &Route<'_>, body: &Value) -> Result<(), Refusal> {
    if route.endpoint == Endpoint::Embedding {
        let body = shaped(body, &tables::EMBED)?;
        let mut wrong = Vec::new();
        embedded(&body, "", &mut wrong);
        return if wrong.is_empty() { Ok(()) } else { Err(listed("EmbedContentRequest", &wrong)) };
    }
    let body = shaped(body, &tables::BATCH_EMBED)?;
    let mut wrong = Vec::new();
    let requests = list(&body["requests"]);
    if !(1..=100).contains(&requests.len()) {
        wrong.push("requests: at least one and at most 100 requests can be in one batch".to_owned());
    }
    let own = route.model.as_deref().unwrap_or_default();
    for (at, request) in requests.iter().enumerate() {
        match request["model"].as_str() {
            Some(name) if name.strip_prefix("models/") == Some(own) => {}
            Some(name) => wrong.push(format!(
                "requests[{at}].model: the model '{name}' must be that of the batch, 'models/{own}'"
            )),
            None => wrong.push(format!("requests[{at}].model: model is required")),
        }
        embedded(request, &format!("requests[{at}]."), &mut wrong);
    }
    if wrong.is_empty() { Ok(()) } else { Err(listed("BatchEmbedContentsRequest", &wrong)) }
}

fn embedded(request: &Value, place: &str, wrong: &mut Vec<String>) {
    let parts = list(&request["content"]["parts"]);
    if parts.is_empty() {
        wrong.push(format!("{place}content: contents is not specified"));
    }
    if parts.iter().any(|part| part["text"].as_str().is_none_or(str::is_empty)) {
        wrong.push(format!("{place}content.parts: must be texts that are not empty"));
    }
    if whole(&request["outputDimensionality"]).is_some_and(|n| n < 1) {
        wrong.push(format!("{place}output_dimensionality: must be positive"));
    }
}
