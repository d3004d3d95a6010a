//! Small histories, against one checker that tries everything.

use crate::random::{Dice, Shape, history, seeds};

#[test]
fn a_history_of_a_store_that_keeps_the_contract_is_possible() {
    for seed in seeds(40_000) {
        let mut dice = Dice(seed);
        let shape = Shape {
            calls: 2 + dice.below(8),
            keys: 1 + dice.below(2),
            lost: dice.pick(&[0, 1, 2, 4]),
            exact: dice.one_in(2),
        };
        let history = history(&mut dice, shape);
        history.check().unwrap_or_else(|verdict| panic!("IDEMPOTENCY_SEED={seed} {shape:?}\n{verdict}\n{history:#?}"));
    }
}
