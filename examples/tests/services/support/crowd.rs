//! Many clients at once: duplicates, some at the same time, some hang up, and the service is killed among them.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use idempotency_examples::client::{self, Ask, Reply};
use serde_json::Value;
use tokio::time::{sleep, timeout};

use super::Service;

/// How long the crowd asks again for what has had no answer.
const PATIENCE: Duration = Duration::from_secs(60);
/// The longest a client waits before it hangs up.
const HANGS_UP_WITHIN: Duration = Duration::from_millis(15);

/// What one request asks for; its duplicates ask for the same.
#[derive(Clone, Debug)]
pub(crate) struct Wish {
    pub(crate) path: String,
    pub(crate) headers: Vec<(&'static str, String)>,
    pub(crate) body: Value,
}

/// How many ask, and what befalls them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Crowd {
    /// Requests sent, duplicates included; what is asked again for want of an answer comes on top.
    pub(crate) requests: usize,
    /// Distinct wishes among them.
    pub(crate) wishes: usize,
    /// Clients at a time.
    pub(crate) clients: usize,
    /// One of so many requests is hung up on.
    pub(crate) hangs_up: usize,
    /// How often the service is killed.
    pub(crate) kills: usize,
    pub(crate) seed: u64,
}

impl Crowd {
    /// 5,000 requests for 2,000 wishes, one in eight hung up on, two kills.
    pub(crate) const WHOLE: Self = Self { requests: 5_000, wishes: 2_000, clients: 32, hangs_up: 8, kills: 2, seed: 7 };
}

/// What every wish was answered in the end.
#[derive(Debug, Default)]
pub(crate) struct Answers {
    /// By the wish's number: every final answer it got.
    pub(crate) of: BTreeMap<usize, Vec<Reply>>,
    /// Requests without an answer: hung up on, or the service was gone.
    pub(crate) lost: usize,
    /// Answers that say to come back.
    pub(crate) put_off: usize,
}

impl Crowd {
    /// Has them ask until each wish has a final answer.
    ///
    /// Panics if one has none for [`PATIENCE`].
    pub(crate) async fn ask(
        self,
        service: &mut Service,
        wish: impl Fn(usize) -> Wish + Send + Sync + 'static,
    ) -> Answers {
        let shared = Arc::new(Shared {
            crowd: self,
            to: service.address,
            wish: Box::new(wish),
            sent: AtomicUsize::new(0),
            answers: Mutex::default(),
        });
        let clients: Vec<_> = (0..self.clients).map(|client| tokio::spawn(shared.clone().client(client))).collect();
        for kill in 1..=self.kills {
            while shared.sent.load(SeqCst) < kill * self.requests / (self.kills + 1) {
                sleep(Duration::from_millis(1)).await;
            }
            service.kill_and_restart().await;
        }
        for client in clients {
            client.await.unwrap_or_else(|error| panic!("a client: {error}\n{}", tail(&service.log())));
        }
        let answers = shared.answers.lock().unwrap_or_else(PoisonError::into_inner);
        Answers { of: answers.of.clone(), ..*answers }
    }
}

impl Answers {
    /// Checks that duplicates had the same answer; `same` makes of a body what must be equal.
    #[track_caller]
    pub(crate) fn assert_each_the_same(&self, same: impl Fn(&Reply) -> Value) {
        for (wish, replies) in &self.of {
            let first = (replies[0].status, same(&replies[0]));
            for reply in replies {
                assert_eq!((reply.status, same(reply)), first, "wish {wish} had two answers");
            }
        }
    }

    /// How many answers said that they had been given before.
    pub(crate) fn replayed(&self) -> usize {
        self.of.values().flatten().filter(|reply| reply.header("idempotency-replayed") == Some("true")).count()
    }
}

struct Shared {
    crowd: Crowd,
    to: SocketAddr,
    wish: Box<dyn Fn(usize) -> Wish + Send + Sync>,
    sent: AtomicUsize,
    answers: Mutex<Answers>,
}

impl Shared {
    async fn client(self: Arc<Self>, client: usize) {
        let mut random = fastrand::Rng::with_seed(self.crowd.seed << 32 | client as u64);
        loop {
            let number = self.sent.fetch_add(1, SeqCst);
            if number >= self.crowd.requests {
                break;
            }
            // Near one another, so that duplicates meet.
            let near = number * self.crowd.wishes / self.crowd.requests + random.usize(..8);
            let hangs_up =
                (random.usize(..self.crowd.hangs_up) == 0).then(|| random.u64(..=HANGS_UP_WITHIN.as_micros() as u64));
            self.send(near % self.crowd.wishes, hangs_up.map(Duration::from_micros)).await;
        }
        // What has had no answer is asked for again, as a client would: the clients share them out.
        for wish in (client..self.crowd.wishes).step_by(self.crowd.clients) {
            let begun = Instant::now();
            while !self.is_answered(wish) {
                assert!(begun.elapsed() < PATIENCE, "no answer for wish {wish}: {:?}", (self.wish)(wish));
                if !self.send(wish, None).await {
                    sleep(Duration::from_millis(random.u64(20..60))).await;
                }
            }
        }
    }

    /// Sends one request; whether it had a final answer.
    async fn send(&self, wish: usize, hangs_up: Option<Duration>) -> bool {
        let Wish { path, headers, body } = (self.wish)(wish);
        let ask = headers
            .into_iter()
            .fold(client::post(self.to, &path, &body), |ask: Ask, (name, value)| ask.header(name, value));
        let answer = match hangs_up {
            Some(within) => timeout(within, ask.send()).await.ok().and_then(Result::ok),
            None => ask.send().await.ok(),
        };
        let mut answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        match answer {
            Some(reply) if puts_off(&reply) => answers.put_off += 1,
            Some(reply) => {
                answers.of.entry(wish).or_default().push(reply);
                return true;
            }
            None => answers.lost += 1,
        }
        false
    }

    fn is_answered(&self, wish: usize) -> bool {
        self.answers.lock().unwrap_or_else(PoisonError::into_inner).of.contains_key(&wish)
    }
}

/// Whether an answer says to ask again: it runs still, or something is out of order.
fn puts_off(reply: &Reply) -> bool {
    matches!(reply.status.as_u16(), 425 | 429 | 502..=504) || reply.header("retry-after").is_some()
}

fn tail(log: &str) -> String {
    let lines: Vec<_> = log.lines().rev().take(20).collect();
    lines.into_iter().rev().collect::<Vec<_>>().join("\n")
}
