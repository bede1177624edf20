//! Lanes and tenants: who shares sockets with whom, and who never waits for whom.

use std::collections::{HashMap, HashSet};

use crate::support::*;
use trunkline::pool::{Checkout, Config, Kind, Lane, Lanes, Lease, Origin, Pool, Tenant};

const SITE: &str = "http://a.test";

fn lanes(streaming: usize, unary: usize, settings: Config) -> Config {
    let lanes = Lanes { streaming: streaming.try_into().unwrap(), unary: unary.try_into().unwrap() };
    Config { lanes: Some(lanes), ..settings }
}

fn each(most: usize, settings: Config) -> Config {
    Config { max_connections_per_tenant: Some(most.try_into().unwrap()), ..settings }
}

fn on(lane: Lane) -> Checkout {
    Checkout { lane, ..how() }
}

fn of(tenant: &str) -> Checkout {
    Checkout { tenant: Some(Tenant::new(tenant)), ..how() }
}

/// Leases as many as come at once.
async fn all_that_come(pool: &Pool, site: &Origin, how: Checkout) -> Vec<Lease> {
    let mut leases = Vec::new();
    loop {
        let waiting = queued(pool, site, how.clone()).await;
        if !waiting.is_finished() {
            waiting.abort();
            settle().await;
            return leases;
        }
        leases.push(waiting.await.unwrap().unwrap());
    }
}

#[tokio::test(start_paused = true)]
async fn long_streams_never_keep_short_calls_waiting() {
    let settings = lanes(3, 2, config(5, 5));
    let (pool, net, _) = Net::h1().watching(&settings).pool(settings);
    let site = origin(SITE);
    let streams = all_that_come(&pool, &site, on(Lane::Streaming)).await;
    let calls = all_that_come(&pool, &site, on(Lane::Unary)).await;
    assert_eq!((streams.len(), calls.len()), (3, 2));
    let late = queued(&pool, &site, on(Lane::Unary)).await;
    drop(streams);
    settle().await;
    assert!(!late.is_finished(), "a socket of the other lane");
    drop(calls);
    late.await.unwrap().unwrap();
    whole(&pool, &net).await;
}

#[tokio::test(start_paused = true)]
async fn lanes_share_no_connection_over_http2_either() {
    let settings = streams(4, lanes(1, 1, config(5, 5)));
    let (pool, net, _) = Net::h2(100).pool(settings);
    let site = origin("https://a.test");
    let streams = all_that_come(&pool, &site, on(Lane::Streaming)).await;
    let calls = all_that_come(&pool, &site, on(Lane::Unary)).await;
    assert_eq!((streams.len(), calls.len(), net.opened()), (4, 4, 2));
    let ids = |leases: &[Lease]| leases.iter().map(Lease::connection_id).collect::<HashSet<_>>();
    assert!(ids(&streams).is_disjoint(&ids(&calls)));
    drop((streams, calls));
    whole(&pool, &net).await;
    let origins = pool.snapshot().origins;
    let mut lanes: Vec<_> = origins.iter().map(|origin| (origin.lane.unwrap(), origin.opened)).collect();
    lanes.sort_unstable();
    assert_eq!(lanes, [("streaming", 1), ("unary", 1)]);
}

#[tokio::test(start_paused = true)]
async fn without_lanes_all_calls_share() {
    let (pool, net, _) = Net::h1().pool(config(5, 5));
    let site = origin(SITE);
    drop(pool.checkout(&site, on(Lane::Streaming)).await.unwrap());
    drop(pool.checkout(&site, on(Lane::Unary)).await.unwrap());
    assert_eq!(net.opened(), 1);
    assert_eq!(pool.snapshot().origins[0].lane, None);
}

#[tokio::test(start_paused = true)]
async fn tenants_never_share_a_connection() {
    for (net, site) in [(Net::h1(), SITE), (Net::h2(100), "https://a.test")] {
        let (pool, net, tasks) = net.pool(config(50, 50));
        let site = origin(site);
        let mut whose: HashMap<u64, String> = HashMap::new();
        for round in 0..50 {
            let name = ["a", "b", "c"][round % 3];
            let mut leases = Vec::new();
            for _ in 0..1 + round % 4 {
                let lease = pool.checkout(&site, of(name)).await.unwrap();
                let owner = whose.entry(lease.connection_id()).or_insert_with(|| name.to_owned());
                assert_eq!(owner, name);
                leases.push(lease);
            }
            for lease in leases {
                exchange(lease, "/").await.unwrap();
            }
        }
        let nobody = lease(&pool, &site).await;
        assert!(!whose.contains_key(&nobody.connection_id()));
        drop(nobody);
        whole(&pool, &net).await;
        nothing_left(pool, &net, &tasks).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_tenant_has_its_own_limit_over_all_origins_and_starves_nobody() {
    let settings = each(2, config(5, 5));
    let (pool, net, _) = Net::h1().watching(&settings).pool(settings);
    let (site, other) = (origin(SITE), origin("http://b.test"));
    let greedy = all_that_come(&pool, &site, of("greedy")).await;
    assert_eq!(greedy.len(), 2);
    let elsewhere = queued(&pool, &other, of("greedy")).await;
    assert!(!elsewhere.is_finished());
    assert_eq!(all_that_come(&pool, &site, of("modest")).await.len(), 2);
    drop(greedy);
    // What rests at the one origin gives way to what the tenant wants at the other.
    elsewhere.await.unwrap().unwrap();
    whole(&pool, &net).await;
    assert_eq!(net.over_limit(), 0);
}

#[tokio::test(start_paused = true)]
async fn tenants_share_the_limits_of_the_origin_and_of_the_pool() {
    let settings = each(3, config(4, 4));
    let (pool, net, _) = Net::h1().watching(&settings).pool(settings);
    let site = origin(SITE);
    let one = all_that_come(&pool, &site, of("one")).await;
    let two = all_that_come(&pool, &site, of("two")).await;
    assert_eq!((one.len(), two.len()), (3, 1));
    let third = queued(&pool, &site, of("three")).await;
    assert!(!third.is_finished());
    // An idle socket of another tenant is closed for it, never handed over.
    drop(two);
    assert_eq!(third.await.unwrap().unwrap().connection_id(), 5);
    drop(one);
    whole(&pool, &net).await;
    assert_eq!((net.over_limit(), pool.snapshot().closed["evicted"]), (0, 1));
}

#[tokio::test(start_paused = true)]
async fn a_busy_tenant_gives_way_to_one_that_has_no_socket() {
    let settings = config(2, 2);
    let (pool, net, _) = Net::h1().watching(&settings).pool(settings);
    let busy: Vec<_> = (0..8)
        .map(|_| {
            let pool = pool.clone();
            tokio::spawn(async move {
                for _ in 0..20 {
                    let lease = pool.checkout(&origin(SITE), of("busy")).await.unwrap();
                    exchange(lease, "/slow").await.unwrap();
                }
            })
        })
        .collect();
    settle().await;
    let limit = std::time::Duration::from_millis(100);
    for _ in 0..5 {
        let lease =
            pool.checkout(&origin(SITE), Checkout { queue_timeout: limit, ..of("quiet") }).await.unwrap();
        exchange(lease, "/slow").await.unwrap();
    }
    for task in busy {
        task.await.unwrap();
    }
    whole(&pool, &net).await;
}

#[tokio::test(start_paused = true)]
async fn tenants_and_origins_that_rest_are_forgotten() {
    let (pool, net, _) = Net::h1().pool(config(50, 50));
    for n in 0..20 {
        drop(pool.checkout(&origin(&format!("http://{}.test", n % 4)), of(&format!("t{n}"))).await.unwrap());
    }
    let origins = pool.snapshot().origins;
    assert_eq!(origins.len(), 20);
    assert!(origins.iter().all(|origin| origin.tenant.as_deref().is_some_and(|name| name.starts_with('t'))));
    tokio::time::sleep(pool.config().idle_timeout * 3).await;
    until("forgotten", || pool.snapshot().origins.is_empty() && net.open() == 0).await;
    drop(pool.checkout(&origin(SITE), of("t1")).await.unwrap());
    assert_eq!(pool.snapshot().origins.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn the_number_of_tenants_is_bounded_and_idle_ones_make_room() {
    let settings = Config { max_tenants: 2.try_into().unwrap(), ..config(9, 9) };
    let (pool, _net, _) = Net::h1().pool(settings);
    let site = origin(SITE);
    let held = pool.checkout(&site, of("a")).await.unwrap();
    let other = pool.checkout(&site, of("b")).await.unwrap();
    let refused = pool.checkout(&site, of("c")).await.unwrap_err();
    assert_eq!(
        (refused.kind(), refused.to_string().as_str()),
        (Kind::TooManyTenants(2), "2 tenants have calls or sockets already")
    );
    // The calls of nobody in particular are no tenant's.
    drop(lease(&pool, &site).await);
    let sent = exchange(other, "/close").await;
    assert!(sent.is_ok());
    // They are not looked for with each refusal, but soon.
    tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    drop(pool.checkout(&site, of("c")).await.unwrap());
    drop(held);
}

#[tokio::test(start_paused = true)]
async fn a_tenant_of_which_a_socket_rests_makes_room_for_another_soon() {
    for net in [Net::h1(), Net::h2(10)] {
        let settings = Config { max_tenants: 3.try_into().unwrap(), ..config(9, 9) };
        let (pool, net, _tasks) = net.pool(settings);
        let site = origin("https://a.test");
        let ask = |tenant| pool.checkout(&site, of(tenant));
        let refused = async |tenant| {
            assert_eq!(ask(tenant).await.unwrap_err().kind(), Kind::TooManyTenants(3), "{tenant}");
        };
        // The one of them with a call, and with sockets that rest beside it, keeps all it has.
        let (held, beside) = (ask("busy").await.unwrap(), ask("busy").await.unwrap());
        exchange(beside, "/").await.unwrap();
        for tenant in ["old", "new"] {
            exchange(ask(tenant).await.unwrap(), "/").await.unwrap();
            tokio::time::sleep(std::time::Duration::from_secs(1)).await;
        }
        refused("x").await;
        // No more than are needed go: the one that was not asked for for the longest time.
        until("gone", || pool.snapshot().origins.iter().filter(|o| o.idle + o.active == 0).count() == 1)
            .await;
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        let x = ask("x").await.unwrap();
        let tenants = |pool: &Pool| {
            let mut names: Vec<_> = pool.snapshot().origins.iter().filter_map(|o| o.tenant.clone()).collect();
            names.sort();
            names.join(" ")
        };
        assert_eq!(tenants(&pool), "busy new x");
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        refused("y").await;
        assert_eq!(pool.snapshot().queue.refused, 2);
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        let y = ask("y").await.unwrap();
        assert_eq!(tenants(&pool), "busy x y");
        // Where all have calls, nobody loses anything.
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        refused("z").await;
        assert_eq!((pool.snapshot().queue.refused, pool.snapshot().closed["evicted"]), (3, 2));
        drop((held, x, y));
        whole(&pool, &net).await;
    }
}
