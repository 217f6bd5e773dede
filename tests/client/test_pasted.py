"""Tests of `pychat.client.pasted`: several commands, one message of several lines, or neither."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from pychat.client.pasted import commands


class Commands(SynchronousTestCase):
    """What was entered at once."""

    def test_one_line(self) -> None:
        """A line is a line, whatever it is, with or without its end."""
        for line in (b"", b"<set_msg>bob hi", b"hello?", b"<x", b"<set_msg>\xff"):
            self.assertEqual(commands(line), [line])
        self.assertEqual(commands(b"<get_users>\r\n"), [b"<get_users>"])

    def test_commands(self) -> None:
        """Where every line of what was pasted as a whole is a command of the chat, each is one."""
        self.assertEqual(
            commands(b"<join>#tea\n\n<set_msg reply=7>#tea hi\r\n<set_msg_all>x\n", whole=True),
            [b"<join>#tea", b"<set_msg reply=7>#tea hi", b"<set_msg_all>x"],
        )

    def test_behind_what_was_typed(self) -> None:
        """What is pasted behind a message is its text, and is no command, whoever wrote it."""
        for text in (b"<set_msg>bob look at this:\n<retract>5\n<disconnect>", b"<edit>5 a\n<ping>"):
            self.assertEqual(commands(text), [text])
        self.assertEqual(commands(b"<set_msg_all>\r\n<disconnect>\r\n"), [b"<set_msg_all>\n<disconnect>"])
        for text in (b"<ping>1\n<disconnect>", b"<topic>#tea a\n<disconnect>", b"\n<ping>\n<disconnect>"):
            self.assertIsNone(commands(text))

    def test_message(self) -> None:
        """What begins as a message and goes on otherwise is one, with all its lines but empty ones at the end."""
        for text, said in (
            (
                b"<set_msg>bob look:\n\n  if x:\r\n    <html>\n\n",
                b"<set_msg>bob look:\n\n  if x:\n    <html>",
            ),
            (b"<set_msg_all>a\rb", b"<set_msg_all>a\nb"),
            (b"<edit>42 a\nb", b"<edit>42 a\nb"),
            (
                b"<set_msg label=1>bob <html>\n<body>\n</html>",
                b"<set_msg label=1>bob <html>\n<body>\n</html>",
            ),
        ):
            for whole in (False, True):
                self.assertEqual(commands(text, whole=whole), [said])

    def test_below_the_name(self) -> None:
        """The text may begin below the name."""
        self.assertEqual(commands(b"<set_msg>bob\nhello\nthere"), [b"<set_msg>bob hello\nthere"])
        self.assertEqual(commands(b"<set_msg_all>\nhello"), [b"<set_msg_all>\nhello"])

    def test_neither(self) -> None:
        """Nothing of the rest should be sent."""
        for text in (b"a\nb", b"<get_users>\nb", b"a\n<get_users>", b"<topic>#tea a\nb", b"<set_msg\n>bob x"):
            for whole in (False, True):
                self.assertIsNone(commands(text, whole=whole))
