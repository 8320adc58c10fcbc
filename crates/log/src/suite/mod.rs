//! The suite that every engine passes, generic over how a log is opened.
//!
//! ```ignore
//! plainwire_log::log_suite!(|clock| Arc::new(MemoryLog::with_clock(7, clock)) as Arc<dyn Log>);
//! ```

#![allow(clippy::unwrap_used, reason = "a case of the suite fails by panicking")]

pub mod appends;
pub mod fixture;
pub mod keys;
pub mod model;
pub mod reads;
pub mod retention;

/// Makes a test of each case of the suite. `$open` is called with a [`Clock`](crate::Clock) and gives an empty
/// `Arc<dyn Log>`. `messages only` is for engines that do not [compare](crate::Log::compares), whose tests are others where
/// states and expectations matter.
#[macro_export]
macro_rules! log_suite {
    ($open:expr) => {
        $crate::log_suite!(@cases $open;
            appends::an_expectation_counts_what_is_under_way,
            appends::a_conflict_changes_nothing_and_tells_nobody,
            appends::message_state_and_key_are_one,
            appends::a_state_may_be_set_without_a_message,
            keys::are_bounded_in_bytes,
        );
        $crate::log_suite!(@common $open);
    };
    ($open:expr, messages only) => {
        $crate::log_suite!(@cases $open;
            appends::what_cannot_be_compared_is_refused,
        );
        $crate::log_suite!(@common $open);
    };
    (@common $open:expr) => {
        $crate::log_suite!(@cases $open;
            appends::pipelined_appends_are_dense_and_in_call_order,
            appends::concurrent_appenders_never_share_an_offset,
            appends::an_append_nobody_polls_is_applied,
            appends::commits_are_told_in_order_before_appends_resolve,
            appends::closing_drains_and_then_refuses,
            appends::a_healthy_log_says_so,
            keys::a_key_is_applied_once,
            keys::a_key_under_way_counts,
            keys::a_key_is_free_after_its_window,
            keys::keys_of_different_channels_never_meet,
            keys::are_bounded_in_count,
            keys::the_newest_is_kept_whatever_it_weighs,
            keys::one_recorded_anew_outlives_its_old_place,
            keys::a_lower_bound_holds_for_what_is_there,
            reads::an_unknown_channel_stands_at_the_beginning_of_its_epoch,
            reads::pages_are_bounded_in_count_and_bytes,
            reads::what_was_put_in_comes_out,
            reads::a_cursor_beyond_the_head_reads_nothing,
            retention::by_count,
            retention::by_bytes,
            retention::by_age_when_something_is_appended,
            retention::by_age_when_nothing_is_appended,
            retention::a_channel_that_keeps_nothing_still_counts,
        );
    };
    (@cases $open:expr; $($module:ident::$case:ident),* $(,)?) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() {
                let clock = $crate::suite::fixture::TestClock::default();
                let log = ($open)(clock.clock());
                $crate::suite::$module::$case($crate::suite::fixture::Fixture::new(log, clock)).await;
            }
        )*
    };
}
