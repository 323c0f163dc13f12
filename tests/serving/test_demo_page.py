"""The page in headless Chromium: what it shows changes with every key."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("sklearn")
pytest.importorskip("starlette")
pytest.importorskip("uvicorn")
pytest.importorskip("prometheus_client")
pytest.importorskip("websockets")

from websockets.sync.client import connect

import bptt
from bptt.serving._limits import Limits
from bptt.serving._served_model import ServedModel
from serve_clients import serving, wait_until

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser"))), None)
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")

TOKEN = "correct-horse-battery"
# Where to leave pictures of the page, for a look at them.
PICTURES = os.environ.get("BPTT_PAGE_PICTURES")


class Page:
    """A page of Chromium, driven by its protocol (CDP)."""

    def __init__(self, websocket: Any) -> None:
        self._websocket, self._ids = websocket, count(1)

    def call(self, method: str, **parameters: Any) -> Any:
        number = next(self._ids)
        message = {"id": number, "method": method, "params": parameters}
        self._websocket.send(json.dumps(message))
        while True:
            answer = json.loads(self._websocket.recv(60))
            if answer.get("id") == number:
                assert "error" not in answer, answer
                return answer["result"]

    def value(self, expression: str) -> Any:
        found = self.call("Runtime.evaluate", expression=expression, returnByValue=True)
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    def texts(self, selector: str) -> list[str]:
        return self.value(f"[...document.querySelectorAll('{selector}')].map(e => e.textContent)")

    def type(self, text: str) -> None:
        for letter in text:
            self.call("Input.dispatchKeyEvent", type="char", text=letter)

    def backspace(self) -> None:
        key = {"key": "Backspace", "code": "Backspace", "windowsVirtualKeyCode": 8}
        for kind in ("keyDown", "keyUp"):
            self.call("Input.dispatchKeyEvent", type=kind, **key)

    def picture(self, name: str) -> None:
        if PICTURES is not None:
            import base64

            data = self.call("Page.captureScreenshot", format="png")["data"]
            (Path(PICTURES) / f"{name}.png").write_bytes(base64.b64decode(data))


@pytest.fixture(scope="module")
def browser(tmp_path_factory) -> Iterator[str]:
    """Address of the protocol of a headless Chromium."""
    folder = tmp_path_factory.mktemp("chromium")
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"]
    flags += ["--disable-background-networking", "--disable-component-update", "--disable-sync"]
    flags += ["--disable-dev-shm-usage", "--remote-debugging-port=0", "--window-size=800,700"]
    process = subprocess.Popen(
        [str(CHROMIUM), *flags, f"--user-data-dir={folder}", "about:blank"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        file = folder / "DevToolsActivePort"
        wait_until(lambda: file.exists() and "\n" in file.read_text())
        yield f"http://127.0.0.1:{file.read_text().splitlines()[0]}"
    finally:
        process.terminate()
        process.wait(60)


@contextmanager
def opened(browser: str, url: str) -> Iterator[Page]:
    """Open a page."""
    request = urllib.request.Request(f"{browser}/json/new?about:blank", method="PUT")
    with urllib.request.urlopen(request, timeout=60) as answer:
        target = json.load(answer)
    with connect(target["webSocketDebuggerUrl"], max_size=None, compression=None) as websocket:
        page = Page(websocket)
        page.call("Page.navigate", url=url)
        wait_until(lambda: page.value("document.readyState") == "complete" and page.texts("main"))
        yield page
        page.call("Page.close")


def focus(page: Page) -> None:
    wait_until(lambda: page.value("!document.getElementById('input').disabled"))
    page.value("document.getElementById('input').focus()")


def test_next_letters_change_with_every_key(browser) -> None:
    model = bptt.LanguageModel(hidden_size=16, epochs=60, learning_rate=0.02, random_state=0)
    model.fit(["anna", "bob", "eve", "dan"] * 4)
    with serving(ServedModel(model, "names")) as server, opened(browser, f"{server.url}/") as page:
        focus(page)
        seen = []
        for text in ("", "b", "bo", "bob", "bo"):
            if len(text) == 2 and len(seen) == 4:
                page.backspace()
            elif text:
                page.type(text[-1])
            known = model.next_token_probabilities(text).items()
            likely = [(name, p) for name, p in known if name not in ("<start>", "<unk>")][:10]
            names = [token.strip("<>") for token, _ in likely]
            wait_until(lambda names=names: page.texts(".of") == names)
            shares = [float(share.rstrip(" %")) / 100 for share in page.texts(".share")]
            assert shares == pytest.approx([p for _, p in likely], abs=0.001)
            seen.append(page.texts(".of"))
            page.picture(f"letters-{len(seen)}")
        assert seen[2] == seen[4]  # the session began anew, and read the rest
        assert (seen[2][0], seen[3][0]) == ("b", "stop")
        assert page.value("document.getElementById('input').value") == "bo"
        assert page.texts("#status") == ["3 steps in this session"]
        hosts = page.value("performance.getEntriesByType('resource').map(e => e.name)")
        assert all(host.startswith(server.url) for host in hosts)


def test_tags_change_with_every_key_and_token_is_asked_for(browser) -> None:
    texts = ["the dog sees a cat", "a cat runs", "the cat sees the dog", "a dog runs"] * 4
    kinds = {"the": "DET", "a": "DET", "dog": "NOUN", "cat": "NOUN"}
    tags = [[kinds.get(word, "VERB") for word in text.split()] for text in texts]
    model = bptt.SequenceTagger(
        tokens="words", hidden_size=16, epochs=30, embedding_size=8, affixes=2, random_state=0
    ).fit(texts, tags)
    limits = Limits(idle=2.0)
    with (
        serving(ServedModel(model, "tags"), token=TOKEN, limits=limits) as server,
        opened(browser, f"{server.url}/") as page,
    ):
        wait_until(lambda: page.texts("#status") == ["needs a token"])
        page.value("document.getElementById('token').focus()")
        page.type(TOKEN)
        page.value("document.querySelector('#access button').click()")
        focus(page)
        page.type("the dog")
        wait_until(lambda: len(page.texts(".tag")) == 2)
        page.type(" runs")
        wait_until(lambda: [tag.startswith("runs") for tag in page.texts(".tag")][2:] == [True])
        found = [tag.split()[0] for tag in page.texts(".tag b")]
        assert found == model.predict(["the dog runs"])[0].tolist() == ["DET", "NOUN", "VERB"]
        page.picture("tags")
        # The session ends while nobody types; the next key begins another, with the whole text.
        wait_until(lambda: "connects again" in page.texts("#status")[0])
        page.type(" a")
        wait_until(lambda: len(page.texts(".tag")) == 4)
        assert [tag.split()[0] for tag in page.texts(".tag b")] == [*found, "DET"]
