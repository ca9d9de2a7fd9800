"""The parts of the write queue: its seams to database and journal, rows made from the journal, and the counts.

`write_queue` is the task that drives these.
"""
