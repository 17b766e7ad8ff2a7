"""The shared kernel: what every process of the product agrees on. No I/O at import."""
