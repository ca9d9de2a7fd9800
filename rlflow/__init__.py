"""rlflow records Kalshi order books without losing a message, and is the ground that trading agents learn on."""
