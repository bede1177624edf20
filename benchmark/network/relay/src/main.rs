//! Runs a command as if its servers were far away: `wan --round-trip 40 --loss 1 -- COMMAND`.
//!
//! The command has a network of its own (a namespace), in which servers that listen on 127.0.0.1 are also reachable at 10.66.0.2, and by
//! the name `localhost`, through a TUN device. What is sent there comes here packet by packet, and goes back into the system after half a
//! round trip, or is lost. So everything that TCP does by itself takes the time that it takes in a wide area: handshakes, slow start,
//! acknowledgements, retransmissions, ends. The network of the machine is untouched, and this one has no way out.
//!
//! | file | |
//! |---|---|
//! | `options.rs` | the command line |
//! | `path.rs` | when a packet arrives, and whether it does |
//! | `packet.rs` | the addresses in it |
//! | `stage.rs` | the namespace and its device: what is asked of the system |
//! | `relay.rs` | packets from the device and back to it |
//!
//! Needs Linux, `/dev/net/tun`, and the right to make a network namespace: as root, or where users may make namespaces. Whatever of it is
//! denied is said, with the exit code 125; otherwise the exit code is the command's.

mod options;
#[cfg_attr(not(target_os = "linux"), allow(dead_code, reason = "there is nothing to relay from"))]
mod packet;
#[cfg_attr(not(target_os = "linux"), allow(dead_code, reason = "there is nothing to relay from"))]
mod path;
#[cfg(target_os = "linux")]
mod relay;
#[cfg(target_os = "linux")]
mod stage;

use std::io::Write;
use std::process::ExitCode;

use options::Options;

/// That of `env` and its like, when they cannot start a command.
const CANNOT: u8 = 125;

fn main() -> ExitCode {
    let ran = Options::parse(std::env::args().skip(1)).and_then(|options| run(&options));
    ran.unwrap_or_else(|why| {
        // Where nobody can read it, the exit code is left.
        let _ = writeln!(std::io::stderr(), "wan: {why}");
        ExitCode::from(CANNOT)
    })
}

#[cfg(target_os = "linux")]
fn run(options: &Options) -> Result<ExitCode, String> {
    let tun = stage::enter()?;
    relay::run(options, &tun)
}

#[cfg(not(target_os = "linux"))]
fn run(_: &Options) -> Result<ExitCode, String> {
    Err("network namespaces are Linux's".to_owned())
}
