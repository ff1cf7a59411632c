//! Orders to forget, as they are written in the log, and which of them an image has been through.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use tokio::time::Instant;

use crate::api::ImageId;
use crate::cache::{Scope, Thoroughness};

/// A place in the log: a stream's entry id.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Position {
    pub(super) milliseconds: u64,
    pub(super) sequence: u64,
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.milliseconds, self.sequence)
    }
}

impl FromStr for Position {
    type Err = Unreadable;

    fn from_str(text: &str) -> Result<Self, Unreadable> {
        let (milliseconds, sequence) = text.split_once('-').ok_or(Unreadable)?;
        Ok(Self {
            milliseconds: milliseconds.parse().map_err(|_| Unreadable)?,
            sequence: sequence.parse().map_err(|_| Unreadable)?,
        })
    }
}

/// The log holds what this program does not write.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the log of orders holds something else")]
pub(super) struct Unreadable;

/// One entry of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    /// The replica that wrote it.
    pub(super) by: String,
    pub(super) order: Order,
}

/// What a log entry says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Order {
    /// The log begins.
    Begin,
    /// To forget.
    Forget(Scope, Thoroughness),
}

impl Entry {
    /// Its fields, as names and values in turn.
    pub(super) fn fields(&self) -> Vec<(&'static str, &str)> {
        let mut fields = vec![("by", self.by.as_str())];
        let Order::Forget(scope, how) = &self.order else {
            fields.push(("forget", "nothing"));
            return fields;
        };
        match scope {
            Scope::Image(image) => {
                fields.extend([("forget", "image"), ("name", image.as_str())]);
            }
            Scope::Workspace(id) => fields.extend([("forget", "workspace"), ("name", id)]),
            Scope::All => fields.push(("forget", "all")),
        }
        if *how == Thoroughness::Soft {
            fields.push(("how", "soft"));
        }
        fields
    }

    /// Reads one again.
    ///
    /// # Errors
    /// [`Unreadable`].
    pub(super) fn read(fields: &[(String, String)]) -> Result<Self, Unreadable> {
        let field = |wanted: &str| {
            let found = fields.iter().find(|(name, _)| name == wanted);
            found.map(|(_, value)| value.as_str())
        };
        let name = || field("name").ok_or(Unreadable);
        let scope = match field("forget").ok_or(Unreadable)? {
            "nothing" => None,
            "image" => Some(Scope::Image(
                ImageId::parse(name()?).map_err(|_| Unreadable)?,
            )),
            "workspace" => Some(Scope::Workspace(name()?.to_owned())),
            "all" => Some(Scope::All),
            _ => return Err(Unreadable),
        };
        let how = match field("how") {
            None => Thoroughness::Hard,
            Some("soft") => Thoroughness::Soft,
            Some(_) => return Err(Unreadable),
        };
        Ok(Self {
            by: field("by").ok_or(Unreadable)?.to_owned(),
            order: scope.map_or(Order::Begin, |scope| Order::Forget(scope, how)),
        })
    }
}

/// Orders of a workspace or of everything, by when they were given: what a value in the server must
/// be younger than. An order about one image removes its values instead.
#[derive(Debug, Default)]
pub(super) struct Horizon {
    /// The last entry that was read; nothing before the first.
    pub(super) read: Option<Position>,
    /// The last entry that this replica wrote: a fetch that begins after it has been through all before.
    pub(super) written: Position,
    /// Orders before this are unknown, or were about everything.
    all: Position,
    workspaces: HashMap<String, Position>,
}

/// More workspaces than are remembered one by one.
const MAX_WORKSPACES: usize = 1000;

impl Horizon {
    /// Knows nothing of what was ordered before this place.
    pub(super) fn begin(&mut self, at: Position) {
        self.all = self.all.max(at);
    }

    /// Remembers an order.
    pub(super) fn note(&mut self, at: Position, order: &Order) {
        match order {
            // What lies there may be from before the log began.
            Order::Begin | Order::Forget(Scope::All, _) => self.begin(at),
            Order::Forget(Scope::Workspace(id), _) => {
                if self.workspaces.len() >= MAX_WORKSPACES && !self.workspaces.contains_key(id) {
                    // As if all of them had been ordered: too much is fetched again, never too little.
                    self.workspaces.clear();
                    self.begin(at);
                }
                let last = self.workspaces.entry(id.clone()).or_default();
                *last = at.max(*last);
            }
            Order::Forget(Scope::Image(_), _) => {}
        }
    }

    /// The log does not go on: where this replica read and wrote says nothing about the one to come.
    pub(super) fn lose(&mut self) {
        self.read = None;
        self.written = Position::default();
    }

    /// The log was read to its end, and lacks what this replica wrote last.
    pub(super) fn misses_own(&self) -> bool {
        self.read.is_some_and(|read| read < self.written)
    }

    /// Where a fetch is that begins now; `None` before anything was read.
    pub(super) fn now(&self) -> Option<Position> {
        self.read.map(|read| read.max(self.written))
    }

    /// Whether nothing was ordered that a value is about whose fetch began when the log was here.
    pub(super) fn admits(&self, at: Position, workspace: Option<&str>) -> bool {
        let ordered = workspace.and_then(|id| self.workspaces.get(id));
        at >= self.all && ordered.is_none_or(|ordered| at >= *ordered)
    }
}

/// Orders that the server has not been told yet: bounded, and then one to forget all.
#[derive(Debug, Default)]
pub(super) struct Unheard {
    orders: Vec<Untold>,
    given: u64,
    /// Orders that a server took lately: one that is lost may take them with it.
    told: VecDeque<(Instant, Scope, Thoroughness)>,
}

/// An order, and which: the same order may be given again while it is being told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Untold {
    pub(super) scope: Scope,
    pub(super) how: Thoroughness,
    number: u64,
}

/// More orders than are kept one by one.
const MAX_UNHEARD: usize = 1000;
/// For so long an order that was taken is kept: longer than a fail-over goes unnoticed.
const KEPT: Duration = Duration::from_secs(60);

impl Unheard {
    /// Keeps an order for later.
    pub(super) fn push(&mut self, scope: Scope, how: Thoroughness) {
        self.given += 1;
        self.orders
            .retain(|kept| (&kept.scope, kept.how) != (&scope, how));
        let (scope, how) = if self.orders.len() >= MAX_UNHEARD {
            self.orders.clear();
            (Scope::All, Thoroughness::Hard)
        } else {
            (scope, how)
        };
        let number = self.given;
        self.orders.push(Untold { scope, how, number });
    }

    /// Remembers an order that a server has just taken.
    pub(super) fn taken(&mut self, scope: Scope, how: Thoroughness, now: Instant) {
        let is_old = |at: Instant| now.saturating_duration_since(at) > KEPT;
        self.told
            .retain(|(at, told, manner)| !is_old(*at) && (told, *manner) != (&scope, how));
        // One more than are kept one by one, which then become an order to forget all.
        if self.told.len() > MAX_UNHEARD {
            self.told.pop_front();
        }
        self.told.push_back((now, scope, how));
    }

    /// Orders that were taken lately are to be told once more: the server that took them is lost.
    pub(super) fn tell_again(&mut self, now: Instant) {
        for (at, scope, how) in std::mem::take(&mut self.told) {
            if now.saturating_duration_since(at) <= KEPT {
                self.push(scope, how);
            }
        }
    }

    /// The oldest.
    pub(super) fn first(&self) -> Option<Untold> {
        self.orders.first().cloned()
    }

    /// Drops one that has been heard.
    pub(super) fn heard(&mut self, order: &Untold) {
        self.orders.retain(|kept| kept != order);
    }

    /// How many there are.
    pub(super) const fn len(&self) -> usize {
        self.orders.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(milliseconds: u64) -> Position {
        Position {
            milliseconds,
            sequence: 0,
        }
    }

    fn workspace(id: &str) -> Order {
        Order::Forget(Scope::Workspace(id.to_owned()), Thoroughness::Hard)
    }

    #[test]
    fn an_entry_reads_as_it_was_written() {
        let image = ImageId::parse("image-1").unwrap();
        for order in [
            Order::Begin,
            workspace("15945"),
            Order::Forget(Scope::Image(image), Thoroughness::Soft),
            Order::Forget(Scope::All, Thoroughness::Hard),
        ] {
            let by = "replica".to_owned();
            let entry = Entry { by, order };
            let fields = entry.fields().into_iter();
            let fields: Vec<_> = fields
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .collect();
            assert_eq!(Entry::read(&fields), Ok(entry));
        }
    }

    #[test]
    fn what_is_no_entry_is_refused() {
        for fields in [
            &[][..],
            &[("by", "a")],
            &[("by", "a"), ("forget", "image")],
            &[("by", "a"), ("forget", "image"), ("name", "a/b")],
            &[("by", "a"), ("forget", "world")],
            &[("by", "a"), ("forget", "all"), ("how", "perhaps")],
            &[("forget", "all")],
        ] {
            let fields: Vec<_> = fields
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect();
            assert_eq!(Entry::read(&fields), Err(Unreadable));
        }
    }

    #[test]
    fn positions_are_ordered_as_the_server_orders_them() {
        let place = |text: &str| text.parse::<Position>();
        assert!(place("9-5").unwrap() < place("10-0").unwrap());
        assert!(place("9-5").unwrap() < place("9-10").unwrap());
        assert_eq!(place("9-5").unwrap().to_string(), "9-5");
        assert_eq!(place("9"), Err(Unreadable));
    }

    #[test]
    fn a_value_from_before_an_order_is_not_taken() {
        let mut horizon = Horizon::default();
        horizon.begin(at(10));
        horizon.note(at(20), &workspace("a"));
        assert!(!horizon.admits(at(9), None));
        assert!(horizon.admits(at(15), Some("b")) && !horizon.admits(at(15), Some("a")));
        assert!(horizon.admits(at(20), Some("a")));
        horizon.note(at(30), &Order::Forget(Scope::All, Thoroughness::Soft));
        assert!(!horizon.admits(at(29), Some("b")) && horizon.admits(at(30), Some("b")));
    }

    #[test]
    fn too_many_workspaces_count_as_all_of_them() {
        let mut horizon = Horizon::default();
        for number in 0..=MAX_WORKSPACES as u64 {
            horizon.note(at(number), &workspace(&number.to_string()));
        }
        assert!(!horizon.admits(at(999), Some("0")));
        assert!(horizon.admits(at(1000), Some("0")));
    }

    #[test]
    fn too_many_orders_become_one_about_everything() {
        let mut unheard = Unheard::default();
        for number in 0..=MAX_UNHEARD {
            unheard.push(Scope::Workspace(number.to_string()), Thoroughness::Hard);
        }
        let first = unheard.first().unwrap();
        assert_eq!((&first.scope, first.how), (&Scope::All, Thoroughness::Hard));
        unheard.heard(&first);
        assert_eq!(unheard.len(), 0);
    }

    #[test]
    fn an_order_that_is_given_again_while_it_is_told_is_told_again() {
        let mut unheard = Unheard::default();
        let image = || Scope::Image(ImageId::parse("image-1").unwrap());
        unheard.push(image(), Thoroughness::Hard);
        let told = unheard.first().unwrap();
        unheard.push(image(), Thoroughness::Hard);
        unheard.heard(&told);
        assert_eq!(unheard.len(), 1);
        let again = unheard.first().unwrap();
        unheard.heard(&again);
        assert_eq!(unheard.len(), 0);
    }

    #[test]
    fn what_a_lost_server_took_lately_is_told_again_once() {
        let mut unheard = Unheard::default();
        let begun = Instant::now();
        let later = |seconds| begun + Duration::from_secs(seconds);
        let workspace = |id: &str| Scope::Workspace(id.to_owned());
        unheard.taken(workspace("old"), Thoroughness::Hard, begun);
        unheard.taken(workspace("new"), Thoroughness::Soft, later(30));
        unheard.tell_again(later(61));
        let told = unheard.first().unwrap();
        assert_eq!(
            (&told.scope, told.how),
            (&workspace("new"), Thoroughness::Soft)
        );
        assert_eq!(unheard.len(), 1);
        unheard.heard(&told);
        unheard.tell_again(later(61));
        assert_eq!(unheard.len(), 0);
    }

    #[test]
    fn more_than_can_be_remembered_is_told_again_as_everything() {
        let mut unheard = Unheard::default();
        let now = Instant::now();
        for number in 0..3 * MAX_UNHEARD {
            unheard.taken(
                Scope::Workspace(number.to_string()),
                Thoroughness::Hard,
                now,
            );
        }
        assert!(unheard.told.len() <= MAX_UNHEARD + 1);
        unheard.tell_again(now);
        assert_eq!(unheard.first().unwrap().scope, Scope::All);
    }

    #[test]
    fn an_own_order_that_is_not_in_the_log_is_missed() {
        let mut horizon = Horizon::default();
        assert!(!horizon.misses_own());
        (horizon.read, horizon.written) = (Some(at(20)), at(20));
        assert!(!horizon.misses_own());
        horizon.read = Some(at(19));
        assert!(horizon.misses_own());
        horizon.lose();
        assert_eq!((horizon.now(), horizon.misses_own()), (None, false));
    }
}
