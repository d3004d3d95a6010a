//! The events of one key that are not yet explained, as a list from which calls are taken out and
//! put back.

/// The head of the list.
pub(super) const HEAD: u32 = 0;

/// A list of sendings and answers, linked both ways (Knuth, *Dancing links*, 2000).
#[derive(Debug, Default)]
pub(super) struct List {
    next: Vec<u32>,
    before: Vec<u32>,
}

/// What a node of the list is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Node {
    /// A call is sent.
    Sent(u32),
    /// The call is answered: whoever is not placed by now never will be.
    Answered(u32),
}

impl List {
    /// A list of the answered calls, by the numbers of their events.
    pub(super) fn new(calls: usize, answered: impl Iterator<Item = (u32, u32, u32)>) -> Self {
        let mut events: Vec<(u32, u32)> = Vec::with_capacity(2 * calls);
        for (call, sent_at, answered_at) in answered {
            events.push((sent_at, 1 + 2 * call));
            events.push((answered_at, 2 + 2 * call));
        }
        events.sort_unstable();
        let mut list = Self { next: vec![HEAD; 1 + 2 * calls], before: vec![HEAD; 1 + 2 * calls] };
        let mut last = HEAD;
        for (_, node) in events {
            list.link(last, node);
            last = node;
        }
        list.link(last, HEAD);
        list
    }

    /// The node after this one; `None` at the end.
    pub(super) fn after(&self, node: u32) -> Option<(u32, Node)> {
        let next = self.next[node as usize];
        let call = next.checked_sub(1)? / 2;
        Some((next, if next % 2 == 1 { Node::Sent(call) } else { Node::Answered(call) }))
    }

    /// The first answer in the list: the call that must be placed before anything later can be.
    pub(super) fn most_urgent(&self) -> Option<u32> {
        let mut at = HEAD;
        while let Some((next, node)) = self.after(at) {
            if let Node::Answered(call) = node {
                return Some(call);
            }
            at = next;
        }
        None
    }

    /// Takes a call's two events out.
    pub(super) fn take(&mut self, call: u32) {
        for node in [1 + 2 * call, 2 + 2 * call] {
            self.link(self.before[node as usize], self.next[node as usize]);
        }
    }

    /// Puts them back. Calls are put back in the opposite order in which they were taken.
    pub(super) fn put_back(&mut self, call: u32) {
        for node in [2 + 2 * call, 1 + 2 * call] {
            let (before, next) = (self.before[node as usize], self.next[node as usize]);
            self.next[before as usize] = node;
            self.before[next as usize] = node;
        }
    }

    fn link(&mut self, before: u32, next: u32) {
        self.next[before as usize] = next;
        self.before[next as usize] = before;
    }
}
