"""Tests of `pychat.client.naming`: whatever a file is called elsewhere, here it is a name that does no harm."""

from __future__ import annotations

import os
import tempfile
import unicodedata
from itertools import islice

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from pychat.client.naming import FALLBACK, NAME_LIMIT, candidates, free_path, safe_name

NASTY = st.text(alphabet=st.sampled_from(list("ab./\\ :*?\x00\x1b\n\u202e\u2028\ud800äcCoOnNuUlL1$日")))


class SafeName(SynchronousTestCase):
    """Names."""

    def check(self, name: str, windows: bool) -> None:
        made = safe_name(name, windows=windows)
        encoded = made.encode()
        self.assertLessEqual(len(encoded), NAME_LIMIT + 1)
        self.assertTrue(made)
        self.assertNotIn("/", made)
        self.assertNotIn("\\", made)
        self.assertFalse(made.startswith("."))
        self.assertFalse(
            any(unicodedata.category(char) in ("Cc", "Zl", "Zp", "Cs") for char in made), ascii(made)
        )
        self.assertNotIn("\u202e", made)
        self.assertEqual(os.path.dirname(os.path.normpath(os.path.join("/x", made))), "/x")
        if windows:
            self.assertFalse(set(made) & set('<>:"|?*'))
            self.assertFalse(made.endswith((".", " ")))
            self.assertNotIn(made.split(".")[0].strip().upper(), ("CON", "NUL", "AUX", "PRN", "COM1", "LPT1"))

    @given(st.one_of(NASTY, st.text(max_size=300)), st.booleans())
    def test_any_name(self, name: str, windows: bool) -> None:
        """No name leads out of the folder, hides, or holds what a terminal or Windows minds."""
        self.check(name, windows)

    def test_kept(self) -> None:
        """A good name stays as it is."""
        for name in (
            "report.pdf",
            "Käse 1.txt",
            "日本語.tar.gz",
            "a",
            "-x",
            "what? yes.mp3",
            "nul.txt",
            " x",
        ):
            self.assertEqual(safe_name(name, windows=False), name)

    def test_last_part(self) -> None:
        """Folders of the shelf are left out."""
        self.assertEqual(safe_name("a/b.txt"), "b.txt")
        self.assertEqual(safe_name("C:\\x\\b.txt"), "b.txt")

    def test_hidden(self) -> None:
        """No dot files."""
        self.assertEqual(safe_name(".bashrc"), "bashrc")
        self.assertEqual(safe_name("...x"), "x")

    def test_nothing_left(self) -> None:
        """Where nothing is left there is a name all the same."""
        for name in ("", ".", "..", "/", "a/", "a/..", " ", ". ."):
            self.assertEqual(safe_name(name), FALLBACK)

    def test_long(self) -> None:
        """A long name keeps its ending, and no character is cut in two."""
        self.assertEqual(safe_name("x" * 400 + ".pdf"), "x" * (NAME_LIMIT - 4) + ".pdf")
        self.assertEqual(safe_name("ä" * 200), "ä" * (NAME_LIMIT // 2))
        self.assertEqual(len(safe_name("x." + "y" * 400)), NAME_LIMIT)

    def test_devices(self) -> None:
        """On Windows some names are devices, with any ending and in any case."""
        for name in ("NUL", "con.txt", "Com1.tar.gz", "aux .x", "LPT³", "conin$"):
            self.assertEqual(safe_name(name, windows=True), "_" + name)
        for name in ("console", "com", "nulls.txt"):
            self.assertEqual(safe_name(name, windows=True), name)


class FreePath(SynchronousTestCase):
    """Nothing is overwritten."""

    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = folder.name

    def free(self, name: str, *taken: str) -> str:
        return os.path.relpath(
            free_path(self.folder, name, {self.at(each) for each in taken}.__contains__), self.folder
        )

    def at(self, name: str) -> str:
        return os.path.join(self.folder, name)

    def test_candidates(self) -> None:
        """The number stands before the ending."""
        self.assertEqual(list(islice(candidates("a.pdf"), 3)), ["a.pdf", "a (2).pdf", "a (3).pdf"])
        self.assertEqual(list(islice(candidates("a"), 2)), ["a", "a (2)"])
        self.assertEqual(list(islice(candidates("v1. " + "x" * 30), 2))[1], "v1. " + "x" * 30 + " (2)")

    def test_free(self) -> None:
        """A name that nothing has is taken as it is."""
        self.assertEqual(self.free("a.pdf"), "a.pdf")

    def test_exists(self) -> None:
        """A file, a folder, even a link to nowhere keeps its name."""
        open(self.at("a.pdf"), "w").close()
        os.mkdir(self.at("a (2).pdf"))
        os.symlink("nowhere", self.at("a (3).pdf"))
        self.assertEqual(self.free("a.pdf"), "a (4).pdf")

    def test_on_its_way(self) -> None:
        """So does a file on its way here, be it ours or somebody else's."""
        open(self.at("a.pdf.part"), "w").close()
        self.assertEqual(self.free("a.pdf"), "a (2).pdf")
        self.assertEqual(self.free("a.pdf", "a (2).pdf"), "a (3).pdf")

    def test_called_part(self) -> None:
        """A file whose name is that of another one's part waits its turn."""
        self.assertEqual(self.free("b", "b.part"), "b (2)")
