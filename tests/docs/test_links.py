"""What the pages say exists: links, commands, configurations and tests. Nothing is executed."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
import yaml

from bgproxy.cli.main import program
from bgproxy.config.load import parse

REPOSITORY = Path(__file__).parents[2]
DOCS = sorted((REPOSITORY / "docs").rglob("*.md"))
PAGES = [REPOSITORY / "README.md", REPOSITORY / "ARCHITECTURE.md", *DOCS]

FENCED = re.compile(r"^( *)```(\w*)\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)
INDENTED = re.compile(r"(?:(?<=\n\n)|\A)(?: {4}.*\n|\n(?= {4}))+")
QUOTED = re.compile(r"`([^`\n]+)`")
LINK = re.compile(r"\[[^]]*\]\(([^)\s]+)\)")
HEADING = re.compile(r"^#{1,6} +(.+?) *$", re.MULTILINE)


def name_of(page: Path) -> str:
    return str(page.relative_to(REPOSITORY))


def prose(text: str) -> str:
    return INDENTED.sub("", FENCED.sub("", text))


def blocks(text: str, *languages: str) -> list[str]:
    return [block for _, language, block in FENCED.findall(text) if language in languages]


def anchors(page: Path) -> set[str]:
    """Those that GitHub gives to the headings of a page."""
    found: set[str] = set()
    for heading in HEADING.findall(FENCED.sub("", page.read_text())):
        shown = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", heading).lower()
        words = re.sub(r"[^\w\- ]", "", shown).replace(" ", "-")
        copies = sum(1 for known in found if re.fullmatch(rf"{re.escape(words)}(-\d+)?", known))
        found.add(f"{words}-{copies}" if copies else words)
    return found


def commands_in(line: str) -> Iterator[list[str]]:
    """The calls of bgproxy in one line of a shell, as words without pipes and redirections."""
    lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
    lexer.whitespace_split = True
    call: list[str] = []
    words = iter([*lexer, ";"])
    for word in words:
        if word and set(word) <= set("<>"):
            next(words)
            if call and call[-1].isdigit():  # of 2> log
                call.pop()
        elif not set(word) <= set("();<>|&"):
            if call or "=" not in word:
                call.append(word)
        else:
            while call and call[0] in {"$", "until", "do", "then"}:
                call.pop(0)
            if call and Path(call[0]).name == "bgproxy":
                yield call[1:]
            call = []


def whole_commands(text: str) -> Iterator[list[str]]:
    """Of shell blocks, of indented blocks, and of what systemd is told to execute."""
    scripts = [*blocks(text, "sh"), *INDENTED.findall(FENCED.sub("", text))]
    scripts += [
        "\n".join(re.findall(r"^Exec\w+=(.*)$", block, re.MULTILINE)) for block in blocks(text, "ini")
    ]
    for script in scripts:
        joined = script.replace("\\\n", " ")
        for line in re.sub(r"<<'(\w+)'.*?^\1$", "", joined, flags=re.MULTILINE | re.DOTALL).splitlines():
            if "bgproxy" in line and "[OPTIONS]" not in line:
                yield from commands_in(line)


def quoted_commands(text: str) -> Iterator[list[str]]:
    """Of running text, where what is required may be left out."""
    for quoted in QUOTED.findall(prose(text)):
        if quoted.startswith("bgproxy ") and not quoted.split()[1].isupper():
            yield from commands_in(quoted)


def understand(arguments: list[str], token: Path) -> None:
    """Raises `click.UsageError` unless bgproxy understands its arguments."""
    for index, word in enumerate(arguments[:-1]):
        if word == "--token-file":
            arguments[index + 1] = str(token)
    command: click.Command = program
    ctx: click.Context | None = None
    try:
        while True:
            ctx = command.make_context(command.name, list(arguments), parent=ctx)
            if not isinstance(command, click.Group):
                return
            _, inner, arguments = command.resolve_command(ctx, [*ctx._protected_args, *ctx.args])
            assert inner is not None
            command = inner
    except click.exceptions.Exit:  # --help and --version are understood, and end there
        return


@pytest.fixture
def token(tmp_path: Path) -> Path:
    path = tmp_path / "token"
    path.write_text("a-token-that-is-long-enough\n")
    return path


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_link_leads_to_a_file_and_a_heading_that_exist(page: Path) -> None:
    broken = []
    for link in LINK.findall(prose(page.read_text())):
        if re.match(r"\w+:", link):
            continue
        place, _, anchor = link.partition("#")
        target = (page.parent / place) if place else page
        if not target.exists() or (anchor and anchor not in anchors(target)):
            broken.append(link)
    assert broken == []


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_command_is_one_that_bgproxy_understands(page: Path, token: Path) -> None:
    text = page.read_text()
    calls = [(call, False) for call in whole_commands(text)]
    calls += [(call, True) for call in quoted_commands(text)]
    wrong = []
    for call, may_be_short in calls:
        try:
            understand(call, token)
        except click.UsageError as error:
            if not (may_be_short and isinstance(error, click.MissingParameter)):
                wrong.append(f"bgproxy {shlex.join(call)}: {error.format_message()}")
    assert wrong == []


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_configuration_loads(page: Path, tmp_path: Path) -> None:
    """Secrets and pages are made up under the names that the configuration gives them."""
    text = page.read_text()
    documents = [*blocks(text, "yaml"), *re.findall(r"<<'END'\n(.*?)^END$", text, re.MULTILINE | re.DOTALL)]
    for document in documents:
        if "services" not in (yaml.safe_load(document) or {}):
            continue
        environ = dict.fromkeys(re.findall(r"\w+_env: *(\w+)", document), "x" * 32)
        for name in re.findall(r"\b(?:\w+_)?file: *([\w./-]+)", document):
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_text(name.ljust(32, "x"))
        parse(document, source=name_of(page), base=tmp_path, environ=environ)


def test_every_test_that_is_called_as_a_witness_exists() -> None:
    called = {name for page in PAGES for name in re.findall(r"`(test_\w+)`", page.read_text())}
    assert called, "the guarantees name their tests"
    source = "\n".join(path.read_text() for path in (REPOSITORY / "tests").rglob("test_*.py"))
    assert sorted(called - set(re.findall(r"def (test_\w+)", source))) == []


def test_what_is_wrong_is_noticed(token: Path) -> None:
    """The checks above would be worth nothing if they let everything pass."""
    assert list(commands_in("PATH=x bgproxy switch web 2> out && /opt/bgproxy run -c a # bgproxy no")) == [
        ["switch", "web"],
        ["run", "-c", "a"],
    ]
    for call in ("swich", "switch --too green", "canary --weight 101", "pool set web"):
        with pytest.raises(click.UsageError):
            understand(shlex.split(call), token)
    assert "pools-that-were-set-by-a-call" in anchors(REPOSITORY / "docs/how-to/reload-and-upgrade.md")
    assert "no-such-heading" not in anchors(REPOSITORY / "docs/how-to/reload-and-upgrade.md")
