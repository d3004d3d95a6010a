//! What is sent in a run, and who handles it.

use std::fmt::Debug;

use super::plan::{Handling, Plan};
use super::run::{Ended, run};
use super::source::Source;
use super::world::World;

/// What is sent in a run, and who handles it.
pub(super) struct Sent<'a, F> {
    pub(super) copies: usize,
    pub(super) service: &'a F,
}

impl<F> Sent<'_, F> {
    pub(super) fn run<R, Fut, T, E>(&self, plan: &Plan, requests: &[R], source: &mut dyn Source, tell: bool) -> Ended
    where
        R: Clone + Debug,
        F: Fn(World, R) -> Fut,
        Fut: Future<Output = Result<T, E>> + 'static,
        T: Debug,
        E: Debug,
    {
        let clients = requests.len() * (self.copies + 1);
        assert!(
            clients <= usize::from(u8::MAX),
            "{} requests, each sent {} times and once more, are {clients} clients; a run has 255 at most",
            requests.len(),
            self.copies
        );
        // Copies of different requests come by turns; the last ones come last.
        let request = |client: usize| &requests[client % requests.len()];
        let handle = |world: World, client: usize| -> Handling {
            let handling = (self.service)(world, request(client).clone());
            Box::pin(async move {
                match handling.await {
                    Ok(value) => Ok(format!("{value:?}")),
                    Err(error) => Err(format!("{error:?}")),
                }
            })
        };
        let told = tell.then(|| (0..clients).map(|client| format!("{:?}", request(client))).collect());
        run(plan, clients, requests.len(), &handle, source, told)
    }
}
