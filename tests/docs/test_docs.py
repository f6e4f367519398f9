"""README and docs/ say what is so: generated parts, links, commands, codes. Runs under pytest, offline."""

import re
from importlib.util import find_spec
from pathlib import Path

import pytest

from contracts.documents import schema
from contracts.reasons import REASONS
from infra import definition
from scripts import generate_docs
from scripts.generate_docs import MarkerMissing

ROOT = Path(__file__).parent.parent.parent
PAGES = sorted(
    [ROOT / "README.md", *(ROOT / "docs").glob("*.md"), ROOT / "events/README.md", *ROOT.glob("models/*/*.md")]
)
EXAMPLES = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@pytest.fixture(params=PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def page(request) -> Path:
    return request.param


def headings(text: str) -> set[str]:
    """Return the anchors GitHub gives to a page's headings."""
    titles = re.findall(r"^#+ (.+)$", EXAMPLES.sub("", text), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def commands(text: str) -> str:
    """Return what a page shows as code: its blocks without a language, and its inline code."""
    blocks = [body for language, body in EXAMPLES.findall(text) if not language]
    return "\n".join(blocks + re.findall(r"`([^`\n]+)`", EXAMPLES.sub("", text)))


@pytest.mark.parametrize("path", list(generate_docs.pages()), ids=str)
def test_generated_parts_are_up_to_date(path):
    assert (ROOT / path).read_text() == generate_docs.pages()[path], "run `make docs`"


def test_check_fails_on_a_stale_page_and_writing_repairs_it(tmp_path, monkeypatch, capsys):
    for path in generate_docs.pages():
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).write_text((ROOT / path).read_text())
    stale = tmp_path / "docs/operations.md"
    stale.write_text(stale.read_text().replace(REASONS["NoProgress"].sentence, "Something else."))
    monkeypatch.setattr(generate_docs, "ROOT", tmp_path)
    monkeypatch.setattr(generate_docs, "pages", lambda pages=generate_docs.pages: pages(tmp_path))

    assert generate_docs.main(["--check"]) == 1
    assert "docs/operations.md" in capsys.readouterr().out
    assert "Something else." in stale.read_text()
    assert generate_docs.main([]) == 0
    assert stale.read_text() == (ROOT / "docs/operations.md").read_text()
    assert generate_docs.main(["--check"]) == 0


def test_a_page_without_markers_is_refused(tmp_path):
    (tmp_path / "README.md").write_text("# No place for a table\n")
    with pytest.raises(MarkerMissing, match=r"README\.md: expected the lines <!-- costs: begin -->"):
        generate_docs.pages(tmp_path)


def test_every_field_of_the_request_is_on_its_page():
    text = (ROOT / "docs/request.md").read_text()
    missing = [name for name in schema("run_request")["properties"] if f"| `{name}` |" not in text]
    assert missing == []


def test_code_state_machine_and_operations_page_have_the_same_list_of_reasons():
    operations = (ROOT / "docs/operations.md").read_text()
    entries = re.findall(r"^#### (\w+)\n\n(?=\S)", operations, re.MULTILINE)
    rows = re.findall(r"^\| \[`(\w+)`\]", operations, re.MULTILINE)
    comment = definition.parsed()["Comment"]
    listed = comment.partition("one of these reason codes: ")[2].rstrip(".").split(", ")

    assert entries == rows == listed == list(REASONS)


def test_the_state_machine_ends_with_no_other_code():
    text = "".join(path.read_text() for path in (ROOT / "statemachine").glob("*.json"))
    named = set(re.findall(r'"reason_code": "(\w+)"', text))
    assert named
    assert named <= set(REASONS)


def test_every_reason_code_is_given_by_something():
    """A code that nothing gives would be on the list for nothing."""
    sources = [*ROOT.glob("lambdas/**/*.py"), *ROOT.glob("instance/**/*.py"), *ROOT.glob("instance/*.sh")]
    text = "\n".join(path.read_text() for path in [*sources, ROOT / "statemachine/training.asl.json"])
    body = text.partition('"States":')[2] + "\n".join(path.read_text() for path in sources)
    assert [code for code in REASONS if not re.search(rf"\b{code}\b", body)] == []


def test_every_link_leads_somewhere(page):
    text = page.read_text()
    links = re.findall(r"\]\(([^)\s]+)\)", EXAMPLES.sub("", text))
    for link in links:
        if re.match(r"https?://", link):
            continue
        name, _, anchor = link.partition("#")
        target = page.parent / name if name else page
        assert target.exists(), link
        if anchor:
            assert anchor in headings(target.read_text()), link


def test_every_make_target_named_exists(page):
    makefile = (ROOT / "Makefile").read_text()
    targets = set(re.findall(r"^([a-z-]+):", makefile, re.MULTILINE))
    named = re.findall(r"(?<![\w-])make((?: -s)?(?: [a-z]+(?:-[a-z]+)*)+)", commands(page.read_text()))
    words = {word for found in named for word in found.split() if word != "-s"}
    assert words <= targets


def test_every_python_module_named_exists(page):
    modules = set(re.findall(r"python -m ([\w.]+)", commands(page.read_text())))
    assert [module for module in modules if find_spec(module) is None] == []


def test_every_path_named_as_code_exists(page):
    folders = (
        "app.py|cdk.json|Makefile|(?:infra|lambdas|contracts|instance|local|cli|scripts|statemachine|events|docs)/"
    )
    named = re.findall(rf"`((?:{folders})[\w./-]*)`", EXAMPLES.sub("", page.read_text()))
    assert [path for path in named if not (ROOT / path).exists()] == []


@pytest.mark.parametrize("name", ["README.md", "docs/architecture.md"])
def test_diagrams_name_every_working_state(name):
    diagrams = "".join(body for language, body in EXAMPLES.findall((ROOT / name).read_text()) if language == "mermaid")
    assert diagrams, "expected a mermaid block"
    if name == "README.md":
        states = definition.parsed()["States"]
        ends = [state for state, body in states.items() if body["Type"] in ("Task", "Succeed", "Fail")]
        assert [state for state in ends if state not in diagrams] == []


def test_no_page_holds_a_place_of_one_machine(page):
    text = page.read_text()
    assert re.findall(r"(?<![\w$.}])/(?:home|root|work|tmp|Users)/\S*", text) == []
    assert re.findall(r"pypi\.org|pythonhosted|npmjs|127\.0\.0\.1:\d+", text) == []
    assert re.findall(r"\b(?:TODO|FIXME|TBD)\b|@@", text) == []
