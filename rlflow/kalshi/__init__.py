"""The venue's protocol, both directions, without I/O: signatures, messages, commands, and the conversation about books."""
