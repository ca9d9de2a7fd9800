"""The fault bench: real processes, real sockets and a real database, and one thing going wrong at a time.

`just faults` runs all of it; `just test` the quick half. Behind every case the same two questions are asked
(`verdict`): do the frames balance, and does every stored book equal the venue's own wherever no gap row says otherwise.
"""
