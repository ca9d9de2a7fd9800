"""Which markets are recorded, and over which connections.

`following` keeps the roster, by lifecycle events, REST lists and by hand; `assignment` spreads it over connections,
pure; `feeds` opens and closes these; `quiet_feeds` says which of them to ask whether they still serve their books, and
`quiet_books` about which single ones.
"""
