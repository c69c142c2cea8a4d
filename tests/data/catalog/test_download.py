"""Downloads from a server of this machine: whole, interrupted, damaged."""

import contextlib
import hashlib
import http.server
import threading

import pytest

from jaxpriors.data.catalog import download
from jaxpriors.data.catalog.download import TRIES, digest_of, obtain, verify
from jaxpriors.data.catalog.sets import File
from jaxpriors.errors import InputError

CONTENT = bytes(range(256)) * 8000  # two blocks
DIGEST = f"md5:{hashlib.md5(CONTENT).hexdigest()}"


class Server(http.server.BaseHTTPRequestHandler):
    """Serves CONTENT in ranges; `cut` bytes at most in each answer, where that is set.

    Answers after the first `last` ones are empty; those before are errors `busy`.
    """

    cut = None
    last = 99
    busy: tuple = ()
    ranges = True
    asked: list

    def do_GET(self):
        if self.path != "/file":
            self.send_error(404)
            return
        begin = 0
        if (wanted := self.headers.get("Range")) and self.ranges:
            begin = int(wanted.removeprefix("bytes=").removesuffix("-"))
            if begin >= len(CONTENT):
                self.send_error(416)
                return
        self.asked.append(begin)
        if len(self.asked) <= len(self.busy):
            self.send_error(self.busy[len(self.asked) - 1])
            return
        self.send_response(206 if begin else 200)
        self.send_header("Content-Length", str(len(CONTENT) - begin))
        self.end_headers()
        with contextlib.suppress(ConnectionError):
            end = None if self.cut is None else begin + self.cut
            self.wfile.write(CONTENT[begin : end if len(self.asked) <= self.last else begin])

    def log_message(self, *arguments):
        """Nothing."""


@pytest.fixture(autouse=True)
def hurried(monkeypatch):
    """No pause between the tries."""
    monkeypatch.setattr(download, "PAUSE", 0.0)


@pytest.fixture
def served():
    """The handler's class, to be set up, and the address."""
    handler = type("Handler", (Server,), {"asked": []})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield handler, f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_a_file_is_downloaded_and_verified_once(served, tmp_path):
    handler, address = served
    told = []
    file = File("a.npz", f"{address}/file", len(CONTENT), DIGEST)
    path = obtain(file, tmp_path / "new", lambda *record: told.append(record))
    assert path.read_bytes() == CONTENT
    whole = (len(CONTENT), len(CONTENT))
    assert ("a.npz", *whole) in told and told[-1] == ("verifying .a.npz.partial", *whole)
    assert obtain(file, tmp_path / "new") == path and handler.asked == [0]
    assert [p.name for p in (tmp_path / "new").iterdir()] == ["a.npz"]


@pytest.mark.parametrize("size", [len(CONTENT), None])
def test_a_connection_that_ends_is_taken_up_where_it_was(served, tmp_path, size):
    handler, address = served
    handler.cut = 900_000
    path = obtain(File("a.npz", f"{address}/file", size, DIGEST), tmp_path)
    assert path.read_bytes() == CONTENT
    assert handler.asked == [0, 900_000, 1_800_000]


def test_a_later_call_goes_on_with_what_is_there(served, tmp_path):
    handler, address = served
    handler.cut, handler.last = 1000, 7
    file = File("a.npz", f"{address}/file", None, DIGEST)
    with pytest.raises(InputError, match=r"7000 bytes are kept in .*\.a\.npz\.partial"):
        obtain(file, tmp_path)
    assert handler.asked == [*range(0, 7000, 1000), *(TRIES - 1) * [7000]]
    handler.cut = None
    handler.last = 99
    assert obtain(file, tmp_path).read_bytes() == CONTENT
    assert handler.asked[-1] == 7000
    # all of it was there, but for its name
    (tmp_path / "a.npz").rename(tmp_path / ".a.npz.partial")
    assert obtain(file, tmp_path).read_bytes() == CONTENT


def test_a_server_that_is_busy_is_asked_again(served, tmp_path):
    handler, address = served
    handler.busy = (429, 503)
    file = File("a.npz", f"{address}/file", None, DIGEST)
    assert obtain(file, tmp_path).read_bytes() == CONTENT
    handler.busy = 99 * (503,)
    with pytest.raises(InputError, match=r"cannot be downloaded \(the server says 503"):
        obtain(File("b.npz", f"{address}/file", None, DIGEST), tmp_path)


def test_a_server_without_ranges_begins_again(served, tmp_path):
    handler, address = served
    handler.ranges = False
    (tmp_path / ".a.npz.partial").write_bytes(b"other")
    path = obtain(File("a.npz", f"{address}/file", None, DIGEST), tmp_path)
    assert path.read_bytes() == CONTENT


def test_what_is_damaged_or_absent_is_refused(served, tmp_path):
    _, address = served
    other = f"md5:{'0' * 32}"
    with pytest.raises(InputError, match=rf"found {DIGEST}, expected {other}, as published"):
        obtain(File("a.npz", f"{address}/file", None, other), tmp_path)
    assert not list(tmp_path.iterdir())
    with pytest.raises(InputError, match="the server says 404"):
        obtain(File("a.npz", f"{address}/absent", None, other), tmp_path)
    (tmp_path / "a.npz").write_bytes(CONTENT[:-1])
    file = File("a.npz", f"{address}/file", len(CONTENT), DIGEST)
    with pytest.raises(InputError, match=rf"a\.npz: found {len(CONTENT) - 1} bytes, expected"):
        obtain(file, tmp_path)
    with pytest.raises(InputError, match=r"cannot be downloaded .* put b\.npz into"):
        obtain(File("b.npz", "http://127.0.0.1:1/file", None, DIGEST), tmp_path)


def test_a_file_of_which_nothing_was_published_is_recorded(tmp_path):
    (tmp_path / "a.npz").write_bytes(CONTENT)
    found = verify(tmp_path / "a.npz", File("a.npz", "", None, None))
    assert found == digest_of(tmp_path / "a.npz") == f"sha256:{hashlib.sha256(CONTENT).hexdigest()}"
