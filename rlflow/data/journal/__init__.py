"""Every received batch on disk before anything looks into it.

Theory of operation: the event loop alone appends (`writer`), to the newest of several files (`segment`) of checksummed
records (`format`). Others only read, and only up to the end that the loop has published. After a crash `recovery` says
what whole records there are. A segment whose frames are committed is compressed into `raw` and kept for some days;
`kept_frames` finds a capture's frames in either place.
"""
