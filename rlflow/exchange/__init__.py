"""A local venue that speaks Kalshi's protocol: simulated order flow, or recordings replayed in the venue's own form.

Theory of operation::

    simulation ─┐                            ┌─ conversation ─ outbox ─▶ link ─▶ socket
                ├─ items ─▶ audience ────────┤
    replay ─────┘                            └─ conversation ─ outbox ─▶ link ─▶ socket

* An `Item` is one thing that happened in a market, encoded once and published to every connection. A `Conversation` is
  one connection's state machine: command texts and items in, frames out. It alone knows sids and sequence numbers.
* A market's book holds orders of a made-up crowd (`order_flow`) and of accounts, which meet in the `engine` by price
  and time. Whatever either does is a list of happenings in the order of publication, of which items are made.
* Everything up to the outbox is pure: time and seed are arguments, so the same seed gives the same bytes. Trio begins
  at `link`, `audience` and `server`.
* The simulated market never waits: who reads too slowly gets error 25, as on the venue. A replay, and a simulation
  without a rate, wait for the slowest reader and never lose a frame.
"""
