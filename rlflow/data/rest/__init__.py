"""The venue's REST interface from our side: `client` has the calls, `requests` makes them, `limits` holds them back."""
