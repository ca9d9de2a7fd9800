"""From socket to table, and back: every part that touches the venue, the disk or the database.

The way of a frame::

    feed ──▶ journal ──▶ orderbook_state ──▶ write_queue ──▶ database
    (orderbook_client)      (books)            (writer)       (store)

Which markets come over which connections is decided in `following`. Beside the way of a frame stands what is asked of
the venue by `rest` and kept in `sheets`; no frame ever waits for it. What is stored is read by `history`, and changed
by `imports` and `upkeep` beside a running service. Each package imports only from those that stand below it in
`tests/test_architecture.py`.
"""
