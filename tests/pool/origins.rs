//! Origins with settings of their own: these hold for them alone, and the totals hold for all.

use std::num::NonZeroUsize;
use std::time::Duration;

use crate::servers::*;
use crate::support::*;
use trunkline::pool::{
    Checkout, Config, Http2, Identity, Kind, Lane, Lanes, Lease, Pool, Protocol, TlsConfig,
};

const COMMON: &str = "http://common.test";
const OWN: &str = "http://own.test";
const SECOND: Duration = Duration::from_secs(1);

fn count(count: usize) -> NonZeroUsize {
    count.try_into().unwrap()
}

/// `common`, and of it what one origin has differently.
fn with_own(mut common: Config, change: impl FnOnce(&mut Config)) -> Config {
    let mut own = common.clone();
    change(&mut own);
    common.set_for(origin(OWN), own);
    common
}

/// Leases until there is none at once.
async fn all(pool: &Pool, url: &str, how: Checkout) -> Vec<Lease> {
    let mut leases = Vec::new();
    let how = Checkout { queue_timeout: SECOND, ..how };
    loop {
        match pool.checkout(&origin(url), how.clone()).await {
            Ok(lease) => leases.push(lease),
            Err(error) => {
                assert!(matches!(error.kind(), Kind::QueueTimeout(_)), "{error}");
                return leases;
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_origin_has_its_own_limit_of_sockets_and_the_total_holds_for_all() {
    let settings = with_own(config(5, 3), |own| {
        own.max_connections_per_origin = count(4);
        // Not looked at.
        own.max_connections = count(100);
    });
    let (pool, net, tasks) = Net::h1().pool(settings);
    let own = all(&pool, OWN, how()).await;
    let common = all(&pool, COMMON, how()).await;
    assert_eq!((own.len(), common.len()), (4, 1));
    drop((own, common));
    let common = all(&pool, COMMON, how()).await;
    let own = all(&pool, OWN, how()).await;
    assert_eq!((common.len(), own.len()), (3, 2));
    drop((common, own));
    assert_eq!(net.peak(), 5);
    nothing_left(pool, &net, &tasks).await;
}

#[tokio::test(start_paused = true)]
async fn an_origin_has_its_own_idle_timeout_and_age() {
    let settings = with_own(config(10, 10), |own| {
        own.idle_timeout = SECOND;
        own.max_age = 5 * SECOND;
    });
    let (pool, net, _) = Net::h1().pool(settings);
    for url in [COMMON, OWN] {
        get(&pool, &origin(url), "/").await.unwrap();
    }
    tokio::time::sleep(2 * SECOND).await;
    whole(&pool, &net).await;
    let now = pool.snapshot();
    let idle: Vec<_> = now.origins.iter().filter(|origin| origin.idle == 1).map(|o| &*o.origin).collect();
    assert_eq!((idle, now.closed["idle"]), (vec![COMMON], 1));
    // Used often enough to stay, but for its age.
    for _ in 0..12 {
        for url in [COMMON, OWN] {
            get(&pool, &origin(url), "/").await.unwrap();
        }
        tokio::time::sleep(SECOND / 2).await;
    }
    let now = pool.snapshot();
    let opened = |url: &str| now.origins.iter().filter(|o| *o.origin == *url).map(|o| o.opened).sum::<u64>();
    // The line that rested too long was forgotten, with what it counted.
    assert_eq!((opened(COMMON), opened(OWN), now.closed["age"]), (1, 2, 1));
}

#[tokio::test(start_paused = true)]
async fn an_origin_has_its_own_protocol_and_streams() {
    let settings = with_own(config(10, 10), |own| {
        own.http2 = Http2::PriorKnowledge;
        own.max_streams_per_connection = count(2);
    });
    let net = Net::new(|origin, _| if origin.to_string() == OWN { Plan::H2(100) } else { Plan::H1 });
    let (pool, net, tasks) = net.pool(settings);
    let mut leases = Vec::new();
    for _ in 0..5 {
        leases.push(lease(&pool, &origin(OWN)).await);
        leases.push(lease(&pool, &origin(COMMON)).await);
    }
    assert!(leases.iter().step_by(2).all(|lease| lease.protocol() == Protocol::H2));
    assert!(leases.iter().skip(1).step_by(2).all(|lease| lease.protocol() == Protocol::H1));
    // Five streams on three connections, and five sockets.
    assert_eq!(net.opened(), 8);
    drop(leases);
    nothing_left(pool, &net, &tasks).await;
}

#[tokio::test(start_paused = true)]
async fn an_origin_has_its_own_lanes() {
    let settings = with_own(config(10, 4), |own| {
        own.lanes = Some(Lanes { streaming: count(1), unary: count(3) });
    });
    let (pool, net, tasks) = Net::h1().pool(settings);
    let streaming = || Checkout { lane: Lane::Streaming, ..how() };
    let own = all(&pool, OWN, streaming()).await;
    let common = all(&pool, COMMON, streaming()).await;
    assert_eq!((own.len(), common.len()), (1, 4));
    let unary = all(&pool, OWN, how()).await;
    assert_eq!(unary.len(), 3);
    drop((own, common, unary));
    nothing_left(pool, &net, &tasks).await;
}

#[tokio::test]
async fn an_origin_has_its_own_roots_certificate_and_protocol() {
    let (common, own) = (Authority::new(), Authority::new());
    let leaf = own.leaf(&["client"]);
    let identity = Identity::of(&leaf.cert_pem, leaf.key.serialize_pem().into()).unwrap();
    let first = common.site().await;
    let second = Site::tls(Tls::of(&own.leaf(&["localhost"])).asking(&own, true)).await;
    let [first_at, second_at] = [&first, &second].map(|site| origin(&site.url("https", "localhost")));
    let made = |settings: Config| {
        Pool::new(settings, trunkline::pool::Tasks::new(tokio::runtime::Handle::current()))
    };

    // With the settings of all it is not trusted.
    let error = get(&made(common.config()), &second_at, "/").await.unwrap_err();
    assert!(matches!(error.kind(), Kind::Tls), "{error}");

    let mut settings = common.config();
    let tls = TlsConfig { identity: Some(identity), ..own.config().tls };
    settings.set_for(second_at.clone(), Config { http2: Http2::Never, tls, ..settings.clone() });
    let pool = made(settings);
    for (at, protocol) in [(&first_at, Protocol::H2), (&second_at, Protocol::H1)] {
        pool.prepare(at);
        let lease = lease(&pool, at).await;
        assert_eq!(lease.protocol(), protocol);
        assert_eq!(exchange(lease, "/").await.unwrap(), "ok");
    }
    assert_eq!((first.seen().pop().unwrap().known, second.seen().pop().unwrap().known), (false, true));
}

#[test]
fn settings_that_mean_the_same_are_equal() {
    let own = |change: fn(&mut Config)| with_own(config(5, 3), change);
    let total = own(|own| own.max_connections = count(9));
    assert_eq!(total, own(|own| own.max_idle_connections = 0));
    assert_ne!(total, own(|own| own.max_age = SECOND));
    let both = |urls: [&str; 2]| {
        let mut settings = config(5, 3);
        for url in urls {
            settings.set_for(origin(url), Config { http2: Http2::Never, ..config(5, 3) });
        }
        settings
    };
    assert_eq!(both([OWN, COMMON]), both([COMMON, OWN]));
    assert_eq!(both([OWN, COMMON]).own.len(), 2);
    assert_eq!(both([OWN, OWN]).own.len(), 1);
}
