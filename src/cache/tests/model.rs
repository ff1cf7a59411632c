//! Random fetches, landings and writes, held against a model that fits on a card.

use proptest::prelude::*;
use tokio::sync::oneshot;

use super::*;

/// What the cache must do with one key.
#[derive(Debug, Default)]
struct Model {
    version: u32,
    stored: Option<u32>,
    current: Option<usize>,
}

impl Model {
    fn depart(&mut self, flight: usize) -> bool {
        let departs = self.current.is_none();
        self.current = self.current.or(Some(flight));
        departs
    }

    fn land(&mut self, flight: usize, carries: u32) {
        if self.current == Some(flight) {
            (self.stored, self.current) = (Some(carries), None);
        }
    }

    fn write(&mut self) {
        *self = Self {
            version: self.version + 1,
            ..Self::default()
        };
    }
}

/// A fetch that has read the origin and not landed yet.
struct Flying {
    number: usize,
    carries: u32,
    bring: oneshot::Sender<CachedAnswer>,
    waiter: FetchWaiter<&'static str>,
}

#[derive(Debug, Clone)]
enum Step {
    Fetch,
    Land(prop::sample::Index),
    Write,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => Just(Step::Fetch),
        3 => any::<prop::sample::Index>().prop_map(Step::Land),
        1 => Just(Step::Write),
    ]
}

fn version(cache: &TestCache) -> Option<u32> {
    match cache.look_up(&key("a"), Instant::now()) {
        LookupResult::Image(entry, _) => Some(
            String::from_utf8_lossy(&entry.body()[5..entry.body().len() - 1])
                .parse()
                .unwrap(),
        ),
        LookupResult::Negative(_) | LookupResult::Miss => None,
    }
}

async fn run(steps: Vec<Step>) {
    let (cache, mut model) = (cache(&Config::default()), Model::default());
    let mut flying: Vec<Flying> = Vec::new();
    for (number, step) in steps.into_iter().enumerate() {
        match step {
            Step::Fetch => {
                let (bring, brought) = oneshot::channel();
                let start = |_| async { brought.await.map_err(|_| "lost") };
                let fetch = cache.fetch(
                    &key("a"),
                    &LookupResult::Miss,
                    Priority::Miss,
                    || Ok(()),
                    start,
                );
                let idle = model.stored.is_none();
                match fetch {
                    Fetch::Started(waiter) => {
                        assert!(idle && model.depart(number));
                        flying.push(Flying {
                            number,
                            carries: model.version,
                            bring,
                            waiter,
                        });
                    }
                    Fetch::Joined(_) => assert!(!model.depart(number)),
                    Fetch::AlreadyCached(_) => assert!(!idle),
                    Fetch::RateLimited(_) => unreachable!("every start is admitted"),
                }
            }
            Step::Land(_) if flying.is_empty() => {}
            Step::Land(which) => {
                let Flying {
                    number,
                    carries,
                    bring,
                    waiter,
                } = flying.remove(which.index(flying.len()));
                bring.send(image(&format!("{{\"v\":{carries}}}"))).unwrap();
                assert!(result_of(waiter).await.unwrap().is_ok());
                model.land(number, carries);
            }
            Step::Write => {
                cache.invalidate(&key("a").image);
                model.write();
            }
        }
        assert_eq!(version(&cache), model.stored);
        assert!(model.stored.is_none_or(|stored| stored == model.version));
    }
}

proptest! {
    #[test]
    fn no_answer_is_older_than_the_last_write(steps in prop::collection::vec(step(), 0..40)) {
        tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(run(steps));
    }
}
