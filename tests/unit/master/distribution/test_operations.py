"""What an operator can have changed of how connections are distributed."""

from clusterapp.errors import OperationError
from clusterapp.operations import Dispatch
from tests.unit.master.masters import OperationCase


class DispatchTests(OperationCase):
    """Connections that are distributed in another way."""

    def policies(self) -> list[str]:
        """Return how each listener's connections are distributed."""
        distribution = self.operations.status()["distribution"]
        return [each["dispatch"] for each in distribution["listeners"]]

    def test_live(self) -> None:
        """The result names the new policy; workers leave accepting to the master."""
        [child] = self.run_master(workers=1)
        child.flush()
        [name] = child.bootstrap["listeners"]
        child.listening[name] = True  # from what it has inherited
        wanted = Dispatch("sticky", "header:X-User")
        verdict = self.verdict(self.operations.dispatch(wanted, self.tell))
        spec = f"unix:{self.path}"
        self.assertEqual(
            (verdict.ok, verdict.text), (True, f"{spec}: sticky by header:X-User")
        )
        self.assertEqual(self.steps, [(None, "dispatch sticky by header:X-User")])
        self.assertEqual(self.policies(), ["sticky"])
        child.flush()
        self.assertEqual(child.listening, {})
        self.assertEqual(child.stickiness["listeners"], [name])
        self.verdict(self.operations.dispatch(Dispatch("shared"), self.tell))
        child.flush()
        self.assertEqual(child.listening, {name: True})
        self.finish()

    def test_impossible(self) -> None:
        """It is refused before it begins, and all is as it was."""
        self.run_master(workers=1)
        for wanted, why in (
            (Dispatch("reuseport"), "cannot be reuseport: it is not TCP"),
            (Dispatch("sticky", None, "tcp:1"), "there is no listener tcp:1"),
        ):
            with self.assertRaisesRegex(OperationError, why):
                self.operations.dispatch(wanted, self.tell)
        self.assertEqual(self.steps, [])
        self.assertEqual(self.policies(), ["shared"])
        self.finish()

    def test_reload(self) -> None:
        """A reload brings another policy; it holds when all workers are new."""
        self.run_master(workers=1)
        self.assertEqual(self.policies(), ["shared"])
        judged = self.reload_with(dispatch="round-robin")
        self.assertEqual(self.policies(), ["shared"])
        child = self.pass_trial()
        self.assertTrue(self.verdict(judged).ok)
        self.assertEqual(self.policies(), ["round-robin"])
        self.reactor.flush()
        self.assertEqual(child.listening, {})
        self.finish()

    def test_reload_that_cannot_be(self) -> None:
        """It is said before anything is replaced."""
        children = self.run_master(workers=1)
        verdict = self.verdict(self.reload_with(dispatch="reuseport"))
        self.assertFalse(verdict.ok)
        self.assertIn("cannot be reuseport: it is not TCP", verdict.text)
        self.assertEqual(self.reactor.children, children)
        self.finish()
