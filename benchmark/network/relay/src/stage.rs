//! The namespace and its device: what is asked of the system. The only `unsafe` code here: each block is one call, with memory of ours
//! that outlives it.

use std::ffi::{CStr, c_ulong};
use std::fs::{self, File, OpenOptions};
use std::io;
use std::net::Ipv4Addr;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command};
use std::time::Duration;

use crate::packet::{FAR, NEAR};

const DEVICE: &CStr = c"tun0";
const LOOPBACK: &CStr = c"lo";
/// Of the device, towards us. A burst of thousands of calls must not be dropped where no loss was asked for.
const QUEUE: i32 = 20_000;

/// Puts this process into a network of its own, which has loopback and the way to the far side. Returns the device; reading it never waits.
pub(crate) fn enter() -> Result<File, String> {
    separate().map_err(|error| format!("a network namespace is denied: {error}"))?;
    name_the_far_side()
        .map_err(|error| format!("/etc/hosts cannot be replaced in a mount namespace: {error}"))?;
    let tun = open_device().map_err(|error| format!("/dev/net/tun: {error}"))?;
    configure().map_err(|error| format!("the device cannot be configured: {error}"))?;
    set("conf/tun0/route_localnet", "1")
        .map_err(|error| format!("packets for 127.0.0.1 are not let in: {error}"))?;
    // The rest may be as it is on this system.
    let _ = set("conf/all/rp_filter", "0").and_then(|()| set("conf/tun0/rp_filter", "0"));
    let _ = set("ip_local_port_range", "10000 65000");
    // What most servers have. BBR hardly notices loss; a namespace may choose only among what the machine allows.
    let _ = set("tcp_congestion_control", "cubic").or_else(|_| set("tcp_congestion_control", "reno"));
    Ok(tun)
}

/// The name of what decides how fast TCP sends.
pub(crate) fn congestion_control() -> String {
    let name = fs::read_to_string("/proc/sys/net/ipv4/tcp_congestion_control").unwrap_or_default();
    name.trim().to_owned()
}

/// Packets that the device dropped before they were ours.
pub(crate) fn dropped() -> u64 {
    // "  tun0: 8 numbers of what came in, 8 of what went out", each bytes, packets, errs, drop, …
    let table = fs::read_to_string("/proc/self/net/dev").unwrap_or_default();
    let row = table.lines().find_map(|line| line.trim().strip_prefix("tun0:"));
    row.and_then(|row| row.split_whitespace().nth(11)?.parse().ok()).unwrap_or(0)
}

/// Starts a command that ends when we do, however that comes.
pub(crate) fn start(command: &[String]) -> Result<Child, String> {
    let (program, arguments) = command.split_first().ok_or("there is no command")?;
    let mut command = Command::new(program);
    command.args(arguments);
    // SAFETY: between fork and exec only what is safe there: one system call.
    unsafe {
        command.pre_exec(|| asked(libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL)).map(drop));
    }
    let child = command.spawn().map_err(|error| format!("{program}: {error}"))?;
    // A network takes no turns with those who use it. Where that is not allowed, it does.
    // SAFETY: numbers alone.
    unsafe {
        libc::setpriority(libc::PRIO_PROCESS, 0, -10);
        libc::prctl(libc::PR_SET_TIMERSLACK, 1);
    }
    Ok(child)
}

/// Waits until the device has a packet, or for so long at most.
pub(crate) fn wait(tun: &File, limit: Duration) {
    let mut fds = [libc::pollfd { fd: tun.as_raw_fd(), events: libc::POLLIN, revents: 0 }];
    let limit = libc::timespec {
        tv_sec: limit.as_secs().try_into().unwrap_or(libc::time_t::MAX),
        tv_nsec: limit.subsec_nanos().into(),
    };
    // SAFETY: one descriptor and a time. An interruption ends the wait, which may always be too short.
    unsafe { libc::ppoll(fds.as_mut_ptr(), 1, &raw const limit, std::ptr::null()) };
}

/// As root, or else as the same user in a namespace of users.
fn separate() -> io::Result<()> {
    // SAFETY: numbers alone.
    let unshare = |flags| asked(unsafe { libc::unshare(flags) });
    let net_and_mounts = libc::CLONE_NEWNET | libc::CLONE_NEWNS;
    if unshare(net_and_mounts).is_ok() {
        return Ok(());
    }
    // SAFETY: these take nothing, and never fail.
    let (user, group) = unsafe { (libc::geteuid(), libc::getegid()) };
    unshare(libc::CLONE_NEWUSER | net_and_mounts)?;
    fs::write("/proc/self/setgroups", "deny")?;
    fs::write("/proc/self/uid_map", format!("{user} {user} 1"))?;
    fs::write("/proc/self/gid_map", format!("{group} {group} 1"))
}

/// `localhost` is the far side: the stand-in's certificate is for that name.
fn name_the_far_side() -> io::Result<()> {
    let mount = |from: &CStr, to: &CStr, flags: c_ulong| {
        // SAFETY: strings that end, and no data.
        asked(unsafe { libc::mount(from.as_ptr(), to.as_ptr(), std::ptr::null(), flags, std::ptr::null()) })
    };
    mount(c"none", c"/", libc::MS_REC | libc::MS_PRIVATE)?;
    let path = std::env::temp_dir().join(format!("trunkline-wan-hosts-{}", std::process::id()));
    fs::write(&path, format!("{FAR} localhost\n127.0.0.1 near\n"))?;
    let file = std::ffi::CString::new(path.as_os_str().as_encoded_bytes())?;
    let mounted = mount(&file, c"/etc/hosts", libc::MS_BIND);
    // What is mounted stays.
    fs::remove_file(&path)?;
    mounted.map(drop)
}

fn open_device() -> io::Result<File> {
    let tun = OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(libc::O_NONBLOCK | libc::O_CLOEXEC)
        .open("/dev/net/tun")?;
    let mut request = request(DEVICE);
    request.ifr_ifru.ifru_flags = (libc::IFF_TUN | libc::IFF_NO_PI) as i16;
    ioctl(&tun, libc::TUNSETIFF as c_ulong, &mut request)?;
    Ok(tun)
}

fn configure() -> io::Result<()> {
    // SAFETY: numbers alone; the descriptor is new, and nobody else's.
    let socket = unsafe {
        OwnedFd::from_raw_fd(asked(libc::socket(libc::AF_INET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0))?)
    };
    let configured = |device: &CStr, what: c_ulong, value: libc::__c_anonymous_ifr_ifru| {
        let mut request = request(device);
        request.ifr_ifru = value;
        ioctl(&socket, what, &mut request)
    };
    let up = libc::__c_anonymous_ifr_ifru { ifru_flags: (libc::IFF_UP | libc::IFF_RUNNING) as i16 };
    let address = |ip| libc::__c_anonymous_ifr_ifru { ifru_addr: address(ip) };
    configured(LOOPBACK, libc::SIOCSIFFLAGS, up)?;
    configured(DEVICE, libc::SIOCSIFADDR, address(NEAR))?;
    configured(DEVICE, libc::SIOCSIFNETMASK, address(Ipv4Addr::new(255, 255, 255, 252)))?;
    configured(DEVICE, libc::SIOCSIFTXQLEN, libc::__c_anonymous_ifr_ifru { ifru_ifindex: QUEUE })?;
    configured(DEVICE, libc::SIOCSIFFLAGS, up)
}

fn request(device: &CStr) -> libc::ifreq {
    // SAFETY: all zeros are a request without a name.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(device.to_bytes()) {
        *to = from.cast_signed() as libc::c_char;
    }
    request
}

fn address(ip: Ipv4Addr) -> libc::sockaddr {
    // SAFETY: all zeros are an address.
    let mut address: libc::sockaddr = unsafe { std::mem::zeroed() };
    address.sa_family = libc::AF_INET as libc::sa_family_t;
    // Behind the port.
    for (to, from) in address.sa_data[2..].iter_mut().zip(ip.octets()) {
        *to = from.cast_signed() as libc::c_char;
    }
    address
}

fn ioctl(of: &impl AsRawFd, what: c_ulong, request: &mut libc::ifreq) -> io::Result<()> {
    // SAFETY: every request that is asked here takes an `ifreq`.
    asked(unsafe { libc::ioctl(of.as_raw_fd(), what as _, std::ptr::from_mut(request)) }).map(drop)
}

fn set(name: &str, value: &str) -> io::Result<()> {
    fs::write(format!("/proc/sys/net/ipv4/{name}"), value)
}

fn asked(result: i32) -> io::Result<i32> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}
