"""What the tables of a sweep say: where training breaks, what moves it, and how sure that is."""
