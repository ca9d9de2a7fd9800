"""Which markets are recorded, and over which connections.

`following` keeps the roster, by lifecycle events, REST lists and by hand; `assignment` spreads it over connections,
pure; `feeds` opens and closes these, and lets markets move between them (`moves`). `quiet_watch` asks feeds, and single
books, that say nothing whether they still would (`quiet_feeds` and `quiet_books`, pure).
"""
