"""Sees whether a namespace has the search attributes that the workflows set."""

from temporalio.api.operatorservice.v1 import ListSearchAttributesRequest
from temporalio.client import Client

from rap.errors import ConfigurationError
from rap.temporal.search_attributes import SEARCH_ATTRIBUTES


async def check_search_attributes(client: Client) -> None:
    """Make sure that the namespace has our search attributes.

    Raises:
        ConfigurationError: with the command that adds the missing ones.
    """
    answer = await client.operator_service.list_search_attributes(
        ListSearchAttributesRequest(namespace=client.namespace)
    )
    missing = sorted(set(SEARCH_ATTRIBUTES) - set(answer.custom_attributes))
    if missing:
        options = " ".join(f"--name {name} --type {SEARCH_ATTRIBUTES[name]}" for name in missing)
        raise ConfigurationError(
            f"The namespace {client.namespace} lacks search attributes. Add them with: temporal "
            f"operator search-attribute create --namespace {client.namespace} {options}"
        )
