"""What is run, with which options, and what is said of it at the end."""

from __future__ import annotations

import pytest

from . import __main__ as program
from .places import Place, Seen


def scenario(place: Place, people: int = 7, seconds: float = 1.0, met: bool | None = True) -> list[Seen]:
    """Nothing happens."""
    return [Seen("people", str(people), "many", met), Seen("speed", "slow", "fast", False, timed=True)]


@pytest.fixture(autouse=True)
def scenarios(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of the tests, in place of the real ones."""

    def missed(place: Place) -> list[Seen]:
        return scenario(place, met=False)

    def fails(place: Place) -> list[Seen]:
        raise AssertionError("nobody came")

    found = {"calm": (scenario, "calm"), "missed": (missed, "missed"), "fails": (fails, "fails")}
    monkeypatch.setattr(program, "SCENARIOS", found)


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        ("calm --untimed", 0, "met    calm          people: 7 (target: many)"),
        ("calm --untimed", 0, "       calm          speed: slow (target: fast)"),
        ("calm --untimed --people 3 --minutes 5", 0, "people: 3 "),
        ("calm", 1, "MISSED calm          speed: slow (target: fast)"),
        ("missed --untimed", 1, "MISSED missed        people: 7 (target: many)"),
        (
            "fails --untimed",
            1,
            "MISSED fails         ended: AssertionError: nobody came (target: to its end)",
        ),
        ("calm missed --untimed", 1, "met    calm "),
    ],
)
def test_status_and_figures(
    capsys: pytest.CaptureFixture[str], arguments: str, status: int, said: str
) -> None:
    """A target that was missed makes the status 1, and one of speed only where speed is judged."""
    assert program.main(arguments.split()) == status
    assert said in capsys.readouterr().out


def test_unknown_scenario(capsys: pytest.CaptureFixture[str]) -> None:
    """Whoever mistypes one is told which there are."""
    with pytest.raises(SystemExit) as ended:
        program.main(["clam"])
    assert ended.value.code == 2
    assert "There are calm, missed, fails" in capsys.readouterr().err
