"""The tables: their definition, the connections to them, and the rows that a writer puts there.

Theory of operation: `database` is a writer's one connection and uses most of what is here. Rows and the offset
`rl_captures.committed_frame` change in one transaction, and only if the offset is still where the rows begin
(`captures`). Books are rebuilt from rows by `stored_books`, which is also how a writer goes on in the middle of a
capture (`resume`). What reads or changes stored days lives in `history`, `imports` and `upkeep`.
"""
