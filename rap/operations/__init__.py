"""What operators are told and may order of a backend (controller.md 12, 15). Pure: no I/O."""
