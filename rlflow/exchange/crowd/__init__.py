"""The made-up traders: when they act, what they do, how long their orders live; calibrated to recorded markets."""
