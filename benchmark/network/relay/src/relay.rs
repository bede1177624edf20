//! Packets from the device and back to it.

use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::process::{Child, ExitCode, ExitStatus};
use std::sync::mpsc::{Receiver, TryRecvError, channel};
use std::time::{Duration, Instant};
use std::{fs, thread};

use crate::options::Options;
use crate::packet;
use crate::path::{Count, Path};
use crate::stage;

/// Of a packet that comes in one piece.
const ROOM: usize = 65_536;
/// Taken in at once, before those that are due go out.
const AT_ONCE: usize = 64;
/// How late the end of the command is seen.
const GLANCE: Duration = Duration::from_millis(20);

/// Runs the command, and is its network until it ends.
pub(crate) fn run(options: &Options, tun: &File) -> Result<ExitCode, String> {
    let ended = ending(stage::start(&options.command)?)?;
    let mut path = Path::new(options);
    let status = carry(tun, &mut path, &ended)?;
    if let Some(file) = &options.stats {
        fs::write(file, told(&path)).map_err(|error| format!("--stats: {error}"))?;
    }
    // What a signal has ended has no code of its own; shells say it so.
    Ok(ExitCode::from(status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(128)))
}

/// Tells of the end of a command.
fn ending(mut child: Child) -> Result<Receiver<ExitStatus>, String> {
    let (tell, ended) = channel();
    let wait = move || {
        if let Ok(status) = child.wait() {
            // Nobody listens who has gone.
            let _ = tell.send(status);
        }
    };
    thread::Builder::new().spawn(wait).map_err(|error| error.to_string())?;
    Ok(ended)
}

fn carry(mut tun: &File, path: &mut Path, ended: &Receiver<ExitStatus>) -> Result<ExitStatus, String> {
    let broke = |error: std::io::Error| format!("the device: {error}");
    let mut room = vec![0; ROOM];
    // Packets that have arrived leave their memory to others.
    let mut spare: Vec<Vec<u8>> = Vec::new();
    loop {
        match ended.try_recv() {
            Ok(status) => return Ok(status),
            Err(TryRecvError::Disconnected) => return Err("the command was lost".to_owned()),
            Err(TryRecvError::Empty) => {}
        }
        let until_next = path.next().map_or(GLANCE, |due| due.saturating_duration_since(Instant::now()));
        if !until_next.is_zero() {
            stage::wait(tun, until_next.min(GLANCE));
        }
        for _ in 0..AT_ONCE {
            let length = match tun.read(&mut room) {
                Ok(length) => length,
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => break,
                Err(error) => return Err(broke(error)),
            };
            let Some(way) = packet::cross(&mut room[..length]) else { continue };
            let mut packet = spare.pop().unwrap_or_default();
            packet.clear();
            packet.extend_from_slice(&room[..length]);
            spare.extend(path.send(way, packet, Instant::now()));
        }
        let now = Instant::now();
        while let Some(packet) = path.arrived(now) {
            match tun.write(&packet) {
                Ok(_) => {}
                // The system has no room: what becomes of a packet anywhere else then.
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
                Err(error) => return Err(broke(error)),
            }
            spare.push(packet);
        }
    }
}

fn told(path: &Path) -> String {
    let (there, back) = path.counts();
    let count = |Count { carried, lost }| format!(r#"{{"carried":{carried},"lost":{lost}}}"#);
    format!(
        "{{\"there\":{},\"back\":{},\"dropped\":{},\"congestionControl\":\"{}\"}}\n",
        count(there),
        count(back),
        stage::dropped(),
        stage::congestion_control(),
    )
}
