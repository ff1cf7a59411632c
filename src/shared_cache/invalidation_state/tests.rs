//! One replica against a simulated server that may lose its log, and against a model in ten lines.

use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::cache::{PurgeMode, PurgeTarget};
use crate::shared_cache::log::MalformedRecord;

const REPLICA: &str = "this";
/// Records of a page of the simulated server: few, so that the log has several pages.
const PAGE: usize = 3;

/// Workspaces stand for cached entries: one entry each.
fn invalidation(workspace: u8) -> Invalidation {
    Invalidation {
        target: PurgeTarget::Workspace(workspace.to_string()),
        mode: PurgeMode::Hard,
    }
}

const fn id(milliseconds: u64) -> StreamId {
    StreamId {
        milliseconds,
        sequence: 0,
    }
}

/// The model: which entries are fresh after the log has been read, and which stored values may be used.
#[derive(Default)]
struct Model {
    fresh: Vec<u8>,
    flushes: Vec<(StreamId, Option<u8>)>,
    last: Option<StreamId>,
}

impl Model {
    fn catch_up(&mut self, log: &[(StreamId, LogRecord)]) {
        let known = log.iter().position(|(at, _)| Some(*at) == self.last);
        match known {
            None => self.fresh.clear(),
            Some(known) => self.fresh.retain(|entry| {
                let mut unread = log[known + 1..].iter();
                !unread.any(|(_, record)| record.writer != REPLICA && hits(record, *entry))
            }),
        }
        self.last = log.last().map(|(at, _)| *at);
        for (at, record) in log {
            self.flushes.push((*at, workspace_of(record)));
        }
    }

    fn admits(&self, at: StreamId, entry: u8) -> bool {
        let mut flushes = self.flushes.iter();
        flushes.all(|(flush, of)| *flush <= at || of.is_some_and(|of| of != entry))
    }
}

fn workspace_of(record: &LogRecord) -> Option<u8> {
    match &record.event {
        LogEvent::Invalidate(Invalidation {
            target: PurgeTarget::Workspace(id),
            ..
        }) => id.parse().ok(),
        _ => None,
    }
}

fn hits(record: &LogRecord, entry: u8) -> bool {
    workspace_of(record) == Some(entry)
}

/// The replica's memory, the server's log, and the task between them.
struct Simulation {
    state: InvalidationState,
    log: Vec<(StreamId, LogRecord)>,
    entries: Vec<(u8, Instant)>,
    stale_before: Option<Instant>,
    journal: Vec<Invalidation>,
    own: Vec<Invalidation>,
    start: Instant,
    milliseconds: u64,
}

impl Simulation {
    fn new() -> Self {
        Self {
            state: InvalidationState::new(REPLICA),
            log: Vec::new(),
            entries: Vec::new(),
            stale_before: None,
            journal: Vec::new(),
            own: Vec::new(),
            start: Instant::now(),
            milliseconds: 0,
        }
    }

    /// Every step takes a millisecond.
    fn tick(&mut self) -> Instant {
        self.milliseconds += 1;
        self.start + Duration::from_millis(self.milliseconds)
    }

    fn append(&mut self, writer: &str, event: LogEvent) -> StreamId {
        self.tick();
        let (at, writer) = (id(self.milliseconds), writer.to_owned());
        self.log.push((at, LogRecord { writer, event }));
        at
    }

    fn order(&mut self, invalidation: Invalidation) {
        if self.state.is_connected {
            let at = self.append(REPLICA, LogEvent::Invalidate(invalidation.clone()));
            let now = self.tick();
            self.apply(Event::Appended {
                at,
                invalidation,
                now,
            });
        } else {
            self.apply(Event::AppendFailed(invalidation));
        }
    }

    /// Returns whether another page is to be read.
    fn apply(&mut self, event: Event) -> bool {
        let mut reads_on = false;
        for effect in self.state.apply(event) {
            match effect {
                Effect::MarkStaleBefore(time) => self.stale_before = time,
                Effect::Purge(invalidation) => {
                    let PurgeTarget::Workspace(workspace) = &invalidation.target else {
                        panic!("only workspaces are invalidated here")
                    };
                    self.entries
                        .retain(|(entry, _)| entry.to_string() != *workspace);
                }
                Effect::ConfirmApplied(at) => reads_on |= self.apply(Event::Applied(at)),
                Effect::Journal(invalidation) => self.journal.push(invalidation),
                Effect::StartLog(_) => {
                    self.append(REPLICA, LogEvent::LogStart);
                    self.apply(Event::LogStarted);
                    reads_on = true;
                }
                Effect::ReadNextPage => reads_on = true,
                Effect::ReportGap | Effect::ReportMalformed(_) | Effect::ApplyWalk(_) => {}
            }
        }
        reads_on
    }

    fn catch_up(&mut self) {
        let now = self.tick();
        self.apply(Event::CatchUpStarted { now });
        for _ in 0..1000 {
            let from = self.state.applied().unwrap_or_default();
            let rest = self.log.iter().filter(|(at, _)| *at >= from);
            let records = rest.take(PAGE).cloned();
            let records: Vec<_> = records.map(|(at, record)| (at, Ok(record))).collect();
            let page = Page {
                is_last: records.len() < PAGE,
                records,
            };
            let now = self.tick();
            if !self.apply(Event::PageRead { page, now }) {
                return;
            }
        }
        panic!("the log has no end");
    }

    fn connect(&mut self) {
        self.catch_up();
        let now = self.tick();
        self.apply(Event::Resumed { now });
        self.state.is_connected = true;
        while let Some(pending) = self.state.next_pending() {
            self.order(pending.invalidation.clone());
            self.apply(Event::Delivered(pending));
        }
        self.apply(Event::Connected);
    }

    fn disconnect(&mut self) {
        let now = self.tick();
        self.apply(Event::Disconnected { now });
    }

    fn fresh(&self) -> Vec<u8> {
        let is_fresh = |sent| self.stale_before.is_none_or(|before| sent > before);
        let entries = self.entries.iter().filter(|(_, sent)| is_fresh(*sent));
        entries.map(|(entry, _)| *entry).collect()
    }
}

#[derive(Debug, Clone, Copy)]
enum Step {
    Fetch(u8),
    OtherInvalidates(u8),
    OwnInvalidates(u8),
    Read,
    /// The server's oldest records are dropped.
    Trim(usize),
    /// An older copy takes over: the newest records are gone.
    LoseNewest(usize),
    /// An empty server takes over.
    LoseAll,
    Disconnect,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0_u8..4).prop_map(Step::Fetch),
        4 => (0_u8..4).prop_map(Step::OtherInvalidates),
        2 => (0_u8..4).prop_map(Step::OwnInvalidates),
        4 => Just(Step::Read),
        1 => (1_usize..6).prop_map(Step::Trim),
        1 => (1_usize..4).prop_map(Step::LoseNewest),
        1 => Just(Step::LoseAll),
        1 => Just(Step::Disconnect),
    ]
}

fn play(simulation: &mut Simulation, model: &mut Model, step: Step) {
    match step {
        Step::Fetch(entry) => {
            let sent = simulation.tick();
            simulation.entries.retain(|(other, _)| *other != entry);
            simulation.entries.push((entry, sent));
            model.fresh.retain(|other| *other != entry);
            model.fresh.push(entry);
            // Whoever looks next sees an entry that is younger than every mark.
            simulation.tick();
        }
        Step::OtherInvalidates(entry) => {
            simulation.append("other", LogEvent::Invalidate(invalidation(entry)));
        }
        Step::OwnInvalidates(entry) => {
            simulation.order(invalidation(entry));
            simulation.own.push(invalidation(entry));
            simulation.entries.retain(|(other, _)| *other != entry);
            model.fresh.retain(|other| *other != entry);
        }
        Step::Read => {}
        Step::Trim(count) => {
            let count = count.min(simulation.log.len());
            simulation.log.drain(..count);
            simulation.own.clear();
        }
        Step::LoseNewest(count) => {
            let left = simulation.log.len().saturating_sub(count);
            simulation.log.truncate(left);
            simulation.disconnect();
        }
        Step::LoseAll => {
            simulation.log.clear();
            simulation.disconnect();
        }
        Step::Disconnect => simulation.disconnect(),
    }
}

proptest! {
    #[test]
    fn it_agrees_with_the_model(steps in prop::collection::vec(step(), 0..60)) {
        let (mut simulation, mut model) = (Simulation::new(), Model::default());
        for step in steps {
            let reads = matches!(step, Step::Read);
            play(&mut simulation, &mut model, step);
            if !reads {
                continue;
            }
            if !simulation.state.is_connected {
                simulation.connect();
            }
            simulation.catch_up();
            model.catch_up(&simulation.log);
            let mut fresh = simulation.fresh();
            fresh.sort_unstable();
            model.fresh.sort_unstable();
            prop_assert_eq!(&fresh, &model.fresh);
            for own in &simulation.own {
                let logged = |(_, record): &(_, LogRecord)| {
                    record.writer == REPLICA && record.event == LogEvent::Invalidate(own.clone())
                };
                prop_assert!(simulation.log.iter().any(logged), "{own:?} is in no log");
            }
            for at in 0..=simulation.milliseconds {
                for entry in 0..4 {
                    let admitted = simulation.state.admits(id(at), Some(&entry.to_string()));
                    prop_assert!(!admitted || model.admits(id(at), entry), "{at} {entry}");
                }
            }
        }
    }
}

fn read(
    state: &mut InvalidationState,
    records: Vec<(u64, Result<LogRecord, MalformedRecord>)>,
) -> Vec<Effect> {
    let records = records.into_iter().map(|(at, record)| (id(at), record));
    let page = Page {
        records: records.collect(),
        is_last: true,
    };
    let now = Instant::now();
    let effects = state.apply(Event::PageRead { page, now });
    for effect in &effects {
        if let Effect::ConfirmApplied(at) = effect {
            state.apply(Event::Applied(*at));
        }
    }
    effects
}

fn record(event: LogEvent) -> Result<LogRecord, MalformedRecord> {
    let writer = "other".to_owned();
    Ok(LogRecord { writer, event })
}

fn invalidate(workspace: u8) -> Result<LogRecord, MalformedRecord> {
    record(LogEvent::Invalidate(invalidation(workspace)))
}

#[test]
fn purges_come_before_the_position_is_confirmed_and_the_journal_after() {
    let mut state = InvalidationState::new(REPLICA);
    let history = read(
        &mut state,
        vec![(1, record(LogEvent::LogStart)), (2, invalidate(7))],
    );
    let expected = [
        Effect::Purge(invalidation(7)),
        Effect::ConfirmApplied(id(2)),
    ];
    assert_eq!(history, expected);
    let news = read(&mut state, vec![(2, invalidate(7)), (3, invalidate(8))]);
    let expected = [
        Effect::Purge(invalidation(8)),
        Effect::ConfirmApplied(id(3)),
        Effect::Journal(invalidation(8)),
    ];
    assert_eq!(news, expected);
}

#[test]
fn a_malformed_record_makes_all_entries_stale_and_all_stored_values_unusable() {
    let mut state = InvalidationState::new(REPLICA);
    read(&mut state, vec![(1, record(LogEvent::LogStart))]);
    assert!(state.admits(id(1), None));
    let effects = read(
        &mut state,
        vec![(1, record(LogEvent::LogStart)), (2, Err(MalformedRecord))],
    );
    assert!(matches!(
        effects[..],
        [
            Effect::ReportMalformed(_),
            Effect::MarkStaleBefore(Some(_)),
            Effect::ConfirmApplied(_)
        ]
    ));
    assert!(!state.admits(id(1), None) && state.admits(id(2), None));
}

#[test]
fn no_fetch_uses_the_shared_cache_while_an_own_invalidation_waits() {
    let mut state = InvalidationState::new(REPLICA);
    assert_eq!(state.position(), None);
    read(&mut state, vec![(1, record(LogEvent::LogStart))]);
    assert_eq!(state.position(), Some(id(1)));
    state.apply(Event::AppendFailed(invalidation(7)));
    assert_eq!(state.position(), None);
    let pending = state.next_pending().unwrap();
    state.apply(Event::Delivered(pending));
    assert_eq!(state.position(), Some(id(1)));
}
