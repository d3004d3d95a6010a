//! Services and a store that are wrong, each in its own way, and schedules that show it.

use std::time::Duration;

use async_trait::async_trait;
use idempotency_core::moves::{self, Move};
use idempotency_core::{
    Acquired, Claim, Completion, Effect, Error, Fence, Guarantees, Held, IdempotencyStore, Key, Lock, Snapshot,
    StoreError, Watch,
};
use idempotency_testkit::ReferenceStore;
use idempotency_testkit::schedule::{EffectError, Event, Property, SimClock, Simulated, Then, Trace, World};
use proptest::strategy::Just;

/// Only shown, in the traces.
#[derive(Debug)]
#[allow(dead_code)]
pub(crate) enum Failed {
    Outside(EffectError),
    Core(Error),
}

impl From<EffectError> for Failed {
    fn from(error: EffectError) -> Self {
        Self::Outside(error)
    }
}

impl From<Error> for Failed {
    fn from(error: Error) -> Self {
        Self::Core(error)
    }
}

pub(crate) fn key(order: &str, amount: u32) -> Key {
    Key::payment("create", order).request(&amount).build().unwrap()
}

/// A payment; where it fails, the key is freed, though it may have been made.
pub(crate) async fn careless(world: World, amount: u32) -> Result<String, Failed> {
    let key = key("ord_42", amount);
    let effects = world.effects();
    let paid = world
        .idempotency()
        .call(&key)
        .effect_of(|_: &Failed| Effect::None)
        .run(|_| async {
            effects.record(&key).await?;
            Ok::<_, Failed>(format!("paid {amount}"))
        })
        .await?;
    Ok(paid.into_inner())
}

/// A payment as it should be.
pub(crate) async fn plain(world: World, amount: u32) -> Result<String, Failed> {
    let key = key("ord_42", amount);
    let effects = world.effects();
    let paid = world
        .idempotency()
        .execute_once(&key, async {
            effects.record(&key).await?;
            Ok::<_, Failed>(format!("paid {amount}"))
        })
        .await?;
    Ok(paid.into_inner())
}

/// Locks a key of its own for each amount, and pays for the same order.
pub(crate) async fn locks_another_key(world: World, amount: u32) -> Result<String, Failed> {
    let (locked, paid_for) = (key(&format!("amount_{amount}"), amount), key("ord_42", 1));
    let effects = world.effects();
    let paid = world
        .idempotency()
        .execute_once(&locked, async {
            effects.record(&paid_for).await?;
            Ok::<_, Failed>(format!("paid {amount}"))
        })
        .await?;
    Ok(paid.into_inner())
}

/// A store that looks whether a key is free, and then locks it, without holding on in between: it
/// tells everyone that comes that the key is theirs.
#[derive(Debug)]
struct LooksThenLocks(ReferenceStore<SimClock>);

#[async_trait]
impl IdempotencyStore for LooksThenLocks {
    async fn get(&self, key: &Key) -> Result<Option<Snapshot>, StoreError> {
        self.0.get(key).await
    }

    async fn acquire_lock(&self, key: &Key, claim: &Claim) -> Result<Acquired, StoreError> {
        let seen = self.0.record(key);
        tokio::task::yield_now().await;
        Ok(self
            .0
            .make(key, |_, now, next: Fence| -> Move<Acquired> { moves::acquire(seen.as_ref(), claim, now, next) }))
    }

    async fn extend_lock(&self, key: &Key, lock: &Lock, lease: Duration) -> Result<Held, StoreError> {
        self.0.extend_lock(key, lock, lease).await
    }

    async fn store_result(
        &self,
        key: &Key,
        lock: &Lock,
        result: &Completion,
        retention: Duration,
    ) -> Result<Held, StoreError> {
        self.0.store_result(key, lock, result, retention).await
    }

    async fn release_lock(&self, key: &Key, lock: &Lock, effect: Effect) -> Result<Held, StoreError> {
        self.0.release_lock(key, lock, effect).await
    }

    fn watch(&self, _: &Key) -> Watch {
        Watch::never()
    }

    async fn guarantees(&self) -> Result<Guarantees, StoreError> {
        Ok(Guarantees::none("looks, then locks"))
    }
}

/// The effect of the first attempt arrives when it is over, and the second has it again.
pub(crate) fn late_effect() -> Trace {
    let schedule = "begin 1, exchange 1a, lose 1b, exchange 1c, carry 1b, begin 2, exchange 2a, exchange 2b";
    Property::of(Just(1)).try_replay(&[1], schedule, careless).unwrap_err().trace
}

/// A crash, a lapse, a takeover; then the effect of the dead arrives.
pub(crate) fn crash_and_takeover() -> Trace {
    let schedule = "begin 1, exchange 1a, crash 1, lapse, begin 2, exchange 2a, exchange 2b, exchange 2c, carry 1b";
    Property::of(Just(1)).at_most_once().try_replay(&[1], schedule, plain).unwrap_err().trace
}

/// Two clients look, and both are told that they hold the key.
pub(crate) fn both_acquire() -> Trace {
    let schedule = "begin 1, carry 1a, begin 2, carry 2a, carry 1a, deliver 1a, carry 2a";
    let property = Property::of(Just(1)).on_store(|clock| Simulated::new(LooksThenLocks(ReferenceStore::new(clock))));
    property.try_replay(&[1], schedule, plain).unwrap_err().trace
}

/// Two requests with keys of their own, and one effect between them.
pub(crate) fn several_keys() -> Trace {
    let schedule = "begin 1, exchange 1a, begin 2, exchange 2a, exchange 2b, exchange 1b";
    Property::of(Just(1)).try_replay(&[1, 2], schedule, locks_another_key).unwrap_err().trace
}

/// Releases the key when it is dropped, though the effect may have been had.
pub(crate) async fn releases_when_dropped(world: World, amount: u32) -> Result<String, Failed> {
    struct Release(World, Key, Lock);
    impl Drop for Release {
        fn drop(&mut self) {
            let (store, key, lock) = (self.0.store(), self.1.clone(), self.2);
            tokio::spawn(async move { store.release_lock(&key, &lock, Effect::None).await });
        }
    }
    let key = key("ord_42", amount);
    let claim = Claim::new(key.fingerprint());
    if let Ok(Acquired::Acquired(grant)) = world.store().acquire_lock(&key, &claim).await {
        let release = Release(world.clone(), key.clone(), grant.lock);
        world.effects().record(&key).await?;
        drop(release);
    }
    Ok(format!("paid {amount}"))
}

/// A request is dropped, and its key freed, while its effect is on its way.
pub(crate) fn dropped_and_freed() -> Trace {
    let schedule = "begin 1, exchange 1a, drop 1, exchange 1c, carry 1b, begin 2, exchange 2a, exchange 2b";
    Property::of(Just(1)).try_replay(&[1], schedule, releases_when_dropped).unwrap_err().trace
}

/// Eight clients come at once, and three requests' worth of steps go by.
pub(crate) fn eight_clients() -> Trace {
    let begin = "begin 1, exchange 1a, begin 2, begin 3, begin 4, begin 5, begin 6, begin 7, begin 8";
    let waits = "exchange 2a, exchange 3a, carry 4a, exchange 5a, deliver 4a, exchange 6a, lose 7a, exchange 8a";
    let rest = "lose 1b, crash 7, exchange 1c, carry 1b";
    let schedule = format!("{begin}, {waits}, {rest}");
    Property::of(Just(1)).copies(12).try_replay(&[1], &schedule, careless).unwrap_err().trace
}

/// The answer of the first effect is lost, and the key freed.
pub(crate) fn lost_answer() -> Trace {
    let schedule = "begin 1, exchange 1a, carry 1b, lose 1b, exchange 1c, begin 2, exchange 2a, exchange 2b";
    Property::of(Just(1)).try_replay(&[1], schedule, careless).unwrap_err().trace
}

/// One pays, two are told that it does, one of them when its lease has run out.
pub(crate) fn three_clients() -> Trace {
    let schedule = "begin 1, exchange 1a, begin 2, exchange 2a, lapse, begin 3, exchange 3a, exchange 3b, exchange 1b";
    Property::of(Just(1)).at_most_once().try_replay(&[1], schedule, plain).unwrap_err().trace
}

/// Texts that are markup, or far too long, or leave their line.
pub(crate) fn markup_and_long_words() -> Trace {
    let mut trace = late_effect();
    let markup = "<b a=\"1\">&amp; ]]> <!-- '\u{1b}[31m\n</svg>";
    trace.requests[0] = markup.into();
    trace.requests[1] = "Request { order: \"ord_42\", ".repeat(20);
    for (number, step) in trace.steps.iter_mut().enumerate() {
        step.text = format!("{markup} {}", step.text);
        if let Some(moved) = &mut step.moved {
            moved.what = format!("{} {markup} {}", moved.what, "on and on ".repeat(number));
        }
        step.then.push((1, Then::Ended(Err(markup.repeat(3)))));
    }
    if let Some(broken) = &mut trace.broken {
        broken.what = format!("{}\n  {markup}\n{}", broken.what, "a_word_without_an_end".repeat(40));
    }
    trace
}

/// More steps than anyone wants to read: clients come and are told that one is at it.
pub(crate) fn forty_steps() -> Trace {
    let mut schedule = "begin 1, exchange 1a, lose 1b".to_owned();
    for client in 2..=17 {
        schedule += &format!(", begin {client}, exchange {client}a");
    }
    schedule += ", exchange 1c, carry 1b, begin 18, exchange 18a, exchange 18b";
    Property::of(Just(1)).copies(20).try_replay(&[1], &schedule, careless).unwrap_err().trace
}

/// One client is given the key while another holds it, and is told so at once.
pub(crate) fn told_wrongly() -> Trace {
    let schedule = "begin 1, carry 1a, begin 2, exchange 2a, carry 1a";
    let property = Property::of(Just(1)).on_store(|clock| Simulated::new(LooksThenLocks(ReferenceStore::new(clock))));
    let mut trace = property.try_replay(&[1], schedule, plain).unwrap_err().trace;
    // The rule is broken as the call arrives; here its answer is at its client in the same step.
    if let Some(step) = trace.steps.last_mut()
        && let Event::Carry(flight) = step.event
    {
        step.event = Event::Exchange(flight);
    }
    trace
}
