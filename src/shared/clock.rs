//! The server's clock beside this process's: no two replicas' clocks are ever compared.

use std::time::Duration;

use tokio::time::Instant;

/// What the server's clock showed at some moment of a command.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reading {
    /// In milliseconds since 1970.
    pub(super) server: u64,
    /// When the command was sent.
    pub(super) asked: Instant,
    /// When its reply came.
    pub(super) replied: Instant,
}

impl Reading {
    /// The server's time of a moment here, rather too early than too late: what is stored with it is
    /// never younger than it is.
    pub(super) fn server_time(&self, at: Instant) -> u64 {
        if at >= self.replied {
            self.server.saturating_add(whole(at - self.replied))
        } else {
            // Rounded up.
            self.server.saturating_sub(whole(self.replied - at) + 1)
        }
    }

    /// The moment here of a time of the server's, rather too early than too late.
    pub(super) fn local_time(&self, server: u64) -> Instant {
        let age = Duration::from_millis(self.server.saturating_sub(server));
        self.asked.checked_sub(age).unwrap_or(self.asked)
    }
}

fn whole(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_age_is_never_less_than_it_is_by_another_replicas_clock() {
        let began = Instant::now() + Duration::from_secs(1000);
        let millis = Duration::from_millis;
        // Two replicas whose clocks agree, so that the test knows better; commands take 10 ms, and the
        // server may look at its clock at any moment of them.
        for (first, second) in [(0, 0), (0, 10), (10, 0), (10, 10), (3, 7)] {
            let writer = Reading {
                server: 5_000_000 + first,
                asked: began,
                replied: began + millis(10),
            };
            for sent in [0_u64, 5, 10, 40] {
                let stored = writer.server_time(began + millis(sent));
                let reader = Reading {
                    server: 5_000_000 + 100 + second,
                    asked: began + millis(100),
                    replied: began + millis(110),
                };
                let read = reader.local_time(stored);
                let truth = began + millis(sent);
                assert!(read <= truth, "{first} {second} {sent}");
                assert!(truth - read <= millis(21), "{first} {second} {sent}");
            }
        }
    }
}
