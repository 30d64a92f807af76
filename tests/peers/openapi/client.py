"""The examples of the documentation with the client that openapi-python-client makes of the document.

mypy checks it strictly; it ends with an error if the server answers otherwise.
"""

import os
from typing import TypeVar

from rejoinder_client import AuthenticatedClient
from rejoinder_client.api.platform import (
    create_conversation,
    create_webhook_endpoint,
    delete_webhook_endpoint,
    list_events,
    list_webhook_endpoints,
    read_conversation,
    send_message,
    test_webhook_endpoint,
    update_webhook_endpoint,
)
from rejoinder_client.models import (
    MessageCreatedEvent,
    NewConversation,
    NewMessage,
    NewMessageSenderType,
    NewWebhookEndpoint,
    NewWebhookEndpointTypesType0Item,
    PlatformError,
    ReplyFailedEvent,
    WebhookEndpointUpdate,
)
from rejoinder_client.types import Response, Unset

T = TypeVar("T")

client = AuthenticatedClient(base_url=os.environ["SERVER"], token=os.environ["KEY"])


def expect(value: T | PlatformError | None) -> T:
    """A successful response."""
    assert value is not None and not isinstance(value, PlatformError), value
    return value


def code(response: Response[T]) -> str | None:
    """The code of an error."""
    return response.headers.get("Rejoinder-Error")


def send_and_wait() -> None:
    """Sends a message in a new conversation, and waits for its reply in the feed."""
    after = expect(list_events.sync(client=client, after="latest")).data.next_cursor
    new = NewConversation(assistant_id=os.environ["ASSISTANT"])
    conversation = expect(create_conversation.sync(client=client, body=new)).data
    message = NewMessage(
        conversation_id=conversation.id,
        sender_id="usr_82hd92",
        sender_type=NewMessageSenderType.USER,
        text="Hello plain",
    )
    sent = expect(send_message.sync(client=client, body=message, idempotency_key=f"{conversation.id}-1")).data
    assert sent.auto_reply_enqueued
    while True:
        page = expect(list_events.sync(client=client, after=after, wait=20, conversation_id=conversation.id)).data
        assert page.items, "the reply comes"
        after = page.next_cursor
        for event in page.items:
            assert not isinstance(event, ReplyFailedEvent), event
            if not isinstance(event, MessageCreatedEvent) or isinstance(event.data, Unset):
                continue
            if event.data.message.reply_to_message_id == sent.message.id:
                assert event.data.message.text
                return


def webhook_endpoints() -> None:
    """Creates, changes, lists and deletes a webhook endpoint."""
    new = NewWebhookEndpoint(
        url="https://crm.example/hooks",
        types=[NewWebhookEndpointTypesType0Item.MESSAGE_CREATED],
    )
    endpoint = expect(create_webhook_endpoint.sync(client=client, body=new)).data
    assert endpoint.secret.startswith("whsec_")
    change = WebhookEndpointUpdate(enabled=False)
    changed = expect(update_webhook_endpoint.sync(endpoint.id, client=client, body=change)).data
    assert not changed.enabled
    listed = expect(list_webhook_endpoints.sync(client=client, limit=200)).data
    assert endpoint.id in [found.id for found in listed.items]
    refused = test_webhook_endpoint.sync_detailed(endpoint.id, client=client)
    assert code(refused) == "conflict", refused
    assert isinstance(refused.parsed, PlatformError)
    assert refused.parsed.message == "The webhook endpoint is disabled."
    expect(delete_webhook_endpoint.sync(endpoint.id, client=client))


def errors() -> None:
    """An error is handled by its code."""
    unknown = "con_00000000000000000000000000"
    response = read_conversation.sync_detailed(unknown, client=client)
    assert code(response) == "conversation_not_found", response
    assert isinstance(response.parsed, PlatformError)
    assert response.parsed.message == f"Conversation not found: {unknown}."


if __name__ == "__main__":
    send_and_wait()
    webhook_endpoints()
    errors()
    print("python: pass")
