"""Example WebSocket services without any authentication of their own: echo, chat, clock."""
