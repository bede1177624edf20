//! Who goes first among those who wait.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::support::*;
use tokio::task::JoinSet;
use trunkline::pool::{Checkout, Origin, Pool, Priority, Tenant};

const SITE: &str = "http://a.test";

/// Callers that note the order in which they are served, each for a millisecond.
#[derive(Default)]
struct Crowd {
    served: Arc<Mutex<Vec<String>>>,
    callers: JoinSet<()>,
}

impl Crowd {
    async fn join(&mut self, pool: &Pool, site: &Origin, name: &str, how: Checkout) {
        let (pool, site, name, served) = (pool.clone(), site.clone(), name.to_owned(), self.served.clone());
        self.callers.spawn(async move {
            let lease = pool.checkout(&site, how).await.unwrap();
            served.lock().unwrap().push(name);
            tokio::time::sleep(Duration::from_millis(1)).await;
            drop(lease);
        });
        settle().await;
    }

    async fn served(self) -> String {
        self.callers.join_all().await;
        self.served.lock().unwrap().join(" ")
    }
}

fn at(priority: Priority) -> Checkout {
    Checkout { priority, ..how() }
}

#[tokio::test(start_paused = true)]
async fn the_more_urgent_go_first_and_among_equals_those_who_came_first() {
    let (pool, net, _) = Net::h1().pool(config(1, 1));
    let site = origin(SITE);
    let held = lease(&pool, &site).await;
    let mut crowd = Crowd::default();
    for n in 1..=2 {
        for priority in Priority::ALL.into_iter().rev() {
            crowd.join(&pool, &site, &format!("{}{n}", priority.as_str()), at(priority)).await;
        }
    }
    assert_eq!(pool.snapshot().queue.depth, [2, 2, 2, 2]);
    drop(held);
    let served = "critical1 critical2 interactive1 interactive2 batch1 batch2 background1 background2";
    assert_eq!(crowd.served().await, served);
    assert_eq!(pool.snapshot().queue.depth, [0; 4]);
    whole(&pool, &net).await;
}

#[tokio::test(start_paused = true)]
async fn nobody_waits_for_ever_behind_the_more_urgent() {
    let (pool, net, _) = Net::h1().pool(config(1, 1));
    let site = origin(SITE);
    let held = lease(&pool, &site).await;
    let aging = Duration::from_secs(1);
    let mut crowd = Crowd::default();
    crowd.join(&pool, &site, "old", Checkout { aging, ..at(Priority::Background) }).await;
    for second in 0..8 {
        let name = format!("c{second}");
        crowd.join(&pool, &site, &name, Checkout { aging, ..at(Priority::Critical) }).await;
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    drop(held);
    // After three spans it was due, and lets three of those go before it that came after that.
    let served = crowd.served().await;
    let possible = ["c0 c1 c2 c3 c4 c5 old c6 c7", "c0 c1 c2 c3 c4 c5 c6 old c7"];
    assert!(possible.contains(&served.as_str()), "{served}");
    whole(&pool, &net).await;
}

#[tokio::test(start_paused = true)]
async fn the_more_urgent_go_first_for_streams_too() {
    let (pool, net, _) = Net::h2(1).pool(config(1, 1));
    let site = origin("https://a.test");
    // So that its limit is known.
    get(&pool, &site, "/").await.unwrap();
    let held = lease(&pool, &site).await;
    let mut crowd = Crowd::default();
    crowd.join(&pool, &site, "later", at(Priority::Batch)).await;
    crowd.join(&pool, &site, "first", at(Priority::Critical)).await;
    drop(held);
    assert_eq!(crowd.served().await, "first later");
    whole(&pool, &net).await;
}

#[tokio::test(start_paused = true)]
async fn a_socket_of_the_total_goes_to_the_origin_with_the_most_urgent_waiter() {
    let (pool, net, _) = Net::h1().pool(config(1, 1));
    let busy = origin(SITE);
    let held = lease(&pool, &busy).await;
    let mut crowd = Crowd::default();
    crowd.join(&pool, &origin("http://b.test"), "b", at(Priority::Background)).await;
    crowd.join(&pool, &origin("http://c.test"), "c", at(Priority::Critical)).await;
    drop(held);
    assert_eq!(crowd.served().await, "c b");
    whole(&pool, &net).await;
}

#[tokio::test(start_paused = true)]
async fn a_busy_origin_gives_way_to_one_whose_waiter_outranks_its_own_by_a_whole_priority() {
    let (pool, net, _) = Net::h1().pool(config(2, 2));
    let (busy, other) = (origin(SITE), origin("http://b.test"));
    // The other origin is not starving: it has a socket, which is in use.
    let (held, kept) = (lease(&pool, &busy).await, lease(&pool, &other).await);
    let mut crowd = Crowd::default();
    crowd.join(&pool, &busy, "busy1", at(Priority::Batch)).await;
    crowd.join(&pool, &busy, "busy2", at(Priority::Batch)).await;
    crowd.join(&pool, &other, "urgent", at(Priority::Critical)).await;
    drop(held);
    settle().await;
    drop(kept);
    assert!(crowd.served().await.starts_with("urgent"));
    whole(&pool, &net).await;
}

fn of(tenant: &str, priority: Priority) -> Checkout {
    Checkout { tenant: Some(Tenant::new(tenant)), ..at(priority) }
}

/// Places come free one after the other, and each is contended for by lines of others.
async fn backlog_and_urgent(net: Net, site: &str) -> String {
    let (pool, net, _) = net.pool(config(1, 1));
    let site = origin(site);
    let held = pool.checkout(&site, of("other", Priority::Critical)).await.unwrap();
    let mut crowd = Crowd::default();
    for n in 0..3 {
        crowd.join(&pool, &site, &format!("old{n}"), of(&format!("batch{n}"), Priority::Background)).await;
    }
    // By their age those are due before all that come now.
    tokio::time::sleep(Duration::from_secs(20)).await;
    for n in 0..7 {
        crowd.join(&pool, &site, &format!("u{n}"), of(&format!("user{n}"), Priority::Interactive)).await;
    }
    drop(held);
    let served = crowd.served().await;
    whole(&pool, &net).await;
    served
}

#[tokio::test(start_paused = true)]
async fn an_urgent_call_of_one_tenant_waits_for_no_older_backlog_of_another_and_that_does_not_starve() {
    let expected = "u0 u1 u2 old0 u3 u4 u5 old1 u6 old2";
    assert_eq!(backlog_and_urgent(Net::h1(), SITE).await, expected);
    assert_eq!(backlog_and_urgent(Net::h2(1), "https://a.test").await, expected);
}

#[tokio::test(start_paused = true)]
async fn a_busy_tenant_keeps_its_socket_for_three_urgent_calls_and_leaves_the_fourth_to_an_older_backlog() {
    let (pool, net, _) = Net::h1().pool(config(1, 1));
    let site = origin(SITE);
    let held = pool.checkout(&site, of("user", Priority::Interactive)).await.unwrap();
    let mut crowd = Crowd::default();
    for n in 0..2 {
        crowd.join(&pool, &site, &format!("old{n}"), of("batch", Priority::Background)).await;
    }
    tokio::time::sleep(Duration::from_secs(20)).await;
    for n in 0..8 {
        crowd.join(&pool, &site, &format!("u{n}"), of("user", Priority::Interactive)).await;
    }
    drop(held);
    assert_eq!(crowd.served().await, "u0 u1 u2 old0 u3 u4 u5 old1 u6 u7");
    whole(&pool, &net).await;
}
