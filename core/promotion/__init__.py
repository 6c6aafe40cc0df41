"""Whether a new generator takes the champion's place, and the card that says what it is."""
