"""The Redis protocol over a plain socket: the floor under what a client library does."""

import socket


def resp(*words: bytes) -> bytes:
    """One command as it goes over the wire."""
    parts = [b"*%d\r\n" % len(words)]
    parts += [b"$%d\r\n%b\r\n" % (len(word), word) for word in words]
    return b"".join(parts)


def send(port: int, requests: list[bytes]) -> None:
    """Send commands that are answered in one line, one after another."""
    with socket.create_connection(("127.0.0.1", port)) as connection:
        for request in requests:
            connection.sendall(request)
            answer = connection.recv(1024)
            assert answer.startswith(b"+"), answer


def get(connection: socket.socket, key: bytes) -> bytes:
    """GET one value: the whole answer as it came."""
    connection.sendall(resp(b"GET", key))
    answer = connection.recv(4096)
    length = int(answer[1 : answer.index(b"\r\n")])
    while length >= 0 and len(answer) < length + 5:
        answer += connection.recv(4096)
    return answer
