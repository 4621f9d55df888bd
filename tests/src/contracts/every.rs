//! A test for each contract, named after what passes it: each is a function `async fn NAME(contract: impl AsyncFn(…))` beside the
//! macro, which gives the contract what it is about. What stands before a name, such as `#[ignore = "needs pypi"]`, is for all of its tests.

/// One test.
#[macro_export]
#[doc(hidden)]
macro_rules! one_contract {
    ([$($attribute:tt)*] $contract:ident $body:block) => {
        #[tokio::test]
        $($attribute)*
        async fn $contract() $body
    };
}

/// A test of each contract on one implementation.
#[macro_export]
#[doc(hidden)]
macro_rules! every_contract {
    ($attributes:tt $on:ident: $suite:ident { $($contract:ident),* $(,)? }) => {
        mod $on {
            $($crate::one_contract! { $attributes $contract {
                super::$on(async |it| super::$suite::$contract(it).await).await;
            } })*
        }
    };
    ($attributes:tt $on:ident: $suite:ident at a target { $($contract:ident),* $(,)? }) => {
        mod $on {
            $($crate::one_contract! { $attributes $contract {
                super::$on(async |it, id| super::$suite::$contract(it, id, super::$suite::any_time()).await).await;
            } })*
        }
    };
}

/// On each of these tables.
#[macro_export]
macro_rules! every_contract_of_a_store {
    ($($(#[$attribute:meta])* $on:ident),*) => {
        $($crate::every_contract! { [$(#[$attribute])*] $on: store {
            what_is_committed_is_loaded, a_conflict_leaves_no_trace, one_of_many_writers_wins, writers_in_turn_all_commit, granted_once,
            the_rest_is_one_chain, the_authority_changes_with_an_entry_of_the_rest, due_follows_every_commit, what_comes_due_has_its_time, targets_are_listed_in_parts,
            chains_are_listed_in_parts, entries_are_read_in_parts_of_bounded_length,
            requests_are_listed_newest_first, grants_are_listed_newest_first,
        } })*
    };
}

/// On the feed of each of these tables.
#[macro_export]
macro_rules! every_contract_of_a_feed {
    ($($(#[$attribute:meta])* $on:ident),*) => {
        $($crate::every_contract! { [$(#[$attribute])*] $on: feed {
            every_entry_is_in_the_feed_once_by_its_time, the_feed_is_read_from_a_time_on,
            a_page_of_the_feed_ends_in_the_middle_of_one_time, what_is_written_late_has_its_own_time_in_the_feed,
            the_feed_is_read_in_parts_of_bounded_length,
        } })*
    };
}

/// On each of these firewalls.
#[macro_export]
macro_rules! every_contract_of_firewalls {
    ($($(#[$attribute:meta])* $on:ident),*) => {
        $($crate::every_contract! { [$(#[$attribute])*] $on: firewalls at a target {
            what_is_written_is_read, writing_twice_is_once, deleting_the_absent_succeeds,
            what_is_not_ours_stays, ours_lists_every_rule, ours_tells_what_a_rule_tells,
            what_is_there_is_not_gone, an_unknown_target_is_not_found,
            a_stale_version_conflicts, a_priority_is_used_once,
        } })*
    };
}

/// On each of these archives.
#[macro_export]
macro_rules! every_contract_of_an_archive {
    ($($(#[$attribute:meta])* $on:ident),*) => {
        $($crate::every_contract_of_an_archive! { @ [$(#[$attribute])*] $on })*
    };
    (@ $attributes:tt $on:ident) => {
        mod $on {
            use $crate::contracts::archive;
            $crate::one_contract! { $attributes what_is_put_is_kept {
                super::$on(async |it, read| archive::what_is_put_is_kept(it, read).await).await;
            } }
            $crate::one_contract! { $attributes what_is_kept_is_never_overwritten {
                super::$on(async |it, read| archive::what_is_kept_is_never_overwritten(it, read).await).await;
            } }
            $crate::one_contract! { $attributes one_of_many_writers_is_kept_whole {
                super::$on(async |it, read| archive::one_of_many_writers_is_kept_whole(it, read).await).await;
            } }
        }
    };
}

/// On each of these buses.
#[macro_export]
macro_rules! every_contract_of_a_bus {
    ($($(#[$attribute:meta])* $on:ident),*) => {
        $($crate::every_contract_of_a_bus! { [$(#[$attribute])*] $on:
            what_is_published_is_heard, more_than_go_at_a_time_are_heard, what_is_long_together_is_heard,
            what_is_too_long_holds_up_nothing
        })*
    };
    ($attributes:tt $on:ident: $($contract:ident),*) => {
        mod $on {
            use $crate::contracts::bus;
            $($crate::one_contract! { $attributes $contract {
                super::$on(async |it, heard| bus::$contract(it, heard).await).await;
            } })*
        }
    };
}

/// On each of these books of tokens.
#[macro_export]
macro_rules! every_contract_of_tokens {
    ($($(#[$attribute:meta])* $on:ident),*) => {
        $($crate::every_contract_of_tokens! { [$(#[$attribute])*] $on:
            a_token_says_who_calls, a_new_token_replaces_the_one_before, what_is_revoked_is_refused,
            a_second_spelling_is_the_same_person, every_change_is_recorded, of_many_at_once_one_stays,
            a_token_is_refused_from_its_end_on, terms_of_a_token_are_listed_and_recorded,
            the_last_use_of_a_token_is_kept_once_an_hour
        })*
    };
    ($attributes:tt $on:ident: $($contract:ident),*) => {
        mod $on {
            use $crate::contracts::tokens;
            $($crate::one_contract! { $attributes $contract {
                super::$on(async |it, store| tokens::$contract(it, store).await).await;
            } })*
        }
    };
}

/// A test of each contract of a proof of who calls: `async fn NAME(contract: impl AsyncFn(&P))`.
#[macro_export]
macro_rules! every_contract_of_authentication {
    ($($(#[$attribute:meta])* $on:ident),* $(,)?) => {
        $($crate::every_contract! { [$(#[$attribute])*] $on: authentication {
            a_token_proves_one_principal, a_changed_token_proves_nobody, a_token_that_ended_proves_nobody,
            a_token_that_expired_proves_nobody_but_by_a_clock_that_is_behind
        } })*
    };
}
