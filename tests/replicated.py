"""A service whose Postgres has a standby: its address leads to whichever takes writes."""

from local.standby import Replicated
from tests.rig import Rig


class ReplicatedRig(Rig):
    """A rig that can fail over, as often as a story likes."""

    def address(self) -> str:
        log = self.home / "log" / "postgres.log"
        cluster = Replicated(self.home / "replicated", self.postgres, log)
        self.cluster: Replicated = self._stack.enter_context(cluster)
        return self.cluster.url
