"""The numbers in the rules that an operator may change."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Thresholds:
    """The one row of config.thresholds: durations (`_seconds`), counts (`_count`) and shares (`_percent`)."""

    flush_window_seconds: int = 120
    """A flush or order this long after up_at still belongs to the restart."""
    expected_flush_seconds: int = 60
    """The manager polls every minute: a flush is due this long after up_at."""
    poll_seconds: int = 60
    """The manager checks the services this often (KA-0010256)."""
    poll_margin_seconds: int = 2
    """A poll may be this much earlier or later than the known polls suggest."""
    poll_phase_seconds: int = 86400
    """The times of other polls are derived from a known poll up to this far away."""
    trigger_window_seconds: int = 120
    """A line that gives the reason for a restart precedes the stop by at most this long."""
    longest_restart_seconds: int = 60
    """A restart takes a minute at most (KA-0010256); an outage that is certainly longer is a failure."""
    shortest_outage_seconds: int = 10
    """An outage takes at least this long: answers closer together leave no room for one."""
    clock_step_seconds: int = 1
    """If the stamps of a file go back by more than this, the clock was set back."""
    close_bounds_seconds: int = 5
    """up_at is an estimate if its bounds are farther apart than this."""
    witness_margin_seconds: int = 5
    """A system event and a failed attempt this close belong to the same outage."""
    slow_scanner_seconds: int = 5
    """Time-outs, or a single lost session, with answers this close on both sides mean a slow scanner."""
    backoff_margin_seconds: int = 2
    """A queue run takes no mail whose wait is shorter than minimal_backoff_time minus this."""
    assumed_backoff_seconds: int = 60
    """The shortest wait at a queue run if minimal_backoff_time is only assumed."""
    estimate_scan_count: int = 3
    """Estimating minimal_backoff_time takes at least this many queue runs that left mail behind."""
    left_behind_seconds: int = 2
    """Mail that was deferred longer than this before a scan, and not taken by it, was left behind."""
    attempt_rate_seconds: int = 900
    """The usual rate of attempts is counted over this long before and after an outage."""
    expected_attempt_count: int = 60
    """If no attempt met an outage although this many were expected, lines are lost."""
    due_margin_seconds: int = 60
    """A busy qmgr takes due mail at most this long after the queue run."""
    computed_activation_seconds: int = 2
    """The precision of an activation computed from the parts of a delay."""
    lost_arrival_seconds: int = 5
    """If a message arrived longer than this before its first line, lines are lost."""
    shortest_queue_run_seconds: int = 10
    """The shortest possible queue_run_delay: of two scans closer together, one is not a queue run."""
    scan_gap_seconds: int = 2
    """Re-activations at most this far apart are one scan of the deferred queue."""
    qmgr_start_seconds: int = 5
    """A re-activation this soon after a qmgr start proves nothing."""
    queue_run_margin_seconds: int = 2
    """A scan of the queue this close to the time of a queue run is that queue run."""
    queue_run_slip_count: int = 15
    """Of so many queue runs, at most one slips by a second (docs/retry-simulator.md)."""
    order_effect_seconds: int = 10
    """An order or a flush must show an effect within this."""
    longest_attempt_seconds: int = 600
    """The result of a retry is logged within this (smtp_data_done_timeout)."""
    gap_after_seconds: int = 21600
    """A maillog that is silent for longer has a gap."""
    loss_window_seconds: int = 600
    """A notice of lost lines covers at most this long before it (imjournal's interval)."""
    reinjection_seconds: int = 60
    """Mail that the scan service took comes back within this after the reply, or not at all."""
    arrival_margin_seconds: int = 2
    """The arrival times in a queue snapshot and in the log differ by at most this."""
    long_delay_seconds: int = 300
    """delayed_over_5_min_count counts delays longer than this."""
    advised_retry_seconds: int = 300
    """The queue_run_delay and minimal_backoff_time that advice proposes (KA-0010256)."""
    costly_retry_percent: int = 10
    """Shorter retry settings are too costly if they add more retries than this share of a day's mail."""
