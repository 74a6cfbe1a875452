//! How many logins happen at once, for each server that they go through.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::Target;

/// The server that limits the logins to a target: the first that they go through.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Server {
    /// What leads to the target, in the words of the inventory. A jump host that only the operator's `ssh_config` names is not seen.
    Gateway(String),
    /// The sshd of the target itself.
    Direct { host: String, port: u16 },
}

impl Server {
    fn of(target: &Target) -> Self {
        let way = target.arguments.way();
        // Of two equal keywords, the first counts for ssh.
        let first = |keyword: &str| way.iter().find(|(known, _)| known == keyword).map(|(_, value)| *value);
        // Of `ProxyJump` and `ProxyCommand`, too. With `none`, ssh goes straight to the target.
        let gateway = way.iter().find(|(keyword, _)| keyword.starts_with("proxy")).map(|(_, value)| *value);
        match gateway.filter(|way| !way.eq_ignore_ascii_case("none")) {
            Some(way) => Self::Gateway(way.to_owned()),
            None => Self::Direct {
                host: first("hostname").unwrap_or(&target.host).to_ascii_lowercase(),
                port: target.port.or_else(|| first("port")?.parse().ok()).unwrap_or(22),
            },
        }
    }
}

/// Gives turns to logins. An sshd starts to drop connections beyond ten that have not logged in (`MaxStartups 10:30:100`), but it knows of its own
/// only: a host that does not answer keeps none waiting that are reached by another way.
#[derive(Debug)]
pub(super) struct Slots {
    /// How many logins through one server happen at once.
    each: usize,
    servers: Mutex<HashMap<Server, Arc<Semaphore>>>,
}

impl Slots {
    pub(super) fn new(each: usize) -> Self {
        Self { each: each.max(1), servers: Mutex::default() }
    }

    /// Waits for the turn of a login to this target, which ends when the permit is dropped.
    pub(super) async fn turn(&self, target: &Target) -> Option<OwnedSemaphorePermit> {
        let slots = {
            let mut servers = self.servers.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(servers.entry(Server::of(target)).or_insert_with(|| Arc::new(Semaphore::new(self.each))))
        };
        // The semaphore is never closed.
        slots.acquire_owned().await.ok()
    }
}

/// How long a host has waited for others: that time is not its own.
#[derive(Debug, Default)]
pub struct Waits(Mutex<Waited>);

#[derive(Debug, Default)]
struct Waited {
    before: Duration,
    since: Option<Instant>,
}

impl Waits {
    /// Counts the time until `wait` is over. Where it is given up before, the host waits to its end.
    pub(super) async fn during<T>(&self, wait: impl Future<Output = T>) -> T {
        self.waited().since = Some(Instant::now());
        let done = wait.await;
        let mut waited = self.waited();
        waited.before = waited.total();
        waited.since = None;
        done
    }

    /// Returns the time so far.
    #[must_use]
    pub fn total(&self) -> Duration {
        self.waited().total()
    }

    fn waited(&self) -> MutexGuard<'_, Waited> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Waited {
    fn total(&self) -> Duration {
        self.before + self.since.map_or(Duration::ZERO, |since| since.elapsed())
    }
}

/// The place of a host among those that are worked on at once.
#[derive(Debug, Clone, Copy)]
pub(super) struct Fork<'a> {
    /// The permits of all hosts.
    pub(super) forks: &'a Arc<Semaphore>,
    /// How long this one waits.
    pub(super) waits: &'a Waits,
}

/// A permit to work on a host that another host may use meanwhile. Dropping this takes it back, too, as soon as one is free.
#[derive(Debug)]
pub(super) struct Lent(Option<Arc<Semaphore>>);

impl Lent {
    pub(super) fn new(forks: &Arc<Semaphore>) -> Self {
        forks.add_permits(1);
        Self(Some(Arc::clone(forks)))
    }

    /// Waits until the permit is free.
    pub(super) async fn back(mut self) {
        if let Some(forks) = &self.0
            && let Ok(permit) = forks.acquire().await
        {
            permit.forget();
        }
        self.0 = None;
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        let Some(forks) = self.0.take() else { return };
        // The holder has failed, and frees its own permit next.
        tokio::spawn(async move {
            if let Ok(permit) = forks.acquire().await {
                permit.forget();
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use std::{
        future::Future as _,
        net::TcpListener,
        pin::pin,
        task::{Context, Waker},
        time::Duration,
    };

    use tokio::task::JoinSet;

    use super::*;
    use crate::transport::{Frame, Lock, SshArguments, Transport};

    fn target(host: &str, arguments: &str) -> Target {
        Target { arguments: SshArguments::parse(arguments).unwrap(), ..Target::new("n", host) }
    }

    fn server(host: &str, arguments: &str) -> String {
        match Server::of(&target(host, arguments)) {
            Server::Gateway(way) => format!("by {way}"),
            Server::Direct { host, port } => format!("{host} {port}"),
        }
    }

    #[test]
    fn the_first_server_on_the_way_limits_the_logins() {
        assert_eq!(server("DB1", ""), "db1 22");
        assert_eq!(server("db1", "-p 23 -o HostName=198.18.0.9 -o hostname=ignored"), "198.18.0.9 23");
        assert_eq!(
            Server::of(&Target { port: Some(24), ..target("db1", "-p 23") }),
            Server::Direct { host: "db1".into(), port: 24 }
        );
        assert_eq!(server("db1", "-J bastion"), "by bastion");
        assert_eq!(server("db2", "-o ProxyJump=bastion -o ProxyCommand=other"), "by bastion");
        assert_eq!(server("db1", "-o 'ProxyCommand=nc %h %p'"), "by nc %h %p");
        assert_eq!(server("db1", "-o ProxyJump=none -J bastion"), "db1 22");
    }

    #[tokio::test]
    async fn logins_through_one_server_take_turns_and_others_do_not_wait_for_them() {
        let slots = Slots::new(2);
        let (one, other) = (target("db1", "-J bastion"), target("db2", "-J bastion"));
        let held = (slots.turn(&one).await, slots.turn(&other).await);
        let mut third = pin!(slots.turn(&one));
        let mut poll = || third.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        assert!(poll().is_pending());
        assert!(slots.turn(&target("db1", "")).await.is_some());
        drop(held);
        assert!(poll().is_ready());
    }

    #[tokio::test]
    async fn the_wait_for_a_turn_is_counted_and_what_follows_is_not() {
        let base = tempfile::tempdir_in("/tmp").unwrap();
        let transport = Transport::new(1, Arc::default()).with_control_base(base.path()).sharing(Arc::new(Semaphore::new(1)));
        let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let target = Target { port: Some(closed), ..target("127.0.0.1", "-F none") };
        let (held, waits) = (transport.slots.turn(&target).await, Waits::default());
        let mut progress = |_: &str| {};
        let mut connecting = pin!(transport.connect_in_fork(&target, Lock::Observe, Frame::default(), &mut progress, &waits));
        let (known, begun) = (Duration::from_millis(50), Instant::now());
        while waits.total() < known {
            assert!(begun.elapsed() < Duration::from_secs(10), "the wait is not counted");
            assert!(tokio::time::timeout(Duration::from_millis(5), &mut connecting).await.is_err());
        }
        drop(held);
        assert!(connecting.await.is_err());
        let total = waits.total();
        assert!(total >= known && total == waits.total(), "{total:?}");
        // Of a wait that was given up, all that follows counts.
        let given_up = tokio::time::timeout(Duration::ZERO, waits.during(std::future::pending::<()>())).await;
        assert!(given_up.is_err() && waits.total() != total);
    }

    /// Listeners accept into the kernel's queue and say nothing.
    #[tokio::test]
    async fn hosts_that_say_nothing_keep_no_other_waiting() {
        let base = tempfile::tempdir_in("/tmp").unwrap();
        let transport = Arc::new(Transport::new(2, Arc::default()).with_control_base(base.path()));
        let listeners: Vec<TcpListener> = (0..8).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
        let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let ports = listeners.iter().map(|listener| listener.local_addr().unwrap().port()).chain([closed]);
        let mut ends = JoinSet::new();
        for port in ports {
            let (transport, known_hosts) = (Arc::clone(&transport), Some(base.path().join("known_hosts")));
            let connect_timeout = Duration::from_secs(5);
            let target = Target { port: Some(port), connect_timeout, known_hosts, ..target("127.0.0.1", "-F none") };
            ends.spawn(async move {
                let end = transport.connect(&target, Lock::Observe, Frame::default(), &mut |_| {}).await;
                (port, end.map(drop).unwrap_err().to_string())
            });
        }
        // The one that answers does so long before the others give up.
        let (port, error) = ends.join_next().await.unwrap().unwrap();
        assert_eq!(port, closed, "{error}");
        assert!(error.contains("refuses"), "{error}");
    }
}
