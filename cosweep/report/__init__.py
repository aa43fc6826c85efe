"""What a sweep found, drawn: figures, and the page that shows them."""
