"""Measurements. Each prints JSON with ratios against something measured in the same run."""
