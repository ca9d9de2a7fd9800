"""What is asked of the venue by REST and stored: data sheets of markets, their fees, and trades that a gap lost.

The way of a frame never waits for any of it. Each task here begins anew until its store and the venue let it
(`persevering`), and asks for what the store says is missing, so a restart costs nothing.
"""
