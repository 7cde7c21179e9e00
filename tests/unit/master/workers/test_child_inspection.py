"""Asking a slot's process what it is doing."""

from clusterapp.channel.inspection import END
from clusterapp.spawning import execute
from tests.unit.master.workers.test_child_slot import SlotCase


class InspectionTests(SlotCase):
    """A slot whose process runs."""

    def setUp(self) -> None:
        super().setUp()
        self.patch(execute, "_catches", lambda *_: True)
        self.child = self.running()

    def says(self, text: str, fd: int = 2) -> None:
        self.child.prints(text.encode(), fd)

    def test_answer(self) -> None:
        """It is there with its last line; stdout is no part of it."""
        asked = self.slot.stacks()
        self.says("requests under way: 0\n")
        self.says("an order came\n", fd=1)
        self.says("Current thread\n")
        self.assertNoResult(asked)
        self.says(f"{END}\n")
        self.assertEqual(
            self.successResultOf(asked), "requests under way: 0\nCurrent thread"
        )

    def test_log(self) -> None:
        """All of it is there, too."""
        self.slot.stacks()
        self.says("Current thread\n")
        self.assertIn("[worker 3 generation 7] Current thread", self.log.text())

    def test_answer_behind_half_a_line(self) -> None:
        """The application may be writing one."""
        asked = self.slot.stacks()
        self.says(f"half{END}\n")
        self.successResultOf(asked)

    def test_no_answer(self) -> None:
        """After a while the stacks are written in C, and then the end is silence."""
        asked = self.slot.stacks()
        self.reactor.advance(0.3)
        self.assertEqual(self.child.signals, ["CONT", "USR2"])
        for _ in range(3):
            self.reactor.advance(0.2)
            self.says("File\n")
        self.reactor.advance(0.2)
        self.assertNoResult(asked)
        self.reactor.advance(0.1)
        self.assertEqual(self.successResultOf(asked), "File\nFile\nFile")
        self.assertEqual(self.child.signals, ["CONT", "USR2"])

    def test_endless_answer(self) -> None:
        asked = self.slot.stacks()
        for _ in range(14):
            self.reactor.advance(0.2)
            self.says("more\n")
        self.assertNoResult(asked)
        self.reactor.advance(0.2)
        self.assertEqual(self.successResultOf(asked).count("more"), 14)

    def test_asked_twice(self) -> None:
        """Concurrent inspections share one answer; a later one is sent anew."""
        first, second = self.slot.stacks(), self.slot.stacks()
        self.says(f"answer\n{END}\n")
        self.assertEqual(self.successResultOf(first), "answer")
        self.assertEqual(self.successResultOf(second), "answer")
        self.assertEqual(self.child.asked, b"?")
        third = self.slot.stacks()
        self.says(f"another\n{END}\n")
        self.assertEqual(self.successResultOf(third), "another")

    def test_exit(self) -> None:
        """What it said until then is the answer."""
        asked = self.slot.stacks()
        self.says("Current\n")
        self.child.exit(signal=9)
        self.assertEqual(self.successResultOf(asked), "Current")
        self.slot.drain()
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_no_process(self) -> None:
        self.child.exit(status=1)
        self.assertEqual(self.successResultOf(self.slot.stacks()), "")

    def test_boot(self) -> None:
        """A process that starts can be asked as well."""
        self.slot = self.make("worker", 4)
        self.child = self.started()
        asked = self.slot.stacks()
        self.says(f"Current thread\n{END}\n")
        self.assertEqual(self.successResultOf(asked), "Current thread")
