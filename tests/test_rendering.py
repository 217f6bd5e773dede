"""Messages as lines, in each of the three manners."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from pychat.rendering import (
    FULL,
    MULTI,
    PLAIN,
    about,
    render,
    render_kept,
    render_missed,
    stamp,
    text_of,
)
from pychat.vocabulary import Entry, Kept, Kind
from tests.chatkit import NOON, NOON_MS

MANNERS = (PLAIN, FULL, MULTI)
OVERRIDE = "\u202egnp.exe".encode()
ISOLATED = "\u2068\u202egnp.exe\u2069".encode()


def said(text: bytes = b"hi", to: int | None = None, to_name: str | None = None, **more: int) -> Entry:
    """An entry by Alice."""
    return Entry(NOON_MS, 1, "alice", to, to_name, text, **more)  # type: ignore[arg-type]


class Parts(SynchronousTestCase):
    """What a line is made of."""

    def test_stamp(self) -> None:
        """A moment is in UTC, with its milliseconds."""
        self.assertEqual(stamp(NOON_MS), NOON)
        self.assertEqual(stamp(0), b"1970-01-01T00:00:00.000Z")

    def test_about(self) -> None:
        """What a message is about stands in an attribute of its own; a message that is about none has none."""
        self.assertEqual(
            [about(kind, 42) for kind in (Kind.SAID, Kind.EDIT, Kind.RETRACT, Kind.REACT)],
            [b" reply=42", b" edit=42", b" retract=42", b" react=42"],
        )
        self.assertEqual(about(Kind.SAID, 0), b"")

    def test_text(self) -> None:
        """An event that has no text of its own has words instead, and no other one."""
        self.assertEqual(text_of(Kind.SAID, b"x"), b"x")
        self.assertEqual(text_of(Kind.SAID, b""), b"")
        self.assertEqual(text_of(Kind.EDIT, b"x"), b"x")
        self.assertEqual(text_of(Kind.RETRACT, b""), b"(message taken back)")
        self.assertEqual(text_of(Kind.REACT, b"+1"), b"+1")
        self.assertEqual(text_of(Kind.REACT, b""), b"(reaction taken back)")


class OneMessage(SynchronousTestCase):
    """`render`."""

    def test_one_line(self) -> None:
        """A text of one line is verbatim; what turns its direction is isolated for a person, and for nobody else."""
        self.assertEqual(
            [render(b"<msg id=1", b"50% off", b" a=1", manner) for manner in MANNERS],
            [b"<msg id=1 a=1>50% off\n"] * 3,
        )
        self.assertEqual(
            [render(b"<msg", OVERRIDE, b"", manner) for manner in MANNERS],
            [b"<msg>%s\n" % ISOLATED, b"<msg>%s\n" % OVERRIDE, b"<msg>%s\n" % OVERRIDE],
        )

    def test_lines(self) -> None:
        """Several lines come one by one, or in one line for who knows how."""
        parts = b"<msg part=1/3 t>50%%\n<msg part=2/3 t>\n<msg part=3/3 t>%s\n"
        self.assertEqual(
            [render(b"<msg", b"50%\n\n" + OVERRIDE, b" t", manner) for manner in MANNERS],
            [parts % ISOLATED, parts % OVERRIDE, b"<msg enc=pct t>50%%25%%0A%%0A%s\n" % OVERRIDE],
        )


class Missed(SynchronousTestCase):
    """What somebody gets who comes back."""

    def test_places(self) -> None:
        """It says to whom it was, and when."""
        for to, name, shown in [(None, None, b"all"), (2, "Bob", b"Bob"), (-1, "#tea", b"#tea")]:
            self.assertEqual(
                render_missed(7, said(b"hi", to, name), FULL),
                b"<msg id=7 from=alice to=%s time=%s replay>hi\n" % (shown, NOON),
            )

    def test_kinds(self) -> None:
        """It is what it was when it was said."""
        for kind, text, shown in [
            (Kind.SAID, b"hi", b"reply=3 time=%s replay>hi"),
            (Kind.EDIT, b"ho", b"edit=3 time=%s replay>ho"),
            (Kind.RETRACT, b"", b"retract=3 time=%s replay>(message taken back)"),
            (Kind.REACT, b"", b"react=3 time=%s replay>(reaction taken back)"),
        ]:
            self.assertEqual(
                render_missed(7, said(text, kind=kind, ref=3), FULL),
                b"<msg id=7 from=alice to=all " + shown % NOON + b"\n",
            )

    def test_manners(self) -> None:
        """It comes in the manner of who comes back."""
        self.assertEqual(
            render_missed(7, said(b"a\nb"), MULTI),
            b"<msg id=7 from=alice to=all enc=pct time=%s replay>a%%0Ab\n" % NOON,
        )
        self.assertEqual(render_missed(7, said(b"a\nb"), FULL).count(b" replay>"), 2)


class LookedUp(SynchronousTestCase):
    """What somebody gets who looks back."""

    def test_places(self) -> None:
        """It says to whom it was; the label stands where a program looks for it."""
        for to, name, shown in [(None, None, b"all"), (2, "Bob", b"Bob"), (-1, "#tea", b"#tea")]:
            self.assertEqual(
                render_kept(Kept(7, said(b"hi", to, name)), PLAIN, b" label=x"),
                b"<msg label=x replay id=7 from=alice to=%s time=%s>hi\n" % (shown, NOON),
            )
        self.assertEqual(
            render_kept(Kept(7, said(b"hi", kind=Kind.SAID, ref=3)), PLAIN),
            b"<msg replay id=7 from=alice to=all reply=3 time=%s>hi\n" % NOON,
        )

    def test_edited(self) -> None:
        """A message that was changed says by what."""
        self.assertEqual(
            render_kept(Kept(7, said(b"new"), edited=9), FULL),
            b"<msg replay id=7 from=alice to=all edited=9 time=%s>new\n" % NOON,
        )

    def test_retracted(self) -> None:
        """Of a message that was taken back nothing is shown, whatever was changed before."""
        self.assertEqual(
            render_kept(Kept(7, said(b"secret"), 8, 9), FULL),
            b"<msg replay id=7 from=alice to=all retracted=9 time=%s>(message taken back)\n" % NOON,
        )

    def test_reactions(self) -> None:
        """A reaction is a line of its own."""
        for text, shown in [(b"+1", b"+1"), (b"", b"(reaction taken back)")]:
            self.assertEqual(
                render_kept(Kept(7, said(text, kind=Kind.REACT, ref=3)), FULL),
                b"<msg replay id=7 from=alice to=all react=3 time=%s>%s\n" % (NOON, shown),
            )

    def test_lines(self) -> None:
        """Each line of several has the label, so that a program knows it as part of the answer."""
        kept = Kept(7, said(b"a\nb"))
        self.assertEqual(render_kept(kept, PLAIN, b" label=x").count(b"<msg label=x replay id=7 "), 2)
        self.assertEqual(
            render_kept(kept, MULTI, b" label=x"),
            b"<msg label=x replay id=7 from=alice to=all enc=pct time=%s>a%%0Ab\n" % NOON,
        )
