"""From frames to rows: the one place that decides what a capture's frames mean.

Pure: sees received frames and local records only, never a clock, a socket, a database or a command that we sent. The same
frames give the same rows, live, after a crash, and on import.
"""
