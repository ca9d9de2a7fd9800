"""From frames to rows: the one place that decides what a capture's frames mean.

Pure: sees received frames and local records only, never a clock, a socket, a database or a command that we sent. The
same frames give the same rows, live, after a crash, and on import.

`records` is what goes in, `rows` what comes out. `Session` (in `session`) feeds on batches and counts every frame once.
`Subscriptions` decides which frames count (by `sequence`) and carries out control frames; `Books` carries out snapshots
and deltas; `Markets` knows which market is brought by whom and which book is trusted (`tracked`). `reading` turns the
wire's texts into exact values, `recorder` collects rows and notices, and `resume` turns all of it into the state from
which another process goes on, and back.

States of a book: unknown -> invalid (named by the venue, no snapshot yet) -> valid (by a snapshot) -> invalid (by a
gap of its subscription, an impossible or crossed result, a stale record) -> valid (by the next snapshot) -> unknown
(removed from its subscription). A valid book may be unsettled: crossed within one action of the venue. While a book is
not valid its deltas are stored but not applied. Every way out of "valid" leaves a gap row; removal leaves one only if
the market comes back.
"""
