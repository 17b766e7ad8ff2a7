"""Where the parts of the product listen, if nobody says otherwise."""

HOST = "127.0.0.1"
API_PORT = 8000
TEMPORAL_PORT = 7233
TEMPORAL_UI_PORT = 8233
