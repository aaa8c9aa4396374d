"""The numbers in the rules that an operator may change."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Thresholds:
    """The one row of config.thresholds: durations in seconds (`_seconds`) and counts (`_count`)."""

    flush_window_seconds: int = 120
    """A flush or order this long after up_at still belongs to the restart."""
    expected_flush_seconds: int = 60
    """The manager polls every minute: a flush is due this long after up_at."""
    poll_seconds: int = 60
    """The manager looks at the services this often (KA-0010256)."""
    poll_margin_seconds: int = 2
    """A poll may come this much earlier or later than the ones known."""
    poll_phase_seconds: int = 86400
    """A known poll tells of others at most this far away."""
    trigger_window_seconds: int = 120
    """A line that tells why the service restarts comes at most this long before it stops."""
    longest_restart_seconds: int = 60
    """A restart takes a minute at most (KA-0010256); what is longer for sure is a service failure."""
    shortest_outage_seconds: int = 10
    """An outage takes at least this long: answers closer together than this leave no room for one."""
    clock_step_seconds: int = 1
    """Stamps of a file that fall back by more than this tell that the clock was set back."""
    close_bounds_seconds: int = 5
    """Bounds of up_at farther apart than this make it an estimate."""
    witness_margin_seconds: int = 5
    """A system event and a failed attempt this close tell of the same outage."""
    slow_scanner_seconds: int = 5
    """Time-outs, or a lone lost session, with answers this close on both sides are a slow scanner's."""
    backoff_margin_seconds: int = 2
    """Mail younger than minimal_backoff_time less this cannot be taken by a queue run."""
    assumed_backoff_seconds: int = 60
    """The same limit where minimal_backoff_time is only assumed."""
    estimate_scan_count: int = 3
    """minimal_backoff_time is estimated from no fewer queue runs that left mail behind."""
    left_behind_seconds: int = 2
    """Mail deferred longer than this before a scan, and not taken by it, was left behind."""
    attempt_rate_seconds: int = 900
    """How often mail is tried is counted for this long before an outage and after it."""
    expected_attempt_count: int = 60
    """An outage that no attempt met, where so many were to be expected, shows that lines are lost."""
    due_margin_seconds: int = 60
    """A busy qmgr takes deferred mail at most this long after the queue run for which it was due."""
    computed_activation_seconds: int = 2
    """An activation that is computed from the parts of a delay is exact to this."""
    lost_arrival_seconds: int = 5
    """A message that arrived longer than this before its first line has lost lines."""
    shortest_queue_run_seconds: int = 10
    """No queue_run_delay is shorter: scans closer together are not both queue runs."""
    scan_gap_seconds: int = 2
    """Re-activations at most this far apart are one scan of the deferred queue."""
    qmgr_start_seconds: int = 5
    """A re-activation this soon after a qmgr start proves nothing."""
    queue_run_margin_seconds: int = 2
    """A scan of the queue this close to when a queue run is due is that run."""
    order_effect_seconds: int = 10
    """An order or flush must show its effect within this."""
    longest_attempt_seconds: int = 600
    """What became of mail that was tried again shows within this (smtp_data_done_timeout)."""
    gap_after_seconds: int = 21600
    """A maillog that is silent for longer has a gap."""
    loss_window_seconds: int = 600
    """A notice of lost lines speaks of at most this long before it (imjournal's interval)."""
    reinjection_seconds: int = 60
    """What the scan service took comes back at most this long after its reply, else not at all."""
    arrival_margin_seconds: int = 2
    """The arrival that a queue snapshot tells is this close to the one that the log tells."""
    long_delay_seconds: int = 300
    """What delayed_over_5_min_count counts as long."""
    advised_retry_seconds: int = 300
    """The queue_run_delay and minimal_backoff_time that advice proposes (KA-0010256)."""
