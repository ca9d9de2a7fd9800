"""From socket to table: the feed, the journal, the live books, the writer and the database.

Beside that stands what is asked of the venue by REST (`rest_client`): the data sheets of markets (`market_sheets`) and
the trades that a gap lost (`trade_backfill`). Which markets are recorded (`following`), and over which connections
(`feeds`), follows from both. The way of a frame never waits for REST.

What is stored comes back as a book at a moment (`rebuild`), as the rows that were live (`replay`, on which `export` and
the frames of notebooks stand), and as a proof that all is well (`audit`). `importer`, `reimport` and `retention` change
what is stored, beside a running service.
"""
