//! Random changes of images, walks, fetches and invalidations against an honest origin that remembers all it ever said.

use std::collections::BTreeMap;

use proptest::prelude::*;
use tokio::sync::oneshot;

use super::*;
use crate::cache::FetchWaiter;

/// The origin: for each image its versions, with the time from which each was current; `None` for none.
#[derive(Default)]
struct Origin {
    history: BTreeMap<String, Vec<(Instant, Option<u32>)>>,
    last_version: u32,
}

impl Origin {
    fn set(&mut self, image: &str, version: Option<u32>) {
        self.history
            .entry(image.to_owned())
            .or_default()
            .push((Instant::now(), version));
    }

    fn change(&mut self, image: &str) {
        self.last_version += 1;
        self.set(image, Some(self.last_version));
    }

    fn now(&self, image: &str) -> Option<u32> {
        self.history.get(image)?.last()?.1
    }

    /// Returns whether this was the state of the image at some time from `since` on.
    fn was(&self, image: &str, version: Option<u32>, since: Instant) -> bool {
        let history = self.history.get(image).map_or(&[][..], Vec::as_slice);
        let ends = history
            .iter()
            .skip(1)
            .map(|(from, _)| Some(*from))
            .chain([None]);
        let before = (version.is_none() && history.first().is_none_or(|(from, _)| *from > since))
            .then_some(());
        let holds = |((_, state), end): (&(Instant, Option<u32>), Option<Instant>)| {
            *state == version && end.is_none_or(|end| end >= since)
        };
        before.is_some() || history.iter().zip(ends).any(holds)
    }

    fn listed(&self) -> Vec<(String, u32)> {
        let current = self
            .history
            .keys()
            .map(|image| (image.clone(), self.now(image)));
        current
            .filter_map(|(image, version)| Some((image, version?)))
            .collect()
    }
}

/// A GetImage under way.
struct Flying {
    image: String,
    sent: Instant,
    /// The origin's answer, if it was made when the call was sent and not when it ends.
    made: Option<Option<u32>>,
    bring: oneshot::Sender<CachedAnswer>,
    waiter: FetchWaiter<&'static str>,
}

/// A page under way.
struct Page {
    asked: Instant,
    made: Option<Vec<(String, u32)>>,
}

struct Model {
    cache: Arc<TestCache>,
    origin: Origin,
    flying: Vec<Flying>,
    page: Option<Page>,
    walk: u64,
    walk_began: Instant,
    walked: usize,
    /// For each image, the time at which the last page was asked for that showed it and was not overtaken.
    shown: BTreeMap<String, Instant>,
}

#[derive(Debug, Clone)]
enum Step {
    Pass(u64),
    Change(usize),
    Remove(usize),
    Fetch(usize, bool),
    Land(prop::sample::Index),
    Ask(bool),
    Receive,
    Write(usize),
    Soft(usize),
}

const IMAGES: [&str; 5] = ["a", "b", "c", "d", "e"];
const PAGE: usize = 2;

fn step() -> impl Strategy<Value = Step> {
    let image = 0..IMAGES.len();
    prop_oneof![
        4 => (1u64..20_000).prop_map(Step::Pass),
        3 => image.clone().prop_map(Step::Change),
        1 => image.clone().prop_map(Step::Remove),
        4 => (image.clone(), any::<bool>()).prop_map(|(image, early)| Step::Fetch(image, early)),
        4 => any::<prop::sample::Index>().prop_map(Step::Land),
        5 => any::<bool>().prop_map(Step::Ask),
        5 => Just(Step::Receive),
        1 => image.clone().prop_map(Step::Write),
        1 => image.prop_map(Step::Soft),
    ]
}

impl Model {
    fn new() -> Self {
        let mut origin = Origin::default();
        IMAGES.iter().take(4).for_each(|image| origin.change(image));
        Self {
            cache: cache(|_| {}),
            origin,
            flying: Vec::new(),
            page: None,
            walk: 0,
            walk_began: Instant::now(),
            walked: 0,
            shown: BTreeMap::new(),
        }
    }

    async fn take(&mut self, step: Step) {
        match step {
            Step::Pass(millis) => advance(Duration::from_millis(millis)).await,
            Step::Change(image) => self.origin.change(IMAGES[image]),
            Step::Remove(image) => self.origin.set(IMAGES[image], None),
            Step::Fetch(image, early) => self.fetch(IMAGES[image], early),
            Step::Land(_) if self.flying.is_empty() => {}
            Step::Land(which) => self.land(which.index(self.flying.len())).await,
            Step::Ask(early) => self.ask(early),
            Step::Receive => self.receive(),
            Step::Write(image) => {
                // The write itself, which its gateway passed on.
                self.origin.change(IMAGES[image]);
                self.cache.invalidate(&key(IMAGES[image]).image);
            }
            Step::Soft(image) => {
                let image = PurgeTarget::Image(key(IMAGES[image]).image);
                self.cache.purge(&image, PurgeMode::Soft);
            }
        }
        // Two things never happen at the same instant.
        advance(Duration::from_millis(1)).await;
        for stale in self.cache.entries_to_fetch() {
            self.fetch(stale.image.as_str(), true);
        }
    }

    fn fetch(&mut self, image: &str, early: bool) {
        let (bring, brought) = oneshot::channel();
        let start = |_| async { brought.await.map_err(|_| "lost") };
        let (key, sent) = (key(image), Instant::now());
        let seen = self.cache.look_up(&key, sent);
        if let Fetch::Started(waiter) =
            self.cache
                .fetch(&key, &seen, Priority::Miss, || Ok(()), start)
        {
            let made = early.then(|| self.origin.now(image));
            self.flying.push(Flying {
                image: image.to_owned(),
                sent,
                made,
                bring,
                waiter,
            });
        }
    }

    async fn land(&mut self, which: usize) {
        let Flying {
            image,
            sent,
            made,
            bring,
            waiter,
        } = self.flying.remove(which);
        let brought = match made.unwrap_or_else(|| self.origin.now(&image)) {
            Some(version) => answer(&image, version, sent),
            None => denial(sent),
        };
        bring.send(brought).unwrap();
        let deadline = Instant::now() + Duration::from_secs(60);
        assert!(waiter.wait_until(|_| deadline).await.unwrap().is_ok());
    }

    fn ask(&mut self, early: bool) {
        if self.page.is_some() {
            return;
        }
        if self.walked == 0 {
            (self.walk, self.walk_began) = (self.cache.begin_walk(), Instant::now());
        }
        let made = early.then(|| self.origin.listed());
        self.page = Some(Page {
            asked: Instant::now(),
            made,
        });
    }

    fn receive(&mut self) {
        let Some(Page { asked, made }) = self.page.take() else {
            return;
        };
        let listed = made.unwrap_or_else(|| self.origin.listed());
        let on_page: Vec<_> = listed.iter().skip(self.walked).take(PAGE).collect();
        let items: Vec<_> = on_page
            .iter()
            .map(|(image, version)| item(image, *version))
            .collect();
        apply(&self.cache, self.walk, asked, &items);
        for (image, _) in &on_page {
            self.shown.insert(image.clone(), asked);
        }
        self.walked += on_page.len();
        if on_page.len() < PAGE {
            let end = WalkEnd {
                scope: 0,
                verbose: false,
                walk: self.walk,
                started: self.walk_began,
                pages: 1,
                // Some images may have been missed, which must do no harm.
                is_steady: true,
            };
            self.cache.end_walk(end, Instant::now());
            self.walked = 0;
        }
    }

    /// Holds every image in memory against the origin's history.
    fn check(&self) {
        assert_eq!(
            self.cache.catalogue_status().unwrap().mismatches,
            0,
            "the origin is honest"
        );
        for image in IMAGES {
            let now = Instant::now();
            match self.cache.look_up(&key(image), now) {
                LookupResult::Image(entry, freshness) => {
                    let version = version(&entry);
                    assert!(
                        self.origin
                            .was(image, Some(version), now - Duration::from_secs(1_000_000)),
                        "never said"
                    );
                    let shown = self
                        .shown
                        .get(image)
                        .filter(|_| freshness == Freshness::Fresh);
                    if let Some(asked) = shown {
                        assert!(
                            self.origin.was(image, Some(version), *asked),
                            "{image} v{version} from before its page"
                        );
                    }
                    // Neither a ttl of an image that changed just now, nor a page, keeps it longer.
                    let oldest = now - Duration::from_secs(61);
                    assert!(
                        freshness != Freshness::Fresh
                            || self.origin.was(image, Some(version), oldest),
                        "{image} v{version} is old"
                    );
                }
                LookupResult::Negative(_) => {
                    let oldest = now - Policy::default().not_found.0;
                    assert!(self.origin.was(image, None, oldest), "{image} was there");
                }
                LookupResult::Miss => {}
            }
        }
    }

    /// Lets everything land, and walks twice with nothing else going on: every image is renewed, and nothing is fetched.
    async fn settle(&mut self) {
        while !self.flying.is_empty() {
            self.land(0).await;
        }
        for image in IMAGES {
            if let LookupResult::Negative(_) | LookupResult::Miss =
                self.cache.look_up(&key(image), Instant::now())
                && self.origin.now(image).is_some()
            {
                advance(Duration::from_secs(11)).await;
                self.fetch(image, true);
                if !self.flying.is_empty() {
                    self.land(0).await;
                }
            }
        }
        (self.page, self.walked) = (None, 0);
        // An answer that overlaps a page is fetched again, the next page binds it, and the one after that renews it.
        for _ in 0..5 {
            self.whole_walk().await;
            for stale in self.cache.entries_to_fetch() {
                self.fetch(stale.image.as_str(), true);
            }
            while !self.flying.is_empty() {
                self.land(0).await;
            }
        }
        let renewed = self.cache.metrics.catalogue.renewed.get();
        self.whole_walk().await;
        let listed = self.origin.listed();
        assert_eq!(
            self.cache.metrics.catalogue.renewed.get() - renewed,
            listed.len() as u64
        );
        assert!(self.cache.entries_to_fetch().is_empty());
        for (image, version) in listed {
            assert_eq!(held(&self.cache, &image), Some((version, FRESH)));
        }
    }

    async fn whole_walk(&mut self) {
        loop {
            self.ask(true);
            advance(MOMENT).await;
            self.receive();
            if self.walked == 0 {
                break;
            }
        }
        advance(Duration::from_secs(30)).await;
    }
}

async fn run(steps: Vec<Step>) {
    let mut model = Model::new();
    for step in steps {
        model.take(step).await;
        model.check();
    }
    model.settle().await;
    model.check();
}

proptest! {
    #[test]
    fn no_answer_is_older_than_the_page_that_showed_its_image(steps in prop::collection::vec(step(), 0..80)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(run(steps));
    }
}
