"""Option types: sizes, spans of time, and the field for a server in front."""

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from clusterapp.errors import SettingsError
from clusterapp.settings.model import Settings
from clusterapp.settings.option_types import SENDFILE_HEADER, size
from clusterapp.settings.resolution import resolve


class SizeTests(SynchronousTestCase):
    """A number of bytes, or text with a unit."""

    def test_spellings(self) -> None:
        for value, converted in (
            (0, 0),
            (65536, 65536),
            ("65536", 65536),
            ("1b", 1),
            ("64k", 65536),
            ("64K", 65536),
            ("64 KB", 65536),
            ("64KiB", 65536),
            (" 16 MiB ", 16 * 1024**2),
            ("32M", 32 * 1024**2),
            ("1g", 1024**3),
            ("1024 GiB", 1024**4),
            ("1099511627776", 1024**4),
        ):
            self.assertEqual(size().validate(value), converted, value)

    def test_what_is_none(self) -> None:
        for value in (
            -1,
            1.5,
            True,
            None,
            [1],
            "",
            "k",
            "-1",
            "1.5M",
            "16 XB",
            "16 i",
            "16 ib",
            "1 T",
            "1 2",
            "\u0661",
            "1025 GiB",
            10**13,
            "9" * 5000,
        ):
            error = self.assertRaises(SettingsError, size().validate, value)
            self.assertIn("must be a number of bytes, from 0 up to 1 TiB", str(error))

    def test_least(self) -> None:
        self.assertEqual(size(1).validate(1), 1)
        self.assertRaises(SettingsError, size(1).validate, 0)
        self.assertRaises(SettingsError, size(1).validate, "0 MiB")

    def test_shown_in_the_largest_unit(self) -> None:
        for converted, text in (
            (0, "0 B"),
            (1000, "1000 B"),
            (1024, "1 KiB"),
            (65537, "65537 B"),
            (16 * 1024**2, "16 MiB"),
            (1536 * 1024**2, "1536 MiB"),
            (1024**4, "1024 GiB"),
        ):
            self.assertEqual(size().format(converted), text)

    @given(st.integers(0, 1024**4))
    def test_what_is_shown_can_be_read(self, number: int) -> None:
        self.assertEqual(size().validate(size().format(number)), number)

    def test_from_every_source(self) -> None:
        chosen = resolve(
            toml='static_cache = "128 MiB"\nmax_body = 1000',
            toml_name="a.toml",
            environ={"CLUSTERAPP_STATIC_CACHE": "64m"},
            flags={"max_body": "1M"},
        ).settings
        self.assertEqual(chosen.static_cache, 64 * 1024**2)
        self.assertEqual(chosen.max_body, 1024**2)

    def test_there_must_be_room_for_a_body(self) -> None:
        self.assertRaises(SettingsError, Settings, max_body=0)
        self.assertEqual(Settings(static_cache=0).static_cache, 0)


class MaxAgeTests(SynchronousTestCase):
    """How long clients may keep a static file."""

    def test_up_to_a_year(self) -> None:
        """Not as short as what a reactor can wait for."""
        year = 365 * 24 * 3600
        self.assertEqual(Settings(static_max_age=year).static_max_age, float(year))
        error = self.assertRaises(SettingsError, Settings, static_max_age=year + 1)
        self.assertIn(f"from 0 up to {year}", str(error))
        self.assertRaises(SettingsError, Settings, static_max_age=-1)


class SendfileHeaderTests(SynchronousTestCase):
    """The field, and for nginx the location that stands for the folder."""

    def test_spellings(self) -> None:
        for value, stored in (
            ("X-Sendfile", "X-Sendfile"),
            ("x-sendfile", "X-Sendfile"),
            ("X-Accel-Redirect=/a/", "X-Accel-Redirect=/a/"),
            ("x-ACCEL-redirect=/a/B.c/~d_1-/", "X-Accel-Redirect=/a/B.c/~d_1-/"),
        ):
            self.assertEqual(SENDFILE_HEADER.validate(value), stored)

    def test_nonsense(self) -> None:
        for value in (
            "",
            "X-Accel-Redirect",
            "X-Accel-Redirect=",
            "X-Accel-Redirect=/",
            "X-Accel-Redirect=a/",
            "X-Accel-Redirect=/a",
            "X-Accel-Redirect=//a/",
            "X-Accel-Redirect=/a//b/",
            "X-Accel-Redirect=/../",
            "X-Accel-Redirect=/.a/",
            "X-Accel-Redirect=/a b/",
            "X-Accel-Redirect=/a?b/",
            "X-Accel-Redirect=/%61/",
            "X-Accel-Redirect=/a/\r\nX: /b/",
            "X-Accel-Redirect=/a/\n",
            "X-Accel-Redirect:/a/",
            "X-Sendfile=/a/",
            "X-Sendfile ",
            "X-Lighttpd-Send-File",
            1,
            None,
        ):
            error = self.assertRaises(SettingsError, SENDFILE_HEADER.validate, value)
            self.assertIn("X-Accel-Redirect=/internal/static/", str(error))
