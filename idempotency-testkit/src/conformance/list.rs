//! The one list of cases: whatever is made of them is made from it.

/// Gives the list to a macro: `(callback) arguments`, and the callback is called with
/// `(arguments) { module case [needs] … }`.
#[doc(hidden)]
#[macro_export]
macro_rules! __conformance_cases {
    (($($callback:tt)+) $arguments:tt) => {
        $($callback)+! {
            $arguments {
                states every_call_on_a_key_without_a_record []
                states every_call_on_a_live_lock []
                states every_call_on_a_lapsed_lock []
                states every_call_on_an_extended_lock []
                states every_call_on_an_unconfirmed_lock []
                states every_call_on_a_lapsed_lock_that_was_never_confirmed []
                states every_call_on_a_confirmed_lock []
                states every_call_on_a_lapsed_unconfirmed_lock_after_an_unknown_attempt []
                states every_call_on_a_released_key []
                states every_call_on_a_settled_key []
                states every_call_on_an_attempt_told_unknown []
                states every_call_on_an_attempt_told_unknown_to_be_reconciled []
                states every_call_on_an_attempt_told_unknown_to_be_refused []
                states every_call_on_a_lapsed_lock_to_be_reconciled []
                states every_call_on_a_lapsed_lock_to_be_refused []
                states every_call_on_a_key_taken_over []
                states every_call_on_a_key_taken_over_and_released []
                states every_call_on_a_key_taken_over_twice []
                states every_call_on_a_key_taken_over_to_settle_it []
                states every_call_on_a_completed_key []
                states every_call_on_a_key_completed_without_a_value []
                states every_call_on_a_key_completed_after_its_lease []
                states every_call_on_a_key_completed_by_a_takeover []
                states every_call_on_a_released_key_past_its_retention []
                states every_call_on_an_unknown_attempt_past_its_retention []
                states every_call_on_a_lapsed_lock_past_its_retention []
                states every_call_on_a_completed_key_past_its_retention []
                states every_call_on_a_key_begun_anew_after_its_retention []

                acquiring acquiring_a_new_key_grants_its_first_attempt []
                acquiring another_request_under_the_same_key_is_a_mismatch []
                acquiring acquiring_again_by_the_same_owner_grants_the_same_lock []
                acquiring acquiring_again_after_a_takeover_tells_of_the_same_prior_attempt []
                acquiring an_owner_whose_attempt_is_over_gets_no_lock []
                acquiring a_released_key_is_acquired_as_the_next_attempt []
                acquiring a_completed_key_answers_with_its_record []
                acquiring a_live_lock_answers_with_the_time_left_on_its_lease []
                acquiring an_unknown_attempt_is_taken_over_and_told_of []
                acquiring a_looser_claim_does_not_take_over []
                acquiring an_operator_takes_over_whatever_the_policy_and_does_not_loosen_it []
                acquiring an_unconfirmed_lock_that_lapses_is_free []
                acquiring owners_that_differ_in_one_bit_are_told_apart []
                acquiring requests_that_differ_in_one_bit_are_told_apart []
                acquiring attempts_are_counted_past_what_a_byte_holds []

                holding storing_a_result_completes_the_key []
                holding storing_again_is_held_and_starts_no_retention_anew []
                holding storing_another_value_over_a_result_changes_nothing []
                holding the_last_holder_may_end_its_attempt_after_its_lease []
                holding extending_counts_the_lease_anew_from_now []
                holding releasing_without_an_effect_frees_the_key []
                holding releasing_as_unknown_makes_the_key_unknown_at_once []
                holding releasing_without_an_effect_leaves_an_unknown_attempt_before_it []
                holding releasing_again_is_held []
                holding a_stale_lock_changes_nothing []
                holding a_lock_of_another_key_changes_nothing []
                holding looking_changes_nothing_and_shows_the_whole_record []

                promises one_live_holder_at_a_time []
                promises a_result_does_not_change_until_its_retention_ends []
                promises a_completed_key_is_never_acquired []
                promises another_request_never_runs_and_never_sees_the_result []
                promises a_run_after_an_unknown_attempt_is_always_told_so []
                promises nothing_is_forgotten_before_its_time []
                promises fences_grow_with_every_acquisition []
                promises fences_grow_though_the_clock_steps_back [Clock]
                promises a_lock_does_not_lapse_early_though_the_clock_steps_back [Clock]
                promises a_clock_that_jumps_ahead_ends_leases_and_retentions [Clock]
                promises what_the_store_guarantees_can_be_asked []

                durations a_lease_lasts_as_long_as_was_asked_for []
                durations an_extension_lasts_as_long_as_was_asked_for []
                durations a_lost_answer_counts_the_lease_anew_as_it_was_asked_for []
                durations a_result_is_kept_as_long_as_was_asked_for []
                durations a_released_attempt_is_remembered_as_long_as_was_asked_for []
                durations an_unknown_attempt_is_remembered_as_long_as_was_asked_for []
                durations an_unknown_attempt_is_not_forgotten_for_one_after_it []

                names keys_with_separators_in_their_parts_are_kept_apart []
                names keys_whose_parts_join_to_the_same_text_are_kept_apart []
                names scopes_are_kept_apart_and_none_is_no_scope []
                names keys_that_differ_in_case_or_spelling_only_are_kept_apart []
                names long_keys_are_kept_apart_to_their_last_byte []
                names keys_that_begin_alike_are_kept_apart []
                names neighbours_are_not_touched_by_what_becomes_of_a_key []

                values values_of_every_size_come_back_bit_for_bit []
                values values_of_every_byte_come_back []
                values a_missing_value_comes_back_with_its_reason []
                values a_value_is_replaced_whole_once_it_was_forgotten []
                values a_value_over_the_limit_is_kept_whole_or_refused []
                values contexts_and_attributes_come_back_to_their_limits []
                values each_attempt_is_kept_with_what_it_brought_itself []
                values owners_and_fingerprints_come_back_to_their_limits []

                races of_many_claims_at_once_one_gets_the_lock []
                races of_many_takeovers_at_once_one_gets_the_lock []
                races of_many_claims_on_a_released_key_one_gets_the_lock []
                races one_owner_asking_many_times_at_once_gets_one_lock []
                races of_two_requests_at_once_one_is_a_mismatch []
                races releasing_extending_and_storing_at_once_have_an_order []
                races storing_and_taking_over_at_once_have_an_order []
                races extending_and_taking_over_at_once_have_an_order []
                races a_completed_key_asked_by_many_answers_all_alike []
                races many_keys_at_once_do_not_get_into_each_others_way []

                cancelling a_dropped_acquire_harms_nothing []
                cancelling a_dropped_extend_harms_nothing []
                cancelling a_dropped_store_harms_nothing []
                cancelling a_dropped_release_harms_nothing []
                cancelling a_dropped_get_harms_nothing []

                watching a_watch_is_woken_by_a_result [Watch]
                watching a_watch_is_woken_by_a_release [Watch]
                watching a_watch_is_in_nobodys_way []

                upkeep purging_removes_the_expired_and_nothing_else [Upkeep]
                upkeep statistics_count_each_state [Upkeep]
                upkeep listing_shows_each_key_once [Upkeep]

                load a_duplicate_gets_the_first_value []
                load one_run_a_key_however_many_ask []
                load many_keys_with_many_duplicates_run_once_each []
                load purging_under_load_loses_nothing [Upkeep]

                durable what_was_acknowledged_is_there_after_reopening [Reopen]
                durable fences_grow_over_reopening [Reopen]
                durable a_key_goes_on_over_reopening_as_without [Reopen]

                random random_commands_are_answered_as_by_the_moves []

                declared what_is_declared_is_true []
            }
        }
    };
}

/// One test a case, in the module that `conformance!` makes for the builder.
#[doc(hidden)]
#[macro_export]
macro_rules! __conformance_tests {
    (($builder:ident) { $($module:ident $case:ident [$($need:ident)?])* }) => {$(
        #[test]
        fn $case() {
            $crate::conformance::test(stringify!($case), super::$builder);
        }
    )*};
}

/// Holds a store to the contract: one test a case, the same cases for every store.
///
/// `conformance!(fresh);` makes a module `fresh` with the tests. `fresh` is a function in the same
/// place, asynchronous or not, that gives each case a store of its own as a
/// [`Subject`](crate::conformance::Subject). Several builders may be named, for several
/// configurations: `conformance!(power_safe, crash_safe);`.
///
/// ```
/// # fn main() {}
/// use idempotency_testkit::ReferenceStore;
/// use idempotency_testkit::conformance::{Capability, Subject, sample};
///
/// fn fresh() -> Subject {
///     let clock = sample::clock();
///     Subject::new(ReferenceStore::new(clock.clone()))
///         .on_clock(clock)
///         .lacks(Capability::Reopen, "it is in memory")
/// }
///
/// idempotency_testkit::conformance!(fresh);
/// ```
#[macro_export]
macro_rules! conformance {
    ($($builder:ident),+ $(,)?) => {$(
        mod $builder {
            $crate::__conformance_cases! { ($crate::__conformance_tests) ($builder) }
        }
    )+};
}
