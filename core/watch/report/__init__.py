"""What a look found, for people: pictures, HTML and Markdown."""
