//! A client's side of a call.

use std::pin::Pin;
use std::task::{Context, Poll};

use super::event::Flight;
use super::network::{Airborne, Cargo, Reply, Shared, Stage};
use crate::call::Call;

/// Sends a call on its way, and waits for its answer. A dead process's calls go nowhere.
pub(super) fn launch(net: &Shared, client: u8, cargo: Cargo) -> Flying {
    Flying { net: net.clone(), client, state: FlyingState::Grounded(cargo) }
}

/// A client's wait for an answer.
pub(super) struct Flying {
    net: Shared,
    client: u8,
    state: FlyingState,
}

enum FlyingState {
    Grounded(Cargo),
    Up(Flight),
    Over,
}

impl Future for Flying {
    type Output = Reply;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Reply> {
        let this = &mut *self;
        let mut net = this.net.lock();
        if net.is_dead(this.client) {
            return Poll::Pending;
        }
        let flight = match std::mem::replace(&mut this.state, FlyingState::Over) {
            FlyingState::Grounded(cargo) => {
                let flight = net.next_flight(this.client);
                if let Cargo::Store { call: Call::Acquire(claim), .. } = &cargo {
                    net.longest_lease = net.longest_lease.max(claim.lease);
                    net.referee.claimed(this.client, claim.owner);
                }
                if let Cargo::Effect { key, .. } = &cargo {
                    net.referee.effect_sent(flight, key);
                }
                let waker = Some(cx.waker().clone());
                net.airborne.push(Airborne { flight, cargo, stage: Stage::Sent, alone: false, waker });
                net.happened += 1;
                if let Some(waiting) = net.waiting.take() {
                    waiting.wake();
                }
                flight
            }
            FlyingState::Up(flight) => {
                // A late twin has the same number; the client's own half is the one that is not alone.
                let own = net.airborne.iter().position(|one| one.flight == flight && !one.alone);
                let Some(at) = own else { return Poll::Pending };
                match std::mem::replace(&mut net.airborne[at].stage, Stage::Moving) {
                    Stage::Delivered(reply) => {
                        net.airborne.remove(at);
                        return Poll::Ready(reply);
                    }
                    stage => {
                        net.airborne[at].stage = stage;
                        net.airborne[at].waker = Some(cx.waker().clone());
                    }
                }
                flight
            }
            FlyingState::Over => return Poll::Pending,
        };
        this.state = FlyingState::Up(flight);
        Poll::Pending
    }
}

/// Whoever waited has gone: the call itself goes on.
impl Drop for Flying {
    fn drop(&mut self) {
        let FlyingState::Up(flight) = self.state else { return };
        let mut net = self.net.lock();
        let own = net.airborne.iter().position(|one| one.flight == flight && !one.alone);
        if let Some(at) = own {
            match net.airborne[at].stage {
                Stage::Sent | Stage::Making(..) | Stage::Moving => net.airborne[at].alone = true,
                Stage::Answered(_) | Stage::Delivered(_) => drop(net.airborne.remove(at)),
            }
        }
    }
}
