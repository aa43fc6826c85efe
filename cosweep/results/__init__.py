"""Reading and judging what trials wrote; tables only, no torch."""
