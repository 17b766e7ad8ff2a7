"""What checks and describes this repository itself; no part of the product."""
