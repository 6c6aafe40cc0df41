"""What an evaluation found, as pictures, pages and words."""
