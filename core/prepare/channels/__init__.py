"""Between cells as the user knows them and the channels that generators learn; carried by registered models."""
