"""The demo's load: counting, percentiles, and errors that are told."""

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from falak.demo import load
from tests.nodes import until


class Answer(BaseHTTPRequestHandler):
    """200 for the right host, else 503; hangs up on /gone."""

    protocol_version = "HTTP/1.1"

    def do_GET(self):
        if self.path == "/gone":
            self.close_connection = True
            return
        body = b"hello"
        self.send_response(200 if self.headers["Host"] == "hello.localhost" else 503)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *words):
        """Quiet."""


@pytest.fixture
def http():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Answer)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_every_request_is_counted_at_its_node(http):
    result = load.run([("a", http), ("b", http), ("c", http)], "hello.localhost", "/", 20)
    assert {name: len(times) for name, times in result.by_node.items()} == {"a": 7, "b": 7, "c": 6}
    assert (result.answered, result.errors) == (20, [])
    assert 0 < result.percentile_ms(0.5) <= result.percentile_ms(0.99) and result.rate > 0


def test_what_goes_wrong_is_told_by_node(http):
    result = load.run([("a", http)], "other", "/", 2)
    assert (result.answered, result.errors) == (0, ["a: status 503: hello"] * 2)
    result = load.run([("a", http), ("b", http)], "hello.localhost", "/gone", 2)
    assert result.answered == 0 and len(result.errors) == 2
    assert load.run([("a", "127.0.0.1:1")], "hello.localhost", "/", 1).errors[0].startswith("a: ")


def test_percentiles():
    result = load.Result(wall_s=2.0, by_node={"a": [1.0, 4.0], "b": [2.0, 3.0]})
    assert [result.percentile_ms(share) for share in (0.0, 0.5, 0.99, 1.0)] == [1.0, 3.0, 4.0, 4.0]
    assert result.rate == 2.0 and load.Result().percentile_ms(0.5) == 0.0


def test_a_steady_load_tells_every_request(http):
    steady = load.Steady([("a", http), ("b", http), ("c", "127.0.0.1:1")], "hello.localhost", "/", 300.0)
    steady.start()
    until(lambda: {one.node for one in steady._asked} == {"a", "b", "c"}, "all were asked")
    asked = steady.stop()
    assert {one.status for one in asked if one.node != "c"} == {200}
    assert all(one.status == 0 and one.why for one in asked if one.node == "c")
    assert asked == sorted(asked) and all(one.began_s <= one.ended_s for one in asked)


def test_a_steady_load_goes_on_after_a_connection_that_failed(http):
    steady = load.Steady([("a", http)], "hello.localhost", "/gone", 500.0)
    steady.start()
    until(lambda: len(steady._asked) >= 3, "it asks again")
    assert all(one.status == 0 and one.why for one in steady.stop())
