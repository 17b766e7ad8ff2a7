"""Activities: contracts that workflows import, and the two sides' implementations."""
