"""What becomes of a connection's promises: run it alone, then with `./run python3 check.py`."""

import array
import fcntl
import os
import select
import socket
import termios

LIMIT = 2 << 30


def pair():
    """Both ends of a loopback connection."""
    listener = socket.create_server(("127.0.0.1", 0))
    client = socket.create_connection(listener.getsockname())
    return client, listener.accept()[0]


def flow_control():
    """How much a sender gets rid of while nobody reads."""
    client, _server = pair()
    client.setblocking(False)
    sent = 0
    try:
        while sent < LIMIT:
            sent += client.send(bytes(65536))
        end = "not stopped"
    except OSError as error:
        end = error.strerror
    return f"{sent >> 20} MiB ({end})"


def spliced():
    """What splice(2) finds in a socket that is readable."""
    client, server = pair()
    client.send(b"hello")
    select.select([server], [], [], 5)
    server.setblocking(False)
    waiting = array.array("i", [0])
    fcntl.ioctl(server, termios.FIONREAD, waiting)
    libc = __import__("ctypes").CDLL(None, use_errno=True)
    _end, pipe = os.pipe()
    found = libc.splice(server.fileno(), None, pipe, None, 4096, 2)
    return f"{found} of {waiting[0]} bytes"


print("taken while nobody reads:", flow_control())
print("splice finds:", spliced())
