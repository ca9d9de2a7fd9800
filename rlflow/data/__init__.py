"""From socket to table: the feed, the journal, the live books, the writer and the database."""
