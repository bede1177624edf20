//! Waiting for a moment.

use tokio::time::Instant;

pub(super) async fn until(moment: Instant) {
    tokio::time::sleep_until(moment).await;
}
