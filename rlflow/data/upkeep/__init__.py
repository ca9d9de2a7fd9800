"""What a running service does for its store beside recording: old days leave, and live books are compared with it."""
