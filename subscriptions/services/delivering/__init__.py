"""
The delivery engine: what is due is claimed, sent and recorded, by many workers at once.

`sending` is one worker's turn and calls all others. `openings` looks where something is
due, after `window_ends` has closed what is over; `pacing` shares the worker's room out;
`claims` takes deliveries under leases, by the bounds that `limits` has for all workers.
`parcels` makes requests of them; what its endpoint does not take yet lies in
`claimed_ahead`. `recorder` writes from a thread of its own what `recording` and
`health_marks` say. `next_due` tells when to wake again.
Source: docs/explanation/delivery.md
"""
