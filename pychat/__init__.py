"""Python Chat: a chat and a shared folder of files for the people on a network that they own."""

__version__ = "0.1.0"
