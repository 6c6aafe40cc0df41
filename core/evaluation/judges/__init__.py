"""Networks that tell real windows from synthetic ones or forecast them, and what their answers amount to."""
