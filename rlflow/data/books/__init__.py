"""What belongs to the live books beside the books themselves: who reads them, and what could not be kept of them.

`orderbook_state` is the actor that drives these; nothing here waits for anything.
"""
