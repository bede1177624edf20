//! Hosts of several addresses, over the real sockets of this machine. The times of RFC 8305 are tested beside the code, under
//! virtual time.

use std::future::Future;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;

use crate::support::*;
use tokio::net::TcpListener;
use trunkline::pool::{Config, Connect, Connector, Kind, Lookup, Protocol, Tasks};

const V4: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const V6: IpAddr = IpAddr::V6(Ipv6Addr::LOCALHOST);

/// A host of these addresses.
struct Fixed(Vec<IpAddr>);

impl Lookup for Fixed {
    fn lookup<'a>(
        &'a self,
        _: &'a str,
    ) -> Pin<Box<dyn Future<Output = io::Result<Vec<SocketAddr>>> + Send + 'a>> {
        let list = self.0.iter().map(|ip| SocketAddr::new(*ip, 0)).collect();
        Box::pin(std::future::ready(Ok(list)))
    }
}

fn host_of(addresses: &[IpAddr]) -> Connector {
    let tasks = Tasks::new(tokio::runtime::Handle::current());
    Connector::with_lookup(&Config::default(), &tasks, Arc::new(Fixed(addresses.to_vec())))
}

#[tokio::test]
async fn a_server_on_one_family_alone_is_reached_whichever_comes_first() {
    for served in [V4, V6] {
        let listener = TcpListener::bind((served, 0)).await.unwrap();
        let site = origin(&format!("http://a.test:{}", listener.local_addr().unwrap().port()));
        for order in [[V6, V4], [V4, V6]] {
            let connector = host_of(&order);
            let connected = connector.connect(&site).await.unwrap();
            assert_eq!(connected.protocol, Protocol::H1);
            let (_, peer) = listener.accept().await.unwrap();
            assert_eq!(peer.ip(), served);
        }
    }
}

#[tokio::test]
async fn where_both_families_are_served_the_first_address_is_used() {
    let four = TcpListener::bind((V4, 0)).await.unwrap();
    let port = four.local_addr().unwrap().port();
    let six = TcpListener::bind((V6, port)).await.unwrap();
    let site = origin(&format!("http://a.test:{port}"));
    for (order, listener) in [([V6, V4], &six), ([V4, V6], &four)] {
        let _connected = host_of(&order).connect(&site).await.unwrap();
        listener.accept().await.unwrap();
    }
}

#[tokio::test]
async fn a_host_that_refuses_on_all_its_addresses_is_one_error_that_says_how_many() {
    let closed = TcpListener::bind((V4, 0)).await.unwrap().local_addr().unwrap();
    let site = origin(&format!("http://a.test:{}", closed.port()));
    let error = host_of(&[V6, V4]).connect(&site).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Connect);
    let causes = error.causes().unwrap();
    assert!(causes.starts_with("none of 2 addresses, ") && causes.contains("refused"), "{causes}");
}

#[tokio::test]
async fn an_address_as_the_host_is_connected_to_without_a_lookup() {
    for ip in [V4, V6] {
        let listener = TcpListener::bind((ip, 0)).await.unwrap();
        let site = origin(&format!("http://{}", listener.local_addr().unwrap()));
        // A lookup would have no answer.
        host_of(&[]).connect(&site).await.unwrap();
    }
}
