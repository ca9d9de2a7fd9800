"""From frames to rows: the one place that decides what a capture's frames mean.

Pure: sees received frames and local records only, never a clock, a socket, a database or a command that we sent. The
same frames give the same rows, live, after a crash, and on import.

`records` is what goes in and `rows` what comes out. `Session` (in `session`) feeds on batches: it decides whether a
frame is the next of its subscription (`sequence`), what a control frame does to the subscription, and counts every
frame once. `Books` (in `books`) keeps the markets: which `TrackedBook` (in `tracked`) is valid, what a snapshot or a
delta does to it, and what leaves the subscription. `reading` turns the wire's texts into exact values, `recorder`
collects rows and notices, `resume` turns it all into the state from which another process goes on, and back.

States of a book: unknown -> invalid (named by the venue, no snapshot yet) -> valid (by a snapshot) -> invalid (by a gap
of its subscription, an impossible or crossed result, a stale record) -> valid (by the next snapshot) -> unknown
(removed from the subscription). A valid book may be unsettled: crossed within one action of the venue. While a book is
not valid its deltas are stored but not applied, and every way out of "valid", removal excepted, leaves a gap row.
"""
