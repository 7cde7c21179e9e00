"""How many CPUs a cluster may use, in file systems made by the test."""

import os
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from clusterapp.spawning.cpus import Cpus, usable_cpus


class CpusTests(SynchronousTestCase):
    """A machine of eight CPUs, and what its cgroups leave of them."""

    def setUp(self) -> None:
        self.root = Path(self.mktemp())
        self.allow(8)

    def allow(self, count: int) -> None:
        """Patch the scheduler's affinity to so many CPUs."""
        self.patch(os, "sched_getaffinity", lambda _: set(range(count)))

    def write(self, path: str, text: str) -> None:
        """Make a file below the root."""
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, "utf-8")

    def v2(self, group: str, quota: str) -> None:
        self.write(f"sys/fs/cgroup{group}/cpu.max", f"{quota} 100000\n")

    def v1(self, mount: str, group: str, quota: int) -> None:
        base = f"sys/fs/cgroup/{mount}{group}/cpu.cfs_"
        self.write(f"{base}quota_us", f"{quota}\n")
        self.write(f"{base}period_us", "50000\n")

    def belong(self, *lines: str) -> None:
        """Put this process into cgroups."""
        self.write("proc/self/cgroup", "".join(f"{line}\n" for line in lines))

    def count(self) -> int:
        return usable_cpus(self.root).count

    def test_affinity(self) -> None:
        """Where there are no cgroups, nor even a /proc."""
        self.allow(3)
        self.assertEqual(usable_cpus(self.root), Cpus(3, "3 CPUs by affinity"))

    def test_this_machine(self) -> None:
        """The real thing gives at least one."""
        self.assertGreaterEqual(usable_cpus().count, 1)

    def test_v2_quota(self) -> None:
        """It is rounded down, and at least 1; the log can say why."""
        self.belong("0::/shop")
        for quota, cpus in (
            ("250000", Cpus(2, "a cgroup quota of 2.5 CPUs")),
            ("50000", Cpus(1, "a cgroup quota of 0.5 CPUs")),
            ("max", Cpus(8, "8 CPUs by affinity")),
            ("800000", Cpus(8, "8 CPUs by affinity")),
            ("1600000", Cpus(8, "8 CPUs by affinity")),
        ):
            self.v2("/shop", quota)
            self.assertEqual(usable_cpus(self.root), cpus)

    def test_v2_group_around_it(self) -> None:
        """The least quota of all that hold it counts."""
        self.belong("0::/system.slice/shop.service/worker")
        self.v2("/system.slice/shop.service/worker", "700000")
        self.v2("/system.slice/shop.service", "max")
        self.v2("/system.slice", "300000")
        self.assertEqual(self.count(), 3)

    def test_v2_in_a_container(self) -> None:
        """Its own group is the root of what it sees, or is named by the host."""
        self.v2("", "200000")
        for path in ("/", "/system.slice/docker-1234.scope", "/../../docker-1234"):
            self.belong(f"0::{path}")
            self.assertEqual(self.count(), 2, path)

    def test_v1_quota(self) -> None:
        """Of the group with the cpu controller, which may share its mount."""
        self.belong("5:memory:/other", "3:cpu,cpuacct:/shop", "0::/")
        self.v1("cpu,cpuacct", "/shop", 200_000)
        self.assertEqual(self.count(), 4)
        self.v1("cpu,cpuacct", "/shop", -1)
        self.assertEqual(self.count(), 8)

    def test_v1_other_mount(self) -> None:
        """Some systems mount both controllers as cpu."""
        self.belong("3:cpu,cpuacct:/shop")
        self.v1("cpu", "/shop", 150_000)
        self.assertEqual(self.count(), 3)

    def test_v1_in_a_container(self) -> None:
        self.belong("3:cpu,cpuacct:/docker/1234")
        self.v1("cpu,cpuacct", "", 100_000)
        self.assertEqual(self.count(), 2)

    def test_v1_other_controllers(self) -> None:
        """Quotas of groups without the cpu controller are none."""
        self.belong("3:cpuset:/shop", "2:cpuacct:/shop")
        self.v1("cpuset", "/shop", 50_000)
        self.v1("cpu", "/shop", 50_000)
        self.assertEqual(self.count(), 8)

    def test_unreadable_quota(self) -> None:
        """A file of another form is passed over."""
        self.belong("0::/shop")
        self.write("sys/fs/cgroup/shop/cpu.max", "what\n")
        self.v2("", "200000")
        self.assertEqual(self.count(), 2)

    def test_group_with_any_name(self) -> None:
        """Not in ASCII, and with colons."""
        self.belong("0::/geschäft:1\N{LINE SEPARATOR}")
        self.v2("/geschäft:1\N{LINE SEPARATOR}", "300000")
        self.assertEqual(self.count(), 3)
