//! The ways in which a store is broken, and the case that each must fail.

use idempotency_testkit::Rule;

macro_rules! broken {
    ($($(#[$doc:meta])* $name:ident: $case:ident, $rule:ident;)*) => {
        /// One thing that is wrong with a store.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum How {
            $($(#[$doc])* $name,)*
        }

        impl How {
            pub(crate) const ALL: &[Self] = &[$(Self::$name),*];
        }

        /// How a store is broken, the case that it must fail, and the promise that is told as broken.
        pub(crate) const TABLE: &[(How, &str, Rule)] = &[$((How::$name, stringify!($case), Rule::$rule)),*];
    };
}

broken! {
    JoinsParts: keys_with_separators_in_their_parts_are_kept_apart, NoCrossTalk;
    LowersCase: keys_that_differ_in_case_or_spelling_only_are_kept_apart, NoCrossTalk;
    DropsTheScope: scopes_are_kept_apart_and_none_is_no_scope, NoCrossTalk;
    CutsKeys: long_keys_are_kept_apart_to_their_last_byte, NoCrossTalk;
    CutsValues: values_of_every_size_come_back_bit_for_bit, ResultsDoNotChange;
    /// An omitted value comes back as one of no bytes.
    ForgetsWhyAValueIsMissing: a_missing_value_comes_back_with_its_reason, ResultsDoNotChange;
    DropsAttributes: contexts_and_attributes_come_back_to_their_limits, TimesAreKept;
    CutsOwners: owners_and_fingerprints_come_back_to_their_limits, RowsAreAnswered;
    TakesMillisecondsForSeconds: a_lease_lasts_as_long_as_was_asked_for, TimesAreKept;
    TakesSecondsOnly: a_result_is_kept_as_long_as_was_asked_for, NothingIsForgottenEarly;
    FencesRestartAfterARelease: fences_grow_with_every_acquisition, FencesGrow;
    FencesFromTheClock: fences_grow_though_the_clock_steps_back, FencesGrow;
    ForgetsThePriorOnTheSecondGrant: acquiring_again_after_a_takeover_tells_of_the_same_prior_attempt, UnknownIsNeverSilent;
    GrantsTheSameOwnerAnotherLock: acquiring_again_by_the_same_owner_grants_the_same_lock, LostAnswersAreRecognised;
    AnEndedOwnerLocksAgain: an_owner_whose_attempt_is_over_gets_no_lock, EndedStaysEnded;
    CountsNoAttempts: a_released_key_is_acquired_as_the_next_attempt, AttemptsAreCounted;
    LoosensThePolicy: a_looser_claim_does_not_take_over, StrictestPolicyStays;
    ALapsedLockIsFree: an_unknown_attempt_is_taken_over_and_told_of, UnknownIsNeverSilent;
    ChecksNoFingerprintOfAResult: another_request_never_runs_and_never_sees_the_result, NoCrossTalk;
    LocksAResultAgain: a_completed_key_is_never_acquired, NoLockOverAResult;
    NoEffectFreesAnUnknownKey: releasing_without_an_effect_leaves_an_unknown_attempt_before_it, ReleaseSpeaksForItself;
    ExtendsForAnyOwner: every_call_on_a_live_lock, Fenced;
    StoresOverAStaleLock: a_stale_lock_changes_nothing, Fenced;
    ReleasesForAnyone: a_lock_of_another_key_changes_nothing, Fenced;
    LosesALapsedLock: the_last_holder_may_end_its_attempt_after_its_lease, HoldersKeepTheirLock;
    StoresOverAResult: storing_another_value_over_a_result_changes_nothing, ResultsDoNotChange;
    StartsTheRetentionAgain: storing_again_is_held_and_starts_no_retention_anew, TimesAreKept;
    ARepeatedReleaseIsLost: releasing_again_is_held, LostAnswersAreRecognised;
    /// Owners of the same 64 bits are one.
    ComparesHalfAnOwner: owners_that_differ_in_one_bit_are_told_apart, FencesGrow;
    /// Requests of the same 128 bits are one.
    ComparesHalfAFingerprint: requests_that_differ_in_one_bit_are_told_apart, NoCrossTalk;
    CountsAttemptsInAByte: attempts_are_counted_past_what_a_byte_holds, AttemptsAreCounted;
    KeepsTheNotesOfARepeatedClaim: each_attempt_is_kept_with_what_it_brought_itself, TimesAreKept;
    KeepsTheNotesOfAReleasedAttempt: each_attempt_is_kept_with_what_it_brought_itself, TimesAreKept;
    LeavesLocksUnconfirmed: an_unconfirmed_lock_that_lapses_is_free, UnknownIsNeverSilent;
    ShortensTheMemoryOfAnUnknownAttempt: an_unknown_attempt_is_not_forgotten_for_one_after_it, TimesAreKept;
    /// Reads, then writes, as two steps.
    LooksBeforeItLocks: of_many_claims_at_once_one_gets_the_lock, OneLiveHolder;
    StoresInTwoSteps: a_dropped_store_harms_nothing, ResultsDoNotChange;
    EvictsTheOldest: nothing_is_forgotten_before_its_time, NothingIsForgottenEarly;
    PurgesTheLiving: purging_removes_the_expired_and_nothing_else, NothingIsForgottenEarly;
    ListsAKeyTwice: listing_shows_each_key_once, RowsAreAnswered;
    CountsTheLapsedAsInProgress: statistics_count_each_state, RowsAreAnswered;
    BlocksInWatch: a_watch_is_in_nobodys_way, RequestsEnd;
    WakesNobody: a_watch_is_woken_by_a_result, RequestsEnd;
    HangsOnACompletedKey: a_completed_key_answers_with_its_record, RequestsEnd;
    PanicsOnAnEmptyValue: values_of_every_size_come_back_bit_for_bit, NoPanic;
}
