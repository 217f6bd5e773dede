"""The file transfer engine, without any I/O: bytes and time come in, datagrams and facts go out."""
