"""Simulates Postfix's deferred queue: when mail that a restart held would have been taken from it, by arrays.

The rule, with its sources in Postfix (src/qmgr):

- A message that is deferred at `now` gets the time stamp `now + max(min(age, maximal_backoff_time),
  minimal_backoff_time)`; its age counts from its creation. If it is older than its lifetime, it expires
  instead: that is tested first (qmgr_active.c: qmgr_active_done_3_generic, qmgr_active_defer).
- A queue run takes mail with a time stamp of at most `now + 1`. The qmgr runs the queue when it starts and
  then every queue_run_delay (qmgr_active_feed; qmgr.c: qmgr_post_init, qmgr_deferred_run_event).
- A destination is dead after some failures in a row (`failures_until_dead`) while mail for it is in the
  active queue; without any, its counters are forgotten (qmgr_entry.c: qmgr_entry_done). Mail for a dead
  destination is deferred again without a try. After minimal_backoff_time the destination starts afresh
  (qmgr_queue.c: qmgr_queue_throttle, qmgr_queue_unthrottle), and so it does when the qmgr is told to flush,
  or starts, as after a reload.
- A flush takes all mail at once, whatever its time stamp.

A log does not tell all of this to the second, nor when queue runs would be due under another setting. Every
instant is therefore a pair of bounds: whatever the truth within the bounds of what is given, the result lies
within its bounds; if these are equal, it is exact. Instants and durations are seconds as float; NaN is
unknown, and where there is no bound it is infinite.
"""
