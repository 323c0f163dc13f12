"""The command `demo`."""

from __future__ import annotations

import io
import os
import re
import signal
import struct
import subprocess
import sys
import time
from contextlib import redirect_stderr, redirect_stdout

import pytest

pytest.importorskip("sklearn")

from bptt import LanguageModel
from bptt.cli.main import main

WORDS = "deep learning: they read dead reeds, and the deer need a dinner in the red interior; "
SMALL = ("--hidden-size", "16", "--batch-size", "16")


@pytest.fixture
def text(tmp_path, monkeypatch):
    """Where the demo runs, with a text to learn."""
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "text.txt"
    path.write_text(WORDS * 40, encoding="utf-8")
    return path


def command(*arguments):
    return [sys.executable, "-W", "error", "-m", "bptt", *map(str, arguments)]


def demo(*arguments):
    """Run the demo; return what it printed on standard output, and on standard error."""
    shown, progress = io.StringIO(), io.StringIO()
    with redirect_stdout(shown), redirect_stderr(progress):
        code = main(["demo", *map(str, arguments)])
    assert code == 0, progress.getvalue()
    return shown.getvalue(), progress.getvalue()


def environment(**variables):
    return {**os.environ, "PYTHONUTF8": "1", **variables}


def test_report_has_losses_completions_and_comparison(text):
    shown, progress = demo("--text", text, *SMALL, "--epochs", 3, "--prompt", "d")
    assert re.search(r"Data +text.txt: [\d,]+ words, 14 distinct, \d+ letters", shown)
    assert re.search(r"validation: the last \d+ words, 0% not in the training data", shown)
    assert re.search(r"Model +LSTM, 1 layer of 16 hidden units, [\d,]+ parameters", shown)
    assert re.search(r"network, epoch \d +\d\.\d\d +\d\.\d\d\n", shown)
    assert re.search(r"^d +[a-z.] .*%$", shown, re.MULTILINE)
    assert re.search(r'Greedy completion: "d[a-z]*(\.\.\.)?", P = \d', shown)
    assert re.search(r"Most likely words: d[a-z]* [\d.]+%", shown)
    assert re.search(r"C\+\+ +[\d.]+ ms\nNumPy +[\d.]+ ms, [\d.]+ times as long", shown)
    assert float(re.search(r"differ by at\s+most (\S+), ", shown)[1]) < 1e-6
    lines = [line for line in shown.splitlines() if " kernels, NumPy " not in line]
    assert max(map(len, lines)) <= 80
    line = r"epoch   \d/3  loss [\d.]+ bits  validation loss [\d.]+ bits  [\d.]+ s\n"
    assert re.fullmatch(f"({line}){{3}}", progress)
    assert sorted(path.name for path in text.parent.iterdir()) == [
        "autocomplete.safetensors",
        "text.txt",
    ]
    check_usage(shown)


def check_usage(shown):
    """Run the commands that the demo prints."""
    line = re.search(r"^  \S+ -m bptt (demo --load .*)$", shown, re.MULTILINE)[1]
    loaded, progress = demo(*line.split()[1:], "--prompt", "d")
    assert progress == ""
    model = LanguageModel.load("autocomplete.safetensors")
    assert f'"{model.complete("d", beam=1)}"' in loaded
    first = shown[shown.index("Prompt d:") :].partition("\n\n")[0]
    assert first in loaded  # identical to the last digit
    lines = re.search(r"or in Python:\n\n((  .*\n)+)", shown)[1]
    code = "\n".join(line.strip() for line in lines.splitlines())
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.startswith(model.complete(re.search(r"complete\('(\w+)'\)", code)[1]))


def test_documentation_of_python_is_the_default_text(text):
    shown, _ = demo(*SMALL, "--cell", "rnn", "--epochs", 1, "--batch-size", 256, "--no-compare")
    assert "Python's documentation" in shown
    assert [line for line in shown.splitlines() if line.startswith("Prompt")] == [
        f'Prompt {prompt}: distribution of the next character ("." ends the word)'
        for prompt in ("d", "re", "int")
    ]
    assert "NumPy" not in shown


def test_a_single_word_is_learned(text):
    text.write_text("Deep! " * 100)
    shown, _ = demo("--text", text, *SMALL, "--epochs", 20, "--learning-rate", 0.02, "--no-compare")
    assert 'Greedy completion: "deep", P = 9' in shown


@pytest.mark.parametrize("options", [("--cell", "gru", "--layers", 2), ("--dtype", "float64")])
def test_the_same_seed_gives_the_same_model(text, options):
    def trained(seed):
        main(["demo", "--text", str(text), *SMALL, "--epochs", "1", "--no-compare", "--output", "a",
              "--seed", str(seed), *map(str, options)])  # fmt: skip
        return LanguageModel.load(text.parent / "a").next_token_probabilities("d")

    assert trained(3) == trained(3)
    assert trained(3) != trained(4)


def test_text_in_other_alphabets(text):
    text.write_text("straße über äpfel größe łódź чайка 中文字 " * 20, encoding="utf-8")
    shown, _ = demo("--text", text, *SMALL, "--epochs", 1, "--no-compare", "--prompt", "ÜB")
    assert "\nPrompt üb: " in shown
    shown, _ = demo("--load", "autocomplete.safetensors", "--prompt", "中")
    assert "\nPrompt 中: " in shown


def test_output_on_an_ascii_terminal(text):
    arguments = ("demo", "--text", text, *SMALL, "--epochs", 5, "--no-compare")
    done = subprocess.run(
        command(*arguments),
        capture_output=True,
        env=environment(PYTHONUTF8="0", PYTHONIOENCODING="ascii"),
    )
    assert done.returncode == 0, done.stderr
    assert b" #" in done.stdout


def test_progress_bar_on_a_terminal(text):
    pty = pytest.importorskip("pty")
    fcntl = pytest.importorskip("fcntl")
    termios = pytest.importorskip("termios")
    ours, theirs = pty.openpty()
    fcntl.ioctl(ours, termios.TIOCSWINSZ, struct.pack("4H", 24, 80, 0, 0))
    arguments = ("demo", "--text", text, *SMALL, "--epochs", 2, "--no-compare")
    child = subprocess.Popen(command(*arguments), stdout=subprocess.DEVNULL, stderr=theirs)
    os.close(theirs)
    seen = b""
    while True:
        try:
            piece = os.read(ours, 1024)
        except OSError:  # the other end is closed
            break
        if not piece:
            break
        seen += piece
    os.close(ours)
    assert child.wait() == 0
    assert re.search(rb"epoch [12]/2 +\d+%\|.*left, loss [\d.]+ bits", seen)


def test_a_closed_pipe_ends_the_command_quietly(text):
    arguments = ("demo", "--text", text, *SMALL, "--epochs", 1, "--no-compare")
    child = subprocess.Popen(
        command(*arguments),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment(),
    )
    child.stdout.readline()
    child.stdout.close()
    assert b"Error" not in child.stderr.read()
    child.stderr.close()
    assert child.wait() == 1


@pytest.mark.skipif(os.name != "posix", reason="sends a POSIX signal")
@pytest.mark.parametrize(
    ("epochs", "stream", "line", "delay", "saved"),
    [
        (1000, "stdout", b"kernels", 0.0, False),
        (1000, "stderr", b"  1/1000", 0.3, True),
        (2, "stderr", b"  2/2", 0.0, True),
        pytest.param(2, "stdout", b"Most likely words", 0.7, True, marks=pytest.mark.timing),
    ],
)
def test_interrupt_saves_the_best_whole_epoch(text, epochs, stream, line, delay, saved):
    if not saved:
        text.write_text(WORDS * 4000)  # an epoch takes long enough
    child = subprocess.Popen(
        command("demo", "--text", text, *SMALL, "--prompt", "d", "--epochs", epochs),
        # Interrupted while it caches a module, Python prints a traceback.
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        # Background jobs may ignore the signal.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    next(seen for seen in getattr(child, stream) if line in seen)
    time.sleep(delay)
    child.send_signal(signal.SIGINT)
    _, errors = child.communicate()
    assert child.returncode == 130, errors
    assert b"Traceback" not in errors
    assert b"python -m bptt demo: interrupted" in errors
    left = {path.name for path in text.parent.iterdir()} - {text.name}
    assert left == ({"autocomplete.safetensors"} if saved else set())
    if saved:
        assert b"is saved in autocomplete.safetensors" in errors
        assert LanguageModel.load("autocomplete.safetensors").complete("d").startswith("d")


def test_interrupt_while_saving_keeps_the_old_file(text, monkeypatch, capsys):
    def interrupt(*_):
        raise KeyboardInterrupt

    (text.parent / "model").write_text("what was there")
    monkeypatch.setattr(os, "replace", interrupt)
    arguments = ["demo", "--text", str(text), *SMALL, "--epochs", "1", "--output", "model"]
    assert main(arguments) == 130
    assert capsys.readouterr().err.endswith("python -m bptt demo: interrupted\n")
    assert sorted(path.name for path in text.parent.iterdir()) == ["model", "text.txt"]
    assert (text.parent / "model").read_text() == "what was there"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--cell", "transformer"], "argument --cell: invalid choice: 'transformer'"),
        (["--hidden-size", "0"], "argument --hidden-size: must be an integer >= 1, got '0'"),
        (["--layers", "two"], "argument --layers: must be an integer >= 1, got 'two'"),
        (["--epochs", "-1"], "argument --epochs: must be an integer >= 1, got '-1'"),
        (["--batch-size", "2.5"], "argument --batch-size: must be an integer >= 1, got '2.5'"),
        (["--learning-rate", "nan"], "argument --learning-rate: must be a number in (0, 1]"),
        (["--learning-rate", "much"], "argument --learning-rate: must be a number in (0, 1]"),
        (["--dtype", "float16"], "argument --dtype: invalid choice: 'float16'"),
        (["--seed", "-1"], "argument --seed: must be an integer >= 0, got '-1'"),
        (["--hidden", "3"], "unrecognized arguments: --hidden 3"),
        (["--hidden-size", "1000000000"], "cannot create such a large model"),
        (["--text", "none"], "cannot read none: No such file or directory"),
        (["--text", "."], "cannot read .: Is a directory"),
        (["--text", "bytes"], "bytes, line 1: must be UTF-8, got the byte 0xff"),
        (["--text", "few"], "few must have at least 20 words of 2 to 32 letters, got 3"),
        (["--prompt", ""], "argument --prompt: must have at least one letter"),
        (["--prompt", "d3"], "argument --prompt: letters must be among abc"),
        (["--prompt", "d" * 32], "argument --prompt: must have fewer than 32 letters, got 32"),
        (["--output", "."], "cannot save .: it is a directory"),
        (["--output", "none/model"], "cannot save none/model: No such file or directory"),
        (["--output", "bytes/model"], "cannot save bytes/model: Not a directory"),
        (["--output", "m" * 300], "File name too long"),
        (
            ["--text", "text.txt", "--output", "./text.txt"],
            "cannot save text.txt: it is the input file",
        ),
        (["--load", "none"], "cannot load none: there is no such file"),
        (["--load", "."], "cannot load .: there is no such file"),
        (["--load", "bytes"], "cannot load bytes: "),
        (["--load", "text.txt"], "cannot load text.txt: "),
        (
            ["--load", "none", "--epochs", "9"],
            "--epochs is an option for training",
        ),
        (["--load", "none", "--no-compare"], "--no-compare is an option for training"),
    ],
)
def test_errors_of_use(text, options, message, capsys):
    (text.parent / "few").write_text("only three words")
    (text.parent / "bytes").write_bytes(b"\xff")
    before = sorted(text.parent.iterdir())
    try:
        code = main(["demo", *options])
    except SystemExit as stop:
        code = stop.code
    shown, errors = capsys.readouterr()
    assert code == 2
    assert shown == ""
    assert message in errors
    assert re.search(r"^python -m bptt( demo)?: error: .*\n\Z", errors, re.MULTILINE)
    assert sorted(text.parent.iterdir()) == before


@pytest.mark.parametrize(
    ("missing", "options", "message"),
    [
        (["tqdm"], [], "needs tqdm: pip install 'bptt[train]'"),
        (["safetensors"], ["--load", "x"], "needs safetensors: pip install 'bptt[train]'"),
        (["tqdm", "safetensors"], [], "needs tqdm and safetensors: pip install 'bptt[train]'"),
        (["pydoc_data.topics"], [], "this Python has no pydoc_data.topics: use --text FILE"),
    ],
)
def test_missing_packages_are_errors(missing, options, message, monkeypatch, capsys):
    for name in missing:
        monkeypatch.setitem(sys.modules, name, None)
    assert main(["demo", *options]) == 2
    assert capsys.readouterr() == ("", f"python -m bptt demo: error: {message}\n")


@pytest.mark.parametrize("arguments", [["--help"], ["demo", "--help"], ["--version"]])
def test_help_and_version(arguments, capsys):
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    assert stop.value.code == 0
    start = "bptt [0-9]" if arguments == ["--version"] else "usage: python -m bptt "
    assert re.match(start, capsys.readouterr().out)


def test_help_without_a_command():
    done = subprocess.run(command(), capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert re.search("demo +train a model that completes words", done.stdout)
