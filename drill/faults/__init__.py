"""What a local drill breaks: one function a kind of fault, one module for what it breaks."""

from drill.faults import of_postgres, of_queue, of_redis, of_web, of_workers
from drill.faults.kinds import FAULT_KINDS, FaultContext, FaultKind, Injection, InjectionSteps

__all__ = [
    "FAULT_KINDS", "FaultContext", "FaultKind", "Injection", "InjectionSteps",
    "of_postgres", "of_queue", "of_redis", "of_web", "of_workers",
]  # fmt: skip
