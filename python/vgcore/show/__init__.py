"""What was found, for people to read: words, text, HTML."""
