"""A RAP or a workspace as a research object: a bag with a Five Safes crate (docs/adr/0010)."""
