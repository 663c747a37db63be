"""The reader study: blinded sheets, ratings read back, and what follows from them."""
