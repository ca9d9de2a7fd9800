"""One connection as bytes and commands: subscriptions, numbers, frames, and all that can be made to go wrong with them.

Pure: whoever drives a conversation hands in texts, items and the milliseconds, and takes frames out of its outbox.
"""
