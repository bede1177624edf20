//! What is said to the store, and what it says.

use serde::{Deserialize, Serialize};

use super::terms::{Amounts, Limit};

/// What the store is asked.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Question {
    pub(super) limits: Vec<Limit>,
    /// What is needed, or nothing is of use.
    pub(super) need: Amounts,
    /// What would be used, that included.
    pub(super) want: Amounts,
    /// By limit: what was lent and is not used, or was used and not lent.
    pub(super) back: Vec<f64>,
    pub(super) ahead: f64,
    pub(super) places: Option<Places>,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(super) struct Places {
    pub(super) max: usize,
    pub(super) keep: usize,
    pub(super) wish: usize,
}

/// What it says.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Reply {
    /// None where it has too little.
    pub(super) give: Option<Amounts>,
    /// By limit: what of it may be used at once.
    #[serde(default)]
    pub(super) free: Vec<f64>,
    /// Seconds until it has enough.
    #[serde(default)]
    pub(super) wait: f64,
    #[serde(default)]
    pub(super) places: usize,
    /// The share of each, where others go short.
    pub(super) fair: Option<usize>,
}

impl Question {
    /// That of a process that goes, and gives back all places.
    pub fn leaving() -> Self {
        Self {
            limits: Vec::new(),
            need: [0.0; 3],
            want: [0.0; 3],
            back: Vec::new(),
            ahead: 0.0,
            places: Some(Places { max: 0, keep: 0, wish: 0 }),
        }
    }

    pub fn has_places(&self) -> bool {
        self.places.is_some()
    }
}
