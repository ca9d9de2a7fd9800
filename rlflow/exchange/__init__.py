"""A local venue that speaks Kalshi's protocol: simulated order flow, or recordings replayed in the venue's own form."""
