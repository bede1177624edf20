//! The order in which user and model speak.

use serde_json::Value;

use super::request::list;

/// Who speaks when: a call of functions is followed by as many responses, and nothing comes between.
pub(super) fn turns(contents: &[Value]) -> Result<(), String> {
    let mut open: Vec<&Value> = Vec::new();
    for (at, content) in contents.iter().enumerate() {
        let role = content["role"].as_str().unwrap_or_default();
        // One turn alone needs no role.
        if !(matches!(role, "user" | "model") || role.is_empty() && contents.len() == 1) {
            return Err(format!("Please use a valid role: user, model. (contents[{at}].role)"));
        }
        let parts = list(&content["parts"]);
        let of = |name: &str| parts.iter().filter_map(|part| part.get(name)).collect::<Vec<_>>();
        let (calls, responses) = (of("functionCall"), of("functionResponse"));
        if !responses.is_empty() && (role != "user" || open.is_empty()) {
            return Err(format!(
                "Please ensure that function response turn comes immediately after a function call turn. (contents[{at}])"
            ));
        }
        if responses.len() != open.len() {
            return Err(format!(
                "Please ensure that the number of function response parts is equal to the number of function call \
                 parts of the function call turn. (contents[{at}])"
            ));
        }
        for response in &responses {
            let same = |name: &str, call: &Value| {
                response.get(name).is_none_or(|own| call.get(name).is_none_or(|theirs| own == theirs))
            };
            let Some(place) =
                open.iter().position(|call| call["name"] == response["name"] && same("id", call))
            else {
                return Err(format!(
                    "Please ensure that each function response has the name and the id of a function call: {} has \
                     none. (contents[{at}])",
                    response["name"]
                ));
            };
            open.remove(place);
        }
        let follows_user = at > 0 && contents.get(at - 1).is_some_and(|before| before["role"] == "user");
        if !calls.is_empty() && (role != "model" || !follows_user) {
            return Err(format!(
                "Please ensure that function call turn comes immediately after a user turn or after a function \
                 response turn. (contents[{at}])"
            ));
        }
        open = calls;
    }
    if open.is_empty() {
        return Ok(());
    }
    Err("Please ensure that multiturn requests end with a user role or a function response.".to_owned())
}
