"""Who may ask the server behind the page, and what: this machine, with the token, and nothing that lies elsewhere."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import tracemalloc
from concurrent.futures import ThreadPoolExecutor

import pytest

from npsoftmax.cli.look import _example
from npsoftmax.cli.main import main
from npsoftmax.errors import InputError
from npsoftmax.look.server import MOST_BODY, PAGE, LookServer
from npsoftmax.look.subject import Subject


@pytest.fixture(scope="module")
def server(answers):
    with LookServer(answers["convnet"]) as started:
        yield started


def asked(server, path, body=None, token=True, method=None, **headers):
    """Status, headers and content of an answer."""
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=20)
    headers = {name.replace("_", "-"): value for name, value in headers.items()}
    if token is True:
        headers["X-Token"] = server.token
    connection.request(method or ("GET" if body is None else "POST"), path, body, headers)
    answer = connection.getresponse()
    content = answer.read()
    connection.close()
    return answer.status, dict(answer.getheaders()), content


def question(server, name, **given):
    status, _, content = asked(server, f"/api/{name}", json.dumps(given))
    return status, json.loads(content)


def test_the_page_and_its_files(server):
    status, headers, content = asked(server, f"/?token={server.token}", token=None)
    text = content.decode()
    assert status == 200 and server.token in text and "TOKEN" not in text
    assert "default-src 'none'" in headers["Content-Security-Policy"] and headers["Referrer-Policy"] == "no-referrer"
    assert not re.search(r"https?://(?!www\.w3\.org)", text)
    for name in PAGE:
        status, headers, content = asked(server, f"/{name}?token={server.token}", token=None)
        assert status == 200 and content, name
        assert b"https://" not in content and content.count(b"http://") == content.count(b"http://www.w3.org/2000/svg")
        for module in re.findall(rb'from "\./(\w+\.js)(\?[^"]*)?"', content):
            assert module[0].decode() in PAGE and server.token.encode() in module[1]


def test_a_question_is_answered(server):
    status, answer = question(server, "forward", image=0)
    assert status == 200 and len(answer["top"]) == 5 and answer["seconds"] < 10


REFUSED = {
    "no token": ("/", None, {"token": None}, 403),
    "another token": ("/?token=abc", None, {"token": None}, 403),
    "a token that is no ASCII": ("/?token=%C3%A9", None, {"token": None}, 403),
    "a question without a token": ("/api/forward", "{}", {"token": None}, 403),
    "another page's question": ("/api/forward", "{}", {"Origin": "https://example.org"}, 403),
    "a page without an origin": ("/api/forward", "{}", {"Origin": "null"}, 403),
    "another port of this machine": ("/api/forward", "{}", {"Origin": "http://127.0.0.1:1"}, 403),
    "a name that leads here": ("/", None, {"Host": "example.org"}, 403),
    "a name that leads here, with the port": ("/", None, {"Host": "attacker.test:8000"}, 403),
    "a file that is not of the page": ("/server.py", None, {}, 404),
    "a path upwards": ("/../server.py", None, {}, 404),
    "a path upwards, encoded": ("/%2e%2e/%2e%2e/etc/passwd", None, {}, 404),
    "an absolute path": ("//etc/passwd", None, {}, 404),
    "the page by another way": ("/page/app.js", None, {}, 404),
    "a question that there is not": ("/api/nothing", "{}", {}, 404),
    "an attribute of the answers": ("/api/__class__", "{}", {}, 404),
    "no JSON": ("/api/forward", "image=0", {}, 400),
    "JSON that is no object": ("/api/forward", "[0]", {}, 400),
    "lists in lists": ("/api/forward", "[" * 100_000, {}, 400),
    "a value that does not fit": ("/api/forward", '{"image": "x"}', {}, 422),
    "an upload that is no image": ("/api/upload", "no image", {}, 422),
    "a length that is none": ("/api/forward", "{}", {"Content_Length": "-5"}, 411),
    "a length without an end": ("/api/forward", "{}", {"Content_Length": "9" * 30}, 413),
    "an upload of gigabytes": ("/api/upload", "x", {"Content_Length": str(MOST_BODY + 1)}, 413),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_refused(server, name):
    path, body, options, expected = REFUSED[name]
    status, headers, content = asked(server, path, body, **options)
    assert status == expected and headers["Content-Type"] == "application/json"
    said = json.loads(content)["error"]
    assert said and "\n" not in said and server.token not in said


@pytest.mark.parametrize("method", ["PUT", "DELETE", "OPTIONS", "TRACE", "PATCH"])
def test_other_methods_are_not_known(server, method):
    assert asked(server, "/", method=method)[0] == 501


def test_it_listens_on_this_machine_alone(server):
    assert server.server_address[0] == "127.0.0.1"


def test_what_is_no_request_does_not_end_it(server):
    for rubbish in (
        b"\x00\xff" * 100,
        b"GET " + b"/" * 70_000 + b"\r\n\r\n",
        b"POST /api/forward HTTP/1.1\r\n",
        b"\r\n" * 5,
    ):
        with socket.create_connection(("127.0.0.1", server.server_port), timeout=5) as connection:
            connection.sendall(rubbish)
    assert question(server, "forward", image=0)[0] == 200


def test_two_pages_at_once(server):
    def page(number):
        return [question(server, "unit", image=number, path="conv1", place=[i, i, 0]) for i in range(6)]

    alone = [page(0), page(1)]
    with ThreadPoolExecutor(2) as pool:
        together = list(pool.map(page, (0, 1)))
    values = [[[answer["value"] for _, answer in part] for part in both] for both in (alone, together)]
    assert values[0] == values[1]


@pytest.mark.slow
def test_memory_stays_flat(server):
    def interact(count):
        for i in range(count):
            question(server, "unit", image=i % 60, path="conv2", place=[0, 0, i % 6])
            question(server, "losses", z=[i / 10, 0.0, 1.0], target=0, noise=i)

    interact(50)
    tracemalloc.start()
    interact(20)
    before = tracemalloc.get_traced_memory()[0]
    interact(500)  # a thousand questions
    after = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert after - before < 2**20


def test_a_mistake_of_the_library_is_said_and_the_server_goes_on(server, monkeypatch):
    monkeypatch.setitem(server.answers.questions, "start", lambda asked: 1 / 0)
    status, answer = question(server, "start")
    assert status == 500 and "ZeroDivisionError" in answer["error"]
    assert question(server, "forward", image=0)[0] == 200


# ---------------------------------------------------------------- the command
@pytest.mark.slow
def test_without_a_run_an_example_is_trained_and_then_kept(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert Subject.of_run(_example()).images is not None
    capsys.readouterr()
    assert _example().is_dir() and not capsys.readouterr().out


def test_a_port_that_is_taken_or_none(answers, server):
    for port in (server.server_port, 99_999_999):
        with pytest.raises(InputError, match="--port"):
            LookServer(answers["convnet"], port)


@pytest.mark.skipif(sys.platform == "win32", reason="Ctrl-C cannot be sent to one process there")
def test_the_command_prints_an_address_ends_with_ctrl_c_and_starts_again(folders):
    command = [sys.executable, "-m", "npsoftmax.cli.main", "look", str(folders["convnet"]), "--no-browser"]
    for end in (signal.SIGKILL, signal.SIGINT):
        with subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | {"PYTHONUNBUFFERED": "1"},
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        ) as process:
            for line in process.stdout:
                if found := re.search(r"http://127\.0\.0\.1:(\d+)/\?token=(\S+)", line):
                    break
            if end == signal.SIGKILL:  # the other comes as soon as the address is read
                with contextlib.closing(
                    http.client.HTTPConnection("127.0.0.1", int(found[1]), timeout=20)
                ) as connection:
                    connection.request("GET", f"/?token={found[2]}")
                    assert connection.getresponse().status == 200
            process.send_signal(end)
            process.wait(20)
    assert process.returncode == 0


def test_ctrl_c_while_the_browser_opens_is_an_end_too(folders, monkeypatch, capsys):
    def interrupted(address):
        raise KeyboardInterrupt

    monkeypatch.setattr("webbrowser.open", interrupted)
    assert main(["look", str(folders["convnet"])]) == 0
    assert capsys.readouterr().out.endswith("\nended\n")
