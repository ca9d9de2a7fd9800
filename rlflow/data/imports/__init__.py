"""Rows from elsewhere: recorded files, exports, and kept frames read anew after a bug in our own decoding."""
