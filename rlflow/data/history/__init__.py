"""What is stored, read: as a book at a moment, as the rows that were live, as columns or files, and as a proof.

`rebuild` gives one book at a moment. `replay` gives the rows of a market, gaps included, from the best of the captures
that overlap (`coverage`); frames of notebooks (`tables`) stand on it. `stored_rows` gives one capture's rows without
any choice; `export` stands on that. `audit` proves that the tables agree with themselves. Nothing here changes a row.
"""
