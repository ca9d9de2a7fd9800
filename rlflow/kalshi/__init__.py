"""The venue's protocol, both directions, without I/O.

Signatures (`auth`), the venue's messages (`messages`, read by `decode`, older forms by `legacy`), our commands
(`commands`), and the conversation that keeps every book subscribed and valid (`commander`, told by `notices`). What its
REST interface answers is read by `sheets` and `answers`. Which markets are to be followed, and when that changes, the
`roster` knows, from names, lists and what is told of markets' lives.

Nothing here reads a clock, a socket or a random source: time and randomness are arguments.
"""
