//! Commands drawn at random, guided by what those before them came to.

use idempotency_core::{Effect, Omitted, OnUnknown};
use proptest::prelude::{BoxedStrategy, Just, Strategy, any};
use proptest::prop_oneof;

use super::command::{Ask, Claiming, Command, Span, What, Which};
use super::state::State;

/// The next command to keys that stand like this.
pub(super) fn command(state: &State) -> BoxedStrategy<Command> {
    let keys = state.keys.len();
    let asked: Vec<usize> = (0..keys).filter(|key| !state.keys[*key].calls.is_empty()).collect();
    let held: Vec<usize> = (0..keys).filter(|key| !state.keys[*key].locks.is_empty()).collect();
    let ask = |keys: BoxedStrategy<usize>, ask: BoxedStrategy<Ask>| {
        (keys, ask, one_in(6)).prop_map(|(key, ask, lost)| Command::Ask { key, ask, lost }).boxed()
    };
    let mut all = vec![
        (8, ask((0..keys).boxed(), claiming().prop_map(Ask::Acquire).boxed())),
        (1, ask((0..keys).boxed(), (1..=4_u8).prop_flat_map(|owner| under(Just(Which::Never(owner)))).boxed())),
        (4, span().prop_map(Command::Pass).boxed()),
        (1, Just(Command::Purge).boxed()),
    ];
    if !held.is_empty() {
        let most = held.iter().map(|key| state.keys[*key].locks.len()).max().unwrap_or(1);
        // The latest lock mostly, since whatever else is shown is refused.
        let which = prop_oneof![4 => Just(0), 1 => 0..most].prop_map(Which::Granted);
        all.push((
            8,
            ask(proptest::sample::select(held).boxed(), which.prop_flat_map(|which| under(Just(which))).boxed()),
        ));
    }
    if !asked.is_empty() {
        let most = asked.iter().map(|key| state.keys[*key].calls.len()).max().unwrap_or(1);
        let which = prop_oneof![1 => Just(0), 2 => 0..most];
        all.push((3, ask(proptest::sample::select(asked).boxed(), which.prop_map(Ask::Again).boxed())));
    }
    if state.may_go_back() {
        all.push((1, span().prop_map(Command::Back).boxed()));
    }
    proptest::strategy::Union::new_weighted(all).boxed()
}

fn one_in(n: u32) -> impl Strategy<Value = bool> {
    (0..n).prop_map(move |drawn| drawn + 1 == n)
}

fn claiming() -> impl Strategy<Value = Claiming> {
    let policy = prop_oneof![
        6 => Just(OnUnknown::RunAgain),
        1 => Just(OnUnknown::Reconcile),
        1 => Just(OnUnknown::Refuse),
    ];
    let lease = prop_oneof![3 => Just(Span::Lease), 1 => Just(Span::ThirdOfALease)];
    let retention = prop_oneof![2 => Just(Span::Retention), 1 => Just(Span::ShortRetention)];
    let unknown = prop_oneof![3 => Just(Span::UnknownRetention), 1 => Just(Span::ShortRetention)];
    let kind = (one_in(4), one_in(8));
    (1..=4_u8, one_in(6), policy, kind, (lease, retention, unknown)).prop_map(
        |(owner, other_request, on_unknown, (confirms, settles), (lease, retention, unknown_retention))| Claiming {
            owner,
            other_request,
            on_unknown,
            confirms,
            settles,
            lease,
            retention,
            unknown_retention,
        },
    )
}

/// What is asked under a lock.
fn under(which: impl Strategy<Value = Which> + Clone + 'static) -> impl Strategy<Value = Ask> {
    let effect = prop_oneof![Just(Effect::None), Just(Effect::Unknown), Just(Effect::Settled)];
    let lease = prop_oneof![Just(Span::Lease), Just(Span::ThirdOfALease)];
    let retention = prop_oneof![2 => Just(Span::Retention), 1 => Just(Span::ShortRetention)];
    prop_oneof![
        2 => (which.clone(), lease).prop_map(|(which, lease)| Ask::Extend(which, lease)),
        2 => (which.clone(), what(), retention).prop_map(|(which, what, span)| Ask::Store(which, what, span)),
        3 => (which, effect).prop_map(|(which, effect)| Ask::Release(which, effect)),
    ]
}

fn what() -> impl Strategy<Value = What> {
    prop_oneof![
        4 => (0..64_u32).prop_map(What::Bytes),
        // Long enough to be kept in another way.
        1 => (4_000..70_000_u32).prop_map(What::Bytes),
        1 => any::<bool>().prop_map(|choice| {
            What::Nothing(if choice { Omitted::ByChoice } else { Omitted::TooLarge })
        }),
    ]
}

fn span() -> impl Strategy<Value = Span> {
    prop_oneof![
        2 => Just(Span::Moment),
        3 => Just(Span::ThirdOfALease),
        3 => Just(Span::Lease),
        2 => Just(Span::ShortRetention),
        1 => Just(Span::Retention),
        1 => Just(Span::UnknownRetention),
    ]
}
