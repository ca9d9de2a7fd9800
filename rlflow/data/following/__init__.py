"""Which markets are recorded, and over which connections.

`following` keeps the roster, by lifecycle events, REST lists and by hand; `assignment` spreads it over connections,
pure; `feeds` opens and closes these; `quiet_feeds` asks those that say nothing whether they still would.
"""
