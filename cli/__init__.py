"""The ``rap`` command: the roof of the product, which nothing imports."""
