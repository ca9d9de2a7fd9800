"""One connection to the venue, from its socket to numbered batches.

Theory of operation::

    socket ─ tls ─▶ tap ─ frame_splitter ─▶ capture_log ─▶ journal, live books
                     └─ every other byte ─▶ websocket library

* `connection` opens, watches and closes; whatever goes wrong with it is a `FeedLostError`.
* `tap` takes whole text frames out of what the socket gave and hands every other byte on; the first byte that is not
  plainly a text frame of the venue makes it a pipe for the rest of the connection, so that order never breaks.
* `capture_log` numbers a batch, brings it to the journal and passes it on, without an await in between.
* `conversation` lets a `Commander` talk over it; rows never depend on what is said there.
"""
