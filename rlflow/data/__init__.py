"""From socket to table: the feed, the journal, the live books, the writer and the database.

Beside that stands what is asked of the venue by REST (`rest_client`): the data sheets of markets (`market_sheets`) and
the trades that a gap lost (`trade_backfill`). The way of a frame never waits for either.
"""
