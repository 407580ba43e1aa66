"""Malformed and ambiguous HTTP/1.1 at a node's own port: refused once, the connection closed, nobody smuggled.

Every attack carries a second request that only a parser which was led astray would see; an answer to it, or
more than one answer, is a failure. Afterwards the same node answers an honest client.
"""

import pytest

from tests.http1 import Answer, Connection, get
from tests.nodes import Running

HOST = "probe.localhost"
SMUGGLED = b"GET /status/299 HTTP/1.1\r\nHost: probe.localhost\r\n\r\n"
pytestmark = pytest.mark.xdist_group("hostile_http")


def post(headers: str, rest: bytes) -> bytes:
    return f"POST /upload HTTP/1.1\r\nHost: {HOST}\r\n{headers}\r\n\r\n".encode() + rest


def head(lines: str) -> bytes:
    return f"GET / HTTP/1.1\r\nHost: {HOST}\r\n{lines}\r\n\r\n".encode()


CHUNKED = "Transfer-Encoding: chunked"
EMPTY = b"0\r\n\r\n"
LENGTHS = {
    "CL and TE": post(f"Content-Length: 5\r\n{CHUNKED}", EMPTY),
    "TE and CL": post(f"{CHUNKED}\r\nContent-Length: 5", EMPTY),
    "CL and TE, whole": post(f"Content-Length: {len(EMPTY)}\r\n{CHUNKED}", EMPTY),
    "two CL": post("Content-Length: 4\r\nContent-Length: 5", b"12345"),
    "the same CL twice": post("Content-Length: 5\r\nContent-Length: 5", b"12345"),
    "a list as CL": post("Content-Length: 5, 5", b"12345"),
    "CL with a sign": post("Content-Length: +5", b"12345"),
    "CL below zero": post("Content-Length: -5", b"12345"),
    "CL in hex": post("Content-Length: 0x5", b"12345"),
    "CL with a space inside": post("Content-Length: 1 0", b"12345"),
    "CL above 64 bits": post("Content-Length: 18446744073709551621", b"12345"),
    "CL without a value": post("Content-Length:", b"12345"),
    "two TE": post(f"{CHUNKED}\r\n{CHUNKED}", EMPTY),
    "TE that ends in another coding": post("Transfer-Encoding: chunked, identity", EMPTY),
    "TE with a coding before": post("Transfer-Encoding: gzip, chunked", EMPTY),
    "TE that only looks like it": post("Transfer-Encoding: xchunked", EMPTY),
    "TE in quotes": post('Transfer-Encoding: "chunked"', EMPTY),
    "TE with a control character": post("Transfer-Encoding: \x0bchunked", EMPTY),
    "TE with a space before its colon": post("Transfer-Encoding : chunked", EMPTY),
    "TE in a folded line": post("Transfer-Encoding:\r\n chunked", EMPTY),
    "TE with HTTP/1.0": post(CHUNKED, EMPTY).replace(b"HTTP/1.1", b"HTTP/1.0"),
}
CHUNKS = {
    f"chunk size {size!r}": post(CHUNKED, size + b"\r\n12345\r\n" + EMPTY)
    for size in (b"", b"x5", b"-5", b"+5", b"0x5", b"5 5", b"ffffffffffffffff5", b"5\x00", b"\t5")
} | {
    "chunk longer than it says": post(CHUNKED, b"5\r\n1234567\r\n" + EMPTY),
    "chunk that ends in a bare LF": post(CHUNKED, b"5\r\n12345\n" + EMPTY),
    "size line that ends in a bare LF": post(CHUNKED, b"5\n12345\r\n" + EMPTY),
    "extension with a bare LF": post(CHUNKED, b"5;a\nb\r\n12345\r\n" + EMPTY),
    "trailer that ends in a bare LF": post(CHUNKED, b"0\r\nX: 1\n\r\n"),
    "a trailer that is none": post(CHUNKED, b"0\r\nno colon\r\n\r\n"),
}
LINES = {
    "bare LF everywhere": b"GET / HTTP/1.1\nHost: probe.localhost\n\n",
    "bare LF in a header": b"GET / HTTP/1.1\r\nHost: probe.localhost\r\nX: a\nY: b\r\n\r\n",
    "bare CR in a header": head("X: a\rY: b"),
    "NUL in a value": head("X: a\0b"),
    "a folded header": head("X: a\r\n b"),
    "a first header that is folded": b"GET / HTTP/1.1\r\n Host: probe.localhost\r\n\r\n",
    "a header without a colon": head("no colon here"),
    "a header without a name": head(": x"),
    "a space in a name": head("X Y: z"),
    "a control character in a name": head("X\x01: z"),
    "no version": b"GET /\r\n\r\n",
    "another version": b"GET / HTTP/2.7\r\nHost: probe.localhost\r\n\r\n",
    "a version in lower case": b"GET / http/1.1\r\nHost: probe.localhost\r\n\r\n",
    "two spaces": b"GET  / HTTP/1.1\r\nHost: probe.localhost\r\n\r\n",
    "a tab": b"GET\t/ HTTP/1.1\r\nHost: probe.localhost\r\n\r\n",
    "a space in the target": b"GET /a b HTTP/1.1\r\nHost: probe.localhost\r\n\r\n",
    "NUL in the target": b"GET /a\0b HTTP/1.1\r\nHost: probe.localhost\r\n\r\n",
    "a target without its slash": b"GET status/299 HTTP/1.1\r\nHost: probe.localhost\r\n\r\n",
    "a method that is none": b"GE(T / HTTP/1.1\r\nHost: probe.localhost\r\n\r\n",
    "TLS": bytes.fromhex("16030100a5010000a10303") + bytes(160),
    "garbage": bytes(range(128, 256)) * 4 + b"\r\n\r\n",
}
HOSTS = {
    "no Host": b"GET / HTTP/1.1\r\n\r\n",
    "no Host with HTTP/1.0": b"GET / HTTP/1.0\r\n\r\n",
    "an empty Host": b"GET / HTTP/1.1\r\nHost:\r\n\r\n",
    "two Hosts": b"GET / HTTP/1.1\r\nHost: probe.localhost\r\nHost: other.localhost\r\n\r\n",
    "the same Host twice": b"GET / HTTP/1.1\r\nHost: probe.localhost\r\nHost: probe.localhost\r\n\r\n",
    "a list as Host": b"GET / HTTP/1.1\r\nHost: probe.localhost, other.localhost\r\n\r\n",
    "a user in Host": b"GET / HTTP/1.1\r\nHost: probe.localhost@other\r\n\r\n",
    "a path in Host": b"GET / HTTP/1.1\r\nHost: probe.localhost/other\r\n\r\n",
    "a port that is none": b"GET / HTTP/1.1\r\nHost: probe.localhost:http\r\n\r\n",
    "absolute target, another Host": b"GET http://other.localhost/ HTTP/1.1\r\nHost: probe.localhost\r\n\r\n",
    "absolute target with a user": b"GET http://a@probe.localhost/ HTTP/1.1\r\nHost: probe.localhost\r\n\r\n",
    "CONNECT": b"CONNECT probe.localhost:80 HTTP/1.1\r\nHost: probe.localhost:80\r\n\r\n",
    "CONNECT to elsewhere": b"CONNECT 127.0.0.1:22 HTTP/1.1\r\nHost: 127.0.0.1:22\r\n\r\n",
    "*": b"OPTIONS * HTTP/1.1\r\nHost: probe.localhost\r\n\r\n",
}

FRAMING = LENGTHS | CHUNKS | LINES


def talk(address: str, data: bytes) -> tuple[list[Answer], bool]:
    """Every answer to what is sent on one connection, and whether it was closed after them. Nothing follows an
    honest last request for half a second: then it counts as open."""
    answers: list[Answer] = []
    with Connection(address, within_s=5.0) as connection:
        connection.send(data)
        try:
            while (answer := connection.answer()) is not None:
                answers.append(answer)
                connection.within_s = 0.5
        except TimeoutError:
            return answers, False
    return answers, True


def still_well(node: Running) -> None:
    answer = get(node.ready["http"], HOST, "/status/201")
    assert answer.status == 201


@pytest.mark.parametrize("name", FRAMING)
def test_a_request_with_two_readings_has_none(probe: Running, name: str) -> None:
    answers, closed = talk(probe.ready["http"], FRAMING[name] + SMUGGLED)
    assert len(answers) <= 1 and closed, f"{[a.status for a in answers]}, closed: {closed}"
    assert not answers or answers[0].status in (400, 501, 505), answers
    still_well(probe)


@pytest.mark.parametrize("name", HOSTS)
def test_a_request_for_no_one_host_is_refused(probe: Running, name: str) -> None:
    answers, _ = talk(probe.ready["http"], HOSTS[name])
    assert [answer.status for answer in answers] == [400]
    still_well(probe)
