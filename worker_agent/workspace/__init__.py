"""The files of a backend: volumes, outputs, level 4, manifests, logs."""
