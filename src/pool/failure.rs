//! Connects that fail, and connections that turn out to serve nobody: who learns of it.

use std::sync::Arc;

use tokio::time::Instant;

use super::info::Info;
use super::limit::LineId;
use super::state::{After, State};
use super::stats::CloseReason;
use super::{Error, Kind, Shared};

impl State {
    /// A connection was not made: those that waited for it learn why. Its right is still counted, and it counts as connecting.
    ///
    /// One connection is for one waiter where others live that can serve the rest, and also where the origin took connections until
    /// now: the next connect will tell whether it still does. Otherwise it was for all, in every line of the origin that has
    /// nothing else.
    pub(super) fn connect_failed(
        &mut self,
        shared: &Arc<Shared>,
        id: LineId,
        began: Instant,
        error: &Error,
        after: &mut After,
    ) {
        let Some((line, site)) = self.line_and_site_mut(id) else { return };
        let is_first = site.connect_failed(began, error) == 1 && site.protocol.is_some();
        let others = line.others(1);
        self.tell(id, others > 0 || is_first, error);
        // Who still waits stands in its place when the right is given back.
        self.reconsider(shared, id, after);
    }

    /// A connect came to no end at all: nobody waits for it any longer.
    pub(super) fn connect_abandoned(&mut self, id: LineId) {
        self.fail_all(id, &Error::new(Kind::Connect));
    }

    /// A connection whose server says that it takes no streams serves nobody. If it took some before, it is done, as after a GOAWAY.
    pub(super) fn takes_no_streams(&mut self, shared: &Arc<Shared>, info: &Info, after: &mut After) {
        let line = self.lines.get(info.line);
        if line.is_some_and(|line| line.shared.iter().any(|c| c.info.id == info.id && c.took_streams)) {
            info.close_with(CloseReason::Server);
            self.retire(shared, info, after);
            return;
        }
        self.take_out(info);
        info.close_with(CloseReason::Error);
        let error = Error::with(
            Kind::Connect,
            "the server takes no HTTP/2 streams (SETTINGS_MAX_CONCURRENT_STREAMS is 0)",
        )
        .at(shared.config.of(&info.origin).route.place_of(&info.origin));
        let Some((line, site)) = self.line_and_site_mut(info.line) else { return };
        site.connect_failed(Instant::now(), &error);
        let others = line.others(0);
        self.tell(info.line, others > 0, &error);
        self.reconsider(shared, info.line, after);
    }

    /// Tells one waiter, or all: in this line, and in those of its origin that have nothing else.
    fn tell(&mut self, id: LineId, only_one: bool, error: &Error) {
        let Some((line, site)) = self.line_and_site_mut(id) else { return };
        if only_one {
            line.fail(1, error);
            self.strike(id);
            return;
        }
        let waiting: Vec<LineId> = site.limit.hungry().collect();
        self.fail_all(id, error);
        for other in waiting {
            if self.lines.get(other).is_some_and(|line| line.sockets == 0) {
                self.fail_all(other, error);
            }
        }
    }

    fn fail_all(&mut self, id: LineId, error: &Error) {
        if let Some(line) = self.lines.get_mut(id) {
            line.fail(usize::MAX, error);
        }
        self.strike(id);
    }
}
