"""Small recordings of our own in every form, made anew from a seed wherever a test wants them."""
