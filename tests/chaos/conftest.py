"""The images and studies of the end-to-end tests serve here as well."""

from tests.e2e.conftest import images, study

__all__ = ["images", "study"]
