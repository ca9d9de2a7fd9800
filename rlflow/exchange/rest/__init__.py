"""The venue's REST interface, on the websocket's port (protocol 6).

Theory of operation::

    door ─ socket ─▶ http_server ─ Request ─▶ service ─▶ a handler of the routes ─▶ Answer

* `http_server` is the only part that sees a socket: it speaks HTTP/1.1 with bounded heads, bodies and waits.
* `service` decides in the venue's order: is there such a path, who asks, is the exchange open, has the account tokens
  left; then it calls the handler. What refuses anywhere raises `RefusedError`.
* A handler is a pure function of the desk (the venue's state and the settings) and the request. Every module declares
  its handlers in a table `ROUTES`; the tables are put together in `service`.
* Whatever stands under /sim is the simulator's own, for tests and for curl, and needs no signature.
"""
