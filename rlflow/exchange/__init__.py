"""A local venue that speaks Kalshi's protocol: simulated markets, or recordings replayed in the venue's own form.

Theory of operation::

    venue ──┐                            ┌─ conversation ─ outbox ─▶ link ─▶ socket
            ├─ items ─▶ audience ────────┤
    replay ─┘                            └─ conversation ─ outbox ─▶ link ─▶ socket

* An `Item` is one thing that happened in a market, encoded once and published to every connection. A `Conversation` is
  one connection's state machine: command texts and items in, frames out. It alone knows sids and sequence numbers.
* A market's book (`matching`) holds orders of a made-up crowd (`crowd`) and of accounts, which meet in its engine by
  price and time. Whatever either does is a list of happenings in the order of publication, of which items are made.
* The `venue` is the facade of the simulation: the `floor` has every market's book and records and publishes what
  happens there, `market_life` leads markets from creation to payment by a `timetable`, `traffic` says which market's
  crowd acts next, `venue_control` is for tests. REST works on the same facade.
* Faults are data: a kind with parameters, and where it strikes (`faults`, explained in `fault_kinds`). A connection's
  `fault_script` counts frames and commands; its `outlet` and `replies` let happen what is struck.
* Everything up to the outbox is pure: time and seed are arguments, so the same seed gives the same bytes. Trio begins
  at `sources`, `link`, `audience` and `server`.
* The simulated market never waits: who reads too slowly gets error 25, as on the venue. A replay, and a simulation
  without a rate, wait for the slowest reader and never lose a frame.
"""
