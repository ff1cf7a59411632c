//! Conversion between the server's clock and this process's: no two replicas' clocks are ever compared.

use std::time::Duration;

use tokio::time::Instant;

use super::milliseconds;

/// Reading of the server's clock, taken at an unknown moment between sending a command and its reply.
#[derive(Debug, Clone, Copy)]
pub(super) struct ClockReading {
    /// Milliseconds since 1970 by the server's clock.
    pub(super) server: u64,
    /// Time here just before the command was sent.
    pub(super) asked: Instant,
    /// Time here just after the reply came.
    pub(super) replied: Instant,
}

impl ClockReading {
    /// Converts a moment here to the server's time, rather too early than too late, so that an answer
    /// stored with it never looks younger than it is.
    pub(super) fn server_time(&self, at: Instant) -> u64 {
        if at >= self.replied {
            self.server.saturating_add(milliseconds(at - self.replied))
        } else {
            // Rounded up, for an earlier time makes the answer older.
            self.server
                .saturating_sub(milliseconds(self.replied - at) + 1)
        }
    }

    /// Returns by how much a converted time may be too early.
    pub(super) fn uncertainty(&self) -> Duration {
        self.replied - self.asked
    }

    /// Converts a time of the server to a moment here, rather too early than too late. `None` for a time
    /// more than [`AHEAD`] in the future, as after the server's clock was set back, or before this process's
    /// clock began.
    pub(super) fn local_time(&self, server: u64) -> Option<Instant> {
        if server > self.server.saturating_add(AHEAD) {
            return None;
        }
        let age = Duration::from_millis(self.server.saturating_sub(server));
        self.asked.checked_sub(age)
    }
}

/// Tolerated difference between the clocks of two servers of one cluster, in milliseconds.
const AHEAD: u64 = 1000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_in_the_future_is_refused() {
        let now = Instant::now() + Duration::from_secs(1000);
        let reading = ClockReading {
            server: 5_000_000,
            asked: now,
            replied: now,
        };
        assert_eq!(reading.local_time(5_001_000), Some(now));
        assert_eq!(reading.local_time(5_001_001), None);
    }

    #[test]
    fn an_age_is_never_less_than_it_is_by_another_replicas_clock() {
        let began = Instant::now() + Duration::from_secs(1000);
        let millis = Duration::from_millis;
        // Two replicas whose clocks agree, so that the test knows better; commands take 10 ms, and the
        // server may look at its clock at any moment of them.
        for (first, second) in [(0, 0), (0, 10), (10, 0), (10, 10), (3, 7)] {
            let writer = ClockReading {
                server: 5_000_000 + first,
                asked: began,
                replied: began + millis(10),
            };
            for sent in [0_u64, 5, 10, 40] {
                let stored = writer.server_time(began + millis(sent));
                let reader = ClockReading {
                    server: 5_000_000 + 100 + second,
                    asked: began + millis(100),
                    replied: began + millis(110),
                };
                let read = reader.local_time(stored).unwrap();
                let truth = began + millis(sent);
                assert!(read <= truth, "{first} {second} {sent}");
                assert!(truth - read <= millis(21), "{first} {second} {sent}");
            }
        }
    }
}
